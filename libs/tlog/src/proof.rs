//! Inclusion and consistency proofs: made from any source of node hashes, checked as RFC 9162 section 2.1 says.

use sealwright_crypto::constant_time_eq;

use crate::error::Error;
use crate::hash::{Hash, fold_right, node_hash};

/// A complete subtree: the `2^level` leaves from `index * 2^level` on. Level 0 is a leaf hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Node {
    /// Height above the leaves, 0 to 63.
    pub level: u8,
    /// Position in its level, from 0.
    pub index: u64,
}

/// A source of node hashes: memory, tiles on disk, tiles over the network.
///
/// All nodes of one proof are asked for in one call, so that a reader can fetch the tiles it needs together.
pub trait HashReader {
    /// What reading can fail with; proof generation adds its own refusals.
    type Error: From<Error>;

    /// The hashes of `nodes`, in the same order. Each node is complete in the tree the proof is for.
    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Self::Error>;
}

/// The nodes that each hash of a proof is made of; most are one node, the rightmost may be several.
type Plan = Vec<Vec<Node>>;

/// The inclusion proof of the leaf at `index` in the tree of `size` leaves, leaf to root, both ends left out.
///
/// Fails with [`Error::OutsideTree`] when `index >= size`.
pub fn inclusion_proof<R: HashReader>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    require_leaf(index, size)?;
    let mut plan = Plan::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let split = start + split_point(end - start);
        let sibling = if index < split {
            (split, end)
        } else {
            (start, split)
        };
        plan.push(subtrees(sibling.0, sibling.1));
        (start, end) = if index < split {
            (start, split)
        } else {
            (split, end)
        };
    }
    plan.reverse();
    execute(&plan, reader)
}

/// The proof that the tree of `to` leaves extends the tree of `from` leaves. Empty when they are equal or `from` is 0.
///
/// Fails with [`Error::OutsideTree`] when `from > to`.
pub fn consistency_proof<R: HashReader>(
    from: u64,
    to: u64,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    if from > to {
        return Err(Error::OutsideTree {
            what: "tree size",
            value: from,
            limit: to,
        }
        .into());
    }
    if from == 0 || from == to {
        return Ok(Vec::new());
    }
    let mut plan = Plan::new();
    let (mut start, mut end) = (0, to);
    // Descends to the subtree whose right border is `from`; the old root is one of its nodes or follows from them.
    while from != end {
        let split = start + split_point(end - start);
        if from <= split {
            plan.push(subtrees(split, end));
            end = split;
        } else {
            plan.push(subtrees(start, split));
            start = split;
        }
    }
    // The verifier knows the old root already when it is this very subtree, that is when `from` is a power of two.
    if start != 0 {
        plan.push(subtrees(start, end));
    }
    plan.reverse();
    execute(&plan, reader)
}

/// The hash of the tree of `size` leaves.
pub fn tree_root<R: HashReader>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    if size == 0 {
        return Ok(crate::hash::empty_root());
    }
    let hashes = execute(&vec![subtrees(0, size)], reader)?;
    Ok(hashes[0])
}

/// Checks that the leaf with `leaf_hash` is at `index` in the tree of `size` leaves with `root`.
///
/// RFC 9162 section 2.1.3.2. The proof must have exactly the hashes the shape of the tree asks for.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), Error> {
    let computed = root_from_inclusion(index, size, leaf_hash, proof)?;
    require_equal("inclusion", &computed, root)
}

/// The root that an inclusion proof leads to. [`verify_inclusion`] is what a verifier wants; this one serves whoever
/// has no root yet.
pub fn root_from_inclusion(
    index: u64,
    size: u64,
    leaf_hash: &Hash,
    proof: &[Hash],
) -> Result<Hash, Error> {
    require_leaf(index, size)?;
    let (inner, border) = inclusion_shape(index, size);
    require_length("inclusion", inner + border, proof.len())?;
    let (inner_path, border_path) = proof.split_at(inner);
    let mut hash = *leaf_hash;
    for (level, sibling) in inner_path.iter().enumerate() {
        hash = if index >> level & 1 == 1 {
            node_hash(sibling, &hash)
        } else {
            node_hash(&hash, sibling)
        };
    }
    Ok(border_path
        .iter()
        .fold(hash, |hash, sibling| node_hash(sibling, &hash)))
}

