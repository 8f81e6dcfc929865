//! An operator may pull an old backup, lose a file or a bit, or kill what restores, and prove afterwards that every receipt
//! still holds.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rand::{Rng as _, SeedableRng as _};
use sealwright_crypto::{KeyType, PrivateKey};
use sealwright_integration_tests::{
    Daemon, EMAIL, Outcome, Process, Tool, binary, certificate_request, deployment::own_address,
    entry_request, http, init, skipped,
};
use sealwright_tlog::{Checkpoint, Hash, hash::leaf_hash, hash::merkle_tree_hash};
use serde_json::Value;

use crate::receipt::{Receipt, receipt};

/// Logs `count` new entries at `base`, a few at a time.
fn write(base: &str, count: usize) -> anyhow::Result<Vec<Receipt>> {
    let writers = (0..4).map(|part| {
        let base = base.to_owned();
        let share = count / 4 + usize::from(part < count % 4);
        thread::spawn(move || -> anyhow::Result<Vec<Receipt>> {
            let (key, client) = (PrivateKey::generate(KeyType::EcP256)?, http());
            let entries = (0..share as u64).map(|number| {
                let request = entry_request(&key, &number.to_be_bytes())?;
                let answer = client
                    .post(format!("{base}/api/v2/log/entries"))
                    .json(&request)
                    .send()?;
                let (status, text) = (answer.status(), answer.text()?);
                ensure!(status == 201, "{status}: {text}");
                receipt(&serde_json::from_str(&text)?)
            });
            entries.collect()
        })
    });
    let writers: Vec<_> = writers.collect();
    let mut receipts = Vec::new();
    for writer in writers {
        let written = writer.join();
        receipts.extend(written.map_err(|_| anyhow::anyhow!("a writer panicked"))??);
    }
    Ok(receipts)
}

fn checkpoint(base: &str) -> anyhow::Result<String> {
    let answer = http().get(format!("{base}/api/v2/checkpoint")).send()?;
    Ok(answer.error_for_status()?.text()?)
}

fn size_of(checkpoint: &str) -> anyhow::Result<u64> {
    Ok(checkpoint.lines().nth(1).context("a size")?.parse()?)
}

/// Every entry of the log as it is served now.
fn leaves(base: &str) -> anyhow::Result<(Vec<Vec<u8>>, Hash)> {
    let note = checkpoint(base)?;
    let parsed = Checkpoint::parse(&format!("{}\n", note.split("\n\n").next().context("text")?))?;
    let mut leaves = Vec::new();
    for bundle in 0..parsed.size.div_ceil(256) {
        let width = (parsed.size - bundle * 256).min(256);
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
        let url = format!("{base}/api/v2/tile/entries/{bundle:03}{partial}");
        let bytes = http().get(url).send()?.error_for_status()?.bytes()?;
        let entries = sealwright_tlog::tile::parse_bundle(&bytes)?;
        leaves.extend(entries.into_iter().map(<[u8]>::to_vec));
    }
    Ok((leaves, parsed.root))
}

/// Every receipt is honoured by the log as it is served now: its tree is a prefix, and its entry is where it was.
fn audit(base: &str, receipts: &[Receipt]) -> anyhow::Result<()> {
    let (leaves, root) = leaves(base)?;
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
    ensure!(
        merkle_tree_hash(&hashes) == root,
        "the entries do not lead to the root"
    );
    for receipt in receipts {
        let prefix = hashes.get(..usize::try_from(receipt.size)?);
        let prefix = prefix.with_context(|| {
            format!(
                "a receipt is of {} entries, the log has {}",
                receipt.size,
                hashes.len()
            )
        })?;
        ensure!(
            merkle_tree_hash(prefix) == receipt.root,
            "the tree of {} entries is another",
            receipt.size
        );
        ensure!(
            leaves.get(usize::try_from(receipt.index)?) == Some(&receipt.body),
            "entry {} is another",
            receipt.index
        );
    }
    Ok(())
}

fn sealwrightd(verb: &str, dir: &Path, args: &[&str]) -> anyhow::Result<Outcome> {
    Tool::sealwrightd()
        .arg(verb)
        .arg("--dir")
        .arg(dir)
        .args(args)
        .deadline(Duration::from_secs(120))
        .run()
}

