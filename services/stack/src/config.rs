//! One TOML file for a production instance: `[host] [internal] [ca] [tsa] [[log]] [trust]`, one section a role; or `[host]
//! [witness]`.
//!
//! The file lies in the instance's directory; relative paths in it are looked up there. A process reads `[host]` and the
//! sections of the roles it runs: all of them with `up`, one with `run`. Where roles run apart, each has a directory and a
//! file of its own, and `[internal]` says how they talk to each other.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sealwright_crypto::{MemorySigner, PrivateKey};
use sealwright_host::config::{ConfigError, parse};
use sealwright_host::http::is_loopback;
use sealwright_host::metrics::Registry;
use sealwright_host::peers::{Peers, PeersConfig};
use sealwright_host::run::HostConfig;
use sealwright_host::tls::Reloads;
use sealwright_log::Kind as LogKind;
use serde::Deserialize;
use url::Url;

use crate::assemble::{CaPart, CtPart, LogPart, Parts, TrustPart, WitnessPart};
use crate::endpoints::{Endpoints, base_url};
use crate::error::Error;
use crate::keys::Authority;
use crate::log_sections;
use crate::place::{Kind, kind_of};

/// The file's name within an instance's directory.
pub const CONFIG_FILE: &str = "sealwright.toml";
/// Where the online key of the trust root is, within the directory.
pub(crate) const ONLINE_KEY: &str = "keys/tuf_online.key";

/// What one process can be.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, clap::ValueEnum)]
pub enum Role {
    /// The certificate authority.
    Ca,
    /// The timestamp authority.
    Tsa,
    /// Every `[[log]]`, of signatures and of certificates.
    Log,
    /// The trust root.
    Trust,
    /// A witness of logs, of this deployment or of others. It is nobody's service: it has a directory of its own, and runs
    /// elsewhere than the logs it watches.
    Witness,
}

impl Role {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Ca => "ca",
            Self::Tsa => "tsa",
            Self::Log => "log",
            Self::Trust => "trust",
            Self::Witness => "witness",
        }
    }

    /// Roles in the order of their ports where they run apart.
    pub(crate) const IN_PORT_ORDER: [Self; 4] = [Self::Ca, Self::Log, Self::Tsa, Self::Trust];

    /// Every role of a deployment, in the order in which one is described.
    pub(crate) const ALL: [Self; 4] = [Self::Ca, Self::Tsa, Self::Log, Self::Trust];
}

/// The file as it is written.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Raw {
    host: HostConfig,
    internal: Option<PeersConfig>,
    ca: Option<sealwright_ca::Config>,
    tsa: Option<sealwright_tsa::Config>,
    log: sealwright_log::Config,
    trust: Option<sealwright_trust::Config>,
    witness: Option<sealwright_witness::Config>,
}

/// A configuration whose keys and files have been found.
#[derive(Debug)]
pub struct Validated {
    pub(crate) dir: PathBuf,
    pub(crate) host: HostConfig,
    pub(crate) endpoints: Endpoints,
    pub(crate) parts: Parts,
    pub(crate) role: Option<Role>,
    pub(crate) internal: Option<PeersConfig>,
}

/// A service's proof of its trust material, for the trust service.
pub(crate) const DESCRIBE: &str = "sealwright.trust.v1.TrustMaterial/Describe";
/// What an authority needs of its certificate log.
pub(crate) const SUBMIT: [&str; 2] = [
    "sealwright.ct.v1.CertificateTransparency/AddPreChain",
    "sealwright.ct.v1.CertificateTransparency/GetRoots",
];

impl Role {
    /// Methods that a process with this role serves to other services.
    pub(crate) const fn internal_methods(self) -> &'static [&'static str] {
        match self {
            Self::Ca | Self::Tsa => &[DESCRIBE],
            Self::Log => &[
                DESCRIBE,
                SUBMIT[0],
                SUBMIT[1],
                "sealwright.ct.v1.CertificateTransparency/AddChain",
                "sealwright.ct.v1.CertificateTransparency/GetSignedTreeHead",
                "sealwright.ct.v1.CertificateTransparency/GetProofByHash",
                "sealwright.ct.v1.CertificateTransparency/GetEntries",
            ],
            Self::Trust | Self::Witness => &[],
        }
    }
}

