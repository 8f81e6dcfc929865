//! The assembly: every service of Sealwright in one process, on one port, over one directory.
//!
//! [`Stack::start`] is what `sealwrightd dev` runs and what tests run; `up` and `run` bring a configuration instead of
//! generated keys and take the same path through `assemble`. This crate holds no rule of its own about certificates, logs or
//! trust: it makes keys, opens services, joins their routes and ends them in order.
//!
//! The life of a start: the directory is claimed and locked ([`place`]); addresses are bound, so that every URL is known;
//! keys are read or made ([`keys`]); services are opened, the log first; the listener begins to answer; the trust service
//! asks the others, over channels in memory, who they are, and publishes; files for clients are written; readiness is asked
//! for over the port itself; `ready` is said.

pub mod apart;
mod assemble;
mod backup;
mod bench;
pub mod cli;
pub mod config;
mod console;
pub mod demo;
mod dev;
pub mod doctor;
pub mod endpoints;
pub mod error;
mod files;
mod fsck;
pub mod health;
pub mod init;
mod internal;
pub mod keys;
mod log_control;
mod log_import;
mod log_sections;
mod log_verbs;
mod logs_at_rest;
mod operator;
pub mod place;
mod probe;
mod restore;
mod rotate;
mod settings;
mod witness;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwright_host::SharedClock;
use sealwright_host::clock::SystemClock;
use sealwright_host::grpc::Socket;
use sealwright_host::peers::Peers;
use sealwright_host::run::{Drained, HostConfig, Limits, Running, Server};
use sealwright_host::telemetry::TelemetryConfig;

use assemble::{Parts, Services};
use endpoints::Endpoints;
use log_control::MoreDoors;
use place::{Kind, Place};

pub use error::Error;

/// How long services may take to finish after the listener has drained; the whole end stays within five seconds.
const SHUTDOWN_TIME: Duration = Duration::from_millis(800);
/// How long everything may take to answer after the listener began to.
const READY_TIME: Duration = Duration::from_secs(10);
/// How often a stack that waits for something outside asks itself whether it is ready.
const READY_INTERVAL: Duration = Duration::from_secs(1);

/// A development stack to start.
#[derive(Clone, Debug)]
pub struct StackConfig {
    /// Where it keeps keys and state; made when it is new or empty.
    pub dir: PathBuf,
    /// Loopback address; `None` is what the directory was made with, or 127.0.0.1:7700. Port 0 takes a free port once.
    pub listen: Option<SocketAddr>,
    /// Base URL in certificates and trust files; `None` is what the directory was made with, or `http://` and the address.
    pub public_url: Option<String>,
    /// A TLS listener beside the plain one, on loopback.
    pub tls_listen: Option<SocketAddr>,
    /// Whom the identity provider approves every login as.
    pub login: Option<String>,
    /// The wall clock of every service.
    pub clock: SharedClock,
    /// Where metrics and traces go. Logs are the caller's to set up.
    pub telemetry: TelemetryConfig,
    /// What outsiders may use up.
    pub limits: Limits,
}

impl StackConfig {
    /// A development stack over `dir` with the defaults.
    #[must_use]
    pub fn dev(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            listen: None,
            public_url: None,
            tls_listen: None,
            login: None,
            clock: SystemClock::shared(),
            telemetry: TelemetryConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// A running stack. End it with [`Stack::shutdown`]; a stack that is dropped stops serving and writes nothing more.
#[derive(Debug)]
pub struct Stack {
    place: Place,
    endpoints: Endpoints,
    running: Running,
    services: Services,
    /// The door for other services of the deployment.
    internal: Option<Running>,
    /// Addresses of logs that came later.
    more: Option<MoreDoors>,
    /// How the operator reaches the process.
    control: Vec<Socket>,
    metrics: Option<Running>,
}

impl Stack {
    /// Starts a development stack and returns when everything answers and the client files are written.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn start(config: StackConfig) -> Result<Self, Error> {
        dev::start(config).await
    }

    /// Starts what a configuration file says, all of it or one role.
    ///
    /// # Errors
    /// See [`Error`].
    pub async fn up(config: config::Validated, clock: SharedClock) -> Result<Self, Error> {
        init::up(config, clock).await
    }

    /// The directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.place.dir()
    }

    /// A file below `DIR/client`.
    #[must_use]
    pub fn client_file(&self, name: &str) -> PathBuf {
        self.place.path("client").join(name)
    }

    /// Base URLs, as in `DIR/endpoints.json`.
    #[must_use]
    pub const fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The bound plain addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.running.addresses()
    }

    /// The address of the metrics listener.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
            .as_ref()
            .and_then(|metrics| metrics.addresses().first().copied())
    }

    /// Returns when a service has stopped for good, with the words for the operator: the process should end with an error.
    pub async fn stopped(&self) -> String {
        self.services.stopped().await
    }

    /// Answers what is under way, then lets each service finish. Takes less than five seconds.
    pub async fn shutdown(self) {
        drop(self.control);
        // At the same time: an authority that drains may still need its log, which drains as well and finishes what it has.
        let internal = async {
            match self.internal {
                Some(internal) => internal.drain().await,
                None => Drained::Clean,
            }
        };
        let more = async {
            if let Some(more) = &self.more {
                more.drain().await;
            }
        };
        if let (Drained::CutOff(connections), ..) =
            tokio::join!(self.running.drain(), internal, more)
        {
            tracing::warn!(connections, "cut off: their requests did not end in time");
        }
        if tokio::time::timeout(SHUTDOWN_TIME, self.services.shutdown())
            .await
            .is_err()
        {
            tracing::warn!(
                "services did not finish in time; the next start recovers what they left"
            );
        }
        // The lock goes last: nobody else may open what is still being written.
        drop(self.place);
    }
}

