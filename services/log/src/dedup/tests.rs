//! The index against a map, on disks that lose, damage and hold up files, and under threads.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Debug;
use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::join_all;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, sha256};
use sealwright_host::SharedClock;
use sealwright_host::clock::ManualClock;
use sealwright_tlog::ct::CtEntry;
use sealwright_tlog::tile::{TileId, TileKind};
use sealwright_tlog::{Hash, RightEdge};

use crate::dedup::compact::Compactor;
use crate::dedup::key::{Family, Keyed};
use crate::dedup::run::{Builder, DATA_BLOCK, FOLDER, Pair, Run, RunId, UNFINISHED, build};
use crate::dedup::volatile::UNIT;
use crate::dedup::{Checked, Index, Reading, RunSet, check};
use crate::disk::{Disk, FileDisk, Segment};
use crate::error::Error;
use crate::identity::LogIdentity;
use crate::intake::{Intake, Limits, Offer};
use crate::kind::{BodyLeaf, CertificateLeaf, FinishedLeaf, Kind, Leaf};
use crate::log::Log;
use crate::metrics::Metrics;
use crate::options::{EngineOptions, EngineParts};
use crate::tree::{Overlay, Snapshot, Tree, public_path};

const SECRET: &[u8] = b"a log's secret";

/// Files in memory, whose reading can be held up.
#[derive(Debug, Default)]
struct MemoryDisk {
    files: Mutex<BTreeMap<String, Vec<u8>>>,
    gate: Mutex<Option<Gate>>,
}

/// Tells that a read began, and waits until it may go on.
#[derive(Debug)]
struct Gate {
    began: Sender<()>,
    go_on: Receiver<()>,
}

impl MemoryDisk {
    fn files(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Vec<u8>>> {
        self.files.lock().unwrap()
    }

    fn names(&self) -> Vec<String> {
        self.files().keys().cloned().collect()
    }
}

impl Disk for MemoryDisk {
    fn lock(&self, _: &str) -> io::Result<Box<dyn Debug + Send + Sync>> {
        Ok(Box::new(()))
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        let prefix = format!("{folder}/");
        let files = self.files();
        let names = files.keys().filter_map(|path| path.strip_prefix(&prefix));
        Ok(names.map(str::to_owned).collect())
    }

    fn read(&self, path: &str) -> io::Result<Option<Vec<u8>>> {
        if let Some(gate) = self.gate.lock().unwrap().take() {
            gate.began.send(()).unwrap();
            gate.go_on.recv().unwrap();
        }
        Ok(self.files().get(path).cloned())
    }

    fn put(&self, files: &[(String, Vec<u8>)]) -> io::Result<()> {
        self.files().extend(files.iter().cloned());
        Ok(())
    }

    fn write_at(&self, path: &str, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut files = self.files();
        let file = files.entry(path.to_owned()).or_default();
        let end = offset as usize + bytes.len();
        file.resize(file.len().max(end), 0);
        file[offset as usize..end].copy_from_slice(bytes);
        Ok(())
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        self.files().remove(path);
        Ok(())
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut files = self.files();
        let bytes = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), bytes);
        Ok(())
    }

    fn create_segment(&self, _: &str, _: u64) -> io::Result<Box<dyn Segment>> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn open_segment(&self, _: &str) -> io::Result<Box<dyn Segment>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// An entry that is nothing but its identity.
#[derive(Debug)]
struct Named(Hash);

impl Leaf for Named {
    fn identity(&self) -> Hash {
        self.0
    }

    fn weight(&self) -> usize {
        1
    }

    fn finish(self: Box<Self>, _: u64, _: u64) -> Result<FinishedLeaf, sealwright_tlog::Error> {
        unreachable!("these entries are recorded without a sequencer")
    }
}

fn identity(number: u64) -> Hash {
    sha256(&number.to_be_bytes())
}

fn leaf_hash(number: u64) -> Hash {
    sha256(&identity(number))
}

/// An intake and what keeps its index, without the rest of the engine: entries are numbers, and in files as soon as they
/// are recorded.
struct Bench {
    disk: Arc<MemoryDisk>,
    intake: Arc<Intake>,
    compactor: Compactor,
    size: u64,
}

