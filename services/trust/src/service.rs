//! The running service: the four steps, the renewal in the background, and the files for clients.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::Router;
use sealwright_crypto::{Signer, sha256};
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_host::run::to_the_end;
use sealwright_proto::sealwright::trust::v1 as wire;
use sealwright_tuf::{Envelope, Expiry, Metadata, Role, Signature, Targets};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::Config;
use crate::ceremony::{self, OfflineKeys, repository_dir};
use crate::disk::{self, FileWrite, read_optional};
use crate::documents::{Addition, Documents, Entry, document, guard};
use crate::error::Error;
use crate::material::{CHALLENGE_LENGTH, Service, admit_all, collect, silent};
use crate::metrics::Metrics;
use crate::repository::{Lifetimes, Online, Publication, Repository, is_due};
use crate::state::{Removal, StagedFile, State};
use crate::succession::{ForeignLog, Succession};

/// What a staged renewal of the targets metadata changes.
const RENEWAL: &str = "renews the targets metadata";
/// How long a service may take to answer the question whether it is there.
const PROBE_TIMEOUT: Duration = Duration::from_millis(1500);

/// What the service is given, beside its configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that is this service's alone. It holds the repository and the service's memory.
    pub state: PathBuf,
    /// The keys that sign snapshot and timestamp: one, or two while one is being rotated.
    pub online: Vec<Arc<dyn Signer>>,
}

/// A trust service over an existing repository ([`ceremony::create_repository`]).
#[derive(Debug)]
pub struct Trust {
    shared: Arc<Shared>,
    stop: CancellationToken,
    renewal: JoinHandle<()>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    config: Config,
    clock: SharedClock,
    state_dir: PathBuf,
    online: Vec<Arc<dyn Signer>>,
    inner: Mutex<Inner>,
    /// A copy for readers, who never wait for a publication.
    view: RwLock<Vec<RoleStatus>>,
    metrics: Metrics,
    /// Whom to ask for material.
    services: RwLock<Vec<Service>>,
    /// Where files for clients are kept up to date.
    client_files: RwLock<Option<PathBuf>>,
    _lock: std::fs::File,
}

/// What changes; one change at a time.
#[derive(Debug)]
struct Inner {
    repository: Repository,
    state: State,
}

/// Version and end of one published role.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoleStatus {
    /// The role.
    pub role: Role,
    /// Its current version.
    pub version: u64,
    /// Its end, Unix seconds.
    pub expires: i64,
}

/// What an operator adds to a staged change, beside what the services say of themselves.
#[derive(Debug, Default)]
pub(crate) struct ByHand {
    pub(crate) successions: Vec<Succession>,
    pub(crate) foreign: Vec<ForeignLog>,
}

/// How far an entry has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// In the staged documents only.
    Staged,
    /// Published; some clients may not know it yet.
    Published,
    /// The service may use the key.
    Active,
}

/// An entry of the trusted root and how far it has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryStatus {
    /// The entry.
    pub entry: Entry,
    /// How far it has come.
    pub activation: Activation,
    /// Unix seconds; nothing before publication.
    pub published_at: Option<i64>,
    /// From this moment on no client believes an older trusted root. Unix seconds.
    pub usable_from: Option<i64>,
    /// Unix seconds.
    pub activated_at: Option<i64>,
    /// From when on signers are sent to it; nothing where they never are. Unix seconds.
    pub service_from: Option<i64>,
    /// Until when. Unix seconds.
    pub service_until: Option<i64>,
}

impl EntryStatus {
    fn with_service(self, documents: &Documents) -> Self {
        let times = documents.service_times(&self.entry.url);
        Self {
            service_from: times.map(|(from, _)| from),
            service_until: times.and_then(|(_, until)| until),
            ..self
        }
    }
}

/// A change that waits for signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Targets version it will become.
    pub version: u64,
    /// The bytes to sign.
    pub payload: Vec<u8>,
    /// What changes, in sentences.
    pub changes: Vec<String>,
    /// Distinct targets keys that have signed.
    pub signatures: usize,
    /// How many must.
    pub threshold: u32,
}

impl Staged {
    /// Hex SHA-256 of the payload, for people to compare.
    #[must_use]
    pub fn sha256(&self) -> String {
        hex::encode(sha256(&self.payload))
    }
}

/// Everything an operator asks about at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Published metadata, root first.
    pub roles: Vec<RoleStatus>,
    /// Published and staged entries.
    pub entries: Vec<EntryStatus>,
    /// The staged change.
    pub staged: Option<Staged>,
}

