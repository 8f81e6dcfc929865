//! Checks every hash of a log from its leaves to its checkpoint, and puts right what can be put right.
//!
//! Works on a folder whose log is not open, or a copy of one. It goes on after a fault where it can, names the file of each,
//! and keeps one tile a level in memory, however large the log is. Without [`FsckOptions::repair`] it changes nothing.

use std::path::Path;
use std::sync::Arc;

use sealwright_crypto::{PublicKey, base64};
use sealwright_tlog::edge::FullTile;
use sealwright_tlog::hash::merkle_tree_hash;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, parse_tile};
use sealwright_tlog::{Checkpoint, Hash, NoteKey, RightEdge};
use tokio::task::spawn_blocking;

use crate::attachments;
use crate::check::{Fault, Known, Sources, Walk, put_aside, replace};
use crate::dedup;
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::head::SqliteHead;
use crate::identity::{IDENTITY_FILE, IdentityRecord};
use crate::imported::{IMPORTED_FILE, ImportedRecord};
use crate::kind::Kind;
use crate::mirror::Mirror;
use crate::open::{LOCK_FILE, STATE_FILE};
use crate::publisher::CHECKPOINT_FILE;
use crate::recover::{self, Recovered};
use crate::tree::{Overlay, Snapshot, StoredLeaf, public_path, whole_bundles};
use crate::wal::{self, ChecksumKey};

/// What a check found.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Origin of the log.
    pub origin: String,
    /// Entries in the write-ahead log's last checkpoint.
    pub size: u64,
    /// Entries whose bundle, leaf hash and path to the root were checked.
    pub entries: u64,
    /// Full tile files that were compared.
    pub tiles: u64,
    /// Everything that is wrong; empty for a sound log.
    pub faults: Vec<Fault>,
}

impl Report {
    /// True when nothing is wrong, or nothing is any more.
    pub fn is_sound(&self) -> bool {
        self.faults.iter().all(|fault| fault.repaired.is_some())
    }

    pub(crate) fn fault(&mut self, file: impl Into<String>, problem: impl Into<String>) {
        self.faults.push(Fault {
            file: file.into(),
            problem: problem.into(),
            repaired: None,
        });
    }
}

/// How to check.
#[derive(Debug, Clone, Default)]
pub struct FsckOptions {
    /// Put a right file in the place of a wrong one, where one can be found that leads to the signed root. The wrong one is
    /// kept as `FILE.damaged-<time>`.
    pub repair: bool,
    /// Where else files may be found, beside the log's own folder.
    pub mirrors: Vec<Mirror>,
    /// The time, Unix seconds.
    pub now: i64,
}

/// Checks the log in `dir`. Blocks; a large log takes as long as reading it. `state.db` is not looked at.
///
/// Fails when the folder cannot be read at all or holds no log; a fault in the log is in the report.
pub fn fsck(dir: &Path) -> Result<Report, Error> {
    Fsck::of(dir, &FsckOptions::default())?.run(&|_| {})
}

/// Checks the log in `dir`, `state.db` included, and repairs it if `options` say so. `progress` is told how many entries have
/// been checked so far.
///
/// # Errors
/// As [`fsck`]; with [`FsckOptions::repair`] also [`Error::Locked`] for a log that is open.
pub async fn fsck_with(
    dir: &Path,
    options: FsckOptions,
    progress: impl Fn(u64) + Send + 'static,
) -> Result<Report, Error> {
    let dir = dir.to_owned();
    let done = spawn_blocking(move || {
        let fsck = Fsck::of(&dir, &options)?;
        let _lock = if options.repair {
            let lock = fsck.disk.lock(LOCK_FILE);
            Some(lock.map_err(|error| match error.kind() {
                std::io::ErrorKind::WouldBlock => Error::Locked { dir: dir.clone() },
                _ => Error::disk("locking", LOCK_FILE, error),
            })?)
        } else {
            None
        };
        let mut report = fsck.run(&progress)?;
        fsck.check_head(&dir, &mut report)?;
        Ok(report)
    });
    done.await.map_err(|_| Error::Stopped {
        cause: "the check panicked".into(),
    })?
}

/// As [`fsck`], on any disk.
#[cfg(test)]
pub(crate) fn fsck_on(disk: Arc<dyn Disk>) -> Result<Report, Error> {
    Fsck::on(disk, Path::new(""), &FsckOptions::default())?.run(&|_| {})
}

