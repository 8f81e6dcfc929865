//! `genTime` that never goes backwards, not even over a restart.
//!
//! A token vouches for an order: what was stamped later has the later time. The wall clock does not promise that, so a
//! [`TimeKeeper`] hands out the clock's second or, within a tolerance, the highest second handed out before; when the
//! clock is further behind than that, it hands out nothing until the clock has caught up.
//!
//! # Life of the high-water mark
//! The file `time` holds two marks. `issued` is written (not synced) before the first token of each new second leaves:
//! the operating system keeps it when the process is killed. `reserved` runs up to [`RESERVE_SECONDS`] ahead of the
//! clock and is synced before any token at or below it leaves: a power cut cannot lose it. At start the file's boot
//! identifier tells which of the two counts. If the machine has been up all the while, `issued` is exact; if not,
//! `reserved` is the bound, and a clock that is still before it answers `timeNotAvailable` for the seconds that are
//! missing. So there is one sync in ten seconds of use, and one write of 160 bytes a second, however many tokens.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use sealwright_host::SharedClock;
use sealwright_host::clock::Discipline;

use crate::config::ClockPolicy;
use crate::error::{Error, TimeNotAvailable};

/// How far `reserved` runs ahead, in seconds: the longest silence after a power cut, and the interval between syncs.
const RESERVE_SECONDS: i64 = 10;

/// The file's name in the state folder.
const FILE_NAME: &str = "time";
/// Its first line; another format gets another number.
const FORMAT: &str = "sealwright-tsa-time 1";
/// Where the kernel names this boot. Where it does not, every start counts as one after a power cut.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

/// What a second must hold to be handed out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimeRules {
    /// How many seconds the clock may be behind the highest second handed out.
    pub(crate) tolerance: i64,
    /// How far from the true time the clock may be.
    pub(crate) max_error: Duration,
    /// What follows when the kernel does not vouch for that.
    pub(crate) policy: ClockPolicy,
}

impl TimeRules {
    fn judge(&self, discipline: Discipline) -> Result<(), TimeNotAvailable> {
        match discipline {
            Discipline::Synchronised { max_error } if max_error <= self.max_error => Ok(()),
            Discipline::Synchronised { max_error } => {
                Err(TimeNotAvailable::TooUncertain { max_error })
            }
            Discipline::Unsynchronised => Err(TimeNotAvailable::Unsynchronised),
            Discipline::Unknown => Err(TimeNotAvailable::Unknown),
        }
    }
}

/// Hands out seconds in an order that never turns back. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct TimeKeeper(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    clock: SharedClock,
    rules: TimeRules,
    /// Whether the kernel did not vouch for the clock when it was last asked, so that a change is told once.
    doubted: AtomicBool,
    /// The highest second that may be handed out without a write.
    issued: AtomicI64,
    store: Mutex<Store>,
}

#[derive(Debug)]
struct Store {
    file: File,
    boot_id: String,
    reserved: i64,
}

impl TimeKeeper {
    /// Opens the marks in `folder`, or begins them.
    pub(crate) fn open(folder: &Path, clock: SharedClock, rules: TimeRules) -> Result<Self, Error> {
        let path = folder.join(FILE_NAME);
        let failed = |source| Error::State {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(Error::InUse { path }),
            Err(TryLockError::Error(source)) => return Err(failed(source)),
        }
        let boot_id = boot_id();
        let issued = match read_marks(&mut file).map_err(failed)? {
            Some(marks) => marks.floor(&boot_id),
            None => i64::MIN,
        };
        // The folder's entry for a new file must be as durable as what is written into it.
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(failed)?;
        let store = Mutex::new(Store {
            file,
            boot_id,
            reserved: i64::MIN,
        });
        Ok(Self(Arc::new(Inner {
            clock,
            rules,
            doubted: AtomicBool::new(false),
            issued: AtomicI64::new(issued),
            store,
        })))
    }

    /// The second for the next token.
    pub(crate) async fn now(&self) -> Result<i64, TimeNotAvailable> {
        let (now, issued) = self.read();
        if now <= issued {
            return self.within_tolerance(now, issued);
        }
        self.check_discipline()?;
        // A new second: the marks are written first. The file may be on a slow disk, so not on this thread.
        let keeper = self.clone();
        let advanced = tokio::task::spawn_blocking(move || keeper.advance()).await;
        advanced.unwrap_or(Err(TimeNotAvailable::Storage))
    }

    /// Whether the clock could be believed right now, for readiness.
    pub(crate) fn check(&self) -> Result<(), TimeNotAvailable> {
        let (now, issued) = self.read();
        if now <= issued {
            self.within_tolerance(now, issued)?;
        }
        self.check_discipline()
    }

