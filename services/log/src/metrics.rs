//! What operators see of a log.
//!
//! Everything that has a distribution is a histogram, so that percentiles can be asked for over any time and any number of
//! processes: `histogram_quantile(0.99, sum by (le) (rate(sealwright_log_sync_duration_seconds_bucket[5m])))`.
//! [`Distribution`] computes the same thing for `sealwrightd bench log`, from the same text. Buckets of durations grow by the
//! square root of two, so that a percentile is right within a fifth; those of counts double.

use std::time::{Duration, Instant};

use sealwright_host::metrics::Registry;
use sealwright_host::metrics::prometheus_client::encoding::EncodeLabelSet;
use sealwright_host::metrics::prometheus_client::metrics::counter::Counter;
use sealwright_host::metrics::prometheus_client::metrics::family::Family;
use sealwright_host::metrics::prometheus_client::metrics::gauge::Gauge;
use sealwright_host::metrics::prometheus_client::metrics::histogram::Histogram;
use sealwright_host::metrics::prometheus_client::registry::Metric;

use crate::cosign::Round;

/// Name of the histogram of batch sizes, as it is registered.
pub(crate) const BATCH_ENTRIES: &str = "log_batch_entries";
/// Name of the histogram of writes and syncs, seconds.
pub(crate) const SYNC_SECONDS: &str = "log_sync_duration_seconds";
/// Name of the histogram of time in the queue, seconds.
pub(crate) const QUEUE_SECONDS: &str = "log_queue_wait_seconds";
/// Name of the histogram of how far the files are behind, seconds.
pub(crate) const LAG_SECONDS: &str = "log_publish_lag_seconds";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLabel {
    log: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabel {
    lane: &'static str,
}

type Histograms<L> = Family<L, Histogram, fn() -> Histogram>;

/// 100 us growing by the square root of two to 6.6 s.
fn duration_buckets() -> Histogram {
    Histogram::new((0..33).map(|step| 1e-4 * 2_f64.powf(f64::from(step) / 2.0)))
}

/// 1 us doubling to 0.5 s, for what is done in memory.
fn short_duration_buckets() -> Histogram {
    Histogram::new((0..20).map(|step| 1e-6 * 2_f64.powi(step)))
}

/// 1 doubling to 32,768, the largest queue by default.
fn count_buckets() -> Histogram {
    Histogram::new((0..16).map(|step| 2_f64.powi(step)))
}

fn histograms<L: Clone + Eq + std::hash::Hash>(buckets: fn() -> Histogram) -> Histograms<L> {
    Family::new_with_constructor(buckets)
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RoundLabel {
    log: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WitnessLabel {
    log: String,
    witness: String,
}

/// Metrics of all logs of a process.
#[derive(Debug, Clone)]
pub struct Metrics {
    entries: Family<LogLabel, Counter>,
    duplicates: Family<LogLabel, Counter>,
    refusals: Family<LogLabel, Counter>,
    size: Family<LogLabel, Gauge>,
    batches: Family<LogLabel, Counter>,
    queue_entries: Family<LogLabel, Gauge>,
    queue_bytes: Family<LogLabel, Gauge>,
    queue_depth: Histograms<LogLabel>,
    queue_seconds: Histograms<LogLabel>,
    batch_entries: Histograms<LogLabel>,
    batch_seconds: Histograms<LogLabel>,
    sync_seconds: Histograms<LogLabel>,
    proof_seconds: Histograms<LogLabel>,
    submit_seconds: Histograms<LogLabel>,
    publish_seconds: Histograms<LogLabel>,
    lag_seconds: Histograms<LogLabel>,
    lag_entries: Family<LogLabel, Gauge>,
    scrubbed_bytes: Family<LogLabel, Counter>,
    damaged_files: Family<LogLabel, Counter>,
    known_probes: Family<LogLabel, Counter>,
    known_reads: Family<LogLabel, Counter>,
    known_false_reads: Family<LogLabel, Counter>,
    known_runs: Family<LogLabel, Gauge>,
    known_bytes: Family<LogLabel, Gauge>,
    witness_rounds: Family<RoundLabel, Counter>,
    witness_seconds: Histograms<LogLabel>,
    witness_missing: Family<WitnessLabel, Counter>,
    verification_wait_seconds: Histograms<LaneLabel>,
    verification_seconds: Histograms<LaneLabel>,
    verification_refusals: Family<LaneLabel, Counter>,
}

impl Metrics {
    /// Registers the metrics of the service, once a process.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self::default();
        metrics.register_counts(registry);
        metrics.register_histograms(registry);
        metrics.register_witnesses(registry);
        metrics
    }

    fn register_counts(&self, registry: &Registry) {
        let put = |name, help, metric: &Family<LogLabel, Counter>| {
            registry.register(name, help, metric.clone());
        };
        put("log_entries", "Entries sequenced", &self.entries);
        put(
            "log_duplicates",
            "Submissions answered with an entry the log had",
            &self.duplicates,
        );
        put(
            "log_refusals",
            "Submissions the log did not take",
            &self.refusals,
        );
        put("log_batches", "Batches made durable", &self.batches);
        put(
            "log_scrubbed_bytes",
            "Bytes of files that were checked in the background",
            &self.scrubbed_bytes,
        );
        put(
            "log_damaged_files",
            "Files that were found damaged in the background, repaired or not",
            &self.damaged_files,
        );
        put(
            "log_known_probes",
            "Look-ups among the known entries",
            &self.known_probes,
        );
        put(
            "log_known_reads",
            "Files of known entries that were read, because their filter said that they may hold the key",
            &self.known_reads,
        );
        put(
            "log_known_false_reads",
            "Files of known entries that were read and did not hold the key",
            &self.known_false_reads,
        );
        let put = |name, help, metric: &Family<LogLabel, Gauge>| {
            registry.register(name, help, metric.clone());
        };
        put(
            "log_tree_size",
            "Tree size of the last durable checkpoint",
            &self.size,
        );
        put(
            "log_queue_entries",
            "Entries that wait to be sequenced",
            &self.queue_entries,
        );
        put("log_queue_bytes", "Their bytes", &self.queue_bytes);
        put("log_known_runs", "Files of known entries", &self.known_runs);
        put(
            "log_known_bytes",
            "Memory that their filters and fences take",
            &self.known_bytes,
        );
        put(
            "log_publish_lag_entries",
            "Durable entries that the public checkpoint file does not cover yet",
            &self.lag_entries,
        );
        registry.register(
            "log_verification_refusals",
            "Submissions turned away because too many signatures waited for their verification",
            self.verification_refusals.clone(),
        );
    }

    fn register_witnesses(&self, registry: &Registry) {
        registry.register(
            "log_witness_rounds",
            "Rounds of asking the witnesses, by outcome",
            self.witness_rounds.clone(),
        );
        registry.register(
            "log_witness_duration_seconds",
            "From asking the witnesses to their quorum, or to giving up",
            self.witness_seconds.clone(),
        );
        registry.register(
            "log_witness_missing",
            "Rounds in which a witness was waited for in vain",
            self.witness_missing.clone(),
        );
    }

    fn register_histograms(&self, registry: &Registry) {
        let put = |name, help, metric: &Histograms<LogLabel>| {
            registry.register(name, help, metric.clone());
        };
        put(
            "log_queue_depth_entries",
            "Entries in the queue when a batch is taken from it",
            &self.queue_depth,
        );
        put(
            QUEUE_SECONDS,
            "From an entry's acceptance to its batch",
            &self.queue_seconds,
        );
        put(BATCH_ENTRIES, "Entries of a batch", &self.batch_entries);
        put(
            "log_batch_duration_seconds",
            "From taking a batch to its receipts",
            &self.batch_seconds,
        );
        put(
            SYNC_SECONDS,
            "Writing and syncing a frame",
            &self.sync_seconds,
        );
        put(
            "log_proof_duration_seconds",
            "Making and checking the inclusion proof of a receipt",
            &self.proof_seconds,
        );
        put(
            "log_submit_duration_seconds",
            "From a verified entry to its receipt",
            &self.submit_seconds,
        );
        put(
            "log_publish_duration_seconds",
            "Writing the files of one round",
            &self.publish_seconds,
        );
        put(
            LAG_SECONDS,
            "From a durable checkpoint to the public file that covers it",
            &self.lag_seconds,
        );
        put_lanes(
            registry,
            "log_verification_wait_seconds",
            "Waiting for a place to verify a signature",
            &self.verification_wait_seconds,
        );
        put_lanes(
            registry,
            "log_verification_duration_seconds",
            "Verifying a submission and making its leaf",
            &self.verification_seconds,
        );
    }

    /// The metrics of one log.
    pub(crate) fn of(&self, log: &str) -> LogMetrics {
        let label = LogLabel {
            log: log.to_owned(),
        };
        let histogram = |family: &Histograms<LogLabel>| family.get_or_create(&label).clone();
        LogMetrics {
            entries: self.entries.get_or_create(&label).clone(),
            duplicates: self.duplicates.get_or_create(&label).clone(),
            refusals: self.refusals.get_or_create(&label).clone(),
            size: self.size.get_or_create(&label).clone(),
            batches: self.batches.get_or_create(&label).clone(),
            queue_entries: self.queue_entries.get_or_create(&label).clone(),
            queue_bytes: self.queue_bytes.get_or_create(&label).clone(),
            queue_depth: histogram(&self.queue_depth),
            queue_seconds: histogram(&self.queue_seconds),
            batch_entries: histogram(&self.batch_entries),
            batch_seconds: histogram(&self.batch_seconds),
            sync_seconds: histogram(&self.sync_seconds),
            proof_seconds: histogram(&self.proof_seconds),
            submit_seconds: histogram(&self.submit_seconds),
            publish_seconds: histogram(&self.publish_seconds),
            lag_seconds: histogram(&self.lag_seconds),
            lag_entries: self.lag_entries.get_or_create(&label).clone(),
            scrubbed_bytes: self.scrubbed_bytes.get_or_create(&label).clone(),
            damaged_files: self.damaged_files.get_or_create(&label).clone(),
            known_probes: self.known_probes.get_or_create(&label).clone(),
            known_reads: self.known_reads.get_or_create(&label).clone(),
            known_false_reads: self.known_false_reads.get_or_create(&label).clone(),
            known_runs: self.known_runs.get_or_create(&label).clone(),
            known_bytes: self.known_bytes.get_or_create(&label).clone(),
            witness_rounds: self.witness_rounds.clone(),
            witness_seconds: histogram(&self.witness_seconds),
            witness_missing: self.witness_missing.clone(),
            label,
        }
    }

    /// The metrics of one lane of verifications.
    pub(crate) fn of_lane(&self, lane: &'static str) -> LaneMetrics {
        let label = LaneLabel { lane };
        LaneMetrics {
            wait_seconds: self.verification_wait_seconds.get_or_create(&label).clone(),
            run_seconds: self.verification_seconds.get_or_create(&label).clone(),
            refusals: self.verification_refusals.get_or_create(&label).clone(),
        }
    }
}

fn put_lanes(registry: &Registry, name: &str, help: &str, metric: &(impl Metric + Clone)) {
    registry.register(name, help, metric.clone());
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            entries: Family::default(),
            duplicates: Family::default(),
            refusals: Family::default(),
            size: Family::default(),
            batches: Family::default(),
            queue_entries: Family::default(),
            queue_bytes: Family::default(),
            queue_depth: histograms(count_buckets),
            queue_seconds: histograms(duration_buckets),
            batch_entries: histograms(count_buckets),
            batch_seconds: histograms(duration_buckets),
            sync_seconds: histograms(duration_buckets),
            proof_seconds: histograms(short_duration_buckets),
            submit_seconds: histograms(duration_buckets),
            publish_seconds: histograms(duration_buckets),
            lag_seconds: histograms(duration_buckets),
            lag_entries: Family::default(),
            scrubbed_bytes: Family::default(),
            damaged_files: Family::default(),
            known_probes: Family::default(),
            known_reads: Family::default(),
            known_false_reads: Family::default(),
            known_runs: Family::default(),
            known_bytes: Family::default(),
            witness_rounds: Family::default(),
            witness_seconds: histograms(duration_buckets),
            witness_missing: Family::default(),
            verification_wait_seconds: histograms(short_duration_buckets),
            verification_seconds: histograms(short_duration_buckets),
            verification_refusals: Family::default(),
        }
    }
}