/// One check of one folder.
struct Fsck<'a> {
    disk: Arc<dyn Disk>,
    record: IdentityRecord,
    key: NoteKey,
    checksum: ChecksumKey,
    /// A log that is only read here: there are files and no write-ahead log.
    imported: bool,
    options: &'a FsckOptions,
}

/// A right edge that leads to a signed root, and what else is known of its tree.
struct Trusted {
    edge: RightEdge,
    overlay: Overlay,
    partial: Vec<StoredLeaf>,
    filed: u64,
}

impl<'a> Fsck<'a> {
    fn of(dir: &Path, options: &'a FsckOptions) -> Result<Self, Error> {
        let files = [IDENTITY_FILE, IMPORTED_FILE];
        if !files.iter().any(|file| dir.join(file).exists()) {
            return Err(Error::NotALog {
                dir: dir.to_owned(),
            });
        }
        let disk = FileDisk::open(dir)
            .map_err(|error| Error::disk("opening", dir.display().to_string(), error))?;
        Self::on(Arc::new(disk), dir, options)
    }

    fn on(disk: Arc<dyn Disk>, dir: &Path, options: &'a FsckOptions) -> Result<Self, Error> {
        let not_a_log = || Error::NotALog {
            dir: dir.to_owned(),
        };
        let own = IdentityRecord::read(&*disk)?;
        let imported = own.is_none();
        let (record, key) = match own {
            Some(record) => {
                let key = log_key(&record)?;
                (record, key)
            }
            None => {
                let imported = ImportedRecord::read(&*disk)?.ok_or_else(not_a_log)?;
                (imported.identity_record("")?, imported.key()?)
            }
        };
        Ok(Self {
            key,
            checksum: record.checksum_key()?,
            imported,
            disk,
            record,
            options,
        })
    }

    fn run(&self, progress: &dyn Fn(u64)) -> Result<Report, Error> {
        let mut report = Report {
            origin: self.record.origin.clone(),
            ..Report::default()
        };
        self.check_checkpoint(&mut report)?;
        if self.imported {
            if let Some(trusted) = self.trust_files(&mut report)? {
                self.walk(&trusted, progress, &mut report)?;
                self.check_known_entries(&mut report)?;
            }
            return Ok(report);
        }
        // The same reading as at a start: write-ahead log, chain, roots, signatures, edge, public checkpoint.
        let read = recover::read(&self.disk, self.record.kind, &self.key, self.checksum, None);
        let trusted = match read {
            Ok(recovered) => self.trust_recovered(recovered, &mut report),
            Err(
                error @ (Error::Corrupt { .. } | Error::RolledBack { .. } | Error::Forked { .. }),
            ) => {
                let file = self.file_of(&error);
                if !report.faults.iter().any(|fault| fault.file == file) {
                    let problem = match error {
                        // The file is named beside it.
                        Error::Corrupt { problem, .. } => problem,
                        other => other.to_string(),
                    };
                    let remedy = if file.starts_with("wal") {
                        "; `sealwrightd restore` finds out whether the files have what it held"
                    } else {
                        ""
                    };
                    report.fault(file, format!("{problem}{remedy}"));
                }
                self.trust_files(&mut report)?
            }
            Err(error) => return Err(error),
        };
        if let Some(trusted) = trusted {
            self.walk(&trusted, progress, &mut report)?;
            self.check_attachments(trusted.filed, &mut report)?;
            self.check_known_entries(&mut report)?;
        }
        Ok(report)
    }

    fn trust_recovered(&self, recovered: Recovered, report: &mut Report) -> Option<Trusted> {
        let Some(snapshot) = recovered.snapshot else {
            let problem = match self.disk.list("wal") {
                Ok(names) if !names.is_empty() => {
                    "it holds no frame that log.json's walKey vouches for"
                }
                _ => "it holds no frame",
            };
            report.fault("wal", problem);
            return None;
        };
        report.size = snapshot.size();
        let Snapshot { edge, partial, .. } = snapshot;
        Some(Trusted {
            edge,
            overlay: recovered.overlay,
            partial,
            filed: whole_bundles(recovered.public_size),
        })
    }

