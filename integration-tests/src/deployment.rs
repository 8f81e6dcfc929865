//! A deployment whose roles run apart: four processes, mutual TLS between them, and a trust root that an operator has
//! published from them.
//!
//! Each deployment has a loopback address of its own, so that ports are known before anything listens and no two tests
//! want the same. Identity tokens come from the provider of a development stack beside it.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU8, Ordering},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_host::{Clock as _, clock::SystemClock};
use sealwright_pki::{
    SerialNumber,
    authority::{self, AuthorityName, Envelope, Parent},
};
use serde_json::Value;

use crate::{ClientView, Daemon, Endpoints, Outcome, Process, Tool, binary, http};

/// The roles, in the order of their ports.
pub const ROLES: [&str; 4] = ["ca", "log", "tsa", "trust"];

/// Ports are counted from this one.
const BASE_PORT: u16 = 7700;
/// How long a role may take to become what is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// Four processes, killed when dropped.
#[derive(Debug)]
pub struct Deployment {
    dir: PathBuf,
    address: Ipv4Addr,
    processes: BTreeMap<&'static str, Process>,
    provider: Daemon,
    view: ClientView,
    _temporary: tempfile::TempDir,
}

impl Deployment {
    /// Makes a deployment, starts every role, and publishes its trust root.
    pub fn fresh() -> anyhow::Result<Self> {
        let mut deployment = Self::made()?;
        for role in ROLES {
            deployment.start(role)?;
        }
        for role in ["log", "tsa", "ca"] {
            deployment.ready(role)?;
        }
        deployment.publish()?;
        deployment.ready("trust")?;
        Ok(deployment)
    }

