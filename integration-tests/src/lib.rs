//! The harness of the claims about the whole: real processes, real clients, real files.
//!
//! Nothing here is a fake. A [`Daemon`] is a `sealwrightd dev` process on a directory of its own; [`Tool`] runs a
//! program with a deadline and keeps what it said. A part that a machine lacks is reported by [`skipped`], which
//! prints SKIPPED and counts it.

pub mod deployment;
pub mod differential;
mod process;
pub mod strangers;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use sealwright_crypto::{Algorithm, HashAlgorithm, PrivateKey, base64};
use serde::Deserialize;
use serde_json::{Value, json};

pub use process::Process;

/// The identity that test tokens carry unless a test needs another.
pub const EMAIL: &str = "dev@example.com";

/// Root of the workspace.
pub fn workspace_root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is a folder of the workspace")
        .to_owned()
}

/// A binary of the workspace, from the profile that the test itself was built with.
pub fn binary(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a process knows its program");
    // Tests lie in <target>/<profile>/deps, the benchmark in <target>/<profile> itself.
    let beside = test.parent().expect("a program lies in a folder");
    let profile = if beside.ends_with("deps") {
        beside.parent().unwrap_or(beside)
    } else {
        beside
    };
    let path = profile.join(name);
    assert!(
        path.exists(),
        "{} is missing: build it with `cargo test --workspace --no-run`, as `make test` does",
        path.display()
    );
    path
}

/// Python of the folder that `make test` fills with published clients; `None`, reported as skipped, where it is absent.
pub fn python(test: &str) -> Option<PathBuf> {
    let python = strangers::python::program();
    if python.exists() {
        return Some(python);
    }
    skipped(
        test,
        "the Python clients are not installed: run `make setup`",
    );
    None
}

/// Reports that a part of a test could not run here, and counts it for the summary of `make test`.
pub fn skipped(test: &str, reason: &str) {
    eprintln!("SKIPPED {test}: {reason}");
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(workspace_root().join("target/skipped.txt"));
    if let Ok(mut file) = file {
        // The count is a courtesy; the line on stderr is the report.
        let _unimportant = writeln!(file, "{test}: {reason}");
    }
}

/// What a program did.
#[derive(Debug)]
pub struct Outcome {
    /// The command line, for messages.
    pub shown: String,
    /// Exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

impl Outcome {
    /// Fails unless the program exited with 0; answers its standard output.
    pub fn success(self) -> anyhow::Result<String> {
        ensure!(self.code == Some(0), "expected success of {self}");
        Ok(self.stdout)
    }

    /// Fails unless the program exited with `code`; answers standard output and error together.
    pub fn code(self, code: i32) -> anyhow::Result<String> {
        ensure!(
            self.code == Some(code),
            "expected exit code {code} of {self}"
        );
        Ok(format!("{}{}", self.stdout, self.stderr))
    }

    /// Fails unless the program failed; answers standard output and error together.
    pub fn failure(self) -> anyhow::Result<String> {
        ensure!(
            self.code.is_some_and(|code| code != 0),
            "expected failure of {self}"
        );
        Ok(format!("{}{}", self.stdout, self.stderr))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            shown,
            code,
            stdout,
            stderr,
        } = self;
        write!(
            f,
            "`{shown}` (exit code {code:?})\n--- stdout\n{stdout}\n--- stderr\n{stderr}"
        )
    }
}

/// Lets `sealwrightd init` make a production deployment of "Example" in `dir`, with more arguments.
pub fn init(args: &[&str], dir: &Path) -> anyhow::Result<Outcome> {
    Tool::sealwrightd()
        .args(["init", "--organization", "Example"])
        .args(["--oidc-issuer", "https://accounts.example.com"])
        .args(args)
        .arg("--dir")
        .arg(dir)
        .run()
}

/// A program about to be run.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    deadline: Duration,
}

impl Tool {
    /// The program at `path`, or by name from the search path.
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            command: Command::new(path.as_ref()),
            deadline: Duration::from_secs(120),
        }
    }

    /// The command line client of the workspace, without what the caller's environment might add.
    pub fn sealwright() -> Self {
        let mut tool = Self::new(binary("sealwright"));
        for name in [
            "SIGSTORE_ID_TOKEN",
            "TRACEPARENT",
            "OTEL_EXPORTER_OTLP_ENDPOINT",
            "SEALWRIGHT_PROFILE",
        ] {
            tool.command.env_remove(name);
        }
        tool
    }

    /// The server of the workspace.
    pub fn sealwrightd() -> Self {
        Self::new(binary("sealwrightd"))
    }

    /// Adds one argument.
    pub fn arg(mut self, arg: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<std::ffi::OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
        self.command.args(args);
        self
    }

    /// Sets a variable of the environment.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets the working directory.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Replaces the deadline of two minutes.
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Runs to the end without standard input.
    pub fn run(self) -> anyhow::Result<Outcome> {
        self.run_with_input(b"")
    }

    /// Runs to the end with `input` on standard input.
    pub fn run_with_input(mut self, input: &[u8]) -> anyhow::Result<Outcome> {
        let shown = format!("{:?}", self.command);
        let mut child = self
            .command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {shown}"))?;
        let mut stdin = child.stdin.take().context("stdin is piped")?;
        // A program that does not read its input closes the pipe, which is no fault of the test's.
        let _unimportant = stdin.write_all(input);
        drop(stdin);
        let id = child.id();
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || sender.send(child.wait_with_output()));
        let Ok(output) = receiver.recv_timeout(self.deadline) else {
            signal(id, "KILL")?;
            bail!("{shown} did not end within {:?}", self.deadline);
        };
        let output = output?;
        Ok(Outcome {
            shown,
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }
}

