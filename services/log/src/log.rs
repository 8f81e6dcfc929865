//! One log: opened once, shared by all who submit and read.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use sealwright_crypto::{Signer, base64, random_bytes, sha256};
use sealwright_host::SharedClock;
use sealwright_tlog::proof::{consistency_proof, inclusion_proof};
use sealwright_tlog::tile::{TileId, TileKind};
use sealwright_tlog::{Hash, NoteKey, verify_inclusion};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::spawn_blocking;

use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::head::{Head, HeadRow};
use crate::intake::{Committed, Intake, Limits, Offer};
use crate::kind::{Kind, Leaf};
use crate::metrics::{LogMetrics, Metrics};
use crate::publisher::{PublishOptions, Publisher};
use crate::recover;
use crate::sequencer::Sequencer;
use crate::sign::CheckpointSigner;
use crate::tree::{NodeError, PUBLIC, Snapshot, TileBytes, Tree};
use crate::wal::{self, Appended, ChecksumKey, Frame, Writer};

/// The file that says which log a folder holds.
pub(crate) const IDENTITY_FILE: &str = "log.json";
const LOCK_FILE: &str = "LOCK";
const STATE_FILE: &str = "state.db";
const FORMAT: u32 = 1;
/// The longest origin. It stands twice in every checkpoint.
const MAX_ORIGIN_BYTES: usize = 1024;
/// A checkpoint with one signature is below this: 2 * 1,024 for the origin, 1,024 for an RSA signature of 4,096 bits in
/// base64, and the rest.
const NOTE_BYTES: usize = 4096;
/// A stored leaf is at most this much longer than [`Leaf::weight`] says: the fixed fields of a `TileLeaf` have 60 bytes.
const STORED_OVERHEAD: usize = 64;

/// Which log: name, kind and origin never change after it was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogIdentity {
    /// Short name, in paths and metrics.
    pub name: String,
    /// Signature log or certificate log.
    pub kind: Kind,
    /// Origin line of its checkpoints.
    pub origin: String,
}

/// How the engine works; none of it is visible in the log.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// Make the log if the folder holds none.
    pub create: bool,
    /// Bytes of a write-ahead segment; a multiple of 4 KiB, at least 64 KiB.
    pub segment_bytes: u64,
    /// Segments kept ready.
    pub spare_segments: usize,
    /// Most entries in the queue.
    pub queue_entries: usize,
    /// Most bytes of entries in the queue.
    pub queue_bytes: usize,
    /// Most entries in a batch.
    pub batch_entries: usize,
    /// Most bytes of entries in a batch, unless one entry alone is larger.
    pub batch_bytes: usize,
    /// Files are brought up to date this long after a change, at the latest.
    pub publish_interval: Duration,
    /// Also write partial tiles to files, for static hosting of `public/`.
    pub static_partials: bool,
    /// A receipt waits for tile and checkpoint files too.
    pub strict_files: bool,
    /// Most bytes of entries that wait for their file.
    pub backlog_bytes: usize,
}

impl Default for EngineOptions {
    fn default() -> Self {
        Self {
            create: false,
            segment_bytes: 64 << 20,
            spare_segments: 2,
            queue_entries: 32_768,
            queue_bytes: 64 << 20,
            batch_entries: 4096,
            batch_bytes: 4 << 20,
            publish_interval: Duration::from_secs(1),
            static_partials: true,
            strict_files: false,
            backlog_bytes: 64 << 20,
        }
    }
}

/// What the folder says about the log in it. Written once.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct IdentityRecord {
    pub(crate) format: u32,
    pub(crate) name: String,
    pub(crate) kind: Kind,
    pub(crate) origin: String,
    /// SubjectPublicKeyInfo, DER, base64.
    pub(crate) public_key: String,
    /// Unix seconds.
    pub(crate) created: i64,
    /// Seeds the checksums of the write-ahead log. Not for outsiders.
    pub(crate) wal_key: String,
}

