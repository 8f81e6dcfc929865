//! Codes are a contract with scripts: the page that lists them has every one, and no other.

use std::collections::{BTreeMap, BTreeSet};

use super::*;

const PAGE: &str = include_str!("../../../../docs/verification.md");

/// One of every variant. A new variant does not compile until it is here, and its code not until the page has it.
fn samples() -> Vec<VerifyError> {
    let text = String::new;
    let samples = vec![
        VerifyError::TrustedRootInvalid { what: text() },
        VerifyError::PolicyInvalid { what: text() },
        VerifyError::DigestUnavailable { needed: text() },
        VerifyError::BundleMalformed { what: text() },
        VerifyError::UnsupportedBundleVersion { media_type: text() },
        VerifyError::LimitExceeded {
            what: "things",
            found: 2,
            limit: 1,
        },
        VerifyError::BundleStructure(StructureFault::NoSigner),
        VerifyError::CertificateMalformed { what: text() },
        VerifyError::DuplicateEntry {
            first: 0,
            second: 1,
        },
        VerifyError::DuplicateTimestamp {
            first: 0,
            second: 1,
        },
        VerifyError::NoTimeSource,
        timestamps(TimestampFault::Invalid(text())),
        timestamps(TimestampFault::Untrusted(text())),
        timestamps(TimestampFault::OutsideAuthorityWindow { time: 0 }),
        VerifyError::PromiseInvalid { entry: 0 },
        VerifyError::TimeInFuture { time: 1, now: 0 },
        threshold(Counted::Logs),
        threshold(Counted::Times),
        threshold(Counted::TimestampAuthorities),
        threshold(Counted::CertificateLogs),
        VerifyError::CertificateUntrusted { reason: text() },
        VerifyError::CertificateNotValidAt {
            time: 0,
            not_before: 1,
            not_after: 2,
        },
        VerifyError::OwnCertificateUntrusted { reason: text() },
        VerifyError::CertificateMismatch {
            found: text(),
            expected: text(),
        },
        VerifyError::ShortLivedWithoutTime { lifetime: 1 },
        VerifyError::ExpiredWithoutTime {
            not_after: 0,
            now: 1,
        },
        VerifyError::CertificateRevoked {
            certificate: text(),
            serial: text(),
            reason: "keyCompromise",
            since: 0,
            signed: None,
        },
        VerifyError::RevocationUnknown {
            certificate: text(),
            issuer: text(),
        },
        VerifyError::RevocationListStale {
            issuer: text(),
            this_update: 0,
            next_update: None,
            now: 1,
        },
        VerifyError::RevocationListInvalid {
            issuer: text(),
            what: text(),
        },
        VerifyError::AuthorityNotTrustedAt {
            time: 0,
            authority: text(),
        },
        VerifyError::SctMissing,
        scts(SctFault::UnknownLog(text())),
        scts(SctFault::OutsideLogWindow { time: 0 }),
        scts(SctFault::Invalid(text())),
        VerifyError::IdentityMissing { what: text() },
        VerifyError::IdentityMismatch {
            found: text(),
            expected: text(),
        },
        VerifyError::IssuerMismatch {
            found: text(),
            expected: text(),
        },
        VerifyError::ExtensionMismatch {
            extension: text(),
            found: None,
            expected: text(),
        },
        VerifyError::SignerKind {
            found: "a",
            expected: "b",
        },
        VerifyError::UnknownLog {
            entry: 0,
            log_id: text(),
        },
        VerifyError::CheckpointMalformed {
            entry: 0,
            what: text(),
        },
        VerifyError::CheckpointOrigin {
            entry: 0,
            found: text(),
            expected: text(),
        },
        VerifyError::CheckpointSignature {
            entry: 0,
            origin: text(),
            what: text(),
        },
        VerifyError::LogNotInPolicy {
            entry: 0,
            origin: text(),
        },
        VerifyError::WitnessQuorum {
            entry: 0,
            origin: text(),
            cosigned: Vec::new(),
            quorum: text(),
        },
        VerifyError::InclusionProofInvalid {
            entry: 0,
            what: text(),
        },
        VerifyError::EntryMismatch {
            entry: 0,
            field: EntryField::Digest,
            found: text(),
            expected: text(),
        },
        VerifyError::UnsupportedEntryType {
            entry: 0,
            kind_version: text(),
        },
        VerifyError::LogKeyNotValidAt { entry: 0, time: 0 },
        VerifyError::KeyMismatch { tried: 1 },
        VerifyError::KeyNotValidAt { time: 0 },
        VerifyError::UnsupportedKey { key_type: text() },
        VerifyError::SignatureInvalid,
        VerifyError::DigestMismatch {
            algorithm: "sha256",
            found: text(),
            expected: text(),
        },
        VerifyError::PayloadType {
            found: text(),
            expected: Vec::new(),
        },
        VerifyError::StatementMalformed { what: text() },
        VerifyError::SubjectMissing {
            artifact: Vec::new(),
            subjects: 1,
        },
        VerifyError::PredicateType {
            found: text(),
            expected: Vec::new(),
        },
        VerifyError::ContentKind {
            found: "a",
            expected: "b",
        },
    ];
    let variants: BTreeSet<u8> = samples.iter().map(place).collect();
    let count = samples.iter().map(place).max().map_or(0, |last| last + 1);
    assert_eq!(
        variants.len(),
        usize::from(count),
        "a variant has no sample"
    );
    samples
}

