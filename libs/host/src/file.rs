//! Files that are written whole or not at all.
//!
//! For the few files a service replaces now and then: keys, trust documents, its own small memory. What is written many
//! times a second has its own layout and its own syncs, in the service that owns it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Readers {
    /// The owner alone: keys. Mode 0600.
    Owner,
    /// Everybody: certificates, public documents. Mode 0644, less the umask.
    All,
}

/// Writes the file beside its place (`.NAME.new`), syncs it, moves it there and syncs the folder: a reader, also one after
/// a power cut, finds the old content or the new. The folder must exist. Only one writer of a path at a time; whoever
/// calls this holds a lock that ensures it.
///
/// # Errors
/// What the operating system says. The path then holds the old content, or already the new one when only the last sync
/// failed.
pub fn write_whole(path: &Path, bytes: &[u8], readers: Readers) -> io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not the name of a file"))?;
    let beside = path.with_file_name(format!(".{}.new", name.to_string_lossy()));
    // What a crash left over may have other permissions, so it is never written into.
    remove_optional(&beside)?;
    let mode = match readers {
        Readers::Owner => 0o600,
        Readers::All => 0o644,
    };
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    sync_folder(path)
}

/// Makes the names in the folder of `path` durable: after a file was renamed, or found to be there already by somebody
/// who cannot know whether its maker came this far.
///
/// # Errors
/// What the operating system says.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

/// The content of a file, or nothing where there is none.
///
/// # Errors
/// What the operating system says, unless it is that there is no such file.
pub fn read_optional(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes a file that need not be there.
///
/// # Errors
/// What the operating system says, unless it is that there is no such file.
pub fn remove_optional(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("document.json");
        assert_eq!(read_optional(&path).unwrap(), None);
        write_whole(&path, b"one", Readers::All).unwrap();
        write_whole(&path, b"two", Readers::All).unwrap();
        assert_eq!(read_optional(&path).unwrap().as_deref(), Some(&b"two"[..]));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        remove_optional(&path).unwrap();
        remove_optional(&path).unwrap();
        assert_eq!(read_optional(&path).unwrap(), None);
    }

    #[test]
    fn what_a_crash_left_over_lends_a_secret_no_readers() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        fs::write(folder.path().join(".key.pem.new"), b"left over").unwrap();
        write_whole(&path, b"secret", Readers::Owner).unwrap();
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn a_write_that_cannot_be_leaves_the_old_content() {
        let folder = tempfile::tempdir().unwrap();
        let missing = folder.path().join("none").join("file");
        assert!(write_whole(&missing, b"x", Readers::All).is_err());
        assert!(write_whole(Path::new("/"), b"x", Readers::All).is_err());
        let path = folder.path().join("file");
        write_whole(&path, b"old", Readers::All).unwrap();
        fs::create_dir(folder.path().join(".file.new")).unwrap();
        assert!(write_whole(&path, b"new", Readers::All).is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
    }
}
