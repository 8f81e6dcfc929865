//! The two kinds of log: what a leaf is, how it is stored, and how its hash and identity follow from the stored bytes.
//!
//! Everything else in the engine is the same for both. A signature log stores the very bytes it hashes. A certificate
//! log stores a `TileLeaf` and hashes a `MerkleTreeLeaf`, and both contain the index and the time that the entry gets
//! when it is sequenced; hence [`Leaf::finish`].

use bytes::Bytes;
use sealwright_crypto::{PublicKey, sha256};
use sealwright_tlog::ct::{self, CtEntry, TileLeaf};
use sealwright_tlog::hash::leaf_hash;
use sealwright_tlog::tile::{self, MAX_ENTRY_BYTES, TileKind};
use sealwright_tlog::{Error as LeafError, Hash, NoteKey};
use serde::{Deserialize, Serialize};

/// The longest stored certificate leaf: 256 KiB.
const MAX_TILE_LEAF_BYTES: usize = 256 * 1024;

/// Which kind of log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A signature log: Rekor v2 entries, C2SP tlog-tiles.
    Rekor,
    /// A certificate log: RFC 6962 entries, C2SP static-ct-api.
    Ct,
}

/// What the engine must know of a stored leaf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeafFacts {
    /// Its hash in the tree.
    pub leaf_hash: Hash,
    /// What makes two submissions the same entry. In a signature log that is the leaf hash; in a certificate log, the
    /// SHA-256 of the entry without time and index.
    pub identity: Hash,
    /// When it was sequenced, Unix milliseconds, for the kind that records it.
    pub time_ms: Option<u64>,
}

/// A leaf that has its place in the tree.
#[derive(Debug, Clone)]
pub struct FinishedLeaf {
    /// The bytes in the entry bundle or data tile.
    pub stored: Bytes,
    /// The hash in the tree.
    pub leaf_hash: Hash,
    /// What the log promises for this entry beside its checkpoint: a message that the log's key signs. The signature is
    /// the entry's attachment, durable with it, so that a later submission gets the same bytes. `None` in a signature log.
    pub promise: Option<Vec<u8>>,
}

/// An admitted entry that waits for its index.
///
/// The sequencer calls [`Leaf::finish`] once, on its own thread, with the index and the time the entry gets; both are
/// final when the batch is durable. A leaf that fails to finish takes no index and fails alone.
pub trait Leaf: Send + 'static {
    /// What makes two submissions the same entry; see [`LeafFacts::identity`].
    fn identity(&self) -> Hash;

    /// The bytes it keeps in memory while it waits.
    fn weight(&self) -> usize;

    /// The final bytes and hash at `index`, sequenced at `time_ms` (Unix milliseconds).
    fn finish(self: Box<Self>, index: u64, time_ms: u64) -> Result<FinishedLeaf, LeafError>;
}

/// The leaf of a signature log: a canonical body.
#[derive(Debug, Clone)]
pub struct BodyLeaf {
    body: Bytes,
    leaf_hash: Hash,
}

impl BodyLeaf {
    /// Takes a canonical body of 1 to 65,535 bytes.
    pub fn new(body: impl Into<Bytes>) -> Result<Self, LeafError> {
        let body = body.into();
        require_length("canonical body", body.len(), MAX_ENTRY_BYTES)?;
        let leaf_hash = leaf_hash(&body);
        Ok(Self { body, leaf_hash })
    }
}

impl Leaf for BodyLeaf {
    fn identity(&self) -> Hash {
        self.leaf_hash
    }

    fn weight(&self) -> usize {
        self.body.len()
    }

    fn finish(self: Box<Self>, _index: u64, _time_ms: u64) -> Result<FinishedLeaf, LeafError> {
        Ok(FinishedLeaf {
            stored: self.body,
            leaf_hash: self.leaf_hash,
            promise: None,
        })
    }
}

/// The leaf of a certificate log: a certificate or precertificate, and the fingerprints of its issuers.
///
/// The issuers themselves must have been stored before, with [`crate::Log::store_issuer`].
#[derive(Debug, Clone)]
pub struct CertificateLeaf {
    entry: CtEntry,
    chain_fingerprints: Vec<Hash>,
    identity: Hash,
}

impl CertificateLeaf {
    /// Takes an entry whose chain was accepted; the fingerprints are SHA-256 of the DER certificates, issuer first.
    pub fn new(entry: CtEntry, chain_fingerprints: Vec<Hash>) -> Result<Self, LeafError> {
        let identity = sha256(&entry.identity()?);
        Ok(Self {
            entry,
            chain_fingerprints,
            identity,
        })
    }
}

impl Leaf for CertificateLeaf {
    fn identity(&self) -> Hash {
        self.identity
    }

    fn weight(&self) -> usize {
        let certificates = match &self.entry {
            CtEntry::X509 { certificate } => certificate.len(),
            CtEntry::Precert {
                tbs_certificate,
                pre_certificate,
                ..
            } => tbs_certificate.len() + pre_certificate.len(),
        };
        certificates + self.chain_fingerprints.len() * 32
    }

    fn finish(self: Box<Self>, index: u64, time_ms: u64) -> Result<FinishedLeaf, LeafError> {
        let leaf = TileLeaf {
            time_ms,
            entry: self.entry,
            extensions: ct::leaf_index_extensions(index)?.to_vec(),
            chain_fingerprints: self.chain_fingerprints,
        };
        let promise = leaf.entry.sct_message(time_ms, &leaf.extensions)?;
        let stored = leaf.encode()?;
        require_length("certificate entry", stored.len(), MAX_TILE_LEAF_BYTES)?;
        Ok(FinishedLeaf {
            leaf_hash: leaf.leaf_hash()?,
            stored: stored.into(),
            promise: Some(promise),
        })
    }
}

