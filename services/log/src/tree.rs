//! The tree as readers see it: the last durable checkpoint, the right edge, what is not in files yet, and the files.
//!
//! Tiles never change once full and only grow before, so a reader of any size up to the current one takes a prefix. That
//! is also why old partial tiles are served although only the newest one exists.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use sealwright_tlog::edge::{FullTile, TileNodes};
use sealwright_tlog::hash::merkle_tree_hash;
use sealwright_tlog::proof::{self, HashReader, Node};
use sealwright_tlog::tile::{self, TILE_HEIGHT, TILE_WIDTH, TileId, TileKind};
use sealwright_tlog::{Hash, RightEdge};
use tokio::sync::Notify;

use crate::attachments;
use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;

/// Folder that mirrors the log's read paths.
pub(crate) const PUBLIC: &str = "public";

/// A stored leaf with its identity.
#[derive(Debug, Clone)]
pub(crate) struct StoredLeaf {
    pub(crate) stored: Bytes,
    pub(crate) identity: Hash,
    /// See [`crate::attachments`]; empty where there is none.
    pub(crate) attachment: Bytes,
}

/// The state after one batch; never changes.
#[derive(Debug)]
pub(crate) struct Snapshot {
    pub(crate) root: Hash,
    /// Signed checkpoint, as served.
    pub(crate) note: Bytes,
    pub(crate) time_ms: u64,
    pub(crate) edge: RightEdge,
    /// Leaves of the bundle that is not full yet.
    pub(crate) partial: Vec<StoredLeaf>,
    /// The log takes no more entries.
    pub(crate) frozen: bool,
}

impl Snapshot {
    pub(crate) fn size(&self) -> u64 {
        self.edge.size()
    }
}

/// A checkpoint that is shown: to clients, in files, in receipts. Where witnesses are asked first it is behind the newest
/// snapshot, and carries their cosignatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublishedHead {
    pub(crate) size: u64,
    pub(crate) root: Hash,
    pub(crate) time_ms: u64,
    /// The log's signature first, then cosignatures.
    pub(crate) note: Bytes,
}

impl From<&Snapshot> for PublishedHead {
    fn from(snapshot: &Snapshot) -> Self {
        Self {
            size: snapshot.size(),
            root: snapshot.root,
            time_ms: snapshot.time_ms,
            note: snapshot.note.clone(),
        }
    }
}

/// Full tiles and bundles that are durable in the write-ahead log, but not in files.
#[derive(Debug, Default, Clone)]
pub(crate) struct Overlay {
    pub(crate) tiles: BTreeMap<(u8, u64), Arc<TileNodes>>,
    pub(crate) bundles: BTreeMap<u64, Arc<Vec<StoredLeaf>>>,
}

impl Overlay {
    pub(crate) fn is_empty(&self) -> bool {
        self.tiles.is_empty() && self.bundles.is_empty()
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn weight(&self) -> usize {
        let bundles = self.bundles.values();
        bundles.map(|bundle| bundle_weight(bundle)).sum()
    }
}

/// What a leaf takes beside its bytes: itself, its allocation, its hash in a tile with the nodes above, its keys in the
/// index of known entries.
const LEAF_OVERHEAD: usize = 256;

fn bundle_weight(bundle: &[StoredLeaf]) -> usize {
    let stored: usize = bundle.iter().map(|leaf| leaf.stored.len()).sum();
    stored + bundle.len() * LEAF_OVERHEAD
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TileBytes {
    /// The tile or bundle.
    pub id: TileId,
    /// Its content.
    pub bytes: Bytes,
}

/// Reads tiles, entries and nodes.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) kind: Kind,
    pub(crate) disk: Arc<dyn Disk>,
    snapshot: RwLock<Arc<Snapshot>>,
    overlay: RwLock<Overlay>,
    /// The overlay's. Each batch asks for it, and adding it up takes the longer the larger it is.
    weight: AtomicUsize,
    /// What is shown instead of the newest snapshot, where witnesses are asked first.
    shown: RwLock<Option<PublishedHead>>,
    /// There is a newer snapshot.
    advanced: Notify,
}

impl Tree {
    pub(crate) fn new(
        kind: Kind,
        disk: Arc<dyn Disk>,
        snapshot: Snapshot,
        overlay: Overlay,
    ) -> Self {
        Self {
            kind,
            disk,
            snapshot: RwLock::new(Arc::new(snapshot)),
            weight: AtomicUsize::new(overlay.weight()),
            overlay: RwLock::new(overlay),
            shown: RwLock::new(None),
            advanced: Notify::new(),
        }
    }

