//! What can go wrong, one variant for each decision a caller can take.
//!
//! [`TokenError`] is about one request: the token, the identity in it, or the provider that should have vouched
//! for it. [`ConfigError`] is about the operator's file and stops the start. [`FetchError`] says why a provider's
//! keys could not be had; it travels inside [`TokenError::ProviderUnavailable`] and in the health of an issuer.
//!
//! No variant carries a token or a signature. Values from outside that do appear (an issuer URL, a claim) are cut
//! to [`MAX_ECHO_CHARS`].

use std::path::PathBuf;

/// The longest value from outside that an error message repeats, in characters.
pub const MAX_ECHO_CHARS: usize = 200;

/// Cuts a value from outside to what an error may repeat, control characters made visible.
pub(crate) fn echo(value: &str) -> String {
    let mut out: String = value
        .chars()
        .take(MAX_ECHO_CHARS)
        .flat_map(char::escape_debug)
        .collect();
    if value.chars().nth(MAX_ECHO_CHARS).is_some() {
        out.push('…');
    }
    out
}

/// Why a token, or the identity in it, is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No token was given, or an empty one.
    #[error("no identity token was given")]
    Missing,
    /// The token is longer than [`crate::MAX_TOKEN_BYTES`].
    #[error("the identity token has {len} bytes; at most {limit} are accepted")]
    TooLarge {
        /// Its length in bytes.
        len: usize,
        /// The most that is read.
        limit: usize,
    },
    /// The token is not a compact JWS (RFC 7515 section 3.1) with a JSON header and claims.
    #[error("the identity token is malformed: {0}")]
    Malformed(Malformed),
    /// The header's `alg` is absent, `none`, symmetric, or otherwise not on the list.
    #[error(
        "the identity token is signed with `{alg}`; accepted are RS, PS and ES 256 to 512, and EdDSA"
    )]
    UnsupportedAlgorithm {
        /// The header's value.
        alg: String,
    },
    /// The header's `typ` says that the token is something else than an ID token.
    #[error("the identity token has type `{typ}`; accepted is `JWT`, or no type")]
    UnsupportedType {
        /// The header's value.
        typ: String,
    },
    /// The header has `crit`: the token must not be accepted by whom does not know its extensions.
    #[error("the identity token has critical header extensions, and none is supported")]
    CriticalHeader,
    /// No configured issuer has this name.
    #[error("the issuer `{issuer}` is not configured")]
    UnknownIssuer {
        /// The token's `iss`.
        issuer: String,
    },
    /// The token was made for somebody else.
    #[error("the identity token is for audience {found:?}; accepted is {accepted:?}")]
    WrongAudience {
        /// The token's `aud`.
        found: Vec<String>,
        /// The audiences of this issuer's configuration.
        accepted: Vec<String>,
    },
    /// The token names several audiences and another authorized party (`azp`).
    #[error(
        "the identity token has several audiences and authorized party `{azp}`; accepted is {accepted:?}"
    )]
    WrongAuthorizedParty {
        /// The token's `azp`.
        azp: String,
        /// The audiences of this issuer's configuration.
        accepted: Vec<String>,
    },
    /// A claim that must be there is absent or empty.
    #[error("the identity token lacks the claim `{claim}`")]
    MissingClaim {
        /// Its name.
        claim: String,
    },
    /// A claim is there and cannot be used.
    #[error("the claim `{claim}` of the identity token is not usable: {why}")]
    InvalidClaim {
        /// Its name.
        claim: String,
        /// What would be accepted.
        why: String,
    },
    /// `exp` has passed.
    #[error("the identity token expired at {expired_at} (Unix time), {ago} s ago")]
    Expired {
        /// The token's `exp`.
        expired_at: i64,
        /// Seconds since then.
        ago: i64,
    },
    /// `nbf` is further ahead than the leeway.
    #[error("the identity token is not valid before {not_before} (Unix time), in {ahead} s")]
    NotYetValid {
        /// The token's `nbf`.
        not_before: i64,
        /// Seconds until then.
        ahead: i64,
    },
    /// `iat` is further ahead than the leeway.
    #[error(
        "the identity token says it was issued at {issued_at} (Unix time), {ahead} s in the future"
    )]
    IssuedInTheFuture {
        /// The token's `iat`.
        issued_at: i64,
        /// Seconds until then.
        ahead: i64,
    },
    /// `exp - iat` exceeds what the issuer's configuration allows.
    #[error(
        "the identity token lives for {seconds} s; this issuer's tokens may live for {limit} s"
    )]
    LifetimeTooLong {
        /// `exp - iat`.
        seconds: i64,
        /// The issuer's limit.
        limit: i64,
    },
    /// The issuer publishes no key for this token. A key that was published in the last seconds may not be known
    /// yet: keys are fetched at most once in [`crate::jwks::MIN_REFETCH_SECONDS`].
    #[error("the issuer `{issuer}` publishes no key {} for {alg}", kid_phrase(.kid))]
    UnknownKey {
        /// The issuer's URL.
        issuer: String,
        /// The header's `kid`.
        kid: Option<String>,
        /// The header's `alg`.
        alg: &'static str,
    },
    /// The signature does not verify with the issuer's key.
    #[error("the signature of the identity token does not verify")]
    BadSignature,
    /// The issuer's keys cannot be had. The only variant that is not the caller's fault: try again later.
    #[error("the keys of issuer `{issuer}` cannot be obtained: {why}")]
    ProviderUnavailable {
        /// The issuer's URL.
        issuer: String,
        /// What happened at the last attempt.
        why: FetchError,
        /// Seconds until another attempt is made; 0 when at once.
        retry_after: i64,
    },
    /// The issuer does not say that the e-mail address belongs to the user.
    #[error(
        "the e-mail address in the identity token is not verified by its issuer (`email_verified`)"
    )]
    EmailNotVerified,
    /// The e-mail address cannot stand in a certificate.
    #[error("the e-mail address `{email}` cannot be certified: {why}")]
    InvalidEmail {
        /// The token's `email`.
        email: String,
        /// What would be accepted.
        why: &'static str,
    },
    /// The identity is not one this issuer may vouch for, or cannot stand in a certificate.
    #[error("the identity `{identity}` cannot be certified: {why}")]
    IdentityNotAllowed {
        /// The rendered or claimed identity.
        identity: String,
        /// What would be accepted.
        why: String,
    },
}

