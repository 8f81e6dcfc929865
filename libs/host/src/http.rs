//! Helpers that every HTTP handler needs: capped bodies, content types, JSON answers, cache headers.
//!
//! Every refusal is a [`ServiceError`], so that all doors answer in the same envelope.

use ::http::header::{
    ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    X_CONTENT_TYPE_OPTIONS,
};
use ::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::reason::Reason;
use crate::status::ServiceError;

/// Media type of JSON.
pub const JSON: &str = "application/json";
/// Media type of plain text in UTF-8.
pub const TEXT: &str = "text/plain; charset=utf-8";
/// Media type of bytes that nobody should interpret.
pub const OCTETS: &str = "application/octet-stream";
/// `Cache-Control` of content whose address changes when it does.
pub const IMMUTABLE: &str = "public, max-age=604800, immutable";

/// Whether a URL leads to this machine and nowhere else: a loopback address, or `localhost`.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    }
}

/// Reads a request body of at most `limit` bytes.
///
/// # Errors
/// `REQUEST_TOO_LARGE` (413, the limit named) as soon as the declared or the received length passes `limit`;
/// `REQUEST_TIMEOUT` when the sender stalls; `MALFORMED_REQUEST` when the connection breaks off.
pub async fn read_body(
    headers: &HeaderMap,
    body: Body,
    limit: usize,
) -> Result<Bytes, ServiceError> {
    if declared_length(headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large(limit));
    }
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large(limit)),
        Err(error) => Err(ServiceError::new(
            Reason::MalformedRequest,
            "The request body ended before it was complete",
        )
        .with_internal(error)),
    }
}

/// The length the sender declared, when it declared one that can be read.
#[must_use]
pub fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// 413, with the limit in the sentence and in the details.
#[must_use]
pub fn too_large(limit: usize) -> ServiceError {
    ServiceError::new(
        Reason::RequestTooLarge,
        format!("The request is larger than the limit of {limit} bytes"),
    )
    .with_metadata("limitBytes", limit)
}

/// Parses a JSON body, whatever its declared content type: published clients send several.
///
/// # Errors
/// `MALFORMED_REQUEST` with the parser's position and complaint.
pub fn parse_json<T: DeserializeOwned>(body: &[u8]) -> Result<T, ServiceError> {
    serde_json::from_slice(body).map_err(|error| {
        ServiceError::new(
            Reason::MalformedRequest,
            format!("The request is not the expected JSON: {error}"),
        )
    })
}

/// The declared content type without parameters, in lower case: `application/json; charset=utf-8` is `application/json`.
#[must_use]
pub fn content_type(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let essence = value.split(';').next().unwrap_or(value).trim();
    Some(essence.to_ascii_lowercase())
}

/// Insists on one of `accepted` content types and returns the one that was declared.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE` (415) naming what was sent and what is accepted.
pub fn expect_content_type(
    headers: &HeaderMap,
    accepted: &[&'static str],
) -> Result<&'static str, ServiceError> {
    let declared = content_type(headers).unwrap_or_default();
    accepted
        .iter()
        .copied()
        .find(|candidate| *candidate == declared)
        .ok_or_else(|| {
            let sent = if declared.is_empty() {
                "none".to_owned()
            } else {
                declared
            };
            let accepted = accepted.join(", ");
            let message = format!(
                "The content type must be one of: {accepted}; the request declared {sent:.100}"
            );
            ServiceError::new(Reason::UnsupportedMediaType, message)
        })
}

/// The token of `Authorization: Bearer TOKEN`, when there is such a header.
///
/// # Errors
/// `MALFORMED_REQUEST` when there are several: a proxy in front may have looked at another one than we would.
pub fn bearer_token(headers: &HeaderMap) -> Result<Option<&str>, ServiceError> {
    Ok(one_header(headers, &AUTHORIZATION)?.and_then(|value| {
        let (scheme, token) = value.split_once(' ')?;
        let token = token.trim();
        (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
    }))
}

/// The value of a header that may be there once. A value that is not ASCII text counts as none.
///
/// # Errors
/// `MALFORMED_REQUEST` when it is there more than once.
pub fn one_header<'a>(
    headers: &'a HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'a str>, ServiceError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ServiceError::new(
            Reason::MalformedRequest,
            format!("The request has several {name} headers; one is accepted"),
        ));
    }
    Ok(first.and_then(|value| value.to_str().ok()))
}

/// Whether the request speaks gRPC.
#[must_use]
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// A JSON answer.
///
/// A value that cannot be serialised is our fault: the answer is then the generic 500.
pub fn json<T: Serialize + ?Sized>(status: StatusCode, value: &T) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => bytes(status, JSON, body),
        Err(error) => {
            ServiceError::internal(format!("answer does not serialise: {error}")).into_response()
        }
    }
}