impl Bench {
    fn new(kind: Kind, keyed: Keyed) -> Self {
        let disk = Arc::new(MemoryDisk::default());
        let families = Family::of(kind.identity_is_leaf_hash());
        let index = Index::new(keyed, families, RunSet::empty(families.len()));
        let limits = Limits {
            queue_entries: 1000,
            queue_bytes: 1000,
            batch_entries: 1000,
            batch_bytes: 1000,
        };
        let clock: SharedClock = Arc::new(ManualClock::at(0));
        let intake = Arc::new(Intake::new(limits, index, clock));
        let snapshot = Snapshot {
            root: RightEdge::new().root(),
            note: bytes::Bytes::new(),
            time_ms: 0,
            edge: RightEdge::new(),
            partial: Vec::new(),
            frozen: false,
        };
        let tree = Tree::new(kind, disk.clone(), snapshot, Overlay::default());
        let metrics = Metrics::default().of("test");
        let compactor = Compactor::new(Arc::new(tree), intake.clone(), metrics);
        Self {
            disk,
            intake,
            compactor,
            size: 0,
        }
    }

    /// Logs the numbers, each at its own index.
    fn record(&mut self, count: u64) {
        let hashes: Vec<(Hash, Hash)> = (self.size..self.size + count)
            .map(|number| (identity(number), leaf_hash(number)))
            .collect();
        let hashes = hashes
            .iter()
            .map(|(identity, leaf_hash)| (identity, leaf_hash));
        self.intake.record(self.size, hashes);
        self.size += count;
    }

    fn settle(&self) {
        self.compactor.absorb(self.size).unwrap();
        while self.compactor.step(0).unwrap() {}
    }

    /// What a submission finds: the index of the same entry, or `None` when it is queued as a new one.
    fn submit(&self, number: u64) -> Option<u64> {
        let identity = identity(number);
        let (mut leaf, mut checked): (Box<dyn Leaf>, _) =
            (Box::new(Named(identity)), Checked::default());
        loop {
            let (again, candidates) = match self.intake.offer(leaf, &checked).unwrap() {
                Offer::Waiting { .. } => {
                    self.intake.fail([identity], &Error::ShuttingDown);
                    self.intake.try_batch();
                    return None;
                }
                Offer::Read(again, reading) => {
                    let candidates = reading.read(&*self.disk).unwrap();
                    checked.done(&reading);
                    (again, candidates)
                }
                Offer::Candidates(again, candidates) => (again, candidates),
            };
            for index in candidates {
                if index == number {
                    return Some(index);
                }
                checked.refute(index);
            }
            leaf = again;
        }
    }

    fn find_leaf(&self, number: u64) -> Vec<u64> {
        let (_, families) = self.intake.keyed();
        let leaf_hash = match families {
            [_] => identity(number),
            _ => leaf_hash(number),
        };
        let (mut candidates, reading) = self.intake.by_leaf_hash(&leaf_hash);
        candidates.extend(reading.read(&*self.disk).unwrap());
        candidates
    }

    /// Sizes of a family's runs.
    fn runs(&self, family: Family) -> Vec<u64> {
        self.intake
            .runs()
            .of(family)
            .iter()
            .map(|run| run.id.len())
            .collect()
    }
}

fn id(first: u64, end: u64) -> RunId {
    RunId {
        family: Family::Identity,
        first,
        end,
    }
}

fn pairs(id: RunId, key: impl Fn(u64) -> u64) -> Vec<Pair> {
    (id.first..id.end)
        .map(|index| (key(index), index))
        .collect()
}

#[test]
fn a_run_finds_every_key_wherever_it_stands() {
    let keyed = Keyed::new(SECRET);
    for entries in [1, 2, 340, 341, 342, 682, 5000] {
        let id = id(1000, 1000 + entries);
        let (bytes, made) = build(id, 9, pairs(id, |index| keyed.key(&identity(index)))).unwrap();
        let disk = MemoryDisk::default();
        disk.put(&[(id.path(), bytes)]).unwrap();
        let opened = Run::open(&disk, id, 9).unwrap().unwrap();
        assert_eq!(opened.weight(), made.weight());
        for run in [made, opened] {
            for index in id.first..id.end {
                let key = keyed.key(&identity(index));
                assert!(run.may_hold(key));
                assert_eq!(run.read(&disk, key).unwrap(), [index]);
            }
            for number in 10_000..10_200 {
                let key = keyed.key(&identity(number));
                assert_eq!(run.read(&disk, key).unwrap(), Vec::<u64>::new());
            }
        }
    }
}

