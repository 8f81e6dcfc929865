//! What an operator counts and watches.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use sealwright_host::metrics::{Registry, duration_histogram};
use sealwright_host::reason;

use crate::error::Refusal;

type Label = [(&'static str, &'static str); 1];

/// Metrics of one authority. Requests and durations by route are the host's.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    issued: Family<[(&'static str, String); 1], Counter>,
    refused: Family<Label, Counter>,
    phases: Family<Label, Histogram, fn() -> Histogram>,
    chain_not_after: Gauge,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        let histograms = Family::new_with_constructor(duration_histogram as fn() -> Histogram);
        Self {
            issued: registry.register(
                "ca_certificates_issued",
                "Certificates issued, by issuer of the token",
                Family::default(),
            ),
            refused: registry.register(
                "ca_certificates_refused",
                "Requests without a certificate, by reason",
                Family::default(),
            ),
            phases: registry.register(
                "ca_phase_duration_seconds",
                "Time spent on a request, by phase",
                histograms,
            ),
            chain_not_after: registry.register(
                "ca_chain_not_after_seconds",
                "First end of validity in the issuing chain, Unix seconds",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn valid_until(&self, not_after: i64) {
        self.chain_not_after.set(not_after);
    }

    /// `issuer` is a configured one, so the number of labels is bounded.
    pub(crate) fn issued(&self, issuer: &str) {
        self.issued
            .get_or_create(&[("issuer", issuer.to_owned())])
            .inc();
    }

    pub(crate) fn refused(&self, refusal: &Refusal) {
        self.refused
            .get_or_create(&[("reason", reason::name(refusal.reason()))])
            .inc();
    }

    pub(crate) fn phase(&self, phase: &'static str, took: Duration) {
        self.phases
            .get_or_create(&[("phase", phase)])
            .observe(took.as_secs_f64());
    }
}
