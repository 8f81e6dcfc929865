//! The right edge: as much of a tree as is needed to append to it.
//!
//! It holds the partial tile of every level, at most eight tiles, with the nodes inside each tile. Appending a leaf
//! costs two hashes on average; the root and every node of a partial tile are look-ups. Tiles that become full are
//! handed out and not kept.

use crate::error::Error;
use crate::hash::{Hash, empty_root, fold_right, node_hash};
use crate::proof::Node;
use crate::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind, hashes_at_level, locate};

/// The hashes of one tile, and the complete nodes above them up to the tile's own root.
#[derive(Debug, Clone, Default)]
pub struct TileNodes {
    /// `rows[h]` holds the nodes of height `h` inside the tile; `rows[0]` is the tile file's content.
    rows: [Vec<Hash>; TILE_HEIGHT as usize + 1],
}

impl TileNodes {
    /// Builds the nodes over the hashes of a tile file. More than 256 hashes are refused.
    pub fn from_hashes(hashes: &[Hash]) -> Result<Self, Error> {
        if hashes.len() > usize::from(TILE_WIDTH) {
            return Err(Error::Malformed {
                what: "tile",
                problem: "it has more than 256 hashes",
            });
        }
        let mut tile = Self::default();
        hashes.iter().for_each(|hash| tile.push(*hash));
        Ok(tile)
    }

    /// The tile file's hashes.
    pub fn hashes(&self) -> &[Hash] {
        &self.rows[0]
    }

    /// The tile file's bytes, cut to `width` hashes.
    pub fn bytes(&self, width: u16) -> Vec<u8> {
        let width = usize::from(width).min(self.rows[0].len());
        self.rows[0][..width].concat()
    }

    /// How many hashes it holds.
    pub fn width(&self) -> u16 {
        self.rows[0].len() as u16
    }

    /// The node of height `height` at `index` inside this tile, when it is complete.
    pub fn node(&self, height: u8, index: usize) -> Option<&Hash> {
        self.rows.get(usize::from(height))?.get(index)
    }

    /// The hash this tile is on the next level, once it is full.
    pub fn root(&self) -> Option<&Hash> {
        self.node(TILE_HEIGHT, 0)
    }

    fn push(&mut self, hash: Hash) {
        let mut hash = hash;
        for row in &mut self.rows {
            row.push(hash);
            let [.., left, right] = row.as_slice() else {
                return;
            };
            if row.len() % 2 == 1 {
                return;
            }
            hash = node_hash(left, right);
        }
    }

    /// The complete subtrees of this tile from the right, each as its hash: one for each set bit of the width.
    fn peaks_from_right(&self) -> impl Iterator<Item = &Hash> {
        let width = self.rows[0].len();
        let rows = self.rows.iter().enumerate();
        rows.filter(move |(height, _)| width >> height & 1 == 1)
            .filter_map(|(_, row)| row.last())
    }
}

/// A tile that an append filled.
#[derive(Debug, Clone)]
pub struct FullTile {
    /// Tile level.
    pub level: u8,
    /// Tile index.
    pub index: u64,
    /// Its content.
    pub nodes: TileNodes,
}

/// The partial tiles of a tree, lowest level first.
#[derive(Debug, Clone, Default)]
pub struct RightEdge {
    size: u64,
    levels: Vec<TileNodes>,
}

impl RightEdge {
    /// The edge of the empty tree.
    pub fn new() -> Self {
        Self::default()
    }

    /// Rebuilds the edge of a tree of `size` leaves from its partial tiles.
    ///
    /// `read` gives the hashes of one partial tile; [`RightEdge::root`] then says whether they were the right ones.
    pub fn load<E: From<Error>>(
        size: u64,
        mut read: impl FnMut(TileId) -> Result<Vec<Hash>, E>,
    ) -> Result<Self, E> {
        let mut levels = Vec::new();
        for level in 0.. {
            let hashes = hashes_at_level(level, size);
            if hashes == 0 {
                break;
            }
            let width = (hashes % u64::from(TILE_WIDTH)) as u16;
            let mut tile = Vec::new();
            if width > 0 {
                tile = read(TileId {
                    kind: TileKind::Hashes(level),
                    index: hashes >> TILE_HEIGHT,
                    width,
                })?;
            }
            if tile.len() != usize::from(width) {
                return Err(Error::Malformed {
                    what: "tile",
                    problem: "it is not as wide as the tree says",
                }
                .into());
            }
            levels.push(TileNodes::from_hashes(&tile)?);
        }
        Ok(Self { size, levels })
    }

    /// Number of leaves in the tree.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Appends a leaf hash. Tiles that it fills go to `full`, lower levels first.
    pub fn push(&mut self, leaf_hash: Hash, full: &mut Vec<FullTile>) {
        let index = self.size;
        self.size += 1;
        let mut hash = leaf_hash;
        for level in 0.. {
            if self.levels.len() == usize::from(level) {
                self.levels.push(TileNodes::default());
            }
            let tile = &mut self.levels[usize::from(level)];
            tile.push(hash);
            let Some(root) = tile.root().copied() else {
                return;
            };
            let nodes = std::mem::take(tile);
            let index = index >> (u32::from(level + 1) * u32::from(TILE_HEIGHT));
            full.push(FullTile {
                level,
                index,
                nodes,
            });
            hash = root;
        }
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let peaks: Vec<&Hash> = self
            .levels
            .iter()
            .flat_map(TileNodes::peaks_from_right)
            .collect();
        fold_right(peaks.into_iter().rev()).unwrap_or_else(empty_root)
    }

