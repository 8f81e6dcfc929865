//! Opening the services of one process and putting their routes on one port. `dev`, `up` and `run` differ only in the
//! [`Parts`] they bring.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use sealwright_crypto::{PublicKey, Signer};
use sealwright_host::SharedClock;
use sealwright_host::config::ConfigError;
use sealwright_host::grpc::{Socket, memory_channel, serve_socket};
use sealwright_host::health::Health;
use sealwright_host::metrics::Registry;
use sealwright_host::peers::Peers;
use sealwright_host::run::HostConfig;
use sealwright_log::LogService;
use sealwright_pki::Certificate;
use sealwright_trust::Service;
use sealwright_trust::ceremony::OfflineKeys;
use tonic::transport::Channel;

use crate::error::Error;
use crate::files;
use crate::keys::Authority;
use crate::log_control::{self, Certificates, LOG_SOCKET, MoreDoors};
use crate::place::Kind;

/// What one process runs; absent roles run elsewhere or not at all.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    pub(crate) ca: Option<CaPart>,
    pub(crate) tsa: Option<(sealwright_tsa::Config, Authority)>,
    pub(crate) log: Option<LogPart>,
    pub(crate) trust: Option<TrustPart>,
    pub(crate) idp: Option<sealwright_idp::Config>,
    pub(crate) witness: Option<WitnessPart>,
}

/// A witness; its state is in `DIR/witness`.
#[derive(Debug)]
pub(crate) struct WitnessPart {
    pub(crate) config: sealwright_witness::Config,
    pub(crate) signer: Arc<dyn Signer>,
    /// Where relative paths of its section are looked up.
    pub(crate) folder: PathBuf,
    /// Its state is made; only `witness init` says so.
    pub(crate) create: bool,
}

/// The certificate authority, and where its CT log is.
#[derive(Debug)]
pub(crate) struct CaPart {
    pub(crate) config: sealwright_ca::Config,
    pub(crate) authority: Authority,
    pub(crate) ct: CtPart,
}

/// The way from the certificate authority to its CT log.
#[derive(Debug)]
pub(crate) enum CtPart {
    /// A log of this process, by name, reached without a socket.
    Inside {
        name: String,
        key: Arc<dyn Signer>,
        timeout: Duration,
    },
    /// A log of another process of the deployment.
    Peer {
        url: String,
        name: String,
        key: PublicKey,
        timeout: Duration,
    },
    /// A log elsewhere.
    Elsewhere(sealwright_ca::CtLog),
}

/// All logs of the process; each keeps a folder below `DIR/log`.
#[derive(Debug)]
pub(crate) struct LogPart {
    pub(crate) config: sealwright_log::Config,
    /// The key of each log, by its name.
    pub(crate) signers: Vec<(String, Arc<dyn Signer>)>,
    /// Roots that every CT log accepts besides those of its section.
    pub(crate) ct_roots: Vec<Certificate>,
    /// Logs that are not there yet are made; only a first start says so.
    pub(crate) create: bool,
}

/// The trust service.
#[derive(Debug)]
pub(crate) struct TrustPart {
    pub(crate) config: sealwright_trust::Config,
    /// Keys for snapshot and timestamp; empty lets the service keep its own.
    pub(crate) online: Vec<Arc<dyn Signer>>,
    /// Where root and targets keys are, for a process that may publish by itself.
    pub(crate) offline: Option<PathBuf>,
}

/// The services of a process, open.
#[derive(Debug, Default)]
pub(crate) struct Services {
    ca: Option<sealwright_ca::Ca>,
    tsa: Option<sealwright_tsa::Tsa>,
    logs: Option<LogService>,
    trust: Option<sealwright_trust::Trust>,
    idp: Option<sealwright_idp::Idp>,
    witness: Option<sealwright_witness::Witness>,
    offline: Option<OfflineKeys>,
    /// The log of this process that its authority's certificates go to, and how long it may take.
    certificates: Option<(String, Duration)>,
}

