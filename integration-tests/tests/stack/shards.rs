//! Shards: logs that follow one another while clients sign, frozen logs, and logs of others.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{KeyType, PrivateKey, base64};
use sealwright_integration_tests::{
    ClientView, Daemon, EMAIL, Outcome, Process, Tool, artifact, binary,
    deployment::{Deployment, own_address},
    entry_request, http, skipped, strangers,
};
use sealwright_tlog::{Checkpoint, NoteKey};
use serde_json::Value;

/// `sealwrightd log` with a verb on a directory.
fn log(verb: &str, dir: &Path, args: &[&str]) -> anyhow::Result<Outcome> {
    Tool::sealwrightd()
        .args(["log", verb, "--dir"])
        .arg(dir)
        .args(args)
        .deadline(Duration::from_secs(180))
        .run()
}

/// The rows of `GET /api/v2/shards`, each believed only with the checkpoint that its own key signed.
fn shards(base: &str) -> anyhow::Result<Vec<Value>> {
    let answer = http().get(format!("{base}/api/v2/shards")).send()?;
    ensure!(answer.status() == 200, "{}", answer.status());
    ensure!(
        answer
            .headers()
            .get("cache-control")
            .is_some_and(|value| value == "public, max-age=2"),
        "{:?}",
        answer.headers()
    );
    let answer: Value = answer.json()?;
    let rows = answer["shards"].as_array().context("rows")?.clone();
    for row in &rows {
        let key = NoteKey::from_vkey(row["vkey"].as_str().context("a vkey")?)?;
        let note = row["checkpoint"].as_str().context("a checkpoint")?;
        let origin = row["origin"].as_str().context("an origin")?;
        let opened = Checkpoint::open(note.as_bytes(), origin, std::slice::from_ref(&key))?;
        assert_eq!(opened.checkpoint().size.to_string(), row["treeSize"]);
        assert_eq!(base64::encode(&key.log_id()), row["logId"]);
    }
    Ok(rows)
}

fn state(rows: &[Value], name: &str) -> String {
    let row = rows.iter().find(|row| row["name"] == name);
    let state = row.and_then(|row| row["state"].as_str());
    state.unwrap_or("absent").to_owned()
}

fn submit(base: &str) -> anyhow::Result<reqwest::blocking::Response> {
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let request = entry_request(&key, base.as_bytes())?;
    Ok(http()
        .post(format!("{base}/api/v2/log/entries"))
        .json(&request)
        .send()?)
}

/// The base URL beside `base` on another loopback host.
fn beside(base: &str) -> String {
    base.replace("127.0.0.1", "127.0.0.2")
}

#[test]
fn a_frozen_log_says_so_refuses_entries_and_stays_readable() -> anyhow::Result<()> {
    let mut daemon = Daemon::fresh()?;
    let base = daemon.endpoints().log.clone();
    assert_eq!(submit(&base)?.status(), 201);
    let frozen = log("freeze", daemon.dir(), &["--log", "signatures"])?.success()?;
    assert!(frozen.starts_with("frozen    signatures"), "{frozen}");
    log("freeze", daemon.dir(), &["--log", "signatures"])?.success()?;
    let unknown = log("freeze", daemon.dir(), &["--log", "other"])?.failure()?;
    assert!(unknown.contains("other"), "{unknown}");
    let used = log("freeze", daemon.dir(), &["--log", "dev"])?.failure()?;
    assert!(used.contains("authority"), "{used}");

    let check = |base: &str| -> anyhow::Result<()> {
        let refused = submit(base)?;
        assert_eq!(refused.status(), 405);
        let refused: Value = refused.json()?;
        assert_eq!(refused["details"][0]["reason"], "LOG_FROZEN");
        let checkpoint = http()
            .get(format!("{base}/api/v2/checkpoint"))
            .send()?
            .text()?;
        assert!(
            checkpoint.contains("\nLog frozen \u{2014} "),
            "{checkpoint}"
        );
        let tile = http()
            .get(format!("{base}/api/v2/tile/entries/000.p/1"))
            .send()?;
        assert_eq!(tile.status(), 200);
        assert_eq!(state(&shards(base)?, "signatures"), "frozen");
        Ok(())
    };
    check(&base)?;
    assert_eq!(http().get(format!("{base}/readyz")).send()?.status(), 200);
    daemon.terminate()?;
    let dir = daemon.dir().to_owned();
    let again = Daemon::on(&dir, &[])?;
    check(&again.endpoints().log)
}

