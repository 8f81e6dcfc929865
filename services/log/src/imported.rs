//! Logs that another server wrote: brought here once, with every hash checked, and only read from then on.
//!
//! ```text
//! LOG/imported.json      whose log it is, where it came from
//! LOG/public/            checkpoint, tiles, entries: the same layout as a log of our own
//! ```
//!
//! There is no write-ahead log and no key. The folder gets its name when everything in it leads to the checkpoint: until then
//! it is called `NAME.importing`, and an import that was cut short goes on there.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use sealwright_crypto::{Algorithm, BoxFuture, Digest, PublicKey, SignError, Signer, sha256};
use sealwright_host::SharedClock;
use sealwright_tlog::edge::FullTile;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind};
use sealwright_tlog::{Checkpoint, Hash, NoteKey, RightEdge, SignatureKind};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::dedup;
use crate::dedup::compact::Compactor;
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::identity::{IdentityRecord, LogIdentity, is_name};
use crate::intake::{Intake, Limits};
use crate::kind::Kind;
use crate::log::{Inner, Log};
use crate::metrics::Metrics;
use crate::mirror::{LogKeys, Mirror, Signed};
use crate::notes::Notes;
use crate::open::take_lock;
use crate::publisher::{PublishOptions, Publisher};
use crate::sign::CheckpointSigner;
use crate::tree::{Overlay, PUBLIC, Snapshot, StoredLeaf, Tree, public_path};
use crate::wal::{Scan, Writer};

/// The file that says whose log a folder holds.
pub(crate) const IMPORTED_FILE: &str = "imported.json";
const FORMAT: u32 = 1;
/// Bundles that are fetched at once: some 200 KiB each, and 16 MiB at worst.
const AT_ONCE: usize = 8;
/// Issuers of certificate logs that are remembered as fetched: 2 MiB.
const MAX_ISSUERS: usize = 65_536;

/// What is to be imported.
#[derive(Debug, Clone)]
pub struct ImportPlan {
    /// A folder with `checkpoint` and `tile/`, or an address below which they are served.
    pub from: String,
    /// The key that signs the log's checkpoints, as signed notes have it.
    pub vkey: String,
    /// First line of its checkpoints.
    pub origin: String,
    /// What it is called here.
    pub name: String,
    /// Which kind.
    pub kind: Kind,
}

/// What was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// First line of its checkpoints.
    pub origin: String,
    /// The key as signed notes have it.
    pub vkey: String,
    /// Entries.
    pub size: u64,
    /// The checkpoint that they lead to, a signed note.
    pub checkpoint: String,
    /// Name under which the key signs.
    pub key_name: String,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
}

/// What the folder says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ImportedRecord {
    format: u32,
    pub(crate) origin: String,
    pub(crate) kind: Kind,
    vkey: String,
    /// Unix seconds.
    imported: i64,
    from: String,
}

impl ImportedRecord {
    /// Reads the record of a folder; `None` when it holds no imported log.
    pub(crate) fn read(disk: &dyn Disk) -> Result<Option<Self>, Error> {
        let bytes = disk
            .read(IMPORTED_FILE)
            .map_err(|error| Error::disk("reading", IMPORTED_FILE, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let record: Self = serde_json::from_slice(&bytes)
            .map_err(|error| Error::corrupt(IMPORTED_FILE, error.to_string()))?;
        if record.format != FORMAT {
            let problem = format!(
                "it has format {}, this release knows {FORMAT}",
                record.format
            );
            return Err(Error::corrupt(IMPORTED_FILE, problem));
        }
        Ok(Some(record))
    }

    /// The key of its checkpoints.
    pub(crate) fn key(&self) -> Result<NoteKey, Error> {
        NoteKey::from_vkey(&self.vkey)
            .map_err(|error| Error::corrupt(IMPORTED_FILE, error.to_string()))
    }

    /// The record that a log of our own would have.
    pub(crate) fn identity_record(&self, name: &str) -> Result<IdentityRecord, Error> {
        let identity = LogIdentity {
            name: name.to_owned(),
            kind: self.kind,
            origin: self.origin.clone(),
        };
        // What the vkey says is public; keys of known entries only have to differ from log to log.
        let digest = sha256(self.vkey.as_bytes());
        let secret = digest.first_chunk::<16>().copied().unwrap_or_default();
        Ok(IdentityRecord::new(
            &identity,
            &self.key()?,
            self.imported,
            &secret,
        ))
    }

    fn write(&self, disk: &dyn Disk) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::corrupt(IMPORTED_FILE, error.to_string()))?;
        put(disk, vec![(IMPORTED_FILE.to_owned(), text)])
    }
}

