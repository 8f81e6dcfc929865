//! The doors: HTTP (DER and JSON) and gRPC. Below this file no wire type appears.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, EXPIRES, PRAGMA};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use sealwright_host::http::{self as host_http, JSON, TEXT};
use sealwright_host::{ServiceError, grpc};
use sealwright_pki::timestamp::{TimeStampReq, rejection};
use sealwright_proto::sealwright::timestamp::v1::timestamp_authority_server::{
    TimestampAuthority, TimestampAuthorityServer,
};
use sealwright_proto::sealwright::timestamp::v1::{
    GetCertificateChainRequest, GetCertificateChainResponse, GetTimestampRequest,
    GetTimestampResponse,
};
use sealwright_proto::sealwright::trust::v1::trust_material_server::{
    TrustMaterial, TrustMaterialServer,
};
use sealwright_proto::sealwright::trust::v1::{
    DescribeRequest, DescribeResponse, Material, MaterialKind,
};

use crate::Shared;
use crate::config::RejectionStatus;
use crate::json::{JsonRequest, MAX_JSON_BYTES};
use crate::stamp::Refusal;

/// Media type of a TimeStampReq.
const QUERY: &str = "application/timestamp-query";
/// Media type of a TimeStampResp.
const REPLY: &str = "application/timestamp-reply";
/// Media type of the chain.
const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// A timestamp is the answer to one request; a cache that repeats it would vouch for a time long gone.
const NEVER_CACHED: [(HeaderName, HeaderValue); 4] = [
    (
        CACHE_CONTROL,
        HeaderValue::from_static(
            "no-cache, no-store, no-transform, must-revalidate, private, max-age=0",
        ),
    ),
    (PRAGMA, HeaderValue::from_static("no-cache")),
    (
        EXPIRES,
        HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"),
    ),
    (
        HeaderName::from_static("x-accel-expires"),
        HeaderValue::from_static("0"),
    ),
];

/// The public routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let routes = Router::new()
        .route("/api/v1/timestamp", post(timestamp).fallback(only_post))
        // What other authorities' addresses look like; tools of code signing are configured with such.
        .route("/tsr", post(timestamp).fallback(only_post))
        // Beside this one there may be a page at the same address, so other methods are left to who joins the routes.
        .route("/", post(timestamp))
        .route(
            "/api/v1/timestamp/certchain",
            get(certificate_chain).fallback(only_get),
        )
        .route("/ping", get(ping).fallback(only_get))
        .with_state(shared.clone());
    grpc::mount(routes, TimestampAuthorityServer::new(Rpc(shared)))
}

/// The route for the trust service alone.
pub(crate) fn trust_material_router(shared: Arc<Shared>) -> Router {
    grpc::mount(Router::new(), TrustMaterialServer::new(Rpc(shared)))
}

async fn only_post() -> ServiceError {
    host_http::method_not_allowed("POST")
}

async fn only_get() -> ServiceError {
    host_http::method_not_allowed("GET, HEAD")
}

async fn ping() -> Response {
    host_http::no_store(host_http::bytes(
        StatusCode::OK,
        TEXT,
        Bytes::from_static(b"."),
    ))
}

async fn certificate_chain(State(shared): State<Arc<Shared>>) -> Response {
    let mut response = host_http::bytes(StatusCode::OK, PEM_CHAIN, shared.chain_pem.clone());
    let lifetime = HeaderValue::from_static("max-age=86400, immutable");
    response.headers_mut().insert(CACHE_CONTROL, lifetime);
    response
}

async fn timestamp(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let form = match host_http::expect_content_type(&parts.headers, &[QUERY, JSON]) {
        Ok(form) => form,
        Err(error) => return error.into_response(),
    };
    let limit = if form == JSON {
        MAX_JSON_BYTES
    } else {
        shared.max_request
    };
    let body = match host_http::read_body(&parts.headers, body, limit).await {
        Ok(body) => body,
        Err(error) => return error.into_response(),
    };
    let outcome = if form == JSON {
        shared.stamp_json(&body).await
    } else {
        shared.stamp_der(&body).await
    };
    match outcome {
        Ok(reply) => granted(reply),
        Err(refusal) if form == JSON => refusal.into_service_error().into_response(),
        Err(refusal) => rejected(refusal, shared.rejection_status),
    }
}

