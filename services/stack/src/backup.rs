//! `sealwrightd backup`: a copy of an instance, taken while it runs, that `restore` and `up` can go on from.
//!
//! ```text
//! TO/LOCK                  one backup at a time
//! TO/.new                  the one that is being made; what an interrupted one left is removed by the next
//! TO/20260131T220500Z      a backup, complete and checked; files that did not change are links to those of the one before
//! TO/latest                a link to the newest
//! ```
//!
//! A backup gets its name when it is whole: until then, and whatever happens meanwhile, the older one is the latest.

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use rustix::fs::{FlockOperation, flock, syncfs};
use sealwright_host::db::copy_sqlite;
use sealwright_log::{copy_log, fsck};

use crate::files::make_private_folder;
use crate::logs_at_rest::{LOG_STATE, LogAtRest, logs};

/// The backup that is being made.
const NEW: &str = ".new";
/// The link to the newest.
const LATEST: &str = "latest";
/// Files that are looked into for private keys; a key is far smaller.
const MAX_KEY_FILE: u64 = 64 << 10;

/// What to copy, and where to.
#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// The instance, running or not
    #[arg(long)]
    dir: PathBuf,
    /// The folder that the backups are kept in; best on another disk
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// Copy private keys too: whoever has the backup then has them. Without them, keep a copy of DIR/keys elsewhere
    #[arg(long)]
    with_keys: bool,
    /// How many backups are kept; older ones are removed
    #[arg(long, value_name = "N", default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    keep: u32,
}

/// Makes one backup at `now` (Unix seconds), and tells on `out` what is in it.
///
/// # Errors
/// A directory that is no instance; a file that cannot be read or written; a copy that does not pass `fsck`. The earlier backups
/// are as they were then.
pub(crate) async fn backup(args: Backup, now: i64, out: &mut impl Write) -> anyhow::Result<()> {
    let (_, mut logs) = logs(&args.dir)?;
    // An imported log is files that never change; it is copied like everything else.
    logs.retain(LogAtRest::is_own);
    make_private_folder(&args.to)?;
    let to = fs::canonicalize(&args.to).with_context(|| args.to.display().to_string())?;
    let from = fs::canonicalize(&args.dir).with_context(|| args.dir.display().to_string())?;
    ensure!(
        !to.starts_with(&from),
        "{} is within the instance: a backup belongs elsewhere, best on another disk",
        to.display()
    );
    let _lock = lock(&to)?;
    let new = to.join(NEW);
    remove_tree(&new)?;
    let job = Job {
        from,
        new: new.clone(),
        before: fs::canonicalize(to.join(LATEST)).ok(),
        with_keys: args.with_keys,
    };
    let made = job.run(&logs, out).await;
    if let Err(error) = made {
        // The space may be what is missing.
        let removed = remove_tree(&new);
        return Err(error.context(match removed {
            Ok(()) => "the backup was not made; the earlier ones are as they were",
            Err(_) => "the backup was not made, and a part of it is left; the earlier ones are as they were",
        }));
    }
    let name = name_of(now)?;
    let place = to.join(&name);
    ensure!(!place.exists(), "{} is there already", place.display());
    syncfs(File::open(&to)?).context("syncing the backup")?;
    fs::rename(&new, &place).with_context(|| place.display().to_string())?;
    point_latest(&to, &name)?;
    File::open(&to)?.sync_all()?;
    prune(&to, args.keep, &name)?;
    writeln!(out, "{} is complete", place.display())?;
    Ok(())
}

fn lock(to: &Path) -> anyhow::Result<File> {
    let path = to.join("LOCK");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path);
    let file = file.with_context(|| path.display().to_string())?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!("another backup to {} is under way", to.display());
    }
    Ok(file)
}

fn remove_tree(path: &Path) -> anyhow::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| path.display().to_string())
        }
        _ => Ok(()),
    }
}

struct Job {
    from: PathBuf,
    new: PathBuf,
    before: Option<PathBuf>,
    with_keys: bool,
}

impl Job {
    async fn run(&self, logs: &[LogAtRest], out: &mut impl Write) -> anyhow::Result<()> {
        make_private_folder(&self.new)?;
        for log in logs {
            self.log(log, out).await?;
        }
        let skip: Vec<PathBuf> = logs.iter().map(|log| log.dir.clone()).collect();
        let others = self.others(&skip).await?;
        writeln!(out, "{others} other files")?;
        if !self.with_keys {
            writeln!(
                out,
                "private keys are not in it: keep a copy of them elsewhere, or use --with-keys"
            )?;
        }
        Ok(())
    }

    async fn log(&self, log: &LogAtRest, out: &mut impl Write) -> anyhow::Result<()> {
        let below = PathBuf::from(LOG_STATE).join(&log.name);
        let to = self.new.join(&below);
        let before = self.before.as_ref().map(|before| before.join(&below));
        make_private_folder(&self.new.join(LOG_STATE))?;
        let copied = copy_log(&log.dir, &to, before.as_deref()).await;
        let copied = copied.with_context(|| log.dir.display().to_string())?;
        let checked = {
            let to = to.clone();
            tokio::task::spawn_blocking(move || fsck(&to)).await??
        };
        let fault = checked.faults.first();
        ensure!(
            fault.is_none(),
            "the copy of {} is not sound: {}; run `sealwrightd fsck` on the instance",
            log.name,
            fault.map(ToString::to_string).unwrap_or_default()
        );
        writeln!(
            out,
            "{}: {} entries, {} checked, {} files written, {} as before",
            copied.origin, copied.size, checked.entries, copied.written, copied.linked
        )?;
        Ok(())
    }

