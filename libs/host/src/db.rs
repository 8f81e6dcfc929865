//! The embedded database: SQLite opened the one safe way, and migrations from SQL text in the binary.

use std::path::{Path, PathBuf};
use std::time::Duration;

use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteSynchronous,
};
use sqlx::{Connection, SqliteConnection};
use thiserror::Error;

/// How long a writer waits for another one before it gives up.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a caller waits for a free connection.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);

/// One step of a schema. Steps are numbered 1, 2, 3, ... and never edited once released.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// What it does, for people.
    pub name: &'static str,
    /// One or more SQL statements, run in one transaction.
    pub sql: &'static str,
}

/// Why a database could not be opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum DbError {
    /// SQLite refused; the file may be unreadable, locked or not a database.
    #[error("{}: {source}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// A migration failed; nothing of it was applied.
    #[error("migration {version} ({name}): {source}")]
    Migration {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file was written by a newer release; going back would lose what it added.
    #[error(
        "the database has schema version {found}, this release knows {known}: use the newer release"
    )]
    FromTheFuture {
        /// The schema version found in the file.
        found: i64,
        /// The newest one this release knows.
        known: i64,
    },
    /// A released migration was edited, so the schema in the file is not what this release expects.
    #[error("migration {version} ({name}) differs from the one that made this database")]
    Edited {
        /// Its number.
        version: i64,
        /// Its name.
        name: &'static str,
    },
    /// A copy cannot be written.
    #[error("{}: {source}", path.display())]
    Copy {
        /// The copy.
        path: PathBuf,
        /// What SQLite says.
        source: sqlx::Error,
    },
}

/// Opens (or makes) the SQLite file at `path` and brings its schema up to date.
///
/// Write-ahead journal, `synchronous = FULL` (a committed transaction survives a power cut), foreign keys on, five seconds
/// of patience with other writers. `connections` is the size of the pool; writers queue on SQLite's own lock.
///
/// # Errors
/// See [`DbError`].
pub async fn open_sqlite(
    path: &Path,
    connections: u32,
    migrations: &[Migration],
) -> Result<SqlitePool, DbError> {
    let open = |source| DbError::Open {
        path: path.to_owned(),
        source,
    };
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY_TIMEOUT);
    let pool = SqlitePoolOptions::new()
        .max_connections(connections.max(1))
        .acquire_timeout(ACQUIRE_TIMEOUT);
    let pool = pool.connect_with(options).await.map_err(open)?;
    let mut connection = pool.acquire().await.map_err(open)?;
    migrate(&mut connection, migrations).await?;
    drop(connection);
    Ok(pool)
}

/// Writes a copy of the SQLite file at `path` to `copy`, which must not exist: one state of it, also while another process
/// writes. The copy is not synced.
///
/// # Errors
/// [`DbError::Open`] when there is no database, or it cannot be read; [`DbError::Copy`] when the copy cannot be written.
pub async fn copy_sqlite(path: &Path, copy: &Path) -> Result<(), DbError> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    let connection = SqliteConnection::connect_with(&options).await;
    let mut connection = connection.map_err(|source| DbError::Open {
        path: path.to_owned(),
        source,
    })?;
    let copied = sqlx::query("VACUUM INTO ?")
        .bind(copy.to_string_lossy().into_owned())
        .execute(&mut connection)
        .await;
    let closed = connection.close().await;
    let copied = copied.and(closed);
    copied.map_err(|source| DbError::Copy {
        path: copy.to_owned(),
        source,
    })
}

/// An in-memory database with the same schema, for tests.
///
/// # Errors
/// See [`DbError`].
pub async fn open_sqlite_in_memory(migrations: &[Migration]) -> Result<SqlitePool, DbError> {
    let open = |source| DbError::Open {
        path: PathBuf::from(":memory:"),
        source,
    };
    // One connection that never ends: the database lives exactly as long as it.
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .idle_timeout(None)
        .max_lifetime(None);
    let options = SqliteConnectOptions::new()
        .in_memory(true)
        .foreign_keys(true);
    let pool = pool.connect_with(options).await.map_err(open)?;
    let mut connection = pool.acquire().await.map_err(open)?;
    migrate(&mut connection, migrations).await?;
    drop(connection);
    Ok(pool)
}

const CREATE_LEDGER: &str = "CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, sql TEXT NOT NULL) STRICT";

