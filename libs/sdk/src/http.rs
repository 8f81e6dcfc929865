//! How requests travel: one client for the whole run, time limits, size caps, retries, trace context.
//!
//! Every request of this crate may be sent twice: another certificate or timestamp does no harm, and a log answers a
//! resubmitted entry with the index it already has. So a broken connection, a time-out, 429 and 5xx are tried again, with
//! growing pauses and jitter, or after as long as `Retry-After` says.

use std::sync::OnceLock;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use sealwright_crypto::random_bytes;
use sealwright_proto::sealwright::error::v1::Reason;
use serde::Deserialize;
use tokio::time::Instant;

use crate::error::{Error, Failure, Refusal, ServiceName};
use crate::trace::TraceContext;

/// Attempts in all, the first included.
const MAX_ATTEMPTS: u32 = 4;
/// The pause before the second attempt; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// No `Retry-After` keeps us longer.
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// What is read of an error answer.
const MAX_ERROR_BYTES: usize = 64 * 1024;
const MAX_MESSAGE_CHARS: usize = 500;

const ERROR_DOMAIN: &str = "sealwright.dev";
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Settings of all requests.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct HttpOptions {
    /// Time for one attempt, from connecting to the last byte. A log answers when a checkpoint covers the entry, which at
    /// other implementations takes seconds.
    pub attempt_timeout: Duration,
    /// Time for all attempts of one request together, pauses included. A server that accepts and says nothing costs this
    /// once.
    pub request_timeout: Duration,
    /// Time for a connection.
    pub connect_timeout: Duration,
    /// PEM certificates of further TLS roots, besides the platform's.
    pub extra_roots_pem: Vec<u8>,
    /// The trace all requests belong to; one of our own when left out.
    pub trace: Option<TraceContext>,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            attempt_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            connect_timeout: Duration::from_secs(10),
            extra_roots_pem: Vec::new(),
            trace: None,
        }
    }
}

/// The HTTP side of the client. Opens nothing and loads nothing until the first request; TLS roots are loaded at the first
/// `https` URL, which costs several milliseconds that a local stack does not have to pay.
#[derive(Debug)]
pub struct Http {
    options: HttpOptions,
    trace: OnceLock<TraceContext>,
    plain: OnceLock<Result<reqwest::Client, String>>,
    tls: OnceLock<Result<reqwest::Client, String>>,
}

/// One request to a service.
#[derive(Debug)]
pub(crate) struct Call<'a> {
    pub(crate) service: ServiceName,
    pub(crate) method: Method,
    pub(crate) url: &'a str,
    pub(crate) headers: &'a [(HeaderName, &'a str)],
    pub(crate) body: Bytes,
    /// The statuses that mean success.
    pub(crate) accepted: &'static [u16],
    pub(crate) max_answer_bytes: usize,
    /// Time for one attempt, where less than usual says that nobody is there.
    pub(crate) patience: Option<Duration>,
    /// For answers of any length: bytes a second. What has come buys time for the rest, in place of a limit for the whole;
    /// an answer that comes slower is given up.
    pub(crate) slowest: Option<u64>,
}

impl<'a> Call<'a> {
    /// A POST with one content type each way.
    pub(crate) fn post(
        service: ServiceName,
        url: &'a str,
        headers: &'a [(HeaderName, &'a str)],
        body: Bytes,
    ) -> Self {
        Self {
            service,
            method: Method::POST,
            url,
            headers,
            body,
            accepted: &[200, 201],
            max_answer_bytes: 1024 * 1024,
            patience: None,
            slowest: None,
        }
    }

    /// The time that an answer of so many bytes buys.
    fn time_for(&self, bytes: usize) -> Duration {
        let minimum = self.slowest;
        minimum.map_or(Duration::ZERO, |minimum| time_at(minimum, bytes))
    }

    /// A GET.
    pub(crate) fn get(
        service: ServiceName,
        url: &'a str,
        headers: &'a [(HeaderName, &'a str)],
    ) -> Self {
        Self {
            method: Method::GET,
            ..Self::post(service, url, headers, Bytes::new())
        }
    }
}

