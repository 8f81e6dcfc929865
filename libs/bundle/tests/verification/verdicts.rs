//! What a verdict shows, and what a policy can ask for beyond one signer.

use sealwright_bundle::bundle::BundleVersion;
use sealwright_bundle::statement::{COSIGN_CUSTOM, COSIGN_SIGN};
use sealwright_bundle::verdict::{Signer, TimeSource, UnixTime};
use sealwright_bundle::verify::{digest_algorithms, verify_certificate};
use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Matcher, Policy, PredicateTypes, TrustedKey, TrustedRoot,
    Verified, VerifyError, verify,
};
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, PrivateKey, PublicKey};
use sealwright_proto::bundle::v1 as proto;
use sealwright_testkit::bundle_factory::{
    EMAIL, ISSUER, NOW, SctKind, Signing, World, email, statement, workload,
};
use sealwright_testkit::rekor_v1::{INDEX_OFFSET, sha256_hex};
use sealwright_testkit::vectors::{ARTIFACT, Asked, Case, SIGNED_AT};

use crate::asking::{Given, ask, ask_with, case};

#[track_caller]
fn verdict(name: &str) -> Verified {
    ask(case(name), Given::Bytes).unwrap_or_else(|error| panic!("{name}: {error}"))
}

#[track_caller]
fn refused<T: std::fmt::Debug>(answer: Result<T, VerifyError>, code: &str) {
    assert_eq!(answer.expect_err(code).code(), code);
}

fn jane() -> sealwright_bundle::policy::SignerChosen {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule"))
}

fn root_of(case: &Case) -> TrustedRoot {
    TrustedRoot::parse(case.trusted_root.as_bytes()).expect("a trusted root")
}

fn bundle_of(case: &Case) -> Bundle {
    Bundle::parse(case.bundle.as_bytes()).expect("a bundle")
}

/// The codes of the warnings, in order.
fn warnings(verified: &Verified) -> Vec<&'static str> {
    let warnings = verified.warnings().iter();
    warnings.map(|warning| warning.code).collect()
}

#[test]
fn a_keyless_signature_shows_who_when_and_where() {
    let verified = verdict("v03-blob");
    let Signer::Identity {
        subject,
        subject_type,
        issuer,
        authority,
        matched_rule,
        ..
    } = verified.signer()
    else {
        panic!("{:?}", verified.signer());
    };
    assert_eq!(
        (subject.as_str(), *subject_type, issuer.as_str()),
        (EMAIL, "email", ISSUER)
    );
    assert_eq!(
        (authority.as_str(), *matched_rule),
        ("https://ca.example.com", 0)
    );
    assert_eq!(verified.times().len(), 1);
    assert_eq!(
        (verified.times()[0].time, verified.times()[0].source),
        (UnixTime(SIGNED_AT + 2), TimeSource::TimestampAuthority)
    );
    let entry = &verified.logs()[0];
    assert_eq!(
        (entry.origin.as_str(), entry.log_index, entry.tree_size),
        ("log2026.example.com", 3, 6)
    );
    assert_eq!(
        verified.certificate_logs()[0].log,
        "https://ct.example.com/2026"
    );
    assert_eq!(
        verified.artifact_digests(),
        [HashAlgorithm::Sha256.digest(ARTIFACT).to_string()]
    );
    assert!(verified.statement().is_none() && warnings(&verified).is_empty());
}

#[test]
fn the_verdict_is_json_of_the_same() {
    let verified = verdict("v03-blob");
    let json: serde_json::Value =
        serde_json::from_str(&verified.to_json()).expect("the verdict is JSON");
    assert_eq!(json["signer"]["kind"], "identity");
    assert_eq!(json["signer"]["subject"], EMAIL);
    assert_eq!(json["times"][0]["time"], "2026-01-28T12:00:02Z");
    assert_eq!(json["algorithm"], "ecdsa-sha2-256-nistp256");
}

#[test]
fn an_old_log_vouches_for_time_and_entry() {
    let verified = verdict("old-log-v03-blob");
    assert_eq!(
        (verified.times()[0].time, verified.times()[0].source),
        (UnixTime(SIGNED_AT + 3), TimeSource::LogPromise)
    );
    let entry = &verified.logs()[0];
    let index = u64::try_from(INDEX_OFFSET).expect("a natural number");
    assert!(entry.log_index > index && entry.tree_size < 20, "{entry:?}");
    // A promise alone proves no tree.
    assert_eq!(verdict("old-log-v01-blob").logs()[0].tree_size, 0);
}

