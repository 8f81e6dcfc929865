//! A development stack: generated keys, everything open, an identity provider that believes whoever asks.

use std::net::SocketAddr;
use std::time::Duration;

use sealwright_crypto::KeyType;
use sealwright_host::run::{HostConfig, Server};
use sealwright_host::tls::TlsConfig;
use sealwright_log::{Config as LogsConfig, Kind as LogKind, LogConfig};

use crate::assemble::{CaPart, CtPart, LogPart, Parts, TrustPart};
use crate::config::parse_ca;
use crate::endpoints::{CT_LOG_NAME, Endpoints, base_url};
use crate::error::Error;
use crate::keys::KeyRing;
use crate::log_sections;
use crate::place::{Kind, Place, Share};
use crate::settings::{Asked, DEFAULT_LISTEN, Settings};
use crate::{Stack, StackConfig};

/// Who runs it, in certificates and trust files.
const OPERATOR: &str = "sealwright-dev";
/// The name of the signature log, in metrics and folders.
const SIGNATURE_LOG: &str = "signatures";
/// Segments of the write-ahead log: small, so that a first start takes no time.
const WAL_SEGMENT: u64 = 8 << 20;
/// The CT log answers from memory; longer means that the disk is in trouble.
const CT_TIMEOUT: Duration = Duration::from_secs(10);

/// Claims, locks and completes the directory, and starts everything on it.
pub(crate) async fn start(config: StackConfig) -> Result<Stack, Error> {
    let asked = Asked {
        listen: config.listen,
        public_url: config.public_url.clone(),
        tls_listen: config.tls_listen,
    };
    asked.check_loopback()?;
    let public_url = asked.public_url.as_deref().map(base_url).transpose()?;
    let place = Place::claim(&config.dir, Kind::Dev, Share::Whole)?;
    let kept = Settings::load(place.dir())?;
    if let Some(kept) = &kept {
        asked.check_against(place.dir(), kept)?;
    }
    let now = config.clock.unix();
    let ring = KeyRing::new(&place, Kind::Dev, OPERATOR, now);
    let tls = asked
        .tls_to_bind(kept.as_ref())
        .map(|listen| tls(&ring, listen))
        .transpose()?;
    let listen = kept
        .as_ref()
        .map(|kept| kept.listen)
        .or(asked.listen)
        .unwrap_or(DEFAULT_LISTEN);
    let host = HostConfig {
        listen: vec![listen],
        tls,
        limits: config.limits.clone(),
        telemetry: config.telemetry.clone(),
        ..HostConfig::default()
    };
    let server = Server::bind(&host)?;
    let settings = settle(&place, kept, public_url, &server)?;

    let base = &settings.public_url;
    let mut endpoints = Endpoints::at(base, CT_LOG_NAME, true);
    endpoints.ca_tls = server
        .tls_address()
        .map(|address| format!("https://{address}"));
    let parts = parts(&place, &ring, base, &mut endpoints, config.login)?;
    say_open();
    let doors = crate::Doors {
        more: Some(host),
        server,
        internal: None,
        peers: None,
    };
    crate::launch(
        place,
        Kind::Dev,
        doors,
        parts,
        endpoints,
        &config.clock,
        config.telemetry.metrics_listen,
    )
    .await
}

fn tls(ring: &KeyRing<'_>, listen: SocketAddr) -> Result<TlsConfig, Error> {
    let files = ring.tls()?;
    Ok(TlsConfig {
        listen,
        certificate: files.certificate,
        key: files.key,
        client_ca: None,
    })
}

/// Keeps what this start has decided.
fn settle(
    place: &Place,
    kept: Option<Settings>,
    public_url: Option<String>,
    server: &Server,
) -> Result<Settings, Error> {
    let mut settings = kept.unwrap_or_else(|| Settings {
        listen: server.address(),
        public_url: public_url.unwrap_or_else(|| format!("http://{}", server.address())),
        tls_listen: None,
    });
    settings.tls_listen = server.tls_address().or(settings.tls_listen);
    settings.store(place.dir())?;
    Ok(settings)
}

