//! The TUF repository on disk: what is published, what is published next, and in which order.
//!
//! A publication writes the target files, then the versioned metadata, then the snapshot, and the timestamp last. Only
//! the timestamp makes anything visible, and it is replaced in one step; whatever a crash leaves before that is files
//! that nothing refers to. Versions are never reused: the next one is above every file on disk.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_crypto::{BoxFuture, Signer};
use sealwright_tuf::{
    Client, Envelope, Expiry, Fetch, FetchError, MemoryStore, MetaFile, Metadata, Place, Role,
    Root, Snapshot, Store, Targets, Timestamp, bootstrap, file_name, target_file_name,
    versioned_file_name, whole_file,
};

use crate::disk::{FileWrite, disk_error, read_optional};
use crate::documents::{Documents, SIGNING_CONFIG, TRUSTED_ROOT};
use crate::error::Error;

/// Folder of the target files inside the repository.
const TARGETS: &str = "targets";

/// A repository and what is published in it now.
#[derive(Debug)]
pub(crate) struct Repository {
    dir: PathBuf,
    root: Envelope<Root>,
    first_root: Vec<u8>,
    published: Option<Published>,
}

/// A complete published set.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    pub(crate) timestamp: Envelope<Timestamp>,
    pub(crate) snapshot: Envelope<Snapshot>,
    pub(crate) targets: Envelope<Targets>,
    pub(crate) documents: Documents,
}

/// How long what is signed online is believed, in seconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) timestamp: i64,
    pub(crate) snapshot: i64,
}

/// A change of the repository that has not been written yet.
#[derive(Debug)]
pub(crate) struct Publication {
    pub(crate) writes: Vec<FileWrite>,
    next: Published,
}

impl Publication {
    /// The documents that will be published.
    pub(crate) fn documents(&self) -> &Documents {
        &self.next.documents
    }
}

impl Repository {
    /// Writes the first root into an empty folder.
    pub(crate) fn create(dir: &Path, root: &[u8]) -> Result<(), Error> {
        let envelope = Envelope::parse_self_signed(root)?;
        if envelope.signed().version != 1 || !envelope.signed().consistent_snapshot {
            return Err(Error::Config {
                what: "the first root must have version 1 and consistent snapshots".to_owned(),
            });
        }
        let path = dir.join(versioned_file_name(1, Role::Root.name()));
        if path.exists() {
            return Err(Error::RepositoryExists {
                path: dir.to_owned(),
            });
        }
        FileWrite::create(path, root.to_vec()).apply()
    }

    /// Whether the folder holds a repository.
    pub(crate) fn exists(dir: &Path) -> bool {
        dir.join(versioned_file_name(1, Role::Root.name())).exists()
    }

    /// Reads what is published and checks every signature and hash; expiry is nobody's concern here, since re-signing
    /// what has expired is this service's work.
    pub(crate) fn open(dir: &Path) -> Result<Self, Error> {
        let first = dir.join(versioned_file_name(1, Role::Root.name()));
        let first_root = read_optional(&first)?.ok_or_else(|| Error::NoRepository {
            path: dir.to_owned(),
        })?;
        let mut root = Envelope::parse_self_signed(&first_root)?;
        while let Some(bytes) = read_optional(&dir.join(next_root_name(&root)))? {
            root = root.successor(&bytes)?;
        }
        let mut repository = Self {
            dir: dir.to_owned(),
            root,
            first_root,
            published: None,
        };
        repository.published = repository.read_published()?;
        Ok(repository)
    }

    fn read_published(&self) -> Result<Option<Published>, Error> {
        let timestamp = self.dir.join(file_name(Role::Timestamp.name()));
        let Some(bytes) = read_optional(&timestamp)? else {
            return Ok(None);
        };
        let timestamp = self.verified::<Timestamp>(&bytes)?;
        let meta = timestamp.signed().snapshot().cloned();
        let snapshot: Envelope<Snapshot> = self.promised(meta)?;
        let meta = snapshot.signed().role(Role::Targets.name()).cloned();
        let targets: Envelope<Targets> = self.promised(meta)?;
        let trusted_root = self.target_file(&targets, TRUSTED_ROOT)?;
        let signing_config = self.target_file(&targets, SIGNING_CONFIG)?;
        Ok(Some(Published {
            documents: Documents::parse(&trusted_root, &signing_config)?,
            timestamp,
            snapshot,
            targets,
        }))
    }

    fn verified<T: Metadata>(&self, bytes: &[u8]) -> Result<Envelope<T>, Error> {
        let envelope = Envelope::<T>::parse(bytes)?;
        self.root.signed().verify(&envelope)?;
        Ok(envelope)
    }

