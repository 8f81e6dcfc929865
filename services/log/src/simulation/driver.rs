//! Drives the real engine on a simulated machine, one step at a time, and checks the promises after each.

use std::fmt::Debug;
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, mpsc};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use sealwright_crypto::{
    Algorithm, BoxFuture, Digest, KeyType, MemorySigner, PrivateKey, PublicKey, SignError, Signer,
};
use sealwright_host::SharedClock;
use sealwright_host::clock::ManualClock;
use sealwright_tlog::ct::CtEntry;
use sealwright_tlog::proof::{consistency_proof, inclusion_proof};
use sealwright_tlog::tile::{TILE_WIDTH, changed_tiles};
use sealwright_tlog::{Hash, verify_consistency, verify_inclusion};
use tokio::runtime::{Builder, Handle, Runtime};

use super::machine::{Crash, Machine, SimulatedHead};
use super::model::{Model, Outcome, WITNESS, violated};
use super::mutant::{Mutant, MutantDisk};
use super::random::Random;
use super::witness::Witness;
use crate::cosign::Cosigner;
use crate::disk::{Disk, FileDisk};
use crate::error::Error;
use crate::fsck::fsck_on;
use crate::guard::{Accepted, Guard, GuardMode, Memory};
use crate::head::{Head, HeadStore};
use crate::identity::LogIdentity;
use crate::kind::{BodyLeaf, CertificateLeaf, Kind};
use crate::log::{Log, Receipt};
use crate::metrics::Metrics;
use crate::mirror::Mirror;
use crate::open::Start;
use crate::options::{EngineOptions, EngineParts};
use crate::publication::Publication;
use crate::sequencer::Sequencer;
use crate::wal;

const ORIGIN: &str = "log.example";
/// What the clock shows first, Unix milliseconds.
const NOW_MS: i64 = 1_800_000_000_000;
/// A start that is interrupted is tried so often again before the power is left on.
const STARTS: u64 = 3;
/// What an operating system says of a disk that does not work (EIO), and of the simulated one that is told not to.
const BROKEN: &str = "os error 5";
/// Receipts whose proofs are computed again in one audit.
const SAMPLED: u64 = 4;

/// How one history's log is set up.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    pub(super) kind: Kind,
    pub(super) spare_segments: usize,
    pub(super) static_partials: bool,
    pub(super) strict_files: bool,
    /// Entries in the largest batch.
    pub(super) batch_entries: usize,
    /// Receipts are handed out when a witness outside has seen a checkpoint over their entry.
    pub(super) witness: bool,
    /// The engine asks the witness itself, before it shows anything to anybody.
    pub(super) cosigned: bool,
    pub(super) mutant: Option<Mutant>,
}

impl Settings {
    fn options(&self, create: bool) -> EngineOptions {
        let batch_bytes = 80 << 10;
        let per_entry = wal::LEAF_PREFIX_BYTES + 256;
        let frame = wal::frame_bytes(4096, batch_bytes + per_entry * self.batch_entries) as u64;
        EngineOptions {
            create,
            // The smallest that holds a batch.
            segment_bytes: frame
                .max(2 * self.kind.max_stored_bytes() as u64)
                .next_multiple_of(4096),
            spare_segments: self.spare_segments,
            queue_entries: 4096,
            queue_bytes: 1 << 20,
            batch_entries: self.batch_entries,
            batch_bytes,
            static_partials: self.static_partials,
            strict_files: self.strict_files,
            backlog_bytes: 256 << 10,
            ..EngineOptions::default()
        }
    }
}

/// A signer whose signatures are always equally long, so that a history does not depend on the nonces of ECDSA.
#[derive(Debug)]
struct EvenSigner(MemorySigner);

impl Signer for EvenSigner {
    fn public_key(&self) -> &PublicKey {
        self.0.public_key()
    }

    fn algorithm(&self) -> Algorithm {
        self.0.algorithm()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.0.sign(message)
    }

