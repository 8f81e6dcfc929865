//! The listener on real sockets: what clients get, and what hostile clients cannot do.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use sealwright_host::health::Check;
use sealwright_host::run::{Drained, HostConfig, HostError, Limits, Running, Server};
use sealwright_host::tls::TlsConfig;
use sealwright_host::{Reason, ServiceError, grpc, http as host_http, status, telemetry};
use sealwright_proto::sealwright::timestamp::v1 as wire;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use wire::timestamp_authority_client::TimestampAuthorityClient;
use wire::timestamp_authority_server::{TimestampAuthority, TimestampAuthorityServer};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

// ---- the service under the listener ------------------------------------------------------------------------------

#[derive(Clone)]
struct Stamp;

#[tonic::async_trait]
impl TimestampAuthority for Stamp {
    async fn get_timestamp(
        &self,
        request: tonic::Request<wire::GetTimestampRequest>,
    ) -> Result<tonic::Response<wire::GetTimestampResponse>, tonic::Status> {
        match request.get_ref().query.as_slice() {
            b"" => Err(ServiceError::new(Reason::HashNotAccepted, "Use SHA-256")
                .with_internal("inside")
                .into()),
            b"panic" => panic!("a secret text"),
            // Answers with what an outgoing call would carry.
            b"trace" => {
                let mut outgoing = HeaderMap::new();
                telemetry::inject(&mut outgoing);
                let reply = outgoing
                    .get("traceparent")
                    .map(|value| value.as_bytes().to_vec())
                    .unwrap_or_default();
                Ok(tonic::Response::new(wire::GetTimestampResponse { reply }))
            }
            query => Ok(tonic::Response::new(wire::GetTimestampResponse {
                reply: query.to_vec(),
            })),
        }
    }

    async fn get_certificate_chain(
        &self,
        _request: tonic::Request<wire::GetCertificateChainRequest>,
    ) -> Result<tonic::Response<wire::GetCertificateChainResponse>, tonic::Status> {
        std::future::pending().await
    }
}

async fn echo(request: Request) -> Result<String, ServiceError> {
    let (parts, body) = request.into_parts();
    let body = host_http::read_body(&parts.headers, body, 1 << 20).await?;
    Ok(format!("{} bytes", body.len()))
}

async fn outgoing() -> String {
    let mut headers = HeaderMap::new();
    telemetry::inject(&mut headers);
    headers
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_owned()
}

async fn panics() -> &'static str {
    panic!("a secret text")
}

async fn slow() -> &'static str {
    sleep(Duration::from_millis(400)).await;
    "slow"
}

fn service() -> Router {
    let refuse = || async {
        Err::<(), _>(
            ServiceError::new(Reason::TokenExpired, "The token is old").with_internal("inside"),
        )
    };
    let http = Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/echo", post(echo))
        .route("/outgoing", get(outgoing))
        .route("/panic", get(panics))
        .route("/refuse", get(refuse))
        .route(
            "/typed",
            post(|axum::Json(_): axum::Json<Vec<u32>>| async { "typed" }),
        )
        .route(
            "/stuck",
            get(|| async { std::future::pending::<&'static str>().await }),
        )
        .route("/large", get(|| async { vec![b'x'; 8 << 20] }))
        .route("/slow", get(slow));
    grpc::mount(http, TimestampAuthorityServer::new(Stamp))
}

fn config(limits: Limits) -> HostConfig {
    HostConfig {
        listen: vec![([127, 0, 0, 1], 0).into()],
        limits,
        ..HostConfig::default()
    }
}

fn start(limits: Limits) -> (Running, SocketAddr) {
    let server = Server::bind(&config(limits)).expect("a free port");
    let address = server.address();
    (server.start(service()), address)
}

fn brief() -> Limits {
    let quick = Duration::from_millis(200);
    Limits {
        header_timeout: quick,
        body_timeout: quick,
        write_timeout: quick,
        idle_timeout: quick,
        ..Limits::default()
    }
}

// ---- clients -----------------------------------------------------------------------------------------------------

fn client() -> reqwest::Client {
    let _ = sealwright_host::tls::provider();
    reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("an HTTP client")
}

async fn stamp(address: SocketAddr) -> TimestampAuthorityClient<tonic::transport::Channel> {
    let channel =
        grpc::channel(&format!("http://{address}"), Duration::from_secs(5)).expect("a base URL");
    TimestampAuthorityClient::new(channel)
}

/// Sends bytes as they are and reads until the server closes; fails the test if it does not within five seconds.
async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.expect("connects");
    stream.write_all(bytes).await.expect("writes");
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer));
    // A reset after the answer is as good as an end.
    let _ = read.await.expect("the server closes");
    String::from_utf8_lossy(&answer).into_owned()
}

async fn envelope(response: reqwest::Response) -> Value {
    let value: Value = response.json().await.expect("JSON");
    assert_eq!(
        value["details"][0]["@type"], "type.googleapis.com/google.rpc.ErrorInfo",
        "{value}"
    );
    assert!(
        value["code"].is_i64() && value["message"].is_string(),
        "{value}"
    );
    value
}

