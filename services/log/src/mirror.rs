//! A copy of a log elsewhere, in the layout of C2SP tlog-tiles: a folder, or an address that serves one.
//!
//! A mirror is outside memory: it still knows how large the log was when this folder was put back from a backup, and it
//! may hold what was lost. It is believed nothing: checkpoints count when the log's key signed them, tiles and bundles when
//! they lead to a root that such a checkpoint names.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::StatusCode;
use http::header::CONTENT_ENCODING;
use sealwright_host::http::is_loopback;
use sealwright_tlog::note::MAX_NOTE_BYTES;
use sealwright_tlog::tile::{TILE_BYTES, TILE_WIDTH, TileId, TileKind};
use sealwright_tlog::{Checkpoint, NoteKey};
use tokio::runtime::Handle;
use url::Url;

use crate::error::Error;
use crate::kind::Kind;

/// A connection is made within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A checkpoint is read within this time: starts wait for it.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(10);
/// Any other file is read within this time.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);
/// The longest issuer certificate that is kept.
const MAX_ISSUER_BYTES: usize = 1 << 20;
/// Bytes in front of each entry of a bundle.
const ENTRY_PREFIX_BYTES: usize = 2;

/// Where a copy of a log can be read.
#[derive(Debug, Clone)]
pub struct Mirror {
    /// As the operator wrote it.
    name: String,
    place: Place,
}

#[derive(Debug, Clone)]
enum Place {
    Folder(PathBuf),
    Web { base: Url, client: reqwest::Client },
}

