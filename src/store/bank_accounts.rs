//! Bank accounts as rows: what is told of them, and what lies sealed.
//!
//! Invariant: a number is stored sealed and in no event; nobody vouches for an account of their own.

use serde_json::json;
use uuid::Uuid;

use super::audit::{Deed, record};
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::audit::{Action, Target};
use crate::domain::bank_accounts::{ACCOUNTS_MAX, BankAccountError, BankCode};
use crate::domain::ids::{BankAccountId, UserId};
use crate::domain::time::Timestamp;

/// Why nothing was done with a bank account.
#[derive(Debug, thiserror::Error)]
pub enum AccountChangeError {
    #[error(transparent)]
    Account(#[from] BankAccountError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A bank account, as far as anybody may see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankAccount {
    pub id: BankAccountId,
    pub user: UserId,
    pub bank_code: String,
    pub last_digits: String,
    /// Since when it is known that it is the user's own.
    pub verified_at: Option<Timestamp>,
    pub created_at: Timestamp,
}

/// A bank account about to exist.
#[derive(Clone)]
pub struct NewBankAccount {
    pub id: BankAccountId,
    pub user: UserId,
    pub bank_code: BankCode,
    pub details: Vec<u8>,
    /// The mark of the key that sealed them.
    pub seal: String,
    pub last_digits: String,
}

/// Where money is sent; the number and the holder are sealed.
#[derive(Clone)]
pub struct SealedAccount {
    pub bank_code: String,
    pub details: Vec<u8>,
}

/// Who vouches for an account: another user, or another server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Voucher {
    User(UserId),
    /// Its id.
    Service(String),
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    user_id: Uuid,
    bank_code: String,
    last_digits: String,
    verified_at: Option<i64>,
    created_at: i64,
}

impl From<Row> for BankAccount {
    fn from(row: Row) -> Self {
        Self {
            id: row.id.into(),
            user: row.user_id.into(),
            bank_code: row.bank_code,
            last_digits: row.last_digits,
            verified_at: row.verified_at.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}

/// A user's bank account; `None` where it is another's or was removed.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_bank_account(
    db: &mut Db,
    user: UserId,
    id: BankAccountId,
) -> Result<Option<BankAccount>, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        "SELECT id, user_id, bank_code, last_digits, verified_at, created_at
         FROM bank_accounts
         WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL",
        id.uuid(),
        user.uuid(),
    )?;
    Ok(row.map(BankAccount::from))
}

/// What is written down when an administrator vouches for an account.
fn vouched(account: &BankAccount, by: UserId) -> Deed<'static> {
    let said = |is_verified: bool| json!({ "user_id": account.user, "is_verified": is_verified });
    Deed {
        by,
        action: Action::BankAccountVouched,
        target: Target::BankAccount(account.id),
        reason: None,
        before: said(false),
        after: said(true),
    }
}

impl Store {
    /// Stores a bank account for which nobody has vouched. Those of one user wait for one another.
    ///
    /// # Errors
    /// [`BankAccountError::TooMany`], or the database does not answer.
    pub async fn insert_bank_account(
        &self,
        new: NewBankAccount,
        now: Timestamp,
    ) -> Result<BankAccount, AccountChangeError> {
        self.write(move |db| {
            Box::pin(async move {
                let lock = db.dialect(
                    "SELECT 1 WHERE $1 IS NULL",
                    "SELECT 1 FROM users WHERE id = $1 FOR NO KEY UPDATE",
                );
                execute!(db, lock, new.user.uuid())?;
                let (count,) = fetch_one!(
                    db,
                    (i64,),
                    "SELECT COUNT(*) FROM bank_accounts
                     WHERE user_id = $1 AND deleted_at IS NULL",
                    new.user.uuid(),
                )?;
                if count >= ACCOUNTS_MAX {
                    return Err(BankAccountError::TooMany.into());
                }
                execute!(
                    db,
                    "INSERT INTO bank_accounts
                         (id, user_id, bank_code, details, seal, last_digits, created_at)
                     VALUES ($1, $2, $3, $4, $5, $6, $7)",
                    new.id.uuid(),
                    new.user.uuid(),
                    new.bank_code.as_str(),
                    new.details.as_slice(),
                    new.seal.as_str(),
                    new.last_digits.as_str(),
                    now.millis(),
                )?;
                Ok(BankAccount {
                    id: new.id,
                    user: new.user,
                    bank_code: new.bank_code.as_str().to_owned(),
                    last_digits: new.last_digits,
                    verified_at: None,
                    created_at: now,
                })
            })
        })
        .await
    }