/// A production instance with two host names, whose clients believe a trust root for eight seconds.
struct Instance {
    _folder: tempfile::TempDir,
    dir: PathBuf,
    process: Option<Process>,
    bases: [String; 2],
    view: ClientView,
    provider: Daemon,
}

impl Instance {
    fn fresh() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let dir = folder.path().join("i");
        let provider = Daemon::fresh_with(&["--login", EMAIL])?;
        let bases = [own_address(), own_address()].map(|host| format!("http://{host}:7700"));
        let listen = |base: &str| base.trim_start_matches("http://").to_owned();
        Tool::sealwrightd()
            .args([
                "init",
                "--organization",
                "Example",
                "--public-url",
                &bases[0],
            ])
            .args(["--listen", &listen(&bases[0]), "--oidc-issuer"])
            .arg(&provider.endpoints().oidc)
            .arg("--dir")
            .arg(&dir)
            .run()?
            .success()?;
        let file = dir.join("sealwright.toml");
        let text = fs::read_to_string(&file)?;
        let one = format!("listen = [\"{}\"]", listen(&bases[0]));
        ensure!(text.contains(&one), "{text}");
        let both = format!(
            "listen = [\"{}\", \"{}\"]",
            listen(&bases[0]),
            listen(&bases[1])
        );
        let text = text.replace(&one, &both);
        let lifetimes =
            "\ntimestamp_lifetime = \"8s\"\ncheck_interval = \"500ms\"\nsigning_window = \"2s\"\n";
        // The clocks of tests are not kept by anybody.
        let text = text.replace("[trust]\n", &format!("[trust]{lifetimes}"));
        let text = text.replace("[tsa]\n", "[tsa]\nclock = \"off\"\n");
        fs::write(&file, format!("# the operator's own words\n{text}"))?;
        let mut instance = Self {
            view: ClientView::new(dir.join("client"), provider.endpoints().clone()),
            dir,
            process: None,
            bases,
            provider,
            _folder: folder,
        };
        instance.start()?;
        let mut endpoints: Value =
            serde_json::from_slice(&fs::read(instance.dir.join("endpoints.json"))?)?;
        endpoints["oidc"] = instance.provider.endpoints().oidc.clone().into();
        let endpoints = serde_json::from_value(endpoints)?;
        instance.view = ClientView::new(instance.dir.join("client"), endpoints);
        Ok(instance)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary("sealwrightd"));
        command.arg("up").arg("--dir").arg(&self.dir);
        let mut process = Process::start(command, &self.dir.with_extension("stderr.log"))?;
        process.ready()?;
        self.process = Some(process);
        Ok(())
    }
}

/// Signs with our client and a given trust config; the token is made anew for each.
fn sign(view: &ClientView, trust: &Path, file: &Path, bundle: &Path) -> anyhow::Result<()> {
    let token = view.token()?;
    Tool::sealwright()
        .args(["sign-blob", "--identity-token", "-", "--bundle"])
        .arg(bundle)
        .arg("--trust-config")
        .arg(trust)
        .arg(file)
        .run_with_input(token.as_bytes())?
        .success()?;
    Ok(())
}

/// The origin of the log that a bundle's entry is in.
fn origin(bundle: &Path) -> anyhow::Result<String> {
    let bundle: Value = serde_json::from_slice(&fs::read(bundle)?)?;
    let entry = &bundle["verificationMaterial"]["tlogEntries"][0];
    let note = entry["inclusionProof"]["checkpoint"]["envelope"].as_str();
    let line = note.and_then(|note| note.lines().next());
    Ok(line.context("an origin")?.to_owned())
}

