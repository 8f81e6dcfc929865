//! How a person logs in: OpenID Connect's flows for a program without a secret worth the name.
//!
//! | flow | what the person does | specification |
//! |---|---|---|
//! | [`Flow::Browser`] | approves in a browser on this machine | RFC 6749 section 4.1, RFC 7636, RFC 8252 |
//! | [`Flow::Device`] | enters a code in a browser anywhere | RFC 8628 |
//! | [`Flow::Paste`] | approves in a browser anywhere and brings the address it ended at | RFC 6749 section 4.1 |
//! | [`Flow::ClientCredentials`] | nothing: the client is a service account | RFC 6749 section 4.4 |
//!
//! [`log_in`] tells the whole story; what differs between flows is how the code comes back. Requests travel through a
//! [`Transport`], and a [`Person`] is spoken to through a trait, so that nothing here opens a connection, a browser or a
//! terminal; the one thing it opens is the loopback listener that a browser is redirected to (`callback.rs`).
//!
//! Everything a provider says is hostile. Its issuer must be the one that was asked for to the letter, its endpoints must be
//! https unless they are on this machine, and nothing that it says is repeated without its control characters taken out.
//! The signature of the ID token is not checked here: it comes from the token endpoint itself over TLS (OpenID Connect Core
//! section 3.1.3.7, item 6), and the certificate authority checks it. Issuer, audience, expiry and nonce are.

mod answer;
mod callback;
mod error;
mod provider;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, UNIX_EPOCH};

use openidconnect::core::{CoreDeviceAuthorizationResponse, CoreResponseType, CoreTokenResponse};
use openidconnect::{
    AuthenticationFlow, AuthorizationCode, CsrfToken, HttpRequest, Nonce, PkceCodeChallenge,
    PkceCodeVerifier, RedirectUrl, Scope, TokenResponse as _,
};
use sealwright_crypto::{constant_time_eq, random_bytes};
use tokio::time::Instant;
use url::Url;
use zeroize::Zeroizing;

pub use error::{LoginError, TransportError};
pub use openidconnect::http;
pub use url;

use crate::token::{ClaimRules, SignedToken};
use answer::{Answer, Expected};
use callback::Listener;
use provider::{Client, Provider};

/// What a client is called where nobody registered it under another name.
pub const DEFAULT_CLIENT_ID: &str = "sigstore";
/// What is asked for: an ID token that names an e-mail address.
pub const DEFAULT_SCOPES: [&str; 2] = ["openid", "email"];
/// How long a person may take.
pub const DEFAULT_PATIENCE: Duration = Duration::from_secs(5 * 60);
/// The path of the loopback redirect that clients of certificate authorities are registered with.
pub const CALLBACK_PATH: &str = "/auth/callback";

/// The most that is read of an answer of the provider: discovery documents and token answers have a few KiB.
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// Whatever the provider says, it is not asked more often than this.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// How far the provider's clock may be ahead.
const CLOCK_LEEWAY_SECONDS: i64 = 300;
/// Longer pauses than this do not fit into the life of any code.
const MAX_INTERVAL_SECONDS: u64 = 300;

/// The way the code comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flow {
    /// The browser where there is one, else a device code where the provider has them, else pasting.
    #[default]
    Auto,
    /// A browser on this machine, redirected to a listener on the loopback interface.
    Browser,
    /// A code to be entered in a browser anywhere.
    Device,
    /// The address at which a browser anywhere ended, pasted.
    Paste,
    /// A service account with a secret of its own; nobody is asked.
    ClientCredentials,
}

/// What the machine offers for [`Flow::Auto`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Circumstances {
    /// Whether a browser that opens here is in front of the person.
    pub browser: bool,
    /// Whether the person can type into this program.
    pub keyboard: bool,
}

/// Whom to log in with, and how.
#[derive(Clone, Debug)]
pub struct LoginOptions {
    /// The issuer's URL, as it stands in its tokens.
    pub issuer: String,
    /// What the provider knows this client by.
    pub client_id: String,
    /// For providers that give one to such clients.
    pub client_secret: Option<Secret>,
    /// The scopes; `openid` is added if it is missing.
    pub scopes: Vec<String>,
    /// The redirect the client is registered with, where not any port of `http://localhost` will do.
    pub redirect_url: Option<Url>,
    /// Which of its upstream providers a federating provider (dex) shall ask.
    pub connector_id: Option<String>,
    /// The way the code comes back.
    pub flow: Flow,
    /// How long the person may take.
    pub patience: Duration,
}