    fn walk(
        &self,
        trusted: &Trusted,
        progress: &dyn Fn(u64),
        report: &mut Report,
    ) -> Result<(), Error> {
        let known = Known {
            disk: &*self.disk,
            kind: self.record.kind,
            edge: &trusted.edge,
            overlay: &trusted.overlay,
            partial: &trusted.partial,
            filed: trusted.filed,
        };
        let sources = Sources {
            repair: self.options.repair,
            mirrors: &self.options.mirrors,
            wal: Some(self.checksum),
            now: self.options.now,
        };
        let mut walk = Walk::new(&known, &sources, progress);
        walk.all()?;
        (report.entries, report.tiles) = (walk.seen.entries, walk.seen.tiles);
        // A tile that made the reading above fail is named by the walk, and more exactly.
        if !walk.faults.is_empty() {
            report.faults.retain(|fault| fault.file != "public/tile");
        }
        report.faults.append(&mut walk.faults);
        Ok(())
    }

    /// The signatures that a certificate log keeps beside entries that are in files.
    fn check_attachments(&self, filed: u64, report: &mut Report) -> Result<(), Error> {
        if self.record.kind != Kind::Ct {
            return Ok(());
        }
        for bundle in 0..filed >> TILE_HEIGHT {
            let from = self.record.attachments_from;
            let problem = attachments::problem(&*self.disk, &self.key, bundle, from)?;
            if let Some(problem) = problem {
                report.fault(attachments::path(bundle), problem);
            }
        }
        Ok(())
    }

    /// The index of known entries follows from the files; what is wrong with it is removed, and made again at a start.
    fn check_known_entries(&self, report: &mut Report) -> Result<(), Error> {
        let keyed = self.record.keyed()?;
        for (file, problem) in dedup::check::problems(&*self.disk, self.record.kind, &keyed)? {
            report.fault(&file, problem);
            if !self.options.repair {
                continue;
            }
            self.disk
                .remove(&file)
                .map_err(|error| Error::disk("removing", file, error))?;
            if let Some(fault) = report.faults.last_mut() {
                fault.repaired = Some("the entries, at the next start".into());
            }
        }
        Ok(())
    }

    /// The public checkpoint must be one. What replaces it is the newest checkpoint whose bundles are all in files.
    fn check_checkpoint(&self, report: &mut Report) -> Result<(), Error> {
        let Err(Error::Corrupt { file, problem }) = self.checkpoint() else {
            return Ok(());
        };
        report.fault(file, problem);
        if !self.options.repair {
            return Ok(());
        }
        let Some((note, from)) = self.find_checkpoint() else {
            return Ok(());
        };
        replace(&*self.disk, CHECKPOINT_FILE, note.into(), self.options.now)?;
        if let Some(fault) = report.faults.last_mut() {
            fault.repaired = Some(from);
        }
        Ok(())
    }

    /// The public checkpoint, whose origin an imported log's key need not be named after.
    fn checkpoint(&self) -> Result<Option<Checkpoint>, Error> {
        let bytes = self.disk.read(CHECKPOINT_FILE);
        let bytes = bytes.map_err(|error| Error::disk("reading", CHECKPOINT_FILE, error))?;
        let Some(bytes) = bytes else { return Ok(None) };
        let keys = std::slice::from_ref(&self.key);
        let opened = Checkpoint::open(&bytes, &self.record.origin, keys);
        let opened = opened.map_err(|error| Error::corrupt(CHECKPOINT_FILE, error.to_string()))?;
        Ok(Some(opened.checkpoint().clone()))
    }

    fn find_checkpoint(&self) -> Option<(String, String)> {
        let mut newest: Option<(u64, String)> = None;
        let mut known = (0, true);
        let scanned = wal::scan(&*self.disk, self.checksum, |frame| {
            let filed = whole_bundles(frame.end_index());
            if known.0 != filed {
                known = (filed, self.has_files(filed));
            }
            if known.1 && self.is_signed(&frame.note) {
                newest = Some((frame.end_index(), frame.note));
            }
            Ok(())
        });
        // What was read before a bad frame is signed all the same.
        drop(scanned);
        newest.map(|(_, note)| (note, "the write-ahead log".to_owned()))
    }

    fn is_signed(&self, note: &str) -> bool {
        let keys = std::slice::from_ref(&self.key);
        Checkpoint::open(note.as_bytes(), self.key.name(), keys).is_ok()
    }

    /// Whether the last full bundle of a tree, and the tile over it, are in files.
    fn has_files(&self, filed: u64) -> bool {
        let Some(last) = (filed >> TILE_HEIGHT).checked_sub(1) else {
            return true;
        };
        [TileKind::Hashes(0), self.record.kind.bundle()]
            .into_iter()
            .all(|kind| {
                let bytes = self.disk.read(&public_path(TileId::full(kind, last)));
                bytes.is_ok_and(|bytes| bytes.is_some())
            })
    }

