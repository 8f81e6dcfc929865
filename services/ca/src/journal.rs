//! The issuance journal: what the authority was about to sign, written down before it signed.
//!
//! An append-only table of events. An issuance begins with its *intent*, which holds the serial number and the exact
//! bytes to be signed; no signature over them exists before the intent is on disk, so every serial number that can
//! ever appear in the world is known here. It ends with an *outcome*, issued or failed, which may reach the disk a
//! little later: after a crash an intent without an outcome says "a precertificate may exist", and the next start marks
//! it interrupted. The precertificate itself is then in the certificate transparency log or nowhere.
//!
//! Writing costs one disk synchronisation for all intents that wait at the same time (group commit); outcomes travel
//! with the next intent, or on their own after [`OUTCOME_DELAY`].

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sealwright_host::db::{self, Migration};
use sealwright_pki::SerialNumber;
use sqlx::sqlite::SqliteQueryResult;
use sqlx::{QueryBuilder, Sqlite, SqlitePool};
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::error::Error;

/// How long an outcome may wait for an intent to travel with.
const OUTCOME_DELAY: Duration = Duration::from_millis(500);

/// The most events of one transaction. An event binds five values, and SQLite takes 32,766.
const MAX_BATCH: usize = 512;

/// The most outcomes that are kept while the disk refuses them; beyond it they are dropped, and the next start marks
/// their issuances interrupted.
const MAX_UNWRITTEN_OUTCOMES: usize = 8 * MAX_BATCH;

/// How far back the start looks for intents without an outcome. Outcomes follow within seconds, so those of a crash
/// are among the last events.
const RECONCILED_EVENTS: i64 = 65_536;

const MIGRATIONS: [Migration; 1] = [Migration {
    name: "events",
    sql: "CREATE TABLE event (
            seq     INTEGER PRIMARY KEY,
            serial  BLOB    NOT NULL, -- content octets of the serial number
            kind    INTEGER NOT NULL, -- 0 intent, 1 issued, 2 failed, 3 interrupted
            at      INTEGER NOT NULL, -- Unix seconds
            content BLOB    NOT NULL, -- intent: the to-be-signed precertificate; issued: SHA-256 of the certificate
            note    TEXT    NOT NULL  -- intent: request id; failed: reason
          ) STRICT;
          CREATE UNIQUE INDEX event_serial ON event (serial, kind);",
}];

#[derive(Debug, Clone, Copy)]
#[repr(i64)]
enum Kind {
    Intent = 0,
    Issued = 1,
    Failed = 2,
    Interrupted = 3,
}

#[derive(Debug)]
struct Event {
    serial: SerialNumber,
    kind: Kind,
    at: i64,
    content: Vec<u8>,
    note: String,
}

/// An event on its way, and who waits for it to be on disk.
#[derive(Debug)]
struct Message {
    event: Event,
    written: Option<oneshot::Sender<Result<(), String>>>,
}

/// How an issuance ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A certificate with this SHA-256 was signed.
    Issued([u8; 32]),
    /// None was, for this reason.
    Failed(&'static str),
}

/// The journal of one authority.
#[derive(Debug)]
pub(crate) struct Journal {
    sender: mpsc::Sender<Message>,
    failing: Arc<AtomicBool>,
    writer: Mutex<Option<(oneshot::Sender<()>, JoinHandle<()>)>>,
}

impl Journal {
    /// Opens (or makes) the journal at `path` and marks the issuances that a crash cut off.
    ///
    /// # Errors
    /// When the file cannot be opened or read.
    pub(crate) async fn open(path: &Path, now: i64) -> Result<Self, Error> {
        let pool = db::open_sqlite(path, 1, &MIGRATIONS).await?;
        let interrupted = reconcile(&pool, now)
            .await
            .map_err(Error::JournalUnreadable)?;
        if interrupted > 0 {
            tracing::warn!(
                ca.journal.interrupted = interrupted,
                "issuances were cut off by the last stop; their precertificates, where they exist, are in the certificate log"
            );
        }
        let (sender, receiver) = mpsc::channel(MAX_BATCH);
        let (close, closing) = oneshot::channel();
        let failing = Arc::new(AtomicBool::new(false));
        let writer = Writer {
            pool,
            waiting: Vec::new(),
            failing: Arc::clone(&failing),
        };
        let writer = Mutex::new(Some((close, tokio::spawn(writer.run(receiver, closing)))));
        Ok(Self {
            sender,
            failing,
            writer,
        })
    }

