//! What a log is when it is opened: the write-ahead log read against the files, and every reason to refuse.

use std::sync::Arc;

use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH};
use sealwright_tlog::{Checkpoint, NoteKey, RightEdge};

use crate::check::{Known, Sources, Walk};
use crate::dedup::load::covered_by_names;
use crate::dedup::run::FOLDER;
use crate::disk::Disk;
use crate::error::Error;
use crate::frozen;
use crate::head::HeadRow;
use crate::kind::Kind;
use crate::publisher::CHECKPOINT_FILE;
use crate::tree::{Overlay, Snapshot, StoredLeaf, Tree, edge_from_files, tile_end, whole_bundles};
use crate::wal::{self, ChecksumKey, Frame, Scan};

/// Bundles whose files a start reads again: at most 32 * 256 entries, some 26 MB of them with certificates.
const RECENT_BUNDLES: u64 = 32;

/// A log that was read and found sound.
pub(crate) struct Recovered {
    pub(crate) scan: Scan,
    /// `None` for a log without a single frame.
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) overlay: Overlay,
    /// Entries below are in synced tiles and bundles.
    pub(crate) filed: u64,
    /// Size of the public checkpoint file, 0 when there is none.
    pub(crate) public_size: u64,
}

/// Reads a log's folder. Writes nothing.
///
/// The write-ahead log is the truth; files and head must agree with it as far as they reach, and must not reach further.
pub(crate) fn read(
    disk: &Arc<dyn Disk>,
    kind: Kind,
    key: &NoteKey,
    checksum: ChecksumKey,
    head: Option<&HeadRow>,
) -> Result<Recovered, Error> {
    let public = public_checkpoint(&**disk, key)?;
    let public_size = public.as_ref().map_or(0, |checkpoint| checkpoint.size);
    // Both are written after the files they speak of, the head last. Taking the lower one costs at most a comparison.
    let filed = whole_bundles(head.map_or(public_size, |head| head.published.min(public_size)));
    let mut replay = Replay::new(&**disk, kind, key, filed);
    let scan = wal::scan(&**disk, checksum, |frame| replay.apply(frame))?;
    let have = scan.tail.as_ref().map_or(0, |tail| tail.size);

    let evidence = [
        public
            .as_ref()
            .map(|public| ("public/checkpoint", public.size, public.root)),
        head.map(|head| ("state.db", head.size, head.root)),
    ];
    for (evidence, seen, _) in evidence.iter().flatten() {
        if *seen > have || scan.tail.is_none() {
            return Err(Error::RolledBack {
                evidence,
                seen: *seen,
                have,
            });
        }
    }
    let covered = covered_by_names(&**disk)?;
    if covered > have {
        return Err(Error::RolledBack {
            evidence: FOLDER,
            seen: covered,
            have,
        });
    }
    let Some((snapshot, overlay)) = replay.finish()? else {
        return Ok(Recovered {
            scan,
            snapshot: None,
            overlay: Overlay::default(),
            filed,
            public_size,
        });
    };
    let tree = Tree::new(kind, disk.clone(), snapshot, overlay);
    for (evidence, size, root) in evidence.into_iter().flatten() {
        if tree.root_at(size)? != root {
            return Err(Error::Forked { evidence, size });
        }
    }
    let (snapshot, overlay) = tree.into_parts();
    Ok(Recovered {
        scan,
        snapshot,
        overlay,
        filed,
        public_size,
    })
}

/// Reads the files again that were written last, and refuses with the name of one that is not what the tree says: a disk
/// that reports a sync as done and loses the data would have lost these. Everything older is for fsck and the scrub.
pub(crate) fn require_recent_files(
    disk: &dyn Disk,
    kind: Kind,
    recovered: &Recovered,
) -> Result<(), Error> {
    let Some(snapshot) = &recovered.snapshot else {
        return Ok(());
    };
    let known = Known {
        disk,
        kind,
        edge: &snapshot.edge,
        overlay: &recovered.overlay,
        partial: &snapshot.partial,
        filed: recovered.filed,
    };
    let sources = Sources::default();
    let mut walk = Walk::new(&known, &sources, &|_| {});
    let end = recovered.filed >> TILE_HEIGHT;
    for bundle in end.saturating_sub(RECENT_BUNDLES)..end {
        walk.one(bundle)?;
    }
    match walk.faults.into_iter().next() {
        Some(fault) => Err(Error::corrupt(fault.file, fault.problem)),
        None => Ok(()),
    }
}

/// The checkpoint file, if there is one. It must carry this log's signature.
pub(crate) fn public_checkpoint(
    disk: &dyn Disk,
    key: &NoteKey,
) -> Result<Option<Checkpoint>, Error> {
    let bytes = disk
        .read(CHECKPOINT_FILE)
        .map_err(|error| Error::disk("reading", CHECKPOINT_FILE, error))?;
    bytes.map(|bytes| checkpoint_in(&bytes, key)).transpose()
}

/// The checkpoint that the bytes of the public file are.
pub(crate) fn checkpoint_in(bytes: &[u8], key: &NoteKey) -> Result<Checkpoint, Error> {
    let opened = Checkpoint::open(bytes, key.name(), std::slice::from_ref(key));
    let opened = opened.map_err(|error| Error::corrupt(CHECKPOINT_FILE, error.to_string()))?;
    Ok(opened.checkpoint().clone())
}

