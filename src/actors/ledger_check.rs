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
use crate::store::leases::Lease;
use crate::store::ledger::check::Drift;
use crate::store::reconciliation::checks::finding;
use crate::store::reconciliation::{Ended, Run};
use crate::store::{Store, StoreError};

/// Accounts that one question is about.
const PAGE: u16 = 200;
/// Longer than a page takes, or an hour of entries.
const LEASE: Duration = Duration::from_secs(90);
const LEASE_NAME: &str = "reconciliation:books";
/// What is compared has no provider.
const BOOKS: &str = "books";
/// Hours that one check seals, more than a year has; what is left is the next one's.
const SEALED_MAX: usize = 10_000;

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
    let run = store.begin_run(&lease, BOOKS, (today, RunKind::Ledger), None, now).await?;
    let mut check = Check { store, lease, run, now, found: Vec::new() };
    check.seal().await?;
    check.fold().await?;
    check.tell(store.list_ledger_findings().await?).await?;
    check.look_at_seals().await?;
    let Check { lease, run, found, .. } = check;
    store.end_run(&lease, &run, Ended::Whole, now).await?;
    store.release_lease(&lease).await?;
    show(store, now).await?;
    Ok(found)
}

/// A check, and what it has found so far.
struct Check<'s> {
    store: &'s Store,
    lease: Lease,
    run: Run,
    now: Timestamp,
    found: Vec<Break>,
}

impl Check<'_> {
    /// Seals before anything is folded for good: what is neither can be changed, and nobody sees it.
    async fn seal(&self) -> Result<(), StoreError> {
        for _ in 0..SEALED_MAX {
            if !self.store.seal_hour(&self.lease, self.now).await? {
                break;
            }
            self.stay().await?;
        }
        Ok(())
    }

    /// Folds the counters of all accounts, page after page.
    async fn fold(&mut self) -> Result<(), StoreError> {
        let sealed = self.store.find_last_seal().await?;
        let mut after = None;
        loop {
            let page = self.store.check_ledger(after, PAGE).await?;
            if let (Some(sealed), true) = (&sealed, page.drifts.is_empty()) {
                self.store.keep_folds(&self.lease, after, PAGE, sealed.until()).await?;
            }
            self.tell(page.drifts.iter().flat_map(of_drift).collect()).await?;
            after = page.last;
            if after.is_none() {
                return Ok(());
            }
        }
    }

    async fn look_at_seals(&mut self) -> Result<(), StoreError> {
        let turn = self.store.list_turn(BOOKS, self.now).await?;
        for hour in &turn.hours {
            let broken = self.store.check_seal(*hour).await?;
            self.tell(broken.into_iter().collect()).await?;
        }
        self.store.end_turn(&self.lease, &turn).await
    }

    /// Writes down what was found before anything else is looked at, and keeps the lease.
    async fn tell(&mut self, found: Vec<Break>) -> Result<(), StoreError> {
        for it in &found {
            tracing::error!(
                ledger.subject = it.subject,
                ledger.rows = it.local_amount,
                ledger.booked = it.remote_amount,
                "the ledger does not agree: {}",
                it.says
            );
        }
        self.stay().await?;
        self.store.record_breaks(&self.lease, &self.run, found.clone(), self.now).await?;
        self.found.extend(found);
        Ok(())
    }

    async fn stay(&self) -> Result<(), StoreError> {
        self.store.renew_lease(&self.lease, LEASE).await
    }
}

/// It is well as long as nothing is open, by whichever check it was found.
async fn show(store: &Store, now: Timestamp) -> Result<(), StoreError> {
    let open = store.count_open_findings(BOOKS).await?;
    metrics::gauge!("madang_ledger_selfcheck_ok").set(if open == 0 { 1.0 } else { 0.0 });
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
