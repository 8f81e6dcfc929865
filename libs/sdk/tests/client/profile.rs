//! A profile over a TUF repository: set up, used without a network, brought up to date, attacked.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, Signer, sha256};
use sealwright_sdk::{Error, Freshness, Http, HttpOptions, Profile, Verdict};
use sealwright_testkit::bundle_factory::World;
use sealwright_tuf::{
    Envelope, Expiry, MetaFile, Metadata, Role, Root, Snapshot, Targets, Timestamp, key_of,
    target_file_name, versioned_file_name,
};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

const SIGNING_CONFIG: &str = r#"{"mediaType":"application/vnd.dev.sigstore.signingconfig.v0.2+json","caUrls":[{"url":"http://ca.test","majorApiVersion":1,"validFor":{"start":"2020-01-01T00:00:00Z"}}]}"#;

/// A repository behind a loopback port, published by hand.
struct Repository {
    files: Files,
    url: String,
    signer: MemorySigner,
    root: Root,
    version: u64,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Default)]
struct Files(Arc<Mutex<Shelf>>);

#[derive(Default)]
struct Shelf {
    files: BTreeMap<String, Vec<u8>>,
    asked: Vec<String>,
}

impl Drop for Repository {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Repository {
    async fn start() -> Self {
        let signer = MemorySigner::new(PrivateKey::generate(KeyType::EcP256).expect("a key"));
        let key = key_of(signer.public_key()).expect("a portable key");
        let mut root = Root::new(Expiry::from_unix(NOW + 365 * DAY));
        for role in [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp] {
            root.set_role(role, &[&key], 1);
        }
        let files = Files::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let url = format!("http://{}/tuf", listener.local_addr().expect("an address"));
        let router = Router::new().fallback(serve).with_state(files.clone());
        let server =
            tokio::spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        let mut repository = Self {
            files,
            url,
            signer,
            root,
            version: 0,
            server,
        };
        repository.publish(&World::new(), NOW + 7 * DAY).await;
        repository
    }

    async fn signed<T: Metadata>(&self, metadata: T) -> Vec<u8> {
        let mut envelope = Envelope::unsigned(metadata).expect("it serialises");
        envelope.sign(&self.signer).await.expect("it signs");
        envelope.to_bytes()
    }

    async fn root_bytes(&self) -> Vec<u8> {
        self.signed(self.root.clone()).await
    }

    async fn publish(&mut self, world: &World, expires: i64) {
        self.version += 1;
        let (version, expires) = (self.version, Expiry::from_unix(expires));
        let mut targets = Targets::new(version, expires);
        let trusted_root = world.trusted_root_json();
        for (path, bytes) in [
            ("trusted_root.json", trusted_root.as_str()),
            ("signing_config.v0.2.json", SIGNING_CONFIG),
        ] {
            targets.add(path, bytes.as_bytes());
            let name = target_file_name(path, Some(&hex::encode(sha256(bytes.as_bytes()))));
            self.put(&format!("targets/{name}"), bytes.as_bytes().to_vec());
        }
        let targets = self.signed(targets).await;
        let snapshot = self
            .signed(Snapshot::new(
                version,
                expires,
                MetaFile::of(version, &targets),
            ))
            .await;
        let timestamp = self
            .signed(Timestamp::new(
                version,
                expires,
                MetaFile::of(version, &snapshot),
            ))
            .await;
        self.put(&versioned_file_name(1, "root"), self.root_bytes().await);
        self.put(&versioned_file_name(version, "targets"), targets);
        self.put(&versioned_file_name(version, "snapshot"), snapshot);
        self.put("timestamp.json", timestamp);
    }

    fn put(&self, name: &str, bytes: Vec<u8>) {
        self.files
            .0
            .lock()
            .expect("no panic")
            .files
            .insert(format!("/tuf/{name}"), bytes);
    }

    fn asked(&self) -> usize {
        std::mem::take(&mut self.files.0.lock().expect("no panic").asked).len()
    }

