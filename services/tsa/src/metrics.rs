//! What an operator counts and watches.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sealwright_host::metrics::Registry;

use crate::stamp::Refusal;

/// Metrics of one authority. Requests and durations by route are the host's.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    granted: Counter,
    rejected: Family<[(&'static str, &'static str); 1], Counter>,
    certificate_not_after: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        Self {
            granted: registry.register(
                "tsa_timestamps_granted",
                "Timestamps made",
                Counter::default(),
            ),
            rejected: registry.register(
                "tsa_timestamps_rejected",
                "Requests refused, by failure",
                Family::default(),
            ),
            certificate_not_after: registry.register(
                "tsa_certificate_not_after_seconds",
                "First end of validity in the timestamp chain, Unix seconds",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn valid_until(&self, not_after: i64) {
        self.certificate_not_after.set(not_after);
    }

    pub(crate) fn count(&self, outcome: &Result<Vec<u8>, Refusal>) {
        match outcome {
            Ok(_) => self.granted.inc(),
            Err(refusal) => {
                let failure = refusal.failure_info().name();
                self.rejected.get_or_create(&[("failure", failure)]).inc()
            }
        };
    }
}
