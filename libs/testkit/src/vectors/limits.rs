//! Sizes: at each limit all is well, or at least read; one above it is refused unread.

use sealwright_proto::common::v1 as common;

use super::draft::{Draft, Form, PREDICATE};
use super::edges::{note_text, with_lines, witness};
use super::{ARTIFACT, Category, Recipe, Refusals, SIGNED_AT, good};
use crate::rekor_v1::sha256_hex;

/// Bytes of a bundle's document.
const MAX_BUNDLE_BYTES: usize = 32 << 20;
/// Log entries, and timestamps.
const MAX_PROOFS: usize = 32;
/// Subjects of a statement.
const MAX_SUBJECTS: usize = 1024;
/// Digests of a subject.
const MAX_DIGESTS: usize = 32;
/// Certificates in a chain.
const MAX_CHAIN: usize = 8;
/// Hashes in a proof.
const MAX_HASHES: usize = 64;
/// Bytes of a checkpoint.
const MAX_CHECKPOINT_BYTES: usize = 64 << 10;
/// Signature lines of a checkpoint.
const MAX_SIGNATURE_LINES: usize = 32;
/// Bytes of a certificate.
const MAX_CERTIFICATE_BYTES: usize = 64 << 10;

pub(super) fn recipes() -> Vec<Recipe> {
    [at_the_limit(), above_it(), read_and_refused()].concat()
}

fn at(name: &'static str, from: &'static str, change: fn(&mut Draft)) -> Recipe {
    good(Category::Limit, name, from, change)
}

fn at_the_limit() -> Vec<Recipe> {
    vec![
        at("document-of-32-mebibytes", "v03-blob", |d| {
            d.edit = |text| padded(text, MAX_BUNDLE_BYTES);
        }),
        at("entries-32", "v03-blob", |d| put_entries(d, MAX_PROOFS)),
        at("timestamps-32", "v03-blob", |d| {
            put_timestamps(d, MAX_PROOFS)
        }),
        at("subjects-1024", "v03-statement", |d| {
            put_subjects(d, MAX_SUBJECTS)
        }),
        at("digests-32", "v03-statement", |d| {
            put_digests(d, MAX_DIGESTS)
        }),
        at("chain-of-8", "v02-blob-in-a-new-log", |d| {
            put_chain_of(d, MAX_CHAIN)
        }),
        at("checkpoint-of-64-kibibytes", "v03-blob", |d| {
            put_checkpoint_of(d, MAX_CHECKPOINT_BYTES);
        }),
        at("signature-lines-32", "v03-blob", |d| {
            put_lines(d, MAX_SIGNATURE_LINES);
        }),
    ]
}

fn above_it() -> Vec<Recipe> {
    let r = Refusals::of(Category::Limit, "structure", "LIMIT_EXCEEDED");
    vec![
        r.case(
            "document-above-32-mebibytes",
            "document-of-32-mebibytes",
            |d| {
                d.edit = |text| padded(text, MAX_BUNDLE_BYTES + 1);
            },
        ),
        r.case("entries-33", "entries-32", |d| {
            put_entries(d, MAX_PROOFS + 1)
        }),
        r.case("timestamps-33", "timestamps-32", |d| {
            put_timestamps(d, MAX_PROOFS + 1);
        }),
        r.case("subjects-1025", "subjects-1024", |d| {
            put_subjects(d, MAX_SUBJECTS + 1);
        }),
        r.case("digests-33", "digests-32", |d| {
            put_digests(d, MAX_DIGESTS + 1)
        }),
        r.case("chain-of-9", "chain-of-8", |d| {
            put_chain_of(d, MAX_CHAIN + 1)
        }),
        r.case("proof-of-65-hashes", "v03-blob", |d| {
            d.proof().hashes = vec![vec![0; 32]; MAX_HASHES + 1];
        }),
        r.case(
            "checkpoint-above-64-kibibytes",
            "checkpoint-of-64-kibibytes",
            |d| {
                put_checkpoint_of(d, MAX_CHECKPOINT_BYTES + 1);
            },
        ),
        r.case("signature-lines-33", "signature-lines-32", |d| {
            put_lines(d, MAX_SIGNATURE_LINES + 1);
        }),
    ]
}