impl Validated {
    /// The file with the certificate that is shown to other services.
    pub(crate) fn internal_certificate(&self) -> Option<PathBuf> {
        let internal = self.internal.as_ref();
        internal.map(|internal| self.dir.join(&internal.certificate))
    }

    /// This process among others, where it has an `[internal]` section.
    pub(crate) fn peers(
        &self,
        registry: &Registry,
        reloads: &Reloads,
    ) -> Result<Option<Peers>, Error> {
        let methods = self.role.map_or(&[][..], Role::internal_methods);
        let open = |config| Peers::open(config, &self.dir, methods, registry, reloads);
        self.internal
            .as_ref()
            .map(open)
            .transpose()
            .map_err(Error::service("internal"))
    }

    /// Listens elsewhere than the file says: roles on one host need ports of their own.
    pub fn listen_on(&mut self, address: std::net::SocketAddr) {
        self.host.listen = vec![address];
    }

    /// The telemetry section, to be set up before anything is started.
    #[must_use]
    pub const fn telemetry(&self) -> &sealwright_host::telemetry::TelemetryConfig {
        &self.host.telemetry
    }
}

/// Reads the file at `path` and everything it names, for all roles or for one.
///
/// # Errors
/// [`Error::Config`] with file, line and nearest name; a service's own words for values it cannot use.
pub fn load(path: &Path, role: Option<Role>) -> Result<Validated, Error> {
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    // Services join paths of their own; theirs must not depend on where the process was started.
    let folder = std::path::absolute(folder).map_err(Error::io(folder))?;
    // Said before a missing file is: a development directory has no configuration on purpose.
    if kind_of(&folder)? == Some(Kind::Dev) {
        return Err(Error::OtherKind {
            dir: folder,
            found: Kind::Dev,
            wanted: Kind::Production,
        });
    }
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    let mut raw: Raw = parse(&text, &path.display().to_string())?;
    raw.log.logs.extend(log_sections::read_all(&folder)?);
    let roles: BTreeSet<Role> = role.map_or_else(|| Role::ALL.into(), |role| [role].into());
    raw.validate(&folder, &roles, role)
}

impl Raw {
    fn validate(
        self,
        folder: &Path,
        roles: &BTreeSet<Role>,
        role: Option<Role>,
    ) -> Result<Validated, Error> {
        let together = role.is_none();
        let public = self.host.public_url.as_deref().map(base_url).transpose()?;
        let endpoints = self.endpoints(&public.unwrap_or_else(|| {
            self.ca
                .as_ref()
                .map(|ca| ca.url.clone())
                .unwrap_or_default()
        }));
        self.check_internal(role)?;
        let missing = |section: &str| {
            ConfigError::unusable(section, "the section is missing, and this role needs it")
        };
        let mut parts = Parts::default();
        if roles.contains(&Role::Log) {
            if self.log.logs.is_empty() && !together {
                return Err(missing("log").into());
            }
            parts.log = logs(self.log, folder)?;
        }
        match self.tsa {
            Some(config) if roles.contains(&Role::Tsa) => {
                let (signer, chain) = config.load_signer(folder).map_err(Error::service("tsa"))?;
                parts.tsa = Some((config, Authority { signer, chain }));
            }
            None if roles.contains(&Role::Tsa) && !together => return Err(missing("tsa").into()),
            _ => {}
        }
        match self.ca {
            Some(config) if roles.contains(&Role::Ca) => {
                parts.ca = Some(authority(
                    config,
                    parts.log.as_ref(),
                    self.internal.is_some(),
                    folder,
                )?)
            }
            None if roles.contains(&Role::Ca) && !together => return Err(missing("ca").into()),
            _ => {}
        }
        match self.trust {
            Some(config) if roles.contains(&Role::Trust) => {
                config.check().map_err(Error::service("trust"))?;
                let online = vec![Arc::new(signer_at(&folder.join(ONLINE_KEY))?) as _];
                parts.trust = Some(TrustPart {
                    config,
                    online,
                    offline: None,
                });
            }
            None if roles.contains(&Role::Trust) && !together => {
                return Err(missing("trust").into());
            }
            _ => {}
        }
        match self.witness {
            Some(config) if role == Some(Role::Witness) || together => {
                parts.witness = Some(witness(config, parts.log.is_some(), folder)?);
            }
            None if roles.contains(&Role::Witness) => return Err(missing("witness").into()),
            _ => {}
        }
        let validated = Validated {
            dir: folder.to_owned(),
            host: looked_up(self.host, folder),
            endpoints,
            parts,
            role,
            internal: self.internal,
        };
        // The start reads them again, with the metrics of the server; here their faults are found.
        let unseen = Registry::new();
        validated.peers(&unseen, &Reloads::register(&unseen))?;
        Ok(validated)
    }

