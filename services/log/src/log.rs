//! A handle on one open log, shared by all who submit and read.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use sealwright_crypto::{Signer, sha256};
use sealwright_tlog::proof::{consistency_proof, inclusion_proof};
use sealwright_tlog::tile::{TileId, TileKind};
use sealwright_tlog::{Hash, NoteKey, verify_inclusion};
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::cosign::WitnessMode;
use crate::dedup::{Checked, Reading};
use crate::error::Error;
use crate::identity::{IdentityRecord, LogIdentity};
use crate::intake::{Committed, Intake, Offer};
use crate::kind::Leaf;
use crate::metrics::LogMetrics;
use crate::notes::Notes;
use crate::publication::Publication;
use crate::publisher::Publisher;
use crate::sign::CheckpointSigner;
use crate::tree::{NodeError, PublishedHead, Snapshot, TileBytes, Tree, issuer_path};

/// Proof that an entry is in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// Leaf index.
    pub index: u64,
    /// Hash of the leaf in the tree.
    pub leaf_hash: Hash,
    /// When it was sequenced, Unix milliseconds. `None` for an entry that a signature log had before: its leaf does not
    /// record the time.
    pub timestamp_ms: Option<u64>,
    /// Size of the tree that the proof leads to.
    pub tree_size: u64,
    /// Root of that tree.
    pub root: Hash,
    /// Inclusion proof, leaf to root.
    pub proof: Vec<Hash>,
    /// Signed checkpoint of that tree, the note's text.
    pub checkpoint: String,
    /// The bytes the log stores: canonical body, or `TileLeaf`.
    pub stored: Bytes,
    /// In a certificate log, the signature of the entry's SCT, always the same (raw, without its algorithms); empty in a
    /// signature log, and where it was lost.
    pub attachment: Bytes,
    /// The log had the entry already.
    pub duplicate: bool,
}

/// A tree and the checkpoint that vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeHead {
    /// Tree size.
    pub size: u64,
    /// Root hash.
    pub root: Hash,
    /// When it was signed, Unix milliseconds.
    pub timestamp_ms: u64,
    /// Signed checkpoint, as served.
    pub checkpoint: Bytes,
}

/// A handle on an open log; clones share it. The log stays open until [`Log::shutdown`].
#[derive(Clone)]
pub struct Log {
    pub(crate) inner: Arc<Inner>,
}

impl Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

/// What all handles share.
pub(crate) struct Inner {
    pub(crate) identity: LogIdentity,
    pub(crate) record: IdentityRecord,
    pub(crate) signer: CheckpointSigner,
    pub(crate) intake: Arc<Intake>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: LogMetrics,
    pub(crate) strict_files: bool,
    /// Where witnesses see a checkpoint before anybody else does.
    pub(crate) publication: OnceLock<Arc<Publication>>,
    pub(crate) notes: Notes,
    pub(crate) threads: Mutex<Option<Threads>>,
}

/// The log's threads, and the lock they keep.
#[derive(Debug)]
pub(crate) struct Threads {
    pub(crate) sequencer: JoinHandle<()>,
    pub(crate) settler: JoinHandle<()>,
    pub(crate) publisher: JoinHandle<()>,
    /// Held until all have ended.
    pub(crate) _lock: Box<dyn Debug + Send + Sync>,
}

impl Log {
    /// Which log this is.
    pub fn identity(&self) -> &LogIdentity {
        &self.inner.identity
    }

    /// The key under which checkpoints are signed; it knows the log id.
    pub fn key(&self) -> &NoteKey {
        self.inner.signer.key()
    }

    /// The signer of checkpoints. A certificate log signs SCTs with the same key.
    pub fn signer(&self) -> &Arc<dyn Signer> {
        self.inner.signer.signer()
    }

    /// When the log was made, Unix seconds.
    pub fn created(&self) -> i64 {
        self.inner.record.created
    }

    /// Logs an entry, or finds the one that the log has, and proves it.
    ///
    /// When this returns, the entry and a checkpoint over it are durable and every tile of that checkpoint can be read from
    /// this process (R1). Dropping the future does not take the entry back. A client that lost the answer submits again
    /// and gets the same index.
    pub async fn submit(&self, leaf: impl Leaf) -> Result<Receipt, Error> {
        let offered = Instant::now();
        let outcome = self.submit_boxed(Box::new(leaf)).await;
        match &outcome {
            Ok(_) => self.inner.metrics.submitted(offered),
            Err(_) => {
                self.inner.metrics.refusals.inc();
            }
        }
        outcome
    }

