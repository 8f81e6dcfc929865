//! Where a signer's token comes from.
//!
//! A signer asks a [`TokenSource`] and does not care whether a person logs in, a build system hands out a token,
//! or the caller brought one. [`GivenToken`] is the last of these; the interactive and ambient sources implement
//! the same trait.

use sealwright_crypto::BoxFuture;

use crate::error::TokenError;
use crate::token::IdentityToken;

/// Why a source has no token.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SourceError {
    /// The token it has would be refused.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The source cannot deliver: nobody logged in, the build system did not answer.
    #[error("no identity token from {name}: {why}")]
    Unavailable {
        /// The source's name.
        name: String,
        /// What happened, and what the person can do.
        why: String,
    },
}

/// A way to obtain an identity token.
///
/// Contract: each call may obtain another token, and a token returned has been checked against `audience` and
/// `now`, so that the caller can present it at once. A source that cannot deliver says so; it never falls back to
/// another source.
pub trait TokenSource: Send + Sync {
    /// What a person would call this source, for messages: "the command line", "GitHub Actions".
    fn name(&self) -> &str;

    /// A token for `audience` (what the certificate authority's configuration asks for; `None` when not known), good
    /// at `now` (Unix seconds).
    ///
    /// # Errors
    /// [`SourceError::Token`] when what it has would be refused, [`SourceError::Unavailable`] when it has none.
    fn token<'a>(
        &'a self,
        audience: Option<&'a str>,
        now: i64,
    ) -> BoxFuture<'a, Result<IdentityToken, SourceError>>;
}

/// The token that the caller brought.
#[derive(Debug, Clone)]
pub struct GivenToken(pub IdentityToken);

impl TokenSource for GivenToken {
    fn name(&self) -> &str {
        "the token given"
    }

    fn token<'a>(
        &'a self,
        audience: Option<&'a str>,
        now: i64,
    ) -> BoxFuture<'a, Result<IdentityToken, SourceError>> {
        Box::pin(async move {
            self.0.check(audience, now)?;
            Ok(self.0.clone())
        })
    }
}
