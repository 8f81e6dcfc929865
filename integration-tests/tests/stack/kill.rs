//! No acknowledged entry is lost to a crash, whatever is killed; a full disk and a clock set back corrupt nothing.

mod audit;
mod crowd;
mod witnessed;

use std::{
    fs,
    path::Path,
    sync::{Arc, atomic::AtomicU64},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _};
use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_integration_tests::{Daemon, Tool, binary, http, skipped};
use serde_json::Value;

use self::{
    audit::{Auditor, Logs},
    crowd::{Crowd, Recorder, large_certificate, large_entry, numbered_entry},
    witnessed::Witnessed,
};
use crate::receipt::{Receipt, receipt};

/// Rounds of the kill test; `SEALWRIGHT_KILL_ROUNDS` sets more for a soak.
fn rounds() -> u32 {
    std::env::var("SEALWRIGHT_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(25)
}

/// The seed of a run: given, or new and printed.
fn seed() -> u64 {
    let seed = std::env::var("SEALWRIGHT_SEED").ok();
    let seed = seed.and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(rand::random);
    println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
    seed
}

/// Under load the server is killed, or the witness and then the server, or both at once; after each restart everything that
/// a client was ever told still holds, and the witness has seen all of it.
#[test]
fn no_receipt_is_lost_to_sigkill() -> anyhow::Result<()> {
    let seed = seed();
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let mut both = Witnessed::start()?;
    let logs = Logs::of(both.view(), both.log_origin())?;
    let (recorder, unique) = (Arc::new(Recorder::default()), Arc::new(AtomicU64::new(0)));
    let (mut auditor, mut witness_kills) = (Auditor::default(), 0);
    for round in 0..rounds() {
        let crowd = Crowd::gather(both.view().endpoints(), &both.token()?, &recorder, &unique);
        // Most kills meet a log at work, some one that has barely begun.
        if round % 5 != 4 {
            let before = recorder.receipts.lock().expect("lock").len();
            crowd.until_receipt(&recorder, before);
        }
        let mut pause = || thread::sleep(Duration::from_millis(rng.random_range(0..200)));
        pause();
        match round % 4 {
            1 => {
                both.kill_witness()?;
                pause();
                both.start_witness()?;
                pause();
            }
            3 => both.kill_witness()?,
            _ => pause(),
        }
        witness_kills += u32::from(round % 2 == 1);
        both.kill_server()?;
        crowd.disperse();
        let restarted = Instant::now();
        both.restart()
            .with_context(|| format!("restart after round {round}, seed {seed}"))?;
        let took = restarted.elapsed();
        auditor
            .audit(&logs, &recorder, Some(&both.witness_key))
            .with_context(|| format!("after round {round}, seed {seed}"))?;
        let unexpected = recorder.unexpected.lock().expect("lock").clone();
        ensure!(
            unexpected.is_empty(),
            "round {round}, seed {seed}: {unexpected:?}"
        );
        if round % 10 == 0 {
            println!(
                "round {round}: {} hold; ready again after {took:?}",
                recorder.tally()
            );
        }
    }
    println!(
        "{} rounds, seed {seed}, the witness killed {witness_kills} times: {} hold",
        rounds(),
        recorder.tally()
    );
    both.kill_server()?;
    let fsck = Tool::sealwrightd()
        .args(["fsck", "--dir"])
        .arg(both.server_dir());
    fsck.run()?.success()?;
    let (receipts, promises) = (
        recorder.receipts.lock().expect("lock").len(),
        recorder.promises.lock().expect("lock").len(),
    );
    ensure!(receipts > 0 && promises > 0, "the test wrote nothing");
    Ok(())
}

#[test]
fn a_resubmitted_entry_gets_its_old_index_also_after_a_restart() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("dev");
    let mut daemon = Daemon::on(&dir, &[])?;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let submit = |daemon: &Daemon, request: &Value| -> anyhow::Result<(Receipt, bool)> {
        let answer = http()
            .post(format!("{}/api/v2/log/entries", daemon.endpoints().log))
            .json(request)
            .send()?;
        assert_eq!(answer.status(), 201);
        let duplicate = answer.headers().contains_key("x-log-duplicate");
        Ok((receipt(&answer.json()?)?, duplicate))
    };
    let first = numbered_entry(&key, 1)?;
    let (one, duplicate) = submit(&daemon, &first)?;
    assert!(!duplicate);
    for unique in 2..300 {
        submit(&daemon, &numbered_entry(&key, unique)?)?;
    }
    let (again, duplicate) = submit(&daemon, &first)?;
    assert!(duplicate && again.index == one.index && again.body == one.body && again.size >= 299);
    daemon.kill()?;
    daemon = Daemon::on(&dir, &[])?;
    let (again, duplicate) = submit(&daemon, &first)?;
    assert!(
        duplicate && again.index == one.index && again.body == one.body,
        "index {} became {}",
        one.index,
        again.index
    );
    Ok(())
}

