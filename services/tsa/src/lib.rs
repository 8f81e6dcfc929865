//! The timestamp authority: RFC 3161 over HTTP (DER and JSON) and gRPC.
//!
//! One signer, one chain, one endpoint. What a token looks like is `sealwright-pki`'s answer
//! ([`sealwright_pki::timestamp`]); this crate adds a clock that never goes backwards, the doors, and the checks that
//! keep a misconfigured authority from starting: a token that verifiers would refuse is worse than none.
//!
//! It does not obtain its certificate (the stack makes or loads it) and publishes no trust material itself: it
//! describes itself, with a proof that it holds its key, to the trust service.

mod api;
mod config;
mod error;
mod json;
mod metrics;
mod stamp;
mod time_keeper;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use bytes::Bytes;
use sealwright_crypto::{Signer, random_bytes};
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_pki::timestamp::{
    Authority, Expectation, TimeStampReq, TokenTemplate, nonce_content, verify,
};
use sealwright_pki::{Certificate, Purpose, pem_chain, verify_chain};

pub use config::{ClockPolicy, Config, ExtensionRule, RejectionStatus};
pub use error::{ChainProblem, Error};

use metrics::Metrics;
use stamp::Stamper;
use time_keeper::TimeKeeper;

/// What the authority is given, beside its configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that exists and is this authority's alone.
    pub state: PathBuf,
    /// The signing key; [`Config::load_signer`] reads the configured one.
    pub signer: Arc<dyn Signer>,
    /// The signer's certificate first, the root last.
    pub chain: Vec<Certificate>,
}

/// A timestamp authority that has passed its start-up checks.
#[derive(Debug)]
pub struct Tsa {
    shared: Arc<Shared>,
    clock: SharedClock,
}

/// What all doors share.
#[derive(Debug)]
struct Shared {
    stamper: Stamper,
    metrics: Metrics,
    url: String,
    operator: String,
    chain: Vec<Certificate>,
    chain_pem: Bytes,
    valid_from: i64,
    max_request: usize,
    max_nonce: usize,
    rejection_status: RejectionStatus,
}

impl Tsa {
    /// Checks the configuration, the chain and the key, and makes one token to see that it verifies.
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
        } = deps;
        let now = clock.unix();
        check_chain(&chain, signer.as_ref(), now)?;
        let (policy, accepted_policies) = config.policies()?;
        let (accuracy, max_nonce) = (config.accuracy()?, config.max_nonce()?);
        let not_after = chain
            .iter()
            .map(Certificate::not_after)
            .min()
            .unwrap_or(now);
        let metrics = Metrics::register(&registry);
        metrics.valid_until(not_after);
        warn_about(&config, not_after, now);
        let stamper = Stamper {
            template: TokenTemplate::new(&chain, signer.algorithm(), Some(accuracy))?,
            signer,
            time: TimeKeeper::open(&state, clock.clone(), config.time_rules())?,
            policy,
            accepted_policies,
            extensions: config.extensions,
            not_after,
        };
        self_test(&stamper, &chain).await?;
        let shared = Shared {
            stamper,
            metrics,
            url: config.url,
            operator: config.operator,
            chain_pem: pem_chain(&chain).into(),
            valid_from: chain.first().map_or(now, Certificate::not_before),
            chain,
            max_request: usize::try_from(config.max_request).unwrap_or(usize::MAX),
            max_nonce,
            rejection_status: config.rejection_status,
        };
        Ok(Self {
            shared: Arc::new(shared),
            clock,
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

    /// The chain, the signer's certificate first.
    #[must_use]
    pub fn chain(&self) -> &[Certificate] {
        &self.shared.chain
    }

    /// Readiness: the clock is not behind, and the chain has not ended.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let (shared, clock) = (self.shared.clone(), self.clock.clone());
        let time = Check::new("tsa.time", move || {
            let outcome = shared
                .stamper
                .time
                .check()
                .map_err(|error| error.to_string());
            async move { outcome }
        });
        let shared = self.shared.clone();
        let certificate = Check::new("tsa.certificate", move || {
            let ended = clock.unix() > shared.stamper.not_after;
            async move {
                if ended {
                    Err("the timestamp certificate has expired".to_owned())
                } else {
                    Ok(())
                }
            }
        });
        vec![time, certificate]
    }

    /// Ends the authority. Nothing is pending: the marks of its clock are written before tokens leave.
    #[expect(
        clippy::unused_async,
        reason = "every service ends by an awaited shutdown"
    )]
    pub async fn shutdown(self) {}
}

/// The checks of the certificate profile: two certificates at least, signer first, the path valid now with every
/// issuer an authority, the signer's extended key usage critical and timeStamping alone, and its key ours.
fn check_chain(chain: &[Certificate], signer: &dyn Signer, now: i64) -> Result<(), Error> {
    let [leaf, intermediates @ .., root] = chain else {
        return Err(Error::Chain(ChainProblem::TooShort { found: chain.len() }));
    };
    verify_chain(
        leaf,
        intermediates,
        std::slice::from_ref(root),
        now,
        Purpose::TimeStamping,
    )
    .map_err(|error| Error::Chain(ChainProblem::Pki(error)))?;
    if leaf.spki_der() != signer.public_key().spki_der() {
        return Err(Error::Chain(ChainProblem::OtherKey));
    }
    Ok(())
}

fn warn_about(config: &Config, not_after: i64, now: i64) {
    let left = not_after - now;
    if u64::try_from(left).is_ok_and(|left| left < config.expiry_warning.as_secs()) {
        tracing::warn!(
            tsa.certificate.not_after = not_after,
            "the timestamp certificate ends in {} days",
            left / 86_400
        );
    }
    if config.example_policy() {
        tracing::info!(
            tsa.policy = config.policy,
            "tsa.policy is the built-in example; choose one in an arc of your own"
        );
    }
}

/// Makes a token for random data and verifies it as a client would, with the root alone.
async fn self_test(stamper: &Stamper, chain: &[Certificate]) -> Result<(), Error> {
    let data = random_bytes::<32>();
    let (digest, nonce) = (
        sealwright_crypto::sha256(&data),
        nonce_content(random_bytes()),
    );
    let outcome = stamper.stamp(&TimeStampReq::sha256(&digest, &nonce)).await;
    let reply = match outcome {
        Ok(reply) => reply,
        Err(stamp::Refusal::Signer(error)) => return Err(Error::Sign(error)),
        // A clock that is behind makes the authority wait, not fail: readiness says so until it has caught up.
        Err(refusal) => {
            tracing::warn!(reason = %refusal, "no timestamps can be made yet");
            return Ok(());
        }
    };
    let authority = Authority {
        roots: chain.last().map(std::slice::from_ref).unwrap_or_default(),
        intermediates: &[],
        signer: chain.first(),
    };
    let expected = Expectation {
        nonce: Some(&nonce),
        policy: Some(stamper.policy),
        ..Expectation::over(&data)
    };
    verify(&reply, &authority, &expected)?;
    Ok(())
}
