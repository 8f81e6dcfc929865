//! What outsiders may read of a log: everything up to its published head, and nothing beyond.
//!
//! A log may be ahead of its head: entries are durable before witnesses have seen the tree that holds them. Whoever is
//! shown such an entry, tile or proof would hold something that no published checkpoint covers. So every door reads
//! through a [`Reader`], which takes one look at the head and answers the whole request from it.
//!
//! What is not there yet is `NOT_FOUND`; what could never be is `MALFORMED_REQUEST`.

use std::borrow::Cow;

use bytes::Bytes;
use sealwright_crypto::base64;
use sealwright_host::{Reason, ServiceError};
use sealwright_tlog::entry::{API_VERSION, HASHEDREKORD_KIND};
use sealwright_tlog::hash::HASH_LEN;
use sealwright_tlog::tile::{TILE_WIDTH, TileId, TileKind, width_in_tree};
use sealwright_tlog::{Hash, Note, TlogProof, verify_inclusion};
use serde::Deserialize;

use crate::error::Error;
use crate::log::{Log, Receipt, TreeHead};

/// How an entry is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum EntryRef {
    /// By its leaf index.
    Index(u64),
    /// By the hash of its leaf.
    LeafHash(Hash),
}

impl EntryRef {
    /// From what a request gives: exactly one of the two. The names are those of the door's parameters.
    pub(crate) fn one_of(
        index: Option<u64>,
        leaf_hash: Option<Hash>,
        names: (&str, &str),
    ) -> Result<Self, ServiceError> {
        match (index, leaf_hash) {
            (Some(index), None) => Ok(Self::Index(index)),
            (None, Some(hash)) => Ok(Self::LeafHash(hash)),
            _ => Err(malformed(format!(
                "name the entry by exactly one of {} and {}",
                names.0, names.1
            ))),
        }
    }
}

/// Reads a leaf hash: 64 hexadecimal digits, or base64 of either alphabet.
pub(crate) fn parse_leaf_hash(text: &str) -> Result<Hash, ServiceError> {
    let bytes = if text.len() == 2 * HASH_LEN {
        hex::decode(text).ok()
    } else {
        // A plus sign that was not escaped arrives as a space.
        base64::decode_lenient(&text.replace(' ', "+")).ok()
    };
    let hash = bytes.and_then(|bytes| bytes.try_into().ok());
    hash.ok_or_else(|| {
        malformed("a leaf hash is 64 hexadecimal digits or the base64 of 32 bytes".to_owned())
    })
}

/// 400 for a question that has no answer.
pub(crate) fn malformed(message: String) -> ServiceError {
    ServiceError::new(
        Reason::MalformedRequest,
        format!("The request cannot be answered: {message}"),
    )
}

/// The place of one entry in one tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Inclusion {
    pub(crate) index: u64,
    pub(crate) leaf_hash: Hash,
    pub(crate) tree_size: u64,
    pub(crate) root: Hash,
    /// Leaf to root.
    pub(crate) hashes: Vec<Hash>,
}

/// That one tree extends another.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Consistency {
    pub(crate) from: u64,
    pub(crate) to: u64,
    pub(crate) hashes: Vec<Hash>,
}

/// One look at a log.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    log: &'a Log,
    head: TreeHead,
}

impl<'a> Reader<'a> {
    /// As the log is now.
    pub(crate) fn of(log: &'a Log) -> Self {
        Self {
            log,
            head: log.tree_head(),
        }
    }

    /// The published head; every answer of this reader lies within its tree.
    pub(crate) fn head(&self) -> &TreeHead {
        &self.head
    }

    /// A tile or bundle of any width that a published tree has had.
    pub(crate) async fn tile(&self, id: TileId) -> Result<Bytes, ServiceError> {
        if id.width > width_in_tree(id.kind.level(), id.index, self.head.size) {
            return Err(Error::NotInTree(id.to_string()).into());
        }
        Ok(self.log.tile(id).await?.bytes)
    }

    /// One entry, with a proof that leads to the head.
    pub(crate) async fn entry(&self, entry: EntryRef) -> Result<Receipt, ServiceError> {
        let index = self.index_of(entry).await?;
        let stored = self.log.stored(index).await?;
        let facts = self.log.identity().kind.facts(&stored);
        let facts = facts.map_err(ServiceError::internal)?;
        let TreeHead {
            size,
            root,
            ref checkpoint,
            ..
        } = self.head;
        let proof = self.log.inclusion_proof(index, size).await?;
        // Nobody gets a proof that a client would refuse.
        verify_inclusion(index, size, &facts.leaf_hash, &proof, &root)
            .map_err(ServiceError::internal)?;
        Ok(Receipt {
            index,
            leaf_hash: facts.leaf_hash,
            timestamp_ms: facts.time_ms,
            tree_size: size,
            root,
            proof,
            checkpoint: text_of(checkpoint).into_owned(),
            stored,
            attachment: Bytes::new(),
            duplicate: false,
        })
    }

    /// The inclusion proof of an entry in the tree of `size` entries; the head's when it is not given.
    pub(crate) async fn inclusion(
        &self,
        entry: EntryRef,
        size: Option<u64>,
    ) -> Result<Inclusion, ServiceError> {
        let tree_size = self.require_size(size)?;
        let index = self.index_of(entry).await?;
        if index >= tree_size {
            return Err(self.outside(index, tree_size));
        }
        let leaf_hash = self.leaf_hash(index).await?;
        let hashes = self.log.inclusion_proof(index, tree_size).await?;
        let root = if tree_size == self.head.size {
            self.head.root
        } else {
            self.log.root_at(tree_size).await?
        };
        verify_inclusion(index, tree_size, &leaf_hash, &hashes, &root)
            .map_err(ServiceError::internal)?;
        Ok(Inclusion {
            index,
            leaf_hash,
            tree_size,
            root,
            hashes,
        })
    }

