//! Every file of a tree against a root that is known to be right, from the root down.
//!
//! The hashes of the right edge lead to a signed root, so they are right. Each is the root of a full tile; a tile file that
//! has that root is right, and so are the 256 hashes in it, each of which is the root of a tile one level below, and at the
//! bottom of an entry. So a wrong file is the one that is named, and not one that depends on it; and what it should have
//! been is known, so that a replacement from anywhere can be judged. One tile a level is in memory at a time.

use std::sync::Arc;

use bytes::Bytes;
use sealwright_crypto::sha256;
use sealwright_tlog::hash::merkle_tree_hash;
use sealwright_tlog::tile::{
    TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, hashes_at_level, parse_tile,
};
use sealwright_tlog::{Hash, RightEdge};

use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;
use crate::mirror::Mirror;
use crate::tree::{Overlay, StoredLeaf, issuer_path, public_path, tile_end};
use crate::wal::{self, ChecksumKey};

/// Tile levels that a 64-bit tree size can have.
const LEVELS: u8 = 8;

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Fault {
    /// File, relative to the log's folder.
    pub file: String,
    /// What is wrong with it.
    pub problem: String,
    /// Where the right bytes came from, when they were put in its place.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repaired: Option<String>,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.file, self.problem)?;
        match &self.repaired {
            Some(from) => write!(f, "; repaired from {from}"),
            None => Ok(()),
        }
    }
}

/// A tree whose right edge is known to be right.
pub(crate) struct Known<'a> {
    pub(crate) disk: &'a dyn Disk,
    pub(crate) kind: Kind,
    pub(crate) edge: &'a RightEdge,
    /// Tiles and bundles that need not have a file yet.
    pub(crate) overlay: &'a Overlay,
    /// Entries of the bundle that is not full.
    pub(crate) partial: &'a [StoredLeaf],
    /// Full tiles that end here or before must have files.
    pub(crate) filed: u64,
}

/// Where the right bytes of a wrong file may be found, and whether they are to be put in its place.
#[derive(Default)]
pub(crate) struct Sources<'a> {
    /// Put right bytes in the place of wrong ones.
    pub(crate) repair: bool,
    pub(crate) mirrors: &'a [Mirror],
    /// The write-ahead log may still hold entries that are in files.
    pub(crate) wal: Option<ChecksumKey>,
    /// Unix seconds; in the names of files that are put aside.
    pub(crate) now: i64,
}

/// What has been looked at.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) entries: u64,
    pub(crate) tiles: u64,
    /// Bytes read from files.
    pub(crate) bytes: u64,
}

/// One walk over a tree.
pub(crate) struct Walk<'a> {
    known: &'a Known<'a>,
    sources: &'a Sources<'a>,
    progress: &'a dyn Fn(u64),
    pub(crate) seen: Seen,
    pub(crate) faults: Vec<Fault>,
}

/// What a file should have held.
struct Right {
    bytes: Vec<u8>,
    from: String,
}

impl<'a> Walk<'a> {
    /// `progress` is told how many entries have been checked, a bundle at a time.
    pub(crate) fn new(
        known: &'a Known<'a>,
        sources: &'a Sources<'a>,
        progress: &'a dyn Fn(u64),
    ) -> Self {
        Self {
            known,
            sources,
            progress,
            seen: Seen::default(),
            faults: Vec::new(),
        }
    }

    /// Checks every file of the tree.
    pub(crate) fn all(&mut self) -> Result<(), Error> {
        for level in (0..LEVELS).rev() {
            let Some(tile) = self.known.edge.tile(level) else {
                continue;
            };
            let hashes = tile.hashes().to_vec();
            let index = hashes_at_level(level, self.known.edge.size()) >> TILE_HEIGHT;
            let widest = self.partials(level, index, &hashes)?;
            if level == 0 {
                // Those without a file are in the write-ahead log, which was read before.
                let in_memory = self.known.partial.len() as u64;
                self.seen.entries += in_memory.max(u64::from(widest));
            }
            if let Some(below) = level.checked_sub(1) {
                for (child, hash) in (index << TILE_HEIGHT..).zip(&hashes) {
                    self.tile(below, child, hash)?;
                }
            }
        }
        Ok(())
    }

