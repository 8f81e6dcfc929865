//! The one writer: takes batches, gives entries their index, and makes them durable.

use std::sync::Arc;

use sealwright_host::SharedClock;
use sealwright_tlog::edge::FullTile;
use sealwright_tlog::tile::TILE_WIDTH;
use sealwright_tlog::{Hash, RightEdge};

use crate::error::Error;
use crate::intake::{Committed, Intake, Pending};
use crate::kind::FinishedLeaf;
use crate::metrics::LogMetrics;
use crate::publisher::Publisher;
use crate::sign::CheckpointSigner;
use crate::tree::{Snapshot, StoredLeaf, Tree};
use crate::wal::{Appended, Frame, Writer};

/// The clock may be this far behind the last checkpoint; the log then stays at the time of that checkpoint.
const CLOCK_TOLERANCE_MS: i64 = 60_000;

/// Everything the sequencer's thread owns.
pub(crate) struct Sequencer {
    pub(crate) intake: Arc<Intake>,
    pub(crate) tree: Arc<Tree>,
    pub(crate) writer: Writer,
    pub(crate) signer: CheckpointSigner,
    pub(crate) clock: SharedClock,
    pub(crate) publisher: Arc<Publisher>,
    pub(crate) metrics: LogMetrics,
    pub(crate) epoch: u64,
    /// Number of the last frame.
    pub(crate) seq: u64,
}

/// A batch before it is durable: nothing of it can be seen yet.
struct Draft {
    edge: RightEdge,
    full: Vec<FullTile>,
    leaves: Vec<(Hash, FinishedLeaf)>,
    refused: Vec<(Hash, Error)>,
}

impl Sequencer {
    /// Works until the intake ends.
    pub(crate) fn run(mut self) {
        while let Some(batch) = self.intake.next_batch() {
            self.process(batch);
        }
    }

    /// One batch, from [`Intake::next_batch`] or [`Intake::try_batch`]; whoever waits for it is told before this returns.
    pub(crate) fn process(&mut self, batch: Vec<Pending>) {
        let identities: Vec<Hash> = batch.iter().map(|pending| pending.identity).collect();
        match self.commit(batch) {
            Ok(()) => {}
            // Only where nothing was written. A sync that fails for want of space is a failed sync (R3).
            Err(error @ Error::StorageFull) => {
                tracing::warn!(%error, "the log's disk is full; entries are refused");
                self.intake.fail(identities, &error);
                self.intake.pause_for_full_disk();
            }
            Err(
                error @ (Error::Signer(_) | Error::ClockBehind { .. } | Error::Overloaded { .. }),
            ) => {
                tracing::error!(%error, "a batch was not sequenced");
                self.intake.fail(identities, &error);
            }
            Err(error) => self.intake.stop(&error.to_string()),
        }
    }

    /// The whole story of a batch: index, hash, sign, write, sync, show, tell. Until the sync nothing can be seen, and any
    /// failure leaves the tree as it was; after it nothing can fail.
    fn commit(&mut self, batch: Vec<Pending>) -> Result<(), Error> {
        let started = std::time::Instant::now();
        if let Some(error) = self.publisher.backlog() {
            return Err(error);
        }
        let before = self.tree.snapshot();
        let time_ms = self.time_ms(before.time_ms)?;
        let draft = draft(&before, batch, time_ms);
        for (identity, error) in &draft.refused {
            self.intake.fail([*identity], error);
        }
        if draft.leaves.is_empty() {
            return Ok(());
        }

        let root = draft.edge.root();
        let note = self.signer.sign(draft.edge.size(), root, time_ms)?;
        let frame = Frame {
            epoch: self.epoch,
            seq: self.seq + 1,
            first_index: before.size(),
            time_ms,
            prev_root: before.root,
            new_root: root,
            note: note.clone(),
            leaves: draft
                .leaves
                .iter()
                .map(|(_, leaf)| leaf.stored.clone())
                .collect(),
        };
        let syncing = std::time::Instant::now();
        if self.writer.append(&frame)? == Appended::Refused {
            return Err(Error::StorageFull);
        }
        self.metrics
            .sync_seconds
            .observe(syncing.elapsed().as_secs_f64());
        self.seq += 1;

        let (bundles, partial) = cut_bundles(&before, &draft.leaves);
        let snapshot = Snapshot {
            root,
            note: note.into(),
            time_ms,
            edge: draft.edge,
            partial,
        };
        let snapshot = self.tree.advance(draft.full, bundles, snapshot);
        self.publisher.wake();
        let count = draft.leaves.len();
        self.intake
            .settle(committed(before.size(), draft.leaves, time_ms, &snapshot));
        self.metrics
            .batch(count, snapshot.size(), started.elapsed());
        Ok(())
    }

    /// The time of the next batch: never before that of the last one.
    fn time_ms(&self, last: u64) -> Result<u64, Error> {
        let (now_ms, last_ms) = (
            self.clock.unix_ms(),
            i64::try_from(last).unwrap_or(i64::MAX),
        );
        let behind_ms = last_ms.saturating_sub(now_ms);
        if behind_ms > CLOCK_TOLERANCE_MS {
            return Err(Error::ClockBehind { now_ms, behind_ms });
        }
        Ok(u64::try_from(now_ms.max(last_ms)).unwrap_or(0))
    }
}

/// Finishes every leaf at its index. A leaf that cannot be finished takes none.
fn draft(before: &Snapshot, batch: Vec<Pending>, time_ms: u64) -> Draft {
    let edge = before.edge.clone();
    let mut draft = Draft {
        edge,
        full: Vec::new(),
        leaves: Vec::with_capacity(batch.len()),
        refused: Vec::new(),
    };
    for pending in batch {
        match pending.leaf.finish(draft.edge.size(), time_ms) {
            Ok(leaf) => {
                draft.edge.push(leaf.leaf_hash, &mut draft.full);
                draft.leaves.push((pending.identity, leaf));
            }
            Err(error) => draft.refused.push((pending.identity, Error::Entry(error))),
        }
    }
    draft
}

/// A bundle's index and its leaves.
type Bundle = (u64, Vec<StoredLeaf>);

/// Appends the batch to the bundle that is not full yet; gives the bundles that are now full, and the rest.
fn cut_bundles(
    before: &Snapshot,
    leaves: &[(Hash, FinishedLeaf)],
) -> (Vec<Bundle>, Vec<StoredLeaf>) {
    let mut partial = before.partial.clone();
    let mut index = before.size() / u64::from(TILE_WIDTH);
    let mut bundles = Vec::new();
    for (identity, leaf) in leaves {
        partial.push(StoredLeaf {
            stored: leaf.stored.clone(),
            identity: *identity,
        });
        if partial.len() == usize::from(TILE_WIDTH) {
            bundles.push((index, std::mem::take(&mut partial)));
            index += 1;
        }
    }
    (bundles, partial)
}

fn committed(
    first_index: u64,
    leaves: Vec<(Hash, FinishedLeaf)>,
    time_ms: u64,
    snapshot: &Arc<Snapshot>,
) -> Vec<(Hash, Committed)> {
    let numbered = (first_index..).zip(leaves);
    numbered
        .map(|(index, (identity, leaf))| {
            let snapshot = snapshot.clone();
            (
                identity,
                Committed {
                    index,
                    leaf_hash: leaf.leaf_hash,
                    stored: leaf.stored,
                    time_ms,
                    snapshot,
                },
            )
        })
        .collect()
}