#[derive(Debug, Clone)]
pub(crate) struct LogMetrics {
    entries: Counter,
    pub(crate) duplicates: Counter,
    pub(crate) refusals: Counter,
    size: Gauge,
    batches: Counter,
    queue_entries: Gauge,
    queue_bytes: Gauge,
    queue_depth: Histogram,
    queue_seconds: Histogram,
    batch_entries: Histogram,
    batch_seconds: Histogram,
    pub(crate) sync_seconds: Histogram,
    proof_seconds: Histogram,
    submit_seconds: Histogram,
    publish_seconds: Histogram,
    lag_seconds: Histogram,
    lag_entries: Gauge,
    scrubbed_bytes: Counter,
    damaged_files: Counter,
    pub(crate) known_probes: Counter,
    known_reads: Counter,
    known_false_reads: Counter,
    known_runs: Gauge,
    known_bytes: Gauge,
    witness_rounds: Family<RoundLabel, Counter>,
    witness_seconds: Histogram,
    witness_missing: Family<WitnessLabel, Counter>,
    label: LogLabel,
}

impl LogMetrics {
    /// Files were checked in the background.
    pub(crate) fn scrubbed(&self, bytes: u64, damaged: usize) {
        self.scrubbed_bytes.inc_by(bytes);
        self.damaged_files.inc_by(damaged as u64);
    }

