//! Logs, request ids and traces.
//!
//! Logs go to stderr, for people or as JSON. Every request has an id and a W3C trace context; both are kept beside the
//! running task ([`current`]), appear in every log line of the request and are handed on by [`inject`] and
//! [`TraceInterceptor`]. Spans are exported over OTLP only where an endpoint is configured; without one the trace context
//! is still passed on, so that a caller's trace does not break at us.

use std::fmt;
use std::io::IsTerminal;
use std::sync::Arc;

use ::http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry_otlp::{SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use serde::Deserialize;
use thiserror::Error;
use tracing::Instrument;
use tracing::field::{Field, Visit};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{EnvFilter, Targets};
use tracing_subscriber::fmt::FormatFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

/// The header a request id arrives and leaves in.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C Trace Context, section 3.2.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
/// W3C Trace Context, section 3.3.
pub const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
/// A longer request id is replaced, not truncated: half an id would match the wrong lines.
const MAX_REQUEST_ID: usize = 128;
/// W3C asks for at least 512 characters of `tracestate` to be passed on; more is dropped.
const MAX_TRACESTATE: usize = 512;

/// `[host.telemetry]`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// `human` or `json`.
    pub log_format: LogFormat,
    /// Which lines to write, in `tracing` filter syntax: `info`, `warn,sealwright_ca=debug`.
    pub log_filter: String,
    /// Where spans go, OTLP over gRPC, e.g. `http://127.0.0.1:4317`. Off when absent.
    pub otlp_endpoint: Option<String>,
    /// Which share of traces that begin here is exported, 0.0 to 1.0. Callers' decisions are followed.
    pub otlp_sample_ratio: f64,
    /// `service.name` of exported spans.
    pub service_name: String,
    /// Where Prometheus text is served. Off when absent.
    pub metrics_listen: Option<std::net::SocketAddr>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Human,
            log_filter: "info".to_owned(),
            otlp_endpoint: None,
            otlp_sample_ratio: 1.0,
            service_name: "sealwright".to_owned(),
            metrics_listen: None,
        }
    }
}

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Human,
    /// One JSON object a line.
    Json,
}

/// Why telemetry could not be set up.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum TelemetryError {
    /// The filter is not in `tracing` syntax.
    #[error("host.telemetry.log_filter = {filter:?}: {source}")]
    Filter {
        /// The filter as written.
        filter: String,
        /// What is wrong.
        source: tracing_subscriber::filter::ParseError,
    },
    /// The OTLP endpoint cannot be used.
    #[error("host.telemetry.otlp_endpoint = {endpoint:?}: {what}")]
    Otlp {
        /// The endpoint as written.
        endpoint: String,
        /// What is wrong.
        what: String,
    },
}

/// Keeps the exporter alive; [`Telemetry::shutdown`] sends what is left.
#[derive(Debug, Default)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Sends the spans that are still queued. Blocks for at most a second, so call it last.
    pub fn shutdown(self) {
        let Some(provider) = self.provider else {
            return;
        };
        if let Err(error) = provider.shutdown_with_timeout(std::time::Duration::from_secs(1)) {
            tracing::warn!(%error, "the last spans were not exported");
        }
    }

    /// Sends the spans that are queued now; blocks until the collector took them.
    pub fn flush(&self) {
        if let Some(Err(error)) = self.provider.as_ref().map(SdkTracerProvider::force_flush) {
            tracing::warn!(%error, "spans were not exported");
        }
    }
}

