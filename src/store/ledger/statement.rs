//! Statements: what moved on an account, the newest first, and what it came to at a time.

use uuid::Uuid;

use crate::domain::ids::{AccountId, EntryId, TransferId};
use crate::domain::ledger::Counters;
use crate::domain::ledger::entry::Phase;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::store::{Store, StoreError, fetch_all, fetch_one};

/// One transfer, seen from one of its accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatementLine {
    pub id: TransferId,
    pub entry: EntryId,
    /// What happened, such as `capture`.
    pub kind: String,
    pub reference_kind: String,
    pub reference: Uuid,
    pub phase: Phase,
    pub is_debit: bool,
    /// The account on the other side.
    pub other: AccountId,
    /// Its code, such as `escrow#03`.
    pub other_code: String,
    pub amount: Amount,
    pub code: String,
    pub at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct LineRow {
    id: Uuid,
    entry_id: Uuid,
    kind: String,
    reference_kind: String,
    reference_id: Uuid,
    phase: String,
    debit_id: Uuid,
    credit_id: Uuid,
    other_code: String,
    amount: i64,
    code: String,
    at: i64,
}

impl Store {
    /// Transfers of an account before `before`, the newest first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_statement(
        &self,
        account: AccountId,
        before: Option<(Timestamp, TransferId)>,
        limit: i64,
    ) -> Result<Vec<StatementLine>, StoreError> {
        let (at, id) = before.map_or((i64::MAX, Uuid::max()), |(at, id)| (at.millis(), id.uuid()));
        let rows: Vec<LineRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        LineRow,
                        "SELECT t.id, t.entry_id, e.kind, e.reference_kind, e.reference_id, t.phase,
                                t.debit_id, t.credit_id, o.code AS other_code, t.amount, t.code,
                                t.at
                         FROM (SELECT * FROM (SELECT id, at FROM ledger_transfers
                                              WHERE debit_id = $1 AND (at, id) < ($2, $3)
                                              ORDER BY at DESC, id DESC LIMIT $4) d
                               UNION ALL
                               SELECT * FROM (SELECT id, at FROM ledger_transfers
                                              WHERE credit_id = $1 AND (at, id) < ($2, $3)
                                              ORDER BY at DESC, id DESC LIMIT $4) c) s
                         JOIN ledger_transfers t ON t.id = s.id
                         JOIN ledger_entries e ON e.id = t.entry_id
                         JOIN ledger_accounts o
                              ON o.id = CASE WHEN t.debit_id = $1 THEN t.credit_id
                                             ELSE t.debit_id END
                         ORDER BY t.at DESC, t.id DESC
                         LIMIT $4",
                        account.uuid(),
                        at,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(|row| row.into_line(account)).collect())
    }

    /// What happened to something, such as `capture` and `refund`, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_entry_kinds(&self, reference: Uuid) -> Result<Vec<String>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT kind FROM ledger_entries WHERE reference_id = $1 ORDER BY at, id",
                        reference,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(kind,)| kind).collect())
    }

    /// What providers owe us by the entries about one thing, such as a payment.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sum_receivable_of(&self, reference: Uuid) -> Result<i64, StoreError> {
        let (sum,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT CAST(coalesce(SUM(CASE WHEN a.id = t.debit_id THEN t.amount
                                                       ELSE -t.amount END), 0) AS BIGINT)
                         FROM ledger_entries e
                         JOIN ledger_transfers t ON t.entry_id = e.id
                         JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
                         WHERE e.reference_id = $1 AND t.phase IN ('single', 'post')
                           AND a.family LIKE 'psp:%:receivable'",
                        reference,
                    )
                })
            })
            .await?;
        Ok(sum)
    }

    /// What an account came to at the end of `at`, from its transfers alone.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_counters_at(
        &self,
        account: AccountId,
        at: Timestamp,
    ) -> Result<Counters, StoreError> {
        let (debits_pending, debits_posted, credits_pending, credits_posted) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64, i64, i64, i64),
                        "SELECT
                           CAST(coalesce(SUM(CASE WHEN t.debit_id = $1 AND t.phase = 'pending'
                                      AND r.id IS NULL THEN t.amount END), 0) AS BIGINT),
                           CAST(coalesce(SUM(CASE WHEN t.debit_id = $1
                                      AND t.phase IN ('single', 'post') THEN t.amount END), 0)
                                AS BIGINT),
                           CAST(coalesce(SUM(CASE WHEN t.credit_id = $1 AND t.phase = 'pending'
                                      AND r.id IS NULL THEN t.amount END), 0) AS BIGINT),
                           CAST(coalesce(SUM(CASE WHEN t.credit_id = $1
                                      AND t.phase IN ('single', 'post') THEN t.amount END), 0)
                                AS BIGINT)
                         FROM ledger_transfers t
                         LEFT JOIN ledger_transfers r ON r.hold_id = t.id AND r.at <= $2
                         WHERE (t.debit_id = $1 OR t.credit_id = $1) AND t.at <= $2",
                        account.uuid(),
                        at.millis(),
                    )
                })
            })
            .await?;
        Ok(Counters { debits_pending, debits_posted, credits_pending, credits_posted })
    }
}

impl LineRow {
    fn into_line(self, account: AccountId) -> Option<StatementLine> {
        let is_debit = self.debit_id == account.uuid();
        let other = if is_debit { self.credit_id } else { self.debit_id };
        Some(StatementLine {
            id: self.id.into(),
            entry: self.entry_id.into(),
            kind: self.kind,
            reference_kind: self.reference_kind,
            reference: self.reference_id,
            phase: Phase::parse(&self.phase)?,
            is_debit,
            other: other.into(),
            other_code: self.other_code,
            amount: Amount::new(self.amount).ok()?,
            code: self.code,
            at: Timestamp::from_millis(self.at),
        })
    }
}
