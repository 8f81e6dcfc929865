//! What keeps a witness from starting, and what keeps it from cosigning.

use std::path::PathBuf;

use sealwright_host::db::DbError;
use sealwright_tlog::witness::Refusal;
use thiserror::Error;

/// Why the witness does not start. All of it is the operator's to mend.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A configured value cannot be used.
    #[error("witness.{key}: {what}")]
    Config {
        /// The key within `[witness]`.
        key: &'static str,
        /// Which value, why, and what would be accepted.
        what: String,
    },
    /// There is no state. A witness that lost its memory would cosign a fork, so it is made once and on purpose.
    #[error(
        "{} holds no witness's state: make one with `sealwrightd witness init`; a witness that lost its state needs a new name and key",
        dir.display()
    )]
    NotAWitness {
        /// The folder.
        dir: PathBuf,
    },
    /// A file of the state folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The database cannot be opened.
    #[error(transparent)]
    Database(#[from] DbError),
    /// The database does not answer.
    #[error("the witness's database: {0}")]
    Query(#[from] sqlx::Error),
    /// The database holds what no witness writes.
    #[error("the witness's state is corrupt: {what}")]
    Corrupt {
        /// What is wrong.
        what: String,
    },
    /// A cosignature was made at a time that has not come. The clock is wrong, or the state is another's.
    #[error(
        "the last cosignature was made at {last_time} (Unix seconds), the clock shows {now}: set the clock right first"
    )]
    StateOfTheFuture {
        /// The latest time in the state.
        last_time: i64,
        /// What the clock shows.
        now: i64,
    },
    /// A monitoring file has a larger tree than the database, or another one of its size.
    #[error(
        "{} shows a checkpoint of {shown} entries that the database, at {known}, does not know: the database was restored from a backup, and this witness \
         must not cosign as before; give it a new name and key",
        file.display()
    )]
    RolledBack {
        /// The monitoring file.
        file: PathBuf,
        /// The size it shows.
        shown: u64,
        /// The size in the database.
        known: u64,
    },
}

/// Why a request is not answered with a cosignature.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Fault {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The clock is behind a cosignature that was given out.
    #[error("the clock shows {now}, a cosignature was made at {last}")]
    ClockBehind {
        /// What the clock shows, Unix seconds.
        now: i64,
        /// The latest time given out.
        last: i64,
    },
    /// The key did not sign.
    #[error("the checkpoint could not be cosigned: {0}")]
    Signer(String),
    /// The state could not be read or written; nothing was cosigned, or nobody knows.
    #[error(transparent)]
    Storage(#[from] Error),
    /// Somebody else wrote the state.
    #[error("the state was changed by another process")]
    Fenced,
}
