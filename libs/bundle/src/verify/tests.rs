//! What policies can say beyond the ordinary, and what verdicts tell of it. The categories of attack have their own table,
//! in this crate's `tests`.

use sealwright_crypto::{Algorithm, KeyType, PrivateKey, Signer as _};
use sealwright_proto::bundle::v1 as proto;
use sealwright_testkit::bundle_factory::{
    CtLog, EMAIL, ISSUER, NOW, SctKind, SignatureLog, Signing, TimestampAuthority, World,
    statement, workload,
};
use sealwright_testkit::rekor_v1;
use sealwright_tlog::{Note, NoteKey, SignatureKind, WitnessPolicy, cosignature};

use super::*;
use crate::policy::{Matcher, PredicateTypes, SubjectType};
use crate::verdict::{UnixTime, VerifiedWitness};

const ARTIFACT: &[u8] = b"artifact";
const PREDICATE: &str = "https://example.com/p/v1";

/// Dates a bundle back to a version that carries its certificate in a chain.
fn date_back(message: &mut proto::Bundle, version: &str) {
    use proto::verification_material::Content as Material;
    message.media_type = format!("application/vnd.dev.sigstore.bundle+json;version={version}");
    let material = message.verification_material.as_mut().expect("material");
    if let Some(Material::Certificate(leaf)) = material.content.take() {
        let certificates = vec![leaf];
        material.content = Some(Material::X509CertificateChain(
            sealwright_proto::common::v1::X509CertificateChain { certificates },
        ));
    }
}

fn bundle(message: proto::Bundle) -> Bundle {
    Bundle::from_proto(message).expect("a bundle")
}

fn root(world: &World) -> TrustedRoot {
    TrustedRoot::parse(world.trusted_root_json().as_bytes()).expect("a trusted root")
}

fn jane() -> IdentityRule {
    IdentityRule::exact(EMAIL, ISSUER).expect("a rule")
}

fn by_jane() -> Policy {
    Policy::signed_by_identity(jane()).blob()
}

fn ask(bundle: &Bundle, root: &TrustedRoot, policy: &Policy) -> Result<Verified, VerifyError> {
    verify(bundle, &Artifact::from_bytes(ARTIFACT), root, policy, NOW)
}

fn code<T>(outcome: Result<T, VerifyError>) -> &'static str {
    outcome.map_or_else(|error| error.code(), |_| "VERIFIED")
}

fn codes(verified: &Verified) -> Vec<&str> {
    let warnings = verified.warnings().iter();
    warnings.map(|warning| warning.code).collect()
}

/// A world, a signature over the artifact in it, and its trusted root.
fn signed(signing: &Signing) -> (World, Bundle, TrustedRoot) {
    let mut world = World::new();
    let bundle = bundle(world.sign_blob(ARTIFACT, signing));
    let root = root(&world);
    (world, bundle, root)
}

/// A signature by a key: no certificate, and no more beside it than the caller lets in.
fn signed_by_key(
    key: &PrivateKey,
    algorithm: Option<Algorithm>,
    stamped_at: Vec<i64>,
) -> (Bundle, TrustedRoot) {
    let mut world = World::new();
    let signing = Signing {
        algorithm,
        stamped_at,
        ..Signing::default()
    };
    let bundle = bundle(world.sign_blob_with_key(ARTIFACT, key, &signing));
    (bundle, root(&world))
}

