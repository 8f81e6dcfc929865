//! Whole logins at a provider that answers as a test tells it to. Honest ones are the integration tests' matter; these are the
//! answers that no honest provider gives on demand.

use std::sync::{Arc, Mutex};

use sealwright_crypto::base64;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use url::form_urlencoded;

use super::*;
use crate::testing::unsigned;

const NOW: i64 = 1_800_000_000;
const ISSUER: &str = "https://issuer.test";
const NOBODY: Circumstances = Circumstances {
    browser: false,
    keyboard: false,
};

/// A provider whose answers can be changed, and which remembers what it was sent.
struct Fake {
    discovery: Value,
    /// Status and body of the token endpoint, in turn; the last one stays.
    tokens: Mutex<Vec<(u16, Value)>>,
    /// What is laid over the claims of the ID token in an answer that says `"id_token": "claims"`.
    claims: Value,
    device: Value,
    seen: Seen,
}

#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<String>>>, Arc<Mutex<String>>);

impl Seen {
    fn bodies(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }

    fn keep_nonce(&self, url: &str) {
        let url = Url::parse(url).unwrap();
        let nonce = url.query_pairs().find(|(name, _)| name == "nonce");
        *self.1.lock().unwrap() = nonce.unwrap().1.into_owned();
    }
}

impl Fake {
    fn new() -> Self {
        Self {
            discovery: json!({
                "issuer": ISSUER,
                "authorization_endpoint": "https://issuer.test/auth",
                "token_endpoint": "https://issuer.test/token",
                "device_authorization_endpoint": "https://issuer.test/device",
            }),
            tokens: Mutex::new(vec![(200, granted())]),
            claims: json!({}),
            device: json!({
                "device_code": "d",
                "user_code": "BCDF-GHJK",
                "verification_uri": "https://issuer.test/enter",
                "expires_in": 600,
                "interval": 5,
            }),
            seen: Seen::default(),
        }
    }

    fn answers(self, tokens: &[(u16, Value)]) -> Self {
        *self.tokens.lock().unwrap() = tokens.to_vec();
        self
    }

    fn token(&self) -> String {
        let mut claims = json!({
            "iss": ISSUER, "aud": "sigstore", "sub": "1", "email": "a@example.com",
            "iat": NOW, "exp": NOW + 60, "nonce": *self.seen.1.lock().unwrap(),
        });
        let changes = self.claims.as_object().unwrap().clone();
        claims.as_object_mut().unwrap().extend(changes);
        unsigned(r#"{"alg":"ES256"}"#, &claims.to_string())
    }

    fn answer(&self, request: &http::Request<Vec<u8>>) -> (u16, Value) {
        let body = String::from_utf8(request.body().clone()).unwrap();
        self.seen.0.lock().unwrap().push(body);
        match request.uri().path() {
            "/.well-known/openid-configuration" => (200, self.discovery.clone()),
            "/device" => (200, self.device.clone()),
            "/token" => {
                let mut tokens = self.tokens.lock().unwrap();
                let (status, mut body) = match tokens.len() {
                    0 | 1 => tokens[0].clone(),
                    _ => tokens.remove(0),
                };
                if body["id_token"] == "claims" {
                    body["id_token"] = self.token().into();
                }
                (status, body)
            }
            other => panic!("{other} was asked"),
        }
    }
}

fn granted() -> Value {
    json!({ "access_token": "not-for-us", "token_type": "Bearer", "id_token": "claims" })
}

fn refused(code: &str) -> (u16, Value) {
    (400, json!({ "error": code }))
}

impl Transport for Fake {
    fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Pending<'_, Result<http::Response<Vec<u8>>, TransportError>> {
        let (status, body) = self.answer(&request);
        let response = http::Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(body.to_string().into_bytes());
        Box::pin(async { Ok(response.unwrap()) })
    }
}

/// A person whose browser sends `query` to the redirect, with the state of the request put in for `STATE`.
struct Somebody {
    query: &'static str,
    seen: Seen,
    shown: Mutex<Vec<String>>,
}

impl Somebody {
    fn at(fake: &Fake, query: &'static str) -> Self {
        Self {
            query,
            seen: fake.seen.clone(),
            shown: Mutex::default(),
        }
    }

    fn answer(&self, url: &str) -> Url {
        self.seen.keep_nonce(url);
        let url = Url::parse(url).unwrap();
        let parameter = |wanted: &str| {
            let found = url.query_pairs().find(|(name, _)| name == wanted);
            found.unwrap().1.into_owned()
        };
        let mut back = Url::parse(&parameter("redirect_uri")).unwrap();
        back.set_query(Some(&self.query.replace("STATE", &parameter("state"))));
        back
    }
}