    async fn profile(&self, home: &Path) -> Profile {
        let profile = Profile::named(home, "test").expect("a name");
        profile
            .init(&http(), &self.url, &self.root_bytes().await, NOW)
            .await
            .expect("it is set up");
        self.asked();
        profile
    }
}

async fn serve(State(files): State<Files>, request: Request) -> Response {
    let mut shelf = files.0.lock().expect("no panic");
    let path = request.uri().path().to_owned();
    shelf.asked.push(path.clone());
    shelf.files.get(&path).map_or_else(
        || StatusCode::NOT_FOUND.into_response(),
        |bytes| bytes.clone().into_response(),
    )
}

fn http() -> Http {
    Http::new(HttpOptions::default())
}

/// The authority of a trusted root, to tell one from another.
fn authority(trust: &sealwright_sdk::TrustConfig) -> Vec<u8> {
    let [authority] = trust.trusted_root().certificate_authorities() else {
        panic!("one authority")
    };
    authority.chain()[0].der().to_vec()
}

#[tokio::test]
async fn a_profile_is_set_up_once_and_used_without_a_network() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    for freshness in [Freshness::Usual, Freshness::Cached] {
        let trust = profile
            .load(&http(), freshness, NOW + 3599)
            .await
            .expect("it is on disk");
        assert!(trust.signing_config().is_some());
    }
    assert_eq!(repository.asked(), 0);
}

#[tokio::test]
async fn after_an_hour_the_repository_is_asked_and_its_news_are_kept() {
    let mut repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    let before = authority(
        &profile
            .load(&http(), Freshness::Usual, NOW)
            .await
            .expect("it is on disk"),
    );
    repository.publish(&World::new(), NOW + 7 * DAY).await;
    let after = authority(
        &profile
            .load(&http(), Freshness::Usual, NOW + 3600)
            .await
            .expect("it is refreshed"),
    );
    assert_ne!(before, after);
    let cached = authority(
        &profile
            .load(&http(), Freshness::Cached, NOW + 3600)
            .await
            .expect("it is on disk"),
    );
    assert_eq!(after, cached);
}

