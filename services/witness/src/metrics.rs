//! What an operator counts and watches.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use sealwright_host::metrics::Registry;

use crate::error::Fault;
use crate::state::Row;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OriginLabel {
    origin: String,
}

/// Metrics of one witness. Only logs that are configured have a label, so their number is bounded.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    cosigned: Family<OriginLabel, Counter>,
    size: Family<OriginLabel, Gauge>,
    time: Family<OriginLabel, Gauge>,
    refused: Family<[(&'static str, &'static str); 1], Counter>,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        Self {
            cosigned: registry.register(
                "witness_cosigned",
                "Checkpoints cosigned",
                Family::default(),
            ),
            size: registry.register(
                "witness_tree_size",
                "Tree size of the last checkpoint cosigned",
                Family::default(),
            ),
            time: registry.register(
                "witness_cosigned_seconds",
                "When the last checkpoint was cosigned, Unix seconds",
                Family::default(),
            ),
            refused: registry.register(
                "witness_refused",
                "Checkpoints not cosigned, by HTTP status",
                Family::default(),
            ),
        }
    }

    pub(crate) fn cosigned(&self, row: &Row) {
        let label = OriginLabel {
            origin: row.origin.clone(),
        };
        self.cosigned.get_or_create(&label).inc();
        let size = i64::try_from(row.size).unwrap_or(i64::MAX);
        self.size.get_or_create(&label).set(size);
        self.time.get_or_create(&label).set(row.time);
    }

    pub(crate) fn refused(&self, fault: &Fault) {
        let status = match fault {
            Fault::Refused(refusal) => match refusal.status() {
                400 => "400",
                403 => "403",
                404 => "404",
                409 => "409",
                _ => "422",
            },
            _ => "503",
        };
        self.refused.get_or_create(&[("status", status)]).inc();
    }
}
