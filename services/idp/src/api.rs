//! The provider's doors: HTTP in, [`Logins`] and [`SigningKey`] behind.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{RawQuery, Request, State};
use axum::response::{IntoResponse, Redirect as SeeOther, Response};
use axum::routing::{MethodRouter, any, get, post};
use http::StatusCode;
use http::request::Parts;
use sealwright_crypto::{base64, random_bytes, sha256};
use sealwright_host::http as answers;
use sealwright_host::{Reason, ServiceError, SharedClock};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::approval;
use crate::claims::{Grant, MintRequest, TOKEN_LIFETIME_SECONDS};
use crate::flow::{
    Authorization, AuthorizationError, DEVICE_INTERVAL_SECONDS, DEVICE_LIFETIME_SECONDS, Logins,
    Redirect,
};
use crate::guard::{Guard, Refusal};
use crate::key::SigningKey;
use crate::oauth::{OAuthError, Parameters, authenticate_client, no_store};
use crate::page;

pub(crate) const MAX_BODY_BYTES: usize = 64 * 1024;
const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
/// Letters of a user code: no vowels, so no words, and nothing that looks like a digit (RFC 8628 section 6.1).
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// Everything the doors share.
#[derive(Debug)]
pub(crate) struct Provider {
    pub(crate) issuer: String,
    /// The path of the issuer URL, without a slash at the end.
    pub(crate) base: String,
    pub(crate) extra_issuers: Vec<String>,
    pub(crate) client_id: String,
    pub(crate) login: Option<String>,
    pub(crate) guard: Guard,
    pub(crate) key: SigningKey,
    pub(crate) clock: SharedClock,
    pub(crate) logins: Mutex<Logins>,
}

pub(crate) type Shared = State<Arc<Provider>>;

/// All routes, each with its 405.
pub(crate) fn router(provider: Arc<Provider>) -> Router {
    let base = provider.base.clone();
    let mut router = Router::new()
        .route(
            &format!("{base}/.well-known/openid-configuration"),
            reading(get(discovery)),
        )
        .route(
            &format!("/.well-known/oauth-authorization-server{base}"),
            reading(get(discovery)),
        )
        .route(&format!("{base}/keys"), reading(get(keys)))
        .route(&format!("{base}/auth"), reading(get(authorize)))
        .route(
            &format!("{base}/auth/approve"),
            writing(post(approval::authorization)),
        )
        .route(&format!("{base}/token"), writing(post(token)))
        .route(&format!("{base}/device/code"), writing(post(start_device)))
        .route(&format!("{base}/device"), reading(get(device_page)))
        .route(
            &format!("{base}/device/approve"),
            writing(post(approval::device)),
        )
        .route(&format!("{base}/mint"), writing(post(mint)))
        .route(
            &format!("{base}/page.css"),
            reading(get(|| asset("text/css; charset=utf-8", page::STYLE))),
        );
    for name in &provider.extra_issuers {
        let issuer = format!("{}/{name}", provider.issuer);
        let discovery = move |State(provider): Shared| {
            let issuer = issuer.clone();
            async move { public(&configuration(&provider, &issuer)) }
        };
        router = router.route(
            &format!("{base}/{name}/.well-known/openid-configuration"),
            reading(get(discovery)),
        );
    }
    router
        .route(&format!("{base}/{{*rest}}"), any(nothing_here))
        .with_state(provider)
}

fn reading(routes: MethodRouter<Arc<Provider>>) -> MethodRouter<Arc<Provider>> {
    routes.fallback(|| async { answers::method_not_allowed("GET, HEAD") })
}

fn writing(routes: MethodRouter<Arc<Provider>>) -> MethodRouter<Arc<Provider>> {
    routes.fallback(|| async { answers::method_not_allowed("POST") })
}

async fn nothing_here() -> ServiceError {
    answers::not_found("such page of the identity provider")
}

