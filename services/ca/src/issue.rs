//! The story of a certificate, from token to chain.
//!
//! ```text
//! token -> identity -> proof of possession -> prepare -> lint -> intent on disk -> sign precertificate
//!       -> certificate log -> verify timestamp -> certificate, compared with what was logged -> sign -> outcome
//! ```
//!
//! Up to the intent a client that hangs up stops the work. From then on the work runs in a task of its own and reaches
//! a recorded end, so that the journal says of every precertificate what became of it.

use std::sync::{Arc, PoisonError, RwLock};

use sealwright_crypto::{Algorithm, PublicKey, Signer, random_bytes};
use sealwright_host::{SharedClock, reason, telemetry};
use sealwright_identity::{Issuers, Principal, San};
use sealwright_pki::issue::{self, IssuanceProfile, Issuer, Order, PrecertificatePermit};
use sealwright_pki::{
    Certificate, FulcioExtensions, Identity, SerialNumber, SignedCertificateTimestamp,
    SubjectAlternativeName,
};
use tokio::time::Instant;

use crate::ct::CtLog;
use crate::error::{CtFault, Refusal};
use crate::journal::{Journal, Outcome};
use crate::metrics::Metrics;
use crate::possession::{Candidate, KeyRequest};

/// How far a log's clock may be from ours. Further off, verifiers could find the timestamp outside the certificate's
/// validity, or the log is repeating an old answer.
const MAX_SCT_SKEW_MS: i64 = 5 * 60 * 1000;

/// What a client asks for.
#[derive(Debug)]
pub(crate) struct SigningRequest {
    pub(crate) token: String,
    pub(crate) key: KeyRequest,
}

/// All that issuing takes.
#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) clock: SharedClock,
    pub(crate) issuers: Issuers,
    pub(crate) issuer: Issuer,
    pub(crate) signer: Arc<dyn Signer>,
    pub(crate) profile: IssuanceProfile,
    pub(crate) permitted: Vec<Algorithm>,
    /// The issuing certificate first, the root last.
    pub(crate) chain: Vec<Certificate>,
    /// The log that precertificates go to. A request stays with the one that it began with.
    pub(crate) ct: RwLock<Arc<CtLog>>,
    pub(crate) journal: Journal,
    pub(crate) metrics: Metrics,
}

/// What is known of an issuance, for the journal and the audit log.
#[derive(Debug)]
struct Facts {
    identity: Identity,
    /// The configured issuer of the token.
    token_issuer: String,
    key: PublicKey,
    now: i64,
}

impl Authority {
    /// Issues a certificate, or says why not.
    pub(crate) async fn issue(
        self: &Arc<Self>,
        request: SigningRequest,
    ) -> Result<Certificate, Refusal> {
        let outcome = self.try_issue(request).await;
        if let Err(refusal) = &outcome {
            self.metrics.refused(refusal);
        }
        outcome
    }

    async fn try_issue(self: &Arc<Self>, request: SigningRequest) -> Result<Certificate, Refusal> {
        let started = Instant::now();
        let token = self
            .issuers
            .verify(&request.token, self.clock.unix())
            .await
            .map_err(Refusal::Token)?;
        let principal = token.principal().map_err(Refusal::Identity)?;
        let token_issuer = token.issuer().url().to_owned();
        let verified = Instant::now();
        self.metrics.phase("token", verified - started);

        let (permit, facts) = self
            .prepare(request.key.read()?, principal, token_issuer)
            .await?;
        self.metrics.phase("prepare", verified.elapsed());

        let authority = Arc::clone(self);
        let work = telemetry::carry(async move { authority.complete(permit, &facts).await });
        tokio::spawn(work)
            .await
            .unwrap_or(Err(Refusal::Interrupted))
    }

    /// Everything that must hold before the first signature. Slow keys are judged on a thread that may block.
    async fn prepare(
        self: &Arc<Self>,
        candidate: Candidate,
        principal: Principal,
        token_issuer: String,
    ) -> Result<(PrecertificatePermit, Facts), Refusal> {
        let authority = Arc::clone(self);
        let slow = candidate.is_slow();
        let prepare = move || authority.prepare_now(candidate, principal, token_issuer);
        if slow {
            tokio::task::spawn_blocking(prepare)
                .await
                .unwrap_or(Err(Refusal::Interrupted))
        } else {
            prepare()
        }
    }

    fn prepare_now(
        &self,
        candidate: Candidate,
        principal: Principal,
        token_issuer: String,
    ) -> Result<(PrecertificatePermit, Facts), Refusal> {
        let key = candidate.prove(&principal.challenges, &self.permitted)?;
        let facts = Facts {
            identity: certified(principal),
            token_issuer,
            key,
            now: self.clock.unix(),
        };
        let serial = SerialNumber::from_random(random_bytes());
        let order = Order {
            identity: &facts.identity,
            public_key: &facts.key,
            serial,
            now: facts.now,
        };
        let prepared =
            issue::prepare(&self.issuer, &self.profile, order).map_err(Refusal::Issuance)?;
        let permit = prepared.lint().map_err(Refusal::Issuance)?;
        Ok((permit, facts))
    }

