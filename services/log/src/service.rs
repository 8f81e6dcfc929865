//! The service: every log of a process, opened together and served on one listener.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use futures::future::{join_all, select_all};
use sealwright_crypto::{PublicKey, Signer};
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_host::run::to_the_end;
use sealwright_pki::Certificate;
use tokio::sync::Mutex;

use crate::api::{self, SignatureLog, SignatureLogs};
use crate::config::{Config, LogConfig};
use crate::cosign::Cosigner;
use crate::cpu::CpuPool;
use crate::ct_api::{self, CertificateLog, CertificateLogs};
use crate::entry::{ct, rekor};
use crate::error::Error;
use crate::guard::{Accepted, Guard};
use crate::identity::LogIdentity;
use crate::imported;
use crate::kind::Kind;
use crate::listing;
use crate::log::Log;
use crate::log_api;
use crate::material;
use crate::metrics::Metrics;
use crate::notes::Topic;
use crate::options::EngineParts;
use crate::place;
use crate::read;
use crate::scrub::Scrub;
use crate::shards::{Door, Gate, Shard, ShardState, Shards};

/// Said in the log and at `/readyz`.
const COPIED: &str = "this log's folder was copied or put back from a backup: run `sealwrightd restore`, which finds out \
                      whether it lost entries";

/// What the logs are given, beside their configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that exists; each log has its own below it, unless its section says otherwise.
    pub state: PathBuf,
    /// The key of each log, by the log's name; [`LogConfig::load_signer`] reads a configured one.
    pub signers: Vec<(String, Arc<dyn Signer>)>,
    /// Roots that every certificate log accepts, in addition to those of its own section, whose files are looked up below
    /// `state`.
    pub ct_roots: Vec<Certificate>,
    /// Make the logs that are not there yet, as `create = true` in their sections does. For the first start of a
    /// deployment.
    pub create: bool,
}

/// Every log of a process, open. Clones share them.
#[derive(Debug, Clone)]
pub struct LogService {
    shards: Shards,
    ground: Arc<Ground>,
}

/// What every log that is opened needs, the later ones too.
#[derive(Debug)]
struct Ground {
    clock: SharedClock,
    state: PathBuf,
    ct_roots: Vec<Certificate>,
    create: bool,
    metrics: Metrics,
    cpu: CpuPool,
    /// The logs of the start are checked one by one; this many there are.
    first: usize,
    /// Held while a log is added, so that two that come at once see each other.
    adding: Mutex<()>,
}

/// A log as its operator sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardStatus {
    /// Short name.
    pub name: String,
    /// Which kind.
    pub kind: Kind,
    /// Origin of its checkpoints.
    pub origin: String,
    /// Base URL.
    pub url: String,
    /// What it does.
    pub state: ShardState,
    /// Entries in the newest checkpoint.
    pub size: u64,
    /// From when on its key may have signed, Unix seconds.
    pub valid_from: i64,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// The log that it follows.
    pub replaces: Option<String>,
}

