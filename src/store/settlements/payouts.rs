//! Payouts of batches: on its day, what is pending comes to the payee's wallet, without what the payee owes.
//!
//! What open disputes of the payee are short of is held at once. Locks are taken in the order settlement, wallet, ledger.

use serde_json::json;
use uuid::Uuid;

use super::batches::publish;
use super::{Settlement, lock_settlement};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{SettlementId, UserId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::settlements::{SettlementError, SettlementStatus};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::disputes::arrivals::book_arrival;
use crate::store::ledger::BookError;
use crate::store::ledger::balances::find_counters;
use crate::store::wallets::lock_wallet;
use crate::store::{Db, Store, StoreError, execute, fetch_all};

const ACTOR: &str = "settlements";

/// A batch whose time has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DueSettlement {
    pub release_at: Timestamp,
    pub id: SettlementId,
}

impl Store {
    /// Batches after `after` whose time has come, those whose time came first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_due_settlements(
        &self,
        currency: Currency,
        after: Option<DueSettlement>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<DueSettlement>, StoreError> {
        let (after_at, after) =
            after.map_or((i64::MIN, Uuid::nil()), |due| (due.release_at.millis(), due.id.uuid()));
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (i64, Uuid),
                        "SELECT release_at, id FROM settlements
                         WHERE status = 'closed' AND currency = $1 AND release_at <= $2
                           AND (release_at, id) > ($3, $4)
                         ORDER BY release_at, id
                         LIMIT $5",
                        currency.as_str(),
                        now.millis(),
                        after_at,
                        after,
                        limit,
                    )
                })
            })
            .await?;
        let due = |(at, id): (i64, Uuid)| DueSettlement {
            release_at: Timestamp::from_millis(at),
            id: id.into(),
        };
        Ok(rows.into_iter().map(due).collect())
    }

    /// Brings a batch to its payee's wallet, once: `SettlementReleased`. `None` where that was done, or its time has
    /// not come.
    ///
    /// # Errors
    /// [`BookError`] where the books refuse it; nothing was done then.
    pub async fn pay_settlement(
        &self,
        id: SettlementId,
        now: Timestamp,
    ) -> Result<Option<Settlement>, BookError> {
        self.write(move |db| {
            Box::pin(async move {
                let found = lock_settlement(db, id).await?;
                if found.status != SettlementStatus::Closed || now < found.release_at {
                    return Ok(None);
                }
                Ok(Some(pay(db, found, now).await?))
            })
        })
        .await
    }

    /// Brings a batch to its payee's wallet before its day, because somebody else says so: as [`Self::pay_settlement`],
    /// and in the audit.
    ///
    /// # Errors
    /// [`SettlementError`] where it is not to be paid, [`BookError`] where the books refuse it; nothing was done then.
    pub async fn pay_settlement_by_hand<E>(
        &self,
        id: SettlementId,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Settlement, E>
    where
        E: From<SettlementError> + From<BookError> + From<StoreError> + Send + 'static,
    {
        self.write(move |db| {
            Box::pin(async move {
                let found = match lock_settlement(db, id).await {
                    Err(StoreError::NotFound) => return Err(SettlementError::NotFound.into()),
                    found => found?,
                };
                if found.payee == by {
                    return Err(SettlementError::OwnDecision.into());
                }
                if found.status != SettlementStatus::Closed {
                    return Err(SettlementError::NotClosed.into());
                }
                let before = json!({
                    "status": found.status.as_str(),
                    "pay_on": found.pay_on.to_string(),
                });
                let paid = pay(db, found, now).await?;
                let deed = Deed {
                    by,
                    action: Action::SettlementReleased,
                    target: Target::Settlement(id),
                    reason: Some(&reason),
                    before,
                    after: json!({
                        "status": paid.status.as_str(),
                        "net": paid.net,
                        "debt_repaid": paid.debt_repaid,
                    }),
                };
                record(db, &deed, now).await?;
                Ok(paid)
            })
        })
        .await
    }
}

/// Pays a locked batch.
async fn pay(db: &mut Db, found: Settlement, now: Timestamp) -> Result<Settlement, BookError> {
    lock_wallet(db, found.payee, found.currency, now).await?;
    let debt = AccountName::UserDebt(found.payee);
    let debt = find_counters(db, debt, found.currency).await?;
    let owed = debt.debit_balance().saturating_sub(debt.credits_pending);
    let paid = Settlement {
        debt_repaid: owed.clamp(0, found.net),
        status: SettlementStatus::Released,
        version: found.version.saturating_add(1),
        ..found
    };
    execute!(
        db,
        "UPDATE settlements
         SET status = 'released', debt_repaid = $2, released_at = $3, version = version + 1
         WHERE id = $1",
        paid.id.uuid(),
        paid.debt_repaid,
        now.millis(),
    )?;
    let said = json!({ "debt_repaid": paid.debt_repaid });
    publish(db, "SettlementReleased", &paid, &said, now).await?;
    book_arrival(db, paid.payee, &entry(&paid), now).await?;
    Ok(paid)
}

fn entry(settlement: &Settlement) -> Entry {
    let pending = AccountName::UserPending(settlement.payee);
    let rest = settlement.net.saturating_sub(settlement.debt_repaid);
    let parts = [
        (AccountName::UserDebt(settlement.payee), settlement.debt_repaid, "debt"),
        (AccountName::UserAvailable(settlement.payee), rest, "settlement"),
    ];
    let line = |(credit, minor, code): (AccountName, i64, &'static str)| {
        let amount = Amount::new(minor).ok()?;
        Some(Line::Move { debit: pending, credit, amount, code })
    };
    Entry {
        key: format!("settlement:{}", settlement.id),
        kind: "settlement",
        reference: Reference { kind: "settlement", id: settlement.id.uuid() },
        actor: ACTOR.to_owned(),
        currency: settlement.currency,
        lines: parts.into_iter().filter_map(line).collect(),
    }
}