    fn sign_digest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.0.sign_digest(digest)
    }

    fn sign_now(&self, message: &[u8]) -> Option<Result<Vec<u8>, SignError>> {
        loop {
            let signature = self.0.sign_now(message)?;
            // Half of all P-256 signatures in DER have 71 bytes.
            if !matches!(&signature, Ok(bytes) if !matches!(bytes.len(), 64 | 71)) {
                return Some(signature);
            }
        }
    }
}

fn signer(kind: Kind) -> Arc<dyn Signer> {
    static REKOR: LazyLock<Arc<dyn Signer>> = LazyLock::new(|| {
        let key = PrivateKey::generate(KeyType::Ed25519).expect("the system gives random bytes");
        Arc::new(EvenSigner(MemorySigner::new(key)))
    });
    static CT: LazyLock<Arc<dyn Signer>> = LazyLock::new(|| {
        let key = PrivateKey::generate(KeyType::EcP256).expect("the system gives random bytes");
        Arc::new(EvenSigner(MemorySigner::new(key)))
    });
    match kind {
        Kind::Rekor => REKOR.clone(),
        Kind::Ct => CT.clone(),
    }
}

/// One thread that reads files for the engine's futures, and a way to wait until it has nothing to do. Histories share it.
pub(super) struct Stage {
    runtime: Runtime,
}

impl Stage {
    pub(super) fn new() -> Self {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(1)
            .enable_all()
            .build()
            .expect("a runtime needs nothing but memory");
        Self { runtime }
    }

    fn handle(&self) -> Handle {
        self.runtime.handle().clone()
    }

    /// Lets tasks go on as far as they can.
    fn pump(&self) {
        for _ in 0..6 {
            self.runtime.block_on(async {
                for _ in 0..4 {
                    tokio::task::yield_now().await;
                }
            });
            self.quiesce();
        }
    }

    /// Waits until everything that was given to the thread before is done.
    fn quiesce(&self) {
        let (done, wait) = mpsc::channel();
        self.runtime.spawn_blocking(move || done.send(()).is_ok());
        let _ = wait.recv();
    }
}

struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

type Submission = Pin<Box<dyn Future<Output = Result<Receipt, Error>>>>;

/// An entry that was submitted and not answered.
struct Waiting {
    entry: u64,
    woken: Arc<Flag>,
    submission: Submission,
}

/// A log that is open.
struct Running {
    log: Log,
    sequencer: Sequencer,
    head: Head,
    _lock: Box<dyn Debug + Send + Sync>,
    waiting: Vec<Waiting>,
    /// Receipts that wait for the witness.
    held: Vec<(u64, Receipt)>,
}

/// One history's machine, log and model.
pub(super) struct Driver<'a> {
    stage: &'a Stage,
    settings: Settings,
    pub(super) machine: Machine,
    pub(super) model: Model,
    clock: Arc<ManualClock>,
    metrics: Metrics,
    witness: Witness,
    running: Option<Running>,
    made: bool,
    /// Entries are called by numbers, from 0.
    pub(super) entries: u64,
    /// By entry, its size in bytes.
    sizes: Vec<u64>,
    seed: u64,
}

impl<'a> Driver<'a> {
    pub(super) fn new(stage: &'a Stage, settings: Settings, seed: u64) -> Self {
        let clock = ManualClock::at(0);
        clock.set_ms(NOW_MS);
        let key = settings
            .kind
            .note_key(ORIGIN, signer(settings.kind).public_key().clone())
            .expect("the key is of the log's type");
        Self {
            stage,
            machine: Machine::new(seed),
            model: Model::new(
                settings.kind,
                key,
                settings.static_partials,
                settings.cosigned,
            ),
            settings,
            clock: Arc::new(clock),
            metrics: Metrics::default(),
            witness: Witness::new(),
            running: None,
            made: false,
            entries: 0,
            sizes: Vec::new(),
            seed,
        }
    }

    pub(super) fn disk(&self) -> Result<Arc<dyn Disk>, Error> {
        let disk = FileDisk::on(Arc::new(self.machine.clone()), Path::new(""), 1)
            .map_err(|error| Error::disk("opening", "", error))?;
        Ok(match self.settings.mutant {
            Some(mutant) => Arc::new(MutantDisk::new(mutant, Arc::new(disk))),
            None => Arc::new(disk),
        })
    }