fn new_key(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

fn trusted(key: &PrivateKey) -> TrustedKey {
    TrustedKey::new(key.public_key().clone())
}

mod identities {
    use super::*;

    const WORKFLOW: &str = "https://gitlab.corp/team/app//ci.yml@refs/tags/v1";

    fn workflow() -> (Bundle, TrustedRoot) {
        let attributes = [
            ("runnerEnvironment", "self-hosted"),
            ("githubWorkflowSHA", "c0ffee"),
            ("sourceRepositoryVisibilityAtSigning", "private"),
        ];
        let identity = workload(WORKFLOW, ISSUER, &attributes);
        let (_, bundle, root) = signed(&Signing {
            identity,
            ..Signing::default()
        });
        (bundle, root)
    }

    fn rule(subject: Matcher) -> IdentityRule {
        IdentityRule::new(subject, Matcher::exact(ISSUER).expect("a text"))
    }

    fn judged(rule: IdentityRule) -> &'static str {
        let (bundle, root) = workflow();
        code(ask(
            &bundle,
            &root,
            &Policy::signed_by_identity(rule).blob(),
        ))
    }

    #[test]
    fn a_glob_accepts_whom_it_covers() {
        for (glob, expected) in [
            ("https://gitlab.corp/team/**", "VERIFIED"),
            ("https://gitlab.corp/team/*//ci.yml@refs/tags/*", "VERIFIED"),
            ("https://gitlab.corp/*", "IDENTITY_MISMATCH"),
            ("gitlab.corp/**", "IDENTITY_MISMATCH"),
        ] {
            assert_eq!(
                judged(rule(Matcher::glob(glob).expect(glob))),
                expected,
                "{glob}"
            );
        }
    }

    #[test]
    fn one_text_of_another_type_is_another_subject() {
        for (kind, expected) in [
            (SubjectType::Uri, "VERIFIED"),
            (SubjectType::Email, "IDENTITY_MISMATCH"),
            (SubjectType::Username, "IDENTITY_MISMATCH"),
            (SubjectType::Dns, "IDENTITY_MISMATCH"),
        ] {
            let rule = rule(Matcher::exact(WORKFLOW).expect("a text")).of_type(kind);
            assert_eq!(judged(rule), expected, "{kind}");
        }
    }

    #[test]
    fn extensions_are_asked_for_by_name_and_by_number() {
        const ARC: &str = "1.3.6.1.4.1.57264.1";
        for (name, value, expected) in [
            ("runnerEnvironment", "self-hosted", "VERIFIED"),
            ("runner-environment", "hosted", "EXTENSION_MISMATCH"),
            (&format!("{ARC}.11"), "self-hosted", "VERIFIED"),
            ("githubWorkflowSHA", "c0ffee", "VERIFIED"),
            (&format!("{ARC}.3"), "c0ffee", "VERIFIED"),
            (&format!("{ARC}.22"), "private", "VERIFIED"),
            ("issuer", ISSUER, "VERIFIED"),
            ("issuerV2", ISSUER, "VERIFIED"),
            (&format!("{ARC}.8"), "https://other", "EXTENSION_MISMATCH"),
            ("username", "a!b", "EXTENSION_MISMATCH"),
            ("buildTrigger", "push", "EXTENSION_MISMATCH"),
            ("1.2.3.4", "x", "EXTENSION_MISMATCH"),
        ] {
            let rule = rule(Matcher::exact(WORKFLOW).expect("a text"))
                .with_extension(name, Matcher::exact(value).expect("a text"))
                .expect(name);
            assert_eq!(judged(rule), expected, "{name} = {value}");
        }
    }

    #[test]
    fn the_verdict_tells_the_whole_identity_and_what_it_matched() {
        let (bundle, root) = workflow();
        let glob = rule(Matcher::glob("https://gitlab.corp/**").expect("a glob"));
        let policy = Policy::signed_by_any_identity(vec![jane(), glob]).expect("rules");
        let verified = ask(&bundle, &root, &policy.blob()).expect("verified");
        let json: serde_json::Value = serde_json::from_str(&verified.to_json()).expect("JSON");
        let signer = &json["signer"];
        assert_eq!(signer["subject"], WORKFLOW);
        assert_eq!(signer["subjectType"], "uri");
        assert_eq!(signer["matchedRule"], 1);
        assert_eq!(
            signer["matched"],
            format!("https://gitlab.corp/** (glob) (issuer {ISSUER})")
        );
        assert_eq!(signer["extensions"]["runnerEnvironment"], "self-hosted");
        assert_eq!(
            signer["extensions"].as_object().map(|all| all.len()),
            Some(3)
        );
        let leaf = bundle.certificate().expect("a certificate");
        assert_eq!(signer["serial"], leaf.serial_hex());
        assert_eq!(signer["certificateIssuer"], leaf.issuer());
        assert_eq!(signer["fingerprint"], hex::encode(leaf.fingerprint()));
        assert_eq!(json["mediaType"], bundle.version().media_type());
        assert_eq!(
            json["certificateLogs"][0]["logId"].as_str().map(str::len),
            Some(64)
        );
        let entry = &bundle.log_entries()[0];
        assert_eq!(json["logs"][0]["logId"], hex::encode(&entry.log_id));
        assert_eq!(json["logs"][0]["kind"], "hashedrekord/0.0.2");
    }

    #[test]
    fn of_several_refusals_the_closest_is_told() {
        let (bundle, root) = workflow();
        let near = IdentityRule::exact(WORKFLOW, "https://other").expect("a rule");
        for (rules, expected) in [
            (vec![jane(), near.clone()], "ISSUER_MISMATCH"),
            (vec![near, jane()], "ISSUER_MISMATCH"),
            (vec![jane(), jane()], "IDENTITY_MISMATCH"),
        ] {
            let policy = Policy::signed_by_any_identity(rules).expect("rules").blob();
            let error = ask(&bundle, &root, &policy).expect_err("refused");
            assert_eq!(error.code(), expected, "{error}");
        }
    }
}

mod keys {
    use super::*;
    use crate::trusted_root::Validity;

    #[test]
    fn an_rsa_key_may_sign_with_either_padding_and_the_entry_says_which() {
        let key = new_key(KeyType::Rsa { bits: 2048 });
        let (bits, hash) = (2048, HashAlgorithm::Sha256);
        for algorithm in [
            Algorithm::RsaPkcs1 { bits, hash },
            Algorithm::RsaPss { bits, hash },
        ] {
            let (bundle, root) = signed_by_key(&key, Some(algorithm), vec![NOW]);
            let policy = Policy::signed_by_key(trusted(&key)).blob();
            let verified = ask(&bundle, &root, &policy).expect("verified");
            assert_eq!(verified.algorithm(), algorithm.to_string());
        }
    }

    #[test]
    fn an_entry_that_names_another_padding_than_the_signature_has_is_refused() {
        let key = new_key(KeyType::Rsa { bits: 2048 });
        let (bits, hash) = (2048, HashAlgorithm::Sha256);
        let mut world = World::new();
        let signature = key
            .sign(Algorithm::RsaPss { bits, hash }, ARTIFACT)
            .expect("a signature");
        let (digest, named) = (hash.digest(ARTIFACT), Algorithm::RsaPkcs1 { bits, hash });
        let message = world.bundle_of(
            digest,
            signature,
            key.public_key(),
            named,
            &Signing::default(),
        );
        let policy = Policy::signed_by_key(trusted(&key)).blob();
        let outcome = ask(&bundle(message), &root(&world), &policy);
        assert_eq!(code(outcome), "SIGNATURE_INVALID");
    }

    #[test]
    fn an_entry_without_its_body_is_found_whichever_way_the_key_signed() {
        let (bits, hash) = (2048, HashAlgorithm::Sha256);
        for (key_type, algorithm) in [
            (KeyType::Rsa { bits }, Algorithm::RsaPss { bits, hash }),
            (KeyType::EcP384, Algorithm::EcdsaP384Sha384),
            (KeyType::EcP521, Algorithm::EcdsaP521Sha512),
        ] {
            let mut world = World::new();
            let key = new_key(key_type);
            let signing = Signing {
                algorithm: Some(algorithm),
                ..Signing::default()
            };
            let mut message = world.sign_blob_with_key(ARTIFACT, &key, &signing);
            let material = message.verification_material.as_mut().expect("material");
            material.tlog_entries[0].canonicalized_body.clear();
            let policy = Policy::signed_by_key(trusted(&key)).blob();
            let verified = ask(&bundle(message), &root(&world), &policy).expect("verified");
            assert_eq!(verified.algorithm(), algorithm.to_string());
        }
    }

