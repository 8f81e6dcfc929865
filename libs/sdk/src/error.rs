//! What can go wrong for a client, and what it means for whoever asked.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::time::Duration;

use sealwright_bundle::VerifyError;
use sealwright_bundle::signing_config::SelectionError;
use sealwright_proto::sealwright::error::v1::Reason;

use crate::login::{self, LoginError};

/// A failure of this crate.
///
/// [`Error::verdict`] sorts all of them into the three answers a script needs; the message says what was wrong, which value,
/// and what would be accepted. No message contains a token or a key.
///
/// ```
/// use sealwright_sdk::{Error, TokenProblem, Verdict};
///
/// fn advice(error: &Error) -> &'static str {
///     match error {
///         Error::Token(TokenProblem::Expired { .. }) => "get a fresh token and try again",
///         Error::Ambient { .. } => "look at what the pipeline permits",
///         Error::Service { .. } | Error::TimedOut(_) if error.verdict() == Verdict::Undecided => "try again later",
///         Error::Refused(_) => "do not use the artifact",
///         _ => "ask a person",
///     }
/// }
///
/// let expired = Error::from(TokenProblem::Expired { expires: 100, now: 160 });
/// assert_eq!(advice(&expired), "get a fresh token and try again");
/// assert_eq!((expired.code(), expired.verdict()), ("TOKEN_EXPIRED", Verdict::Refused));
/// ```
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// What the caller gave cannot be used.
    #[error("{what}: {problem}")]
    Input {
        /// What was given, such as `--key signing.pem`.
        what: String,
        /// What is wrong with it, and what would be accepted.
        problem: String,
    },
    /// A file cannot be read or written.
    #[error("{what} {}: {source}", path.display())]
    File {
        /// What the file is, such as "artifact".
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// There is no trust material to work with.
    #[error("no trust material: {problem}")]
    TrustMissing {
        /// Where it was looked for, and how to set it up.
        problem: String,
    },
    /// Trust material is there and cannot be used.
    #[error("trust material from {origin}: {problem}")]
    TrustInvalid {
        /// The file or URL it came from.
        origin: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The TUF repository did not lead to trusted material.
    #[error("TUF repository {url}: {source}")]
    Tuf {
        /// Its base URL.
        url: String,
        /// Which step failed.
        source: sealwright_tuf::Error,
    },
    /// The signing configuration names no usable service.
    #[error(transparent)]
    Selection(#[from] SelectionError),
    /// A signature by a short-lived certificate would be worthless without a timestamp.
    #[error(
        "the signing configuration has no timestamp authority, and a keyless signature cannot be verified without a timestamp; add one to tsaUrls"
    )]
    TimestampAuthorityMissing,
    /// The identity token cannot work, so nothing was sent.
    #[error("identity token: {0}")]
    Token(#[from] TokenProblem),
    /// A provider that the machine offers gave no token.
    #[error(
        "identity token from {provider}: {problem}; {help}, or choose another way: --identity-token, --oidc-provider NAME, --oidc-disable-ambient-providers"
    )]
    Ambient {
        /// The provider's name for people, such as "GitHub Actions".
        provider: String,
        /// What happened.
        problem: AmbientProblem,
        /// What to set so that it does.
        help: String,
    },
    /// Nobody logged in.
    #[error("login at {issuer}: {problem}")]
    Login {
        /// The identity provider.
        issuer: String,
        /// What happened.
        problem: LoginError,
    },
    /// A blocking call was made where it would stop other work.
    #[error(
        "a blocking call inside an asynchronous runtime; use the asynchronous API there, or a thread of its own (std::thread)"
    )]
    InsideRuntime,
    /// A service did not do its part.
    #[error("{service} at {url}: {failure}")]
    Service {
        /// Which one.
        service: ServiceName,
        /// Where it was asked; without query.
        url: String,
        /// What happened.
        failure: Failure,
    },
    /// The key would not sign.
    #[error("signing: {0}")]
    Sign(#[from] sealwright_crypto::SignError),
    /// A bundle was refused.
    #[error(transparent)]
    Refused(#[from] VerifyError),
    /// The whole operation took longer than allowed.
    #[error("not done within {} seconds; raise the timeout or look at the services' health", .0.as_secs_f64())]
    TimedOut(Duration),
    /// Our own fault.
    #[error("internal error: {0}")]
    Internal(String),
}

/// Why a provider that the machine offers gave no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AmbientProblem {
    /// It is there, and something it needs is not: a variable, a file, a permission.
    #[error("{0} is missing")]
    Missing(String),
    /// There is no provider of that name.
    #[error("there is no such provider; known are {0}")]
    Unknown(String),
    /// What it was set up with cannot be used.
    #[error("{0}")]
    Setting(String),
    /// Its endpoint did not do its part.
    #[error("{url}: {failure}")]
    Service {
        /// Where it was asked; without query.
        url: String,
        /// What happened.
        failure: Failure,
    },
    /// Its program did not do its part.
    #[error("command {program:?}: {problem}")]
    Command {
        /// The program, without its arguments.
        program: String,
        /// What happened.
        problem: String,
    },
    /// Its file cannot be read.
    #[error("file {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// What it gave cannot work.
    #[error("{0}")]
    Token(#[from] TokenProblem),
}

impl AmbientProblem {
    fn verdict(&self) -> Verdict {
        match self {
            Self::Missing(_) | Self::Unknown(_) | Self::Setting(_) => Verdict::Usage,
            Self::Service { failure, .. } => failure.verdict(),
            Self::Command { .. } | Self::File { .. } => Verdict::Undecided,
            Self::Token(_) => Verdict::Refused,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Missing(_) => "AMBIENT_INCOMPLETE",
            Self::Unknown(_) => "AMBIENT_UNKNOWN",
            Self::Setting(_) => "AMBIENT_SETTING_INVALID",
            Self::Service { failure, .. } => failure.code(),
            Self::Command { .. } => "AMBIENT_COMMAND_FAILED",
            Self::File { .. } => "AMBIENT_FILE_ERROR",
            Self::Token(problem) => problem.code(),
        }
    }
}

/// The services a client talks to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ServiceName {
    /// Issues certificates.
    CertificateAuthority,
    /// Signs times.
    TimestampAuthority,
    /// Logs signatures.
    TransparencyLog,
    /// Issues identity tokens.
    IdentityProvider,
    /// Publishes trust material.
    TrustRepository,
}