fn put(disk: &dyn Disk, files: Vec<(String, Vec<u8>)>) -> Result<(), Error> {
    let name = files.first().map(|(name, _)| name.clone());
    disk.put(&files)
        .map_err(|error| Error::disk("writing", name.unwrap_or_default(), error))
}

/// Copies a log into `folder`/NAME, and verifies it on the way: entries, tiles, root, signature. Memory does not grow with
/// the log. `now` is in Unix seconds; `progress` is told how many entries have been read.
///
/// An import that was cut short goes on with the checkpoint that it began with. One that finds something wrong leaves nothing
/// behind.
///
/// # Errors
/// [`Error::Config`] for a plan that cannot be; [`Error::MirrorUnreachable`] and [`Error::MirrorInvalid`] with the file at
/// fault; [`Error::Disk`].
pub async fn import(
    plan: &ImportPlan,
    folder: &Path,
    now: i64,
    progress: impl Fn(u64, u64),
) -> Result<Imported, Error> {
    let key = plan.key()?;
    let (target, staging) = (
        folder.join(&plan.name),
        folder.join(format!("{}.importing", plan.name)),
    );
    if target.exists() {
        return Err(plan.unusable(format!("{} is there already", target.display())));
    }
    let source = Mirror::parse(&plan.from, Path::new("."))?;
    let keys = LogKeys {
        origin: plan.origin.clone(),
        keys: vec![key.clone()],
    };
    std::fs::create_dir_all(&staging)
        .map_err(|error| Error::disk("making", staging.display().to_string(), error))?;
    let disk = FileDisk::open(&staging)
        .map_err(|error| Error::disk("opening", staging.display().to_string(), error))?;
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let lock = take_lock(&disk, &staging)?;
    let import = Import {
        plan,
        source,
        keys,
        disk,
    };
    let outcome = import.run(now, progress).await;
    drop(lock);
    if let Err(error) = outcome {
        // What is wrong stays wrong; what was cut short goes on.
        if !matches!(error, Error::Disk { .. } | Error::MirrorUnreachable { .. }) {
            let _ = std::fs::remove_dir_all(&staging);
        }
        return Err(error);
    }
    std::fs::rename(&staging, &target)
        .and_then(|()| std::fs::File::open(folder)?.sync_all())
        .map_err(|error| Error::disk("naming", target.display().to_string(), error))?;
    imported_log(&target)
}

/// What the imported log in `dir` is. Its checkpoint is verified; its entries were, when it came.
///
/// # Errors
/// [`Error::NotALog`] where there is none; [`Error::Corrupt`].
pub fn imported_log(dir: &Path) -> Result<Imported, Error> {
    let record = record(dir)?;
    let disk = FileDisk::open(dir)
        .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
    let key = record.key()?;
    let path = format!("{PUBLIC}/checkpoint");
    let note = read(&disk, &path)?;
    let opened = Checkpoint::open(&note, &record.origin, std::slice::from_ref(&key))
        .map_err(|error| Error::corrupt(path, error.to_string()))?;
    Ok(Imported {
        size: opened.checkpoint().size,
        checkpoint: String::from_utf8_lossy(&note).into_owned(),
        key_name: key.name().to_owned(),
        public_key: key.public_key().spki_der().to_vec(),
        origin: record.origin,
        vkey: record.vkey,
    })
}