async fn asset(content_type: &'static str, text: &'static str) -> Response {
    answers::bytes(StatusCode::OK, content_type, text)
}

impl Provider {
    pub(crate) fn logins(&self) -> MutexGuard<'_, Logins> {
        // Every change of the stores is one call, so a panic elsewhere leaves nothing half done.
        self.logins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sign(&self, claims: &Map<String, Value>) -> Result<String, ServiceError> {
        self.key
            .sign(claims)
            .map_err(|error| ServiceError::internal(format!("signing a token: {error}")))
    }

    /// The answer of RFC 6749 section 5.1. The access token is an ID token too, since one published client takes it for one;
    /// `at_hash` ties the two together (OpenID Connect Core section 3.1.3.6).
    fn tokens(&self, grant: &Grant) -> Result<Response, ServiceError> {
        let now = self.clock.unix();
        let access_claims = grant.claims(&self.issuer, &self.client_id, now, &secret());
        let access_token = self.sign(&access_claims)?;
        let mut claims = grant.claims(&self.issuer, &self.client_id, now, &secret());
        let digest = sha256(access_token.as_bytes());
        let (left_half, _) = digest.split_at(digest.len() / 2);
        claims.insert("at_hash".into(), base64::encode_url(left_half).into());
        let id_token = self.sign(&claims)?;
        let body = json!({
            "access_token": access_token,
            "token_type": "Bearer",
            "expires_in": TOKEN_LIFETIME_SECONDS,
            "id_token": id_token,
        });
        Ok(no_store(answers::json(StatusCode::OK, &body)))
    }

    /// Turns an approval into the code, and says where it goes.
    pub(crate) fn approve(
        &self,
        request: Authorization,
        email: String,
    ) -> Result<(Redirect, String, Option<String>), OAuthError> {
        let (code, redirect, state) = (secret(), request.redirect.clone(), request.state.clone());
        self.logins()
            .issue_code(code.clone(), request, email, self.clock.unix())?;
        Ok((redirect, code, state))
    }
}

/// 32 random bytes: a code, a request id or a token id that nobody guesses.
fn secret() -> String {
    base64::encode_url(&random_bytes::<32>())
}

/// Eight letters with a dash in the middle: 20^8, about 34 bits.
fn user_code() -> String {
    let mut code = String::with_capacity(9);
    while code.len() < 9 {
        let [byte] = random_bytes::<1>();
        // 240 is the largest multiple of 20 that fits a byte; above it the letters would not be equally likely.
        let letter = (byte < 240)
            .then(|| USER_CODE_LETTERS.get(usize::from(byte % 20)))
            .flatten();
        code.extend(letter.map(|letter| char::from(*letter)));
        if code.len() == 4 {
            code.push('-');
        }
    }
    code
}

fn refused(refusal: &Refusal) -> ServiceError {
    ServiceError::new(Reason::PermissionDenied, refusal.to_string())
}

/// A public document. No CORS header: no page of another site needs it.
fn public(document: &Value) -> Response {
    answers::no_cache(answers::json(StatusCode::OK, document))
}

