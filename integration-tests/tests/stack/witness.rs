//! Logs and their witnesses: real processes on both sides, ours and a published one.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    net::Ipv4Addr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail, ensure};
use rand::Rng as _;
use sealwright_crypto::{Algorithm, KeyType, PrivateKey, base64};
use sealwright_integration_tests::{
    Process, Tool, artifact, binary,
    deployment::{Deployment, own_address},
    entry_request, http, skipped, workspace_root,
};
use sealwright_tlog::{
    Checkpoint, Note, NoteKey, SignatureKind, cosignature,
    hash::{Hash, leaf_hash, merkle_tree_hash},
    proof::{HashReader, Node, consistency_proof},
    witness::{AddCheckpoint, monitoring_path},
};
use serde_json::Value;
use tempfile::TempDir;

/// Where witnesses of these tests listen; logs are at the port below.
const WITNESS_PORT: u16 = 7710;
const LOG_PORT: u16 = 7702;
/// How long something may take that is not measured.
const PATIENCE: Duration = Duration::from_secs(60);

/// A witness of ours, which may be running.
struct Witness {
    dir: PathBuf,
    url: String,
    key: NoteKey,
    vkey: String,
    process: Option<Process>,
    _temporary: TempDir,
}

impl Witness {
    fn fresh(name: &str) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let dir = temporary.path().join("witness");
        let address = format!("{}:{WITNESS_PORT}", own_address());
        let url = format!("http://{address}");
        let said = Tool::sealwrightd()
            .args([
                "witness", "init", "--name", name, "--url", &url, "--listen", &address,
            ])
            .arg("--dir")
            .arg(&dir)
            .run()?
            .success()?;
        let vkey = said.lines().find_map(|line| line.strip_prefix("key: "));
        let vkey = vkey.context("a key")?.to_owned();
        let policy_line = format!("witness {} {vkey} {url}", name.replace(['.', '/'], "-"));
        ensure!(said.contains(&policy_line), "{said}");
        Ok(Self {
            key: NoteKey::from_vkey(&vkey)?,
            dir,
            url,
            vkey,
            process: None,
            _temporary: temporary,
        })
    }

    fn knows(&self, keys: &str) -> anyhow::Result<()> {
        let mut list = fs::OpenOptions::new()
            .append(true)
            .open(self.dir.join("logs.txt"))?;
        list.write_all(keys.as_bytes())?;
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary("sealwrightd"));
        command.args(["run", "witness", "--dir"]).arg(&self.dir);
        let mut process = Process::start(command, &self.dir.join("stderr.log"))?;
        process.ready()?;
        self.process = Some(process);
        Ok(())
    }

    fn kill(&mut self) -> anyhow::Result<()> {
        self.process.take().context("it runs")?.kill()
    }

    fn policy(&self) -> String {
        format!("witness w {} {}\nquorum w\n", self.vkey, self.url)
    }

    /// The size that the witness shows to monitors, of a checkpoint that it has cosigned.
    fn shows(&self, origin: &str) -> anyhow::Result<Option<u64>> {
        let answer = http()
            .get(format!("{}/{}", self.url, monitoring_path(origin)))
            .send()?;
        if answer.status().as_u16() == 404 {
            return Ok(None);
        }
        let size = cosigned_size(&answer.error_for_status()?.bytes()?, &self.key)?;
        size.context("not cosigned").map(Some)
    }
}

/// The size of a checkpoint when `witness` has cosigned it.
fn cosigned_size(note: &[u8], witness: &NoteKey) -> anyhow::Result<Option<u64>> {
    let note = Note::parse(note)?;
    let size = Checkpoint::parse(note.text())?.size;
    let seen = cosignature::verify(&note, std::slice::from_ref(witness))?;
    Ok((!seen.is_empty()).then_some(size))
}

/// A process with signature logs alone, each at an address of its own.
struct Logs {
    dir: PathBuf,
    hosts: Vec<Ipv4Addr>,
    process: Option<Process>,
    _temporary: TempDir,
}

