//! The three services under load.

use std::{
    fs::{self, File},
    io::Write as _,
    path::Path,
};

use anyhow::Context as _;
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64};
use sealwright_integration_tests::{Daemon, EMAIL, Tool, certificate_request, entry_request, http};
use sealwright_pki::Certificate;
use serde_json::{Value, json};

use crate::{
    load::{Outcome, Request, get, load, middle, post},
    peers::TimestampServer,
    spread::{Spread, repeat},
    table::{Goal, Table, figure},
};

/// How many clients ask at the same time.
const CLIENTS: [usize; 3] = [1, 16, 64];
/// Each setting is measured this often; the middle one counts.
const ROUNDS: usize = 3;

/// Microseconds of CPU each, p50 and p99 in milliseconds.
type Figures = (f64, f64, f64);

/// What is known of a peer at 1, 16 and 64 clients.
type Published = [Option<Figures>; 3];

/// Adds the rows of one setting.
fn rows(
    table: &mut Table,
    name: &str,
    clients: usize,
    outcome: &Outcome,
    cpu_goal: f64,
    peer: (String, String),
) {
    let (cpu, latency) = peer;
    let what = |figure: &str| format!("{name}, {clients} clients: {figure}");
    table.add(
        what("server CPU us"),
        Goal::Under(cpu_goal),
        outcome.cpu_us,
        cpu,
    );
    table.add(
        what("p50 ms"),
        Goal::None,
        outcome.latency.percentile(50),
        latency,
    );
    table.add(
        what("p99 ms"),
        Goal::None,
        outcome.latency.percentile(99),
        "",
    );
}

