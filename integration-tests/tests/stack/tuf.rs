//! The repositories that our writer makes, followed by every published TUF client, and our client with its files on disk.
//!
//! Each client is a program that is called with the base of the metadata, the base of the targets, a folder that holds
//! `root.json`, a folder for targets, and the paths of the targets that it should bring. It exits with 0 when it brought
//! all of them. What a client cannot do is a [`Limit`], and asserted.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
};

use anyhow::{Context as _, ensure};
use sealwright_integration_tests::{Outcome, Tool, binary, skipped, workspace_root};
use sealwright_testkit::tuf_factory::{Keys, Role, Scope, TufRepository};

use crate::kill::SmallDisk;

/// A time at which everything that these tests publish has expired: 2200-01-01.
const EXPIRES: i64 = 7_258_118_400;

/// A folder behind a loopback port, which remembers what was asked of it. A path is looked up as it stands in the URL.
struct Server {
    base: String,
    dir: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn of(repository: &TufRepository) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        repository.write_to(dir.path())?;
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let base = format!("http://{}/", listener.local_addr()?);
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let (root, log) = (dir.path().to_owned(), Arc::clone(&asked));
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (root, log) = (root.clone(), Arc::clone(&log));
                // A client that has gone away has seen enough.
                thread::spawn(move || answer(&stream, &root, &log).ok());
            }
        });
        Ok(Self { base, dir, asked })
    }

    fn update(&self, repository: &TufRepository) -> anyhow::Result<()> {
        Ok(repository.write_to(self.dir.path())?)
    }

    fn targets(&self) -> String {
        format!("{}targets/", self.base)
    }

    /// What was asked since the last time, the leading slash left out.
    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut *self.asked.lock().expect("no panic while held"))
    }
}

fn answer(stream: &TcpStream, root: &Path, log: &Mutex<Vec<String>>) -> anyhow::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let path = first.split(' ').nth(1).context("a request has a path")?;
    let path = path.trim_start_matches('/');
    log.lock()
        .expect("no panic while held")
        .push(path.to_owned());
    let (status, body) = match fs::read(root.join(path)) {
        Ok(body) if !path.split('/').any(|part| part == "..") => ("200 OK", body),
        _ => ("404 Not Found", Vec::new()),
    };
    let mut stream = stream;
    write!(
        stream,
        "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    )?;
    Ok(stream.write_all(&body)?)
}

/// A TUF client and how it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Client {
    Ours,
    Python,
    Go,
    Js,
    Tough,
}

/// Somebody's folders.
struct Home {
    metadata: PathBuf,
    targets: PathBuf,
    _dir: tempfile::TempDir,
}