    #[test]
    fn the_verdict_says_which_key_and_repeats_no_hint() {
        let (key, other) = (new_key(KeyType::EcP256), new_key(KeyType::EcP256));
        let (bundle, root) = signed_by_key(&key, None, vec![NOW]);
        let keys = vec![trusted(&other), trusted(&key)];
        let policy = Policy::signed_by_any_key(keys).expect("keys").blob();
        let verified = ask(&bundle, &root, &policy).expect("verified");
        let fingerprint = hex::encode(key.public_key().fingerprint());
        assert_eq!(
            verified.signer(),
            &Signer::Key {
                fingerprint,
                matched_rule: 1
            }
        );
        assert!(
            !verified.to_json().contains("hint"),
            "{}",
            verified.to_json()
        );
    }

    #[test]
    fn a_hint_at_the_wrong_key_hides_the_right_one_from_nobody() {
        let (key, other) = (new_key(KeyType::EcP256), new_key(KeyType::EcP256));
        let mut world = World::new();
        let mut message = world.sign_blob_with_key(ARTIFACT, &key, &Signing::default());
        let material = message.verification_material.as_mut().expect("material");
        if let Some(proto::verification_material::Content::PublicKey(named)) = &mut material.content
        {
            named.hint = base64::encode(&other.public_key().fingerprint());
        }
        let (bundle, root) = (bundle(message), root(&world));
        let both = vec![trusted(&other), trusted(&key)];
        let policy = Policy::signed_by_any_key(both).expect("keys").blob();
        assert_eq!(code(ask(&bundle, &root, &policy)), "VERIFIED");
        let strangers = vec![trusted(&other), trusted(&new_key(KeyType::EcP256))];
        let policy = Policy::signed_by_any_key(strangers).expect("keys").blob();
        assert_eq!(code(ask(&bundle, &root, &policy)), "KEY_MISMATCH");
    }

    #[test]
    fn the_only_key_is_the_first() {
        let key = new_key(KeyType::EcP256);
        let (bundle, root) = signed_by_key(&key, None, vec![NOW]);
        let policy = Policy::signed_by_key(trusted(&key)).blob();
        let verified = ask(&bundle, &root, &policy).expect("verified");
        let Signer::Key { matched_rule, .. } = verified.signer() else {
            panic!("a key");
        };
        assert_eq!(*matched_rule, 0);
    }

    #[test]
    fn where_no_key_fits_the_one_that_is_named_is_told_of() {
        let (key, named, other) = (
            new_key(KeyType::EcP256),
            new_key(KeyType::EcP256),
            new_key(KeyType::EcP256),
        );
        let mut world = World::new();
        let signing = Signing {
            stamped_at: vec![NOW],
            ..Signing::default()
        };
        let mut message = world.sign_blob_with_key(ARTIFACT, &key, &signing);
        let material = message.verification_material.as_mut().expect("material");
        if let Some(proto::verification_material::Content::PublicKey(public)) =
            &mut material.content
        {
            public.hint = base64::encode(&named.public_key().fingerprint());
        }
        let (bundle, root) = (bundle(message), root(&world));
        let ended = trusted(&named).valid_for(Validity::new(None, Some(NOW - 1)));
        for keys in [
            vec![ended.clone(), trusted(&other)],
            vec![trusted(&other), ended],
        ] {
            let policy = Policy::signed_by_any_key(keys).expect("keys").blob();
            assert_eq!(code(ask(&bundle, &root, &policy)), "KEY_NOT_VALID_AT_TIME");
        }
    }

    #[test]
    fn an_artifact_that_is_read_once_is_read_for_every_way_the_key_may_have_signed() {
        use HashAlgorithm::{Sha256, Sha384, Sha512};
        for (key_type, digests, bytes) in [
            (KeyType::EcP256, vec![Sha256], false),
            (KeyType::EcP384, vec![Sha256, Sha384], false),
            (KeyType::EcP521, vec![Sha256, Sha512], false),
            (KeyType::Ed25519, vec![Sha512], true),
        ] {
            let key = new_key(key_type);
            let mut world = World::new();
            let mut message = world.sign_blob_with_key(ARTIFACT, &key, &Signing::default());
            if let Some(proto::bundle::Content::MessageSignature(signature)) = &mut message.content
            {
                signature.message_digest = None;
            }
            let policy = Policy::signed_by_key(trusted(&key)).blob();
            let mut needs = possible_needs(&bundle(message), &policy);
            needs.digests.sort();
            assert_eq!(needs, Needs { digests, bytes }, "{key_type}");
        }
        let statement = statement(ARTIFACT, "https://a/b");
        let message = World::new().sign_statement(&statement, &Signing::default());
        let needs = possible_needs(&bundle(message), &by_jane());
        assert_eq!(
            needs,
            Needs {
                digests: vec![Sha256],
                bytes: false
            },
            "an envelope is in the bundle"
        );
    }

    #[test]
    fn a_key_with_a_window_needs_a_time_and_one_without_gets_a_warning() {
        let key = new_key(KeyType::EcP256);
        let (bundle, root) = signed_by_key(&key, None, Vec::new());
        let always = Policy::signed_by_key(trusted(&key)).blob();
        let verified = ask(&bundle, &root, &always).expect("verified");
        assert_eq!(codes(&verified), ["TIME_UNKNOWN"]);
        for window in [
            Validity::new(Some(NOW - 10), None),
            Validity::new(None, Some(NOW + 10)),
        ] {
            let policy = Policy::signed_by_key(trusted(&key).valid_for(window)).blob();
            assert_eq!(code(ask(&bundle, &root, &policy)), "NO_TIME_SOURCE");
        }
        let (bundle, root) = signed_by_key(&key, None, vec![NOW]);
        let window = Validity::new(Some(NOW), Some(NOW));
        let policy = Policy::signed_by_key(trusted(&key).valid_for(window)).blob();
        assert_eq!(
            codes(&ask(&bundle, &root, &policy).expect("verified")),
            [""; 0]
        );
    }