fn published(name: &str, figures: Option<Figures>) -> (String, String) {
    let Some((cpu, p50, p99)) = figures else {
        let unknown = format!("{name}: not measured");
        return (unknown.clone(), unknown);
    };
    (
        format!("{name} {}", figure(cpu)),
        format!("{name} p50 {} p99 {}", figure(p50), figure(p99)),
    )
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

fn timestamp_requests(url: &str) -> anyhow::Result<Vec<Request>> {
    let request = |n: usize| {
        let query = timestamp_query(&sealwright_crypto::sha256(&n.to_be_bytes()));
        post(url, "application/timestamp-query", &query)
    };
    (0..10_000).map(request).collect()
}

/// Tokens, beside the page that does nothing and the peer where it is installed.
pub(crate) fn timestamps(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    const PUBLISHED: Published = [
        Some((332.0, 0.4, 1.5)),
        Some((296.0, 4.4, 10.0)),
        Some((251.0, 14.0, 27.0)),
    ];
    const PUBLISHED_RATES: [f64; 3] = [2061.0, 3752.0, 4660.0];
    let ours = || daemon.cpu_us();
    let url = &daemon.endpoints().tsa;
    let requests = timestamp_requests(url)?;
    let health = format!("{}/healthz", daemon.endpoints().console);
    let pages = vec![get(&health)?; 10_000];
    let server = TimestampServer::start()?;
    let their_url = server
        .as_ref()
        .map(|server| server.url("/api/v1/timestamp"));
    let their_requests = their_url.as_deref().map(timestamp_requests).transpose()?;
    for (index, clients) in CLIENTS.into_iter().enumerate() {
        let page = middle(ROUNDS, |_| load(&health, &pages, clients, &ours))?;
        page.show("health page, the ceiling", clients);
        let token = middle(ROUNDS, |_| load(url, &requests, clients, &ours))?;
        token.show("timestamp", clients);
        let (peer, rate) = match (&server, &their_url, &their_requests) {
            (Some(server), Some(url), Some(requests)) => {
                let theirs = || server.cpu_us();
                let peer = middle(ROUNDS, |_| load(url, requests, clients, &theirs))?;
                peer.show("timestamp-server", clients);
                let latency = &peer.latency;
                let figures = (peer.cpu_us, latency.percentile(50), latency.percentile(99));
                (
                    published("timestamp-server here", Some(figures)),
                    peer.per_second,
                )
            }
            _ => {
                let figures = PUBLISHED.get(index).copied().context("a figure for each")?;
                let rate = PUBLISHED_RATES.get(index).copied().unwrap_or(f64::NAN);
                (published("timestamp-server", figures), rate)
            }
        };
        rows(table, "timestamp", clients, &token, 75.0, peer);
        let goal = Goal::AtLeast(2.0 * rate);
        let told = format!(
            "timestamp-server {rate:.0}; health page {:.0}",
            page.per_second
        );
        let what = format!("timestamp, {clients} clients: per second");
        table.add(what, goal, token.per_second, told);
    }
    Ok(())
}

/// Certificates with a verified SCT, each for a key of its own.
pub(crate) fn certificates(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    // Fulcio with its CT log, tuned: no wait for publication, batches of 10 ms.
    const PUBLISHED: Published = [
        Some((6128.0, 16.7, 24.0)),
        Some((2445.0, 26.0, 71.0)),
        Some((2011.0, 70.0, 136.0)),
    ];
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    let ours = || daemon.cpu_us();
    for (index, clients) in CLIENTS.into_iter().enumerate() {
        let outcome = middle(ROUNDS, |_| {
            let token = daemon.token()?;
            let request = |_| {
                let key = PrivateKey::generate(KeyType::EcP256)?;
                let body = certificate_request(&token, &key, Algorithm::EcdsaP256Sha256, EMAIL)?;
                post(&url, "application/json", body.to_string().as_bytes())
            };
            let requests = (0..1500).map(request).collect::<anyhow::Result<Vec<_>>>()?;
            load(&url, &requests, clients, &ours)
        })?;
        outcome.show("certificate with CT", clients);
        let figures = PUBLISHED.get(index).copied().context("a figure for each")?;
        let peer = published("Fulcio + CT, tuned", figures);
        rows(table, "certificate with CT", clients, &outcome, 700.0, peer);
    }
    Ok(())
}

/// Requests to log one signature each, all different, with a plain key or with a certificate of the authority.
fn entry_bodies(
    key: &PrivateKey,
    certificate: Option<&[u8]>,
    count: usize,
) -> anyhow::Result<Vec<String>> {
    let salt: [u8; 16] = sealwright_crypto::random_bytes();
    let body = |n: usize| {
        let mut request = entry_request(key, &[&salt[..], &n.to_be_bytes()].concat())?;
        if let Some(der) = certificate {
            let verifier = &mut request["hashedRekordRequestV002"]["signature"]["verifier"];
            *verifier = json!({
                "x509Certificate": {"rawBytes": base64::encode(der)},
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            });
        }
        Ok(request.to_string())
    };
    (0..count).map(body).collect()
}

/// A certificate of the stack's authority for `key`, DER.
fn certificate(daemon: &Daemon, key: &PrivateKey) -> anyhow::Result<Vec<u8>> {
    let token = daemon.token()?;
    let request = certificate_request(&token, key, Algorithm::EcdsaP256Sha256, EMAIL)?;
    let url = format!("{}/api/v2/signingCert", daemon.endpoints().ca);
    let answer = http().post(url).json(&request).send()?.error_for_status()?;
    let answer: Value = answer.json()?;
    let leaf = &answer["signedCertificateEmbeddedSct"]["chain"]["certificates"][0];
    let leaf = Certificate::from_pem(leaf.as_str().context("a certificate in PEM")?)?;
    Ok(leaf.der().to_vec())
}

/// Log entries from many writers: first of plain keys, then of certificates, which most clients send.
pub(crate) fn entries(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    // rekor-tiles with a checkpoint each second.
    const PUBLISHED: Published = [
        Some((8750.0, 1001.0, 2002.0)),
        None,
        Some((723.0, 1007.0, 2014.0)),
    ];
    /// Its best rate over HTTP, which took 4,000 clients.
    const PUBLISHED_RATE: f64 = 1408.0;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let der = certificate(daemon, &key)?;
    for (index, clients) in CLIENTS.into_iter().enumerate() {
        let outcome = log_entries(daemon, &key, None, clients)?;
        outcome.show("log entry", clients);
        let figures = PUBLISHED.get(index).copied().context("a figure for each")?;
        let peer = published("rekor-tiles, tuned", figures);
        let most = index + 1 == CLIENTS.len();
        // Fewer clients make smaller batches, and more of each entry is the sync's.
        let cpu_goal = if most { 180.0 } else { 350.0 };
        rows(table, "log entry", clients, &outcome, cpu_goal, peer);
        if most {
            let told = format!("rekor-tiles {PUBLISHED_RATE:.0} at 4,000 clients, p50 3.2 s");
            let what = format!("log entry, {clients} clients: per second");
            table.add(what, Goal::AtLeast(6000.0), outcome.per_second, told);
            let what = format!("log entry, {clients} clients: p99 ms (mark)");
            table.add(what, Goal::Under(150.0), outcome.latency.percentile(99), "");
        }
        let outcome = log_entries(daemon, &key, Some(&der), clients)?;
        outcome.show("log entry with a certificate", clients);
        if most {
            let what = "log entry with a certificate, 64 clients: server CPU us";
            table.add(what, Goal::None, outcome.cpu_us, "");
            let what = "log entry with a certificate, 64 clients: per second";
            table.add(what, Goal::None, outcome.per_second, "");
        }
    }
    Ok(())
}

fn log_entries(
    daemon: &Daemon,
    key: &PrivateKey,
    certificate: Option<&[u8]>,
    clients: usize,
) -> anyhow::Result<Outcome> {
    let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
    let ours = || daemon.cpu_us();
    // As many as take about as long for few clients as for many.
    let count = if clients == 1 { 2000 } else { 10_000 };
    middle(ROUNDS, |_| {
        let bodies = entry_bodies(key, certificate, count)?;
        let request = |body: &String| post(&url, "application/json", body.as_bytes());
        let requests = bodies
            .iter()
            .map(request)
            .collect::<anyhow::Result<Vec<_>>>()?;
        load(&url, &requests, clients, &ours)
    })
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

/// One writer alone, beside what a sync costs here: entries and syncs take turns, so that both meet the same disk.
pub(crate) fn lone_entry(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    const TURNS: usize = 5;
    let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let ours = || daemon.cpu_us();
    let (mut entries, mut syncs) = (Vec::new(), Vec::new());
    for _ in 0..TURNS {
        syncs.push(fdatasync(daemon.dir())?);
        let bodies = entry_bodies(&key, None, 200)?;
        let request = |body: &String| post(&url, "application/json", body.as_bytes());
        let requests = bodies
            .iter()
            .map(request)
            .collect::<anyhow::Result<Vec<_>>>()?;
        entries.push(load(&url, &requests, 1, &ours)?.latency);
    }
    let (entries, syncs) = (Spread::together(entries), Spread::together(syncs));
    let (p50, sync) = (entries.median(), syncs.median());
    println!("  fdatasync of a 4 KiB append in the log's folder: {syncs}");
    println!("  lone log entry: {entries}");
    let peer = "rekor-tiles 11,010; tuned 1,001";
    table.add("fdatasync of a 4 KiB append, p50 ms", Goal::None, sync, "");
    let what = "lone log entry, p50 ms over that of the sync";
    table.add(what, Goal::Under(3.0), p50 - sync, "");
    table.add("lone log entry, p50 in syncs", Goal::None, p50 / sync, "");
    let what = "lone log entry, p50 ms, the sync and all";
    table.add(what, Goal::Under(3.0), p50, peer);
    table.add(
        "lone log entry, p99 ms",
        Goal::None,
        entries.percentile(99),
        "",
    );
    Ok(())
}

/// The engine of the log without its doors, on the disk of the daemon's folder: what `sealwrightd bench log` says of it.
pub(crate) fn engine(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    let disk = daemon.dir().parent().context("a folder above")?;
    for (bytes, entries, goal) in [
        (500, 300_000, Goal::AtLeast(50_000.0)),
        (3200, 100_000, Goal::None),
    ] {
        let dir = disk.join("engine");
        let said = Tool::sealwrightd()
            .args(["bench", "log", "--output", "json", "--dir"])
            .arg(&dir)
            .args(["--entries", &entries.to_string()])
            .args(["--leaf-bytes", &bytes.to_string()])
            .run()?
            .success()?;
        let report: Value = serde_json::from_str(&said)?;
        let figure = |of: &Value, name: &str| {
            let figure = of[name].as_f64();
            figure.with_context(|| format!("{name} in {said}"))
        };
        let row = report["rows"].as_array().and_then(|rows| rows.last());
        let row = row.context("a row")?;
        let what = |figure: &str| format!("engine alone, {bytes} bytes: {figure}");
        let rate = figure(&report, "entries_per_second")?;
        table.add(what("entries a second"), goal, rate, "");
        table.add(
            what("CPU us an entry"),
            Goal::None,
            figure(&report, "cpu_us")?,
            "",
        );
        let latency = &row["latency"];
        table.add(
            what("p50 ms under load"),
            Goal::None,
            figure(latency, "p50_ms")?,
            "",
        );
        table.add(
            what("p99 ms under load"),
            Goal::None,
            figure(latency, "p99_ms")?,
            "",
        );
        table.add(
            what("entries of a batch, p50"),
            Goal::None,
            figure(row, "batch_p50")?,
            "",
        );
        table.add(
            what("sync ms, p50"),
            Goal::None,
            figure(row, "sync_p50_ms")?,
            "",
        );
        let over = figure(&report, "lone_over_append_ms")?;
        table.add(
            what("lone p50 ms over a 4 KiB sync"),
            Goal::Under(3.0),
            over,
            "",
        );
        table.add(
            what("start, ms"),
            Goal::Under(2000.0),
            figure(&report, "start_ms")?,
            "",
        );
        let memory = figure(row, "memory_mib")?;
        table.add(
            what("RssAnon + RssShmem, MiB"),
            Goal::Under(256.0),
            memory,
            "",
        );
    }
    Ok(())
}
