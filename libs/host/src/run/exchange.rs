//! One request and its answer: identity, limits, the handler, the envelope, the access log.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use ::http::header::{ALLOW, CONTENT_ENCODING, CONTENT_TYPE, EXPECT, HOST};
use ::http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use axum::Router;
use axum::body::Body;
use axum::extract::MatchedPath;
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout};
use tower::ServiceExt;
use tracing::Instrument;

use super::connection::Vitals;
use super::crowd::{self, Networks, Rates, Share, Shares};
use super::descriptors;
use super::limits::Limits;
use super::{HostConfig, LongLived};
use crate::health::Health;
use crate::http;
use crate::metrics::{Registry, Requests};
use crate::reason::{self, Reason};
use crate::status::{self, Refused, ServiceError};
use crate::telemetry::{self, REQUEST_ID, RequestContext, TRACEPARENT};
use crate::tls::PeerCertificate;

/// This much of every body is not counted against `max_buffered`: ordinary requests never meet that limit.
const UNCOUNTED_BYTES: usize = 16 * 1024;
/// How much of a refused body is read on and forgotten, and for how long.
const LINGER_BYTES: usize = 64 << 20;
const LINGER_TIME: Duration = Duration::from_secs(2);
/// How long an idle connection may rest when three quarters of the places, or of its address's share, are taken.
const CROWDED_IDLE: Duration = Duration::from_secs(2);
/// The sentence of a framework's refusal is passed on up to this length.
const MAX_FOREIGN_SENTENCE: usize = 1024;

/// What all connections of a server share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(super) limits: Limits,
    pub(super) places: Arc<Semaphore>,
    in_flight: Semaphore,
    /// In KiB, because a semaphore counts in `u32`.
    buffered: Arc<Semaphore>,
    shares: Arc<Shares>,
    rates: Option<Rates>,
    proxies: Networks,
    health: Health,
    requests: Requests,
}

impl Shared {
    pub(super) fn new(config: &HostConfig, health: Health, registry: &Registry) -> Self {
        let mut limits = config.limits.clone();
        limits.max_connections = limits
            .max_connections
            .min(descriptors::connections_that_fit());
        let buffered =
            usize::try_from(limits.max_buffered / 1024).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(
                limits.max_connections.min(Semaphore::MAX_PERMITS),
            )),
            in_flight: Semaphore::new(limits.max_in_flight.min(Semaphore::MAX_PERMITS)),
            buffered: Arc::new(Semaphore::new(buffered.min(Semaphore::MAX_PERMITS))),
            shares: Shares::new(limits.max_connections_per_address),
            rates: Rates::new(limits.requests_per_second, limits.request_burst),
            proxies: config.trusted_proxies.clone(),
            limits,
            health,
            requests: Requests::register(registry),
        }
    }

    /// Whether three quarters of the connections are taken.
    fn crowded(&self) -> bool {
        self.places.available_permits() < self.limits.max_connections / 4
    }

    /// How long a connection may rest: `usual`, or less where places grow scarce.
    pub(super) fn patience(&self, usual: Duration, share: Option<&Share>) -> Duration {
        if self.crowded() || share.is_some_and(Share::crowded) {
            usual.min(CROWDED_IDLE)
        } else {
            usual
        }
    }

    /// One more connection of `peer`'s share; proxies have none.
    pub(super) fn share(&self, peer: IpAddr) -> Result<Option<Share>, TooMany> {
        if self.proxies.contain(peer) {
            return Ok(None);
        }
        let share = self.shares.take(peer);
        if share.is_none() {
            self.requests.connections_refused.inc();
        }
        share.map(Some).ok_or(TooMany)
    }

    /// Takes one request of `client`, when there is a rate.
    fn rate(&self, client: IpAddr) -> Result<(), ServiceError> {
        let taken = match &self.rates {
            Some(rates) => rates.take(client, Instant::now()),
            None => Ok(()),
        };
        taken.map_err(|wait| {
            let sentence = format!(
                "Too many requests from {client}; the limit is {} a second",
                self.limits.requests_per_second
            );
            ServiceError::new(Reason::RateLimited, sentence).with_retry_after(wait)
        })
    }

    pub(super) fn count_connection(&self) -> Counted {
        Counted::new(&self.requests.connections)
    }
}

