//! Whole bundles, each wrong in one way, and the code with which each is refused.

use proptest::prelude::*;
use sealwright_bundle::bundle::{BundleVersion, SignerMaterial};
use sealwright_bundle::error::Step;
use sealwright_bundle::statement::{COSIGN_CUSTOM, COSIGN_SIGN};
use sealwright_bundle::trusted_root::Validity;
use sealwright_bundle::verdict::{Signer, TimeSource, UnixTime};
use sealwright_bundle::verify::{digest_algorithms, verify_certificate};
use sealwright_bundle::{
    Artifact, Bundle, IdentityRule, Matcher, Policy, PredicateTypes, TrustedKey, TrustedRoot,
    Verified, VerifyError, verify,
};
use sealwright_crypto::{
    Algorithm, HashAlgorithm, KeyType, PrivateKey, PublicKey, Signer as _, base64,
};
use sealwright_proto::bundle::v1::{
    self as proto, bundle::Content, verification_material::Content as Material,
};
use sealwright_proto::common::v1 as common;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_proto::trustroot::v1 as trust;
use sealwright_testkit::bundle_factory::{
    CertificateAuthority, CtLog, DAY, EMAIL, ISSUER, NOW, SctKind, SignatureLog, Signing,
    TimestampAuthority, World, email, statement, window, workload,
};

const ARTIFACT: &[u8] = b"what was signed";

/// A bundle together with everything that decides on it; each part can be made wrong.
struct Scenario {
    world: World,
    root: trust::TrustedRoot,
    bundle: proto::Bundle,
    artifact: Vec<u8>,
    policy: Policy,
}

impl Scenario {
    fn blob() -> Self {
        Self::blob_signed(&Signing::default(), |_| {})
    }

    /// `meddle` changes the world after the trusted root was taken and before anything is signed.
    fn blob_signed(signing: &Signing, meddle: impl FnOnce(&mut World)) -> Self {
        let mut world = World::new();
        let root = world.trusted_root();
        meddle(&mut world);
        let bundle = world.sign_blob(ARTIFACT, signing);
        Self {
            world,
            root,
            bundle,
            artifact: ARTIFACT.to_vec(),
            policy: jane().blob(),
        }
    }

    fn attestation(predicate_type: &str) -> Self {
        Self::statement(&statement(ARTIFACT, predicate_type))
    }

    fn statement(statement: &str) -> Self {
        let mut world = World::new();
        let root = world.trusted_root();
        let bundle = world.sign_statement(statement, &Signing::default());
        let policy = jane().attestation(PredicateTypes::Any);
        Self {
            world,
            root,
            bundle,
            artifact: ARTIFACT.to_vec(),
            policy,
        }
    }

    fn with_key(key: &PrivateKey, policy: Policy) -> Self {
        let mut world = World::new();
        let root = world.trusted_root();
        let bundle = world.sign_blob_with_key(ARTIFACT, key, &Signing::default());
        Self {
            world,
            root,
            bundle,
            artifact: ARTIFACT.to_vec(),
            policy,
        }
    }

    fn verify(&self) -> Result<Verified, VerifyError> {
        let json = serde_json::to_string(&self.bundle).expect("a message is JSON");
        self.verify_json(&json, &Artifact::from_bytes(&self.artifact))
    }

    fn verify_json(&self, json: &str, artifact: &Artifact<'_>) -> Result<Verified, VerifyError> {
        let bundle = Bundle::parse(json.as_bytes())?;
        verify(
            &bundle,
            artifact,
            &self.trusted_root(),
            &self.policy,
            NOW + DAY,
        )
    }

    fn trusted_root(&self) -> TrustedRoot {
        let json = serde_json::to_string(&self.root).expect("a message is JSON");
        TrustedRoot::parse(json.as_bytes()).expect("a trusted root")
    }

    #[track_caller]
    fn verified(&self) -> Verified {
        self.verify()
            .unwrap_or_else(|error| panic!("refused: {error}"))
    }

    /// The bundle is refused with this code, and the error explains itself.
    #[track_caller]
    fn refused(&self, code: &str) -> VerifyError {
        let error = match self.verify() {
            Ok(verified) => panic!("verified, but {code} was expected: {}", verified.to_json()),
            Err(error) => error,
        };
        let explanation = error.explain();
        assert_eq!(explanation.code, code, "{error}");
        assert!(
            !explanation.found.is_empty()
                && !explanation.expected.is_empty()
                && !explanation.help.is_empty()
        );
        error
    }

    fn material(&mut self) -> &mut proto::VerificationMaterial {
        self.bundle
            .verification_material
            .as_mut()
            .expect("material")
    }

    fn entry(&mut self) -> &mut rekor::TransparencyLogEntry {
        self.material().tlog_entries.first_mut().expect("an entry")
    }

    fn proof(&mut self) -> &mut rekor::InclusionProof {
        self.entry().inclusion_proof.as_mut().expect("a proof")
    }

    fn checkpoint(&mut self) -> &mut String {
        &mut self
            .proof()
            .checkpoint
            .as_mut()
            .expect("a checkpoint")
            .envelope
    }

    fn timestamps(&mut self) -> &mut Vec<common::Rfc3161SignedTimestamp> {
        &mut self
            .material()
            .timestamp_verification_data
            .as_mut()
            .expect("timestamps")
            .rfc3161_timestamps
    }

    fn message(&mut self) -> &mut common::MessageSignature {
        match &mut self.bundle.content {
            Some(Content::MessageSignature(message)) => message,
            other => panic!("no message signature: {other:?}"),
        }
    }

    fn envelope(&mut self) -> &mut sealwright_proto::dsse::Envelope {
        match &mut self.bundle.content {
            Some(Content::DsseEnvelope(envelope)) => envelope,
            other => panic!("no envelope: {other:?}"),
        }
    }

    /// Changes the body of the log entry as text.
    fn edit_body(&mut self, edit: impl FnOnce(String) -> String) {
        let body = String::from_utf8(self.entry().canonicalized_body.clone()).expect("a JSON body");
        let edited = edit(body.clone());
        assert_ne!(edited, body, "the edit changes something");
        self.entry().canonicalized_body = edited.into_bytes();
    }
}

/// A name for what is wrong, and how to make it so.
type Fault = (&'static str, fn(&mut Scenario));
/// A name for what is wrong, and how to change a text.
type Edit = (&'static str, fn(&str) -> String);

fn jane() -> sealwright_bundle::policy::SignerChosen {
    Policy::signed_by_identity(IdentityRule::exact(EMAIL, ISSUER).expect("a rule"))
}

fn key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

fn by_key(key: &PrivateKey) -> sealwright_bundle::policy::SignerChosen {
    Policy::signed_by_key(TrustedKey::new(key.public_key().clone()))
}

// What is right.

#[test]
fn a_keyless_signature_shows_who_when_and_where() {
    let scenario = Scenario::blob();
    let verified = scenario.verified();
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
        (UnixTime(NOW + 2), TimeSource::TimestampAuthority)
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
    assert!(verified.statement().is_none() && verified.warnings().is_empty());

    let json: serde_json::Value =
        serde_json::from_str(&verified.to_json()).expect("the verdict is JSON");
    assert_eq!(json["signer"]["kind"], "identity");
    assert_eq!(json["signer"]["subject"], EMAIL);
    assert_eq!(json["times"][0]["time"], "2026-11-24T12:00:02Z");
    assert_eq!(json["algorithm"], "ecdsa-sha2-256-nistp256");
}

#[test]
fn every_kind_of_key_signs_files_and_statements() {
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::EcP521,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 3072 },
    ] {
        let signing = Signing {
            key_type,
            ..Signing::default()
        };
        Scenario::blob_signed(&signing, |_| {}).verified();
        let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
        scenario.bundle = scenario
            .world
            .sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &signing);
        scenario.verified();
    }
}

