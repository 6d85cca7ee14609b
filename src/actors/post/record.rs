//! The record of an attempt: its lease is renewed until what came of it is stored.
//!
//! Invariant: only what was recorded counts. While the database is away, the desk keeps what it has to say and takes no
//! other letter: whatever it took then could be one that was handed over already.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::Ended;
use super::desk::Desk;
use crate::store::StoreError;
use crate::store::deliveries::queue::{self, Claim, Settlement};

/// So often in a row the composer is told as well; then the end is recorded without it.
const RECORDS_WITH_COMPOSER: u32 = 3;
const RECORD_AGAIN: Duration = Duration::from_millis(100);
/// Shorter than a desk rests once the database is back: whoever has something to say comes first.
const RECORD_AGAIN_MAX: Duration = Duration::from_secs(1);
const RENEW_AGAIN: Duration = Duration::from_millis(500);
/// When the lease was renewed so often since the first failure, the database is there and takes no such record.
const RENEWALS_MAX: u32 = 4;
/// A node that stops does not wait for a database that is away.
const RECORDS_WHILE_STOPPING_MAX: u32 = 8;

/// Renews the lease until it is lost, and counts how often that went well.
pub(super) async fn hold(desk: &Desk, claim: Claim, renewals: &AtomicU32) {
    // Twice it may fail.
    let interval = desk.lease.div_f64(3.0);
    let (mut wait, mut doubt) = (interval, None);
    loop {
        tokio::time::sleep(wait).await;
        match desk.store.renew_delivery(claim, desk.lease).await {
            Ok(()) => {
                renewals.fetch_add(1, Ordering::Relaxed);
                (wait, doubt) = (interval, None);
            }
            Err(StoreError::LeaseLost) => return,
            Err(error) => {
                tracing::warn!(%error, "the lease of a letter is not renewed");
                wait = RENEW_AGAIN.min(interval);
                doubt.get_or_insert_with(|| desk.doubt());
            }
        }
    }
}

/// Records what came of an attempt, trying again while the database is away and the letter is held; false when it was not
/// recorded, or by somebody else.
pub(super) async fn record(
    desk: &Desk,
    claim: Claim,
    settlement: Settlement,
    ended: Option<Ended>,
    (holding, renewals): (Pin<&mut impl Future<Output = ()>>, &AtomicU32),
) -> bool {
    let holding = async {
        holding.await;
        // Whether it was recorded or taken again, the next record is told.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        is_recorded = try_to_record(desk, claim, settlement, ended, renewals) => is_recorded,
        () = holding => false,
    }
}

async fn try_to_record(
    desk: &Desk,
    claim: Claim,
    settlement: Settlement,
    ended: Option<Ended>,
    renewals: &AtomicU32,
) -> bool {
    let (settlement, ended) = (Arc::new(settlement), ended.map(Arc::new));
    let (mut doubt, mut failures, mut while_stopping) = (None, 0_u32, 0_u32);
    loop {
        let told = ended.clone().filter(|_| failures < RECORDS_WITH_COMPOSER);
        let error = match write(desk, claim, Arc::clone(&settlement), told).await {
            Ok(()) => return true,
            // It was recorded when nobody could say so, or the letter was taken again.
            Err(StoreError::LeaseLost) => {
                tracing::debug!("what came of a letter is recorded already, or is too late");
                return false;
            }
            Err(error) => error,
        };
        if doubt.is_none() {
            doubt = Some(desk.doubt());
            renewals.store(0, Ordering::Relaxed);
        }
        while_stopping = while_stopping.saturating_add(u32::from(desk.is_stopping()));
        let is_hopeless = renewals.load(Ordering::Relaxed) >= RENEWALS_MAX
            || while_stopping >= RECORDS_WHILE_STOPPING_MAX;
        if is_hopeless {
            tracing::error!(%error, "what came of a letter was not recorded; it is attempted again");
            return false;
        }
        tracing::warn!(%error, failures, "what came of a letter is not recorded yet");
        let factor = 1_u32.checked_shl(failures).unwrap_or(u32::MAX);
        failures = failures.saturating_add(1);
        tokio::time::sleep(RECORD_AGAIN.saturating_mul(factor).min(RECORD_AGAIN_MAX)).await;
    }
}

async fn write(
    desk: &Desk,
    claim: Claim,
    settlement: Arc<Settlement>,
    told: Option<Arc<Ended>>,
) -> Result<(), StoreError> {
    let (composer, now) = (Arc::clone(&desk.composer), (desk.clock)());
    let recording = desk.store.write::<_, StoreError, _>(move |db| {
        Box::pin(async move {
            queue::settle(db, claim, &settlement, now).await?;
            match told {
                Some(ended) => composer.ended(db, &ended).await,
                None => Ok(()),
            }
        })
    });
    recording.await
}
