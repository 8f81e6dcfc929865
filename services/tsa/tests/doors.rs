//! Claims about the authority as its clients see it: every door, good input and bad.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::BodyExt;
use sealwright_crypto::{
    Algorithm, BoxFuture, Digest, KeyType, MemorySigner, PrivateKey, PublicKey, SignError, Signer,
    base64, sha256,
};
use sealwright_host::clock::{Discipline, ManualClock};
use sealwright_host::metrics::Registry;
use sealwright_host::run::HostConfig;
use sealwright_host::{Reason, grpc, status};
use sealwright_pki::authority::{self, AuthorityName, Envelope, Parent};
use sealwright_pki::timestamp::{
    Authority, Expectation, PkiFailureInfo, TimeStampReq, Timestamp, TimestampError, inspect,
    verify,
};
use sealwright_pki::{Certificate, Purpose, SerialNumber};
use sealwright_proto::sealwright::timestamp::v1::timestamp_authority_client::TimestampAuthorityClient;
use sealwright_proto::sealwright::timestamp::v1::{
    GetCertificateChainRequest, GetTimestampRequest,
};
use sealwright_proto::sealwright::trust::v1::trust_material_client::TrustMaterialClient;
use sealwright_proto::sealwright::trust::v1::{DescribeRequest, MaterialKind};
use sealwright_tsa::{
    ChainProblem, ClockPolicy, Config, Deps, Error, ExtensionRule, RejectionStatus, Tsa,
};
use tower::ServiceExt as _;

const NOW: i64 = 1_800_000_000;
const YEAR: i64 = 365 * 86_400;
const DATA: &[u8] = b"a signature";
const QUERY: &str = "application/timestamp-query";
const REPLY: &str = "application/timestamp-reply";

struct Fixture {
    state: tempfile::TempDir,
    clock: Arc<ManualClock>,
    chain: Vec<Certificate>,
    signer: MemorySigner,
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
        not_before: NOW - 1,
        not_after: NOW + YEAR,
    }
}

fn generate() -> PrivateKey {
    PrivateKey::generate(KeyType::EcP256).expect("a key")
}

impl Fixture {
    fn new() -> Self {
        let (root_key, issuer_key, key) = (generate(), generate(), generate());
        let root = authority::root(&root_key, &name("root"), 1, &envelope(1)).expect("a root");
        let above = Parent {
            certificate: &root,
            key: &root_key,
        };
        let subject = issuer_key.public_key();
        let issuer = authority::intermediate(
            subject,
            &name("issuer"),
            Purpose::TimeStamping,
            &envelope(2),
            above,
        )
        .expect("an issuer");
        let parent = Parent {
            certificate: &issuer,
            key: &issuer_key,
        };
        let leaf =
            authority::time_stamping_leaf(key.public_key(), &name("tsa"), &envelope(3), parent)
                .expect("a leaf");
        let state = tempfile::tempdir().expect("a folder");
        Self {
            state,
            clock: Arc::new(ManualClock::at(NOW)),
            chain: vec![leaf, issuer, root],
            signer: MemorySigner::new(key),
        }
    }

    fn deps(&self) -> Deps {
        Deps {
            clock: self.clock.clone(),
            registry: Registry::new(),
            state: self.state.path().to_owned(),
            signer: Arc::new(self.signer.clone()),
            chain: self.chain.clone(),
        }
    }

    async fn open(&self) -> Tsa {
        self.open_with(Config::default()).await
    }

    async fn open_with(&self, config: Config) -> Tsa {
        Tsa::open(config, self.deps()).await.expect("opens")
    }

    fn root(&self) -> &[Certificate] {
        self.chain.get(2..).expect("three certificates")
    }

