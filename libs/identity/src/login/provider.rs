//! A provider's doors, as its discovery document names them, and what its answers mean.

use openidconnect::core::{CoreClient, CoreErrorResponseType};
use openidconnect::{
    AuthType, AuthUrl, ClientId, ClientSecret, DeviceAuthorizationUrl, DeviceCodeErrorResponse,
    DeviceCodeErrorResponseType, EndpointNotSet, EndpointSet, ErrorResponse, IssuerUrl,
    JsonWebKeySet, RequestTokenError, StandardErrorResponse, TokenUrl,
};
use serde::Deserialize;
use url::{Host, Url};

use super::{LoginError, LoginOptions, Transport, TransportError, http};
use crate::discovery::check_issuer_url;
use crate::error::{ConfigError, echo};

/// `openidconnect`'s client with the two doors that every login needs.
pub(super) type Client = CoreClient<
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
    EndpointNotSet,
>;

type TokenFailure = RequestTokenError<TransportError, StandardErrorResponse<CoreErrorResponseType>>;
type PollingFailure = RequestTokenError<TransportError, DeviceCodeErrorResponse>;

/// What a login needs of OpenID Connect Discovery section 3 and RFC 8628 section 4.
#[derive(Debug, Deserialize)]
struct Document {
    issuer: IssuerUrl,
    authorization_endpoint: AuthUrl,
    token_endpoint: TokenUrl,
    device_authorization_endpoint: Option<DeviceAuthorizationUrl>,
    token_endpoint_auth_methods_supported: Option<Vec<String>>,
    code_challenge_methods_supported: Option<Vec<String>>,
}

/// A provider that has been asked where its doors are.
#[derive(Debug)]
pub(super) struct Provider {
    issuer: IssuerUrl,
    on_this_machine: bool,
    authorization: AuthUrl,
    token: TokenUrl,
    pub(super) device_authorization: Option<DeviceAuthorizationUrl>,
    /// Whether secrets go into the form: the provider does not take them in a header.
    secret_in_form: bool,
}

impl Provider {
    /// Reads the discovery document, and refuses one that is not `issuer`'s or names doors that are not safe.
    pub(super) async fn discover(
        issuer: &str,
        transport: &dyn Transport,
    ) -> Result<Self, LoginError> {
        let url = check_issuer(issuer)?;
        let discovery = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let body = fetch(&discovery, transport).await?;
        let document: Document =
            serde_json::from_slice(&body).map_err(|error| LoginError::NotUnderstood {
                url: discovery,
                problem: format!(
                    "it is not a discovery document: {}",
                    echo(&error.to_string())
                ),
            })?;
        if document.issuer.as_str() != issuer {
            return Err(LoginError::IssuerMismatch {
                found: echo(&document.issuer),
                wanted: issuer.to_owned(),
            });
        }
        Self::new(document, is_loopback(&url))
    }