/// Checks that the tree of `to` leaves with `to_root` extends the tree of `from` leaves with `from_root`.
///
/// RFC 9162 section 2.1.4.2. Every tree extends the empty tree, with an empty proof; equal sizes need an empty proof and
/// equal roots.
pub fn verify_consistency(
    from: u64,
    from_root: &Hash,
    to: u64,
    to_root: &Hash,
    proof: &[Hash],
) -> Result<(), Error> {
    if from > to {
        return Err(Error::OutsideTree {
            what: "tree size",
            value: from,
            limit: to,
        });
    }
    if from == to || from == 0 {
        require_length("consistency", 0, proof.len())?;
        let expected = if from == 0 {
            crate::hash::empty_root()
        } else {
            *to_root
        };
        return require_equal("consistency", from_root, &expected);
    }
    // Walks up from the last node of the old tree: `old` climbs inside it, `new` inside the tree that extends it.
    let climb = from.trailing_zeros();
    let (inner, border) = inclusion_shape(from - 1, to);
    let inner = inner - climb as usize;
    let known = usize::from(!from.is_power_of_two());
    require_length("consistency", known + inner + border, proof.len())?;
    let (seed, path) = if known == 1 {
        (proof[0], &proof[1..])
    } else {
        (*from_root, proof)
    };
    let (inner_path, border_path) = path.split_at(inner);
    let position = (from - 1) >> climb;
    let (mut old, mut new) = (seed, seed);
    for (level, sibling) in inner_path.iter().enumerate() {
        if position >> level & 1 == 1 {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
        } else {
            new = node_hash(&new, sibling);
        }
    }
    for sibling in border_path {
        old = node_hash(sibling, &old);
        new = node_hash(sibling, &new);
    }
    require_equal("consistency", &old, from_root)?;
    require_equal("consistency", &new, to_root)
}

/// How many hashes the inclusion proof of `index` in `size` has: those below the point where the path to the leaf and
/// the right border part, and those above it, which are all left siblings.
fn inclusion_shape(index: u64, size: u64) -> (usize, usize) {
    let inner = u64::BITS - (index ^ (size - 1)).leading_zeros();
    let border = index.checked_shr(inner).unwrap_or(0).count_ones();
    (inner as usize, border as usize)
}

/// The number of leaves in the left child of a tree of `count >= 2` leaves: the largest power of two below `count`.
fn split_point(count: u64) -> u64 {
    1 << (u64::BITS - 1 - (count - 1).leading_zeros())
}

/// The complete subtrees that leaves `start..end` consist of, left to right. `start` is a multiple of the largest one,
/// as it is in every range a proof uses.
fn subtrees(start: u64, end: u64) -> Vec<Node> {
    let mut nodes = Vec::new();
    let mut at = start;
    while at < end {
        let level = u64::BITS - 1 - (end - at).leading_zeros();
        nodes.push(Node {
            level: level as u8,
            index: at >> level,
        });
        at += 1 << level;
    }
    nodes
}

fn execute<R: HashReader>(plan: &Plan, reader: &R) -> Result<Vec<Hash>, R::Error> {
    let nodes: Vec<Node> = plan.iter().flatten().copied().collect();
    let hashes = reader.read(&nodes)?;
    if hashes.len() != nodes.len() {
        return Err(Error::Malformed {
            what: "answer of a hash reader",
            problem: "wrong number of hashes",
        }
        .into());
    }
    let mut rest = hashes.as_slice();
    let mut proof = Vec::with_capacity(plan.len());
    for group in plan {
        let (mine, others) = rest.split_at(group.len());
        rest = others;
        proof.extend(fold_right(mine.iter()));
    }
    Ok(proof)
}

fn require_leaf(index: u64, size: u64) -> Result<(), Error> {
    if index < size {
        return Ok(());
    }
    Err(Error::OutsideTree {
        what: "leaf index",
        value: index,
        limit: size.saturating_sub(1),
    })
}

fn require_length(proof: &'static str, expected: usize, actual: usize) -> Result<(), Error> {
    if expected == actual {
        Ok(())
    } else {
        Err(Error::ProofLength {
            proof,
            expected,
            actual,
        })
    }
}

