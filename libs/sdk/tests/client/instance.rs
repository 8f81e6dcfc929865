//! An instance for one test: authorities and logs in memory behind a loopback port.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures::stream;
use http::{HeaderMap, StatusCode};
use sealwright_crypto::{
    Algorithm, Digest, HashAlgorithm, KeyType, MemorySigner, PrivateKey, Signer as _, base64,
};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::request::CertificateRequest;
use sealwright_pki::serial::SerialNumber;
use sealwright_pki::timestamp::{Stamp, TimeStampReq, TokenTemplate};
use sealwright_pki::{Certificate, ObjectIdentifier};
use sealwright_proto::fulcio::v2::{
    CertificateChain, SigningCertificate, SigningCertificateEmbeddedSct, signing_certificate,
};
use sealwright_proto::rekor::v2::{CreateEntryRequest, create_entry_request, verifier};
use sealwright_sdk::{
    CLIENT_TRUST_CONFIG_MEDIA_TYPE, Clock, Http, HttpOptions, IdentityToken, SigningContext,
    TraceContext, TrustConfig,
};
use sealwright_testkit::bundle_factory::{DAY, EMAIL, ISSUER, NOW, SctKind, Signing, World, email};
use sealwright_tlog::entry::{EntrySignature, HashedRekord, VerifierMaterial};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// The services, by the first segment of their path.
pub(crate) const CA: &str = "/ca";
pub(crate) const TSA: &str = "/tsa";
pub(crate) const LOG: &str = "/log";
/// Where a listed service is not.
pub(crate) const GONE: &str = "/gone";

/// How a service fails, once for each time it is listed.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// An error status with our envelope, and `Retry-After: 0`.
    Status(u16, &'static str),
    /// An answer that breaks off.
    HalfAnswer,
    /// 200 with this body.
    Body(&'static str),
    /// 200 with more bytes than any honest answer.
    Endless,
    /// A redirect to elsewhere.
    Redirect,
    /// No answer while anybody waits.
    Silence,
}

/// How a service lies in an answer that is otherwise in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Lie {
    CertificateForAnotherKey,
    CertificateForAnotherPerson,
    CertificateOfAnotherIssuer,
    CertificateWithoutSct,
    CertificateWithForgedSct,
    CertificateOfAnotherAuthority,
    TimestampWithoutNonce,
    TimestampOverOtherData,
    TimestampOfAnotherAuthority,
    TimestampOutsideTheCertificate,
    EntryOfAnotherSignature,
    EntryWithBrokenProof,
    EntryOfAnotherLog,
}

pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
}

pub(crate) struct Shared {
    world: Mutex<World>,
    tsa: Mutex<Stamper>,
    faults: Mutex<HashMap<&'static str, Vec<Fault>>>,
    lie: Mutex<Option<Lie>>,
    seen: Mutex<Vec<Seen>>,
    now: AtomicI64,
    audience: Mutex<Option<String>>,
    /// Set when the timestamp authority has to wait until the log was asked.
    tsa_waits_for_log: Mutex<bool>,
    log_was_asked: Notify,
}

