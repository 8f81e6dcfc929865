//! Whether the runs hold what they must, for fsck: every block, and every key of every entry, with little memory.

use sealwright_tlog::tile::TILE_HEIGHT;

use crate::dedup::key::{Family, Keyed};
use crate::dedup::load::{hashes_in, list, source};
use crate::dedup::run::{Pair, Run, RunId};
use crate::disk::Disk;
use crate::error::Error;
use crate::kind::Kind;
use crate::tree::public_path;

/// Blocks that are read at once: 1 MiB.
const READ_BLOCKS: u64 = 256;

/// What is wrong with the runs: file and problem. Entries are taken from tiles and bundles as they are in files; what
/// cannot be read of those is not compared.
pub(crate) fn problems(
    disk: &dyn Disk,
    kind: Kind,
    keyed: &Keyed,
) -> Result<Vec<(String, String)>, Error> {
    let families = Family::of(kind.identity_is_leaf_hash());
    let mut problems = Vec::new();
    for id in list(disk, families)? {
        if let Some(problem) = problem(disk, kind, keyed, id)? {
            problems.push((id.path(), problem));
        }
    }
    Ok(problems)
}

fn problem(disk: &dyn Disk, kind: Kind, keyed: &Keyed, id: RunId) -> Result<Option<String>, Error> {
    let Some(run) = Run::open(disk, id, keyed.check())? else {
        return Ok(Some("it is damaged, or of another log".into()));
    };
    let held = match sum_of_run(disk, &run) {
        Ok(Some(sum)) => sum,
        Ok(None) => {
            return Ok(Some(
                "its keys are not in order, or not in its filter".into(),
            ));
        }
        Err(Error::Corrupt { problem, .. }) => return Ok(Some(problem)),
        Err(error) => return Err(error),
    };
    let expected = sum_of_entries(disk, kind, keyed, id)?;
    let same = expected.is_none_or(|expected| expected == held);
    Ok((!same).then(|| "its keys are those of other entries".into()))
}

/// A sum over pairs that does not depend on their order: two sets of pairs have the same one only by an accident of one in
/// 2^128.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Sum(u128);

impl Sum {
    fn add(&mut self, (key, index): Pair) {
        let mixed = (u128::from(key) << 64 | u128::from(index))
            .wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        let mixed = (mixed ^ mixed >> 67).wrapping_mul(0xC2B2_AE3D_27D4_EB4F_1656_67B1_9E37_79F9);
        self.0 = self.0.wrapping_add(mixed ^ mixed >> 61);
    }
}

fn sum_of_run(disk: &dyn Disk, run: &Run) -> Result<Option<Sum>, Error> {
    let (mut sum, mut last) = (Sum::default(), None);
    for block in (0..run.blocks()).step_by(READ_BLOCKS as usize) {
        for pair in run.block_pairs(disk, block, READ_BLOCKS)? {
            if last.is_some_and(|last| last >= pair) || !run.may_hold(pair.0) {
                return Ok(None);
            }
            last = Some(pair);
            sum.add(pair);
        }
    }
    Ok(Some(sum))
}

/// `None` when not all of the entries can be read.
fn sum_of_entries(
    disk: &dyn Disk,
    kind: Kind,
    keyed: &Keyed,
    id: RunId,
) -> Result<Option<Sum>, Error> {
    let mut sum = Sum::default();
    for bundle in id.first >> TILE_HEIGHT..id.end >> TILE_HEIGHT {
        let path = public_path(source(kind, bundle));
        let bytes = disk
            .read(&path)
            .map_err(|error| Error::disk("reading", path, error))?;
        let hashes = hashes_in(kind, bundle, &bytes.unwrap_or_default().into());
        let Ok(hashes) = hashes else { return Ok(None) };
        for (index, (identity, leaf_hash)) in (bundle << TILE_HEIGHT..).zip(hashes) {
            let hash = match id.family {
                Family::Identity => identity,
                Family::LeafHash => leaf_hash,
            };
            sum.add((keyed.key(&hash), index));
        }
    }
    Ok(Some(sum))
}
