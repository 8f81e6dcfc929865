//! Entries and proofs of signature logs over HTTP, for clients that do not compute them from tiles.
//!
//! | address below `/api/v2` | answer |
//! |---|---|
//! | `entries/{index}`, `entries?leafHash=` | the entry as it was answered when it was logged, with a fresh proof |
//! | `proof/inclusion?index=` or `?leafHash=`, `&size=` | an inclusion proof |
//! | `proof/consistency?from=&to=` | a consistency proof |
//! | `proof/{index}` | the offline proof, C2SP tlog-proof |
//!
//! Sizes that are left out are the published head's. An answer about sizes that were named never changes and may be kept; one
//! that rests on the newest head is asked for again.

use axum::Router;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get};
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderValue};
use sealwright_crypto::base64;
use sealwright_host::ServiceError;
use sealwright_host::http as host_http;
use sealwright_tlog::{Hash, tlog_proof};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::api::{SignatureLogs, entry_json};
use crate::log::Log;
use crate::reader::{BodyKind, EntryRef, Reader, malformed, parse_leaf_hash, text_of};

/// Every address of the table above.
pub(crate) fn routes(logs: &SignatureLogs) -> Router {
    Router::new()
        .route("/api/v2/entries", only_get(get(entry_by_hash)))
        .route("/api/v2/entries/{index}", only_get(get(entry_by_index)))
        .route("/api/v2/proof/inclusion", only_get(get(inclusion)))
        .route("/api/v2/proof/consistency", only_get(get(consistency)))
        .route("/api/v2/proof/{index}", only_get(get(offline_proof)))
        .with_state(logs.clone())
}

fn only_get(route: MethodRouter<SignatureLogs>) -> MethodRouter<SignatureLogs> {
    route.fallback(async || host_http::method_not_allowed("GET, HEAD"))
}

type Parameters<T> = Result<Query<T>, QueryRejection>;

fn parameters<T>(query: Parameters<T>) -> Result<T, ServiceError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| malformed(rejection.body_text()))
}

/// A leaf index in a path: decimal, without sign and leading zeros, so that one entry has one address.
fn index_in(path: Result<Path<String>, PathRejection>) -> Result<u64, ServiceError> {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    let index: Option<u64> = text.parse().ok();
    let index = index.filter(|index| index.to_string() == text);
    index.ok_or_else(|| {
        malformed(format!(
            "{text:.40?} is not a leaf index, a decimal number without leading zeros"
        ))
    })
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct HashQuery {
    leaf_hash: String,
}

async fn entry_by_hash(
    State(logs): State<SignatureLogs>,
    query: Parameters<HashQuery>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    let hash = parse_leaf_hash(&parameters(query)?.leaf_hash)?;
    entry(&log.log, EntryRef::LeafHash(hash)).await
}

async fn entry_by_index(
    State(logs): State<SignatureLogs>,
    index: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    entry(&log.log, EntryRef::Index(index_in(index)?)).await
}

async fn entry(log: &Log, entry: EntryRef) -> Result<Response, ServiceError> {
    let receipt = Reader::of(log).entry(entry).await?;
    let kind = BodyKind::of(&receipt.stored);
    let body = entry_json(&receipt, &log.key().log_id(), &kind);
    let response = host_http::bytes(StatusCode::OK, host_http::JSON, body);
    Ok(host_http::no_cache(response))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct InclusionQuery {
    index: Option<u64>,
    leaf_hash: Option<String>,
    size: Option<u64>,
}

async fn inclusion(
    State(logs): State<SignatureLogs>,
    query: Parameters<InclusionQuery>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    let InclusionQuery {
        index,
        leaf_hash,
        size,
    } = parameters(query)?;
    let leaf_hash = leaf_hash.as_deref().map(parse_leaf_hash).transpose()?;
    let entry = EntryRef::one_of(index, leaf_hash, ("index", "leafHash"))?;
    let reader = Reader::of(&log.log);
    let found = reader.inclusion(entry, size).await?;
    let mut answer = json!({
        "logIndex": found.index.to_string(),
        "leafHash": base64::encode(&found.leaf_hash),
        "treeSize": found.tree_size.to_string(),
        "rootHash": base64::encode(&found.root),
        "hashes": list(&found.hashes),
    });
    // Only the newest head has a checkpoint at hand, and only without a size is the answer about it.
    if size.is_none() {
        answer["checkpoint"] = json!({ "envelope": text_of(&reader.head().checkpoint) });
    }
    Ok(about(size, &answer))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ConsistencyQuery {
    from: u64,
    to: Option<u64>,
}

async fn consistency(
    State(logs): State<SignatureLogs>,
    query: Parameters<ConsistencyQuery>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    let ConsistencyQuery { from, to } = parameters(query)?;
    let reader = Reader::of(&log.log);
    let found = reader.consistency(from, to).await?;
    let mut answer = json!({
        "from": found.from.to_string(),
        "to": found.to.to_string(),
        "hashes": list(&found.hashes),
    });
    if to.is_none() {
        answer["checkpoint"] = json!({ "envelope": text_of(&reader.head().checkpoint) });
    }
    Ok(about(to, &answer))
}

async fn offline_proof(
    State(logs): State<SignatureLogs>,
    index: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, ServiceError> {
    let log = logs.of_request(request.uri(), request.headers())?;
    let index = index_in(index)?;
    let reader = Reader::of(&log.log);
    let proof = reader.tlog_proof(EntryRef::Index(index)).await?;
    let text = proof.to_string();
    let response = host_http::bytes(StatusCode::OK, host_http::TEXT, text);
    let mut response = host_http::no_cache(response);
    let name = format!(
        "inline; filename=\"{index}.{}\"",
        tlog_proof::FILE_EXTENSION
    );
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(CONTENT_DISPOSITION, name);
    }
    Ok(response)
}

fn list(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| base64::encode(hash)).collect()
}

/// An answer about a tree whose size the request named may be kept for good.
fn about(size: Option<u64>, answer: &Value) -> Response {
    let response = host_http::json(StatusCode::OK, answer);
    match size {
        Some(_) => host_http::immutable(response),
        None => host_http::no_cache(response),
    }
}
