//! Right cases that trip implementations, and those that everything else starts from.

use std::sync::Arc;

use sealwright_crypto::{HashAlgorithm, KeyType, MemorySigner, PrivateKey, PublicKey, base64};
use sealwright_pki::profile::{FulcioExtensions, Identity, SubjectAlternativeName};
use sealwright_proto::common::v1 as common;
use sealwright_tlog::{Note, NoteKey, NoteSignature, SignatureKind};

use super::draft::{
    Draft, Form, Format, Logging, OLD_CLIENTS, PREDICATE, needs_more_than_sha256, new_key, old_log,
    provenance,
};
use super::{ARTIFACT, Asked, Category, Recipe, SIGNED_AT, good, new};
use crate::bundle_factory::{
    CertificateAuthority, DAY, ISSUER, SctKind, SignatureLog, TimestampAuthority, email, workload,
};
use crate::rekor_v1::{DSSE, HASHEDREKORD, INTOTO};

pub(super) fn recipes() -> Vec<Recipe> {
    [
        formats(),
        keys(),
        names(),
        checkpoints(),
        authorities(),
        several(),
    ]
    .concat()
}

fn edge(name: &'static str, from: &'static str, change: fn(&mut Draft)) -> Recipe {
    good(Category::Edge, name, from, change)
}

