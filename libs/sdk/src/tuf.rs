//! Following a TUF repository: where files come from ([`Mirror`]), where verified metadata is kept ([`DirectoryStore`]) and
//! where target files are ([`TargetDirectory`]). The decisions are `sealwright-tuf`'s, whose [`Client`] these serve;
//! [`crate::Profile`] puts them together for Sigstore's trust material.
//!
//! ```no_run
//! use std::time::Duration;
//! use sealwright_sdk::tuf::{Client, DirectoryStore, Mirror, TargetDirectory};
//! use sealwright_sdk::{Http, HttpOptions};
//!
//! /// The policy of the day, from a repository whose first root was put into `metadata` before ([`DirectoryStore::bootstrap`]).
//! async fn policy(now: i64) -> Result<Vec<u8>, Box<dyn std::error::Error>> {
//!     let http = Http::new(HttpOptions::default());
//!     let mirror = Mirror::new(&http, "https://tuf.example.com", "https://tuf.example.com/targets")?;
//!     let store = DirectoryStore::exclusive("metadata", Duration::from_secs(10)).await?;
//!     let mut client = Client::open(mirror, store, now)?;
//!     client.refresh().await?;
//!     let target = client.target("policy.json").await?.ok_or("the repository has no policy")?;
//!     Ok(TargetDirectory::new("targets").fetch(&client, &target).await?)
//! }
//! ```

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::Duration;

use sealwright_crypto::{BoxFuture, sha256};
use sealwright_tuf::{Fetch, FetchError, Store, percent_encode};

pub use sealwright_tuf::{Client, Error, Expiry, Limits, Place, Target, bootstrap};

use crate::error::{Failure, ServiceName};
use crate::file::{opened, read_regular, read_within, write_synced};
use crate::http::{Call, Http, join, shown};

/// An answer that comes slower than this many bytes a second is given up, once [`crate::HttpOptions::attempt_timeout`] has
/// been used as well: whoever holds back an update would otherwise need to send one byte at a time only.
const SLOWEST_BYTES_PER_SECOND: u64 = 8 * 1024;
/// How often somebody who waits for the store looks again.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// File systems allow 255 bytes a name; a temporary file beside it is 22 longer.
const MAX_NAME_LEN: usize = 200;
/// No metadata file that a client accepts is longer ([`Limits`]); what is would not be ours.
const MAX_STORED_BYTES: usize = 16 * 1024 * 1024;
const LOCK: &str = ".lock";

/// A repository's two bases: of the metadata and of the target files. Each is an `http`, `https` or `file` URL, so that a
/// copy on a disk serves a machine without a network. Nothing that comes from either is believed.
#[derive(Debug, Clone)]
pub struct Mirror<'a> {
    http: &'a Http,
    metadata: Base,
    targets: Base,
}

#[derive(Debug, Clone)]
enum Base {
    Web(String),
    Folder(PathBuf),
}

impl<'a> Mirror<'a> {
    /// A mirror with its two bases.
    ///
    /// # Errors
    /// [`crate::Error::Input`] for anything but an `http`, `https` or `file` URL.
    pub fn new(http: &'a Http, metadata: &str, targets: &str) -> Result<Self, crate::Error> {
        Ok(Self {
            http,
            metadata: Base::parse(metadata)?,
            targets: Base::parse(targets)?,
        })
    }

    /// As Sigstore lays a repository out: the targets are below `targets/` of the metadata.
    ///
    /// # Errors
    /// As [`Mirror::new`].
    pub fn sigstore(http: &'a Http, url: &str) -> Result<Self, crate::Error> {
        Self::new(http, url, &join(url, "targets"))
    }

    async fn download(&self, url: &str, max_length: u64) -> Result<Vec<u8>, FetchError> {
        let call = Call {
            accepted: &[200],
            max_answer_bytes: usize::try_from(max_length).unwrap_or(usize::MAX),
            slowest: Some(SLOWEST_BYTES_PER_SECOND),
            ..Call::get(ServiceName::TrustRepository, url, &[])
        };
        match self.http.send(&call).await {
            Ok(bytes) => Ok(bytes.to_vec()),
            Err(crate::Error::Service {
                failure: Failure::Status(refusal),
                ..
            }) if matches!(refusal.status, 403 | 404) => Err(FetchError::NotFound),
            Err(crate::Error::Service {
                failure: Failure::TooLarge { .. },
                ..
            }) => Err(FetchError::TooLarge),
            Err(error) => Err(FetchError::Failed(Box::new(error))),
        }
    }
}

