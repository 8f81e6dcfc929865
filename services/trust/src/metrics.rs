//! What an operator watches: how long the metadata will still be believed.

use sealwright_host::metrics::Registry;
use sealwright_host::metrics::prometheus_client::metrics::counter::Counter;
use sealwright_host::metrics::prometheus_client::metrics::family::Family;
use sealwright_host::metrics::prometheus_client::metrics::gauge::Gauge;

type ByRole = [(&'static str, &'static str); 1];

#[derive(Debug)]
pub(crate) struct Metrics {
    expires: Family<ByRole, Gauge>,
    version: Family<ByRole, Gauge>,
    pub(crate) publications: Counter,
    pub(crate) renewals: Counter,
    pub(crate) renewal_failures: Counter,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Self {
        Self {
            expires: registry.register(
                "trust_metadata_expires_timestamp_seconds",
                "End of belief of the published metadata, Unix seconds",
                Family::default(),
            ),
            version: registry.register(
                "trust_metadata_version",
                "Version of the published metadata",
                Family::default(),
            ),
            publications: registry.register(
                "trust_publications",
                "Published changes of the trust documents",
                Counter::default(),
            ),
            renewals: registry.register(
                "trust_renewals",
                "Renewed timestamps and snapshots",
                Counter::default(),
            ),
            renewal_failures: registry.register(
                "trust_renewal_failures",
                "Failed renewals of timestamp or snapshot",
                Counter::default(),
            ),
        }
    }

    pub(crate) fn published(&self, role: &'static str, version: u64, expires: i64) {
        let labels = [("role", role)];
        self.expires.get_or_create(&labels).set(expires);
        let version = i64::try_from(version).unwrap_or(i64::MAX);
        self.version.get_or_create(&labels).set(version);
    }
}