    /// What `[internal]` must and must not say beside the other sections.
    fn check_internal(&self, role: Option<Role>) -> Result<(), Error> {
        let listening = self
            .internal
            .as_ref()
            .is_some_and(|internal| internal.listen.is_some());
        if listening && role.is_none() {
            return Err(ConfigError::unusable(
                "internal.listen",
                "is for one role alone (`sealwrightd run ROLE`): roles of one process need no connection",
            )
            .into());
        }
        let allowing = self
            .internal
            .as_ref()
            .is_some_and(|internal| !internal.allow.is_empty());
        if allowing && !listening {
            return Err(ConfigError::unusable(
                "internal.allow",
                "allows calls and there is nothing to call: internal.listen is missing",
            )
            .into());
        }
        let asking = role == Some(Role::Trust)
            && self
                .trust
                .as_ref()
                .is_some_and(|trust| !trust.services.is_empty());
        if asking && self.internal.is_none() {
            return Err(ConfigError::unusable(
                "trust.services",
                "can be asked with the identity of an [internal] section only, which is missing",
            )
            .into());
        }
        Ok(())
    }

    fn endpoints(&self, base: &str) -> Endpoints {
        let mut endpoints = Endpoints::at(base, "", false);
        let log = |kind| {
            let logs = &self.log.logs;
            let first = logs.iter().find(|log| log.kind == kind)?;
            let name = log_sections::in_use(logs, &first.name);
            let used = logs.iter().find(|log| log.name == name);
            used.map(|log| log.url.clone())
        };
        endpoints.ca = self
            .ca
            .as_ref()
            .map(|ca| ca.url.clone())
            .unwrap_or_default();
        endpoints.tsa = self
            .tsa
            .as_ref()
            .map(|tsa| tsa.url.clone())
            .unwrap_or_default();
        endpoints.log = log(LogKind::Rekor).unwrap_or_default();
        endpoints.ct = log(LogKind::Ct).unwrap_or_default();
        if self.trust.is_none() {
            endpoints.tuf.clear();
        }
        endpoints
    }
}

fn logs(mut config: sealwright_log::Config, folder: &Path) -> Result<Option<LogPart>, Error> {
    let mut signers = Vec::new();
    for log in &mut config.logs {
        if let Some(signer) = log_sections::locate(log, folder)? {
            signers.push((log.name.clone(), signer));
        }
    }
    let part = LogPart {
        config,
        signers,
        ct_roots: Vec::new(),
        create: false,
    };
    Ok((!part.config.logs.is_empty()).then_some(part))
}

/// The certificate authority with its way to the CT log: in memory when the log runs in this process, with the identity of
/// the process when it has one.
fn authority(
    config: sealwright_ca::Config,
    logs: Option<&LogPart>,
    among_others: bool,
    folder: &Path,
) -> Result<CaPart, Error> {
    let (signer, chain) = config.load_signer(folder).map_err(Error::service("ca"))?;
    let inside = logs.and_then(|logs| {
        let all = &logs.config.logs;
        let used = log_sections::in_use(all, &config.ct.log);
        let here = all
            .iter()
            .any(|log| log.kind == LogKind::Ct && log.name == used);
        let mut signers = logs.signers.iter();
        let (name, signer) = signers.find(|(name, _)| here && name == used)?;
        Some((name.clone(), signer.clone()))
    });
    let ct = match inside {
        Some((name, key)) => CtPart::Inside {
            name,
            key,
            timeout: config.ct.timeout,
        },
        None if among_others
            && config.ct.transport == sealwright_ca::CtTransport::Grpc
            && config.ct.url.starts_with("https:") =>
        {
            CtPart::Peer {
                url: config.ct.url.clone(),
                name: config.ct.log.clone(),
                key: config.ct.load_key(folder).map_err(Error::service("ca"))?,
                timeout: config.ct.timeout,
            }
        }
        None => {
            refuse_plaintext("ca.ct.url", &config.ct.url)?;
            CtPart::Elsewhere(
                sealwright_ca::CtLog::open(&config.ct, folder).map_err(Error::service("ca"))?,
            )
        }
    };
    Ok(CaPart {
        config,
        authority: Authority { signer, chain },
        ct,
    })
}

