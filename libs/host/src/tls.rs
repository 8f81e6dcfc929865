//! TLS for the listener: rustls on aws-lc-rs, TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;
use thiserror::Error;

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

/// Reads the files of `config` into a server configuration.
///
/// # Errors
/// See [`TlsError`].
pub fn server_config(config: &TlsConfig) -> Result<Arc<ServerConfig>, TlsError> {
    let builder =
        ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    let builder = match &config.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = rustls::RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate)?;
            }
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider()).build();
            builder.with_client_cert_verifier(
                verifier.map_err(|error| TlsError::ClientAuthorities(error.to_string()))?,
            )
        }
    };
    let mut server = builder.with_single_cert(
        certificates(&config.certificate)?,
        private_key(&config.key)?,
    )?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
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

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| TlsError::Pem {
        path: path.to_owned(),
        what: error.to_string(),
    })
}

/// The certificate a client proved possession of, DER; a request extension on mTLS connections.
#[derive(Clone, Debug)]
pub struct PeerCertificate(pub Arc<[u8]>);
