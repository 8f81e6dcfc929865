//! Entries on their way in: the bounded queue, who waits for what, and which entries the log has already.
//!
//! One mutex guards queue, waiters and index together. That is what makes deduplication exact: an entry is either known,
//! or in flight, or new, and it changes from one to the next under the lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use sealwright_host::SharedClock;
use sealwright_tlog::Hash;
use tokio::sync::{oneshot, watch};

use crate::dedup::{Hints, Index};
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
}

/// An entry that is durable.
#[derive(Debug, Clone)]
pub(crate) struct Committed {
    pub(crate) index: u64,
    pub(crate) leaf_hash: Hash,
    pub(crate) stored: Bytes,
    pub(crate) time_ms: u64,
    /// The state that its batch made.
    pub(crate) snapshot: Arc<Snapshot>,
}

pub(crate) type Outcome = Result<Committed, Error>;

/// What becomes of an entry that is offered.
pub(crate) enum Offer {
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
    clock: SharedClock,
    state: Mutex<State>,
    arrived: Condvar,
    /// Why the log stopped for good, for whoever runs the process.
    fatal: watch::Sender<Option<String>>,
}

struct State {
    queue: VecDeque<Pending>,
    bytes: usize,
    waiting: HashMap<Hash, Vec<oneshot::Sender<Outcome>>>,
    index: Index,
    condition: Condition,
}

#[derive(Debug, Clone)]
enum Condition {
    Open,
    /// Refuses entries until then (Unix milliseconds), because the disk is full.
    Full(i64),
    Draining,
    Stopped(String),
}

impl Intake {
    pub(crate) fn new(limits: Limits, index: Index, clock: SharedClock) -> Self {
        let state = State {
            queue: VecDeque::new(),
            bytes: 0,
            waiting: HashMap::new(),
            index,
            condition: Condition::Open,
        };
        Self {
            limits,
            clock,
            state: Mutex::new(state),
            arrived: Condvar::new(),
            fatal: watch::Sender::new(None),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Offers an entry. `refuted` are the indexes of earlier candidates that turned out to hold other entries.
    pub(crate) fn offer(&self, leaf: Box<dyn Leaf>, refuted: &[u64]) -> Result<Offer, Error> {
        let identity = leaf.identity();
        let mut state = self.state();
        let mut candidates = state.index.by_identity(&identity);
        candidates.retain(|index| !refuted.contains(index));
        if !candidates.is_empty() {
            return Ok(Offer::Candidates(leaf, candidates));
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
        });
        drop(state);
        self.arrived.notify_one();
        Ok(Offer::Waiting {
            outcome,
            duplicate: false,
        })
    }

    /// The next batch: all that waits, up to the limits. Blocks while nothing does; `None` when no more will come.
    pub(crate) fn next_batch(&self) -> Option<Vec<Pending>> {
        let mut state = self.state();
        while state.queue.is_empty() {
            if matches!(state.condition, Condition::Draining | Condition::Stopped(_)) {
                return None;
            }
            state = self
                .arrived
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        Some(self.take_batch(&mut state))
    }

    /// As [`Self::next_batch`], but answers `None` when nothing waits now. For whoever drives the engine step by step.
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

    /// Records a durable batch and tells everybody who waits for it.
    pub(crate) fn settle(&self, batch: Vec<(Hash, Committed)>) {
        let mut told = Vec::new();
        {
            let mut state = self.state();
            for (identity, committed) in batch {
                state
                    .index
                    .insert(Hints::new(&identity, &committed.leaf_hash), committed.index);
                told.push((
                    state.waiting.remove(&identity).unwrap_or_default(),
                    committed,
                ));
            }
        }
        for (waiting, committed) in told {
            // Whoever went away does not hear it; the entry is logged all the same.
            waiting
                .into_iter()
                .for_each(|sender| drop(sender.send(Ok(committed.clone()))));
        }
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
        let error = Error::Stopped {
            cause: cause.to_owned(),
        };
        waiting
            .into_iter()
            .for_each(|sender| drop(sender.send(Err(error.clone()))));
        self.arrived.notify_all();
        self.fatal.send_replace(Some(cause.to_owned()));
    }

    /// Accepts nothing new; what is queued is still written.
    pub(crate) fn drain(&self) {
        let mut state = self.state();
        if !matches!(state.condition, Condition::Stopped(_)) {
            state.condition = Condition::Draining;
        }
        drop(state);
        self.arrived.notify_all();
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

    pub(crate) fn by_leaf_hash(&self, leaf_hash: &Hash) -> Vec<u64> {
        self.state().index.by_leaf_hash(leaf_hash)
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

impl State {
    fn require_open(&mut self, now_ms: i64) -> Result<(), Error> {
        match &self.condition {
            Condition::Open => Ok(()),
            // A clock that was set back must not make the pause longer than it is.
            Condition::Full(until) if !(*until - FULL_DISK_PAUSE_MS..*until).contains(&now_ms) => {
                self.condition = Condition::Open;
                Ok(())
            }
            Condition::Full(_) => Err(Error::StorageFull),
            Condition::Draining => Err(Error::ShuttingDown),
            Condition::Stopped(cause) => Err(Error::Stopped {
                cause: cause.clone(),
            }),
        }
    }
}
