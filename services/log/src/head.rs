//! The head in `state.db`: one row a log, replaced by compare-and-swap.
//!
//! The row follows the write-ahead log; it is not what makes a batch durable. It has two uses: whoever restores an old
//! write-ahead log beside a newer head is noticed, and a second writer that slipped past the lock (a network file system,
//! a copied folder) loses the swap and is stopped (R5).

use std::fmt::Debug;
use std::path::Path;

use sealwright_host::db::{self, Migration};
use sealwright_tlog::Hash;
use sqlx::sqlite::SqlitePool;
use tokio::runtime::Handle;

use crate::error::Error;

const MIGRATIONS: &[Migration] = &[Migration {
    name: "head",
    sql: "CREATE TABLE head (
        origin TEXT NOT NULL PRIMARY KEY,
        epoch INTEGER NOT NULL,
        size INTEGER NOT NULL,
        root BLOB NOT NULL,
        note TEXT NOT NULL,
        published INTEGER NOT NULL
    ) STRICT;",
}];

/// What the row says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HeadRow {
    /// Counts the openings of the log.
    pub(crate) epoch: u64,
    pub(crate) size: u64,
    pub(crate) root: Hash,
    /// Signed checkpoint.
    pub(crate) note: String,
    /// Entries below are in synced bundle and tile files; a multiple of 256.
    pub(crate) published: u64,
}

/// Where the head of one log is kept.
///
/// Methods block. One process has one store of a log, and calls it from one thread at a time; but another process may have
/// changed the row, hence the comparison. What an error leaves behind is the old row or the new one, and
/// [`HeadStore::load`] says which.
pub(crate) trait HeadStore: Debug + Send {
    /// The row; `None` when the log has none yet.
    fn load(&mut self) -> Result<Option<HeadRow>, Error>;

    /// Puts `next` in the place of `before`, durable at return. [`Error::Fenced`] when another row is there; epoch, size
    /// and root are compared (R5).
    fn replace(&mut self, before: Option<&HeadRow>, next: &HeadRow) -> Result<(), Error>;

    /// Nothing follows.
    fn close(self: Box<Self>);
}

/// The row of one log, as this process last wrote it.
#[derive(Debug)]
pub(crate) struct Head {
    store: Box<dyn HeadStore>,
    current: HeadRow,
}

impl Head {
    /// Puts `next` in the place of what was read; `before` is `None` when there was no row.
    pub(crate) fn take_over(
        mut store: Box<dyn HeadStore>,
        before: Option<&HeadRow>,
        next: HeadRow,
    ) -> Result<Self, Error> {
        store.replace(before, &next)?;
        Ok(Self {
            store,
            current: next,
        })
    }

    /// The row as this process wrote it last.
    pub(crate) fn current(&self) -> &HeadRow {
        &self.current
    }

    /// Replaces the row if it is still the one this process wrote; [`Error::Fenced`] if it is not.
    pub(crate) fn swap(&mut self, next: HeadRow) -> Result<(), Error> {
        self.store.replace(Some(&self.current), &next)?;
        self.current = next;
        Ok(())
    }

    pub(crate) fn close(self) {
        self.store.close();
    }
}

/// The row in SQLite. Its methods are not for the threads of the runtime.
#[derive(Debug)]
pub(crate) struct SqliteHead {
    pool: SqlitePool,
    origin: String,
    runtime: Handle,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Database(error.to_string())
}

impl SqliteHead {
    /// Opens the database, or makes it. Blocks.
    pub(crate) fn open(path: &Path, origin: &str, runtime: Handle) -> Result<Self, Error> {
        let pool = runtime.block_on(db::open_sqlite(path, 1, MIGRATIONS));
        Ok(Self {
            pool: pool.map_err(failed)?,
            origin: origin.to_owned(),
            runtime,
        })
    }

    /// The row of a database that is opened for it alone; nothing where there is no such file. Blocks, on a thread that a
    /// runtime has lent.
    pub(crate) fn row_at(path: &Path, origin: &str) -> Result<Option<HeadRow>, Error> {
        if !path.exists() {
            return Ok(None);
        }
        let mut store = Box::new(Self::open(path, origin, Handle::current())?);
        let row = store.load();
        store.close();
        row
    }