impl Trust {
    /// Opens the repository in `deps.state`, checks all of it, renews what is due and starts the renewal in the
    /// background.
    ///
    /// # Errors
    /// [`Error::NoRepository`], [`Error::Locked`], [`Error::Corrupt`], or whatever the operator has to mend.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, Error> {
        config.check()?;
        let lock = disk::lock(&deps.state.join("lock"))?;
        let repository = Repository::open(&repository_dir(&deps.state))?;
        let mut state = State::open(&deps.state)?;
        catch_up(&config, &repository, &mut state, deps.clock.unix())?;
        let shared = Arc::new(Shared {
            config,
            clock: deps.clock,
            state_dir: deps.state,
            online: deps.online,
            inner: Mutex::new(Inner { repository, state }),
            view: RwLock::default(),
            metrics: Metrics::register(&deps.registry),
            services: RwLock::default(),
            client_files: RwLock::default(),
            _lock: lock,
        });
        shared.show(&shared.inner.lock().await.repository);
        shared.renew_if_due().await?;
        let stop = CancellationToken::new();
        let renewal = tokio::spawn(shared.clone().keep_renewing(stop.clone()));
        Ok(Self {
            shared,
            stop,
            renewal,
        })
    }

    /// Opens a development instance: as [`Trust::open`], and on first use with keys and a first root made here. The
    /// root and targets keys are kept in `offline`, apart from `deps.state`, whose online key is used when
    /// `deps.online` is empty. `wait_for_clients` is turned off.
    ///
    /// # Errors
    /// As [`Trust::open`]; [`Error::Key`] when the repository exists and its offline keys are gone.
    pub async fn open_dev(
        mut config: Config,
        mut deps: Deps,
        offline: &Path,
    ) -> Result<(Self, OfflineKeys), Error> {
        config.wait_for_clients = false;
        if deps.online.is_empty() {
            deps.online
                .push(Arc::new(ceremony::open_or_create_online(&deps.state)?));
        }
        let dir = repository_dir(&deps.state);
        if Repository::exists(&dir) {
            let keys = OfflineKeys::open(offline)?;
            return Ok((Self::open(config, deps).await?, keys));
        }
        let keys = OfflineKeys::open_or_create(offline)?;
        if let Some(online) = deps.online.first() {
            let roles = ceremony::Roles {
                root: &[&keys.root],
                root_threshold: 1,
                targets: &[keys.targets.public_key()],
                targets_threshold: 1,
                online: online.public_key(),
            };
            let expires = deps
                .clock
                .unix()
                .saturating_add(seconds(config.root_lifetime));
            let root = ceremony::first_root(&roles, expires).await?;
            Repository::create(&dir, &root)?;
        }
        Ok((Self::open(config, deps).await?, keys))
    }

    /// Does everything a development instance needs in one call: renews root and targets when due, asks `services` for
    /// their material, stages, signs, publishes and activates what is new. Nothing new, nothing written: after a restart
    /// all versions are the same. Whether anything was published.
    ///
    /// # Errors
    /// Any refusal of the steps.
    pub async fn publish_dev(
        &self,
        keys: &OfflineKeys,
        services: &[Service],
    ) -> Result<bool, Error> {
        self.renew_root_if_due(keys).await?;
        let material = collect(services, self.challenge().await?).await?;
        let staged = self.stage(&material).await?;
        if staged.is_some() {
            self.sign_with(&keys.targets).await?;
            self.publish().await?;
        }
        self.renew_if_due().await?;
        self.activate(&[]).await?;
        Ok(staged.is_some())
    }

    /// The public routes: `/tuf/`.
    pub fn router(&self) -> Router {
        crate::api::router(repository_dir(&self.shared.state_dir), self.shared.clone())
    }

    /// `sealwright.trust.v1.Trust`: to be served in the process or over an authenticated channel, never on a public
    /// listener.
    pub fn control_router(&self) -> Router {
        crate::api::control_router(self.shared.clone())
    }

    /// Whom to ask for material from now on, when a change is staged without bringing any.
    pub fn ask(&self, services: Vec<Service>) {
        *self
            .shared
            .services
            .write()
            .unwrap_or_else(PoisonError::into_inner) = services;
    }

    /// Keeps the files for clients in `folder` up to date from the next publication on.
    pub fn keep_client_files(&self, folder: PathBuf) {
        *self
            .shared
            .client_files
            .write()
            .unwrap_or_else(PoisonError::into_inner) = Some(folder);
    }

    /// Readiness: something is published, and none of it has expired.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let shared = self.shared.clone();
        vec![Check::new("trust.metadata", move || {
            let shared = shared.clone();
            async move { shared.judge().await }
        })]
    }

    /// Stops the renewal and lets a running change finish.
    pub async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.renewal.await {
            tracing::error!(%error, "the renewal of trust metadata ended badly");
        }
        drop(self.shared.inner.lock().await);
    }

    /// The challenge that material must answer.
    ///
    /// # Errors
    /// [`Error::Disk`].
    pub async fn challenge(&self) -> Result<[u8; CHALLENGE_LENGTH], Error> {
        self.shared.challenge().await
    }

    /// Stages the published documents with what is new in `material`, in place of anything staged before. Where nothing is
    /// new, the targets metadata is renewed when half of its lifetime is over; otherwise nothing is staged.
    ///
    /// # Errors
    /// [`Error::Material`] with the first fault.
    pub async fn stage(&self, material: &wire::MaterialFile) -> Result<Option<Staged>, Error> {
        self.shared.stage(material, &ByHand::default()).await
    }

    /// As [`Trust::stage`], with what the services named by [`Trust::ask`] say of themselves.
    ///
    /// # Errors
    /// [`Error::NobodyToAsk`], [`Error::Unreachable`]; as [`Trust::stage`].
    pub async fn gather(&self) -> Result<Option<Staged>, Error> {
        self.shared.gather(&ByHand::default()).await
    }

    /// As [`Trust::gather`], and logs that follow others, and logs of others.
    ///
    /// # Errors
    /// As [`Trust::gather`]; [`Error::UnknownEntry`], [`Error::NoSuccession`].
    pub async fn gather_with(
        &self,
        successions: Vec<Succession>,
        foreign: Vec<ForeignLog>,
    ) -> Result<Option<Staged>, Error> {
        let by_hand = ByHand {
            successions,
            foreign,
        };
        self.shared.gather(&by_hand).await
    }

    /// Stages the published documents as they are, to renew the targets metadata.
    ///
    /// # Errors
    /// [`Error::NotPublished`].
    pub async fn stage_renewal(&self) -> Result<Staged, Error> {
        self.shared.stage_renewal().await
    }

    /// Stages the end of an entry's validity. Unix seconds, not in the past.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`], [`Error::BadEnd`], [`Error::NotPublished`].
    pub async fn retire(&self, id: &str, valid_until: i64) -> Result<Staged, Error> {
        self.shared.retire(id, valid_until).await
    }

    /// Break glass: stages the removal of an entry.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`], [`Error::ReasonMissing`], [`Error::NotPublished`].
    pub async fn remove(&self, id: &str, reason: &str) -> Result<Staged, Error> {
        self.shared.remove(id, reason).await
    }

    /// Adds signatures made elsewhere over [`Staged::payload`]. All are verified before any is kept.
    ///
    /// # Errors
    /// [`Error::NothingStaged`], [`Error::BadSignature`].
    pub async fn add_signatures(&self, signatures: Vec<Signature>) -> Result<Staged, Error> {
        self.shared.add_signatures(signatures).await
    }

    /// Signs what is staged with a targets key at hand.
    ///
    /// # Errors
    /// [`Error::NothingStaged`], [`Error::BadSignature`] for a key that is no targets key, [`Error::Tuf`].
    pub async fn sign_with(&self, signer: &dyn Signer) -> Result<Staged, Error> {
        let staged = self.shared.staged().await?.ok_or(Error::NothingStaged)?;
        let key = sealwright_tuf::key_of(signer.public_key())?;
        let sig = signer.sign(&staged.payload).await;
        let sig = sig.map_err(sealwright_tuf::Error::Signer)?;
        let signature = Signature {
            keyid: key.id(),
            sig: hex::encode(sig),
            extra: serde_json::Map::new(),
        };
        self.add_signatures(vec![signature]).await
    }

    /// Publishes what is staged and sufficiently signed.
    ///
    /// # Errors
    /// [`Error::NothingStaged`], [`Error::StaleStage`], [`Error::WouldDrop`], [`Error::Unreadable`]; [`Error::Tuf`] with
    /// the signatures that are missing; [`Error::Disk`], after which clients read the old state or the new one: when
    /// [`Trust::status`] still shows the change as staged, the call may be made again.
    pub async fn publish(&self) -> Result<Vec<RoleStatus>, Error> {
        self.shared.publish().await
    }

    /// Activates entries whose time has come, all of them when `ids` is empty.
    ///
    /// # Errors
    /// [`Error::UnknownEntry`], [`Error::TooEarly`]; with an empty list neither.
    pub async fn activate(&self, ids: &[String]) -> Result<Vec<EntryStatus>, Error> {
        self.shared.activate(ids).await
    }

    /// Publishes the next root, signed by enough old and new root keys.
    ///
    /// # Errors
    /// [`Error::Tuf`], also when what is published would not verify under it; [`Error::Unreadable`].
    pub async fn publish_root(&self, root: &[u8]) -> Result<Vec<RoleStatus>, Error> {
        self.shared.publish_root(root).await
    }

    /// Renews timestamp and snapshot where half of their lifetime is over. The background does this too. Whether
    /// anything was renewed.
    ///
    /// # Errors
    /// [`Error::Tuf`] when the online key fails, [`Error::Disk`].
    pub async fn renew_if_due(&self) -> Result<bool, Error> {
        self.shared.renew_if_due().await
    }

    /// Renews snapshot and timestamp now: for a key rotation, so that both keys' signatures are published before the
    /// root that swaps them.
    ///
    /// # Errors
    /// As [`Trust::renew_if_due`].
    pub async fn renew_now(&self) -> Result<bool, Error> {
        self.shared.renew(true).await
    }

    /// Versions, entries and what is staged.
    ///
    /// # Errors
    /// [`Error::Corrupt`] when the staged file is damaged.
    pub async fn status(&self) -> Result<Status, Error> {
        self.shared.status().await
    }

    /// The published documents.
    ///
    /// # Errors
    /// [`Error::NotPublished`].
    pub async fn documents(&self) -> Result<Documents, Error> {
        let inner = self.shared.inner.lock().await;
        let published = inner.repository.published();
        published
            .map(|published| published.documents.clone())
            .ok_or(Error::NotPublished)
    }

    /// The bytes of root version 1, which clients start from.
    pub async fn first_root(&self) -> Vec<u8> {
        self.shared
            .inner
            .lock()
            .await
            .repository
            .first_root()
            .to_vec()
    }

    /// Writes `trusted_root.json`, `signing_config.json`, `trust_config.json` and `root.json` into `folder`, each whole
    /// or not at all. `root.json` is the first root; it is written once, and one of another instance is refused.
    ///
    /// # Errors
    /// [`Error::NotPublished`], [`Error::ForeignClientFiles`], [`Error::Disk`].
    pub async fn write_client_files(&self, folder: &Path) -> Result<(), Error> {
        write_client_files(&*self.shared.inner.lock().await, folder)
    }

    /// What publishing the staged change would write, for tests that cut it short.
    #[cfg(test)]
    pub(crate) async fn planned_writes(&self) -> Vec<FileWrite> {
        let inner = self.shared.inner.lock().await;
        let staged = inner.state.staged().cloned().expect("something staged");
        let envelope = staged.envelope().expect("a readable staged file");
        let now = self.shared.clock.unix();
        let planned = self
            .shared
            .plan(&inner.repository, &staged, envelope, now)
            .await;
        planned.expect("a publication").writes
    }

    #[cfg(test)]
    pub(crate) fn now(&self) -> i64 {
        self.shared.clock.unix()
    }

    async fn renew_root_if_due(&self, keys: &OfflineKeys) -> Result<(), Error> {
        let lifetime = seconds(self.shared.config.root_lifetime);
        let now = self.shared.clock.unix();
        let next = {
            let inner = self.shared.inner.lock().await;
            let root = inner.repository.root().signed();
            if !is_due(root.expires, lifetime, now) {
                return Ok(());
            }
            ceremony::renewed(root, now.saturating_add(lifetime))?
        };
        let bytes = ceremony::sign_root(next, &[&keys.root]).await?;
        self.shared.publish_root(&bytes).await.map(|_| ())
    }
}

