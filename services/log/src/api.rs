//! The doors of a signature log: `POST /api/v2/log/entries` and the gRPC service `dev.sigstore.rekor.v2.Rekor`.
//!
//! Wire types become a [`Submission`] here and nowhere else. Reads over HTTP are in [`crate::read`]; the gRPC service
//! answers its three reads here, from the same functions.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::post;
use http::header::{ACCEPT, HOST};
use http::{HeaderName, HeaderValue, StatusCode};
use sealwright_crypto::base64;
use sealwright_host::http as host_http;
use sealwright_host::{Reason, ServiceError, grpc};
use sealwright_proto::common::v1::{LogId, X509Certificate};
use sealwright_proto::google::api::HttpBody;
use sealwright_proto::rekor::v1::{Checkpoint, InclusionProof, KindVersion, TransparencyLogEntry};
use sealwright_proto::rekor::v2::rekor_server::{Rekor, RekorServer};
use sealwright_proto::rekor::v2::{
    self as wire, CreateEntryRequest, EntryBundleRequest, TileRequest, create_entry_request,
};
use sealwright_tlog::entry::{API_VERSION, HASHEDREKORD_KIND, VerifierMaterial};
use sealwright_tlog::tile::TileId;
use sealwright_tlog::{Note, TlogProof};
use serde::Deserialize;

use crate::cpu::{Cost, CpuPool};
use crate::encoding::weighted;
use crate::entry::rekor::{Admission, Submission, Verifier};
use crate::kind::BodyLeaf;
use crate::log::{Log, Receipt};
use crate::read::tile_id;
use crate::reader::{BodyKind, Reader};
use crate::shards::{Gate, Shards};

/// Path of the write door.
const ENTRIES: &str = "/api/v2/log/entries";
/// Carries the index of an entry that the log had before.
const X_LOG_INDEX: HeaderName = HeaderName::from_static("x-log-index");
/// Says that the answer is about an entry that the log had before.
const X_LOG_DUPLICATE: HeaderName = HeaderName::from_static("x-log-duplicate");

/// The least of what gRPC reads of a request: logs that come later read no more than this, whatever their sections say.
pub(crate) const MAX_GRPC_REQUEST: usize = 4 << 20;

/// What a resubmitted entry is answered with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum DuplicateMode {
    /// 201 with the existing entry and a fresh proof: a client that lost the first answer goes on as if it had it.
    #[default]
    Existing,
    /// 409 with the index in a header, as upstream answers.
    Conflict,
}

/// A signature log with its rules.
#[derive(Debug, Clone)]
pub(crate) struct SignatureLog {
    pub(crate) log: Log,
    pub(crate) admission: Arc<Admission>,
    pub(crate) duplicates: DuplicateMode,
    pub(crate) gate: Arc<Gate>,
    pub(crate) max_request: usize,
    pub(crate) cpu: CpuPool,
}

/// All signature logs of a listener. Several shards share a port and are told apart by host name, because clients derive
/// a log's origin from the host of its base URL.
#[derive(Debug, Clone)]
pub(crate) struct SignatureLogs(Shards);

impl SignatureLogs {
    pub(crate) fn new(shards: Shards) -> Self {
        Self(shards)
    }

    /// The log at the host that was asked; the only one, whatever the host, when there is only one.
    pub(crate) fn by_host(
        &self,
        authority: Option<&str>,
    ) -> Result<Arc<SignatureLog>, ServiceError> {
        let host = authority.map(without_port).unwrap_or_default();
        let found = self.0.signature_log(host);
        found.ok_or_else(|| host_http::not_found(&format!("log for the host {host:.100}")))
    }

    /// As [`Self::by_host`], from a request's `:authority` or `Host`.
    pub(crate) fn of_request(
        &self,
        uri: &http::Uri,
        headers: &http::HeaderMap,
    ) -> Result<Arc<SignatureLog>, ServiceError> {
        let authority = uri.authority().map(http::uri::Authority::as_str);
        self.by_host(authority.or_else(|| headers.get(HOST).and_then(|host| host.to_str().ok())))
    }
}

/// `host:port` and `[v6]:port` without the port.
pub(crate) fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port))
            if !host.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) =>
        {
            host
        }
        _ => authority,
    }
}

/// The write door and the gRPC service. `/api/v2/checkpoint` and the tiles are [`crate::read`]'s.
pub(crate) fn router(logs: &SignatureLogs) -> Router {
    let max_request = logs.0.max_request(MAX_GRPC_REQUEST);
    let routes = Router::new()
        .route(ENTRIES, post(create_entry).fallback(only_post))
        .with_state(logs.clone());
    let service = RekorServer::new(Rpc(logs.clone())).max_decoding_message_size(max_request);
    grpc::mount(routes, service)
}

