//! `[ca]`: what an operator can choose.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sealwright_crypto::{Algorithm, MemorySigner, PrivateKey, PublicKey, Signer};
use sealwright_host::config::{self, SecretRef};
use sealwright_identity::{CiProviderConfig, IssuerConfig, IssuersConfig};
use sealwright_pki::issue::{IssuanceProfile, MAX_BACKDATE_S, MAX_VALIDITY_S};
use sealwright_pki::request::DEFAULT_PERMITTED_ALGORITHMS;
use sealwright_pki::{Certificate, KeyPolicy, parse_pem_chain};
use serde::Deserialize;

use crate::error::{ChainProblem, Error};

/// `[ca]`. Unknown keys are refused.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The base URL as clients see it, e.g. `https://ca.example.com`: what trust material names.
    pub url: String,
    /// Who runs the authority, as trust material names it.
    pub operator: String,
    /// The issuing key: a reference to PKCS #8, SEC 1 or PKCS #1 in PEM.
    pub key: Option<SecretRef>,
    /// A PEM file with the chain, the issuing certificate first and the root last.
    pub chain: Option<PathBuf>,
    /// How long a certificate is valid from the moment it is issued.
    #[serde(with = "config::duration")]
    pub validity: Duration,
    /// How far before that moment its validity begins, for clients whose clock is behind.
    #[serde(with = "config::duration")]
    pub backdate: Duration,
    /// Whether RSA keys of 2048 bits are certified.
    pub accept_rsa_2048: bool,
    /// SHA-256 of SubjectPublicKeyInfos, in hex, that are never certified.
    pub blocked_keys: Vec<String>,
    /// Combinations of key and hash accepted in proofs of possession and in certificate requests.
    pub client_signing_algorithms: Vec<String>,
    /// Whether the v1 API is served, for cosign 2 and other old clients.
    pub legacy_api: bool,
    /// Largest request that is read.
    #[serde(with = "config::size")]
    pub max_request: u64,
    /// How long before the end of the chain's validity the authority warns.
    #[serde(with = "config::duration")]
    pub expiry_warning: Duration,
    /// The certificate transparency log.
    pub ct: CtConfig,
    /// Issuer URL -> issuer of identity tokens.
    #[serde(rename = "oidc-issuers", alias = "oidc_issuers")]
    pub oidc_issuers: BTreeMap<String, IssuerConfig>,
    /// Name -> templates of a build system, for issuers of type `ci-provider`.
    #[serde(rename = "ci-issuer-metadata", alias = "ci_issuer_metadata")]
    pub ci_issuer_metadata: BTreeMap<String, CiProviderConfig>,
}

/// `[ca.ct]`: the log every certificate is entered into. There is no way to do without one: clients refuse
/// certificates that no log has promised to publish.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CtConfig {
    /// For `http`: the submission prefix, before `/ct/v1/add-pre-chain`. For `grpc`: the base URL of the service.
    pub url: String,
    /// How the log is reached.
    pub transport: CtTransport,
    /// For `grpc`: the log's name; may be empty where a server has one log.
    pub log: String,
    /// A PEM file with the log's public key. Timestamps that do not verify with it are not embedded.
    pub public_key: Option<PathBuf>,
    /// How long the log may take to answer.
    #[serde(with = "config::duration")]
    pub timeout: Duration,
}

/// How a certificate transparency log is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum CtTransport {
    /// `sealwright.ct.v1.CertificateTransparency`.
    Grpc,
    /// RFC 6962 section 4 over HTTP, as any log has it.
    Http,
}

