//! TLS for listeners and between services: rustls on aws-lc-rs, ALPN `h2` and `http/1.1`.
//!
//! Keys and certificates follow their files: their content is compared every few seconds, and new connections use what
//! was read last. Files that cannot be used leave the old ones in force, which the log, a metric and `/readyz` say until
//! they are mended. A connection keeps the certificates it was made with until it ends.

use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use thiserror::Error;
use tokio_rustls::TlsAcceptor;

use crate::health::Check;
use crate::metrics::Registry;

/// How often the files of TLS material are compared with what is in use.
const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The TLS listener.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The address of the TLS listener, beside the plain one.
    pub listen: std::net::SocketAddr,
    /// PEM file: the server's certificate, then its chain.
    pub certificate: PathBuf,
    /// PEM file: the certificate's private key (PKCS#8, SEC1 or PKCS#1).
    pub key: PathBuf,
    /// PEM file: certificate authorities of client certificates. When set, a client must present one (mTLS).
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

/// Why TLS could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TlsError {
    /// A PEM file is missing, unreadable or holds nothing usable.
    #[error("{}: {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Certificate and key do not form a usable identity.
    #[error("the TLS certificate and key cannot be used together: {0}")]
    Identity(#[from] rustls::Error),
    /// The client certificate authorities cannot be used.
    #[error("the TLS client certificate authorities cannot be used: {0}")]
    ClientAuthorities(String),
}

/// The process's crypto provider; installed as the default as well, for clients that rely on one.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    // Somebody else may have installed the same provider before us; that is as good.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    CryptoProvider::get_default()
        .cloned()
        .unwrap_or_else(|| Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
}

/// The server side of TLS, following its files. Clones share it.
#[derive(Clone, Debug)]
pub struct ServerTls(Followed<ServerConfig>);

impl ServerTls {
    /// Reads the files of `[host.tls]` and follows them from then on, when called within a runtime.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn open(config: &TlsConfig, reloads: &Reloads) -> Result<Self, TlsError> {
        let files = [&config.certificate, &config.key]
            .into_iter()
            .chain(&config.client_ca);
        let files = files.cloned().collect();
        let config = config.clone();
        Followed::open("listener", files, reloads, move || server_config(&config)).map(Self)
    }

    /// The server side of a service's identity: TLS 1.3, HTTP/2. Who shows no certificate is let in as nobody, for the
    /// allow list to refuse in words; one that shows a certificate of another authority is not let in.
    pub(crate) fn of_identity(
        identity: &IdentityFiles,
        reloads: &Reloads,
    ) -> Result<Self, TlsError> {
        let files = identity.files();
        let identity = identity.clone();
        let read = move || {
            let verifier = WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots(&identity.authority)?),
                provider(),
            );
            let verifier = verifier
                .allow_unauthenticated()
                .build()
                .map_err(|error| TlsError::ClientAuthorities(error.to_string()))?;
            let builder = ServerConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13])?;
            let (chain, key) = shown(&identity.certificate, &identity.key)?;
            let mut server = builder
                .with_client_cert_verifier(verifier)
                .with_single_cert(chain, key)?;
            server.alpn_protocols = vec![b"h2".to_vec()];
            Ok(server)
        };
        Followed::open("internal-server", files, reloads, read).map(Self)
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.current())
    }

    /// Says at `/readyz` when the files have changed into something that cannot be used.
    #[must_use]
    pub fn check(&self) -> Check {
        self.0.check()
    }
}

/// The client side of a service's identity, following its files.
#[derive(Clone, Debug)]
pub(crate) struct ClientTls(Followed<ClientConfig>);

impl ClientTls {
    pub(crate) fn of_identity(
        identity: &IdentityFiles,
        reloads: &Reloads,
    ) -> Result<Self, TlsError> {
        let files = identity.files();
        let identity = identity.clone();
        let read = move || {
            let builder = ClientConfig::builder_with_provider(provider())
                .with_protocol_versions(&[&rustls::version::TLS13])?;
            let (chain, key) = shown(&identity.certificate, &identity.key)?;
            let mut client = builder
                .with_root_certificates(roots(&identity.authority)?)
                .with_client_auth_cert(chain, key)?;
            client.alpn_protocols = vec![b"h2".to_vec()];
            Ok(client)
        };
        Followed::open("internal-client", files, reloads, read).map(Self)
    }

