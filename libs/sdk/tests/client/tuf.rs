//! Following a TUF repository: mirrors that hold back, drip or never end; stores that two share; names no disk would take.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use std::time::Duration;

use sealwright_sdk::tuf::{Client, DirectoryStore, Error, Mirror, Place, TargetDirectory};
use sealwright_sdk::{Freshness, Http, HttpOptions, Profile};
use sealwright_testkit::bundle_factory::World;
use sealwright_testkit::tuf_factory::{Keys, Role, Scope, TufRepository};
use sealwright_tuf::{Fetch as _, FetchError, Store as _};

const NOW: i64 = 1_800_000_000;
const LATER: i64 = NOW + 86_400;
const PATIENCE: Duration = Duration::from_secs(10);

fn impatient() -> Http {
    let mut options = HttpOptions::default();
    options.attempt_timeout = Duration::from_millis(300);
    Http::new(options)
}

/// Answers every request by one rule, on a loopback port.
fn server(answer: impl Fn(&mut TcpStream) -> io::Result<()> + Send + Sync + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut lines = BufReader::new(stream.try_clone().expect("a handle")).lines();
            while lines
                .next()
                .is_some_and(|line| line.is_ok_and(|line| !line.is_empty()))
            {}
            // A client that has gone away has seen enough.
            let _ = answer(&mut stream);
        }
    });
    url
}

fn file_url(dir: &Path) -> String {
    format!("file://{}", dir.display())
}

async fn fetch(url: &str, max_length: u64) -> Result<Vec<u8>, FetchError> {
    let http = impatient();
    let mirror = Mirror::sigstore(&http, url).expect("a URL");
    mirror
        .fetch(Place::Metadata, "timestamp.json", max_length)
        .await
}

#[tokio::test]
async fn an_answer_that_drips_is_given_up() {
    let url = server(|stream| {
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n")?;
        loop {
            stream.write_all(b"x")?;
            thread::sleep(Duration::from_millis(20));
        }
    });
    let refusal = fetch(&url, 100_000).await.expect_err("it never ends");
    let said = refusal.to_string();
    assert!(said.contains("slower than 8192 bytes a second"), "{said}");
}

#[tokio::test]
async fn an_answer_that_keeps_coming_may_take_longer_than_one_attempt() {
    const PIECE: usize = 32 * 1024;
    let url = server(|stream| {
        let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 6 * PIECE);
        stream.write_all(head.as_bytes())?;
        for _ in 0..6 {
            stream.write_all(&[b'x'; PIECE])?;
            thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    });
    let bytes = fetch(&url, 1 << 20).await.expect("it comes");
    assert_eq!(bytes.len(), 6 * PIECE);
}

