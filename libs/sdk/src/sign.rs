//! Signing: from a token or a key to a bundle that verifies.
//!
//! The life of a keyless signature: services are chosen (S0), the token is read (S1), a key is
//! made (S2) and certified (S3), the certificate checked (S4); then for each artifact: digest (S5), signature (S6), timestamp
//! (S7) and log entry (S8) at the same time, since both need the signature alone; the finished bundle is verified by the code
//! every verifier runs (S9) before anybody sees it. The key is wiped with the session (S10).

use std::sync::Arc;

use futures::StreamExt as _;
use futures::future::try_join_all;
use sealwright_bundle::bundle::{Content, Envelope, MessageSignature, SignerMaterial};
use sealwright_bundle::signing_config::{Selection, Service};
use sealwright_bundle::statement::{PAYLOAD_TYPE, Statement};
use sealwright_bundle::{
    Bundle, IdentityRule, Policy, PredicateTypes, SigningConfig, TrustedKey, Verified, VerifyError,
};
use sealwright_crypto::{
    Algorithm, Digest, HashAlgorithm, KeyType, MemorySigner, PrivateKey, Signer, base64,
};
use sealwright_pki::certificate::Certificate;
use sealwright_tlog::dsse;
use tokio::sync::Mutex;

use crate::artifact::Artifact;
use crate::ca::{self, Issued};
use crate::error::{Error, Failure, ServiceName};
use crate::http::Http;
use crate::identity::IdentityToken;
use crate::log::{self, Claim, SignedBy};
use crate::trust::TrustConfig;
use crate::tsa;

/// The API versions spoken.
const CA_VERSIONS: [u32; 1] = [1];
const LOG_VERSIONS: [u32; 1] = [2];
const TSA_VERSIONS: [u32; 1] = [1];

/// A certificate with less life left than this is replaced before it signs again: a timestamp has to fit in.
const RENEW_SECONDS: i64 = 30;

/// Where the present comes from: Unix seconds.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Everything that signatures of one run share: trust material, connections, time, choices.
#[derive(Clone)]
pub struct SigningContext {
    trust: Arc<TrustConfig>,
    config: Arc<SigningConfig>,
    http: Arc<Http>,
    clock: Clock,
    key_type: KeyType,
    audience: Option<String>,
}

impl std::fmt::Debug for SigningContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SigningContext")
            .field("trust", &self.trust.origin())
            .field("key_type", &self.key_type)
            .finish_non_exhaustive()
    }
}

impl SigningContext {
    /// A context that makes P-256 keys for keyless signatures.
    ///
    /// # Errors
    /// [`Error::TrustMissing`] when the trust material has no signing configuration.
    pub fn new(trust: Arc<TrustConfig>, http: Arc<Http>, clock: Clock) -> Result<Self, Error> {
        let config = trust.signing_config().cloned().ok_or_else(|| Error::TrustMissing {
            problem: format!("{} has no signing configuration; add --signing-config FILE or use --trust-config", trust.origin()),
        })?;
        let config = Arc::new(config);
        Ok(Self {
            trust,
            config,
            http,
            clock,
            key_type: KeyType::EcP256,
            audience: None,
        })
    }

    /// Makes keys of another type for keyless signatures.
    #[must_use]
    pub fn with_key_type(mut self, key_type: KeyType) -> Self {
        self.key_type = key_type;
        self
    }

