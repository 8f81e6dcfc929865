//! The certificate authority: a key and a token in, a certificate out.

use sealwright_bundle::TrustedRoot;
use sealwright_bundle::signing_config::Service;
use sealwright_bundle::verdict::VerifiedSct;
use sealwright_bundle::verify::verify_certificate_path;
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64};
use sealwright_pki::certificate::{Certificate, GeneralName};
use sealwright_pki::chain::VerifiedChain;
use sealwright_pki::request::{
    CertificateRequest, DEFAULT_PERMITTED_ALGORITHMS, PEM_LABELS, build_request,
};
use sealwright_proto::fulcio::v2::{
    Configuration, SigningCertificate, oidc_issuer, signing_certificate,
};
use serde_json::json;

use crate::error::{Error, Failure, ServiceName, TokenProblem};
use crate::http::{Call, Http, JSON, join};
use crate::identity::{DEFAULT_AUDIENCE, IdentityToken};

const SERVICE: ServiceName = ServiceName::CertificateAuthority;

/// How far the authority's clock may be ahead of ours.
const CLOCK_TOLERANCE_SECONDS: i64 = 60;

/// A certificate that was checked, and whom it names.
#[derive(Clone, Debug)]
pub(crate) struct Issued {
    pub(crate) certificate: Certificate,
    pub(crate) subject: String,
    pub(crate) issuer: String,
    /// The certificate and those above it, up to one of the trusted root's.
    pub(crate) chain: VerifiedChain,
    /// The certificate logs that promised to hold it.
    pub(crate) logs: Vec<VerifiedSct>,
}

/// A request for a certificate, signed by the key it is for: that proves the key's possession to the authority whatever it
/// calls the person.
#[derive(Clone, Debug)]
pub struct CertificationRequest {
    pem: String,
    spki: Vec<u8>,
}

impl CertificationRequest {
    /// A request for a key at hand.
    ///
    /// # Errors
    /// [`Error::Internal`] when the key cannot sign.
    pub fn for_key(key: &PrivateKey) -> Result<Self, Error> {
        let der = build_request(key, request_algorithm(key.key_type()))
            .map_err(|error| Error::Internal(format!("CSR: {error}")))?;
        Ok(Self {
            pem: sealwright_pki::pem::encode(PEM_LABELS[0], &der),
            spki: key.public_key().spki_der().to_vec(),
        })
    }

    /// A request (PKCS #10 in PEM) that whoever holds the key has signed. Its subject and extensions do not matter: what goes
    /// into the certificate comes from the identity token.
    ///
    /// # Errors
    /// [`Error::Input`] when it is none, or its signature does not verify.
    pub fn from_pem(origin: &str, pem: &str) -> Result<Self, Error> {
        let refuse = |error: sealwright_pki::Error| {
            Error::input(
                format!("certification request {origin}"),
                format!(
                    "{error}; expected one PKCS #10 request in PEM (BEGIN CERTIFICATE REQUEST), signed by its own key"
                ),
            )
        };
        let request = CertificateRequest::from_pem(pem).map_err(refuse)?;
        request
            .verify(&DEFAULT_PERMITTED_ALGORITHMS)
            .map_err(refuse)?;
        Ok(Self {
            pem: pem.trim().to_owned() + "\n",
            spki: request.public_key().spki_der().to_vec(),
        })
    }
}

/// Refuses a token the authority would refuse, before any secret leaves the machine.
///
/// The default audience is checked on the spot. For any other the authority is asked which audience it expects of this
/// issuer; when it does not say, the decision is left to it.
pub(crate) async fn check_token(
    http: &Http,
    service: &Service,
    token: &IdentityToken,
    audience: Option<&str>,
    now: i64,
) -> Result<(), Error> {
    token.check_life(now)?;
    let expected = match audience {
        Some(audience) => audience.to_owned(),
        None if token.is_for(DEFAULT_AUDIENCE) => return Ok(()),
        None => match expected_audience(http, service, token.issuer()).await {
            Some(audience) => audience,
            None => return Ok(()),
        },
    };
    if token.is_for(&expected) {
        return Ok(());
    }
    Err(TokenProblem::Audience {
        found: token.shown_audience(),
        expected,
    }
    .into())
}

/// The audience to ask for before there is a token: the one the authority expects of every issuer, if that is one.
pub(crate) async fn common_audience(http: &Http, service: &Service) -> Option<String> {
    let issuers = configuration(http, service).await?.issuers;
    let mut audiences = issuers.into_iter().map(|issuer| issuer.audience);
    let first = audiences.next().filter(|audience| !audience.is_empty())?;
    audiences.all(|audience| audience == first).then_some(first)
}

