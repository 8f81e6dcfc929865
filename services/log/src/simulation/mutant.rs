//! Engines that are broken on purpose: the histories must find each, or they would find nothing.
//!
//! A broken engine is the real one on a disk that does not do what it was asked to, or in another order.

use std::fmt::Debug;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use crate::disk::{Disk, Segment};

/// What an engine forgets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// Frames are not synced.
    NoSync,
    /// Frames are synced only when the disk is needed again: receipts leave before.
    ReceiptsBeforeSync,
    /// The checkpoint's file is written before the tiles it implies.
    CheckpointBeforeTiles,
    /// Segments are recycled when their entries are sequenced, not when they are in files. The driver does it.
    RecycledTooEarly,
    /// The last frame is not written and synced again at a start.
    TailNotWrittenAgain,
    /// Files are written and renamed, and their folders are not synced: seen from the engine, they are written later.
    FilesNotDurable,
}

impl Mutant {
    pub(super) const ALL: [Self; 6] = [
        Self::NoSync,
        Self::ReceiptsBeforeSync,
        Self::CheckpointBeforeTiles,
        Self::RecycledTooEarly,
        Self::TailNotWrittenAgain,
        Self::FilesNotDurable,
    ];
}

type Late = Arc<Mutex<Vec<Arc<dyn Segment>>>>;

/// The disk of a broken engine.
#[derive(Debug)]
pub(super) struct MutantDisk {
    mutant: Mutant,
    inner: Arc<dyn Disk>,
    /// Segments whose sync was put off.
    late: Late,
    /// Files that were put off.
    held: Mutex<Vec<(String, Vec<u8>)>>,
}

impl MutantDisk {
    pub(super) fn new(mutant: Mutant, inner: Arc<dyn Disk>) -> Self {
        Self {
            mutant,
            inner,
            late: Late::default(),
            held: Mutex::default(),
        }
    }

    fn segment(&self, inner: Box<dyn Segment>, reopened: bool) -> Box<dyn Segment> {
        let skipped = reopened && self.mutant == Mutant::TailNotWrittenAgain;
        Box::new(MutantSegment {
            mutant: self.mutant,
            inner: inner.into(),
            late: self.late.clone(),
            skip_write: AtomicBool::new(skipped),
            skip_sync: AtomicBool::new(false),
        })
    }
}

fn sync_late(late: &Late) -> io::Result<()> {
    let segments = std::mem::take(&mut *late.lock().unwrap_or_else(PoisonError::into_inner));
    segments.iter().try_for_each(|segment| segment.sync())
}

impl Disk for MutantDisk {
    fn lock(&self, path: &str) -> io::Result<Box<dyn Debug + Send + Sync>> {
        self.inner.lock(path)
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        self.inner.list(folder)
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        self.inner.read(path)
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        sync_late(&self.late)?;
        let of_tree = |(path, _): &(String, Vec<u8>)| path.starts_with("public/tile");
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match self.mutant {
            Mutant::CheckpointBeforeTiles if files.iter().any(of_tree) => {
                held.extend_from_slice(files);
                Ok(())
            }
            Mutant::CheckpointBeforeTiles => {
                self.inner.put(files)?;
                self.inner.put(&std::mem::take(&mut *held))
            }
            Mutant::FilesNotDurable if files.iter().any(of_tree) => {
                // What a reader sees is right; what a crash leaves is not.
                files
                    .iter()
                    .try_for_each(|(path, bytes)| self.inner.write_at(path, 0, bytes))
            }
            _ => self.inner.put(files),
        }
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.inner.write_at(path, offset, bytes)
    }

    fn read_at(&self, path: &str, offset: u64, len: usize) -> io::Result<Option<Vec<u8>>> {
        self.inner.read_at(path, offset, len)
    }

    fn sync_file(&self, path: &str) -> io::Result<()> {
        self.inner.sync_file(path)
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.inner.remove(path)
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn create_segment(&self, path: &str, len: u64) -> io::Result<Box<dyn Segment>> {
        Ok(self.segment(self.inner.create_segment(path, len)?, false))
    }

    fn open_segment(&self, path: &str) -> io::Result<Box<dyn Segment>> {
        Ok(self.segment(self.inner.open_segment(path)?, true))
    }
}

#[derive(Debug)]
struct MutantSegment {
    mutant: Mutant,
    inner: Arc<dyn Segment>,
    late: Late,
    /// Writes of what is there already are skipped, and the sync after each.
    skip_write: AtomicBool,
    skip_sync: AtomicBool,
}

impl Segment for MutantSegment {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn read(&self) -> io::Result<Vec<u8>> {
        self.inner.read()
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        sync_late(&self.late)?;
        if self.skip_write.load(Ordering::SeqCst) {
            let has = self.inner.read()?;
            let start = offset as usize;
            if has.get(start..start + bytes.len()) == Some(bytes) {
                self.skip_sync.store(true, Ordering::SeqCst);
                return Ok(());
            }
        }
        self.inner.write(offset, bytes)
    }

    fn sync(&self) -> io::Result<()> {
        match self.mutant {
            Mutant::NoSync => Ok(()),
            Mutant::ReceiptsBeforeSync => {
                let mut late = self.late.lock().unwrap_or_else(PoisonError::into_inner);
                late.push(self.inner.clone());
                Ok(())
            }
            _ if self.skip_sync.swap(false, Ordering::SeqCst) => Ok(()),
            _ => self.inner.sync(),
        }
    }
}