impl Logs {
    /// Logs that have been made once, without witnesses, so that their keys can be told.
    fn made(count: usize) -> anyhow::Result<Self> {
        let temporary = tempfile::tempdir()?;
        let dir = temporary.path().join("logs");
        fs::create_dir_all(dir.join("keys"))?;
        fs::write(dir.join("FORMAT"), "format = 1\nkind = production\n")?;
        let logs = Self {
            hosts: (0..count).map(|_| own_address()).collect(),
            dir,
            process: None,
            _temporary: temporary,
        };
        for number in 0..count {
            let key = PrivateKey::generate(KeyType::Ed25519)?.to_pkcs8_pem();
            write_key(&logs.dir.join(format!("keys/{number}.key")), key.as_bytes())?;
        }
        logs.configure(None, "required")?;
        Ok(logs)
    }

    /// The configuration: with a witness policy, or without.
    fn configure(&self, policy: Option<&str>, mode: &str) -> anyhow::Result<()> {
        self.configure_at(&self.hosts, policy, mode)
    }

    fn configure_at(
        &self,
        listen: &[Ipv4Addr],
        policy: Option<&str>,
        mode: &str,
    ) -> anyhow::Result<()> {
        let first = listen.first().context("a host")?;
        let mut text = format!("[host]\nlisten = [\"{first}:{LOG_PORT}\"]\n");
        let witnesses = match policy {
            Some(policy) => {
                fs::write(self.dir.join("witnesses.policy"), policy)?;
                format!("witness_policy = \"witnesses.policy\"\nwitness_mode = \"{mode}\"\n")
            }
            None => String::new(),
        };
        for (number, host) in self.hosts.iter().enumerate() {
            text.push_str(&format!(
                "[[log]]\nname = \"log{number}\"\nkind = \"rekor\"\nurl = \"http://{host}:{LOG_PORT}\"\noperator = \"Example\"\n\
                 key = \"file:keys/{number}.key\"\ncreate = true\npublish_interval = \"50ms\"\n{witnesses}"
            ));
        }
        fs::write(self.dir.join("sealwright.toml"), text)?;
        Ok(())
    }

    fn keys(&self) -> anyhow::Result<String> {
        log_keys(&self.dir)
    }

    fn start(&mut self) -> anyhow::Result<()> {
        let mut command = Command::new(binary("sealwrightd"));
        command.args(["run", "log", "--dir"]).arg(&self.dir);
        self.process = Some(Process::start(command, &self.dir.join("stderr.log"))?);
        Ok(())
    }

    fn ready(&mut self) -> anyhow::Result<()> {
        self.process.as_mut().context("it runs")?.ready().map(drop)
    }

    fn stop(&mut self) -> anyhow::Result<()> {
        self.process
            .take()
            .context("it runs")?
            .terminate()
            .map(drop)
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.dir.join("stderr.log")).unwrap_or_default()
    }

    /// Where the process listens; the log follows from the host that is asked.
    fn base(&self) -> String {
        format!("http://{}:{LOG_PORT}", self.hosts[0])
    }

    fn submit(&self, log: usize) -> anyhow::Result<(u16, Value)> {
        submit_at(&self.base(), &self.hosts[log].to_string())
    }

    /// Submits until the log takes it; a log that is just started has not asked its witnesses yet.
    fn receipt(&self, log: usize) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            match self.submit(log) {
                Ok((201, receipt)) => return Ok(receipt),
                last if began.elapsed() > PATIENCE => bail!("{last:?}\n{}", self.stderr()),
                _ => thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    fn checkpoint(&self, log: usize) -> anyhow::Result<Vec<u8>> {
        let request = http().get(format!("{}/api/v2/checkpoint", self.base()));
        let answer = request.header("host", self.hosts[log].to_string()).send()?;
        Ok(answer.error_for_status()?.bytes()?.to_vec())
    }
}

fn submit_at(base: &str, host: &str) -> anyhow::Result<(u16, Value)> {
    static UNIQUE: AtomicU64 = AtomicU64::new(0);
    let key = PrivateKey::generate(KeyType::EcP256)?;
    let entry = entry_request(&key, &UNIQUE.fetch_add(1, Ordering::Relaxed).to_be_bytes())?;
    let request = http()
        .post(format!("{base}/api/v2/log/entries"))
        .json(&entry);
    let answer = request.header("host", host).send()?;
    Ok((answer.status().as_u16(), answer.json()?))
}