fn reason(envelope: &Value) -> &str {
    envelope["details"][0]["reason"].as_str().expect("a reason")
}

// ---- ordinary service --------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http1_http2_and_grpc_share_one_port() {
    let (running, address) = start(Limits::default());
    let http1 = client()
        .get(format!("http://{address}/hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (http1.version(), http1.text().await.unwrap().as_str()),
        (http::Version::HTTP_11, "hello")
    );
    let prior = reqwest::Client::builder()
        .no_proxy()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    let http2 = prior
        .get(format!("http://{address}/hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (http2.version(), http2.text().await.unwrap().as_str()),
        (http::Version::HTTP_2, "hello")
    );
    let reply = stamp(address)
        .await
        .get_timestamp(wire::GetTimestampRequest {
            query: b"q".to_vec(),
        })
        .await
        .unwrap();
    assert_eq!(reply.into_inner().reply, b"q");
    assert_eq!(running.drain().await, Drained::Clean);
}

#[tokio::test]
async fn a_request_names_exactly_one_host() {
    let (_running, address) = start(Limits::default());
    for (hosts, status) in [
        ("", "400"),
        ("host: a\r\nhost: a\r\n", "400"),
        ("host: a\r\nHost: b\r\n", "400"),
        ("host: a\r\n", "404"),
    ] {
        let request = format!("GET /nowhere HTTP/1.1\r\n{hosts}connection: close\r\n\r\n");
        let answer = raw(address, request.as_bytes()).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{hosts:?}: {answer}"
        );
        assert!(
            status == "404" || answer.contains("MALFORMED_REQUEST"),
            "{answer}"
        );
    }
    let old = raw(address, b"GET /nowhere HTTP/1.0\r\n\r\n").await;
    assert!(old.starts_with("HTTP/1.0 404"), "{old}");
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let (_running, address) = start(Limits::default());
    let taken = HostConfig {
        listen: vec![address],
        ..HostConfig::default()
    };
    let error = Server::bind(&taken).expect_err("taken");
    assert!(
        matches!(error, HostError::Bind { address: named, .. } if named == address),
        "{error}"
    );
    assert!(matches!(
        Server::bind(&config(Limits {
            max_body: 0,
            ..Limits::default()
        })),
        Err(HostError::ZeroLimit("max_body"))
    ));
}

