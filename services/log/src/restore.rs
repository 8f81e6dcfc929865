//! Putting a log right whose folder came back from a backup: finding out what it lost, and fetching it from a mirror.
//!
//! ```text
//! inspect    what the folder itself holds, and what mirrors and witnesses remember of the log
//! fetch      every tile and bundle of the larger tree, each led to the root that the mirror's checkpoint signs
//! switch     a new write-ahead log of one frame with that very checkpoint: nothing is signed again
//! ```
//!
//! `restore.json` lies in the folder from before the first change to after the last. While it does, the log is not opened,
//! and a restore that is run again goes on: what was fetched is verified and kept. The write-ahead log of the backup is kept
//! as `wal.before-restore-<time>`.

use std::collections::HashMap;
use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::future::join_all;
use sealwright_crypto::{Signer, sha256};
use sealwright_host::SharedClock;
use sealwright_tlog::hash::merkle_tree_hash;
use sealwright_tlog::proof::{HashReader, Node, consistency_proof};
use sealwright_tlog::tile::{
    TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, locate, node_from_tile, parse_tile,
};
use sealwright_tlog::{Checkpoint, Hash, Note, NoteKey, RightEdge, verify_consistency};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::task::spawn_blocking;

use crate::check::{Known, Sources, Walk, named_issuers};
use crate::config::LogConfig;
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::frozen::is_frozen;
use crate::fsck::{edge_from_mirror, log_key};
use crate::guard::{Accepted, Memory};
use crate::head::{HeadRow, HeadStore as _, SqliteHead};
use crate::identity::IdentityRecord;
use crate::kind::Kind;
use crate::log::{Log, TreeHead};
use crate::metrics::Metrics;
use crate::mirror::{LogKeys, Mirror, Signed};
use crate::open::{STATE_FILE, take_lock};
use crate::options::EngineParts;
use crate::place;
use crate::publication::{COSIGNED_FILE, kept_note};
use crate::publisher::CHECKPOINT_FILE;
use crate::recover;
use crate::tree::{Overlay, PUBLIC, Tree, edge_from_files, issuer_path, whole_bundles};
use crate::wal::{self, ChecksumKey, Frame};

/// A restore is under way while this file is there.
pub const RESTORE_FILE: &str = "restore.json";
/// Where the write-ahead log is, and where the next one is made.
const WAL: &str = "wal";
const NEXT_WAL: &str = "wal.restored";
/// Tiles of a mirror that are kept while a proof is made.
const KEPT_TILES: usize = 256;

/// A tree that somebody signed for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statement {
    /// Who says it.
    pub by: String,
    /// Tree size.
    pub size: u64,
    /// Root hash, hexadecimal.
    pub root: String,
}

impl Statement {
    fn new(by: impl Into<String>, size: u64, root: &Hash) -> Self {
        Self {
            by: by.into(),
            size,
            root: hex::encode(root),
        }
    }

    fn root(&self) -> Result<Hash, Error> {
        let bytes = hex::decode(&self.root).ok();
        let root = bytes.and_then(|bytes| bytes.try_into().ok());
        root.ok_or_else(|| Error::corrupt(RESTORE_FILE, "a root is not 64 hexadecimal digits"))
    }
}

/// What the folder holds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Entries up to the end of the write-ahead log, when it can be read and nothing in the folder contradicts it.
    pub size: Option<u64>,
    /// Why it cannot.
    pub damage: Option<String>,
    /// Entries up to the last frame of a write-ahead log that is damaged before it, where nothing came after that frame: what
    /// has to be found to have everything.
    pub last_frame: Option<u64>,
    /// Entries in the tree that a restore was to fetch when it was cut short: somebody signed for them.
    pub begun: Option<u64>,
    /// It takes no entries.
    pub frozen: bool,
    /// What checkpoints in the folder say. Whatever is restored must extend them.
    pub statements: Vec<Statement>,
}

/// Somebody's answer to what size the log had.
#[derive(Debug, Clone)]
pub struct Remembered {
    /// Who.
    pub memory: Memory,
    /// A file of the log's own folder, which cannot know what was lost with it.
    pub own: bool,
    /// The checkpoint, nothing when there is none, or why there is no answer.
    pub answer: Result<Option<Signed>, String>,
}