#[test]
fn equal_keys_are_found_across_blocks() {
    let id = id(0, 2000);
    // Each of the keys 0, 10 and 20 fills more than one block, and none begins where a block does.
    let (bytes, run) = build(id, 9, pairs(id, |index| index % 3 * 10)).unwrap();
    let disk = MemoryDisk::default();
    disk.put(&[(id.path(), bytes)]).unwrap();
    for key in [0, 10, 20] {
        let expected: Vec<u64> = (0..2000).filter(|index| index % 3 * 10 == key).collect();
        assert_eq!(run.read(&disk, key).unwrap(), expected);
    }
    for key in [5, 15, 25, u64::MAX] {
        assert_eq!(run.read(&disk, key).unwrap(), Vec::<u64>::new());
    }
}

#[test]
fn a_run_in_pieces_is_the_run_in_one() {
    let id = id(0, 1000);
    let keyed = Keyed::new(SECRET);
    let mut sorted = pairs(id, |index| keyed.key(&identity(index)));
    let (whole, _) = build(id, 9, sorted.clone()).unwrap();
    sorted.sort_unstable();
    let (mut builder, mut pieces) = (Builder::new(id, 9), Vec::new());
    for pair in sorted {
        builder.push(pair);
        if builder.ready() >= DATA_BLOCK {
            pieces.extend(builder.take());
        }
    }
    pieces.extend(builder.finish().unwrap().0);
    assert!(whole == pieces);
    let few = Builder::new(id, 9);
    assert!(few.finish().is_none(), "fewer pairs than entries");
}

#[test]
fn a_run_that_is_not_what_was_written_is_noticed() {
    let (run_id, disk) = (id(0, 1000), MemoryDisk::default());
    let (bytes, _) = build(run_id, 9, pairs(run_id, |index| index << 54)).unwrap();
    let put = |id: RunId, bytes: &[u8]| disk.put(&[(id.path(), bytes.to_vec())]).unwrap();
    let data = 3 * DATA_BLOCK;
    let opens = |id| Run::open(&disk, id, 9).unwrap().is_some();
    put(run_id, &bytes);
    assert!(opens(run_id));
    assert!(
        Run::open(&disk, run_id, 8).unwrap().is_none(),
        "another secret"
    );
    assert!(!opens(id(0, 1001)), "no such file");
    put(id(1000, 2000), &bytes);
    assert!(!opens(id(1000, 2000)), "another range's file");
    put(run_id, &bytes[..bytes.len() - 1]);
    assert!(!opens(run_id), "cut off");
    put(run_id, &vec![0; bytes.len()]);
    assert!(!opens(run_id), "zeros");
    for position in [data, data + 500, bytes.len() - 60, bytes.len() - 1] {
        let mut wrong = bytes.clone();
        wrong[position] ^= 1;
        put(run_id, &wrong);
        assert!(!opens(run_id), "byte {position}");
    }
    // A block is judged when it is read.
    let swapped = [
        &bytes[DATA_BLOCK..2 * DATA_BLOCK],
        &bytes[..DATA_BLOCK],
        &bytes[2 * DATA_BLOCK..],
    ];
    let mut flipped = bytes.clone();
    flipped[5] ^= 1;
    for wrong in [swapped.concat(), flipped] {
        put(run_id, &wrong);
        let run = Run::open(&disk, run_id, 9).unwrap().unwrap();
        assert_eq!(run.read(&disk, 999 << 54).unwrap(), [999]);
        assert!(!run.is_damaged());
        assert!(matches!(
            run.read(&disk, 1 << 54),
            Err(Error::Corrupt { .. })
        ));
        assert!(run.is_damaged());
    }
}