impl Person for Somebody {
    fn open(&self, url: &str) {
        let back = self.answer(url);
        tokio::spawn(async move {
            let address = ("127.0.0.1", back.port().unwrap());
            let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let target = format!("{}?{}", back.path(), back.query().unwrap());
            let request = format!("GET {target} HTTP/1.1\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut page = String::new();
            stream.read_to_string(&mut page).await.unwrap();
        });
    }

    fn enter_code(&self, url: &str, complete: Option<&str>, code: &str) {
        let complete = complete.unwrap_or("-");
        self.shown
            .lock()
            .unwrap()
            .push(format!("{url} {complete} {code}"));
    }

    fn paste(&self, url: &str) -> Pending<'_, std::io::Result<String>> {
        let back = self.answer(url);
        Box::pin(async move { Ok(back.to_string()) })
    }
}

fn options(flow: Flow) -> LoginOptions {
    LoginOptions {
        flow,
        ..LoginOptions::new(ISSUER)
    }
}

async fn login(fake: &Fake, flow: Flow) -> Result<Secret, LoginError> {
    let person = Somebody::at(fake, "code=c&state=STATE");
    log_in(&options(flow), NOBODY, fake, &person, NOW).await
}

/// The device flow in no time at all; also the pauses in seconds.
async fn device_login(
    fake: &Fake,
    person: &Somebody,
    patience: Duration,
) -> (Result<Secret, LoginError>, Vec<u64>) {
    let pauses = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&pauses);
    let pause = move |interval: Duration| -> Pending<'static, ()> {
        noted.lock().unwrap().push(interval.as_secs());
        Box::pin(tokio::task::yield_now())
    };
    let options = LoginOptions {
        patience,
        ..options(Flow::Device)
    };
    let outcome = log_in_pausing(&options, NOBODY, fake, person, NOW, &pause).await;
    let pauses = pauses.lock().unwrap().clone();
    (outcome, pauses)
}

#[tokio::test]
async fn a_browser_brings_an_id_token() {
    let fake = Fake::new();
    let token = login(&fake, Flow::Browser).await.unwrap();
    assert_eq!(token.expose(), fake.token());
    let bodies = fake.seen.bodies();
    let form: Vec<_> = form_urlencoded::parse(bodies[1].as_bytes()).collect();
    let value = |wanted: &str| {
        let found = form.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.clone().into_owned())
    };
    assert_eq!(value("code").as_deref(), Some("c"));
    assert_eq!(value("client_id").as_deref(), Some("sigstore"));
    assert!(value("code_verifier").is_some_and(|verifier| verifier.len() >= 43));
    assert!(
        value("redirect_uri")
            .unwrap()
            .starts_with("http://localhost:")
    );
}

#[tokio::test]
async fn tokens_that_answer_another_login_are_refused() {
    for (claims, wanted) in [
        (json!({ "nonce": "other" }), "nonce"),
        (json!({ "nonce": null }), "nonce"),
        (json!({ "aud": "other" }), "audience"),
        (json!({ "iss": "https://evil.test" }), "issuer"),
        (json!({ "exp": NOW }), "expired"),
    ] {
        let fake = Fake {
            claims: claims.clone(),
            ..Fake::new()
        };
        for flow in [Flow::Browser, Flow::Paste] {
            let error = login(&fake, flow).await.unwrap_err();
            assert!(error.to_string().contains(wanted), "{claims}: {error}");
        }
    }
}

#[tokio::test]
async fn an_access_token_is_no_id_token() {
    let only = json!({ "access_token": unsigned("{}", "{}"), "token_type": "Bearer" });
    let fake = Fake::new().answers(&[(200, only)]);
    let error = login(&fake, Flow::Browser).await.unwrap_err();
    assert!(matches!(error, LoginError::IdTokenMissing), "{error}");
}

#[tokio::test]
async fn a_document_of_another_issuer_ends_the_login() {
    let mut fake = Fake::new();
    fake.discovery["issuer"] = "https://issuer.test/".into();
    let error = login(&fake, Flow::Browser).await.unwrap_err();
    assert!(
        matches!(error, LoginError::IssuerMismatch { .. }),
        "{error}"
    );
    assert_eq!(fake.seen.bodies().len(), 1, "nothing else was asked");
}

