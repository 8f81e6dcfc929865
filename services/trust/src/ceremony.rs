//! Keys and roots: what is done rarely, by people, away from the running service.

use std::path::Path;

use sealwright_crypto::{KeyType, MemorySigner, PrivateKey, PublicKey, Signer};
use sealwright_tuf::{Envelope, Expiry, Key, Metadata, Role, Root, key_of};

use crate::disk::{FileWrite, Mode, read_optional};
use crate::error::Error;
use crate::repository::Repository;

/// Who may sign what in a new repository.
#[derive(Debug)]
pub struct Roles<'a> {
    /// Root keys; all of them sign the first root.
    pub root: &'a [&'a dyn Signer],
    /// How many root keys later roots need.
    pub root_threshold: u32,
    /// Keys that sign targets, offline.
    pub targets: &'a [&'a PublicKey],
    /// How many of them are needed.
    pub targets_threshold: u32,
    /// The key that signs snapshot and timestamp, online.
    pub online: &'a PublicKey,
}

/// Makes version 1 of a root, signed by all its root keys. `expires` is in Unix seconds.
///
/// # Errors
/// [`Error::Config`] when the online key could also sign root or targets, or a threshold cannot be met;
/// [`Error::Tuf`] for keys that TUF clients do not all understand.
pub async fn first_root(roles: &Roles<'_>, expires: i64) -> Result<Vec<u8>, Error> {
    let root_keys = roles.root.iter().map(|signer| key_of(signer.public_key()));
    let root_keys: Vec<Key> = root_keys.collect::<Result<_, _>>()?;
    let targets_keys = roles.targets.iter().map(|key| key_of(key));
    let targets_keys: Vec<Key> = targets_keys.collect::<Result<_, _>>()?;
    let online = key_of(roles.online)?;
    if root_keys.contains(&online) || targets_keys.contains(&online) {
        return Err(Error::Config {
            what: "the online key must not be a root or targets key: whoever takes the server would own the trust root"
                .to_owned(),
        });
    }
    check_threshold("root", &root_keys, roles.root_threshold)?;
    check_threshold("targets", &targets_keys, roles.targets_threshold)?;
    let mut root = Root::new(Expiry::from_unix(expires));
    let borrowed: Vec<&Key> = root_keys.iter().collect();
    root.set_role(Role::Root, &borrowed, roles.root_threshold);
    let borrowed: Vec<&Key> = targets_keys.iter().collect();
    root.set_role(Role::Targets, &borrowed, roles.targets_threshold);
    root.set_role(Role::Snapshot, &[&online], 1);
    root.set_role(Role::Timestamp, &[&online], 1);
    sign_root(root, roles.root).await
}

/// Signs a root with the given keys. For a rotation that is enough old and enough new root keys.
///
/// # Errors
/// [`Error::Tuf`] when a signer fails or its key is not portable.
pub async fn sign_root(root: Root, signers: &[&dyn Signer]) -> Result<Vec<u8>, Error> {
    let mut envelope = Envelope::unsigned(root)?;
    for signer in signers {
        envelope.sign(*signer).await?;
    }
    Ok(envelope.to_bytes())
}

/// Makes the next root of the repository in the service's state folder, for the same keys and with a new end, signed with
/// `signer`: to be given to [`crate::Trust::publish_root`]. `expires` is in Unix seconds.
///
/// # Errors
/// Whatever is wrong with the repository; [`Error::Tuf`] when the signer fails.
pub async fn renew_root(state: &Path, expires: i64, signer: &dyn Signer) -> Result<Vec<u8>, Error> {
    let repository = Repository::open(&repository_dir(state))?;
    let next = renewed(repository.root().signed(), expires)?;
    sign_root(next, &[signer]).await
}

/// Starts a repository in the service's state folder from its first root.
///
/// # Errors
/// [`Error::RepositoryExists`]; whatever is wrong with the root.
pub fn create_repository(state: &Path, root: &[u8]) -> Result<(), Error> {
    Repository::create(&repository_dir(state), root)
}

/// Where in the state folder the repository is. It may be served by any web server.
#[must_use]
pub fn repository_dir(state: &Path) -> std::path::PathBuf {
    state.join("repository")
}

/// The root and targets keys of a development instance, in files that its folder keeps apart from the online key.
#[derive(Debug, Clone)]
pub struct OfflineKeys {
    /// Signs roots.
    pub root: MemorySigner,
    /// Signs targets.
    pub targets: MemorySigner,
}

impl OfflineKeys {
    /// Reads `root.pem` and `targets.pem`.
    ///
    /// # Errors
    /// [`Error::Key`] when one is missing or unreadable.
    pub fn open(dir: &Path) -> Result<Self, Error> {
        Ok(Self {
            root: read_key(&dir.join("root.pem"))?,
            targets: read_key(&dir.join("targets.pem"))?,
        })
    }

    /// As [`OfflineKeys::open`]; makes the keys that are not there yet.
    ///
    /// # Errors
    /// [`Error::Key`], [`Error::Disk`].
    pub fn open_or_create(dir: &Path) -> Result<Self, Error> {
        make_key_unless_there(&dir.join("root.pem"))?;
        make_key_unless_there(&dir.join("targets.pem"))?;
        Self::open(dir)
    }
}

/// The online key of a development instance: `online.pem` in the state folder, made when it is not there.
pub(crate) fn open_or_create_online(state: &Path) -> Result<MemorySigner, Error> {
    let path = state.join("online.pem");
    make_key_unless_there(&path)?;
    read_key(&path)
}

/// A root one version on with a new end, for the same keys.
pub(crate) fn renewed(root: &Root, expires: i64) -> Result<Root, Error> {
    Ok(root.next(Expiry::from_unix(expires))?)
}

fn check_threshold(role: &str, keys: &[Key], threshold: u32) -> Result<(), Error> {
    let available = u32::try_from(keys.len()).unwrap_or(u32::MAX);
    if (1..=available).contains(&threshold) {
        return Ok(());
    }
    Err(Error::Config {
        what: format!(
            "the threshold of {role} is {threshold}; with {available} key(s) it must be 1 to {available}"
        ),
    })
}

fn make_key_unless_there(path: &Path) -> Result<(), Error> {
    if path.exists() {
        return Ok(());
    }
    let key = PrivateKey::generate(KeyType::EcP256).map_err(|error| Error::Key {
        what: format!("a key could not be made: {error}"),
    })?;
    let write = FileWrite {
        path: path.to_owned(),
        bytes: key.to_pkcs8_pem().as_bytes().to_vec(),
        mode: Mode::CreateSecret,
    };
    write.apply()
}

fn read_key(path: &Path) -> Result<MemorySigner, Error> {
    let failed = |why: String| Error::Key {
        what: format!("the key {} cannot be used: {why}", path.display()),
    };
    let bytes = read_optional(path)?.ok_or_else(|| failed("there is no such file".to_owned()))?;
    let text = std::str::from_utf8(&bytes).map_err(|error| failed(error.to_string()))?;
    let key = PrivateKey::from_pem(text).map_err(|error| failed(error.to_string()))?;
    Ok(MemorySigner::new(key))
}
