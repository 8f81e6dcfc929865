//! The client workflow (specification section 5): from one trusted root to a verified target file.

use std::collections::BTreeSet;

use sealwright_crypto::BoxFuture;

use crate::delegation::Lead;
use crate::envelope::Envelope;
use crate::error::Error;
use crate::metadata::{Role, Root, Snapshot, TargetFile, Targets, Timestamp};
use crate::name::{file_name, target_file_name, versioned_file_name};
use crate::trusted::{Freshness, TrustedSet};

/// Which of the repository's two bases a name is relative to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// The base of the metadata.
    Metadata,
    /// The base of the target files; for Sigstore repositories `targets/` under the other.
    Targets,
}

/// Where files come from.
///
/// `name` is a relative URL path, percent-encoded. An implementation returns at most `max_length` bytes and stops
/// reading there ([`FetchError::TooLarge`]); it reports a file that is not there (HTTP 404, and 403 of object stores
/// that hide what is missing) as [`FetchError::NotFound`]. Retries, time limits and minimum throughput are its own
/// affair. A file fetched twice may differ: nothing here relies on the source being honest.
pub trait Fetch: Send + Sync {
    /// Reads one file.
    fn fetch<'a>(
        &'a self,
        place: Place,
        name: &'a str,
        max_length: u64,
    ) -> BoxFuture<'a, Result<Vec<u8>, FetchError>>;
}

/// Why a file did not come.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The source does not have it.
    #[error("not found")]
    NotFound,
    /// It is longer than asked for.
    #[error("longer than allowed")]
    TooLarge,
    /// Anything else.
    #[error(transparent)]
    Failed(Box<dyn std::error::Error + Send + Sync>),
}

/// The answer of a [`Fetch`] that has whole files at hand.
///
/// # Errors
/// [`FetchError::NotFound`] where there is none, [`FetchError::TooLarge`] where it has more than `max_length` bytes.
pub fn whole_file(found: Option<Vec<u8>>, max_length: u64) -> Result<Vec<u8>, FetchError> {
    match found {
        None => Err(FetchError::NotFound),
        Some(bytes) if bytes.len() as u64 > max_length => Err(FetchError::TooLarge),
        Some(bytes) => Ok(bytes),
    }
}

/// Where a client remembers what it has verified. Names are plain file names (`root.json`, percent-encoded role
/// names); `save` must be atomic, so that a crash leaves the old file or the new one.
pub trait Store: Send {
    /// The bytes last saved, or nothing.
    ///
    /// # Errors
    /// When the store cannot be read; not when the file is missing.
    fn load(&self, name: &str) -> std::io::Result<Option<Vec<u8>>>;

    /// Keeps exactly these bytes.
    ///
    /// # Errors
    /// When they could not be made durable.
    fn save(&mut self, name: &str, bytes: &[u8]) -> std::io::Result<()>;

    /// Forgets a file; one that is not there is no error.
    ///
    /// # Errors
    /// When the file is still there.
    fn remove(&mut self, name: &str) -> std::io::Result<()>;
}

/// Caps on what a repository can make a client do. The defaults are those of python-tuf, go-tuf and tuf-js.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// New roots followed in one refresh.
    pub root_rotations: u32,
    /// Delegated roles visited in one search.
    pub delegations: usize,
    /// Bytes of a root.
    pub root_length: u64,
    /// Bytes of a timestamp.
    pub timestamp_length: u64,
    /// Bytes of a snapshot, where the timestamp gives no length.
    pub snapshot_length: u64,
    /// Bytes of a targets file, where the snapshot gives no length.
    pub targets_length: u64,
    /// Bytes of a target file that [`Client::download`] holds in memory.
    pub download_length: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            root_rotations: 256,
            delegations: 32,
            root_length: 512_000,
            timestamp_length: 16_384,
            snapshot_length: 2_000_000,
            targets_length: 5_000_000,
            download_length: 64 * 1024 * 1024,
        }
    }
}

/// A target that signed metadata names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its path in the repository.
    pub path: String,
    /// Length and hashes.
    pub file: TargetFile,
    /// The role that names it.
    pub role: String,
}

/// Starts (or restarts) a store from a root obtained by other means, and forgets everything the store knew. No file
/// is fetched.
///
/// # Errors
/// When `root` is not a root signed by its own keys, or the store fails.
pub fn bootstrap<S: Store>(store: &mut S, root: &[u8]) -> Result<(), Error> {
    TrustedSet::new(root, 0)?;
    for role in [Role::Timestamp, Role::Snapshot, Role::Targets] {
        remove(store, &file_name(role.name()))?;
    }
    save(store, &file_name(Role::Root.name()), root)
}