    /// Verifies as a client that has the root alone.
    fn verify(&self, reply: &[u8]) -> Timestamp {
        let authority = Authority {
            roots: self.root(),
            intermediates: &[],
            signer: None,
        };
        verify(reply, &authority, &Expectation::over(DATA))
            .expect("verifies")
            .timestamp()
            .clone()
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

    fn json(&self) -> serde_json::Value {
        assert_eq!(self.header("content-type"), "application/json");
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

async fn ask(
    router: &Router,
    method: Method,
    path: &str,
    content_type: Option<&str>,
    body: impl Into<Body>,
) -> Answer {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(content_type) = content_type {
        request = request.header("content-type", content_type);
    }
    let response = router
        .clone()
        .oneshot(request.body(body.into()).expect("a request"))
        .await
        .expect("infallible");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes().to_vec();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

async fn post(router: &Router, content_type: &str, body: impl Into<Body>) -> Answer {
    ask(
        router,
        Method::POST,
        "/api/v1/timestamp",
        Some(content_type),
        body,
    )
    .await
}

fn query(nonce: &[u8]) -> Vec<u8> {
    TimeStampReq::sha256(&sha256(DATA), nonce).to_der()
}

/// The failure bit of a DER rejection.
fn failure(answer: &Answer) -> PkiFailureInfo {
    assert_eq!(answer.header("content-type"), REPLY);
    match inspect(&answer.body) {
        Err(TimestampError::NotGranted {
            status: 2,
            failure: Some(failure),
            ..
        }) => failure,
        other => panic!("not a rejection: {other:?}"),
    }
}

#[tokio::test]
async fn a_der_request_gets_a_token_that_verifies_with_the_root_alone() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let answer = post(
        &router,
        "Application/Timestamp-Query; charset=binary",
        query(&[0x42, 7]),
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.header("content-type"), REPLY);
    assert!(answer.header("cache-control").contains("no-store"));
    assert_eq!(answer.header("pragma"), "no-cache");
    assert_eq!(answer.header("x-accel-expires"), "0");
    let timestamp = fixture.verify(&answer.body);
    assert_eq!(
        (timestamp.gen_time, timestamp.nonce.as_deref()),
        (NOW, Some(&[0x42, 7][..]))
    );
    assert_eq!(timestamp.policy.to_string(), "1.3.6.1.4.1.32473.3161.1");
}

#[tokio::test]
async fn serial_numbers_are_positive_and_do_not_repeat() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let mut seen = std::collections::HashSet::new();
    for _ in 0..50 {
        let answer = post(&router, QUERY, query(&[1])).await;
        let serial = inspect(&answer.body).expect("granted").serial;
        assert!(serial.len() <= 20 && serial.first().is_some_and(|first| first & 0x80 == 0));
        assert!(seen.insert(serial));
    }
}

#[tokio::test]
async fn the_json_form_gets_der_and_no_certificates_unless_asked() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let hash = base64::encode(&sha256(DATA));
    let bare = format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256"}}"#);
    let answer = post(&router, "application/json", bare).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (StatusCode::OK, REPLY)
    );
    let [leaf, issuer, _] = fixture.chain.as_slice() else {
        panic!("three certificates")
    };
    let authority = Authority {
        roots: fixture.root(),
        intermediates: std::slice::from_ref(issuer),
        signer: Some(leaf),
    };
    verify(&answer.body, &authority, &Expectation::over(DATA))
        .expect("verifies with the chain of the trust root");
    let full = format!(
        r#"{{"artifactHash":"{hash}","hashAlgorithm":"SHA256","certificates":true,"nonce":300,"tsaPolicyOID":"1.3.6.1.4.1.57264.2"}}"#
    );
    let answer = post(&router, "application/json; charset=utf-8", full).await;
    let timestamp = fixture.verify(&answer.body);
    assert_eq!(timestamp.nonce.as_deref(), Some(&[1, 44][..]));
    assert_eq!(timestamp.policy.to_string(), "1.3.6.1.4.1.57264.2");
}

