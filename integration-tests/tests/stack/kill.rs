//! No acknowledged entry is lost to a crash, no second process joins, a full disk corrupts nothing.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use rand::{Rng as _, SeedableRng as _};
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, PublicKey, base64};
use sealwright_integration_tests::{
    Daemon, EMAIL, Endpoints, Tool, certificate_request, entry_request, http, skipped,
};
use sealwright_pki::certificate::Certificate;
use sealwright_tlog::{
    checkpoint::Checkpoint,
    hash::{Hash, leaf_hash, merkle_tree_hash},
    note::NoteKey,
};
use serde_json::Value;

/// A receipt of the signature log, as a client keeps it.
#[derive(Clone)]
struct Receipt {
    index: u64,
    size: u64,
    root: Hash,
    body: Vec<u8>,
}

/// A promise of the certificate log: which leaf is where.
#[derive(Clone)]
struct Promise {
    index: u64,
    leaf: Vec<u8>,
}

#[derive(Default)]
struct Recorder {
    receipts: Mutex<Vec<Receipt>>,
    promises: Mutex<Vec<Promise>>,
    unexpected: Mutex<Vec<String>>,
}

fn hash_of(text: &Value) -> anyhow::Result<Hash> {
    Ok(base64::decode(text.as_str().context("base64 text")?)?
        .as_slice()
        .try_into()?)
}

fn number(text: &Value) -> anyhow::Result<u64> {
    Ok(text.as_str().context("a number as text")?.parse()?)
}

/// One fresh entry for the signature log.
fn numbered_entry(key: &PrivateKey, unique: u64) -> anyhow::Result<Value> {
    entry_request(key, &unique.to_be_bytes())
}

fn receipt(answer: &Value) -> anyhow::Result<Receipt> {
    let proof = &answer["inclusionProof"];
    let receipt = Receipt {
        index: number(&answer["logIndex"])?,
        size: number(&proof["treeSize"])?,
        root: hash_of(&proof["rootHash"])?,
        body: base64::decode(
            answer["canonicalizedBody"]
                .as_str()
                .context("canonicalizedBody")?,
        )?,
    };
    let hashes = proof["hashes"]
        .as_array()
        .context("hashes")?
        .iter()
        .map(hash_of)
        .collect::<Result<Vec<_>, _>>()?;
    sealwright_tlog::proof::verify_inclusion(
        receipt.index,
        receipt.size,
        &leaf_hash(&receipt.body),
        &hashes,
        &receipt.root,
    )?;
    Ok(receipt)
}

fn write_entries(
    endpoints: &Endpoints,
    recorder: &Recorder,
    stop: &AtomicBool,
    unique: &AtomicU64,
) {
    let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
    let client = http();
    while !stop.load(Ordering::Relaxed) {
        let request =
            numbered_entry(&key, unique.fetch_add(1, Ordering::Relaxed)).expect("a request");
        let answer = client
            .post(format!("{}/api/v2/log/entries", endpoints.log))
            .json(&request)
            .send();
        // A connection that breaks is the crash itself. An answer that arrived whole is a receipt.
        let Ok(answer) = answer else { continue };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text() else { continue };
        match (status, serde_json::from_str::<Value>(&text)) {
            (201, Ok(value)) => match receipt(&value) {
                Ok(receipt) => recorder.receipts.lock().expect("lock").push(receipt),
                Err(error) => recorder
                    .unexpected
                    .lock()
                    .expect("lock")
                    .push(format!("{error:#}: {text}")),
            },
            (503, _) => thread::sleep(Duration::from_millis(5)),
            _ => recorder
                .unexpected
                .lock()
                .expect("lock")
                .push(format!("{status}: {text}")),
        }
    }
}

fn promise(chain: &[String]) -> anyhow::Result<Promise> {
    let certificates = chain
        .iter()
        .map(|pem| Certificate::from_pem(pem))
        .collect::<Result<Vec<_>, _>>()?;
    let (leaf, issuer) = (
        certificates.first().context("leaf")?,
        certificates.get(1).context("issuer")?,
    );
    let scts = sealwright_pki::sct::embedded_scts(leaf)?;
    let sct = scts.first().context("an embedded SCT")?;
    let entry = sealwright_tlog::ct::CtEntry::Precert {
        issuer_key_hash: sealwright_crypto::sha256(issuer.spki_der()),
        tbs_certificate: sealwright_pki::sct::precertificate_tbs(leaf.tbs_der())?,
        pre_certificate: Vec::new(),
    };
    let leaf = entry.merkle_tree_leaf(sct.timestamp_ms, &sct.extensions)?;
    Ok(Promise {
        index: sealwright_tlog::ct::parse_leaf_index(&sct.extensions)?,
        leaf,
    })
}

