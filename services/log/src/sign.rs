//! The key that signs a log's checkpoints.

use std::sync::Arc;

use sealwright_crypto::Signer;
use sealwright_tlog::{Checkpoint, Hash, Note, NoteKey};
use tokio::runtime::Handle;

use crate::error::Error;

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
        let text = Checkpoint::new(self.key.name(), size, root).to_text();
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
}