#[tokio::test]
async fn bad_der_is_rejected_in_der_with_an_error_status() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let good = query(&[1]);
    let replace = |from: &[u8], to: &[u8]| {
        let at = good
            .windows(from.len())
            .position(|window| window == from)
            .expect("present");
        [
            good.get(..at).expect("in range"),
            to,
            good.get(at + from.len()..).expect("in range"),
        ]
        .concat()
    };
    let sha256_oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01];
    let sha3_oid = [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x08];
    let policy = TimeStampReq {
        req_policy: Some("1.2.3.4".parse().expect("an identifier")),
        ..TimeStampReq::sha256(&[0; 32], &[1])
    };
    for (body, expected) in [
        (Vec::new(), PkiFailureInfo::BadDataFormat),
        (b"hello".to_vec(), PkiFailureInfo::BadDataFormat),
        (
            [good.as_slice(), b"x"].concat(),
            PkiFailureInfo::BadDataFormat,
        ),
        (
            replace(&[2, 1, 1, 0x30], &[2, 1, 2, 0x30]),
            PkiFailureInfo::BadRequest,
        ),
        (replace(&sha256_oid, &sha3_oid), PkiFailureInfo::BadAlg),
        (policy.to_der(), PkiFailureInfo::UnacceptedPolicy),
        (query(&[0x7f; 21]), PkiFailureInfo::BadRequest),
        (vec![0x30; 100_000], PkiFailureInfo::BadDataFormat),
    ] {
        let answer = post(&router, QUERY, body).await;
        assert_eq!(
            (answer.status, failure(&answer)),
            (StatusCode::BAD_REQUEST, expected)
        );
        assert!(answer.header("cache-control").contains("no-store"));
    }
}

fn with_extension(critical: bool) -> Vec<u8> {
    use sealwright_pki::asn1::{Writer, tag};
    let request = query(&[1]);
    let mut fields = sealwright_pki::asn1::only(&request, tag::SEQUENCE)
        .expect("a request")
        .value
        .to_vec();
    let mut extension = Writer::new();
    extension.nested(tag::context_constructed(0), |list| {
        list.sequence(|extension| {
            extension.oid(&"1.2.3.4".parse().expect("an identifier"));
            if critical {
                extension.boolean(true);
            }
            extension.octet_string(&[]);
        });
    });
    fields.extend(extension.finish());
    sealwright_pki::asn1::encode(tag::SEQUENCE, &fields)
}

#[tokio::test]
async fn extensions_are_refused_unless_they_may_be_passed_over() {
    let fixture = Fixture::new();
    let strict = fixture.open().await;
    for critical in [false, true] {
        let answer = post(&strict.router(), QUERY, with_extension(critical)).await;
        assert_eq!(failure(&answer), PkiFailureInfo::UnacceptedExtension);
    }
    drop(strict);
    let lenient = fixture
        .open_with(Config {
            extensions: ExtensionRule::Ignore,
            ..Config::default()
        })
        .await;
    assert_eq!(
        post(&lenient.router(), QUERY, with_extension(false))
            .await
            .status,
        StatusCode::OK
    );
    assert_eq!(
        failure(&post(&lenient.router(), QUERY, with_extension(true)).await),
        PkiFailureInfo::UnacceptedExtension
    );
}

