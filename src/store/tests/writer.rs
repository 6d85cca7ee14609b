//! The one writer of SQLite: jobs share a commit and nothing else.
//!
//! Each test first holds the writer inside a job, so that what it queues then forms its groups without chance.

use std::collections::BTreeSet;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, join_all};
use tokio::sync::oneshot;

use super::super::{Db, Store, StoreError, execute, fetch_all, fetch_one};
use super::Fixture;

/// The writer, kept busy by a job until it is let go.
struct Held {
    release: oneshot::Sender<()>,
    job: BoxFuture<'static, Result<(), StoreError>>,
}

impl Held {
    async fn new(store: &Store) -> Self {
        let (started, has_started) = oneshot::channel();
        let (release, released) = oneshot::channel();
        let store = store.clone();
        let task = tokio::spawn(async move {
            store
                .write::<_, StoreError, _>(move |_| {
                    Box::pin(async move {
                        started.send(()).unwrap();
                        released.await.unwrap();
                        Ok(())
                    })
                })
                .await
        });
        has_started.await.unwrap();
        Self { release, job: async move { task.await.unwrap() }.boxed() }
    }

    /// Lets the writer go on and gives the answers of what was queued.
    async fn release<T>(self, queued: Vec<Queued<T>>) -> Vec<Result<T, StoreError>> {
        self.release.send(()).unwrap();
        self.job.await.unwrap();
        join_all(queued).await
    }
}

type Queued<T> = BoxFuture<'static, Result<T, StoreError>>;

/// Queues a write: its first poll puts it into the queue, where it waits.
fn queue<T, F>(store: &Store, work: F) -> Queued<T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut Db) -> BoxFuture<'c, Result<T, StoreError>> + Send + 'static,
{
    let store = store.clone();
    let mut queued = async move { store.write(work).await }.boxed();
    assert!((&mut queued).now_or_never().is_none(), "the writer is held");
    queued
}

async fn insert(db: &mut Db, number: i64) -> Result<(), StoreError> {
    execute!(db, "INSERT INTO meta (name, value) VALUES ($1, 'kept')", format!("row-{number}"))
        .map(|_| ())
}

async fn numbers(store: &Store) -> BTreeSet<i64> {
    let rows: Result<Vec<(String,)>, StoreError> = store
        .read(|db| {
            Box::pin(async move {
                fetch_all!(db, (String,), "SELECT name FROM meta WHERE value = 'kept'")
            })
        })
        .await;
    rows.unwrap().iter().map(|(name,)| name["row-".len()..].parse().unwrap()).collect()
}