/// Brings the service's memory level with the repository after a crash between publishing and remembering.
fn catch_up(
    config: &Config,
    repository: &Repository,
    state: &mut State,
    now: i64,
) -> Result<(), Error> {
    let Some(published) = repository.published() else {
        return Ok(());
    };
    // When exactly the documents came out is not known any more, so the longest wait counts.
    let wait = if config.wait_for_clients {
        seconds(config.timestamp_lifetime)
    } else {
        0
    };
    state.record_published(&published.documents, now, now.saturating_add(wait))?;
    let current = published.targets.signed().version;
    let Some(staged) = state.staged() else {
        return Ok(());
    };
    if staged.envelope()?.signed().version == current {
        if let Some(removal) = staged.removed.clone() {
            state.record_removal(&removal)?;
        }
        state.clear_staged()?;
    }
    Ok(())
}

impl Shared {
    pub(crate) async fn challenge(&self) -> Result<[u8; CHALLENGE_LENGTH], Error> {
        let now = self.clock.unix();
        self.inner.lock().await.state.challenge(now)
    }

    pub(crate) async fn stage(
        &self,
        material: &wire::MaterialFile,
        by_hand: &ByHand,
    ) -> Result<Option<Staged>, Error> {
        let now = self.clock.unix();
        let mut inner = self.inner.lock().await;
        let challenge = inner.state.challenge(now)?;
        let materials = admit_all(material, &challenge, now)?;
        let published = inner.repository.published();
        let wait = seconds(self.config.signing_window)
            .saturating_add(seconds(self.config.timestamp_lifetime));
        let waits = published.is_some() && self.config.wait_for_clients;
        let base = published
            .map(|published| published.documents.clone())
            .unwrap_or_default();
        let (mut next, mut changes) = base.extend(&Addition {
            materials: &materials,
            oidc_urls: &self.config.oidc_urls,
            operator: &self.config.operator,
            now,
            services_from: waits.then(|| now.saturating_add(wait)),
        })?;
        for foreign in &by_hand.foreign {
            next.admit_foreign(foreign, &self.config.operator, &mut changes)?;
        }
        for succession in &by_hand.successions {
            next.succeed(succession, now, &mut changes)?;
        }
        let changes = if !changes.is_empty() {
            changes
        } else if self.targets_due(&inner, now) {
            vec![RENEWAL.to_owned()]
        } else {
            return Ok(None);
        };
        self.stage_documents(&mut inner, &next, changes, None)
            .map(Some)
    }

