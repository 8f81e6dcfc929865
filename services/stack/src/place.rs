//! The directory an instance lives in: whose it is, in which format, and that one process alone works on it.
//!
//! ```text
//! DIR/FORMAT     format = 1, kind = dev | production; written first, never changed
//! DIR/LOCK       flock for the life of the process
//! DIR/keys/      online keys and the chains of certificates, for the owner alone
//! DIR/offline/   keys that no server needs: roots, and TUF's root and targets
//! DIR/client/    what clients need; rewritten at each start before `ready`, except root.json
//! DIR/<service>/ the state of each service, its own business
//! ```

use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::error::Error;
use crate::files::{self, Readers};

/// The format of a directory that this release reads and writes.
const FORMAT: u32 = 1;
const FORMAT_FILE: &str = "FORMAT";
const LOCK_FILE: &str = "LOCK";

/// What a directory was made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// `sealwrightd dev` and `demo`: a built-in identity provider, keys in the clear.
    Dev,
    /// `sealwrightd up` and `run`.
    Production,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Dev => "dev",
            Self::Production => "production",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A directory that this process holds. The lock ends with the value.
#[derive(Debug)]
pub struct Place {
    dir: PathBuf,
    fresh: bool,
    _locks: Vec<File>,
}

/// How much of a directory a process takes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Share<'a> {
    /// All of it.
    Whole,
    /// The part of one role, beside processes with other roles.
    Role(&'a str),
}

impl Place {
    /// Takes `dir` for an instance of `kind`, making it when it is new or empty.
    ///
    /// # Errors
    /// [`Error::Foreign`], [`Error::OtherKind`], [`Error::Format`], [`Error::Locked`] or [`Error::Io`]; in each case nothing
    /// was added to a directory that is not ours.
    pub fn claim(dir: &Path, kind: Kind, share: Share<'_>) -> Result<Self, Error> {
        match kind_of(dir)? {
            Some(found) => Self::check_kind(dir, found, kind)?,
            None if !is_vacant(dir)? => {
                return Err(Error::Foreign {
                    dir: dir.to_owned(),
                });
            }
            None => {}
        }
        files::make_folder(dir)?;
        let locks = lock(dir, share)?;
        // Two first starts may have raced to this point; the lock has decided which one makes the directory.
        let fresh = match kind_of(dir)? {
            Some(found) => Self::check_kind(dir, found, kind).map(|()| false)?,
            None => {
                let text = format!("format = {FORMAT}\nkind = {kind}\n");
                files::write_atomically(&dir.join(FORMAT_FILE), text.as_bytes(), Readers::All)?;
                true
            }
        };
        let dir = fs::canonicalize(dir).map_err(Error::io(dir))?;
        Ok(Self {
            dir,
            fresh,
            _locks: locks,
        })
    }

    /// Takes the directory of an instance that exists.
    ///
    /// # Errors
    /// As [`Place::claim`], and [`Error::NoInstance`].
    pub fn open(dir: &Path, kind: Kind, share: Share<'_>) -> Result<Self, Error> {
        match kind_of(dir)? {
            Some(_) => Self::claim(dir, kind, share),
            None => Err(Error::NoInstance {
                dir: dir.to_owned(),
            }),
        }
    }

    fn check_kind(dir: &Path, found: Kind, wanted: Kind) -> Result<(), Error> {
        let matching = found == wanted;
        matching.then_some(()).ok_or_else(|| Error::OtherKind {
            dir: dir.to_owned(),
            found,
            wanted,
        })
    }

    /// The directory, absolute.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether it was made just now.
    #[must_use]
    pub const fn fresh(&self) -> bool {
        self.fresh
    }

    /// A path below the directory.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        self.dir.join(below)
    }

    /// A folder below the directory for the owner alone, made when it is absent.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn private_folder(&self, below: &str) -> Result<PathBuf, Error> {
        let path = self.path(below);
        files::make_private_folder(&path)?;
        Ok(path)
    }
}

/// What `dir` was made for; `None` when it has no FORMAT file.
///
/// # Errors
/// [`Error::Format`] for a FORMAT file that this release does not understand, [`Error::Io`].
pub fn kind_of(dir: &Path) -> Result<Option<Kind>, Error> {
    let Some(text) = files::read_if_there(&dir.join(FORMAT_FILE))? else {
        return Ok(None);
    };
    let refuse = |what: String| Error::Format {
        dir: dir.to_owned(),
        what,
    };
    let value = |key: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        lines
            .find(|(name, _)| name.trim() == key)
            .map(|(_, value)| value.trim())
    };
    let format =
        value("format").ok_or_else(|| refuse("its FORMAT file names no format".to_owned()))?;
    if format.parse() != Ok(FORMAT) {
        return Err(refuse(format!(
            "it has format {format}, this release knows format {FORMAT}; use the release that made it"
        )));
    }
    match value("kind") {
        Some("dev") => Ok(Some(Kind::Dev)),
        Some("production") => Ok(Some(Kind::Production)),
        other => Err(refuse(format!(
            "its FORMAT file has kind {other:?}; known are dev and production"
        ))),
    }
}

