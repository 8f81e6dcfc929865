//! Why the trust service refuses or fails.

use std::path::PathBuf;

use sealwright_host::{Reason, ServiceError};

/// A refusal or failure of the trust service.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The configuration cannot be meant.
    #[error("{what}")]
    Config {
        /// What is wrong, and what would be accepted.
        what: String,
    },
    /// A file could not be read or written. Nothing that was published is harmed; try again.
    #[error("{path}: {source}")]
    Disk {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// Another process works on the same folder.
    #[error(
        "{path} is in use by another process: two trust services must not publish one repository"
    )]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// A versioned file exists with other content: versions are written once.
    #[error("{path} exists with other content; a published version never changes")]
    Overwrite {
        /// The file.
        path: PathBuf,
    },
    /// The folder holds no repository yet: [`crate::ceremony::first_root`] makes its first root.
    #[error("{path} holds no TUF repository: create one first")]
    NoRepository {
        /// The folder.
        path: PathBuf,
    },
    /// The folder already holds a repository.
    #[error("{path} already holds a TUF repository, which is never started anew")]
    RepositoryExists {
        /// The folder.
        path: PathBuf,
    },
    /// What is on disk is damaged or was changed by hand.
    #[error("the repository on disk is not usable: {what}")]
    Corrupt {
        /// Which file, and what is wrong with it.
        what: String,
    },
    /// Metadata or signatures are not what they must be.
    #[error(transparent)]
    Tuf(#[from] sealwright_tuf::Error),
    /// A key could not be made, read or used.
    #[error("{what}")]
    Key {
        /// Which key, and why.
        what: String,
    },
    /// A service did not describe its material.
    #[error("{service} did not answer for its trust material: {:?}: {}", status.code(), status.message())]
    Unreachable {
        /// Its name.
        service: String,
        /// What came instead of an answer.
        status: Box<tonic::Status>,
    },
    /// There is nobody to ask for material, and none was brought.
    #[error("no services are configured to be asked (trust.services), and no material was brought")]
    NobodyToAsk,
    /// Material is refused.
    #[error("the material of {subject} is refused: {fault}")]
    Material {
        /// Kind and URL.
        subject: String,
        /// Why.
        fault: MaterialFault,
    },
    /// The change would take away what verifiers of old signatures need.
    #[error("{entry} would disappear or change; old entries only ever get an end of validity")]
    WouldDrop {
        /// The entry.
        entry: String,
    },
    /// No entry has this id.
    #[error("there is no entry {id}")]
    UnknownEntry {
        /// The id asked for.
        id: String,
    },
    /// The end of an entry's validity lies in the past, beyond what can be written, or was set before.
    #[error(
        "the validity of {id} can end once, not before {earliest} (Unix seconds), and not after the year 9999"
    )]
    BadEnd {
        /// The entry.
        id: String,
        /// Unix seconds.
        earliest: i64,
    },
    /// One log cannot follow another.
    #[error("{new} cannot follow {old}: {why}")]
    NoSuccession {
        /// The entry that was to end.
        old: String,
        /// The entry that was to follow.
        new: String,
        /// What is in the way.
        why: &'static str,
    },
    /// A break-glass removal needs a reason.
    #[error("a removal needs a reason, which is kept")]
    ReasonMissing,
    /// Nothing is staged.
    #[error("nothing is staged")]
    NothingStaged,
    /// A signature is not one of the targets keys', or does not verify.
    #[error("{key_id} is no targets key of the current root, or its signature does not verify")]
    BadSignature {
        /// The key id it was given under.
        key_id: String,
    },
    /// The staged change cannot be published any more; stage it again.
    #[error("what is staged does not fit what is published now ({why}): stage it again")]
    StaleStage {
        /// What changed.
        why: &'static str,
    },
    /// An entry is to be activated before every client can know it.
    #[error("{id} may be used from {usable_from} on, and it is {now}")]
    TooEarly {
        /// The entry.
        id: String,
        /// Unix seconds.
        usable_from: i64,
        /// Unix seconds.
        now: i64,
    },
    /// A client reading what is about to be published would refuse it.
    #[error("a client would refuse the repository after this change: {0}")]
    Unreadable(#[source] Box<sealwright_tuf::Error>),
    /// The client files belong to another trust root.
    #[error("{path} holds another TUF root: this folder belongs to another instance")]
    ForeignClientFiles {
        /// The file.
        path: PathBuf,
    },
    /// Nothing has been published yet.
    #[error("nothing has been published yet")]
    NotPublished,
}