    async fn read(&self) -> Result<Option<HeadRow>, Error> {
        let query = "SELECT epoch, size, root, note, published FROM head WHERE origin = ?";
        let row: Option<(i64, i64, Vec<u8>, String, i64)> = sqlx::query_as(query)
            .bind(&self.origin)
            .fetch_optional(&self.pool)
            .await
            .map_err(failed)?;
        let Some((epoch, size, root, note, published)) = row else {
            return Ok(None);
        };
        let bad = || Error::corrupt("state.db", "the head row has impossible values");
        Ok(Some(HeadRow {
            epoch: epoch.try_into().map_err(|_| bad())?,
            size: size.try_into().map_err(|_| bad())?,
            root: root.try_into().map_err(|_| bad())?,
            note,
            published: published.try_into().map_err(|_| bad())?,
        }))
    }

    async fn insert(&self, next: &HeadRow) -> Result<u64, Error> {
        let query = "INSERT INTO head (epoch, size, root, note, published, origin) VALUES (?, ?, ?, ?, ?, ?) \
                     ON CONFLICT (origin) DO NOTHING";
        let insert = bind_row(sqlx::query(query), next)?.bind(&self.origin);
        let done = insert.execute(&self.pool).await.map_err(failed)?;
        Ok(done.rows_affected())
    }

    async fn update(&self, before: &HeadRow, next: &HeadRow) -> Result<u64, Error> {
        let query = "UPDATE head SET epoch = ?, size = ?, root = ?, note = ?, published = ? \
                     WHERE origin = ? AND epoch = ? AND size = ? AND root = ?";
        let update = bind_row(sqlx::query(query), next)?
            .bind(&self.origin)
            .bind(integer(before.epoch)?)
            .bind(integer(before.size)?)
            .bind(before.root.to_vec());
        let done = update.execute(&self.pool).await.map_err(failed)?;
        Ok(done.rows_affected())
    }
}

impl HeadStore for SqliteHead {
    fn load(&mut self) -> Result<Option<HeadRow>, Error> {
        self.runtime.block_on(self.read())
    }

    fn replace(&mut self, before: Option<&HeadRow>, next: &HeadRow) -> Result<(), Error> {
        let replaced = match before {
            None => self.runtime.block_on(self.insert(next))?,
            Some(before) => self.runtime.block_on(self.update(before, next))?,
        };
        if replaced == 1 {
            Ok(())
        } else {
            Err(Error::Fenced)
        }
    }

    fn close(self: Box<Self>) {
        self.runtime.block_on(self.pool.close());
    }
}

type Query<'q> = sqlx::query::Query<'q, sqlx::Sqlite, sqlx::sqlite::SqliteArguments>;

fn bind_row<'q>(query: Query<'q>, row: &HeadRow) -> Result<Query<'q>, Error> {
    Ok(query
        .bind(integer(row.epoch)?)
        .bind(integer(row.size)?)
        .bind(row.root.to_vec())
        .bind(row.note.clone())
        .bind(integer(row.published)?))
}

fn integer(value: u64) -> Result<i64, Error> {
    value
        .try_into()
        .map_err(|_| failed("a number is too large for the database"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(epoch: u64, size: u64) -> HeadRow {
        HeadRow {
            epoch,
            size,
            root: [size as u8; 32],
            note: format!("note {size}"),
            published: size & !255,
        }
    }

    #[test]
    fn the_head_moves_only_from_where_this_process_left_it() {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let pool = runtime
            .block_on(db::open_sqlite_in_memory(MIGRATIONS))
            .unwrap();
        let store = |origin: &str| -> Box<dyn HeadStore> {
            Box::new(SqliteHead {
                pool: pool.clone(),
                origin: origin.into(),
                runtime: runtime.handle().clone(),
            })
        };
        let mut first = Head::take_over(store("log.example"), None, row(1, 0)).unwrap();
        first.swap(row(1, 300)).unwrap();
        let read = store("log.example").load().unwrap();
        assert_eq!(read, Some(row(1, 300)));
        assert_eq!(store("other.example").load().unwrap(), None);
        assert!(
            matches!(
                Head::take_over(store("log.example"), None, row(1, 0)),
                Err(Error::Fenced)
            ),
            "two that make the log at once"
        );

        let mut second = Head::take_over(store("log.example"), read.as_ref(), row(2, 300)).unwrap();
        assert!(matches!(first.swap(row(1, 301)), Err(Error::Fenced)));
        second.swap(row(2, 301)).unwrap();
        assert_eq!(second.current(), &row(2, 301));
    }
}
