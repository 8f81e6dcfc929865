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
use sealwright_bundle::verdict::VerifiedSct;
use sealwright_bundle::{
    Bundle, IdentityRule, Policy, PredicateTypes, SigningConfig, TrustedKey, Verified, VerifyError,
};
use sealwright_crypto::{
    Algorithm, Digest, HashAlgorithm, KeyType, MemorySigner, PrivateKey, Signer, base64,
};
use sealwright_pki::certificate::{Certificate, pem_chain};
use sealwright_tlog::dsse;
use tokio::sync::Mutex;

use crate::artifact::Artifact;
use crate::ca::{self, CertificationRequest, Issued};
use crate::error::{Error, Failure, ServiceName};
use crate::http::Http;
use crate::identity::{DEFAULT_AUDIENCE, IdentityToken, TokenRequest, TokenSource};
use crate::log::{self, Claim, SignedBy};
use crate::own_pki::OwnCertificate;
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

    /// Obtains an identity token from a source, for the audience that the certificate authority expects.
    ///
    /// # Errors
    /// Those of [`TokenSource::obtain`].
    pub async fn identity(&self, source: &TokenSource) -> Result<IdentityToken, Error> {
        if source.is_at_hand() {
            return source.read();
        }
        let audience = self.audience_to_ask_for().await?;
        let request = TokenRequest::new(&self.http, &audience, self.now());
        source
            .obtain(&request.with_signing_config(&self.config))
            .await
    }

    /// The caller's, or the one the authority expects of all its issuers, or what everybody's is.
    async fn audience_to_ask_for(&self) -> Result<String, Error> {
        if let Some(audience) = &self.audience {
            return Ok(audience.clone());
        }
        let authority = self
            .config
            .certificate_authority(&CA_VERSIONS, self.now())?;
        let common = ca::common_audience(&self.http, authority).await;
        Ok(common.unwrap_or_else(|| DEFAULT_AUDIENCE.to_owned()))
    }

    /// Obtains a certificate and signs nothing: for tools that sign by themselves. It was checked like one that signs: it is
    /// for the request's key, it names the token's person, and a certificate log promised to hold it.
    ///
    /// # Errors
    /// As [`Self::keyless`].
    pub async fn certificate(
        &self,
        token: &IdentityToken,
        request: &CertificationRequest,
    ) -> Result<IssuedCertificate, Error> {
        self.check_token(token).await?;
        self.certified(token, request).await.map(IssuedCertificate)
    }

    /// Starts a keyless session: one key and one certificate for many artifacts.
    ///
    /// ```no_run
    /// use sealwright_sdk::{Artifact, Error, SigningContext, TokenSource};
    ///
    /// async fn release(context: &SigningContext, source: &TokenSource) -> Result<(), Error> {
    ///     let session = context.keyless(context.identity(source).await?).await?;
    ///     let files = ["a.tar", "b.tar", "c.tar"];
    ///     let artifacts = files.map(|file| Artifact::Path(file.into())).to_vec();
    ///     // One key and one certificate for all; one that fails does not stop the others.
    ///     for (file, outcome) in files.iter().zip(session.sign_all(artifacts, 8).await) {
    ///         match outcome {
    ///             Ok(signed) => println!("{file}: {}", signed.to_json()),
    ///             Err(error) => println!("{file}: {} {error}", error.code()),
    ///         }
    ///     }
    ///     Ok(())
    /// }
    /// ```
    ///
    /// # Errors
    /// Before anything is sent: [`Error::Selection`], [`Error::TimestampAuthorityMissing`], [`Error::Token`]. Then what the
    /// certificate authority answers, and [`Failure::Untrustworthy`] when its certificate does not hold.
    pub async fn keyless(&self, token: IdentityToken) -> Result<SigningSession, Error> {
        if !self.config.has_timestamp_authorities() {
            return Err(Error::TimestampAuthorityMissing);
        }
        self.services_for(&[])?;
        self.check_token(&token).await?;
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
        self.session_with(signer, Holder::Key)
    }

    /// Starts a session with a key of the caller's and its certificate of an organisation's own PKI.
    ///
    /// # Errors
    /// As [`Self::with_key`]; [`Error::Input`] for a certificate that is for another key or cannot sign now;
    /// [`Error::TimestampAuthorityMissing`] for one that lives no longer than a day.
    pub fn with_certificate(
        &self,
        signer: Arc<dyn Signer>,
        certificate: OwnCertificate,
    ) -> Result<SigningSession, Error> {
        certificate.check(signer.public_key(), self.now())?;
        if certificate.is_short_lived() && !self.config.has_timestamp_authorities() {
            return Err(Error::TimestampAuthorityMissing);
        }
        self.session_with(signer, Holder::Certificate(Box::new(certificate)))
    }

    fn session_with(
        &self,
        signer: Arc<dyn Signer>,
        holder: Holder,
    ) -> Result<SigningSession, Error> {
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
            source: Source::Key(Arc::new(Credential { signer, holder })),
        })
    }

    fn now(&self) -> i64 {
        (self.clock)()
    }

    /// S1, the part that needs the authority.
    async fn check_token(&self, token: &IdentityToken) -> Result<(), Error> {
        let (now, audience) = (self.now(), self.audience.as_deref());
        let authority = self.config.certificate_authority(&CA_VERSIONS, now)?;
        ca::check_token(&self.http, authority, token, audience, now).await
    }

    /// S3 and S4.
    async fn certified(
        &self,
        token: &IdentityToken,
        request: &CertificationRequest,
    ) -> Result<Issued, Error> {
        let authority = self
            .config
            .certificate_authority(&CA_VERSIONS, self.now())?;
        let certificate = ca::request(&self.http, authority, token, request).await?;
        let root = self.trust.trusted_root();
        ca::check(certificate, request, token, root, self.now()).map_err(|failure| Error::Service {
            service: ServiceName::CertificateAuthority,
            url: authority.url.clone(),
            failure,
        })
    }

    /// S2 to S4.
    async fn certify(&self, token: &IdentityToken) -> Result<Credential, Error> {
        let key = PrivateKey::generate(self.key_type)
            .map_err(|error| Error::Internal(format!("key generation: {error}")))?;
        let issued = self
            .certified(token, &CertificationRequest::for_key(&key)?)
            .await?;
        let algorithm = signing_algorithm(self.key_type);
        Ok(Credential {
            signer: Arc::new(MemorySigner::with_algorithm(key, algorithm)?),
            holder: Holder::Identity(Box::new(issued)),
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

/// A key, and what says whose it is.
#[derive(Debug)]
struct Credential {
    signer: Arc<dyn Signer>,
    holder: Holder,
}

#[derive(Debug)]
enum Holder {
    /// Nothing but the key; verifiers know it.
    Key,
    /// A short-lived certificate for an identity.
    Identity(Box<Issued>),
    /// A certificate of an own PKI.
    Certificate(Box<OwnCertificate>),
}

impl Credential {
    fn certificate(&self) -> Option<&Certificate> {
        match &self.holder {
            Holder::Key => None,
            Holder::Identity(issued) => Some(&issued.certificate),
            Holder::Certificate(own) => Some(own.leaf()),
        }
    }

    fn expires_before(&self, at: i64) -> bool {
        self.certificate()
            .is_some_and(|certificate| certificate.not_after() < at)
    }

    fn window(&self) -> Option<(i64, i64)> {
        self.certificate()
            .map(|certificate| (certificate.not_before(), certificate.not_after()))
    }

    fn key_hint(&self) -> String {
        base64::encode(&self.signer.public_key().fingerprint())
    }

    fn material(&self) -> SignerMaterial {
        match &self.holder {
            Holder::Key => SignerMaterial::PublicKeyHint(self.key_hint()),
            Holder::Identity(issued) => SignerMaterial::Certificate(issued.certificate.clone()),
            Holder::Certificate(own) => own.material(),
        }
    }

    fn signed_by(&self) -> SignedBy<'_> {
        match self.certificate() {
            Some(certificate) => SignedBy::Certificate(certificate.der()),
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
        let chosen = match &self.holder {
            Holder::Key => Policy::signed_by_key(TrustedKey::new(self.signer.public_key().clone())),
            Holder::Identity(issued) => {
                Policy::signed_by_identity(IdentityRule::exact(&issued.subject, &issued.issuer)?)
            }
            Holder::Certificate(own) => Policy::signed_by_certificate(own.rule()?),
        };
        let policy = match content {
            Content::Dsse(_) => chosen.attestation(PredicateTypes::Any),
            _ => chosen.blob(),
        };
        // What was sent along was the caller's wish.
        Ok(policy.allow_certificate_chain())
    }
}

/// A short-lived certificate that was checked, for whoever signs with the key.
#[derive(Clone, Debug)]
pub struct IssuedCertificate(Issued);

impl IssuedCertificate {
    /// The certificate.
    #[must_use]
    pub fn certificate(&self) -> &Certificate {
        &self.0.certificate
    }

    /// Whom it names.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The identity provider that vouched for them.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The certificate logs that promised to hold it, one at least.
    #[must_use]
    pub fn certificate_logs(&self) -> &[VerifiedSct] {
        &self.0.logs
    }

    /// PEM: the certificate, then [`Self::issuers_pem`].
    #[must_use]
    pub fn to_pem_chain(&self) -> String {
        self.0.certificate.to_pem() + &self.issuers_pem()
    }

    /// PEM: the certificates that lead to the trusted root, the certificate's issuer first, without a root itself, which
    /// whoever verifies has to have from elsewhere. Empty when the root issued the certificate.
    #[must_use]
    pub fn issuers_pem(&self) -> String {
        let above = self.0.chain.certificates().iter().skip(1);
        pem_chain(above.filter(|certificate| !certificate.is_self_issued()))
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