impl ImportPlan {
    fn unusable(&self, problem: impl ToString) -> Error {
        Error::Config {
            log: format!("{:?}", self.name),
            problem: problem.to_string(),
        }
    }

    /// The key, if it is one that a log of this kind signs with.
    fn key(&self) -> Result<NoteKey, Error> {
        if !is_name(&self.name) {
            return Err(self.unusable("name must be lower-case letters, digits and hyphens"));
        }
        let key = NoteKey::from_vkey(&self.vkey).map_err(|error| self.unusable(error))?;
        let fits = match (self.kind, key.kind()) {
            (Kind::Ct, kind) => kind == SignatureKind::Rfc6962TreeHead,
            (Kind::Rekor, SignatureKind::Ed25519 | SignatureKind::Ecdsa) => true,
            (Kind::Rekor, kind) => kind == SignatureKind::RsaPkcs1,
        };
        match fits {
            true => Ok(key),
            false => Err(self.unusable(
                "vkey is no key of such a log: signature logs sign with Ed25519, ECDSA or RSA, certificate logs as RFC 6962 says",
            )),
        }
    }
}

/// An import under way.
struct Import<'a> {
    plan: &'a ImportPlan,
    source: Mirror,
    keys: LogKeys,
    disk: Arc<dyn Disk>,
}