impl Remembered {
    /// The size it remembers; 0 without an answer.
    pub fn size(&self) -> u64 {
        self.signed().map_or(0, |signed| signed.checkpoint.size)
    }

    /// The checkpoint, when there is one.
    pub fn signed(&self) -> Option<&Signed> {
        self.answer.as_ref().ok().and_then(Option::as_ref)
    }
}

/// What a restore has to go by.
#[derive(Debug, Clone)]
pub struct Inspection {
    /// The folder.
    pub own: Own,
    /// The others.
    pub remembered: Vec<Remembered>,
}

impl Inspection {
    /// Entries in the largest tree that anybody knows of.
    pub fn known(&self) -> u64 {
        let own = self.own.statements.iter().map(|statement| statement.size);
        let others = self.remembered.iter().map(Remembered::size);
        let all = own.chain(others).chain(self.own.begun);
        all.max().unwrap_or(0)
    }

    /// The mirror with the largest tree, if that is larger than what the folder holds.
    pub fn supply(&self) -> Option<(&Mirror, &Signed)> {
        let mirrors = self.remembered.iter().filter_map(|one| {
            let mirror = one.memory.as_mirror()?;
            Some((mirror, one.signed()?, one.own))
        });
        // Of two that reach as far, not the folder's own files: an interrupted restore has put the checkpoint there already.
        let best = mirrors.max_by_key(|(_, signed, own)| (signed.checkpoint.size, !own));
        let best = best.map(|(mirror, signed, _)| (mirror, signed))?;
        let size = best.1.checkpoint.size;
        let larger = self.own.size.is_none_or(|own| size > own);
        // What was begun is not ended with less: the folder's own files would do, while the mirror is away.
        let ends = self.own.begun.is_none_or(|begun| size >= begun);
        (larger && ends).then_some(best)
    }

    /// Somebody who says that the log had exactly `size` entries, when nobody knows of more: one outside, or, in a
    /// folder that is in its place and so not old, the last frame of a write-ahead log that is damaged before it.
    pub fn voucher(&self, size: u64, in_place: bool) -> Option<&str> {
        if self.known() > size {
            return None;
        }
        if in_place && self.own.last_frame == Some(size) {
            return Some("the last frame of its own write-ahead log");
        }
        let outside = self.remembered.iter().filter(|one| !one.own);
        let mut vouching = outside.filter(|one| one.signed().is_some() && one.size() == size);
        vouching.next().map(|one| one.memory.name())
    }
}

/// A log's folder, locked, to be restored.
#[derive(Debug)]
pub struct Restore {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    kind: Kind,
    key: NoteKey,
    checksum: ChecksumKey,
    _lock: Box<dyn Debug + Send + Sync>,
}

/// What is to be restored, while it is.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Marker {
    mirror: String,
    /// The mirror's checkpoint.
    note: String,
    statements: Vec<Statement>,
    last_frame: Option<u64>,
    /// Number and epoch of the last frame of the write-ahead log that is replaced.
    seq: u64,
    epoch: u64,
    /// Unix seconds.
    begun: i64,
}

