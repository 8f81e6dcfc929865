//! Merkle proofs against the recursive definitions of RFC 6962 section 2.1, on trees and with faults chosen at random.
//!
//! The oracles here share no line with the crate: they split a tree as the RFC does and hash with nothing but SHA-256.
//! In [`others`] the oracles are published crates, in [`c2sp`] the examples of the specifications.

mod c2sp;
mod others;

use proptest::prelude::*;
use sealwright_crypto::sha256_concat;
use sealwright_testkit::properties;
use sealwright_tlog::hash::{leaf_hash, merkle_tree_hash, node_hash};
use sealwright_tlog::proof::{consistency_proof, inclusion_proof};
use sealwright_tlog::{Error, Hash, HashReader, Node, verify_consistency, verify_inclusion};

// The definitions of the RFC.

fn leaf(data: &[u8]) -> Hash {
    sha256_concat(&[&[0], data])
}

fn parent(left: &Hash, right: &Hash) -> Hash {
    sha256_concat(&[&[1], left, right])
}

/// The largest power of two below `size`, which is 2 at least.
fn split(size: u64) -> u64 {
    1 << (63 - (size - 1).leading_zeros())
}

/// MTH
fn tree_hash(leaves: &[Hash]) -> Hash {
    match leaves {
        [] => sha256_concat(&[]),
        [only] => *only,
        _ => {
            let (left, right) = leaves.split_at(as_position(split(leaves.len() as u64)));
            parent(&tree_hash(left), &tree_hash(right))
        }
    }
}

fn as_position(number: u64) -> usize {
    usize::try_from(number).expect("a tree in memory")
}

/// The root that an audit path leads to, by the recursion that defines such paths.
fn root_of_path(index: u64, size: u64, leaf: &Hash, path: &[Hash]) -> Option<Hash> {
    if index >= size {
        return None;
    }
    if size == 1 {
        return path.is_empty().then_some(*leaf);
    }
    let (sibling, below) = path.split_last()?;
    let at = split(size);
    if index < at {
        Some(parent(&root_of_path(index, at, leaf, below)?, sibling))
    } else {
        let right = root_of_path(index - at, size - at, leaf, below)?;
        Some(parent(sibling, &right))
    }
}

/// Both roots that a consistency proof leads to, by the recursion that defines such proofs. `old` is the smaller tree's
/// root, which the proof leaves out where it is a node of the larger tree (`whole`).
fn roots_of_proof(
    from: u64,
    to: u64,
    old: &Hash,
    whole: bool,
    proof: &[Hash],
) -> Option<(Hash, Hash)> {
    if from == to {
        return match (whole, proof) {
            (true, []) => Some((*old, *old)),
            (false, [only]) => Some((*only, *only)),
            _ => None,
        };
    }
    let (sibling, below) = proof.split_last()?;
    let at = split(to);
    if from <= at {
        let (smaller, larger) = roots_of_proof(from, at, old, whole, below)?;
        Some((smaller, parent(&larger, sibling)))
    } else {
        let (smaller, larger) = roots_of_proof(from - at, to - at, old, false, below)?;
        Some((parent(sibling, &smaller), parent(sibling, &larger)))
    }
}

/// How many hashes the audit path of a leaf has.
fn path_length(index: u64, size: u64) -> usize {
    if size <= 1 {
        return 0;
    }
    let at = split(size);
    1 + if index < at {
        path_length(index, at)
    } else {
        path_length(index - at, size - at)
    }
}

// Trees.

/// A tree in memory; nodes are computed from the definition.
#[derive(Debug)]
struct Tree(Vec<Hash>);

impl Tree {
    fn of(leaves: &[Vec<u8>]) -> Self {
        Self(leaves.iter().map(|data| leaf(data)).collect())
    }

    fn root(&self, size: u64) -> Hash {
        tree_hash(&self.0[..as_position(size)])
    }

    fn size(&self) -> u64 {
        self.0.len() as u64
    }
}

impl HashReader for Tree {
    type Error = Error;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Error> {
        let node = |node: &Node| {
            let from = as_position(node.index << node.level);
            tree_hash(&self.0[from..from + (1 << node.level)])
        };
        Ok(nodes.iter().map(node).collect())
    }
}

/// Leaves of random bytes, a few of them equal.
fn any_tree() -> impl Strategy<Value = Tree> {
    let leaf = proptest::collection::vec(0_u8..4, 0..4);
    proptest::collection::vec(leaf, 1..400).prop_map(|leaves| Tree::of(&leaves))
}

fn flip(hash: &mut Hash, bit: usize) {
    hash[bit / 8 % 32] ^= 1 << (bit % 8);
}

#[test]
fn hashes_are_those_of_the_definition() {
    let leaves: Vec<Vec<u8>> = (0_u8..40).map(|n| vec![n; usize::from(n)]).collect();
    let tree = Tree::of(&leaves);
    for (data, hash) in leaves.iter().zip(&tree.0) {
        assert_eq!(leaf_hash(data), *hash);
    }
    assert_eq!(
        node_hash(&tree.0[1], &tree.0[2]),
        parent(&tree.0[1], &tree.0[2])
    );
    for size in 0..=tree.0.len() {
        assert_eq!(
            merkle_tree_hash(&tree.0[..size]),
            tree_hash(&tree.0[..size])
        );
    }
}

