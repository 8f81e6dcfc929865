//! The transparency log: a signature in, a proof of its entry out (Rekor v2).
//!
//! What is sent is the digest, the signature and the verifier; never the artifact. The proof is checked when the finished
//! bundle is verified, with the same code every verifier runs.

use sealwright_bundle::signing_config::Service;
use sealwright_crypto::{Algorithm, Digest};
use sealwright_proto::common::v1::X509Certificate;
use sealwright_proto::rekor::v1::TransparencyLogEntry;
use sealwright_proto::rekor::v2::{
    CreateEntryRequest, HashedRekordRequestV002, PublicKey, Signature, Verifier,
    create_entry_request, verifier,
};

use crate::error::{Error, Failure, ServiceName};
use crate::http::{Call, Http, JSON, join};

const SERVICE: ServiceName = ServiceName::TransparencyLog;

/// Whose signature it is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum SignedBy<'a> {
    /// DER of the certificate.
    Certificate(&'a [u8]),
    /// DER of the SubjectPublicKeyInfo.
    Key(&'a [u8]),
}

/// What is to be logged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim<'a> {
    pub(crate) digest: &'a Digest,
    pub(crate) signature: &'a [u8],
    pub(crate) algorithm: Algorithm,
    pub(crate) signed_by: SignedBy<'a>,
}

/// Logs a signature. Answers when the log has a checkpoint that covers the entry.
#[tracing::instrument(skip_all, fields(url = service.url))]
pub(crate) async fn create_entry(
    http: &Http,
    service: &Service,
    claim: &Claim<'_>,
) -> Result<TransparencyLogEntry, Error> {
    let body = serde_json::to_vec(&request(claim)?)
        .map_err(|error| Error::Internal(format!("log request: {error}")))?;
    let url = join(&service.url, "api/v2/log/entries");
    let answer = http
        .send(&Call::post(SERVICE, &url, &JSON, body.into()))
        .await?;
    serde_json::from_slice(&answer).map_err(|error| Error::Service {
        service: SERVICE,
        url,
        failure: Failure::Malformed(error.to_string()),
    })
}

fn request(claim: &Claim<'_>) -> Result<CreateEntryRequest, Error> {
    let key_details = claim.algorithm.key_details();
    let key_details = key_details.ok_or_else(|| {
        Error::input(
            "key",
            format!(
                "transparency logs do not take {} signatures; sign with an ECDSA key",
                claim.algorithm
            ),
        )
    })?;
    let verifier = match claim.signed_by {
        SignedBy::Certificate(der) => verifier::Verifier::X509Certificate(X509Certificate {
            raw_bytes: der.to_vec(),
        }),
        SignedBy::Key(der) => verifier::Verifier::PublicKey(PublicKey {
            raw_bytes: der.to_vec(),
        }),
    };
    let signature = Signature {
        content: claim.signature.to_vec(),
        verifier: Some(Verifier {
            verifier: Some(verifier),
            key_details,
        }),
    };
    let entry = HashedRekordRequestV002 {
        digest: claim.digest.as_bytes().to_vec(),
        signature: Some(signature),
    };
    Ok(CreateEntryRequest {
        spec: Some(create_entry_request::Spec::HashedRekordRequestV002(entry)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use sealwright_crypto::HashAlgorithm;
    use serde_json::{Value, json};

    #[test]
    fn the_request_has_the_shape_every_log_knows() {
        let digest = HashAlgorithm::Sha256.digest(b"artifact");
        let claim = Claim {
            digest: &digest,
            signature: b"sig",
            algorithm: Algorithm::EcdsaP256Sha256,
            signed_by: SignedBy::Certificate(b"der"),
        };
        let sent: Value = serde_json::to_value(request(&claim).expect("a request")).expect("JSON");
        let expected = json!({ "hashedRekordRequestV002": {
            "digest": sealwright_crypto::base64::encode(digest.as_bytes()),
            "signature": { "content": "c2ln", "verifier": {
                "x509Certificate": { "rawBytes": "ZGVy" }, "keyDetails": "PKIX_ECDSA_P256_SHA_256" } } } });
        assert_eq!(sent, expected);
    }
}