    #[test]
    fn certificate_logs_cannot_hold_a_key() {
        let key = new_key(KeyType::EcP256);
        let (bundle, root) = signed_by_key(&key, None, vec![NOW]);
        let policy = Policy::signed_by_key(trusted(&key))
            .blob()
            .certificate_log_threshold(1);
        assert_eq!(code(ask(&bundle, &root, &policy)), "POLICY_INVALID");
    }
}

mod statements {
    use super::*;

    const COMMIT: &str = "1f7a7a472abf3dd9643fd615f6da379c4acb3e3a";

    fn about(subjects: &str) -> (Bundle, TrustedRoot) {
        let mut world = World::new();
        let text = format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subjects}],"predicateType":"{PREDICATE}","predicate":{{}}}}"#
        );
        let bundle = bundle(world.sign_statement(&text, &Signing::default()));
        (bundle, root(&world))
    }

    fn sha256(bytes: &[u8]) -> String {
        hex::encode(HashAlgorithm::Sha256.digest(bytes).as_bytes())
    }

    fn policy() -> Policy {
        Policy::signed_by_identity(jane()).attestation(PredicateTypes::Any)
    }

    #[test]
    fn every_one_of_several_artifacts_has_to_be_named() {
        let (bundle, root) = about(&format!(
            r#"{{"digest":{{"sha256":"{}"}}}},{{"digest":{{"sha256":"{}"}}}}"#,
            sha256(b"a"),
            sha256(b"b")
        ));
        let of = |bytes| Artifact::from_bytes(bytes);
        let judged = |artifacts: &[Artifact<'_>]| {
            code(verify_all(&bundle, artifacts, &root, &policy(), NOW))
        };
        assert_eq!(judged(&[of(b"a"), of(b"b")]), "VERIFIED");
        assert_eq!(judged(&[of(b"b")]), "VERIFIED");
        assert_eq!(judged(&[of(b"a"), of(b"c")]), "SUBJECT_MISSING");
        assert_eq!(judged(&[of(b"c"), of(b"a")]), "SUBJECT_MISSING");
        assert_eq!(judged(&[]), "POLICY_INVALID");
        let both = [of(b"a"), of(b"b")];
        let verified = verify_all(&bundle, &both, &root, &policy(), NOW).expect("verified");
        let expected = [sha256(b"a"), sha256(b"b")].map(|digest| format!("sha256:{digest}"));
        assert_eq!(verified.artifact_digests(), expected);
    }

    #[test]
    fn a_signature_over_a_file_is_over_one_file() {
        let (_, bundle, root) = signed(&Signing::default());
        let twice = [
            Artifact::from_bytes(ARTIFACT),
            Artifact::from_bytes(ARTIFACT),
        ];
        let outcome = verify_all(&bundle, &twice, &root, &by_jane(), NOW);
        assert_eq!(code(outcome), "CONTENT_KIND_MISMATCH");
    }

    #[test]
    fn a_commit_is_named_by_in_totos_name_for_it() {
        let (bundle, root) = about(&format!(r#"{{"digest":{{"gitCommit":"{COMMIT}"}}}}"#));
        for (name, value, expected) in [
            ("gitCommit", COMMIT.to_owned(), "VERIFIED"),
            ("gitCommit", COMMIT.to_uppercase(), "VERIFIED"),
            ("gitTag", COMMIT.to_owned(), "SUBJECT_MISSING"),
            ("gitCommit", COMMIT.replace('1', "2"), "SUBJECT_MISSING"),
            ("gitCommit", String::new(), "SUBJECT_MISSING"),
        ] {
            let commit = Artifact::from_named_digest(name, value.clone());
            let outcome = verify(&bundle, &commit, &root, &policy(), NOW);
            assert_eq!(code(outcome), expected, "{name} {value}");
        }
        let commit = Artifact::from_named_digest("gitCommit", COMMIT);
        let verified = verify(&bundle, &commit, &root, &policy(), NOW).expect("verified");
        assert_eq!(verified.artifact_digests(), [format!("gitCommit:{COMMIT}")]);
    }

    #[test]
    fn an_empty_digest_names_nothing() {
        let (bundle, root) = about(r#"{"digest":{"gitCommit":""}}"#);
        let nothing = Artifact::from_named_digest("gitCommit", "");
        let outcome = verify(&bundle, &nothing, &root, &policy(), NOW);
        assert_eq!(code(outcome), "SUBJECT_MISSING");
    }

    #[test]
    fn a_named_digest_is_no_file() {
        let (_, bundle, root) = signed(&Signing::default());
        let commit = Artifact::from_named_digest("gitCommit", COMMIT);
        let outcome = verify(&bundle, &commit, &root, &by_jane(), NOW);
        assert!(matches!(
            code(outcome),
            "DIGEST_UNAVAILABLE" | "SIGNATURE_INVALID"
        ));
    }
}

mod raw_envelopes {
    use super::*;

    const TEXT: &str = "text/plain";

    /// An envelope by a key with nothing beside it.
    fn envelope(key: &PrivateKey, payload_type: &str, payload: &[u8]) -> Bundle {
        let signature = key
            .sign(
                Algorithm::EcdsaP256Sha256,
                &dsse::pae(payload_type, payload),
            )
            .expect("a signature");
        let json = serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": { "publicKey": { "hint": "" } },
            "dsseEnvelope": {
                "payload": base64::encode(payload),
                "payloadType": payload_type,
                "signatures": [{ "sig": base64::encode(&signature) }],
            },
        });
        Bundle::parse(json.to_string().as_bytes()).expect("a bundle")
    }

    fn asking(key: &PrivateKey, types: &[&str]) -> Policy {
        let types = types.iter().map(|one| (*one).to_owned()).collect();
        Policy::signed_by_key(trusted(key))
            .raw_envelope(types)
            .expect("types")
            .log_threshold(0)
    }

    fn judged(bundle: &Bundle, policy: &Policy) -> Result<Verified, VerifyError> {
        let root = TrustedRoot::empty();
        verify(bundle, &Artifact::unbound_statement(), &root, policy, NOW)
    }

    #[test]
    fn of_a_long_type_the_beginning_is_told() {
        let key = new_key(KeyType::EcP256);
        for (length, told) in [(128, 128), (129, 128), (4000, 128)] {
            let bundle = envelope(&key, &"t".repeat(length), b"bytes");
            match judged(&bundle, &asking(&key, &[TEXT])) {
                Err(VerifyError::PayloadType { found, .. }) => assert_eq!(found.len(), told),
                other => panic!("{other:?}"),
            }
        }
    }

    #[test]
    fn the_bytes_are_handed_out_when_their_type_was_asked_for() {
        let key = new_key(KeyType::EcP256);
        let bundle = envelope(&key, TEXT, b"\xffbytes");
        let verified = judged(&bundle, &asking(&key, &["a/b", TEXT])).expect("verified");
        let raw = verified.raw_payload().expect("a payload");
        assert_eq!(
            (raw.payload_type.as_str(), raw.bytes.as_slice()),
            (TEXT, b"\xffbytes".as_slice())
        );
        assert!(verified.statement().is_none() && verified.statement_json().is_none());
        assert_eq!(codes(&verified), ["NOT_LOGGED", "ARTIFACT_UNBOUND"]);
        let json: serde_json::Value = serde_json::from_str(&verified.to_json()).expect("JSON");
        assert_eq!(json["rawEnvelope"]["payload"], base64::encode(b"\xffbytes"));
        assert_eq!(json["rawEnvelope"]["payloadType"], TEXT);
    }

    #[test]
    fn other_types_other_keys_and_artifacts_are_refused() {
        let (key, other) = (new_key(KeyType::EcP256), new_key(KeyType::EcP256));
        let bundle = envelope(&key, TEXT, b"bytes");
        let outcome = judged(&bundle, &asking(&key, &["text/html"]));
        assert_eq!(code(outcome), "PAYLOAD_TYPE_UNSUPPORTED");
        let outcome = judged(&bundle, &asking(&other, &[TEXT]));
        assert_eq!(code(outcome), "SIGNATURE_INVALID");
        let outcome = ask(&bundle, &TrustedRoot::empty(), &asking(&key, &[TEXT]));
        assert_eq!(code(outcome), "POLICY_INVALID");
        let attestation = Policy::signed_by_key(trusted(&key))
            .attestation(PredicateTypes::Any)
            .log_threshold(0);
        assert_eq!(
            code(judged(&bundle, &attestation)),
            "PAYLOAD_TYPE_UNSUPPORTED"
        );
    }

    #[test]
    fn a_signature_over_a_file_is_no_envelope() {
        let key = new_key(KeyType::EcP256);
        let (bundle, root) = signed_by_key(&key, None, Vec::new());
        let outcome = verify(
            &bundle,
            &Artifact::unbound_statement(),
            &root,
            &asking(&key, &[TEXT]),
            NOW,
        );
        assert_eq!(code(outcome), "CONTENT_KIND_MISMATCH");
    }
}

