//! The service from outside (services that describe themselves, clients over HTTP) and, for crashes, from inside.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use sealwright_crypto::{
    BoxFuture, KeyType, MemorySigner, PrivateKey, PublicKey, Signer, random_bytes,
};
use sealwright_host::clock::ManualClock;
use sealwright_host::metrics::Registry;
use sealwright_host::run::HostConfig;
use sealwright_host::{Clock, Reason, grpc, status};
use sealwright_pki::authority::{self, AuthorityName, Envelope as CertificateEnvelope, Parent};
use sealwright_pki::{Certificate, Purpose, SerialNumber};
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_proto::sealwright::trust::v1::trust_client::TrustClient;
use sealwright_proto::sealwright::trust::v1::trust_material_server::{
    TrustMaterial, TrustMaterialServer,
};
use sealwright_tuf::{
    Client, Envelope, Expiry, Fetch, FetchError, MemoryStore, Metadata, Place, Role, Root,
    Signature, Snapshot, Targets, Timestamp, bootstrap, key_of, whole_file,
};
use tempfile::TempDir;
use tonic::transport::Channel;
use tower::ServiceExt;

use crate::ceremony::{self, OfflineKeys, Roles, repository_dir};
use crate::documents::{document, guard};
use crate::repository::Repository;
use crate::*;

mod succession;

const START: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

/// What one key holder says of itself.
#[derive(Debug, Clone)]
struct Holder {
    kind: Kind,
    url: String,
    origin: String,
    key: Arc<PrivateKey>,
    chain: Vec<Vec<u8>>,
    valid_from: i64,
}

impl Holder {
    fn answer(&self, challenge: &[u8]) -> wire::Material {
        let mut material = wire::Material {
            kind: self.kind.to_wire() as i32,
            url: self.url.clone(),
            origin: self.origin.clone(),
            operator: String::new(),
            public_key: self.key.public_key().spki_der().to_vec(),
            chain: self.chain.clone(),
            valid_from: self.valid_from,
            proof_of_possession: Vec::new(),
        };
        self.prove(&mut material, challenge);
        material
    }

    fn prove(&self, material: &mut wire::Material, challenge: &[u8]) {
        let algorithm = self.key.public_key().default_algorithm();
        let message = material.proof_message(challenge);
        material.proof_of_possession = self.key.sign(algorithm, &message).unwrap();
    }
}

/// A process with some key holders.
#[derive(Debug, Clone)]
struct Services(Vec<Holder>);

#[tonic::async_trait]
impl TrustMaterial for Services {
    async fn describe(
        &self,
        request: tonic::Request<wire::DescribeRequest>,
    ) -> Result<tonic::Response<wire::DescribeResponse>, tonic::Status> {
        let challenge = request.into_inner().challenge;
        let materials = self.0.iter().map(|holder| holder.answer(&challenge));
        Ok(tonic::Response::new(wire::DescribeResponse {
            materials: materials.collect(),
        }))
    }
}

impl Services {
    fn channel(&self) -> Service {
        let router = grpc::mount(Router::new(), TrustMaterialServer::new(self.clone()));
        service(
            "a service",
            grpc::memory_channel(&HostConfig::default(), router),
        )
    }

    fn file(&self, challenge: &[u8]) -> wire::MaterialFile {
        let materials = self.0.iter().map(|holder| holder.answer(challenge));
        wire::MaterialFile {
            challenge: challenge.to_vec(),
            materials: materials.collect(),
        }
    }
}

fn service(name: &str, channel: Channel) -> Service {
    Service {
        name: name.to_owned(),
        channel,
    }
}

fn generate(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).unwrap()
}

fn shared_key(key_type: KeyType) -> Arc<PrivateKey> {
    Arc::new(generate(key_type))
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "example.com".to_owned(),
        development: true,
    }
}

fn certificate_envelope() -> CertificateEnvelope {
    CertificateEnvelope {
        serial: SerialNumber::from_random(random_bytes()),
        not_before: START - DAY,
        not_after: START + 3_650 * DAY,
    }
}

fn chain(leaf_key: &PublicKey, purpose: Purpose) -> Vec<Vec<u8>> {
    let root_key = generate(KeyType::EcP256);
    let root = authority::root(&root_key, &name("root"), 1, &certificate_envelope()).unwrap();
    let parent = Parent {
        certificate: &root,
        key: &root_key,
    };
    let first = match purpose {
        Purpose::TimeStamping => {
            authority::time_stamping_leaf(leaf_key, &name("tsa"), &certificate_envelope(), parent)
        }
        purpose => authority::intermediate(
            leaf_key,
            &name("issuing"),
            purpose,
            &certificate_envelope(),
            parent,
        ),
    };
    [first.unwrap(), root]
        .iter()
        .map(|certificate| certificate.der().to_vec())
        .collect()
}

fn certificate_authority() -> Holder {
    let key = shared_key(KeyType::EcP256);
    Holder {
        kind: Kind::CertificateAuthority,
        url: "http://127.0.0.1:7700".to_owned(),
        origin: String::new(),
        chain: chain(key.public_key(), Purpose::CodeSigning),
        key,
        valid_from: START - 60,
    }
}

fn timestamp_authority() -> Holder {
    let key = shared_key(KeyType::EcP256);
    Holder {
        kind: Kind::TimestampAuthority,
        url: "http://127.0.0.1:7700/api/v1/timestamp".to_owned(),
        origin: String::new(),
        chain: chain(key.public_key(), Purpose::TimeStamping),
        key,
        valid_from: START - 60,
    }
}

fn log(host: &str) -> Holder {
    Holder {
        kind: Kind::TransparencyLog,
        url: format!("http://{host}:7700"),
        origin: host.to_owned(),
        key: shared_key(KeyType::Ed25519),
        chain: Vec::new(),
        valid_from: START - 60,
    }
}

fn ct_log() -> Holder {
    Holder {
        kind: Kind::CtLog,
        url: "http://127.0.0.1:7700/ct/dev".to_owned(),
        origin: "127.0.0.1:7700/ct/dev".to_owned(),
        key: shared_key(KeyType::EcP256),
        chain: Vec::new(),
        valid_from: START - 60,
    }
}

fn all_services() -> Services {
    Services(vec![
        certificate_authority(),
        timestamp_authority(),
        log("127.0.0.1"),
        ct_log(),
    ])
}

/// A folder, a clock and the services of one deployment.
struct World {
    folder: TempDir,
    clock: Arc<ManualClock>,
    services: Services,
    config: Config,
}