fn write_key(path: &Path, pem: &[u8]) -> anyhow::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    Ok(file.write_all(pem)?)
}

fn log_keys(dir: &Path) -> anyhow::Result<String> {
    let said = Tool::sealwrightd()
        .args(["witness", "log-keys", "--dir"])
        .arg(dir)
        .run()?;
    said.success()
}

fn checkpoint_of(receipt: &Value) -> anyhow::Result<&str> {
    let envelope = &receipt["inclusionProof"]["checkpoint"]["envelope"];
    envelope.as_str().context("a checkpoint")
}

fn eventually(what: &str, mut met: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let began = Instant::now();
    loop {
        match met() {
            Ok(true) => return Ok(()),
            last if began.elapsed() > PATIENCE => bail!("never: {what}: {last:?}"),
            _ => thread::sleep(Duration::from_millis(20)),
        }
    }
}

/// Requires the policy of every `[[log]]` in a configuration.
fn require_witness(dir: &Path, policy: &str) -> anyhow::Result<()> {
    fs::write(dir.join("witnesses.policy"), policy)?;
    let path = dir.join("sealwright.toml");
    let text = fs::read_to_string(&path)?;
    ensure!(text.matches("[[log]]\n").count() == 2, "{text}");
    let with = "[[log]]\nwitness_policy = \"witnesses.policy\"\n";
    fs::write(&path, text.replace("[[log]]\n", with))?;
    Ok(())
}

/// One witness cosigns the signature log and the CT log of a deployment, and two shards of another process. What clients
/// get carries its cosignature, and a verifier that asks for it is content.
#[test]
fn one_witness_sees_the_logs_of_a_deployment_and_two_shards() -> anyhow::Result<()> {
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    let mut deployment = Deployment::made()?;
    let log_dir = deployment.dir("log");
    let deployed = log_keys(&log_dir)?;
    ensure!(deployed.lines().count() == 2, "{deployed}");
    let mut shards = Logs::made(2)?;
    witness.knows(&deployed)?;
    witness.knows(&shards.keys()?)?;
    witness.start()?;
    require_witness(&log_dir, &witness.policy())?;
    shards.configure(Some(&witness.policy()), "required")?;

    for role in ["ca", "log", "tsa", "trust"] {
        deployment.start(role)?;
    }
    for role in ["log", "tsa", "ca"] {
        deployment.ready(role)?;
    }
    deployment.publish()?;
    deployment.ready("trust")?;
    let (_scratch, file) = artifact(b"seen by a witness")?;
    let bundle = deployment.sign(&file)?;
    let policy = log_dir.join("witnesses.policy").display().to_string();
    let verify = |policy: &str| {
        let bundle = bundle.display().to_string();
        Tool::sealwright()
            .args([
                "verify-blob",
                "--bundle",
                &bundle,
                "--witness-policy",
                policy,
            ])
            .args(deployment.trust())
            .args(deployment.identity())
            .arg(&file)
            .run()
    };
    verify(&policy)?.success()?;
    let stranger = Witness::fresh("stranger.example.com/w")?;
    let other = log_dir.join("other.policy");
    fs::write(&other, stranger.policy())?;
    verify(&other.display().to_string())?.code(1)?;

    shards.start()?;
    shards.ready()?;
    for shard in 0..2 {
        for _ in 0..=shard {
            let receipt = shards.receipt(shard)?;
            let size = cosigned_size(checkpoint_of(&receipt)?.as_bytes(), &witness.key)?;
            ensure!(size.is_some(), "{receipt}");
        }
        let size = cosigned_size(&shards.checkpoint(shard)?, &witness.key)?;
        ensure!(size == Some(shard as u64 + 1), "{size:?}");
    }
    // Every log is there, by the origin in its key, with what it has.
    let all = format!("{deployed}{}", shards.keys()?);
    let mut shown = Vec::new();
    for line in all.lines() {
        let vkey = line.split(' ').nth(1).context("a key")?;
        let key = NoteKey::from_vkey(vkey)?;
        shown.push((key.kind(), witness.shows(key.name())?));
    }
    let expected = [
        (SignatureKind::Ed25519, Some(1)),
        (SignatureKind::Rfc6962TreeHead, Some(1)),
        (SignatureKind::Ed25519, Some(1)),
        (SignatureKind::Ed25519, Some(2)),
    ];
    ensure!(shown == expected, "{shown:?}");
    deployment.terminate()?;
    shards.stop()
}