    fn start(&self) -> Result<Running, Error> {
        let clock: SharedClock = self.clock.clone();
        let parts = EngineParts {
            signer: signer(self.settings.kind),
            clock,
            metrics: self.metrics.clone(),
            cosigner: self.settings.cosigned.then(|| {
                let witness: Arc<dyn Cosigner> = Arc::new(self.witness.clone());
                witness
            }),
        };
        let identity = LogIdentity {
            name: "simulated".into(),
            kind: self.settings.kind,
            origin: ORIGIN.into(),
        };
        let start = Start::new(
            self.disk()?,
            Path::new(""),
            identity,
            self.settings.options(!self.made),
            parts,
            self.metrics.of("simulated"),
            self.stage.handle(),
        )?;
        let store = || -> Result<Box<dyn HeadStore>, Error> {
            Ok(Box::new(SimulatedHead(self.machine.clone())))
        };
        let mut engine = start.run([7; 16], store)?;
        let (cosigner, clock) = (engine.cosigner.take(), engine.clock.clone());
        let (log, sequencer, head, lock) = engine.into_parts();
        if let Some((cosigner, slots)) = cosigner {
            let _runtime = self.stage.runtime.enter();
            let publication = Publication::start(cosigner, slots, &log.inner, clock);
            let _ = log.inner.publication.set(publication);
        }
        Ok(Running {
            log,
            sequencer,
            head,
            _lock: lock,
            waiting: Vec::new(),
            held: Vec::new(),
        })
    }

    /// Opens the log on a machine that lost nothing it promised to keep. Refusals are for what is broken now; when that is
    /// healed, the log opens and is what it was.
    pub(super) fn open(&mut self, random: &mut Random) -> Outcome {
        let mut last = None;
        for start in 0..=STARTS {
            let troubled = self.machine.is_troubled();
            let interrupted = start < STARTS && random.one_in(4);
            if interrupted {
                self.machine.light_fuse(random.below(60));
            }
            match self.start() {
                Ok(running) if self.machine.is_on() => {
                    self.machine.light_fuse(u64::MAX);
                    self.running = Some(running);
                    self.made = true;
                    self.check_recovered(random)?;
                    return self.greet(random);
                }
                Ok(running) => {
                    self.running = Some(running);
                    self.end();
                }
                Err(error) => {
                    let explained = troubled || !self.machine.is_on();
                    if !explained {
                        violated!("I8: the log does not open although nothing is broken: {error}");
                    }
                    last = Some(error);
                }
            }
            self.model.look(&self.machine)?;
            if troubled && random.one_in(2) {
                self.machine.heal();
            }
            let crash = random.pick(&[Crash::Process, Crash::PowerAndAll, Crash::PowerAndSome]);
            self.machine.restart(crash);
            self.model.look_again();
            self.model.look(&self.machine)?;
        }
        self.machine.heal();
        match self.start() {
            Ok(running) => {
                self.running = Some(running);
                self.made = true;
                self.check_recovered(random)?;
                self.greet(random)
            }
            Err(error) => {
                violated!("I8: the log does not open any more: {error}; before: {last:?}")
            }
        }
    }

    /// A log whose engine asks the witness takes nothing before it has answered; mostly it does at once.
    fn greet(&mut self, random: &mut Random) -> Outcome {
        if self.settings.cosigned && !random.one_in(4) {
            return self.cosign();
        }
        Ok(())
    }

    fn running(&self) -> Outcome<&Running> {
        match &self.running {
            Some(running) => Ok(running),
            None => violated!("the driver works on a log that is not open"),
        }
    }

    /// Whether a read failed because it was to fail.
    fn is_excused(&self, error: &Error) -> bool {
        !self.machine.is_on() || error.to_string().contains(BROKEN)
    }

    /// Whether receipts wait for the witness.
    pub(super) fn witness_required(&self) -> bool {
        self.settings.witness || self.settings.cosigned
    }

    pub(super) fn is_open(&self) -> bool {
        self.running.is_some()
    }