impl IdentityRecord {
    fn new(identity: &LogIdentity, key: &NoteKey, created: i64) -> Self {
        Self {
            format: FORMAT,
            name: identity.name.clone(),
            kind: identity.kind,
            origin: identity.origin.clone(),
            public_key: base64::encode(key.public_key().spki_der()),
            created,
            wal_key: hex::encode(random_bytes::<16>()),
        }
    }

    /// Reads the record of a folder; `None` when it holds no log.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let bytes = disk
            .read(IDENTITY_FILE)
            .map_err(|error| Error::disk("reading", IDENTITY_FILE, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))?;
        if record.format != FORMAT {
            return Err(mismatch("format", FORMAT, record.format));
        }
        Ok(Some(record))
    }

    fn require_same(&self, identity: &LogIdentity, key: &NoteKey) -> Result<(), Error> {
        let public_key = base64::encode(key.public_key().spki_der());
        if self.origin != identity.origin {
            return Err(mismatch("origin", &identity.origin, &self.origin));
        }
        if self.kind != identity.kind {
            return Err(mismatch(
                "kind",
                format!("{:?}", identity.kind),
                format!("{:?}", self.kind),
            ));
        }
        if self.public_key != public_key {
            return Err(mismatch("public key", public_key, &self.public_key));
        }
        Ok(())
    }

    pub(crate) fn checksum_key(&self) -> Result<ChecksumKey, Error> {
        let bytes = hex::decode(&self.wal_key)
            .ok()
            .and_then(|bytes| <[u8; 16]>::try_from(bytes).ok());
        let bytes = bytes.ok_or(Error::corrupt(
            IDENTITY_FILE,
            "walKey is not 32 hexadecimal digits",
        ))?;
        Ok(ChecksumKey::new(&bytes))
    }
}

fn mismatch(field: &'static str, configured: impl ToString, stored: impl ToString) -> Error {
    Error::Mismatch {
        field,
        configured: configured.to_string(),
        stored: stored.to_string(),
    }
}

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
    inner: Arc<Inner>,
}

impl Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("identity", &self.inner.identity)
            .finish_non_exhaustive()
    }
}

struct Inner {
    identity: LogIdentity,
    record: IdentityRecord,
    signer: CheckpointSigner,
    intake: Arc<Intake>,
    tree: Arc<Tree>,
    publisher: Arc<Publisher>,
    metrics: LogMetrics,
    strict_files: bool,
    threads: Mutex<Option<Threads>>,
}

#[derive(Debug)]
struct Threads {
    sequencer: JoinHandle<()>,
    publisher: JoinHandle<()>,
    /// Held until both have ended.
    _lock: Box<dyn Debug + Send + Sync>,
}

/// What the engine needs from outside.
#[derive(Debug, Clone)]
pub struct EngineParts {
    /// Key that signs checkpoints: Ed25519 for a signature log (P-256 where a KMS holds it), P-256 for a certificate log.
    pub signer: Arc<dyn Signer>,
    /// Wall clock.
    pub clock: SharedClock,
    /// Where the log counts.
    pub metrics: Metrics,
}

impl Log {
    /// Opens the log in `dir`, or makes it where [`EngineOptions::create`] says so. Needs a multi-threaded runtime.
    ///
    /// Every refusal is an [`Error`] of its first group, and leaves the folder as it was.
    pub async fn open(
        dir: &Path,
        identity: LogIdentity,
        options: EngineOptions,
        parts: EngineParts,
    ) -> Result<Self, Error> {
        let disk = FileDisk::open(dir)
            .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
        Self::open_on(Arc::new(disk), dir, identity, options, parts).await
    }

