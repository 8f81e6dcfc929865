//! How the index keeps up with the log: units become runs, small runs larger ones, damaged ones new ones.
//!
//! All of it happens in the publisher's rounds. What one round does is bounded by what it published, so that files of a
//! hundred megabytes are merged without the sync that a lone writer waits for ever standing behind more than a megabyte of
//! other people's data.

use std::sync::{Arc, Mutex, PoisonError};

use crate::dedup::key::{Family, Keyed};
use crate::dedup::load::{FAN, rebuild};
use crate::dedup::run::{Builder, FOLDER, Pair, Run, RunId, UNFINISHED, build};
use crate::dedup::volatile::UNIT;
use crate::dedup::{RunSet, Unit};
use crate::disk::Disk;
use crate::error::Error;
use crate::intake::Intake;
use crate::metrics::LogMetrics;
use crate::tree::Tree;

/// Entries that a round merges at least, while there is something to merge: 65,536, 780 KiB to write.
const STEP: u64 = 4 * UNIT;
/// Entries that a round merges for each that it published. An entry is merged once for each power of [`FAN`] units, seven
/// times in a log of 300 million.
const STEP_FACTOR: u64 = 8;
/// Blocks that are read at once.
const READ_BLOCKS: u64 = 16;
/// Bytes that are written at once.
const WRITE_BYTES: usize = 256 << 10;

/// Keeps the index of a log. The publisher owns it.
#[derive(Debug)]
pub(crate) struct Compactor {
    tree: Arc<Tree>,
    intake: Arc<Intake>,
    keyed: Keyed,
    families: &'static [Family],
    metrics: LogMetrics,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    merge: Option<Merge>,
    /// Runs that are in no set any more. Whoever looked something up before may still read them.
    retired: Vec<Arc<Run>>,
}

impl Compactor {
    pub(crate) fn new(tree: Arc<Tree>, intake: Arc<Intake>, metrics: LogMetrics) -> Self {
        let runs = intake.runs();
        metrics.known_runs(runs.all().count(), runs.weight());
        let (keyed, families) = intake.keyed();
        Self {
            tree,
            intake,
            keyed,
            families,
            metrics,
            state: Mutex::default(),
        }
    }

    /// Makes runs of the units whose entries are all below `filed`. Durable at return; after an error nothing has changed.
    pub(crate) fn absorb(&self, filed: u64) -> Result<(), Error> {
        let (first, units) = self.intake.full_units(filed);
        if units.is_empty() {
            return Ok(());
        }
        let runs = self.intake.runs();
        let mut families = runs.families.clone();
        let mut files = Vec::new();
        for (first, unit) in (first..).step_by(UNIT as usize).zip(&units) {
            for (family, own) in self.families.iter().zip(&mut families) {
                let (file, run) = self.run_of(*family, first, unit)?;
                files.push(file);
                own.push(Arc::new(run));
            }
        }
        self.tree
            .disk
            .put(&files)
            .map_err(|error| Error::disk("writing", FOLDER, error))?;
        self.install(RunSet {
            covered: first + units.len() as u64 * UNIT,
            families,
        });
        Ok(())
    }

    fn run_of(
        &self,
        family: Family,
        first: u64,
        unit: &Unit,
    ) -> Result<((String, Vec<u8>), Run), Error> {
        let id = RunId {
            family,
            first,
            end: first + UNIT,
        };
        let built = build(id, self.keyed.check(), unit.pairs(family));
        let (bytes, run) = built.ok_or_else(|| {
            Error::corrupt(
                id.path(),
                "it would not have one key for each of its entries",
            )
        })?;
        Ok(((id.path(), bytes), run))
    }

