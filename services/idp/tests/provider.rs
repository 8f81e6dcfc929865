//! Each flow of the provider and each refusal, through its router.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use sealwright_crypto::{PublicKey, base64, sha256};
use sealwright_host::clock::ManualClock;
use sealwright_idp::{Config, INTENT_HEADER, Idp};
use serde_json::{Value, json};
use tower::ServiceExt;

const ISSUER: &str = "http://127.0.0.1:7700/oidc";
const HOST: &str = "127.0.0.1:7700";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636 appendix B
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
const NOW: i64 = 1_800_000_000;

struct Instance {
    router: Router,
    clock: Arc<ManualClock>,
    dir: tempfile::TempDir,
}

async fn instance(login: Option<&str>) -> Instance {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let clock = Arc::new(ManualClock::at(NOW));
    let config = Config {
        dir: dir.path().join("idp"),
        login: login.map(str::to_owned),
        extra_issuers: vec!["ci".into()],
        ..Config::default()
    };
    let idp = Idp::open(config, clock.clone()).await.expect("it opens");
    Instance {
        router: idp.router(),
        clock,
        dir,
    }
}

impl Instance {
    async fn send(&self, request: Request<Body>) -> Response<Body> {
        self.router
            .clone()
            .oneshot(request)
            .await
            .expect("a router does not fail")
    }

    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> Response<Body> {
        self.send(request("GET", path, headers, "")).await
    }

    async fn form(&self, path: &str, body: &str, headers: &[(&str, &str)]) -> (StatusCode, Value) {
        let mut all = vec![("content-type", "application/x-www-form-urlencoded")];
        all.extend(headers);
        json_of(self.send(request("POST", path, &all, body)).await).await
    }

    async fn intended(&self, path: &str, body: Value) -> (StatusCode, Value) {
        let headers = [
            ("content-type", "application/json"),
            (INTENT_HEADER, "test"),
        ];
        json_of(
            self.send(request("POST", path, &headers, &body.to_string()))
                .await,
        )
        .await
    }

    async fn key(&self) -> PublicKey {
        let (status, jwks) = json_of(self.get("/oidc/keys", &[]).await).await;
        assert_eq!(status, 200);
        let part = |name: &str| {
            base64::decode_url(jwks["keys"][0][name].as_str().expect("a string"))
                .expect("base64url")
        };
        PublicKey::from_rsa_components(&part("n"), &part("e")).expect("an RSA key")
    }

    /// The claims of a token whose signature holds with the published key.
    async fn claims(&self, token: &Value) -> Value {
        let token = token.as_str().expect("a token");
        let (signed, signature) = token.rsplit_once('.').expect("three parts");
        let signature = base64::decode_url(signature).expect("base64url");
        let key = self.key().await;
        key.verify(key.default_algorithm(), signed.as_bytes(), &signature)
            .expect("the signature holds");
        let payload = signed.split_once('.').expect("two parts").1;
        serde_json::from_slice(&base64::decode_url(payload).expect("base64url")).expect("JSON")
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Request<Body> {
    let mut request = Request::builder().method(method).uri(path);
    if !headers.iter().any(|(name, _)| *name == "host") {
        request = request.header("host", HOST);
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request
        .body(Body::from(body.to_owned()))
        .expect("a valid request")
}

async fn text_of(response: Response<Body>) -> (StatusCode, String) {
    let status = response.status();
    let body = response
        .into_body()
        .collect()
        .await
        .expect("a body")
        .to_bytes();
    (status, String::from_utf8(body.to_vec()).expect("text"))
}

async fn json_of(response: Response<Body>) -> (StatusCode, Value) {
    assert!(
        response
            .headers()
            .get("access-control-allow-origin")
            .is_none(),
        "CORS is off"
    );
    let (status, text) = text_of(response).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::Null))
}

fn auth_path(redirect: &str) -> String {
    let mut query = url::form_urlencoded::Serializer::new(String::new());
    query.extend_pairs([
        ("response_type", "code"),
        ("client_id", "sigstore"),
        ("scope", "openid email"),
        ("redirect_uri", redirect),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
        ("state", "st&te"),
        ("nonce", "n0nce"),
    ]);
    format!("/oidc/auth?{}", query.finish())
}

fn location(response: &Response<Body>) -> url::Url {
    let location = response
        .headers()
        .get("location")
        .expect("a redirect")
        .to_str()
        .expect("ASCII");
    location.parse().expect("a URL")
}

fn query(url: &url::Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.into_owned())
}

