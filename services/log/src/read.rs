//! Reads over HTTP: checkpoints, tiles, entry bundles, issuers (C2SP tlog-tiles and static-ct-api).
//!
//! A tile of a given width never changes, so it may be kept for good; a checkpoint is asked for again each time; what
//! does not exist yet is never kept. Bundles of entries go out in gzip to those who take it; tiles of hashes do not shrink.
//! No CORS header is sent: whoever wants pages of another site to read lets them in at the proxy in front.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue, VARY};
use http::{HeaderMap, StatusCode};
use sealwright_crypto::sha256;
use sealwright_host::http::{self as host_http, OCTETS, TEXT};
use sealwright_host::{Reason, ServiceError};
use sealwright_tlog::Hash;
use sealwright_tlog::tile::{TileId, TileKind};

use crate::api::SignatureLogs;
use crate::ct_api::CertificateLogs;
use crate::encoding::{Compressor, accepts_gzip};
use crate::log::Log;
use crate::lookup;
use crate::reader::Reader;

/// Media type of a certificate.
const PKIX_CERT: &str = "application/pkix-cert";

/// Logs to read, and the bundles of theirs that were compressed lately.
#[derive(Debug, Clone)]
struct Reads<L> {
    logs: L,
    compressor: Arc<Compressor>,
}

impl<L: Clone> Reads<L> {
    fn of(logs: &L) -> Self {
        Self {
            logs: logs.clone(),
            compressor: Arc::default(),
        }
    }
}

/// Reads of all signature logs of a listener, under `/api/v2`; the log follows from the host.
pub(crate) fn signature_routes(logs: &SignatureLogs) -> Router {
    Router::new()
        .route("/api/v2/checkpoint", only_get(get(signature_checkpoint)))
        .route("/api/v2/tile/{*tile}", only_get(get(signature_tile)))
        .with_state(Reads::of(logs))
        .merge(lookup::routes(logs))
}

/// Static reads of all certificate logs of a listener, each under its own prefix.
pub(crate) fn certificate_routes(logs: &CertificateLogs) -> Router {
    Router::new()
        .route(
            "/ct/{name}/checkpoint",
            only_get(get(certificate_checkpoint)),
        )
        .route("/ct/{name}/tile/{*tile}", only_get(get(certificate_tile)))
        .route("/ct/{name}/issuer/{fingerprint}", only_get(get(issuer)))
        .with_state(Reads::of(logs))
}

fn only_get<S: Clone + Send + Sync + 'static>(route: MethodRouter<S>) -> MethodRouter<S> {
    route.fallback(async || host_http::method_not_allowed("GET, HEAD"))
}

async fn signature_checkpoint(
    State(reads): State<Reads<SignatureLogs>>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = reads.logs.of_request(request.uri(), request.headers())?;
    Ok(checkpoint(&log.log, request.headers()))
}

async fn signature_tile(
    State(reads): State<Reads<SignatureLogs>>,
    Path(path): Path<String>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = reads.logs.of_request(request.uri(), request.headers())?;
    tile(&log.log, &path, request.headers(), &reads.compressor).await
}

async fn certificate_checkpoint(
    State(reads): State<Reads<CertificateLogs>>,
    Path(name): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    Ok(checkpoint(&reads.logs.named(&name)?.log, &headers))
}

