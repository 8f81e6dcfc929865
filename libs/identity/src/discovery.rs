//! From an issuer's URL to its keys: OpenID Connect Discovery under bounds.
//!
//! The client that fetches what an issuer publishes is where a token's sender comes closest to making us act, so it
//! is narrow: only configured issuers, https only unless the operator says otherwise, no proxy from the environment,
//! no redirect to another origin, keys only from the issuer's host or a listed one, [`MAX_BODY_BYTES`] a document,
//! [`FETCH_TIMEOUT`] for both documents together.
//!
//! Of the discovery document only `issuer` and `jwks_uri` are read. The metadata type of `openidconnect` also wants
//! an authorization endpoint, which build systems and clusters that issue tokens do not have.

use std::time::Duration;

use openidconnect::{IssuerUrl, JsonWebKeySetUrl};
use serde::Deserialize;
use url::Url;

use crate::error::{ConfigError, FetchError, echo};
use crate::jwks::KeySet;

/// The longest document that is read: 1 MiB.
pub const MAX_BODY_BYTES: usize = 1024 * 1024;

/// The time for discovery document and keys together.
pub const FETCH_TIMEOUT: Duration = Duration::from_secs(5);

/// The most redirects followed within one origin.
const MAX_REDIRECTS: usize = 3;

/// Where an issuer publishes, and how it may be asked.
#[derive(Debug)]
pub struct Provider {
    issuer: String,
    discovery_url: Url,
    key_hosts: Vec<String>,
    insecure_http: bool,
    http: reqwest::Client,
    timeout: Duration,
}

/// What a fetch brings.
#[derive(Debug)]
pub struct Fetched {
    /// The usable keys; never empty.
    pub keys: KeySet,
    /// The `max-age` of the answer, in seconds.
    pub max_age: Option<i64>,
}

/// The two members that matter.
#[derive(Deserialize)]
struct ProviderDocument {
    issuer: IssuerUrl,
    jwks_uri: JsonWebKeySetUrl,
}

impl Provider {
    /// Prepares to ask `issuer`. `key_hosts` are `host` or `host:port` beside the issuer's own; `ca_cert` is PEM, added
    /// to the system's roots; `insecure_http` allows plain HTTP, for development.
    ///
    /// # Errors
    /// [`ConfigError::IssuerUrl`] and [`ConfigError::Client`].
    pub fn new(
        issuer: &str,
        key_hosts: &[String],
        ca_cert: Option<&str>,
        insecure_http: bool,
    ) -> Result<Self, ConfigError> {
        let url = check_issuer_url(issuer, insecure_http)?;
        let discovery_url = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let discovery_url =
            Url::parse(&discovery_url).map_err(|_| issuer_url(issuer, "it is not a URL"))?;
        let http =
            http_client(url.scheme() == "https", ca_cert).map_err(|why| ConfigError::Client {
                issuer: issuer.to_owned(),
                why,
            })?;
        Ok(Self {
            issuer: issuer.to_owned(),
            discovery_url,
            key_hosts: key_hosts.to_vec(),
            insecure_http,
            http,
            timeout: FETCH_TIMEOUT,
        })
    }

    /// Fetches the discovery document and the keys it points at.
    ///
    /// # Errors
    /// [`FetchError`]; after [`FETCH_TIMEOUT`] at the latest.
    pub async fn fetch(&self) -> Result<Fetched, FetchError> {
        let timeout = FetchError::Timeout {
            seconds: self.timeout.as_secs(),
        };
        tokio::time::timeout(self.timeout, self.discover())
            .await
            .unwrap_or(Err(timeout))
    }

    async fn discover(&self) -> Result<Fetched, FetchError> {
        let (document, _) = self.document(&self.discovery_url).await?;
        let keys_url = &self.keys_url(&document)?;
        let (keys, max_age) = self.document(keys_url).await?;
        let keys = KeySet::from_json(&keys).map_err(|error| match error {
            FetchError::NotUnderstood { wanted, .. } => FetchError::NotUnderstood {
                url: echo(keys_url.as_str()),
                wanted,
            },
            other => other,
        })?;
        Ok(Fetched { keys, max_age })
    }

    /// Reads a discovery document: where the issuer's keys are.
    ///
    /// # Errors
    /// [`FetchError::NotUnderstood`], [`FetchError::IssuerMismatch`], [`FetchError::NotHttps`] and
    /// [`FetchError::KeysElsewhere`].
    pub fn keys_url(&self, document: &[u8]) -> Result<Url, FetchError> {
        let document: ProviderDocument =
            serde_json::from_slice(document).map_err(|_| FetchError::NotUnderstood {
                url: self.discovery_url.to_string(),
                wanted: "a discovery document",
            })?;
        if document.issuer.as_str() != self.issuer {
            return Err(FetchError::IssuerMismatch {
                found: echo(&document.issuer),
                wanted: self.issuer.clone(),
            });
        }
        self.check_keys_url(document.jwks_uri.url())?;
        Ok(document.jwks_uri.url().clone())
    }