#[test]
fn two_sources_of_time_are_both_shown() {
    let sources = |name: &str| -> Vec<TimeSource> {
        let verified = verdict(name);
        verified.times().iter().map(|time| time.source).collect()
    };
    assert_eq!(
        sources("old-log-and-timestamp"),
        [TimeSource::TimestampAuthority, TimeSource::LogPromise]
    );
    assert_eq!(
        sources("two-timestamp-authorities-of-two-operators"),
        [TimeSource::TimestampAuthority; 2]
    );
}

#[test]
fn what_did_not_count_is_a_warning() {
    for (name, code) in [
        ("certificate-p384-sha256", "LEGACY_ALGORITHM"),
        ("key-p521-sha256", "LEGACY_ALGORITHM"),
        (
            "token-of-a-stranger-beside-a-good-one",
            "TIMESTAMP_REJECTED",
        ),
        ("entry-of-an-unknown-log-beside", "LOG_UNKNOWN"),
        ("unknown-certificate-log-beside-a-known-one", "SCT_REJECTED"),
        ("key-without-any-time", "TIME_UNKNOWN"),
    ] {
        assert_eq!(warnings(&verdict(name)), [code], "{name}");
    }
}

#[test]
fn an_unknown_log_is_a_warning_where_no_log_is_asked_for() {
    let case = case("log-of-another-instance");
    let policy = jane().blob().log_threshold(0);
    let verified = ask_with(case, &policy, Given::Bytes).expect("a signature");
    assert!(verified.logs().is_empty());
    assert_eq!(warnings(&verified), ["LOG_UNKNOWN", "NOT_LOGGED"]);
}

#[test]
fn an_attestation_shows_its_statement() {
    let case = case("v03-statement");
    let types = PredicateTypes::OneOf(vec!["https://slsa.dev/provenance/v1".into()]);
    let verified = ask_with(case, &jane().attestation(types), Given::Bytes).expect("a statement");
    let statement = verified.statement().expect("a statement");
    assert_eq!(statement.predicate_type, "https://slsa.dev/provenance/v1");
    let json: serde_json::Value = serde_json::from_str(&verified.to_json()).expect("JSON");
    assert_eq!(json["statement"]["predicate"]["claim"], true);
    assert_eq!(json["predicateType"], "https://slsa.dev/provenance/v1");
}

#[test]
fn an_unbound_statement_is_returned_with_a_warning() {
    let case = case("v03-statement");
    let policy = jane().attestation(PredicateTypes::Any);
    let verified = verify(
        &bundle_of(case),
        &Artifact::unbound_statement(),
        &root_of(case),
        &policy,
        NOW,
    )
    .expect("a statement");
    assert_eq!(warnings(&verified), ["ARTIFACT_UNBOUND"]);
    assert!(verified.artifact_digests().is_empty());
}

#[test]
fn an_attestation_is_no_signature_and_a_signature_no_attestation() {
    let any = || jane().attestation(PredicateTypes::Any);
    let kind = "CONTENT_KIND_MISMATCH";
    refused(
        ask_with(case("v03-statement"), &jane().blob(), Given::Bytes),
        kind,
    );
    refused(ask_with(case("v03-blob"), &any(), Given::Bytes), kind);
    // But a statement that is nothing but a signature is one.
    let mut world = World::new();
    let bundle = world.sign_statement(&statement(ARTIFACT, COSIGN_SIGN), &Signing::default());
    judge(&world, bundle, &jane().blob()).expect("cosign's way to sign a file");
}

fn judge(world: &World, bundle: proto::Bundle, policy: &Policy) -> Result<Verified, VerifyError> {
    let bundle = Bundle::from_proto(bundle)?;
    let root = TrustedRoot::parse(world.trusted_root_json().as_bytes())?;
    verify(
        &bundle,
        &Artifact::from_bytes(ARTIFACT),
        &root,
        policy,
        NOW + 60,
    )
}

#[test]
fn the_default_type_of_attestations_is_cosign_s() {
    let policy = jane().attestation(PredicateTypes::cosign_default());
    let mut world = World::new();
    let bundle = world.sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &Signing::default());
    judge(&world, bundle, &policy).expect("the default type");
    refused(
        ask_with(case("v03-statement"), &policy, Given::Bytes),
        "PREDICATE_TYPE_MISMATCH",
    );
}

#[test]
fn any_of_several_identities_will_do_and_the_verdict_says_which() {
    let rule = |subject: &str| IdentityRule::exact(subject, ISSUER).expect("a rule");
    let rules = vec![rule("john@example.com"), rule(EMAIL)];
    let policy = Policy::signed_by_any_identity(rules).expect("rules").blob();
    let verified = ask_with(case("v03-blob"), &policy, Given::Bytes).expect("jane's");
    assert!(
        matches!(
            verified.signer(),
            Signer::Identity {
                matched_rule: 1,
                ..
            }
        ),
        "{:?}",
        verified.signer()
    );
}

