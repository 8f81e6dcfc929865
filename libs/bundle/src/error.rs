//! Why a bundle, a trusted root or a policy was refused: one variant per failed check.
//!
//! Every error answers the same five questions through [`VerifyError::explain`]: which check
//! ([`Step`]), a stable code for scripts, what was found, what would have been accepted, and what
//! the reader can do about it.

use std::fmt;

use serde::Serialize;

use crate::json::rfc3339;

mod words;

/// How much of what was found is told: more than any honest name, digest or list of reasons takes.
const MAX_TOLD_CHARACTERS: usize = 2000;

/// The checks of verification in the order in which they run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Step {
    /// The trusted root, the policy or the artifact could not be used; no bundle was judged.
    Input,
    /// V1: the bundle's bytes and its structure.
    Structure,
    /// V2: nothing is counted twice.
    Duplicates,
    /// V3: when the signature existed.
    Time,
    /// V4: the certificate's path to a trusted authority.
    Certificate,
    /// V5: the certificate was logged.
    CertificateTransparency,
    /// V6: the signer is the one the policy names.
    Identity,
    /// V7 and V8: the signature was logged, and the entry speaks of this bundle.
    Log,
    /// V9: the signature itself.
    Signature,
    /// V10: the statement speaks of this artifact.
    Artifact,
    /// V11: the statement is of an accepted kind.
    Predicate,
}

/// The answers to the five questions, ready for a terminal or for JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Stable name of the failed check, such as `INCLUSION_PROOF_INVALID`.
    pub code: &'static str,
    /// Where in the sequence the check stands.
    pub step: Step,
    /// What was seen.
    pub found: String,
    /// What would have been accepted.
    pub expected: String,
    /// What a person can do, or whom to ask.
    pub help: &'static str,
    /// Position of the log entry that is at fault, from 0, when one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry: Option<usize>,
    /// Position of the timestamp that is at fault, from 0, when one is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timestamp: Option<usize>,
}

/// A structural rule of the bundle format that does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StructureFault {
    /// Neither a certificate nor a public key hint.
    #[error("no certificate and no public key hint")]
    NoSigner,
    /// Neither a message signature nor a DSSE envelope.
    #[error("no message signature and no DSSE envelope")]
    NoContent,
    /// A signature of zero bytes.
    #[error("an empty signature")]
    EmptySignature,
    /// A DSSE envelope must carry exactly one signature.
    #[error("{0} DSSE signatures instead of exactly one")]
    DsseSignatureCount(usize),
    /// The key id of the DSSE signature contradicts the public key hint.
    #[error("a DSSE key id that differs from the public key hint")]
    DsseKeyId,
    /// A certificate chain without certificates.
    #[error("an empty certificate chain")]
    EmptyChain,
    /// A certificate outside a chain, in a bundle before v0.3.
    #[error("a bare certificate in a bundle older than v0.3, which carries a chain")]
    CertificateTooEarly,
    /// A chain inside a v0.3 bundle, which the policy did not allow.
    #[error("a certificate chain in a v0.3 bundle, which carries the leaf alone")]
    ChainNotAllowed,
    /// A certificate authority where the signer's certificate belongs.
    #[error("a certificate authority in the place of the signing certificate")]
    AuthorityAsLeaf,
    /// A self-signed certificate: trust anchors never come from a bundle.
    #[error("a self-signed certificate in the chain")]
    RootInChain,
    /// A message digest of an algorithm that is not known, or of the wrong length.
    #[error("a message digest of an unknown algorithm or of the wrong length")]
    MessageDigest,
    /// A log entry without the identifier of its log.
    #[error("log entry {0} without a log id")]
    NoLogId(usize),
    /// A log entry without kind and version.
    #[error("log entry {0} without kind and version")]
    NoKindVersion(usize),
    /// A negative index, tree size or time.
    #[error("log entry {0} with a negative number")]
    NegativeNumber(usize),
    /// Bundles before v0.2 rest on the log's promise.
    #[error("log entry {0} without the inclusion promise that a v0.1 bundle needs")]
    NoPromise(usize),
    /// Bundles since v0.2 rest on the proof, in every entry.
    #[error("log entry {0} without an inclusion proof")]
    NoProof(usize),
    /// A proof without the signed checkpoint that it leads to.
    #[error("log entry {0} without a checkpoint")]
    NoCheckpoint(usize),
}

