//! Why a log cannot be opened, refuses an entry, or has nothing to show.

use std::path::PathBuf;
use std::sync::Arc;

use sealwright_host::{Reason, ServiceError};

/// One variant per decision a caller can take. Cheap to clone: every waiter of a failed batch gets the same one.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    // Opening. The operator has to act; nothing was changed.
    /// Another process has the log open, or this one has it open already.
    #[error("{} is in use: another process holds its LOCK; a log has one writer", dir.display())]
    Locked {
        /// The log's folder.
        dir: PathBuf,
    },
    /// The folder holds no log, and the configuration does not say that one may be created.
    #[error("{} holds no log; a log is made once, with `create = true`", dir.display())]
    NotALog {
        /// The log's folder.
        dir: PathBuf,
    },
    /// The log on disk is not the one that is configured. Origin, kind and key of a log never change.
    #[error(
        "the log's {field} is {stored}, but {configured} is configured; it never changes after the log was made"
    )]
    Mismatch {
        /// Which immutable property.
        field: &'static str,
        /// What the configuration says.
        configured: String,
        /// What the folder says.
        stored: String,
    },
    /// A configuration value cannot be used.
    #[error("log {log}: {problem}")]
    Config {
        /// Name of the log.
        log: String,
        /// What is wrong, which value, and what would be accepted.
        problem: String,
    },
    /// No log of the process has this name.
    #[error("no log here is called {name:?}")]
    NoSuchLog {
        /// The name.
        name: String,
    },
    /// Stored bytes are not what they must be. The log refuses to start; `fsck` tells more.
    #[error("{file} is corrupt: {problem}; run fsck before anything else")]
    Corrupt {
        /// File, relative to the log's folder.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A tree larger than the write-ahead log's was seen or published: the storage was rolled back, for example by
    /// restoring an old backup. Going on would fork the log.
    #[error(
        "storage was rolled back: {evidence} commits to {seen} entries, the write-ahead log only to {have}; run `sealwrightd restore` before anything else"
    )]
    RolledBack {
        /// What proves it.
        evidence: &'static str,
        /// The size it commits to.
        seen: u64,
        /// The size of the write-ahead log's last frame.
        have: u64,
    },
    /// The same size was committed with two roots.
    #[error(
        "{evidence} has another root at size {size} than the write-ahead log: the log was forked; run `sealwrightd restore` before anything else"
    )]
    Forked {
        /// What proves it.
        evidence: &'static str,
        /// The size.
        size: u64,
    },

    // Witnesses.
    /// A witness has cosigned a larger tree under this log's key: this log lost entries, or somebody else signs with its
    /// key. It takes no more entries, ever; what was shown before is still served.
    #[error(
        "witness {witness} has cosigned {seen} entries, this log has only {have}: its storage was rolled back, or somebody else signs with its key; run `sealwrightd restore`"
    )]
    WitnessAhead {
        /// The witness's name in the policy.
        witness: String,
        /// The size it knows.
        seen: u64,
        /// The size of the write-ahead log's last frame.
        have: u64,
    },
    /// A witness has cosigned a tree that this log's does not extend. It takes no more entries, ever.
    #[error(
        "witness {witness} has cosigned another tree of {size} entries than this log's: the log was forked; run `sealwrightd restore`"
    )]
    WitnessForked {
        /// The witness's name in the policy.
        witness: String,
        /// The size it knows.
        size: u64,
    },
    /// The witnesses that the policy requires have not cosigned: nothing new can be shown. Try again soon.
    #[error("the witnesses' quorum is missing: {missing}")]
    QuorumMissing {
        /// Which witnesses, and why.
        missing: String,
    },

    // Outside memory.
    /// A mirror holds a larger tree with this log's signature: this log lost entries, or somebody else signs with its key.
    #[error(
        "mirror {mirror} holds {seen} entries signed by this log's key, this log has only {have}: its storage was rolled back, or somebody else signs with its key; run `sealwrightd restore`"
    )]
    MirrorAhead {
        /// As it is configured.
        mirror: String,
        /// The size it holds.
        seen: u64,
        /// The size of the write-ahead log's last frame.
        have: u64,
    },
    /// A mirror holds another tree with this log's signature.
    #[error(
        "mirror {mirror} holds another tree of {size} entries, signed by this log's key: the log was forked; run `sealwrightd restore`"
    )]
    MirrorForked {
        /// As it is configured.
        mirror: String,
        /// The size it holds.
        size: u64,
    },
    /// A mirror cannot be asked. It may be asked again later.
    #[error("mirror {mirror}: {problem}")]
    MirrorUnreachable {
        /// As it is configured.
        mirror: String,
        /// Why not.
        problem: String,
    },
    /// What a mirror gave is not the log's, or not what was asked for.
    #[error("mirror {mirror}: {file}: {problem}")]
    MirrorInvalid {
        /// As it is configured.
        mirror: String,
        /// File, relative to the mirror.
        file: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A log with `guard = "required"` does not start before all its outside memory has answered.
    #[error(
        "whether this log's storage is the newest cannot be told, and guard = \"required\": {missing}"
    )]
    GuardUnanswered {
        /// Who did not answer, and why.
        missing: String,
    },
    /// A restore was begun in the folder and did not end.
    #[error(
        "{} is being restored: run `sealwrightd restore` again, it goes on where it was", dir.display()
    )]
    RestoreUnfinished {
        /// The log's folder.
        dir: PathBuf,
    },

    // Storage.
    /// The disk failed. In the writer this is fatal: the log stops, and recovers on the next start.
    #[error("{action} {file}: {source}")]
    Disk {
        /// What was attempted ("reading", "syncing").
        action: &'static str,
        /// File, relative to the log's folder.
        file: String,
        /// What the operating system said.
        source: Arc<std::io::Error>,
    },
    /// The head database failed.
    #[error("state.db: {0}")]
    Database(String),
    /// Another process changed the head although this one holds the lock.
    #[error(
        "another process took over the log: the head in state.db is not the one this process wrote"
    )]
    Fenced,

    // Submitting.
    /// More entries wait than the queue may hold. Try again soon.
    #[error("the queue is full ({entries} entries, {bytes} bytes)")]
    Overloaded {
        /// Entries waiting.
        entries: usize,
        /// Their bytes.
        bytes: usize,
    },
    /// The disk is full. Nothing is lost; entries are accepted again when there is space.
    #[error("the log's disk is full")]
    StorageFull,
    /// A write or sync failed earlier, or the head was lost; the log accepts nothing until it is restarted.
    #[error("the log has stopped: {cause}")]
    Stopped {
        /// What made it stop.
        cause: String,
    },
    /// The log takes no entries any more, ever; another one has taken its place.
    #[error("the log is frozen")]
    Frozen,
    /// The log is being shut down.
    #[error("the log is shutting down")]
    ShuttingDown,
    /// The key that signs checkpoints did not answer, or gave a signature that does not verify.
    #[error("the checkpoint could not be signed: {0}")]
    Signer(String),
    /// The clock went back behind the last checkpoint by more than is tolerated.
    #[error("the clock shows {now_ms} ms, {behind_ms} ms before the last checkpoint")]
    ClockBehind {
        /// What the clock shows, Unix milliseconds.
        now_ms: i64,
        /// How far that is before the last checkpoint.
        behind_ms: i64,
    },
    /// The entry cannot be encoded, or is too long for the log.
    #[error("the entry cannot be logged: {0}")]
    Entry(#[from] sealwright_tlog::Error),

    // Reading.
    /// The index, tile or size is not in the tree (yet).
    #[error("{0} is not in the tree")]
    NotInTree(String),
}

