//! Withdrawals to be seen: a user's own, those that wait for somebody, and those that a bank may still send back.

use serde_json::json;
use uuid::Uuid;

use super::{Row, Withdrawal};
use crate::domain::ids::{UserId, WithdrawalId, WorkflowId};
use crate::domain::stored_as;
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

/// What a withdrawal waits for before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitsFor {
    /// Somebody has to say yes to the amount.
    Approval,
    Time,
    /// What its user was paid is disputed: a yes, or the end of the dispute.
    Dispute,
    /// Its user's wallet is frozen.
    Frozen,
    ProviderStopped,
}

stored_as!(WaitsFor {
    Approval = "approval",
    Time = "time",
    Dispute = "dispute",
    Frozen = "frozen",
    ProviderStopped = "provider_stopped"
});

/// A withdrawal that is not sent yet, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingWithdrawal {
    pub withdrawal: Withdrawal,
    pub waits_for: Vec<WaitsFor>,
}

#[derive(sqlx::FromRow)]
struct WaitingRow {
    #[sqlx(flatten)]
    row: Row,
    is_disputed: i64,
    is_frozen: i64,
    is_stopped: i64,
}

impl WaitingRow {
    fn into_waiting(self, now: Timestamp) -> Option<WaitingWithdrawal> {
        let withdrawal = self.row.into_withdrawal()?;
        let is_asked_for = withdrawal.status == WithdrawalStatus::Requested;
        let reasons = [
            (is_asked_for && withdrawal.needs_approval, WaitsFor::Approval),
            (withdrawal.not_before > now, WaitsFor::Time),
            (self.is_disputed == 1, WaitsFor::Dispute),
            (self.is_frozen == 1, WaitsFor::Frozen),
            (self.is_stopped == 1, WaitsFor::ProviderStopped),
        ];
        let waits_for = reasons.into_iter().filter_map(|(is_so, reason)| is_so.then_some(reason));
        Some(WaitingWithdrawal { waits_for: waits_for.collect(), withdrawal })
    }
}