#[test]
fn attributes_of_a_workload_can_be_asked_for() {
    let case = case("workload-by-uri");
    let Asked::Identity { subject, issuer } = &case.asked else {
        panic!("an identity")
    };
    let policy = |environment: &str| {
        let rule = IdentityRule::exact(subject, issuer).expect("a rule");
        let value = Matcher::exact(environment).expect("a text");
        let rule = rule.with_extension("runner-environment", value);
        Policy::signed_by_identity(rule.expect("an attribute")).blob()
    };
    let verified = ask_with(case, &policy("self-hosted"), Given::Bytes).expect("a signature");
    let Signer::Identity {
        extensions,
        subject_type,
        ..
    } = verified.signer()
    else {
        panic!("keyless")
    };
    assert_eq!(
        (extensions["runnerEnvironment"].as_str(), *subject_type),
        ("self-hosted", "uri")
    );
    let refusal = ask_with(case, &policy("github-hosted"), Given::Bytes);
    refused(refusal, "EXTENSION_MISMATCH");
    let rule = IdentityRule::exact(subject, issuer).expect("a rule");
    let colour = rule.with_extension("colour", Matcher::exact("red").expect("a text"));
    refused(colour, "POLICY_INVALID");
}

#[test]
fn every_attribute_of_the_profile_can_be_asked_for_by_name() {
    let attributes: [(&str, &str); 5] = [
        ("buildSignerURI", "https://ci.example.com/a"),
        ("buildSignerDigest", "abc"),
        ("sourceRepositoryRef", "refs/heads/main"),
        ("buildTrigger", "push"),
        ("sourceRepositoryVisibilityAtSigning", "private"),
    ];
    let (uri, issuer) = ("https://ci.example.com/a", "https://token.ci.example.com");
    let mut world = World::new();
    let signing = Signing {
        identity: workload(uri, issuer, &attributes),
        ..Signing::default()
    };
    let bundle = world.sign_blob(ARTIFACT, &signing);
    for (name, value) in attributes {
        let policy = |value: &str| {
            let rule = IdentityRule::exact(uri, issuer).expect("a rule");
            let rule = rule.with_extension(name, Matcher::exact(value).expect("a text"));
            Policy::signed_by_identity(rule.expect("an attribute")).blob()
        };
        judge(&world, bundle.clone(), &policy(value)).expect(name);
        refused(
            judge(&world, bundle.clone(), &policy("something else")),
            "EXTENSION_MISMATCH",
        );
    }
}

#[test]
fn every_kind_of_key_signs_statements() {
    for key_type in [
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ] {
        let mut world = World::new();
        let signing = Signing {
            key_type,
            ..Signing::default()
        };
        let bundle = world.sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &signing);
        let policy = jane().attestation(PredicateTypes::Any);
        judge(&world, bundle, &policy).unwrap_or_else(|error| panic!("{key_type:?}: {error}"));
    }
}

#[test]
fn a_key_is_shown_by_its_fingerprint() {
    for name in ["key-p256", "key-p384", "key-ed25519", "key-rsa-2048"] {
        let verified = verdict(name);
        let (Asked::Key(pem), Signer::Key { fingerprint, .. }) =
            (&case(name).asked, verified.signer())
        else {
            panic!("{name}: a key signed")
        };
        let key = PublicKey::from_pem(pem).expect("a key");
        assert_eq!(*fingerprint, sha256_hex(key.spki_der()), "{name}");
    }
}

#[test]
fn the_right_one_of_several_keys_is_found_by_hint_or_by_trial() {
    let strangers = [KeyType::EcP256, KeyType::Ed25519].map(|key_type| {
        let key = PrivateKey::generate(key_type).expect("a key");
        TrustedKey::new(key.public_key().clone())
    });
    for name in ["key-p256", "key-with-opaque-hint"] {
        let Asked::Key(pem) = &case(name).asked else {
            panic!("{name}: a key")
        };
        let own = TrustedKey::new(PublicKey::from_pem(pem).expect("a key"));
        let with_own = [strangers.as_slice(), &[own]].concat();
        let policy = Policy::signed_by_any_key(with_own).expect("keys").blob();
        ask_with(case(name), &policy, Given::Bytes).expect(name);
        let without = Policy::signed_by_any_key(strangers.to_vec());
        let without = without.expect("keys").blob();
        refused(ask_with(case(name), &without, Given::Bytes), "KEY_MISMATCH");
    }
}