    /// Checks one full bundle, and the tiles between it and the right edge.
    pub(crate) fn one(&mut self, bundle: u64) -> Result<(), Error> {
        let size = self.known.edge.size();
        // The lowest level whose hash over the bundle is in the edge.
        let Some(top) = (1..LEVELS).find(|level| {
            hashes_at_level(*level, size) >> TILE_HEIGHT
                == bundle >> (u32::from(level - 1) * u32::from(TILE_HEIGHT)) >> TILE_HEIGHT
        }) else {
            return Ok(());
        };
        let at = |level: u8| bundle >> (u32::from(level) * u32::from(TILE_HEIGHT));
        let edge = self.known.edge.tile(top).map(|tile| tile.hashes().to_vec());
        let mut hashes = edge.unwrap_or_default();
        for level in (0..top).rev() {
            let Some(expected) = hashes.get(position(at(level))).copied() else {
                return Ok(());
            };
            let Some(below) = self.tile_hashes(level, at(level), &expected)? else {
                return Ok(());
            };
            hashes = below;
        }
        self.bundle(bundle, &hashes)
    }

    fn read(&mut self, path: &str) -> Result<Option<Vec<u8>>, Error> {
        let bytes = self.known.disk.read(path);
        let bytes = bytes.map_err(|error| Error::disk("reading", path, error))?;
        self.seen.bytes += bytes.as_ref().map_or(0, Vec::len) as u64;
        Ok(bytes)
    }

    /// Checks a full tile whose root is known, and everything below it.
    fn tile(&mut self, level: u8, index: u64, expected: &Hash) -> Result<(), Error> {
        let Some(hashes) = self.tile_hashes(level, index, expected)? else {
            return self.unknown(level, index);
        };
        // An interruption can leave partial tiles of one that is full by now; they are still read by those who saw them.
        self.partials(level, index, &hashes)?;
        let Some(below) = level.checked_sub(1) else {
            return self.bundle(index, &hashes);
        };
        for (child, hash) in (index << TILE_HEIGHT..).zip(&hashes) {
            self.tile(below, child, hash)?;
        }
        Ok(())
    }

    /// The hashes of a full tile whose root is known; its file is checked on the way. `None` when they cannot be found.
    fn tile_hashes(
        &mut self,
        level: u8,
        index: u64,
        expected: &Hash,
    ) -> Result<Option<Vec<Hash>>, Error> {
        let path = public_path(TileId::full(TileKind::Hashes(level), index));
        let file = self.read(&path)?;
        if let Some(hashes) = file.as_deref().and_then(|bytes| full(bytes, expected)) {
            self.seen.tiles += 1;
            return Ok(Some(hashes));
        }
        let in_memory = self.known.overlay.tiles.get(&(level, index));
        let in_memory = in_memory
            .map(|tile| tile.bytes(TILE_WIDTH))
            .filter(|bytes| full(bytes, expected).is_some());
        if file.is_none() && in_memory.is_some() && tile_end(level, index) > self.known.filed {
            return Ok(in_memory.and_then(|bytes| full(&bytes, expected)));
        }
        let problem = match file {
            None => "it is missing",
            Some(_) => "its hashes do not follow from the entries",
        };
        let right = match in_memory {
            Some(bytes) => Some(Right {
                bytes,
                from: "the write-ahead log".into(),
            }),
            None => self.find_tile(level, index, expected)?,
        };
        let hashes = right
            .as_ref()
            .and_then(|right| full(&right.bytes, expected));
        self.fault(path, problem.into(), right)?;
        Ok(hashes)
    }

    /// The right bytes of a tile: from what is below it, or from a mirror.
    fn find_tile(
        &mut self,
        level: u8,
        index: u64,
        expected: &Hash,
    ) -> Result<Option<Right>, Error> {
        let derived = self.derive(level, index)?.concat();
        if full(&derived, expected).is_some() {
            let from = if level == 0 {
                "the entries"
            } else {
                "the tiles below it"
            };
            return Ok(Some(Right {
                bytes: derived,
                from: from.into(),
            }));
        }
        let id = TileId::full(TileKind::Hashes(level), index);
        Ok(self.on_mirrors(id, |bytes| full(bytes, expected).is_some()))
    }

