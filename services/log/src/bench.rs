//! `sealwrightd bench log`: how fast the engine is on this disk, alone, and whether it stays so as the log grows.
//!
//! A log of its own is made in an empty folder and driven in this process with entries that need no verification any more.
//! At each power of ten the load rests, and what a lone writer, a resubmission and a plain sync cost at that size is
//! measured; a sync is an append of 4 KiB in the same folder, so that the disk's share can be told from ours. Entries are a
//! function of their number: any of them can be made again and must be found in the log.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, random_bytes, sha256};
use sealwright_host::SharedClock;
use sealwright_host::metrics::Registry;
use serde::Serialize;
use tokio::task::JoinSet;

use crate::error::Error;
use crate::identity::LogIdentity;
use crate::kind::{BodyLeaf, Kind};
use crate::log::{Log, Receipt};
use crate::metrics::{
    BATCH_ENTRIES, Distribution, LAG_SECONDS, Metrics, QUEUE_SECONDS, SYNC_SECONDS,
};
use crate::options::{EngineOptions, EngineParts};

/// Name of the log, in metrics.
const NAME: &str = "bench";
/// Size of the plain append that is synced for comparison, bytes.
const APPEND_BYTES: usize = 4096;
/// Plain syncs measured before the lone entries of a row, and as many after.
const SYNCS: usize = 100;
/// Sizes below this have no row of their own.
const FIRST_ROW: u64 = 10_000;
/// Shortest entry: it holds its number in hexadecimal and the seed.
const MIN_LEAF_BYTES: usize = 64;

/// What to measure.
#[derive(Debug, Clone)]
pub struct BenchPlan {
    /// Where the log is made: absent or empty.
    pub dir: PathBuf,
    /// Entries in all.
    pub entries: u64,
    /// Bytes of an entry, at least 64.
    pub leaf_bytes: usize,
    /// Writers under load; each waits for its receipt before its next entry.
    pub clients: usize,
    /// End the load after this, whatever has been written.
    pub limit: Option<Duration>,
    /// Lone entries, and resubmissions, measured at each row.
    pub probes: usize,
    /// Leave the log where it is.
    pub keep: bool,
}

impl Default for BenchPlan {
    fn default() -> Self {
        Self {
            dir: PathBuf::new(),
            entries: 100_000,
            leaf_bytes: 500,
            clients: 1024,
            limit: None,
            probes: 200,
            keep: false,
        }
    }
}

/// Percentiles of a duration, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    /// Half are below.
    pub p50_ms: f64,
    /// 90 of 100 are below.
    pub p90_ms: f64,
    /// 99 of 100 are below.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// What was measured up to one size of the log.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// Entries in the log.
    pub size: u64,
    /// Entries a second since the row before.
    pub entries_per_second: f64,
    /// Microseconds of this process's processor time for each of them; making the entry and asking for it are part of it.
    pub cpu_us: f64,
    /// From offering an entry to its receipt, under load.
    pub latency: Percentiles,
    /// The same for a writer who is alone.
    pub lone: Percentiles,
    /// `fdatasync` of an append of 4 KiB in the same folder, right before and after the lone writer.
    pub append_sync: Percentiles,
    /// Writing and syncing a frame under load: p50, milliseconds.
    pub sync_p50_ms: f64,
    /// As above, p99.
    pub sync_p99_ms: f64,
    /// In the queue under load: p50, milliseconds.
    pub queue_p50_ms: f64,
    /// As above, p99.
    pub queue_p99_ms: f64,
    /// How far the public files were behind under load: p99, milliseconds.
    pub lag_p99_ms: f64,
    /// Entries of a batch under load: mean.
    pub batch_mean: f64,
    /// As above, p50.
    pub batch_p50: f64,
    /// As above, p99.
    pub batch_p99: f64,
    /// Resubmissions of entries from the whole log. Each was answered with the entry that the log had.
    pub resubmitted: usize,
    /// What they took.
    pub resubmission: Percentiles,
    /// Anonymous and shared memory of the process, MiB (`RssAnon` and `RssShmem`).
    pub memory_mib: f64,
}

