//! The gRPC service `sealwright.log.v1.TransparencyLog`: the reads of every log of a process, of both kinds.
//!
//! It says what [`crate::lookup`], [`crate::read`] and [`crate::listing`] say over HTTP, from the same [`Reader`].

use axum::Router;
use sealwright_host::http as host_http;
use sealwright_host::{Reason, ServiceError, grpc};
use sealwright_proto::sealwright::log::v1 as wire;
use sealwright_proto::sealwright::log::v1::transparency_log_server::{
    TransparencyLog, TransparencyLogServer,
};
use sealwright_tlog::Hash;
use sealwright_tlog::tile::TileId;
use tonic::{Request, Response, Status};

use crate::api::{authority_of, without_port};
use crate::kind::Kind;
use crate::log::Log;
use crate::reader::{EntryRef, Inclusion, Reader, malformed, text_of};
use crate::shards::{Shard, ShardState, Shards};

/// Longest request: a name and a leaf hash.
const MAX_REQUEST_BYTES: usize = 64 * 1024;

/// The service over all logs.
pub(crate) fn router(shards: &Shards) -> Router {
    let service = TransparencyLogServer::new(Rpc(shards.clone()));
    grpc::mount(
        Router::new(),
        service.max_decoding_message_size(MAX_REQUEST_BYTES),
    )
}

#[derive(Debug, Clone)]
struct Rpc(Shards);

impl Rpc {
    /// The log that a request is about.
    fn log<T>(&self, request: &Request<T>, name: &str) -> Result<Log, ServiceError> {
        if !name.is_empty() {
            let shard = self.0.named(name);
            let missing = || host_http::not_found(&format!("log {name:.100}"));
            return Ok(shard.ok_or_else(missing)?.log.clone());
        }
        let signature =
            authority_of(request).and_then(|host| self.0.signature_log(without_port(host)));
        if let Some(found) = signature.or_else(|| self.0.signature_log("")) {
            return Ok(found.log.clone());
        }
        match self.0.certificate_logs().as_slice() {
            [only] => Ok(only.log.clone()),
            _ => Err(ServiceError::new(
                Reason::MalformedRequest,
                "There are several logs here; name one, as ListLogs does",
            )),
        }
    }
}

/// Reads the one-of by which requests name an entry.
macro_rules! entry_ref {
    ($request:ident, $entry:expr) => {
        match $entry {
            Some(wire::$request::Entry::LeafIndex(index)) => Ok(EntryRef::Index(index)),
            Some(wire::$request::Entry::LeafHash(hash)) => leaf_hash(&hash).map(EntryRef::LeafHash),
            None => Err(malformed(
                "name the entry by leaf_index or leaf_hash".to_owned(),
            )),
        }
    };
}

fn leaf_hash(bytes: &[u8]) -> Result<Hash, ServiceError> {
    bytes
        .try_into()
        .map_err(|_| malformed(format!("leaf_hash has {} bytes, not 32", bytes.len())))
}

fn list(hashes: &[Hash]) -> Vec<Vec<u8>> {
    hashes.iter().map(|hash| hash.to_vec()).collect()
}

fn inclusion_proof(found: &Inclusion) -> wire::InclusionProof {
    wire::InclusionProof {
        leaf_index: found.index,
        tree_size: found.tree_size,
        root_hash: found.root.to_vec(),
        hashes: list(&found.hashes),
    }
}

fn description(shard: &Shard) -> wire::LogDescription {
    let (identity, key, head) = (shard.log.identity(), shard.log.key(), shard.log.tree_head());
    let kind = match identity.kind {
        Kind::Rekor => wire::LogKind::Signature,
        Kind::Ct => wire::LogKind::Certificate,
    };
    let state = match shard.gate.state() {
        ShardState::Staged => wire::LogState::Staged,
        ShardState::Active => wire::LogState::Active,
        ShardState::Frozen => wire::LogState::Frozen,
        ShardState::Imported => wire::LogState::Imported,
    };
    wire::LogDescription {
        name: identity.name.clone(),
        kind: kind.into(),
        origin: identity.origin.clone(),
        log_id: key.log_id().to_vec(),
        public_key: key.public_key().spki_der().to_vec(),
        state: state.into(),
        base_url: shard.url.clone(),
        tree_size: head.size,
        checkpoint: text_of(&head.checkpoint).into_owned(),
        valid_from: shard.valid_from(),
        replaces: shard.replaces.clone().unwrap_or_default(),
    }
}