fn read_and_refused() -> Vec<Recipe> {
    let proof = Refusals::of(Category::Limit, "log", "INCLUSION_PROOF_INVALID");
    let certificate = Refusals::of(Category::Limit, "structure", "CERTIFICATE_MALFORMED");
    vec![
        // No tree has so many leaves, so that the longest proof that is read cannot be right.
        proof.case("proof-of-64-hashes", "v03-blob", |d| {
            d.proof().hashes = vec![vec![0; 32]; MAX_HASHES];
        }),
        certificate.case("certificate-above-64-kibibytes", "v03-blob", |d| {
            d.put_certificate(common::X509Certificate {
                raw_bytes: vec![0x30; MAX_CERTIFICATE_BYTES + 1],
            });
        }),
    ]
}

fn padded(text: String, bytes: usize) -> String {
    let missing = bytes - text.len();
    text + &" ".repeat(missing)
}

/// As many entries of the log about the one signature.
fn put_entries(draft: &mut Draft, count: usize) {
    let body = draft.entry().canonicalized_body.clone();
    let indexes: Vec<usize> = (0..count)
        .map(|_| {
            let entry = draft.world.log.add_body_among_others(body.clone(), (0, 0));
            usize::try_from(entry.log_index).expect("a small index")
        })
        .collect();
    *draft.entries() = indexes
        .into_iter()
        .map(|index| draft.world.log.entry(index))
        .collect();
}

/// As many tokens of the one authority, a second apart.
fn put_timestamps(draft: &mut Draft, count: usize) {
    draft.timestamps().clear();
    let authority = draft.world.timestamp_authority.clone();
    for second in (1..).take(count) {
        draft.add_token(&authority, SIGNED_AT + second);
    }
}

fn put_subjects(draft: &mut Draft, count: usize) {
    let own = format!(
        r#"{{"name":"artifact","digest":{{"sha256":"{}"}}}}"#,
        sha256_hex(ARTIFACT)
    );
    let mut subjects: Vec<String> = (1..count)
        .map(|n| {
            format!(
                r#"{{"name":"{n}","digest":{{"sha256":"{}"}}}}"#,
                sha256_hex(&n.to_be_bytes())
            )
        })
        .collect();
    subjects.push(own);
    sign_about(draft, &subjects.join(","));
}

fn put_digests(draft: &mut Draft, count: usize) {
    let others: String = (1..count)
        .map(|n| format!(r#""algorithm{n}":"00","#))
        .collect();
    let subject = format!(
        r#"{{"name":"artifact","digest":{{{others}"sha256":"{}"}}}}"#,
        sha256_hex(ARTIFACT)
    );
    sign_about(draft, &subject);
}

fn sign_about(draft: &mut Draft, subjects: &str) {
    draft.form = Form::Statement(format!(
        r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{subjects}],"predicateType":"{PREDICATE}","predicate":{{}}}}"#
    ));
    draft.sign();
}

/// The leaf and the issuing certificate as often as it takes.
fn put_chain_of(draft: &mut Draft, count: usize) {
    let mut chain = vec![draft.leaf()];
    chain.resize(count, draft.authority(0));
    draft.put_chain(chain);
}

/// A checkpoint with an extension line that fills it up to a size.
fn put_checkpoint_of(draft: &mut Draft, bytes: usize) {
    let text = note_text(draft);
    let first_lines: String = text.split_inclusive('\n').take(3).collect();
    let short = draft.world.log.sign_text(&format!("{first_lines}x\n"));
    let fill = "x".repeat(bytes - short.len() + 1);
    *draft.checkpoint() = draft.world.log.sign_text(&format!("{first_lines}{fill}\n"));
    assert_eq!(draft.checkpoint().len(), bytes);
}

fn put_lines(draft: &mut Draft, count: usize) {
    with_lines(draft, |own, text| {
        let mut lines: Vec<_> = (1..count)
            .map(|n| witness(&format!("w{n}.example.org"), text))
            .collect();
        lines.push(own);
        lines
    });
}
