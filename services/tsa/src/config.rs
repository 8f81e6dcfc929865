//! `[tsa]`: what an operator can choose.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealwright_crypto::{MemorySigner, PrivateKey, Signer};
use sealwright_host::config::{self, SecretRef};
use sealwright_pki::timestamp::{Accuracy, MAX_NONCE_OCTETS};
use sealwright_pki::{Certificate, ObjectIdentifier, parse_pem_chain};
use serde::Deserialize;

use crate::error::{ChainProblem, Error};
use crate::time_keeper::TimeRules;

/// `[tsa]`. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The full endpoint as clients see it, e.g. `https://tsa.example.com/api/v1/timestamp`: what trust material names.
    pub url: String,
    /// Who runs the authority, as trust material names it. Verifiers count authorities by operator.
    pub operator: String,
    /// The signing key: a reference to PKCS #8, SEC 1 or PKCS #1 in PEM.
    pub key: Option<SecretRef>,
    /// A PEM file with the chain, the signing certificate first and the root last.
    pub chain: Option<PathBuf>,
    /// The policy of tokens whose request names none. Choose one in an arc of your own; the default lies in the arc that
    /// is reserved for documentation and promises nothing.
    pub policy: String,
    /// Further policies that a request may name.
    pub accepted_policies: Vec<String>,
    /// How far `genTime` may be from the true time. At least a second, because `genTime` has no fraction. The clock may
    /// also be this far behind a time already given out before requests are refused.
    #[serde(with = "config::duration")]
    pub accuracy: Duration,
    /// What to do with request extensions that are not critical. Critical ones are refused: none is understood.
    pub extensions: ExtensionRule,
    /// The longest nonce that is echoed, in octets: 8 (what the RFC asks clients to send) to 128.
    pub max_nonce: usize,
    /// What to do when the kernel says that nothing keeps its clock right, or that it may be further off than `accuracy`.
    pub clock: ClockPolicy,
    /// The HTTP status of a DER rejection.
    pub rejection_status: RejectionStatus,
    /// Largest DER request that is read.
    #[serde(with = "config::size")]
    pub max_request: u64,
    /// How long before the end of the signing certificate the authority warns.
    #[serde(with = "config::duration")]
    pub expiry_warning: Duration,
}

/// What to do with request extensions that are not critical.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ExtensionRule {
    /// Reject the request with `unacceptedExtension`.
    Refuse,
    /// Stamp as if they were not there.
    Ignore,
    /// Repeat them in the token, up to a kibibyte.
    Copy,
}

/// What to do when the kernel does not vouch for its clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum ClockPolicy {
    /// Stamp nothing (`timeNotAvailable`), and be not ready. Also where the kernel cannot be asked.
    Enforce,
    /// Stamp, and log a warning each time the clock's state changes.
    Warn,
    /// Do not ask the kernel.
    Off,
}

/// The HTTP status of a DER rejection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[non_exhaustive]
pub enum RejectionStatus {
    /// 4xx or 5xx, whichever fits: clients that look only at the status do not take a rejection for a timestamp.
    #[serde(rename = "4xx")]
    Error,
    /// 200, for clients that read no body otherwise.
    #[serde(rename = "200")]
    Ok,
}

/// In the arc of the enterprise number that RFC 5612 sets aside for documentation.
const EXAMPLE_POLICY: &str = "1.3.6.1.4.1.32473.3161.1";
/// What the ecosystem's public authority uses; some scripts ask for it by name.
const ECOSYSTEM_POLICY: &str = "1.3.6.1.4.1.57264.2";

impl Default for Config {
    fn default() -> Self {
        Self {
            url: "http://127.0.0.1:7700/api/v1/timestamp".to_owned(),
            operator: String::new(),
            key: None,
            chain: None,
            policy: EXAMPLE_POLICY.to_owned(),
            accepted_policies: vec![ECOSYSTEM_POLICY.to_owned()],
            accuracy: Duration::from_secs(1),
            extensions: ExtensionRule::Refuse,
            max_nonce: MAX_NONCE_OCTETS,
            clock: ClockPolicy::Warn,
            rejection_status: RejectionStatus::Error,
            max_request: 1 << 20,
            expiry_warning: Duration::from_secs(30 * 24 * 60 * 60),
        }
    }
}