/// Whether there is nothing of value in `dir`: it is absent, empty, or holds what a first start left that was cut short.
fn is_vacant(dir: &Path) -> Result<bool, Error> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(Error::io(dir)(error)),
    };
    for entry in entries {
        let name = entry.map_err(Error::io(dir))?.file_name();
        if name != LOCK_FILE && name != ".FORMAT.new" {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A process that takes everything excludes all others; roles exclude it and their own double.
fn lock(dir: &Path, share: Share<'_>) -> Result<Vec<File>, Error> {
    let exclusive = FlockOperation::NonBlockingLockExclusive;
    match share {
        Share::Whole => Ok(vec![lock_file(dir, LOCK_FILE, exclusive)?]),
        Share::Role(role) => Ok(vec![
            lock_file(dir, LOCK_FILE, FlockOperation::NonBlockingLockShared)?,
            lock_file(dir, &format!("{LOCK_FILE}.{role}"), exclusive)?,
        ]),
    }
}

fn lock_file(dir: &Path, name: &str, how: FlockOperation) -> Result<File, Error> {
    let path = dir.join(name);
    let open = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path);
    let file = open.map_err(Error::io(&path))?;
    match flock(&file, how) {
        Ok(()) => Ok(file),
        Err(Errno::WOULDBLOCK) => Err(Error::Locked {
            dir: dir.to_owned(),
        }),
        Err(error) => Err(Error::io(path)(error.into())),
    }
}

/// Whether some process holds `dir`, whole or in part.
pub(crate) fn is_held(dir: &Path) -> bool {
    let Ok(file) = File::open(dir.join(LOCK_FILE)) else {
        return false;
    };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_directory_is_taken_marked_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let dir = folder.path().join("deep/dev");
        let place = Place::claim(&dir, Kind::Dev, Share::Whole).unwrap();
        assert!(place.fresh());
        let text = fs::read_to_string(dir.join("FORMAT")).unwrap();
        assert_eq!(text, "format = 1\nkind = dev\n");
        drop(place);
        assert!(!Place::claim(&dir, Kind::Dev, Share::Whole).unwrap().fresh());
    }

    #[test]
    fn a_second_holder_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let _held = Place::claim(folder.path(), Kind::Dev, Share::Whole).unwrap();
        let error = Place::claim(folder.path(), Kind::Dev, Share::Whole).expect_err("held");
        assert!(matches!(error, Error::Locked { .. }), "{error}");
    }

    #[test]
    fn roles_share_a_directory_and_exclude_their_double_and_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let role = |name| Place::claim(folder.path(), Kind::Production, Share::Role(name));
        let whole = || Place::claim(folder.path(), Kind::Production, Share::Whole);
        assert!(!is_held(folder.path()));
        let held = (role("ca").unwrap(), role("log").unwrap());
        assert!(
            matches!(role("ca"), Err(Error::Locked { .. }))
                && matches!(whole(), Err(Error::Locked { .. }))
        );
        assert!(is_held(folder.path()));
        drop(held);
        let _whole = whole().unwrap();
        assert!(matches!(role("ca"), Err(Error::Locked { .. })));
    }

    #[test]
    fn a_foreign_directory_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        let error = Place::claim(folder.path(), Kind::Dev, Share::Whole).expect_err("foreign");
        assert!(matches!(error, Error::Foreign { .. }), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn kinds_are_kept_apart() {
        let folder = tempfile::tempdir().unwrap();
        drop(Place::claim(folder.path(), Kind::Dev, Share::Whole).unwrap());
        let error = Place::open(folder.path(), Kind::Production, Share::Whole)
            .expect_err("a dev directory");
        assert!(error.to_string().contains("sealwrightd dev"), "{error}");
        assert!(matches!(
            Place::open(&folder.path().join("none"), Kind::Production, Share::Whole),
            Err(Error::NoInstance { .. })
        ));
    }

    #[test]
    fn a_format_of_the_future_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("FORMAT"), "format = 2\nkind = dev\n").unwrap();
        let error = Place::claim(folder.path(), Kind::Dev, Share::Whole).expect_err("newer");
        assert!(error.to_string().contains("format 2"), "{error}");
    }
}