    /// Makes a deployment and starts nothing.
    pub fn made() -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let provider = Daemon::fresh_with(&["--login", crate::EMAIL])?;
        let (dir, address) = (temporary.path().join("apart"), own_address());
        let url = |offset: u16| format!("http://{address}:{}", BASE_PORT + offset);
        Tool::sealwrightd()
            .args(["init", "--layout", "apart", "--organization", "Example"])
            .args(["--listen", &format!("{address}:{BASE_PORT}")])
            .args(["--ca-url", &url(1), "--log-url", &url(2)])
            .args(["--tsa-url", &url(3), "--trust-url", &url(4)])
            .args(["--oidc-issuer", &provider.endpoints().oidc, "--dir"])
            .arg(&dir)
            .run()?
            .success()?;
        let tls = SocketAddr::from((address, BASE_PORT + 21));
        serve_tls(&dir, tls)?;
        let mut endpoints = handed_out(&dir, &provider)?.endpoints().clone();
        endpoints.ca_tls = Some(format!("https://{tls}"));
        let view = ClientView::new(dir.join("trust/client"), endpoints);
        Ok(Self {
            dir,
            address,
            processes: BTreeMap::new(),
            provider,
            view,
            _temporary: temporary,
        })
    }

    /// The directory of a role, or `offline`.
    pub fn dir(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The whole of what `init` has made.
    pub fn root_dir(&self) -> &Path {
        &self.dir
    }

    /// The stack that gives the identity tokens.
    pub fn provider(&self) -> &Daemon {
        &self.provider
    }

    /// Where a role answers clients.
    pub fn url(&self, role: &str) -> String {
        format!("http://{}:{}", self.address, port(role, 1))
    }

    /// Where other services call a role.
    pub fn internal_address(&self, role: &str) -> String {
        format!("{}:{}", self.address, port(role, 11))
    }

    /// Starts one role; it may become ready much later.
    pub fn start(&mut self, role: &'static str) -> anyhow::Result<()> {
        let mut command = Command::new(binary("sealwrightd"));
        command.args(["run", role, "--dir"]).arg(self.dir(role));
        let log = self.dir.join(format!("{role}.stderr.log"));
        self.processes.insert(role, Process::start(command, &log)?);
        Ok(())
    }

    /// Waits until a role says that it is ready.
    pub fn ready(&mut self, role: &str) -> anyhow::Result<()> {
        self.process(role)?.ready().map(drop)
    }

    /// The process of a role that was started.
    pub fn process(&mut self, role: &str) -> anyhow::Result<&mut Process> {
        self.processes
            .get_mut(role)
            .with_context(|| format!("{role} is not running"))
    }

    /// Kills a role without a word.
    pub fn kill(&mut self, role: &str) -> anyhow::Result<()> {
        let process = self.processes.remove(role);
        process
            .with_context(|| format!("{role} is not running"))?
            .kill()
    }

    /// What a role has logged.
    pub fn log(&self, role: &str) -> String {
        fs::read_to_string(self.dir.join(format!("{role}.stderr.log"))).unwrap_or_default()
    }

    /// One step of the operator of the trust root.
    pub fn operate(&self, step: &[&str]) -> anyhow::Result<Outcome> {
        let trust = self.dir("trust");
        Tool::sealwrightd()
            .args(["trust", "--dir"])
            .arg(trust)
            .args(step)
            .run()
    }

    /// Stages, signs, publishes and activates what is new.
    pub fn publish(&self) -> anyhow::Result<()> {
        let key = self.dir("offline").join("targets.pem");
        let key = key.display().to_string();
        let steps: [&[&str]; 4] = [
            &["stage"],
            &["sign", "--key", &key],
            &["publish"],
            &["activate"],
        ];
        for step in steps {
            self.operate(step)?.success()?;
        }
        Ok(())
    }

    /// The readiness report of a role: its status, and the checks by name.
    pub fn readiness(&self, role: &str) -> anyhow::Result<(u16, BTreeMap<String, Value>)> {
        let response = http().get(format!("{}/readyz", self.url(role))).send()?;
        let status = response.status().as_u16();
        let report: Value = response.json()?;
        let checks = report["checks"].as_array().context("checks")?.iter();
        let named = checks.map(|check| {
            let name = check["name"].as_str().unwrap_or_default().to_owned();
            (name, check.clone())
        });
        Ok((status, named.collect()))
    }

    /// Waits until a check of a role says `ok` or does not, and answers what it says in the end.
    pub fn wait_for(&self, role: &str, check: &str, ok: bool) -> anyhow::Result<String> {
        let began = Instant::now();
        loop {
            let found = self.readiness(role).ok();
            let found = found.and_then(|(_, checks)| checks.get(check).cloned());
            match found {
                Some(found) if found["ok"] == ok => {
                    return Ok(found["detail"].as_str().unwrap_or_default().to_owned());
                }
                last if began.elapsed() > PATIENCE => {
                    bail!(
                        "{check} of {role} is not {ok}: {last:?}\n{}",
                        self.log(role)
                    )
                }
                _ => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Ends every role politely and checks that each did so.
    pub fn terminate(&mut self) -> anyhow::Result<()> {
        for (role, mut process) in std::mem::take(&mut self.processes) {
            let (status, took) = process.terminate()?;
            ensure!(status.success(), "{role}: {status}\n{}", process.stderr());
            ensure!(took < Duration::from_secs(10), "{role} took {took:?}");
        }
        Ok(())
    }
}

impl std::ops::Deref for Deployment {
    type Target = ClientView;

    fn deref(&self) -> &ClientView {
        &self.view
    }
}

/// What a deployment in `dir` hands out, with the provider that its clients log in at.
pub fn handed_out(dir: &Path, provider: &Daemon) -> anyhow::Result<ClientView> {
    let client = dir.join("trust/client");
    let mut endpoints: Value = serde_json::from_slice(&fs::read(client.join("endpoints.json"))?)?;
    endpoints["oidc"] = provider.endpoints().oidc.clone().into();
    let endpoints: Endpoints = serde_json::from_value(endpoints)?;
    Ok(ClientView::new(client, endpoints))
}

/// Gives the authority a TLS listener at `address`, and clients the certificate to trust it by, as an operator would.
fn serve_tls(dir: &Path, address: SocketAddr) -> anyhow::Result<()> {
    let now = SystemClock.unix();
    let envelope = || Envelope {
        serial: SerialNumber::from_random(rand::random()),
        not_before: now - 300,
        not_after: now + 86_400,
    };
    let (root_key, key) = (
        PrivateKey::generate(KeyType::EcP256)?,
        PrivateKey::generate(KeyType::EcP256)?,
    );
    let name = AuthorityName {
        common_name: "TLS of a test".to_owned(),
        organization: "Example".to_owned(),
        development: false,
    };
    let root = authority::root(&root_key, &name, 0, &envelope())?;
    let parent = Parent {
        certificate: &root,
        key: &root_key,
    };
    let addresses = [address.ip()];
    let leaf = authority::tls_server(key.public_key(), &[], &addresses, &envelope(), parent)?;
    let ca = dir.join("ca");
    let (certificate_file, key_file) = (ca.join("keys/tls.pem"), ca.join("keys/tls.key"));
    fs::write(&certificate_file, leaf.to_pem())?;
    fs::write(&key_file, key.to_pkcs8_pem().as_bytes())?;
    fs::set_permissions(&key_file, fs::Permissions::from_mode(0o600))?;
    fs::write(dir.join("trust/client/tls_ca.pem"), root.to_pem())?;
    let mut config = fs::OpenOptions::new()
        .append(true)
        .open(ca.join("sealwright.toml"))?;
    writeln!(
        config,
        "\n[host.tls]\nlisten = \"{address}\"\ncertificate = \"keys/tls.pem\"\nkey = \"keys/tls.key\""
    )?;
    Ok(())
}

fn port(role: &str, above: u16) -> u16 {
    let place = ROLES.iter().position(|one| *one == role);
    let place = u16::try_from(place.expect("a role")).expect("four roles");
    BASE_PORT + above + place
}

/// A loopback address that no other test uses: process id and a count, below 127.64.0.0/10.
pub fn own_address() -> Ipv4Addr {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    // Sixteen deployments a process; two processes whose ids differ by 2^18 do not run tests at the same time.
    let number = (std::process::id() << 4) | u32::from(COUNT.fetch_add(1, Ordering::Relaxed) & 15);
    let [_, b, c, d] = number.to_be_bytes();
    Ipv4Addr::new(127, 64 | (b & 63), c, d)
}
