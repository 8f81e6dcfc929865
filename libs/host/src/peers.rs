//! Services among each other: `[internal]`, mutual TLS, and who may call which method.
//!
//! Every process has one certificate of an authority that exists for this purpose alone. It is shown to those it calls and
//! to those that call it. A caller is who its certificate says (a DNS name or URI among its subject alternative names), and
//! may call exactly the methods that the allow list of the called process names. Nothing is reachable by default.
//!
//! A called process is recognised by its name too, wherever it is found: `https://log.internal:7712` is answered by the
//! holder of a certificate for `log.internal` or not at all, and `addresses` may say where that is.
//!
//! What this is not: it knows no service's methods, and does not issue certificates.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ::http::Uri;
use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::Deserialize;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::health::Check;
use crate::http as host_http;
use crate::metrics::Registry;
use crate::reason::Reason;
use crate::status::ServiceError;
use crate::tls::{ClientTls, IdentityFiles, PeerCertificate, Reloads, ServerTls, TlsError};

/// How long a connection to another service, with its handshake, may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a quiet connection is asked whether its other end still lives, so that a host that vanished is noticed.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(10);
/// Names of one certificate that are looked at.
const MAX_NAMES: usize = 16;

/// `[internal]`. Unknown keys are refused.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeersConfig {
    /// Where other services call this one. Left out, this process calls and is not called.
    #[serde(default)]
    pub listen: Option<SocketAddr>,
    /// PEM file: the certificate of this process, then its chain.
    pub certificate: PathBuf,
    /// PEM file: its private key. May be the same file.
    pub key: PathBuf,
    /// PEM file: the authorities that issue to the services of this deployment, and to nobody else.
    pub authority: PathBuf,
    /// Who may call what: name in the caller's certificate -> methods, as `package.Service/Method`.
    #[serde(default)]
    pub allow: BTreeMap<String, BTreeSet<String>>,
    /// Where services are found: the host of their URL -> `host:port`. Others are looked up by their name.
    #[serde(default)]
    pub addresses: BTreeMap<String, String>,
}