    fn promised<T: Metadata>(&self, meta: Option<MetaFile>) -> Result<Envelope<T>, Error> {
        let role = T::ROLE.name();
        let meta = meta.ok_or_else(|| Error::Corrupt {
            what: format!("nothing refers to {role}"),
        })?;
        let name = versioned_file_name(meta.version, role);
        let bytes = self.required(&self.dir.join(&name))?;
        meta.verify(&name, &bytes)?;
        self.verified(&bytes)
    }

    fn target_file(&self, targets: &Envelope<Targets>, name: &str) -> Result<Vec<u8>, Error> {
        let file = targets.signed().targets.get(name);
        let file = file.ok_or_else(|| Error::Corrupt {
            what: format!("targets does not list {name}"),
        })?;
        let path = target_file_name(name, file.name_hash());
        let bytes = self.required(&self.dir.join(TARGETS).join(path))?;
        file.verify(name, &bytes)?;
        Ok(bytes)
    }

    fn required(&self, path: &Path) -> Result<Vec<u8>, Error> {
        read_optional(path)?.ok_or_else(|| Error::Corrupt {
            what: format!("{} is missing", path.display()),
        })
    }

    /// The current root.
    pub(crate) fn root(&self) -> &Envelope<Root> {
        &self.root
    }

    /// The bytes of root version 1.
    pub(crate) fn first_root(&self) -> &[u8] {
        &self.first_root
    }

    /// What is published, once anything is.
    pub(crate) fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// The first version of a role that no file on disk has.
    pub(crate) fn free_version(&self, role: Role) -> Result<u64, Error> {
        let mut highest = 0;
        let suffix = format!(".{}.json", role.name());
        let entries = std::fs::read_dir(&self.dir).map_err(disk_error(&self.dir))?;
        for entry in entries {
            let name = entry.map_err(disk_error(&self.dir))?.file_name();
            let version = name.to_str().and_then(|name| name.strip_suffix(&suffix));
            let version = version.and_then(|version| version.parse::<u64>().ok());
            highest = highest.max(version.unwrap_or(0));
        }
        Ok(highest.saturating_add(1))
    }

    /// A publication of new targets with their files.
    pub(crate) async fn plan(
        &self,
        targets: Envelope<Targets>,
        targets_bytes: Vec<u8>,
        files: &BTreeMap<String, Vec<u8>>,
        online: &Online<'_>,
    ) -> Result<Publication, Error> {
        self.root.signed().verify(&targets)?;
        let document = |name: &str| files.get(name).map(Vec::as_slice).unwrap_or_default();
        let documents = Documents::parse(document(TRUSTED_ROOT), document(SIGNING_CONFIG))?;
        let mut writes = Vec::new();
        for (name, bytes) in files {
            let file = targets.signed().targets.get(name);
            let file = file.ok_or_else(|| Error::Corrupt {
                what: format!("the staged targets do not list {name}"),
            })?;
            file.verify(name, bytes)?;
            let path = target_file_name(name, file.name_hash());
            writes.push(FileWrite::create(
                self.dir.join(TARGETS).join(path),
                bytes.clone(),
            ));
        }
        let version = targets.signed().version;
        let name = versioned_file_name(version, Role::Targets.name());
        let meta = MetaFile::of(version, &targets_bytes);
        writes.push(FileWrite::create(self.dir.join(name), targets_bytes));
        let (snapshot, snapshot_bytes) = self.next_snapshot(meta, online).await?;
        let (timestamp, write) = self
            .next_timestamp(&snapshot, &snapshot_bytes, online)
            .await?;
        writes.push(self.snapshot_write(&snapshot, snapshot_bytes));
        writes.push(write);
        let next = Published {
            timestamp,
            snapshot,
            targets,
            documents,
        };
        Ok(Publication { writes, next })
    }

    /// A publication that only renews what is signed online, where that is due; nothing otherwise.
    pub(crate) async fn plan_resign(
        &self,
        online: &Online<'_>,
        force: bool,
    ) -> Result<Option<Publication>, Error> {
        let Some(published) = &self.published else {
            return Ok(None);
        };
        let due = |expires: Expiry, lifetime| force || is_due(expires, lifetime, online.now);
        let mut writes = Vec::new();
        let mut next = published.clone();
        let lifetimes = online.lifetimes;
        if due(published.snapshot.signed().expires, lifetimes.snapshot) {
            let meta = published.snapshot.signed().role(Role::Targets.name());
            let meta = meta.cloned().ok_or_else(|| Error::Corrupt {
                what: "nothing refers to targets".to_owned(),
            })?;
            let (snapshot, bytes) = self.next_snapshot(meta, online).await?;
            let (timestamp, write) = self.next_timestamp(&snapshot, &bytes, online).await?;
            writes.push(self.snapshot_write(&snapshot, bytes));
            writes.push(write);
            next.snapshot = snapshot;
            next.timestamp = timestamp;
        } else if due(published.timestamp.signed().expires, lifetimes.timestamp) {
            let meta = published.timestamp.signed().snapshot().cloned();
            let meta = meta.ok_or_else(|| Error::Corrupt {
                what: "nothing refers to the snapshot".to_owned(),
            })?;
            let (timestamp, write) = self.timestamp_for(meta, online).await?;
            writes.push(write);
            next.timestamp = timestamp;
        } else {
            return Ok(None);
        }
        Ok(Some(Publication { writes, next }))
    }