fn kid_phrase(kid: &Option<String>) -> String {
    match kid {
        Some(kid) => format!("`{kid}`"),
        None => "without a key id".to_owned(),
    }
}

/// In which way a token is not a compact JWS with a JSON header and claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Malformed {
    /// Three parts and two dots are wanted.
    #[error("it does not have three parts separated by two dots")]
    Parts,
    /// A part is not unpadded base64url.
    #[error("its {part} is not unpadded base64url")]
    Base64 {
        /// header, claims or signature.
        part: &'static str,
    },
    /// A part is not a JSON object.
    #[error("its {part} is not a JSON object")]
    Json {
        /// header or claims.
        part: &'static str,
    },
    /// A member occurs twice, so that two readers may see two tokens (RFC 7519 section 4).
    #[error("its {part} has the member `{key}` twice")]
    DuplicateKey {
        /// header or claims.
        part: &'static str,
        /// The member's name.
        key: String,
    },
    /// Objects or arrays are nested too deeply.
    #[error("its {part} is nested too deeply")]
    TooDeep {
        /// header or claims.
        part: &'static str,
    },
    /// A header parameter has the wrong JSON type.
    #[error("the header parameter `{name}` is not a string")]
    HeaderParameter {
        /// The parameter's name.
        name: &'static str,
    },
}