impl LogService {
    /// Opens all logs. If one cannot be opened, none stays open.
    ///
    /// # Errors
    /// See [`Error`]'s first group. Two logs with the same name, origin, folder or key are refused.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, Error> {
        let metrics = Metrics::register(&deps.registry);
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let ground = Ground {
            clock: deps.clock,
            state: deps.state,
            ct_roots: deps.ct_roots,
            create: deps.create,
            cpu: CpuPool::new(processors, &metrics),
            metrics,
            first: config.logs.len(),
            adding: Mutex::default(),
        };
        let signer = |name: &str| {
            let found = deps.signers.iter().find(|(of, _)| of == name);
            found.map(|(_, signer)| signer.clone())
        };
        let planned = config.logs.into_iter().map(|config| {
            let signer = signer(&config.name);
            ground.plan(config, signer)
        });
        let planned = planned.collect::<Result<Vec<_>, _>>()?;
        for (position, own) in planned.iter().enumerate() {
            let others = planned.iter().take(position).map(Planned::mark);
            own.require_distinct(others)?;
        }
        let outcomes = join_all(planned.iter().map(|one| one.open(&ground))).await;
        if let Some(error) = outcomes
            .iter()
            .find_map(|outcome| outcome.as_ref().err())
            .cloned()
        {
            join_all(outcomes.iter().flatten().map(Log::shutdown)).await;
            return Err(error);
        }
        let shards = Shards::default();
        for (planned, log) in planned.into_iter().zip(outcomes.into_iter().flatten()) {
            shards.add(planned.shard(log, &ground));
        }
        let service = Self {
            shards,
            ground: Arc::new(ground),
        };
        match service.freeze_configured().await {
            Ok(()) => Ok(service),
            Err(error) => {
                service.shutdown().await;
                Err(error)
            }
        }
    }

    /// Opens one more log while the others serve. One that is open already, by name, origin, folder and key, is left as it is:
    /// whoever asked may ask again while the first request is still at work.
    ///
    /// # Errors
    /// As [`LogService::open`]; the logs that are open stay as they were.
    pub async fn add(
        &self,
        config: LogConfig,
        signer: Option<Arc<dyn Signer>>,
    ) -> Result<(), Error> {
        let service = self.clone();
        change(async move { service.add_now(config, signer).await }).await
    }

    async fn add_now(
        &self,
        config: LogConfig,
        signer: Option<Arc<dyn Signer>>,
    ) -> Result<(), Error> {
        let _adding = self.ground.adding.lock().await;
        let planned = self.ground.plan(config, signer)?;
        let all = self.shards.all();
        if all.iter().any(|shard| shard.mark() == planned.mark()) {
            return Ok(());
        }
        planned.require_distinct(all.iter().map(|shard| shard.mark()))?;
        let log = planned.open(&self.ground).await?;
        let shard = planned.shard(log, &self.ground);
        tracing::info!(target: "audit", { log.name = shard.name(), log.origin = shard.log.identity().origin }, "log added");
        self.shards.add(shard);
        self.freeze_configured().await
    }

    /// `Err` while the log would refuse entries for a reason of its own, whether it is open to them or not.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`], or that reason.
    pub fn condition(&self, name: &str) -> Result<(), Error> {
        self.shard(name)?.log.condition()
    }

    /// Lets a staged log take entries from `from` on, Unix seconds.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`].
    pub fn accept_from(&self, name: &str, from: i64) -> Result<(), Error> {
        self.shard(name)?.gate.open_from(from);
        Ok(())
    }

    /// Freezes a log for good: what is queued is written, then a last checkpoint that says so. Doing it again does
    /// nothing.
    ///
    /// # Errors
    /// [`Error::NoSuchLog`]; whatever keeps the last checkpoint from being written, and then the log goes on as before.
    pub async fn freeze(&self, name: &str) -> Result<ShardStatus, Error> {
        let shard = self.shard(name)?;
        change(async move {
            if shard.gate.state() != ShardState::Imported {
                shard.log.freeze().await?;
                shard.gate.close();
                let (name, size) = (shard.name(), shard.log.tree_head().size);
                tracing::info!(target: "audit", { log.name = name, log.size = size }, "log frozen");
            }
            Ok(shard.status())
        })
        .await
    }

    /// `frozen = true` in a section means what the verb means.
    async fn freeze_configured(&self) -> Result<(), Error> {
        for shard in self.shards.all().iter() {
            if shard.gate.state() == ShardState::Frozen && !shard.log.frozen() {
                shard.log.freeze().await?;
            }
        }
        Ok(())
    }

    fn shard(&self, name: &str) -> Result<Arc<Shard>, Error> {
        let found = self.shards.named(name);
        found.ok_or_else(|| Error::NoSuchLog {
            name: name.chars().take(100).collect(),
        })
    }

    /// Every log, in the order in which they came.
    pub fn status(&self) -> Vec<ShardStatus> {
        self.shards
            .all()
            .iter()
            .map(|shard| shard.status())
            .collect()
    }

    /// The public routes, HTTP and gRPC, of all logs, also of those that come later.
    pub fn router(&self) -> Router {
        let (signature, certificate) = (
            SignatureLogs::new(self.shards.clone()),
            CertificateLogs::new(self.shards.clone()),
        );
        api::router(&signature)
            .merge(read::signature_routes(&signature))
            .merge(ct_api::router(&certificate))
            .merge(read::certificate_routes(&certificate))
            .merge(log_api::router(&self.shards))
            .merge(listing::router(
                self.shards.clone(),
                self.ground.clock.clone(),
            ))
            .layer(from_fn(keep_authority))
    }

    /// `sealwright.trust.v1.TrustMaterial`, for the trust service alone: to be served in the process or over an
    /// authenticated channel, never on a public listener.
    pub fn trust_material_router(&self) -> Router {
        material::router(self.shards.clone())
    }

    /// Methods for other services of the deployment: `sealwright.ct.v1.CertificateTransparency`, which takes submissions
    /// here whether the public may submit or not, and `sealwright.trust.v1.TrustMaterial`. To be served in the process or
    /// over an authenticated channel with an allow list, never on a public listener.
    pub fn internal_router(&self) -> Router {
        let logs = CertificateLogs::new(self.shards.clone());
        self.trust_material_router()
            .merge(ct_api::internal_router(&logs))
            .layer(from_fn(keep_authority))
    }

    /// The open logs.
    pub fn logs(&self) -> impl Iterator<Item = Log> {
        let all = self.shards.all();
        (0..all.len()).filter_map(move |position| all.get(position).map(|shard| shard.log.clone()))
    }

    /// Readiness: every log that should take entries does.
    pub fn checks(&self) -> Vec<Check> {
        let all = self.shards.all();
        let first = all.iter().take(self.ground.first).map(|shard| {
            let (name, shard) = (format!("log.{}", shard.name()), shard.clone());
            Check::new(name, move || {
                let condition = said(&shard);
                async move { condition }
            })
        });
        // One check stands for all logs that come while the process serves.
        let (shards, known) = (self.shards.clone(), self.ground.first);
        let later = Check::new("log.added", move || {
            let all = shards.all();
            let unwell = all.iter().skip(known).find_map(|shard| {
                let words = said(shard).err()?;
                Some(format!("{}: {words}", shard.name()))
            });
            async move { unwell.map_or(Ok(()), Err) }
        });
        first
            .chain([later, self.witnessed()])
            .chain(self.notes())
            .collect()
    }

    /// How the witnesses stand, over all logs. That a quorum which is required keeps entries out is the log's own check.
    fn witnessed(&self) -> Check {
        let shards = self.shards.clone();
        Check::advisory("log.witnesses", move || {
            let all = shards.all();
            let unseen = all.iter().filter_map(|shard| {
                let (_, condition) = shard.log.witnessed()?;
                Some(format!("{}: {}", shard.name(), condition.err()?))
            });
            let unseen: Vec<String> = unseen.collect();
            let said = if unseen.is_empty() {
                Ok(())
            } else {
                Err(unseen.join("; "))
            };
            async move { said }
        })
    }

    /// What an operator should mend soon, by topic over all logs: named and yet no reason to be unready.
    fn notes(&self) -> impl Iterator<Item = Check> {
        Topic::ALL.into_iter().map(|topic| {
            let shards = self.shards.clone();
            Check::advisory(format!("log.{}", topic.name()), move || {
                let all = shards.all();
                let notes = all.iter().filter_map(|shard| {
                    let note = shard.log.notes().get(topic)?;
                    Some(format!("{}: {note}", shard.name()))
                });
                let notes: Vec<String> = notes.collect();
                let said = if notes.is_empty() {
                    Ok(())
                } else {
                    Err(notes.join("; "))
                };
                async move { said }
            })
        })
    }

    /// Returns when a log has stopped for good, with its name and the cause: the process should end with an error.
    pub async fn stopped(&self) -> (String, String) {
        let mut count = self.shards.count();
        loop {
            let all = self.shards.all();
            let stops = all.iter().map(|shard| Box::pin(stop_of(shard.log.clone())));
            let mut stops: Vec<_> = stops.collect();
            if stops.is_empty() {
                let _ = count.changed().await;
                continue;
            }
            tokio::select! {
                (stop, _, _) = select_all(&mut stops) => return stop,
                _ = count.wait_for(|count| *count > all.len()) => {}
            }
        }
    }

    /// Writes what is queued, brings files up to date and releases the folders.
    pub async fn shutdown(self) {
        join_all(self.logs().map(|log| async move { log.shutdown().await })).await;
    }
}