/// An address has as many connections as it may.
#[derive(Debug)]
pub(super) struct TooMany;

/// Keeps a gauge up by one while it lives.
pub(super) struct Counted(Gauge);

impl Counted {
    fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The pattern a request matched, told by the route to the access log and the metrics.
#[derive(Clone)]
struct Route(MatchedPath);

/// Makes every route of `router` tell its pattern.
pub(super) fn labelled(router: Router) -> Router {
    router.layer(axum::middleware::from_fn(
        |request: axum::extract::Request, next: axum::middleware::Next| async move {
            let route = request
                .extensions()
                .get::<MatchedPath>()
                .cloned()
                .map(Route);
            let mut response = next.run(request).await;
            if let Some(route) = route {
                response.extensions_mut().insert(route);
            }
            response
        },
    ))
}

/// The service of one connection.
#[derive(Clone)]
pub(super) struct Exchange {
    shared: Arc<Shared>,
    router: Router,
    vitals: Arc<Vitals>,
    peer: Option<SocketAddr>,
    certificate: Option<PeerCertificate>,
}

impl Exchange {
    pub(super) const fn new(
        shared: Arc<Shared>,
        router: Router,
        vitals: Arc<Vitals>,
        peer: Option<SocketAddr>,
        certificate: Option<PeerCertificate>,
    ) -> Self {
        Self {
            shared,
            router,
            vitals,
            peer,
            certificate,
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Exchange {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Infallible>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let exchange = self.clone();
        let alive = Alive::new(exchange.vitals.clone());
        Box::pin(async move {
            // The parser would take up sixteen requests that lie ready before it lets another task run.
            if exchange.vitals.had_its_turn() {
                tokio::task::yield_now().await;
            }
            Ok(exchange.answer(request, alive).await)
        })
    }
}

/// Keeps a connection from counting as idle while a request or its answer lives.
struct Alive(Arc<Vitals>);

impl Alive {
    fn new(vitals: Arc<Vitals>) -> Self {
        vitals.exchange_begins();
        Self(vitals)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.exchange_ends();
    }
}

impl Exchange {
    /// The whole story of a request.
    async fn answer(self, request: Request<Incoming>, alive: Alive) -> Response {
        let began = Instant::now();
        let context = RequestContext::from_headers(request.headers());
        let grpc = http::is_grpc(request.headers());
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let span = tracing::info_span!(
            "request",
            otel.name = format_args!("{method} {path}"),
            otel.kind = "server",
            request.id = &*context.request_id,
            trace.id = context.trace.trace_id_hex(),
            http.method = %method,
            http.path = path,
        );
        context.adopt(&span, request.headers().contains_key(TRACEPARENT));
        let request_id = HeaderValue::from_str(&context.request_id);
        let client = self.client(request.headers());
        let work = self.handle(request, grpc, client).instrument(span.clone());
        let (mut response, _bodies) = telemetry::scope(context, work).await;
        if let Ok(id) = request_id {
            response.headers_mut().insert(REQUEST_ID, id);
        }
        span.in_scope(|| self.record(&response, &method, &path, grpc, client, began.elapsed()));
        let sending = (!response.body().is_end_stream()
            && response.extensions().get::<LongLived>().is_none())
        .then(|| Sending::new(self.vitals.clone()));
        response.map(|body| {
            Body::new(Watched {
                body,
                sending,
                _alive: alive,
            })
        })
    }

    /// Reads the body, takes a place among the handlers and asks the router. Also gives what must be held until the answer
    /// exists: the memory the body was counted with.
    async fn handle(
        &self,
        request: Request<Incoming>,
        grpc: bool,
        client: Option<IpAddr>,
    ) -> (Response, Option<OwnedSemaphorePermit>) {
        match (request.method(), request.uri().path()) {
            (&Method::GET | &Method::HEAD, "/healthz") => {
                return (self.shared.health.live_response(), None);
            }
            (&Method::GET | &Method::HEAD, "/readyz") => {
                return (self.shared.health.ready_response().await, None);
            }
            (_, "/healthz" | "/readyz") => {
                return (http::method_not_allowed("GET, HEAD").into_response(), None);
            }
            _ => {}
        }
        let path = request.uri().path().to_owned();
        let outcome = match self.admit(&request, client) {
            Ok(()) => self.ask(request).await,
            Err(error) => {
                linger(request);
                Err(error)
            }
        };
        match outcome {
            Ok((response, bodies)) => (self.in_envelope(response, grpc, &path).await, bodies),
            Err(error) if grpc => (tonic::Status::from(error).into_http(), None),
            Err(error) => (error.into_response(), None),
        }
    }

    /// For whom a request is; nobody from outside when it comes from within the process.
    fn client(&self, headers: &HeaderMap) -> Option<IpAddr> {
        self.peer
            .map(|peer| crowd::client_of(peer.ip(), headers, &self.shared.proxies))
    }

    /// What can be refused by the head alone.
    fn admit<B>(&self, request: &Request<B>, client: Option<IpAddr>) -> Result<(), ServiceError> {
        client.map_or(Ok(()), |client| self.shared.rate(client))?;
        one_host(request)?;
        as_it_is(request.headers())
    }

    async fn ask(
        &self,
        request: Request<Incoming>,
    ) -> Result<(Response, Option<OwnedSemaphorePermit>), ServiceError> {
        let (mut parts, body) = request.into_parts();
        let (body, bodies) = self.read_whole(&parts.headers, body).await?;
        let _place = self
            .shared
            .in_flight
            .try_acquire()
            .map_err(|_| self.overloaded("requests in flight"))?;
        let _counted = Counted::new(&self.shared.requests.in_flight);
        if let Some(peer) = self.peer {
            parts.extensions.insert(axum::extract::ConnectInfo(peer));
        }
        if let Some(certificate) = &self.certificate {
            parts.extensions.insert(certificate.clone());
        }
        let ours = self.shared.limits.request_timeout;
        let asked = grpc_timeout(&parts.headers).filter(|asked| *asked < ours);
        let limit = asked.unwrap_or(ours);
        let request = Request::from_parts(parts, Body::from(body));
        // A panic ends one request, not the connection; its text is logged by the panic hook and nowhere else.
        let handler = AssertUnwindSafe(self.router.clone().oneshot(request)).catch_unwind();
        match timeout(limit, handler).await {
            Ok(Ok(Ok(response))) => Ok((response, bodies)),
            Ok(Ok(Err(never))) => match never {},
            Ok(Err(_panic)) => Err(ServiceError::internal("the handler panicked")),
            Err(_) if asked.is_some() => Err(ServiceError::new(
                Reason::RequestTimeout,
                "The deadline that the call set has passed",
            )),
            Err(_) => Err(ServiceError::new(
                Reason::Unavailable,
                "The service did not answer in time",
            )
            .with_internal(format!("no answer within {limit:?}"))),
        }
    }

    /// Collects a body within its limits of size, time and shared memory.
    async fn read_whole(
        &self,
        headers: &HeaderMap,
        body: Incoming,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ServiceError> {
        if body.is_end_stream() {
            return Ok((Bytes::new(), None));
        }
        let limit = usize::try_from(self.shared.limits.max_body).unwrap_or(usize::MAX);
        let (mut body, patience) = (body, self.shared.limits.body_timeout);
        let declared = http::declared_length(headers);
        let outcome = if declared.is_some_and(|length| length > limit as u64) {
            Err(http::too_large(limit))
        } else {
            match timeout(patience, self.collect(&mut body, limit)).await {
                Ok(outcome) => outcome,
                Err(_) => return Err(too_slow(patience)),
            }
        };
        // Who waits for "100 Continue" has sent nothing yet.
        if outcome.is_err() && !headers.contains_key(EXPECT) {
            tokio::spawn(forget(body));
        }
        outcome
    }

    async fn collect(
        &self,
        body: &mut Incoming,
        limit: usize,
    ) -> Result<(Bytes, Option<OwnedSemaphorePermit>), ServiceError> {
        let (mut first, mut rest, mut counted) = (Bytes::new(), BytesMut::new(), None);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                ServiceError::new(
                    Reason::MalformedRequest,
                    "The request body ended before it was complete",
                )
                .with_internal(error)
            })?;
            let Ok(data) = frame.into_data() else {
                continue;
            };
            let held = first.len() + rest.len();
            if data.len() > limit.saturating_sub(held) {
                return Err(http::too_large(limit));
            }
            self.count(&mut counted, held + data.len())?;
            match (first.is_empty(), rest.is_empty()) {
                // Most bodies are one frame, which needs no copy.
                (true, true) => first = data,
                (_, true) => {
                    rest.extend_from_slice(&std::mem::take(&mut first));
                    rest.extend_from_slice(&data);
                }
                _ => rest.extend_from_slice(&data),
            }
        }
        Ok((
            if rest.is_empty() {
                first
            } else {
                rest.freeze()
            },
            counted,
        ))
    }