/// Why services cannot talk to each other as configured.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum PeersError {
    /// The files of the identity cannot be used.
    #[error("internal: {0}")]
    Tls(#[from] TlsError),
    /// A key of the section has a value that cannot be used.
    #[error("internal.{key}: {what}")]
    Config {
        /// The key.
        key: &'static str,
        /// The value, what is wrong with it, what would be accepted.
        what: String,
    },
    /// A service's URL cannot be used.
    #[error("{url:?} is not the URL of a service: {what}")]
    Url {
        /// As it was given.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// The identity of this process towards other services.
#[derive(Clone, Debug)]
pub struct Peers {
    server: ServerTls,
    client: ClientTls,
    listen: Option<SocketAddr>,
    allow: Arc<BTreeMap<String, BTreeSet<String>>>,
    addresses: Arc<BTreeMap<String, String>>,
    calls: Calls,
}

impl Peers {
    /// Reads the identity and follows its files; relative paths are looked up in `folder`. `methods` are those that this
    /// process serves to others: an allow list that names another one is a mistake, and refused.
    ///
    /// # Errors
    /// See [`PeersError`].
    pub fn open(
        config: &PeersConfig,
        folder: &Path,
        methods: &[&str],
        registry: &Registry,
        reloads: &Reloads,
    ) -> Result<Self, PeersError> {
        config.check(methods)?;
        let identity = IdentityFiles {
            certificate: folder.join(&config.certificate),
            key: folder.join(&config.key),
            authority: folder.join(&config.authority),
        };
        Ok(Self {
            server: ServerTls::of_identity(&identity, reloads)?,
            client: ClientTls::of_identity(&identity, reloads)?,
            listen: config.listen,
            allow: Arc::new(config.allow.clone()),
            addresses: Arc::new(config.addresses.clone()),
            calls: Calls::register(registry),
        })
    }

    /// Where this process is called, for [`crate::run::Server::bind_internal`].
    #[must_use]
    pub fn door(&self) -> Option<(SocketAddr, ServerTls)> {
        self.listen.map(|address| (address, self.server.clone()))
    }

    /// Lets through who is allowed to call what; everybody else is refused before a handler sees the request: without a
    /// certificate `UNAUTHENTICATED`, otherwise `PERMISSION_DENIED`.
    pub fn guard(&self, router: Router) -> Router {
        let (allow, calls) = (self.allow.clone(), self.calls.clone());
        router.layer(from_fn(move |request: Request, next: Next| {
            let verdict = judge(&allow, &request);
            calls.count(verdict.as_ref().map_or("refused", |_| "allowed"));
            async move {
                match verdict {
                    Ok(()) => next.run(request).await,
                    Err(refusal) => refused(refusal, &request),
                }
            }
        }))
    }

    /// A channel to the service at `url`, `https://NAME[:PORT]`: the other end must hold a certificate for NAME. Connects
    /// when first used and again after a failure, each time with the identity as it is then.
    ///
    /// # Errors
    /// [`PeersError::Url`].
    pub fn channel(&self, url: &str) -> Result<Channel, PeersError> {
        let refuse = |what: &str| PeersError::Url {
            url: url.to_owned(),
            what: what.to_owned(),
        };
        let uri: Uri = url.parse().map_err(|_| refuse("it cannot be read"))?;
        if uri.scheme_str() != Some("https") {
            return Err(refuse("between services only https is spoken"));
        }
        let host = uri.host().ok_or_else(|| refuse("it names no host"))?;
        let name = ServerName::try_from(host.trim_matches(['[', ']']).to_owned())
            .map_err(|_| refuse("its host is neither a DNS name nor an address"))?;
        let address = match self.addresses.get(host) {
            Some(address) => address.clone(),
            None => format!("{host}:{}", uri.port_u16().unwrap_or(443)),
        };
        let client = self.client.clone();
        let connector =
            service_fn(move |_: Uri| connect(client.clone(), name.clone(), address.clone()));
        let endpoint = Endpoint::from(uri)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEP_ALIVE_INTERVAL)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .keep_alive_while_idle(true);
        Ok(endpoint.connect_with_connector_lazy(connector))
    }

    /// What `/readyz` says of the identity's files.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        vec![self.server.check(), self.client.check()]
    }
}

async fn connect(
    client: ClientTls,
    name: ServerName<'static>,
    address: String,
) -> std::io::Result<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>> {
    let connecting = async {
        let stream = TcpStream::connect(&address).await?;
        stream.set_nodelay(true)?;
        TlsConnector::from(client.current())
            .connect(name, stream)
            .await
    };
    let connected = timeout(CONNECT_TIMEOUT, connecting).await;
    connected
        .unwrap_or_else(|_| Err(std::io::ErrorKind::TimedOut.into()))
        .map(TokioIo::new)
}

impl PeersConfig {
    fn check(&self, methods: &[&str]) -> Result<(), PeersError> {
        let refuse = |key, what| Err(PeersError::Config { key, what });
        for (peer, allowed) in &self.allow {
            if peer.is_empty() {
                return refuse("allow", "a peer has no name".to_owned());
            }
            if let Some(unknown) = allowed
                .iter()
                .find(|method| !methods.contains(&method.as_str()))
            {
                let known = if methods.is_empty() {
                    "none".to_owned()
                } else {
                    methods.join(", ")
                };
                return refuse(
                    "allow",
                    format!(
                        "{peer:?} may call {unknown:?}, which is not served here; served are: {known}"
                    ),
                );
            }
        }
        for (name, address) in &self.addresses {
            let port = address
                .rsplit_once(':')
                .filter(|(host, _)| !host.is_empty());
            if port.is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
                return refuse(
                    "addresses",
                    format!(
                        "{name:?} is at {address:?}, which is not host:port, e.g. \"10.0.0.7:7712\""
                    ),
                );
            }
        }
        Ok(())
    }
}

