//! The one writer of SQLite: what queued while the last commit ran is committed together.
//!
//! Invariant: a caller hears `Ok` only after the commit that holds its work returned. Work that fails is rolled
//! back to its own savepoint and takes nobody with it; a commit that fails is told to everyone in the group.

use std::panic::{self, AssertUnwindSafe};
use std::thread;
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use sqlx::SqlitePool;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};

use super::room_log::Batch;
use super::sends::SendBatch;
use super::sends::sqlite::SendsConnection;
use super::{Db, StoreError};
use crate::origin::{self, Origin};

/// Told how the commit went; passes the caller its answer.
type Finish = Box<dyn FnOnce(Result<(), &StoreError>) + Send>;
/// Does one caller's work, or hears why it cannot be begun. `Err` asks for its savepoint to be undone.
type Job = Box<
    dyn for<'c> FnOnce(Result<&'c mut Db, StoreError>) -> BoxFuture<'c, Result<Finish, Finish>>
        + Send,
>;

/// Who waits for a room's messages to be stored.
type SendsReply = oneshot::Sender<Result<Option<Batch>, StoreError>>;

/// So many callers are a group worth committing, however recent the last one was.
const CROWD: usize = 32;
/// Fewer jobs in one commit are no sign of callers who come together: a request, and what it has set off.
const COMPANY: usize = 4;
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What the writing thread is handed.
enum Work {
    Job(Job),
    /// A room's plain messages, stored together with those of every other room that waits.
    Sends(SendBatch, SendsReply),
    /// Give the connection back and end.
    Close(oneshot::Sender<()>),
}

pub(super) struct Writer {
    work: mpsc::Sender<Work>,
    pool: SqlitePool,
}

impl Writer {
    /// Starts the writing thread. `pool` holds the one connection for everything but messages, which go through
    /// `sends`; nothing but migrations uses it before the first write, and nothing after. One thread calls both, so
    /// that neither ever waits for the other.
    ///
    /// A thread with a runtime of its own: each statement is a question to SQLite's thread and its answer, and the
    /// shared runtime would wake and steal between every two of them.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        pool: SqlitePool,
        sends: SendsConnection,
        queue_max: usize,
        group_max: usize,
        interval: Duration,
        commits: watch::Sender<()>,
    ) -> std::io::Result<Self> {
        let (work, queue) = mpsc::channel(queue_max.max(1));
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let connections = pool.clone();
        thread::Builder::new().name("madang-writer".to_owned()).spawn(move || {
            runtime.block_on(run(connections, sends, queue, group_max.max(1), interval, commits));
        })?;
        Ok(Self { work, pool })
    }

    /// The pool of the one writing connection, for migrations before the first write.
    pub(super) fn pool(&self) -> &SqlitePool {
        &self.pool
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
                let db = match db {
                    Ok(db) => db,
                    Err(refusal) => {
                        return Err(finish(move |_| {
                            let _ = reply.send(Err(refusal.into()));
                        }));
                    }
                };
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
        self.queue(Work::Job(job))?;
        answer.await.unwrap_or_else(|_| Err(StoreError::Stopped.into()))
    }

    /// Stores a room's plain messages, in bulk with those of other rooms.
    pub(super) async fn append_sends(&self, batch: SendBatch) -> Result<Option<Batch>, StoreError> {
        let (reply, answer) = oneshot::channel();
        self.queue(Work::Sends(batch, reply))?;
        answer.await.unwrap_or(Err(StoreError::Stopped))
    }

    /// Hands work to the writing thread, or refuses it before anything was done.
    fn queue(&self, work: Work) -> Result<(), StoreError> {
        self.work.try_send(work).map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(_) => StoreError::Busy,
            mpsc::error::TrySendError::Closed(_) => StoreError::Stopped,
        })
    }

    /// Finishes what is queued, then closes the connection.
    pub(super) async fn close(&self) {
        let (closed, done) = oneshot::channel();
        if self.work.send(Work::Close(closed)).await.is_ok() {
            // An error says that the thread has ended, which is as good.
            let _ = done.await;
        }
        self.pool.close().await;
    }
}

fn finish(tell: impl FnOnce(Result<(), StoreError>) + Send + 'static) -> Finish {
    Box::new(move |committed| {
        tell(committed.map_err(|cause| StoreError::Commit(cause.to_string())));
    })
}