#[tokio::test]
async fn extensions_are_repeated_in_the_token_where_that_is_the_rule() {
    let fixture = Fixture::new();
    let copying = fixture
        .open_with(Config {
            extensions: ExtensionRule::Copy,
            ..Config::default()
        })
        .await;
    let router = copying.router();
    let answer = post(&router, QUERY, with_extension(false)).await;
    assert_eq!(answer.status, StatusCode::OK);
    fixture.verify(&answer.body);
    // Extensions [1], one of them, 1.2.3.4, with an empty value.
    let repeated = [0xa1, 9, 0x30, 7, 6, 3, 0x2a, 3, 4, 4, 0];
    assert!(contains(&answer.body, &repeated));
    let plain = post(&router, QUERY, query(&[1])).await;
    assert!(!contains(&plain.body, &repeated));
    let one = [0x30, 7, 6, 3, 0x2a, 3, 4, 4, 0];
    for refused in [
        with_extension(true),
        with_extensions(&[one, one].concat()),
        with_extensions(
            &[
                &[0x30, 0x82, 4, 0, 6, 3, 0x2a, 3, 4, 4, 0x82, 3, 0xf7][..],
                &[0; 1015],
            ]
            .concat(),
        ),
    ] {
        let answer = post(&router, QUERY, refused).await;
        assert_eq!(failure(&answer), PkiFailureInfo::UnacceptedExtension);
    }
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A request with `list` as the content of its extensions.
fn with_extensions(list: &[u8]) -> Vec<u8> {
    use sealwright_pki::asn1::{encode, only, tag};
    let request = query(&[1]);
    let fields = only(&request, tag::SEQUENCE).expect("a request").value;
    let extensions = encode(tag::context_constructed(0), list);
    encode(tag::SEQUENCE, &[fields, &extensions].concat())
}

#[tokio::test]
async fn a_nonce_is_echoed_up_to_the_configured_length_in_every_form_of_request() {
    let fixture = Fixture::new();
    let config = Config {
        max_nonce: 32,
        ..Config::default()
    };
    let router = fixture.open_with(config).await.router();
    let answer = post(&router, QUERY, query(&[0x7f; 32])).await;
    assert_eq!(
        fixture.verify(&answer.body).nonce.as_deref(),
        Some(&[0x7f; 32][..])
    );
    let answer = post(&router, QUERY, query(&[0x7f; 33])).await;
    assert_eq!(failure(&answer), PkiFailureInfo::BadRequest);
    let hash = base64::encode(&sha256(DATA));
    // 2^255 needs 32 octets and the one that keeps it positive; 2^256 one more.
    for (nonce, status) in [
        (
            "57896044618658097711785492504343953926634992332820282019728792003956564819968",
            StatusCode::OK,
        ),
        (
            "115792089237316195423570985008687907853269984665640564039457584007913129639936",
            StatusCode::BAD_REQUEST,
        ),
    ] {
        let body =
            format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256","nonce":{nonce}}}"#);
        assert_eq!(post(&router, "application/json", body).await.status, status);
    }
}

#[tokio::test]
async fn a_negative_nonce_and_an_explicit_false_are_taken_and_echoed_in_der() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let imprint = {
        let request = query(&[1]);
        let fields = sealwright_pki::asn1::only(&request, 0x30).expect("a request");
        // Version, then the imprint of SHA-256 with NULL parameters: 51 octets.
        fields.value.get(..54).expect("long enough").to_vec()
    };
    let request = [imprint.as_slice(), &[2, 1, 0xfe], &[1, 1, 0]].concat();
    let answer = post(&router, QUERY, sealwright_pki::asn1::encode(0x30, &request)).await;
    let timestamp = inspect(&answer.body).expect("granted");
    assert_eq!(timestamp.nonce.as_deref(), Some(&[0xfe][..]));
    let imprint = imprint.get(3..).expect("long enough");
    assert!(contains(&answer.body, imprint), "repeated byte for byte");
    let leaf = fixture.chain.first().expect("a leaf").der();
    assert!(
        !contains(&answer.body, leaf),
        "no certificate was asked for"
    );
}

#[tokio::test]
async fn the_addresses_of_other_authorities_answer_too() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    for path in ["/", "/tsr", "/api/v1/timestamp"] {
        let answer = ask(&router, Method::POST, path, Some(QUERY), query(&[1])).await;
        assert_eq!(fixture.verify(&answer.body).gen_time, NOW, "{path}");
        let answer = ask(&router, Method::POST, path, Some(QUERY), "").await;
        assert_eq!(
            (answer.status, failure(&answer)),
            (StatusCode::BAD_REQUEST, PkiFailureInfo::BadDataFormat)
        );
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            let answer = ask(&router, method, path, None, "").await;
            assert_eq!(
                (answer.status, answer.header("allow")),
                (StatusCode::METHOD_NOT_ALLOWED, "POST")
            );
        }
    }
}

