//! A receipt of the signature log, as a client keeps it and checks it.

use anyhow::Context as _;
use sealwright_crypto::base64;
use sealwright_tlog::{Hash, hash::leaf_hash, verify_inclusion};
use serde_json::Value;

/// What a client keeps of an entry.
#[derive(Clone)]
pub(crate) struct Receipt {
    pub(crate) index: u64,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) body: Vec<u8>,
    pub(crate) checkpoint: String,
}

fn hash(text: &Value) -> anyhow::Result<Hash> {
    base64::decode(text.as_str().context("base64 text")?)?
        .try_into()
        .map_err(|_| anyhow::anyhow!("a hash"))
}

fn number(text: &Value) -> anyhow::Result<u64> {
    Ok(text.as_str().context("a number as text")?.parse()?)
}

/// Takes what a log answered, whose proof must lead to its root.
pub(crate) fn receipt(answer: &Value) -> anyhow::Result<Receipt> {
    let proof = &answer["inclusionProof"];
    let receipt = Receipt {
        index: number(&answer["logIndex"])?,
        size: number(&proof["treeSize"])?,
        root: hash(&proof["rootHash"])?,
        body: base64::decode(
            answer["canonicalizedBody"]
                .as_str()
                .context("canonicalizedBody")?,
        )?,
        checkpoint: proof["checkpoint"]["envelope"]
            .as_str()
            .context("a checkpoint")?
            .to_owned(),
    };
    let hashes = proof["hashes"]
        .as_array()
        .context("hashes")?
        .iter()
        .map(hash)
        .collect::<Result<Vec<_>, _>>()?;
    verify_inclusion(
        receipt.index,
        receipt.size,
        &leaf_hash(&receipt.body),
        &hashes,
        &receipt.root,
    )?;
    Ok(receipt)
}