/// What the benchmark found.
#[derive(Debug, Clone, Serialize)]
pub struct BenchReport {
    /// Bytes of an entry.
    pub leaf_bytes: usize,
    /// Writers under load.
    pub clients: usize,
    /// One a power of ten from 10,000, and the end.
    pub rows: Vec<Row>,
    /// Entries a second over all, without the rests.
    pub entries_per_second: f64,
    /// Microseconds of processor time for each.
    pub cpu_us: f64,
    /// The slowest median of a lone entry over the median of its row's plain syncs, milliseconds.
    pub lone_over_append_ms: f64,
    /// Median of a lone entry at the last row over that at the first.
    pub lone_last_to_first: f64,
    /// Opening the log again, milliseconds.
    pub start_ms: f64,
    /// Memory after that, MiB.
    pub start_memory_mib: f64,
    /// Resubmissions after that, all answered with the entry that the log had.
    pub start_resubmission: Percentiles,
}

/// Runs the benchmark; `show` gets each row when it is there. Needs a multi-threaded runtime. What was made is removed, also
/// when it fails, unless the plan says `keep`.
///
/// # Errors
/// A folder that is not empty, entries that are too short, and whatever the log refuses. An entry that the log had and did
/// not find, or found twice, is [`Error::Corrupt`].
pub async fn bench(
    plan: BenchPlan,
    clock: SharedClock,
    mut show: impl FnMut(&Row),
) -> Result<BenchReport, Error> {
    require_usable(&plan)?;
    let made = Made::take(&plan)?;
    let signer = MemorySigner::new(
        PrivateKey::generate(KeyType::Ed25519).map_err(|error| Error::Signer(error.to_string()))?,
    );
    let registry = Registry::new();
    let parts = EngineParts {
        signer: Arc::new(signer),
        clock,
        metrics: Metrics::register(&registry),
        cosigner: None,
    };
    let bench = Bench {
        plan,
        registry,
        leaves: Leaves::new(),
    };
    let outcome = bench.run(parts, &mut show).await;
    drop(made);
    outcome
}

fn require_usable(plan: &BenchPlan) -> Result<(), Error> {
    let longest = Kind::Rekor.max_stored_bytes();
    if !(MIN_LEAF_BYTES..=longest).contains(&plan.leaf_bytes) {
        return Err(unusable(format!(
            "entries of {} bytes; {MIN_LEAF_BYTES} to {longest} are possible",
            plan.leaf_bytes
        )));
    }
    if plan.clients == 0 || plan.probes == 0 {
        return Err(unusable("clients and probes must not be 0".to_owned()));
    }
    if plan.entries <= plan.probes as u64 {
        let problem = format!(
            "{} entries; more than {} are needed",
            plan.entries, plan.probes
        );
        return Err(unusable(problem));
    }
    Ok(())
}

fn unusable(problem: String) -> Error {
    Error::Config {
        log: NAME.to_owned(),
        problem,
    }
}

/// The folder that this run has made, or found empty.
#[derive(Debug)]
struct Made {
    dir: PathBuf,
    /// The folder itself was not there before.
    whole: bool,
    keep: bool,
}

