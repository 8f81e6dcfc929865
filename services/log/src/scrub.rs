//! Reading every file again while the log works, so that damage is found while somebody still has the right bytes.
//!
//! One bundle at a time, with the tiles between it and the right edge, which is in memory and was signed. A budget of bytes
//! a second bounds what it takes from others, and while entries wait it takes an eighth of that. It holds no lock that a
//! writer waits for. Where it is survives a restart; a pass over everything begins once an interval.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sealwright_host::SharedClock;
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;

use sealwright_tlog::tile::TILE_HEIGHT;

use crate::check::{Fault, Known, Seen, Sources, Walk};
use crate::error::Error;
use crate::log::Log;
use crate::mirror::Mirror;
use crate::notes::Topic;
use crate::recover::public_checkpoint;
use crate::tree::whole_bundles;

/// Where the pass is; derived, so that a damaged or missing one begins a new pass.
const STATE_FILE: &str = "scrub.json";
/// The position is written after so many bundles.
const REMEMBER: u64 = 256;
/// Between looks at a log that has nothing to check.
const PAUSE: Duration = Duration::from_secs(1);
/// The part of the budget that is left while entries wait.
const BUSY_SHARE: u32 = 8;
/// The longest pause after one bundle, whatever the budget: a log that is closed must be noticed.
const MAX_PAUSE: Duration = Duration::from_secs(10);

/// How a log is scrubbed.
#[derive(Debug, Clone)]
pub(crate) struct Scrub {
    /// Bytes a second.
    pub(crate) rate: u64,
    /// A pass begins this long after the one before began.
    pub(crate) interval: Duration,
    /// Where right files may be found.
    pub(crate) mirrors: Vec<Mirror>,
    pub(crate) clock: SharedClock,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Pass {
    /// The next bundle.
    next: u64,
    /// When the pass began, Unix seconds; 0 before the first.
    begun: i64,
    complete: bool,
    /// Files that are wrong and could not be put right.
    damaged: u64,
    repaired: u64,
}

impl Scrub {
    /// Works in the background until the log is closed.
    pub(crate) fn start(self, log: &Log, dir: &Path) {
        tokio::spawn(self.run(log.clone(), dir.join(STATE_FILE)));
    }

    async fn run(self, log: Log, file: PathBuf) {
        let mut pass = std::fs::read(&file)
            .ok()
            .and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default();
        while !log.is_closed() {
            note(&log, &pass);
            let now = self.clock.unix();
            if self.is_due(&pass, now) {
                pass = Pass {
                    begun: now,
                    ..Pass::default()
                };
                self.check_checkpoint(&log, &mut pass).await;
            }
            if pass.complete {
                tokio::time::sleep(PAUSE).await;
                continue;
            }
            self.advance(&log, &mut pass, &file).await;
        }
    }

    fn is_due(&self, pass: &Pass, now: i64) -> bool {
        let interval = i64::try_from(self.interval.as_secs()).unwrap_or(i64::MAX);
        let over = pass.complete && pass.begun.saturating_add(interval) <= now;
        // A clock that went back would otherwise end it for long.
        pass.begun == 0 || over || pass.begun > now
    }

    /// One bundle, and the pause that pays for it.
    async fn advance(&self, log: &Log, pass: &mut Pass, file: &Path) {
        let published = *log.inner.publisher.published().borrow();
        if pass.next >= published >> TILE_HEIGHT {
            pass.complete = true;
            remember(pass, file);
            if pass.next > 0 {
                tracing::info!(
                    log = log.identity().name,
                    bundles = pass.next,
                    damaged = pass.damaged,
                    repaired = pass.repaired,
                    "all files were checked"
                );
            }
            return;
        }
        match self.check(log, pass.next, published).await {
            Ok((seen, faults)) => {
                log.inner.metrics.scrubbed(seen.bytes, faults.len());
                tell(log, &faults, pass);
                tokio::time::sleep(self.pause(log, seen.bytes)).await;
            }
            Err(error) => {
                tracing::warn!(log = log.identity().name, bundle = pass.next, %error, "a bundle could not be checked");
                tokio::time::sleep(PAUSE).await;
            }
        }
        pass.next += 1;
        if pass.next.is_multiple_of(REMEMBER) {
            remember(pass, file);
        }
    }

    fn pause(&self, log: &Log, bytes: u64) -> Duration {
        let busy = log.queue_depth().0 > 0;
        let share = if busy { BUSY_SHARE } else { 1 };
        let seconds = bytes as f64 / self.rate.max(1) as f64 * f64::from(share);
        Duration::try_from_secs_f64(seconds).map_or(MAX_PAUSE, |pause| pause.min(MAX_PAUSE))
    }

    async fn check(
        &self,
        log: &Log,
        bundle: u64,
        published: u64,
    ) -> Result<(Seen, Vec<Fault>), Error> {
        let (inner, mirrors) = (log.inner.clone(), self.mirrors.clone());
        let now = self.clock.unix();
        let done = spawn_blocking(move || {
            // The snapshot first: what it says is full is then in the overlay, or in a file by now.
            let snapshot = inner.tree.snapshot();
            let overlay = inner.tree.overlay();
            let known = Known {
                disk: &*inner.tree.disk,
                kind: inner.tree.kind,
                edge: &snapshot.edge,
                overlay: &overlay,
                partial: &[],
                filed: whole_bundles(published),
            };
            let sources = Sources {
                repair: true,
                mirrors: &mirrors,
                wal: inner.record.checksum_key().ok(),
                now,
            };
            let mut walk = Walk::new(&known, &sources, &|_| {});
            walk.one(bundle)?;
            Ok((walk.seen, walk.faults))
        });
        done.await.unwrap_or_else(|_| {
            Err(Error::Stopped {
                cause: "a check panicked".into(),
            })
        })
    }

    /// The public checkpoint is written anew with the next entry; until then a wrong one is worth a word.
    async fn check_checkpoint(&self, log: &Log, pass: &mut Pass) {
        let (inner, key) = (log.inner.clone(), log.key().clone());
        let done = spawn_blocking(move || public_checkpoint(&*inner.tree.disk, &key)).await;
        if let Ok(Err(error @ Error::Corrupt { .. })) = done {
            tracing::error!(log = log.identity().name, %error, "a file of the log is damaged");
            pass.damaged += 1;
        }
    }
}

fn tell(log: &Log, faults: &[Fault], pass: &mut Pass) {
    for fault in faults {
        let (name, file, problem) = (&log.identity().name, &fault.file, &fault.problem);
        match &fault.repaired {
            Some(from) => {
                pass.repaired += 1;
                tracing::error!(
                    log = name,
                    file,
                    problem,
                    from,
                    "a file of the log was damaged, and was repaired"
                );
            }
            None => {
                pass.damaged += 1;
                tracing::error!(
                    log = name,
                    file,
                    problem,
                    "a file of the log is damaged: repair it with fsck"
                );
            }
        }
    }
}

fn note(log: &Log, pass: &Pass) {
    let note = (pass.damaged > 0).then(|| {
        format!(
            "{} files of the log are damaged: `sealwrightd fsck --repair` names them, and puts right what a mirror has",
            pass.damaged
        )
    });
    log.notes().set(Topic::Files, note);
}

/// Not synced: what is lost costs reading some files twice.
fn remember(pass: &Pass, file: &Path) {
    let written = serde_json::to_vec(pass)
        .map_err(std::io::Error::other)
        .and_then(|text| std::fs::write(file, text));
    if let Err(error) = written {
        tracing::debug!(%error, "the position of the check was not written");
    }
}
