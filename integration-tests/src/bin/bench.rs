//! `make bench`: figures of the stack on this machine, printed and never asserted.
//!
//! The load generator shares the machine with the server, so the server's CPU time per request (from `/proc`) is the
//! robust figure and rates are indications. The peers' figures stand beside ours for orientation; they were measured on
//! a 2-core machine of the same kind.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{Algorithm, KeyType, PrivateKey};
use sealwright_integration_tests::{Daemon, EMAIL, Tool, certificate_request, entry_request, http};

/// One part of the benchmark.
type Part = fn(&Daemon) -> anyhow::Result<()>;

/// Parts by name, in their order; `bench certificates timestamps` runs two of them.
const PARTS: [(&str, Part); 5] = [
    ("sign", sign_and_verify),
    ("lone-entry", lone_entry),
    ("entries", entries),
    ("certificates", certificates),
    ("timestamps", timestamps),
];

fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = |name: &String| PARTS.iter().any(|part| part.0 == name);
    if let Some(unknown) = wanted.iter().find(|name| !known(name)) {
        anyhow::bail!(
            "no part is called {unknown:?}; there are {:?}",
            PARTS.map(|part| part.0)
        );
    }
    let scratch = tempfile::tempdir()?;
    println!(
        "folder {}, {} cores",
        scratch.path().display(),
        thread::available_parallelism()?
    );
    let daemon = start_up(&scratch.path().join("dev"))?;
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(&daemon)?;
        }
    }
    println!("resident after the load: {:.1} MB", megabytes(&daemon)?);
    println!("all in {:.0} s", started.elapsed().as_secs_f64());
    Ok(())
}

fn megabytes(daemon: &Daemon) -> anyhow::Result<f64> {
    Ok(daemon.resident_kib()? as f64 / 1024.0)
}

/// First and second start, and the memory of an idle stack.
fn start_up(dir: &Path) -> anyhow::Result<Daemon> {
    let begun = Instant::now();
    let mut daemon = Daemon::on(dir, &[])?;
    let first = begun.elapsed();
    daemon.terminate()?;
    drop(daemon);
    let begun = Instant::now();
    let daemon = Daemon::on(dir, &[])?;
    println!(
        "ready: first start {} ms, restart {} ms (goal: under 1,000)",
        first.as_millis(),
        begun.elapsed().as_millis()
    );
    thread::sleep(Duration::from_secs(2));
    println!(
        "resident idle: {:.1} MB for the whole stack (goal: under 100; peers: 26 to 45 each, four servers)",
        megabytes(&daemon)?
    );
    Ok(daemon)
}

/// Percentiles of durations in milliseconds.
struct Spread(Vec<f64>);

impl Spread {
    fn of(mut samples: Vec<Duration>) -> Self {
        samples.sort();
        Self(
            samples
                .into_iter()
                .map(|sample| sample.as_secs_f64() * 1e3)
                .collect(),
        )
    }

    fn percentile(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        self.0
            .get(last * percent / 100)
            .copied()
            .unwrap_or(f64::NAN)
    }
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let at = |percent| self.percentile(percent);
        write!(
            f,
            "min {:.2} p50 {:.2} p99 {:.2} max {:.2} ms",
            at(0),
            at(50),
            at(99),
            at(100)
        )
    }
}

fn repeat(
    count: usize,
    mut act: impl FnMut(usize) -> anyhow::Result<()>,
) -> anyhow::Result<Spread> {
    let mut samples = Vec::with_capacity(count);
    for n in 0..count {
        let begun = Instant::now();
        act(n)?;
        samples.push(begun.elapsed());
    }
    Ok(Spread::of(samples))
}

fn sign_and_verify(daemon: &Daemon) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let scratch = scratch.path();
    let file = scratch.join("small.txt");
    fs::write(&file, "a small file")?;
    let bundle = scratch.join("small.sigstore.json");
    let token = daemon.token()?;
    let sign = repeat(60, |_| {
        let tool = Tool::sealwright()
            .args(["sign-blob", "--identity-token", "-", "--bundle"])
            .arg(&bundle);
        tool.args(daemon.trust())
            .arg(&file)
            .run_with_input(token.as_bytes())?
            .success()
            .map(drop)
    })?;
    println!(
        "sign-blob, process and all: {sign} (goal: p50 under 60; peer: median 11,000, tuned 1,500)"
    );
    let verify = repeat(60, |_| daemon.verify(&file, &bundle)?.success().map(drop))?;
    println!("verify-blob, process and all: {verify} (peer: 25 to 35)");
    Ok(())
}

/// What a sync of a 4 KiB append costs in a folder.
fn fdatasync(dir: &Path) -> anyhow::Result<Spread> {
    let mut file = File::create(dir.join("sync.bin"))?;
    let spread = repeat(300, |_| {
        file.write_all(&[7; 4096])?;
        Ok(file.sync_data()?)
    })?;
    fs::remove_file(dir.join("sync.bin"))?;
    Ok(spread)
}

