//! The development identity provider: an OpenID provider that believes whoever it is told, for `sealwrightd dev` and `demo`.
//!
//! It is never part of a production role. It offers what the published Sigstore clients use of a provider (discovery, key
//! set, authorization code with PKCE, device flow) under dex's paths, and a door of its own that mints any token for tests
//! and scripts (`sealwright token`). Nobody proves anything here, so the one thing it defends is that no web page obtains a
//! token behind the developer's back: see `guard.rs`.
//!
//! The life of a token: a client sends the person to `/auth` (or shows a user code), the person approves with an address,
//! the client redeems the code at `/token`. Logins in progress live in memory, bounded and short-lived (`flow.rs`); the
//! signing key alone is kept on disk (`key.rs`).

mod api;
mod approval;
mod claims;
mod error;
mod flow;
mod guard;
mod key;
mod oauth;
mod page;

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use axum::Router;
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use serde::Deserialize;

pub use error::Error;
pub use guard::INTENT_HEADER;

use api::Provider;
use guard::Guard;
use key::SigningKey;

/// Settings of the provider.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Where the signing key is kept. Made when it is not there.
    pub dir: PathBuf,
    /// The issuer URL: what stands in `iss`. Its path is where the routes are.
    pub issuer: String,
    /// The one client, public and with an empty secret. Also the default audience of minted tokens.
    pub client_id: String,
    /// Approves every authorization and device request at once as this address. Without it there is a login page.
    pub login: Option<String>,
    /// Further issuers below the first, by their last path segment: `ci` answers discovery for `{issuer}/ci` with the same
    /// key. Their tokens come from the minting door with `iss` laid over.
    pub extra_issuers: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            dir: PathBuf::from("idp"),
            issuer: "http://127.0.0.1:7700/oidc".into(),
            client_id: "sigstore".into(),
            login: None,
            extra_issuers: Vec::new(),
        }
    }
}

/// A running provider. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Idp {
    provider: Arc<Provider>,
}

impl Idp {
    /// Opens the provider: checks the settings, and reads or makes the signing key.
    ///
    /// # Errors
    /// Settings that cannot work, and a key file that cannot be read, written or understood.
    pub async fn open(config: Config, clock: SharedClock) -> Result<Self, Error> {
        let (authority, base) = authority_and_path(&config.issuer)?;
        if let Some(login) = config
            .login
            .as_ref()
            .filter(|login| !claims::is_email(login))
        {
            return Err(Error::Login {
                login: login.clone(),
            });
        }
        if let Some(name) = config
            .extra_issuers
            .iter()
            .find(|name| !is_free_segment(name))
        {
            return Err(Error::ExtraIssuer { name: name.clone() });
        }
        let dir = config.dir;
        let opened = tokio::task::spawn_blocking(move || SigningKey::open(&dir)).await;
        let key = opened.map_err(|error| Error::Generate {
            problem: error.to_string(),
        })??;
        let provider = Provider {
            issuer: config.issuer,
            base,
            extra_issuers: config.extra_issuers,
            client_id: config.client_id,
            login: config.login,
            guard: Guard::new(&authority),
            key,
            clock,
            logins: Mutex::default(),
        };
        Ok(Self {
            provider: Arc::new(provider),
        })
    }

    /// The HTTP routes, all below the issuer's path, and the RFC 8414 document beside it.
    pub fn router(&self) -> Router {
        api::router(Arc::clone(&self.provider))
    }

    /// Nothing to wait for: the key is in memory and nothing else is needed.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        Vec::new()
    }

    /// Nothing to write back: logins in progress end with the process.
    pub async fn shutdown(self) {}

    /// The issuer URL.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.provider.issuer
    }
}

/// `host[:port]` as a client writes it into `Host`, and the path without a slash at its end.
fn authority_and_path(issuer: &str) -> Result<(String, String), Error> {
    let refuse = |problem| Error::Issuer {
        issuer: issuer.to_owned(),
        problem,
    };
    let url = url::Url::parse(issuer).map_err(|_| refuse("is no URL"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse("is neither http nor https"));
    }
    if issuer.ends_with('/') {
        return Err(refuse("ends with a slash"));
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(refuse("has a query, a fragment or a user"));
    }
    let path = url.path().trim_end_matches('/');
    if !path
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || b"/-._~".contains(&byte))
    {
        return Err(refuse("has a path with characters that need escaping"));
    }
    let host = url.host_str().ok_or_else(|| refuse("has no host"))?;
    let authority = url
        .port()
        .map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"));
    Ok((authority, path.to_owned()))
}

fn is_free_segment(name: &str) -> bool {
    const TAKEN: [&str; 5] = ["auth", "token", "keys", "device", "mint"];
    let plain = name
        .bytes()
        .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    plain && (1..=32).contains(&name.len()) && !TAKEN.contains(&name)
}