fn parts(
    place: &Place,
    ring: &KeyRing<'_>,
    base: &str,
    endpoints: &mut Endpoints,
    login: Option<String>,
) -> Result<Parts, Error> {
    // The logs of the first start; the added ones may have taken over since.
    let issuer = endpoints.oidc.clone().unwrap_or_default();
    let authority = ring.certificate_authority()?;
    let first_ct_key = ring.online("ct_log", KeyType::EcP256)?;
    let log_key = ring.online("log", KeyType::Ed25519)?;
    let log = |name: &str, kind, url: &str| LogConfig {
        name: name.to_owned(),
        kind,
        url: url.to_owned(),
        operator: OPERATOR.to_owned(),
        wal_segment: WAL_SEGMENT,
        // Open like everything here: self-made certificates of the development authority may be logged by anyone.
        public_submission: true,
        ..LogConfig::default()
    };
    let mut logs = vec![
        log(SIGNATURE_LOG, LogKind::Rekor, &endpoints.log),
        log(CT_LOG_NAME, LogKind::Ct, &endpoints.ct),
    ];
    let mut signers = vec![
        (SIGNATURE_LOG.to_owned(), log_key),
        (CT_LOG_NAME.to_owned(), first_ct_key.clone()),
    ];
    for mut added in log_sections::read_all(place.dir())? {
        if let Some(signer) = log_sections::locate(&mut added, place.dir())? {
            signers.push((added.name.clone(), signer));
        }
        logs.push(added);
    }
    let ct_log = log_sections::in_use(&logs, CT_LOG_NAME).to_owned();
    let url = |name: &str| logs.iter().find(|log| log.name == name);
    if let Some(used) = url(log_sections::in_use(&logs, SIGNATURE_LOG)) {
        endpoints.log = used.url.clone();
    }
    if let Some(used) = url(&ct_log) {
        endpoints.ct = used.url.clone();
    }
    let ct_key = signers.iter().find(|(name, _)| *name == ct_log);
    let ct_key = ct_key.map_or(first_ct_key, |(_, key)| key.clone());
    let log = LogPart {
        config: LogsConfig { logs },
        signers,
        ct_roots: authority.chain.last().cloned().into_iter().collect(),
        // A log is made once. When clients already know it, its loss is an error and not an empty log.
        create: !place.path("client/root.json").exists(),
    };
    let ct = CtPart::Inside {
        name: ct_log,
        key: ct_key,
        timeout: CT_TIMEOUT,
    };
    let tsa = sealwright_tsa::Config {
        url: endpoints.tsa.clone(),
        operator: OPERATOR.to_owned(),
        // A developer's machine need not keep its clock in a way that the kernel sees.
        clock: sealwright_tsa::ClockPolicy::Off,
        ..Default::default()
    };
    let trust = sealwright_trust::Config {
        operator: OPERATOR.to_owned(),
        oidc_urls: vec![issuer.clone()],
        ..Default::default()
    };
    let idp = sealwright_idp::Config {
        dir: place.path("idp"),
        issuer: issuer.clone(),
        login,
        extra_issuers: vec![CI_ISSUER.to_owned(), URI_ISSUER.to_owned()],
        ..Default::default()
    };
    Ok(Parts {
        ca: Some(CaPart {
            config: parse_ca(&ca_section(base, &issuer))?,
            authority,
            ct,
        }),
        tsa: Some((tsa, ring.timestamp_authority()?)),
        log: Some(log),
        trust: Some(TrustPart {
            config: trust,
            online: Vec::new(),
            offline: Some(place.path("offline")),
        }),
        idp: Some(idp),
        witness: None,
    })
}

/// The section of a development log, as it would be written.
pub(crate) fn section(name: &str, kind: &str) -> toml::Table {
    let text = |value: &str| toml::Value::String(value.to_owned());
    let segment = i64::try_from(WAL_SEGMENT).unwrap_or(i64::MAX);
    [
        ("name", text(name)),
        ("kind", text(kind)),
        ("operator", text(OPERATOR)),
        ("wal_segment", text(&format!("{segment}B"))),
        ("public_submission", toml::Value::Boolean(true)),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value))
    .collect()
}

/// Below the provider's own URL: tokens of builds, and tokens whose subject is a URI.
const CI_ISSUER: &str = "ci";
const URI_ISSUER: &str = "uri";

/// The `[ca]` section of development: one issuer of each type, all served by the built-in provider. Clients come from the
/// same machine, so certificates need not begin in the past.
fn ca_section(base: &str, issuer: &str) -> String {
    format!(
        r#"
url = "{base}"
operator = "{OPERATOR}"

[oidc-issuers."{issuer}"]
type = "email"
client-id = "sigstore"
insecure-http = true

[oidc-issuers."{issuer}/{URI_ISSUER}"]
type = "uri"
client-id = "sigstore"
subject-domain = "{base}"
insecure-http = true

[oidc-issuers."{issuer}/{CI_ISSUER}"]
type = "ci-provider"
ci-provider = "dev"
client-id = "sigstore"
insecure-http = true

[ci-issuer-metadata.dev]
default-template-values = {{ url = "https://ci.example.com", event_name = "", sha = "", repository = "", ref = "", workflow = "", runner_environment = "", run_id = "", run_attempt = "" }}
subject-alternative-name-template = "{{{{ .url }}}}/{{{{ .job_workflow_ref }}}}"

[ci-issuer-metadata.dev.extension-templates]
github-workflow-trigger = "event_name"
github-workflow-sha = "sha"
github-workflow-name = "workflow"
github-workflow-repository = "repository"
github-workflow-ref = "ref"
build-signer-uri = "{{{{ .url }}}}/{{{{ .job_workflow_ref }}}}"
runner-environment = "runner_environment"
source-repository-digest = "sha"
source-repository-ref = "ref"
"#
    )
}

fn say_open() {
    tracing::warn!(
        "development instance: tokens for whoever asks on this machine, any key or self-made certificate may log, no rate limits, no replay \
         checks, no witnesses"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_development_section_is_one_that_the_authority_takes() {
        for base in [
            "http://127.0.0.1:7700",
            "http://[::1]:7700",
            "https://sign.example.com",
        ] {
            let config = parse_ca(&ca_section(base, &format!("{base}/oidc"))).unwrap();
            let issuers = sealwright_identity::IssuersConfig {
                oidc_issuers: config.oidc_issuers.clone(),
                ci_issuer_metadata: config.ci_issuer_metadata.clone(),
            };
            sealwright_identity::Issuers::new(&issuers)
                .unwrap_or_else(|error| panic!("{base}: {error}"));
        }
    }
}
