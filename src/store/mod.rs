//! Persistence: the only room with SQL, the same text for SQLite and PostgreSQL.
//!
//! [`Store`] is a facade that any thread may call: its work runs on the shared I/O runtime, where the
//! connections live. Invariant: one function here is one atomic fact, its outbox event included.

mod audiences;
pub mod audit;
pub mod bank_accounts;
pub mod blocks;
mod connect;
pub mod dead_addresses;
pub mod deliveries;
pub mod devices;
pub mod disputes;
mod error;
pub mod follows;
pub mod friends;
pub mod idempotency;
pub mod images;
mod inboxes;
pub mod journal;
pub mod leases;
pub mod ledger;
mod log_pages;
mod message_images;
pub mod message_reports;
pub mod names;
pub mod nodes;
pub mod notifications;
pub mod orders;
pub mod outbox;
pub mod payment_webhooks;
pub mod payments;
pub mod payouts;
pub mod people;
pub mod phones;
pub mod preferences;
mod presences;
pub mod privacy;
pub mod reconciliation;
pub mod relay;
pub mod room_lists;
pub mod room_log;
mod room_notifications;
pub mod rooms;
mod sends;
pub mod service_keys;
pub mod settings;
pub mod settlements;
mod sql;
pub mod templates;
pub mod wallets;
pub mod webhooks;
pub mod withdrawals;
pub mod workflows;
mod writer;

pub mod accounts;
pub mod messages;
pub mod sessions;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use sqlx::{PgPool, SqlitePool};
use tokio::runtime::Handle;
use tokio::sync::watch;

pub use self::error::StoreError;
use self::room_log::Batch;
use self::sends::SendBatch;
pub use self::sql::Db;
pub(crate) use self::sql::{Backend, execute, fetch_all, fetch_one, fetch_optional};
use self::writer::Writer;
use crate::origin;

/// Longer than the server itself lets a statement take.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// The embedded or the networked database behind one set of functions. Cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    io: Handle,
    database: Database,
    commits: watch::Sender<()>,
}

enum Database {
    Sqlite { readers: SqlitePool, writer: Writer },
    Postgres(PgPool),
}

impl Inner {
    /// How long anybody waits; a file always answers.
    const fn answer_max(&self) -> Option<Duration> {
        match self.database {
            Database::Sqlite { .. } => None,
            Database::Postgres(_) => Some(ANSWER_MAX),
        }
    }
}

/// Gives up on a database on whose connection nothing comes back any more.
async fn within<T, E: From<StoreError>>(
    limit: Option<Duration>,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    match limit {
        None => work.await,
        Some(limit) => {
            let worked = tokio::time::timeout(limit, work).await;
            worked.unwrap_or_else(|_| Err(StoreError::TimedOut.into()))
        }
    }
}

