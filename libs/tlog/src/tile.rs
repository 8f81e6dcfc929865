//! Tiles and entry bundles: the layout of C2SP tlog-tiles and static-ct-api.
//!
//! A tile holds 256 hashes of one tile level; a full tile of level L is one hash in level L + 1. A tile that is not
//! full yet is *partial* and named by its width. Hash `i` of tile `(level, index)` is the Merkle tree hash of the
//! leaves from `(index * 256 + i) * 256^level` to the next such multiple.

use std::fmt;

use crate::error::Error;
use crate::hash::{HASH_LEN, Hash, merkle_tree_hash};
use crate::proof::Node;
use crate::wire::{Reader, put_prefixed};

/// log2 of the hashes in a full tile.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes in a full tile, and entries in a full bundle.
pub const TILE_WIDTH: u16 = 1 << TILE_HEIGHT;
/// Bytes of a full tile: 256 * 32 = 8,192.
pub const TILE_BYTES: usize = TILE_WIDTH as usize * HASH_LEN;
/// Levels a path may name; more than a 64-bit index can fill.
pub const MAX_LEVEL: u8 = 63;
/// The longest entry that an entry bundle's two length bytes can say.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// What a tile file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of this tile level, 0 to 63.
    Hashes(u8),
    /// Log entries, each behind two length bytes (tlog-tiles).
    Entries,
    /// `TileLeaf` structures, one after the other (static-ct-api).
    Data,
}

/// The name of one tile or bundle: kind, position and width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TileId {
    /// Which kind, and for hashes which level.
    pub kind: TileKind,
    /// Position in its level, from 0.
    pub index: u64,
    /// How many hashes or entries it holds: 1 to 256, 256 when full.
    pub width: u16,
}

impl TileId {
    /// A full tile.
    pub fn full(kind: TileKind, index: u64) -> Self {
        Self {
            kind,
            index,
            width: TILE_WIDTH,
        }
    }

    /// The tile at `(kind, index)` as wide as a tree of `size` leaves makes it; `None` when that tree has no such tile.
    pub fn in_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let width = width_in_tree(kind.level(), index, size);
        (width > 0).then_some(Self { kind, index, width })
    }

    /// True for a tile that can never change again.
    pub fn is_full(&self) -> bool {
        self.width == TILE_WIDTH
    }

    /// Reads a path such as `tile/0/x001/x234/067`, `tile/entries/000.p/7` or `tile/data/000`.
    ///
    /// Exactly one path names each tile: leading zeros, missing groups and a width of 0 or 256 are refused.
    pub fn parse(path: &str) -> Result<Self, Error> {
        let rest = path
            .strip_prefix("tile/")
            .ok_or(Error::MalformedPath("it does not begin with tile/"))?;
        let (kind, position) = rest
            .split_once('/')
            .ok_or(Error::MalformedPath("it has no index"))?;
        let kind = match kind {
            "entries" => TileKind::Entries,
            "data" => TileKind::Data,
            level => TileKind::Hashes(parse_level(level)?),
        };
        let (index, width) = parse_position(position)?;
        Ok(Self { kind, index, width })
    }
}

/// The path below the log's prefix, without a leading slash.
impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Data => f.write_str("tile/data/")?,
        }
        f.write_str(&format_position(self.index, self.width))
    }
}

impl TileKind {
    /// The tile level whose widths this kind has: bundles are as wide as the tile of leaf hashes over them.
    pub fn level(self) -> u8 {
        match self {
            Self::Hashes(level) => level,
            Self::Entries | Self::Data => 0,
        }
    }
}

/// Reads a level: `0` to `63`, no leading zero, no sign.
pub fn parse_level(text: &str) -> Result<u8, Error> {
    let canonical =
        text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let level = text
        .parse()
        .ok()
        .filter(|level| canonical && *level <= MAX_LEVEL);
    level.ok_or(Error::MalformedPath(
        "the level is not a number from 0 to 63",
    ))
}

/// Reads the position part of a path, `x001/x234/067` or `x001/x234/067.p/5`, into index and width.
pub fn parse_position(text: &str) -> Result<(u64, u16), Error> {
    let (groups, width) = match text.split_once(".p/") {
        None => (text, TILE_WIDTH),
        Some((groups, width)) => (groups, parse_width(width)?),
    };
    let index = parse_index(groups)?;
    // One tile, one name: the way back must lead to the same text. It finds every sign, zero and group that is too many.
    if format_position(index, width) != text {
        return Err(Error::MalformedPath(
            "the index is not written in its shortest form",
        ));
    }
    Ok((index, width))
}