#[tokio::test]
async fn without_a_clock_that_the_kernel_vouches_for_no_time_is_given() {
    let fixture = Fixture::new();
    let config = Config {
        clock: ClockPolicy::Enforce,
        ..Config::default()
    };
    fixture.clock.set_discipline(Discipline::Unsynchronised);
    let tsa = fixture.open_with(config).await;
    let router = tsa.router();
    let answer = post(&router, QUERY, query(&[1])).await;
    assert_eq!(
        (answer.status, failure(&answer)),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            PkiFailureInfo::TimeNotAvailable
        )
    );
    assert_ne!(answer.header("retry-after"), "");
    let hash = base64::encode(&sha256(DATA));
    let json = format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256"}}"#);
    let answer = post(&router, "application/json", json).await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        answer.json()["details"][0]["metadata"]["failInfo"],
        "timeNotAvailable"
    );
    let mut client =
        TimestampAuthorityClient::new(grpc::memory_channel(&HostConfig::default(), router.clone()));
    let refused = client
        .get_timestamp(GetTimestampRequest { query: query(&[9]) })
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::Unavailable);
    // A report is kept for a moment, so each question gets a health of its own.
    let ready = async || {
        let health = sealwright_host::health::Health::new();
        health.register(tsa.checks());
        health.report().await.ready()
    };
    assert!(!ready().await);
    fixture.clock.set_discipline(Discipline::Synchronised {
        max_error: std::time::Duration::from_millis(3),
    });
    assert!(ready().await);
    fixture.verify(&post(&router, QUERY, query(&[1])).await.body);
}

#[tokio::test]
async fn a_rejection_can_be_told_to_travel_with_200() {
    let fixture = Fixture::new();
    let config = Config {
        rejection_status: RejectionStatus::Ok,
        ..Config::default()
    };
    let router = fixture.open_with(config).await.router();
    let answer = post(&router, QUERY, "garbage").await;
    assert_eq!(
        (answer.status, failure(&answer)),
        (StatusCode::OK, PkiFailureInfo::BadDataFormat)
    );
}

#[tokio::test]
async fn bad_json_is_refused_in_json_with_reason_and_failure() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    for (body, reason, failure) in [
        ("{", "TIMESTAMP_REQUEST_INVALID", "badDataFormat"),
        (
            r#"{"artifactHash":"AAAA","hashAlgorithm":"sha1"}"#,
            "HASH_NOT_ACCEPTED",
            "badAlg",
        ),
        (
            r#"{"artifactHash":"AAAA","hashAlgorithm":"sha256"}"#,
            "TIMESTAMP_REQUEST_INVALID",
            "badDataFormat",
        ),
    ] {
        let answer = post(&router, "application/json", body).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        let detail = answer.json()["details"][0].clone();
        assert_eq!(
            (&detail["reason"], &detail["metadata"]["failInfo"]),
            (&reason.into(), &failure.into())
        );
    }
    let hash = base64::encode(&sha256(DATA));
    let foreign =
        format!(r#"{{"artifactHash":"{hash}","hashAlgorithm":"sha256","tsaPolicyOID":"1.2.3"}}"#);
    let answer = post(&router, "application/json", foreign).await;
    assert_eq!(answer.json()["details"][0]["reason"], "POLICY_NOT_ACCEPTED");
}

#[tokio::test]
async fn bodies_beyond_their_caps_are_413() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let answer = post(&router, QUERY, vec![0; (1 << 20) + 1]).await;
    assert_eq!(
        (answer.status, &answer.json()["details"][0]["reason"]),
        (StatusCode::PAYLOAD_TOO_LARGE, &"REQUEST_TOO_LARGE".into())
    );
    let padded = format!("{{}}{}", " ".repeat(1024));
    let answer = post(&router, "application/json", padded).await;
    assert_eq!(answer.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(
        answer.json()["message"]
            .as_str()
            .is_some_and(|message| message.contains("1024"))
    );
}

