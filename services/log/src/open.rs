//! Opening a log: lock, identity, head, recovery, and then the threads that work until it is shut down.
//!
//! [`Start::run`] does all of it but the threads, and blocks. What it gives, an [`Engine`], moves only when it is called,
//! so that a simulation can drive the same parts step by step on one thread.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use sealwright_crypto::random_bytes;
use sealwright_host::SharedClock;
use sealwright_tlog::{NoteKey, RightEdge};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::cosign::Cosigner;
use crate::dedup::compact::Compactor;
use crate::dedup::load;
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::head::{Head, HeadRow, HeadStore, SqliteHead};
use crate::identity::{IdentityRecord, LogIdentity, make};
use crate::intake::{Intake, Limits};
use crate::log::{Inner, Log, Threads};
use crate::metrics::LogMetrics;
use crate::notes::Notes;
use crate::options::{EngineOptions, EngineParts, require_usable};
use crate::publication::{Publication, Slots};
use crate::publisher::{PublishOptions, Publisher};
use crate::recover;
use crate::restore::RESTORE_FILE;
use crate::sequencer::Sequencer;
use crate::settle::{Settler, settle};
use crate::sign::CheckpointSigner;
use crate::tree::{Snapshot, Tree};
use crate::wal::{Appended, ChecksumKey, Frame, Writer};

pub(crate) const LOCK_FILE: &str = "LOCK";
pub(crate) const STATE_FILE: &str = "state.db";

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
        let (runtime, metrics) = (Handle::current(), parts.metrics.of(&identity.name));
        let start = Start::new(
            disk,
            dir,
            identity,
            options,
            parts,
            metrics,
            runtime.clone(),
        )?;
        let state = (dir.join(STATE_FILE), start.identity.origin.clone());
        let store = move || -> Result<Box<dyn HeadStore>, Error> {
            Ok(Box::new(SqliteHead::open(&state.0, &state.1, runtime)?))
        };
        let engine = spawn_blocking(move || start.run(random_bytes(), store)).await;
        let engine = engine.map_err(|_| Error::Stopped {
            cause: "opening the log panicked".into(),
        })??;
        Ok(Self::run(engine))
    }

    fn run(mut engine: Engine) -> Self {
        let (cosigner, clock) = (engine.cosigner.take(), engine.clock.clone());
        let (log, mut sequencer, head, lock) = engine.into_parts();
        let (intake, publisher) = (&log.inner.intake, log.inner.publisher.clone());
        let (settler, batches) = sync_channel(1);
        sequencer.settler = Settler::on_thread(settler);
        let threads = Threads {
            settler: std::thread::spawn(guarded(intake.clone(), "settler", {
                let intake = intake.clone();
                move || batches.iter().for_each(|batch| settle(&intake, batch))
            })),
            sequencer: std::thread::spawn(guarded(intake.clone(), "sequencer", move || {
                sequencer.run()
            })),
            publisher: std::thread::spawn(guarded(intake.clone(), "publisher", {
                let metrics = log.inner.metrics.clone();
                move || publisher.run(head, &metrics)
            })),
            _lock: lock,
        };
        *log.inner
            .threads
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some(threads);
        if let Some((cosigner, slots)) = cosigner {
            let publication = Publication::start(cosigner, slots, &log.inner, clock);
            // It was made just now, and nobody else has set it.
            let _unimportant = log.inner.publication.set(publication);
        }
        log
    }
}

impl Engine {
    /// The handle of a log without threads, and what they would own.
    pub(crate) fn into_parts(self) -> (Log, Sequencer, Head, Box<dyn Debug + Send + Sync>) {
        let inner = Inner {
            identity: self.identity,
            record: self.record,
            signer: self.signer,
            intake: self.intake,
            tree: self.tree,
            publisher: self.publisher,
            metrics: self.metrics,
            strict_files: self.strict_files,
            publication: OnceLock::new(),
            notes: Notes::default(),
            threads: Mutex::new(None),
        };
        let log = Log {
            inner: Arc::new(inner),
        };
        (log, self.sequencer, self.head, self.lock)
    }
}

