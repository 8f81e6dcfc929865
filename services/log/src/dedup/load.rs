//! The index at a start: runs that are there, runs that have to be made again, and the entries behind them.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use sealwright_tlog::Hash;
use sealwright_tlog::tile::{TILE_HEIGHT, TILE_WIDTH, TileId, TileKind};

use crate::dedup::key::{Family, Keyed};
use crate::dedup::run::{FOLDER, Pair, Run, RunId, build};
use crate::dedup::volatile::UNIT;
use crate::dedup::{Index, RunSet, keys};
use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;
use crate::tree::{Tree, public_path};

/// Four runs of one size are merged into one, so that runs are of 4^n units.
pub(crate) const FAN: u64 = 4;
/// The largest run that is made in memory, 16 MiB of pairs: 4^3 units.
const LARGEST_REBUILT: u64 = UNIT * FAN * FAN * FAN;
/// Before there were runs, eight bytes of each hash were kept in this file.
const FORMER_FILE: &str = "dedup.idx";

/// How many entries the names of the runs speak of, whatever is in them. A run gets its name after its entries are
/// durable, so that a write-ahead log with fewer was rolled back.
pub(crate) fn covered_by_names(disk: &dyn Disk) -> Result<u64, Error> {
    let ids = list(disk, &[Family::Identity, Family::LeafHash])?;
    Ok(ids.iter().map(|id| id.end).max().unwrap_or_default())
}

/// The index of a tree. Makes runs again that are missing or damaged, which takes about as long as reading the leaf hashes
/// of their entries: 6 seconds for ten million of a signature log on two cores.
///
/// Entries below `filed` are in synced tiles and bundles.
pub(crate) fn open(tree: &Tree, keyed: Keyed, filed: u64) -> Result<Index, Error> {
    let families = Family::of(tree.kind.identity_is_leaf_hash());
    let disk = &*tree.disk;
    let listed = list(disk, families)?;
    let goal = listed
        .iter()
        .map(|id| id.end)
        .max()
        .unwrap_or_default()
        .max(filed / UNIT * UNIT)
        .min(tree.snapshot().size() / UNIT * UNIT);
    let mut runs = RunSet::empty(families.len());
    for (family, own) in families.iter().zip(&mut runs.families) {
        let ids: Vec<RunId> = listed
            .iter()
            .filter(|id| id.family == *family)
            .copied()
            .collect();
        *own = chain(tree, &keyed, *family, ids, goal)?;
    }
    runs.covered = goal;
    remove_others(tree, &runs)?;
    let mut index = Index::new(keyed, families, runs);
    fill(tree, &mut index)?;
    Ok(index)
}

pub(crate) fn list(disk: &dyn Disk, families: &[Family]) -> Result<Vec<RunId>, Error> {
    let names = disk
        .list(FOLDER)
        .map_err(|error| Error::disk("listing", FOLDER, error))?;
    let ids = names.iter().filter_map(|name| RunId::parse(name, families));
    Ok(ids.collect())
}

/// Runs without a gap up to `goal`: of those that begin at the same entry the longest that is sound, and new ones where
/// there is none.
fn chain(
    tree: &Tree,
    keyed: &Keyed,
    family: Family,
    mut ids: Vec<RunId>,
    goal: u64,
) -> Result<Vec<Arc<Run>>, Error> {
    ids.retain(|id| id.first % UNIT == 0 && id.end % UNIT == 0 && id.end <= goal);
    ids.sort_unstable_by_key(|id| (id.first, std::cmp::Reverse(id.end)));
    let (mut runs, mut at) = (Vec::new(), 0);
    for id in ids {
        if id.first < at {
            continue;
        }
        let Some(run) = Run::open(&*tree.disk, id, keyed.check())? else {
            tracing::warn!(
                file = id.path(),
                "a run of known entries is damaged and made again"
            );
            continue;
        };
        runs.extend(rebuild(tree, keyed, family, at, id.first)?);
        runs.push(Arc::new(run));
        at = id.end;
    }
    runs.extend(rebuild(tree, keyed, family, at, goal)?);
    Ok(runs)
}

/// Makes the runs of the entries `first..end` of their leaf hashes. Durable at return.
pub(crate) fn rebuild(
    tree: &Tree,
    keyed: &Keyed,
    family: Family,
    first: u64,
    end: u64,
) -> Result<Vec<Arc<Run>>, Error> {
    let started = Instant::now();
    let (mut runs, mut at) = (Vec::new(), first);
    while at < end {
        let id = RunId {
            family,
            first: at,
            end: at + largest_run(at, end),
        };
        let pairs = pairs_of(tree, keyed, id)?;
        runs.push(Arc::new(write(tree, keyed, id, pairs)?));
        at = id.end;
    }
    if first < end {
        let seconds = started.elapsed().as_secs_f64();
        tracing::info!(
            first,
            end,
            seconds,
            family = family.word(),
            "runs were made again"
        );
    }
    Ok(runs)
}