/// A copy as `cp -a` makes it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    Tool::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .run()?
        .success()?;
    Ok(())
}

/// A production instance whose signature log has what is written into its section.
struct Site {
    folder: tempfile::TempDir,
    base: String,
    process: Option<Process>,
}

impl Site {
    /// A site that wrote so many entries, was copied, wrote more, and was mirrored: with the receipts of the first ones, and
    /// where the copy is.
    fn with_old_copy(first: usize, more: usize) -> anyhow::Result<(Self, Vec<Receipt>, PathBuf)> {
        let mut site = Self::mirrored()?;
        site.start()?;
        let receipts = write(&site.base, first)?;
        site.stop()?;
        let old = site.beside("old");
        copy(&site.dir(), &old)?;
        site.start()?;
        write(&site.base, more)?;
        site.stop()?;
        site.mirror()?;
        Ok((site, receipts, old))
    }

    fn fresh(section: &str) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let base = format!("http://{}:7700", own_address());
        let dir = folder.path().join("site");
        let listen = base.trim_start_matches("http://").to_owned();
        init(&["--public-url", &base, "--listen", &listen], &dir)?.success()?;
        let file = dir.join("sealwright.toml");
        let name = "name = \"signatures\"\n";
        let text = fs::read_to_string(&file)?;
        ensure!(text.contains(name), "{text}");
        let more =
            format!("{name}publish_interval = \"50ms\"\nwal_segment = \"8MiB\"\n{section}\n");
        fs::write(&file, text.replace(name, &more))?;
        Ok(Self {
            folder,
            base,
            process: None,
        })
    }

    /// With a mirror in the folder `mirror` beside it.
    fn mirrored() -> anyhow::Result<Self> {
        Self::fresh("mirrors = [\"../mirror\"]")
    }

    fn dir(&self) -> PathBuf {
        self.folder.path().join("site")
    }

    fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn log_dir(&self) -> PathBuf {
        self.dir().join("log/signatures")
    }

    /// Starts it and waits until its log answers. The identity provider is not there, so the whole is not ready.
    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary("sealwrightd"));
        command.arg("up").arg("--dir").arg(self.dir());
        self.process = Some(Process::start(command, &self.beside("stderr.log"))?);
        let began = Instant::now();
        while checkpoint(&self.base).is_err() {
            if began.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(self.beside("stderr.log"))?;
                bail!("it does not serve\n{log}");
            }
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        let mut process = self.process.take().context("it runs")?;
        let (status, _) = process.terminate()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }

    /// What it says when it does not start.
    fn refusal(&self) -> anyhow::Result<String> {
        let outcome = sealwrightd("up", &self.dir(), &[])?;
        ensure!(outcome.code == Some(1), "{outcome}");
        Ok(outcome.stderr)
    }

    fn check(&self, name: &str) -> anyhow::Result<Value> {
        let report: Value = http().get(format!("{}/readyz", self.base)).send()?.json()?;
        let checks = report["checks"].as_array().context("checks")?;
        let check = checks.iter().find(|check| check["name"] == name);
        Ok(check.context("the check")?.clone())
    }

    /// Brings the mirror up to date, as rsync would: the checkpoint last.
    fn mirror(&self) -> anyhow::Result<()> {
        let (from, to) = (self.log_dir().join("public"), self.beside("mirror"));
        if to.exists() {
            fs::remove_dir_all(&to)?;
        }
        copy(&from, &to)
    }

    /// The instance as it was, in the place of the one that is now.
    fn put_back(&self, backup: &Path) -> anyhow::Result<()> {
        fs::remove_dir_all(self.dir())?;
        copy(backup, &self.dir())
    }
}

