//! The logins in progress: authorization requests, codes and device codes. Pure state; time and randomness come in.
//!
//! Everything here is short-lived, single-use and counted. A login moves one way:
//!
//! ```text
//! authorization request --approve--> code --redeem--> tokens        (RFC 6749 section 4.1, RFC 7636)
//! device code --approve by user code--> approved --poll--> tokens   (RFC 8628)
//! ```
//!
//! Nothing here proves who the person is: this provider believes the address it is given. That is why it is for development
//! only, and why a user code needs no guard against guessing: who can reach the page can approve anything.

use std::collections::HashMap;
use std::fmt;

use sealwright_crypto::{base64, constant_time_eq, sha256};

use crate::claims::Grant;
use crate::oauth::{OAuthError, Parameters};

/// How long a login page stays good, in seconds.
const REQUEST_LIFETIME_SECONDS: i64 = 10 * 60;
/// How long a code can be redeemed, in seconds (RFC 6749 section 4.1.2 recommends ten minutes at most).
const CODE_LIFETIME_SECONDS: i64 = 60;
/// How long a device code lives, in seconds.
pub(crate) const DEVICE_LIFETIME_SECONDS: i64 = 5 * 60;
/// The polling interval we ask for, in seconds.
pub(crate) const DEVICE_INTERVAL_SECONDS: i64 = 1;
/// What `slow_down` adds to the interval (RFC 8628 section 3.5), in milliseconds.
const SLOW_DOWN_MS: i64 = 5_000;
/// How much sooner than asked a poll may come, in milliseconds: timers and networks are not exact.
const POLL_TOLERANCE_MS: i64 = 200;

/// Entries of each kind. One of a few KiB at most, so a few MiB in all.
const CAPACITY: usize = 1024;
const MAX_VALUE_LEN: usize = 2048;
const MAX_VERIFIER_LEN: usize = 128; // RFC 7636 section 4.1
const MIN_VERIFIER_LEN: usize = 43;
const CHALLENGE_LEN: usize = 43; // base64url of 32 bytes

/// Where the answer of an authorization goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Redirect {
    /// A listener of the client on this machine (RFC 8252 section 7.3).
    Loopback(Box<url::Url>),
    /// The code is shown, and the person carries it over.
    OutOfBand,
}

/// The URN that asks for a code to be shown.
pub(crate) const OUT_OF_BAND: &str = "urn:ietf:wg:oauth:2.0:oob";

impl Redirect {
    /// `http://localhost`, `127.0.0.1` or `[::1]` with any port and any path. Nothing else: the provider has no registered
    /// clients, so a redirect that leaves the machine would hand codes to whoever asks.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let refuse = |problem: &str| {
            Err(format!(
                "redirect_uri {text:?} {problem}; accepted are http://localhost, http://127.0.0.1 and http://[::1] with any port and path, and {OUT_OF_BAND}"
            ))
        };
        if text == OUT_OF_BAND {
            return Ok(Self::OutOfBand);
        }
        if text.len() > MAX_VALUE_LEN {
            return Err(format!("redirect_uri is longer than {MAX_VALUE_LEN} bytes"));
        }
        let Ok(url) = url::Url::parse(text) else {
            return refuse("is no URL");
        };
        if url.scheme() != "http" {
            return refuse("is not http");
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return refuse("has a user or a fragment");
        }
        match url.host_str() {
            Some("localhost" | "127.0.0.1" | "[::1]") => Ok(Self::Loopback(Box::new(url))),
            _ => refuse("is not on this machine"),
        }
    }
}

/// A checked authorization request, waiting for the person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Authorization {
    pub(crate) redirect: Redirect,
    redirect_text: String,
    pub(crate) state: Option<String>,
    nonce: Option<String>,
    with_email: bool,
    challenge: String,
    pub(crate) login_hint: Option<String>,
}