    /// A round with the witnesses. Their names are those of the policy, so that their number is bounded.
    pub(crate) fn cosigned(&self, round: &Round, took: Duration) {
        let log = self.label.log.clone();
        self.witness_seconds.observe(took.as_secs_f64());
        for (witness, _) in &round.missing {
            let (log, witness) = (log.clone(), witness.clone());
            let label = WitnessLabel { log, witness };
            self.witness_missing.get_or_create(&label).inc();
        }
        let outcome = match (&round.alarm, round.quorum_met) {
            (Some(_), _) => "alarm",
            (None, true) => "quorum",
            (None, false) => "no-quorum",
        };
        self.witness_rounds
            .get_or_create(&RoundLabel { log, outcome })
            .inc();
    }

    pub(crate) fn batch(&self, entries: usize, size: u64, took: Duration) {
        self.entries.inc_by(entries as u64);
        self.batches.inc();
        self.batch_entries.observe(entries as f64);
        self.batch_seconds.observe(took.as_secs_f64());
        self.at_size(size);
    }

    pub(crate) fn at_size(&self, size: u64) {
        self.size.set(count(size));
    }

    /// The queue as a batch leaves it: how long it was before, and what is left.
    pub(crate) fn queue(&self, before: usize, entries: usize, bytes: usize) {
        self.queue_depth.observe(before as f64);
        self.queue_entries.set(count(entries as u64));
        self.queue_bytes.set(count(bytes as u64));
    }