impl Home {
    fn starting_from(root: &[u8]) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        let home = Self {
            metadata: dir.path().join("metadata"),
            targets: dir.path().join("targets"),
            _dir: dir,
        };
        fs::create_dir(&home.metadata)?;
        fs::create_dir(&home.targets)?;
        fs::write(home.metadata.join("root.json"), root)?;
        Ok(home)
    }

    /// Whether a file with this content has been brought.
    fn has(&self, content: &[u8]) -> anyhow::Result<bool> {
        for entry in fs::read_dir(&self.targets)? {
            let path = entry?.path();
            if path.is_file() && fs::read(path)? == content {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

impl Client {
    const STRANGERS: [Self; 4] = [Self::Python, Self::Go, Self::Js, Self::Tough];
    const ALL: [Self; 5] = [Self::Ours, Self::Python, Self::Go, Self::Js, Self::Tough];

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Python => "python-tuf 7.0.1",
            Self::Go => "go-tuf 2.4.2",
            Self::Js => "tuf-js 6.0.2",
            Self::Tough => "tough 0.24.0",
        }
    }

    fn program(self) -> PathBuf {
        let root = workspace_root();
        match self {
            Self::Ours => binary("sealwright-tuf-conformance"),
            Self::Python => root.join(".venv/bin/python"),
            Self::Go => root.join(".clients/bin/client-go"),
            Self::Js => root.join("integration-tests/clients/js/node_modules/node/bin/node"),
            Self::Tough => root.join(".clients/rust/debug/client-tough"),
        }
    }

    fn script(self) -> Option<PathBuf> {
        let clients = workspace_root().join("integration-tests/clients");
        match self {
            Self::Python => Some(clients.join("python/tuf_client.py")),
            Self::Js => Some(clients.join("js/tuf.mjs")),
            _ => None,
        }
    }

    fn run(self, server: &Server, home: &Home, wanted: &[&str]) -> anyhow::Result<Outcome> {
        if self == Self::Ours {
            return ours(&server.base, &server.targets(), home, wanted).run();
        }
        let tool = Tool::new(self.program()).args(self.script());
        let tool = tool.args([&server.base, &server.targets()]);
        let tool = tool.arg(&home.metadata).arg(&home.targets);
        tool.args(wanted).run()
    }
}

/// Our program as the published suite calls it.
fn ours(metadata_url: &str, targets_url: &str, home: &Home, wanted: &[&str]) -> Tool {
    let tool = Tool::new(binary("sealwright-tuf-conformance"))
        .arg("--metadata-dir")
        .arg(&home.metadata)
        .args(["--metadata-url", metadata_url]);
    if wanted.is_empty() {
        return tool.arg("refresh");
    }
    let names = wanted.iter().flat_map(|path| ["--target-name", path]);
    tool.args(names)
        .args(["--target-base-url", targets_url, "--target-dir"])
        .arg(&home.targets)
        .arg("download")
}

/// Something a client cannot do, and the part of its words by which it is recognised.
struct Limit {
    client: Client,
    shows: &'static str,
}

/// Lets every client that is installed bring `wanted` from the repository, from its first root on.
fn everybody_follows(
    test: &str,
    repository: &TufRepository,
    wanted: &BTreeMap<&str, &[u8]>,
    limits: &[Limit],
) -> anyhow::Result<()> {
    let server = Server::of(repository)?;
    let paths: Vec<&str> = wanted.keys().copied().collect();
    for client in Client::ALL {
        if !client.program().exists() {
            skipped(
                test,
                &format!("{} is not installed: run `make setup`", client.name()),
            );
            continue;
        }
        let home = Home::starting_from(repository.first_root())?;
        let outcome = client.run(&server, &home, &paths)?;
        let limit = limits.iter().find(|limit| limit.client == client);
        if let Some(limit) = limit {
            let said = outcome.failure()?;
            ensure!(
                said.contains(limit.shows),
                "{}: its limit shows otherwise now: {said}",
                client.name()
            );
            continue;
        }
        outcome.success().with_context(|| client.name())?;
        for (path, content) in wanted {
            ensure!(home.has(content)?, "{} did not bring {path}", client.name());
        }
    }
    Ok(())
}

#[test]
fn every_client_follows_every_kind_of_key() -> anyhow::Result<()> {
    for keys in [Keys::Ed25519, Keys::EcP256, Keys::RsaPss] {
        let mut repository = TufRepository::new(keys, EXPIRES);
        repository.add("targets", "hello.txt", b"hello");
        repository.publish();
        everybody_follows(
            "every_client_follows_every_kind_of_key",
            &repository,
            &BTreeMap::from([("hello.txt", &b"hello"[..])]),
            &[],
        )
        .with_context(|| format!("{keys:?}"))?;
    }
    Ok(())
}

#[test]
fn every_client_follows_delegations() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.delegate("targets", "team-a", Scope::Patterns(&["a.*"]), true);
    repository.delegate("targets", "team-b", Scope::Patterns(&["b.*"]), false);
    repository.delegate("team-b", "team-c", Scope::Patterns(&["b.c.?"]), false);
    repository.add("team-a", "a.txt", b"by team a");
    repository.add("team-b", "b.txt", b"by team b");
    repository.add("team-c", "b.c.1", b"by team c");
    repository.publish();
    let wanted = [
        ("a.txt", &b"by team a"[..]),
        ("b.txt", b"by team b"),
        ("b.c.1", b"by team c"),
    ];
    everybody_follows(
        "every_client_follows_delegations",
        &repository,
        &BTreeMap::from(wanted),
        &[],
    )
}

