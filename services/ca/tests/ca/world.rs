//! An authority as its clients meet it: on a socket, with issuers on another and a certificate log behind gRPC or HTTP.

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use sealwright_ca::{Ca, Config, CtLog, Deps, Error};
use sealwright_crypto::key::ecdsa_fixed_from_der;
use sealwright_crypto::{Algorithm, KeyType, MemorySigner, PrivateKey, base64, random_bytes};
use sealwright_host::clock::ManualClock;
use sealwright_host::grpc;
use sealwright_host::metrics::Registry;
use sealwright_host::run::{HostConfig, Running, Server};
use sealwright_pki::authority::{AuthorityName, Envelope, Parent, intermediate, root};
use sealwright_pki::sct::{self, SctEntry};
use sealwright_pki::{
    Certificate, Purpose, SerialNumber, SignedCertificateTimestamp, parse_pem_chain,
};
use sealwright_proto::sealwright::ct::v1 as ct_proto;
use sealwright_proto::sealwright::ct::v1::certificate_transparency_server::{
    CertificateTransparency, CertificateTransparencyServer,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// The time of the tests: 2023-11-14T22:13:20Z.
pub(crate) const NOW: i64 = 1_700_000_000;

const DAY: i64 = 24 * 60 * 60;

pub(crate) struct World {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) idp: Idp,
    pub(crate) log: Arc<FakeLog>,
    pub(crate) ca: Ca,
    pub(crate) base: String,
    pub(crate) http: reqwest::Client,
    pub(crate) chain: Vec<Certificate>,
    pub(crate) folder: TempDir,
    _server: Running,
}

/// How the authority reaches its log.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Way {
    Channel,
    InProcess,
    Http,
}

/// What differs from the usual.
pub(crate) struct Options {
    pub(crate) ca_not_after: i64,
    pub(crate) way_to_log: Way,
    pub(crate) root_issues: bool,
    pub(crate) config: fn(&mut Config),
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ca_not_after: NOW + 365 * DAY,
            way_to_log: Way::Channel,
            root_issues: false,
            config: |_| {},
        }
    }
}

impl World {
    pub(crate) async fn new() -> Self {
        Self::with(Options::default()).await
    }

    pub(crate) async fn with(options: Options) -> Self {
        let clock = Arc::new(ManualClock::at(NOW));
        let idp = Idp::start().await;
        let log = Arc::new(FakeLog::new(clock.clone()));
        let (signer, chain) = if options.root_issues {
            root_alone()
        } else {
            authority(options.ca_not_after)
        };
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(&idp);
        (options.config)(&mut config);
        let deps = Deps {
            clock: clock.clone(),
            registry: Registry::new(),
            state: folder.path().to_owned(),
            signer: Arc::new(signer),
            chain: chain.clone(),
            ct: log.reach(options.way_to_log, config.ct.timeout).await,
        };
        log.trust(chain.last().unwrap());
        let ca = Ca::open(config, deps).await.unwrap();
        let host = HostConfig {
            listen: vec![([127, 0, 0, 1], 0).into()],
            ..HostConfig::default()
        };
        let server = Server::bind(&host).unwrap();
        let base = format!("http://{}", server.address());
        let server = server.start(ca.router());
        let http = reqwest::Client::builder()
            .no_proxy()
            .tls_certs_only(Vec::new())
            .build()
            .unwrap();
        Self {
            clock,
            idp,
            log,
            ca,
            base,
            http,
            chain,
            folder,
            _server: server,
        }
    }

    /// An authority that is only opened, with this chain, signed for by this key.
    pub(crate) async fn open(chain: Vec<Certificate>, key: PrivateKey) -> Result<(), Error> {
        let clock = Arc::new(ManualClock::at(NOW));
        let idp = Idp::start().await;
        let log = Arc::new(FakeLog::new(clock.clone()));
        let folder = tempfile::tempdir().unwrap();
        let deps = Deps {
            clock,
            registry: Registry::new(),
            state: folder.path().to_owned(),
            signer: Arc::new(MemorySigner::new(key)),
            chain,
            ct: log.reach(Way::Channel, Duration::from_secs(1)).await,
        };
        Ca::open(config(&idp), deps).await.map(drop)
    }

    pub(crate) fn issuing(&self) -> &Certificate {
        self.chain.first().unwrap()
    }

    pub(crate) fn root(&self) -> &Certificate {
        self.chain.last().unwrap()
    }

