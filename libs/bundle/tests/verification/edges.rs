//! Limits at their edges, and which of several refusals is told.

use sealwright_bundle::bundle::MAX_LOG_ENTRIES;
use sealwright_bundle::error::EntryField;
use sealwright_bundle::verdict::UnixTime;
use sealwright_bundle::verify::verify_certificate;
use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Policy, TrustedKey, TrustedRoot, Verified, VerifyError, verify,
};
use sealwright_crypto::{HashAlgorithm, KeyType, PrivateKey, PublicKey};
use sealwright_pki::Certificate;
use sealwright_pki::asn1::Writer;
use sealwright_proto::bundle::v1 as proto;
use sealwright_proto::common::v1 as common;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_testkit::bundle_factory::{DAY, EMAIL, ISSUER, NOW, Signing, World, window};
use sealwright_testkit::rekor_v1;
use sealwright_testkit::vectors::ARTIFACT;

fn jane() -> Policy {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule")).blob()
}

fn root(world: &World) -> TrustedRoot {
    TrustedRoot::parse(world.trusted_root_json().as_bytes()).expect("a trusted root")
}

fn judge(
    bundle: proto::Bundle,
    artifact: &Artifact<'_>,
    world: &World,
    policy: &Policy,
) -> Result<Verified, VerifyError> {
    let bundle = Bundle::from_proto(bundle)?;
    verify(&bundle, artifact, &root(world), policy, NOW + DAY)
}

fn material(bundle: &mut proto::Bundle) -> &mut proto::VerificationMaterial {
    bundle.verification_material.as_mut().expect("material")
}

fn entry(bundle: &mut proto::Bundle) -> &mut rekor::TransparencyLogEntry {
    &mut material(bundle).tlog_entries[0]
}

fn new_key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

fn by(key: PublicKey) -> Policy {
    Policy::signed_by_key(TrustedKey::new(key)).blob()
}

#[test]
fn a_long_text_of_the_bundle_is_quoted_to_a_length() {
    let mut world = World::new();
    let mut bundle = world.sign_blob(ARTIFACT, &Signing::default());
    entry(&mut bundle).kind_version = Some(rekor::KindVersion {
        kind: "\u{e9}".repeat(500),
        version: "1".into(),
    });
    let verdict = judge(
        bundle.clone(),
        &Artifact::from_bytes(ARTIFACT),
        &world,
        &jane(),
    );
    let Err(VerifyError::UnsupportedEntryType { kind_version, .. }) = verdict else {
        panic!("{verdict:?}");
    };
    assert_eq!(kind_version, "\u{e9}".repeat(128));
    bundle.media_type = "x".repeat(500);
    let refused = Bundle::from_proto(bundle).expect_err("no media type");
    assert_eq!(
        refused,
        VerifyError::UnsupportedBundleVersion {
            media_type: "x".repeat(128)
        }
    );
}

#[test]
fn a_bundle_that_is_put_together_obeys_the_rules_of_one_that_is_read() {
    let mut world = World::new();
    let mut message = world.sign_blob(ARTIFACT, &Signing::default());
    let bundle = Bundle::from_proto(message.clone()).expect("a bundle");
    let assemble = |entries: Vec<rekor::TransparencyLogEntry>| {
        let (signer, content) = (bundle.signer().clone(), bundle.content().clone());
        Bundle::assemble(signer, content, entries, bundle.timestamps().to_vec())
    };
    let whole = entry(&mut message).clone();
    assert_eq!(assemble(vec![whole.clone()]).as_ref(), Ok(&bundle));
    let mut unproven = whole.clone();
    unproven.inclusion_proof = None;
    let refused = assemble(vec![unproven.clone()]).expect_err("an entry that proves nothing");
    *entry(&mut message) = unproven;
    assert_eq!(Bundle::from_proto(message.clone()), Err(refused));

    let most = vec![whole; MAX_LOG_ENTRIES];
    assemble(most.clone()).expect("as many as there may be");
    let more = [most.clone(), most[..1].to_vec()].concat();
    let refused = assemble(more.clone()).expect_err("one more");
    assert_eq!(refused.code(), "LIMIT_EXCEEDED");
    material(&mut message).tlog_entries = more;
    assert_eq!(Bundle::from_proto(message), Err(refused));
}

#[test]
fn a_bundle_is_written_with_its_times_and_read_back_equal() {
    let mut world = World::new();
    let mut message = world.sign_blob(ARTIFACT, &Signing::default());
    for (time, written) in [(0, false), (1, true), (NOW, true)] {
        entry(&mut message).integrated_time = time;
        let bundle = Bundle::from_proto(message.clone()).expect("a bundle");
        let json = bundle.to_json();
        assert_eq!(json.contains("integratedTime"), written, "{time}");
        assert_eq!(Bundle::parse(json.as_bytes()), Ok(bundle), "{time}");
    }
}