/// Sixteen roles, each for the paths whose hash begins with its digit. go-tuf compares the prefixes with another spelling of
/// the hash (base64), so a repository for cosign has patterns or succinct bins.
#[test]
fn every_client_but_go_finds_a_path_by_its_hash() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::Ed25519, EXPIRES);
    let contents: Vec<String> = (0..4).map(|number| format!("file-{number}")).collect();
    for bin in 0..16 {
        let digit = format!("{bin:x}");
        let role = format!("bin-{digit}");
        repository.delegate("targets", &role, Scope::HashPrefixes(&[&digit]), false);
        for path in &contents {
            let hash = hex::encode(sealwright_crypto::sha256(path.as_bytes()));
            if hash.starts_with(&digit) {
                repository.add(&role, path, path.as_bytes());
            }
        }
    }
    repository.publish();
    let wanted = contents.iter().map(|path| (path.as_str(), path.as_bytes()));
    everybody_follows(
        "every_client_but_go_finds_a_path_by_its_hash",
        &repository,
        &wanted.collect(),
        &[Limit {
            client: Client::Go,
            shows: "target file-0 not found",
        }],
    )
}

#[test]
fn every_client_but_tough_follows_succinct_bins() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::Ed25519, EXPIRES);
    repository.delegate_to_bins("targets", "bin", 5);
    let contents: Vec<String> = (0..4).map(|number| format!("file-{number}")).collect();
    for path in &contents {
        let bin = repository.bin_of(path);
        repository.add(&bin, path, path.as_bytes());
    }
    repository.publish();
    let wanted = contents.iter().map(|path| (path.as_str(), path.as_bytes()));
    everybody_follows(
        "every_client_but_tough_follows_succinct_bins",
        &repository,
        &wanted.collect(),
        &[Limit {
            client: Client::Tough,
            shows: "roles",
        }],
    )
}

#[test]
fn every_client_follows_rotated_keys() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.add("targets", "hello.txt", b"hello");
    for role in [
        Role::Root,
        Role::Timestamp,
        Role::Targets,
        Role::Root,
        Role::Snapshot,
    ] {
        repository.rotate(role);
    }
    repository.publish();
    let server = Server::of(&repository)?;
    let wanted = BTreeMap::from([("hello.txt", &b"hello"[..])]);
    everybody_follows(
        "every_client_follows_rotated_keys",
        &repository,
        &wanted,
        &[],
    )?;

    // Once more with what a client keeps: it has seen version 6 of the root and the metadata under it.
    let before: Vec<(Client, Home)> = Client::ALL
        .into_iter()
        .filter(|client| client.program().exists())
        .map(|client| Ok((client, Home::starting_from(repository.first_root())?)))
        .collect::<anyhow::Result<_>>()?;
    for (client, home) in &before {
        client.run(&server, home, &["hello.txt"])?.success()?;
    }
    repository.add("targets", "hello.txt", b"hello again");
    repository.rotate(Role::Snapshot);
    repository.rotate(Role::Timestamp);
    repository.publish();
    server.update(&repository)?;
    for (client, home) in &before {
        client.run(&server, home, &["hello.txt"])?.success()?;
        ensure!(
            home.has(b"hello again")?,
            "{} kept the old file",
            client.name()
        );
    }
    Ok(())
}

/// The known traps: tough looks for the hash before the first directory of a target's path.
#[test]
fn a_slash_is_understood_by_all_but_tough_in_a_target_and_by_all_in_a_role() -> anyhow::Result<()> {
    let test = "a_slash_is_understood_by_all_but_tough_in_a_target_and_by_all_in_a_role";
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.add("targets", "dir/hello.txt", b"hello");
    repository.publish();
    let wanted = BTreeMap::from([("dir/hello.txt", &b"hello"[..])]);
    let limit = Limit {
        client: Client::Tough,
        shows: "dir",
    };
    everybody_follows(test, &repository, &wanted, &[limit])?;

    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.delegate("targets", "registry/team", Scope::Patterns(&["*"]), false);
    repository.add("registry/team", "hello.txt", b"hello");
    repository.publish();
    let wanted = BTreeMap::from([("hello.txt", &b"hello"[..])]);
    everybody_follows(test, &repository, &wanted, &[])
}

#[test]
fn every_client_refuses_what_our_writer_did_not_sign() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.add("targets", "hello.txt", b"hello");
    repository.publish();
    let server = Server::of(&repository)?;
    let path = server.dir.path().join("timestamp.json");
    let text = fs::read_to_string(&path)?;
    let changed = text.replace("2200-01-01", "2200-01-02");
    ensure!(changed != text, "nothing was changed");
    fs::write(&path, changed)?;
    for client in Client::ALL {
        if !client.program().exists() {
            // The other tests of this file report it.
            ensure!(client != Client::Ours, "our own client is built");
            continue;
        }
        let home = Home::starting_from(repository.first_root())?;
        let said = client.run(&server, &home, &["hello.txt"])?.failure()?;
        ensure!(!home.has(b"hello")?, "{}: {said}", client.name());
    }
    ensure!(
        Client::STRANGERS.len() == 4,
        "four published clients are asked"
    );
    Ok(())
}