    /// Asks the kernel, once for each new second, whether something keeps its clock right.
    fn check_discipline(&self) -> Result<(), TimeNotAvailable> {
        if self.0.rules.policy == ClockPolicy::Off {
            return Ok(());
        }
        let verdict = self.0.rules.judge(self.0.clock.discipline());
        let doubted = self.0.doubted.swap(verdict.is_err(), Ordering::SeqCst);
        match verdict {
            Err(doubt) if !doubted => {
                tracing::warn!(doubt = %doubt, "the clock is not vouched for")
            }
            Ok(()) if doubted => tracing::info!("the clock is vouched for again"),
            _ => {}
        }
        match self.0.rules.policy {
            ClockPolicy::Enforce => verdict,
            _ => Ok(()),
        }
    }

    fn read(&self) -> (i64, i64) {
        (self.0.clock.unix(), self.0.issued.load(Ordering::SeqCst))
    }

    fn within_tolerance(&self, now: i64, issued: i64) -> Result<i64, TimeNotAvailable> {
        let behind = issued.saturating_sub(now);
        if behind <= self.0.rules.tolerance {
            Ok(issued)
        } else {
            Err(TimeNotAvailable::ClockBehind { seconds: behind })
        }
    }

    /// Writes the marks for the clock's second, which must happen before that second is handed out.
    fn advance(&self) -> Result<i64, TimeNotAvailable> {
        let mut store = self.0.store.lock().unwrap_or_else(PoisonError::into_inner);
        let (now, issued) = self.read();
        if now <= issued {
            return self.within_tolerance(now, issued);
        }
        store.record(now).map_err(|error| {
            tracing::error!(error = %error, "the high-water mark of the timestamp authority cannot be written");
            TimeNotAvailable::Storage
        })?;
        self.0.issued.store(now, Ordering::SeqCst);
        Ok(now)
    }
}

impl Store {
    fn record(&mut self, now: i64) -> io::Result<()> {
        if now <= self.reserved {
            return self.write(now, self.reserved);
        }
        let reserved = now.saturating_add(RESERVE_SECONDS);
        self.write(now, reserved)?;
        self.file.sync_data()?;
        self.reserved = reserved;
        Ok(())
    }

    /// One write of fixed length within one disk sector, so that no mixture of old and new can be read.
    fn write(&self, issued: i64, reserved: i64) -> io::Result<()> {
        let text = format!(
            "{FORMAT}\nboot {:<36}\nissued {issued:>20}\nreserved {reserved:>20}\n",
            self.boot_id
        );
        self.file.write_all_at(text.as_bytes(), 0)
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Marks {
    boot_id: String,
    issued: i64,
    reserved: i64,
}

impl Marks {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        if lines.next()? != FORMAT {
            return None;
        }
        let mut value = |name: &str| Some(lines.next()?.strip_prefix(name)?.trim().to_owned());
        let boot_id = value("boot ")?;
        let issued = value("issued ")?.parse().ok()?;
        let reserved = value("reserved ")?.parse().ok()?;
        Some(Self {
            boot_id,
            issued,
            reserved,
        })
    }

    /// The highest second that may have been handed out.
    fn floor(&self, boot_id: &str) -> i64 {
        let same_boot = !boot_id.is_empty() && self.boot_id == boot_id;
        if same_boot {
            self.issued
        } else {
            self.issued.max(self.reserved)
        }
    }
}

/// `None` for a file that was just made. One that cannot be read is no reason to begin anew: what it held is unknown.
fn read_marks(file: &mut File) -> io::Result<Option<Marks>> {
    let mut text = String::new();
    file.by_ref().take(4096).read_to_string(&mut text)?;
    if text.is_empty() {
        return Ok(None);
    }
    let marks = Marks::parse(&text).ok_or_else(|| {
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!("not the time marks of this service (expected {FORMAT:?})"),
        )
    })?;
    Ok(Some(marks))
}

fn boot_id() -> String {
    let text = std::fs::read_to_string(BOOT_ID).unwrap_or_default();
    text.trim().chars().take(36).collect()
}

#[cfg(test)]
mod tests {
    use sealwright_host::clock::ManualClock;

    use super::*;

    const NOW: i64 = 1_800_000_000;

    struct Fixture {
        folder: tempfile::TempDir,
        clock: Arc<ManualClock>,
    }

    impl Fixture {
        fn new() -> Self {
            Self {
                folder: tempfile::tempdir().expect("a temporary folder"),
                clock: Arc::new(ManualClock::at(NOW)),
            }
        }

        fn open(&self) -> TimeKeeper {
            self.open_with(ClockPolicy::Off).expect("opens")
        }

        fn open_with(&self, policy: ClockPolicy) -> Result<TimeKeeper, Error> {
            let rules = TimeRules {
                tolerance: 1,
                max_error: Duration::from_secs(1),
                policy,
            };
            TimeKeeper::open(self.folder.path(), self.clock.clone(), rules)
        }

        fn file(&self) -> std::path::PathBuf {
            self.folder.path().join(FILE_NAME)
        }
    }

