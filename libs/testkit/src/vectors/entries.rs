//! Signatures that are wrong, entries that speak of something else, and proofs that lead nowhere.

use sealwright_crypto::{HashAlgorithm, base64};
use sealwright_proto::common::v1 as common;
use sealwright_proto::rekor::v1 as rekor;
use sealwright_tlog::entry::{Entry, HashedRekord, VerifierMaterial};

use super::draft::{Draft, Form, PREDICATE, provenance};
use super::{ARTIFACT, Category, Recipe, Refusals};
use crate::bundle_factory::statement;

pub(super) fn recipes() -> Vec<Recipe> {
    [
        signatures(),
        statements(),
        new_entries(),
        old_entries(),
        kinds(),
        proofs(),
        repetitions(),
    ]
    .concat()
}

fn signatures() -> Vec<Recipe> {
    let r = Refusals::of(Category::Signature, "signature", "SIGNATURE_INVALID");
    let entry = Refusals::of(Category::Signature, "log", "LOG_ENTRY_MISMATCH");
    vec![
        // All that is around the signature is about it, but the certificate's key did not make it.
        r.case("signature-by-another-key", "v03-blob", forge),
        r.case(
            "signature-by-another-key-in-an-old-log",
            "old-log-v03-blob",
            forge,
        ),
        r.case("signature-by-another-key-in-v01", "old-log-v01-blob", forge),
        r.case("statement-signed-by-another-key", "v03-statement", forge),
        r.case(
            "statement-signed-by-another-key-in-dsse-entry",
            "old-log-dsse",
            forge,
        ),
        r.case(
            "statement-signed-by-another-key-in-intoto-entry",
            "old-log-intoto",
            forge,
        ),
        r.case("another-artifact", "v03-blob", |d| {
            d.artifact = b"another artifact".to_vec();
        }),
        r.case("another-artifact-and-an-old-log", "old-log-v02-blob", |d| {
            d.artifact = b"another artifact".to_vec();
        }),
        r.case("another-artifact-and-a-key", "key-p256", |d| {
            d.artifact = b"another artifact".to_vec();
        }),
        r.case("empty-artifact", "v03-blob", |d| d.artifact.clear()),
        r.case("artifact-with-a-byte-more", "v03-blob", |d| {
            d.artifact.push(b'\n')
        }),
        entry.case("changed-signature-in-an-old-log", "old-log-v03-blob", |d| {
            *d.signature_mut().last_mut().expect("bytes") ^= 1;
        }),
        entry.case("message-digest-of-another-file", "v03-blob", |d| {
            put_message_digest(d, HashAlgorithm::Sha256, b"another file");
        }),
        entry.case(
            "message-digest-of-another-file-and-an-old-log",
            "old-log-v03-blob",
            |d| {
                put_message_digest(d, HashAlgorithm::Sha256, b"another file");
            },
        ),
        // No entry is about this digest, so that the artifact alone shows the lie.
        Refusals::of(Category::Signature, "signature", "DIGEST_MISMATCH").case(
            "message-digest-by-another-algorithm-of-another-file",
            "v03-blob",
            |d| {
                put_message_digest(d, HashAlgorithm::Sha512, b"another file");
                d.needs_more_than_sha256 = true;
            },
        ),
    ]
}

fn forge(draft: &mut Draft) {
    draft.signing.forged = true;
    draft.sign();
}

fn put_message_digest(draft: &mut Draft, algorithm: HashAlgorithm, file: &[u8]) {
    draft.message().message_digest = Some(common::HashOutput {
        algorithm: algorithm.number(),
        digest: algorithm.digest(file).as_bytes().to_vec(),
    });
}

