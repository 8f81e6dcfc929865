//! Roots, tiles and proofs are those of two published crates: `tlog_tiles`, which descends from Go's, and `ct-merkle`, which
//! follows the RFC on its own. Ours are judged by their verifiers, and theirs by ours.

use std::cell::RefCell;
use std::collections::BTreeMap;

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use proptest::prelude::*;
use sealwright_testkit::properties;
use sealwright_tlog::edge::{FullTile, RightEdge};
use sealwright_tlog::hash::leaf_hash;
use sealwright_tlog::proof::{consistency_proof, inclusion_proof};
use sealwright_tlog::tile::{self, TILE_WIDTH, TileId, TileKind};
use sealwright_tlog::{Error, Hash, HashReader, Node, verify_consistency, verify_inclusion};
use sha2::Sha256;
use tlog_tiles::{HashReader as _, TileReader};

/// The tree as each of the three keeps it.
#[derive(Debug, Default)]
struct Trees {
    edge: RightEdge,
    /// Our tiles: the full ones, and every partial one that a batch ended with.
    tiles: BTreeMap<String, Vec<u8>>,
    stored: Stored,
    merkle: MemoryBackedTree<Sha256, Vec<u8>>,
    /// Root by size, of the sizes at which a batch ended.
    roots: BTreeMap<u64, Hash>,
}

/// The hashes of `tlog_tiles`, in its order.
#[derive(Debug, Default)]
struct Stored(Vec<tlog_tiles::Hash>);

impl tlog_tiles::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog_tiles::Hash>, tlog_tiles::Error> {
        let read = indexes.iter().map(|index| {
            let index = usize::try_from(*index).ok()?;
            self.0.get(index).copied()
        });
        read.collect::<Option<_>>()
            .ok_or(tlog_tiles::Error::IndexesNotInTree)
    }
}

impl Trees {
    /// Appends a batch to all three and compares roots and changed tiles.
    fn append(&mut self, batch: &[Vec<u8>]) {
        let before = self.edge.size();
        let mut full = Vec::new();
        for leaf in batch {
            self.edge.push(leaf_hash(leaf), &mut full);
            let index = self.merkle.len();
            let more = tlog_tiles::stored_hashes(index, leaf, &self.stored).expect("stored");
            self.stored.0.extend(more);
            self.merkle.push(leaf.clone());
        }
        let (after, root) = (self.edge.size(), self.edge.root());
        assert_eq!(after, self.merkle.len());
        assert_eq!(self.merkle.root().as_bytes().as_slice(), root);
        let theirs = tlog_tiles::tree_hash(after, &self.stored).expect("a root");
        assert_eq!(theirs.0, root);
        self.roots.insert(after, root);
        self.keep_tiles(&full);
        self.compare_changed_tiles(before, after);
    }

    fn keep_tiles(&mut self, full: &[FullTile]) {
        for FullTile {
            level,
            index,
            nodes,
        } in full
        {
            let id = TileId::full(TileKind::Hashes(*level), *index);
            self.tiles.insert(id.to_string(), nodes.bytes(TILE_WIDTH));
        }
        for level in 0..8 {
            let Some(nodes) = self.edge.tile(level) else {
                continue;
            };
            let id = TileId {
                kind: TileKind::Hashes(level),
                index: tile::hashes_at_level(level, self.edge.size()) / 256,
                width: nodes.width(),
            };
            self.tiles.insert(id.to_string(), nodes.bytes(TILE_WIDTH));
        }
    }

    /// The tiles that a batch changed are the same by name and by content.
    fn compare_changed_tiles(&self, before: u64, after: u64) {
        let ours: Vec<String> = tile::changed_tiles(before, after)
            .iter()
            .map(TileId::to_string)
            .collect();
        let theirs = tlog_tiles::Tile::new_tiles(8, before, after);
        let names: Vec<String> = theirs.iter().map(name_of).collect();
        assert_eq!(ours, names);
        for (tile, name) in theirs.iter().zip(names) {
            let bytes = tile.read_data(&self.stored).expect("their tile");
            assert_eq!(self.tiles.get(&name), Some(&bytes), "{name}");
        }
    }

    /// The root at the end of a batch.
    fn root(&self, size: u64) -> Hash {
        self.roots[&size]
    }

