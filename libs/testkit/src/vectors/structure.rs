//! Documents that are no bundles, and bundles that break a rule of their format.

use sealwright_proto::bundle::v1::verification_material::Content as Material;
use sealwright_proto::common::v1 as common;

use super::draft::{Draft, x509};
use super::{Category, Recipe, Refusals};

pub(super) fn recipes() -> Vec<Recipe> {
    [documents(), versions(), rules(), material(), entries()].concat()
}

fn refusals(code: &'static str) -> Refusals {
    Refusals::of(Category::Structure, "structure", code)
}

fn documents() -> Vec<Recipe> {
    let r = refusals("BUNDLE_MALFORMED");
    vec![
        r.case("empty-document", "v03-blob", |d| d.edit = |_| String::new()),
        r.case("document-is-null", "v03-blob", |d| {
            d.edit = |_| "null".into();
        }),
        r.case("malformed-json", "v03-blob", |d| {
            d.edit = |text| text[..text.len() - 1].to_owned();
        }),
        r.case("second-document-behind", "v03-blob", |d| {
            d.edit = |text| format!("{text} {{}}");
        }),
        r.case("repeated-member", "v03-blob", |d| {
            d.edit = |text| text.replacen('{', r#"{"mediaType":"x","#, 1);
        }),
        r.case("repeated-member-inside", "v03-blob", |d| {
            d.edit = |text| text.replacen(r#""logId":"#, r#""logId":{},"logId":"#, 1);
        }),
        r.case("unknown-member", "v03-blob", |d| {
            d.edit = |text| text.replacen('{', r#"{"unknown":1,"#, 1);
        }),
        r.case("unknown-hash-name", "v03-blob", |d| {
            d.edit = |text| text.replacen("SHA2_256", "SHA2_257", 1);
        }),
        r.case("invalid-base64-signature", "v03-blob", |d| {
            d.edit = |text| text.replacen(r#""signature":"M"#, r#""signature":"!"#, 1);
        }),
        r.case("invalid-base64-certificate", "v03-blob", |d| {
            d.edit = |text| text.replacen(r#""rawBytes":"MII"#, r#""rawBytes":"!II"#, 1);
        }),
        r.case("signature-is-a-number", "v03-blob", |d| {
            d.edit = |text| text.replacen(r#""signature":"#, r#""signature":7,"x":"#, 1);
        }),
        r.case("two-contents", "v03-blob", |d| {
            d.edit = |text| text.replacen('{', r#"{"dsseEnvelope":{},"#, 1);
        }),
        r.case("two-signers", "v03-blob", |d| {
            d.edit = |text| {
                text.replacen(
                    r#""certificate":"#,
                    r#""publicKey":{"hint":"a"},"certificate":"#,
                    1,
                )
            };
        }),
        r.case("nested-deeper-than-64", "v03-blob", |d| {
            d.edit = |text| {
                let deep = format!("{}{}", "[".repeat(65), "]".repeat(65));
                text.replacen('{', &format!(r#"{{"unknown":{deep},"#), 1)
            };
        }),
        r.case("byte-order-mark", "v03-blob", |d| {
            d.edit = |text| format!("\u{feff}{text}");
        }),
    ]
}

fn versions() -> Vec<Recipe> {
    let r = refusals("BUNDLE_VERSION_UNSUPPORTED");
    vec![
        r.case("unknown-version", "v03-blob", |d| {
            d.bundle.media_type = "application/vnd.dev.sigstore.bundle.v0.4+json".into();
        }),
        r.case("unknown-version-in-the-old-form", "v03-blob", |d| {
            d.bundle.media_type = "application/vnd.dev.sigstore.bundle+json;version=0.4".into();
        }),
        r.case("media-type-in-upper-case", "v03-blob", |d| {
            d.bundle.media_type = d.bundle.media_type.to_uppercase();
        }),
        r.case("no-media-type", "v03-blob", |d| d.bundle.media_type.clear()),
    ]
}

fn rules() -> Vec<Recipe> {
    let r = refusals("BUNDLE_STRUCTURE");
    vec![
        r.case("no-material", "v03-blob", |d| {
            d.bundle.verification_material = None;
        }),
        r.case("no-signer", "v03-blob", |d| d.material().content = None),
        r.case("no-content", "v03-blob", |d| d.bundle.content = None),
        r.case("empty-signature", "v03-blob", |d| {
            d.message().signature.clear()
        }),
        r.case("empty-signature-of-an-envelope", "v03-statement", |d| {
            d.signature_mut().clear();
        }),
        r.case("envelope-without-signature", "v03-statement", |d| {
            d.envelope().signatures.clear();
        }),
        r.case("envelope-with-two-signatures", "v03-statement", |d| {
            let only = d.envelope().signatures[0].clone();
            d.envelope().signatures.push(only);
        }),
        r.case("key-id-contradicts-hint", "key-statement", |d| {
            d.envelope().signatures[0].keyid = "another key".into();
        }),
        r.case("message-digest-too-short", "v03-blob", |d| {
            message_digest(d).digest.truncate(31);
        }),
        r.case("message-digest-of-no-algorithm", "v03-blob", |d| {
            message_digest(d).algorithm = 0;
        }),
    ]
}

fn message_digest(draft: &mut Draft) -> &mut common::HashOutput {
    draft.message().message_digest.as_mut().expect("a digest")
}

fn material() -> Vec<Recipe> {
    let r = refusals("BUNDLE_STRUCTURE");
    let unreadable = refusals("CERTIFICATE_MALFORMED");
    vec![
        r.case("empty-certificate-chain", "v02-blob-in-a-new-log", |d| {
            d.put_chain(Vec::new());
        }),
        r.case("root-in-the-chain", "v02-blob-in-a-new-log", |d| {
            let chain = vec![d.leaf(), d.authority(0), d.authority(1)];
            d.put_chain(chain);
        }),
        r.case("root-in-the-chain-of-an-old-log", "old-log-v02-blob", |d| {
            let chain = vec![d.leaf(), d.authority(1)];
            d.put_chain(chain);
        }),
        r.case(
            "root-in-a-permitted-chain",
            "v03-chain-by-permission",
            |d| {
                let chain = vec![d.leaf(), d.authority(0), d.authority(1)];
                d.put_chain(chain);
            },
        ),
        r.case("chain-without-permission", "v03-chain-by-permission", |d| {
            d.demands.chain_allowed = false;
        }),
        r.case("bare-certificate-in-v02", "v02-blob-in-a-new-log", |d| {
            let leaf = d.leaf();
            d.put_certificate(leaf);
        }),
        r.case("chain-in-v03", "v03-blob", |d| {
            let chain = vec![d.leaf(), d.authority(0)];
            d.put_chain(chain);
        }),
        r.case("root-as-signer", "v03-blob", |d| {
            let root = d.authority(1);
            d.put_certificate(root);
        }),
        r.case("issuing-authority-as-signer", "v03-blob", |d| {
            let authority = d.authority(0);
            d.put_certificate(authority);
        }),
        r.case("root-first-in-the-chain", "v02-blob-in-a-new-log", |d| {
            let chain = vec![d.authority(1), d.leaf()];
            d.put_chain(chain);
        }),
        unreadable.case("certificate-is-rubbish", "v03-blob", |d| {
            d.put_certificate(common::X509Certificate {
                raw_bytes: vec![0x30, 0],
            });
        }),
        unreadable.case("certificate-is-empty", "v03-blob", |d| {
            d.put_certificate(common::X509Certificate::default());
        }),
        unreadable.case("bytes-behind-the-certificate", "v03-blob", |d| {
            let mut leaf = d.leaf();
            leaf.raw_bytes.push(0);
            d.put_certificate(leaf);
        }),
        unreadable.case("certificate-cut-short", "v03-blob", |d| {
            let mut leaf = d.leaf();
            leaf.raw_bytes.pop();
            d.put_certificate(leaf);
        }),
        unreadable.case("certificate-is-pem", "v03-blob", |d| {
            let pem = d.world.certificate_authority.chain[0].to_pem();
            d.put_certificate(common::X509Certificate {
                raw_bytes: pem.into_bytes(),
            });
        }),
        unreadable.case("rubbish-behind-the-leaf", "v02-blob-in-a-new-log", |d| {
            let rubbish = common::X509Certificate {
                raw_bytes: b"rubbish".to_vec(),
            };
            let chain = vec![d.leaf(), rubbish];
            d.put_chain(chain);
        }),
        r.case("authority-of-times-as-signer", "v03-blob", |d| {
            let root = x509(&d.world.timestamp_authority.chain[1]);
            d.material().content = Some(Material::Certificate(root));
        }),
    ]
}

fn entries() -> Vec<Recipe> {
    let r = refusals("BUNDLE_STRUCTURE");
    vec![
        r.case("negative-log-index", "v03-blob", |d| {
            d.entry().log_index = -1
        }),
        r.case(
            "negative-log-index-in-an-old-log",
            "old-log-v02-blob",
            |d| {
                d.entry().log_index = -1;
            },
        ),
        r.case("negative-index-in-the-proof", "v03-blob", |d| {
            d.proof().log_index = -1;
        }),
        r.case("negative-tree-size", "v03-blob", |d| {
            d.proof().tree_size = i64::MIN;
        }),
        r.case("negative-time", "old-log-v03-blob", |d| {
            d.entry().integrated_time = -1;
        }),
        r.case("no-log-id", "v03-blob", |d| d.entry().log_id = None),
        r.case("no-kind-and-version", "v03-blob", |d| {
            d.entry().kind_version = None;
        }),
        r.case("v01-without-promise", "old-log-v01-blob-with-proof", |d| {
            d.entry().inclusion_promise = None;
        }),
        r.case(
            "second-entry-without-proof",
            "two-logs-of-two-operators",
            |d| {
                d.entries()[1].inclusion_proof = None;
            },
        ),
        r.case(
            "second-entry-without-checkpoint",
            "two-logs-of-two-operators",
            |d| {
                second_proof(d).checkpoint = None;
            },
        ),
        r.case(
            "second-entry-with-empty-checkpoint",
            "two-logs-of-two-operators",
            |d| {
                second_proof(d)
                    .checkpoint
                    .as_mut()
                    .expect("a checkpoint")
                    .envelope
                    .clear();
            },
        ),
        r.case(
            "new-entry-without-proof-beside-an-old-one",
            "old-and-new-log-together",
            |d| {
                d.entries()[1].inclusion_proof = None;
            },
        ),
    ]
}

fn second_proof(draft: &mut Draft) -> &mut sealwright_proto::rekor::v1::InclusionProof {
    draft.entries()[1]
        .inclusion_proof
        .as_mut()
        .expect("a proof")
}
