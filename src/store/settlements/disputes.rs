//! Disputes of what a payee has earned: what is disputed is not paid out. It is taken from what is pending and promised
//! to no day, then from the wallet; what is in neither is not there to be held.
//!
//! Invariant: a dispute's item stands from when it is opened; one that is won is answered by another item, and what one
//! that is lost finds by then has an item of its own.

use uuid::Uuid;

use super::items::{NewItem, find_item, find_left, insert_item};
use super::refunds::{Taken, sides, take_from_payee};
use crate::domain::ids::DisputeId;
use crate::domain::ledger::entry::Entry;
use crate::domain::money::Amount;
use crate::domain::payments::postings::Side;
use crate::domain::settlements::{ItemSource, Share, ShareError};
use crate::domain::time::Timestamp;
use crate::store::payments::Payment;
use crate::store::wallets::lock_wallet;
use crate::store::{Db, StoreError};

/// What is there to be held for a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withheld {
    /// How much of the dispute the payment has.
    pub covered: i64,
    pub sides: Vec<Side>,
    /// What of that the payee does not have.
    pub missing: i64,
}

/// What of a disputed payment, which is locked, can be held; `None` where nobody has earned it yet. Notes it for the
/// next batch.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn withhold(
    db: &mut Db,
    payment: &Payment,
    dispute: DisputeId,
    amount: Amount,
    now: Timestamp,
) -> Result<Option<Withheld>, StoreError> {
    if find_left(db, payment.id).await?.is_none() {
        return Ok(None);
    }
    if let Some(payee) = payment.payee {
        lock_wallet(db, payee, payment.currency, now).await?;
    }
    let Some((covered, back, taken)) = take(db, payment, dispute.uuid(), amount, now).await? else {
        return Ok(Some(Withheld { covered: 0, sides: Vec::new(), missing: 0 }));
    };
    let sides = sides(payment, back, Taken { owed: 0, ..taken });
    Ok(Some(Withheld { covered: covered.minor(), sides, missing: taken.owed }))
}

/// What of a dispute that is lost was not there when it was opened, and is there by now; what of that the payee does not
/// have is owed. `None` where nobody has earned it. The payment is locked, and its payee's wallet.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn take_late(
    db: &mut Db,
    payment: &Payment,
    dispute: DisputeId,
    amount: Amount,
    now: Timestamp,
) -> Result<Option<Withheld>, StoreError> {
    if find_left(db, payment.id).await?.is_none() {
        return Ok(None);
    }
    // The dispute's own id is that of what was taken when it was opened.
    let id = Entry::id_of(&format!("dispute_lost:{dispute}")).uuid();
    Ok(Some(match take(db, payment, id, amount, now).await? {
        Some((covered, back, taken)) => {
            let sides = sides(payment, back, taken);
            Withheld { covered: covered.minor(), sides, missing: 0 }
        }
        None => Withheld { covered: 0, sides: Vec::new(), missing: 0 },
    }))
}

/// Takes what is left of a payment up to an amount, and notes it for the next batch; `None` where nothing is.
async fn take(
    db: &mut Db,
    payment: &Payment,
    id: Uuid,
    amount: Amount,
    now: Timestamp,
) -> Result<Option<(Amount, Share, Taken)>, StoreError> {
    let left = find_left(db, payment.id).await?.unwrap_or_default();
    let Ok(covered) = Amount::new(amount.minor().min(left.gross)) else { return Ok(None) };
    let back = left.give_back(covered).map_err(|error| match error {
        ShareError::MoreThanLeft | ShareError::TooMuch => StoreError::NotFound,
    })?;
    let taken = take_from_payee(db, payment, back.net()).await?;
    let item = NewItem {
        source: ItemSource::Dispute,
        id,
        payment: payment.id,
        payee: payment.payee,
        currency: payment.currency,
        share: back.negated(),
        elsewhere: taken.elsewhere(),
    };
    if !insert_item(db, &item, now).await? {
        return Err(StoreError::Constraint("settlement_items_pkey".to_owned()));
    }
    Ok(Some((covered, back, taken)))
}

/// Answers the item of a dispute that was won. The payment is locked, and its payee's wallet.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn give_again(
    db: &mut Db,
    payment: &Payment,
    dispute: DisputeId,
    now: Timestamp,
) -> Result<(), StoreError> {
    let found = find_item(db, ItemSource::Dispute, dispute.uuid()).await?;
    let Some((share, elsewhere)) = found else { return Ok(()) };
    let item = NewItem {
        source: ItemSource::DisputeWon,
        id: dispute.uuid(),
        payment: payment.id,
        payee: payment.payee,
        currency: payment.currency,
        share: share.negated(),
        elsewhere: elsewhere.saturating_neg(),
    };
    insert_item(db, &item, now).await.map(|_| ())
}
