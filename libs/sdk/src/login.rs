//! A person who logs in: the last resort of [`crate::TokenOrder`], and the first where it is asked for by name.
//!
//! The flows are `sealwright-identity`'s; here they get a way to travel ([`Http`]) and an issuer, which is the signing
//! configuration's unless one is named. What a person sees is the caller's: see [`Person`].
//!
//! ```
//! use std::sync::Arc;
//! use sealwright_sdk::TokenSource;
//! use sealwright_sdk::login::{Circumstances, Flow, Login, Pending, Person};
//!
//! /// Somebody who reads standard error and types nothing.
//! struct Reader;
//!
//! impl Person for Reader {
//!     fn open(&self, url: &str) {
//!         eprintln!("open {url}");
//!     }
//!     fn enter_code(&self, url: &str, _complete: Option<&str>, code: &str) {
//!         eprintln!("enter {code} at {url}");
//!     }
//!     fn paste(&self, _url: &str) -> Pending<'_, std::io::Result<String>> {
//!         Box::pin(async { Err(std::io::ErrorKind::Unsupported.into()) })
//!     }
//! }
//!
//! let nothing = Circumstances { browser: false, keyboard: false };
//! let mut login = Login::new(Arc::new(Reader), nothing);
//! login.options.flow = Flow::Device;
//! let source = TokenSource::Login(login);
//! assert!(source.needs_a_person() && source.name() == "login");
//! ```

use std::fmt;
use std::sync::Arc;

pub use sealwright_identity::login::url::Url as RedirectUrl;
pub use sealwright_identity::login::{
    Circumstances, DEFAULT_PATIENCE, Flow, LoginError, LoginOptions, Pending, Person, Secret,
};
use sealwright_identity::login::{MAX_ANSWER_BYTES, Transport, TransportError, log_in};

use crate::error::{Error, Verdict};
use crate::http::Http;
use crate::identity::{IdentityToken, TokenRequest};

/// The only version of the protocol there is.
const PROVIDER_VERSIONS: [u32; 1] = [1];

/// Somebody who can log in, and how.
#[derive(Clone)]
pub struct Login {
    /// With whom and how. An empty issuer stands for the signing configuration's identity provider.
    pub options: LoginOptions,
    person: Arc<dyn Person>,
    circumstances: Circumstances,
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login")
            .field("options", &self.options)
            .field("circumstances", &self.circumstances)
            .finish_non_exhaustive()
    }
}

impl Login {
    /// A login of this person, with the usual options.
    #[must_use]
    pub fn new(person: Arc<dyn Person>, circumstances: Circumstances) -> Self {
        Self {
            options: LoginOptions::new(""),
            person,
            circumstances,
        }
    }

    /// Logs in.
    pub(crate) async fn obtain(&self, request: &TokenRequest<'_>) -> Result<IdentityToken, Error> {
        let mut options = self.options.clone();
        if options.issuer.is_empty() {
            options.issuer = issuer(request)?;
        }
        let person = self.person.as_ref();
        let logged_in = log_in(
            &options,
            self.circumstances,
            request.http,
            person,
            request.now,
        );
        let token = logged_in.await.map_err(|problem| Error::Login {
            issuer: options.issuer,
            problem,
        })?;
        Ok(IdentityToken::parse(token.expose())?)
    }
}

fn issuer(request: &TokenRequest<'_>) -> Result<String, Error> {
    let provider = request
        .signing_config
        .map(|config| config.identity_provider(&PROVIDER_VERSIONS, request.now));
    match provider {
        Some(Ok(provider)) => Ok(provider.url.clone()),
        _ => Err(Error::input(
            "login",
            "the signing configuration names no identity provider (oidcUrls); name one with --oidc-issuer",
        )),
    }
}

impl Transport for Http {
    fn exchange(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Pending<'_, Result<http::Response<Vec<u8>>, TransportError>> {
        Box::pin(async move {
            self.once(request, MAX_ANSWER_BYTES)
                .await
                .map_err(|failure| TransportError(failure.to_string()))
        })
    }
}

pub(crate) fn verdict(problem: &LoginError) -> Verdict {
    match problem {
        LoginError::IssuerUrl { .. }
        | LoginError::Redirect { .. }
        | LoginError::SecretMissing
        | LoginError::DeviceNotOffered
        | LoginError::NoWay => Verdict::Usage,
        LoginError::Transport { .. }
        | LoginError::Status { .. }
        | LoginError::NotUnderstood { .. }
        | LoginError::Listen { .. }
        | LoginError::CodeExpired
        | LoginError::TimedOut { .. }
        | LoginError::Terminal(_) => Verdict::Undecided,
        _ => Verdict::Refused,
    }
}

pub(crate) fn code(problem: &LoginError) -> &'static str {
    match problem {
        LoginError::IssuerUrl { .. } => "LOGIN_ISSUER_INVALID",
        LoginError::Redirect { .. } => "LOGIN_REDIRECT_INVALID",
        LoginError::SecretMissing => "LOGIN_SECRET_MISSING",
        LoginError::DeviceNotOffered | LoginError::NoWay => "LOGIN_FLOW_UNAVAILABLE",
        LoginError::Transport { .. } | LoginError::Status { .. } => "LOGIN_PROVIDER_UNREACHABLE",
        LoginError::NotUnderstood { .. } => "LOGIN_ANSWER_MALFORMED",
        LoginError::Listen { .. } => "LOGIN_LISTENER_FAILED",
        LoginError::Refused { .. } => "LOGIN_REFUSED",
        LoginError::CodeExpired | LoginError::TimedOut { .. } => "LOGIN_TIMED_OUT",
        LoginError::Pasted { .. } | LoginError::Terminal(_) => "LOGIN_PASTE_UNUSABLE",
        LoginError::IdTokenMissing => "LOGIN_WITHOUT_ID_TOKEN",
        _ => "LOGIN_UNTRUSTWORTHY",
    }
}
