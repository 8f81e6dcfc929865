//! Accepting connections, watching them, letting them go.

use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use bytes::{Buf as _, Bytes};
use futures::FutureExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bare;
use super::crowd::Share;
use super::exchange::{Exchange, Shared, TooMany};
use super::limits::Limits;
use crate::tls::{PeerCertificate, ServerTls};

/// Requests of one connection that are taken up at once. Whoever sends further ahead waits for everybody else before each.
const UNBROKEN_REQUESTS: usize = 4;
/// HTTP/2 streams one connection may have open.
const MAX_STREAMS: u32 = 256;
/// HTTP/2: bytes of an answer that wait for a slow reader, per stream.
const MAX_SEND_BUFFER: usize = 64 * 1024;
/// HTTP/2: bytes a client may send on a connection before it must wait for us; one body of the default size.
const CONNECTION_WINDOW: u32 = 4 << 20;
/// HTTP/2: the same for one stream.
const STREAM_WINDOW: u32 = 1 << 20;
/// HTTP/2: how often a quiet peer is asked whether it still lives, and how long it may take to say so.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);
/// How long to wait when the process is out of file descriptors.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// How often it is looked whether a connection that has said nothing has had its time.
const SILENCE_TICK: Duration = Duration::from_secs(1);
/// How long a connection that was asked to close may take.
const CLOSING_GRACE: Duration = Duration::from_secs(1);

/// How long a drain waits for the first request of a client that had just connected.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(200);

/// One listener's way in.
pub(super) struct Door {
    pub(super) shared: Arc<Shared>,
    pub(super) router: Router,
    pub(super) tls: Option<ServerTls>,
    pub(super) closing: CancellationToken,
    /// Ends connections that a drain could not wait for.
    pub(super) cut: CancellationToken,
    pub(super) connections: TaskTracker,
}