    /// The hashes of a full tile as the files below it have them; fewer where they cannot be read.
    fn derive(&mut self, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
        let Some(below) = level.checked_sub(1) else {
            let id = TileId::full(self.known.kind.bundle(), index);
            let bytes = self.read(&public_path(id))?.unwrap_or_default();
            return Ok(self.leaf_hashes(&bytes).unwrap_or_default());
        };
        let mut hashes = Vec::new();
        for child in 0..u64::from(TILE_WIDTH) {
            let child = (index << TILE_HEIGHT) + child;
            let path = public_path(TileId::full(TileKind::Hashes(below), child));
            let own = parse_tile(&self.read(&path)?.unwrap_or_default());
            let own = own
                .ok()
                .filter(|own| own.len() == usize::from(TILE_WIDTH))
                .or_else(|| {
                    let tile = self.known.overlay.tiles.get(&(below, child))?;
                    Some(tile.hashes().to_vec())
                });
            match own {
                Some(own) => hashes.push(merkle_tree_hash(&own)),
                None => break,
            }
        }
        Ok(hashes)
    }

    fn leaf_hashes(&self, bundle: &[u8]) -> Result<Vec<Hash>, String> {
        let leaves = self.known.kind.split_bundle(bundle);
        let leaves = leaves.map_err(|error| error.to_string())?;
        let facts = leaves.into_iter().map(|leaf| self.known.kind.facts(leaf));
        let hashes: Result<Vec<Hash>, _> = facts
            .map(|facts| facts.map(|facts| facts.leaf_hash))
            .collect();
        hashes.map_err(|error| error.to_string())
    }

    /// Checks a full bundle whose leaf hashes are known.
    fn bundle(&mut self, index: u64, hashes: &[Hash]) -> Result<(), Error> {
        let id = TileId::full(self.known.kind.bundle(), index);
        let path = public_path(id);
        let in_memory = self.known.overlay.bundles.get(&index).cloned();
        let file = self.read(&path)?;
        let problem = match &file {
            None if in_memory.is_some() && tile_end(0, index) > self.known.filed => return Ok(()),
            None => Some("it is missing".to_owned()),
            Some(bytes) => self.bundle_problem(index, bytes, hashes),
        };
        let Some(problem) = problem else {
            self.seen.entries += hashes.len() as u64;
            (self.progress)(self.seen.entries);
            return self.issuers(&file.unwrap_or_default());
        };
        let right = self.find_bundle(id, hashes, in_memory)?;
        let found = right.as_ref().map(|right| right.bytes.clone());
        self.fault(path, problem, right)?;
        self.issuers(&found.unwrap_or_default())
    }

    fn bundle_problem(&self, index: u64, bytes: &[u8], hashes: &[Hash]) -> Option<String> {
        let own = match self.leaf_hashes(bytes) {
            Ok(own) => own,
            Err(problem) => return Some(problem),
        };
        if own.len() != hashes.len() {
            return Some(format!("it has {} entries", own.len()));
        }
        let wrong = own
            .iter()
            .zip(hashes)
            .position(|(own, known)| own != known)?;
        let entry = (index << TILE_HEIGHT) + wrong as u64;
        Some(format!("entry {entry} is not the one in the tree"))
    }

    /// The right bytes of a bundle: from memory, from the write-ahead log's frames, or from a mirror.
    fn find_bundle(
        &self,
        id: TileId,
        hashes: &[Hash],
        in_memory: Option<Arc<Vec<StoredLeaf>>>,
    ) -> Result<Option<Right>, Error> {
        let right = |bytes: &[u8]| self.leaf_hashes(bytes).is_ok_and(|own| own == hashes);
        let leaves = match in_memory {
            Some(leaves) => leaves.iter().map(|leaf| leaf.stored.clone()).collect(),
            None => self.frames(id),
        };
        let bytes = self.join(&leaves)?;
        if right(&bytes) {
            return Ok(Some(Right {
                bytes,
                from: "the write-ahead log".into(),
            }));
        }
        Ok(self.on_mirrors(id, right))
    }

    /// The leaves of a bundle as the frames of the write-ahead log have them; none where it does not hold them any more.
    fn frames(&self, id: TileId) -> Vec<Bytes> {
        let Some(checksum) = self.sources.wal.filter(|_| self.sources.repair) else {
            return Vec::new();
        };
        let first = id.index << TILE_HEIGHT;
        let wanted = first..first + u64::from(id.width);
        let mut leaves = Vec::new();
        let scanned = wal::scan(self.known.disk, checksum, |frame| {
            for (index, leaf) in (frame.first_index..).zip(&frame.leaves) {
                if wanted.contains(&index) {
                    leaves.push(leaf.clone());
                }
            }
            Ok(())
        });
        // What was found is judged by its hashes.
        drop(scanned);
        leaves
    }

