//! The disk, as narrow as the engine needs it, so that a test can put a failing or a simulated one in its place.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Files are written by this many threads at most: syncs that run together share journal commits.
const SYNC_THREADS: usize = 8;
/// Zeros are written in pieces of this size.
const ZERO_BLOCK: usize = 1 << 20;
/// Where files are made before they get their name; on the same file system, so that renaming is atomic.
const TEMPORARY: &str = "tmp";

/// One log's folder. Paths are relative to it, with `/`.
///
/// What is durable when a method returns is part of its contract; nothing else is. Any error leaves the old content or
/// the new one of each file involved, never a mixture, except in a [`Segment`]. Methods may be called from several
/// threads; the engine never writes one file from two.
pub trait Disk: Debug + Send + Sync {
    /// Takes the exclusive lock on `path`, until the answer is dropped or the process ends. Fails with
    /// [`ErrorKind::WouldBlock`] while someone else holds it.
    fn lock(&self, path: &str) -> io::Result<Box<dyn Debug + Send + Sync>>;

    /// Names in a folder, sorted; none when there is no such folder.
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;

    /// A whole file; `None` when there is none.
    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes files whole, replacing what was there, and makes folders as needed. Durable at return: content, names and
    /// folders. On failure some may have been written.
    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()>;

    /// Writes `bytes` at `offset` of a file that is made if needed, as is its folder. Not durable, not atomic.
    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// At most `len` bytes of a file from `offset`, fewer where it ends before; `None` when there is no such file.
    fn read_at(&self, path: &str, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let Some(bytes) = self.read(path)? else {
            return Ok(None);
        };
        let start = usize::try_from(offset).map_or(bytes.len(), |offset| offset.min(bytes.len()));
        let end = start.saturating_add(len).min(bytes.len());
        Ok(Some(bytes[start..end].to_vec()))
    }

    /// Makes durable what [`Disk::write_at`] wrote to a file, and its name. After an error nothing is known of it, as in
    /// [`Segment::sync`].
    fn sync_file(&self, path: &str) -> io::Result<()> {
        let bytes = self.read(path)?.ok_or(ErrorKind::NotFound)?;
        self.put(&[(path.to_owned(), bytes)])
    }

    /// Removes a file, or a folder with all it holds; it need not exist. Not durable.
    fn remove(&self, path: &str) -> io::Result<()>;

    /// Gives a file another name in the same folder. Durable at return.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Makes a segment of `len` zero bytes that occupies its space. Durable at return.
    fn create_segment(&self, path: &str, len: u64) -> io::Result<Box<dyn Segment>>;

    /// Opens a segment that exists.
    fn open_segment(&self, path: &str) -> io::Result<Box<dyn Segment>>;
}

/// A file of fixed length that is written in place.
pub trait Segment: Debug + Send + Sync {
    /// Its length in bytes.
    fn len(&self) -> u64;

    /// True for a file without bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The whole content.
    fn read(&self) -> io::Result<Vec<u8>>;

    /// Writes inside the file's length. Not durable; after a crash any part of it may be missing.
    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes everything written so far durable. After an error nothing is known of what was written, and calling again
    /// proves nothing: the operating system may have dropped the pages and forgotten the error.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's file system.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    next_temporary: AtomicU64,
}

impl FileDisk {
    /// The folder `root`, which is made if needed. Leftovers of an interrupted run are removed by whoever holds the lock,
    /// with [`FileDisk::lock`].
    pub fn open(root: &Path) -> io::Result<Self> {
        make_folder(root)?;
        Ok(Self {
            root: root.to_owned(),
            next_temporary: AtomicU64::new(0),
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn write_temporary(&self, bytes: &[u8]) -> io::Result<PathBuf> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(TEMPORARY).join(number.to_string());
        let mut file = File::create(&path)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data());
        discard_unless(written, &path)?;
        Ok(path)
    }

    fn put_one(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.path(path);
        if let Some(folder) = target.parent() {
            make_folder(folder)?;
        }
        let temporary = self.write_temporary(bytes)?;
        discard_unless(fs::rename(&temporary, target), &temporary)
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(self.path(path))?;
        let len = file.metadata()?.len();
        Ok(Box::new(FileSegment { file, len }))
    }
}

impl Disk for FileDisk {
    fn lock(&self, path: &str) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.path(path))?;
        match file.try_lock() {
            Ok(()) => {
                self.remove(TEMPORARY)?;
                make_folder(&self.path(TEMPORARY))?;
                Ok(Box::new(file))
            }
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let names = entries.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()));
        let mut names = names.collect::<io::Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.path(path)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error)
                if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let share = files.len().div_ceil(SYNC_THREADS).max(1);
        std::thread::scope(|scope| {
            let write_share = |share: &[(String, Vec<u8>)]| {
                share
                    .iter()
                    .try_for_each(|(path, bytes)| self.put_one(path, bytes))
            };
            let mut shares = files.chunks(share);
            let own = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|share| scope.spawn(move || write_share(share)))
                .collect();
            let mut outcome = write_share(own);
            for other in others {
                let theirs = other
                    .join()
                    .unwrap_or_else(|_| Err(io::Error::other("a writing thread panicked")));
                outcome = outcome.and(theirs);
            }
            outcome
        })?;
        let targets = files.iter().map(|(path, _)| self.path(path));
        let folders: BTreeSet<PathBuf> = targets
            .filter_map(|path| path.parent().map(Path::to_owned))
            .collect();
        folders.iter().try_for_each(|folder| sync_folder(folder))
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(path);
        let open = || {
            OpenOptions::new()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)
        };
        let file = open().or_else(|error| match (error.kind(), path.parent()) {
            (ErrorKind::NotFound, Some(folder)) => make_folder(folder).and_then(|()| open()),
            _ => Err(error),
        })?;
        file.write_all_at(bytes, offset)
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.path(path)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let mut bytes = vec![0; len];
        let mut have = 0;
        while have < len {
            match file.read_at(&mut bytes[have..], offset + have as u64) {
                Ok(0) => break,
                Ok(count) => have += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        bytes.truncate(have);
        Ok(Some(bytes))
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        File::open(&path)?.sync_data()?;
        path.parent().map_or(Ok(()), sync_folder)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        let removed = match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(&path),
            Ok(_) => fs::remove_file(&path),
            Err(error) => Err(error),
        };
        removed.or_else(|error| {
            if error.kind() == ErrorKind::NotFound {
                Ok(())
            } else {
                Err(error)
            }
        })
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let to = self.path(to);
        fs::rename(self.path(from), &to)?;
        to.parent().map_or(Ok(()), sync_folder)
    }

    fn create_segment(&self, path: &str, len: u64) -> io::Result<Box<dyn Segment>> {
        let target = self.path(path);
        let folder = target.parent().unwrap_or(&self.root);
        make_folder(folder)?;
        let temporary = self.write_temporary(&[])?;
        let filled = fill_with_zeros(&temporary, len);
        let placed = filled
            .and_then(|()| fs::rename(&temporary, &target))
            .and_then(|()| sync_folder(folder));
        discard_unless(placed, &temporary)?;
        self.open_file(path)
    }

    fn open_segment(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        self.open_file(path)
    }
}

