//! What happens to people in production, and what an enemy tries: crashes of a first start, races, misuse of the client.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64, sha256};
use sealwright_integration_tests::{Daemon, Tool, artifact, binary, http, signal, skipped};
use serde_json::{Value, json};

fn dev(dir: &std::path::Path) -> anyhow::Result<Child> {
    let mut command = Command::new(binary("sealwrightd"));
    command.arg("dev").arg("--dir").arg(dir);
    command.args(["--listen", "127.0.0.1:0"]);
    let quiet = command.stdin(Stdio::null()).stdout(Stdio::piped());
    Ok(quiet.stderr(Stdio::piped()).spawn()?)
}

/// The process dies at different moments of the first start, from before the directory is claimed to after trust is
/// published, and again in the second.
#[test]
fn a_first_start_that_was_killed_is_completed_by_the_next() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let (_artifacts, file) = artifact(b"signed after a crash")?;
    for round in 0..8_u64 {
        let dir = folder.path().join(round.to_string());
        for moment in [round * 40 + 5, round * 30] {
            let mut child = dev(&dir)?;
            thread::sleep(Duration::from_millis(moment));
            child.kill()?;
            child.wait()?;
        }
        let mut daemon = Daemon::on(&dir, &[])?;
        let bundle = daemon.sign(&file)?;
        daemon.verify(&file, &bundle)?.success()?;
        ensure!(daemon.terminate()?.0.success(), "round {round}");
    }
    Ok(())
}

#[test]
fn of_several_first_starts_on_one_directory_one_serves() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("dev");
    let children = [dev(&dir)?, dev(&dir)?, dev(&dir)?];
    let mut serving = 0;
    for mut child in children {
        let mut first = [0; 5];
        let mut stdout = child.stdout.take().context("stdout is piped")?;
        if stdout.read_exact(&mut first).is_ok() {
            ensure!(&first == b"ready");
            serving += 1;
            // The others are decided by now, or will be by the same lock: this one holds it to the end of the test.
            thread::sleep(Duration::from_millis(500));
            child.kill()?;
            child.wait()?;
            continue;
        }
        let mut said = String::new();
        let mut stderr = child.stderr.take().context("stderr is piped")?;
        stderr.read_to_string(&mut said)?;
        ensure!(said.contains("another process"), "{said}");
        ensure!(child.wait()?.code() == Some(1), "{said}");
    }
    ensure!(serving == 1, "{serving} serve");
    Daemon::on(&dir, &[])?;
    Ok(())
}

