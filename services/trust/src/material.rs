//! Trust material of the services: collected over a channel or read from a file, and admitted only with a proof that
//! the service holds the key it announces.

use std::fmt;
use std::time::Duration;

use futures::TryFutureExt as _;
use futures::future::{join_all, try_join_all};
use sealwright_crypto::{KeyType, PublicKey};
use sealwright_pki::{Certificate, Purpose, check_issuing_certificate, verify_chain};
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_material_client::TrustMaterialClient;
use sealwright_tlog::NoteKey;
use tonic::transport::Channel;
use url::Url;

use crate::error::{Error, MaterialFault};

/// Bytes of a challenge.
pub const CHALLENGE_LENGTH: usize = 32;

/// Materials in one answer or file; a process has a handful.
const MAX_MATERIALS: usize = 64;
/// Certificates in a chain: more than any verifier follows.
const MAX_CHAIN: usize = 8;
/// Bytes of one certificate.
const MAX_CERTIFICATE: usize = 64 * 1024;
/// Bytes of a URL or an origin.
const MAX_TEXT: usize = 2_048;
/// Bytes of an operator's name.
const MAX_OPERATOR: usize = 200;
/// Bytes of a whole answer: 64 materials of a few kilobytes each.
const MAX_ANSWER: usize = 1024 * 1024;
/// A service in the same deployment answers in milliseconds; a key service behind it may need longer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// How far in the future a key may be meant to start: a year.
const MAX_FUTURE_START: i64 = 366 * 86_400;

/// What a key is for.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Issues code signing certificates.
    CertificateAuthority,
    /// Issues timestamps.
    TimestampAuthority,
    /// Records signatures.
    TransparencyLog,
    /// Records certificates.
    CtLog,
}

impl Kind {
    pub(crate) fn from_wire(kind: i32) -> Option<Self> {
        match wire::MaterialKind::try_from(kind).ok()? {
            wire::MaterialKind::Unspecified => None,
            wire::MaterialKind::CertificateAuthority => Some(Self::CertificateAuthority),
            wire::MaterialKind::TimestampAuthority => Some(Self::TimestampAuthority),
            wire::MaterialKind::TransparencyLog => Some(Self::TransparencyLog),
            wire::MaterialKind::CtLog => Some(Self::CtLog),
        }
    }

    pub(crate) fn to_wire(self) -> wire::MaterialKind {
        match self {
            Self::CertificateAuthority => wire::MaterialKind::CertificateAuthority,
            Self::TimestampAuthority => wire::MaterialKind::TimestampAuthority,
            Self::TransparencyLog => wire::MaterialKind::TransparencyLog,
            Self::CtLog => wire::MaterialKind::CtLog,
        }
    }

    /// Whether entries of this kind have a certificate chain.
    #[must_use]
    pub fn is_authority(self) -> bool {
        matches!(self, Self::CertificateAuthority | Self::TimestampAuthority)
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CertificateAuthority => "certificate authority",
            Self::TimestampAuthority => "timestamp authority",
            Self::TransparencyLog => "transparency log",
            Self::CtLog => "CT log",
        })
    }
}

/// Material whose owner has proved that it holds the key. Only [`Material::admit`] makes one.
#[derive(Debug, Clone)]
pub struct Material {
    pub(crate) kind: Kind,
    pub(crate) url: String,
    pub(crate) origin: String,
    pub(crate) operator: String,
    pub(crate) public_key: PublicKey,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) log_id: Option<[u8; 32]>,
    pub(crate) valid_from: i64,
}

impl Material {
    /// Judges what a service said about itself in answer to `challenge`, at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`Error::Material`] with the first fault.
    pub fn admit(offered: &wire::Material, challenge: &[u8], now: i64) -> Result<Self, Error> {
        Self::judge(offered, challenge, now).map_err(|fault| Error::Material {
            subject: subject(offered),
            fault,
        })
    }