/// A thread that panics takes the log with it: waiters must not wait for ever.
fn guarded(intake: Arc<Intake>, name: &'static str, work: impl FnOnce()) -> impl FnOnce() {
    move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            intake.stop(&format!("the {name} panicked"));
        }
    }
}

pub(crate) fn take_lock(
    disk: &Arc<dyn Disk>,
    dir: &Path,
) -> Result<Box<dyn Debug + Send + Sync>, Error> {
    disk.lock(LOCK_FILE).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked {
            dir: PathBuf::from(dir),
        },
        _ => Error::disk("locking", LOCK_FILE, error),
    })
}

/// A log that is about to be opened. Nothing was read or written yet.
pub(crate) struct Start {
    disk: Arc<dyn Disk>,
    /// For messages.
    dir: PathBuf,
    identity: LogIdentity,
    options: EngineOptions,
    key: NoteKey,
    signer: CheckpointSigner,
    clock: SharedClock,
    metrics: LogMetrics,
    cosigner: Option<Arc<dyn Cosigner>>,
}

/// An open log whose parts work when they are called: the threads of a [`Log`] call them, or one thread, step by
/// step: [`Intake::offer`], [`Sequencer::process`], [`Publisher::publish`].
pub(crate) struct Engine {
    pub(crate) identity: LogIdentity,
    pub(crate) record: IdentityRecord,
    pub(crate) signer: CheckpointSigner,
    pub(crate) intake: Arc<Intake>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) sequencer: Sequencer,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) head: Head,
    pub(crate) metrics: LogMetrics,
    pub(crate) strict_files: bool,
    pub(crate) clock: SharedClock,
    /// Whom checkpoints are shown to first, and what they cosigned last.
    pub(crate) cosigner: Option<(Arc<dyn Cosigner>, Slots)>,
    /// Nobody else has the log open while this lives.
    pub(crate) lock: Box<dyn Debug + Send + Sync>,
}

