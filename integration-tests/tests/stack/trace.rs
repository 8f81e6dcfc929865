//! One trace goes from `sign-blob` through certificate authority, certificate log, timestamp authority and log.

use std::{
    process::Command,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::Span,
};
use sealwright_integration_tests::{Daemon, Tool, artifact, binary};

/// A collector that keeps what it is sent.
#[derive(Clone, Default)]
struct Collector {
    spans: Arc<Mutex<Vec<Span>>>,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let resources = request.into_inner().resource_spans.into_iter();
        let spans = resources
            .flat_map(|resource| resource.scope_spans)
            .flat_map(|scope| scope.spans);
        self.spans.lock().expect("lock").extend(spans);
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

fn describe(span: &Span) -> String {
    let attributes: Vec<String> = span
        .attributes
        .iter()
        .map(|attribute| format!("{attribute:?}"))
        .collect();
    format!("{} {}", span.name, attributes.join(" "))
}

#[test]
fn one_trace_goes_through_every_service() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    let collector = Collector::default();
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    let server =
        tonic::transport::Server::builder().add_service(TraceServiceServer::new(collector.clone()));
    let incoming = tonic::transport::server::TcpIncoming::from(listener);
    runtime.spawn(server.serve_with_incoming(incoming));

    let scratch = tempfile::tempdir()?;
    let mut command = Command::new(binary("sealwrightd"));
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
    let mut daemon = Daemon::command(command, &scratch.path().join("dev"), &[])?;
    let (_dir, file) = artifact(b"follow me")?;
    let trace_id = "4bf92f3577b34da6a3ce929d0e0e4736";
    Tool::sealwright()
        .env("TRACEPARENT", format!("00-{trace_id}-00f067aa0ba902b7-01"))
        .args(["sign-blob", "--identity-token", "-", "--bundle"])
        .arg(file.with_extension("json"))
        .args(daemon.trust())
        .arg(&file)
        .run_with_input(daemon.token()?.as_bytes())?
        .success()?;
    // Spans are sent in batches; the end of the process sends the last.
    daemon.terminate()?;

    let wanted = [
        (
            "certificate authority",
            &["signingCert", "CreateSigningCertificate"][..],
        ),
        ("certificate log", &["AddPreChain", "add-pre-chain"]),
        (
            "timestamp authority",
            &["/api/v1/timestamp", "GetTimestamp"],
        ),
        ("signature log", &["/api/v2/log/entries", "CreateEntry"]),
    ];
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let spans = collector.spans.lock().expect("lock").clone();
        let of_trace: Vec<String> = spans
            .iter()
            .filter(|span| hex::encode(&span.trace_id) == trace_id)
            .map(describe)
            .collect();
        let missing: Vec<&str> = wanted
            .iter()
            .filter(|(_, names)| {
                !of_trace
                    .iter()
                    .any(|span| names.iter().any(|name| span.contains(name)))
            })
            .map(|(service, _)| *service)
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        assert!(
            Instant::now() < deadline,
            "no span of {missing:?} in trace {trace_id}; it has {of_trace:#?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_log_line_of_a_request_carries_its_id() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    let response = sealwright_integration_tests::http()
        .post(url)
        .header("x-request-id", "find-me-in-the-logs")
        .body("{")
        .send()?;
    assert_eq!(response.status(), 400);
    let deadline = Instant::now() + Duration::from_secs(5);
    while !daemon.stderr().contains("find-me-in-the-logs") {
        assert!(
            Instant::now() < deadline,
            "the request id is not in the logs:\n{}",
            daemon.stderr()
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
