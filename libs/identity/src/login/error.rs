//! Why nobody is logged in.

use std::net::SocketAddr;

use crate::error::{TokenError, echo};

/// Why a login gave no token. No message holds a code, a token or a secret.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoginError {
    /// The issuer's URL cannot be used; whoever configured it is at fault.
    #[error("the URL is not usable: {why}")]
    IssuerUrl {
        /// What would be accepted.
        why: &'static str,
    },
    /// The redirect URL cannot be used for this flow.
    #[error("the redirect URL {url} is not usable: {why}")]
    Redirect {
        /// The URL.
        url: String,
        /// What would be accepted.
        why: &'static str,
    },
    /// The client-credentials flow needs a secret.
    #[error("a service account logs in with a secret, and none was given; name its file")]
    SecretMissing,
    /// The provider has no device flow.
    #[error(
        "the provider has no device flow (no device_authorization_endpoint in its discovery document); choose the browser or the paste flow"
    )]
    DeviceNotOffered,
    /// There is no browser, no device flow, and nobody to type.
    #[error(
        "there is no browser here, the provider has no device flow, and nobody can paste an address; choose a flow, or give a token"
    )]
    NoWay,
    /// The provider cannot do what makes the login safe.
    #[error(
        "the provider does not take PKCE challenges of method S256 (code_challenge_methods_supported), and no other method protects the code"
    )]
    NoPkce,
    /// A request did not reach the provider, or its answer did not come back.
    #[error("{url}: {source}")]
    Transport {
        /// Where; without query.
        url: String,
        /// What happened.
        source: TransportError,
    },
    /// The provider answered with a status that says nothing else.
    #[error("{url} answered with status {status}")]
    Status {
        /// Where.
        url: String,
        /// The status.
        status: u16,
    },
    /// The provider's answer is not what the protocol says.
    #[error("{url} answered with something that is not understood: {problem}")]
    NotUnderstood {
        /// Where.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The discovery document belongs to another issuer (OpenID Connect Discovery section 4.3).
    #[error(
        "the discovery document is for issuer `{found}`, not `{wanted}`; the two must be equal to the letter"
    )]
    IssuerMismatch {
        /// The document's `issuer`.
        found: String,
        /// The issuer that was asked for.
        wanted: String,
    },
    /// An address of the provider would send codes or secrets in the clear, or is no address for them at all.
    #[error(
        "{name} is {url}, which is not safe to use: expected https without credentials (http only where issuer and address are both on this machine)"
    )]
    Endpoint {
        /// The member of the document.
        name: &'static str,
        /// The URL.
        url: String,
    },
    /// The loopback listener cannot be set up.
    #[error(
        "cannot listen on {address} for the browser: {source}; choose another redirect URL or the device flow"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The provider, or the person at it, said no (RFC 6749 sections 4.1.2.1 and 5.2).
    #[error("the provider refused: {code}{}", explained(.description))]
    Refused {
        /// Its error code, such as `access_denied`.
        code: String,
        /// Its explanation; empty when there is none.
        description: String,
    },
    /// The code that was shown has expired before it was entered (RFC 8628 section 3.5).
    #[error("the code has expired; start again")]
    CodeExpired,
    /// The person took too long.
    #[error("nobody logged in within {seconds} seconds; start again")]
    TimedOut {
        /// The time allowed.
        seconds: u64,
    },
    /// What was pasted is not the answer to this login.
    #[error(
        "what was pasted does not do: {problem}; paste the whole address at which the browser ended, or the code"
    )]
    Pasted {
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Nothing could be read from the person.
    #[error("nothing can be read from the terminal: {0}")]
    Terminal(#[source] std::io::Error),
    /// The provider gave no ID token; an access token is none.
    #[error(
        "the provider gave no ID token; the scope openid has to be among those it grants this client"
    )]
    IdTokenMissing,
    /// The ID token does not hold.
    #[error("the provider's ID token is refused: {0}")]
    IdToken(#[source] TokenError),
    /// The ID token answers another login.
    #[error("the nonce in the provider's ID token is not that of this login")]
    NonceMismatch,
}

impl LoginError {
    pub(super) fn redirect(url: &str, why: &'static str) -> Self {
        Self::Redirect {
            url: echo(url),
            why,
        }
    }
}

fn explained(description: &str) -> String {
    if description.is_empty() {
        String::new()
    } else {
        format!(" ({description})")
    }
}

/// Why an exchange gave no answer: no connection, no time, too many bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);