/// Yesterday the authority's certificate was not valid; an hour ago a timestamp of now was not yet true.
#[test]
fn a_clock_set_back_is_named_and_harms_nothing() -> anyhow::Result<()> {
    let test = "a_clock_set_back_is_named_and_harms_nothing";
    if Command::new("faketime").arg("--version").output().is_err() {
        skipped(test, "faketime is not installed");
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("dev");
    let (_artifacts, file) = artifact(b"signed before the clock was set back")?;
    let daemon = Daemon::on(&dir, &[])?;
    let bundle = daemon.sign(&file)?;
    drop(daemon);
    let mut command = Command::new("faketime");
    command.args(["-f", "-1d"]).arg(binary("sealwrightd"));
    let refused = Daemon::command(command, &dir, &[]);
    let said = refused.err().context("it serves")?.to_string();
    ensure!(said.contains("set the clock right"), "{said}");
    let daemon = Daemon::on(&dir, &[])?;
    daemon.verify(&file, &bundle)?.success()?;
    daemon.sign(&file)?;
    Ok(())
}

#[test]
fn a_signature_never_costs_the_file_it_is_about() -> anyhow::Result<()> {
    let daemon = Daemon::fresh()?;
    let (folder, file) = artifact(b"precious")?;
    let token = daemon.token()?;
    let sign = |bundle: &std::path::Path| {
        let tool = Tool::sealwright().args(["sign-blob", "--identity-token", "-", "--bundle"]);
        let tool = tool.arg(bundle).args(daemon.trust()).arg(&file);
        tool.run_with_input(token.as_bytes())
    };
    let said = sign(&file)?.code(2)?;
    ensure!(said.contains("would replace"), "{said}");
    ensure!(fs::read(&file)? == b"precious");

    // A place that cannot be written costs nothing either, and nothing half-written stays.
    let full = std::path::Path::new("/dev/full");
    let said = sign(full)?.failure()?;
    ensure!(said.contains("No space left"), "{said}");
    sign(&folder.path().join("missing/bundle.json"))?.failure()?;
    let left = fs::read_dir(folder.path())?.count();
    ensure!(left == 1, "{left} files beside the artifact");
    Ok(())
}

fn entry(key: &PrivateKey, number: u64) -> anyhow::Result<Value> {
    let message = number.to_be_bytes();
    let signature = key.sign(Algorithm::EcdsaP256Sha256, &message)?;
    Ok(json!({ "hashedRekordRequestV002": {
        "digest": base64::encode(&sha256(&message)),
        "signature": {
            "content": base64::encode(&signature),
            "verifier": {
                "publicKey": { "rawBytes": base64::encode(key.public_key().spki_der()) },
                "keyDetails": "PKIX_ECDSA_P256_SHA_256",
            },
        },
    } }))
}

/// Writes until the server is gone; gives each request with the index it was promised, and counts them as they come.
fn write_until(
    url: &str,
    writer: u64,
    stop: &AtomicBool,
    count: &AtomicUsize,
) -> anyhow::Result<Vec<(Value, Value)>> {
    let (client, key) = (http(), PrivateKey::generate(KeyType::EcP256)?);
    let mut promised = Vec::new();
    for number in 0.. {
        let request = entry(&key, writer << 32 | number)?;
        let Ok(answer) = client.post(url).json(&request).send() else {
            break;
        };
        if answer.status() != 201 || stop.load(Ordering::Relaxed) {
            break;
        }
        // The receipt is lost on the way when the body is: then nobody relies on it.
        let Ok(receipt) = answer.json::<Value>() else {
            break;
        };
        promised.push((request, receipt["logIndex"].clone()));
        count.fetch_add(1, Ordering::Relaxed);
    }
    Ok(promised)
}

/// A connection whose request never comes to its end.
fn half_sent(daemon: &Daemon) -> anyhow::Result<TcpStream> {
    let address = daemon.address();
    let mut stream = TcpStream::connect(address)?;
    write!(
        stream,
        "POST /api/v2/log/entries HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{{"
    )?;
    Ok(stream)
}

/// By when the writers are at work, also on a machine that is busy otherwise.
const LOADED_BY: Duration = Duration::from_secs(30);

/// A terminal that is closed, Ctrl-C twice, an orchestrator: also with half-sent requests around.
#[test]
fn a_signal_under_load_ends_in_time_and_keeps_every_receipt() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let dir = folder.path().join("dev");
    for signals in [&[][..], &["INT", "INT"], &["HUP"]] {
        let mut daemon = Daemon::on(&dir, &[])?;
        let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
        let _half_sent = signals.is_empty().then(|| half_sent(&daemon)).transpose()?;
        let stop = Arc::new(AtomicBool::new(false));
        let count = Arc::new(AtomicUsize::new(0));
        let writers: Vec<_> = (0..8)
            .map(|writer| {
                let (url, stop, count) = (url.clone(), Arc::clone(&stop), Arc::clone(&count));
                thread::spawn(move || write_until(&url, writer, &stop, &count))
            })
            .collect();
        // The load is there when every writer may have been answered; a busy machine takes longer to come so far.
        let began = Instant::now();
        while count.load(Ordering::Relaxed) < writers.len() && began.elapsed() < LOADED_BY {
            thread::sleep(Duration::from_millis(10));
        }
        let asked = Instant::now();
        for name in signals {
            signal(daemon.id(), name)?;
        }
        // SIGTERM follows, as from whoever lost patience; a process that has ended does not mind.
        let (status, _) = daemon.terminate()?;
        let took = asked.elapsed();
        ensure!(status.code() == Some(0), "{signals:?}: {status}");
        ensure!(took < Duration::from_secs(5), "{signals:?}: {took:?}");
        stop.store(true, Ordering::Relaxed);
        let mut promised = Vec::new();
        for writer in writers {
            let written = writer.join().ok().context("a writer panicked")??;
            promised.extend(written);
        }
        ensure!(
            !promised.is_empty(),
            "nothing was written before {signals:?}"
        );
        drop(daemon);
        let daemon = Daemon::on(&dir, &[])?;
        let client = http();
        for (request, index) in &promised {
            let again: Value = client.post(&url).json(request).send()?.json()?;
            ensure!(&again["logIndex"] == index, "{again} instead of {index}");
        }
        drop(daemon);
    }
    Ok(())
}
