//! What logs store and send, and what is sent to them.

use std::sync::LazyLock;

use sealwright_bundle::TrustedRoot;
use sealwright_log::entry::ct::{self as ct_entry, Submitted};
use sealwright_log::entry::rekor;
use sealwright_pki::{Certificate, sct};
use sealwright_tlog::ct::{
    TileLeaf, parse_leaf_index, parse_tree_head_signature, tree_head_signature,
};
use sealwright_tlog::entry::Entry;
use sealwright_tlog::{proof, tile};

use super::{Target, outcome};
use crate::corpus;
use crate::mutate::Format;

pub(super) const SCT_LIST: Target = Target {
    name: "sct_list",
    format: Format::Bytes,
    dictionary: &[],
    cases: 10_000,
    peak_factor: 32,
    check: sct_list,
};
pub(super) const CT_TILE: Target = Target {
    name: "ct_tile",
    format: Format::Bytes,
    dictionary: &[],
    cases: 8000,
    peak_factor: 64,
    check: ct_tile,
};
pub(super) const PROOF: Target = Target {
    name: "proof",
    format: Format::Bytes,
    dictionary: &[],
    cases: 10_000,
    peak_factor: 16,
    check: proofs,
};
pub(super) const ENTRY: Target = Target {
    name: "entry",
    format: Format::Json,
    dictionary: &[
        "apiVersion",
        "kind",
        "hashedrekord",
        "dsse",
        "0.0.2",
        "SHA2_256",
        "x509Certificate",
        "publicKey",
    ],
    cases: 8000,
    peak_factor: 64,
    check: entry,
};
pub(super) const ENTRY_REQUEST: Target = Target {
    name: "entry_request",
    format: Format::Json,
    dictionary: &[
        "hashedRekordRequestV002",
        "dsseRequestV002",
        "PKIX_ED25519",
        "PKIX_ED25519_PH",
        "x509Certificate",
        "publicKey",
        "verifier",
    ],
    cases: 3000,
    peak_factor: 128,
    check: entry_request,
};
pub(super) const ADD_CHAIN: Target = Target {
    name: "add_chain",
    format: Format::Json,
    dictionary: &["chain"],
    cases: 3000,
    peak_factor: 128,
    check: add_chain,
};

fn sct_list(input: &[u8]) -> String {
    let extension = sct::parse_list_extension(input);
    if let Ok(list) = &extension {
        assert_eq!(
            sct::encode_list_extension(list).as_deref(),
            Ok(input),
            "one list, one encoding"
        );
    }
    outcome(sct::parse_list(input), |list| {
        assert_eq!(
            sct::encode_list(&list).as_deref(),
            Ok(input),
            "one list, one encoding"
        );
        let index = list
            .first()
            .and_then(sct::SignedCertificateTimestamp::leaf_index);
        format!("{} {}", list.len().min(4), index.is_some())
    })
}

fn ct_tile(input: &[u8]) -> String {
    let tree_head = parse_tree_head_signature(input);
    if let Ok((time_ms, signature)) = &tree_head {
        let again = tree_head_signature(*time_ms, signature).expect("what was read can be written");
        assert_eq!(again, input, "one tree head signature, one encoding");
    }
    let bundle = tile::parse_bundle(input);
    if let Ok(entries) = &bundle {
        let mut again = Vec::new();
        for entry in entries {
            tile::put_entry(&mut again, entry).expect("what was read can be written");
        }
        assert_eq!(again, input, "one bundle of entries, one encoding");
    }
    if let Ok(hashes) = tile::parse_tile(input) {
        assert_eq!(hashes.concat(), input, "one tile, one encoding");
    }
    let leaves = TileLeaf::parse_tile(input);
    if let Ok(leaves) = &leaves {
        let again: Vec<u8> = leaves
            .iter()
            .flat_map(|leaf| leaf.encode().expect("what was read can be written"))
            .collect();
        assert_eq!(again, input, "one data tile, one encoding");
        for leaf in leaves {
            leaf.leaf_hash().expect("a leaf has a hash");
            let _ = parse_leaf_index(&leaf.extensions);
        }
    }
    let named = |result: Result<usize, sealwright_tlog::Error>| {
        outcome(result, |count| count.min(3).to_string())
    };
    format!(
        "{} | {} | {}",
        named(leaves.map(|leaves| leaves.len())),
        named(bundle.map(|entries| entries.len())),
        tree_head.is_ok()
    )
}

