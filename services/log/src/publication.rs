//! What is shown, and when: a checkpoint waits for its witnesses before anybody else sees it.
//!
//! Without witnesses the newest durable checkpoint is what is shown, and nothing here runs. With them a task takes the
//! newest durable checkpoint, has it cosigned, keeps it durably, and shows it; what becomes durable meanwhile is covered
//! by the next round. So a lone entry waits for one sync and one round, and a thousand wait no longer.
//!
//! In `required` mode a receipt waits until a cosigned checkpoint covers its entry, and fails when the round that
//! covered it had no quorum: the entry is logged then, and whoever submits it again gets its receipt when the witnesses
//! are back. Nothing is sequenced before the quorum has cosigned the checkpoint that the log was opened with: that is the
//! moment at which a log that was put back from a backup finds out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use sealwright_crypto::BoxFuture;
use sealwright_host::SharedClock;
use sealwright_tlog::proof::consistency_proof;
use sealwright_tlog::{Checkpoint, Hash, Note, NoteKey};
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};

use crate::cosign::{CosignHead, Cosigner, Proofs, Round, WitnessMode};
use crate::disk::{Disk, Segment};
use crate::error::Error;
use crate::intake::Intake;
use crate::log::Inner;
use crate::metrics::LogMetrics;
use crate::publisher::{CHECKPOINT_FILE, Publisher};
use crate::tree::{PublishedHead, Tree};

/// Where the last cosigned checkpoint is kept.
pub(crate) const COSIGNED_FILE: &str = "cosigned";
/// Two records, written in turn, so that one is whole at any time.
const SLOT_BYTES: u64 = 32 * 1024;
const SLOTS: u64 = 2;
/// "SWCO", little endian.
const MAGIC: u32 = u32::from_le_bytes(*b"SWCO");
/// Magic, sequence number, time, length; the checksum follows the note.
const HEADER_BYTES: usize = 4 + 8 + 8 + 4;
const CHECKSUM_BYTES: usize = 4;
/// An idle log has its checkpoint cosigned again this often: a cosignature says how old a view is, and a witness that
/// learned of another tree meanwhile says so.
const REFRESH: Duration = Duration::from_secs(5 * 60);
/// Pauses between rounds that failed, doubled each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How the witnesses stand.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    /// The last round had its quorum.
    pub(crate) quorum: bool,
    /// Rounds without a quorum covered this many entries; their receipts are not to be waited for.
    failed_size: u64,
    /// Why, in words for an operator.
    pub(crate) missing: String,
    /// When a checkpoint was cosigned last, Unix seconds; `None` when that was before this process.
    pub(crate) cosigned_at: Option<i64>,
    /// The log must never write again.
    barred: Option<Error>,
}

/// The published side of a log that has witnesses.
#[derive(Debug)]
pub(crate) struct Publication {
    mode: WitnessMode,
    shown: watch::Sender<u64>,
    standing: watch::Sender<Standing>,
    clock: SharedClock,
    task: std::sync::Mutex<Option<JoinHandle<()>>>,
}

/// What the task owns.
struct Work {
    publication: Arc<Publication>,
    cosigner: Arc<dyn Cosigner>,
    origin: String,
    tree: Arc<Tree>,
    intake: Arc<Intake>,
    publisher: Arc<Publisher>,
    metrics: LogMetrics,
    slots: Slots,
    proofs: Arc<dyn Proofs>,
    /// The newest checkpoint that is known to be cosigned by a quorum, by its text.
    cosigned: Option<String>,
}

impl Publication {
    /// Decides what is shown from now on: what was cosigned last, where the quorum is required. `public` is the size of the
    /// public checkpoint file. Blocks for a few disk accesses.
    ///
    /// [`Error::RolledBack`] when a larger tree was cosigned than the log has, [`Error::Forked`] when another was.
    pub(crate) fn prepare(
        cosigner: &dyn Cosigner,
        disk: &dyn Disk,
        tree: &Tree,
        key: &NoteKey,
        public: u64,
    ) -> Result<Slots, Error> {
        let (mut slots, kept) = Slots::open(disk)?;
        let durable = PublishedHead::from(&*tree.snapshot());
        let head = match kept {
            Some(kept) => trusted(
                kept,
                tree,
                key,
                "the kept cosigned checkpoint",
                COSIGNED_FILE,
            )?,
            None => {
                // The log is new, was shown without witnesses until now, or has lost the file. What is in public has been
                // shown in each case, and nothing newer may have been.
                let shown = public_head(disk, tree, key)?.unwrap_or_else(|| durable.clone());
                slots.keep(&shown)?;
                shown
            }
        };
        let first = match cosigner.mode() {
            WitnessMode::BestEffort if head.size < durable.size => durable,
            // It was shown without its quorum, when that was not required yet. Nothing shown is taken back, and nothing
            // newer is shown.
            WitnessMode::Required if head.size < public => {
                public_head(disk, tree, key)?.unwrap_or(head)
            }
            _ => head,
        };
        tree.show(first);
        Ok(slots)
    }

