//! What keeps the timestamp authority from starting, and what keeps it from stamping.

use std::path::PathBuf;
use std::time::Duration;

use sealwright_crypto::{KeyError, SignError};
use sealwright_pki::timestamp::{TemplateError, TimestampError};
use thiserror::Error;

/// Why the authority does not start. All of it is the operator's to mend.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// A configured value cannot be used.
    #[error("tsa.{key}: {what}")]
    Config {
        /// The key within `[tsa]`.
        key: &'static str,
        /// Which value, why, and what would be accepted.
        what: String,
    },
    /// A file of the state folder cannot be read or written.
    #[error("{}: {source}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// Another process uses the state folder.
    #[error("{} is in use by another timestamp authority", path.display())]
    InUse {
        /// The locked file.
        path: PathBuf,
    },
    /// The signing key cannot be read.
    #[error("the timestamp signing key cannot be used: {0}")]
    Key(#[from] KeyError),
    /// The certificate chain cannot be used.
    #[error("the timestamp certificate chain cannot be used: {0}")]
    Chain(ChainProblem),
    /// The chain and signer cannot make tokens.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// The signer failed its first signature.
    #[error("the timestamp signer does not sign: {0}")]
    Sign(#[from] SignError),
    /// The authority made a token at start that a verifier would refuse.
    #[error("a token made at start does not verify: {0}")]
    SelfTest(#[from] TimestampError),
}

/// What is wrong with a timestamp chain. The leaf comes first, the root last.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ChainProblem {
    /// Fewer than two certificates: verifiers of the ecosystem refuse a leaf alone and a root alone.
    #[error(
        "it has {found} certificates; at least two are needed, the signer's first and the root last"
    )]
    TooShort {
        /// How many there are.
        found: usize,
    },
    /// The text of the chain file is not PEM certificates, or the path does not verify.
    #[error(transparent)]
    Pki(#[from] sealwright_pki::Error),
    /// The signer holds another key than the first certificate.
    #[error("its first certificate is not for the signing key")]
    OtherKey,
}

/// Why no time is to be had. All of it passes, or is the operator's to mend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum TimeNotAvailable {
    /// The clock is behind a time that was already vouched for.
    #[error(
        "the clock is {seconds} s behind a time already given out; timestamps never go backwards, so set the clock right"
    )]
    ClockBehind {
        /// By how many seconds.
        seconds: i64,
    },
    /// Nothing keeps the clock right.
    #[error("the kernel says that nothing keeps its clock synchronised")]
    Unsynchronised,
    /// The clock may be further from the true time than tokens say.
    #[error("the kernel says that its clock may be off by {} ms, more than tokens promise", max_error.as_millis())]
    TooUncertain {
        /// The kernel's bound.
        max_error: Duration,
    },
    /// The kernel does not tell how its clock is kept.
    #[error("the kernel does not tell whether its clock is synchronised")]
    Unknown,
    /// The clock shows a year that cannot be written.
    #[error("the clock is far off")]
    OutOfRange,
    /// The high-water mark cannot be written.
    #[error("the high-water mark cannot be written")]
    Storage,
}