async fn code_by_login(instance: &Instance, redirect: &str) -> String {
    let response = instance
        .get(&auth_path(redirect), &[("sec-fetch-site", "none")])
        .await;
    assert_eq!(response.status(), 303);
    let location = location(&response);
    assert_eq!(query(&location, "state").as_deref(), Some("st&te"));
    query(&location, "code").expect("a code")
}

#[tokio::test]
async fn discovery_names_what_clients_need() {
    let instance = instance(None).await;
    for path in [
        "/oidc/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server/oidc",
    ] {
        let (status, document) = json_of(instance.get(path, &[]).await).await;
        assert_eq!(status, 200);
        assert_eq!(document["issuer"], ISSUER);
        assert_eq!(document["authorization_endpoint"], format!("{ISSUER}/auth"));
        assert_eq!(document["token_endpoint"], format!("{ISSUER}/token"));
        assert_eq!(document["jwks_uri"], format!("{ISSUER}/keys"));
        assert_eq!(
            document["device_authorization_endpoint"],
            format!("{ISSUER}/device/code")
        );
        assert_eq!(
            document["code_challenge_methods_supported"],
            json!(["S256"])
        );
    }
    let (status, document) = json_of(
        instance
            .get("/oidc/ci/.well-known/openid-configuration", &[])
            .await,
    )
    .await;
    assert_eq!(
        (status.as_u16(), &document["issuer"]),
        (200, &json!(format!("{ISSUER}/ci")))
    );
}

#[tokio::test]
async fn the_key_outlives_a_restart_and_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let first = instance(None).await;
    let config = Config {
        dir: first.dir.path().join("idp"),
        ..Config::default()
    };
    let file = config.dir.join("signing_key.pem");
    assert_eq!(
        std::fs::metadata(&file)
            .expect("the key file")
            .permissions()
            .mode()
            & 0o777,
        0o600
    );
    let again = Idp::open(config.clone(), first.clock.clone())
        .await
        .expect("it opens");
    let second = Instance {
        router: again.router(),
        clock: first.clock.clone(),
        dir: tempfile::tempdir().expect("a directory"),
    };
    assert_eq!(first.key().await, second.key().await);

    std::fs::write(&file, "not a key").expect("it can be written");
    let error = Idp::open(config, first.clock.clone())
        .await
        .expect_err("that is no key")
        .to_string();
    assert!(
        error.contains("signing_key.pem") && error.contains("PKCS#8"),
        "{error}"
    );
}

#[tokio::test]
async fn a_code_becomes_two_tokens_as_published_clients_expect() {
    let instance = instance(Some("dev@example.com")).await;
    let redirect = "http://localhost:40123/auth/callback";
    for (authorization, form_client) in [
        (Some("Basic c2lnc3RvcmU6"), ""),
        (None, "&client_id=sigstore&client_secret="),
    ] {
        let code = code_by_login(&instance, redirect).await;
        let headers: Vec<_> = authorization
            .map(|value| ("authorization", value))
            .into_iter()
            .collect();
        let body = format!(
            "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&redirect_uri=http%3A%2F%2Flocalhost%3A40123%2Fauth%2Fcallback{form_client}"
        );
        let (status, tokens) = instance.form("/oidc/token", &body, &headers).await;
        assert_eq!(status, 200, "{tokens}");
        assert_eq!(tokens["token_type"], "Bearer");

        let access = instance.claims(&tokens["access_token"]).await;
        assert_eq!(
            (&access["aud"], &access["sub"]),
            (&json!("sigstore"), &json!("dev@example.com"))
        );
        let id = instance.claims(&tokens["id_token"]).await;
        assert_eq!(id["iss"], ISSUER);
        assert_eq!(id["email"], "dev@example.com");
        assert_eq!(id["email_verified"], true);
        assert_eq!(id["nonce"], "n0nce");
        assert_eq!((&id["iat"], &id["exp"]), (&json!(NOW), &json!(NOW + 600)));
        let digest = sha256(tokens["access_token"].as_str().expect("a token").as_bytes());
        assert_eq!(id["at_hash"], base64::encode_url(&digest[..16]));

        let (status, again) = instance.form("/oidc/token", &body, &headers).await;
        assert_eq!(
            (status.as_u16(), &again["error"]),
            (400, &json!("invalid_grant")),
            "a code works once"
        );
    }
}

