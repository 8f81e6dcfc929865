//! SHA-2 digests.

use std::fmt;

use aws_lc_rs::digest as backend;

use crate::KeyError;

/// The hash functions in use: SHA-2 of 256, 384 and 512 bits (FIPS 180-4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// All of them, cheapest first.
    pub const ALL: [Self; 3] = [Self::Sha256, Self::Sha384, Self::Sha512];

    /// Name in the Sigstore formats, e.g. `SHA2_256`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "SHA2_256",
            Self::Sha384 => "SHA2_384",
            Self::Sha512 => "SHA2_512",
        }
    }

    /// Name in digest strings and in-toto subjects, e.g. `sha256`.
    pub fn short_name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    /// The reverse of [`Self::short_name`], in any case.
    pub fn from_short_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|hash| hash.short_name().eq_ignore_ascii_case(name))
    }

    /// Number in `dev.sigstore.common.v1.HashAlgorithm`.
    pub fn number(self) -> i32 {
        match self {
            Self::Sha256 => 1,
            Self::Sha384 => 2,
            Self::Sha512 => 3,
        }
    }

    /// The reverse of [`Self::number`].
    pub fn from_number(number: i32) -> Option<Self> {
        Self::ALL.into_iter().find(|hash| hash.number() == number)
    }

    /// Length of a digest in bytes.
    pub fn output_len(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// Digest of `data` in one go.
    pub fn digest(self, data: &[u8]) -> Digest {
        Digest {
            algorithm: self,
            bytes: backend::digest(self.backend(), data).as_ref().to_vec(),
        }
    }

    pub(crate) fn backend(self) -> &'static backend::Algorithm {
        match self {
            Self::Sha256 => &backend::SHA256,
            Self::Sha384 => &backend::SHA384,
            Self::Sha512 => &backend::SHA512,
        }
    }
}

impl fmt::Display for HashAlgorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A digest together with the function that made it.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    bytes: Vec<u8>,
}

impl Digest {
    /// A digest made elsewhere. Fails when the length does not fit the function.
    pub fn new(algorithm: HashAlgorithm, bytes: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        if bytes.len() != algorithm.output_len() {
            return Err(KeyError::Malformed {
                expected: "digest of the hash function's length",
            });
        }
        Ok(Self { algorithm, bytes })
    }

    /// The function that made it.
    pub fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest itself.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl fmt::Display for Digest {
    /// `sha256:` and lower-case hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}:{}",
            self.algorithm.short_name(),
            hex::encode(&self.bytes)
        )
    }
}

/// A digest in the making, for data that is streamed.
#[derive(Clone)]
pub struct Hasher {
    algorithm: HashAlgorithm,
    context: backend::Context,
}

impl Hasher {
    /// Starts an empty digest.
    pub fn new(algorithm: HashAlgorithm) -> Self {
        Self {
            algorithm,
            context: backend::Context::new(algorithm.backend()),
        }
    }

    /// Appends `data`.
    pub fn update(&mut self, data: &[u8]) {
        self.context.update(data);
    }

    /// The digest of all that was appended.
    pub fn finish(self) -> Digest {
        Digest {
            algorithm: self.algorithm,
            bytes: self.context.finish().as_ref().to_vec(),
        }
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher")
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// SHA-256 of `data`.
pub fn sha256(data: &[u8]) -> [u8; 32] {
    sha256_concat(&[data])
}

/// SHA-256 of the concatenation of `parts`, without building it.
pub fn sha256_concat(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = backend::Context::new(&backend::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut out = [0; 32];
    out.copy_from_slice(context.finish().as_ref());
    out
}

/// SHA-1 of `data`, for names alone: old timestamp tokens identify their signer's certificate by it (ESSCertID,
/// RFC 2634). Nothing signed or stamped may be digested so, which is why no [`HashAlgorithm`] has it.
pub fn sha1_identifier(data: &[u8]) -> [u8; 20] {
    let digest = backend::digest(&backend::SHA1_FOR_LEGACY_USE_ONLY, data);
    let mut bytes = [0; 20];
    bytes.copy_from_slice(digest.as_ref());
    bytes
}

/// Compares in time that depends on the lengths alone; unequal lengths are unequal.
pub fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(a, b).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_of_the_empty_string_are_the_published_ones() {
        let shown = |hash: HashAlgorithm| hash.digest(b"").to_string();
        assert_eq!(
            shown(HashAlgorithm::Sha256),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert!(
            shown(HashAlgorithm::Sha384)
                .starts_with("sha384:38b060a751ac96384cd9327eb1b1e36a21fdb71114be0743")
        );
        assert!(
            shown(HashAlgorithm::Sha512)
                .starts_with("sha512:cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc")
        );
    }

    #[test]
    fn the_legacy_identifier_is_sha1() {
        assert_eq!(
            hex::encode(sha1_identifier(b"abc")),
            "a9993e364706816aba3e25717850c26c9cd0d89d"
        );
    }

    #[test]
    fn streaming_equals_one_go() {
        for hash in HashAlgorithm::ALL {
            let mut hasher = Hasher::new(hash);
            hasher.update(b"transparency ");
            hasher.update(b"log");
            assert_eq!(hasher.finish(), hash.digest(b"transparency log"));
            assert_eq!(
                HashAlgorithm::from_short_name(hash.short_name()),
                Some(hash)
            );
            assert_eq!(HashAlgorithm::from_number(hash.number()), Some(hash));
        }
        assert_eq!(sha256_concat(&[b"ab", b"", b"c"]), sha256(b"abc"));
    }

    #[test]
    fn a_digest_of_the_wrong_length_is_refused() {
        assert!(Digest::new(HashAlgorithm::Sha256, vec![0; 31]).is_err());
        assert!(Digest::new(HashAlgorithm::Sha512, vec![0; 32]).is_err());
    }
}