/// A member that we do not read, said twice: other readers may, and no two of them need to read the same one.
#[test]
fn a_body_of_the_first_generation_repeats_no_member() {
    let mut world = World::new();
    let mut message = world.sign_blob(ARTIFACT, &Signing::default());
    let Some(proto::bundle::Content::MessageSignature(signature)) = message.content.clone() else {
        panic!("a signature");
    };
    let Some(proto::verification_material::Content::Certificate(leaf)) =
        material(&mut message).content.clone()
    else {
        panic!("a certificate");
    };
    let leaf = Certificate::from_der(leaf.raw_bytes.as_slice()).expect("DER");
    let body = rekor_v1::hashedrekord(ARTIFACT, &signature.signature, &leaf.to_pem());
    let mut with = |member: &str| {
        let body = body.replacen("\"spec\":{", &format!("\"spec\":{{{member}"), 1);
        let mut message = message.clone();
        *entry(&mut message) = world.log.add_v1(rekor_v1::HASHEDREKORD, &body, NOW + 2);
        judge(message, &Artifact::from_bytes(ARTIFACT), &world, &jane())
    };
    with("").expect("nothing added");
    with("\"note\":1,").expect("one more member");
    let refused = with("\"note\":1,\"note\":2,").expect_err("the same twice");
    let VerifyError::EntryMismatch { field, found, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(*field, EntryField::Body);
    assert!(found.contains("appears twice"), "{found}");
}

#[test]
fn what_a_log_would_need_to_take_the_key_is_told() {
    let mut world = World::new();
    let key = new_key(KeyType::Ed25519);
    let mut bundle = world.sign_blob_with_key(ARTIFACT, &key, &Signing::default());
    if let Some(proto::bundle::Content::MessageSignature(message)) = &mut bundle.content {
        message.message_digest = None;
    }
    let sha256 = Artifact::from_digest(HashAlgorithm::Sha256.digest(ARTIFACT));
    let whole = Artifact::from_bytes(ARTIFACT);
    let policy = by(key.public_key().clone());
    judge(bundle.clone(), &whole, &world, &policy).expect("with the file");
    let refused = judge(bundle.clone(), &sha256, &world, &policy).expect_err("SHA-512 is needed");
    let needed = "sha512".into();
    assert_eq!(refused, VerifyError::DigestUnavailable { needed });

    // Logs have a name for three sizes of RSA key, and this is none of them.
    let mut der = Writer::new();
    der.sequence(|w| {
        w.unsigned_integer(&[0xc1; 2560 / 8]);
        w.unsigned_integer(&[1, 0, 1]);
    });
    let odd = PublicKey::from_rsa_pkcs1_der(&der.finish()).expect("a key");
    let refused = judge(bundle, &whole, &world, &by(odd)).expect_err("no log takes it");
    assert!(
        matches!(refused, VerifyError::UnsupportedKey { .. }),
        "{refused}"
    );
}

#[test]
fn the_one_key_of_the_policy_is_counted_as_one() {
    let mut world = World::new();
    let (key, other) = (new_key(KeyType::EcP256), new_key(KeyType::EcP256));
    let bundle = world.sign_blob_with_key(ARTIFACT, &key, &Signing::default());
    let policy = by(other.public_key().clone());
    let verdict = judge(bundle, &Artifact::from_bytes(ARTIFACT), &world, &policy);
    let refused = verdict.expect_err("another key");
    assert_eq!(refused, VerifyError::KeyMismatch { tried: 1 });
}

/// Three ways to be no authority for a certificate, and the words of the one that came furthest, wherever it is listed.
#[test]
fn of_several_authorities_the_one_that_came_furthest_is_told() {
    let mut world = World::new();
    let leaf = world.enroll(&Signing::default()).certificate;
    let stranger = world.timestamp_authority.trusted();
    let mut ended = world.certificate_authority.trusted();
    let expired = world
        .certificate_authority
        .reissued((NOW - 2 * DAY, NOW - DAY));
    ended.cert_chain.as_mut().expect("a chain").certificates = expired
        .iter()
        .map(|certificate| common::X509Certificate {
            raw_bytes: certificate.der().to_vec(),
        })
        .collect();
    let mut too_early = world.certificate_authority.trusted();
    too_early.valid_for = Some(window(NOW + DAY, None));
    let refused = |authorities: &[&trust::CertificateAuthority]| {
        let mut message = world.trusted_root();
        message.certificate_authorities = authorities.iter().copied().cloned().collect();
        let root = TrustedRoot::from_proto(message).expect("a trusted root");
        verify_certificate(&leaf, &root, NOW).expect_err("nobody vouches")
    };
    let alone = [&stranger, &ended, &too_early].map(|authority| refused(&[authority]));
    let [unknown, expired, outside] = &alone;
    assert_ne!(unknown, expired);
    assert_ne!(
        &refused(&[]),
        unknown,
        "no authority at all is something else"
    );
    assert!(
        matches!(outside, VerifyError::AuthorityNotTrustedAt { .. }),
        "{outside}"
    );
    assert_eq!(&refused(&[&stranger, &ended]), expired);
    assert_eq!(&refused(&[&ended, &stranger]), expired);
    assert_eq!(&refused(&[&too_early, &ended, &stranger]), outside);
    assert_eq!(&refused(&[&stranger, &too_early, &ended]), outside);
    assert_eq!(&refused(&[&ended, &stranger, &too_early]), outside);
}

#[test]
fn a_time_is_shown_by_the_calendar() {
    assert_eq!(UnixTime(0).to_string(), "1970-01-01T00:00:00Z");
    assert_eq!(UnixTime(i64::MAX).to_string(), i64::MAX.to_string());
}
