//! A witness (C2SP tlog-witness): it cosigns the checkpoints of logs it knows, each only when it extends the one before.
//!
//! What may be cosigned is `sealwright-tlog`'s answer ([`sealwright_tlog::witness`]). This crate keeps what was cosigned
//! last, log by log, so that check and memory are one durable step; it knows which logs there are, and it answers over
//! HTTP. It keeps no entries and no tree, and asks nobody: whoever has a checkpoint brings the proof.
//!
//! The worth of a witness is that it runs elsewhere than the logs, on another machine and for somebody else. Its state
//! must never go back: a witness that was restored from a backup would cosign a fork. Where it can know that it went back,
//! it refuses to start.

mod api;
mod config;
mod error;
mod files;
mod logs;
mod metrics;
mod state;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use axum::Router;
use sealwright_crypto::Signer;
use sealwright_host::SharedClock;
use sealwright_host::health::Check;
use sealwright_host::metrics::Registry;
use sealwright_tlog::note::{self, NoteKey, SignatureKind};
use sealwright_tlog::witness::{AddCheckpoint, Refusal, Seen, cosignature_body, monitoring_path};
use tokio::sync::Mutex;
use tokio::task::JoinHandle;

pub use config::{Config, LogConfig};
pub use error::{Error, Fault};

use files::MonitoringFiles;
use logs::KnownLogs;
use metrics::Metrics;
use state::{Row, State};

/// The clock may be this far behind a time that was given out; the witness then repeats that time.
const CLOCK_TOLERANCE_SECONDS: i64 = 60;
/// How often lists of logs are read again, and monitoring files brought up to date.
const HOUSEKEEPING: Duration = Duration::from_secs(2);

/// What the witness is given, beside its configuration.
#[derive(Debug)]
pub struct Deps {
    /// The wall clock.
    pub clock: SharedClock,
    /// Where metrics are registered.
    pub registry: Registry,
    /// A folder that exists and is this witness's alone.
    pub state: PathBuf,
    /// Where relative paths of the configuration are looked up.
    pub folder: PathBuf,
    /// The Ed25519 key; [`Config::load_signer`] reads the configured one.
    pub signer: Arc<dyn Signer>,
    /// Make the state if there is none. A witness is made once: one that lost its state would cosign anything.
    pub create: bool,
}

/// A witness that has passed its start-up checks.
#[derive(Debug)]
pub struct Witness {
    shared: Arc<Shared>,
    housekeeping: JoinHandle<()>,
}

/// What all doors share.
#[derive(Debug)]
struct Shared {
    key: NoteKey,
    signer: Arc<dyn Signer>,
    clock: SharedClock,
    logs: KnownLogs,
    state: State,
    files: MonitoringFiles,
    metrics: Metrics,
    /// The latest time that stands in a cosignature, Unix seconds.
    last_time: AtomicI64,
    /// Requests about one log take turns. The database would refuse the second anyway; taking turns spares it the work.
    turn: Mutex<()>,
    max_request: usize,
    prefix: String,
}

impl Witness {
    /// Opens the state and reads which logs there are.
    ///
    /// # Errors
    /// See [`Error`]; everything is for the operator to mend.
    pub async fn open(config: Config, deps: Deps) -> Result<Self, Error> {
        let key = config.note_key(deps.signer.public_key().clone())?;
        let prefix = config.prefix()?;
        let logs = KnownLogs::open(&config, &deps.folder)?;
        let files = MonitoringFiles::open(&deps.state)?;
        let state = State::open(&deps.state, deps.create).await?;
        let last_time = state.last_time().await?;
        let now = deps.clock.unix();
        if last_time > now.saturating_add(CLOCK_TOLERANCE_SECONDS) {
            return Err(Error::StateOfTheFuture { last_time, now });
        }
        for row in state.all().await? {
            files.require_not_ahead(&row)?;
        }
        files.require_all_known(&state).await?;
        let metrics = Metrics::register(&deps.registry);
        let shared = Arc::new(Shared {
            key,
            signer: deps.signer,
            clock: deps.clock,
            logs,
            state,
            files,
            metrics,
            last_time: AtomicI64::new(last_time),
            turn: Mutex::new(()),
            max_request: config.max_request_bytes(),
            prefix,
        });
        let housekeeping = tokio::spawn(keep_house(Arc::downgrade(&shared)));
        Ok(Self {
            shared,
            housekeeping,
        })
    }

    /// The public routes: `add-checkpoint` and the monitoring checkpoints, below the path of the configured URL.
    pub fn router(&self) -> Router {
        api::router(self.shared.clone())
    }