impl Default for CtConfig {
    fn default() -> Self {
        Self {
            url: String::new(),
            transport: CtTransport::Grpc,
            log: String::new(),
            public_key: None,
            timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        let names = DEFAULT_PERMITTED_ALGORITHMS
            .iter()
            .filter_map(|algorithm| algorithm.cli_name());
        Self {
            url: "http://127.0.0.1:7700".to_owned(),
            operator: String::new(),
            key: None,
            chain: None,
            validity: Duration::from_secs(600),
            backdate: Duration::ZERO,
            accept_rsa_2048: false,
            blocked_keys: Vec::new(),
            client_signing_algorithms: names.map(str::to_owned).collect(),
            legacy_api: true,
            max_request: 128 << 10,
            expiry_warning: Duration::from_secs(30 * 24 * 60 * 60),
            ct: CtConfig::default(),
            oidc_issuers: BTreeMap::new(),
            ci_issuer_metadata: BTreeMap::new(),
        }
    }
}

fn unusable(key: &'static str, what: impl std::fmt::Display) -> Error {
    Error::Config {
        key,
        what: what.to_string(),
    }
}

impl Config {
    /// Loads the configured key and chain; relative paths are looked up in `folder`.
    ///
    /// # Errors
    /// When either is not configured or cannot be read.
    pub fn load_signer(&self, folder: &Path) -> Result<(Arc<dyn Signer>, Vec<Certificate>), Error> {
        let key = self
            .key
            .as_ref()
            .ok_or_else(|| unusable("key", "is missing; name a key, e.g. \"file:ca.key\""))?;
        let secret = key
            .resolve(folder)
            .map_err(|error| unusable("key", error))?;
        let pem = secret
            .expose_str()
            .map_err(|_| unusable("key", "is not PEM text"))?;
        let signer = MemorySigner::new(PrivateKey::from_pem(pem)?);
        let chain = self
            .chain
            .as_ref()
            .ok_or_else(|| unusable("chain", "is missing; name a PEM file"))?;
        let text = read(&folder.join(chain))?;
        let chain =
            parse_pem_chain(&text).map_err(|error| Error::Chain(ChainProblem::Pki(error)))?;
        Ok((Arc::new(signer), chain))
    }

    pub(crate) fn profile(&self) -> Result<IssuanceProfile, Error> {
        let policy = KeyPolicy {
            accept_rsa_2048: self.accept_rsa_2048,
            blocked: self.blocked()?,
        };
        let seconds = |duration: Duration| u32::try_from(duration.as_secs()).unwrap_or(u32::MAX);
        let (validity, backdate) = (seconds(self.validity), seconds(self.backdate));
        IssuanceProfile::new(validity, backdate, policy).ok_or_else(|| {
            let what = format!(
                "of {validity} s with a backdate of {backdate} s is not possible; accepted are 1 to {MAX_VALIDITY_S} s and at \
                 most {MAX_BACKDATE_S} s"
            );
            unusable("validity", what)
        })
    }

    fn blocked(&self) -> Result<BTreeSet<[u8; 32]>, Error> {
        let parse = |text: &String| {
            let bytes = hex::decode(text)
                .ok()
                .and_then(|bytes| bytes.try_into().ok());
            bytes.ok_or_else(|| {
                unusable(
                    "blocked_keys",
                    format!("has {text:?}, which is not 64 hex digits"),
                )
            })
        };
        self.blocked_keys.iter().map(parse).collect()
    }

    pub(crate) fn permitted_algorithms(&self) -> Result<Vec<Algorithm>, Error> {
        let known = || {
            DEFAULT_PERMITTED_ALGORITHMS
                .iter()
                .filter_map(|algorithm| algorithm.cli_name())
                .collect::<Vec<_>>()
        };
        let parse = |name: &String| {
            Algorithm::from_cli_name(name).ok_or_else(|| {
                let what = format!(
                    "has {name:?}, which is not known; for example: {}",
                    known().join(", ")
                );
                unusable("client_signing_algorithms", what)
            })
        };
        let permitted = self
            .client_signing_algorithms
            .iter()
            .map(parse)
            .collect::<Result<Vec<_>, _>>()?;
        if permitted.is_empty() {
            return Err(unusable(
                "client_signing_algorithms",
                "is empty, so no key could be certified",
            ));
        }
        Ok(permitted)
    }

