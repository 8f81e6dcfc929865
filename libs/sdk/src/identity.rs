//! The identity token: where it comes from and what it says.
//!
//! The token is read here without verifying it: that is the certificate authority's work. Reading it early gives a person a
//! clear sentence instead of a refusal from afar, and tells later steps which identity to expect in the certificate.
//!
//! [`TokenOrder`] says which source is used when several could be: one that was named, then `SIGSTORE_ID_TOKEN`, then what the
//! machine offers ([`crate::ambient`]), and only then a person at a browser. The choice is made once, before anything is
//! asked; a source that was chosen and gives no token is an error, never a reason to try the next.

use std::fmt;
use std::io::Read as _;
use std::path::PathBuf;

use sealwright_bundle::SigningConfig;
use sealwright_crypto::base64;
use serde::Deserialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::ambient::{Ambient, AmbientChoice, Configured, Surroundings};
use crate::error::{Error, TokenProblem};
use crate::http::Http;
use crate::login::{Flow, Login};

/// The audience certificate authorities expect unless they say otherwise.
pub const DEFAULT_AUDIENCE: &str = "sigstore";
/// The environment variable that carries a token.
pub const TOKEN_VARIABLE: &str = "SIGSTORE_ID_TOKEN";

/// Tokens of CI systems have a few KiB.
const MAX_TOKEN_BYTES: usize = 64 * 1024;

/// Where a token comes from.
#[derive(Clone)]
#[non_exhaustive]
pub enum TokenSource {
    /// The token itself.
    Token(Zeroizing<String>),
    /// A file that holds it, read at each use: projected tokens are replaced on disk.
    File(PathBuf),
    /// Standard input.
    StandardInput,
    /// What the machine offers: a CI system, a cloud, a workload API.
    Ambient(Ambient),
    /// Somebody who logs in.
    Login(Login),
}

/// What a source needs to obtain a token.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct TokenRequest<'a> {
    /// How requests travel.
    pub http: &'a Http,
    /// Whom the token shall be for.
    pub audience: &'a str,
    /// The present, Unix seconds.
    pub now: i64,
    /// Where the identity providers of the instance are named.
    pub signing_config: Option<&'a SigningConfig>,
}

impl<'a> TokenRequest<'a> {
    /// A request for a token for `audience`.
    #[must_use]
    pub fn new(http: &'a Http, audience: &'a str, now: i64) -> Self {
        Self {
            http,
            audience,
            now,
            signing_config: None,
        }
    }

    /// Names the instance's identity providers, for logins.
    #[must_use]
    pub fn with_signing_config(mut self, config: &'a SigningConfig) -> Self {
        self.signing_config = Some(config);
        self
    }
}

/// What is there to obtain a token from, in order of precedence.
///
/// ```
/// use sealwright_sdk::ambient::Surroundings;
/// use sealwright_sdk::{Error, TokenOrder, TokenProblem, TokenSource};
///
/// // On a build machine the machine speaks for itself ...
/// let machine = Surroundings::new([
///     ("ACTIONS_ID_TOKEN_REQUEST_URL".to_owned(), "https://ci.example.com/token?v=1".to_owned()),
///     ("ACTIONS_ID_TOKEN_REQUEST_TOKEN".to_owned(), "secret".to_owned()),
/// ]);
/// let source = TokenOrder::default().choose(&machine)?;
/// assert!(matches!(&source, TokenSource::Ambient(ambient) if ambient.name() == "github-actions"));
///
/// // ... unless a person says otherwise.
/// let explicit = Some(TokenSource::from_argument("token.jwt"));
/// let source = TokenOrder { explicit, ..TokenOrder::default() }.choose(&machine)?;
/// assert!(matches!(source, TokenSource::File(_)));
///
/// // Where there is nothing, that is an error with a name.
/// let nothing = TokenOrder::default().choose(&Surroundings::new([]).with_root("/nonexistent"));
/// assert!(matches!(nothing, Err(Error::Token(TokenProblem::Missing))));
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct TokenOrder {
    /// What was named: `--identity-token`.
    pub explicit: Option<TokenSource>,
    /// Whether the machine is asked, and which of its providers. One that is named precedes `SIGSTORE_ID_TOKEN`.
    pub ambient: AmbientChoice,
    /// Providers that the profile adds; they precede those that are detected.
    pub configured: Vec<Configured>,
    /// The last resort: somebody who can log in.
    pub interactive: Option<TokenSource>,
}

