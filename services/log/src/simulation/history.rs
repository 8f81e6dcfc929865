//! Random histories: what happens to a log, as data, from a seed; how one is played; and how a bad one is made short.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::driver::{Driver, Settings, Stage};
use super::ending::{Ending, judge};
use super::machine::{Call, Crash, Residue, Space, Trouble};
use super::model::{Outcome, Violation};
use super::mutant::Mutant;
use super::random::Random;
use crate::kind::Kind;

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// New entries of so many bytes.
    Submit {
        count: u64,
        bytes: u64,
    },
    /// Entries that were submitted before.
    Again {
        count: u64,
    },
    Batch,
    Publish,
    Witness,
    Read,
    SecondWriter,
    Freeze,
    Clock {
        ms: i64,
    },
    Trouble(Trouble),
    Space(Space),
    /// The disk is healed.
    Heal,
    /// The log is closed and opened again.
    Restart,
    /// The process or the machine ends now.
    Crash(Crash),
    /// The same, but in the middle of whatever happens so many calls later.
    CrashWithin {
        calls: u64,
        crash: Crash,
    },
    /// What a restore would take: everything on disk.
    Backup,
    /// From now on syncs keep nothing.
    Lie,
}

/// A log, and what happens to it.
#[derive(Debug, Clone)]
pub(super) struct History {
    pub(super) seed: u64,
    pub(super) settings: Settings,
    /// Each with a number that its random choices come from: leaving one out changes no other.
    pub(super) steps: Vec<(u64, Step)>,
    pub(super) ending: Ending,
}

impl History {
    pub(super) fn of(seed: u64, mutant: Option<Mutant>) -> Self {
        let mut random = Random::of(seed, 2);
        let kind = if random.one_in(3) {
            Kind::Ct
        } else {
            Kind::Rekor
        };
        // Bundles must become full where segments are to be recycled; that costs time, and not every history needs it.
        let long = random.one_in(3);
        let cosigned = random.one_in(4);
        let settings = Settings {
            kind,
            spare_segments: random.below(3) as usize,
            static_partials: !random.one_in(4),
            strict_files: random.one_in(5),
            batch_entries: random.pick(&[3, 20, 150]),
            witness: !cosigned && random.one_in(2),
            cosigned,
            mutant,
        };
        let ending = Ending::of(&mut random);
        let weather = random.below(4);
        let count = random.range(8, if long { 40 } else { 22 });
        let mut steps: Vec<(u64, Step)> = (0..count)
            .map(|number| (number, step(&mut random, long, weather)))
            .collect();
        if ending == Ending::Liar {
            let at = random.below(steps.len() as u64) as usize;
            steps.insert(at, (count, Step::Lie));
        }
        if ending.wants_backup() {
            let at = random.below(steps.len() as u64 / 2 + 1) as usize;
            steps.insert(at, (count, Step::Backup));
        }
        Self {
            seed,
            settings,
            steps,
            ending,
        }
    }

    /// Plays it; gives how often what happened.
    pub(super) fn play(&self, stage: &Stage) -> Outcome<BTreeMap<&'static str, u64>> {
        let mut driver = Driver::new(stage, self.settings.clone(), self.seed);
        let played = catch_unwind(AssertUnwindSafe(|| self.play_on(&mut driver)));
        let tally = driver.machine.tally();
        match played {
            Ok(outcome) => outcome.map(|()| tally),
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
                Err(Violation(format!("panic: {}", text.unwrap_or("?"))))
            }
        }
    }

    fn play_on(&self, driver: &mut Driver<'_>) -> Outcome {
        let mut random = Random::of(self.seed, 3);
        driver.open(&mut random)?;
        let mut backup = None;
        let mut crash_to_come = Crash::PowerAndSome;
        for (number, step) in &self.steps {
            let mut random = Random::of(self.seed, 100 + number);
            let lied = self.lied(*number);
            if lied && matches!(step, Step::Restart | Step::Crash(_)) {
                break;
            }
            match *step {
                Step::Submit { count, bytes } => driver.submit_new(count, bytes)?,
                Step::Again { count } if driver.entries > 0 => {
                    let again: Vec<u64> =
                        (0..count).map(|_| random.below(driver.entries)).collect();
                    driver.submit(again)?;
                }
                Step::Again { .. } => {}
                Step::Batch => drop(driver.batch()?),
                Step::Publish => driver.publish()?,
                Step::Witness => driver.witness()?,
                Step::Read => driver.read(&mut random)?,
                Step::SecondWriter => driver.second_writer()?,
                Step::Freeze => driver.freeze()?,
                Step::Clock { ms } => driver.step_clock(ms),
                Step::Trouble(trouble) => driver.machine.arm(trouble),
                Step::Space(space) => driver.machine.set_space(space),
                Step::Heal => driver.machine.heal(),
                Step::Restart => {
                    driver.close()?;
                    if driver.machine.is_on() {
                        driver.open(&mut random)?;
                    }
                }
                Step::Crash(crash) => {
                    driver.crash(crash)?;
                    driver.open(&mut random)?;
                }
                Step::CrashWithin { calls, crash } => {
                    crash_to_come = crash;
                    driver.machine.light_fuse(calls);
                }
                Step::Backup => backup = Some((driver.machine.image(), driver.machine.head())),
                Step::Lie => driver.machine.lie(),
            }
            if !driver.machine.is_on() || driver.has_stopped() {
                if lied {
                    break;
                }
                driver.crash(crash_to_come)?;
                driver.open(&mut random)?;
            }
            driver.look()?;
        }
        let mut random = Random::of(self.seed, 4);
        match self.ending {
            Ending::Sound => finish(driver, &mut random),
            ending => judge(driver, ending, backup, &mut random),
        }
    }

    /// Whether the disk had begun to lie when the step of this number was done.
    fn lied(&self, number: u64) -> bool {
        let at = |wanted: &dyn Fn(&(u64, Step)) -> bool| self.steps.iter().position(wanted);
        let lie = at(&|(_, step)| *step == Step::Lie);
        let now = at(&|(own, _)| *own == number);
        matches!((lie, now), (Some(lie), Some(now)) if lie <= now)
    }

    /// The same history without what it can do without and still be bad.
    pub(super) fn shrink(&self, stage: &Stage) -> Self {
        let mut best = self.clone();
        let mut chunk = best.steps.len();
        while chunk > 0 {
            let mut at = 0;
            while at < best.steps.len() {
                let mut shorter = best.clone();
                let end = (at + chunk).min(shorter.steps.len());
                shorter.steps.drain(at..end);
                if shorter.play(stage).is_err() {
                    best = shorter;
                } else {
                    at += chunk;
                }
            }
            chunk /= 2;
        }
        best
    }
}