/// Why an authorization request is refused, and where that may be said.
#[derive(Debug)]
pub(crate) enum AuthorizationError {
    /// Client or redirect are in doubt: said on a page, never by a redirect.
    Page(String),
    /// Said to the client.
    Redirect {
        redirect: Redirect,
        state: Option<String>,
        error: OAuthError,
    },
}

impl Authorization {
    /// Checks a request of RFC 6749 section 4.1.1 with PKCE (RFC 7636 section 4.3). `approves_itself` is whether nobody
    /// has to be asked; otherwise a person is shown a page, which `prompt=none` forbids.
    pub(crate) fn parse(
        parameters: &Parameters,
        client_id: &str,
        approves_itself: bool,
    ) -> Result<Self, AuthorizationError> {
        let page = |problem: String| AuthorizationError::Page(problem);
        if let Some(name) = parameters.repeated() {
            return Err(page(format!("parameter {name:?} was sent twice")));
        }
        match parameters.get("client_id") {
            Some(given) if given == client_id => {}
            given => {
                return Err(page(format!(
                    "client_id {:?} is unknown; this provider knows {client_id:?}",
                    given.unwrap_or("")
                )));
            }
        }
        let redirect_text = parameters
            .get("redirect_uri")
            .ok_or_else(|| page("redirect_uri is missing".into()))?;
        let redirect = Redirect::parse(redirect_text).map_err(page)?;
        // Kept short before it is echoed anywhere.
        let state = parameters.get("state").map(str::to_owned);
        if state
            .as_ref()
            .is_some_and(|state| state.len() > MAX_VALUE_LEN)
        {
            return Err(page(format!("state is longer than {MAX_VALUE_LEN} bytes")));
        }
        match Self::requested(parameters, approves_itself) {
            Ok((nonce, with_email, challenge, login_hint)) => Ok(Self {
                redirect,
                redirect_text: redirect_text.to_owned(),
                state,
                nonce,
                with_email,
                challenge,
                login_hint,
            }),
            Err(error) => Err(AuthorizationError::Redirect {
                redirect,
                state,
                error,
            }),
        }
    }

    /// The part of the request whose errors the client is told.
    fn requested(
        parameters: &Parameters,
        approves_itself: bool,
    ) -> Result<(Option<String>, bool, String, Option<String>), OAuthError> {
        for (name, code) in [
            ("request", "request_not_supported"),
            ("request_uri", "request_uri_not_supported"),
        ] {
            if parameters.get(name).is_some() {
                return Err(OAuthError::new(
                    code,
                    format!("{name} is not supported; send plain parameters"),
                ));
            }
        }
        match parameters.get("response_type") {
            Some("code") => {}
            given => {
                return Err(OAuthError::new(
                    "unsupported_response_type",
                    format!("response_type {given:?}; expected \"code\""),
                ));
            }
        }
        if let Some(mode) = parameters
            .get("response_mode")
            .filter(|mode| *mode != "query")
        {
            return Err(OAuthError::invalid_request(format!(
                "response_mode {mode:?} is not supported; expected \"query\""
            )));
        }
        let with_email = email_scope(parameters)?;
        if parameters.get("prompt") == Some("none") && !approves_itself {
            return Err(OAuthError::new(
                "login_required",
                "nobody is logged in, and prompt=none forbids asking".into(),
            ));
        }
        let challenge = challenge(parameters)?.ok_or_else(|| {
            OAuthError::invalid_request(
                "code_challenge is missing; a public client has to use PKCE with S256".into(),
            )
        })?;
        let nonce = parameters.get("nonce").map(str::to_owned);
        if nonce
            .as_ref()
            .is_some_and(|nonce| nonce.len() > MAX_VALUE_LEN)
        {
            return Err(OAuthError::invalid_request(format!(
                "nonce is longer than {MAX_VALUE_LEN} bytes"
            )));
        }
        let login_hint = parameters
            .get("login_hint")
            .filter(|hint| crate::claims::is_email(hint))
            .map(str::to_owned);
        Ok((nonce, with_email, challenge, login_hint))
    }
}