/// The state of the trust service, below the instance's directory.
pub(crate) const TRUST_STATE: &str = "trust";

/// Where the trust service is controlled, below the instance's directory: a folder that only its owner enters.
pub(crate) const CONTROL_SOCKET: &str = "trust/control.sock";

/// Opens every part; their states are folders below `dir`. `peers` is how other processes are reached.
pub(crate) async fn open(
    parts: Parts,
    dir: &Path,
    registry: &Registry,
    clock: &SharedClock,
    peers: Option<&Peers>,
) -> Result<Services, Error> {
    let state = |name: &str| {
        let path = dir.join(name);
        files::make_private_folder(&path).map(|()| path)
    };
    let mut services = Services::default();
    if let Some(LogPart {
        config,
        signers,
        ct_roots,
        create,
    }) = parts.log
    {
        let (clock, registry) = (clock.clone(), registry.clone());
        let deps = sealwright_log::Deps {
            clock,
            registry,
            state: state("log")?,
            signers,
            ct_roots,
            create,
        };
        services.logs = Some(
            LogService::open(config, deps)
                .await
                .map_err(Error::service("log"))?,
        );
    }
    if let Some(part) = parts.witness {
        let deps = sealwright_witness::Deps {
            clock: clock.clone(),
            registry: registry.clone(),
            state: state("witness")?,
            folder: part.folder,
            signer: part.signer,
            create: part.create,
        };
        let witness = sealwright_witness::Witness::open(part.config, deps).await;
        services.witness = Some(witness.map_err(Error::service("witness"))?);
    }
    services.certificates = parts.ca.as_ref().and_then(|part| match &part.ct {
        CtPart::Inside { name, timeout, .. } => Some((name.clone(), *timeout)),
        _ => None,
    });
    let ca = async {
        let Some(part) = parts.ca else {
            return Ok(None);
        };
        let ct = match part.ct {
            CtPart::Elsewhere(log) => log,
            CtPart::Peer {
                url,
                name,
                key,
                timeout,
            } => {
                let channel = channel(peers, "ca.ct.url", &url)?;
                sealwright_ca::CtLog::grpc(channel, name, key, timeout).at(url)
            }
            CtPart::Inside { name, key, timeout } => {
                let router = services
                    .logs
                    .as_ref()
                    .map(LogService::internal_router)
                    .unwrap_or_default();
                sealwright_ca::CtLog::in_process(router, name, key.public_key().clone(), timeout)
            }
        };
        let Authority { signer, chain } = part.authority;
        let deps = sealwright_ca::Deps {
            clock: clock.clone(),
            registry: registry.clone(),
            state: state("ca")?,
            signer,
            chain,
            ct,
        };
        sealwright_ca::Ca::open(part.config, deps)
            .await
            .map(Some)
            .map_err(Error::service("ca"))
    };
    let tsa = async {
        let Some((config, Authority { signer, chain })) = parts.tsa else {
            return Ok(None);
        };
        let deps = sealwright_tsa::Deps {
            clock: clock.clone(),
            registry: registry.clone(),
            state: state("tsa")?,
            signer,
            chain,
        };
        sealwright_tsa::Tsa::open(config, deps)
            .await
            .map(Some)
            .map_err(Error::service("tsa"))
    };
    let idp = async {
        let Some(config) = parts.idp else {
            return Ok(None);
        };
        sealwright_idp::Idp::open(config, clock.clone())
            .await
            .map(Some)
            .map_err(Error::service("idp"))
    };
    let trust = async {
        let Some(part) = parts.trust else {
            return Ok((None, None));
        };
        let elsewhere = part
            .config
            .services
            .iter()
            .map(|url| {
                let channel = channel(peers, "trust.services", url)?;
                let name = url.clone();
                Ok(Service { name, channel })
            })
            .collect::<Result<Vec<_>, Error>>()?;
        let deps = sealwright_trust::Deps {
            clock: clock.clone(),
            registry: registry.clone(),
            state: state(TRUST_STATE)?,
            online: part.online,
        };
        let opened = match part.offline {
            Some(offline) => {
                files::make_private_folder(&offline)?;
                let opened = sealwright_trust::Trust::open_dev(part.config, deps, &offline).await;
                opened.map(|(trust, keys)| (Some(trust), Some(keys)))
            }
            None => sealwright_trust::Trust::open(part.config, deps)
                .await
                .map(|trust| (Some(trust), None)),
        };
        let (trust, keys) = opened.map_err(Error::service("trust"))?;
        if let Some(trust) = &trust {
            trust.ask(elsewhere);
        }
        Ok((trust, keys))
    };
    // The slow one is the provider's key, which is made on the first start only.
    let (ca, tsa, idp, (trust, offline)) = tokio::try_join!(ca, tsa, idp, trust)?;
    (
        services.ca,
        services.tsa,
        services.idp,
        services.trust,
        services.offline,
    ) = (ca, tsa, idp, trust, offline);
    // Where all roles are in this process, nobody outside is to be asked.
    let here = services.material_services();
    if let Some(trust) = services.trust.as_ref().filter(|_| !here.is_empty()) {
        trust.ask(here);
    }
    Ok(services)
}

