//! The service: every log of a process, opened together and served on one listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures::future::{join_all, select_all};
use sealwright_crypto::Signer;
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_pki::Certificate;

use crate::api::{self, SignatureLog, SignatureLogs};
use crate::config::{Config, LogConfig};
use crate::cpu::CpuPool;
use crate::ct_api::{self, CertificateLog, CertificateLogs};
use crate::entry::{ct, rekor};
use crate::error::Error;
use crate::identity::LogIdentity;
use crate::kind::Kind;
use crate::log::Log;
use crate::material::{self, Described};
use crate::metrics::Metrics;
use crate::options::EngineParts;
use crate::read;

/// Verifications that may wait for a processor, for each one that may run. At 60 us each, a thousand wait for 60 ms.
const WAITING_PER_PROCESSOR: usize = 1024;

/// What the logs are given, beside their configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that exists; each log has its own below it, unless its section says otherwise.
    pub state: PathBuf,
    /// The key of each log, by the log's name; [`LogConfig::load_signer`] reads a configured one.
    pub signers: Vec<(String, Arc<dyn Signer>)>,
    /// Roots that every certificate log accepts, in addition to those of its own section, whose files are looked up below
    /// `state`.
    pub ct_roots: Vec<Certificate>,
    /// Make the logs that are not there yet, as `create = true` in their sections does. For the first start of a
    /// deployment.
    pub create: bool,
}

/// Every log of a process, open.
#[derive(Debug, Default)]
pub struct LogService {
    signature: Vec<SignatureLog>,
    certificate: Vec<Arc<CertificateLog>>,
    opened: Vec<Described>,
}

impl LogService {
    /// Opens all logs. If one cannot be opened, none stays open.
    ///
    /// # Errors
    /// See [`Error`]'s first group. Two logs with the same name, origin, folder or key are refused.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, Error> {
        let planned = config
            .logs
            .into_iter()
            .map(|config| plan(config, &deps))
            .collect::<Result<Vec<_>, _>>()?;
        require_distinct(&planned)?;
        let metrics = Metrics::register(&deps.registry);
        let outcomes = join_all(planned.iter().map(|one| one.open(&deps, &metrics))).await;
        if let Some(error) = outcomes
            .iter()
            .find_map(|outcome| outcome.as_ref().err())
            .cloned()
        {
            join_all(outcomes.iter().flatten().map(Log::shutdown)).await;
            return Err(error);
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = CpuPool::new(processors, processors * WAITING_PER_PROCESSOR);
        let mut service = Self::default();
        for (planned, log) in planned.into_iter().zip(outcomes.into_iter().flatten()) {
            service.add(planned, log, cpu.clone());
        }
        Ok(service)
    }

    fn add(&mut self, planned: Planned, log: Log, cpu: CpuPool) {
        let Planned {
            config,
            admission,
            roots,
            ..
        } = planned;
        let max_request = config.max_request_bytes();
        self.opened.push(Described {
            log: log.clone(),
            url: config.url.clone(),
            operator: config.operator.clone(),
        });
        match config.kind {
            Kind::Rekor => {
                let (admission, duplicates) = (Arc::new(admission), config.duplicate_mode);
                self.signature.push(SignatureLog {
                    log,
                    admission,
                    duplicates,
                    frozen: config.frozen,
                    max_request,
                    cpu,
                });
            }
            Kind::Ct => self.certificate.push(Arc::new(CertificateLog::new(
                log,
                ct::Admission::new(roots),
                &config,
                cpu,
            ))),
        }
    }

