//! RFC 6962 section 2.1: the hashes a Merkle tree is made of.

use sealwright_crypto::{sha256, sha256_concat};

/// Length of every hash in the tree: SHA-256.
pub const HASH_LEN: usize = 32;

/// A leaf hash, a node hash or a root.
pub type Hash = [u8; HASH_LEN];

const LEAF_PREFIX: [u8; 1] = [0x00];
const NODE_PREFIX: [u8; 1] = [0x01];

/// The hash of a leaf: `SHA-256(0x00 || leaf)`.
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    sha256_concat(&[&LEAF_PREFIX, leaf])
}

/// The hash of an interior node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut input = [0u8; 1 + 2 * HASH_LEN];
    input[..1].copy_from_slice(&NODE_PREFIX);
    input[1..1 + HASH_LEN].copy_from_slice(left);
    input[1 + HASH_LEN..].copy_from_slice(right);
    sha256(&input)
}

/// The root of the tree without leaves: `SHA-256("")`.
pub fn empty_root() -> Hash {
    sha256(b"")
}

/// The Merkle tree hash (MTH) of a list of leaf hashes.
///
/// It costs one hash a leaf and log2(n) of memory: complete subtrees are merged as soon as they are complete.
pub fn merkle_tree_hash(leaf_hashes: &[Hash]) -> Hash {
    let mut peaks: Vec<(u32, Hash)> = Vec::new();
    for leaf in leaf_hashes {
        let mut merged = (0, *leaf);
        while let Some(left) = peaks.pop_if(|peak| peak.0 == merged.0) {
            merged = (merged.0 + 1, node_hash(&left.1, &merged.1));
        }
        peaks.push(merged);
    }
    fold_right(peaks.iter().map(|peak| &peak.1)).unwrap_or_else(empty_root)
}

/// Joins complete subtrees, given from left to right in falling size, into the hash of all of them.
pub(crate) fn fold_right<'a>(subtrees: impl DoubleEndedIterator<Item = &'a Hash>) -> Option<Hash> {
    subtrees
        .rev()
        .fold(None, |right: Option<Hash>, left| match right {
            None => Some(*left),
            Some(right) => Some(node_hash(left, &right)),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The definition in the RFC, word for word, as the reference.
    pub(crate) fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => empty_root(),
            [one] => *one,
            many => {
                let split = many.len().next_power_of_two() / 2;
                node_hash(&reference(&many[..split]), &reference(&many[split..]))
            }
        }
    }

    #[test]
    fn the_empty_root_is_the_hash_of_nothing() {
        assert_eq!(
            hex::encode(empty_root()),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn leaf_and_node_are_separated_by_their_prefix() {
        let (a, b) = ([1; 32], [2; 32]);
        let joined: Vec<u8> = a.iter().chain(&b).copied().collect();
        assert_ne!(leaf_hash(&joined), node_hash(&a, &b));
        assert_eq!(leaf_hash(b""), sha256(&[0]));
    }

    proptest! {
        #[test]
        fn the_tree_hash_is_the_one_of_the_definition(count in 0usize..600) {
            let leaves: Vec<Hash> = (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect();
            prop_assert_eq!(merkle_tree_hash(&leaves), reference(&leaves));
        }
    }
}