impl LoginOptions {
    /// The usual client at `issuer`.
    #[must_use]
    pub fn new(issuer: impl Into<String>) -> Self {
        Self {
            issuer: issuer.into(),
            client_id: DEFAULT_CLIENT_ID.to_owned(),
            client_secret: None,
            scopes: DEFAULT_SCOPES.map(str::to_owned).to_vec(),
            redirect_url: None,
            connector_id: None,
            flow: Flow::Auto,
            patience: DEFAULT_PATIENCE,
        }
    }

    fn scopes(&self) -> impl Iterator<Item = Scope> {
        let others = self.scopes.iter().filter(|scope| *scope != "openid");
        others.map(|scope| Scope::new(scope.clone()))
    }
}

/// A text that is not printed, and is wiped when it is dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Keeps a secret.
    #[must_use]
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// Gives it away.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(redacted)")
    }
}

/// A future of a trait object.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// How requests travel to the provider.
///
/// One request, one attempt, any status; redirects are answers and are not followed, since requests carry codes and secrets.
/// Bodies longer than [`MAX_ANSWER_BYTES`] and answers that take too long are errors.
pub trait Transport: Send + Sync {
    /// Sends a request.
    fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Pending<'_, Result<http::Response<Vec<u8>>, TransportError>>;
}

/// Who is spoken to.
pub trait Person: Send + Sync {
    /// Shows an address and tries to open it in a browser on this machine.
    fn open(&self, url: &str);
    /// Shows a code and where to enter it. `complete` is the address with the code in it, where the provider has one.
    fn enter_code(&self, url: &str, complete: Option<&str>, code: &str);
    /// Shows an address to be opened anywhere, and asks for the address at which the browser ended, or the code in it.
    fn paste(&self, url: &str) -> Pending<'_, std::io::Result<String>>;
}

/// Logs in: asks the provider where its doors are, gets a code through a person, and redeems it for an ID token, whose
/// issuer, audience, expiry and nonce are checked. `now` (Unix seconds) is the time of the call; what the person takes is
/// added to it, and counts against [`LoginOptions::patience`], as the requests' time does against the transport's own limits.
///
/// # Errors
/// [`LoginError`].
pub async fn log_in(
    options: &LoginOptions,
    circumstances: Circumstances,
    transport: &dyn Transport,
    person: &dyn Person,
    now: i64,
) -> Result<Secret, LoginError> {
    let pause = |interval| -> Pending<'static, ()> { Box::pin(tokio::time::sleep(interval)) };
    log_in_pausing(options, circumstances, transport, person, now, &pause).await
}

/// How time passes between two polls.
type Pause<'a> = &'a (dyn Fn(Duration) -> Pending<'static, ()> + Send + Sync);

async fn log_in_pausing(
    options: &LoginOptions,
    circumstances: Circumstances,
    transport: &dyn Transport,
    person: &dyn Person,
    now: i64,
    pause: Pause<'_>,
) -> Result<Secret, LoginError> {
    let began = Instant::now();
    let provider = Provider::discover(&options.issuer, transport).await?;
    let login = Login {
        options,
        client: provider.client(options),
        provider,
        transport,
        pause,
    };
    let granted = match login.flow(circumstances)? {
        Flow::Device => login.by_device(person).await,
        Flow::ClientCredentials => login.by_credentials().await,
        Flow::Paste => login.by_paste(person).await,
        Flow::Browser | Flow::Auto => login.by_browser(person).await,
    };
    // A person takes minutes, and the token is as old as their last click.
    let taken = i64::try_from(began.elapsed().as_secs()).unwrap_or(i64::MAX);
    login.id_token(granted?, now.saturating_add(taken))
}

/// One login in progress.
struct Login<'a> {
    options: &'a LoginOptions,
    provider: Provider,
    client: Client,
    transport: &'a dyn Transport,
    pause: Pause<'a>,
}

/// What the token endpoint gave, and the nonce that must be in it.
struct Granted {
    response: CoreTokenResponse,
    nonce: Option<Nonce>,
}