    /// Takes from the shared memory what `held` bytes need beyond what is taken already.
    fn count(
        &self,
        counted: &mut Option<OwnedSemaphorePermit>,
        held: usize,
    ) -> Result<(), ServiceError> {
        let needed = held.saturating_sub(UNCOUNTED_BYTES).div_ceil(1024);
        let more = needed.saturating_sub(
            counted
                .as_ref()
                .map_or(0, OwnedSemaphorePermit::num_permits),
        );
        let Some(more) = u32::try_from(more).ok().filter(|more| *more > 0) else {
            return Ok(());
        };
        let permit = self.shared.buffered.clone().try_acquire_many_owned(more);
        let permit = permit.map_err(|_| self.overloaded("memory for request bodies"))?;
        match counted {
            Some(counted) => counted.merge(permit),
            None => *counted = Some(permit),
        }
        Ok(())
    }

    fn overloaded(&self, what: &str) -> ServiceError {
        self.shared.requests.overloads.inc();
        ServiceError::new(
            Reason::Overloaded,
            "The service is at its limit; try again shortly",
        )
        .with_internal(what)
    }

    /// Gives refusals that the framework made (no route, wrong method, a failed extractor) the form all others have.
    async fn in_envelope(&self, response: Response, grpc: bool, path: &str) -> Response {
        let response = if grpc { in_details(response) } else { response };
        let status = response.status();
        let refusal = status.is_client_error() || status.is_server_error();
        if !refusal || response.extensions().get::<Refused>().is_some() {
            return response;
        }
        if grpc && status == StatusCode::NOT_FOUND {
            let error = ServiceError::new(
                Reason::MethodNotAllowed,
                format!("There is no gRPC method {path:.200} here"),
            );
            return tonic::Status::from(error).into_http();
        }
        let form = response
            .headers()
            .get(CONTENT_TYPE)
            .map(HeaderValue::as_bytes);
        if form.is_some_and(|form| !form.starts_with(b"text/plain")) {
            return response;
        }
        let (parts, body) = response.into_parts();
        let sentence = http_body_util::Limited::new(body, MAX_FOREIGN_SENTENCE)
            .collect()
            .await;
        let sentence = sentence
            .map(|body| String::from_utf8_lossy(&body.to_bytes()).into_owned())
            .unwrap_or_default();
        let error = foreign_refusal(status, sentence, &parts.headers, path);
        let mut answer = error.into_response();
        *answer.status_mut() = status;
        for (name, value) in parts.headers.iter().filter(|(name, _)| !answer_owns(name)) {
            answer.headers_mut().append(name, value.clone());
        }
        answer.extensions_mut().extend(parts.extensions);
        answer
    }