/// Whoever asked may go away in the middle; a log that is open and in no set would keep its folder locked.
async fn change<T: Send + 'static>(
    work: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let cut = |_| Error::Stopped {
        cause: "changing the set of logs panicked".into(),
    };
    to_the_end(work, cut).await
}

fn said(shard: &Shard) -> Result<(), String> {
    let condition = shard.condition();
    condition.map_err(|error| error.reason().as_str_name().to_owned())
}

/// Waits until the log has stopped for good.
async fn stop_of(log: Log) -> (String, String) {
    let mut fatal = log.fatal();
    let cause = fatal.wait_for(Option::is_some).await;
    let cause = cause.ok().and_then(|cause| cause.clone());
    (log.identity().name.clone(), cause.unwrap_or_default())
}

impl Shard {
    fn status(&self) -> ShardStatus {
        let identity = self.log.identity();
        ShardStatus {
            name: identity.name.clone(),
            kind: identity.kind,
            origin: identity.origin.clone(),
            url: self.url.clone(),
            state: self.gate.state(),
            size: self.log.tree_head().size,
            valid_from: self.valid_from(),
            public_key: self.log.key().public_key().spki_der().to_vec(),
            replaces: self.replaces.clone(),
        }
    }
}

/// gRPC handlers see the headers and extensions of a request, not its address: the host that was asked goes along with
/// the latter.
async fn keep_authority(mut request: Request, next: Next) -> Response {
    if let Some(authority) = request.uri().authority().cloned() {
        request.extensions_mut().insert(authority);
    }
    next.run(request).await
}