#[tokio::test]
async fn other_types_and_methods_are_refused() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    for content_type in [
        None,
        Some("text/plain"),
        Some("application/timestamp-reply"),
    ] {
        let answer = ask(
            &router,
            Method::POST,
            "/api/v1/timestamp",
            content_type,
            query(&[1]),
        )
        .await;
        assert_eq!(answer.status, StatusCode::UNSUPPORTED_MEDIA_TYPE);
        assert_eq!(
            answer.json()["details"][0]["reason"],
            "UNSUPPORTED_MEDIA_TYPE"
        );
    }
    for (method, path, allow) in [
        (Method::GET, "/api/v1/timestamp", "POST"),
        (Method::PUT, "/api/v1/timestamp", "POST"),
        (Method::POST, "/api/v1/timestamp/certchain", "GET, HEAD"),
        (Method::DELETE, "/ping", "GET, HEAD"),
    ] {
        let answer = ask(&router, method, path, None, "").await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (StatusCode::METHOD_NOT_ALLOWED, allow)
        );
    }
}

#[tokio::test]
async fn the_chain_is_published_signer_first() {
    let fixture = Fixture::new();
    let router = fixture.open().await.router();
    let answer = ask(
        &router,
        Method::GET,
        "/api/v1/timestamp/certchain",
        None,
        "",
    )
    .await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.header("content-type"),
        "application/pem-certificate-chain"
    );
    assert_eq!(answer.header("cache-control"), "max-age=86400, immutable");
    let text = String::from_utf8(answer.body).expect("text");
    assert_eq!(
        sealwright_pki::parse_pem_chain(&text).expect("PEM"),
        fixture.chain
    );
    let answer = ask(&router, Method::GET, "/ping", None, "").await;
    assert_eq!(
        (answer.status, answer.body.as_slice()),
        (StatusCode::OK, &b"."[..])
    );
}

#[tokio::test]
async fn grpc_gives_the_same_answers_and_the_same_reasons() {
    let fixture = Fixture::new();
    let channel = grpc::memory_channel(&HostConfig::default(), fixture.open().await.router());
    let mut client = TimestampAuthorityClient::new(channel);
    let reply = client
        .get_timestamp(GetTimestampRequest { query: query(&[9]) })
        .await
        .expect("granted")
        .into_inner();
    assert_eq!(fixture.verify(&reply.reply).gen_time, NOW);
    let refused = client
        .get_timestamp(GetTimestampRequest { query: vec![1] })
        .await
        .expect_err("refused");
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    let (reason, info) = status::from_status(&refused).expect("details of ours");
    assert_eq!(reason, Reason::TimestampRequestInvalid);
    assert_eq!(
        info.metadata.get("failInfo").map(String::as_str),
        Some("badDataFormat")
    );
    let oversized = GetTimestampRequest {
        query: vec![0; (1 << 20) + 1],
    };
    let refused = client.get_timestamp(oversized).await.expect_err("refused");
    assert_eq!(
        status::from_status(&refused).map(|(reason, _)| reason),
        Some(Reason::RequestTooLarge)
    );
    let chain = client
        .get_certificate_chain(GetCertificateChainRequest {})
        .await
        .expect("a chain")
        .into_inner();
    assert_eq!(
        chain.certificates,
        fixture
            .chain
            .iter()
            .map(|c| c.der().to_vec())
            .collect::<Vec<_>>()
    );
}