impl Import<'_> {
    /// The whole story: checkpoint, entries in order, root, and then the files that make it a log.
    async fn run(&self, now: i64, progress: impl Fn(u64, u64)) -> Result<(), Error> {
        let signed = self.checkpoint().await?;
        let size = signed.checkpoint.size;
        let bundles =
            (0..).map_while(|index| TileId::in_tree(self.plan.kind.bundle(), index, size));
        let mut fetched = stream::iter(bundles)
            .map(|id| self.bundle(id))
            .buffered(AT_ONCE);
        let mut edge = RightEdge::new();
        let mut issuers = HashSet::new();
        while let Some((id, bytes)) = fetched.try_next().await? {
            self.append(id, &bytes, &mut edge, &mut issuers).await?;
            progress(edge.size(), size);
        }
        if edge.size() != size || edge.root() != signed.checkpoint.root {
            return Err(self.source.invalid(
                "checkpoint",
                format!("the {size} entries do not lead to the root that it names"),
            ));
        }
        self.finish(&edge, &signed, now)
    }

    /// The checkpoint that the import began with, or the newest.
    async fn checkpoint(&self) -> Result<Signed, Error> {
        let path = format!("{PUBLIC}/checkpoint");
        let begun = self
            .disk
            .read(&path)
            .map_err(|error| Error::disk("reading", &path, error))?;
        let begun = begun.and_then(|note| {
            let opened = Checkpoint::open(&note, &self.keys.origin, &self.keys.keys).ok()?;
            Some(Signed {
                checkpoint: opened.checkpoint().clone(),
                note: String::from_utf8_lossy(&note).into_owned(),
            })
        });
        if let Some(begun) = begun {
            return Ok(begun);
        }
        let signed = self.source.checkpoint(&self.keys).await?;
        let signed = signed.ok_or_else(|| self.source.invalid("checkpoint", "it is missing"))?;
        put(&*self.disk, vec![(path, signed.note.clone().into_bytes())])?;
        Ok(signed)
    }

    /// A bundle, from an earlier attempt or from the source.
    async fn bundle(&self, id: TileId) -> Result<(TileId, Vec<u8>), Error> {
        let (disk, path) = (self.disk.clone(), public_path(id));
        let kept = spawn_blocking(move || {
            disk.read(&path)
                .map_err(|error| Error::disk("reading", path, error))
        });
        if let Some(bytes) = joined(kept.await)? {
            return Ok((id, bytes));
        }
        let bytes = self.tile(id).await?;
        let bytes = bytes.ok_or_else(|| self.source.invalid(&id.to_string(), "it is missing"))?;
        Ok((id, bytes))
    }

    async fn tile(&self, id: TileId) -> Result<Option<Vec<u8>>, Error> {
        let (source, kind) = (self.source.clone(), self.plan.kind);
        joined(spawn_blocking(move || source.tile_blocking(kind, id)).await)
    }

    /// Checks a bundle against its tile, appends its entries and writes both.
    async fn append(
        &self,
        id: TileId,
        bytes: &[u8],
        edge: &mut RightEdge,
        issuers: &mut HashSet<Hash>,
    ) -> Result<(), Error> {
        let wrong = |problem: String| self.source.invalid(&id.to_string(), problem);
        let kind = self.plan.kind;
        let leaves = kind
            .split_bundle(bytes)
            .map_err(|error| wrong(error.to_string()))?;
        if leaves.len() != usize::from(id.width) {
            return Err(wrong(format!(
                "it has {} entries instead of {}",
                leaves.len(),
                id.width
            )));
        }
        let (mut full, mut hashes) = (Vec::new(), Vec::with_capacity(leaves.len()));
        for leaf in leaves {
            let facts = kind.facts(leaf).map_err(|error| wrong(error.to_string()))?;
            hashes.push(facts.leaf_hash);
            edge.push(facts.leaf_hash, &mut full);
        }
        // The tile there tells early, and where, that an entry is not the one that was logged.
        let tile = TileId {
            kind: TileKind::Hashes(0),
            ..id
        };
        if self
            .tile(tile)
            .await?
            .is_some_and(|tile| tile != hashes.concat())
        {
            return Err(wrong(format!("its entries are not those of {tile}")));
        }
        self.issuers(bytes, issuers).await?;
        let mut files = vec![(public_path(id), bytes.to_vec())];
        files.extend(full.into_iter().map(file_of));
        put(&*self.disk, files)
    }

    /// Issuers that the certificates of a data tile name.
    async fn issuers(&self, bytes: &[u8], known: &mut HashSet<Hash>) -> Result<(), Error> {
        if self.plan.kind != Kind::Ct {
            return Ok(());
        }
        let leaves = sealwright_tlog::ct::TileLeaf::parse_tile(bytes).unwrap_or_default();
        for fingerprint in leaves.into_iter().flat_map(|leaf| leaf.chain_fingerprints) {
            if known.contains(&fingerprint) {
                continue;
            }
            let name = hex::encode(fingerprint);
            let (source, own) = (self.source.clone(), name.clone());
            let found = joined(spawn_blocking(move || source.issuer_blocking(&own)).await)?;
            let path = format!("issuer/{name}");
            let issuer = found.ok_or_else(|| {
                self.source
                    .invalid(&path, "it is missing, but an entry names it")
            })?;
            if sha256(&issuer) != fingerprint {
                let problem = "it is another certificate than its name says";
                return Err(self.source.invalid(&path, problem));
            }
            put(&*self.disk, vec![(format!("{PUBLIC}/{path}"), issuer)])?;
            if known.len() < MAX_ISSUERS {
                known.insert(fingerprint);
            }
        }
        Ok(())
    }

    /// The partial tiles, and the record.
    fn finish(&self, edge: &RightEdge, signed: &Signed, now: i64) -> Result<(), Error> {
        let mut files = Vec::new();
        for level in 0.. {
            let above = sealwright_tlog::tile::hashes_at_level(level, edge.size());
            if above == 0 {
                break;
            }
            let id = TileId::in_tree(TileKind::Hashes(level), above >> TILE_HEIGHT, edge.size());
            if let Some((id, tile)) = id.zip(edge.tile(level)) {
                files.push((public_path(id), tile.bytes(id.width)));
            }
        }
        files.push((
            format!("{PUBLIC}/checkpoint"),
            signed.note.clone().into_bytes(),
        ));
        put(&*self.disk, files)?;
        let record = ImportedRecord {
            format: FORMAT,
            origin: self.plan.origin.clone(),
            kind: self.plan.kind,
            vkey: self.plan.vkey.clone(),
            imported: now,
            from: self.plan.from.clone(),
        };
        record.write(&*self.disk)
    }
}

