//! Claims about the logs as their clients see them: every door, good input and bad.

mod reads;
mod shards;

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use sealwright_crypto::{
    Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey, PublicKey, base64, sha256,
};
use sealwright_host::clock::ManualClock;
use sealwright_host::metrics::Registry;
use sealwright_host::run::HostConfig;
use sealwright_host::{Reason, grpc, status};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::issue::{IssuanceProfile, Issuer, Order, Precertificate, prepare};
use sealwright_pki::{
    Certificate, Identity, Purpose, SctEntry, SerialNumber, SignedCertificateTimestamp,
    SubjectAlternativeName,
};
use sealwright_proto::rekor::v1::TransparencyLogEntry;
use sealwright_proto::rekor::v2::rekor_client::RekorClient;
use sealwright_proto::rekor::v2::{
    self as rekor_wire, CreateEntryRequest, EntryBundleRequest, TileRequest,
};
use sealwright_proto::sealwright::ct::v1 as ct_wire;
use sealwright_proto::sealwright::ct::v1::certificate_transparency_client::CertificateTransparencyClient;
use sealwright_proto::sealwright::trust::v1::trust_material_client::TrustMaterialClient;
use sealwright_proto::sealwright::trust::v1::{DescribeRequest, MaterialKind};
use sealwright_tlog::dsse::{pae, pae_digest};
use sealwright_tlog::entry::Entry;
use sealwright_tlog::hash::leaf_hash;
use sealwright_tlog::{Checkpoint, Hash, NoteKey, ct, verify_consistency, verify_inclusion};
use serde_json::{Value, json};
use tower::ServiceExt as _;

use super::*;
use crate::DuplicateMode;

const NOW: i64 = 1_800_000_000;
const ENTRIES: &str = "/api/v2/log/entries";
const CT: &str = "/ct/dev/ct/v1";

fn generate(key_type: KeyType) -> PrivateKey {
    PrivateKey::generate(key_type).expect("a key")
}

fn name(common_name: &str) -> AuthorityName {
    AuthorityName {
        common_name: common_name.to_owned(),
        organization: "Test".to_owned(),
        development: true,
    }
}

fn envelope(number: u8) -> Envelope {
    Envelope {
        serial: SerialNumber::from_random([number; 20]),
        not_before: NOW - 1000,
        not_after: NOW + 100_000,
    }
}

/// A certificate authority below a root.
struct Authority {
    root: Certificate,
    issuer: Issuer,
    signer: MemorySigner,
}

impl Authority {
    fn new() -> Self {
        let (root_key, key) = (generate(KeyType::EcP256), generate(KeyType::EcP256));
        let root = authority::root(&root_key, &name("root"), 1, &envelope(1)).expect("a root");
        let parent = Parent {
            certificate: &root,
            key: &root_key,
        };
        let issuing = authority::intermediate(
            key.public_key(),
            &name("issuing"),
            Purpose::CodeSigning,
            &envelope(2),
            parent,
        );
        let signer = MemorySigner::new(key);
        let issuer = Issuer::new(issuing.expect("an issuer"), &signer).expect("fit to issue");
        Self {
            root,
            issuer,
            signer,
        }
    }

    async fn precertificate(&self, number: u8) -> Precertificate {
        let identity = Identity {
            subject_alternative_name: SubjectAlternativeName::Uri("https://a.example".to_owned()),
            issuer: "https://issuer.example".to_owned(),
            extensions: Default::default(),
        };
        let key = generate(KeyType::EcP256);
        let serial = SerialNumber::from_random([number; 20]);
        let order = Order {
            identity: &identity,
            public_key: key.public_key(),
            serial,
            now: NOW,
        };
        let prepared = prepare(&self.issuer, &IssuanceProfile::default(), order).expect("prepared");
        prepared
            .lint()
            .expect("sound")
            .sign(&self.signer)
            .await
            .expect("signed")
    }

    /// The chain that a client sends: leaf and issuer; the log knows the root.
    fn chain(&self, leaf: &Certificate) -> Vec<Vec<u8>> {
        vec![
            leaf.der().to_vec(),
            self.issuer.certificate().der().to_vec(),
        ]
    }
}

struct Fixture {
    folder: tempfile::TempDir,
    clock: Arc<ManualClock>,
    authority: Authority,
    keys: Vec<(LogConfig, MemorySigner)>,
}

fn rekor(name: &str, url: &str) -> (LogConfig, MemorySigner) {
    let config = LogConfig {
        name: name.into(),
        url: url.into(),
        ..LogConfig::default()
    };
    (config, MemorySigner::new(generate(KeyType::Ed25519)))
}

impl Fixture {
    fn new() -> Self {
        let (name, url) = (
            "dev".to_owned(),
            "http://log.example:7700/ct/dev".to_owned(),
        );
        let ct = LogConfig {
            name,
            url,
            kind: Kind::Ct,
            operator: "example.com".into(),
            public_submission: true,
            ..LogConfig::default()
        };
        let keys = vec![
            rekor("signatures", "http://log.example:7700"),
            (ct, MemorySigner::new(generate(KeyType::EcP256))),
        ];
        Self {
            folder: tempfile::tempdir().expect("a folder"),
            clock: Arc::new(ManualClock::at(NOW)),
            authority: Authority::new(),
            keys,
        }
    }

    async fn try_open(&self) -> Result<LogService, Error> {
        let logs = self
            .keys
            .iter()
            .map(|(config, _)| LogConfig {
                wal_segment: 16 << 20,
                ..config.clone()
            })
            .collect();
        let signer = |(config, signer): &(LogConfig, MemorySigner)| -> (String, Arc<dyn Signer>) {
            (config.name.clone(), Arc::new(signer.clone()))
        };
        let deps = Deps {
            clock: self.clock.clone(),
            registry: Registry::new(),
            state: self.folder.path().to_owned(),
            signers: self.keys.iter().map(signer).collect(),
            ct_roots: vec![self.authority.root.clone()],
            create: true,
        };
        LogService::open(Config { logs }, deps).await
    }

