//! Which entries the log has already: exact, over the whole log, with 1.6 bytes of memory an entry.
//!
//! An entry is in flight, or known, or new. The known ones are found by a 64-bit [`key`] of their identity, and in a
//! certificate log by one of their leaf hash too, for `get-proof-by-hash`. The newest are in a map in memory
//! ([`volatile`]); all others are in sorted files that never change, the [runs](run), of whose keys a [`filter`] in memory
//! rules out nearly all that are unknown. So a new entry costs no read, nearly always, and a known one costs one of 4 KiB
//! and one of its bundle. A key is a hint, never an answer: whoever finds a candidate compares the stored entry.
//!
//! What makes it exact is one lock, the intake's. Under it an entry goes from flight into the map when its batch is
//! durable, and whole units of the map go over to a new run set. Files are read without the lock: a [`Reading`] belongs to
//! one run set, and when another one covers more entries by the time its answer comes back, the rest is read too
//! ([`Checked`]). Between that comparison and the entry's place in the queue the lock is not let go.
//!
//! # The life of a key
//!
//! 1. The sequencer makes a batch durable, and the entry's keys go into the map.
//! 2. The publisher puts bundles and tiles into files. When all of a unit's entries are there, it writes a run of them,
//!    syncs it, and puts it in the place of the unit ([`compact`]).
//! 3. Four neighbouring runs of one size are merged into one, a part in each round of the publisher. The old files go when
//!    the last reader has let go of them.
//! 4. A start reads filters and fences of the runs, and the leaf hashes of the entries behind the last one ([`load`]).
//!
//! Runs follow from the tree: one that is missing, damaged, or made with another secret is made again. That a run is
//! there proves on the other hand that its entries were once durable, so that a start refuses a write-ahead log that ends
//! before the runs do.

pub(crate) mod check;
pub(crate) mod compact;
mod filter;
pub(crate) mod key;
pub(crate) mod load;
pub(crate) mod run;
#[cfg(test)]
mod tests;
mod volatile;

use std::sync::Arc;

use sealwright_tlog::Hash;

use crate::dedup::key::{Family, Keyed};
use crate::dedup::run::Run;
pub(crate) use crate::dedup::volatile::Unit;
use crate::dedup::volatile::Volatile;
use crate::disk::Disk;
use crate::error::Error;

/// All runs at one time.
#[derive(Debug)]
pub(crate) struct RunSet {
    /// Entries below have all their keys in these runs. The number also tells sets apart as far as it matters: two sets that
    /// cover the same entries find the same ones.
    pub(crate) covered: u64,
    /// For each family its runs, oldest first, without a gap.
    pub(crate) families: Vec<Vec<Arc<Run>>>,
}

impl RunSet {
    pub(crate) fn empty(families: usize) -> Self {
        Self {
            covered: 0,
            families: vec![Vec::new(); families],
        }
    }

