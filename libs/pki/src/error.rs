//! What can go wrong with certificates: one variant for each decision a caller can take.

use const_oid::ObjectIdentifier;
use sealwright_crypto::{Algorithm, KeyError, KeyType, SignError};

/// Failures of this crate. RFC 3161 has its own in [`crate::timestamp`].
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are not the structure they should be. The sender is at fault.
    #[error("malformed {what}: {fault}")]
    Malformed {
        /// The structure or field, as a person would say it.
        what: &'static str,
        /// What the encoding rules object to.
        fault: DerFault,
    },
    /// The bytes exceed a limit. The sender is at fault, or the limit is too low.
    #[error("the {what} has {size} bytes; at most {limit} are read")]
    TooLarge {
        /// The structure.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Text that should be PEM is not, or carries another label.
    #[error("not PEM: {0}")]
    Pem(PemFault),
    /// The key in the certificate or request cannot be read or is of a kind nobody uses.
    #[error("public key: {0}")]
    Key(#[source] KeyError),
    /// A signature algorithm that is unknown, too weak, or does not go with the key.
    #[error("signature algorithm {oid} cannot be used{}", .key_type.map(|key| format!(" with a key of type {key}")).unwrap_or_default())]
    SignatureAlgorithm {
        /// Identifier found.
        oid: ObjectIdentifier,
        /// The key that should have verified it, when there was one.
        key_type: Option<KeyType>,
    },
    /// A signature does not hold.
    #[error("the signature on the {what} does not verify")]
    Signature {
        /// What was signed.
        what: &'static str,
    },
    /// No path from the certificate to a trust anchor. Says why the most promising one failed.
    #[error("no valid certification path: {0}")]
    Chain(#[source] ChainFault),
    /// A certificate revocation list that cannot be used, although it is well formed.
    #[error("certificate revocation list: {0}")]
    RevocationList(#[source] CrlFault),
    /// The subject's key is not strong enough to be certified.
    #[error("the public key is refused: {0}")]
    WeakKey(KeyFault),
    /// A key and hash combination that this authority does not accept in requests.
    #[error("signing algorithm not permitted: {found}")]
    AlgorithmNotPermitted {
        /// What the request was signed with.
        found: Algorithm,
    },
    /// The certificate carries no identity of the profile, or an ambiguous one.
    #[error("identity: {0}")]
    Identity(IdentityFault),
    /// A signed certificate timestamp is missing or does not hold.
    #[error("signed certificate timestamp: {0}")]
    Sct(SctFault),
    /// The authority's own certificate does not allow what is asked of it. The operator is at fault.
    #[error("the issuing certificate cannot be used: {0}")]
    Issuer(IssuerFault),
    /// The to-be-signed certificate breaks a rule of the profile, so it was not signed. A defect of the authority.
    #[error("the to-be-signed certificate was refused before signing: {0}")]
    Lint(LintFault),
    /// Rendering failed. A defect of the authority, or a key type it cannot render.
    #[error("the certificate could not be rendered: {detail}")]
    Render {
        /// What the encoder said.
        detail: String,
    },
    /// The signer failed; whether another try helps is in the source.
    #[error("the certificate could not be signed: {0}")]
    Sign(#[source] SignFault),
}

/// A [`SignError`] that can be compared, for tests and for callers that match on it.
#[derive(Debug, Clone, thiserror::Error)]
#[error(transparent)]
pub struct SignFault(#[from] pub SignError);

impl PartialEq for SignFault {
    fn eq(&self, other: &Self) -> bool {
        self.to_string() == other.to_string()
    }
}

/// What DER (X.690) objects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DerFault {
    /// The input ends inside an element.
    #[error("the input ends too early")]
    Truncated,
    /// Bytes follow the last element.
    #[error("bytes follow the end")]
    TrailingBytes,
    /// A length in a form that DER forbids, or one that does not fit the type.
    #[error("a length is not in its shortest form, or does not fit")]
    Length,
    /// A tag number above 30.
    #[error("a tag number is above 30")]
    HighTagNumber,
    /// Another element than the grammar has at this place.
    #[error("expected tag {expected:#04x}, found {}", .found.map_or("the end".to_owned(), |tag| format!("{tag:#04x}")))]
    UnexpectedTag {
        /// Identifier octet of the grammar.
        expected: u8,
        /// Identifier octet found; `None` at the end.
        found: Option<u8>,
    },
    /// An integer that is empty, padded, negative where it must not be, or too long.
    #[error("an integer is padded, empty or out of range")]
    Integer,
    /// A boolean other than 00 and FF, or an encoded default.
    #[error("a boolean is not canonical")]
    Boolean,
    /// A bit string with unused bits that are set or may not be there.
    #[error("a bit string is not canonical")]
    BitString,
    /// An object identifier that is malformed or longer than 39 octets.
    #[error("an object identifier is malformed or too long")]
    Oid,
    /// A date that does not exist or is not in the one permitted form.
    #[error("a time is malformed")]
    Time,
    /// A string with characters its type does not have.
    #[error("a string has characters that its type does not allow")]
    Text,
    /// A value that the grammar or the RFC forbids at this place.
    #[error("a field has a value that is not allowed")]
    Value,
    /// The same extension or attribute twice.
    #[error("an extension occurs twice")]
    Duplicate,
    /// The elements of a SET OF do not ascend by their encodings.
    #[error("the elements of a set are not in order")]
    SetOrder,
}

/// What is wrong with PEM text (RFC 7468).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PemFault {
    /// No block at all.
    #[error("there is no BEGIN line")]
    NoBlock,
    /// A block without its END line, or with another label there.
    #[error("the block has no matching END line")]
    Unterminated,
    /// The text between is not base64.
    #[error("the text between BEGIN and END is not base64")]
    Base64,
    /// A block with another label than the caller can use.
    #[error("the block is labelled {found:?}; accepted: {accepted}")]
    Label {
        /// Label found, shortened to 64 characters.
        found: String,
        /// Accepted labels.
        accepted: &'static str,
    },
    /// More blocks than the caller takes.
    #[error("there are more than {limit} blocks")]
    TooMany {
        /// The limit.
        limit: usize,
    },
}

/// Why a certification path (RFC 5280 section 6) does not hold. `depth` counts from the leaf, which is 0.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ChainFault {
    /// No certificate at hand has the issuer's name.
    #[error("no certificate of the issuer {issuer:?} is known")]
    UnknownIssuer {
        /// Issuer name that was looked for.
        issuer: String,
    },
    /// An issuer of the right name exists, but its key did not make the signature.
    #[error("the signature of certificate {depth} is not by the known issuer {issuer:?}")]
    BadSignature {
        /// The certificate whose signature fails.
        depth: usize,
        /// Name of the issuer that was tried.
        issuer: String,
    },
    /// A certificate whose validity begins after the time in question.
    #[error("certificate {depth} is valid only from {not_before} (Unix seconds), after {at}")]
    NotYetValid {
        /// Position in the path.
        depth: usize,
        /// Begin of validity.
        not_before: i64,
        /// The time in question.
        at: i64,
    },
    /// A certificate whose validity ended before the time in question.
    #[error("certificate {depth} was valid only until {not_after} (Unix seconds), before {at}")]
    Expired {
        /// Position in the path.
        depth: usize,
        /// End of validity.
        not_after: i64,
        /// The time in question.
        at: i64,
    },
    /// An issuer that is no certificate authority: basicConstraints missing or FALSE.
    #[error("certificate {depth} is not a certificate authority")]
    NotAnAuthority {
        /// Position in the path.
        depth: usize,
    },
    /// An issuer whose keyUsage is missing or lacks keyCertSign.
    #[error("certificate {depth} may not sign certificates (keyUsage)")]
    MayNotSignCertificates {
        /// Position in the path.
        depth: usize,
    },
    /// More authorities below an issuer than its pathLenConstraint permits.
    #[error("certificate {depth} permits {limit} further authorities, the path has {found}")]
    PathLength {
        /// Position in the path.
        depth: usize,
        /// pathLenConstraint.
        limit: u32,
        /// Authorities between it and the leaf.
        found: u32,
    },
    /// The leaf is a certificate authority.
    #[error("the leaf certificate is a certificate authority")]
    LeafIsAuthority,
    /// The leaf's keyUsage is missing or lacks digitalSignature.
    #[error("the leaf certificate may not sign (keyUsage)")]
    LeafMayNotSign,
    /// extKeyUsage missing on the leaf, without the purpose, or (time stamping) not critical or not the only one.
    #[error("certificate {depth} is not for {purpose} (extKeyUsage)")]
    Purpose {
        /// Position in the path.
        depth: usize,
        /// The purpose asked for.
        purpose: &'static str,
    },
    /// A critical extension that this code does not process.
    #[error("certificate {depth} has the critical extension {oid}, which is not understood")]
    UnknownCriticalExtension {
        /// Position in the path.
        depth: usize,
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// A precertificate where a certificate is needed, or the reverse.
    #[error("the precertificate poison is {}", if *.present { "present in a final certificate" } else { "missing" })]
    Poison {
        /// Whether it was there.
        present: bool,
    },
    /// A name outside the name constraints of an issuer.
    #[error("certificate {depth} has a name that its issuers' name constraints do not permit")]
    NameConstraints {
        /// Position of the certificate with the name.
        depth: usize,
    },
    /// Name constraints of a form that is not understood, so nothing can be said about the names below.
    #[error("certificate {depth} has name constraints that are not understood")]
    UnknownNameConstraints {
        /// Position of the constraining certificate.
        depth: usize,
    },
    /// A key or signature below the accepted strength: SHA-1, RSA under 2048 bits, unknown algorithms.
    #[error("certificate {depth} uses a key or signature algorithm that is not accepted")]
    WeakAlgorithm {
        /// Position in the path.
        depth: usize,
    },
    /// The path is longer than 8 certificates, or finding one takes more signature checks than are spent.
    #[error("the path is too long or too expensive to find")]
    TooComplex,
}

/// Why a well-formed certificate revocation list (RFC 5280 section 5) says nothing that could be relied on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CrlFault {
    /// A list of changes to another list.
    #[error("it is a delta CRL; a complete one is needed")]
    Delta,
    /// A list that speaks for other issuers than the one that signed it.
    #[error("it is an indirect CRL, which speaks for other issuers; the issuer's own is needed")]
    Indirect,
    /// A list of some reasons only, or of attribute certificates.
    #[error("it covers {0} only; one that covers certificates for every reason is needed")]
    Partial(&'static str),
    /// A distribution point named relative to the issuer, which nobody uses.
    #[error("its distribution point is named relative to its issuer, which is not understood")]
    RelativeDistributionPoint,
    /// A critical extension, of the list or of an entry, that this code does not process.
    #[error("it has the critical extension {oid}, which is not understood")]
    UnknownCriticalExtension {
        /// The extension.
        oid: ObjectIdentifier,
    },
    /// A reason that does not exist, or that only a delta CRL may give.
    #[error("an entry has the reason code {code}, which a complete CRL cannot have")]
    Reason {
        /// CRLReason.
        code: u64,
    },
    /// The issuer's certificate has a keyUsage without cRLSign.
    #[error("{issuer:?} may not sign CRLs (keyUsage)")]
    MayNotSign {
        /// Subject of the issuer's certificate.
        issuer: String,
    },
}

/// Why a subject key is not certified.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFault {
    /// A type or size that is not on the list.
    #[error("{found} keys are not accepted; accepted are {accepted}")]
    NotAccepted {
        /// Type found.
        found: KeyType,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// A public exponent other than 65537.
    #[error("the RSA public exponent must be 65537")]
    Exponent,
    /// An RSA modulus with a small factor, an even one included.
    #[error("the RSA modulus is divisible by {factor}")]
    SmallFactor {
        /// The factor.
        factor: u32,
    },
    /// An RSA modulus whose factors are so close that Fermat's method finds them.
    #[error("the factors of the RSA modulus are too close together")]
    CloseFactors,
    /// An RSA modulus with the fingerprint of the Infineon generator (CVE-2017-15361).
    #[error("the RSA key was made by a generator whose keys can be factored (ROCA)")]
    Roca,
    /// A point of small order: any message verifies.
    #[error("the Ed25519 key is a point of small order")]
    SmallOrder,
    /// The key is on the operator's block list.
    #[error("the key is blocked")]
    Blocked,
}

/// Why a certificate does not name an identity of the profile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityFault {
    /// No subject alternative name, or more than one, or one of a form that names nobody.
    #[error(
        "the certificate must have exactly one subject alternative name of type e-mail, URI, DNS or user name"
    )]
    SubjectAlternativeName,
    /// Neither issuer extension, or two that differ.
    #[error("the certificate must name its identity's issuer, once (1.3.6.1.4.1.57264.1.8)")]
    Issuer,
    /// A value that the profile cannot carry: empty, too long, not ASCII, with control characters.
    #[error("{field} cannot be certified: {problem}")]
    Value {
        /// The field, e.g. `subject alternative name`.
        field: &'static str,
        /// What is wrong with the value.
        problem: &'static str,
    },
    /// An extension whose value is not what its row in the profile says.
    #[error("extension {oid} is not a string of its type")]
    Extension {
        /// The extension.
        oid: ObjectIdentifier,
    },
}

