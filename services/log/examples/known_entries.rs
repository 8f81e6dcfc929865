//! Shows that a large log knows its entries exactly, what that costs in memory, and what a start costs, in a process that
//! did not make the log. The folder is made, and removed at the end.
//!
//! ```text
//! cargo run --release -p sealwright-log --example known_entries -- FOLDER [ENTRIES] [LEAF BYTES]
//! ```

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, ensure};
use futures::future::try_join_all;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey};
use sealwright_host::clock::SystemClock;
use sealwright_log::{
    BodyLeaf, EngineOptions, EngineParts, Kind, Log, LogIdentity, Metrics, Receipt, fsck,
};

/// Entries that wait for their receipts together.
const AT_ONCE: u64 = 1024;
/// Old and new entries that are looked up one by one.
const SAMPLE: u64 = 10_000;
/// Blocks of this many old entries in a row are looked up too, one in every thousand.
const BLOCK: u64 = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let usage = "known_entries FOLDER [ENTRIES] [LEAF BYTES] [make | check | rebuild]";
    let folder = Path::new(args.first().context(usage)?);
    let entries = args.get(1).map_or(Ok(10_000_000), |text| text.parse())?;
    let leaf_bytes = args.get(2).map_or(Ok(128), |text| text.parse())?;
    match args.get(3).map(String::as_str) {
        None => {
            ensure!(!folder.exists(), "{} is there already", folder.display());
            let outcome = ["make", "check", "rebuild"]
                .iter()
                .try_for_each(|part| run_part(folder, entries, leaf_bytes, part));
            std::fs::remove_dir_all(folder)?;
            outcome
        }
        Some("make") => make(folder, entries, leaf_bytes).await,
        Some("check") => check(folder, entries, leaf_bytes).await,
        Some("rebuild") => {
            std::fs::remove_dir_all(folder.join("log/dedup"))?;
            check(folder, entries + SAMPLE, leaf_bytes).await?;
            let begun = Instant::now();
            let report = fsck(&folder.join("log"))?;
            ensure!(report.is_sound(), "{:?}", report.faults);
            println!(
                "fsck of {} entries: sound after {:.1} s",
                report.entries,
                begun.elapsed().as_secs_f64()
            );
            Ok(())
        }
        Some(other) => anyhow::bail!("{other}? {usage}"),
    }
}

fn run_part(folder: &Path, entries: u64, leaf_bytes: usize, part: &str) -> anyhow::Result<()> {
    let status = Command::new(std::env::current_exe()?)
        .arg(folder)
        .args([entries.to_string(), leaf_bytes.to_string(), part.to_owned()])
        .status()?;
    ensure!(status.success(), "{part}: {status}");
    Ok(())
}

/// Bodies follow from their numbers, so that another process can make them again.
fn body(number: u64, bytes: usize) -> anyhow::Result<BodyLeaf> {
    Ok(BodyLeaf::new(format!("{number:>bytes$}").into_bytes())?)
}

async fn open(folder: &Path) -> anyhow::Result<Log> {
    let key_file = folder.join("key");
    let key = match std::fs::read(&key_file) {
        Ok(der) => PrivateKey::from_pkcs8_der(&der)?,
        Err(_) => {
            let key = PrivateKey::generate(KeyType::Ed25519)?;
            std::fs::create_dir_all(folder)?;
            std::fs::write(key_file, key.to_pkcs8_der())?;
            key
        }
    };
    let identity = LogIdentity {
        name: "known".into(),
        kind: Kind::Rekor,
        origin: "known.invalid".into(),
    };
    let parts = EngineParts {
        signer: Arc::new(MemorySigner::new(key)),
        clock: Arc::new(SystemClock),
        metrics: Metrics::default(),
        cosigner: None,
    };
    let options = EngineOptions {
        create: true,
        ..EngineOptions::default()
    };
    Ok(Log::open(&folder.join("log"), identity, options, parts).await?)
}