impl Fetch for Mirror<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let base = match place {
                Place::Metadata => &self.metadata,
                Place::Targets => &self.targets,
            };
            match base {
                Base::Web(url) => self.download(&join(url, name), max_length).await,
                Base::Folder(dir) => read_below(dir, name, max_length),
            }
        })
    }
}

impl Base {
    fn parse(url: &str) -> Result<Self, crate::Error> {
        let expected = "expected an http, https or file URL without user, query and fragment, the base of a TUF repository";
        let refused = || crate::Error::input(format!("repository {:?}", shown(url)), expected);
        let (scheme, rest) = url.split_once("://").ok_or_else(refused)?;
        match scheme.to_ascii_lowercase().as_str() {
            "http" | "https" if is_plain_base(rest) => Ok(Self::Web(url.to_owned())),
            "file" => {
                let path = rest.strip_prefix("localhost").unwrap_or(rest);
                let path = percent_decode(path).filter(|path| path.starts_with('/'));
                path.map(|path| Self::Folder(path.into()))
                    .ok_or_else(refused)
            }
            _ => Err(refused()),
        }
    }
}

/// Names are appended to a base, so nothing may follow its path; and it is kept and printed, so it may hold no secret.
fn is_plain_base(rest: &str) -> bool {
    let authority = rest.split('/').next().unwrap_or_default();
    !authority.is_empty() && !authority.contains('@') && !rest.contains(['?', '#'])
}

/// A file of a mirror on disk. Copies made by different means name a role with a slash differently: as in the URL, or as a
/// web server would look it up, decoded. Neither leads out of the mirror.
fn read_below(dir: &Path, name: &str, max_length: u64) -> Result<Vec<u8>, FetchError> {
    let decoded = percent_decode(name);
    for name in [Some(name.to_owned()), decoded].into_iter().flatten() {
        if !stays_below(&name) {
            continue;
        }
        match read_at_most(&dir.join(&name), max_length) {
            Err(FetchError::NotFound) => {}
            outcome => return outcome,
        }
    }
    Err(FetchError::NotFound)
}

fn stays_below(name: &str) -> bool {
    !name.contains('\0')
        && Path::new(name)
            .components()
            .all(|component| matches!(component, Component::Normal(_)))
}

fn read_at_most(path: &Path, max_length: u64) -> Result<Vec<u8>, FetchError> {
    let limit = usize::try_from(max_length).unwrap_or(usize::MAX);
    let failed = |error: io::Error| match is_absent(&error) {
        true => FetchError::NotFound,
        false => FetchError::Failed(Box::new(error)),
    };
    // A pipe or a device in a mirror would be waited for.
    let Ok(file) = opened(path, false).map_err(failed)? else {
        return Err(FetchError::NotFound);
    };
    read_within(file, limit)
        .map_err(failed)?
        .ok_or(FetchError::TooLarge)
}

/// Whether there is no such file; a name that no file can have counts, too.
fn is_absent(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::InvalidFilename
    )
}

/// Nothing where the text is no percent-encoding of UTF-8.
fn percent_decode(text: &str) -> Option<String> {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let byte = part.get(..2)?;
        decoded.extend(hex::decode(byte).ok()?);
        decoded.extend_from_slice(part.get(2..)?.as_bytes());
    }
    String::from_utf8(decoded).ok()
}

/// Verified metadata in a directory: `root.json`, `timestamp.json`, `snapshot.json`, `targets.json` and a file for each
/// delegated role, under its percent-encoded name.
///
/// A file is written beside its place, synced, renamed over it, and the directory synced, so that a crash or a full disk
/// leaves the old file or the new one, and an order of writes that matters to the client is the order on disk. A crash
/// between two files leaves a set that the next refresh completes; until then it does not serve without a network
/// ([`Client::load_cached`] refuses what does not fit together).
///
/// Two processes must not write at once: one that was slower would put older metadata over newer, and forget what protects
/// it against a rollback. So whoever refreshes opens the store with [`DirectoryStore::exclusive`].
#[derive(Debug)]
pub struct DirectoryStore {
    dir: PathBuf,
    lock: Option<File>,
}