fn timestamps(fault: TimestampFault) -> VerifyError {
    VerifyError::TimestampsRejected {
        faults: vec![(0, fault)],
    }
}

fn scts(fault: SctFault) -> VerifyError {
    VerifyError::SctsRejected {
        faults: vec![fault],
    }
}

fn threshold(counted: Counted) -> VerifyError {
    VerifyError::ThresholdNotMet {
        counted,
        have: 0,
        need: 1,
    }
}

/// Numbers the variants without a gap: whoever adds one has to number it here.
fn place(error: &VerifyError) -> u8 {
    use VerifyError as E;
    match error {
        E::TrustedRootInvalid { .. } => 0,
        E::PolicyInvalid { .. } => 1,
        E::DigestUnavailable { .. } => 2,
        E::BundleMalformed { .. } => 3,
        E::UnsupportedBundleVersion { .. } => 4,
        E::LimitExceeded { .. } => 5,
        E::BundleStructure(_) => 6,
        E::CertificateMalformed { .. } => 7,
        E::DuplicateEntry { .. } => 8,
        E::DuplicateTimestamp { .. } => 9,
        E::NoTimeSource => 10,
        E::TimestampsRejected { .. } => 11,
        E::PromiseInvalid { .. } => 12,
        E::TimeInFuture { .. } => 13,
        E::ThresholdNotMet { .. } => 14,
        E::CertificateUntrusted { .. } => 15,
        E::CertificateNotValidAt { .. } => 16,
        E::OwnCertificateUntrusted { .. } => 17,
        E::CertificateMismatch { .. } => 18,
        E::ShortLivedWithoutTime { .. } => 19,
        E::ExpiredWithoutTime { .. } => 20,
        E::CertificateRevoked { .. } => 21,
        E::RevocationUnknown { .. } => 22,
        E::RevocationListStale { .. } => 23,
        E::RevocationListInvalid { .. } => 24,
        E::AuthorityNotTrustedAt { .. } => 25,
        E::SctMissing => 26,
        E::SctsRejected { .. } => 27,
        E::IdentityMissing { .. } => 28,
        E::IdentityMismatch { .. } => 29,
        E::IssuerMismatch { .. } => 30,
        E::ExtensionMismatch { .. } => 31,
        E::SignerKind { .. } => 32,
        E::UnknownLog { .. } => 33,
        E::CheckpointMalformed { .. } => 34,
        E::CheckpointOrigin { .. } => 35,
        E::CheckpointSignature { .. } => 36,
        E::LogNotInPolicy { .. } => 37,
        E::WitnessQuorum { .. } => 38,
        E::InclusionProofInvalid { .. } => 39,
        E::EntryMismatch { .. } => 40,
        E::UnsupportedEntryType { .. } => 41,
        E::LogKeyNotValidAt { .. } => 42,
        E::KeyMismatch { .. } => 43,
        E::KeyNotValidAt { .. } => 44,
        E::UnsupportedKey { .. } => 45,
        E::SignatureInvalid => 46,
        E::DigestMismatch { .. } => 47,
        E::PayloadType { .. } => 48,
        E::StatementMalformed { .. } => 49,
        E::SubjectMissing { .. } => 50,
        E::PredicateType { .. } => 51,
        E::ContentKind { .. } => 52,
    }
}

