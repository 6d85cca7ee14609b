//! Wallets: what users have, read off the ledger, and whether they are kept from taking it out.
//!
//! Invariant: no sum is kept here. A row is only what withdrawals of one user wait for one another at.

use serde_json::json;
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::audit::{Deed, record};
use super::ledger::balances::find_counters;
use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, outbox};
use crate::clock;
use crate::domain::audit::{Action, Target};
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

/// One of a wallet's accounts, and whether the wallet is frozen.
#[derive(sqlx::FromRow)]
struct AccountRow {
    id: Uuid,
    frozen_at: Option<i64>,
    debits_pending: i64,
    debits_posted: i64,
    credits_pending: i64,
    credits_posted: i64,
}

impl AccountRow {
    const fn counters(&self) -> Counters {
        Counters {
            debits_pending: self.debits_pending,
            debits_posted: self.debits_posted,
            credits_pending: self.credits_pending,
            credits_posted: self.credits_posted,
        }
    }
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

/// What a user whose wallet is locked may take out: what is in it, without what they owe. Below 0 where they owe more.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_spendable(
    db: &mut Db,
    user: UserId,
    currency: Currency,
) -> Result<i64, StoreError> {
    let available = find_counters(db, AccountName::UserAvailable(user), currency).await?;
    let debt = find_counters(db, AccountName::UserDebt(user), currency).await?;
    let owed = debt.debit_balance().saturating_add(debt.debits_pending);
    Ok(available.credit_available().saturating_sub(owed))
}

/// Whether a user has no money here, none on its way to them, not even begun to be paid, and no debt, in any currency. Their
/// wallets stay locked.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_wallet_empty(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let rows = fetch_all!(
        db,
        (String,),
        "SELECT DISTINCT currency FROM ledger_accounts WHERE owner_id = $1 ORDER BY currency",
        user.uuid(),
    )?;
    for (currency,) in rows {
        // A later release has written what this one does not know: nobody can say that it is nothing.
        let Ok(currency) = currency.parse() else { return Ok(false) };
        lock_wallet(db, user, currency, now).await?;
    }
    let (open,) = fetch_one!(
        db,
        (i64,),
        "SELECT (SELECT COUNT(*) FROM ledger_accounts
                 WHERE owner_id = $1
                   AND (debits_pending > 0 OR credits_pending > 0
                        OR debits_posted <> credits_posted))
              + (SELECT COUNT(*) FROM payments
                 WHERE payee_id = $1 AND released_at IS NULL
                   AND status IN ('captured', 'partially_refunded', 'disputed', 'charged_back')
                   AND captured > refunded)
              + (SELECT COUNT(*) FROM payments
                 WHERE payee_id = $1
                   AND status IN ('created', 'awaiting_deposit', 'confirming', 'unknown',
                                  'authorized', 'conflicted'))",
        user.uuid(),
    )?;
    Ok(open == 0)
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
        let names = [
            AccountName::UserAvailable(user),
            AccountName::UserPending(user),
            AccountName::UserDebt(user),
        ];
        let [available, pending, debt] = names.map(|name| name.id(currency).uuid());
        // One statement: what comes out of one account and into another is seen in one of them.
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        AccountRow,
                        "SELECT n.id, w.frozen_at,
                                COALESCE(a.debits_pending, 0) AS debits_pending,
                                COALESCE(a.debits_posted, 0) AS debits_posted,
                                COALESCE(a.credits_pending, 0) AS credits_pending,
                                COALESCE(a.credits_posted, 0) AS credits_posted
                         FROM (SELECT $1 AS id UNION ALL SELECT $2 UNION ALL SELECT $3) n
                         LEFT JOIN ledger_accounts a ON a.id = n.id
                         LEFT JOIN wallets w ON w.user_id = $4 AND w.currency = $5",
                        available,
                        pending,
                        debt,
                        user.uuid(),
                        currency.as_str(),
                    )
                })
            })
            .await?;
        let of = |id: Uuid| {
            rows.iter().find(|row| row.id == id).map(AccountRow::counters).unwrap_or_default()
        };
        let (available, pending, debt) = (of(available), of(pending), of(debt));
        let is_frozen = rows.iter().any(|row| row.frozen_at.is_some());
        Ok(Wallet {
            currency,
            available: available.credit_available(),
            pending: pending.credit_available(),
            held: available.debits_pending,
            debt: debt.debit_balance(),
            is_frozen,
            version: version(&[available, pending, debt], is_frozen),
        })
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
                    let action = Action::WalletFrozen;
                    record(db, &deed(user, by, action, &reason), now).await?;
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
        reason: Reason,
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
                    let action = Action::WalletUnfrozen;
                    record(db, &deed(user, by, action, &reason), now).await?;
                }
                Ok(freed > 0)
            })
        })
        .await
    }
}

/// What is written down of freezing a wallet, or of letting it go.
fn deed(user: UserId, by: UserId, action: Action, reason: &Reason) -> Deed<'_> {
    let is_frozen = matches!(action, Action::WalletFrozen);
    let (before, after) = (json!({ "is_frozen": !is_frozen }), json!({ "is_frozen": is_frozen }));
    Deed { by, action, target: Target::Wallet(user), reason: Some(reason), before, after }
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
