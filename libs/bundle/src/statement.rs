//! In-toto statements: what an attestation says about which artifacts.
//!
//! Only the statement's own layer is read: type, subjects and predicate type. The predicate stays
//! the signer's bytes, for whoever understands its type.

use std::collections::BTreeMap;
use std::fmt;

use sealwright_crypto::{Digest, HashAlgorithm};
use serde::de::{Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::artifact::NamedDigest;
use crate::error::VerifyError;
use crate::json::Object;

/// The DSSE payload type of an in-toto statement.
pub const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
/// The statement type that is written.
pub const STATEMENT_V1: &str = "https://in-toto.io/Statement/v1";
/// The older statement type, still read: cosign's `attest` writes it.
pub const STATEMENT_V0_1: &str = "https://in-toto.io/Statement/v0.1";
/// The predicate type under which cosign signs images and blobs as statements.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";
/// The predicate type of cosign's attestations when no type is named.
pub const COSIGN_CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";

/// Subjects in one statement.
pub const MAX_SUBJECTS: usize = 1024;
/// Digests of one subject.
pub const MAX_SUBJECT_DIGESTS: usize = 32;

/// A statement as its signer wrote it.
#[derive(Debug, Clone, Deserialize, Serialize)]
pub struct Statement {
    /// [`STATEMENT_V1`] or [`STATEMENT_V0_1`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What the statement is about; at least one.
    #[serde(rename = "subject", deserialize_with = "enough_subjects")]
    pub subjects: Vec<Subject>,
    /// What kind of statement it is, a URI.
    #[serde(rename = "predicateType")]
    pub predicate_type: String,
    /// The claim itself, unread JSON; some types have none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub predicate: Option<Box<RawValue>>,
}

/// One artifact that a statement is about.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Subject {
    /// A name that means something to the signer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Digests in hexadecimal by in-toto's algorithm name, such as `sha256`.
    #[serde(default, deserialize_with = "unique_members")]
    pub digest: BTreeMap<String, String>,
    /// Free remarks by the signer; cosign keeps its `-a key=value` here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub annotations: Option<Box<RawJson>>,
}

/// JSON kept as written, comparable by its text.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(transparent)]
pub struct RawJson(Box<RawValue>);

impl RawJson {
    /// The text.
    #[must_use]
    pub fn text(&self) -> &str {
        self.0.get()
    }
}

impl PartialEq for RawJson {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for RawJson {}

impl Statement {
    /// Reads a statement and its rules: a known type, one to [`MAX_SUBJECTS`] subjects, a predicate that is an object
    /// where there is one.
    ///
    /// # Errors
    /// [`VerifyError::StatementMalformed`] or [`VerifyError::LimitExceeded`].
    pub fn parse(payload: &[u8]) -> Result<Self, VerifyError> {
        let Object(statement): Object<Self> =
            serde_json::from_slice(payload).map_err(|e| malformed(e.to_string()))?;
        if ![STATEMENT_V1, STATEMENT_V0_1].contains(&statement.statement_type.as_str()) {
            return Err(malformed(format!(
                "statement type {:?}",
                statement.statement_type
            )));
        }
        if statement.subjects.is_empty() {
            return Err(malformed("no subject".into()));
        }
        if let Some(predicate) = &statement.predicate
            && !predicate.get().starts_with('{')
        {
            return Err(malformed("a predicate that is no object".into()));
        }
        limit("subjects", statement.subjects.len(), MAX_SUBJECTS)?;
        for subject in &statement.subjects {
            limit(
                "digests of a subject",
                subject.digest.len(),
                MAX_SUBJECT_DIGESTS,
            )?;
        }
        Ok(statement)
    }

    /// The digest algorithms of this crate that any subject uses, each once.
    #[must_use]
    pub fn digest_algorithms(&self) -> Vec<HashAlgorithm> {
        let used = |algorithm: &HashAlgorithm| {
            self.subjects
                .iter()
                .any(|subject| subject.digest.contains_key(algorithm.short_name()))
        };
        HashAlgorithm::ALL.into_iter().filter(used).collect()
    }

    /// The first subject with this digest.
    #[must_use]
    pub fn subject_with(&self, digest: &Digest) -> Option<&Subject> {
        let name = digest.algorithm().short_name();
        let value = hex::encode(digest.as_bytes());
        self.subjects.iter().find(|subject| {
            subject
                .digest
                .get(name)
                .is_some_and(|found| found.eq_ignore_ascii_case(&value))
        })
    }

    /// Whether some subject has this digest, under this name of in-toto's.
    pub(crate) fn names(&self, digest: &NamedDigest) -> bool {
        self.subjects.iter().any(|subject| {
            subject
                .digest
                .get(&digest.name)
                .is_some_and(|found| !found.is_empty() && found.eq_ignore_ascii_case(&digest.value))
        })
    }
}

fn malformed(what: String) -> VerifyError {
    VerifyError::StatementMalformed { what }
}

fn limit(what: &'static str, found: usize, limit: usize) -> Result<(), VerifyError> {
    if found <= limit {
        return Ok(());
    }
    Err(VerifyError::LimitExceeded {
        what,
        found: found as u64,
        limit: limit as u64,
    })
}

/// The subjects, and of too many only as many as it takes to refuse them: each takes twenty times the memory of the shortest
/// text it can be written in.
fn enough_subjects<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Subject>, D::Error> {
    struct Subjects;
    impl<'de> Visitor<'de> for Subjects {
        type Value = Vec<Subject>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("subjects")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut subjects = Vec::new();
            while let Some(Object(subject)) = items.next_element()? {
                subjects.push(subject);
                if subjects.len() > MAX_SUBJECTS {
                    while items.next_element::<IgnoredAny>()?.is_some() {}
                }
            }
            Ok(subjects)
        }
    }
    deserializer.deserialize_seq(Subjects)
}

