//! Balances: what accounts come to, one by one, by family, and all together.

use uuid::Uuid;

use crate::domain::ids::{AccountId, UserId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::{AccountKind, Counters};
use crate::domain::money::Currency;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

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

/// An account as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LedgerAccount {
    pub id: AccountId,
    pub kind: AccountKind,
    /// Whose it is; `None` for the platform's.
    pub owner: Option<UserId>,
    pub is_frozen: bool,
    pub counters: Counters,
}

#[derive(sqlx::FromRow)]
struct AccountRow {
    id: Uuid,
    kind: String,
    owner_id: Option<Uuid>,
    frozen_at: Option<i64>,
    #[sqlx(flatten)]
    counters: CountersRow,
}

impl FamilyRow {
    /// `None` where a later release has written something that this one does not know.
    /// A balance without one of its families would be a wrong one.
    fn into_balance(self) -> Result<FamilyBalance, StoreError> {
        Ok(FamilyBalance {
            family: self.family,
            kind: AccountKind::parse(&self.kind).ok_or(StoreError::NotFound)?,
            currency: self.currency.parse().map_err(|_| StoreError::NotFound)?,
            accounts: self.accounts,
            counters: self.counters.into(),
        })
    }
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

/// Whether anything was ever booked to an account.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_account(db: &mut Db, account: AccountId) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM ledger_accounts WHERE id = $1",
        account.uuid(),
    )?;
    Ok(count > 0)
}

/// Freezes an account, or lets it go: while it is frozen, nothing new touches it.
///
/// # Errors
/// [`StoreError::NotFound`] for one to which nothing was ever booked: it would be opened unfrozen.
pub async fn update_frozen(
    db: &mut Db,
    account: AccountId,
    frozen_at: Option<i64>,
) -> Result<(), StoreError> {
    let id: Uuid = account.uuid();
    match execute!(db, "UPDATE ledger_accounts SET frozen_at = $2 WHERE id = $1", id, frozen_at)? {
        0 => Err(StoreError::NotFound),
        _ => Ok(()),
    }
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
        rows.into_iter().map(FamilyRow::into_balance).collect()
    }

    /// The trial balance at the end of `at`, from the transfers alone. Reads all of them up to then.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_family_balances_at(
        &self,
        at: Timestamp,
    ) -> Result<Vec<FamilyBalance>, StoreError> {
        let rows: Vec<FamilyRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // A hold counts for as long as it is not resolved; what is posted counts as it was posted.
                    let select = "SELECT CASE WHEN a.owner_id IS NULL THEN a.family
                                     ELSE 'user:' || substr(a.family, 43) END AS family,
                                a.kind, a.currency, COUNT(DISTINCT a.id) AS accounts,
                                CAST(SUM(s.debits_pending) AS BIGINT) AS debits_pending,
                                CAST(SUM(s.debits_posted) AS BIGINT) AS debits_posted,
                                CAST(SUM(s.credits_pending) AS BIGINT) AS credits_pending,
                                CAST(SUM(s.credits_posted) AS BIGINT) AS credits_posted
                         FROM (SELECT t.debit_id AS account_id,
                                      CASE WHEN t.phase = 'pending' AND r.id IS NULL
                                           THEN t.amount ELSE 0 END AS debits_pending,
                                      CASE WHEN t.phase IN ('single', 'post')
                                           THEN t.amount ELSE 0 END AS debits_posted,
                                      0 AS credits_pending, 0 AS credits_posted
                               FROM ledger_transfers t
                               LEFT JOIN ledger_transfers r ON r.hold_id = t.id AND r.at <= $1
                               WHERE t.at <= $1
                               UNION ALL
                               SELECT t.credit_id, 0, 0,
                                      CASE WHEN t.phase = 'pending' AND r.id IS NULL
                                           THEN t.amount ELSE 0 END,
                                      CASE WHEN t.phase IN ('single', 'post')
                                           THEN t.amount ELSE 0 END
                               FROM ledger_transfers t
                               LEFT JOIN ledger_transfers r ON r.hold_id = t.id AND r.at <= $1
                               WHERE t.at <= $1) s
                         JOIN ledger_accounts a ON a.id = s.account_id
                         GROUP BY 1, 2, 3
                         ORDER BY 3, 2, 1";
                    fetch_all!(db, FamilyRow, select, at.millis())
                })
            })
            .await?;
        rows.into_iter().map(FamilyRow::into_balance).collect()
    }

    /// An account by its code, such as `escrow#03`; `None` where nothing was ever booked to it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_ledger_account(
        &self,
        code: String,
        currency: Currency,
    ) -> Result<Option<LedgerAccount>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        AccountRow,
                        "SELECT id, kind, owner_id, frozen_at, debits_pending, debits_posted,
                                credits_pending, credits_posted
                         FROM ledger_accounts
                         WHERE code = $1 AND currency = $2",
                        code,
                        currency.as_str(),
                    )
                })
            })
            .await?;
        Ok(row.and_then(|row| {
            Some(LedgerAccount {
                id: row.id.into(),
                kind: AccountKind::parse(&row.kind)?,
                owner: row.owner_id.map(Into::into),
                is_frozen: row.frozen_at.is_some(),
                counters: row.counters.into(),
            })
        }))
    }
}
