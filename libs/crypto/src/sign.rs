//! Signing by a key that may be anywhere.

use std::{fmt::Debug, future::Future, pin::Pin, sync::Arc};

use crate::{Algorithm, Digest, PrivateKey, PublicKey, SignError};

/// A boxed future, so that [`Signer`] can be used behind a pointer.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A key that signs, wherever it is held: in memory, in a token, in a key management service.
///
/// One signer has one key and one algorithm for its whole life. Calls may run concurrently. A signer does not retry;
/// [`SignError::Unavailable`] says that the caller may. A dropped future may still have signed.
pub trait Signer: Debug + Send + Sync {
    /// The public half.
    fn public_key(&self) -> &PublicKey;

    /// The algorithm of every signature.
    fn algorithm(&self) -> Algorithm;

    /// Signs `message`.
    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>>;

    /// Signs the message that has this digest.
    fn sign_digest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>>;

    /// Signs at once where the key is in memory; `None` where it is not, and [`Self::sign`] has to be awaited.
    fn sign_now(&self, _message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        None
    }
}

/// A signer over a private key in memory.
#[derive(Debug, Clone)]
pub struct MemorySigner {
    key: Arc<PrivateKey>,
    algorithm: Algorithm,
}

impl MemorySigner {
    /// Signs with the key type's default algorithm.
    pub fn new(key: PrivateKey) -> Self {
        let algorithm = key.key_type().default_algorithm();
        Self {
            key: Arc::new(key),
            algorithm,
        }
    }

    /// Signs with `algorithm`, which must fit the key.
    pub fn with_algorithm(key: PrivateKey, algorithm: Algorithm) -> Result<Self, SignError> {
        let mismatch = crate::VerifyError::Mismatch {
            algorithm,
            key_type: key.key_type(),
        };
        if !algorithm.fits(key.key_type()) {
            return Err(mismatch.into());
        }
        Ok(Self {
            key: Arc::new(key),
            algorithm,
        })
    }

    /// The key itself.
    pub fn private_key(&self) -> &PrivateKey {
        &self.key
    }
}

impl Signer for MemorySigner {
    fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(std::future::ready(self.key.sign(self.algorithm, message)))
    }

    fn sign_digest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(std::future::ready(
            self.key.sign_digest(self.algorithm, digest),
        ))
    }

    fn sign_now(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        Some(self.key.sign(self.algorithm, message))
    }
}