    /// Starts asking, on the runtime of the caller.
    pub(crate) fn start(
        cosigner: Arc<dyn Cosigner>,
        slots: Slots,
        log: &Inner,
        clock: SharedClock,
    ) -> Arc<Self> {
        let (tree, intake) = (&log.tree, &log.intake);
        let not_asked = "they have not been asked yet".to_owned();
        let publication = Arc::new(Self {
            mode: cosigner.mode(),
            shown: watch::Sender::new(tree.shown().size),
            standing: watch::Sender::new(Standing {
                quorum: false,
                failed_size: 0,
                missing: not_asked.clone(),
                cosigned_at: None,
                barred: None,
            }),
            clock,
            task: std::sync::Mutex::default(),
        });
        if publication.mode == WitnessMode::Required {
            intake.hold(Some(Error::QuorumMissing { missing: not_asked }));
        }
        let work = Work {
            publication: publication.clone(),
            cosigner,
            origin: log.identity.origin.clone(),
            tree: tree.clone(),
            intake: intake.clone(),
            publisher: log.publisher.clone(),
            metrics: log.metrics.clone(),
            slots,
            proofs: Arc::new(TreeProofs(tree.clone())),
            cosigned: None,
        };
        let task = tokio::spawn(work.run());
        *publication.task() = Some(task);
        publication
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<JoinHandle<()>>> {
        self.task
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Waits until what is shown covers the entry at `index`.
    ///
    /// [`Error::QuorumMissing`] when the witnesses did not cosign a checkpoint that covered it; the error of the alarm when
    /// one was raised.
    pub(crate) async fn cover(&self, index: u64) -> Result<(), Error> {
        let (mut shown, mut standing) = (self.shown.subscribe(), self.standing.subscribe());
        loop {
            if *shown.borrow_and_update() > index {
                return Ok(());
            }
            {
                let standing = standing.borrow_and_update();
                if let Some(error) = &standing.barred {
                    return Err(error.clone());
                }
                let required = self.mode == WitnessMode::Required;
                if required && !standing.quorum && standing.failed_size > index {
                    let missing = standing.missing.clone();
                    return Err(Error::QuorumMissing { missing });
                }
            }
            let gone = tokio::select! {
                changed = shown.changed() => changed.is_err(),
                changed = standing.changed() => changed.is_err(),
            };
            if gone {
                return Err(Error::ShuttingDown);
            }
        }
    }

    /// How the witnesses stand, for `/readyz`: whether that makes the log unready, and the words.
    pub(crate) fn condition(&self) -> Result<(), String> {
        let standing = self.standing.borrow();
        if let Some(error) = &standing.barred {
            return Err(error.to_string());
        }
        if standing.quorum {
            return Ok(());
        }
        let age = match standing.cosigned_at {
            Some(time) => format!(
                "the last cosigned checkpoint is {} s old",
                self.clock.unix().saturating_sub(time).max(0)
            ),
            None => "no checkpoint was cosigned since the start".to_owned(),
        };
        Err(format!(
            "the quorum is missing: {}; {age}",
            standing.missing
        ))
    }

    /// Whether a missing quorum keeps entries out.
    pub(crate) fn mode(&self) -> WitnessMode {
        self.mode
    }

    /// Ends the asking. What was not cosigned is not shown by this process any more.
    pub(crate) async fn stop(&self) {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            // It was cancelled, or had ended.
            let _unimportant = task.await;
        }
        self.give_up(Error::ShuttingDown);
    }

    /// Nothing more will be shown: nobody waits for it.
    fn give_up(&self, error: Error) {
        self.standing.send_modify(|standing| {
            standing.quorum = false;
            standing.barred.get_or_insert(error);
        });
    }
}

impl Work {
    async fn run(mut self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let head = PublishedHead::from(&*self.tree.snapshot());
            if self.is_cosigned(&head) {
                let idle = tokio::time::timeout(REFRESH, self.tree.advanced());
                if idle.await.is_err() {
                    // Nothing new for long: the same checkpoint is asked about once more.
                    self.cosigned = None;
                }
                continue;
            }
            let began = Instant::now();
            let round = self.round(&head).await;
            self.metrics.cosigned(&round, began.elapsed());
            if let Some(alarm) = &round.alarm {
                self.bar(alarm.to_error());
                return;
            }
            let settled = if round.quorum_met {
                pause = FIRST_PAUSE;
                self.quorum(head, &round).await
            } else {
                let settled = self.no_quorum(head, &round).await;
                self.idle(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
                settled
            };
            if let Err(error) = settled {
                // The disk failed where the cosigned checkpoint is kept (R3).
                self.intake.stop(&error.to_string());
                self.publication.give_up(Error::Stopped {
                    cause: error.to_string(),
                });
                return;
            }
        }
    }