impl World {
    fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(START)),
            services: all_services(),
            config: Config {
                operator: "example.com".to_owned(),
                oidc_urls: vec!["http://127.0.0.1:7700/oidc".to_owned()],
                ..Config::default()
            },
        }
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("trust")
    }

    fn deps(&self) -> Deps {
        Deps {
            clock: self.clock.clone(),
            registry: Registry::new(),
            state: self.state(),
            online: Vec::new(),
        }
    }

    /// Opens, as a development instance does at every start.
    async fn open(&self) -> (Trust, OfflineKeys) {
        let offline = self.folder.path().join("offline");
        Trust::open_dev(self.config.clone(), self.deps(), &offline)
            .await
            .unwrap()
    }

    async fn start(&self) -> Trust {
        let (trust, keys) = self.open().await;
        trust
            .publish_dev(&keys, &[self.services.channel()])
            .await
            .unwrap();
        trust
    }

    /// A deployment that waits for its clients, with the first publication made.
    async fn production(&self) -> (Trust, OfflineKeys) {
        let trust = self.start().await;
        trust.shutdown().await;
        let online = Arc::new(ceremony::open_or_create_online(&self.state()).unwrap());
        let deps = Deps {
            online: vec![online],
            ..self.deps()
        };
        let keys = OfflineKeys::open(&self.folder.path().join("offline")).unwrap();
        (Trust::open(self.config.clone(), deps).await.unwrap(), keys)
    }

    fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        read_folder(&self.state(), &mut files);
        files
    }
}

fn read_folder(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_folder(&path, files);
        } else {
            files.insert(path.clone(), fs::read(path).unwrap());
        }
    }
}

fn write_folder(files: &BTreeMap<PathBuf, Vec<u8>>, from: &Path, to: &Path) {
    for (path, bytes) in files {
        let path = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

async fn request(router: &Router, method: Method, path: &str) -> http::Response<Body> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .body(Body::empty())
        .unwrap();
    router.clone().oneshot(request).await.unwrap()
}

async fn get(router: &Router, path: &str) -> (StatusCode, Vec<u8>) {
    let response = request(router, Method::GET, path).await;
    let status = response.status();
    (
        status,
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
}

/// A client's view of the routes.
struct Http(Router);

impl Fetch for Http {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        Box::pin(async move {
            let path = match place {
                Place::Metadata => format!("/tuf/{name}"),
                Place::Targets => format!("/tuf/targets/{name}"),
            };
            match get(&self.0, &path).await {
                (StatusCode::OK, bytes) => whole_file(Some(bytes), max_length),
                (StatusCode::NOT_FOUND, _) => Err(FetchError::NotFound),
                (status, _) => Err(FetchError::Failed(status.to_string().into())),
            }
        })
    }
}

/// One session of a client: what it remembers afterwards, and the trusted root it found.
async fn follow(
    trust: &Trust,
    store: MemoryStore,
) -> (MemoryStore, Result<Vec<u8>, sealwright_tuf::Error>) {
    let now = trust_now(trust);
    let mut client = Client::open(Http(trust.router()), store, now).unwrap();
    let outcome = async {
        client.refresh().await?;
        let target = client.target(TRUSTED_ROOT).await?.expect("a trusted root");
        client.download(&target).await
    };
    let outcome = outcome.await;
    (client.into_store(), outcome)
}

fn trust_now(trust: &Trust) -> i64 {
    trust.now()
}

async fn fresh(trust: &Trust) -> MemoryStore {
    let mut store = MemoryStore::new();
    bootstrap(&mut store, &trust.first_root().await).unwrap();
    store
}

/// Versions of root, timestamp, snapshot and targets.
async fn versions(trust: &Trust) -> [u64; 4] {
    let status = trust.status().await.unwrap();
    let version = |role| {
        let found = status.roles.iter().find(|status| status.role == role);
        found.map_or(0, |status| status.version)
    };
    [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets].map(version)
}

#[tokio::test]
async fn a_client_that_starts_from_the_first_root_finds_the_documents() {
    let world = World::new();
    let trust = world.start().await;
    let (_, found) = follow(&trust, fresh(&trust).await).await;
    let found: serde_json::Value = serde_json::from_slice(&found.unwrap()).unwrap();

    assert_eq!(
        found["mediaType"],
        "application/vnd.dev.sigstore.trustedroot+json;version=0.1"
    );
    let log = &found["tlogs"][0];
    assert_eq!(log["baseUrl"], "http://127.0.0.1:7700");
    assert_eq!(log["hashAlgorithm"], "SHA2_256");
    assert_eq!(log["publicKey"]["keyDetails"], "PKIX_ED25519");
    assert_eq!(
        log["publicKey"]["validFor"]["start"],
        "2027-01-15T07:59:00Z"
    );
    assert_eq!(log["operator"], "example.com");
    assert!(log.get("checkpointKeyId").is_none());
    let key = &world.services.0[2].key.public_key().ed25519_raw().unwrap();
    let id = sealwright_crypto::sha256(&[&b"127.0.0.1\n\x01"[..], key].concat());
    assert_eq!(
        log["logId"]["keyId"],
        sealwright_crypto::base64::encode(&id)
    );

    let ct = &found["ctlogs"][0];
    let key = world.services.0[3].key.public_key();
    assert_eq!(
        ct["logId"]["keyId"],
        sealwright_crypto::base64::encode(&key.fingerprint())
    );
    assert_eq!(ct["publicKey"]["keyDetails"], "PKIX_ECDSA_P256_SHA_256");

    for (list, holder) in [("certificateAuthorities", 0), ("timestampAuthorities", 1)] {
        let authority = &found[list][0];
        let chain = authority["certChain"]["certificates"].as_array().unwrap();
        let chain: Vec<Vec<u8>> = chain
            .iter()
            .map(|certificate| {
                let text = certificate["rawBytes"].as_str().unwrap();
                sealwright_crypto::base64::decode(text).unwrap()
            })
            .collect();
        assert_eq!(
            chain, world.services.0[holder].chain,
            "{list}: leaf or issuing first, root last"
        );
        assert_eq!(authority["uri"], world.services.0[holder].url);
        assert_eq!(authority["subject"]["commonName"], "root");
        assert_eq!(authority["subject"]["organization"], "example.com");
    }
}

#[tokio::test]
async fn signers_are_sent_to_the_live_services() {
    let world = World::new();
    let trust = world.start().await;
    let documents = trust.documents().await.unwrap();
    let config = document(&documents.signing_config);
    let config: serde_json::Value = serde_json::from_slice(&config).unwrap();
    assert_eq!(
        config["mediaType"],
        "application/vnd.dev.sigstore.signingconfig.v0.2+json"
    );
    for (list, url, version) in [
        ("caUrls", "http://127.0.0.1:7700", 1),
        ("oidcUrls", "http://127.0.0.1:7700/oidc", 1),
        ("rekorTlogUrls", "http://127.0.0.1:7700", 2),
        ("tsaUrls", "http://127.0.0.1:7700/api/v1/timestamp", 1),
    ] {
        let services = config[list].as_array().unwrap();
        assert_eq!(services.len(), 1, "{list}");
        assert_eq!(services[0]["url"], url);
        assert_eq!(services[0]["majorApiVersion"], version);
        assert_eq!(services[0]["operator"], "example.com");
        let start = services[0]["validFor"]["start"].as_str().unwrap();
        assert!(
            start <= "2027-01-15T08:00:00Z",
            "{list} can be used at once: {start}"
        );
    }
    assert_eq!(config["rekorTlogConfig"]["selector"], "ANY");
    assert_eq!(config["tsaConfig"]["selector"], "ANY");
}

#[tokio::test]
async fn a_restart_changes_nothing() {
    let world = World::new();
    let trust = world.start().await;
    assert_eq!(versions(&trust).await, [1, 1, 1, 1]);
    trust.shutdown().await;
    let before = world.files();
    world.clock.advance(3_600);
    let (trust, keys) = world.open().await;
    let published = trust
        .publish_dev(&keys, &[world.services.channel()])
        .await
        .unwrap();
    assert!(!published);
    trust.shutdown().await;
    assert_eq!(world.files(), before);
}

#[tokio::test]
async fn an_instance_is_opened_once() {
    let world = World::new();
    let trust = world.start().await;
    let again = Trust::open(world.config.clone(), world.deps()).await;
    assert!(matches!(again, Err(Error::Locked { .. })));
    trust.shutdown().await;
    world.start().await;
}

#[tokio::test]
async fn offline_keys_that_are_gone_are_not_made_anew() {
    let world = World::new();
    world.start().await.shutdown().await;
    let offline = world.folder.path().join("offline");
    fs::rename(&offline, world.folder.path().join("safe")).unwrap();
    let opened = Trust::open_dev(world.config.clone(), world.deps(), &offline).await;
    assert!(matches!(opened, Err(Error::Key { .. })));
    assert!(!offline.exists());
}

#[tokio::test]
async fn online_and_offline_keys_are_different_keys() {
    let world = World::new();
    let trust = world.start().await;
    let root = Envelope::<Root>::parse(&trust.first_root().await).unwrap();
    let keys = |role| root.signed().role(role).unwrap().keyids.clone();
    assert_eq!(keys(Role::Timestamp), keys(Role::Snapshot));
    let mut all = [keys(Role::Root), keys(Role::Targets), keys(Role::Timestamp)].concat();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 3);

    let online = MemorySigner::new(generate(KeyType::EcP256));
    let other = MemorySigner::new(generate(KeyType::EcP256));
    let roles = Roles {
        root: &[&other],
        root_threshold: 1,
        targets: &[online.public_key()],
        targets_threshold: 1,
        online: online.public_key(),
    };
    assert!(matches!(
        ceremony::first_root(&roles, START).await,
        Err(Error::Config { .. })
    ));
    let roles = Roles {
        online: other.public_key(),
        root: &[&online],
        targets_threshold: 2,
        ..roles
    };
    assert!(matches!(
        ceremony::first_root(&roles, START).await,
        Err(Error::Config { .. })
    ));
}