    /// The inclusion proof, the same from all three, and believed by all three.
    fn compare_inclusion(&self, index: u64, leaf: &[u8]) {
        let size = self.edge.size();
        let (root, hash) = (self.edge.root(), leaf_hash(leaf));
        let ours = inclusion_proof(index, size, self).expect("our proof");
        let theirs = tlog_tiles::prove_record(size, index, &self.stored).expect("their proof");
        assert_eq!(ours, theirs.iter().map(|hash| hash.0).collect::<Vec<_>>());
        let position = usize::try_from(index).expect("a tree in memory");
        let merkle = self.merkle.prove_inclusion(position);
        assert_eq!(ours.concat(), merkle.as_bytes());

        verify_inclusion(index, size, &hash, &ours, &root).expect("ours believe theirs");
        tlog_tiles::check_record(&wrapped(&ours), size, wrap(root), index, wrap(hash))
            .expect("tlog_tiles believes ours");
        let given = ct_merkle::InclusionProof::try_from_bytes(ours.concat()).expect("a proof");
        let believed = self
            .merkle
            .root()
            .verify_inclusion(&leaf.to_vec(), index, &given);
        believed.expect("ct-merkle believes ours");
    }

    /// The consistency proof between the ends of two batches, likewise.
    fn compare_consistency(&self, from: u64) {
        let to = self.edge.size();
        let (old, new) = (self.root(from), self.edge.root());
        let ours = consistency_proof(from, to, self).expect("our proof");
        let theirs = tlog_tiles::prove_tree(to, from, &self.stored).expect("their proof");
        assert_eq!(ours, theirs.iter().map(|hash| hash.0).collect::<Vec<_>>());
        let additions = usize::try_from(to - from).expect("a tree in memory");
        let merkle = self.merkle.prove_consistency(additions);
        assert_eq!(ours.concat(), merkle.as_bytes());

        verify_consistency(from, &old, to, &new, &ours).expect("ours believe theirs");
        tlog_tiles::check_tree(&wrapped(&ours), to, wrap(new), from, wrap(old))
            .expect("tlog_tiles believes ours");
        let given = ct_merkle::ConsistencyProof::try_from_bytes(ours.concat()).expect("a proof");
        let old = ct_merkle::RootHash::<Sha256>::new(old.into(), from);
        let believed = self.merkle.root().verify_consistency(&old, &given);
        believed.expect("ct-merkle believes ours");
    }

    /// Their client, which trusts a root alone, reads every leaf hash from our tiles.
    fn read_by_their_client(&self, leaves: &[Vec<u8>]) {
        let (size, root) = (self.edge.size(), wrap(self.edge.root()));
        let files = Files {
            tiles: &self.tiles,
            saved: RefCell::default(),
        };
        let client = tlog_tiles::TileHashReader::new(size, root, &files);
        for (index, leaf) in (0..).zip(leaves) {
            let at = tlog_tiles::stored_hash_index(0, index);
            let read = client.read_hashes(&[at]).expect("our tiles are believed");
            assert_eq!(read, [wrap(leaf_hash(leaf))]);
        }
        let proof = tlog_tiles::prove_record(size, size - 1, &client).expect("from our tiles");
        let ours = inclusion_proof(size - 1, size, self).expect("our proof");
        assert_eq!(wrapped(&ours), proof);
        assert!(files.saved.borrow().contains(&name_of(&their_tile(size))));
    }
}

/// The tile with the last leaf hash of a tree.
fn their_tile(size: u64) -> tlog_tiles::Tile {
    let at = tlog_tiles::stored_hash_index(0, size - 1);
    let tile = tlog_tiles::Tile::from_index(8, at);
    tile.parent(0, size).expect("it is in the tree")
}

impl HashReader for Trees {
    type Error = Error;

    /// From our own tiles, as a server without memory would.
    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Error> {
        let read = nodes.iter().map(|node| {
            let location = tile::locate(*node);
            let id = TileId::in_tree(
                TileKind::Hashes(location.level),
                location.index,
                self.edge.size(),
            );
            let name = id.expect("a node of the tree").to_string();
            tile::node_from_tile(location, &self.tiles[&name])
        });
        read.collect()
    }
}

/// Our tiles as their client reads them.
struct Files<'a> {
    tiles: &'a BTreeMap<String, Vec<u8>>,
    saved: RefCell<Vec<String>>,
}

