//! The two doors of C2SP tlog-witness, over HTTP.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use http::StatusCode;
use sealwright_host::http as host_http;
use sealwright_host::{Reason, ServiceError};
use sealwright_tlog::witness::{Refusal, SIZE_CONTENT_TYPE, size_body};

use crate::Shared;
use crate::error::Fault;

/// Routes below the prefix of the witness's URL.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let prefix = shared.prefix.clone();
    Router::new()
        .route(
            &format!("{prefix}/add-checkpoint"),
            post(add_checkpoint).fallback(only_post),
        )
        .route(
            &format!("{prefix}/{{hash}}/checkpoint"),
            get(checkpoint).fallback(only_get),
        )
        .with_state(shared)
}

async fn only_post() -> ServiceError {
    host_http::method_not_allowed("POST")
}

async fn only_get() -> ServiceError {
    host_http::method_not_allowed("GET, HEAD")
}

async fn add_checkpoint(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let body = host_http::read_body(&parts.headers, body, shared.max_request).await?;
    // On a task of its own: a client that goes away must not end what is half stored.
    let working = shared.clone();
    let work = tokio::spawn(async move { working.add_checkpoint(&body).await });
    let outcome = work.await.map_err(ServiceError::internal)?;
    Ok(match outcome {
        Ok(lines) => host_http::no_store(host_http::bytes(StatusCode::OK, host_http::TEXT, lines)),
        Err(fault) => {
            shared.metrics.refused(&fault);
            refusal(fault)
        }
    })
}

async fn checkpoint(
    State(shared): State<Arc<Shared>>,
    Path(hash): Path<String>,
) -> Result<Response, ServiceError> {
    let named = hash.len() == 64
        && hash
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    if !named {
        return Err(ServiceError::new(
            Reason::MalformedRequest,
            "A log is named by the SHA-256 of its origin, 64 lower-case hexadecimal digits",
        ));
    }
    let note = shared.monitored(&hash).await.map_err(storage)?;
    let note = note.ok_or_else(|| host_http::not_found("checkpoint of this log"))?;
    Ok(host_http::no_cache(host_http::bytes(
        StatusCode::OK,
        host_http::TEXT,
        note,
    )))
}

/// The status is the protocol's; the body of 409 too. The others carry the envelope of every service.
fn refusal(fault: Fault) -> Response {
    let Fault::Refused(refusal) = fault else {
        return storage(fault).into_response();
    };
    let reason = match &refusal {
        Refusal::Conflict { known, .. } => {
            let size = size_body(*known);
            return host_http::no_store(host_http::bytes(
                StatusCode::CONFLICT,
                SIZE_CONTENT_TYPE,
                size,
            ));
        }
        Refusal::UnknownOrigin { .. } => Reason::NotFound,
        Refusal::NotSigned(_) => Reason::PermissionDenied,
        Refusal::NotAnExtension(_) => Reason::EntryInvalid,
        _ => Reason::MalformedRequest,
    };
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut response = ServiceError::new(reason, sentence(&refusal)).into_response();
    *response.status_mut() = status;
    response
}

fn sentence(refusal: &Refusal) -> String {
    let text = refusal.to_string();
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(chars).collect()
    })
}

fn storage(fault: Fault) -> ServiceError {
    let (reason, message) = match &fault {
        Fault::ClockBehind { .. } => (
            Reason::TimeNotAvailable,
            "The witness's clock went backwards; nothing was cosigned; try again later",
        ),
        Fault::Signer(_) => (
            Reason::SignerUnavailable,
            "The witness's key is not available; nothing was cosigned; try again",
        ),
        _ => (
            Reason::StorageUnavailable,
            "The witness's state is not available; try again",
        ),
    };
    ServiceError::new(reason, message).with_internal(&fault)
}