    /// Insists on this audience in identity tokens, instead of asking the certificate authority.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audience = Some(audience.into());
        self
    }

    /// Starts a keyless session: one key and one certificate for many artifacts.
    ///
    /// # Errors
    /// Before anything is sent: [`Error::Selection`], [`Error::TimestampAuthorityMissing`], [`Error::Token`]. Then what the
    /// certificate authority answers, and [`Failure::Untrustworthy`] when its certificate does not hold.
    pub async fn keyless(&self, token: IdentityToken) -> Result<SigningSession, Error> {
        if !self.config.has_timestamp_authorities() {
            return Err(Error::TimestampAuthorityMissing);
        }
        self.services_for(&[])?;
        let authority = self
            .config
            .certificate_authority(&CA_VERSIONS, self.now())?;
        ca::check_token(
            &self.http,
            authority,
            &token,
            self.audience.as_deref(),
            self.now(),
        )
        .await?;
        let credential = self.certify(&token).await?;
        let source = Source::Keyless {
            token,
            current: Mutex::new(Arc::new(credential)),
        };
        Ok(SigningSession {
            context: self.clone(),
            source,
        })
    }

    /// Starts a session with a key of the caller's. The signer must use the algorithm that [`signing_algorithm`] gives for
    /// its key.
    ///
    /// # Errors
    /// [`Error::Selection`]; [`Error::Input`] for a signer with another algorithm.
    pub fn with_key(&self, signer: Arc<dyn Signer>) -> Result<SigningSession, Error> {
        let expected = signing_algorithm(signer.public_key().key_type());
        if signer.algorithm() != expected {
            return Err(Error::input(
                "key",
                format!("it signs with {}; expected {expected}", signer.algorithm()),
            ));
        }
        self.services_for(&[])?;
        Ok(SigningSession {
            context: self.clone(),
            source: Source::Key(Arc::new(Credential {
                signer,
                issued: None,
            })),
        })
    }

    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// S2 to S4.
    async fn certify(&self, token: &IdentityToken) -> Result<Credential, Error> {
        let authority = self
            .config
            .certificate_authority(&CA_VERSIONS, self.now())?;
        let key = PrivateKey::generate(self.key_type)
            .map_err(|error| Error::Internal(format!("key generation: {error}")))?;
        let certificate = ca::request(&self.http, authority, token, &key).await?;
        let issued = ca::check(
            certificate,
            &key,
            token,
            self.trust.trusted_root(),
            self.now(),
        )
        .map_err(|failure| Error::Service {
            service: ServiceName::CertificateAuthority,
            url: authority.url.clone(),
            failure,
        })?;
        let algorithm = signing_algorithm(self.key_type);
        Ok(Credential {
            signer: Arc::new(MemorySigner::with_algorithm(key, algorithm)?),
            issued: Some(issued),
        })
    }

    /// The logs and timestamp authorities for one signature; none of a kind that is not configured at all.
    fn services_for(&self, seed: &[u8]) -> Result<Services<'_>, Error> {
        let now = self.now();
        let logs = self.config.has_transparency_logs();
        let logs = logs
            .then(|| self.config.transparency_logs(&LOG_VERSIONS, now, seed))
            .transpose()?;
        let authorities = self.config.has_timestamp_authorities();
        let authorities = authorities
            .then(|| self.config.timestamp_authorities(&TSA_VERSIONS, now, seed))
            .transpose()?;
        Ok(Services { logs, authorities })
    }
}

struct Services<'a> {
    logs: Option<Selection<'a>>,
    authorities: Option<Selection<'a>>,
}

/// The algorithm artifacts are signed with: the key type's own, with prehashing for Ed25519, because logs and streamed
/// artifacts know the digest alone.
#[must_use]
pub fn signing_algorithm(key_type: KeyType) -> Algorithm {
    match key_type {
        KeyType::Ed25519 => Algorithm::Ed25519Ph,
        other => other.default_algorithm(),
    }
}

/// A key, and its certificate if it has one.
#[derive(Debug)]
struct Credential {
    signer: Arc<dyn Signer>,
    issued: Option<Issued>,
}

impl Credential {
    fn expires_before(&self, at: i64) -> bool {
        self.issued
            .as_ref()
            .is_some_and(|issued| issued.certificate.not_after() < at)
    }

    fn window(&self) -> Option<(i64, i64)> {
        self.issued.as_ref().map(|issued| {
            (
                issued.certificate.not_before(),
                issued.certificate.not_after(),
            )
        })
    }

    fn key_hint(&self) -> String {
        base64::encode(&self.signer.public_key().fingerprint())
    }

    fn material(&self) -> SignerMaterial {
        match &self.issued {
            Some(issued) => SignerMaterial::Certificate(issued.certificate.clone()),
            None => SignerMaterial::PublicKeyHint(self.key_hint()),
        }
    }