/// A map whose repeated members are an error; serde would silently keep the last.
fn unique_members<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, String>, D::Error> {
    struct Members;
    impl<'de> Visitor<'de> for Members {
        type Value = BTreeMap<String, String>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("digests by algorithm")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut digests = BTreeMap::new();
            while let Some((name, value)) = members.next_entry::<String, String>()? {
                // One too many is enough to refuse, and a hostile subject may have a million.
                if digests.len() > MAX_SUBJECT_DIGESTS {
                    continue;
                }
                if let Some(value) = digests.insert(name, value) {
                    return Err(A::Error::custom(format_args!(
                        "a digest algorithm appears twice, first with {value:?}"
                    )));
                }
            }
            Ok(digests)
        }
    }
    deserializer.deserialize_map(Members)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SUBJECT: &str = r#"{"name":"a","digest":{"sha256":"AB"}}"#;

    fn statement(statement_type: &str, subjects: &str) -> String {
        format!(
            r#"{{"_type":"{statement_type}","subject":[{subjects}],"predicateType":"t","predicate":{{"x":1}}}}"#
        )
    }

    #[test]
    fn both_statement_versions_are_read() {
        for version in [STATEMENT_V1, STATEMENT_V0_1] {
            let parsed = Statement::parse(statement(version, SUBJECT).as_bytes()).expect(version);
            assert_eq!(parsed.predicate_type, "t");
            assert_eq!(
                parsed.predicate.map(|raw| raw.get().to_owned()).as_deref(),
                Some(r#"{"x":1}"#)
            );
            assert_eq!(parsed.subjects[0].digest["sha256"], "AB");
        }
    }

    #[test]
    fn a_part_of_the_wrong_type_is_refused_with_what_was_expected() {
        let text = statement(STATEMENT_V1, SUBJECT);
        for (part, expected) in [
            (format!("[{SUBJECT}]"), "expected subjects"),
            (
                r#"{"sha256":"AB"}"#.to_owned(),
                "expected digests by algorithm",
            ),
        ] {
            let error = Statement::parse(text.replace(&part, "7").as_bytes()).expect_err(expected);
            assert!(error.to_string().contains(expected), "{error}");
        }
    }

    #[test]
    fn raw_json_is_compared_as_it_is_written() {
        let raw = |text: &str| serde_json::from_str::<RawJson>(text).expect(text);
        assert_eq!(raw(r#"{"a":1}"#), raw(r#"{"a":1}"#));
        assert_ne!(raw(r#"{"a":1}"#), raw(r#"{"a": 1}"#));
    }

    #[test]
    fn a_predicate_is_an_object_or_absent() {
        let with = |predicate: &str| {
            let text = statement(STATEMENT_V1, SUBJECT).replace(r#"{"x":1}"#, predicate);
            Statement::parse(text.as_bytes()).map(|_| ())
        };
        for predicate in ["{}", "null", r#"{"a":[1]}"#] {
            with(predicate).expect(predicate);
        }
        for predicate in ["[]", "1", "\"{}\"", "true"] {
            let error = with(predicate).expect_err(predicate);
            assert_eq!(error.code(), "STATEMENT_MALFORMED", "{predicate}");
        }
    }

    #[test]
    fn a_statement_with_an_unknown_type_no_subject_or_a_repeated_member_is_refused() {
        for bad in [
            statement("https://in-toto.io/Statement/v2", SUBJECT),
            statement(STATEMENT_V1, ""),
            statement(STATEMENT_V1, r#"{"digest":{"sha256":"aa","sha256":"bb"}}"#),
            statement(STATEMENT_V1, SUBJECT).replacen(
                "\"_type\"",
                "\"predicateType\":\"u\",\"_type\"",
                1,
            ),
            "[]".into(),
            String::new(),
        ] {
            let error = Statement::parse(bad.as_bytes()).expect_err(&bad);
            assert_eq!(error.code(), "STATEMENT_MALFORMED", "{bad}");
        }
    }

    #[test]
    fn too_many_subjects_or_digests_are_refused() {
        let subjects = vec![SUBJECT; MAX_SUBJECTS + 1].join(",");
        let error =
            Statement::parse(statement(STATEMENT_V1, &subjects).as_bytes()).expect_err("subjects");
        assert_eq!(error.code(), "LIMIT_EXCEEDED");
        let digests: Vec<_> = (0..=MAX_SUBJECT_DIGESTS)
            .map(|n| format!("\"alg{n}\":\"00\""))
            .collect();
        let subject = format!("{{\"digest\":{{{}}}}}", digests.join(","));
        let error =
            Statement::parse(statement(STATEMENT_V1, &subject).as_bytes()).expect_err("digests");
        assert_eq!(error.code(), "LIMIT_EXCEEDED");
    }

    #[test]
    fn a_subject_is_found_by_digest_in_either_case() {
        let digest = HashAlgorithm::Sha256.digest(b"artifact");
        let upper = hex::encode_upper(digest.as_bytes());
        let subject = format!("{SUBJECT},{{\"name\":\"b\",\"digest\":{{\"sha256\":\"{upper}\"}}}}");
        let parsed =
            Statement::parse(statement(STATEMENT_V1, &subject).as_bytes()).expect("statement");
        assert_eq!(
            parsed.subject_with(&digest).and_then(|s| s.name.as_deref()),
            Some("b")
        );
        assert!(
            parsed
                .subject_with(&HashAlgorithm::Sha256.digest(b"other"))
                .is_none()
        );
        assert_eq!(parsed.digest_algorithms(), [HashAlgorithm::Sha256]);
    }
}
