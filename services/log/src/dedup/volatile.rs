//! The keys of the newest entries, which are not in runs yet.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::dedup::key::{BuildKeyHasher, Family};
use crate::dedup::run::Pair;

/// Entries of a unit, the smallest run: 64 bundles. A start reads the leaf hashes of fewer entries than this again, and
/// memory holds some 40 bytes for each of these and of what waits for its files. The crate's own tests and simulated
/// histories are short: there a unit is a bundle, so that they see runs and merges.
pub(crate) const UNIT: u64 = if cfg!(test) { 256 } else { 16_384 };

/// The keys of one family in one unit.
#[derive(Debug, Clone, Default)]
struct KeyMap {
    first: HashMap<u64, u64, BuildKeyHasher>,
    /// Further indexes of a key: next to never.
    more: Vec<Pair>,
}

impl KeyMap {
    fn insert(&mut self, key: u64, index: u64) {
        let first = *self.first.entry(key).or_insert(index);
        if first != index && !self.more.contains(&(key, index)) {
            self.more.push((key, index));
        }
    }

    fn candidates(&self, key: u64) -> impl Iterator<Item = u64> {
        let more = self.more.iter().filter(move |(own, _)| *own == key);
        let first = self.first.get(&key).copied();
        first.into_iter().chain(more.map(|(_, index)| *index))
    }

    fn pairs(&self) -> Vec<Pair> {
        let first = self.first.iter().map(|(key, index)| (*key, *index));
        first.chain(self.more.iter().copied()).collect()
    }
}

/// The keys of the entries of one unit.
#[derive(Debug, Clone)]
pub(crate) struct Unit {
    families: Vec<KeyMap>,
}

impl Unit {
    /// All pairs of a family, in no order.
    pub(crate) fn pairs(&self, family: Family) -> Vec<Pair> {
        self.families
            .get(family.position())
            .map(KeyMap::pairs)
            .unwrap_or_default()
    }
}

/// Units from the end of the runs on. A unit goes as a whole, which costs its readers' lock nothing.
#[derive(Debug)]
pub(crate) struct Volatile {
    families: usize,
    /// Number of the first unit.
    first: u64,
    units: VecDeque<Arc<Unit>>,
}

impl Volatile {
    /// For entries from `covered` on, a multiple of [`UNIT`].
    pub(crate) fn new(families: usize, covered: u64) -> Self {
        Self {
            families,
            first: covered / UNIT,
            units: VecDeque::new(),
        }
    }

    /// `keys` has one for each family. Entries below the first unit are in runs, and not kept.
    pub(crate) fn insert(&mut self, keys: &[u64], index: u64) {
        let Some(position) = (index / UNIT).checked_sub(self.first) else {
            return;
        };
        while self.units.len() as u64 <= position {
            let families = vec![KeyMap::default(); self.families];
            self.units.push_back(Arc::new(Unit { families }));
        }
        // Nobody shares a unit that is not full.
        let unit = Arc::make_mut(&mut self.units[position as usize]);
        for (map, key) in unit.families.iter_mut().zip(keys) {
            map.insert(*key, index);
        }
    }

    /// Indexes of entries that may have what the key was made of, oldest first.
    pub(crate) fn candidates(&self, family: Family, key: u64) -> Vec<u64> {
        let maps = self
            .units
            .iter()
            .filter_map(|unit| unit.families.get(family.position()));
        let mut candidates: Vec<u64> = maps.flat_map(|map| map.candidates(key)).collect();
        candidates.sort_unstable();
        candidates
    }

    /// The oldest units that lie below `end` as a whole, with the index of the first entry of the first.
    pub(crate) fn full_units(&self, end: u64) -> (u64, Vec<Arc<Unit>>) {
        let count = (end / UNIT).saturating_sub(self.first) as usize;
        (
            self.first * UNIT,
            self.units.iter().take(count).cloned().collect(),
        )
    }

    /// Forgets the units below `covered`, and gives them to be dropped where nobody waits.
    pub(crate) fn release(&mut self, covered: u64) -> Vec<Arc<Unit>> {
        let count = ((covered / UNIT).saturating_sub(self.first) as usize).min(self.units.len());
        self.first = self.first.max(covered / UNIT);
        self.units.drain(..count).collect()
    }

    /// Units in memory.
    #[cfg(test)]
    pub(crate) fn units(&self) -> usize {
        self.units.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_filled_in_any_order_and_released_as_a_whole() {
        let mut volatile = Volatile::new(2, UNIT);
        for index in [0, UNIT, 3 * UNIT - 1, 2 * UNIT - 1, UNIT + 1] {
            volatile.insert(&[index, 100], index);
        }
        assert_eq!(volatile.units(), 2);
        let all: Vec<u64> = volatile.candidates(Family::LeafHash, 100);
        assert_eq!(all.len(), 4, "the entry below the first unit is in a run");
        assert_eq!(volatile.candidates(Family::Identity, UNIT), [UNIT],);
        let (first, units) = volatile.full_units(3 * UNIT - 1);
        assert_eq!((first, units.len()), (UNIT, 1));
        let mut pairs = units[0].pairs(Family::LeafHash);
        pairs.sort_unstable();
        assert_eq!(pairs, [(100, UNIT), (100, UNIT + 1), (100, 2 * UNIT - 1)]);
        assert_eq!(volatile.release(2 * UNIT).len(), 1);
        assert_eq!(volatile.candidates(Family::LeafHash, 100), [3 * UNIT - 1]);
        assert!(volatile.release(2 * UNIT).is_empty());
        assert_eq!(volatile.release(9 * UNIT).len(), 1);
        volatile.insert(&[1, 1], 9 * UNIT);
        assert_eq!(volatile.candidates(Family::Identity, 1), [9 * UNIT]);
    }
}
