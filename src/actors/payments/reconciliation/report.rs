//! The report of a day: what was compared and what came of it, what is open, and what waits for somebody.

use std::time::Duration;

use jiff::civil::Date;
use serde_json::{Value, json};

use super::{KINDS, Reconciliation};
use crate::domain::calendar::instant_of;
use crate::domain::payments::ProviderName;
use crate::domain::reconciliation::{RunKind, RunStatus};
use crate::domain::workflows::WorkflowStatus;
use crate::store::StoreError;
use crate::store::reconciliation::Run;

/// Until when a provider that does not answer is waited for, into the day.
const NOON: Duration = Duration::from_hours(12);
/// Workflows that are counted; with more of them the figure is too small.
const WORKFLOWS_MAX: i64 = 10_000;

impl Reconciliation {
    /// Reports of the day before `today`, once all its runs have ended, and only once; one that has failed is waited for until
    /// noon. A day on which everything agrees is reported, too.
    pub(super) async fn report(&self, today: Date) -> Result<(), StoreError> {
        let Ok(day) = today.yesterday() else { return Ok(()) };
        let store = &self.0.store;
        let runs = store.list_runs_of(day).await?;
        if runs.is_empty() || !self.have_ended(&runs, today) || store.has_report(day).await? {
            return Ok(());
        }
        let body = self.body(&runs).await?;
        if store.insert_report(day, body, self.now()).await? {
            tracing::info!(day = %day, "the books of a day were reported");
        }
        Ok(())
    }

    /// Whether each provider was compared by everything.
    fn have_ended(&self, runs: &[Run], today: Date) -> bool {
        let is_noon = instant_of(today, NOON).is_ok_and(|noon| self.now() >= noon);
        let has_ended = |run: &Run| match run.status {
            RunStatus::Running => false,
            RunStatus::Failed => is_noon,
            RunStatus::Clean | RunStatus::Breaks | RunStatus::NotOffered => true,
        };
        let names = self.0.providers.all().filter_map(|it| ProviderName::parse(it.name()));
        let mut expected = names.flat_map(|name| KINDS.map(|kind| (name.as_str(), kind)));
        let is_there = |(provider, kind): (&str, RunKind)| {
            runs.iter().any(|run| run.provider == provider && run.kind == kind)
        };
        runs.iter().all(has_ended) && expected.all(is_there)
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
        let sealed = store.find_last_seal().await?;
        let unknown = store.find_unknown_payments().await?;
        let figures = store.list_workflow_figures(WORKFLOWS_MAX).await?;
        let parked = figures.iter().filter(|it| it.status == WorkflowStatus::Parked);
        Ok(json!({
            "runs": runs.iter().map(of_run).collect::<Vec<_>>(),
            "open_breaks": open,
            "receivable": receivable,
            "suspense": suspense,
            // Whoever keeps this can tell later whether the ledger until then is what it was.
            "seal": sealed.map(|it| json!({ "hour": it.hour, "digest": it.digest })),
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