fn channel(peers: Option<&Peers>, key: &str, url: &str) -> Result<Channel, Error> {
    let peers = peers.ok_or_else(|| {
        ConfigError::unusable(key, format!("{url:?} takes an [internal] section"))
    })?;
    peers.channel(url).map_err(Error::service("internal"))
}

impl Services {
    /// Every public route.
    pub(crate) fn router(&self) -> Router {
        let mut router = Router::new();
        if let Some(ca) = &self.ca {
            router = router.merge(ca.router());
        }
        if let Some(tsa) = &self.tsa {
            router = router.merge(tsa.router());
        }
        if let Some(logs) = &self.logs {
            router = router.merge(logs.router());
        }
        if let Some(trust) = &self.trust {
            router = router.merge(trust.router());
        }
        if let Some(idp) = &self.idp {
            router = router.merge(idp.router());
        }
        if let Some(witness) = &self.witness {
            router = router.merge(witness.router());
        }
        router
    }

    /// Registers what readiness depends on.
    pub(crate) fn register_checks(&self, health: &Health) {
        health.register(self.logs.iter().flat_map(LogService::checks));
        health.register(self.ca.iter().flat_map(sealwright_ca::Ca::checks));
        health.register(self.tsa.iter().flat_map(sealwright_tsa::Tsa::checks));
        health.register(self.trust.iter().flat_map(sealwright_trust::Trust::checks));
        health.register(self.idp.iter().flat_map(sealwright_idp::Idp::checks));
        let witness = self.witness.iter();
        health.register(witness.flat_map(sealwright_witness::Witness::checks));
    }

    /// Base URLs of its logs.
    pub(crate) fn log_urls(&self) -> Vec<String> {
        let logs = self.logs.iter().flat_map(LogService::status);
        logs.map(|log| log.url).collect()
    }

    /// What this process serves to other services of the deployment. One role alone: several would serve one method.
    pub(crate) fn internal_router(&self) -> Router {
        let ca = self
            .ca
            .as_ref()
            .map(sealwright_ca::Ca::trust_material_router);
        let tsa = || {
            self.tsa
                .as_ref()
                .map(sealwright_tsa::Tsa::trust_material_router)
        };
        let logs = || self.logs.as_ref().map(LogService::internal_router);
        ca.or_else(tsa).or_else(logs).unwrap_or_default()
    }