    /// From the intent to the recorded outcome.
    async fn complete(
        &self,
        permit: PrecertificatePermit,
        facts: &Facts,
    ) -> Result<Certificate, Refusal> {
        let serial = permit.serial();
        let started = Instant::now();
        let request_id = telemetry::request_id().unwrap_or_default();
        let intended = self
            .journal
            .intend(serial, facts.now, permit.tbs_der(), request_id)
            .await;
        intended.map_err(Refusal::Journal)?;
        self.metrics.phase("journal", started.elapsed());

        let outcome = self.sign(permit).await;
        let recorded = match &outcome {
            Ok((certificate, _)) => Outcome::Issued(certificate.fingerprint()),
            Err(refusal) => Outcome::Failed(reason::name(refusal.reason())),
        };
        self.journal
            .settle(serial, self.clock.unix(), recorded)
            .await;
        let (certificate, timestamp) = outcome?;
        self.metrics.issued(&facts.token_issuer);
        audit(facts, &certificate, &timestamp);
        Ok(certificate)
    }

    /// Two signatures with the log between them. Nothing is released unless every step holds.
    async fn sign(
        &self,
        permit: PrecertificatePermit,
    ) -> Result<(Certificate, SignedCertificateTimestamp), Refusal> {
        let signer = self.signer.as_ref();
        let precertificate = permit.sign(signer).await.map_err(Refusal::Issuance)?;

        let started = Instant::now();
        let mut chain = vec![precertificate.certificate()];
        chain.extend(&self.chain);
        let ct = self.ct();
        let timestamp = ct.add_pre_chain(&chain).await.map_err(Refusal::Ct)?;
        self.metrics.phase("ct", started.elapsed());
        let verified = precertificate.verify_timestamp(&timestamp, ct.key());
        verified.map_err(|error| Refusal::Ct(CtFault::Unverified(error)))?;
        self.check_time(&timestamp).map_err(Refusal::Ct)?;

        let timestamps = std::slice::from_ref(&timestamp);
        let permit = precertificate
            .with_timestamps(timestamps)
            .map_err(Refusal::Issuance)?;
        let certificate = permit.sign(signer).await.map_err(Refusal::Issuance)?;
        Ok((certificate, timestamp))
    }

    /// The log that certificates go to now.
    pub(crate) fn ct(&self) -> Arc<CtLog> {
        self.ct
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn check_time(&self, timestamp: &SignedCertificateTimestamp) -> Result<(), CtFault> {
        let at = i64::try_from(timestamp.timestamp_ms).unwrap_or(i64::MAX);
        let skew = at.saturating_sub(self.clock.unix_ms());
        if skew.abs() <= MAX_SCT_SKEW_MS {
            Ok(())
        } else {
            Err(CtFault::Clock(skew))
        }
    }
}

/// The identity as the certificate carries it.
fn certified(principal: Principal) -> Identity {
    let mut extensions = FulcioExtensions::default();
    for (extension, value) in principal.extensions {
        let known = extensions.set(extension.key(), value);
        debug_assert!(known, "{} is a row of the profile", extension.key());
    }
    extensions.token_subject = Some(principal.subject);
    Identity {
        subject_alternative_name: match principal.san {
            San::Email(email) => SubjectAlternativeName::Email(email),
            San::Uri(uri) => SubjectAlternativeName::Uri(uri),
        },
        issuer: principal.issuer,
        extensions,
    }
}

/// One line for each certificate, in a target of its own, so that it can be kept apart from the log.
fn audit(facts: &Facts, certificate: &Certificate, timestamp: &SignedCertificateTimestamp) {
    let Facts {
        identity,
        token_issuer,
        key,
        ..
    } = facts;
    tracing::info!(
        target: "audit",
        event = "issued",
        request.id = telemetry::request_id().unwrap_or_default(),
        cert.serial = certificate.serial_hex(),
        cert.sha256 = hex::encode(certificate.fingerprint()),
        cert.not_before = certificate.not_before(),
        cert.not_after = certificate.not_after(),
        identity.kind = identity.subject_alternative_name.kind(),
        identity.name = identity.subject_alternative_name.value(),
        identity.issuer = identity.issuer,
        token.issuer = token_issuer,
        token.subject = identity.extensions.token_subject,
        key.kind = %key.key_type(),
        key.sha256 = hex::encode(key.fingerprint()),
        ct.log = hex::encode(timestamp.log_id),
        ct.index = timestamp.leaf_index(),
        ct.timestamp_ms = timestamp.timestamp_ms,
        "certificate issued"
    );
}