    /// A user's bank accounts, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_bank_accounts(&self, user: UserId) -> Result<Vec<BankAccount>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, user_id, bank_code, last_digits, verified_at, created_at
                         FROM bank_accounts
                         WHERE user_id = $1 AND deleted_at IS NULL
                         ORDER BY id",
                        user.uuid(),
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(BankAccount::from).collect())
    }

    /// Notes that a bank account is its user's own; once is enough.
    ///
    /// # Errors
    /// [`BankAccountError::NotFound`], [`BankAccountError::OwnAccount`], or the database does not answer.
    pub async fn verify_bank_account(
        &self,
        id: BankAccountId,
        voucher: Voucher,
        now: Timestamp,
    ) -> Result<BankAccount, AccountChangeError> {
        self.write(move |db| {
            Box::pin(async move {
                let lock = db.dialect(
                    "SELECT id, user_id, bank_code, last_digits, verified_at, created_at
                     FROM bank_accounts
                     WHERE id = $1 AND deleted_at IS NULL",
                    "SELECT id, user_id, bank_code, last_digits, verified_at, created_at
                     FROM bank_accounts
                     WHERE id = $1 AND deleted_at IS NULL
                     FOR UPDATE",
                );
                let row = fetch_optional!(db, Row, lock, id.uuid())?;
                let Some(found) = row.map(BankAccount::from) else {
                    return Err(BankAccountError::NotFound.into());
                };
                if voucher == Voucher::User(found.user) {
                    return Err(BankAccountError::OwnAccount.into());
                }
                if let (Voucher::User(by), None) = (&voucher, found.verified_at) {
                    record(db, &vouched(&found, *by), now).await?;
                }
                let verified_at = found.verified_at.unwrap_or(now);
                execute!(
                    db,
                    "UPDATE bank_accounts SET verified_at = $2, verified_by = $3
                     WHERE id = $1 AND verified_at IS NULL",
                    id.uuid(),
                    now.millis(),
                    voucher.to_text(),
                )?;
                Ok(BankAccount { verified_at: Some(verified_at), ..found })
            })
        })
        .await
    }

    /// Removes a user's bank account, unless money is on its way there. What it was paid stays in the books; its number
    /// and its holder do not.
    ///
    /// # Errors
    /// [`BankAccountError::NotFound`], [`BankAccountError::InUse`], or the database does not answer.
    pub async fn delete_bank_account(
        &self,
        user: UserId,
        id: BankAccountId,
        now: Timestamp,
    ) -> Result<(), AccountChangeError> {
        self.write(move |db| {
            Box::pin(async move {
                // First, so that a withdrawal that begins meanwhile waits and does not find it.
                let deleted = execute!(
                    db,
                    "UPDATE bank_accounts SET deleted_at = $3
                     WHERE id = $1 AND user_id = $2 AND deleted_at IS NULL",
                    id.uuid(),
                    user.uuid(),
                    now.millis(),
                )?;
                if deleted == 0 {
                    return Err(BankAccountError::NotFound.into());
                }
                let (open,) = fetch_one!(
                    db,
                    (i64,),
                    "SELECT COUNT(*) FROM withdrawals
                     WHERE bank_account_id = $1
                       AND status IN ('requested', 'approved', 'sending', 'unknown')",
                    id.uuid(),
                )?;
                if open > 0 {
                    return Err(BankAccountError::InUse.into());
                }
                Ok(forget(db, id.uuid()).await?)
            })
        })
        .await
    }

    /// Where money is sent, removed or not: it may be on its way.
    ///
    /// # Errors
    /// [`StoreError::NotFound`], any other when the database does not answer.
    pub async fn get_sealed_account(&self, id: BankAccountId) -> Result<SealedAccount, StoreError> {
        let (bank_code, details) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (String, Vec<u8>),
                        "SELECT bank_code, details FROM bank_accounts WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(SealedAccount { bank_code, details })
    }

    /// The marks of the keys under which bank accounts are sealed, those of refunds that are on their way too.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_bank_account_seals(&self) -> Result<Vec<String>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT seal FROM bank_accounts WHERE deleted_at IS NULL
                         UNION
                         SELECT account_seal FROM refunds WHERE account_seal IS NOT NULL
                         ORDER BY 1"
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(mark,)| mark).collect())
    }
}

