//! The start guard: before a log takes entries, everybody who may remember it is asked how large it was.
//!
//! A folder that was put back from a backup is sound in itself and does not know that receipts beyond its end are in other
//! people's hands. Going on would give their indexes to other entries: a fork. Mirrors and witnesses know. Whoever holds a
//! larger tree, or another one, signed by the log's own key, is believed, because nobody else can make such a thing; whoever
//! does not answer is asked again while the log works.

use std::path::Path;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use sealwright_crypto::sha256;
use sealwright_host::file::{Readers, read_optional, write_whole};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::log::Log;
use crate::mirror::{LogKeys, Mirror, Signed};
use crate::notes::{Notes, Topic};

/// Who has not answered is asked again after this time,
const RETRY_INTERVAL: Duration = Duration::from_secs(10);
/// and who has, after this: a second writer elsewhere is noticed so.
const REPEAT_INTERVAL: Duration = Duration::from_secs(300);
/// What an operator has overridden, in the log's folder.
const ACCEPTED_FILE: &str = "accepted.json";

/// Whether a log starts while its outside memory does not answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum GuardMode {
    /// It does not.
    Required,
    /// It does, says so, and stops when an answer comes that it cannot explain.
    #[default]
    BestEffort,
}

/// Somebody who may remember the log.
#[derive(Debug, Clone)]
pub struct Memory {
    kind: MemoryKind,
    name: String,
    mirror: Mirror,
    /// Where its checkpoint is.
    path: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum MemoryKind {
    Mirror,
    Witness,
}

impl Memory {
    /// A mirror of the log.
    pub fn mirror(mirror: Mirror) -> Self {
        Self {
            kind: MemoryKind::Mirror,
            name: mirror.name().to_owned(),
            path: "checkpoint".to_owned(),
            mirror,
        }
    }

    /// A witness that cosigns the log with this origin, by its name in the policy and its address.
    ///
    /// # Errors
    /// As [`Mirror::parse`].
    pub fn witness(name: &str, url: &str, origin: &str) -> Result<Self, Error> {
        Ok(Self {
            kind: MemoryKind::Witness,
            name: name.to_owned(),
            mirror: Mirror::parse(url, Path::new("."))?,
            path: format!("{}/checkpoint", hex::encode(sha256(origin.as_bytes()))),
        })
    }

    /// How an operator knows it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The mirror behind it, when it is one and so may hold what was lost.
    pub fn as_mirror(&self) -> Option<&Mirror> {
        (self.kind == MemoryKind::Mirror).then_some(&self.mirror)
    }

    /// Refuses a mirror that is the folder `dir` of the log itself, or the log's own address `url`: it would vouch for whatever
    /// is put there.
    ///
    /// # Errors
    /// [`Error::MirrorInvalid`].
    pub fn require_outside(&self, dir: &Path, url: Option<&str>) -> Result<(), Error> {
        let itself = self.mirror.lies_within(dir)
            || url.is_some_and(|url| !self.is_witness() && self.mirror.is_served_below(url));
        match itself {
            false => Ok(()),
            true => Err(self.mirror.invalid(
                &self.path,
                "it is this log itself, which cannot vouch for what it lost; name a copy elsewhere",
            )),
        }
    }

    /// Whether it is a witness.
    pub fn is_witness(&self) -> bool {
        self.kind == MemoryKind::Witness
    }

    /// The checkpoint that it remembers.
    ///
    /// # Errors
    /// As [`Mirror::checkpoint`].
    pub async fn checkpoint(&self, keys: &LogKeys) -> Result<Option<Signed>, Error> {
        self.mirror.checkpoint_at(&self.path, keys).await
    }

    /// It knows a larger tree than ours.
    pub(crate) fn ahead(&self, seen: u64, have: u64) -> Error {
        let name = self.name.clone();
        match self.kind {
            MemoryKind::Mirror => Error::MirrorAhead {
                mirror: name,
                seen,
                have,
            },
            MemoryKind::Witness => Error::WitnessAhead {
                witness: name,
                seen,
                have,
            },
        }
    }