impl Made {
    fn take(plan: &BenchPlan) -> Result<Self, Error> {
        let shown = || plan.dir.display().to_string();
        let whole = match fs::read_dir(&plan.dir) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    let problem = format!("{} is not empty; name a folder that is", shown());
                    return Err(unusable(problem));
                }
                false
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
            Err(error) => return Err(Error::disk("reading", shown(), error)),
        };
        fs::create_dir_all(&plan.dir).map_err(|error| Error::disk("making", shown(), error))?;
        Ok(Self {
            dir: plan.dir.clone(),
            whole,
            keep: plan.keep,
        })
    }

    fn remove(&self) -> std::io::Result<()> {
        if self.whole {
            return fs::remove_dir_all(&self.dir);
        }
        for entry in fs::read_dir(&self.dir)? {
            let path = entry?.path();
            if path.is_dir() {
                fs::remove_dir_all(path)?;
            } else {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        if self.keep {
            return;
        }
        if let Err(error) = self.remove() {
            tracing::warn!(%error, dir = %self.dir.display(), "what the benchmark wrote is still there");
        }
    }
}

/// Entries as a function of their number, different in each run.
#[derive(Debug, Clone)]
struct Leaves {
    seed: [u8; 16],
    filler: Arc<Vec<u8>>,
}

impl Leaves {
    fn new() -> Self {
        let seed: [u8; 16] = random_bytes();
        let blocks = Kind::Rekor.max_stored_bytes().div_ceil(32);
        // Text that does not compress, like the signatures and keys of real entries.
        let filler = (0..blocks).flat_map(|block| {
            let block = sha256(&[&seed[..], &block.to_be_bytes()].concat());
            hex::encode(block).into_bytes().into_iter().take(32)
        });
        Self {
            seed,
            filler: Arc::new(filler.collect()),
        }
    }

    fn body(&self, number: u64, bytes: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(bytes);
        body.extend_from_slice(hex::encode(number.to_be_bytes()).as_bytes());
        body.extend_from_slice(hex::encode(self.seed).as_bytes());
        let rest = bytes.saturating_sub(body.len());
        body.extend_from_slice(self.filler.get(..rest).unwrap_or(&self.filler));
        body
    }
}

struct Bench {
    plan: BenchPlan,
    registry: Registry,
    leaves: Leaves,
}

impl Bench {
    async fn run(
        &self,
        parts: EngineParts,
        show: &mut impl FnMut(&Row),
    ) -> Result<BenchReport, Error> {
        let log = self.open(parts.clone()).await?;
        let outcome = self.measure(&log, show).await;
        log.shutdown().await;
        drop(log);
        let (rows, total) = outcome?;
        let size = rows.last().map_or(0, |row| row.size);

        let begun = Instant::now();
        let log = self.open(parts).await?;
        let start_ms = milliseconds(begun.elapsed());
        let start_memory_mib = memory_mib();
        let again = self.resubmit(&log, size).await;
        log.shutdown().await;
        Ok(self.report(
            rows,
            &total,
            start_ms,
            start_memory_mib,
            again?.percentiles(),
        ))
    }

    fn report(
        &self,
        rows: Vec<Row>,
        total: &Total,
        start_ms: f64,
        start_memory_mib: f64,
        start_resubmission: Percentiles,
    ) -> BenchReport {
        let lone = |row: Option<&Row>| row.map_or(f64::NAN, |row| row.lone.p50_ms);
        let over = rows
            .iter()
            .map(|row| row.lone.p50_ms - row.append_sync.p50_ms);
        BenchReport {
            leaf_bytes: self.plan.leaf_bytes,
            clients: self.plan.clients,
            entries_per_second: total.entries as f64 / total.took.as_secs_f64(),
            cpu_us: total.cpu.as_secs_f64() * 1e6 / total.entries as f64,
            lone_over_append_ms: over.fold(f64::NEG_INFINITY, f64::max),
            lone_last_to_first: lone(rows.last()) / lone(rows.first()),
            start_ms,
            start_memory_mib,
            start_resubmission,
            rows,
        }
    }

    async fn open(&self, parts: EngineParts) -> Result<Log, Error> {
        let identity = LogIdentity {
            name: NAME.to_owned(),
            kind: Kind::Rekor,
            origin: "bench.invalid".to_owned(),
        };
        let options = EngineOptions {
            create: true,
            ..EngineOptions::default()
        };
        Log::open(&self.plan.dir, identity, options, parts).await
    }

    async fn measure(
        &self,
        log: &Log,
        show: &mut impl FnMut(&Row),
    ) -> Result<(Vec<Row>, Total), Error> {
        let (mut rows, mut total) = (Vec::new(), Total::default());
        let ends = self.plan.limit.map(|limit| Instant::now() + limit);
        for upto in row_sizes(self.plan.entries) {
            let row = self.row(log, upto, ends, &mut total).await?;
            show(&row);
            let early = row.size < upto;
            rows.push(row);
            if early {
                break;
            }
        }
        Ok((rows, total))
    }

    /// Loads the log up to `upto` entries, less those of the lone writer, who comes last.
    async fn row(
        &self,
        log: &Log,
        upto: u64,
        ends: Option<Instant>,
        total: &mut Total,
    ) -> Result<Row, Error> {
        let from = log.tree_head().size;
        let lone = self.plan.probes as u64;
        let before = self.histograms();
        let (begun, cpu) = (Instant::now(), cpu_time());
        let latency = self
            .load(log, from, upto.saturating_sub(lone), ends)
            .await?;
        let (took, used) = (begun.elapsed(), cpu_time().saturating_sub(cpu));
        let under_load = self.histograms().since(&before);
        let written = log.tree_head().size;
        total.add(written - from, took, used);

        let mut syncs = self.append_syncs()?;
        let alone = self.alone(log, written, written + lone).await?;
        syncs.merge(&self.append_syncs()?);
        let size = log.tree_head().size;
        let resubmission = self.resubmit(log, size).await?;
        let count = (written - from) as f64;
        Ok(Row {
            size,
            entries_per_second: count / took.as_secs_f64(),
            cpu_us: used.as_secs_f64() * 1e6 / count,
            latency: latency.percentiles(),
            lone: alone.percentiles(),
            append_sync: syncs.percentiles(),
            sync_p50_ms: under_load.sync.quantile(0.5) * 1e3,
            sync_p99_ms: under_load.sync.quantile(0.99) * 1e3,
            queue_p50_ms: under_load.queue.quantile(0.5) * 1e3,
            queue_p99_ms: under_load.queue.quantile(0.99) * 1e3,
            lag_p99_ms: under_load.lag.quantile(0.99) * 1e3,
            batch_mean: under_load.batch.mean(),
            batch_p50: under_load.batch.quantile(0.5),
            batch_p99: under_load.batch.quantile(0.99),
            resubmitted: self.plan.probes,
            resubmission: resubmission.percentiles(),
            memory_mib: memory_mib(),
        })
    }

    /// Writes the entries `from..to` from as many writers as the plan says.
    async fn load(
        &self,
        log: &Log,
        from: u64,
        to: u64,
        ends: Option<Instant>,
    ) -> Result<Samples, Error> {
        let (next, samples) = (Arc::new(AtomicU64::new(from)), Arc::new(Samples::new()));
        let mut writers = JoinSet::new();
        for _ in 0..self.plan.clients {
            let (log, leaves, next, samples) = (
                log.clone(),
                self.leaves.clone(),
                next.clone(),
                samples.clone(),
            );
            let bytes = self.plan.leaf_bytes;
            writers.spawn(async move {
                // The end is asked for before a number is taken: what is taken is written, and the numbers have no gap.
                while ends.is_none_or(|ends| Instant::now() < ends) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= to {
                        break;
                    }
                    let leaf = BodyLeaf::new(leaves.body(number, bytes))?;
                    write_new(&log, leaf, number, &samples).await?;
                }
                Ok::<_, Error>(())
            });
        }
        while let Some(ended) = writers.join_next().await {
            ended.map_err(|error| stopped(&error))??;
        }
        Ok(Arc::into_inner(samples).unwrap_or_else(Samples::new))
    }

    /// Writes the entries `from..to` one after the other.
    async fn alone(&self, log: &Log, from: u64, to: u64) -> Result<Samples, Error> {
        let samples = Samples::new();
        for number in from..to {
            let leaf = BodyLeaf::new(self.leaves.body(number, self.plan.leaf_bytes))?;
            write_new(log, leaf, number, &samples).await?;
        }
        Ok(samples)
    }

    /// Offers entries from all over the log again. Each must be found, and none may be added.
    async fn resubmit(&self, log: &Log, size: u64) -> Result<Samples, Error> {
        let samples = Samples::new();
        for probe in 0..self.plan.probes as u64 {
            // Spread by the hash, so that no order of the log's is met by chance.
            let hash = sha256(
                &[
                    &self.leaves.seed[..],
                    &probe.to_be_bytes(),
                    &size.to_be_bytes(),
                ]
                .concat(),
            );
            let number = hash
                .iter()
                .take(8)
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte))
                % size;
            let body = self.leaves.body(number, self.plan.leaf_bytes);
            let leaf = BodyLeaf::new(body.clone())?;
            let offered = Instant::now();
            let receipt: Receipt = log.submit(leaf).await?;
            samples.add(offered.elapsed());
            let same = receipt.duplicate && receipt.stored == body && receipt.index < size;
            require(same, number, "is in the log and was not found")?;
        }
        require(
            log.tree_head().size == size,
            size,
            "was added by resubmissions",
        )?;
        Ok(samples)
    }

    fn append_syncs(&self) -> Result<Samples, Error> {
        append_syncs(&self.plan.dir, SYNCS)
            .map_err(|error| Error::disk("syncing", "append.bin", error))
    }

    fn histograms(&self) -> Histograms {
        let text = self.registry.encode();
        Histograms {
            sync: Distribution::read(&text, SYNC_SECONDS, NAME),
            queue: Distribution::read(&text, QUEUE_SECONDS, NAME),
            lag: Distribution::read(&text, LAG_SECONDS, NAME),
            batch: Distribution::read(&text, BATCH_ENTRIES, NAME),
        }
    }
}

