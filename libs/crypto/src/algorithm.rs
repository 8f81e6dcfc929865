//! The registry of signature algorithms.
//!
//! Names and numbers are those of `dev.sigstore.common.v1.PublicKeyDetails` and of the Sigstore algorithm registry.
//! What a server or a policy permits is a subset of this table; nothing outside it exists for the stack.

use std::fmt;

use crate::{HashAlgorithm, KeyType};

/// A key type, a hash and a padding, taken together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256; DER signatures. The default.
    EcdsaP256Sha256,
    /// ECDSA on P-384 with SHA-384.
    EcdsaP384Sha384,
    /// ECDSA on P-521 with SHA-512.
    EcdsaP521Sha512,
    /// ECDSA on P-384 with SHA-256: what old clients made. Verified, never signed with.
    EcdsaP384Sha256,
    /// ECDSA on P-521 with SHA-256: what old clients made. Verified, never signed with.
    EcdsaP521Sha256,
    /// ECDSA on P-256 with SHA-384: on certificates and timestamps of some authorities. Verified, never signed with.
    EcdsaP256Sha384,
    /// ECDSA on P-256 with SHA-512: likewise.
    EcdsaP256Sha512,
    /// ECDSA on P-384 with SHA-512: likewise.
    EcdsaP384Sha512,
    /// Ed25519 over the message (RFC 8032).
    Ed25519,
    /// Ed25519ph with an empty context over a SHA-512 digest (RFC 8032).
    Ed25519Ph,
    /// RSASSA-PKCS1-v1_5 (RFC 8017).
    RsaPkcs1 {
        /// Modulus length.
        bits: u32,
        /// Hash.
        hash: HashAlgorithm,
    },
    /// RSASSA-PSS with MGF1 of the same hash and a salt of the digest's length (RFC 8017).
    RsaPss {
        /// Modulus length.
        bits: u32,
        /// Hash.
        hash: HashAlgorithm,
    },
}

/// Rows that have a number in the registry.
const REGISTRY: [(Algorithm, i32, &str, &str); 16] = [
    (
        Algorithm::EcdsaP256Sha256,
        5,
        "PKIX_ECDSA_P256_SHA_256",
        "ecdsa-sha2-256-nistp256",
    ),
    (Algorithm::Ed25519, 7, "PKIX_ED25519", "ed25519"),
    (Algorithm::Ed25519Ph, 8, "PKIX_ED25519_PH", "ed25519-ph"),
    (
        rsa_pkcs1(2048),
        9,
        "PKIX_RSA_PKCS1V15_2048_SHA256",
        "rsa-sign-pkcs1-2048-sha256",
    ),
    (
        rsa_pkcs1(3072),
        10,
        "PKIX_RSA_PKCS1V15_3072_SHA256",
        "rsa-sign-pkcs1-3072-sha256",
    ),
    (
        rsa_pkcs1(4096),
        11,
        "PKIX_RSA_PKCS1V15_4096_SHA256",
        "rsa-sign-pkcs1-4096-sha256",
    ),
    (
        Algorithm::EcdsaP384Sha384,
        12,
        "PKIX_ECDSA_P384_SHA_384",
        "ecdsa-sha2-384-nistp384",
    ),
    (
        Algorithm::EcdsaP521Sha512,
        13,
        "PKIX_ECDSA_P521_SHA_512",
        "ecdsa-sha2-512-nistp521",
    ),
    (
        rsa_pss(2048),
        16,
        "PKIX_RSA_PSS_2048_SHA256",
        "rsa-sign-pss-2048-sha256",
    ),
    (
        rsa_pss(3072),
        17,
        "PKIX_RSA_PSS_3072_SHA256",
        "rsa-sign-pss-3072-sha256",
    ),
    (
        rsa_pss(4096),
        18,
        "PKIX_RSA_PSS_4096_SHA256",
        "rsa-sign-pss-4096-sha256",
    ),
    (
        Algorithm::EcdsaP384Sha256,
        19,
        "PKIX_ECDSA_P384_SHA_256",
        "ecdsa-sha2-256-nistp384",
    ),
    (
        Algorithm::EcdsaP521Sha256,
        20,
        "PKIX_ECDSA_P521_SHA_256",
        "ecdsa-sha2-256-nistp521",
    ),
    // Read from old trust material only; their sizes are those of the key at hand.
    (rsa_pkcs1(0), 3, "PKIX_RSA_PKCS1V5", "rsa-sign-pkcs1-sha256"),
    (rsa_pss(0), 4, "PKIX_RSA_PSS", "rsa-sign-pss-sha256"),
    (
        rsa_pkcs1(0),
        1,
        "PKCS1_RSA_PKCS1V5",
        "rsa-sign-pkcs1-raw-sha256",
    ),
];

