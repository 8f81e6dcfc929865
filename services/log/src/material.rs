//! The logs as trust material: origin, key, and proof that this process holds the key.
//!
//! Asked for by the trust service alone, in the process or over an authenticated channel.

use std::sync::Arc;

use axum::Router;
use sealwright_host::{Reason, ServiceError, grpc};
use sealwright_proto::sealwright::trust::v1::trust_material_server::{
    TrustMaterial, TrustMaterialServer,
};
use sealwright_proto::sealwright::trust::v1::{
    DescribeRequest, DescribeResponse, Material, MaterialKind,
};

use crate::error::Error;
use crate::kind::Kind;
use crate::shards::{Shard, ShardState, Shards};

impl Shard {
    async fn material(&self, challenge: &[u8]) -> Result<Material, Error> {
        let kind = match self.log.identity().kind {
            Kind::Rekor => MaterialKind::TransparencyLog,
            Kind::Ct => MaterialKind::CtLog,
        };
        let mut material = Material {
            kind: kind.into(),
            url: self.url.clone(),
            origin: self.log.identity().origin.clone(),
            operator: self.operator.clone(),
            public_key: self.log.key().public_key().spki_der().to_vec(),
            valid_from: self.valid_from(),
            ..Material::default()
        };
        let proof = self
            .log
            .signer()
            .sign(&material.proof_message(challenge))
            .await;
        material.proof_of_possession = proof.map_err(|error| Error::Signer(error.to_string()))?;
        Ok(material)
    }
}

/// The gRPC route.
pub(crate) fn router(shards: Shards) -> Router {
    grpc::mount(Router::new(), TrustMaterialServer::new(Rpc(shards)))
}

#[derive(Debug, Clone)]
struct Rpc(Shards);

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
        let mut materials = Vec::new();
        // Nobody here holds the key of an imported log; its operator brings it into the trust root by hand.
        let own = |shard: &&Arc<Shard>| shard.gate.state() != ShardState::Imported;
        for shard in self.0.all().iter().filter(own) {
            let material = shard.material(challenge).await;
            materials.push(material.map_err(ServiceError::from)?);
        }
        Ok(tonic::Response::new(DescribeResponse { materials }))
    }
}
