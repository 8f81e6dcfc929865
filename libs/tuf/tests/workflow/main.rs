//! The client against repositories it should follow, and against the attacks of specification section 1.5.2.

mod crashes;
mod edges;
mod graphs;
mod requests;
mod rotations;

use std::collections::BTreeMap;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey, Signer};
use sealwright_tuf::{
    Client, DelegatedRole, Delegations, Envelope, Error, Expiry, Key, KeyId, Limits,
    MemoryRepository, MemoryStore, MetaFile, Metadata, Place, Role, Root, Snapshot, Store, Subject,
    SuccinctRoles, Target, Targets, Timestamp, bootstrap, canonical, file_name, key_of,
    target_file_name, versioned_file_name,
};

const NOW: i64 = 1_800_000_000;
const LATER: i64 = NOW + 86_400;

/// Everything here is in memory, so every future is ready at once.
fn now<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("a future over memory waited"),
    }
}

fn signer(key_type: KeyType) -> MemorySigner {
    MemorySigner::new(PrivateKey::generate(key_type).unwrap())
}

fn key(signer: &MemorySigner) -> Key {
    key_of(signer.public_key()).unwrap()
}

fn signed<T: Metadata>(metadata: T, signers: &[&MemorySigner]) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(metadata).unwrap();
    for signer in signers {
        now(envelope.sign(*signer)).unwrap();
    }
    envelope.to_bytes()
}

/// A repository whose metadata is rebuilt and published by hand.
struct Repository {
    files: MemoryRepository,
    root_signer: MemorySigner,
    online: MemorySigner,
    targets_signer: MemorySigner,
    root: Root,
    targets: Targets,
    delegated: BTreeMap<String, Vec<u8>>,
    delegated_versions: BTreeMap<String, u64>,
    snapshot_version: u64,
    timestamp_version: u64,
    expires: Expiry,
}

impl Repository {
    fn new() -> Self {
        let root_signer = signer(KeyType::EcP256);
        let online = signer(KeyType::Ed25519);
        let targets_signer = signer(KeyType::EcP256);
        let expires = Expiry::from_unix(LATER);
        let mut root = Root::new(expires);
        root.set_role(Role::Root, &[&key(&root_signer)], 1);
        root.set_role(Role::Targets, &[&key(&targets_signer)], 1);
        root.set_role(Role::Snapshot, &[&key(&online)], 1);
        root.set_role(Role::Timestamp, &[&key(&online)], 1);
        let mut repository = Self {
            files: MemoryRepository::new(),
            root_signer,
            online,
            targets_signer,
            root,
            targets: Targets::new(1, expires),
            delegated: BTreeMap::new(),
            delegated_versions: BTreeMap::new(),
            snapshot_version: 1,
            timestamp_version: 1,
            expires,
        };
        repository.add("hello.txt", b"hello");
        repository.publish_root(&[]);
        repository.publish();
        repository
    }

    fn add(&mut self, path: &str, bytes: &[u8]) {
        self.targets.add(path, bytes);
        self.store_target(path, bytes);
    }

    fn store_target(&mut self, path: &str, bytes: &[u8]) {
        let hash = hex::encode(sealwright_crypto::sha256(bytes));
        let name = target_file_name(path, Some(&hash));
        self.files.insert(Place::Targets, name, bytes);
    }

    fn root_bytes(&self) -> Vec<u8> {
        signed(self.root.clone(), &[&self.root_signer])
    }

    /// Publishes the current root, signed by the current root key and by `others`.
    fn publish_root(&mut self, others: &[&MemorySigner]) {
        let mut signers = vec![&self.root_signer];
        signers.extend(others);
        let bytes = signed(self.root.clone(), &signers);
        let name = versioned_file_name(self.root.version, "root");
        self.files.insert(Place::Metadata, name, bytes);
    }

    /// Publishes targets, snapshot and timestamp as they stand.
    fn publish(&mut self) {
        let targets = signed(self.targets.clone(), &[&self.targets_signer]);
        let name = versioned_file_name(self.targets.version, "targets");
        self.files.insert(Place::Metadata, name, targets.clone());
        let mut snapshot = Snapshot::new(
            self.snapshot_version,
            self.expires,
            MetaFile::of(self.targets.version, &targets),
        );
        for (role, bytes) in &self.delegated {
            let version = self.delegated_versions[role];
            snapshot
                .meta
                .insert(format!("{role}.json"), MetaFile::of(version, bytes));
            let name = versioned_file_name(version, role);
            self.files.insert(Place::Metadata, name, bytes.clone());
        }
        self.publish_snapshot(snapshot);
    }

