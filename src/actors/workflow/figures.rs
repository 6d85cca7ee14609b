//! Figures of workflows: how many are open, and for how long the first has been due.
//!
//! Every node tells the same of them, since they are in the database: take the maximum over nodes, not the sum. Nothing is
//! written for it.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::engine::Engine;
use crate::domain::workflows::WorkflowStatus;
use crate::store::StoreError;

const INTERVAL: Duration = Duration::from_secs(10);
/// Open workflows that are counted; with more of them the figures are too small.
const COUNT_MAX: i64 = 100_000;

/// Kinds and statuses that were told.
type Told = BTreeSet<(String, WorkflowStatus)>;

pub(super) async fn count(engine: Engine, mut stopped: watch::Receiver<bool>) {
    let mut told = Told::new();
    while !*stopped.borrow() {
        if let Err(error) = tell(&engine, &mut told).await {
            tracing::warn!(%error, "nobody knows how many workflows are open");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopped.changed() => {}
        }
    }
}

async fn tell(engine: &Engine, told: &mut Told) -> Result<(), StoreError> {
    let open = engine.store.list_workflow_figures(COUNT_MAX).await?;
    let due_at = engine.next_due().await?;
    let now = (engine.clock)();
    let overdue = due_at.map_or(Duration::ZERO, |due_at| now.since(due_at));
    metrics::gauge!("madang_wf_oldest_ready_seconds").set(overdue.as_secs_f64());
    let now_open: Told = open.iter().map(|it| (it.kind.clone(), it.status)).collect();
    // What is no more has to be told, too.
    for (kind, status) in told.difference(&now_open) {
        set_open(kind, *status, 0);
    }
    let mut parked = 0;
    for figures in &open {
        set_open(&figures.kind, figures.status, figures.count);
        if figures.status == WorkflowStatus::Parked {
            parked += figures.count;
        }
    }
    metrics::gauge!("madang_wf_parked").set(gauge(parked));
    *told = now_open;
    Ok(())
}

fn set_open(kind: &str, status: WorkflowStatus, count: i64) {
    let (kind, status) = (kind.to_owned(), status.as_str());
    metrics::gauge!("madang_wf_open", "kind" => kind, "status" => status).set(gauge(count));
}

fn gauge(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
