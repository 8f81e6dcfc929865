//! What can go wrong, one variant for each thing a caller can do about it.

use std::fmt;

/// A refusal of this crate.
///
/// [`Error::is_transient`] separates "try again" from "do not trust this".
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file is not TUF metadata of the expected type. The repository (or whoever stands between) is at fault.
    #[error("{name} is not valid TUF metadata: {problem}")]
    Malformed {
        /// The role or file.
        name: String,
        /// What is wrong with it.
        problem: Problem,
    },
    /// Too few valid signatures by the keys the delegating role names.
    #[error("{role} carries {valid} valid signature(s) of authorised keys, {threshold} are needed")]
    Threshold {
        /// The role whose keys were asked for.
        role: String,
        /// Distinct authorised keys whose signature verified.
        valid: usize,
        /// The number the delegating role demands.
        threshold: u32,
    },
    /// An older version than the one already trusted: a rollback.
    #[error("{role} went back from version {trusted} to {found}")]
    Rollback {
        /// The role whose version fell.
        role: String,
        /// The version already trusted.
        trusted: u64,
        /// The version offered.
        found: u64,
    },
    /// A version other than the one the delegating metadata names.
    #[error("{role} has version {found}, expected exactly {expected}")]
    WrongVersion {
        /// The role.
        role: String,
        /// The version that had to be there.
        expected: u64,
        /// The version offered.
        found: u64,
    },
    /// A role that the trusted snapshot lists is gone from the new one.
    #[error("the new snapshot no longer lists {role}")]
    RoleRemoved {
        /// The file name that vanished.
        role: String,
    },
    /// Length or hash differ from what signed metadata promises: a mix-and-match or a damaged file.
    #[error("{name} does not have the {subject} that signed metadata promises")]
    Mismatch {
        /// The file.
        name: String,
        /// Which promise is broken.
        subject: Subject,
    },
    /// The metadata's time is over. The repository must re-sign; or the local clock is wrong.
    #[error("{role} expired at {expires}, and it is {now}")]
    Expired {
        /// The role.
        role: String,
        /// Its end.
        expires: crate::Expiry,
        /// The time given by the caller.
        now: crate::Expiry,
    },
    /// More bytes than a file of this kind may have.
    #[error("{name} is longer than the {limit} bytes allowed")]
    TooLarge {
        /// The file.
        name: String,
        /// The cap in bytes.
        limit: u64,
    },
    /// The repository does not have a file it must have.
    #[error("the repository has no {name}")]
    Missing {
        /// The file asked for.
        name: String,
    },
    /// The transport failed; trying again may help.
    #[error("{name} could not be fetched: {source}")]
    Fetch {
        /// The file asked for.
        name: String,
        /// What the transport says.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The local store failed.
    #[error("the local trust store failed at {name}: {source}")]
    Store {
        /// The file being read or written.
        name: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// The local store holds no root: this client has not been bootstrapped.
    #[error("there is no trusted root.json: give one to start from")]
    NoTrustedRoot,
    /// A delegated role that the snapshot does not list.
    #[error("the snapshot does not list the delegated role {role}")]
    NotInSnapshot {
        /// The role.
        role: String,
    },
    /// More new roots than one refresh follows.
    #[error("more than {limit} new root versions in one refresh")]
    TooManyRoots {
        /// The cap.
        limit: u32,
    },
    /// The search for a target visited more roles than allowed.
    #[error("the search for a target visited more than {limit} delegated roles")]
    TooManyDelegations {
        /// The cap.
        limit: usize,
    },
    /// A key that clients of this protocol do not all understand, refused when writing.
    #[error(
        "a {found} key cannot sign here: TUF clients agree on ECDSA P-256, Ed25519 and RSA-PSS with SHA-256 only"
    )]
    KeyNotPortable {
        /// The key's type.
        found: String,
    },
    /// A signer failed.
    #[error("the signer failed: {0}")]
    Signer(#[source] sealwright_crypto::SignError),
    /// The operation needs `refresh` first.
    #[error("metadata has not been refreshed yet")]
    NotRefreshed,
}

impl Error {
    /// Whether the same call may succeed later without anybody repairing anything.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch { .. })
    }

    pub(crate) fn malformed(name: &str, problem: Problem) -> Self {
        Self::Malformed {
            name: name.to_owned(),
            problem,
        }
    }
}

/// What is wrong with a metadata file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// Not JSON, or JSON this format does not allow (duplicate member, number with a fraction).
    #[error("{0}")]
    Json(String),
    /// Not an object with `signatures` and `signed`, or a member of the wrong shape.
    #[error("{0}")]
    Shape(String),
    /// A number that canonical JSON has no form for.
    #[error("canonical JSON has integers only, found {0}")]
    NotAnInteger(String),
    /// `_type` names another role.
    #[error("_type is {found:?}, expected {expected:?}")]
    WrongType {
        /// The type that had to be there.
        expected: &'static str,
        /// The type found.
        found: String,
    },
    /// A specification version whose major number is not 1.
    #[error("spec_version {0:?} is not 1.x")]
    SpecVersion(String),
    /// Versions start at 1.
    #[error("version 0 does not exist: versions start at 1")]
    VersionZero,
    /// The version is the largest there is, so nothing can follow it.
    #[error("there is no version after {0}")]
    VersionsExhausted(u64),
    /// Not `YYYY-MM-DDTHH:MM:SSZ`.
    #[error("{0:?} is not a time of the form YYYY-MM-DDTHH:MM:SSZ")]
    Time(String),
    /// A key id twice in one list.
    #[error("key id {0} is listed twice")]
    DuplicateKeyId(String),
    /// A role that any single nobody could satisfy.
    #[error("threshold of {0} is 0, it must be at least 1")]
    ThresholdZero(String),
    /// One of the four top-level roles is missing from root.
    #[error("root does not define the role {0}")]
    MissingRole(&'static str),
    /// `meta` does not have the one entry that is needed, or has others.
    #[error("meta must list {0}")]
    Meta(&'static str),
    /// A list of hashes that is empty.
    #[error("hashes of {0} is empty")]
    NoHashes(String),
    /// A delegated role with a name it cannot have, or that is used twice.
    #[error("{0:?} cannot be the name of a delegated role here")]
    DelegatedName(String),
    /// Neither, or both, of two members of which exactly one must be there.
    #[error("{0}")]
    ExactlyOne(&'static str),
    /// `bit_length` outside 1 to 32.
    #[error("bit_length {0} is outside 1 to 32")]
    BitLength(u32),
}

/// Which promise of signed metadata a file breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The length in bytes.
    Length,
    /// A hash.
    Hash,
    /// No hash of an algorithm this crate knows is given, so nothing can be checked.
    KnownHash,
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "length",
            Self::Hash => "hash",
            Self::KnownHash => "sha256, sha384 or sha512 hash",
        })
    }
}
