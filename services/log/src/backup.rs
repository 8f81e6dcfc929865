//! Copying a log while it works.
//!
//! The order is what makes the copy a log: the public checkpoint is read first, so that nothing in the copy falls short of
//! it; then the head, then the frames of the write-ahead log, which by then reach at least as far; tiles and bundles last,
//! of which those up to the checkpoint exist and never change. What is derived, or of one place only, stays behind.
//!
//! Tiles and bundles that an earlier copy has are linked from there instead of copied: they never change.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_host::db::copy_sqlite;
use sealwright_tlog::Checkpoint;
use sealwright_tlog::tile::{TILE_HEIGHT, TileId, changed_tiles};
use tokio::task::spawn_blocking;

use crate::dedup::run::FOLDER as DEDUP;
use crate::disk::{Disk, FileDisk, TEMPORARY};
use crate::error::Error;
use crate::fsck::log_key;
use crate::head::SqliteHead;
use crate::identity::{IDENTITY_FILE, IdentityRecord};
use crate::kind::Kind;
use crate::open::{LOCK_FILE, STATE_FILE};
use crate::publisher::CHECKPOINT_FILE;
use crate::recover::checkpoint_in;
use crate::tree::{PUBLIC, public_path, whole_bundles};
use crate::wal::{ChecksumKey, Front};

/// How often the write-ahead log is read again when its segments are recycled under the reader.
const ATTEMPTS: u32 = 10;
const WAL: &str = "wal";
const ATTACHMENTS: &str = "attachments";

/// What was copied of a log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Copied {
    /// Origin of the log.
    pub origin: String,
    /// Size of the public checkpoint in the copy.
    pub published: u64,
    /// Entries in the copy of the write-ahead log: what a start from the copy has.
    pub size: u64,
    /// Files that were written.
    pub written: u64,
    /// Files that are shared with the earlier copy.
    pub linked: u64,
}

/// Copies the log in `from`, open or not, to the new folder `to`. Files that cannot have changed since the copy in `before`
/// was made are linked from there. Nothing is synced; the caller does that once for everything.
///
/// # Errors
/// [`Error::NotALog`], or a file that cannot be read or written.
pub async fn copy_log(from: &Path, to: &Path, before: Option<&Path>) -> Result<Copied, Error> {
    if !from.join(IDENTITY_FILE).exists() {
        return Err(Error::NotALog {
            dir: from.to_owned(),
        });
    }
    let disk = FileDisk::open(from)
        .map_err(|error| Error::disk("opening", from.display().to_string(), error))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let record = IdentityRecord::read(&*disk)?.ok_or_else(|| Error::NotALog {
        dir: from.to_owned(),
    })?;
    let mut attempt = 0;
    loop {
        attempt += 1;
        // The checkpoint first: see above.
        let note = disk.read(CHECKPOINT_FILE);
        let note = note.map_err(|error| Error::disk("reading", CHECKPOINT_FILE, error))?;
        let key = log_key(&record)?;
        let checkpoint = note.as_deref().map(|note| checkpoint_in(note, &key));
        let checkpoint = checkpoint.transpose()?;
        let copy = Copy {
            disk: disk.clone(),
            kind: record.kind,
            checksum: record.checksum_key()?,
            from: from.to_owned(),
            to: to.to_owned(),
            before: before.map(Path::to_owned),
            checkpoint,
            copied: Copied {
                origin: record.origin.clone(),
                ..Copied::default()
            },
        };
        fs::create_dir_all(to).map_err(|error| failed("making", to, error))?;
        copy.head().await?;
        let done = spawn_blocking(move || copy.run(note)).await;
        match done.unwrap_or_else(|_| {
            Err(Error::Stopped {
                cause: "the copy panicked".into(),
            })
        }) {
            Err(Error::Corrupt { file, .. }) if file == WAL && attempt < ATTEMPTS => {
                fs::remove_dir_all(to).map_err(|error| failed("removing", to, error))?;
            }
            done => return done,
        }
    }
}

fn failed(action: &'static str, path: &Path, error: std::io::Error) -> Error {
    Error::disk(action, path.display().to_string(), error)
}

struct Copy {
    disk: Arc<dyn Disk>,
    kind: Kind,
    checksum: ChecksumKey,
    from: PathBuf,
    to: PathBuf,
    before: Option<PathBuf>,
    checkpoint: Option<Checkpoint>,
    copied: Copied,
}

impl Copy {
    /// The head, before the frames that it speaks of.
    async fn head(&self) -> Result<(), Error> {
        let (from, to) = (self.from.join(STATE_FILE), self.to.join(STATE_FILE));
        if !from.exists() {
            return Ok(());
        }
        if to.exists() {
            fs::remove_file(&to).map_err(|error| failed("removing", &to, error))?;
        }
        let copied = copy_sqlite(&from, &to).await;
        copied.map_err(|error| Error::Database(error.to_string()))
    }

