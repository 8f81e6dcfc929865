//! What a bundle says, for people and scripts. Nothing here is verified, and the output says so.

use sealwright_bundle::Bundle;
use sealwright_bundle::bundle::{Content, LogEntry, SignerMaterial};
use sealwright_bundle::verdict::UnixTime;
use sealwright_crypto::base64;
use sealwright_pki::certificate::{Certificate, GeneralName};
use sealwright_pki::timestamp;
use serde_json::{Map, Value, json};

/// The extension in which Fulcio-like authorities keep the issuer, as a UTF-8 string in DER.
const ISSUER_V2: &str = "1.3.6.1.4.1.57264.1.8";

/// A bundle's content as one JSON object.
#[must_use]
pub fn inspect(bundle: &Bundle) -> Value {
    json!({
        "verified": false,
        "mediaType": bundle.version().media_type(),
        "signer": signer(bundle.signer()),
        "content": content(bundle.content()),
        "logEntries": bundle.log_entries().iter().map(log_entry).collect::<Vec<_>>(),
        "timestamps": bundle.timestamps().iter().map(|token| timestamp_claim(token)).collect::<Vec<_>>(),
    })
}

/// Unix seconds as RFC 3339, written as verdicts write them.
#[must_use]
pub fn rfc3339(unix: i64) -> String {
    UnixTime(unix).to_string()
}

fn signer(material: &SignerMaterial) -> Value {
    match material {
        SignerMaterial::PublicKeyHint(hint) => json!({ "kind": "key", "hint": hint }),
        SignerMaterial::Certificate(leaf) => certificate(leaf, 0),
        SignerMaterial::CertificateChain(leaf, others) => certificate(leaf, others.len()),
        _ => json!({ "kind": "unknown" }),
    }
}

fn certificate(leaf: &Certificate, others: usize) -> Value {
    let names: Vec<String> = leaf.subject_alt_names().iter().map(name).collect();
    let mut value = json!({
        "kind": "certificate",
        "subjectAlternativeNames": names,
        "serial": leaf.serial_hex(),
        "issuedBy": leaf.issuer(),
        "notBefore": rfc3339(leaf.not_before()),
        "notAfter": rfc3339(leaf.not_after()),
        "pem": leaf.to_pem(),
    });
    if let (Some(fields), Some(issuer)) = (value.as_object_mut(), issuer(leaf)) {
        fields.insert("identityIssuer".into(), issuer.into());
    }
    if let (Some(fields), true) = (value.as_object_mut(), others > 0) {
        fields.insert("furtherCertificates".into(), others.into());
    }
    value
}

fn issuer(leaf: &Certificate) -> Option<String> {
    let extension = leaf
        .extensions()
        .find(|extension| extension.oid.to_string() == ISSUER_V2)?;
    let text =
        sealwright_pki::asn1::only(extension.value, sealwright_pki::asn1::tag::UTF8_STRING).ok()?;
    String::from_utf8(text.value.to_vec()).ok()
}

fn name(name: &GeneralName) -> String {
    match name {
        GeneralName::Email(text) | GeneralName::Uri(text) | GeneralName::Dns(text) => text.clone(),
        other => format!("{other:?}"),
    }
}

fn content(content: &Content) -> Value {
    match content {
        Content::Message(message) => {
            let digest = message.digest.as_ref();
            let digest = digest.map(|digest| {
                format!(
                    "{}:{}",
                    digest.algorithm().short_name(),
                    hex::encode(digest.as_bytes())
                )
            });
            json!({ "kind": "messageSignature", "digest": digest, "signature": base64::encode(&message.signature) })
        }
        Content::Dsse(envelope) => {
            let mut fields = Map::new();
            fields.insert("kind".into(), "dsseEnvelope".into());
            fields.insert("payloadType".into(), envelope.payload_type.clone().into());
            fields.insert(
                "signature".into(),
                base64::encode(&envelope.signature).into(),
            );
            let payload: Option<Value> = serde_json::from_slice(&envelope.payload).ok();
            let payload = payload.unwrap_or_else(|| base64::encode(&envelope.payload).into());
            fields.insert("payload".into(), payload);
            fields.into()
        }
        _ => json!({ "kind": "unknown" }),
    }
}

fn log_entry(entry: &LogEntry) -> Value {
    let proof = entry.proof.as_ref();
    let origin = proof
        .and_then(|proof| proof.checkpoint.as_deref())
        .and_then(|checkpoint| checkpoint.lines().next());
    json!({
        "logIndex": entry.log_index,
        "logId": base64::encode(&entry.log_id),
        "kind": entry.kind,
        "version": entry.version,
        "treeSize": proof.map(|proof| proof.tree_size),
        "origin": origin,
    })
}

fn timestamp_claim(token: &[u8]) -> Value {
    match timestamp::inspect(token) {
        Ok(claim) => {
            json!({ "time": rfc3339(claim.gen_time), "serial": hex::encode(&claim.serial), "policy": claim.policy.to_string() })
        }
        Err(error) => json!({ "error": error.to_string() }),
    }
}
