//! Files: what was taken out at once, and what of it is to be paid.

use std::collections::HashSet;

use serde_json::{Value, json};
use uuid::Uuid;

use super::results::{SettleError, lock_entries};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{BankAccountId, PayoutFileId, UserId, WithdrawalId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payouts::{FILE_ENTRIES_MAX, PayoutFileError};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional};

/// What was taken out at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PayoutFile {
    pub id: PayoutFileId,
    pub currency: String,
    pub count: i64,
    pub sum: i64,
    /// Of how many nobody has said what the bank did.
    pub open: i64,
    pub created_by: UserId,
    pub created_at: Timestamp,
}

/// A payout in a file, as far as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FiledPayout {
    pub withdrawal: WithdrawalId,
    pub user: UserId,
    pub bank_code: String,
    pub last_digits: String,
    pub amount: i64,
    pub currency: String,
    pub status: String,
    pub failure_code: Option<String>,
    pub updated_at: Timestamp,
}

/// A payout whose account is sealed.
#[derive(Clone)]
pub struct SealedPayout {
    pub withdrawal: WithdrawalId,
    pub amount: Amount,
    pub currency: Currency,
    pub bank_account: BankAccountId,
    pub bank_code: String,
    pub details: Vec<u8>,
}

#[derive(sqlx::FromRow)]
struct FileRow {
    id: Uuid,
    currency: String,
    entry_count: i64,
    sum: i64,
    open: i64,
    created_by: Uuid,
    created_at: i64,
}

impl From<FileRow> for PayoutFile {
    fn from(row: FileRow) -> Self {
        Self {
            id: row.id.into(),
            currency: row.currency,
            count: row.entry_count,
            sum: row.sum,
            open: row.open,
            created_by: row.created_by.into(),
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}

#[derive(sqlx::FromRow)]
struct FiledRow {
    withdrawal_id: Uuid,
    user_id: Uuid,
    bank_code: String,
    last_digits: String,
    amount: i64,
    currency: String,
    status: String,
    failure_code: Option<String>,
    updated_at: i64,
}

impl From<FiledRow> for FiledPayout {
    fn from(row: FiledRow) -> Self {
        Self {
            withdrawal: row.withdrawal_id.into(),
            user: row.user_id.into(),
            bank_code: row.bank_code,
            last_digits: row.last_digits,
            amount: row.amount,
            currency: row.currency,
            status: row.status,
            failure_code: row.failure_code,
            updated_at: Timestamp::from_millis(row.updated_at),
        }
    }
}

impl Store {
    /// Takes what waits into a new file, the oldest first, [`FILE_ENTRIES_MAX`] at most, in the currency of the oldest;
    /// what is of a frozen wallet stays. `None` where nothing is left.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_payout_file(
        &self,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Option<PayoutFile>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let taken = lock_waiting(db).await?;
                let Some(first) = taken.first() else { return Ok(None) };
                let file = PayoutFile {
                    id: clock::new_uuid().into(),
                    currency: first.currency.clone(),
                    count: i64::try_from(taken.len()).unwrap_or(i64::MAX),
                    sum: taken.iter().fold(0, |sum, it| it.amount.saturating_add(sum)),
                    open: i64::try_from(taken.len()).unwrap_or(i64::MAX),
                    created_by: by,
                    created_at: now,
                };
                insert_file(db, &file, &taken).await?;
                let after =
                    json!({ "count": file.count, "sum": file.sum, "currency": file.currency });
                let deed = Deed {
                    by,
                    action: Action::PayoutFileMade,
                    target: Target::PayoutFile(file.id),
                    reason: Some(&reason),
                    before: Value::Null,
                    after,
                };
                record(db, &deed, now).await?;
                Ok(Some(file))
            })
        })
        .await
    }

    /// A file.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_payout_file(
        &self,
        id: PayoutFileId,
    ) -> Result<Option<PayoutFile>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        FileRow,
                        "SELECT f.id, f.currency, f.entry_count, f.sum, f.created_by, f.created_at,
                                (SELECT COUNT(*) FROM payout_entries e
                                 WHERE e.file_id = f.id AND e.status = 'exported') AS open
                         FROM payout_files f
                         WHERE f.id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.map(PayoutFile::from))
    }

    /// Files from before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payout_files(
        &self,
        before: Option<PayoutFileId>,
        limit: i64,
    ) -> Result<Vec<PayoutFile>, StoreError> {
        let before = before.map_or(Uuid::max(), PayoutFileId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        FileRow,
                        "SELECT f.id, f.currency, f.entry_count, f.sum, f.created_by, f.created_at,
                                (SELECT COUNT(*) FROM payout_entries e
                                 WHERE e.file_id = f.id AND e.status = 'exported') AS open
                         FROM payout_files f
                         WHERE f.id < $1
                         ORDER BY f.id DESC
                         LIMIT $2",
                        before,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(PayoutFile::from).collect())
    }

    /// What is in a file, from after `after`, in the order in which it was asked for; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_filed_payouts(
        &self,
        file: PayoutFileId,
        after: Option<WithdrawalId>,
        limit: i64,
    ) -> Result<Vec<FiledPayout>, StoreError> {
        let after = after.map_or(Uuid::nil(), WithdrawalId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        FiledRow,
                        "SELECT e.withdrawal_id, e.user_id, b.bank_code, b.last_digits, e.amount,
                                e.currency, e.status, e.failure_code, e.updated_at
                         FROM payout_entries e
                         JOIN withdrawals w ON w.id = e.withdrawal_id
                         JOIN bank_accounts b ON b.id = w.bank_account_id
                         WHERE e.file_id = $1 AND e.withdrawal_id > $2
                         ORDER BY e.withdrawal_id
                         LIMIT $3",
                        file.uuid(),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(FiledPayout::from).collect())
    }

    /// What of a file is to be paid: that of which nobody has said what became. It is in the audit that somebody has it.
    ///
    /// # Errors
    /// [`PayoutFileError::NotFound`], [`PayoutFileError::Finished`], or the database does not answer.
    pub async fn read_payout_file(
        &self,
        id: PayoutFileId,
        by: UserId,
        now: Timestamp,
    ) -> Result<Vec<SealedPayout>, SettleError> {
        self.write(move |db| {
            Box::pin(async move {
                let open = list_to_be_paid(db, id).await?;
                if open.is_empty() {
                    lock_entries(db, id).await?;
                    return Err(PayoutFileError::Finished.into());
                }
                let deed = Deed {
                    by,
                    action: Action::PayoutFileRead,
                    target: Target::PayoutFile(id),
                    reason: None,
                    before: Value::Null,
                    after: json!({ "count": open.len() }),
                };
                record(db, &deed, now).await?;
                Ok(open)
            })
        })
        .await
    }
}