#[test]
fn an_old_backup_is_refused_by_a_mirror_and_completed_from_it() -> anyhow::Result<()> {
    let mut site = Site::mirrored()?;
    site.start()?;
    let mut receipts = write(&site.base, 300)?;
    site.stop()?;
    let old = site.beside("old");
    copy(&site.dir(), &old)?;
    site.start()?;
    receipts.extend(write(&site.base, 500)?);
    site.stop()?;
    site.mirror()?;
    site.put_back(&old)?;

    let said = site.refusal()?;
    assert!(
        said.contains("holds 800 entries") && said.contains("only 300"),
        "{said}"
    );
    assert!(said.contains("sealwrightd restore"), "{said}");

    let only = ["--log", "signatures"];
    let dry = sealwrightd(
        "restore",
        &site.dir(),
        &[&only[..], &["--dry-run"]].concat(),
    )?;
    assert!(dry.success()?.contains("would fetch"), "dry run");
    assert!(
        site.refusal()?.contains("only 300"),
        "a dry run changes nothing"
    );
    let done = sealwrightd("restore", &site.dir(), &only)?.success()?;
    assert!(done.contains("vouches for 800 entries"), "{done}");
    let again = sealwrightd("restore", &site.dir(), &only)?.success()?;
    assert!(
        again.contains("vouches for 800 entries") && !again.contains("fetched"),
        "{again}"
    );
    sealwrightd("fsck", &site.dir(), &[])?.success()?;

    site.start()?;
    audit(&site.base, &receipts)?;
    assert_eq!(
        site.check("log.place")?["ok"],
        false,
        "the other log was not restored"
    );
    receipts.extend(write(&site.base, 20)?);
    audit(&site.base, &receipts)?;
    site.stop()?;
    sealwrightd("fsck", &site.dir(), &[])?.success()?;
    Ok(())
}

#[test]
fn a_mirror_that_lies_or_forks_restores_nothing() -> anyhow::Result<()> {
    let (mut site, receipts, old) = Site::with_old_copy(300, 300)?;
    let sound = site.beside("sound-mirror");
    copy(&site.beside("mirror"), &sound)?;

    // A wrong entry, a missing bundle, a wrong tile, half a checkpoint: each is named, and the log stays closed.
    let only = ["--log", "signatures"];
    let break_at = |file: &str, how: &dyn Fn(&Path) -> std::io::Result<()>| -> anyhow::Result<()> {
        fs::remove_dir_all(site.beside("mirror"))?;
        copy(&sound, &site.beside("mirror"))?;
        how(&site.beside("mirror").join(file))?;
        site.put_back(&old)
    };
    let flip = |path: &Path| {
        let mut bytes = fs::read(path)?;
        bytes[40] ^= 1;
        fs::write(path, bytes)
    };
    for (file, how) in [
        (
            "tile/entries/001",
            &flip as &dyn Fn(&Path) -> std::io::Result<()>,
        ),
        ("tile/entries/001", &|path: &Path| fs::remove_file(path)),
        ("tile/entries/002.p/88", &flip),
        ("tile/0/002.p/88", &flip),
        ("tile/1/000.p/2", &flip),
    ] {
        break_at(file, how)?;
        let refused = sealwrightd("restore", &site.dir(), &only)?;
        ensure!(refused.code == Some(1), "{file}: {refused}");
        let said = &refused.stdout;
        ensure!(
            said.contains("mirror") && said.contains("tile"),
            "{file}: {said}"
        );
        site.refusal()?;
    }
    // With the mirror mended, the same command goes on.
    fs::remove_dir_all(site.beside("mirror"))?;
    copy(&sound, &site.beside("mirror"))?;
    sealwrightd("restore", &site.dir(), &only)?.success()?;
    site.start()?;
    audit(&site.base, &receipts)?;
    site.stop()?;

    // Two of one log that went on apart: neither is taken for the other's copy.
    site.put_back(&old)?;
    fs::rename(site.beside("mirror"), site.beside("kept"))?;
    site.start()?;
    write(&site.base, 350)?;
    site.stop()?;
    fs::rename(site.beside("kept"), site.beside("mirror"))?;
    let said = site.refusal()?;
    assert!(said.contains("another tree of 600 entries"), "{said}");
    let refused = sealwrightd("restore", &site.dir(), &only)?.code(1)?;
    assert!(refused.contains("forked"), "{refused}");
    // Only an operator who says so may go on with a fork.
    let accepted = sealwrightd(
        "restore",
        &site.dir(),
        &["--log", "signatures", "--i-accept-a-fork"],
    )?;
    accepted.success()?;
    site.start()?;
    let log = fs::read_to_string(site.beside("stderr.log"))?;
    assert!(log.contains("overridden by an operator's restore"), "{log}");
    site.stop()
}