    /// The checkpoint that may be shown: the newest durable one, unless witnesses have to see it first.
    pub(crate) fn shown(&self) -> PublishedHead {
        let shown = self.shown.read().unwrap_or_else(PoisonError::into_inner);
        match &*shown {
            Some(head) => head.clone(),
            None => PublishedHead::from(&*self.snapshot()),
        }
    }

    /// From now on this is what is shown.
    pub(crate) fn show(&self, head: PublishedHead) {
        *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }

    /// Returns when there is a newer snapshot than at the last return; for one waiter.
    pub(crate) async fn advanced(&self) {
        self.advanced.notified().await;
    }

    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Shows a durable batch to readers: its full tiles first, so that nobody sees a checkpoint whose tiles are missing.
    pub(crate) fn advance(
        &self,
        full: Vec<FullTile>,
        bundles: Vec<(u64, Vec<StoredLeaf>)>,
        snapshot: Snapshot,
    ) -> Arc<Snapshot> {
        if !full.is_empty() {
            let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
            overlay.tiles.extend(
                full.into_iter()
                    .map(|tile| ((tile.level, tile.index), Arc::new(tile.nodes))),
            );
            let added: usize = bundles
                .iter()
                .map(|(_, leaves)| bundle_weight(leaves))
                .sum();
            self.weight.fetch_add(added, Ordering::Relaxed);
            overlay.bundles.extend(
                bundles
                    .into_iter()
                    .map(|(index, leaves)| (index, Arc::new(leaves))),
            );
        }
        let snapshot = Arc::new(snapshot);
        *self
            .snapshot
            .write()
            .unwrap_or_else(PoisonError::into_inner) = snapshot.clone();
        self.advanced.notify_one();
        snapshot
    }

