//! Opening the database that `database.url` names, and bringing its schema up to date.

use std::path::Path;
use std::str::FromStr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use anyhow::Context;
use secrecy::ExposeSecret;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use sqlx::{PgPool, Postgres, Transaction};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::sends::sqlite::SendsConnection;
use super::writer::Writer;
use super::{Database, Inner, Store, StoreError, execute};
use crate::config::{Backend, Config};

const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const STATEMENT_CACHE: usize = 256;
/// How long a node that starts asks a busy server for a connection.
const MIGRATION_PATIENCE: Duration = Duration::from_mins(1);
/// What a node that was frozen in the middle of a transaction has locked is free again after that.
const SERVER_TIMEOUTS: [(&str, &str); 2] =
    [("idle_in_transaction_session_timeout", "15s"), ("statement_timeout", "30s")];

/// What every connection to SQLite is told.
pub(super) const PRAGMAS: [(&str, &str); 5] = [
    // A commit that was answered is on the disk.
    ("synchronous", "full"),
    ("foreign_keys", "on"),
    ("cache_size", "-65536"),
    ("temp_store", "memory"),
    // Busy pages are copied into the file once in 32 MiB of log, not once in 4.
    ("wal_autocheckpoint", "8192"),
];

/// Nodes that start together migrate one after the other. A lock of the transaction: one of the connection would stay
/// behind in a pooler.
const MIGRATION_LOCK: i64 = 0x6d61_6461_6e67;

static SQLITE_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| beside_other_releases(sqlx::migrate!("migrations/sqlite")));
static POSTGRES_MIGRATIONS: LazyLock<Migrator> =
    LazyLock::new(|| beside_other_releases(sqlx::migrate!("migrations/postgres")));

/// A release goes on after a newer one has migrated, until it is replaced: migrations that it does not know are none of
/// its business.
fn beside_other_releases(mut migrations: Migrator) -> Migrator {
    migrations.set_ignore_missing(true).set_locking(false);
    migrations
}

impl Store {
    /// Opens the configured database; `io` is the runtime its connections will live on.
    ///
    /// # Errors
    /// When the address is not understood, or the database cannot be reached.
    pub async fn connect(config: &Config, io: Handle) -> anyhow::Result<Self> {
        let backend = config.backend();
        let settings = config.database.clone();
        let commits = watch::Sender::default();
        let committed = commits.clone();
        // Opened on the I/O runtime: a connection belongs to the runtime that made it.
        let database = io
            .spawn(async move {
                let file = match backend {
                    Backend::Postgres(url) => {
                        let options = PgConnectOptions::from_str(url.expose_secret())
                            .context("database.url is not a PostgreSQL address")?
                            .statement_cache_capacity(STATEMENT_CACHE)
                            .options(SERVER_TIMEOUTS);
                        let pool = PgPoolOptions::new()
                            .max_connections(settings.connections_max)
                            .acquire_timeout(settings.acquire_timeout())
                            .connect_with(options)
                            .await
                            .context("PostgreSQL cannot be reached")?;
                        return Ok(Database::Postgres(pool));
                    }
                    Backend::Sqlite(file) => file,
                };
                let options = sqlite_options(&file);
                let writing = SqlitePoolOptions::new()
                    .max_connections(1)
                    .idle_timeout(None)
                    .max_lifetime(None)
                    // A file does not go away: no question before each use.
                    .test_before_acquire(false)
                    .connect_with(options.clone().create_if_missing(true))
                    .await
                    .context("the SQLite file cannot be opened")?;
                let readers = SqlitePoolOptions::new()
                    .max_connections(settings.readers)
                    .acquire_timeout(settings.acquire_timeout())
                    .idle_timeout(None)
                    .max_lifetime(None)
                    // A file does not go away: no question before each use.
                    .test_before_acquire(false)
                    .connect_with(options.pragma("query_only", "on"))
                    .await
                    .context("the SQLite file cannot be read")?;
                let messages = SendsConnection::open(&file, SQLITE_BUSY_TIMEOUT, &PRAGMAS)
                    .context("the SQLite file cannot be opened for messages")?;
                let writer = Writer::start(
                    writing,
                    messages,
                    settings.write_queue_max,
                    settings.group_commit_max,
                    settings.group_commit_interval(),
                    committed,
                )
                .context("the writing thread cannot be started")?;
                anyhow::Ok(Database::Sqlite { readers, writer })
            })
            .await
            .context("the I/O runtime has stopped")??;
        Ok(Self(Arc::new(Inner { io, database, commits })))
    }