mod witnesses {
    use super::*;

    struct Witness {
        key: NoteKey,
        private: PrivateKey,
    }

    impl Witness {
        fn new(name: &str) -> Self {
            let private = new_key(KeyType::Ed25519);
            let public = private.public_key().clone();
            Self {
                key: NoteKey::new(name, SignatureKind::CosignatureV1, public).expect("a key"),
                private,
            }
        }

        fn line(&self, name: &str) -> String {
            format!("witness {name} {}\n", self.key.to_vkey().expect("a text"))
        }

        fn cosign(&self, note: &mut Note, time: u64) {
            let message = cosignature::message(time, note.text());
            let raw = self.private.sign(Algorithm::Ed25519, &message);
            let signature = self.key.signature(&raw.expect("a signature"), time * 1000);
            note.push(signature.expect("a line"));
        }
    }

    fn checkpoint(message: &mut proto::Bundle) -> &mut String {
        let material = message.verification_material.as_mut().expect("material");
        let proof = material.tlog_entries[0].inclusion_proof.as_mut();
        let checkpoint = proof.expect("a proof").checkpoint.as_mut();
        &mut checkpoint.expect("a checkpoint").envelope
    }

    /// A bundle whose checkpoint these witnesses have cosigned.
    fn cosigned(witnesses: &[&Witness]) -> (World, proto::Bundle) {
        let mut world = World::new();
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let text = checkpoint(&mut message);
        let mut note = Note::parse(text.as_bytes()).expect("a note");
        for (number, witness) in witnesses.iter().enumerate() {
            witness.cosign(&mut note, 100 + number as u64);
        }
        *text = note.to_string();
        (world, message)
    }

    fn asking(file: &str) -> Policy {
        by_jane().witnesses(WitnessPolicy::parse(file.as_bytes()).expect(file))
    }

    fn log_line(log: &SignatureLog) -> String {
        let key = NoteKey::for_log(&log.origin, log.key.public_key().clone()).expect("a key");
        format!("log {}\n", key.to_vkey().expect("a text"))
    }

    #[test]
    fn a_quorum_is_asked_for_and_told() {
        let (a, b, stranger) = (
            Witness::new("a.example"),
            Witness::new("b.example"),
            Witness::new("c.example"),
        );
        let (world, message) = cosigned(&[&a, &stranger]);
        let (bundle, root) = (bundle(message), root(&world));
        let both = format!("{}{}", a.line("a"), b.line("b"));
        let verified = ask(
            &bundle,
            &root,
            &asking(&format!("{both}group g any a b\nquorum g\n")),
        );
        let verified = verified.expect("verified");
        let witnesses = &verified.logs()[0].witnesses;
        assert_eq!(
            *witnesses,
            [VerifiedWitness {
                name: "a.example".into(),
                time: UnixTime(100)
            }]
        );
        let error = ask(
            &bundle,
            &root,
            &asking(&format!("{both}group g all a b\nquorum g\n")),
        )
        .expect_err("one is missing");
        assert_eq!(error.code(), "WITNESS_QUORUM_NOT_MET");
        let explanation = error.explain();
        assert!(
            explanation.found.contains("cosigned by a.example"),
            "{error}"
        );
        assert!(explanation.expected.contains("2 of (a, b)"), "{error}");
        assert_eq!(explanation.entry, Some(0));
        // Without a policy nobody has verified a witness, so none is told of.
        let verified = ask(&bundle, &root, &by_jane()).expect("verified");
        assert!(verified.logs()[0].witnesses.is_empty());
        assert!(!verified.to_json().contains("witnesses"));
    }

