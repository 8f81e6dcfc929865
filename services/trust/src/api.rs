//! The doors: the repository over HTTP for everybody, and the control of the service over gRPC for its operator. Wire
//! types end here.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path as UrlPath, State};
use axum::response::Response;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use sealwright_crypto::sha256;
use sealwright_host::http as host_http;
use sealwright_host::{ServiceError, grpc};
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_server::{Trust, TrustServer};
use sealwright_tuf::{KeyId, Role, Signature, versioned_file_name};
use tonic::{Request, Response as GrpcResponse, Status as GrpcStatus};

use crate::disk::read_optional;
use crate::error::Error;
use crate::repository::{Change, is_servable_target, servable_metadata, targets_dir};
use crate::service::{Activation, ByHand, EntryStatus, RoleStatus, Shared, Staged, Status};
use crate::succession::ForeignLog;

/// Seconds for which a cache may keep a file that gets replaced. Half a minute keeps a burst of clients off the disk,
/// and is nothing against the hours for which a timestamp is believed.
const REPLACED_MAX_AGE: u32 = 30;
/// A material file holds 64 materials of a few kilobytes each; a root is at most 512,000 bytes.
const MAX_CONTROL_MESSAGE: usize = 2 * 1024 * 1024;

#[derive(Clone)]
struct Published {
    dir: PathBuf,
    shared: Arc<Shared>,
}

pub(crate) fn router(dir: PathBuf, shared: Arc<Shared>) -> Router {
    let refuse = || async { host_http::method_not_allowed("GET, HEAD") };
    Router::new()
        .route("/tuf/{name}", get(metadata).fallback(refuse))
        .route("/tuf/targets/{name}", get(target).fallback(refuse))
        .with_state(Published { dir, shared })
}

pub(crate) fn control_router(shared: Arc<Shared>) -> Router {
    let server = TrustServer::new(Control { shared });
    let server = server.max_decoding_message_size(MAX_CONTROL_MESSAGE);
    grpc::mount(Router::new(), server)
}

/// A missing next root must be a 404, and one that no cache keeps: it is how clients learn that they are up to date.
async fn metadata(
    State(published): State<Published>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    let change = servable_metadata(&name).ok_or_else(missing)?;
    let path = match name.as_str() {
        "root.json" => {
            let latest = published.shared.latest_root();
            published
                .dir
                .join(versioned_file_name(latest, Role::Root.name()))
        }
        _ => published.dir.join(&name),
    };
    let response = file(path, &headers).await?;
    Ok(match change {
        Change::Never => host_http::immutable(response),
        Change::Replaced => host_http::cache_for(response, REPLACED_MAX_AGE),
    })
}

async fn target(
    State(published): State<Published>,
    UrlPath(name): UrlPath<String>,
    headers: HeaderMap,
) -> Result<Response, ServiceError> {
    if !is_servable_target(&name) {
        return Err(missing());
    }
    let response = file(targets_dir(&published.dir).join(name), &headers).await?;
    Ok(host_http::immutable(response))
}

/// Who asks for what gets replaced (the timestamp) mostly has it: a tag of its content spares sending it.
async fn file(path: PathBuf, headers: &HeaderMap) -> Result<Response, ServiceError> {
    let read = tokio::task::spawn_blocking(move || read(&path)).await;
    let bytes = read.map_err(ServiceError::internal)??;
    let tag = hex::encode(sha256(&bytes));
    let response = host_http::bytes(StatusCode::OK, host_http::JSON, bytes);
    Ok(host_http::tagged(headers, &tag, response))
}

fn read(path: &Path) -> Result<Vec<u8>, ServiceError> {
    read_optional(path)?.ok_or_else(missing)
}

fn missing() -> ServiceError {
    host_http::not_found("such file in this repository")
}

/// `sealwright.trust.v1.Trust`.
#[derive(Debug)]
struct Control {
    shared: Arc<Shared>,
}

type Answer<T> = Result<GrpcResponse<T>, GrpcStatus>;

#[tonic::async_trait]
impl Trust for Control {
    async fn status(&self, _request: Request<wire::StatusRequest>) -> Answer<wire::StatusResponse> {
        let status = self.shared.status().await.map_err(refuse)?;
        Ok(GrpcResponse::new(status_to_wire(status)))
    }

    async fn challenge(
        &self,
        _request: Request<wire::ChallengeRequest>,
    ) -> Answer<wire::ChallengeResponse> {
        let challenge = self.shared.challenge().await.map_err(refuse)?;
        Ok(GrpcResponse::new(wire::ChallengeResponse {
            challenge: challenge.to_vec(),
        }))
    }