fn file_of(tile: FullTile) -> (String, Vec<u8>) {
    let id = TileId::full(TileKind::Hashes(tile.level), tile.index);
    (public_path(id), tile.nodes.bytes(TILE_WIDTH))
}

fn joined<T>(outcome: Result<Result<T, Error>, tokio::task::JoinError>) -> Result<T, Error> {
    outcome.unwrap_or_else(|_| {
        Err(Error::Stopped {
            cause: "reading a log to be imported panicked".into(),
        })
    })
}

/// Stands where a log of our own has its key.
#[derive(Debug)]
struct NoKey {
    public_key: PublicKey,
    algorithm: Algorithm,
}

impl Signer for NoKey {
    fn public_key(&self) -> &PublicKey {
        &self.public_key
    }

    fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    fn sign<'a>(&'a self, _message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async { Err(no_key()) })
    }

    fn sign_digest<'a>(&'a self, _: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        Box::pin(async { Err(no_key()) })
    }
}

fn no_key() -> SignError {
    SignError::Refused {
        detail: "the key of an imported log is not here".to_owned(),
    }
}

/// The record of the imported log in `dir`.
pub(crate) fn record(dir: &Path) -> Result<ImportedRecord, Error> {
    let not_there = || Error::NotALog {
        dir: dir.to_owned(),
    };
    if !dir.join(IMPORTED_FILE).exists() {
        return Err(not_there());
    }
    let disk = FileDisk::open(dir)
        .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
    ImportedRecord::read(&disk)?.ok_or_else(not_there)
}

/// Opens an imported log for reading.
pub(crate) async fn open(
    dir: PathBuf,
    name: String,
    metrics: Metrics,
    clock: SharedClock,
) -> Result<Log, Error> {
    let runtime = Handle::current();
    let opened = spawn_blocking(move || {
        let record = record(&dir)?;
        let disk = FileDisk::open(&dir)
            .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        // The index of known entries may have to be written; afterwards nothing is.
        let _lock = take_lock(&disk, &dir)?;
        assemble(disk, name, record, &metrics, clock, runtime)
    });
    joined(opened.await)
}

/// The parts of a log that nothing moves.
fn assemble(
    disk: Arc<dyn Disk>,
    name: String,
    imported: ImportedRecord,
    metrics: &Metrics,
    clock: SharedClock,
    runtime: Handle,
) -> Result<Log, Error> {
    let key = imported.key()?;
    let snapshot = snapshot(&*disk, imported.kind, &imported.origin, &key)?;
    let size = snapshot.size();
    let record = imported.identity_record(&name)?;
    let identity = LogIdentity {
        name,
        kind: imported.kind,
        origin: imported.origin,
    };
    let no_key = NoKey {
        public_key: key.public_key().clone(),
        algorithm: key.algorithm(),
    };
    let signer = CheckpointSigner::new(key, Arc::new(no_key), runtime)?;
    let tree = Arc::new(Tree::new(
        identity.kind,
        disk.clone(),
        snapshot,
        Overlay::default(),
    ));
    let filed = size >> TILE_HEIGHT << TILE_HEIGHT;
    let index = dedup::load::open(&tree, record.keyed()?, filed)?;
    let intake = Arc::new(Intake::new(NOTHING, index, clock));
    // As a frozen log of our own after a start.
    intake.settle_freeze(&Ok(()));
    let metrics = metrics.of(&identity.name);
    metrics.at_size(size);
    let writer = Writer::open(disk, record.checksum_key()?, 0, 0, Scan::default())?;
    let compactor = Compactor::new(tree.clone(), intake.clone(), metrics.clone());
    let publisher = Publisher::new(
        PUBLISHED,
        tree.clone(),
        writer.segments(),
        intake.clone(),
        compactor,
        size,
    );
    Ok(Log {
        inner: Arc::new(Inner {
            identity,
            record,
            signer,
            intake,
            tree,
            publisher: Arc::new(publisher),
            metrics,
            strict_files: false,
            notes: Notes::default(),
            publication: OnceLock::new(),
            threads: Mutex::new(None),
        }),
    })
}

