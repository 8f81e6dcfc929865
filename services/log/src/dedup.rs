//! Which entries the log has already: exact, over the whole log, in memory.
//!
//! An entry costs one or two map slots of 16 bytes (19 to 37 bytes each with the map's slack): its identity, and in a
//! certificate log its leaf hash too, for `get-proof-by-hash`. The map holds the first eight bytes of each hash. They are
//! a hint, never an answer: whoever finds a candidate compares the stored entry, so that a ground-out collision of eight
//! bytes makes nobody's entry pass for another's.
//!
//! The hints of every full bundle are kept in `dedup.idx`, in index order with a checksum a bundle, so that a start reads
//! 8 (or 16) bytes an entry instead of every entry. The file is derived: a missing or damaged block is made again.

use std::collections::HashMap;

use sealwright_tlog::Hash;
use sealwright_tlog::tile::TILE_WIDTH;

/// The maps are split by the first byte, so that growing one moves a small part only.
const SHARDS: usize = 256;
/// Makes the checksum of a block of zeros, which a crash can leave, a wrong one.
const CRC_SEED: u32 = 0x5EA1_0001;
const CRC_BYTES: usize = 4;

/// The hints of one entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hints {
    pub(crate) identity: u64,
    pub(crate) leaf_hash: u64,
}

impl Hints {
    pub(crate) fn new(identity: &Hash, leaf_hash: &Hash) -> Self {
        Self {
            identity: hint(identity),
            leaf_hash: hint(leaf_hash),
        }
    }
}

fn hint(hash: &Hash) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *hash;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// From hint to the indexes that may have it.
#[derive(Debug)]
struct HintMap {
    shards: Vec<HashMap<u64, u64>>,
    /// Second and further indexes of the same hint: there are none unless somebody makes them.
    more: HashMap<u64, Vec<u64>>,
}

impl HintMap {
    fn new() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| HashMap::new()).collect(),
            more: HashMap::new(),
        }
    }

    fn insert(&mut self, hint: u64, index: u64) {
        let shard = &mut self.shards[(hint >> 56) as usize];
        if let Some(first) = shard.get(&hint) {
            if *first != index {
                self.more.entry(hint).or_default().push(index);
            }
            return;
        }
        shard.insert(hint, index);
    }

    fn candidates(&self, hint: u64) -> Vec<u64> {
        let first = self.shards[(hint >> 56) as usize].get(&hint);
        let more = self.more.get(&hint).map(Vec::as_slice).unwrap_or_default();
        first.into_iter().chain(more).copied().collect()
    }
}

/// The index of all sequenced entries.
#[derive(Debug)]
pub(crate) struct Index {
    identities: HintMap,
    /// Only where leaf hash and identity differ.
    leaf_hashes: Option<HintMap>,
}

impl Index {
    pub(crate) fn new(identity_is_leaf_hash: bool) -> Self {
        Self {
            identities: HintMap::new(),
            leaf_hashes: (!identity_is_leaf_hash).then(HintMap::new),
        }
    }

    pub(crate) fn insert(&mut self, hints: Hints, index: u64) {
        self.identities.insert(hints.identity, index);
        if let Some(leaf_hashes) = &mut self.leaf_hashes {
            leaf_hashes.insert(hints.leaf_hash, index);
        }
    }

    /// Indexes of entries that may have this identity, in the order they were logged.
    pub(crate) fn by_identity(&self, identity: &Hash) -> Vec<u64> {
        self.identities.candidates(hint(identity))
    }

    /// Indexes of entries that may have this leaf hash.
    pub(crate) fn by_leaf_hash(&self, leaf_hash: &Hash) -> Vec<u64> {
        self.leaf_hashes
            .as_ref()
            .unwrap_or(&self.identities)
            .candidates(hint(leaf_hash))
    }
}

/// The form of `dedup.idx`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct IndexFile {
    identity_is_leaf_hash: bool,
}

impl IndexFile {
    /// Its name in the log's folder.
    pub(crate) const NAME: &str = "dedup.idx";

    pub(crate) fn new(identity_is_leaf_hash: bool) -> Self {
        Self {
            identity_is_leaf_hash,
        }
    }