    /// The head's row must be one that the write-ahead log can have led to. It is made again at a start when it is put aside.
    fn check_head(&self, dir: &Path, report: &mut Report) -> Result<(), Error> {
        if self.imported || !dir.join(STATE_FILE).exists() {
            return Ok(());
        }
        let problem = match SqliteHead::row_at(&dir.join(STATE_FILE), &self.record.origin) {
            Err(error @ (Error::Database(_) | Error::Corrupt { .. })) => error.to_string(),
            Err(error) => return Err(error),
            Ok(None) => return Ok(()),
            Ok(Some(row)) => {
                let read = recover::read(
                    &self.disk,
                    self.record.kind,
                    &self.key,
                    self.checksum,
                    Some(&row),
                );
                match read {
                    // Read without the row before: what is new now is about the row.
                    Err(error) if report.is_sound() => error.to_string(),
                    _ if !self.is_signed(&row.note) => {
                        "its checkpoint is not signed by the log's key".to_owned()
                    }
                    _ => return Ok(()),
                }
            }
        };
        report.fault(STATE_FILE, problem);
        // Behind a frame that is missing, the row is evidence of it.
        let evidence = report
            .faults
            .iter()
            .any(|fault| fault.file.starts_with("wal"));
        if self.options.repair && !evidence {
            put_aside(&*self.disk, STATE_FILE, self.options.now)?;
            for beside in ["-wal", "-shm"] {
                put_aside(
                    &*self.disk,
                    &format!("{STATE_FILE}{beside}"),
                    self.options.now,
                )?;
            }
            if let Some(fault) = report.faults.last_mut() {
                fault.repaired = Some("the write-ahead log, at the next start".to_owned());
            }
        }
        Ok(())
    }

    fn file_of(&self, error: &Error) -> String {
        match error {
            Error::Corrupt { file, .. } => file.clone(),
            // The frames that the checkpoint is about are missing at the end.
            Error::RolledBack { .. } => self.last_segment().unwrap_or_else(|| "wal".into()),
            Error::Forked { .. } => CHECKPOINT_FILE.into(),
            _ => String::new(),
        }
    }

    /// The segment in which the write-ahead log ends.
    fn last_segment(&self) -> Option<String> {
        let mut last = None;
        for name in self.disk.list("wal").ok()? {
            let path = format!("wal/{name}");
            let bytes = self.disk.open_segment(&path).ok()?.read().ok()?;
            // A spare segment begins with zeros, or with a frame of its earlier life; the one that was written last is the
            // last that does not begin with zeros in a folder without spares of that kind.
            if bytes.iter().take(8).any(|byte| *byte != 0) && last.is_none() {
                last = Some(path.clone());
            }
            if wal::has_frames(&bytes, self.checksum) {
                last = Some(path);
            }
        }
        last
    }

    /// Where the write-ahead log cannot be read: the edge of the tree that the public checkpoint vouches for, from its files.
    ///
    /// A bundle and the tile over it may contradict each other. Whichever choice leads to the signed root is the right one.
    fn trust_files(&self, report: &mut Report) -> Result<Option<Trusted>, Error> {
        let Ok(Some(checkpoint)) = self.checkpoint() else {
            return Ok(None);
        };
        let (size, root) = (checkpoint.size, checkpoint.root);
        report.size = size;
        let mut edges: [RightEdge; 3] = Default::default();
        let mut full: Vec<FullTile> = Vec::new();
        for bundle in 0..size >> TILE_HEIGHT {
            let tile = self.tile(TileId::full(TileKind::Hashes(0), bundle));
            let own = self.leaf_hashes(TileId::full(self.record.kind.bundle(), bundle));
            let judged = self.judged(bundle, tile.as_ref(), own.as_ref());
            let choices = [
                tile.as_ref().or(own.as_ref()),
                own.as_ref().or(tile.as_ref()),
                judged,
            ];
            for (edge, hashes) in edges.iter_mut().zip(choices) {
                for hash in hashes.into_iter().flatten() {
                    edge.push(*hash, &mut full);
                }
                full.clear();
            }
        }
        let rest = TileId::in_tree(TileKind::Hashes(0), size >> TILE_HEIGHT, size);
        if let Some(rest) = rest.filter(|rest| !rest.is_full()) {
            let bundle = TileId {
                kind: self.record.kind.bundle(),
                ..rest
            };
            let (tile, own) = (self.tile(rest), self.leaf_hashes(bundle));
            let choices = [
                tile.as_ref().or(own.as_ref()),
                own.as_ref().or(tile.as_ref()),
            ];
            let choices = [choices[0], choices[1], choices[1]];
            for (edge, hashes) in edges.iter_mut().zip(choices) {
                for hash in hashes.into_iter().flatten() {
                    edge.push(*hash, &mut full);
                }
            }
        }
        let own = edges
            .into_iter()
            .find(|edge| (edge.size(), edge.root()) == (size, root));
        let edge = match own {
            Some(edge) => Some(edge),
            None => self.edge_from_mirrors(size, &root),
        };
        let Some(edge) = edge else {
            let problem = format!("its root at size {size} does not follow from the entries");
            report.fault(CHECKPOINT_FILE, problem);
            return Ok(None);
        };
        Ok(Some(Trusted {
            edge,
            overlay: Overlay::default(),
            partial: Vec::new(),
            filed: whole_bundles(size),
        }))
    }

