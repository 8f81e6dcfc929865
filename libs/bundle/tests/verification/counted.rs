//! What counts, and what is shown of it, where one detail decides.

use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Policy, PredicateTypes, TrustedRoot, Verified, VerifyError,
    verify,
};
use sealwright_crypto::HashAlgorithm;
use sealwright_proto::bundle::v1 as proto;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_testkit::bundle_factory::{
    DAY, EMAIL, ISSUER, NOW, SctKind, Signing, World, statement, window,
};
use sealwright_testkit::vectors::ARTIFACT;

use crate::asking::{Given, ask_with, case};

fn jane() -> sealwright_bundle::policy::SignerChosen {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule"))
}

fn judge(bundle: proto::Bundle, world: &World, policy: &Policy) -> Result<Verified, VerifyError> {
    let bundle = Bundle::from_proto(bundle)?;
    let root = TrustedRoot::parse(world.trusted_root_json().as_bytes())?;
    verify(
        &bundle,
        &Artifact::from_bytes(ARTIFACT),
        &root,
        policy,
        NOW + DAY,
    )
}

#[test]
fn two_certificate_logs_of_one_operator_are_one_when_operators_count() {
    let mut two = case("two-certificate-logs").clone();
    let logs = jane().blob().certificate_log_threshold(2);
    let operators = logs.clone().distinct_certificate_log_operators();
    let mut with = |names: [&str; 2], policy: &Policy| {
        let mut root: serde_json::Value = serde_json::from_str(&two.trusted_root).expect("JSON");
        for (log, name) in root["ctlogs"]
            .as_array_mut()
            .expect("logs")
            .iter_mut()
            .zip(names)
        {
            log["operator"] = name.into();
        }
        two.trusted_root = root.to_string();
        ask_with(&two, policy, Given::Bytes)
    };
    with(["a", "a"], &logs).expect("two logs");
    with(["a", "b"], &operators).expect("two operators");
    with(["", ""], &operators).expect("two logs that say no operator");
    let refusal = with(["a", "a"], &operators).expect_err("one operator");
    assert_eq!(refusal.code(), "THRESHOLD_NOT_MET");
}

#[test]
fn the_time_of_a_certificate_log_is_shown_in_seconds() {
    let mut world = World::new();
    let bundle = world.sign_blob(ARTIFACT, &Signing::default());
    let verified = judge(bundle, &world, &jane().blob()).expect("a signature");
    let [log] = verified.certificate_logs() else {
        panic!("{:?}", verified.certificate_logs());
    };
    assert!((log.time.0 - NOW).abs() < 60, "{log:?}");
}

/// A log of today promises nothing: what looks like a promise must not move the time at which its key is judged.
#[test]
fn a_promise_on_an_entry_of_today_does_not_bring_back_a_key_that_has_ended() {
    let mut world = World::new();
    let mut bundle = world.sign_blob(ARTIFACT, &Signing::default());
    let mut root = world.trusted_root();
    root.tlogs[0].public_key.as_mut().expect("a key").valid_for =
        Some(window(NOW - DAY, Some(NOW + 1)));
    let root = TrustedRoot::from_proto(root).expect("a trusted root");
    let ask = |bundle: &proto::Bundle| {
        let bundle = Bundle::from_proto(bundle.clone()).expect("a bundle");
        let artifact = Artifact::from_bytes(ARTIFACT);
        verify(&bundle, &artifact, &root, &jane().blob(), NOW + DAY)
            .expect_err("the key had ended")
            .code()
    };
    assert_eq!(ask(&bundle), "LOG_KEY_NOT_VALID_AT_TIME");
    let material = bundle.verification_material.as_mut().expect("material");
    let entry = &mut material.tlog_entries[0];
    entry.integrated_time = NOW;
    entry.inclusion_promise = Some(rekor::InclusionPromise {
        signed_entry_timestamp: vec![7; 70],
    });
    assert_eq!(ask(&bundle), "LOG_KEY_NOT_VALID_AT_TIME");
}

#[test]
fn a_digest_that_the_statement_gives_to_something_else_is_not_shown_as_compared() {
    let other = hex::encode(HashAlgorithm::Sha512.digest(b"something else").as_bytes());
    let text = statement(ARTIFACT, "https://example.com/claim").replacen(
        "\"subject\":[",
        &format!("\"subject\":[{{\"name\":\"other\",\"digest\":{{\"sha512\":\"{other}\"}}}},"),
        1,
    );
    let mut world = World::new();
    let bundle = world.sign_statement(&text, &Signing::default());
    let verified = judge(bundle, &world, &jane().attestation(PredicateTypes::Any));
    let expected = HashAlgorithm::Sha256.digest(ARTIFACT).to_string();
    assert_eq!(
        verified.expect("an attestation").artifact_digests(),
        [expected]
    );
}