    /// The next root, as a single file. It must follow from the current one, and what is published must verify under
    /// it, because clients read the root first.
    pub(crate) fn plan_root(&self, bytes: &[u8]) -> Result<(FileWrite, Envelope<Root>), Error> {
        let next = self.root.successor(bytes)?;
        if let Some(published) = &self.published {
            next.signed().verify(&published.timestamp)?;
            next.signed().verify(&published.snapshot)?;
            next.signed().verify(&published.targets)?;
        }
        let path = self.dir.join(next_root_name(&self.root));
        Ok((FileWrite::create(path, bytes.to_vec()), next))
    }

    /// Takes a written publication for what is published.
    pub(crate) fn adopt(&mut self, publication: Publication) {
        self.published = Some(publication.next);
    }

    /// Takes a written root for the current one.
    pub(crate) fn adopt_root(&mut self, root: Envelope<Root>) {
        self.root = root;
    }

    async fn next_snapshot(
        &self,
        targets: MetaFile,
        online: &Online<'_>,
    ) -> Result<(Envelope<Snapshot>, Vec<u8>), Error> {
        let version = self.free_version(Role::Snapshot)?;
        let snapshot = Snapshot::new(version, online.expiry(online.lifetimes.snapshot), targets);
        let envelope = online.sign(snapshot, self.root.signed()).await?;
        let bytes = envelope.to_bytes();
        Ok((envelope, bytes))
    }

    fn snapshot_write(&self, snapshot: &Envelope<Snapshot>, bytes: Vec<u8>) -> FileWrite {
        let name = versioned_file_name(snapshot.signed().version, Role::Snapshot.name());
        FileWrite::create(self.dir.join(name), bytes)
    }

    async fn next_timestamp(
        &self,
        snapshot: &Envelope<Snapshot>,
        bytes: &[u8],
        online: &Online<'_>,
    ) -> Result<(Envelope<Timestamp>, FileWrite), Error> {
        let meta = MetaFile::of(snapshot.signed().version, bytes);
        self.timestamp_for(meta, online).await
    }

    async fn timestamp_for(
        &self,
        meta: MetaFile,
        online: &Online<'_>,
    ) -> Result<(Envelope<Timestamp>, FileWrite), Error> {
        let before = self.published.as_ref();
        let before = before.map_or(0, |published| published.timestamp.signed().version);
        let expires = online.expiry(online.lifetimes.timestamp);
        let timestamp = Timestamp::new(before.saturating_add(1), expires, meta);
        let envelope = online.sign(timestamp, self.root.signed()).await?;
        let path = self.dir.join(file_name(Role::Timestamp.name()));
        let write = FileWrite::replace(path, envelope.to_bytes());
        Ok((envelope, write))
    }

    /// Reads the repository as it would be after `writes`, as two clients: one that starts from the first root, and one
    /// that has seen what is published now. Both must reach the trusted root.
    pub(crate) async fn gate(&self, writes: &[FileWrite], now: i64) -> Result<(), Error> {
        let after = Overlay {
            dir: &self.dir,
            writes,
        };
        let before = Overlay {
            dir: &self.dir,
            writes: &[],
        };
        let mut fresh = MemoryStore::new();
        bootstrap(&mut fresh, &self.first_root)?;
        let mut seen = fresh.clone();
        if self.published.is_some() {
            let mut client = Client::open(before, seen, now)?;
            // What is published may have expired; the client still keeps what it could verify.
            let _expired = client.refresh().await;
            seen = client.into_store();
        }
        for store in [fresh, seen] {
            let outcome = read_as_client(&after, store, now).await;
            outcome.map_err(|error| Error::Unreadable(Box::new(error)))?;
        }
        Ok(())
    }
}

async fn read_as_client(
    source: &Overlay<'_>,
    store: impl Store,
    now: i64,
) -> Result<(), sealwright_tuf::Error> {
    let mut client = Client::open(source, store, now)?;
    client.refresh().await?;
    for name in [TRUSTED_ROOT, SIGNING_CONFIG] {
        let target = client.target(name).await?;
        let target = target.ok_or_else(|| sealwright_tuf::Error::Missing {
            name: name.to_owned(),
        })?;
        client.download(&target).await?;
    }
    Ok(())
}

