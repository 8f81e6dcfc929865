//! `sealwrightd fsck`: every log of an instance that is not running, from its files alone.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use clap::{Args, ValueEnum};
use sealwright_log::{FsckOptions, Mirror, Report, fsck_with};

use crate::logs_at_rest::{LogAtRest, chosen, logs_as_found};
use crate::place::{Place, Share};

/// Progress is told about every so many entries.
const PROGRESS: u64 = 1_000_000;

/// What to check, and how.
#[derive(Debug, Args)]
pub(crate) struct Fsck {
    /// The instance
    #[arg(long)]
    dir: PathBuf,
    /// This log alone
    #[arg(long, value_name = "NAME")]
    log: Option<String>,
    /// Put right what can be: with bytes that lead to the signed root, from the log's other files, from its write-ahead log, or
    /// from a mirror. A wrong file is kept as FILE.damaged-TIME
    #[arg(long)]
    repair: bool,
    /// Where else right files may be found, beside the mirrors in the configuration: an https address, or a folder
    #[arg(long, value_name = "URL|DIR")]
    mirror: Vec<String>,
    /// How the findings are told
    #[arg(long, value_enum, default_value = "text")]
    output: Output,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(crate) enum Output {
    Text,
    Json,
}

/// Checks the logs of an instance at `now` (Unix seconds), tells the findings on `out`, and fails when one is not sound.
///
/// # Errors
/// A directory that is no instance or is in use; a log with a fault.
pub(crate) async fn fsck(args: Fsck, now: i64, out: &mut impl Write) -> anyhow::Result<()> {
    let (kind, logs, unconfigured) = logs_as_found(&args.dir)?;
    if let Some(error) = unconfigured {
        writeln!(
            std::io::stderr(),
            "the mirrors in the configuration are not asked: {error:#}"
        )?;
    }
    let _place = Place::open(&args.dir, kind, Share::Whole)?;
    let mut reports = Vec::new();
    for log in chosen(logs, args.log.as_deref())? {
        let report = check(&log, &args, now).await;
        reports.push(report.with_context(|| log.dir.display().to_string())?);
    }
    match args.output {
        Output::Json => writeln!(out, "{}", json(&reports)?)?,
        Output::Text => reports.iter().try_for_each(|report| tell(report, out))?,
    }
    ensure!(reports.iter().all(Report::is_sound), "a log is not sound");
    Ok(())
}

async fn check(log: &LogAtRest, args: &Fsck, now: i64) -> anyhow::Result<Report> {
    let mut mirrors = log.mirrors(&args.dir)?;
    for text in &args.mirror {
        mirrors.push(Mirror::parse(text, Path::new("."))?);
    }
    let options = FsckOptions {
        repair: args.repair,
        mirrors,
        now,
    };
    let name = log.name.clone();
    let mut told = std::sync::atomic::AtomicU64::new(PROGRESS);
    *told.get_mut() = PROGRESS;
    let progress = move |entries: u64| {
        let next = told.load(std::sync::atomic::Ordering::Relaxed);
        if entries >= next {
            told.store(next + PROGRESS, std::sync::atomic::Ordering::Relaxed);
            // Beside the findings; there is nowhere else to complain.
            let _ = writeln!(std::io::stderr(), "{name}: {entries} entries checked");
        }
    };
    Ok(fsck_with(&log.dir, options, progress).await?)
}

fn tell(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    let verdict = match (report.is_sound(), report.faults.is_empty()) {
        (true, true) => "sound",
        (true, false) => "sound again",
        (false, _) => "NOT SOUND",
    };
    writeln!(
        out,
        "{}: {} entries, {} checked, {} tiles compared: {verdict}",
        report.origin, report.size, report.entries, report.tiles
    )?;
    report
        .faults
        .iter()
        .try_for_each(|fault| writeln!(out, "    {fault}"))
}

fn json(reports: &[Report]) -> serde_json::Result<String> {
    let logs = reports.iter().map(|report| {
        let mut value = serde_json::to_value(report)?;
        if let Some(object) = value.as_object_mut() {
            object.insert("sound".to_owned(), report.is_sound().into());
        }
        Ok(value)
    });
    let logs = logs.collect::<serde_json::Result<Vec<_>>>()?;
    serde_json::to_string_pretty(&serde_json::json!({ "logs": logs }))
}
