//! The self-check: counters are folded from the transfers again, page after page, and compared.

use uuid::Uuid;

use crate::domain::ids::AccountId;
use crate::domain::ledger::Counters;
use crate::store::{Store, StoreError, fetch_all};

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
                    fetch_all!(
                        db,
                        FoldRow,
                        "SELECT a.id, a.code, a.debits_pending, a.debits_posted, a.credits_pending,
                                a.credits_posted,
                                CAST(coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                      WHERE t.debit_id = a.id AND t.phase = 'pending'
                                        AND NOT EXISTS (SELECT 1 FROM ledger_transfers r
                                                        WHERE r.hold_id = t.id)), 0)
                                     AS BIGINT) AS folded_debits_pending,
                                CAST(coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                      WHERE t.debit_id = a.id
                                        AND t.phase IN ('single', 'post')), 0)
                                     AS BIGINT) AS folded_debits_posted,
                                CAST(coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                      WHERE t.credit_id = a.id AND t.phase = 'pending'
                                        AND NOT EXISTS (SELECT 1 FROM ledger_transfers r
                                                        WHERE r.hold_id = t.id)), 0)
                                     AS BIGINT) AS folded_credits_pending,
                                CAST(coalesce((SELECT SUM(t.amount) FROM ledger_transfers t
                                      WHERE t.credit_id = a.id
                                        AND t.phase IN ('single', 'post')), 0)
                                     AS BIGINT) AS folded_credits_posted
                         FROM ledger_accounts a
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