const fn rsa_pkcs1(bits: u32) -> Algorithm {
    Algorithm::RsaPkcs1 {
        bits,
        hash: HashAlgorithm::Sha256,
    }
}

const fn rsa_pss(bits: u32) -> Algorithm {
    Algorithm::RsaPss {
        bits,
        hash: HashAlgorithm::Sha256,
    }
}

impl Algorithm {
    /// Number in `PublicKeyDetails`; `None` for combinations without one (RSA with SHA-384, say).
    pub fn key_details(self) -> Option<i32> {
        self.row().map(|row| row.1)
    }

    /// Name in `PublicKeyDetails`, e.g. `PKIX_ECDSA_P256_SHA_256`.
    pub fn key_details_name(self) -> Option<&'static str> {
        self.row().map(|row| row.2)
    }

    /// Name on command lines and in configuration, e.g. `ecdsa-sha2-256-nistp256`.
    pub fn cli_name(self) -> Option<&'static str> {
        self.row().map(|row| row.3)
    }

    /// The reverse of [`Self::key_details`].
    pub fn from_key_details(number: i32) -> Option<Self> {
        REGISTRY.iter().find(|row| row.1 == number).map(|row| row.0)
    }

    /// The reverse of [`Self::key_details_name`].
    pub fn from_key_details_name(name: &str) -> Option<Self> {
        REGISTRY.iter().find(|row| row.2 == name).map(|row| row.0)
    }

    /// The reverse of [`Self::cli_name`].
    pub fn from_cli_name(name: &str) -> Option<Self> {
        REGISTRY.iter().find(|row| row.3 == name).map(|row| row.0)
    }

    /// Hash that is applied to the message before signing; `None` for pure Ed25519.
    pub fn hash(self) -> Option<HashAlgorithm> {
        match self {
            Self::EcdsaP256Sha256 | Self::EcdsaP384Sha256 | Self::EcdsaP521Sha256 => {
                Some(HashAlgorithm::Sha256)
            }
            Self::EcdsaP384Sha384 | Self::EcdsaP256Sha384 => Some(HashAlgorithm::Sha384),
            Self::EcdsaP521Sha512
            | Self::EcdsaP256Sha512
            | Self::EcdsaP384Sha512
            | Self::Ed25519Ph => Some(HashAlgorithm::Sha512),
            Self::Ed25519 => None,
            Self::RsaPkcs1 { hash, .. } | Self::RsaPss { hash, .. } => Some(hash),
        }
    }

    /// Type of key that the algorithm needs.
    pub fn key_type(self) -> KeyType {
        match self {
            Self::EcdsaP256Sha256 | Self::EcdsaP256Sha384 | Self::EcdsaP256Sha512 => {
                KeyType::EcP256
            }
            Self::EcdsaP384Sha384 | Self::EcdsaP384Sha256 | Self::EcdsaP384Sha512 => {
                KeyType::EcP384
            }
            Self::EcdsaP521Sha512 | Self::EcdsaP521Sha256 => KeyType::EcP521,
            Self::Ed25519 | Self::Ed25519Ph => KeyType::Ed25519,
            Self::RsaPkcs1 { bits, .. } | Self::RsaPss { bits, .. } => KeyType::Rsa { bits },
        }
    }

    /// Whether a key of this type can be used with the algorithm. The old RSA names fit every size.
    pub fn fits(self, key_type: KeyType) -> bool {
        match (self.key_type(), key_type) {
            (KeyType::Rsa { bits: 0 }, KeyType::Rsa { .. }) => true,
            (wanted, found) => wanted == found,
        }
    }

    fn row(self) -> Option<&'static (Self, i32, &'static str, &'static str)> {
        REGISTRY.iter().find(|row| row.0 == self)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.cli_name(), self) {
            (Some(name), _) => f.write_str(name),
            (None, Self::RsaPss { bits, hash }) => {
                write!(f, "rsa-sign-pss-{bits}-{}", hash.short_name())
            }
            (None, Self::RsaPkcs1 { bits, hash }) => {
                write!(f, "rsa-sign-pkcs1-{bits}-{}", hash.short_name())
            }
            (None, other) => write!(f, "{other:?}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_by_its_name_and_number() {
        for (algorithm, number, name, cli) in REGISTRY.into_iter().take(14) {
            assert_eq!(Algorithm::from_key_details(number), Some(algorithm));
            assert_eq!(Algorithm::from_key_details_name(name), Some(algorithm));
            assert_eq!(Algorithm::from_cli_name(cli), Some(algorithm));
            assert_eq!(algorithm.key_details(), Some(number));
            assert_eq!(algorithm.to_string(), cli);
        }
        assert_eq!(Algorithm::from_key_details(0), None);
        assert_eq!(Algorithm::from_cli_name("rsa"), None);
    }
}
