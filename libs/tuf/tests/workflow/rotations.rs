//! Who may sign what while keys come and go. A history is data: which keys a version names, how many must sign, who signed.

use super::*;

/// One version of a role's keys and its signatures, as numbers of keys.
struct Version {
    keys: &'static [usize],
    threshold: u32,
    signers: &'static [usize],
}

const fn version(keys: &'static [usize], threshold: u32, signers: &'static [usize]) -> Version {
    Version {
        keys,
        threshold,
        signers,
    }
}

fn ring() -> Vec<MemorySigner> {
    (0..8).map(|_| signer(KeyType::Ed25519)).collect()
}

fn keys_of(ring: &[MemorySigner], numbers: &[usize]) -> Vec<Key> {
    numbers.iter().map(|number| key(&ring[*number])).collect()
}

fn set(root: &mut Root, role: Role, ring: &[MemorySigner], version: &Version) {
    let keys = keys_of(ring, version.keys);
    root.set_role(role, &keys.iter().collect::<Vec<_>>(), version.threshold);
}

fn pick<'a>(ring: &'a [MemorySigner], numbers: &[usize]) -> Vec<&'a MemorySigner> {
    numbers.iter().map(|number| &ring[*number]).collect()
}

#[test]
fn roots_are_followed_as_far_as_old_and_new_keys_agree() {
    // The last number is the version that a client ends with.
    let histories: [(&str, Vec<Version>, u64); 14] = [
        (
            "the only key is replaced",
            vec![
                version(&[0], 1, &[0]),
                version(&[1], 1, &[0, 1]),
                version(&[1], 1, &[1]),
            ],
            3,
        ),
        (
            "strangers sign as well",
            vec![version(&[0], 1, &[7, 0]), version(&[1], 1, &[6, 1, 0, 7])],
            2,
        ),
        (
            "any two of three",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[0, 1, 2], 2, &[1, 2]),
                version(&[0, 1, 2], 2, &[0, 2]),
            ],
            3,
        ),
        (
            "one of three is replaced by those who stay",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[0, 1, 3], 2, &[0, 1]),
            ],
            2,
        ),
        (
            "the one who comes helps with the new, the one who goes with the old",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[0, 3, 4], 2, &[0, 2, 3]),
            ],
            2,
        ),
        (
            "all are replaced",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[3, 4, 5], 2, &[0, 2, 4, 5]),
            ],
            2,
        ),
        (
            "the threshold rises",
            vec![version(&[0, 1], 1, &[0]), version(&[0, 1], 2, &[0, 1])],
            2,
        ),
        (
            "the threshold falls",
            vec![
                version(&[0, 1], 2, &[0, 1]),
                version(&[0, 1], 1, &[0, 1]),
                version(&[0, 1], 1, &[1]),
            ],
            3,
        ),
        (
            "refused: the old key has not signed",
            vec![version(&[0], 1, &[0]), version(&[1], 1, &[1, 2])],
            1,
        ),
        (
            "refused: the new key has not signed",
            vec![version(&[0], 1, &[0]), version(&[1], 1, &[0, 2])],
            1,
        ),
        (
            "refused: too few of the old",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[0, 3, 4], 2, &[0, 3, 4]),
            ],
            1,
        ),
        (
            "refused: too few of the new",
            vec![
                version(&[0, 1, 2], 2, &[0, 1]),
                version(&[0, 3, 4], 2, &[0, 1, 2]),
            ],
            1,
        ),
        (
            "refused: the risen threshold is not met",
            vec![version(&[0, 1], 1, &[0]), version(&[0, 1], 2, &[1])],
            1,
        ),
        (
            "refused: the threshold that falls is not met, after one that was followed",
            vec![
                version(&[0, 1], 2, &[0, 1]),
                version(&[0, 1], 2, &[0, 1]),
                version(&[0, 1], 1, &[1]),
            ],
            2,
        ),
    ];
    for (what, history, last) in histories {
        let ring = ring();
        let mut repository = Repository::new();
        let mut first = Vec::new();
        for (number, version) in (1_u64..).zip(&history) {
            repository.root.version = number;
            set(&mut repository.root, Role::Root, &ring, version);
            let bytes = signed(repository.root.clone(), &pick(&ring, version.signers));
            let name = versioned_file_name(number, "root");
            repository
                .files
                .insert(Place::Metadata, name, bytes.clone());
            if number == 1 {
                first = bytes;
            }
        }
        let mut store = MemoryStore::new();
        bootstrap(&mut store, &first).unwrap();
        let (store, outcome) = repository.session(store);
        let refused = last < history.len() as u64;
        assert_eq!(
            matches!(outcome, Err(Error::Threshold { ref role, .. }) if role == "root"),
            refused,
            "{what}: {outcome:?}"
        );
        assert_eq!(outcome.is_ok(), !refused, "{what}: {outcome:?}");
        assert_eq!(repository.client(store).root().version, last, "{what}");
    }
}

