//! The trust service: what clients trust, built from the live services and published through TUF.
//!
//! Authorities and logs describe themselves over an authenticated channel (or in a file) and prove that they hold their
//! keys. The service grows `trusted_root.json` and the signing config out of that, never by hand, and publishes both in
//! a TUF repository under `/tuf/`. Four steps are separate, so that people and offline keys can stand between them:
//!
//! 1. **stage** new material: the documents grow, nothing old may leave them,
//! 2. **sign** the new targets metadata, with keys this process does not have to hold,
//! 3. **publish**: target files, targets, snapshot, and the timestamp last,
//! 4. **activate**: a service may use its new key once no client can believe an older trusted root.
//!
//! Timestamp and snapshot are signed online and renewed in the background at half of their lifetime.
//!
//! What it is not: it holds no key but the online one, issues nothing, and links no other service. The format and the
//! client are `sealwright-tuf`; who verifies by these documents is `sealwright-bundle`.

mod api;
pub mod ceremony;
mod disk;
mod documents;
mod error;
mod material;
mod metrics;
mod repository;
mod service;
mod state;
mod succession;
#[cfg(test)]
mod tests;

use std::time::Duration;

use sealwright_host::config;
use serde::{Deserialize, Serialize};

pub use documents::{Documents, Entry, SIGNING_CONFIG, SIGNING_CONFIG_REKOR_V2, TRUSTED_ROOT};
pub use error::{Error, MaterialFault};
pub use material::{CHALLENGE_LENGTH, Kind, Material, Service, collect};
pub use service::{Activation, Deps, EntryStatus, RoleStatus, Staged, Status, Trust};
pub use succession::{ForeignLog, Succession};

/// `[trust]`. Unknown keys are refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Who runs the services, where their material does not say: verifiers and signers group services by it.
    pub operator: String,
    /// Issuer URLs of the identity providers that signers are offered.
    pub oidc_urls: Vec<String>,
    /// URLs of the other processes of the deployment, `https://NAME[:PORT]`: asked for their trust material when a change
    /// is staged, over a channel that authenticates both ends. Empty where they all run in this process.
    pub services: Vec<String>,
    /// How long a timestamp is believed. It is renewed at half of that; a client's cache is at most this old.
    #[serde(with = "config::duration")]
    pub timestamp_lifetime: Duration,
    /// How long a snapshot is believed. It is renewed at half of that.
    #[serde(with = "config::duration")]
    pub snapshot_lifetime: Duration,
    /// How long targets are believed. Renewing them takes their keys.
    #[serde(with = "config::duration")]
    pub targets_lifetime: Duration,
    /// How long a root is believed. Renewing it takes its keys.
    #[serde(with = "config::duration")]
    pub root_lifetime: Duration,
    /// How long the signing of a staged change may take before it has to be staged again.
    #[serde(with = "config::duration")]
    pub signing_window: Duration,
    /// How often the service looks whether something is to be renewed.
    #[serde(with = "config::duration")]
    pub check_interval: Duration,
    /// Whether a new key waits until no client can believe an older trusted root. Only a development instance, whose
    /// clients can be told to refresh, does without.
    pub wait_for_clients: bool,
}

const DAY: u64 = 86_400;
/// No lifetime is longer: a century. Sums of times then stay within what can be written.
const MAX_LIFETIME: Duration = Duration::from_secs(100 * 366 * DAY);

impl Default for Config {
    fn default() -> Self {
        Self {
            operator: String::new(),
            oidc_urls: Vec::new(),
            services: Vec::new(),
            timestamp_lifetime: Duration::from_secs(7 * DAY),
            snapshot_lifetime: Duration::from_secs(30 * DAY),
            targets_lifetime: Duration::from_secs(365 * DAY),
            root_lifetime: Duration::from_secs(365 * DAY),
            signing_window: Duration::from_secs(7 * DAY),
            check_interval: Duration::from_secs(60),
            wait_for_clients: true,
        }
    }
}

impl Config {
    /// Checks what the types cannot: lifetimes that leave time to renew, and URLs that are URLs.
    ///
    /// # Errors
    /// [`Error::Config`] with the key and what would be accepted.
    pub fn check(&self) -> Result<(), Error> {
        let refuse = |what: String| Err(Error::Config { what });
        if self.check_interval > self.timestamp_lifetime / 4 || self.check_interval.is_zero() {
            return refuse(
                "trust.timestamp_lifetime must be at least four times trust.check_interval, which must not be 0"
                    .to_owned(),
            );
        }
        if self.snapshot_lifetime < self.timestamp_lifetime {
            return refuse(
                "trust.snapshot_lifetime must not be shorter than trust.timestamp_lifetime"
                    .to_owned(),
            );
        }
        for (name, lifetime) in [
            ("timestamp_lifetime", self.timestamp_lifetime),
            ("snapshot_lifetime", self.snapshot_lifetime),
            ("targets_lifetime", self.targets_lifetime),
            ("root_lifetime", self.root_lifetime),
            ("signing_window", self.signing_window),
        ] {
            if lifetime > MAX_LIFETIME {
                return refuse(format!("trust.{name} must not be longer than 36600 days"));
            }
        }
        for (name, lifetime) in [
            ("targets_lifetime", self.targets_lifetime),
            ("root_lifetime", self.root_lifetime),
        ] {
            if lifetime < self.timestamp_lifetime {
                return refuse(format!(
                    "trust.{name} must not be shorter than trust.timestamp_lifetime"
                ));
            }
        }
        for text in &self.oidc_urls {
            let web = url::Url::parse(text)
                .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !web {
                return refuse(format!(
                    "trust.oidc_urls: {text:?} is not an http or https URL"
                ));
            }
        }
        let secured = |text: &str| {
            url::Url::parse(text).is_ok_and(|url| url.scheme() == "https" && url.has_host())
        };
        if let Some(text) = self.services.iter().find(|text| !secured(text)) {
            return refuse(format!(
                "trust.services: {text:?} is not an https URL; services prove who they are, also on one host"
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod config_tests {
    use super::*;

    #[test]
    fn defaults_can_be_meant_and_others_are_judged() {
        Config::default().check().unwrap();
        let mistakes: [fn(&mut Config); 8] = [
            |config| config.services = vec!["http://127.0.0.1:7711".to_owned()],
            |config| config.check_interval = Duration::MAX,
            |config| config.signing_window = Duration::from_secs(101 * 366 * DAY),
            |config| config.root_lifetime = Duration::MAX,
            |config| config.check_interval = Duration::ZERO,
            |config| config.timestamp_lifetime = Duration::from_secs(61),
            |config| config.root_lifetime = Duration::from_secs(DAY),
            |config| config.oidc_urls = vec!["accounts.example.com".to_owned()],
        ];
        for mistake in mistakes {
            let mut config = Config::default();
            mistake(&mut config);
            assert!(
                matches!(config.check(), Err(Error::Config { .. })),
                "{config:?}"
            );
        }
    }

    #[test]
    fn configuration_is_toml_with_units() {
        let text = "operator = 'example.com'\ntimestamp_lifetime = '1d'\n";
        let config: Config = config::parse(text, "test").unwrap();
        assert_eq!(config.timestamp_lifetime, Duration::from_secs(DAY));
        assert!(config::parse::<Config>("timestamp_lifetme = '1d'", "test").is_err());
    }
}
