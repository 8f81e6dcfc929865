//! Reading with a cap, and writing so that a crash leaves the old file or the new one.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sealwright_crypto::random_bytes;

use crate::error::Error;

/// Opens what somebody named to be read. A regular file, or something that this process was started with (`/dev/stdin`,
/// `/dev/fd/N`): a pipe with nobody at its other end, or a device without end, would be waited for without a word.
///
/// # Errors
/// [`Error::File`] when it cannot be opened, [`Error::Input`] when it is something else.
pub fn open_input(what: &'static str, path: &Path) -> Result<File, Error> {
    let error = |source| Error::File {
        what,
        path: path.to_owned(),
        source,
    };
    match opened(path, is_inherited(path)).map_err(error)? {
        Ok(file) => Ok(file),
        Err(kind) => Err(Error::input(
            format!("{what} {}", path.display()),
            format!(
                "it is {kind}, not a regular file; give a file, or - for standard input where that is possible"
            ),
        )),
    }
}

/// Opens a regular file, or `whatever` the name stands for; otherwise says what it is.
pub(crate) fn opened(path: &Path, whatever: bool) -> std::io::Result<Result<File, &'static str>> {
    let metadata = std::fs::metadata(path)?;
    if !metadata.is_file() && !whatever {
        return Ok(Err(kind(&metadata.file_type())));
    }
    File::open(path).map(Ok)
}

/// Reads to the end; `None` when that is beyond `limit` bytes, which is mostly known before anything is read.
pub(crate) fn read_within(file: File, limit: usize) -> std::io::Result<Option<Vec<u8>>> {
    if file.metadata()?.len() > limit as u64 {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    file.take((limit as u64).saturating_add(1))
        .read_to_end(&mut bytes)?;
    Ok(Some(bytes).filter(|bytes| bytes.len() <= limit))
}

/// Whether the name stands for a descriptor that was open when the process began.
pub(crate) fn is_inherited(path: &Path) -> bool {
    path == Path::new("/dev/stdin")
        || ["/dev/fd", "/proc/self/fd"]
            .iter()
            .any(|dir| path.parent() == Some(Path::new(dir)))
}

fn kind(found: &std::fs::FileType) -> &'static str {
    use std::os::unix::fs::FileTypeExt as _;
    match found {
        found if found.is_dir() => "a directory",
        found if found.is_fifo() => "a named pipe",
        found if found.is_socket() => "a socket",
        found if found.is_char_device() || found.is_block_device() => "a device",
        _ => "something else",
    }
}

/// Reads a file of at most `limit` bytes. `what` names it in the error.
///
/// # Errors
/// [`Error::File`] when it cannot be read, [`Error::Input`] when it is longer or not a file ([`open_input`]).
pub fn read_capped(what: &'static str, path: &Path, limit: usize) -> Result<Vec<u8>, Error> {
    let error = |source| Error::File {
        what,
        path: path.to_owned(),
        source,
    };
    let file = open_input(what, path)?;
    read_within(file, limit).map_err(error)?.ok_or_else(|| {
        Error::input(
            format!("{what} {}", path.display()),
            format!("longer than {limit} bytes"),
        )
    })
}

/// Reads a regular file of at most `limit` bytes. Anything else (a pipe nobody writes to, a device without end) is refused
/// instead of waited for.
pub(crate) fn read_regular(path: &Path, limit: usize) -> std::io::Result<Vec<u8>> {
    use std::io::{Error, ErrorKind::InvalidData};
    let refused = |problem: String| Error::new(InvalidData, problem);
    let file = opened(path, false)?
        .map_err(|kind| refused(format!("it is {kind}, not a regular file")))?;
    read_within(file, limit)?.ok_or_else(|| refused(format!("it is longer than {limit} bytes")))
}

/// Writes a file that nobody had before and that only its owner may read, whole or not at all: a private key.
///
/// # Errors
/// [`Error::File`] with `what` and `path`, also when there is a file of that name: it is never replaced.
pub fn write_secret(what: &'static str, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let written = beside(path).and_then(|aside| {
        // A link, unlike a renaming, does not replace what is there.
        let placed = create(&aside, bytes, 0o600).and_then(|()| std::fs::hard_link(&aside, path));
        let _ = std::fs::remove_file(&aside);
        placed
    });
    written.map_err(|source| Error::File {
        what,
        path: path.to_owned(),
        source,
    })
}