fn statements() -> Vec<Recipe> {
    let subject = Refusals::of(Category::Signature, "artifact", "SUBJECT_MISSING");
    let malformed = Refusals::of(Category::Signature, "artifact", "STATEMENT_MALFORMED");
    let predicate = Refusals::of(Category::Signature, "predicate", "PREDICATE_TYPE_MISMATCH");
    vec![
        subject.case("statement-about-another-artifact", "v03-statement", |d| {
            d.artifact = b"another artifact".to_vec();
        }),
        subject.case("statement-about-another-artifact-in-an-old-log", "old-log-dsse", |d| {
            d.artifact = b"another artifact".to_vec();
        }),
        malformed.case("payload-is-no-json", "v03-statement", |d| sign_text(d, "what?")),
        malformed.case("statement-of-unknown-type", "v03-statement", |d| {
            sign_text(d, &provenance().replace("Statement/v1", "Statement/v2"));
        }),
        malformed.case("statement-without-subject", "v03-statement", |d| {
            sign_text(
                d,
                &format!(
                    r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"{PREDICATE}"}}"#
                ),
            );
        }),
        malformed.case("statement-with-a-predicate-that-is-a-text", "v03-statement", |d| {
            let text = provenance();
            let (front, _) = text.split_once(r#""predicate":"#).expect("a predicate");
            sign_text(d, &format!(r#"{front}"predicate":"fine"}}"#));
        }),
        malformed.case("statement-with-repeated-member", "v03-statement", |d| {
            sign_text(
                d,
                &provenance().replacen('{', r#"{"predicateType":"https://other.example/v1","#, 1),
            );
        }),
        malformed.case("subject-with-two-digests-of-one-algorithm", "v03-statement", |d| {
            sign_text(
                d,
                &provenance().replacen(r#"{"sha256""#, r#"{"sha256":"00","sha256""#, 1),
            );
        }),
        Refusals::of(Category::Signature, "artifact", "PAYLOAD_TYPE_UNSUPPORTED").case(
            "payload-of-another-type",
            "v03-statement",
            |d| d.envelope().payload_type = "text/plain".into(),
        ),
        predicate.case("predicate-type-nobody-asked-for", "predicate-type-that-was-asked-for", |d| {
            d.demands.predicate_type = Some("https://example.com/scan/v1".into());
        }),
        predicate.case("predicate-type-is-only-the-beginning", "predicate-type-that-was-asked-for", |d| {
            d.demands.predicate_type = Some(PREDICATE.replace("/v1", "/v"));
        }),
    ]
}

fn sign_text(draft: &mut Draft, statement: &str) {
    draft.form = Form::Statement(statement.into());
    draft.sign();
}

fn entry() -> Refusals {
    Refusals::of(Category::Entry, "log", "LOG_ENTRY_MISMATCH")
}

/// Logs of the second generation: the entry is rebuilt from the bundle.
fn new_entries() -> Vec<Recipe> {
    let r = entry();
    vec![
        r.case("entry-of-another-signature", "v03-blob", |d| {
            let other = signed_by_another(d);
            *d.entry() = other;
        }),
        r.case("entry-of-another-artifact", "v03-blob", |d| {
            rebuild(d, |entry| {
                entry.data = HashAlgorithm::Sha256.digest(b"another artifact");
            });
        }),
        r.case("entry-with-another-certificate", "v03-blob", |d| {
            let other = d.world.enroll(&d.signing.clone());
            let der = other.certificate.der().to_vec();
            rebuild_with(d, |entry| {
                entry.signature.verifier = VerifierMaterial::X509Certificate(der);
            });
        }),
        r.case(
            "entry-with-the-key-instead-of-the-certificate",
            "v03-blob",
            |d| {
                let key = d.signer.as_ref().expect("a certificate").key.public_key();
                let spki = key.spki_der().to_vec();
                rebuild_with(d, |entry| {
                    entry.signature.verifier = VerifierMaterial::PublicKey(spki);
                });
            },
        ),
        r.case("entry-with-another-algorithm", "v03-blob", |d| {
            rebuild(d, |entry| {
                entry.signature.key_details = sealwright_crypto::Algorithm::EcdsaP384Sha384;
            });
        }),
        r.case("entry-with-another-signature", "v03-blob", |d| {
            rebuild(d, |entry| {
                *entry.signature.content.last_mut().expect("bytes") ^= 1;
            });
        }),
        // Bundle, leaf and proof are right, and the copy of the body says something else.
        r.case("body-changed-beside-a-right-bundle", "v03-blob", |d| {
            edit_body(d, |body| {
                let own = base64::encode(HashAlgorithm::Sha256.digest(ARTIFACT).as_bytes());
                let other = base64::encode(HashAlgorithm::Sha256.digest(b"other").as_bytes());
                body.replace(&own, &other)
            });
        }),
        r.case("body-with-white-space", "v03-blob", |d| {
            edit_body(d, |body| body.replacen('{', "{ ", 1));
        }),
        r.case("body-that-is-no-entry", "v03-blob", |d| {
            edit_body(d, |_| "{}".into())
        }),
        r.case("statement-entry-of-another-payload", "v03-statement", |d| {
            let text = statement(ARTIFACT, "https://example.com/other/v1");
            let signer = d.signer.clone().expect("a certificate");
            let other = d.world.sign_statement_as(&signer, &text, &d.signing);
            put_entry_of(d, other);
        }),
        // The same key, certificate and payload: only the signature, fresh each time, tells the two apart.
        r.case(
            "statement-entry-of-another-signature-by-the-same-key",
            "v03-statement",
            |d| {
                let before = d.bundle.clone();
                d.sign_again();
                put_entry_of(d, before);
            },
        ),
        r.case(
            "envelope-entry-of-another-payload",
            "statement-logged-as-envelope",
            |d| {
                d.log_envelope_of(b"another payload");
            },
        ),
        r.case(
            "envelope-entry-of-another-signature",
            "statement-logged-as-envelope",
            |d| {
                let before = d.bundle.clone();
                d.sign_again();
                put_entry_of(d, before);
            },
        ),
        r.case("envelope-entry-for-a-blob", "v03-blob", |d| {
            d.log_envelope_of(ARTIFACT);
        }),
    ]
}

/// The entry of another signer's signature over the same artifact.
fn signed_by_another(draft: &mut Draft) -> rekor::TransparencyLogEntry {
    let signing = draft.signing.clone();
    let other = draft.world.sign_blob(ARTIFACT, &signing);
    other
        .verification_material
        .expect("material")
        .tlog_entries
        .remove(0)
}

fn put_entry_of(draft: &mut Draft, other: sealwright_proto::bundle::v1::Bundle) {
    let mut entries = other.verification_material.expect("material").tlog_entries;
    *draft.entry() = entries.remove(0);
}

fn rebuild(draft: &mut Draft, change: fn(&mut HashedRekord)) {
    rebuild_with(draft, change);
}

/// Changes what the entry says; the log takes and proves the result.
fn rebuild_with(draft: &mut Draft, change: impl FnOnce(&mut HashedRekord)) {
    let body = draft.entry().canonicalized_body.clone();
    let Ok(Entry::HashedRekord(mut entry)) = Entry::parse(&body) else {
        panic!("a hashedrekord")
    };
    change(&mut entry);
    *draft.entry() = draft.world.log.add_among_others(&entry, (1, 1));
}

/// Changes the copy of the body, and nothing in the log.
fn edit_body(draft: &mut Draft, edit: fn(String) -> String) {
    let body = String::from_utf8(draft.entry().canonicalized_body.clone()).expect("text");
    let edited = edit(body.clone());
    assert_ne!(edited, body, "the edit changes something");
    draft.entry().canonicalized_body = edited.into_bytes();
}

/// Logs of the first generation: the body that they vouch for is compared part by part.
fn old_entries() -> Vec<Recipe> {
    let r = entry();
    vec![
        r.case("old-entry-of-another-artifact", "old-log-v03-blob", |d| {
            relog_with_artifact(d, b"another artifact");
        }),
        r.case(
            "old-entry-of-another-artifact-in-v01",
            "old-log-v01-blob",
            |d| {
                relog_with_artifact(d, b"another artifact");
            },
        ),
        r.case(
            "old-entry-with-another-certificate",
            "old-log-v03-blob",
            relog_with_other_certificate,
        ),
        r.case(
            "old-entry-with-another-certificate-and-signature",
            "old-log-v03-blob",
            |d| {
                let before = d.bundle.clone();
                d.sign();
                put_entry_of(d, before);
            },
        ),
        r.case(
            "old-entry-with-unreadable-certificate",
            "old-log-v03-blob",
            |d| {
                d.relog_old(|body| body.replacen(r#"{"content":"LS0t"#, r#"{"content":"LS0u"#, 1));
            },
        ),
        r.case("old-entry-of-unknown-digest", "old-log-v03-blob", |d| {
            d.relog_old(|body| body.replacen(r#""algorithm":"sha256""#, r#""algorithm":"md5""#, 1));
        }),
        r.case(
            "old-entry-of-a-digest-named-in-capitals",
            "old-log-v03-blob",
            |d| {
                d.relog_old(|body| {
                    body.replacen(r#""algorithm":"sha256""#, r#""algorithm":"SHA256""#, 1)
                });
            },
        ),
        r.case(
            "old-entry-that-calls-itself-something-else",
            "old-log-v03-blob",
            |d| {
                d.relog_old(|body| {
                    body.replacen(r#""kind":"hashedrekord""#, r#""kind":"rekord""#, 1)
                });
            },
        ),
        r.case(
            "old-entry-of-another-version-inside",
            "old-log-v03-blob",
            |d| {
                d.relog_old(|body| body.replacen("0.0.1", "0.0.2", 1));
            },
        ),
        r.case("old-entry-with-repeated-member", "old-log-v03-blob", |d| {
            d.relog_old(|body| body.replacen('{', r#"{"kind":"dsse","#, 1));
        }),
        r.case("old-entry-that-is-no-json", "old-log-v03-blob", |d| {
            d.relog_old(|_| "an entry".into());
        }),
        r.case(
            "dsse-entry-of-another-envelope",
            "old-log-dsse",
            relog_with_other_payload,
        ),
        r.case(
            "dsse-entry-of-another-signature-by-the-same-key",
            "old-log-dsse",
            |d| {
                let before = d.bundle.clone();
                d.sign_again();
                put_entry_of(d, before);
            },
        ),
        r.case(
            "dsse-entry-with-another-certificate",
            "old-log-dsse",
            relog_with_other_certificate,
        ),
        r.case("dsse-entry-with-two-signatures", "old-log-dsse", |d| {
            d.relog_old(|body| {
                let start = body.find(r#"{"signature""#).expect("a signature");
                let end = body[start..].find('}').expect("its end") + start + 1;
                body.replacen(&body[start..end], &format!("{0},{0}", &body[start..end]), 1)
            });
        }),
        r.case(
            "intoto-entry-of-another-envelope",
            "old-log-intoto",
            relog_with_other_payload,
        ),
        r.case(
            "intoto-entry-of-another-signature-by-the-same-key",
            "old-log-intoto",
            |d| {
                let before = d.bundle.clone();
                d.sign_again();
                put_entry_of(d, before);
            },
        ),
        r.case(
            "intoto-entry-with-another-certificate",
            "old-log-intoto",
            relog_with_other_certificate,
        ),
        r.case(
            "intoto-entry-of-another-payload-type",
            "old-log-intoto",
            |d| {
                d.relog_old(|body| body.replacen("application/vnd.in-toto+json", "text/plain", 1));
            },
        ),
        r.case("dsse-entry-for-a-blob", "old-log-v03-blob", |d| {
            let body = crate::rekor_v1::dsse(ARTIFACT, &d.signature(), "");
            d.log_old(crate::rekor_v1::DSSE, &body, super::SIGNED_AT + 3);
        }),
        Refusals::of(Category::Entry, "identity", "KEY_MISMATCH").case(
            "old-entry-with-another-key",
            "key-in-an-old-log",
            |d| {
                let other = super::draft::new_key(sealwright_crypto::KeyType::EcP256);
                let body = crate::rekor_v1::hashedrekord(
                    ARTIFACT,
                    &d.signature(),
                    &other.public_key().to_pem(),
                );
                d.log_old(crate::rekor_v1::HASHEDREKORD, &body, super::SIGNED_AT + 3);
            },
        ),
    ]
}

fn relog_with_artifact(draft: &mut Draft, artifact: &[u8]) {
    let own = crate::rekor_v1::sha256_hex(ARTIFACT);
    let other = crate::rekor_v1::sha256_hex(artifact);
    draft.relog_old(|body| body.replacen(&own, &other, 1));
}

fn relog_with_other_payload(draft: &mut Draft) {
    let own = crate::rekor_v1::sha256_hex(&draft.envelope().payload);
    let other = crate::rekor_v1::sha256_hex(b"another payload");
    draft.relog_old(|body| body.replacen(&own, &other, 1));
}

fn relog_with_other_certificate(draft: &mut Draft) {
    let pem =
        |certificate: &sealwright_pki::Certificate| base64::encode(certificate.to_pem().as_bytes());
    let own = pem(&draft.signer.as_ref().expect("a certificate").certificate);
    let other = draft.world.enroll(&draft.signing.clone());
    let other = pem(&other.certificate);
    draft.relog_old(|body| body.replacen(&own, &other, 1));
}

fn kinds() -> Vec<Recipe> {
    let unsupported = Refusals::of(Category::Entry, "log", "LOG_ENTRY_TYPE_UNSUPPORTED");
    let r = entry();
    vec![
        unsupported.case("unknown-kind", "v03-blob", |d| put_kind(d, "rpm", "0.0.1")),
        unsupported.case("unknown-version-of-a-kind", "v03-blob", |d| {
            put_kind(d, "hashedrekord", "0.0.3");
        }),
        unsupported.case("no-kind", "v03-blob", |d| put_kind(d, "", "")),
        r.case("new-entry-that-calls-itself-old", "v03-blob", |d| {
            put_kind(d, "hashedrekord", "0.0.1");
        }),
        r.case("blob-entry-that-calls-itself-envelope", "v03-blob", |d| {
            put_kind(d, "dsse", "0.0.2");
        }),
        r.case(
            "old-dsse-entry-that-calls-itself-intoto",
            "old-log-dsse",
            |d| {
                put_kind(d, "intoto", "0.0.2");
            },
        ),
    ]
}

fn put_kind(draft: &mut Draft, kind: &str, version: &str) {
    draft.entry().kind_version = Some(rekor::KindVersion {
        kind: kind.into(),
        version: version.into(),
    });
}

fn proofs() -> Vec<Recipe> {
    let r = Refusals::of(Category::Proof, "log", "INCLUSION_PROOF_INVALID");
    let structure = Refusals::of(Category::Proof, "structure", "BUNDLE_STRUCTURE");
    vec![
        structure.case("no-proof", "v03-blob", |d| d.entry().inclusion_proof = None),
        structure.case("no-proof-in-v02", "old-log-v02-blob", |d| {
            d.entry().inclusion_proof = None;
        }),
        structure.case("no-proof-of-an-intoto-entry", "old-log-intoto", |d| {
            d.entry().inclusion_proof = None;
        }),
        structure.case("no-checkpoint", "v03-blob", |d| d.proof().checkpoint = None),
        r.case("changed-hash-in-the-proof", "v03-blob", |d| {
            d.proof().hashes[0][0] ^= 1
        }),
        r.case("changed-hash-in-an-old-proof", "old-log-v03-blob", |d| {
            d.proof().hashes[1][31] ^= 0x80;
        }),
        r.case("hash-missing-from-the-proof", "v03-blob", |d| {
            d.proof().hashes.pop();
        }),
        r.case("hash-too-many-in-the-proof", "v03-blob", |d| {
            d.proof().hashes.push(vec![0; 32]);
        }),
        r.case("hash-of-31-bytes", "v03-blob", |d| {
            d.proof().hashes[0].truncate(31);
        }),
        r.case("hashes-in-reverse", "v03-blob", |d| {
            d.proof().hashes.reverse()
        }),
        // A right proof of an earlier tree beside the checkpoint of the tree of now.
        r.case("proof-of-an-earlier-tree", "v03-blob", |d| {
            let index = usize::try_from(d.proof().log_index).expect("an index");
            d.world
                .log
                .add_body_among_others(b"more".to_vec(), (10, 10));
            let now = d.world.log.entry(index).inclusion_proof.expect("a proof");
            let proof = d.proof();
            proof.checkpoint = now.checkpoint;
            (proof.root_hash, proof.tree_size) = (now.root_hash, now.tree_size);
        }),
        // The checkpoint is the log's, and of another tree than the one that the proof leads to.
        r.case("checkpoint-with-another-root", "v03-blob", |d| {
            let root = [7; 32];
            let size = d.proof().tree_size.unsigned_abs();
            let checkpoint = d.world.log.checkpoint(size, root);
            *d.checkpoint() = checkpoint;
            d.proof().root_hash = root.to_vec();
        }),
        r.case(
            "old-checkpoint-with-another-root",
            "old-log-v03-blob",
            |d| {
                let root = [7; 32];
                let size = d.proof().tree_size.unsigned_abs();
                let checkpoint = d.world.log.checkpoint(size, root);
                *d.checkpoint() = checkpoint;
                d.proof().root_hash = root.to_vec();
            },
        ),
        r.case("neighbour-s-index", "v03-blob", |d| {
            d.proof().log_index -= 1;
            d.entry().log_index -= 1;
        }),
        r.case("index-beyond-the-tree", "v03-blob", |d| {
            let size = d.proof().tree_size;
            d.proof().log_index = size;
            d.entry().log_index = size;
        }),
        r.case("empty-tree", "first-leaf-of-a-log", |d| {
            let empty = sealwright_tlog::hash::empty_root();
            let checkpoint = d.world.log.checkpoint(0, empty);
            *d.checkpoint() = checkpoint;
            let proof = d.proof();
            (proof.root_hash, proof.tree_size) = (empty.to_vec(), 0);
        }),
        r.case(
            "rebuilt-body-is-not-in-the-log",
            "body-left-to-be-rebuilt",
            |d| {
                let index = usize::try_from(d.proof().log_index).expect("an index");
                d.world.log.leaves[index] = b"something else".to_vec();
                *d.entry() = d.world.log.entry(index);
                d.entry().canonicalized_body.clear();
            },
        ),
    ]
}

/// What stands in the checkpoint stands beside it once more.
fn repetitions() -> Vec<Recipe> {
    let r = Refusals::of(Category::Proof, "log", "LOG_ENTRY_MISMATCH");
    vec![
        r.case("tree-size-beside-the-checkpoint-differs", "v03-blob", |d| {
            d.proof().tree_size += 1;
        }),
        r.case("root-beside-the-checkpoint-differs", "v03-blob", |d| {
            d.proof().root_hash[0] ^= 1;
        }),
        r.case("index-beside-the-proof-differs", "v03-blob", |d| {
            d.entry().log_index += 1;
        }),
        r.case(
            "tree-size-beside-an-old-checkpoint-differs",
            "old-log-v03-blob",
            |d| {
                d.proof().tree_size += 1;
            },
        ),
    ]
}
