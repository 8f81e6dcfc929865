//! gRPC beside HTTP on one router, and channels between services of one process or one machine.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ::http::Uri;
use axum::Router;
use axum::response::IntoResponse;
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::run::{ACCEPT_PAUSE, HostConfig, MemoryServer};

/// How much one direction of an in-memory connection holds before the writer waits.
const DUPLEX_BYTES: usize = 64 * 1024;

/// Adds a tonic service to a router at `/<package>.<Service>/...`.
///
/// `tonic::service::Routes` brings a fallback of its own, and two routers with fallbacks cannot be merged; services use
/// this instead: `grpc::mount(Router::new(), CaServer::new(..))`. An unknown method is answered by the tonic service, an
/// unknown service by [`crate::run::Server`], both with `UNIMPLEMENTED`.
pub fn mount<S>(router: Router, service: S) -> Router
where
    S: tower_service::Service<axum::extract::Request, Error = Infallible>
        + NamedService
        + Clone
        + Send
        + Sync
        + 'static,
    S::Response: IntoResponse,
    S::Future: Send + 'static,
{
    router.route_service(&format!("/{}/{{*method}}", S::NAME), service)
}

/// A channel to a router in the same process: gRPC without a socket, so only the holder of the channel can call.
///
/// Requests pass the same layers as on a socket (request id, trace context, panics), with `config`'s limits. Connects
/// lazily, inside a tokio runtime.
#[must_use]
pub fn memory_channel(config: &HostConfig, router: Router) -> Channel {
    let server = MemoryServer::new(config, router);
    let connector = service_fn(move |_: Uri| {
        let (near, far) = tokio::io::duplex(DUPLEX_BYTES);
        server.accept(far);
        async move { Ok::<_, Infallible>(TokioIo::new(near)) }
    });
    Endpoint::from_static("http://memory.invalid").connect_with_connector_lazy(connector)
}

/// A channel to another service at `url`, `http://HOST:PORT`, in the clear: for loopback and tests. It connects when first
/// used and again after a failure. Between hosts services use [`crate::peers::Peers::channel`].
///
/// # Errors
/// `url` is not a usable base URL, or wants TLS.
pub fn channel(url: &str, connect_timeout: Duration) -> Result<Channel, ChannelError> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    // The transport is built without TLS of its own: it would take https and speak in the clear.
    if endpoint.uri().scheme_str() != Some("http") {
        return Err(ChannelError::NotPlain);
    }
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .connect_lazy())
}

/// Why there is no channel.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChannelError {
    /// The text is not a URL.
    #[error("{0}")]
    Url(#[from] tonic::transport::Error),
    /// The URL is not plain http.
    #[error("TLS to another service takes the certificates of an [internal] section")]
    NotPlain,
}

/// Serves a router on a Unix socket for the owner of this process alone, until what is returned is dropped. The folder of
/// `path` must be closed to others; a socket that a crash left there is replaced, so the caller holds the folder's lock.
///
/// # Errors
/// What the operating system says; paths of sockets are at most 107 bytes long.
pub fn serve_socket(config: &HostConfig, path: &Path, router: Router) -> io::Result<Socket> {
    crate::file::remove_optional(path)?;
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    let (server, stop) = (MemoryServer::new(config, router), CancellationToken::new());
    let closing = stop.clone();
    tokio::spawn(async move {
        loop {
            let accepted = tokio::select! {
                () = closing.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => server.accept(stream),
                Err(error) => {
                    tracing::warn!(%error, "a connection to a local socket could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    });
    Ok(Socket {
        path: path.to_owned(),
        stop,
    })
}

/// A Unix socket that is served; it goes away with the value.
#[derive(Debug)]
pub struct Socket {
    path: PathBuf,
    stop: CancellationToken,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.stop.cancel();
        // The next start replaces what stays behind.
        let _ = fs::remove_file(&self.path);
    }
}

/// A channel to what [`serve_socket`] serves at `path`.
#[must_use]
pub fn socket_channel(path: &Path) -> Channel {
    let path = path.to_owned();
    let connector = service_fn(move |_: Uri| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://socket.invalid").connect_with_connector_lazy(connector)
}