impl std::fmt::Display for ServiceName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CertificateAuthority => "certificate authority",
            Self::TimestampAuthority => "timestamp authority",
            Self::TransparencyLog => "transparency log",
            Self::IdentityProvider => "identity provider",
            Self::TrustRepository => "TUF repository",
        })
    }
}

/// Why a service's answer does not do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Failure {
    /// No connection, or it broke.
    #[error("unreachable: {0}")]
    Unreachable(String),
    /// The address cannot be asked at all.
    #[error("the address cannot be used: {0}; expected an http or https URL")]
    Address(String),
    /// It could not show a TLS certificate that this machine trusts.
    #[error(
        "its TLS certificate is not trusted: {0}; name its authority in SSL_CERT_FILE if it is your own"
    )]
    Tls(String),
    /// No answer in time.
    #[error("no answer within {} seconds", .0.as_secs_f64())]
    Timeout(Duration),
    /// An answer that came so slowly that it may be held back on purpose.
    #[error("the answer came slower than {minimum} bytes a second and was given up")]
    TooSlow {
        /// Bytes a second.
        minimum: u64,
    },
    /// It answered with an error.
    #[error("{0}")]
    Status(Box<Refusal>),
    /// Its answer is longer than any honest one.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The cap.
        limit: usize,
    },
    /// Its answer is not what the protocol says.
    #[error("the answer is not understood: {0}")]
    Malformed(String),
    /// Its answer is well formed and does not hold: another key, another identity, a broken proof.
    #[error("the answer does not hold: {0}")]
    Untrustworthy(String),
}

/// An error answer, as far as it is understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// Why, when the service is one of ours.
    pub reason: Option<Reason>,
    /// The service's sentence; empty when it sent none that is printable.
    pub message: String,
    /// The id under which the service's operator finds the request.
    pub request_id: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.reason {
            Some(reason) => write!(f, "{} (HTTP {})", reason.as_str_name(), self.status)?,
            None => write!(f, "HTTP {}", self.status)?,
        }
        if !self.message.is_empty() {
            write!(f, ": {}", self.message)?;
        }
        match &self.request_id {
            Some(id) => write!(f, " [request {id}]"),
            None => Ok(()),
        }
    }
}

/// Why an identity token cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TokenProblem {
    /// There is none.
    #[error(
        "none was given; use --identity-token with a token, a file or -, or set SIGSTORE_ID_TOKEN, or log in: at a terminal, or anywhere with --login-flow browser, device or paste"
    )]
    Missing,
    /// It is no JSON Web Token.
    #[error("it is not a JSON Web Token: {0}; expected three base64url parts separated by dots")]
    Malformed(&'static str),
    /// A claim is missing or of another type.
    #[error(
        "claim {0:?} is missing or unusable; the certificate authority needs iss, aud, exp, and sub or email"
    )]
    Claim(&'static str),
    /// It has expired.
    #[error("it expired {} seconds ago, at Unix time {expires}; get a fresh one", now - expires)]
    Expired {
        /// Its `exp`.
        expires: i64,
        /// The present.
        now: i64,
    },
    /// It is meant for somebody else.
    #[error("its audience is {found}; the certificate authority expects {expected:?}")]
    Audience {
        /// Its `aud`.
        found: String,
        /// What the authority accepts.
        expected: String,
    },
    /// The provider has not verified the address.
    #[error(
        "its e-mail address is not verified (email_verified is not true); the certificate authority will not certify it"
    )]
    EmailNotVerified,
}

/// The three answers a script needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The answer is no: a check failed, a service refused.
    Refused,
    /// The question was put wrongly.
    Usage,
    /// There is no answer: no network, no trust material, a service that failed.
    Undecided,
}