async fn count(store: &Store) -> i64 {
    let row: Result<(i64,), StoreError> = store
        .read(|db| {
            Box::pin(async move {
                fetch_one!(db, (i64,), "SELECT COUNT(*) FROM meta WHERE value = 'kept'")
            })
        })
        .await;
    row.unwrap().0
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_leaves_no_trace_and_takes_nobody_with_it() {
    let fixture = Fixture::sqlite(&[]).await;
    let held = Held::new(&fixture.store).await;
    let queued = (0..60)
        .map(|number| {
            queue(&fixture.store, move |db| {
                Box::pin(async move {
                    insert(db, number).await?;
                    match number % 3 {
                        0 => Err(StoreError::NotFound),
                        // Breaks the constraint of the row that it has just written.
                        1 => insert(db, number).await,
                        _ => Ok(()),
                    }
                })
            })
        })
        .collect();

    let answers = held.release(queued).await;

    for (number, answer) in (0..).zip(&answers) {
        match number % 3 {
            0 => assert!(matches!(answer, Err(StoreError::NotFound)), "{number}: {answer:?}"),
            1 => assert!(
                matches!(answer, Err(StoreError::Constraint(name)) if name == "meta_name_key"),
                "{number}: {answer:?}"
            ),
            _ => assert!(answer.is_ok(), "{number}: {answer:?}"),
        }
    }
    let kept = (0..60).filter(|number| number % 3 == 2).collect();
    assert_eq!(numbers(&fixture.store).await, kept);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_fails_alone_leaves_no_trace() {
    let fixture = Fixture::sqlite(&[]).await;
    let failed: Result<(), StoreError> = fixture
        .store
        .write(|db| {
            Box::pin(async move {
                insert(db, 1).await?;
                Err(StoreError::NotFound)
            })
        })
        .await;

    assert!(matches!(failed, Err(StoreError::NotFound)), "{failed:?}");
    assert_eq!(numbers(&fixture.store).await, BTreeSet::new());
    fixture.store.probe().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_panics_leaves_no_trace_and_takes_nobody_with_it() {
    let fixture = Fixture::sqlite(&[]).await;
    let held = Held::new(&fixture.store).await;
    let queued = (0..40)
        .map(|number| {
            queue(&fixture.store, move |db| {
                Box::pin(async move {
                    insert(db, number).await?;
                    assert!(number % 4 != 1, "a planted panic");
                    Ok(())
                })
            })
        })
        .collect();

    let answers = held.release(queued).await;

    for (number, answer) in (0..).zip(&answers) {
        let stopped = matches!(answer, Err(StoreError::Stopped));
        assert_eq!(stopped, number % 4 == 1, "{number}: {answer:?}");
        assert_eq!(answer.is_ok(), number % 4 != 1, "{number}: {answer:?}");
    }
    let kept = (0..40).filter(|number| number % 4 != 1).collect();
    assert_eq!(numbers(&fixture.store).await, kept);
    fixture.store.probe().await.unwrap();
}

/// A panic before there is any future to watch must not end the writer either.
#[tokio::test(flavor = "multi_thread")]
async fn a_job_that_panics_before_its_first_step_leaves_the_writer_alive() {
    let fixture = Fixture::sqlite(&[]).await;
    let held = Held::new(&fixture.store).await;
    let queued = (0..3)
        .map(|number| {
            queue(&fixture.store, move |db| {
                assert!(number != 1, "a planted panic");
                Box::pin(async move { insert(db, number).await })
            })
        })
        .collect();

    let answers = held.release(queued).await;

    assert!(matches!(answers[1], Err(StoreError::Stopped)), "{answers:?}");
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert_eq!(numbers(&fixture.store).await, BTreeSet::from([0, 2]));
    fixture.store.probe().await.unwrap();
}

/// How many rows another connection saw while each of 200 writes, queued together, was running.
async fn seen_by_others(group_commit_max: &str) -> BTreeSet<i64> {
    let settings = [("MADANG__DATABASE__GROUP_COMMIT_MAX", group_commit_max)];
    let fixture = Fixture::sqlite(&settings).await;
    let held = Held::new(&fixture.store).await;
    let queued = (0..200)
        .map(|number| {
            let store = fixture.store.clone();
            queue(&fixture.store, move |db| {
                Box::pin(async move {
                    insert(db, number).await?;
                    Ok(count(&store).await)
                })
            })
        })
        .collect();

    let seen = held.release(queued).await.into_iter().map(Result::unwrap).collect();

    assert_eq!(numbers(&fixture.store).await, (0..200).collect());
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_queued_together_is_committed_together() {
    assert_eq!(seen_by_others("512").await, BTreeSet::from([0]));
    assert_eq!(seen_by_others("64").await, BTreeSet::from([0, 64, 128, 192]));
    // The control: groups of one are 200 commits, and each is seen.
    assert_eq!(seen_by_others("1").await, (0..200).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_busy_and_nothing_was_done() {
    let settings = [("MADANG__DATABASE__WRITE_QUEUE_MAX", "4")];
    let fixture = Fixture::sqlite(&settings).await;
    let held = Held::new(&fixture.store).await;
    let queued = (0..4)
        .map(|number| {
            queue(&fixture.store, move |db| Box::pin(async move { insert(db, number).await }))
        })
        .collect();

    let refused: Result<(), StoreError> =
        fixture.store.write(|db| Box::pin(async move { insert(db, 4).await })).await;

    assert!(matches!(refused, Err(StoreError::Busy)), "{refused:?}");
    let answers = held.release(queued).await;
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    assert_eq!(numbers(&fixture.store).await, (0..4).collect());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_still_has_its_work_done() {
    let fixture = Fixture::sqlite(&[]).await;
    let held = Held::new(&fixture.store).await;
    drop(queue(&fixture.store, |db| Box::pin(async move { insert(db, 1).await })));
    let last = queue(&fixture.store, |db| Box::pin(async move { insert(db, 2).await }));

    held.release(vec![last]).await;

    assert_eq!(numbers(&fixture.store).await, BTreeSet::from([1, 2]));
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_answered_has_been_told_of_the_commit() {
    let fixture = Fixture::sqlite(&[]).await;
    let mut commits = fixture.store.commits();
    for _ in 0..500 {
        fixture.store.probe().await.unwrap();
        assert!(commits.has_changed().unwrap());
        commits.mark_unchanged();
    }
}