pub(crate) struct Instance {
    pub(crate) shared: Arc<Shared>,
    pub(crate) url: String,
    pub(crate) trust: Arc<TrustConfig>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Instance {
    pub(crate) async fn start() -> Self {
        Self::start_selecting(None).await
    }

    /// An instance that lists services which are not there, to be chosen by `selector`.
    pub(crate) async fn start_selecting(selector: Option<Value>) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let mut world = World::new();
        world.log.base_url = format!("{url}{LOG}");
        world.log.origin = "127.0.0.1".into();
        let tsa = Stamper::new();
        world.timestamp_authority.chain = tsa.chain.clone();
        world.timestamp_authority.uri = format!("{url}{TSA}");
        let trust = Arc::new(trust_config(&world, &url, selector));
        let shared = Arc::new(Shared {
            world: Mutex::new(world),
            tsa: Mutex::new(tsa),
            faults: Mutex::default(),
            lie: Mutex::default(),
            seen: Mutex::default(),
            now: AtomicI64::new(NOW),
            audience: Mutex::new(Some("sigstore".into())),
            tsa_waits_for_log: Mutex::new(false),
            log_was_asked: Notify::new(),
        });
        let router = Router::new()
            .route("/ca/api/v2/signingCert", post(signing_cert))
            .route("/ca/api/v2/configuration", get(configuration))
            .route("/tsa", post(stamp))
            .route("/log/api/v2/log/entries", post(create_entry))
            .layer(from_fn_with_state(shared.clone(), misbehave))
            .with_state(shared.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self {
            shared,
            url,
            trust,
            server,
        }
    }

    pub(crate) fn fail(&self, service: &'static str, faults: &[Fault]) {
        self.shared
            .faults
            .lock()
            .expect("no panic")
            .insert(service, faults.to_vec());
    }

    pub(crate) fn lie(&self, lie: Lie) {
        *self.shared.lie.lock().expect("no panic") = Some(lie);
    }

    pub(crate) fn expect_audience(&self, audience: Option<&str>) {
        *self.shared.audience.lock().expect("no panic") = audience.map(str::to_owned);
    }

    pub(crate) fn make_tsa_wait_for_log(&self) {
        *self.shared.tsa_waits_for_log.lock().expect("no panic") = true;
    }

    pub(crate) fn advance(&self, seconds: i64) {
        self.shared.now.fetch_add(seconds, Ordering::SeqCst);
    }

    pub(crate) fn now(&self) -> i64 {
        self.shared.now.load(Ordering::SeqCst)
    }

    /// Requests whose path begins so.
    pub(crate) fn asked(&self, service: &str) -> usize {
        self.shared
            .seen
            .lock()
            .expect("no panic")
            .iter()
            .filter(|seen| seen.path.starts_with(service))
            .count()
    }

    pub(crate) fn headers(&self, name: &str) -> Vec<String> {
        let seen = self.shared.seen.lock().expect("no panic");
        seen.iter()
            .map(|seen| {
                seen.headers
                    .get(name)
                    .and_then(|value| value.to_str().ok())
                    .unwrap_or("")
                    .to_owned()
            })
            .collect()
    }

    pub(crate) fn context(&self) -> SigningContext {
        self.context_with(|_| {})
    }

    pub(crate) fn context_with(&self, change: impl FnOnce(&mut HttpOptions)) -> SigningContext {
        let mut options = HttpOptions::default();
        let parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        options.trace = Some(TraceContext::continued(parent));
        change(&mut options);
        SigningContext::new(
            self.trust.clone(),
            Arc::new(Http::new(options)),
            self.clock(),
        )
        .expect("it can sign")
    }

    pub(crate) fn clock(&self) -> Clock {
        let shared = self.shared.clone();
        Arc::new(move || shared.now.load(Ordering::SeqCst))
    }
}

/// A token for the signer of the world, good for an hour. Nobody here checks its signature.
pub(crate) fn token() -> IdentityToken {
    token_with(|_| {})
}

pub(crate) fn token_with(change: impl FnOnce(&mut Value)) -> IdentityToken {
    let mut claims = json!({
        "iss": ISSUER, "aud": "sigstore", "sub": "1234", "email": EMAIL, "email_verified": true, "exp": NOW + 3600,
    });
    change(&mut claims);
    let part = |value: &Value| base64::encode_url(value.to_string().as_bytes());
    let text = format!(
        "{}.{}.c2ln",
        part(&json!({ "alg": "ES256" })),
        part(&claims)
    );
    IdentityToken::parse(&text).expect("it is a token")
}

/// Trust configuration; with `selector`, each log and timestamp authority has a second one beside it, of another operator,
/// that is not there.
fn trust_config(world: &World, url: &str, selector: Option<Value>) -> TrustConfig {
    let service = |url: String, version: u32, operator: &str| json!({ "url": url, "majorApiVersion": version, "operator": operator, "validFor": { "start": "2020-01-01T00:00:00Z" } });
    let services = |path: &str, version: u32| {
        let mut services = vec![service(format!("{url}{path}"), version, "example.com")];
        let gone = service(format!("{url}{GONE}"), version, "gone.example.com");
        services.extend(selector.is_some().then_some(gone));
        services
    };
    let selected = selector
        .clone()
        .unwrap_or_else(|| json!({ "selector": "ANY" }));
    let document = json!({
        "mediaType": CLIENT_TRUST_CONFIG_MEDIA_TYPE,
        "trustedRoot": serde_json::from_str::<Value>(&world.trusted_root_json()).expect("JSON"),
        "signingConfig": {
            "mediaType": "application/vnd.dev.sigstore.signingconfig.v0.2+json",
            "caUrls": [service(format!("{url}{CA}"), 1, "example.com")],
            "oidcUrls": [],
            "rekorTlogUrls": services(LOG, 2),
            "rekorTlogConfig": selected,
            "tsaUrls": services(TSA, 1),
            "tsaConfig": selected,
        },
    });
    TrustConfig::from_client_trust_config("test", document.to_string().as_bytes())
        .expect("it is trust configuration")
}

/// Notes every request, and fails those that a test wants to fail.
async fn misbehave(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let path = request.uri().path().to_owned();
    shared.seen.lock().expect("no panic").push(Seen {
        path: path.clone(),
        headers: request.headers().clone(),
    });
    let fault = {
        let mut faults = shared.faults.lock().expect("no panic");
        let listed = faults
            .iter_mut()
            .find(|(service, listed)| path.starts_with(**service) && !listed.is_empty());
        listed.map(|(_, listed)| listed.remove(0))
    };
    match fault {
        None => next.run(request).await,
        Some(Fault::Status(status, reason)) => {
            let envelope = json!({ "code": 14, "message": "not today", "details": [{
                "@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "sealwright.dev",
                "metadata": { "requestId": "req-1" } }] });
            let status = StatusCode::from_u16(status).expect("a status");
            (status, [("retry-after", "0")], envelope.to_string()).into_response()
        }
        Some(Fault::HalfAnswer) => {
            let half = stream::iter([
                Ok(Bytes::from_static(b"{\"logIndex\":")),
                Err(std::io::Error::other("gone")),
            ]);
            Response::new(Body::from_stream(half))
        }
        Some(Fault::Body(text)) => text.into_response(),
        Some(Fault::Endless) => {
            Response::new(Body::from_stream(stream::iter((0..64).map(|_| {
                Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 1024 * 1024]))
            }))))
        }
        Some(Fault::Redirect) => (
            StatusCode::TEMPORARY_REDIRECT,
            [("location", "http://elsewhere.test/")],
        )
            .into_response(),
        Some(Fault::Silence) => {
            tokio::time::sleep(Duration::from_secs(3600)).await;
            StatusCode::OK.into_response()
        }
    }
}

