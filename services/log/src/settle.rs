//! Proving a durable batch and telling those who wait for its entries.
//!
//! While others wait already, this is done on a thread of its own, so that their frame is written meanwhile; at most one
//! batch is behind. For a lone entry it is done at once, which saves waking a thread.

use std::sync::Arc;
use std::sync::mpsc::SyncSender;

use bytes::Bytes;
use sealwright_tlog::Hash;
use sealwright_tlog::batch::BatchProofs;

use crate::error::Error;
use crate::intake::{Committed, Intake, Waiting};
use crate::tree::Snapshot;

/// A batch that is durable, shown to readers and recorded, whose receipts have not left.
pub(crate) struct Durable {
    /// The tree before it.
    pub(crate) before: Arc<Snapshot>,
    /// The tree after it.
    pub(crate) after: Arc<Snapshot>,
    pub(crate) entries: Vec<Entry>,
}

/// One entry of it, and who waits for it.
pub(crate) struct Entry {
    pub(crate) stored: Bytes,
    pub(crate) leaf_hash: Hash,
    pub(crate) attachment: Bytes,
    pub(crate) waiting: Waiting,
}

/// Where batches are settled.
#[derive(Debug, Default)]
pub(crate) struct Settler {
    thread: Option<SyncSender<Durable>>,
}

impl Settler {
    /// Settles on the thread that receives from the other end of `thread`, a channel for one batch.
    pub(crate) fn on_thread(thread: SyncSender<Durable>) -> Self {
        Self {
            thread: Some(thread),
        }
    }

    /// Proves a batch and tells everybody who waits for it; returns before that is done only where somebody waits for
    /// the next batch.
    pub(crate) fn settle(&self, intake: &Intake, durable: Durable) {
        let durable = match &self.thread {
            Some(thread) if intake.has_work() => match thread.send(durable) {
                Ok(()) => return,
                // Its thread is gone, which the log is told by other means.
                Err(back) => back.0,
            },
            _ => durable,
        };
        settle(intake, durable);
    }
}

/// Nobody gets a receipt that a client would refuse: the proofs lead to the root that was signed, or the log stops.
pub(crate) fn settle(intake: &Intake, durable: Durable) {
    let Durable {
        before,
        after,
        entries,
    } = durable;
    let proofs = match prove(&before, &after, &entries) {
        Ok(proofs) => Arc::new(proofs),
        Err(error) => {
            for entry in entries {
                tell(entry.waiting, &Err(error.clone()));
            }
            intake.stop(&error.to_string());
            return;
        }
    };
    for (index, entry) in (before.size()..).zip(entries) {
        let committed = Committed {
            index,
            leaf_hash: entry.leaf_hash,
            stored: entry.stored,
            attachment: entry.attachment,
            time_ms: after.time_ms,
            snapshot: after.clone(),
            proofs: Some(proofs.clone()),
        };
        tell(entry.waiting, &Ok(committed));
    }
}

fn prove(before: &Snapshot, after: &Snapshot, entries: &[Entry]) -> Result<BatchProofs, Error> {
    let leaf_hashes: Vec<Hash> = entries.iter().map(|entry| entry.leaf_hash).collect();
    let proofs = BatchProofs::new(&before.edge, &leaf_hashes)?;
    if proofs.root() != after.root || proofs.size() != after.size() {
        return Err(Error::corrupt(
            "memory",
            format!(
                "the entries {} to {} do not lead to the root that was signed",
                before.size(),
                after.size()
            ),
        ));
    }
    Ok(proofs)
}

fn tell(waiting: Waiting, outcome: &Result<Committed, Error>) {
    for sender in waiting {
        // Whoever went away does not hear it; the entry is logged all the same.
        drop(sender.send(outcome.clone()));
    }
}