impl Restore {
    /// Takes the folder. Nobody else may have it open.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NotALog`], or a folder that cannot be read.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let not_a_log = || Error::NotALog {
            dir: dir.to_owned(),
        };
        if !dir.join(crate::identity::IDENTITY_FILE).exists() {
            return Err(not_a_log());
        }
        let disk = FileDisk::open(dir)
            .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let lock = take_lock(&disk, dir)?;
        let record = IdentityRecord::read(&*disk)?.ok_or_else(not_a_log)?;
        Ok(Self {
            dir: dir.to_owned(),
            kind: record.kind,
            key: log_key(&record)?,
            checksum: record.checksum_key()?,
            disk,
            _lock: lock,
        })
    }

    /// Origin of the log.
    pub fn origin(&self) -> &str {
        self.key.name()
    }

    /// The key whose signature makes a checkpoint one of this log.
    pub fn keys(&self) -> LogKeys {
        LogKeys {
            origin: self.key.name().to_owned(),
            keys: vec![self.key.clone()],
        }
    }

    /// The mirror of a restore that was begun and did not end.
    ///
    /// # Errors
    /// When the note about it cannot be read.
    pub fn unfinished(&self) -> Result<Option<String>, Error> {
        Ok(self.marker()?.map(|marker| marker.mirror))
    }

    /// Looks at the folder, and asks everybody who may remember the log. Changes nothing.
    ///
    /// # Errors
    /// When the folder cannot be read at all. That somebody does not answer is part of what is found.
    pub async fn inspect(&self, memories: Vec<Memory>) -> Result<Inspection, Error> {
        let own = self.look().await?;
        let keys = self.keys();
        let public = Mirror::parse(PUBLIC, &self.dir)?;
        let all = memories.into_iter().map(|memory| (memory, false));
        let all = all.chain([(Memory::mirror(public), true)]);
        let asked = all.map(|(memory, own)| {
            let keys = &keys;
            async move {
                let answer = memory.checkpoint(keys).await;
                Remembered {
                    answer: answer.map_err(|error| error.to_string()),
                    memory,
                    own,
                }
            }
        });
        let remembered = join_all(asked).await;
        Ok(Inspection { own, remembered })
    }

    /// Everything that the folder says about itself.
    async fn look(&self) -> Result<Own, Error> {
        if let Some(marker) = self.marker()? {
            let keys = std::slice::from_ref(&self.key);
            let begun = Checkpoint::open(marker.note.as_bytes(), self.key.name(), keys)?;
            return Ok(Own {
                damage: Some("a restore was begun and did not end".to_owned()),
                begun: Some(begun.checkpoint().size),
                last_frame: marker.last_frame,
                statements: marker.statements,
                ..Own::default()
            });
        }
        let (disk, dir, kind) = (self.disk.clone(), self.dir.clone(), self.kind);
        let (key, checksum) = (self.key.clone(), self.checksum);
        let done = spawn_blocking(move || {
            let row = SqliteHead::row_at(&dir.join(STATE_FILE), key.name());
            let mut own = Own {
                statements: statements(&*disk, &key, checksum, row.as_ref().ok()),
                ..Own::default()
            };
            let row = row.unwrap_or_default();
            match recover::read(&disk, kind, &key, checksum, row.as_ref()) {
                Ok(recovered) => match recovered.snapshot {
                    Some(snapshot) => {
                        (own.size, own.frozen) = (Some(snapshot.size()), snapshot.frozen);
                    }
                    None => own.damage = Some("the write-ahead log holds no frame".to_owned()),
                },
                Err(
                    error @ (Error::Corrupt { .. }
                    | Error::RolledBack { .. }
                    | Error::Forked { .. }),
                ) => {
                    own.damage = Some(error.to_string());
                    own.last_frame = last_frame(&*disk, &key, checksum)?;
                }
                Err(error) => return Err(error),
            }
            Ok(own)
        });
        done.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Whether the tree that `signed` speaks of, and the mirror holds, extends everything that the folder has ever said.
    ///
    /// # Errors
    /// [`Error::MirrorForked`] when it does not; [`Error::MirrorInvalid`] when the mirror cannot prove it.
    pub async fn require_extension(
        &self,
        mirror: &Mirror,
        signed: &Signed,
        own: &Own,
    ) -> Result<(), Error> {
        let (mirror, kind) = (mirror.clone(), self.kind);
        let (checkpoint, statements) = (signed.checkpoint.clone(), own.statements.clone());
        let done = spawn_blocking(move || {
            let tiles = MirrorTiles::new(&mirror, kind, &checkpoint)?;
            for statement in &statements {
                if statement.size > checkpoint.size {
                    return Err(Error::MirrorInvalid {
                        mirror: mirror.name().to_owned(),
                        file: "checkpoint".to_owned(),
                        problem: format!(
                            "it is of {} entries, and {} knows {}",
                            checkpoint.size, statement.by, statement.size
                        ),
                    });
                }
                if statement.size == 0 {
                    continue;
                }
                let proof = consistency_proof(statement.size, checkpoint.size, &tiles)?;
                verify_consistency(
                    statement.size,
                    &statement.root()?,
                    checkpoint.size,
                    &checkpoint.root,
                    &proof,
                )
                .map_err(|_| Error::MirrorForked {
                    mirror: mirror.name().to_owned(),
                    size: checkpoint.size,
                })?;
            }
            Ok(())
        });
        done.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Makes this folder the log that `mirror` holds under the checkpoint `signed`. What is here already is verified and kept.
    /// `progress` is told how many entries are verified. Gives the number of files that were fetched.
    ///
    /// The caller has asked [`Restore::require_extension`] before. Running it again after an interruption goes on.
    ///
    /// # Errors
    /// [`Error::MirrorInvalid`] when a file of the mirror does not lead to the signed root, or is not there; what is fetched
    /// by then stays.
    pub async fn fetch(
        &self,
        mirror: &Mirror,
        signed: &Signed,
        own: &Own,
        now: i64,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<usize, Error> {
        self.mark(mirror, signed, own, now)?;
        let work = Fetch {
            dir: self.dir.clone(),
            disk: self.disk.clone(),
            kind: self.kind,
            key: self.key.clone(),
            checksum: self.checksum,
            mirror: mirror.clone(),
            signed: signed.clone(),
            now,
        };
        let done = spawn_blocking(move || work.run(&progress));
        done.await.unwrap_or_else(|_| Err(panicked()))
    }

    /// Gives up a restore that was begun, where the folder is still what it was before: its mirror turned out to have something
    /// wrong, or is gone. What was fetched stays; it is of the larger tree, and so not in the way of the smaller one.
    ///
    /// The log can be opened from then on, and entries that it takes would be a fork. So the caller freezes it next; a process
    /// that is killed in between leaves a folder like one that was never restored.
    ///
    /// # Errors
    /// Why the folder alone is no log: then a mirror has to be found.
    pub async fn abandon(&self) -> Result<(), Error> {
        let (disk, dir, kind) = (self.disk.clone(), self.dir.clone(), self.kind);
        let (key, checksum) = (self.key.clone(), self.checksum);
        let done = spawn_blocking(move || {
            let row = SqliteHead::row_at(&dir.join(STATE_FILE), key.name()).unwrap_or_default();
            let recovered = recover::read(&disk, kind, &key, checksum, row.as_ref())?;
            if recovered.snapshot.is_none() {
                return Err(Error::corrupt(WAL, "it holds no frame"));
            }
            for file in [NEXT_WAL, RESTORE_FILE] {
                let removed = disk.remove(file);
                removed.map_err(|error| Error::disk("removing", file, error))?;
            }
            Ok(())
        });
        done.await.unwrap_or_else(|_| Err(panicked()))
    }

    fn marker(&self) -> Result<Option<Marker>, Error> {
        let bytes = self.disk.read(RESTORE_FILE);
        let bytes = bytes.map_err(|error| Error::disk("reading", RESTORE_FILE, error))?;
        let marker = bytes.map(|bytes| serde_json::from_slice(&bytes));
        let marker = marker.transpose();
        marker.map_err(|error| Error::corrupt(RESTORE_FILE, error.to_string()))
    }

    /// Says that a restore is under way, and keeps what the next run could not find out any more.
    fn mark(&self, mirror: &Mirror, signed: &Signed, own: &Own, now: i64) -> Result<(), Error> {
        let before = self.marker()?;
        let (mut seq, mut epoch) = (0, 0);
        if let Some(before) = &before {
            (seq, epoch) = (before.seq, before.epoch);
        } else {
            // Of one that is damaged, what can be read counts.
            if let Some((frame, _)) = wal::newest(&*self.disk, self.checksum)? {
                (seq, epoch) = (frame.seq, frame.epoch);
            }
        }
        let marker = Marker {
            mirror: mirror.name().to_owned(),
            note: signed.note.clone(),
            statements: own.statements.clone(),
            last_frame: own.last_frame,
            seq,
            epoch,
            begun: before.map_or(now, |before| before.begun),
        };
        self.write_json(RESTORE_FILE, &marker)
    }

    fn write_json(&self, file: &str, value: &impl Serialize) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(value)
            .map_err(|error| Error::corrupt(file, error.to_string()))?;
        self.disk
            .put(&[(file.to_owned(), text)])
            .map_err(|error| Error::disk("writing", file, error))
    }

    /// The folder is in its place: the note that it was copied goes.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn settle(&self) -> Result<(), Error> {
        place::remember(&self.dir)
    }

    /// Overrides what others know up to `size`: the log goes on beside the tree that they have seen. This is a fork, and
    /// everybody who compares will find it.
    ///
    /// # Errors
    /// When that cannot be written down.
    pub fn accept_fork(&self, size: u64, by: &SharedClock) -> Result<(), Error> {
        tracing::warn!(target: "audit", { log.origin = self.origin(), size, at = by.unix() },
            "an operator overrides what mirrors and witnesses know of this log");
        Accepted { size }.write(&self.dir)
    }
}

