//! A log's folder in a file system.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::system::{Handle, Node, Open, OperatingSystem, System, read_at_most, write_all};
use super::{Disk, Segment};

/// Files are written by this many threads at most: syncs that run together share journal commits.
const SYNC_THREADS: usize = 8;
/// Zeros are written in pieces of this size.
const ZERO_BLOCK: usize = 1 << 20;
/// Where files are made before they get their name; on the same file system, so that renaming is atomic.
pub(crate) const TEMPORARY: &str = "tmp";

/// One folder, through the calls of an operating system.
#[derive(Debug)]
pub struct FileDisk {
    root: PathBuf,
    system: Arc<dyn System>,
    /// Most threads that write files at once.
    threads: usize,
    next_temporary: AtomicU64,
    /// Folders whose own name this process has made durable. One that merely exists may have been made by a run whose
    /// sync failed, and everything put into it would go with it.
    known: Mutex<BTreeSet<PathBuf>>,
}

impl FileDisk {
    /// The folder `root`, which is made if needed. Leftovers of an interrupted run are removed by whoever holds the lock,
    /// with [`FileDisk::lock`].
    pub fn open(root: &Path) -> io::Result<Self> {
        Self::on(Arc::new(OperatingSystem), root, SYNC_THREADS)
    }

    /// As [`FileDisk::open`], with the calls of `system`, and at most so many threads.
    pub(crate) fn on(system: Arc<dyn System>, root: &Path, threads: usize) -> io::Result<Self> {
        make_root(&*system, root)?;
        Ok(Self {
            root: root.to_owned(),
            system,
            threads,
            next_temporary: AtomicU64::new(0),
            known: Mutex::default(),
        })
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    fn known(&self) -> MutexGuard<'_, BTreeSet<PathBuf>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a folder below the root and its parents, and makes their names durable.
    fn make_folder(&self, folder: &Path) -> io::Result<()> {
        let Some(parent) = folder
            .parent()
            .filter(|_| folder != self.root && folder.starts_with(&self.root))
        else {
            return Ok(());
        };
        if self.known().contains(folder) {
            return Ok(());
        }
        self.make_folder(parent)?;
        if self.system.node(folder)? != Some(Node::Folder) {
            make_one(&*self.system, folder)?;
        }
        self.system.sync_folder(parent)?;
        self.known().insert(folder.to_owned());
        Ok(())
    }

    /// Removes a temporary file when what was to become of it failed: on a full disk, where it is tried again and again,
    /// the leftovers would keep the space and the inodes that others wait for.
    fn discard_unless<T>(&self, done: io::Result<T>, temporary: &Path) -> io::Result<T> {
        done.inspect_err(|_| {
            let _ = self.system.remove_file(temporary);
        })
    }

    /// A new file of `fill`'s making, synced, without its final name.
    fn write_temporary(
        &self,
        fill: impl FnOnce(&dyn Handle) -> io::Result<()>,
    ) -> io::Result<PathBuf> {
        let number = self.next_temporary.fetch_add(1, Ordering::Relaxed);
        let path = self.root.join(TEMPORARY).join(number.to_string());
        let file = self.system.open(&path, Open::Empty)?;
        let written = fill(&*file).and_then(|()| file.sync());
        self.discard_unless(written, &path)?;
        Ok(path)
    }

    fn put_one(&self, path: &str, bytes: &[u8]) -> io::Result<()> {
        let target = self.path(path);
        if let Some(folder) = target.parent() {
            self.make_folder(folder)?;
        }
        let temporary = self.write_temporary(|file| write_all(file, bytes, 0))?;
        self.discard_unless(self.system.rename(&temporary, &target), &temporary)
    }

    fn put_all(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        files
            .iter()
            .try_for_each(|(path, bytes)| self.put_one(path, bytes))
    }

    /// Makes the names of the files that are there durable. A run that ended between giving a file its name and syncing the
    /// folder leaves one that is there for now; whoever writes into it would lose that with the name.
    fn sync_names(&self) -> io::Result<()> {
        for name in self.system.names(&self.root)? {
            let folder = self.root.join(name);
            if self.system.node(&folder)? == Some(Node::Folder) {
                self.system.sync_folder(&folder)?;
            }
        }
        self.system.sync_folder(&self.root)
    }

    fn sync_folder_of(&self, path: &Path) -> io::Result<()> {
        path.parent()
            .map_or(Ok(()), |folder| self.system.sync_folder(folder))
    }

    fn open_file(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        let file = self.system.open(&self.path(path), Open::Existing)?;
        let len = file.len()?;
        Ok(Box::new(FileSegment { file, len }))
    }
}

impl Disk for FileDisk {
    fn lock(&self, path: &str) -> io::Result<Box<dyn Debug + Send + Sync>> {
        let lock = self.system.lock(&self.path(path))?;
        self.remove(TEMPORARY)?;
        make_one(&*self.system, &self.path(TEMPORARY))?;
        self.sync_names()?;
        Ok(lock)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let mut names = match self.system.names(&self.path(folder)) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            names => names?,
        };
        names.sort();
        Ok(names)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.read_at(path, 0, usize::MAX)
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        let share = files.len().div_ceil(self.threads).max(1);
        std::thread::scope(|scope| {
            let mut shares = files.chunks(share);
            let own = shares.next().unwrap_or_default();
            let others: Vec<_> = shares
                .map(|share| scope.spawn(move || self.put_all(share)))
                .collect();
            let mut outcome = self.put_all(own);
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
        folders
            .iter()
            .try_for_each(|folder| self.system.sync_folder(folder))
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(path);
        let open = || self.system.open(&path, Open::Kept);
        let file = open().or_else(|error| match (error.kind(), path.parent()) {
            (ErrorKind::NotFound, Some(folder)) => self.make_folder(folder).and_then(|()| open()),
            _ => Err(error),
        })?;
        write_all(&*file, bytes, offset)
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        let absent = [ErrorKind::NotFound, ErrorKind::NotADirectory];
        let file = match self.system.open(&self.path(path), Open::Read) {
            Err(error) if absent.contains(&error.kind()) => return Ok(None),
            file => file?,
        };
        let left = file.len()?.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(len);
        read_at_most(&*file, offset, len).map(Some)
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        self.system.open(&path, Open::Read)?.sync()?;
        if let Some(folder) = path.parent() {
            self.make_folder(folder)?;
        }
        self.sync_folder_of(&path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        let path = self.path(path);
        let removed = match self.system.node(&path)? {
            None => return Ok(()),
            Some(Node::Folder) => {
                self.known().retain(|folder| !folder.starts_with(&path));
                self.system.remove_tree(&path)
            }
            Some(Node::Other) => self
                .system
                .remove_file(&path)
                .and_then(|()| self.sync_folder_of(&path)),
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
        self.system.rename(&self.path(from), &to)?;
        self.sync_folder_of(&to)
    }

    fn create_segment(&self, path: &str, len: u64) -> io::Result<Box<dyn Segment>> {
        let target = self.path(path);
        self.make_folder(target.parent().unwrap_or(&self.root))?;
        let temporary = self.write_temporary(|file| fill_with_zeros(file, len))?;
        let placed = self
            .system
            .rename(&temporary, &target)
            .and_then(|()| self.sync_folder_of(&target));
        self.discard_unless(placed, &temporary)?;
        self.open_file(path)
    }

    fn open_segment(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        self.open_file(path)
    }
}

fn fill_with_zeros(file: &dyn Handle, len: u64) -> io::Result<()> {
    let zeros = vec![0; ZERO_BLOCK.min(usize::try_from(len).unwrap_or(ZERO_BLOCK))];
    let mut at = 0;
    while at < len {
        let piece = usize::try_from(len - at)
            .unwrap_or(zeros.len())
            .min(zeros.len());
        write_all(file, &zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// Makes the root and its parents, and makes the names of those that were missing durable. Others are not ours to sync.
fn make_root(system: &dyn System, folder: &Path) -> io::Result<()> {
    if system.node(folder)? == Some(Node::Folder) {
        return Ok(());
    }
    let parent = folder
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    if let Some(parent) = parent {
        make_root(system, parent)?;
    }
    make_one(system, folder)?;
    parent.map_or(Ok(()), |parent| system.sync_folder(parent))
}

/// Makes one folder, or finds that somebody else just did.
fn make_one(system: &dyn System, folder: &Path) -> io::Result<()> {
    match system.make_folder(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

#[derive(Debug)]
struct FileSegment {
    file: Box<dyn Handle>,
    len: u64,
}

impl Segment for FileSegment {
    fn len(&self) -> u64 {
        self.len
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        let len = usize::try_from(self.len).map_err(io::Error::other)?;
        let bytes = read_at_most(&*self.file, 0, len)?;
        if bytes.len() < len {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        write_all(&*self.file, bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
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