#[test]
fn without_the_required_witness_nothing_is_shown_and_with_it_everything_comes() -> anyhow::Result<()>
{
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    let mut logs = Logs::made(1)?;
    witness.knows(&logs.keys()?)?;
    logs.configure(Some(&witness.policy()), "required")?;
    // The witness is away at the start: the log serves, says why, and takes nothing.
    logs.start()?;
    eventually("the log says that its witnesses are away", || {
        let (status, answer) = logs.submit(0)?;
        Ok(status == 503 && answer.to_string().contains("witnesses"))
    })?;
    let ready = http().get(format!("{}/readyz", logs.base())).send()?;
    ensure!(ready.status().as_u16() == 503, "{ready:?}");
    let report = ready.text()?;
    ensure!(report.contains("w: it cannot be reached"), "{report}");
    witness.start()?;
    logs.ready()?;
    logs.receipt(0)?;
    let shown = logs.checkpoint(0)?;

    witness.kill()?;
    eventually("entries are refused", || Ok(logs.submit(0)?.0 == 503))?;
    for _ in 0..3 {
        ensure!(logs.submit(0)?.0 == 503);
    }
    ensure!(
        logs.checkpoint(0)? == shown,
        "what the witness has not seen is not shown"
    );
    // The log is killed too: what it shows afterwards is what it showed.
    logs.process.take().context("it runs")?.kill()?;
    logs.start()?;
    eventually("it serves", || Ok(logs.checkpoint(0).is_ok()))?;
    ensure!(
        logs.checkpoint(0)? == shown,
        "another checkpoint after the restart"
    );
    witness.start()?;
    let receipt = logs.receipt(0)?;
    let size = cosigned_size(checkpoint_of(&receipt)?.as_bytes(), &witness.key)?;
    // The first refused entry was logged before anybody knew that its witness was gone.
    ensure!(size >= Some(2), "{size:?}");
    logs.stop()
}

#[test]
fn best_effort_does_without_a_witness_that_is_away() -> anyhow::Result<()> {
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    let mut logs = Logs::made(1)?;
    witness.knows(&logs.keys()?)?;
    logs.configure(Some(&witness.policy()), "best-effort")?;
    logs.start()?;
    logs.ready()?;
    for _ in 0..3 {
        let receipt = logs.receipt(0)?;
        ensure!(cosigned_size(checkpoint_of(&receipt)?.as_bytes(), &witness.key)?.is_none());
    }
    witness.start()?;
    eventually("the checkpoint is cosigned", || {
        Ok(cosigned_size(&logs.checkpoint(0)?, &witness.key)? == Some(3))
    })?;
    logs.stop()
}

