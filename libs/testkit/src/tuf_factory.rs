//! Whole TUF repositories, made by the writing side of `sealwright-tuf`: for clients that should follow them.

use std::collections::BTreeMap;
use std::path::Path;

use futures::FutureExt as _;
use sealwright_crypto::{Algorithm, HashAlgorithm, KeyType, MemorySigner, PrivateKey, Signer as _};
pub use sealwright_tuf::Role;
use sealwright_tuf::{
    DelegatedRole, Delegations, Envelope, Expiry, Key, MetaFile, Metadata, Root, Snapshot,
    SuccinctRoles, Targets, Timestamp, key_of, target_file_name, versioned_file_name,
};

/// Which keys sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keys {
    /// Ed25519.
    Ed25519,
    /// ECDSA P-256.
    EcP256,
    /// RSA of 2048 bits, PSS with SHA-256.
    RsaPss,
}

impl Keys {
    /// A new key.
    ///
    /// # Panics
    /// When the system has no randomness.
    #[must_use]
    pub fn signer(self) -> MemorySigner {
        let generate = |key_type| PrivateKey::generate(key_type).expect("a key");
        match self {
            Self::Ed25519 => MemorySigner::new(generate(KeyType::Ed25519)),
            Self::EcP256 => MemorySigner::new(generate(KeyType::EcP256)),
            Self::RsaPss => {
                let hash = HashAlgorithm::Sha256;
                let pss = Algorithm::RsaPss { bits: 2048, hash };
                let key = generate(KeyType::Rsa { bits: 2048 });
                MemorySigner::with_algorithm(key, pss).expect("they fit")
            }
        }
    }
}

/// Which delegated paths a role may speak for.
#[derive(Debug, Clone, Copy)]
pub enum Scope<'a> {
    /// Shell patterns.
    Patterns(&'a [&'a str]),
    /// Hex prefixes of the SHA-256 of the path.
    HashPrefixes(&'a [&'a str]),
}

/// A repository with consistent snapshots: what is changed becomes visible with [`TufRepository::publish`].
#[derive(Debug)]
pub struct TufRepository {
    /// What is published, by path below the base; targets are below `targets/`.
    pub files: BTreeMap<String, Vec<u8>>,
    expires: Expiry,
    keys: Keys,
    root: Root,
    signers: BTreeMap<&'static str, MemorySigner>,
    targets: Targets,
    roles: BTreeMap<String, (Targets, MemorySigner)>,
    version: u64,
}

impl TufRepository {
    /// A published repository without targets, in which each role has one key. Everything expires at `expires`, Unix
    /// seconds.
    #[must_use]
    pub fn new(keys: Keys, expires: i64) -> Self {
        let expires = Expiry::from_unix(expires);
        let mut repository = Self {
            files: BTreeMap::new(),
            expires,
            keys,
            root: Root::new(expires),
            signers: BTreeMap::new(),
            targets: Targets::new(1, expires),
            roles: BTreeMap::new(),
            version: 0,
        };
        for role in Role::ALL {
            repository.assign(role);
        }
        repository.publish_root(&[]);
        repository.publish();
        repository
    }

    /// The root that clients start from, version 1.
    ///
    /// # Panics
    /// Never: it is there from the beginning.
    #[must_use]
    pub fn first_root(&self) -> &[u8] {
        self.files.get("1.root.json").expect("it is there")
    }

    /// Replaces the only key of a role by a new one, in the next root.
    pub fn rotate(&mut self, role: Role) {
        let old = self.signers.remove(role.name());
        self.assign(role);
        self.root = self
            .root
            .next(self.expires)
            .expect("there is a next version");
        let old = old.filter(|_| role == Role::Root);
        self.publish_root(&old.iter().collect::<Vec<_>>());
    }