fn step_name(step: Step) -> String {
    let value = serde_json::to_value(step).expect("a step is a name");
    value.as_str().expect("a name").to_owned()
}

/// The rows of the table below a heading: what stands in back quotes first, and the cell after it.
fn rows(heading: &str) -> BTreeMap<&'static str, &'static str> {
    let (_, section) = PAGE.split_once(heading).expect(heading);
    let section = section.split("\n## ").next().unwrap_or_default();
    let row = |line: &'static str| {
        let (code, rest) = line.strip_prefix("| `")?.split_once("` | ")?;
        Some((code, rest.split(" | ").next()?))
    };
    let rows: Vec<_> = section.lines().filter_map(row).collect();
    let unique: BTreeMap<_, _> = rows.iter().copied().collect();
    assert_eq!(rows.len(), unique.len(), "{heading} repeats a code");
    unique
}

#[test]
fn the_page_has_every_code_with_its_steps_and_no_other() {
    let mut expected: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    for error in samples() {
        let steps = expected.entry(error.code()).or_default();
        steps.insert(step_name(error.step()));
    }
    let rows = rows("\n## Refusals\n");
    for (code, steps) in &expected {
        let told = rows
            .get(code)
            .unwrap_or_else(|| panic!("no row for {code}"));
        let told: BTreeSet<String> = told.split(", ").map(str::to_owned).collect();
        assert_eq!(told, *steps, "{code}");
    }
    assert_eq!(rows.len(), expected.len(), "{:?}", rows.keys());
}

/// Warnings are made where the circumstance is seen, so their codes are gathered from the sources.
#[test]
fn the_page_has_every_warning_and_no_other() {
    let sources = [
        include_str!("../verify.rs"),
        include_str!("../own_pki.rs"),
        include_str!("../revocation.rs"),
    ];
    let mut expected = BTreeSet::new();
    for source in sources {
        let production = source.split("#[cfg(test)]").next().unwrap_or_default();
        for start in ["warning(\"", "code: \"", "warning(\n                \""] {
            let codes = production.split(start).skip(1);
            expected.extend(codes.filter_map(|rest| rest.split('"').next()));
        }
    }
    // Entries that were passed over keep the code that would have refused them alone.
    expected.extend(["LOG_UNKNOWN", "LOG_NOT_IN_POLICY", "WITNESS_QUORUM_NOT_MET"]);
    let rows = rows("\n## Warnings\n");
    let told: BTreeSet<&str> = rows.keys().copied().collect();
    assert_eq!(told, expected);
}

#[test]
fn every_refusal_answers_the_questions() {
    for error in samples() {
        let explanation = error.explain();
        assert!(!explanation.help.is_empty(), "{error:?}");
        assert!(explanation.help.ends_with('.'), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(error.code()), "{text}");
        let json = serde_json::to_value(&explanation).expect("JSON");
        assert_eq!(json["code"], error.code());
    }
}