/// Signatures over [`ARTIFACT`] with SHA-256, as old clients made them for every curve. Nothing here signs like that.
const OLD_CLIENTS: [(Algorithm, &str, &str); 2] = [
    (
        Algorithm::EcdsaP384Sha256,
        "-----BEGIN PUBLIC KEY-----
MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEbUNCj1UJywoRthITVJTDVgdcVZ6N+E+8
ZVYZXEYcr8R4l2c1X3e/t52hzj0bfQc0xwDP9D8UXA4ViQXNrqUm3ZYwTfbHCSuR
GL+3qoLBjx/8elvDPS/Fl2z4iXWRzwgz
-----END PUBLIC KEY-----
",
        "MGUCMQDZm6xNO+UKl7LG4F2F7bNLpjzPb5C0PxVbeD8IztJeL2AOrihG5iAFdwZuvJmof6wCMDf5HJ6Jvh1TYUyxBHZLGsD6HhX/PttgmGPop0Nx\
         IglTbokMkR9+JU8gS4gytgoRhg==",
    ),
    (
        Algorithm::EcdsaP521Sha256,
        "-----BEGIN PUBLIC KEY-----
MIGbMBAGByqGSM49AgEGBSuBBAAjA4GGAAQA3jjA0YYqaRDSGc/1dveJBuwu5/mH
C7t3AksdSAJ5Mo1OQ6U3Bjh3UydQqNWO2ItPooHe/OZWhnRz4GKKvsIVag8BIwRI
TvZ4x2FnnQNftftLqX0vO7URLAl9gRKBiTwbOl8GwTBtduvi8vxW/gYJFDfjMUdB
E/yOn9zDH0zFwbrKpos=
-----END PUBLIC KEY-----
",
        "MIGIAkIB4hM1rWZLCq6GuKSkVlgiF5O1aPZCfOf+PugtdQsYUVL68EW+CE5PVk6ijYLkieCwvxVQksTqjaR2lInTlnBE5PsCQgDQzVuRATur8g02\
         n5RKraUJupvXEl1d0lDCV0Je0zQM0iDwDwbD80dGvGzg9cWawfaxPeTLEMRqOgsdBtHGe5QiDQ==",
    ),
];

#[test]
fn the_hash_of_old_clients_is_accepted_with_a_warning() {
    for (algorithm, pem, signature) in OLD_CLIENTS {
        let key = PublicKey::from_pem(pem).expect("a key");
        let signature = base64::decode(signature).expect("base64");
        let digest = HashAlgorithm::Sha256.digest(ARTIFACT);
        let mut world = World::new();
        let root = world.trusted_root();
        let bundle = world.bundle_of(digest, signature, &key, algorithm, &Signing::default());
        let policy = Policy::signed_by_key(TrustedKey::new(key)).blob();
        let verified = Scenario {
            world,
            root,
            bundle,
            artifact: ARTIFACT.to_vec(),
            policy,
        }
        .verified();
        assert_eq!(verified.warnings()[0].code, "LEGACY_ALGORITHM");
    }
}

#[test]
fn tokens_without_certificates_verify_with_the_trusted_ones() {
    let signing = Signing {
        tokens_with_certificates: false,
        ..Signing::default()
    };
    Scenario::blob_signed(&signing, |_| {}).verified();
}

#[test]
fn digests_and_readers_stand_for_the_file() {
    let scenario = Scenario::blob();
    let json = serde_json::to_string(&scenario.bundle).expect("JSON");
    let bundle = Bundle::parse(json.as_bytes()).expect("a bundle");
    let wanted = digest_algorithms(&bundle, &scenario.policy);
    assert_eq!(wanted, [HashAlgorithm::Sha256]);
    let read =
        Artifact::from_reader(&mut ARTIFACT.to_vec().as_slice(), &wanted).expect("a slice reads");
    scenario.verify_json(&json, &read).expect("read");
    let given = Artifact::from_digest(HashAlgorithm::Sha256.digest(ARTIFACT));
    scenario.verify_json(&json, &given).expect("given");
    let useless = Artifact::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    assert_eq!(
        scenario
            .verify_json(&json, &useless)
            .expect_err("SHA-512")
            .code(),
        "DIGEST_UNAVAILABLE"
    );
    let unbound = Artifact::unbound_statement();
    assert_eq!(
        scenario
            .verify_json(&json, &unbound)
            .expect_err("nothing")
            .code(),
        "DIGEST_UNAVAILABLE"
    );
}