    /// An entry left the queue.
    pub(crate) fn waited(&self, waited: Duration) {
        self.queue_seconds.observe(waited.as_secs_f64());
    }

    /// A receipt's proof was made and checked.
    pub(crate) fn proved(&self, since: Instant) {
        self.proof_seconds.observe(since.elapsed().as_secs_f64());
    }

    /// A receipt leaves.
    pub(crate) fn submitted(&self, since: Instant) {
        self.submit_seconds.observe(since.elapsed().as_secs_f64());
    }

    /// A round of the publisher ended: how long it took, and how old the checkpoint was that its file now shows.
    pub(crate) fn published(&self, took: Duration, lag: Duration) {
        self.publish_seconds.observe(took.as_secs_f64());
        self.lag_seconds.observe(lag.as_secs_f64());
    }

    /// Files of known entries were read, and so many of them held the key.
    pub(crate) fn known_read(&self, files: usize, holding: usize) {
        self.known_reads.inc_by(files as u64);
        self.known_false_reads
            .inc_by(files.saturating_sub(holding) as u64);
    }

    /// How many files of known entries there are, and the bytes of memory they take.
    pub(crate) fn known_runs(&self, files: usize, bytes: usize) {
        self.known_runs.set(count(files as u64));
        self.known_bytes.set(count(bytes as u64));
    }

    /// How many durable entries the public checkpoint file does not cover.
    pub(crate) fn behind(&self, entries: u64) {
        self.lag_entries.set(count(entries));
    }
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[derive(Debug, Clone)]
pub(crate) struct LaneMetrics {
    pub(crate) wait_seconds: Histogram,
    pub(crate) run_seconds: Histogram,
    pub(crate) refusals: Counter,
}

/// A histogram as it was shown: how many observations each bucket holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Distribution {
    /// Upper bound and count of each bucket, ascending; the last bound is infinite.
    buckets: Vec<(f64, u64)>,
    sum: f64,
}

impl Distribution {
    /// Reads the histogram `name` (as registered) of the log `log` from the text of a registry. Empty where it is absent.
    pub(crate) fn read(text: &str, name: &str, log: &str) -> Self {
        let (bucket, sum) = (
            format!("sealwright_{name}_bucket{{"),
            format!("sealwright_{name}_sum{{"),
        );
        let label = format!("log=\"{log}\"");
        let (mut read, mut below) = (Self::default(), 0);
        for line in text.lines().filter(|line| line.contains(&label)) {
            let Some((_, value)) = line.rsplit_once(' ') else {
                continue;
            };
            if line.starts_with(&sum) {
                read.sum = value.parse().unwrap_or(0.0);
            } else if line.starts_with(&bucket) {
                let cumulative = value.parse().unwrap_or(0);
                read.buckets.push((bound(line), cumulative - below));
                below = cumulative;
            }
        }
        read
    }