    fn join(&self, leaves: &Vec<Bytes>) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        for leaf in leaves {
            self.known.kind.put_stored(&mut bytes, leaf)?;
        }
        Ok(bytes)
    }

    /// The first answer of a mirror that is right. What mirrors say otherwise is no concern of the one who repairs.
    fn on_mirrors(&self, id: TileId, right: impl Fn(&[u8]) -> bool) -> Option<Right> {
        let mirrors = self.sources.mirrors.iter().filter(|_| self.sources.repair);
        mirrors
            .filter_map(|mirror| {
                let bytes = mirror.tile_blocking(self.known.kind, id);
                let bytes =
                    bytes.inspect_err(|error| tracing::warn!(%error, "no repair from here"));
                Some((mirror, bytes.ok()??))
            })
            .find(|(_, bytes)| right(bytes))
            .map(|(mirror, bytes)| Right {
                bytes,
                from: format!("mirror {}", mirror.name()),
            })
    }

    /// Every issuer that a data tile names must be kept, and be what its name says.
    fn issuers(&mut self, bundle: &[u8]) -> Result<(), Error> {
        for fingerprint in named_issuers(self.known.kind, bundle) {
            let path = issuer_path(&fingerprint);
            let problem = match self.read(&path)? {
                None => "it is missing, but an entry names it",
                Some(bytes) if sha256(&bytes) == fingerprint => continue,
                Some(_) => "it is another certificate than its name says",
            };
            if self.faults.iter().any(|fault| fault.file == path) {
                continue;
            }
            let right = self.find_issuer(&fingerprint);
            self.fault(path, problem.into(), right)?;
        }
        Ok(())
    }

    fn find_issuer(&self, fingerprint: &Hash) -> Option<Right> {
        let mirrors = self.sources.mirrors.iter().filter(|_| self.sources.repair);
        mirrors
            .filter_map(|mirror| {
                let bytes = mirror.issuer_blocking(&hex::encode(fingerprint));
                Some((mirror, bytes.ok()??))
            })
            .find(|(_, bytes)| sha256(bytes) == *fingerprint)
            .map(|(mirror, bytes)| Right {
                bytes,
                from: format!("mirror {}", mirror.name()),
            })
    }

    /// Partial tiles and bundles are optional, but those that are there must be right, in every width.
    /// Gives the width of the widest bundle.
    fn partials(&mut self, level: u8, index: u64, hashes: &[Hash]) -> Result<u16, Error> {
        let kind = TileKind::Hashes(level);
        for id in self.partial_files(kind, index)? {
            let path = public_path(id);
            let known = hashes.get(..usize::from(id.width)).map(<[Hash]>::concat);
            let bytes = self.read(&path)?.unwrap_or_default();
            match known {
                None => self.fault(path, "it is wider than the tree".into(), None)?,
                Some(known) if known == bytes => {}
                Some(bytes) => {
                    let right = Right {
                        bytes,
                        from: "the tree's edge".into(),
                    };
                    let problem = "its hashes do not follow from the entries".into();
                    self.fault(path, problem, Some(right))?;
                }
            }
        }
        if level > 0 {
            return Ok(0);
        }
        self.partial_bundles(index, hashes)
    }

    fn partial_bundles(&mut self, index: u64, hashes: &[Hash]) -> Result<u16, Error> {
        let mut widest = 0;
        for id in self.partial_files(self.known.kind.bundle(), index)? {
            let path = public_path(id);
            let width = usize::from(id.width);
            let Some(known) = hashes.get(..width) else {
                self.fault(path, "it is wider than the tree".into(), None)?;
                continue;
            };
            let bytes = self.read(&path)?.unwrap_or_default();
            let Some(problem) = self.bundle_problem(index, &bytes, known) else {
                widest = widest.max(id.width);
                self.issuers(&bytes)?;
                continue;
            };
            let leaves = self.known.partial.get(..width).unwrap_or_default();
            let leaves: Vec<Bytes> = leaves.iter().map(|leaf| leaf.stored.clone()).collect();
            let bytes = self.join(&leaves)?;
            let right = if self.leaf_hashes(&bytes).is_ok_and(|own| own == known) {
                Some(Right {
                    bytes,
                    from: "the write-ahead log".into(),
                })
            } else {
                self.on_mirrors(id, |bytes| {
                    self.leaf_hashes(bytes).is_ok_and(|own| own == known)
                })
            };
            self.fault(path, problem, right)?;
        }
        Ok(widest)
    }

    fn partial_files(&self, kind: TileKind, index: u64) -> Result<Vec<TileId>, Error> {
        let folder = format!("{}.p", public_path(TileId::full(kind, index)));
        let names = self.known.disk.list(&folder);
        let names = names.map_err(|error| Error::disk("listing", folder, error))?;
        let widths = names.iter().filter_map(|name| name.parse().ok());
        Ok(widths
            .filter(|width| (1..TILE_WIDTH).contains(width))
            .map(|width| TileId { kind, index, width })
            .collect())
    }

    /// What is below a tile that nobody can tell: a bundle and the tile over it can contradict each other.
    fn unknown(&mut self, level: u8, index: u64) -> Result<(), Error> {
        let id = TileId::full(TileKind::Hashes(level), index);
        let Some(below) = level.checked_sub(1) else {
            // The tile itself has been named already; the bundle may be the one that is wrong.
            let bundle = public_path(TileId::full(self.known.kind.bundle(), index));
            let problem = format!(
                "it cannot be told whether it is right: {} is damaged",
                public_path(id)
            );
            return self.fault(bundle, problem, None);
        };
        for child in 0..u64::from(TILE_WIDTH) {
            let child = (index << TILE_HEIGHT) + child;
            let path = public_path(TileId::full(TileKind::Hashes(below), child));
            let own = parse_tile(&self.read(&path)?.unwrap_or_default()).unwrap_or_default();
            // What it claims itself: its entries can still contradict it.
            self.tile(below, child, &merkle_tree_hash(&own))?;
        }
        Ok(())
    }

    /// Notes what is wrong, and puts it right where that is asked for and possible. The wrong file is put aside, not lost.
    fn fault(&mut self, file: String, problem: String, right: Option<Right>) -> Result<(), Error> {
        let right = right.filter(|_| self.sources.repair);
        let repaired = match right {
            None => None,
            Some(Right { bytes, from }) => {
                replace(self.known.disk, &file, bytes, self.sources.now)?;
                Some(from)
            }
        };
        self.faults.push(Fault {
            file,
            problem,
            repaired,
        });
        Ok(())
    }
}