#[test]
fn a_target_that_is_there_and_right_is_not_fetched_again() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::Ed25519, EXPIRES);
    repository.add("targets", "dir/../hello.txt", b"hello");
    repository.add("targets", ".hidden", b"hidden");
    repository.publish();
    let server = Server::of(&repository)?;
    let home = Home::starting_from(repository.first_root())?;
    let download = || {
        ours(&server.base, &server.targets(), &home, &[".hidden"])
            .run()?
            .success()
    };
    download()?;
    let asked = server.asked();
    ensure!(asked.len() == 5, "{asked:?}");
    download()?;
    ensure!(
        server.asked() == ["2.root.json", "timestamp.json"],
        "something was fetched again"
    );

    // A damaged copy is fetched anew; nothing is written outside of the folder or hidden in it.
    let kept = home.targets.join("%2Ehidden");
    fs::write(&kept, b"h1dden")?;
    download()?;
    ensure!(fs::read(&kept)? == b"hidden");
    let names: Vec<_> = fs::read_dir(&home.targets)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<anyhow::Result<_>>()?;
    ensure!(names == ["%2Ehidden"], "{names:?}");
    Ok(())
}

#[test]
fn the_protocol_of_the_published_suite_is_spoken() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::Ed25519, EXPIRES);
    repository.add("targets", "a", b"content of a");
    repository.add("targets", "c", b"content of c");
    repository.publish();
    let server = Server::of(&repository)?;
    let home = Home::starting_from(repository.first_root())?;
    let root = home.targets.with_file_name("given.json");
    let init = |root: &Path| {
        let program = Tool::new(binary("sealwright-tuf-conformance"));
        let tool = program.arg("--metadata-dir").arg(&home.metadata);
        tool.arg("init").arg(root).run()
    };
    fs::remove_file(home.metadata.join("root.json"))?;
    fs::write(&root, b"{}")?;
    init(&root)?.code(1)?;
    let said = ours(&server.base, "", &home, &[]).run()?.code(1)?;
    ensure!(said.contains("no trusted root.json"), "{said}");
    ensure!(
        server.asked().is_empty(),
        "something was asked without a root"
    );

    fs::write(&root, repository.first_root())?;
    init(&root)?.success()?;
    ensure!(server.asked().is_empty(), "init asks nobody");
    ours(&server.base, "", &home, &[]).run()?.success()?;
    for role in ["root", "timestamp", "snapshot", "targets"] {
        ensure!(
            home.metadata.join(format!("{role}.json")).exists(),
            "{role}"
        );
    }

    // In their order, until one fails.
    let tool = ours(&server.base, &server.targets(), &home, &["a", "b", "c"]);
    let said = tool.run()?.code(1)?;
    ensure!(said.contains("no target \"b\""), "{said}");
    ensure!(home.has(b"content of a")? && !home.has(b"content of c")?);

    for broken in [
        vec!["refresh"],
        vec!["--metadata-url", "ftp://127.0.0.1/", "refresh"],
        vec!["--metadata-url", &server.base, "download"],
    ] {
        let program = Tool::new(binary("sealwright-tuf-conformance"));
        let tool = program.arg("--metadata-dir").arg(&home.metadata);
        tool.args(broken).run()?.code(1)?;
    }
    Tool::new(binary("sealwright-tuf-conformance"))
        .run()?
        .code(2)?;
    Ok(())
}

#[test]
fn the_clock_of_libc_decides_what_has_expired() -> anyhow::Result<()> {
    if !Path::new("/usr/bin/faketime").exists() {
        skipped(
            "the_clock_of_libc_decides_what_has_expired",
            "faketime is not installed: run `make setup`",
        );
        return Ok(());
    }
    let repository = TufRepository::new(Keys::Ed25519, EXPIRES);
    let server = Server::of(&repository)?;
    let home = Home::starting_from(repository.first_root())?;
    let at = |time: &str| {
        Tool::new("/usr/bin/faketime")
            .arg(time)
            .arg(binary("sealwright-tuf-conformance"))
            .arg("--metadata-dir")
            .arg(&home.metadata)
            .args(["--metadata-url", &server.base, "refresh"])
            .env("TZ", "UTC")
            .run()
    };
    at("2199-12-30 00:00:00")?.success()?;
    let said = at("2200-01-01 00:00:01")?.code(1)?;
    ensure!(
        said.contains("root expired at 2200-01-01T00:00:00Z"),
        "{said}"
    );
    Ok(())
}