#[test]
fn what_is_at_fault_is_told_by_its_position() {
    let entry = VerifyError::LogKeyNotValidAt { entry: 3, time: 0 };
    assert_eq!(entry.explain().entry, Some(3));
    let token = VerifyError::TimestampsRejected {
        faults: vec![(2, TimestampFault::Invalid(String::new()))],
    };
    assert_eq!(token.explain().timestamp, Some(2));
    let json = serde_json::to_string(&VerifyError::SctMissing.explain()).expect("JSON");
    assert!(!json.contains("\"entry\"") && !json.contains("\"timestamp\""));
}

#[test]
fn what_is_told_of_a_bundle_has_an_end() {
    let long = "\u{e9}".repeat(1 << 20);
    let refusal = VerifyError::CheckpointOrigin {
        entry: 0,
        found: long.clone(),
        expected: long,
    };
    let explanation = refusal.explain();
    assert!(explanation.found.ends_with("\u{e9} [...]"));
    assert_eq!(explanation.found.chars().count(), MAX_TOLD_CHARACTERS + 6);
    assert!(refusal.to_string().chars().count() < 3 * MAX_TOLD_CHARACTERS);
    let short = VerifyError::PolicyInvalid { what: "x".into() };
    assert_eq!(short.explain().found, "x");
}

#[test]
fn numbers_beside_a_proof_are_not_blamed_on_another_signature() {
    let help = |field| {
        let (found, expected) = (String::new(), String::new());
        VerifyError::EntryMismatch {
            entry: 0,
            field,
            found,
            expected,
        }
        .explain()
        .help
    };
    for field in [
        EntryField::LogIndex,
        EntryField::TreeSize,
        EntryField::RootHash,
    ] {
        assert!(help(field).contains("proof"), "{field}");
    }
    assert!(help(EntryField::Digest).contains("another signature"));
}

/// Keys have no certificate, and certificates of an own PKI no identity provider: what is said must fit all of them.
#[test]
fn refusals_that_every_kind_of_signer_can_meet_speak_of_none_in_particular() {
    let what = || "no name".to_owned();
    for error in [
        VerifyError::SignatureInvalid,
        VerifyError::IdentityMissing { what: what() },
    ] {
        let Explanation { expected, help, .. } = error.explain();
        let said = format!("{expected} {help}");
        assert!(!said.contains("keyless"), "{said}");
        assert!(!said.contains("key of the certificate"), "{said}");
    }
}

#[test]
fn of_two_that_are_the_same_the_second_is_at_fault() {
    let (first, second) = (2, 5);
    let entry = VerifyError::DuplicateEntry { first, second }.explain();
    assert_eq!((entry.entry, entry.timestamp), (Some(5), None));
    let token = VerifyError::DuplicateTimestamp { first, second }.explain();
    assert_eq!((token.entry, token.timestamp), (None, Some(5)));
}

/// What was found is told with the name of the part or the count: two of one name, or none, would tell nothing.
#[test]
fn every_part_and_every_count_has_a_name_of_its_own() {
    let parts = [
        EntryField::KindVersion,
        EntryField::Digest,
        EntryField::Signature,
        EntryField::Verifier,
        EntryField::Body,
        EntryField::LogIndex,
        EntryField::TreeSize,
        EntryField::RootHash,
    ];
    let counts = [
        Counted::Logs,
        Counted::Times,
        Counted::TimestampAuthorities,
        Counted::CertificateLogs,
    ];
    let names = |names: Vec<String>| {
        let names: BTreeSet<String> = names.into_iter().filter(|name| !name.is_empty()).collect();
        names.len()
    };
    assert_eq!(names(parts.map(|part| part.to_string()).to_vec()), 8);
    assert_eq!(names(counts.map(|count| count.to_string()).to_vec()), 4);
    let told = threshold(Counted::TimestampAuthorities).to_string();
    assert!(told.contains("timestamp authorities"), "{told}");
}