    /// Takes the tree apart again. The snapshot is `None` only if somebody still holds it.
    pub(crate) fn into_parts(self) -> (Option<Snapshot>, Overlay) {
        let snapshot = self
            .snapshot
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        (
            Arc::into_inner(snapshot),
            self.overlay
                .into_inner()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// A copy of the overlay; tiles are shared, not copied.
    pub(crate) fn overlay(&self) -> Overlay {
        self.overlay
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn overlay_weight(&self) -> usize {
        self.weight.load(Ordering::Relaxed)
    }

    /// Forgets what is in synced files now.
    pub(crate) fn settle(&self, published: &Overlay) {
        let mut overlay = self.overlay.write().unwrap_or_else(PoisonError::into_inner);
        overlay
            .tiles
            .retain(|id, _| !published.tiles.contains_key(id));
        overlay
            .bundles
            .retain(|index, _| !published.bundles.contains_key(index));
        self.weight.store(overlay.weight(), Ordering::Relaxed);
    }

    /// A tile or bundle from memory; `Ok(None)` says that it is in a file, [`Error::NotInTree`] that it does not exist.
    pub(crate) fn tile_in_memory(&self, id: TileId) -> Result<Option<Bytes>, Error> {
        let snapshot = self.snapshot();
        let level = id.kind.level();
        let width = tile::width_in_tree(level, id.index, snapshot.size());
        let own_bundle = matches!(id.kind, TileKind::Hashes(_)) || id.kind == self.kind.bundle();
        if id.width == 0 || id.width > width || !own_bundle {
            return Err(Error::NotInTree(id.to_string()));
        }
        if width < TILE_WIDTH {
            return self.edge_tile(&snapshot, id).map(Some);
        }
        let overlay = self.overlay.read().unwrap_or_else(PoisonError::into_inner);
        match id.kind {
            TileKind::Hashes(level) => Ok(overlay
                .tiles
                .get(&(level, id.index))
                .map(|tile| tile.bytes(id.width).into())),
            TileKind::Entries | TileKind::Data => {
                let bundle = overlay.bundles.get(&id.index).cloned();
                drop(overlay);
                bundle
                    .map(|bundle| self.join(&bundle[..usize::from(id.width)]))
                    .transpose()
            }
        }
    }

    fn edge_tile(&self, snapshot: &Snapshot, id: TileId) -> Result<Bytes, Error> {
        match id.kind {
            TileKind::Hashes(level) => {
                let tile = snapshot.edge.tile(level);
                tile.map(|tile| tile.bytes(id.width).into())
                    .ok_or(Error::NotInTree(id.to_string()))
            }
            TileKind::Entries | TileKind::Data => {
                let leaves = snapshot.partial.get(..usize::from(id.width));
                self.join(leaves.ok_or(Error::NotInTree(id.to_string()))?)
            }
        }
    }

    /// The bytes of a bundle file.
    pub(crate) fn join(&self, leaves: &[StoredLeaf]) -> Result<Bytes, Error> {
        let mut bytes = Vec::with_capacity(leaves.iter().map(|leaf| leaf.stored.len() + 2).sum());
        for leaf in leaves {
            self.kind.put_stored(&mut bytes, &leaf.stored)?;
        }
        Ok(bytes.into())
    }

    /// A tile or bundle, from wherever it is. Reads a file when it must.
    pub(crate) fn tile(&self, id: TileId) -> Result<Bytes, Error> {
        if let Some(bytes) = self.tile_in_memory(id)? {
            return Ok(bytes);
        }
        let full = TileId {
            width: TILE_WIDTH,
            ..id
        };
        let bytes = self
            .file(full)?
            .ok_or_else(|| Error::corrupt(public_path(full), "it is missing"))?;
        if id.is_full() {
            return Ok(bytes);
        }
        match id.kind {
            TileKind::Hashes(_) => Ok(bytes.slice(..bytes.len().min(usize::from(id.width) * 32))),
            TileKind::Entries | TileKind::Data => {
                let leaves = self
                    .kind
                    .split_bundle(&bytes)
                    .map_err(|error| Error::corrupt(public_path(full), error.to_string()))?;
                let leaves = &leaves[..leaves.len().min(usize::from(id.width))];
                let mut prefix = Vec::new();
                for leaf in leaves {
                    self.kind.put_stored(&mut prefix, leaf)?;
                }
                Ok(prefix.into())
            }
        }
    }

    fn file(&self, id: TileId) -> Result<Option<Bytes>, Error> {
        let path = public_path(id);
        let bytes = self
            .disk
            .read(&path)
            .map_err(|error| Error::disk("reading", path, error))?;
        Ok(bytes.map(Bytes::from))
    }

    /// The stored leaf at `index`, if it is in memory.
    pub(crate) fn stored_in_memory(&self, index: u64) -> Result<Option<Bytes>, Error> {
        let snapshot = self.snapshot();
        if index >= snapshot.size() {
            return Err(Error::NotInTree(format!("entry {index}")));
        }
        let (bundle, position) = (
            index >> TILE_HEIGHT,
            (index % u64::from(TILE_WIDTH)) as usize,
        );
        if bundle == snapshot.size() >> TILE_HEIGHT {
            return Ok(snapshot
                .partial
                .get(position)
                .map(|leaf| leaf.stored.clone()));
        }
        let overlay = self.overlay.read().unwrap_or_else(PoisonError::into_inner);
        Ok(overlay
            .bundles
            .get(&bundle)
            .and_then(|leaves| leaves.get(position))
            .map(|leaf| leaf.stored.clone()))
    }

    /// The stored leaf at `index`. Reads a file when it must.
    pub(crate) fn stored(&self, index: u64) -> Result<Bytes, Error> {
        if let Some(stored) = self.stored_in_memory(index)? {
            return Ok(stored);
        }
        let mut leaves = self.stored_bundle(index >> TILE_HEIGHT)?;
        let position = (index % u64::from(TILE_WIDTH)) as usize;
        if position < leaves.len() {
            Ok(leaves.swap_remove(position))
        } else {
            Err(Error::NotInTree(format!("entry {index}")))
        }
    }

    /// The attachment of the entry at `index`, if it is in memory; empty for an entry without.
    pub(crate) fn attachment_in_memory(&self, index: u64) -> Result<Option<Bytes>, Error> {
        let snapshot = self.snapshot();
        if index >= snapshot.size() {
            return Err(Error::NotInTree(format!("entry {index}")));
        }
        let (bundle, position) = place(index);
        if bundle == snapshot.size() >> TILE_HEIGHT {
            let leaf = snapshot.partial.get(position);
            return Ok(leaf.map(|leaf| leaf.attachment.clone()));
        }
        let overlay = self.overlay.read().unwrap_or_else(PoisonError::into_inner);
        let leaf = overlay
            .bundles
            .get(&bundle)
            .and_then(|leaves| leaves.get(position));
        Ok(leaf.map(|leaf| leaf.attachment.clone()))
    }

    /// The attachment of the entry at `index`; `None` when it was lost, or the entry never had one. Reads a file when it
    /// must.
    pub(crate) fn attachment(&self, index: u64) -> Result<Option<Bytes>, Error> {
        let kept = match self.attachment_in_memory(index)? {
            Some(attachment) => Some(attachment),
            None => {
                let (bundle, position) = place(index);
                let file = attachments::read(&*self.disk, bundle)?;
                file.and_then(|file| file.get(position).cloned())
            }
        };
        Ok(kept.filter(|attachment| !attachment.is_empty()))
    }

    /// All leaves of a bundle that is full.
    pub(crate) fn stored_bundle(&self, bundle: u64) -> Result<Vec<Bytes>, Error> {
        let id = TileId::full(self.kind.bundle(), bundle);
        let bytes = self.tile(id)?;
        let leaves = self
            .kind
            .split_bundle(&bytes)
            .map_err(|error| Error::corrupt(public_path(id), error.to_string()))?;
        Ok(leaves
            .into_iter()
            .map(|leaf| bytes.slice_ref(leaf))
            .collect())
    }

    /// The stored leaves `from..to`, which must be in the tree.
    pub(crate) fn stored_range(&self, from: u64, to: u64) -> Result<Vec<Bytes>, Error> {
        let size = self.snapshot().size();
        if from > to || to > size {
            return Err(Error::NotInTree(format!("range of entries {from} to {to}")));
        }
        let mut leaves = Vec::new();
        let mut index = from;
        while index < to {
            let bundle = index >> TILE_HEIGHT;
            if TileId::in_tree(self.kind.bundle(), bundle, size).is_some_and(|id| id.is_full()) {
                let all = self.stored_bundle(bundle)?;
                let first = (index % u64::from(TILE_WIDTH)) as usize;
                let count = (to - index).min(u64::from(TILE_WIDTH) - first as u64);
                leaves.extend(all.into_iter().skip(first).take(count as usize));
                index += count;
            } else {
                leaves.push(self.stored(index)?);
                index += 1;
            }
        }
        Ok(leaves)
    }

    /// A reader of node hashes that may open files.
    pub(crate) fn nodes(&self) -> Nodes<'_> {
        Nodes {
            tree: self,
            snapshot: self.snapshot(),
            files: true,
        }
    }

    /// A reader that answers [`NodeError::InFile`] instead of opening a file.
    pub(crate) fn nodes_in_memory(&self) -> Nodes<'_> {
        Nodes {
            tree: self,
            snapshot: self.snapshot(),
            files: false,
        }
    }

    /// The root of an earlier tree.
    pub(crate) fn root_at(&self, size: u64) -> Result<Hash, Error> {
        let nodes = self.nodes();
        if size > nodes.snapshot.size() {
            return Err(Error::NotInTree(format!("tree of {size} entries")));
        }
        Ok(proof::tree_root(size, &nodes)?)
    }
}

/// The bundle of an entry, and its position in it.
fn place(index: u64) -> (u64, usize) {
    (
        index >> TILE_HEIGHT,
        (index % u64::from(TILE_WIDTH)) as usize,
    )
}

/// How many of `size` entries are in bundles that are full.
pub(crate) fn whole_bundles(size: u64) -> u64 {
    (size >> TILE_HEIGHT) << TILE_HEIGHT
}

/// The index after the last leaf below the full tile `(level, index)`.
pub(crate) fn tile_end(level: u8, index: u64) -> u64 {
    (index + 1) << (u32::from(level + 1) * u32::from(TILE_HEIGHT))
}

/// Where an issuer certificate is in the log's folder, by the SHA-256 of its bytes.
pub(crate) fn issuer_path(fingerprint: &Hash) -> String {
    format!("{PUBLIC}/issuer/{}", hex::encode(fingerprint))
}

/// Where a tile is in the log's folder.
pub(crate) fn public_path(id: TileId) -> String {
    format!("{PUBLIC}/{id}")
}

/// Node hashes of one snapshot.
pub(crate) struct Nodes<'a> {
    tree: &'a Tree,
    snapshot: Arc<Snapshot>,
    files: bool,
}

/// Why a node was not read.
#[derive(Debug)]
pub(crate) enum NodeError {
    /// It is in a file, and this reader opens none.
    InFile,
    Failed(Error),
}

impl From<sealwright_tlog::Error> for NodeError {
    fn from(error: sealwright_tlog::Error) -> Self {
        Self::Failed(match error {
            sealwright_tlog::Error::OutsideTree { what, value, .. } => {
                Error::NotInTree(format!("{what} {value}"))
            }
            other => Error::Entry(other),
        })
    }
}

impl From<NodeError> for Error {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::Failed(error) => error,
            NodeError::InFile => Self::NotInTree("node in a file".into()),
        }
    }
}

