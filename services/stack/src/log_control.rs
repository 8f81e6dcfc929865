//! The operator's way to the logs of a running process: `sealwright.log.v1.LogControl` over a socket in its directory.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use sealwright_ca::{Ca, CtLog};
use sealwright_crypto::PublicKey;
use sealwright_host::Clock as _;
use sealwright_host::clock::SystemClock;
use sealwright_host::grpc::mount;
use sealwright_host::run::{HostConfig, Running, Server};
use sealwright_log::{Kind, LogService, ShardState, ShardStatus};
use sealwright_proto::sealwright::log::v1 as wire;
use sealwright_proto::sealwright::log::v1::log_control_server::{LogControl, LogControlServer};
use tonic::{Request, Response, Status};

use crate::error::Error;
use crate::log_sections;

/// Where the logs are controlled, below the instance's directory: a folder that only its owner enters.
pub(crate) const LOG_SOCKET: &str = "log/control.sock";

/// How often and after which pause a log is looked at that is not well: five seconds in all.
const PATIENCE: u32 = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// A log is not told to open later than this: ten years, in seconds. Milliseconds are far beyond it.
const MAX_AHEAD: i64 = 10 * 366 * 24 * 3600;

/// The authority of the process, which sends its certificates to one of the logs.
#[derive(Debug)]
pub(crate) struct Certificates {
    pub(crate) ca: Ca,
    /// Name of the log that they go to.
    pub(crate) log: String,
    pub(crate) timeout: Duration,
}

/// Further addresses of a development stack. It listens on loopback alone, where every shard needs an address of its own
/// (127.0.0.2); elsewhere the operator says where to listen. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct MoreDoors {
    host: HostConfig,
    router: Router,
    open: Arc<Mutex<Vec<Running>>>,
}

impl MoreDoors {
    /// Beside `bound`, with the limits of `host` and the same routes.
    pub(crate) fn new(host: HostConfig, router: Router) -> Self {
        Self {
            host,
            router,
            open: Arc::default(),
        }
    }

    /// Listens where `url` leads, if that is a loopback address that nobody of this process listens on.
    pub(crate) fn reach(&self, url: &str, bound: &[SocketAddr]) -> Result<(), Error> {
        let Some(address) = loopback(url) else {
            return Ok(());
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = open.iter().flat_map(Running::addresses).chain(bound);
        if all.any(|known| *known == address) {
            return Ok(());
        }
        let host = HostConfig {
            listen: vec![address],
            tls: None,
            ..self.host.clone()
        };
        open.push(Server::bind(&host)?.start(self.router.clone()));
        Ok(())
    }

    /// Answers what is under way.
    pub(crate) async fn drain(&self) {
        let open = std::mem::take(&mut *self.open.lock().unwrap_or_else(PoisonError::into_inner));
        for running in open {
            running.drain().await;
        }
    }
}

/// The address of a plain URL whose host is one, and on loopback.
fn loopback(url: &str) -> Option<SocketAddr> {
    let url = url::Url::parse(url)
        .ok()
        .filter(|url| url.scheme() == "http")?;
    let host = match url.host()? {
        url::Host::Ipv4(address) => IpAddr::V4(address),
        url::Host::Ipv6(address) => IpAddr::V6(address),
        url::Host::Domain(_) => return None,
    };
    let address = SocketAddr::new(host, url.port_or_known_default()?);
    host.is_loopback().then_some(address)
}

/// The service for the logs of `dir`, in a process that listens on `bound`.
pub(crate) fn router(
    logs: LogService,
    certificates: Option<Certificates>,
    dir: &Path,
    doors: Option<MoreDoors>,
    bound: Vec<SocketAddr>,
) -> Router {
    let control = Control {
        doors,
        bound,
        logs,
        certificates: certificates.map(Mutex::new),
        dir: dir.to_owned(),
    };
    mount(Router::new(), LogControlServer::new(control))
}

#[derive(Debug)]
struct Control {
    doors: Option<MoreDoors>,
    bound: Vec<SocketAddr>,
    logs: LogService,
    certificates: Option<Mutex<Certificates>>,
    dir: PathBuf,
}

/// Who can open the socket may read everything, so nothing of an error is kept back.
fn refuse(error: impl std::fmt::Display) -> Status {
    Status::failed_precondition(error.to_string())
}

impl Control {
    fn shard(&self, name: &str) -> Result<wire::Shard, Status> {
        let found = self.find(name);
        found.ok_or_else(|| Status::not_found(format!("no log here is called {name:.100?}")))
    }

    fn find(&self, name: &str) -> Option<wire::Shard> {
        let shards = self.logs.status().into_iter();
        let mut named = shards.filter(|shard| shard.name == name);
        named.next().map(|shard| self.to_wire(shard))
    }

    /// Nobody is sent to a log that could not take their entries. One that was opened a moment ago may still wait for its
    /// witnesses.
    async fn require_well(&self, name: &str) -> Result<(), Status> {
        let mut condition = self.logs.condition(name);
        for _ in 0..PATIENCE {
            if condition.is_ok() {
                break;
            }
            tokio::time::sleep(PAUSE).await;
            condition = self.logs.condition(name);
        }
        condition.map_err(|error| refuse(format!("{name} could not take entries: {error}")))
    }

