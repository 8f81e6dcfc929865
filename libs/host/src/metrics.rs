//! Prometheus metrics: one [`Registry`] a process, shared by its services, and the text listener that shows it.
//!
//! Names follow `sealwright_<service>_<what>_<unit>`; the registry adds the `sealwright` prefix, a crate's `metrics.rs`
//! the rest. Nothing listens unless an address is configured.

use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::routing::get;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Metric;

use crate::build_info;
use crate::run::{HostConfig, HostError, Running, Server};

pub use prometheus_client;

/// `Content-Type` of the text format that [`Registry::encode`] writes.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of one process. Clones share them.
#[derive(Clone)]
pub struct Registry {
    inner: Arc<Mutex<prometheus_client::registry::Registry>>,
}

impl Registry {
    /// A registry with the process's own metrics and `build_info`.
    #[must_use]
    pub fn new() -> Self {
        let mut inner = prometheus_client::registry::Registry::with_prefix("sealwright");
        inner.register(
            "build",
            "The build that runs",
            Info::new([("version", build_info::VERSION)]),
        );
        inner.register_collector(Box::new(Process));
        Self {
            inner: Arc::new(Mutex::new(inner)),
        }
    }

    /// Registers `metric` as `sealwright_<name>`; a counter gets `_total` added when shown. Returns the metric, so that a
    /// struct of metrics is built in one expression. Metrics of this crate are handles: clones share the value.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.lock().register(name, help, metric.clone());
        metric
    }

    /// Registers something that computes its values when asked.
    pub fn register_collector(&self, collector: impl Collector) {
        self.lock().register_collector(Box::new(collector));
    }

    /// The text form, in the OpenMetrics syntax that Prometheus reads.
    #[must_use]
    pub fn encode(&self) -> String {
        let mut text = String::new();
        match prometheus_client::encoding::text::encode(&mut text, &self.lock()) {
            Ok(()) => text,
            Err(fmt::Error) => "# EOF\n".to_owned(),
        }
    }

    /// The routes of the metrics listener: the text at `/metrics` and at `/`.
    pub fn router(&self) -> Router {
        let registry = self.clone();
        let show = move || async move {
            (
                [(::http::header::CONTENT_TYPE, CONTENT_TYPE)],
                registry.encode(),
            )
        };
        Router::new()
            .route("/metrics", get(show.clone()))
            .route("/", get(show))
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, prometheus_client::registry::Registry> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Registry {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Registry")
    }
}

/// Buckets for request durations, seconds: 0.5 ms doubling up to 16 s.
pub fn duration_buckets() -> impl Iterator<Item = f64> {
    (0..16).map(|power| 0.0005 * f64::from(1_u32 << power))
}

/// A histogram of durations in seconds.
#[must_use]
pub fn duration_histogram() -> Histogram {
    Histogram::new(duration_buckets())
}

/// Requests by route, method and outcome; durations by route. Labels come from our own route table, never from the
/// request, so that strangers cannot make the process remember arbitrary strings.
#[derive(Clone, Debug)]
pub(crate) struct Requests {
    count: Family<RequestLabels, Counter>,
    duration: Family<RouteLabel, Histogram, fn() -> Histogram>,
    pub(crate) in_flight: Gauge,
    pub(crate) connections: Gauge,
    pub(crate) overloads: Counter,
    pub(crate) connections_refused: Counter,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: String,
    method: &'static str,
    code: u16,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabel {
    route: String,
}

impl Requests {
    pub(crate) fn register(registry: &Registry) -> Self {
        let histograms = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        Self {
            count: registry.register("http_requests", "Requests answered", Family::default()),
            duration: registry.register(
                "http_request_duration_seconds",
                "From the request's head to the answer's",
                histograms,
            ),
            in_flight: registry.register(
                "http_requests_in_flight",
                "Requests being handled",
                Gauge::default(),
            ),
            connections: registry.register(
                "http_connections",
                "Open connections",
                Gauge::default(),
            ),
            overloads: registry.register(
                "http_overloads",
                "Requests turned away with 503 by the limits",
                Counter::default(),
            ),
            connections_refused: registry.register(
                "http_connections_refused",
                "Connections closed at once because their address had its share",
                Counter::default(),
            ),
        }
    }

    pub(crate) fn answered(
        &self,
        route: &str,
        method: &'static str,
        code: u16,
        reason: &'static str,
        seconds: f64,
    ) {
        let labels = RequestLabels {
            route: route.to_owned(),
            method,
            code,
            reason,
        };
        self.count.get_or_create(&labels).inc();
        self.duration
            .get_or_create(&RouteLabel {
                route: route.to_owned(),
            })
            .observe(seconds);
    }
}

/// The process's own figures, read from `/proc` when asked; absent where there is no `/proc`.
#[derive(Debug)]
struct Process;

/// Linux counts CPU in ticks of 1/100 s in `/proc/PID/stat` on every architecture we build for.
const TICKS_PER_SECOND: f64 = 100.0;
/// `statm` counts pages; 4 KiB on every architecture we build for.
const PAGE_BYTES: u64 = 4096;

impl Collector for Process {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        if let Some(seconds) = cpu_seconds() {
            let metric = ConstCounter::new(seconds);
            let descriptor = encoder.encode_descriptor(
                "process_cpu_seconds",
                "CPU time used",
                None,
                MetricType::Counter,
            )?;
            metric.encode(descriptor)?;
        }
        let gauges = [
            (
                "process_resident_memory_bytes",
                "Resident memory",
                resident_bytes(),
            ),
            (
                "process_open_fds",
                "Open file descriptors",
                open_descriptors(),
            ),
        ];
        for (name, help, value) in gauges {
            let Some(value) = value.and_then(|value| i64::try_from(value).ok()) else {
                continue;
            };
            ConstGauge::new(value).encode(encoder.encode_descriptor(
                name,
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        Ok(())
    }
}

/// User and system CPU time of this process, seconds.
#[must_use]
pub fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command name may hold spaces and parentheses; fields count from the last closing one.
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut fields = fields.split(' ').skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((user + system) as f64 / TICKS_PER_SECOND)
}

/// Resident memory of this process, bytes.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * PAGE_BYTES)
}

fn open_descriptors() -> Option<u64> {
    let entries = std::fs::read_dir("/proc/self/fd").ok()?;
    u64::try_from(entries.count()).ok()
}

/// Serves [`Registry::router`] on `address` until what is returned is drained or dropped.
///
/// # Errors
/// The address cannot be bound.
pub fn listen(registry: &Registry, address: SocketAddr) -> Result<Running, HostError> {
    let config = HostConfig {
        listen: vec![address],
        ..HostConfig::default()
    };
    Ok(Server::bind(&config)?.start(registry.router()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_metrics_and_the_process_are_shown_with_the_prefix() {
        let registry = Registry::new();
        let issued: Counter =
            registry.register("ca_certificates", "Certificates issued", Counter::default());
        issued.inc();
        let text = registry.encode();
        assert!(
            text.contains("sealwright_ca_certificates_total 1"),
            "{text}"
        );
        assert!(
            text.contains("sealwright_process_resident_memory_bytes"),
            "{text}"
        );
        assert!(text.contains("sealwright_build_info{version="), "{text}");
    }
}