    #[test]
    fn a_policy_that_names_logs_believes_no_other() {
        let (world, message) = cosigned(&[]);
        let (bundle, root) = (bundle(message), root(&world));
        let own = format!("{}quorum none\n", log_line(&world.log));
        assert_eq!(code(ask(&bundle, &root, &asking(&own))), "VERIFIED");
        let other = format!("{}quorum none\n", log_line(&World::new().log));
        let refused = ask(&bundle, &root, &asking(&other));
        assert_eq!(code(refused), "LOG_NOT_IN_POLICY");
        let waived = asking(&other).log_threshold(0);
        let verified = ask(&bundle, &root, &waived).expect("verified");
        assert_eq!(codes(&verified), ["LOG_NOT_IN_POLICY", "NOT_LOGGED"]);
        assert!(verified.logs().is_empty());
    }

    #[test]
    fn a_wrong_cosignature_of_a_known_witness_refuses_the_checkpoint() {
        let a = Witness::new("a.example");
        let (world, mut message) = cosigned(&[]);
        let text = checkpoint(&mut message);
        let mut note = Note::parse(text.as_bytes()).expect("a note");
        note.push(a.key.signature(&[1; 64], 1000).expect("a line"));
        *text = note.to_string();
        let (bundle, root) = (bundle(message), root(&world));
        let policy = asking(&format!("{}quorum none\n", a.line("a")));
        assert_eq!(
            code(ask(&bundle, &root, &policy)),
            "CHECKPOINT_SIGNATURE_INVALID"
        );
        assert_eq!(code(ask(&bundle, &root, &by_jane())), "VERIFIED");
    }

    #[test]
    fn a_promise_has_no_witness() {
        let (mut world, message) = cosigned(&[]);
        let mut message = message;
        let material = message.verification_material.as_mut().expect("material");
        let Some(proto::bundle::Content::MessageSignature(signature)) = &message.content else {
            panic!("a signature");
        };
        let Some(proto::verification_material::Content::Certificate(leaf)) = &material.content
        else {
            panic!("a certificate");
        };
        let pem = Certificate::from_der(leaf.raw_bytes.as_slice())
            .expect("DER")
            .to_pem();
        let body = rekor_v1::hashedrekord(ARTIFACT, &signature.signature, &pem);
        let mut entry = world.log.add_v1(rekor_v1::HASHEDREKORD, &body, NOW);
        let with_proof = entry.clone();
        entry.inclusion_proof = None;
        material.tlog_entries = vec![entry];
        date_back(&mut message, "0.1");
        let root = root(&world);
        let policy = asking("quorum none\n");
        let bundle_of_promise = bundle(message.clone());
        let outcome = ask(&bundle_of_promise, &root, &policy);
        assert_eq!(code(outcome), "WITNESS_QUORUM_NOT_MET");
        assert_eq!(code(ask(&bundle_of_promise, &root, &by_jane())), "VERIFIED");
        let material = message.verification_material.as_mut().expect("material");
        material.tlog_entries = vec![with_proof];
        assert_eq!(code(ask(&bundle(message), &root, &policy)), "VERIFIED");
    }

    #[test]
    fn more_lines_than_any_honest_checkpoint_has_are_refused() {
        let crowd: Vec<Witness> = (0..33)
            .map(|n| Witness::new(&format!("w{n}.example")))
            .collect();
        // The log's own line is one of them.
        for (witnesses, expected) in [(31, "VERIFIED"), (32, "LIMIT_EXCEEDED")] {
            let some: Vec<&Witness> = crowd.iter().take(witnesses).collect();
            let (world, message) = cosigned(&some);
            assert_eq!(
                code(ask(&bundle(message), &root(&world), &by_jane())),
                expected
            );
        }
    }
}

mod thresholds {
    use super::*;
    use sealwright_proto::trustroot::v1 as trust;

    /// Adds the entry or token of a second service of the same kind.
    fn in_two_logs(operators: [&str; 2]) -> (Bundle, TrustedRoot) {
        let mut world = World::new();
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let mut second = SignatureLog::new("https://second.example.org");
        let material = message.verification_material.as_mut().expect("material");
        let body = material.tlog_entries[0].canonicalized_body.clone();
        material
            .tlog_entries
            .push(second.add_body_among_others(body, (1, 1)));
        let mut root = world.trusted_root();
        root.tlogs.push(second.trusted());
        for (log, operator) in root.tlogs.iter_mut().zip(operators) {
            log.operator = operator.into();
        }
        (
            bundle(message),
            TrustedRoot::from_proto(root).expect("a root"),
        )
    }

    #[test]
    fn logs_count_by_operator_and_by_themselves_where_none_is_stated() {
        for (operators, expected) in [
            (["a", "b"], "VERIFIED"),
            (["a", "a"], "THRESHOLD_NOT_MET"),
            (["", ""], "VERIFIED"),
            (["a", ""], "VERIFIED"),
        ] {
            let (bundle, root) = in_two_logs(operators);
            let outcome = ask(&bundle, &root, &by_jane().log_threshold(2));
            assert_eq!(code(outcome), expected, "{operators:?}");
        }
    }