#[test]
fn the_other_roles_need_the_keys_of_the_newest_root() {
    for (what, keys, accepted) in [
        ("another key", version(&[1], 1, &[1]), true),
        ("strangers as well", version(&[0], 1, &[6, 0, 7]), true),
        ("two of three", version(&[0, 1, 2], 2, &[2, 0]), true),
        ("all of three", version(&[0, 1, 2], 3, &[2, 0, 1]), true),
        ("only the key before", version(&[1], 1, &[0]), false),
        ("one too few", version(&[0, 1, 2], 2, &[1]), false),
        (
            "one of them a stranger",
            version(&[0, 1, 2], 2, &[1, 3]),
            false,
        ),
        (
            "more needed than there are",
            version(&[0, 1], 3, &[0, 1]),
            false,
        ),
        ("nobody", version(&[0], 1, &[]), false),
    ] {
        for role in [Role::Timestamp, Role::Snapshot, Role::Targets] {
            let ring = ring();
            let mut repository = Repository::new();
            let store = repository.fresh_store();
            repository.root = repository.root.next(repository.expires).unwrap();
            set(&mut repository.root, role, &ring, &keys);
            repository.publish_root(&[]);
            publish_signed_by(&mut repository, role, &pick(&ring, keys.signers));
            let (store, outcome) = repository.session(store);
            assert_eq!(outcome.is_ok(), accepted, "{what} {role}: {outcome:?}");
            if !accepted {
                assert!(
                    matches!(outcome, Err(Error::Threshold { role: ref found, .. }) if found == role.name()),
                    "{what} {role}: {outcome:?}"
                );
            }
            let kept = store.load(&file_name(role.name())).unwrap();
            assert_eq!(kept.is_some(), accepted, "{what} {role}");
        }
    }
}

/// Publishes everything, with one role signed by others than usual.
fn publish_signed_by(repository: &mut Repository, role: Role, signers: &[&MemorySigner]) {
    let own = |usual| match signers {
        _ if usual => None,
        signers => Some(signers),
    };
    let targets = match own(role != Role::Targets) {
        Some(signers) => signed(repository.targets.clone(), signers),
        None => signed(repository.targets.clone(), &[&repository.targets_signer]),
    };
    let snapshot = Snapshot::new(1, repository.expires, MetaFile::of(1, &targets));
    let snapshot = match own(role != Role::Snapshot) {
        Some(signers) => signed(snapshot, signers),
        None => signed(snapshot, &[&repository.online]),
    };
    let timestamp = Timestamp::new(1, repository.expires, MetaFile::of(1, &snapshot));
    let timestamp = match own(role != Role::Timestamp) {
        Some(signers) => signed(timestamp, signers),
        None => signed(timestamp, &[&repository.online]),
    };
    for (name, bytes) in [
        ("1.targets.json", targets),
        ("1.snapshot.json", snapshot),
        ("timestamp.json", timestamp),
    ] {
        repository.files.insert(Place::Metadata, name, bytes);
    }
}

#[test]
fn every_kind_of_key_signs_and_a_changed_signature_does_not_count() {
    let rsa = PrivateKey::generate(KeyType::Rsa { bits: 2048 }).unwrap();
    let pss = Algorithm::RsaPss {
        bits: 2048,
        hash: HashAlgorithm::Sha256,
    };
    for own in [
        signer(KeyType::Ed25519),
        signer(KeyType::EcP256),
        MemorySigner::with_algorithm(rsa, pss).unwrap(),
    ] {
        let mut repository = Repository::new();
        let store = repository.fresh_store();
        repository.root = repository.root.next(repository.expires).unwrap();
        let both = [key(&repository.root_signer), key(&own)];
        repository
            .root
            .set_role(Role::Root, &[&both[0], &both[1]], 2);
        repository.publish_root(&[&own]);
        let (store, outcome) = repository.session(store);
        outcome.unwrap();

        // The next root: the new key's signature is over other bytes.
        let other = signed(repository.root.clone(), &[&own]);
        repository.root = repository.root.next(repository.expires).unwrap();
        let mut envelope = Envelope::unsigned(repository.root.clone()).unwrap();
        now(envelope.sign(&repository.root_signer)).unwrap();
        let stolen = Envelope::<Root>::parse(&other).unwrap().signatures()[0].clone();
        envelope.add_signature(stolen);
        repository
            .files
            .insert(Place::Metadata, "3.root.json", envelope.to_bytes());
        let (store, outcome) = repository.session(store);
        assert!(
            matches!(
                outcome,
                Err(Error::Threshold {
                    valid: 1,
                    threshold: 2,
                    ..
                })
            ),
            "{outcome:?}"
        );
        assert_eq!(repository.client(store).root().version, 2);
    }
}

#[test]
fn an_expired_root_on_the_way_is_passed_and_at_the_end_refused() {
    let mut repository = Repository::new();
    let store = repository.fresh_store();
    repository.root = repository.root.next(Expiry::from_unix(NOW - 1)).unwrap();
    repository.publish_root(&[]);
    let (kept, outcome) = repository.session(store.clone());
    assert!(matches!(outcome, Err(Error::Expired { ref role, .. }) if role == "root"));
    assert_eq!(repository.client(kept.clone()).root().version, 2);
    assert!(kept.load("timestamp.json").unwrap().is_none());

    repository.root = repository.root.next(Expiry::from_unix(LATER)).unwrap();
    repository.publish_root(&[]);
    for store in [store, kept] {
        let (store, outcome) = repository.session(store);
        outcome.unwrap();
        assert_eq!(repository.client(store).root().version, 3);
    }
}

#[test]
fn stored_metadata_that_has_expired_still_guards_against_older() {
    let mut repository = Repository::new();
    repository.timestamp_version = 5;
    repository.publish();
    let store = repository.seen();
    let later = LATER + 10;
    repository.root = repository.root.next(Expiry::from_unix(later + 10)).unwrap();
    repository.expires = Expiry::from_unix(later + 10);
    repository.publish_root(&[]);
    repository.targets = repository.targets.next(repository.expires).unwrap();
    repository.snapshot_version = 2;
    for (version, accepted) in [(4, false), (6, true)] {
        repository.timestamp_version = version;
        repository.publish();
        let mut client = Client::open(&repository.files, store.clone(), later).unwrap();
        let outcome = now(client.refresh());
        match accepted {
            true => outcome.unwrap(),
            false => assert!(
                matches!(
                    outcome,
                    Err(Error::Rollback {
                        trusted: 5,
                        found: 4,
                        ..
                    })
                ),
                "{outcome:?}"
            ),
        }
    }
}