/// What an authorization request was made with and its answer is checked against.
struct Asked {
    url: Url,
    expected: Expected,
    nonce: Nonce,
    verifier: PkceCodeVerifier,
    redirect: RedirectUrl,
}

impl Login<'_> {
    /// The way that was wanted, if the provider has it, or the best that there is.
    fn flow(&self, circumstances: Circumstances) -> Result<Flow, LoginError> {
        let offers_device = self.provider.device_authorization.is_some();
        match self.options.flow {
            Flow::Device if !offers_device => Err(LoginError::DeviceNotOffered),
            Flow::ClientCredentials if self.options.client_secret.is_none() => {
                Err(LoginError::SecretMissing)
            }
            Flow::Auto if circumstances.browser => Ok(Flow::Browser),
            Flow::Auto if offers_device => Ok(Flow::Device),
            Flow::Auto if circumstances.keyboard => Ok(Flow::Paste),
            Flow::Auto => Err(LoginError::NoWay),
            wanted => Ok(wanted),
        }
    }

    async fn by_browser(&self, person: &dyn Person) -> Result<Granted, LoginError> {
        let listener = Listener::bind(self.options.redirect_url.as_ref()).await?;
        let asked = self.ask(listener.redirect_url())?;
        person.open(asked.url.as_str());
        let waiting = listener.answer(asked.expected.clone());
        let answer = self.patiently(self.options.patience, waiting).await??;
        self.redeem(asked, answer).await
    }

    /// Nobody listens at the redirect: the browser fails there, and its address bar holds what is wanted.
    async fn by_paste(&self, person: &dyn Person) -> Result<Granted, LoginError> {
        let redirect = match &self.options.redirect_url {
            Some(url) => url.to_string(),
            None => format!("http://localhost:{}{CALLBACK_PATH}", unused_port()),
        };
        let asked = self.ask(&redirect)?;
        let pasting = person.paste(asked.url.as_str());
        let pasted = self.patiently(self.options.patience, pasting).await?;
        let pasted = pasted.map_err(LoginError::Terminal)?;
        let answer = asked.expected.pasted(&pasted)?;
        self.redeem(asked, answer).await
    }

    /// RFC 6749 section 4.1.1, RFC 7636 section 4.3, OpenID Connect Core section 3.1.2.1.
    fn ask(&self, redirect: &str) -> Result<Asked, LoginError> {
        let redirect = RedirectUrl::new(redirect.to_owned())
            .map_err(|_| LoginError::redirect(redirect, "it is not a URL"))?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = AuthenticationFlow::<CoreResponseType>::AuthorizationCode;
        let mut request = self
            .client
            .authorize_url(flow, CsrfToken::new_random, Nonce::new_random)
            .add_scopes(self.options.scopes())
            .set_pkce_challenge(challenge)
            .set_redirect_uri(std::borrow::Cow::Borrowed(&redirect));
        if let Some(connector) = &self.options.connector_id {
            request = request.add_extra_param("connector_id", connector);
        }
        let (url, state, nonce) = request.url();
        Ok(Asked {
            url,
            expected: Expected::new(state.secret(), &self.options.issuer),
            nonce,
            verifier,
            redirect,
        })
    }

    /// RFC 6749 section 4.1.3.
    async fn redeem(&self, asked: Asked, answer: Answer) -> Result<Granted, LoginError> {
        let code = match answer {
            Answer::Code(code) => AuthorizationCode::new(code),
            Answer::Refused { code, description } => {
                return Err(LoginError::Refused { code, description });
            }
        };
        let http = |request: HttpRequest| self.transport.exchange(request);
        let request = self
            .client
            .exchange_code(code)
            .set_pkce_verifier(asked.verifier)
            .set_redirect_uri(std::borrow::Cow::Owned(asked.redirect));
        let response = request
            .request_async(&http)
            .await
            .map_err(|error| self.provider.token_failure(error))?;
        Ok(Granted {
            response,
            nonce: Some(asked.nonce),
        })
    }

    /// RFC 8628. Dex wants a PKCE challenge here too; others ignore one.
    async fn by_device(&self, person: &dyn Person) -> Result<Granted, LoginError> {
        let endpoint = self.provider.device_authorization.clone();
        let endpoint = endpoint.ok_or(LoginError::DeviceNotOffered)?;
        let client = self.client.clone().set_device_authorization_url(endpoint);
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let http = |request: HttpRequest| self.transport.exchange(request);
        let details: CoreDeviceAuthorizationResponse = client
            .exchange_device_code()
            .add_scopes(self.options.scopes())
            .add_extra_param("code_challenge", challenge.as_str())
            .add_extra_param("code_challenge_method", challenge.method().as_str())
            .request_async(&http)
            .await
            .map_err(|error| self.provider.device_failure(error))?;
        self.show_code(&details, person)?;
        let polling = client
            .exchange_device_access_token(&details)
            .add_extra_param("code_verifier", verifier.secret())
            // Time stands still for the crate, which would read the machine's clock: the limit is set around the whole.
            .set_time_fn(|| UNIX_EPOCH.into())
            .request_async(
                &http,
                |interval| (self.pause)(interval.max(MIN_INTERVAL)),
                Some(MIN_INTERVAL),
            );
        let limit = self.options.patience.min(details.expires_in());
        let response = self
            .patiently(limit, polling)
            .await?
            .map_err(|error| self.provider.polling_failure(error))?;
        Ok(Granted {
            response,
            nonce: None,
        })
    }

    /// Codes and addresses are shown to a person, so they have to be what they claim.
    fn show_code(
        &self,
        details: &CoreDeviceAuthorizationResponse,
        person: &dyn Person,
    ) -> Result<(), LoginError> {
        let fault = |problem: &str| self.provider.device_answer(problem);
        if details.interval().as_secs() > MAX_INTERVAL_SECONDS {
            return Err(fault("its interval is longer than five minutes"));
        }
        let code = details.user_code().secret();
        let plain = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if code.is_empty() || code.len() > 64 || !code.bytes().all(plain) {
            return Err(fault("its user_code is not up to 64 printable characters"));
        }
        let uri = details.verification_uri().url();
        let complete = details.verification_uri_complete();
        let complete = complete.map(|complete| Url::parse(complete.secret()));
        let complete = complete
            .transpose()
            .map_err(|_| fault("its verification_uri_complete is not a URL"))?;
        for url in std::iter::once(uri).chain(&complete) {
            self.provider.check_endpoint("verification_uri", url)?;
        }
        person.enter_code(uri.as_str(), complete.as_ref().map(Url::as_str), code);
        Ok(())
    }

    async fn by_credentials(&self) -> Result<Granted, LoginError> {
        let http = |request: HttpRequest| self.transport.exchange(request);
        let response = self
            .client
            .exchange_client_credentials()
            .add_scopes(self.options.scopes())
            .request_async(&http)
            .await
            .map_err(|error| self.provider.token_failure(error))?;
        Ok(Granted {
            response,
            nonce: None,
        })
    }

    async fn patiently<T>(
        &self,
        limit: Duration,
        waiting: impl Future<Output = T>,
    ) -> Result<T, LoginError> {
        let late = LoginError::TimedOut {
            seconds: limit.as_secs(),
        };
        tokio::time::timeout(limit, waiting).await.map_err(|_| late)
    }

    /// OpenID Connect Core section 3.1.3.7, without the signature. The access token is never used in its place.
    fn id_token(&self, granted: Granted, now: i64) -> Result<Secret, LoginError> {
        let token = granted
            .response
            .id_token()
            .ok_or(LoginError::IdTokenMissing)?
            .to_string();
        let parsed = SignedToken::parse(&token).map_err(LoginError::IdToken)?;
        let rules = ClaimRules {
            issuer: &self.options.issuer,
            audiences: std::slice::from_ref(&self.options.client_id),
            max_lifetime: i64::MAX,
            not_before_leeway: CLOCK_LEEWAY_SECONDS,
        };
        rules
            .check(parsed.claims(), now)
            .map_err(LoginError::IdToken)?;
        if let Some(nonce) = granted.nonce {
            let found = parsed.claims().text("nonce").unwrap_or_default();
            if !constant_time_eq(found.as_bytes(), nonce.secret().as_bytes()) {
                return Err(LoginError::NonceMismatch);
            }
        }
        Ok(Secret::new(token))
    }
}

/// A port that nobody is likely to listen at, of those that are never assigned (RFC 6335 section 6).
fn unused_port() -> u16 {
    49152 + u16::from_be_bytes(random_bytes()) % (u16::MAX - 49152)
}