fn panicked() -> Error {
    Error::Stopped {
        cause: "the restore panicked".into(),
    }
}

/// Where a damaged write-ahead log ends, when that can be told.
fn last_frame(disk: &dyn Disk, key: &NoteKey, checksum: ChecksumKey) -> Result<Option<u64>, Error> {
    let Some((frame, true)) = wal::newest(disk, checksum)? else {
        return Ok(None);
    };
    let opened = Checkpoint::open(frame.note.as_bytes(), key.name(), std::slice::from_ref(key));
    Ok(opened.ok().map(|opened| opened.checkpoint().size))
}

/// What signed checkpoints in the folder say: the last that the write-ahead log holds, the public one, the head's.
fn statements(
    disk: &dyn Disk,
    key: &NoteKey,
    checksum: ChecksumKey,
    row: Option<&Option<HeadRow>>,
) -> Vec<Statement> {
    let mut notes = Vec::new();
    // Of one that is damaged, what can be read counts: it was signed.
    let newest = wal::newest(disk, checksum).ok().flatten();
    notes.extend(newest.map(|(frame, _)| ("the write-ahead log", frame.note.into_bytes())));
    let public = disk.read(CHECKPOINT_FILE).ok().flatten();
    notes.extend(public.map(|note| (CHECKPOINT_FILE, note)));
    notes.extend(kept_note(disk).map(|note| (COSIGNED_FILE, note)));
    let row = row.and_then(Option::as_ref);
    notes.extend(row.map(|row| (STATE_FILE, row.note.clone().into_bytes())));
    let keys = std::slice::from_ref(key);
    let opened = notes.into_iter().filter_map(|(by, note)| {
        let opened = Checkpoint::open(&note, key.name(), keys).ok()?;
        let checkpoint = opened.checkpoint();
        Some(Statement::new(by, checkpoint.size, &checkpoint.root))
    });
    opened.collect()
}