impl Nodes<'_> {
    fn node(&self, node: Node) -> Result<Hash, NodeError> {
        if let Some(hash) = self.snapshot.edge.node(node) {
            return Ok(*hash);
        }
        let location = tile::locate(node);
        {
            let overlay = self
                .tree
                .overlay
                .read()
                .unwrap_or_else(PoisonError::into_inner);
            let height = node.level % TILE_HEIGHT;
            let kept = overlay.tiles.get(&(location.level, location.index));
            if let Some(hash) = kept.and_then(|tile| tile.node(height, location.offset >> height)) {
                return Ok(*hash);
            }
        }
        if !self.files {
            return Err(NodeError::InFile);
        }
        let id = TileId::full(TileKind::Hashes(location.level), location.index);
        let bytes = self.tree.tile(id).map_err(NodeError::Failed)?;
        tile::node_from_tile(location, &bytes)
            .map_err(|error| NodeError::Failed(Error::corrupt(public_path(id), error.to_string())))
    }
}

impl HashReader for Nodes<'_> {
    type Error = NodeError;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, NodeError> {
        nodes.iter().map(|node| self.node(*node)).collect()
    }
}

/// Rebuilds the edge of an earlier tree of `size` leaves from full tiles in files.
///
/// Upper levels have no file until they are full; their hashes follow from the full tiles below. At most 255 files a level
/// are read.
pub(crate) fn edge_from_files(disk: &dyn Disk, size: u64) -> Result<RightEdge, Error> {
    RightEdge::load(size, |id| {
        let TileKind::Hashes(level) = id.kind else {
            return Ok(Vec::new());
        };
        let mut hashes = tile_hashes(disk, level, id.index)?;
        hashes.truncate(usize::from(id.width));
        Ok(hashes)
    })
}