    /// After a start: every entry is where it was, every file is right, and nothing was lost.
    fn check_recovered(&mut self, random: &mut Random) -> Outcome {
        let running = self.running()?;
        let (tree, log) = (running.log.inner.tree.clone(), running.log.clone());
        let size = tree.snapshot().size();
        let troubled = self.machine.is_troubled();
        let leaves = match tree.stored_range(0, size) {
            Ok(leaves) => leaves,
            Err(error) if self.is_excused(&error) => return Ok(()),
            Err(error) => violated!("I1: the entries cannot be read after a restart: {error}"),
        };
        self.model.recover(leaves)?;
        if self.model.frozen && !log.frozen() {
            violated!("the log was frozen, and is not after a restart");
        }
        self.check_head(&log)?;
        self.audit(random)?;
        if troubled {
            return Ok(());
        }
        let report = self.disk().and_then(fsck_on);
        match report {
            Ok(report) if report.is_sound() => Ok(()),
            Ok(report) => violated!("I3: fsck after a restart: {:?}", report.faults),
            Err(error) => violated!("I3: fsck after a restart: {error}"),
        }
    }

    /// The engine's tree is the model's, and what it shows is a part of it.
    fn check_head(&self, log: &Log) -> Outcome {
        let (snapshot, shown) = (log.inner.tree.snapshot(), log.tree_head());
        if (snapshot.size(), snapshot.root)
            != (self.model.size(), self.model.root_at(self.model.size()))
        {
            violated!(
                "the tree is of {} entries with another root than that of the {} entries",
                snapshot.size(),
                self.model.size()
            );
        }
        if shown.size > snapshot.size() || shown.root != self.model.root_at(shown.size) {
            violated!(
                "a tree of {} entries is shown, which is not the log's",
                shown.size
            );
        }
        Ok(())
    }

    /// Some receipts, from the beginning: read, proved, and consistent with what was shown.
    pub(super) fn audit(&mut self, random: &mut Random) -> Outcome {
        let tree = self.running()?.log.inner.tree.clone();
        let size = tree.snapshot().size();
        let root = tree.snapshot().root;
        for _ in 0..SAMPLED.min(self.model.receipts.len() as u64) {
            let kept =
                &self.model.receipts[random.below(self.model.receipts.len() as u64) as usize];
            let proof = match inclusion_proof(kept.index, size, &tree.nodes()) {
                Ok(proof) => proof,
                Err(error) => {
                    let error = Error::from(error);
                    if self.is_excused(&error) {
                        continue;
                    }
                    violated!("I1: entry {} cannot be proved: {error}", kept.index);
                }
            };
            if let Err(error) = verify_inclusion(kept.index, size, &kept.leaf_hash, &proof, &root) {
                violated!("I1: entry {} is not in the tree: {error}", kept.index);
            }
            match tree.stored(kept.index) {
                Ok(stored) if stored == kept.stored => {}
                Ok(_) => violated!("I1: entry {} is another one", kept.index),
                Err(error) if self.is_excused(&error) => {}
                Err(error) => violated!("I1: entry {} cannot be read: {error}", kept.index),
            }
            if self.settings.kind == Kind::Ct {
                match tree.attachment(kept.index) {
                    Ok(Some(attachment)) if attachment == kept.attachment => {}
                    Err(error) if self.is_excused(&error) => {}
                    other => {
                        violated!("I5: the signature of entry {} is now {other:?}", kept.index)
                    }
                }
            }
            self.check_consistent(kept.tree_size, kept.root, size, root)?;
        }
        let sizes = self.model.seen_sizes();
        for _ in 0..SAMPLED.min(sizes.len() as u64) {
            let old = random.pick(&sizes);
            self.check_consistent(old, self.model.root_at(old), size, root)?;
        }
        Ok(())
    }

    fn check_consistent(&self, old: u64, old_root: Hash, size: u64, root: Hash) -> Outcome {
        let tree = &self.running()?.log.inner.tree;
        let proof = match consistency_proof(old, size, &tree.nodes()) {
            Ok(proof) => proof,
            Err(error) => {
                let error = Error::from(error);
                if self.is_excused(&error) {
                    return Ok(());
                }
                violated!("I2: no proof from {old} to {size} entries: {error}");
            }
        };
        if let Err(error) = verify_consistency(old, &old_root, size, &root, &proof) {
            violated!("I2: {old} and {size} entries are not of one log: {error}");
        }
        Ok(())
    }