/// The right edge of a mirror's tree, which leads to the root that its checkpoint signs.
fn signed_edge(mirror: &Mirror, kind: Kind, checkpoint: &Checkpoint) -> Result<RightEdge, Error> {
    let edge = edge_from_mirror(mirror, kind, checkpoint.size)?;
    if edge.root() == checkpoint.root {
        return Ok(edge);
    }
    let size = checkpoint.size;
    let problem = format!("its tiles do not lead to its own checkpoint at size {size}");
    Err(mirror.invalid("tile", problem))
}

/// Node hashes from a mirror's tiles, each tile led to the right edge, and the edge to the signed root: what cannot be proven
/// with them is not in that tree.
struct MirrorTiles<'a> {
    mirror: &'a Mirror,
    kind: Kind,
    edge: RightEdge,
    kept: Mutex<HashMap<TileId, Vec<u8>>>,
}

impl<'a> MirrorTiles<'a> {
    fn new(mirror: &'a Mirror, kind: Kind, checkpoint: &Checkpoint) -> Result<Self, Error> {
        Ok(Self {
            mirror,
            kind,
            edge: signed_edge(mirror, kind, checkpoint)?,
            kept: Mutex::default(),
        })
    }

    fn tile(&self, level: u8, index: u64) -> Result<Vec<u8>, Error> {
        let not_there = || Error::NotInTree(format!("tile {index} of level {level}"));
        let id = TileId::in_tree(TileKind::Hashes(level), index, self.edge.size());
        let id = id.ok_or_else(not_there)?;
        if !id.is_full() {
            let tile = self.edge.tile(level).ok_or_else(not_there)?;
            return Ok(tile.bytes(id.width));
        }
        if let Some(bytes) = self.kept().get(&id) {
            return Ok(bytes.clone());
        }
        let above = parse_tile(&self.tile(level + 1, index >> TILE_HEIGHT)?)?;
        let expected = above.get((index % u64::from(TILE_WIDTH)) as usize);
        let bytes = self.mirror.tile_blocking(self.kind, id)?;
        let bytes = bytes.ok_or_else(|| self.mirror.invalid(&id.to_string(), "it is missing"))?;
        let own = parse_tile(&bytes).unwrap_or_default();
        if expected != Some(&merkle_tree_hash(&own)) {
            let problem = "it does not lead to the signed root";
            return Err(self.mirror.invalid(&id.to_string(), problem));
        }
        let mut kept = self.kept();
        if kept.len() >= KEPT_TILES {
            kept.clear();
        }
        kept.insert(id, bytes.clone());
        Ok(bytes)
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<TileId, Vec<u8>>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HashReader for MirrorTiles<'_> {
    type Error = Error;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Error> {
        let hashes = nodes.iter().map(|node| {
            let location = locate(*node);
            let bytes = self.tile(location.level, location.index)?;
            Ok(node_from_tile(location, &bytes)?)
        });
        hashes.collect()
    }
}

/// The part of a restore that changes the folder.
struct Fetch {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    kind: Kind,
    key: NoteKey,
    checksum: ChecksumKey,
    mirror: Mirror,
    signed: Signed,
    now: i64,
}

impl Fetch {
    /// The whole story: files first, then the frame, then the checkpoint, then the head, then the switch.
    fn run(&self, progress: &dyn Fn(u64)) -> Result<usize, Error> {
        let edge = signed_edge(&self.mirror, self.kind, &self.signed.checkpoint)?;
        let fetched = self.files(&edge, progress)?;
        let leaves = self.rest(&edge)?;
        let epoch = self.write_frame(&edge, leaves)?;
        self.put(CHECKPOINT_FILE, self.signed.note.clone().into_bytes())?;
        self.head(epoch)?;
        self.switch()?;
        place::remember(&self.dir)?;
        let removed = self.disk.remove(RESTORE_FILE);
        removed.map_err(|error| Error::disk("removing", RESTORE_FILE, error))?;
        Ok(fetched)
    }