/// Writes a file that others may read (mode 0644 less the umask): beside its place, synced, then renamed over it. Something
/// that is not a regular file, such as `/dev/stdout` or a pipe, is written to directly, since renaming would replace it.
///
/// # Errors
/// [`Error::File`] with `what` and `path`; the old file is then untouched.
pub fn write_atomically(what: &'static str, path: &Path, bytes: &[u8]) -> Result<(), Error> {
    write(path, bytes).map_err(|source| Error::File {
        what,
        path: path.to_owned(),
        source,
    })
}

pub(crate) fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    if std::fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        let mut target = OpenOptions::new().write(true).open(path)?;
        return target.write_all(bytes);
    }
    replace(path, bytes)
}

/// Puts a new file in place of whatever has the name.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let aside = beside(path)?;
    let written = create(&aside, bytes, 0o644).and_then(|()| std::fs::rename(&aside, path));
    if written.is_err() {
        // What is left of a failed attempt helps nobody; that it stays when even this fails is no further harm.
        let _ = std::fs::remove_file(&aside);
    }
    written
}

/// Replaces a file of ours, and brings the replacement itself to disk: after this, a crash does not bring the old file back.
/// A pipe that has taken its place is replaced too, and not waited for.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    replace(path, bytes)?;
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
    File::open(dir.unwrap_or(Path::new(".")))?.sync_all()
}

fn create(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_data()
}

/// A fresh name in the same directory, so that the rename stays within one file system.
fn beside(path: &Path) -> std::io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "not a file name"))?;
    let suffix = hex::encode(random_bytes::<8>());
    Ok(path.with_file_name(format!(".{}.{suffix}.tmp", name.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("a.sigstore.json");
        write_atomically("bundle", &path, b"one").expect("it is written");
        write_atomically("bundle", &path, b"two").expect("it is replaced");
        assert_eq!(std::fs::read(&path).expect("it is there"), b"two");
        assert_eq!(
            std::fs::metadata(&path)
                .expect("it is there")
                .permissions()
                .mode()
                & 0o400,
            0o400
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("a directory").count(),
            1
        );
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("no-such-directory").join("b.json");
        let error = write_atomically("bundle", &path, b"x")
            .expect_err("there is no directory")
            .to_string();
        assert!(
            error.starts_with("bundle ") && error.contains("no-such-directory"),
            "{error}"
        );
        assert_eq!(
            std::fs::read_dir(dir.path()).expect("a directory").count(),
            0
        );
    }

    #[test]
    fn a_secret_is_its_owners_and_replaces_nothing() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("key.pem");
        write_secret("key", &path, b"secret").expect("it is written");
        let mode = std::fs::metadata(&path)
            .expect("there")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
        let error = write_secret("key", &path, b"another").expect_err("it exists");
        assert!(error.to_string().contains("key.pem"), "{error}");
        assert_eq!(std::fs::read(&path).expect("there"), b"secret");
        let left = std::fs::read_dir(dir.path()).expect("a directory").count();
        assert_eq!(left, 1, "nothing is left beside it");
    }

    #[test]
    fn what_would_be_waited_for_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status();
        assert!(made.expect("mkfifo runs").success());
        for (path, kind) in [
            (pipe.as_path(), "a named pipe"),
            (Path::new("/dev/zero"), "a device"),
            (dir.path(), "a directory"),
        ] {
            let error = open_input("artifact", path).expect_err(kind).to_string();
            assert!(
                error.contains(kind) && error.contains("regular file"),
                "{error}"
            );
        }
        assert!(is_inherited(Path::new("/dev/fd/63")));
        assert!(!is_inherited(Path::new("/dev/fd/../zero")));
    }

    #[test]
    fn reading_stops_at_the_cap() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("large");
        std::fs::write(&path, [0; 11]).expect("it is written");
        assert_eq!(read_capped("file", &path, 11).expect("it fits").len(), 11);
        assert!(matches!(
            read_capped("file", &path, 10),
            Err(Error::Input { .. })
        ));
    }
}