impl Mirror {
    /// An `https` address, an `http` address on this host, or a folder; relative folders are looked up in `folder`. What is
    /// below it are `checkpoint` and `tile/`, or, for a log's own folder, both within `public`.
    ///
    /// # Errors
    /// [`Error::MirrorUnreachable`] for an address that is none, or that would be asked in the clear across the network.
    pub fn parse(text: &str, folder: &Path) -> Result<Self, Error> {
        let name = text.to_owned();
        if !text.contains("://") {
            let place = Place::Folder(folder.join(text));
            return Ok(Self { name, place });
        }
        let unusable = |problem: &str| Error::MirrorUnreachable {
            mirror: name.clone(),
            problem: problem.to_owned(),
        };
        let mut base = Url::parse(text).map_err(|error| unusable(&error.to_string()))?;
        if base.scheme() != "https" && !(base.scheme() == "http" && is_loopback(&base)) {
            return Err(unusable(
                "write an https address, an http address on this host, or a folder",
            ));
        }
        if base.query().is_some() || base.fragment().is_some() || base.cannot_be_a_base() {
            return Err(unusable("an address of a folder has no query or fragment"));
        }
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", base.path()));
        }
        let client = client(base.scheme() == "https")
            .map_err(|error| unusable(&error.without_url().to_string()))?;
        let place = Place::Web { base, client };
        Ok(Self { name, place })
    }

    /// As the operator wrote it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is a folder within `dir`, also by way of links: what is lost with `dir` is lost with it.
    pub(crate) fn lies_within(&self, dir: &Path) -> bool {
        let Place::Folder(folder) = &self.place else {
            return false;
        };
        // What is not there yet will be where its nearest folder is.
        let real = |path: &Path| {
            path.ancestors()
                .find_map(|path| fs::canonicalize(path).ok())
        };
        real(folder)
            .zip(fs::canonicalize(dir).ok())
            .is_some_and(|(folder, dir)| folder.starts_with(dir))
    }

    /// Whether it is served below `url`, the base URL of a log: then it is that log itself.
    pub(crate) fn is_served_below(&self, url: &str) -> bool {
        let (Place::Web { base, .. }, Ok(url)) = (&self.place, Url::parse(url)) else {
            return false;
        };
        let same_host = base.host() == url.host()
            && base.port_or_known_default() == url.port_or_known_default();
        same_host && base.path().starts_with(url.path())
    }

    /// A file below the mirror, `None` when it is not there.
    ///
    /// # Errors
    /// [`Error::MirrorUnreachable`] when it cannot be asked; [`Error::MirrorInvalid`] for an answer that no mirror gives, one
    /// of more than `limit` bytes among them.
    pub async fn fetch(
        &self,
        path: &str,
        limit: usize,
        time: Duration,
    ) -> Result<Option<Vec<u8>>, Error> {
        match &self.place {
            Place::Folder(folder) => {
                let (folder, owned) = (folder.clone(), path.to_owned());
                let read = move || read_below(&folder, &owned, limit);
                let outcome = tokio::task::spawn_blocking(read).await;
                let outcome = outcome.unwrap_or_else(|_| Err(io::Error::other("reading panicked")));
                outcome.map_err(|error| match error.kind() {
                    ErrorKind::InvalidData => self.invalid(path, error.to_string()),
                    _ => self.unreachable(error.to_string()),
                })
            }
            Place::Web { base, client } => {
                let asked = self.download(base, client, path, limit);
                match tokio::time::timeout(time, asked).await {
                    Ok(outcome) => outcome,
                    Err(_) => Err(self
                        .unreachable(format!("{path} did not come within {} s", time.as_secs()))),
                }
            }
        }
    }

    async fn download(
        &self,
        base: &Url,
        client: &reqwest::Client,
        path: &str,
        limit: usize,
    ) -> Result<Option<Vec<u8>>, Error> {
        let gone = |error: reqwest::Error| self.unreachable(innermost(&error));
        let url = base
            .join(path)
            .map_err(|error| self.invalid(path, error.to_string()))?;
        let mut answer = client.get(url).send().await.map_err(gone)?;
        match answer.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
            status => return Err(self.unreachable(format!("{path} is answered with {status}"))),
        }
        if answer.headers().contains_key(CONTENT_ENCODING) {
            return Err(self.invalid(path, "it is compressed although that was not asked for"));
        }
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(gone)? {
            if body.len() + chunk.len() > limit {
                return Err(self.invalid(path, format!("it is longer than {limit} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Some(body))
    }

    /// The log's checkpoint there, with the note it came in; `None` when there is none. The log's key must have signed it.
    pub async fn checkpoint(&self, keys: &LogKeys) -> Result<Option<Signed>, Error> {
        self.checkpoint_at("checkpoint", keys).await
    }

    /// The checkpoint in the file `path`, as [`Mirror::checkpoint`].
    pub(crate) async fn checkpoint_at(
        &self,
        path: &str,
        keys: &LogKeys,
    ) -> Result<Option<Signed>, Error> {
        let note = self.fetch(path, MAX_NOTE_BYTES, CHECKPOINT_TIMEOUT).await?;
        let Some(note) = note else { return Ok(None) };
        let opened = Checkpoint::open(&note, &keys.origin, &keys.keys);
        let opened = opened.map_err(|error| self.invalid(path, error.to_string()))?;
        Ok(Some(Signed {
            checkpoint: opened.checkpoint().clone(),
            note: String::from_utf8_lossy(&note).into_owned(),
        }))
    }

    /// A tile or bundle as the mirror has it, unverified; `None` when it is there in no width that contains this one. Blocks;
    /// to be called on a thread of a runtime that may block.
    ///
    /// A bundle that is wider in the mirror is cut to the width of `id`.
    pub(crate) fn tile_blocking(&self, kind: Kind, id: TileId) -> Result<Option<Vec<u8>>, Error> {
        let runtime = Handle::current();
        let limit = tile_limit(kind, id);
        let own = runtime.block_on(self.fetch(&id.to_string(), limit, FILE_TIMEOUT))?;
        if own.is_some() || id.is_full() {
            return Ok(own);
        }
        // Partial tiles go when the full one is there.
        let full = TileId {
            width: TILE_WIDTH,
            ..id
        };
        let limit = tile_limit(kind, full);
        let bytes = runtime.block_on(self.fetch(&full.to_string(), limit, FILE_TIMEOUT))?;
        bytes
            .map(|bytes| {
                cut(kind, id, &bytes)
                    .map_err(|error| self.invalid(&full.to_string(), error.to_string()))
            })
            .transpose()
    }

    /// An issuer certificate as the mirror has it, unverified. Blocks, as [`Mirror::tile_blocking`].
    pub(crate) fn issuer_blocking(&self, fingerprint: &str) -> Result<Option<Vec<u8>>, Error> {
        let path = format!("issuer/{fingerprint}");
        Handle::current().block_on(self.fetch(&path, MAX_ISSUER_BYTES, FILE_TIMEOUT))
    }

    pub(crate) fn unreachable(&self, problem: impl Into<String>) -> Error {
        Error::MirrorUnreachable {
            mirror: self.name.clone(),
            problem: problem.into(),
        }
    }

    pub(crate) fn invalid(&self, file: &str, problem: impl Into<String>) -> Error {
        Error::MirrorInvalid {
            mirror: self.name.clone(),
            file: file.to_owned(),
            problem: problem.into(),
        }
    }
}

/// Whose signature makes a checkpoint one of the log.
#[derive(Debug, Clone)]
pub struct LogKeys {
    /// First line of the log's checkpoints.
    pub origin: String,
    /// The keys, one of which must have signed.
    pub keys: Vec<NoteKey>,
}

/// A checkpoint with the log's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The whole note, with all signatures.
    pub note: String,
}

pub(crate) fn client(secure: bool) -> reqwest::Result<reqwest::Client> {
    // An error means that the process has chosen a provider before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let builder = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .connect_timeout(CONNECT_TIMEOUT);
    // Without https there is no need for the system's roots, which may not exist.
    let builder = if secure {
        builder
    } else {
        builder.tls_certs_only(Vec::new())
    };
    builder.build()
}

/// The innermost cause says what a person can act on; the outer ones repeat the address.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

/// The longest file that `id` may be.
fn tile_limit(kind: Kind, id: TileId) -> usize {
    match id.kind {
        TileKind::Hashes(_) => TILE_BYTES,
        TileKind::Entries | TileKind::Data => {
            usize::from(id.width) * (kind.max_stored_bytes() + ENTRY_PREFIX_BYTES)
        }
    }
}

/// The narrower tile within a full one.
fn cut(kind: Kind, id: TileId, full: &[u8]) -> Result<Vec<u8>, sealwright_tlog::Error> {
    let width = usize::from(id.width);
    match id.kind {
        TileKind::Hashes(_) => Ok(full.iter().take(width * 32).copied().collect()),
        TileKind::Entries | TileKind::Data => {
            let mut bytes = Vec::new();
            for leaf in kind.split_bundle(full)?.into_iter().take(width) {
                kind.put_stored(&mut bytes, leaf)?;
            }
            Ok(bytes)
        }
    }
}

/// A regular file below `folder`, or below its `public`. [`ErrorKind::InvalidData`] for what is no file or too long.
fn read_below(folder: &Path, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let own = folder.join(path);
    if let Some(bytes) = read_regular(&own, limit)? {
        return Ok(Some(bytes));
    }
    if !fs::metadata(folder)?.is_dir() {
        return Err(io::Error::other("it is not a folder"));
    }
    read_regular(&folder.join("public").join(path), limit)
}

/// Opened so that a pipe does not make the caller wait.
fn read_regular(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let nonblocking = rustix::fs::OFlags::NONBLOCK.bits();
    let flags = i32::try_from(nonblocking).map_err(io::Error::other)?;
    let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => file,
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(None);
        }
        Err(error) => return Err(error),
    };
    let wrong = |problem: String| io::Error::new(ErrorKind::InvalidData, problem);
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(wrong("it is not a regular file".to_owned()));
    }
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        return Err(wrong(format!("it is longer than {limit} bytes")));
    }
    Ok(Some(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn only_folders_and_addresses_that_nobody_can_change_on_the_way_are_taken() {
        let parse = |text: &str| Mirror::parse(text, Path::new("/srv"));
        for text in [
            "https://mirror.example.com/log",
            "http://127.0.0.1:80/x/",
            "http://[::1]",
            "http://localhost",
            "copies/log",
            "/copies/log",
        ] {
            assert!(parse(text).is_ok(), "{text}");
        }
        for text in [
            "http://mirror.example.com",
            "ftp://127.0.0.1/",
            "file:///etc",
            "https://",
            "https://a/?b",
            "https://a/#b",
        ] {
            assert!(
                matches!(parse(text), Err(Error::MirrorUnreachable { .. })),
                "{text}"
            );
        }
    }

    #[test]
    fn a_log_that_is_named_as_its_own_mirror_is_found_out() {
        let folder = tempfile::tempdir().unwrap();
        let own = folder.path().join("log/a");
        fs::create_dir_all(own.join("public")).unwrap();
        fs::create_dir_all(folder.path().join("log/ab")).unwrap();
        std::os::unix::fs::symlink(&own, folder.path().join("link")).unwrap();
        let parse = |text: &str| Mirror::parse(text, folder.path()).unwrap();
        for text in [
            "log/a",
            "log/a/public",
            "log/a/absent",
            "log/ab/../a",
            "link",
        ] {
            assert!(parse(text).lies_within(&own), "{text}");
        }
        for text in ["log", "log/ab", "absent", "https://a/log/a"] {
            assert!(!parse(text).lies_within(&own), "{text}");
        }
        let url = "https://Log.example";
        for text in ["https://log.example/api/v2", "https://log.example:443"] {
            assert!(parse(text).is_served_below(url), "{text}");
        }
        for text in ["https://log.example:8443", "https://log.example.com", "log"] {
            assert!(!parse(text).is_served_below(url), "{text}");
        }
        let certificates = "https://log.example/ct/a";
        assert!(parse("https://log.example/ct/a").is_served_below(certificates));
        assert!(!parse("https://log.example/copies/a").is_served_below(certificates));
    }

    #[tokio::test]
    async fn a_folder_is_read_with_a_cap_and_no_pipe_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let mirror = Mirror::parse("copy", folder.path()).unwrap();
        let absent = mirror.fetch("checkpoint", 10, SOON).await;
        assert!(
            matches!(absent, Err(Error::MirrorUnreachable { .. })),
            "a folder that is not there is no empty mirror: {absent:?}"
        );
        let public = folder.path().join("copy/public");
        fs::create_dir_all(&public).unwrap();
        assert_eq!(mirror.fetch("checkpoint", 10, SOON).await.unwrap(), None);
        fs::write(public.join("checkpoint"), [7; 10]).unwrap();
        assert_eq!(
            mirror.fetch("checkpoint", 10, SOON).await.unwrap(),
            Some(vec![7; 10])
        );
        let long = mirror.fetch("checkpoint", 9, SOON).await;
        assert!(matches!(long, Err(Error::MirrorInvalid { .. })), "{long:?}");
        let pipe = folder.path().join("copy/tile");
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, mode).unwrap();
        let piped = mirror.fetch("tile", 10, SOON).await;
        assert!(
            matches!(piped, Err(Error::MirrorInvalid { .. })),
            "{piped:?}"
        );
    }

    #[test]
    fn a_wider_bundle_is_cut_to_the_width_asked_for() {
        let mut bundle = Vec::new();
        for leaf in [b"one".as_slice(), b"two", b"three"] {
            Kind::Rekor.put_stored(&mut bundle, leaf).unwrap();
        }
        let id = TileId {
            kind: TileKind::Entries,
            index: 0,
            width: 2,
        };
        assert_eq!(
            cut(Kind::Rekor, id, &bundle).unwrap(),
            b"\x00\x03one\x00\x03two"
        );
        let id = TileId {
            kind: TileKind::Hashes(0),
            ..id
        };
        assert_eq!(cut(Kind::Rekor, id, &[1; 96]).unwrap(), [1; 64]);
    }
}