#[test]
fn a_mirror_on_a_disk_serves_a_machine_without_a_network() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    repository.delegate(
        "targets",
        "registry/team",
        Scope::Patterns(&["dir/*"]),
        false,
    );
    repository.add("registry/team", "dir/a b.txt", b"content");
    repository.rotate(Role::Root);
    repository.publish();
    // Two ways to copy a repository: names as in the URL, and as a web server looks them up.
    for decoded in [false, true] {
        let mirror = tempfile::tempdir()?;
        let dir = mirror.path().join("a mirror");
        repository.write_to(&dir)?;
        if decoded {
            fs::create_dir(dir.join("2.registry"))?;
            fs::rename(
                dir.join("2.registry%2Fteam.json"),
                dir.join("2.registry/team.json"),
            )?;
        }
        let home = Home::starting_from(repository.first_root())?;
        let base = format!("file://{}", dir.display()).replace(' ', "%20");
        let targets = format!("{base}/targets");
        ours(&base, &targets, &home, &["dir/a b.txt"])
            .run()?
            .success()?;
        ensure!(home.has(b"content")?);
        // The mirror is no more to be believed than a server.
        let hash = hex::encode(sealwright_crypto::sha256(b"content"));
        let file = dir.join(format!("targets/dir/{hash}.a%20b.txt"));
        fs::write(file, b"c0ntent")?;
        fs::remove_dir_all(&home.targets)?;
        fs::create_dir(&home.targets)?;
        let said = ours(&base, &targets, &home, &["dir/a b.txt"])
            .run()?
            .code(1)?;
        ensure!(said.contains("does not have the hash"), "{said}");
    }
    Ok(())
}

#[test]
fn many_refreshes_at_once_leave_one_whole_state() -> anyhow::Result<()> {
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    for role in [Role::Root, Role::Timestamp, Role::Snapshot] {
        repository.rotate(role);
        repository.publish();
    }
    repository.add("targets", "hello.txt", b"hello");
    repository.publish();
    let server = Server::of(&repository)?;
    let home = Home::starting_from(repository.first_root())?;
    thread::scope(|scope| {
        let runs: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let tool = ours(&server.base, &server.targets(), &home, &["hello.txt"]);
                    tool.run()?.success()
                })
            })
            .collect();
        for run in runs {
            run.join().expect("a run does not panic")?;
        }
        anyhow::Ok(())
    })?;
    for (kept, published) in [
        ("root.json", "4.root.json"),
        ("timestamp.json", "timestamp.json"),
        ("snapshot.json", "5.snapshot.json"),
        ("targets.json", "5.targets.json"),
    ] {
        let kept = fs::read(home.metadata.join(kept))?;
        ensure!(&kept == repository.files.get(published).context(published)?);
    }
    let left: Vec<_> = fs::read_dir(&home.metadata)?.collect();
    ensure!(left.len() == 5, "four files and the lock: {left:?}");
    Ok(())
}

#[test]
fn a_full_disk_keeps_what_was_trusted() -> anyhow::Result<()> {
    let test = "a_full_disk_keeps_what_was_trusted";
    let mut repository = TufRepository::new(Keys::EcP256, EXPIRES);
    let server = Server::of(&repository)?;
    let mut home = Home::starting_from(repository.first_root())?;
    let mount = home.targets.with_file_name("disk");
    let Ok(_disk) = SmallDisk::mount(&mount, 1) else {
        skipped(test, "a file system cannot be mounted here");
        return Ok(());
    };
    home.metadata = mount.join("metadata");
    fs::create_dir(&home.metadata)?;
    fs::write(home.metadata.join("root.json"), repository.first_root())?;
    ours(&server.base, "", &home, &[]).run()?.success()?;
    let before = contents(&home.metadata)?;

    repository.publish();
    server.update(&repository)?;
    let filler = mount.join("filler");
    // Written until nothing more fits: that it fails is the point.
    let mut file = fs::File::create(&filler)?;
    while file.write_all(&[0; 4096]).is_ok() {}
    drop(file);
    let said = ours(&server.base, "", &home, &[]).run()?.code(1)?;
    ensure!(said.contains("the local trust store failed at"), "{said}");
    ensure!(
        contents(&home.metadata)? == before,
        "a full disk changed something"
    );

    fs::remove_file(filler)?;
    ours(&server.base, "", &home, &[]).run()?.success()?;
    let kept = fs::read(home.metadata.join("timestamp.json"))?;
    ensure!(Some(&kept) == repository.files.get("timestamp.json"));
    Ok(())
}

