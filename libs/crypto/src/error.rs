//! What can go wrong with a key or a signature.

use crate::{Algorithm, HashAlgorithm, KeyType};

/// A key could not be read or is of a kind that no part of the stack uses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The bytes are not the structure they should be.
    #[error("the key is not a well-formed {expected}")]
    Malformed {
        /// What was expected, as a person would say it.
        expected: &'static str,
    },
    /// The PEM block carries another label.
    #[error("the PEM block is labelled {found:?}; accepted are {accepted}")]
    PemLabel {
        /// Label found in the input.
        found: String,
        /// Labels that would have been read.
        accepted: &'static str,
    },
    /// A well-formed key of a type or curve that is not supported.
    #[error(
        "keys of type {found} are not supported; use ECDSA P-256, P-384 or P-521, Ed25519, or RSA of 2048 to 8192 bits"
    )]
    Unsupported {
        /// The type found, or the object identifier of its algorithm.
        found: String,
    },
    /// An elliptic curve point that is not on its curve, or an RSA modulus that cannot be one.
    #[error("the public key is not a valid {key_type} key")]
    Invalid {
        /// Type that the key claims to be.
        key_type: KeyType,
    },
}

/// A signature does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VerifyError {
    /// The signature is not by this key over this message.
    #[error("the signature does not verify with the key")]
    Signature,
    /// The algorithm belongs to another kind of key.
    #[error("{algorithm} cannot be used with a key of type {key_type}")]
    Mismatch {
        /// Requested algorithm.
        algorithm: Algorithm,
        /// The key's type.
        key_type: KeyType,
    },
    /// The digest was made by another hash than the algorithm uses.
    #[error("{algorithm} needs a {expected} digest, not {found}")]
    DigestAlgorithm {
        /// Requested algorithm.
        algorithm: Algorithm,
        /// Hash of the algorithm.
        expected: HashAlgorithm,
        /// Hash of the digest.
        found: HashAlgorithm,
    },
    /// The algorithm signs whole messages and no digest can be verified with it.
    #[error("{algorithm} signs the message itself, so a digest alone cannot be verified")]
    NeedsMessage {
        /// Requested algorithm.
        algorithm: Algorithm,
    },
}

/// A signature could not be made.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The request does not fit the key; trying again will not help.
    #[error("the key cannot sign this: {0}")]
    Unsuitable(#[from] VerifyError),
    /// The key is held elsewhere and its holder did not answer; another try may succeed.
    #[error("the key's holder did not sign: {detail}")]
    Unavailable {
        /// What the holder answered; for logs, not for clients.
        detail: String,
    },
    /// The holder refused for good.
    #[error("the key's holder refused to sign: {detail}")]
    Refused {
        /// What the holder answered; for logs, not for clients.
        detail: String,
    },
    /// The cryptographic library failed.
    #[error("signing failed in the cryptographic library")]
    Library,
}
