//! Settlements: what was paid is earned, summed up every night, and comes to wallets on business days.
//!
//! Everything here may be done twice, or by two nodes at once: it takes effect once. Invariant: no day is guessed;
//! without a calendar for it nothing is closed, and whoever looks at the log is told.

pub mod early;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use jiff::civil::Date;

use crate::actors::schedule::Task;
use crate::actors::workflow::engine::Clock;
use crate::domain::calendar::{BusinessCalendar, CalendarError, DAYS_LEFT_MIN, day_of, instant_of};
use crate::domain::ids::UserId;
use crate::domain::money::Currency;
use crate::domain::payments::orders::OrderKey;
use crate::store::ledger::BookError;
use crate::store::settlements::batches::Close;
use crate::store::settlements::payouts::DueSettlement;
use crate::store::settlements::releases::{ReleaseError, Released, Unreleased};
use crate::store::{Store, StoreError};

/// When the day before is closed, into the day in Seoul: what was on its way at midnight has arrived.
const CLOSES_AT: Duration = Duration::from_mins(10);
/// When money comes to wallets, into the day in Seoul.
const PAYS_AT: Duration = Duration::from_hours(9);
const DAY: Duration = Duration::from_hours(24);
/// How often somebody looks whether it is time.
const INTERVAL: Duration = Duration::from_mins(5);
const RELEASES_INTERVAL: Duration = Duration::from_hours(1);
/// Small in tests, so that they turn it.
const PAGE: i64 = if cfg!(test) { 2 } else { 200 };
const ACTOR: &str = "settlements";

/// How payees are paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SettlementRules {
    pub currency: Currency,
    /// Business days between the end of a batch and its money.
    pub business_days: u8,
    /// Batches of less are carried on.
    pub minimum: i64,
    /// Income tax that is withheld of what is earned, in hundredths of a percent; 0 where that is nobody's duty.
    pub withholding_bps: u16,
    /// Days after which what was paid is earned though nobody has said so; 0 waits for ever.
    pub auto_release_days: u16,
}