async fn configuration(State(shared): State<Arc<Shared>>) -> Response {
    let audience = shared.audience.lock().expect("no panic").clone();
    match audience {
        Some(audience) => {
            axum::Json(json!({ "issuers": [{ "issuerUrl": ISSUER, "audience": audience, "issuerType": "email" }] })).into_response()
        }
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

async fn signing_cert(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    let lie = *shared.lie.lock().expect("no panic");
    let request: Value = serde_json::from_slice(&body).expect("the client sends JSON");
    assert!(
        request["credentials"]["oidcIdentityToken"]
            .as_str()
            .is_some_and(|token| token.contains('.'))
    );
    let pem = base64::decode(
        request["certificateSigningRequest"]
            .as_str()
            .expect("a CSR"),
    )
    .expect("base64");
    let request =
        CertificateRequest::from_pem(std::str::from_utf8(&pem).expect("PEM")).expect("a CSR");
    request
        .verify(&sealwright_pki::request::DEFAULT_PERMITTED_ALGORITHMS)
        .expect("it proves possession");
    let other = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let key = if lie == Some(Lie::CertificateForAnotherKey) {
        other.public_key()
    } else {
        request.public_key()
    };
    let mut signing = Signing {
        issued_at: shared.now.load(Ordering::SeqCst),
        ..Signing::default()
    };
    match lie {
        Some(Lie::CertificateForAnotherPerson) => {
            signing.identity = email("mallory@example.com", ISSUER)
        }
        Some(Lie::CertificateOfAnotherIssuer) => {
            signing.identity = email(EMAIL, "https://evil.test")
        }
        Some(Lie::CertificateWithoutSct) => signing.sct = SctKind::Missing,
        Some(Lie::CertificateWithForgedSct) => signing.sct = SctKind::Tampered,
        _ => {}
    }
    let leaf = match lie {
        Some(Lie::CertificateOfAnotherAuthority) => World::new().certify(key, &signing),
        _ => shared
            .world
            .lock()
            .expect("no panic")
            .certify(key, &signing),
    };
    let chain = &shared
        .world
        .lock()
        .expect("no panic")
        .certificate_authority
        .chain;
    let certificates = std::iter::once(&leaf)
        .chain(chain)
        .map(Certificate::to_pem)
        .collect();
    let embedded = SigningCertificateEmbeddedSct {
        chain: Some(CertificateChain { certificates }),
    };
    let answer = SigningCertificate {
        certificate: Some(signing_certificate::Certificate::SignedCertificateEmbeddedSct(embedded)),
    };
    axum::Json(answer).into_response()
}

async fn stamp(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    assert_eq!(
        headers
            .get("content-type")
            .and_then(|value| value.to_str().ok()),
        Some("application/timestamp-query")
    );
    if *shared.tsa_waits_for_log.lock().expect("no panic") {
        shared.log_was_asked.notified().await;
    }
    let lie = *shared.lie.lock().expect("no panic");
    let mut request = TimeStampReq::parse(&body).expect("a request");
    assert!(request.cert_req && request.nonce.is_some());
    let other = HashAlgorithm::Sha256.digest(b"other data");
    let mut now = shared.now.load(Ordering::SeqCst);
    match lie {
        Some(Lie::TimestampWithoutNonce) => request.nonce = None,
        Some(Lie::TimestampOverOtherData) => {
            let nonce = request.nonce.expect("checked");
            let digest: &[u8; 32] = other.as_bytes().try_into().expect("32 bytes");
            return timestamp_answer(
                &shared
                    .tsa
                    .lock()
                    .expect("no panic")
                    .stamp(&TimeStampReq::sha256(digest, nonce), now),
            );
        }
        Some(Lie::TimestampOfAnotherAuthority) => {
            return timestamp_answer(&Stamper::new().stamp(&request, now));
        }
        Some(Lie::TimestampOutsideTheCertificate) => now += DAY,
        _ => {}
    }
    timestamp_answer(&shared.tsa.lock().expect("no panic").stamp(&request, now))
}

fn timestamp_answer(der: &[u8]) -> Response {
    (
        StatusCode::CREATED,
        [("content-type", "application/timestamp-reply")],
        der.to_vec(),
    )
        .into_response()
}

async fn create_entry(State(shared): State<Arc<Shared>>, body: Bytes) -> Response {
    shared.log_was_asked.notify_one();
    let lie = *shared.lie.lock().expect("no panic");
    let mut entry = hashed_rekord(&body);
    if lie == Some(Lie::EntryOfAnotherSignature) {
        entry.signature.content = b"another signature".to_vec();
    }
    let mut answer = match lie {
        Some(Lie::EntryOfAnotherLog) => World::new().log.add_among_others(&entry, (1, 1)),
        _ => shared
            .world
            .lock()
            .expect("no panic")
            .log
            .add_among_others(&entry, (1, 2)),
    };
    if lie == Some(Lie::EntryWithBrokenProof) {
        let proof = answer.inclusion_proof.as_mut().expect("a proof");
        proof
            .hashes
            .iter_mut()
            .flatten()
            .for_each(|byte| *byte ^= 1);
    }
    (StatusCode::CREATED, axum::Json(answer)).into_response()
}

fn hashed_rekord(body: &[u8]) -> HashedRekord {
    let request: CreateEntryRequest =
        serde_json::from_slice(body).expect("a strict log understands the request");
    let Some(create_entry_request::Spec::HashedRekordRequestV002(request)) = request.spec else {
        panic!("not a hashedrekord")
    };
    let signature = request.signature.expect("a signature");
    let details = signature.verifier.expect("a verifier");
    let verifier = match details.verifier.expect("a verifier") {
        verifier::Verifier::X509Certificate(certificate) => {
            VerifierMaterial::X509Certificate(certificate.raw_bytes)
        }
        verifier::Verifier::PublicKey(key) => VerifierMaterial::PublicKey(key.raw_bytes),
    };
    let key_details =
        Algorithm::from_key_details(details.key_details).expect("an algorithm of the registry");
    let hash = key_details.hash().expect("a prehashed algorithm");
    let data = Digest::new(hash, request.digest).expect("a digest");
    HashedRekord {
        data,
        signature: EntrySignature {
            content: signature.content,
            verifier,
            key_details,
        },
    }
}

/// A timestamp authority that answers requests.
struct Stamper {
    chain: Vec<Certificate>,
    signer: MemorySigner,
}

impl Stamper {
    fn new() -> Self {
        let root_key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let name = |common_name: &str| AuthorityName {
            common_name: common_name.into(),
            organization: "example.com".into(),
            development: true,
        };
        let envelope = || Envelope {
            serial: SerialNumber::from_random(sealwright_crypto::random_bytes()),
            not_before: NOW - DAY,
            not_after: NOW + 365 * DAY,
        };
        let root =
            authority::root(&root_key, &name("timestamp root"), 0, &envelope()).expect("a root");
        let signer = MemorySigner::new(PrivateKey::generate(KeyType::EcP256).expect("a key"));
        let parent = Parent {
            certificate: &root,
            key: &root_key,
        };
        let leaf = authority::time_stamping_leaf(
            signer.public_key(),
            &name("timestamps"),
            &envelope(),
            parent,
        );
        Self {
            chain: vec![leaf.expect("a leaf"), root],
            signer,
        }
    }

    fn stamp(&self, request: &TimeStampReq<'_>, gen_time: i64) -> Vec<u8> {
        let template =
            TokenTemplate::new(&self.chain, self.signer.algorithm(), None).expect("a template");
        let stamp = Stamp {
            policy: ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.2"),
            message_imprint: request.message_imprint,
            serial: sealwright_crypto::random_bytes(),
            gen_time,
            nonce: request.nonce,
            with_certificates: request.cert_req,
        };
        let prepared = template.prepare(&stamp).expect("a time of the calendar");
        let signature = self
            .signer
            .sign_now(prepared.message())
            .expect("in memory")
            .expect("a signature");
        prepared.finish(&signature)
    }
}