impl Store {
    /// Runs `work` on a connection of its own, outside a transaction.
    ///
    /// # Errors
    /// What `work` gives, or the [`StoreError`] that kept it from running.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let task = self.0.io.spawn(async move {
            let mut db = match &inner.database {
                Database::Sqlite { readers, .. } => {
                    Db::sqlite(readers.acquire().await.map_err(StoreError::from)?)
                }
                Database::Postgres(pool) => {
                    Db::postgres(pool.acquire().await.map_err(StoreError::from)?)
                }
            };
            within(inner.answer_max(), work(&mut db)).await
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
    }

    /// Runs `work` on one snapshot of the database: whatever it reads was so at one moment. It writes nothing.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn read_snapshot<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let inner = Arc::clone(&self.0);
        let task = self.0.io.spawn(async move {
            match &inner.database {
                Database::Sqlite { readers, .. } => {
                    let mut db = Db::sqlite(readers.acquire().await.map_err(StoreError::from)?);
                    db.execute_script("BEGIN").await?;
                    // Whatever becomes of it, the connection does not keep the snapshot.
                    let worked = AssertUnwindSafe(work(&mut db)).catch_unwind().await;
                    db.execute_script("ROLLBACK").await?;
                    worked.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
                }
                Database::Postgres(pool) => {
                    let mut db = Db::transaction(pool.begin().await.map_err(StoreError::from)?);
                    let snapshot = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
                    db.execute_script(snapshot).await?;
                    within(inner.answer_max(), work(&mut db)).await
                }
            }
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
    }

    /// Runs `work` in one transaction and answers once it is durable; an `Err` leaves no trace.
    ///
    /// On SQLite, transactions that queue together are committed together. Dropping the returned future
    /// does not undo the work.
    ///
    /// # Errors
    /// What `work` gives; [`StoreError::Busy`] when the queue is full, before anything was done.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.write_within(self.0.answer_max(), work).await
    }

    /// As [`Self::write`], for what may take its time: it is given up only by the connection.
    ///
    /// # Errors
    /// As [`Self::write`].
    async fn write_patiently<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        self.write_within(None, work).await
    }

    async fn write_within<T, E, F>(&self, limit: Option<Duration>, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let origin = origin::current();
        match &self.0.database {
            Database::Sqlite { writer, .. } => writer.write(origin, work).await,
            Database::Postgres(pool) => {
                let (pool, commits) = (pool.clone(), self.0.commits.clone());
                let task = self.0.io.spawn(origin::scope(origin, async move {
                    let tx = pool.begin().await.map_err(StoreError::from)?;
                    let working = async {
                        let mut db = Db::transaction(tx);
                        match work(&mut db).await {
                            Ok(value) => {
                                db.commit().await?;
                                commits.send_replace(());
                                Ok(value)
                            }
                            Err(error) => {
                                // Before the answer: who was refused holds nobody up any more.
                                db.undo().await;
                                Err(error)
                            }
                        }
                    };
                    within(limit, working).await
                }));
                task.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
            }
        }
    }

    /// Stores one room's plain messages; in SQLite together with those of every other room that waits.
    async fn append_sends(&self, batch: SendBatch) -> Result<Option<Batch>, StoreError> {
        match &self.0.database {
            Database::Sqlite { writer, .. } => writer.append_sends(batch).await,
            Database::Postgres(_) => {
                self.write(move |db| {
                    Box::pin(async move {
                        let mut results = sends::postgres::append(db, &[batch]).await?;
                        Ok(results.pop().flatten())
                    })
                })
                .await
            }
        }
    }

    /// Told whenever this process has committed something: whoever waits for work looks then, and not all the time.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<()> {
        self.0.commits.subscribe()
    }

    /// Whether several processes may work on the database, each for itself: with PostgreSQL, never with SQLite.
    #[must_use]
    pub fn is_networked(&self) -> bool {
        matches!(self.0.database, Database::Postgres(_))
    }

    /// Proves that the database answers and takes a write; what `/readyz` asks.
    ///
    /// # Errors
    /// The [`StoreError`] that a caller would meet.
    pub async fn probe(&self) -> Result<(), StoreError> {
        self.write(|db| {
            Box::pin(async move {
                // No row of it: one that a frozen node has locked would make all of them unready.
                let write = db.dialect(
                    "UPDATE meta SET value = value WHERE name = 'epoch'",
                    "SELECT pg_current_xact_id()",
                );
                execute!(db, write).map(|_| ())
            })
        })
        .await
    }

    /// The database's own mark: positions given under another epoch are not believed.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] before the first migration.
    pub async fn epoch(&self) -> Result<String, StoreError> {
        let (epoch,): (String,) = self
            .read(|db| {
                Box::pin(async move {
                    fetch_one!(db, (String,), "SELECT value FROM meta WHERE name = 'epoch'")
                })
            })
            .await?;
        Ok(epoch)
    }

    /// Finishes what is queued and closes every connection.
    pub async fn close(&self) {
        match &self.0.database {
            Database::Sqlite { readers, writer } => {
                writer.close().await;
                readers.close().await;
            }
            Database::Postgres(pool) => pool.close().await,
        }
    }
}