/// Installs the process's subscriber. A second call in one process changes nothing about logs (tests call it freely).
///
/// With an OTLP endpoint it must be called inside a tokio runtime.
///
/// # Errors
/// See [`TelemetryError`].
pub fn init(config: &TelemetryConfig) -> Result<Telemetry, TelemetryError> {
    let filter =
        EnvFilter::try_new(&config.log_filter).map_err(|source| TelemetryError::Filter {
            filter: config.log_filter.clone(),
            source,
        })?;
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match config.log_format {
        LogFormat::Human => {
            let for_people = lines
                .with_ansi(std::io::stderr().is_terminal())
                .fmt_fields(ForPeople);
            for_people.with_filter(filter).boxed()
        }
        LogFormat::Json => lines.json().flatten_event(true).with_filter(filter).boxed(),
    };
    let provider = config
        .otlp_endpoint
        .as_deref()
        .map(|endpoint| tracer_provider(config, endpoint))
        .transpose()?;
    let spans = provider.as_ref().map(|provider| {
        // Only our own spans: the exporter's transport is traced too and would feed itself.
        let ours = Targets::new().with_target("sealwright", tracing::Level::INFO);
        tracing_opentelemetry::layer()
            .with_tracer(provider.tracer("sealwright"))
            .with_filter(ours)
    });
    let _ = Registry::default().with(lines).with(spans).try_init();
    log_panics();
    Ok(Telemetry { provider })
}

/// Writes fields as `name=value`, without those that only exporters need and those that say nothing.
#[derive(Clone, Copy, Debug)]
struct ForPeople;

impl<'writer> FormatFields<'writer> for ForPeople {
    fn format_fields<R: RecordFields>(&self, writer: Writer<'writer>, fields: R) -> fmt::Result {
        let mut line = Line {
            writer,
            outcome: Ok(()),
            empty: true,
        };
        fields.record(&mut line);
        line.outcome
    }
}

struct Line<'writer> {
    writer: Writer<'writer>,
    outcome: fmt::Result,
    empty: bool,
}

impl Line<'_> {
    fn put(&mut self, name: &str, value: fmt::Arguments<'_>) {
        if name.starts_with("otel.") || self.outcome.is_err() {
            return;
        }
        let gap = if std::mem::take(&mut self.empty) {
            ""
        } else {
            " "
        };
        self.outcome = match name {
            "message" => write!(self.writer, "{gap}{value}"),
            _ => write!(self.writer, "{gap}{name}={value}"),
        };
    }
}

impl Visit for Line<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        match (field.name(), value) {
            (_, "") => {}
            ("message", text) => self.put("message", format_args!("{text}")),
            // Quoted, so that what came from outside cannot pretend to be another field or line.
            (name, text) => self.put(name, format_args!("{text:?}")),
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format_args!("{value:?}"));
    }
}

fn tracer_provider(
    config: &TelemetryConfig,
    endpoint: &str,
) -> Result<SdkTracerProvider, TelemetryError> {
    let unusable = |what: String| TelemetryError::Otlp {
        endpoint: endpoint.to_owned(),
        what,
    };
    let exporter = SpanExporter::builder()
        .with_tonic()
        .with_endpoint(endpoint)
        .build();
    let exporter = exporter.map_err(|error| unusable(error.to_string()))?;
    let sampler = Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(
        config.otlp_sample_ratio,
    )));
    let resource = Resource::builder()
        .with_service_name(config.service_name.clone())
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_sampler(sampler)
        .with_resource(resource)
        .build())
}

/// Panics become log lines with their place; their text stays in the log.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let text = panic.payload_as_str().unwrap_or("no text");
        let location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(
            panic.location = location,
            request.id = request_id().unwrap_or_default(),
            "panic: {text}"
        );
    }));
}

/// A position in a trace (W3C Trace Context).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    /// 16 bytes, not all zero.
    pub trace_id: [u8; 16],
    /// 8 bytes, not all zero.
    pub span_id: [u8; 8],
    /// Bit 0: sampled.
    pub flags: u8,
}

impl TraceContext {
    /// A new trace that nobody samples.
    #[must_use]
    pub fn generate() -> Self {
        // A zero id is invalid; setting one bit costs nothing.
        let (mut trace_id, mut span_id): ([u8; 16], [u8; 8]) = (rand::random(), rand::random());
        trace_id[0] |= 1;
        span_id[0] |= 1;
        Self {
            trace_id,
            span_id,
            flags: 0,
        }
    }