    fn with_two_tokens(operators: [&str; 2], same: bool) -> (Bundle, TrustedRoot) {
        let mut world = World::new();
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let second = TimestampAuthority::new("https://tsa.example.org");
        let Some(proto::bundle::Content::MessageSignature(signature)) = &message.content else {
            panic!("a signature");
        };
        let by = if same {
            &world.timestamp_authority
        } else {
            &second
        };
        let token = by.stamp(&signature.signature, NOW + 3, true);
        let material = message.verification_material.as_mut().expect("material");
        let stamps = material
            .timestamp_verification_data
            .as_mut()
            .expect("stamps");
        stamps
            .rfc3161_timestamps
            .push(sealwright_proto::common::v1::Rfc3161SignedTimestamp {
                signed_timestamp: token,
            });
        let mut root = world.trusted_root();
        root.timestamp_authorities.push(second.trusted());
        for (authority, operator) in root.timestamp_authorities.iter_mut().zip(operators) {
            authority.operator = operator.into();
        }
        (
            bundle(message),
            TrustedRoot::from_proto(root).expect("a root"),
        )
    }

    #[test]
    fn what_is_missing_is_what_is_told() {
        let (_, bundle, root) = signed(&Signing::default());
        for (policy, missing) in [
            (by_jane().time_threshold(2), Counted::Times),
            (
                by_jane().timestamp_authority_threshold(2),
                Counted::TimestampAuthorities,
            ),
        ] {
            let outcome = ask(&bundle, &root, &policy).expect_err("one time is there");
            assert_eq!(
                outcome,
                VerifyError::ThresholdNotMet {
                    counted: missing,
                    have: 1,
                    need: 2
                }
            );
        }
    }

    /// The code of a refusal where a stranger's authority stands before the signer's, and after it.
    fn beside_a_stranger(
        bundle: &Bundle,
        world: &World,
        change: impl Fn(&mut sealwright_proto::trustroot::v1::CertificateAuthority),
    ) -> [&'static str; 2] {
        let stranger = TimestampAuthority::new("https://tsa.example.org").trusted();
        let mut own = world.timestamp_authority.trusted();
        change(&mut own);
        [vec![stranger.clone(), own.clone()], vec![own, stranger]].map(|authorities| {
            let mut root = world.trusted_root();
            root.timestamp_authorities = authorities;
            let root = TrustedRoot::from_proto(root).expect("a root");
            code(ask(bundle, &root, &by_jane()))
        })
    }

    #[test]
    fn of_several_authorities_the_one_that_came_furthest_is_told_of() {
        let (world, bundle, _) = signed(&Signing::default());
        let ended = |own: &mut sealwright_proto::trustroot::v1::CertificateAuthority| {
            own.valid_for = Some(sealwright_testkit::bundle_factory::window(
                NOW - 1000,
                Some(NOW - 500),
            ));
        };
        assert_eq!(
            beside_a_stranger(&bundle, &world, ended),
            ["TIMESTAMP_OUTSIDE_TSA_WINDOW"; 2]
        );
        assert_eq!(beside_a_stranger(&bundle, &world, |_| ()), ["VERIFIED"; 2]);
        let mut strangers = world.trusted_root();
        strangers.timestamp_authorities =
            vec![TimestampAuthority::new("https://tsa.example.org").trusted()];
        let strangers = TrustedRoot::from_proto(strangers).expect("a root");
        let refused = ask(&bundle, &strangers, &by_jane()).expect_err("a stranger's token");
        assert!(
            !refused.to_string().contains("has no timestamp authority"),
            "{refused}"
        );
        let mut world = world;
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let token = world
            .timestamp_authority
            .stamp(b"another signature", NOW, true);
        let material = message.verification_material.as_mut().expect("material");
        let stamps = material
            .timestamp_verification_data
            .as_mut()
            .expect("stamps");
        stamps.rfc3161_timestamps[0].signed_timestamp = token;
        let bundle = super::bundle(message);
        assert_eq!(
            beside_a_stranger(&bundle, &world, |_| ()),
            ["TIMESTAMP_INVALID"; 2]
        );
    }

    #[test]
    fn a_certificate_needs_a_time_whatever_the_policy_says_and_is_told_why_there_is_none() {
        let mut world = World::new();
        let root = root(&world);
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let token = world
            .timestamp_authority
            .stamp(b"another signature", NOW, true);
        let material = message.verification_material.as_mut().expect("material");
        let stamps = material
            .timestamp_verification_data
            .as_mut()
            .expect("stamps");
        stamps.rfc3161_timestamps[0].signed_timestamp = token;
        let outcome = ask(&bundle(message), &root, &by_jane().time_threshold(0));
        assert_eq!(code(outcome), "TIMESTAMP_INVALID");
    }

    #[test]
    fn an_authority_whose_signer_is_named_has_no_other() {
        let (world, bundle, _) = signed(&Signing::default());
        let other = TimestampAuthority::new("https://tsa.example.org").trusted();
        let pinned = other.cert_chain.expect("a chain").certificates[0].clone();
        let refused = beside_a_stranger(&bundle, &world, |own| {
            own.cert_chain.as_mut().expect("a chain").certificates[0] = pinned.clone();
        });
        assert_eq!(refused, ["TIMESTAMP_UNTRUSTED"; 2]);
    }

    #[test]
    fn timestamp_authorities_count_by_operator_however_often_they_sign() {
        for (operators, same, expected) in [
            (["a", "b"], false, "VERIFIED"),
            (["a", "a"], false, "THRESHOLD_NOT_MET"),
            (["", ""], false, "VERIFIED"),
            (["", ""], true, "THRESHOLD_NOT_MET"),
        ] {
            let (bundle, root) = with_two_tokens(operators, same);
            for policy in [
                by_jane().timestamp_authority_threshold(2),
                by_jane().time_threshold(2),
            ] {
                let outcome = ask(&bundle, &root, &policy);
                assert_eq!(code(outcome), expected, "{operators:?} {same}");
            }
        }
    }