    /// The services of this process, for the trust service to ask. The channels exist in memory alone, which is what
    /// authenticates them: nobody else can be at the other end.
    fn material_services(&self) -> Vec<Service> {
        let routers = [
            (
                "ca",
                self.ca
                    .as_ref()
                    .map(sealwright_ca::Ca::trust_material_router),
            ),
            (
                "tsa",
                self.tsa
                    .as_ref()
                    .map(sealwright_tsa::Tsa::trust_material_router),
            ),
            (
                "log",
                self.logs.as_ref().map(LogService::trust_material_router),
            ),
        ];
        let here = routers.into_iter().filter_map(|(name, router)| {
            let channel = memory_channel(&HostConfig::default(), router?);
            let name = name.to_owned();
            Some(Service { name, channel })
        });
        here.collect()
    }

    /// Opens the trust service and the logs to their operator, at sockets below `dir`, and keeps the files for clients in
    /// `client` up to date with what is published. Where a path is too long for
    /// one, logs do without, and so does a development stack.
    pub(crate) fn open_control(
        &self,
        kind: Kind,
        dir: &Path,
        client: PathBuf,
        more: Option<MoreDoors>,
        bound: &[SocketAddr],
    ) -> Result<Vec<Socket>, Error> {
        let mut doors = Vec::new();
        if let Some(trust) = &self.trust {
            trust.keep_client_files(client);
            doors.push((CONTROL_SOCKET, trust.control_router()));
        }
        if let Some(logs) = &self.logs {
            let certificates = self.ca.clone().zip(self.certificates.clone());
            let certificates =
                certificates.map(|(ca, (log, timeout))| Certificates { ca, log, timeout });
            doors.push((
                LOG_SOCKET,
                log_control::router(logs.clone(), certificates, dir, more, bound.to_vec()),
            ));
        }
        let mut sockets = Vec::new();
        for (name, router) in doors {
            let path = dir.join(name);
            match serve_socket(&HostConfig::default(), &path, router) {
                Ok(socket) => sockets.push(socket),
                Err(error) if kind == Kind::Dev || name == LOG_SOCKET => {
                    tracing::warn!(%error, "no socket for an operator at {}", path.display());
                }
                Err(error) => return Err(Error::io(path)(error)),
            }
        }
        Ok(sockets)
    }

    /// Where the offline keys are at hand: collects, stages, signs, publishes and activates what is new.
    pub(crate) async fn publish(&self) -> Result<(), Error> {
        if let (Some(trust), Some(keys)) = (&self.trust, &self.offline) {
            trust
                .publish_dev(keys, &self.material_services())
                .await
                .map_err(Error::service("trust"))?;
        }
        Ok(())
    }

    /// Fetches the keys of identity providers that are served by this very process, once it serves.
    pub(crate) async fn warm(&self) {
        if let Some(ca) = &self.ca {
            ca.warm().await;
        }
    }

    /// Returns when a log has stopped for good, with the words for the operator.
    pub(crate) async fn stopped(&self) -> String {
        match &self.logs {
            Some(logs) => {
                let (name, cause) = logs.stopped().await;
                format!("log {name} has stopped: {cause}")
            }
            None => std::future::pending().await,
        }
    }

    /// Writes what clients need into `folder`. Nothing is written before the first publication, and nothing where the
    /// trust role runs elsewhere.
    pub(crate) async fn write_client_files(&self, folder: &Path) -> Result<(), Error> {
        let Some(trust) = &self.trust else {
            return Ok(());
        };
        files::make_folder(folder)?;
        match trust.write_client_files(folder).await {
            Err(sealwright_trust::Error::NotPublished) => Ok(()),
            outcome => outcome.map_err(Error::service("trust")),
        }
    }

    /// Lets each service finish, the log last: the others still write to it.
    pub(crate) async fn shutdown(self) {
        if let Some(trust) = self.trust {
            trust.shutdown().await;
        }
        if let Some(idp) = self.idp {
            idp.shutdown().await;
        }
        if let Some(tsa) = self.tsa {
            tsa.shutdown().await;
        }
        if let Some(ca) = self.ca {
            ca.shutdown().await;
        }
        if let Some(logs) = self.logs {
            logs.shutdown().await;
        }
        if let Some(witness) = self.witness {
            witness.shutdown().await;
        }
    }
}