impl DirectoryStore {
    /// The store for reading: [`Client::load_cached`]. Saving is refused.
    pub fn reader(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            lock: None,
        }
    }

    /// The store for one client alone, until it is dropped. Waits for others, at most for `patience`. The directory must
    /// exist; the lock is a file `.lock` in it, and goes with the process that holds it.
    ///
    /// # Errors
    /// [`Error::Store`]: with [`io::ErrorKind::WouldBlock`] when another process still has it, otherwise what the system
    /// says about the directory.
    pub async fn exclusive(dir: impl Into<PathBuf>, patience: Duration) -> Result<Self, Error> {
        let dir = dir.into();
        let failed = |source| Error::Store {
            name: dir.join(LOCK).display().to_string(),
            source,
        };
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(dir.join(LOCK))
            .map_err(failed)?;
        let looks = patience.as_millis() / LOCK_PAUSE.as_millis();
        for _ in 0..looks {
            match file.try_lock() {
                Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_PAUSE).await,
                Err(TryLockError::Error(source)) => return Err(failed(source)),
                Ok(()) => return Ok(Self::holding(dir, file)),
            }
        }
        match file.try_lock() {
            Ok(()) => Ok(Self::holding(dir, file)),
            Err(TryLockError::Error(source)) => Err(failed(source)),
            Err(TryLockError::WouldBlock) => Err(failed(io::Error::new(
                io::ErrorKind::WouldBlock,
                format!(
                    "another process has been refreshing it for {} seconds",
                    patience.as_secs()
                ),
            ))),
        }
    }

    fn holding(dir: PathBuf, file: File) -> Self {
        Self {
            dir,
            lock: Some(file),
        }
    }

    /// Starts the store in `dir` (made where it is missing) from a root obtained by other means, forgetting what it knew.
    /// Nothing is fetched.
    ///
    /// # Errors
    /// When `root` is not a root signed by its own keys, or as [`DirectoryStore::exclusive`].
    pub async fn bootstrap(
        dir: impl Into<PathBuf>,
        root: &[u8],
        patience: Duration,
    ) -> Result<(), Error> {
        let dir = dir.into();
        std::fs::create_dir_all(&dir).map_err(|source| Error::Store {
            name: dir.display().to_string(),
            source,
        })?;
        bootstrap(&mut Self::exclusive(dir, patience).await?, root)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(short_name(name))
    }

    fn writable(&self) -> io::Result<()> {
        match self.lock {
            Some(_) => Ok(()),
            None => Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the store was opened for reading",
            )),
        }
    }
}

impl Store for DirectoryStore {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match read_regular(&self.path(name), MAX_STORED_BYTES) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.writable()?;
        let path = self.path(name);
        // An unchanged file is not written again: a refresh that finds nothing new costs no sync.
        if read_regular(&path, MAX_STORED_BYTES).is_ok_and(|kept| kept == bytes) {
            return Ok(());
        }
        write_synced(&path, bytes)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.writable()?;
        match std::fs::remove_file(self.path(name)) {
            Ok(()) => File::open(&self.dir)?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A name that any file system takes: one too long for that becomes its hash.
fn short_name(name: &str) -> String {
    if name.len() <= MAX_NAME_LEN {
        return name.to_owned();
    }
    format!("sha256-{}.json", hex::encode(sha256(name.as_bytes())))
}

/// Target files in a directory, each under one name made from its path. What is there is believed only as far as metadata
/// of the day names its very bytes, and then the repository is not asked again.
#[derive(Debug, Clone)]
pub struct TargetDirectory {
    dir: PathBuf,
}

impl TargetDirectory {
    /// In an existing directory.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// Where the target `path` is kept: `dir%2Fname` for `dir/name`, so that no path leads out of the directory.
    #[must_use]
    pub fn path(&self, path: &str) -> PathBuf {
        let name = percent_encode(path);
        // `.`, `..` and hidden files are names a repository has no business with here.
        let name = match name.strip_prefix('.') {
            Some(rest) => format!("%2E{rest}"),
            None => name,
        };
        self.dir.join(short_name(&name))
    }

    /// The file that is already there, if it is the one the metadata names.
    #[must_use]
    pub fn kept(&self, target: &Target) -> Option<Vec<u8>> {
        let limit = usize::try_from(target.file.length).ok()?;
        let bytes = read_regular(&self.path(&target.path), limit).ok()?;
        target.file.verify(&target.path, &bytes).ok()?;
        Some(bytes)
    }

    /// The file: from the directory where it holds the very bytes, otherwise from the repository, verified and kept.
    ///
    /// # Errors
    /// As [`Client::download`]; [`Error::Store`] when the file cannot be kept, the old one is then untouched.
    pub async fn fetch<F: Fetch, S: Store>(
        &self,
        client: &Client<F, S>,
        target: &Target,
    ) -> Result<Vec<u8>, Error> {
        if let Some(bytes) = self.kept(target) {
            return Ok(bytes);
        }
        let bytes = client.download(target).await?;
        let path = self.path(&target.path);
        write_synced(&path, &bytes).map_err(|source| Error::Store {
            name: path.display().to_string(),
            source,
        })?;
        Ok(bytes)
    }
}