/// Why material is refused. The service that offers it, or its configuration, is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MaterialFault {
    /// The kind is unspecified or unknown.
    #[error("its kind is unknown")]
    Kind,
    /// More of it than can be meant.
    #[error("it is too large: {0}")]
    TooLarge(&'static str),
    /// The URL cannot be used by clients.
    #[error("its URL is not an http or https URL without user, query and fragment")]
    Url,
    /// The URL can be written in another way. Entries are told apart by their URLs, so there is one.
    #[error("its URL is not in its normal form, {normal}")]
    UrlForm {
        /// The one accepted spelling.
        normal: String,
    },
    /// The public key does not parse.
    #[error("its public key cannot be read")]
    Key,
    /// A key of a type that some published client refuses.
    #[error("its key is {found}; accepted here: {accepted}")]
    KeyType {
        /// What was offered.
        found: String,
        /// What would be accepted.
        accepted: &'static str,
    },
    /// The signature over the challenge is not the key's.
    #[error("its proof of possession does not verify")]
    Proof,
    /// The origin does not follow from the URL.
    #[error("its origin is {found:?}; with this URL it must be {expected:?}")]
    Origin {
        /// What was offered.
        found: String,
        /// What verifiers derive from the URL.
        expected: String,
    },
    /// A log with a chain, or an authority without.
    #[error("its certificate chain is {0}")]
    Chain(String),
    /// A start of validity that cannot be meant.
    #[error("its validity starts at {0}, which is not a plausible time")]
    ValidFrom(i64),
    /// The operator's name cannot be shown.
    #[error("its operator is longer than 200 bytes or has control characters")]
    Operator,
    /// Another entry has the key already.
    #[error("its key is already used by {0}: one key, one purpose")]
    KeyReused(String),
    /// Another log has the origin already.
    #[error("its origin is already used by {0}: a new key of a log needs a new origin")]
    OriginReused(String),
    /// The same key is published with other properties.
    #[error("it is published with another URL, origin or operator")]
    Changed,
}

impl Error {
    /// The reason that crosses the wire.
    #[must_use]
    pub fn reason(&self) -> Reason {
        match self {
            Self::Material { fault, .. } => fault.reason(),
            Self::Disk { .. } | Self::Locked { .. } | Self::Overwrite { .. } => {
                Reason::StorageUnavailable
            }
            Self::UnknownEntry { .. } | Self::NothingStaged | Self::NotPublished => {
                Reason::NotFound
            }
            Self::BadSignature { .. } => Reason::SignatureInvalid,
            Self::Unreachable { .. } => Reason::Unavailable,
            Self::Tuf(sealwright_tuf::Error::Signer(_)) => Reason::SignerUnavailable,
            Self::Tuf(sealwright_tuf::Error::Threshold { .. }) => Reason::SignatureInvalid,
            Self::Tuf(_)
            | Self::WouldDrop { .. }
            | Self::BadEnd { .. }
            | Self::NoSuccession { .. }
            | Self::ReasonMissing
            | Self::NobodyToAsk
            | Self::StaleStage { .. }
            | Self::TooEarly { .. }
            | Self::Unreadable(_) => Reason::MalformedRequest,
            _ => Reason::Internal,
        }
    }
}

impl MaterialFault {
    fn reason(&self) -> Reason {
        match self {
            Self::Proof => Reason::ProofOfPossessionInvalid,
            Self::Key => Reason::KeyUnreadable,
            Self::KeyType { .. } | Self::KeyReused(_) => Reason::KeyRefused,
            Self::Chain(_) => Reason::ChainNotAccepted,
            Self::TooLarge(_) => Reason::RequestTooLarge,
            Self::OriginReused(_) | Self::Changed => Reason::AlreadyExists,
            _ => Reason::MalformedRequest,
        }
    }
}

/// Internals (paths, system errors) stay in the log; what the caller can mend is said.
impl From<Error> for ServiceError {
    fn from(error: Error) -> Self {
        match error.reason() {
            Reason::Internal => Self::internal(error),
            Reason::StorageUnavailable => Self::new(
                Reason::StorageUnavailable,
                "The trust service cannot write its repository",
            )
            .with_internal(error),
            reason => Self::new(reason, error.to_string()),
        }
    }
}