    fn is_cosigned(&self, head: &PublishedHead) -> bool {
        let text = text_of(&head.note);
        self.cosigned.as_deref() == Some(text)
    }

    /// Whether a checkpoint is shown at once, without waiting: the quorum is not required and was missing last time.
    fn hurried(&self) -> bool {
        let standing = self.publication.standing.borrow();
        self.publication.mode == WitnessMode::BestEffort
            && standing.failed_size > 0
            && !standing.quorum
    }

    /// One round. While checkpoints are not waited for, those that become durable meanwhile are shown as they come.
    async fn round(&self, head: &PublishedHead) -> Round {
        let asked = CosignHead {
            origin: self.origin.clone(),
            size: head.size,
            root: head.root,
            note: head.note.clone(),
        };
        let round = self.cosigner.round(&asked, &self.proofs);
        let mut round = std::pin::pin!(round);
        let hurried = self.hurried();
        loop {
            if hurried {
                self.show_plain();
            }
            tokio::select! {
                round = round.as_mut() => return round,
                () = self.tree.advanced(), if hurried => {}
            }
        }
    }

    /// Waits between rounds, as the round did.
    async fn idle(&self, pause: Duration) {
        let hurried = self.hurried();
        let over = tokio::time::sleep(pause);
        let mut over = std::pin::pin!(over);
        loop {
            if hurried {
                self.show_plain();
            }
            tokio::select! {
                () = over.as_mut() => return,
                () = self.tree.advanced(), if hurried => {}
            }
        }
    }

    /// Shows the newest durable checkpoint without its cosignatures.
    fn show_plain(&self) {
        let newest = PublishedHead::from(&*self.tree.snapshot());
        let shown = self.tree.shown();
        if newest.size > shown.size || text_of(&newest.note) != text_of(&shown.note) {
            self.show(newest);
        }
    }

    fn show(&self, head: PublishedHead) {
        let size = head.size;
        self.tree.show(head);
        self.publication.shown.send_replace(size);
        self.publisher.wake();
    }

    async fn quorum(&mut self, head: PublishedHead, round: &Round) -> Result<(), Error> {
        self.cosigned = Some(text_of(&head.note).to_owned());
        let cosigned = cosigned_note(&head, round);
        // A newer one may be shown already, where the quorum was not waited for; nothing shown is ever taken back.
        if cosigned.size >= self.tree.shown().size {
            self.keep(&cosigned).await?;
            self.show(cosigned);
        }
        let now = self.publication.clock.unix();
        self.publication.standing.send_modify(|standing| {
            standing.quorum = true;
            standing.missing.clear();
            standing.cosigned_at = Some(now);
        });
        self.intake.hold(None);
        Ok(())
    }

    async fn no_quorum(&mut self, head: PublishedHead, round: &Round) -> Result<(), Error> {
        let missing: Vec<_> = round
            .missing
            .iter()
            .map(|(name, why)| format!("{name}: {why}"))
            .collect();
        let missing = missing.join("; ");
        let first = self.publication.standing.borrow().missing != missing;
        if first {
            tracing::warn!(
                log.origin = self.origin,
                size = head.size,
                "the witnesses' quorum is missing: {missing}"
            );
        }
        let failed_size = head.size.max(1);
        self.publication.standing.send_modify(|standing| {
            standing.quorum = false;
            standing.failed_size = standing.failed_size.max(failed_size);
            standing.missing.clone_from(&missing);
        });
        match self.publication.mode {
            WitnessMode::Required => {
                self.intake.hold(Some(Error::QuorumMissing { missing }));
                Ok(())
            }
            WitnessMode::BestEffort => {
                let partly = cosigned_note(&head, round);
                if partly.size >= self.tree.shown().size {
                    self.show(partly);
                }
                Ok(())
            }
        }
    }