impl Config {
    /// Loads the configured key and chain; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When either is not configured or cannot be read.
    pub fn load_signer(&self, folder: &Path) -> Result<(Arc<dyn Signer>, Vec<Certificate>), Error> {
        let unusable = |key, what: &dyn std::fmt::Display| Error::Config {
            key,
            what: what.to_string(),
        };
        let key = self
            .key
            .as_ref()
            .ok_or_else(|| unusable("key", &"is missing; name a key, e.g. \"file:tsa.key\""))?;
        let secret = key
            .resolve(folder)
            .map_err(|error| unusable("key", &error))?;
        let pem = secret
            .expose_str()
            .map_err(|_| unusable("key", &"is not PEM text"))?;
        let signer = MemorySigner::new(PrivateKey::from_pem(pem)?);
        let chain = self
            .chain
            .as_ref()
            .ok_or_else(|| unusable("chain", &"is missing; name a PEM file"))?;
        let path = folder.join(chain);
        let text =
            std::fs::read_to_string(&path).map_err(|source| Error::State { path, source })?;
        let chain =
            parse_pem_chain(&text).map_err(|error| Error::Chain(ChainProblem::Pki(error)))?;
        Ok((Arc::new(signer), chain))
    }

    pub(crate) fn policies(&self) -> Result<(ObjectIdentifier, Vec<ObjectIdentifier>), Error> {
        let policy = policy("policy", &self.policy)?;
        let accepted = self
            .accepted_policies
            .iter()
            .map(|text| self::policy("accepted_policies", text));
        Ok((policy, accepted.collect::<Result<_, _>>()?))
    }

    pub(crate) fn max_nonce(&self) -> Result<usize, Error> {
        if (8..=128).contains(&self.max_nonce) {
            return Ok(self.max_nonce);
        }
        Err(Error::Config {
            key: "max_nonce",
            what: format!("{} octets; choose 8 to 128", self.max_nonce),
        })
    }

    pub(crate) fn time_rules(&self) -> TimeRules {
        TimeRules {
            tolerance: i64::try_from(self.accuracy.as_secs()).unwrap_or(1),
            max_error: self.accuracy,
            policy: self.clock,
        }
    }

    /// Whether the policy is the built-in example, which an operator should replace.
    pub(crate) fn example_policy(&self) -> bool {
        self.policy == EXAMPLE_POLICY
    }

    pub(crate) fn accuracy(&self) -> Result<Accuracy, Error> {
        let refused = |what: String| Error::Config {
            key: "accuracy",
            what,
        };
        let seconds = u32::try_from(self.accuracy.as_secs()).map_err(|_| {
            refused(format!(
                "{} is too long",
                config::format_duration(self.accuracy)
            ))
        })?;
        if seconds == 0 {
            let shown = config::format_duration(self.accuracy);
            return Err(refused(format!(
                "{shown} is finer than genTime, which has whole seconds; use \"1s\" or more"
            )));
        }
        let millis = u16::try_from(self.accuracy.subsec_millis()).unwrap_or(0);
        Ok(Accuracy {
            seconds,
            millis,
            micros: 0,
        })
    }
}

fn policy(key: &'static str, text: &str) -> Result<ObjectIdentifier, Error> {
    text.parse().map_err(|_| Error::Config {
        key,
        what: format!("{text:?} is not an object identifier; write dotted decimal such as \"1.3.6.1.4.1.99999.1\""),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_section_is_read() {
        let text = r#"
            url = "https://tsa.example.com/api/v1/timestamp"
            key = "file:tsa.key"
            chain = "tsa_chain.pem"
            policy = "1.3.6.1.4.1.99999.1.2"
            accuracy = "1500ms"
            extensions = "ignore"
            max_nonce = 32
            clock = "enforce"
            rejection_status = "200"
        "#;
        let config: Config = config::parse(text, "sample").expect("valid");
        assert_eq!(
            config.accuracy().expect("valid"),
            Accuracy {
                seconds: 1,
                millis: 500,
                micros: 0
            }
        );
        assert_eq!(
            (config.extensions, config.rejection_status),
            (ExtensionRule::Ignore, RejectionStatus::Ok)
        );
        assert_eq!(
            (config.max_nonce().ok(), config.clock),
            (Some(32), ClockPolicy::Enforce)
        );
        assert!(!config.example_policy());
    }

    #[test]
    fn values_that_cannot_be_kept_are_refused() {
        let too_fine = Config {
            accuracy: Duration::from_millis(900),
            ..Config::default()
        };
        assert!(matches!(
            too_fine.accuracy(),
            Err(Error::Config {
                key: "accuracy",
                ..
            })
        ));
        let no_oid = Config {
            policy: "my policy".to_owned(),
            ..Config::default()
        };
        assert!(matches!(
            no_oid.policies(),
            Err(Error::Config { key: "policy", .. })
        ));
        assert!(Config::default().policies().is_ok());
        for max_nonce in [0, 7, 129] {
            let config = Config {
                max_nonce,
                ..Config::default()
            };
            assert!(matches!(
                config.max_nonce(),
                Err(Error::Config {
                    key: "max_nonce",
                    ..
                })
            ));
        }
    }
}
