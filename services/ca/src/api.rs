//! The doors: HTTP/JSON (v2 and v1) and gRPC. Below this file no wire type appears.
//!
//! JSON is read leniently: published clients send unknown fields, odd content types and odd algorithm names.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, HeaderName, StatusCode};
use sealwright_crypto::base64;
use sealwright_host::http::{self as host_http, bearer_token};
use sealwright_host::{Reason, ServiceError, grpc};
use sealwright_pki::Certificate;
use sealwright_proto::fulcio::v2 as proto;
use sealwright_proto::fulcio::v2::ca_server::{Ca as CaRpc, CaServer};
use sealwright_proto::sealwright::trust::v1::trust_material_server::{
    TrustMaterial, TrustMaterialServer,
};
use sealwright_proto::sealwright::trust::v1::{
    DescribeRequest, DescribeResponse, Material, MaterialKind,
};
use serde::{Deserialize, Deserializer};

use crate::Shared;
use crate::issue::SigningRequest;
use crate::possession::KeyRequest;

/// Media type of v1's answers.
const PEM_CHAIN: &str = "application/pem-certificate-chain";

/// Metadata in which gRPC callers may send the token beside the message.
const TOKEN_METADATA: HeaderName = HeaderName::from_static("oidcidentitytoken");

/// The public routes.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let mut routes = Router::new()
        .route(
            "/api/v2/signingCert",
            post(signing_cert).fallback(only_post),
        )
        .route("/api/v2/trustBundle", get(trust_bundle).fallback(only_get))
        .route(
            "/api/v2/configuration",
            get(configuration).fallback(only_get),
        );
    if shared.legacy_api {
        routes = routes
            .route(
                "/api/v1/signingCert",
                post(signing_cert_v1).fallback(only_post),
            )
            .route("/api/v1/rootCert", get(root_cert_v1).fallback(only_get));
    }
    let rpc = CaServer::new(Rpc(shared.clone())).max_decoding_message_size(shared.max_request);
    grpc::mount(routes.with_state(shared), rpc)
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

async fn signing_cert(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let body = read(&shared, &parts.headers, body).await?;
    let token_beside = bearer_token(&parts.headers)?;
    let request = host_http::parse_json(&body)?;
    let answer = shared.signing_certificate(request, token_beside).await?;
    Ok(host_http::no_store(host_http::json(
        StatusCode::OK,
        &answer,
    )))
}

async fn trust_bundle(State(shared): State<Arc<Shared>>) -> Response {
    host_http::no_cache(host_http::json(StatusCode::OK, &shared.trust_bundle()))
}

async fn configuration(State(shared): State<Arc<Shared>>) -> Response {
    host_http::no_cache(host_http::json(StatusCode::OK, &shared.configuration()))
}

/// v1: the token only in `Authorization`, the answer 201 and PEM.
async fn signing_cert_v1(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let body = read(&shared, &parts.headers, body).await?;
    let request: V1Request = host_http::parse_json(&body)?;
    let token = bearer_token(&parts.headers)?.unwrap_or_default().to_owned();
    let chain = shared
        .issue(SigningRequest {
            token,
            key: request.key(),
        })
        .await?;
    let chain = chain.join("\n");
    Ok(host_http::no_store(host_http::bytes(
        StatusCode::CREATED,
        PEM_CHAIN,
        chain,
    )))
}

async fn root_cert_v1(State(shared): State<Arc<Shared>>) -> Response {
    let pem: String = shared
        .authority
        .chain
        .iter()
        .map(Certificate::to_pem)
        .collect();
    host_http::no_cache(host_http::bytes(StatusCode::OK, PEM_CHAIN, pem))
}

async fn read(
    shared: &Shared,
    headers: &HeaderMap,
    body: Body,
) -> Result<bytes::Bytes, ServiceError> {
    host_http::read_body(headers, body, shared.max_request).await
}

/// The JSON of `POST /api/v1/signingCert`.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct V1Request {
    #[serde(alias = "public_key")]
    public_key: Option<V1PublicKey>,
    #[serde(alias = "signed_email_address", deserialize_with = "base64_bytes")]
    signed_email_address: Vec<u8>,
    #[serde(
        alias = "certificate_signing_request",
        deserialize_with = "base64_bytes"
    )]
    certificate_signing_request: Vec<u8>,
}

/// The algorithm beside the key is not read: the key says what it is.
#[derive(Deserialize, Default)]
#[serde(default)]
struct V1PublicKey {
    #[serde(deserialize_with = "base64_bytes")]
    content: Vec<u8>,
}

impl V1Request {
    fn key(self) -> KeyRequest {
        if !self.certificate_signing_request.is_empty() {
            return KeyRequest::Csr(self.certificate_signing_request);
        }
        match self.public_key {
            Some(V1PublicKey { content }) => KeyRequest::PublicKey {
                content,
                proof: self.signed_email_address,
            },
            None => KeyRequest::Missing,
        }
    }
}

fn base64_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
    let text = Option::<String>::deserialize(deserializer)?.unwrap_or_default();
    base64::decode_lenient(&text).map_err(serde::de::Error::custom)
}

fn key_request(key: Option<proto::create_signing_certificate_request::Key>) -> KeyRequest {
    use proto::create_signing_certificate_request::Key;
    match key {
        Some(Key::CertificateSigningRequest(pem)) if !pem.is_empty() => KeyRequest::Csr(pem),
        Some(Key::PublicKeyRequest(proto::PublicKeyRequest {
            public_key: Some(key),
            proof_of_possession,
        })) => KeyRequest::PublicKey {
            content: key.content.into_bytes(),
            proof: proof_of_possession,
        },
        _ => KeyRequest::Missing,
    }
}

