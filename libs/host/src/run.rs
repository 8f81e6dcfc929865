//! The life of a server: bind, serve HTTP/JSON and gRPC on one port, drain, end.
//!
//! ```text
//! Server::bind -> address known -> services are opened with it -> Server::start(router) -> Running::drain
//! ```
//!
//! Everything an outsider can push is bounded here, once, for all services:
//!
//! | what | bound | answer |
//! |---|---|---|
//! | open connections | `max_connections`; beyond it they queue in the kernel; when three quarters are taken, idle ones go early | |
//! | open connections of one address | `max_connections_per_address`; when three quarters are taken, its idle ones go early | closed at once |
//! | requests of one address | `requests_per_second`, none unless configured | 429 |
//! | time to send a request head, to shake hands | `header_timeout` | connection closed |
//! | size of a request head | `max_header_bytes` | 431 |
//! | size of a body | `max_body` | 413 |
//! | time to send a body | `body_timeout` | 408, connection closed (HTTP/1.1) or stream reset |
//! | bodies held in memory at once | `max_buffered` above 16 KiB each | 503 |
//! | requests being handled | `max_in_flight` | 503 |
//! | time to handle one | `request_timeout`, or `grpc-timeout` if shorter | 503 |
//! | time a reader may stall | `write_timeout` | connection cut |
//! | idle connections | `idle_timeout`; over HTTP/1.1 `header_timeout`, since the parser counts the wait for the next head | closed |
//!
//! A request's body is read before the request counts as in flight and before a handler runs, so a slow sender occupies
//! memory that is counted but no place among the handlers. Streaming requests are therefore not possible; none of our
//! protocols has one.
//!
//! Remaining weakness: a reader on HTTP/2 that takes one of several answers and lets others wait holds those answers
//! until it goes idle; `MAX_STREAMS` bounds how many.

mod bare;
mod connection;
mod crowd;
mod descriptors;
mod exchange;
mod limits;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use serde::Deserialize;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::health::Health;
use crate::metrics::Registry;
use crate::telemetry::TelemetryConfig;
use crate::tls::{Reloads, ServerTls, TlsConfig, TlsError};

pub(crate) use connection::ACCEPT_PAUSE;
pub use crowd::Networks;
pub use limits::Limits;

/// Marks a response (as an extension) whose body is a stream without end, so that its silence is not taken for a stalled
/// reader.
#[derive(Clone, Copy, Debug)]
pub struct LongLived;

/// `[host]`: what every role shares.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HostConfig {
    /// Plain addresses to listen on; HTTP/1.1 and HTTP/2 without TLS, gRPC included.
    pub listen: Vec<SocketAddr>,
    /// A TLS listener beside them.
    pub tls: Option<TlsConfig>,
    /// The base URL under which clients reach this server, without a trailing slash. Derived from the first address when
    /// absent.
    pub public_url: Option<String>,
    /// Proxies in front, in CIDR notation. They have no share of the connections, and their `X-Forwarded-For` says which
    /// client a request counts for; from anybody else that header is passed over.
    pub trusted_proxies: Networks,
    /// How long a drain waits for requests under way before it cuts them off.
    #[serde(with = "crate::config::duration")]
    pub drain_timeout: Duration,
    /// How long to go on serving after readiness has turned off, so that load balancers notice. None by default.
    #[serde(with = "crate::config::duration")]
    pub drain_delay: Duration,
    /// What outsiders may use up.
    pub limits: Limits,
    /// Logs, traces, metrics.
    pub telemetry: TelemetryConfig,
}

impl Default for HostConfig {
    fn default() -> Self {
        Self {
            listen: vec![SocketAddr::from(([127, 0, 0, 1], 7700))],
            tls: None,
            public_url: None,
            trusted_proxies: Networks::default(),
            drain_timeout: Duration::from_secs(4),
            drain_delay: Duration::ZERO,
            limits: Limits::default(),
            telemetry: TelemetryConfig::default(),
        }
    }
}

/// Why a server could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HostError {
    /// An address cannot be bound: taken by another process, or not ours.
    #[error("cannot listen on {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// No address was configured.
    #[error("host.listen is empty; name at least one address, e.g. \"127.0.0.1:7700\"")]
    NoAddress,
    /// The TLS listener's files cannot be used.
    #[error("host.tls: {0}")]
    Tls(#[from] TlsError),
    /// A limit of zero would answer nobody.
    #[error("host.limits.{0} must not be zero")]
    ZeroLimit(&'static str),
}

/// A server that has its addresses and does not answer yet; connections wait in the kernel's queue.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<(TcpListener, Option<ServerTls>)>,
    addresses: Vec<SocketAddr>,
    tls_address: Option<SocketAddr>,
    health: Health,
    registry: Registry,
    reloads: Reloads,
    shared: Arc<exchange::Shared>,
    config: HostConfig,
}