/// Writes the position part of a path; the inverse of [`parse_position`].
pub fn format_position(index: u64, width: u16) -> String {
    let mut path = format!("{:03}", index % 1000);
    let mut rest = index / 1000;
    while rest > 0 {
        path = format!("x{:03}/{path}", rest % 1000);
        rest /= 1000;
    }
    if width < TILE_WIDTH {
        path.push_str(&format!(".p/{width}"));
    }
    path
}

fn parse_index(groups: &str) -> Result<u64, Error> {
    const BAD: Error = Error::MalformedPath("the index is not made of groups of three digits");
    let mut index: u64 = 0;
    let mut parts = groups.split('/').peekable();
    while let Some(part) = parts.next() {
        let digits = if parts.peek().is_some() {
            part.strip_prefix('x').ok_or(BAD)?
        } else {
            part
        };
        let group: u64 = digits.parse().map_err(|_| BAD)?;
        index = index
            .checked_mul(1000)
            .and_then(|i| i.checked_add(group))
            .ok_or(BAD)?;
    }
    Ok(index)
}

fn parse_width(text: &str) -> Result<u16, Error> {
    let width = text
        .parse()
        .ok()
        .filter(|width| (1..TILE_WIDTH).contains(width));
    width.ok_or(Error::MalformedPath(
        "the width of a partial tile is not a number from 1 to 255",
    ))
}

/// How many hashes the tile `(level, index)` has in a tree of `size` leaves: 0 (it does not exist) to 256.
pub fn width_in_tree(level: u8, index: u64, size: u64) -> u16 {
    let hashes = hashes_at_level(level, size);
    let before = index.saturating_mul(u64::from(TILE_WIDTH));
    hashes.saturating_sub(before).min(u64::from(TILE_WIDTH)) as u16
}

/// How many hashes tile level `level` has in a tree of `size` leaves: `floor(size / 256^level)`.
pub fn hashes_at_level(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT))
        .unwrap_or(0)
}

/// The hash tiles that a tree of `to` leaves has and one of `from` leaves had not, or had narrower; lower levels first.
pub fn changed_tiles(from: u64, to: u64) -> Vec<TileId> {
    let mut tiles = Vec::new();
    for level in 0..=MAX_LEVEL {
        let (old, new) = (hashes_at_level(level, from), hashes_at_level(level, to));
        if new == 0 {
            break;
        }
        if old == new {
            continue;
        }
        let last = (new - 1) >> TILE_HEIGHT;
        for index in old >> TILE_HEIGHT..=last {
            tiles.push(TileId {
                kind: TileKind::Hashes(level),
                index,
                width: width_in_tree(level, index, to),
            });
        }
    }
    tiles
}

/// Where a node's hash comes from: `count` hashes from `offset` on in the tile `(level, index)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLocation {
    /// Tile level.
    pub level: u8,
    /// Tile index.
    pub index: u64,
    /// First hash of the node's subtree in the tile.
    pub offset: usize,
    /// Number of hashes of the node's subtree: a power of two up to 128.
    pub count: usize,
}

/// Finds the tile from which a node can be computed.
pub fn locate(node: Node) -> NodeLocation {
    let height = node.level % TILE_HEIGHT;
    let first = node.index << height;
    NodeLocation {
        level: node.level / TILE_HEIGHT,
        index: first >> TILE_HEIGHT,
        offset: (first % u64::from(TILE_WIDTH)) as usize,
        count: 1 << height,
    }
}

/// Computes a node's hash from the bytes of the tile [`locate`] names, full or partial.
pub fn node_from_tile(location: NodeLocation, tile: &[u8]) -> Result<Hash, Error> {
    let hashes = parse_tile(tile)?;
    let own = hashes.get(location.offset..location.offset + location.count);
    own.map(merkle_tree_hash).ok_or(Error::Malformed {
        what: "tile",
        problem: "it is narrower than the tree says",
    })
}