impl Error {
    /// Which of the three this is.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        match self {
            Self::Input { .. } | Self::InsideRuntime => Verdict::Usage,
            Self::Ambient { problem, .. } => problem.verdict(),
            Self::Login { problem, .. } => login::verdict(problem),
            Self::File { source, .. } => file_verdict(source.kind()),
            Self::Refused(VerifyError::TrustedRootInvalid { .. }) => Verdict::Undecided,
            Self::Refused(VerifyError::PolicyInvalid { .. })
            | Self::Token(TokenProblem::Missing) => Verdict::Usage,
            Self::Refused(_) | Self::Token(_) | Self::Sign(_) => Verdict::Refused,
            Self::Service { failure, .. } => failure.verdict(),
            Self::Tuf { source, .. } => tuf_verdict(source),
            Self::TrustMissing { .. }
            | Self::TrustInvalid { .. }
            | Self::Selection(_)
            | Self::TimestampAuthorityMissing
            | Self::TimedOut(_)
            | Self::Internal(_) => Verdict::Undecided,
        }
    }

    /// A stable name for scripts: that of the failed check, of the service's reason, or of the variant.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Input { .. } => "INPUT_INVALID",
            Self::File { .. } => "FILE_ERROR",
            Self::TrustMissing { .. } => "TRUST_MISSING",
            Self::TrustInvalid { .. } => "TRUST_INVALID",
            Self::Tuf { .. } => "TUF_REFUSED",
            Self::Selection(_) => "NO_SERVICE",
            Self::TimestampAuthorityMissing => "NO_TIMESTAMP_AUTHORITY",
            Self::Token(problem) => problem.code(),
            Self::Ambient { problem, .. } => problem.code(),
            Self::Login { problem, .. } => login::code(problem),
            Self::InsideRuntime => "INSIDE_RUNTIME",
            Self::Service { failure, .. } => failure.code(),
            Self::Sign(_) => "SIGNING_FAILED",
            Self::Refused(refusal) => refusal.code(),
            Self::TimedOut(_) => "TIMED_OUT",
            Self::Internal(_) => "INTERNAL",
        }
    }

    pub(crate) fn input(what: impl Into<String>, problem: impl Into<String>) -> Self {
        Self::Input {
            what: what.into(),
            problem: problem.into(),
        }
    }
}

impl Failure {
    fn verdict(&self) -> Verdict {
        match self {
            // 404 and 405 come from something that is not the service, so they say nothing about the request.
            Self::Status(refusal)
                if refusal.reason.is_none() && matches!(refusal.status, 404 | 405 | 501) =>
            {
                Verdict::Undecided
            }
            Self::Status(refusal)
                if (400..500).contains(&refusal.status) && !matches!(refusal.status, 408 | 429) =>
            {
                Verdict::Refused
            }
            Self::Untrustworthy(_) => Verdict::Refused,
            _ => Verdict::Undecided,
        }
    }

    fn code(&self) -> &'static str {
        match self {
            Self::Unreachable(_) | Self::Address(_) => "SERVICE_UNREACHABLE",
            Self::Tls(_) => "SERVICE_TLS_UNTRUSTED",
            Self::Timeout(_) | Self::TooSlow { .. } => "SERVICE_TIMEOUT",
            Self::Status(refusal) => refusal
                .reason
                .map_or("SERVICE_REFUSED", |reason| reason.as_str_name()),
            Self::TooLarge { .. } => "SERVICE_ANSWER_TOO_LARGE",
            Self::Malformed(_) => "SERVICE_ANSWER_MALFORMED",
            Self::Untrustworthy(_) => "SERVICE_ANSWER_UNTRUSTWORTHY",
        }
    }

    /// Whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        match self {
            Self::Unreachable(_) | Self::Timeout(_) => true,
            Self::Status(refusal) => matches!(refusal.status, 429 | 500 | 502 | 503 | 504),
            _ => false,
        }
    }
}

impl TokenProblem {
    /// A stable name for scripts.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "TOKEN_MISSING",
            Self::Malformed(_) => "TOKEN_MALFORMED",
            Self::Claim(_) | Self::EmailNotVerified => "TOKEN_CLAIMS_REFUSED",
            Self::Expired { .. } => "TOKEN_EXPIRED",
            Self::Audience { .. } => "TOKEN_WRONG_AUDIENCE",
        }
    }
}

/// A wrong name is the caller's mistake; a full or failing disk decides nothing.
fn file_verdict(kind: ErrorKind) -> Verdict {
    match kind {
        ErrorKind::NotFound
        | ErrorKind::PermissionDenied
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::InvalidInput
        | ErrorKind::InvalidFilename
        | ErrorKind::InvalidData => Verdict::Usage,
        _ => Verdict::Undecided,
    }
}

/// A repository that lies is refused; one that does not answer decides nothing.
fn tuf_verdict(error: &sealwright_tuf::Error) -> Verdict {
    match error {
        sealwright_tuf::Error::Fetch { .. }
        | sealwright_tuf::Error::Missing { .. }
        | sealwright_tuf::Error::Store { .. }
        // Time alone brings that about, of the metadata or of a clock that is wrong.
        | sealwright_tuf::Error::Expired { .. } => Verdict::Undecided,
        _ => Verdict::Refused,
    }
}
