//! A client that dies, or whose disk fills up, at any of its writes.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;

/// A store that takes so many changes and no more; the first one too many is lost, or made but not confirmed.
#[derive(Clone)]
struct Failing(Arc<Mutex<State>>);

struct State {
    inner: MemoryStore,
    left: usize,
    applied: bool,
}

impl Failing {
    fn after(inner: &MemoryStore, changes: usize, applied: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            inner: inner.clone(),
            left: changes,
            applied,
        })))
    }

    fn change(&self, act: impl FnOnce(&mut MemoryStore) -> io::Result<()>) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        if state.left > 0 {
            state.left -= 1;
            return act(&mut state.inner);
        }
        if std::mem::take(&mut state.applied) {
            act(&mut state.inner)?;
        }
        Err(io::Error::from(io::ErrorKind::StorageFull))
    }

    fn left_behind(&self) -> MemoryStore {
        self.0.lock().unwrap().inner.clone()
    }
}

impl Store for Failing {
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.0.lock().unwrap().inner.load(name)
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.change(|inner| inner.save(name, bytes))
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.change(|inner| inner.remove(name))
    }
}

/// The next state of a repository: new versions of everything, and other online keys if asked for.
fn advance(repository: &mut Repository, rotate: bool) {
    repository.bump();
    repository.root = repository.root.next(repository.expires).unwrap();
    if rotate {
        repository.online = signer(KeyType::Ed25519);
        let online = key(&repository.online);
        repository.root.set_role(Role::Snapshot, &[&online], 1);
        repository.root.set_role(Role::Timestamp, &[&online], 1);
    }
    repository.publish_root(&[]);
    repository.publish();
}

#[test]
fn whatever_write_is_the_last_the_next_session_completes_the_set() {
    for rotate in [false, true] {
        let mut repository = Repository::new();
        let before = repository.seen();
        let old = repository.files.clone();
        advance(&mut repository, rotate);
        let (complete, outcome) = repository.session(before.clone());
        outcome.unwrap();
        // Root, timestamp, snapshot, targets; the two that a rotation makes the client forget come first.
        let changes = if rotate { 6 } else { 4 };
        for (left, applied) in (0..changes).flat_map(|left| [(left, false), (left, true)]) {
            let store = Failing::after(&before, left, applied);
            let mut client = Client::open(&repository.files, store.clone(), NOW).unwrap();
            let outcome = now(client.refresh());
            assert!(matches!(outcome, Err(Error::Store { .. })), "{outcome:?}");
            drop(client);

            let torn = store.left_behind();
            let (store, outcome) = repository.session(torn.clone());
            outcome.unwrap();
            assert!(store == complete, "{left} {applied}");

            // What was seen once stays seen: the old state is no longer believed.
            let seen =
                torn.load("timestamp.json").unwrap() == complete.load("timestamp.json").unwrap();
            let mut client = Client::open(&old, torn, NOW).unwrap();
            let back = now(client.refresh());
            if seen {
                assert!(back.is_err(), "{left} {applied} {rotate}");
            }
        }
        let store = Failing::after(&before, changes, false);
        let mut client = Client::open(&repository.files, store, NOW).unwrap();
        now(client.refresh()).unwrap();
    }
}

#[test]
fn a_set_that_does_not_fit_together_is_not_used_without_a_network() {
    let mut repository = Repository::new();
    let before = repository.seen();
    advance(&mut repository, false);
    let nowhere = MemoryRepository::new();
    // One change is the root, two are root and timestamp, and so on.
    for (changes, usable) in [(0, true), (1, true), (2, false), (3, false), (4, true)] {
        let store = Failing::after(&before, changes, false);
        let mut client = Client::open(&repository.files, store.clone(), NOW).unwrap();
        let _died_or_not = now(client.refresh());
        let mut offline = Client::open(&nowhere, store.left_behind(), NOW).unwrap();
        assert_eq!(offline.load_cached().is_ok(), usable, "{changes}");
    }
}