impl Error {
    pub(crate) fn disk(
        action: &'static str,
        file: impl Into<String>,
        source: std::io::Error,
    ) -> Self {
        Self::Disk {
            action,
            file: file.into(),
            source: Arc::new(source),
        }
    }

    pub(crate) fn corrupt(file: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Corrupt {
            file: file.into(),
            problem: problem.into(),
        }
    }

    /// True when the operating system said that the disk or a quota is full.
    pub(crate) fn is_storage_full(&self) -> bool {
        use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::StorageFull => true,
            Self::Disk { source, .. } => {
                matches!(source.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            _ => false,
        }
    }

    /// The reason that crosses the wire.
    pub fn reason(&self) -> Reason {
        match self {
            Self::Overloaded { .. } => Reason::Overloaded,
            Self::StorageFull | Self::Stopped { .. } | Self::Disk { .. } | Self::Fenced => {
                Reason::StorageUnavailable
            }
            Self::WitnessAhead { .. } | Self::WitnessForked { .. } => Reason::StorageUnavailable,
            Self::QuorumMissing { .. } => Reason::Unavailable,
            Self::Frozen => Reason::LogFrozen,
            Self::ShuttingDown => Reason::ShuttingDown,
            Self::Signer(_) => Reason::SignerUnavailable,
            Self::ClockBehind { .. } => Reason::TimeNotAvailable,
            Self::Entry(sealwright_tlog::Error::TooLong { .. }) => Reason::EntryTooLarge,
            Self::Entry(_) => Reason::EntryInvalid,
            Self::NotInTree(_) | Self::NoSuchLog { .. } => Reason::NotFound,
            _ => Reason::Internal,
        }
    }
}

impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        let message = match &error {
            Error::Frozen => return crate::shards::frozen(),
            Error::Overloaded { .. } => "The log has too many entries waiting; try again".to_owned(),
            Error::StorageFull => "The log's storage is full; nothing was logged; try again later".to_owned(),
            Error::Stopped { .. } | Error::Disk { .. } | Error::Fenced => {
                "The log's storage failed and the log takes no entries; its operator has to restart it".to_owned()
            }
            Error::WitnessAhead { .. } | Error::WitnessForked { .. } => {
                "A witness knows another tree of this log, which takes no more entries; its operator has to restore it".to_owned()
            }
            Error::QuorumMissing { .. } => {
                "The log's witnesses have not cosigned in time; nothing is shown before they do; try again".to_owned()
            }
            Error::ShuttingDown => "The log is shutting down; try again".to_owned(),
            Error::Signer(_) => "The log's key is not available; nothing was logged; try again".to_owned(),
            Error::ClockBehind { .. } => "The log's clock went backwards; nothing was logged; try again later".to_owned(),
            Error::Entry(cause) => format!("The entry cannot be logged: {cause}"),
            Error::NotInTree(what) => format!("There is no {what} in the log"),
            Error::NoSuchLog { name } => format!("No log here is called {name:?}"),
            _ => return Self::internal(&error),
        };
        Self::new(error.reason(), message).with_internal(&error)
    }
}
