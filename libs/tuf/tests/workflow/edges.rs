//! Where one rule ends and the next begins: each pair of checks that could stand in for one another, one at a time.

use sealwright_crypto::BoxFuture;
use sealwright_tuf::{Fetch, FetchError, Problem, RoleKeys};

use super::*;
use crate::requests::Recorder;

/// A source that pays no attention to how much was asked for.
struct Generous<'a>(&'a MemoryRepository);

impl Fetch for Generous<'_> {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        _max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        self.0.fetch(place, name, u64::MAX)
    }
}

#[test]
fn a_source_that_gives_more_than_it_was_asked_for_is_cut() {
    let repository = Repository::new();
    let limits = Limits {
        timestamp_length: 10,
        ..Limits::default()
    };
    let source = Generous(&repository.files);
    let client = Client::open(&source, repository.fresh_store(), NOW).unwrap();
    let mut client = client.with_limits(limits);
    let refusal = now(client.refresh()).unwrap_err();
    assert!(
        matches!(refusal, Error::TooLarge { ref name, limit: 10 } if name == "timestamp.json"),
        "{refusal}"
    );
    assert!(!refusal.is_transient());
}

#[test]
fn a_snapshot_must_be_the_one_that_the_timestamp_names_by_content_and_by_version() {
    let mut repository = Repository::new();
    let named = Snapshot::new(1, repository.expires, MetaFile::of(1, b""));
    let mut other = named.clone();
    other.expires = Expiry::from_unix(LATER + 1);
    let (named, other) = (
        signed(named, &[&repository.online]),
        signed(other, &[&repository.online]),
    );
    assert_eq!(named.len(), other.len(), "the length must not tell");
    repository
        .files
        .insert(Place::Metadata, "1.snapshot.json", other);
    let expires = repository.expires;
    repository.publish_timestamp(Timestamp::new(1, expires, MetaFile::of(1, &named)));
    let (_, outcome) = repository.session(repository.fresh_store());
    assert!(
        matches!(outcome, Err(Error::Mismatch { ref name, subject: Subject::Hash }) if name == "snapshot.json"),
        "{outcome:?}"
    );

    let mut promise = MetaFile::of(2, &named);
    (promise.length, promise.hashes) = (None, None);
    repository
        .files
        .insert(Place::Metadata, "2.snapshot.json", named);
    repository.publish_timestamp(Timestamp::new(1, expires, promise));
    let (_, outcome) = repository.session(repository.fresh_store());
    assert!(
        matches!(outcome, Err(Error::WrongVersion { ref role, expected: 2, found: 1 }) if role == "snapshot"),
        "{outcome:?}"
    );
}

/// One of the two keys is enough: whoever held it could have driven the versions of both files up.
#[test]
fn either_online_key_taken_away_makes_the_client_forget_both_files() {
    for rotated in [Role::Timestamp, Role::Snapshot] {
        let mut repository = Repository::new();
        let store = repository.seen();
        repository.root = repository.root.next(repository.expires).unwrap();
        let fresh = signer(KeyType::Ed25519);
        repository.root.set_role(rotated, &[&key(&fresh)], 1);
        repository.publish_root(&[]);
        repository.files.remove(Place::Metadata, "timestamp.json");
        let (store, outcome) = repository.session(store);
        assert!(matches!(outcome, Err(Error::Missing { ref name }) if name == "timestamp.json"));
        for name in ["timestamp.json", "snapshot.json"] {
            assert_eq!(store.load(name).unwrap(), None, "{rotated}: {name}");
        }
        assert!(store.load("targets.json").unwrap().is_some());
    }
}

#[test]
fn starting_again_forgets_all_that_was_known() {
    let repository = Repository::new();
    let mut store = repository.seen();
    bootstrap(&mut store, &repository.root_bytes()).unwrap();
    assert!(store.load("root.json").unwrap().is_some());
    for name in ["timestamp.json", "snapshot.json", "targets.json"] {
        assert_eq!(store.load(name).unwrap(), None, "{name}");
    }
}

#[test]
fn exactly_as_many_roots_are_followed_as_allowed() {
    let mut repository = Repository::new();
    let first = repository.fresh_store();
    for _ in 0..4 {
        repository.root = repository.root.next(repository.expires).unwrap();
        repository.publish_root(&[]);
    }
    let limits = Limits {
        root_rotations: 3,
        ..Limits::default()
    };
    let recorder = Recorder::new(&repository.files);
    let client = Client::open(&recorder, first, NOW).unwrap();
    let mut client = client.with_limits(limits);
    assert!(matches!(
        now(client.refresh()),
        Err(Error::TooManyRoots { limit: 3 })
    ));
    assert_eq!(client.root().version, 4);
    // The last one is asked for to learn whether there is more, and not believed.
    assert_eq!(
        recorder.asked(),
        ["2.root.json", "3.root.json", "4.root.json", "5.root.json"]
    );
}

