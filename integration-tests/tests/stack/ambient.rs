//! Build machines and clouds speak for themselves: each provider of identity tokens in front of an imitation of its endpoint,
//! our own client between them, and a certificate authority that has to be content with what comes out.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use sealwright_integration_tests::{Daemon, EMAIL, Outcome, Tool, binary};
use serde_json::{Value, json};

/// A request as an imitated endpoint saw it.
#[derive(Debug, Clone)]
struct Asked {
    /// Method and target.
    line: String,
    headers: Vec<String>,
    body: String,
}

impl Asked {
    fn has(&self, header: &str) -> bool {
        self.headers
            .iter()
            .any(|found| found.eq_ignore_ascii_case(header))
    }
}

/// An endpoint on a loopback port, which answers every request by one rule and remembers it.
struct Imitation {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Imitation {
    fn start(
        answer: impl Fn(&Asked, usize) -> (u16, String) + Send + 'static,
    ) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let url = format!("http://{}", listener.local_addr()?);
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let seen = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Ok(request) = read_request(&stream) else {
                    continue;
                };
                let number = {
                    let mut seen = seen.lock().expect("no panic while held");
                    seen.push(request.clone());
                    seen.len()
                };
                let (status, body) = answer(&request, number);
                let head = format!(
                    "HTTP/1.1 {status} Answer\r\ncontent-length: {}\r\nlocation: /elsewhere\r\nretry-after: 0\r\nconnection: close\r\n\r\n",
                    body.len()
                );
                // A client that has gone away has seen enough.
                let _ = (&stream).write_all((head + &body).as_bytes());
            }
        });
        Ok(Self { url, asked })
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no panic while held").clone()
    }

    fn host(&self) -> String {
        self.url.trim_start_matches("http://").to_owned()
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Asked> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header)?;
        if header.trim_end().is_empty() {
            break;
        }
        headers.push(header.trim_end().to_owned());
    }
    let length = headers
        .iter()
        .find_map(|header| {
            let (name, value) = header.split_once(':')?;
            let value = value.trim().parse::<usize>().ok();
            value.filter(|_| name.eq_ignore_ascii_case("content-length"))
        })
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Asked {
        line: line.trim_end_matches(" HTTP/1.1\r\n").to_owned(),
        headers,
        body: String::from_utf8_lossy(&body).into_owned(),
    })
}

/// A machine: a stack to sign with, a folder, and nothing in the environment but what a test puts there.
struct Machine {
    daemon: Daemon,
    dir: tempfile::TempDir,
}

