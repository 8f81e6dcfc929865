//! A refusal or failure on its way to the client: [`ServiceError`], in both wire forms.
//!
//! As HTTP it is the JSON envelope `{"code","message","details"}`; as gRPC it is a status with `google.rpc.Status` bytes
//! in `grpc-status-details-bin`. Both carry the same `google.rpc.ErrorInfo` (reason, domain, request id) and, where the
//! client should wait, `retry-after` and `google.rpc.RetryInfo`. What happened inside goes to the log only, once, at the
//! moment of conversion.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Display};
use std::time::Duration;

use ::http::header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use ::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use prost::Message;
use serde_json::json;
use tonic::Code;
use tonic::metadata::MetadataMap;

use crate::reason::{self, ERROR_DOMAIN, Reason};
use crate::telemetry;

/// The `@type` of [`ErrorInfo`] in a `google.protobuf.Any`.
pub const ERROR_INFO_TYPE: &str = "type.googleapis.com/google.rpc.ErrorInfo";
/// The `@type` of [`RetryInfo`] in a `google.protobuf.Any`.
pub const RETRY_INFO_TYPE: &str = "type.googleapis.com/google.rpc.RetryInfo";

/// `google.rpc.ErrorInfo`: why a call failed, for programs.
#[derive(Clone, PartialEq, Message)]
pub struct ErrorInfo {
    /// The reason's name, unique within `domain`.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// Always [`ERROR_DOMAIN`] when we made it.
    #[prost(string, tag = "2")]
    pub domain: String,
    /// Facts a caller may use, `requestId` among them.
    #[prost(btree_map = "string, string", tag = "3")]
    pub metadata: BTreeMap<String, String>,
}

/// `google.rpc.RetryInfo`: how long to wait before trying again.
#[derive(Clone, PartialEq, Message)]
pub struct RetryInfo {
    /// The delay to wait.
    #[prost(message, optional, tag = "1")]
    pub retry_delay: Option<prost_types::Duration>,
}

/// `google.rpc.Status`, the content of `grpc-status-details-bin`.
#[derive(Clone, PartialEq, Message)]
pub struct RpcStatus {
    /// The gRPC code.
    #[prost(int32, tag = "1")]
    pub code: i32,
    /// The public sentence.
    #[prost(string, tag = "2")]
    pub message: String,
    /// [`ErrorInfo`], then [`RetryInfo`] where present.
    #[prost(message, repeated, tag = "3")]
    pub details: Vec<prost_types::Any>,
}

/// Why a request is refused or failed.
///
/// `message` is a sentence for the person who called: what was wrong, which value, what would be accepted. `internal`
/// says what happened inside; it is logged with the request id and never leaves the process.
#[derive(Clone, Debug)]
pub struct ServiceError {
    reason: Reason,
    message: Cow<'static, str>,
    internal: Option<String>,
    retry_after: Option<Duration>,
    metadata: BTreeMap<String, String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl ServiceError {
    /// A refusal for `reason`; `message` is public.
    #[must_use]
    pub fn new(reason: Reason, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = reason::retryable(reason).then_some(Duration::from_secs(1));
        let (metadata, headers) = (BTreeMap::new(), Vec::new());
        Self {
            reason,
            message: message.into(),
            internal: None,
            retry_after,
            metadata,
            headers,
        }
    }

    /// Our own fault: the client learns nothing but the request id, the log gets `internal`.
    #[must_use]
    pub fn internal(internal: impl Display) -> Self {
        Self::new(
            Reason::Internal,
            "The service failed to answer; its operator finds the cause under the request id",
        )
        .with_internal(internal)
    }

    /// Adds what happened inside, for the log.
    #[must_use]
    pub fn with_internal(mut self, internal: impl Display) -> Self {
        self.internal = Some(internal.to_string());
        self
    }

    /// Tells the client how long to wait. Retryable reasons say one second unless told otherwise.
    #[must_use]
    pub const fn with_retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
    }

    /// Adds a fact to `ErrorInfo.metadata`, e.g. `("limit", "4194304")`.
    #[must_use]
    pub fn with_metadata(mut self, key: impl Into<String>, value: impl Display) -> Self {
        self.metadata.insert(key.into(), value.to_string());
        self
    }

