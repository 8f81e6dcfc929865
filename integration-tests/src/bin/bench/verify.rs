//! How fast bundles and files are verified, beside what this machine could do at most.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rustix::time::ClockId;
use sealwright_crypto::{KeyType, PrivateKey, PublicKey, sha256};
use sealwright_host::clock::{Clock as _, SystemClock};
use sealwright_integration_tests::{Daemon, EMAIL, Tool, binary};
use sealwright_sdk::{
    Artifact, Http, HttpOptions, IdentityToken, SigningContext, TrustConfig, blocking,
    bundle::{Bundle, IdentityRule, Policy, TrustedRoot},
};

use crate::{
    spread::Spread,
    table::{Goal, Table},
};

/// Different bundles, so that no certificate is met often enough to matter.
const BUNDLES: usize = 200;
/// Verdicts in one round.
const VERDICTS: usize = 20_000;
const ROUNDS: usize = 3;
/// The large file: what the goal is set for.
const LARGE_MB: usize = 600;
const LARGE_ROUNDS: usize = 5;

/// Many bundles through the client library, on all processors.
pub(crate) fn bundles(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    let trust = Arc::new(TrustConfig::from_file(
        &daemon.client_file("trust_config.json"),
    )?);
    let root = trust.trusted_root().clone();
    let now = SystemClock.unix();
    let signed = sign_many(daemon, trust, now)?;
    let (first, _) = signed.first().context("a bundle")?;
    let needed = Signatures::of(&Bundle::parse(first)?, &root)?;
    let rates = raw_rates()?;
    let (ceiling, least_us) = (needed.ceiling(&rates), needed.least_us(&rates));
    println!("  one bundle takes {needed}: at most {ceiling:.0} per s on all processors");

    let issuer = &daemon.endpoints().oidc;
    let policy = Policy::signed_by_identity(IdentityRule::exact(EMAIL, issuer)?).blob();
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(round(&signed, &root, &policy, now)?);
    }
    rounds.sort_by(|one, other| one.per_second.total_cmp(&other.per_second));
    println!("  rounds: {rounds:.0?}");
    let middle = rounds.get(ROUNDS / 2).copied().context("a round")?;
    table.add(
        "bundles verified per s, all processors",
        Goal::AtLeast(4000.0),
        middle.per_second,
        format!("ceiling of the signatures here {ceiling:.0}"),
    );
    table.add(
        "processor time of one bundle, us",
        Goal::Under(500.0),
        middle.cpu_us,
        format!("its signatures alone {least_us:.0}"),
    );
    Ok(())
}

/// Signs as many small artifacts, each with a key, a certificate, a log entry and a timestamp of its own.
fn sign_many(
    daemon: &Daemon,
    trust: Arc<TrustConfig>,
    now: i64,
) -> anyhow::Result<Vec<(Vec<u8>, Artifact)>> {
    let http = Arc::new(Http::new(HttpOptions::default()));
    let context = SigningContext::new(trust, http, Arc::new(move || now))?;
    let context = blocking::SigningContext::new(context);
    let token = IdentityToken::parse(&daemon.token()?)?;
    (0..BUNDLES)
        .map(|number| {
            let artifact = Artifact::Bytes(format!("release {number}").into_bytes());
            let signed = context.keyless(token.clone())?.sign(&artifact)?;
            Ok((signed.to_json().into_bytes(), artifact))
        })
        .collect()
}

/// From the bytes of each bundle to its verdict.
fn round(
    signed: &[(Vec<u8>, Artifact)],
    root: &TrustedRoot,
    policy: &Policy,
    now: i64,
) -> anyhow::Result<Rate> {
    let items: Vec<_> = signed.iter().cycle().take(VERDICTS).cloned().collect();
    let (begun, used) = (Instant::now(), cpu_time(ClockId::ProcessCPUTime));
    let mut verified = 0;
    // The certificates are minutes old at most, so the moment of signing does for all.
    for verdict in blocking::verify_many(items, root, policy, now + 60)? {
        verdict?;
        verified += 1;
    }
    let (took, used) = (begun.elapsed(), cpu_time(ClockId::ProcessCPUTime) - used);
    ensure!(verified == VERDICTS, "{verified} verdicts of {VERDICTS}");
    Ok(Rate {
        per_second: VERDICTS as f64 / took.as_secs_f64(),
        cpu_us: used.as_secs_f64() * 1e6 / VERDICTS as f64,
    })
}

/// How fast something is done.
#[derive(Debug, Clone, Copy)]
struct Rate {
    /// By all processors together, other work on the machine included.
    per_second: f64,
    /// Processor time of one; whatever else runs here, it is nearly the same.
    cpu_us: f64,
}