/// Why one timestamp token does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TimestampFault {
    /// The token is malformed, or speaks of other bytes than the signature, or its own signature is wrong.
    #[error("{0}")]
    Invalid(String),
    /// No trusted timestamp authority vouches for the token.
    #[error("no trusted timestamp authority signed it ({0})")]
    Untrusted(String),
    /// The token is good, but the authority was not to be trusted at that time.
    #[error("its time {} is outside the window in which the authority is trusted", rfc3339(*time))]
    OutsideAuthorityWindow {
        /// The token's time, Unix seconds.
        time: i64,
    },
}

impl TimestampFault {
    fn code(&self) -> &'static str {
        match self {
            Self::Invalid(_) => "TIMESTAMP_INVALID",
            Self::Untrusted(_) => "TIMESTAMP_UNTRUSTED",
            Self::OutsideAuthorityWindow { .. } => "TIMESTAMP_OUTSIDE_TSA_WINDOW",
        }
    }
}

/// Why one signed certificate timestamp does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SctFault {
    /// No certificate log of the trusted root has this identifier.
    #[error("unknown certificate log {0}")]
    UnknownLog(String),
    /// The log's key was not valid when it signed.
    #[error("signed at {}, outside the window of the certificate log's key", rfc3339(*time))]
    OutsideLogWindow {
        /// The SCT's time, Unix seconds.
        time: i64,
    },
    /// The signature does not verify for this certificate.
    #[error("{0}")]
    Invalid(String),
}

impl SctFault {
    fn code(&self) -> &'static str {
        match self {
            Self::UnknownLog(_) => "SCT_UNKNOWN_LOG",
            Self::OutsideLogWindow { .. } => "SCT_OUTSIDE_LOG_WINDOW",
            Self::Invalid(_) => "SCT_INVALID",
        }
    }
}

/// The field of a log entry that contradicts the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum EntryField {
    /// Kind or version in the body and beside it differ.
    KindVersion,
    /// The digest of what was signed.
    Digest,
    /// The signature's bytes.
    Signature,
    /// The certificate or public key.
    Verifier,
    /// The body as a whole: parts agree, the bytes do not.
    Body,
    /// The index inside the proof and beside it differ.
    LogIndex,
    /// The tree size beside the proof is not the checkpoint's.
    TreeSize,
    /// The root hash beside the proof is not the checkpoint's.
    RootHash,
}

impl EntryField {
    /// Numbers beside the proof are nobody's signature; the other fields say whose entry it is.
    fn help(self) -> &'static str {
        match self {
            Self::LogIndex | Self::TreeSize | Self::RootHash => {
                "The proof belongs to another state of the log, or to another entry."
            }
            _ => "The log entry belongs to another signature.",
        }
    }
}

impl fmt::Display for EntryField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KindVersion => "kind and version",
            Self::Digest => "digest",
            Self::Signature => "signature",
            Self::Verifier => "certificate or public key",
            Self::Body => "body",
            Self::LogIndex => "log index",
            Self::TreeSize => "tree size",
            Self::RootHash => "root hash",
        })
    }
}

/// What a threshold counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Counted {
    /// Signature logs, by operator.
    Logs,
    /// Times from any trusted observer.
    Times,
    /// Timestamp authorities, by operator.
    TimestampAuthorities,
    /// Certificate logs.
    CertificateLogs,
}

impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Logs => "signature logs of distinct operators",
            Self::Times => "verified times of distinct operators",
            Self::TimestampAuthorities => "timestamp authorities of distinct operators",
            Self::CertificateLogs => "certificate logs",
        })
    }
}

