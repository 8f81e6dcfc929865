//! `sealwrightd fsck`: every log of an instance that is not running, from its files alone.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};

use crate::error::Error;
use crate::place::{Place, Share, kind_of};

/// Checks the logs below `dir`, tells the findings on `out`, and fails when one is not sound.
///
/// # Errors
/// A directory that is no instance or is in use; a log with a fault.
pub(crate) fn fsck(dir: &Path, out: &mut impl Write) -> anyhow::Result<()> {
    let kind = kind_of(dir)?.ok_or_else(|| Error::NoInstance {
        dir: dir.to_owned(),
    })?;
    let _place = Place::open(dir, kind, Share::Whole)?;
    let mut sound = true;
    for folder in logs(&dir.join("log"))? {
        let report = sealwright_log::fsck(&folder).with_context(|| folder.display().to_string())?;
        let verdict = if report.is_sound() {
            "sound"
        } else {
            "NOT SOUND"
        };
        writeln!(
            out,
            "{}: {} entries, {} checked, {} tiles compared: {verdict}",
            report.origin, report.size, report.entries, report.tiles
        )?;
        for fault in &report.faults {
            writeln!(out, "    {fault}")?;
        }
        sound &= report.is_sound();
    }
    ensure!(sound, "a log is not sound");
    Ok(())
}

fn logs(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut folders: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Ok(folders)
}
