//! Why a request is refused, and why a response is not believed.

use const_oid::ObjectIdentifier;
use sealwright_crypto::{Algorithm, HashAlgorithm};

/// PKIFailureInfo (RFC 3161 section 2.4.2): the bit that tells a client why no token was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PkiFailureInfo {
    /// Unrecognised or unsupported algorithm identifier.
    BadAlg,
    /// The transaction is not permitted or supported.
    BadRequest,
    /// The data submitted has the wrong format.
    BadDataFormat,
    /// The authority's time source is not available.
    TimeNotAvailable,
    /// The requested policy is not supported.
    UnacceptedPolicy,
    /// The requested extension is not supported.
    UnacceptedExtension,
    /// The additional information requested is not available.
    AddInfoNotAvailable,
    /// The request cannot be handled because of a failure of the authority.
    SystemFailure,
}

impl PkiFailureInfo {
    const ALL: [Self; 8] = [
        Self::BadAlg,
        Self::BadRequest,
        Self::BadDataFormat,
        Self::TimeNotAvailable,
        Self::UnacceptedPolicy,
        Self::UnacceptedExtension,
        Self::AddInfoNotAvailable,
        Self::SystemFailure,
    ];

    /// The position of the bit, counted from the most significant one of the first octet.
    #[must_use]
    pub const fn bit(self) -> u8 {
        match self {
            Self::BadAlg => 0,
            Self::BadRequest => 2,
            Self::BadDataFormat => 5,
            Self::TimeNotAvailable => 14,
            Self::UnacceptedPolicy => 15,
            Self::UnacceptedExtension => 16,
            Self::AddInfoNotAvailable => 17,
            Self::SystemFailure => 25,
        }
    }

    /// The name the RFC gives the bit.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadAlg => "badAlg",
            Self::BadRequest => "badRequest",
            Self::BadDataFormat => "badDataFormat",
            Self::TimeNotAvailable => "timeNotAvailable",
            Self::UnacceptedPolicy => "unacceptedPolicy",
            Self::UnacceptedExtension => "unacceptedExtension",
            Self::AddInfoNotAvailable => "addInfoNotAvailable",
            Self::SystemFailure => "systemFailure",
        }
    }

    /// The failure whose bit stands at this position, if the RFC defines one.
    #[must_use]
    pub fn from_bit(bit: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|failure| failure.bit() == bit)
    }
}

/// Why a TimeStampReq is refused. Each is the requester's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// The bytes are not one TimeStampReq.
    #[error("the request is not a DER TimeStampReq of RFC 3161: {part} is malformed")]
    Malformed {
        /// The field that could not be read.
        part: &'static str,
    },
    /// The version is not the only one there is.
    #[error("the request has an unsupported version; only version 1 exists")]
    Version,
    /// The imprint's hash algorithm is unknown or too weak.
    #[error("hash algorithm {algorithm} is not accepted; use SHA-256, SHA-384 or SHA-512")]
    HashAlgorithm {
        /// What the request named.
        algorithm: ObjectIdentifier,
    },
    /// The digest has not the length that its algorithm gives.
    #[error("the message imprint has {found} octets, but {} digests have {}", algorithm.name(), algorithm.output_len())]
    ImprintLength {
        /// The algorithm named by the request.
        algorithm: HashAlgorithm,
        /// The length of the digest in the request, in octets.
        found: usize,
    },
    /// The nonce is longer than the authority echoes.
    #[error("the nonce has {found} octets; at most {limit} are echoed")]
    NonceLength {
        /// The length of the nonce, in octets.
        found: usize,
        /// The most that is echoed, in octets.
        limit: usize,
    },
    /// The policy asked for is none of this authority's.
    #[error("policy {policy} is not offered by this authority")]
    Policy {
        /// What the request asked for.
        policy: ObjectIdentifier,
    },
    /// The request carries an extension that this authority does not act on.
    #[error("request extension {extension} is not supported")]
    Extension {
        /// The extension's identifier.
        extension: ObjectIdentifier,
    },
}

impl RequestError {
    /// The failure bit of a rejection for this reason.
    #[must_use]
    pub const fn failure_info(&self) -> PkiFailureInfo {
        match self {
            Self::Malformed { .. } | Self::ImprintLength { .. } => PkiFailureInfo::BadDataFormat,
            Self::Version | Self::NonceLength { .. } => PkiFailureInfo::BadRequest,
            Self::HashAlgorithm { .. } => PkiFailureInfo::BadAlg,
            Self::Policy { .. } => PkiFailureInfo::UnacceptedPolicy,
            Self::Extension { .. } => PkiFailureInfo::UnacceptedExtension,
        }
    }
}