#[test]
fn names_of_files_are_runs_or_nothing() {
    let both = [Family::Identity, Family::LeafHash];
    for family in both {
        let id = RunId {
            family,
            ..id(5, 70_000)
        };
        let path = id.path();
        let name = path.strip_prefix("dedup/").unwrap();
        assert_eq!(RunId::parse(name, &both), Some(id));
        assert_eq!(RunId::parse(&format!("{name}{UNFINISHED}"), &both), None);
    }
    let leaf = "leaf-00000000000000000000-00000000000000000256.run";
    assert!(RunId::parse(leaf, &both).is_some());
    assert_eq!(
        RunId::parse(leaf, &both[..1]),
        None,
        "a family that the log has not"
    );
    for name in [
        "identity-0-256.run",
        "identity-00000000000000000256-00000000000000000256.run",
        "identity-00000000000000000000-00000000004294967296.run",
        "identity-00000000000000000000-99999999999999999999.run",
        "identity-00000000000000000000-00000000000000000256-1.run",
        "identity.run",
        "",
    ] {
        assert_eq!(RunId::parse(name, &both), None, "{name}");
    }
}

#[test]
fn whatever_became_runs_and_was_merged_is_found_at_its_index() {
    for (kind, mask) in [
        (Kind::Rekor, u64::MAX),
        (Kind::Ct, u64::MAX),
        (Kind::Ct, 0xfff),
    ] {
        let mut bench = Bench::new(kind, Keyed::colliding(SECRET, mask));
        let mut state = 1_u64;
        while bench.size < 24 * UNIT {
            // A xorshift generator: the same history every time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            bench.record(state % (UNIT + UNIT / 2));
            match state >> 32 & 3 {
                0 => {}
                1 => drop(bench.compactor.step(0).unwrap()),
                _ => bench.compactor.absorb(bench.size).unwrap(),
            }
            let sample = (0..bench.size)
                .step_by(97)
                .chain(bench.size.saturating_sub(3)..bench.size);
            for number in sample {
                assert_eq!(bench.submit(number), Some(number));
                assert!(bench.find_leaf(number).contains(&number));
            }
            assert_eq!(bench.submit(bench.size + state % 1000), None);
        }
        bench.settle();
        let sizes = bench.runs(Family::Identity);
        let units = bench.size / UNIT;
        assert_eq!(sizes.iter().sum::<u64>(), units * UNIT);
        let digits = units % 4 + units / 4 % 4 + units / 16;
        assert_eq!(
            sizes.len() as u64,
            digits,
            "as the digits of {units} to the base of four"
        );
        for number in 0..bench.size {
            assert_eq!(bench.submit(number), Some(number));
            assert!(bench.find_leaf(number).contains(&number));
        }
        for number in bench.size..bench.size + 2000 {
            assert_eq!(bench.submit(number), None);
            assert!(!bench.find_leaf(number).contains(&number));
        }
        let families = Family::of(kind.identity_is_leaf_hash()).len();
        assert_eq!(
            bench.disk.names().len(),
            sizes.len() * families,
            "nothing is left over"
        );
    }
}

#[test]
fn an_entry_that_became_a_run_while_it_was_looked_up_is_not_logged_twice() {
    // All keys are equal, so that every run has to be read.
    let mut bench = Bench::new(Kind::Rekor, Keyed::colliding(SECRET, 0));
    bench.record(UNIT);
    bench.settle();
    let number = UNIT + 5;
    let offer = |checked: &Checked| {
        let leaf = Box::new(Named(identity(number)));
        bench.intake.offer(leaf, checked).unwrap()
    };
    let mut checked = Checked::default();
    let Offer::Read(_, reading) = offer(&checked) else {
        panic!("the run may hold it");
    };
    assert!(!reading.read(&*bench.disk).unwrap().contains(&number));
    checked.done(&reading);
    // Meanwhile somebody else logs it, and it goes into a run.
    let others: Vec<Hash> = (UNIT..2 * UNIT).map(identity).collect();
    bench.intake.record(UNIT, others.iter().zip(&others));
    bench.compactor.absorb(2 * UNIT).unwrap();
    let Offer::Read(_, reading) = offer(&checked) else {
        panic!("the set covers more than what was read");
    };
    assert_eq!(reading.runs(), 1, "what was read is not read again");
    assert!(reading.read(&*bench.disk).unwrap().contains(&number));
}