fn require_length(what: &'static str, actual: usize, limit: usize) -> Result<(), LeafError> {
    match actual {
        0 => Err(LeafError::Malformed {
            what,
            problem: "it is empty",
        }),
        _ if actual > limit => Err(LeafError::TooLong {
            what,
            actual,
            limit,
        }),
        _ => Ok(()),
    }
}

impl Kind {
    /// The kind of file that holds entries.
    pub fn bundle(self) -> TileKind {
        match self {
            Self::Rekor => TileKind::Entries,
            Self::Ct => TileKind::Data,
        }
    }

    /// The longest stored leaf, bytes.
    pub fn max_stored_bytes(self) -> usize {
        match self {
            Self::Rekor => MAX_ENTRY_BYTES,
            Self::Ct => MAX_TILE_LEAF_BYTES,
        }
    }

    /// The longest attachment, bytes: a P-256 signature in DER.
    pub(crate) fn max_attachment_bytes(self) -> usize {
        match self {
            Self::Rekor => 0,
            Self::Ct => 72,
        }
    }

    /// The key under which such a log signs its checkpoints.
    pub fn note_key(self, origin: &str, public_key: PublicKey) -> Result<NoteKey, LeafError> {
        match self {
            Self::Rekor => NoteKey::for_log(origin, public_key),
            Self::Ct => NoteKey::for_ct_log(origin, public_key),
        }
    }

    /// Hash, identity and time of a stored leaf.
    pub fn facts(self, stored: &[u8]) -> Result<LeafFacts, LeafError> {
        match self {
            Self::Rekor => {
                let leaf_hash = leaf_hash(stored);
                Ok(LeafFacts {
                    leaf_hash,
                    identity: leaf_hash,
                    time_ms: None,
                })
            }
            Self::Ct => {
                let (leaf, rest) = TileLeaf::parse(stored)?;
                if !rest.is_empty() {
                    return Err(LeafError::Malformed {
                        what: "TileLeaf",
                        problem: "bytes follow its end",
                    });
                }
                let (leaf_hash, identity) = (leaf.leaf_hash()?, sha256(&leaf.entry.identity()?));
                Ok(LeafFacts {
                    leaf_hash,
                    identity,
                    time_ms: Some(leaf.time_ms),
                })
            }
        }
    }

    /// Whether leaf hash and identity are the same thing.
    pub(crate) fn identity_is_leaf_hash(self) -> bool {
        self == Self::Rekor
    }

    /// Appends a stored leaf to a bundle file's bytes.
    pub fn put_stored(self, bundle: &mut Vec<u8>, stored: &[u8]) -> Result<(), LeafError> {
        match self {
            Self::Rekor => tile::put_entry(bundle, stored),
            Self::Ct => {
                bundle.extend_from_slice(stored);
                Ok(())
            }
        }
    }

    /// Cuts a bundle file into its stored leaves.
    pub fn split_bundle(self, bundle: &[u8]) -> Result<Vec<&[u8]>, LeafError> {
        match self {
            Self::Rekor => tile::parse_bundle(bundle),
            Self::Ct => {
                let mut leaves = Vec::new();
                let mut rest = bundle;
                while !rest.is_empty() && leaves.len() < usize::from(tile::TILE_WIDTH) {
                    let (_, after) = TileLeaf::parse(rest)?;
                    leaves.push(&rest[..rest.len() - after.len()]);
                    rest = after;
                }
                let whole = rest.is_empty() && !leaves.is_empty();
                let refused = LeafError::Malformed {
                    what: "data tile",
                    problem: "it does not hold 1 to 256 leaves",
                };
                if whole { Ok(leaves) } else { Err(refused) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_leaf_gets_index_and_time_and_keeps_its_identity() {
        let entry = CtEntry::X509 {
            certificate: b"der".to_vec(),
        };
        let leaf = CertificateLeaf::new(entry, vec![[3; 32]]).unwrap();
        let identity = leaf.identity();
        let first = Box::new(leaf.clone()).finish(7, 1000).unwrap();
        let second = Box::new(leaf).finish(8, 2000).unwrap();
        assert_ne!(first.leaf_hash, second.leaf_hash);
        for (finished, time_ms) in [(&first, 1000), (&second, 2000)] {
            let facts = Kind::Ct.facts(&finished.stored).unwrap();
            let expected = LeafFacts {
                leaf_hash: finished.leaf_hash,
                identity,
                time_ms: Some(time_ms),
            };
            assert_eq!(facts, expected);
        }
        let tile = [first.stored.as_ref(), second.stored.as_ref()].concat();
        assert_eq!(
            Kind::Ct.split_bundle(&tile).unwrap(),
            [first.stored.as_ref(), second.stored.as_ref()]
        );
    }

    #[test]
    fn bodies_of_no_or_too_many_bytes_are_refused() {
        assert!(BodyLeaf::new(Vec::new()).is_err());
        assert!(BodyLeaf::new(vec![0; MAX_ENTRY_BYTES]).is_ok());
        assert!(matches!(
            BodyLeaf::new(vec![0; MAX_ENTRY_BYTES + 1]),
            Err(LeafError::TooLong { .. })
        ));
    }
}