/// Signers and verifiers that are always at it: one with the newest files, one whose files are as old as a client may
/// believe them, and the published Python client.
#[test]
fn nobody_who_signs_notices_that_a_log_is_rotated() -> anyhow::Result<()> {
    const SIGNATURES: usize = 200;
    let instance = Arc::new(Instance::fresh()?);
    let (folder, file) = artifact(b"signed all the while")?;
    let newest = instance.view.client_file("trust_config.json");
    let (ended, count) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicUsize::new(0)),
    );
    let bundles = Arc::new(Mutex::new(Vec::<PathBuf>::new()));
    let run = |name: &'static str, lag: bool| {
        let (instance, ended, count) = (instance.clone(), ended.clone(), count.clone());
        let (bundles, file, newest) = (bundles.clone(), file.clone(), newest.clone());
        let folder = folder.path().to_owned();
        thread::spawn(move || -> anyhow::Result<()> {
            let cached = folder.join(format!("{name}-trust.json"));
            fs::copy(&newest, &cached)?;
            let mut taken = std::time::Instant::now();
            for number in 0.. {
                // A cache is believed for eight seconds; this one is renewed in its last.
                if !lag || taken.elapsed() > Duration::from_secs(7) {
                    fs::copy(&newest, &cached)?;
                    taken = std::time::Instant::now();
                }
                let bundle = folder.join(format!("{name}-{number}.json"));
                sign(&instance.view, &cached, &file, &bundle)
                    .with_context(|| format!("{name}, signature {number}"))?;
                bundles.lock().expect("no panic").push(bundle);
                let signed = count.fetch_add(1, Ordering::Relaxed) + 1;
                if ended.load(Ordering::Relaxed) && signed >= SIGNATURES {
                    return Ok(());
                }
            }
            Ok(())
        })
    };
    let signers = [run("newest", false), run("lagging", true)];
    let python = strangers::python::program();
    let python = if python.exists() {
        let (instance, ended, file) = (instance.clone(), ended.clone(), file.clone());
        let folder = folder.path().to_owned();
        let trust = newest.clone();
        Some(thread::spawn(move || -> anyhow::Result<Vec<PathBuf>> {
            let mut made = Vec::new();
            while !ended.load(Ordering::Relaxed) || made.len() < 3 {
                let bundle = folder.join(format!("python-{}.json", made.len()));
                let token = instance.view.token()?;
                Tool::new(&python)
                    .args(["-m", "sigstore"])
                    .env("HOME", &folder)
                    .arg("--trust-config")
                    .arg(&trust)
                    .args([
                        "sign",
                        "--overwrite",
                        "--identity-token",
                        &token,
                        "--bundle",
                    ])
                    .arg(&bundle)
                    .arg(&file)
                    .run()?
                    .success()?;
                made.push(bundle);
            }
            Ok(made)
        }))
    } else {
        skipped(
            "nobody_who_signs_notices_that_a_log_is_rotated",
            "no sigstore of PyPI",
        );
        None
    };

    let words = fs::read_to_string(instance.dir.join("sealwright.toml"))?;
    let url = instance.bases[1].clone();
    let args = [
        "--log",
        "signatures",
        "--name",
        "second",
        "--url",
        &url,
        "--overlap",
        "2s",
        "--wait",
    ];
    let told = log("rotate", &instance.dir, &args)?.success();
    ended.store(true, Ordering::Relaxed);
    let told = told?;
    for signer in signers {
        signer
            .join()
            .map_err(|_| anyhow::anyhow!("a signer panicked"))??;
    }
    let by_python = match python {
        Some(python) => python
            .join()
            .map_err(|_| anyhow::anyhow!("python panicked"))??,
        None => Vec::new(),
    };
    assert!(told.contains("the rotation is complete"), "{told}");
    assert_eq!(
        fs::read_to_string(instance.dir.join("sealwright.toml"))?,
        words
    );

    // Every signature of either log verifies, by what is published now; both logs were used.
    let bundles = bundles.lock().expect("no panic").clone();
    assert!(bundles.len() >= SIGNATURES, "{}", bundles.len());
    let hosts = instance.bases.each_ref().map(|base| {
        let host = base.trim_start_matches("http://");
        host.split(':').next().unwrap_or_default().to_owned()
    });
    let mut used = [0_usize; 2];
    for bundle in bundles.iter().chain(&by_python) {
        let origin = origin(bundle)?;
        let position = hosts.iter().position(|host| *host == origin);
        used[position.with_context(|| origin.clone())?] += 1;
    }
    assert!(used[0] > 0 && used[1] > 0, "{used:?}");
    println!(
        "signatures during the rotation: {used:?} in the old and the new log, {} by Python",
        by_python.len()
    );
    for bundle in bundles
        .iter()
        .take(1)
        .chain(bundles.last())
        .chain(by_python.first())
        .chain(by_python.last())
    {
        instance.view.verify(&file, bundle)?.success()?;
    }
    let rows = shards(&instance.bases[1])?;
    assert_eq!(
        rows,
        shards(&instance.bases[0])?,
        "every host gives the same list"
    );
    assert_eq!(state(&rows, "signatures"), "frozen");
    assert_eq!(state(&rows, "second"), "active");
    assert_eq!(submit(&instance.bases[0])?.status(), 405);
    let root: Value =
        serde_json::from_slice(&fs::read(instance.view.client_file("trusted_root.json"))?)?;
    let ends = root["tlogs"].as_array().context("logs")?;
    let ends: Vec<bool> = ends
        .iter()
        .map(|log| log["publicKey"]["validFor"]["end"].is_string())
        .collect();
    assert_eq!(ends, [true, false], "the old key stays, with an end");

    let mut instance = Arc::into_inner(instance).context("nobody else holds it")?;
    let mut process = instance.process.take().context("a process")?;
    process.terminate()?;
    instance.start()?;
    let last = bundles.last().context("a bundle")?;
    instance.view.verify(&file, last)?.success()?;
    assert_eq!(submit(&instance.bases[1])?.status(), 201);
    let complete = log("rotate", &instance.dir, &["--log", "signatures"])?.success()?;
    assert_eq!(complete.trim(), "the rotation is complete");
    Ok(())
}