/// Whether `email` was asked for. `openid` has to be (OpenID Connect Core section 3.1.2.1); scopes we do not know are ignored.
fn email_scope(parameters: &Parameters) -> Result<bool, OAuthError> {
    let scope = parameters.get("scope").unwrap_or("");
    if !scope.split(' ').any(|scope| scope == "openid") {
        return Err(OAuthError::new(
            "invalid_scope",
            format!("scope {scope:?} lacks \"openid\"; send \"openid email\""),
        ));
    }
    Ok(scope.split(' ').any(|scope| scope == "email"))
}

/// The PKCE challenge, if one was sent. `plain` is refused: it protects nothing against who can read the request.
fn challenge(parameters: &Parameters) -> Result<Option<String>, OAuthError> {
    let Some(challenge) = parameters.get("code_challenge") else {
        return Ok(None);
    };
    match parameters.get("code_challenge_method") {
        Some("S256") => {}
        given => {
            let given = given.unwrap_or("plain");
            return Err(OAuthError::invalid_request(format!(
                "code_challenge_method {given:?} is not supported; expected \"S256\""
            )));
        }
    }
    if challenge.len() != CHALLENGE_LEN
        || !challenge
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    {
        return Err(OAuthError::invalid_request(format!(
            "code_challenge is not {CHALLENGE_LEN} characters of base64url"
        )));
    }
    Ok(Some(challenge.to_owned()))
}

/// RFC 7636 section 4.6.
fn check_verifier(challenge: &str, verifier: Option<&str>) -> Result<(), OAuthError> {
    let verifier =
        verifier.ok_or_else(|| OAuthError::invalid_grant("code_verifier is missing".into()))?;
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !(MIN_VERIFIER_LEN..=MAX_VERIFIER_LEN).contains(&verifier.len())
        || !verifier.bytes().all(unreserved)
    {
        return Err(OAuthError::invalid_grant(
            "code_verifier is not 43 to 128 unreserved characters".into(),
        ));
    }
    let computed = base64::encode_url(&sha256(verifier.as_bytes()));
    if !constant_time_eq(computed.as_bytes(), challenge.as_bytes()) {
        return Err(OAuthError::invalid_grant(
            "code_verifier does not match the code_challenge of the request".into(),
        ));
    }
    Ok(())
}

/// A device login in progress.
#[derive(Clone, Debug)]
struct Device {
    user_code: String,
    with_email: bool,
    challenge: Option<String>,
    interval_ms: i64,
    polled_ms: Option<i64>,
    decision: Decision,
}

#[derive(Clone, Debug)]
enum Decision {
    Pending,
    Approved { email: String, auth_time: i64 },
    Denied,
}

#[derive(Clone, Debug)]
struct Code {
    redirect_text: String,
    challenge: String,
    grant: Grant,
}

/// What the person said on the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Approve { email: String },
    Deny,
}

/// All logins in progress.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    requests: Store<Authorization>,
    codes: Store<Code>,
    devices: Store<Device>,
}

impl Logins {
    /// Keeps a request until the person answers. `id` is fresh and unguessable.
    pub(crate) fn wait(
        &mut self,
        id: String,
        request: Authorization,
        now: i64,
    ) -> Result<(), OAuthError> {
        self.requests
            .insert(id, request, now, now + REQUEST_LIFETIME_SECONDS)
    }

    /// The request a login page belongs to, once.
    pub(crate) fn take_request(&mut self, id: &str, now: i64) -> Option<Authorization> {
        self.requests.take(id, now)
    }

    /// Turns an approved request into a code. `code` is fresh and unguessable.
    pub(crate) fn issue_code(
        &mut self,
        code: String,
        request: Authorization,
        email: String,
        now: i64,
    ) -> Result<(), OAuthError> {
        let grant = Grant {
            email,
            with_email: request.with_email,
            nonce: request.nonce,
            auth_time: now,
        };
        let code_entry = Code {
            redirect_text: request.redirect_text,
            challenge: request.challenge,
            grant,
        };
        self.codes
            .insert(code, code_entry, now, now + CODE_LIFETIME_SECONDS)
    }