#[test]
fn a_restore_may_be_killed_anywhere_and_two_do_not_meet() -> anyhow::Result<()> {
    let mut site = Site::mirrored()?;
    site.start()?;
    let mut receipts = write(&site.base, 100)?;
    site.stop()?;
    let old = site.beside("old");
    copy(&site.dir(), &old)?;
    site.start()?;
    receipts.extend(write(&site.base, 900)?);
    site.stop()?;
    site.mirror()?;

    let mut random = rand::rngs::StdRng::seed_from_u64(7);
    let restore = || {
        let mut command = Command::new(binary("sealwrightd"));
        command.args(["restore", "--log", "signatures", "--dir"]);
        command
            .arg(site.dir())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    };
    site.put_back(&old)?;
    let (mut killed, mut completed) = (0, 0);
    for _ in 0..40 {
        let mut child = restore().spawn()?;
        thread::sleep(Duration::from_micros(random.random_range(0..120_000)));
        match child.try_wait()? {
            Some(status) => {
                ensure!(status.success(), "{status}");
                completed += 1;
                site.put_back(&old)?;
            }
            None => {
                child.kill()?;
                child.wait()?;
                killed += 1;
            }
        }
    }
    println!("{killed} restores killed, {completed} completed");
    let mut both = [restore().spawn()?, restore().spawn()?];
    let ended = [both[0].wait()?, both[1].wait()?];
    ensure!(
        ended.iter().any(std::process::ExitStatus::success),
        "one of two at once does it: {ended:?}"
    );
    sealwrightd("restore", &site.dir(), &["--log", "signatures"])?.success()?;
    sealwrightd("fsck", &site.dir(), &[])?.success()?;
    let mut site = site;
    site.start()?;
    audit(&site.base, &receipts)?;
    site.stop()
}

#[test]
fn without_outside_memory_a_restored_log_is_frozen() -> anyhow::Result<()> {
    let mut site = Site::fresh("")?;
    site.start()?;
    let kept = write(&site.base, 300)?;
    assert_eq!(site.check("log.memory")?["ok"], false);
    site.stop()?;
    let doctor = sealwrightd("doctor", &site.dir(), &[])?;
    assert!(doctor.stdout.contains("no outside memory"), "{doctor}");
    let intact = sealwrightd("restore", &site.dir(), &["--log", "signatures"])?.code(1)?;
    assert!(
        intact.contains("--freeze"),
        "an intact log is not given up: {intact}"
    );

    let old = site.beside("old");
    copy(&site.dir(), &old)?;
    site.start()?;
    let lost = write(&site.base, 50)?;
    site.stop()?;
    site.mirror()?;
    site.put_back(&old)?;
    let doctor = sealwrightd("doctor", &site.dir(), &[])?;
    assert!(doctor.stdout.contains("was copied or put back"), "{doctor}");

    let told = sealwrightd("restore", &site.dir(), &["--log", "signatures"])?.success()?;
    assert!(
        told.contains("frozen at 300 entries") && told.contains("log rotate"),
        "{told}"
    );
    site.start()?;
    audit(&site.base, &kept)?;
    assert!(checkpoint(&site.base)?.contains("\nLog frozen — "));
    let refused = write(&site.base, 1).err().context("a frozen log")?;
    assert!(refused.to_string().contains("405"), "{refused}");
    ensure!(audit(&site.base, &lost).is_err(), "they are lost so far");
    site.stop()?;

    // A copy turns up: the frozen log gets its last entries back, and stays frozen.
    let mirror = site.beside("mirror").display().to_string();
    let args = ["--log", "signatures", "--from-mirror", &mirror];
    let told = sealwrightd("restore", &site.dir(), &args)?.success()?;
    assert!(told.contains("is frozen at 350 entries now"), "{told}");
    site.start()?;
    audit(&site.base, &[kept, lost].concat())?;
    assert!(checkpoint(&site.base)?.contains("\nLog frozen — "));
    assert!(write(&site.base, 1).is_err());
    site.stop()?;
    sealwrightd("fsck", &site.dir(), &[])?.success()?;
    Ok(())
}