impl TokenOrder {
    /// The one source that will be used. Looks at variables and files, and asks nobody.
    ///
    /// # Errors
    /// [`TokenProblem::Missing`] when there is none; [`Error::Ambient`] when a provider was named, or is there, and lacks what
    /// it needs.
    pub fn choose(self, surroundings: &Surroundings) -> Result<TokenSource, Error> {
        if let Some(source) = self.explicit {
            return Ok(source);
        }
        if let AmbientChoice::Only(name) = &self.ambient {
            return Ambient::named(name, &self.configured, surroundings).map(TokenSource::Ambient);
        }
        if let Some(token) = surroundings.variable(TOKEN_VARIABLE) {
            return Ok(TokenSource::Token(Zeroizing::new(token.to_owned())));
        }
        if self.ambient == AmbientChoice::Detect
            && let Some(ambient) = Ambient::detect(&self.configured, surroundings)?
        {
            return Ok(TokenSource::Ambient(ambient));
        }
        self.interactive.ok_or(TokenProblem::Missing.into())
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "TokenSource::Token(redacted)",
            Self::File(_) => "TokenSource::File",
            Self::StandardInput => "TokenSource::StandardInput",
            Self::Ambient(ambient) => return write!(f, "TokenSource::Ambient({})", ambient.name()),
            Self::Login(_) => "TokenSource::Login",
        })
    }
}

impl TokenSource {
    /// What a person means by the value of `--identity-token`: `-` is standard input, anything with the shape of a JSON Web
    /// Token is one, whatever its algorithm, and the rest is a file name.
    ///
    /// A value that begins like a token but is damaged counts as a token too, so that it is never opened, and never printed,
    /// as a file name.
    #[must_use]
    pub fn from_argument(argument: &str) -> Self {
        match argument.trim() {
            "-" => Self::StandardInput,
            text if looks_like_token(text) => Self::Token(Zeroizing::new(text.to_owned())),
            _ => Self::File(PathBuf::from(argument)),
        }
    }

    /// Obtains a token: reads it, or asks for it.
    ///
    /// # Errors
    /// Those of [`Self::read`], [`Error::Ambient`] and [`Error::Login`].
    pub async fn obtain(&self, request: &TokenRequest<'_>) -> Result<IdentityToken, Error> {
        match self {
            Self::Ambient(ambient) => ambient.obtain(request).await,
            Self::Login(login) => login.obtain(request).await,
            Self::Token(_) | Self::File(_) | Self::StandardInput => self.read(),
        }
    }

