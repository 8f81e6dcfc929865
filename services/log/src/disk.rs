//! The disk, as narrow as the engine needs it, so that a test can put a failing or a simulated one in its place.
//!
//! Two seams, one above the other. [`Disk`] is what the engine asks for: files that are durable when a call returns.
//! [`FileDisk`] gives it with the calls of an operating system, in an order that holds whatever a crash leaves; and those
//! calls are a seam too (`disk::system`), so that the simulation judges this order as well as the engine.

mod files;
pub(crate) mod system;

use std::fmt::Debug;
use std::io::{self, ErrorKind};

pub use files::FileDisk;
pub(crate) use files::TEMPORARY;

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

    /// Removes a file, or a folder with all it holds; it need not exist. A file's end is durable at return, so that of two
    /// that are removed one after the other never the first alone comes back; a folder's is not.
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