    /// Redeems a code. It is gone afterwards, also when the rest of the request is wrong: a code that was shown to a guesser
    /// is worth nothing to the next one.
    pub(crate) fn redeem_code(
        &mut self,
        parameters: &Parameters,
        now: i64,
    ) -> Result<Grant, OAuthError> {
        let code = parameters
            .get("code")
            .ok_or_else(|| OAuthError::invalid_request("code is missing".into()))?;
        let code = self.codes.take(code, now).ok_or_else(|| {
            OAuthError::invalid_grant("the code is unknown, expired or used".into())
        })?;
        // RFC 6749 section 4.1.3 wants it repeated; a client that leaves it out is still bound by PKCE.
        if parameters
            .get("redirect_uri")
            .is_some_and(|given| given != code.redirect_text)
        {
            return Err(OAuthError::invalid_grant(
                "redirect_uri is not the one of the authorization request".into(),
            ));
        }
        check_verifier(&code.challenge, parameters.get("code_verifier"))?;
        Ok(code.grant)
    }

    /// Starts a device login; `approved_as` approves it at once.
    pub(crate) fn start_device(
        &mut self,
        device_code: String,
        user_code: String,
        parameters: &Parameters,
        approved_as: Option<&str>,
        now: i64,
    ) -> Result<(), OAuthError> {
        let decision = match approved_as {
            Some(email) => Decision::Approved {
                email: email.to_owned(),
                auth_time: now,
            },
            None => Decision::Pending,
        };
        let device = Device {
            user_code,
            with_email: email_scope(parameters)?,
            challenge: challenge(parameters)?,
            interval_ms: DEVICE_INTERVAL_SECONDS * 1000,
            polled_ms: None,
            decision,
        };
        self.devices
            .insert(device_code, device, now, now + DEVICE_LIFETIME_SECONDS)
    }

    /// Records the person's answer to a user code, once. Case and separators do not matter. False when the code is unknown,
    /// expired or answered.
    pub(crate) fn answer_device(&mut self, user_code: &str, answer: Answer, now: i64) -> bool {
        let wanted = bare_user_code(user_code);
        let mut pending = self
            .devices
            .iter_mut(now)
            .filter(|device| matches!(device.decision, Decision::Pending));
        let Some(device) = pending.find(|device| bare_user_code(&device.user_code) == wanted)
        else {
            return false;
        };
        device.decision = match answer {
            Answer::Approve { email } => Decision::Approved {
                email,
                auth_time: now,
            },
            Answer::Deny => Decision::Denied,
        };
        true
    }

    /// One poll of RFC 8628 section 3.4.
    pub(crate) fn poll_device(
        &mut self,
        parameters: &Parameters,
        now_ms: i64,
    ) -> Result<Grant, OAuthError> {
        let now = now_ms.div_euclid(1000);
        let device_code = parameters
            .get("device_code")
            .ok_or_else(|| OAuthError::invalid_request("device_code is missing".into()))?;
        let device = self.devices.peek_mut(device_code, now).ok_or_else(|| {
            OAuthError::new(
                "expired_token",
                "the device_code is unknown, expired or used".into(),
            )
        })?;
        let due_ms = device.polled_ms.map_or(i64::MIN, |polled_ms| {
            polled_ms + device.interval_ms - POLL_TOLERANCE_MS
        });
        device.polled_ms = Some(now_ms);
        if now_ms < due_ms {
            device.interval_ms += SLOW_DOWN_MS;
            let interval_seconds = device.interval_ms / 1000;
            return Err(OAuthError::new(
                "slow_down",
                format!("poll every {interval_seconds} seconds"),
            ));
        }
        match device.decision.clone() {
            Decision::Pending => Err(OAuthError::new(
                "authorization_pending",
                "the person has not answered yet".into(),
            )),
            Decision::Denied => {
                self.devices.take(device_code, now);
                Err(OAuthError::new(
                    "access_denied",
                    "the person refused".into(),
                ))
            }
            Decision::Approved { email, auth_time } => {
                let (challenge, with_email) = (device.challenge.clone(), device.with_email);
                self.devices.take(device_code, now);
                // A device code never passes through a browser, so PKCE adds nothing where the client leaves it out.
                if let Some(challenge) = challenge {
                    check_verifier(&challenge, parameters.get("code_verifier"))?;
                }
                Ok(Grant {
                    email,
                    with_email,
                    nonce: None,
                    auth_time,
                })
            }
        }
    }
}