    /// What it is called in reports: `token`, `file`, `stdin`, `login`, or the ambient provider's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Token(_) => "token",
            Self::File(_) => "file",
            Self::StandardInput => "stdin",
            Self::Ambient(ambient) => ambient.name(),
            Self::Login(_) => "login",
        }
    }

    /// Whether obtaining it takes somebody's time.
    #[must_use]
    pub fn needs_a_person(&self) -> bool {
        matches!(self, Self::Login(login) if login.options.flow != Flow::ClientCredentials)
    }

    /// Whether the token is at hand, so that [`Self::read`] answers without asking anybody.
    #[must_use]
    pub fn is_at_hand(&self) -> bool {
        matches!(self, Self::Token(_) | Self::File(_) | Self::StandardInput)
    }

    /// Reads a token that is at hand. Blocks on file or standard input.
    ///
    /// # Errors
    /// [`Error::File`] when the file cannot be read, [`Error::Token`] when it holds no token or has to be asked for.
    pub fn read(&self) -> Result<IdentityToken, Error> {
        match self {
            Self::Ambient(_) | Self::Login(_) => Err(TokenProblem::Missing.into()),
            Self::Token(token) => Ok(IdentityToken::parse(token)?),
            Self::File(path) => {
                let file_error = |source| Error::File {
                    what: "identity token file",
                    path: path.clone(),
                    source,
                };
                let file = std::fs::File::open(path).map_err(file_error)?;
                Ok(IdentityToken::parse(
                    &read_capped(file).map_err(file_error)?,
                )?)
            }
            Self::StandardInput => {
                let path = || PathBuf::from("-");
                let text = read_capped(std::io::stdin().lock());
                let text = text.map_err(|source| Error::File {
                    what: "identity token on standard input",
                    path: path(),
                    source,
                })?;
                Ok(IdentityToken::parse(&text)?)
            }
        }
    }
}

/// Three dotted parts, or two, of base64url, the first of which begins a JSON object: base64 of `{"` is `eyJ` (and of `{ ` or
/// a line break `ey`, `ew`).
fn looks_like_token(text: &str) -> bool {
    let begins = ["eyJ", "eyA", "ewo", "ew0", "ewk", "eyI"]
        .iter()
        .any(|prefix| text.starts_with(prefix));
    let alphabet = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte);
    begins && text.len() > 16 && text.bytes().all(alphabet)
}

pub(crate) fn read_capped(source: impl std::io::Read) -> std::io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source
        .take(MAX_TOKEN_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(text)
}

/// An identity token and the claims that matter here.
///
/// ```
/// use sealwright_sdk::{IdentityToken, TokenProblem};
/// # use sealwright_sdk::crypto::base64::encode_url;
/// # let header = encode_url(br#"{"alg":"ES256"}"#);
/// # let payload = encode_url(br#"{"iss":"https://accounts.example.com","aud":"sigstore","sub":"1","email":"jane@example.com","exp":1000}"#);
/// # let text = format!("{header}.{payload}.c2ln");
///
/// let token = IdentityToken::parse(&text)?;
/// assert_eq!(token.identity(), "jane@example.com");
/// token.check("sigstore", 999)?;
/// assert!(matches!(token.check("sigstore", 1000), Err(TokenProblem::Expired { .. })));
/// assert!(matches!(token.check("elsewhere", 999), Err(TokenProblem::Audience { .. })));
/// assert!(!format!("{token:?}").contains(&text));
/// # Ok::<(), TokenProblem>(())
/// ```
///
/// Its text is wiped when it is dropped and never printed.
#[derive(Clone)]
pub struct IdentityToken {
    text: Zeroizing<String>,
    claims: Claims,
}

impl fmt::Debug for IdentityToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdentityToken")
            .field("issuer", &self.claims.issuer)
            .finish_non_exhaustive()
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Claims {
    issuer: String,
    audiences: Vec<String>,
    subject: Option<String>,
    email: Option<String>,
    email_verified: Option<bool>,
    expires: i64,
}

