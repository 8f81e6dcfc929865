//! What the client asks a repository for, and what it does not ask twice.

use std::sync::Mutex;

use sealwright_crypto::BoxFuture;
use sealwright_tuf::{Fetch, FetchError};

use super::*;

/// A repository that remembers what it was asked for.
pub(crate) struct Recorder<'a> {
    files: &'a MemoryRepository,
    asked: Mutex<Vec<String>>,
}

impl<'a> Recorder<'a> {
    pub(crate) fn new(files: &'a MemoryRepository) -> Self {
        Self {
            files,
            asked: Mutex::default(),
        }
    }

    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    pub(crate) fn forget(&self) {
        self.asked.lock().unwrap().clear();
    }
}

impl Fetch for Recorder<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        self.asked.lock().unwrap().push(name.to_owned());
        self.files.fetch(place, name, max_length)
    }
}

/// What one session from `store` asks for.
fn asked(repository: &Repository, store: MemoryStore) -> (MemoryStore, Vec<String>) {
    let recorder = Recorder::new(&repository.files);
    let mut client = Client::open(&recorder, store, NOW).unwrap();
    now(client.refresh()).unwrap();
    (client.into_store(), recorder.asked())
}

#[test]
fn a_refresh_asks_for_each_file_once_and_in_order() {
    let mut repository = Repository::new();
    let (store, first) = asked(&repository, repository.fresh_store());
    let all = [
        "2.root.json",
        "timestamp.json",
        "1.snapshot.json",
        "1.targets.json",
    ];
    assert_eq!(first, all);
    let (store, again) = asked(&repository, store);
    assert_eq!(again, all[..2], "nothing is new, nothing is fetched again");

    // The same targets under a newer snapshot.
    let targets = store.load("targets.json").unwrap().unwrap();
    repository.timestamp_version = 2;
    let meta = MetaFile::of(1, &targets);
    repository.publish_snapshot(Snapshot::new(2, repository.expires, meta));
    let (store, third) = asked(&repository, store);
    assert_eq!(third, ["2.root.json", "timestamp.json", "2.snapshot.json"]);

    repository.root = repository.root.next(repository.expires).unwrap();
    repository.publish_root(&[]);
    let (_, fourth) = asked(&repository, store);
    assert_eq!(fourth, ["2.root.json", "3.root.json", "timestamp.json"]);
}

#[test]
fn a_root_that_is_no_root_is_refused_before_anything_is_asked() {
    let repository = Repository::new();
    let whole = String::from_utf8(repository.root_bytes()).unwrap();
    for broken in [
        whole.replace("\"version\": 1", "\"version\": 0"),
        whole.replace("\"_type\": \"root\"", "\"_type\": \"targets\""),
        whole.replace("\"sig\": \"", "\"sig\": \"00"),
        String::new(),
    ] {
        let mut store = MemoryStore::new();
        assert!(bootstrap(&mut store, broken.as_bytes()).is_err());
        assert!(store == MemoryStore::new());
        store.save("root.json", broken.as_bytes()).unwrap();
        assert!(Client::open(&repository.files, store, NOW).is_err());
    }
}

#[test]
fn files_are_kept_byte_for_byte() {
    let mut repository = Repository::new();
    // The same metadata in another spelling: members in another order, white space, an escape.
    let bytes = signed(repository.targets.clone(), &[&repository.targets_signer]);
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let spelt = format!(
        "{{ \"signed\":{} ,\r\n\"signatures\" : {} }}\n\n",
        value["signed"].to_string().replace("hello", "\\u0068ello"),
        value["signatures"]
    );
    repository
        .files
        .insert(Place::Metadata, "1.targets.json", spelt.as_bytes());
    repository.publish_snapshot(Snapshot::new(
        1,
        repository.expires,
        MetaFile::of(1, spelt.as_bytes()),
    ));
    let store = repository.seen();
    assert_eq!(
        store.load("targets.json").unwrap().unwrap(),
        spelt.as_bytes()
    );
}

#[test]
fn promises_of_length_and_hash_are_optional_and_kept_when_made() {
    for (length, hashes, holds) in [
        (None, None, true),
        (Some(0), None, true),
        (None, Some(("sha512", true)), true),
        (None, Some(("sha384", true)), true),
        (Some(1), None, false),
        (None, Some(("sha512", false)), false),
        (None, Some(("blake2b", true)), false),
    ] {
        let mut repository = Repository::new();
        let targets = signed(repository.targets.clone(), &[&repository.targets_signer]);
        repository
            .files
            .insert(Place::Metadata, "1.targets.json", targets.clone());
        let mut meta = MetaFile::of(1, &targets);
        meta.length = length.map(|less: u64| targets.len() as u64 - less);
        meta.hashes = hashes.map(|(name, right)| {
            let algorithm = match name {
                "sha384" => HashAlgorithm::Sha384,
                _ => HashAlgorithm::Sha512,
            };
            let content = if right { &targets[..] } else { b"" };
            let hash = hex::encode(algorithm.digest(content).as_bytes());
            BTreeMap::from([(name.to_owned(), hash)])
        });
        repository.publish_snapshot(Snapshot::new(1, repository.expires, meta));
        let (store, outcome) = repository.session(repository.fresh_store());
        assert_eq!(outcome.is_ok(), holds, "{length:?} {hashes:?} {outcome:?}");
        assert_eq!(store.load("targets.json").unwrap().is_some(), holds);
    }
}