    async fn submit_boxed(&self, leaf: Box<dyn Leaf>) -> Result<Receipt, Error> {
        let identity = leaf.identity();
        self.inner.metrics.known_probes.inc();
        let (mut leaf, mut checked) = (leaf, Checked::default());
        loop {
            match self.inner.intake.offer(leaf, &checked)? {
                Offer::Waiting { outcome, duplicate } => {
                    let stopped = Error::Stopped {
                        cause: "the writer ended".into(),
                    };
                    let committed = outcome.await.map_err(|_| stopped)??;
                    return self.receipt(committed, duplicate).await;
                }
                Offer::Read(again, reading) => {
                    let reading = Arc::new(reading);
                    let candidates = self.read_runs(reading.clone()).await?;
                    if let Some(known) = self.same_as(&identity, candidates, &mut checked).await? {
                        return Ok(known);
                    }
                    checked.done(&reading);
                    leaf = again;
                }
                Offer::Candidates(again, candidates) => {
                    if let Some(known) = self.same_as(&identity, candidates, &mut checked).await? {
                        return Ok(known);
                    }
                    leaf = again;
                }
            }
        }
    }

    /// The receipt of the first candidate that is the entry itself.
    async fn same_as(
        &self,
        identity: &Hash,
        candidates: Vec<u64>,
        checked: &mut Checked,
    ) -> Result<Option<Receipt>, Error> {
        for index in candidates {
            let stored = self.stored(index).await?;
            if self.inner.identity.kind.facts(&stored)?.identity == *identity {
                return self.receipt_of(index, stored).await.map(Some);
            }
            checked.refute(index);
        }
        Ok(None)
    }

    /// Reads the files of a look-up, where it does not hold up the runtime. A damaged one is an error until the publisher
    /// has made it again, which it is told to do.
    async fn read_runs(&self, reading: Arc<Reading>) -> Result<Vec<u64>, Error> {
        if reading.runs() == 0 {
            return Ok(Vec::new());
        }
        let runs = reading.runs();
        let read = self.blocking(move |tree| reading.read(&*tree.disk)).await;
        match &read {
            Ok(candidates) => self.inner.metrics.known_read(runs, candidates.len()),
            Err(Error::Corrupt { .. }) => self.inner.publisher.wake(),
            Err(_) => {}
        }
        read
    }

    /// With `strict_files`, waits until the public checkpoint file covers `size` entries.
    async fn await_files(&self, size: u64) -> Result<(), Error> {
        if !self.inner.strict_files {
            return Ok(());
        }
        let (mut published, mut fatal) =
            (self.inner.publisher.published(), self.inner.intake.fatal());
        tokio::select! {
            _ = published.wait_for(|published| *published >= size) => Ok(()),
            cause = fatal.wait_for(Option::is_some) => {
                let cause = cause.ok().and_then(|cause| cause.clone());
                Err(Error::Stopped { cause: cause.unwrap_or_default() })
            }
        }
    }

    /// The receipt of an entry that the log has: its index, with a fresh proof.
    async fn receipt_of(&self, index: u64, stored: Bytes) -> Result<Receipt, Error> {
        self.inner.metrics.duplicates.inc();
        let facts = self.inner.identity.kind.facts(&stored)?;
        let snapshot = self.inner.tree.snapshot();
        let committed = Committed {
            index,
            leaf_hash: facts.leaf_hash,
            stored,
            attachment: self.attachment(index).await?.unwrap_or_default(),
            time_ms: 0,
            snapshot,
            proofs: None,
        };
        let receipt = self.receipt(committed, true).await?;
        Ok(Receipt {
            timestamp_ms: facts.time_ms,
            ..receipt
        })
    }

    /// The checkpoint that a receipt of the entry at `index` carries: the one of its own batch, or the first that the
    /// witnesses have seen and that covers it.
    async fn head_over(&self, index: u64, snapshot: &Snapshot) -> Result<PublishedHead, Error> {
        let head = match self.inner.publication.get() {
            None => PublishedHead::from(snapshot),
            Some(publication) => {
                publication.cover(index).await?;
                self.inner.tree.shown()
            }
        };
        self.await_files(head.size).await?;
        Ok(head)
    }