#[tonic::async_trait]
impl TransparencyLog for Rpc {
    async fn list_logs(
        &self,
        _request: Request<wire::ListLogsRequest>,
    ) -> Result<Response<wire::ListLogsResponse>, Status> {
        let all = self.0.all();
        let logs = all.iter().map(|shard| description(shard)).collect();
        Ok(Response::new(wire::ListLogsResponse { logs }))
    }

    async fn get_tree_head(
        &self,
        request: Request<wire::GetTreeHeadRequest>,
    ) -> Result<Response<wire::TreeHead>, Status> {
        let head = self.log(&request, &request.get_ref().log)?.tree_head();
        Ok(Response::new(wire::TreeHead {
            tree_size: head.size,
            root_hash: head.root.to_vec(),
            timestamp_ms: head.timestamp_ms,
            checkpoint: text_of(&head.checkpoint).into_owned(),
        }))
    }

    async fn get_entry(
        &self,
        request: Request<wire::GetEntryRequest>,
    ) -> Result<Response<wire::Entry>, Status> {
        let log = self.log(&request, &request.get_ref().log)?;
        let entry = entry_ref!(get_entry_request, request.into_inner().entry)?;
        let receipt = Reader::of(&log).entry(entry).await?;
        Ok(Response::new(wire::Entry {
            leaf_index: receipt.index,
            leaf_hash: receipt.leaf_hash.to_vec(),
            stored: receipt.stored.to_vec(),
            inclusion_proof: Some(wire::InclusionProof {
                leaf_index: receipt.index,
                tree_size: receipt.tree_size,
                root_hash: receipt.root.to_vec(),
                hashes: list(&receipt.proof),
            }),
            checkpoint: receipt.checkpoint,
            timestamp_ms: receipt.timestamp_ms,
        }))
    }

    async fn get_inclusion_proof(
        &self,
        request: Request<wire::GetInclusionProofRequest>,
    ) -> Result<Response<wire::InclusionProof>, Status> {
        let log = self.log(&request, &request.get_ref().log)?;
        let request = request.into_inner();
        let entry = entry_ref!(get_inclusion_proof_request, request.entry)?;
        let found = Reader::of(&log).inclusion(entry, request.tree_size).await?;
        Ok(Response::new(inclusion_proof(&found)))
    }

    async fn get_consistency_proof(
        &self,
        request: Request<wire::GetConsistencyProofRequest>,
    ) -> Result<Response<wire::ConsistencyProof>, Status> {
        let log = self.log(&request, &request.get_ref().log)?;
        let request = request.into_inner();
        let reader = Reader::of(&log);
        let found = reader.consistency(request.from, request.to).await?;
        Ok(Response::new(wire::ConsistencyProof {
            from: found.from,
            to: found.to,
            hashes: list(&found.hashes),
        }))
    }

    async fn get_tlog_proof(
        &self,
        request: Request<wire::GetTlogProofRequest>,
    ) -> Result<Response<wire::TlogProof>, Status> {
        let log = self.log(&request, &request.get_ref().log)?;
        let entry = entry_ref!(get_tlog_proof_request, request.into_inner().entry)?;
        let text = Reader::of(&log).tlog_proof(entry).await?.to_string();
        Ok(Response::new(wire::TlogProof { text }))
    }

    async fn get_tile(
        &self,
        request: Request<wire::GetTileRequest>,
    ) -> Result<Response<wire::Tile>, Status> {
        let log = self.log(&request, &request.get_ref().log)?;
        let id = TileId::parse(&request.get_ref().path);
        let id = id.map_err(|error| malformed(format!("not a tile of a log: {error}")))?;
        let data = Reader::of(&log).tile(id).await?;
        Ok(Response::new(wire::Tile { data }))
    }
}
