//! A production instance whose logs show nothing before a witness has seen it, and that witness, in a process of its own.

use std::{
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, ensure};
use sealwright_integration_tests::{
    ClientView, Daemon, Endpoints, Process, Tool, binary, deployment::own_address,
};
use sealwright_tlog::note::NoteKey;

/// Name of the certificate log that `init` makes.
const CT_LOG: &str = "certificates";

/// Both processes, killed when dropped, and the provider of identity tokens beside them.
pub(super) struct Witnessed {
    scratch: tempfile::TempDir,
    provider: Daemon,
    view: ClientView,
    pub(super) witness_key: NoteKey,
    server: Option<Process>,
    witness: Option<Process>,
}

impl Witnessed {
    /// Makes both directories, introduces them to each other, and starts both processes.
    pub(super) fn start() -> anyhow::Result<Self> {
        let scratch = tempfile::tempdir()?;
        let provider = Daemon::fresh()?;
        let address = own_address();
        let view = make(scratch.path(), address, &provider)?;
        let witness_key = introduce(scratch.path(), address)?;
        let mut both = Self {
            scratch,
            provider,
            view,
            witness_key,
            server: None,
            witness: None,
        };
        both.start_witness()?;
        both.start_server()?;
        Ok(both)
    }

    pub(super) fn view(&self) -> &ClientView {
        &self.view
    }

    /// Origin of the signature log.
    pub(super) fn log_origin(&self) -> &str {
        let authority = self.view.endpoints().log.trim_start_matches("http://");
        authority.split(':').next().unwrap_or(authority)
    }

    pub(super) fn token(&self) -> anyhow::Result<String> {
        self.provider.token()
    }

    pub(super) fn server_dir(&self) -> PathBuf {
        self.scratch.path().join("server")
    }

    pub(super) fn start_server(&mut self) -> anyhow::Result<()> {
        self.server = Some(started(self.scratch.path(), &["up"], "server")?);
        Ok(())
    }

    pub(super) fn start_witness(&mut self) -> anyhow::Result<()> {
        self.witness = Some(started(
            self.scratch.path(),
            &["run", "witness"],
            "witness",
        )?);
        Ok(())
    }

    pub(super) fn kill_server(&mut self) -> anyhow::Result<()> {
        self.server.take().map_or(Ok(()), Process::kill)
    }

    pub(super) fn kill_witness(&mut self) -> anyhow::Result<()> {
        self.witness.take().map_or(Ok(()), Process::kill)
    }

    /// What runs no more runs again.
    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        if self.witness.is_none() {
            self.start_witness()?;
        }
        if self.server.is_none() {
            self.start_server()?;
        }
        Ok(())
    }
}

fn started(scratch: &Path, what: &[&str], dir: &str) -> anyhow::Result<Process> {
    let mut command = Command::new(binary("sealwrightd"));
    command.args(what).arg("--dir").arg(scratch.join(dir));
    let mut process = Process::start(command, &scratch.join(format!("{dir}.stderr.log")))?;
    process.ready()?;
    Ok(process)
}

/// The instance; where its clients find it.
fn make(scratch: &Path, address: Ipv4Addr, provider: &Daemon) -> anyhow::Result<ClientView> {
    let (dir, base) = (scratch.join("server"), format!("http://{address}:7700"));
    let oidc = &provider.endpoints().oidc;
    Tool::sealwrightd()
        .args(["init", "--organization", "Example", "--public-url", &base])
        .args([
            "--listen",
            &format!("{address}:7700"),
            "--oidc-issuer",
            oidc,
        ])
        .arg("--dir")
        .arg(&dir)
        .run()?
        .success()?;
    let endpoints = Endpoints {
        ca: base.clone(),
        log: base.clone(),
        ct: format!("{base}/ct/{CT_LOG}"),
        tsa: format!("{base}/api/v1/timestamp"),
        tuf: format!("{base}/tuf"),
        oidc: oidc.clone(),
        console: base,
        ca_tls: None,
    };
    Ok(ClientView::new(dir.join("client"), endpoints))
}

/// The witness, told of the logs; the logs, told of the witness. Gives the witness's key.
fn introduce(scratch: &Path, address: Ipv4Addr) -> anyhow::Result<NoteKey> {
    let (server, witness) = (scratch.join("server"), scratch.join("witness"));
    let listen = format!("{address}:7710");
    let about = |verb: &str, dir: &Path, args: &[&str]| {
        let tool = Tool::sealwrightd()
            .args(["witness", verb, "--dir"])
            .arg(dir);
        tool.args(args).run()?.success()
    };
    let url = format!("http://{listen}");
    let name = [
        "--name",
        "witness.example/w1",
        "--url",
        &url,
        "--listen",
        &listen,
    ];
    about("init", &witness, &name)?;
    let logs = about("log-keys", &server, &[])?;
    ensure!(logs.lines().count() == 2, "{logs}");
    let list = witness.join("logs.txt");
    fs::write(&list, format!("{}{logs}", fs::read_to_string(&list)?))?;

    let shown = about("show", &witness, &[])?;
    let after = |what: &str| {
        let found = shown.lines().find_map(|line| line.strip_prefix(what));
        found.map(str::trim).with_context(|| shown.clone())
    };
    let line = after("line for a witness policy:")?;
    let short = line.split(' ').nth(1).context("a name in the line")?;
    fs::write(
        server.join("witness.policy"),
        format!("{line}\nquorum {short}\n"),
    )?;
    let config = server.join("sealwright.toml");
    let text = fs::read_to_string(&config)?.replace(
        "\n[[log]]\n",
        "\n[[log]]\nwitness_policy = \"witness.policy\"\nwitness_mode = \"required\"\n",
    );
    ensure!(text.matches("witness_policy").count() == 2, "{text}");
    fs::write(config, text)?;
    Ok(NoteKey::from_vkey(after("key:")?)?)
}