fn formats() -> Vec<Recipe> {
    vec![
        new("v03-blob", Draft::new),
        edge("v03-blob-old-media-type", "v03-blob", |d| {
            d.bundle.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.3".into();
        }),
        new("v03-statement", || {
            Draft::of_form(Form::Statement(provenance()))
        }),
        edge("statement-of-version-01", "v03-statement", |d| {
            d.form = Form::Statement(provenance().replace("Statement/v1", "Statement/v0.1"));
            d.sign();
        }),
        edge("statement-logged-as-envelope", "v03-statement", |d| {
            d.logging = Logging::V2Dsse;
            d.sign();
        }),
        edge("statement-with-upper-case-digest", "v03-statement", |d| {
            let digest = crate::rekor_v1::sha256_hex(ARTIFACT);
            d.form = Form::Statement(provenance().replace(&digest, &digest.to_uppercase()));
            d.sign();
        }),
        new("old-log-v01-blob", || {
            Draft::old(Form::Blob, HASHEDREKORD, Format::V0_1)
        }),
        edge("old-log-v01-blob-with-proof", "old-log-v01-blob", |d| {
            d.format = Format::V0_2;
            d.sign();
            d.bundle.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.1".into();
        }),
        new("old-log-v02-blob", || {
            Draft::old(Form::Blob, HASHEDREKORD, Format::V0_2)
        }),
        new("old-log-v03-blob", || {
            Draft::old(Form::Blob, HASHEDREKORD, Format::V0_3)
        }),
        edge("old-log-and-timestamp", "old-log-v03-blob", |d| {
            d.signing.stamped_at = vec![SIGNED_AT + 2];
            d.sign();
        }),
        edge(
            "old-log-timestamp-instead-of-promise",
            "old-log-and-timestamp",
            |d| {
                d.entry().inclusion_promise = None;
            },
        ),
        new("old-log-dsse", || {
            Draft::old(Form::Statement(provenance()), DSSE, Format::V0_3)
        }),
        new("old-log-intoto", || {
            Draft::old(Form::Statement(provenance()), INTOTO, Format::V0_2)
        }),
        edge("v02-blob-in-a-new-log", "v03-blob", |d| {
            d.format = Format::V0_2;
            d.sign();
        }),
        edge("v03-chain-by-permission", "v03-blob", |d| {
            let chain = vec![d.leaf(), d.authority(0)];
            d.put_chain(chain);
            d.demands.chain_allowed = true;
        }),
        edge(
            "intermediate-from-a-permitted-chain",
            "v03-chain-by-permission",
            |d| {
                let chain = d.root.certificate_authorities[0].cert_chain.as_mut();
                chain.expect("a chain").certificates.remove(0);
            },
        ),
        edge("body-left-to-be-rebuilt", "v03-blob", |d| {
            d.entry().canonicalized_body.clear();
        }),
        edge("no-message-digest", "v03-blob", |d| {
            d.message().message_digest = None
        }),
        edge("null-members", "v03-blob", |d| {
            d.edit = |text| text.replacen('{', r#"{"dsseEnvelope":null,"#, 1);
        }),
    ]
}

fn keys() -> Vec<Recipe> {
    vec![
        edge("certificate-p384", "v03-blob", |d| {
            keyless(d, KeyType::EcP384)
        }),
        edge("certificate-p521", "v03-blob", |d| {
            keyless(d, KeyType::EcP521)
        }),
        edge("certificate-ed25519", "v03-blob", |d| {
            keyless(d, KeyType::Ed25519)
        }),
        edge("certificate-rsa-3072", "v03-blob", |d| {
            keyless(d, KeyType::Rsa { bits: 3072 });
        }),
        edge("statement-p384", "v03-statement", |d| {
            keyless(d, KeyType::EcP384);
            d.needs_more_than_sha256 = false;
        }),
        edge("certificate-p384-sha256", "v03-blob", |d| {
            old_certificate(d, 0)
        }),
        edge("certificate-p521-sha256", "v03-blob", |d| {
            old_certificate(d, 1)
        }),
        new("key-p256", || Draft::by_key(KeyType::EcP256)),
        new("key-p384", || Draft::by_key(KeyType::EcP384)),
        new("key-p521", || Draft::by_key(KeyType::EcP521)),
        new("key-ed25519", || Draft::by_key(KeyType::Ed25519)),
        new("key-rsa-2048", || {
            Draft::by_key(KeyType::Rsa { bits: 2048 })
        }),
        edge("key-rsa-4096", "key-rsa-2048", |d| {
            let key = Arc::new(new_key(KeyType::Rsa { bits: 4096 }));
            d.ask_for_key(key.public_key());
            d.form = Form::BlobByKey(key);
            d.sign();
        }),
        edge("key-rsa-with-pss", "key-rsa-2048", |d| {
            d.signing.algorithm = Some(sealwright_crypto::Algorithm::RsaPss {
                bits: 2048,
                hash: HashAlgorithm::Sha256,
            });
            d.sign();
        }),
        edge("key-without-any-time", "key-p256", |d| {
            d.timestamps().clear()
        }),
        edge("key-rsa-as-pkcs1", "key-rsa-2048", |d| {
            let Form::BlobByKey(key) = &d.form else {
                panic!("a key")
            };
            d.asked = Asked::Key(pkcs1_pem(key.public_key()));
        }),
        edge("key-p384-sha256", "key-p256", |d| old_key(d, 0)),
        edge("key-p521-sha256", "key-p256", |d| old_key(d, 1)),
        edge("key-statement", "key-p256", |d| {
            let Form::BlobByKey(key) = d.form.clone() else {
                panic!("a key")
            };
            d.form = Form::StatementByKey(key, provenance());
            d.sign();
        }),
        edge("key-id-repeats-the-hint", "key-statement", |d| {
            use sealwright_proto::bundle::v1::verification_material::Content;
            let Some(Content::PublicKey(key)) = d.material().content.clone() else {
                panic!("a key")
            };
            d.envelope().signatures[0].keyid = key.hint;
        }),
        edge("key-with-opaque-hint", "key-p256", |d| {
            let hint = "release key of 2026".into();
            d.material().content = Some(
                sealwright_proto::bundle::v1::verification_material::Content::PublicKey(
                    common::PublicKeyIdentifier { hint },
                ),
            );
        }),
        edge("key-in-an-old-log", "key-p256", |d| {
            d.world.log = old_log();
            d.root = d.world.trusted_root();
            d.signing.stamped_at.clear();
            d.logging = Logging::V1(HASHEDREKORD, SIGNED_AT + 3);
            d.sign();
        }),
        edge("key-until-the-last-second", "key-p256", |d| {
            d.demands.key_valid_until = Some(SIGNED_AT + 2);
        }),
    ]
}

fn keyless(draft: &mut Draft, key_type: KeyType) {
    draft.signing.key_type = key_type;
    draft.needs_more_than_sha256 = needs_more_than_sha256(key_type);
    draft.sign();
}

/// A signature of an old client whose key has a certificate.
fn old_certificate(draft: &mut Draft, which: usize) {
    let (algorithm, pem, signature) = OLD_CLIENTS[which];
    let key = PublicKey::from_pem(pem).expect("a key");
    let signature = base64::decode(signature).expect("base64");
    let certificate = draft.world.certify(&key, &draft.signing);
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT);
    draft.bundle = draft.world.bundle_with_certificate(
        digest,
        signature,
        &certificate,
        algorithm,
        &draft.signing,
    );
}