    fn leaf(&self, entry: u64) -> Vec<u8> {
        let size = self.sizes.get(entry as usize).copied().unwrap_or(16);
        let mut body = format!("{}/{entry}:", self.seed).into_bytes();
        body.resize(body.len().max(size as usize), b'.');
        body
    }

    /// New entries of about `bytes` bytes each.
    pub(super) fn submit_new(&mut self, count: u64, bytes: u64) -> Outcome {
        let first = self.entries;
        self.entries += count;
        self.sizes.resize(self.entries as usize, bytes);
        self.submit(first..first + count)
    }

    pub(super) fn submit(&mut self, entries: impl IntoIterator<Item = u64>) -> Outcome {
        for entry in entries {
            let (body, log) = (self.leaf(entry), self.running()?.log.clone());
            let submission: Submission = match self.settings.kind {
                Kind::Rekor => {
                    let leaf = BodyLeaf::new(body);
                    Box::pin(async move { log.submit(leaf?).await })
                }
                Kind::Ct => {
                    let leaf =
                        CertificateLeaf::new(CtEntry::X509 { certificate: body }, Vec::new());
                    Box::pin(async move { log.submit(leaf?).await })
                }
            };
            let waiting = Waiting {
                entry,
                woken: Arc::new(Flag(AtomicBool::new(true))),
                submission,
            };
            if let Some(running) = &mut self.running {
                running.waiting.push(waiting);
            }
        }
        self.poll()
    }

    /// Lets everything that waits go on as far as it can, and hands out what is answered.
    fn poll(&mut self) -> Outcome {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let mut answered = Vec::new();
        let _runtime = self.stage.runtime.enter();
        loop {
            let mut polled = false;
            running.waiting.retain_mut(|waiting| {
                if !waiting.woken.0.swap(false, Ordering::SeqCst) {
                    return true;
                }
                polled = true;
                let waker = Waker::from(waiting.woken.clone());
                match waiting
                    .submission
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                {
                    Poll::Pending => true,
                    Poll::Ready(answer) => {
                        answered.push((waiting.entry, answer));
                        false
                    }
                }
            });
            if !polled {
                break;
            }
            self.stage.quiesce();
        }
        for (entry, answer) in answered {
            match answer {
                Ok(receipt) if self.settings.witness => {
                    if let Some(running) = &mut self.running {
                        running.held.push((entry, receipt));
                    }
                }
                Ok(receipt) => self.model.hand_out(entry, &receipt)?,
                Err(Error::Entry(error)) => violated!("entry {entry} was refused: {error}"),
                Err(_) => self.machine.count("submissions refused"),
            }
        }
        Ok(())
    }

    /// One batch, if anything waits.
    pub(super) fn batch(&mut self) -> Outcome<bool> {
        let Some(running) = &mut self.running else {
            return Ok(false);
        };
        let Some(batch) = running.log.inner.intake.try_batch() else {
            return Ok(false);
        };
        running.sequencer.process(batch);
        self.take_durable()?;
        self.poll()?;
        Ok(true)
    }

    /// What the engine shows to its readers is durable: the model takes it over before anybody sees a receipt.
    fn take_durable(&mut self) -> Outcome {
        let tree = &self.running()?.log.inner.tree;
        let (from, to) = (self.model.size(), tree.snapshot().size());
        let mut leaves: Vec<Bytes> = Vec::new();
        for index in from..to {
            match tree.stored_in_memory(index) {
                Ok(Some(stored)) => leaves.push(stored),
                other => violated!("entry {index} is durable and not in memory: {other:?}"),
            }
        }
        self.model.extend(leaves)?;
        let log = self.running()?.log.clone();
        self.check_head(&log)
    }

    pub(super) fn publish(&mut self) -> Outcome {
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let inner = running.log.inner.clone();
        if self.settings.mutant == Some(Mutant::RecycledTooEarly) {
            let durable = inner.tree.snapshot().size();
            let _ = running.sequencer.writer.segments().maintain(durable);
        }
        match inner.publisher.publish(&mut running.head) {
            Ok(()) => {}
            Err(error) if error.is_storage_full() || matches!(error, Error::Database(_)) => {}
            Err(error) => inner.intake.stop(&error.to_string()),
        }
        self.poll()
    }