/// Follows one repository.
///
/// [`Client::refresh`] brings the top-level metadata up to date, [`Client::target`] finds a target, and
/// [`Client::download`] fetches it. A client lives for one session: the time it is given at the start is the time of
/// all its decisions, as the specification asks.
#[derive(Debug)]
pub struct Client<F, S> {
    source: F,
    store: S,
    limits: Limits,
    trusted: TrustedSet,
}

impl<F: Fetch, S: Store> Client<F, S> {
    /// Opens a store that has been bootstrapped. `now` is Unix seconds.
    ///
    /// # Errors
    /// [`Error::NoTrustedRoot`], or what is wrong with the stored root.
    pub fn open(source: F, store: S, now: i64) -> Result<Self, Error> {
        let root = load(&store, &file_name(Role::Root.name()))?.ok_or(Error::NoTrustedRoot)?;
        Ok(Self {
            source,
            store,
            limits: Limits::default(),
            trusted: TrustedSet::new(&root, now)?,
        })
    }

    /// Replaces the default caps.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Brings root, timestamp, snapshot and targets up to date, in this order, and keeps in the store whatever has
    /// been verified, also when a later step fails.
    ///
    /// # Errors
    /// Any refusal of the workflow; the store then still holds the last good state.
    pub async fn refresh(&mut self) -> Result<(), Error> {
        self.trusted.forget_all_but_root();
        self.follow_roots().await?;
        self.trusted.root_in_force()?;
        self.refresh_timestamp().await?;
        self.refresh_snapshot().await?;
        self.refresh_targets(Role::Targets.name(), None).await
    }

    /// As [`Client::refresh`], from the store alone: for work without a network. Nothing newer is learnt, and all
    /// other checks, expiry too, are the same.
    ///
    /// # Errors
    /// [`Error::Missing`] when the store does not hold a complete set; any refusal of the workflow.
    pub fn load_cached(&mut self) -> Result<(), Error> {
        self.trusted.forget_all_but_root();
        self.trusted.root_in_force()?;
        let timestamp = self.cached(Role::Timestamp.name())?;
        self.trusted.accept_timestamp(&timestamp)?;
        let snapshot = self.cached(Role::Snapshot.name())?;
        self.trusted.accept_snapshot(&snapshot, None)?;
        let targets = self.cached(Role::Targets.name())?;
        self.trusted
            .accept_targets(&targets, Role::Targets.name(), None)
    }

    /// The target at `path`, searched in the top-level targets and then through the delegations: depth first, in
    /// their order, each role once, a terminating role ending the search. Nothing when no role names it.
    ///
    /// # Errors
    /// [`Error::NotRefreshed`]; [`Error::TooManyDelegations`]; any refusal of a delegated role on the way.
    pub async fn target(&mut self, path: &str) -> Result<Option<Target>, Error> {
        let mut visited = BTreeSet::new();
        let mut stack = vec![Visit::top()];
        while let Some(visit) = stack.pop() {
            if !visited.insert(visit.role().to_owned()) {
                continue;
            }
            // The top-level role is visited too and is no delegation.
            if visited.len() > self.limits.delegations + 1 {
                return Err(Error::TooManyDelegations {
                    limit: self.limits.delegations,
                });
            }
            self.enter(&visit).await?;
            let role = visit.role();
            let targets = self.trusted.targets.get(role).ok_or(Error::NotRefreshed)?;
            if let Some(file) = targets.signed().targets.get(path) {
                return Ok(Some(Target {
                    path: path.to_owned(),
                    file: file.clone(),
                    role: role.to_owned(),
                }));
            }
            let leads = leads(targets.signed(), path);
            if leads.iter().any(|lead| lead.terminating) {
                stack.clear();
            }
            push_in_order(&mut stack, role, leads);
        }
        Ok(None)
    }

    /// Fetches a target and checks its length and hashes.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Missing`], [`Error::Fetch`], [`Error::Mismatch`].
    pub async fn download(&self, target: &Target) -> Result<Vec<u8>, Error> {
        let hash = match self.root().consistent_snapshot {
            true => target.file.name_hash(),
            false => None,
        };
        let name = target_file_name(&target.path, hash);
        if target.file.length > self.limits.download_length {
            return Err(Error::TooLarge {
                name,
                limit: self.limits.download_length,
            });
        }
        let bytes = self
            .fetch(Place::Targets, &name, target.file.length)
            .await?;
        target.file.verify(&target.path, &bytes)?;
        Ok(bytes)
    }