async fn certificate_tile(
    State(reads): State<Reads<CertificateLogs>>,
    Path((name, path)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let log = reads.logs.named(&name)?;
    tile(&log.log, &path, &headers, &reads.compressor).await
}

async fn issuer(
    State(reads): State<Reads<CertificateLogs>>,
    Path((name, fingerprint)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let lower_case = fingerprint.bytes().all(|byte| !byte.is_ascii_uppercase());
    let bytes = hex::decode(&fingerprint).ok().filter(|_| lower_case);
    let digest: Hash = bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| malformed("An issuer is named by 64 lower-case hexadecimal digits"))?;
    let certificate = reads.logs.named(&name)?.log.issuer(&digest).await?;
    let response = host_http::bytes(StatusCode::OK, PKIX_CERT, certificate);
    let response = host_http::tagged(&headers, &fingerprint, response);
    Ok(host_http::immutable(response))
}

/// The newest checkpoint; its tag is of its content, which cosignatures change without changing the tree.
fn checkpoint(log: &Log, headers: &HeaderMap) -> Response {
    let note = log.tree_head().checkpoint;
    let tag = hex::encode(sha256(&note));
    let response = host_http::bytes(StatusCode::OK, TEXT, note);
    host_http::no_cache(host_http::tagged(headers, &tag, response))
}

async fn tile(
    log: &Log,
    path: &str,
    headers: &HeaderMap,
    compressor: &Arc<Compressor>,
) -> Result<Response, ServiceError> {
    let id = tile_id(path)?;
    let bytes = Reader::of(log).tile(id).await?;
    let tag = entity_tag(log, &id);
    let response = match id.kind {
        TileKind::Hashes(_) => host_http::tagged(
            headers,
            &tag,
            host_http::bytes(StatusCode::OK, OCTETS, bytes),
        ),
        TileKind::Entries | TileKind::Data => bundle(bytes, &tag, headers, compressor).await,
    };
    Ok(host_http::immutable(response))
}

/// A bundle of entries, in the coding that the client takes. Each coding has a tag of its own (RFC 9110 section 8.8.3.3).
async fn bundle(
    bytes: Bytes,
    tag: &str,
    headers: &HeaderMap,
    compressor: &Arc<Compressor>,
) -> Response {
    let compressed = match accepts_gzip(headers) {
        true => compressor.gzip(tag, &bytes).await,
        false => None,
    };
    let mut response = match compressed {
        Some(smaller) => {
            let mut response = host_http::bytes(StatusCode::OK, OCTETS, smaller);
            let coding = HeaderValue::from_static("gzip");
            response.headers_mut().insert(CONTENT_ENCODING, coding);
            host_http::tagged(headers, &format!("{tag}/gzip"), response)
        }
        None => host_http::tagged(
            headers,
            tag,
            host_http::bytes(StatusCode::OK, OCTETS, bytes),
        ),
    };
    let varies = HeaderValue::from_static("accept-encoding");
    response.headers_mut().insert(VARY, varies);
    response
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
    use std::io::Read as _;

    use axum::response::IntoResponse as _;
    use http::header::{
        ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE, ETAG,
        IF_NONE_MATCH,
    };
    use http_body_util::BodyExt as _;
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

    async fn asked(log: &Log, path: &str, headers: &HeaderMap) -> Result<Response, ServiceError> {
        tile(log, path, headers, &Arc::default()).await
    }

    fn with(name: http::HeaderName, value: &HeaderValue) -> HeaderMap {
        HeaderMap::from_iter([(name, value.clone())])
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_never_changes_may_be_kept_and_what_grows_may_not() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path()).await;
        log.submit(BodyLeaf::new("one").unwrap()).await.unwrap();

        let response = checkpoint(&log, &HeaderMap::new());
        assert_eq!(header(&response, CACHE_CONTROL), "no-cache");
        assert_eq!(header(&response, CONTENT_TYPE), "text/plain; charset=utf-8");
        assert!(!response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN));
        let seen = with(IF_NONE_MATCH, &response.headers()[ETAG]);
        let again = checkpoint(&log, &seen);
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, CACHE_CONTROL), "no-cache");

        for path in ["0/000.p/1", "entries/000.p/1"] {
            let response = asked(&log, path, &HeaderMap::new()).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
            assert_eq!(header(&response, CACHE_CONTROL), host_http::IMMUTABLE);
            assert_eq!(header(&response, CONTENT_TYPE), "application/octet-stream");
            let seen = with(IF_NONE_MATCH, &response.headers()[ETAG]);
            let again = asked(&log, path, &seen).await.unwrap();
            assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        }
        log.submit(BodyLeaf::new("two").unwrap()).await.unwrap();
        let grown = checkpoint(&log, &seen);
        assert_eq!(grown.status(), StatusCode::OK, "another checkpoint");
        log.shutdown().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn bundles_are_compressed_for_those_who_take_it_under_a_tag_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let log = log(folder.path()).await;
        log.submit(BodyLeaf::new(vec![b'a'; 5000]).unwrap())
            .await
            .unwrap();
        let gzip = with(ACCEPT_ENCODING, &HeaderValue::from_static("br, gzip"));
        let plain = asked(&log, "entries/000.p/1", &HeaderMap::new()).await;
        let small = asked(&log, "entries/000.p/1", &gzip).await.unwrap();
        let plain = plain.unwrap();
        assert_eq!(header(&plain, CONTENT_ENCODING), "");
        assert_eq!(header(&small, CONTENT_ENCODING), "gzip");
        for response in [&plain, &small] {
            assert_eq!(header(response, VARY), "accept-encoding");
            assert_eq!(header(response, CACHE_CONTROL), host_http::IMMUTABLE);
        }
        assert_ne!(plain.headers()[ETAG], small.headers()[ETAG]);
        let mut seen = gzip.clone();
        seen.insert(IF_NONE_MATCH, small.headers()[ETAG].clone());
        let again = asked(&log, "entries/000.p/1", &seen).await.unwrap();
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        assert_eq!(header(&again, VARY), "accept-encoding");
        seen.remove(ACCEPT_ENCODING);
        let other = asked(&log, "entries/000.p/1", &seen).await.unwrap();
        assert_eq!(
            other.status(),
            StatusCode::OK,
            "the other coding is other bytes"
        );

        let body = |response: Response| async {
            let collected = response.into_body().collect().await.unwrap();
            collected.to_bytes()
        };
        let (plain, small) = (body(plain).await, body(small).await);
        let mut back = Vec::new();
        flate2::read::GzDecoder::new(small.as_ref())
            .read_to_end(&mut back)
            .unwrap();
        assert_eq!(back, plain);

        let hashes = asked(&log, "0/000.p/1", &gzip).await.unwrap();
        assert_eq!(
            header(&hashes, CONTENT_ENCODING),
            "",
            "hashes do not shrink"
        );
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
            let refused = asked(&log, absent, &HeaderMap::new()).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::NotFound, "{absent}");
            assert_eq!(
                header(&refused.into_response(), CACHE_CONTROL),
                "no-store",
                "{absent}"
            );
        }
        for malformed in ["0/0", "64/000", "0/000.p/0", "0/000.p/256", "x", "0/../000"] {
            let refused = asked(&log, malformed, &HeaderMap::new()).await.unwrap_err();
            assert_eq!(refused.reason(), Reason::MalformedRequest, "{malformed}");
        }
        log.shutdown().await;
    }
}