    /// A good token for an e-mail identity.
    pub(crate) fn token(&self) -> String {
        self.idp.token("mail", mail_claims())
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.http.post(format!("{}{path}", self.base)).json(body))
            .await
    }

    pub(crate) async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        Answer::read(request.send().await.unwrap()).await
    }

    /// v2 with the token in the body.
    pub(crate) async fn sign(&self, token: &str, key: &Value) -> Answer {
        self.post("/api/v2/signingCert", &with_token(token, key))
            .await
    }

    /// The events of the journal: kind and note.
    pub(crate) async fn events(&self) -> Vec<(i64, String)> {
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(self.journal());
        let pool = sqlx::SqlitePool::connect_with(options).await.unwrap();
        let events = sqlx::query_as("SELECT kind, note FROM event ORDER BY seq")
            .fetch_all(&pool)
            .await
            .unwrap();
        pool.close().await;
        events
    }

    /// Waits until the journal has this many events.
    pub(crate) async fn events_after(&self, count: usize) -> Vec<(i64, String)> {
        for _ in 0..200 {
            let events = self.events().await;
            if events.len() >= count {
                return events;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("the journal has {:?}", self.events().await);
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.folder.path().join("issuance.db")
    }
}

pub(crate) fn with_token(token: &str, key: &Value) -> Value {
    let mut body = key.clone();
    body["credentials"] = json!({ "oidcIdentityToken": token });
    body
}

pub(crate) fn mail_claims() -> Value {
    json!({ "sub": "17", "email": "ann@example.com", "email_verified": true })
}

/// publicKeyRequest with a proof over `challenge`.
pub(crate) fn public_key(key: &PrivateKey, algorithm: Algorithm, challenge: &str) -> Value {
    let proof = key.sign(algorithm, challenge.as_bytes()).unwrap();
    json!({ "publicKeyRequest": {
        "publicKey": { "algorithm": "ECDSA", "content": key.public_key().to_pem() },
        "proofOfPossession": base64::encode(&proof),
    }})
}

/// A new P-256 key with a good proof for [`mail_claims`].
pub(crate) fn good_key() -> Value {
    proven(&generate(KeyType::EcP256))
}

pub(crate) fn proven(key: &PrivateKey) -> Value {
    public_key(key, key.key_type().default_algorithm(), "ann@example.com")
}

pub(crate) fn generate(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).unwrap()
}

pub(crate) fn csr(pem: &str) -> Value {
    json!({ "certificateSigningRequest": base64::encode(pem.as_bytes()) })
}

/// An answer, read to its end.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: http::HeaderMap,
    pub(crate) text: String,
}

impl Answer {
    async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self {
            status,
            headers,
            text: response.text().await.unwrap(),
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The certificates of a v2 answer.
    pub(crate) fn chain(&self) -> Vec<Certificate> {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        let pems = json["signedCertificateEmbeddedSct"]["chain"]["certificates"]
            .as_array()
            .unwrap();
        pems.iter()
            .map(|pem| Certificate::from_pem(pem.as_str().unwrap()).unwrap())
            .collect()
    }

    pub(crate) fn leaf(&self) -> Certificate {
        self.chain().swap_remove(0)
    }

    /// Checks status and reason, and gives the message.
    pub(crate) fn refused(&self, status: u16, reason: &str) -> String {
        let found = if self.status >= 400 {
            self.json()["details"][0]["reason"].clone()
        } else {
            Value::Null
        };
        assert_eq!(
            (self.status, &found),
            (status, &Value::from(reason)),
            "{self:?}"
        );
        self.json()["message"].as_str().unwrap().to_owned()
    }
}

/// Root P-384, issuing authority P-256.
pub(crate) fn authority(not_after: i64) -> (MemorySigner, Vec<Certificate>) {
    let (root_key, key) = (generate(KeyType::EcP384), generate(KeyType::EcP256));
    let root = root(
        &root_key,
        &name("Test root"),
        1,
        &envelope(NOW + 3650 * DAY),
    )
    .unwrap();
    let parent = Parent {
        certificate: &root,
        key: &root_key,
    };
    let issuing = intermediate(
        key.public_key(),
        &name("Test issuing"),
        Purpose::CodeSigning,
        &envelope(not_after),
        parent,
    )
    .unwrap();
    (MemorySigner::new(key), vec![issuing, root])
}

fn root_alone() -> (MemorySigner, Vec<Certificate>) {
    let key = generate(KeyType::EcP256);
    let certificate = root(&key, &name("Test root"), 0, &envelope(NOW + 3650 * DAY)).unwrap();
    (MemorySigner::new(key), vec![certificate])
}

pub(crate) fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "Example".to_owned(),
        development: true,
    }
}

pub(crate) fn envelope(not_after: i64) -> Envelope {
    Envelope {
        serial: SerialNumber::from_random(random_bytes()),
        not_before: NOW - DAY,
        not_after,
    }
}