/// `Content-Type` and `Accept` of a JSON exchange.
pub(crate) const JSON: [(HeaderName, &str); 2] = [
    (CONTENT_TYPE, "application/json"),
    (ACCEPT, "application/json"),
];

impl Http {
    /// A client with these settings.
    #[must_use]
    pub fn new(options: HttpOptions) -> Self {
        Self {
            options,
            trace: OnceLock::new(),
            plain: OnceLock::new(),
            tls: OnceLock::new(),
        }
    }

    /// The settings.
    #[must_use]
    pub fn options(&self) -> &HttpOptions {
        &self.options
    }

    /// The trace all requests belong to.
    pub fn trace(&self) -> TraceContext {
        *self
            .trace
            .get_or_init(|| self.options.trace.unwrap_or_else(TraceContext::fresh))
    }

    /// Sends until there is an answer, no hope, or no time.
    pub(crate) async fn send(&self, call: &Call<'_>) -> Result<Bytes, Error> {
        let limit = self.options.request_timeout + call.time_for(call.max_answer_bytes);
        match tokio::time::timeout(limit, self.send_patiently(call)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::Service {
                service: call.service,
                url: shown(call.url),
                failure: Failure::Timeout(limit),
            }),
        }
    }

    async fn send_patiently(&self, call: &Call<'_>) -> Result<Bytes, Error> {
        let mut attempt = 1;
        loop {
            let (failure, wait) = match self.attempt(call).await {
                Ok(answer) => return Ok(answer),
                Err(failed) => failed,
            };
            if attempt >= MAX_ATTEMPTS || !failure.is_transient() {
                return Err(Error::Service {
                    service: call.service,
                    url: shown(call.url),
                    failure,
                });
            }
            tracing::debug!(service = %call.service, attempt, %failure, "trying again");
            tokio::time::sleep(wait.unwrap_or_else(|| pause(attempt)).min(MAX_PAUSE)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, call: &Call<'_>) -> Result<Bytes, (Failure, Option<Duration>)> {
        let usual = self.options.attempt_timeout;
        let limit = call.patience.map_or(usual, |patience| patience.min(usual));
        let longest = limit + call.time_for(call.max_answer_bytes);
        match tokio::time::timeout(longest, self.exchange(call, limit)).await {
            Ok(outcome) => outcome,
            Err(_) => Err((Failure::Timeout(longest), None)),
        }
    }

    async fn exchange(
        &self,
        call: &Call<'_>,
        limit: Duration,
    ) -> Result<Bytes, (Failure, Option<Duration>)> {
        let begin = Instant::now();
        let client = self
            .client(call.url)
            .map_err(|problem| (Failure::Address(problem), None))?;
        let mut request = client
            .request(call.method.clone(), call.url)
            .body(call.body.clone());
        for (name, value) in call.headers {
            request = request.header(name, *value);
        }
        request = request.header(TRACEPARENT, self.trace().traceparent());
        let response = tokio::time::timeout(limit, request.send())
            .await
            .map_err(|_| (Failure::Timeout(limit), None))?
            .map_err(|error| (unreachable(&error), None))?;
        let (status, headers) = (response.status(), response.headers().clone());
        if call.accepted.contains(&status.as_u16()) {
            let slowest = call.slowest.map(|minimum| Pace {
                minimum,
                grace_until: begin + limit,
            });
            return read(response, call.max_answer_bytes, slowest)
                .await
                .map_err(|failure| (failure, None));
        }
        let body = read(response, MAX_ERROR_BYTES, None)
            .await
            .unwrap_or_default();
        Err((
            Failure::Status(Box::new(refusal(status, &headers, &body))),
            retry_after(&headers),
        ))
    }

    /// Sends a request of a login once and brings whatever answer there is. Nothing is tried again, since codes are redeemed
    /// once, and no trace goes along, since the provider may be a stranger's.
    pub(crate) async fn once(
        &self,
        request: http::Request<Vec<u8>>,
        limit: usize,
    ) -> Result<http::Response<Vec<u8>>, Failure> {
        let patience = self.options.attempt_timeout;
        let (parts, body) = request.into_parts();
        let url = parts.uri.to_string();
        let exchange = async {
            let client = self.client(&url).map_err(Failure::Address)?;
            let request = client
                .request(parts.method, &url)
                .headers(parts.headers)
                .body(body);
            let response = request.send().await.map_err(|error| unreachable(&error))?;
            let (status, headers) = (response.status(), response.headers().clone());
            let body = read(response, limit, None).await?;
            let mut answer = http::Response::new(body.to_vec());
            *answer.status_mut() = status;
            *answer.headers_mut() = headers;
            Ok(answer)
        };
        tokio::time::timeout(patience, exchange)
            .await
            .unwrap_or(Err(Failure::Timeout(patience)))
    }

    fn client(&self, url: &str) -> Result<&reqwest::Client, String> {
        let secure = url
            .get(..6)
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"));
        let cell = if secure { &self.tls } else { &self.plain };
        cell.get_or_init(|| self.build(secure))
            .as_ref()
            .map_err(Clone::clone)
    }

    /// Redirects are not followed: a request may carry a token, which belongs to the configured host alone.
    fn build(&self, secure: bool) -> Result<reqwest::Client, String> {
        install_crypto_provider();
        let builder = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(self.options.connect_timeout)
            .user_agent(concat!("sealwright/", env!("CARGO_PKG_VERSION")));
        let builder = if secure {
            let extra = reqwest::Certificate::from_pem_bundle(&self.options.extra_roots_pem)
                .map_err(|error| {
                    format!("the extra TLS roots are not PEM certificates: {error}")
                })?;
            builder.tls_certs_merge(extra)
        } else {
            builder.tls_certs_only([])
        };
        builder
            .build()
            .map_err(|error| format!("the HTTP client cannot be set up: {error}"))
    }
}

/// rustls needs to be told once which arithmetic to use; a second call changes nothing.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // A race is lost to a provider that is the same.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    }
}