#[tokio::test]
async fn the_authority_describes_itself_with_a_proof_of_its_key_and_not_in_public() {
    let fixture = Fixture::new();
    let config = Config {
        operator: "example.com".to_owned(),
        ..Config::default()
    };
    let tsa = fixture.open_with(config).await;
    let challenge = vec![5; 32];
    let private = grpc::memory_channel(&HostConfig::default(), tsa.trust_material_router());
    let describe = DescribeRequest {
        challenge: challenge.clone(),
    };
    let materials = TrustMaterialClient::new(private.clone())
        .describe(describe.clone())
        .await
        .expect("described")
        .into_inner()
        .materials;
    let [material] = materials.as_slice() else {
        panic!("one material")
    };
    assert_eq!(
        (material.kind(), material.operator.as_str()),
        (MaterialKind::TimestampAuthority, "example.com")
    );
    assert_eq!(material.url, "http://127.0.0.1:7700/api/v1/timestamp");
    let key = PublicKey::from_spki_der(&material.public_key).expect("a key");
    let (message, proof) = (
        material.proof_message(&challenge),
        &material.proof_of_possession,
    );
    key.verify(Algorithm::EcdsaP256Sha256, &message, proof)
        .expect("the proof holds");
    assert!(
        key.verify(
            Algorithm::EcdsaP256Sha256,
            &material.proof_message(&[6; 32]),
            proof
        )
        .is_err()
    );
    let short = DescribeRequest { challenge: vec![1] };
    assert_eq!(
        TrustMaterialClient::new(private)
            .describe(short)
            .await
            .expect_err("refused")
            .code(),
        tonic::Code::InvalidArgument
    );
    let public = grpc::memory_channel(&HostConfig::default(), tsa.router());
    let refused = TrustMaterialClient::new(public)
        .describe(describe)
        .await
        .expect_err("not public");
    assert_eq!(refused.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn gen_time_does_not_go_backwards_over_a_restart() {
    let fixture = Fixture::new();
    let tsa = fixture.open().await;
    fixture.clock.advance(100);
    let answer = post(&tsa.router(), QUERY, query(&[1])).await;
    assert_eq!(inspect(&answer.body).expect("granted").gen_time, NOW + 100);
    // As after SIGKILL: nothing is said on the way out. Then somebody sets the clock back by a minute.
    drop(tsa);
    fixture.clock.advance(-60);
    let tsa = fixture.open().await;
    let answer = post(&tsa.router(), QUERY, query(&[1])).await;
    assert_eq!(
        (answer.status, failure(&answer)),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            PkiFailureInfo::TimeNotAvailable
        )
    );
    assert_eq!(answer.header("retry-after"), "60");
    fixture.clock.advance(59);
    let answer = post(&tsa.router(), QUERY, query(&[1])).await;
    assert_eq!(
        inspect(&answer.body).expect("granted").gen_time,
        NOW + 100,
        "within the accuracy, the last time again"
    );
}

#[tokio::test]
async fn an_expired_chain_stamps_nothing_and_is_not_ready() {
    let fixture = Fixture::new();
    let tsa = fixture.open().await;
    fixture.clock.advance(YEAR + 1);
    let answer = post(&tsa.router(), QUERY, query(&[1])).await;
    assert_eq!(
        (answer.status, failure(&answer)),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            PkiFailureInfo::SystemFailure
        )
    );
    let health = sealwright_host::health::Health::new();
    health.register(tsa.checks());
    let report = health.report().await;
    let failed: Vec<_> = report
        .checks
        .iter()
        .filter(|finding| !finding.ok)
        .map(|finding| finding.name.as_str())
        .collect();
    assert_eq!(failed, ["tsa.certificate"]);
}

/// A key elsewhere, which signs once and then cannot be reached.
#[derive(Debug)]
struct FlakySigner {
    inner: MemorySigner,
    left: std::sync::atomic::AtomicU32,
}

impl Signer for FlakySigner {
    fn public_key(&self) -> &PublicKey {
        self.inner.public_key()
    }

