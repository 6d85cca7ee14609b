//! Expiry: payments that nobody has made in time, and a sweep over everything that has been waiting for too long.
//!
//! Invariant: a payment that the provider was asked to take does not expire before the provider has said how it stands.

use std::time::Duration;

use futures_util::{StreamExt as _, stream};

use super::again::Looked;
use super::dispute::ASKED_EVERY;
use super::{Payments, PaymentsError, desk};
use crate::domain::ids::PaymentId;
use crate::domain::payments::{Cause, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::store::payments::attempts::{Attempt, AttemptStatus, get_attempt, update_attempt};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, get_locked};
use crate::store::{Db, StoreError};

/// What is under way for so long is looked at.
const SWEPT_AFTER: Duration = Duration::from_mins(1);
/// Payments that one sweep looks at, of each sort.
const SWEPT_MAX: i64 = 500;
/// What waits for the outside is asked about so often, whatever was heard.
const WATCHED_EVERY: Duration = Duration::from_hours(1);
/// Payments that one sweep asks about, and disputes.
const WATCHED_MAX: i64 = 100;
/// How many it asks about at once.
const LOOKS: usize = 4;
const ACTOR: &str = "sweep";

/// What a sweep came to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Swept {
    pub expired: usize,
    /// Workflows that look now.
    pub told: usize,
    /// Payments of which the provider does not say how they stand.
    pub unknown: usize,
    /// Payments that cannot be looked at: defects.
    pub broken: usize,
}

impl Swept {
    fn note(&mut self, payment: PaymentId, outcome: Result<bool, PaymentsError>) {
        match outcome {
            Ok(is_expired) => self.expired += usize::from(is_expired),
            Err(error) => self.note_failure(payment, &error),
        }
    }

    fn note_dispute(&mut self, payment: PaymentId, outcome: Result<bool, PaymentsError>) {
        match outcome {
            Ok(is_news) => self.told += usize::from(is_news),
            Err(error) => self.note_failure(payment, &error),
        }
    }

    fn note_failure(&mut self, payment: PaymentId, error: &PaymentsError) {
        if let PaymentsError::Unavailable(_) = error {
            self.unknown += 1;
            return;
        }
        tracing::error!(payment.id = %payment, %error, "a payment cannot be looked at");
        self.broken += 1;
    }
}

impl Payments {
    /// One sweep: whatever has waited for too long expires, or is looked at. One node at a time does so; more do no
    /// harm. A payment that cannot be looked at is named in the log, and stops nobody else's.
    ///
    /// # Errors
    /// [`PaymentsError`] when the database does not answer.
    pub async fn sweep(&self) -> Result<Swept, PaymentsError> {
        let (store, now) = (&self.0.desk.store, self.now());
        let mut swept = Swept::default();
        let under_way = store.list_under_way(now.minus(SWEPT_AFTER), SWEPT_MAX).await?;
        for workflow in store.list_resting(under_way, now.plus(desk::LATER)).await? {
            swept.told += usize::from(self.tell(vec![workflow]).await?);
        }
        for id in store.list_expired_payments(now, SWEPT_MAX).await? {
            swept.note(id, self.expire_one(id, PaymentStatus::Created).await);
        }
        let (since, late) = (now.minus(WATCHED_EVERY), now.minus(SWEPT_AFTER));
        let watched = store.take_watched_payments(since, late, now, WATCHED_MAX).await?;
        let mut looking = stream::iter(watched)
            .map(|id| async move { (id, self.watch(id).await) })
            .buffer_unordered(LOOKS);
        while let Some((id, watched)) = looking.next().await {
            swept.note(id, watched);
        }
        let since = now.minus(ASKED_EVERY);
        let disputes = store.take_disputes_to_look_at(since, now, WATCHED_MAX).await?;
        let mut looking = stream::iter(disputes)
            .map(|it| async move { (it.payment, self.look_at_old_dispute(&it).await) })
            .buffer_unordered(LOOKS);
        while let Some((payment, looked)) = looking.next().await {
            swept.note_dispute(payment, looked);
        }
        Ok(swept)
    }

    /// Asks about a payment that waits for the outside; says whether its time is over.
    async fn watch(&self, id: PaymentId) -> Result<bool, PaymentsError> {
        let found = self.0.desk.store.find_payment(id).await?;
        let payment = found.ok_or(StoreError::NotFound)?;
        if payment.status == PaymentStatus::AwaitingDeposit && payment.expires_at <= self.now() {
            return self.expire_deposit(id).await;
        }
        let attempt = self.attempt(id).await?;
        self.look_at(attempt, None, Cause::Timer).await.map(|_| false)
    }

    async fn attempt(&self, id: PaymentId) -> Result<Attempt, StoreError> {
        let store = &self.0.desk.store;
        store.read(move |db| Box::pin(async move { get_attempt(db, id).await })).await
    }

    async fn expire_one(
        &self,
        id: PaymentId,
        status: PaymentStatus,
    ) -> Result<bool, PaymentsError> {
        let now = self.now();
        self.0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut payment = get_locked(db, id).await?;
                    if payment.status != status {
                        return Ok(false);
                    }
                    expire_any(db, &mut payment, now).await
                })
            })
            .await
    }

    /// One that waits for a deposit: the provider is asked first, and then told to wait no longer.
    async fn expire_deposit(&self, id: PaymentId) -> Result<bool, PaymentsError> {
        let attempt = self.attempt(id).await?;
        if self.look_at(attempt.clone(), None, Cause::Timer).await? == Looked::Changed {
            return Ok(false);
        }
        let is_expired = self.expire_one(id, PaymentStatus::AwaitingDeposit).await?;
        if is_expired {
            // What it still waits for is given up there, too. Should nobody answer now, it is given back when it comes.
            let looked = self.look_at(attempt, None, Cause::Timer).await;
            if let Err(error) = looked {
                tracing::warn!(payment.id = %id, %error, "a provider may still wait for a deposit");
            }
        }
        Ok(is_expired)
    }
}

/// Lets a payment that is locked expire, if its time is over and nobody has asked the provider to take it. Says whether
/// it did.
pub(super) async fn expire(
    db: &mut Db,
    payment: &mut Payment,
    now: Timestamp,
) -> Result<bool, PaymentsError> {
    if payment.status != PaymentStatus::Created {
        return Ok(false);
    }
    expire_any(db, payment, now).await
}

async fn expire_any(
    db: &mut Db,
    payment: &mut Payment,
    now: Timestamp,
) -> Result<bool, PaymentsError> {
    if payment.under_way.is_some() || payment.expires_at > now {
        return Ok(false);
    }
    let attempt = get_attempt(db, payment.id).await?;
    update_attempt(db, attempt.id, AttemptStatus::Abandoned, None, now).await?;
    let by = By::new(Cause::Timer, ACTOR);
    transition(db, payment, PaymentStatus::Expired, &by, now).await?;
    Ok(true)
}