/// Commits group after group.
///
/// Where callers come together, the next group is given time to do so too: a commit costs the same for one as for many.
/// Whoever writes alone, or beside what they have set off themselves, does not wait.
async fn run(
    pool: SqlitePool,
    mut messages: SendsConnection,
    mut queue: mpsc::Receiver<Work>,
    group_max: usize,
    interval: Duration,
    commits: watch::Sender<()>,
) {
    let mut connection = None;
    let mut received = Vec::new();
    let mut group = Vec::new();
    let mut last = 0;
    loop {
        if last > 0 {
            gather(&queue, last, interval).await;
        }
        if queue.recv_many(&mut received, group_max).await == 0 {
            return;
        }
        let received_count = received.len();
        let mut closed = None;
        let mut sends = Vec::new();
        for work in received.drain(..) {
            match work {
                Work::Job(job) => group.push(job),
                Work::Sends(batch, reply) => sends.push((batch, reply)),
                Work::Close(reply) => closed = Some(reply),
            }
        }
        let is_company = sends.len() > 1 || group.len() >= COMPANY;
        last = if is_company { received_count } else { 0 };
        for size in [sends.len(), group.len()].into_iter().filter(|size| *size > 0) {
            metrics::histogram!("madang_store_group_size")
                .record(u32::try_from(size).unwrap_or(u32::MAX));
        }
        if !sends.is_empty() {
            append_sends(&mut messages, sends, &commits);
        }
        if !group.is_empty() {
            if connection.is_none() {
                connection = pool.acquire().await.map(Db::sqlite).ok();
            }
            match &mut connection {
                Some(db) => commit_group(db, &mut group, &commits).await,
                None => refuse(&mut group).await,
            }
        }
        if let Some(reply) = closed {
            drop(connection.take());
            // Whoever asked may have stopped waiting.
            let _ = reply.send(());
            return;
        }
    }
}

/// Lets a group come together, for as long as `interval`, unless a crowd or as many as `last` time wait already: those
/// who write again once they were answered gain nothing by waiting longer. Looks now and then instead of being woken
/// by everyone.
async fn gather(queue: &mpsc::Receiver<Work>, last: usize, interval: Duration) {
    let looks = interval.as_micros().div_ceil(LOOK_INTERVAL.as_micros());
    for _ in 0..looks {
        if queue.len() >= last.min(CROWD) {
            return;
        }
        tokio::time::sleep(LOOK_INTERVAL.min(interval)).await;
    }
}

/// Stores the messages of every room that waits, in one transaction; each by itself where that fails, so that what
/// is wrong with one room is not told to the others.
fn append_sends(
    messages: &mut SendsConnection,
    mut sends: Vec<(SendBatch, SendsReply)>,
    commits: &watch::Sender<()>,
) {
    let (batches, replies): (Vec<SendBatch>, Vec<SendsReply>) = sends.drain(..).unzip();
    // A panic has undone the transaction on its way.
    let appended = panic::catch_unwind(AssertUnwindSafe(|| messages.append(&batches)));
    match appended {
        Ok(Ok(results)) => {
            commits.send_replace(());
            for (reply, result) in replies.into_iter().zip(results) {
                // A room that has gone away will read its head again.
                let _ = reply.send(Ok(result));
            }
        }
        _ if batches.len() > 1 => {
            for one in batches.into_iter().zip(replies) {
                append_sends(messages, vec![one], commits);
            }
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "messages were not committed");
            for reply in replies {
                let told = match &error {
                    StoreError::Busy => StoreError::Busy,
                    error => StoreError::Commit(error.to_string()),
                };
                let _ = reply.send(Err(told));
            }
        }
        // Dropping the reply drops the caller's hope: it reads that as `Stopped`.
        Err(_) => {}
    }
}

/// How the job before left its savepoint.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    Kept,
    Undo,
}

/// Tells every caller that nothing was done.
async fn refuse(group: &mut Vec<Job>) {
    for job in group.drain(..) {
        if let Err(finish) = job(Err(StoreError::Busy)).await {
            finish(Ok(()));
        }
    }
}

/// One transaction for all jobs, each in a savepoint of its own; a lone job needs none. Statements between two jobs
/// go to the database together: every call is a hop to its thread. `commits` is told before any caller is answered:
/// who was answered hears of nothing older any more.
async fn commit_group(db: &mut Db, group: &mut Vec<Job>, commits: &watch::Sender<()>) {
    let alone = group.len() == 1;
    let begin = if alone { "BEGIN IMMEDIATE" } else { "BEGIN IMMEDIATE; SAVEPOINT job" };
    if let Err(error) = db.execute_script(begin).await {
        tracing::error!(%error, "the writer could not begin a transaction");
        return refuse(group).await;
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
        match job(Ok(db)).await {
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
    } else if kept > 0 {
        commits.send_replace(());
    }
    for finish in finishes {
        finish(outcome.as_ref().copied());
    }
}