/// Puts a file aside as `FILE.damaged-<time>` and others bytes in its place.
pub(crate) fn replace(disk: &dyn Disk, file: &str, bytes: Vec<u8>, now: i64) -> Result<(), Error> {
    put_aside(disk, file, now)?;
    disk.put(&[(file.to_owned(), bytes)])
        .map_err(|error| Error::disk("repairing", file, error))
}

/// Gives a file that may be there the name `FILE.damaged-<time>`.
pub(crate) fn put_aside(disk: &dyn Disk, file: &str, now: i64) -> Result<(), Error> {
    match disk.rename(file, &format!("{file}.damaged-{now}")) {
        Err(error)
            if !matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            Err(Error::disk("putting aside", file, error))
        }
        _ => Ok(()),
    }
}

/// The fingerprints of the issuers that a bundle's entries name, each once.
pub(crate) fn named_issuers(kind: Kind, bundle: &[u8]) -> Vec<Hash> {
    if kind != Kind::Ct {
        return Vec::new();
    }
    let leaves = sealwright_tlog::ct::TileLeaf::parse_tile(bundle).unwrap_or_default();
    let mut fingerprints: Vec<Hash> = leaves
        .into_iter()
        .flat_map(|leaf| leaf.chain_fingerprints)
        .collect();
    fingerprints.sort_unstable();
    fingerprints.dedup();
    fingerprints
}

/// The hashes of a tile file that is full and has this root.
fn full(bytes: &[u8], root: &Hash) -> Option<Vec<Hash>> {
    let hashes = parse_tile(bytes).ok()?;
    let right = hashes.len() == usize::from(TILE_WIDTH) && merkle_tree_hash(&hashes) == *root;
    right.then_some(hashes)
}

fn position(index: u64) -> usize {
    (index % u64::from(TILE_WIDTH)) as usize
}