#[tokio::test]
async fn the_login_page_leads_to_a_code() {
    let instance = instance(None).await;
    let page = instance
        .get(
            &auth_path("http://127.0.0.1:1/callback"),
            &[("sec-fetch-site", "cross-site")],
        )
        .await;
    let (status, html) = text_of(page).await;
    assert_eq!(status, 200);
    for needed in [
        "<html lang=\"en\">",
        "<label for=\"email\">",
        "<main>",
        "<h1>",
    ] {
        assert!(html.contains(needed), "{needed}");
    }
    let id = html
        .split("name=\"request\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a request id");
    let approval = json!({ "request": id, "email": "me@example.com" });
    let (status, answer) = instance
        .intended("/oidc/auth/approve", approval.clone())
        .await;
    assert_eq!(status, 200, "{answer}");
    let location: url::Url = answer["location"]
        .as_str()
        .expect("a location")
        .parse()
        .expect("a URL");
    let code = query(&location, "code").expect("a code");
    let body = format!(
        "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id=sigstore"
    );
    let (_, tokens) = instance.form("/oidc/token", &body, &[]).await;
    assert_eq!(
        instance.claims(&tokens["id_token"]).await["email"],
        "me@example.com"
    );

    let (status, refusal) = instance.intended("/oidc/auth/approve", approval).await;
    assert_eq!(
        (status.as_u16(), &refusal["details"][0]["reason"]),
        (404, &json!("NOT_FOUND")),
        "an answer stands"
    );
}

#[tokio::test]
async fn the_person_can_refuse() {
    let instance = instance(None).await;
    let (_, html) = text_of(instance.get(&auth_path("http://localhost:1/"), &[]).await).await;
    let id = html
        .split("name=\"request\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a request id");
    let (_, answer) = instance
        .intended("/oidc/auth/approve", json!({ "request": id, "deny": true }))
        .await;
    let location: url::Url = answer["location"]
        .as_str()
        .expect("a location")
        .parse()
        .expect("a URL");
    assert_eq!(query(&location, "error").as_deref(), Some("access_denied"));
    assert_eq!(query(&location, "code"), None);
}