    /// Shows the head to the witness, which remembers it for ever, and hands out the receipts that it covers.
    pub(super) fn witness(&mut self) -> Outcome {
        if self.settings.cosigned {
            return self.cosign();
        }
        let Some(running) = &self.running else {
            return Ok(());
        };
        let head = running.log.tree_head();
        if let Some(last) = self.model.witness.clone() {
            if head.size < last.size {
                violated!(
                    "I6: the witness has seen {} entries, the log has {}",
                    last.size,
                    head.size
                );
            }
            self.check_consistent(last.size, last.root, head.size, head.root)?;
        }
        let seen = self.model.see(&head.checkpoint, WITNESS)?;
        self.model.witness = Some(seen);
        self.model.witnessed = head.checkpoint;
        let Some(running) = &mut self.running else {
            return Ok(());
        };
        let (out, held) = std::mem::take(&mut running.held)
            .into_iter()
            .partition(|(_, receipt)| receipt.tree_size <= head.size);
        running.held = held;
        let out: Vec<(u64, Receipt)> = out;
        out.iter()
            .try_for_each(|(entry, receipt)| self.model.hand_out(*entry, receipt))
    }

    /// One round of the engine's own, to its end.
    fn cosign(&mut self) -> Outcome {
        self.stage.pump();
        self.witness.open_gate();
        self.stage.pump();
        self.witness.close_gate();
        if let Some(seen) = self.witness.seen()
            && self.model.witnessed != seen.note
        {
            self.model.witness = Some(self.model.see(&seen.note, WITNESS)?);
            self.model.witnessed = seen.note;
            self.machine.count("rounds of the witness");
        }
        self.poll()
    }

    /// Ends the engine's own tasks, as the end of its process does.
    fn end(&mut self) {
        if let Some(running) = self.running.take()
            && let Some(publication) = running.log.inner.publication.get()
        {
            self.stage.runtime.block_on(publication.stop());
        }
        self.stage.quiesce();
    }

    /// Freezes the log: what waits is written, and then nothing any more.
    pub(super) fn freeze(&mut self) -> Outcome {
        let Some(running) = &self.running else {
            return Ok(());
        };
        let log = running.log.clone();
        let mut freezing = Box::pin(async move { log.freeze().await });
        let flag = Arc::new(Flag(AtomicBool::new(false)));
        let waker = Waker::from(flag);
        let mut context = Context::from_waker(&waker);
        let first = freezing.as_mut().poll(&mut context);
        if first.is_ready() {
            return Ok(());
        }
        while self.batch()? {}
        if let Some(running) = &mut self.running
            && !running.log.inner.intake.is_stopped()
        {
            running.sequencer.freeze();
        }
        match freezing.as_mut().poll(&mut context) {
            Poll::Ready(Ok(_)) => {
                self.model.frozen = true;
                self.machine.count("logs frozen");
            }
            Poll::Ready(Err(_)) => self.machine.count("freezes refused"),
            Poll::Pending => violated!("freezing the log never ends"),
        }
        self.poll()
    }

