//! The program as scripts meet it: lines, files, signals, restarts, refusals.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A running `sealwrightd`, killed when the test ends.
struct Daemon {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
    ready: String,
    took: Duration,
}

fn program() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_sealwrightd"));
    command
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .env_remove("SEALWRIGHT_LOG");
    command
}

fn dev(dir: &Path, args: &[&str]) -> Command {
    let mut command = program();
    command.arg("dev").arg("--dir").arg(dir).args(args);
    command
}

impl Daemon {
    fn start(mut command: Command) -> Self {
        let began = Instant::now();
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut ready = String::new();
        stdout.read_line(&mut ready).expect("a line");
        assert!(ready.starts_with("ready"), "{ready:?}");
        Self {
            child,
            stdout,
            ready,
            took: began.elapsed(),
        }
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.child.id().to_string())
            .status();
        assert!(status.expect("kill runs").success());
    }

    /// Waits for the end; gives the status, what else was on standard output, and the time from now.
    fn end(mut self) -> (ExitStatus, String, Duration) {
        let began = Instant::now();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("text");
        let status = self.child.wait().expect("it ends");
        (status, rest, began.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command that must not serve, and gives its exit code and standard error.
fn refused(mut command: Command) -> (Option<i32>, String) {
    let output = command.stdin(Stdio::null()).output().expect("it runs");
    assert!(
        output.stdout.is_empty(),
        "a refusal says nothing on standard output"
    );
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn json(path: PathBuf) -> Value {
    serde_json::from_slice(
        &fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())),
    )
    .expect("JSON")
}

fn address(dir: &Path) -> SocketAddr {
    let endpoints = json(dir.join("endpoints.json"));
    let url = endpoints["console"].as_str().expect("a URL").to_owned();
    url.trim_start_matches("http://")
        .parse()
        .expect("an address")
}

/// The status and body of a plain GET.
fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).expect("connects");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .expect("writes");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("reads");
    let status = answer
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .expect("a status");
    (
        status,
        answer
            .split_once("\r\n\r\n")
            .map(|(_, body)| body.to_owned())
            .unwrap_or_default(),
    )
}

#[test]
fn dev_is_ready_soon_serves_everything_and_leaves_on_a_signal() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let daemon = Daemon::start(dev(&dir, &["--listen", "127.0.0.1:0"]));
    // A debug build on a busy machine; the figure for release is measured by the benchmark.
    assert!(daemon.took < Duration::from_secs(10), "{:?}", daemon.took);
    for file in [
        "trusted_root.json",
        "signing_config.json",
        "trust_config.json",
        "root.json",
    ] {
        json(dir.join("client").join(file));
    }
    assert_eq!(
        fs::read_to_string(dir.join("FORMAT")).unwrap(),
        "format = 1\nkind = dev\n"
    );
    let address = address(&dir);
    assert!(
        daemon.ready.contains(&address.to_string()),
        "{}",
        daemon.ready
    );
    let doors = [
        "/",
        "/healthz",
        "/readyz",
        "/api/v2/trustBundle",
        "/api/v2/configuration",
        "/api/v2/checkpoint",
        "/ct/dev/ct/v1/get-sth",
        "/ct/dev/checkpoint",
        "/api/v1/timestamp/certchain",
        "/tuf/timestamp.json",
        "/tuf/1.root.json",
        "/oidc/.well-known/openid-configuration",
    ];
    for door in doors {
        let (status, body) = get(address, door);
        assert_eq!(status, 200, "{door}: {body}");
    }
    assert_eq!(get(address, "/nowhere").0, 404);
    daemon.signal("TERM");
    let (status, rest, took) = daemon.end();
    assert_eq!(
        (status.code(), rest.as_str()),
        (Some(0), ""),
        "only the ready line is on standard output"
    );
    assert!(took < Duration::from_secs(5), "{took:?}");
}

#[test]
fn a_restart_keeps_state_port_and_trust() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let files = [
        "endpoints.json",
        "client/trusted_root.json",
        "client/signing_config.json",
        "client/trust_config.json",
        "client/root.json",
    ];
    let read = |dir: &Path| files.map(|file| fs::read_to_string(dir.join(file)).expect(file));
    let mut daemon = Daemon::start(dev(&dir, &["--listen", "127.0.0.1:0"]));
    let first = read(&dir);
    daemon.child.kill().unwrap();
    drop(daemon);
    for args in [&["--listen", "127.0.0.1:0"][..], &[]] {
        let daemon = Daemon::start(dev(&dir, args));
        assert_eq!(read(&dir), first);
        daemon.signal("INT");
        assert_eq!(daemon.end().0.code(), Some(0));
    }
}