/// How many connections may wait in the kernel's queue.
const BACKLOG: u32 = 1024;

impl Server {
    /// Binds every address of `config`. Port 0 is replaced by a free one; see [`Server::addresses`].
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn bind(config: &HostConfig) -> Result<Self, HostError> {
        let registry = Registry::new();
        config.limits.check().map_err(HostError::ZeroLimit)?;
        let mut listeners = Vec::new();
        for address in &config.listen {
            listeners.push((listen(*address)?, None));
        }
        let addresses: Vec<_> = listeners
            .iter()
            .filter_map(|(listener, _)| listener.local_addr().ok())
            .collect();
        if addresses.is_empty() {
            return Err(HostError::NoAddress);
        }
        let mut tls_address = None;
        let health = Health::new();
        let reloads = Reloads::register(&registry);
        if let Some(tls) = &config.tls {
            let listener = listen(tls.listen)?;
            tls_address = listener.local_addr().ok();
            let tls = ServerTls::open(tls, &reloads)?;
            health.register([tls.check()]);
            listeners.push((listener, Some(tls)));
        }
        let shared = Arc::new(exchange::Shared::new(config, health.clone(), &registry));
        Ok(Self {
            listeners,
            addresses,
            tls_address,
            health,
            registry,
            reloads,
            shared,
            config: config.clone(),
        })
    }

    /// Binds `address` for TLS alone, with `config`'s limits: a door for other services, beside a public server and apart
    /// from it, so that a crowd at the one does not keep anybody from the other. Its metrics and health are its own.
    ///
    /// # Errors
    /// See [`HostError`].
    pub fn bind_internal(
        config: &HostConfig,
        address: SocketAddr,
        tls: ServerTls,
    ) -> Result<Self, HostError> {
        config.limits.check().map_err(HostError::ZeroLimit)?;
        let listener = listen(address)?;
        let tls_address = listener.local_addr().ok();
        let (health, registry) = (Health::new(), Registry::new());
        Ok(Self {
            listeners: vec![(listener, Some(tls))],
            addresses: vec![tls_address.unwrap_or(address)],
            tls_address,
            shared: Arc::new(exchange::Shared::new(config, health.clone(), &registry)),
            reloads: Reloads::register(&registry),
            health,
            registry,
            config: config.clone(),
        })
    }

    /// The bound plain addresses, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The first plain address.
    #[must_use]
    #[expect(
        clippy::indexing_slicing,
        reason = "bind refuses to make a server without an address"
    )]
    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// The TLS listener's address.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// `http://HOST:PORT` of the first address, or the configured public URL.
    #[must_use]
    pub fn public_url(&self) -> String {
        let configured = self
            .config
            .public_url
            .as_deref()
            .map(|url| url.trim_end_matches('/').to_owned());
        configured.unwrap_or_else(|| format!("http://{}", self.address()))
    }

    /// Where services register their checks.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Where services register their metrics.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Counts changes of TLS files, also of those that others in this process follow.
    #[must_use]
    pub const fn reloads(&self) -> &Reloads {
        &self.reloads
    }

    /// Begins to answer. `/healthz`, `/readyz` and `grpc.health.v1` are added; the router must have no fallback of its own.
    #[must_use]
    pub fn start(self, router: Router) -> Running {
        let router = crate::grpc::mount(router, self.health.grpc_service());
        let router = exchange::labelled(router);
        let (closing, cut) = (CancellationToken::new(), CancellationToken::new());
        let (connections, acceptors) = (TaskTracker::new(), TaskTracker::new());
        for (listener, tls) in self.listeners {
            let door = connection::Door {
                shared: self.shared.clone(),
                router: router.clone(),
                tls,
                closing: closing.clone(),
                cut: cut.clone(),
                connections: connections.clone(),
            };
            acceptors.spawn(door.accept_all(listener));
        }
        acceptors.close();
        Running {
            addresses: self.addresses,
            tls_address: self.tls_address,
            health: self.health,
            registry: self.registry,
            closing,
            cut,
            connections,
            acceptors,
            drain_timeout: self.config.drain_timeout,
            drain_delay: self.config.drain_delay,
        }
    }
}

fn listen(address: SocketAddr) -> Result<TcpListener, HostError> {
    let bound = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart must not wait for the kernel to forget old connections.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|source| HostError::Bind { address, source })
}

