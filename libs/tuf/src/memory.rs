//! A store and a repository in memory: for tests, and for whoever judges a repository before it is published.

use std::collections::BTreeMap;

use sealwright_crypto::BoxFuture;

use crate::client::{Fetch, FetchError, Place, Store, whole_file};

/// A [`Store`] that forgets everything when dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryStore(BTreeMap<String, Vec<u8>>);

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl Store for MemoryStore {
    fn load(&self, name: &str) -> std::io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(name).cloned())
    }

    fn save(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        self.0.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn remove(&mut self, name: &str) -> std::io::Result<()> {
        self.0.remove(name);
        Ok(())
    }
}

/// A [`Fetch`] over files held in memory.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryRepository(BTreeMap<(Place, String), Vec<u8>>);

impl MemoryRepository {
    /// A repository without files.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces a file.
    pub fn insert(&mut self, place: Place, name: impl Into<String>, bytes: impl Into<Vec<u8>>) {
        self.0.insert((place, name.into()), bytes.into());
    }

    /// Takes a file away.
    pub fn remove(&mut self, place: Place, name: &str) {
        self.0.remove(&(place, name.to_owned()));
    }
}

impl Fetch for MemoryRepository {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        let found = self.0.get(&(place, name.to_owned())).cloned();
        Box::pin(std::future::ready(whole_file(found, max_length)))
    }
}

impl<T: Fetch + ?Sized> Fetch for &T {
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>> {
        (**self).fetch(place, name, max_length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::FetchError;

    #[test]
    fn a_store_gives_back_what_was_saved_until_it_is_removed() {
        let mut store = MemoryStore::new();
        store.save("root.json", b"1").unwrap();
        store.save("root.json", b"2").unwrap();
        assert_eq!(store.load("root.json").unwrap(), Some(b"2".to_vec()));
        store.remove("root.json").unwrap();
        assert_eq!(store.load("root.json").unwrap(), None);
        store.remove("root.json").unwrap();
    }

    #[test]
    fn a_whole_file_is_given_up_to_its_length() {
        let file = || Some(b"12345".to_vec());
        assert!(matches!(whole_file(file(), 5), Ok(bytes) if bytes == b"12345"));
        assert!(matches!(whole_file(file(), 4), Err(FetchError::TooLarge)));
        assert!(matches!(whole_file(None, 5), Err(FetchError::NotFound)));
    }
}