/// An answer of raw bytes.
pub fn bytes(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response {
    let mut response = (status, body.into()).into_response();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Marks a response as one that nobody may keep.
#[must_use]
pub fn no_store(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Marks a response as one that must be asked for again each time.
#[must_use]
pub fn no_cache(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response
}

/// Marks a response as one that may be kept for good: its address names its content.
#[must_use]
pub fn immutable(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static(IMMUTABLE));
    response
}

/// Marks a response as one that may be kept for `seconds`.
#[must_use]
pub fn cache_for(mut response: Response, seconds: u32) -> Response {
    let value = HeaderValue::try_from(format!("public, max-age={seconds}"));
    response.headers_mut().insert(
        CACHE_CONTROL,
        value.unwrap_or(HeaderValue::from_static("no-store")),
    );
    response
}

/// Names the content of an answer, and leaves the content out (304) when the request says that the client has it.
///
/// `tag` is the text between the quotes: visible ASCII without quotes, equal exactly when the content is (RFC 9110, 8.8.3).
#[must_use]
pub fn tagged(request: &HeaderMap, tag: &str, mut response: Response) -> Response {
    let quoted = format!("\"{tag}\"");
    let known = |seen: &str| seen == "*" || seen.trim_start_matches("W/") == quoted;
    let seen = request.get_all(IF_NONE_MATCH).into_iter();
    let mut seen = seen.filter_map(|value| value.to_str().ok());
    if seen.any(|list| list.split(',').any(|seen| known(seen.trim()))) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        *response.body_mut() = Body::empty();
        response.headers_mut().remove(CONTENT_TYPE);
    }
    if let Ok(tag) = HeaderValue::try_from(quoted) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

/// 404 in the envelope; `what` completes "There is no ...".
#[must_use]
pub fn not_found(what: &str) -> ServiceError {
    ServiceError::new(Reason::NotFound, format!("There is no {what}"))
}

/// Insists on JSON where a content type is declared. None at all is tolerated; a form or plain text is what a page of
/// another site can make a browser send without asking, and is refused.
///
/// # Errors
/// `UNSUPPORTED_MEDIA_TYPE` (415).
pub fn expect_json(headers: &HeaderMap) -> Result<(), ServiceError> {
    if headers.contains_key(CONTENT_TYPE) {
        expect_content_type(headers, &[JSON])?;
    }
    Ok(())
}

/// 405 in the envelope with `Allow`, e.g. `method_not_allowed("GET, HEAD")`.
#[must_use]
pub fn method_not_allowed(allow: &'static str) -> ServiceError {
    ServiceError::new(
        Reason::MethodNotAllowed,
        format!("This address accepts only: {allow}"),
    )
    .with_header(ALLOW, HeaderValue::from_static(allow))
}

/// Whether the method only reads.
#[must_use]
pub fn reads(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect()
    }

    #[tokio::test]
    async fn a_body_is_refused_by_its_declaration_and_by_its_length() {
        let declared = headers(&[("content-length", "11")]);
        let error = read_body(&declared, Body::empty(), 10)
            .await
            .expect_err("declared too long");
        assert_eq!(error.reason(), Reason::RequestTooLarge);
        let error = read_body(&HeaderMap::new(), Body::from(vec![0; 11]), 10)
            .await
            .expect_err("is too long");
        assert!(error.message().contains("10 bytes"), "{error}");
        assert_eq!(
            read_body(&HeaderMap::new(), Body::from("0123456789"), 10)
                .await
                .unwrap()
                .len(),
            10
        );
    }

    #[test]
    fn content_types_are_compared_without_parameters_and_case() {
        let sent = headers(&[("content-type", "Application/Timestamp-Query; x=y")]);
        assert_eq!(
            expect_content_type(&sent, &[JSON, "application/timestamp-query"]).unwrap(),
            "application/timestamp-query"
        );
        let error = expect_content_type(&HeaderMap::new(), &[JSON]).expect_err("none declared");
        assert_eq!(error.reason(), Reason::UnsupportedMediaType);
    }

    #[test]
    fn a_bearer_token_is_taken_only_when_it_is_alone() {
        assert_eq!(
            bearer_token(&headers(&[("authorization", "bearer  abc")])).unwrap(),
            Some("abc")
        );
        assert_eq!(
            bearer_token(&headers(&[("authorization", "Basic abc")])).unwrap(),
            None
        );
        let mut twice = headers(&[("authorization", "Bearer a")]);
        twice.append(AUTHORIZATION, HeaderValue::from_static("Bearer b"));
        let error = bearer_token(&twice).expect_err("twice");
        assert_eq!(error.reason(), Reason::MalformedRequest);
    }
}