    fn entry_bytes(self) -> usize {
        if self.identity_is_leaf_hash { 8 } else { 16 }
    }

    fn block_bytes(self) -> usize {
        usize::from(TILE_WIDTH) * self.entry_bytes() + CRC_BYTES
    }

    /// Where the block of a bundle begins.
    pub(crate) fn offset(self, bundle: u64) -> u64 {
        bundle * self.block_bytes() as u64
    }

    /// The block of a full bundle.
    pub(crate) fn encode(self, bundle: u64, hints: &[Hints]) -> Vec<u8> {
        let mut block = Vec::with_capacity(self.block_bytes());
        for hint in hints {
            block.extend(hint.identity.to_le_bytes());
            if !self.identity_is_leaf_hash {
                block.extend(hint.leaf_hash.to_le_bytes());
            }
        }
        block.extend(checksum(bundle, &block).to_le_bytes());
        block
    }

    /// The hints of a bundle from the whole file; `None` when its block is missing or damaged.
    pub(crate) fn decode(self, bundle: u64, file: &[u8]) -> Option<Vec<Hints>> {
        let start = usize::try_from(self.offset(bundle)).ok()?;
        let block = file.get(start..start.checked_add(self.block_bytes())?)?;
        let (hints, crc) = block.split_last_chunk::<CRC_BYTES>()?;
        if u32::from_le_bytes(*crc) != checksum(bundle, hints) {
            return None;
        }
        let words: Vec<u64> = hints
            .as_chunks::<8>()
            .0
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .collect();
        if self.identity_is_leaf_hash {
            return Some(
                words
                    .iter()
                    .map(|word| Hints {
                        identity: *word,
                        leaf_hash: *word,
                    })
                    .collect(),
            );
        }
        Some(
            words
                .as_chunks::<2>()
                .0
                .iter()
                .map(|[identity, leaf_hash]| Hints {
                    identity: *identity,
                    leaf_hash: *leaf_hash,
                })
                .collect(),
        )
    }
}

fn checksum(bundle: u64, hints: &[u8]) -> u32 {
    crc32c::crc32c_append(
        crc32c::crc32c_append(CRC_SEED, &bundle.to_le_bytes()),
        hints,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(first: u8, last: u8) -> Hash {
        let mut hash = [first; 32];
        hash[31] = last;
        hash
    }

    #[test]
    fn entries_with_the_same_first_bytes_are_all_candidates() {
        let mut index = Index::new(false);
        index.insert(Hints::new(&hash(1, 1), &hash(9, 1)), 10);
        index.insert(Hints::new(&hash(1, 2), &hash(9, 2)), 11);
        index.insert(Hints::new(&hash(2, 1), &hash(8, 1)), 12);
        index.insert(Hints::new(&hash(2, 1), &hash(8, 1)), 12);
        assert_eq!(index.by_identity(&hash(1, 7)), [10, 11]);
        assert_eq!(index.by_leaf_hash(&hash(9, 7)), [10, 11]);
        assert_eq!(index.by_identity(&hash(2, 1)), [12]);
        assert_eq!(index.by_identity(&hash(3, 1)), Vec::<u64>::new());
    }

    #[test]
    fn a_damaged_or_missing_block_is_noticed() {
        for same in [true, false] {
            let form = IndexFile::new(same);
            let hints: Vec<Hints> = (0..256)
                .map(|i| Hints {
                    identity: i,
                    leaf_hash: if same { i } else { 1000 + i },
                })
                .collect();
            let mut file = [form.encode(0, &hints), form.encode(1, &hints)].concat();
            assert_eq!(form.decode(1, &file), Some(hints.clone()));
            assert_eq!(form.decode(2, &file), None);
            file.truncate(file.len() - 1);
            assert_eq!(form.decode(1, &file), None);
            file[100] ^= 1;
            assert_eq!(form.decode(0, &file), None);
            assert_eq!(form.decode(0, &vec![0; file.len()]), None);
            assert_eq!(
                form.decode(
                    1,
                    &[form.encode(0, &hints), form.encode(0, &hints)].concat()
                ),
                None
            );
        }
    }
}
