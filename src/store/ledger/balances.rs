//! Balances: what accounts come to, one by one, by family, and all together.

use uuid::Uuid;

use crate::domain::ids::AccountId;
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::{AccountKind, Counters};
use crate::domain::money::Currency;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional};

/// What the accounts of one family come to, over all their shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FamilyBalance {
    /// Such as `escrow`; those of users under `user:pending` and the like.
    pub family: String,
    pub kind: AccountKind,
    pub currency: Currency,
    pub accounts: i64,
    pub counters: Counters,
}

#[derive(sqlx::FromRow)]
struct CountersRow {
    debits_pending: i64,
    debits_posted: i64,
    credits_pending: i64,
    credits_posted: i64,
}

#[derive(sqlx::FromRow)]
struct FamilyRow {
    family: String,
    kind: String,
    currency: String,
    accounts: i64,
    #[sqlx(flatten)]
    counters: CountersRow,
}

impl From<CountersRow> for Counters {
    fn from(row: CountersRow) -> Self {
        Self {
            debits_pending: row.debits_pending,
            debits_posted: row.debits_posted,
            credits_pending: row.credits_pending,
            credits_posted: row.credits_posted,
        }
    }
}

/// The counters of an account; all 0 where nothing was ever booked.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_counters(
    db: &mut Db,
    name: AccountName,
    currency: Currency,
) -> Result<Counters, StoreError> {
    let row = fetch_optional!(
        db,
        CountersRow,
        "SELECT debits_pending, debits_posted, credits_pending, credits_posted
         FROM ledger_accounts
         WHERE id = $1",
        name.id(currency).uuid(),
    )?;
    Ok(row.map(Counters::from).unwrap_or_default())
}

/// Freezes an account, or lets it go: while it is frozen, nothing new touches it.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_frozen(
    db: &mut Db,
    account: AccountId,
    frozen_at: Option<i64>,
) -> Result<(), StoreError> {
    let id: Uuid = account.uuid();
    execute!(db, "UPDATE ledger_accounts SET frozen_at = $2 WHERE id = $1", id, frozen_at)
        .map(|_| ())
}

impl Store {
    /// The trial balance: every family with what its accounts come to, in one snapshot. Debits and credits over all of it
    /// are the same, in each currency.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_family_balances(&self) -> Result<Vec<FamilyBalance>, StoreError> {
        let rows: Vec<FamilyRow> = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    // A user's accounts are told by what stands behind the user.
                    let select = db.dialect(
                        "SELECT CASE WHEN owner_id IS NULL THEN family
                                     ELSE 'user:' || substr(family, 43) END AS family,
                                kind, currency, COUNT(*) AS accounts,
                                SUM(debits_pending) AS debits_pending,
                                SUM(debits_posted) AS debits_posted,
                                SUM(credits_pending) AS credits_pending,
                                SUM(credits_posted) AS credits_posted
                         FROM ledger_accounts
                         GROUP BY 1, 2, 3
                         ORDER BY 3, 2, 1",
                        "SELECT CASE WHEN owner_id IS NULL THEN family
                                     ELSE 'user:' || substr(family, 43) END AS family,
                                kind, currency, COUNT(*) AS accounts,
                                SUM(debits_pending)::bigint AS debits_pending,
                                SUM(debits_posted)::bigint AS debits_posted,
                                SUM(credits_pending)::bigint AS credits_pending,
                                SUM(credits_posted)::bigint AS credits_posted
                         FROM ledger_accounts
                         GROUP BY 1, 2, 3
                         ORDER BY 3, 2, 1",
                    );
                    fetch_all!(db, FamilyRow, select)
                })
            })
            .await?;
        let balance = |row: FamilyRow| {
            Some(FamilyBalance {
                family: row.family,
                kind: AccountKind::parse(&row.kind)?,
                currency: row.currency.parse().ok()?,
                accounts: row.accounts,
                counters: row.counters.into(),
            })
        };
        Ok(rows.into_iter().filter_map(balance).collect())
    }
}
