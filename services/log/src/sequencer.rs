//! The one writer: takes batches, gives entries their index, and makes them durable.

use std::sync::Arc;

use bytes::Bytes;
use sealwright_host::SharedClock;
use sealwright_tlog::edge::FullTile;
use sealwright_tlog::tile::TILE_WIDTH;
use sealwright_tlog::{Hash, RightEdge};

use crate::error::Error;
use crate::intake::{Intake, Pending, Waiting, Work};
use crate::kind::FinishedLeaf;
use crate::metrics::LogMetrics;
use crate::publisher::Publisher;
use crate::settle::{Durable, Entry, Settler};
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
    pub(crate) settler: Settler,
    pub(crate) epoch: u64,
    /// Number of the last frame.
    pub(crate) seq: u64,
}

/// A batch before it is durable: nothing of it can be seen yet.
struct Draft {
    edge: RightEdge,
    full: Vec<FullTile>,
    leaves: Vec<DraftLeaf>,
    /// What the log's key signs for each leaf: one for every leaf, or none at all.
    promises: Vec<Vec<u8>>,
    refused: Vec<(Hash, Error)>,
}

struct DraftLeaf {
    identity: Hash,
    stored: Bytes,
    leaf_hash: Hash,
}

impl Draft {
    fn push(&mut self, identity: Hash, leaf: FinishedLeaf) {
        self.edge.push(leaf.leaf_hash, &mut self.full);
        self.promises.extend(leaf.promise);
        self.leaves.push(DraftLeaf {
            identity,
            stored: leaf.stored,
            leaf_hash: leaf.leaf_hash,
        });
    }
}

impl Sequencer {
    /// Works until the intake ends.
    pub(crate) fn run(mut self) {
        loop {
            self.publisher.await_room();
            match self.intake.next_work() {
                Some(Work::Batch(batch)) => self.process(batch),
                Some(Work::Freeze) => self.freeze(),
                None => break,
            }
        }
    }

    /// One batch, from [`Intake::next_work`] or from the simulation; whoever waits for it is told before this returns, or by
    /// the settler's thread where there is one.
    pub(crate) fn process(&mut self, batch: Vec<Pending>) {
        self.observe(&batch);
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

    /// The queue as this batch leaves it, and how long each entry was in it.
    fn observe(&self, batch: &[Pending]) {
        let (entries, bytes) = self.intake.depth();
        self.metrics.queue(entries + batch.len(), entries, bytes);
        for pending in batch {
            self.metrics.waited(pending.offered.elapsed());
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
        let attachments = self.signer.sign_promises(&draft.promises)?;
        let note = self.signer.sign(draft.edge.size(), root, time_ms)?;
        let frame = Frame {
            epoch: self.epoch,
            seq: self.seq + 1,
            first_index: before.size(),
            time_ms,
            prev_root: before.root,
            new_root: root,
            note,
            leaves: draft
                .leaves
                .iter()
                .map(|leaf| leaf.stored.clone())
                .collect(),
            attachments,
            frozen: false,
        };
        self.append(&frame)?;

        let (bundles, partial) = cut_bundles(&before, &draft.leaves, &frame);
        let snapshot = Snapshot {
            root,
            note: frame.note.clone().into(),
            time_ms,
            edge: draft.edge,
            partial,
            frozen: false,
        };
        let after = self.tree.advance(draft.full, bundles, snapshot);
        self.publisher.wake();
        let recorded = draft
            .leaves
            .iter()
            .map(|leaf| (&leaf.identity, &leaf.leaf_hash));
        let waiting = self.intake.record(before.size(), recorded);
        let (count, size) = (draft.leaves.len(), after.size());
        let durable = Durable {
            before,
            after,
            entries: entries(draft.leaves, frame.attachments, waiting),
        };
        self.settler.settle(&self.intake, durable);
        self.metrics.batch(count, size, started.elapsed());
        Ok(())
    }

    /// Writes the frame that ends the log, and tells whoever asked for it. What was queued before must have been processed.
    pub(crate) fn freeze(&mut self) {
        let outcome = self.commit_freeze();
        match &outcome {
            Ok(()) => {}
            Err(error @ (Error::StorageFull | Error::Signer(_))) => {
                tracing::warn!(%error, "the log was not frozen")
            }
            Err(error) => {
                self.intake.stop(&error.to_string());
                return;
            }
        }
        self.intake.settle_freeze(&outcome);
    }

    fn commit_freeze(&mut self) -> Result<(), Error> {
        let before = self.tree.snapshot();
        if before.frozen {
            return Ok(());
        }
        // A clock that was ahead once must not keep the log from being left for another: it would for as long as it was.
        let (now_ms, last_ms) = (self.clock.unix_ms(), before.time_ms);
        let time_ms = u64::try_from(now_ms).unwrap_or(0).max(last_ms);
        let note = self
            .signer
            .sign_frozen(before.size(), before.root, time_ms)?;
        let frame = Frame {
            epoch: self.epoch,
            seq: self.seq + 1,
            first_index: before.size(),
            time_ms,
            prev_root: before.root,
            new_root: before.root,
            note,
            leaves: Vec::new(),
            attachments: Vec::new(),
            frozen: true,
        };
        self.append(&frame)?;
        let snapshot = Snapshot {
            root: before.root,
            note: frame.note.into(),
            time_ms,
            edge: before.edge.clone(),
            partial: before.partial.clone(),
            frozen: true,
        };
        self.tree.advance(Vec::new(), Vec::new(), snapshot);
        self.publisher.wake();
        Ok(())
    }

    /// Makes a frame durable. [`Error::StorageFull`] when nothing was written.
    fn append(&mut self, frame: &Frame) -> Result<(), Error> {
        let syncing = std::time::Instant::now();
        if self.writer.append(frame)? == Appended::Refused {
            return Err(Error::StorageFull);
        }
        self.metrics
            .sync_seconds
            .observe(syncing.elapsed().as_secs_f64());
        self.seq += 1;
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
    let mut draft = Draft {
        edge: before.edge.clone(),
        full: Vec::new(),
        leaves: Vec::with_capacity(batch.len()),
        promises: Vec::new(),
        refused: Vec::new(),
    };
    for pending in batch {
        match pending.leaf.finish(draft.edge.size(), time_ms) {
            Ok(leaf) => draft.push(pending.identity, leaf),
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
    leaves: &[DraftLeaf],
    frame: &Frame,
) -> (Vec<Bundle>, Vec<StoredLeaf>) {
    let mut partial = before.partial.clone();
    let mut index = before.size() / u64::from(TILE_WIDTH);
    let mut bundles = Vec::new();
    for (position, leaf) in leaves.iter().enumerate() {
        partial.push(StoredLeaf {
            stored: leaf.stored.clone(),
            identity: leaf.identity,
            attachment: frame.attachment(position),
        });
        if partial.len() == usize::from(TILE_WIDTH) {
            bundles.push((index, std::mem::take(&mut partial)));
            index += 1;
        }
    }
    (bundles, partial)
}

fn entries(leaves: Vec<DraftLeaf>, attachments: Vec<Bytes>, waiting: Vec<Waiting>) -> Vec<Entry> {
    let attachments = attachments
        .into_iter()
        .chain(std::iter::repeat(Bytes::new()));
    let leaves = leaves.into_iter().zip(attachments).zip(waiting);
    leaves
        .map(|((leaf, attachment), waiting)| Entry {
            stored: leaf.stored,
            leaf_hash: leaf.leaf_hash,
            attachment,
            waiting,
        })
        .collect()
}
