//! Entries on their way in: the bounded queue, who waits for what, and which entries the log has already.
//!
//! One mutex guards queue, waiters and index together. That is what makes deduplication exact: an entry is either known,
//! or in flight, or new, and it changes from one to the next under the lock. Files are read without it; see
//! [`crate::dedup`].

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use bytes::Bytes;
use sealwright_host::SharedClock;
use sealwright_tlog::Hash;
use sealwright_tlog::batch::BatchProofs;
use tokio::sync::{oneshot, watch};

use crate::dedup::key::{Family, Keyed};
use crate::dedup::{Checked, Index, Lookup, Reading, RunSet, Unit, keys};
use crate::error::Error;
use crate::kind::Leaf;
use crate::tree::Snapshot;

/// How long a log with a full disk refuses entries before it tries to make space again.
const FULL_DISK_PAUSE_MS: i64 = 1000;

/// An entry in the queue.
pub(crate) struct Pending {
    pub(crate) leaf: Box<dyn Leaf>,
    pub(crate) identity: Hash,
    weight: usize,
    /// For the metric of how long it waited; nothing is decided by it.
    pub(crate) offered: Instant,
}

/// An entry that is durable.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) index: u64,
    pub(crate) leaf_hash: Hash,
    pub(crate) stored: Bytes,
    /// See [`crate::attachments`].
    pub(crate) attachment: Bytes,
    pub(crate) time_ms: u64,
    /// The state that its batch made.
    pub(crate) snapshot: Arc<Snapshot>,
    /// The checked proofs of its batch, in that state.
    pub(crate) proofs: Option<Arc<BatchProofs>>,
}

pub(crate) type Outcome = Result<Committed, Error>;

/// Those who wait for one entry.
pub(crate) type Waiting = Vec<oneshot::Sender<Outcome>>;

/// What the sequencer does next.
pub(crate) enum Work {
    Batch(Vec<Pending>),
    /// Nothing waits any more, and the log is to be frozen.
    Freeze,
}

/// What becomes of an entry that is offered.
pub(crate) enum Offer {
    /// Files may know the same entry; the caller reads them, compares what they name, and offers again.
    Read(Box<dyn Leaf>, Reading),
    /// These indexes may hold the same entry; the caller compares, and offers again with those that differ.
    Candidates(Box<dyn Leaf>, Vec<u64>),
    /// The outcome comes when the batch is durable.
    Waiting {
        outcome: oneshot::Receiver<Outcome>,
        /// The same entry was offered before and is in flight.
        duplicate: bool,
    },
}

/// Limits of queue and batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) queue_entries: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) batch_entries: usize,
    pub(crate) batch_bytes: usize,
}

pub(crate) struct Intake {
    limits: Limits,
    /// Keys are made without the lock.
    keyed: Keyed,
    families: &'static [Family],
    clock: SharedClock,
    state: Mutex<State>,
    arrived: Condvar,
    /// Why the log stopped for good, for whoever runs the process.
    fatal: watch::Sender<Option<String>>,
}

struct State {
    queue: VecDeque<Pending>,
    bytes: usize,
    waiting: HashMap<Hash, Waiting>,
    /// Who asked for the log to be frozen.
    freezing: Vec<oneshot::Sender<Result<(), Error>>>,
    index: Index,
    condition: Condition,
    /// Nothing new is taken while this is set: the witnesses have to answer first.
    held: Option<Error>,
}

#[derive(Debug, Clone)]
enum Condition {
    Open,
    /// Refuses entries until then (Unix milliseconds), because the disk is full.
    Full(i64),
    /// What is queued is still written, and then the frame that freezes the log.
    Freezing,
    Frozen,
    Draining,
    Stopped(String),
}