#[tokio::test]
async fn endless_data_is_cut_with_and_without_a_length() {
    for head in [
        "HTTP/1.1 200 OK\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
    ] {
        let url = server(move |stream| {
            stream.write_all(head.as_bytes())?;
            loop {
                stream.write_all(b"400\r\n")?;
                stream.write_all(&[b'x'; 1024])?;
                stream.write_all(b"\r\n")?;
            }
        });
        let refusal = fetch(&url, 16_384).await;
        assert!(
            matches!(refusal, Err(FetchError::TooLarge)),
            "{head}: {refusal:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_cannot_be_told() {
    for (status, absent) in [
        (403, true),
        (404, true),
        (401, false),
        (410, false),
        (500, false),
    ] {
        let url = server(move |stream| {
            write!(
                stream,
                "HTTP/1.1 {status} X\r\ncontent-length: 0\r\nretry-after: 0\r\n\r\n"
            )
        });
        let outcome = fetch(&url, 100).await;
        assert_eq!(
            matches!(outcome, Err(FetchError::NotFound)),
            absent,
            "{status}"
        );
        assert!(outcome.is_err(), "{status}");
    }
}

#[test]
fn a_mirror_is_on_the_web_or_on_a_disk() {
    let http = impatient();
    for url in [
        "http://127.0.0.1/tuf",
        "HTTPS://tuf.example.com",
        "file:///srv/tuf",
        "file://localhost/srv",
    ] {
        assert!(Mirror::sigstore(&http, url).is_ok(), "{url}");
    }
    for url in [
        "",
        "/srv/tuf",
        "ftp://host/",
        "file://host/srv",
        "file://srv",
        "http://",
        "file:///%zz",
        "file:///%ff",
        "https:///tuf",
        "https://tuf.example.com/?mirror=",
        "https://tuf.example.com/#",
        "https://user:hunter2@tuf.example.com/",
    ] {
        let error = Mirror::sigstore(&http, url).expect_err(url).to_string();
        assert!(error.contains("http, https or file"), "{error}");
        assert!(!error.contains("hunter2"), "{error}");
    }
}

#[tokio::test]
async fn nothing_outside_of_a_mirror_on_disk_is_read() {
    let outer = tempfile::tempdir().expect("a directory");
    let dir = outer.path().join("mirror");
    std::fs::create_dir_all(dir.join("deep")).expect("a directory");
    for (path, content) in [
        ("secret.json", "secret"),
        ("mirror/deep/1.role.json", "decoded"),
        ("mirror/1.a%2Fb.json", "as it is"),
    ] {
        std::fs::write(outer.path().join(path), content).expect("a file");
    }
    let http = impatient();
    let mirror = Mirror::sigstore(&http, &file_url(&dir)).expect("a URL");
    let read = async |name: &str, limit| mirror.fetch(Place::Metadata, name, limit).await;
    assert_eq!(
        read("deep%2F1.role.json", 7).await.expect("decoded"),
        b"decoded"
    );
    assert_eq!(
        read("1.a%2Fb.json", 8).await.expect("as it is"),
        b"as it is"
    );
    assert!(matches!(
        read("1.a%2Fb.json", 7).await,
        Err(FetchError::TooLarge)
    ));
    for name in [
        "..%2Fsecret.json",
        "../secret.json",
        "deep%2F..%2F..%2Fsecret.json",
        "%2Fetc%2Fpasswd",
        "deep",
        "",
        "%00",
        &"x".repeat(300),
    ] {
        let outcome = read(name, 100).await;
        assert!(
            matches!(outcome, Err(FetchError::NotFound)),
            "{name}: {outcome:?}"
        );
    }
}

#[tokio::test]
async fn a_store_has_one_writer_at_a_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let repository = TufRepository::new(Keys::Ed25519, LATER);
    DirectoryStore::bootstrap(dir.path(), repository.first_root(), PATIENCE)
        .await
        .expect("a root");
    let held = DirectoryStore::exclusive(dir.path(), PATIENCE)
        .await
        .expect("nobody else");
    let refused = DirectoryStore::exclusive(dir.path(), Duration::from_millis(50)).await;
    assert!(
        matches!(&refused, Err(Error::Store { source, .. }) if source.kind() == io::ErrorKind::WouldBlock),
        "{refused:?}"
    );
    let waiting = DirectoryStore::exclusive(dir.path(), PATIENCE);
    let (store, ()) = tokio::join!(waiting, async { drop(held) });
    store.expect("the other has gone");

    let mut reader = DirectoryStore::reader(dir.path());
    assert!(reader.load("root.json").expect("it is read").is_some());
    assert!(reader.save("root.json", b"{}").is_err());
    assert!(reader.remove("root.json").is_err());
    assert_eq!(
        reader.load("root.json").expect("it is read").as_deref(),
        Some(repository.first_root())
    );

    for place in ["missing", "file"] {
        let place = dir.path().join(place);
        if place.ends_with("file") {
            std::fs::write(&place, b"").expect("a file");
        }
        let refused = DirectoryStore::exclusive(&place, PATIENCE).await;
        assert!(matches!(refused, Err(Error::Store { .. })), "{refused:?}");
    }
}

#[tokio::test]
async fn names_that_no_disk_takes_are_kept_all_the_same() {
    let dir = tempfile::tempdir().expect("a directory");
    let mirror = dir.path().join("mirror");
    // Percent-encoded it is too long for a file name; its own repository cannot hold it as a file either, so the mirror
    // does not: what is tried here is the client's side.
    let mut store = {
        std::fs::create_dir(&mirror).expect("a directory");
        DirectoryStore::exclusive(&mirror, PATIENCE)
            .await
            .expect("a store")
    };
    let (one, other) = (
        format!("{}a.json", "x".repeat(300)),
        format!("{}b.json", "x".repeat(300)),
    );
    store.save(&one, b"one").expect("it is kept");
    store.save(&other, b"other").expect("it is kept");
    assert_eq!(
        store.load(&one).expect("it is read").as_deref(),
        Some(&b"one"[..])
    );
    assert_eq!(
        store.load(&other).expect("it is read").as_deref(),
        Some(&b"other"[..])
    );
    store.remove(&one).expect("it goes");
    assert_eq!(store.load(&one).expect("it is read"), None);

    let targets = TargetDirectory::new(dir.path());
    for (path, name) in [
        ("a", "a"),
        ("dir/a b", "dir%2Fa%20b"),
        ("..", "%2E."),
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd"),
        (".lock", "%2Elock"),
        ("", ""),
    ] {
        assert_eq!(targets.path(path), dir.path().join(name), "{path}");
    }
    let long = targets.path(&"/".repeat(5000));
    assert_eq!(long.parent(), Some(dir.path()));
    assert!(long.file_name().is_some_and(|name| name.len() < 100));
}

#[tokio::test]
async fn a_target_is_kept_and_judged_anew_each_time() {
    let dir = tempfile::tempdir().expect("a directory");
    let mirror = dir.path().join("mirror");
    let mut repository = TufRepository::new(Keys::Ed25519, LATER);
    repository.delegate("targets", "team", Scope::Patterns(&["dir/*"]), false);
    repository.add("team", "dir/file", b"content");
    repository.publish();
    repository.write_to(&mirror).expect("a mirror");
    let (metadata, targets) = (dir.path().join("metadata"), dir.path().join("targets"));
    std::fs::create_dir(&targets).expect("a directory");
    DirectoryStore::bootstrap(&metadata, repository.first_root(), PATIENCE)
        .await
        .expect("a root");
    let http = impatient();
    let kept = TargetDirectory::new(&targets);
    let follow = async || {
        let store = DirectoryStore::exclusive(&metadata, PATIENCE).await?;
        let mirror = Mirror::sigstore(&http, &file_url(&mirror)).expect("a URL");
        let mut client = Client::open(mirror, store, NOW)?;
        client.refresh().await?;
        let target = client.target("dir/file").await?.expect("it is listed");
        kept.fetch(&client, &target).await
    };
    assert_eq!(follow().await.expect("it comes"), b"content");
    // The repository loses the file: what is kept serves, as long as the metadata names these bytes.
    std::fs::remove_dir_all(mirror.join("targets")).expect("it goes");
    assert_eq!(follow().await.expect("it is kept"), b"content");
    std::fs::write(kept.path("dir/file"), b"c0ntent").expect("a file");
    assert!(matches!(follow().await, Err(Error::Missing { .. })));
    repository.add("team", "dir/file", b"new");
    repository.publish();
    repository.write_to(&mirror).expect("a mirror");
    assert_eq!(follow().await.expect("it comes"), b"new");
    assert_eq!(
        std::fs::read(kept.path("dir/file")).expect("a file"),
        b"new"
    );
}

#[tokio::test]
async fn a_profile_follows_a_mirror_on_a_disk() {
    let dir = tempfile::tempdir().expect("a directory");
    let mirror = dir.path().join("mirror");
    let mut repository = TufRepository::new(Keys::EcP256, LATER);
    let world = World::new();
    repository.add(
        "targets",
        "trusted_root.json",
        world.trusted_root_json().as_bytes(),
    );
    repository.rotate(Role::Root);
    repository.publish();
    repository.write_to(&mirror).expect("a mirror");
    let http = impatient();
    let profile = Profile::named(dir.path(), "air-gapped").expect("a name");
    let trust = profile
        .init(&http, &file_url(&mirror), repository.first_root(), NOW)
        .await;
    assert_eq!(
        trust
            .expect("it is set up")
            .trusted_root()
            .certificate_authorities()
            .len(),
        1
    );
    std::fs::remove_dir_all(&mirror).expect("it goes");
    profile
        .load(&http, Freshness::Cached, NOW)
        .await
        .expect("it is on disk");
    // Somebody who writes does not hold up who reads what is whole.
    let held = DirectoryStore::exclusive(profile.dir().join("tuf"), PATIENCE).await;
    profile
        .load(&http, Freshness::Cached, NOW)
        .await
        .expect("it is on disk");
    drop(held);
    assert!(
        profile
            .load(&http, Freshness::Refreshed, NOW)
            .await
            .is_err()
    );
}
