//! What OAuth 2.0 requests and errors have in common: parameters sent once each, the public client's authentication, and the
//! error body of RFC 6749 section 5.2.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{AUTHORIZATION, PRAGMA, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use sealwright_crypto::base64;
use sealwright_host::http as answers;
use serde_json::json;

/// More parameters than any client sends.
const MAX_PARAMETERS: usize = 64;

/// Parameters of a query or of a form.
#[derive(Clone, Debug, Default)]
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Reads `application/x-www-form-urlencoded` text.
    pub(crate) fn parse(text: &[u8]) -> Self {
        Self(
            url::form_urlencoded::parse(text)
                .into_owned()
                .take(MAX_PARAMETERS)
                .collect(),
        )
    }

    #[cfg(test)]
    pub(crate) fn from_pairs(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Reads a form body; the error is for a body of another type.
    pub(crate) fn parse_form(headers: &HeaderMap, body: &[u8]) -> Result<Self, OAuthError> {
        let expected = "application/x-www-form-urlencoded";
        let given = answers::content_type(headers).unwrap_or_default();
        if given != expected {
            return Err(OAuthError::invalid_request(format!(
                "Content-Type {given:?}; expected {expected:?}"
            )));
        }
        let parameters = Self::parse(body);
        match parameters.repeated() {
            Some(name) => Err(OAuthError::invalid_request(format!(
                "parameter {name:?} was sent twice"
            ))),
            None => Ok(parameters),
        }
    }

    /// The value; one sent empty counts as not sent (RFC 6749 section 3.1).
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
            .filter(|value| !value.is_empty())
    }

    /// A parameter that was sent more than once (RFC 6749 section 3.1 forbids it).
    pub(crate) fn repeated(&self) -> Option<&str> {
        let mut names: Vec<_> = self.0.iter().map(|(name, _)| name.as_str()).collect();
        names.sort_unstable();
        names.windows(2).find_map(|pair| match pair {
            [first, second] if first == second => Some(*first),
            _ => None,
        })
    }
}

/// An error of RFC 6749 section 5.2, RFC 8628 section 3.5 or OpenID Connect Core section 3.1.2.6.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct OAuthError {
    pub(crate) code: &'static str,
    pub(crate) description: String,
}

impl OAuthError {
    pub(crate) fn new(code: &'static str, description: String) -> Self {
        Self { code, description }
    }

    pub(crate) fn invalid_request(description: String) -> Self {
        Self::new("invalid_request", description)
    }

    pub(crate) fn invalid_grant(description: String) -> Self {
        Self::new("invalid_grant", description)
    }
}

impl IntoResponse for OAuthError {
    fn into_response(self) -> Response {
        let status = match self.code {
            "invalid_client" => StatusCode::UNAUTHORIZED,
            "temporarily_unavailable" => StatusCode::SERVICE_UNAVAILABLE,
            "server_error" => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::BAD_REQUEST,
        };
        let body = json!({ "error": self.code, "error_description": self.description });
        let mut response = no_store((status, Json(body)).into_response());
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Basic realm=\"oidc\""),
            );
        }
        response
    }
}

/// RFC 6749 section 5.1: an answer that may hold a token is not kept.
pub(crate) fn no_store(response: Response) -> Response {
    let mut response = answers::no_store(response);
    response
        .headers_mut()
        .insert(PRAGMA, HeaderValue::from_static("no-cache"));
    response
}

/// Checks who the client says it is: `client_id` in the form, or `Authorization: Basic` with an empty secret. The client is
/// public, so a secret that is not empty belongs to another provider.
pub(crate) fn authenticate_client(
    headers: &HeaderMap,
    parameters: &Parameters,
    client_id: &str,
) -> Result<(), OAuthError> {
    let invalid = |problem: String| OAuthError::new("invalid_client", problem);
    let basic = headers
        .get(AUTHORIZATION)
        .map(|value| basic_credentials(value).ok_or(()))
        .transpose();
    let basic = basic
        .map_err(|()| invalid("Authorization is not Basic with client id and secret".into()))?;
    let (basic_id, basic_secret) = basic.unzip();
    for given in [basic_id.as_deref(), parameters.get("client_id")]
        .into_iter()
        .flatten()
    {
        if given != client_id {
            return Err(invalid(format!(
                "client_id {given:?} is unknown; this provider knows {client_id:?}"
            )));
        }
    }
    if basic_id.is_none() && parameters.get("client_id").is_none() {
        return Err(invalid("client_id is missing".into()));
    }
    let secret = basic_secret.is_some_and(|secret| !secret.is_empty())
        || parameters.get("client_secret").is_some();
    if secret {
        Err(invalid(
            "this is a public client: it has an empty secret".into(),
        ))
    } else {
        Ok(())
    }
}

/// RFC 6749 section 2.3.1: both halves are form-encoded before they are put together.
fn basic_credentials(value: &HeaderValue) -> Option<(String, String)> {
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(base64::decode(encoded.trim()).ok()?).ok()?;
    let (id, secret) = text.split_once(':')?;
    let decode = |text: &str| {
        url::form_urlencoded::parse(text.as_bytes())
            .next()
            .map_or(String::new(), |(key, _)| key.into_owned())
    };
    Some((decode(id), decode(secret)))
}

#[cfg(test)]
mod tests {
    use http::header::CONTENT_TYPE;

    use super::*;

    fn authenticate(authorization: Option<&str>, form: &str) -> Result<(), &'static str> {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(AUTHORIZATION, value.parse().expect("the header is valid"));
        }
        authenticate_client(&headers, &Parameters::parse(form.as_bytes()), "sigstore")
            .map_err(|error| error.code)
    }

    #[test]
    fn the_public_client_comes_by_basic_or_by_form() {
        assert_eq!(authenticate(Some("Basic c2lnc3RvcmU6"), ""), Ok(()));
        assert_eq!(authenticate(None, "client_id=sigstore"), Ok(()));
        assert_eq!(
            authenticate(None, "client_id=sigstore&client_secret="),
            Ok(())
        );
        assert_eq!(
            authenticate(Some("basic c2lnc3RvcmU6"), "client_id=sigstore"),
            Ok(())
        );
    }

    #[test]
    fn anyone_else_is_refused() {
        for (authorization, form) in [
            (None, ""),
            (None, "client_id=other"),
            (None, "client_id=sigstore&client_secret=x"),
            (Some("Basic c2lnc3RvcmU6eA=="), ""),
            (Some("Basic b3RoZXI6"), "client_id=sigstore"),
            (Some("Basic !!!"), "client_id=sigstore"),
            (Some("Bearer x"), "client_id=sigstore"),
        ] {
            assert_eq!(
                authenticate(authorization, form),
                Err("invalid_client"),
                "{authorization:?} {form}"
            );
        }
    }

    #[test]
    fn a_form_is_read_once_and_by_its_type() {
        let mut headers = HeaderMap::new();
        assert!(Parameters::parse_form(&headers, b"a=1").is_err());
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/x-www-form-urlencoded; charset=utf-8"),
        );
        assert_eq!(
            Parameters::parse_form(&headers, b"a=1&b=x%20y")
                .expect("it parses")
                .get("b"),
            Some("x y")
        );
        assert!(Parameters::parse_form(&headers, b"a=1&a=1").is_err());
        assert_eq!(Parameters::parse(b"a=").get("a"), None);
    }
}
