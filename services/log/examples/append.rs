//! Measures the engine in a folder: a lone append, its ratio to the disk's own sync, and the throughput of many writers.
//!
//! ```text
//! cargo run --release -p sealwright-log --example append -- [FOLDER]
//! ```

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, random_bytes};
use sealwright_host::clock::SystemClock;
use sealwright_log::{
    BodyLeaf, EngineOptions, EngineParts, Error, Kind, Log, LogIdentity, Metrics,
};

/// A body with a certificate has about this many bytes.
const BODY_BYTES: usize = 3200;
const LONE_APPENDS: usize = 500;
const WRITERS: usize = 512;
const LOAD_TIME: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let folder = std::env::args_os()
        .nth(1)
        .map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = folder.join(format!("sealwright-append-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    measure(&folder).await?;
    Ok(std::fs::remove_dir_all(&folder)?)
}

async fn measure(folder: &Path) -> anyhow::Result<()> {
    let syncs = sync_times(&folder.join("probe"))?;
    let began = Instant::now();
    let log = open(&folder.join("log")).await?;
    println!(
        "make and open           {:>8.2} ms",
        began.elapsed().as_secs_f64() * 1e3
    );

    let mut lone = Vec::new();
    for _ in 0..LONE_APPENDS {
        let body = body();
        let began = Instant::now();
        log.submit(BodyLeaf::new(body)?).await?;
        lone.push(began.elapsed());
    }
    report("fdatasync of 4 KiB", &syncs);
    let lone = report("lone append", &lone);
    println!("ratio of the medians    {:>8.2}", lone / median(&syncs));

    let (count, took, waits) = load(&log).await?;
    println!(
        "{WRITERS} writers             {:>8.0} entries/s",
        count as f64 / took.as_secs_f64()
    );
    report("receipt under load", &waits);
    let began = Instant::now();
    log.shutdown().await;
    let size = log.tree_head().size;
    println!(
        "shutdown                {:>8.2} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    drop(log);

    let began = Instant::now();
    let log = reopen(&folder.join("log")).await.context("opening again")?;
    println!(
        "open with {size:>8} entries {:>6.2} ms",
        began.elapsed().as_secs_f64() * 1e3
    );
    log.shutdown().await;
    Ok(())
}

/// Many writers at once, each with a new body after each receipt.
async fn load(log: &Log) -> anyhow::Result<(u64, Duration, Vec<Duration>)> {
    let (count, began) = (Arc::new(AtomicU64::new(0)), Instant::now());
    let writers: Vec<_> = (0..WRITERS)
        .map(|_| {
            let (log, count) = (log.clone(), count.clone());
            tokio::spawn(async move {
                let mut waits = Vec::new();
                while began.elapsed() < LOAD_TIME {
                    let leaf = BodyLeaf::new(body())?;
                    let sent = Instant::now();
                    match log.submit(leaf).await {
                        Ok(_) => waits.push(sent.elapsed()),
                        // Files cannot keep up with the write-ahead log: a client would be told to wait, too.
                        Err(Error::Overloaded { .. }) => {
                            tokio::time::sleep(Duration::from_millis(20)).await;
                            continue;
                        }
                        Err(error) => return Err(error.into()),
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
                anyhow::Ok(waits)
            })
        })
        .collect();
    let mut waits = Vec::new();
    for writer in writers {
        waits.extend(writer.await??);
    }
    Ok((count.load(Ordering::Relaxed), began.elapsed(), waits))
}

fn body() -> Vec<u8> {
    let mut body = vec![b'x'; BODY_BYTES];
    body[..32].copy_from_slice(&random_bytes::<32>());
    body
}

/// What the disk needs to make 4 KiB at the end of a file durable.
fn sync_times(path: &Path) -> anyhow::Result<Vec<Duration>> {
    let mut file = OpenOptions::new().create(true).append(true).open(path)?;
    let mut times = Vec::new();
    for _ in 0..LONE_APPENDS {
        let began = Instant::now();
        file.write_all(&[7; 4096])?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    Ok(times)
}

/// Prints median and 99th percentile, and returns the median in milliseconds.
fn report(what: &str, times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    let p99 = sorted
        .get(sorted.len() * 99 / 100)
        .copied()
        .unwrap_or_default();
    let p50 = median(times);
    println!(
        "{what:<23} {p50:>8.3} ms p50 {:>8.3} ms p99",
        p99.as_secs_f64() * 1e3
    );
    p50
}

fn median(times: &[Duration]) -> f64 {
    let mut sorted = times.to_vec();
    sorted.sort();
    sorted
        .get(sorted.len() / 2)
        .copied()
        .unwrap_or_default()
        .as_secs_f64()
        * 1e3
}

/// The key is kept beside the log, so that the log can be opened again.
async fn open(dir: &Path) -> anyhow::Result<Log> {
    std::fs::create_dir_all(dir)?;
    let key = PrivateKey::generate(KeyType::Ed25519)?;
    std::fs::write(dir.join("key.pem"), key.to_pkcs8_pem().as_bytes())?;
    reopen(dir).await
}

async fn reopen(dir: &Path) -> anyhow::Result<Log> {
    let key = PrivateKey::from_pem(&std::fs::read_to_string(dir.join("key.pem"))?)?;
    let parts = EngineParts {
        signer: Arc::new(MemorySigner::new(key)),
        clock: SystemClock::shared(),
        metrics: Metrics::default(),
        cosigner: None,
    };
    let identity = LogIdentity {
        name: "bench".into(),
        kind: Kind::Rekor,
        origin: "bench.example".into(),
    };
    let options = EngineOptions {
        create: true,
        segment_bytes: 16 << 20,
        ..EngineOptions::default()
    };
    Ok(Log::open(dir, identity, options, parts).await?)
}