    /// One line and one count for every answer.
    fn record(
        &self,
        response: &Response,
        method: &Method,
        path: &str,
        grpc: bool,
        client: Option<IpAddr>,
        took: Duration,
    ) {
        let code = grpc
            .then(|| tonic::Status::from_header_map(response.headers()))
            .flatten();
        let unknown = code
            .as_ref()
            .is_some_and(|status| status.code() == tonic::Code::Unimplemented);
        let reason = response
            .extensions()
            .get::<Refused>()
            .map(|refused| refused.0);
        let reason = reason.or_else(|| {
            code.as_ref()
                .and_then(status::from_status)
                .map(|(reason, _)| reason)
        });
        let reason = reason.map_or("", reason::name);
        let matched = response
            .extensions()
            .get::<Route>()
            .map(|route| route.0.as_str());
        let route = match (matched, path) {
            // A gRPC route's pattern names the service; the method is ours too once the service has taken it.
            (Some(_), path) if grpc && !unknown => path,
            (Some(pattern), _) => pattern,
            (None, "/healthz" | "/readyz") => path,
            (None, _) => "none",
        };
        let status = response.status().as_u16();
        self.shared.requests.answered(
            route,
            known_method(method),
            status,
            reason,
            took.as_secs_f64(),
        );
        let grpc_code = code.map(|status| status.code() as i32);
        let client = client.map(|client| client.to_string()).unwrap_or_default();
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        // Probes and calls within the process would drown what people look for.
        if matches!(route, "/healthz" | "/readyz") || self.peer.is_none() {
            tracing::debug!(target: "sealwright::access", { http.route = route, status, grpc_code, reason, took_us }, "answered");
        } else {
            tracing::info!(target: "sealwright::access", { http.route = route, status, grpc_code, reason, took_us, client }, "answered");
        }
    }
}

fn too_slow(patience: Duration) -> ServiceError {
    let patience = crate::config::format_duration(patience);
    let message = format!("The request body did not arrive within {patience}");
    ServiceError::new(Reason::RequestTimeout, message)
}

/// Reads on for a while and forgets what it reads, while the refusal is on its way. A connection that is closed with
/// bytes unread is reset, and many clients then never see why.
async fn forget(mut body: Incoming) {
    let mut left = LINGER_BYTES;
    let read_on = async {
        while let Some(Ok(frame)) = body.frame().await {
            left = left.saturating_sub(frame.data_ref().map_or(0, Bytes::len));
            if left == 0 {
                break;
            }
        }
    };
    let _ = timeout(LINGER_TIME, read_on).await;
}

/// Reads on as [`forget`] does, unless the client waits to be told to send.
fn linger(request: Request<Incoming>) {
    if !request.body().is_end_stream() && !request.headers().contains_key(EXPECT) {
        tokio::spawn(forget(request.into_body()));
    }
}

/// Gives a gRPC refusal that the framework made (bytes that are no message of the method, a message that is too large, an
/// unknown method) the details that ours have.
fn in_details(response: Response) -> Response {
    let status = tonic::Status::from_header_map(response.headers());
    let foreign =
        status.filter(|status| status.code() != tonic::Code::Ok && status.details().is_empty());
    let Some(status) = foreign else {
        return response;
    };
    let sentence: String = status
        .message()
        .chars()
        .take(MAX_FOREIGN_SENTENCE)
        .collect();
    let (reason, sentence) = match status.code() {
        // Our own failures have details, so this one is about the bytes that came.
        tonic::Code::Internal | tonic::Code::Unknown => (
            Reason::MalformedRequest,
            format!("The request is not one message of this method: {sentence}"),
        ),
        code => (status::reason_of_code(code), sentence),
    };
    tonic::Status::from(ServiceError::new(reason, sentence)).into_http()
}

fn foreign_refusal(
    status: StatusCode,
    sentence: String,
    headers: &HeaderMap,
    path: &str,
) -> ServiceError {
    let allow = headers
        .get(ALLOW)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let (reason, fallback) = match status {
        StatusCode::NOT_FOUND => (Reason::NotFound, format!("There is nothing at {path:.200}")),
        StatusCode::METHOD_NOT_ALLOWED => (
            Reason::MethodNotAllowed,
            format!("This address accepts only: {}", allow.replace(',', ", ")),
        ),
        StatusCode::PAYLOAD_TOO_LARGE => (
            Reason::RequestTooLarge,
            "The request is larger than this address accepts".to_owned(),
        ),
        StatusCode::UNSUPPORTED_MEDIA_TYPE => (
            Reason::UnsupportedMediaType,
            "This address does not accept that content type".to_owned(),
        ),
        StatusCode::UNAUTHORIZED => (
            Reason::TokenMissing,
            "This address needs a token".to_owned(),
        ),
        StatusCode::FORBIDDEN => (Reason::PermissionDenied, "This is not permitted".to_owned()),
        StatusCode::TOO_MANY_REQUESTS => (
            Reason::RateLimited,
            "Too many requests; try again shortly".to_owned(),
        ),
        status if status.is_client_error() => (
            Reason::MalformedRequest,
            "The request cannot be understood".to_owned(),
        ),
        // What broke inside is nobody's business outside.
        _ => return ServiceError::internal(sentence),
    };
    ServiceError::new(
        reason,
        if sentence.is_empty() {
            fallback
        } else {
            sentence
        },
    )
}

fn answer_owns(name: &::http::HeaderName) -> bool {
    *name == CONTENT_TYPE
        || *name == ::http::header::CONTENT_LENGTH
        || *name == ::http::header::CACHE_CONTROL
}

/// Refuses an HTTP/1.1 request that names no host or several (RFC 9112 section 3.2): a proxy in front may have read another
/// one than we would. Probes of health, which come from simple programs and are the same for every host, are answered.
fn one_host<B>(request: &Request<B>) -> Result<(), ServiceError> {
    let hosts = request.headers().get_all(HOST).iter().count();
    if request.version() != Version::HTTP_11 || hosts == 1 {
        return Ok(());
    }
    let sentence = format!("The request has {hosts} Host headers; HTTP/1.1 wants exactly one");
    Err(ServiceError::new(Reason::MalformedRequest, sentence))
}

/// Refuses a body that is compressed or otherwise transformed: nothing here undoes that, and what a few bytes may unfold to
/// has no bound. (gRPC has a header of its own for it, and is refused by its own rules.)
fn as_it_is(headers: &HeaderMap) -> Result<(), ServiceError> {
    let encodings = headers.get_all(CONTENT_ENCODING).iter();
    let mut foreign = encodings.filter(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"));
    let Some(encoding) = foreign.next() else {
        return Ok(());
    };
    let encoding = encoding.to_str().unwrap_or("unreadable");
    let sentence =
        format!("Send the body as it is; the content encoding {encoding:.100} is not accepted");
    Err(ServiceError::new(Reason::UnsupportedMediaType, sentence))
}

/// Methods as metric labels: a closed set.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        Method::PATCH => "PATCH",
        _ => "OTHER",
    }
}

