//! What a successful verification has shown.
//!
//! A [`Verified`] exists only when every check passed: its fields are private and only this crate
//! fills them. Whoever needs proof takes a `Verified` as an argument.

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
        /// Start of the certificate's validity.
        not_before: UnixTime,
        /// End of the certificate's validity.
        not_after: UnixTime,
        /// The certificate authority's address in the trusted root.
        authority: String,
        /// Which of the policy's identities matched, from 0.
        matched_rule: usize,
    },
    /// The holder of a certificate of an organisation's own PKI.
    Certificate {
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
    },
    /// The holder of a key that the verifier knows.
    Key {
        /// SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal.
        fingerprint: String,
        /// The name that the bundle gives the key; unauthenticated.
        hint: String,
    },
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
    /// Index of the entry.
    pub log_index: u64,
    /// Size of the tree that was proven to hold it; 0 when only a promise was there.
    pub tree_size: u64,
}

/// A certificate log that vouches for the signing certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedSct {
    /// The log's address in the trusted root.
    pub log: String,
    /// When the log took the certificate.
    pub time: UnixTime,
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
    pub(crate) warnings: Vec<Warning>,
}

impl Verified {
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