    async fn open(&self) -> LogService {
        self.try_open().await.expect("opens")
    }

    fn signature_key(&self) -> NoteKey {
        let key = self.keys.first().expect("a log").1.public_key().clone();
        NoteKey::for_log("log.example", key).expect("a note key")
    }

    fn ct_key(&self) -> PublicKey {
        self.keys.get(1).expect("a log").1.public_key().clone()
    }
}

struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn reason(&self) -> String {
        self.json()["details"][0]["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }

    /// The entry, believed as a client believes it: leaf, proof, checkpoint, key.
    fn entry(&self, key: &NoteKey) -> TransparencyLogEntry {
        assert_eq!(
            self.status,
            StatusCode::CREATED,
            "{}",
            String::from_utf8_lossy(&self.body)
        );
        let entry: TransparencyLogEntry =
            serde_json::from_slice(&self.body).expect("a TransparencyLogEntry");
        verify(&entry, key);
        entry
    }
}

fn verify(entry: &TransparencyLogEntry, key: &NoteKey) {
    let proof = entry.inclusion_proof.as_ref().expect("a proof");
    let note = proof
        .checkpoint
        .as_ref()
        .expect("a checkpoint")
        .envelope
        .as_bytes();
    let opened =
        Checkpoint::open(note, key.name(), std::slice::from_ref(key)).expect("signed by the log");
    let checkpoint = opened.checkpoint();
    assert_eq!(
        entry.log_id.as_ref().expect("a log id").key_id,
        key.log_id()
    );
    assert_eq!(
        (proof.log_index, entry.integrated_time),
        (entry.log_index, 0)
    );
    assert_eq!(
        u64::try_from(proof.tree_size).expect("a size"),
        checkpoint.size
    );
    assert_eq!(proof.root_hash, checkpoint.root);
    let hashes: Vec<Hash> = proof
        .hashes
        .iter()
        .map(|hash| hash.as_slice().try_into().expect("32 bytes"))
        .collect();
    let index = u64::try_from(entry.log_index).expect("an index");
    let leaf = leaf_hash(&entry.canonicalized_body);
    verify_inclusion(index, checkpoint.size, &leaf, &hashes, &checkpoint.root).expect("included");
}

async fn send(router: &Router, request: Request<Body>) -> Answer {
    let response = router.clone().oneshot(request).await.expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes().to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn post(router: &Router, path: &str, body: impl Into<Body>) -> Answer {
    let request = Request::post(path)
        .header("content-type", "application/json")
        .header("host", "log.example:7700");
    send(router, request.body(body.into()).expect("a request")).await
}

async fn read(router: &Router, path: &str) -> Answer {
    let request = Request::get(path).header("host", "log.example:7700");
    send(router, request.body(Body::empty()).expect("a request")).await
}

/// A `hashedRekordRequestV002` by a fresh P-256 key over `data`.
fn hashed_rekord(data: &[u8]) -> Value {
    let key = generate(KeyType::EcP256);
    let digest = HashAlgorithm::Sha256.digest(data);
    let signature = key
        .sign_digest(Algorithm::EcdsaP256Sha256, &digest)
        .expect("signs");
    json!({ "hashedRekordRequestV002": {
        "digest": base64::encode(digest.as_bytes()),
        "signature": { "content": base64::encode(&signature), "verifier": {
            "publicKey": { "rawBytes": base64::encode(key.public_key().spki_der()) },
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        } },
    } })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_entry_is_answered_with_201_and_a_proof_that_holds() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let request = hashed_rekord(b"artifact");
    let answer = post(&router, ENTRIES, request.to_string()).await;
    assert_eq!(answer.header("content-type"), "application/json");
    assert!(answer.headers.get("x-log-index").is_none());
    let entry = answer.entry(&fixture.signature_key());
    assert_eq!(
        entry
            .kind_version
            .as_ref()
            .map(|kind| (kind.kind.as_str(), kind.version.as_str())),
        Some(("hashedrekord", "0.0.2"))
    );
    let Ok(Entry::HashedRekord(logged)) = Entry::parse(&entry.canonicalized_body) else {
        panic!("a hashedrekord")
    };
    assert_eq!(logged.data.as_bytes(), sha256(b"artifact"));
    let json = answer.json();
    assert_eq!(
        (&json["logIndex"], &json["inclusionPromise"]),
        (&"0".into(), &Value::Null)
    );
    let second = post(&router, ENTRIES, hashed_rekord(b"another").to_string())
        .await
        .entry(&fixture.signature_key());
    assert_eq!(second.log_index, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signature_with_its_certificate_is_logged_with_the_very_bytes() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let root_key = generate(KeyType::EcP256);
    // Whoever made the certificate: the log does not ask.
    let own =
        authority::root(&root_key, &name("self-made"), 0, &envelope(9)).expect("a certificate");
    let digest = HashAlgorithm::Sha256.digest(b"artifact");
    let signature = root_key
        .sign_digest(Algorithm::EcdsaP256Sha256, &digest)
        .expect("signs");
    let request = json!({ "hashedRekordRequestV002": {
        "digest": base64::encode(digest.as_bytes()),
        "signature": { "content": base64::encode(&signature), "verifier": {
            "x509Certificate": { "rawBytes": base64::encode(own.der()) }, "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        } },
    } });
    let entry = post(&router, ENTRIES, request.to_string())
        .await
        .entry(&fixture.signature_key());
    let Ok(Entry::HashedRekord(logged)) = Entry::parse(&entry.canonicalized_body) else {
        panic!("a hashedrekord")
    };
    assert_eq!(logged.signature.verifier.raw_bytes(), own.der());
}

#[tokio::test(flavor = "multi_thread")]
async fn proto3_json_is_read_in_all_its_spellings() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let mut request = hashed_rekord(b"artifact");
    request["hashedRekordRequestV002"]["signature"]["verifier"]["keyDetails"] = json!(5);
    let mut text = request.to_string();
    for (camel, snake) in [
        ("hashedRekordRequestV002", "hashed_rekord_request_v002"),
        ("publicKey", "public_key"),
        ("rawBytes", "raw_bytes"),
        ("keyDetails", "key_details"),
    ] {
        text = text.replace(camel, snake);
    }
    // Base64 of the other alphabet, without padding.
    let text = text.replace('+', "-").replace('/', "_").replace('=', "");
    post(&router, ENTRIES, text)
        .await
        .entry(&fixture.signature_key());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resubmission_gets_the_existing_entry_and_says_so() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let request = hashed_rekord(b"artifact").to_string();
    let first = post(&router, ENTRIES, request.clone())
        .await
        .entry(&fixture.signature_key());
    post(&router, ENTRIES, hashed_rekord(b"another").to_string())
        .await
        .entry(&fixture.signature_key());
    let again = post(&router, ENTRIES, request).await;
    assert_eq!(
        (again.header("x-log-index"), again.header("x-log-duplicate")),
        ("0", "true")
    );
    let again = again.entry(&fixture.signature_key());
    assert_eq!(
        (again.log_index, &again.canonicalized_body),
        (first.log_index, &first.canonicalized_body)
    );
    assert_eq!(
        again.inclusion_proof.expect("a proof").tree_size,
        2,
        "the proof is a fresh one"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_can_be_told_to_answer_resubmissions_as_upstream_does() {
    let mut fixture = Fixture::new();
    fixture.keys[0].0.duplicate = DuplicateMode::Conflict;
    let router = fixture.open().await.router();
    let request = hashed_rekord(b"artifact").to_string();
    post(&router, ENTRIES, request.clone())
        .await
        .entry(&fixture.signature_key());
    let again = post(&router, ENTRIES, request).await;
    assert_eq!(
        (again.status, again.reason().as_str()),
        (StatusCode::CONFLICT, "ALREADY_EXISTS")
    );
    assert_eq!(again.header("x-log-index"), "0");
    let expected = "an equivalent entry already exists in the transparency log with index 0";
    assert_eq!(
        (&again.json()["message"], &again.json()["code"]),
        (&expected.into(), &6.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_log_takes_nothing_more_and_goes_on_being_read() {
    let mut fixture = Fixture::new();
    let open = fixture.open().await;
    let request = hashed_rekord(b"artifact").to_string();
    post(&open.router(), ENTRIES, request.clone())
        .await
        .entry(&fixture.signature_key());
    open.shutdown().await;
    for (config, _) in &mut fixture.keys {
        config.frozen = true;
    }
    let frozen = fixture.open().await;
    let chain = fixture
        .authority
        .chain(fixture.authority.precertificate(3).await.certificate());
    for (path, body) in [
        (ENTRIES.to_owned(), request),
        (ENTRIES.to_owned(), "no entry at all".to_owned()),
        (format!("{CT}/add-pre-chain"), chain_json(&chain)),
    ] {
        let refused = post(&frozen.router(), &path, body).await;
        let found = (refused.status, refused.reason());
        let expected = (StatusCode::METHOD_NOT_ALLOWED, "LOG_FROZEN".to_owned());
        assert_eq!(found, expected, "{path}");
        assert_eq!(refused.header("allow"), "", "nothing is allowed");
    }
    let channel = grpc::memory_channel(&HostConfig::default(), frozen.router());
    let mut log = RekorClient::new(channel.clone());
    let refused = log.create_entry(CreateEntryRequest::default()).await;
    let refused = refused.expect_err("frozen");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
    let head = log
        .get_checkpoint(sealwright_proto::Empty {})
        .await
        .expect("a checkpoint");
    assert!(head.into_inner().data.starts_with(b"log.example\n1\n"));
    let request = ct_wire::AddChainRequest {
        log: String::new(),
        chain,
    };
    let refused = CertificateTransparencyClient::new(channel)
        .add_pre_chain(request)
        .await;
    assert_eq!(
        refused.expect_err("frozen").code(),
        tonic::Code::Unimplemented
    );
}

fn dsse(signatures: usize) -> (Value, PrivateKey) {
    let key = generate(KeyType::EcP256);
    let (payload_type, payload) = ("application/vnd.in-toto+json", br#"{"a":1}"#);
    let signature = key
        .sign(Algorithm::EcdsaP256Sha256, &pae(payload_type, payload))
        .expect("signs");
    let signature = json!({ "sig": base64::encode(&signature), "keyid": "" });
    let request = json!({ "dsseRequestV002": {
        "envelope": {
            "payload": base64::encode(payload), "payloadType": payload_type, "signatures": vec![signature; signatures],
        },
        "verifiers": [{
            "publicKey": { "rawBytes": base64::encode(key.public_key().spki_der()) },
            "keyDetails": "PKIX_ECDSA_P256_SHA_256",
        }],
    } });
    (request, key)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_envelope_with_one_signature_is_logged_as_a_hashedrekord_over_its_pae() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let entry = post(&router, ENTRIES, dsse(1).0.to_string())
        .await
        .entry(&fixture.signature_key());
    let Ok(Entry::HashedRekord(logged)) = Entry::parse(&entry.canonicalized_body) else {
        panic!("a hashedrekord")
    };
    assert_eq!(
        logged.data,
        pae_digest(
            HashAlgorithm::Sha256,
            "application/vnd.in-toto+json",
            br#"{"a":1}"#
        )
    );
    let several = post(&router, ENTRIES, dsse(2).0.to_string()).await;
    assert_eq!(
        (several.status, several.reason().as_str()),
        (StatusCode::BAD_REQUEST, "ENTRY_INVALID")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_entry_is_refused_with_its_reason() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let router = logs.router();
    let good = hashed_rekord(b"artifact");
    let with = |pointer: &str, value: Value| {
        let mut copy = good.clone();
        *copy.pointer_mut(pointer).expect("a field of the request") = value;
        copy.to_string()
    };
    let base = "/hashedRekordRequestV002";
    let verifier = "/hashedRekordRequestV002/signature/verifier";
    let unknown_field = good.to_string().replacen("\"digest\"", "\"digset\"", 1);
    let twice = good
        .to_string()
        .replacen("\"digest\":", "\"digest\":\"AAAA\",\"digest\":", 1);
    let cases = [
        (String::new(), "MALFORMED_REQUEST"),
        ("{".to_owned(), "MALFORMED_REQUEST"),
        ("[]".to_owned(), "MALFORMED_REQUEST"),
        ("{}".to_owned(), "ENTRY_TYPE_UNSUPPORTED"),
        (
            r#"{"hashedRekordRequestV002":{}}"#.to_owned(),
            "ENTRY_INVALID",
        ),
        (r#"{"dsseRequestV002":{}}"#.to_owned(), "ENTRY_INVALID"),
        (
            r#"{"intotoRequestV002":{}}"#.to_owned(),
            "MALFORMED_REQUEST",
        ),
        (unknown_field, "MALFORMED_REQUEST"),
        (twice, "MALFORMED_REQUEST"),
        (with(&format!("{base}/digest"), json!("")), "ENTRY_INVALID"),
        (
            with(&format!("{base}/digest"), json!("$$$")),
            "MALFORMED_REQUEST",
        ),
        (
            with(&format!("{base}/digest"), json!(base64::encode(&[7; 20]))),
            "ENTRY_INVALID",
        ),
        (
            with(&format!("{base}/digest"), json!(base64::encode(&[7; 32]))),
            "SIGNATURE_INVALID",
        ),
        (
            with(&format!("{base}/signature"), Value::Null),
            "ENTRY_INVALID",
        ),
        (
            with(&format!("{base}/signature/content"), json!("")),
            "ENTRY_INVALID",
        ),
        (
            with(&format!("{base}/signature/content"), json!("AAAA")),
            "SIGNATURE_INVALID",
        ),
        (with(verifier, Value::Null), "ENTRY_INVALID"),
        (
            with(&format!("{verifier}/publicKey"), json!({})),
            "ENTRY_INVALID",
        ),
        (
            with(&format!("{verifier}/publicKey/rawBytes"), json!("AAAA")),
            "KEY_UNREADABLE",
        ),
        (
            with(&format!("{verifier}/keyDetails"), json!("PKIX_ED25519")),
            "ALGORITHM_NOT_PERMITTED",
        ),
        (
            with(
                &format!("{verifier}/keyDetails"),
                json!("PKIX_ECDSA_P384_SHA_384"),
            ),
            "ALGORITHM_NOT_PERMITTED",
        ),
        (
            with(
                &format!("{verifier}/keyDetails"),
                json!("PKIX_RSA_PSS_4096_SHA256"),
            ),
            "ALGORITHM_NOT_PERMITTED",
        ),
        (
            with(&format!("{verifier}/keyDetails"), json!("NO_SUCH_NAME")),
            "MALFORMED_REQUEST",
        ),
        (
            good.to_string().replace("publicKey", "x509Certificate"),
            "CERTIFICATE_UNREADABLE",
        ),
    ];
    for (body, reason) in cases {
        let answer = post(&router, ENTRIES, body.clone()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::BAD_REQUEST, reason),
            "{body}"
        );
        assert_eq!(answer.json()["code"], 3, "{body}");
    }
    let head = logs.logs().next().expect("a log").tree_head();
    assert_eq!(head.size, 0, "nothing of it was logged");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_is_413_and_says_how_large_it_may_be() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let answer = post(&router, ENTRIES, vec![b' '; (4 << 20) + 1]).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "REQUEST_TOO_LARGE")
    );
    assert!(
        answer.json()["message"]
            .as_str()
            .is_some_and(|message| message.contains("4194304"))
    );
    let mut request = hashed_rekord(b"artifact");
    request["hashedRekordRequestV002"]["signature"]["verifier"]["publicKey"]["rawBytes"] =
        json!(base64::encode(&[0x30; 60_000]));
    let answer = post(&router, ENTRIES, request.to_string()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::PAYLOAD_TOO_LARGE, "ENTRY_TOO_LARGE")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_methods_are_told_the_right_ones() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    for (method, path, allow) in [
        (Method::GET, ENTRIES, "POST"),
        (Method::DELETE, ENTRIES, "POST"),
        (Method::POST, "/api/v2/checkpoint", "GET, HEAD"),
        (Method::GET, "/ct/dev/ct/v1/add-chain", "POST"),
        (Method::POST, "/ct/dev/ct/v1/get-sth", "GET, HEAD"),
        (Method::PUT, "/ct/dev/checkpoint", "GET, HEAD"),
    ] {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(Body::empty())
            .expect("a request");
        let answer = send(&router, request).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, allow),
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_signature_logs_are_told_apart_by_host() {
    let mut fixture = Fixture::new();
    fixture.keys.push(rekor("second", "http://127.0.0.2:7700"));
    let logs = fixture.open().await;
    let router = logs.router();
    let ask = async |host: &str, body: String| {
        let request = Request::post(ENTRIES)
            .header("host", host)
            .body(Body::from(body))
            .expect("a request");
        send(&router, request).await
    };
    ask("LOG.example:7700", hashed_rekord(b"a").to_string())
        .await
        .entry(&fixture.signature_key());
    let second = fixture.keys[2].1.public_key().clone();
    let second = NoteKey::for_log("127.0.0.2", second).expect("a note key");
    assert_eq!(
        ask("127.0.0.2:7700", hashed_rekord(b"a").to_string())
            .await
            .entry(&second)
            .log_index,
        0
    );
    let stranger = ask("127.0.0.1:7700", hashed_rekord(b"a").to_string()).await;
    assert_eq!(
        (stranger.status, stranger.reason().as_str()),
        (StatusCode::NOT_FOUND, "NOT_FOUND")
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn two_logs_share_neither_name_nor_origin_nor_key() {
    for share in ["name", "origin", "key"] {
        let mut fixture = Fixture::new();
        let mut other = rekor("second", "http://other.example");
        match share {
            "name" => other.0.name = "signatures".into(),
            "origin" => other.0.url = "https://log.example:8443".into(),
            _ => other.1 = fixture.keys[0].1.clone(),
        }
        fixture.keys.push(other);
        let refused = fixture.try_open().await.expect_err("refused");
        assert!(
            refused.to_string().contains(&format!("the same {share}")),
            "{refused}"
        );
    }
}

fn grpc_request(request: &Value) -> CreateEntryRequest {
    serde_json::from_value(request.clone()).expect("a request")
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_logs_and_reads_the_same() {
    let fixture = Fixture::new();
    let channel = grpc::memory_channel(&HostConfig::default(), fixture.open().await.router());
    let mut client = RekorClient::new(channel);
    let request = grpc_request(&hashed_rekord(b"artifact"));
    let created = client
        .create_entry(request.clone())
        .await
        .expect("created")
        .into_inner();
    verify(&created, &fixture.signature_key());
    let again = client.create_entry(request).await.expect("the same entry");
    assert_eq!(
        again
            .metadata()
            .get("x-log-index")
            .and_then(|value| value.to_str().ok()),
        Some("0")
    );
    assert_eq!(again.into_inner().log_index, 0);
    let checkpoint = client
        .get_checkpoint(sealwright_proto::Empty {})
        .await
        .expect("a checkpoint")
        .into_inner();
    assert!(checkpoint.data.starts_with(b"log.example\n1\n"));
    let tile = client
        .get_tile(TileRequest {
            l: 0,
            n: "000.p/1".into(),
        })
        .await
        .expect("a tile")
        .into_inner();
    assert_eq!(tile.data.as_ref(), leaf_hash(&created.canonicalized_body));
    let bundle = client
        .get_entry_bundle(EntryBundleRequest {
            n: "000.p/1".into(),
        })
        .await
        .expect("a bundle")
        .into_inner();
    assert!(bundle.data.ends_with(&created.canonicalized_body));
    let absent = client
        .get_tile(TileRequest {
            l: 0,
            n: "001".into(),
        })
        .await
        .expect_err("no such tile");
    assert_eq!(absent.code(), tonic::Code::NotFound);
    let refused = client
        .create_entry(CreateEntryRequest::default())
        .await
        .expect_err("no entry");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let empty = rekor_wire::HashedRekordRequestV002::default();
    let empty = CreateEntryRequest {
        spec: Some(rekor_wire::create_entry_request::Spec::HashedRekordRequestV002(empty)),
    };
    let refused = client.create_entry(empty).await.expect_err("no signature");
    assert_eq!(
        status::from_status(&refused).map(|(reason, _)| reason),
        Some(Reason::EntryInvalid)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_shuts_down_refuses_with_503_and_is_not_ready() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let (router, checks) = (logs.router(), logs.checks());
    logs.shutdown().await;
    let answer = post(&router, ENTRIES, hashed_rekord(b"artifact").to_string()).await;
    assert_eq!(
        (answer.status, answer.reason().as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, "SHUTTING_DOWN")
    );
    assert_eq!(answer.header("retry-after"), "1");
    let health = sealwright_host::health::Health::new();
    health.register(checks);
    assert!(!health.report().await.ready());
}

// Certificates.

fn chain_json(chain: &[Vec<u8>]) -> String {
    json!({ "chain": chain.iter().map(|der| base64::encode(der)).collect::<Vec<_>>() }).to_string()
}

fn bytes(value: &Value) -> Vec<u8> {
    base64::decode(value.as_str().expect("a string")).expect("base64")
}

/// The SCT of a JSON answer, as a certificate embeds it.
fn sct(answer: &Answer) -> SignedCertificateTimestamp {
    assert_eq!(
        answer.status,
        StatusCode::OK,
        "{}",
        String::from_utf8_lossy(&answer.body)
    );
    let json = answer.json();
    assert_eq!(json["sct_version"], 0);
    let signed = bytes(&json["signature"]);
    let (algorithm, rest) = signed.split_first_chunk::<2>().expect("algorithms");
    let (length, signature) = rest.split_first_chunk::<2>().expect("a length");
    assert_eq!(usize::from(u16::from_be_bytes(*length)), signature.len());
    SignedCertificateTimestamp {
        log_id: bytes(&json["id"]).try_into().expect("32 bytes"),
        timestamp_ms: json["timestamp"].as_u64().expect("a number"),
        extensions: bytes(&json["extensions"]),
        signature_algorithm: *algorithm,
        signature: signature.to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_precertificate_gets_a_timestamp_that_its_certificate_can_carry() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let (authority, key) = (&fixture.authority, fixture.ct_key());
    let precertificate = authority.precertificate(7).await;
    let chain = authority.chain(precertificate.certificate());
    let timestamp = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    assert_eq!(
        (timestamp.leaf_index(), timestamp.timestamp_ms),
        (Some(0), NOW as u64 * 1000)
    );
    precertificate
        .verify_timestamp(&timestamp, &key)
        .expect("the log's signature");
    let permit = precertificate
        .with_timestamps(std::slice::from_ref(&timestamp))
        .expect("corresponds");
    let certificate = permit.sign(&authority.signer).await.expect("signed");
    let issuer_key_hash = authority.issuer.issuer_key_hash();
    timestamp
        .verify_embedded(&certificate, issuer_key_hash, &key)
        .expect("holds inside the certificate");

    let chain = authority.chain(&certificate);
    let for_final = sct(&post(&router, &format!("{CT}/add-chain"), chain_json(&chain)).await);
    assert_eq!(for_final.leaf_index(), Some(1));
    for_final
        .verify(&SctEntry::Certificate(certificate.der().into()), &key)
        .expect("the log's signature");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_sent_again_gets_the_identical_timestamp() {
    let fixture = Fixture::new();
    let service = fixture.open().await;
    let router = service.router();
    let precertificate = fixture.authority.precertificate(7).await;
    let mut chain = fixture.authority.chain(precertificate.certificate());
    let first = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    fixture.clock.advance(60);
    chain.push(fixture.authority.root.der().to_vec());
    let again = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    assert_eq!(again, first);
    precertificate
        .verify_timestamp(&again, &fixture.ct_key())
        .expect("holds");
    service.shutdown().await;
    let router = fixture.open().await.router();
    let later = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    assert_eq!(later, first, "after a restart");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_timestamp_whose_signature_was_lost_is_signed_again() {
    let fixture = Fixture::new();
    let service = fixture.open().await;
    let router = service.router();
    let mut first = None;
    // A full bundle, whose attachments go to a file.
    for number in 0..=255 {
        let precertificate = fixture.authority.precertificate(number).await;
        let chain = fixture.authority.chain(precertificate.certificate());
        let given = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
        first.get_or_insert((precertificate, chain, given));
    }
    let (precertificate, chain, given) = first.expect("one was made");
    service.shutdown().await;
    let file = fixture.folder.path().join("dev/attachments/000");
    let again = async || {
        let service = fixture.open().await;
        let path = format!("{CT}/add-pre-chain");
        let again = sct(&post(&service.router(), &path, chain_json(&chain)).await);
        service.shutdown().await;
        again
    };
    assert_eq!(again().await, given);
    std::fs::remove_file(file).expect("the attachments are in a file");
    let signed_again = again().await;
    assert_eq!(
        (signed_again.leaf_index(), signed_again.timestamp_ms),
        (given.leaf_index(), given.timestamp_ms)
    );
    precertificate
        .verify_timestamp(&signed_again, &fixture.ct_key())
        .expect("holds");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_acceptable_chain_is_refused_with_its_reason() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let router = logs.router();
    let precertificate = fixture.authority.precertificate(7).await;
    let good = fixture.authority.chain(precertificate.certificate());
    let stranger = Authority::new();
    let foreign = stranger.precertificate(7).await;
    let leaf = || good.first().expect("a leaf").clone();
    let cut = leaf().get(..100).expect("longer").to_vec();
    let cases = [
        ("add-pre-chain", "{".to_owned(), "MALFORMED_REQUEST"),
        ("add-pre-chain", "{}".to_owned(), "MALFORMED_REQUEST"),
        (
            "add-pre-chain",
            r#"{"chain":["$"]}"#.to_owned(),
            "MALFORMED_REQUEST",
        ),
        ("add-pre-chain", chain_json(&[]), "MALFORMED_REQUEST"),
        (
            "add-pre-chain",
            chain_json(&vec![leaf(); 9]),
            "MALFORMED_REQUEST",
        ),
        (
            "add-pre-chain",
            chain_json(&[cut]),
            "CERTIFICATE_UNREADABLE",
        ),
        ("add-pre-chain", chain_json(&[leaf()]), "CHAIN_NOT_ACCEPTED"),
        (
            "add-pre-chain",
            chain_json(&stranger.chain(foreign.certificate())),
            "CHAIN_NOT_ACCEPTED",
        ),
        ("add-chain", chain_json(&good), "CHAIN_NOT_ACCEPTED"),
        (
            "add-pre-chain",
            chain_json(&fixture.authority.chain(&fixture.authority.root)),
            "CHAIN_NOT_ACCEPTED",
        ),
    ];
    for (door, body, reason) in cases {
        let answer = post(&router, &format!("{CT}/{door}"), body.clone()).await;
        assert_eq!(
            (answer.status, answer.reason().as_str()),
            (StatusCode::BAD_REQUEST, reason),
            "{door} {body:.200}"
        );
    }
    let elsewhere = post(&router, "/ct/other/ct/v1/add-pre-chain", chain_json(&good)).await;
    assert_eq!(
        (elsewhere.status, elsewhere.reason().as_str()),
        (StatusCode::NOT_FOUND, "NOT_FOUND")
    );
    let huge = post(
        &router,
        &format!("{CT}/add-pre-chain"),
        vec![b' '; (4 << 20) + 1],
    )
    .await;
    assert_eq!(huge.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        logs.logs().all(|log| log.tree_head().size == 0),
        "nothing of it was logged"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn rfc_6962_readers_find_and_prove_what_was_logged() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let authority = &fixture.authority;
    for number in 1..=3 {
        let precertificate = authority.precertificate(number).await;
        let chain = authority.chain(precertificate.certificate());
        sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    }
    let head = read(&router, &format!("{CT}/get-sth")).await.json();
    let (size, root) = (
        head["tree_size"].as_u64().expect("a size"),
        bytes(&head["sha256_root_hash"]),
    );
    let root: Hash = root.try_into().expect("32 bytes");
    let message = ct::tree_head_message(head["timestamp"].as_u64().expect("a time"), size, &root);
    let signature = bytes(&head["tree_head_signature"]).split_off(4);
    fixture
        .ct_key()
        .verify(Algorithm::EcdsaP256Sha256, &message, &signature)
        .expect("the log's signature");
    assert_eq!(size, 3);

    let entries = read(&router, &format!("{CT}/get-entries?start=1&end=500"))
        .await
        .json()["entries"]
        .clone();
    assert_eq!(
        entries.as_array().map(Vec::len),
        Some(2),
        "as many as there are"
    );
    let leaf = leaf_hash(&bytes(&entries[0]["leaf_input"]));
    let extra = bytes(&entries[0]["extra_data"]);
    assert!(
        extra.ends_with(authority.root.der()),
        "the chain is told up to the root"
    );
    let query = base64::encode(&leaf).replace('+', "%2B");
    let proof = read(
        &router,
        &format!("{CT}/get-proof-by-hash?hash={query}&tree_size=3"),
    )
    .await
    .json();
    let path: Vec<Hash> = proof["audit_path"]
        .as_array()
        .expect("a path")
        .iter()
        .map(|hash| bytes(hash).try_into().expect("32 bytes"))
        .collect();
    assert_eq!(proof["leaf_index"], 1);
    verify_inclusion(1, 3, &leaf, &path, &root).expect("included");

    let both = read(
        &router,
        &format!("{CT}/get-entry-and-proof?leaf_index=1&tree_size=3"),
    )
    .await
    .json();
    assert_eq!(
        (&both["leaf_input"], &both["audit_path"]),
        (&entries[0]["leaf_input"], &proof["audit_path"])
    );
    let consistency = read(
        &router,
        &format!("{CT}/get-sth-consistency?first=2&second=3"),
    )
    .await
    .json();
    let path: Vec<Hash> = consistency["consistency"]
        .as_array()
        .expect("a path")
        .iter()
        .map(|hash| bytes(hash).try_into().expect("32 bytes"))
        .collect();
    let first = read(&router, &format!("{CT}/get-entries?start=0&end=0"))
        .await
        .json();
    let first = leaf_hash(&bytes(&first["entries"][0]["leaf_input"]));
    let two = sealwright_tlog::hash::merkle_tree_hash(&[first, leaf]);
    verify_consistency(2, &two, 3, &root, &path).expect("extends");

    let roots = read(&router, &format!("{CT}/get-roots")).await.json();
    assert_eq!(bytes(&roots["certificates"][0]), authority.root.der());
}

#[tokio::test(flavor = "multi_thread")]
async fn static_readers_find_checkpoint_tiles_and_issuers() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let precertificate = fixture.authority.precertificate(1).await;
    let chain = fixture.authority.chain(precertificate.certificate());
    let timestamp = sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    let note = read(&router, "/ct/dev/checkpoint").await;
    let key = NoteKey::for_ct_log("log.example:7700/ct/dev", fixture.ct_key()).expect("a note key");
    let opened = Checkpoint::open(&note.body, key.name(), std::slice::from_ref(&key))
        .expect("signed by the log");
    assert_eq!(opened.checkpoint().size, 1);
    let data = read(&router, "/ct/dev/tile/data/000.p/1").await;
    let (leaf, rest) = ct::TileLeaf::parse(&data.body).expect("a leaf");
    assert!(rest.is_empty());
    assert_eq!(
        (leaf.time_ms, &leaf.extensions),
        (timestamp.timestamp_ms, &timestamp.extensions)
    );
    let hashes = read(&router, "/ct/dev/tile/0/000.p/1").await;
    assert_eq!(hashes.body, leaf.leaf_hash().expect("encodes"));
    for (fingerprint, certificate) in leaf.chain_fingerprints.iter().zip([
        fixture.authority.issuer.certificate(),
        &fixture.authority.root,
    ]) {
        let issuer = read(
            &router,
            &format!("/ct/dev/issuer/{}", hex::encode(fingerprint)),
        )
        .await;
        assert_eq!(
            (issuer.header("content-type"), issuer.body.as_slice()),
            ("application/pkix-cert", certificate.der())
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_that_make_no_sense_are_refused() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let precertificate = fixture.authority.precertificate(1).await;
    let chain = fixture.authority.chain(precertificate.certificate());
    sct(&post(&router, &format!("{CT}/add-pre-chain"), chain_json(&chain)).await);
    let unknown = base64::encode(&[1; 32]);
    for (question, status) in [
        ("get-entries".to_owned(), 400),
        ("get-entries?start=0".to_owned(), 400),
        ("get-entries?start=-1&end=0".to_owned(), 400),
        ("get-entries?start=1&end=0".to_owned(), 400),
        ("get-entries?start=1&end=1".to_owned(), 400),
        (
            "get-entries?start=0&end=18446744073709551615".to_owned(),
            200,
        ),
        ("get-proof-by-hash?hash=AAAA&tree_size=1".to_owned(), 400),
        (format!("get-proof-by-hash?hash={unknown}&tree_size=1"), 404),
        (format!("get-proof-by-hash?hash={unknown}&tree_size=0"), 400),
        (format!("get-proof-by-hash?hash={unknown}&tree_size=2"), 400),
        ("get-sth-consistency?first=0&second=1".to_owned(), 400),
        ("get-sth-consistency?first=1&second=2".to_owned(), 400),
        (
            "get-entry-and-proof?leaf_index=1&tree_size=1".to_owned(),
            400,
        ),
    ] {
        let answer = read(&router, &format!("{CT}/{question}")).await;
        assert_eq!(answer.status.as_u16(), status, "{question}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_logged_over_grpc_too() {
    let fixture = Fixture::new();
    let channel = grpc::memory_channel(&HostConfig::default(), fixture.open().await.router());
    let mut client = CertificateTransparencyClient::new(channel);
    let precertificate = fixture.authority.precertificate(1).await;
    let chain = fixture.authority.chain(precertificate.certificate());
    let request = ct_wire::AddChainRequest {
        log: String::new(),
        chain,
    };
    let given = client
        .add_pre_chain(request.clone())
        .await
        .expect("a timestamp")
        .into_inner();
    let again = client.add_pre_chain(request.clone()).await;
    assert_eq!(again.expect("the same timestamp").into_inner(), given);
    let timestamp = SignedCertificateTimestamp {
        log_id: given.log_id.as_slice().try_into().expect("32 bytes"),
        timestamp_ms: given.timestamp_ms,
        extensions: given.extensions,
        signature_algorithm: [4, 3],
        signature: given
            .signature
            .get(4..)
            .expect("a digitally-signed struct")
            .to_vec(),
    };
    precertificate
        .verify_timestamp(&timestamp, &fixture.ct_key())
        .expect("holds");
    let unnamed = ct_wire::AddChainRequest {
        log: "other".into(),
        ..request.clone()
    };
    let refused = client
        .add_pre_chain(unnamed)
        .await
        .expect_err("no such log");
    assert_eq!(refused.code(), tonic::Code::NotFound);
    let refused = client
        .add_chain(request)
        .await
        .expect_err("a precertificate is no certificate");
    assert_eq!(
        status::from_status(&refused).map(|(reason, _)| reason),
        Some(Reason::ChainNotAccepted)
    );
    let head = client
        .get_signed_tree_head(ct_wire::GetSignedTreeHeadRequest { log: "dev".into() })
        .await
        .expect("a head");
    assert_eq!(head.into_inner().tree_size, 1);
    let entries = ct_wire::GetEntriesRequest {
        log: String::new(),
        start: 0,
        end: 0,
    };
    let entry = client
        .get_entries(entries)
        .await
        .expect("entries")
        .into_inner()
        .entries
        .remove(0);
    let proof = ct_wire::GetProofByHashRequest {
        log: String::new(),
        leaf_hash: leaf_hash(&entry.leaf_input).to_vec(),
        tree_size: 1,
    };
    assert_eq!(
        client
            .get_proof_by_hash(proof)
            .await
            .expect("a proof")
            .into_inner()
            .leaf_index,
        0
    );
    let roots = client
        .get_roots(ct_wire::GetRootsRequest { log: String::new() })
        .await
        .expect("roots")
        .into_inner();
    assert_eq!(roots.certificates, [fixture.authority.root.der().to_vec()]);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_log_describes_itself_with_a_proof_of_its_key_and_not_in_public() {
    let fixture = Fixture::new();
    let logs = fixture.open().await;
    let challenge = vec![5; 32];
    let describe = DescribeRequest {
        challenge: challenge.clone(),
    };
    let private = grpc::memory_channel(&HostConfig::default(), logs.trust_material_router());
    let materials = TrustMaterialClient::new(private)
        .describe(describe.clone())
        .await
        .expect("described")
        .into_inner()
        .materials;
    let told: Vec<_> = materials
        .iter()
        .map(|one| (one.kind(), one.origin.as_str(), one.url.as_str()))
        .collect();
    let expected = [
        (
            MaterialKind::TransparencyLog,
            "log.example",
            "http://log.example:7700",
        ),
        (
            MaterialKind::CtLog,
            "log.example:7700/ct/dev",
            "http://log.example:7700/ct/dev",
        ),
    ];
    assert_eq!(told, expected);
    for material in &materials {
        let key = PublicKey::from_spki_der(&material.public_key).expect("a key");
        let message = material.proof_message(&challenge);
        key.verify(
            key.default_algorithm(),
            &message,
            &material.proof_of_possession,
        )
        .expect("the proof holds");
    }
    let public = grpc::memory_channel(&HostConfig::default(), logs.router());
    let refused = TrustMaterialClient::new(public)
        .describe(describe)
        .await
        .expect_err("not public");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_closed_to_the_public_takes_certificates_from_its_own_services_alone() {
    let mut fixture = Fixture::new();
    for (config, _) in &mut fixture.keys {
        config.public_submission = false;
    }
    let logs = fixture.open().await;
    let chain = fixture
        .authority
        .chain(fixture.authority.precertificate(3).await.certificate());
    let refused = post(
        &logs.router(),
        &format!("{CT}/add-pre-chain"),
        chain_json(&chain),
    )
    .await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    let request = ct_wire::AddChainRequest {
        log: String::new(),
        chain,
    };
    let client = |router| {
        CertificateTransparencyClient::new(grpc::memory_channel(&HostConfig::default(), router))
    };
    let refused = client(logs.router()).add_pre_chain(request.clone()).await;
    assert_eq!(
        refused.expect_err("not public").code(),
        tonic::Code::PermissionDenied
    );
    let roots = ct_wire::GetRootsRequest::default();
    client(logs.router())
        .get_roots(roots)
        .await
        .expect("reading is for everybody");
    client(logs.internal_router())
        .add_pre_chain(request)
        .await
        .expect("a timestamp");
}