fn granted(reply: Vec<u8>) -> Response {
    let mut response = Response::new(Body::from(reply));
    let headers = response.headers_mut();
    mark_reply(headers);
    response
}

/// Replaces what a header held before: `extend` would leave a refusal's own `Cache-Control` beside the new one.
fn mark_reply(headers: &mut HeaderMap) {
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(REPLY));
    for (name, value) in NEVER_CACHED {
        headers.insert(name, value);
    }
}

/// A rejection in DER. It travels with the status of its reason: published clients embed whatever comes with 200.
fn rejected(refusal: Refusal, status: RejectionStatus) -> Response {
    let failure = refusal.failure_info();
    let error = refusal.into_service_error();
    let der = rejection(failure, error.message());
    let mut response = error.into_response();
    *response.body_mut() = Body::from(der);
    let headers = response.headers_mut();
    mark_reply(headers);
    if status == RejectionStatus::Ok {
        *response.status_mut() = StatusCode::OK;
    }
    response
}

impl Shared {
    async fn stamp_der(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let outcome = match TimeStampReq::parse_with_nonce_limit(body, self.max_nonce) {
            Ok(request) => self.stamper.stamp(&request).await,
            Err(error) => Err(error.into()),
        };
        self.metrics.count(&outcome);
        outcome
    }

    async fn stamp_json(&self, body: &[u8]) -> Result<Vec<u8>, Refusal> {
        let parsed = JsonRequest::parse(body);
        let outcome = match parsed.as_ref().map(|parsed| parsed.request(self.max_nonce)) {
            Ok(Ok(request)) => self.stamper.stamp(&request).await,
            Ok(Err(refusal)) => Err(refusal),
            Err(_) => parsed.map(|_| Vec::new()),
        };
        self.metrics.count(&outcome);
        outcome
    }

    /// The authority as trust material, with a proof that it holds the key it names.
    async fn material(&self, challenge: &[u8]) -> Result<Material, ServiceError> {
        let mut material = Material {
            kind: MaterialKind::TimestampAuthority.into(),
            url: self.url.clone(),
            operator: self.operator.clone(),
            public_key: self.stamper.signer.public_key().spki_der().to_vec(),
            chain: self
                .chain
                .iter()
                .map(|certificate| certificate.der().to_vec())
                .collect(),
            valid_from: self.valid_from,
            ..Material::default()
        };
        let proof = self
            .stamper
            .signer
            .sign(&material.proof_message(challenge))
            .await;
        material.proof_of_possession =
            proof.map_err(|error| Refusal::Signer(error).into_service_error())?;
        Ok(material)
    }
}

/// The gRPC services over the same core.
#[derive(Debug, Clone)]
struct Rpc(Arc<Shared>);

#[tonic::async_trait]
impl TimestampAuthority for Rpc {
    async fn get_timestamp(
        &self,
        request: tonic::Request<GetTimestampRequest>,
    ) -> Result<tonic::Response<GetTimestampResponse>, tonic::Status> {
        let query = request.into_inner().query;
        if query.len() > self.0.max_request {
            return Err(host_http::too_large(self.0.max_request).into());
        }
        let reply = self
            .0
            .stamp_der(&query)
            .await
            .map_err(Refusal::into_service_error)?;
        Ok(tonic::Response::new(GetTimestampResponse { reply }))
    }

    async fn get_certificate_chain(
        &self,
        _request: tonic::Request<GetCertificateChainRequest>,
    ) -> Result<tonic::Response<GetCertificateChainResponse>, tonic::Status> {
        let certificates = self
            .0
            .chain
            .iter()
            .map(|certificate| certificate.der().to_vec())
            .collect();
        Ok(tonic::Response::new(GetCertificateChainResponse {
            certificates,
        }))
    }
}

#[tonic::async_trait]
impl TrustMaterial for Rpc {
    async fn describe(
        &self,
        request: tonic::Request<DescribeRequest>,
    ) -> Result<tonic::Response<DescribeResponse>, tonic::Status> {
        let request = request.into_inner();
        let challenge = request.accepted_challenge().map_err(|message| {
            ServiceError::new(sealwright_host::Reason::MalformedRequest, message)
        })?;
        let material = self.0.material(challenge).await?;
        Ok(tonic::Response::new(DescribeResponse {
            materials: vec![material],
        }))
    }
}