    /// A witness knows what the log cannot explain: it never writes again. What was shown is still served.
    fn bar(&self, error: Error) {
        tracing::error!(log.origin = self.origin, "{error}");
        self.intake.bar(&error);
        self.publication.give_up(error);
    }

    async fn keep(&mut self, head: &PublishedHead) -> Result<(), Error> {
        let (mut slots, head) = (std::mem::take(&mut self.slots), head.clone());
        let done = spawn_blocking(move || {
            let kept = slots.keep(&head);
            (slots, kept)
        });
        let (slots, kept) = done.await.map_err(|_| Error::Stopped {
            cause: "keeping the cosigned checkpoint panicked".into(),
        })?;
        self.slots = slots;
        kept
    }
}

/// The proofs of the durable tree.
#[derive(Debug)]
struct TreeProofs(Arc<Tree>);

impl Proofs for TreeProofs {
    fn durable_size(&self) -> u64 {
        self.0.snapshot().size()
    }

    fn consistency(&self, from: u64, to: u64) -> BoxFuture<'_, Result<Vec<Hash>, Error>> {
        let tree = self.0.clone();
        Box::pin(async move {
            let made = spawn_blocking(move || Ok(consistency_proof(from, to, &tree.nodes())?));
            made.await.map_err(|_| Error::Stopped {
                cause: "a read panicked".into(),
            })?
        })
    }
}

/// The checkpoint with the cosignatures of a round below the log's own signature.
fn cosigned_note(head: &PublishedHead, round: &Round) -> PublishedHead {
    let mut note = String::from_utf8_lossy(&head.note).into_owned();
    for line in &round.cosignatures {
        note.push_str(&format!("{line}\n"));
    }
    PublishedHead {
        note: Bytes::from(note),
        ..head.clone()
    }
}

/// What is signed: the note up to its signatures.
fn text_of(note: &[u8]) -> &str {
    let whole = std::str::from_utf8(note).unwrap_or_default();
    whole
        .rfind("\n\n")
        .and_then(|end| whole.get(..=end))
        .unwrap_or_default()
}

/// What the public checkpoint file shows; `None` when there is none.
fn public_head(
    disk: &dyn Disk,
    tree: &Tree,
    key: &NoteKey,
) -> Result<Option<PublishedHead>, Error> {
    let note = disk
        .read(CHECKPOINT_FILE)
        .map_err(|error| Error::disk("reading", CHECKPOINT_FILE, error))?;
    let Some(note) = note else { return Ok(None) };
    let head = PublishedHead {
        size: 0,
        root: [0; 32],
        // Where the signature does not say when it was made: the durable checkpoint was not signed before it.
        time_ms: tree.snapshot().time_ms,
        note: note.into(),
    };
    trusted(head, tree, key, "public/checkpoint", CHECKPOINT_FILE).map(Some)
}

/// A checkpoint that was kept in `file`, when it is one of this very log.
fn trusted(
    kept: PublishedHead,
    tree: &Tree,
    key: &NoteKey,
    evidence: &'static str,
    file: &str,
) -> Result<PublishedHead, Error> {
    let corrupt = |problem: &str| Error::corrupt(file, problem);
    let opened = Note::parse(&kept.note).and_then(|note| {
        let signed = note.verify(std::slice::from_ref(key))?;
        let time_ms = signed.first().and_then(|signature| signature.time_ms);
        Ok((Checkpoint::parse(note.text())?, time_ms))
    });
    let (checkpoint, time_ms) = opened.map_err(|error| corrupt(&error.to_string()))?;
    let have = tree.snapshot().size();
    if checkpoint.size > have {
        return Err(Error::RolledBack {
            evidence,
            seen: checkpoint.size,
            have,
        });
    }
    if tree.root_at(checkpoint.size)? != checkpoint.root {
        return Err(Error::Forked {
            evidence,
            size: checkpoint.size,
        });
    }
    Ok(PublishedHead {
        size: checkpoint.size,
        root: checkpoint.root,
        time_ms: time_ms.unwrap_or(kept.time_ms),
        ..kept
    })
}