    /// What was observed since `earlier`, an older reading of the same histogram.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let before = |position: usize| earlier.buckets.get(position).map_or(0, |bucket| bucket.1);
        let buckets = self.buckets.iter().enumerate();
        Self {
            buckets: buckets
                .map(|(position, (bound, count))| (*bound, count.saturating_sub(before(position))))
                .collect(),
            sum: self.sum - earlier.sum,
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.1).sum()
    }

    pub(crate) fn mean(&self) -> f64 {
        self.sum / self.count() as f64
    }

    /// The value below which `share` (0 to 1) of the observations lie, as Prometheus' `histogram_quantile` gives it: evenly
    /// spread within a bucket, the lower bound of the last one. Not a number where nothing was observed.
    pub(crate) fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count() as f64;
        let (mut below, mut lower) = (0.0, 0.0);
        for (upper, count) in &self.buckets {
            let inside = *count as f64;
            if inside > 0.0 && below + inside >= rank {
                let reached = (rank - below) / inside;
                return if upper.is_finite() {
                    lower + (upper - lower) * reached
                } else {
                    lower
                };
            }
            below += inside;
            lower = *upper;
        }
        f64::NAN
    }
}

/// The value of `le` in a line of the text format.
fn bound(line: &str) -> f64 {
    let after = line.split_once("le=\"").map(|(_, after)| after);
    let value = after.and_then(|after| after.split_once('"'));
    value.map_or(f64::INFINITY, |(value, _)| {
        value.parse().unwrap_or(f64::INFINITY)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn percentiles_are_read_from_what_operators_see() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        let (ours, other) = (metrics.of("ours"), metrics.of("other"));
        for entries in 1..=1024 {
            ours.batch(entries, 1, Duration::from_millis(1));
        }
        other.batch(9, 9, Duration::from_secs(1));
        let read = || Distribution::read(&registry.encode(), BATCH_ENTRIES, "ours");
        let first = read();
        assert_eq!((first.count(), first.mean()), (1024, 512.5));
        for (share, expected) in [(0.5, 512.0), (0.25, 256.0), (0.99, 1013.76), (1.0, 1024.0)] {
            assert!((first.quantile(share) - expected).abs() < 0.01, "{share}");
        }
        ours.batch(2, 1, Duration::ZERO);
        ours.batch(40_000, 1, Duration::ZERO);
        let later = read().since(&first);
        assert_eq!((later.count(), later.quantile(0.5)), (2, 2.0));
        let beyond = later.quantile(1.0);
        assert_eq!(beyond, 32_768.0, "the last bound that there is");
    }

    #[test]
    fn the_page_for_operators_has_every_metric_and_no_other() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        // A metric without a series is not shown.
        let _series = metrics.of_lane("cheap");
        let round = Round {
            missing: vec![("w".to_owned(), "it is away".to_owned())],
            ..Round::default()
        };
        metrics.of("a").cosigned(&round, Duration::ZERO);
        let text = registry.encode();
        let helped = text
            .lines()
            .filter_map(|line| line.strip_prefix("# HELP sealwright_log_"));
        let registered: BTreeSet<&str> = helped.filter_map(|line| line.split(' ').next()).collect();
        let page = include_str!("../../../docs/log-metrics.md");
        let rows = page.lines().filter(|line| line.starts_with("| `log_"));
        let names = rows
            .filter_map(|line| line.split('|').nth(1))
            .flat_map(|cell| cell.split('`'));
        let told: BTreeSet<&str> = names.filter_map(|name| name.strip_prefix("log_")).collect();
        assert_eq!(told, registered);
    }

    #[test]
    fn a_histogram_without_observations_has_no_percentile() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry);
        metrics.of("idle");
        let text = registry.encode();
        let idle = Distribution::read(&text, SYNC_SECONDS, "idle");
        assert!(idle.quantile(0.5).is_nan() && idle.count() == 0);
        assert_eq!(
            Distribution::read(&text, SYNC_SECONDS, "absent"),
            Distribution::default()
        );
    }

    #[test]
    fn a_percentile_of_a_duration_is_right_within_a_fifth() {
        let registry = Registry::new();
        let log = Metrics::register(&registry).of("a");
        for micros in [150_u64, 600, 1_900, 7_000, 40_000, 900_000] {
            let before = Distribution::read(&registry.encode(), QUEUE_SECONDS, "a");
            for _ in 0..100 {
                log.waited(Duration::from_micros(micros));
            }
            let told = Distribution::read(&registry.encode(), QUEUE_SECONDS, "a")
                .since(&before)
                .quantile(0.5);
            let ratio = told / (micros as f64 / 1e6);
            assert!(
                (0.8..1.25).contains(&ratio),
                "{micros} us is told as {told} s"
            );
        }
    }
}
