//! `sealwrightd bench`: what the parts of an instance can do on this machine, without an instance.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use sealwright_host::SharedClock;
use sealwright_log::{BenchPlan, BenchReport, BenchRow, Percentiles};

/// What to measure.
#[derive(Debug, Subcommand)]
pub(crate) enum Bench {
    /// The engine of the logs alone: entries a second, latency, syncs, memory, as the log grows
    Log(LogArgs),
}

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Where the log is made: a folder that is new or empty, on the disk in question
    #[arg(long)]
    dir: PathBuf,
    /// Entries in all; a line is printed at each power of ten from 10,000 and at the end
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    entries: u64,
    /// Bytes of an entry
    #[arg(long, value_name = "BYTES", default_value_t = 500)]
    leaf_bytes: usize,
    /// Writers that wait for their receipt before their next entry
    #[arg(long, value_name = "N", default_value_t = 1024)]
    clients: usize,
    /// End the load after this long, however many entries there are
    #[arg(long, value_name = "S")]
    seconds: Option<u64>,
    /// Leave the log in the folder
    #[arg(long)]
    keep: bool,
    /// A table, or one JSON object
    #[arg(long, value_enum, default_value = "human")]
    output: Output,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Output {
    Human,
    Json,
}

/// Runs a benchmark and tells the findings on `out`.
///
/// # Errors
/// A folder that is not empty; whatever the log refuses; an output that is closed.
pub(crate) async fn bench(
    what: Bench,
    clock: SharedClock,
    out: &mut impl Write,
) -> anyhow::Result<()> {
    let Bench::Log(args) = what;
    let plan = BenchPlan {
        dir: args.dir,
        entries: args.entries,
        leaf_bytes: args.leaf_bytes,
        clients: args.clients,
        limit: args.seconds.map(Duration::from_secs),
        keep: args.keep,
        ..BenchPlan::default()
    };
    let mut told = Ok(());
    let human = args.output == Output::Human;
    if human {
        head(out, &plan)?;
    }
    let report = sealwright_log::bench(plan, clock, |row| {
        if human && told.is_ok() {
            told = line(out, row);
        }
    })
    .await?;
    told?;
    if human {
        foot(out, &report)?;
    } else {
        serde_json::to_writer_pretty(&mut *out, &report)?;
        writeln!(out)?;
    }
    Ok(())
}

fn head(out: &mut impl Write, plan: &BenchPlan) -> std::io::Result<()> {
    writeln!(
        out,
        "entries of {} bytes, {} writers; times in milliseconds",
        plan.leaf_bytes, plan.clients
    )
}

fn line(out: &mut impl Write, row: &BenchRow) -> std::io::Result<()> {
    writeln!(
        out,
        "at {}: {:.0} entries/s, CPU {:.1} us each, {:.0} MiB",
        row.size, row.entries_per_second, row.cpu_us, row.memory_mib
    )?;
    spread(out, "receipt under load", &row.latency)?;
    spread(out, "receipt of a lone writer", &row.lone)?;
    spread(out, "fdatasync of a 4 KiB append", &row.append_sync)?;
    spread(
        out,
        &format!("{} resubmissions, all found", row.resubmitted),
        &row.resubmission,
    )?;
    writeln!(
        out,
        "    under load: sync p50 {} p99 {}, queue p50 {} p99 {}, files behind p99 {}",
        figure(row.sync_p50_ms),
        figure(row.sync_p99_ms),
        figure(row.queue_p50_ms),
        figure(row.queue_p99_ms),
        figure(row.lag_p99_ms)
    )?;
    writeln!(
        out,
        "    batch: mean {:.0} p50 {:.0} p99 {:.0} entries",
        row.batch_mean, row.batch_p50, row.batch_p99
    )?;
    out.flush()
}

/// Two decimals, or a word where nothing was observed: the files of a short run may all be written after it.
fn figure(value: f64) -> String {
    if value.is_nan() {
        "unknown".to_owned()
    } else {
        format!("{value:.2}")
    }
}

fn spread(out: &mut impl Write, what: &str, spread: &Percentiles) -> std::io::Result<()> {
    writeln!(
        out,
        "    {what}: p50 {:.3} p90 {:.3} p99 {:.3} max {:.3}",
        spread.p50_ms, spread.p90_ms, spread.p99_ms, spread.max_ms
    )
}

fn foot(out: &mut impl Write, report: &BenchReport) -> std::io::Result<()> {
    writeln!(
        out,
        "all: {:.0} entries/s, CPU {:.1} us each; a lone writer's median is at most {:.2} ms over that of the append's sync",
        report.entries_per_second, report.cpu_us, report.lone_over_append_ms
    )?;
    writeln!(
        out,
        "the last line's lone median is {:.2} times the first's",
        report.lone_last_to_first
    )?;
    writeln!(
        out,
        "opened again in {:.0} ms with {:.0} MiB",
        report.start_ms, report.start_memory_mib
    )?;
    spread(
        out,
        "resubmissions after that, all found",
        &report.start_resubmission,
    )
}