/// `grpc-timeout`: up to eight digits and a unit.
fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let amount: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(amount * 3600)),
        "M" => Some(Duration::from_secs(amount * 60)),
        "S" => Some(Duration::from_secs(amount)),
        "m" => Some(Duration::from_millis(amount)),
        "u" => Some(Duration::from_micros(amount)),
        "n" => Some(Duration::from_nanos(amount)),
        _ => None,
    }
}

/// Keeps count of an answer that is being sent.
struct Sending(Arc<Vitals>);

impl Sending {
    fn new(vitals: Arc<Vitals>) -> Self {
        vitals.sending_begins();
        Self(vitals)
    }
}

impl Drop for Sending {
    fn drop(&mut self) {
        self.0.sending_ends();
    }
}

/// An answer's body that says when it moves and when it is done.
struct Watched {
    body: Body,
    sending: Option<Sending>,
    _alive: Alive,
}

impl HttpBody for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if let Some(sending) = &self.sending {
            sending.0.sending_moves();
        }
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(text: &'static str) -> Option<Duration> {
        grpc_timeout(&HeaderMap::from_iter([(
            "grpc-timeout".parse().unwrap(),
            HeaderValue::from_static(text),
        )]))
    }

    #[test]
    fn grpc_timeouts_are_read_as_the_protocol_writes_them() {
        assert_eq!(asked("250m"), Some(Duration::from_millis(250)));
        assert_eq!(
            asked("99999999H"),
            Some(Duration::from_secs(99_999_999 * 3600))
        );
        for bad in ["", "m", "1", "100000000S", "1x", "-1S"] {
            assert_eq!(asked(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_broke_inside_is_not_told() {
        let error = foreign_refusal(
            StatusCode::INTERNAL_SERVER_ERROR,
            "secret".to_owned(),
            &HeaderMap::new(),
            "/",
        );
        assert!(!error.message().contains("secret"));
    }
}