impl Door {
    /// Accepts until told to close. A place is taken before a connection is, so that the kernel's queue holds the rest.
    pub(super) async fn accept_all(self, listener: TcpListener) {
        let door = Arc::new(self);
        loop {
            let place = tokio::select! {
                biased;
                () = door.closing.cancelled() => break,
                place = door.shared.places.clone().acquire_owned() => place,
            };
            // The semaphore is never closed.
            let Ok(place) = place else { return };
            let accepted = tokio::select! {
                biased;
                () = door.closing.cancelled() => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => door.let_in(stream, peer, place),
                Err(error) => {
                    // The peer's fault (it is gone again) or a shortage that passes.
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        // Who connected before the drain is served: closing the listener now would reset them.
        while let Ok(place) = door.shared.places.clone().try_acquire_owned() {
            let Some(Ok((stream, peer))) = listener.accept().now_or_never() else {
                return;
            };
            door.let_in(stream, peer, place);
        }
    }

    fn let_in(self: &Arc<Self>, stream: TcpStream, peer: SocketAddr, place: OwnedSemaphorePermit) {
        let share = match self.shared.share(peer.ip()) {
            Ok(share) => share,
            Err(TooMany) => {
                tracing::debug!(client = %peer, "closed: its address has its share of connections");
                return;
            }
        };
        let visit = self.clone().welcome(stream, peer, place, share);
        self.connections
            .spawn(self.cut.clone().run_until_cancelled_owned(visit));
    }

    async fn welcome(
        self: Arc<Self>,
        stream: TcpStream,
        peer: SocketAddr,
        place: OwnedSemaphorePermit,
        share: Option<Share>,
    ) {
        let _place = place;
        let _counted = self.shared.count_connection();
        // Answers are small; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        if !self.spoken_to(&stream, share.as_ref()).await {
            return;
        }
        let Some(tls) = &self.tls else {
            return Box::pin(serve(
                stream,
                Some(peer),
                None,
                share.as_ref(),
                &self.shared,
                &self.router,
                &self.closing,
            ))
            .await;
        };
        let handshake = timeout(
            self.shared.limits.header_timeout,
            Box::pin(tls.acceptor().accept(stream)),
        );
        match handshake.await {
            Ok(Ok(stream)) => {
                let certificate = stream
                    .get_ref()
                    .1
                    .peer_certificates()
                    .and_then(|chain| chain.first());
                let certificate = certificate.map(|der| PeerCertificate(Arc::from(der.as_ref())));
                Box::pin(serve(
                    stream,
                    Some(peer),
                    certificate,
                    share.as_ref(),
                    &self.shared,
                    &self.router,
                    &self.closing,
                ))
                .await;
            }
            Ok(Err(error)) => tracing::debug!(client = %peer, %error, "no TLS with this client"),
            Err(_) => tracing::debug!(client = %peer, "the TLS handshake took too long"),
        }
    }

    /// Waits for the first byte. Until it comes a connection costs a small task and none of the buffers that serving takes.
    async fn spoken_to(&self, stream: &TcpStream, share: Option<&Share>) -> bool {
        let (began, patience) = (Instant::now(), self.shared.limits.header_timeout);
        let given_up = async {
            while began.elapsed() <= self.shared.patience(patience, share) {
                sleep(SILENCE_TICK.min(patience)).await;
            }
        };
        let told_to_close = async {
            self.closing.cancelled().await;
            sleep(FIRST_REQUEST_GRACE).await;
        };
        tokio::select! {
            biased;
            ready = stream.readable() => ready.is_ok(),
            () = told_to_close => false,
            () = given_up => false,
        }
    }
}

/// Serves a connection that came by no socket of the network until the other end goes.
pub(super) async fn serve_memory<S>(stream: S, shared: Arc<Shared>, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    serve(
        stream,
        None,
        None,
        None,
        &shared,
        &router,
        &CancellationToken::new(),
    )
    .await;
}

/// Serves one connection to its end: the peer goes, it idles or stalls too long, or the server closes.
async fn serve<S>(
    stream: S,
    peer: Option<SocketAddr>,
    certificate: Option<PeerCertificate>,
    share: Option<&Share>,
    shared: &Arc<Shared>,
    router: &Router,
    closing: &CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let vitals = Arc::new(Vitals::new());
    let exchange = Exchange::new(
        shared.clone(),
        router.clone(),
        vitals.clone(),
        peer,
        certificate,
    );
    let builder = protocol(&shared.limits);
    let watched = Watched {
        stream,
        vitals: vitals.clone(),
        max_header_bytes: shared.limits.max_header_bytes,
        owed: Bytes::new(),
    };
    let mut connection = pin!(builder.serve_connection(TokioIo::new(watched), exchange));
    let interval =
        (shared.limits.idle_timeout / 4).clamp(Duration::from_millis(20), Duration::from_secs(2));
    let mut told_to_close = pin!(async {
        closing.cancelled().await;
        vitals.first_request_taken().await;
    });
    let mut closed_at = None;
    loop {
        let tick = sleep(interval);
        tokio::select! {
            ended = connection.as_mut() => {
                if let Err(error) = ended {
                    tracing::debug!(client = ?peer, %error, "connection ended");
                }
                return;
            }
            () = told_to_close.as_mut(), if closed_at.is_none() => {
                connection.as_mut().graceful_shutdown();
                closed_at = Some(Instant::now());
            }
            () = tick => match vitals.verdict(shared, share) {
                Verdict::Well => {}
                Verdict::Stalled => {
                    tracing::debug!(client = ?peer, "cut off: the client does not read its answer");
                    return;
                }
                Verdict::Idle => match closed_at {
                    Some(since) if since.elapsed() > CLOSING_GRACE => return,
                    Some(_) => {}
                    None => {
                        connection.as_mut().graceful_shutdown();
                        closed_at = Some(Instant::now());
                    }
                },
            },
        }
    }
}

fn protocol(limits: &Limits) -> Builder<TokioExecutor> {
    let header_bytes = usize::try_from(limits.max_header_bytes)
        .unwrap_or(usize::MAX)
        .max(8 * 1024);
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(header_bytes)
        .keep_alive(true);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}

/// Signs of life of one connection. Times are milliseconds since it began, plus one, so that zero means "never".
#[derive(Debug)]
pub(super) struct Vitals {
    began: Instant,
    exchanges: AtomicUsize,
    served: AtomicUsize,
    /// Requests begun since the peer last had to be waited for.
    unbroken: AtomicUsize,
    idle_since: AtomicU64,
    /// Since when the socket takes no more bytes.
    blocked_since: AtomicU64,
    /// Answers whose body is not yet handed over, and when one last moved.
    sending: AtomicUsize,
    moved_at: AtomicU64,
}

enum Verdict {
    Well,
    Idle,
    Stalled,
}

impl Vitals {
    fn new() -> Self {
        Self {
            began: Instant::now(),
            exchanges: AtomicUsize::new(0),
            served: AtomicUsize::new(0),
            unbroken: AtomicUsize::new(0),
            idle_since: AtomicU64::new(1),
            blocked_since: AtomicU64::new(0),
            sending: AtomicUsize::new(0),
            moved_at: AtomicU64::new(0),
        }
    }

    /// Waits a moment for the request that a client who just connected is about to send.
    async fn first_request_taken(&self) {
        let newcomer =
            || self.served.load(Ordering::Relaxed) + self.exchanges.load(Ordering::Relaxed) == 0;
        let began = Instant::now();
        while newcomer() && began.elapsed() < FIRST_REQUEST_GRACE {
            sleep(FIRST_REQUEST_GRACE / 20).await;
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX - 1) + 1
    }

    pub(super) fn exchange_begins(&self) {
        self.exchanges.fetch_add(1, Ordering::Relaxed);
        self.unbroken.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether this connection has had its turn and others come first: its peer sent so far ahead that serving it never had
    /// to wait.
    pub(super) fn had_its_turn(&self) -> bool {
        self.unbroken.load(Ordering::Relaxed) > UNBROKEN_REQUESTS
    }

    /// Serving has caught up with what the peer sent.
    fn caught_up(&self) {
        self.unbroken.store(0, Ordering::Relaxed);
    }

    pub(super) fn exchange_ends(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.idle_since.store(self.now(), Ordering::Relaxed);
        self.exchanges.fetch_sub(1, Ordering::Relaxed);
    }

    pub(super) fn sending_begins(&self) {
        self.sending_moves();
        self.sending.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn sending_moves(&self) {
        self.moved_at.store(self.now(), Ordering::Relaxed);
    }

    pub(super) fn sending_ends(&self) {
        self.sending_moves();
        self.sending.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether no request is being answered.
    fn resting(&self) -> bool {
        self.exchanges.load(Ordering::Relaxed) == 0
    }

    fn verdict(&self, shared: &Shared, share: Option<&Share>) -> Verdict {
        let (now, limits) = (self.now(), &shared.limits);
        let longer =
            |since: u64, limit: Duration| Duration::from_millis(now.saturating_sub(since)) > limit;
        let blocked = self.blocked_since.load(Ordering::Relaxed);
        let sending = self.sending.load(Ordering::Relaxed) > 0;
        let stalled = blocked != 0 && longer(blocked, limits.write_timeout)
            || sending && longer(self.moved_at.load(Ordering::Relaxed), limits.write_timeout);
        if stalled {
            return Verdict::Stalled;
        }
        // Who has never asked for anything gets the time of a request head.
        let newcomer = self.served.load(Ordering::Relaxed) == 0;
        let patience = if newcomer {
            limits.header_timeout
        } else {
            limits.idle_timeout
        };
        let patience = shared.patience(patience, share);
        if self.resting() && longer(self.idle_since.load(Ordering::Relaxed), patience) {
            Verdict::Idle
        } else {
            Verdict::Well
        }
    }

    fn wrote<T>(&self, outcome: &Poll<io::Result<T>>) {
        match outcome {
            Poll::Ready(_) => self.blocked_since.store(0, Ordering::Relaxed),
            Poll::Pending => {
                let _ = self.blocked_since.compare_exchange(
                    0,
                    self.now(),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                );
            }
        }
    }
}

/// A stream that tells when its other end takes no more bytes, and gives the parser's own refusals their envelope.
struct Watched<S> {
    stream: S,
    vitals: Arc<Vitals>,
    max_header_bytes: u64,
    /// What is to be written in place of what the parser wrote.
    owed: Bytes,
}

impl<S: AsyncWrite + Unpin> Watched<S> {
    /// Writes what is owed.
    fn poll_settle(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.owed.is_empty() {
            let outcome = Pin::new(&mut self.stream).poll_write(cx, &self.owed);
            self.vitals.wrote(&outcome);
            match ready!(outcome)? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => self.owed.advance(written),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes `written` over when it is a refusal by the parser.
    fn takes_over(&mut self, written: &[u8]) -> bool {
        // Between requests only: whatever is written while one is answered belongs to that answer.
        if !self.vitals.resting() {
            return false;
        }
        let answer = bare::enveloped(written, self.max_header_bytes);
        answer.map(|answer| self.owed = answer).is_some()
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let outcome = Pin::new(&mut self.stream).poll_read(cx, buf);
        // While an answer is made the parser reads ahead only to notice that the peer has gone, which says nothing.
        if outcome.is_pending() && self.vitals.resting() {
            self.vitals.caught_up();
        }
        outcome
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settle(cx))?;
        if self.takes_over(buf) {
            return Poll::Ready(Ok(buf.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.vitals.wrote(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_settle(cx))?;
        if let [only] = bufs
            && self.takes_over(only)
        {
            return Poll::Ready(Ok(only.len()));
        }
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.vitals.wrote(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_settle(cx))?;
        let outcome = Pin::new(&mut self.stream).poll_flush(cx);
        self.vitals.wrote(&outcome);
        outcome
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_settle(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