/// Writes one entry, which the log must not have taken for one that it had.
async fn write_new(log: &Log, leaf: BodyLeaf, number: u64, samples: &Samples) -> Result<(), Error> {
    let offered = Instant::now();
    let receipt = log.submit(leaf).await?;
    samples.add(offered.elapsed());
    require(
        !receipt.duplicate,
        number,
        "is taken for one that the log had",
    )
}

fn require(holds: bool, number: u64, problem: &str) -> Result<(), Error> {
    let problem = || Error::corrupt("the log", format!("entry {number} {problem}"));
    if holds { Ok(()) } else { Err(problem()) }
}

fn stopped(error: &tokio::task::JoinError) -> Error {
    Error::Stopped {
        cause: format!("a writer of the benchmark ended: {error}"),
    }
}

/// Powers of ten from [`FIRST_ROW`] up to `entries`, and `entries`.
fn row_sizes(entries: u64) -> Vec<u64> {
    let powers = std::iter::successors(Some(FIRST_ROW), |size| size.checked_mul(10));
    let mut sizes: Vec<u64> = powers.take_while(|size| *size < entries).collect();
    sizes.push(entries);
    sizes
}

#[derive(Debug, Default)]
struct Total {
    entries: u64,
    took: Duration,
    cpu: Duration,
}