    /// One round after `published` more entries came into files: makes damaged runs again, goes on with merging, removes
    /// what nobody reads any more. True when there is more to do.
    ///
    /// Nothing of it is needed for the index to be right, so that a full disk only puts it off.
    pub(crate) fn step(&self, published: u64) -> Result<bool, Error> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        self.remove_retired(&mut state)?;
        if self.repair(&mut state)? {
            return Ok(true);
        }
        let mut left = STEP.max(published.saturating_mul(STEP_FACTOR));
        while left > 0 {
            let next = || Merge::next(&self.intake.runs(), &self.keyed);
            let Some(merge) = state.merge.take().or_else(next) else {
                return Ok(!state.retired.is_empty());
            };
            let disk = &*self.tree.disk;
            match merge.advance(disk, &mut left) {
                Ok(Progress::Unfinished(merge)) => state.merge = Some(*merge),
                Ok(Progress::Finished(run)) => self.replace(&mut state, vec![Arc::new(*run)]),
                Err((path, error)) => {
                    // On a full disk the leftovers would keep the space that others wait for.
                    let _ = disk.remove(&path);
                    return match error {
                        // The damaged run knows that it is, and the next round makes it again.
                        Error::Corrupt { file, problem } => {
                            tracing::warn!(file, problem, "a run could not be merged");
                            Ok(true)
                        }
                        error => Err(error),
                    };
                }
            }
        }
        Ok(true)
    }

    /// Makes one damaged run again; true when there was one.
    fn repair(&self, state: &mut State) -> Result<bool, Error> {
        let runs = self.intake.runs();
        let Some(damaged) = runs.all().find(|run| run.is_damaged()) else {
            return Ok(false);
        };
        tracing::warn!(
            file = damaged.id.path(),
            "a run of known entries is damaged and made again"
        );
        let RunId { family, first, end } = damaged.id;
        // A merge that reads from it goes on: what it has read was sound, and what it will read is made again.
        let made = rebuild(&self.tree, &self.keyed, family, first, end)?;
        self.replace(state, made);
        Ok(true)
    }

    /// Puts `made` in the place of the runs of its range.
    fn replace(&self, state: &mut State, made: Vec<Arc<Run>>) {
        let (Some(first), Some(last)) = (made.first(), made.last()) else {
            return;
        };
        let (family, start, end) = (first.id.family, first.id.first, last.id.end);
        let runs = self.intake.runs();
        let mut families = runs.families.clone();
        let own = &mut families[family.position()];
        let from = own.partition_point(|run| run.id.first < start);
        let to = own.partition_point(|run| run.id.first < end);
        let names: Vec<String> = made.iter().map(|run| run.id.path()).collect();
        let gone = own.splice(from..to, made);
        state
            .retired
            .extend(gone.filter(|run| !names.contains(&run.id.path())));
        self.install(RunSet {
            covered: runs.covered,
            families,
        });
    }

    fn install(&self, runs: RunSet) {
        self.metrics.known_runs(runs.all().count(), runs.weight());
        self.intake.install(runs);
    }

    fn remove_retired(&self, state: &mut State) -> Result<(), Error> {
        let (gone, read) = std::mem::take(&mut state.retired)
            .into_iter()
            .partition(|run| Arc::strong_count(run) == 1);
        state.retired = read;
        let gone: Vec<Arc<Run>> = gone;
        for run in gone {
            let path = run.id.path();
            self.tree
                .disk
                .remove(&path)
                .map_err(|error| Error::disk("removing", path, error))?;
        }
        Ok(())
    }
}

/// A merge on its way.
#[derive(Debug)]
struct Merge {
    inputs: Vec<Input>,
    builder: Builder,
    id: RunId,
    written: u64,
}

enum Progress {
    Unfinished(Box<Merge>),
    Finished(Box<Run>),
}

impl Merge {
    /// The smallest one that is due: [`FAN`] neighbours of one size, which end where the next size begins.
    fn next(runs: &RunSet, keyed: &Keyed) -> Option<Self> {
        let due = runs
            .families
            .iter()
            .flat_map(|own| own.windows(FAN as usize));
        let due = due.filter(|window| is_due(window));
        let window = due.min_by_key(|window| window.first().map(|run| run.id.len()))?;
        let (first, last) = (window.first()?.id, window.last()?.id);
        let id = RunId {
            end: last.end,
            ..first
        };
        Some(Self {
            inputs: window.iter().map(|run| Input::new(run.clone())).collect(),
            builder: Builder::new(id, keyed.check()),
            id,
            written: 0,
        })
    }

    fn unfinished(&self) -> String {
        format!("{}{UNFINISHED}", self.id.path())
    }