/// A file system of its own, unmounted when dropped.
pub(crate) struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    pub(crate) fn mount(at: &Path, mebibytes: u32) -> anyhow::Result<Self> {
        fs::create_dir_all(at)?;
        let size = format!("size={mebibytes}m");
        Tool::new("mount")
            .args(["-t", "tmpfs", "-o", &size, "tmpfs"])
            .arg(at)
            .run()?
            .success()?;
        Ok(Self(at.to_owned()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Left mounted, it goes away with the machine; the test has said what it had to say.
        let _unimportant = Tool::new("umount").arg("-l").arg(&self.0).run();
    }
}

#[test]
fn a_full_disk_stops_receipts_and_corrupts_nothing() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let mount = scratch.path().join("disk");
    let Ok(disk) = SmallDisk::mount(&mount, 192) else {
        skipped(
            "a_full_disk_stops_receipts_and_corrupts_nothing",
            "a file system cannot be mounted here",
        );
        return Ok(());
    };
    let dir = mount.join("dev");
    let daemon = Daemon::on(&dir, &[])?;
    let recorder = Recorder::default();
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let certificate = large_certificate(&key)?;
    let client = http();
    let submit = |unique: u64| -> anyhow::Result<u16> {
        let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
        let answer = client
            .post(url)
            .json(&large_entry(&key, &certificate, unique)?)
            .send()?;
        let status = answer.status().as_u16();
        if status == 201 {
            recorder
                .receipts
                .lock()
                .expect("lock")
                .push(receipt(&answer.json()?)?);
        }
        Ok(status)
    };
    for unique in 0..20 {
        assert_eq!(submit(unique)?, 201);
    }
    // Fill the rest of the disk, then write until the log notices.
    let filler = mount.join("filler");
    let status = std::process::Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", &format!("of={}", filler.display())])
        .stderr(std::process::Stdio::null())
        .status()?;
    assert!(!status.success(), "dd fills the disk");
    let mut refused = 0;
    // Three segments of 8 MiB are there already, which some 700 entries of 36 KiB fill.
    for unique in 1000..3000 {
        match submit(unique)? {
            201 => {}
            503 => refused += 1,
            other => anyhow::bail!("a full disk was answered with {other}"),
        }
        if refused > 20 {
            break;
        }
    }
    println!(
        "{} receipts, {refused} refusals on a full disk",
        recorder.receipts.lock().expect("lock").len()
    );
    ensure!(
        refused > 0,
        "2,000 entries on a full disk were all acknowledged"
    );

    // Space returns; after a restart at the latest everything acknowledged is there and writing goes on.
    fs::remove_file(&filler)?;
    daemon.kill()?;
    let daemon = Daemon::on(&dir, &[])?;
    let logs = Logs::of(&daemon, "127.0.0.1")?;
    Auditor::default().audit(&logs, &recorder, None)?;
    let answer = client
        .post(format!("{}/api/v2/log/entries", daemon.endpoints().log))
        .json(&numbered_entry(&key, 9_999_999)?)
        .send()?;
    assert_eq!(answer.status(), 201);
    drop(daemon);
    drop(disk);
    Ok(())
}