    /// Everything published from now on expires then, Unix seconds; a new root says so at once.
    pub fn expire_at(&mut self, expires: i64) {
        self.expires = Expiry::from_unix(expires);
        self.targets.expires = self.expires;
        for (targets, _) in self.roles.values_mut() {
            targets.expires = self.expires;
        }
        self.root = self
            .root
            .next(self.expires)
            .expect("there is a next version");
        self.publish_root(&[]);
    }

    /// Lists a file in the targets of a role (`targets` for the top).
    pub fn add(&mut self, role: &str, path: &str, bytes: &[u8]) {
        self.role(role).add(path, bytes);
        let hash = hex::encode(sealwright_crypto::sha256(bytes));
        let name = format!("targets/{}", target_file_name(path, Some(&hash)));
        self.put(name, bytes.to_vec());
    }

    /// Delegates to a role with a key of its own. A role that exists already keeps its key.
    ///
    /// # Panics
    /// When the delegator has bins.
    pub fn delegate(&mut self, delegator: &str, role: &str, scope: Scope<'_>, terminating: bool) {
        let key = self.delegated_key(role);
        let strings = |list: &[&str]| list.iter().map(|&text| text.to_owned()).collect();
        let (paths, path_hash_prefixes) = match scope {
            Scope::Patterns(patterns) => (Some(strings(patterns)), None),
            Scope::HashPrefixes(prefixes) => (None, Some(strings(prefixes))),
        };
        let delegation = DelegatedRole {
            name: role.to_owned(),
            keyids: vec![key.id()],
            threshold: 1,
            terminating,
            paths,
            path_hash_prefixes,
            extra: serde_json::Map::new(),
        };
        let delegations = self.delegations(delegator, key);
        let roles = delegations.roles.get_or_insert_default();
        roles.push(delegation);
    }

    /// Delegates everything to 2^`bit_length` bins that share a key; [`TufRepository::bin_of`] says which is whose.
    ///
    /// # Panics
    /// When the bins have no prefix to be named by.
    pub fn delegate_to_bins(&mut self, delegator: &str, prefix: &str, bit_length: u32) {
        let signer = self.keys.signer();
        let key = key_of(signer.public_key()).expect("a portable key");
        let digits = bit_length.div_ceil(4) as usize;
        for bin in 0..1_u64 << bit_length {
            let targets = Targets::new(1, self.expires);
            let name = format!("{prefix}-{bin:0digits$x}");
            self.roles.insert(name, (targets, signer.clone()));
        }
        let bins = SuccinctRoles {
            keyids: vec![key.id()],
            threshold: 1,
            bit_length,
            name_prefix: prefix.to_owned(),
            extra: serde_json::Map::new(),
        };
        self.delegations(delegator, key).succinct_roles = Some(bins);
    }

    /// The bin of the top-level targets for a path.
    ///
    /// # Panics
    /// When there are no bins.
    #[must_use]
    pub fn bin_of(&self, path: &str) -> String {
        let delegations = self.targets.delegations.as_ref();
        let bins = delegations.and_then(|delegations| delegations.succinct_roles.as_ref());
        bins.expect("there are bins").bin_of(path)
    }

    /// Publishes the next version of everything but the root.
    ///
    /// # Panics
    /// When metadata breaks a rule of its type.
    pub fn publish(&mut self) {
        self.version += 1;
        let version = self.version;
        self.targets.version = version;
        let targets = signed(&self.targets, &[&self.signers["targets"]]);
        let mut snapshot = Snapshot::new(version, self.expires, MetaFile::of(version, &targets));
        self.put(versioned_file_name(version, "targets"), targets);
        let mut written = Vec::new();
        for (name, (targets, signer)) in &mut self.roles {
            targets.version = version;
            let bytes = signed(targets, &[signer]);
            snapshot
                .meta
                .insert(format!("{name}.json"), MetaFile::of(version, &bytes));
            written.push((versioned_file_name(version, name), bytes));
        }
        for (name, bytes) in written {
            self.put(name, bytes);
        }
        let bytes = signed(&snapshot, &[&self.signers["snapshot"]]);
        let meta = MetaFile::of(version, &bytes);
        self.put(versioned_file_name(version, "snapshot"), bytes);
        let timestamp = Timestamp::new(version, self.expires, meta);
        let bytes = signed(&timestamp, &[&self.signers["timestamp"]]);
        self.put("timestamp.json".to_owned(), bytes);
    }