    /// Merges up to `left` entries, which it counts down, and makes durable what it wrote. An error comes with the path of
    /// the file that was begun.
    fn advance(mut self, disk: &dyn Disk, left: &mut u64) -> Result<Progress, (String, Error)> {
        let path = self.unfinished();
        match self.merge(disk, &path, left) {
            Ok(false) => Ok(Progress::Unfinished(Box::new(self))),
            Ok(true) => match self.finish(disk, &path) {
                Ok(run) => Ok(Progress::Finished(Box::new(run))),
                Err(error) => Err((path, error)),
            },
            Err(error) => Err((path, error)),
        }
    }

    /// True when no pair is left.
    fn merge(&mut self, disk: &dyn Disk, path: &str, left: &mut u64) -> Result<bool, Error> {
        if self.written == 0 {
            // What an interrupted merge left may be longer than this one's file.
            disk.remove(path)
                .map_err(|error| Error::disk("removing", path, error))?;
        }
        while *left > 0 {
            let Some(pair) = self.pop(disk)? else {
                return Ok(true);
            };
            self.builder.push(pair);
            *left -= 1;
            if self.builder.ready() >= WRITE_BYTES {
                self.write_ready(disk, path)?;
            }
        }
        self.write_ready(disk, path)?;
        sync(disk, path)?;
        Ok(false)
    }

    /// The smallest pair that is left.
    fn pop(&mut self, disk: &dyn Disk) -> Result<Option<Pair>, Error> {
        let mut smallest: Option<(Pair, usize)> = None;
        for (number, input) in self.inputs.iter_mut().enumerate() {
            let Some(pair) = input.peek(disk)? else {
                continue;
            };
            if smallest.is_none_or(|(best, _)| pair < best) {
                smallest = Some((pair, number));
            }
        }
        Ok(smallest.map(|(pair, number)| {
            self.inputs[number].at += 1;
            pair
        }))
    }

    fn write_ready(&mut self, disk: &dyn Disk, path: &str) -> Result<(), Error> {
        let bytes = self.builder.take();
        disk.write_at(path, self.written, &bytes)
            .map_err(|error| Error::disk("writing", path, error))?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    fn finish(mut self, disk: &dyn Disk, path: &str) -> Result<Run, Error> {
        self.write_ready(disk, path)?;
        let problem = || Error::corrupt(self.id.path(), "its inputs overlap");
        let (tail, run) = self.builder.finish().ok_or_else(problem)?;
        for (number, bytes) in tail.chunks(WRITE_BYTES).enumerate() {
            let offset = self.written + (number * WRITE_BYTES) as u64;
            disk.write_at(path, offset, bytes)
                .map_err(|error| Error::disk("writing", path, error))?;
        }
        sync(disk, path)?;
        disk.rename(path, &self.id.path())
            .map_err(|error| Error::disk("renaming", path, error))?;
        Ok(run)
    }
}

fn sync(disk: &dyn Disk, path: &str) -> Result<(), Error> {
    disk.sync_file(path)
        .map_err(|error| Error::disk("syncing", path, error))
}

fn is_due(window: &[Arc<Run>]) -> bool {
    let Some(first) = window.first() else {
        return false;
    };
    let len = first.id.len();
    let merged = len * FAN;
    merged <= u64::from(u32::MAX)
        && first.id.first.is_multiple_of(merged)
        && window
            .iter()
            .all(|run| run.id.len() == len && !run.is_damaged())
}

/// One run that is merged.
#[derive(Debug)]
struct Input {
    run: Arc<Run>,
    next_block: u64,
    pairs: Vec<Pair>,
    at: usize,
}

impl Input {
    fn new(run: Arc<Run>) -> Self {
        Self {
            run,
            next_block: 0,
            pairs: Vec::new(),
            at: 0,
        }
    }

    fn peek(&mut self, disk: &dyn Disk) -> Result<Option<Pair>, Error> {
        if self.at == self.pairs.len() && self.next_block < self.run.blocks() {
            self.pairs = self.run.block_pairs(disk, self.next_block, READ_BLOCKS)?;
            self.next_block += READ_BLOCKS;
            self.at = 0;
        }
        Ok(self.pairs.get(self.at).copied())
    }
}