/// The hashes of a tile that is full in a file, or whose children are.
fn tile_hashes(disk: &dyn Disk, level: u8, index: u64) -> Result<Vec<Hash>, Error> {
    if let Some(hashes) = full_tile(disk, level, index)? {
        return Ok(hashes);
    }
    let mut hashes = Vec::new();
    if level > 0 {
        for child in 0..u64::from(TILE_WIDTH) {
            let Some(below) = full_tile(disk, level - 1, index * u64::from(TILE_WIDTH) + child)?
            else {
                break;
            };
            hashes.push(merkle_tree_hash(&below));
        }
    }
    Ok(hashes)
}

fn full_tile(disk: &dyn Disk, level: u8, index: u64) -> Result<Option<Vec<Hash>>, Error> {
    let path = public_path(TileId::full(TileKind::Hashes(level), index));
    let Some(bytes) = disk
        .read(&path)
        .map_err(|error| Error::disk("reading", &path, error))?
    else {
        return Ok(None);
    };
    let hashes =
        tile::parse_tile(&bytes).map_err(|error| Error::corrupt(&path, error.to_string()))?;
    if hashes.len() != usize::from(TILE_WIDTH) {
        return Err(Error::corrupt(path, "it is not full"));
    }
    Ok(Some(hashes))
}