impl Machine {
    fn new() -> anyhow::Result<Self> {
        let machine = Self {
            daemon: Daemon::fresh()?,
            dir: tempfile::tempdir()?,
        };
        fs::write(machine.path("artifact"), "built here")?;
        Ok(machine)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn bundle(&self) -> PathBuf {
        self.path("bundle.json")
    }

    /// Signs with these variables set and no others, and leaves no bundle of an earlier attempt.
    fn sign(&self, variables: &[(&str, &str)], flags: &[&str]) -> anyhow::Result<Outcome> {
        let _ = fs::remove_file(self.bundle());
        let programs = self.path("bin");
        let mut tool = Tool::new("env")
            .arg("-i")
            .arg(format!("PATH={}:/usr/bin:/bin", programs.display()))
            .arg(format!("SEALWRIGHT_HOME={}", self.path("home").display()));
        for (name, value) in variables {
            tool = tool.arg(format!("{name}={value}"));
        }
        tool.arg(binary("sealwright"))
            .args(["sign-blob", "--output", "json", "--bundle"])
            .arg(self.bundle())
            .args(self.daemon.trust())
            .args(flags)
            .arg(self.path("artifact"))
            .run()
    }

    /// A program that stands in for a provider's own: prints `token` when it is called with exactly `arguments`.
    fn install(&self, name: &str, arguments: &str, token: &str) -> anyhow::Result<()> {
        use std::os::unix::fs::PermissionsExt as _;
        fs::create_dir_all(self.path("bin"))?;
        let program = self.path("bin").join(name);
        fs::write(
            &program,
            format!("#!/bin/sh\n[ \"$*\" = '{arguments}' ] || exit 9\necho '{token}'\n"),
        )?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
        Ok(())
    }
}

/// What a case needs beside variables: how often its endpoint is asked, and what has to be in the last request.
struct Case {
    provider: &'static str,
    variables: Vec<(&'static str, String)>,
    line: &'static str,
    header: &'static str,
    body: &'static str,
}

/// One imitation of every HTTP endpoint: what each provider would answer, by path.
fn every_endpoint(token: String) -> anyhow::Result<Imitation> {
    Imitation::start(move |asked, _| {
        let answer = match asked.line.split(['?', ' ']).nth(1).unwrap_or("") {
            "/actions" => json!({ "value": token, "count": 1 }).to_string(),
            "/buildkite/jobs/job-1/oidc/tokens" => json!({ "token": token }).to_string(),
            "/azure" => json!({ "oidcToken": token }).to_string(),
            "/computeMetadata/v1/instance/service-accounts/default/identity" => token.clone(),
            "/computeMetadata/v1/instance/service-accounts/default/token" => {
                json!({ "access_token": "access", "expires_in": 60 }).to_string()
            }
            "/v1/projects/-/serviceAccounts/ci@corp.test:generateIdToken" => {
                json!({ "token": token }).to_string()
            }
            _ => return (404, "not here".into()),
        };
        (200, answer)
    })
}

#[test]
fn every_provider_is_asked_in_its_own_way_and_its_token_signs() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let token = machine.daemon.token()?;
    let endpoint = every_endpoint(token.clone())?;
    let at = |path: &str| format!("{}{path}", endpoint.url);
    let file = machine.path("projected-token");
    fs::write(&file, format!("{token}\n"))?;
    let file = file.display().to_string();
    let claims = r#"{"aud":"sigstore"}"#;
    machine.install(
        "circleci",
        &format!("run oidc get --claims {claims}"),
        &token,
    )?;
    machine.install(
        "buildkite-agent",
        "oidc request-token --audience sigstore",
        &token,
    )?;
    let set = |name: &'static str, value: &str| (name, value.to_owned());
    let cases = [
        Case {
            provider: "github-actions",
            variables: vec![
                set("GITHUB_ACTIONS", "true"),
                set(
                    "ACTIONS_ID_TOKEN_REQUEST_URL",
                    &at("/actions?api-version=2"),
                ),
                set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-secret"),
            ],
            line: "GET /actions?api-version=2&audience=sigstore",
            header: "authorization: Bearer request-secret",
            body: "",
        },
        Case {
            provider: "forgejo-actions",
            variables: vec![
                set("GITHUB_ACTIONS", "true"),
                set("FORGEJO_ACTIONS", "true"),
                set("ACTIONS_ID_TOKEN_REQUEST_URL", &at("/actions")),
                set("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-secret"),
            ],
            line: "GET /actions?audience=sigstore",
            header: "authorization: Bearer request-secret",
            body: "",
        },
        Case {
            provider: "buildkite-agent",
            variables: vec![
                set("BUILDKITE", "true"),
                set("BUILDKITE_AGENT_ACCESS_TOKEN", "agent-secret"),
                set("BUILDKITE_AGENT_ENDPOINT", &at("/buildkite")),
                set("BUILDKITE_JOB_ID", "job-1"),
            ],
            line: "POST /buildkite/jobs/job-1/oidc/tokens",
            header: "authorization: Token agent-secret",
            body: r#"{"audience":"sigstore"}"#,
        },
        Case {
            provider: "azure-pipelines",
            variables: vec![
                set("TF_BUILD", "True"),
                set("SYSTEM_OIDCREQUESTURI", &at("/azure")),
                set("SYSTEM_ACCESSTOKEN", "system-secret"),
                set("AZURESUBSCRIPTION_SERVICE_CONNECTION_ID", "c1"),
            ],
            line: "POST /azure?api-version=7.1&serviceConnectionId=c1",
            header: "authorization: Bearer system-secret",
            body: "",
        },
        Case {
            provider: "google",
            variables: vec![set("GCE_METADATA_HOST", &endpoint.host())],
            line: "GET /computeMetadata/v1/instance/service-accounts/default/identity?audience=sigstore&format=full",
            header: "metadata-flavor: Google",
            body: "",
        },
        Case {
            provider: "google",
            variables: vec![
                set("GCE_METADATA_HOST", &endpoint.host()),
                set("GOOGLE_SERVICE_ACCOUNT_NAME", "ci@corp.test"),
                set("CLOUDSDK_API_ENDPOINT_OVERRIDES_IAMCREDENTIALS", &at("/")),
            ],
            line: "POST /v1/projects/-/serviceAccounts/ci@corp.test:generateIdToken",
            header: "authorization: Bearer access",
            body: r#"{"audience":"sigstore","includeEmail":true}"#,
        },
    ];
    for case in &cases {
        let before = endpoint.asked().len();
        signs(&machine, case.provider, &case.variables, &[])?;
        let asked = endpoint.asked();
        assert!(asked.len() > before, "{} was not asked", case.provider);
        let last = asked.last().expect("it was asked");
        assert_eq!(last.line, case.line, "{}", case.provider);
        assert!(
            last.has(case.header),
            "{}: {:?}",
            case.provider,
            last.headers
        );
        assert_eq!(last.body, case.body, "{}", case.provider);
    }
    // These ask nobody over HTTP.
    for (provider, variables) in [
        (
            "gitlab",
            vec![set("GITLAB_CI", "true"), set("SIGSTORE_ID_TOKEN", "")],
        ),
        ("buildkite-agent", vec![set("BUILDKITE", "true")]),
        ("circleci", vec![set("CIRCLECI", "true")]),
        (
            "bitbucket",
            vec![
                set("BITBUCKET_BUILD_NUMBER", "7"),
                set("BITBUCKET_STEP_OIDC_TOKEN", &token),
            ],
        ),
        (
            "cirrus",
            vec![set("CIRRUS_CI", "true"), set("CIRRUS_OIDC_TOKEN", &token)],
        ),
        (
            "azure-workload-identity",
            vec![set("AZURE_FEDERATED_TOKEN_FILE", &file)],
        ),
        (
            "aws-web-identity",
            vec![set("AWS_WEB_IDENTITY_TOKEN_FILE", &file)],
        ),
    ] {
        if provider == "gitlab" {
            // The variable is named for the audience, so here it is another than SIGSTORE_ID_TOKEN.
            let corp = machine
                .daemon
                .token_with(&["--email", EMAIL, "--audience", "corp.test"])?;
            let variables = [("GITLAB_CI", "true"), ("CORP_TEST_ID_TOKEN", corp.as_str())];
            let said = machine
                .sign(&variables, &["--audience", "corp.test"])?
                .failure()?;
            // The development authority expects `sigstore`, and says so: the token was found and sent.
            assert!(
                said.contains("corp.test") || said.contains("audience"),
                "{said}"
            );
            let named = [("GITLAB_CI", "true"), ("SIGSTORE_ID_TOKEN", token.as_str())];
            let outcome = machine.sign(&named, &["--oidc-provider", "gitlab"])?;
            assert_eq!(source(outcome)?, "gitlab");
            continue;
        }
        signs(&machine, provider, &variables, &[])?;
    }
    Ok(())
}

fn source(outcome: Outcome) -> anyhow::Result<String> {
    let report: Value = serde_json::from_str(&outcome.success()?)?;
    Ok(report["tokenSource"]
        .as_str()
        .unwrap_or_default()
        .to_owned())
}

/// Signs, and asserts that this provider was used and the signature is that of the token's person.
fn signs(
    machine: &Machine,
    provider: &str,
    variables: &[(&'static str, String)],
    flags: &[&str],
) -> anyhow::Result<()> {
    let variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .collect();
    let outcome = machine.sign(&variables, flags)?;
    assert_eq!(source(outcome)?, provider);
    machine
        .daemon
        .verify(&machine.path("artifact"), &machine.bundle())?
        .success()?;
    Ok(())
}

#[test]
fn a_machine_that_gives_no_token_is_an_error_that_says_what_to_set() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    // Somebody else's way to sign is at hand in each case, and is not taken.
    let file = machine.path("token");
    fs::write(&file, machine.daemon.token()?)?;
    let other = ("AWS_WEB_IDENTITY_TOKEN_FILE", file.display().to_string());
    for (variables, remedy) in [
        (
            vec![("GITHUB_ACTIONS", "true")],
            "permissions: id-token: write",
        ),
        (
            vec![("FORGEJO_ACTIONS", "true")],
            "enable-openid-connect: true",
        ),
        (
            vec![("GITLAB_CI", "true")],
            "id_tokens: SIGSTORE_ID_TOKEN: aud: sigstore",
        ),
        (vec![("BUILDKITE", "true")], "buildkite-agent"),
        (
            vec![("BUILDKITE_AGENT_ACCESS_TOKEN", "a")],
            "BUILDKITE_JOB_ID",
        ),
        (vec![("CIRCLECI", "true")], "circleci"),
        (vec![("TF_BUILD", "True")], "$(System.AccessToken)"),
        (vec![("BITBUCKET_BUILD_NUMBER", "1")], "oidc: true"),
        (vec![("CIRRUS_CI", "true")], "CIRRUS_OIDC_TOKEN"),
        (
            vec![("SPIFFE_ENDPOINT_SOCKET", "unix:///nonexistent/agent.sock")],
            "register the workload",
        ),
        (
            vec![("AZURE_FEDERATED_TOKEN_FILE", "/nonexistent/token")],
            "AZURE_FEDERATED_TOKEN_FILE",
        ),
        (
            vec![("GOOGLE_SERVICE_ACCOUNT_NAME", "a/b")],
            "service account",
        ),
    ] {
        let mut all = variables.clone();
        if !variables.iter().any(|(name, _)| name.starts_with("GOOGLE")) {
            all.push((other.0, other.1.as_str()));
        }
        let outcome = machine.sign(&all, &[])?;
        let said = outcome.failure()?;
        assert!(said.contains(remedy), "{variables:?}: {said}");
        assert!(!machine.bundle().exists(), "{variables:?} signed");
    }
    Ok(())
}

#[test]
fn an_endpoint_that_lies_or_fails_is_named_and_never_quoted() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let expired = machine
        .daemon
        .token_with(&["--email", EMAIL, "--ttl", "-60"])?;
    let elsewhere =
        machine
            .daemon
            .token_with(&["--email", EMAIL, "--audience", "https://elsewhere.test"])?;
    for (status, body, code) in [
        (
            200,
            "<html>proxy</html>".to_owned(),
            "SERVICE_ANSWER_MALFORMED",
        ),
        (
            200,
            json!({ "other": expired }).to_string(),
            "SERVICE_ANSWER_MALFORMED",
        ),
        (
            200,
            json!({ "value": "x".repeat(300_000) }).to_string(),
            "SERVICE_ANSWER_TOO_LARGE",
        ),
        (
            200,
            json!({ "value": "no.token" }).to_string(),
            "TOKEN_MALFORMED",
        ),
        (
            200,
            json!({ "value": expired }).to_string(),
            "TOKEN_EXPIRED",
        ),
        (
            200,
            json!({ "value": elsewhere }).to_string(),
            "TOKEN_WRONG_AUDIENCE",
        ),
        (302, String::new(), "SERVICE_REFUSED"),
        (
            403,
            json!({ "message": "no" }).to_string(),
            "SERVICE_REFUSED",
        ),
        (503, String::new(), "SERVICE_REFUSED"),
    ] {
        let endpoint = Imitation::start(move |_, _| (status, body.clone()))?;
        let url = format!("{}/actions?secret=in-the-query", endpoint.url);
        let variables = [
            ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
            ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "request-secret"),
        ];
        let said = machine.sign(&variables, &[])?.failure()?;
        let report: Value = serde_json::from_str(said.lines().next().unwrap_or_default())?;
        assert_eq!(report["error"]["code"], code, "{status}: {said}");
        for secret in [
            "in-the-query",
            "request-secret",
            &expired,
            &elsewhere,
            "no.token",
        ] {
            assert!(!said.contains(secret), "{status}: {said}");
        }
        assert!(!machine.bundle().exists());
        let asked = endpoint.asked();
        assert!(
            asked
                .iter()
                .all(|asked| asked.line.starts_with("GET /actions?")),
            "{asked:?}"
        );
    }
    Ok(())
}