impl IdentityToken {
    /// Reads a compact JWS of any algorithm.
    ///
    /// # Errors
    /// [`TokenProblem`]; never with any part of the token in it.
    pub fn parse(text: &str) -> Result<Self, TokenProblem> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenProblem::Missing);
        }
        if text.len() > MAX_TOKEN_BYTES {
            return Err(TokenProblem::Malformed("it is longer than 64 KiB"));
        }
        let parts: Vec<&str> = text.split('.').collect();
        let [header, payload, _signature] = parts.as_slice() else {
            return Err(TokenProblem::Malformed("it does not have three parts"));
        };
        let header: Value =
            json_part(header).ok_or(TokenProblem::Malformed("its header is not JSON"))?;
        if !header.get("alg").is_some_and(Value::is_string) {
            return Err(TokenProblem::Malformed("its header names no algorithm"));
        }
        let payload: Value =
            json_part(payload).ok_or(TokenProblem::Malformed("its payload is not JSON"))?;
        Ok(Self {
            claims: Claims::read(&payload)?,
            text: Zeroizing::new(text.to_owned()),
        })
    }

    /// The token itself, for the request that needs it.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.text
    }

    /// `iss`.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.claims.issuer
    }

    /// `email`, or else `sub`: what a person would call the identity.
    #[must_use]
    pub fn identity(&self) -> &str {
        self.claims
            .email
            .as_deref()
            .or(self.claims.subject.as_deref())
            .unwrap_or("")
    }

    /// `email`.
    #[must_use]
    pub fn email(&self) -> Option<&str> {
        self.claims.email.as_deref()
    }

    /// `sub`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.claims.subject.as_deref()
    }

    /// `exp`, Unix seconds.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.claims.expires
    }

    /// Whether it is meant for `audience`.
    #[must_use]
    pub fn is_for(&self, audience: &str) -> bool {
        self.claims.audiences.iter().any(|found| found == audience)
    }

    /// Whether a certificate authority can take it now. `audience` is what the authority expects.
    ///
    /// # Errors
    /// [`TokenProblem::Expired`], [`TokenProblem::Audience`], [`TokenProblem::EmailNotVerified`].
    pub fn check(&self, audience: &str, now: i64) -> Result<(), TokenProblem> {
        self.check_life(now)?;
        if !self.is_for(audience) {
            return Err(TokenProblem::Audience {
                found: self.shown_audience(),
                expected: audience.to_owned(),
            });
        }
        Ok(())
    }

    pub(crate) fn check_life(&self, now: i64) -> Result<(), TokenProblem> {
        if self.claims.expires <= now {
            return Err(TokenProblem::Expired {
                expires: self.claims.expires,
                now,
            });
        }
        if self.claims.email.is_some() && self.claims.email_verified == Some(false) {
            return Err(TokenProblem::EmailNotVerified);
        }
        Ok(())
    }

    pub(crate) fn shown_audience(&self) -> String {
        format!("{:?}", self.claims.audiences)
    }
}

impl Claims {
    fn read(payload: &Value) -> Result<Self, TokenProblem> {
        let text = |name: &str| {
            payload
                .get(name)
                .and_then(Value::as_str)
                .filter(|text| !text.is_empty())
                .map(str::to_owned)
        };
        let audiences = match payload.get("aud") {
            Some(Value::String(audience)) => vec![audience.clone()],
            Some(Value::Array(list)) => list
                .iter()
                .filter_map(|item| item.as_str().map(str::to_owned))
                .collect(),
            _ => return Err(TokenProblem::Claim("aud")),
        };
        let claims = Self {
            issuer: text("iss").ok_or(TokenProblem::Claim("iss"))?,
            audiences,
            subject: text("sub"),
            email: text("email"),
            email_verified: payload.get("email_verified").and_then(boolean),
            expires: payload
                .get("exp")
                .and_then(seconds)
                .ok_or(TokenProblem::Claim("exp"))?,
        };
        if claims.subject.is_none() && claims.email.is_none() {
            return Err(TokenProblem::Claim("sub"));
        }
        Ok(claims)
    }
}

/// Some providers write the boolean as text.
fn boolean(value: &Value) -> Option<bool> {
    match value {
        Value::Bool(value) => Some(*value),
        Value::String(text) => text.parse().ok(),
        _ => None,
    }
}

/// A `NumericDate` may have a fraction (RFC 7519 section 2).
fn seconds(value: &Value) -> Option<i64> {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "saturates, and a date outside i64 is as good as never or always"
    )]
    value
        .as_i64()
        .or_else(|| value.as_f64().map(|seconds| seconds.floor() as i64))
}