    /// Readiness: the state answers, and the clock is not behind what was given out. Said beside that: no log is known,
    /// or a list of logs cannot be read.
    #[must_use]
    pub fn checks(&self) -> Vec<Check> {
        let shared = self.shared.clone();
        let state = Check::new("witness.state", move || {
            let shared = shared.clone();
            async move {
                let answer = shared.state.last_time().await;
                answer
                    .map(drop)
                    .map_err(|_| "the database does not answer".to_owned())
            }
        });
        let shared = self.shared.clone();
        let clock = Check::new("witness.clock", move || {
            let outcome = shared.time().map(drop);
            async move { outcome.map_err(|_| "the clock went back behind a cosignature".to_owned()) }
        });
        let shared = self.shared.clone();
        let logs = Check::advisory("witness.logs", move || {
            let condition = shared.logs.condition();
            async move { condition }
        });
        vec![state, clock, logs]
    }

    /// Brings the monitoring files up to date and closes the state.
    pub async fn shutdown(self) {
        self.housekeeping.abort();
        self.shared.write_files().await;
        self.shared.state.close().await;
    }
}

impl Shared {
    /// The whole story of one request: grammar, log, signature, sizes, proof, cosignature, and the durable memory of it;
    /// then the answer. Nothing is told before it is stored.
    async fn add_checkpoint(&self, body: &[u8]) -> Result<String, Fault> {
        let request = AddCheckpoint::parse(body)?;
        let origin = request.origin().to_owned();
        let keys = self.logs.keys(&origin);
        let signed = request.authenticate(keys.as_deref())?;
        let _turn = self.turn.lock().await;
        let before = self.state.row(&origin).await?;
        let seen = before.as_ref().map_or(Seen::nothing(), Row::seen);
        if let Err(refusal) = signed.extends(&seen) {
            if matches!(refusal, Refusal::NotAnExtension(_)) {
                // Either a broken proof or a log that forked; the note is the evidence.
                tracing::warn!(log.origin = origin, known = seen.size, note = %signed.note(), "not cosigned: {refusal}");
            }
            return Err(refusal.into());
        }
        let time = self.time()?;
        let milliseconds = u64::try_from(time).unwrap_or(0).saturating_mul(1000);
        let text = signed.note().text();
        let line = note::sign(text, &self.key, self.signer.as_ref(), milliseconds).await;
        let line = line.map_err(|error| Fault::Signer(error.to_string()))?;
        let mut note = signed.note().clone();
        note.push(line.clone());
        let next = Row {
            origin,
            size: signed.checkpoint().size,
            root: signed.checkpoint().root,
            note: note.to_string(),
            time,
        };
        self.last_time.fetch_max(time, Ordering::SeqCst);
        if !self.state.replace(before.as_ref(), &next).await? {
            // Another process wrote in between, although the folder is this one's alone.
            return Err(Fault::Fenced);
        }
        self.metrics.cosigned(&next);
        self.files.mark(&next.origin);
        Ok(cosignature_body(&[line]))
    }

    /// The time of the next cosignature, Unix seconds: never before one that was given out.
    fn time(&self) -> Result<i64, Fault> {
        let (now, last) = (self.clock.unix(), self.last_time.load(Ordering::SeqCst));
        if last.saturating_sub(now) > CLOCK_TOLERANCE_SECONDS {
            return Err(Fault::ClockBehind { now, last });
        }
        // A cosignature without a time means something else.
        Ok(now.max(last).max(1))
    }

    /// The last checkpoint cosigned for the log whose monitoring path begins with `hash`.
    async fn monitored(&self, hash: &str) -> Result<Option<String>, Fault> {
        let rows = self.state.row_by_hash(hash).await?;
        Ok(rows.map(|row| row.note))
    }

    /// Writes the monitoring files of logs that were cosigned since.
    async fn write_files(&self) {
        for origin in self.files.take_marked() {
            match self.state.row(&origin).await {
                Ok(Some(row)) => self.files.write(&monitoring_path(&origin), &row.note).await,
                Ok(None) => {}
                Err(error) => {
                    tracing::warn!(%error, "a monitoring file is not up to date");
                    self.files.mark(&origin);
                }
            }
        }
    }
}

async fn keep_house(shared: std::sync::Weak<Shared>) {
    loop {
        tokio::time::sleep(HOUSEKEEPING).await;
        let Some(shared) = shared.upgrade() else {
            return;
        };
        shared.write_files().await;
        let reading = shared.clone();
        let read = tokio::task::spawn_blocking(move || reading.logs.read_again()).await;
        if read.is_err() {
            tracing::error!("reading the lists of logs panicked");
        }
    }
}

/// The kind of signature a witness makes.
const KIND: SignatureKind = SignatureKind::CosignatureV1;

#[cfg(test)]
mod tests;