/// How slow an answer may be: what has come buys time for the rest.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Bytes a second.
    minimum: u64,
    grace_until: Instant,
}

/// So long may an answer of `bytes` take at `minimum` bytes a second.
fn time_at(minimum: u64, bytes: usize) -> Duration {
    Duration::from_secs(bytes as u64 / minimum.max(1))
}

async fn read(
    response: reqwest::Response,
    limit: usize,
    pace: Option<Pace>,
) -> Result<Bytes, Failure> {
    if response
        .content_length()
        .is_some_and(|length| length > limit as u64)
    {
        return Err(Failure::TooLarge { limit });
    }
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    loop {
        let next = match pace {
            None => chunks.next().await,
            Some(Pace {
                minimum,
                grace_until,
            }) => {
                let deadline = grace_until + time_at(minimum, body.len());
                let next = tokio::time::timeout_at(deadline, chunks.next()).await;
                next.map_err(|_| Failure::TooSlow { minimum })?
            }
        };
        let Some(chunk) = next else {
            return Ok(body.into());
        };
        let chunk = chunk.map_err(|error| unreachable(&error))?;
        if body.len() + chunk.len() > limit {
            return Err(Failure::TooLarge { limit });
        }
        body.extend_from_slice(&chunk);
    }
}

/// The innermost cause says what a person can act on ("Connection refused"); the outer ones repeat the URL.
fn unreachable(error: &reqwest::Error) -> Failure {
    let mut cause: &(dyn std::error::Error + 'static) = error;
    while let Some(inner) = within(cause).or_else(|| cause.source()) {
        cause = inner;
    }
    match cause.downcast_ref() {
        Some(rustls::Error::InvalidCertificate(_)) => Failure::Tls(cause.to_string()),
        _ if error.is_builder() => Failure::Address(cause.to_string()),
        _ => Failure::Unreachable(cause.to_string()),
    }
}

/// What an I/O error was made of; its `source` passes over that.
fn within<'a>(
    error: &'a (dyn std::error::Error + 'static),
) -> Option<&'a (dyn std::error::Error + 'static)> {
    let inner = error.downcast_ref::<std::io::Error>()?.get_ref()?;
    Some(inner)
}

/// Query and user, which may hold secrets, are left out.
pub(crate) fn shown(url: &str) -> String {
    let plain = url.split(['?', '#']).next().unwrap_or(url);
    match plain
        .split_once("://")
        .and_then(|(scheme, rest)| Some((scheme, rest.split_once('@')?.1)))
    {
        Some((scheme, rest)) => format!("{scheme}://{rest}"),
        None => plain.to_owned(),
    }
}