    fn tile(&self, id: TileId) -> Option<Vec<Hash>> {
        let bytes = self.disk.read(&public_path(id)).ok()??;
        let hashes = parse_tile(&bytes).ok()?;
        (hashes.len() == usize::from(id.width)).then_some(hashes)
    }

    fn leaf_hashes(&self, id: TileId) -> Option<Vec<Hash>> {
        let bytes = self.disk.read(&public_path(id)).ok()??;
        let leaves = self.record.kind.split_bundle(&bytes).ok()?;
        let facts = leaves.into_iter().map(|leaf| self.record.kind.facts(leaf));
        let hashes: Result<Vec<Hash>, _> = facts
            .map(|facts| facts.map(|facts| facts.leaf_hash))
            .collect();
        hashes
            .ok()
            .filter(|hashes| hashes.len() == usize::from(id.width))
    }

    /// Of a bundle and its tile, the one that the tile on the next level agrees with.
    fn judged<'b>(
        &self,
        bundle: u64,
        tile: Option<&'b Vec<Hash>>,
        own: Option<&'b Vec<Hash>>,
    ) -> Option<&'b Vec<Hash>> {
        let (Some(tile), Some(own)) = (tile, own) else {
            return tile.or(own);
        };
        if tile == own {
            return Some(own);
        }
        let above = self.tile(TileId::full(TileKind::Hashes(1), bundle >> TILE_HEIGHT));
        let known = above
            .as_ref()
            .and_then(|above| above.get((bundle % u64::from(TILE_WIDTH)) as usize));
        let tile_is_right = known.is_some_and(|known| *known == merkle_tree_hash(tile));
        Some(if tile_is_right { tile } else { own })
    }

    fn edge_from_mirrors(&self, size: u64, root: &Hash) -> Option<RightEdge> {
        let edges = self.options.mirrors.iter().filter_map(|mirror| {
            edge_from_mirror(mirror, self.record.kind, size)
                .inspect_err(|error| tracing::warn!(%error, "no help from here"))
                .ok()
        });
        edges.into_iter().find(|edge| edge.root() == *root)
    }
}

/// The right edge of a tree of `size` entries as a mirror has it, unverified. Blocks.
pub(crate) fn edge_from_mirror(mirror: &Mirror, kind: Kind, size: u64) -> Result<RightEdge, Error> {
    RightEdge::load(size, |id| {
        let bytes = mirror.tile_blocking(kind, id)?;
        let bytes = bytes.ok_or_else(|| mirror.invalid(&id.to_string(), "it is missing"))?;
        parse_tile(&bytes).map_err(|error| mirror.invalid(&id.to_string(), error.to_string()))
    })
}

pub(crate) fn log_key(record: &IdentityRecord) -> Result<NoteKey, Error> {
    let der = base64::decode(&record.public_key).ok();
    let key = der.and_then(|der| PublicKey::from_spki_der(&der).ok());
    let key = key.ok_or(Error::corrupt(IDENTITY_FILE, "publicKey is not a key"))?;
    record
        .kind
        .note_key(&record.origin, key)
        .map_err(|error| Error::corrupt(IDENTITY_FILE, error.to_string()))
}
