//! The files of a log are judged by strangers: a plain web server gives them out, published programs derive every hash
//! again, and copies of a folder that goes on growing are sound.

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use sealwright_crypto::{KeyType, PrivateKey, PublicKey, base64};
use sealwright_integration_tests::{
    ClientView, Daemon, Outcome, Tool, artifact, entry_request, http, skipped, workspace_root,
};
use sealwright_tlog::{Checkpoint, NoteKey};
use serde_json::Value;

/// Folders of the logs below a development directory.
const SIGNATURES: &str = "log/signatures/public";
const CERTIFICATES: &str = "log/dev/public";

/// What may be kept for good.
const IMMUTABLE: &str = "public, max-age=604800, immutable";

// Strangers.

/// A published client, or `None`, reported as skipped, where it is not installed.
fn client(name: &str, test: &str) -> Option<PathBuf> {
    let path = workspace_root().join(".clients/bin").join(name);
    if path.exists() {
        return Some(path);
    }
    skipped(test, &format!("{name} is not installed: run `make setup`"));
    None
}

/// Whether a program of the system is there; reported as skipped where not.
fn has(program: &str, test: &str) -> bool {
    let found = ["/usr/sbin", "/usr/bin", "/bin"]
        .iter()
        .any(|folder| Path::new(folder).join(program).exists());
    if !found {
        skipped(
            test,
            &format!("{program} is not installed: run `make setup`"),
        );
    }
    found
}

/// What such a client says of a log: the size of the tree that it derived from the entries, or what was wrong. Its exit code
/// says nothing; it logs one of two sentences.
fn verdict(outcome: Outcome) -> Result<u64, String> {
    let said = outcome.stderr;
    let size = said
        .split_once("Successfully fsck'd log with size ")
        .and_then(|(_, rest)| rest.split_whitespace().next()?.parse().ok());
    match size {
        Some(size) if !said.contains("fsck failed") => Ok(size),
        _ => Err(said),
    }
}

/// Tessera's fsck on a signature log at `url`, `http://` or `file://`.
fn tessera(program: &Path, url: &str, key: &Path) -> anyhow::Result<Result<u64, String>> {
    let tool = Tool::new(program).args(["-ui=false", "-N=4", "-storage_url", url, "-public_key"]);
    Ok(verdict(tool.arg(key).run()?))
}

/// TesseraCT's fsck on a certificate log.
fn tesseract(program: &Path, url: &str, ct: &CtLog) -> anyhow::Result<Result<u64, String>> {
    let tool = Tool::new(program)
        .args(["-ui=false", "-N=2", "-monitoring_url", url])
        .args(["-origin", &ct.origin, "-public_key", &ct.key]);
    Ok(verdict(tool.run()?))
}

/// nginx on the files of a development directory, with the configuration that we ship.
struct Nginx {
    process: Child,
    base: String,
    _scratch: tempfile::TempDir,
}

impl Nginx {
    /// nginx cannot be asked for a free port, so one is looked for that nobody takes in between.
    fn on(dir: &Path) -> anyhow::Result<Self> {
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
            if let Some(nginx) = Self::at(free, dir)? {
                return Ok(nginx);
            }
        }
        anyhow::bail!("nginx does not listen")
    }

    /// `None` when it ends, since somebody else has the port.
    fn at(address: SocketAddr, dir: &Path) -> anyhow::Result<Option<Self>> {
        let scratch = tempfile::tempdir()?;
        let file = scratch.path().join("nginx.conf");
        fs::write(&file, configuration(address, dir, scratch.path())?)?;
        let process = Command::new("nginx")
            .arg("-c")
            .arg(&file)
            .env("PATH", "/usr/sbin:/usr/bin:/bin")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("nginx starts")?;
        let mut nginx = Self {
            process,
            base: format!("http://{address}"),
            _scratch: scratch,
        };
        while nginx.process.try_wait()?.is_none() {
            if TcpStream::connect(address).is_ok() {
                return Ok(Some(nginx));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(None)
    }

    /// Base of the signature log, with the slash that clients want.
    fn signatures(&self) -> String {
        format!("{}/api/v2/", self.base)
    }
}

/// What we ship, with an address and folders of this test in place of the examples, around it one process in the foreground
/// that keeps its files in `scratch`.
fn configuration(address: SocketAddr, dir: &Path, scratch: &Path) -> anyhow::Result<String> {
    let mut server = fs::read_to_string(workspace_root().join("deploy/nginx/log.conf"))?;
    for (example, value) in [
        ("listen 80;", format!("listen {address};")),
        (
            "/var/lib/sealwright/log/signatures/public",
            dir.join(SIGNATURES).display().to_string(),
        ),
        (
            "/var/lib/sealwright/log/dev/public",
            dir.join(CERTIFICATES).display().to_string(),
        ),
    ] {
        ensure!(server.contains(example), "{example} is not in it");
        server = server.replace(example, &value);
    }
    let file = |name: &str| scratch.join(name).display().to_string();
    let folders: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("    {name}_temp_path {};\n", file(name)))
        .collect();
    Ok(format!(
        "daemon off;\nmaster_process off;\npid {};\nerror_log {} notice;\nevents {{}}\nhttp {{\n    access_log off;\n{folders}{server}}}\n",
        file("nginx.pid"),
        file("error.log"),
    ))
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // It may have ended already; then there is nothing to kill.
        let _unimportant = self.process.kill();
        let _unimportant = self.process.wait();
    }
}