async fn submit(
    log: &Log,
    numbers: impl IntoIterator<Item = u64>,
    leaf_bytes: usize,
) -> anyhow::Result<Vec<(u64, Receipt)>> {
    let submissions = numbers.into_iter().map(|number| async move {
        let receipt = log.submit(body(number, leaf_bytes)?).await?;
        anyhow::Ok((number, receipt))
    });
    try_join_all(submissions).await
}

/// The receipt must be for this very entry, and of an index near its number: those that are offered together may overtake
/// each other.
fn require(
    number: u64,
    receipt: &Receipt,
    duplicate: bool,
    leaf_bytes: usize,
) -> anyhow::Result<()> {
    let Receipt { index, stored, .. } = receipt;
    ensure!(
        receipt.duplicate == duplicate,
        "entry {number} at index {index}: duplicate is {}",
        receipt.duplicate
    );
    let own = format!("{number:>leaf_bytes$}");
    ensure!(
        stored.as_ref() == own.as_bytes(),
        "entry {number} is answered with another one"
    );
    ensure!(
        index.abs_diff(number) < AT_ONCE,
        "entry {number} is at {index}"
    );
    Ok(())
}

async fn make(folder: &Path, entries: u64, leaf_bytes: usize) -> anyhow::Result<()> {
    let (log, begun) = (open(folder).await?, Instant::now());
    let mut most = 0;
    for first in (0..entries).step_by(AT_ONCE as usize) {
        let end = (first + AT_ONCE).min(entries);
        for (number, receipt) in submit(&log, first..end, leaf_bytes).await? {
            require(number, &receipt, false, leaf_bytes)?;
        }
        if first.is_multiple_of(1024 * AT_ONCE) {
            most = most.max(memory_kib()?);
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    log.shutdown().await;
    println!(
        "{entries} entries of {leaf_bytes} bytes in {seconds:.1} s; at most {} MiB of memory, sampled",
        most / 1024
    );
    Ok(())
}

async fn check(folder: &Path, entries: u64, leaf_bytes: usize) -> anyhow::Result<()> {
    let begun = Instant::now();
    let log = open(folder).await?;
    let started = begun.elapsed();
    let at_start = memory_kib()?;
    ensure!(
        log.tree_head().size == entries,
        "{} entries",
        log.tree_head().size
    );

    let begun = Instant::now();
    let spread = (0..SAMPLE.min(entries)).map(|at| at * (entries / SAMPLE.min(entries)));
    let blocks = (0..entries)
        .step_by(1000 * BLOCK as usize)
        .flat_map(|first| first..(first + BLOCK).min(entries));
    let old: Vec<u64> = spread.chain(blocks).collect();
    for part in old.chunks(64) {
        for (number, receipt) in submit(&log, part.iter().copied(), leaf_bytes).await? {
            require(number, &receipt, true, leaf_bytes)?;
        }
    }
    let each_us = begun.elapsed().as_secs_f64() * 1e6 / old.len() as f64;
    for first in (entries..entries + SAMPLE).step_by(AT_ONCE as usize) {
        let end = (first + AT_ONCE).min(entries + SAMPLE);
        for (number, receipt) in submit(&log, first..end, leaf_bytes).await? {
            require(number, &receipt, false, leaf_bytes)?;
        }
    }
    println!(
        "opened at {entries} entries in {} ms with {} MiB; {} old entries were known ({each_us:.0} us each), \
         {SAMPLE} new ones were new; {} MiB then",
        started.as_millis(),
        at_start / 1024,
        old.len(),
        memory_kib()? / 1024
    );
    log.shutdown().await;
    Ok(())
}

/// Anonymous and shared memory of this process.
fn memory_kib() -> anyhow::Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let kib = |name: &str| -> anyhow::Result<u64> {
        let line = status.lines().find(|line| line.starts_with(name));
        let number = line.and_then(|line| line.split_whitespace().nth(1));
        Ok(number
            .context("no such line in /proc/self/status")?
            .parse()?)
    };
    Ok(kib("RssAnon:")? + kib("RssShmem:")?)
}