#[test]
fn a_running_instance_is_backed_up_and_put_back() -> anyhow::Result<()> {
    let mut site = Site::mirrored()?;
    site.start()?;
    let mut receipts = write(&site.base, 300)?;
    let to = site.beside("backups");
    let target = to.display().to_string();
    let base = site.base.clone();
    // Three backups while entries come.
    let writer = thread::spawn(move || write(&base, 600));
    for _ in 0..3 {
        let told = sealwrightd("backup", &site.dir(), &["--to", &target])?.success()?;
        assert!(told.contains("is complete"), "{told}");
        // Each is called by its second.
        thread::sleep(Duration::from_millis(1100));
    }
    receipts.extend(
        writer
            .join()
            .map_err(|_| anyhow::anyhow!("the writer panicked"))??,
    );
    let told = sealwrightd(
        "backup",
        &site.dir(),
        &["--to", &target, "--keep", "2", "--with-keys"],
    )?;
    let told = told.success()?;
    assert!(told.contains(" as before"), "{told}");
    let kept = fs::read_dir(&to)?.filter_map(Result::ok);
    let kept = kept.filter(|entry| entry.file_name().to_string_lossy().ends_with('Z'));
    assert_eq!(kept.count(), 2);
    let latest = to.join("latest");
    assert!(latest.join("keys/log.key").exists());
    sealwrightd("fsck", &latest, &[])?.success()?;

    let size = size_of(&checkpoint(&site.base)?)?;
    site.stop()?;
    site.mirror()?;
    fs::remove_dir_all(site.dir())?;
    Tool::new("cp")
        .arg("-aL")
        .arg(&latest)
        .arg(site.dir())
        .run()?
        .success()?;
    let told = sealwrightd("restore", &site.dir(), &["--log", "signatures"])?.success()?;
    assert!(
        told.contains(&format!("vouches for {size} entries")),
        "{told}"
    );
    site.start()?;
    audit(&site.base, &receipts)?;
    site.stop()?;

    // Without keys, no private key is in a backup.
    let open = site.beside("open");
    let args = ["--to", &open.display().to_string()];
    sealwrightd("backup", &site.dir(), &args)?.success()?;
    let found = Tool::new("grep")
        .args(["-rl", "PRIVATE KEY"])
        .arg(&open)
        .run()?;
    assert_eq!(found.stdout, "", "no private key is in it");
    Ok(())
}

#[test]
fn lost_derived_files_are_made_again() -> anyhow::Result<()> {
    let mut daemon = Daemon::fresh()?;
    let base = daemon.endpoints().log.clone();
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let submit = |base: &str, request: &Value| -> anyhow::Result<Receipt> {
        let answer = http()
            .post(format!("{base}/api/v2/log/entries"))
            .json(request)
            .send()?;
        receipt(&answer.error_for_status()?.json()?)
    };
    let first = (0..10u64).map(|number| {
        let request = entry_request(&key, &number.to_be_bytes())?;
        Ok((submit(&base, &request)?.index, request))
    });
    let first = first.collect::<anyhow::Result<Vec<_>>>()?;
    let receipts = write(&base, 600)?;
    daemon.terminate()?;
    let dir = daemon.dir().to_owned();
    let log = dir.join("log/signatures");
    for lost in ["dedup", "state.db", "scrub.json", "place.json"] {
        let path = log.join(lost);
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path.exists() {
            fs::remove_file(&path)?;
        }
        let mut again = Daemon::on(&dir, &[])?;
        let base = again.endpoints().log.clone();
        audit(&base, &receipts)?;
        for (index, request) in &first {
            assert_eq!(submit(&base, request)?.index, *index, "without {lost}");
        }
        again.terminate()?;
        sealwrightd("fsck", &dir, &[])?.success()?;
    }
    Ok(())
}