    /// The partial tile of a level; `None` when the level has no hash in a partial tile.
    pub fn tile(&self, level: u8) -> Option<&TileNodes> {
        self.levels
            .get(usize::from(level))
            .filter(|tile| tile.width() > 0)
    }

    /// The hash of a node inside a partial tile; `None` when the node lies in a full tile, or is not complete.
    pub fn node(&self, node: Node) -> Option<&Hash> {
        let location = locate(node);
        if location.index != hashes_at_level(location.level, self.size) >> TILE_HEIGHT {
            return None;
        }
        let height = node.level % TILE_HEIGHT;
        self.levels
            .get(usize::from(location.level))?
            .node(height, location.offset >> height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::{leaf_hash, merkle_tree_hash};
    use std::collections::HashMap;

    fn leaf(index: u64) -> Hash {
        leaf_hash(&index.to_be_bytes())
    }

    /// An edge and every tile it has filled, as a log would have stored them.
    fn grow(size: u64) -> (RightEdge, HashMap<(u8, u64), TileNodes>) {
        let (mut edge, mut full) = (RightEdge::new(), Vec::new());
        (0..size).for_each(|index| edge.push(leaf(index), &mut full));
        (
            edge,
            full.into_iter()
                .map(|tile| ((tile.level, tile.index), tile.nodes))
                .collect(),
        )
    }

    #[test]
    fn the_root_is_right_at_every_size() {
        let (mut edge, mut full, mut leaves) = (RightEdge::new(), Vec::new(), Vec::new());
        assert_eq!(edge.root(), empty_root());
        for index in 0..1500 {
            leaves.push(leaf(index));
            edge.push(leaf(index), &mut full);
            assert_eq!(
                edge.root(),
                merkle_tree_hash(&leaves),
                "at size {}",
                index + 1
            );
        }
        assert_eq!(full.len(), 5);
    }

    #[test]
    fn full_tiles_come_out_in_order_and_name_themselves() {
        let (edge, full) = grow(65_536 + 300);
        assert_eq!(full.len(), 257 + 1);
        let top = &full[&(1, 0)];
        for (index, hash) in top.hashes().iter().enumerate() {
            assert_eq!(full[&(0, index as u64)].root(), Some(hash));
        }
        assert_eq!(edge.tile(0).map(TileNodes::width), Some(44));
        assert_eq!(edge.tile(1).map(TileNodes::width), Some(1));
        assert_eq!(edge.tile(2).map(TileNodes::width), Some(1));
        assert!(edge.tile(3).is_none());
        let (exactly_full, _) = grow(256);
        assert!(exactly_full.tile(0).is_none(), "a full tile is handed out");
    }

    #[test]
    fn an_edge_loaded_from_its_tiles_continues_as_if_never_stored() {
        for size in [0, 1, 255, 256, 257, 700, 65_536, 65_600] {
            let (mut kept, _) = grow(size);
            let load = |tile: TileId| {
                let level = tile.kind.level();
                let in_tree = TileId::in_tree(tile.kind, size >> (8 * (level + 1)), size);
                assert_eq!(Some(tile), in_tree, "at size {size}");
                Ok::<_, Error>(kept.tile(level).unwrap().hashes().to_vec())
            };
            let mut loaded = RightEdge::load(size, load).unwrap();
            assert_eq!(loaded.root(), kept.root(), "at size {size}");
            assert_eq!((loaded.size(), kept.size()), (size, size));
            let mut full = Vec::new();
            for index in size..size + 600 {
                kept.push(leaf(index), &mut full);
                loaded.push(leaf(index), &mut full);
            }
            assert_eq!(loaded.root(), kept.root());
        }
    }

    #[test]
    fn a_tile_has_at_most_256_hashes_and_is_cut_as_asked() {
        let hashes: Vec<Hash> = (0..257).map(leaf).collect();
        let full = TileNodes::from_hashes(&hashes[..256]).unwrap();
        assert_eq!(full.root(), Some(&merkle_tree_hash(&hashes[..256])));
        assert!(TileNodes::from_hashes(&hashes).is_err());
        let partial = TileNodes::from_hashes(&hashes[..5]).unwrap();
        assert_eq!(partial.bytes(3), hashes[..3].concat());
        assert_eq!(partial.bytes(5), hashes[..5].concat());
        assert_eq!(partial.bytes(6), hashes[..5].concat());
        assert_eq!(partial.bytes(0), Vec::<u8>::new());
    }

    #[test]
    fn a_narrow_tile_is_refused_on_load() {
        let short = RightEdge::load(5, |_| Ok::<_, Error>(vec![[0; 32]; 4]));
        assert!(matches!(short, Err(Error::Malformed { .. })));
    }

    #[test]
    fn nodes_are_found_in_the_edge_and_only_there() {
        let (edge, full) = grow(300);
        let node = Node {
            level: 2,
            index: 64,
        };
        let expected = merkle_tree_hash(&(256..260).map(leaf).collect::<Vec<_>>());
        assert_eq!(edge.node(node), Some(&expected));
        let next = Node {
            level: 2,
            index: 65,
        };
        let expected = merkle_tree_hash(&(260..264).map(leaf).collect::<Vec<_>>());
        assert_eq!(edge.node(next), Some(&expected));
        assert_eq!(
            edge.node(Node {
                level: 0,
                index: 10
            }),
            None
        );
        assert_eq!(
            edge.node(Node {
                level: 0,
                index: 300
            }),
            None
        );
        assert_eq!(edge.node(Node { level: 8, index: 0 }), full[&(0, 0)].root());
    }
}
