//! The one writer of SQLite: what queued while the last commit ran is committed together.
//!
//! Invariant: a caller hears `Ok` only after the commit that holds its work returned. Work that fails is rolled
//! back to its own savepoint and takes nobody with it; a commit that fails is told to everyone in the group.

use std::panic::AssertUnwindSafe;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::SqlitePool;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::{Db, StoreError};
use crate::origin::{self, Origin};

/// Told how the commit went; passes the caller its answer.
type Finish = Box<dyn FnOnce(Result<(), &StoreError>) + Send>;
/// Does one caller's work. `Err` asks for its savepoint to be undone.
type Job = Box<dyn for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<Finish, Finish>> + Send>;

pub(super) struct Writer {
    jobs: mpsc::Sender<Job>,
    pool: SqlitePool,
}

impl Writer {
    /// Starts the writing task on `io`. `pool` holds the one writing connection.
    pub(super) fn start(pool: SqlitePool, io: &Handle, queue_max: usize, group_max: usize) -> Self {
        let (jobs, queue) = mpsc::channel(queue_max.max(1));
        io.spawn(run(pool.clone(), queue, group_max.max(1)));
        Self { jobs, pool }
    }

    pub(super) async fn write<T, E, F>(&self, origin: Origin, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, E>> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job: Job = Box::new(move |db| {
            Box::pin(async move {
                // A panic in `work` drops its reply: the caller reads that as `Stopped`, the group goes on.
                // Called inside the guarded future: a panic before its first step counts too.
                let work = AssertUnwindSafe(origin::scope(origin, async move { work(db).await }));
                match work.catch_unwind().await {
                    Ok(Ok(value)) => Ok(finish(move |committed| {
                        // A caller that has gone away still has its work done.
                        let _ = reply.send(committed.map(|()| value).map_err(E::from));
                    })),
                    Ok(Err(error)) => Err(finish(move |_| {
                        let _ = reply.send(Err(error));
                    })),
                    Err(_) => Err(finish(|_| ())),
                }
            })
        });
        self.jobs.try_send(job).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
        })?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
    }

    /// The pool of the one writing connection, for migrations before the first write.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Waits for the writing connection to fall idle, then closes it.
    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}

fn finish(tell: impl FnOnce(Result<(), StoreError>) + Send + 'static) -> Finish {
    Box::new(move |committed| {
        tell(committed.map_err(|cause| StoreError::Commit(cause.to_string())));
    })
}

async fn run(pool: SqlitePool, mut queue: mpsc::Receiver<Job>, group_max: usize) {
    let mut group = Vec::new();
    while queue.recv_many(&mut group, group_max).await > 0 {
        metrics::histogram!("madang_store_group_size")
            .record(u32::try_from(group.len()).unwrap_or(u32::MAX));
        match pool.acquire().await {
            Ok(connection) => commit_group(&mut Db::sqlite(connection), &mut group).await,
            // Dropping the jobs drops their replies: every caller hears `Stopped`.
            Err(_) => group.clear(),
        }
    }
}

/// How the job before left its savepoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Kept,
    Undo,
}

/// One transaction for all jobs, each in a savepoint of its own; a lone job needs none. Statements between two jobs
/// go to the database together: every call is a hop to its thread.
async fn commit_group(db: &mut Db, group: &mut Vec<Job>) {
    let alone = group.len() == 1;
    let begin = if alone { "BEGIN IMMEDIATE" } else { "BEGIN IMMEDIATE; SAVEPOINT job" };
    if let Err(error) = db.execute_script(begin).await {
        tracing::error!(%error, "the writer could not begin a transaction");
        group.clear();
        return;
    }
    let mut finishes = Vec::with_capacity(group.len());
    let mut outcome = Ok(());
    let mut left = None;
    let mut kept = 0_usize;
    for job in group.drain(..) {
        let between = match left {
            None => Ok(()),
            Some(Left::Kept) => db.execute_script("RELEASE job; SAVEPOINT job").await,
            Some(Left::Undo) => db.execute_script("ROLLBACK TO job").await,
        };
        if let Err(error) = between {
            // Nothing of this group can be trusted any more.
            outcome = Err(error);
            break;
        }
        match job(db).await {
            Ok(finish) => {
                finishes.push(finish);
                left = Some(Left::Kept);
                kept = kept.saturating_add(1);
            }
            Err(finish) => {
                finishes.push(finish);
                left = Some(Left::Undo);
            }
        }
    }
    if outcome.is_ok() {
        outcome = match left {
            _ if kept == 0 => db.execute_script("ROLLBACK").await,
            Some(Left::Undo) => db.execute_script("ROLLBACK TO job; COMMIT").await,
            _ => db.execute_script("COMMIT").await,
        };
    }
    if let Err(error) = &outcome {
        tracing::error!(%error, "a group of writes was not committed");
        // Fails when the database has rolled back by itself, which is as good.
        let _ = db.execute_script("ROLLBACK").await;
    }
    for finish in finishes {
        finish(outcome.as_ref().copied());
    }
}
