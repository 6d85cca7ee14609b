//! The self-check: counters are folded from the transfers again, page after page, and compared.
//!
//! What was folded long ago is kept and not folded again: whoever changes it breaks a seal. Invariant: what is kept is of
//! a time of which nothing is written any more, and which is sealed.

use uuid::Uuid;

use crate::domain::ids::AccountId;
use crate::domain::ledger::Counters;
use crate::domain::time::Timestamp;
use crate::store::leases::Lease;
use crate::store::{Store, StoreError, execute, fetch_all};

/// Accounts that were looked at.
#[derive(Debug, Default)]
pub struct CheckedPage {
    pub accounts: usize,
    /// The last of them; `None` where nothing is left behind it.
    pub last: Option<AccountId>,
    pub drifts: Vec<Drift>,
}

/// An account whose counters are not what its transfers come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drift {
    pub account: AccountId,
    pub code: String,
    pub counted: Counters,
    pub folded: Counters,
}

#[derive(sqlx::FromRow)]
struct FoldRow {
    id: Uuid,
    code: String,
    debits_pending: i64,
    debits_posted: i64,
    credits_pending: i64,
    credits_posted: i64,
    folded_debits_pending: i64,
    folded_debits_posted: i64,
    folded_credits_pending: i64,
    folded_credits_posted: i64,
}

impl Store {
    /// Folds the accounts after `after`, at most `limit`, each from the same snapshot as its counters.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn check_ledger(
        &self,
        after: Option<AccountId>,
        limit: u16,
    ) -> Result<CheckedPage, StoreError> {
        let after = after.map_or(Uuid::nil(), AccountId::uuid);
        let rows: Vec<FoldRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // What a hold set aside is free again with the transfer that resolves it.
                    fetch_all!(
                        db,
                        FoldRow,
                        "SELECT a.id, a.code, a.debits_pending, a.debits_posted, a.credits_pending,
                                a.credits_posted,
                                CAST(coalesce(f.debits_pending, 0)
                                     + coalesce((SELECT SUM(CASE t.phase WHEN 'pending' THEN t.amount
                                                                         ELSE -h.amount END)
                                                 FROM ledger_transfers t
                                                 LEFT JOIN ledger_transfers h ON h.id = t.hold_id
                                                 WHERE t.debit_id = a.id AND t.phase <> 'single'
                                                   AND t.at > coalesce(f.until, -1)), 0)
                                     AS BIGINT) AS folded_debits_pending,
                                CAST(coalesce(f.debits_posted, 0)
                                     + coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                                 WHERE t.debit_id = a.id
                                                   AND t.phase IN ('single', 'post')
                                                   AND t.at > coalesce(f.until, -1)), 0)
                                     AS BIGINT) AS folded_debits_posted,
                                CAST(coalesce(f.credits_pending, 0)
                                     + coalesce((SELECT SUM(CASE t.phase WHEN 'pending' THEN t.amount
                                                                         ELSE -h.amount END)
                                                 FROM ledger_transfers t
                                                 LEFT JOIN ledger_transfers h ON h.id = t.hold_id
                                                 WHERE t.credit_id = a.id AND t.phase <> 'single'
                                                   AND t.at > coalesce(f.until, -1)), 0)
                                     AS BIGINT) AS folded_credits_pending,
                                CAST(coalesce(f.credits_posted, 0)
                                     + coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                                 WHERE t.credit_id = a.id
                                                   AND t.phase IN ('single', 'post')
                                                   AND t.at > coalesce(f.until, -1)), 0)
                                     AS BIGINT) AS folded_credits_posted
                         FROM ledger_accounts a
                         LEFT JOIN ledger_folds f ON f.account_id = a.id
                         WHERE a.id > $1
                         ORDER BY a.id
                         LIMIT $2",
                        after,
                        i64::from(limit),
                    )
                })
            })
            .await?;
        let is_full = rows.len() >= usize::from(limit);
        Ok(CheckedPage {
            accounts: rows.len(),
            last: rows.last().filter(|_| is_full).map(|row| row.id.into()),
            drifts: rows.into_iter().filter_map(FoldRow::drift).collect(),
        })
    }
}

