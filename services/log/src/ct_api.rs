//! The doors of certificate logs: RFC 6962 sections 4.1 to 4.8 and the gRPC service
//! `sealwright.ct.v1.CertificateTransparency`. The read paths of static-ct-api are in [`crate::read`].
//!
//! Every log lives below `/ct/<name>/`, which is also its submission prefix and, with the host, its origin.
//!
//! A timestamp leaves only when its entry is durable under a signed checkpoint, so there is no merge delay: what an SCT
//! promises is already kept. The index of the entry is in the SCT's extensions.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, Request, State};
use axum::response::Response;
use axum::routing::{MethodRouter, get, post};
use bytes::Bytes;
use http::StatusCode;
use sealwright_crypto::{Algorithm, base64};
use sealwright_host::http as host_http;
use sealwright_host::{Reason, ServiceError, grpc};
use sealwright_pki::Certificate;
use sealwright_proto::sealwright::ct::v1 as wire;
use sealwright_proto::sealwright::ct::v1::certificate_transparency_server::{
    CertificateTransparency, CertificateTransparencyServer,
};
use sealwright_tlog::ct::{
    CtEntry, TileLeaf, digitally_signed, leaf_index_extensions, parse_tree_head_signature,
};
use sealwright_tlog::{Hash, Note};
use serde::Deserialize;
use serde_json::json;

use crate::api::MAX_GRPC_REQUEST;
use crate::config::LogConfig;
use crate::cpu::{Cost, CpuPool};
use crate::entry::ct::{Admission, Admitted, Submitted};
use crate::kind::CertificateLeaf;
use crate::log::{Log, Receipt};
use crate::reader::malformed;
use crate::shards::{Door, Gate, Shards};

/// Most entries in one answer of `get-entries`: a full data tile.
const MAX_ENTRIES: u64 = 256;
/// Bytes of entries after which an answer of `get-entries` ends: 256 entries with chains of two certificates stay below,
/// and a message of gRPC holds them.
const MAX_ENTRIES_BYTES: usize = 3 << 20;
/// Issuers kept in memory; a private authority has a handful.
const MAX_ISSUERS_IN_MEMORY: usize = 256;

/// A certificate log with its rules.
#[derive(Debug)]
pub(crate) struct CertificateLog {
    pub(crate) log: Log,
    pub(crate) admission: Arc<Admission>,
    pub(crate) max_request: usize,
    pub(crate) cpu: CpuPool,
    /// Whether anybody may submit, or other services of the deployment alone.
    pub(crate) public_submission: bool,
    pub(crate) gate: Arc<Gate>,
    /// Issuer certificates that are durable in the log's files, by fingerprint.
    issuers: Mutex<HashMap<Hash, Bytes>>,
}

impl CertificateLog {
    pub(crate) fn new(
        log: Log,
        admission: Admission,
        config: &LogConfig,
        gate: Arc<Gate>,
        cpu: CpuPool,
    ) -> Self {
        Self {
            log,
            admission: Arc::new(admission),
            max_request: config.max_request_bytes(),
            cpu,
            public_submission: config.public_submission,
            gate,
            issuers: Mutex::default(),
        }
    }
}

/// All certificate logs of a listener, by name.
#[derive(Debug, Clone)]
pub(crate) struct CertificateLogs(Shards);

impl CertificateLogs {
    pub(crate) fn new(shards: Shards) -> Self {
        Self(shards)
    }

    pub(crate) fn named(&self, name: &str) -> Result<Arc<CertificateLog>, ServiceError> {
        let found = self.0.named(name).and_then(|shard| match &shard.door {
            Door::Certificate(log) => Some(log.clone()),
            Door::Signature(_) => None,
        });
        found.ok_or_else(|| host_http::not_found(&format!("certificate log {name:.100}")))
    }