#[tokio::test]
async fn the_forms_need_no_script_and_say_what_is_wrong_beside_the_field() {
    let instance = instance(None).await;
    let page = instance
        .get(&auth_path("http://localhost:5/callback"), &[])
        .await;
    let policy = page.headers()["content-security-policy"].clone();
    let policy = policy.to_str().expect("ASCII");
    assert!(
        policy.contains("form-action 'self' http://localhost:5;"),
        "{policy}"
    );
    let (_, html) = text_of(page).await;
    assert!(!html.contains("script"), "{html}");
    let id = html
        .split("name=\"request\" value=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next())
        .expect("a request id");
    let own = [
        ("content-type", "application/x-www-form-urlencoded"),
        ("origin", "http://127.0.0.1:7700"),
        ("sec-fetch-site", "same-origin"),
    ];
    let send = |path: &'static str, body: String| {
        let request = request("POST", path, &own, &body);
        instance.send(request)
    };
    let wrong = format!("request={id}&email=%3Cme&answer=approve");
    let (status, html) = text_of(send("/oidc/auth/approve", wrong).await).await;
    assert_eq!(status, 422);
    for needed in [
        "<title>Not yet: ",
        "id=\"email-problem\"",
        "aria-describedby=\"email-problem\"",
        "value=\"&lt;me\"",
    ] {
        assert!(html.contains(needed), "{needed}: {html}");
    }
    let right = format!("request={id}&email=me%40example.com&answer=approve");
    let answer = send("/oidc/auth/approve", right.clone()).await;
    assert_eq!(answer.status(), 303);
    assert!(query(&location(&answer), "code").is_some());
    assert_eq!(send("/oidc/auth/approve", right).await.status(), 404);

    let unknown = "user_code=BBBB-BBBB&email=me%40example.com&answer=approve";
    let (status, html) = text_of(send("/oidc/device/approve", unknown.into()).await).await;
    assert_eq!(status, 422);
    assert!(html.contains("id=\"user_code-problem\""), "{html}");
}

#[tokio::test]
async fn a_form_of_another_page_is_refused() {
    let instance = instance(None).await;
    for path in ["/oidc/auth/approve", "/oidc/device/approve"] {
        for origin in [
            &[][..],
            &[("origin", "null")],
            &[("origin", "http://evil.test")],
            &[
                ("origin", "http://127.0.0.1:7700"),
                ("sec-fetch-site", "cross-site"),
            ],
        ] {
            let mut headers = vec![("content-type", "application/x-www-form-urlencoded")];
            headers.extend(origin);
            let body = "user_code=BBBB-BBBB&email=me%40example.com";
            let (status, html) =
                text_of(instance.send(request("POST", path, &headers, body)).await).await;
            assert_eq!(status, 403, "{path} {origin:?}");
            assert!(html.contains("cannot go on"), "{html}");
        }
    }
}

#[tokio::test]
async fn a_code_can_be_carried_over_by_hand() {
    let instance = instance(Some("dev@example.com")).await;
    let (status, html) = text_of(
        instance
            .get(&auth_path("urn:ietf:wg:oauth:2.0:oob"), &[])
            .await,
    )
    .await;
    assert_eq!(status, 200);
    let code = html
        .split("<code>")
        .nth(1)
        .and_then(|rest| rest.split("</code>").next())
        .expect("a code");
    let body = format!(
        "grant_type=authorization_code&code={code}&code_verifier={VERIFIER}&client_id=sigstore&redirect_uri=urn%3Aietf%3Awg%3Aoauth%3A2.0%3Aoob"
    );
    assert_eq!(instance.form("/oidc/token", &body, &[]).await.0, 200);
}

#[tokio::test]
async fn a_bad_redirect_is_told_on_a_page_and_never_followed() {
    let instance = instance(Some("dev@example.com")).await;
    for redirect in [
        "https://evil.test/cb",
        "http://evil.test/cb",
        "http://localhost.evil.test/",
        "//localhost/",
        "",
    ] {
        let response = instance.get(&auth_path(redirect), &[]).await;
        assert_eq!(response.status(), 400, "{redirect}");
        assert!(response.headers().get("location").is_none());
    }
}

#[tokio::test]
async fn a_request_without_pkce_is_told_to_the_client() {
    let instance = instance(Some("dev@example.com")).await;
    let path = auth_path("http://localhost:1/").replace("code_challenge=", "other=");
    let response = instance.get(&path, &[]).await;
    let location = location(&response);
    assert_eq!(
        query(&location, "error").as_deref(),
        Some("invalid_request")
    );
    assert_eq!(query(&location, "state").as_deref(), Some("st&te"));
    assert_eq!(query(&location, "code"), None);
}