// Logs.

fn trusted_key(view: &ClientView, logs: &str) -> anyhow::Result<PublicKey> {
    let root: Value = serde_json::from_slice(&fs::read(view.client_file("trusted_root.json"))?)?;
    let key = &root[logs][0]["publicKey"]["rawBytes"];
    let der = base64::decode(key.as_str().context("a key in the trusted root")?)?;
    Ok(PublicKey::from_spki_der(&der)?)
}

/// A signature log under test, and the file with the key that strangers believe it by.
struct SignatureLog {
    key: NoteKey,
    vkey: PathBuf,
}

impl SignatureLog {
    fn of(daemon: &Daemon, scratch: &Path) -> anyhow::Result<Self> {
        let key = NoteKey::for_log("127.0.0.1", trusted_key(daemon, "tlogs")?)?;
        let vkey = scratch.join("log.vkey");
        fs::write(&vkey, key.to_vkey().context("a key of two parts")?)?;
        Ok(Self { key, vkey })
    }

    /// Size of a checkpoint, which must be signed by the log.
    fn size(&self, checkpoint: &[u8]) -> anyhow::Result<u64> {
        let keys = std::slice::from_ref(&self.key);
        let opened = Checkpoint::open(checkpoint, self.key.name(), keys)?;
        Ok(opened.checkpoint().size)
    }

    /// Waits until the public file says that the tree has `size` entries. A new log has no such file for a moment.
    fn await_file(&self, dir: &Path, size: u64) -> anyhow::Result<()> {
        let path = dir.join(SIGNATURES).join("checkpoint");
        for _ in 0..600 {
            let seen = match fs::read(&path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                read => Some(self.size(&read?)?),
            };
            if seen.is_some_and(|seen| seen >= size) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the public checkpoint does not reach {size} entries")
    }
}

/// A certificate log as strangers name it.
struct CtLog {
    origin: String,
    /// SubjectPublicKeyInfo, DER in base64.
    key: String,
}

impl CtLog {
    fn of(daemon: &Daemon) -> anyhow::Result<Self> {
        Ok(Self {
            origin: daemon.endpoints().ct.replace("http://", ""),
            key: base64::encode(trusted_key(daemon, "ctlogs")?.spki_der()),
        })
    }
}

/// Logs entries from several threads, `count` in all, numbered from `from` on.
fn write(url: &str, from: u64, count: u64) -> anyhow::Result<()> {
    let next = AtomicU64::new(from);
    thread::scope(|scope| {
        let writers: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| -> anyhow::Result<()> {
                    let (client, key) = (http(), PrivateKey::generate(KeyType::EcP256)?);
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= from + count {
                            return Ok(());
                        }
                        let request = entry_request(&key, &number.to_le_bytes())?;
                        let path = format!("{url}/api/v2/log/entries");
                        let answer = client.post(path).json(&request).send()?;
                        ensure!(answer.status() == 201, "{}", answer.text()?);
                    }
                })
            })
            .collect();
        for writer in writers {
            writer.join().expect("a writer does not panic")?;
        }
        Ok(())
    })
}

/// Runs `act` while entries are logged without a pause; answers how many were.
fn while_writing(
    url: &str,
    from: u64,
    act: impl FnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<u64> {
    let (stop, written) = (AtomicBool::new(false), AtomicU64::new(0));
    thread::scope(|scope| {
        let writer = scope.spawn(|| -> anyhow::Result<()> {
            while !stop.load(Ordering::Relaxed) {
                let so_far = written.load(Ordering::Relaxed);
                write(url, from + so_far, 32)?;
                written.fetch_add(32, Ordering::Relaxed);
            }
            Ok(())
        });
        let acted = act();
        stop.store(true, Ordering::Relaxed);
        writer.join().expect("the writer does not panic")?;
        acted.map(|()| written.load(Ordering::Relaxed))
    })
}

fn header<'a>(response: &'a reqwest::blocking::Response, name: &str) -> &'a str {
    let value = response.headers().get(name);
    value
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
}

