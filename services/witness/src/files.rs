//! The monitoring checkpoints as files, for a web server or a copy elsewhere: `public/<hash of the origin>/checkpoint`.
//!
//! They follow the database within seconds and are never ahead of it. That makes them a second memory: a file that shows
//! what the database does not know means that the database was put back.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sealwright_host::file::{Readers, read_optional, write_whole};
use sealwright_tlog::witness::monitoring_path;
use sealwright_tlog::{Checkpoint, Note};

use crate::error::Error;
use crate::state::{Row, State};

#[derive(Debug)]
pub(crate) struct MonitoringFiles {
    folder: PathBuf,
    /// Origins whose file is not up to date.
    marked: Mutex<BTreeSet<String>>,
}

impl MonitoringFiles {
    pub(crate) fn open(state: &Path) -> Result<Self, Error> {
        let folder = state.join("public");
        make_folder(&folder)?;
        Ok(Self {
            folder,
            marked: Mutex::default(),
        })
    }

    fn marked(&self) -> std::sync::MutexGuard<'_, BTreeSet<String>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file of this log is to be written again.
    pub(crate) fn mark(&self, origin: &str) {
        let mut marked = self.marked();
        if !marked.contains(origin) {
            marked.insert(origin.to_owned());
        }
    }

    pub(crate) fn take_marked(&self) -> BTreeSet<String> {
        std::mem::take(&mut self.marked())
    }

    /// Writes a file; what cannot be written is said, and is no harm to the database.
    pub(crate) async fn write(&self, path: &str, note: &str) {
        let (path, note) = (self.folder.join(path), note.to_owned());
        let written = tokio::task::spawn_blocking(move || {
            if let Some(folder) = path.parent() {
                make_folder(folder)?;
            }
            write_whole(&path, note.as_bytes(), Readers::All)
                .map_err(|source| Error::State { path, source })
        });
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a monitoring file is not written"),
            Err(error) => tracing::error!(%error, "writing a monitoring file panicked"),
        }
    }

    /// Refuses a database that is behind the file of this log; marks the file for writing when it is behind.
    pub(crate) fn require_not_ahead(&self, row: &Row) -> Result<(), Error> {
        let file = self.folder.join(monitoring_path(&row.origin));
        match checkpoint(&file)? {
            Some(shown)
                if shown.size > row.size || shown.size == row.size && shown.root != row.root =>
            {
                Err(Error::RolledBack {
                    file,
                    shown: shown.size,
                    known: row.size,
                })
            }
            _ => {
                self.mark(&row.origin);
                Ok(())
            }
        }
    }

    /// Refuses a database that lacks a log whose file is there.
    pub(crate) async fn require_all_known(&self, state: &State) -> Result<(), Error> {
        let unreadable = |source| Error::State {
            path: self.folder.clone(),
            source,
        };
        for entry in std::fs::read_dir(&self.folder).map_err(unreadable)? {
            let hash = entry.map_err(unreadable)?.file_name();
            let (hash, file) = (
                hash.to_string_lossy().into_owned(),
                self.folder.join(&hash).join("checkpoint"),
            );
            let Some(shown) = checkpoint(&file)? else {
                continue;
            };
            if state.row_by_hash(&hash).await?.is_none() {
                return Err(Error::RolledBack {
                    file,
                    shown: shown.size,
                    known: 0,
                });
            }
        }
        Ok(())
    }
}

/// The checkpoint in a monitoring file; `None` when there is none. One that cannot be read was not written here.
fn checkpoint(file: &Path) -> Result<Option<Checkpoint>, Error> {
    let bytes = read_optional(file).map_err(|source| Error::State {
        path: file.to_owned(),
        source,
    })?;
    let Some(bytes) = bytes else { return Ok(None) };
    let read = Note::parse(&bytes).and_then(|note| Checkpoint::parse(note.text()));
    read.map(Some).map_err(|error| Error::Corrupt {
        what: format!("{}: {error}", file.display()),
    })
}

fn make_folder(path: &Path) -> Result<(), Error> {
    std::fs::create_dir_all(path).map_err(|source| Error::State {
        path: path.to_owned(),
        source,
    })
}