#[tokio::test]
async fn the_device_flow_with_a_person() {
    let instance = instance(None).await;
    let (status, started) = instance
        .form(
            "/oidc/device/code",
            "client_id=sigstore&scope=openid+email",
            &[],
        )
        .await;
    assert_eq!(status, 200, "{started}");
    let user_code = started["user_code"].as_str().expect("a code");
    assert_eq!(started["verification_uri"], format!("{ISSUER}/device"));
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&client_id=sigstore&device_code={}",
        started["device_code"].as_str().expect("a code")
    );
    let (status, pending) = instance.form("/oidc/token", &body, &[]).await;
    assert_eq!(
        (status.as_u16(), &pending["error"]),
        (400, &json!("authorization_pending"))
    );
    let (_, slow) = instance.form("/oidc/token", &body, &[]).await;
    assert_eq!(slow["error"], "slow_down");

    let (status, html) = text_of(
        instance
            .get(&format!("/oidc/device?user_code={user_code}"), &[])
            .await,
    )
    .await;
    assert!(status == 200 && html.contains(user_code));
    let approval = json!({ "user_code": user_code.to_lowercase(), "email": "me@example.com" });
    assert_eq!(
        instance
            .intended("/oidc/device/approve", approval.clone())
            .await
            .0,
        200
    );
    assert_eq!(
        instance.intended("/oidc/device/approve", approval).await.0,
        404
    );
    instance.clock.advance(6);
    let (status, tokens) = instance.form("/oidc/token", &body, &[]).await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(
        instance.claims(&tokens["id_token"]).await["email"],
        "me@example.com"
    );
    let (_, gone) = instance.form("/oidc/token", &body, &[]).await;
    assert_eq!(gone["error"], "expired_token");
}

#[tokio::test]
async fn the_device_flow_approves_itself_with_a_login_and_checks_pkce() {
    let instance = instance(Some("dev@example.com")).await;
    let start = format!(
        "client_id=sigstore&scope=openid+email&code_challenge={CHALLENGE}&code_challenge_method=S256"
    );
    let (_, started) = instance.form("/oidc/device/code", &start, &[]).await;
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Adevice_code&device_code={}&code_verifier={VERIFIER}",
        started["device_code"].as_str().expect("a code")
    );
    let (status, tokens) = instance
        .form(
            "/oidc/token",
            &body,
            &[("authorization", "Basic c2lnc3RvcmU6")],
        )
        .await;
    assert_eq!(status, 200, "{tokens}");
    assert_eq!(
        instance.claims(&tokens["id_token"]).await["sub"],
        "dev@example.com"
    );
}

#[tokio::test]
async fn tokens_are_minted_for_scripts() {
    let instance = instance(None).await;
    let body = json!({ "email": "ci@example.com", "ttl": -5, "audience": "other", "claims": { "iss": "https://x.test", "extra": [1] } });
    let (status, answer) = instance.intended("/oidc/mint", body).await;
    assert_eq!(status, 200, "{answer}");
    let claims = instance.claims(&answer["token"]).await;
    assert_eq!(claims["iss"], "https://x.test");
    assert_eq!(claims["aud"], "other");
    assert_eq!(claims["exp"], NOW - 5);
    assert_eq!(claims["extra"], json!([1]));
}