    fn put(&self, file: &str, bytes: Vec<u8>) -> Result<(), Error> {
        self.disk
            .put(&[(file.to_owned(), bytes)])
            .map_err(|error| Error::disk("writing", file, error))
    }

    /// Every full tile and bundle, verified where it is here, fetched where it is not.
    fn files(&self, edge: &RightEdge, progress: &dyn Fn(u64)) -> Result<usize, Error> {
        let known = Known {
            disk: &*self.disk,
            kind: self.kind,
            edge,
            overlay: &Overlay::default(),
            partial: &[],
            filed: whole_bundles(edge.size()),
        };
        let sources = Sources {
            repair: true,
            mirrors: std::slice::from_ref(&self.mirror),
            wal: None,
            now: self.now,
        };
        let mut walk = Walk::new(&known, &sources, progress);
        walk.all()?;
        let missing = walk.faults.iter().find(|fault| fault.repaired.is_none());
        if let Some(fault) = missing {
            let file = fault.file.trim_start_matches("public/");
            let problem = "it is not there, or does not lead to the signed root";
            return Err(self.mirror.invalid(file, problem));
        }
        Ok(walk.faults.len())
    }

    /// The entries of the bundle that is not full.
    fn rest(&self, edge: &RightEdge) -> Result<Vec<Bytes>, Error> {
        let Some(tile) = edge.tile(0) else {
            return Ok(Vec::new());
        };
        let id = TileId {
            kind: self.kind.bundle(),
            index: edge.size() >> TILE_HEIGHT,
            width: tile.width(),
        };
        let invalid = |problem: String| self.mirror.invalid(&id.to_string(), problem);
        let bytes = self.mirror.tile_blocking(self.kind, id)?;
        let bytes: Bytes = bytes
            .ok_or_else(|| invalid("it is missing".to_owned()))?
            .into();
        let leaves = self.kind.split_bundle(&bytes);
        let leaves = leaves.map_err(|error| invalid(error.to_string()))?;
        self.issuers(&bytes)?;
        let hashes = leaves.iter().map(|leaf| self.kind.facts(leaf));
        let hashes: Result<Vec<Hash>, _> = hashes
            .map(|facts| facts.map(|facts| facts.leaf_hash))
            .collect();
        if hashes.map_err(|error| invalid(error.to_string()))? != tile.hashes() {
            return Err(invalid("its entries are not those in the tree".to_owned()));
        }
        Ok(leaves
            .into_iter()
            .map(|leaf| bytes.slice_ref(leaf))
            .collect())
    }