    fn check_keys_url(&self, url: &Url) -> Result<(), FetchError> {
        if url.scheme() != "https" && !(self.insecure_http && url.scheme() == "http") {
            return Err(FetchError::NotHttps {
                url: echo(url.as_str()),
            });
        }
        let authority = authority(url);
        let bare = url.host_str().unwrap_or_default();
        let listed = |host: &String| *host == authority || (url.port().is_none() && host == bare);
        if same_origin_host(url, &self.discovery_url) || self.key_hosts.iter().any(listed) {
            Ok(())
        } else {
            Err(FetchError::KeysElsewhere {
                host: echo(&authority),
            })
        }
    }

    /// One document, and its `max-age`.
    async fn document(&self, url: &Url) -> Result<(Vec<u8>, Option<i64>), FetchError> {
        let request = self
            .http
            .get(url.clone())
            .header("accept", "application/json");
        let mut response = request.send().await.map_err(transport)?;
        let shown = || echo(url.as_str());
        match response.status() {
            status if status == 200 => {}
            status if status.is_redirection() => {
                return Err(FetchError::Redirected { url: shown() });
            }
            status => {
                return Err(FetchError::Status {
                    url: shown(),
                    status: status.as_u16(),
                });
            }
        }
        let max_age = response
            .headers()
            .get("cache-control")
            .and_then(|value| max_age(value.to_str().ok()?));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(transport)? {
            if body.len() + chunk.len() > MAX_BODY_BYTES {
                return Err(FetchError::BodyTooLarge {
                    url: shown(),
                    limit: MAX_BODY_BYTES,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok((body, max_age))
    }
}

fn issuer_url(issuer: &str, why: &'static str) -> ConfigError {
    ConfigError::IssuerUrl {
        issuer: issuer.to_owned(),
        why,
    }
}

/// An issuer is an https URL without query and fragment (OpenID Connect Discovery section 3).
pub(crate) fn check_issuer_url(issuer: &str, insecure_http: bool) -> Result<Url, ConfigError> {
    let url = Url::parse(issuer).map_err(|_| issuer_url(issuer, "it is not a URL"))?;
    match url.scheme() {
        "https" => {}
        "http" if insecure_http => {}
        "http" => {
            return Err(issuer_url(
                issuer,
                "plain http is for development; set `insecure-http = true` to allow it",
            ));
        }
        _ => return Err(issuer_url(issuer, "an https URL is wanted")),
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(issuer_url(issuer, "it has no host"));
    }
    if url.query().is_some()
        || url.fragment().is_some()
        || !url.username().is_empty()
        || url.password().is_some()
    {
        return Err(issuer_url(
            issuer,
            "it must not have a query, a fragment or credentials",
        ));
    }
    if !issuer.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(issuer_url(
            issuer,
            "only printable ASCII can stand in a certificate",
        ));
    }
    Ok(url)
}

/// Plain-HTTP providers get a client without roots: reading the system's would cost start-up time for nothing, and
/// fail where there are none.
fn http_client(https: bool, ca_cert: Option<&str>) -> Result<reqwest::Client, String> {
    // An error means that the process has chosen a provider before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent("sealwright")
        .no_proxy()
        .connect_timeout(FETCH_TIMEOUT)
        .pool_max_idle_per_host(0)
        .redirect(reqwest::redirect::Policy::custom(within_origin));
    if !https {
        builder = builder.tls_certs_only(Vec::new());
    } else if let Some(pem) = ca_cert {
        let roots = reqwest::Certificate::from_pem_bundle(pem.as_bytes());
        let roots = roots
            .ok()
            .filter(|roots| !roots.is_empty())
            .ok_or("`ca-cert` is not a PEM certificate")?;
        builder = builder.tls_certs_merge(roots);
    }
    builder
        .build()
        .map_err(|error| format!("no HTTP client: {}", chain(&error)))
}

fn within_origin(attempt: reqwest::redirect::Attempt<'_>) -> reqwest::redirect::Action {
    let same = attempt.previous().first().is_some_and(|first| {
        first.scheme() == attempt.url().scheme() && same_origin_host(first, attempt.url())
    });
    if same && attempt.previous().len() <= MAX_REDIRECTS {
        attempt.follow()
    } else {
        attempt.stop()
    }
}

fn same_origin_host(a: &Url, b: &Url) -> bool {
    a.host_str() == b.host_str() && a.port_or_known_default() == b.port_or_known_default()
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

fn transport(error: reqwest::Error) -> FetchError {
    FetchError::Transport(echo(&chain(&error.without_url())))
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// The seconds of a `max-age` directive (RFC 9111 section 5.2.2.1).
fn max_age(cache_control: &str) -> Option<i64> {
    cache_control.split(',').find_map(|directive| {
        let (name, value) = directive.split_once('=')?;
        let seconds: u32 = value.trim().trim_matches('"').parse().ok()?;
        name.trim()
            .eq_ignore_ascii_case("max-age")
            .then_some(i64::from(seconds))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{FakeProvider, Minter};

    async fn fetch(fake: &FakeProvider) -> Result<Fetched, FetchError> {
        Provider::new(fake.issuer(), &[], None, true)
            .unwrap()
            .fetch()
            .await
    }

    #[tokio::test]
    async fn keys_come_with_their_age() {
        let fake = FakeProvider::start(&[Minter::es256("k")]).await;
        fake.set_cache_control("public, max-age=1234");
        let fetched = fetch(&fake).await.unwrap();
        assert_eq!((fetched.keys.len(), fetched.max_age), (1, Some(1234)));
    }

    #[tokio::test]
    async fn a_document_of_another_issuer_is_refused() {
        let fake = FakeProvider::start(&[Minter::es256("k")]).await;
        fake.set_discovery(|issuer, jwks| {
            format!(r#"{{"issuer":"{issuer}/","jwks_uri":"{jwks}"}}"#)
        });
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::IssuerMismatch { .. })
        ));
    }

    #[tokio::test]
    async fn keys_on_another_host_need_to_be_listed() {
        let fake = FakeProvider::start(&[Minter::es256("k")]).await;
        let elsewhere = FakeProvider::start(&[Minter::es256("k")]).await;
        let keys = format!("{}/keys", elsewhere.issuer());
        let host = elsewhere.authority().to_owned();
        fake.set_discovery(move |issuer, _| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{keys}"}}"#)
        });
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::KeysElsewhere { .. })
        ));
        let listed = Provider::new(fake.issuer(), &[host], None, true).unwrap();
        assert_eq!(listed.fetch().await.unwrap().keys.len(), 1);
    }

    #[tokio::test]
    async fn redirects_stay_within_the_origin() {
        let fake = FakeProvider::start(&[Minter::es256("k")]).await;
        let elsewhere = FakeProvider::start(&[Minter::es256("k")]).await;
        fake.set_discovery(|issuer, _| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/redirect?to=/keys"}}"#)
        });
        assert!(fetch(&fake).await.is_ok());
        let away = format!("{}/keys", elsewhere.issuer());
        fake.set_discovery(move |issuer, _| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/redirect?to={away}"}}"#)
        });
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::Redirected { .. })
        ));
        fake.set_discovery(|issuer, _| {
            format!(r#"{{"issuer":"{issuer}","jwks_uri":"{issuer}/loop"}}"#)
        });
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::Redirected { .. })
        ));
        assert_eq!(elsewhere.key_fetches(), 0);
    }

    #[tokio::test]
    async fn answers_that_are_no_keys_are_told_apart() {
        let fake = FakeProvider::start(&[]).await;
        assert_eq!(fetch(&fake).await.unwrap_err(), FetchError::NoKeys);
        fake.set_keys("not json".to_owned());
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::NotUnderstood { .. })
        ));
        fake.set_keys(" ".repeat(MAX_BODY_BYTES + 1));
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::BodyTooLarge { .. })
        ));
        fake.set_discovery(|_, _| "[]".to_owned());
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::NotUnderstood { .. })
        ));
        fake.set_status(503);
        assert!(matches!(
            fetch(&fake).await,
            Err(FetchError::Status { status: 503, .. })
        ));
        let gone = Provider::new("http://127.0.0.1:1", &[], None, true).unwrap();
        assert!(matches!(gone.fetch().await, Err(FetchError::Transport(_))));
    }

    #[tokio::test]
    async fn a_slow_provider_costs_bounded_time() {
        let fake = FakeProvider::start(&[Minter::es256("k")]).await;
        fake.set_delay(Duration::from_secs(60));
        let mut provider = Provider::new(fake.issuer(), &[], None, true).unwrap();
        assert_eq!(provider.timeout, Duration::from_secs(5));
        provider.timeout = Duration::from_secs(1);
        assert_eq!(
            provider.fetch().await.unwrap_err(),
            FetchError::Timeout { seconds: 1 }
        );
    }

    #[test]
    fn issuer_urls_are_https_unless_said_otherwise() {
        for (url, insecure) in [
            ("https://idp.example", false),
            ("https://idp.example/a/", false),
            ("http://127.0.0.1:1/oidc", true),
        ] {
            assert!(check_issuer_url(url, insecure).is_ok(), "{url}");
        }
        for (url, insecure) in [
            ("http://127.0.0.1:1", false),
            ("ftp://idp.example", true),
            ("idp.example", true),
            ("https://idp.example?x", true),
            ("https://idp.example#x", true),
            ("https://user@idp.example", true),
            ("https://idp.example/é", true),
        ] {
            assert!(check_issuer_url(url, insecure).is_err(), "{url}");
        }
    }

    #[test]
    fn max_age_is_read_from_cache_control() {
        assert_eq!(max_age("no-transform, Max-Age=60, public"), Some(60));
        assert_eq!(max_age("max-age=\"7\""), Some(7));
        for value in [
            "",
            "no-store",
            "s-maxage=5",
            "max-age=-1",
            "max-age=x",
            "max-age=99999999999",
        ] {
            assert_eq!(max_age(value), None, "{value}");
        }
    }
}