/// Asking for no time does not make a certificate's short life go away.
#[test]
fn a_certificate_needs_a_time_even_where_no_time_is_asked_for() {
    let mut world = World::new();
    let signing = Signing {
        stamped_at: Vec::new(),
        sct: SctKind::Good,
        ..Signing::default()
    };
    let bundle = world.sign_blob(ARTIFACT, &signing);
    let refusal = judge(bundle, &world, &jane().blob().time_threshold(0));
    assert_eq!(refusal.expect_err("no time").code(), "NO_TIME_SOURCE");
}

/// The trusted root of a world in which the holder of one key stands twice, under two names.
fn twice<T: Clone>(list: &mut Vec<T>, rename: impl Fn(&mut T)) {
    let mut again = list[0].clone();
    rename(&mut again);
    list.push(again);
}

#[test]
fn a_timestamp_authority_under_two_operators_is_one() {
    let mut world = World::new();
    let signing = Signing {
        stamped_at: vec![NOW + 1, NOW + 5],
        ..Signing::default()
    };
    let bundle = world.sign_blob(ARTIFACT, &signing);
    let mut root = world.trusted_root();
    // Each entry is for one of the two moments, so that each token is of another operator.
    root.timestamp_authorities[0].valid_for = Some(window(NOW - DAY, Some(NOW + 2)));
    twice(&mut root.timestamp_authorities, |again| {
        again.operator = "somebody else".into();
        again.uri = "https://tsa.example.org".into();
        again.valid_for = Some(window(NOW + 3, None));
    });
    let root = TrustedRoot::from_proto(root).expect("a trusted root");
    let bundle = Bundle::from_proto(bundle).expect("a bundle");
    let ask = |policy: &Policy| {
        let artifact = Artifact::from_bytes(ARTIFACT);
        verify(&bundle, &artifact, &root, policy, NOW + DAY)
    };
    let one = ask(&jane().blob()).expect("a signature");
    assert_ne!(one.times()[0].operator, one.times()[1].operator);
    for two in [
        jane().blob().timestamp_authority_threshold(2),
        jane().blob().time_threshold(2),
    ] {
        let refusal = ask(&two).expect_err("one key").code();
        assert_eq!(refusal, "THRESHOLD_NOT_MET");
    }
}

#[test]
fn a_log_under_two_operators_is_one() {
    let mut world = World::new();
    let mut bundle = world.sign_blob(ARTIFACT, &Signing::default());
    let material = bundle.verification_material.as_mut().expect("material");
    let body = material.tlog_entries[0].canonicalized_body.clone();
    let mut root = world.trusted_root();
    // The same key signs for another origin, which makes it another log to everybody who goes by identifiers.
    world.log.origin = "log.example.org".into();
    world.log.base_url = "https://log.example.org".into();
    material
        .tlog_entries
        .push(world.log.add_body_among_others(body, (1, 1)));
    let mut other = world.log.trusted();
    other.operator = "somebody else".into();
    root.tlogs.push(other);
    let root = TrustedRoot::from_proto(root).expect("a trusted root");
    let bundle = Bundle::from_proto(bundle).expect("a bundle");
    let ask = |logs| {
        let artifact = Artifact::from_bytes(ARTIFACT);
        let policy = jane().blob().log_threshold(logs);
        verify(&bundle, &artifact, &root, &policy, NOW + DAY)
    };
    assert_eq!(ask(1).expect("a signature").logs().len(), 2);
    assert_eq!(ask(2).expect_err("one key").code(), "THRESHOLD_NOT_MET");
}

/// Readers that fill in structures take arrays of their members, too; nobody else takes such a statement for one.
#[test]
fn a_statement_that_is_an_array_is_none() {
    let written = statement(ARTIFACT, "https://example.com/claim");
    let parts: serde_json::Value = serde_json::from_str(&written).expect("JSON");
    let subject = &parts["subject"][0];
    let in_order = |subject: serde_json::Value| {
        serde_json::json!([
            parts["_type"],
            [subject],
            parts["predicateType"],
            parts["predicate"]
        ])
    };
    let mut with_array = parts.clone();
    with_array["subject"] = serde_json::json!([[subject["name"], subject["digest"], null]]);
    let mut world = World::new();
    for payload in [in_order(subject.clone()), with_array] {
        let bundle = world.sign_statement(&payload.to_string(), &Signing::default());
        let refusal = judge(bundle, &world, &jane().attestation(PredicateTypes::Any));
        let code = refusal.expect_err("no statement").code();
        assert_eq!(code, "STATEMENT_MALFORMED", "{payload}");
    }
}
