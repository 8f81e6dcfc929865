//! Entries of the first generation of signature logs (Rekor v1): bodies with hexadecimal digests and PEM, the log's
//! signed promise with a time, and an index over all trees of the log beside the one within the tree.

use sealwright_crypto::{HashAlgorithm, Signer as _, base64};
use sealwright_proto::rekor::v1 as rekor;

use crate::bundle_factory::SignatureLog;

/// How much larger the index over all trees is than the one within the tree.
pub const INDEX_OFFSET: i64 = 1_000_000;

/// `kind` and `apiVersion` of an entry.
pub type KindVersion = (&'static str, &'static str);
/// An entry about a file's digest.
pub const HASHEDREKORD: KindVersion = ("hashedrekord", "0.0.1");
/// An entry about a DSSE envelope.
pub const DSSE: KindVersion = ("dsse", "0.0.1");
/// The older entry about an in-toto statement in a DSSE envelope.
pub const INTOTO: KindVersion = ("intoto", "0.0.2");

/// Body of an entry about `artifact`, whose signature the PEM certificate or key verifies.
#[must_use]
pub fn hashedrekord(artifact: &[u8], signature: &[u8], verifier_pem: &str) -> String {
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{{"algorithm":"sha256","value":"{}"}}}},"signature":{{"content":"{}","publicKey":{{"content":"{}"}}}}}}}}"#,
        sha256_hex(artifact),
        base64::encode(signature),
        base64::encode(verifier_pem.as_bytes()),
    )
}

/// Body of a `dsse` entry about an envelope with this payload and this one signature.
#[must_use]
pub fn dsse(payload: &[u8], signature: &[u8], verifier_pem: &str) -> String {
    // The hash of the envelope is over JSON that no bundle keeps: no verifier can check it, any will do.
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{{"algorithm":"sha256","value":"{}"}},"payloadHash":{{"algorithm":"sha256","value":"{}"}},"signatures":[{{"signature":"{}","verifier":"{}"}}]}}}}"#,
        sha256_hex(b"an envelope as it was uploaded"),
        sha256_hex(payload),
        base64::encode(signature),
        base64::encode(verifier_pem.as_bytes()),
    )
}

/// Body of an `intoto` entry about the same. Its signature is base64 of base64.
#[must_use]
pub fn intoto(payload: &[u8], signature: &[u8], verifier_pem: &str) -> String {
    let signature = base64::encode(base64::encode(signature).as_bytes());
    format!(
        r#"{{"apiVersion":"0.0.2","kind":"intoto","spec":{{"content":{{"envelope":{{"payloadType":"application/vnd.in-toto+json","signatures":[{{"publicKey":"{}","sig":"{signature}"}}]}},"hash":{{"algorithm":"sha256","value":"{}"}},"payloadHash":{{"algorithm":"sha256","value":"{}"}}}}}}}}"#,
        base64::encode(verifier_pem.as_bytes()),
        sha256_hex(b"an envelope as it was uploaded"),
        sha256_hex(payload),
    )
}

impl SignatureLog {
    /// Takes a body of the first generation among others, with the log's promise to have done so at `integrated_time`
    /// (Unix seconds).
    pub fn add_v1(
        &mut self,
        (kind, version): KindVersion,
        body: &str,
        integrated_time: i64,
    ) -> rekor::TransparencyLogEntry {
        let mut entry = self.add_body_among_others(body.as_bytes().to_vec(), (3, 2));
        entry.log_index += INDEX_OFFSET;
        entry.integrated_time = integrated_time;
        entry.kind_version = Some(rekor::KindVersion {
            kind: kind.into(),
            version: version.into(),
        });
        self.promise(&mut entry);
        entry
    }

    /// Signs what the entry says now: body, time, log and index.
    pub fn promise(&self, entry: &mut rekor::TransparencyLogEntry) {
        let log_id = entry.log_id.as_ref().map(|id| hex::encode(&id.key_id));
        let message = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            base64::encode(&entry.canonicalized_body),
            entry.integrated_time,
            log_id.unwrap_or_default(),
            entry.log_index,
        );
        let signature = self
            .key
            .sign_now(message.as_bytes())
            .expect("keys in memory sign at once")
            .expect("a signature");
        entry.inclusion_promise = Some(rekor::InclusionPromise {
            signed_entry_timestamp: signature,
        });
    }
}

/// SHA-256 in hexadecimal, as bodies of this generation and in-toto subjects have it.
#[must_use]
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(HashAlgorithm::Sha256.digest(bytes).as_bytes())
}