/// A copy of the log's folder goes on somewhere else, with the log's key. The witness saw the copy; the log notices, stops
/// writing, and goes on serving what it has shown.
#[test]
fn a_witness_that_saw_another_tree_stops_the_log() -> anyhow::Result<()> {
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    let mut logs = Logs::made(1)?;
    witness.knows(&logs.keys()?)?;
    witness.start()?;
    logs.configure(Some(&witness.policy()), "required")?;
    logs.start()?;
    logs.ready()?;
    logs.receipt(0)?;
    logs.stop()?;

    let temporary = tempfile::tempdir()?;
    let copied = Command::new("cp")
        .arg("-a")
        .arg(&logs.dir)
        .arg(temporary.path())
        .status()?;
    ensure!(copied.success());
    let mut copy = Logs {
        dir: temporary.path().join("logs"),
        hosts: logs.hosts.clone(),
        process: None,
        _temporary: temporary,
    };
    let elsewhere = own_address();
    copy.configure_at(&[elsewhere], Some(&witness.policy()), "required")?;
    logs.start()?;
    logs.ready()?;
    copy.start()?;
    copy.ready()?;
    let (at, host) = (
        format!("http://{elsewhere}:{LOG_PORT}"),
        logs.hosts[0].to_string(),
    );
    for _ in 0..5 {
        let (status, answer) = submit_at(&at, &host)?;
        ensure!(status == 201, "{answer}");
    }
    ensure!(witness.shows(&host)? == Some(6));
    let shown = logs.checkpoint(0)?;
    for _ in 0..2 {
        let (status, answer) = logs.submit(0)?;
        ensure!(
            status == 503 && answer.to_string().contains("restore"),
            "{answer}"
        );
    }
    ensure!(logs.checkpoint(0)? == shown);
    let report = http()
        .get(format!("{}/readyz", logs.base()))
        .send()?
        .text()?;
    ensure!(
        report.contains("w has cosigned 6 entries, this log has only 2"),
        "{report}"
    );
    // The next life asks before it takes anything, and knows at once.
    logs.stop()?;
    logs.start()?;
    ensure!(
        logs.ready().is_err(),
        "a log that others are ahead of has started"
    );
    ensure!(
        logs.stderr().contains("has cosigned 6 entries"),
        "{}",
        logs.stderr()
    );
    copy.stop()
}

/// A log whose leaves are numbers, in one of two worlds that share nothing.
struct Numbers {
    key: NoteKey,
    private: PrivateKey,
    leaves: [Vec<Hash>; 2],
}

struct World<'a>(&'a [Hash]);

impl HashReader for World<'_> {
    type Error = sealwright_tlog::Error;

    fn read(&self, nodes: &[Node]) -> Result<Vec<Hash>, Self::Error> {
        let hash = |node: &Node| {
            let start = (node.index << node.level) as usize;
            merkle_tree_hash(&self.0[start..start + (1 << node.level)])
        };
        Ok(nodes.iter().map(hash).collect())
    }
}

impl Numbers {
    const MOST: u64 = 2000;

    fn new(origin: &str) -> anyhow::Result<Self> {
        let private = PrivateKey::generate(KeyType::Ed25519)?;
        let leaves = |world: u8| {
            (0..Self::MOST)
                .map(move |leaf| leaf_hash(&[&[world], leaf.to_be_bytes().as_slice()].concat()))
        };
        Ok(Self {
            key: NoteKey::for_log(origin, private.public_key().clone())?,
            leaves: [leaves(0).collect(), leaves(1).collect()],
            private,
        })
    }

    fn request(&self, world: usize, old_size: u64, size: u64) -> anyhow::Result<String> {
        let leaves = &self.leaves[world];
        let root = merkle_tree_hash(&leaves[..size as usize]);
        let text = Checkpoint::new(self.key.name(), size, root).to_text();
        let raw = self.private.sign(Algorithm::Ed25519, text.as_bytes())?;
        let mut note = Note::new(text)?;
        note.push(self.key.signature(&raw, 0)?);
        let proof = consistency_proof(old_size, size, &World(leaves))?;
        Ok(AddCheckpoint {
            old_size,
            proof,
            note,
        }
        .to_string())
    }
}