    /// Everything that is not a log's: what each service keeps, configuration, files for clients.
    async fn others(&self, skip: &[PathBuf]) -> anyhow::Result<u64> {
        let mut count = 0;
        let mut folders = vec![PathBuf::new()];
        while let Some(below) = folders.pop() {
            let folder = self.from.join(&below);
            let entries = fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
            for entry in entries {
                let entry = entry?;
                let (path, below) = (entry.path(), below.join(entry.file_name()));
                // A file that is replaced meanwhile may be gone under its temporary name.
                let Ok(kind) = entry.file_type() else {
                    continue;
                };
                if skip.contains(&path) || is_of_the_process(&entry.file_name()) {
                    continue;
                }
                if kind.is_dir() {
                    if self.with_keys || !holds_keys(&below) {
                        folders.push(below);
                    }
                } else if kind.is_file() {
                    count += u64::from(self.other(&path, &below).await?);
                }
            }
        }
        Ok(count)
    }

    async fn other(&self, path: &Path, below: &Path) -> anyhow::Result<bool> {
        let to = self.new.join(below);
        if let Some(parent) = to.parent() {
            make_private_folder(parent)?;
        }
        if path.extension() == Some(OsStr::new("db")) {
            copy_sqlite(path, &to).await?;
            return Ok(true);
        }
        if !self.with_keys && is_private_key(path)? {
            return Ok(false);
        }
        match fs::copy(path, &to) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error).with_context(|| path.display().to_string()),
        }
    }
}

/// What means something to the running process alone, or belongs to a database that is copied as a whole.
fn is_of_the_process(name: &OsStr) -> bool {
    let name = name.to_string_lossy();
    name == "LISTENING"
        || name.starts_with("LOCK")
        || (name.starts_with('.') && name.ends_with(".new"))
        || name.ends_with(".db-wal")
        || name.ends_with(".db-shm")
}

/// Folders of keys alone, with what is public beside them.
fn holds_keys(below: &Path) -> bool {
    below == Path::new("offline")
}

fn is_private_key(path: &Path) -> anyhow::Result<bool> {
    let failed = || path.display().to_string();
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(true),
        Err(error) => return Err(error).with_context(failed),
    };
    if metadata.permissions().mode() & 0o077 == 0 && metadata.len() <= MAX_KEY_FILE {
        let bytes = fs::read(path).with_context(failed)?;
        let text = String::from_utf8_lossy(&bytes);
        return Ok(text.contains("PRIVATE KEY") || path.extension() == Some(OsStr::new("key")));
    }
    Ok(false)
}

/// The moment in UTC, so that names stand in the order of time: `20260131T220500Z`.
fn name_of(now: i64) -> anyhow::Result<String> {
    let seconds = u64::try_from(now).context("the clock is before 1970")?;
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, so that the leap day is the last of a year.
    let since = days + 719_468;
    let (era, of_era) = (since / 146_097, since % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    Ok(format!(
        "{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z"
    ))
}

fn point_latest(to: &Path, name: &str) -> anyhow::Result<()> {
    let beside = to.join(".latest.new");
    let removed = fs::remove_file(&beside);
    // It is there only after an interruption.
    drop(removed);
    symlink(name, &beside).with_context(|| beside.display().to_string())?;
    fs::rename(&beside, to.join(LATEST)).with_context(|| to.display().to_string())
}

/// Removes the oldest backups beyond `keep`; never the one called `newest`.
fn prune(to: &Path, keep: u32, newest: &str) -> anyhow::Result<()> {
    let mut names: Vec<String> = fs::read_dir(to)?
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .filter(|name| is_backup(name))
        .collect();
    names.sort();
    let surplus = names.len().saturating_sub(keep as usize);
    for name in names.iter().take(surplus).filter(|name| *name != newest) {
        remove_tree(&to.join(name))?;
    }
    Ok(())
}

fn is_backup(name: &str) -> bool {
    let (date, time) = (name.get(..8), name.get(9..15));
    let digits = |text: Option<&str>| {
        text.is_some_and(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
    };
    name.len() == 16
        && digits(date)
        && digits(time)
        && name.get(8..9) == Some("T")
        && name.ends_with('Z')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backup_is_called_by_its_moment() {
        // Each from `date -u -d @N +%Y%m%dT%H%M%SZ`.
        for (unix, name) in [
            (0, "19700101T000000Z"),
            (951_782_400, "20000229T000000Z"),
            (1_798_761_599, "20261231T235959Z"),
            (4_107_542_400, "21000301T000000Z"),
        ] {
            assert_eq!(name_of(unix).unwrap(), name);
            assert!(is_backup(name));
        }
        assert!(name_of(-1).is_err());
        for other in [
            "latest",
            ".new",
            "LOCK",
            "20260131T22050Z",
            "2026013xT220500Z",
        ] {
            assert!(!is_backup(other), "{other}");
        }
    }

    #[test]
    fn only_the_newest_are_kept_and_nothing_else_is_touched() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "20260101T000000Z",
            "20260102T000000Z",
            "20260103T000000Z",
            "mine",
        ];
        for name in names {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        prune(folder.path(), 2, names[2]).unwrap();
        let there = names.map(|name| folder.path().join(name).exists());
        assert_eq!(there, [false, true, true, true]);
        point_latest(folder.path(), names[1]).unwrap();
        point_latest(folder.path(), names[2]).unwrap();
        assert_eq!(
            fs::read_link(folder.path().join(LATEST)).unwrap(),
            Path::new(names[2])
        );
    }
}