/// One file of each kind below the folder of a log, with a position in it that means something.
fn kinds(log: &Path) -> anyhow::Result<Vec<(PathBuf, usize)>> {
    let one = |folder: &str| -> Option<PathBuf> {
        let mut names: Vec<PathBuf> = fs::read_dir(log.join(folder))
            .ok()?
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_file())
            .collect();
        names.sort();
        names.into_iter().next()
    };
    let folders = [
        ("public", 20),
        ("public/tile/0", 40),
        ("public/tile/entries", 40),
        ("public/tile/data", 40),
        ("public/issuer", 40),
        ("public/tile/0/002.p", 40),
        ("public/tile/1/000.p", 20),
        ("public/tile/entries/002.p", 40),
        ("attachments", 60),
        ("dedup", 60),
        ("wal", 30),
    ];
    let mut kinds: Vec<(PathBuf, usize)> = folders
        .into_iter()
        .filter_map(|(folder, at)| Some((one(folder)?, at)))
        .collect();
    kinds.push((log.join("log.json"), 60));
    // The head's checkpoint: its text is in the file somewhere.
    let state = log.join("state.db");
    let bytes = fs::read(&state)?;
    let text = "\n\n— ".as_bytes();
    let at = bytes.windows(text.len()).position(|window| window == text);
    kinds.push((state, at.context("a checkpoint in state.db")? + 30));
    Ok(kinds)
}

#[test]
fn a_wrong_byte_in_any_file_is_named_and_repaired_from_a_mirror() -> anyhow::Result<()> {
    let mut daemon = Daemon::fresh_with(&["--login", EMAIL])?;
    let endpoints = daemon.endpoints().clone();
    let receipts = write(&endpoints.log, 600)?;
    let token = daemon.token()?;
    for _ in 0..300 {
        let key = PrivateKey::generate(KeyType::EcP256)?;
        let algorithm = sealwright_crypto::Algorithm::EcdsaP256Sha256;
        let request = certificate_request(&token, &key, algorithm, EMAIL)?;
        let answer = http()
            .post(format!("{}/api/v2/signingCert", endpoints.ca))
            .json(&request)
            .send()?;
        ensure!(answer.status() == 200, "{}", answer.text()?);
    }
    daemon.terminate()?;
    let dir = daemon.dir().to_owned();
    sealwrightd("fsck", &dir, &[])?.success()?;

    for (name, least) in [("signatures", 9), ("dev", 8)] {
        let log = dir.join("log").join(name);
        let mirror = tempfile::tempdir()?;
        copy(&log.join("public"), &mirror.path().join("copy"))?;
        let copied = mirror.path().join("copy").display().to_string();
        let kinds = kinds(&log)?;
        ensure!(kinds.len() >= least, "{name}: {kinds:?}");
        for (path, at) in kinds {
            let file = path.strip_prefix(&log)?.display().to_string();
            let sound = fs::read(&path)?;
            let mut wrong = sound.clone();
            *wrong.get_mut(at).context(file.clone())? ^= 1;
            fs::write(&path, wrong)?;
            let found = sealwrightd("fsck", &dir, &["--log", name])?;
            ensure!(found.code == Some(1), "{file}: {found}");
            let said = format!("{}{}", found.stdout, found.stderr);
            ensure!(said.contains(&file), "{file}: {said}");
            let repaired = sealwrightd(
                "fsck",
                &dir,
                &["--log", name, "--repair", "--mirror", &copied],
            )?;
            // The log's own record, frames that were acknowledged, and signatures are not a mirror's to give.
            if file == "log.json" || file.starts_with("wal") || file.starts_with("attachments") {
                ensure!(repaired.code == Some(1), "{file}: {repaired}");
                if file.starts_with("wal") {
                    // Its last frame is sound, and the files have everything up to it.
                    let restored = sealwrightd("restore", &dir, &["--log", name])?.success()?;
                    ensure!(restored.contains("last frame"), "{restored}");
                } else {
                    fs::write(&path, sound)?;
                }
            } else {
                repaired.success().context(file.clone())?;
                if file.starts_with("public") && file != "public/checkpoint" {
                    ensure!(fs::read(&path)? == sound, "{file} is what it was");
                }
            }
            sealwrightd("fsck", &dir, &["--log", name])?
                .success()
                .context(file)?;
        }
    }
    let again = Daemon::on(&dir, &[])?;
    audit(&again.endpoints().log, &receipts)
}