    #[tokio::test]
    async fn a_clock_slightly_behind_repeats_the_last_second_and_further_behind_gets_none() {
        let fixture = Fixture::new();
        let keeper = fixture.open();
        assert_eq!(keeper.now().await, Ok(NOW));
        fixture.clock.advance(-1);
        assert_eq!(keeper.now().await, Ok(NOW));
        fixture.clock.advance(-1);
        assert_eq!(
            keeper.now().await,
            Err(TimeNotAvailable::ClockBehind { seconds: 2 })
        );
        assert_eq!(
            keeper.check(),
            Err(TimeNotAvailable::ClockBehind { seconds: 2 })
        );
        fixture.clock.advance(3);
        assert_eq!(keeper.now().await, Ok(NOW + 1));
    }

    #[tokio::test]
    async fn a_killed_process_knows_the_last_second_and_goes_on_at_once() {
        let fixture = Fixture::new();
        let keeper = fixture.open();
        for _ in 0..3 {
            keeper.now().await.expect("a second");
            fixture.clock.advance(1);
        }
        drop(keeper);
        fixture.clock.advance(-3);
        let keeper = fixture.open();
        assert_eq!(
            keeper.now().await,
            Err(TimeNotAvailable::ClockBehind { seconds: 2 })
        );
        fixture.clock.advance(2);
        assert_eq!(keeper.now().await, Ok(NOW + 2));
    }

    #[tokio::test]
    async fn after_a_power_cut_the_reserve_is_the_bound() {
        let fixture = Fixture::new();
        let keeper = fixture.open();
        keeper.now().await.expect("a second");
        drop(keeper);
        let text = std::fs::read_to_string(fixture.file()).expect("readable");
        let other_boot = text.replacen("boot ", "boot X", 1);
        std::fs::write(fixture.file(), other_boot).expect("writable");
        let keeper = fixture.open();
        assert_eq!(
            keeper.now().await,
            Err(TimeNotAvailable::ClockBehind {
                seconds: RESERVE_SECONDS
            })
        );
        fixture.clock.advance(RESERVE_SECONDS);
        assert_eq!(keeper.now().await, Ok(NOW + RESERVE_SECONDS));
    }

    #[tokio::test]
    async fn a_clock_that_nobody_vouches_for_gives_no_time_where_that_is_the_policy() {
        let sure = |ms| Discipline::Synchronised {
            max_error: Duration::from_millis(ms),
        };
        let uncertain = TimeNotAvailable::TooUncertain {
            max_error: Duration::from_millis(1001),
        };
        for (discipline, expected) in [
            (sure(1000), Ok(())),
            (sure(1001), Err(uncertain)),
            (
                Discipline::Unsynchronised,
                Err(TimeNotAvailable::Unsynchronised),
            ),
            (Discipline::Unknown, Err(TimeNotAvailable::Unknown)),
        ] {
            for policy in [ClockPolicy::Enforce, ClockPolicy::Warn, ClockPolicy::Off] {
                let fixture = Fixture::new();
                fixture.clock.set_discipline(discipline);
                let keeper = fixture.open_with(policy).expect("opens");
                let expected = match policy {
                    ClockPolicy::Enforce => expected,
                    _ => Ok(()),
                };
                assert_eq!(keeper.now().await.map(drop), expected);
                assert_eq!(keeper.check(), expected);
            }
        }
    }

    #[tokio::test]
    async fn a_clock_that_is_vouched_for_again_gives_time_again() {
        let fixture = Fixture::new();
        let keeper = fixture.open_with(ClockPolicy::Enforce).expect("opens");
        assert_eq!(keeper.now().await, Err(TimeNotAvailable::Unknown));
        fixture.clock.set_discipline(Discipline::Synchronised {
            max_error: Duration::ZERO,
        });
        assert_eq!(keeper.now().await, Ok(NOW));
        fixture.clock.set_discipline(Discipline::Unsynchronised);
        fixture.clock.advance(1);
        assert_eq!(keeper.now().await, Err(TimeNotAvailable::Unsynchronised));
    }

    #[tokio::test]
    async fn two_processes_cannot_share_the_marks() {
        let fixture = Fixture::new();
        let _first = fixture.open();
        let second = fixture.open_with(ClockPolicy::Off);
        assert!(matches!(second, Err(Error::InUse { .. })));
    }

    #[test]
    fn a_file_that_is_not_ours_is_not_overwritten() {
        let fixture = Fixture::new();
        std::fs::write(fixture.file(), "something else\n").expect("writable");
        let opened = fixture.open_with(ClockPolicy::Off);
        assert!(matches!(opened, Err(Error::State { .. })));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 4)]
    async fn no_task_ever_sees_a_second_before_one_it_saw() {
        let fixture = Fixture::new();
        let keeper = fixture.open();
        let tasks: Vec<_> = (0..8)
            .map(|task| {
                let (keeper, clock) = (keeper.clone(), fixture.clock.clone());
                tokio::spawn(async move {
                    let mut last = i64::MIN;
                    for step in 0..200_i64 {
                        clock.advance((step + task) % 3 - 1);
                        if let Ok(second) = keeper.now().await {
                            assert!(second >= last);
                            last = second;
                        }
                    }
                })
            })
            .collect();
        for task in tasks {
            task.await.expect("no panic");
        }
    }
}
