//! Refusals that the HTTP/1.1 parser makes before there is a request: a head that is too large or no HTTP at all. The
//! parser answers them with a bare status line; here they get the envelope that every other refusal has.
//!
//! This works on the bytes the parser writes, because it offers no other place. What is not recognised passes as it is.

use ::http::HeaderMap;
use bytes::Bytes;

use crate::reason::Reason;
use crate::status::ServiceError;
use crate::telemetry::{REQUEST_ID, RequestContext};

/// Heads longer than this are not the parser's.
const MAX_BARE: usize = 256;

/// The envelope for `written`, when that is a refusal by the parser and nothing else.
pub(super) fn enveloped(written: &[u8], max_header_bytes: u64) -> Option<Bytes> {
    // Our own answers carry a request id and are longer; the parser's are a status line, a date and two headers.
    if written.len() > MAX_BARE || !written.starts_with(b"HTTP/1.1 4") {
        return None;
    }
    let head = std::str::from_utf8(written).ok()?.to_ascii_lowercase();
    let ours = head.contains(REQUEST_ID.as_str());
    if ours || !head.ends_with("\r\n\r\n") || !head.contains("\r\ncontent-length: 0\r\n") {
        return None;
    }
    let status = head.get(9..12)?;
    Some(refusal(status, max_header_bytes)?.into())
}

fn refusal(status: &str, max_header_bytes: u64) -> Option<String> {
    let (line, error) = match status {
        "400" => (
            "400 Bad Request",
            ServiceError::new(Reason::MalformedRequest, "This is not an HTTP request"),
        ),
        "414" => (
            "414 URI Too Long",
            ServiceError::new(
                Reason::RequestTooLarge,
                "The address in the request is too long",
            ),
        ),
        "431" => (
            "431 Request Header Fields Too Large",
            ServiceError::new(
                Reason::RequestTooLarge,
                format!("The request head is larger than the limit of {max_header_bytes} bytes"),
            )
            .with_metadata("limitBytes", max_header_bytes),
        ),
        _ => return None,
    };
    let id = RequestContext::from_headers(&HeaderMap::new()).request_id;
    let body = error.with_metadata("requestId", &id).envelope().to_string();
    let length = body.len();
    Some(format!(
        "HTTP/1.1 {line}\r\ncontent-type: application/json\r\ncache-control: no-store\r\nx-request-id: {id}\r\n\
         content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    ))
}