/// The verb and the process are killed in turn, again and again, at whatever they were doing.
#[test]
fn a_rotation_that_is_killed_anywhere_ends_well() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("d");
    let mut daemon = Daemon::on(&dir, &["--login", EMAIL])?;
    let base = daemon.endpoints().log.clone();
    let (_artifact, file) = artifact(b"before and after")?;
    let before = daemon.sign(&file)?;
    let kept = file.with_extension("before.json");
    fs::rename(before, &kept)?;
    let url = beside(&base);
    let args = [
        "--log",
        "signatures",
        "--url",
        &url,
        "--overlap",
        "1s",
        "--wait",
    ];
    let mut killed = 0;
    for round in 0..200_u64 {
        let mut verb = Command::new(binary("sealwrightd"));
        verb.args(["log", "rotate", "--dir"]).arg(&dir).args(args);
        let said = folder.path().join("said");
        let mut verb = verb
            .stdout(std::process::Stdio::null())
            .stderr(fs::File::create(&said)?)
            .spawn()?;
        // A little longer each round, so that every step is met and the end is reached.
        thread::sleep(Duration::from_millis(4 * round));
        if let Some(status) = verb.try_wait()? {
            let said = fs::read_to_string(&said)?;
            ensure!(
                status.success(),
                "the verb failed in round {round}: {said}\n{}",
                daemon.stderr()
            );
            break;
        }
        verb.kill()?;
        verb.wait()?;
        killed += 1;
        if round % 4 == 3 {
            let dir = daemon.kill()?;
            daemon = Daemon::on(&dir, &["--login", EMAIL])?;
        }
    }
    let told = log("rotate", &dir, &args)?.success()?;
    assert!(told.contains("the rotation is complete"), "{told}");
    println!("killed {killed} times on the way");
    let rows = shards(&base)?;
    assert_eq!(rows.len(), 3, "one successor and no more: {rows:?}");
    assert_eq!(state(&rows, "signatures"), "frozen");
    assert_eq!(state(&rows, "signatures-2"), "active");
    let after = daemon.sign(&file)?;
    assert_eq!(origin(&after)?, "127.0.0.2");
    daemon.verify(&file, &after)?.success()?;
    daemon.verify(&file, &kept)?.success()?;
    let other = log(
        "rotate",
        &dir,
        &["--log", "signatures", "--url", "http://127.0.0.3:1"],
    )?;
    assert!(other.failure()?.contains("already"));
    Ok(())
}

