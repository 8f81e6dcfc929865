//! The keys under which entries are found, and how they are made.

use std::hash::{BuildHasherDefault, Hasher};

use sealwright_crypto::sha256;
use sealwright_tlog::Hash;

/// Separates this use of the log's secret from the others.
const PURPOSE: &[u8] = b"sealwright: keys of known entries";

/// By what an entry is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    /// What makes two submissions the same entry.
    Identity,
    /// The leaf hash, in the kind of log where that is something else.
    LeafHash,
}

impl Family {
    /// Those that a kind of log has.
    pub(crate) fn of(identity_is_leaf_hash: bool) -> &'static [Self] {
        if identity_is_leaf_hash {
            &[Self::Identity]
        } else {
            &[Self::Identity, Self::LeafHash]
        }
    }

    /// The one that stands for leaf hashes, out of `families`.
    pub(crate) fn of_leaf_hashes(families: usize) -> Self {
        if families == 1 {
            Self::Identity
        } else {
            Self::LeafHash
        }
    }

    /// Its place in everything that is kept for each family.
    pub(crate) fn position(self) -> usize {
        match self {
            Self::Identity => 0,
            Self::LeafHash => 1,
        }
    }

    /// Its word in the names of files.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Identity => "identity",
            Self::LeafHash => "leaf",
        }
    }
}

/// Makes keys of hashes with a secret of the log.
///
/// A key is 64 bits of SHA-256 over the secret and the hash. Whoever does not know the secret can neither grind hashes
/// whose keys are equal nor some that a filter takes for known ones, and keys are spread evenly whatever is logged. Two
/// hashes may still have one key, so that a key is a hint and never an answer.
#[derive(Debug, Clone)]
pub(crate) struct Keyed {
    secret: Hash,
    /// All ones; tests leave fewer to see what equal keys do.
    mask: u64,
}

impl Keyed {
    /// `secret` is the log's own; keys cannot be told back to it.
    pub(crate) fn new(secret: &[u8]) -> Self {
        Self {
            secret: sha256(&[PURPOSE, secret].concat()),
            mask: u64::MAX,
        }
    }

    /// Keys of only as many bits as `mask` has.
    #[cfg(test)]
    pub(crate) fn colliding(secret: &[u8], mask: u64) -> Self {
        Self {
            mask,
            ..Self::new(secret)
        }
    }

    /// The key of a leaf hash or identity.
    pub(crate) fn key(&self, hash: &Hash) -> u64 {
        let mut input = [0; 64];
        input[..32].copy_from_slice(&self.secret);
        input[32..].copy_from_slice(hash);
        let [a, b, c, d, e, f, g, h, ..] = sha256(&input);
        u64::from_be_bytes([a, b, c, d, e, f, g, h]) & self.mask
    }

    /// Tells files that were made with another secret.
    pub(crate) fn check(&self) -> u64 {
        self.key(&sha256(b"check"))
    }
}

/// Keys are random numbers already, and nobody outside can choose them: hashing them again would gain nothing.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, key: u64) {
        self.0 = key;
    }
}

/// For maps from keys.
pub(crate) type BuildKeyHasher = BuildHasherDefault<KeyHasher>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_follow_from_the_secret_and_the_whole_hash() {
        let (one, other) = (Keyed::new(b"one"), Keyed::new(b"other"));
        let (hash, mut twin) = ([7; 32], [7; 32]);
        twin[31] ^= 1;
        assert_eq!(one.key(&hash), one.clone().key(&hash));
        assert_ne!(one.key(&hash), one.key(&twin));
        assert_ne!(one.key(&hash), other.key(&hash));
        assert_ne!(one.check(), other.check());
        assert_eq!(Keyed::colliding(b"one", 3).key(&hash), one.key(&hash) & 3);
    }
}