    /// Parses `traceparent`. A later version than 00 may carry more fields after ours; version ff is invalid.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let mut fields = text.trim().split('-');
        let [version] = hex_bytes(fields.next()?)?;
        let (trace_id, span_id, [flags]) = (
            hex_bytes(fields.next()?)?,
            hex_bytes(fields.next()?)?,
            hex_bytes(fields.next()?)?,
        );
        let complete = version != 0xff && (version != 0 || fields.next().is_none());
        let valid = complete && trace_id != [0; 16] && span_id != [0; 8];
        valid.then_some(Self {
            trace_id,
            span_id,
            flags,
        })
    }

    /// The trace id in lower-case hex, as it appears in logs.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        hex(&self.trace_id)
    }

    fn from_otel(context: &SpanContext) -> Option<Self> {
        context.is_valid().then(|| Self {
            trace_id: context.trace_id().to_bytes(),
            span_id: context.span_id().to_bytes(),
            flags: context.trace_flags().to_u8(),
        })
    }

    fn to_otel(self) -> SpanContext {
        let (trace_id, span_id) = (
            TraceId::from_bytes(self.trace_id),
            SpanId::from_bytes(self.span_id),
        );
        SpanContext::new(
            trace_id,
            span_id,
            TraceFlags::new(self.flags & 1),
            true,
            TraceState::NONE,
        )
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "00-{}-{}-{:02x}",
            hex(&self.trace_id),
            hex(&self.span_id),
            self.flags & 1
        )
    }
}

/// Made twice a request; the formatting machinery would take longer than the rest of the context.
fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or_default();
    let digits = bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]);
    let mut text = String::with_capacity(bytes.len() * 2);
    text.extend(digits);
    text
}

/// Exactly `N` bytes of lower-case hex.
fn hex_bytes<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut out = [0; N];
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(out)
}

/// What is known of the request a task works on.
#[derive(Clone, Debug)]
pub struct RequestContext {
    /// The caller's id when it sent a usable one, else ours: 32 hex digits.
    pub request_id: Arc<str>,
    /// Where in which trace the request is; of the caller when it sent one.
    pub trace: TraceContext,
    /// The caller's `tracestate`, passed on unread.
    pub tracestate: Option<HeaderValue>,
}

impl RequestContext {
    /// Reads id and trace context from a request's headers, and makes what is missing or unusable.
    #[must_use]
    pub fn from_headers(headers: &HeaderMap) -> Self {
        let text = |name: &HeaderName| headers.get(name).and_then(|value| value.to_str().ok());
        let usable = |id: &&str| {
            (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|c| c.is_ascii_graphic())
        };
        let request_id = match text(&REQUEST_ID).filter(usable) {
            Some(id) => Arc::from(id),
            None => Arc::from(hex(&rand::random::<[u8; 16]>())),
        };
        let parent = text(&TRACEPARENT).and_then(TraceContext::parse);
        let tracestate = headers
            .get(&TRACESTATE)
            .filter(|value| parent.is_some() && value.len() <= MAX_TRACESTATE)
            .cloned();
        Self {
            request_id,
            trace: parent.unwrap_or_else(TraceContext::generate),
            tracestate,
        }
    }

    /// Makes the caller's span the parent of `span`, where spans are exported.
    pub(crate) fn adopt(&self, span: &tracing::Span, has_parent: bool) {
        if has_parent {
            let remote =
                opentelemetry::Context::new().with_remote_span_context(self.trace.to_otel());
            // Fails only where spans are not exported, and then there is nothing to link.
            let _ = span.set_parent(remote);
        }
    }
}

tokio::task_local! {
    static CONTEXT: RequestContext;
}

/// The request the current task works on, if it works on one.
#[must_use]
pub fn current() -> Option<RequestContext> {
    CONTEXT.try_with(Clone::clone).ok()
}

/// The id of the request the current task works on.
#[must_use]
pub fn request_id() -> Option<String> {
    CONTEXT
        .try_with(|context| context.request_id.to_string())
        .ok()
}