/// Feeders of two worlds race for a witness that is killed again and again. Whatever it answers, it never cosigns two
/// trees, and never knows less than it said.
#[test]
fn a_witness_that_is_killed_at_any_moment_never_forgets() -> anyhow::Result<()> {
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    let log = Numbers::new("numbers.example")?;
    witness.knows(&format!("{}\n", log.key.to_vkey().context("a text")?))?;
    // Every cosigned checkpoint: its text, by size.
    let cosigned: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let conflicting = AtomicBool::new(false);
    let rounds = std::env::var("SEALWRIGHT_KILL_ROUNDS").ok();
    let rounds = rounds.and_then(|rounds| rounds.parse().ok()).unwrap_or(12);
    for round in 0..rounds {
        witness.start()?;
        let known = witness.shows("numbers.example")?.unwrap_or(0);
        let told = cosigned
            .lock()
            .expect("lock")
            .keys()
            .next_back()
            .copied()
            .unwrap_or(0);
        ensure!(
            known >= told,
            "round {round}: it said {told} and knows {known}"
        );
        let stop = AtomicBool::new(false);
        thread::scope(|scope| -> anyhow::Result<()> {
            for feeder in 0..4 {
                let (log, witness, cosigned, stop, conflicting) =
                    (&log, &witness, &cosigned, &stop, &conflicting);
                scope.spawn(move || {
                    let client = http();
                    let mut old = known;
                    while !stop.load(Ordering::Relaxed) {
                        let size = (old + 1 + rand::rng().random_range(0..3)).min(Numbers::MOST);
                        let request = log.request(feeder % 2, old, size).expect("a request");
                        let url = format!("{}/add-checkpoint", witness.url);
                        let Ok(answer) = client.post(url).body(request.clone()).send() else {
                            continue;
                        };
                        let status = answer.status().as_u16();
                        let Ok(body) = answer.text() else { continue };
                        match status {
                            200 => {
                                let note =
                                    AddCheckpoint::parse(request.as_bytes()).expect("ours").note;
                                let whole = format!("{note}{body}");
                                let seen = cosigned_size(whole.as_bytes(), &witness.key);
                                let text = note.text().to_owned();
                                let before =
                                    cosigned.lock().expect("lock").insert(size, text.clone());
                                let fork = before.is_some_and(|before| before != text);
                                if fork || !matches!(seen, Ok(Some(_))) {
                                    conflicting.store(true, Ordering::Relaxed);
                                }
                                old = size;
                            }
                            409 => old = body.trim_end().parse().expect("a size"),
                            // The world that lost.
                            422 => thread::sleep(Duration::from_millis(1)),
                            _ => panic!("{status}: {body}"),
                        }
                    }
                });
            }
            // A busy machine may take long for the first ones, and a witness that knows nothing has nothing to forget.
            let began = Instant::now();
            while cosigned.lock().expect("lock").len() < 2
                && began.elapsed() < Duration::from_secs(30)
            {
                thread::sleep(Duration::from_millis(5));
            }
            thread::sleep(Duration::from_millis(rand::rng().random_range(5..150)));
            let killed = witness_process(&witness)?;
            stop.store(true, Ordering::Relaxed);
            sealwright_integration_tests::signal(killed, "KILL")
        })?;
        witness.process = None;
    }
    ensure!(
        !conflicting.load(Ordering::Relaxed),
        "two trees of one size, or no cosignature"
    );
    let cosigned = cosigned.into_inner().expect("lock");
    ensure!(
        cosigned.len() > 1,
        "it cosigned {} checkpoints",
        cosigned.len()
    );
    // They are all of one world.
    let worlds = [0, 1].map(|world| {
        cosigned.iter().all(|(size, text)| {
            let root = merkle_tree_hash(&log.leaves[world][..*size as usize]);
            text.contains(&base64::encode(&root))
        })
    });
    ensure!(worlds[0] != worlds[1], "{worlds:?}");
    Ok(())
}

fn witness_process(witness: &Witness) -> anyhow::Result<u32> {
    Ok(witness.process.as_ref().context("it runs")?.id())
}

/// A witness of somebody else's making, with its key in an SSH agent.
struct Litewitness {
    agent: std::process::Child,
    witness: std::process::Child,
    folder: TempDir,
    url: String,
    vkey: String,
}

impl Drop for Litewitness {
    fn drop(&mut self) {
        for child in [&mut self.witness, &mut self.agent] {
            // It may have ended already; then there is nothing to kill.
            let _unimportant = child.kill();
            let _unimportant = child.wait();
        }
    }
}

impl Litewitness {
    const NAME: &'static str = "lite.example/w";