/// A log before it is opened: its section, understood.
#[derive(Debug)]
struct Planned {
    config: LogConfig,
    identity: LogIdentity,
    dir: PathBuf,
    /// Nothing for an imported log.
    signer: Option<Arc<dyn Signer>>,
    /// Of an imported log, DER.
    foreign_key: Option<Vec<u8>>,
    admission: rekor::Admission,
    roots: Vec<Certificate>,
}

/// What no two logs may share.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    name: String,
    origin: String,
    host: Option<String>,
    dir: PathBuf,
    key: Option<Vec<u8>>,
}

impl Shard {
    fn mark(&self) -> Mark {
        let identity = self.log.identity();
        Mark {
            name: identity.name.clone(),
            origin: identity.origin.clone(),
            host: (identity.kind == Kind::Rekor).then(|| self.host.clone()),
            dir: self.dir.clone(),
            key: Some(self.log.key().public_key().spki_der().to_vec()),
        }
    }
}

impl Ground {
    fn plan(&self, config: LogConfig, signer: Option<Arc<dyn Signer>>) -> Result<Planned, Error> {
        let mut identity = config.identity()?;
        if signer.is_none() && !config.imported {
            return Err(config.unusable("it has no key"));
        }
        let dir = config.dir.as_deref().unwrap_or(Path::new(&config.name));
        let dir = self.state.join(dir);
        let mut foreign_key = None;
        if config.imported {
            // Where it is read from is ours to say; whose it is, is not.
            let record = imported::record(&dir)?;
            if record.kind != config.kind {
                return Err(config.unusable("kind is not that of the imported log"));
            }
            foreign_key = Some(record.key()?.public_key().spki_der().to_vec());
            identity.origin = record.origin;
        }
        let mut admission = rekor::Admission {
            legacy_dsse: config.legacy_dsse,
            ..rekor::Admission::default()
        };
        if let Some(algorithms) = config.signature_algorithms()? {
            admission.algorithms = algorithms;
        }
        let mut roots = config.load_roots(&self.state)?;
        roots.extend(self.ct_roots.iter().cloned());
        if config.kind == Kind::Ct && roots.is_empty() && !config.imported {
            return Err(
                config.unusable("roots is empty, so that the log would take no certificate")
            );
        }
        Ok(Planned {
            config,
            identity,
            dir,
            signer,
            foreign_key,
            admission,
            roots,
        })
    }
}

impl Planned {
    /// Opens the log. Errors speak of files in its folder, so that the one about it says which log it is.
    async fn open(&self, ground: &Ground) -> Result<Log, Error> {
        let opened = self.try_open(ground).await;
        opened.inspect_err(|error| {
            let (name, dir) = (&self.config.name, self.dir.display());
            tracing::error!(log = name, %dir, %error, "a log cannot be opened");
        })
    }