#[test]
fn certificates_go_to_the_successor_of_their_log() -> anyhow::Result<()> {
    let daemon = Daemon::fresh_with(&["--login", EMAIL])?;
    let (_artifact, file) = artifact(b"certified")?;
    let before = file.with_extension("before.json");
    fs::rename(daemon.sign(&file)?, &before)?;
    let url = daemon.endpoints().ct.replace("/ct/dev", "/ct/dev-2");
    let refused = log(
        "rotate",
        daemon.dir(),
        &["--log", "dev", "--url", &beside(&url).replace("dev-2", "x")],
    )?;
    assert!(refused.failure()?.contains("/ct/dev-2"));
    let args = ["--log", "dev", "--url", &url, "--overlap", "1s", "--wait"];
    let told = log("rotate", daemon.dir(), &args)?.success()?;
    assert!(told.contains("certificates go to dev-2"), "{told}");
    let rows = shards(&daemon.endpoints().log)?;
    assert_eq!(state(&rows, "dev"), "frozen");
    let size = |rows: &[Value]| {
        let row = rows.iter().find(|row| row["name"] == "dev-2");
        row.map(|row| row["treeSize"].clone())
    };
    assert_eq!(size(&rows), Some("0".into()));
    let after = daemon.sign(&file)?;
    daemon.verify(&file, &after)?.success()?;
    daemon.verify(&file, &before)?.success()?;
    thread::sleep(Duration::from_secs(2));
    assert_eq!(size(&shards(&daemon.endpoints().log)?), Some("1".into()));
    let root: Value = serde_json::from_slice(&fs::read(daemon.client_file("trusted_root.json"))?)?;
    assert_eq!(root["ctlogs"].as_array().map(Vec::len), Some(2));
    assert!(root["ctlogs"][0]["publicKey"]["validFor"]["end"].is_string());

    // The authority goes on with it after a restart.
    let (dir, login) = (daemon.dir().to_owned(), ["--login", EMAIL]);
    let mut daemon = daemon;
    daemon.terminate()?;
    let again = Daemon::on(&dir, &login)?;
    let bundle = again.sign(&file)?;
    again.verify(&file, &bundle)?.success()?;
    assert!(again.endpoints().ct.ends_with("/ct/dev-2"));
    Ok(())
}

#[test]
fn roles_apart_rotate_in_steps_that_say_what_comes_next() -> anyhow::Result<()> {
    let deployment = Deployment::fresh()?;
    let (log_dir, trust_dir) = (deployment.dir("log"), deployment.dir("trust"));
    let url = format!("http://{}:7702", own_address());
    let alone = log("rotate", &log_dir, &["--log", "signatures", "--url", &url])?.success()?;
    assert!(alone.contains("trust --dir DIR stage --succeed"), "{alone}");
    let trust = trust_dir.display().to_string();
    let told = log(
        "rotate",
        &log_dir,
        &["--log", "signatures", "--trust-dir", &trust],
    )?
    .success()?;
    assert!(told.contains("published the trust root"), "{told}");
    assert!(
        told.contains(
            "next: clients may still believe a trust root without the successor; run this again in"
        ),
        "{told}"
    );
    let rows = shards(&deployment.endpoints().log)?;
    assert_eq!(state(&rows, "signatures"), "active");
    assert_eq!(state(&rows, "signatures-2"), "staged");
    let root: Value =
        serde_json::from_slice(&fs::read(deployment.client_file("trusted_root.json"))?)?;
    assert_eq!(root["tlogs"].as_array().map(Vec::len), Some(2));
    // Until the start everything is as it was.
    let (_artifact, file) = artifact(b"meanwhile")?;
    let bundle = deployment.sign(&file)?;
    deployment.verify(&file, &bundle)?.success()?;
    let again = log(
        "rotate",
        &log_dir,
        &["--log", "signatures", "--trust-dir", &trust],
    )?
    .success()?;
    assert!(again.starts_with("next: "), "{again}");
    let status = log("status", &log_dir, &[])?.success()?;
    assert!(status.contains("follows signatures"), "{status}");
    Ok(())
}