/// What is about to be taken out.
struct Waiting {
    id: Uuid,
    user: Uuid,
    currency: String,
    amount: i64,
}

/// What can be taken out now. A freeze that was answered before keeps its user's; one that comes now waits until this
/// transaction ends.
async fn lock_waiting(db: &mut Db) -> Result<Vec<Waiting>, StoreError> {
    type Row = (Uuid, Uuid, String, i64);
    let select = db.dialect(
        "SELECT e.withdrawal_id, e.user_id, e.currency, e.amount FROM payout_entries e
         WHERE e.status = 'waiting'
           AND NOT EXISTS (SELECT 1 FROM wallets w
                           WHERE w.user_id = e.user_id AND w.currency = e.currency
                             AND w.frozen_at IS NOT NULL)
         ORDER BY e.withdrawal_id
         LIMIT $1",
        "SELECT e.withdrawal_id, e.user_id, e.currency, e.amount FROM payout_entries e
         WHERE e.status = 'waiting'
           AND NOT EXISTS (SELECT 1 FROM wallets w
                           WHERE w.user_id = e.user_id AND w.currency = e.currency
                             AND w.frozen_at IS NOT NULL)
         ORDER BY e.withdrawal_id
         LIMIT $1
         FOR UPDATE OF e",
    );
    let rows = fetch_all!(db, Row, select, FILE_ENTRIES_MAX)?;
    let Some(currency) = rows.first().map(|(.., currency, _)| currency.clone()) else {
        return Ok(Vec::new());
    };
    let users: Vec<Uuid> = rows.iter().map(|(_, user, ..)| *user).collect();
    let select = db.dialect(
        "SELECT user_id FROM wallets
         WHERE currency = $2 AND frozen_at IS NULL
           AND user_id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "SELECT user_id FROM wallets
         WHERE currency = $2 AND frozen_at IS NULL
           AND user_id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))
         ORDER BY user_id
         FOR SHARE",
    );
    let free = fetch_all!(db, (Uuid,), select, json!(users).to_string(), currency.as_str())?;
    let free: HashSet<Uuid> = free.into_iter().map(|(user,)| user).collect();
    let waiting = |(id, user, currency, amount): Row| Waiting { id, user, currency, amount };
    let rows = rows.into_iter().map(waiting);
    Ok(rows.filter(|it| it.currency == currency && free.contains(&it.user)).collect())
}

async fn insert_file(db: &mut Db, file: &PayoutFile, taken: &[Waiting]) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO payout_files (id, currency, entry_count, sum, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        file.id.uuid(),
        file.currency.as_str(),
        file.count,
        file.sum,
        file.created_by.uuid(),
        file.created_at.millis(),
    )?;
    let update = db.dialect(
        "UPDATE payout_entries SET status = 'exported', file_id = $2, updated_at = $3
         WHERE status = 'waiting'
           AND withdrawal_id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "UPDATE payout_entries SET status = 'exported', file_id = $2, updated_at = $3
         WHERE status = 'waiting'
           AND withdrawal_id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))",
    );
    let ids: Vec<Uuid> = taken.iter().map(|it| it.id).collect();
    let (ids, at) = (json!(ids).to_string(), file.created_at.millis());
    let updated = execute!(db, update, ids, file.id.uuid(), at)?;
    // They are locked: it would be a file that promises more than is in it.
    if i64::try_from(updated) != Ok(file.count) {
        return Err(StoreError::Busy);
    }
    Ok(())
}

async fn list_to_be_paid(db: &mut Db, id: PayoutFileId) -> Result<Vec<SealedPayout>, StoreError> {
    type Row = (Uuid, i64, String, Uuid, String, Vec<u8>);
    let rows = fetch_all!(
        db,
        Row,
        "SELECT e.withdrawal_id, e.amount, e.currency, b.id, b.bank_code, b.details
         FROM payout_entries e
         JOIN withdrawals w ON w.id = e.withdrawal_id
         JOIN bank_accounts b ON b.id = w.bank_account_id
         WHERE e.file_id = $1 AND e.status = 'exported'
         ORDER BY e.withdrawal_id",
        id.uuid(),
    )?;
    let sealed = |(withdrawal, amount, currency, account, bank_code, details): Row| {
        Some(SealedPayout {
            withdrawal: withdrawal.into(),
            amount: Amount::new(amount).ok()?,
            currency: currency.parse().ok()?,
            bank_account: account.into(),
            bank_code,
            details,
        })
    };
    // Nothing is left out that is to be paid.
    rows.into_iter().map(sealed).collect::<Option<_>>().ok_or(StoreError::NotFound)
}