async fn migrate(
    connection: &mut SqliteConnection,
    migrations: &[Migration],
) -> Result<(), DbError> {
    let failed = |version, name| {
        move |source| DbError::Migration {
            version,
            name,
            source,
        }
    };
    sqlx::query(CREATE_LEDGER)
        .execute(&mut *connection)
        .await
        .map_err(failed(0, "ledger"))?;
    let applied: Vec<(i64, String)> =
        sqlx::query_as("SELECT version, sql FROM schema_migrations ORDER BY version")
            .fetch_all(&mut *connection)
            .await
            .map_err(failed(0, "ledger"))?;
    let known = migrations.len() as i64;
    if let Some((found, _)) = applied.last().filter(|(version, _)| *version > known) {
        return Err(DbError::FromTheFuture {
            found: *found,
            known,
        });
    }
    for (version, migration) in (1..).zip(migrations) {
        match applied.iter().find(|(done, _)| *done == version) {
            Some((_, sql)) if sql == migration.sql => {}
            Some(_) => {
                return Err(DbError::Edited {
                    version,
                    name: migration.name,
                });
            }
            None => apply(connection, version, migration)
                .await
                .map_err(failed(version, migration.name))?,
        }
    }
    Ok(())
}

async fn apply(
    connection: &mut SqliteConnection,
    version: i64,
    migration: &Migration,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin().await?;
    sqlx::raw_sql(migration.sql)
        .execute(&mut *transaction)
        .await?;
    sqlx::query("INSERT INTO schema_migrations (version, name, sql) VALUES (?, ?, ?)")
        .bind(version)
        .bind(migration.name)
        .bind(migration.sql)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Migration = Migration {
        name: "serials",
        sql: "CREATE TABLE serial (n INTEGER PRIMARY KEY) STRICT;",
    };
    const SECOND: Migration = Migration {
        name: "names",
        sql: "ALTER TABLE serial ADD COLUMN name TEXT;",
    };

    fn folder() -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("sealwright-host-db-{:016x}", rand::random::<u64>()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    #[tokio::test]
    async fn a_database_is_made_kept_and_brought_up_to_date() {
        let folder = folder();
        let file = folder.join("state.db");
        let pool = open_sqlite(&file, 2, &[FIRST]).await.unwrap();
        sqlx::query("INSERT INTO serial (n) VALUES (7)")
            .execute(&pool)
            .await
            .unwrap();
        pool.close().await;
        let pool = open_sqlite(&file, 2, &[FIRST, SECOND]).await.unwrap();
        let (n, mode): (i64, String) = (
            sqlx::query_scalar("SELECT n FROM serial")
                .fetch_one(&pool)
                .await
                .unwrap(),
            sqlx::query_scalar("PRAGMA journal_mode")
                .fetch_one(&pool)
                .await
                .unwrap(),
        );
        assert_eq!((n, mode.as_str()), (7, "wal"));
        pool.close().await;
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn newer_and_edited_schemas_are_refused() {
        let folder = folder();
        let file = folder.join("state.db");
        open_sqlite(&file, 1, &[FIRST, SECOND])
            .await
            .unwrap()
            .close()
            .await;
        let newer = open_sqlite(&file, 1, &[FIRST])
            .await
            .expect_err("made by a newer release");
        assert!(
            matches!(newer, DbError::FromTheFuture { found: 2, known: 1 }),
            "{newer}"
        );
        let edited = Migration {
            sql: "CREATE TABLE other (n INTEGER) STRICT;",
            ..FIRST
        };
        let error = open_sqlite(&file, 1, &[edited, SECOND])
            .await
            .expect_err("edited");
        assert!(
            matches!(error, DbError::Edited { version: 1, .. }),
            "{error}"
        );
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[tokio::test]
    async fn a_failed_migration_leaves_nothing_behind() {
        let broken = Migration {
            name: "broken",
            sql: "CREATE TABLE half (n INTEGER) STRICT; SELECT nonsense;",
        };
        let folder = folder();
        let file = folder.join("state.db");
        let error = open_sqlite(&file, 1, &[broken]).await.expect_err("broken");
        assert!(
            matches!(error, DbError::Migration { version: 1, .. }),
            "{error}"
        );
        open_sqlite(
            &file,
            1,
            &[Migration {
                name: "half",
                sql: "CREATE TABLE half (n INTEGER) STRICT;",
            }],
        )
        .await
        .unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }
}