    fn certificates_go_to(&self) -> Option<String> {
        let certificates = self.certificates.as_ref()?;
        let held = certificates.lock().unwrap_or_else(PoisonError::into_inner);
        Some(held.log.clone())
    }

    fn to_wire(&self, shard: ShardStatus) -> wire::Shard {
        let takes = self.certificates_go_to();
        wire::Shard {
            takes_certificates: takes.is_some_and(|name| name == shard.name),
            kind: match shard.kind {
                Kind::Rekor => "rekor",
                Kind::Ct => "ct",
            }
            .to_owned(),
            state: state_to_wire(shard.state) as i32,
            name: shard.name,
            origin: shard.origin,
            url: shard.url,
            tree_size: shard.size,
            public_key: shard.public_key,
            valid_from: shard.valid_from,
            replaces: shard.replaces.unwrap_or_default(),
        }
    }
}

fn state_to_wire(state: ShardState) -> wire::ShardState {
    match state {
        ShardState::Staged => wire::ShardState::Staged,
        ShardState::Active => wire::ShardState::Active,
        ShardState::Frozen => wire::ShardState::Frozen,
        ShardState::Imported => wire::ShardState::Imported,
        _ => wire::ShardState::Unspecified,
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl LogControl for Control {
    async fn status(&self, _request: Request<wire::StatusRequest>) -> Answer<wire::StatusResponse> {
        let shards = self.logs.status().into_iter();
        let shards = shards.map(|shard| self.to_wire(shard)).collect();
        Ok(Response::new(wire::StatusResponse { shards }))
    }

    async fn open(&self, request: Request<wire::OpenRequest>) -> Answer<wire::Shard> {
        let name = request.into_inner().name;
        if let Some(open) = self.find(&name) {
            return Ok(Response::new(open));
        }
        let mut config = log_sections::read_one(&self.dir, &name).map_err(refuse)?;
        let signer = log_sections::locate(&mut config, &self.dir).map_err(refuse)?;
        if let Some(doors) = &self.doors {
            doors.reach(&config.url, &self.bound).map_err(refuse)?;
        }
        self.logs.add(config, signer).await.map_err(refuse)?;
        Ok(Response::new(self.shard(&name)?))
    }

    async fn accept_from(&self, request: Request<wire::AcceptFromRequest>) -> Answer<wire::Shard> {
        let wire::AcceptFromRequest { name, from } = request.into_inner();
        let shard = self.shard(&name)?;
        if from > SystemClock.unix().saturating_add(MAX_AHEAD) {
            return Err(refuse(format!(
                "{from} is more than ten years ahead; a moment is given in Unix seconds"
            )));
        }
        match shard.state() {
            wire::ShardState::Staged => {}
            // Two who rotate at once, or a start that came in between.
            wire::ShardState::Active if from <= SystemClock.unix() => {
                return Ok(Response::new(shard));
            }
            wire::ShardState::Active => {
                return Err(refuse(format!(
                    "{name} takes entries already; to keep it from that, give it a successor (log rotate) or freeze it"
                )));
            }
            _ => return Err(refuse(format!("{name} takes no entries any more"))),
        }
        self.require_well(&name).await?;
        // On disk first: what takes entries now takes them after a restart.
        let keys = [
            ("staged", "false".to_owned()),
            ("accept_from", from.to_string()),
        ];
        log_sections::set(&self.dir, &name, &keys).map_err(refuse)?;
        self.logs.accept_from(&name, from).map_err(refuse)?;
        Ok(Response::new(self.shard(&name)?))
    }

    async fn freeze(&self, request: Request<wire::FreezeRequest>) -> Answer<wire::Shard> {
        let name = request.into_inner().name;
        self.shard(&name)?;
        if self.certificates_go_to().as_ref() == Some(&name) {
            let why = "the authority of this process sends its certificates there; rotate the log instead";
            return Err(Status::failed_precondition(format!(
                "{name} is not frozen: {why}"
            )));
        }
        self.logs.freeze(&name).await.map_err(refuse)?;
        Ok(Response::new(self.shard(&name)?))
    }

    async fn use_for_certificates(
        &self,
        request: Request<wire::UseForCertificatesRequest>,
    ) -> Answer<wire::UseForCertificatesResponse> {
        let name = request.into_inner().name;
        let shard = self.shard(&name)?;
        let certificates = self
            .certificates
            .as_ref()
            .ok_or_else(|| refuse("no authority of this process uses a log of this process"))?;
        if shard.kind != "ct" || shard.state() != wire::ShardState::Active {
            return Err(refuse(format!(
                "{name} is no certificate log that takes entries"
            )));
        }
        let key = PublicKey::from_spki_der(&shard.public_key).map_err(refuse)?;
        let mut held = certificates.lock().unwrap_or_else(PoisonError::into_inner);
        if held.log != name {
            let router = self.logs.internal_router();
            let log = CtLog::in_process(router, name.clone(), key, held.timeout);
            held.ca.use_log(log);
            held.log = name;
        }
        Ok(Response::new(wire::UseForCertificatesResponse {}))
    }
}