fn step(random: &mut Random, long: bool, weather: u64) -> Step {
    let crash = |random: &mut Random| {
        random.pick(&[
            Crash::Process,
            Crash::PowerAndAll,
            Crash::PowerAndSome,
            Crash::PowerAndSome,
            Crash::PowerAndNothing,
        ])
    };
    match random.below(100) {
        0..28 => {
            let most = if long { 150 } else { 6 };
            // Large entries fill segments, small ones fill bundles.
            let bytes = random.pick(&[1, 1, 1, 200, 3000, 30_000]);
            let most = if bytes > 1000 { 3 } else { most };
            Step::Submit {
                count: random.range(1, most),
                bytes,
            }
        }
        28..36 => Step::Again {
            count: random.range(1, 5),
        },
        36..56 => Step::Batch,
        56..67 => Step::Publish,
        67..73 => Step::Witness,
        73..76 => Step::Read,
        76..78 => Step::SecondWriter,
        78 if random.one_in(3) => Step::Freeze,
        78..80 => Step::Restart,
        80..82 => Step::Clock {
            // Back by a day once, and the log takes nothing until somebody sets the clock forward again.
            ms: random.pick(&[
                1,
                1000,
                3_600_000,
                86_400_000,
                -1,
                -1000,
                -59_000,
                -61_000,
                -86_400_000,
            ]),
        },
        82..85 => Step::Crash(crash(random)),
        85..89 => Step::CrashWithin {
            calls: random.below(60),
            crash: crash(random),
        },
        89..98 if weather == 1 => Step::Trouble(Trouble {
            call: random.pick(&[
                Call::Read,
                Call::Write,
                Call::Sync,
                Call::Sync,
                Call::SyncFolder,
                Call::Rename,
                Call::Database,
            ]),
            after: random.below(6),
            for_good: random.one_in(4),
            residue: random.pick(&[Residue::Clean, Residue::Dropped, Residue::Partial]),
        }),
        89..98 if weather == 2 => {
            Step::Space(random.pick(&[Space::Full, Space::Full, Space::FullForAll]))
        }
        98.. if weather > 0 => Step::Heal,
        _ => Step::Batch,
    }
}

/// Everything is written, closed and opened once more, and every receipt holds.
fn finish(driver: &mut Driver<'_>, random: &mut Random) -> Outcome {
    driver.machine.heal();
    driver.clock_forward();
    driver.close()?;
    driver.crash(Crash::PowerAndAll)?;
    driver.open(random)?;
    driver.witness()?;
    // After the largest of all: duplicates of everything, and one more entry.
    let entries = driver.entries;
    let again: Vec<u64> = (0..entries.min(8)).map(|_| random.below(entries)).collect();
    driver.submit(again)?;
    if !driver.is_frozen() {
        driver.submit_new(1, 20)?;
    }
    while driver.batch()? {}
    driver.publish()?;
    driver.witness()?;
    if driver.has_stopped() {
        return Err(Violation(
            "the log stopped although nothing is broken".into(),
        ));
    }
    driver.look()?;
    driver.read(random)
}

/// How a bad history is told: what was violated, and how to see it again.
pub(super) fn report(history: &History, violation: &Violation) -> String {
    let steps: Vec<String> = history
        .steps
        .iter()
        .map(|(number, step)| format!("  {number:3} {step:?}"))
        .collect();
    format!(
        "{}\nseed {}; again: SIMULATION_SEED={} cargo test -p sealwright-log histories\n{:?}\n{}\n  end {:?}",
        violation.0,
        history.seed,
        history.seed,
        history.settings,
        steps.join("\n"),
        history.ending
    )
}