#[test]
fn a_published_client_believes_the_files_over_plain_nginx_while_they_grow_and_after()
-> anyhow::Result<()> {
    let test = "the files of a log over nginx";
    let Some(program) = client("tessera-fsck", test) else {
        return Ok(());
    };
    if !has("nginx", test) {
        return Ok(());
    }
    let scratch = tempfile::tempdir()?;
    let mut daemon = Daemon::fresh()?;
    let (url, dir) = (daemon.endpoints().log.clone(), daemon.dir().to_owned());
    let log = SignatureLog::of(&daemon, scratch.path())?;
    let nginx = Nginx::on(&dir)?;
    write(&url, 0, 250)?;
    log.await_file(&dir, 1)?;
    let more = while_writing(&url, 250, || {
        let mut last = 0;
        for _ in 0..6 {
            let size = tessera(&program, &nginx.signatures(), &log.vkey)?;
            let size = size.map_err(|said| anyhow::anyhow!("{said}"))?;
            ensure!(size >= last, "the log shrank from {last} to {size}");
            last = size;
        }
        Ok(())
    })?;
    let all = 250 + more;
    log.await_file(&dir, all)?;
    let believed = tessera(&program, &nginx.signatures(), &log.vkey)?;
    assert_eq!(believed, Ok(all), "the whole log");
    assert!(all > 256, "a tile was filled");
    println!("{all} entries believed over nginx");

    let get = |path: &str| http().get(format!("{}{path}", nginx.signatures())).send();
    let checkpoint = get("checkpoint")?;
    assert_eq!(header(&checkpoint, "cache-control"), "no-cache");
    assert_eq!(
        header(&checkpoint, "content-type"),
        "text/plain; charset=utf-8"
    );
    assert_eq!(
        header(&checkpoint, "etag"),
        "",
        "a tag of seconds would lie"
    );
    assert_eq!(header(&checkpoint, "last-modified"), "");
    let tile = get("tile/0/000")?;
    assert_eq!(header(&tile, "cache-control"), IMMUTABLE);
    assert_eq!(header(&tile, "content-type"), "application/octet-stream");
    assert_eq!(tile.bytes()?.len(), 8192);
    let bundle = http()
        .get(format!("{}tile/entries/000", nginx.signatures()))
        .header("accept-encoding", "gzip")
        .send()?;
    assert_eq!(header(&bundle, "content-encoding"), "gzip");
    assert_eq!(header(&bundle, "cache-control"), IMMUTABLE);
    let absent = get("tile/0/999")?;
    assert_eq!(absent.status(), 404);
    assert_eq!(header(&absent, "cache-control"), "no-store");

    let (status, _) = daemon.terminate()?;
    assert!(status.success(), "{status}");
    let believed = tessera(&program, &nginx.signatures(), &log.vkey)?;
    assert_eq!(believed, Ok(all), "the daemon is not needed");
    Ok(())
}

#[test]
fn a_published_client_believes_our_own_server_while_the_log_grows() -> anyhow::Result<()> {
    let Some(program) = client("tessera-fsck", "our reads by a published client") else {
        return Ok(());
    };
    let scratch = tempfile::tempdir()?;
    let daemon = Daemon::fresh()?;
    let url = daemon.endpoints().log.clone();
    let log = SignatureLog::of(&daemon, scratch.path())?;
    let base = format!("{url}/api/v2/");
    write(&url, 0, 10)?;
    let more = while_writing(&url, 10, || {
        for _ in 0..4 {
            let size = tessera(&program, &base, &log.vkey)?;
            size.map_err(|said| anyhow::anyhow!("{said}"))?;
        }
        Ok(())
    })?;
    let believed = tessera(&program, &base, &log.vkey)?;
    assert_eq!(believed, Ok(10 + more));
    Ok(())
}

