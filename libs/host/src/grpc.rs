//! gRPC beside HTTP on one router, and channels between services of one process.

use std::convert::Infallible;
use std::time::Duration;

use ::http::Uri;
use axum::Router;
use axum::response::IntoResponse;
use hyper_util::rt::TokioIo;
use tonic::server::NamedService;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

use crate::run::{HostConfig, MemoryServer};

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

/// A channel to another service at `url` (`http://` or `https://` with public roots unless `tls` says otherwise), which
/// connects when first used and again after a failure.
///
/// # Errors
/// `url` is not a usable base URL.
pub fn channel(url: &str, connect_timeout: Duration) -> Result<Channel, tonic::transport::Error> {
    let endpoint = Endpoint::from_shared(url.to_owned())?;
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .connect_lazy())
}
