//! Early settlements: somebody closes what is earned before its night, and pays it before its day.
//!
//! Invariant: an item is in one batch, and a payee has one batch a day: what is earned after it was closed by hand is in
//! that of the next day.

use std::time::Duration;

use super::{CLOSES_AT, DAY, PAGE, Settlements};
use crate::domain::calendar::{CalendarError, day_of};
use crate::domain::ids::{SettlementId, UserId};
use crate::domain::settlements::SettlementError;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::StoreError;
use crate::store::ledger::BookError;
use crate::store::settlements::Settlement;
use crate::store::settlements::batches::Close;

/// Why nothing is closed or paid early.
#[derive(Debug, thiserror::Error)]
pub enum EarlyError {
    #[error(transparent)]
    Settlement(#[from] SettlementError),
    #[error(transparent)]
    Book(#[from] BookError),
}

impl From<StoreError> for EarlyError {
    fn from(error: StoreError) -> Self {
        Self::Book(BookError::Store(error))
    }
}

/// What closing by hand has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClosedEarly {
    pub settlements: Vec<Settlement>,
    /// Who has a batch of today already; what they have earned since is in that of tomorrow.
    pub closed_before: Vec<UserId>,
    /// Whether there are more payees than one request closes.
    pub has_more: bool,
}

impl Settlements {
    /// Closes what was earned until now, of one payee or of up to 200 others than `by`, however little it is. Of one payee,
    /// what was carried is enough.
    ///
    /// # Errors
    /// [`SettlementError::OwnDecision`]; [`SettlementError::NoCalendar`] where the day of the money would have to be guessed;
    /// any other when the database does not answer. What was closed before stays closed.
    pub async fn close_now(
        &self,
        payee: Option<UserId>,
        by: UserId,
        reason: Reason,
    ) -> Result<ClosedEarly, EarlyError> {
        if payee == Some(by) {
            return Err(SettlementError::OwnDecision.into());
        }
        let now = (self.clock)();
        let closes = self.closes_at(now).map_err(|error| {
            tracing::error!(%error, "a batch cannot be closed");
            SettlementError::NoCalendar
        })?;
        let currency = self.rules.currency;
        let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
        let mut closed = ClosedEarly::default();
        for close in closes {
            // What the day before has no place for is in the batch of today.
            closed.closed_before.clear();
            // One more says whether there are more.
            let payees = match payee {
                Some(payee) => vec![payee],
                None => {
                    let limit = PAGE.saturating_add(1);
                    self.store.list_payees_to_close(currency, close, by, limit).await?
                }
            };
            closed.has_more |= payees.len() > page;
            for payee in payees.into_iter().take(page) {
                if !self.store.has_something_to_close(payee, currency, close.until).await? {
                    continue;
                }
                let who = (by, reason.clone());
                match self.store.close_settlement_by_hand(payee, currency, close, who, now).await? {
                    Some(settlement) => closed.settlements.push(settlement),
                    None => closed.closed_before.push(payee),
                }
            }
        }
        Ok(closed)
    }

    /// Brings a closed batch to its payee's wallet before its day. Nobody does so with their own.
    ///
    /// # Errors
    /// [`SettlementError`], [`EarlyError::Book`]; nothing was done then.
    pub async fn pay_now(
        &self,
        id: SettlementId,
        by: UserId,
        reason: Reason,
    ) -> Result<Settlement, EarlyError> {
        self.store.pay_settlement_by_hand(id, by, reason, (self.clock)()).await
    }

    /// Closes what a payee has earned until now and pays it at once, without anybody's word: for whoever tries the server out.
    /// `None` where they have a batch of today already, or nothing comes to them.
    ///
    /// # Errors
    /// [`EarlyError::Book`]; what was closed is paid on this day then.
    pub async fn settle_at_once(&self, payee: UserId) -> Result<Option<Settlement>, EarlyError> {
        let now = (self.clock)();
        let today = day_of(now).map_err(|_| SettlementError::NoCalendar)?;
        let close = Close {
            period_end: today,
            // What is earned in this very moment is in.
            until: now.plus(Duration::from_millis(1)),
            pay_on: today,
            release_at: now,
            minimum: 0,
        };
        let closed = self.store.close_settlement(payee, self.rules.currency, close, now).await?;
        match closed {
            Some(closed) => Ok(self.store.pay_settlement(closed.id, now).await?),
            None => Ok(None),
        }
    }

    /// How today is closed before it is over, and before it the day that the night has not closed yet.
    fn closes_at(&self, now: Timestamp) -> Result<Vec<Close>, CalendarError> {
        let (today, tomorrow) = (day_of(now)?, day_of(now.plus(DAY))?);
        // What is earned in this very moment is in.
        let until = now.plus(Duration::from_millis(1));
        let is_night = day_of(now.minus(CLOSES_AT))? < today;
        let mut closes = Vec::new();
        if is_night {
            closes.push(Close { minimum: 0, ..self.close_of(today)? });
        }
        closes.push(Close { until, minimum: 0, ..self.close_of(tomorrow)? });
        Ok(closes)
    }
}