    /// The trusted root.
    #[must_use]
    pub fn root(&self) -> &Root {
        self.trusted.root.signed()
    }

    /// The trusted timestamp, after a refresh.
    #[must_use]
    pub fn timestamp(&self) -> Option<&Timestamp> {
        self.trusted.timestamp.as_ref().map(Envelope::signed)
    }

    /// The trusted snapshot, after a refresh.
    #[must_use]
    pub fn snapshot(&self) -> Option<&Snapshot> {
        self.trusted.snapshot.as_ref().map(Envelope::signed)
    }

    /// The trusted top-level targets, after a refresh.
    #[must_use]
    pub fn targets(&self) -> Option<&Targets> {
        let targets = self.trusted.targets.get(Role::Targets.name());
        targets.map(Envelope::signed)
    }

    /// Ends the session and gives the store back.
    pub fn into_store(self) -> S {
        self.store
    }

    /// 5.3: one root after the other until the repository has no next one.
    async fn follow_roots(&mut self) -> Result<(), Error> {
        for followed in 0..=self.limits.root_rotations {
            let Some(next) = self.root().version.checked_add(1) else {
                return Ok(());
            };
            let name = versioned_file_name(next, Role::Root.name());
            let bytes = match self
                .fetch(Place::Metadata, &name, self.limits.root_length)
                .await
            {
                Ok(bytes) => bytes,
                Err(Error::Missing { .. }) => return Ok(()),
                Err(error) => return Err(error),
            };
            if followed == self.limits.root_rotations {
                break;
            }
            self.adopt_root(&bytes)?;
        }
        Err(Error::TooManyRoots {
            limit: self.limits.root_rotations,
        })
    }

    /// 5.3.8 and 5.3.11. When the new root takes a key from timestamp or snapshot, what that key may have signed is
    /// forgotten, or versions driven up by its thief would lock the client out for good. It is forgotten *before* the
    /// root is kept: after a crash in between, the rotation is seen again.
    fn adopt_root(&mut self, bytes: &[u8]) -> Result<(), Error> {
        let next = self.trusted.root.successor(bytes)?;
        let (old, new) = (self.trusted.root.signed(), next.signed());
        let removed = |role| old.key_removed(role, new);
        if removed(Role::Timestamp) || removed(Role::Snapshot) {
            remove(&mut self.store, &file_name(Role::Timestamp.name()))?;
            remove(&mut self.store, &file_name(Role::Snapshot.name()))?;
        }
        save(&mut self.store, &file_name(Role::Root.name()), bytes)?;
        self.trusted.root = next;
        Ok(())
    }

    /// 5.4. A stored timestamp that does not verify (its key was rotated, or the file is damaged) is passed over;
    /// an expired new one is not kept.
    async fn refresh_timestamp(&mut self) -> Result<(), Error> {
        let name = file_name(Role::Timestamp.name());
        if let Some(known) = load(&self.store, &name)? {
            let _unusable = self.trusted.accept_timestamp(&known);
        }
        let limit = self.limits.timestamp_length;
        let bytes = self.fetch(Place::Metadata, &name, limit).await?;
        let freshness = self.trusted.accept_timestamp(&bytes)?;
        self.trusted.snapshot_promise()?;
        match freshness {
            Freshness::New => save(&mut self.store, &name, &bytes),
            Freshness::Same => Ok(()),
        }
    }

    /// 5.5. The stored snapshot serves when it is the one the timestamp names; otherwise it is what the new one is
    /// compared with.
    async fn refresh_snapshot(&mut self) -> Result<(), Error> {
        let name = file_name(Role::Snapshot.name());
        let promise = self.trusted.snapshot_promise()?;
        let known = load(&self.store, &name)?;
        let before = known
            .as_deref()
            .and_then(|bytes| self.trusted.known_snapshot(bytes).ok());
        if let Some(bytes) = &known
            && self.trusted.accept_snapshot(bytes, before.as_ref()).is_ok()
        {
            return Ok(());
        }
        let file = self.metadata_name(Role::Snapshot.name(), promise.version);
        let limit = promise.length.unwrap_or(self.limits.snapshot_length);
        let limit = limit.min(self.limits.snapshot_length);
        let bytes = self.fetch(Place::Metadata, &file, limit).await?;
        self.trusted.accept_snapshot(&bytes, before.as_ref())?;
        save(&mut self.store, &name, &bytes)
    }