    /// The issuers that entries in no full bundle name.
    fn issuers(&self, bundle: &[u8]) -> Result<(), Error> {
        for fingerprint in named_issuers(self.kind, bundle) {
            let path = issuer_path(&fingerprint);
            let here = self.disk.read(&path);
            let here = here.map_err(|error| Error::disk("reading", &path, error))?;
            if here.is_some_and(|bytes| sha256(&bytes) == fingerprint) {
                continue;
            }
            let name = hex::encode(fingerprint);
            let there = self.mirror.issuer_blocking(&name)?;
            let there = there.filter(|bytes| sha256(bytes) == fingerprint);
            let bytes = there.ok_or_else(|| {
                let file = format!("issuer/{name}");
                self.mirror
                    .invalid(&file, "it is missing, or another certificate")
            })?;
            self.put(&path, bytes)?;
        }
        Ok(())
    }

    /// A write-ahead log of one frame, beside the one that is still there. Gives the frame's epoch.
    fn write_frame(&self, edge: &RightEdge, leaves: Vec<Bytes>) -> Result<u64, Error> {
        let bytes = self.disk.read(RESTORE_FILE);
        let bytes = bytes.map_err(|error| Error::disk("reading", RESTORE_FILE, error))?;
        let marker: Marker = serde_json::from_slice(&bytes.unwrap_or_default())
            .map_err(|error| Error::corrupt(RESTORE_FILE, error.to_string()))?;
        let (note, time_ms) = self.own_signature()?;
        let before = edge_from_files(&*self.disk, whole_bundles(edge.size()))?;
        let frame = Frame {
            epoch: marker.epoch + 1,
            seq: marker.seq + 1,
            first_index: before.size(),
            time_ms,
            prev_root: before.root(),
            new_root: edge.root(),
            note,
            leaves,
            attachments: Vec::new(),
            frozen: self.kind == Kind::Rekor && is_frozen(&self.signed.checkpoint),
        };
        let bytes = frame.encode(self.checksum);
        let path = format!("{NEXT_WAL}/{:020}.wal", 1);
        let failed = |action| {
            let path = path.clone();
            move |error| Error::disk(action, path, error)
        };
        self.disk.remove(NEXT_WAL).map_err(failed("removing"))?;
        let segment = self
            .disk
            .create_segment(&path, bytes.len() as u64)
            .map_err(failed("making"))?;
        segment.write(0, &bytes).map_err(failed("writing"))?;
        segment.sync().map_err(failed("syncing"))?;
        Ok(frame.epoch)
    }

    /// The checkpoint with the log's own signature alone, as frames hold it, and when it was signed where that is known.
    fn own_signature(&self) -> Result<(String, u64), Error> {
        let keys = std::slice::from_ref(&self.key);
        let opened = Checkpoint::open(self.signed.note.as_bytes(), self.key.name(), keys)?;
        let signed_ms = opened
            .signatures()
            .iter()
            .find_map(|signature| signature.time_ms);
        let mut note = Note::new(opened.note().text())?;
        let own = opened.note().signatures().iter().find(|signature| {
            signature.name() == self.key.name() && signature.key_id() == self.key.key_id()
        });
        own.into_iter().for_each(|own| note.push(own.clone()));
        let now_ms = u64::try_from(self.now).unwrap_or(0).saturating_mul(1000);
        Ok((note.to_string(), signed_ms.unwrap_or(now_ms)))
    }

