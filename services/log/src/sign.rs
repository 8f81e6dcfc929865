//! The key that signs a log's checkpoints.

use std::sync::Arc;

use bytes::Bytes;
use futures::stream::{self, StreamExt, TryStreamExt};
use sealwright_crypto::{SignError, Signer};
use sealwright_tlog::{Checkpoint, Hash, Note, NoteKey, SignatureKind};
use tokio::runtime::Handle;

use crate::error::Error;
use crate::frozen;

/// Promises that a remote signer works on at once.
const CONCURRENT_SIGNATURES: usize = 32;

/// Signs checkpoints of one origin.
#[derive(Debug, Clone)]
pub(crate) struct CheckpointSigner {
    key: NoteKey,
    signer: Arc<dyn Signer>,
    /// Where a signer that is not in memory is awaited.
    runtime: Handle,
}

impl CheckpointSigner {
    pub(crate) fn new(
        key: NoteKey,
        signer: Arc<dyn Signer>,
        runtime: Handle,
    ) -> Result<Self, Error> {
        if signer.algorithm() != key.algorithm() {
            let problem = format!(
                "the key signs with {}, a checkpoint needs {}",
                signer.algorithm(),
                key.algorithm()
            );
            return Err(Error::Signer(problem));
        }
        Ok(Self {
            key,
            signer,
            runtime,
        })
    }

    pub(crate) fn key(&self) -> &NoteKey {
        &self.key
    }

    pub(crate) fn signer(&self) -> &Arc<dyn Signer> {
        &self.signer
    }

    /// The signed checkpoint of a tree, as served. Blocks while a remote signer works; not for the runtime's own threads.
    pub(crate) fn sign(&self, size: u64, root: Hash, time_ms: u64) -> Result<String, Error> {
        self.sign_checkpoint(&Checkpoint::new(self.key.name(), size, root), time_ms)
    }

    /// As [`Self::sign`], for the last checkpoint of a log. It says so, except in a certificate log: RFC 6962's signature
    /// does not cover extension lines.
    pub(crate) fn sign_frozen(&self, size: u64, root: Hash, time_ms: u64) -> Result<String, Error> {
        let mut checkpoint = Checkpoint::new(self.key.name(), size, root);
        if self.key.kind() != SignatureKind::Rfc6962TreeHead {
            checkpoint.extensions.push(frozen::line(time_ms / 1000));
        }
        self.sign_checkpoint(&checkpoint, time_ms)
    }

    fn sign_checkpoint(&self, checkpoint: &Checkpoint, time_ms: u64) -> Result<String, Error> {
        let text = checkpoint.to_text();
        let message = self.key.message(&text, time_ms)?;
        let now = self.signer.sign_now(&message);
        let remote = now.is_none();
        let raw = now.unwrap_or_else(|| self.runtime.block_on(self.signer.sign(&message)));
        let raw = raw.map_err(|error| Error::Signer(error.to_string()))?;
        let mut note = Note::new(text)?;
        note.push(self.key.signature(&raw, time_ms)?);
        if remote {
            // A wrong signature in a frame would keep the log from ever starting again.
            let verified = note.verify(std::slice::from_ref(&self.key));
            verified.map_err(|error| Error::Signer(error.to_string()))?;
        }
        Ok(note.to_string())
    }

    /// Signs every message with the log's key, in order. Blocks while a remote signer works, on several at once.
    pub(crate) fn sign_promises(&self, messages: &[Vec<u8>]) -> Result<Vec<Bytes>, Error> {
        let failed = |error: SignError| Error::Signer(error.to_string());
        let Some(first) = messages.first() else {
            return Ok(Vec::new());
        };
        let Some(first) = self.signer.sign_now(first) else {
            return self.runtime.block_on(self.sign_remotely(messages));
        };
        let mut signatures = Vec::with_capacity(messages.len());
        signatures.push(first.map_err(failed)?.into());
        for message in messages.iter().skip(1) {
            let raw = self.signer.sign_now(message);
            let raw = raw.unwrap_or_else(|| self.runtime.block_on(self.signer.sign(message)));
            signatures.push(raw.map_err(failed)?.into());
        }
        Ok(signatures)
    }

    async fn sign_remotely(&self, messages: &[Vec<u8>]) -> Result<Vec<Bytes>, Error> {
        let signatures = messages.iter().map(|message| async move {
            let raw = self.signer.sign(message).await;
            let raw = raw.map_err(|error| Error::Signer(error.to_string()))?;
            // It is kept for ever: a wrong one would be given to everybody who asks again.
            let key = self.signer.public_key();
            let verified = key.verify(self.signer.algorithm(), message, &raw);
            verified.map_err(|error| Error::Signer(error.to_string()))?;
            Ok(Bytes::from(raw))
        });
        stream::iter(signatures)
            .buffered(CONCURRENT_SIGNATURES)
            .try_collect()
            .await
    }
}