impl Total {
    fn add(&mut self, entries: u64, took: Duration, cpu: Duration) {
        self.entries += entries;
        self.took += took;
        self.cpu += cpu;
    }
}

/// The engine's own histograms at one moment.
struct Histograms {
    sync: Distribution,
    queue: Distribution,
    lag: Distribution,
    batch: Distribution,
}

impl Histograms {
    fn since(&self, earlier: &Self) -> Self {
        Self {
            sync: self.sync.since(&earlier.sync),
            queue: self.queue.since(&earlier.queue),
            lag: self.lag.since(&earlier.lag),
            batch: self.batch.since(&earlier.batch),
        }
    }
}

/// Steps of a [`Samples`] between a power of two and the next: values are right within 1/64.
const STEPS: u64 = 64;
/// Powers of two of nanoseconds that are told apart: up to 2^40, 18 minutes.
const POWERS: u64 = 40;

/// Durations, counted in steps; its size does not depend on how many there are.
#[derive(Debug)]
struct Samples(Vec<AtomicU64>);

impl Samples {
    fn new() -> Self {
        Self((0..POWERS * STEPS).map(|_| AtomicU64::new(0)).collect())
    }

    fn add(&self, sample: Duration) {
        let nanos = u64::try_from(sample.as_nanos()).unwrap_or(u64::MAX);
        let last = self.0.len() - 1;
        let step = usize::try_from(step_of(nanos)).unwrap_or(last).min(last);
        if let Some(count) = self.0.get(step) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (own, other) in self.0.iter().zip(&other.0) {
            own.fetch_add(other.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    fn percentiles(&self) -> Percentiles {
        let at = |share| self.quantile(share);
        Percentiles {
            p50_ms: at(0.5),
            p90_ms: at(0.9),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }

    /// Milliseconds; not a number without a sample.
    fn quantile(&self, share: f64) -> f64 {
        let counts: Vec<u64> = self
            .0
            .iter()
            .map(|count| count.load(Ordering::Relaxed))
            .collect();
        let rank = (share * counts.iter().sum::<u64>() as f64).max(1.0);
        let mut below = 0;
        for (step, count) in (0_u64..).zip(counts) {
            below += count;
            if below as f64 >= rank {
                return value_of(step) as f64 / 1e6;
            }
        }
        f64::NAN
    }
}

/// Below [`STEPS`] every nanosecond has its step; above, each power of two has [`STEPS`].
fn step_of(nanos: u64) -> u64 {
    if nanos < STEPS {
        return nanos;
    }
    let power = u64::from(nanos.ilog2() - STEPS.ilog2());
    (power + 1) * STEPS + (nanos >> power) - STEPS
}

/// The smallest value of a step.
fn value_of(step: u64) -> u64 {
    match (step / STEPS, step % STEPS) {
        (0, value) => value,
        (power, value) => (STEPS + value) << (power - 1),
    }
}

fn milliseconds(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}

/// What `fdatasync` of an append of 4 KiB takes in a folder.
fn append_syncs(dir: &Path, count: usize) -> std::io::Result<Samples> {
    let path = dir.join("append.bin");
    let mut file = File::create(&path)?;
    let samples = Samples::new();
    for _ in 0..count {
        let begun = Instant::now();
        file.write_all(&[7; APPEND_BYTES])?;
        file.sync_data()?;
        samples.add(begun.elapsed());
    }
    fs::remove_file(path)?;
    Ok(samples)
}

/// Processor time of this process.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}

/// `RssAnon` and `RssShmem` of this process: what it holds beside its program and mapped files. Not a number where there is
/// no `/proc`.
fn memory_mib() -> f64 {
    let Ok(status) = fs::read_to_string("/proc/self/status") else {
        return f64::NAN;
    };
    let kib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name))?;
        line.split_whitespace().nth(1)?.parse::<f64>().ok()
    };
    (kib("RssAnon:").unwrap_or(f64::NAN) + kib("RssShmem:").unwrap_or(0.0)) / 1024.0
}

#[cfg(test)]
mod tests {
    use sealwright_host::clock::SystemClock;