    fn new(document: Document, on_this_machine: bool) -> Result<Self, LoginError> {
        let methods = document.code_challenge_methods_supported;
        if methods.is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return Err(LoginError::NoPkce);
        }
        let methods = document
            .token_endpoint_auth_methods_supported
            .unwrap_or_default();
        let takes = |name: &str| methods.iter().any(|method| method == name);
        let provider = Self {
            issuer: document.issuer,
            on_this_machine,
            authorization: document.authorization_endpoint,
            token: document.token_endpoint,
            device_authorization: document.device_authorization_endpoint,
            secret_in_form: takes("client_secret_post") && !takes("client_secret_basic"),
        };
        provider.check_endpoint("authorization_endpoint", provider.authorization.url())?;
        provider.check_endpoint("token_endpoint", provider.token.url())?;
        if let Some(device) = &provider.device_authorization {
            provider.check_endpoint("device_authorization_endpoint", device.url())?;
        }
        Ok(provider)
    }

    /// https, or http between programs of this machine. An issuer elsewhere cannot send us to a port here.
    pub(super) fn check_endpoint(&self, name: &'static str, url: &Url) -> Result<(), LoginError> {
        let plain = url.scheme() == "http" && self.on_this_machine && is_loopback(url);
        let secure = url.scheme() == "https" && url.has_host();
        if (plain || secure) && url.username().is_empty() && url.password().is_none() {
            return Ok(());
        }
        Err(LoginError::Endpoint {
            name,
            url: echo(&shown(url)),
        })
    }

    pub(super) fn client(&self, options: &LoginOptions) -> Client {
        // The keys are not needed: see the module on what is checked of an ID token.
        let mut client = CoreClient::new(
            ClientId::new(options.client_id.clone()),
            self.issuer.clone(),
            JsonWebKeySet::default(),
        );
        if let Some(secret) = &options.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose().to_owned()));
        }
        if self.secret_in_form {
            client = client.set_auth_type(AuthType::RequestBody);
        }
        client
            .set_auth_uri(self.authorization.clone())
            .set_token_uri(self.token.clone())
    }

    /// What went wrong at the token endpoint.
    pub(super) fn token_failure(&self, error: TokenFailure) -> LoginError {
        failure(error, self.token.url())
    }

    /// What went wrong at the device authorization endpoint.
    pub(super) fn device_failure(&self, error: TokenFailure) -> LoginError {
        failure(error, self.device_url())
    }

    /// What went wrong while a code was waiting to be entered.
    pub(super) fn polling_failure(&self, error: PollingFailure) -> LoginError {
        match &error {
            RequestTokenError::ServerResponse(response)
                if *response.error() == DeviceCodeErrorResponseType::ExpiredToken =>
            {
                LoginError::CodeExpired
            }
            _ => failure(error, self.token.url()),
        }
    }

    /// An answer of the device authorization endpoint that cannot be shown to a person.
    pub(super) fn device_answer(&self, problem: &str) -> LoginError {
        LoginError::NotUnderstood {
            url: shown(self.device_url()),
            problem: problem.to_owned(),
        }
    }

    fn device_url(&self) -> &Url {
        let device = self.device_authorization.as_ref();
        device.map_or(self.token.url(), |device| device.url())
    }
}

fn check_issuer(issuer: &str) -> Result<Url, LoginError> {
    let url = check_issuer_url(issuer, true).map_err(|error| match error {
        ConfigError::IssuerUrl { why, .. } => LoginError::IssuerUrl { why },
        _ => LoginError::IssuerUrl {
            why: "an https URL is wanted",
        },
    })?;
    if url.scheme() == "http" && !is_loopback(&url) {
        return Err(LoginError::IssuerUrl {
            why: "an https URL is wanted; plain http is for providers on this machine",
        });
    }
    Ok(url)
}

async fn fetch(url: &str, transport: &dyn Transport) -> Result<Vec<u8>, LoginError> {
    let request = http::Request::builder()
        .uri(url)
        .header("accept", "application/json")
        .body(Vec::new())
        .map_err(|_| LoginError::IssuerUrl {
            why: "no address can be made of it",
        })?;
    let response = transport
        .exchange(request)
        .await
        .map_err(|source| LoginError::Transport {
            url: url.to_owned(),
            source,
        })?;
    if response.status() != http::StatusCode::OK {
        return Err(LoginError::Status {
            url: url.to_owned(),
            status: response.status().as_u16(),
        });
    }
    Ok(response.into_body())
}

/// Bodies are never quoted: they may hold tokens.
fn failure<T>(error: RequestTokenError<TransportError, T>, url: &Url) -> LoginError
where
    T: ErrorResponse + Described + 'static,
{
    let url = shown(url);
    let not_understood = |problem: String| LoginError::NotUnderstood {
        url: url.clone(),
        problem,
    };
    match error {
        RequestTokenError::ServerResponse(response) => {
            let (code, description) = response.described();
            LoginError::Refused { code, description }
        }
        RequestTokenError::Request(source) => LoginError::Transport { url, source },
        RequestTokenError::Parse(error, _) => {
            let path = error.path().to_string();
            not_understood(format!("its JSON does not fit at {:?}", echo(&path)))
        }
        RequestTokenError::Other(problem) => not_understood(echo(&problem)),
    }
}