/// Which of the things that an inclusion proof ties together is changed.
#[derive(Debug, Clone, Copy)]
enum Part {
    Leaf,
    Root,
    Path,
    Index,
}

fn any_part() -> impl Strategy<Value = Part> {
    proptest::sample::select(&[Part::Leaf, Part::Root, Part::Path, Part::Index][..])
}

properties! {
    150,

    #[test]
    fn every_leaf_is_proven_by_a_path_of_the_right_length(tree in any_tree(), pick: u64, size in 1..=u64::MAX) {
        let size = size % tree.size() + 1;
        let index = pick % size;
        let path = inclusion_proof(index, size, &tree).unwrap();
        let (leaf, root) = (tree.0[as_position(index)], tree.root(size));
        prop_assert_eq!(path.len(), path_length(index, size));
        prop_assert_eq!(root_of_path(index, size, &leaf, &path), Some(root));
        prop_assert_eq!(verify_inclusion(index, size, &leaf, &path, &root), Ok(()));
    }

    #[test]
    fn a_changed_bit_in_leaf_root_path_or_index_is_refused(tree in any_tree(), pick: u64, part in any_part(), bit: usize) {
        let size = tree.size();
        let index = pick % size;
        let mut path = inclusion_proof(index, size, &tree).unwrap();
        let (mut leaf, mut root, mut at) = (tree.0[as_position(index)], tree.root(size), index);
        match part {
            Part::Leaf => flip(&mut leaf, bit),
            Part::Root => flip(&mut root, bit),
            Part::Index => at ^= 1 << (bit % 64),
            Part::Path if path.is_empty() => path.push([0; 32]),
            Part::Path => {
                let position = bit / 256 % path.len();
                flip(&mut path[position], bit);
            }
        }
        // Leaves of one content have one hash, so that a neighbour's proof may hold for its twin.
        let holds = root_of_path(at, size, &leaf, &path) == Some(root);
        prop_assert!(!holds || matches!(part, Part::Index));
        prop_assert_eq!(verify_inclusion(at, size, &leaf, &path, &root).is_ok(), holds);
    }

    /// A path does not tie a size down by itself: two sizes may give it the same shape. What the definition says decides;
    /// a verifier takes the size from the checkpoint that has the root.
    #[test]
    fn another_size_is_accepted_exactly_when_the_definition_accepts_it(tree in any_tree(), pick: u64, bit in 0..64_u32) {
        let size = tree.size();
        let index = pick % size;
        let path = inclusion_proof(index, size, &tree).unwrap();
        let (leaf, root) = (tree.0[as_position(index)], tree.root(size));
        let other = size ^ (1 << bit);
        let holds = root_of_path(index, other, &leaf, &path) == Some(root);
        prop_assert_eq!(verify_inclusion(index, other, &leaf, &path, &root).is_ok(), holds);
    }

    /// Trees that fit in no memory: the root is whatever the path leads to.
    #[test]
    fn paths_in_trees_of_any_size_are_judged_by_the_definition(size in 1..=u64::MAX, pick: u64, leaf: Hash, fill: u8, longer in 0..3_usize) {
        let index = pick % size;
        let length = (path_length(index, size) + longer).saturating_sub(1);
        let path: Vec<Hash> = (0..length).map(|n| [fill ^ n.to_le_bytes()[0]; 32]).collect();
        match root_of_path(index, size, &leaf, &path) {
            Some(root) => {
                prop_assert_eq!(verify_inclusion(index, size, &leaf, &path, &root), Ok(()));
                prop_assert!(verify_inclusion(index, size, &leaf, &path, &leaf_hash(&root)).is_err());
            }
            None => prop_assert!(verify_inclusion(index, size, &leaf, &path, &leaf).is_err()),
        }
    }

    #[test]
    fn every_earlier_tree_is_proven_to_be_a_beginning(tree in any_tree(), pick: u64) {
        let to = tree.size();
        let from = pick % to + 1;
        let proof = consistency_proof(from, to, &tree).unwrap();
        let (old, new) = (tree.root(from), tree.root(to));
        prop_assert_eq!(roots_of_proof(from, to, &old, true, &proof), Some((old, new)));
        prop_assert_eq!(verify_consistency(from, &old, to, &new, &proof), Ok(()));
    }

    #[test]
    fn a_changed_bit_in_roots_proof_or_sizes_is_refused_unless_the_definition_accepts_it(
        tree in any_tree(), pick: u64, part in 0..5_usize, bit: usize,
    ) {
        let (mut to, mut from) = (tree.size(), pick % tree.size() + 1);
        let mut proof = consistency_proof(from, to, &tree).unwrap();
        let (mut old, mut new) = (tree.root(from), tree.root(to));
        match part {
            0 => flip(&mut old, bit),
            1 => flip(&mut new, bit),
            2 => from ^= 1 << (bit % 64),
            3 => to ^= 1 << (bit % 64),
            _ if proof.is_empty() => proof.push([0; 32]),
            _ => {
                let position = bit / 256 % proof.len();
                flip(&mut proof[position], bit);
            }
        }
        let possible = 0 < from && from <= to;
        let holds = possible && roots_of_proof(from, to, &old, true, &proof) == Some((old, new));
        prop_assert!(!holds || matches!(part, 2 | 3), "a changed hash is accepted by the definition");
        if from > 0 {
            prop_assert_eq!(verify_consistency(from, &old, to, &new, &proof).is_ok(), holds);
        }
    }
}