/// Runs `future` as work on `context`.
pub async fn scope<F: Future>(context: RequestContext, future: F) -> F::Output {
    CONTEXT.scope(context, future).await
}

/// Lets work that is about to be spawned keep the current request's id, trace and span.
pub fn carry<F: Future + Send + 'static>(
    future: F,
) -> impl Future<Output = F::Output> + Send + 'static
where
    F::Output: Send,
{
    let context = current();
    let future = future.in_current_span();
    async move {
        match context {
            Some(context) => scope(context, future).await,
            None => future.await,
        }
    }
}

/// The trace position outgoing calls continue from: the current exported span, else the request's own context.
#[must_use]
pub fn outgoing_trace() -> Option<TraceContext> {
    let exported =
        TraceContext::from_otel(tracing::Span::current().context().span().span_context());
    exported.or_else(|| CONTEXT.try_with(|context| context.trace).ok())
}

/// Adds `traceparent`, `tracestate` and `x-request-id` of the current request to an outgoing one; for HTTP clients whose
/// requests take a [`HeaderMap`].
pub fn inject(headers: &mut HeaderMap) {
    let value = outgoing_trace().and_then(|trace| HeaderValue::try_from(trace.to_string()).ok());
    if let Some(value) = value {
        headers.insert(TRACEPARENT, value);
    }
    let Some(context) = current() else { return };
    if let Some(state) = context.tracestate {
        headers.insert(TRACESTATE, state);
    }
    if let Ok(value) = HeaderValue::from_str(&context.request_id) {
        headers.insert(REQUEST_ID, value);
    }
}

/// Does what [`inject`] does for gRPC clients: `Client::with_interceptor(channel, TraceInterceptor)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TraceInterceptor;

impl tonic::service::Interceptor for TraceInterceptor {
    fn call(
        &mut self,
        mut request: tonic::Request<()>,
    ) -> Result<tonic::Request<()>, tonic::Status> {
        inject(request.metadata_mut().as_mut());
        Ok(request)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn headers(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_trace_context_is_written_as_it_is_read() {
        assert_eq!(TraceContext::parse(PARENT).unwrap().to_string(), PARENT);
        assert!(TraceContext::parse(&format!("01{}-more", &PARENT[2..])).is_some());
    }

    #[test]
    fn invalid_trace_contexts_are_not_taken() {
        let bad = [
            "",
            "00",
            "00-0-0-0",
            &PARENT.to_uppercase(),
            &format!("ff{}", &PARENT[2..]),
            &format!("{PARENT}-more"),
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        ];
        for text in bad {
            assert!(TraceContext::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn a_request_id_is_honoured_when_visible_and_short() {
        assert_eq!(
            &*RequestContext::from_headers(&headers(REQUEST_ID, "abc-1")).request_id,
            "abc-1"
        );
        for bad in ["", "a b", &"x".repeat(129)] {
            let made = RequestContext::from_headers(&headers(REQUEST_ID, bad)).request_id;
            assert_eq!(made.len(), 32, "{bad}");
        }
    }

    #[tokio::test]
    async fn outgoing_calls_continue_the_callers_trace_also_from_spawned_work() {
        let mut incoming = headers(TRACEPARENT, PARENT);
        incoming.insert(TRACESTATE, HeaderValue::from_static("vendor=1"));
        let context = RequestContext::from_headers(&incoming);
        let outgoing = scope(context, async {
            let work = carry(async {
                let mut outgoing = HeaderMap::new();
                inject(&mut outgoing);
                outgoing
            });
            tokio::spawn(work).await.unwrap()
        });
        let outgoing = outgoing.await;
        assert_eq!(outgoing.get(TRACEPARENT).unwrap(), PARENT);
        assert_eq!(outgoing.get(TRACESTATE).unwrap(), "vendor=1");
        assert_eq!(outgoing.get(REQUEST_ID).unwrap().len(), 32);
    }
}