#[test]
fn merging_does_not_make_anybody_read_again() {
    let mut bench = Bench::new(Kind::Rekor, Keyed::colliding(SECRET, 0));
    bench.record(4 * UNIT);
    bench.compactor.absorb(bench.size).unwrap();
    let mut checked = Checked::default();
    let leaf = || Box::new(Named([0; 32]));
    let Offer::Read(_, reading) = bench.intake.offer(leaf(), &checked).unwrap() else {
        panic!("four runs may hold it");
    };
    assert_eq!(reading.runs(), 4);
    while bench.runs(Family::Identity).len() > 1 {
        bench.compactor.step(0).unwrap();
    }
    bench.compactor.step(0).unwrap();
    // The old files are there as long as somebody may read them.
    assert_eq!(reading.read(&*bench.disk).unwrap().len() as u64, bench.size);
    checked.done(&reading);
    drop(reading);
    assert!(matches!(
        bench.intake.offer(leaf(), &checked).unwrap(),
        Offer::Waiting { .. }
    ));
    while bench.compactor.step(0).unwrap() {}
    assert_eq!(bench.disk.names().len(), 1);
}

#[test]
fn reading_a_run_holds_nobody_up() {
    let mut bench = Bench::new(Kind::Rekor, Keyed::new(SECRET));
    bench.record(UNIT);
    bench.settle();
    let (began, has_begun) = channel();
    let (release, go_on) = channel();
    *bench.disk.gate.lock().unwrap() = Some(Gate { began, go_on });
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| bench.submit(7));
        has_begun.recv().unwrap();
        // The read hangs. New entries are queued and recorded all the same.
        assert_eq!(bench.submit(UNIT + 1), None);
        let hashes = [identity(UNIT)];
        bench.intake.record(UNIT, hashes.iter().zip(&hashes));
        assert_eq!(bench.submit(UNIT), Some(UNIT));
        release.send(()).unwrap();
        assert_eq!(reader.join().unwrap(), Some(7));
    });
}

/// A real log with files in a folder.
struct RealLog {
    kind: Kind,
    folder: tempfile::TempDir,
    signer: Arc<MemorySigner>,
}

impl RealLog {
    fn new() -> Self {
        Self::of(Kind::Rekor, KeyType::Ed25519)
    }

    fn of(kind: Kind, key_type: KeyType) -> Self {
        let key = PrivateKey::generate(key_type).unwrap();
        Self {
            kind,
            folder: tempfile::tempdir().unwrap(),
            signer: Arc::new(MemorySigner::new(key)),
        }
    }

    async fn try_open(&self) -> Result<Log, Error> {
        let identity = LogIdentity {
            name: "test".into(),
            kind: self.kind,
            origin: "log.example".into(),
        };
        let options = EngineOptions {
            create: true,
            segment_bytes: 1 << 20,
            batch_entries: 100,
            batch_bytes: 64 << 10,
            publish_interval: Duration::from_millis(1),
            static_partials: false,
            ..EngineOptions::default()
        };
        let parts = EngineParts {
            signer: self.signer.clone(),
            clock: Arc::new(ManualClock::at(1_800_000_000)),
            metrics: Metrics::default(),
            cosigner: None,
        };
        Log::open(self.folder.path(), identity, options, parts).await
    }

    async fn open(&self) -> Log {
        self.try_open().await.unwrap()
    }

    fn runs(&self) -> Vec<String> {
        let disk = FileDisk::open(self.folder.path()).unwrap();
        disk.list(FOLDER).unwrap()
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.folder.path().join(name)
    }
}

fn body(number: u64) -> BodyLeaf {
    BodyLeaf::new(format!("entry {number}").into_bytes()).unwrap()
}

async fn submit_all(log: &Log, numbers: impl Iterator<Item = u64>) -> Vec<(u64, bool)> {
    let receipts = join_all(numbers.map(|number| log.submit(body(number)))).await;
    let receipts = receipts.into_iter().map(Result::unwrap);
    receipts
        .map(|receipt| (receipt.index, receipt.duplicate))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 8)]