#[test]
fn dev_refuses_what_would_surprise_and_says_how_to_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let public = folder.path().join("public");
    let (code, said) = refused(dev(&public, &["--listen", "0.0.0.0:0"]));
    assert!(
        code == Some(1) && said.contains("loopback") && !public.exists(),
        "{said}"
    );
    let (code, said) = refused(dev(
        &public,
        &["--listen", "127.0.0.1:0", "--tls-listen", "192.0.2.1:0"],
    ));
    assert!(
        code == Some(1) && said.contains("loopback") && !public.exists(),
        "{said}"
    );

    let foreign = folder.path().join("thesis");
    fs::create_dir(&foreign).unwrap();
    fs::write(foreign.join("chapter-1.txt"), "mine").unwrap();
    let (code, said) = refused(dev(&foreign, &["--listen", "127.0.0.1:0"]));
    assert!(code == Some(1) && said.contains("thesis"), "{said}");
    assert_eq!(fs::read_dir(&foreign).unwrap().count(), 1);

    let dir = folder.path().join("dev");
    let daemon = Daemon::start(dev(&dir, &["--listen", "127.0.0.1:0"]));
    let (code, said) = refused(dev(&dir, &["--listen", "127.0.0.1:0"]));
    assert!(
        code == Some(1) && said.contains("another process"),
        "{said}"
    );
    let made_with = address(&dir);
    drop(daemon);
    let (code, said) = refused(dev(&dir, &["--listen", "127.0.0.1:1"]));
    assert!(
        code == Some(1)
            && said.contains("127.0.0.1:1")
            && said.contains(&made_with.to_string())
            && said.contains("--dir"),
        "{said}"
    );
    let (code, said) = refused(dev(&dir, &["--public-url", "http://elsewhere.example"]));
    assert!(code == Some(1) && said.contains("elsewhere"), "{said}");

    let _squatter = TcpListener::bind(made_with).unwrap();
    let (code, said) = refused(dev(&dir, &[]));
    assert!(
        code == Some(1) && said.contains(&made_with.to_string()),
        "{said}"
    );
    assert_eq!(refused(dev(&dir, &["--no-such-flag"])).0, Some(2));
}

#[test]
fn tls_is_added_beside_the_plain_port_and_changes_no_trust() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    drop(Daemon::start(dev(&dir, &["--listen", "127.0.0.1:0"])));
    let trust = fs::read(dir.join("client/trust_config.json")).unwrap();
    assert!(json(dir.join("endpoints.json")).get("ca_tls").is_none());
    let daemon = Daemon::start(dev(&dir, &["--tls-listen", "127.0.0.1:0"]));
    assert_eq!(
        fs::read(dir.join("client/trust_config.json")).unwrap(),
        trust
    );
    let tls = json(dir.join("endpoints.json"))["ca_tls"]
        .as_str()
        .expect("ca_tls")
        .to_owned();
    assert!(
        tls.starts_with("https://127.0.0.1:") && dir.join("client/tls_ca.pem").exists(),
        "{tls}"
    );
    drop(daemon);
    let _daemon = Daemon::start(dev(&dir, &["--tls-listen", "127.0.0.1:0"]));
    assert_eq!(
        json(dir.join("endpoints.json"))["ca_tls"],
        tls.as_str(),
        "port 0 keeps the port first chosen"
    );
}

#[test]
fn demo_tells_its_story_and_leaves_the_file_alone() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.txt");
    fs::write(&file, "mine").unwrap();
    let output = program().arg("demo").arg(&file).output().expect("it runs");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{told}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for word in ["Signed", "Verified", "Refused", " ms]"] {
        assert!(told.contains(word), "{word}: {told}");
    }
    assert_eq!(fs::read(&file).unwrap(), b"mine");
    let missing = program()
        .arg("demo")
        .arg(folder.path().join("none"))
        .output()
        .expect("it runs");
    assert_eq!(missing.status.code(), Some(1));
}

fn init(dir: &Path, public_url: &str) -> Command {
    let mut command = program();
    command.arg("init").arg("--dir").arg(dir).args([
        "--public-url",
        public_url,
        "--listen",
        "127.0.0.1:0",
    ]);
    command.args([
        "--organization",
        "Example \"Corp\"",
        "--oidc-issuer",
        "https://accounts.invalid",
    ]);
    command
}

fn on(verb: &[&str], dir: &Path) -> Command {
    let mut command = program();
    command.args(verb).arg("--dir").arg(dir);
    command
}

fn succeeds(mut command: Command) -> String {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    said
}