impl Store {
    /// Keeps what the accounts after `after` come to until `until`, at most `limit` of them and only where something has come
    /// since: the next check begins there. Nothing may be written of that time any more, and it has to be sealed.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when somebody else checks.
    pub async fn keep_folds(
        &self,
        lease: &Lease,
        after: Option<AccountId>,
        limit: u16,
        until: Timestamp,
    ) -> Result<(), StoreError> {
        let (lease, after) = (lease.clone(), after.map_or(Uuid::nil(), AccountId::uuid));
        self.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                lease.confirm(db).await?;
                execute!(
                    db,
                    "INSERT INTO ledger_folds
                         (account_id, until, debits_pending, debits_posted, credits_pending,
                          credits_posted)
                     SELECT a.id, $3,
                            CAST(coalesce(f.debits_pending, 0)
                                 + coalesce((SELECT SUM(CASE t.phase WHEN 'pending' THEN t.amount
                                                                     ELSE -h.amount END)
                                             FROM ledger_transfers t
                                             LEFT JOIN ledger_transfers h ON h.id = t.hold_id
                                             WHERE t.debit_id = a.id AND t.phase <> 'single'
                                               AND t.at > coalesce(f.until, -1) AND t.at <= $3), 0)
                                 AS BIGINT),
                            CAST(coalesce(f.debits_posted, 0)
                                 + coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                             WHERE t.debit_id = a.id
                                               AND t.phase IN ('single', 'post')
                                               AND t.at > coalesce(f.until, -1) AND t.at <= $3), 0)
                                 AS BIGINT),
                            CAST(coalesce(f.credits_pending, 0)
                                 + coalesce((SELECT SUM(CASE t.phase WHEN 'pending' THEN t.amount
                                                                     ELSE -h.amount END)
                                             FROM ledger_transfers t
                                             LEFT JOIN ledger_transfers h ON h.id = t.hold_id
                                             WHERE t.credit_id = a.id AND t.phase <> 'single'
                                               AND t.at > coalesce(f.until, -1) AND t.at <= $3), 0)
                                 AS BIGINT),
                            CAST(coalesce(f.credits_posted, 0)
                                 + coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                             WHERE t.credit_id = a.id
                                               AND t.phase IN ('single', 'post')
                                               AND t.at > coalesce(f.until, -1) AND t.at <= $3), 0)
                                 AS BIGINT)
                     FROM (SELECT id FROM ledger_accounts WHERE id > $1 ORDER BY id LIMIT $2) a
                     LEFT JOIN ledger_folds f ON f.account_id = a.id
                     WHERE EXISTS (SELECT 1 FROM ledger_transfers t
                                   WHERE t.debit_id = a.id AND t.at > coalesce(f.until, -1)
                                     AND t.at <= $3)
                        OR EXISTS (SELECT 1 FROM ledger_transfers t
                                   WHERE t.credit_id = a.id AND t.at > coalesce(f.until, -1)
                                     AND t.at <= $3)
                     ON CONFLICT (account_id) DO UPDATE
                     SET until = excluded.until, debits_pending = excluded.debits_pending,
                         debits_posted = excluded.debits_posted,
                         credits_pending = excluded.credits_pending,
                         credits_posted = excluded.credits_posted
                     WHERE ledger_folds.until < excluded.until",
                    after,
                    i64::from(limit),
                    until.millis(),
                )
            })
        })
        .await
        .map(|_| ())
    }
}

impl FoldRow {
    fn drift(self) -> Option<Drift> {
        let counted = Counters {
            debits_pending: self.debits_pending,
            debits_posted: self.debits_posted,
            credits_pending: self.credits_pending,
            credits_posted: self.credits_posted,
        };
        let folded = Counters {
            debits_pending: self.folded_debits_pending,
            debits_posted: self.folded_debits_posted,
            credits_pending: self.folded_credits_pending,
            credits_posted: self.folded_credits_posted,
        };
        let (account, code) = (self.id.into(), self.code);
        (counted != folded).then_some(Drift { account, code, counted, folded })
    }
}