#[test]
fn a_target_as_long_as_allowed_is_downloaded_and_no_longer_one() {
    let repository = Repository::new();
    for (download_length, refused) in [(5, false), (4, true)] {
        let limits = Limits {
            download_length,
            ..Limits::default()
        };
        let client = repository.client(repository.fresh_store());
        let mut client = client.with_limits(limits);
        now(client.refresh()).unwrap();
        let target = now(client.target("hello.txt")).unwrap().unwrap();
        let outcome = now(client.download(&target));
        assert_eq!(
            matches!(outcome, Err(Error::TooLarge { limit: 4, .. })),
            refused,
            "{outcome:?}"
        );
        assert_eq!(outcome.is_ok(), !refused);
    }
}

/// The figures that python-tuf, go-tuf and tuf-js share: a repository within them is followed by all.
#[test]
fn the_limits_are_those_of_the_other_clients() {
    let limits = Limits::default();
    assert_eq!((limits.root_rotations, limits.delegations), (256, 32));
    let lengths = [
        limits.root_length,
        limits.timestamp_length,
        limits.snapshot_length,
        limits.targets_length,
    ];
    assert_eq!(lengths, [512_000, 16_384, 2_000_000, 5_000_000]);
    assert_eq!(limits.download_length, 67_108_864);
}

#[test]
fn after_a_refresh_the_client_shows_what_it_trusts() {
    let mut repository = Repository::new();
    repository.bump();
    repository.publish();
    let mut client = repository.client(repository.fresh_store());
    assert!(client.timestamp().is_none() && client.snapshot().is_none());
    assert!(client.targets().is_none());
    now(client.refresh()).unwrap();
    assert_eq!(
        client.timestamp().map(|timestamp| timestamp.version),
        Some(2)
    );
    assert_eq!(client.snapshot().map(|snapshot| snapshot.version), Some(2));
    assert_eq!(client.targets(), Some(&repository.targets));
}

#[test]
fn nobody_is_not_enough_even_where_nobody_is_asked_for() {
    let repository = Repository::new();
    let envelope = Envelope::unsigned(repository.targets.clone()).unwrap();
    let role = RoleKeys::new(&[], 0);
    assert!(matches!(
        envelope.verify(&BTreeMap::new(), &role, "targets"),
        Err(Error::Threshold { threshold: 0, .. })
    ));
    assert_eq!(envelope.to_bytes().last(), Some(&b'\n'));
}

#[test]
fn a_bin_without_the_target_does_not_end_the_search() {
    let mut repository = Repository::new();
    let keys = signer(KeyType::EcP256);
    let key = key(&keys);
    let roles = vec![
        delegated("family", &key, &["*"], false),
        delegated("later", &key, &["*"], false),
    ];
    repository.delegate(roles, &[&key]);
    let mut family = Targets::new(1, repository.expires);
    let bins = SuccinctRoles {
        keyids: vec![key.id()],
        threshold: 1,
        bit_length: 1,
        name_prefix: "bin".to_owned(),
        extra: serde_json::Map::new(),
    };
    let mut of_family = delegations(Vec::new(), &[&key]);
    (of_family.roles, of_family.succinct_roles) = (None, Some(bins));
    family.delegations = Some(of_family);
    repository.set_delegated("family", family, &[&keys]);
    for bin in ["bin-0", "bin-1"] {
        repository.set_delegated(bin, Targets::new(1, repository.expires), &[&keys]);
    }
    let mut later = Targets::new(1, repository.expires);
    later.add("wanted", b"wanted");
    repository.set_delegated("later", later, &[&keys]);
    repository.publish();
    let found = repository.find("wanted").unwrap().unwrap();
    assert_eq!(found.role, "later");
}

#[test]
fn a_network_that_failed_may_work_later_and_a_bad_file_will_not() {
    let failed = Error::Fetch {
        name: "timestamp.json".into(),
        source: "no route".into(),
    };
    assert!(failed.is_transient());
    let malformed = Error::Malformed {
        name: "timestamp".into(),
        problem: Problem::VersionZero,
    };
    assert!(!malformed.is_transient());
}