/// A signature of an old client by a key alone.
fn old_key(draft: &mut Draft, which: usize) {
    let (algorithm, pem, signature) = OLD_CLIENTS[which];
    let key = PublicKey::from_pem(pem).expect("a key");
    let signature = base64::decode(signature).expect("base64");
    let digest = HashAlgorithm::Sha256.digest(ARTIFACT);
    draft.bundle = draft
        .world
        .bundle_of(digest, signature, &key, algorithm, &draft.signing);
    draft.ask_for_key(&key);
}

fn pkcs1_pem(key: &PublicKey) -> String {
    let lines: Vec<String> = base64::encode(key.raw())
        .as_bytes()
        .chunks(64)
        .map(|line| String::from_utf8_lossy(line).into_owned())
        .collect();
    format!(
        "-----BEGIN RSA PUBLIC KEY-----\n{}\n-----END RSA PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn names() -> Vec<Recipe> {
    vec![
        edge("workload-by-uri", "v03-blob", |d| {
            let uri = "https://ci.example.com/org/repo/.ci/build.yml@refs/heads/main";
            d.signing.identity = workload(
                uri,
                "https://token.ci.example.com",
                &[("runnerEnvironment", "self-hosted")],
            );
            d.asked = Asked::identity(uri, "https://token.ci.example.com");
            d.sign();
        }),
        edge("username-as-other-name", "v03-blob", |d| {
            let name = "jane!example.com";
            d.signing.identity = Identity {
                subject_alternative_name: SubjectAlternativeName::Username(name.into()),
                issuer: ISSUER.into(),
                extensions: FulcioExtensions::default(),
            };
            d.asked = Asked::identity(name, ISSUER);
            d.sign();
        }),
        edge("identity-by-anchored-pattern", "v03-blob", |d| {
            d.asked = Asked::Pattern {
                subject: r"[a-z]+@example\.com".into(),
                issuer: "https://accounts[.]example[.](com|org)".into(),
            };
        }),
        edge("address-with-a-plus", "v03-blob", |d| {
            d.signing.identity = email("jane+ci@example.com", ISSUER);
            d.asked = Asked::identity("jane+ci@example.com", ISSUER);
            d.sign();
        }),
    ]
}

fn checkpoints() -> Vec<Recipe> {
    vec![
        edge("checkpoint-cosigned", "v03-blob", |d| {
            with_lines(d, |own, text| {
                vec![own, witness("witness.example.org/w1", text)]
            });
        }),
        edge("checkpoint-with-several-cosignatures", "v03-blob", |d| {
            with_lines(d, |own, text| {
                let mut lines = vec![own];
                lines.extend((1..=5).map(|n| witness(&format!("w{n}.example.org"), text)));
                lines
            });
        }),
        edge("checkpoint-own-signature-not-first", "v03-blob", |d| {
            with_lines(d, |own, text| {
                vec![witness("witness.example.org/w1", text), own]
            });
        }),
        edge("checkpoint-two-signatures-of-the-origin", "v03-blob", |d| {
            with_lines(d, |own, text| vec![own, namesake(text)]);
        }),
        edge("checkpoint-namesake-first", "v03-blob", |d| {
            with_lines(d, |own, text| vec![namesake(text), own]);
        }),
        edge("checkpoint-namesake-and-cosignature", "v03-blob", |d| {
            with_lines(d, |own, text| {
                vec![namesake(text), witness("witness.example.org/w1", text), own]
            });
        }),
        edge("checkpoint-signed-twice-by-the-log", "v03-blob", |d| {
            with_lines(d, |own, _| vec![own.clone(), own]);
        }),
        edge("checkpoint-with-extension-lines", "v03-blob", |d| {
            let text = format!("{}one line\nanother - line\n", note_text(d));
            *d.checkpoint() = d.world.log.sign_text(&text);
        }),
        edge("origin-with-port-and-path", "v03-blob", |d| {
            move_log(
                d,
                "https://log.example.com:3003/2026a",
                "log.example.com:3003/2026a",
            );
        }),
        edge("origin-with-port", "v03-blob", |d| {
            move_log(d, "http://127.0.0.1:3003", "127.0.0.1:3003");
        }),
        edge("origin-is-the-host-alone", "v03-blob", |d| {
            move_log(d, "https://log.example.com:3003/2026a/", "log.example.com");
        }),
        edge("log-with-an-ecdsa-key", "v03-blob", |d| {
            d.world.log.key = MemorySigner::new(new_key(KeyType::EcP256));
            d.root = d.world.trusted_root();
            d.sign();
        }),
        edge("log-with-an-rsa-key", "v03-blob", |d| {
            d.world.log.key = MemorySigner::new(new_key(KeyType::Rsa { bits: 2048 }));
            d.root = d.world.trusted_root();
            d.sign();
        }),
        edge("log-key-as-pkcs1", "log-with-an-rsa-key", |d| {
            let key = d.root.tlogs[0].public_key.as_mut().expect("a key");
            let spki = PublicKey::from_spki_der(key.raw_bytes.as_deref().unwrap_or_default());
            key.raw_bytes = Some(spki.expect("an RSA key").raw().to_vec());
            key.key_details = common::PublicKeyDetails::Pkcs1RsaPkcs1v5.into();
        }),
        edge("first-leaf-of-a-log", "v03-blob", |d| {
            d.world.log = SignatureLog::new("https://log2026.example.com");
            d.signing.other_entries = (0, 0);
            d.root = d.world.trusted_root();
            d.sign();
        }),
        edge("last-leaf-of-a-log", "v03-blob", |d| {
            d.signing.other_entries = (9, 0);
            d.sign();
        }),
    ]
}

/// The text of the checkpoint, without signatures.
pub(super) fn note_text(draft: &mut Draft) -> String {
    let note = Note::parse(draft.checkpoint().as_bytes()).expect("a signed note");
    note.text().to_owned()
}

/// Puts the lines under the checkpoint that `lines` makes from the log's own line and the text.
pub(super) fn with_lines(
    draft: &mut Draft,
    lines: impl FnOnce(NoteSignature, &str) -> Vec<NoteSignature>,
) {
    let text = note_text(draft);
    let own = draft.world.log.signature_line(&text);
    let mut note = Note::new(text.clone()).expect("a text");
    lines(own, &text)
        .into_iter()
        .for_each(|line| note.push(line));
    *draft.checkpoint() = note.to_string();
}

/// A cosignature by a witness that nobody here knows.
pub(super) fn witness(name: &str, text: &str) -> NoteSignature {
    sign_line(name, SignatureKind::CosignatureV1, KeyType::Ed25519, text)
}

/// A signature under the log's name by a key that is not the log's.
pub(super) fn namesake(text: &str) -> NoteSignature {
    sign_line(
        "log2026.example.com",
        SignatureKind::Ecdsa,
        KeyType::EcP256,
        text,
    )
}

fn sign_line(name: &str, kind: SignatureKind, key_type: KeyType, text: &str) -> NoteSignature {
    let key = new_key(key_type);
    let note_key = NoteKey::new(name, kind, key.public_key().clone()).expect("a key for notes");
    let time_ms = u64::try_from(SIGNED_AT * 1000).expect("a time after 1970");
    let message = note_key.message(text, time_ms).expect("a message");
    let signature = sign(&key, &message);
    note_key
        .signature(&signature, time_ms)
        .expect("a signature line")
}

fn sign(key: &PrivateKey, message: &[u8]) -> Vec<u8> {
    key.sign(key.key_type().default_algorithm(), message)
        .expect("a signature")
}

/// The log at another address, under this origin.
fn move_log(draft: &mut Draft, base_url: &str, origin: &str) {
    draft.world.log = SignatureLog::new(base_url);
    draft.world.log.origin = origin.into();
    draft.root = draft.world.trusted_root();
    draft.sign();
}

fn authorities() -> Vec<Recipe> {
    vec![
        edge("token-without-certificates", "v03-blob", |d| {
            d.signing.tokens_with_certificates = false;
            d.sign();
        }),
        edge(
            "token-brings-the-certificate-that-the-root-lacks",
            "v03-blob",
            |d| {
                let chain = d.root.timestamp_authorities[0].cert_chain.as_mut();
                chain.expect("a chain").certificates.remove(0);
            },
        ),
        edge("timestamp-authority-expired-since", "v03-blob", |d| {
            d.world.timestamp_authority = TimestampAuthority::valid(
                "https://tsa.example.com/api/v1/timestamp",
                (SIGNED_AT - 10, SIGNED_AT + 290),
            );
            d.root = d.world.trusted_root();
            d.sign();
        }),
        edge("certificate-authority-expired-since", "v03-blob", |d| {
            d.world.certificate_authority = CertificateAuthority::valid(
                "https://ca.example.com",
                (SIGNED_AT - DAY, SIGNED_AT + DAY),
            );
            d.root = d.world.trusted_root();
            d.sign();
        }),
        edge("anchor-is-the-issuing-authority", "v03-blob", |d| {
            let chain = d.root.certificate_authorities[0].cert_chain.as_mut();
            chain.expect("a chain").certificates.truncate(1);
        }),
        edge(
            "certificate-timestamp-without-extensions",
            "v03-blob",
            |d| {
                d.signing.sct = SctKind::WithoutExtensions;
                d.sign();
            },
        ),
        edge("retired-authorities-beside", "v03-blob", |d| {
            let old = Some(crate::bundle_factory::window(
                SIGNED_AT - 60 * DAY,
                Some(SIGNED_AT - 50 * DAY),
            ));
            let mut retired = d.root.certificate_authorities[0].clone();
            retired.valid_for = old;
            d.root.certificate_authorities.insert(0, retired);
            let mut retired = d.root.timestamp_authorities[0].clone();
            retired.valid_for = old;
            d.root.timestamp_authorities.insert(0, retired);
            for logs in [&mut d.root.tlogs, &mut d.root.ctlogs] {
                let mut retired = logs[0].clone();
                retired.public_key.as_mut().expect("a key").valid_for = old;
                logs.insert(0, retired);
            }
        }),
        edge("trusted-root-of-version-02", "v03-blob", |d| {
            d.root.media_type = "application/vnd.dev.sigstore.trustedroot.v0.2+json".into();
        }),
        edge("predicate-type-that-was-asked-for", "v03-statement", |d| {
            d.demands.predicate_type = Some(PREDICATE.into());
        }),
        edge("no-certificate-log-asked-for", "v03-blob", |d| {
            d.signing.sct = SctKind::Missing;
            d.demands.certificate_logs = Some(0);
            d.sign();
        }),
        edge("no-log-asked-for", "v03-blob", |d| {
            d.entries().clear();
            d.demands.logs = Some(0);
        }),
    ]
}

fn several() -> Vec<Recipe> {
    vec![
        edge("two-logs-of-two-operators", "v03-blob", |d| {
            d.add_log("https://log.example.org", "example.org");
            d.demands.logs = Some(2);
        }),
        edge("two-logs-one-asked-for", "v03-blob", |d| {
            d.add_log("https://log.example.org", "example.com");
        }),
        edge(
            "two-timestamp-authorities-of-two-operators",
            "v03-blob",
            |d| {
                d.add_authority("https://tsa.example.org", "example.org", SIGNED_AT + 5);
                (d.demands.timestamp_authorities, d.demands.times) = (Some(2), Some(2));
            },
        ),
        edge("token-of-a-stranger-beside-a-good-one", "v03-blob", |d| {
            d.add_token(
                &TimestampAuthority::new("https://other.example.org"),
                SIGNED_AT,
            );
        }),
        edge("old-and-new-log-together", "old-log-and-timestamp", |d| {
            add_new_log(d);
            d.demands.logs = Some(2);
        }),
        edge("entry-of-an-unknown-log-beside", "v03-blob", |d| {
            d.add_log("https://log.example.org", "example.org");
            d.root.tlogs.pop();
        }),
    ]
}

/// A log of the second generation takes what an old one has.
pub(super) fn add_new_log(draft: &mut Draft) {
    let mut other = draft.world.clone();
    other.log = SignatureLog::new("https://log2026.example.org");
    let signer = draft.signer.clone().expect("a certificate");
    let again = other.bundle_with_certificate(
        HashAlgorithm::Sha256.digest(&draft.artifact),
        draft.signature(),
        &signer.certificate,
        draft.signing.algorithm(),
        &draft.signing,
    );
    let entries = again.verification_material.expect("material").tlog_entries;
    draft.entries().extend(entries);
    let mut trusted = other.log.trusted();
    trusted.operator = "example.org".into();
    draft.root.tlogs.push(trusted);
}