/// The witness, with its key and what it looks up beside the configuration.
fn witness(
    config: sealwright_witness::Config,
    beside_logs: bool,
    folder: &Path,
) -> Result<WitnessPart, Error> {
    if beside_logs && !config.beside_logs {
        return Err(ConfigError::unusable(
            "witness",
            "shares a process with logs and would fall with them: run it elsewhere with `sealwrightd run witness`, or set \
             `beside_logs = true` to try it out",
        )
        .into());
    }
    let signer = config
        .load_signer(folder)
        .map_err(Error::service("witness"))?;
    Ok(WitnessPart {
        config,
        signer,
        folder: folder.to_owned(),
        create: false,
    })
}

/// The listener's files are relative to the configuration file, as all paths in it are.
fn looked_up(mut host: HostConfig, folder: &Path) -> HostConfig {
    if let Some(tls) = &mut host.tls {
        let files = [&mut tls.certificate, &mut tls.key];
        for file in files.into_iter().chain(&mut tls.client_ca) {
            *file = folder.join(&file);
        }
    }
    host
}

/// Between hosts nothing is said in the clear.
fn refuse_plaintext(key: &str, url: &str) -> Result<(), Error> {
    let parsed = Url::parse(url).map_err(|error| {
        ConfigError::unusable(
            key,
            format!("{url:?}: {error}; write e.g. \"https://ct.example.com\""),
        )
    })?;
    if parsed.scheme() == "https" || is_loopback(&parsed) {
        return Ok(());
    }
    Err(ConfigError::unusable(
        key,
        format!("{url:?} is plaintext to another host; use https"),
    )
    .into())
}

fn signer_at(path: &Path) -> Result<MemorySigner, Error> {
    let pem = std::fs::read_to_string(path).map_err(Error::io(path))?;
    PrivateKey::from_pem(&pem)
        .map(MemorySigner::new)
        .map_err(Error::key(path))
}

/// The `[ca]` section as the development stack writes it.
pub(crate) fn parse_ca(text: &str) -> Result<sealwright_ca::Config, Error> {
    Ok(parse(text, "the development configuration")?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(CONFIG_FILE);
        std::fs::write(&path, text).unwrap();
        load(&path, None).expect_err("refused").to_string()
    }

    #[test]
    fn unknown_keys_are_refused_in_every_section_with_the_nearest_name() {
        for (text, nearest) in [
            ("[hots]", "host"),
            ("[host]\nlistn = []", "listen"),
            ("[host.limits]\nmax_bodi = \"1MiB\"", "max_body"),
            ("[ca]\nvalidty = \"1s\"", "validity"),
            ("[tsa]\npolcy = \"1.2\"", "policy"),
            ("[[log]]\nnmae = \"a\"", "name"),
            ("[trust]\noperatr = \"a\"", "operator"),
            ("[witness]\nnmae = \"a\"", "name"),
        ] {
            let said = refused(text);
            assert!(
                said.contains(&format!("did you mean `{nearest}`?"))
                    && said.contains("sealwright.toml:"),
                "{said}"
            );
        }
    }

    #[test]
    fn the_files_of_tls_are_looked_up_beside_the_configuration() {
        let text = "[host.tls]\nlisten = \"127.0.0.1:0\"\ncertificate = \"keys/tls.pem\"\nkey = \"/tls.key\"";
        let raw: Raw = parse(text, "text").unwrap();
        let tls = looked_up(raw.host, Path::new("/srv/ca")).tls.unwrap();
        assert_eq!(tls.certificate, Path::new("/srv/ca/keys/tls.pem"));
        assert_eq!(tls.key, Path::new("/tls.key"));
    }

    #[test]
    fn plaintext_stays_on_this_machine() {
        for good in [
            "https://ct.example.com",
            "http://127.0.0.1:1",
            "http://[::1]:1",
            "http://localhost",
        ] {
            refuse_plaintext("ca.ct.url", good).unwrap();
        }
        for bad in ["http://ct.example.com", "http://10.0.0.1:7700", ""] {
            assert!(refuse_plaintext("ca.ct.url", bad).is_err(), "{bad}");
        }
    }
}