/// Removes a temporary file when what was to become of it failed: on a full disk, where it is tried again and again, the
/// leftovers would keep the space and the inodes that others wait for.
fn discard_unless(done: io::Result<()>, temporary: &Path) -> io::Result<()> {
    done.inspect_err(|_| {
        let _ = fs::remove_file(temporary);
    })
}

fn fill_with_zeros(path: &Path, len: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).open(path)?;
    let zeros = vec![0; ZERO_BLOCK.min(usize::try_from(len).unwrap_or(ZERO_BLOCK))];
    let mut left = len;
    while left > 0 {
        let piece = usize::try_from(left)
            .unwrap_or(zeros.len())
            .min(zeros.len());
        file.write_all(&zeros[..piece])?;
        left -= piece as u64;
    }
    file.sync_all()
}

/// Makes a folder and its parents, and makes their names durable.
fn make_folder(folder: &Path) -> io::Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    if let Some(parent) = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        make_folder(parent)?;
    }
    match fs::create_dir(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .map_or(Ok(()), sync_folder)
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[derive(Debug)]
struct FileSegment {
    file: File,
    len: u64,
}

impl Segment for FileSegment {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(self.len).map_err(io::Error::other)?];
        self.file.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_put_read_listed_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let _lock = disk.lock("LOCK").unwrap();
        let files: Vec<_> = (0..40)
            .map(|i| (format!("public/tile/0/{i:03}"), vec![i as u8; 100]))
            .collect();
        disk.put(&files).unwrap();
        assert_eq!(disk.read("public/tile/0/039").unwrap(), Some(vec![39; 100]));
        assert_eq!(disk.read("public/tile/0/040").unwrap(), None);
        assert_eq!(disk.list("public/tile/0").unwrap().len(), 40);
        assert_eq!(disk.list(TEMPORARY).unwrap(), Vec::<String>::new());
        disk.remove("public").unwrap();
        disk.remove("public").unwrap();
        assert_eq!(disk.list("public/tile/0").unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_file_written_in_pieces_is_read_in_pieces() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        assert!(disk.sync_file("new/file").is_err());
        disk.write_at("new/file", 0, b"abc").unwrap();
        disk.write_at("new/file", 3, b"defg").unwrap();
        disk.sync_file("new/file").unwrap();
        let read = |offset, len| disk.read_at("new/file", offset, len).unwrap();
        assert_eq!(read(2, 3), Some(b"cde".to_vec()));
        assert_eq!(read(5, 100), Some(b"fg".to_vec()));
        assert_eq!(read(100, 1), Some(Vec::new()));
        assert_eq!(disk.read_at("new/none", 0, 1).unwrap(), None);
    }

    #[test]
    fn a_file_that_cannot_be_put_leaves_nothing_behind() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let _lock = disk.lock("LOCK").unwrap();
        disk.put(&[("public/tile".to_owned(), vec![1])]).unwrap();
        assert!(disk.put(&[("public".to_owned(), vec![1])]).is_err());
        assert_eq!(disk.list(TEMPORARY).unwrap(), Vec::<String>::new());
    }

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let folder = tempfile::tempdir().unwrap();
        let (a, b) = (
            FileDisk::open(folder.path()).unwrap(),
            FileDisk::open(folder.path()).unwrap(),
        );
        let held = a.lock("LOCK").unwrap();
        assert_eq!(b.lock("LOCK").unwrap_err().kind(), ErrorKind::WouldBlock);
        drop(held);
        assert!(b.lock("LOCK").is_ok());
    }

    #[test]
    fn a_segment_is_zeros_of_its_length_and_is_written_in_place() {
        let folder = tempfile::tempdir().unwrap();
        let disk = FileDisk::open(folder.path()).unwrap();
        let _lock = disk.lock("LOCK").unwrap();
        let segment = disk.create_segment("wal/1", 3 << 20).unwrap();
        segment.write(5, b"abc").unwrap();
        segment.sync().unwrap();
        disk.rename("wal/1", "wal/2").unwrap();
        let read = disk.open_segment("wal/2").unwrap().read().unwrap();
        assert_eq!((read.len(), &read[4..9]), (3 << 20, b"\0abc\0".as_slice()));
    }
}