/// A check that failed. The first failure ends the verification.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum VerifyError {
    /// The trusted root is not usable; its publisher is at fault.
    TrustedRootInvalid {
        /// Which part, and why.
        what: String,
    },
    /// The policy contradicts itself or would accept anybody; its author is at fault.
    PolicyInvalid {
        /// Which part, and why.
        what: String,
    },
    /// The caller gave only some digests of the artifact, and the signature needs another.
    DigestUnavailable {
        /// The algorithm that is needed.
        needed: String,
    },
    /// The bundle is not the JSON of a bundle.
    BundleMalformed {
        /// What the parser says.
        what: String,
    },
    /// The media type names a version that is not known.
    UnsupportedBundleVersion {
        /// The media type found.
        media_type: String,
    },
    /// Something is larger than any honest bundle has it.
    LimitExceeded {
        /// What was counted or measured.
        what: &'static str,
        /// How much of it there was.
        found: u64,
        /// How much is accepted.
        limit: u64,
    },
    /// The bundle breaks a rule of its format.
    BundleStructure(StructureFault),
    /// The signing certificate, or one of its companions, cannot be read.
    CertificateMalformed {
        /// What the parser says.
        what: String,
    },
    /// The same log entry appears twice.
    DuplicateEntry {
        /// Position of the first.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// The same timestamp token appears twice.
    DuplicateTimestamp {
        /// Position of the first.
        first: usize,
        /// Position of the second.
        second: usize,
    },
    /// No token and no promise says when the signature existed.
    NoTimeSource,
    /// Timestamp tokens are there, and too few of them count.
    TimestampsRejected {
        /// Position of each refused token and the reason.
        faults: Vec<(usize, TimestampFault)>,
    },
    /// The promise of a log does not verify.
    PromiseInvalid {
        /// Position of the log entry.
        entry: usize,
    },
    /// A verified time lies in the future.
    TimeInFuture {
        /// The time found, Unix seconds.
        time: i64,
        /// The verifier's clock, Unix seconds.
        now: i64,
    },
    /// Fewer than the policy asks for.
    ThresholdNotMet {
        /// What is counted.
        counted: Counted,
        /// How many were verified.
        have: usize,
        /// How many are asked for.
        need: usize,
    },
    /// No path leads from the certificate to a trusted authority.
    CertificateUntrusted {
        /// What the path building says.
        reason: String,
    },
    /// The certificate, or one above it, was not valid at a verified time.
    CertificateNotValidAt {
        /// The verified time, Unix seconds.
        time: i64,
        /// Start of the certificate's validity, Unix seconds.
        not_before: i64,
        /// End of the certificate's validity, Unix seconds.
        not_after: i64,
    },
    /// No path leads from the certificate to an anchor of the organisation's own PKI, which the policy names.
    OwnCertificateUntrusted {
        /// What the path building says.
        reason: String,
    },
    /// Another certificate than the one that the policy names.
    CertificateMismatch {
        /// SHA-256 of the bundle's certificate, in hexadecimal.
        found: String,
        /// SHA-256 of the policy's certificate, in hexadecimal.
        expected: String,
    },
    /// Without a verified time, the present cannot stand in for one: the certificate is short-lived.
    ShortLivedWithoutTime {
        /// How long the certificate lives, in seconds.
        lifetime: i64,
    },
    /// Without a verified time, the present cannot stand in for one: the certificate has expired.
    ExpiredWithoutTime {
        /// End of the certificate's validity, Unix seconds.
        not_after: i64,
        /// The verifier's clock, Unix seconds.
        now: i64,
    },
    /// A certificate of the path was revoked.
    CertificateRevoked {
        /// Its subject, RFC 4514.
        certificate: String,
        /// Its serial number, in hexadecimal.
        serial: String,
        /// CRLReason by its name in RFC 5280.
        reason: &'static str,
        /// From when nothing it signed counts, Unix seconds.
        since: i64,
        /// The latest verified time of the signature, Unix seconds, if there is one.
        signed: Option<i64>,
    },
    /// Revocation lists were given, and none speaks for a certificate of the path.
    RevocationUnknown {
        /// The certificate's subject, RFC 4514.
        certificate: String,
        /// Whose list would be needed, RFC 4514.
        issuer: String,
    },
    /// The list that speaks for a certificate of the path is not of today.
    RevocationListStale {
        /// The list's issuer, RFC 4514.
        issuer: String,
        /// When it was made, Unix seconds.
        this_update: i64,
        /// Until when it counts, Unix seconds; a list that does not say never counts.
        next_update: Option<i64>,
        /// The verifier's clock, Unix seconds.
        now: i64,
    },
    /// The list that should speak for a certificate of the path is not by its issuer.
    RevocationListInvalid {
        /// The issuer, RFC 4514.
        issuer: String,
        /// What is wrong.
        what: String,
    },
    /// The trusted root no longer, or not yet, trusted the authority at a verified time.
    AuthorityNotTrustedAt {
        /// The verified time, Unix seconds.
        time: i64,
        /// The authority's address in the trusted root.
        authority: String,
    },
    /// The certificate carries no proof of having been logged.
    SctMissing,
    /// Proofs are there, and too few of them count.
    SctsRejected {
        /// The reason for each.
        faults: Vec<SctFault>,
    },
    /// The certificate names nobody, or more than one.
    IdentityMissing {
        /// What is wrong with the names.
        what: String,
    },
    /// The certificate names somebody else.
    IdentityMismatch {
        /// The certificate's subject alternative name.
        found: String,
        /// What the policy accepts.
        expected: String,
    },
    /// The right name, vouched for by the wrong identity provider.
    IssuerMismatch {
        /// The certificate's issuer of the identity.
        found: String,
        /// What the policy accepts.
        expected: String,
    },
    /// Name and issuer are right, another attribute is not.
    ExtensionMismatch {
        /// Name of the attribute as the policy has it, such as `runnerEnvironment`, or its object identifier.
        extension: String,
        /// Its value, if the certificate has it.
        found: Option<String>,
        /// What the policy accepts.
        expected: String,
    },
    /// The bundle was signed with a key, the policy asks for an identity, or the reverse.
    SignerKind {
        /// What the bundle has.
        found: &'static str,
        /// What the policy asks for.
        expected: &'static str,
    },
    /// The entry is from a log that the trusted root does not name.
    UnknownLog {
        /// Position of the entry.
        entry: usize,
        /// Identifier of the log, in hexadecimal.
        log_id: String,
    },
    /// The checkpoint is not a signed note with origin, size and root.
    CheckpointMalformed {
        /// Position of the entry.
        entry: usize,
        /// What the parser says.
        what: String,
    },
    /// The checkpoint is of another log than the entry names.
    CheckpointOrigin {
        /// Position of the entry.
        entry: usize,
        /// The origin in the checkpoint.
        found: String,
        /// The origin of the log in the trusted root.
        expected: String,
    },
    /// The log's signature on the checkpoint is absent or wrong.
    CheckpointSignature {
        /// Position of the entry.
        entry: usize,
        /// The log's origin.
        origin: String,
        /// What the check says.
        what: String,
    },
    /// The log is in the trusted root, and the witness policy does not name it.
    LogNotInPolicy {
        /// Position of the entry.
        entry: usize,
        /// The log's origin.
        origin: String,
    },
    /// Too few of the policy's witnesses have cosigned the checkpoint.
    WitnessQuorum {
        /// Position of the entry.
        entry: usize,
        /// The log's origin; empty when there is no checkpoint to cosign.
        origin: String,
        /// The witnesses that have.
        cosigned: Vec<String>,
        /// The policy's quorum in words.
        quorum: String,
    },
    /// The proof does not lead from the entry to the checkpoint.
    InclusionProofInvalid {
        /// Position of the entry.
        entry: usize,
        /// What the check says.
        what: String,
    },
    /// The entry speaks of something else than this bundle.
    EntryMismatch {
        /// Position of the entry.
        entry: usize,
        /// The field that differs.
        field: EntryField,
        /// Its value in the entry.
        found: String,
        /// Its value in the bundle.
        expected: String,
    },
    /// Entries of this kind are not verified here.
    UnsupportedEntryType {
        /// Position of the entry.
        entry: usize,
        /// Kind and version found.
        kind_version: String,
    },
    /// The log's key was not trusted when the entry was made.
    LogKeyNotValidAt {
        /// Position of the entry.
        entry: usize,
        /// The verified time, Unix seconds.
        time: i64,
    },
    /// None of the given keys made the signature.
    KeyMismatch {
        /// How many keys were tried.
        tried: usize,
    },
    /// The key was not to be used at a verified time.
    KeyNotValidAt {
        /// The verified time, Unix seconds.
        time: i64,
    },
    /// Signatures of this kind of key are not verified here.
    UnsupportedKey {
        /// The kind of key.
        key_type: String,
    },
    /// The signature does not verify: another artifact, another key, or changed bytes.
    SignatureInvalid,
    /// The bundle states a digest that the artifact does not have.
    DigestMismatch {
        /// Name of the algorithm.
        algorithm: &'static str,
        /// The digest in the bundle, in hexadecimal.
        found: String,
        /// The artifact's digest, in hexadecimal.
        expected: String,
    },
    /// The signed payload is not an in-toto statement.
    PayloadType {
        /// The payload type found.
        found: String,
        /// The types accepted.
        expected: Vec<String>,
    },
    /// The signed statement cannot be read.
    StatementMalformed {
        /// What the parser says.
        what: String,
    },
    /// The statement speaks of other artifacts.
    SubjectMissing {
        /// The artifact's digests, `sha256:...`.
        artifact: Vec<String>,
        /// How many subjects the statement has.
        subjects: usize,
    },
    /// The statement is of a type that the policy does not accept.
    PredicateType {
        /// The predicate type found.
        found: String,
        /// The types accepted.
        expected: Vec<String>,
    },
    /// An attestation where a signature was asked for, or the reverse.
    ContentKind {
        /// What the bundle has.
        found: &'static str,
        /// What the policy asks for.
        expected: &'static str,
    },
}