fn cpu_time(clock: ClockId) -> Duration {
    Duration::try_from(rustix::time::clock_gettime(clock)).unwrap_or_default()
}

/// How many signatures of which kind one verification checks.
#[derive(Debug, Default)]
struct Signatures {
    p256: usize,
    ed25519: usize,
}

impl Signatures {
    /// The certificate's, its timestamp's, the artifact's, and those of the tokens and the checkpoints. What the trusted
    /// root's own certificates sign among themselves is checked once for all.
    fn of(bundle: &Bundle, root: &TrustedRoot) -> anyhow::Result<Self> {
        let leaf = bundle.certificate().context("a certificate")?;
        let first_key = |authorities: &[sealwright_sdk::bundle::trusted_root::Authority]| {
            let signer = authorities
                .first()
                .and_then(|authority| authority.chain().first());
            Ok::<_, anyhow::Error>(signer.context("an authority")?.public_key()?.clone())
        };
        let certificate_log = root
            .certificate_logs()
            .first()
            .context("a certificate log")?;
        let log = root.transparency_logs().first().context("a log")?;
        let mut needed = Self::default();
        for (key, times) in [
            (first_key(root.certificate_authorities())?, 1),
            (certificate_log.key().clone(), 1),
            (leaf.public_key()?.clone(), 1),
            (
                first_key(root.timestamp_authorities())?,
                bundle.timestamps().len(),
            ),
            (log.key().clone(), bundle.log_entries().len()),
        ] {
            needed.add(&key, times)?;
        }
        Ok(needed)
    }

    fn add(&mut self, key: &PublicKey, times: usize) -> anyhow::Result<()> {
        match key.key_type() {
            KeyType::EcP256 => self.p256 += times,
            KeyType::Ed25519 => self.ed25519 += times,
            other => anyhow::bail!("no raw rate is measured for {other}"),
        }
        Ok(())
    }

    /// Verifications per second if nothing but signatures took time.
    fn ceiling(&self, rates: &Rates) -> f64 {
        let seconds = |count: usize, rate: Rate| count as f64 / rate.per_second;
        1.0 / (seconds(self.p256, rates.p256) + seconds(self.ed25519, rates.ed25519))
    }

    /// Processor time of the signatures of one.
    fn least_us(&self, rates: &Rates) -> f64 {
        let us = |count: usize, rate: Rate| count as f64 * rate.cpu_us;
        us(self.p256, rates.p256) + us(self.ed25519, rates.ed25519)
    }
}

impl std::fmt::Display for Signatures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} of P-256 and {} of Ed25519", self.p256, self.ed25519)
    }
}

/// How fast signatures are verified.
struct Rates {
    p256: Rate,
    ed25519: Rate,
}

fn raw_rates() -> anyhow::Result<Rates> {
    let rate = |key_type: KeyType| -> anyhow::Result<Rate> {
        let key = PrivateKey::generate(key_type)?;
        let algorithm = key_type.default_algorithm();
        let signature = key.sign(algorithm, b"message")?;
        let public = key.public_key();
        let holds = || public.verify(algorithm, b"message", &signature).is_ok();
        ensure!(holds(), "a signature of our own");
        on_all_processors(&|| assert!(holds(), "a signature stays good"))
    };
    let rates = Rates {
        p256: rate(KeyType::EcP256)?,
        ed25519: rate(KeyType::Ed25519)?,
    };
    let piece = vec![0x5a; 1 << 20];
    let hashed = on_all_processors(&|| {
        std::hint::black_box(sha256(&piece));
    })?;
    println!(
        "  this machine, all processors: {:.0} P-256 ({:.0} us each) and {:.0} Ed25519 ({:.0} us) verifications per s, {:.0} MB/s of SHA-256",
        rates.p256.per_second,
        rates.p256.cpu_us,
        rates.ed25519.per_second,
        rates.ed25519.cpu_us,
        hashed.per_second * 1.048576
    );
    Ok(rates)
}

/// All processors together do one thing again and again.
fn on_all_processors(act: &(dyn Fn() + Sync)) -> anyhow::Result<Rate> {
    const TIME: Duration = Duration::from_millis(700);
    let count = || {
        let (begun, used) = (Instant::now(), cpu_time(ClockId::ThreadCPUTime));
        let mut times = 0_u32;
        while begun.elapsed() < TIME {
            act();
            times += 1;
        }
        let used = cpu_time(ClockId::ThreadCPUTime) - used;
        (
            f64::from(times),
            begun.elapsed().as_secs_f64(),
            used.as_secs_f64(),
        )
    };
    let processors = thread::available_parallelism()?.get();
    let counts = thread::scope(|scope| {
        let counters: Vec<_> = (0..processors).map(|_| scope.spawn(count)).collect();
        let counts = counters
            .into_iter()
            .map(|counter| counter.join().expect("no panic"));
        counts.collect::<Vec<_>>()
    });
    let times: f64 = counts.iter().map(|(times, ..)| times).sum();
    let used: f64 = counts.iter().map(|(.., used)| used).sum();
    Ok(Rate {
        per_second: counts.iter().map(|(times, took, _)| times / took).sum(),
        cpu_us: used * 1e6 / times,
    })
}