async fn configuration(http: &Http, service: &Service) -> Option<Configuration> {
    let url = join(&service.url, "api/v2/configuration");
    let answer = http.send(&Call::get(SERVICE, &url, &JSON)).await.ok()?;
    serde_json::from_slice(&answer).ok()
}

async fn expected_audience(http: &Http, service: &Service, issuer: &str) -> Option<String> {
    let issuers = configuration(http, service).await?.issuers;
    let known = issuers.into_iter().find(|known| match &known.issuer {
        Some(oidc_issuer::Issuer::IssuerUrl(url)) => url == issuer,
        _ => false,
    })?;
    Some(known.audience).filter(|audience| !audience.is_empty())
}

/// Asks for a certificate.
#[tracing::instrument(skip_all, fields(url = service.url))]
pub(crate) async fn request(
    http: &Http,
    service: &Service,
    token: &IdentityToken,
    order: &CertificationRequest,
) -> Result<Certificate, Error> {
    let body = json!({
        "credentials": { "oidcIdentityToken": token.secret() },
        "certificateSigningRequest": base64::encode(order.pem.as_bytes()),
    });
    let url = join(&service.url, "api/v2/signingCert");
    let answer = http
        .send(&Call::post(SERVICE, &url, &JSON, body.to_string().into()))
        .await?;
    leaf(&answer).map_err(|failure| Error::Service {
        service: SERVICE,
        url,
        failure,
    })
}

/// A request is signed over its whole text, so Ed25519 takes its pure form here.
fn request_algorithm(key_type: KeyType) -> Algorithm {
    key_type.default_algorithm()
}

/// The first certificate of the answer. The rest of the chain is not used: it proves nothing that the trusted root does not.
fn leaf(answer: &[u8]) -> Result<Certificate, Failure> {
    let malformed = |problem: String| Failure::Malformed(problem);
    let answer: SigningCertificate =
        serde_json::from_slice(answer).map_err(|error| malformed(error.to_string()))?;
    let chain = match answer.certificate {
        Some(signing_certificate::Certificate::SignedCertificateEmbeddedSct(embedded)) => {
            embedded.chain
        }
        Some(signing_certificate::Certificate::SignedCertificateDetachedSct(detached)) => {
            detached.chain
        }
        None => None,
    };
    let pem = chain.and_then(|chain| chain.certificates.into_iter().next());
    let pem = pem.ok_or_else(|| malformed("it holds no certificate".into()))?;
    Certificate::from_pem(&pem).map_err(|error| malformed(error.to_string()))
}

/// Checks a certificate before it is used: it is for our key, it is trusted now and logged, and it names the person the token
/// names. A signature by a certificate that fails here would be worthless, and one for somebody else's name dangerous.
pub(crate) fn check(
    certificate: Certificate,
    order: &CertificationRequest,
    token: &IdentityToken,
    root: &TrustedRoot,
    now: i64,
) -> Result<Issued, Failure> {
    let untrustworthy = |problem: String| Failure::Untrustworthy(problem);
    if certificate.spki_der() != order.spki {
        return Err(untrustworthy(
            "the certificate is for another key than the one in the request".into(),
        ));
    }
    // A certificate that begins a moment from now is one of a clock ahead of ours.
    let at = now.max(
        certificate
            .not_before()
            .min(now.saturating_add(CLOCK_TOLERANCE_SECONDS)),
    );
    let verified = verify_certificate_path(&certificate, root, at)
        .map_err(|error| untrustworthy(error.to_string()))?;
    let identity = verified.identity;
    let (subject, issuer) = (
        identity.subject_alternative_name.value().to_owned(),
        identity.issuer,
    );
    if issuer != token.issuer() {
        let problem = format!(
            "the certificate names issuer {issuer:?}, the token {:?}",
            token.issuer()
        );
        return Err(untrustworthy(problem));
    }
    if !names_the_person(&certificate, &subject, token) {
        let problem = format!(
            "the certificate names {subject:?}, the token {:?}",
            token.identity()
        );
        return Err(untrustworthy(problem));
    }
    Ok(Issued {
        certificate,
        subject,
        issuer,
        chain: verified.chain,
        logs: verified.certificate_logs,
    })
}

/// An e-mail address must be the token's own. Other names are made by the authority from claims by a template of its own,
/// which only the authority knows; the signer can do no more than show the name.
fn names_the_person(certificate: &Certificate, subject: &str, token: &IdentityToken) -> bool {
    let is_email = certificate
        .subject_alt_names()
        .iter()
        .any(|name| matches!(name, GeneralName::Email(_)));
    !is_email
        || [token.email(), token.subject()]
            .into_iter()
            .flatten()
            .any(|claim| claim == subject)
}