    /// The named log; the only one when no name is given.
    fn named_or_only(&self, name: &str) -> Result<Arc<CertificateLog>, ServiceError> {
        match (name, self.0.certificate_logs().as_slice()) {
            ("", [only]) => Ok(only.clone()),
            ("", _) => Err(ServiceError::new(
                Reason::MalformedRequest,
                "There are several logs here; name one",
            )),
            (name, _) => self.named(name),
        }
    }
}

/// By which way a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Caller {
    Public,
    /// Services of the deployment, already recognised.
    Internal,
}

/// The gRPC service for other services of the deployment, which may submit whatever the logs' sections say.
pub(crate) fn internal_router(logs: &CertificateLogs) -> Router {
    grpc::mount(Router::new(), rpc(logs, Caller::Internal))
}

fn rpc(logs: &CertificateLogs, caller: Caller) -> CertificateTransparencyServer<Rpc> {
    let max_request = logs.0.max_request(MAX_GRPC_REQUEST);
    let logs = logs.clone();
    CertificateTransparencyServer::new(Rpc { logs, caller }).max_decoding_message_size(max_request)
}

/// Every public route of all certificate logs.
pub(crate) fn router(logs: &CertificateLogs) -> Router {
    let routes = Router::new()
        .route("/ct/{name}/ct/v1/add-chain", only_post(post(add_chain)))
        .route(
            "/ct/{name}/ct/v1/add-pre-chain",
            only_post(post(add_pre_chain)),
        )
        .route("/ct/{name}/ct/v1/get-sth", only_get(get(get_sth)))
        .route(
            "/ct/{name}/ct/v1/get-sth-consistency",
            only_get(get(get_sth_consistency)),
        )
        .route(
            "/ct/{name}/ct/v1/get-proof-by-hash",
            only_get(get(get_proof_by_hash)),
        )
        .route("/ct/{name}/ct/v1/get-entries", only_get(get(get_entries)))
        .route(
            "/ct/{name}/ct/v1/get-entry-and-proof",
            only_get(get(get_entry_and_proof)),
        )
        .route("/ct/{name}/ct/v1/get-roots", only_get(get(get_roots)))
        .with_state(logs.clone());
    grpc::mount(routes, rpc(logs, Caller::Public))
}

fn only_post(route: MethodRouter<CertificateLogs>) -> MethodRouter<CertificateLogs> {
    route.fallback(async || host_http::method_not_allowed("POST"))
}

fn only_get(route: MethodRouter<CertificateLogs>) -> MethodRouter<CertificateLogs> {
    route.fallback(async || host_http::method_not_allowed("GET, HEAD"))
}

// Submitting.

/// Body of `add-chain` and `add-pre-chain`.
#[derive(Debug, Deserialize)]
struct AddChain {
    chain: Vec<String>,
}