/// The file with the last cosigned checkpoint: two slots of 32 KiB, written in turn.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    segment: Option<Box<dyn Segment>>,
    /// Number of the last record; its slot is the number modulo two.
    seq: u64,
}

impl Slots {
    /// Opens the file, or makes it; gives the newest whole record.
    fn open(disk: &dyn Disk) -> Result<(Self, Option<PublishedHead>), Error> {
        let failed = |action| move |error| Error::disk(action, COSIGNED_FILE, error);
        let there = disk.list("").map_err(failed("listing"))?;
        let segment = if there.iter().any(|name| name == COSIGNED_FILE) {
            disk.open_segment(COSIGNED_FILE)
                .map_err(failed("opening"))?
        } else {
            disk.create_segment(COSIGNED_FILE, SLOTS * SLOT_BYTES)
                .map_err(failed("making"))?
        };
        let bytes = segment.read().map_err(failed("reading"))?;
        let records = bytes.chunks(SLOT_BYTES as usize).filter_map(decode);
        let newest = records.max_by_key(|(seq, _)| *seq);
        let (seq, head) = newest.map_or((0, None), |(seq, head)| (seq, Some(head)));
        let segment = Some(segment);
        Ok((Self { segment, seq }, head))
    }

    /// Keeps a checkpoint; durable at return.
    fn keep(&mut self, head: &PublishedHead) -> Result<(), Error> {
        let failed = |action| move |error| Error::disk(action, COSIGNED_FILE, error);
        let segment = self.segment.as_ref().ok_or_else(|| Error::Stopped {
            cause: "the cosigned checkpoint could not be kept before".into(),
        })?;
        let seq = self.seq + 1;
        let record = encode(seq, head)?;
        let slot = (seq % SLOTS) * SLOT_BYTES;
        segment.write(slot, &record).map_err(failed("writing"))?;
        segment.sync().map_err(failed("syncing"))?;
        self.seq = seq;
        Ok(())
    }
}

/// The cosigned checkpoint that a closed log has kept, unverified.
pub(crate) fn kept_note(disk: &dyn Disk) -> Option<Vec<u8>> {
    let bytes = disk.read(COSIGNED_FILE).ok()??;
    let records = bytes.chunks(SLOT_BYTES as usize).filter_map(decode);
    let newest = records.max_by_key(|(seq, _)| *seq)?;
    Some(newest.1.note.to_vec())
}

fn encode(seq: u64, head: &PublishedHead) -> Result<Vec<u8>, Error> {
    let limit = SLOT_BYTES as usize - HEADER_BYTES - CHECKSUM_BYTES;
    let length = u32::try_from(head.note.len()).ok();
    let length = length.filter(|length| *length as usize <= limit);
    let length = length.ok_or_else(|| {
        Error::corrupt(
            COSIGNED_FILE,
            "the cosigned checkpoint is longer than 32 KiB",
        )
    })?;
    let mut record = Vec::with_capacity(HEADER_BYTES + head.note.len() + CHECKSUM_BYTES);
    record.extend(MAGIC.to_le_bytes());
    record.extend(seq.to_le_bytes());
    record.extend(head.time_ms.to_le_bytes());
    record.extend(length.to_le_bytes());
    record.extend_from_slice(&head.note);
    record.extend(crc32c::crc32c(&record).to_le_bytes());
    Ok(record)
}

/// A record that is whole; `None` for an empty slot and for one that was torn. Size and root are read from the note by
/// whoever trusts it.
fn decode(slot: &[u8]) -> Option<(u64, PublishedHead)> {
    let (magic, rest) = slot.split_first_chunk::<4>()?;
    let (seq, rest) = rest.split_first_chunk::<8>()?;
    let (time_ms, rest) = rest.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<4>()?;
    let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
    let (note, rest) = rest.split_at_checked(length)?;
    let checksum = rest.first_chunk::<CHECKSUM_BYTES>()?;
    let covered = slot.get(..HEADER_BYTES + length)?;
    let whole = u32::from_le_bytes(*magic) == MAGIC
        && crc32c::crc32c(covered) == u32::from_le_bytes(*checksum);
    whole.then(|| {
        let head = PublishedHead {
            size: 0,
            root: [0; 32],
            time_ms: u64::from_le_bytes(*time_ms),
            note: Bytes::copy_from_slice(note),
        };
        (u64::from_le_bytes(*seq), head)
    })
}

#[cfg(test)]
mod tests;