/// A signer's template cannot be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// There is no certificate to name the signer by.
    #[error("the timestamp chain is empty; expected the signer's certificate first")]
    EmptyChain,
    /// Tokens are not signed by this algorithm, because verifiers in the field refuse them.
    #[error(
        "timestamps are not signed with {algorithm}; use ECDSA P-256, ECDSA P-384 with SHA-384, or RSA PKCS #1 v1.5"
    )]
    Algorithm {
        /// The signer's algorithm.
        algorithm: Algorithm,
    },
}

/// The instant does not fit GeneralizedTime, which ends with the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("genTime {unix} (Unix seconds) cannot be written as a GeneralizedTime")]
pub struct TimeOutOfRange {
    /// The instant in Unix seconds.
    pub unix: i64,
}

/// Why a TimeStampResp is not believed.
///
/// A response that is malformed or refused is the authority's doing; the rest means that the response does not answer
/// what was asked, or that its signer is not the one trusted.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampError {
    /// Longer than any honest response.
    #[error(
        "the timestamp response has {found} bytes; at most {} are read",
        super::MAX_RESPONSE_BYTES
    )]
    TooLarge {
        /// Its length in bytes.
        found: usize,
    },
    /// The bytes are not a TimeStampResp with a well-formed token.
    #[error("the timestamp response is malformed: {part}")]
    Malformed {
        /// The structure that could not be read.
        part: &'static str,
    },
    /// The authority did not grant a timestamp.
    #[error("the timestamp authority refused: status {status}{}{}", failure.map_or("", |_| ", "), failure.map_or("", PkiFailureInfo::name))]
    NotGranted {
        /// PKIStatus: 2 is rejection, 3 waiting, 4 and 5 speak of revocation.
        status: u32,
        /// The first failure bit that the RFC defines.
        failure: Option<PkiFailureInfo>,
        /// The authority's sentences, cut short; text of an outsider.
        text: String,
    },
    /// The token carries no or several signatures.
    #[error("the timestamp token has {found} signatures; exactly one is accepted")]
    SignerCount {
        /// How many it has.
        found: usize,
    },
    /// Digest or signature algorithm outside those accepted, or one that does not fit the signer's key.
    #[error("the timestamp token uses an algorithm that is not accepted: {algorithm}")]
    Algorithm {
        /// The identifier.
        algorithm: ObjectIdentifier,
    },
    /// A signed attribute is missing, doubled or does not hold.
    #[error("the timestamp token's signed attributes do not hold: {attribute}")]
    SignedAttribute {
        /// Which attribute.
        attribute: &'static str,
    },
    /// No certificate at hand is the one by which the token names its signer.
    #[error("the timestamp signer's certificate is neither trusted nor in the token")]
    SignerUnknown,
    /// The token brings certificates along, and the signer's is not among them (RFC 3161 section 2.4.1, `certReq`).
    #[error("the timestamp token brings certificates, but not its signer's")]
    SignerNotEmbedded,
    /// The signer is not the certificate that the trust material pins.
    #[error("the timestamp was signed by a certificate other than the trusted authority's")]
    SignerNotPinned,
    /// The signer's certificate may not sign timestamps: its extended key usage is not critical, or not timeStamping alone.
    #[error(
        "the timestamp signer's certificate is not for timestamps alone (critical extended key usage timeStamping)"
    )]
    SignerUsage,
    /// The signer's certificate does not lead to a trusted root at the time of the token.
    #[error(
        "the timestamp signer's certificate does not lead to a trusted root at the token's time: {0}"
    )]
    Chain(Box<crate::Error>),
    /// The token has a critical extension, which changes its meaning for who understands it.
    #[error("the timestamp token has the critical extension {extension}, which is not understood")]
    CriticalExtension {
        /// The extension.
        extension: ObjectIdentifier,
    },
    /// The signature over the signed attributes is wrong.
    #[error("the signature of the timestamp token is wrong")]
    Signature,
    /// The token is about other data.
    #[error("the timestamp is over other data than the given one")]
    Imprint,
    /// The token's nonce is not the one that was sent: an answer to another request.
    #[error("the timestamp's nonce is not the one that was sent")]
    Nonce,
    /// The token was made under another policy.
    #[error("the timestamp was made under policy {found}, which is not the one required")]
    Policy {
        /// The token's policy.
        found: ObjectIdentifier,
    },
}