/// OpenID Connect Discovery section 3, RFC 8414 section 2, RFC 8628 section 4. The endpoints have the paths one published
/// client takes for granted without asking.
fn configuration(provider: &Provider, issuer: &str) -> Value {
    let at = &provider.issuer;
    json!({
        "issuer": issuer,
        "authorization_endpoint": format!("{at}/auth"),
        "token_endpoint": format!("{at}/token"),
        "jwks_uri": format!("{at}/keys"),
        "device_authorization_endpoint": format!("{at}/device/code"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query"],
        "grant_types_supported": ["authorization_code", DEVICE_GRANT],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "email"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "none"],
        "claims_supported": ["iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "at_hash", "jti", "email", "email_verified"],
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
    })
}

async fn discovery(State(provider): Shared) -> Response {
    public(&configuration(&provider, &provider.issuer))
}

async fn keys(State(provider): Shared) -> Response {
    public(&provider.key.jwks())
}

/// RFC 6749 section 4.1.1. Approves at once when a login is configured: then the request itself is the approval, so one that
/// another site started is refused. A program that opens a browser causes `Sec-Fetch-Site: none`.
async fn authorize(
    State(provider): Shared,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let approves_itself = provider.login.is_some();
    let allowed = if approves_itself {
        provider.guard.same_origin(&parts)
    } else {
        provider.guard.own_host(&parts)
    };
    if let Err(refusal) = allowed {
        return page::refusal(&provider.base, StatusCode::FORBIDDEN, &refusal.to_string());
    }
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes());
    let request = match Authorization::parse(&parameters, &provider.client_id, approves_itself) {
        Ok(request) => request,
        Err(AuthorizationError::Page(problem)) => {
            return page::refusal(&provider.base, StatusCode::BAD_REQUEST, &problem);
        }
        Err(AuthorizationError::Redirect {
            redirect,
            state,
            error,
        }) => {
            return redirect_error(&provider.base, &redirect, state.as_deref(), &error);
        }
    };
    match provider.login.clone() {
        Some(email) => approve_at_once(&provider, request, email),
        None => ask(&provider, request),
    }
}

fn approve_at_once(provider: &Provider, request: Authorization, email: String) -> Response {
    let (redirect, state) = (request.redirect.clone(), request.state.clone());
    match provider.approve(request, email) {
        Ok((Redirect::OutOfBand, code, _)) => page::code(&provider.base, &code),
        Ok((Redirect::Loopback(url), code, state)) => {
            see_other(&callback(*url, &[("code", &code)], state.as_deref()))
        }
        Err(error) => redirect_error(&provider.base, &redirect, state.as_deref(), &error),
    }
}

fn ask(provider: &Provider, request: Authorization) -> Response {
    let (redirect, state) = (request.redirect.clone(), request.state.clone());
    let (id, hint) = (secret(), request.login_hint.clone());
    let waiting = provider
        .logins()
        .wait(id.clone(), request, provider.clock.unix());
    match waiting {
        Ok(()) => {
            let waiting = page::Waiting {
                id: &id,
                redirect: &redirect,
            };
            page::login(
                &provider.base,
                &waiting,
                hint.as_deref().unwrap_or(""),
                None,
            )
        }
        Err(error) => redirect_error(&provider.base, &redirect, state.as_deref(), &error),
    }
}

/// RFC 6749 section 4.1.2.1.
fn redirect_error(
    base: &str,
    redirect: &Redirect,
    state: Option<&str>,
    error: &OAuthError,
) -> Response {
    match redirect {
        Redirect::OutOfBand => page::refusal(base, StatusCode::BAD_REQUEST, &error.description),
        Redirect::Loopback(url) => {
            let parameters = [
                ("error", error.code),
                ("error_description", error.description.as_str()),
            ];
            see_other(&callback((**url).clone(), &parameters, state))
        }
    }
}

pub(crate) fn see_other(location: &str) -> Response {
    no_store(SeeOther::to(location).into_response())
}

pub(crate) fn callback(
    mut url: url::Url,
    parameters: &[(&str, &str)],
    state: Option<&str>,
) -> String {
    let mut query = url.query_pairs_mut();
    query.extend_pairs(parameters);
    if let Some(state) = state {
        query.append_pair("state", state);
    }
    drop(query);
    url.into()
}

/// Reads a JSON body behind the full guard.
pub(crate) async fn intended_json<T: for<'a> Deserialize<'a>>(
    provider: &Provider,
    parts: &Parts,
    body: Body,
) -> Result<T, ServiceError> {
    provider
        .guard
        .intended(parts)
        .map_err(|refusal| refused(&refusal))?;
    answers::expect_content_type(&parts.headers, &[answers::JSON])?;
    let body = answers::read_body(&parts.headers, body, MAX_BODY_BYTES).await?;
    answers::parse_json(&body)
}

