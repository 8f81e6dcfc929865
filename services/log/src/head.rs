//! The head in `state.db`: one row a log, replaced by compare-and-swap.
//!
//! The row follows the write-ahead log; it is not what makes a batch durable. It has two uses: whoever restores an old
//! write-ahead log beside a newer head is noticed, and a second writer that slipped past the lock (a network file system,
//! a copied folder) loses the swap and is stopped (R5).

use std::path::Path;

use sealwright_host::db::{self, Migration};
use sealwright_tlog::Hash;
use sqlx::sqlite::SqlitePool;

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

/// The row of one log, as this process last wrote it.
#[derive(Debug)]
pub(crate) struct Head {
    pool: SqlitePool,
    origin: String,
    current: HeadRow,
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::Database(error.to_string())
}

impl Head {
    /// Opens the database and reads the row.
    pub(crate) async fn open(path: &Path) -> Result<SqlitePool, Error> {
        db::open_sqlite(path, 1, MIGRATIONS).await.map_err(failed)
    }

    pub(crate) async fn read(pool: &SqlitePool, origin: &str) -> Result<Option<HeadRow>, Error> {
        let query = "SELECT epoch, size, root, note, published FROM head WHERE origin = ?";
        let row: Option<(i64, i64, Vec<u8>, String, i64)> = sqlx::query_as(query)
            .bind(origin)
            .fetch_optional(pool)
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

    /// Puts `next` in the place of what was read; `before` is `None` when there was no row.
    pub(crate) async fn take_over(
        pool: SqlitePool,
        origin: &str,
        before: Option<HeadRow>,
        next: HeadRow,
    ) -> Result<Self, Error> {
        let Some(before) = before else {
            let query = "INSERT INTO head (origin, epoch, size, root, note, published) VALUES (?, ?, ?, ?, ?, ?)";
            let insert = bind_row(sqlx::query(query).bind(origin), &next)?;
            insert.execute(&pool).await.map_err(failed)?;
            return Ok(Self {
                pool,
                origin: origin.to_owned(),
                current: next,
            });
        };
        let mut head = Self {
            pool,
            origin: origin.to_owned(),
            current: before,
        };
        head.swap(next).await?;
        Ok(head)
    }

    /// The row as this process wrote it last.
    pub(crate) fn current(&self) -> &HeadRow {
        &self.current
    }

    /// Replaces the row if it is still the one this process wrote; [`Error::Fenced`] if it is not.
    pub(crate) async fn swap(&mut self, next: HeadRow) -> Result<(), Error> {
        let query = "UPDATE head SET epoch = ?, size = ?, root = ?, note = ?, published = ? \
                     WHERE origin = ? AND epoch = ? AND size = ? AND root = ?";
        let update = bind_row(sqlx::query(query), &next)?
            .bind(&self.origin)
            .bind(integer(self.current.epoch)?)
            .bind(integer(self.current.size)?)
            .bind(self.current.root.to_vec());
        let done = update.execute(&self.pool).await.map_err(failed)?;
        if done.rows_affected() != 1 {
            return Err(Error::Fenced);
        }
        self.current = next;
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.pool.close().await;
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

    #[tokio::test]
    async fn the_head_moves_only_from_where_this_process_left_it() {
        let pool = db::open_sqlite_in_memory(MIGRATIONS).await.unwrap();
        let mut first = Head::take_over(pool.clone(), "log.example", None, row(1, 0))
            .await
            .unwrap();
        first.swap(row(1, 300)).await.unwrap();
        let read = Head::read(&pool, "log.example").await.unwrap();
        assert_eq!(read, Some(row(1, 300)));
        assert_eq!(Head::read(&pool, "other.example").await.unwrap(), None);

        let mut second = Head::take_over(pool, "log.example", read, row(2, 300))
            .await
            .unwrap();
        assert!(matches!(first.swap(row(1, 301)).await, Err(Error::Fenced)));
        second.swap(row(2, 301)).await.unwrap();
        assert_eq!(second.current(), &row(2, 301));
    }
}