async fn add_chain(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ServiceError> {
    add(&*logs.named(&name)?, request, Submitted::Certificate).await
}

async fn add_pre_chain(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, ServiceError> {
    add(&*logs.named(&name)?, request, Submitted::Precertificate).await
}

async fn add(
    log: &CertificateLog,
    request: Request,
    submitted: Submitted,
) -> Result<Response, ServiceError> {
    log.permit_submission(Caller::Public)?;
    let (parts, body) = request.into_parts();
    host_http::expect_json(&parts.headers)?;
    let body = host_http::read_body(&parts.headers, body, log.max_request).await?;
    let chain = parse_chain(&body)?;
    let sct = log.add(chain, submitted, Caller::Public).await?;
    let answer = json!({
        "sct_version": 0,
        "id": base64::encode(&sct.log_id),
        "timestamp": sct.timestamp_ms,
        "extensions": base64::encode(&sct.extensions),
        "signature": base64::encode(&sct.signature),
    });
    Ok(host_http::no_store(host_http::json(
        StatusCode::OK,
        &answer,
    )))
}

/// Reads the JSON body of `add-chain` and `add-pre-chain`: certificates in DER, the submitted one first. Whether they are
/// admitted is [`Admission`]'s decision.
///
/// # Errors
/// The reason with which the request is refused.
pub fn parse_chain(body: &[u8]) -> Result<Vec<Vec<u8>>, ServiceError> {
    let AddChain { chain } = host_http::parse_json(body)?;
    chain
        .iter()
        .enumerate()
        .map(|(position, text)| decoded(position, text))
        .collect()
}

fn decoded(position: usize, text: &str) -> Result<Vec<u8>, ServiceError> {
    base64::decode_lenient(text).map_err(|_| {
        ServiceError::new(
            Reason::MalformedRequest,
            format!("chain[{position}] is not base64"),
        )
    })
}

/// The parts of an SCT that both doors write in their own way.
#[derive(Debug)]
struct Sct {
    log_id: Hash,
    timestamp_ms: u64,
    extensions: [u8; 8],
    /// The digitally-signed struct.
    signature: Vec<u8>,
}

impl CertificateLog {
    fn permit_submission(&self, caller: Caller) -> Result<(), ServiceError> {
        self.gate.require_open()?;
        if self.public_submission || caller == Caller::Internal {
            return Ok(());
        }
        let name = &self.log.identity().name;
        Err(ServiceError::new(
            Reason::PermissionDenied,
            format!(
                "The certificate log {name:?} takes certificates from its own authority only; everybody may read it"
            ),
        ))
    }

    async fn add(
        &self,
        chain: Vec<Vec<u8>>,
        submitted: Submitted,
        caller: Caller,
    ) -> Result<Sct, ServiceError> {
        let (admission, certificates) = (self.admission.clone(), chain.len());
        let admit = move || admission.admit(chain, submitted);
        let admitted = match caller {
            // What strangers send may be signed with anything; the authority's own keys are P-256.
            Caller::Public => {
                let cost = Cost::of(None).times(certificates);
                self.cpu.run(cost, admit).await??
            }
            Caller::Internal => {
                let cost = Cost::of(Some(Algorithm::EcdsaP256Sha256)).times(certificates);
                self.cpu.run_trusted(cost, admit).await??
            }
        };
        self.store_issuers(&admitted).await?;
        let fingerprints = admitted.fingerprints();
        let entry = admitted.entry;
        let leaf = CertificateLeaf::new(entry.clone(), fingerprints).map_err(crate::Error::from)?;
        let receipt = self.log.submit(leaf).await?;
        let timestamp_ms = timestamp(&receipt)?;
        let extensions = leaf_index_extensions(receipt.index).map_err(crate::Error::from)?;
        let raw = if receipt.attachment.is_empty() {
            self.sign_again(&entry, receipt.index, timestamp_ms, &extensions)
                .await?
        } else {
            receipt.attachment
        };
        let signature = digitally_signed(&raw).map_err(crate::Error::from)?;
        Ok(Sct {
            log_id: self.log.key().log_id(),
            timestamp_ms,
            extensions,
            signature,
        })
    }

    /// A signature that was lost with its file, or that an older log never kept: another one over the same promise.
    async fn sign_again(
        &self,
        entry: &CtEntry,
        index: u64,
        timestamp_ms: u64,
        extensions: &[u8],
    ) -> Result<Bytes, ServiceError> {
        tracing::warn!(
            log = self.log.identity().name,
            index,
            "the signature of an SCT is not in the log's files; it is signed again"
        );
        let message = entry
            .sct_message(timestamp_ms, extensions)
            .map_err(crate::Error::from)?;
        let signer = self.log.signer();
        let raw = match signer.sign_now(&message) {
            Some(raw) => raw,
            None => signer.sign(&message).await,
        };
        let raw = raw.map_err(|error| crate::Error::Signer(error.to_string()))?;
        Ok(raw.into())
    }

    /// Issuers are durable before an entry refers to them.
    async fn store_issuers(&self, admitted: &Admitted) -> Result<(), ServiceError> {
        for issuer in &admitted.issuers {
            let fingerprint = issuer.fingerprint();
            if self.issuer_in_memory(&fingerprint).is_none() {
                self.log.store_issuer(issuer.der()).await?;
                self.remember_issuer(fingerprint, Bytes::copy_from_slice(issuer.der()));
            }
        }
        Ok(())
    }

    fn issuer_in_memory(&self, fingerprint: &Hash) -> Option<Bytes> {
        self.issuers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(fingerprint)
            .cloned()
    }

    fn remember_issuer(&self, fingerprint: Hash, der: Bytes) {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if issuers.len() < MAX_ISSUERS_IN_MEMORY {
            issuers.insert(fingerprint, der);
        }
    }

    async fn issuer(&self, fingerprint: &Hash) -> Result<Bytes, ServiceError> {
        if let Some(der) = self.issuer_in_memory(fingerprint) {
            return Ok(der);
        }
        let der = self.log.issuer(fingerprint).await?;
        self.remember_issuer(*fingerprint, der.clone());
        Ok(der)
    }
}

/// Certificate leaves record their time, so a receipt for one always has it.
fn timestamp(receipt: &Receipt) -> Result<u64, ServiceError> {
    receipt
        .timestamp_ms
        .ok_or_else(|| ServiceError::internal("a certificate leaf without a time"))
}

// Reading, as RFC 6962 has it.

/// A signed tree head.
#[derive(Debug)]
struct TreeHeadParts {
    tree_size: u64,
    timestamp_ms: u64,
    root: Hash,
    /// The digitally-signed struct.
    signature: Vec<u8>,
}

/// An entry as `get-entries` gives it.
#[derive(Debug)]
struct EntryParts {
    leaf_input: Vec<u8>,
    extra_data: Vec<u8>,
}

impl EntryParts {
    fn json(&self) -> serde_json::Value {
        json!({ "leaf_input": base64::encode(&self.leaf_input), "extra_data": base64::encode(&self.extra_data) })
    }

    fn message(self) -> wire::Entry {
        wire::Entry {
            leaf_input: self.leaf_input,
            extra_data: self.extra_data,
        }
    }

    fn weight(&self) -> usize {
        self.leaf_input.len() + self.extra_data.len()
    }
}

impl CertificateLog {
    /// The tree head inside the checkpoint: the note's signature is the one RFC 6962 asks for, with its time.
    fn tree_head(&self) -> Result<TreeHeadParts, ServiceError> {
        let (head, key) = (self.log.tree_head(), self.log.key());
        let note = Note::parse(&head.checkpoint).map_err(ServiceError::internal)?;
        let own = note
            .signatures()
            .iter()
            .find(|line| line.name() == key.name() && line.key_id() == key.key_id());
        let payload = own.ok_or_else(|| {
            ServiceError::internal("a checkpoint without the log's own signature")
        })?;
        let (timestamp_ms, raw) =
            parse_tree_head_signature(payload.signature()).map_err(ServiceError::internal)?;
        let signature = digitally_signed(raw).map_err(ServiceError::internal)?;
        Ok(TreeHeadParts {
            tree_size: head.size,
            timestamp_ms,
            root: head.root,
            signature,
        })
    }

    async fn proof_by_hash(
        &self,
        leaf_hash: &Hash,
        tree_size: u64,
    ) -> Result<(u64, Vec<Hash>), ServiceError> {
        self.require_size(tree_size)?;
        let found = self
            .log
            .find_leaf(leaf_hash)
            .await?
            .filter(|index| *index < tree_size);
        let index = found.ok_or_else(|| {
            host_http::not_found("entry with this leaf hash in a tree of this size")
        })?;
        Ok((index, self.log.inclusion_proof(index, tree_size).await?))
    }

    async fn consistency(&self, first: u64, second: u64) -> Result<Vec<Hash>, ServiceError> {
        self.require_size(second)?;
        if first == 0 || first > second {
            return Err(malformed(format!(
                "first is {first}; it must be between 1 and second, which is {second}"
            )));
        }
        Ok(self.log.consistency_proof(first, second).await?)
    }

    async fn entry_and_proof(
        &self,
        leaf_index: u64,
        tree_size: u64,
    ) -> Result<(EntryParts, Vec<Hash>), ServiceError> {
        self.require_size(tree_size)?;
        if leaf_index >= tree_size {
            return Err(malformed(format!(
                "leaf_index {leaf_index} is not below tree_size {tree_size}"
            )));
        }
        let stored = self.log.stored(leaf_index).await?;
        let entry = self.entry_parts(&stored).await?;
        let proof = self.log.inclusion_proof(leaf_index, tree_size).await?;
        Ok((entry, proof))
    }

    /// The entries from `start` to `end`, both included; fewer than asked for when they are many or large.
    async fn entries(&self, start: u64, end: u64) -> Result<Vec<EntryParts>, ServiceError> {
        let size = self.log.tree_head().size;
        if start > end {
            return Err(malformed(format!(
                "start is {start}, after end, which is {end}"
            )));
        }
        if start >= size {
            return Err(malformed(format!(
                "start is {start}, but the log has {size} entries"
            )));
        }
        // Answers end with a data tile, so that clients that go on from there read each tile once.
        let tile_end = (start / MAX_ENTRIES + 1) * MAX_ENTRIES;
        let to = tile_end.min(size).min(end.saturating_add(1));
        let (mut entries, mut weight) = (Vec::new(), 0);
        for stored in self.log.stored_range(start, to).await? {
            let entry = self.entry_parts(&stored).await?;
            weight += entry.weight();
            if weight > MAX_ENTRIES_BYTES && !entries.is_empty() {
                break;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    async fn entry_parts(&self, stored: &[u8]) -> Result<EntryParts, ServiceError> {
        let (leaf, _) = TileLeaf::parse(stored).map_err(ServiceError::internal)?;
        let leaf_input = leaf
            .entry
            .merkle_tree_leaf(leaf.time_ms, &leaf.extensions)
            .map_err(ServiceError::internal)?;
        let mut chain = Vec::with_capacity(leaf.chain_fingerprints.len());
        for fingerprint in &leaf.chain_fingerprints {
            chain.push(self.issuer(fingerprint).await?);
        }
        let chain: Vec<&[u8]> = chain.iter().map(AsRef::as_ref).collect();
        let extra_data = leaf
            .entry
            .extra_data(&chain)
            .map_err(ServiceError::internal)?;
        Ok(EntryParts {
            leaf_input,
            extra_data,
        })
    }

    fn require_size(&self, tree_size: u64) -> Result<(), ServiceError> {
        let size = self.log.tree_head().size;
        if (1..=size).contains(&tree_size) {
            return Ok(());
        }
        Err(malformed(format!(
            "tree size {tree_size} is not between 1 and {size}, the size of the log"
        )))
    }
}

type Parameters<T> = Result<Query<T>, QueryRejection>;

fn parameters<T>(query: Parameters<T>) -> Result<T, ServiceError> {
    query
        .map(|Query(parameters)| parameters)
        .map_err(|rejection| malformed(rejection.body_text()))
}

fn list(hashes: &[Hash]) -> Vec<String> {
    hashes.iter().map(|hash| base64::encode(hash)).collect()
}

/// An answer that depends on the log's growth only in whether it exists; kept for a minute.
fn answer(value: &serde_json::Value) -> Response {
    host_http::cache_for(host_http::json(StatusCode::OK, value), 60)
}

async fn get_sth(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
) -> Result<Response, ServiceError> {
    let head = logs.named(&name)?.tree_head()?;
    let value = json!({
        "tree_size": head.tree_size,
        "timestamp": head.timestamp_ms,
        "sha256_root_hash": base64::encode(&head.root),
        "tree_head_signature": base64::encode(&head.signature),
    });
    Ok(host_http::no_cache(host_http::json(StatusCode::OK, &value)))
}

#[derive(Debug, Deserialize)]
struct ConsistencyQuery {
    first: u64,
    second: u64,
}

async fn get_sth_consistency(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    query: Parameters<ConsistencyQuery>,
) -> Result<Response, ServiceError> {
    let log = logs.named(&name)?;
    let ConsistencyQuery { first, second } = parameters(query)?;
    let proof = log.consistency(first, second).await?;
    Ok(answer(&json!({ "consistency": list(&proof) })))
}

#[derive(Debug, Deserialize)]
struct ProofQuery {
    hash: String,
    tree_size: u64,
}

async fn get_proof_by_hash(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    query: Parameters<ProofQuery>,
) -> Result<Response, ServiceError> {
    let log = logs.named(&name)?;
    let ProofQuery { hash, tree_size } = parameters(query)?;
    // A plus sign that was not escaped arrives as a space.
    let hash = base64::decode_lenient(&hash.replace(' ', "+"))
        .ok()
        .and_then(|bytes| Hash::try_from(bytes).ok());
    let hash = hash.ok_or_else(|| malformed("hash is not the base64 of 32 bytes".to_owned()))?;
    let (leaf_index, proof) = log.proof_by_hash(&hash, tree_size).await?;
    Ok(answer(
        &json!({ "leaf_index": leaf_index, "audit_path": list(&proof) }),
    ))
}

#[derive(Debug, Deserialize)]
struct EntriesQuery {
    start: u64,
    end: u64,
}

async fn get_entries(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    query: Parameters<EntriesQuery>,
) -> Result<Response, ServiceError> {
    let log = logs.named(&name)?;
    let EntriesQuery { start, end } = parameters(query)?;
    let entries = log.entries(start, end).await?;
    let complete = entries.len() as u64 == (end - start).saturating_add(1);
    let value = json!({ "entries": entries.iter().map(EntryParts::json).collect::<Vec<_>>() });
    // The same question has a longer answer when the log has grown.
    Ok(if complete {
        answer(&value)
    } else {
        host_http::no_cache(host_http::json(StatusCode::OK, &value))
    })
}

#[derive(Debug, Deserialize)]
struct EntryQuery {
    leaf_index: u64,
    tree_size: u64,
}

async fn get_entry_and_proof(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
    query: Parameters<EntryQuery>,
) -> Result<Response, ServiceError> {
    let log = logs.named(&name)?;
    let EntryQuery {
        leaf_index,
        tree_size,
    } = parameters(query)?;
    let (entry, proof) = log.entry_and_proof(leaf_index, tree_size).await?;
    let (leaf_input, extra_data) = (
        base64::encode(&entry.leaf_input),
        base64::encode(&entry.extra_data),
    );
    Ok(answer(
        &json!({ "leaf_input": leaf_input, "extra_data": extra_data, "audit_path": list(&proof) }),
    ))
}

async fn get_roots(
    State(logs): State<CertificateLogs>,
    Path(name): Path<String>,
) -> Result<Response, ServiceError> {
    let log = logs.named(&name)?;
    let certificates: Vec<String> = log
        .admission
        .roots()
        .iter()
        .map(|root| base64::encode(root.der()))
        .collect();
    Ok(answer(&json!({ "certificates": certificates })))
}

// gRPC.

/// The gRPC service over all logs.
#[derive(Debug, Clone)]
struct Rpc {
    logs: CertificateLogs,
    caller: Caller,
}

impl Rpc {
    async fn add(
        &self,
        request: wire::AddChainRequest,
        submitted: Submitted,
    ) -> Result<tonic::Response<wire::SignedCertificateTimestamp>, tonic::Status> {
        let log = self.logs.named_or_only(&request.log)?;
        log.permit_submission(self.caller)?;
        let sct = log.add(request.chain, submitted, self.caller).await?;
        Ok(tonic::Response::new(wire::SignedCertificateTimestamp {
            version: 0,
            log_id: sct.log_id.to_vec(),
            timestamp_ms: sct.timestamp_ms,
            extensions: sct.extensions.to_vec(),
            signature: sct.signature,
        }))
    }
}

#[tonic::async_trait]
impl CertificateTransparency for Rpc {
    async fn add_chain(
        &self,
        request: tonic::Request<wire::AddChainRequest>,
    ) -> Result<tonic::Response<wire::SignedCertificateTimestamp>, tonic::Status> {
        self.add(request.into_inner(), Submitted::Certificate).await
    }

    async fn add_pre_chain(
        &self,
        request: tonic::Request<wire::AddChainRequest>,
    ) -> Result<tonic::Response<wire::SignedCertificateTimestamp>, tonic::Status> {
        self.add(request.into_inner(), Submitted::Precertificate)
            .await
    }

    async fn get_signed_tree_head(
        &self,
        request: tonic::Request<wire::GetSignedTreeHeadRequest>,
    ) -> Result<tonic::Response<wire::SignedTreeHead>, tonic::Status> {
        let head = self
            .logs
            .named_or_only(&request.get_ref().log)?
            .tree_head()?;
        Ok(tonic::Response::new(wire::SignedTreeHead {
            tree_size: head.tree_size,
            timestamp_ms: head.timestamp_ms,
            root_hash: head.root.to_vec(),
            tree_head_signature: head.signature,
        }))
    }

    async fn get_signed_tree_head_consistency(
        &self,
        request: tonic::Request<wire::GetSignedTreeHeadConsistencyRequest>,
    ) -> Result<tonic::Response<wire::ConsistencyProof>, tonic::Status> {
        let request = request.into_inner();
        let log = self.logs.named_or_only(&request.log)?;
        let proof = log.consistency(request.first, request.second).await?;
        Ok(tonic::Response::new(wire::ConsistencyProof {
            consistency: proof.iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    async fn get_proof_by_hash(
        &self,
        request: tonic::Request<wire::GetProofByHashRequest>,
    ) -> Result<tonic::Response<wire::InclusionProof>, tonic::Status> {
        let request = request.into_inner();
        let log = self.logs.named_or_only(&request.log)?;
        let hash = Hash::try_from(request.leaf_hash);
        let hash = hash.map_err(|_| malformed("leaf_hash does not have 32 bytes".to_owned()))?;
        let (leaf_index, proof) = log.proof_by_hash(&hash, request.tree_size).await?;
        let audit_path = proof.iter().map(|hash| hash.to_vec()).collect();
        Ok(tonic::Response::new(wire::InclusionProof {
            leaf_index,
            audit_path,
        }))
    }

    async fn get_entries(
        &self,
        request: tonic::Request<wire::GetEntriesRequest>,
    ) -> Result<tonic::Response<wire::GetEntriesResponse>, tonic::Status> {
        let request = request.into_inner();
        let entries = self
            .logs
            .named_or_only(&request.log)?
            .entries(request.start, request.end)
            .await?;
        Ok(tonic::Response::new(wire::GetEntriesResponse {
            entries: entries.into_iter().map(EntryParts::message).collect(),
        }))
    }

    async fn get_entry_and_proof(
        &self,
        request: tonic::Request<wire::GetEntryAndProofRequest>,
    ) -> Result<tonic::Response<wire::EntryAndProof>, tonic::Status> {
        let request = request.into_inner();
        let log = self.logs.named_or_only(&request.log)?;
        let (entry, proof) = log
            .entry_and_proof(request.leaf_index, request.tree_size)
            .await?;
        Ok(tonic::Response::new(wire::EntryAndProof {
            entry: Some(entry.message()),
            audit_path: proof.iter().map(|hash| hash.to_vec()).collect(),
        }))
    }

    async fn get_roots(
        &self,
        request: tonic::Request<wire::GetRootsRequest>,
    ) -> Result<tonic::Response<wire::GetRootsResponse>, tonic::Status> {
        let log = self.logs.named_or_only(&request.get_ref().log)?;
        let certificates = log
            .admission
            .roots()
            .iter()
            .map(|root: &Certificate| root.der().to_vec())
            .collect();
        Ok(tonic::Response::new(wire::GetRootsResponse {
            certificates,
        }))
    }
}