impl Start {
    /// Refuses what cannot work. `runtime` awaits a signer that is not in memory.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        dir: &Path,
        identity: LogIdentity,
        options: EngineOptions,
        parts: EngineParts,
        metrics: LogMetrics,
        runtime: Handle,
    ) -> Result<Self, Error> {
        require_usable(&identity, &options)?;
        let key = identity
            .kind
            .note_key(&identity.origin, parts.signer.public_key().clone());
        let key = key.map_err(|error| Error::Config {
            log: identity.name.clone(),
            problem: error.to_string(),
        })?;
        let signer = CheckpointSigner::new(key.clone(), parts.signer, runtime)?;
        Ok(Self {
            disk,
            dir: dir.to_owned(),
            identity,
            options,
            key,
            signer,
            clock: parts.clock,
            metrics,
            cosigner: parts.cosigner,
        })
    }

    /// The whole story of a start: lock, whose log it is, head, recovery, the writer, taking over the head. Blocks.
    ///
    /// `secret` is for a log that is made. `store` is asked once, after the folder turned out to hold this log.
    pub(crate) fn run(
        self,
        secret: [u8; 16],
        store: impl FnOnce() -> Result<Box<dyn HeadStore>, Error>,
    ) -> Result<Engine, Error> {
        let lock = take_lock(&self.disk, &self.dir)?;
        let restoring = self.disk.read(RESTORE_FILE);
        if !matches!(restoring, Ok(None)) {
            return Err(Error::RestoreUnfinished {
                dir: self.dir.clone(),
            });
        }
        let record = self.record(&secret)?;
        let checksum = record.checksum_key()?;
        let mut store = store()?;
        let row = store.load()?;
        let recovered = recover::read(&self.disk, record.kind, &self.key, checksum, row.as_ref())?;
        recover::require_recent_files(&*self.disk, record.kind, &recovered)?;
        let tail = recovered.scan.tail.clone();
        let epoch = last_epoch(tail.as_ref().map(|tail| tail.epoch), row.as_ref()) + 1;
        let mut writer = self.writer(checksum, recovered.scan)?;
        let (snapshot, seq) = match (recovered.snapshot, tail) {
            (Some(snapshot), Some(tail)) => (snapshot, tail.seq),
            _ => (self.first_checkpoint(&mut writer, epoch)?, 1),
        };
        let next = HeadRow {
            epoch,
            size: snapshot.size(),
            root: snapshot.root,
            note: String::from_utf8_lossy(&snapshot.note).into_owned(),
            published: row.as_ref().map_or(0, |row| row.published),
        };
        let head = Head::take_over(store, row.as_ref(), next)?;
        self.metrics.at_size(snapshot.size());
        let tree = Arc::new(Tree::new(
            record.kind,
            self.disk.clone(),
            snapshot,
            recovered.overlay,
        ));
        let index = load::open(&tree, record.keyed()?, recovered.filed)?;
        let intake = Arc::new(Intake::new(self.limits(), index, self.clock.clone()));
        let compactor = Compactor::new(tree.clone(), intake.clone(), self.metrics.clone());
        if tree.snapshot().frozen {
            intake.settle_freeze(&Ok(()));
        }
        let cosigner = match self.cosigner.clone() {
            Some(cosigner) => {
                let public = recovered.public_size;
                let slots =
                    Publication::prepare(&*cosigner, &*self.disk, &tree, &self.key, public)?;
                Some((cosigner, slots))
            }
            None => None,
        };
        let publisher = Arc::new(Publisher::new(
            self.publish_options(),
            tree.clone(),
            writer.segments(),
            intake.clone(),
            compactor,
            recovered.public_size,
        ));
        let sequencer = Sequencer {
            intake: intake.clone(),
            tree: tree.clone(),
            writer,
            signer: self.signer.clone(),
            clock: self.clock.clone(),
            publisher: publisher.clone(),
            metrics: self.metrics.clone(),
            settler: Settler::default(),
            epoch,
            seq,
        };
        Ok(Engine {
            identity: self.identity,
            record,
            signer: self.signer,
            intake,
            tree,
            sequencer,
            publisher,
            head,
            metrics: self.metrics,
            strict_files: self.options.strict_files,
            clock: self.clock,
            cosigner,
            lock,
        })
    }

    /// The record of the log in the folder, which is made where there is none and the options say so.
    fn record(&self, secret: &[u8; 16]) -> Result<IdentityRecord, Error> {
        let record = match IdentityRecord::read(&*self.disk)? {
            Some(record) => record,
            None if self.options.create => make(
                &*self.disk,
                &self.identity,
                &self.key,
                self.clock.unix(),
                secret,
            )?,
            None => {
                return Err(Error::NotALog {
                    dir: self.dir.clone(),
                });
            }
        };
        record.require_same(&self.identity, &self.key)?;
        Ok(record)
    }

    fn writer(&self, checksum: ChecksumKey, scan: crate::wal::Scan) -> Result<Writer, Error> {
        let EngineOptions {
            segment_bytes,
            spare_segments,
            ..
        } = self.options;
        Writer::open(
            self.disk.clone(),
            checksum,
            segment_bytes,
            spare_segments,
            scan,
        )
    }

    /// A new log begins with a frame without entries: the signed checkpoint of the empty tree.
    fn first_checkpoint(&self, writer: &mut Writer, epoch: u64) -> Result<Snapshot, Error> {
        let edge = RightEdge::new();
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
            attachments: Vec::new(),
            frozen: false,
        };
        match writer.append(&frame)? {
            Appended::Durable => Ok(Snapshot {
                root,
                note: note.into(),
                time_ms,
                edge,
                partial: Vec::new(),
                frozen: false,
            }),
            Appended::Refused => Err(Error::StorageFull),
        }
    }

    fn limits(&self) -> Limits {
        Limits {
            queue_entries: self.options.queue_entries,
            queue_bytes: self.options.queue_bytes,
            batch_entries: self.options.batch_entries,
            batch_bytes: self.options.batch_bytes,
        }
    }

    fn publish_options(&self) -> PublishOptions {
        PublishOptions {
            interval: self.options.publish_interval,
            static_partials: self.options.static_partials,
            strict_files: self.options.strict_files,
            backlog_bytes: self.options.backlog_bytes,
        }
    }
}

/// Grows with every opening, also where the write-ahead log or the head was lost.
fn last_epoch(tail: Option<u64>, row: Option<&HeadRow>) -> u64 {
    tail.unwrap_or(0).max(row.map_or(0, |row| row.epoch))
}