#[tokio::test]
async fn health_is_told_over_http_and_grpc() {
    let server = Server::bind(&config(Limits::default())).unwrap();
    let address = server.address();
    server
        .health()
        .register([Check::new("log.storage", || async {
            Err("disk full".to_owned())
        })]);
    let _running = server.start(service());
    let live = client()
        .get(format!("http://{address}/healthz"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (live.status(), live.text().await.unwrap().as_str()),
        (StatusCode::OK, r#"{"status":"SERVING"}"#)
    );
    let ready = client()
        .get(format!("http://{address}/readyz"))
        .send()
        .await
        .unwrap();
    assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
    let report: Value = ready.json().await.unwrap();
    assert_eq!(
        (&report["checks"][0]["name"], &report["checks"][0]["detail"]),
        (&"log.storage".into(), &"disk full".into())
    );
    let posted = client()
        .post(format!("http://{address}/healthz"))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (posted.status(), posted.headers()["allow"].to_str().unwrap()),
        (StatusCode::METHOD_NOT_ALLOWED, "GET, HEAD")
    );

    let channel = grpc::channel(&format!("http://{address}"), Duration::from_secs(5)).unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let question = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    let answer = health.check(question).await.unwrap().into_inner();
    assert_eq!(
        answer.status,
        tonic_health::pb::health_check_response::ServingStatus::NotServing as i32
    );
}

#[tokio::test]
async fn every_refusal_has_the_envelope_and_the_request_id() {
    let (_running, address) = start(Limits::default());
    let url = |path: &str| format!("http://{address}{path}");
    let cases = [
        (client().get(url("/nowhere")), 404, "NOT_FOUND"),
        (client().post(url("/hello")), 405, "METHOD_NOT_ALLOWED"),
        (client().get(url("/refuse")), 401, "TOKEN_EXPIRED"),
        (client().get(url("/panic")), 500, "INTERNAL"),
        (
            client().post(url("/echo")).body(vec![0; (1 << 20) + 1]),
            413,
            "REQUEST_TOO_LARGE",
        ),
        (
            client().post(url("/echo")).body(vec![0; (4 << 20) + 1]),
            413,
            "REQUEST_TOO_LARGE",
        ),
        (
            client().post(url("/typed")).body("[1"),
            415,
            "UNSUPPORTED_MEDIA_TYPE",
        ),
        (
            client()
                .post(url("/typed"))
                .header("content-type", "application/json")
                .body("[1"),
            400,
            "MALFORMED_REQUEST",
        ),
    ];
    for (request, status, expected) in cases {
        let response = request
            .header("x-request-id", "call-7")
            .send()
            .await
            .unwrap();
        assert_eq!(response.status().as_u16(), status, "{expected}");
        assert_eq!(response.headers()["x-request-id"], "call-7");
        assert_eq!(response.headers()["content-type"], "application/json");
        let envelope = envelope(response).await;
        assert_eq!(reason(&envelope), expected);
        assert_eq!(envelope["details"][0]["metadata"]["requestId"], "call-7");
        let text = envelope.to_string();
        assert!(
            !text.contains("secret") && !text.contains("inside"),
            "{text}"
        );
    }
    let wrong = client().post(url("/hello")).send().await.unwrap();
    assert!(wrong.headers()["allow"].to_str().unwrap().contains("GET"));
    assert_eq!(wrong.headers()["x-request-id"].len(), 32);
}

#[tokio::test]
async fn grpc_refusals_come_back_typed() {
    let (_running, address) = start(Limits::default());
    let mut client = stamp(address).await;
    let refused = client
        .get_timestamp(wire::GetTimestampRequest { query: Vec::new() })
        .await
        .expect_err("refused");
    let (why, info) = status::from_status(&refused).expect("details");
    assert_eq!(
        (refused.code(), why),
        (tonic::Code::InvalidArgument, Reason::HashNotAccepted)
    );
    assert!(info.metadata.contains_key("requestId") && !format!("{refused:?}").contains("inside"));

    let panicked = client
        .get_timestamp(wire::GetTimestampRequest {
            query: b"panic".to_vec(),
        })
        .await
        .expect_err("panics");
    assert_eq!(panicked.code(), tonic::Code::Internal);
    assert!(!format!("{panicked:?}").contains("secret"));

    let large = client
        .get_timestamp(wire::GetTimestampRequest {
            query: vec![0; 5 << 20],
        })
        .await
        .expect_err("too large");
    assert_eq!(
        status::from_status(&large).map(|(why, _)| why),
        Some(Reason::RequestTooLarge),
        "{large:?}"
    );

    // A service that is not mounted at all.
    let channel = grpc::channel(&format!("http://{address}"), Duration::from_secs(5)).unwrap();
    let mut other = sealwright_proto::sealwright::ct::v1::certificate_transparency_client::CertificateTransparencyClient::new(channel);
    let unknown = other
        .get_roots(sealwright_proto::sealwright::ct::v1::GetRootsRequest::default())
        .await
        .expect_err("unknown");
    assert_eq!(unknown.code(), tonic::Code::Unimplemented);
}

#[tokio::test]
async fn a_callers_deadline_shortens_ours() {
    let (_running, address) = start(Limits::default());
    let mut request = tonic::Request::new(wire::GetCertificateChainRequest {});
    request.set_timeout(Duration::from_millis(100));
    let began = Instant::now();
    let refused = stamp(address)
        .await
        .get_certificate_chain(request)
        .await
        .expect_err("never answered");
    // The client's own clock may be first; both say the same.
    assert!(
        matches!(
            refused.code(),
            tonic::Code::DeadlineExceeded | tonic::Code::Cancelled
        ),
        "{refused:?}"
    );
    assert!(began.elapsed() < Duration::from_secs(3));
}

#[tokio::test]
async fn trace_context_passes_through_http_and_grpc() {
    let (_running, address) = start(Limits::default());
    let seen = client()
        .get(format!("http://{address}/outgoing"))
        .header("traceparent", PARENT)
        .send()
        .await
        .unwrap();
    let seen = seen.text().await.unwrap();
    assert_eq!(
        telemetry::TraceContext::parse(&seen)
            .unwrap()
            .trace_id_hex(),
        "4bf92f3577b34da6a3ce929d0e0e4736"
    );
    let mut request = tonic::Request::new(wire::GetTimestampRequest {
        query: b"trace".to_vec(),
    });
    request
        .metadata_mut()
        .insert("traceparent", PARENT.parse().unwrap());
    let seen = stamp(address)
        .await
        .get_timestamp(request)
        .await
        .unwrap()
        .into_inner()
        .reply;
    let seen = telemetry::TraceContext::parse(std::str::from_utf8(&seen).unwrap()).unwrap();
    assert_eq!(seen.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
    // Without a caller's context there is a new one, and it is valid.
    let made = client()
        .get(format!("http://{address}/outgoing"))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    assert!(telemetry::TraceContext::parse(&made).is_some());
}

#[tokio::test]
async fn an_in_memory_channel_reaches_the_router_and_nothing_else_does() {
    let channel = grpc::memory_channel(&HostConfig::default(), service());
    let mut client =
        TimestampAuthorityClient::with_interceptor(channel, telemetry::TraceInterceptor);
    let context = HeaderMap::from_iter([("traceparent".parse().unwrap(), PARENT.parse().unwrap())]);
    let call = client.get_timestamp(wire::GetTimestampRequest {
        query: b"trace".to_vec(),
    });
    let reply = telemetry::scope(telemetry::RequestContext::from_headers(&context), call)
        .await
        .unwrap();
    assert!(
        String::from_utf8(reply.into_inner().reply)
            .unwrap()
            .contains("4bf92f3577b34da6a3ce929d0e0e4736")
    );
}

#[tokio::test]
async fn metrics_count_by_route_and_never_by_what_strangers_send() {
    let (running, address) = start(Limits::default());
    for path in ["/hello", "/hello", "/stranger-1", "/stranger-2", "/refuse"] {
        client()
            .get(format!("http://{address}{path}"))
            .send()
            .await
            .unwrap();
    }
    stamp(address)
        .await
        .get_timestamp(wire::GetTimestampRequest {
            query: b"q".to_vec(),
        })
        .await
        .unwrap();
    let metrics =
        sealwright_host::metrics::listen(running.registry(), ([127, 0, 0, 1], 0).into()).unwrap();
    let text = client()
        .get(format!("http://{}/metrics", metrics.addresses()[0]))
        .send()
        .await
        .unwrap()
        .text()
        .await
        .unwrap();
    let counted = |labels: &str| {
        text.lines()
            .find(|line| line.contains(labels))
            .unwrap_or_default()
            .to_owned()
    };
    assert!(
        counted(r#"http_requests_total{route="/hello",method="GET",code="200""#).ends_with(" 2"),
        "{text}"
    );
    assert!(
        counted(r#"http_requests_total{route="none",method="GET",code="404""#).ends_with(" 2"),
        "{text}"
    );
    assert!(
        counted(r#"reason="TOKEN_EXPIRED""#).ends_with(" 1"),
        "{text}"
    );
    assert!(
        text.contains(r#"route="/sealwright.timestamp.v1.TimestampAuthority/GetTimestamp""#),
        "{text}"
    );
    assert!(!text.contains("stranger"), "{text}");
}

// ---- hostile clients ---------------------------------------------------------------------------------------------

#[tokio::test]
async fn a_half_sent_head_is_cut_off() {
    let (_running, address) = start(brief());
    let began = Instant::now();
    raw(address, b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-le").await;
    raw(address, b"").await;
    raw(address, b"PRI * HTTP/2.0\r\n\r\nSM").await;
    raw(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test]
async fn a_half_sent_body_is_answered_and_cut_off() {
    let (running, address) = start(brief());
    let answer = raw(
        address,
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n12345",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 408 ") && answer.contains("REQUEST_TIMEOUT"),
        "{answer}"
    );
    let chunked = raw(
        address,
        b"POST /echo HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n12",
    )
    .await;
    assert!(chunked.starts_with("HTTP/1.1 408 "), "{chunked}");
    assert_eq!(running.drain().await, Drained::Clean);
}

#[tokio::test]
async fn a_declared_giant_is_refused_before_it_is_sent() {
    let (_running, address) = start(Limits::default());
    let answer = raw(
        address,
        b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999999\r\n\r\n1",
    )
    .await;
    assert!(
        answer.starts_with("HTTP/1.1 413 ") && answer.contains("4194304 bytes"),
        "{answer}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_sends_too_much_still_learns_why() {
    let (_running, address) = start(Limits::default());
    for round in 0..20 {
        let chunks =
            futures::stream::iter((0..200).map(|_| Ok::<_, std::io::Error>(vec![0_u8; 64 << 10])));
        let bodies = [
            reqwest::Body::from(vec![0; 12 << 20]),
            reqwest::Body::wrap_stream(chunks),
        ];
        for body in bodies {
            let answer = client()
                .post(format!("http://{address}/echo"))
                .body(body)
                .send()
                .await;
            let answer = answer.unwrap_or_else(|error| panic!("round {round}: {error:?}"));
            assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
        }
    }
}

#[tokio::test]
async fn garbage_and_giant_heads_are_refused() {
    let (_running, address) = start(brief());
    assert!(
        raw(
            address,
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"
        )
        .await
        .starts_with("HTTP/1.1 400")
    );
    for (sent, reason) in [
        (
            &b"GET / HTTP/1.1\r\nhost: x\r\nno colon\r\n\r\n"[..],
            "MALFORMED_REQUEST",
        ),
        (
            b"GET /hello HTTP/9.9\r\nhost: x\r\n\r\n",
            "MALFORMED_REQUEST",
        ),
        (b"G\x00T / HTTP/1.1\r\n\r\n", "MALFORMED_REQUEST"),
    ] {
        let answer = raw(address, sent).await;
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        let body: Value = serde_json::from_str(body).expect("JSON");
        assert!(head.starts_with("HTTP/1.1 400 "), "{answer}");
        let detail = &body["details"][0];
        assert_eq!(detail["reason"], reason, "{answer}");
        let id = detail["metadata"]["requestId"].as_str().expect("an id");
        assert!(head.contains(&format!("x-request-id: {id}")), "{answer}");
    }
    let mut giant = b"GET /hello HTTP/1.1\r\nhost: x\r\nx: ".to_vec();
    giant.resize(200 << 10, b'a');
    giant.extend_from_slice(b"\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.unwrap();
    // The server may stop reading before all is written.
    let _ = stream.write_all(&giant).await;
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .expect("closed");
    let answer = String::from_utf8_lossy(&answer);
    assert!(
        answer.is_empty()
            || answer.starts_with("HTTP/1.1 431") && answer.contains("REQUEST_TOO_LARGE"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_refusal_by_the_parser_after_an_answer_has_the_envelope_too() {
    let (_running, address) = start(Limits::default());
    let mut stream = TcpStream::connect(address).await.unwrap();
    let first = b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n";
    stream.write_all(first).await.unwrap();
    let mut answer = vec![0; 4096];
    let read = stream.read(&mut answer).await.unwrap();
    assert!(answer[..read].ends_with(b"hello"));
    stream.write_all(b"no HTTP at all\r\n\r\n").await.unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).await.unwrap();
    assert!(
        rest.starts_with("HTTP/1.1 400") && rest.contains("MALFORMED_REQUEST"),
        "{rest}"
    );
}

// ---- what one address may take -----------------------------------------------------------------------------------

#[tokio::test]
async fn an_address_beyond_its_rate_is_told_when_to_come_back() {
    let limits = Limits {
        requests_per_second: 1,
        request_burst: 2,
        ..Limits::default()
    };
    let server = Server::bind(&HostConfig {
        trusted_proxies: trusted("127.0.0.1"),
        ..config(limits)
    });
    let server = server.expect("a free port");
    let address = server.address();
    let _running = server.start(service());
    let ask = async |path: &str, client_address: &str| {
        let request = client().get(format!("http://{address}{path}"));
        let request = request.header("x-forwarded-for", client_address);
        request.send().await.unwrap()
    };
    for _ in 0..2 {
        assert_eq!(ask("/hello", "192.0.2.1").await.status(), StatusCode::OK);
    }
    let refused = ask("/hello", "192.0.2.1").await;
    assert_eq!(refused.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(refused.headers()["retry-after"], "1");
    let envelope = envelope(refused).await;
    assert_eq!(reason(&envelope), "RATE_LIMITED");
    assert!(
        envelope["details"][1]["retryDelay"].is_string(),
        "{envelope}"
    );
    assert_eq!(ask("/healthz", "192.0.2.1").await.status(), StatusCode::OK);
    assert_eq!(ask("/hello", "192.0.2.2").await.status(), StatusCode::OK);

    // The same, said in gRPC; this client is the proxy itself.
    let mut stamp = stamp(address).await;
    let query = wire::GetTimestampRequest { query: vec![1] };
    for _ in 0..2 {
        stamp.get_timestamp(query.clone()).await.expect("taken");
    }
    let refused = stamp.get_timestamp(query).await.expect_err("too many");
    assert_eq!(refused.code(), tonic::Code::ResourceExhausted);
    assert!(refused.metadata().contains_key("retry-after"));
    let (why, _) = status::from_status(&refused).expect("details");
    assert_eq!(why, Reason::RateLimited);
}

/// `trusted_proxies`, read as the configuration reads it.
fn trusted(network: &str) -> sealwright_host::run::Networks {
    let text = format!("trusted_proxies = [\"{network}\"]");
    let parsed: HostConfig = sealwright_host::config::parse(&text, "test").expect("a network");
    parsed.trusted_proxies
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_holds_all_it_may_locks_out_nobody_else() {
    let limits = Limits {
        max_connections: 64,
        max_connections_per_address: 16,
        ..Limits::default()
    };
    let (_running, address) = start(limits);
    let mut crowd = Vec::new();
    for _ in 0..100 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    let mut closed = 0;
    for stream in &mut crowd {
        let read = timeout(Duration::from_millis(20), stream.read(&mut [0])).await;
        closed += usize::from(matches!(read, Ok(Ok(0) | Err(_))));
    }
    assert!(closed >= 84, "{closed} of 100 were closed at once");
    let elsewhere = reqwest::Client::builder()
        .no_proxy()
        .local_address(std::net::IpAddr::from([127, 0, 0, 9]))
        .build()
        .unwrap();
    let answer = elsewhere
        .get(format!("http://{address}/hello"))
        .send()
        .await;
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

// ---- heads that are refused --------------------------------------------------------------------------------------

#[tokio::test]
async fn a_compressed_body_is_refused_before_it_is_read() {
    let (_running, address) = start(Limits::default());
    for (encoding, status) in [("gzip", 415), ("identity", 200), ("br, gzip", 415)] {
        let request = client().post(format!("http://{address}/echo")).body("x");
        let answer = request.header("content-encoding", encoding).send().await;
        assert_eq!(answer.unwrap().status().as_u16(), status, "{encoding}");
    }
}

#[tokio::test]
async fn grpc_refusals_by_the_framework_have_details_too() {
    let (_running, address) = start(Limits::default());
    let method = "/sealwright.timestamp.v1.TimestampAuthority/GetTimestamp";
    let unframed = b"\x00\x00\x00\x00\x03\x0a\x7f\x01".to_vec();
    for (case, path, body, code, reason) in [
        (
            "no message",
            method,
            Vec::new(),
            "3",
            Reason::MalformedRequest,
        ),
        (
            "no protobuf",
            method,
            unframed,
            "3",
            Reason::MalformedRequest,
        ),
        (
            "compressed",
            method,
            b"\x01\x00\x00\x00\x00".to_vec(),
            "3",
            Reason::MalformedRequest,
        ),
        (
            "no method",
            "/sealwright.timestamp.v1.TimestampAuthority/Nothing",
            b"\x00\x00\x00\x00\x00".to_vec(),
            "12",
            Reason::MethodNotAllowed,
        ),
    ] {
        let http2 = reqwest::Client::builder()
            .no_proxy()
            .http2_prior_knowledge();
        let request = http2
            .build()
            .unwrap()
            .post(format!("http://{address}{path}"));
        let request = request.header("content-type", "application/grpc");
        let answer = request.header("te", "trailers").body(body).send().await;
        let answer = answer.unwrap_or_else(|error| panic!("{case}: {error:?}"));
        assert_eq!(answer.headers()["grpc-status"], code, "{case}");
        let status = tonic::Status::from_header_map(answer.headers()).expect("a status");
        let (why, info) =
            status::from_status(&status).unwrap_or_else(|| panic!("{case}: {status:?}"));
        assert_eq!(why, reason, "{case}");
        assert_eq!(
            answer.headers()["x-request-id"].to_str().ok(),
            info.metadata.get("requestId").map(String::as_str),
            "{case}"
        );
    }
}

#[tokio::test]
async fn a_reader_that_stalls_is_cut_off() {
    let (running, address) = start(brief());
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /large HTTP/1.1\r\nhost: x\r\n\r\n")
        .await
        .unwrap();
    let began = Instant::now();
    while !running
        .registry()
        .encode()
        .contains("sealwright_http_connections 0")
    {
        assert!(began.elapsed() < Duration::from_secs(5), "still connected");
        sleep(Duration::from_millis(50)).await;
    }
}

/// Counts the turns of the scheduler: each time the counter moves, every other task that was ready has run.
fn turns() -> Arc<AtomicUsize> {
    let turns = Arc::new(AtomicUsize::new(0));
    let counter = turns.clone();
    tokio::spawn(async move {
        loop {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    turns
}

#[tokio::test]
async fn a_client_that_sends_far_ahead_waits_for_the_others_before_each_request() {
    const AHEAD: usize = 200;
    let taken = Arc::new(Mutex::new(Vec::new()));
    let (turns, seen) = (turns(), taken.clone());
    let note = move || {
        seen.lock().unwrap().push(turns.load(Ordering::Relaxed));
        async { "noted" }
    };
    let router = Router::new().route("/note", get(note));
    let server = Server::bind(&config(Limits::default())).expect("a free port");
    let address = server.address();
    let running = server.start(router);
    let mut stream = TcpStream::connect(address).await.unwrap();
    let requests = "GET /note HTTP/1.1\r\nhost: x\r\n\r\n".repeat(AHEAD);
    stream.write_all(requests.as_bytes()).await.unwrap();
    let noted = || taken.lock().unwrap().len();
    timeout(Duration::from_secs(30), async {
        while noted() < AHEAD {
            sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("all are answered");
    let taken = taken.lock().unwrap().clone();
    let in_one_turn = taken.chunk_by(|a, b| a == b).map(<[usize]>::len).max();
    assert!(
        in_one_turn <= Some(5),
        "{in_one_turn:?} in one turn: {taken:?}"
    );
    assert_eq!(running.drain().await, Drained::Clean);
}

#[tokio::test]
async fn idle_connections_are_closed() {
    let (_running, address) = start(brief());
    let answer = raw(address, b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
    assert!(
        answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("hello"),
        "{answer}"
    );
}

#[tokio::test]
async fn a_handler_that_hangs_is_given_up() {
    let (_running, address) = start(Limits {
        request_timeout: Duration::from_millis(100),
        ..Limits::default()
    });
    let response = client()
        .get(format!("http://{address}/stuck"))
        .send()
        .await
        .unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(reason(&envelope(response).await), "UNAVAILABLE");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_many_requests_at_once_are_told_to_come_back() {
    let (_running, address) = start(Limits {
        max_in_flight: 2,
        ..Limits::default()
    });
    let slow = || client().get(format!("http://{address}/slow")).send();
    let answers = futures::future::join_all([slow(), slow(), slow(), slow(), slow()]).await;
    let (mut served, mut refused) = (0, 0);
    for answer in answers.into_iter().map(Result::unwrap) {
        if answer.status() == StatusCode::OK {
            served += 1;
            continue;
        }
        assert_eq!(
            (
                answer.status(),
                answer.headers()["retry-after"].to_str().unwrap()
            ),
            (StatusCode::SERVICE_UNAVAILABLE, "1")
        );
        assert_eq!(reason(&envelope(answer).await), "OVERLOADED");
        refused += 1;
    }
    assert_eq!((served, refused), (2, 3));
    // Slow senders do not occupy places among the handlers.
    let mut senders = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1")
            .await
            .unwrap();
        senders.push(stream);
    }
    sleep(Duration::from_millis(100)).await;
    let answer = client()
        .get(format!("http://{address}/hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_senders_of_large_bodies_share_bounded_memory() {
    let (_running, address) = start(Limits {
        max_buffered: 256 << 10,
        ..Limits::default()
    });
    let mut senders = Vec::new();
    for _ in 0..8 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let mut half =
            b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n".to_vec();
        half.resize(100 << 10, b'x');
        stream.write_all(&half).await.unwrap();
        senders.push(stream);
    }
    sleep(Duration::from_millis(200)).await;
    let mut refused = 0;
    for stream in &mut senders {
        let mut answer = [0; 12];
        if let Ok(Ok(_)) = timeout(Duration::from_millis(50), stream.read_exact(&mut answer)).await
        {
            assert_eq!(&answer, b"HTTP/1.1 503");
            refused += 1;
        }
    }
    assert!(
        refused >= 5,
        "{refused} of 8 refused, 256 KiB hold two halves"
    );
    // Ordinary requests do not meet that limit.
    let answer = client()
        .post(format!("http://{address}/echo"))
        .body(vec![0; 8 << 10])
        .send()
        .await
        .unwrap();
    assert_eq!(answer.text().await.unwrap(), "8192 bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_crowds_make_room_for_newcomers() {
    let limits = Limits {
        max_connections: 8,
        idle_timeout: Duration::from_secs(2),
        ..Limits::default()
    };
    let (_running, address) = start(limits);
    let mut crowd = Vec::new();
    for _ in 0..8 {
        crowd.push(TcpStream::connect(address).await.unwrap());
    }
    // The ninth waits in the kernel's queue until the crowd is sent away.
    let began = Instant::now();
    let answer = client()
        .get(format!("http://{address}/hello"))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    assert!(
        began.elapsed() < Duration::from_secs(8),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_cost_little_memory() {
    let (_running, address) = start(Limits::default());
    client()
        .get(format!("http://{address}/hello"))
        .send()
        .await
        .unwrap();
    let before = sealwright_host::metrics::resident_bytes().unwrap();
    let mut crowd = Vec::new();
    for _ in 0..1000 {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream
            .write_all(b"GET /hello HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        crowd.push(stream);
    }
    for stream in &mut crowd {
        let mut answer = [0; 12];
        stream.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
    }
    let grown = sealwright_host::metrics::resident_bytes()
        .unwrap()
        .saturating_sub(before);
    assert!(
        grown < 48 << 20,
        "1000 connections took {} KiB",
        grown >> 10
    );
}

// ---- telemetry ---------------------------------------------------------------------------------------------------

/// A collector that keeps every request it gets, as bytes.
fn collector_routes(seen: Arc<Mutex<Vec<u8>>>) -> Router {
    let export = move |request: Request| async move {
        let (parts, body) = request.into_parts();
        let bytes = host_http::read_body(&parts.headers, body, 4 << 20).await?;
        seen.lock().unwrap().extend_from_slice(&bytes);
        // An empty message in one gRPC frame, then the status.
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
        let frames = [
            Ok::<_, std::convert::Infallible>(http_body::Frame::data(bytes::Bytes::from_static(
                &[0; 5],
            ))),
            Ok(http_body::Frame::trailers(trailers)),
        ];
        let body = axum::body::Body::new(http_body_util::StreamBody::new(futures::stream::iter(
            frames,
        )));
        Ok::<_, ServiceError>(([("content-type", "application/grpc")], body))
    };
    Router::new().route(
        "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        post(export),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn spans_are_exported_under_the_callers_trace() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let collector = Server::bind(&config(Limits::default())).unwrap();
    let endpoint = format!("http://{}", collector.address());
    let _collector = collector.start(collector_routes(seen.clone()));
    let settings = telemetry::TelemetryConfig {
        otlp_endpoint: Some(endpoint),
        log_filter: "off".into(),
        ..Default::default()
    };
    let exporting = telemetry::init(&settings).unwrap();

    let (_running, address) = start(Limits::default());
    let trace = "00-a1a2a3a4a5a6a7a8a9aaabacadaeafa0-00f067aa0ba902b7-01";
    let outgoing = client()
        .get(format!("http://{address}/outgoing"))
        .header("traceparent", trace)
        .send()
        .await
        .unwrap();
    let outgoing = telemetry::TraceContext::parse(&outgoing.text().await.unwrap()).unwrap();
    let caller = telemetry::TraceContext::parse(trace).unwrap();
    assert_eq!(outgoing.trace_id, caller.trace_id);
    assert_ne!(
        outgoing.span_id, caller.span_id,
        "outgoing calls continue from our own span"
    );
    tokio::task::spawn_blocking(move || exporting.shutdown())
        .await
        .unwrap();

    let seen = seen.lock().unwrap();
    let holds = |part: &[u8]| seen.windows(part.len()).any(|window| window == part);
    assert!(holds(&caller.trace_id) && holds(&caller.span_id) && holds(&outgoing.span_id));
    assert!(holds(b"GET /outgoing") && holds(b"sealwright"));
}

// ---- the end -----------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_answers_what_is_under_way_and_takes_nothing_new() {
    let (running, address) = start(Limits::default());
    let client = client();
    let ask = move || {
        let client = client.clone();
        tokio::spawn(async move {
            client
                .get(format!("http://{address}/slow"))
                .send()
                .await?
                .text()
                .await
        })
    };
    let mut under_way: Vec<_> = (0..4).map(|_| ask()).collect();
    sleep(Duration::from_millis(150)).await;
    // These have connected when the drain begins, and nothing more.
    let mut connected = Vec::new();
    for _ in 0..4 {
        connected.push(TcpStream::connect(address).await.unwrap());
    }
    under_way.extend(connected.into_iter().map(|mut stream| {
        tokio::spawn(async move {
            sleep(Duration::from_millis(20)).await;
            stream
                .write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n")
                .await
                .unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            Ok(answer
                .split("\r\n\r\n")
                .last()
                .unwrap_or_default()
                .to_owned())
        })
    }));
    let health = running.health().clone();
    let began = Instant::now();
    assert_eq!(running.drain().await, Drained::Clean);
    assert!(
        began.elapsed() < Duration::from_secs(2),
        "{:?}",
        began.elapsed()
    );
    for answer in under_way {
        assert_eq!(answer.await.unwrap().unwrap(), "slow");
    }
    assert!(health.draining());
    assert!(
        TcpStream::connect(address).await.is_err(),
        "the port is free again"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_drain_ends_by_its_deadline_whatever_clients_do() {
    let mut config = config(Limits::default());
    config.drain_timeout = Duration::from_millis(300);
    let server = Server::bind(&config).unwrap();
    let address = server.address();
    let running = server.start(service());
    let stuck =
        tokio::spawn(async move { client().get(format!("http://{address}/stuck")).send().await });
    let mut half = TcpStream::connect(address).await.unwrap();
    half.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n1")
        .await
        .unwrap();
    sleep(Duration::from_millis(150)).await;
    let began = Instant::now();
    assert_eq!(running.drain().await, Drained::CutOff(2));
    assert!(began.elapsed() < Duration::from_secs(2));
    stuck.abort();
}

// ---- TLS ---------------------------------------------------------------------------------------------------------

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_serves_both_protocols_beside_the_plain_port() {
    let folder = std::env::temp_dir().join(format!("sealwright-host-tls-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    std::fs::write(&certificate, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let mut config = config(brief());
    config.tls = Some(TlsConfig {
        listen: ([127, 0, 0, 1], 0).into(),
        certificate,
        key,
        client_ca: None,
    });
    let server = Server::bind(&config).unwrap();
    let (plain, tls) = (
        server.address(),
        server.tls_address().expect("a TLS address"),
    );
    let running = server.start(service());

    let _ = sealwright_host::tls::provider();
    let root = reqwest::Certificate::from_pem(made.cert.pem().as_bytes()).unwrap();
    let trusting = |builder: reqwest::ClientBuilder| {
        builder
            .no_proxy()
            .tls_certs_only([root.clone()])
            .build()
            .unwrap()
    };
    let http1 = trusting(reqwest::Client::builder().http1_only());
    let http2 = trusting(reqwest::Client::builder());
    let url = format!("https://localhost:{}/hello", tls.port());
    let answer = http1.get(&url).send().await.unwrap();
    assert_eq!(
        (answer.version(), answer.text().await.unwrap().as_str()),
        (http::Version::HTTP_11, "hello")
    );
    let answer = http2.get(&url).send().await.unwrap();
    assert_eq!(
        (answer.version(), answer.text().await.unwrap().as_str()),
        (http::Version::HTTP_2, "hello")
    );
    assert_eq!(
        client()
            .get(format!("http://{plain}/hello"))
            .send()
            .await
            .unwrap()
            .text()
            .await
            .unwrap(),
        "hello"
    );
    // A client that connects and says nothing is let go.
    raw(tls, b"").await;
    raw(tls, b"GET / HTTP/1.1\r\n\r\n").await;
    drop((http1, http2));
    assert_eq!(running.drain().await, Drained::Clean);

    let mut broken = config.clone();
    broken.tls.as_mut().unwrap().key = folder.join("none.pem");
    assert!(
        Server::bind(&broken)
            .expect_err("no key")
            .to_string()
            .contains("none.pem")
    );
    std::fs::remove_dir_all(folder).unwrap();
}

#[tokio::test]
async fn a_watch_of_health_does_not_hold_up_a_drain() {
    let (running, address) = start(Limits::default());
    let channel = grpc::channel(&format!("http://{address}"), Duration::from_secs(5)).unwrap();
    let mut health = tonic_health::pb::health_client::HealthClient::new(channel);
    let question = tonic_health::pb::HealthCheckRequest {
        service: String::new(),
    };
    let mut watch = health.watch(question).await.unwrap().into_inner();
    let first = watch.message().await.unwrap().unwrap();
    assert_eq!(
        first.status,
        tonic_health::pb::health_check_response::ServingStatus::Serving as i32
    );
    let running = Arc::new(tokio::spawn(running.drain()));
    let last = watch.message().await.unwrap().unwrap();
    assert_eq!(
        last.status,
        tonic_health::pb::health_check_response::ServingStatus::NotServing as i32
    );
    drop((watch, health));
    assert_eq!(
        Arc::try_unwrap(running).unwrap().await.unwrap(),
        Drained::Clean
    );
}