/// `FIRST_PAUSE` doubled for each attempt, then anything from half of it to all of it, so that clients that failed together do
/// not come back together.
fn pause(attempt: u32) -> Duration {
    let longest = FIRST_PAUSE.saturating_mul(1 << attempt.saturating_sub(1).min(10));
    let jitter = f64::from(u16::from_le_bytes(random_bytes())) / f64::from(u16::MAX);
    longest.mul_f64(0.5 + jitter / 2.0)
}

/// Seconds; the date form is rare and needs a clock, so it counts as not sent.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u64 = headers
        .get(RETRY_AFTER)?
        .to_str()
        .ok()?
        .trim()
        .parse()
        .ok()?;
    Some(Duration::from_secs(seconds))
}

/// The error envelope of our services: `{"code","message","details"}` with a `google.rpc.ErrorInfo` among the details.
/// Other Sigstore services send the same without details.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Envelope {
    message: String,
    details: Vec<Detail>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Detail {
    reason: String,
    domain: String,
    metadata: std::collections::BTreeMap<String, String>,
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Refusal {
    let envelope: Envelope = serde_json::from_slice(body).unwrap_or_default();
    let ours = envelope
        .details
        .iter()
        .find(|detail| detail.domain == ERROR_DOMAIN);
    let mut message = printable(&envelope.message);
    if message.is_empty() && status.is_redirection() {
        let target = headers
            .get(LOCATION)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        message = printable(&format!(
            "it redirects to {target}, which is not followed; configure the final address"
        ));
    }
    Refusal {
        status: status.as_u16(),
        reason: ours.and_then(|detail| Reason::from_str_name(&detail.reason)),
        message,
        request_id: ours
            .and_then(|detail| detail.metadata.get("requestId"))
            .map(|id| printable(id)),
    }
}

/// Text from a service that will stand on a terminal: no control characters, not endless.
pub(crate) fn printable(text: &str) -> String {
    text.chars()
        .filter(|character| !character.is_control())
        .take(MAX_MESSAGE_CHARS)
        .collect()
}

/// `base` and `path` with one slash between them.
pub(crate) fn join(base: &str, path: &str) -> String {
    format!(
        "{}/{}",
        base.trim_end_matches('/'),
        path.trim_start_matches('/')
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_comes_back_typed() {
        let body = br#"{"code":16,"message":"The token expired\u001b[2J","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo",
            "reason":"TOKEN_EXPIRED","domain":"sealwright.dev","metadata":{"requestId":"r1"}}]}"#;
        let refusal = refusal(StatusCode::UNAUTHORIZED, &HeaderMap::new(), body);
        assert_eq!(refusal.reason, Some(Reason::TokenExpired));
        assert_eq!(refusal.message, "The token expired[2J");
        assert_eq!(
            refusal.to_string(),
            "TOKEN_EXPIRED (HTTP 401): The token expired[2J [request r1]"
        );
    }

    #[test]
    fn a_foreign_refusal_keeps_its_sentence() {
        let body = br#"{"code":3,"message":"invalid type","details":[]}"#;
        let known = refusal(StatusCode::BAD_REQUEST, &HeaderMap::new(), body);
        assert_eq!(
            (known.reason, known.to_string()),
            (None, "HTTP 400: invalid type".into())
        );
        assert_eq!(
            refusal(StatusCode::BAD_GATEWAY, &HeaderMap::new(), b"<html>").to_string(),
            "HTTP 502"
        );
    }

    #[test]
    fn pauses_grow_and_differ() {
        for attempt in 1..5 {
            let longest = FIRST_PAUSE * (1 << (attempt - 1));
            let pause = pause(attempt);
            assert!(
                pause >= longest / 2 && pause <= longest,
                "{attempt}: {pause:?}"
            );
        }
    }

    #[test]
    fn urls_are_shown_without_secrets() {
        assert_eq!(shown("https://user:secret@host/a?b=c"), "https://host/a");
        assert_eq!(join("http://host/", "/api"), "http://host/api");
    }
}
