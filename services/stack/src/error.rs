//! Why a stack does not start. Every message says what was found and what would be accepted.

use std::net::SocketAddr;
use std::path::PathBuf;

use sealwright_host::config::ConfigError;
use sealwright_host::run::HostError;
use thiserror::Error;

use crate::place::Kind;

/// Why a stack does not start, or a command does not do its work.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum Error {
    /// `dev` serves tokens to whoever asks, so it is kept on this machine. The caller chose the address.
    #[error(
        "{address} is not a loopback address: `dev` gives tokens to whoever asks and is kept on this machine; use 127.0.0.1 or [::1], or set up a \
         production instance with `sealwrightd init`"
    )]
    NotLoopback {
        /// The address asked for.
        address: SocketAddr,
    },
    /// The directory holds something else. Nothing in it was touched.
    #[error(
        "{} is not empty and was not made by sealwrightd (it has no FORMAT file): name a directory that is new or empty",
        dir.display()
    )]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory belongs to another way of running.
    #[error("{} was made for `{found}` and is not opened as `{wanted}`: {}", dir.display(), kind_remedy(*found))]
    OtherKind {
        /// The directory.
        dir: PathBuf,
        /// What it was made for.
        found: Kind,
        /// What was asked for.
        wanted: Kind,
    },
    /// The directory has a form that this release does not know.
    #[error("{}: {what}", dir.display())]
    Format {
        /// The directory.
        dir: PathBuf,
        /// What is not understood.
        what: String,
    },
    /// A directory was named that no instance was made in.
    #[error("{} holds no instance: make one with `sealwrightd init --dir {}`", dir.display(), dir.display())]
    NoInstance {
        /// The directory.
        dir: PathBuf,
    },
    /// `init` never overwrites keys.
    #[error("{} already holds an instance; `init` never overwrites one", dir.display())]
    AlreadyThere {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process works on the directory.
    #[error("{} is in use by another process (it is locked); stop that one first, or name another directory", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// Host, port and names are part of the keys' and trust files' meaning, and do not change.
    #[error(
        "{} was made with {name} {made_with} and keeps it: certificates and trust files already carry it, so {asked} is refused; leave --{name} \
         out, or name another --dir",
        dir.display()
    )]
    Fixed {
        /// The directory.
        dir: PathBuf,
        /// The option.
        name: &'static str,
        /// Its value when the directory was made.
        made_with: String,
        /// The value asked for now.
        asked: String,
    },
    /// A base URL that clients could not use.
    #[error(
        "public URL {url}: {what}; write e.g. http://127.0.0.1:7700 or https://sign.example.com"
    )]
    PublicUrl {
        /// As it was given.
        url: String,
        /// What is wrong with it.
        what: String,
    },
    /// Two logs with one origin or one key could contradict each other.
    #[error("{first} and {second} share {what}: every log needs its own")]
    SharedIdentity {
        /// One log.
        first: String,
        /// The other.
        second: String,
        /// `the origin ...` or `a key`.
        what: String,
    },
    /// A file or directory cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A key or certificate of the instance cannot be made or understood.
    #[error("{}: {what}", path.display())]
    Key {
        /// Its file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The listener cannot be set up.
    #[error(transparent)]
    Host(#[from] HostError),
    /// A service refuses to start; its own words say why.
    #[error("{service}: {source}")]
    Service {
        /// `ca`, `tsa`, `log`, `trust`, `idp`.
        service: &'static str,
        /// What it said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The server was started and does not answer for itself.
    #[error("the server does not answer: {what}")]
    NotReady {
        /// What it said instead.
        what: String,
    },
}

fn kind_remedy(found: Kind) -> &'static str {
    match found {
        Kind::Dev => {
            "a development instance is started with `sealwrightd dev` and never becomes a production one"
        }
        Kind::Production => "a production instance is started with `sealwrightd up`",
    }
}

impl Error {
    /// A failure of the file system at `path`.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        |source| Self::Io { path, source }
    }

    /// A key or certificate at `path` that cannot be made or understood.
    pub(crate) fn key<E: std::fmt::Display>(path: impl Into<PathBuf>) -> impl FnOnce(E) -> Self {
        let path = path.into();
        move |what| Self::Key {
            path,
            what: what.to_string(),
        }
    }

    /// A service that refuses.
    pub(crate) fn service<E>(service: &'static str) -> impl FnOnce(E) -> Self
    where
        E: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        move |source| Self::Service {
            service,
            source: source.into(),
        }
    }
}