/// Base URLs, as `DIR/endpoints.json` gives them.
#[derive(Debug, Clone, Deserialize)]
pub struct Endpoints {
    /// Certificate authority.
    pub ca: String,
    /// Signature log.
    pub log: String,
    /// Submission prefix of the certificate log.
    pub ct: String,
    /// Full endpoint of the timestamp authority.
    pub tsa: String,
    /// TUF repository.
    pub tuf: String,
    /// Development identity provider.
    pub oidc: String,
    /// Console.
    pub console: String,
    /// Certificate authority over TLS, where a TLS listener is on.
    #[serde(default)]
    pub ca_tls: Option<String>,
}

/// What an instance hands to its clients: where it answers, and the files to trust it by. [`Daemon`] and
/// [`deployment::Deployment`] dereference to it, so that a test can be run on either form.
#[derive(Debug, Clone)]
pub struct ClientView {
    files: PathBuf,
    endpoints: Endpoints,
}

impl ClientView {
    /// An instance that answers at `endpoints`, whose files for clients are in the folder `files`.
    pub fn new(files: PathBuf, endpoints: Endpoints) -> Self {
        Self { files, endpoints }
    }

    /// A file for clients.
    pub fn client_file(&self, name: &str) -> PathBuf {
        self.files.join(name)
    }

    /// Base URLs.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// An identity token of its development provider for [`EMAIL`].
    pub fn token(&self) -> anyhow::Result<String> {
        self.token_with(&["--email", EMAIL])
    }

    /// An identity token with other arguments of `sealwright token`.
    pub fn token_with(&self, args: &[&str]) -> anyhow::Result<String> {
        let stdout = Tool::sealwright()
            .args(["token", "--issuer", &self.endpoints.oidc])
            .args(args)
            .run()?
            .success()?;
        Ok(stdout.trim().to_owned())
    }

    /// Arguments that make our client trust it.
    pub fn trust(&self) -> [String; 2] {
        [
            "--trust-config".to_owned(),
            self.client_file("trust_config.json").display().to_string(),
        ]
    }

    /// Arguments that make our client accept signatures of [`EMAIL`] only.
    pub fn identity(&self) -> [String; 4] {
        [
            "--certificate-identity".to_owned(),
            EMAIL.to_owned(),
            "--certificate-oidc-issuer".to_owned(),
            self.endpoints.oidc.clone(),
        ]
    }

    /// Signs a file keylessly with our client; answers the bundle's path.
    pub fn sign(&self, artifact: &Path) -> anyhow::Result<PathBuf> {
        let bundle = artifact.with_extension("sigstore.json");
        let token = self.token()?;
        Tool::sealwright()
            .args(["sign-blob", "--identity-token", "-", "--bundle"])
            .arg(&bundle)
            .args(self.trust())
            .arg(artifact)
            .run_with_input(token.as_bytes())?
            .success()?;
        Ok(bundle)
    }

    /// Verifies a file with our client.
    pub fn verify(&self, artifact: &Path, bundle: &Path) -> anyhow::Result<Outcome> {
        Tool::sealwright()
            .args(["verify-blob", "--output", "json", "--bundle"])
            .arg(bundle)
            .args(self.trust())
            .args(self.identity())
            .arg(artifact)
            .run()
    }
}

/// A running `sealwrightd dev`, killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    process: Process,
    dir: PathBuf,
    view: ClientView,
    ready_line: String,
    _temporary: Option<tempfile::TempDir>,
}

impl Daemon {
    /// Starts on a fresh directory that goes away with the daemon.
    pub fn fresh() -> anyhow::Result<Self> {
        Self::fresh_with(&[])
    }