    /// The head follows, so that the next start finds what it expects. One that cannot be read is made anew by that start.
    fn head(&self, epoch: u64) -> Result<(), Error> {
        let path = self.dir.join(STATE_FILE);
        if !path.exists() {
            return Ok(());
        }
        let store = SqliteHead::open(&path, self.key.name(), Handle::current());
        let mut store = match store {
            Ok(store) => Box::new(store),
            Err(_) => return crate::check::put_aside(&*self.disk, STATE_FILE, self.now),
        };
        let row = store.load();
        let next = |row: &HeadRow| HeadRow {
            epoch: epoch.max(row.epoch),
            size: self.signed.checkpoint.size,
            root: self.signed.checkpoint.root,
            note: self.signed.note.clone(),
            published: whole_bundles(self.signed.checkpoint.size),
        };
        let done = match &row {
            Ok(Some(row)) => store.replace(Some(row), &next(row)),
            _ => Ok(()),
        };
        store.close();
        match row {
            Ok(_) => done,
            Err(_) => crate::check::put_aside(&*self.disk, STATE_FILE, self.now),
        }
    }

    /// The new write-ahead log takes the place of the old one. Between the two names the marker keeps the log closed.
    fn switch(&self) -> Result<(), Error> {
        let failed = |error| Error::disk("switching", WAL, error);
        let there = self.disk.list(WAL).map_err(failed)?;
        if !there.is_empty() {
            self.disk.rename(WAL, &self.aside()?).map_err(failed)?;
        }
        self.disk.remove(WAL).map_err(failed)?;
        self.disk.rename(NEXT_WAL, WAL).map_err(failed)
    }

    /// A name for the old write-ahead log. One second may see a restore that is cut short after the switch, and the next.
    fn aside(&self) -> Result<String, Error> {
        let base = format!("{WAL}.before-restore-{}", self.now);
        let (mut name, mut attempt) = (base.clone(), 1);
        loop {
            let there = self.disk.list(&name);
            if there
                .map_err(|error| Error::disk("listing", &name, error))?
                .is_empty()
            {
                return Ok(name);
            }
            name = format!("{base}-{attempt}");
            attempt += 1;
        }
    }
}

/// Freezes a log that is closed at the size it has, for good: it is opened, signs its last checkpoint, and is closed again.
///
/// The last checkpoint is of the size that the folder has. Should the log have been larger, then its tree extends this one,
/// so that the two do not contradict each other; and what is found of it later can still be added by a restore.
///
/// # Errors
/// As [`Log::open`] and [`Log::freeze`].
pub async fn freeze_at_rest(
    config: &LogConfig,
    dir: &Path,
    signer: Arc<dyn Signer>,
    clock: SharedClock,
) -> Result<TreeHead, Error> {
    let parts = EngineParts {
        signer,
        clock,
        metrics: Metrics::default(),
        cosigner: None,
    };
    let log = Log::open(dir, config.identity()?, config.engine_options()?, parts).await?;
    let frozen = log.freeze().await;
    log.shutdown().await;
    frozen
}

/// The root of every size of the tree that is in the folder of a closed log, for those who judge statements by it.
///
/// # Errors
/// When the log cannot be read, or has not had that size.
pub async fn root_at_rest(dir: &Path, size: u64) -> Result<Hash, Error> {
    let dir = dir.to_owned();
    let done = spawn_blocking(move || {
        let disk = FileDisk::open(&dir)
            .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
        let disk: Arc<dyn Disk> = Arc::new(disk);
        let record = IdentityRecord::read(&*disk)?.ok_or(Error::NotALog { dir })?;
        let (key, checksum) = (log_key(&record)?, record.checksum_key()?);
        let recovered = recover::read(&disk, record.kind, &key, checksum, None)?;
        let snapshot = recovered.snapshot;
        let snapshot = snapshot.ok_or(Error::NotInTree(format!("tree of {size} entries")))?;
        Tree::new(record.kind, disk, snapshot, recovered.overlay).root_at(size)
    });
    done.await.unwrap_or_else(|_| Err(panicked()))
}