fn entry_bodies(count: usize) -> anyhow::Result<Vec<String>> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let salt: [u8; 16] = sealwright_crypto::random_bytes();
    let body = |n: usize| {
        let request = entry_request(&key, &[&salt[..], &n.to_be_bytes()].concat())?;
        Ok(request.to_string())
    };
    (0..count).map(body).collect()
}

fn lone_entry(daemon: &Daemon) -> anyhow::Result<()> {
    let bodies = entry_bodies(300)?;
    let client = http();
    let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
    let before = fdatasync(daemon.dir())?;
    let mut bodies = bodies.into_iter();
    let entries = repeat(300, |_| {
        let body = bodies.next().context("a body for each")?;
        let answer = client
            .post(&url)
            .header("content-type", "application/json")
            .body(body)
            .send()?;
        ensure!(answer.status() == 201, "{}", answer.status());
        answer.bytes()?;
        Ok(())
    })?;
    let after = fdatasync(daemon.dir())?;
    let sync = f64::midpoint(before.percentile(50), after.percentile(50));
    println!("fdatasync of a 4 KiB append in the log's folder: {before}; after: {after}");
    let ratio = entries.percentile(50) / sync;
    println!(
        "lone log entry: {entries}, p50 is {ratio:.1} syncs (goal: p50 under 10; peer: 11,010, tuned 1,001)"
    );
    Ok(())
}

/// Sends every body once from `clients` threads; prints rate, latencies and the server's CPU time per request.
fn load(
    daemon: &Daemon,
    name: &str,
    url: &str,
    content_type: &str,
    bodies: &[Vec<u8>],
    clients: usize,
    note: &str,
) -> anyhow::Result<()> {
    let next = AtomicUsize::new(0);
    let cpu = daemon.cpu_us()?;
    let begun = Instant::now();
    let samples = thread::scope(|scope| {
        let workers: Vec<_> = (0..clients)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<Vec<Duration>> {
                    let client = http();
                    let mut samples = Vec::new();
                    while let Some(body) = bodies.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let sent = Instant::now();
                        let answer = client
                            .post(url)
                            .header("content-type", content_type)
                            .body(body.clone())
                            .send()?;
                        ensure!(
                            answer.status().is_success(),
                            "{}: {}",
                            answer.status(),
                            answer.text()?
                        );
                        answer.bytes()?;
                        samples.push(sent.elapsed());
                    }
                    Ok(samples)
                })
            })
            .collect();
        workers
            .into_iter()
            .map(|worker| worker.join().expect("workers do not panic"))
            .collect::<anyhow::Result<Vec<_>>>()
    })?;
    let took = begun.elapsed().as_secs_f64();
    let samples: Vec<Duration> = samples.into_iter().flatten().collect();
    let count = samples.len();
    let each = (daemon.cpu_us()? - cpu) as f64 / count as f64;
    let rate = count as f64 / took;
    println!(
        "{name}, {clients} clients: {rate:.0} per s, {}, server CPU {each:.0} us each ({note})",
        Spread::of(samples)
    );
    Ok(())
}

fn entries(daemon: &Daemon) -> anyhow::Result<()> {
    let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
    for clients in [1, 16, 64] {
        let bodies: Vec<Vec<u8>> = entry_bodies(4000)?
            .into_iter()
            .map(String::into_bytes)
            .collect();
        load(
            daemon,
            "log entry",
            &url,
            "application/json",
            &bodies,
            clients,
            "goal: under 350; peer: 643",
        )?;
    }
    Ok(())
}

fn certificates(daemon: &Daemon) -> anyhow::Result<()> {
    let token = daemon.token()?;
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    for clients in [1, 16, 64] {
        let body = |_| {
            let key = PrivateKey::generate(KeyType::EcP256)?;
            let request = certificate_request(&token, &key, Algorithm::EcdsaP256Sha256, EMAIL)?;
            Ok(request.to_string().into_bytes())
        };
        let bodies = (0..2000).map(body).collect::<anyhow::Result<Vec<_>>>()?;
        load(
            daemon,
            "certificate with CT",
            &url,
            "application/json",
            &bodies,
            clients,
            "goal: under 700; peer: 2,011",
        )?;
    }
    Ok(())
}

/// A request for SHA-256 with a certificate and without a nonce, which needs no encoder.
fn timestamp_query(digest: &[u8; 32]) -> Vec<u8> {
    let mut query = vec![
        0x30, 0x39, 0x02, 0x01, 0x01, 0x30, 0x31, 0x30, 0x0d, 0x06, 0x09,
    ];
    query.extend([
        0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20,
    ]);
    query.extend(digest);
    query.extend([0x01, 0x01, 0xff]);
    query
}

fn timestamps(daemon: &Daemon) -> anyhow::Result<()> {
    for clients in [1, 16, 64] {
        let body = |n: usize| timestamp_query(&sealwright_crypto::sha256(&n.to_be_bytes()));
        let bodies: Vec<Vec<u8>> = (0..8000).map(body).collect();
        let kind = "application/timestamp-query";
        load(
            daemon,
            "timestamp",
            &daemon.endpoints().tsa,
            kind,
            &bodies,
            clients,
            "goal: under 100; peer: 251",
        )?;
    }
    Ok(())
}
