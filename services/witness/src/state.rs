//! What was cosigned last, log by log: one row each, replaced by compare-and-swap in one durable transaction.

use std::path::{Path, PathBuf};

use sealwright_host::db::{self, Migration};
use sealwright_tlog::Hash;
use sealwright_tlog::witness::{Seen, monitoring_path};
use sqlx::sqlite::SqlitePool;

use crate::error::Error;

/// Reads run beside the one writer.
const CONNECTIONS: u32 = 4;

const MIGRATIONS: &[Migration] = &[Migration {
    name: "cosigned",
    sql: "CREATE TABLE cosigned (
        origin TEXT NOT NULL PRIMARY KEY,
        path TEXT NOT NULL UNIQUE,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        note TEXT NOT NULL,
        time INTEGER NOT NULL
    ) STRICT;",
}];

const COLUMNS: &str = "origin, size, root, note, time";

/// The last checkpoint cosigned for one log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) origin: String,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// The checkpoint with the log's signatures and the cosignature.
    pub(crate) note: String,
    /// When it was cosigned, Unix seconds.
    pub(crate) time: i64,
}

impl Row {
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            size: self.size,
            root: self.root,
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    pool: SqlitePool,
}

/// The database's file within the state folder.
pub(crate) fn path(folder: &Path) -> PathBuf {
    folder.join("witness.db")
}

type Columns = (String, i64, Vec<u8>, String, i64);

impl State {
    pub(crate) async fn open(folder: &Path, create: bool) -> Result<Self, Error> {
        let path = path(folder);
        if !create && !path.exists() {
            return Err(Error::NotAWitness {
                dir: folder.to_owned(),
            });
        }
        let pool = db::open_sqlite(&path, CONNECTIONS, MIGRATIONS).await?;
        Ok(Self { pool })
    }

    pub(crate) async fn row(&self, origin: &str) -> Result<Option<Row>, Error> {
        let query = format!("SELECT {COLUMNS} FROM cosigned WHERE origin = ?");
        let query = sqlx::query_as::<_, Columns>(sqlx::AssertSqlSafe(query)).bind(origin);
        query.fetch_optional(&self.pool).await?.map(row).transpose()
    }

    /// The row whose monitoring path begins with this hash.
    pub(crate) async fn row_by_hash(&self, hash: &str) -> Result<Option<Row>, Error> {
        let query = format!("SELECT {COLUMNS} FROM cosigned WHERE path = ?");
        let query = sqlx::query_as::<_, Columns>(sqlx::AssertSqlSafe(query));
        let query = query.bind(format!("{hash}/checkpoint"));
        query.fetch_optional(&self.pool).await?.map(row).transpose()
    }

    pub(crate) async fn all(&self) -> Result<Vec<Row>, Error> {
        let query = format!("SELECT {COLUMNS} FROM cosigned ORDER BY origin");
        let query = sqlx::query_as::<_, Columns>(sqlx::AssertSqlSafe(query));
        query
            .fetch_all(&self.pool)
            .await?
            .into_iter()
            .map(row)
            .collect()
    }

    /// The latest time of any cosignature; 0 when there is none.
    pub(crate) async fn last_time(&self) -> Result<i64, Error> {
        let query = "SELECT COALESCE(MAX(time), 0) FROM cosigned";
        Ok(sqlx::query_scalar(query).fetch_one(&self.pool).await?)
    }

    /// Puts `next` in the place of `before`; false when something else is there. Durable at return: the database syncs
    /// its journal before a transaction counts as committed.
    pub(crate) async fn replace(&self, before: Option<&Row>, next: &Row) -> Result<bool, Error> {
        let size = integer(next.size)?;
        let done = match before {
            None => {
                let query = "INSERT INTO cosigned (origin, path, size, root, note, time) VALUES (?, ?, ?, ?, ?, ?) \
                             ON CONFLICT (origin) DO NOTHING";
                sqlx::query(query)
                    .bind(&next.origin)
                    .bind(monitoring_path(&next.origin))
                    .bind(size)
                    .bind(next.root.as_slice())
                    .bind(&next.note)
                    .bind(next.time)
                    .execute(&self.pool)
                    .await?
            }
            Some(before) => {
                let query = "UPDATE cosigned SET size = ?, root = ?, note = ?, time = ? \
                             WHERE origin = ? AND size = ? AND root = ?";
                sqlx::query(query)
                    .bind(size)
                    .bind(next.root.as_slice())
                    .bind(&next.note)
                    .bind(next.time)
                    .bind(&next.origin)
                    .bind(integer(before.size)?)
                    .bind(before.root.as_slice())
                    .execute(&self.pool)
                    .await?
            }
        };
        Ok(done.rows_affected() == 1)
    }

    pub(crate) async fn close(&self) {
        self.pool.close().await;
    }
}

fn integer(size: u64) -> Result<i64, Error> {
    size.try_into().map_err(|_| Error::Corrupt {
        what: format!("a tree of {size} entries is larger than the database can say"),
    })
}

fn row((origin, size, root, note, time): Columns) -> Result<Row, Error> {
    let corrupt = |what: &str| Error::Corrupt {
        what: format!("{origin:?} has {what}"),
    };
    Ok(Row {
        size: size.try_into().map_err(|_| corrupt("a negative size"))?,
        root: root
            .try_into()
            .map_err(|_| corrupt("a root that is not 32 bytes"))?,
        origin,
        note,
        time,
    })
}