    fn signed_by(&self) -> SignedBy<'_> {
        match &self.issued {
            Some(issued) => SignedBy::Certificate(issued.certificate.der()),
            None => SignedBy::Key(self.signer.public_key().spki_der()),
        }
    }

    fn hash(&self) -> HashAlgorithm {
        self.signer
            .algorithm()
            .hash()
            .unwrap_or(HashAlgorithm::Sha512)
    }

    /// The policy under which our own verification has to succeed: exactly this signer.
    fn policy(&self, content: &Content) -> Result<Policy, VerifyError> {
        let chosen = match &self.issued {
            Some(issued) => {
                Policy::signed_by_identity(IdentityRule::exact(&issued.subject, &issued.issuer)?)
            }
            None => Policy::signed_by_key(TrustedKey::new(self.signer.public_key().clone())),
        };
        Ok(match content {
            Content::Dsse(_) => chosen.attestation(PredicateTypes::Any),
            _ => chosen.blob(),
        })
    }
}

/// Signs artifacts and statements, all by the same key. Calls may run at the same time.
#[derive(Debug)]
pub struct SigningSession {
    context: SigningContext,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Keyless {
        token: IdentityToken,
        current: Mutex<Arc<Credential>>,
    },
    Key(Arc<Credential>),
}

/// A bundle that was verified, with what the verification showed.
#[derive(Clone, Debug)]
pub struct Signed {
    bundle: Bundle,
    verified: Verified,
}

impl Signed {
    /// The bundle.
    #[must_use]
    pub fn bundle(&self) -> &Bundle {
        &self.bundle
    }

    /// What our own verification showed.
    #[must_use]
    pub fn verified(&self) -> &Verified {
        &self.verified
    }

    /// The signing certificate, of keyless signatures.
    #[must_use]
    pub fn certificate(&self) -> Option<&Certificate> {
        self.bundle.certificate()
    }

    /// The bundle as it is written: JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        self.bundle.to_json()
    }
}

impl SigningSession {
    /// Signs an artifact.
    ///
    /// # Errors
    /// [`Error::File`] for the artifact, [`Error::Service`] for the services, [`Error::Refused`] when the finished bundle does
    /// not verify. Nothing is written in any case.
    #[tracing::instrument(skip_all)]
    pub async fn sign(&self, artifact: &Artifact) -> Result<Signed, Error> {
        let credential = self.credential().await?;
        let digest = artifact.digest(credential.hash()).await?;
        let signature = credential.signer.sign_digest(&digest).await?;
        let content = Content::Message(MessageSignature {
            digest: Some(digest.clone()),
            signature: signature.clone(),
        });
        let known = sealwright_bundle::Artifact::from_digest(digest.clone());
        self.complete(&credential, &digest, &signature, content, known)
            .await
    }

    /// Signs many artifacts, `parallel` at a time. The answers are in the order of the artifacts; one that fails does not stop
    /// the others.
    pub async fn sign_all(
        &self,
        artifacts: Vec<Artifact>,
        parallel: usize,
    ) -> Vec<Result<Signed, Error>> {
        let signatures = artifacts.iter().map(|artifact| self.sign(artifact));
        futures::stream::iter(signatures)
            .buffered(parallel.max(1))
            .collect()
            .await
    }

    /// Signs an in-toto statement, exactly these bytes.
    ///
    /// # Errors
    /// [`Error::Refused`] when it is no statement; otherwise as [`Self::sign`].
    #[tracing::instrument(skip_all)]
    pub async fn attest(&self, statement: Vec<u8>) -> Result<Signed, Error> {
        Statement::parse(&statement)?;
        let credential = self.credential().await?;
        let digest = dsse::pae_digest(credential.hash(), PAYLOAD_TYPE, &statement);
        let signature = credential.signer.sign_digest(&digest).await?;
        let content = Content::Dsse(Envelope {
            payload_type: PAYLOAD_TYPE.into(),
            payload: statement,
            signature: signature.clone(),
            key_id: String::new(),
        });
        let unbound = sealwright_bundle::Artifact::unbound_statement();
        self.complete(&credential, &digest, &signature, content, unbound)
            .await
    }