    /// It knows another tree than ours.
    pub(crate) fn forked(&self, size: u64) -> Error {
        let name = self.name.clone();
        match self.kind {
            MemoryKind::Mirror => Error::MirrorForked { mirror: name, size },
            MemoryKind::Witness => Error::WitnessForked {
                witness: name,
                size,
            },
        }
    }
}

/// Statements of outside memory that an operator has overridden: up to this size, a larger or another tree is no reason to
/// stop any more. It is a fork that somebody answers for by name of file.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Accepted {
    pub(crate) size: u64,
}

impl Accepted {
    pub(crate) fn read(dir: &Path) -> Result<Self, Error> {
        let text = read_optional(&dir.join(ACCEPTED_FILE));
        let text = text.map_err(|error| Error::disk("reading", ACCEPTED_FILE, error))?;
        text.map_or(Ok(Self::default()), |text| {
            serde_json::from_slice(&text)
                .map_err(|error| Error::corrupt(ACCEPTED_FILE, error.to_string()))
        })
    }

    pub(crate) fn write(self, dir: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec(&self)
            .map_err(|error| Error::corrupt(ACCEPTED_FILE, error.to_string()))?;
        write_whole(&dir.join(ACCEPTED_FILE), &text, Readers::All)
            .map_err(|error| Error::disk("writing", ACCEPTED_FILE, error))
    }
}

/// The guard of one log.
#[derive(Debug, Clone)]
pub(crate) struct Guard {
    mode: GuardMode,
    memories: Arc<Vec<Memory>>,
    accepted: Accepted,
}

/// Who could not be asked, and why.
type Unanswered = Vec<(usize, String)>;

impl Guard {
    pub(crate) fn new(mode: GuardMode, memories: Vec<Memory>, accepted: Accepted) -> Self {
        Self {
            mode,
            memories: Arc::new(memories),
            accepted,
        }
    }

    /// Asks everybody once; the log must not have been given an entry yet. Goes on asking in the background, as long as the
    /// log is open.
    ///
    /// # Errors
    /// What somebody knows that this log cannot explain; [`Error::GuardUnanswered`] where an answer is required and missing.
    pub(crate) async fn start(self, log: &Log) -> Result<(), Error> {
        let name = &log.identity().name;
        if self.memories.is_empty() {
            tracing::warn!(log = name, "{NO_MEMORY}");
            log.notes().set(Topic::Memory, Some(NO_MEMORY.to_owned()));
            return Ok(());
        }
        if self.accepted.size > 0 {
            tracing::warn!(target: "audit", { log.name = name, size = self.accepted.size },
                "what mirrors and witnesses know up to this size is overridden by an operator's restore");
        }
        let everybody: Vec<usize> = (0..self.memories.len()).collect();
        let unanswered = self.ask(log, &everybody).await?;
        for (position, problem) in &unanswered {
            let memory = self.memories.get(*position).map_or("", Memory::name);
            tracing::warn!(
                log = name,
                memory,
                problem,
                "outside memory does not answer: the log starts without knowing whether its storage is the newest"
            );
        }
        if self.mode == GuardMode::Required && !unanswered.is_empty() {
            let said = unanswered.iter().map(|(_, problem)| problem.as_str());
            return Err(Error::GuardUnanswered {
                missing: said.collect::<Vec<_>>().join("; "),
            });
        }
        tokio::spawn(self.go_on(log.clone(), unanswered));
        Ok(())
    }