fn require_equal(proof: &'static str, computed: &Hash, root: &Hash) -> Result<(), Error> {
    if constant_time_eq(computed, root) {
        Ok(())
    } else {
        Err(Error::RootMismatch { proof })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{leaf_hash, merkle_tree_hash};
    use proptest::prelude::*;

    /// A tree as nothing but its leaf hashes; every node is computed from the definition.
    struct Leaves(Vec<Hash>);

    impl HashReader for Leaves {
        type Error = Error;

        fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Error> {
            Ok(nodes.iter().map(|node| self.node(*node)).collect())
        }
    }

    impl Leaves {
        fn new(count: u64) -> Self {
            Self((0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect())
        }

        fn node(&self, node: Node) -> Hash {
            let (from, to) = (node.index << node.level, (node.index + 1) << node.level);
            merkle_tree_hash(&self.0[from as usize..to as usize])
        }

        fn root(&self, size: u64) -> Hash {
            merkle_tree_hash(&self.0[..size as usize])
        }
    }

    /// PATH of RFC 6962 section 2.1.1, word for word.
    fn reference_path(index: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() <= 1 {
            return Vec::new();
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut path, sibling) = if index < split {
            (reference_path(index, left), merkle_tree_hash(right))
        } else {
            (reference_path(index - split, right), merkle_tree_hash(left))
        };
        path.push(sibling);
        path
    }

    /// SUBPROOF of RFC 6962 section 2.1.2, word for word.
    fn reference_subproof(from: usize, leaves: &[Hash], whole: bool) -> Vec<Hash> {
        if from == leaves.len() {
            return if whole {
                Vec::new()
            } else {
                vec![merkle_tree_hash(leaves)]
            };
        }
        let split = leaves.len().next_power_of_two() / 2;
        let (left, right) = leaves.split_at(split);
        let (mut path, sibling) = if from <= split {
            (
                reference_subproof(from, left, whole),
                merkle_tree_hash(right),
            )
        } else {
            (
                reference_subproof(from - split, right, false),
                merkle_tree_hash(left),
            )
        };
        path.push(sibling);
        path
    }

    #[test]
    fn every_inclusion_proof_of_small_trees_is_the_one_of_the_rfc_and_verifies() {
        let tree = Leaves::new(70);
        for size in 1..=70 {
            for index in 0..size {
                let proof = inclusion_proof(index, size, &tree).unwrap();
                assert_eq!(
                    proof,
                    reference_path(index as usize, &tree.0[..size as usize])
                );
                let leaf = tree.0[index as usize];
                verify_inclusion(index, size, &leaf, &proof, &tree.root(size)).unwrap();
            }
        }
    }

    #[test]
    fn every_consistency_proof_of_small_trees_is_the_one_of_the_rfc_and_verifies() {
        let tree = Leaves::new(70);
        for to in 1..=70 {
            for from in 1..=to {
                let proof = consistency_proof(from, to, &tree).unwrap();
                assert_eq!(
                    proof,
                    reference_subproof(from as usize, &tree.0[..to as usize], true)
                );
                verify_consistency(from, &tree.root(from), to, &tree.root(to), &proof).unwrap();
            }
        }
    }

    #[test]
    fn a_proof_with_one_hash_more_or_less_is_refused_by_its_length() {
        let tree = Leaves::new(9);
        let (leaf, root) = (tree.0[3], tree.root(9));
        let mut proof = inclusion_proof(3, 9, &tree).unwrap();
        proof.push([0; 32]);
        let expected = Error::ProofLength {
            proof: "inclusion",
            expected: 4,
            actual: 5,
        };
        assert_eq!(verify_inclusion(3, 9, &leaf, &proof, &root), Err(expected));
        proof.truncate(3);
        let expected = Error::ProofLength {
            proof: "inclusion",
            expected: 4,
            actual: 3,
        };
        assert_eq!(verify_inclusion(3, 9, &leaf, &proof, &root), Err(expected));

        let mut proof = consistency_proof(3, 9, &tree).unwrap();
        proof.push([0; 32]);
        let refused = verify_consistency(3, &tree.root(3), 9, &root, &proof);
        assert!(matches!(
            refused,
            Err(Error::ProofLength {
                proof: "consistency",
                ..
            })
        ));
    }

    #[test]
    fn an_index_outside_the_tree_is_refused() {
        let tree = Leaves::new(4);
        let refused = Error::OutsideTree {
            what: "leaf index",
            value: 4,
            limit: 3,
        };
        assert_eq!(inclusion_proof(4, 4, &tree), Err(refused.clone()));
        assert_eq!(
            verify_inclusion(4, 4, &tree.0[0], &[], &tree.root(4)),
            Err(refused)
        );
        assert!(verify_inclusion(0, 0, &tree.0[0], &[], &tree.root(0)).is_err());
        assert!(consistency_proof(5, 4, &tree).is_err());
        assert!(verify_consistency(5, &[0; 32], 4, &[0; 32], &[]).is_err());
    }

    #[test]
    fn equal_sizes_with_different_roots_are_a_fork() {
        let forked = verify_consistency(4, &[1; 32], 4, &[2; 32], &[]);
        assert_eq!(
            forked,
            Err(Error::RootMismatch {
                proof: "consistency"
            })
        );
    }

    #[test]
    fn only_the_empty_root_is_consistent_from_size_zero() {
        let tree = Leaves::new(4);
        verify_consistency(0, &crate::hash::empty_root(), 4, &tree.root(4), &[]).unwrap();
        assert!(verify_consistency(0, &[9; 32], 4, &tree.root(4), &[]).is_err());
    }

    #[test]
    fn nothing_needs_to_be_proved_of_the_empty_tree_or_of_the_same_tree() {
        let tree = Leaves::new(5);
        for (from, to) in [(0, 0), (0, 1), (0, 5), (1, 1), (5, 5)] {
            assert_eq!(consistency_proof(from, to, &tree), Ok(Vec::new()));
            let (old, new) = (tree.root(from), tree.root(to));
            verify_consistency(from, &old, to, &new, &[]).unwrap();
            let superfluous = verify_consistency(from, &old, to, &new, &[[7; 32]]);
            let expected = Error::ProofLength {
                proof: "consistency",
                expected: 0,
                actual: 1,
            };
            assert_eq!(superfluous, Err(expected), "{from} to {to}");
        }
    }

    #[test]
    fn the_smallest_trees_have_their_roots() {
        let tree = Leaves::new(2);
        assert_eq!(tree_root(0, &tree), Ok(crate::hash::empty_root()));
        assert_eq!(tree_root(1, &tree), Ok(tree.0[0]));
        assert_eq!(tree_root(2, &tree), Ok(tree.root(2)));
    }

    /// Nobody has such a tree, but anybody can state one: the lengths are those of its shape.
    #[test]
    fn proofs_of_the_largest_trees_have_the_length_of_their_shape() {
        let mismatch = |proof| Err(Error::RootMismatch { proof });
        let nodes = |count| vec![[7; 32]; count];
        // The leaf, the size, and how many hashes the path has.
        for (index, size, length) in [
            (0, u64::MAX, 64),
            (u64::MAX - 1, u64::MAX, 63),
            (0, (1 << 63) + 1, 64),
            (1 << 63, (1 << 63) + 1, 1),
            (0, 1 << 63, 63),
        ] {
            let exact = verify_inclusion(index, size, &[0; 32], &nodes(length), &[0; 32]);
            assert_eq!(exact, mismatch("inclusion"), "{index} of {size}");
            let longer = verify_inclusion(index, size, &[0; 32], &nodes(length + 1), &[0; 32]);
            assert!(matches!(longer, Err(Error::ProofLength { .. })));
        }
        for (from, to, length) in [
            (u64::MAX - 1, u64::MAX, 64),
            (1 << 63, u64::MAX, 1),
            (1, u64::MAX, 64),
            ((1 << 63) + 1, u64::MAX, 65),
        ] {
            let exact = verify_consistency(from, &[0; 32], to, &[0; 32], &nodes(length));
            assert_eq!(exact, mismatch("consistency"), "{from} to {to}");
            let longer = verify_consistency(from, &[0; 32], to, &[0; 32], &nodes(length + 1));
            assert!(matches!(longer, Err(Error::ProofLength { .. })));
        }
    }

    /// A consistency proof says something of both roots, and either one must be the one that is known.
    #[test]
    fn a_proof_that_leads_to_another_old_or_new_root_is_refused() {
        let tree = Leaves::new(40);
        let refused = Err(Error::RootMismatch {
            proof: "consistency",
        });
        for to in 2..=40 {
            for from in 1..to {
                let proof = consistency_proof(from, to, &tree).unwrap();
                let (old, new) = (tree.root(from), tree.root(to));
                let changed = |mut root: Hash| {
                    root[31] ^= 1;
                    root
                };
                let forged_old = verify_consistency(from, &changed(old), to, &new, &proof);
                assert_eq!(forged_old, refused, "{from} to {to}");
                let forged_new = verify_consistency(from, &old, to, &changed(new), &proof);
                assert_eq!(forged_new, refused, "{from} to {to}");
            }
        }
    }

    proptest! {
        #[test]
        fn a_changed_bit_anywhere_is_refused(size in 2u64..300, pick in any::<u64>(), bit in 0usize..256, at in any::<usize>()) {
            let tree = Leaves::new(size);
            let index = pick % size;
            let mut proof = inclusion_proof(index, size, &tree).unwrap();
            let position = at % proof.len();
            proof[position][bit / 8] ^= 1 << (bit % 8);
            let verdict = verify_inclusion(index, size, &tree.0[index as usize], &proof, &tree.root(size));
            prop_assert_eq!(verdict, Err(Error::RootMismatch { proof: "inclusion" }));
        }

        #[test]
        fn larger_trees_agree_with_the_rfc(size in 2u64..900, a in any::<u64>(), b in any::<u64>()) {
            let tree = Leaves::new(size);
            let (index, from) = (a % size, b % size + 1);
            let proof = inclusion_proof(index, size, &tree).unwrap();
            prop_assert_eq!(&proof, &reference_path(index as usize, &tree.0));
            prop_assert!(verify_inclusion(index, size, &tree.0[index as usize], &proof, &tree.root(size)).is_ok());
            let proof = consistency_proof(from, size, &tree).unwrap();
            prop_assert!(verify_consistency(from, &tree.root(from), size, &tree.root(size), &proof).is_ok());
            prop_assert_eq!(tree_root(size, &tree).unwrap(), tree.root(size));
        }
    }
}