/// No entry is queued.
const NOTHING: Limits = Limits {
    queue_entries: 0,
    queue_bytes: 0,
    batch_entries: 0,
    batch_bytes: 0,
};
/// No file is written.
const PUBLISHED: PublishOptions = PublishOptions {
    interval: Duration::MAX,
    static_partials: false,
    strict_files: false,
    backlog_bytes: 0,
};

/// The state that the checkpoint names, from the files of its right edge.
pub(crate) fn snapshot(
    disk: &dyn Disk,
    kind: Kind,
    origin: &str,
    key: &NoteKey,
) -> Result<Snapshot, Error> {
    let path = format!("{PUBLIC}/checkpoint");
    let note = read(disk, &path)?;
    let opened = Checkpoint::open(&note, origin, std::slice::from_ref(key))
        .map_err(|error| Error::corrupt(&path, error.to_string()))?;
    let checkpoint = opened.checkpoint();
    let edge = RightEdge::load(checkpoint.size, |id| {
        let bytes = read(disk, &public_path(id))?;
        sealwright_tlog::tile::parse_tile(&bytes)
            .map_err(|error| Error::corrupt(public_path(id), error.to_string()))
    })?;
    if edge.root() != checkpoint.root {
        return Err(Error::corrupt(
            path,
            "the tiles of the right edge do not lead to its root",
        ));
    }
    let partial = partial(disk, kind, &edge)?;
    let time_ms = opened
        .signatures()
        .iter()
        .find_map(|signature| signature.time_ms)
        .unwrap_or(0);
    Ok(Snapshot {
        root: checkpoint.root,
        note: note.into(),
        time_ms,
        edge,
        partial,
        frozen: true,
    })
}

/// The entries behind the last full bundle.
fn partial(disk: &dyn Disk, kind: Kind, edge: &RightEdge) -> Result<Vec<StoredLeaf>, Error> {
    let size = edge.size();
    let id = TileId::in_tree(kind.bundle(), size >> TILE_HEIGHT, size);
    let Some(id) = id.filter(|id| !id.is_full()) else {
        return Ok(Vec::new());
    };
    let path = public_path(id);
    let wrong = |problem: String| Error::corrupt(&path, problem);
    let bytes = bytes::Bytes::from(read(disk, &path)?);
    let leaves = kind
        .split_bundle(&bytes)
        .map_err(|error| wrong(error.to_string()))?;
    let mut stored = Vec::with_capacity(leaves.len());
    let mut hashes = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let facts = kind.facts(leaf).map_err(|error| wrong(error.to_string()))?;
        hashes.push(facts.leaf_hash);
        stored.push(StoredLeaf {
            stored: bytes.slice_ref(leaf),
            identity: facts.identity,
            attachment: bytes::Bytes::new(),
        });
    }
    let expected = edge.tile(0).map(|tile| tile.hashes().to_vec());
    if expected.as_ref() != Some(&hashes) {
        return Err(wrong("its entries are not those of the tree".to_owned()));
    }
    Ok(stored)
}

fn read(disk: &dyn Disk, path: &str) -> Result<Vec<u8>, Error> {
    let bytes = disk
        .read(path)
        .map_err(|error| Error::disk("reading", path, error))?;
    bytes.ok_or_else(|| Error::corrupt(path, "it is missing"))
}

#[cfg(test)]
mod tests;