    pub(super) fn is_frozen(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.log.frozen())
    }

    /// A second writer on the same folder is refused, and changes nothing.
    pub(super) fn second_writer(&mut self) -> Outcome {
        match self.start() {
            Err(Error::Locked { .. }) => Ok(()),
            Err(_) if self.machine.is_troubled() || !self.machine.is_on() => {
                self.machine.count("second writers that could not even ask");
                Ok(())
            }
            Err(error) => violated!("a second writer was refused for another reason: {error}"),
            Ok(_) => violated!("a second writer opened the log"),
        }
    }

    /// Reads as clients do: any tile of the tree, an old checkpoint, proofs.
    pub(super) fn read(&mut self, random: &mut Random) -> Outcome {
        let tree = self.running()?.log.inner.tree.clone();
        let size = tree.snapshot().size();
        let tiles = changed_tiles(0, size);
        for _ in 0..SAMPLED.min(tiles.len() as u64) {
            let mut id = random.pick(&tiles);
            id.width = random.range(1, u64::from(id.width.min(TILE_WIDTH))) as u16;
            match tree.tile(id) {
                Ok(bytes) if bytes.len() == usize::from(id.width) * 32 => {}
                Ok(bytes) => violated!("tile {id} has {} bytes", bytes.len()),
                Err(error) if self.is_excused(&error) => {}
                Err(error) => violated!("tile {id} cannot be read: {error}"),
            }
        }
        self.audit(random)
    }

    pub(super) fn step_clock(&mut self, ms: i64) {
        self.clock.advance_ms(ms);
    }

    pub(super) fn clock_forward(&mut self) {
        self.clock.set_ms(self.clock_ms().max(NOW_MS) + 3_600_000);
    }

    fn clock_ms(&self) -> i64 {
        let clock: &dyn sealwright_host::clock::Clock = &*self.clock;
        clock.unix_ms()
    }

    /// Whether the engine has given up, as after a failed sync.
    pub(super) fn has_stopped(&self) -> bool {
        self.running
            .as_ref()
            .is_some_and(|running| running.log.inner.intake.is_stopped())
    }

    /// The files are as a reader expects them, at this moment.
    pub(super) fn look(&mut self) -> Outcome {
        self.model.look(&self.machine)
    }

    /// Ends the process, or the machine.
    pub(super) fn crash(&mut self, crash: Crash) -> Outcome {
        self.model.look(&self.machine)?;
        self.end();
        self.machine.restart(crash);
        self.model.look_again();
        self.model.look(&self.machine)
    }

    /// Ends the log in good order: what waits is written, files are brought up to date.
    pub(super) fn close(&mut self) -> Outcome {
        if let Some(running) = &self.running {
            running.log.inner.intake.drain();
        }
        while self.batch()? {}
        self.publish()?;
        if self.machine.is_on() && (self.settings.witness || self.settings.cosigned) {
            self.witness()?;
            self.publish()?;
        }
        self.model.look(&self.machine)?;
        self.end();
        Ok(())
    }

    /// Opens the log without expecting anything.
    pub(super) fn try_open(&mut self) -> Result<Log, Error> {
        let running = self.start()?;
        let log = running.log.clone();
        self.running = Some(running);
        Ok(log)
    }

    pub(super) fn drop_log(&mut self) {
        self.end();
    }

    /// Whether outside memory, if there is any, says of an open log what it has to: that it is not the newest, or nothing.
    pub(super) fn outside_memory_refuses(&self, log: &Log) -> Outcome {
        let Some(seen) = &self.model.witness else {
            return Ok(());
        };
        let folder = tempfile::tempdir().expect("a folder can be made");
        std::fs::write(folder.path().join("checkpoint"), &self.model.witnessed)
            .expect("a file can be written");
        let mirror = Mirror::parse(&folder.path().to_string_lossy(), Path::new("/"))
            .expect("a folder is a mirror");
        let memories = vec![Memory::mirror(mirror)];
        let guard = Guard::new(GuardMode::Required, memories, Accepted::default());
        // Of its own, so that the guard's repetition ends with it.
        let answer = Stage::new().runtime.block_on(guard.start(log));
        let size = log.inner.tree.snapshot().size();
        if self.settings.cosigned && seen.size > size {
            self.stage.pump();
            self.witness.open_gate();
            self.stage.pump();
            match log.condition() {
                Err(Error::WitnessAhead { .. }) => {}
                other => violated!("I6: the witness knows more, and the log says {other:?}"),
            }
        }
        match answer {
            Err(Error::MirrorAhead { .. }) if seen.size > size => {
                self.machine.count("losses that outside memory refused");
                Ok(())
            }
            _ if seen.size > size => {
                violated!(
                    "I6: outside memory knows {} entries, the log has {size}: {answer:?}",
                    seen.size
                )
            }
            Ok(()) => Ok(()),
            Err(Error::Corrupt { .. } | Error::Disk { .. }) => Ok(()),
            Err(error) => violated!("outside memory refuses a log that is whole: {error}"),
        }
    }
}
