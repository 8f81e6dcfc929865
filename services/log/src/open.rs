//! Opening a log: lock, identity, head, recovery, and then the threads that work until it is shut down.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use sealwright_host::SharedClock;
use sealwright_tlog::NoteKey;
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::head::{Head, HeadRow};
use crate::identity::{IdentityRecord, LogIdentity, make};
use crate::intake::{Intake, Limits};
use crate::log::{Inner, Log, Threads};
use crate::metrics::LogMetrics;
use crate::options::{EngineOptions, EngineParts, require_usable};
use crate::publisher::{PublishOptions, Publisher};
use crate::recover;
use crate::sequencer::Sequencer;
use crate::sign::CheckpointSigner;
use crate::tree::{Snapshot, Tree};
use crate::wal::{Appended, Frame, Writer};

const LOCK_FILE: &str = "LOCK";
const STATE_FILE: &str = "state.db";

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
}

/// A thread that panics takes the log with it: waiters must not wait for ever.
fn guarded(intake: Arc<Intake>, name: &'static str, work: impl FnOnce()) -> impl FnOnce() {
    move || {
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(work)).is_err() {
            intake.stop(&format!("the {name} panicked"));
        }
    }
}

fn take_lock(disk: &Arc<dyn Disk>, dir: &Path) -> Result<Box<dyn Debug + Send + Sync>, Error> {
    disk.lock(LOCK_FILE).map_err(|error| match error.kind() {
        std::io::ErrorKind::WouldBlock => Error::Locked {
            dir: PathBuf::from(dir),
        },
        _ => Error::disk("locking", LOCK_FILE, error),
    })
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