#[test]
fn damage_is_found_and_mended_while_the_log_works() -> anyhow::Result<()> {
    let section = "mirrors = [\"../mirror\"]\nscrub_interval = \"1s\"\nscrub = \"1GiB\"";
    let mut site = Site::fresh(section)?;
    site.start()?;
    let receipts = write(&site.base, 600)?;
    site.mirror()?;
    let until = |what: &str, done: &dyn Fn() -> anyhow::Result<bool>| -> anyhow::Result<()> {
        let began = Instant::now();
        while !done()? {
            ensure!(began.elapsed() < Duration::from_secs(60), "{what}");
            thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    };
    for file in ["tile/entries/001", "tile/0/000"] {
        let path = site.log_dir().join("public").join(file);
        until("the file is there", &|| Ok(path.exists()))?;
        let sound = fs::read(&path)?;
        let mut wrong = sound.clone();
        wrong[50] ^= 1;
        fs::write(&path, &wrong)?;
        until("it is mended", &|| {
            Ok(fs::read(&path).ok() == Some(sound.clone()))
        })?;
    }
    audit(&site.base, &receipts)?;
    // What is not mended is said, until it is sound again.
    let path = site.log_dir().join("public/checkpoint");
    let sound = fs::read(&path)?;
    let mut wrong = sound.clone();
    wrong[20] ^= 1;
    fs::write(&path, &wrong)?;
    until("it is noted", &|| {
        let check = site.check("log.files")?;
        Ok(check["ok"] == false && check["detail"].to_string().contains("fsck"))
    })?;
    fs::write(&path, &sound)?;
    until("the note goes", &|| {
        Ok(site.check("log.files")?["ok"] == true)
    })?;
    site.stop()
}

/// A small file system of its own, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mounted(folder: &Path, size: &str) -> anyhow::Result<Option<Self>> {
        fs::create_dir_all(folder)?;
        let option = format!("size={size}");
        let mounted = Tool::new("mount")
            .args(["-t", "tmpfs", "-o", &option, "tmpfs"])
            .arg(folder)
            .run();
        Ok(mounted
            .is_ok_and(|outcome| outcome.code == Some(0))
            .then(|| Self(folder.to_owned())))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A test that failed may still have files open there; then it goes with the machine.
        let _unimportant = Tool::new("umount").arg("-l").arg(&self.0).run();
    }
}

#[test]
fn a_full_disk_in_backup_or_restore_loses_nothing() -> anyhow::Result<()> {
    let name = "a_full_disk_in_backup_or_restore_loses_nothing";
    let mut site = Site::mirrored()?;
    let small = site.beside("small");
    let Some(_disk) = SmallDisk::mounted(&small, "40m")? else {
        skipped(name, "no file system can be mounted here");
        return Ok(());
    };
    site.start()?;
    let mut receipts = write(&site.base, 300)?;
    let to = small.join("backups").display().to_string();
    sealwrightd("backup", &site.dir(), &["--to", &to])?.success()?;
    let latest = fs::read_link(small.join("backups/latest"))?;
    let ballast = small.join("ballast");
    // Fills what is left, but for what a few pages need.
    let fill = |leave: &str| -> anyhow::Result<()> {
        let script = format!(
            "avail=$(df -k --output=avail '{0}' | tail -1); head -c $(( (avail - {leave}) * 1024 )) /dev/zero > '{1}'",
            small.display(),
            ballast.display()
        );
        Tool::new("sh").args(["-c", &script]).run()?.success()?;
        Ok(())
    };
    fill("64")?;
    let refused = sealwrightd("backup", &site.dir(), &["--to", &to])?.code(1)?;
    assert!(
        refused.contains("the earlier ones are as they were"),
        "{refused}"
    );
    assert_eq!(fs::read_link(small.join("backups/latest"))?, latest);
    sealwrightd("fsck", &small.join("backups/latest"), &[])?.success()?;
    fs::remove_file(&ballast)?;
    thread::sleep(Duration::from_millis(1100));
    sealwrightd("backup", &site.dir(), &["--to", &to])?.success()?;
    fs::remove_dir_all(small.join("backups"))?;

    // A restore that runs out of space goes on when there is some. A backup is smaller than the instance: its write-ahead
    // log ends with the last frame.
    let old = site.beside("old");
    let args = ["--with-keys", "--to", &old.display().to_string()];
    sealwrightd("backup", &site.dir(), &args)?.success()?;
    receipts.extend(write(&site.base, 900)?);
    site.stop()?;
    site.mirror()?;
    let place = small.join("site");
    Tool::new("cp")
        .arg("-aL")
        .arg(old.join("latest"))
        .arg(&place)
        .run()?
        .success()?;
    let mirror = site.beside("mirror").display().to_string();
    let args = ["--log", "signatures", "--from-mirror", &mirror];
    fill("512")?;
    let refused = sealwrightd("restore", &place, &args)?;
    ensure!(refused.code == Some(1), "{refused}");
    let closed = sealwrightd("up", &place, &[])?;
    assert!(closed.stderr.contains("is being restored"), "{closed}");
    fs::remove_file(&ballast)?;
    sealwrightd("restore", &place, &args)?.success()?;
    sealwrightd("fsck", &place, &[])?.success()?;
    fs::remove_dir_all(site.dir())?;
    copy(&place, &site.dir())?;
    site.start()?;
    audit(&site.base, &receipts)?;
    site.stop()
}