#[test]
fn a_target_is_fetched_by_the_hash_that_names_it() {
    let content = &b"content"[..];
    let hash = |algorithm: HashAlgorithm| hex::encode(algorithm.digest(content).as_bytes());
    for (hashes, name) in [
        (vec![("sha256", hash(HashAlgorithm::Sha256))], "sha256"),
        (vec![("sha512", hash(HashAlgorithm::Sha512))], "sha512"),
        (
            vec![
                ("sha512", hash(HashAlgorithm::Sha512)),
                ("sha256", hash(HashAlgorithm::Sha256)),
            ],
            "sha256",
        ),
    ] {
        let mut repository = Repository::new();
        repository.targets.add("dir/file", content);
        let listed = repository.targets.targets.get_mut("dir/file").unwrap();
        listed.hashes = hashes
            .into_iter()
            .map(|(name, hash)| (name.to_owned(), hash))
            .collect();
        let path = format!("dir/{}.file", listed.hashes[name]);
        repository
            .files
            .insert(Place::Targets, path.clone(), content);
        repository.publish();
        let recorder = Recorder::new(&repository.files);
        let mut client = Client::open(&recorder, repository.fresh_store(), NOW).unwrap();
        now(client.refresh()).unwrap();
        let target = now(client.target("dir/file")).unwrap().unwrap();
        assert_eq!(now(client.download(&target)).unwrap(), content);
        assert_eq!(recorder.asked().last(), Some(&path));
    }
}

#[test]
fn a_target_with_hashes_nobody_knows_is_refused() {
    let mut repository = Repository::new();
    repository.targets.add("file", b"content");
    let listed = repository.targets.targets.get_mut("file").unwrap();
    listed.hashes = BTreeMap::from([("sha3-256".to_owned(), "00".to_owned())]);
    repository
        .files
        .insert(Place::Targets, "00.file", b"content");
    repository.publish();
    let mut client = repository.client(repository.fresh_store());
    now(client.refresh()).unwrap();
    let target = now(client.target("file")).unwrap().unwrap();
    assert!(matches!(
        now(client.download(&target)),
        Err(Error::Mismatch {
            subject: Subject::KnownHash,
            ..
        })
    ));
}

#[test]
fn without_consistent_snapshots_files_have_plain_names() {
    let mut repository = Repository::new();
    repository.root.consistent_snapshot = false;
    repository.publish_root(&[]);
    let snapshot = now(repository
        .files
        .fetch(Place::Metadata, "1.snapshot.json", 1 << 20))
    .unwrap();
    let targets = now(repository
        .files
        .fetch(Place::Metadata, "1.targets.json", 1 << 20))
    .unwrap();
    for (plain, bytes) in [("snapshot.json", snapshot), ("targets.json", targets)] {
        repository.files.insert(Place::Metadata, plain, bytes);
        repository
            .files
            .remove(Place::Metadata, &format!("1.{plain}"));
    }
    repository
        .files
        .insert(Place::Targets, "hello.txt", b"hello");
    let recorder = Recorder::new(&repository.files);
    let mut client = Client::open(&recorder, repository.fresh_store(), NOW).unwrap();
    now(client.refresh()).unwrap();
    let target = now(client.target("hello.txt")).unwrap().unwrap();
    assert_eq!(now(client.download(&target)).unwrap(), b"hello");
    assert_eq!(
        recorder.asked(),
        [
            "2.root.json",
            "timestamp.json",
            "snapshot.json",
            "targets.json",
            "hello.txt"
        ]
    );
}

#[test]
fn every_metadata_file_has_its_cap() {
    let caps = Limits {
        root_length: 40,
        timestamp_length: 41,
        snapshot_length: 42,
        targets_length: 43,
        ..Limits::default()
    };
    let generous = Limits::default();
    for (limits, name, limit) in [
        (
            Limits {
                root_length: caps.root_length,
                ..generous
            },
            "2.root.json",
            40,
        ),
        (
            Limits {
                timestamp_length: caps.timestamp_length,
                ..generous
            },
            "timestamp.json",
            41,
        ),
        (
            Limits {
                snapshot_length: caps.snapshot_length,
                ..generous
            },
            "1.snapshot.json",
            42,
        ),
        (
            Limits {
                targets_length: caps.targets_length,
                ..generous
            },
            "1.targets.json",
            43,
        ),
    ] {
        let mut repository = Repository::new();
        let first = repository.fresh_store();
        if name == "2.root.json" {
            repository.root = repository.root.next(repository.expires).unwrap();
            repository.publish_root(&[]);
        }
        let mut client = repository.client(first).with_limits(limits);
        let refusal = now(client.refresh()).expect_err(name);
        assert!(
            matches!(&refusal, Error::TooLarge { name: found, limit: cap } if found == name && *cap == limit),
            "{refusal}"
        );
    }
}