    /// Adds a response header (HTTP) or a metadata entry (gRPC), e.g. `x-log-index`.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The public sentence.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What happened inside, for the log.
    #[must_use]
    pub fn internal_detail(&self) -> Option<&str> {
        self.internal.as_deref()
    }

    /// How long the client should wait, when waiting helps.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    fn error_info(&self) -> ErrorInfo {
        let mut metadata = self.metadata.clone();
        if let Some(id) = telemetry::request_id() {
            metadata.insert("requestId".to_owned(), id);
        }
        let (reason, domain) = (
            reason::name(self.reason).to_owned(),
            ERROR_DOMAIN.to_owned(),
        );
        ErrorInfo {
            reason,
            domain,
            metadata,
        }
    }

    fn log(&self, request_id: Option<&str>) {
        let (reason, message) = (reason::name(self.reason), &*self.message);
        let internal = self.internal.as_deref().unwrap_or("");
        let request_id = request_id.unwrap_or("");
        if reason::wire(self.reason).http.is_server_error() {
            tracing::error!(request.id = request_id, reason, internal, "{message}");
        } else {
            tracing::debug!(request.id = request_id, reason, internal, "{message}");
        }
    }

    /// The JSON envelope: `{"code": 16, "message": "...", "details": [{"@type": ...ErrorInfo, ...}]}`.
    #[must_use]
    pub fn envelope(&self) -> serde_json::Value {
        let info = self.error_info();
        let mut details = vec![json!({
            "@type": ERROR_INFO_TYPE, "reason": info.reason, "domain": info.domain, "metadata": info.metadata,
        })];
        if let Some(wait) = self.retry_after {
            // proto3 JSON writes a Duration as seconds with an `s`.
            details.push(json!({ "@type": RETRY_INFO_TYPE, "retryDelay": format!("{}s", wait.as_secs_f64()) }));
        }
        json!({ "code": reason::wire(self.reason).code as i32, "message": self.message, "details": details })
    }

    /// The gRPC status, without logging.
    fn to_status(&self, info: &ErrorInfo) -> tonic::Status {
        let code = reason::wire(self.reason).code;
        let mut details = vec![any(ERROR_INFO_TYPE, info)];
        let mut metadata = MetadataMap::new();
        let headers = metadata.as_mut();
        if let Some(wait) = self.retry_after {
            details.push(any(
                RETRY_INFO_TYPE,
                &RetryInfo {
                    retry_delay: prost_types::Duration::try_from(wait).ok(),
                },
            ));
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        headers.extend(self.headers.iter().cloned());
        let message = self.message.to_string();
        let status = RpcStatus {
            code: code as i32,
            message: message.clone(),
            details,
        };
        tonic::Status::with_details_and_metadata(
            code,
            message,
            Bytes::from(status.encode_to_vec()),
            metadata,
        )
    }
}

fn any(type_url: &str, message: &impl Message) -> prost_types::Any {
    prost_types::Any {
        type_url: type_url.to_owned(),
        value: message.encode_to_vec(),
    }
}

/// `Retry-After` counts whole seconds; a wait is never rounded to nothing.
fn whole_seconds(wait: Duration) -> u64 {
    wait.as_millis()
        .div_ceil(1000)
        .clamp(1, u128::from(u64::MAX)) as u64
}

impl Display for ServiceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", reason::name(self.reason), self.message)?;
        self.internal
            .as_ref()
            .map_or(Ok(()), |internal| write!(f, " ({internal})"))
    }
}

impl std::error::Error for ServiceError {}

impl From<ServiceError> for tonic::Status {
    fn from(error: ServiceError) -> Self {
        let info = error.error_info();
        error.log(info.metadata.get("requestId").map(String::as_str));
        error.to_status(&info)
    }
}

/// Marks a response whose body already is the envelope, and tells the access log why.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused(pub(crate) Reason);

impl IntoResponse for ServiceError {
    fn into_response(self) -> Response {
        self.log(telemetry::request_id().as_deref());
        let body = self.envelope().to_string();
        let mut response = (reason::wire(self.reason).http, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(wait) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(whole_seconds(wait)));
        }
        if let Some(challenge) = challenge(self.reason) {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        append_all(headers, self.headers);
        response.extensions_mut().insert(Refused(self.reason));
        response
    }
}