    /// Asks the services of the deployment, and stages what is new.
    pub(crate) async fn gather(&self, by_hand: &ByHand) -> Result<Option<Staged>, Error> {
        let services = self.services();
        if services.is_empty() {
            return Err(Error::NobodyToAsk);
        }
        let material = collect(&services, self.challenge().await?).await?;
        self.stage(&material, by_hand).await
    }

    fn services(&self) -> Vec<Service> {
        self.services
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn targets_due(&self, inner: &Inner, now: i64) -> bool {
        let lifetime = seconds(self.config.targets_lifetime);
        let published = inner.repository.published();
        published.is_some_and(|published| is_due(published.targets.signed().expires, lifetime, now))
    }

    async fn stage_renewal(&self) -> Result<Staged, Error> {
        let mut inner = self.inner.lock().await;
        let documents = published_documents(&inner)?;
        self.stage_documents(&mut inner, &documents, vec![RENEWAL.to_owned()], None)
    }

    pub(crate) async fn retire(&self, id: &str, valid_until: i64) -> Result<Staged, Error> {
        let mut inner = self.inner.lock().await;
        let documents = published_documents(&inner)?;
        let (next, changes) = documents.retire(id, valid_until, self.clock.unix())?;
        self.stage_documents(&mut inner, &next, changes, None)
    }

    pub(crate) async fn remove(&self, id: &str, reason: &str) -> Result<Staged, Error> {
        if reason.trim().is_empty() {
            return Err(Error::ReasonMissing);
        }
        let mut inner = self.inner.lock().await;
        let documents = published_documents(&inner)?;
        let (next, changes) = documents.remove(id, self.clock.unix())?;
        let removal = Removal {
            id: id.to_owned(),
            reason: reason.to_owned(),
        };
        self.stage_documents(&mut inner, &next, changes, Some(removal))
    }

    /// Makes the next targets metadata. What else the published one lists (other targets, delegations) stays.
    fn stage_documents(
        &self,
        inner: &mut Inner,
        next: &Documents,
        changes: Vec<String>,
        removed: Option<Removal>,
    ) -> Result<Staged, Error> {
        let published = inner.repository.published();
        if let Some(published) = published {
            let removed = removed.as_ref().map(|removal| removal.id.as_str());
            guard(&published.documents, next, removed)?;
        }
        let lifetime = seconds(self.config.targets_lifetime);
        let expires = Expiry::from_unix(self.clock.unix().saturating_add(lifetime));
        let version = inner.repository.free_version(Role::Targets)?;
        let base = published.map(|published| published.targets.signed().version);
        let mut targets = published.map_or_else(
            || Targets::new(version, expires),
            |published| published.targets.signed().clone(),
        );
        targets.renew(version, expires);
        let files = next.files();
        for (name, bytes) in &files {
            targets.add(name, bytes);
        }
        let envelope = Envelope::unsigned(targets)?;
        let texts = files.into_iter();
        let mut staged = StagedFile {
            base,
            targets: String::new(),
            files: texts
                .map(|(name, bytes)| {
                    (
                        name.to_owned(),
                        String::from_utf8_lossy(&bytes).into_owned(),
                    )
                })
                .collect(),
            changes,
            removed,
        };
        staged.set_envelope(&envelope);
        inner.state.set_staged(staged)?;
        for change in inner
            .state
            .staged()
            .map(|staged| &staged.changes)
            .into_iter()
            .flatten()
        {
            tracing::info!(target: "audit", { trust.version = version, change }, "staged");
        }
        require_staged(inner)
    }

    pub(crate) async fn add_signatures(&self, signatures: Vec<Signature>) -> Result<Staged, Error> {
        let mut inner = self.inner.lock().await;
        let mut staged = inner.state.staged().cloned().ok_or(Error::NothingStaged)?;
        let mut envelope = staged.envelope()?;
        let root = inner.repository.root().signed();
        let role = root.role(Role::Targets).ok_or(Error::NotPublished)?;
        for signature in signatures {
            let key_id = signature.keyid.to_string();
            let mut alone = Envelope::unsigned(envelope.signed().clone())?;
            alone.add_signature(signature.clone());
            if alone.valid_keys(&root.keys, role).is_empty() {
                return Err(Error::BadSignature { key_id });
            }
            let version = envelope.signed().version;
            tracing::info!(target: "audit", { tuf.key_id = key_id, trust.version = version }, "signed");
            envelope.add_signature(signature);
        }
        staged.set_envelope(&envelope);
        inner.state.set_staged(staged)?;
        require_staged(&inner)
    }

    pub(crate) async fn staged(&self) -> Result<Option<Staged>, Error> {
        staged_view(&*self.inner.lock().await)
    }

    pub(crate) async fn publish(self: &Arc<Self>) -> Result<Vec<RoleStatus>, Error> {
        let shared = self.clone();
        publication(async move { shared.publish_staged().await }).await
    }

    async fn publish_staged(&self) -> Result<Vec<RoleStatus>, Error> {
        let now = self.clock.unix();
        let mut inner = self.inner.lock().await;
        let staged = inner.state.staged().cloned().ok_or(Error::NothingStaged)?;
        let envelope = staged.envelope()?;
        let publication = self.plan(&inner.repository, &staged, envelope, now).await?;
        inner.repository.gate(&publication.writes, now).await?;
        // What clients may still believe is bounded by the timestamp that is replaced.
        let replaced = inner.repository.published();
        let replaced =
            replaced.map_or(now, |published| published.timestamp.signed().expires.unix());
        let usable_from = if self.config.wait_for_clients {
            replaced.max(now)
        } else {
            now
        };
        self.write(&mut inner, publication).await?;
        let documents = published_documents(&inner)?;
        inner.state.record_published(&documents, now, usable_from)?;
        if let Some(removal) = &staged.removed {
            inner.state.record_removal(removal)?;
            tracing::warn!(target: "audit", { trust.entry = removal.id, reason = removal.reason }, "entry removed");
        }
        inner.state.clear_staged()?;
        self.metrics.publications.inc();
        self.refresh_client_files(&inner);
        tracing::info!(target: "audit", { changes = staged.changes.len() }, "trust documents published");
        Ok(self.roles())
    }

    /// What is published is published: files that cannot be written are told in the log and written by the next start.
    fn refresh_client_files(&self, inner: &Inner) {
        let folder = self
            .client_files
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(Err(error)) = folder.map(|folder| write_client_files(inner, &folder)) {
            tracing::error!(%error, "published, and the files for clients could not be written");
        }
    }

    /// Checks that a staged change still fits what is published, and lays out the files.
    async fn plan(
        &self,
        repository: &Repository,
        staged: &StagedFile,
        envelope: Envelope<Targets>,
        now: i64,
    ) -> Result<Publication, Error> {
        let stale = |why| Err(Error::StaleStage { why });
        let published = repository.published();
        if staged.base != published.map(|published| published.targets.signed().version) {
            return stale("another change was published since");
        }
        if envelope.signed().expires.unix() <= now {
            return stale("its own lifetime is over");
        }
        let files = staged.file_bytes();
        let bytes = staged.targets.clone().into_bytes();
        let online = self.online(now);
        let publication = repository.plan(envelope, bytes, &files, &online).await?;
        if let Some(published) = published {
            let next = publication.documents();
            let removed = staged.removed.as_ref().map(|removal| removal.id.as_str());
            guard(&published.documents, next, removed)?;
            let believed_until = published.timestamp.signed().expires.unix();
            let start = next.first_new_start(&published.documents);
            if self.config.wait_for_clients && start.is_some_and(|start| start < believed_until) {
                return stale(
                    "signers would be sent to a new service before all clients know its key",
                );
            }
        }
        Ok(publication)
    }

    pub(crate) async fn activate(&self, ids: &[String]) -> Result<Vec<EntryStatus>, Error> {
        let now = self.clock.unix();
        let mut inner = self.inner.lock().await;
        let documents = match (published_documents(&inner), ids) {
            (Ok(documents), _) => documents,
            (Err(_), []) => return Ok(Vec::new()),
            (Err(error), _) => return Err(error),
        };
        let mut chosen = Vec::new();
        for entry in documents.entries() {
            let Some(steps) = inner.state.steps(&entry.id) else {
                continue;
            };
            let early = now < steps.usable_from && steps.activated_at.is_none();
            match (ids.contains(&entry.id), early) {
                (true, true) => {
                    return Err(Error::TooEarly {
                        id: entry.id,
                        usable_from: steps.usable_from,
                        now,
                    });
                }
                (true, false) => chosen.push(entry.id),
                (false, false) if ids.is_empty() => chosen.push(entry.id),
                (false, _) => {}
            }
        }
        if let Some(unknown) = ids.iter().find(|id| !chosen.contains(id)) {
            return Err(Error::UnknownEntry {
                id: unknown.clone(),
            });
        }
        inner.state.record_activation(&chosen, now)?;
        let entries = entry_statuses(&inner)?.into_iter();
        Ok(entries
            .filter(|status| chosen.contains(&status.entry.id))
            .collect())
    }

    pub(crate) async fn publish_root(
        self: &Arc<Self>,
        bytes: &[u8],
    ) -> Result<Vec<RoleStatus>, Error> {
        let (shared, bytes) = (self.clone(), bytes.to_vec());
        publication(async move { shared.publish_this_root(&bytes).await }).await
    }

    async fn publish_this_root(&self, bytes: &[u8]) -> Result<Vec<RoleStatus>, Error> {
        let now = self.clock.unix();
        let mut inner = self.inner.lock().await;
        let (write, root) = inner.repository.plan_root(bytes)?;
        if inner.repository.published().is_some() {
            let outcome = inner
                .repository
                .gate(std::slice::from_ref(&write), now)
                .await;
            tolerate_expired(outcome)?;
        }
        apply(vec![write]).await?;
        let version = root.signed().version;
        tracing::info!(target: "audit", { tuf.version = version }, "root published");
        inner.repository.adopt_root(root);
        self.show(&inner.repository);
        Ok(self.roles())
    }

    async fn renew_if_due(self: &Arc<Self>) -> Result<bool, Error> {
        self.renew(false).await
    }

    async fn renew(self: &Arc<Self>, force: bool) -> Result<bool, Error> {
        let shared = self.clone();
        publication(async move { shared.resign(force).await }).await
    }

    async fn resign(&self, force: bool) -> Result<bool, Error> {
        let now = self.clock.unix();
        let mut inner = self.inner.lock().await;
        let planned = inner
            .repository
            .plan_resign(&self.online(now), force)
            .await?;
        let Some(publication) = planned else {
            return Ok(false);
        };
        self.write(&mut inner, publication).await?;
        self.metrics.renewals.inc();
        Ok(true)
    }

    /// Writes a publication. When that fails, what is on disk decides: the last write may have been applied all the same.
    async fn write(&self, inner: &mut Inner, publication: Publication) -> Result<(), Error> {
        let outcome = apply(publication.writes.clone()).await;
        match outcome {
            Ok(()) => inner.repository.adopt(publication),
            Err(_) => {
                inner.repository = Repository::open(&repository_dir(&self.state_dir))?;
                let now = self.clock.unix();
                catch_up(&self.config, &inner.repository, &mut inner.state, now)?;
            }
        }
        self.show(&inner.repository);
        outcome
    }

    async fn keep_renewing(self: Arc<Self>, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(self.config.check_interval) => {}
            }
            if let Err(error) = self.renew_if_due().await {
                self.metrics.renewal_failures.inc();
                tracing::error!(%error, "timestamp and snapshot could not be renewed; the next attempt follows");
            }
        }
    }

    pub(crate) async fn status(&self) -> Result<Status, Error> {
        let inner = self.inner.lock().await;
        Ok(Status {
            roles: self.roles(),
            entries: entry_statuses(&inner)?,
            staged: staged_view(&inner)?,
        })
    }

    fn online(&self, now: i64) -> Online<'_> {
        Online {
            signers: &self.online,
            lifetimes: Lifetimes {
                timestamp: seconds(self.config.timestamp_lifetime),
                snapshot: seconds(self.config.snapshot_lifetime),
            },
            now,
        }
    }

    /// Root version that `root.json` stands for.
    pub(crate) fn latest_root(&self) -> u64 {
        let roles = self.roles();
        let root = roles.iter().find(|status| status.role == Role::Root);
        root.map_or(1, |status| status.version)
    }

    fn roles(&self) -> Vec<RoleStatus> {
        self.view
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn show(&self, repository: &Repository) {
        let mut roles = vec![role_status(repository.root().signed())];
        if let Some(published) = repository.published() {
            roles.push(role_status(published.timestamp.signed()));
            roles.push(role_status(published.snapshot.signed()));
            roles.push(role_status(published.targets.signed()));
        }
        for status in &roles {
            let name = status.role.name();
            self.metrics.published(name, status.version, status.expires);
        }
        *self.view.write().unwrap_or_else(PoisonError::into_inner) = roles;
    }

    async fn judge(&self) -> Result<(), String> {
        let roles = self.roles();
        if roles.len() < Role::ALL.len() {
            let waiting = silent(&self.services(), PROBE_TIMEOUT).await;
            return Err(if waiting.is_empty() {
                "no trust documents have been published".to_owned()
            } else {
                format!(
                    "no trust documents have been published; no answer from {}",
                    waiting.join(", ")
                )
            });
        }
        let now = self.clock.unix();
        match roles.iter().find(|status| status.expires <= now) {
            Some(status) => Err(format!("{} metadata has expired", status.role)),
            None => Ok(()),
        }
    }
}