    /// The proof that the tree of `to` entries (the head's when not given) extends that of `from` entries.
    pub(crate) async fn consistency(
        &self,
        from: u64,
        to: Option<u64>,
    ) -> Result<Consistency, ServiceError> {
        let to = self.require_size(to)?;
        if from > to {
            // Without a newer size in the request, the older one is of a tree that is not there yet.
            self.require_size(Some(from))?;
            return Err(malformed(format!(
                "the older tree has {from} entries, the newer one only {to}"
            )));
        }
        let hashes = self.log.consistency_proof(from, to).await?;
        Ok(Consistency { from, to, hashes })
    }

    /// The offline proof of an entry.
    pub(crate) async fn tlog_proof(&self, entry: EntryRef) -> Result<TlogProof, ServiceError> {
        let found = self.inclusion(entry, None).await?;
        let note = Note::parse(&self.head.checkpoint).map_err(ServiceError::internal)?;
        TlogProof::new(found.index, found.hashes, note).map_err(ServiceError::internal)
    }

    /// The index of an entry that the head covers.
    async fn index_of(&self, entry: EntryRef) -> Result<u64, ServiceError> {
        let (found, what) = match entry {
            EntryRef::Index(index) => (Some(index), format!("entry {index}")),
            EntryRef::LeafHash(hash) => (
                self.log.find_leaf(&hash).await?,
                format!("entry with the leaf hash {}", hex::encode(hash)),
            ),
        };
        let covered = found.filter(|index| *index < self.head.size);
        Ok(covered.ok_or(Error::NotInTree(what))?)
    }

    /// The leaf hash at an index that the head covers.
    async fn leaf_hash(&self, index: u64) -> Result<Hash, ServiceError> {
        let (tile, position) = (
            index / u64::from(TILE_WIDTH),
            (index % u64::from(TILE_WIDTH)) as usize,
        );
        let id = TileId::in_tree(TileKind::Hashes(0), tile, self.head.size)
            .ok_or_else(|| Error::NotInTree(format!("entry {index}")))?;
        let bytes = self.log.tile(id).await?.bytes;
        let (hashes, _) = bytes.as_chunks::<HASH_LEN>();
        let hash = hashes.get(position).copied();
        hash.ok_or_else(|| ServiceError::internal(format!("{id} is narrower than the tree says")))
    }

    /// A size that the head covers; the head's own when none is given.
    fn require_size(&self, size: Option<u64>) -> Result<u64, ServiceError> {
        let size = size.unwrap_or(self.head.size);
        if size <= self.head.size {
            return Ok(size);
        }
        Err(Error::NotInTree(format!("tree of {size} entries")).into())
    }

    /// Why the entry is not in the tree: a smaller tree than the head's was asked for.
    fn outside(&self, index: u64, tree_size: u64) -> ServiceError {
        malformed(format!(
            "the entry has the index {index}, which a tree of {tree_size} entries does not have"
        ))
    }
}

/// A checkpoint as text. Ours is UTF-8 by construction.
pub(crate) fn text_of(checkpoint: &Bytes) -> Cow<'_, str> {
    String::from_utf8_lossy(checkpoint)
}

/// What a canonical body says of its kind. Logs that were imported may hold kinds that are made no more.
#[derive(Debug, Default, Clone, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(crate) struct BodyKind {
    pub(crate) kind: String,
    #[serde(rename = "apiVersion")]
    pub(crate) version: String,
}

impl BodyKind {
    /// What every entry is that is logged here.
    pub(crate) fn made_here() -> Self {
        Self {
            kind: HASHEDREKORD_KIND.to_owned(),
            version: API_VERSION.to_owned(),
        }
    }

    /// Empty names for a body that is no JSON object with a kind.
    pub(crate) fn of(body: &[u8]) -> Self {
        serde_json::from_slice(body).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leaf_hash_is_read_in_its_usual_spellings() {
        let hash = [0xfb; HASH_LEN];
        let standard = base64::encode(&hash);
        for text in [
            hex::encode(hash),
            hex::encode_upper(hash),
            standard.clone(),
            standard.replace('+', " "),
            base64::encode_url(&hash),
        ] {
            assert_eq!(parse_leaf_hash(&text).unwrap(), hash, "{text}");
        }
        for text in ["", "00", "zz", &"0".repeat(63), &"g".repeat(64), "AAAA"] {
            let refused = parse_leaf_hash(text).unwrap_err();
            assert_eq!(refused.reason(), Reason::MalformedRequest, "{text:?}");
        }
    }

    #[test]
    fn a_body_says_its_kind() {
        let body = br#"{"apiVersion":"0.0.2","kind":"dsse","spec":{}}"#;
        assert_eq!(BodyKind::of(body).kind, "dsse");
        assert_eq!(BodyKind::of(body).version, "0.0.2");
        for none in [b"".as_slice(), b"[]", b"\xff", br#"{"kind":7}"#] {
            assert_eq!(BodyKind::of(none), BodyKind::default());
        }
    }
}
