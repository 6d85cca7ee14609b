//! The report of a day: what was compared and what came of it, what is open, and what waits for somebody.

use jiff::civil::Date;
use serde_json::{Value, json};

use super::Reconciliation;
use crate::domain::reconciliation::RunStatus;
use crate::domain::workflows::WorkflowStatus;
use crate::store::StoreError;
use crate::store::reconciliation::Run;

/// Workflows that are counted; with more of them the figure is too small.
const WORKFLOWS_MAX: i64 = 10_000;

impl Reconciliation {
    /// Reports of the day before `today`, once all its runs have ended, and only once. A day on which everything agrees is
    /// reported, too.
    pub(super) async fn report(&self, today: Date) -> Result<(), StoreError> {
        let Ok(day) = today.yesterday() else { return Ok(()) };
        let store = &self.0.store;
        let runs = store.list_runs_of(day).await?;
        let has_ended = |run: &Run| run.status != RunStatus::Running;
        if runs.is_empty() || !runs.iter().all(has_ended) || store.has_report(day).await? {
            return Ok(());
        }
        let body = self.body(&runs).await?;
        if store.insert_report(day, body, self.now()).await? {
            tracing::info!(day = %day, "the books of a day were reported");
        }
        Ok(())
    }

    async fn body(&self, runs: &[Run]) -> Result<Value, StoreError> {
        let store = &self.0.store;
        let open = store.count_open_breaks().await?;
        let open: Vec<Value> = open
            .into_iter()
            .map(|(bucket, count, sum)| {
                json!({ "bucket": bucket.as_str(), "count": count, "sum": sum })
            })
            .collect();
        let owed = store.list_owed().await?;
        let mut receivable = Vec::new();
        let mut suspense = Vec::new();
        for balance in store.list_family_balances().await? {
            let (currency, counters) = (balance.currency, balance.counters);
            if balance.family == "suspense" {
                let sum = counters.credit_balance();
                suspense.push(json!({ "currency": currency, "balance": sum }));
            }
            let provider = balance.family.strip_prefix("psp:");
            let Some(provider) = provider.and_then(|it| it.strip_suffix(":receivable")) else {
                continue;
            };
            let listed = owed.iter().find(|it| it.provider == provider);
            receivable.push(json!({
                "provider": provider,
                "currency": currency,
                "ledger": counters.debit_balance(),
                "listed": listed.map(|it| it.moved.saturating_sub(it.settled)),
            }));
        }
        let unknown = store.find_unknown_payments().await?;
        let figures = store.list_workflow_figures(WORKFLOWS_MAX).await?;
        let parked = figures.iter().filter(|it| it.status == WorkflowStatus::Parked);
        Ok(json!({
            "runs": runs.iter().map(of_run).collect::<Vec<_>>(),
            "open_breaks": open,
            "receivable": receivable,
            "suspense": suspense,
            "unknown_payments": { "count": unknown.count, "oldest_since": unknown.since },
            "parked_workflows": parked.map(|it| it.count).sum::<i64>(),
        }))
    }
}

fn of_run(run: &Run) -> Value {
    json!({
        "provider": run.provider,
        "kind": run.kind,
        "status": run.status,
        "remote": run.remote,
        "remote_sum": run.remote_sum,
        "matched": run.matched,
        "matched_sum": run.matched_sum,
        "auto_fixed": run.auto_fixed,
        "breaks": run.breaks,
        "why": run.why,
    })
}