    fn judge(offered: &wire::Material, challenge: &[u8], now: i64) -> Result<Self, MaterialFault> {
        check_sizes(offered)?;
        let kind = Kind::from_wire(offered.kind).ok_or(MaterialFault::Kind)?;
        let public_key =
            PublicKey::from_spki_der(&offered.public_key).map_err(|_| MaterialFault::Key)?;
        check_key_type(kind, public_key.key_type())?;
        check_proof(offered, &public_key, challenge)?;
        let url = parse_url(&offered.url)?;
        check_origin(kind, &url, &offered.origin)?;
        let chain = parse_chain(kind, offered, &public_key, now)?;
        let log_id = log_id(kind, &offered.origin, &public_key)?;
        Ok(Self {
            kind,
            url: offered.url.trim_end_matches('/').to_owned(),
            origin: offered.origin.clone(),
            operator: offered.operator.clone(),
            valid_from: valid_from(offered, &chain, now)?,
            public_key,
            chain,
            log_id,
        })
    }

    /// Hex SHA-256 of the first certificate (authorities) or of the key (logs): the name of the entry.
    #[must_use]
    pub fn id(&self) -> String {
        match self.chain.first() {
            Some(certificate) => hex::encode(certificate.fingerprint()),
            None => hex::encode(self.public_key.fingerprint()),
        }
    }
}

impl fmt::Display for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind, self.url)
    }
}

/// A process that describes the authorities and logs it runs, and the way to it: in memory, or over a channel that
/// authenticates both ends.
#[derive(Debug, Clone)]
pub struct Service {
    /// What an operator calls it.
    pub name: String,
    /// The way to it.
    pub channel: Channel,
}

/// Asks every service for its material. The answers are not judged here.
///
/// # Errors
/// [`Error::Unreachable`] with the first service that does not answer.
pub async fn collect(
    services: &[Service],
    challenge: [u8; CHALLENGE_LENGTH],
) -> Result<wire::MaterialFile, Error> {
    let answers = services.iter().map(|service| {
        let answer = describe(service.channel.clone(), challenge);
        answer.map_err(|status| Error::Unreachable {
            service: service.name.clone(),
            status: Box::new(status),
        })
    });
    let materials = try_join_all(answers).await?.into_iter().flatten().collect();
    Ok(wire::MaterialFile {
        challenge: challenge.to_vec(),
        materials,
    })
}

/// The names of the services that do not answer within `patience`.
pub(crate) async fn silent(services: &[Service], patience: Duration) -> Vec<String> {
    let asked = services.iter().map(|service| async move {
        let answer = describe(service.channel.clone(), [0; CHALLENGE_LENGTH]);
        let answered = matches!(tokio::time::timeout(patience, answer).await, Ok(Ok(_)));
        (!answered).then(|| service.name.clone())
    });
    join_all(asked).await.into_iter().flatten().collect()
}

async fn describe(
    service: Channel,
    challenge: [u8; CHALLENGE_LENGTH],
) -> Result<Vec<wire::Material>, tonic::Status> {
    let mut client = TrustMaterialClient::new(service).max_decoding_message_size(MAX_ANSWER);
    let request = wire::DescribeRequest {
        challenge: challenge.to_vec(),
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.describe(request)).await;
    let answer = answer.unwrap_or_else(|_| Err(tonic::Status::deadline_exceeded("no answer")));
    Ok(answer?.into_inner().materials)
}

/// Judges a whole answer.
///
/// # Errors
/// [`Error::Material`] with the first fault.
pub(crate) fn admit_all(
    file: &wire::MaterialFile,
    challenge: &[u8; CHALLENGE_LENGTH],
    now: i64,
) -> Result<Vec<Material>, Error> {
    if file.materials.len() > MAX_MATERIALS {
        return Err(Error::Material {
            subject: "this deployment".to_owned(),
            fault: MaterialFault::TooLarge("more than 64 entries"),
        });
    }
    let materials = file.materials.iter();
    materials
        .map(|offered| Material::admit(offered, challenge, now))
        .collect()
}