/// Why settling has stopped. What was done before stays.
#[derive(Debug, thiserror::Error)]
pub enum SettlementsError {
    #[error(transparent)]
    Calendar(#[from] CalendarError),
    #[error(transparent)]
    Book(#[from] BookError),
}

impl From<StoreError> for SettlementsError {
    fn from(error: StoreError) -> Self {
        Self::Book(BookError::Store(error))
    }
}

/// The settlements of this installation. Cheap to clone.
#[derive(Clone)]
pub struct Settlements {
    store: Store,
    calendar: Arc<BusinessCalendar>,
    rules: SettlementRules,
    clock: Clock,
    /// How many days the calendar knew when the log was told.
    said_left: Arc<AtomicI32>,
}

impl Settlements {
    #[must_use]
    pub fn new(
        store: Store,
        calendar: BusinessCalendar,
        rules: SettlementRules,
        clock: Clock,
    ) -> Self {
        let (calendar, said_left) = (Arc::new(calendar), Arc::new(AtomicI32::new(i32::MAX)));
        Self { store, calendar, rules, clock, said_left }
    }

    /// Says that an order was fulfilled: what was paid for it is its payee's.
    ///
    /// # Errors
    /// [`ReleaseError`], with nothing done.
    pub async fn release(&self, order: OrderKey, actor: String) -> Result<Released, ReleaseError> {
        let now = (self.clock)();
        self.store.release_order(order, self.rules.withholding_bps, actor, now).await
    }

    /// As [`Self::release`], because an administrator says so.
    ///
    /// # Errors
    /// [`ReleaseError`], with nothing done.
    pub async fn release_by_hand(
        &self,
        order: OrderKey,
        by: UserId,
    ) -> Result<Released, ReleaseError> {
        let now = (self.clock)();
        self.store.release_order_by_hand(order, self.rules.withholding_bps, by, now).await
    }

    /// Says so of orders about which nobody has said anything for long.
    ///
    /// # Errors
    /// [`StoreError`]; an order that cannot be released is left to somebody who looks, named in the log, and holds up
    /// no other.
    pub async fn release_old(&self) -> Result<usize, StoreError> {
        let Some(after) = DAY.checked_mul(self.rules.auto_release_days.into()) else {
            return Ok(0);
        };
        if after.is_zero() {
            return Ok(0);
        }
        let before = (self.clock)().minus(after);
        let (mut released, mut after) = (0_usize, None);
        loop {
            let orders = self.store.list_unreleased_orders(before, after, PAGE).await?;
            let Some(last) = orders.last().cloned() else { return Ok(released) };
            for Unreleased { order, .. } in orders {
                match self.release(order.clone(), ACTOR.to_owned()).await {
                    Ok(done) => released = released.saturating_add(usize::from(!done.was_before)),
                    Err(ReleaseError::Book(BookError::Store(error))) => return Err(error),
                    Err(error) => {
                        tracing::error!(order = %order, %error, "an order cannot be released by itself");
                    }
                }
            }
            after = Some(last);
        }
    }

    /// Closes the day before for every payee, from ten past midnight in Seoul on. Gives how many batches that made.
    ///
    /// # Errors
    /// [`SettlementsError::Calendar`] where the day of the money would have to be guessed; nothing was closed then.
    /// [`SettlementsError::Book`] of the first payee for whom it could not be done; it is named in the log and holds up
    /// no other.
    pub async fn close_due(&self) -> Result<usize, SettlementsError> {
        let now = (self.clock)();
        self.look_at_calendar()?;
        let today = day_of(now.minus(CLOSES_AT))?;
        let close = self.close_of(today)?;
        let (mut closed, mut after, mut failed) = (0_usize, None, None);
        loop {
            let currency = self.rules.currency;
            let payees =
                self.store.list_payees_to_settle(currency, close.until, after, PAGE).await?;
            let Some(last) = payees.last().copied() else { break };
            for payee in payees {
                match self.store.close_settlement(payee, currency, close, now).await {
                    Ok(made) => closed = closed.saturating_add(usize::from(made.is_some())),
                    Err(error) => {
                        tracing::error!(payee.id = %payee, %error, "a settlement cannot be closed");
                        failed.get_or_insert(error);
                    }
                }
            }
            after = Some(last);
        }
        failed.map_or(Ok(closed), |error| Err(error.into()))
    }

    /// Brings to wallets what its day has come for, from nine in the morning in Seoul on. Gives how many batches that
    /// were.
    ///
    /// # Errors
    /// [`SettlementsError::Book`] of the first that could not be paid. It is named in the log and holds up no other.
    pub async fn pay_due(&self) -> Result<usize, SettlementsError> {
        let now = (self.clock)();
        let (mut paid, mut after, mut failed) = (0_usize, None, None);
        loop {
            let currency = self.rules.currency;
            let due = self.store.list_due_settlements(currency, after, PAGE, now).await?;
            let Some(last) = due.last().copied() else { break };
            for DueSettlement { id, .. } in due {
                match self.store.pay_settlement(id, now).await {
                    Ok(None) => {}
                    Ok(Some(done)) => {
                        metrics::counter!("madang_settlement_net_total")
                            .increment(done.net.unsigned_abs());
                        paid = paid.saturating_add(1);
                    }
                    Err(error) => {
                        tracing::error!(settlement.id = %id, %error, "a settlement cannot be paid");
                        failed.get_or_insert(error);
                    }
                }
            }
            after = Some(last);
        }
        failed.map_or(Ok(paid), |error| Err(error.into()))
    }

    /// Says how many days the calendar still knows, `madang_calendar_days_left`, and once a day in the log when they
    /// are few.
    ///
    /// # Errors
    /// [`CalendarError::OutOfRange`].
    pub fn look_at_calendar(&self) -> Result<(), CalendarError> {
        let left = self.calendar.days_left(day_of((self.clock)())?);
        metrics::gauge!("madang_calendar_days_left").set(f64::from(left));
        if left < DAYS_LEFT_MIN && self.said_left.swap(left, Ordering::Relaxed) != left {
            tracing::error!(
                calendar.days_left = left,
                "the calendar ends soon, and then nobody is paid: add the holidays of the next year"
            );
        }
        Ok(())
    }

    /// What is done every so often, on one node at a time.
    #[must_use]
    pub fn tasks(&self) -> Vec<Task> {
        let (closing, paying, releasing) = (self.clone(), self.clone(), self.clone());
        let close = move || {
            let settlements = closing.clone();
            async move { said(settlements.close_due().await) }.boxed()
        };
        let pay = move || {
            let settlements = paying.clone();
            async move { said(settlements.pay_due().await) }.boxed()
        };
        let release = move || {
            let settlements = releasing.clone();
            async move { said(settlements.release_old().await) }.boxed()
        };
        vec![
            Task { name: "settlements_closed", every: INTERVAL, run: Arc::new(close) },
            Task { name: "settlements_paid", every: INTERVAL, run: Arc::new(pay) },
            Task { name: "orders_released", every: RELEASES_INTERVAL, run: Arc::new(release) },
        ]
    }

    /// How the day before `today` is closed.
    fn close_of(&self, today: Date) -> Result<Close, CalendarError> {
        let period_end = today.yesterday().map_err(|_| CalendarError::OutOfRange)?;
        let pay_on = self.calendar.business_day_after(period_end, self.rules.business_days)?;
        Ok(Close {
            period_end,
            until: instant_of(today, Duration::ZERO)?,
            pay_on,
            release_at: instant_of(pay_on, PAYS_AT)?,
            minimum: self.rules.minimum,
        })
    }
}

/// As a task says it.
fn said<T, E: std::fmt::Display>(done: Result<T, E>) -> Result<(), String> {
    done.map(|_| ()).map_err(|error| error.to_string())
}