fn write_client_files(inner: &Inner, folder: &Path) -> Result<(), Error> {
    let documents = published_documents(inner)?;
    let root = inner.repository.first_root().to_vec();
    let path = folder.join("root.json");
    match FileWrite::create(&path, root).apply() {
        Err(Error::Overwrite { path }) => return Err(Error::ForeignClientFiles { path }),
        outcome => outcome?,
    }
    let files = [
        ("trusted_root.json", document(&documents.trusted_root)),
        ("signing_config.json", document(&documents.signing_config)),
        (
            "trust_config.json",
            document(&documents.client_trust_config()),
        ),
    ];
    for (name, bytes) in files {
        let path = folder.join(name);
        if read_optional(&path)?.as_ref() != Some(&bytes) {
            FileWrite::replace(path, bytes).apply()?;
        }
    }
    Ok(())
}

/// Root and targets may both have expired while nobody looked after them. The root is renewed first, and what has
/// expired beside it follows; the signatures have been checked.
fn tolerate_expired(outcome: Result<(), Error>) -> Result<(), Error> {
    match outcome {
        Err(Error::Unreadable(refusal)) => match *refusal {
            sealwright_tuf::Error::Expired { ref role, .. } if role != Role::Root.name() => Ok(()),
            other => Err(Error::Unreadable(Box::new(other))),
        },
        outcome => outcome,
    }
}