#[tokio::test]
async fn a_refusal_is_told_with_its_code() {
    let fake = Fake::new();
    let person = Somebody::at(
        &fake,
        "error=access_denied&error_description=no&state=STATE",
    );
    for flow in [Flow::Browser, Flow::Paste] {
        let error = log_in(&options(flow), NOBODY, &fake, &person, NOW).await;
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "the provider refused: access_denied (no)");
    }
    let fake = Fake::new().answers(&[refused("invalid_grant")]);
    let error = login(&fake, Flow::Browser).await.unwrap_err();
    assert!(matches!(error, LoginError::Refused { code, .. } if code == "invalid_grant"));
}

/// Somebody who looks for their password first.
struct Slow(Somebody, Duration);

impl Person for Slow {
    fn open(&self, url: &str) {
        self.0.open(url);
    }

    fn enter_code(&self, url: &str, complete: Option<&str>, code: &str) {
        self.0.enter_code(url, complete, code);
    }

    fn paste(&self, url: &str) -> Pending<'_, std::io::Result<String>> {
        let pasting = self.0.paste(url);
        Box::pin(async {
            tokio::time::sleep(self.1).await;
            pasting.await
        })
    }
}

#[tokio::test]
async fn a_token_is_judged_when_it_comes_and_not_when_the_login_began() {
    let slow = |fake: &Fake| {
        let person = Somebody::at(fake, "code=c&state=STATE");
        Slow(person, Duration::from_millis(1100))
    };
    let mut fake = Fake::new();
    // A second further ahead than a provider's clock may be when the login begins.
    let issued_at = NOW + crate::token::ISSUED_AT_LEEWAY_SECONDS + 1;
    fake.claims = json!({ "iat": issued_at, "exp": issued_at + 60 });
    assert!(login(&fake, Flow::Paste).await.is_err(), "too soon");
    let fresh = log_in(&options(Flow::Paste), NOBODY, &fake, &slow(&fake), NOW).await;
    assert!(fresh.is_ok(), "{fresh:?}");

    fake.claims = json!({ "iat": NOW, "exp": NOW + 1 });
    assert!(login(&fake, Flow::Paste).await.is_ok());
    let stale = log_in(&options(Flow::Paste), NOBODY, &fake, &slow(&fake), NOW).await;
    assert!(
        matches!(
            stale,
            Err(LoginError::IdToken(crate::TokenError::Expired { .. }))
        ),
        "{stale:?}"
    );
}

#[tokio::test]
async fn a_foreign_state_is_no_answer() {
    let fake = Fake::new();
    let person = Somebody::at(&fake, "code=c&state=other");
    let error = log_in(&options(Flow::Paste), NOBODY, &fake, &person, NOW).await;
    assert!(matches!(error, Err(LoginError::Pasted { .. })));
    let options = LoginOptions {
        patience: Duration::from_millis(200),
        ..options(Flow::Browser)
    };
    let error = log_in(&options, NOBODY, &fake, &person, NOW).await;
    assert!(
        matches!(error, Err(LoginError::TimedOut { .. })),
        "the listener went on waiting"
    );
}

#[tokio::test]
async fn a_device_waits_and_slows_down_as_it_is_told() {
    let fake = Fake::new().answers(&[
        refused("authorization_pending"),
        refused("slow_down"),
        refused("authorization_pending"),
        (200, granted()),
    ]);
    let person = Somebody::at(&fake, "");
    let (token, pauses) = device_login(&fake, &person, DEFAULT_PATIENCE).await;
    assert!(token.is_ok());
    assert_eq!(pauses, [5, 10, 10], "RFC 8628 section 3.5");
    let shown = person.shown.lock().unwrap().clone();
    assert_eq!(shown, ["https://issuer.test/enter - BCDF-GHJK"]);
    let bodies = fake.seen.bodies();
    assert!(
        bodies[1].contains("code_challenge_method=S256"),
        "{}",
        bodies[1]
    );
    assert!(bodies[2].contains("code_verifier="), "{}", bodies[2]);
}

#[tokio::test]
async fn a_device_ends_as_it_is_told() {
    let fake = Fake::new().answers(&[refused("expired_token")]);
    assert!(matches!(
        login(&fake, Flow::Device).await,
        Err(LoginError::CodeExpired)
    ));
    let fake = Fake::new().answers(&[refused("access_denied")]);
    let denied = login(&fake, Flow::Device).await;
    assert!(matches!(denied, Err(LoginError::Refused { code, .. }) if code == "access_denied"));
    // Never answered: the shorter of the code's life and our own patience is the limit.
    for (expires_in, patience, limit) in [
        (1, DEFAULT_PATIENCE, 1),
        (600, Duration::from_millis(50), 0),
    ] {
        let mut fake = Fake::new().answers(&[refused("authorization_pending")]);
        fake.device["expires_in"] = expires_in.into();
        let person = Somebody::at(&fake, "");
        let (late, _) = device_login(&fake, &person, patience).await;
        assert!(matches!(late, Err(LoginError::TimedOut { seconds }) if seconds == limit));
    }
}