    /// Records what is about to be signed. When this returns, it is on disk.
    ///
    /// # Errors
    /// The text says what the database said; nothing may be signed then.
    pub(crate) async fn intend(
        &self,
        serial: SerialNumber,
        at: i64,
        tbs: &[u8],
        request_id: String,
    ) -> Result<(), String> {
        let (written, outcome) = oneshot::channel();
        let event = Event {
            serial,
            kind: Kind::Intent,
            at,
            content: tbs.to_vec(),
            note: request_id,
        };
        let closed = || "the journal is closed".to_owned();
        self.sender
            .send(Message {
                event,
                written: Some(written),
            })
            .await
            .map_err(|_| closed())?;
        outcome.await.map_err(|_| closed())?
    }

    /// Records how an issuance ended. Does not wait for the disk.
    pub(crate) async fn settle(&self, serial: SerialNumber, at: i64, outcome: Outcome) {
        let (kind, content, note) = match outcome {
            Outcome::Issued(sha256) => (Kind::Issued, sha256.to_vec(), ""),
            Outcome::Failed(reason) => (Kind::Failed, Vec::new(), reason),
        };
        let event = Event {
            serial,
            kind,
            at,
            content,
            note: note.to_owned(),
        };
        // A closed journal has told whoever waited for an intent; the next start marks this one interrupted.
        let _ = self
            .sender
            .send(Message {
                event,
                written: None,
            })
            .await;
    }

    /// Whether the last write failed.
    pub(crate) fn failing(&self) -> bool {
        self.failing.load(Ordering::Relaxed)
    }

    /// Writes what is under way and ends. Intents that come later are refused.
    pub(crate) async fn close(&self) {
        if let Some((close, writer)) = self.writer.lock().await.take() {
            let _ = close.send(());
            let _ = writer.await;
        }
    }
}

/// The only one that writes.
struct Writer {
    pool: SqlitePool,
    waiting: Vec<Message>,
    failing: Arc<AtomicBool>,
}

impl Writer {
    async fn run(
        mut self,
        mut receiver: mpsc::Receiver<Message>,
        mut closing: oneshot::Receiver<()>,
    ) {
        loop {
            let delay = if self.waiting.is_empty() {
                Duration::MAX
            } else {
                OUTCOME_DELAY
            };
            tokio::select! {
                biased;
                _ = &mut closing, if !receiver.is_closed() => receiver.close(),
                count = receiver.recv_many(&mut self.waiting, MAX_BATCH) => {
                    let intends = self.waiting.iter().any(|message| message.written.is_some());
                    if intends || count == 0 || self.waiting.len() >= MAX_BATCH {
                        self.flush().await;
                    }
                    if count == 0 {
                        break self.pool.close().await;
                    }
                }
                () = tokio::time::sleep(delay) => self.flush().await,
            }
        }
    }

    /// Writes all that waits. Whoever waits for an intent is told; outcomes that could not be written wait on.
    async fn flush(&mut self) {
        let mut kept = Vec::new();
        let mut waiting = std::mem::take(&mut self.waiting).into_iter().peekable();
        while waiting.peek().is_some() {
            let batch: Vec<Message> = waiting.by_ref().take(MAX_BATCH).collect();
            let outcome = insert(&self.pool, &batch)
                .await
                .map_err(|error| error.to_string());
            self.note(&outcome);
            for Message { event, written } in batch {
                match (written, &outcome) {
                    (Some(written), outcome) => drop(written.send(outcome.clone())),
                    (None, Err(_)) => kept.push(Message {
                        event,
                        written: None,
                    }),
                    (None, Ok(())) => {}
                }
            }
        }
        kept.truncate(MAX_UNWRITTEN_OUTCOMES);
        self.waiting = kept;
    }

    /// Failures are logged when they begin and when they end.
    fn note(&self, outcome: &Result<(), String>) {
        let failed_before = self.failing.swap(outcome.is_err(), Ordering::Relaxed);
        match outcome {
            Err(error) if !failed_before => {
                tracing::error!(%error, "the issuance journal cannot be written; nothing is issued")
            }
            Ok(()) if failed_before => tracing::info!("the issuance journal can be written again"),
            _ => {}
        }
    }
}

/// One statement, hence one transaction and one disk synchronisation.
async fn insert(pool: &SqlitePool, batch: &[Message]) -> Result<(), sqlx::Error> {
    let mut query =
        QueryBuilder::<Sqlite>::new("INSERT INTO event (serial, kind, at, content, note) ");
    query.push_values(batch, |mut row, Message { event, .. }| {
        row.push_bind(event.serial.as_bytes().to_vec());
        row.push_bind(event.kind as i64).push_bind(event.at);
        row.push_bind(event.content.clone())
            .push_bind(event.note.clone());
    });
    query.build().execute(pool).await.map(drop)
}