async fn many_who_submit_the_same_entries_get_one_index_for_each() {
    let fixture = RealLog::new();
    let log = fixture.open().await;
    let entries = 2000_u64;
    let submitters = (0..8_u64).map(|submitter| {
        let log = log.clone();
        tokio::spawn(async move {
            let mut indexes = HashMap::new();
            // Everybody takes them in an order of his own, in strides that are coprime to their number.
            let order: Vec<u64> = (0..entries)
                .map(|at| (at * 7 + submitter * 499) % entries)
                .collect();
            for part in order.chunks(150) {
                let found = submit_all(&log, part.iter().copied()).await;
                indexes.extend(part.iter().copied().zip(found));
            }
            indexes
        })
    });
    let mut all: HashMap<u64, HashSet<u64>> = HashMap::new();
    let mut firsts = 0;
    for submitter in submitters {
        for (number, (index, duplicate)) in submitter.await.unwrap() {
            all.entry(number).or_default().insert(index);
            firsts += usize::from(!duplicate);
        }
    }
    assert_eq!(log.tree_head().size, entries);
    assert_eq!((all.len(), firsts), (entries as usize, entries as usize));
    assert!(all.values().all(|indexes| indexes.len() == 1));
    let used: HashSet<u64> = all.into_values().flatten().collect();
    assert_eq!(used.len() as u64, entries);
    assert!(!fixture.runs().is_empty(), "runs appeared meanwhile");
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_makes_again_what_is_missing_damaged_or_foreign() {
    let fixture = RealLog::new();
    let log = fixture.open().await;
    let size = 9 * UNIT + 100;
    submit_all(&log, 0..size).await;
    log.shutdown().await;
    let damage: [&dyn Fn(); 6] = [
        &|| {},
        &|| std::fs::remove_dir_all(fixture.path(FOLDER)).unwrap(),
        &|| {
            let name = fixture.runs().remove(0);
            std::fs::remove_file(fixture.path(FOLDER).join(name)).unwrap();
        },
        &|| {
            for name in fixture.runs() {
                let path = fixture.path(FOLDER).join(name);
                let bytes = std::fs::read(&path).unwrap();
                std::fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
            }
        },
        &|| {
            // The runs of a log with another secret.
            for name in fixture.runs() {
                let id = RunId::parse(&name, &[Family::Identity]).unwrap();
                let (bytes, _) = build(id, 1, pairs(id, |index| index)).unwrap();
                std::fs::write(fixture.path(&id.path()), bytes).unwrap();
            }
        },
        &|| {
            let id = id(0, 4 * UNIT);
            let unfinished = format!("{}{UNFINISHED}", id.path());
            std::fs::write(fixture.path(&unfinished), b"a part").unwrap();
            std::fs::write(fixture.path("dedup.idx"), b"as it was before").unwrap();
        },
    ];
    for damage in damage {
        damage();
        let log = fixture.open().await;
        let all = submit_all(&log, 0..size).await;
        assert!(all.iter().all(|(_, duplicate)| *duplicate));
        let used: HashSet<u64> = all.into_iter().map(|(index, _)| index).collect();
        assert_eq!(used.len() as u64, size);
        assert_eq!(log.tree_head().size, size);
        log.shutdown().await;
        let runs = fixture.runs();
        assert!(runs.iter().all(|name| name.ends_with(".run")), "{runs:?}");
        assert!(!fixture.path("dedup.idx").exists());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_known_by_identity_and_by_leaf_hash() {
    let fixture = RealLog::of(Kind::Ct, KeyType::EcP256);
    let certificate = |number: u64| {
        let certificate = format!("certificate {number}").into_bytes();
        CertificateLeaf::new(CtEntry::X509 { certificate }, Vec::new()).unwrap()
    };
    let size = 5 * UNIT + 10;
    let log = fixture.open().await;
    let receipts = join_all((0..size).map(|number| log.submit(certificate(number)))).await;
    let receipts: Vec<_> = receipts.into_iter().map(Result::unwrap).collect();
    log.shutdown().await;
    for lost in [false, true] {
        if lost {
            std::fs::remove_dir_all(fixture.path(FOLDER)).unwrap();
        }
        let log = fixture.open().await;
        for (number, first) in (0..).zip(&receipts).step_by(37) {
            let again = log.submit(certificate(number)).await.unwrap();
            assert!(again.duplicate);
            assert_eq!(
                (
                    again.index,
                    again.timestamp_ms,
                    &again.stored,
                    &again.attachment
                ),
                (
                    first.index,
                    first.timestamp_ms,
                    &first.stored,
                    &first.attachment
                )
            );
            let found = log.find_leaf(&first.leaf_hash).await.unwrap();
            assert_eq!(found, Some(first.index));
        }
        assert_eq!(log.find_leaf(&[7; 32]).await.unwrap(), None);
        assert_eq!(log.tree_head().size, size);
        log.shutdown().await;
        let families = ["identity", "leaf"];
        let runs = fixture.runs();
        assert!(
            families
                .iter()
                .all(|family| runs.iter().any(|name| name.starts_with(family)))
        );
        let report = crate::fsck(fixture.folder.path()).unwrap();
        assert!(report.is_sound(), "{:?}", report.faults);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_goes_bad_is_made_again_while_the_log_works() {
    let fixture = RealLog::new();
    let log = fixture.open().await;
    submit_all(&log, 0..2 * UNIT).await;
    log.shutdown().await;
    let log = fixture.open().await;
    let runs = fixture.runs();
    assert!(!runs.is_empty());
    for name in &runs {
        let path = fixture.path(FOLDER).join(name);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[..DATA_BLOCK].fill(0);
        std::fs::write(path, bytes).unwrap();
    }
    let (mut refused, mut number) = (0, 0);
    while number < 2 * UNIT {
        match log.submit(body(number)).await {
            Ok(receipt) => {
                assert!(receipt.duplicate);
                number += 1;
            }
            Err(Error::Corrupt { file, .. }) => {
                assert!(file.starts_with(FOLDER), "{file}");
                refused += 1;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "nobody noticed");
    assert_eq!(log.tree_head().size, 2 * UNIT);
    assert!(log.submit(body(2 * UNIT)).await.unwrap().index == 2 * UNIT);
    log.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn runs_of_more_entries_than_the_write_ahead_log_has_refuse_the_start() {
    let fixture = RealLog::new();
    let log = fixture.open().await;
    submit_all(&log, 0..10).await;
    log.shutdown().await;
    let run = id(0, UNIT);
    std::fs::create_dir_all(fixture.path(FOLDER)).unwrap();
    std::fs::write(fixture.path(&run.path()), b"").unwrap();
    let refused = fixture.try_open().await;
    assert!(
        matches!(
            refused,
            Err(Error::RolledBack {
                evidence: FOLDER,
                seen: UNIT,
                have: 10
            })
        ),
        "{refused:?}"
    );
}

#[test]
fn the_sum_of_a_run_is_that_of_its_entries_and_of_no_others() {
    let disk = MemoryDisk::default();
    let keyed = Keyed::new(SECRET);
    let run = id(0, 2 * UNIT);
    for bundle in 0..2 {
        let leaves = bundle * UNIT..(bundle + 1) * UNIT;
        let tile: Vec<u8> = leaves.flat_map(identity).collect();
        let path = public_path(TileId::full(TileKind::Hashes(0), bundle));
        disk.put(&[(path, tile)]).unwrap();
    }
    let problems = |key: &dyn Fn(u64) -> u64| {
        let (bytes, _) = build(run, keyed.check(), pairs(run, key)).unwrap();
        disk.put(&[(run.path(), bytes)]).unwrap();
        check::problems(&disk, Kind::Rekor, &keyed).unwrap()
    };
    let key = |number| keyed.key(&identity(number));
    assert_eq!(problems(&key), []);
    let swapped = problems(&|number| key(number ^ 1));
    let foreign = problems(&|number| key(if number == 3 { 10_000 } else { number }));
    for found in [swapped, foreign] {
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, run.path());
        assert!(found[0].1.contains("other entries"), "{found:?}");
    }
}

#[test]
fn an_empty_reading_reads_nothing() {
    let bench = Bench::new(Kind::Rekor, Keyed::new(SECRET));
    let (candidates, reading) = bench.intake.by_leaf_hash(&[0; 32]);
    assert!(candidates.is_empty());
    let none: Result<Vec<u64>, Error> = Reading::read(&reading, &*bench.disk);
    assert_eq!((reading.runs(), none.unwrap()), (0, Vec::new()));
}