    /// `None` where the program or its tools are not installed.
    fn start(test: &str, log: &NoteKey) -> anyhow::Result<Option<Self>> {
        let program = workspace_root().join(".clients/bin/litewitness");
        let found = |tool: &str| {
            Command::new("which")
                .arg(tool)
                .stdout(Stdio::null())
                .status()
        };
        let tools = ["ssh-agent", "ssh-add", "ssh-keygen", "python3"];
        let missing = tools
            .iter()
            .find(|tool| !found(tool).is_ok_and(|status| status.success()));
        if !program.exists() || missing.is_some() {
            skipped(
                test,
                "litewitness, an SSH agent or python3 is not installed: run `make setup`",
            );
            return Ok(None);
        }
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        let agent = Command::new("ssh-agent")
            .args(["-D", "-a"])
            .arg(path("agent"))
            .stdout(Stdio::null())
            .spawn()?;
        let key = path("key");
        let tool = Tool::new("ssh-keygen")
            .args(["-q", "-t", "ed25519", "-N", "", "-f"])
            .arg(&key);
        tool.run()?.success()?;
        eventually("the agent listens", || Ok(path("agent").exists()))?;
        let socket = path("agent");
        let tool = Tool::new("ssh-add").env("SSH_AUTH_SOCK", &socket).arg(&key);
        tool.run()?.success()?;
        let print = Tool::new("ssh-keygen")
            .args(["-l", "-E", "sha256", "-f"])
            .arg(&key);
        let print = print.run()?.success()?;
        let print = print.split(' ').nth(1).context("a fingerprint")?.to_owned();
        add_log(&path("lite.db"), log)?;
        let listen = format!("{}:{WITNESS_PORT}", own_address());
        let log_file = fs::File::create(path("stderr.log"))?;
        let witness = Command::new(&program)
            .args(["-name", Self::NAME, "-key", &print, "-listen", &listen])
            .arg("-ssh-agent")
            .arg(&socket)
            .arg("-db")
            .arg(path("lite.db"))
            .stdout(Stdio::null())
            .stderr(log_file)
            .spawn()?;
        let url = format!("http://{listen}");
        eventually("the witness answers", || {
            Ok(http().get(&url).send().is_ok())
        })?;
        let vkey = vkey_of(&fs::read_to_string(path("key.pub"))?)?;
        Ok(Some(Self {
            agent,
            witness,
            folder,
            url,
            vkey,
        }))
    }

    fn stderr(&self) -> String {
        fs::read_to_string(self.folder.path().join("stderr.log")).unwrap_or_default()
    }
}

/// Tells a litewitness of a log, as its own tool does: in its database.
fn add_log(database: &Path, log: &NoteKey) -> anyhow::Result<()> {
    let script = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1])\n\
        db.execute('CREATE TABLE log (origin TEXT PRIMARY KEY, tree_size INTEGER NOT NULL, tree_hash TEXT NOT NULL)')\n\
        db.execute('CREATE TABLE key (origin TEXT NOT NULL, key TEXT NOT NULL, FOREIGN KEY(origin) REFERENCES log(origin))')\n\
        db.execute('INSERT INTO log VALUES (?, 0, ?)', (sys.argv[2], sys.argv[4]))\n\
        db.execute('INSERT INTO key VALUES (?, ?)', (sys.argv[2], sys.argv[3]))\n\
        db.commit()\n";
    let empty = base64::encode(&merkle_tree_hash(&[]));
    let vkey = log.to_vkey().context("a text")?;
    let tool = Tool::new("python3").args(["-c", script]).arg(database);
    tool.args([log.name(), &vkey, &empty])
        .run()?
        .success()
        .map(drop)
}

/// The verifier key of a cosigning SSH key: the last 32 bytes of its public half.
fn vkey_of(public: &str) -> anyhow::Result<String> {
    let blob = base64::decode(public.split(' ').nth(1).context("a key")?)?;
    let raw: &[u8; 32] = blob.last_chunk().context("32 bytes")?;
    let key = sealwright_crypto::PublicKey::from_ed25519_raw(raw)?;
    let key = NoteKey::new(Litewitness::NAME, SignatureKind::CosignatureV1, key)?;
    key.to_vkey().context("a text")
}