fn request_certificates(
    endpoints: &Endpoints,
    token: &str,
    recorder: &Recorder,
    stop: &AtomicBool,
) {
    let client = http();
    while !stop.load(Ordering::Relaxed) {
        let key = PrivateKey::generate(KeyType::EcP256).expect("a key");
        let request =
            certificate_request(token, &key, Algorithm::EcdsaP256Sha256, EMAIL).expect("a request");
        let Ok(answer) = client
            .post(format!("{}/api/v2/signingCert", endpoints.ca))
            .json(&request)
            .send()
        else {
            continue;
        };
        let status = answer.status().as_u16();
        let Ok(text) = answer.text() else { continue };
        if status == 503 {
            thread::sleep(Duration::from_millis(5));
            continue;
        }
        let outcome = serde_json::from_str::<Value>(&text)
            .map_err(anyhow::Error::from)
            .and_then(|value| {
                ensure!(status == 200, "{status}");
                let chain = value["signedCertificateEmbeddedSct"]["chain"]["certificates"].clone();
                promise(&serde_json::from_value::<Vec<String>>(chain)?)
            });
        match outcome {
            Ok(promise) => recorder.promises.lock().expect("lock").push(promise),
            Err(error) => recorder
                .unexpected
                .lock()
                .expect("lock")
                .push(format!("{error:#}: {text}")),
        }
    }
}

/// A log read back whole: every leaf, and the checkpoint that covers them.
struct Tree {
    leaves: Vec<Hash>,
    size: u64,
    root: Hash,
}

impl Tree {
    fn root_at(&self, size: u64) -> anyhow::Result<Hash> {
        let leaves = self
            .leaves
            .get(..usize::try_from(size)?)
            .context("a size that the log has not reached")?;
        Ok(merkle_tree_hash(leaves))
    }
}

/// Fetches the checkpoint, verifies its signature, then every level-0 tile that it implies, and recomputes the root.
fn read_tree(base: &str, origin: &str, key: NoteKey) -> anyhow::Result<Tree> {
    let client = http();
    let note = client
        .get(format!("{base}/checkpoint"))
        .send()?
        .error_for_status()?
        .bytes()?;
    let opened = Checkpoint::open(&note, origin, &[key])?;
    let checkpoint = opened.checkpoint();
    let (size, root) = (checkpoint.size, checkpoint.root);
    let mut leaves = Vec::new();
    // Paths are written out here, so that a mistake in the server's own path writer cannot agree with itself.
    let tiles = size.div_ceil(256);
    for tile in 0..tiles {
        let width = (size - tile * 256).min(256);
        let partial = if width < 256 {
            format!(".p/{width}")
        } else {
            String::new()
        };
        let mut path = format!("{:03}", tile % 1000);
        if tile >= 1000 {
            path = format!("x{:03}/{path}", tile / 1000);
        }
        let bytes = client
            .get(format!("{base}/tile/0/{path}{partial}"))
            .send()?
            .error_for_status()?
            .bytes()?;
        ensure!(
            bytes.len() as u64 == width * 32,
            "tile {tile} has {} bytes",
            bytes.len()
        );
        leaves.extend(
            bytes
                .chunks_exact(32)
                .map(|hash| Hash::try_from(hash).expect("32 bytes")),
        );
    }
    ensure!(
        merkle_tree_hash(&leaves) == root,
        "the tiles do not give the checkpoint's root at size {size}"
    );
    Ok(Tree { leaves, size, root })
}

fn log_key(trusted_root: &Value, kind: &str) -> anyhow::Result<PublicKey> {
    let raw = trusted_root[kind][0]["publicKey"]["rawBytes"]
        .as_str()
        .context("rawBytes")?;
    Ok(PublicKey::from_spki_der(&base64::decode(raw)?)?)
}

/// Everything ever promised holds in what the restarted stack serves.
fn audit(
    daemon: &Daemon,
    recorder: &Recorder,
    seen: &mut BTreeMap<&'static str, (u64, Hash)>,
) -> anyhow::Result<()> {
    let root: Value = serde_json::from_slice(&fs::read(daemon.client_file("trusted_root.json"))?)?;
    let log = read_tree(
        &format!("{}/api/v2", daemon.endpoints().log),
        "127.0.0.1",
        NoteKey::for_log("127.0.0.1", log_key(&root, "tlogs")?)?,
    )?;
    let origin = daemon
        .endpoints()
        .ct
        .trim_start_matches("http://")
        .to_owned();
    let ct = read_tree(
        &daemon.endpoints().ct,
        &origin,
        NoteKey::for_ct_log(&origin, log_key(&root, "ctlogs")?)?,
    )?;

    for (name, tree) in [("log", &log), ("ct", &ct)] {
        if let Some((size, root)) = seen.get(name) {
            ensure!(
                tree.size >= *size,
                "the {name} shrank from {size} to {}",
                tree.size
            );
            ensure!(
                tree.root_at(*size)? == *root,
                "the {name} does not extend its checkpoint of size {size}"
            );
        }
        seen.insert(name, (tree.size, tree.root));
    }
    let mut roots = BTreeMap::new();
    let mut owners = BTreeMap::new();
    for receipt in recorder.receipts.lock().expect("lock").iter() {
        let leaf = leaf_hash(&receipt.body);
        let stored = log.leaves.get(usize::try_from(receipt.index)?);
        ensure!(
            stored == Some(&leaf),
            "receipt {} is not in the log of size {}",
            receipt.index,
            log.size
        );
        let owner = owners.insert(receipt.index, leaf);
        ensure!(
            owner.is_none_or(|owner| owner == leaf),
            "index {} was given to two entries",
            receipt.index
        );
        if let std::collections::btree_map::Entry::Vacant(vacant) = roots.entry(receipt.size) {
            vacant.insert(log.root_at(receipt.size)?);
        }
        ensure!(
            roots[&receipt.size] == receipt.root,
            "a receipt's checkpoint of size {} was forked",
            receipt.size
        );
    }
    for promise in recorder.promises.lock().expect("lock").iter() {
        let stored = ct.leaves.get(usize::try_from(promise.index)?);
        ensure!(
            stored == Some(&leaf_hash(&promise.leaf)),
            "SCT {} is not in the log",
            promise.index
        );
    }
    Ok(())
}

