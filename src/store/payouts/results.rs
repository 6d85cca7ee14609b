//! Results: what a bank did with what was in a file, as somebody says.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use crate::domain::audit::{Action, Target};
use crate::domain::ids::{PayoutFileId, UserId, WithdrawalId};
use crate::domain::payouts::{BankResult, EntryStatus, FailureCode, PayoutFileError};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::{Db, Store, StoreError, execute, fetch_all};

/// Why nothing is done with a file.
#[derive(Debug, thiserror::Error)]
pub enum SettleError {
    #[error(transparent)]
    File(#[from] PayoutFileError),
    /// Nobody says what became of their own money.
    #[error("nobody decides about a withdrawal of their own")]
    OwnWithdrawal,
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for SettleError {
    fn from(error: StoreError) -> Self {
        match &error {
            StoreError::Constraint(name) if name == "payout_entries_settled_by_check" => {
                Self::OwnWithdrawal
            }
            _ => Self::Store(error),
        }
    }
}

impl Store {
    /// Records what a bank did with withdrawals of a file: all of it, or nothing. Gives those of which that is new; they
    /// are looked at before all others.
    ///
    /// # Errors
    /// [`SettleError`].
    pub async fn settle_payouts(
        &self,
        file: PayoutFileId,
        by: UserId,
        results: Vec<(WithdrawalId, BankResult)>,
        reason: Reason,
        now: Timestamp,
    ) -> Result<Vec<WithdrawalId>, SettleError> {
        self.write(move |db| {
            Box::pin(async move {
                let entries = lock_entries(db, file).await?;
                let mut settled = Vec::new();
                for (id, result) in results {
                    let known = entries.get(&id).ok_or(PayoutFileError::NotInFile(id))?;
                    if known.user == by {
                        return Err(SettleError::OwnWithdrawal);
                    }
                    let next = known.status.settled(known.failure_code, id, result)?;
                    let Some(next) = next else { continue };
                    update_entry(db, id, next, (result, by), now).await?;
                    let deed = Deed {
                        by,
                        action: Action::PayoutSettled,
                        target: Target::Withdrawal(id),
                        reason: Some(&reason),
                        before: json!({ "payout": known.status.as_str(), "file": file }),
                        after: json!({
                            "payout": next.as_str(),
                            "failure_code": result.failure_code().map(FailureCode::as_str),
                        }),
                    };
                    record(db, &deed, now).await?;
                    settled.push(id);
                }
                look_first(db, &settled, now).await?;
                Ok(settled)
            })
        })
        .await
    }
}

/// An entry of a file, locked.
pub(super) struct Locked {
    user: UserId,
    status: EntryStatus,
    failure_code: Option<FailureCode>,
}

pub(super) async fn lock_entries(
    db: &mut Db,
    file: PayoutFileId,
) -> Result<HashMap<WithdrawalId, Locked>, SettleError> {
    type Row = (Uuid, Uuid, String, Option<String>);
    let select = db.dialect(
        "SELECT withdrawal_id, user_id, status, failure_code FROM payout_entries
         WHERE file_id = $1
         ORDER BY withdrawal_id",
        "SELECT withdrawal_id, user_id, status, failure_code FROM payout_entries
         WHERE file_id = $1
         ORDER BY withdrawal_id
         FOR UPDATE",
    );
    let rows = fetch_all!(db, Row, select, file.uuid())?;
    if rows.is_empty() {
        return Err(PayoutFileError::NotFound.into());
    }
    let locked = |(id, user, status, code): Row| {
        let status = EntryStatus::parse(&status)?;
        let failure_code = code.as_deref().and_then(FailureCode::parse);
        Some((id.into(), Locked { user: user.into(), status, failure_code }))
    };
    let entries: Option<_> = rows.into_iter().map(locked).collect();
    Ok(entries.ok_or(StoreError::NotFound)?)
}

async fn update_entry(
    db: &mut Db,
    id: WithdrawalId,
    to: EntryStatus,
    (result, by): (BankResult, UserId),
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE payout_entries
         SET status = $2, failure_code = $3, settled_by = $4, updated_at = $5
         WHERE withdrawal_id = $1",
        id.uuid(),
        to.as_str(),
        result.failure_code().map(FailureCode::as_str),
        by.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// Whoever looks at withdrawals the next time begins with these, should nobody come to it now; and looks for as long again as
/// after they were paid, however long ago that was.
async fn look_first(db: &mut Db, ids: &[WithdrawalId], now: Timestamp) -> Result<(), StoreError> {
    let update = db.dialect(
        "UPDATE withdrawals SET looked_at = 0, updated_at = $2
         WHERE id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "UPDATE withdrawals SET looked_at = 0, updated_at = $2
         WHERE id IN (SELECT id FROM withdrawals
                      WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))
                      ORDER BY id
                      FOR UPDATE)",
    );
    execute!(db, update, json!(ids).to_string(), now.millis()).map(|_| ())
}