#[tokio::test]
async fn no_web_page_obtains_a_token() {
    let instance = instance(Some("dev@example.com")).await;
    let attacks: [&[(&str, &str)]; 6] = [
        &[("host", "evil.test:7700")],
        &[("origin", "http://evil.test")],
        &[("origin", "http://localhost:3000")],
        &[("origin", "null")],
        &[("sec-fetch-site", "cross-site")],
        &[("sec-fetch-site", "same-site")],
    ];
    for attack in attacks {
        for path in [
            "/oidc/mint",
            "/oidc/auth/approve",
            "/oidc/device/approve",
            "/oidc/token",
            "/oidc/device/code",
        ] {
            let mut headers = vec![("content-type", "application/json"), (INTENT_HEADER, "x")];
            headers.extend(attack);
            let response = instance
                .send(request("POST", path, &headers, r#"{"email":"a@b"}"#))
                .await;
            let (status, answer) = json_of(response).await;
            assert_eq!(status, 403, "{path} {attack:?}");
            assert_eq!(answer["details"][0]["reason"], "PERMISSION_DENIED");
        }
        let response = instance
            .get(&auth_path("http://localhost:1/"), attack)
            .await;
        assert_eq!(response.status(), 403, "{attack:?}");
        assert!(response.headers().get("location").is_none());
    }
}

#[tokio::test]
async fn minting_and_approval_need_the_header() {
    let instance = instance(None).await;
    for path in ["/oidc/mint", "/oidc/auth/approve", "/oidc/device/approve"] {
        let headers = [("content-type", "application/json")];
        let (status, answer) = json_of(
            instance
                .send(request("POST", path, &headers, r#"{"email":"a@b"}"#))
                .await,
        )
        .await;
        assert_eq!(status, 403, "{path}");
        assert!(
            answer["message"]
                .as_str()
                .expect("a message")
                .contains(INTENT_HEADER)
        );
    }
    let preflight = request(
        "OPTIONS",
        "/oidc/mint",
        &[("origin", "http://evil.test")],
        "",
    );
    let response = instance.send(preflight).await;
    assert_eq!(response.status(), 405);
    assert!(
        response
            .headers()
            .get("access-control-allow-headers")
            .is_none()
    );
}

#[tokio::test]
async fn bad_input_gets_a_clear_answer() {
    let instance = instance(None).await;
    let wrong_type = instance
        .send(request(
            "POST",
            "/oidc/mint",
            &[(INTENT_HEADER, "x"), ("content-type", "text/plain")],
            "{}",
        ))
        .await;
    assert_eq!(wrong_type.status(), 415);
    let (status, answer) = instance
        .intended("/oidc/mint", json!({ "emial": "a@b" }))
        .await;
    assert_eq!(
        (status.as_u16(), &answer["details"][0]["reason"]),
        (400, &json!("MALFORMED_REQUEST"))
    );
    let (status, _) = instance
        .intended("/oidc/mint", json!({ "subject": "x".repeat(70_000) }))
        .await;
    assert_eq!(status, 413);
    let (status, answer) = instance
        .form("/oidc/token", "grant_type=password&client_id=sigstore", &[])
        .await;
    assert_eq!(
        (status.as_u16(), &answer["error"]),
        (400, &json!("unsupported_grant_type"))
    );
    let (status, answer) = instance
        .form(
            "/oidc/token",
            "grant_type=authorization_code&client_id=other",
            &[],
        )
        .await;
    assert_eq!(
        (status.as_u16(), &answer["error"]),
        (401, &json!("invalid_client"))
    );
    let response = instance.get("/oidc/token", &[]).await;
    assert_eq!(response.status(), 405);
    assert_eq!(
        response
            .headers()
            .get("allow")
            .and_then(|value| value.to_str().ok()),
        Some("POST")
    );
    let (status, answer) = json_of(instance.get("/oidc/nothing", &[]).await).await;
    assert_eq!(
        (status.as_u16(), &answer["details"][0]["reason"]),
        (404, &json!("NOT_FOUND"))
    );
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused() {
    let clock = Arc::new(ManualClock::at(NOW));
    let dir = tempfile::tempdir().expect("a temporary directory");
    type Change = fn(&mut Config);
    let change: [(&str, Change); 5] = [
        ("slash", |config| {
            config.issuer = "http://127.0.0.1/oidc/".into()
        }),
        ("http", |config| {
            config.issuer = "ftp://127.0.0.1/oidc".into()
        }),
        ("URL", |config| config.issuer = "oidc".into()),
        ("e-mail", |config| config.login = Some("nobody".into())),
        ("segment", |config| {
            config.extra_issuers = vec!["token".into()]
        }),
    ];
    for (expected, change) in change {
        let mut config = Config {
            dir: dir.path().join("idp"),
            ..Config::default()
        };
        change(&mut config);
        let error = Idp::open(config, clock.clone())
            .await
            .expect_err(expected)
            .to_string();
        assert!(error.contains(expected), "{error}");
    }
}
