//! Histories whose disk does not keep its promises: it lies about syncs, loses bits at rest, or is put back from a backup.
//!
//! The log cannot keep every receipt then. What it must do is not be silent: whatever is lost, and anything here or outside
//! knows of, is refused or named.

use std::collections::BTreeMap;

use super::driver::Driver;
use super::machine::Crash;
use super::model::{Outcome, violated};
use super::random::Random;
use crate::error::Error;
use crate::fsck::fsck_on;
use crate::head::HeadRow;

/// How a history ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In good order.
    Sound,
    /// With the power, on a disk that has lied.
    Liar,
    /// A bit of a file at rest is another one.
    FlippedBit,
    /// A file at rest is shorter.
    Truncated,
    /// A file is missing.
    Missing,
    /// Two segments of the write-ahead log have each other's name.
    SwappedSegments,
    /// The write-ahead log is that of a backup.
    OldWriteAheadLog,
    /// Everything but the database is that of a backup.
    OldFiles,
    /// The database is that of a backup.
    OldDatabase,
    /// Everything is that of a backup.
    OldEverything,
}

/// Files by name, and the head beside them.
pub(super) type Backup = (BTreeMap<String, Vec<u8>>, Option<HeadRow>);

impl Ending {
    pub(super) fn of(random: &mut Random) -> Self {
        match random.below(20) {
            0..2 => Self::Liar,
            2..5 => Self::FlippedBit,
            5 => Self::Truncated,
            6 => Self::Missing,
            7 => Self::SwappedSegments,
            8 => Self::OldWriteAheadLog,
            9 => Self::OldFiles,
            10 => Self::OldDatabase,
            11 => Self::OldEverything,
            _ => Self::Sound,
        }
    }

    pub(super) fn wants_backup(self) -> bool {
        matches!(
            self,
            Self::OldWriteAheadLog | Self::OldFiles | Self::OldDatabase | Self::OldEverything
        )
    }
}

/// Does it to the disk, and judges what the log makes of it.
pub(super) fn judge(
    driver: &mut Driver<'_>,
    ending: Ending,
    backup: Option<Backup>,
    random: &mut Random,
) -> Outcome {
    let crash = random.pick(&[Crash::PowerAndAll, Crash::PowerAndSome]);
    if ending == Ending::Liar {
        driver.drop_log();
        driver.machine.restart(crash);
    } else if driver.is_open() {
        driver.machine.heal();
        if random.one_in(2) {
            driver.close()?;
        }
        driver.crash(crash)?;
    }
    driver.machine.heal();
    damage(driver, ending, backup, random);
    driver.clock_forward();

    judge_open(driver, &format!("{ending:?}"))
}

/// Opens a log whose disk is not what it was: every receipt holds, or what is wrong is said.
pub(super) fn judge_open(driver: &mut Driver<'_>, what: &str) -> Outcome {
    // What can be known here, before the log is asked.
    let public = driver.model.public_size(&driver.machine);
    let head = driver.machine.head().map_or(0, |row| row.size);
    let log = match driver.try_open() {
        Ok(log) => log,
        Err(error) => {
            driver.machine.count("damage refused at the start");
            return require_named(&error);
        }
    };
    let size = log.inner.tree.snapshot().size();
    if size < public.max(head) {
        violated!(
            "I6: {what}: the log opened with {size} entries; its files know of {public}, its database of {head}"
        );
    }
    let model = &driver.model;
    let lost = model
        .receipts
        .iter()
        .filter(|kept| kept.index >= size)
        .count();
    if lost > 0 {
        // Nothing here knew of them. Somebody outside does, if there is anybody.
        match &model.witness {
            Some(seen) if seen.size > size => driver.machine.count("losses that a witness knows"),
            Some(seen) if driver.witness_required() => violated!(
                "I6: {lost} receipts are lost, and the witness saw {} entries only",
                seen.size
            ),
            _ => driver.machine.count("losses that nobody could know"),
        }
        return driver.outside_memory_refuses(&log);
    }
    let mut named = false;
    // All at once where that is possible: reading one entry reads its bundle.
    let all = log.inner.tree.stored_range(0, size).unwrap_or_default();
    for kept in &model.receipts {
        if all.get(kept.index as usize) == Some(&kept.stored) {
            continue;
        }
        named = true;
        if let Err(error) = log.inner.tree.stored(kept.index) {
            require_named(&error)?;
        }
        if !all.is_empty() {
            break;
        }
    }
    if !named {
        driver.machine.count("damage without a loss");
        return driver.outside_memory_refuses(&log);
    }
    driver.machine.count("damage found by reading");
    match driver.disk().and_then(fsck_on) {
        Ok(report) if report.is_sound() => {
            violated!("I6: {what}: an entry is not what it was, and fsck finds nothing")
        }
        Ok(_) => Ok(()),
        Err(error) => require_named(&error),
    }
}