    /// Brings the schema up to date and marks a new database with its epoch.
    ///
    /// # Errors
    /// When a migration fails. SQLite keeps the schema it had before that one, PostgreSQL that before the first.
    pub async fn migrate(&self, epoch: String) -> anyhow::Result<()> {
        let inner = Arc::clone(&self.0);
        let migration = self.0.io.spawn(async move {
            match &inner.database {
                Database::Sqlite { writer, .. } => {
                    let mut connection = writer.pool().acquire().await?;
                    SQLITE_MIGRATIONS.run_direct(None, &mut *connection, false).await
                }
                Database::Postgres(pool) => migrate_postgres(pool).await,
            }
        });
        migration.await.context("the I/O runtime has stopped")?.context("a migration failed")?;
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO meta (name, value)
                     VALUES ('epoch', $1)
                     ON CONFLICT (name) DO NOTHING",
                    epoch,
                )
            })
        })
        .await?;
        Ok(())
    }

    /// How many migrations this program knows that the database has not seen.
    ///
    /// # Errors
    /// When the database does not answer.
    pub async fn pending_migrations(&self) -> Result<usize, StoreError> {
        let known = match &self.0.database {
            Database::Sqlite { .. } => SQLITE_MIGRATIONS.iter().count(),
            Database::Postgres(_) => POSTGRES_MIGRATIONS.iter().count(),
        };
        let applied = self
            .read(|db| {
                Box::pin(async move {
                    super::fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM _sqlx_migrations WHERE success"
                    )
                })
            })
            .await;
        match applied {
            Ok((applied,)) => Ok(known.saturating_sub(usize::try_from(applied).unwrap_or(0))),
            // Without the table, nothing was ever applied.
            Err(StoreError::Database(sqlx::Error::Database(_))) => Ok(known),
            Err(error) => Err(error),
        }
    }
}

async fn migrate_postgres(pool: &PgPool) -> Result<(), MigrateError> {
    let mut tx = begin_patiently(pool).await?;
    // A migration may take its time, and so may the wait for another node's.
    sqlx::query("SET LOCAL statement_timeout = 0").execute(&mut *tx).await?;
    sqlx::query("SELECT pg_advisory_xact_lock($1)").bind(MIGRATION_LOCK).execute(&mut *tx).await?;
    POSTGRES_MIGRATIONS.run_direct(None, &mut *tx, false).await?;
    Ok(tx.commit().await?)
}

/// Whoever starts has nobody waiting: a server that is slow to give a connection is asked again.
async fn begin_patiently(pool: &PgPool) -> Result<Transaction<'static, Postgres>, sqlx::Error> {
    let began = Instant::now();
    loop {
        match pool.begin().await {
            Err(sqlx::Error::PoolTimedOut) if began.elapsed() < MIGRATION_PATIENCE => {}
            begun => return begun,
        }
    }
}

fn sqlite_options(file: &Path) -> SqliteConnectOptions {
    let options = SqliteConnectOptions::new()
        .filename(file)
        .journal_mode(SqliteJournalMode::Wal)
        .busy_timeout(SQLITE_BUSY_TIMEOUT)
        .statement_cache_capacity(STATEMENT_CACHE);
    PRAGMAS.iter().fold(options, |options, (name, value)| options.pragma(*name, *value))
}