    async fn receipt(&self, committed: Committed, duplicate: bool) -> Result<Receipt, Error> {
        let Committed {
            index,
            leaf_hash,
            stored,
            attachment,
            time_ms,
            snapshot,
            proofs,
        } = committed;
        let head = self.head_over(index, &snapshot).await?;
        let (tree_size, root) = (head.size, head.root);
        let asked = Instant::now();
        // The proofs of a batch were checked together; they are of the tree that it made.
        let proofs = proofs.filter(|_| tree_size == snapshot.size());
        let proof = match proofs.and_then(|proofs| proofs.proof(index)) {
            Some(proof) => proof,
            None => {
                let proof = self.inclusion_proof(index, tree_size).await?;
                // Nobody gets a receipt that a client would refuse.
                verify_inclusion(index, tree_size, &leaf_hash, &proof, &root)?;
                proof
            }
        };
        self.inner.metrics.proved(asked);
        let checkpoint = String::from_utf8_lossy(&head.note).into_owned();
        Ok(Receipt {
            index,
            leaf_hash,
            timestamp_ms: Some(time_ms),
            tree_size,
            root,
            proof,
            checkpoint,
            stored,
            attachment,
            duplicate,
        })
    }

    /// The checkpoint that is shown: the newest durable one or, where witnesses are asked first, the newest that they have
    /// seen, with their cosignatures below the log's signature.
    pub fn tree_head(&self) -> TreeHead {
        let head = self.inner.tree.shown();
        TreeHead {
            size: head.size,
            root: head.root,
            timestamp_ms: head.time_ms,
            checkpoint: head.note,
        }
    }

    /// `Err` with the words for an operator while the witnesses' quorum is missing, and whether that keeps entries out;
    /// `None` for a log without witnesses.
    pub fn witnessed(&self) -> Option<(WitnessMode, Result<(), String>)> {
        let publication = self.inner.publication.get()?;
        Some((publication.mode(), publication.condition()))
    }

    /// A tile or bundle of any width that the tree has had. [`Error::NotInTree`] when it has not.
    pub async fn tile(&self, id: TileId) -> Result<TileBytes, Error> {
        let bytes = match self.inner.tree.tile_in_memory(id)? {
            Some(bytes) => bytes,
            None => self.blocking(move |tree| tree.tile(id)).await?,
        };
        Ok(TileBytes { id, bytes })
    }

    /// The stored bytes of the entry at `index`.
    pub async fn stored(&self, index: u64) -> Result<Bytes, Error> {
        match self.inner.tree.stored_in_memory(index)? {
            Some(stored) => Ok(stored),
            None => self.blocking(move |tree| tree.stored(index)).await,
        }
    }

    /// The stored bytes of the entries `from..to`. The caller bounds how many.
    pub async fn stored_range(&self, from: u64, to: u64) -> Result<Vec<Bytes>, Error> {
        self.blocking(move |tree| tree.stored_range(from, to)).await
    }

    /// What the log keeps beside the entry at `index`: in a certificate log, the signature of its SCT. `None` in a
    /// signature log, and where it was lost; fsck says which file is missing or damaged.
    pub async fn attachment(&self, index: u64) -> Result<Option<Bytes>, Error> {
        if self.inner.identity.kind.max_attachment_bytes() == 0 {
            return Ok(None);
        }
        if let Some(attachment) = self.inner.tree.attachment_in_memory(index)? {
            return Ok(Some(attachment).filter(|attachment| !attachment.is_empty()));
        }
        match self.blocking(move |tree| tree.attachment(index)).await {
            Err(error @ Error::Corrupt { .. }) => {
                tracing::warn!(%error, index, "the attachment of an entry is lost");
                Ok(None)
            }
            read => read,
        }
    }

    /// Takes no more entries, ever: what is queued is written, then a last frame without entries whose checkpoint says
    /// that the log is frozen (in a signature log; a certificate log's checkpoint cannot say it). Reads go on. Idempotent.
    ///
    /// The head that is given is the one that is shown: where witnesses are asked first, that is the frozen checkpoint only
    /// when they have cosigned it.
    ///
    /// # Errors
    /// [`Error::StorageFull`] and [`Error::Signer`]: the log is not frozen and goes on. A clock that is behind the log's last
    /// entry is no obstacle; the last checkpoint then has that entry's time.
    pub async fn freeze(&self) -> Result<TreeHead, Error> {
        if let Some(outcome) = self.inner.intake.freeze()? {
            // Whoever shuts the log down meanwhile ends the wait.
            outcome.await.unwrap_or(Err(Error::ShuttingDown))?;
        }
        Ok(self.tree_head())
    }

    /// Whether the log is frozen; also after it was opened again.
    pub fn frozen(&self) -> bool {
        self.inner.tree.snapshot().frozen
    }

    /// The inclusion proof of the entry at `index` in the tree of `size` entries.
    pub async fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, Error> {
        self.require_size(size)?;
        match inclusion_proof(index, size, &self.inner.tree.nodes_in_memory()) {
            Err(NodeError::InFile) => {
                self.blocking(move |tree| Ok(inclusion_proof(index, size, &tree.nodes())?))
                    .await
            }
            proof => Ok(proof?),
        }
    }

