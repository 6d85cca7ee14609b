//! Withdrawals to be seen: a user's own, those that wait for somebody, and those that a bank may still send back.

use uuid::Uuid;

use super::{Row, Withdrawal};
use crate::domain::ids::{UserId, WithdrawalId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::{Store, StoreError, execute, fetch_all, fetch_optional};

impl Store {
    /// A withdrawal.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_withdrawal(
        &self,
        id: WithdrawalId,
    ) -> Result<Option<Withdrawal>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, user_id, currency, amount, bank_account_id, provider,
                                provider_key, workflow_id, status, failure_code, needs_approval,
                                not_before, requested_by, approved_by, rejected_by, version,
                                created_at, updated_at
                         FROM withdrawals
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.and_then(Row::into_withdrawal))
    }

    /// A user's withdrawals from before `before`, the newest first; at most `limit`. Their ids are in the order in
    /// which they were asked for.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_withdrawals(
        &self,
        user: UserId,
        before: Option<WithdrawalId>,
        limit: i64,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let before = before.map_or(Uuid::max(), WithdrawalId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, user_id, currency, amount, bank_account_id, provider,
                                provider_key, workflow_id, status, failure_code, needs_approval,
                                not_before, requested_by, approved_by, rejected_by, version,
                                created_at, updated_at
                         FROM withdrawals
                         WHERE user_id = $1 AND id < $2
                         ORDER BY id DESC
                         LIMIT $3",
                        user.uuid(),
                        before,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(Row::into_withdrawal).collect())
    }

    /// Withdrawals of one status from after `after`, the oldest first; at most `limit`. With `needs_approval` only
    /// those about which somebody has to decide.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_withdrawals_by_status(
        &self,
        status: WithdrawalStatus,
        needs_approval: bool,
        after: Option<WithdrawalId>,
        limit: i64,
    ) -> Result<Vec<Withdrawal>, StoreError> {
        let after = after.map_or(Uuid::nil(), WithdrawalId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, user_id, currency, amount, bank_account_id, provider,
                                provider_key, workflow_id, status, failure_code, needs_approval,
                                not_before, requested_by, approved_by, rejected_by, version,
                                created_at, updated_at
                         FROM withdrawals
                         WHERE status = $1 AND needs_approval >= $2 AND id > $3
                         ORDER BY id
                         LIMIT $4",
                        status.as_str(),
                        i64::from(needs_approval),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(Row::into_withdrawal).collect())
    }

    /// The withdrawal that a workflow takes care of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], any other when the database does not answer.
    pub async fn get_withdrawal_of(&self, workflow: WorkflowId) -> Result<Withdrawal, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, user_id, currency, amount, bank_account_id, provider,
                                provider_key, workflow_id, status, failure_code, needs_approval,
                                not_before, requested_by, approved_by, rejected_by, version,
                                created_at, updated_at
                         FROM withdrawals
                         WHERE workflow_id = $1",
                        workflow.uuid(),
                    )
                })
            })
            .await?;
        row.and_then(Row::into_withdrawal).ok_or(StoreError::NotFound)
    }

    /// Withdrawals that a bank has and may still move or send back: accepted ones that nobody has looked at since
    /// `accepted`, and those paid after `paid_after` that nobody has looked at since `paid`. Those that have waited longest
    /// first; notes that they are looked at now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn take_watched_withdrawals(
        &self,
        watch: Watch,
        now: Timestamp,
    ) -> Result<Vec<WithdrawalId>, StoreError> {
        let rows = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let rows = fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT id FROM withdrawals
                         WHERE (status IN ('sending', 'unknown') AND provider_key IS NOT NULL
                                AND looked_at <= $1)
                            OR (status = 'paid' AND looked_at <= $2 AND updated_at > $3)
                         ORDER BY looked_at, id
                         LIMIT $4",
                        watch.accepted.millis(),
                        watch.paid.millis(),
                        watch.paid_after.millis(),
                        watch.limit,
                    )?;
                    for (id,) in &rows {
                        execute!(
                            db,
                            "UPDATE withdrawals SET looked_at = $2 WHERE id = $1",
                            *id,
                            now.millis(),
                        )?;
                    }
                    Ok(rows)
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }
}

/// Which withdrawals are looked at again, see [`Store::take_watched_withdrawals`].
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    pub accepted: Timestamp,
    pub paid: Timestamp,
    pub paid_after: Timestamp,
    pub limit: i64,
}