fn json_part<T: for<'a> Deserialize<'a>>(part: &str) -> Option<T> {
    let bytes = Zeroizing::new(base64::decode_lenient(part).ok()?);
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn token(alg: &str, payload: &Value) -> String {
        let part = |value: &Value| base64::encode_url(value.to_string().as_bytes());
        format!("{}.{}.c2ln", part(&json!({ "alg": alg })), part(payload))
    }

    fn payload() -> Value {
        json!({ "iss": "https://issuer.test", "aud": ["x", "sigstore"], "sub": "s", "email": "a@example.com", "email_verified": true, "exp": 1000.5 })
    }

    #[test]
    fn a_token_of_any_algorithm_is_never_a_file_name() {
        for alg in ["RS256", "ES256", "EdDSA", "PS512", "ES512", "none"] {
            let text = token(alg, &payload());
            let source = TokenSource::from_argument(&format!(" {text}\n"));
            assert!(matches!(source, TokenSource::Token(_)), "{alg}");
            assert!(!format!("{source:?}").contains(&text));
            assert_eq!(
                source.read().expect("it parses").identity(),
                "a@example.com"
            );
        }
        let damaged = &token("ES256", &payload())[..40];
        let error = TokenSource::from_argument(damaged)
            .read()
            .expect_err("it is damaged")
            .to_string();
        assert!(!error.contains(damaged), "{error}");
    }

    #[test]
    fn other_arguments_are_files_or_standard_input() {
        assert!(matches!(
            TokenSource::from_argument("-"),
            TokenSource::StandardInput
        ));
        for name in ["token.jwt", "/run/secrets/token", "eyes.txt", "eyJ"] {
            assert!(
                matches!(TokenSource::from_argument(name), TokenSource::File(_)),
                "{name}"
            );
        }
        let error = TokenSource::from_argument("/nonexistent/token")
            .read()
            .expect_err("there is no such file");
        assert!(error.to_string().contains("/nonexistent/token"));
    }

    #[test]
    fn claims_are_read_and_checked() {
        let good = IdentityToken::parse(&token("ES256", &payload())).expect("it parses");
        assert_eq!(
            (good.issuer(), good.expires(), good.subject()),
            ("https://issuer.test", 1000, Some("s"))
        );
        assert_eq!(good.check("sigstore", 999), Ok(()));
        assert_eq!(
            good.check("sigstore", 1000),
            Err(TokenProblem::Expired {
                expires: 1000,
                now: 1000
            })
        );
        assert!(matches!(
            good.check("other", 999),
            Err(TokenProblem::Audience { .. })
        ));
        let mut unverified = payload();
        unverified["email_verified"] = json!("false");
        let unverified = IdentityToken::parse(&token("ES256", &unverified)).expect("it parses");
        assert_eq!(
            unverified.check("sigstore", 1),
            Err(TokenProblem::EmailNotVerified)
        );
    }

    #[test]
    fn missing_claims_are_named() {
        for name in ["iss", "aud", "exp"] {
            let mut payload = payload();
            payload.as_object_mut().expect("an object").remove(name);
            assert_eq!(
                IdentityToken::parse(&token("ES256", &payload)).err(),
                Some(TokenProblem::Claim(name))
            );
        }
        let nobody = json!({ "iss": "i", "aud": "a", "exp": 1 });
        assert_eq!(
            IdentityToken::parse(&token("ES256", &nobody)).err(),
            Some(TokenProblem::Claim("sub"))
        );
    }

    #[test]
    fn what_is_no_token_is_refused_without_being_printed() {
        for text in [
            "",
            "a.b",
            "a.b.c.d",
            "secret",
            "eyJhbGciOiJub25lIn0.!!.x",
            "e30.e30.x",
        ] {
            let error = IdentityToken::parse(text).expect_err(text).to_string();
            assert!(text.is_empty() || !error.contains(text), "{error}");
        }
    }
}