/// The ways into a process, bound and not yet answering, and its own way to others.
#[derive(Debug)]
struct Doors {
    server: Server,
    internal: Option<Server>,
    peers: Option<Peers>,
    /// How to listen on further addresses, where logs may need some.
    more: Option<HostConfig>,
}

/// Opens the parts, serves them, publishes trust and writes the client files: what `dev`, `up` and `run` share.
async fn launch(
    place: Place,
    kind: Kind,
    doors: Doors,
    parts: Parts,
    endpoints: Endpoints,
    clock: &SharedClock,
    metrics_listen: Option<SocketAddr>,
) -> Result<Stack, Error> {
    let Doors {
        server,
        internal,
        peers,
        more,
    } = doors;
    let peers = peers.as_ref();
    let services = assemble::open(parts, place.dir(), server.registry(), clock, peers).await?;
    services.register_checks(server.health());
    server
        .health()
        .register(peers.iter().flat_map(|peers| peers.checks()));
    let metrics = match metrics_listen {
        Some(address) => Some(sealwright_host::metrics::listen(
            server.registry(),
            address,
        )?),
        None => None,
    };
    let router = services.router().merge(console::router(kind, &endpoints));
    let more = more.map(|host| MoreDoors::new(host, router.clone()));
    let bound = server.addresses().to_vec();
    let client = place.path("client");
    let control = services.open_control(kind, place.dir(), client, more.clone(), &bound)?;
    for url in more.iter().flat_map(|_| services.log_urls()) {
        if let Some(Err(error)) = more.as_ref().map(|more| more.reach(&url, &bound)) {
            tracing::warn!(%error, url, "a log cannot be reached at its address");
        }
    }
    let guarded = peers.map(|peers| peers.guard(services.internal_router()));
    let internal = internal.map(|door| door.start(guarded.unwrap_or_default()));
    let running = server.start(router);
    let published = tokio::join!(services.publish(), services.warm()).0;
    let stack = Stack {
        place,
        endpoints,
        running,
        services,
        internal,
        more,
        control,
        metrics,
    };
    match published {
        Ok(()) => {}
        Err(error) => {
            stack.shutdown().await;
            return Err(error);
        }
    }
    match stack.settle(kind).await {
        Ok(()) => Ok(stack),
        Err(error) => {
            stack.shutdown().await;
            Err(error)
        }
    }
}

impl Stack {
    /// Writes the client files. A development stack depends on nothing outside, so it is also waited for; a production one
    /// serves while its identity provider or its CT log is away, and says so at `/readyz`.
    async fn settle(&self, kind: Kind) -> Result<(), Error> {
        let client = self.place.path("client");
        self.services.write_client_files(&client).await?;
        self.endpoints.write(&self.place)?;
        if let Some(address) = self.addresses().first() {
            let listening = self.place.path("LISTENING");
            files::write_if_different(
                &listening,
                address.to_string().as_bytes(),
                files::Readers::All,
            )?;
        }
        if kind == Kind::Production {
            return Ok(());
        }
        match tokio::time::timeout(READY_TIME, self.ready()).await {
            Ok(()) => Ok(()),
            Err(_) => Err(Error::NotReady {
                what: self.readiness().await.err().unwrap_or_default(),
            }),
        }
    }

    /// Returns once the stack says, over its own port, that it is ready.
    pub async fn ready(&self) {
        let (mut pause, mut said) = (Duration::from_millis(5), String::new());
        while let Err(what) = self.readiness().await {
            if what != said {
                tracing::warn!("not ready yet: {what}");
                said = what;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(READY_INTERVAL);
        }
    }

    async fn readiness(&self) -> Result<(), String> {
        let Some(address) = self.addresses().first().copied() else {
            return Ok(());
        };
        match probe::get(address, "/readyz").await {
            Ok((200, _)) => Ok(()),
            Ok((status, report)) => Err(format!("/readyz answers {status}: {}", unmet(&report))),
            Err(error) => Err(format!("/readyz: {error}")),
        }
    }
}

/// The checks of a readiness report that failed.
fn unmet(report: &str) -> String {
    let parsed: serde_json::Value = serde_json::from_str(report).unwrap_or_default();
    let checks = parsed["checks"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let failed = checks
        .iter()
        .filter(|check| check["ok"] == false && check["advisory"] != true);
    let named = failed.map(|check| {
        let text = |key: &str| check[key].as_str().unwrap_or_default();
        format!("{}: {}", text("name"), text("detail"))
    });
    named.collect::<Vec<_>>().join("; ")
}
