//! Vital tasks: without one of them a node does not do what it promises, so its panic is one for the node.

use std::future::Future;
use std::panic::AssertUnwindSafe;

use futures_util::FutureExt as _;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use super::permanent::OnEscalate;

/// Runs a task on `io` that must not panic; if it does all the same, that is escalated.
pub fn spawn_vital(
    io: &Handle,
    name: &'static str,
    on_escalate: OnEscalate,
    task: impl Future<Output = ()> + Send + 'static,
) -> JoinHandle<()> {
    io.spawn(async move {
        if AssertUnwindSafe(task).catch_unwind().await.is_err() {
            on_escalate(&format!("the task {name} has panicked"));
        }
    })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn a_panic_in_a_vital_task_is_escalated() {
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        let on_escalate: OnEscalate =
            Arc::new(move |cause: &str| heard.lock().unwrap().push(cause.to_owned()));
        let panics = async { std::panic::resume_unwind(Box::new("on purpose")) };
        spawn_vital(&Handle::current(), "relay", Arc::clone(&on_escalate), panics).await.unwrap();
        spawn_vital(&Handle::current(), "relay", on_escalate, async {}).await.unwrap();
        assert_eq!(*told.lock().unwrap(), ["the task relay has panicked"]);
    }
}