#[test]
fn a_published_client_believes_the_certificate_log_over_nginx_and_from_us() -> anyhow::Result<()> {
    let test = "the certificate log by a published client";
    let Some(program) = client("tesseract-fsck", test) else {
        return Ok(());
    };
    if !has("nginx", test) {
        return Ok(());
    }
    let mut daemon = Daemon::fresh()?;
    for number in 0..3_u8 {
        let (_scratch, file) = artifact(&[number])?;
        daemon.sign(&file)?;
    }
    let log = CtLog::of(&daemon)?;
    let ours = format!("{}/", daemon.endpoints().ct.trim_end_matches('/'));
    assert_eq!(tesseract(&program, &ours, &log)?, Ok(3));
    let dir = daemon.dir().to_owned();
    let (status, _) = daemon.terminate()?;
    assert!(status.success(), "{status}");
    let nginx = Nginx::on(&dir)?;
    let base = format!("{}/ct/dev/", nginx.base);
    assert_eq!(tesseract(&program, &base, &log)?, Ok(3));

    // That version ends before it has fetched the issuers of a log as small as this one.
    let mut issuers = 0;
    for file in fs::read_dir(dir.join(CERTIFICATES).join("issuer"))? {
        let name = file?.file_name().to_string_lossy().into_owned();
        let issuer = http().get(format!("{base}issuer/{name}")).send()?;
        assert_eq!(header(&issuer, "content-type"), "application/pkix-cert");
        assert_eq!(header(&issuer, "cache-control"), IMMUTABLE);
        assert_eq!(
            hex::encode(sealwright_crypto::sha256(&issuer.bytes()?)),
            name
        );
        issuers += 1;
    }
    assert!(issuers >= 2, "the issuing authority and its root");

    let data = dir.join(CERTIFICATES).join("tile/data/000.p/3");
    let mut bytes = fs::read(&data)?;
    bytes[100] ^= 1;
    fs::write(&data, bytes)?;
    let believed = tesseract(&program, &base, &log)?;
    assert!(believed.is_err(), "a changed entry was believed");
    Ok(())
}

/// Copies while the log is written, as the documentation says: the checkpoint first, and again when something vanished.
fn copy_live(from: &Path, to: &Path, copy: &[&str]) -> anyhow::Result<()> {
    fs::create_dir_all(to)?;
    fs::copy(from.join("checkpoint"), to.join("checkpoint"))?;
    for _ in 0..20 {
        let mut tool = Tool::new(copy[0]).args(&copy[1..]);
        tool = tool.arg(from.join("tile")).arg(to);
        if tool.run()?.code == Some(0) {
            return Ok(());
        }
    }
    anyhow::bail!("{copy:?} never ended well")
}

#[test]
fn copies_of_a_growing_folder_are_sound_and_a_changed_byte_is_found() -> anyhow::Result<()> {
    let test = "copies of a growing folder";
    let Some(program) = client("tessera-fsck", test) else {
        return Ok(());
    };
    let rsync = has("rsync", test);
    let scratch = tempfile::tempdir()?;
    let daemon = Daemon::fresh()?;
    let url = daemon.endpoints().log.clone();
    let log = SignatureLog::of(&daemon, scratch.path())?;
    let live = daemon.dir().join(SIGNATURES);
    write(&url, 0, 240)?;
    log.await_file(daemon.dir(), 1)?;
    let copies = scratch.path().join("copies");
    while_writing(&url, 240, || {
        for round in 0..4 {
            let mut ways: Vec<(&str, &[&str])> = vec![("cp", &["cp", "-a"])];
            if rsync {
                ways.push(("rsync", &["rsync", "-a"]));
            }
            for (name, way) in ways {
                let copy = copies.join(format!("{name}-{round}"));
                copy_live(&live, &copy, way)?;
                let url = format!("file://{}", copy.display());
                let size = log.size(&fs::read(copy.join("checkpoint"))?)?;
                let believed = tessera(&program, &url, &log.vkey)?;
                ensure!(believed == Ok(size), "{name}: {believed:?}, not {size}");
            }
        }
        Ok(())
    })?;
    log.await_file(daemon.dir(), 257)?;

    for file in ["tile/0/000", "tile/1/000.p/1", "tile/entries/000"] {
        let copy = copies.join(file.replace('/', "-"));
        copy_live(&live, &copy, &["cp", "-a"])?;
        let path = copy.join(file);
        let mut bytes = fs::read(&path).with_context(|| path.display().to_string())?;
        bytes[40 % 32] ^= 1;
        fs::write(&path, bytes)?;
        let url = format!("file://{}", copy.display());
        let believed = tessera(&program, &url, &log.vkey)?;
        assert!(believed.is_err(), "{file} was changed and believed");
    }
    Ok(())
}