/// Our log among two witnesses, one of them published by others: both have to cosign.
#[test]
fn a_published_witness_cosigns_our_log() -> anyhow::Result<()> {
    let mut logs = Logs::made(1)?;
    let keys = logs.keys()?;
    let log = NoteKey::from_vkey(keys.split(' ').nth(1).context("a key")?)?;
    let Some(lite) = Litewitness::start("a_published_witness_cosigns_our_log", &log)? else {
        return Ok(());
    };
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    witness.knows(&keys)?;
    witness.start()?;
    let policy = format!(
        "witness ours {} {}\nwitness lite {} {}\ngroup both all ours lite\nquorum both\n",
        witness.vkey, witness.url, lite.vkey, lite.url
    );
    logs.configure(Some(&policy), "required")?;
    logs.start()?;
    logs.ready()
        .with_context(|| format!("{}\n{}", logs.stderr(), lite.stderr()))?;
    let theirs = NoteKey::from_vkey(&lite.vkey)?;
    for _ in 0..5 {
        let receipt = logs.receipt(0)?;
        let note = checkpoint_of(&receipt)?;
        let sizes = [
            cosigned_size(note.as_bytes(), &witness.key)?,
            cosigned_size(note.as_bytes(), &theirs)?,
        ];
        ensure!(
            sizes[0].is_some() && sizes[0] == sizes[1],
            "{sizes:?}: {note}"
        );
    }
    logs.stop()
}

/// A Go note signer's key: the name, the key id, and the seed.
fn go_signer(name: &str) -> anyhow::Result<(String, NoteKey)> {
    let private = PrivateKey::generate(KeyType::Ed25519)?;
    let key = NoteKey::for_log(name, private.public_key().clone())?;
    let pem = private.to_pkcs8_pem();
    let lines = pem.lines().filter(|line| !line.starts_with("-----"));
    let der = base64::decode(&lines.collect::<String>())?;
    // RFC 8410: the seed is an octet string in an octet string.
    let start = der
        .windows(4)
        .position(|four| four == [0x04, 0x22, 0x04, 0x20]);
    let seed = start.and_then(|start| der.get(start + 4..start + 36));
    let seed = [&[1], seed.context("a seed")?].concat();
    let id = key.to_vkey().context("a text")?;
    let id = id.split('+').nth(1).context("an id")?.to_owned();
    Ok((
        format!("PRIVATE+KEY+{name}+{id}+{}", base64::encode(&seed)),
        key,
    ))
}

/// A published log asks our witness, and shows what it says.
#[test]
fn our_witness_cosigns_a_published_log() -> anyhow::Result<()> {
    let program = workspace_root().join(".clients/bin/tessera-posix");
    if !program.exists() {
        skipped(
            "our_witness_cosigns_a_published_log",
            "tessera-posix is not installed: run `make setup`",
        );
        return Ok(());
    }
    let (private, key) = go_signer("tessera.example/log")?;
    let mut witness = Witness::fresh("witness.example.com/w1")?;
    witness.knows(&format!("{}\n", key.to_vkey().context("a text")?))?;
    witness.start()?;
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    fs::write(path("key"), private)?;
    fs::write(path("policy"), witness.policy())?;
    fs::create_dir(path("entries"))?;
    for (round, count) in [3, 300, 1].into_iter().enumerate() {
        for number in 0..count {
            fs::write(
                path("entries").join(format!("{number}")),
                format!("{round} {number}"),
            )?;
        }
        let glob = path("entries").join("*").display().to_string();
        let tool = Tool::new(&program)
            .arg("-logtostderr")
            .args(["-entries", &glob]);
        let tool = tool
            .arg("-storage_dir")
            .arg(path("log"))
            .arg("-private_key")
            .arg(path("key"));
        tool.arg("-witness_policy_file")
            .arg(path("policy"))
            .run()?
            .success()?;
        let shown = cosigned_size(&fs::read(path("log/checkpoint"))?, &witness.key)?;
        ensure!(
            shown.is_some() && shown == witness.shows("tessera.example/log")?,
            "{shown:?}"
        );
        fs::remove_dir_all(path("entries"))?;
        fs::create_dir(path("entries"))?;
    }
    ensure!(witness.shows("tessera.example/log")? == Some(304));
    Ok(())
}