/// The key of the log is what makes a statement one of the log: a mirror of another log says nothing.
#[test]
fn a_mirror_of_another_log_vouches_for_nothing() -> anyhow::Result<()> {
    let mut other = Site::fresh("")?;
    other.start()?;
    write(&other.base, 10)?;
    other.stop()?;
    let mut site = Site::fresh("mirrors = [\"../mirror\"]\nguard = \"required\"")?;
    copy(&other.log_dir().join("public"), &site.beside("mirror"))?;
    let said = site.refusal()?;
    assert!(said.contains("guard = \"required\""), "{said}");
    let refused = sealwrightd("restore", &site.dir(), &["--log", "signatures"])?.code(1)?;
    assert!(refused.contains("no answer"), "{refused}");
    fs::remove_dir_all(site.beside("mirror"))?;
    fs::create_dir(site.beside("mirror"))?;
    site.start()?;
    let origin = site.base.trim_start_matches("http://").replace(":7700", "");
    let note = checkpoint(&site.base)?;
    assert!(note.starts_with(&origin), "{note}");
    site.stop()
}

/// A mirror that held something wrong left a log that could neither go on nor be frozen.
#[test]
fn a_restore_that_its_mirror_cannot_end_can_be_given_up() -> anyhow::Result<()> {
    let (mut site, receipts, old) = Site::with_old_copy(20, 300)?;
    let bundle = site.beside("mirror/tile/entries/001.p/64");
    let mut bytes = fs::read(&bundle)?;
    *bytes.get_mut(40).context("an entry")? ^= 1;
    fs::write(&bundle, bytes)?;
    site.put_back(&old)?;

    let only = ["--log", "signatures"];
    let wrong = sealwrightd("restore", &site.dir(), &only)?.code(1)?;
    assert!(wrong.contains("tile/entries/001.p/64"), "{wrong}");
    let said = site.refusal()?;
    assert!(said.contains("is being restored"), "{said}");
    fs::remove_dir_all(site.beside("mirror"))?;
    // A mirror that is away may come back: only who says so gives the log up.
    let waits = sealwrightd("restore", &site.dir(), &only)?.code(1)?;
    assert!(waits.contains("no mirror has a copy"), "{waits}");
    let said = site.refusal()?;
    assert!(said.contains("is being restored"), "{said}");
    let freeze = [&only[..], &["--freeze"]].concat();
    let told = sealwrightd("restore", &site.dir(), &freeze)?.success()?;
    assert!(
        told.contains("given up") && told.contains("frozen at 20 entries"),
        "{told}"
    );
    sealwrightd("fsck", &site.dir(), &[])?.success()?;
    site.start()?;
    audit(&site.base, &receipts)?;
    site.stop()
}