    pub(crate) fn of(&self, family: Family) -> &[Arc<Run>] {
        self.families
            .get(family.position())
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// The runs that may hold the key and reach beyond `checked`.
    fn hits(&self, family: Family, key: u64, checked: u64) -> Vec<Arc<Run>> {
        let runs = self.of(family).iter();
        runs.filter(|run| run.id.end > checked && run.may_hold(key))
            .cloned()
            .collect()
    }

    /// Bytes in memory.
    pub(crate) fn weight(&self) -> usize {
        self.all().map(|run| run.weight()).sum()
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<Run>> {
        self.families.iter().flatten()
    }
}

/// Runs that have to be read before it is said whether an entry is known.
#[derive(Debug)]
pub(crate) struct Reading {
    covered: u64,
    key: u64,
    hits: Vec<Arc<Run>>,
}

impl Reading {
    /// Indexes of entries that may have what was looked up, ascending. Reads files, so it is not for the threads of the
    /// runtime.
    ///
    /// [`Error::Corrupt`] names a run that is not what was written. The publisher makes it again in its next round.
    pub(crate) fn read(&self, disk: &dyn Disk) -> Result<Vec<u64>, Error> {
        let mut indexes = Vec::new();
        for run in &self.hits {
            indexes.extend(run.read(disk, self.key)?);
        }
        Ok(indexes)
    }

    /// How many runs are read.
    pub(crate) fn runs(&self) -> usize {
        self.hits.len()
    }
}

/// What was found out about an entry between two offers.
#[derive(Debug, Default)]
pub(crate) struct Checked {
    /// Entries below are not this one, apart from candidates that are still to be compared.
    covered: u64,
    /// Candidates that turned out to be other entries.
    refuted: Vec<u64>,
}

impl Checked {
    /// The entry at `index` is another one.
    pub(crate) fn refute(&mut self, index: u64) {
        self.refuted.push(index);
    }

    /// All that `reading` found was another entry.
    pub(crate) fn done(&mut self, reading: &Reading) {
        self.covered = reading.covered;
    }
}

/// What is known of a key under the lock.
pub(crate) enum Lookup {
    /// Runs have to be read first.
    Read(Reading),
    /// These entries, in memory, may be it; no others are.
    Candidates(Vec<u64>),
}

/// Everything that is known of all durable entries.
#[derive(Debug)]
pub(crate) struct Index {
    keyed: Keyed,
    families: &'static [Family],
    volatile: Volatile,
    runs: Arc<RunSet>,
}

impl Index {
    /// Nothing but what the runs hold.
    pub(crate) fn new(keyed: Keyed, families: &'static [Family], runs: RunSet) -> Self {
        Self {
            keyed,
            families,
            volatile: Volatile::new(families.len(), runs.covered),
            runs: Arc::new(runs),
        }
    }

    pub(crate) fn keyed(&self) -> &Keyed {
        &self.keyed
    }

    pub(crate) fn families(&self) -> &'static [Family] {
        self.families
    }

    pub(crate) fn runs(&self) -> &Arc<RunSet> {
        &self.runs
    }

    /// Adds an entry with its keys, from [`keys`].
    pub(crate) fn insert(&mut self, keys: &[u64], index: u64) {
        self.volatile.insert(keys, index);
    }

    /// What has to be read or compared before an entry with this key counts as new.
    pub(crate) fn look_up(&self, key: u64, checked: &Checked) -> Lookup {
        if checked.covered < self.runs.covered {
            let hits = self.runs.hits(Family::Identity, key, checked.covered);
            if !hits.is_empty() {
                return Lookup::Read(self.reading(key, hits));
            }
        }
        let mut candidates = self.volatile.candidates(Family::Identity, key);
        candidates.retain(|index| !checked.refuted.contains(index));
        Lookup::Candidates(candidates)
    }

    /// Where entries with this leaf hash may be: in memory, and in runs that have to be read.
    pub(crate) fn by_leaf_hash(&self, leaf_hash: &Hash) -> (Vec<u64>, Reading) {
        let family = Family::of_leaf_hashes(self.families.len());
        let key = self.keyed.key(leaf_hash);
        let hits = self.runs.hits(family, key, 0);
        (
            self.volatile.candidates(family, key),
            self.reading(key, hits),
        )
    }

    fn reading(&self, key: u64, hits: Vec<Arc<Run>>) -> Reading {
        Reading {
            covered: self.runs.covered,
            key,
            hits,
        }
    }

    /// Units that lie below `end` as a whole, and the index of the first one's first entry.
    pub(crate) fn full_units(&self, end: u64) -> (u64, Vec<Arc<Unit>>) {
        self.volatile.full_units(end)
    }

    /// Puts another run set in the place of the present one, and gives up the units that it covers.
    pub(crate) fn install(&mut self, runs: Arc<RunSet>) -> Vec<Arc<Unit>> {
        self.runs = runs;
        self.volatile.release(self.runs.covered)
    }
}

/// The keys of an entry, one for each family.
pub(crate) fn keys(
    keyed: &Keyed,
    families: &[Family],
    identity: &Hash,
    leaf_hash: &Hash,
) -> [u64; 2] {
    let identity = keyed.key(identity);
    match families {
        [_] => [identity, identity],
        _ => [identity, keyed.key(leaf_hash)],
    }
}