    use super::*;

    fn plan(dir: PathBuf) -> BenchPlan {
        BenchPlan {
            dir,
            entries: 700,
            leaf_bytes: 100,
            clients: 16,
            probes: 20,
            ..BenchPlan::default()
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn it_measures_what_it_wrote_and_leaves_nothing() {
        let scratch = tempfile::tempdir().expect("a folder");
        let dir = scratch.path().join("new");
        let mut shown = Vec::new();
        let report = bench(plan(dir.clone()), SystemClock::shared(), |row| {
            shown.push(row.size);
        })
        .await
        .expect("measures");
        assert_eq!(shown, [700]);
        let row = report.rows.last().expect("a row");
        let figures = [
            report.entries_per_second,
            report.cpu_us,
            report.start_ms,
            report.start_memory_mib,
            row.latency.p50_ms,
            row.lone.p99_ms,
            row.append_sync.p50_ms,
            row.sync_p50_ms,
            row.batch_mean,
            row.resubmission.max_ms,
        ];
        assert!(figures.iter().all(|figure| *figure > 0.0), "{figures:?}");
        assert!(row.batch_mean <= 16.0, "no more than the writers");
        assert!(!dir.exists(), "what it made is gone");
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_folder_with_something_in_it_is_left_alone() {
        let scratch = tempfile::tempdir().expect("a folder");
        fs::write(scratch.path().join("log.json"), "someone's").expect("writes");
        let refused = bench(
            plan(scratch.path().to_owned()),
            SystemClock::shared(),
            |_| {},
        )
        .await;
        let said = refused.expect_err("refused").to_string();
        assert!(said.contains("is not empty"), "{said}");
        let kept = fs::read_to_string(scratch.path().join("log.json")).expect("still there");
        assert_eq!(kept, "someone's");
    }

    #[test]
    fn rows_are_at_powers_of_ten_and_at_the_end() {
        assert_eq!(row_sizes(700), [700]);
        assert_eq!(row_sizes(10_000), [10_000]);
        assert_eq!(row_sizes(250_000), [10_000, 100_000, 250_000]);
    }

    #[test]
    fn samples_are_right_within_a_sixty_fourth() {
        for nanos in [0, 1, 63, 64, 65, 1_000, 123_456_789, 1 << 39, (1 << 40) - 1] {
            let told = value_of(step_of(nanos));
            assert!(
                told <= nanos && nanos - told <= nanos / STEPS,
                "{nanos}: {told}"
            );
        }
        let samples = Samples::new();
        for micros in 1..=1000 {
            samples.add(Duration::from_micros(micros));
        }
        let told = samples.percentiles();
        assert!((told.p50_ms - 0.5).abs() < 0.5 / 64.0, "{told:?}");
        assert!((told.p99_ms - 0.99).abs() < 0.99 / 64.0, "{told:?}");
        samples.add(Duration::from_secs(1 << 40));
        assert!(
            samples.percentiles().max_ms > 1e6,
            "the longest that is told apart"
        );
    }

    #[test]
    fn entries_are_different_and_can_be_made_again() {
        let leaves = Leaves::new();
        assert_eq!(leaves.body(7, 500), leaves.body(7, 500));
        assert_ne!(leaves.body(7, 500), leaves.body(8, 500));
        assert_eq!(leaves.body(7, 500).len(), 500);
        assert_eq!(leaves.body(7, 65_535).len(), 65_535);
    }
}