    /// The public routes, HTTP and gRPC, of all logs.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        if !self.signature.is_empty() {
            let logs = SignatureLogs::new(self.signature.clone());
            router = router
                .merge(api::router(&logs))
                .merge(read::signature_routes(&logs));
        }
        if !self.certificate.is_empty() {
            router = router.merge(ct_api::router(&CertificateLogs::new(
                self.certificate.clone(),
            )));
        }
        for one in &self.certificate {
            let prefix = format!("/ct/{}", one.log.identity().name);
            router = router.merge(read::certificate_routes(&prefix, &one.log));
        }
        router.layer(from_fn(keep_authority))
    }

    /// `sealwright.trust.v1.TrustMaterial`, for the trust service alone: to be served in the process or over an
    /// authenticated channel, never on a public listener.
    pub fn trust_material_router(&self) -> Router {
        material::router(self.opened.clone())
    }

    /// Methods for other services of the deployment: `sealwright.ct.v1.CertificateTransparency`, which takes submissions
    /// here whether the public may submit or not, and `sealwright.trust.v1.TrustMaterial`. To be served in the process or
    /// over an authenticated channel with an allow list, never on a public listener.
    pub fn internal_router(&self) -> Router {
        let logs = CertificateLogs::new(self.certificate.clone());
        self.trust_material_router()
            .merge(ct_api::internal_router(&logs))
            .layer(from_fn(keep_authority))
    }

    /// The open logs.
    pub fn logs(&self) -> impl Iterator<Item = &Log> {
        self.opened.iter().map(|one| &one.log)
    }

    /// Readiness: every log takes entries.
    pub fn checks(&self) -> Vec<Check> {
        let check = |log: &Log| {
            let (name, log) = (format!("log.{}", log.identity().name), log.clone());
            Check::new(name, move || {
                let condition = log
                    .condition()
                    .map_err(|error| error.reason().as_str_name().to_owned());
                async move { condition }
            })
        };
        self.logs().map(check).collect()
    }

    /// Returns when a log has stopped for good, with its name and the cause: the process should end with an error.
    pub async fn stopped(&self) -> (String, String) {
        let stops = self.logs().map(|log| {
            let (name, mut fatal) = (log.identity().name.clone(), log.fatal());
            Box::pin(async move {
                let cause = fatal
                    .wait_for(Option::is_some)
                    .await
                    .ok()
                    .and_then(|cause| cause.clone());
                (name, cause.unwrap_or_default())
            })
        });
        let stops: Vec<_> = stops.collect();
        if stops.is_empty() {
            return std::future::pending().await;
        }
        select_all(stops).await.0
    }

    /// Writes what is queued, brings files up to date and releases the folders.
    pub async fn shutdown(self) {
        join_all(self.opened.iter().map(|one| one.log.shutdown())).await;
    }
}

/// gRPC handlers see the headers and extensions of a request, not its address: the host that was asked goes along with
/// the latter.
async fn keep_authority(mut request: Request, next: Next) -> Response {
    if let Some(authority) = request.uri().authority().cloned() {
        request.extensions_mut().insert(authority);
    }
    next.run(request).await
}

/// A log before it is opened: its section, understood.
#[derive(Debug)]
struct Planned {
    config: LogConfig,
    identity: LogIdentity,
    dir: PathBuf,
    signer: Arc<dyn Signer>,
    admission: rekor::Admission,
    roots: Vec<Certificate>,
}

fn plan(config: LogConfig, deps: &Deps) -> Result<Planned, Error> {
    let identity = config.identity()?;
    let signer = deps
        .signers
        .iter()
        .find(|(name, _)| *name == config.name)
        .map(|(_, signer)| signer.clone());
    let signer = signer.ok_or_else(|| config.unusable("it has no key"))?;
    let dir = deps
        .state
        .join(config.dir.as_deref().unwrap_or(Path::new(&config.name)));
    let mut admission = rekor::Admission {
        legacy_dsse: config.legacy_dsse,
        ..rekor::Admission::default()
    };
    if let Some(algorithms) = config.signature_algorithms()? {
        admission.algorithms = algorithms;
    }
    let mut roots = config.load_roots(&deps.state)?;
    roots.extend(deps.ct_roots.iter().cloned());
    if config.kind == Kind::Ct && roots.is_empty() {
        return Err(config.unusable("roots is empty, so that the log would take no certificate"));
    }
    Ok(Planned {
        config,
        identity,
        dir,
        signer,
        admission,
        roots,
    })
}

impl Planned {
    async fn open(&self, deps: &Deps, metrics: &Metrics) -> Result<Log, Error> {
        let mut options = self.config.engine_options()?;
        options.create |= deps.create;
        let parts = EngineParts {
            signer: self.signer.clone(),
            clock: deps.clock.clone(),
            metrics: metrics.clone(),
            cosigner: None,
        };
        Log::open(&self.dir, self.identity.clone(), options, parts).await
    }
}

/// Two logs with one origin or one key could be taken for a fork of each other.
fn require_distinct(planned: &[Planned]) -> Result<(), Error> {
    for (position, own) in planned.iter().enumerate() {
        for other in planned.iter().take(position) {
            let shared = [
                ("name", own.identity.name == other.identity.name),
                ("origin", own.identity.origin == other.identity.origin),
                ("folder", own.dir == other.dir),
                ("key", own.signer.public_key() == other.signer.public_key()),
            ];
            if let Some((what, _)) = shared.into_iter().find(|(_, same)| *same) {
                let problem = format!(
                    "it has the same {what} as log {:?}; every log needs its own",
                    other.identity.name
                );
                return Err(own.config.unusable(problem));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
