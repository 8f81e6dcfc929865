//! Files and folders of an instance, with the path in every error.

use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

pub(crate) use sealwright_host::file::Readers;
use sealwright_host::file::write_whole;

use crate::error::Error;

/// Writes `bytes` to `path` whole: a reader, or the next start after a power cut, finds the old file or the new one.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8], readers: Readers) -> Result<(), Error> {
    write_whole(path, bytes, readers).map_err(Error::io(path))
}

/// Writes `bytes` unless the file already holds them; gives whether it wrote.
pub(crate) fn write_if_different(
    path: &Path,
    bytes: &[u8],
    readers: Readers,
) -> Result<bool, Error> {
    if fs::read(path).is_ok_and(|found| found == bytes) {
        return Ok(false);
    }
    write_atomically(path, bytes, readers).map(|()| true)
}

/// Makes a folder that only the owner enters, and its parents.
pub(crate) fn make_private_folder(path: &Path) -> Result<(), Error> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(Error::io(path))
}

/// Makes a folder that everybody may read.
pub(crate) fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(Error::io(path))
}

/// Reads a file that may be absent.
pub(crate) fn read_if_there(path: &Path) -> Result<Option<String>, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Error::io(path)(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn files_are_replaced_whole_and_keys_are_for_the_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        assert!(write_if_different(&path, b"one", Readers::Owner).unwrap());
        assert!(!write_if_different(&path, b"one", Readers::Owner).unwrap());
        assert!(write_if_different(&path, b"two", Readers::Owner).unwrap());
        assert_eq!(read_if_there(&path).unwrap().as_deref(), Some("two"));
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }
}