#[test]
fn built_bundles_are_read_back_and_keep_what_other_verifiers_insist_on() {
    let signing = Signing {
        other_entries: (0, 0),
        ..Signing::default()
    };
    let scenario = Scenario::blob_signed(&signing, |_| {});
    let bundle = Bundle::from_proto(scenario.bundle.clone()).expect("a bundle");
    let rebuilt = Bundle::assemble(
        bundle.signer().clone(),
        bundle.content().clone(),
        scenario
            .bundle
            .verification_material
            .clone()
            .expect("material")
            .tlog_entries,
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
    scenario
        .verify_json(&json, &Artifact::from_bytes(ARTIFACT))
        .expect("it verifies");
}

#[test]
fn a_log_on_a_port_signs_with_its_host_alone() {
    let mut world = World::new();
    world.log = SignatureLog::new("https://127.0.0.1:7700");
    world.log.origin = "127.0.0.1".into();
    let root = world.trusted_root();
    let bundle = world.sign_blob(ARTIFACT, &Signing::default());
    let scenario = Scenario {
        world,
        root,
        bundle,
        artifact: ARTIFACT.to_vec(),
        policy: jane().blob(),
    };
    assert_eq!(scenario.verified().logs()[0].origin, "127.0.0.1");
}

#[test]
fn a_log_with_an_ecdsa_key_verifies() {
    let mut world = World::new();
    world.log.key = sealwright_crypto::MemorySigner::new(key(KeyType::EcP256));
    let root = world.trusted_root();
    let bundle = world.sign_blob(ARTIFACT, &Signing::default());
    Scenario {
        world,
        root,
        bundle,
        artifact: ARTIFACT.to_vec(),
        policy: jane().blob(),
    }
    .verified();
}

#[test]
fn windows_of_trust_include_their_ends() {
    let at = NOW + 2;
    for (end, code) in [(at, None), (at - 1, Some("CA_NOT_TRUSTED_AT_TIME"))] {
        let mut scenario = Scenario::blob();
        scenario.root.certificate_authorities[0].valid_for = Some(window(NOW - DAY, Some(end)));
        assert_eq!(
            scenario.verify().err().map(|error| error.code()),
            code,
            "certificate authority until {end}"
        );
    }
    for (end, code) in [(at, None), (at - 1, Some("TIMESTAMP_OUTSIDE_TSA_WINDOW"))] {
        let mut scenario = Scenario::blob();
        scenario.root.timestamp_authorities[0].valid_for = Some(window(NOW - DAY, Some(end)));
        assert_eq!(
            scenario.verify().err().map(|error| error.code()),
            code,
            "timestamp authority until {end}"
        );
    }
    for (end, code) in [(at, None), (at - 1, Some("LOG_KEY_NOT_VALID_AT_TIME"))] {
        let mut scenario = Scenario::blob();
        set_window(&mut scenario.root.tlogs[0], NOW - DAY, Some(end));
        assert_eq!(
            scenario.verify().err().map(|error| error.code()),
            code,
            "signature log until {end}"
        );
    }
    for (start, code) in [(NOW, None), (NOW + 1, Some("SCT_OUTSIDE_LOG_WINDOW"))] {
        let mut scenario = Scenario::blob();
        set_window(&mut scenario.root.ctlogs[0], start, None);
        assert_eq!(
            scenario.verify().err().map(|error| error.code()),
            code,
            "certificate log from {start}"
        );
    }
}

fn set_window(log: &mut trust::TransparencyLogInstance, start: i64, end: Option<i64>) {
    log.public_key.as_mut().expect("a key").valid_for = Some(window(start, end));
}

#[test]
fn a_retired_window_beside_the_present_one_does_no_harm() {
    let mut scenario = Scenario::blob();
    let old = Some(window(NOW - 300 * DAY, Some(NOW - 200 * DAY)));
    let mut retired = scenario.root.certificate_authorities[0].clone();
    retired.valid_for = old;
    scenario.root.certificate_authorities.insert(0, retired);
    let mut retired = scenario.root.timestamp_authorities[0].clone();
    retired.valid_for = old;
    scenario.root.timestamp_authorities.insert(0, retired);
    let mut retired = scenario.root.tlogs[0].clone();
    set_window(&mut retired, NOW - 300 * DAY, Some(NOW - 200 * DAY));
    scenario.root.tlogs.insert(0, retired);
    let mut retired = scenario.root.ctlogs[0].clone();
    set_window(&mut retired, NOW - 300 * DAY, Some(NOW - 200 * DAY));
    scenario.root.ctlogs.insert(0, retired);
    scenario.verified();
}

#[test]
fn a_certificate_holds_from_its_first_to_its_last_second() {
    let last = Signing::default().validity_s.into();
    for (offset, code) in [
        (-1, Some("CERTIFICATE_NOT_VALID_AT_TIME")),
        (0, None),
        (last, None),
        (last + 1, Some("CERTIFICATE_NOT_VALID_AT_TIME")),
    ] {
        let signing = Signing {
            stamped_at: vec![NOW + offset],
            ..Signing::default()
        };
        let scenario = Scenario::blob_signed(&signing, |_| {});
        assert_eq!(
            scenario.verify().err().map(|error| error.code()),
            code,
            "stamped {offset} s after issuance"
        );
    }
}

// V1: structure.

#[test]
fn a_document_that_is_no_bundle_is_refused() {
    let json = serde_json::to_string(&Scenario::blob().bundle).expect("JSON");
    let documents = [
        String::new(),
        "null".into(),
        json[..json.len() - 1].to_owned(),
        format!("{json} {json}"),
        json.replacen('{', r#"{"mediaType":"x","#, 1),
        json.replacen('{', r#"{"unknown":1,"#, 1),
        json.replacen(r#""rawBytes":"MII"#, r#""rawBytes":"!II"#, 1),
        json.replacen("SHA2_256", "SHA2_257", 1),
    ];
    for document in documents {
        let error = Bundle::parse(document.as_bytes()).expect_err("no bundle");
        assert_eq!(error.code(), "BUNDLE_MALFORMED", "{error}");
    }
}

#[test]
fn an_unknown_version_is_refused() {
    for media_type in [
        "",
        "application/json",
        "application/vnd.dev.sigstore.bundle.v0.4+json",
    ] {
        let mut scenario = Scenario::blob();
        scenario.bundle.media_type = media_type.into();
        scenario.refused("BUNDLE_VERSION_UNSUPPORTED");
    }
}

#[test]
fn a_bundle_above_the_size_limit_is_not_read() {
    let json = serde_json::to_string(&Scenario::blob().bundle).expect("JSON");
    let error = Bundle::parse_with_limit(json.as_bytes(), json.len() - 1).expect_err("too large");
    assert_eq!(error.code(), "LIMIT_EXCEEDED");
    Bundle::parse_with_limit(json.as_bytes(), json.len()).expect("just fits");
}

#[test]
fn more_entries_timestamps_or_hashes_than_anybody_needs_are_refused() {
    let mut scenario = Scenario::blob();
    let entry = scenario.entry().clone();
    scenario.material().tlog_entries = vec![entry; 33];
    scenario.refused("LIMIT_EXCEEDED");
    let mut scenario = Scenario::blob();
    let token = scenario.timestamps()[0].clone();
    *scenario.timestamps() = vec![token; 33];
    scenario.refused("LIMIT_EXCEEDED");
    let mut scenario = Scenario::blob();
    scenario.proof().hashes = vec![vec![0; 32]; 65];
    scenario.refused("LIMIT_EXCEEDED");
    let mut scenario = Scenario::blob();
    scenario.checkpoint().push_str(&"x".repeat(64 << 10));
    scenario.refused("LIMIT_EXCEEDED");
}

#[test]
fn structural_faults_are_refused() {
    let faults: [Fault; 9] = [
        ("no material", |s| s.bundle.verification_material = None),
        ("no signer", |s| s.material().content = None),
        ("no content", |s| s.bundle.content = None),
        ("no signature", |s| s.message().signature.clear()),
        ("no log id", |s| s.entry().log_id = None),
        ("no kind", |s| s.entry().kind_version = None),
        ("no proof", |s| s.entry().inclusion_proof = None),
        ("no checkpoint", |s| s.proof().checkpoint = None),
        ("a digest that is too short", |s| {
            s.message()
                .message_digest
                .as_mut()
                .expect("a digest")
                .digest
                .truncate(31)
        }),
    ];
    for (name, spoil) in faults {
        let mut scenario = Scenario::blob();
        spoil(&mut scenario);
        let error = scenario.refused("BUNDLE_STRUCTURE");
        assert_eq!(error.step(), Step::Structure, "{name}");
    }
}

#[test]
fn negative_numbers_are_refused() {
    let faults: [fn(&mut Scenario); 4] = [
        |s| s.entry().log_index = -1,
        |s| s.proof().log_index = -1,
        |s| s.proof().tree_size = i64::MIN,
        |s| s.entry().integrated_time = -1,
    ];
    for spoil in faults {
        let mut scenario = Scenario::blob();
        spoil(&mut scenario);
        scenario.refused("BUNDLE_STRUCTURE");
    }
}

#[test]
fn a_second_entry_without_proof_is_refused_too() {
    let mut scenario = Scenario::blob();
    let mut second = scenario.entry().clone();
    second.log_index += 1;
    second.inclusion_proof = None;
    scenario.material().tlog_entries.push(second);
    scenario.refused("BUNDLE_STRUCTURE");
}

#[test]
fn an_envelope_has_exactly_one_signature() {
    for count in [0, 2] {
        let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
        let only = scenario.envelope().signatures[0].clone();
        scenario.envelope().signatures = vec![only; count];
        scenario.refused("BUNDLE_STRUCTURE");
    }
}

fn leaf_of(scenario: &mut Scenario) -> common::X509Certificate {
    match &scenario.material().content {
        Some(Material::Certificate(leaf)) => leaf.clone(),
        other => panic!("no certificate: {other:?}"),
    }
}

fn chain_of(certificates: Vec<common::X509Certificate>) -> Option<Material> {
    Some(Material::X509CertificateChain(
        common::X509CertificateChain { certificates },
    ))
}

fn authority_certificate(scenario: &Scenario, position: usize) -> common::X509Certificate {
    let der = scenario.world.certificate_authority.chain[position]
        .der()
        .to_vec();
    common::X509Certificate { raw_bytes: der }
}

#[test]
fn chains_are_for_old_bundles_or_by_permission_and_never_carry_roots() {
    let mut scenario = Scenario::blob();
    let leaf = leaf_of(&mut scenario);
    let chain = vec![leaf.clone(), authority_certificate(&scenario, 0)];
    scenario.material().content = chain_of(chain.clone());
    scenario.refused("BUNDLE_STRUCTURE");
    scenario.policy = scenario.policy.allow_certificate_chain();
    scenario.verified();
    scenario.policy = jane().blob();
    scenario.bundle.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.2".into();
    scenario.verified();

    let root = authority_certificate(&scenario, 1);
    scenario.material().content = chain_of(vec![leaf, authority_certificate(&scenario, 0), root]);
    scenario.refused("BUNDLE_STRUCTURE");
    scenario.material().content = chain_of(Vec::new());
    scenario.refused("BUNDLE_STRUCTURE");
    scenario.material().content = chain_of(vec![chain[0].clone(); 9]);
    scenario.refused("LIMIT_EXCEEDED");
}

#[test]
fn an_intermediate_that_the_root_lacks_comes_from_a_permitted_chain() {
    let mut scenario = Scenario::blob();
    let chain = scenario.root.certificate_authorities[0]
        .cert_chain
        .as_mut()
        .expect("a chain");
    chain.certificates.remove(0);
    scenario.refused("CERTIFICATE_UNTRUSTED");
    let leaf = leaf_of(&mut scenario);
    scenario.material().content = chain_of(vec![leaf, authority_certificate(&scenario, 0)]);
    scenario.policy = scenario.policy.allow_certificate_chain();
    scenario.verified();
}

#[test]
fn an_authority_is_no_signer_and_rubbish_no_certificate() {
    let mut scenario = Scenario::blob();
    let authority = authority_certificate(&scenario, 0);
    scenario.material().content = Some(Material::Certificate(authority));
    scenario.refused("BUNDLE_STRUCTURE");
    scenario.material().content = Some(Material::Certificate(common::X509Certificate {
        raw_bytes: vec![0x30, 0],
    }));
    scenario.refused("CERTIFICATE_MALFORMED");
}

// V2: nothing counts twice.

#[test]
fn the_same_entry_twice_is_refused() {
    let mut scenario = Scenario::blob();
    let entry = scenario.entry().clone();
    scenario.material().tlog_entries.push(entry);
    scenario.refused("DUPLICATE_ENTRY");
}

#[test]
fn the_same_timestamp_twice_is_refused() {
    let mut scenario = Scenario::blob();
    let token = scenario.timestamps()[0].clone();
    scenario.timestamps().push(token);
    scenario.refused("DUPLICATE_TIMESTAMP");
}

// V3: times.

#[test]
fn a_certificate_without_a_time_is_worth_nothing() {
    let mut scenario = Scenario::blob();
    scenario.timestamps().clear();
    scenario.refused("NO_TIME_SOURCE");
    // Not even when the policy asks for no times: a short-lived certificate cannot do without.
    scenario.policy = scenario.policy.time_threshold(0);
    scenario.refused("NO_TIME_SOURCE");
    // The log of v2 is no clock, whatever the entry says.
    scenario.entry().integrated_time = NOW + 2;
    scenario.refused("NO_TIME_SOURCE");
}

#[test]
fn a_tampered_timestamp_is_refused() {
    let mut scenario = Scenario::blob();
    let token = &mut scenario.timestamps()[0].signed_timestamp;
    let last = token.last_mut().expect("a token");
    *last ^= 1;
    scenario.refused("TIMESTAMP_INVALID");
    scenario.timestamps()[0].signed_timestamp.truncate(40);
    scenario.refused("TIMESTAMP_INVALID");
}

#[test]
fn a_timestamp_over_another_signature_is_refused() {
    let mut scenario = Scenario::blob();
    let token = scenario
        .world
        .timestamp_authority
        .stamp(b"another signature", NOW + 2, true);
    scenario.timestamps()[0].signed_timestamp = token;
    scenario.refused("TIMESTAMP_INVALID");
}

#[test]
fn a_timestamp_of_an_unknown_authority_is_refused_with_and_without_its_certificates() {
    for tokens_with_certificates in [true, false] {
        let signing = Signing {
            tokens_with_certificates,
            ..Signing::default()
        };
        let scenario = Scenario::blob_signed(&signing, |world| {
            world.timestamp_authority =
                TimestampAuthority::new("https://tsa.example.com/api/v1/timestamp");
        });
        scenario.refused("TIMESTAMP_UNTRUSTED");
    }
    let mut scenario = Scenario::blob();
    scenario.root.timestamp_authorities.clear();
    scenario.refused("TIMESTAMP_UNTRUSTED");
}

#[test]
fn one_bad_timestamp_beside_a_good_one_does_no_harm() {
    let mut scenario = Scenario::blob();
    let other = TimestampAuthority::new("https://other.example.com").stamp(b"whatever", NOW, true);
    scenario.timestamps().insert(
        0,
        common::Rfc3161SignedTimestamp {
            signed_timestamp: other,
        },
    );
    let verified = scenario.verified();
    assert_eq!(verified.times().len(), 1);
    assert_eq!(verified.warnings()[0].code, "TIMESTAMP_REJECTED");
}

#[test]
fn every_verified_time_must_be_within_the_certificate() {
    let signing = Signing {
        stamped_at: vec![NOW + 2, NOW + 700],
        ..Signing::default()
    };
    Scenario::blob_signed(&signing, |_| {}).refused("CERTIFICATE_NOT_VALID_AT_TIME");
}

#[test]
fn two_timestamps_of_one_operator_count_once() {
    let signing = Signing {
        stamped_at: vec![NOW + 2, NOW + 3],
        ..Signing::default()
    };
    let mut scenario = Scenario::blob_signed(&signing, |_| {});
    scenario.verified();
    scenario.policy = jane().blob().timestamp_authority_threshold(2);
    scenario.refused("THRESHOLD_NOT_MET");
    scenario.policy = jane().blob().time_threshold(2);
    scenario.refused("THRESHOLD_NOT_MET");
}

#[test]
fn timestamps_of_two_operators_count_twice() {
    let mut scenario = Scenario::blob();
    let second = TimestampAuthority::new("https://tsa.example.org");
    let mut trusted = second.trusted();
    trusted.operator = "example.org".into();
    scenario.root.timestamp_authorities.push(trusted);
    let signature = scenario.message().signature.clone();
    let token = second.stamp(&signature, NOW + 5, true);
    scenario.timestamps().push(common::Rfc3161SignedTimestamp {
        signed_timestamp: token,
    });
    scenario.policy = jane()
        .blob()
        .timestamp_authority_threshold(2)
        .time_threshold(2);
    assert_eq!(scenario.verified().times().len(), 2);
}

// V4: the certificate's path.

#[test]
fn a_certificate_of_another_authority_is_refused() {
    let scenario = Scenario::blob_signed(&Signing::default(), |world| {
        world.certificate_authority = CertificateAuthority::new("https://ca.example.com");
    });
    scenario.refused("CERTIFICATE_UNTRUSTED");
    let mut scenario = Scenario::blob();
    scenario.root.certificate_authorities.clear();
    scenario.refused("CERTIFICATE_UNTRUSTED");
}

#[test]
fn a_certificate_for_other_purposes_is_no_signer() {
    let mut scenario = Scenario::blob();
    let chain = scenario.world.timestamp_authority.trusted();
    scenario.root.certificate_authorities.push(chain);
    let leaf = scenario.world.timestamp_authority.chain[0].der().to_vec();
    scenario.material().content = Some(Material::Certificate(common::X509Certificate {
        raw_bytes: leaf,
    }));
    scenario.refused("CERTIFICATE_UNTRUSTED");
}

#[test]
fn a_changed_certificate_is_refused() {
    let mut scenario = Scenario::blob();
    let mut leaf = leaf_of(&mut scenario);
    let position = find(&leaf.raw_bytes, EMAIL.as_bytes());
    leaf.raw_bytes[position] = b'k';
    scenario.material().content = Some(Material::Certificate(leaf));
    scenario.refused("CERTIFICATE_UNTRUSTED");
}

fn find(haystack: &[u8], needle: &[u8]) -> usize {
    haystack
        .windows(needle.len())
        .position(|window| window == needle)
        .expect("the needle is there")
}

// V5: the certificate was logged.

#[test]
fn a_certificate_without_timestamp_of_a_certificate_log_is_refused() {
    let signing = Signing {
        sct: SctKind::Missing,
        ..Signing::default()
    };
    let mut scenario = Scenario::blob_signed(&signing, |_| {});
    scenario.refused("SCT_MISSING");
    scenario.policy = jane().blob().certificate_log_threshold(0);
    assert!(scenario.verified().certificate_logs().is_empty());
}

#[test]
fn a_certificate_timestamp_over_another_certificate_is_refused() {
    let signing = Signing {
        sct: SctKind::Tampered,
        ..Signing::default()
    };
    Scenario::blob_signed(&signing, |_| {}).refused("SCT_INVALID");
}

#[test]
fn a_certificate_timestamp_of_an_unknown_log_is_refused() {
    let scenario = Scenario::blob_signed(&Signing::default(), |world| {
        world.ct_log = CtLog::new("https://ct.example.com/2026");
    });
    scenario.refused("SCT_UNKNOWN_LOG");
}

#[test]
fn one_certificate_log_does_not_make_two() {
    let mut scenario = Scenario::blob();
    scenario.policy = jane().blob().certificate_log_threshold(2);
    scenario.refused("THRESHOLD_NOT_MET");
}

#[test]
fn a_certificate_can_be_judged_by_itself() {
    let judge = |scenario: &Scenario, at| {
        let bundle = Bundle::from_proto(scenario.bundle.clone()).expect("a bundle");
        verify_certificate(
            bundle.certificate().expect("a certificate"),
            &scenario.trusted_root(),
            at,
        )
    };
    let scenario = Scenario::blob();
    assert_eq!(judge(&scenario, NOW), Ok(email(EMAIL, ISSUER)));
    let late = judge(&scenario, NOW + 601).expect_err("too late");
    assert_eq!(late.code(), "CERTIFICATE_NOT_VALID_AT_TIME");
    let unlogged = Scenario::blob_signed(
        &Signing {
            sct: SctKind::Missing,
            ..Signing::default()
        },
        |_| {},
    );
    assert_eq!(
        judge(&unlogged, NOW).expect_err("not logged").code(),
        "SCT_MISSING"
    );
}

// V6: who signed.

#[test]
fn another_identity_is_refused() {
    let mut scenario = Scenario::blob();
    for subject in ["john@example.com", "JANE@example.com", "jane@example.com "] {
        scenario.policy =
            Policy::signed_by_identity(IdentityRule::exact(subject, ISSUER).expect("a rule"))
                .blob();
        scenario.refused("IDENTITY_MISMATCH");
    }
}

#[test]
fn the_right_name_from_the_wrong_provider_is_refused() {
    let mut scenario = Scenario::blob();
    for issuer in [
        "https://accounts.example.org",
        "https://accounts.example.com/",
    ] {
        scenario.policy =
            Policy::signed_by_identity(IdentityRule::exact(EMAIL, issuer).expect("a rule")).blob();
        scenario.refused("ISSUER_MISMATCH");
    }
}

#[test]
fn patterns_match_the_whole_identity() {
    let matcher = |pattern: &str| Matcher::pattern(pattern).expect("a pattern");
    let mut scenario = Scenario::blob();
    let rule = IdentityRule::new(
        matcher(r".*@example\.com"),
        matcher("https://accounts[.]example[.](com|org)"),
    );
    scenario.policy = Policy::signed_by_identity(rule).blob();
    scenario.verified();
    let rule = IdentityRule::new(matcher("example"), matcher(".*"));
    scenario.policy = Policy::signed_by_identity(rule).blob();
    scenario.refused("IDENTITY_MISMATCH");
}

#[test]
fn any_of_several_identities_will_do_and_the_verdict_says_which() {
    let mut scenario = Scenario::blob();
    let rule = |subject: &str| IdentityRule::exact(subject, ISSUER).expect("a rule");
    let rules = vec![rule("john@example.com"), rule(EMAIL)];
    scenario.policy = Policy::signed_by_any_identity(rules).expect("rules").blob();
    let verified = scenario.verified();
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
    let uri = "https://ci.example.com/org/repo//build.yml@refs/heads/main";
    let issuer = "https://token.ci.example.com";
    let identity = workload(uri, issuer, &[("runnerEnvironment", "self-hosted")]);
    let mut scenario = Scenario::blob_signed(
        &Signing {
            identity,
            ..Signing::default()
        },
        |_| {},
    );
    let rule = |environment: &str| {
        let rule = IdentityRule::exact(uri, issuer).expect("a rule");
        rule.with_extension(
            "runner-environment",
            Matcher::exact(environment).expect("a text"),
        )
        .expect("an attribute")
    };
    scenario.policy = Policy::signed_by_identity(rule("self-hosted")).blob();
    let verified = scenario.verified();
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
    scenario.policy = Policy::signed_by_identity(rule("github-hosted")).blob();
    scenario.refused("EXTENSION_MISMATCH");
    let rule = IdentityRule::exact(uri, issuer).expect("a rule");
    assert!(
        rule.with_extension("colour", Matcher::exact("red").expect("a text"))
            .is_err()
    );
}

// V7 and V8: the signature was logged.

#[test]
fn an_entry_of_an_unknown_log_does_not_count() {
    let mut scenario = Scenario::blob_signed(&Signing::default(), |world| {
        world.log = SignatureLog::new("https://log2026.example.com");
    });
    scenario.refused("LOG_UNKNOWN");
    scenario.policy = jane().blob().log_threshold(0);
    let verified = scenario.verified();
    assert!(verified.logs().is_empty());
    assert_eq!(verified.warnings()[0].code, "LOG_UNKNOWN");
}

#[test]
fn a_bundle_without_entries_is_refused_unless_logs_are_waived() {
    let mut scenario = Scenario::blob();
    scenario.material().tlog_entries.clear();
    scenario.refused("THRESHOLD_NOT_MET");
    scenario.policy = jane().blob().log_threshold(0);
    scenario.verified();
}

#[test]
fn one_log_does_not_make_two_and_two_logs_of_one_operator_neither() {
    let mut scenario = Scenario::blob();
    scenario.policy = jane().blob().log_threshold(2);
    scenario.refused("THRESHOLD_NOT_MET");
    for (operator, enough) in [("example.com", false), ("example.org", true)] {
        let mut scenario = Scenario::blob();
        let mut second = SignatureLog::new("https://log.example.org");
        second
            .leaves
            .push(scenario.entry().canonicalized_body.clone());
        let mut trusted = second.trusted();
        trusted.operator = operator.into();
        scenario.root.tlogs.push(trusted);
        scenario.material().tlog_entries.push(second.entry(0));
        scenario.policy = jane().blob().log_threshold(2);
        assert_eq!(scenario.verify().is_ok(), enough, "{operator}");
    }
}

#[test]
fn a_tampered_checkpoint_is_refused() {
    let edits: [(Edit, &str); 6] = [
        (
            ("another size", |note| note.replacen("\n6\n", "\n7\n", 1)),
            "CHECKPOINT_SIGNATURE_INVALID",
        ),
        (
            ("another origin", |note| {
                note.replacen("log2026", "log2027", 1)
            }),
            "CHECKPOINT_ORIGIN_MISMATCH",
        ),
        (
            ("an extension line", |note| {
                note.replacen("\n\n", "\nextension\n\n", 1)
            }),
            "CHECKPOINT_SIGNATURE_INVALID",
        ),
        (
            ("no signature", |note| {
                note.split_inclusive("\n\n").take(1).collect()
            }),
            "CHECKPOINT_MALFORMED",
        ),
        (
            ("no root", |note| {
                note.split_inclusive("\n6\n")
                    .take(1)
                    .chain(["\n"])
                    .collect()
            }),
            "CHECKPOINT_MALFORMED",
        ),
        (
            ("another signer", |note| {
                note.replace("\u{2014} log2026", "\u{2014} log2027")
            }),
            "CHECKPOINT_SIGNATURE_INVALID",
        ),
    ];
    for ((name, edit), code) in edits {
        let mut scenario = Scenario::blob();
        let edited = edit(scenario.checkpoint());
        assert_ne!(edited, *scenario.checkpoint(), "{name}");
        *scenario.checkpoint() = edited;
        scenario.refused(code);
    }
}

#[test]
fn a_checkpoint_of_another_log_is_refused_although_that_log_is_trusted() {
    let mut scenario = Scenario::blob();
    let mut other = SignatureLog::new("https://other.example.com");
    other
        .leaves
        .push(scenario.entry().canonicalized_body.clone());
    scenario.root.tlogs.push(other.trusted());
    let foreign = other.entry(0);
    let own_id = scenario.entry().log_id.clone();
    *scenario.entry() = rekor::TransparencyLogEntry {
        log_id: own_id,
        ..foreign
    };
    scenario.refused("CHECKPOINT_ORIGIN_MISMATCH");
}

#[test]
fn a_checkpoint_under_the_right_name_by_the_wrong_key_is_refused() {
    let mut scenario = Scenario::blob();
    let mut impostor = SignatureLog::new("https://log2026.example.com");
    impostor
        .leaves
        .push(scenario.entry().canonicalized_body.clone());
    let own_id = scenario.entry().log_id.clone();
    *scenario.entry() = rekor::TransparencyLogEntry {
        log_id: own_id,
        ..impostor.entry(0)
    };
    scenario.refused("CHECKPOINT_SIGNATURE_INVALID");
}

#[test]
fn a_broken_proof_is_refused() {
    let faults: [Fault; 5] = [
        ("a changed hash", |s| s.proof().hashes[0][0] ^= 1),
        ("a missing hash", |s| drop(s.proof().hashes.pop())),
        ("an extra hash", |s| s.proof().hashes.push(vec![0; 32])),
        ("a short hash", |s| s.proof().hashes[0].truncate(31)),
        ("another index", |s| {
            s.proof().log_index = 2;
            s.entry().log_index = 2;
        }),
    ];
    for (name, spoil) in faults {
        let mut scenario = Scenario::blob();
        spoil(&mut scenario);
        let error = scenario.refused("INCLUSION_PROOF_INVALID");
        assert_eq!(error.step(), Step::Log, "{name}");
    }
}

#[test]
fn an_index_beyond_the_tree_is_refused() {
    let mut scenario = Scenario::blob();
    scenario.proof().log_index = 6;
    scenario.entry().log_index = 6;
    scenario.refused("INCLUSION_PROOF_INVALID");
}

#[test]
fn what_stands_beside_the_checkpoint_must_repeat_it() {
    let faults: [fn(&mut Scenario); 3] = [
        |s| s.proof().tree_size = 7,
        |s| s.proof().root_hash[0] ^= 1,
        |s| s.entry().log_index = 4,
    ];
    for spoil in faults {
        let mut scenario = Scenario::blob();
        spoil(&mut scenario);
        scenario.refused("LOG_ENTRY_MISMATCH");
    }
}

#[test]
fn an_entry_about_something_else_is_refused() {
    let other = Scenario::blob().entry().clone();
    let mut scenario = Scenario::blob();
    scenario.entry().canonicalized_body = other.canonicalized_body;
    scenario.refused("LOG_ENTRY_MISMATCH");

    let digest = base64::encode(HashAlgorithm::Sha256.digest(ARTIFACT).as_bytes());
    let foreign = base64::encode(HashAlgorithm::Sha256.digest(b"other").as_bytes());
    let edits = [
        ("the digest", digest.as_str(), foreign.as_str()),
        ("the signature", r#""content":"M"#, r#""content":"N"#),
        ("the key details", "P256_SHA_256", "P384_SHA_384"),
        ("the verifier", "x509Certificate", "publicKey"),
        ("its form", r#"{"apiVersion"#, r#"{ "apiVersion"#),
    ];
    for (name, from, to) in edits {
        let mut scenario = Scenario::blob();
        scenario.edit_body(|body| body.replace(from, to));
        let error = scenario.refused("LOG_ENTRY_MISMATCH");
        assert_eq!(error.step(), Step::Log, "{name}");
    }
}

#[test]
fn an_absent_body_is_rebuilt_and_still_has_to_be_in_the_tree() {
    let mut scenario = Scenario::blob();
    scenario.entry().canonicalized_body.clear();
    scenario.verified();
    scenario.world.log.leaves[3] = b"something else".to_vec();
    *scenario.entry() = scenario.world.log.entry(3);
    scenario.entry().canonicalized_body.clear();
    scenario.refused("INCLUSION_PROOF_INVALID");
}

#[test]
fn an_entry_of_an_unknown_kind_is_refused() {
    for (kind, version) in [
        ("hashedrekord", "0.0.3"),
        ("rpm", "0.0.1"),
        ("", ""),
        ("dsse", "0.0.9"),
    ] {
        let mut scenario = Scenario::blob();
        scenario.entry().kind_version = Some(rekor::KindVersion {
            kind: kind.into(),
            version: version.into(),
        });
        scenario.refused("LOG_ENTRY_TYPE_UNSUPPORTED");
    }
    let mut scenario = Scenario::blob();
    scenario.entry().kind_version = Some(rekor::KindVersion {
        kind: "dsse".into(),
        version: "0.0.2".into(),
    });
    scenario.refused("LOG_ENTRY_MISMATCH");
}

// V9: the signature.

#[test]
fn a_changed_artifact_is_refused() {
    let mut scenario = Scenario::blob();
    scenario.artifact.push(b'!');
    scenario.refused("SIGNATURE_INVALID");
    scenario.artifact.clear();
    scenario.refused("SIGNATURE_INVALID");
}

#[test]
fn a_signature_by_another_key_than_the_certificate_s_is_refused() {
    let signing = Signing {
        forged: true,
        ..Signing::default()
    };
    Scenario::blob_signed(&signing, |_| {}).refused("SIGNATURE_INVALID");
}

#[test]
fn a_changed_signature_is_refused() {
    let mut scenario = Scenario::blob();
    *scenario
        .message()
        .signature
        .last_mut()
        .expect("a signature") ^= 1;
    // Everything is bound to the signature, so the first thing that is lost is the timestamp.
    scenario.refused("TIMESTAMP_INVALID");
}

#[test]
fn a_stated_digest_must_be_true_even_if_nothing_else_depends_on_it() {
    let mut scenario = Scenario::blob();
    let lie = HashAlgorithm::Sha256.digest(b"other").as_bytes().to_vec();
    scenario
        .message()
        .message_digest
        .as_mut()
        .expect("a digest")
        .digest = lie;
    scenario.refused("LOG_ENTRY_MISMATCH");
    scenario.material().tlog_entries.clear();
    scenario.policy = jane().blob().log_threshold(0);
    scenario.refused("DIGEST_MISMATCH");
    scenario.message().message_digest = None;
    scenario.verified();
}

// V10 and V11: statements.

#[test]
fn an_attestation_shows_its_statement() {
    let mut scenario = Scenario::attestation("https://slsa.dev/provenance/v1");
    let types = PredicateTypes::OneOf(vec!["https://slsa.dev/provenance/v1".into()]);
    scenario.policy = jane().attestation(types);
    let verified = scenario.verified();
    let statement = verified.statement().expect("a statement");
    assert_eq!(statement.predicate_type, "https://slsa.dev/provenance/v1");
    let json: serde_json::Value = serde_json::from_str(&verified.to_json()).expect("JSON");
    assert_eq!(json["statement"]["predicate"]["claim"], true);
    assert_eq!(json["predicateType"], "https://slsa.dev/provenance/v1");
}

#[test]
fn an_attestation_about_another_artifact_is_refused() {
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    scenario.artifact = b"another artifact".to_vec();
    scenario.refused("SUBJECT_MISSING");
    // The statement has SHA-256 digests, so another digest of the right artifact says nothing.
    let json = serde_json::to_string(&scenario.bundle).expect("JSON");
    let given = Artifact::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    assert_eq!(
        scenario
            .verify_json(&json, &given)
            .expect_err("no SHA-256")
            .code(),
        "DIGEST_UNAVAILABLE"
    );
}

#[test]
fn an_unbound_statement_is_returned_with_a_warning() {
    let scenario = Scenario::attestation(COSIGN_CUSTOM);
    let json = serde_json::to_string(&scenario.bundle).expect("JSON");
    let verified = scenario
        .verify_json(&json, &Artifact::unbound_statement())
        .expect("a statement");
    assert_eq!(verified.warnings()[0].code, "ARTIFACT_UNBOUND");
    assert!(verified.artifact_digests().is_empty());
}

#[test]
fn other_types_than_those_asked_for_are_refused() {
    let mut scenario = Scenario::attestation("https://example.com/scan-failed/v1");
    scenario.policy = jane().attestation(PredicateTypes::cosign_default());
    scenario.refused("PREDICATE_TYPE_MISMATCH");
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    scenario.policy = jane().attestation(PredicateTypes::cosign_default());
    scenario.verified();
}

#[test]
fn an_attestation_is_no_signature_and_a_signature_no_attestation() {
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    scenario.policy = jane().blob();
    scenario.refused("CONTENT_KIND_MISMATCH");
    let mut scenario = Scenario::attestation(COSIGN_SIGN);
    scenario.policy = jane().blob();
    scenario.verified();
    let mut scenario = Scenario::blob();
    scenario.policy = jane().attestation(PredicateTypes::Any);
    scenario.refused("CONTENT_KIND_MISMATCH");
    scenario.policy = jane().blob_or_attestation(PredicateTypes::Any);
    scenario.verified();
}

#[test]
fn a_payload_that_is_no_statement_is_refused() {
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    scenario.envelope().payload_type = "text/plain".into();
    scenario.refused("PAYLOAD_TYPE_UNSUPPORTED");
    for payload in [
        "",
        "{}",
        "[]",
        r#"{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"t"}"#,
    ] {
        Scenario::statement(payload).refused("STATEMENT_MALFORMED");
    }
}

#[test]
fn a_changed_payload_is_refused() {
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    let payload = String::from_utf8(scenario.envelope().payload.clone()).expect("text");
    scenario.envelope().payload = payload.replace("true", "null").into_bytes();
    scenario.refused("LOG_ENTRY_MISMATCH");
    scenario.material().tlog_entries.clear();
    scenario.policy = jane().attestation(PredicateTypes::Any).log_threshold(0);
    scenario.refused("SIGNATURE_INVALID");
}

// Keys instead of identities.

#[test]
fn a_known_key_is_enough() {
    for key_type in [
        KeyType::EcP256,
        KeyType::EcP384,
        KeyType::Ed25519,
        KeyType::Rsa { bits: 2048 },
    ] {
        let own = key(key_type);
        let verified = Scenario::with_key(&own, by_key(&own).blob()).verified();
        let Signer::Key { fingerprint, .. } = verified.signer() else {
            panic!("a key signed")
        };
        let expected: String = own
            .public_key()
            .fingerprint()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert_eq!(*fingerprint, expected);
    }
}

#[test]
fn another_key_is_refused() {
    let own = key(KeyType::EcP256);
    let mut scenario = Scenario::with_key(&own, by_key(&key(KeyType::EcP256)).blob());
    scenario.refused("KEY_MISMATCH");
    scenario.material().tlog_entries.clear();
    scenario.policy = scenario.policy.log_threshold(0);
    scenario.refused("SIGNATURE_INVALID");
}

#[test]
fn the_right_one_of_several_keys_is_found_by_hint_or_by_trial() {
    let own = key(KeyType::EcP256);
    let keys = |with_own: bool| {
        let others = [key(KeyType::EcP256), key(KeyType::Ed25519)];
        let own = with_own.then_some(&own);
        let keys = others
            .iter()
            .chain(own)
            .map(|key| TrustedKey::new(key.public_key().clone()))
            .collect();
        Policy::signed_by_any_key(keys).expect("keys").blob()
    };
    let mut scenario = Scenario::with_key(&own, keys(true));
    scenario.verified();
    scenario.material().content = Some(Material::PublicKey(common::PublicKeyIdentifier {
        hint: "opaque".into(),
    }));
    scenario.verified();
    scenario.policy = keys(false);
    scenario.refused("KEY_MISMATCH");
}

#[test]
fn a_key_counts_in_its_window_only() {
    let own = key(KeyType::EcP256);
    for (end, code) in [(NOW + 2, None), (NOW + 1, Some("KEY_NOT_VALID_AT_TIME"))] {
        let trusted =
            TrustedKey::new(own.public_key().clone()).valid_for(Validity::new(None, Some(end)));
        let scenario = Scenario::with_key(&own, Policy::signed_by_key(trusted).blob());
        assert_eq!(scenario.verify().err().map(|error| error.code()), code);
    }
}

#[test]
fn keys_and_identities_are_not_taken_for_each_other() {
    let own = key(KeyType::EcP256);
    Scenario::with_key(&own, jane().blob()).refused("SIGNER_KIND_MISMATCH");
    let mut scenario = Scenario::blob();
    scenario.policy = by_key(&own).blob();
    scenario.refused("SIGNER_KIND_MISMATCH");
}

#[test]
fn a_key_alone_needs_no_trusted_root_when_nothing_else_is_asked_for() {
    let own = key(KeyType::Ed25519);
    let mut world = World::new();
    let signing = Signing {
        algorithm: Some(Algorithm::Ed25519),
        stamped_at: Vec::new(),
        ..Signing::default()
    };
    let mut bundle = world.sign_blob_with_key(ARTIFACT, &own, &signing);
    bundle
        .verification_material
        .as_mut()
        .expect("material")
        .tlog_entries
        .clear();
    let bundle = Bundle::from_proto(bundle).expect("a bundle");
    let policy = by_key(&own).blob().log_threshold(0);
    let root = TrustedRoot::empty();
    let verified = verify(
        &bundle,
        &Artifact::from_bytes(ARTIFACT),
        &root,
        &policy,
        NOW,
    )
    .expect("a signature");
    assert_eq!(verified.algorithm(), "ed25519");
    // Pure Ed25519 is over the message: digests do not help.
    let digest = Artifact::from_digest(HashAlgorithm::Sha512.digest(ARTIFACT));
    let error = verify(&bundle, &digest, &root, &policy, NOW).expect_err("no message");
    assert_eq!(error.code(), "DIGEST_UNAVAILABLE");
}

#[test]
fn a_key_id_that_contradicts_the_hint_is_refused() {
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    scenario.material().content = Some(Material::PublicKey(common::PublicKeyIdentifier {
        hint: "a".into(),
    }));
    scenario.envelope().signatures[0].keyid = "b".into();
    scenario.refused("BUNDLE_STRUCTURE");
}

// Rekor v1: promises, and bodies that are compared part by part.

/// A v0.1-style entry by a log with an ECDSA key: promise, time, and (from v0.2 on) proof.
struct Old {
    scenario: Scenario,
    kind: (&'static str, &'static str),
    body: String,
    integrated_time: i64,
}

impl Old {
    fn blob() -> Self {
        let mut world = World::new();
        world.log.key = sealwright_crypto::MemorySigner::new(key(KeyType::EcP256));
        let root = world.trusted_root();
        let bundle = world.sign_blob(ARTIFACT, &Signing::default());
        let mut scenario = Scenario {
            world,
            root,
            bundle,
            artifact: ARTIFACT.to_vec(),
            policy: jane().blob(),
        };
        scenario.timestamps().clear();
        let leaf = pem(&leaf_of(&mut scenario).raw_bytes);
        let digest = HashAlgorithm::Sha256.digest(ARTIFACT).to_string();
        let body = format!(
            r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{}"}}}},"signature":{{"content":"{}","publicKey":{{"content":"{}"}}}}}}}}"#,
            digest.trim_start_matches("sha256:"),
            base64::encode(&scenario.message().signature),
            base64::encode(leaf.as_bytes()),
        );
        Self {
            scenario,
            kind: ("hashedrekord", "0.0.1"),
            body,
            integrated_time: NOW + 3,
        }
    }

    /// An attestation under either of the kinds that old logs had for envelopes.
    fn attestation(kind: (&'static str, &'static str)) -> Self {
        let mut old = Self::blob();
        let scenario = &mut old.scenario;
        scenario.bundle = scenario
            .world
            .sign_statement(&statement(ARTIFACT, COSIGN_CUSTOM), &Signing::default());
        scenario.timestamps().clear();
        scenario.policy = jane().attestation(PredicateTypes::Any);
        let verifier = base64::encode(pem(&leaf_of(scenario).raw_bytes).as_bytes());
        let payload = HashAlgorithm::Sha256
            .digest(&scenario.envelope().payload)
            .to_string();
        let payload = payload.trim_start_matches("sha256:");
        let signature = base64::encode(&scenario.envelope().signatures[0].sig);
        let spec = match kind.0 {
            "dsse" => format!(
                r#"{{"envelopeHash":{{"algorithm":"sha256","value":"00"}},"payloadHash":{{"algorithm":"sha256","value":"{payload}"}},"signatures":[{{"signature":"{signature}","verifier":"{verifier}"}}]}}"#
            ),
            _ => format!(
                r#"{{"content":{{"envelope":{{"payloadType":"application/vnd.in-toto+json","signatures":[{{"publicKey":"{verifier}","sig":"{}"}}]}},"payloadHash":{{"algorithm":"sha256","value":"{payload}"}}}}}}"#,
                base64::encode(signature.as_bytes())
            ),
        };
        old.kind = kind;
        old.body = format!(
            r#"{{"apiVersion":"{}","kind":"{}","spec":{spec}}}"#,
            kind.1, kind.0
        );
        old
    }

    /// Logs the body as it is now: leaf, proof, checkpoint and promise are all good.
    fn logged(mut self) -> Scenario {
        let scenario = &mut self.scenario;
        let log = &mut scenario.world.log;
        log.leaves.push(self.body.clone().into_bytes());
        log.origin = "log2026.example.com".into();
        let mut entry = log.entry(log.leaves.len() - 1);
        entry.log_index = 1_000_003;
        entry.integrated_time = self.integrated_time;
        entry.kind_version = Some(rekor::KindVersion {
            kind: self.kind.0.into(),
            version: self.kind.1.into(),
        });
        let log_id: String = entry
            .log_id
            .as_ref()
            .expect("an id")
            .key_id
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let promise = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{log_id}","logIndex":1000003}}"#,
            base64::encode(self.body.as_bytes()),
            self.integrated_time,
        );
        let signed = log
            .key
            .sign_now(promise.as_bytes())
            .expect("in memory")
            .expect("a signature");
        entry.inclusion_promise = Some(rekor::InclusionPromise {
            signed_entry_timestamp: signed,
        });
        *scenario.entry() = entry;
        self.scenario
    }
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
        {
            let text = base64::encode(der);
            let lines: Vec<&str> = (0..text.len())
                .step_by(64)
                .map(|at| &text[at..text.len().min(at + 64)])
                .collect();
            lines.join("\n")
        }
    )
}

#[test]
fn an_old_log_vouches_for_time_and_entry() {
    let scenario = Old::blob().logged();
    let verified = scenario.verified();
    assert_eq!(
        (verified.times()[0].time, verified.times()[0].source),
        (UnixTime(NOW + 3), TimeSource::LogPromise)
    );
    assert_eq!(
        (verified.logs()[0].log_index, verified.logs()[0].tree_size),
        (1_000_003, 7)
    );
}

#[test]
fn an_old_bundle_rests_on_the_promise_alone() {
    let mut scenario = Old::blob().logged();
    scenario.bundle.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
    scenario.entry().inclusion_proof = None;
    assert_eq!(scenario.verified().logs()[0].tree_size, 0);
    scenario.entry().inclusion_promise = None;
    scenario.refused("BUNDLE_STRUCTURE");
}

#[test]
fn a_promise_that_does_not_hold_is_refused() {
    let mut scenario = Old::blob().logged();
    *scenario
        .entry()
        .inclusion_promise
        .as_mut()
        .expect("a promise")
        .signed_entry_timestamp
        .last_mut()
        .expect("bytes") ^= 1;
    scenario.refused("INCLUSION_PROMISE_INVALID");
    let mut scenario = Old::blob().logged();
    scenario.entry().integrated_time += 1;
    scenario.refused("INCLUSION_PROMISE_INVALID");
    let mut scenario = Old::blob().logged();
    scenario.entry().inclusion_promise = None;
    scenario.refused("NO_TIME_SOURCE");
}

#[test]
fn a_promised_time_outside_the_certificate_or_in_the_future_is_refused() {
    let late = Old {
        integrated_time: NOW + 601,
        ..Old::blob()
    };
    late.logged().refused("CERTIFICATE_NOT_VALID_AT_TIME");
    let future = Old {
        integrated_time: NOW + 2 * DAY,
        ..Old::blob()
    };
    future.logged().refused("TIME_IN_FUTURE");
}

#[test]
fn an_old_body_about_something_else_is_refused() {
    let edits: [Edit; 6] = [
        ("kind", |body| body.replace("hashedrekord", "rekord")),
        ("version", |body| body.replace("0.0.1", "0.0.7")),
        ("digest", |body| {
            body.replace(r#""value":""#, r#""value":"00"#)
        }),
        ("signature", |body| {
            body.replace(r#""content":"M"#, r#""content":"N"#)
        }),
        ("certificate", |body| {
            body.replace(r#"{"content":"LS0t"#, r#"{"content":"LS0u"#)
        }),
        ("form", |_| "[]".into()),
    ];
    for (name, edit) in edits {
        let mut old = Old::blob();
        let edited = edit(&old.body);
        assert_ne!(edited, old.body, "{name}");
        old.body = edited;
        old.logged().refused("LOG_ENTRY_MISMATCH");
    }
}

#[test]
fn old_kinds_of_envelope_entries_verify_and_are_held_to_the_bundle() {
    for kind in [("dsse", "0.0.1"), ("intoto", "0.0.2")] {
        Old::attestation(kind).logged().verified();
        let edits: [Edit; 3] = [
            ("payload", |body| {
                body.replace(
                    r#""payloadHash":{"algorithm":"sha256","value":""#,
                    r#""payloadHash":{"algorithm":"sha256","value":"00"#,
                )
            }),
            ("signature", |body| {
                body.replace(r#""signature":"M"#, r#""signature":"N"#)
                    .replace(r#""sig":"T"#, r#""sig":"U"#)
            }),
            ("certificate", |body| body.replace("\"LS0t", "\"LS0u")),
        ];
        for (name, edit) in edits {
            let mut old = Old::attestation(kind);
            let edited = edit(&old.body);
            assert_ne!(edited, old.body, "{name}");
            old.body = edited;
            old.logged().refused("LOG_ENTRY_MISMATCH");
        }
        // The signature of another envelope, which is good by itself.
        let mut old = Old::attestation(kind);
        old.body = Old::attestation(kind).body;
        old.logged().refused("LOG_ENTRY_MISMATCH");
        // An envelope's entry does not vouch for a message signature.
        let mut old = Old::blob();
        let envelope = Old::attestation(kind);
        (old.kind, old.body) = (kind, envelope.body);
        old.logged().refused("LOG_ENTRY_MISMATCH");
    }
}

#[test]
fn an_envelope_entry_of_the_first_tiled_logs_still_verifies() {
    use sealwright_tlog::entry::{Dsse, EntrySignature, VerifierMaterial};
    let entry = |scenario: &mut Scenario, payload: &[u8]| {
        let signature = EntrySignature {
            content: scenario.envelope().signatures[0].sig.clone(),
            verifier: VerifierMaterial::X509Certificate(leaf_of(scenario).raw_bytes),
            key_details: Algorithm::EcdsaP256Sha256,
        };
        let payload_hash = HashAlgorithm::Sha256.digest(payload);
        let entry = Dsse {
            payload_hash,
            signatures: vec![signature],
        };
        let log = &mut scenario.world.log;
        log.leaves.push(entry.canonical_body().expect("a body"));
        let mut logged = log.entry(log.leaves.len() - 1);
        logged.kind_version = Some(rekor::KindVersion {
            kind: "dsse".into(),
            version: "0.0.2".into(),
        });
        *scenario.entry() = logged;
    };
    let mut scenario = Scenario::attestation(COSIGN_CUSTOM);
    let payload = scenario.envelope().payload.clone();
    entry(&mut scenario, &payload);
    scenario.verified();
    entry(&mut scenario, b"another payload");
    scenario.refused("LOG_ENTRY_MISMATCH");
    let mut foreign = Scenario::attestation(COSIGN_CUSTOM);
    entry(&mut foreign, &payload);
    scenario.entry().canonicalized_body = foreign.entry().canonicalized_body.clone();
    scenario.refused("LOG_ENTRY_MISMATCH");
}

// Nothing that is changed verifies as something else.

/// What a verdict means, without the words of the trusted root.
#[derive(Debug, PartialEq)]
struct Meaning {
    signer: String,
    digests: Vec<String>,
    times: Vec<UnixTime>,
    entries: Vec<(u64, u64)>,
    statement: Option<String>,
}

fn meaning(verified: &Verified) -> Meaning {
    let signer = match verified.signer() {
        Signer::Identity {
            subject,
            issuer,
            serial,
            ..
        } => format!("{subject} {issuer} {serial}"),
        other => format!("{other:?}"),
    };
    Meaning {
        signer,
        digests: verified.artifact_digests().to_vec(),
        times: verified.times().iter().map(|time| time.time).collect(),
        entries: verified
            .logs()
            .iter()
            .map(|entry| (entry.log_index, entry.tree_size))
            .collect(),
        statement: verified.statement_json().map(str::to_owned),
    }
}

fn blob_and_attestation() -> &'static [(Scenario, String, String)] {
    static BOTH: std::sync::OnceLock<Vec<(Scenario, String, String)>> = std::sync::OnceLock::new();
    BOTH.get_or_init(|| {
        let with_documents = |scenario: Scenario| {
            let bundle = serde_json::to_string(&scenario.bundle).expect("JSON");
            let root = serde_json::to_string(&scenario.root).expect("JSON");
            (scenario, bundle, root)
        };
        [
            Scenario::blob(),
            Scenario::attestation(COSIGN_CUSTOM),
            Old::blob().logged(),
        ]
        .map(with_documents)
        .into()
    })
}

/// A change of some bytes of a document: overwritten, inserted, removed, or a piece moved.
fn changed(document: &str, at: usize, kind: u8, byte: u8) -> Vec<u8> {
    let mut bytes = document.as_bytes().to_vec();
    let at = at % bytes.len();
    match kind % 4 {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        _ => {
            let end = (at + usize::from(byte)).min(bytes.len());
            let piece: Vec<u8> = bytes.drain(at..end).collect();
            let to = at / 2;
            bytes.splice(to..to, piece);
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn a_changed_bundle_means_the_same_or_nothing(which in 0_usize..3, at in any::<usize>(), kind: u8, byte in prop_oneof![any::<u8>(), proptest::sample::select(&b"\"{}[],:A0/+=n"[..])]) {
        let (scenario, bundle, _) = &blob_and_attestation()[which];
        let changed = changed(bundle, at, kind, byte);
        let artifact = Artifact::from_bytes(&scenario.artifact);
        let Ok(parsed) = Bundle::parse(&changed) else { return Ok(()) };
        if let Ok(verified) = verify(&parsed, &artifact, &scenario.trusted_root(), &scenario.policy, NOW + DAY) {
            prop_assert_eq!(meaning(&verified), meaning(&scenario.verified()));
        }
    }

    #[test]
    fn a_changed_trusted_root_means_the_same_or_nothing(which in 0_usize..3, at in any::<usize>(), kind: u8, byte: u8) {
        let (scenario, bundle, root) = &blob_and_attestation()[which];
        let Ok(root) = TrustedRoot::parse(&changed(root, at, kind, byte)) else { return Ok(()) };
        let parsed = Bundle::parse(bundle.as_bytes()).expect("a good bundle");
        let artifact = Artifact::from_bytes(&scenario.artifact);
        if let Ok(verified) = verify(&parsed, &artifact, &root, &scenario.policy, NOW + DAY) {
            prop_assert_eq!(meaning(&verified), meaning(&scenario.verified()));
        }
    }

    #[test]
    fn rubbish_is_refused_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(Bundle::parse(&bytes).is_err());
        prop_assert!(TrustedRoot::parse(&bytes).is_err());
    }

    #[test]
    fn a_changed_certificate_or_token_is_refused(which in 0_usize..2, at in any::<usize>(), bit in 0_u8..8) {
        let (scenario, _, _) = &blob_and_attestation()[0];
        let mut bundle = scenario.bundle.clone();
        let material = bundle.verification_material.as_mut().expect("material");
        let bytes = match (which, &mut material.content) {
            (0, Some(Material::Certificate(leaf))) => &mut leaf.raw_bytes,
            _ => &mut material.timestamp_verification_data.as_mut().expect("tokens").rfc3161_timestamps[0].signed_timestamp,
        };
        let at = at % bytes.len();
        bytes[at] ^= 1 << bit;
        let artifact = Artifact::from_bytes(&scenario.artifact);
        let Ok(parsed) = Bundle::from_proto(bundle) else { return Ok(()) };
        if let Ok(verified) = verify(&parsed, &artifact, &scenario.trusted_root(), &scenario.policy, NOW + DAY) {
            // Only parts of a token that nothing signs may change: helper certificates, repeated algorithm names.
            prop_assert!(which == 1, "a changed certificate verified");
            prop_assert_eq!(meaning(&verified), meaning(&scenario.verified()));
        }
    }
}

#[test]
fn the_signer_material_of_a_parsed_bundle_is_at_hand() {
    let scenario = Scenario::blob();
    let bundle = Bundle::from_proto(scenario.bundle).expect("a bundle");
    assert!(matches!(bundle.signer(), SignerMaterial::Certificate(_)));
    let own_identity = email(EMAIL, ISSUER);
    let leaf = bundle.certificate().expect("a certificate");
    let found = sealwright_pki::Identity::from_certificate(leaf).expect("an identity");
    assert_eq!(found, own_identity);
}

/// Not a test of right or wrong: prints what a verification costs. `cargo test --release -- --ignored --nocapture cost`.
#[test]
#[ignore = "prints figures; run it in a release build"]
fn cost_of_a_verification() {
    let rounds = 2000_u32;
    let measure = |what: &str, step: &mut dyn FnMut()| {
        let started = std::time::Instant::now();
        (0..rounds).for_each(|_| step());
        println!(
            "{what}: {:.1} us",
            started.elapsed().as_secs_f64() * 1e6 / f64::from(rounds)
        );
    };
    for (name, scenario) in [
        ("blob", Scenario::blob()),
        ("attestation", Scenario::attestation(COSIGN_CUSTOM)),
    ] {
        let json = serde_json::to_string(&scenario.bundle).expect("JSON");
        let root_json = serde_json::to_string(&scenario.root).expect("JSON");
        let root = scenario.trusted_root();
        let bundle = Bundle::parse(json.as_bytes()).expect("a bundle");
        let artifact = Artifact::from_bytes(ARTIFACT);
        measure(&format!("{name}: parse the trusted root"), &mut || {
            drop(TrustedRoot::parse(root_json.as_bytes()).expect("a root"));
        });
        measure(&format!("{name}: parse the bundle"), &mut || {
            drop(Bundle::parse(json.as_bytes()).expect("a bundle"))
        });
        measure(&format!("{name}: verify"), &mut || {
            drop(verify(&bundle, &artifact, &root, &scenario.policy, NOW).expect("verified"));
        });
    }
}