    /// Starts on a fresh directory with more arguments.
    pub fn fresh_with(args: &[&str]) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let mut daemon = Self::on(&temporary.path().join("dev"), args)?;
        daemon._temporary = Some(temporary);
        Ok(daemon)
    }

    /// Starts on `dir` with more arguments.
    pub fn on(dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        Self::command(Command::new(binary("sealwrightd")), dir, args)
    }

    /// Starts through another program (`faketime`, `strace`), whose command is given up to the server's own.
    pub fn command(mut command: Command, dir: &Path, args: &[&str]) -> anyhow::Result<Self> {
        command.arg("dev").arg("--dir").arg(dir);
        if !args.contains(&"--listen") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        command.args(args);
        let mut process = Process::start(command, &dir.with_extension("stderr.log"))?;
        let ready_line = process.ready()?;
        let endpoints = serde_json::from_slice(&fs::read(dir.join("endpoints.json"))?)?;
        Ok(Self {
            process,
            dir: dir.to_owned(),
            view: ClientView::new(dir.join("client"), endpoints),
            ready_line,
            _temporary: None,
        })
    }

    /// The `host:port` at which it listens in the clear.
    pub fn address(&self) -> &str {
        self.endpoints().log.trim_start_matches("http://")
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The line that said it is ready.
    pub fn ready_line(&self) -> &str {
        &self.ready_line
    }

    /// Process id.
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// What it has written to standard error so far, over all runs on this directory.
    pub fn stderr(&self) -> String {
        self.process.stderr()
    }

    /// Resident memory in KiB.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id()))?;
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .context("VmRSS in /proc/PID/status")?;
        Ok(line
            .split_whitespace()
            .nth(1)
            .context("a number after VmRSS")?
            .parse()?)
    }

    /// CPU time used so far; see [`process_cpu_us`].
    pub fn cpu_us(&self) -> anyhow::Result<u64> {
        process_cpu_us(self.id())
    }

    /// Kills it as a power cut would end it, as far as the process can tell.
    pub fn kill(self) -> anyhow::Result<PathBuf> {
        self.process.kill()?;
        Ok(self.dir)
    }

    /// Asks it to end and waits; answers its exit status and the time it took.
    pub fn terminate(&mut self) -> anyhow::Result<(ExitStatus, Duration)> {
        self.process.terminate()
    }
}

impl std::ops::Deref for Daemon {
    type Target = ClientView;

    fn deref(&self) -> &ClientView {
        &self.view
    }
}

/// CPU time that a process has used so far, in microseconds, of a clock that ticks every 10 ms.
pub fn process_cpu_us(id: u32) -> anyhow::Result<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let after_name = stat.rsplit(')').next().context("a name in parentheses")?;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks =
        |index: usize| -> anyhow::Result<u64> { Ok(fields.get(index).context("field")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) * 10_000)
}

/// Sends a signal by name to a process that the test started.
pub fn signal(id: u32, name: &str) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .args([format!("-{name}"), id.to_string()])
        .status()?;
    ensure!(status.success(), "kill -{name} {id}: {status}");
    Ok(())
}

/// An HTTP client for plain loopback requests.
pub fn http() -> reqwest::blocking::Client {
    http_that_follows(reqwest::redirect::Policy::default())
}

/// The same, which hands redirects to the test instead of following them.
pub fn http_without_redirects() -> reqwest::blocking::Client {
    http_that_follows(reqwest::redirect::Policy::none())
}

fn http_that_follows(redirects: reqwest::redirect::Policy) -> reqwest::blocking::Client {
    // Fails only when another test came first, which serves as well.
    let _unimportant = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::blocking::Client::builder()
        .timeout(Duration::from_secs(30))
        .redirect(redirects)
        .no_proxy()
        .build()
        .expect("plain HTTP needs nothing")
}

/// A hashedrekord request of a P-256 key over `message`.
pub fn entry_request(key: &PrivateKey, message: &[u8]) -> anyhow::Result<Value> {
    let digest = HashAlgorithm::Sha256.digest(message);
    let signature = key.sign_digest(Algorithm::EcdsaP256Sha256, &digest)?;
    Ok(json!({"hashedRekordRequestV002": {
        "digest": base64::encode(digest.as_bytes()),
        "signature": {"content": base64::encode(&signature), "verifier": {
            "publicKey": {"rawBytes": base64::encode(key.public_key().spki_der())},
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        }},
    }}))
}

/// A request for a certificate whose proof of possession is `algorithm` over `challenge`.
pub fn certificate_request(
    token: &str,
    key: &PrivateKey,
    algorithm: Algorithm,
    challenge: &str,
) -> anyhow::Result<Value> {
    let proof = key.sign(algorithm, challenge.as_bytes())?;
    Ok(json!({
        "credentials": {"oidcIdentityToken": token},
        "publicKeyRequest": {
            "publicKey": {"algorithm": "ECDSA", "content": key.public_key().to_pem()},
            "proofOfPossession": base64::encode(&proof),
        },
    }))
}

/// A scratch directory with one artifact in it.
pub fn artifact(content: &[u8]) -> anyhow::Result<(tempfile::TempDir, PathBuf)> {
    let dir = tempfile::tempdir()?;
    let path = dir.path().join("artifact.txt");
    fs::write(&path, content)?;
    Ok((dir, path))
}