    pub(crate) fn current(&self) -> Arc<ClientConfig> {
        self.0.current()
    }

    pub(crate) fn check(&self) -> Check {
        self.0.check()
    }
}

/// Where a service finds the certificate and key that it shows to others, and the authorities of theirs. PEM files.
#[derive(Clone, Debug)]
pub(crate) struct IdentityFiles {
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

impl IdentityFiles {
    fn files(&self) -> Vec<PathBuf> {
        vec![
            self.certificate.clone(),
            self.key.clone(),
            self.authority.clone(),
        ]
    }
}

/// Counts readings of changed TLS files; one a process.
#[derive(Clone, Debug)]
pub struct Reloads(Family<ReloadLabels, Counter>);

#[derive(Clone, Debug, Eq, Hash, PartialEq, EncodeLabelSet)]
struct ReloadLabels {
    material: &'static str,
    outcome: &'static str,
}

impl Reloads {
    /// Registers the metric.
    #[must_use]
    pub fn register(registry: &Registry) -> Self {
        let help = "Changed TLS files that were read, by material and by outcome (used, refused)";
        Self(registry.register("host_tls_reloads", help, Family::default()))
    }

    fn count(&self, material: &'static str, outcome: &'static str) {
        self.0
            .get_or_create(&ReloadLabels { material, outcome })
            .inc();
    }
}

/// A value read from files, read again when their content changes. Clones share it.
struct Followed<T>(Arc<Following<T>>);

struct Following<T> {
    material: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    current: RwLock<Arc<T>>,
    seen: Mutex<Seen>,
    reloads: Reloads,
}

/// What was found when the files were last looked at.
struct Seen {
    fingerprint: u64,
    fault: Option<String>,
}

impl<T: Send + Sync + 'static> Followed<T> {
    fn open(
        material: &'static str,
        files: Vec<PathBuf>,
        reloads: &Reloads,
        read: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Taken before the files are read: what changes in between is seen as a change.
        let fingerprint = fingerprint(&files);
        let current = RwLock::new(Arc::new(read()?));
        let following = Arc::new(Following {
            material,
            files,
            read: Box::new(read),
            current,
            seen: Mutex::new(Seen {
                fingerprint,
                fault: None,
            }),
            reloads: reloads.clone(),
        });
        // Without a runtime nothing is served, so there is nobody to follow the files for.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let weak = Arc::downgrade(&following);
            runtime.spawn(async move {
                loop {
                    tokio::time::sleep(POLL_INTERVAL).await;
                    let Some(following) = weak.upgrade() else {
                        return;
                    };
                    // Files may be on a slow disk; a panic in there must not end the following either.
                    let _ = tokio::task::spawn_blocking(move || following.look()).await;
                }
            });
        }
        Ok(Self(following))
    }

    fn current(&self) -> Arc<T> {
        self.0
            .current
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Not a reason to send nobody here: what is in force works, or its own end is told elsewhere.
    fn check(&self) -> Check {
        let following = self.0.clone();
        Check::advisory(format!("host.tls.{}", following.material), move || {
            let fault = following.seen().fault.clone();
            async move { fault.map_or(Ok(()), Err) }
        })
    }
}

impl<T> Following<T> {
    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the files when their content is not what was seen last.
    fn look(&self) {
        let fingerprint = fingerprint(&self.files);
        if self.seen().fingerprint == fingerprint {
            return;
        }
        let fault = match (self.read)() {
            Ok(fresh) => {
                *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                self.reloads.count(self.material, "used");
                tracing::info!(
                    material = self.material,
                    "TLS files have changed and are in use"
                );
                None
            }
            Err(error) => {
                self.reloads.count(self.material, "refused");
                tracing::error!(material = self.material, %error, "TLS files have changed and cannot be used; the old ones stay in force");
                Some("the TLS files have changed and cannot be used; those read before stay in force".to_owned())
            }
        };
        *self.seen() = Seen { fingerprint, fault };
    }
}

