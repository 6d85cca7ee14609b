//! Figures of payments: of how many nobody knows what became of them, which withdrawals wait, and which for a bank.
//!
//! Every node tells the same, since it is in the database: take the maximum over nodes, not the sum. Nothing is written.

use std::time::Duration;

use tokio::sync::watch;

use super::super::workflow::engine::Clock;
use crate::domain::payouts::EntryStatus;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::{Store, StoreError};

const INTERVAL: Duration = Duration::from_secs(10);
/// Those that wait for somebody or something.
const PENDING: [WithdrawalStatus; 4] = [
    WithdrawalStatus::Requested,
    WithdrawalStatus::Approved,
    WithdrawalStatus::Sending,
    WithdrawalStatus::Unknown,
];

/// Tells them every ten seconds, until it is stopped.
pub async fn count(store: Store, clock: Clock, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        if let Err(error) = tell(&store, &clock).await {
            tracing::warn!(%error, "nobody knows how many payments are unknown");
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopped.changed() => {}
        }
    }
}

pub(super) async fn tell(store: &Store, clock: &Clock) -> Result<(), StoreError> {
    let now = clock();
    let (count, oldest) = store.count_unknown_payments().await?;
    let age = oldest.map_or(Duration::ZERO, |since| now.since(since));
    metrics::gauge!("madang_payments_unknown").set(gauge(count));
    metrics::gauge!("madang_payments_unknown_oldest_seconds").set(age.as_secs_f64());
    let pending = store.count_pending_withdrawals().await?;
    for status in PENDING {
        let found = pending.iter().find(|(known, ..)| known == status.as_str());
        let (count, age) =
            found.map_or((0, Duration::ZERO), |(_, count, since)| (*count, now.since(*since)));
        let status = status.as_str();
        metrics::gauge!("madang_withdrawals_pending", "status" => status).set(gauge(count));
        metrics::gauge!("madang_withdrawals_oldest_seconds", "status" => status)
            .set(age.as_secs_f64());
    }
    let open = store.count_open_payouts().await?;
    for status in [EntryStatus::Waiting, EntryStatus::Exported] {
        let found = open.iter().find(|(known, ..)| known == status.as_str());
        let (count, age) =
            found.map_or((0, Duration::ZERO), |(_, count, since)| (*count, now.since(*since)));
        let status = status.as_str();
        metrics::gauge!("madang_payouts_open", "status" => status).set(gauge(count));
        metrics::gauge!("madang_payouts_oldest_seconds", "status" => status).set(age.as_secs_f64());
    }
    Ok(())
}

fn gauge(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