    fn publish_snapshot(&mut self, snapshot: Snapshot) {
        let version = snapshot.version;
        let bytes = signed(snapshot, &[&self.online]);
        let name = versioned_file_name(version, "snapshot");
        self.files.insert(Place::Metadata, name, bytes.clone());
        let meta = MetaFile::of(version, &bytes);
        self.publish_timestamp(Timestamp::new(self.timestamp_version, self.expires, meta));
    }

    fn publish_timestamp(&mut self, timestamp: Timestamp) {
        let bytes = signed(timestamp, &[&self.online]);
        self.files.insert(Place::Metadata, "timestamp.json", bytes);
    }

    /// The next version of targets, snapshot and timestamp.
    fn bump(&mut self) {
        self.targets.version += 1;
        self.snapshot_version += 1;
        self.timestamp_version += 1;
    }

    fn delegate(&mut self, roles: Vec<DelegatedRole>, keys: &[&Key]) {
        self.targets.delegations = Some(delegations(roles, keys));
    }

    fn set_delegated(&mut self, role: &str, targets: Targets, signers: &[&MemorySigner]) {
        self.delegated_versions
            .insert(role.to_owned(), targets.version);
        self.delegated
            .insert(role.to_owned(), signed(targets, signers));
    }

    fn fresh_store(&self) -> MemoryStore {
        let mut store = MemoryStore::new();
        bootstrap(&mut store, &self.root_bytes()).unwrap();
        store
    }

    fn client(&self, store: MemoryStore) -> Client<&MemoryRepository, MemoryStore> {
        Client::open(&self.files, store, NOW).unwrap()
    }

    /// One session from `store`; the store afterwards, and what the session said.
    fn session(&self, store: MemoryStore) -> (MemoryStore, Result<(), Error>) {
        let mut client = self.client(store);
        let outcome = now(client.refresh());
        (client.into_store(), outcome)
    }

    fn seen(&self) -> MemoryStore {
        let (store, outcome) = self.session(self.fresh_store());
        outcome.unwrap();
        store
    }

    fn find(&self, path: &str) -> Result<Option<Target>, Error> {
        let mut client = self.client(self.fresh_store());
        now(client.refresh()).unwrap();
        now(client.target(path))
    }
}

fn delegations(roles: Vec<DelegatedRole>, keys: &[&Key]) -> Delegations {
    Delegations {
        keys: keys.iter().map(|key| (key.id(), (*key).clone())).collect(),
        roles: Some(roles),
        succinct_roles: None,
        extra: serde_json::Map::new(),
    }
}

fn delegated(name: &str, key: &Key, paths: &[&str], terminating: bool) -> DelegatedRole {
    DelegatedRole {
        name: name.to_owned(),
        keyids: vec![key.id()],
        threshold: 1,
        terminating,
        paths: Some(paths.iter().map(|path| (*path).to_owned()).collect()),
        path_hash_prefixes: None,
        extra: serde_json::Map::new(),
    }
}

#[test]
fn a_target_is_found_and_downloaded_and_the_set_works_without_a_network() {
    let repository = Repository::new();
    let mut client = repository.client(repository.fresh_store());
    now(client.refresh()).unwrap();
    let target = now(client.target("hello.txt")).unwrap().unwrap();
    assert_eq!(now(client.download(&target)).unwrap(), b"hello");
    assert_eq!(now(client.target("other.txt")).unwrap(), None);

    let nowhere = MemoryRepository::new();
    let mut offline = Client::open(&nowhere, client.into_store(), NOW).unwrap();
    offline.load_cached().unwrap();
    assert_eq!(now(offline.target("hello.txt")).unwrap().unwrap(), target);
    let mut too_late = Client::open(&nowhere, offline.into_store(), LATER).unwrap();
    assert!(matches!(too_late.load_cached(), Err(Error::Expired { role, .. }) if role == "root"));
}

#[test]
fn a_changed_target_is_refused() {
    let mut repository = Repository::new();
    let hash = hex::encode(sealwright_crypto::sha256(b"hello"));
    let name = target_file_name("hello.txt", Some(&hash));
    for (content, subject) in [(&b"jello"[..], Subject::Hash), (b"hell", Subject::Length)] {
        repository
            .files
            .insert(Place::Targets, name.clone(), content);
        let mut client = repository.client(repository.fresh_store());
        now(client.refresh()).unwrap();
        let target = now(client.target("hello.txt")).unwrap().unwrap();
        match now(client.download(&target)) {
            Err(Error::Mismatch { subject: found, .. }) => assert_eq!(found, subject),
            other => panic!("{other:?}"),
        }
    }
    repository
        .files
        .insert(Place::Targets, name, b"hello and endless data");
    let mut client = repository.client(repository.fresh_store());
    now(client.refresh()).unwrap();
    let target = now(client.target("hello.txt")).unwrap().unwrap();
    assert!(matches!(
        now(client.download(&target)),
        Err(Error::TooLarge { limit: 5, .. })
    ));
}

