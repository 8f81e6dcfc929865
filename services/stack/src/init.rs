//! Production instances: `init` makes keys, logs, a trust root and a configuration; `up` and `run` serve them.

use std::net::SocketAddr;
use std::path::Path;

use sealwright_crypto::KeyType;
use sealwright_host::SharedClock;
use sealwright_host::http::is_loopback;
use sealwright_host::metrics::Registry;
use sealwright_host::peers::Peers;
use sealwright_host::run::Server;
use url::Url;

use crate::Stack;
use crate::assemble::{self, TrustPart};
use crate::config::{self, CONFIG_FILE, ONLINE_KEY, Validated};
use crate::endpoints::{Endpoints, base_url};
use crate::error::Error;
use crate::files::{self, Readers};
use crate::internal;
use crate::keys::KeyRing;
use crate::place::{Kind, Place, Share};

/// The names of the two logs that `init` makes.
pub(crate) const SIGNATURE_LOG: &str = "signatures";
pub(crate) const CT_LOG: &str = "certificates";

/// What a configuration is called until everything that it names is there.
pub(crate) const DRAFT: &str = "sealwright.toml.draft";

/// What the section `[host]` may be given, as it stands in every configuration that `init` writes.
pub(crate) const OPTIONS_OF_HOST: &str = r#"# TLS on a listener of its own; leave it out behind a proxy that brings TLS.
# [host.tls]
# listen = "0.0.0.0:443"
# certificate = "tls.pem"
# key = "tls.key"

# [host.telemetry]
# log_format = "json"
# otlp_endpoint = "http://127.0.0.1:4317"
# metrics_listen = "127.0.0.1:9464"
"#;

/// What `init` needs to know.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Base URL of the instance, as clients will see it.
    pub public_url: String,
    /// Address to listen on; a proxy or `[host.tls]` brings TLS.
    pub listen: SocketAddr,
    /// Who runs it: in certificates and trust files.
    pub organization: String,
    /// The identity provider whose e-mail identities are certified.
    pub oidc_issuer: String,
    /// The audience of its tokens.
    pub oidc_client_id: String,
}

/// Makes an instance in `dir`: keys, logs, the first trust root, the configuration file.
///
/// # Errors
/// See [`Error`]; a directory that holds an instance is never touched.
pub async fn init(dir: &Path, plan: &Plan, clock: &SharedClock) -> Result<(), Error> {
    let base = base_url(&plan.public_url)?;
    let issuer = issuer_url(&plan.oidc_issuer)?;
    let place = Place::claim(dir, Kind::Production, Share::Whole)?;
    let config_path = place.path(CONFIG_FILE);
    if config_path.exists() {
        return Err(Error::AlreadyThere {
            dir: dir.to_owned(),
        });
    }
    let ring = KeyRing::new(&place, Kind::Production, &plan.organization, clock.unix());
    let authority = ring.certificate_authority()?;
    ring.timestamp_authority()?;
    ring.online("log", KeyType::Ed25519)?;
    let ct = ring.online("ct_log", KeyType::EcP256)?;
    ring.online("tuf_online", KeyType::EcP256)?;
    KeyRing::exchange_public(&authority, ct.as_ref(), &place, &place)?;

    // The configuration gets its name last: what is cut short before is completed by another `init`.
    let draft = place.path(DRAFT);
    files::write_atomically(
        &draft,
        sample(&base, &issuer, plan).as_bytes(),
        Readers::All,
    )?;
    let mut validated = config::load(&draft, None)?;
    if let Some(log) = &mut validated.parts.log {
        log.create = true;
    }
    if let Some(TrustPart { offline, .. }) = &mut validated.parts.trust {
        *offline = Some(place.path("offline"));
    }
    let registry = Registry::new();
    let services = assemble::open(validated.parts, place.dir(), &registry, clock, None).await?;
    let published = async {
        services.publish().await?;
        services.write_client_files(&place.path("client")).await
    };
    let published = published.await;
    services.shutdown().await;
    published?;
    std::fs::rename(&draft, &config_path).map_err(Error::io(config_path))
}