/// RFC 6749 section 4.1.3 and RFC 8628 section 3.4.
async fn token(State(provider): Shared, request: Request) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let parameters = match client_form(&provider, &parts, body).await? {
        Ok(parameters) => parameters,
        Err(error) => return Ok(error.into_response()),
    };
    let now_ms = provider.clock.unix_ms();
    let grant = match parameters.get("grant_type") {
        Some("authorization_code") => provider
            .logins()
            .redeem_code(&parameters, now_ms.div_euclid(1000)),
        Some(DEVICE_GRANT) => provider.logins().poll_device(&parameters, now_ms),
        given => Err(OAuthError::new(
            "unsupported_grant_type",
            format!(
                "grant_type {:?}; expected \"authorization_code\" or {DEVICE_GRANT:?}",
                given.unwrap_or("")
            ),
        )),
    };
    match grant {
        Ok(grant) => provider.tokens(&grant),
        Err(error) => Ok(error.into_response()),
    }
}

/// RFC 8628 section 3.1 and 3.2.
async fn start_device(State(provider): Shared, request: Request) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let parameters = match client_form(&provider, &parts, body).await? {
        Ok(parameters) => parameters,
        Err(error) => return Ok(error.into_response()),
    };
    let (device_code, user_code) = (secret(), user_code());
    let login = provider.login.as_deref();
    let now = provider.clock.unix();
    let started = provider.logins().start_device(
        device_code.clone(),
        user_code.clone(),
        &parameters,
        login,
        now,
    );
    if let Err(error) = started {
        return Ok(error.into_response());
    }
    let verification_uri = format!("{}/device", provider.issuer);
    let body = json!({
        "device_code": device_code,
        "user_code": user_code,
        "verification_uri_complete": format!("{verification_uri}?user_code={user_code}"),
        "verification_uri": verification_uri,
        "expires_in": DEVICE_LIFETIME_SECONDS,
        "interval": DEVICE_INTERVAL_SECONDS,
    });
    Ok(no_store(answers::json(StatusCode::OK, &body)))
}

/// A form from the client, which is no web page.
async fn client_form(
    provider: &Provider,
    parts: &Parts,
    body: Body,
) -> Result<Result<Parameters, OAuthError>, ServiceError> {
    provider
        .guard
        .same_origin(parts)
        .map_err(|refusal| refused(&refusal))?;
    let body = answers::read_body(&parts.headers, body, MAX_BODY_BYTES).await?;
    Ok(
        Parameters::parse_form(&parts.headers, &body).and_then(|parameters| {
            authenticate_client(&parts.headers, &parameters, &provider.client_id)?;
            Ok(parameters)
        }),
    )
}

async fn device_page(
    State(provider): Shared,
    RawQuery(query): RawQuery,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = provider.guard.own_host(&parts) {
        return page::refusal(&provider.base, StatusCode::FORBIDDEN, &refusal.to_string());
    }
    let parameters = Parameters::parse(query.unwrap_or_default().as_bytes());
    let user_code = parameters.get("user_code").unwrap_or("");
    page::device(&provider.base, user_code, "", None)
}

/// The door `sealwright token` uses: any claims, signed.
async fn mint(State(provider): Shared, request: Request) -> Result<Response, ServiceError> {
    let (parts, body) = request.into_parts();
    let request: MintRequest = intended_json(&provider, &parts, body).await?;
    let claims = request
        .claims(
            &provider.issuer,
            &provider.client_id,
            provider.clock.unix(),
            &secret(),
        )
        .map_err(|problem| ServiceError::new(Reason::MalformedRequest, problem))?;
    let token = provider.sign(&claims)?;
    Ok(no_store(answers::json(
        StatusCode::OK,
        &json!({ "token": token }),
    )))
}