#[tokio::test]
async fn without_the_repository_unexpired_material_still_serves() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    drop(repository);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    profile
        .load(&http(), Freshness::Usual, NOW + DAY)
        .await
        .expect("a day later it still holds");
    let error = profile
        .load(&http(), Freshness::Usual, NOW + 8 * DAY)
        .await
        .expect_err("it has expired");
    assert_eq!(error.verdict(), Verdict::Undecided, "{error}");
    let error = profile
        .load(&http(), Freshness::Cached, NOW + 8 * DAY)
        .await
        .expect_err("it has expired");
    assert!(
        matches!(
            error,
            Error::Tuf {
                source: sealwright_tuf::Error::Expired { .. },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn damage_on_disk_is_found_and_repaired() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    for name in [
        "targets/trusted_root.json",
        "tuf/targets.json",
        "tuf/timestamp.json",
        "checked",
    ] {
        std::fs::write(profile.dir().join(name), b"{}").expect("it can be damaged");
        profile
            .load(&http(), Freshness::Usual, NOW + 1)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(repository.asked() > 0, "{name} came from the repository");
        profile
            .load(&http(), Freshness::Cached, NOW + 1)
            .await
            .unwrap_or_else(|error| panic!("{name}: {error}"));
    }
}

#[tokio::test]
async fn a_repository_that_goes_back_is_refused_and_the_profile_stays() {
    let mut repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let old = repository.files.0.lock().expect("no panic").files.clone();
    repository.publish(&World::new(), NOW + 7 * DAY).await;
    let profile = repository.profile(home.path()).await;
    let before = authority(
        &profile
            .load(&http(), Freshness::Cached, NOW)
            .await
            .expect("it is on disk"),
    );
    repository.files.0.lock().expect("no panic").files = old;
    let error = profile
        .load(&http(), Freshness::Refreshed, NOW)
        .await
        .expect_err("it went back");
    assert_eq!(
        (error.code(), error.verdict()),
        ("TUF_REFUSED", Verdict::Refused)
    );
    assert_eq!(
        authority(
            &profile
                .load(&http(), Freshness::Cached, NOW)
                .await
                .expect("it is on disk")
        ),
        before
    );
}

#[tokio::test]
async fn setting_up_with_a_foreign_root_leaves_the_old_profile_alone() {
    let (repository, stranger) = (Repository::start().await, Repository::start().await);
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    let root = stranger.root_bytes().await;
    let error = profile
        .init(&http(), &repository.url, &root, NOW)
        .await
        .expect_err("another root");
    assert_eq!(
        (error.code(), error.verdict()),
        ("TUF_REFUSED", Verdict::Refused)
    );
    profile
        .load(&http(), Freshness::Cached, NOW)
        .await
        .expect("the old one is untouched");
    let left = std::fs::read_dir(home.path().join("profiles"))
        .expect("a directory")
        .count();
    assert_eq!(left, 1, "nothing is left of the attempt");
    let name = profile.dir().file_name().expect("a name").to_string_lossy();
    let killed = profile.dir().with_file_name(format!(".{name}.new.0123"));
    let another = profile.dir().with_file_name(format!(".{name}2.new.0123"));
    for dir in [&killed, &another] {
        std::fs::create_dir_all(dir.join("tuf")).expect("a directory");
    }
    profile
        .init(&http(), &stranger.url, &root, NOW)
        .await
        .expect("it can be set up anew");
    assert!(!killed.exists(), "what a killed set-up left is removed");
    assert!(another.exists(), "what is another's stays");
    let left = std::fs::read_dir(home.path().join("profiles"))
        .expect("a directory")
        .count();
    assert_eq!(left, 2, "the old profile is gone");
    assert_eq!(
        profile
            .load(&http(), Freshness::Cached, NOW)
            .await
            .expect("the new one")
            .origin(),
        stranger.url
    );
}

#[tokio::test]
async fn a_root_on_disk_that_is_none_decides_nothing_and_says_what_to_do() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    std::fs::write(profile.dir().join("tuf/root.json"), b"").expect("it can be damaged");
    for freshness in [Freshness::Cached, Freshness::Usual, Freshness::Refreshed] {
        let error = profile.load(&http(), freshness, NOW + 1).await;
        let error = error.expect_err("there is nothing to start from");
        assert_eq!(
            (error.code(), error.verdict()),
            ("TRUST_INVALID", Verdict::Undecided)
        );
        let said = error.to_string();
        assert!(
            said.contains("root.json") && said.contains("trust init"),
            "{said}"
        );
    }
}

#[tokio::test]
async fn a_profile_that_cannot_be_written_serves_while_it_holds() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    // A file that cannot be replaced, whoever runs this.
    let blocked = |name: &str| {
        let path = profile.dir().join(name);
        std::fs::remove_file(&path).expect("a file");
        std::fs::create_dir(&path).expect("a directory");
    };
    blocked("checked");
    for freshness in [Freshness::Usual, Freshness::Refreshed] {
        let loaded = profile.load(&http(), freshness, NOW + 1).await;
        loaded.expect("the note is not needed");
    }
    blocked("tuf/.lock");
    let loaded = profile.load(&http(), Freshness::Usual, NOW + 2 * DAY).await;
    loaded.expect("two days later it still holds");
    for freshness in [Freshness::Usual, Freshness::Cached] {
        let error = profile.load(&http(), freshness, NOW + 8 * DAY).await;
        let error = error.expect_err("it has expired");
        assert_eq!(error.verdict(), Verdict::Undecided, "{error}");
    }
}

#[tokio::test]
async fn a_pipe_in_a_targets_place_is_replaced_and_not_waited_for() {
    let repository = Repository::start().await;
    let home = tempfile::tempdir().expect("a directory");
    let profile = repository.profile(home.path()).await;
    let target = profile.dir().join("targets/trusted_root.json");
    std::fs::remove_file(&target).expect("a target");
    let made = std::process::Command::new("mkfifo").arg(&target).status();
    assert!(made.expect("mkfifo runs").success());
    let loaded = profile.load(&http(), Freshness::Usual, NOW + 1).await;
    loaded.expect("it is fetched again");
    assert!(std::fs::metadata(&target).expect("a target").is_file());
}
