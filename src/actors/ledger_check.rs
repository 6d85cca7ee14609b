//! The ledger's check of itself, every hour: counters are folded from the transfers again, account after account; debits
//! are held against credits, holds against what is open, escrow against payments, and what was sealed against its seals.
//!
//! Invariant: whatever does not agree is a break that somebody can see, a metric and a line in the log, and nothing is
//! corrected. A check that could not be made says so by its age.

use std::time::Duration;

use crate::domain::calendar::day_of;
use crate::domain::ids::NodeId;
use crate::domain::reconciliation::{Break, Bucket, RunKind};
use crate::domain::time::Timestamp;
use crate::store::ledger::check::Drift;
use crate::store::reconciliation::Ended;
use crate::store::reconciliation::checks::finding;
use crate::store::{Store, StoreError};

/// Accounts that one question is about.
const PAGE: u16 = 200;
/// Longer than a page takes.
const LEASE: Duration = Duration::from_secs(90);
const LEASE_NAME: &str = "reconciliation:books";
/// What is compared has no provider.
const BOOKS: &str = "books";
/// Nothing is written any more of what was so long ago.
const SETTLED_AFTER: Duration = Duration::from_hours(1);

/// Checks the ledger, on one node at a time. Gives what does not agree; nothing where another node checks.
///
/// # Errors
/// [`StoreError`] when the database does not answer; then the metrics say what they said before.
pub async fn check_ledger(
    store: &Store,
    node: NodeId,
    now: Timestamp,
) -> Result<Vec<Break>, StoreError> {
    let Some(lease) = store.claim_lease(LEASE_NAME, node, LEASE).await? else {
        return Ok(Vec::new());
    };
    let today = day_of(now).map_err(|_| StoreError::NotFound)?;
    let run = store.begin_run(&lease, BOOKS, today, RunKind::Ledger, now).await?;
    let mut found = Vec::new();
    let mut after = None;
    loop {
        let page = store.check_ledger(after, PAGE).await?;
        if page.drifts.is_empty() {
            store.keep_folds(after, PAGE, now.minus(SETTLED_AFTER)).await?;
        }
        found.extend(page.drifts.iter().flat_map(of_drift));
        store.renew_lease(&lease, LEASE).await?;
        after = page.last;
        if after.is_none() {
            break;
        }
    }
    found.extend(store.list_ledger_findings().await?);
    store.renew_lease(&lease, LEASE).await?;
    store.seal_ledger(now).await?;
    store.renew_lease(&lease, LEASE).await?;
    found.extend(store.list_broken_seals(now).await?);
    for it in &found {
        tracing::error!(
            ledger.subject = it.subject,
            ledger.rows = it.local_amount,
            ledger.booked = it.remote_amount,
            "the ledger does not agree: {}",
            it.says
        );
    }
    store.record_breaks(&lease, &run, found.clone(), now).await?;
    store.end_run(&lease, &run, Ended::Whole, now).await?;
    store.release_lease(&lease).await?;
    show(store, found.is_empty(), now).await?;
    Ok(found)
}

async fn show(store: &Store, is_clean: bool, now: Timestamp) -> Result<(), StoreError> {
    metrics::gauge!("madang_ledger_selfcheck_ok").set(if is_clean { 1.0 } else { 0.0 });
    let seconds = u32::try_from(now.millis().div_euclid(1_000)).unwrap_or(u32::MAX);
    metrics::gauge!("madang_ledger_checked_at_seconds").set(seconds);
    for (bucket, count, _) in store.count_open_breaks().await? {
        if bucket == Bucket::Ledger {
            let count = u32::try_from(count).unwrap_or(u32::MAX);
            metrics::gauge!("madang_recon_breaks", "bucket" => bucket.as_str()).set(count);
        }
    }
    Ok(())
}

/// The counters of an account that are not what its transfers come to.
fn of_drift(drift: &Drift) -> Vec<Break> {
    let (counted, folded) = (drift.counted, drift.folded);
    let counters = [
        ("debits_pending", counted.debits_pending, folded.debits_pending),
        ("debits_posted", counted.debits_posted, folded.debits_posted),
        ("credits_pending", counted.credits_pending, folded.credits_pending),
        ("credits_posted", counted.credits_posted, folded.credits_posted),
    ];
    let differ = counters.into_iter().filter(|(_, counted, folded)| counted != folded);
    let says = "a counter of an account is not what its transfers come to";
    differ
        .map(|(name, counted, folded)| {
            finding(format!("{}:{name}", drift.code), folded, counted, says)
        })
        .collect()
}