#[test]
fn fsck_finds_nothing_after_a_crash_and_names_a_flipped_byte() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("dev");
    let daemon = Daemon::on(&dir, &[])?;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    for unique in 0..300 {
        let request = numbered_entry(&key, unique)?;
        assert_eq!(
            http()
                .post(format!("{}/api/v2/log/entries", daemon.endpoints().log))
                .json(&request)
                .send()?
                .status(),
            201
        );
    }
    daemon.kill()?;
    let mut daemon = Daemon::on(&dir, &[])?;
    daemon.terminate()?;
    let fsck = || Tool::sealwrightd().args(["fsck", "--dir"]).arg(&dir).run();
    fsck()?.success()?;
    let tile = find(&dir, "tile/entries/000").context("a full entry bundle on disk")?;
    let mut bytes = fs::read(&tile)?;
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&tile, bytes)?;
    let said = fsck()?.failure()?;
    assert!(
        said.contains("tile/entries/000"),
        "the damaged file is named: {said}"
    );
    Ok(())
}

fn find(dir: &Path, suffix: &str) -> Option<std::path::PathBuf> {
    for entry in fs::read_dir(dir).ok()?.flatten() {
        let path = entry.path();
        if path.is_dir() {
            if let Some(found) = find(&path, suffix) {
                return Some(found);
            }
        } else if path.ends_with(suffix) {
            return Some(path);
        }
    }
    None
}

/// The preloaded library of faketime, wherever the machine keeps it.
fn faketime_library() -> Option<std::path::PathBuf> {
    let places = [
        "/usr/lib/x86_64-linux-gnu",
        "/usr/lib/aarch64-linux-gnu",
        "/usr/lib",
    ];
    let mut places = places
        .map(|place| Path::new(place).join("faketime/libfaketimeMT.so.1"))
        .into_iter();
    places.find(|library| library.exists())
}

#[test]
fn a_clock_set_back_under_a_running_log_is_refused_and_harms_nothing() -> anyhow::Result<()> {
    let test = "a_clock_set_back_under_a_running_log_is_refused_and_harms_nothing";
    let Some(library) = faketime_library() else {
        skipped(test, "faketime is not installed: run `make setup`");
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let clock = scratch.path().join("clock");
    fs::write(&clock, "+0\n")?;
    let mut command = std::process::Command::new(binary("sealwrightd"));
    command
        .env("LD_PRELOAD", library)
        .env("FAKETIME_TIMESTAMP_FILE", &clock)
        .env("FAKETIME_NO_CACHE", "1")
        .env("DONT_FAKE_MONOTONIC", "1");
    let daemon = Daemon::command(command, &scratch.path().join("dev"), &[])?;
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let submit = |unique: u64| -> anyhow::Result<(u16, Value)> {
        let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
        let answer = http()
            .post(url)
            .json(&numbered_entry(&key, unique)?)
            .send()?;
        Ok((answer.status().as_u16(), answer.json()?))
    };
    let recorder = Recorder::default();
    let logged = |unique: u64| -> anyhow::Result<()> {
        let (status, answer) = submit(unique)?;
        ensure!(status == 201, "{status}: {answer}");
        recorder
            .receipts
            .lock()
            .expect("lock")
            .push(receipt(&answer)?);
        Ok(())
    };
    logged(1)?;
    // A little is what a time service does: the log stays at its last time.
    fs::write(&clock, "-20s\n")?;
    logged(2)?;
    fs::write(&clock, "-10m\n")?;
    let (status, answer) = submit(3)?;
    ensure!(status == 503, "{status}: {answer}");
    ensure!(
        answer["details"][0]["reason"] == "TIME_NOT_AVAILABLE",
        "{answer}"
    );
    fs::write(&clock, "+0\n")?;
    logged(3)?;
    let dir = daemon.kill()?;
    let daemon = Daemon::on(&dir, &[])?;
    let logs = Logs::of(&daemon, "127.0.0.1")?;
    Auditor::default().audit(&logs, &recorder, None)?;
    let (log, _) = logs.read()?;
    ensure!(log.size == 3, "what was refused took no place");
    Ok(())
}