impl<T> Clone for Followed<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> fmt::Debug for Followed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Followed").field(&self.0.files).finish()
    }
}

/// Tells contents apart; it keeps no secret and proves nothing. A file that cannot be read has a content of its own.
fn fingerprint(files: &[PathBuf]) -> u64 {
    let mut hasher = DefaultHasher::new();
    for file in files {
        std::fs::read(file).ok().hash(&mut hasher);
    }
    hasher.finish()
}

fn server_config(config: &TlsConfig) -> Result<ServerConfig, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots(path)?), provider())
                    .build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::ClientAuthorities(error.to_string()))?,
            )
        }
    };
    let (chain, key) = shown(&config.certificate, &config.key)?;
    let mut server = builder.with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(server)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |what: String| TlsError::Pem {
        path: path.to_owned(),
        what,
    };
    let read = CertificateDer::pem_file_iter(path).map_err(|error| pem(error.to_string()))?;
    let chain = read
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| pem(error.to_string()))?;
    if chain.is_empty() {
        Err(pem("holds no CERTIFICATE block".to_owned()))
    } else {
        Ok(chain)
    }
}

/// What is shown to the other end, and the key to it.
fn shown(
    certificate: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = certificates(certificate)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(|error| TlsError::Pem {
        path: key.to_owned(),
        what: error.to_string(),
    })?;
    Ok((chain, key))
}

/// The certificate a client proved possession of, DER; a request extension on mTLS connections.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Arc<[u8]>);

#[cfg(test)]
mod tests {
    use super::*;

    fn write_identity(folder: &Path, name: &str) -> String {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        std::fs::write(folder.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        std::fs::write(folder.join("cert.pem"), made.cert.pem()).unwrap();
        made.cert.pem()
    }

    fn config(folder: &Path) -> TlsConfig {
        TlsConfig {
            listen: ([127, 0, 0, 1], 0).into(),
            certificate: folder.join("cert.pem"),
            key: folder.join("key.pem"),
            client_ca: None,
        }
    }

    #[tokio::test]
    async fn changed_files_are_used_and_broken_ones_leave_the_old_in_force() {
        let folder = tempfile::tempdir().unwrap();
        write_identity(folder.path(), "one.example.com");
        let registry = Registry::new();
        let reloads = Reloads::register(&registry);
        let tls = ServerTls::open(&config(folder.path()), &reloads).unwrap();
        let first = tls.0.current();
        tls.0.0.look();
        assert!(
            Arc::ptr_eq(&first, &tls.0.current()),
            "nothing changed, nothing was read"
        );

        std::fs::write(folder.path().join("key.pem"), "no key").unwrap();
        tls.0.0.look();
        assert!(Arc::ptr_eq(&first, &tls.0.current()));
        let health = crate::health::Health::new();
        health.register([tls.check()]);
        let report = health.report().await;
        assert!(report.ready(), "the old certificate still serves");
        assert!(!report.checks.first().unwrap().ok);

        write_identity(folder.path(), "two.example.com");
        tls.0.0.look();
        assert!(!Arc::ptr_eq(&first, &tls.0.current()));
        assert_eq!(tls.0.0.seen().fault, None);
        let text = registry.encode();
        for line in [
            r#"sealwright_host_tls_reloads_total{material="listener",outcome="refused"} 1"#,
            r#"sealwright_host_tls_reloads_total{material="listener",outcome="used"} 1"#,
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[tokio::test]
    async fn a_key_of_another_certificate_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        write_identity(folder.path(), "one.example.com");
        let reloads = Reloads::register(&Registry::new());
        let tls = ServerTls::open(&config(folder.path()), &reloads).unwrap();
        let old = tls.0.current();
        let other = rcgen::generate_simple_self_signed(["two.example.com".to_owned()]).unwrap();
        std::fs::write(
            folder.path().join("key.pem"),
            other.signing_key.serialize_pem(),
        )
        .unwrap();
        tls.0.0.look();
        assert!(Arc::ptr_eq(&old, &tls.0.current()));
        assert!(tls.0.0.seen().fault.is_some());
    }
}
