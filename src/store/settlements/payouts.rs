//! Payouts of batches: on its day, what is pending comes to the payee's wallet, without what the payee owes.
//!
//! Locks are taken in the order settlement, wallet, ledger.

use serde_json::json;
use uuid::Uuid;

use super::batches::publish;
use super::{Settlement, lock_settlement};
use crate::domain::ids::SettlementId;
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::settlements::SettlementStatus;
use crate::domain::time::Timestamp;
use crate::store::ledger::balances::find_counters;
use crate::store::ledger::{BookError, book};
use crate::store::wallets::lock_wallet;
use crate::store::{Store, StoreError, execute, fetch_all};

const ACTOR: &str = "settlements";

impl Store {
    /// Batches after `after` whose time has come; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_due_settlements(
        &self,
        currency: Currency,
        after: Option<SettlementId>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<SettlementId>, StoreError> {
        let after = after.map_or(Uuid::nil(), SettlementId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT id FROM settlements
                         WHERE status = 'closed' AND currency = $1 AND release_at <= $2 AND id > $3
                         ORDER BY id
                         LIMIT $4",
                        currency.as_str(),
                        now.millis(),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
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
                     SET status = 'released', debt_repaid = $2, released_at = $3,
                         version = version + 1
                     WHERE id = $1",
                    id.uuid(),
                    paid.debt_repaid,
                    now.millis(),
                )?;
                let said = json!({ "debt_repaid": paid.debt_repaid });
                publish(db, "SettlementReleased", &paid, &said, now).await?;
                book(db, &entry(&paid), now).await?;
                Ok(Some(paid))
            })
        })
        .await
    }
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
