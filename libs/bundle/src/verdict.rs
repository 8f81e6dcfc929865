//! What a successful verification has shown.
//!
//! A [`Verified`] exists only when every check passed: its fields are private and only this crate
//! fills them. Whoever needs proof takes a `Verified` as an argument.
//!
//! ```compile_fail,E0451
//! // Nobody else can make one, not even out of another: the fields are private.
//! fn forged(verified: sealwright_bundle::Verified) -> sealwright_bundle::Verified {
//!     sealwright_bundle::Verified { warnings: Vec::new(), ..verified }
//! }
//! ```
//!
//! ```compile_fail,E0277
//! // Nor can one be read from JSON, although it can be written.
//! fn forged(json: &str) -> sealwright_bundle::Verified {
//!     serde_json::from_str(json).unwrap()
//! }
//! ```

use std::collections::BTreeMap;

use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use crate::json::rfc3339;
use crate::statement::Statement;

/// A moment, Unix seconds; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(pub i64);

impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&rfc3339(self.0))
    }
}

impl std::fmt::Display for UnixTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&rfc3339(self.0))
    }
}

/// Who signed, and how that is known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(
    tag = "kind",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
#[non_exhaustive]
pub enum Signer {
    /// Somebody with a certificate for an identity.
    Identity {
        /// The subject alternative name.
        subject: String,
        /// Its type: `email`, `uri`, `dns` or `username`.
        subject_type: &'static str,
        /// The identity provider that vouched for the subject.
        issuer: String,
        /// Further attributes of the certificate by the names of the profile, such as `buildSignerURI`.
        extensions: BTreeMap<&'static str, String>,
        /// Serial number of the certificate, in hexadecimal.
        serial: String,
        /// SHA-256 of the certificate, in hexadecimal.
        fingerprint: String,
        /// Subject of the certificate's issuer, RFC 4514.
        certificate_issuer: String,
        /// Start of the certificate's validity.
        not_before: UnixTime,
        /// End of the certificate's validity.
        not_after: UnixTime,
        /// The certificate authority's address in the trusted root.
        authority: String,
        /// Which of the policy's identities matched, from 0.
        matched_rule: usize,
        /// The same identity as the policy states it.
        matched: String,
    },
    /// The holder of a certificate of an organisation's own PKI.
    Certificate {
        /// The alternative name that the policy asked for, if it asked for one.
        #[serde(skip_serializing_if = "Option::is_none")]
        name: Option<MatchedName>,
        /// The identity provider that the policy asked for, if it asked for one.
        #[serde(skip_serializing_if = "Option::is_none")]
        issuer: Option<String>,
        /// The certificate's subject, RFC 4514.
        subject: String,
        /// Serial number of the certificate, in hexadecimal.
        serial: String,
        /// Start of the certificate's validity.
        not_before: UnixTime,
        /// End of the certificate's validity.
        not_after: UnixTime,
        /// Subject of the certificate's issuer, RFC 4514.
        certificate_issuer: String,
        /// Subject of the anchor that the path ends at, RFC 4514.
        anchor: String,
        /// SHA-256 of the certificate, in hexadecimal.
        fingerprint: String,
        /// The verifier's clock, where nobody vouches for a time and the path was judged at the present.
        #[serde(skip_serializing_if = "Option::is_none")]
        judged_at: Option<UnixTime>,
        /// The revocation lists that spoke for the path, the leaf's first; empty when the policy has none.
        #[serde(skip_serializing_if = "Vec::is_empty")]
        revocation_lists: Vec<ConsultedList>,
    },
    /// The holder of a key that the verifier knows.
    Key {
        /// SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal.
        fingerprint: String,
        /// Which of the policy's keys it is, from 0.
        matched_rule: usize,
    },
}

/// An alternative name of a certificate that the policy asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MatchedName {
    /// Its type: `email`, `uri`, `dns`, `ip` or `username`.
    pub kind: &'static str,
    /// The name.
    pub value: String,
}

/// A revocation list that a certificate of the path was looked up in: signed by its issuer and current.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsultedList {
    /// Who made it, RFC 4514.
    pub issuer: String,
    /// Its number, in hexadecimal, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub number: Option<String>,
    /// When it was made.
    pub this_update: UnixTime,
    /// Until when it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_update: Option<UnixTime>,
}

/// Where a verified time comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum TimeSource {
    /// An RFC 3161 timestamp over the signature.
    TimestampAuthority,
    /// The promise of a signature log (Rekor v1).
    LogPromise,
}