    #[test]
    fn certificate_logs_count_by_themselves_or_by_operator_when_told() {
        let sct = |log_id: &str, operator: &str| crate::verdict::VerifiedSct {
            log: String::new(),
            operator: operator.into(),
            log_id: log_id.into(),
            time: UnixTime(0),
        };
        for (scts, keys, logs, operators) in [
            (vec![sct("1", "a"), sct("2", "a")], ["x", "y"], 2, 1),
            (vec![sct("1", "a"), sct("1", "a")], ["x", "x"], 1, 1),
            (vec![sct("1", "a"), sct("2", "b")], ["x", "y"], 2, 2),
            (vec![sct("1", ""), sct("2", "")], ["x", "y"], 2, 2),
            // One key is one log, whatever the trusted root calls it.
            (vec![sct("1", "a"), sct("2", "b")], ["x", "x"], 1, 1),
            (vec![], ["x", "y"], 0, 0),
        ] {
            let count = |by_operator| {
                let keys = keys.iter().map(|key| key.as_bytes());
                keyless::distinct_logs(scts.iter().zip(keys), by_operator)
            };
            assert_eq!((count(false), count(true)), (logs, operators), "{scts:?}");
        }
    }

    #[test]
    fn one_certificate_log_is_not_two() {
        let (_, bundle, root) = signed(&Signing::default());
        let policy = by_jane().certificate_log_threshold(2);
        assert_eq!(code(ask(&bundle, &root, &policy)), "THRESHOLD_NOT_MET");
        let policy = by_jane().distinct_certificate_log_operators();
        assert_eq!(code(ask(&bundle, &root, &policy)), "VERIFIED");
    }

    #[test]
    fn what_the_policy_waives_is_said() {
        let mut world = World::new();
        let signing = Signing {
            sct: SctKind::Missing,
            ..Signing::default()
        };
        let mut message = world.sign_blob(ARTIFACT, &signing);
        let root = root(&world);
        let waived = by_jane().certificate_log_threshold(0);
        let verified = ask(&bundle(message.clone()), &root, &waived).expect("verified");
        assert_eq!(codes(&verified), ["CERTIFICATE_NOT_LOGGED"]);
        let material = message.verification_material.as_mut().expect("material");
        material.tlog_entries.clear();
        let waived = waived.log_threshold(0);
        let verified = ask(&bundle(message), &root, &waived).expect("verified");
        assert_eq!(codes(&verified), ["NOT_LOGGED", "CERTIFICATE_NOT_LOGGED"]);
    }

    #[test]
    fn a_certificate_timestamp_that_does_not_count_is_said() {
        let mut world = World::new();
        let bundle = bundle(world.sign_blob(ARTIFACT, &Signing::default()));
        world.ct_log = CtLog::new("https://other.example.com");
        let root = root(&world);
        let waived = by_jane().certificate_log_threshold(0);
        let verified = ask(&bundle, &root, &waived).expect("verified");
        assert_eq!(codes(&verified), ["SCT_REJECTED", "CERTIFICATE_NOT_LOGGED"]);
        assert_eq!(code(ask(&bundle, &root, &by_jane())), "SCT_UNKNOWN_LOG");
    }

    #[test]
    fn operators_stand_in_the_verdict() {
        let mut world = World::new();
        let message = bundle(world.sign_blob(ARTIFACT, &Signing::default()));
        let mut trusted: trust::TrustedRoot = world.trusted_root();
        trusted.ctlogs[0].operator = "ct.example".into();
        trusted.tlogs[0].operator = "log.example".into();
        trusted.timestamp_authorities[0].operator = "tsa.example".into();
        let root = TrustedRoot::from_proto(trusted).expect("a root");
        let verified = ask(&message, &root, &by_jane()).expect("verified");
        assert_eq!(verified.certificate_logs()[0].operator, "ct.example");
        assert_eq!(verified.logs()[0].operator, "log.example");
        assert_eq!(verified.times()[0].operator, "tsa.example");
    }
}

mod old_logs {
    use super::*;

    /// A v0.2 bundle with an entry of the first generation, whose promise is taken away or not.
    fn old(promised: bool) -> (Bundle, TrustedRoot, u64, u64) {
        let mut world = World::new();
        let mut message = world.sign_blob(ARTIFACT, &Signing::default());
        let material = message.verification_material.as_mut().expect("material");
        let Some(proto::bundle::Content::MessageSignature(signature)) = &message.content else {
            panic!("a signature");
        };
        let Some(proto::verification_material::Content::Certificate(leaf)) = &material.content
        else {
            panic!("a certificate");
        };
        let leaf = Certificate::from_der(leaf.raw_bytes.as_slice()).expect("DER");
        let body = rekor_v1::hashedrekord(ARTIFACT, &signature.signature, &leaf.to_pem());
        let mut entry = world.log.add_v1(rekor_v1::HASHEDREKORD, &body, NOW);
        if !promised {
            entry.inclusion_promise = None;
            entry.log_index += 77;
        }
        let in_tree = entry
            .inclusion_proof
            .as_ref()
            .map_or(0, |proof| proof.log_index);
        let (outer, inner) = (entry.log_index.unsigned_abs(), in_tree.unsigned_abs());
        material.tlog_entries = vec![entry];
        date_back(&mut message, "0.2");
        (bundle(message), root(&world), outer, inner)
    }

    #[test]
    fn the_index_is_told_that_something_vouches_for() {
        let (bundle, root, outer, inner) = old(true);
        assert_ne!(outer, inner);
        let verified = ask(&bundle, &root, &by_jane()).expect("verified");
        assert_eq!(verified.logs()[0].log_index, outer);
        assert_eq!(verified.times().len(), 2);
        let (bundle, root, _, inner) = old(false);
        let verified = ask(&bundle, &root, &by_jane()).expect("verified");
        assert_eq!(verified.logs()[0].log_index, inner);
        assert_eq!(
            verified.times().len(),
            1,
            "a time without a promise is none"
        );
    }
}

#[test]
fn an_attestation_is_verified_with_the_statement_in_the_verdict() {
    let mut world = World::new();
    let text = statement(ARTIFACT, PREDICATE);
    let bundle = bundle(world.sign_statement(&text, &Signing::default()));
    let policy = Policy::signed_by_identity(jane()).attestation(PredicateTypes::OneOf(vec![
        "https://a".into(),
        PREDICATE.into(),
    ]));
    let verified = ask(&bundle, &root(&world), &policy).expect("verified");
    assert_eq!(verified.statement_json(), Some(text.as_str()));
    assert_eq!(codes(&verified), [""; 0]);
}
