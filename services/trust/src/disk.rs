//! Lists of files to write, each whole or not at all, and the lock of their folder.

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};

use sealwright_host::file::{self, Readers};

use crate::error::Error;

/// One file to write. A publication is a list of these, in an order that a crash may cut anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FileWrite {
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mode: Mode,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// The file is new. One that exists with the same content is left alone; other content is an error.
    Create,
    /// The file is replaced in one step.
    Replace,
    /// As `Create`, readable by its owner only.
    CreateSecret,
}

impl FileWrite {
    pub(crate) fn create(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            bytes,
            mode: Mode::Create,
        }
    }

    pub(crate) fn replace(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Self {
        Self {
            path: path.into(),
            bytes,
            mode: Mode::Replace,
        }
    }

    /// Writes the file durably, with its folder where that is missing. One writer at a time, which the lock of the
    /// folder ensures.
    pub(crate) fn apply(&self) -> Result<(), Error> {
        if self.mode != Mode::Replace
            && let Some(present) = read_optional(&self.path)?
        {
            if present != self.bytes {
                return Err(Error::Overwrite {
                    path: self.path.clone(),
                });
            }
            // Whoever wrote it may have been killed before its name was durable, and what is written next refers to it.
            return file::sync_folder(&self.path).map_err(disk_error(&self.path));
        }
        let readers = match self.mode {
            Mode::CreateSecret => Readers::Owner,
            Mode::Create | Mode::Replace => Readers::All,
        };
        let folder = self.path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder)
            .and_then(|()| file::write_whole(&self.path, &self.bytes, readers))
            .map_err(disk_error(&self.path))
    }
}

/// The content of a file, or nothing where there is none.
pub(crate) fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    file::read_optional(path).map_err(disk_error(path))
}

pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    file::remove_optional(path).map_err(disk_error(path))
}

/// A lock that lives as long as the value, and ends with the process however that ends.
pub(crate) fn lock(path: &Path) -> Result<File, Error> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(disk_error(folder))?;
    }
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = file.map_err(disk_error(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(disk_error(path)(error)),
    }
}

pub(crate) fn disk_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Disk { path, source }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_version_is_written_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.root.json");
        FileWrite::create(&path, b"a".to_vec()).apply().unwrap();
        FileWrite::create(&path, b"a".to_vec()).apply().unwrap();
        let refused = FileWrite::create(&path, b"b".to_vec()).apply();
        assert!(matches!(refused, Err(Error::Overwrite { .. })));
        assert_eq!(fs::read(&path).unwrap(), b"a");
        FileWrite::replace(&path, b"b".to_vec()).apply().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"b");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn secrets_are_for_their_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new").join("key.pem");
        let secret = FileWrite {
            path: path.clone(),
            bytes: b"s".to_vec(),
            mode: Mode::CreateSecret,
        };
        secret.apply().unwrap();
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }

    #[test]
    fn a_second_process_is_kept_out() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(lock(&path), Err(Error::Locked { .. })));
        drop(held);
        lock(&path).unwrap();
    }
}