    fn algorithm(&self) -> Algorithm {
        self.inner.algorithm()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        let left = self.left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
        if left == 0 {
            return Box::pin(async {
                Err(SignError::Unavailable {
                    detail: "no answer from 10.0.0.1".to_owned(),
                })
            });
        }
        self.inner.sign(message)
    }

    fn sign_digest<'a>(&'a self, digest: &'a Digest) -> BoxFuture<'a, Result<Vec<u8>, SignError>> {
        self.inner.sign_digest(digest)
    }
}

#[tokio::test]
async fn a_signer_that_cannot_be_reached_is_a_system_failure_to_retry() {
    let fixture = Fixture::new();
    let inner = fixture.signer.clone();
    let signer = Arc::new(FlakySigner {
        inner,
        left: 1.into(),
    });
    let tsa = Tsa::open(
        Config::default(),
        Deps {
            signer,
            ..fixture.deps()
        },
    )
    .await
    .expect("opens");
    let answer = post(&tsa.router(), QUERY, query(&[1])).await;
    assert_eq!(
        (answer.status, failure(&answer)),
        (
            StatusCode::SERVICE_UNAVAILABLE,
            PkiFailureInfo::SystemFailure
        )
    );
    assert_eq!(answer.header("retry-after"), "1");
    assert!(
        !answer.body.windows(8).any(|window| window == b"10.0.0.1"),
        "internals stay inside"
    );
}

#[tokio::test]
async fn a_chain_that_verifiers_would_refuse_does_not_start() {
    let fixture = Fixture::new();
    let [leaf, issuer, root] = fixture.chain.as_slice() else {
        panic!("three certificates")
    };
    let open = async |chain: Vec<Certificate>| {
        Tsa::open(
            Config::default(),
            Deps {
                chain,
                ..fixture.deps()
            },
        )
        .await
    };
    let problem = |outcome: Result<Tsa, Error>| match outcome {
        Err(Error::Chain(problem)) => problem,
        other => panic!("must not start: {other:?}"),
    };
    let alone = problem(open(vec![leaf.clone()]).await);
    assert!(matches!(alone, ChainProblem::TooShort { found: 1 }));
    let reversed = problem(open(vec![root.clone(), issuer.clone(), leaf.clone()]).await);
    assert!(matches!(reversed, ChainProblem::Pki(_)));
    let gap = problem(open(vec![leaf.clone(), root.clone()]).await);
    assert!(matches!(gap, ChainProblem::Pki(_)));
    let stranger = Deps {
        signer: Arc::new(MemorySigner::new(generate())),
        ..fixture.deps()
    };
    let other_key = problem(Tsa::open(Config::default(), stranger).await);
    assert!(matches!(other_key, ChainProblem::OtherKey));
    fixture.clock.advance(2 * YEAR);
    assert!(
        matches!(
            problem(open(fixture.chain.clone()).await),
            ChainProblem::Pki(_)
        ),
        "expired"
    );
}

#[tokio::test]
async fn key_and_chain_are_read_from_the_configured_files() {
    let fixture = Fixture::new();
    let folder: &Path = fixture.state.path();
    std::fs::write(
        folder.join("tsa.key"),
        fixture.signer.private_key().to_pkcs8_pem().as_bytes(),
    )
    .expect("writable");
    std::fs::write(
        folder.join("chain.pem"),
        sealwright_pki::pem_chain(&fixture.chain),
    )
    .expect("writable");
    let text = "key = \"file:tsa.key\"\nchain = \"chain.pem\"\n";
    let config: Config = sealwright_host::config::parse(text, "test").expect("valid");
    let (signer, chain) = config.load_signer(folder).expect("readable");
    assert_eq!(chain, fixture.chain);
    Tsa::open(
        config,
        Deps {
            signer,
            chain,
            ..fixture.deps()
        },
    )
    .await
    .expect("opens");
    assert!(matches!(
        Config::default().load_signer(folder),
        Err(Error::Config { key: "key", .. })
    ));
}