/// Whether who is calling may call what it calls.
fn judge(
    allow: &BTreeMap<String, BTreeSet<String>>,
    request: &Request,
) -> Result<(), ServiceError> {
    let method = request.uri().path().trim_start_matches('/');
    let Some(PeerCertificate(der)) = request.extensions().get::<PeerCertificate>() else {
        return Err(ServiceError::new(
            Reason::ClientCertificateMissing,
            "Services call each other with a client certificate, and this caller has shown none",
        ));
    };
    let names = names(der);
    let allowed = names
        .iter()
        .filter_map(|name| allow.get(name))
        .any(|methods| methods.contains(method));
    if allowed {
        return Ok(());
    }
    let caller = names.first().map_or("without a name", String::as_str);
    let known = names.iter().any(|name| allow.contains_key(name));
    let why = if known {
        "may not call this method"
    } else {
        "is not on the allow list of this service"
    };
    tracing::warn!(target: "audit", peer = caller, rpc.method = method, why, "refused between services");
    Err(ServiceError::new(
        Reason::PermissionDenied,
        format!("The caller {caller:?} {why}"),
    ))
}

fn refused(refusal: ServiceError, request: &Request) -> Response {
    if host_http::is_grpc(request.headers()) {
        tonic::Status::from(refusal).into_http()
    } else {
        refusal.into_response()
    }
}

/// DNS names and URIs of a certificate whose chain the handshake has verified.
fn names(der: &[u8]) -> Vec<String> {
    let der = CertificateDer::from(der);
    let Ok(certificate) = webpki::EndEntityCert::try_from(&der) else {
        return Vec::new();
    };
    let names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    // A wildcard is nobody's name.
    names
        .filter(|name| !name.contains('*'))
        .take(MAX_NAMES)
        .map(str::to_owned)
        .collect()
}

/// Counts calls between services.
#[derive(Clone, Debug)]
struct Calls(Family<CallLabels, Counter>);

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct CallLabels {
    outcome: &'static str,
}

impl Calls {
    fn register(registry: &Registry) -> Self {
        let help = "Calls by other services, by outcome of the allow list (allowed, refused)";
        Self(registry.register("host_internal_calls", help, Family::default()))
    }

    fn count(&self, outcome: &'static str) {
        self.0.get_or_create(&CallLabels { outcome }).inc();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> PeersConfig {
        let files = "certificate = \"a\"\nkey = \"a\"\nauthority = \"b\"\n";
        crate::config::parse(&format!("{files}{text}"), "test").unwrap()
    }

    #[test]
    fn mistakes_in_the_section_are_told() {
        let served = ["a.B/C"];
        config("[allow]\n\"x.internal\" = [\"a.B/C\"]\n[addresses]\n\"y.internal\" = \"[::1]:7\"")
            .check(&served)
            .unwrap();
        for (text, told) in [
            ("[allow]\n\"x.internal\" = [\"a.B/D\"]", "a.B/D"),
            ("[allow]\n\"\" = []", "no name"),
            ("[addresses]\n\"y.internal\" = \"10.0.0.1\"", "10.0.0.1"),
            ("[addresses]\n\"y.internal\" = \":1\"", "\":1\""),
        ] {
            let said = config(text).check(&served).expect_err(text).to_string();
            assert!(said.contains(told), "{said}");
        }
    }

    #[test]
    fn callers_are_named_by_dns_and_uri_names_and_never_by_wildcards() {
        let mut params =
            rcgen::CertificateParams::new(vec!["ca.internal".to_owned(), "*.internal".to_owned()])
                .unwrap();
        let uri = "spiffe://example.com/ca".try_into().unwrap();
        params.subject_alt_names.push(rcgen::SanType::URI(uri));
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, "log.internal");
        let key = rcgen::KeyPair::generate().unwrap();
        let made = params.self_signed(&key).unwrap();
        assert_eq!(
            names(made.der()),
            ["ca.internal", "spiffe://example.com/ca"]
        );
        assert!(names(b"not a certificate").is_empty());
    }
}
