//! Payouts by bank file as rows: an entry for each withdrawal, [`files`] in which they are taken out, and [`results`] of
//! banks.
//!
//! Invariant: an entry is in one file, for ever; a trigger sees to it. What an administrator does is in the audit, in the
//! same transaction. Locks are taken in the order entries, withdrawals, wallets.

pub mod files;
pub mod results;

use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_optional};
use crate::domain::ids::WithdrawalId;
use crate::domain::money::{Amount, Currency};
use crate::domain::payouts::{BANK_FILE, EntryStatus, FailureCode};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;

/// A payout as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutEntry {
    pub withdrawal: WithdrawalId,
    pub effect_key: String,
    pub amount: Amount,
    pub currency: Currency,
    pub status: EntryStatus,
    /// Why it was not paid, or came back.
    pub failure_code: Option<FailureCode>,
}

type EntryRow = (Uuid, String, i64, String, String, Option<String>);

/// `None` where a later release has written something that this one does not know.
fn entry(row: EntryRow) -> Option<PayoutEntry> {
    let (withdrawal, effect_key, amount, currency, status, code) = row;
    Some(PayoutEntry {
        withdrawal: withdrawal.into(),
        effect_key,
        amount: Amount::new(amount).ok()?,
        currency: currency.parse().ok()?,
        status: EntryStatus::parse(&status)?,
        failure_code: code.as_deref().and_then(FailureCode::parse),
    })
}

impl Store {
    /// Has a withdrawal that is being sent wait for a file, once; gives the entry there is, whatever it says. `None`
    /// where no such withdrawal is being sent by bank file.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn put_payout_entry(
        &self,
        id: WithdrawalId,
        key: EffectKey,
        (amount, currency): (Amount, Currency),
        now: Timestamp,
    ) -> Result<Option<PayoutEntry>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO payout_entries
                         (withdrawal_id, effect_key, user_id, currency, amount, status,
                          created_at, updated_at)
                     SELECT id, $2, user_id, $3, $4, 'waiting', $5, $5 FROM withdrawals
                     WHERE id = $1 AND provider = $6 AND status IN ('sending', 'unknown')
                     ON CONFLICT (withdrawal_id) DO NOTHING",
                    id.uuid(),
                    key.as_str(),
                    currency.as_str(),
                    amount.minor(),
                    now.millis(),
                    BANK_FILE,
                )?;
                find_entry(db, id).await
            })
        })
        .await
    }

    /// The entry of a withdrawal.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_payout_entry(
        &self,
        id: WithdrawalId,
    ) -> Result<Option<PayoutEntry>, StoreError> {
        self.read(move |db| Box::pin(async move { find_entry(db, id).await })).await
    }

    /// How many entries wait for a file, and for somebody to say what the bank did; and since when the first does.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_open_payouts(&self) -> Result<Vec<(String, i64, Timestamp)>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, i64),
                        "SELECT status, COUNT(*), MIN(updated_at) FROM payout_entries
                         WHERE status IN ('waiting', 'exported')
                         GROUP BY status
                         ORDER BY status",
                    )
                })
            })
            .await?;
        let row =
            |(status, count, at): (String, i64, i64)| (status, count, Timestamp::from_millis(at));
        Ok(rows.into_iter().map(row).collect())
    }
}

async fn find_entry(db: &mut Db, id: WithdrawalId) -> Result<Option<PayoutEntry>, StoreError> {
    let row = fetch_optional!(
        db,
        EntryRow,
        "SELECT withdrawal_id, effect_key, amount, currency, status, failure_code
         FROM payout_entries
         WHERE withdrawal_id = $1",
        id.uuid(),
    )?;
    Ok(row.and_then(entry))
}
