//! Tokens for scripts, from a development identity provider.

use bytes::Bytes;
use http::HeaderName;
use serde::Serialize;
use serde_json::{Map, Value};

use crate::error::{Error, Failure, ServiceName};
use crate::http::{Call, Http, JSON, join};

/// The header the provider insists on: no web form can send it.
const INTENT: (HeaderName, &str) = (HeaderName::from_static("sealwright-request"), "cli");

/// What the token shall say. One of `email`, `subject` and a `sub` among `claims` is needed.
#[derive(Clone, Debug, Default, Serialize)]
pub struct MintRequest {
    /// `aud`; the provider's client id when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// Seconds until it expires; a negative number gives an expired token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<i64>,
    /// The e-mail address, also the subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Laid over the provider's claims, `iss` too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub claims: Option<Map<String, Value>>,
}

/// Asks the provider at `issuer` for a token.
///
/// # Errors
/// [`Error::Service`], also when the provider is not one for development.
pub async fn mint(http: &Http, issuer: &str, request: &MintRequest) -> Result<String, Error> {
    let service = ServiceName::IdentityProvider;
    let url = join(issuer, "mint");
    let body = serde_json::to_vec(request)
        .map_err(|error| Error::Internal(format!("mint request: {error}")))?;
    let [content_type, accept] = JSON;
    let headers = [content_type, accept, INTENT];
    let answer = http
        .send(&Call::post(service, &url, &headers, Bytes::from(body)))
        .await?;
    let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
    match answer.get("token").and_then(Value::as_str) {
        Some(token) => Ok(token.to_owned()),
        None => {
            let problem =
                "it holds no token; is this a development identity provider of Sealwright?"
                    .to_owned();
            Err(Error::Service {
                service,
                url,
                failure: Failure::Malformed(problem),
            })
        }
    }
}
