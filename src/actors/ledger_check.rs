//! The ledger's check of itself: counters are folded from the transfers again, account after account.
//!
//! Invariant: whatever does not agree is told of, by a metric and in the log, and nothing is corrected.

use crate::store::{Store, StoreError};

/// Accounts that one question is about.
const PAGE: u16 = 200;

/// Checks every account; gives nothing but the metric `madang_ledger_selfcheck_ok` and lines in the log.
///
/// # Errors
/// [`StoreError`] when the database does not answer; then the metric says what it said before.
pub async fn check_ledger(store: &Store) -> Result<(), StoreError> {
    let (mut after, mut accounts, mut drifts) = (None, 0_usize, 0_usize);
    loop {
        let page = store.check_ledger(after, PAGE).await?;
        accounts = accounts.saturating_add(page.accounts);
        drifts = drifts.saturating_add(page.drifts.len());
        for drift in page.drifts {
            tracing::error!(
                ledger.account = drift.code,
                counted = ?drift.counted,
                folded = ?drift.folded,
                "an account of the ledger does not agree with its transfers"
            );
        }
        after = page.last;
        if after.is_none() {
            break;
        }
    }
    metrics::gauge!("madang_ledger_selfcheck_ok").set(if drifts == 0 { 1.0 } else { 0.0 });
    tracing::debug!(accounts, drifts, "the ledger was checked");
    Ok(())
}