    /// S7 to S9.
    async fn complete(
        &self,
        credential: &Credential,
        digest: &Digest,
        signature: &[u8],
        content: Content,
        artifact: sealwright_bundle::Artifact<'_>,
    ) -> Result<Signed, Error> {
        let context = &self.context;
        let services = context.services_for(digest.as_bytes())?;
        let root = context.trust.trusted_root();
        let claim = Claim {
            digest,
            signature,
            algorithm: credential.signer.algorithm(),
            signed_by: credential.signed_by(),
        };
        let window = credential.window();
        let stamp = |service| tsa::stamp(&context.http, service, signature, root, window);
        let enter = |service| log::create_entry(&context.http, service, &claim);
        let timestamps = ask(services.authorities.as_ref(), stamp);
        let entries = ask(services.logs.as_ref(), enter);
        let (timestamps, entries) = futures::try_join!(timestamps, entries)?;

        let log_count = entries.len();
        let policy = credential.policy(&content)?.log_threshold(log_count.min(1));
        let bundle = Bundle::assemble(credential.material(), content, entries, timestamps)
            .map_err(|error| blame(error, services.logs.as_ref()))?;
        let verified = sealwright_bundle::verify(&bundle, &artifact, root, &policy, context.now())
            .map_err(|error| blame(error, services.logs.as_ref()))?;
        // An entry of a log that the trusted root does not know is passed over by verification; here every entry was asked
        // for, so every one has to hold.
        if verified.logs().len() < log_count {
            let problem = "the trusted root does not know the log that answered".to_owned();
            return Err(log_failure(services.logs.as_ref(), problem));
        }
        Ok(Signed { bundle, verified })
    }

    /// The credential to sign with now. A certificate near its end is replaced while the token lasts.
    async fn credential(&self) -> Result<Arc<Credential>, Error> {
        match &self.source {
            Source::Key(credential) => Ok(Arc::clone(credential)),
            Source::Keyless { token, current } => {
                let mut current = current.lock().await;
                if current.expires_before(self.context.now() + RENEW_SECONDS) {
                    token.check_life(self.context.now())?;
                    *current = Arc::new(self.context.certify(token).await?);
                }
                Ok(Arc::clone(&current))
            }
        }
    }
}

/// Asks as many services as the selection needs: all at once when all must answer, one after the other where the rest stands
/// in for those that fail.
async fn ask<'a, T, F>(
    selection: Option<&Selection<'a>>,
    call: impl Fn(&'a Service) -> F,
) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    let Some(selection) = selection else {
        return Ok(Vec::new());
    };
    if selection.candidates.len() <= selection.need {
        return try_join_all(selection.candidates.iter().map(|service| call(service))).await;
    }
    let mut answers = Vec::new();
    let mut last = None;
    for service in &selection.candidates {
        if answers.len() == selection.need {
            break;
        }
        match call(service).await {
            Ok(answer) => answers.push(answer),
            Err(error) => {
                tracing::warn!(url = service.url, %error, "a service failed, trying the next");
                last = Some(error);
            }
        }
    }
    match last {
        Some(error) if answers.len() < selection.need => Err(error),
        _ => Ok(answers),
    }
}

/// What fails in our own verification is some service's doing: certificate, timestamp and signature were checked when they
/// came, so what is wrong with an entry is the log's.
fn blame(error: VerifyError, logs: Option<&Selection<'_>>) -> Error {
    match error.step() {
        sealwright_bundle::error::Step::Log | sealwright_bundle::error::Step::Structure
            if logs.is_some() =>
        {
            log_failure(logs, error.to_string())
        }
        _ => Error::Refused(error),
    }
}

fn log_failure(logs: Option<&Selection<'_>>, problem: String) -> Error {
    let url = logs
        .and_then(|selection| selection.candidates.first())
        .map(|service| service.url.clone());
    Error::Service {
        service: ServiceName::TransparencyLog,
        url: url.unwrap_or_default(),
        failure: Failure::Untrustworthy(problem),
    }
}