    async fn try_open(&self, ground: &Ground) -> Result<Log, Error> {
        let Some(signer) = &self.signer else {
            let (dir, name) = (self.dir.clone(), self.config.name.clone());
            let (metrics, clock) = (ground.metrics.clone(), ground.clock.clone());
            return imported::open(dir, name, metrics, clock).await;
        };
        let mut options = self.config.engine_options()?;
        // A staged log has taken nothing yet that could have been lost.
        options.create |= ground.create || self.config.staged;
        let parts = EngineParts {
            signer: signer.clone(),
            clock: ground.clock.clone(),
            metrics: ground.metrics.clone(),
            cosigner: self.cosigner(ground, signer.public_key())?,
        };
        let log = Log::open(&self.dir, self.identity.clone(), options, parts).await?;
        match self.watch(&log, ground).await {
            Ok(()) => Ok(log),
            Err(error) => {
                log.shutdown().await;
                Err(error)
            }
        }
    }

    /// Whom checkpoints are shown to before anybody else.
    fn cosigner(
        &self,
        ground: &Ground,
        key: &PublicKey,
    ) -> Result<Option<Arc<dyn Cosigner>>, Error> {
        let key = self.config.note_key(key.clone())?;
        let witnesses = self.config.open_witnesses(&ground.state, &key)?;
        Ok(witnesses.map(|witnesses| Arc::new(witnesses) as _))
    }

    /// Asks outside memory before the log is given an entry, and keeps an eye on its folder.
    async fn watch(&self, log: &Log, ground: &Ground) -> Result<(), Error> {
        match place::is_same(&self.dir) {
            Ok(true) => {}
            Ok(false) => {
                tracing::warn!(log = self.config.name, "{COPIED}");
                log.notes().set(Topic::Place, Some(COPIED.to_owned()));
            }
            // A hint is no reason not to start, on a full disk for example.
            Err(error) => tracing::warn!(log = self.config.name, %error, "its place is not known"),
        }
        let memories = self.config.memories(&ground.state)?;
        for memory in &memories {
            memory.require_outside(&self.dir, Some(&self.config.url))?;
        }
        let guard = Guard::new(self.config.guard, memories, Accepted::read(&self.dir)?);
        guard.start(log).await?;
        if let Some(rate) = self.config.scrub {
            let scrub = Scrub {
                rate,
                interval: self.config.scrub_interval,
                mirrors: self.config.open_mirrors(&ground.state)?,
                clock: ground.clock.clone(),
            };
            scrub.start(log, &self.dir);
        }
        Ok(())
    }

    fn shard(self, log: Log, ground: &Ground) -> Shard {
        let Self {
            config,
            dir,
            admission,
            roots,
            ..
        } = self;
        let gate = Arc::new(Gate::new(&config, ground.clock.clone()));
        if log.frozen() {
            gate.close();
        }
        let door = match config.kind {
            Kind::Rekor => Door::Signature(Arc::new(SignatureLog {
                log: log.clone(),
                admission: Arc::new(admission),
                duplicates: config.duplicate,
                gate: gate.clone(),
                max_request: config.max_request_bytes(),
                cpu: ground.cpu.clone(),
            })),
            Kind::Ct => Door::Certificate(Arc::new(CertificateLog::new(
                log.clone(),
                ct::Admission::new(roots),
                &config,
                gate.clone(),
                ground.cpu.clone(),
            ))),
        };
        Shard {
            log,
            host: config.host(),
            dir,
            url: config.url,
            operator: config.operator,
            replaces: config.replaces,
            gate,
            door,
        }
    }

    fn mark(&self) -> Mark {
        Mark {
            name: self.identity.name.clone(),
            origin: self.identity.origin.clone(),
            host: (self.config.kind == Kind::Rekor).then(|| self.config.host()),
            dir: self.dir.clone(),
            key: self
                .signer
                .as_ref()
                .map(|signer| signer.public_key().spki_der().to_vec())
                .or_else(|| self.foreign_key.clone()),
        }
    }

    /// Two logs with one origin or one key could be taken for a fork of each other.
    fn require_distinct(&self, others: impl Iterator<Item = Mark>) -> Result<(), Error> {
        let own = self.mark();
        for other in others {
            let shared = [
                ("name", own.name == other.name),
                ("origin", own.origin == other.origin),
                ("host", own.host.is_some() && own.host == other.host),
                ("folder", own.dir == other.dir),
                ("key", own.key.is_some() && own.key == other.key),
            ];
            if let Some((what, _)) = shared.into_iter().find(|(_, same)| *same) {
                let problem = format!(
                    "it has the same {what} as log {:?}; every log needs its own",
                    other.name
                );
                return Err(self.config.unusable(problem));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
