//! The service: every log of a process, opened together and served on one listener.

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use futures::future::{join_all, select_all};
use sealwright_crypto::Signer;
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_pki::Certificate;

use crate::api::{self, SignatureLog, SignatureLogs};
use crate::config::LogConfig;
use crate::cpu::CpuPool;
use crate::ct_api::{self, CertificateLog, CertificateLogs};
use crate::entry::{ct, rekor};
use crate::error::Error;
use crate::kind::Kind;
use crate::log::{EngineParts, Log};
use crate::material::{self, Described};
use crate::metrics::Metrics;
use crate::read;

/// Verifications that may wait for a processor, for each one that may run. At 60 us each, a thousand wait for 60 ms.
const WAITING_PER_PROCESSOR: usize = 1024;

/// One log to open.
#[derive(Debug)]
pub struct Opening {
    /// Its section.
    pub config: LogConfig,
    /// Its folder.
    pub dir: PathBuf,
    /// Its key; [`LogConfig::load_signer`] reads the configured one.
    pub signer: Arc<dyn Signer>,
    /// Accepted roots of a certificate log; [`LogConfig::load_roots`] reads the configured ones.
    pub roots: Vec<Certificate>,
}

/// What all logs of the process are given.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
}

/// Every log of a process, open.
#[derive(Debug, Default)]
pub struct Logs {
    signature: Vec<SignatureLog>,
    certificate: Vec<Arc<CertificateLog>>,
    opened: Vec<Described>,
}

impl Logs {
    /// Opens all logs. If one cannot be opened, none stays open.
    ///
    /// # Errors
    /// See [`Error`]'s first group. Two logs with the same name, origin or key are refused.
    pub async fn open(openings: Vec<Opening>, deps: Deps) -> Result<Self, Error> {
        require_distinct(&openings)?;
        let metrics = Metrics::register(&deps.registry);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = CpuPool::new(processors, processors * WAITING_PER_PROCESSOR);
        let mut logs = Self::default();
        for Opening { config, dir, signer, roots } in openings {
            let parts = EngineParts { signer, clock: deps.clock.clone(), metrics: metrics.clone() };
            if let Err(error) = logs.add(config, dir, roots, parts, cpu.clone()).await {
                logs.shutdown().await;
                return Err(error);
            }
        }
        Ok(logs)
    }

    async fn add(
        &mut self,
        config: LogConfig,
        dir: PathBuf,
        roots: Vec<Certificate>,
        parts: EngineParts,
        cpu: CpuPool,
    ) -> Result<(), Error> {
        let max_request = config.max_request_bytes();
        let mut admission = rekor::Admission { legacy_dsse: config.legacy_dsse, ..rekor::Admission::default() };
        if let Some(algorithms) = config.signature_algorithms()? {
            admission.algorithms = algorithms;
        }
        if config.kind == Kind::Ct && roots.is_empty() {
            return Err(config.unusable("roots is empty, so that the log would take no certificate"));
        }
        let log = Log::open(&dir, config.identity()?, config.engine_options()?, parts).await?;
        self.opened.push(Described { log: log.clone(), url: config.url, operator: config.operator });
        match config.kind {
            Kind::Rekor => {
                let (admission, duplicates) = (Arc::new(admission), config.duplicate_mode);
                self.signature.push(SignatureLog { log, admission, duplicates, max_request, cpu });
            }
            Kind::Ct => self.certificate.push(Arc::new(CertificateLog::new(log, ct::Admission { roots }, max_request, cpu))),
        }
        Ok(())
    }

    /// The public routes, HTTP and gRPC, of all logs.
    pub fn router(&self) -> Router {
        let mut router = Router::new();
        if !self.signature.is_empty() {
            let logs = SignatureLogs::new(self.signature.clone());
            router = router.merge(api::router(&logs)).merge(read::signature_routes(&logs));
        }
        if !self.certificate.is_empty() {
            router = router.merge(ct_api::router(&CertificateLogs::new(self.certificate.clone())));
        }
        for one in &self.certificate {
            let prefix = format!("/ct/{}", one.log.identity().name);
            router = router.merge(read::certificate_routes(&prefix, &one.log));
        }
        router
    }

    /// `sealwright.trust.v1.TrustMaterial`, for the trust service alone: to be served in the process or over an
    /// authenticated channel, never on a public listener.
    pub fn trust_material_router(&self) -> Router {
        material::router(self.opened.clone())
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
                let condition = log.condition().map_err(|error| error.reason().as_str_name().to_owned());
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
                let cause = fatal.wait_for(Option::is_some).await.ok().and_then(|cause| cause.clone());
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

/// Two logs with one origin or one key could be taken for a fork of each other.
fn require_distinct(openings: &[Opening]) -> Result<(), Error> {
    for (position, opening) in openings.iter().enumerate() {
        let own = opening.config.identity()?;
        for other in openings.iter().take(position) {
            let theirs = other.config.identity()?;
            let shared = [
                ("name", own.name == theirs.name),
                ("origin", own.origin == theirs.origin),
                ("key", opening.signer.public_key() == other.signer.public_key()),
            ];
            if let Some((what, _)) = shared.into_iter().find(|(_, same)| *same) {
                let problem = format!("it has the same {what} as log {}; every log needs its own", theirs.name);
                return Err(opening.config.unusable(problem));
            }
        }
    }
    Ok(())
}