impl Shared {
    /// PEM of the chain, leaf first, root last, each without its last line break as v1 and v2 have it.
    async fn issue(&self, request: SigningRequest) -> Result<Vec<String>, ServiceError> {
        let leaf = self
            .authority
            .issue(request)
            .await
            .map_err(|refusal| refusal.into_service_error())?;
        let chain = std::iter::once(&leaf).chain(&self.authority.chain);
        Ok(chain
            .map(|certificate| certificate.to_pem().trim_end().to_owned())
            .collect())
    }

    /// The token of the message wins over the one beside it.
    async fn signing_certificate(
        &self,
        request: proto::CreateSigningCertificateRequest,
        token_beside: Option<&str>,
    ) -> Result<proto::SigningCertificate, ServiceError> {
        let in_message = request
            .credentials
            .and_then(|credentials| credentials.credentials);
        let token = match in_message {
            Some(proto::credentials::Credentials::OidcIdentityToken(token))
                if !token.is_empty() =>
            {
                token
            }
            _ => token_beside.unwrap_or_default().to_owned(),
        };
        let certificates = self
            .issue(SigningRequest {
                token,
                key: key_request(request.key),
            })
            .await?;
        let embedded = proto::SigningCertificateEmbeddedSct {
            chain: Some(proto::CertificateChain { certificates }),
        };
        Ok(proto::SigningCertificate {
            certificate: Some(
                proto::signing_certificate::Certificate::SignedCertificateEmbeddedSct(embedded),
            ),
        })
    }

    fn trust_bundle(&self) -> proto::TrustBundle {
        let certificates = self
            .authority
            .chain
            .iter()
            .map(Certificate::to_pem)
            .collect();
        proto::TrustBundle {
            chains: vec![proto::CertificateChain { certificates }],
        }
    }

    fn configuration(&self) -> proto::Configuration {
        let issuer = |issuer: &sealwright_identity::Issuer| proto::OidcIssuer {
            issuer: Some(proto::oidc_issuer::Issuer::IssuerUrl(
                issuer.url().to_owned(),
            )),
            audience: issuer.audience().to_owned(),
            challenge_claim: issuer.challenge_claim().to_owned(),
            issuer_type: issuer.issuer_type().name().to_owned(),
            subject_domain: issuer.subject_domain().unwrap_or_default().to_owned(),
            skip_email_verification: issuer.skips_email_verification(),
            ..proto::OidcIssuer::default()
        };
        proto::Configuration {
            issuers: self.authority.issuers.iter().map(issuer).collect(),
        }
    }

    /// The authority as trust material, with a proof that it holds the key it names.
    async fn material(&self, challenge: &[u8]) -> Result<Material, ServiceError> {
        let authority = &self.authority;
        let mut material = Material {
            kind: MaterialKind::CertificateAuthority.into(),
            url: self.url.clone(),
            operator: self.operator.clone(),
            public_key: authority.signer.public_key().spki_der().to_vec(),
            chain: authority
                .chain
                .iter()
                .map(|certificate| certificate.der().to_vec())
                .collect(),
            valid_from: authority.issuer.certificate().not_before(),
            ..Material::default()
        };
        let proof = authority
            .signer
            .sign(&material.proof_message(challenge))
            .await;
        let unavailable = |error| {
            ServiceError::new(
                Reason::SignerUnavailable,
                "The authority cannot sign at the moment",
            )
            .with_internal(error)
        };
        material.proof_of_possession = proof.map_err(unavailable)?;
        Ok(material)
    }
}

/// The gRPC services over the same core.
#[derive(Debug, Clone)]
struct Rpc(Arc<Shared>);

#[tonic::async_trait]
impl CaRpc for Rpc {
    async fn create_signing_certificate(
        &self,
        request: tonic::Request<proto::CreateSigningCertificateRequest>,
    ) -> Result<tonic::Response<proto::SigningCertificate>, tonic::Status> {
        let (metadata, _, request) = request.into_parts();
        let alone = host_http::one_header(metadata.as_ref(), &TOKEN_METADATA)?;
        let beside = alone.or(bearer_token(metadata.as_ref())?);
        Ok(tonic::Response::new(
            self.0.signing_certificate(request, beside).await?,
        ))
    }

    async fn get_trust_bundle(
        &self,
        _request: tonic::Request<proto::GetTrustBundleRequest>,
    ) -> Result<tonic::Response<proto::TrustBundle>, tonic::Status> {
        Ok(tonic::Response::new(self.0.trust_bundle()))
    }

    async fn get_configuration(
        &self,
        _request: tonic::Request<proto::GetConfigurationRequest>,
    ) -> Result<tonic::Response<proto::Configuration>, tonic::Status> {
        Ok(tonic::Response::new(self.0.configuration()))
    }
}

#[tonic::async_trait]
impl TrustMaterial for Rpc {
    async fn describe(
        &self,
        request: tonic::Request<DescribeRequest>,
    ) -> Result<tonic::Response<DescribeResponse>, tonic::Status> {
        let request = request.into_inner();
        let challenge = request
            .accepted_challenge()
            .map_err(|message| ServiceError::new(Reason::MalformedRequest, message))?;
        let material = self.0.material(challenge).await?;
        Ok(tonic::Response::new(DescribeResponse {
            materials: vec![material],
        }))
    }
}
