//! A provider for tests: it mints tokens of every algorithm and serves its keys over loopback HTTP, on demand slowly,
//! wrongly or not at all, and counts what it was asked.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use axum::routing::get;
use sealwright_crypto::key::ecdsa_fixed_from_der;
use sealwright_crypto::{KeyType, PrivateKey, PublicKey, base64};

use crate::token::{Claims, JwsAlgorithm, SignedToken};

/// The time of the tests: 2023-11-14T22:13:20Z.
pub(crate) const NOW: i64 = 1_700_000_000;

/// A token with a signature of three zero bytes.
pub(crate) fn unsigned(header: &str, claims: &str) -> String {
    let encode = |text: &str| base64::encode_url(text.as_bytes());
    format!("{}.{}.AAAA", encode(header), encode(claims))
}

/// Claims as a token would carry them.
pub(crate) fn claims_of(json: &str) -> Claims {
    SignedToken::parse(&unsigned(r#"{"alg":"ES256"}"#, json))
        .unwrap()
        .into_claims()
}

/// A key that signs tokens.
#[derive(Clone)]
pub(crate) struct Minter {
    alg: JwsAlgorithm,
    kid: String,
    key: Arc<PrivateKey>,
}

impl Minter {
    pub(crate) fn new(alg: JwsAlgorithm, kid: &str, key: PrivateKey) -> Self {
        Self {
            alg,
            kid: kid.to_owned(),
            key: Arc::new(key),
        }
    }

    pub(crate) fn es256(kid: &str) -> Self {
        Self::new(
            JwsAlgorithm::Es256,
            kid,
            PrivateKey::generate(KeyType::EcP256).unwrap(),
        )
    }

    pub(crate) fn rs256(kid: &str) -> Self {
        Self::new(
            JwsAlgorithm::Rs256,
            kid,
            PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap(),
        )
    }

    /// One for every algorithm; the RSA algorithms have one key each.
    pub(crate) fn one_of_each() -> Vec<Self> {
        let key_type = |alg| match alg {
            JwsAlgorithm::Es256 => KeyType::EcP256,
            JwsAlgorithm::Es384 => KeyType::EcP384,
            JwsAlgorithm::Es512 => KeyType::EcP521,
            JwsAlgorithm::EdDsa => KeyType::Ed25519,
            _ => KeyType::Rsa { bits: 2048 },
        };
        let minter = |alg| {
            Self::new(
                alg,
                alg.name(),
                PrivateKey::generate(key_type(alg)).unwrap(),
            )
        };
        JwsAlgorithm::ALL.map(minter).into()
    }

    pub(crate) fn alg(&self) -> JwsAlgorithm {
        self.alg
    }

    pub(crate) fn public_key(&self) -> &PublicKey {
        self.key.public_key()
    }

    pub(crate) fn sign(&self, claims: &str) -> String {
        self.sign_header(
            &format!(
                r#"{{"alg":"{}","typ":"JWT","kid":"{}"}}"#,
                self.alg.name(),
                self.kid
            ),
            claims,
        )
    }

    pub(crate) fn sign_without_kid(&self, claims: &str) -> String {
        self.sign_header(&format!(r#"{{"alg":"{}"}}"#, self.alg.name()), claims)
    }

    /// A token whose signature is given.
    pub(crate) fn sign_as(&self, claims: &str, signature: &[u8]) -> String {
        let token = self.sign(claims);
        let (input, _) = token.rsplit_once('.').unwrap();
        format!("{input}.{}", base64::encode_url(signature))
    }

    fn sign_header(&self, header: &str, claims: &str) -> String {
        let input = format!(
            "{}.{}",
            base64::encode_url(header.as_bytes()),
            base64::encode_url(claims.as_bytes())
        );
        let key_type = self.key.key_type();
        let algorithm = self.alg.with_key(key_type).unwrap();
        let signature = self.key.sign(algorithm, input.as_bytes()).unwrap();
        let signature = ecdsa_fixed_from_der(key_type, &signature).unwrap_or(signature);
        format!("{input}.{}", base64::encode_url(&signature))
    }

    /// The public key as a JWK without `alg`.
    pub(crate) fn jwk(&self) -> String {
        let public = self.key.public_key();
        let kid = &self.kid;
        let url = base64::encode_url;
        if let Some((modulus, exponent)) = public.rsa_components() {
            return format!(
                r#"{{"kty":"RSA","use":"sig","kid":"{kid}","n":"{}","e":"{}"}}"#,
                url(modulus),
                url(exponent)
            );
        }
        if let Some(raw) = public.ed25519_raw() {
            return format!(
                r#"{{"kty":"OKP","use":"sig","kid":"{kid}","crv":"Ed25519","x":"{}"}}"#,
                url(&raw)
            );
        }
        let crv = match public.key_type() {
            KeyType::EcP256 => "P-256",
            KeyType::EcP384 => "P-384",
            _ => "P-521",
        };
        let point = &public.ec_point().unwrap()[1..];
        let (x, y) = point.split_at(point.len() / 2);
        format!(
            r#"{{"kty":"EC","use":"sig","kid":"{kid}","crv":"{crv}","x":"{}","y":"{}"}}"#,
            url(x),
            url(y)
        )
    }

    pub(crate) fn jwks(minters: &[Self]) -> String {
        let keys: Vec<String> = minters.iter().map(Self::jwk).collect();
        format!("{{\"keys\":[{}]}}", keys.join(","))
    }
}

type Discovery = Box<dyn Fn(&str, &str) -> String + Send>;

struct Shared {
    issuer: String,
    keys: Mutex<String>,
    discovery: Mutex<Discovery>,
    cache_control: Mutex<String>,
    status: Mutex<u16>,
    delay_ms: AtomicU64,
    requests: AtomicUsize,
    key_fetches: AtomicUsize,
}

/// The provider; its listener ends with the test's runtime.
pub(crate) struct FakeProvider(Arc<Shared>);

impl FakeProvider {
    pub(crate) async fn start(minters: &[Minter]) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let shared = Arc::new(Shared {
            issuer: format!("http://{}", listener.local_addr().unwrap()),
            keys: Mutex::new(Minter::jwks(minters)),
            discovery: Mutex::new(Box::new(|issuer, jwks| {
                format!(r#"{{"issuer":"{issuer}","jwks_uri":"{jwks}"}}"#)
            })),
            cache_control: Mutex::new("no-transform".to_owned()),
            status: Mutex::new(200),
            delay_ms: AtomicU64::new(0),
            requests: AtomicUsize::new(0),
            key_fetches: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .route("/redirect", get(redirect))
            .route("/loop", get(|| async { Redirect::temporary("/loop") }))
            .with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self(shared)
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// host:port.
    pub(crate) fn authority(&self) -> &str {
        self.0.issuer.trim_start_matches("http://")
    }

    pub(crate) fn rotate(&self, minters: &[Minter]) {
        self.set_keys(Minter::jwks(minters));
    }

    pub(crate) fn set_keys(&self, jwks: String) {
        *self.0.keys.lock().unwrap() = jwks;
    }

    pub(crate) fn set_discovery(&self, document: impl Fn(&str, &str) -> String + Send + 'static) {
        *self.0.discovery.lock().unwrap() = Box::new(document);
    }

    pub(crate) fn set_cache_control(&self, value: &str) {
        *self.0.cache_control.lock().unwrap() = value.to_owned();
    }

    pub(crate) fn set_status(&self, status: u16) {
        *self.0.status.lock().unwrap() = status;
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        self.0
            .delay_ms
            .store(delay.as_millis().try_into().unwrap(), Ordering::SeqCst);
    }

    /// How many requests of any kind were answered.
    pub(crate) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// How often the keys were fetched.
    pub(crate) fn key_fetches(&self) -> usize {
        self.0.key_fetches.load(Ordering::SeqCst)
    }
}

async fn answer(shared: &Shared, body: String) -> Response {
    shared.requests.fetch_add(1, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(
        shared.delay_ms.load(Ordering::SeqCst),
    ))
    .await;
    let status = StatusCode::from_u16(*shared.status.lock().unwrap()).unwrap();
    let cache_control = shared.cache_control.lock().unwrap().clone();
    (
        status,
        [
            ("content-type", "application/json".to_owned()),
            ("cache-control", cache_control),
        ],
        body,
    )
        .into_response()
}

async fn discovery(State(shared): State<Arc<Shared>>) -> Response {
    let document =
        shared.discovery.lock().unwrap()(&shared.issuer, &format!("{}/keys", shared.issuer));
    answer(&shared, document).await
}

async fn keys(State(shared): State<Arc<Shared>>) -> Response {
    shared.key_fetches.fetch_add(1, Ordering::SeqCst);
    let keys = shared.keys.lock().unwrap().clone();
    answer(&shared, keys).await
}

async fn redirect(Query(query): Query<HashMap<String, String>>) -> Redirect {
    Redirect::temporary(&query["to"])
}