#[test]
fn an_endpoint_that_is_having_a_moment_is_asked_again() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let token = machine.daemon.token()?;
    let endpoint = Imitation::start(move |_, number| match number {
        1 => (503, String::new()),
        2 => (200, "upstream connect error".into()),
        _ => (200, json!({ "value": token }).to_string()),
    })?;
    let variables = [
        (
            "ACTIONS_ID_TOKEN_REQUEST_URL",
            format!("{}/actions?v=1", endpoint.url),
        ),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t".to_owned()),
    ];
    signs(&machine, "github-actions", &variables, &[])?;
    assert_eq!(endpoint.asked().len(), 3);
    Ok(())
}

#[test]
fn what_a_person_says_comes_before_what_the_machine_offers() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let token = machine.daemon.token()?;
    let endpoint = every_endpoint(token.clone())?;
    let url = format!("{}/actions?v=1", endpoint.url);
    let ci = [
        ("ACTIONS_ID_TOKEN_REQUEST_URL", url.as_str()),
        ("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "t"),
    ];
    let with_variable = [&ci[..], &[("SIGSTORE_ID_TOKEN", token.as_str())]].concat();
    assert_eq!(source(machine.sign(&with_variable, &[])?)?, "token");
    let file = machine.path("token");
    fs::write(&file, &token)?;
    let file = file.display().to_string();
    assert_eq!(
        source(machine.sign(&with_variable, &["--identity-token", &file])?)?,
        "file"
    );
    assert_eq!(
        source(machine.sign(&with_variable, &["--oidc-provider", "envvar"])?)?,
        "envvar"
    );
    for switch in [
        "--oidc-disable-ambient-providers",
        "--oidc-disable-ambient-providers=true",
    ] {
        machine.sign(&ci, &[switch])?.failure()?;
    }
    assert!(
        endpoint.asked().is_empty(),
        "the machine was asked all the same"
    );

    let named = machine.sign(&with_variable, &["--oidc-provider", "github-actions"])?;
    assert_eq!(source(named)?, "github-actions");
    assert_eq!(endpoint.asked().len(), 1);
    let said = machine
        .sign(&ci, &["--oidc-provider", "jenkins"])?
        .code(2)?;
    assert!(
        said.contains("github-actions") && said.contains("buildkite-agent"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_profile_adds_variables_files_and_programs_of_its_own() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let token = machine.daemon.token()?;
    let profiles = machine.path("home/profiles");
    fs::create_dir_all(&profiles)?;
    let file = machine.path("secret-token");
    fs::write(&file, &token)?;
    machine.install("corp-token", "--for sigstore $HOME", &token)?;
    let settings = |name: &str, text: &str| fs::write(profiles.join(name), text);
    for (text, variables) in [
        (
            r#"ambient = [{ env = "CORP_TOKEN" }]"#.to_owned(),
            vec![("CORP_TOKEN", token.as_str())],
        ),
        (
            format!("ambient = [{{ env = \"CORP_TOKEN\" }}, {{ file = {file:?} }}]"),
            vec![],
        ),
        (
            r#"ambient = [{ command = ["corp-token", "--for", "{audience}", "$HOME"] }]"#
                .to_owned(),
            vec![],
        ),
    ] {
        settings("default.toml", &text)?;
        assert_eq!(source(machine.sign(&variables, &[])?)?, "profile", "{text}");
    }
    // Its own profile's settings, and no shell: what a shell would run is an argument.
    settings(
        "corp.toml",
        r#"ambient = [{ command = ["corp-token", "; touch", "pwned"] }]"#,
    )?;
    let said = machine
        .sign(&[("SEALWRIGHT_PROFILE", "corp")], &[])?
        .failure()?;
    assert!(
        said.contains("corp-token") && said.contains("exit status: 9"),
        "{said}"
    );
    settings("corp.toml", "ambient = [{ shell = \"true\" }]")?;
    let said = machine
        .sign(&[("SEALWRIGHT_PROFILE", "corp")], &[])?
        .code(2)?;
    assert!(said.contains("corp.toml"), "{said}");
    Ok(())
}

mod spiffe {
    //! An agent of the SPIFFE Workload API: the one method, over gRPC on a Unix socket.

    use std::{
        convert::Infallible,
        future::{Ready, ready},
        task::{Context, Poll},
    };

    use tonic::{
        Request, Response, Status,
        body::Body,
        codegen::{BoxFuture, Service, http, tokio_stream},
        server::{Grpc, NamedService, UnaryService},
    };
    use tonic_prost::ProstCodec;

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SvidRequest {
        #[prost(string, repeated, tag = "1")]
        audience: Vec<String>,
        #[prost(string, tag = "2")]
        spiffe_id: String,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct SvidResponse {
        #[prost(message, repeated, tag = "1")]
        svids: Vec<Svid>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(super) struct Svid {
        #[prost(string, tag = "1")]
        spiffe_id: String,
        #[prost(string, tag = "2")]
        svid: String,
    }

    /// Knows one workload, and insists on what the specification insists on.
    #[derive(Clone)]
    pub(super) struct Agent {
        pub(super) token: String,
        pub(super) registered: bool,
    }

    impl UnaryService<SvidRequest> for Agent {
        type Response = SvidResponse;
        type Future = Ready<Result<Response<SvidResponse>, Status>>;

        fn call(&mut self, request: Request<SvidRequest>) -> Self::Future {
            let secure = request.metadata().get("workload.spiffe.io");
            if secure.is_none_or(|value| value != "true") {
                return ready(Err(Status::invalid_argument("security header missing")));
            }
            if !self.registered {
                return ready(Err(Status::permission_denied("no identity issued")));
            }
            if request.get_ref().audience != ["sigstore"] {
                return ready(Err(Status::invalid_argument("another audience")));
            }
            let svid = |spiffe_id: &str, svid: &str| Svid {
                spiffe_id: spiffe_id.into(),
                svid: svid.into(),
            };
            let svids = vec![svid("spiffe://corp.test/ci", &self.token)];
            ready(Ok(Response::new(SvidResponse { svids })))
        }
    }

    impl NamedService for Agent {
        const NAME: &'static str = "SpiffeWorkloadAPI";
    }

    impl Service<http::Request<Body>> for Agent {
        type Response = http::Response<Body>;
        type Error = Infallible;
        type Future = BoxFuture<Self::Response, Infallible>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, request: http::Request<Body>) -> Self::Future {
            let agent = self.clone();
            Box::pin(async move {
                let codec = ProstCodec::<SvidResponse, SvidRequest>::default();
                if request.uri().path() != "/SpiffeWorkloadAPI/FetchJWTSVID" {
                    return Ok(Status::unimplemented("another method").into_http());
                }
                Ok(Grpc::new(codec).unary(agent, request).await)
            })
        }
    }

    /// Serves every connection until the runtime ends.
    pub(super) async fn serve(listener: tokio::net::UnixListener, agent: Agent) {
        use tokio_stream::StreamExt as _;
        while let Ok((stream, _)) = listener.accept().await {
            let incoming = tokio_stream::once(Ok::<_, std::io::Error>(stream));
            let incoming = incoming.chain(tokio_stream::pending());
            let server = tonic::transport::Server::builder().add_service(agent.clone());
            tokio::spawn(server.serve_with_incoming(incoming));
        }
    }
}

#[test]
fn a_spiffe_agent_vouches_for_its_workload() -> anyhow::Result<()> {
    let machine = Machine::new()?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    let start = |name: &str, registered: bool| -> anyhow::Result<PathBuf> {
        let path = machine.path(name);
        let _guard = runtime.enter();
        let listener = tokio::net::UnixListener::bind(&path)?;
        let token = machine.daemon.token()?;
        runtime.spawn(spiffe::serve(listener, spiffe::Agent { token, registered }));
        Ok(path)
    };
    let address = |path: &Path| {
        (
            "SPIFFE_ENDPOINT_SOCKET",
            format!("unix://{}", path.display()),
        )
    };
    let known = address(&start("agent.sock", true)?);
    signs(&machine, "spiffe", std::slice::from_ref(&known), &[])?;
    let id = |id: &str| ("SPIFFE_ID", id.to_owned());
    signs(
        &machine,
        "spiffe",
        &[known.clone(), id("spiffe://corp.test/ci")],
        &[],
    )?;

    let as_another = [
        (known.0, known.1.as_str()),
        ("SPIFFE_ID", "spiffe://corp.test/other"),
    ];
    let said = machine.sign(&as_another, &[])?.failure()?;
    assert!(said.contains("no token for this workload"), "{said}");
    let stranger = address(&start("stranger.sock", false)?);
    let said = machine
        .sign(&[(stranger.0, stranger.1.as_str())], &[])?
        .code(1)?;
    assert!(
        said.contains("no identity issued") && said.contains("register the workload"),
        "{said}"
    );
    Ok(())
}