async fn reconcile(pool: &SqlitePool, now: i64) -> Result<u64, sqlx::Error> {
    let done: SqliteQueryResult = sqlx::query(
        "INSERT INTO event (serial, kind, at, content, note)
         SELECT intent.serial, ?, ?, x'', '' FROM event AS intent
         WHERE intent.kind = 0 AND intent.seq > (SELECT coalesce(max(seq), 0) - ? FROM event)
           AND NOT EXISTS (SELECT 1 FROM event AS outcome WHERE outcome.serial = intent.serial AND outcome.kind > 0)",
    )
    .bind(Kind::Interrupted as i64)
    .bind(now)
    .bind(RECONCILED_EVENTS)
    .execute(pool)
    .await?;
    Ok(done.rows_affected())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    fn serial(n: u8) -> SerialNumber {
        SerialNumber::from_random([n; 20])
    }

    async fn events(path: &Path) -> Vec<(Vec<u8>, i64, String)> {
        let pool = db::open_sqlite(path, 1, &MIGRATIONS).await.unwrap();
        let rows = sqlx::query_as("SELECT serial, kind, note FROM event ORDER BY seq")
            .fetch_all(&pool)
            .await
            .unwrap();
        pool.close().await;
        rows
    }

    fn row(n: u8, kind: Kind, note: &str) -> (Vec<u8>, i64, String) {
        (serial(n).as_bytes().to_vec(), kind as i64, note.to_owned())
    }

    #[tokio::test]
    async fn an_intent_is_on_disk_when_it_returns_and_an_outcome_when_the_journal_closes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Journal::open(&path, NOW).await.unwrap();
        journal
            .intend(serial(1), NOW, b"tbs", "request-1".to_owned())
            .await
            .unwrap();
        assert_eq!(events(&path).await, [row(1, Kind::Intent, "request-1")]);
        journal
            .settle(serial(1), NOW, Outcome::Issued([7; 32]))
            .await;
        journal.close().await;
        assert_eq!(
            events(&path).await,
            [row(1, Kind::Intent, "request-1"), row(1, Kind::Issued, "")]
        );
        assert!(
            journal
                .intend(serial(2), NOW, b"tbs", String::new())
                .await
                .is_err(),
            "it is closed"
        );
    }

    #[tokio::test]
    async fn an_outcome_reaches_the_disk_without_a_further_intent() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Journal::open(&path, NOW).await.unwrap();
        journal
            .intend(serial(1), NOW, b"tbs", String::new())
            .await
            .unwrap();
        journal
            .settle(serial(1), NOW, Outcome::Failed("CT_LOG_UNAVAILABLE"))
            .await;
        let mut found = events(&path).await;
        for _ in 0..100 {
            if found.len() == 2 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            found = events(&path).await;
        }
        assert_eq!(
            found,
            [
                row(1, Kind::Intent, ""),
                row(1, Kind::Failed, "CT_LOG_UNAVAILABLE")
            ]
        );
    }

    #[tokio::test]
    async fn a_start_marks_what_the_last_stop_cut_off_and_only_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Journal::open(&path, NOW).await.unwrap();
        journal
            .intend(serial(1), NOW, b"one", String::new())
            .await
            .unwrap();
        journal
            .intend(serial(2), NOW, b"two", String::new())
            .await
            .unwrap();
        journal
            .settle(serial(1), NOW, Outcome::Issued([1; 32]))
            .await;
        journal.close().await;
        for _ in 0..2 {
            Journal::open(&path, NOW + 1).await.unwrap().close().await;
        }
        let expected = [
            row(1, Kind::Intent, ""),
            row(2, Kind::Intent, ""),
            row(1, Kind::Issued, ""),
            row(2, Kind::Interrupted, ""),
        ];
        assert_eq!(events(&path).await, expected);
    }

    #[tokio::test]
    async fn a_serial_number_is_intended_once() {
        let folder = tempfile::tempdir().unwrap();
        let journal = Journal::open(&folder.path().join("journal.db"), NOW)
            .await
            .unwrap();
        journal
            .intend(serial(1), NOW, b"one", String::new())
            .await
            .unwrap();
        let refused = journal.intend(serial(1), NOW, b"two", String::new()).await;
        assert!(refused.is_err_and(|why| why.contains("UNIQUE")));
        assert!(journal.failing());
        journal
            .intend(serial(2), NOW, b"three", String::new())
            .await
            .unwrap();
        assert!(!journal.failing());
    }

    #[tokio::test]
    async fn many_intents_at_once_are_all_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.db");
        let journal = Arc::new(Journal::open(&path, NOW).await.unwrap());
        let intents: Vec<_> = (0..200)
            .map(|n| {
                let journal = Arc::clone(&journal);
                tokio::spawn(async move {
                    journal
                        .intend(serial(n), NOW, b"tbs", String::new())
                        .await
                        .unwrap();
                    journal
                        .settle(serial(n), NOW, Outcome::Issued([n; 32]))
                        .await;
                })
            })
            .collect();
        for intent in intents {
            intent.await.unwrap();
        }
        journal.close().await;
        // Serial numbers clear and set two bits of their first octet; the other octets keep them apart.
        assert_eq!(events(&path).await.len(), 400);
    }
}