impl TileReader for Files<'_> {
    fn height(&self) -> u8 {
        8
    }

    fn read_tiles(&self, tiles: &[tlog_tiles::Tile]) -> Result<Vec<Vec<u8>>, tlog_tiles::Error> {
        let read = tiles
            .iter()
            .map(|tile| self.tiles.get(&name_of(tile)).cloned());
        read.collect::<Option<_>>()
            .ok_or(tlog_tiles::Error::InvalidTile)
    }

    fn save_tiles(&self, tiles: &[tlog_tiles::Tile], _data: &[Vec<u8>]) {
        self.saved.borrow_mut().extend(tiles.iter().map(name_of));
    }
}

/// Theirs have the height in the path.
fn name_of(tile: &tlog_tiles::Tile) -> String {
    tile.path().replacen("tile/8/", "tile/", 1)
}

fn wrap(hash: Hash) -> tlog_tiles::Hash {
    tlog_tiles::Hash(hash)
}

fn wrapped(hashes: &[Hash]) -> Vec<tlog_tiles::Hash> {
    hashes.iter().copied().map(wrap).collect()
}

/// Batches whose ends lie often at and beside the edges of tiles.
fn any_batches() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
    let length = prop_oneof![
        4 => 1..20_usize,
        1 => proptest::sample::select(&[128_usize, 255, 256, 257][..]),
    ];
    let batch = length.prop_flat_map(|length| {
        proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..12), length)
    });
    proptest::collection::vec(batch, 1..6)
}

properties! {
    12,

    #[test]
    fn roots_tiles_and_proofs_are_those_of_other_implementations(batches in any_batches(), picks: [u64; 4]) {
        let mut trees = Trees::default();
        let mut leaves: Vec<Vec<u8>> = Vec::new();
        for batch in &batches {
            trees.append(batch);
            leaves.extend(batch.iter().cloned());
            for pick in picks {
                let index = pick % leaves.len() as u64;
                trees.compare_inclusion(index, &leaves[usize::try_from(index).unwrap()]);
            }
            for from in trees.roots.keys().copied().collect::<Vec<_>>() {
                trees.compare_consistency(from);
            }
        }
        trees.read_by_their_client(&leaves);
    }
}

/// A tree in which level 2 has begun: 65,536 leaves and a few.
#[test]
fn a_tree_of_three_levels_is_the_same_to_all() {
    let leaves: Vec<Vec<u8>> = (0..65_539_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let mut trees = Trees::default();
    for batch in leaves.chunks(16_384) {
        trees.append(batch);
    }
    for index in [0, 255, 256, 32_767, 65_535, 65_536, 65_538] {
        trees.compare_inclusion(index as u64, &leaves[index]);
    }
    for from in [16_384, 32_768, 65_536, 65_539] {
        trees.compare_consistency(from);
    }
    let (size, root) = (trees.edge.size(), wrap(trees.edge.root()));
    let files = Files {
        tiles: &trees.tiles,
        saved: RefCell::default(),
    };
    let client = tlog_tiles::TileHashReader::new(size, root, &files);
    let at = tlog_tiles::stored_hash_index(0, 40_000);
    let read = client.read_hashes(&[at]).expect("our tiles are believed");
    assert_eq!(read, [wrap(leaf_hash(&leaves[40_000]))]);
}

/// One bit of a tile is enough: the client that found ours in order refuses it.
///
/// The tree has as many tiles at its right edge as complete subtrees. With fewer (300 leaves, say), that version of the
/// crate compares not every inner tile with the one above it.
#[test]
fn a_changed_tile_is_refused_by_their_client() {
    let leaves: Vec<Vec<u8>> = (0..257_u32).map(|n| n.to_be_bytes().to_vec()).collect();
    let mut trees = Trees::default();
    trees.append(&leaves);
    for name in ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"] {
        let mut tiles = trees.tiles.clone();
        tiles.get_mut(name).expect("a tile of the tree")[31] ^= 1;
        let files = Files {
            tiles: &tiles,
            saved: RefCell::default(),
        };
        let root = wrap(trees.edge.root());
        let client = tlog_tiles::TileHashReader::new(257, root, &files);
        let all: Vec<u64> = (0..257)
            .map(|n| tlog_tiles::stored_hash_index(0, n))
            .collect();
        assert!(client.read_hashes(&all).is_err(), "{name}");
    }
}
