//! What operators see of a log.

use std::time::Duration;

use sealwright_host::metrics::prometheus_client::encoding::EncodeLabelSet;
use sealwright_host::metrics::prometheus_client::metrics::counter::Counter;
use sealwright_host::metrics::prometheus_client::metrics::family::Family;
use sealwright_host::metrics::prometheus_client::metrics::gauge::Gauge;
use sealwright_host::metrics::prometheus_client::metrics::histogram::Histogram;
use sealwright_host::metrics::{Registry, duration_histogram};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LogLabel {
    log: String,
}

/// Metrics of all logs of a process.
#[derive(Debug, Clone)]
pub struct Metrics {
    entries: Family<LogLabel, Counter>,
    duplicates: Family<LogLabel, Counter>,
    refusals: Family<LogLabel, Counter>,
    size: Family<LogLabel, Gauge>,
    batches: Family<LogLabel, Counter>,
    batch_seconds: Family<LogLabel, Histogram, fn() -> Histogram>,
    sync_seconds: Family<LogLabel, Histogram, fn() -> Histogram>,
}

impl Metrics {
    /// Registers the metrics of the service, once a process.
    pub fn register(registry: &Registry) -> Self {
        let metrics = Self::default();
        registry.register("log_entries", "Entries sequenced", metrics.entries.clone());
        registry.register(
            "log_duplicates",
            "Submissions answered with an entry the log had",
            metrics.duplicates.clone(),
        );
        registry.register(
            "log_refusals",
            "Submissions the log did not take",
            metrics.refusals.clone(),
        );
        registry.register(
            "log_tree_size",
            "Tree size of the last durable checkpoint",
            metrics.size.clone(),
        );
        registry.register(
            "log_batches",
            "Batches made durable",
            metrics.batches.clone(),
        );
        registry.register(
            "log_batch_duration_seconds",
            "From taking a batch to its receipts",
            metrics.batch_seconds.clone(),
        );
        registry.register(
            "log_sync_duration_seconds",
            "Writing and syncing a frame",
            metrics.sync_seconds.clone(),
        );
        metrics
    }

    /// The metrics of one log.
    pub(crate) fn of(&self, log: &str) -> LogMetrics {
        let label = LogLabel {
            log: log.to_owned(),
        };
        LogMetrics {
            entries: self.entries.get_or_create(&label).clone(),
            duplicates: self.duplicates.get_or_create(&label).clone(),
            refusals: self.refusals.get_or_create(&label).clone(),
            size: self.size.get_or_create(&label).clone(),
            batches: self.batches.get_or_create(&label).clone(),
            batch_seconds: self.batch_seconds.get_or_create(&label).clone(),
            sync_seconds: self.sync_seconds.get_or_create(&label).clone(),
        }
    }
}

impl Default for Metrics {
    fn default() -> Self {
        let histogram = || Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        Self {
            entries: Family::default(),
            duplicates: Family::default(),
            refusals: Family::default(),
            size: Family::default(),
            batches: Family::default(),
            batch_seconds: histogram(),
            sync_seconds: histogram(),
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
    batch_seconds: Histogram,
    pub(crate) sync_seconds: Histogram,
}

impl LogMetrics {
    pub(crate) fn batch(&self, entries: usize, size: u64, took: Duration) {
        self.entries.inc_by(entries as u64);
        self.batches.inc();
        self.batch_seconds.observe(took.as_secs_f64());
        self.at_size(size);
    }

    pub(crate) fn at_size(&self, size: u64) {
        self.size.set(i64::try_from(size).unwrap_or(i64::MAX));
    }
}