#[tokio::test]
async fn hostile_device_answers_are_not_shown() {
    for (name, value) in [
        ("interval", json!(u64::MAX)),
        ("user_code", json!("a\u{1b}[2J")),
        ("user_code", json!("")),
        ("user_code", json!("x".repeat(65))),
        ("verification_uri", json!("http://issuer.test/enter")),
        ("verification_uri", json!("javascript:alert(1)")),
        ("verification_uri_complete", json!("file:///etc/passwd")),
        ("verification_uri_complete", json!("no address")),
    ] {
        // A provider that also says slow_down would make a careless client add to the longest interval there is.
        let mut fake = Fake::new().answers(&[refused("slow_down")]);
        fake.device[name] = value.clone();
        let person = Somebody::at(&fake, "");
        let error = log_in(&options(Flow::Device), NOBODY, &fake, &person, NOW).await;
        let error = error.unwrap_err();
        assert!(
            matches!(
                error,
                LoginError::NotUnderstood { .. } | LoginError::Endpoint { .. }
            ),
            "{name} {value}: {error}"
        );
        assert!(person.shown.lock().unwrap().is_empty());
    }
    let mut fake = Fake::new();
    fake.device["expires_in"] = u64::MAX.into();
    fake.device["interval"] = 0.into();
    assert!(
        login(&fake, Flow::Device).await.is_ok(),
        "our own limit holds"
    );
}

#[tokio::test]
async fn the_best_flow_of_those_there_are_is_chosen() {
    let auto = options(Flow::Auto);
    let at_desk = Circumstances {
        browser: true,
        keyboard: true,
    };
    let remote = Circumstances {
        browser: false,
        keyboard: true,
    };
    let flow = async |fake: &Fake, circumstances| {
        let provider = Provider::discover(ISSUER, fake).await.unwrap();
        let login = Login {
            options: &auto,
            client: provider.client(&auto),
            provider,
            transport: fake,
            pause: &|_| Box::pin(std::future::ready(())),
        };
        login.flow(circumstances)
    };
    let full = Fake::new();
    let mut plain = Fake::new();
    plain.discovery["device_authorization_endpoint"] = Value::Null;
    assert_eq!(flow(&full, at_desk).await.unwrap(), Flow::Browser);
    assert_eq!(flow(&full, remote).await.unwrap(), Flow::Device);
    assert_eq!(flow(&plain, remote).await.unwrap(), Flow::Paste);
    assert!(matches!(flow(&plain, NOBODY).await, Err(LoginError::NoWay)));
    let asked = login(&plain, Flow::Device).await;
    assert!(matches!(asked, Err(LoginError::DeviceNotOffered)));
}

#[tokio::test]
async fn a_service_account_needs_its_secret() {
    let fake = Fake::new();
    let mut options = options(Flow::ClientCredentials);
    let person = Somebody::at(&fake, "");
    let without = log_in(&options, NOBODY, &fake, &person, NOW).await;
    assert!(matches!(without, Err(LoginError::SecretMissing)));
    options.client_secret = Some(Secret::new("s3cret"));
    assert!(!format!("{options:?}").contains("s3cret"));
    assert!(log_in(&options, NOBODY, &fake, &person, NOW).await.is_ok());
    let bodies = fake.seen.bodies();
    let last = bodies.last().unwrap();
    assert!(last.contains("grant_type=client_credentials"), "{last}");
    assert!(!last.contains("s3cret"), "it travels in the header");
}

#[tokio::test]
async fn answers_that_are_not_understood_are_not_quoted() {
    let secret = base64::encode_url(b"secret");
    for body in [
        json!({ "access_token": 5, "id_token": secret }),
        json!(secret),
    ] {
        let fake = Fake::new().answers(&[(200, body)]);
        let error = login(&fake, Flow::Browser).await.unwrap_err();
        assert!(matches!(error, LoginError::NotUnderstood { .. }), "{error}");
        assert!(!error.to_string().contains(&secret), "{error}");
    }
}