/// Documents that once mattered, and what their changes are made from.
const DOCUMENTS: [&str; 12] = [
    r#"{"b":[1,-2,{}],"a":null,"B":true,"\u00e9":false,"":""}"#,
    r#"{"k":"a\"b\\c\nd\u0001\u00e9\/\ud83d\ude00","\ud83d\ude00":1,"\uffff":2}"#,
    r#"{"signed":{"_type":"root","version":12,"expires":"2030-01-01T00:00:00Z","keys":{},"x":[[[]]]}}"#,
    "[9223372036854775807,-9223372036854775808,18446744073709551615,0]",
    "[18446744073709551616]",
    r#"{"a":1.0}"#,
    r#"{"a":1e3}"#,
    r#"["\ud800"]"#,
    r#"{"a":1,"a":2}"#,
    "\"\u{7f}\u{80}\u{2028}\"",
    " [ true , false ] ",
    "-0",
];

/// Whatever has a canonical form here has the same there. What we refuse and they take (a member twice, integers beyond 64
/// bits, a minus before zero) is refused so that no two readers can differ.
#[test]
fn canonical_json_is_what_securesystemslib_makes() -> anyhow::Result<()> {
    use rand::{SeedableRng as _, rngs::StdRng};
    use sealwright_testkit::mutate::{Format, mutate, pick};
    use sealwright_tuf::canonical;

    let Some(python) =
        sealwright_integration_tests::python("canonical_json_is_what_securesystemslib_makes")
    else {
        return Ok(());
    };
    let random = match std::env::var("SEALWRIGHT_SEED") {
        Ok(text) => text.parse().context("SEALWRIGHT_SEED is a number")?,
        Err(_) => rand::random(),
    };
    println!("seed {random} (repeat with SEALWRIGHT_SEED={random})");
    let mut documents: Vec<Vec<u8>> = DOCUMENTS.map(|text| text.as_bytes().to_vec()).into();
    // What still has a form is changed further.
    let mut whole = documents.clone();
    for seed in [1, random] {
        let mut rng = StdRng::seed_from_u64(seed);
        for _ in 0..2000 {
            let (one, other) = (pick(&mut rng, &whole), pick(&mut rng, &whole));
            let (Some(one), Some(other)) = (one.cloned(), other.cloned()) else {
                continue;
            };
            let words = &["\\u0000", "1e1", "null"];
            let changed = mutate(&mut rng, Format::Json, &one, &other, words);
            // Longer ones say no more.
            if changed.len() > 400 {
                continue;
            }
            if canonical::parse(&changed).is_ok() {
                whole.push(changed.clone());
            }
            documents.push(changed);
        }
    }
    let lines: Vec<String> = documents.iter().map(hex::encode).collect();
    let script = workspace_root().join("integration-tests/clients/python/canonical.py");
    let said = Tool::new(python)
        .arg(script)
        .run_with_input((lines.join("\n") + "\n").as_bytes())?
        .success()?;
    let theirs: Vec<&str> = said.split('\n').collect();
    ensure!(
        theirs.len() == documents.len() + 1,
        "{} answers",
        theirs.len()
    );
    let mut taken = 0;
    for (document, theirs) in documents.iter().zip(theirs) {
        let shown = String::from_utf8_lossy(document);
        let ours = canonical::parse(document).and_then(|value| canonical::encode(&value));
        let Ok(ours) = ours else { continue };
        taken += 1;
        ensure!(hex::encode(ours) == theirs, "{shown:?} differs: {theirs:?}");
    }
    println!(
        "{taken} of {} documents have a canonical form",
        documents.len()
    );
    ensure!(taken > 500, "only {taken} documents were compared");
    Ok(())
}

fn contents(dir: &Path) -> anyhow::Result<BTreeMap<PathBuf, Vec<u8>>> {
    let entries = fs::read_dir(dir)?.map(|entry| {
        let path = entry?.path();
        let bytes = fs::read(&path)?;
        Ok((path, bytes))
    });
    entries.collect()
}