fn bare_user_code(text: &str) -> String {
    text.chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_uppercase())
        .take(16)
        .collect()
}

/// A bounded map whose entries expire. Keys and entries are secrets and personal data, so it shows their number alone.
struct Store<T> {
    entries: HashMap<String, (i64, T)>,
}

impl<T> fmt::Debug for Store<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of {CAPACITY}", self.entries.len())
    }
}

impl<T> Default for Store<T> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
        }
    }
}

impl<T> Store<T> {
    fn insert(&mut self, key: String, value: T, now: i64, expires: i64) -> Result<(), OAuthError> {
        if self.entries.len() >= CAPACITY {
            self.entries.retain(|_, (expires, _)| now < *expires);
        }
        if self.entries.len() >= CAPACITY {
            let problem = format!("{CAPACITY} logins are in progress; try again in a minute");
            return Err(OAuthError::new("temporarily_unavailable", problem));
        }
        self.entries.insert(key, (expires, value));
        Ok(())
    }

    fn take(&mut self, key: &str, now: i64) -> Option<T> {
        self.entries
            .remove(key)
            .filter(|(expires, _)| now < *expires)
            .map(|(_, value)| value)
    }

    fn peek_mut(&mut self, key: &str, now: i64) -> Option<&mut T> {
        self.entries
            .get_mut(key)
            .filter(|(expires, _)| now < *expires)
            .map(|(_, value)| value)
    }