#[test]
fn a_second_refresh_of_one_client_knows_nothing_of_the_first() {
    let team = signer(KeyType::Ed25519);
    let mut repository = Repository::new();
    let role = delegated("team", &key(&team), &["a.txt"], false);
    repository.delegate(vec![role], &[&key(&team)]);
    let expires = repository.expires;
    let team_targets = |version, content: &[u8]| {
        let mut targets = Targets::new(version, expires);
        targets.add("a.txt", content);
        targets
    };
    repository.set_delegated("team", team_targets(1, b"old"), &[&team]);
    repository.publish();
    let published = std::sync::Mutex::new(repository.files.clone());
    let source = Changing(&published);
    let mut client = Client::open(source, repository.fresh_store(), NOW).unwrap();
    now(client.refresh()).unwrap();
    let old = now(client.target("a.txt")).unwrap().unwrap();

    repository.bump();
    repository.set_delegated("team", team_targets(2, b"new!"), &[&team]);
    repository.publish();
    *published.lock().unwrap() = repository.files.clone();
    now(client.refresh()).unwrap();
    let new = now(client.target("a.txt")).unwrap().unwrap();
    assert_eq!((old.file.length, new.file.length), (3, 4));

    // After a refresh that failed, what went before is no answer.
    published
        .lock()
        .unwrap()
        .remove(Place::Metadata, "timestamp.json");
    now(client.refresh()).unwrap_err();
    assert!(matches!(
        now(client.target("a.txt")),
        Err(Error::NotRefreshed)
    ));
}

/// A repository that is published to while a client holds on to it.
struct Changing<'a>(&'a std::sync::Mutex<MemoryRepository>);

impl sealwright_tuf::Fetch for Changing<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> sealwright_crypto::BoxFuture<'a, Result<Vec<u8>, sealwright_tuf::FetchError>> {
        let files = self.0.lock().unwrap().clone();
        let name = name.to_owned();
        Box::pin(async move { files.fetch(place, &name, max_length).await })
    }
}

#[test]
fn a_bad_first_root_is_refused() {
    let repository = Repository::new();
    let mut store = MemoryStore::new();
    let forged = signed(repository.root.clone(), &[&repository.online]);
    assert!(matches!(
        bootstrap(&mut store, &forged),
        Err(Error::Threshold { valid: 0, .. })
    ));
    assert!(matches!(
        Client::open(&repository.files, store, NOW),
        Err(Error::NoTrustedRoot)
    ));
}

#[test]
fn rollback_of_every_role_is_refused() {
    let mut repository = Repository::new();
    let old = repository.files.clone();
    repository.bump();
    repository.publish();
    let store = repository.seen();

    let new = std::mem::replace(&mut repository.files, old);
    let (_, outcome) = repository.session(store.clone());
    assert!(
        matches!(outcome, Err(Error::Rollback { ref role, trusted: 2, found: 1 }) if role == "timestamp"),
        "{outcome:?}"
    );

    // A newer timestamp over an older snapshot.
    repository.files = new;
    let old_snapshot = signed(
        Snapshot::new(1, repository.expires, MetaFile::of(1, b"")),
        &[&repository.online],
    );
    repository.publish_timestamp(Timestamp::new(
        3,
        repository.expires,
        MetaFile::of(1, &old_snapshot),
    ));
    let (_, outcome) = repository.session(store.clone());
    assert!(matches!(outcome, Err(Error::Rollback { ref role, .. }) if role == "snapshot"));

    // A newer snapshot over older targets.
    repository.timestamp_version = 3;
    repository.publish_snapshot(Snapshot::new(3, repository.expires, MetaFile::of(1, b"")));
    let (kept, outcome) = repository.session(store);
    assert!(
        matches!(outcome, Err(Error::Rollback { ref role, trusted: 2, found: 1 }) if role == "targets.json"),
        "{outcome:?}"
    );
    let kept = kept.load("snapshot.json").unwrap().unwrap();
    assert_eq!(
        Envelope::<Snapshot>::parse(&kept).unwrap().signed().version,
        2
    );
}

#[test]
fn a_snapshot_that_forgets_a_role_is_refused() {
    let mut repository = Repository::new();
    let other = signer(KeyType::EcP256);
    repository.delegate(
        vec![delegated("extra", &key(&other), &["x/*"], false)],
        &[&key(&other)],
    );
    repository.set_delegated("extra", Targets::new(1, repository.expires), &[&other]);
    repository.publish();
    let store = repository.seen();
    repository.delegated.clear();
    repository.bump();
    repository.publish();
    let (_, outcome) = repository.session(store);
    assert!(matches!(outcome, Err(Error::RoleRemoved { ref role }) if role == "extra.json"));
}