/// What writes the repository is not ended by whoever asked for it and goes away: the lock would be given up while files are
/// still written, and what was published would not be remembered.
async fn publication<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let cut = |error| Error::Corrupt {
        what: format!("a publication was cut short: {error}"),
    };
    to_the_end(work, cut).await
}

/// Writes in order, off the threads that serve requests.
async fn apply(writes: Vec<FileWrite>) -> Result<(), Error> {
    let written = tokio::task::spawn_blocking(move || writes.iter().try_for_each(FileWrite::apply));
    written.await.map_err(|error| Error::Corrupt {
        what: format!("writing was cut short: {error}"),
    })?
}

fn published_documents(inner: &Inner) -> Result<Documents, Error> {
    let published = inner.repository.published();
    published
        .map(|published| published.documents.clone())
        .ok_or(Error::NotPublished)
}

fn require_staged(inner: &Inner) -> Result<Staged, Error> {
    staged_view(inner)?.ok_or(Error::NothingStaged)
}

fn staged_view(inner: &Inner) -> Result<Option<Staged>, Error> {
    let Some(staged) = inner.state.staged() else {
        return Ok(None);
    };
    let envelope = staged.envelope()?;
    let root = inner.repository.root().signed();
    let role = root.role(Role::Targets);
    Ok(Some(Staged {
        version: envelope.signed().version,
        payload: envelope.canonical().to_vec(),
        changes: staged.changes.clone(),
        signatures: role.map_or(0, |role| envelope.valid_keys(&root.keys, role).len()),
        threshold: role.map_or(0, |role| role.threshold),
    }))
}