fn subject(offered: &wire::Material) -> String {
    let kind = Kind::from_wire(offered.kind)
        .map_or_else(|| "an unknown service".to_owned(), |kind| kind.to_string());
    let url: String = offered
        .url
        .chars()
        .filter(|c| !c.is_control())
        .take(200)
        .collect();
    format!("{kind} {url}")
}

fn check_sizes(offered: &wire::Material) -> Result<(), MaterialFault> {
    if offered.url.len() > MAX_TEXT || offered.origin.len() > MAX_TEXT {
        return Err(MaterialFault::TooLarge(
            "URL or origin of more than 2048 bytes",
        ));
    }
    check_operator(&offered.operator)?;
    let long = |certificate: &[u8]| certificate.len() > MAX_CERTIFICATE;
    if offered.chain.len() > MAX_CHAIN || offered.chain.iter().any(|c| long(c.as_ref())) {
        return Err(MaterialFault::TooLarge(
            "more than 8 certificates, or one of more than 64 KiB",
        ));
    }
    Ok(())
}

pub(crate) fn check_operator(operator: &str) -> Result<(), MaterialFault> {
    if operator.len() > MAX_OPERATOR || operator.chars().any(char::is_control) {
        return Err(MaterialFault::Operator);
    }
    Ok(())
}

/// The key types that every published client verifies (specs, "clients in the wild").
pub(crate) fn check_key_type(kind: Kind, found: KeyType) -> Result<(), MaterialFault> {
    let accepted = match kind {
        Kind::TransparencyLog => match found {
            KeyType::Ed25519 | KeyType::EcP256 => return Ok(()),
            _ => "Ed25519 and ECDSA P-256",
        },
        Kind::CtLog => match found {
            KeyType::EcP256 => return Ok(()),
            _ => "ECDSA P-256",
        },
        Kind::CertificateAuthority | Kind::TimestampAuthority => match found {
            KeyType::EcP256 | KeyType::EcP384 => return Ok(()),
            _ => "ECDSA P-256 and P-384",
        },
    };
    Err(MaterialFault::KeyType {
        found: found.to_string(),
        accepted,
    })
}

fn check_proof(
    offered: &wire::Material,
    public_key: &PublicKey,
    challenge: &[u8],
) -> Result<(), MaterialFault> {
    let message = offered.proof_message(challenge);
    public_key
        .verify(
            public_key.default_algorithm(),
            &message,
            &offered.proof_of_possession,
        )
        .map_err(|_| MaterialFault::Proof)
}

/// Origins follow from URLs and are compared as text, so that a URL in another spelling could hide that two logs share
/// one.
pub(crate) fn parse_url(text: &str) -> Result<Url, MaterialFault> {
    let url = Url::parse(text).map_err(|_| MaterialFault::Url)?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    let web = matches!(url.scheme(), "http" | "https") && url.has_host();
    if !(plain && web) {
        return Err(MaterialFault::Url);
    }
    let normal = url.as_str().trim_end_matches('/');
    if normal == text.trim_end_matches('/') {
        Ok(url)
    } else {
        Err(MaterialFault::UrlForm {
            normal: normal.to_owned(),
        })
    }
}

/// Two published clients derive a signature log's origin from its URL as the host without the port; a CT log's origin
/// is its submission prefix without the scheme.
pub(crate) fn check_origin(kind: Kind, url: &Url, origin: &str) -> Result<(), MaterialFault> {
    let expected = match kind {
        Kind::TransparencyLog => url.host_str().unwrap_or_default().to_owned(),
        Kind::CtLog => {
            let text = url.as_str().trim_end_matches('/');
            text.split_once("://")
                .map_or(text, |(_, rest)| rest)
                .to_owned()
        }
        Kind::CertificateAuthority | Kind::TimestampAuthority => String::new(),
    };
    if origin == expected {
        return Ok(());
    }
    Err(MaterialFault::Origin {
        found: origin.chars().take(200).collect(),
        expected,
    })
}