/// A large file, from the disk's cache and from a pipe, beside programs that do nothing but hash it.
pub(crate) fn large_file(daemon: &Daemon, table: &mut Table) -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let file = scratch.path().join("large.bin");
    write_large(&file)?;
    let bundle = daemon.sign(&file)?;
    let verify = |artifact: &Path| {
        let mut command = Command::new(binary("sealwright"));
        command.arg("verify-blob").args(daemon.trust());
        command.arg("--bundle").arg(&bundle).args(daemon.identity());
        command.arg(artifact);
        command
    };
    let hash = |program: &str, args: &[&str]| {
        let mut command = Command::new(program);
        command.args(args).arg(&file);
        command
    };
    let (mut ours, mut sums, mut openssl, mut peak) = (vec![], vec![], vec![], 0);
    for _ in 0..LARGE_ROUNDS {
        sums.push(run(hash("sha256sum", &[]), None)?.0);
        let (took, resident) = run(verify(&file), None)?;
        ours.push(took);
        peak = peak.max(resident);
        if Tool::new("openssl").arg("version").run().is_ok() {
            openssl.push(run(hash("openssl", &["dgst", "-sha256"]), None)?.0);
        }
    }
    let (piped, piped_peak) = run(verify(Path::new("-")), Some(&file))?;
    let (ours, sums) = (Spread::of(ours), Spread::of(sums));
    println!("  verify-blob of {LARGE_MB} MB: {ours}\n  sha256sum: {sums}");
    println!(
        "  verify-blob from a pipe: {:.0} ms, {piped_peak} KiB",
        piped.as_secs_f64() * 1e3
    );
    let mut beside = String::new();
    if !openssl.is_empty() {
        let openssl = Spread::of(openssl);
        println!("  openssl dgst -sha256: {openssl}");
        beside = format!("times openssl dgst {:.2}", ours.median() / openssl.median());
    }
    let ratio = ours.median() / sums.median();
    table.add(
        format!("verify-blob of {LARGE_MB} MB, times sha256sum"),
        Goal::Under(1.2),
        ratio,
        beside,
    );
    let megabytes = |kib: u64| kib as f64 / 1024.0;
    let what = format!("resident at most, verifying {LARGE_MB} MB, MB");
    table.add(what, Goal::Under(40.0), megabytes(peak), "");
    table.add(
        "the same from a pipe, MB",
        Goal::Under(40.0),
        megabytes(piped_peak),
        "",
    );
    Ok(())
}

/// Bytes without a pattern that a disk could make short. What was just written is in memory.
fn write_large(path: &Path) -> anyhow::Result<()> {
    let mut piece = vec![0; 1 << 20];
    rand::RngCore::fill_bytes(&mut rand::rng(), &mut piece);
    let mut file = File::create(path)?;
    for _ in 0..LARGE_MB {
        file.write_all(&piece)?;
        piece.rotate_left(1);
    }
    file.sync_all()?;
    Ok(())
}

/// Runs a program to its end: how long it took, and the most memory it had, KiB. `input` goes through a pipe.
fn run(mut command: Command, input: Option<&Path>) -> anyhow::Result<(Duration, u64)> {
    let begun = Instant::now();
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    let mut child = command.spawn()?;
    let feeder = input.zip(child.stdin.take()).map(|(input, mut pipe)| {
        let input = input.to_owned();
        thread::spawn(move || io::copy(&mut File::open(input)?, &mut pipe))
    });
    let mut peak = 0;
    let status = loop {
        peak = peak.max(high_water_kib(child.id()));
        if let Some(status) = child.try_wait()? {
            break status;
        }
        thread::sleep(Duration::from_millis(1));
    };
    let took = begun.elapsed();
    if let Some(feeder) = feeder {
        feeder.join().expect("no panic")?;
    }
    if !status.success() {
        let mut said = String::new();
        if let Some(mut stderr) = child.stderr.take() {
            io::Read::read_to_string(&mut stderr, &mut said)?;
        }
        anyhow::bail!("{command:?}: {status}: {said}");
    }
    Ok((took, peak))
}

/// The most memory that a process has had up to now; 0 once it is gone.
fn high_water_kib(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).unwrap_or(0)
}