/// The hashes in a tile file. Its length must be a multiple of 32 from 32 to 8,192.
pub fn parse_tile(bytes: &[u8]) -> Result<Vec<Hash>, Error> {
    let (hashes, rest) = bytes.as_chunks::<HASH_LEN>();
    if hashes.is_empty() || !rest.is_empty() || hashes.len() > usize::from(TILE_WIDTH) {
        return Err(Error::Malformed {
            what: "tile",
            problem: "its length is not 1 to 256 hashes",
        });
    }
    Ok(hashes.to_vec())
}

/// Appends one entry to an entry bundle: two length bytes, then the entry.
pub fn put_entry(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), Error> {
    put_prefixed::<2>(bundle, "log entry", entry)
}

/// Cuts an entry bundle into its entries, 1 to 256 of them.
pub fn parse_bundle(bytes: &[u8]) -> Result<Vec<&[u8]>, Error> {
    let mut reader = Reader::new("entry bundle", bytes);
    let mut entries = Vec::new();
    while !reader.is_empty() {
        if entries.len() == usize::from(TILE_WIDTH) {
            return Err(reader.malformed("it has more than 256 entries"));
        }
        entries.push(reader.prefixed::<2>()?);
    }
    if entries.is_empty() {
        Err(reader.malformed("it is empty"))
    } else {
        Ok(entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::leaf_hash;
    use proptest::prelude::*;

    #[test]
    fn paths_are_those_of_the_specification() {
        let cases = [
            (
                TileId::full(TileKind::Hashes(0), 1_234_067),
                "tile/0/x001/x234/067",
            ),
            (
                TileId {
                    kind: TileKind::Hashes(3),
                    index: 0,
                    width: 255,
                },
                "tile/3/000.p/255",
            ),
            (
                TileId {
                    kind: TileKind::Entries,
                    index: 1000,
                    width: 1,
                },
                "tile/entries/x001/000.p/1",
            ),
            (TileId::full(TileKind::Data, 999), "tile/data/999"),
        ];
        for (tile, path) in cases {
            assert_eq!(tile.to_string(), path);
            assert_eq!(TileId::parse(path), Ok(tile));
        }
    }

    #[test]
    fn a_tile_has_exactly_one_name() {
        let refused = [
            "",
            "tile",
            "tile/",
            "tile/0",
            "tile/0/",
            "tile/00/000",
            "tile/64/000",
            "tile/-1/000",
            "tile/+1/000",
            "tile/0/0",
            "tile/0/00",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x001/x000",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/0/000.p/01",
            "tile/0/000.p/+1",
            "tile/0/000.p/257",
            "tile/0/000.p/65536",
            "tile/0/+00",
            "tile/0/x+01/000",
            "tile/0/x1000/000",
            "tile/0/001.p/1.p/1",
            "tile/0/000.p/",
            "tile/0/000.p",
            "tile/0/000.p/1/2",
            "tile/0/000/",
            "tile/0//000",
            "tile/0/x00a/000",
            "tile/entries/../000",
            "tile/x/000",
            "/tile/0/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
            "tile/0/x001/x018/x446/x744/x073/x709/x551/615",
        ];
        for path in refused {
            assert!(TileId::parse(path).is_err(), "{path:?} was read");
        }
    }

    #[test]
    fn the_tiles_of_seventy_thousand_leaves() {
        let tiles = changed_tiles(0, 70_000);
        let count = |level, full| {
            tiles
                .iter()
                .filter(|t| t.kind == TileKind::Hashes(level) && t.is_full() == full)
                .count()
        };
        assert_eq!(
            (count(0, true), count(1, true), count(2, true)),
            (273, 1, 0)
        );
        let partial: Vec<String> = tiles
            .iter()
            .filter(|t| !t.is_full())
            .map(TileId::to_string)
            .collect();
        assert_eq!(
            partial,
            ["tile/0/273.p/112", "tile/1/001.p/17", "tile/2/000.p/1"]
        );
    }

    #[test]
    fn a_full_tile_is_one_hash_a_level_up() {
        let paths: Vec<String> = changed_tiles(0, 256)
            .iter()
            .map(TileId::to_string)
            .collect();
        assert_eq!(paths, ["tile/0/000", "tile/1/000.p/1"]);
        assert!(changed_tiles(256, 256).is_empty());
        let paths: Vec<String> = changed_tiles(255, 257)
            .iter()
            .map(TileId::to_string)
            .collect();
        assert_eq!(paths, ["tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1"]);
    }

    #[test]
    fn a_tree_has_the_tiles_that_its_size_says() {
        let width = |kind, index, size| TileId::in_tree(kind, index, size).map(|tile| tile.width);
        for kind in [TileKind::Hashes(0), TileKind::Entries, TileKind::Data] {
            assert_eq!(width(kind, 0, 0), None);
            assert_eq!(width(kind, 0, 1), Some(1));
            assert_eq!(width(kind, 0, 256), Some(256));
            assert_eq!(width(kind, 1, 256), None);
            assert_eq!(width(kind, 1, 257), Some(1));
        }
        assert_eq!(width(TileKind::Hashes(1), 0, 255), None);
        assert_eq!(width(TileKind::Hashes(1), 0, 256), Some(1));
    }

    #[test]
    fn a_tile_file_has_1_to_256_whole_hashes() {
        for count in [1, 2, 255, 256] {
            let bytes = vec![7; count * HASH_LEN];
            assert_eq!(parse_tile(&bytes), Ok(vec![[7; HASH_LEN]; count]));
        }
        for length in [
            0,
            1,
            31,
            33,
            TILE_BYTES - 1,
            TILE_BYTES + 1,
            TILE_BYTES + 32,
        ] {
            let refused = parse_tile(&vec![7; length]);
            assert!(
                matches!(refused, Err(Error::Malformed { what: "tile", .. })),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn tiles_of_the_largest_tree_do_not_overflow() {
        assert_eq!(width_in_tree(0, u64::MAX, u64::MAX), 0);
        assert_eq!(width_in_tree(7, 0, u64::MAX), 255);
        assert_eq!(width_in_tree(8, 0, u64::MAX), 0);
        assert_eq!(width_in_tree(63, 0, u64::MAX), 0);
    }

    #[test]
    fn a_bundle_gives_back_its_entries_and_refuses_a_cut() {
        let mut bundle = Vec::new();
        for entry in [b"one".as_slice(), b"", b"three"] {
            put_entry(&mut bundle, entry).unwrap();
        }
        assert_eq!(
            parse_bundle(&bundle).unwrap(),
            [b"one".as_slice(), b"", b"three"]
        );
        assert!(parse_bundle(&bundle[..bundle.len() - 1]).is_err());
        assert!(parse_bundle(&[]).is_err());
        assert!(parse_bundle(&[0; 2 * 257]).is_err());
        assert!(put_entry(&mut bundle, &vec![0; MAX_ENTRY_BYTES + 1]).is_err());
    }

    #[test]
    fn a_node_is_found_in_its_tile() {
        let leaves: Vec<Hash> = (0..256u32).map(|i| leaf_hash(&i.to_be_bytes())).collect();
        let tile = leaves.concat();
        let location = locate(Node { level: 3, index: 5 });
        assert_eq!(
            location,
            NodeLocation {
                level: 0,
                index: 0,
                offset: 40,
                count: 8
            }
        );
        assert_eq!(
            node_from_tile(location, &tile).unwrap(),
            merkle_tree_hash(&leaves[40..48])
        );
        assert!(node_from_tile(location, &tile[..47 * 32]).is_err());
        assert!(node_from_tile(location, &tile[..47 * 32 + 1]).is_err());
        let above = locate(Node {
            level: 8,
            index: 257,
        });
        assert_eq!(
            above,
            NodeLocation {
                level: 1,
                index: 1,
                offset: 1,
                count: 1
            }
        );
    }

    proptest! {
        #[test]
        fn every_tile_id_survives_its_path(level in 0u8..=63, index in any::<u64>(), width in 1u16..=256, kind in 0..3) {
            let kind = [TileKind::Hashes(level), TileKind::Entries, TileKind::Data][kind as usize];
            let tile = TileId { kind, index, width };
            prop_assert_eq!(TileId::parse(&tile.to_string()), Ok(tile));
        }

        #[test]
        fn reading_any_path_does_not_panic(path in "(tile/)?[0-9x/.p]{0,40}") {
            if let Ok(tile) = TileId::parse(&path) {
                prop_assert_eq!(tile.to_string(), path);
            }
        }

        #[test]
        fn reading_any_bundle_does_not_panic(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
            if let Ok(entries) = parse_bundle(&bytes) {
                let mut again = Vec::new();
                for entry in entries {
                    put_entry(&mut again, entry).unwrap();
                }
                prop_assert_eq!(again, bytes);
            }
        }
    }
}