fn log_id(
    kind: Kind,
    origin: &str,
    public_key: &PublicKey,
) -> Result<Option<[u8; 32]>, MaterialFault> {
    let key = match kind {
        Kind::TransparencyLog => NoteKey::for_log(origin, public_key.clone()),
        Kind::CtLog => NoteKey::for_ct_log(origin, public_key.clone()),
        Kind::CertificateAuthority | Kind::TimestampAuthority => return Ok(None),
    };
    key.map(|key| Some(key.log_id()))
        .map_err(|_| MaterialFault::Key)
}

/// The chain must be one that every client builds: issuing certificate (or timestamping leaf) first, self-signed root
/// last, each signed by the next, all in force.
fn parse_chain(
    kind: Kind,
    offered: &wire::Material,
    public_key: &PublicKey,
    now: i64,
) -> Result<Vec<Certificate>, MaterialFault> {
    let bad = |what: &str| MaterialFault::Chain(what.to_owned());
    if !kind.is_authority() {
        return match offered.chain.is_empty() {
            true => Ok(Vec::new()),
            false => Err(bad("given, and a log has none")),
        };
    }
    let certificates = offered.chain.iter();
    let chain: Vec<Certificate> = certificates
        .map(|der| Certificate::from_der(der.to_vec()))
        .collect::<Result<_, _>>()
        .map_err(|error| MaterialFault::Chain(error.to_string()))?;
    let first = chain.first().ok_or_else(|| bad("empty"))?;
    if first.spki_der() != public_key.spki_der() {
        return Err(bad("not that of the announced key"));
    }
    check_links(&chain, now)?;
    match kind {
        Kind::TimestampAuthority => check_timestamping(&chain, now)?,
        _ if !chain.iter().all(Certificate::is_ca) => {
            return Err(bad("not made of authorities only"));
        }
        _ => check_issuing_certificate(first, Purpose::CodeSigning).map_err(|fault| {
            MaterialFault::Chain(format!("not one that issues for signers: {fault}"))
        })?,
    }
    Ok(chain)
}

fn check_links(chain: &[Certificate], now: i64) -> Result<(), MaterialFault> {
    let failed = |error: sealwright_pki::Error| MaterialFault::Chain(error.to_string());
    if let Some(late) = chain
        .iter()
        .find(|certificate| !certificate.is_valid_at(now))
    {
        return Err(MaterialFault::Chain(format!(
            "not in force now: {} is valid from {} to {}",
            late.subject(),
            late.not_before(),
            late.not_after()
        )));
    }
    // The last one is its own issuer, which makes it a root.
    let issuers = chain.iter().skip(1).chain(chain.last());
    for (certificate, issuer) in chain.iter().zip(issuers) {
        let key = issuer.public_key().map_err(failed)?;
        certificate.verify_signature(key).map_err(failed)?;
        if certificate.issuer_der() != issuer.subject_der() {
            return Err(MaterialFault::Chain(format!(
                "out of order: {} is not issued by {}",
                certificate.subject(),
                issuer.subject()
            )));
        }
    }
    Ok(())
}

/// A leaf alone is refused by every client, and so is one with any other purpose.
fn check_timestamping(chain: &[Certificate], now: i64) -> Result<(), MaterialFault> {
    let [leaf, between @ .., root] = chain else {
        return Err(MaterialFault::Chain(
            "without a root beside the leaf".to_owned(),
        ));
    };
    verify_chain(
        leaf,
        between,
        std::slice::from_ref(root),
        now,
        Purpose::TimeStamping,
    )
    .map(|_| ())
    .map_err(|error| MaterialFault::Chain(error.to_string()))
}

/// An authority's key is not used before its certificate begins.
fn valid_from(
    offered: &wire::Material,
    chain: &[Certificate],
    now: i64,
) -> Result<i64, MaterialFault> {
    let start = offered.valid_from;
    if start <= 0 || start > now.saturating_add(MAX_FUTURE_START) {
        return Err(MaterialFault::ValidFrom(start));
    }
    Ok(chain
        .first()
        .map_or(start, |first| start.max(first.not_before())))
}
