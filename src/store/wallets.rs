//! Wallets: what users have, read off the ledger, and whether they are kept from taking it out.
//!
//! Invariant: no sum is kept here. A row is only what withdrawals of one user wait for one another at.

use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::ledger::balances::find_counters;
use super::{Db, Store, StoreError, execute, fetch_one, fetch_optional, outbox};
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::ids::UserId;
use crate::domain::ledger::Counters;
use crate::domain::ledger::chart::AccountName;
use crate::domain::money::Currency;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;

/// Digits that tell one state of a wallet from another.
const VERSION_CHARS: usize = 16;

/// What a user has, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wallet {
    pub currency: Currency,
    /// What can be taken out.
    pub available: i64,
    /// Earned, and not yet to be taken out.
    pub pending: i64,
    /// On its way out.
    pub held: i64,
    /// What the user owes.
    pub debt: i64,
    pub is_frozen: bool,
    /// Another one whenever anything of it has changed.
    pub version: String,
}

/// A user's wallet, for as long as the transaction lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LockedWallet {
    pub frozen_at: Option<Timestamp>,
}

/// Locks a user's wallet: whoever takes money out of it at the same time waits.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn lock_wallet(
    db: &mut Db,
    user: UserId,
    currency: Currency,
    now: Timestamp,
) -> Result<LockedWallet, StoreError> {
    let (frozen_at,) = fetch_one!(
        db,
        (Option<i64>,),
        "INSERT INTO wallets (user_id, currency, updated_at)
         VALUES ($1, $2, $3)
         ON CONFLICT (user_id, currency) DO UPDATE SET updated_at = excluded.updated_at
         RETURNING frozen_at",
        user.uuid(),
        currency.as_str(),
        now.millis(),
    )?;
    Ok(LockedWallet { frozen_at: frozen_at.map(Timestamp::from_millis) })
}

/// Whether a user is kept from taking money out.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_frozen(db: &mut Db, user: UserId, currency: Currency) -> Result<bool, StoreError> {
    let found = fetch_optional!(
        db,
        (Option<i64>,),
        "SELECT frozen_at FROM wallets WHERE user_id = $1 AND currency = $2",
        user.uuid(),
        currency.as_str(),
    )?;
    Ok(found.is_some_and(|(frozen_at,)| frozen_at.is_some()))
}

impl Store {
    /// What a user has; nothing of anything where nothing was ever booked.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_wallet(
        &self,
        user: UserId,
        currency: Currency,
    ) -> Result<Wallet, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                let available =
                    find_counters(db, AccountName::UserAvailable(user), currency).await?;
                let pending = find_counters(db, AccountName::UserPending(user), currency).await?;
                let debt = find_counters(db, AccountName::UserDebt(user), currency).await?;
                let is_frozen = is_frozen(db, user, currency).await?;
                Ok(Wallet {
                    currency,
                    available: available.credit_available(),
                    pending: pending.credit_available(),
                    held: available.debits_pending,
                    debt: debt.debit_balance(),
                    is_frozen,
                    version: version(&[available, pending, debt], is_frozen),
                })
            })
        })
        .await
    }

    /// Keeps a user from taking money out; `WalletFrozen`. Says whether that is new.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn freeze_wallet(
        &self,
        user: UserId,
        currency: Currency,
        by: UserId,
        reason: Reason,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let frozen = execute!(
                    db,
                    "INSERT INTO wallets
                         (user_id, currency, frozen_at, frozen_reason, frozen_by, updated_at)
                     VALUES ($1, $2, $3, $4, $5, $3)
                     ON CONFLICT (user_id, currency) DO UPDATE
                     SET frozen_at = excluded.frozen_at, frozen_reason = excluded.frozen_reason,
                         frozen_by = excluded.frozen_by, updated_at = excluded.updated_at
                     WHERE wallets.frozen_at IS NULL",
                    user.uuid(),
                    currency.as_str(),
                    now.millis(),
                    reason.as_str(),
                    by.uuid(),
                )?;
                if frozen > 0 {
                    publish(db, "WalletFrozen", user, by, now).await?;
                }
                Ok(frozen > 0)
            })
        })
        .await
    }

    /// Lets a user take money out again; `WalletUnfrozen`. Says whether that is new.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn unfreeze_wallet(
        &self,
        user: UserId,
        currency: Currency,
        by: UserId,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let freed = execute!(
                    db,
                    "UPDATE wallets
                     SET frozen_at = NULL, frozen_reason = NULL, frozen_by = NULL, updated_at = $3
                     WHERE user_id = $1 AND currency = $2 AND frozen_at IS NOT NULL",
                    user.uuid(),
                    currency.as_str(),
                    now.millis(),
                )?;
                if freed > 0 {
                    publish(db, "WalletUnfrozen", user, by, now).await?;
                }
                Ok(freed > 0)
            })
        })
        .await
    }
}

/// Without the reason: it stays in the row.
async fn publish(
    db: &mut Db,
    name: &'static str,
    user: UserId,
    by: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name,
        subject: format!("wallet:{user}"),
        at: now,
        data: json!({ "user_id": user, "by": by }),
    };
    outbox::append(db, &event).await
}

fn version(accounts: &[Counters], is_frozen: bool) -> String {
    let said = format!("{accounts:?} {is_frozen}");
    let digits: String = Sha256::digest(said).iter().map(|byte| format!("{byte:02x}")).collect();
    digits.chars().take(VERSION_CHARS).collect()
}
