//! The certificate authority: an identity token and a key go in, a certificate of ten minutes comes out.
//!
//! One issuing key, one chain, one certificate transparency log. Who may be certified is `sealwright-identity`'s
//! answer, what a certificate looks like is `sealwright-pki`'s; this crate joins them, records each issuance before
//! it is signed (`journal.rs`), and insists on a verified timestamp from the log inside every certificate.
//!
//! It does not obtain its own certificate (the stack makes or loads it), does not run the log, and publishes no trust
//! material itself: it describes itself, with a proof that it holds its key, to the trust service.

mod api;
mod config;
mod ct;
mod error;
mod issue;
mod journal;
mod metrics;
mod possession;
mod start;

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use sealwright_crypto::Signer;
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_identity::{IssuerHealth, Issuers};
use sealwright_pki::Certificate;

pub use config::{Config, CtConfig, CtTransport};
pub use ct::CtLog;
pub use error::{ChainProblem, Error};

use issue::Authority;
use journal::Journal;
use metrics::Metrics;

/// The journal's file within the state folder.
const JOURNAL: &str = "issuance.db";

/// What the authority is given, beside its configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that exists and is this authority's alone; its journal goes there.
    pub state: PathBuf,
    /// The issuing key; [`Config::load_signer`] reads the configured one.
    pub signer: Arc<dyn Signer>,
    /// The issuing certificate first, the root last. A root that issues by itself is a chain of one.
    pub chain: Vec<Certificate>,
    /// The certificate transparency log; [`CtLog::open`] reads the configured one.
    pub ct: CtLog,
}

/// A certificate authority that has passed its start-up checks. Clones share it.
#[derive(Clone, Debug)]
pub struct Ca {
    shared: Arc<Shared>,
}

/// What all doors share.
#[derive(Debug)]
struct Shared {
    authority: Arc<Authority>,
    url: String,
    operator: String,
    legacy_api: bool,
    max_request: usize,
    not_after: i64,
}

impl Ca {
    /// Checks the configuration, the chain and the key, makes one signature to see that it verifies, and opens the
    /// journal. Asks neither the issuers nor the log: they may start later, and readiness says so until they have.
    ///
    /// # Errors
    /// See [`Error`]; everything is for the operator to mend.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, Error> {
        let Deps {
            clock,
            registry,
            state,
            signer,
            chain,
            ct,
        } = deps;
        let now = clock.unix();
        let issuer = start::check_chain(&chain, signer.as_ref(), now)?;
        start::self_test(&issuer, signer.as_ref()).await?;
        let not_after = chain
            .iter()
            .map(Certificate::not_after)
            .min()
            .unwrap_or(now);
        start::warn_about(&config, not_after, now);
        let metrics = Metrics::register(&registry);
        metrics.valid_until(not_after);
        let authority = Authority {
            issuers: Issuers::new(&config.issuers()?)?,
            profile: config.profile()?,
            permitted: config.permitted_algorithms()?,
            journal: Journal::open(&state.join(JOURNAL), now).await?,
            clock,
            issuer,
            signer,
            chain,
            ct: RwLock::new(Arc::new(ct)),
            metrics,
        };
        let shared = Shared {
            authority: Arc::new(authority),
            url: config.url,
            operator: config.operator,
            legacy_api: config.legacy_api,
            max_request: usize::try_from(config.max_request).unwrap_or(usize::MAX),
            not_after,
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The public routes, HTTP and gRPC.
    pub fn router(&self) -> Router {
        api::router(self.shared.clone())
    }

    /// `sealwright.trust.v1.TrustMaterial`, for the trust service alone: to be served in the process or over an
    /// authenticated channel, never on a public listener.
    pub fn trust_material_router(&self) -> Router {
        api::trust_material_router(self.shared.clone())
    }

    /// Sends precertificates to another log from now on. Requests under way stay with the log that they began with, so the
    /// old one must go on taking entries for as long as a request may take.
    pub fn use_log(&self, log: CtLog) {
        let place = log.place().to_owned();
        *self
            .shared
            .authority
            .ct
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Arc::new(log);
        tracing::info!(target: "audit", { ct.log = place }, "certificates go to another log");
    }

    /// The chain, the issuing certificate first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.shared.authority.chain
    }

    /// Fetches the keys of issuers that have none yet, so that the first request does not wait for it.
    pub async fn warm(&self) {
        let authority = &self.shared.authority;
        authority.issuers.warm(authority.clock.unix()).await;
    }

    /// Readiness: the chain has not ended, the journal takes entries, the log accepts our root, and at least one
    /// issuer's keys are known (they are fetched by the asking).
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let check = |name: &str, probe: fn(Arc<Shared>) -> Probe| {
            let shared = self.shared.clone();
            Check::new(name, move || probe(shared.clone()))
        };
        vec![
            check("ca.certificate", |shared| {
                Box::pin(async move { shared.check_certificate() })
            }),
            check("ca.journal", |shared| {
                Box::pin(async move { shared.check_journal() })
            }),
            check("ca.ct", |shared| {
                Box::pin(async move { shared.check_ct().await })
            }),
            check("ca.issuers", |shared| {
                Box::pin(async move { shared.check_issuers().await })
            }),
        ]
    }

    /// Writes what the journal still holds and ends.
    pub async fn shutdown(self) {
        self.shared.authority.journal.close().await;
    }
}

type Probe = sealwright_crypto::BoxFuture<'static, Result<(), String>>;

impl Shared {
    fn check_certificate(&self) -> Result<(), String> {
        if self.authority.clock.unix() > self.not_after {
            return Err("the issuing chain has expired".to_owned());
        }
        Ok(())
    }

    fn check_journal(&self) -> Result<(), String> {
        if self.authority.journal.failing() {
            Err("the last entry could not be written".to_owned())
        } else {
            Ok(())
        }
    }

    async fn check_ct(&self) -> Result<(), String> {
        let Some(root) = self.authority.chain.last() else {
            return Ok(());
        };
        let ct = self.authority.ct();
        ct.check_root(root).await.map_err(|fault| {
            tracing::debug!(%fault, "the certificate log is not usable");
            match fault {
                error::CtFault::RootNotAccepted => fault.to_string(),
                _ => format!("the certificate log {} cannot be asked", ct.place()),
            }
        })
    }

    async fn check_issuers(&self) -> Result<(), String> {
        let issuers = &self.authority.issuers;
        let usable = |health: &IssuerHealth| health.keys.keys > 0;
        let now = self.authority.clock.unix();
        if !issuers.health(now).iter().any(usable) {
            issuers.warm(now).await;
        }
        let health = issuers.health(now);
        if health.iter().any(usable) {
            Ok(())
        } else {
            Err("no issuer's keys could be obtained".to_owned())
        }
    }
}