    fn run(mut self, note: Option<Vec<u8>>) -> Result<Copied, Error> {
        let published = self.checkpoint.as_ref().map_or(0, |known| known.size);
        self.copied.published = published;
        self.copied.size = published;
        // Checkpoints that lie beside it, too, must not know more than the frames.
        self.others()?;
        self.frames(published)?;
        for id in changed_tiles(0, published) {
            self.tile(id)?;
        }
        let bundle = self.kind.bundle();
        for index in 0..=published >> TILE_HEIGHT {
            if let Some(id) = TileId::in_tree(bundle, index, published) {
                self.tile(id)?;
            }
        }
        self.folder(&format!("{PUBLIC}/issuer"))?;
        self.folder(ATTACHMENTS)?;
        if let Some(note) = note {
            self.write(CHECKPOINT_FILE, &note)?;
        }
        Ok(self.copied)
    }

    /// The frames of the write-ahead log, without what is behind the last one.
    fn frames(&mut self, published: u64) -> Result<(), Error> {
        let names = self.disk.list(WAL);
        let names = names.map_err(|error| Error::disk("listing", WAL, error))?;
        let (mut first, mut last) = (None, None);
        for name in names.iter().filter(|name| name.ends_with(".wal")) {
            let path = format!("{WAL}/{name}");
            let Some(bytes) = self.read(&path)? else {
                return Err(Error::corrupt(WAL, "a segment was recycled meanwhile"));
            };
            let Some(front) = Front::read(bytes, self.checksum, last)? else {
                continue;
            };
            first.get_or_insert(front.first_index);
            last = Some(front.last);
            self.write(&path, &front.bytes)?;
        }
        // As a start reckons: the head was copied first, and may know less than the checkpoint.
        let head = SqliteHead::row_at(&self.to.join(STATE_FILE), &self.copied.origin)?;
        let filed = head.map_or(published, |head| head.published.min(published));
        let filed = whole_bundles(filed);
        if let Some((_, size)) = last {
            self.copied.size = size;
        }
        // Files and frames were read one after the other: frames between them may have been recycled.
        if first.is_some_and(|first| first > filed)
            || last.is_some_and(|(_, size)| size < published)
        {
            return Err(Error::corrupt(WAL, "it was recycled meanwhile"));
        }
        Ok(())
    }

    /// A tile or bundle. A partial one may be gone meanwhile, and need not be there.
    fn tile(&mut self, id: TileId) -> Result<(), Error> {
        let path = public_path(id);
        let there = self.share(&path)?;
        let optional = !id.is_full();
        if there || optional {
            return Ok(());
        }
        Err(Error::corrupt(path, "it is missing"))
    }

    /// Links a file that never changes from the earlier copy, or copies it; `false` when it is not there.
    fn share(&mut self, path: &str) -> Result<bool, Error> {
        let (from, to) = (self.from.join(path), self.to.join(path));
        let own = match fs::symlink_metadata(&from) {
            Ok(own) if own.is_file() => own,
            Ok(_) => return Err(Error::corrupt(path, "it is not a regular file")),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                return Ok(false);
            }
            Err(error) => return Err(failed("looking at", &from, error)),
        };
        make_parent(&to)?;
        if let Some(before) = self.before.as_ref().map(|before| before.join(path)) {
            let same = fs::symlink_metadata(&before)
                .is_ok_and(|known| known.is_file() && known.len() == own.len());
            // Without links (another file system, too many of them) it is copied.
            if same && fs::hard_link(&before, &to).is_ok() {
                self.copied.linked += 1;
                return Ok(true);
            }
        }
        match fs::copy(&from, &to) {
            Ok(_) => self.copied.written += 1,
            // A partial tile goes when its successor is there.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(failed("copying", &from, error)),
        }
        Ok(true)
    }

    /// All files of a folder, and of those below it, which are written once.
    fn folder(&mut self, folder: &str) -> Result<(), Error> {
        let names = self.disk.list(folder);
        for name in names.map_err(|error| Error::disk("listing", folder, error))? {
            let path = format!("{folder}/{name}");
            if self.from.join(&path).is_dir() {
                self.folder(&path)?;
            } else {
                self.share(&path)?;
            }
        }
        Ok(())
    }

    /// The other files of the log's own folder: which log it is, and what an operator has decided.
    fn others(&mut self) -> Result<(), Error> {
        let names = self.disk.list("");
        for name in names.map_err(|error| Error::disk("listing", "", error))? {
            let derived = [LOCK_FILE, TEMPORARY, DEDUP, WAL, PUBLIC, ATTACHMENTS];
            if derived.contains(&name.as_str()) || name.starts_with(STATE_FILE) {
                continue;
            }
            if !self.from.join(&name).is_file() {
                continue;
            }
            if let Some(bytes) = self.read(&name)? {
                self.write(&name, &bytes)?;
            }
        }
        Ok(())
    }

    fn read(&self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        self.disk
            .read(path)
            .map_err(|error| Error::disk("reading", path, error))
    }

    fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), Error> {
        let to = self.to.join(path);
        make_parent(&to)?;
        fs::write(&to, bytes).map_err(|error| failed("writing", &to, error))?;
        self.copied.written += 1;
        Ok(())
    }
}

fn make_parent(path: &Path) -> Result<(), Error> {
    let Some(parent) = path.parent() else {
        return Ok(());
    };
    fs::create_dir_all(parent).map_err(|error| failed("making", parent, error))
}