    async fn stage(&self, request: Request<wire::StageRequest>) -> Answer<wire::StageResponse> {
        let request = request.into_inner();
        let foreign = request.foreign_logs.iter().map(ForeignLog::admit);
        let by_hand = ByHand {
            foreign: foreign.collect::<Result<_, _>>().map_err(refuse)?,
            successions: request.successions.into_iter().map(Into::into).collect(),
        };
        let staged = match request.material {
            Some(material) => self.shared.stage(&material, &by_hand).await,
            None => self.shared.gather(&by_hand).await,
        };
        Ok(stage_response(staged.map_err(refuse)?))
    }

    async fn sign(&self, request: Request<wire::SignRequest>) -> Answer<wire::SignResponse> {
        let signatures = request.into_inner().signatures.into_iter();
        let signatures = signatures.map(signature_from_wire).collect();
        let staged = self
            .shared
            .add_signatures(signatures)
            .await
            .map_err(refuse)?;
        Ok(GrpcResponse::new(wire::SignResponse {
            staged: Some(staged_to_wire(staged)),
        }))
    }

    async fn publish(
        &self,
        _request: Request<wire::PublishRequest>,
    ) -> Answer<wire::PublishResponse> {
        Ok(publish_response(
            self.shared.publish().await.map_err(refuse)?,
        ))
    }

    async fn activate(
        &self,
        request: Request<wire::ActivateRequest>,
    ) -> Answer<wire::ActivateResponse> {
        let ids = request.into_inner().ids;
        let entries = self.shared.activate(&ids).await.map_err(refuse)?;
        Ok(GrpcResponse::new(wire::ActivateResponse {
            entries: entries.into_iter().map(entry_to_wire).collect(),
        }))
    }

    async fn retire(&self, request: Request<wire::RetireRequest>) -> Answer<wire::StageResponse> {
        let request = request.into_inner();
        let staged = self.shared.retire(&request.id, request.valid_until).await;
        Ok(stage_response(Some(staged.map_err(refuse)?)))
    }

    async fn remove(&self, request: Request<wire::RemoveRequest>) -> Answer<wire::StageResponse> {
        let request = request.into_inner();
        let staged = self.shared.remove(&request.id, &request.reason).await;
        Ok(stage_response(Some(staged.map_err(refuse)?)))
    }

    async fn publish_root(
        &self,
        request: Request<wire::PublishRootRequest>,
    ) -> Answer<wire::PublishResponse> {
        let root = request.into_inner().root;
        let roles = self.shared.publish_root(&root).await.map_err(refuse)?;
        Ok(publish_response(roles))
    }
}

fn refuse(error: Error) -> GrpcStatus {
    ServiceError::from(error).into()
}

fn stage_response(staged: Option<Staged>) -> GrpcResponse<wire::StageResponse> {
    GrpcResponse::new(wire::StageResponse {
        staged: staged.map(staged_to_wire),
    })
}

fn publish_response(roles: Vec<RoleStatus>) -> GrpcResponse<wire::PublishResponse> {
    GrpcResponse::new(wire::PublishResponse {
        roles: roles.into_iter().map(role_to_wire).collect(),
    })
}

fn signature_from_wire(signature: wire::Signature) -> Signature {
    Signature {
        keyid: KeyId::new(signature.key_id),
        sig: hex::encode(signature.signature),
        extra: serde_json::Map::new(),
    }
}

fn status_to_wire(status: Status) -> wire::StatusResponse {
    wire::StatusResponse {
        roles: status.roles.into_iter().map(role_to_wire).collect(),
        entries: status.entries.into_iter().map(entry_to_wire).collect(),
        staged: status.staged.map(staged_to_wire),
    }
}

fn role_to_wire(status: RoleStatus) -> wire::RoleStatus {
    wire::RoleStatus {
        role: status.role.name().to_owned(),
        version: status.version,
        expires: status.expires,
    }
}

fn staged_to_wire(staged: Staged) -> wire::Staged {
    wire::Staged {
        version: staged.version,
        sha256: staged.sha256(),
        payload: staged.payload,
        changes: staged.changes,
        valid_signatures: u32::try_from(staged.signatures).unwrap_or(u32::MAX),
        threshold: staged.threshold,
    }
}

fn entry_to_wire(status: EntryStatus) -> wire::Entry {
    let state = match status.activation {
        Activation::Staged => wire::EntryState::Staged,
        Activation::Published => wire::EntryState::Published,
        Activation::Active => wire::EntryState::Active,
    };
    wire::Entry {
        id: status.entry.id,
        kind: status.entry.kind.to_wire() as i32,
        url: status.entry.url,
        origin: status.entry.origin,
        operator: status.entry.operator,
        state: state as i32,
        valid_from: status.entry.valid_from,
        valid_until: status.entry.valid_until.unwrap_or(0),
        published_at: status.published_at.unwrap_or(0),
        usable_from: status.usable_from.unwrap_or(0),
        activated_at: status.activated_at.unwrap_or(0),
        service_from: status.service_from.unwrap_or(0),
        service_until: status.service_until.unwrap_or(0),
    }
}