impl Store {
    /// Removes every bank account that is sealed under another key than this one, and gives how many: for when that key is
    /// lost, and no node serves. What is on its way to one goes nowhere, and its workflow says why.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn forget_lost_bank_accounts(
        &self,
        mark: String,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let removed = execute!(
                    db,
                    "DELETE FROM bank_accounts
                     WHERE seal <> $1 AND deleted_at IS NULL AND NOT EXISTS (
                         SELECT 1 FROM withdrawals w WHERE w.bank_account_id = bank_accounts.id
                     )",
                    mark.as_str(),
                )?;
                let nothing: &[u8] = &[];
                let emptied = execute!(
                    db,
                    "UPDATE bank_accounts SET deleted_at = $2, details = $3, last_digits = ''
                     WHERE seal <> $1 AND deleted_at IS NULL",
                    mark.as_str(),
                    now.millis(),
                    nothing,
                )?;
                // What is sealed stays, so that nobody takes such a refund for one that goes back the way it came.
                execute!(
                    db,
                    "UPDATE refunds SET account_seal = NULL WHERE account_seal <> $1",
                    mark.as_str(),
                )?;
                Ok(removed + emptied)
            })
        })
        .await
    }
}

/// Locks the bank accounts of a user: before their wallets, as whoever takes money out does.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_bank_accounts(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    list_ids(db, user).await.map(|_| ())
}

/// Takes a user's bank accounts away, removed ones and all, when they leave for good.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn forget_bank_accounts(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    for id in list_ids(db, user).await? {
        execute!(
            db,
            "UPDATE bank_accounts SET deleted_at = $2 WHERE id = $1 AND deleted_at IS NULL",
            id,
            now.millis(),
        )?;
        forget(db, id).await?;
    }
    Ok(())
}

async fn list_ids(db: &mut Db, user: UserId) -> Result<Vec<Uuid>, StoreError> {
    let select = db.dialect(
        "SELECT id FROM bank_accounts WHERE user_id = $1 ORDER BY id",
        "SELECT id FROM bank_accounts WHERE user_id = $1 ORDER BY id FOR UPDATE",
    );
    let rows = fetch_all!(db, (Uuid,), select, user.uuid())?;
    Ok(rows.into_iter().map(|(id,)| id).collect())
}

/// Leaves of a removed bank account what withdrawals point to: that there was one, and at which bank.
async fn forget(db: &mut Db, id: Uuid) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM bank_accounts
         WHERE id = $1 AND NOT EXISTS (SELECT 1 FROM withdrawals w WHERE w.bank_account_id = $1)",
        id,
    )?;
    let nothing: &[u8] = &[];
    execute!(
        db,
        "UPDATE bank_accounts SET details = $2, last_digits = '' WHERE id = $1",
        id,
        nothing,
    )
    .map(|_| ())
}

/// Keeps a bank account from being removed for as long as the transaction lasts; `false` where it was.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn keep_bank_account(db: &mut Db, id: BankAccountId) -> Result<bool, StoreError> {
    let select = db.dialect(
        "SELECT deleted_at FROM bank_accounts WHERE id = $1",
        "SELECT deleted_at FROM bank_accounts WHERE id = $1 FOR SHARE",
    );
    let found = fetch_optional!(db, (Option<i64>,), select, id.uuid())?;
    Ok(found.is_some_and(|(deleted_at,)| deleted_at.is_none()))
}

impl Voucher {
    fn to_text(&self) -> String {
        match self {
            Self::User(user) => format!("user:{user}"),
            Self::Service(name) => format!("service:{name}"),
        }
    }
}