impl VerifyError {
    /// The stable name of the failed check.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::TrustedRootInvalid { .. } => "TRUSTED_ROOT_INVALID",
            Self::PolicyInvalid { .. } => "POLICY_INVALID",
            Self::DigestUnavailable { .. } => "DIGEST_UNAVAILABLE",
            Self::BundleMalformed { .. } => "BUNDLE_MALFORMED",
            Self::UnsupportedBundleVersion { .. } => "BUNDLE_VERSION_UNSUPPORTED",
            Self::LimitExceeded { .. } => "LIMIT_EXCEEDED",
            Self::BundleStructure(_) => "BUNDLE_STRUCTURE",
            Self::CertificateMalformed { .. } => "CERTIFICATE_MALFORMED",
            Self::DuplicateEntry { .. } => "DUPLICATE_ENTRY",
            Self::DuplicateTimestamp { .. } => "DUPLICATE_TIMESTAMP",
            Self::NoTimeSource => "NO_TIME_SOURCE",
            Self::TimestampsRejected { faults } => faults
                .first()
                .map_or("TIMESTAMP_INVALID", |(_, fault)| fault.code()),
            Self::PromiseInvalid { .. } => "INCLUSION_PROMISE_INVALID",
            Self::TimeInFuture { .. } => "TIME_IN_FUTURE",
            Self::ThresholdNotMet { .. } => "THRESHOLD_NOT_MET",
            Self::CertificateUntrusted { .. } => "CERTIFICATE_UNTRUSTED",
            Self::CertificateNotValidAt { .. } => "CERTIFICATE_NOT_VALID_AT_TIME",
            Self::OwnCertificateUntrusted { .. } => "CERTIFICATE_UNTRUSTED",
            Self::CertificateMismatch { .. } => "CERTIFICATE_MISMATCH",
            Self::ShortLivedWithoutTime { .. } => "SHORT_LIVED_WITHOUT_TIME",
            Self::ExpiredWithoutTime { .. } => "EXPIRED_WITHOUT_TIME",
            Self::CertificateRevoked { .. } => "CERTIFICATE_REVOKED",
            Self::RevocationUnknown { .. } => "CRL_MISSING",
            Self::RevocationListStale { .. } => "CRL_STALE",
            Self::RevocationListInvalid { .. } => "CRL_INVALID",
            Self::AuthorityNotTrustedAt { .. } => "CA_NOT_TRUSTED_AT_TIME",
            Self::SctMissing => "SCT_MISSING",
            Self::SctsRejected { faults } => faults.first().map_or("SCT_INVALID", SctFault::code),
            Self::IdentityMissing { .. } => "IDENTITY_MISSING",
            Self::IdentityMismatch { .. } => "IDENTITY_MISMATCH",
            Self::IssuerMismatch { .. } => "ISSUER_MISMATCH",
            Self::ExtensionMismatch { .. } => "EXTENSION_MISMATCH",
            Self::SignerKind { .. } => "SIGNER_KIND_MISMATCH",
            Self::UnknownLog { .. } => "LOG_UNKNOWN",
            Self::CheckpointMalformed { .. } => "CHECKPOINT_MALFORMED",
            Self::CheckpointOrigin { .. } => "CHECKPOINT_ORIGIN_MISMATCH",
            Self::CheckpointSignature { .. } => "CHECKPOINT_SIGNATURE_INVALID",
            Self::LogNotInPolicy { .. } => "LOG_NOT_IN_POLICY",
            Self::WitnessQuorum { .. } => "WITNESS_QUORUM_NOT_MET",
            Self::InclusionProofInvalid { .. } => "INCLUSION_PROOF_INVALID",
            Self::EntryMismatch { .. } => "LOG_ENTRY_MISMATCH",
            Self::UnsupportedEntryType { .. } => "LOG_ENTRY_TYPE_UNSUPPORTED",
            Self::LogKeyNotValidAt { .. } => "LOG_KEY_NOT_VALID_AT_TIME",
            Self::KeyMismatch { .. } => "KEY_MISMATCH",
            Self::KeyNotValidAt { .. } => "KEY_NOT_VALID_AT_TIME",
            Self::UnsupportedKey { .. } => "KEY_UNSUPPORTED",
            Self::SignatureInvalid => "SIGNATURE_INVALID",
            Self::DigestMismatch { .. } => "DIGEST_MISMATCH",
            Self::PayloadType { .. } => "PAYLOAD_TYPE_UNSUPPORTED",
            Self::StatementMalformed { .. } => "STATEMENT_MALFORMED",
            Self::SubjectMissing { .. } => "SUBJECT_MISSING",
            Self::PredicateType { .. } => "PREDICATE_TYPE_MISMATCH",
            Self::ContentKind { .. } => "CONTENT_KIND_MISMATCH",
        }
    }

    /// The place of the failed check in the sequence.
    #[must_use]
    pub fn step(&self) -> Step {
        match self {
            Self::TrustedRootInvalid { .. }
            | Self::PolicyInvalid { .. }
            | Self::DigestUnavailable { .. } => Step::Input,
            Self::BundleMalformed { .. }
            | Self::UnsupportedBundleVersion { .. }
            | Self::LimitExceeded { .. }
            | Self::BundleStructure(_)
            | Self::CertificateMalformed { .. }
            | Self::SignerKind { .. }
            | Self::ContentKind { .. } => Step::Structure,
            Self::DuplicateEntry { .. } | Self::DuplicateTimestamp { .. } => Step::Duplicates,
            Self::NoTimeSource
            | Self::ShortLivedWithoutTime { .. }
            | Self::ExpiredWithoutTime { .. }
            | Self::TimestampsRejected { .. }
            | Self::PromiseInvalid { .. }
            | Self::TimeInFuture { .. } => Step::Time,
            Self::ThresholdNotMet { counted, .. } => match counted {
                Counted::Logs => Step::Log,
                Counted::CertificateLogs => Step::CertificateTransparency,
                Counted::Times | Counted::TimestampAuthorities => Step::Time,
            },
            Self::CertificateUntrusted { .. }
            | Self::OwnCertificateUntrusted { .. }
            | Self::CertificateRevoked { .. }
            | Self::RevocationUnknown { .. }
            | Self::RevocationListStale { .. }
            | Self::RevocationListInvalid { .. }
            | Self::CertificateNotValidAt { .. }
            | Self::AuthorityNotTrustedAt { .. } => Step::Certificate,
            Self::SctMissing | Self::SctsRejected { .. } => Step::CertificateTransparency,
            Self::IdentityMissing { .. }
            | Self::CertificateMismatch { .. }
            | Self::IdentityMismatch { .. }
            | Self::IssuerMismatch { .. }
            | Self::ExtensionMismatch { .. }
            | Self::KeyMismatch { .. }
            | Self::KeyNotValidAt { .. } => Step::Identity,
            Self::UnknownLog { .. }
            | Self::CheckpointMalformed { .. }
            | Self::CheckpointOrigin { .. }
            | Self::CheckpointSignature { .. }
            | Self::LogNotInPolicy { .. }
            | Self::WitnessQuorum { .. }
            | Self::InclusionProofInvalid { .. }
            | Self::EntryMismatch { .. }
            | Self::UnsupportedEntryType { .. }
            | Self::LogKeyNotValidAt { .. } => Step::Log,
            Self::UnsupportedKey { .. } | Self::SignatureInvalid | Self::DigestMismatch { .. } => {
                Step::Signature
            }
            Self::PayloadType { .. }
            | Self::StatementMalformed { .. }
            | Self::SubjectMissing { .. } => Step::Artifact,
            Self::PredicateType { .. } => Step::Predicate,
        }
    }

    /// Code, step, what was found, what was expected, and what to do.
    #[must_use]
    pub fn explain(&self) -> Explanation {
        let (found, expected, help) = self.words();
        Explanation {
            code: self.code(),
            step: self.step(),
            found: shortened(found),
            expected: shortened(expected),
            help,
            entry: self.entry(),
            timestamp: self.timestamp(),
        }
    }

    /// Position of the log entry that failed, from 0.
    fn entry(&self) -> Option<usize> {
        match self {
            Self::PromiseInvalid { entry }
            | Self::UnknownLog { entry, .. }
            | Self::CheckpointMalformed { entry, .. }
            | Self::CheckpointOrigin { entry, .. }
            | Self::CheckpointSignature { entry, .. }
            | Self::LogNotInPolicy { entry, .. }
            | Self::WitnessQuorum { entry, .. }
            | Self::InclusionProofInvalid { entry, .. }
            | Self::EntryMismatch { entry, .. }
            | Self::UnsupportedEntryType { entry, .. }
            | Self::LogKeyNotValidAt { entry, .. } => Some(*entry),
            Self::DuplicateEntry { second, .. } => Some(*second),
            _ => None,
        }
    }

    /// Position of the timestamp that failed, from 0; of several the first.
    fn timestamp(&self) -> Option<usize> {
        match self {
            Self::TimestampsRejected { faults } => faults.first().map(|(position, _)| *position),
            Self::DuplicateTimestamp { second, .. } => Some(*second),
            _ => None,
        }
    }
}

impl fmt::Display for VerifyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explanation {
            code,
            found,
            expected,
            help,
            ..
        } = self.explain();
        write!(f, "{code}: found {found}; expected {expected}. {help}")
    }
}

impl std::error::Error for VerifyError {}

/// Parts of a bundle are quoted in what is found, and may be as long as a bundle.
fn shortened(mut text: String) -> String {
    let cut = text.char_indices().nth(MAX_TOLD_CHARACTERS);
    if let Some((end, _)) = cut {
        text.truncate(end);
        text.push_str(" [...]");
    }
    text
}

#[cfg(test)]
mod tests;