#[test]
fn a_production_instance_is_made_checked_served_and_examined() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("prod");
    let (code, said) = refused(init(&dir, "https://sign.example.com/path"));
    assert!(
        code == Some(1) && said.contains("path") && !dir.exists(),
        "{said}"
    );
    succeeds(init(&dir, "https://sign.example.com"));
    let root = json(dir.join("client/trusted_root.json"));
    assert_eq!(root["tlogs"][0]["baseUrl"], "https://sign.example.com");
    let config = json(dir.join("client/signing_config.json"));
    assert_eq!(config["oidcUrls"][0]["url"], "https://accounts.invalid");
    assert_eq!(json(dir.join("client/root.json"))["signed"]["version"], 1);
    let (code, said) = refused(init(&dir, "https://sign.example.com"));
    assert!(
        code == Some(1) && said.contains("never overwrites"),
        "{said}"
    );

    assert!(succeeds(on(&["check-config"], &dir)).contains("can be served"));
    assert!(succeeds(on(&["fsck"], &dir)).contains("sign.example.com: 0 entries"));
    let examined = succeeds(on(&["doctor"], &dir));
    assert!(
        examined.contains("warning") && examined.contains("offline") && !examined.contains("FAULT"),
        "{examined}"
    );

    // Neither kind opens the other's directory.
    let (code, said) = refused(dev(&dir, &[]));
    assert!(code == Some(1) && said.contains("production"), "{said}");
    let dev_dir = folder.path().join("dev");
    drop(Daemon::start(dev(&dev_dir, &["--listen", "127.0.0.1:0"])));
    for verb in [&["up"][..], &["run", "ca"]] {
        let (code, said) = refused(on(verb, &dev_dir));
        assert!(code == Some(1) && said.contains("development"), "{said}");
    }

    // Roles that wait for nobody are ready; they share the directory, and only with others.
    let tsa = Daemon::start(on(&["run", "tsa", "--listen", "127.0.0.1:0"], &dir));
    let log = Daemon::start(on(&["run", "log", "--listen", "127.0.0.1:0"], &dir));
    for verb in [&["run", "log"][..], &["up"], &["fsck"]] {
        let (code, said) = refused(on(verb, &dir));
        assert!(
            code == Some(1) && said.contains("another process"),
            "{said}"
        );
    }
    for daemon in [tsa, log] {
        daemon.signal("TERM");
        assert_eq!(daemon.end().0.code(), Some(0));
    }

    let file = dir.join("sealwright.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("[tsa]", "[tsa]\npolcy = \"1.2.3\"")).unwrap();
    let (code, said) = refused(on(&["check-config"], &dir));
    assert!(
        code == Some(1)
            && said.contains("did you mean `policy`?")
            && said.contains("sealwright.toml:"),
        "{said}"
    );
    fs::write(
        &file,
        text.replace(
            "[ca.ct]\nlog = \"certificates\"\nurl = \"https:",
            "[ca.ct]\nlog = \"other\"\nurl = \"http:",
        ),
    )
    .unwrap();
    let (code, said) = refused(on(&["check-config"], &dir));
    assert!(code == Some(1) && said.contains("plaintext"), "{said}");
}

#[test]
fn an_instance_serves_while_its_identity_provider_is_away_and_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("prod");
    succeeds(init(&dir, "https://sign.example.com"));
    let child = on(&["up"], &dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let listening = dir.join("LISTENING");
    let began = Instant::now();
    while !listening.exists() {
        assert!(
            began.elapsed() < Duration::from_secs(10),
            "it does not listen"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    let address = fs::read_to_string(&listening).unwrap().parse().unwrap();
    assert_eq!(get(address, "/healthz").0, 200);
    let (status, report) = get(address, "/readyz");
    assert!(status == 503 && report.contains("ca.issuers"), "{report}");
    let status = Command::new("kill")
        .arg("-TERM")
        .arg(child.id().to_string())
        .status();
    assert!(status.expect("kill runs").success());
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(
        (output.status.code(), output.stdout.as_slice()),
        (Some(0), &b""[..]),
        "ready is said only when it is true"
    );
}

#[test]
fn fsck_names_a_damaged_file() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().join("dev");
    let daemon = Daemon::start(dev(&dir, &["--listen", "127.0.0.1:0"]));
    daemon.signal("TERM");
    assert_eq!(daemon.end().0.code(), Some(0));
    let checkpoint = dir.join("log/signatures/public/checkpoint");
    let damaged = fs::read_to_string(&checkpoint)
        .unwrap()
        .replace("127.0.0.1", "127.0.0.2");
    fs::write(&checkpoint, damaged).unwrap();
    let output = on(&["fsck"], &dir).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.code() == Some(1)
            && said.contains("NOT SOUND")
            && said.contains("checkpoint"),
        "{said}"
    );
}
