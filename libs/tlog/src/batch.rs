//! Inclusion proofs of the newest leaves of a tree, made and checked together.
//!
//! A log proves every entry of a batch in the tree that the batch made. One by one that costs two times log2(size) hashes
//! an entry, half of them to check the proof; most are the same hashes. Here each node above the batch is computed once,
//! from the leaf hashes alone and the peaks of the tree before. When the root that comes out is the one that was signed,
//! every proof taken from these rows leads to it.

use crate::edge::RightEdge;
use crate::error::Error;
use crate::hash::{Hash, empty_root, node_hash};
use crate::proof::Node;

/// The nodes above the leaves `first..size` of a tree, and their siblings.
#[derive(Debug, Clone)]
pub struct BatchProofs {
    first: u64,
    size: u64,
    root: Hash,
    /// From the leaves up, the root left out.
    rows: Vec<Row>,
}

/// The nodes of one level from `start` to its end. The last one may be of an incomplete subtree.
#[derive(Debug, Clone)]
struct Row {
    start: u64,
    nodes: Vec<Hash>,
}

impl BatchProofs {
    /// The proofs of `leaf_hashes`, appended to the tree of which `before` is the edge.
    ///
    /// # Errors
    /// [`Error::OutsideTree`] when `before` lacks one of its own peaks.
    pub fn new(before: &RightEdge, leaf_hashes: &[Hash]) -> Result<Self, Error> {
        let first = before.size();
        let size = first + leaf_hashes.len() as u64;
        let mut row = Row {
            start: first,
            nodes: leaf_hashes.to_vec(),
        };
        let mut rows = Vec::new();
        for level in 0.. {
            if row.start + row.nodes.len() as u64 <= 1 || row.nodes.is_empty() {
                break;
            }
            if row.start % 2 == 1 {
                row.start -= 1;
                row.nodes.insert(0, peak(before, level, row.start)?);
            }
            let above = Row {
                start: row.start / 2,
                nodes: row.nodes.chunks(2).map(joined).collect(),
            };
            rows.push(std::mem::replace(&mut row, above));
        }
        let root = row.nodes.first().copied();
        let root = root.unwrap_or_else(|| {
            if size == 0 {
                empty_root()
            } else {
                before.root()
            }
        });
        Ok(Self {
            first,
            size,
            root,
            rows,
        })
    }

    /// Number of leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root that every proof leads to.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// The inclusion proof of the leaf at `index`, leaf to root; `None` for a leaf that is not of this batch.
    pub fn proof(&self, index: u64) -> Option<Vec<Hash>> {
        if index < self.first || index >= self.size {
            return None;
        }
        let mut proof = Vec::with_capacity(self.rows.len());
        for (level, row) in self.rows.iter().enumerate() {
            let sibling = (index >> level) ^ 1;
            if sibling >= row.start + row.nodes.len() as u64 {
                // This subtree ends the level: it stands one level higher as it is.
                continue;
            }
            let position = usize::try_from(sibling.checked_sub(row.start)?).ok()?;
            proof.push(*row.nodes.get(position)?);
        }
        Some(proof)
    }
}

fn peak(before: &RightEdge, level: u8, index: u64) -> Result<Hash, Error> {
    before
        .node(Node { level, index })
        .copied()
        .ok_or(Error::OutsideTree {
            what: "node",
            value: index,
            limit: before.size() >> level,
        })
}

fn joined(pair: &[Hash]) -> Hash {
    match pair {
        [left, right] => node_hash(left, right),
        [alone, ..] => *alone,
        [] => empty_root(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{leaf_hash, merkle_tree_hash};
    use crate::proof::verify_inclusion;
    use proptest::prelude::*;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    fn edge(size: u64) -> RightEdge {
        let (mut edge, mut full) = (RightEdge::new(), Vec::new());
        (0..size).for_each(|index| edge.push(leaf(index), &mut full));
        edge
    }

    fn check(before: u64, count: u64) {
        let batch: Vec<Hash> = (before..before + count).map(leaf).collect();
        let proofs = BatchProofs::new(&edge(before), &batch).unwrap();
        let all: Vec<Hash> = (0..before + count).map(leaf).collect();
        assert_eq!(proofs.root(), merkle_tree_hash(&all), "{before}+{count}");
        assert_eq!(proofs.size(), before + count);
        for index in before..before + count {
            let proof = proofs.proof(index).unwrap();
            verify_inclusion(index, before + count, &leaf(index), &proof, &proofs.root()).unwrap();
        }
        assert_eq!(proofs.proof(before + count), None);
        assert_eq!(
            before.checked_sub(1).and_then(|index| proofs.proof(index)),
            None
        );
    }

    #[test]
    fn every_small_batch_on_every_small_tree_is_proved() {
        for before in 0..40 {
            for count in 0..40 {
                check(before, count);
            }
        }
    }

    #[test]
    fn batches_around_full_tiles_are_proved() {
        for before in [255, 256, 257, 511, 65_535, 65_536] {
            for count in [1, 2, 255, 256, 300] {
                check(before, count);
            }
        }
    }

    #[test]
    fn a_wrong_leaf_leads_to_another_root() {
        let mut batch: Vec<Hash> = (100..120).map(leaf).collect();
        let sound = BatchProofs::new(&edge(100), &batch).unwrap().root();
        batch[7][0] ^= 1;
        assert_ne!(BatchProofs::new(&edge(100), &batch).unwrap().root(), sound);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn any_batch_on_any_tree_is_proved(before in 0u64..3000, count in 1u64..600) {
            check(before, count);
        }
    }
}