async fn only_post() -> ServiceError {
    host_http::method_not_allowed("POST")
}

async fn create_entry(
    State(logs): State<SignatureLogs>,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let log = logs.of_request(&parts.uri, &parts.headers)?;
    log.require_open()?;
    host_http::expect_json(&parts.headers)?;
    let body = host_http::read_body(&parts.headers, body, log.max_request).await?;
    let submission = parse_submission(&body)?;
    drop(body);
    let receipt = log.create_entry(submission).await?;
    created(&log, &receipt, prefers_text(&parts.headers))
}

/// Whether the client would rather have the offline proof as text than the entry as JSON. It has to say so: many clients
/// send `application/json, text/plain, */*` without meaning it.
fn prefers_text(headers: &http::HeaderMap) -> bool {
    let lists = headers.get_all(ACCEPT).into_iter();
    let ranges = lists
        .filter_map(|list| list.to_str().ok())
        .flat_map(|list| list.split(','))
        .map(weighted);
    let (mut text, mut json) = (0.0_f32, 0.0_f32);
    for (range, weight) in ranges {
        if range.eq_ignore_ascii_case("text/plain") {
            text = weight;
        } else if range.eq_ignore_ascii_case(host_http::JSON) {
            json = weight;
        }
    }
    text > json
}

/// 201, the only status that clients take for success, for new and for existing entries.
fn created(log: &SignatureLog, receipt: &Receipt, as_text: bool) -> Result<Response, ServiceError> {
    let (media_type, body) = if as_text {
        (host_http::TEXT, offline_proof(receipt)?)
    } else {
        let kind = BodyKind::made_here();
        let log_id = log.log.key().log_id();
        (host_http::JSON, entry_json(receipt, &log_id, &kind))
    };
    let response = host_http::bytes(StatusCode::CREATED, media_type, body);
    let mut response = host_http::no_store(response);
    if receipt.duplicate {
        let headers = response.headers_mut();
        headers.insert(X_LOG_INDEX, HeaderValue::from(receipt.index));
        headers.insert(X_LOG_DUPLICATE, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// The receipt as C2SP tlog-proof.
fn offline_proof(receipt: &Receipt) -> Result<String, ServiceError> {
    let note = Note::parse(receipt.checkpoint.as_bytes()).map_err(ServiceError::internal)?;
    let proof = TlogProof::new(receipt.index, receipt.proof.clone(), note);
    Ok(proof.map_err(ServiceError::internal)?.to_string())
}

impl SignatureLog {
    /// Verifies a submission, logs it, and proves it.
    async fn create_entry(&self, submission: Submission) -> Result<Receipt, ServiceError> {
        // What costs nothing is refused before it can take a place among what costs something.
        submission.check_shape()?;
        let admission = self.admission.clone();
        let leaf = self.cpu.run(Cost::of_submission(&submission), move || {
            let entry = admission.admit(submission)?;
            let body = entry.canonical_body().map_err(crate::Error::from)?;
            Ok::<_, ServiceError>(BodyLeaf::new(body).map_err(crate::Error::from)?)
        });
        let receipt = self.log.submit(leaf.await??).await?;
        if receipt.duplicate && self.duplicates == DuplicateMode::Conflict {
            return Err(conflict(receipt.index));
        }
        Ok(receipt)
    }

    fn require_open(&self) -> Result<(), ServiceError> {
        self.gate.require_open()
    }

    async fn tile(&self, id: TileId) -> Result<HttpBody, ServiceError> {
        let tile = Reader::of(&self.log).tile(id).await?;
        Ok(http_body(host_http::OCTETS, tile))
    }
}

fn conflict(index: u64) -> ServiceError {
    let message =
        format!("an equivalent entry already exists in the transparency log with index {index}");
    ServiceError::new(Reason::AlreadyExists, message)
        .with_metadata("logIndex", index)
        .with_header(X_LOG_INDEX, HeaderValue::from(index))
}

/// The JSON of a TransparencyLogEntry with every field spelled out, as clients have come to expect: 64-bit numbers are
/// strings, there is no time and no promise. Written by hand: it is on the way of every entry, and few of its values need
/// escaping.
pub(crate) fn entry_json(receipt: &Receipt, log_id: &[u8; 32], kind: &BodyKind) -> String {
    let mut json =
        String::with_capacity(1024 + receipt.stored.len() * 4 / 3 + receipt.proof.len() * 48);
    let index = receipt.index.to_string();
    let mut put = |parts: &[&str]| parts.iter().for_each(|part| json.push_str(part));
    put(&[
        r#"{"logIndex":""#,
        &index,
        r#"","logId":{"keyId":""#,
        &base64::encode(log_id),
    ]);
    put(&[
        r#""},"kindVersion":{"kind":"#,
        &escaped(&kind.kind),
        r#","version":"#,
        &escaped(&kind.version),
    ]);
    put(&[
        r#"},"integratedTime":"0","inclusionPromise":null,"inclusionProof":{"logIndex":""#,
        &index,
    ]);
    put(&[
        r#"","rootHash":""#,
        &base64::encode(&receipt.root),
        r#"","treeSize":""#,
        &receipt.tree_size.to_string(),
    ]);
    put(&[r#"","hashes":["#]);
    for (position, hash) in receipt.proof.iter().enumerate() {
        put(&[
            if position == 0 { "\"" } else { ",\"" },
            &base64::encode(hash),
            "\"",
        ]);
    }
    put(&[
        r#"],"checkpoint":{"envelope":"#,
        &escaped(&receipt.checkpoint),
        r#"}},"canonicalizedBody":""#,
    ]);
    put(&[&base64::encode(&receipt.stored), r#""}"#]);
    json
}

/// A JSON string.
fn escaped(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn entry_message(receipt: Receipt, log_id: &[u8; 32]) -> TransparencyLogEntry {
    let log_index = signed(receipt.index);
    TransparencyLogEntry {
        log_index,
        log_id: Some(LogId {
            key_id: log_id.to_vec(),
        }),
        kind_version: Some(KindVersion {
            kind: HASHEDREKORD_KIND.to_owned(),
            version: API_VERSION.to_owned(),
        }),
        integrated_time: 0,
        inclusion_promise: None,
        inclusion_proof: Some(InclusionProof {
            log_index,
            root_hash: receipt.root.to_vec(),
            tree_size: signed(receipt.tree_size),
            hashes: receipt.proof.iter().map(|hash| hash.to_vec()).collect(),
            checkpoint: Some(Checkpoint {
                envelope: receipt.checkpoint,
            }),
        }),
        canonicalized_body: receipt.stored.to_vec(),
    }
}

/// No tree reaches 2^63 entries.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Reads the JSON body of a request to log one signature. Whether it is admitted is
/// [`Admission`]'s decision.
///
/// # Errors
/// The reason with which the request is refused.
pub fn parse_submission(body: &[u8]) -> Result<Submission, ServiceError> {
    submission(host_http::parse_json(body)?)
}

/// The one place where wire types of a request become ours. What proto3 cannot tell apart (absent and empty) is
/// left to [`Submission::check_shape`].
fn submission(request: CreateEntryRequest) -> Result<Submission, ServiceError> {
    match request.spec {
        Some(create_entry_request::Spec::HashedRekordRequestV002(request)) => {
            let signature = request.signature.ok_or_else(|| missing("signature"))?;
            Ok(Submission::HashedRekord {
                digest: request.digest,
                signature: signature.content,
                verifier: verifier(signature.verifier)?,
            })
        }
        Some(create_entry_request::Spec::DsseRequestV002(request)) => {
            let envelope = request.envelope.ok_or_else(|| missing("envelope"))?;
            Ok(Submission::Dsse {
                payload_type: envelope.payload_type,
                payload: envelope.payload,
                signatures: envelope
                    .signatures
                    .into_iter()
                    .map(|signature| signature.sig)
                    .collect(),
                verifiers: request
                    .verifiers
                    .into_iter()
                    .map(|one| verifier(Some(one)))
                    .collect::<Result<_, _>>()?,
            })
        }
        None => Err(ServiceError::new(
            Reason::EntryTypeUnsupported,
            "The entry is not accepted: send hashedRekordRequestV002 or dsseRequestV002",
        )),
    }
}

fn verifier(verifier: Option<wire::Verifier>) -> Result<Verifier, ServiceError> {
    let verifier = verifier.ok_or_else(|| missing("verifier"))?;
    let material = match verifier.verifier {
        Some(wire::verifier::Verifier::PublicKey(wire::PublicKey { raw_bytes })) => {
            VerifierMaterial::PublicKey(raw_bytes)
        }
        Some(wire::verifier::Verifier::X509Certificate(X509Certificate { raw_bytes })) => {
            VerifierMaterial::X509Certificate(raw_bytes)
        }
        None => return Err(missing("verifier.publicKey or verifier.x509Certificate")),
    };
    Ok(Verifier {
        material,
        key_details: verifier.key_details,
    })
}

fn missing(field: &'static str) -> ServiceError {
    crate::entry::rekor::Refusal::Missing { field }.into()
}

fn http_body(content_type: &str, data: bytes::Bytes) -> HttpBody {
    HttpBody {
        content_type: content_type.to_owned(),
        data,
        ..HttpBody::default()
    }
}

/// The host that a gRPC request asks, with its port.
pub(crate) fn authority_of<T>(request: &tonic::Request<T>) -> Option<&str> {
    let authority = request.extensions().get::<http::uri::Authority>();
    let host = || request.metadata().get(HOST.as_str())?.to_str().ok();
    authority.map(http::uri::Authority::as_str).or_else(host)
}

/// The gRPC service over all logs.
#[derive(Debug, Clone)]
struct Rpc(SignatureLogs);

impl Rpc {
    fn log<T>(&self, request: &tonic::Request<T>) -> Result<Arc<SignatureLog>, tonic::Status> {
        Ok(self.0.by_host(authority_of(request))?)
    }
}

#[tonic::async_trait]
impl Rekor for Rpc {
    async fn create_entry(
        &self,
        request: tonic::Request<CreateEntryRequest>,
    ) -> Result<tonic::Response<TransparencyLogEntry>, tonic::Status> {
        let log = self.log(&request)?;
        log.require_open()?;
        let receipt = log.create_entry(submission(request.into_inner())?).await?;
        let (duplicate, index) = (receipt.duplicate, receipt.index);
        let mut response = tonic::Response::new(entry_message(receipt, &log.log.key().log_id()));
        if duplicate {
            let headers = response.metadata_mut().as_mut();
            headers.insert(X_LOG_INDEX, HeaderValue::from(index));
            headers.insert(X_LOG_DUPLICATE, HeaderValue::from_static("true"));
        }
        Ok(response)
    }

    async fn get_tile(
        &self,
        request: tonic::Request<TileRequest>,
    ) -> Result<tonic::Response<HttpBody>, tonic::Status> {
        let log = self.log(&request)?;
        let TileRequest { l, n } = request.into_inner();
        let id = tile_id(&format!("{l}/{n}"))?;
        Ok(tonic::Response::new(log.tile(id).await?))
    }

    async fn get_entry_bundle(
        &self,
        request: tonic::Request<EntryBundleRequest>,
    ) -> Result<tonic::Response<HttpBody>, tonic::Status> {
        let log = self.log(&request)?;
        let id = tile_id(&format!("entries/{}", request.get_ref().n))?;
        Ok(tonic::Response::new(log.tile(id).await?))
    }

    async fn get_checkpoint(
        &self,
        request: tonic::Request<sealwright_proto::Empty>,
    ) -> Result<tonic::Response<HttpBody>, tonic::Status> {
        let head = self.log(&request)?.log.tree_head();
        Ok(tonic::Response::new(http_body(
            host_http::TEXT,
            head.checkpoint,
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_compared_without_their_port() {
        for (authority, host) in [
            ("127.0.0.1:7700", "127.0.0.1"),
            ("log.example.com", "log.example.com"),
            ("[::1]:7700", "[::1]"),
            ("x:", "x"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }

    #[test]
    fn text_is_given_to_those_who_prefer_it() {
        let prefers = |accept: &'static str| {
            prefers_text(&http::HeaderMap::from_iter([(
                ACCEPT,
                HeaderValue::from_static(accept),
            )]))
        };
        for text in [
            "text/plain",
            "Text/Plain; q=0.2",
            "text/plain, */*",
            "application/json;q=0.5, text/plain",
        ] {
            assert!(prefers(text), "{text}");
        }
        for json in [
            "",
            "*/*",
            "text/*",
            "application/json, text/plain, */*",
            "text/plain;q=0",
            "text/plain;q=x",
        ] {
            assert!(!prefers(json), "{json}");
        }
        assert!(!prefers_text(&http::HeaderMap::new()));
    }

    #[test]
    fn the_json_is_the_message_with_every_field() {
        let receipt = Receipt {
            index: 5,
            leaf_hash: [1; 32],
            timestamp_ms: Some(7),
            tree_size: 6,
            root: [2; 32],
            proof: vec![[3; 32], [4; 32]],
            checkpoint: "127.0.0.1\n6\nAgIC=\n\n\u{2014} 127.0.0.1 \"quoted\"\\\n".to_owned(),
            stored: bytes::Bytes::from_static(b"{\"body\":1}"),
            attachment: bytes::Bytes::new(),
            duplicate: false,
        };
        let json = entry_json(&receipt, &[9; 32], &BodyKind::made_here());
        let value: serde_json::Value = serde_json::from_str(&json).expect("JSON");
        assert_eq!(value["logIndex"], "5");
        assert_eq!(value["integratedTime"], "0");
        assert!(value["inclusionPromise"].is_null());
        let read: TransparencyLogEntry = serde_json::from_str(&json).expect("the message");
        assert_eq!(read, entry_message(receipt.clone(), &[9; 32]));
        let alone = entry_json(
            &Receipt {
                proof: Vec::new(),
                ..receipt
            },
            &[9; 32],
            &BodyKind::made_here(),
        );
        assert!(
            alone.contains(r#""hashes":[],"#),
            "an empty list is there, too"
        );
    }
}