/// Error code and explanation, fit to be shown.
trait Described {
    fn described(&self) -> (String, String);
}

impl<T> Described for StandardErrorResponse<T>
where
    T: openidconnect::ErrorResponseType + std::fmt::Display + 'static,
{
    fn described(&self) -> (String, String) {
        let description = self.error_description().map_or("", String::as_str);
        (echo(&self.error().to_string()), echo(description))
    }
}

/// Without query, which may hold secrets.
fn shown(url: &Url) -> String {
    let mut url = url.clone();
    url.set_query(None);
    url.set_fragment(None);
    url.into()
}

fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn provider(on_this_machine: bool, changes: serde_json::Value) -> Result<Provider, LoginError> {
        let at = if on_this_machine {
            "http://127.0.0.1:5"
        } else {
            "https://issuer.test"
        };
        let mut document = serde_json::json!({
            "issuer": at,
            "authorization_endpoint": format!("{at}/auth"),
            "token_endpoint": format!("{at}/token"),
        });
        let changes = changes.as_object().expect("an object").clone();
        document.as_object_mut().expect("an object").extend(changes);
        Provider::new(
            serde_json::from_value(document).expect("a document"),
            on_this_machine,
        )
    }

    #[test]
    fn doors_are_https_or_on_this_machine() {
        use serde_json::json;
        assert!(provider(true, json!({})).is_ok() && provider(false, json!({})).is_ok());
        for url in [
            "http://issuer.test/token",
            "http://127.0.0.1:5/token",
            "https://user:pw@issuer.test/token",
            "ftp://issuer.test/token",
        ] {
            let refused = provider(false, json!({ "token_endpoint": url }));
            assert!(
                matches!(
                    refused,
                    Err(LoginError::Endpoint {
                        name: "token_endpoint",
                        ..
                    })
                ),
                "{url}"
            );
        }
        let refused = provider(
            true,
            json!({ "device_authorization_endpoint": "http://evil.test/" }),
        );
        assert!(matches!(refused, Err(LoginError::Endpoint { .. })));
        let refused = provider(
            true,
            json!({ "authorization_endpoint": "http://localhost.evil.test/" }),
        );
        assert!(matches!(refused, Err(LoginError::Endpoint { .. })));
    }

    #[test]
    fn a_provider_without_our_challenge_method_is_refused() {
        let plain = serde_json::json!({ "code_challenge_methods_supported": ["plain"] });
        assert!(matches!(provider(false, plain), Err(LoginError::NoPkce)));
        let both = serde_json::json!({ "code_challenge_methods_supported": ["plain", "S256"] });
        assert!(provider(false, both).is_ok());
    }

    #[test]
    fn a_secret_travels_as_the_provider_takes_it() {
        for (methods, in_form) in [
            (serde_json::json!(["client_secret_post"]), true),
            (
                serde_json::json!(["client_secret_post", "client_secret_basic"]),
                false,
            ),
            (serde_json::json!(["none"]), false),
        ] {
            let provider = provider(
                false,
                serde_json::json!({ "token_endpoint_auth_methods_supported": methods }),
            );
            assert_eq!(provider.expect("accepted").secret_in_form, in_form);
        }
    }

    #[test]
    fn issuers_elsewhere_speak_https() {
        for issuer in [
            "http://issuer.test",
            "issuer.test",
            "https://issuer.test?x",
            "http://127.0.0.1.evil.test",
        ] {
            assert!(
                matches!(check_issuer(issuer), Err(LoginError::IssuerUrl { .. })),
                "{issuer}"
            );
        }
        for issuer in [
            "https://issuer.test",
            "http://localhost:5/a",
            "http://[::1]:5",
            "http://127.0.0.1:5",
        ] {
            assert!(check_issuer(issuer).is_ok(), "{issuer}");
        }
    }
}