/// A moment at which the signature certainly existed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedTime {
    /// The moment.
    pub time: UnixTime,
    /// What kind of observer vouches for it.
    pub source: TimeSource,
    /// The observer's address in the trusted root.
    pub uri: String,
    /// Who runs the observer; empty when the trusted root does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
}

/// A log entry that was proven.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedEntry {
    /// The log's address in the trusted root.
    pub log: String,
    /// The origin in the checkpoint; empty when only a promise was there (v0.1 bundles).
    #[serde(skip_serializing_if = "String::is_empty")]
    pub origin: String,
    /// Who runs the log; empty when the trusted root does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Identifier of the log, in hexadecimal.
    pub log_id: String,
    /// Kind and version of the entry, such as `hashedrekord/0.0.2`.
    pub kind: String,
    /// Index of the entry: in the tree, or in the log as a whole where a promise vouches for that (Rekor v1).
    pub log_index: u64,
    /// Size of the tree that was proven to hold it; 0 when only a promise was there.
    pub tree_size: u64,
    /// Witnesses of the policy that cosigned that tree; empty without a witness policy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub witnesses: Vec<VerifiedWitness>,
}

/// A witness that vouches for a log's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedWitness {
    /// The name under which it signs.
    pub name: String,
    /// When it signed.
    pub time: UnixTime,
}

/// A certificate log that vouches for the signing certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedSct {
    /// The log's address in the trusted root.
    pub log: String,
    /// Who runs the log; empty when the trusted root does not say.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub operator: String,
    /// Identifier of the log, in hexadecimal.
    pub log_id: String,
    /// When the log took the certificate.
    pub time: UnixTime,
}

/// The payload of an envelope that the policy asked for as bytes. It is signed, and says nothing that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RawPayload {
    /// The payload type, covered by the signature.
    pub payload_type: String,
    /// The bytes; base64 in JSON.
    #[serde(rename = "payload", serialize_with = "as_base64")]
    pub bytes: Vec<u8>,
}

fn as_base64<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&sealwright_crypto::base64::encode(bytes))
}

/// Something that a careful reader wants to know although the verification succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Warning {
    /// Stable name.
    pub code: &'static str,
    /// The circumstances.
    pub message: String,
}

/// The proof that a bundle was verified.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    pub(crate) media_type: &'static str,
    pub(crate) signer: Signer,
    pub(crate) algorithm: String,
    pub(crate) artifact_digests: Vec<String>,
    pub(crate) times: Vec<VerifiedTime>,
    pub(crate) logs: Vec<VerifiedEntry>,
    pub(crate) certificate_logs: Vec<VerifiedSct>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) predicate_type: Option<String>,
    #[serde(rename = "statement", skip_serializing_if = "Option::is_none")]
    pub(crate) payload: Option<Box<RawValue>>,
    #[serde(skip)]
    pub(crate) statement: Option<Statement>,
    #[serde(rename = "rawEnvelope", skip_serializing_if = "Option::is_none")]
    pub(crate) raw_payload: Option<RawPayload>,
    pub(crate) warnings: Vec<Warning>,
}

impl Verified {
    /// The bundle's media type, which names the version of its format.
    #[must_use]
    pub fn media_type(&self) -> &'static str {
        self.media_type
    }

    /// Who signed.
    #[must_use]
    pub fn signer(&self) -> &Signer {
        &self.signer
    }

    /// The signature algorithm, by its command-line name.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        &self.algorithm
    }

    /// The artifact's digests that were compared, each `sha256:...` or alike. Empty for an unbound statement.
    #[must_use]
    pub fn artifact_digests(&self) -> &[String] {
        &self.artifact_digests
    }

    /// The verified times.
    #[must_use]
    pub fn times(&self) -> &[VerifiedTime] {
        &self.times
    }

    /// The proven log entries.
    #[must_use]
    pub fn logs(&self) -> &[VerifiedEntry] {
        &self.logs
    }

    /// The certificate logs that vouch for the certificate.
    #[must_use]
    pub fn certificate_logs(&self) -> &[VerifiedSct] {
        &self.certificate_logs
    }

    /// The statement, when an attestation was verified.
    #[must_use]
    pub fn statement(&self) -> Option<&Statement> {
        self.statement.as_ref()
    }

    /// The exact text of the statement that was signed.
    #[must_use]
    pub fn statement_json(&self) -> Option<&str> {
        self.payload.as_ref().map(|payload| payload.get())
    }

    /// The signed bytes, when the policy asked for a raw envelope. What they mean is for the caller to read.
    #[must_use]
    pub fn raw_payload(&self) -> Option<&RawPayload> {
        self.raw_payload.as_ref()
    }

    /// What a careful reader wants to know.
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// All of it as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("strings, numbers and raw JSON always serialise")
    }
}