    /// Writes what is published into a folder, under the names of the URLs (a slash in a role's name stays encoded).
    ///
    /// # Errors
    /// What the system says.
    pub fn write_to(&self, dir: &Path) -> std::io::Result<()> {
        for (name, bytes) in &self.files {
            let path = dir.join(name);
            std::fs::create_dir_all(path.parent().unwrap_or(dir))?;
            std::fs::write(path, bytes)?;
        }
        Ok(())
    }

    fn put(&mut self, name: String, bytes: Vec<u8>) {
        self.files.insert(name, bytes);
    }

    fn assign(&mut self, role: Role) {
        let signer = self.keys.signer();
        let key = key_of(signer.public_key()).expect("a portable key");
        self.root.set_role(role, &[&key], 1);
        self.signers.insert(role.name(), signer);
    }

    fn publish_root(&mut self, others: &[&MemorySigner]) {
        let mut signers = vec![&self.signers["root"]];
        signers.extend(others);
        let bytes = signed(&self.root, &signers);
        self.put(versioned_file_name(self.root.version, "root"), bytes);
    }

    fn role(&mut self, role: &str) -> &mut Targets {
        match role {
            "targets" => &mut self.targets,
            other => &mut self.roles.get_mut(other).expect("the role exists").0,
        }
    }

    fn delegated_key(&mut self, role: &str) -> Key {
        let (keys, expires) = (self.keys, self.expires);
        let entry = self.roles.entry(role.to_owned());
        let (_, signer) = entry.or_insert_with(|| (Targets::new(1, expires), keys.signer()));
        key_of(signer.public_key()).expect("a portable key")
    }

    fn delegations(&mut self, delegator: &str, key: Key) -> &mut Delegations {
        let list = self.role(delegator).delegations.get_or_insert(Delegations {
            keys: BTreeMap::new(),
            roles: None,
            succinct_roles: None,
            extra: serde_json::Map::new(),
        });
        list.keys.insert(key.id(), key);
        list
    }
}

fn signed<T: Metadata>(metadata: &T, signers: &[&MemorySigner]) -> Vec<u8> {
    let mut envelope = Envelope::unsigned(metadata.clone()).expect("it keeps its rules");
    for &signer in signers {
        let signing = envelope.sign(signer).now_or_never();
        signing
            .expect("a key in memory answers at once")
            .expect("it signs");
    }
    envelope.to_bytes()
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;
    use sealwright_tuf::{Client, MemoryRepository, MemoryStore, Place, bootstrap};

    use super::*;

    const NOW: i64 = 1_800_000_000;

    #[test]
    fn the_client_of_the_same_crate_follows_it() {
        let mut repository = TufRepository::new(Keys::Ed25519, NOW + 60);
        repository.delegate_to_bins("targets", "bin", 3);
        let bin = repository.bin_of("file");
        repository.add(&bin, "file", b"content");
        repository.rotate(Role::Root);
        repository.rotate(Role::Timestamp);
        repository.publish();
        let mut files = MemoryRepository::new();
        for (name, bytes) in &repository.files {
            match name.strip_prefix("targets/") {
                Some(name) => files.insert(Place::Targets, name, bytes.clone()),
                None => files.insert(Place::Metadata, name, bytes.clone()),
            }
        }
        let mut store = MemoryStore::new();
        bootstrap(&mut store, repository.first_root()).expect("a root");
        let mut client = Client::open(&files, store, NOW).expect("a client");
        let follow = async {
            client.refresh().await?;
            let target = client.target("file").await?.expect("it is there");
            client.download(&target).await
        };
        let content = follow.now_or_never().expect("memory does not wait");
        assert_eq!(content.expect("it is followed"), b"content");
    }
}