#[test]
fn frozen_metadata_expires_in_every_role() {
    for (role, earlier) in [
        ("timestamp", 0),
        ("snapshot", 1),
        ("targets", 2),
        ("root", 3),
    ] {
        let mut repository = Repository::new();
        let past = Expiry::from_unix(NOW);
        match earlier {
            3 => {
                repository.root = repository.root.next(past).unwrap();
                repository.publish_root(&[]);
            }
            2 => {
                repository.targets.expires = past;
                repository.publish();
            }
            1 => {
                let targets = signed(repository.targets.clone(), &[&repository.targets_signer]);
                repository
                    .files
                    .insert(Place::Metadata, "1.targets.json", targets.clone());
                repository.publish_snapshot(Snapshot::new(1, past, MetaFile::of(1, &targets)));
            }
            _ => repository.publish_timestamp(Timestamp::new(1, past, MetaFile::of(1, b""))),
        }
        let (store, outcome) = repository.session(repository.fresh_store());
        assert!(
            matches!(outcome, Err(Error::Expired { role: ref found, .. }) if found == role),
            "{role}: {outcome:?}"
        );
        // An expired timestamp is not kept, since nothing may follow from it.
        assert_eq!(
            store.load("timestamp.json").unwrap().is_some(),
            matches!(role, "snapshot" | "targets"),
            "{role}"
        );
        // An expired root is kept, so that its successor can be reached from it.
        let root = store.load("root.json").unwrap().unwrap();
        let version = Envelope::<Root>::parse(&root).unwrap().signed().version;
        assert_eq!(version, if role == "root" { 2 } else { 1 });
    }
}

