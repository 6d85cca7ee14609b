//! Refunds of what a payee has earned: whose money goes back. The payee's part comes from what is pending and promised
//! to no day, then from the wallet, and what is in neither is owed; the others give back their shares.
//!
//! Invariant: a refund's item stands from when it is requested; one that comes to nothing is answered by another item.

use super::items::{NewItem, find_free, find_item, find_left, insert_item};
use crate::domain::ids::{RefundId, UserId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::money::Amount;
use crate::domain::payments::postings::Side;
use crate::domain::settlements::{ItemSource, Share};
use crate::domain::time::Timestamp;
use crate::store::ledger::balances::find_counters;
use crate::store::payments::Payment;
use crate::store::wallets::lock_wallet;
use crate::store::{Db, StoreError};

/// Whose money a refund of a locked payment takes; `None` where nobody has earned it yet. Notes it for the next batch.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn take_back(
    db: &mut Db,
    payment: &Payment,
    refund: RefundId,
    amount: Amount,
    now: Timestamp,
) -> Result<Option<Vec<Side>>, StoreError> {
    let Some(left) = find_left(db, payment.id).await? else { return Ok(None) };
    if let Some(payee) = payment.payee {
        lock_wallet(db, payee, payment.currency, now).await?;
    }
    let back = left.give_back(amount).map_err(|_| StoreError::NotFound)?;
    let taken = take_from_payee(db, payment, back.net()).await?;
    let item = NewItem {
        source: ItemSource::Refund,
        id: refund.uuid(),
        payment: payment.id,
        payee: payment.payee,
        currency: payment.currency,
        share: back.negated(),
        elsewhere: taken.elsewhere(),
    };
    insert_item(db, &item, now).await?;
    Ok(Some(sides(payment, back, taken)))
}

/// Whether a refund takes from what a payee has earned.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_taken_back(db: &mut Db, refund: RefundId) -> Result<bool, StoreError> {
    Ok(find_item(db, ItemSource::Refund, refund.uuid()).await?.is_some())
}

/// Answers the item of a refund that was not made. The payment is locked.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn give_again(
    db: &mut Db,
    payment: &Payment,
    refund: RefundId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let Some((share, elsewhere)) = find_item(db, ItemSource::Refund, refund.uuid()).await? else {
        return Ok(());
    };
    if let Some(payee) = payment.payee {
        lock_wallet(db, payee, payment.currency, now).await?;
    }
    let item = NewItem {
        source: ItemSource::FailedRefund,
        id: refund.uuid(),
        payment: payment.id,
        payee: payment.payee,
        currency: payment.currency,
        share: share.negated(),
        elsewhere: elsewhere.saturating_neg(),
    };
    insert_item(db, &item, now).await.map(|_| ())
}

/// What a payee gives back, by where it is taken from.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Taken {
    pub(super) pending: i64,
    pub(super) available: i64,
    /// What is in neither.
    pub(super) owed: i64,
}

impl Taken {
    pub(super) const fn elsewhere(self) -> i64 {
        self.available.saturating_add(self.owed)
    }
}

/// How much of `net` a payee has, and where. Their wallet is locked.
pub(super) async fn take_from_payee(
    db: &mut Db,
    payment: &Payment,
    net: i64,
) -> Result<Taken, StoreError> {
    let (Some(payee), currency) = (payment.payee, payment.currency) else {
        return Ok(Taken::default());
    };
    let booked = find_counters(db, AccountName::UserPending(payee), currency).await?;
    let free = find_free(db, payee, currency).await?.min(booked.credit_available());
    let pending = net.min(free).max(0);
    let wallet = find_counters(db, AccountName::UserAvailable(payee), currency).await?;
    let rest = net.saturating_sub(pending);
    let available = rest.min(wallet.credit_available()).max(0);
    Ok(Taken { pending, available, owed: rest.saturating_sub(available) })
}

/// The same with the shares of the others, as what a refund takes.
pub(super) fn sides(payment: &Payment, back: Share, taken: Taken) -> Vec<Side> {
    let from_payee = |payee: UserId| {
        [
            (AccountName::UserPending(payee), taken.pending),
            (AccountName::UserAvailable(payee), taken.available),
            (AccountName::UserDebt(payee), taken.owed),
        ]
    };
    let from_others = [
        (AccountName::FeeIncome(payment.shard), back.fee),
        (AccountName::VatPayable, back.fee_vat),
        (AccountName::WithholdingPayable, back.withholding),
    ];
    let all = payment.payee.into_iter().flat_map(from_payee).chain(from_others);
    let side = |(debit, minor): (AccountName, i64)| {
        Amount::new(minor).ok().map(|amount| Side { debit, amount })
    };
    all.filter_map(side).collect()
}