    /// Opens a log on any disk; `state.db` alone is at `dir` in the real file system.
    pub async fn open_on(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: LogIdentity,
        options: EngineOptions,
        parts: EngineParts,
    ) -> Result<Self, Error> {
        require_usable(&identity, &options)?;
        let key = identity
            .kind
            .note_key(&identity.origin, parts.signer.public_key().clone());
        let key = key.map_err(|error| Error::Config {
            log: identity.name.clone(),
            problem: error.to_string(),
        })?;
        let signer = CheckpointSigner::new(key.clone(), parts.signer, Handle::current())?;
        let lock = take_lock(&disk, dir)?;
        let record = match IdentityRecord::read(&*disk)? {
            Some(record) => record,
            None if options.create => make(&*disk, &identity, &key, parts.clock.unix())?,
            None => {
                return Err(Error::NotALog {
                    dir: dir.to_owned(),
                });
            }
        };
        record.require_same(&identity, &key)?;
        let pool = Head::open(&dir.join(STATE_FILE)).await?;
        let row = Head::read(&pool, &identity.origin).await?;

        let start = Start {
            disk,
            key,
            record: record.clone(),
            options: options.clone(),
            clock: parts.clock.clone(),
            signer: signer.clone(),
        };
        let before = row.clone();
        let started = spawn_blocking(move || start.run(before.as_ref())).await;
        let started = started.map_err(|_| Error::Stopped {
            cause: "opening the log panicked".into(),
        })??;
        let next = HeadRow {
            epoch: started.epoch,
            size: started.tree.snapshot().size(),
            root: started.tree.snapshot().root,
            note: String::from_utf8_lossy(&started.tree.snapshot().note).into_owned(),
            published: row.as_ref().map_or(0, |row| row.published),
        };
        let head = Head::take_over(pool, &identity.origin, row, next).await?;
        let metrics = parts.metrics.of(&identity.name);
        metrics.at_size(started.tree.snapshot().size());
        Ok(Self::run(
            started,
            head,
            lock,
            identity,
            record,
            options,
            parts.clock,
            signer,
            metrics,
        ))
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "the seam between opening and running; each part is made once"
    )]
    fn run(
        started: Started,
        head: Head,
        lock: Box<dyn Debug + Send + Sync>,
        identity: LogIdentity,
        record: IdentityRecord,
        options: EngineOptions,
        clock: SharedClock,
        signer: CheckpointSigner,
        metrics: LogMetrics,
    ) -> Self {
        let Started {
            tree,
            intake,
            writer,
            epoch,
            seq,
            public_size,
        } = started;
        let publish = PublishOptions {
            interval: options.publish_interval,
            static_partials: options.static_partials,
            strict_files: options.strict_files,
            backlog_bytes: options.backlog_bytes,
        };
        let publisher = Arc::new(Publisher::new(
            publish,
            tree.clone(),
            writer.segments(),
            intake.clone(),
            public_size,
            Handle::current(),
        ));
        let sequencer = Sequencer {
            intake: intake.clone(),
            tree: tree.clone(),
            writer,
            signer: signer.clone(),
            clock,
            publisher: publisher.clone(),
            metrics: metrics.clone(),
            epoch,
            seq,
        };
        let threads = Threads {
            sequencer: std::thread::spawn(guarded(intake.clone(), "sequencer", move || {
                sequencer.run()
            })),
            publisher: std::thread::spawn(guarded(intake.clone(), "publisher", {
                let publisher = publisher.clone();
                move || publisher.run(head)
            })),
            _lock: lock,
        };
        let threads = Mutex::new(Some(threads));
        let strict_files = options.strict_files;
        Self {
            inner: Arc::new(Inner {
                identity,
                record,
                signer,
                intake,
                tree,
                publisher,
                metrics,
                strict_files,
                threads,
            }),
        }
    }

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
        let outcome = self.submit_boxed(Box::new(leaf)).await;
        if outcome.is_err() {
            self.inner.metrics.refusals.inc();
        }
        outcome
    }

    async fn submit_boxed(&self, leaf: Box<dyn Leaf>) -> Result<Receipt, Error> {
        let identity = leaf.identity();
        let (mut leaf, mut refuted) = (leaf, Vec::new());
        loop {
            match self.inner.intake.offer(leaf, &refuted)? {
                Offer::Waiting { outcome, duplicate } => {
                    let stopped = Error::Stopped {
                        cause: "the writer ended".into(),
                    };
                    let committed = outcome.await.map_err(|_| stopped)??;
                    self.await_files(committed.snapshot.size()).await?;
                    return self.receipt(committed, duplicate).await;
                }
                Offer::Candidates(again, candidates) => {
                    for index in candidates {
                        let stored = self.stored(index).await?;
                        if self.inner.identity.kind.facts(&stored)?.identity == identity {
                            return self.receipt_of(index, stored).await;
                        }
                        refuted.push(index);
                    }
                    leaf = again;
                }
            }
        }
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
        self.await_files(snapshot.size()).await?;
        let committed = Committed {
            index,
            leaf_hash: facts.leaf_hash,
            stored,
            time_ms: 0,
            snapshot,
        };
        let receipt = self.receipt(committed, true).await?;
        Ok(Receipt {
            timestamp_ms: facts.time_ms,
            ..receipt
        })
    }

    async fn receipt(&self, committed: Committed, duplicate: bool) -> Result<Receipt, Error> {
        let Committed {
            index,
            leaf_hash,
            stored,
            time_ms,
            snapshot,
        } = committed;
        let (tree_size, root) = (snapshot.size(), snapshot.root);
        let proof = self.inclusion_proof(index, tree_size).await?;
        // Nobody gets a receipt that a client would refuse.
        verify_inclusion(index, tree_size, &leaf_hash, &proof, &root)?;
        let checkpoint = String::from_utf8_lossy(&snapshot.note).into_owned();
        Ok(Receipt {
            index,
            leaf_hash,
            timestamp_ms: Some(time_ms),
            tree_size,
            root,
            proof,
            checkpoint,
            stored,
            duplicate,
        })
    }

    /// The newest durable checkpoint.
    pub fn tree_head(&self) -> TreeHead {
        let snapshot: Arc<Snapshot> = self.inner.tree.snapshot();
        TreeHead {
            size: snapshot.size(),
            root: snapshot.root,
            timestamp_ms: snapshot.time_ms,
            checkpoint: snapshot.note.clone(),
        }
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
        for index in self.inner.intake.by_leaf_hash(leaf_hash) {
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
        let publisher = self.inner.publisher.clone();
        let ended = spawn_blocking(move || {
            let sequencer = threads.sequencer.join();
            publisher.drain();
            (sequencer.is_ok(), threads.publisher.join().is_ok())
        });
        if !matches!(ended.await, Ok((true, true))) {
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

fn issuer_path(fingerprint: &Hash) -> String {
    format!("{PUBLIC}/issuer/{}", hex::encode(fingerprint))
}

/// A thread that panics takes the log with it: waiters must not wait for ever.
fn guarded(intake: Arc<Intake>, name: &'static str, work: impl FnOnce()) -> impl FnOnce() {
    move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            intake.stop(&format!("the {name} panicked"));
        }
    }
}

fn require_usable(identity: &LogIdentity, options: &EngineOptions) -> Result<(), Error> {
    let problem = |problem: String| {
        Err(Error::Config {
            log: identity.name.clone(),
            problem,
        })
    };
    let largest = identity.kind.max_stored_bytes() as u64;
    let overhead = (wal::LEAF_PREFIX_BYTES + STORED_OVERHEAD) * options.batch_entries;
    let frame = wal::frame_bytes(NOTE_BYTES, options.batch_bytes + overhead);
    if identity.origin.len() > MAX_ORIGIN_BYTES {
        return problem(format!(
            "an origin of {} bytes is too long; at most {MAX_ORIGIN_BYTES} are allowed",
            identity.origin.len()
        ));
    }
    if !options
        .segment_bytes
        .is_multiple_of(wal::FRAME_ALIGNMENT as u64)
    {
        return problem(format!(
            "a segment of {} bytes is no multiple of 4 KiB",
            options.segment_bytes
        ));
    }
    if options.segment_bytes < (frame as u64).max(2 * largest) {
        let least = (frame as u64).max(2 * largest);
        return problem(format!(
            "a segment of {} bytes does not hold a batch; at least {least} are needed",
            options.segment_bytes
        ));
    }
    if options.batch_entries == 0 || options.queue_entries == 0 || options.queue_bytes == 0 {
        return problem("queue and batch sizes must not be 0".into());
    }
    Ok(())
}

fn take_lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Box<dyn Debug + Send + Sync>, Error> {
    disk.lock(LOCK_FILE).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked {
            dir: PathBuf::from(dir),
        },
        _ => Error::disk("locking", LOCK_FILE, error),
    })
}