/// Applies frames to the tree that the files hold, and checks each.
struct Replay<'a> {
    disk: &'a dyn Disk,
    kind: Kind,
    key: &'a NoteKey,
    /// Entries below are in synced files.
    filed: u64,
    edge: Option<RightEdge>,
    overlay: Overlay,
    partial: Vec<StoredLeaf>,
    last: Option<Last>,
}

/// What is kept of the last frame.
struct Last {
    note: String,
    time_ms: u64,
    frozen: bool,
}

impl<'a> Replay<'a> {
    fn new(disk: &'a dyn Disk, kind: Kind, key: &'a NoteKey, filed: u64) -> Self {
        Self {
            disk,
            kind,
            key,
            filed,
            edge: None,
            overlay: Overlay::default(),
            partial: Vec::new(),
            last: None,
        }
    }

    fn apply(&mut self, frame: Frame) -> Result<(), Error> {
        let mut edge = match self.edge.take() {
            Some(edge) => edge,
            None => self.first_edge(&frame)?,
        };
        let mut full = Vec::new();
        for (position, stored) in frame.leaves.iter().enumerate() {
            let index = frame.first_index + position as u64;
            let facts = self
                .kind
                .facts(stored)
                .map_err(|error| bad_frame(&frame, &error.to_string()))?;
            edge.push(facts.leaf_hash, &mut full);
            if index >= self.filed {
                self.keep(
                    index,
                    StoredLeaf {
                        stored: stored.clone(),
                        identity: facts.identity,
                        attachment: frame.attachment(position),
                    },
                );
            }
        }
        if edge.root() != frame.new_root {
            return Err(bad_frame(&frame, "its entries do not lead to its root"));
        }
        // Frames below the published size are vouched for by the chain to those above.
        if frame.end_index() >= self.filed {
            self.require_signed(&frame)?;
        }
        full.retain(|tile| tile_end(tile.level, tile.index) > self.filed);
        self.overlay.tiles.extend(
            full.into_iter()
                .map(|tile| ((tile.level, tile.index), Arc::new(tile.nodes))),
        );
        self.edge = Some(edge);
        self.last = Some(Last {
            note: frame.note,
            time_ms: frame.time_ms,
            frozen: frame.frozen,
        });
        Ok(())
    }

    /// The tree before the oldest frame, from files. The frame's root says whether they are the right ones.
    fn first_edge(&self, frame: &Frame) -> Result<RightEdge, Error> {
        if frame.first_index > self.filed {
            let problem = format!(
                "it begins at entry {}, but only {} are in files",
                frame.first_index, self.filed
            );
            return Err(bad_frame(frame, &problem));
        }
        let edge = edge_from_files(self.disk, frame.first_index);
        let edge = edge.map_err(|error| match error {
            Error::Entry(cause) => Error::corrupt("public/tile", cause.to_string()),
            other => other,
        })?;
        if edge.root() != frame.prev_root {
            return Err(Error::corrupt(
                "public/tile",
                "the tiles do not lead to the root that the write-ahead log begins with",
            ));
        }
        Ok(edge)
    }

    fn keep(&mut self, index: u64, leaf: StoredLeaf) {
        self.partial.push(leaf);
        if self.partial.len() == usize::from(TILE_WIDTH) {
            self.overlay.bundles.insert(
                index >> TILE_HEIGHT,
                Arc::new(std::mem::take(&mut self.partial)),
            );
        }
    }

    fn require_signed(&self, frame: &Frame) -> Result<(), Error> {
        let opened = Checkpoint::open(
            frame.note.as_bytes(),
            self.key.name(),
            std::slice::from_ref(self.key),
        );
        let opened = opened.map_err(|error| bad_frame(frame, &error.to_string()))?;
        let checkpoint = opened.checkpoint();
        if (checkpoint.size, checkpoint.root) != (frame.end_index(), frame.new_root) {
            return Err(bad_frame(frame, "its checkpoint is of another tree"));
        }
        // A certificate log's checkpoint has no extension lines, and so cannot say it.
        if self.kind == Kind::Rekor && frozen::is_frozen(checkpoint) != frame.frozen {
            return Err(bad_frame(
                frame,
                "it freezes the log and its checkpoint does not say so, or the other way round",
            ));
        }
        Ok(())
    }

    fn finish(self) -> Result<Option<(Snapshot, Overlay)>, Error> {
        let (Some(edge), Some(last)) = (self.edge, self.last) else {
            return Ok(None);
        };
        let snapshot = Snapshot {
            root: edge.root(),
            note: last.note.into(),
            time_ms: last.time_ms,
            edge,
            partial: self.partial,
            frozen: last.frozen,
        };
        if snapshot.size() % u64::from(TILE_WIDTH) != snapshot.partial.len() as u64 {
            return Err(Error::corrupt(
                "wal",
                "it does not hold the entries of the last bundle",
            ));
        }
        Ok(Some((snapshot, self.overlay)))
    }
}

fn bad_frame(frame: &Frame, problem: &str) -> Error {
    Error::corrupt("wal", format!("frame {}: {problem}", frame.seq))
}