#[test]
fn files_of_different_states_do_not_mix() {
    let mut repository = Repository::new();
    let targets_one = signed(repository.targets.clone(), &[&repository.targets_signer]);
    repository.add("second.txt", b"second");
    repository.bump();
    repository.publish();
    // The old targets under the name of the new ones.
    repository
        .files
        .insert(Place::Metadata, "2.targets.json", targets_one);
    let (_, outcome) = repository.session(repository.fresh_store());
    assert!(
        matches!(
            outcome,
            Err(Error::Mismatch { .. } | Error::TooLarge { .. })
        ),
        "{outcome:?}"
    );

    // Without length and hashes the version alone tells them apart.
    let mut meta = MetaFile::of(2, b"");
    (meta.length, meta.hashes) = (None, None);
    repository.snapshot_version = 3;
    repository.timestamp_version = 3;
    repository.publish_snapshot(Snapshot::new(3, repository.expires, meta));
    let (_, outcome) = repository.session(repository.fresh_store());
    assert!(
        matches!(
            outcome,
            Err(Error::WrongVersion {
                expected: 2,
                found: 1,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[test]
fn one_role_is_not_another() {
    let mut repository = Repository::new();
    let snapshot = Snapshot::new(9, repository.expires, MetaFile::of(1, b""));
    let bytes = signed(snapshot, &[&repository.online]);
    repository
        .files
        .insert(Place::Metadata, "timestamp.json", bytes);
    let (_, outcome) = repository.session(repository.fresh_store());
    assert!(
        outcome
            .unwrap_err()
            .to_string()
            .contains("_type is \"snapshot\", expected \"timestamp\"")
    );
}

#[test]
fn the_next_root_needs_old_and_new_keys() {
    let mut repository = Repository::new();
    let next_signer = signer(KeyType::Ed25519);
    let first = repository.fresh_store();
    repository.root = repository.root.next(repository.expires).unwrap();
    repository
        .root
        .set_role(Role::Root, &[&key(&next_signer)], 1);
    let old_signer = std::mem::replace(&mut repository.root_signer, next_signer.clone());

    repository.publish_root(&[]);
    let (_, outcome) = repository.session(first.clone());
    assert!(
        matches!(outcome, Err(Error::Threshold { valid: 0, .. })),
        "new keys alone: {outcome:?}"
    );

    let only_old = signed(repository.root.clone(), &[&old_signer]);
    repository
        .files
        .insert(Place::Metadata, "2.root.json", only_old);
    let (_, outcome) = repository.session(first.clone());
    assert!(
        matches!(outcome, Err(Error::Threshold { valid: 0, .. })),
        "old keys alone: {outcome:?}"
    );

    repository.publish_root(&[&old_signer]);
    let (store, outcome) = repository.session(first);
    outcome.unwrap();
    assert_eq!(repository.client(store).root().version, 2);
}

#[test]
fn a_root_that_skips_a_version_is_refused() {
    let mut repository = Repository::new();
    let first = repository.fresh_store();
    repository.root.version = 3;
    let bytes = repository.root_bytes();
    repository
        .files
        .insert(Place::Metadata, "2.root.json", bytes);
    let (_, outcome) = repository.session(first);
    assert!(
        matches!(
            outcome,
            Err(Error::WrongVersion {
                expected: 2,
                found: 3,
                ..
            })
        ),
        "{outcome:?}"
    );
}

#[test]
fn endless_roots_end() {
    let mut repository = Repository::new();
    let first = repository.fresh_store();
    let again = first.clone();
    for _ in 0..4 {
        repository.root = repository.root.next(repository.expires).unwrap();
        repository.publish_root(&[]);
    }
    let limits = Limits {
        root_rotations: 3,
        ..Limits::default()
    };
    let mut client = repository.client(first).with_limits(limits);
    assert!(matches!(
        now(client.refresh()),
        Err(Error::TooManyRoots { limit: 3 })
    ));
    // What was verified is kept, so the next session goes on from there.
    assert_eq!(client.root().version, 4);
    let (_, outcome) = repository.session(client.into_store());
    outcome.unwrap();

    // As many as are allowed, and no more of them, are no reason to refuse.
    let limits = Limits {
        root_rotations: 4,
        ..limits
    };
    let mut client = repository.client(again).with_limits(limits);
    now(client.refresh()).unwrap();
    assert_eq!(client.root().version, 5);
}

#[test]
fn a_thief_of_the_online_key_is_locked_out_by_rotating_it() {
    let mut repository = Repository::new();
    let honest = repository.files.clone();
    repository.snapshot_version = 1 << 40;
    repository.timestamp_version = 1 << 40;
    repository.publish();
    let store = repository.seen();

    repository.files = honest;
    let root_signer = repository.root_signer.clone();
    let fresh = signer(KeyType::EcP256);
    repository.root = repository.root.next(repository.expires).unwrap();
    repository.root.set_role(Role::Snapshot, &[&key(&fresh)], 1);
    repository
        .root
        .set_role(Role::Timestamp, &[&key(&fresh)], 1);
    repository.online = fresh;
    repository.snapshot_version = 2;
    repository.timestamp_version = 2;
    repository.publish_root(&[&root_signer]);
    repository.publish();
    let (store, outcome) = repository.session(store);
    outcome.unwrap();
    assert_eq!(repository.client(store).root().version, 2);
}

#[test]
fn an_added_online_key_does_not_reopen_the_way_back() {
    let mut repository = Repository::new();
    let old = repository.files.clone();
    repository.bump();
    repository.publish();
    let store = repository.seen();
    repository.files = old;
    let more = signer(KeyType::EcP256);
    let both = [key(&repository.online), key(&more)];
    repository.root = repository.root.next(repository.expires).unwrap();
    repository
        .root
        .set_role(Role::Timestamp, &[&both[0], &both[1]], 1);
    repository.publish_root(&[]);
    let (_, outcome) = repository.session(store);
    assert!(
        matches!(outcome, Err(Error::Rollback { .. })),
        "{outcome:?}"
    );
}

#[test]
fn a_timestamp_of_the_same_version_changes_nothing() {
    let mut repository = Repository::new();
    let store = repository.seen();
    let kept = store.load("timestamp.json").unwrap();
    repository.snapshot_version = 7;
    repository.publish();
    let (store, outcome) = repository.session(store);
    outcome.unwrap();
    assert_eq!(store.load("timestamp.json").unwrap(), kept);
}

#[test]
fn a_missing_snapshot_fails_and_the_timestamp_is_kept() {
    let mut repository = Repository::new();
    repository.files.remove(Place::Metadata, "1.snapshot.json");
    let (store, outcome) = repository.session(repository.fresh_store());
    assert!(matches!(outcome, Err(Error::Missing { ref name }) if name == "1.snapshot.json"));
    assert!(store.load("timestamp.json").unwrap().is_some());
}

#[test]
fn damaged_local_files_are_replaced() {
    let repository = Repository::new();
    let intact = repository.seen();
    let mut store = intact.clone();
    for role in ["timestamp", "snapshot", "targets"] {
        store.save(&file_name(role), b"{ torn").unwrap();
    }
    let (store, outcome) = repository.session(store);
    outcome.unwrap();
    assert!(store == intact);
}

#[test]
fn thresholds_count_distinct_keys() {
    let mut repository = Repository::new();
    let other = signer(KeyType::Ed25519);
    let (own, second) = (key(&repository.targets_signer), key(&other));
    repository.root = repository.root.next(repository.expires).unwrap();
    repository.root.set_role(Role::Targets, &[&own, &second], 2);
    repository.publish_root(&[]);

    let alone = Envelope::parse(&signed(
        repository.targets.clone(),
        &[&repository.targets_signer],
    ))
    .unwrap();
    let refusal = repository.root.verify::<Targets>(&alone);
    assert!(matches!(
        refusal,
        Err(Error::Threshold {
            valid: 1,
            threshold: 2,
            ..
        })
    ));
    let both = signed(
        repository.targets.clone(),
        &[&repository.targets_signer, &other],
    );
    repository
        .root
        .verify::<Targets>(&Envelope::parse(&both).unwrap())
        .unwrap();

    // The same key under a second name is still one key.
    let alias = KeyId::new("alias");
    repository.root.keys.insert(alias.clone(), own.clone());
    repository.root.roles.get_mut("targets").unwrap().keyids = vec![own.id(), alias.clone()];
    let mut twice: serde_json::Value = serde_json::from_slice(&alone.to_bytes()).unwrap();
    let mut copy = twice["signatures"][0].clone();
    copy["keyid"] = alias.as_str().into();
    twice["signatures"].as_array_mut().unwrap().push(copy);
    let twice = Envelope::parse(twice.to_string().as_bytes()).unwrap();
    let refusal = repository.root.verify::<Targets>(&twice);
    assert!(matches!(refusal, Err(Error::Threshold { valid: 1, .. })));
}

#[test]
fn bad_signatures_beside_good_ones_do_no_harm_and_duplicates_do() {
    let repository = Repository::new();
    let mut file: serde_json::Value = serde_json::from_slice(&repository.root_bytes()).unwrap();
    let good = file["signatures"][0].clone();
    let list = file["signatures"].as_array_mut().unwrap();
    list.push(serde_json::json!({"keyid": "unknown", "sig": "00"}));
    list.push(serde_json::json!({"keyid": key(&repository.online).id(), "sig": ""}));
    list.push(serde_json::json!({"keyid": "odd", "sig": "not hex"}));
    let envelope = Envelope::<Root>::parse(file.to_string().as_bytes()).unwrap();
    repository.root.verify(&envelope).unwrap();

    file["signatures"].as_array_mut().unwrap().push(good);
    let refusal = Envelope::<Root>::parse(file.to_string().as_bytes()).unwrap_err();
    assert!(refusal.to_string().contains("listed twice"), "{refusal}");
}

#[test]
fn unknown_members_stay_under_the_signature() {
    let repository = Repository::new();
    let mut root = repository.root.clone();
    root.extra
        .insert("x-owner".to_owned(), serde_json::json!({"team": ["a", 1]}));
    let bytes = signed(root, &[&repository.root_signer]);
    let envelope = Envelope::<Root>::parse(&bytes).unwrap();
    envelope.signed().verify(&envelope).unwrap();
    let raw = canonical::parse(&bytes).unwrap();
    assert_eq!(
        canonical::encode(&raw["signed"]).unwrap(),
        envelope.canonical()
    );
    assert_eq!(envelope.to_bytes(), bytes);

    let tampered = String::from_utf8(bytes)
        .unwrap()
        .replace("\"team\"", "\"tean\"");
    let envelope = Envelope::<Root>::parse(tampered.as_bytes()).unwrap();
    assert!(envelope.signed().verify(&envelope).is_err());
}

#[test]
fn shapes_that_cannot_be_meant_are_refused() {
    let repository = Repository::new();
    let root: serde_json::Value = serde_json::from_slice(&repository.root_bytes()).unwrap();
    let edits: [(&str, &str, serde_json::Value); 9] = [
        ("/signed/version", "version 0", 0.into()),
        ("/signed/spec_version", "is not 1.x", "2.0".into()),
        ("/signed/_type", "_type", "timestamp".into()),
        (
            "/signed/expires",
            "YYYY-MM-DD",
            "2030-01-01T00:00:00.5Z".into(),
        ),
        (
            "/signed/expires",
            "YYYY-MM-DD",
            "2030-02-30T00:00:00Z".into(),
        ),
        (
            "/signed/roles/root/threshold",
            "threshold of root is 0",
            0.into(),
        ),
        ("/signed/roles/root/threshold", "invalid value", (-1).into()),
        (
            "/signed/roles/root/keyids",
            "listed twice",
            serde_json::json!(["a", "a"]),
        ),
        ("/signed/keys", "invalid type", serde_json::json!([])),
    ];
    for (pointer, said, value) in edits {
        let mut edited = root.clone();
        *edited.pointer_mut(pointer).unwrap() = value;
        let refusal = Envelope::<Root>::parse(edited.to_string().as_bytes()).unwrap_err();
        assert!(refusal.to_string().contains(said), "{pointer}: {refusal}");
    }
    let mut edited = root;
    edited["signed"]["roles"]
        .as_object_mut()
        .unwrap()
        .remove("snapshot");
    let refusal = Envelope::<Root>::parse(edited.to_string().as_bytes()).unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("does not define the role snapshot")
    );
}

#[test]
fn a_delegated_role_speaks_for_its_paths_only() {
    let mut repository = Repository::new();
    let (a, b) = (signer(KeyType::EcP256), signer(KeyType::Ed25519));
    let roles = vec![
        delegated("../a", &key(&a), &["team-a/*"], false),
        delegated("b", &key(&b), &["team-b/*", "team-a/*"], false),
    ];
    repository.delegate(roles, &[&key(&a), &key(&b)]);
    let mut targets = Targets::new(1, repository.expires);
    targets.add("team-a/x", b"by a");
    targets.add("team-b/x", b"by a, who may not");
    repository.set_delegated("../a", targets, &[&a]);
    let mut targets = Targets::new(1, repository.expires);
    targets.add("team-a/x", b"by b, who comes later");
    targets.add("team-a/y", b"by b");
    repository.set_delegated("b", targets, &[&b]);
    repository.publish();

    assert_eq!(repository.find("team-a/x").unwrap().unwrap().role, "../a");
    assert_eq!(repository.find("team-a/y").unwrap().unwrap().role, "b");
    assert_eq!(repository.find("team-b/x").unwrap(), None);
}

#[test]
fn a_terminating_role_ends_the_search() {
    let mut repository = Repository::new();
    let other = signer(KeyType::EcP256);
    let roles = vec![
        delegated("a", &key(&other), &["x/*"], true),
        delegated("b", &key(&other), &["x/*"], false),
    ];
    repository.delegate(roles, &[&key(&other)]);
    repository.set_delegated("a", Targets::new(1, repository.expires), &[&other]);
    let mut targets = Targets::new(1, repository.expires);
    targets.add("x/file", b"never reached");
    repository.set_delegated("b", targets, &[&other]);
    repository.publish();
    assert_eq!(repository.find("x/file").unwrap(), None);
}

#[test]
fn cycles_end_and_deep_graphs_are_cut() {
    let mut repository = Repository::new();
    let other = signer(KeyType::EcP256);
    let name = |number: usize| format!("r{number}");
    let to = |number: usize| {
        delegations(
            vec![delegated(&name(number), &key(&other), &["*"], false)],
            &[&key(&other)],
        )
    };
    repository.targets.delegations = Some(to(0));
    for number in 0..40 {
        let mut targets = Targets::new(1, repository.expires);
        targets.delegations = Some(to(if number == 2 { 0 } else { number + 1 }));
        repository.set_delegated(&name(number), targets, &[&other]);
    }
    repository.publish();
    assert_eq!(repository.find("nowhere").unwrap(), None);

    let mut targets = Targets::new(1, repository.expires);
    targets.delegations = Some(to(3));
    repository.set_delegated(&name(2), targets, &[&other]);
    repository.publish();
    assert!(matches!(
        repository.find("nowhere"),
        Err(Error::TooManyDelegations { limit: 32 })
    ));
}

#[test]
fn a_role_reached_by_two_ways_is_verified_for_each() {
    let mut repository = Repository::new();
    let parents = signer(KeyType::EcP256);
    let (for_a, for_b) = (signer(KeyType::EcP256), signer(KeyType::EcP256));
    let roles = vec![
        delegated("parent-a", &key(&parents), &["team-a/*"], false),
        delegated("parent-b", &key(&parents), &["team-b/*"], false),
    ];
    repository.delegate(roles, &[&key(&parents)]);
    for (parent, child, paths) in [
        ("parent-a", &for_a, "team-a/*"),
        ("parent-b", &for_b, "team-b/*"),
    ] {
        let mut targets = Targets::new(1, repository.expires);
        targets.delegations = Some(delegations(
            vec![delegated("release", &key(child), &[paths], false)],
            &[&key(child)],
        ));
        repository.set_delegated(parent, targets, &[&parents]);
    }
    let mut release = Targets::new(1, repository.expires);
    release.add("team-a/file", b"signed for a");
    release.add("team-b/file", b"slipped in for b");
    repository.set_delegated("release", release, &[&for_a]);
    repository.publish();

    let mut client = repository.client(repository.fresh_store());
    now(client.refresh()).unwrap();
    assert!(now(client.target("team-a/file")).unwrap().is_some());
    let refusal = now(client.target("team-b/file"));
    assert!(
        matches!(refusal, Err(Error::Threshold { ref role, valid: 0, .. }) if role == "release")
    );
}

#[test]
fn a_delegated_role_outside_the_snapshot_is_not_fetched() {
    let mut repository = Repository::new();
    let other = signer(KeyType::EcP256);
    repository.delegate(
        vec![delegated("a", &key(&other), &["x/*"], false)],
        &[&key(&other)],
    );
    repository.publish();
    assert!(
        matches!(repository.find("x/file"), Err(Error::NotInSnapshot { ref role }) if role == "a")
    );
}

#[test]
fn hash_prefixes_and_bins_lead_to_their_paths() {
    let mut repository = Repository::new();
    let other = signer(KeyType::EcP256);
    let prefix = hex::encode(sealwright_crypto::sha256(b"some/path"))[..4].to_owned();
    let mut role = delegated("hashed", &key(&other), &[], false);
    role.paths = None;
    role.path_hash_prefixes = Some(vec![prefix]);
    repository.delegate(vec![role], &[&key(&other)]);
    let mut targets = Targets::new(1, repository.expires);
    targets.add("some/path", b"content");
    targets.add("other/path", b"content");
    repository.set_delegated("hashed", targets.clone(), &[&other]);
    repository.publish();
    assert_eq!(
        repository.find("some/path").unwrap().unwrap().role,
        "hashed"
    );
    assert_eq!(repository.find("other/path").unwrap(), None);

    let bins = SuccinctRoles {
        keyids: vec![key(&other).id()],
        threshold: 1,
        bit_length: 6,
        name_prefix: "bin".to_owned(),
        extra: serde_json::Map::new(),
    };
    let bin = bins.bin_of("some/path");
    let mut all = delegations(vec![], &[&key(&other)]);
    (all.roles, all.succinct_roles) = (None, Some(bins));
    repository.targets.delegations = Some(all);
    repository.set_delegated(&bin, targets, &[&other]);
    repository.publish();
    assert_eq!(repository.find("some/path").unwrap().unwrap().role, bin);
}

#[test]
fn key_ids_follow_the_specification() {
    let signer = signer(KeyType::Ed25519);
    let key = key(&signer);
    let text = format!(
        "{{\"keytype\":\"ed25519\",\"keyval\":{{\"public\":\"{}\"}},\"scheme\":\"ed25519\"}}",
        key.keyval.public
    );
    assert_eq!(
        key.id().as_str(),
        hex::encode(sealwright_crypto::sha256(text.as_bytes()))
    );
    let refused = key_of(PrivateKey::generate(KeyType::EcP384).unwrap().public_key());
    assert!(matches!(refused, Err(Error::KeyNotPortable { .. })));
}

#[test]
fn an_rsa_key_signs_with_pss_or_not_at_all() {
    let rsa = KeyType::Rsa { bits: 2048 };
    let pss = Algorithm::RsaPss {
        bits: 2048,
        hash: HashAlgorithm::Sha256,
    };
    let key = PrivateKey::generate(rsa).unwrap();
    let signer = MemorySigner::with_algorithm(key, pss).unwrap();
    let object = key_of(signer.public_key()).unwrap();
    assert_eq!(
        (object.keytype.as_str(), object.scheme.as_str()),
        ("rsa", "rsassa-pss-sha256")
    );
    let mut root = Repository::new().root;
    root.set_role(Role::Root, &[&object], 1);
    let bytes = signed(root.clone(), &[&signer]);
    Envelope::parse_self_signed(&bytes).unwrap();

    let other = MemorySigner::new(PrivateKey::generate(rsa).unwrap());
    assert_ne!(other.algorithm(), pss);
    let mut envelope = Envelope::unsigned(root).unwrap();
    let refused = now(envelope.sign(&other));
    assert!(
        matches!(refused, Err(Error::KeyNotPortable { .. })),
        "{refused:?}"
    );
}

#[test]
fn keys_that_make_no_sense_never_count() {
    let signer = signer(KeyType::EcP256);
    let good = key(&signer);
    assert!(good.verifier().is_some());
    let mut old_name = good.clone();
    old_name.keytype = "ecdsa-sha2-nistp256".to_owned();
    assert!(old_name.verifier().is_some());
    for (keytype, scheme, public) in [
        ("ed25519", "ed25519", "00"),
        (
            "ed25519",
            "ecdsa-sha2-nistp256",
            good.keyval.public.as_str(),
        ),
        ("ecdsa", "ed25519", good.keyval.public.as_str()),
        ("ecdsa", "ecdsa-sha2-nistp384", good.keyval.public.as_str()),
        ("ecdsa", "ecdsa-sha2-nistp256", "not pem"),
        ("gpg", "gpg", ""),
    ] {
        let mut bad = good.clone();
        bad.keytype = keytype.to_owned();
        bad.scheme = scheme.to_owned();
        bad.keyval.public = public.to_owned();
        assert!(bad.verifier().is_none(), "{keytype} {scheme}");
    }
}