impl Intake {
    pub(crate) fn new(limits: Limits, index: Index, clock: SharedClock) -> Self {
        let (keyed, families) = (index.keyed().clone(), index.families());
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            waiting: HashMap::new(),
            freezing: Vec::new(),
            index,
            condition: Condition::Open,
            held: None,
        };
        Self {
            limits,
            keyed,
            families,
            clock,
            state: Mutex::new(state),
            arrived: Condvar::new(),
            fatal: watch::Sender::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers an entry. `checked` is what earlier offers of it have led to.
    pub(crate) fn offer(&self, leaf: Box<dyn Leaf>, checked: &Checked) -> Result<Offer, Error> {
        let identity = leaf.identity();
        let key = self.keyed.key(&identity);
        let mut state = self.state();
        match state.index.look_up(key, checked) {
            Lookup::Read(reading) => return Ok(Offer::Read(leaf, reading)),
            Lookup::Candidates(candidates) if !candidates.is_empty() => {
                return Ok(Offer::Candidates(leaf, candidates));
            }
            Lookup::Candidates(_) => {}
        }
        state.require_open(self.clock.unix_ms())?;
        let (sender, outcome) = oneshot::channel();
        if let Some(waiting) = state.waiting.get_mut(&identity) {
            waiting.push(sender);
            return Ok(Offer::Waiting {
                outcome,
                duplicate: true,
            });
        }
        let weight = leaf.weight();
        if state.queue.len() >= self.limits.queue_entries
            || state.bytes + weight > self.limits.queue_bytes
        {
            return Err(Error::Overloaded {
                entries: state.queue.len(),
                bytes: state.bytes,
            });
        }
        state.bytes += weight;
        state.waiting.insert(identity, vec![sender]);
        state.queue.push_back(Pending {
            leaf,
            identity,
            weight,
            offered: Instant::now(),
        });
        drop(state);
        self.arrived.notify_one();
        Ok(Offer::Waiting {
            outcome,
            duplicate: false,
        })
    }

    /// The next batch: all that waits, up to the limits. Blocks while nothing does; `None` when no more will come.
    pub(crate) fn next_work(&self) -> Option<Work> {
        let mut state = self.state();
        while state.queue.is_empty() {
            match state.condition {
                Condition::Freezing => return Some(Work::Freeze),
                Condition::Draining | Condition::Stopped(_) => return None,
                Condition::Open | Condition::Full(_) | Condition::Frozen => {}
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(Work::Batch(self.take_batch(&mut state)))
    }

    /// The next batch; answers `None` when nothing waits now. For whoever drives the engine step by step.
    #[cfg(test)]
    pub(crate) fn try_batch(&self) -> Option<Vec<Pending>> {
        let mut state = self.state();
        (!state.queue.is_empty()).then(|| self.take_batch(&mut state))
    }

    fn take_batch(&self, state: &mut State) -> Vec<Pending> {
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(next) = state.queue.front() {
            let full = batch.len() >= self.limits.batch_entries
                || bytes + next.weight > self.limits.batch_bytes;
            if full && !batch.is_empty() {
                break;
            }
            let Some(next) = state.queue.pop_front() else {
                break;
            };
            bytes += next.weight;
            state.bytes -= next.weight;
            batch.push(next);
        }
        batch
    }

    /// Records the entries of a durable batch, given as identity and leaf hash: from now on the log has them. Gives those
    /// who wait for each, who are to be told.
    pub(crate) fn record<'a>(
        &self,
        first_index: u64,
        batch: impl Iterator<Item = (&'a Hash, &'a Hash)>,
    ) -> Vec<Waiting> {
        let batch: Vec<_> = batch
            .map(|(identity, leaf_hash)| {
                let keys = keys(&self.keyed, self.families, identity, leaf_hash);
                (identity, keys)
            })
            .collect();
        let mut waiting = Vec::with_capacity(batch.len());
        let mut state = self.state();
        for (index, (identity, keys)) in (first_index..).zip(batch) {
            state.index.insert(&keys, index);
            waiting.push(state.waiting.remove(identity).unwrap_or_default());
        }
        waiting
    }

    /// Whether somebody waits for a batch already.
    pub(crate) fn has_work(&self) -> bool {
        !self.state().queue.is_empty()
    }

    /// Asks for the log to be frozen, once what is queued is written. `None` when it is already.
    pub(crate) fn freeze(&self) -> Result<Option<oneshot::Receiver<Result<(), Error>>>, Error> {
        let mut state = self.state();
        match &state.condition {
            Condition::Frozen => return Ok(None),
            Condition::Draining => return Err(Error::ShuttingDown),
            Condition::Stopped(cause) => {
                return Err(Error::Stopped {
                    cause: cause.clone(),
                });
            }
            Condition::Open | Condition::Full(_) | Condition::Freezing => {}
        }
        let (sender, receiver) = oneshot::channel();
        state.freezing.push(sender);
        state.condition = Condition::Freezing;
        drop(state);
        self.arrived.notify_all();
        Ok(Some(receiver))
    }

    /// The log is frozen for ever, or it could not be frozen and goes on.
    pub(crate) fn settle_freeze(&self, outcome: &Result<(), Error>) {
        let freezing = {
            let mut state = self.state();
            if !matches!(
                state.condition,
                Condition::Draining | Condition::Stopped(_) | Condition::Frozen
            ) {
                state.condition = match outcome {
                    Ok(()) => Condition::Frozen,
                    Err(_) => Condition::Open,
                };
            }
            std::mem::take(&mut state.freezing)
        };
        freezing
            .into_iter()
            .for_each(|sender| drop(sender.send(outcome.clone())));
    }

    /// Tells everybody who waits for these entries that they were not logged.
    pub(crate) fn fail(&self, identities: impl IntoIterator<Item = Hash>, error: &Error) {
        let told: Vec<_> = {
            let mut state = self.state();
            identities
                .into_iter()
                .filter_map(|identity| state.waiting.remove(&identity))
                .flatten()
                .collect()
        };
        told.into_iter()
            .for_each(|sender| drop(sender.send(Err(error.clone()))));
    }

    /// The disk is full: everything in the queue is refused, and so is what comes within the next second.
    pub(crate) fn pause_for_full_disk(&self) {
        let now_ms = self.clock.unix_ms();
        let identities: Vec<Hash> = {
            let mut state = self.state();
            if matches!(state.condition, Condition::Open | Condition::Full(_)) {
                state.condition = Condition::Full(now_ms.saturating_add(FULL_DISK_PAUSE_MS));
            }
            state.bytes = 0;
            state
                .queue
                .drain(..)
                .map(|pending| pending.identity)
                .collect()
        };
        self.fail(identities, &Error::StorageFull);
    }

    /// Ends the log's life as a writer (R3): no receipt leaves any more, and everybody who waits is told.
    pub(crate) fn stop(&self, cause: &str) {
        tracing::error!(
            cause,
            "the log has stopped; it recovers when it is opened again"
        );
        let waiting: Vec<_> = {
            let mut state = self.state();
            state.condition = Condition::Stopped(cause.to_owned());
            state.queue.clear();
            state.bytes = 0;
            state
                .waiting
                .drain()
                .flat_map(|(_, senders)| senders)
                .collect()
        };
        let freezing = std::mem::take(&mut self.state().freezing);
        let error = Error::Stopped {
            cause: cause.to_owned(),
        };
        waiting
            .into_iter()
            .for_each(|sender| drop(sender.send(Err(error.clone()))));
        freezing
            .into_iter()
            .for_each(|sender| drop(sender.send(Err(error.clone()))));
        self.arrived.notify_all();
        self.fatal.send_replace(Some(cause.to_owned()));
    }

    /// While `error` is set nothing new is taken, and what is known or in flight is answered as ever. Has no effect after
    /// [`Intake::bar`].
    pub(crate) fn hold(&self, error: Option<Error>) {
        let mut state = self.state();
        if !state.held.as_ref().is_some_and(is_final) {
            state.held = error;
        }
    }

    /// Nothing is ever taken again, and who waits in the queue is told; reads go on.
    pub(crate) fn bar(&self, error: &Error) {
        let identities: Vec<Hash> = {
            let mut state = self.state();
            state.held = Some(error.clone());
            state.bytes = 0;
            let queued = state.queue.drain(..);
            queued.map(|pending| pending.identity).collect()
        };
        self.fail(identities, error);
    }

    /// Accepts nothing new; what is queued is still written. Who waits for the log to be frozen is told that it ends first.
    pub(crate) fn drain(&self) {
        let mut state = self.state();
        if !matches!(state.condition, Condition::Stopped(_)) {
            state.condition = Condition::Draining;
        }
        let freezing = std::mem::take(&mut state.freezing);
        drop(state);
        self.arrived.notify_all();
        for sender in freezing {
            drop(sender.send(Err(Error::ShuttingDown)));
        }
    }

    /// `Err` when the log would refuse a new entry for its own condition.
    pub(crate) fn condition(&self) -> Result<(), Error> {
        self.state().require_open(self.clock.unix_ms())
    }

    pub(crate) fn is_stopped(&self) -> bool {
        matches!(self.state().condition, Condition::Stopped(_))
    }

    /// Becomes `Some` when the log stops for good.
    pub(crate) fn fatal(&self) -> watch::Receiver<Option<String>> {
        self.fatal.subscribe()
    }

    /// Indexes of entries in memory that may have this leaf hash, and the files that may know others.
    pub(crate) fn by_leaf_hash(&self, leaf_hash: &Hash) -> (Vec<u64>, Reading) {
        self.state().index.by_leaf_hash(leaf_hash)
    }

    /// How the index makes keys, and of what.
    pub(crate) fn keyed(&self) -> (Keyed, &'static [Family]) {
        (self.keyed.clone(), self.families)
    }

    /// The runs that are looked up now.
    pub(crate) fn runs(&self) -> Arc<RunSet> {
        self.state().index.runs().clone()
    }

    /// Units of the index that lie below `end` as a whole, and the index of the first one's first entry.
    pub(crate) fn full_units(&self, end: u64) -> (u64, Vec<Arc<Unit>>) {
        self.state().index.full_units(end)
    }

    /// Looks entries up in these runs from now on. One thread calls this.
    pub(crate) fn install(&self, runs: RunSet) {
        let runs = Arc::new(runs);
        let mut state = self.state();
        let before = state.index.runs().clone();
        let released = state.index.install(runs);
        // Freeing a unit, or the filter of a run, is not for those who wait for the lock.
        drop(state);
        drop((before, released));
    }

    /// Entries and bytes in the queue.
    pub(crate) fn depth(&self) -> (usize, usize) {
        let state = self.state();
        (state.queue.len(), state.bytes)
    }
}

impl std::fmt::Debug for Intake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intake")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// Whether a hold is for good.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::WitnessAhead { .. } | Error::WitnessForked { .. }
    )
}

impl State {
    fn require_open(&mut self, now_ms: i64) -> Result<(), Error> {
        match &self.condition {
            Condition::Open => self.held.clone().map_or(Ok(()), Err),
            // A clock that was set back must not make the pause longer than it is.
            Condition::Full(until) if !(*until - FULL_DISK_PAUSE_MS..*until).contains(&now_ms) => {
                self.condition = Condition::Open;
                Ok(())
            }
            Condition::Full(_) => Err(Error::StorageFull),
            Condition::Freezing | Condition::Frozen => Err(Error::Frozen),
            Condition::Draining => Err(Error::ShuttingDown),
            Condition::Stopped(cause) => Err(Error::Stopped {
                cause: cause.clone(),
            }),
        }
    }
}