/// Why a provider's discovery document or keys could not be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// No attempt was made yet.
    #[error("no attempt was made yet")]
    NotTried,
    /// The provider did not answer in full within the time allowed.
    #[error("no complete answer within {seconds} s")]
    Timeout {
        /// The time allowed for discovery and keys together.
        seconds: u64,
    },
    /// The connection failed: name, route, TLS, or a broken exchange.
    #[error("the request failed: {0}")]
    Transport(String),
    /// An HTTP status other than 200.
    #[error("{url} answered with status {status}")]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: u16,
    },
    /// The provider redirects to another scheme, host or port.
    #[error("{url} redirects elsewhere, which is not followed")]
    Redirected {
        /// Where.
        url: String,
    },
    /// The answer is longer than what is read.
    #[error("{url} answered with more than {limit} bytes")]
    BodyTooLarge {
        /// Where.
        url: String,
        /// The most that is read.
        limit: usize,
    },
    /// The answer is not the JSON document that was asked for.
    #[error("{url} answered with something that is not {wanted}")]
    NotUnderstood {
        /// Where.
        url: String,
        /// The document that was asked for.
        wanted: &'static str,
    },
    /// The document belongs to another issuer (OpenID Connect Discovery section 4.3).
    #[error(
        "the discovery document is for issuer `{found}`, not `{wanted}`; the two must be equal to the letter"
    )]
    IssuerMismatch {
        /// The document's `issuer`.
        found: String,
        /// The configured issuer.
        wanted: String,
    },
    /// The keys are on a host that the configuration does not name.
    #[error("the keys are at `{host}`, which is neither the issuer's host nor in `jwks-hosts`")]
    KeysElsewhere {
        /// The host (and port) of `jwks_uri`.
        host: String,
    },
    /// The keys are to be had over plain HTTP, and the issuer is not marked `insecure-http`.
    #[error("{url} is not https")]
    NotHttps {
        /// Where.
        url: String,
    },
    /// The set holds no key that could sign a token.
    #[error("the key set holds no usable signing key")]
    NoKeys,
    /// The keys that are held are older than the hard limit and were not renewed.
    #[error("the keys held are {age} s old; the limit is {limit} s")]
    Stale {
        /// Their age.
        age: i64,
        /// The limit.
        limit: i64,
    },
    /// A file of keys cannot be read.
    #[error("the key file cannot be read: {0}")]
    File(String),
}

/// What is wrong with the configuration of an issuer; the start is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// Two issuers share a URL.
    #[error("issuer `{issuer}` is configured twice")]
    DuplicateIssuer {
        /// The URL.
        issuer: String,
    },
    /// The issuer URL cannot be used.
    #[error("issuer `{issuer}`: the URL is not usable: {why}")]
    IssuerUrl {
        /// The URL.
        issuer: String,
        /// What would be accepted.
        why: &'static str,
    },
    /// A key must be there for this type, or must not.
    #[error("issuer `{issuer}`: `{key}` {why}")]
    Key {
        /// The URL.
        issuer: String,
        /// The configuration key.
        key: &'static str,
        /// What would be accepted.
        why: String,
    },
    /// `ci-provider` names no `ci-issuer-metadata` table.
    #[error(
        "issuer `{issuer}`: ci-provider `{provider}` has no table in ci-issuer-metadata; known are {known:?}"
    )]
    UnknownCiProvider {
        /// The URL.
        issuer: String,
        /// The name.
        provider: String,
        /// The names that exist.
        known: Vec<String>,
    },
    /// A template uses something outside the subset, or does not parse.
    #[error("ci-issuer-metadata `{provider}`: the template of `{key}` is refused: {why}")]
    Template {
        /// The name of the metadata table.
        provider: String,
        /// The template's key.
        key: String,
        /// What is wrong, and where.
        why: crate::template::TemplateError,
    },
    /// A key file cannot be read or holds no usable key.
    #[error("issuer `{issuer}`: the key file {path}: {why}", path = .path.display())]
    KeyFile {
        /// The URL.
        issuer: String,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: FetchError,
    },
    /// The HTTP client cannot be made, for example because `ca-cert` is not PEM.
    #[error("issuer `{issuer}`: {why}")]
    Client {
        /// The URL.
        issuer: String,
        /// What is wrong.
        why: String,
    },
}