fn config(idp: &Idp) -> Config {
    let base = &idp.base;
    let text = format!(
        r#"
        url = "https://ca.example.com"
        operator = "example.com"
        ct.timeout = "30s"

        [oidc-issuers."{base}/mail"]
        type = "email"
        insecure-http = true

        [oidc-issuers."{base}/uri"]
        type = "uri"
        subject-domain = "{base}"
        insecure-http = true

        [oidc-issuers."{base}/ci"]
        type = "ci-provider"
        ci-provider = "forge"
        insecure-http = true

        [ci-issuer-metadata.forge]
        default-template-values = {{ url = "https://forge.example.com", environment = "" }}
        subject-alternative-name-template = "{{{{ .url }}}}/{{{{ .workflow }}}}"
        [ci-issuer-metadata.forge.extension-templates]
        build-signer-uri = "{{{{ .url }}}}/{{{{ .workflow }}}}"
        build-trigger = "event"
        github-workflow-trigger = "event"
        run-invocation-uri = "{{{{ .url }}}}/runs/{{{{ .run }}}}"
        deployment-environment = "environment"
        "#
    );
    sealwright_host::config::parse(&text, "test").unwrap()
}

/// Three issuers (`mail`, `uri`, `ci`) with one key, over loopback HTTP.
pub(crate) struct Idp {
    pub(crate) base: String,
    key: PrivateKey,
    shared: Arc<IdpState>,
}

struct IdpState {
    base: String,
    keys: String,
    key_fetches: AtomicUsize,
    delay: Mutex<Duration>,
}

impl Idp {
    async fn start() -> Self {
        let key = generate(KeyType::EcP256);
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let point = &key.public_key().ec_point().unwrap()[1..];
        let (x, y) = (
            base64::encode_url(&point[..32]),
            base64::encode_url(&point[32..]),
        );
        let jwk = json!({ "kty": "EC", "crv": "P-256", "kid": "k", "use": "sig", "alg": "ES256", "x": x, "y": y });
        let shared = Arc::new(IdpState {
            base: base.clone(),
            keys: json!({ "keys": [jwk] }).to_string(),
            key_fetches: AtomicUsize::new(0),
            delay: Mutex::new(Duration::ZERO),
        });
        let discovery = |State(state): State<Arc<IdpState>>, Path(issuer): Path<String>| async move {
            let delay = *state.delay.lock().unwrap();
            tokio::time::sleep(delay).await;
            let issuer = format!("{}/{issuer}", state.base);
            Json(json!({ "issuer": issuer, "jwks_uri": format!("{}/keys", state.base) }))
        };
        let keys = |State(state): State<Arc<IdpState>>| async move {
            state.key_fetches.fetch_add(1, Ordering::SeqCst);
            state.keys.clone()
        };
        let router = Router::new()
            .route("/{issuer}/.well-known/openid-configuration", get(discovery))
            .route("/keys", get(keys))
            .with_state(shared.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { base, key, shared }
    }

    pub(crate) fn key_fetches(&self) -> usize {
        self.shared.key_fetches.load(Ordering::SeqCst)
    }

    pub(crate) fn set_delay(&self, delay: Duration) {
        *self.shared.delay.lock().unwrap() = delay;
    }

    /// A token of an issuer: `claims` over the usual ones; a claim that is null is left out.
    pub(crate) fn token(&self, issuer: &str, claims: Value) -> String {
        self.token_with_header(
            json!({ "alg": "ES256", "kid": "k", "typ": "JWT" }),
            issuer,
            claims,
        )
    }

    pub(crate) fn token_with_header(&self, header: Value, issuer: &str, claims: Value) -> String {
        let mut all = json!({
            "iss": format!("{}/{issuer}", self.base), "aud": "sigstore", "sub": "17", "iat": NOW, "exp": NOW + 600,
        });
        for (name, value) in claims.as_object().unwrap() {
            all[name] = value.clone();
        }
        all.as_object_mut()
            .unwrap()
            .retain(|_, value| !value.is_null());
        self.raw_token(&header.to_string(), &all.to_string())
    }

    /// A token of exactly this header and these claims.
    pub(crate) fn raw_token(&self, header: &str, claims: &str) -> String {
        let input = format!(
            "{}.{}",
            base64::encode_url(header.as_bytes()),
            base64::encode_url(claims.as_bytes())
        );
        let signature = self
            .key
            .sign(Algorithm::EcdsaP256Sha256, input.as_bytes())
            .unwrap();
        let signature = ecdsa_fixed_from_der(KeyType::EcP256, &signature).unwrap();
        format!("{input}.{}", base64::encode_url(&signature))
    }
}

/// How the log behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Behaviour {
    Good,
    JunkSignature,
    OtherKey,
    OtherEntry,
    OldTimestamp,
    Refuses,
    Fails,
    /// Answers after 300 ms.
    Slow,
    /// Answers when it is told to.
    Waits,
}