#[test]
fn a_key_alone_needs_no_trusted_root_when_nothing_else_is_asked_for() {
    let own = PrivateKey::generate(KeyType::Ed25519).expect("a key");
    let mut world = World::new();
    let signing = Signing {
        algorithm: Some(Algorithm::Ed25519),
        stamped_at: Vec::new(),
        ..Signing::default()
    };
    let mut bundle = world.sign_blob_with_key(ARTIFACT, &own, &signing);
    let material = bundle.verification_material.as_mut().expect("material");
    material.tlog_entries.clear();
    let bundle = Bundle::from_proto(bundle).expect("a bundle");
    let policy = Policy::signed_by_key(TrustedKey::new(own.public_key().clone()))
        .blob()
        .log_threshold(0);
    let judge =
        |artifact: &Artifact<'_>| verify(&bundle, artifact, &TrustedRoot::empty(), &policy, NOW);
    let verified = judge(&Artifact::from_bytes(ARTIFACT)).expect("a signature");
    assert_eq!(verified.algorithm(), "ed25519");
    // Pure Ed25519 is over the message: digests do not help.
    let digest = Artifact::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    refused(judge(&digest), "DIGEST_UNAVAILABLE");
}

#[test]
fn digests_that_do_not_help_are_refused() {
    let case = case("v03-blob");
    let policy = jane().blob();
    let judge =
        |artifact: &Artifact<'_>| verify(&bundle_of(case), artifact, &root_of(case), &policy, NOW);
    assert_eq!(
        digest_algorithms(&bundle_of(case), &policy),
        [HashAlgorithm::Sha256]
    );
    let useless = Artifact::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    refused(judge(&useless), "DIGEST_UNAVAILABLE");
    refused(judge(&Artifact::unbound_statement()), "DIGEST_UNAVAILABLE");
}

#[test]
fn a_certificate_can_be_judged_by_itself() {
    let judge = |name: &str, at| {
        let case = case(name);
        let bundle = bundle_of(case);
        let leaf = bundle.certificate().expect("a certificate");
        verify_certificate(leaf, &root_of(case), at)
    };
    assert_eq!(judge("v03-blob", SIGNED_AT), Ok(email(EMAIL, ISSUER)));
    refused(
        judge("v03-blob", SIGNED_AT + 601),
        "CERTIFICATE_NOT_VALID_AT_TIME",
    );
    let unlogged = Signing {
        sct: SctKind::Missing,
        ..Signing::default()
    };
    let mut world = World::new();
    let leaf = world.enroll(&unlogged).certificate;
    let root = TrustedRoot::parse(world.trusted_root_json().as_bytes()).expect("a root");
    refused(verify_certificate(&leaf, &root, NOW), "SCT_MISSING");
}

#[test]
fn built_bundles_are_read_back_and_keep_what_other_verifiers_insist_on() {
    let mut world = World::new();
    let signing = Signing {
        other_entries: (0, 0),
        ..Signing::default()
    };
    let message = world.sign_blob(ARTIFACT, &signing);
    let entries = message.verification_material.clone();
    let bundle = Bundle::from_proto(message).expect("a bundle");
    let rebuilt = Bundle::assemble(
        bundle.signer().clone(),
        bundle.content().clone(),
        entries.expect("material").tlog_entries,
        bundle.timestamps().to_vec(),
    )
    .expect("the same parts");
    assert_eq!(rebuilt, bundle);
    assert_eq!(rebuilt.version(), BundleVersion::V0_3);
    let json = rebuilt.to_json();
    assert_eq!(Bundle::parse(json.as_bytes()).expect("read back"), bundle);
    // The first entry of a log has index 0 and an empty proof; readers refuse their absence.
    assert_eq!(json.matches(r#""logIndex":"0""#).count(), 2, "{json}");
    assert!(json.contains(r#""hashes":[]"#), "{json}");
}

#[test]
fn every_right_case_is_written_as_it_was_read() {
    for case in crate::asking::cases() {
        let Ok(bundle) = Bundle::parse(case.bundle.as_bytes()) else {
            continue;
        };
        let again = Bundle::parse(bundle.to_json().as_bytes());
        assert_eq!(again.as_ref(), Ok(&bundle), "{}", case.name);
    }
}

#[test]
fn the_size_limit_of_a_document_is_the_caller_s() {
    let json = case("v03-blob").bundle.as_bytes();
    Bundle::parse_with_limit(json, json.len()).expect("just fits");
    refused(
        Bundle::parse_with_limit(json, json.len() - 1),
        "LIMIT_EXCEEDED",
    );
}