/// What a 401 asks for (RFC 6750 section 3): a token, or another token than the one that was sent. A missing client
/// certificate has no challenge; TLS asked for it.
fn challenge(reason: Reason) -> Option<&'static str> {
    match reason {
        Reason::ClientCertificateMissing => None,
        Reason::TokenMissing => Some("Bearer realm=\"sealwright\""),
        reason if reason::wire(reason).http == ::http::StatusCode::UNAUTHORIZED => {
            Some("Bearer realm=\"sealwright\", error=\"invalid_token\"")
        }
        _ => None,
    }
}

fn append_all(headers: &mut HeaderMap, extra: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in extra {
        headers.append(name, value);
    }
}

/// The reason carried by a gRPC status that one of our services made, with its [`ErrorInfo`].
///
/// `None` when the status has no details of ours: a proxy or another implementation made it.
#[must_use]
pub fn from_status(status: &tonic::Status) -> Option<(Reason, ErrorInfo)> {
    let decoded = RpcStatus::decode(status.details()).ok()?;
    let detail = decoded
        .details
        .iter()
        .find(|detail| detail.type_url == ERROR_INFO_TYPE)?;
    let info = ErrorInfo::decode(detail.value.as_slice()).ok()?;
    let reason = (info.domain == ERROR_DOMAIN)
        .then(|| Reason::from_str_name(&info.reason))
        .flatten()?;
    Some((reason, info))
}

/// The reason closest to a bare gRPC code, for statuses that carry no details of ours.
#[must_use]
pub const fn reason_of_code(code: Code) -> Reason {
    match code {
        Code::InvalidArgument | Code::FailedPrecondition => Reason::MalformedRequest,
        Code::OutOfRange => Reason::RequestTooLarge,
        Code::NotFound => Reason::NotFound,
        Code::AlreadyExists => Reason::AlreadyExists,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::Unauthenticated => Reason::TokenMissing,
        Code::ResourceExhausted => Reason::RateLimited,
        Code::Unimplemented => Reason::MethodNotAllowed,
        Code::DeadlineExceeded => Reason::RequestTimeout,
        Code::Unavailable => Reason::Unavailable,
        _ => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expired() -> ServiceError {
        ServiceError::new(Reason::TokenExpired, "The token expired at 10")
            .with_internal("kid=7")
            .with_metadata("exp", 10)
    }

    #[test]
    fn the_envelope_carries_reason_and_facts_but_nothing_internal() {
        let envelope = expired().envelope();
        assert_eq!(envelope["code"], 16);
        assert_eq!(envelope["details"][0]["reason"], "TOKEN_EXPIRED");
        assert_eq!(envelope["details"][0]["domain"], "sealwright.dev");
        assert_eq!(envelope["details"][0]["metadata"]["exp"], "10");
        assert!(!envelope.to_string().contains("kid=7"));
    }

    #[test]
    fn the_status_carries_the_same_and_comes_back_typed() {
        let status = tonic::Status::from(expired());
        assert_eq!(status.code(), Code::Unauthenticated);
        let (reason, info) = from_status(&status).expect("details of ours");
        assert_eq!(reason, Reason::TokenExpired);
        assert_eq!(info.metadata.get("exp").map(String::as_str), Some("10"));
        assert!(!format!("{status:?}").contains("kid=7"));
    }

    #[test]
    fn a_foreign_status_has_no_reason_of_ours() {
        assert!(from_status(&tonic::Status::internal("x")).is_none());
    }

    #[test]
    fn waiting_is_told_in_header_and_detail_of_both_forms() {
        let error = ServiceError::new(Reason::Overloaded, "Busy")
            .with_retry_after(Duration::from_millis(1500));
        assert_eq!(error.envelope()["details"][1]["retryDelay"], "1.5s");
        let status = tonic::Status::from(error.clone());
        assert_eq!(
            status
                .metadata()
                .get("retry-after")
                .and_then(|v| v.to_str().ok()),
            Some("2")
        );
        let response = error.into_response();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response
                .headers()
                .get(RETRY_AFTER)
                .and_then(|v| v.to_str().ok()),
            Some("2")
        );
    }
}