#[tokio::test]
async fn timestamp_and_snapshot_are_renewed_at_half_of_their_life() {
    let world = World::new();
    let trust = world.start().await;
    let (mut store, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
    for (days, expected) in [
        (3, [1, 1, 1, 1]),
        (1, [1, 2, 1, 1]),
        (3, [1, 2, 1, 1]),
        (1, [1, 3, 1, 1]),
        (6, [1, 4, 1, 1]),
        (1, [1, 5, 2, 1]),
    ] {
        world.clock.advance(days * DAY);
        trust.renew_if_due().await.unwrap();
        assert_eq!(versions(&trust).await, expected);
        let outcome;
        (store, outcome) = follow(&trust, store).await;
        outcome.unwrap();
    }
}

#[tokio::test]
async fn the_background_renews_without_being_asked() {
    let mut world = World::new();
    world.config.check_interval = Duration::from_millis(20);
    let trust = world.start().await;
    world.clock.advance(4 * DAY);
    for _ in 0..500 {
        if versions(&trust).await == [1, 2, 1, 1] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nothing was renewed: {:?}", versions(&trust).await);
}

#[tokio::test]
async fn a_long_sleep_is_made_good_at_the_next_start() {
    let world = World::new();
    let trust = world.start().await;
    let (store, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
    trust.shutdown().await;

    world.clock.advance(800 * DAY);
    let (trust, keys) = world.open().await;
    let (store, outcome) = follow(&trust, store).await;
    assert!(
        matches!(outcome, Err(sealwright_tuf::Error::Expired { .. })),
        "{outcome:?}"
    );
    let report = sealwright_host::health::Health::new();
    report.register(trust.checks());
    assert!(!report.report().await.ready());

    trust
        .publish_dev(&keys, &[world.services.channel()])
        .await
        .unwrap();
    let (_, outcome) = follow(&trust, store).await;
    outcome.unwrap();
    assert_eq!(versions(&trust).await[0], 2, "the root was renewed too");
    let report = sealwright_host::health::Health::new();
    report.register(trust.checks());
    assert!(report.report().await.ready());
}

#[tokio::test]
async fn client_files_are_whole_and_the_first_root_is_never_rewritten() {
    let world = World::new();
    let trust = world.start().await;
    let folder = world.folder.path().join("client");
    trust.write_client_files(&folder).await.unwrap();
    let read = |name: &str| fs::read(folder.join(name)).unwrap();
    let json = |name: &str| serde_json::from_slice::<serde_json::Value>(&read(name)).unwrap();
    let both = json("trust_config.json");
    assert_eq!(
        both["mediaType"],
        "application/vnd.dev.sigstore.clienttrustconfig.v0.1+json"
    );
    assert_eq!(both["trustedRoot"], json("trusted_root.json"));
    assert_eq!(both["signingConfig"], json("signing_config.json"));
    let first = read("root.json");
    assert_eq!(Envelope::<Root>::parse(&first).unwrap().signed().version, 1);

    trust.shutdown().await;
    world.clock.advance(200 * DAY);
    let trust = world.start().await;
    assert_eq!(versions(&trust).await[0], 2);
    trust.write_client_files(&folder).await.unwrap();
    assert_eq!(read("root.json"), first);

    let other = World::new();
    let stranger = other.start().await;
    let refused = stranger.write_client_files(&folder).await;
    assert!(matches!(refused, Err(Error::ForeignClientFiles { .. })));
    assert_eq!(
        json("trust_config.json")["trustedRoot"],
        both["trustedRoot"]
    );
}

#[tokio::test]
async fn the_routes_serve_the_repository_and_nothing_else() {
    let world = World::new();
    let trust = world.start().await;
    let router = trust.router();
    let header = |response: &http::Response<Body>, name: &str| {
        response
            .headers()
            .get(name)
            .map(|value| value.to_str().unwrap().to_owned())
    };
    let root = request(&router, Method::GET, "/tuf/1.root.json").await;
    assert_eq!(root.status(), StatusCode::OK);
    assert_eq!(header(&root, "content-type").unwrap(), "application/json");
    assert!(
        header(&root, "cache-control")
            .unwrap()
            .contains("immutable")
    );
    assert_eq!(
        get(&router, "/tuf/root.json").await,
        get(&router, "/tuf/1.root.json").await
    );
    for name in ["timestamp.json", "root.json"] {
        let response = request(&router, Method::GET, &format!("/tuf/{name}")).await;
        let cache = header(&response, "cache-control").unwrap();
        assert!(
            !cache.contains("immutable") && cache.contains("max-age=30"),
            "{cache}"
        );
    }
    for path in ["/tuf/timestamp.json", "/tuf/1.root.json"] {
        let first = request(&router, Method::GET, path).await;
        let tag = header(&first, "etag").unwrap();
        let cache = header(&first, "cache-control");
        for (seen, status) in [
            (tag.clone(), StatusCode::NOT_MODIFIED),
            (format!("\"other\", W/{tag}"), StatusCode::NOT_MODIFIED),
            ("*".to_owned(), StatusCode::NOT_MODIFIED),
            ("\"other\"".to_owned(), StatusCode::OK),
            (tag.trim_matches('"').to_owned(), StatusCode::OK),
        ] {
            let asked = Request::builder().uri(path).header("if-none-match", &seen);
            let asked = asked.body(Body::empty()).unwrap();
            let again = router.clone().oneshot(asked).await.unwrap();
            assert_eq!(again.status(), status, "{seen}");
            assert_eq!(header(&again, "etag").as_ref(), Some(&tag));
            assert_eq!(header(&again, "cache-control"), cache);
            let sent = again.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(sent.is_empty(), status == StatusCode::NOT_MODIFIED);
        }
    }
    let next = request(&router, Method::GET, "/tuf/2.root.json").await;
    assert_eq!(next.status(), StatusCode::NOT_FOUND);
    assert!(header(&next, "cache-control").is_none_or(|cache| !cache.contains("max-age=6")));

    for path in [
        "/tuf/../online.pem",
        "/tuf/..%2fonline.pem",
        "/tuf/..%2f..%2foffline%2froot.pem",
        "/tuf/targets/..%2f1.root.json",
        "/tuf/targets/1.root.json",
        "/tuf/lock",
        "/tuf/",
        "/tuf/targets/",
        "/tuf/%00",
    ] {
        assert_eq!(get(&router, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    let posted = request(&router, Method::POST, "/tuf/timestamp.json").await;
    assert_eq!(posted.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(header(&posted, "allow").unwrap(), "GET, HEAD");
    let head = request(&router, Method::HEAD, "/tuf/timestamp.json").await;
    assert_eq!(head.status(), StatusCode::OK);
}

#[tokio::test]
async fn targets_are_listed_by_sha256_alone_under_every_name_clients_ask_for() {
    let world = World::new();
    let trust = world.start().await;
    let (_, bytes) = get(&trust.router(), "/tuf/1.targets.json").await;
    let targets = Envelope::<Targets>::parse(&bytes).unwrap();
    let names: Vec<&str> = targets
        .signed()
        .targets
        .keys()
        .map(String::as_str)
        .collect();
    assert_eq!(
        names,
        [
            "signing_config.v0.2.json",
            "signing_config_rekor_v2.v0.2.json",
            "trusted_root.json"
        ]
    );
    for file in targets.signed().targets.values() {
        assert_eq!(file.hashes.keys().collect::<Vec<_>>(), ["sha256"]);
    }
    let (_, bytes) = get(&trust.router(), "/tuf/1.snapshot.json").await;
    let snapshot = Envelope::<Snapshot>::parse(&bytes).unwrap();
    assert!(snapshot.signed().role("targets").unwrap().hashes.is_some());
}

/// What a hostile mirror can do with our own files.
#[tokio::test]
async fn old_and_mixed_files_of_this_repository_are_refused() {
    let world = World::new();
    let trust = world.start().await;
    let dir = repository_dir(&world.state());
    let old = fs::read(dir.join("timestamp.json")).unwrap();
    world.clock.advance(4 * DAY);
    trust.renew_if_due().await.unwrap();
    let (store, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();

    let new = fs::read(dir.join("timestamp.json")).unwrap();
    fs::write(dir.join("timestamp.json"), &old).unwrap();
    let (store, outcome) = follow(&trust, store).await;
    assert!(
        matches!(
            outcome,
            Err(sealwright_tuf::Error::Rollback {
                trusted: 2,
                found: 1,
                ..
            })
        ),
        "{outcome:?}"
    );

    world.clock.advance(4 * DAY);
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    assert!(
        matches!(outcome, Err(sealwright_tuf::Error::Expired { .. })),
        "a frozen timestamp: {outcome:?}"
    );

    fs::write(dir.join("timestamp.json"), &new).unwrap();
    world.clock.advance(-4 * DAY);
    let targets = fs::read(dir.join("1.targets.json")).unwrap();
    fs::write(
        dir.join("1.targets.json"),
        String::from_utf8(targets).unwrap().replace("2028", "2029"),
    )
    .unwrap();
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    assert!(
        matches!(outcome, Err(sealwright_tuf::Error::Mismatch { .. })),
        "{outcome:?}"
    );
    let (_, outcome) = follow(&trust, store).await;
    outcome.expect("who has the file already does not fetch it");
}

/// Every prefix of a publication is a state that a crash can leave. Clients, new and old, must read the old documents or
/// the new ones, and the next start must get through.
#[tokio::test]
async fn a_crash_between_any_two_writes_leaves_a_readable_repository() {
    let mut world = World::new();
    let trust = world.start().await;
    let (seen, outcome) = follow(&trust, fresh(&trust).await).await;
    let old = outcome.unwrap();
    trust.shutdown().await;
    world.services.0.push(log("127.0.0.2"));

    let (trust, keys) = world.open().await;
    let challenge = trust.challenge().await.unwrap();
    trust
        .stage(&world.services.file(&challenge))
        .await
        .unwrap()
        .unwrap();
    trust.sign_with(&keys.targets).await.unwrap();
    let writes = trust.planned_writes().await;
    trust.shutdown().await;
    assert_eq!(
        writes.len(),
        6,
        "three targets, targets metadata, snapshot, timestamp"
    );
    assert!(writes[5].path.ends_with("timestamp.json"));

    let start = world.files();
    for cut in 0..=writes.len() {
        let crashed = World {
            folder: tempfile::tempdir().unwrap(),
            clock: Arc::new(ManualClock::at(START)),
            services: world.services.clone(),
            config: world.config.clone(),
        };
        write_folder(&start, &world.state(), &crashed.state());
        let offline = crashed.folder.path().join("offline");
        fs::create_dir_all(&offline).unwrap();
        for key in ["root.pem", "targets.pem"] {
            fs::copy(
                world.folder.path().join("offline").join(key),
                offline.join(key),
            )
            .unwrap();
        }
        for write in &writes[..cut] {
            let mut write = write.clone();
            write.path = crashed
                .state()
                .join(write.path.strip_prefix(world.state()).unwrap());
            write.apply().unwrap();
        }

        let (trust, keys) = crashed.open().await;
        for store in [fresh(&trust).await, seen.clone()] {
            let (_, outcome) = follow(&trust, store).await;
            let found = outcome.unwrap_or_else(|error| panic!("cut at {cut}: {error}"));
            assert_eq!(found != old, cut == writes.len(), "cut at {cut}");
        }
        trust
            .publish_dev(&keys, &[crashed.services.channel()])
            .await
            .unwrap();
        assert!(trust.status().await.unwrap().staged.is_none());
        for store in [fresh(&trust).await, seen.clone()] {
            let (_, outcome) = follow(&trust, store).await;
            let found: serde_json::Value = serde_json::from_slice(&outcome.unwrap()).unwrap();
            assert_eq!(found["tlogs"].as_array().unwrap().len(), 2, "cut at {cut}");
        }
        let entries = trust.status().await.unwrap().entries;
        assert!(
            entries
                .iter()
                .all(|status| status.activation == Activation::Active)
        );
    }
}

#[tokio::test]
async fn a_write_that_fails_loses_nothing() {
    let mut world = World::new();
    let (trust, keys) = {
        world.start().await.shutdown().await;
        world.services.0.push(log("127.0.0.2"));
        world.open().await
    };
    // A folder in the way of the file beside the timestamp: the last write fails, all others are done.
    let obstacle = repository_dir(&world.state()).join(".timestamp.json.new");
    fs::create_dir(&obstacle).unwrap();
    let channel = world.services.channel();
    let failed = trust
        .publish_dev(&keys, std::slice::from_ref(&channel))
        .await;
    assert!(matches!(failed, Err(Error::Disk { .. })), "{failed:?}");
    assert_eq!(versions(&trust).await, [1, 1, 1, 1]);
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();

    fs::remove_dir(&obstacle).unwrap();
    trust.publish().await.unwrap();
    assert_eq!(trust.documents().await.unwrap().trusted_root.tlogs.len(), 2);
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
}

/// A client that hangs up takes the future of its request with it. Two publications then wrote the same files, and what was
/// published was not remembered.
#[tokio::test(flavor = "multi_thread")]
async fn a_publication_goes_on_when_whoever_asked_goes_away() {
    let mut world = World::new();
    let (trust, keys) = {
        world.start().await.shutdown().await;
        world.services.0.push(log("127.0.0.2"));
        world.open().await
    };
    trust.ask(vec![world.services.channel()]);
    trust.gather().await.unwrap().expect("a new log");
    trust.sign_with(&keys.targets).await.unwrap();
    let asked = tokio::time::timeout(std::time::Duration::ZERO, trust.publish()).await;
    let again = trust.publish().await;
    assert!(
        asked.is_err() && matches!(again, Err(Error::NothingStaged)),
        "{asked:?} {again:?}"
    );
    assert_eq!(trust.documents().await.unwrap().trusted_root.tlogs.len(), 2);
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
}

fn judged(holder: &Holder, change: impl FnOnce(&mut wire::Material)) -> Option<MaterialFault> {
    let challenge = [7; CHALLENGE_LENGTH];
    let mut material = holder.answer(&challenge);
    change(&mut material);
    holder.prove(&mut material, &challenge);
    match Material::admit(&material, &challenge, START) {
        Ok(_) => None,
        Err(Error::Material { fault, .. }) => Some(fault),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn material_that_clients_could_not_use_is_refused() {
    let (ca, tsa, log, ct) = (
        certificate_authority(),
        timestamp_authority(),
        log("127.0.0.1"),
        ct_log(),
    );
    for holder in [&ca, &tsa, &log, &ct] {
        assert_eq!(judged(holder, |_| {}), None, "{}", holder.kind);
    }
    let is_chain = |fault: Option<MaterialFault>| matches!(fault, Some(MaterialFault::Chain(_)));
    let is_origin =
        |fault: Option<MaterialFault>| matches!(fault, Some(MaterialFault::Origin { .. }));
    assert_eq!(judged(&log, |m| m.kind = 0), Some(MaterialFault::Kind));
    assert_eq!(judged(&log, |m| m.kind = 99), Some(MaterialFault::Kind));
    assert_eq!(
        judged(&log, |m| m.public_key = vec![0; 40]),
        Some(MaterialFault::Key)
    );
    assert_eq!(
        judged(&log, |m| m.url = "ftp://127.0.0.1".to_owned()),
        Some(MaterialFault::Url)
    );
    assert_eq!(
        judged(&log, |m| m.url = "http://u:p@127.0.0.1".to_owned()),
        Some(MaterialFault::Url)
    );
    assert_eq!(
        judged(&log, |m| m.url = "http://127.0.0.1/?a".to_owned()),
        Some(MaterialFault::Url)
    );
    assert_eq!(
        judged(&log, |m| m.operator = "a\nb".to_owned()),
        Some(MaterialFault::Operator)
    );
    assert_eq!(
        judged(&log, |m| m.valid_from = 0),
        Some(MaterialFault::ValidFrom(0))
    );
    assert!(is_origin(
        judged(&log, |m| m.origin = "127.0.0.1:7700".to_owned())
    ));
    assert!(is_origin(judged(&ct, |m| m.origin = "127.0.0.1".to_owned())));
    assert!(is_origin(judged(&ca, |m| m.origin = "127.0.0.1".to_owned())));
    assert!(is_chain(judged(&log, |m| m.chain = ca.chain.clone())));
    assert!(is_chain(judged(&ca, |m| m.chain.clear())));
    assert!(is_chain(judged(&ca, |m| m.chain.reverse())));
    assert!(
        is_chain(judged(&ca, |m| m.chain.truncate(1))),
        "an issuing certificate alone is no chain"
    );
    assert!(
        is_chain(judged(&ca, |m| m.chain = certificate_authority().chain)),
        "of another key"
    );
    let for_servers = Holder {
        chain: chain(ca.key.public_key(), Purpose::ServerAuth),
        ..ca.clone()
    };
    assert!(
        is_chain(judged(&for_servers, |_| {})),
        "an authority for servers issues no code signing certificate that a client would take"
    );
    assert!(is_chain(judged(&tsa, |m| m.chain.truncate(1))));
    let misused = Holder {
        chain: chain(tsa.key.public_key(), Purpose::CodeSigning),
        ..tsa.clone()
    };
    assert!(
        is_chain(judged(&misused, |_| {})),
        "an authority is no timestamping leaf"
    );
    assert_eq!(
        judged(&ca, |m| m.chain = vec![vec![0; 10]; 9]),
        Some(MaterialFault::TooLarge(
            "more than 8 certificates, or one of more than 64 KiB"
        ))
    );
    for (kind, key_type) in [
        (Kind::TransparencyLog, KeyType::EcP384),
        (Kind::CtLog, KeyType::Ed25519),
        (Kind::CertificateAuthority, KeyType::Ed25519),
        (Kind::TimestampAuthority, KeyType::EcP521),
    ] {
        let holder = Holder {
            kind,
            key: shared_key(key_type),
            ..log.clone()
        };
        assert!(
            matches!(judged(&holder, |_| {}), Some(MaterialFault::KeyType { .. })),
            "{kind}"
        );
    }
}

#[test]
fn a_proof_covers_every_field_and_one_challenge() {
    let challenge = [7; CHALLENGE_LENGTH];
    let holder = log("127.0.0.1");
    let good = holder.answer(&challenge);
    let refused = |material: &wire::Material, challenge: &[u8]| {
        let outcome = Material::admit(material, challenge, START);
        matches!(
            outcome,
            Err(Error::Material {
                fault: MaterialFault::Proof,
                ..
            })
        )
    };
    assert!(!refused(&good, &challenge));
    assert!(refused(&good, &[8; CHALLENGE_LENGTH]));
    let changes: [fn(&mut wire::Material); 5] = [
        |m| m.url.push('/'),
        |m| m.operator.push('x'),
        |m| m.valid_from += 1,
        |m| m.chain.push(Vec::new()),
        |m| m.proof_of_possession.clear(),
    ];
    for (position, change) in changes.into_iter().enumerate() {
        let mut changed = good.clone();
        change(&mut changed);
        assert!(refused(&changed, &challenge), "change {position}");
    }
}

#[tokio::test]
async fn one_key_and_one_origin_serve_one_log() {
    let world = World::new();
    let trust = world.start().await;
    let challenge = trust.challenge().await.unwrap();
    let fault = async |holder: Holder| {
        let file = Services(vec![holder]).file(&challenge);
        match trust.stage(&file).await {
            Err(Error::Material { fault, .. }) => fault,
            other => panic!("{other:?}"),
        }
    };
    let new_key = log("127.0.0.1");
    assert!(matches!(
        fault(new_key).await,
        MaterialFault::OriginReused(_)
    ));
    let new_host = Holder {
        key: world.services.0[2].key.clone(),
        ..log("127.0.0.2")
    };
    assert!(matches!(fault(new_host).await, MaterialFault::Changed));
    let two_uses = Holder {
        key: world.services.0[0].key.clone(),
        ..ct_log()
    };
    assert!(matches!(fault(two_uses).await, MaterialFault::KeyReused(_)));
    assert!(trust.status().await.unwrap().staged.is_none());
}

#[tokio::test]
async fn an_origin_is_not_hidden_by_another_spelling_of_its_url() {
    let world = World::new();
    let trust = world.start().await;
    let challenge = trust.challenge().await.unwrap();
    for spelling in [
        "http://127.0.0.1:7700/ct/x/../other",
        "HTTP://127.0.0.1:7700/ct/other",
    ] {
        let at = |url: &str| Holder {
            url: url.to_owned(),
            origin: "127.0.0.1:7700/ct/other".to_owned(),
            ..ct_log()
        };
        let two_logs = Services(vec![at(spelling), at("http://127.0.0.1:7700/ct/other")]);
        let outcome = trust.stage(&two_logs.file(&challenge)).await;
        let Err(Error::Material { fault, .. }) = outcome else {
            panic!("{outcome:?}");
        };
        let normal = "http://127.0.0.1:7700/ct/other".to_owned();
        assert_eq!(fault, MaterialFault::UrlForm { normal });
    }
}

#[tokio::test]
async fn nothing_old_leaves_the_documents() {
    let mut world = World::new();
    let trust = world.start().await;
    let before = trust.documents().await.unwrap();
    trust.shutdown().await;
    // The old log is switched off and a new one takes its place; the old entry stays.
    world.services.0[2] = log("127.0.0.2");
    let trust = world.start().await;
    let after = trust.documents().await.unwrap();
    assert_eq!(after.trusted_root.tlogs.len(), 2);
    assert_eq!(after.trusted_root.tlogs[0], before.trusted_root.tlogs[0]);
    guard(&before, &after, None).unwrap();

    let id = before.entries()[2].id.clone();
    let (removed, _) = after.remove(&id, START).unwrap();
    assert!(matches!(
        guard(&after, &removed, None),
        Err(Error::WouldDrop { .. })
    ));
    guard(&after, &removed, Some(&id)).unwrap();
    let mut moved = after.clone();
    moved.trusted_root.tlogs[0].base_url = "http://elsewhere".to_owned();
    assert!(matches!(
        guard(&after, &moved, None),
        Err(Error::WouldDrop { .. })
    ));
    let (ended, _) = after.retire(&id, START + DAY, START).unwrap();
    guard(&after, &ended, None).unwrap();
    assert!(
        matches!(guard(&ended, &after, None), Err(Error::WouldDrop { .. })),
        "an end is not taken back"
    );
}

#[tokio::test]
async fn an_entry_is_retired_once_and_removed_with_a_reason() {
    let world = World::new();
    let trust = world.start().await;
    let keys = OfflineKeys::open(&world.folder.path().join("offline")).unwrap();
    let entries = trust.documents().await.unwrap().entries();
    let id = &entries
        .iter()
        .find(|entry| entry.kind == Kind::TransparencyLog)
        .unwrap()
        .id;
    assert!(matches!(
        trust.retire("00", START).await,
        Err(Error::UnknownEntry { .. })
    ));
    assert!(matches!(
        trust.retire(id, i64::MAX).await,
        Err(Error::BadEnd { .. })
    ));
    assert!(
        trust.status().await.unwrap().staged.is_none(),
        "an end that cannot be written is not staged"
    );
    assert!(matches!(
        trust.retire(id, START - 1).await,
        Err(Error::BadEnd { .. })
    ));
    trust.retire(id, START + DAY).await.unwrap();
    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();
    let documents = trust.documents().await.unwrap();
    assert_eq!(documents.trusted_root.tlogs.len(), 1);
    let service = &documents.signing_config.rekor_tlog_urls[0];
    assert_eq!(
        service
            .valid_for
            .as_ref()
            .unwrap()
            .end
            .as_ref()
            .unwrap()
            .seconds,
        START + DAY
    );
    assert!(matches!(
        trust.retire(id, START + 2 * DAY).await,
        Err(Error::BadEnd { .. })
    ));

    assert!(matches!(
        trust.remove(id, " ").await,
        Err(Error::ReasonMissing)
    ));
    let staged = trust.remove(id, "the key was copied").await.unwrap();
    assert!(staged.changes[0].starts_with("REMOVES"));
    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();
    assert!(
        trust
            .documents()
            .await
            .unwrap()
            .trusted_root
            .tlogs
            .is_empty()
    );
    let ledger = fs::read_to_string(world.state().join("ledger.json")).unwrap();
    assert!(ledger.contains("the key was copied"));
}

#[tokio::test]
async fn a_new_key_waits_until_every_client_can_know_it() {
    let world = World::new();
    let (trust, keys) = world.production().await;
    let challenge = trust.challenge().await.unwrap();
    let shard = Services(vec![log("127.0.0.2")]);
    world.clock.advance(DAY);
    trust.stage(&shard.file(&challenge)).await.unwrap().unwrap();
    let entry = async || {
        let entries = trust.status().await.unwrap().entries;
        entries
            .into_iter()
            .find(|status| status.entry.url.contains("127.0.0.2"))
            .unwrap()
    };
    let id = entry().await.entry.id;
    assert_eq!(entry().await.activation, Activation::Staged);
    assert!(matches!(
        trust.activate(std::slice::from_ref(&id)).await,
        Err(Error::UnknownEntry { .. })
    ));

    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();
    let published = entry().await;
    assert_eq!(published.activation, Activation::Published);
    // The timestamp that was replaced is believed for seven days after the start.
    assert_eq!(published.usable_from, Some(START + 7 * DAY));
    let early = trust.activate(std::slice::from_ref(&id)).await;
    assert!(matches!(early, Err(Error::TooEarly { .. })));
    assert!(
        trust
            .activate(&[])
            .await
            .unwrap()
            .iter()
            .all(|status| status.entry.id != id)
    );
    let documents = trust.documents().await.unwrap();
    let service = &documents.signing_config.rekor_tlog_urls[1];
    let start = service
        .valid_for
        .as_ref()
        .unwrap()
        .start
        .as_ref()
        .unwrap()
        .seconds;
    assert!(
        start >= START + 7 * DAY,
        "signers are not sent there earlier either"
    );

    world.clock.advance(6 * DAY);
    let active = trust.activate(std::slice::from_ref(&id)).await.unwrap();
    assert_eq!(active[0].activation, Activation::Active);
}

#[tokio::test]
async fn a_change_that_was_overtaken_is_staged_again() {
    let world = World::new();
    let (trust, keys) = world.production().await;
    assert!(matches!(trust.publish().await, Err(Error::NothingStaged)));
    let challenge = trust.challenge().await.unwrap();
    trust
        .stage(&Services(vec![log("127.0.0.2")]).file(&challenge))
        .await
        .unwrap()
        .unwrap();
    let unsigned = trust.publish().await;
    assert!(matches!(
        unsigned,
        Err(Error::Tuf(sealwright_tuf::Error::Threshold {
            valid: 0,
            threshold: 1,
            ..
        }))
    ));
    trust.sign_with(&keys.targets).await.unwrap();
    // Signing took so long that signers would be sent to the new log before all clients know its key.
    world.clock.advance(15 * DAY);
    trust.renew_if_due().await.unwrap();
    let late = trust.publish().await;
    assert!(matches!(late, Err(Error::StaleStage { .. })), "{late:?}");
}

#[tokio::test]
async fn a_challenge_ends_and_its_answers_with_it() {
    let world = World::new();
    let trust = world.start().await;
    let file = Services(vec![log("127.0.0.2")]).file(&trust.challenge().await.unwrap());
    world.clock.advance(6 * DAY);
    assert_eq!(trust.challenge().await.unwrap().to_vec(), file.challenge);
    world.clock.advance(2 * DAY);
    let refused = trust.stage(&file).await;
    assert!(matches!(
        refused,
        Err(Error::Material {
            fault: MaterialFault::Proof,
            ..
        })
    ));
}

#[tokio::test]
async fn several_people_sign_away_from_the_service() {
    let world = World::new();
    let signers: Vec<MemorySigner> = (0..3)
        .map(|_| MemorySigner::new(generate(KeyType::Ed25519)))
        .collect();
    let root_signer = MemorySigner::new(generate(KeyType::EcP256));
    let online = Arc::new(MemorySigner::new(generate(KeyType::EcP256)));
    let targets: Vec<&PublicKey> = signers.iter().map(Signer::public_key).collect();
    let roles = Roles {
        root: &[&root_signer],
        root_threshold: 1,
        targets: &targets,
        targets_threshold: 2,
        online: online.public_key(),
    };
    let root = ceremony::first_root(&roles, START + 365 * DAY)
        .await
        .unwrap();
    ceremony::create_repository(&world.state(), &root).unwrap();
    assert!(matches!(
        ceremony::create_repository(&world.state(), &root),
        Err(Error::RepositoryExists { .. })
    ));
    let deps = Deps {
        online: vec![online],
        ..world.deps()
    };
    let trust = Trust::open(world.config.clone(), deps).await.unwrap();
    let staged = {
        let challenge = trust.challenge().await.unwrap();
        trust
            .stage(&world.services.file(&challenge))
            .await
            .unwrap()
            .unwrap()
    };
    assert_eq!((staged.signatures, staged.threshold), (0, 2));

    let detached = |signer: &MemorySigner, payload: &[u8]| {
        let raw = signer
            .private_key()
            .sign(signer.algorithm(), payload)
            .unwrap();
        Signature {
            keyid: key_of(signer.public_key()).unwrap().id(),
            sig: hex::encode(raw),
            extra: serde_json::Map::new(),
        }
    };
    let stranger = MemorySigner::new(generate(KeyType::Ed25519));
    for bad in [
        detached(&stranger, &staged.payload),
        detached(&signers[0], b"other bytes"),
    ] {
        let refused = trust
            .add_signatures(vec![detached(&signers[1], &staged.payload), bad])
            .await;
        assert!(matches!(refused, Err(Error::BadSignature { .. })));
    }
    assert_eq!(trust.status().await.unwrap().staged.unwrap().signatures, 0);
    for (signer, expected) in [(&signers[2], 1), (&signers[2], 1), (&signers[0], 2)] {
        let staged = trust
            .add_signatures(vec![detached(signer, &staged.payload)])
            .await
            .unwrap();
        assert_eq!(staged.signatures, expected);
    }
    trust.publish().await.unwrap();
    let (_, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
}

#[tokio::test]
async fn the_online_key_is_rotated_without_a_gap() {
    let world = World::new();
    let (trust, keys) = world.production().await;
    let (mut store, outcome) = follow(&trust, fresh(&trust).await).await;
    outcome.unwrap();
    trust.shutdown().await;

    let old = Arc::new(ceremony::open_or_create_online(&world.state()).unwrap());
    let new = Arc::new(MemorySigner::new(generate(KeyType::EcP256)));
    let both: Vec<Arc<dyn Signer>> = vec![old, new.clone()];
    let deps = Deps {
        online: both,
        ..world.deps()
    };
    let trust = Trust::open(world.config.clone(), deps).await.unwrap();
    let root = Envelope::<Root>::parse(&trust.first_root().await).unwrap();
    let mut next = root
        .signed()
        .next(Expiry::from_unix(START + 365 * DAY))
        .unwrap();
    let key = key_of(new.public_key()).unwrap();
    next.set_role(Role::Snapshot, &[&key], 1);
    next.set_role(Role::Timestamp, &[&key], 1);
    let next = ceremony::sign_root(next, &[&keys.root]).await.unwrap();
    // Before both keys' signatures are out, the new root would lock every client out.
    let refused = trust.publish_root(&next).await;
    assert!(
        matches!(
            refused,
            Err(Error::Tuf(sealwright_tuf::Error::Threshold { .. }))
        ),
        "{refused:?}"
    );
    assert!(trust.renew_now().await.unwrap());
    let outcome;
    (store, outcome) = follow(&trust, store).await;
    outcome.unwrap();
    trust.publish_root(&next).await.unwrap();
    for store in [fresh(&trust).await, store] {
        let (_, outcome) = follow(&trust, store).await;
        outcome.unwrap();
    }
    assert_eq!(
        get(&trust.router(), "/tuf/root.json").await,
        get(&trust.router(), "/tuf/2.root.json").await
    );
    trust.shutdown().await;

    let deps = Deps {
        online: vec![new],
        ..world.deps()
    };
    let trust = Trust::open(world.config.clone(), deps).await.unwrap();
    world.clock.advance(4 * DAY);
    assert!(trust.renew_if_due().await.unwrap());
}

#[tokio::test]
async fn a_root_by_other_keys_is_refused() {
    let world = World::new();
    let trust = world.start().await;
    let stranger = MemorySigner::new(generate(KeyType::EcP256));
    let root = Envelope::<Root>::parse(&trust.first_root().await).unwrap();
    let next = root
        .signed()
        .next(Expiry::from_unix(START + 365 * DAY))
        .unwrap();
    let forged = ceremony::sign_root(next, &[&stranger]).await.unwrap();
    let refused = trust.publish_root(&forged).await;
    assert!(matches!(
        refused,
        Err(Error::Tuf(sealwright_tuf::Error::Threshold { .. }))
    ));
    assert_eq!(
        get(&trust.router(), "/tuf/2.root.json").await.0,
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn operators_work_over_grpc_and_the_public_does_not() {
    let world = World::new();
    let trust = world.start().await;
    let keys = OfflineKeys::open(&world.folder.path().join("offline")).unwrap();
    let mut client = TrustClient::new(grpc::memory_channel(
        &HostConfig::default(),
        trust.control_router(),
    ));
    let challenge = client
        .challenge(wire::ChallengeRequest {})
        .await
        .unwrap()
        .into_inner()
        .challenge;
    let material = Services(vec![log("127.0.0.2")]).file(&challenge);
    let staged = client
        .stage(wire::StageRequest {
            material: Some(material.clone()),
            ..Default::default()
        })
        .await;
    let staged = staged.unwrap().into_inner().staged.unwrap();
    assert_eq!(staged.version, 2);
    assert_eq!(
        staged.sha256,
        hex::encode(sealwright_crypto::sha256(&staged.payload))
    );

    let unsigned = client.publish(wire::PublishRequest {}).await.unwrap_err();
    assert_eq!(
        status::from_status(&unsigned).unwrap().0,
        Reason::SignatureInvalid
    );
    let signature = keys.targets.sign(&staged.payload).await.unwrap();
    let key_id = key_of(keys.targets.public_key()).unwrap().id().to_string();
    let signatures = vec![wire::Signature { key_id, signature }];
    let signed = client
        .sign(wire::SignRequest { signatures })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(signed.staged.unwrap().valid_signatures, 1);
    let roles = client
        .publish(wire::PublishRequest {})
        .await
        .unwrap()
        .into_inner()
        .roles;
    assert_eq!(
        roles.iter().map(|role| role.version).collect::<Vec<_>>(),
        [1, 2, 2, 2]
    );
    let active = client
        .activate(wire::ActivateRequest { ids: vec![] })
        .await
        .unwrap()
        .into_inner();
    assert_eq!(active.entries.len(), 5);
    let again = client
        .stage(wire::StageRequest {
            material: Some(material),
            ..Default::default()
        })
        .await
        .unwrap();
    assert!(again.into_inner().staged.is_none());

    let mut forged = world.services.file(&challenge);
    forged.materials[0].proof_of_possession[8] ^= 1;
    let refused = client
        .stage(wire::StageRequest {
            material: Some(forged),
            ..Default::default()
        })
        .await
        .unwrap_err();
    assert_eq!(
        status::from_status(&refused).unwrap().0,
        Reason::ProofOfPossessionInvalid
    );
    let unknown = wire::RetireRequest {
        id: "00".to_owned(),
        valid_until: START,
    };
    let refused = client.retire(unknown).await.unwrap_err();
    assert_eq!(status::from_status(&refused).unwrap().0, Reason::NotFound);

    let mut public = TrustClient::new(grpc::memory_channel(&HostConfig::default(), trust.router()));
    let refused = public.status(wire::StatusRequest {}).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_service_that_does_not_answer_stops_the_collection() {
    let world = World::new();
    let (trust, keys) = world.open().await;
    let silent = service(
        "silent",
        grpc::memory_channel(&HostConfig::default(), Router::new()),
    );
    let refused = trust
        .publish_dev(&keys, &[world.services.channel(), silent])
        .await;
    assert!(matches!(refused, Err(Error::Unreachable { service, .. }) if service == "silent"));
    assert!(matches!(trust.documents().await, Err(Error::NotPublished)));
    assert!(matches!(
        trust.write_client_files(world.folder.path()).await,
        Err(Error::NotPublished)
    ));
}

#[tokio::test]
async fn a_repository_that_was_changed_by_hand_is_not_opened() {
    let world = World::new();
    world.start().await.shutdown().await;
    let dir = repository_dir(&world.state());
    let timestamp = fs::read_to_string(dir.join("timestamp.json")).unwrap();
    fs::write(
        dir.join("timestamp.json"),
        timestamp.replace("2027", "2037"),
    )
    .unwrap();
    assert!(matches!(
        Repository::open(&dir),
        Err(Error::Tuf(sealwright_tuf::Error::Threshold { .. }))
    ));
    fs::write(dir.join("timestamp.json"), &timestamp).unwrap();
    Repository::open(&dir).unwrap();
    fs::remove_file(dir.join("1.targets.json")).unwrap();
    assert!(matches!(Repository::open(&dir), Err(Error::Corrupt { .. })));
    assert!(Envelope::<Timestamp>::parse(timestamp.as_bytes()).is_ok());
}

#[tokio::test]
async fn the_identity_providers_follow_the_configuration() {
    let mut world = World::new();
    world.start().await.shutdown().await;
    world.config.oidc_urls = vec!["https://accounts.example.com".to_owned()];
    world.clock.advance(60);
    let trust = world.start().await;
    let config = trust.documents().await.unwrap().signing_config;
    let ends: Vec<_> = config
        .oidc_urls
        .iter()
        .map(|service| {
            service
                .valid_for
                .as_ref()
                .unwrap()
                .end
                .as_ref()
                .map(|end| end.seconds)
        })
        .collect();
    assert_eq!(ends, [Some(START + 60), None]);
    assert_eq!(world.clock.unix(), START + 60);
    let ca = Certificate::from_der(world.services.0[0].chain[0].clone()).unwrap();
    assert!(ca.subject().contains("development"));
}

#[tokio::test]
async fn the_services_of_the_deployment_are_asked_when_no_material_is_brought() {
    let world = World::new();
    let (trust, keys) = world.open().await;
    let mut client = TrustClient::new(grpc::memory_channel(
        &HostConfig::default(),
        trust.control_router(),
    ));
    let nobody = client.stage(wire::StageRequest::default()).await;
    assert!(nobody.unwrap_err().message().contains("trust.services"));

    let silent = grpc::memory_channel(&HostConfig::default(), Router::new());
    trust.ask(vec![world.services.channel(), service("the log", silent)]);
    let absent = client.stage(wire::StageRequest::default()).await;
    assert!(absent.unwrap_err().message().starts_with("the log"));
    let told = ready(&trust).await.unwrap_err();
    assert!(told.ends_with("no answer from the log"), "{told}");

    trust.ask(vec![world.services.channel()]);
    let folder = world.folder.path().join("for-clients");
    trust.keep_client_files(folder.clone());
    let staged = client.stage(wire::StageRequest::default()).await;
    assert!(staged.unwrap().into_inner().staged.is_some());
    assert!(!folder.exists());
    trust.sign_with(&keys.targets).await.unwrap();
    trust.publish().await.unwrap();
    ready(&trust).await.unwrap();
    let written = fs::read(folder.join("trusted_root.json")).unwrap();
    let documents = trust.documents().await.unwrap();
    assert_eq!(written, document(&documents.trusted_root));

    let again = client.stage(wire::StageRequest::default()).await;
    assert!(again.unwrap().into_inner().staged.is_none());
    world.clock.advance(183 * DAY);
    let renewal = client.stage(wire::StageRequest::default()).await;
    let renewal = renewal.unwrap().into_inner().staged.unwrap();
    assert_eq!(renewal.changes, ["renews the targets metadata"]);

    let root = ceremony::renew_root(&world.state(), START + 700 * DAY, &keys.root).await;
    let roles = trust.publish_root(&root.unwrap()).await.unwrap();
    assert_eq!((roles[0].version, roles[0].expires), (2, START + 700 * DAY));
}

/// The answer of the only check, as `/readyz` gives it.
async fn ready(trust: &Trust) -> Result<(), String> {
    let health = sealwright_host::health::Health::new();
    health.register(trust.checks());
    let finding = health.report().await.checks.remove(0);
    finding.detail.map_or(Ok(()), Err)
}