    /// Asks some of the memories, all at once; gives those that did not answer.
    async fn ask(&self, log: &Log, whom: &[usize]) -> Result<Unanswered, Error> {
        let asked = whom.iter().map(|position| async {
            let answer = match self.memories.get(*position) {
                Some(memory) => self.judge(log, memory).await,
                None => Ok(()),
            };
            (*position, answer)
        });
        let mut unanswered = Vec::new();
        for (position, answer) in join_all(asked).await {
            match answer {
                Ok(()) => {}
                Err(error @ (Error::MirrorUnreachable { .. } | Error::MirrorInvalid { .. })) => {
                    unanswered.push((position, error.to_string()))
                }
                Err(evidence) => return Err(evidence),
            }
        }
        self.note(log, &unanswered);
        Ok(unanswered)
    }

    /// Whether what somebody remembers is a tree that this log has had.
    async fn judge(&self, log: &Log, memory: &Memory) -> Result<(), Error> {
        let keys = LogKeys {
            origin: log.identity().origin.clone(),
            keys: vec![log.key().clone()],
        };
        let Some(Signed { checkpoint, .. }) = memory.checkpoint(&keys).await? else {
            // A witness that is new knows nothing before the log runs. A mirror could have been given a copy: one without is
            // an address that leads elsewhere, or a copy that somebody lost.
            if memory.is_witness() || log.durable_size() == 0 {
                return Ok(());
            }
            let missing = "it is missing, although the log has entries: give it a copy, or correct its address";
            return Err(memory.mirror.invalid(&memory.path, missing));
        };
        if checkpoint.size <= self.accepted.size {
            return Ok(());
        }
        // Asked for after the answer came: the log may have grown meanwhile, and the mirror with it.
        let have = log.durable_size();
        let known = if checkpoint.size > have {
            memory.ahead(checkpoint.size, have)
        } else if log.root_at(checkpoint.size).await? != checkpoint.root {
            memory.forked(checkpoint.size)
        } else {
            return Ok(());
        };
        // Nothing is written after its last frame, so nothing can be forked.
        if log.frozen() {
            tracing::warn!(log = log.identity().name, error = %known, "the log is frozen, and read on");
            return Ok(());
        }
        Err(known)
    }

    fn note(&self, log: &Log, unanswered: &Unanswered) {
        let note = (!unanswered.is_empty()).then(|| {
            format!(
                "{} of {} mirrors and witnesses have not answered: whether this storage is the newest is not known",
                unanswered.len(),
                self.memories.len()
            )
        });
        log.notes().set(Topic::Memory, note);
    }

    async fn go_on(self, log: Log, mut unanswered: Unanswered) {
        let mut since = Duration::ZERO;
        loop {
            tokio::time::sleep(RETRY_INTERVAL).await;
            since += RETRY_INTERVAL;
            if log.is_closed() {
                return;
            }
            let whom: Vec<usize> = if since >= REPEAT_INTERVAL {
                since = Duration::ZERO;
                (0..self.memories.len()).collect()
            } else {
                unanswered.iter().map(|(position, _)| *position).collect()
            };
            if whom.is_empty() {
                continue;
            }
            match self.ask(&log, &whom).await {
                Ok(still) => unanswered = still,
                Err(evidence) => {
                    log.stop(&evidence);
                    return;
                }
            }
        }
    }
}

impl Log {
    /// What an operator should mend soon.
    pub(crate) fn notes(&self) -> &Notes {
        &self.inner.notes
    }

    /// Size of the newest durable tree, shown or not.
    pub(crate) fn durable_size(&self) -> u64 {
        self.inner.tree.snapshot().size()
    }

    /// Whether [`Log::shutdown`] has been called.
    pub(crate) fn is_closed(&self) -> bool {
        let threads = self.inner.threads.lock();
        threads.unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Takes no entry more, for what somebody outside knows.
    fn stop(&self, evidence: &Error) {
        self.inner.intake.stop(&evidence.to_string());
    }
}

/// Said in the log and at `/readyz`, and by `doctor` in the same sense.
const NO_MEMORY: &str = "no outside memory is configured: a log that is put back from a backup could not tell that it lost \
                         entries; name mirrors or a witness_policy";