impl Store {
    /// How many withdrawals wait, by status, and since when the first of each was asked for.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_pending_withdrawals(
        &self,
    ) -> Result<Vec<(String, i64, Timestamp)>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, i64, i64),
                        "SELECT status, COUNT(*), MIN(created_at) FROM withdrawals
                         WHERE status IN ('requested', 'approved', 'sending', 'unknown')
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

    /// Withdrawals from after `after` that wait for something before they are sent, and for what; the oldest first, at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_waiting_withdrawals(
        &self,
        after: Option<WithdrawalId>,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<WaitingWithdrawal>, StoreError> {
        let after = after.map_or(Uuid::nil(), WithdrawalId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        WaitingRow,
                        "SELECT id, user_id, currency, amount, bank_account_id, provider,
                                provider_key, workflow_id, status, failure_code, needs_approval,
                                not_before, requested_by, approved_by, rejected_by, version,
                                created_at, updated_at, is_disputed, is_frozen, is_stopped
                         FROM (SELECT w.*,
                                      CASE WHEN w.status = 'requested' AND EXISTS
                                          (SELECT 1 FROM disputes d
                                           WHERE d.payee_id = w.user_id AND d.currency = w.currency
                                             AND d.opened_at IS NOT NULL AND d.closed_at IS NULL)
                                          THEN CAST(1 AS BIGINT) ELSE 0 END AS is_disputed,
                                      CASE WHEN EXISTS
                                          (SELECT 1 FROM wallets f
                                           WHERE f.user_id = w.user_id AND f.currency = w.currency
                                             AND f.frozen_at IS NOT NULL)
                                          THEN CAST(1 AS BIGINT) ELSE 0 END AS is_frozen,
                                      CASE WHEN EXISTS
                                          (SELECT 1 FROM provider_stops s
                                           WHERE s.provider = w.provider
                                             AND s.stopped_at IS NOT NULL)
                                          THEN CAST(1 AS BIGINT) ELSE 0 END AS is_stopped
                               FROM withdrawals w
                               WHERE w.status IN ('requested', 'approved') AND w.id > $2) w
                         WHERE not_before > $1 OR (status = 'requested' AND needs_approval = 1)
                            OR is_disputed = 1 OR is_frozen = 1 OR is_stopped = 1
                         ORDER BY id
                         LIMIT $3",
                        now.millis(),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(|row| row.into_waiting(now)).collect())
    }

    /// The withdrawal that a workflow takes care of.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], any other when the database does not answer.
    pub async fn get_withdrawal_of(&self, workflow: WorkflowId) -> Result<Withdrawal, StoreError> {
        let (id,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (Uuid,),
                        "SELECT id FROM withdrawals WHERE workflow_id = $1",
                        workflow.uuid(),
                    )
                })
            })
            .await?;
        self.find_withdrawal(id.into()).await?.ok_or(StoreError::NotFound)
    }

    /// Withdrawals that a bank has and may still move or send back, those that nobody has looked at for longest first; at
    /// most `limit`. Notes that they are looked at now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn take_watched_withdrawals(
        &self,
        watched: Watched,
        limit: i64,
        now: Timestamp,
    ) -> Result<Vec<WithdrawalId>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // By itself, SQLite goes through all withdrawals of a status.
                    match watched {
                        Watched::Accepted { before } => {
                            let select = db.dialect(
                                "SELECT id FROM withdrawals INDEXED BY withdrawals_accepted_idx
                                 WHERE status IN ('sending', 'unknown')
                                   AND provider_key IS NOT NULL AND looked_at <= $1
                                 ORDER BY looked_at, id
                                 LIMIT $2",
                                "SELECT id FROM withdrawals
                                 WHERE status IN ('sending', 'unknown')
                                   AND provider_key IS NOT NULL AND looked_at <= $1
                                 ORDER BY looked_at, id
                                 LIMIT $2",
                            );
                            fetch_all!(db, (Uuid,), select, before.millis(), limit)
                        }
                        Watched::Paid { before, after } => {
                            let select = db.dialect(
                                "SELECT id FROM withdrawals INDEXED BY withdrawals_paid_idx
                                 WHERE status = 'paid' AND updated_at > $1 AND looked_at <= $2
                                 ORDER BY looked_at, id
                                 LIMIT $3",
                                "SELECT id FROM withdrawals
                                 WHERE status = 'paid' AND updated_at > $1 AND looked_at <= $2
                                 ORDER BY looked_at, id
                                 LIMIT $3",
                            );
                            let (after, before) = (after.millis(), before.millis());
                            fetch_all!(db, (Uuid,), select, after, before, limit)
                        }
                    }
                })
            })
            .await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let ids: Vec<Uuid> = rows.into_iter().map(|(id,)| id).collect();
        let noted = ids.clone();
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move { note_looked_at(db, &noted, now).await })
        })
        .await?;
        Ok(ids.into_iter().map(WithdrawalId::from).collect())
    }
}

async fn note_looked_at(db: &mut Db, ids: &[Uuid], now: Timestamp) -> Result<(), StoreError> {
    // Locked in one order: nobody waits crosswise.
    let update = db.dialect(
        "UPDATE withdrawals SET looked_at = $2
         WHERE id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
        "UPDATE withdrawals SET looked_at = $2
         WHERE id IN (SELECT id FROM withdrawals
                      WHERE id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))
                      ORDER BY id
                      FOR UPDATE)",
    );
    execute!(db, update, json!(ids).to_string(), now.millis()).map(|_| ())
}

/// Which withdrawals are looked at again, see [`Store::take_watched_withdrawals`].
#[derive(Debug, Clone, Copy)]
pub enum Watched {
    /// Those that a bank has accepted and that nobody has looked at since `before`.
    Accepted { before: Timestamp },
    /// Those that were paid after `after` and that nobody has looked at since `before`.
    Paid { before: Timestamp, after: Timestamp },
}