/// Index, size and hashes as an outsider claims them; then the same hashes as leaves of a tree that is there.
fn proofs(input: &[u8]) -> String {
    let Some((index, rest)) = input.split_first_chunk::<8>() else {
        return "short".to_owned();
    };
    let Some((size, rest)) = rest.split_first_chunk::<8>() else {
        return "short".to_owned();
    };
    let (index, size) = (u64::from_be_bytes(*index), u64::from_be_bytes(*size));
    let (hashes, _) = rest.as_chunks::<32>();
    let included = proof::root_from_inclusion(index, size, &[1; 32], hashes);
    if let Ok(root) = &included {
        proof::verify_inclusion(index, size, &[1; 32], hashes, root)
            .expect("the root that the proof leads to");
        assert!(
            proof::verify_inclusion(index, size, &[2; 32], hashes, root).is_err(),
            "two leaves, one proof"
        );
        if let Some((_, shorter)) = hashes.split_first() {
            assert!(
                proof::verify_inclusion(index, size, &[1; 32], shorter, root).is_err(),
                "a hash less"
            );
        }
    }
    let consistent = proof::verify_consistency(index, &[1; 32], size, &[2; 32], hashes);
    assert!(consistent.is_err(), "two roots that nobody computed");
    format!(
        "{} {}",
        outcome(included, |_| String::new()),
        crate::behaviour::of(&consistent)
    )
}

fn entry(input: &[u8]) -> String {
    outcome(Entry::parse(input), |entry| {
        assert_eq!(
            entry.canonical_body().as_deref(),
            Ok(input),
            "one entry, one body"
        );
        let value: serde_json::Value = serde_json::from_slice(input).expect("a body is JSON");
        assert!(value.is_object(), "a body is an object");
        crate::behaviour::of(&entry.kind_version())
    })
}

fn entry_request(input: &[u8]) -> String {
    static ADMISSION: LazyLock<rekor::Admission> = LazyLock::new(rekor::Admission::default);
    let submission = match sealwright_log::parse_submission(input) {
        Ok(submission) => submission,
        Err(refusal) => {
            return crate::behaviour::of(&refusal.reason())
                + &crate::behaviour::of(&refusal.message());
        }
    };
    outcome(ADMISSION.admit(submission), |admitted| {
        let body = admitted
            .canonical_body()
            .expect("what is admitted is logged");
        assert_eq!(
            Entry::parse(&body),
            Ok(Entry::HashedRekord(admitted.clone())),
            "what is logged is read"
        );
        crate::behaviour::of(&admitted.signature.key_details)
    })
}

fn add_chain(input: &[u8]) -> String {
    static ADMISSION: LazyLock<ct_entry::Admission> = LazyLock::new(|| {
        let root = TrustedRoot::parse(&corpus::seed("trusted_root", "world.json"))
            .expect("the corpus is coherent");
        let chains = root
            .certificate_authorities()
            .iter()
            .flat_map(|authority| authority.chain().to_vec());
        ct_entry::Admission::new(chains.filter(Certificate::is_self_issued).collect())
    });
    let chain = match sealwright_log::parse_chain(input) {
        Ok(chain) => chain,
        Err(refusal) => {
            return crate::behaviour::of(&refusal.reason())
                + &crate::behaviour::of(&refusal.message());
        }
    };
    let precertificate = ADMISSION.admit(chain.clone(), Submitted::Precertificate);
    assert!(precertificate.is_err(), "no seed is a precertificate");
    let submitted = chain.first().cloned();
    outcome(ADMISSION.admit(chain, Submitted::Certificate), |admitted| {
        let leaf = admitted
            .entry
            .merkle_tree_leaf(0, &[])
            .expect("what is admitted is logged");
        let submitted = submitted.expect("an empty chain is refused");
        assert!(
            leaf.windows(submitted.len())
                .any(|window| window == submitted),
            "the leaf holds the certificate"
        );
        admitted.issuers.len().to_string()
    })
}