/// A key as Go's notes have it: the secret for the other implementation, and what it gives out.
fn note_key(name: &str) -> anyhow::Result<(String, NoteKey)> {
    let key = PrivateKey::generate(KeyType::Ed25519)?;
    let public = NoteKey::for_log(name, key.public_key().clone())?;
    let pem = key.to_pkcs8_pem();
    let body: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = base64::decode(&body)?;
    // RFC 8410: the seed is an OCTET STRING of 32 bytes within one of 34.
    let at = der.windows(4).position(|window| window == [4, 34, 4, 32]);
    let at = at.context("a seed")? + 4;
    let seed = der.get(at..at + 32).context("32 bytes")?;
    let id: String = public
        .key_id()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let secret = base64::encode(&[&[1], seed].concat());
    Ok((format!("PRIVATE+KEY+{name}+{id}+{secret}"), public))
}

/// A log that Tessera wrote in `folder`, of so many entries; `None` where the program is not installed.
fn foreign_log(
    folder: &Path,
    entries: usize,
    test: &str,
) -> anyhow::Result<Option<(PathBuf, String)>> {
    const ORIGIN: &str = "log.other.example";
    let program = sealwright_integration_tests::workspace_root().join(".clients/bin/tessera-posix");
    if !program.exists() {
        skipped(test, "Tessera is not installed: run `make setup`");
        return Ok(None);
    }
    let (secret, key) = note_key(ORIGIN)?;
    let (source, out) = (folder.join("entries"), folder.join("tessera"));
    fs::create_dir(&source)?;
    for number in 0..entries {
        fs::write(
            source.join(format!("{number:06}")),
            format!("entry {number}"),
        )?;
    }
    fs::write(folder.join("key"), secret)?;
    Tool::new(program)
        .arg("--storage_dir")
        .arg(&out)
        .arg("--private_key")
        .arg(folder.join("key"))
        .arg("--entries")
        .arg(source.join("*"))
        .run()?
        .success()?;
    Ok(Some((out, key.to_vkey().context("a vkey")?)))
}