/// A log that signs what it is given.
pub(crate) struct FakeLog {
    key: PrivateKey,
    clock: Arc<ManualClock>,
    behaviour: Mutex<Behaviour>,
    told: tokio::sync::Notify,
    submissions: Mutex<Vec<Vec<Certificate>>>,
    roots: Mutex<Vec<Vec<u8>>>,
}

impl FakeLog {
    fn new(clock: Arc<ManualClock>) -> Self {
        Self {
            key: generate(KeyType::EcP256),
            clock,
            behaviour: Mutex::new(Behaviour::Good),
            told: tokio::sync::Notify::new(),
            submissions: Mutex::default(),
            roots: Mutex::default(),
        }
    }

    async fn reach(self: &Arc<Self>, way: Way, timeout: Duration) -> CtLog {
        let key = self.key.public_key().clone();
        let rpc = CertificateTransparencyServer::new(LogRpc(self.clone()));
        let router = grpc::mount(Router::new(), rpc);
        match way {
            Way::Http => {}
            Way::InProcess => return CtLog::in_process(router, "dev", key, timeout),
            Way::Channel => {
                let channel = grpc::memory_channel(&HostConfig::default(), router);
                return CtLog::grpc(channel, "dev", key, timeout);
            }
        }
        let add = |State(log): State<Arc<Self>>, Json(request): Json<Value>| async move {
            let chain = request["chain"].as_array().unwrap().iter();
            let chain = chain
                .map(|text| base64::decode(text.as_str().unwrap()).unwrap())
                .collect();
            let answer = log
                .add(chain)
                .await
                .map_err(|code| http::StatusCode::from_u16(code).unwrap())?;
            Ok::<_, http::StatusCode>(Json(json!({
                "sct_version": 0, "id": base64::encode(&answer.log_id), "timestamp": answer.timestamp_ms,
                "extensions": base64::encode(&answer.extensions), "signature": base64::encode(&answer.signature),
            })))
        };
        let roots = |State(log): State<Arc<Self>>| async move {
            let roots = log
                .roots
                .lock()
                .unwrap()
                .iter()
                .map(|der| base64::encode(der))
                .collect::<Vec<_>>();
            Json(json!({ "certificates": roots }))
        };
        let router = Router::new()
            .route("/2026a/ct/v1/add-pre-chain", post(add))
            .route("/2026a/ct/v1/get-roots", get(roots))
            .with_state(self.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let prefix = format!("http://{}/2026a/", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        CtLog::http(&prefix, key, timeout).unwrap()
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    /// Lets an answer go that [`Behaviour::Waits`].
    pub(crate) fn tell(&self) {
        self.told.notify_one();
    }

    pub(crate) fn trust(&self, root: &Certificate) {
        *self.roots.lock().unwrap() = vec![root.der().to_vec()];
    }

    pub(crate) fn trust_nobody(&self) {
        self.roots.lock().unwrap().clear();
    }

    /// Every chain submitted, the precertificate first.
    pub(crate) fn submissions(&self) -> Vec<Vec<Certificate>> {
        self.submissions.lock().unwrap().clone()
    }

    pub(crate) fn public_key(&self) -> &sealwright_crypto::PublicKey {
        self.key.public_key()
    }

    /// The error is an HTTP status.
    async fn add(&self, chain: Vec<Vec<u8>>) -> Result<ct_proto::SignedCertificateTimestamp, u16> {
        let chain: Vec<Certificate> = chain
            .into_iter()
            .map(|der| Certificate::from_der(der).unwrap())
            .collect();
        let behaviour = *self.behaviour.lock().unwrap();
        self.submissions.lock().unwrap().push(chain.clone());
        match behaviour {
            Behaviour::Refuses => return Err(400),
            Behaviour::Fails => return Err(500),
            Behaviour::Slow => tokio::time::sleep(Duration::from_millis(300)).await,
            Behaviour::Waits => self.told.notified().await,
            _ => {}
        }
        Ok(self.timestamp(&chain, behaviour))
    }

    fn timestamp(
        &self,
        chain: &[Certificate],
        behaviour: Behaviour,
    ) -> ct_proto::SignedCertificateTimestamp {
        let now_ms = u64::try_from(sealwright_host::Clock::unix_ms(&*self.clock)).unwrap();
        let timestamp_ms = if behaviour == Behaviour::OldTimestamp {
            now_ms - 3_600_000
        } else {
            now_ms
        };
        let extensions = sct::leaf_index_extensions(7).unwrap();
        let mut entry = SctEntry::precertificate_of(&chain[0], chain[1].spki_sha256()).unwrap();
        if behaviour == Behaviour::OtherEntry {
            entry = SctEntry::precertificate_of(&chain[0], chain[0].spki_sha256()).unwrap();
        }
        let input = sct::signing_input(timestamp_ms, &entry, &extensions).unwrap();
        let other = (behaviour == Behaviour::OtherKey).then(|| generate(KeyType::EcP256));
        let key = other.as_ref().unwrap_or(&self.key);
        let mut signature = key.sign(Algorithm::EcdsaP256Sha256, &input).unwrap();
        if behaviour == Behaviour::JunkSignature {
            signature = vec![0xab; 8];
        }
        let timestamp = SignedCertificateTimestamp {
            log_id: sct::log_id(key.public_key()),
            timestamp_ms,
            extensions: extensions.to_vec(),
            signature_algorithm: sct::signature_algorithm_octets(Algorithm::EcdsaP256Sha256)
                .unwrap(),
            signature: Vec::new(),
        };
        let length = u16::try_from(signature.len()).unwrap().to_be_bytes();
        ct_proto::SignedCertificateTimestamp {
            version: 0,
            log_id: timestamp.log_id.to_vec(),
            timestamp_ms,
            extensions: timestamp.extensions,
            signature: [&timestamp.signature_algorithm[..], &length, &signature].concat(),
        }
    }
}

struct LogRpc(Arc<FakeLog>);

fn unimplemented<T>() -> Result<tonic::Response<T>, tonic::Status> {
    Err(tonic::Status::unimplemented("not in this test"))
}

#[tonic::async_trait]
impl CertificateTransparency for LogRpc {
    async fn add_pre_chain(
        &self,
        request: tonic::Request<ct_proto::AddChainRequest>,
    ) -> Result<tonic::Response<ct_proto::SignedCertificateTimestamp>, tonic::Status> {
        let request = request.into_inner();
        assert_eq!(request.log, "dev");
        let chain = request.chain.into_iter().collect();
        let answer = self.0.add(chain).await.map_err(|status| match status {
            400 => tonic::Status::invalid_argument("10.1.2.3 refuses"),
            _ => tonic::Status::internal("10.1.2.3 fails"),
        })?;
        Ok(tonic::Response::new(answer))
    }

    async fn get_roots(
        &self,
        _request: tonic::Request<ct_proto::GetRootsRequest>,
    ) -> Result<tonic::Response<ct_proto::GetRootsResponse>, tonic::Status> {
        let certificates = self.0.roots.lock().unwrap().iter().cloned().collect();
        Ok(tonic::Response::new(ct_proto::GetRootsResponse {
            certificates,
        }))
    }

    async fn add_chain(
        &self,
        _request: tonic::Request<ct_proto::AddChainRequest>,
    ) -> Result<tonic::Response<ct_proto::SignedCertificateTimestamp>, tonic::Status> {
        unimplemented()
    }

    async fn get_signed_tree_head(
        &self,
        _request: tonic::Request<ct_proto::GetSignedTreeHeadRequest>,
    ) -> Result<tonic::Response<ct_proto::SignedTreeHead>, tonic::Status> {
        unimplemented()
    }

    async fn get_signed_tree_head_consistency(
        &self,
        _request: tonic::Request<ct_proto::GetSignedTreeHeadConsistencyRequest>,
    ) -> Result<tonic::Response<ct_proto::ConsistencyProof>, tonic::Status> {
        unimplemented()
    }

    async fn get_entry_and_proof(
        &self,
        _request: tonic::Request<ct_proto::GetEntryAndProofRequest>,
    ) -> Result<tonic::Response<ct_proto::EntryAndProof>, tonic::Status> {
        unimplemented()
    }

    async fn get_proof_by_hash(
        &self,
        _request: tonic::Request<ct_proto::GetProofByHashRequest>,
    ) -> Result<tonic::Response<ct_proto::InclusionProof>, tonic::Status> {
        unimplemented()
    }

    async fn get_entries(
        &self,
        _request: tonic::Request<ct_proto::GetEntriesRequest>,
    ) -> Result<tonic::Response<ct_proto::GetEntriesResponse>, tonic::Status> {
        unimplemented()
    }
}

/// The certificates of PEM text.
pub(crate) fn pem_chain(text: &str) -> Vec<Certificate> {
    parse_pem_chain(text).unwrap()
}