/// A refusal says what is wrong.
fn require_named(error: &Error) -> Outcome {
    match error {
        Error::Corrupt { .. }
        | Error::RolledBack { .. }
        | Error::Forked { .. }
        | Error::Mismatch { .. }
        | Error::NotALog { .. }
        | Error::Fenced
        | Error::Disk { .. } => Ok(()),
        other => violated!("a refusal that does not say which file is wrong: {other}"),
    }
}

fn damage(driver: &Driver<'_>, ending: Ending, backup: Option<Backup>, random: &mut Random) {
    let machine = &driver.machine;
    let image = machine.image();
    let names: Vec<&String> = image
        .iter()
        .filter(|(name, bytes)| !bytes.is_empty() && !name.starts_with("tmp/"))
        .map(|(name, _)| name)
        .collect();
    if names.is_empty() {
        return;
    }
    let name = random.pick(&names);
    let mut bytes = image[name].clone();
    match ending {
        Ending::Sound | Ending::Liar => {}
        Ending::FlippedBit => {
            // Segments are mostly zeros: where there is something is more interesting.
            let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
            let at = match written.len() {
                0 => random.below(bytes.len() as u64) as usize,
                count => written[random.below(count as u64) as usize],
            };
            bytes[at] ^= 1 << random.below(8);
            machine.damage(name, Some(bytes));
        }
        Ending::Truncated => {
            let len = random.below(bytes.len() as u64) as usize;
            bytes.truncate(len);
            machine.damage(name, Some(bytes));
        }
        Ending::Missing => machine.damage(name, None),
        Ending::SwappedSegments => {
            let segments: Vec<&&String> = names
                .iter()
                .filter(|name| name.starts_with("wal/"))
                .collect();
            if let [first, .., last] = segments.as_slice() {
                machine.damage(first, image.get(**last).cloned());
                machine.damage(last, image.get(**first).cloned());
            }
        }
        Ending::OldWriteAheadLog
        | Ending::OldFiles
        | Ending::OldDatabase
        | Ending::OldEverything => {
            let Some((files, head)) = backup else { return };
            match ending {
                Ending::OldWriteAheadLog => machine.replace("wal/", &files),
                Ending::OldDatabase => {}
                _ => machine.replace("", &files),
            }
            if matches!(ending, Ending::OldDatabase | Ending::OldEverything) {
                machine.set_head(head);
            }
        }
    }
    machine.count(match ending {
        Ending::Sound | Ending::Liar => "disks that lied",
        Ending::FlippedBit => "bits flipped",
        Ending::Truncated => "files truncated",
        Ending::Missing => "files lost",
        Ending::SwappedSegments => "segments swapped",
        Ending::OldWriteAheadLog => "backups of the write-ahead log",
        Ending::OldFiles => "backups of the files",
        Ending::OldDatabase => "backups of the database",
        Ending::OldEverything => "backups of everything",
    });
}
