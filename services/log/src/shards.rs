//! The logs of a process as they are now: which there are, which of them take entries, and where each is found.
//!
//! Shards come while the process serves (a successor, an imported log) and stop taking entries (a frozen one); none ever
//! leaves. Every request takes one look at the set and works with what it saw.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use http::HeaderValue;
use http::header::ALLOW;
use sealwright_host::{Reason, ServiceError, SharedClock};
use tokio::sync::watch;

use crate::api::SignatureLog;
use crate::config::LogConfig;
use crate::ct_api::CertificateLog;
use crate::error::Error;
use crate::log::Log;

/// What a shard does for clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ShardState {
    /// Made and readable, and takes no entries yet: clients may not know its key.
    Staged,
    /// Takes entries.
    Active,
    /// Took its last entry; its last checkpoint says so.
    Frozen,
    /// Another's log, kept to be read.
    Imported,
}

impl ShardState {
    /// The word for it in `GET /api/v2/shards`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Staged => "staged",
            Self::Active => "active",
            Self::Frozen => "frozen",
            Self::Imported => "imported",
        }
    }
}

/// Stands before a log and knows whether it takes entries.
#[derive(Debug)]
pub(crate) struct Gate {
    clock: SharedClock,
    /// Waits for somebody to say that it may open, whatever the date.
    staged: AtomicBool,
    /// Unix seconds.
    accept_from: AtomicI64,
    frozen: AtomicBool,
    imported: bool,
}

impl Gate {
    pub(crate) fn new(config: &LogConfig, clock: SharedClock) -> Self {
        Self {
            clock,
            staged: AtomicBool::new(config.staged),
            accept_from: AtomicI64::new(config.accept_from.unwrap_or(i64::MIN)),
            frozen: AtomicBool::new(config.frozen),
            imported: config.imported,
        }
    }

    pub(crate) fn state(&self) -> ShardState {
        if self.imported {
            ShardState::Imported
        } else if self.frozen.load(Ordering::Acquire) {
            ShardState::Frozen
        } else if self.staged.load(Ordering::Acquire)
            || self.clock.unix() < self.accept_from.load(Ordering::Acquire)
        {
            ShardState::Staged
        } else {
            ShardState::Active
        }
    }

    /// From when on it takes entries, where that was set. Unix seconds.
    pub(crate) fn accept_from(&self) -> Option<i64> {
        let from = self.accept_from.load(Ordering::Acquire);
        (from != i64::MIN).then_some(from)
    }

    pub(crate) fn open_from(&self, from: i64) {
        self.accept_from.store(from, Ordering::Release);
        self.staged.store(false, Ordering::Release);
    }

    pub(crate) fn close(&self) {
        self.frozen.store(true, Ordering::Release);
    }

    /// Refuses whoever would submit to a log that takes nothing.
    pub(crate) fn require_open(&self) -> Result<(), ServiceError> {
        match self.state() {
            ShardState::Active => Ok(()),
            ShardState::Frozen | ShardState::Imported => Err(frozen()),
            ShardState::Staged => Err(ServiceError::new(
                Reason::Unavailable,
                "This log takes no entries yet; use the one that the signing configuration names",
            )),
        }
    }
}

/// A log that takes no entries any more: 405 and nothing allowed, whatever is sent. It never thaws under this address, so a
/// client is not invited to try again.
pub(crate) fn frozen() -> ServiceError {
    let message = "This log is frozen and takes no entries any more; use the one that the signing configuration names";
    ServiceError::new(Reason::LogFrozen, message).with_header(ALLOW, HeaderValue::from_static(""))
}

/// The way into a log.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    Signature(Arc<SignatureLog>),
    Certificate(Arc<CertificateLog>),
}

/// One log with what its section says of it.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) log: Log,
    pub(crate) url: String,
    /// Host of the URL, lower case, without the port.
    pub(crate) host: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
    pub(crate) operator: String,
    /// Name of the log that it was made to follow.
    pub(crate) replaces: Option<String>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) door: Door,
}

impl Shard {
    pub(crate) fn name(&self) -> &str {
        &self.log.identity().name
    }

    /// From when on its key may have signed. Unix seconds.
    pub(crate) fn valid_from(&self) -> i64 {
        let created = self.log.created();
        self.gate.accept_from().unwrap_or(created).max(created)
    }

    /// `Err` while it should take entries and does not.
    pub(crate) fn condition(&self) -> Result<(), Error> {
        match self.gate.state() {
            ShardState::Frozen | ShardState::Imported => Ok(()),
            ShardState::Active | ShardState::Staged => self.log.condition(),
        }
    }
}

/// Every log of the process. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Shards {
    all: Arc<RwLock<Arc<Vec<Arc<Shard>>>>>,
    changed: watch::Sender<usize>,
}

impl Default for Shards {
    fn default() -> Self {
        Self {
            all: Arc::default(),
            changed: watch::Sender::new(0),
        }
    }
}

impl Shards {
    /// The set at this moment, in the order in which the logs came.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Shard>>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn add(&self, shard: Shard) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = all.as_ref().clone();
        next.push(Arc::new(shard));
        self.changed.send_replace(next.len());
        *all = Arc::new(next);
    }

    pub(crate) fn named(&self, name: &str) -> Option<Arc<Shard>> {
        self.all()
            .iter()
            .find(|shard| shard.name() == name)
            .cloned()
    }

    /// Tells how many logs there are, whenever one comes.
    pub(crate) fn count(&self) -> watch::Receiver<usize> {
        self.changed.subscribe()
    }

    /// The signature log whose base URL has this host. A process whose signature logs all follow one another has one
    /// that was first, and answers for it under any other host: it did so when it was alone.
    pub(crate) fn signature_log(&self, host: &str) -> Option<Arc<SignatureLog>> {
        let all = self.all();
        let logs = || {
            all.iter().filter_map(|shard| match &shard.door {
                Door::Signature(log) => Some((shard, log)),
                Door::Certificate(_) => None,
            })
        };
        let named = logs().find(|(shard, _)| shard.host.eq_ignore_ascii_case(host));
        if let Some((_, log)) = named {
            return Some(log.clone());
        }
        let first =
            |shard: &Shard| shard.replaces.is_none() && shard.gate.state() != ShardState::Imported;
        let mut first = logs().filter(|(shard, _)| first(shard));
        match (first.next(), first.next()) {
            (Some((_, only)), None) => Some(only.clone()),
            _ => None,
        }
    }

    /// Every certificate log.
    pub(crate) fn certificate_logs(&self) -> Vec<Arc<CertificateLog>> {
        let all = self.all();
        let logs = all.iter().filter_map(|shard| match &shard.door {
            Door::Certificate(log) => Some(log.clone()),
            Door::Signature(_) => None,
        });
        logs.collect()
    }

    /// The longest request that a log of the process reads, at least `least`.
    pub(crate) fn max_request(&self, least: usize) -> usize {
        let all = self.all();
        let limits = all.iter().map(|shard| match &shard.door {
            Door::Signature(log) => log.max_request,
            Door::Certificate(log) => log.max_request,
        });
        limits.max().unwrap_or(0).max(least)
    }
}