/// Published entries first, then those that are only staged.
fn entry_statuses(inner: &Inner) -> Result<Vec<EntryStatus>, Error> {
    let documents = published_documents(inner).unwrap_or_default();
    let published = documents.entries();
    let mut statuses: Vec<EntryStatus> = published
        .iter()
        .map(|entry| {
            let steps = inner.state.steps(&entry.id);
            let activated_at = steps.and_then(|steps| steps.activated_at);
            EntryStatus {
                entry: entry.clone(),
                activation: match activated_at {
                    Some(_) => Activation::Active,
                    None => Activation::Published,
                },
                published_at: steps.map(|steps| steps.published_at),
                usable_from: steps.map(|steps| steps.usable_from),
                activated_at,
                service_from: None,
                service_until: None,
            }
            .with_service(&documents)
        })
        .collect();
    let Some(staged) = inner.state.staged() else {
        return Ok(statuses);
    };
    let file = |name: &str| {
        staged
            .files
            .get(name)
            .map(String::as_bytes)
            .unwrap_or_default()
    };
    let documents = Documents::parse(file(crate::TRUSTED_ROOT), file(crate::SIGNING_CONFIG))?;
    let new = documents.entries().into_iter();
    let new = new.filter(|entry| !published.iter().any(|known| known.id == entry.id));
    statuses.extend(new.map(|entry| {
        let status = EntryStatus {
            entry,
            activation: Activation::Staged,
            published_at: None,
            usable_from: None,
            activated_at: None,
            service_from: None,
            service_until: None,
        };
        status.with_service(&documents)
    }));
    Ok(statuses)
}

fn role_status<T: Metadata>(metadata: &T) -> RoleStatus {
    RoleStatus {
        role: T::ROLE,
        version: metadata.version(),
        expires: metadata.expires().unix(),
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX)
}