/// The online keys and the moment of signing.
pub(crate) struct Online<'a> {
    pub(crate) signers: &'a [Arc<dyn Signer>],
    pub(crate) lifetimes: Lifetimes,
    pub(crate) now: i64,
}

impl Online<'_> {
    fn expiry(&self, lifetime: i64) -> Expiry {
        Expiry::from_unix(self.now.saturating_add(lifetime))
    }

    /// Signs with every online key. While a key is being rotated there are two, and each root accepts one of them.
    async fn sign<T: Metadata>(&self, metadata: T, root: &Root) -> Result<Envelope<T>, Error> {
        let mut envelope = Envelope::unsigned(metadata)?;
        for signer in self.signers {
            envelope.sign(signer.as_ref()).await?;
        }
        root.verify(&envelope)?;
        Ok(envelope)
    }
}

/// Due at half of the lifetime; and at once when the rest is longer than the lifetime, which was then shortened.
pub(crate) fn is_due(expires: Expiry, lifetime: i64, now: i64) -> bool {
    let rest = expires.unix().saturating_sub(now);
    rest <= lifetime / 2 || rest > lifetime
}

fn next_root_name(root: &Envelope<Root>) -> String {
    versioned_file_name(root.signed().version.saturating_add(1), Role::Root.name())
}

/// The folder as it would be after some writes.
struct Overlay<'a> {
    dir: &'a Path,
    writes: &'a [FileWrite],
}

impl Overlay<'_> {
    fn read(&self, place: Place, name: &str, max_length: u64) -> Result<Vec<u8>, FetchError> {
        let path = match place {
            Place::Metadata => self.dir.join(name),
            Place::Targets => self.dir.join(TARGETS).join(name),
        };
        let written = self.writes.iter().rev().find(|write| write.path == path);
        let bytes = match written {
            Some(write) => Some(write.bytes.clone()),
            None => read_optional(&path).map_err(|error| FetchError::Failed(Box::new(error)))?,
        };
        whole_file(bytes, max_length)
    }
}

impl Fetch for Overlay<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(std::future::ready(self.read(place, name, max_length)))
    }
}

/// Whether a name is one of those a repository publishes, and whether its content can change. Everything else is not
/// there, whatever lies in the folder.
pub(crate) fn servable_metadata(name: &str) -> Option<Change> {
    if name == file_name(Role::Timestamp.name()) || name == file_name(Role::Root.name()) {
        return Some(Change::Replaced);
    }
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let canonical = !version.starts_with('0') && version.bytes().all(|b| b.is_ascii_digit());
    let versioned = [Role::Root, Role::Snapshot, Role::Targets];
    let known = versioned.iter().any(|known| known.name() == role);
    (canonical && !version.is_empty() && known).then_some(Change::Never)
}

/// As [`servable_metadata`], for target files: `<64 hex digits>.<name>`.
pub(crate) fn is_servable_target(name: &str) -> bool {
    let Some((hash, name)) = name.split_once('.') else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    hash.len() == 64
        && hash
            .bytes()
            .all(|b| b.is_ascii_hexdigit() && !b.is_ascii_uppercase())
        && !name.is_empty()
        && name.bytes().all(plain)
}

/// Whether the content under a name can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    Never,
    Replaced,
}

pub(crate) fn targets_dir(dir: &Path) -> PathBuf {
    dir.join(TARGETS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_the_repository_are_served() {
        for name in ["1.root.json", "12.snapshot.json", "3.targets.json"] {
            assert_eq!(servable_metadata(name), Some(Change::Never), "{name}");
        }
        for name in ["timestamp.json", "root.json"] {
            assert_eq!(servable_metadata(name), Some(Change::Replaced), "{name}");
        }
        for name in [
            "",
            ".json",
            "..root.json",
            "0.root.json",
            "01.root.json",
            "1.timestamp.json",
            "snapshot.json",
            ".timestamp.json.new",
            "1.root.json.new",
            "../lock",
            "1.root",
            "-1.root.json",
            "1..root.json",
        ] {
            assert_eq!(servable_metadata(name), None, "{name}");
        }
        let hash = "0".repeat(64);
        assert!(is_servable_target(&format!("{hash}.trusted_root.json")));
        for name in [
            hash.clone(),
            format!("{hash}."),
            format!("{hash}./x"),
            format!("x{hash}.a"),
            format!(".{hash}"),
        ] {
            assert!(!is_servable_target(&name), "{name}");
        }
    }

    #[test]
    fn signing_is_due_at_half_of_the_lifetime() {
        let expires = Expiry::from_unix(1_000);
        assert!(!is_due(expires, 100, 949));
        assert!(is_due(expires, 100, 950));
        assert!(is_due(expires, 100, 2_000));
        assert!(is_due(expires, 100, 800), "the lifetime was shortened");
    }
}
