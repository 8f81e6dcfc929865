//! Which algorithms exist, and what they do: digests, keys, signatures, randomness.
//!
//! This crate answers one question, "is this algorithm allowed, and does this signature hold?", in one place. It knows
//! nothing of X.509 beyond `SubjectPublicKeyInfo`, nothing of files, networks or runtimes. Arithmetic is `aws-lc-rs`;
//! Ed25519ph, which that library lacks, comes from `ed25519-dalek`.
//!
//! Certificates live in `sealwright-pki`, Merkle trees in `sealwright-tlog`. Where long-lived keys are held is their
//! owner's business: whoever can sign implements [`Signer`].

pub mod algorithm;
pub mod base64;
mod der;
pub mod digest;
pub mod error;
pub mod key;
pub mod private;
pub mod random;
pub mod sign;

pub use algorithm::Algorithm;
pub use digest::{Digest, HashAlgorithm, Hasher, constant_time_eq, sha256, sha256_concat};
pub use error::{KeyError, SignError, VerifyError};
pub use key::{KeyType, PublicKey, ecdsa_der_from_fixed, ecdsa_fixed_from_der};
pub use private::PrivateKey;
pub use random::{fill_random, random_bytes};
pub use sign::{BoxFuture, MemorySigner, Signer};