/// Serves a configuration.
pub(crate) async fn up(config: Validated, clock: SharedClock) -> Result<Stack, Error> {
    let share = config
        .role
        .map_or(Share::Whole, |role| Share::Role(role.name()));
    let place = Place::open(&config.dir, Kind::Production, share)?;
    let server = Server::bind(&config.host)?;
    let peers = config.peers(server.registry(), server.reloads())?;
    let door = peers.as_ref().and_then(Peers::door);
    let internal = door.map(|(address, tls)| Server::bind_internal(&config.host, address, tls));
    let doors = crate::Doors {
        more: None,
        internal: internal.transpose()?,
        server,
        peers,
    };
    if let Some(file) = config.internal_certificate() {
        doors
            .server
            .health()
            .register([internal::check(file, clock.clone())]);
    }
    let metrics = config.host.telemetry.metrics_listen;
    crate::launch(
        place,
        Kind::Production,
        doors,
        config.parts,
        config.endpoints,
        &clock,
        metrics,
    )
    .await
}

pub(crate) fn issuer_url(text: &str) -> Result<String, Error> {
    let refuse = |what: &str| {
        sealwright_host::config::ConfigError::unusable("oidc-issuer", format!("{text:?} {what}"))
    };
    let url = Url::parse(text).map_err(|error| refuse(&error.to_string()))?;
    let secured = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
    if !secured || url.host_str().is_none() || text.contains(['"', '\\']) {
        return Err(refuse("is not an https URL, e.g. https://accounts.example.com").into());
    }
    // Compared byte for byte with the tokens' `iss`, so it stays as it was written.
    Ok(text.to_owned())
}

/// The section of the identity provider. What comes over loopback needs no TLS.
pub(crate) fn issuer_section(issuer: &str, client_id: &str) -> String {
    let plain = if issuer.starts_with("http:") {
        "\ninsecure-http = true"
    } else {
        ""
    };
    format!(
        "[ca.oidc-issuers.\"{issuer}\"]\ntype = \"email\"\nclient-id = {}{plain}",
        quoted(client_id)
    )
}

/// The section of the timestamp authority; `operator` is TOML already.
pub(crate) fn tsa_section(url: &str, operator: &str) -> String {
    format!(
        r#"[tsa]
url = "{url}"
operator = {operator}
key = "file:keys/tsa.key"
chain = "keys/tsa_chain.pem"
"#
    )
}

/// TOML's basic string.
pub(crate) fn quoted(text: &str) -> String {
    let escaped: String = text.chars().filter(|c| !c.is_control()).collect();
    format!("\"{}\"", escaped.replace('\\', "\\\\").replace('"', "\\\""))
}

fn sample(base: &str, issuer: &str, plan: &Plan) -> String {
    let endpoints = Endpoints::at(base, CT_LOG, false);
    let operator = quoted(&plan.organization);
    let issuers = issuer_section(issuer, &plan.oidc_client_id);
    format!(
        r#"# A Sealwright instance. Unknown keys are refused; `sealwrightd check-config` reads this file and all it names.

[host]
listen = ["{listen}"]
public_url = "{base}"

{OPTIONS_OF_HOST}
[ca]
url = "{ca}"
operator = {operator}
key = "file:keys/ca.key"
chain = "keys/ca_chain.pem"

[ca.ct]
log = "{CT_LOG}"
url = "{base}"
public_key = "keys/ct_log.pub"

{issuers}

{tsa}
[[log]]
name = "{SIGNATURE_LOG}"
kind = "rekor"
url = "{log}"
operator = {operator}
key = "file:keys/log.key"

[[log]]
name = "{CT_LOG}"
kind = "ct"
url = "{ct}"
operator = {operator}
key = "file:keys/ct_log.key"
roots = ["keys/ca_root.pem"]

# The online key of the trust root is {ONLINE_KEY}; root and targets keys belong on a medium apart.
[trust]
operator = {operator}
oidc_urls = ["{issuer}"]
"#,
        listen = plan.listen,
        ca = endpoints.ca,
        tsa = tsa_section(&endpoints.tsa, &operator),
        log = endpoints.log,
        ct = endpoints.ct,
    )
}