/// What is wrong with signed certificate timestamps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctFault {
    /// None embedded.
    #[error("the certificate carries none")]
    Missing,
    /// The structure of RFC 6962 section 3.2 does not hold.
    #[error("malformed: {0}")]
    Malformed(&'static str),
    /// A version other than v1.
    #[error("version {0} is not supported")]
    Version(u8),
    /// Signed by a log that the caller does not know.
    #[error("log {} is not known", hex::encode(.log_id))]
    UnknownLog {
        /// SHA-256 of the log's public key.
        log_id: [u8; 32],
    },
    /// The signature algorithm does not go with the log's key.
    #[error("the signature algorithm does not go with the log's key")]
    Algorithm,
    /// The log did not sign this.
    #[error("the signature of log {} does not verify", hex::encode(.log_id))]
    Signature {
        /// SHA-256 of the log's public key.
        log_id: [u8; 32],
    },
}

/// What an issuing certificate lacks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IssuerFault {
    /// basicConstraints CA:TRUE missing.
    #[error("it is not a certificate authority (basicConstraints)")]
    NotAnAuthority,
    /// keyCertSign missing.
    #[error("it may not sign certificates (keyUsage)")]
    MayNotSignCertificates,
    /// extKeyUsage present without the purpose of the leaves.
    #[error("it may not issue certificates for {purpose} (extKeyUsage)")]
    Purpose {
        /// The purpose, as a person would say it.
        purpose: &'static str,
    },
    /// No subject key identifier, so leaves could not point to it.
    #[error("it has no subject key identifier")]
    NoKeyIdentifier,
    /// An empty subject, so leaves could not name it.
    #[error("its subject is empty")]
    EmptySubject,
    /// The signer holds another key.
    #[error("the signing key is not the certificate's key")]
    KeyMismatch,
    /// The algorithm does not go with the key, or cannot be written into a certificate.
    #[error("{algorithm} cannot sign certificates with its key")]
    Algorithm {
        /// The signer's algorithm.
        algorithm: Algorithm,
    },
    /// The issuing certificate is not valid at the time of issuance.
    #[error("it is valid from {not_before} to {not_after} (Unix seconds), not at {at}")]
    NotValid {
        /// Begin of validity.
        not_before: i64,
        /// End of validity.
        not_after: i64,
        /// Time of issuance.
        at: i64,
    },
}

/// The rule of the profile that a to-be-signed certificate breaks. The name says the rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{rule}")]
pub struct LintFault {
    /// The rule, as a sentence about what must hold.
    pub rule: &'static str,
}

/// Gives a DER fault the name of the structure it is in.
pub(crate) trait Within<T> {
    /// Names the structure.
    fn within(self, what: &'static str) -> Result<T, Error>;
}

impl<T> Within<T> for Result<T, DerFault> {
    fn within(self, what: &'static str) -> Result<T, Error> {
        self.map_err(|fault| Error::Malformed { what, fault })
    }
}