/// Rounds of the kill test; `SEALWRIGHT_KILL_ROUNDS` sets more for a soak.
fn rounds() -> u32 {
    std::env::var("SEALWRIGHT_KILL_ROUNDS")
        .ok()
        .and_then(|rounds| rounds.parse().ok())
        .unwrap_or(25)
}

#[test]
fn no_receipt_is_lost_to_sigkill() -> anyhow::Result<()> {
    let seed = std::env::var("SEALWRIGHT_SEED")
        .ok()
        .and_then(|seed| seed.parse().ok())
        .unwrap_or_else(rand::random);
    println!("seed {seed} (repeat with SEALWRIGHT_SEED={seed})");
    let mut rng = rand::rngs::StdRng::seed_from_u64(seed);
    let scratch = tempfile::tempdir()?;
    let dir = scratch.path().join("dev");
    let recorder = Arc::new(Recorder::default());
    let unique = Arc::new(AtomicU64::new(0));
    let mut seen = BTreeMap::new();
    let mut daemon = Daemon::on(&dir, &[])?;
    for round in 0..rounds() {
        let stop = Arc::new(AtomicBool::new(false));
        let token = daemon.token()?;
        let mut writers = Vec::new();
        for _ in 0..4 {
            let (endpoints, recorder, stop, unique) = (
                daemon.endpoints().clone(),
                recorder.clone(),
                stop.clone(),
                unique.clone(),
            );
            writers.push(thread::spawn(move || {
                write_entries(&endpoints, &recorder, &stop, &unique)
            }));
        }
        let (endpoints, sct_recorder, sct_stop) =
            (daemon.endpoints().clone(), recorder.clone(), stop.clone());
        writers.push(thread::spawn(move || {
            request_certificates(&endpoints, &token, &sct_recorder, &sct_stop)
        }));
        thread::sleep(Duration::from_millis(rng.random_range(0..300)));
        daemon.kill()?;
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("writers do not panic");
        }
        let restarted = Instant::now();
        daemon = Daemon::on(&dir, &[])
            .with_context(|| format!("restart after round {round}, seed {seed}"))?;
        let took = restarted.elapsed();
        audit(&daemon, &recorder, &mut seen)
            .with_context(|| format!("after round {round}, seed {seed}"))?;
        let unexpected = recorder.unexpected.lock().expect("lock").clone();
        ensure!(
            unexpected.is_empty(),
            "round {round}, seed {seed}: {unexpected:?}"
        );
        if round % 10 == 0 {
            let (receipts, promises) = (
                recorder.receipts.lock().expect("lock").len(),
                recorder.promises.lock().expect("lock").len(),
            );
            println!(
                "round {round}: {receipts} receipts, {promises} SCTs hold; ready again after {took:?}"
            );
        }
    }
    let (receipts, promises) = (
        recorder.receipts.lock().expect("lock").len(),
        recorder.promises.lock().expect("lock").len(),
    );
    println!(
        "{} rounds, seed {seed}: {receipts} receipts and {promises} SCTs hold",
        rounds()
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
    let client = http();
    let submit = |unique: u64| -> anyhow::Result<u16> {
        let url = format!("{}/api/v2/log/entries", daemon.endpoints().log);
        let answer = client
            .post(url)
            .json(&numbered_entry(&key, unique)?)
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
    for unique in 1000..6000 {
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
        "5,000 entries on a full disk were all acknowledged"
    );

    // Space returns; after a restart at the latest everything acknowledged is there and writing goes on.
    fs::remove_file(&filler)?;
    daemon.kill()?;
    let daemon = Daemon::on(&dir, &[])?;
    audit(&daemon, &recorder, &mut BTreeMap::new())?;
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