    /// 5.6 for one targets role: the stored file when it is the one the snapshot names, else a fetched one.
    async fn refresh_targets(
        &mut self,
        role: &str,
        delegator: Option<(&str, &Lead)>,
    ) -> Result<(), Error> {
        let name = file_name(role);
        let promise = self.trusted.targets_promise(role)?;
        if let Some(known) = load(&self.store, &name)?
            && self.trusted.accept_targets(&known, role, delegator).is_ok()
        {
            return Ok(());
        }
        let file = self.metadata_name(role, promise.version);
        let limit = promise.length.unwrap_or(self.limits.targets_length);
        let limit = limit.min(self.limits.targets_length);
        let bytes = self.fetch(Place::Metadata, &file, limit).await?;
        self.trusted.accept_targets(&bytes, role, delegator)?;
        save(&mut self.store, &name, &bytes)
    }

    /// Makes a role of the search available, verified under the delegation by which the search came.
    async fn enter(&mut self, visit: &Visit) -> Result<(), Error> {
        let delegator = visit.delegator();
        match self.trusted.targets.get(visit.role()) {
            Some(targets) => self.trusted.authorised(targets, visit.role(), delegator),
            None => self.refresh_targets(visit.role(), delegator).await,
        }
    }

    fn metadata_name(&self, role: &str, version: u64) -> String {
        match self.root().consistent_snapshot {
            true => versioned_file_name(version, role),
            false => file_name(role),
        }
    }

    fn cached(&self, role: &str) -> Result<Vec<u8>, Error> {
        let name = file_name(role);
        load(&self.store, &name)?.ok_or(Error::Missing { name })
    }

    async fn fetch(&self, place: Place, name: &str, limit: u64) -> Result<Vec<u8>, Error> {
        let too_large = || Error::TooLarge {
            name: name.to_owned(),
            limit,
        };
        match self.source.fetch(place, name, limit).await {
            Ok(bytes) if bytes.len() as u64 > limit => Err(too_large()),
            Ok(bytes) => Ok(bytes),
            Err(FetchError::TooLarge) => Err(too_large()),
            Err(FetchError::NotFound) => Err(Error::Missing {
                name: name.to_owned(),
            }),
            Err(FetchError::Failed(source)) => Err(Error::Fetch {
                name: name.to_owned(),
                source,
            }),
        }
    }
}

/// One step of a search: a role, and the delegation that leads to it.
struct Visit {
    delegation: Option<(String, Lead)>,
}

impl Visit {
    fn top() -> Self {
        Self { delegation: None }
    }

    fn role(&self) -> &str {
        match &self.delegation {
            None => Role::Targets.name(),
            Some((_, lead)) => &lead.role,
        }
    }

    fn delegator(&self) -> Option<(&str, &Lead)> {
        let (delegator, lead) = self.delegation.as_ref()?;
        Some((delegator, lead))
    }
}

/// The delegations of a role for a path, cut after the first terminating one.
fn leads(targets: &Targets, path: &str) -> Vec<Lead> {
    let mut leads = targets
        .delegations
        .as_ref()
        .map(|delegations| delegations.leads(path))
        .unwrap_or_default();
    if let Some(last) = leads.iter().position(|lead| lead.terminating) {
        leads.truncate(last + 1);
    }
    leads
}

/// The stack gives back the last one pushed, so the first lead goes on last.
fn push_in_order(stack: &mut Vec<Visit>, delegator: &str, leads: Vec<Lead>) {
    for lead in leads.into_iter().rev() {
        stack.push(Visit {
            delegation: Some((delegator.to_owned(), lead)),
        });
    }
}

fn load<S: Store>(store: &S, name: &str) -> Result<Option<Vec<u8>>, Error> {
    store.load(name).map_err(|source| store_error(name, source))
}

fn save<S: Store>(store: &mut S, name: &str, bytes: &[u8]) -> Result<(), Error> {
    store
        .save(name, bytes)
        .map_err(|source| store_error(name, source))
}

fn remove<S: Store>(store: &mut S, name: &str) -> Result<(), Error> {
    store
        .remove(name)
        .map_err(|source| store_error(name, source))
}

fn store_error(name: &str, source: std::io::Error) -> Error {
    Error::Store {
        name: name.to_owned(),
        source,
    }
}