    /// The proof that the tree of `to` entries extends the one of `from`.
    pub async fn consistency_proof(&self, from: u64, to: u64) -> Result<Vec<Hash>, Error> {
        self.require_size(to)?;
        match consistency_proof(from, to, &self.inner.tree.nodes_in_memory()) {
            Err(NodeError::InFile) => {
                self.blocking(move |tree| Ok(consistency_proof(from, to, &tree.nodes())?))
                    .await
            }
            proof => Ok(proof?),
        }
    }

    /// The root of the tree when it had `size` entries.
    pub async fn root_at(&self, size: u64) -> Result<Hash, Error> {
        self.blocking(move |tree| tree.root_at(size)).await
    }

    /// The index of the entry with this leaf hash.
    pub async fn find_leaf(&self, leaf_hash: &Hash) -> Result<Option<u64>, Error> {
        let (mut candidates, reading) = self.inner.intake.by_leaf_hash(leaf_hash);
        candidates.extend(self.read_runs(Arc::new(reading)).await?);
        for index in candidates {
            let id = TileId::in_tree(
                TileKind::Hashes(0),
                index / 256,
                self.inner.tree.snapshot().size(),
            );
            let Some(id) = id else { continue };
            let tile = self.tile(id).await?.bytes;
            let start = (index % 256) as usize * leaf_hash.len();
            if tile.get(start..start + leaf_hash.len()) == Some(leaf_hash.as_slice()) {
                return Ok(Some(index));
            }
        }
        Ok(None)
    }

    /// Keeps an issuer certificate (DER) of a certificate log under `/issuer/<sha256>`; durable at return.
    pub async fn store_issuer(&self, certificate: &[u8]) -> Result<Hash, Error> {
        let (fingerprint, certificate) = (sha256(certificate), certificate.to_vec());
        let path = issuer_path(&fingerprint);
        self.blocking(move |tree| {
            let disk = &tree.disk;
            if disk
                .read(&path)
                .map_err(|error| Error::disk("reading", &path, error))?
                .is_some()
            {
                return Ok(fingerprint);
            }
            match disk
                .put(&[(path.clone(), certificate)])
                .map_err(|error| Error::disk("writing", &path, error))
            {
                Err(error) if error.is_storage_full() => Err(Error::StorageFull),
                done => done.map(|()| fingerprint),
            }
        })
        .await
    }

    /// An issuer certificate (DER) by the SHA-256 of its bytes.
    pub async fn issuer(&self, fingerprint: &Hash) -> Result<Bytes, Error> {
        let path = issuer_path(fingerprint);
        let name = format!("issuer {}", hex::encode(fingerprint));
        self.blocking(move |tree| {
            let bytes = tree
                .disk
                .read(&path)
                .map_err(|error| Error::disk("reading", path, error))?;
            bytes.map(Bytes::from).ok_or(Error::NotInTree(name))
        })
        .await
    }

    /// `Err` while the log would refuse entries for a reason of its own.
    pub fn condition(&self) -> Result<(), Error> {
        self.inner.intake.condition()
    }

    /// Entries and bytes that wait to be sequenced.
    pub fn queue_depth(&self) -> (usize, usize) {
        self.inner.intake.depth()
    }

    /// Becomes `Some(cause)` when the log has stopped for good: the process should end with an error (R3).
    pub fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.inner.intake.fatal()
    }

    /// Writes what is queued, brings the files up to date, and releases the folder. Later submissions are refused; reads
    /// go on as long as the handle lives. Safe to call twice.
    pub async fn shutdown(&self) {
        self.inner.intake.drain();
        let threads = self
            .inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(threads) = threads else { return };
        if let Some(publication) = self.inner.publication.get() {
            publication.stop().await;
        }
        let publisher = self.inner.publisher.clone();
        let ended = spawn_blocking(move || {
            let sequencer = threads.sequencer.join();
            let settler = threads.settler.join();
            publisher.drain();
            sequencer.is_ok() && settler.is_ok() && threads.publisher.join().is_ok()
        });
        if !matches!(ended.await, Ok(true)) {
            tracing::error!(
                log = self.inner.identity.name,
                "a thread of the log ended badly"
            );
        }
    }

    fn require_size(&self, size: u64) -> Result<(), Error> {
        if size <= self.inner.tree.snapshot().size() {
            return Ok(());
        }
        Err(Error::NotInTree(format!("tree of {size} entries")))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Tree) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let tree = self.inner.tree.clone();
        let done = spawn_blocking(move || read(&tree)).await;
        done.map_err(|_| Error::Stopped {
            cause: "a read panicked".into(),
        })?
    }
}
