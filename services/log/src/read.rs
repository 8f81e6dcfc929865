//! Reads over HTTP: checkpoints, tiles, entry bundles, issuers (C2SP tlog-tiles and static-ct-api).
//!
//! A tile of a given width never changes, so it may be kept for good; a checkpoint is asked for again each time; what
//! does not exist yet is never kept. No CORS header is sent: whoever wants pages of another site to read lets them in at
//! the proxy in front.

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use sealwright_host::http::{self as host_http, OCTETS, TEXT};
use sealwright_host::{Reason, ServiceError};
use sealwright_tlog::Hash;
use sealwright_tlog::tile::TileId;

use crate::api::SignatureLogs;
use crate::ct_api::CertificateLogs;
use crate::log::Log;

/// Media type of a certificate.
const PKIX_CERT: &str = "application/pkix-cert";

/// Reads of all signature logs of a listener, under `/api/v2`; the log follows from the host.
pub(crate) fn signature_routes(logs: &SignatureLogs) -> Router {
    Router::new()
        .route(
            "/api/v2/checkpoint",
            get(signature_checkpoint).fallback(only_get),
        )
        .route(
            "/api/v2/tile/{*tile}",
            get(signature_tile).fallback(only_get),
        )
        .with_state(logs.clone())
}

/// Static reads of all certificate logs of a listener, each under its own prefix.
pub(crate) fn certificate_routes(logs: &CertificateLogs) -> Router {
    Router::new()
        .route(
            "/ct/{name}/checkpoint",
            get(certificate_checkpoint).fallback(only_get),
        )
        .route(
            "/ct/{name}/tile/{*tile}",
            get(certificate_tile).fallback(only_get),
        )
        .route(
            "/ct/{name}/issuer/{fingerprint}",
            get(issuer).fallback(only_get),
        )
        .with_state(logs.clone())
}

async fn only_get() -> ServiceError {
    host_http::method_not_allowed("GET, HEAD")
}

async fn signature_checkpoint(
    State(logs): State<SignatureLogs>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    Ok(checkpoint(&log.log))
}

async fn signature_tile(
    State(logs): State<SignatureLogs>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = &logs.of_request(request.uri(), request.headers())?.log;
    tile(log, &path, request.headers()).await
}

async fn certificate_checkpoint(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
) -> Result<Response, ServiceError> {
    Ok(checkpoint(&logs.named(&name)?.log))
}

async fn certificate_tile(
    State(logs): State<CertificateLogs>,
    Path((name, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    tile(&logs.named(&name)?.log, &path, &headers).await
}

async fn issuer(
    State(logs): State<CertificateLogs>,
    Path((name, fingerprint)): Path<(String, String)>,
) -> Result<Response, ServiceError> {
    let lower_case = fingerprint.bytes().all(|byte| !byte.is_ascii_uppercase());
    let bytes = hex::decode(&fingerprint).ok().filter(|_| lower_case);
    let fingerprint: Hash = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| malformed("An issuer is named by 64 lower-case hexadecimal digits"))?;
    let certificate = logs.named(&name)?.log.issuer(&fingerprint).await?;
    Ok(host_http::immutable(host_http::bytes(
        StatusCode::OK,
        PKIX_CERT,
        certificate,
    )))
}

fn checkpoint(log: &Log) -> Response {
    host_http::no_cache(host_http::bytes(
        StatusCode::OK,
        TEXT,
        log.tree_head().checkpoint,
    ))
}

async fn tile(log: &Log, path: &str, headers: &HeaderMap) -> Result<Response, ServiceError> {
    let id = tile_id(path)?;
    let tile = log.tile(id).await?;
    let response = host_http::bytes(StatusCode::OK, OCTETS, tile.bytes);
    let response = host_http::tagged(headers, &entity_tag(log, &tile.id), response);
    Ok(host_http::immutable(response))
}

/// The tile at `path` below `tile/`, whichever door it is asked for at.
pub(crate) fn tile_id(path: &str) -> Result<TileId, ServiceError> {
    TileId::parse(&format!("tile/{path}"))
        .map_err(|error| malformed(format!("Not a tile of a log: {error}")))
}

/// A tile's name is as good as its content within one log; the key tells logs apart that were made anew under one name.
fn entity_tag(log: &Log, id: &TileId) -> String {
    let [a, b, c, d] = log.key().key_id();
    format!("{a:02x}{b:02x}{c:02x}{d:02x}/{}/{id}", log.created())
}

fn malformed(message: impl Into<std::borrow::Cow<'static, str>>) -> ServiceError {
    ServiceError::new(Reason::MalformedRequest, message)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::response::IntoResponse as _;
    use http::header::{
        ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH,
    };
    use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
    use sealwright_host::clock::ManualClock;

    use super::*;
    use crate::{BodyLeaf, EngineOptions, EngineParts, Kind, LogIdentity, Metrics};

    async fn log(folder: &std::path::Path) -> Log {
        let identity = LogIdentity {
            name: "a".into(),
            kind: Kind::Rekor,
            origin: "log.example".into(),
        };
        let options = EngineOptions {
            create: true,
            segment_bytes: 8 << 20,
            ..EngineOptions::default()
        };
        let parts = EngineParts {
            signer: Arc::new(MemorySigner::new(
                PrivateKey::generate(KeyType::Ed25519).unwrap(),
            )),
            clock: Arc::new(ManualClock::at(1_800_000_000)),
            metrics: Metrics::default(),
            cosigner: None,
        };
        Log::open(folder, identity, options, parts).await.unwrap()
    }

    fn header(response: &Response, name: http::HeaderName) -> &str {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap())
            .unwrap_or_default()
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_never_changes_may_be_kept_and_what_grows_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path()).await;
        log.submit(BodyLeaf::new("one").unwrap()).await.unwrap();

        let response = checkpoint(&log);
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
        assert_eq!(header(&response, CONTENT_TYPE), "text/plain; charset=utf-8");
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));

        for path in ["0/000.p/1", "entries/000.p/1"] {
            let response = tile(&log, path, &HeaderMap::new()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, CACHE_CONTROL), host_http::IMMUTABLE);
            assert_eq!(header(&response, CONTENT_TYPE), "application/octet-stream");
            let seen = response.headers().get(ETAG).unwrap().clone();
            let again = tile(&log, path, &HeaderMap::from_iter([(IF_NONE_MATCH, seen)]))
                .await
                .unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
        log.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_not_there_yet_is_absent_and_what_is_no_tile_is_malformed() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path()).await;
        for absent in [
            "0/000",
            "0/000.p/1",
            "entries/000.p/1",
            "1/000.p/1",
            "data/000.p/1",
            "63/000.p/1",
        ] {
            let refused = tile(&log, absent, &HeaderMap::new()).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::NotFound, "{absent}");
            assert_eq!(
                header(&refused.into_response(), CACHE_CONTROL),
                "no-store",
                "{absent}"
            );
        }
        for malformed in ["0/0", "64/000", "0/000.p/0", "0/000.p/256", "x", "0/../000"] {
            let refused = tile(&log, malformed, &HeaderMap::new()).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::MalformedRequest, "{malformed}");
        }
        log.shutdown().await;
    }
}