/// Makes the record of a new log.
fn make(
    disk: &dyn Disk,
    identity: &LogIdentity,
    key: &NoteKey,
    created: i64,
) -> Result<IdentityRecord, Error> {
    let leftovers = ["wal", PUBLIC]
        .iter()
        .any(|folder| disk.list(folder).is_ok_and(|names| !names.is_empty()));
    if leftovers {
        return Err(Error::corrupt(
            IDENTITY_FILE,
            "it is missing, but the folder holds a log",
        ));
    }
    let record = IdentityRecord::new(identity, key, created);
    let text = serde_json::to_vec_pretty(&record)
        .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))?;
    disk.put(&[(IDENTITY_FILE.to_owned(), text)])
        .map_err(|error| Error::disk("writing", IDENTITY_FILE, error))?;
    Ok(record)
}

/// The blocking part of opening a log.
struct Start {
    disk: Arc<dyn Disk>,
    key: NoteKey,
    record: IdentityRecord,
    options: EngineOptions,
    clock: SharedClock,
    signer: CheckpointSigner,
}

struct Started {
    tree: Arc<Tree>,
    intake: Arc<Intake>,
    writer: Writer,
    epoch: u64,
    seq: u64,
    public_size: u64,
}

impl Start {
    fn run(self, row: Option<&HeadRow>) -> Result<Started, Error> {
        let checksum = self.record.checksum_key()?;
        let recovered = recover::read(&self.disk, self.record.kind, &self.key, checksum, row)?;
        let tail = recovered.scan.tail.clone();
        let last_epoch = tail
            .as_ref()
            .map_or(0, |tail| tail.epoch)
            .max(row.map_or(0, |row| row.epoch));
        let epoch = last_epoch + 1;
        let EngineOptions {
            segment_bytes,
            spare_segments,
            ..
        } = self.options;
        let mut writer = Writer::open(
            self.disk.clone(),
            checksum,
            segment_bytes,
            spare_segments,
            recovered.scan,
        )?;
        let (snapshot, seq) = match (recovered.snapshot, tail) {
            (Some(snapshot), Some(tail)) => (snapshot, tail.seq),
            _ => (self.first_checkpoint(&mut writer, epoch)?, 1),
        };
        let limits = Limits {
            queue_entries: self.options.queue_entries,
            queue_bytes: self.options.queue_bytes,
            batch_entries: self.options.batch_entries,
            batch_bytes: self.options.batch_bytes,
        };
        let tree = Arc::new(Tree::new(
            self.record.kind,
            self.disk,
            snapshot,
            recovered.overlay,
        ));
        let intake = Arc::new(Intake::new(limits, recovered.index));
        Ok(Started {
            tree,
            intake,
            writer,
            epoch,
            seq,
            public_size: recovered.public_size,
        })
    }

    /// A new log begins with a frame without entries: the signed checkpoint of the empty tree.
    fn first_checkpoint(&self, writer: &mut Writer, epoch: u64) -> Result<Snapshot, Error> {
        let edge = sealwright_tlog::RightEdge::new();
        let (root, time_ms) = (
            edge.root(),
            u64::try_from(self.clock.unix_ms()).unwrap_or(0),
        );
        let note = self.signer.sign(0, root, time_ms)?;
        let frame = Frame {
            epoch,
            seq: 1,
            first_index: 0,
            time_ms,
            prev_root: root,
            new_root: root,
            note: note.clone(),
            leaves: Vec::new(),
        };
        match writer.append(&frame)? {
            Appended::Durable => Ok(Snapshot {
                root,
                note: note.into(),
                time_ms,
                edge,
                partial: Vec::new(),
            }),
            Appended::Refused => Err(Error::StorageFull),
        }
    }
}