/// Entries of the largest run that may begin at `first`, so that merging goes on as if nothing had been lost.
fn largest_run(first: u64, end: u64) -> u64 {
    let mut entries = LARGEST_REBUILT;
    while entries > UNIT && (!first.is_multiple_of(entries) || first + entries > end) {
        entries /= FAN;
    }
    entries.min(end - first)
}

fn write(tree: &Tree, keyed: &Keyed, id: RunId, pairs: Vec<Pair>) -> Result<Run, Error> {
    let (bytes, run) = build(id, keyed.check(), pairs).ok_or_else(|| {
        Error::corrupt(
            id.path(),
            "it would not have one key for each of its entries",
        )
    })?;
    tree.disk
        .put(&[(id.path(), bytes)])
        .map_err(|error| Error::disk("writing", id.path(), error))?;
    Ok(run)
}

fn pairs_of(tree: &Tree, keyed: &Keyed, id: RunId) -> Result<Vec<Pair>, Error> {
    let mut pairs = Vec::with_capacity(usize::try_from(id.len()).unwrap_or_default());
    for bundle in id.first >> TILE_HEIGHT..id.end >> TILE_HEIGHT {
        let hashes = hashes(tree, bundle)?;
        let keys = hashes.iter().map(|(identity, leaf_hash)| match id.family {
            Family::Identity => keyed.key(identity),
            Family::LeafHash => keyed.key(leaf_hash),
        });
        pairs.extend(keys.zip(bundle << TILE_HEIGHT..));
    }
    Ok(pairs)
}

/// Identity and leaf hash of every entry of a full bundle.
fn hashes(tree: &Tree, bundle: u64) -> Result<Vec<(Hash, Hash)>, Error> {
    hashes_in(tree.kind, bundle, &tree.tile(source(tree.kind, bundle))?)
}

/// The file that says identity and leaf hash of the entries of a bundle: where they are the same thing, the tile.
pub(crate) fn source(kind: Kind, bundle: u64) -> TileId {
    let file = if kind.identity_is_leaf_hash() {
        TileKind::Hashes(0)
    } else {
        kind.bundle()
    };
    TileId::full(file, bundle)
}

/// Identity and leaf hash of every entry of a bundle, from the bytes of its [`source`].
pub(crate) fn hashes_in(
    kind: Kind,
    bundle: u64,
    bytes: &Bytes,
) -> Result<Vec<(Hash, Hash)>, Error> {
    let corrupt = |problem: String| Error::corrupt(public_path(source(kind, bundle)), problem);
    let hashes: Vec<(Hash, Hash)> = if kind.identity_is_leaf_hash() {
        let hashes = bytes.as_chunks::<32>().0.iter();
        hashes.map(|hash| (*hash, *hash)).collect()
    } else {
        let leaves = kind.split_bundle(bytes);
        let leaves = leaves
            .map_err(|error| corrupt(error.to_string()))?
            .into_iter();
        let facts = leaves.map(|leaf| kind.facts(leaf));
        let facts = facts.map(|facts| facts.map(|facts| (facts.identity, facts.leaf_hash)));
        let facts = facts.collect::<Result<Vec<_>, _>>();
        facts.map_err(|error| corrupt(error.to_string()))?
    };
    if hashes.len() == usize::from(TILE_WIDTH) {
        return Ok(hashes);
    }
    Err(corrupt(format!("it has {} entries", hashes.len())))
}

/// Adds the entries behind the runs.
fn fill(tree: &Tree, index: &mut Index) -> Result<(), Error> {
    let snapshot = tree.snapshot();
    let bundles = index.runs().covered >> TILE_HEIGHT..snapshot.size() >> TILE_HEIGHT;
    for bundle in bundles {
        for (at, (identity, leaf_hash)) in (bundle << TILE_HEIGHT..).zip(hashes(tree, bundle)?) {
            add(index, at, &identity, &leaf_hash);
        }
    }
    let first = snapshot.size() - snapshot.partial.len() as u64;
    let edge = snapshot.edge.tile(0).map(|tile| tile.hashes());
    let partial = snapshot.partial.iter().zip(edge.unwrap_or_default());
    for (at, (leaf, leaf_hash)) in (first..).zip(partial) {
        add(index, at, &leaf.identity, leaf_hash);
    }
    Ok(())
}

fn add(index: &mut Index, at: u64, identity: &Hash, leaf_hash: &Hash) {
    let keys = keys(index.keyed(), index.families(), identity, leaf_hash);
    index.insert(&keys, at);
}

/// Removes what is no part of the index: runs that were merged or replaced, unfinished ones, the former file.
fn remove_others(tree: &Tree, runs: &RunSet) -> Result<(), Error> {
    let names = tree.disk.list(FOLDER);
    let names = names.map_err(|error| Error::disk("listing", FOLDER, error))?;
    let kept: Vec<String> = runs.all().map(|run| run.id.path()).collect();
    let others = names.iter().map(|name| format!("{FOLDER}/{name}"));
    let others = others.filter(|path| !kept.contains(path));
    for path in others.chain([FORMER_FILE.to_owned()]) {
        tree.disk
            .remove(&path)
            .map_err(|error| Error::disk("removing", path, error))?;
    }
    Ok(())
}