/// A server that answers. Dropping it cuts everything off; [`Running::drain`] is the polite way.
#[derive(Debug)]
pub struct Running {
    addresses: Vec<SocketAddr>,
    tls_address: Option<SocketAddr>,
    health: Health,
    registry: Registry,
    closing: CancellationToken,
    cut: CancellationToken,
    connections: TaskTracker,
    acceptors: TaskTracker,
    drain_timeout: Duration,
    drain_delay: Duration,
}

/// How a drain ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Drained {
    /// Every request under way was answered.
    Clean,
    /// The deadline passed; this many connections were cut off.
    CutOff(usize),
}

impl Running {
    /// The bound plain addresses.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The TLS listener's address.
    #[must_use]
    pub const fn tls_address(&self) -> Option<SocketAddr> {
        self.tls_address
    }

    /// The process's health.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// The process's metrics.
    #[must_use]
    pub const fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Waits until the server ends, which it does only when it is dropped or drained.
    pub async fn wait(&self) {
        self.acceptors.wait().await;
    }

    /// Turns readiness off, goes on for `drain_delay`, stops accepting, lets requests under way end, and cuts off what is
    /// left after `drain_timeout`. The whole takes at most the sum of both.
    pub async fn drain(self) -> Drained {
        self.health.drain();
        tokio::time::sleep(self.drain_delay).await;
        self.closing.cancel();
        self.acceptors.wait().await;
        self.connections.close();
        let finished = tokio::time::timeout(self.drain_timeout, self.connections.wait()).await;
        let left = self.connections.len();
        self.cut.cancel();
        if finished.is_ok() || left == 0 {
            Drained::Clean
        } else {
            Drained::CutOff(left)
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.health.drain();
        self.closing.cancel();
        self.cut.cancel();
    }
}

/// Runs `work` to its end, also when whoever awaits it goes away: a client that hangs up takes the future of its handler with
/// it, and work that must not stop in the middle, or release a lock before it is done, is not a handler's to drop.
///
/// # Errors
/// What `work` says; `cut` makes the error for work that panicked.
pub async fn to_the_end<T, E>(
    work: impl Future<Output = Result<T, E>> + Send + 'static,
    cut: impl FnOnce(JoinError) -> E,
) -> Result<T, E>
where
    T: Send + 'static,
    E: Send + 'static,
{
    tokio::spawn(work)
        .await
        .unwrap_or_else(|error| Err(cut(error)))
}

/// Completes when the process is told to go; gives the signal's name. SIGHUP, a terminal that was closed, ends it as cleanly as
/// SIGTERM and SIGINT do, unless whoever started the process had it ignored, as `nohup` does.
///
/// Handlers are installed when this is called, so call it before saying that the server is ready.
///
/// # Errors
/// The signal handlers cannot be installed.
pub fn shutdown_signal() -> io::Result<impl Future<Output = &'static str> + Send> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let hangup_ignored =
        std::fs::read_to_string("/proc/self/status").is_ok_and(|status| ignores_hangup(&status));
    let mut hangup = (!hangup_ignored)
        .then(|| signal(SignalKind::hangup()))
        .transpose()?;
    Ok(async move {
        let hangup = async {
            match &mut hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    })
}

/// Whether a process whose `/proc/PID/status` is `status` ignores SIGHUP, the first signal of the mask.
fn ignores_hangup(status: &str) -> bool {
    let mask = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))
        .and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask & 1 == 1)
}

/// Serves one router over in-memory connections; see [`crate::grpc::memory_channel`].
#[derive(Clone, Debug)]
pub(crate) struct MemoryServer {
    shared: Arc<exchange::Shared>,
    router: Router,
}

impl MemoryServer {
    pub(crate) fn new(config: &HostConfig, router: Router) -> Self {
        let shared = exchange::Shared::new(config, Health::new(), &Registry::new());
        Self {
            shared: Arc::new(shared),
            router: exchange::labelled(router),
        }
    }

    /// Serves the other end of `stream`, whoever it is: what makes it trustworthy is how it was obtained.
    pub(crate) fn accept<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (shared, router) = (self.shared.clone(), self.router.clone());
        tokio::spawn(connection::serve_memory(stream, shared, router));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ignored_hangup_is_seen_in_the_mask_of_the_process() {
        for (mask, ignored) in [
            ("0000000000001000", false),
            ("0000000000001001", true),
            ("0000000000000002", false),
            ("x", false),
        ] {
            let status =
                format!("Name:\tsealwrightd\nSigBlk:\t0000000000000001\nSigIgn:\t{mask}\n");
            assert_eq!(ignores_hangup(&status), ignored, "{mask}");
        }
        assert!(!ignores_hangup(""));
    }
}