    pub(crate) fn issuers(&self) -> Result<IssuersConfig, Error> {
        if self.oidc_issuers.is_empty() {
            return Err(unusable(
                "oidc-issuers",
                "is empty, so no token could be accepted; configure an issuer",
            ));
        }
        Ok(IssuersConfig {
            oidc_issuers: self.oidc_issuers.clone(),
            ci_issuer_metadata: self.ci_issuer_metadata.clone(),
        })
    }
}

impl CtConfig {
    /// Loads the log's public key; a relative path is looked up in `folder`.
    ///
    /// # Errors
    /// When it is not configured or cannot be read.
    pub fn load_key(&self, folder: &Path) -> Result<PublicKey, Error> {
        let what = "is missing; name the PEM file of the log's key, without which no timestamp can be checked";
        let path = self
            .public_key
            .as_ref()
            .ok_or_else(|| unusable("ct.public_key", what))?;
        let pem = read(&folder.join(path))?;
        PublicKey::from_pem(&pem).map_err(|error| unusable("ct.public_key", error))
    }
}

fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|source| Error::State {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_section_is_read() {
        let text = r#"
            url = "https://ca.example.com"
            key = "file:ca.key"
            chain = "ca_chain.pem"
            validity = "5m"
            backdate = "30s"
            client_signing_algorithms = ["ecdsa-sha2-256-nistp256", "ed25519"]

            [ct]
            url = "https://ct.example.com"
            log = "2026a"
            public_key = "ct.pub"

            [oidc-issuers."https://idp.example.com"]
            client-id = "sigstore"
            type = "email"

            [oidc-issuers."https://token.ci.example.com"]
            type = "ci-provider"
            ci-provider = "forge"

            [ci-issuer-metadata.forge]
            default-template-values = { url = "https://forge.example.com" }
            subject-alternative-name-template = "{{ .url }}/{{ .job_workflow_ref }}"
            [ci-issuer-metadata.forge.extension-templates]
            build-signer-uri = "{{ .url }}/{{ .job_workflow_ref }}"
        "#;
        let config: Config = config::parse(text, "sample").expect("valid");
        assert_eq!(config.permitted_algorithms().expect("valid").len(), 2);
        assert!(config.profile().is_ok());
        assert!(sealwright_identity::Issuers::new(&config.issuers().expect("valid")).is_ok());
        assert_eq!(config.ct.transport, CtTransport::Grpc);
    }

    #[test]
    fn values_that_cannot_work_are_refused_by_name() {
        let base = Config::default;
        let refused = |config: Config| -> &'static str {
            let outcome = config.profile().map(drop);
            let outcome = outcome.and_then(|()| config.permitted_algorithms().map(drop));
            match outcome.and_then(|()| config.issuers().map(drop)) {
                Err(Error::Config { key, .. }) => key,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(refused(base()), "oidc-issuers");
        assert_eq!(
            refused(Config {
                validity: Duration::ZERO,
                ..base()
            }),
            "validity"
        );
        assert_eq!(
            refused(Config {
                validity: Duration::from_secs(86_401),
                ..base()
            }),
            "validity"
        );
        assert_eq!(
            refused(Config {
                backdate: Duration::from_secs(301),
                ..base()
            }),
            "validity"
        );
        assert_eq!(
            refused(Config {
                blocked_keys: vec!["00".into()],
                ..base()
            }),
            "blocked_keys"
        );
        let unknown = Config {
            client_signing_algorithms: vec!["rot13".into()],
            ..base()
        };
        assert_eq!(refused(unknown), "client_signing_algorithms");
        assert_eq!(
            refused(Config {
                client_signing_algorithms: vec![],
                ..base()
            }),
            "client_signing_algorithms"
        );
        assert!(config::parse::<Config>("validitty = \"1s\"", "sample").is_err());
        assert!(config::parse::<Config>("[ct]\nlogg = \"x\"", "sample").is_err());
        assert!(
            config::parse::<Config>(
                "[oidc-issuers.\"https://a.b\"]\ntype = \"spiffe\"",
                "sample"
            )
            .is_err()
        );
    }

    #[test]
    fn a_ct_log_without_a_key_is_refused() {
        let refused = CtConfig::default().load_key(Path::new("."));
        assert!(matches!(
            refused,
            Err(Error::Config {
                key: "ct.public_key",
                ..
            })
        ));
    }
}