    fn iter_mut(&mut self, now: i64) -> impl Iterator<Item = &mut T> {
        self.entries
            .values_mut()
            .filter(move |(expires, _)| now < *expires)
            .map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"; // RFC 7636 appendix B
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    fn parameters(pairs: &[(&str, &str)]) -> Parameters {
        Parameters::from_pairs(
            pairs
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        )
    }

    const REQUEST: [(&str, &str); 8] = [
        ("response_type", "code"),
        ("client_id", "sigstore"),
        ("redirect_uri", "http://localhost:1234/auth/callback"),
        ("scope", "openid email"),
        ("state", "s"),
        ("nonce", "n"),
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];

    fn request_with(name: &str, value: Option<&str>) -> Parameters {
        let mut pairs: Vec<_> = REQUEST
            .iter()
            .copied()
            .filter(|(key, _)| *key != name)
            .collect();
        pairs.extend(value.map(|value| (name, value)));
        parameters(&pairs)
    }

    fn authorization() -> Authorization {
        Authorization::parse(&parameters(&REQUEST), "sigstore", false).expect("the request is good")
    }

    fn with_code() -> Logins {
        let mut logins = Logins::default();
        logins
            .issue_code("code".into(), authorization(), "a@b".into(), 100)
            .expect("there is room");
        logins
    }

    #[test]
    fn a_code_gives_the_grant_once() {
        let mut logins = with_code();
        let redeem = parameters(&[
            ("code", "code"),
            ("code_verifier", VERIFIER),
            ("redirect_uri", "http://localhost:1234/auth/callback"),
        ]);
        let grant = logins.redeem_code(&redeem, 159).expect("the code is good");
        assert_eq!(
            grant,
            Grant {
                email: "a@b".into(),
                with_email: true,
                nonce: Some("n".into()),
                auth_time: 100
            }
        );
        assert_eq!(
            logins.redeem_code(&redeem, 159).unwrap_err().code,
            "invalid_grant"
        );
    }

    #[test]
    fn logins_in_progress_are_counted_and_not_shown() {
        let shown = format!("{:?}", with_code());
        assert!(shown.contains("1 of 1024"), "{shown}");
        for secret in ["\"code\"", "a@b", CHALLENGE] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }

    #[test]
    fn a_code_expires_after_a_minute() {
        let redeem = parameters(&[("code", "code"), ("code_verifier", VERIFIER)]);
        assert_eq!(
            with_code().redeem_code(&redeem, 160).unwrap_err().code,
            "invalid_grant"
        );
    }

    #[test]
    fn a_wrong_verifier_or_redirect_spends_the_code() {
        for wrong in [
            parameters(&[("code", "code")]),
            parameters(&[("code", "code"), ("code_verifier", "short")]),
            parameters(&[("code", "code"), ("code_verifier", CHALLENGE)]),
            parameters(&[
                ("code", "code"),
                ("code_verifier", VERIFIER),
                ("redirect_uri", "http://localhost:1/"),
            ]),
        ] {
            let mut logins = with_code();
            assert_eq!(
                logins.redeem_code(&wrong, 101).unwrap_err().code,
                "invalid_grant"
            );
            let right = parameters(&[("code", "code"), ("code_verifier", VERIFIER)]);
            assert_eq!(
                logins.redeem_code(&right, 101).unwrap_err().code,
                "invalid_grant"
            );
        }
    }

    #[test]
    fn requests_whose_client_or_redirect_is_in_doubt_never_redirect() {
        for (name, value) in [
            ("client_id", None),
            ("client_id", Some("other")),
            ("redirect_uri", None),
            ("redirect_uri", Some("https://localhost/")),
            ("redirect_uri", Some("http://evil.test/")),
            ("redirect_uri", Some("http://localhost.evil.test/")),
            ("redirect_uri", Some("http://user@localhost/")),
            ("redirect_uri", Some("http://localhost/#x")),
            ("redirect_uri", Some("javascript:alert(1)")),
        ] {
            let refused = Authorization::parse(&request_with(name, value), "sigstore", false);
            assert!(
                matches!(refused, Err(AuthorizationError::Page(_))),
                "{name} {value:?}"
            );
        }
        let mut twice = REQUEST.to_vec();
        twice.push(("state", "t"));
        assert!(matches!(
            Authorization::parse(&parameters(&twice), "sigstore", false),
            Err(AuthorizationError::Page(_))
        ));
    }

    #[test]
    fn other_faults_are_told_to_the_client() {
        for (name, value, expected) in [
            ("response_type", Some("token"), "unsupported_response_type"),
            ("response_type", None, "unsupported_response_type"),
            ("response_mode", Some("form_post"), "invalid_request"),
            ("scope", Some("email"), "invalid_scope"),
            ("code_challenge", None, "invalid_request"),
            ("code_challenge", Some("x"), "invalid_request"),
            ("code_challenge_method", None, "invalid_request"),
            ("code_challenge_method", Some("plain"), "invalid_request"),
            ("prompt", Some("none"), "login_required"),
            ("request", Some("jwt"), "request_not_supported"),
            ("request_uri", Some("u"), "request_uri_not_supported"),
        ] {
            match Authorization::parse(&request_with(name, value), "sigstore", false) {
                Err(AuthorizationError::Redirect { state, error, .. }) => {
                    assert_eq!(
                        (error.code, state.as_deref()),
                        (expected, Some("s")),
                        "{name} {value:?}"
                    );
                }
                other => panic!("{name} {value:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn every_redirect_of_the_published_clients_is_accepted() {
        for redirect in [
            "http://localhost:41234/auth/callback",
            "http://localhost:41234",
            "http://localhost:41234/Callback",
            "http://127.0.0.1:41234/callback",
            "http://[::1]:41234/",
            OUT_OF_BAND,
        ] {
            assert!(Redirect::parse(redirect).is_ok(), "{redirect}");
        }
    }

    fn device(challenge: bool, approved_as: Option<&str>) -> Logins {
        let mut logins = Logins::default();
        let mut pairs = vec![("scope", "openid email")];
        if challenge {
            pairs.extend([
                ("code_challenge", CHALLENGE),
                ("code_challenge_method", "S256"),
            ]);
        }
        let started = logins.start_device(
            "dev".into(),
            "ABCD-EFGH".into(),
            &parameters(&pairs),
            approved_as,
            100,
        );
        started.expect("there is room");
        logins
    }

    #[test]
    fn a_device_waits_for_the_person() {
        let mut logins = device(false, None);
        let poll = parameters(&[("device_code", "dev")]);
        assert_eq!(
            logins.poll_device(&poll, 100_000).unwrap_err().code,
            "authorization_pending"
        );
        assert!(!logins.answer_device("WXYZ-WXYZ", Answer::Deny, 101));
        assert!(logins.answer_device(
            "abcd efgh",
            Answer::Approve {
                email: "a@b".into()
            },
            101
        ));
        assert!(
            !logins.answer_device("ABCD-EFGH", Answer::Deny, 101),
            "an answer stands"
        );
        assert_eq!(
            logins.poll_device(&poll, 101_000).expect("approved").email,
            "a@b"
        );
        assert_eq!(
            logins.poll_device(&poll, 109_000).unwrap_err().code,
            "expired_token"
        );
    }

    #[test]
    fn a_device_that_polls_too_fast_is_slowed() {
        let mut logins = device(false, None);
        let poll = parameters(&[("device_code", "dev")]);
        assert_eq!(
            logins.poll_device(&poll, 100_000).unwrap_err().code,
            "authorization_pending"
        );
        assert_eq!(
            logins.poll_device(&poll, 100_500).unwrap_err().code,
            "slow_down"
        );
        assert_eq!(
            logins.poll_device(&poll, 102_500).unwrap_err().code,
            "slow_down"
        );
        assert_eq!(
            logins.poll_device(&poll, 113_500).unwrap_err().code,
            "authorization_pending"
        );
    }

    #[test]
    fn a_device_may_be_refused_or_expire() {
        let mut logins = device(false, None);
        let poll = parameters(&[("device_code", "dev")]);
        assert!(logins.answer_device("ABCDEFGH", Answer::Deny, 101));
        assert_eq!(
            logins.poll_device(&poll, 101_000).unwrap_err().code,
            "access_denied"
        );
        let mut late = device(false, Some("a@b"));
        assert_eq!(
            late.poll_device(&poll, 400_000).unwrap_err().code,
            "expired_token"
        );
    }

    #[test]
    fn a_device_with_a_challenge_has_to_show_the_verifier() {
        let right = parameters(&[("device_code", "dev"), ("code_verifier", VERIFIER)]);
        assert!(
            device(true, Some("a@b"))
                .poll_device(&right, 100_000)
                .is_ok()
        );
        let mut logins = device(true, Some("a@b"));
        assert_eq!(
            logins
                .poll_device(&parameters(&[("device_code", "dev")]), 100_000)
                .unwrap_err()
                .code,
            "invalid_grant"
        );
        assert_eq!(
            logins.poll_device(&right, 109_000).unwrap_err().code,
            "expired_token"
        );
    }

    #[test]
    fn the_stores_are_bounded_and_forget_what_expired() {
        let mut logins = Logins::default();
        for number in 0..CAPACITY {
            logins
                .wait(format!("r{number}"), authorization(), 0)
                .expect("there is room");
        }
        assert_eq!(
            logins
                .wait("one".into(), authorization(), 1)
                .unwrap_err()
                .code,
            "temporarily_unavailable"
        );
        assert!(
            logins
                .wait("later".into(), authorization(), REQUEST_LIFETIME_SECONDS)
                .is_ok()
        );
        assert!(
            logins
                .take_request("r0", REQUEST_LIFETIME_SECONDS)
                .is_none()
        );
        assert!(
            logins
                .take_request("later", REQUEST_LIFETIME_SECONDS)
                .is_some()
        );
    }
}