#[test]
fn a_log_of_another_implementation_is_imported_and_read() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let test = "a_log_of_another_implementation_is_imported_and_read";
    let Some((source, vkey)) = foreign_log(folder.path(), 700, test)? else {
        return Ok(());
    };
    let daemon = Daemon::fresh()?;
    let base = daemon.endpoints().log.clone();
    let url = beside(&base);
    let import = |from: &Path, name: &str, vkey: &str, more: &[&str]| {
        let from = from.display().to_string();
        let mut args = vec![
            "--from",
            &from,
            "--vkey",
            vkey,
            "--origin",
            "log.other.example",
        ];
        args.extend(["--name", name, "--url", &url]);
        args.extend(more);
        log("import", daemon.dir(), &args)
    };
    let nothing_left = |name: &str| {
        let paths = [
            format!("log/{name}"),
            format!("log/{name}.importing"),
            format!("log.d/{name}.toml"),
        ];
        paths.iter().all(|path| !daemon.dir().join(path).exists())
    };

    // One changed byte, a missing bundle, another key: refused with the file's name, and nothing stays.
    let damaged = folder.path().join("damaged");
    copy(&source, &damaged)?;
    let bundle = damaged.join("tile/entries/001");
    let mut bytes = fs::read(&bundle)?;
    bytes[9] ^= 1;
    fs::write(&bundle, bytes)?;
    let refused = import(&damaged, "damaged", &vkey, &[])?.failure()?;
    assert!(refused.contains("tile/entries/001"), "{refused}");
    fs::remove_file(damaged.join("tile/0/001"))?;
    let refused = import(&damaged, "damaged", &vkey, &[])?.failure()?;
    assert!(
        refused.contains("checkpoint") && refused.contains("root"),
        "{refused}"
    );
    fs::remove_file(&bundle)?;
    let refused = import(&damaged, "damaged", &vkey, &[])?.failure()?;
    assert!(
        refused.contains("tile/entries/001: it is missing"),
        "{refused}"
    );
    let (_, other) = note_key("log.other.example")?;
    let refused =
        import(&source, "damaged", &other.to_vkey().context("a vkey")?, &[])?.failure()?;
    assert!(refused.contains("checkpoint"), "{refused}");
    assert!(nothing_left("damaged"));

    let more = ["--trust", "--valid-from", "1700000000"];
    let told = import(&source, "other", &vkey, &more)?.success()?;
    assert!(told.contains("imported other: 700 entries"), "{told}");
    assert!(told.contains("to be believed and not used"), "{told}");
    // Again does no harm; under another name it would be a second log of one origin.
    import(&source, "other", &vkey, &more)?.success()?;
    let (from, elsewhere) = (
        source.display().to_string(),
        base.replace("127.0.0.1", "127.0.0.3"),
    );
    let args = [
        "--from",
        &from,
        "--vkey",
        &vkey,
        "--origin",
        "log.other.example",
        "--name",
        "twice",
        "--url",
        &elsewhere,
    ];
    let twice = log("import", daemon.dir(), &args)?.failure()?;
    assert!(twice.contains("already"), "{twice}");
    assert!(nothing_left("twice"));

    let get = |path: &str| -> anyhow::Result<Vec<u8>> {
        let answer = http().get(format!("{url}/api/v2/{path}")).send()?;
        ensure!(answer.status() == 200, "{path}: {}", answer.status());
        Ok(answer.bytes()?.to_vec())
    };
    for path in [
        "checkpoint",
        "tile/0/000",
        "tile/0/002.p/188",
        "tile/1/000.p/2",
        "tile/entries/001",
        "tile/entries/002.p/188",
    ] {
        assert_eq!(get(path)?, fs::read(source.join(path))?, "{path}");
    }
    assert_eq!(submit(&url)?.status(), 405);
    let rows = shards(&base)?;
    assert_eq!(state(&rows, "other"), "imported");
    let row = rows
        .iter()
        .find(|row| row["name"] == "other")
        .context("a row")?;
    assert_eq!(
        (&row["vkey"], &row["treeSize"]),
        (&Value::from(vkey), &Value::from("700"))
    );

    // Its key is believed when somebody has signed that, and nobody is sent there.
    let trust = |step: &[&str]| {
        Tool::sealwrightd()
            .args(["trust", "--dir"])
            .arg(daemon.dir())
            .args(step)
            .run()
    };
    let key = daemon.dir().join("offline/targets.pem");
    trust(&["sign", "--key", &key.display().to_string()])?.success()?;
    trust(&["publish"])?.success()?;
    let root = fs::read_to_string(daemon.client_file("trusted_root.json"))?;
    assert!(root.contains("https://log.other.example"), "{root}");
    let config = fs::read_to_string(daemon.client_file("signing_config.json"))?;
    assert!(
        !config.contains("other.example") && !config.contains(&url),
        "{config}"
    );

    let mut daemon = daemon;
    daemon.terminate()?;
    let dir = daemon.dir().to_owned();
    let sound = Tool::sealwrightd()
        .args(["fsck", "--dir"])
        .arg(&dir)
        .run()?
        .success()?;
    assert!(sound.contains("log.other.example: 700 entries"), "{sound}");
    let _again = Daemon::on(&dir, &[])?;
    let checkpoint = http().get(format!("{url}/api/v2/checkpoint")).send()?;
    assert_eq!(checkpoint.status(), 200);
    Ok(())
}

/// Copies a folder with everything below it.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy(&entry.path(), &target)?,
            false => fs::copy(entry.path(), target).map(|_| ())?,
        }
    }
    Ok(())
}
