//! Schedule: tasks that are due every so often, each time on one node.
//!
//! A lease that lasts nearly until the next time is the mark that it was done: whoever gets it runs the task. Invariant:
//! a task begins on one node at a time, about once an interval, and may be left out when the node that has begun it dies;
//! one that takes longer than its interval may be begun by another node meanwhile, and is written so that this does no harm.
//! A database that only one process serves needs no mark: where there is nothing to do, nothing is written.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::nodes::Nodes;
use crate::store::Store;

/// Something to be done every so often.
#[derive(Clone)]
pub struct Task {
    /// The name of its lease; never changes.
    pub name: &'static str,
    pub every: Duration,
    /// A sentence for the log when it failed; the next time will do.
    pub run: Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>,
}

/// The running schedule.
pub struct Schedule(Vec<JoinHandle<()>>);

impl Schedule {
    /// Starts one timer a task on the shared I/O runtime; the first time is after about an interval.
    #[must_use]
    pub fn start(io: &Handle, store: &Store, nodes: &Nodes, tasks: Vec<Task>) -> Self {
        let start = |task| io.spawn(keep(task, store.clone(), nodes.clone()));
        Self(tasks.into_iter().map(start).collect())
    }

    /// Begins nothing any more.
    pub fn stop(&self) {
        for task in &self.0 {
            task.abort();
        }
    }
}

/// Runs a task; one that panics has failed, and is due again.
async fn run(task: &Task) -> Result<(), String> {
    let running = AssertUnwindSafe(async { (task.run)().await }).catch_unwind();
    running.await.unwrap_or_else(|_| Err("it has panicked".to_owned()))
}

async fn keep(task: Task, store: Store, nodes: Nodes) {
    let lease = format!("task:{}", task.name);
    loop {
        // Outside the statement, a generator would be held over the wait.
        let wait = task.every.mul_f64(rand::rng().random_range(0.9..1.1));
        tokio::time::sleep(wait).await;
        let is_mine = if store.is_networked() {
            let claimed = store.claim_lease(&lease, nodes.me(), task.every.mul_f64(0.9)).await;
            claimed.map(|lease| lease.is_some())
        } else {
            Ok(true)
        };
        match is_mine {
            Ok(false) => {}
            Ok(true) => match run(&task).await {
                Ok(()) => tracing::debug!(task = task.name, "a task was run"),
                Err(cause) => tracing::warn!(task = task.name, cause, "a task has failed"),
            },
            Err(error) => tracing::warn!(task = task.name, %error, "a task could not be begun"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_is_run_the_next_time() {
        let times = Arc::new(AtomicU32::new(0));
        let counted = Arc::clone(&times);
        let run_once = move || -> BoxFuture<'static, Result<(), String>> {
            let time = counted.fetch_add(1, Ordering::SeqCst);
            assert_ne!(time, 0, "on purpose");
            async move { if time == 1 { panic!("on purpose") } else { Ok(()) } }.boxed()
        };
        let task = Task { name: "test", every: Duration::ZERO, run: Arc::new(run_once) };
        assert!(run(&task).await.is_err());
        assert!(run(&task).await.is_err());
        assert_eq!(run(&task).await, Ok(()));
        assert_eq!(times.load(Ordering::SeqCst), 3);
    }
}
