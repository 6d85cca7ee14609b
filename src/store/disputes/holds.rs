//! What is done about a dispute: its money is held, freed again, or goes back. Each is one transaction of its workflow.
//!
//! Locks are taken in the order payment, wallet, dispute, ledger. Invariant: nothing is held that is not there, and
//! what is missing is held as soon as it comes; what a bank has taken is in the books as a whole, and we bear only what
//! the payment does not have by then.

use serde_json::json;

use super::arrivals::book_arrival;
use super::{Dispute, has_open_dispute, lock_dispute, update};
use crate::domain::ledger::chart::AccountName;
use crate::domain::money::Amount;
use crate::domain::payments::disputes::{Ground, after_winning, ground_of};
use crate::domain::payments::postings::Side;
use crate::domain::payments::{Cause, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::store::ledger::book;
use crate::store::payments::transitions::{By, tell, transition};
use crate::store::payments::{ChangeError, Payment, get_locked, update_sums};
use crate::store::settlements::disputes::{Withheld, give_again, take_late, withhold};
use crate::store::wallets::lock_wallet;
use crate::store::{Db, StoreError, fetch_one};

const ACTOR: &str = "disputes";

/// What opening a dispute came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opened {
    /// It is not known yet that the payment was taken.
    NotYet,
    Yes,
    /// It is of another currency than its payment: nobody can say how much that is.
    OtherCurrency,
}

/// Holds what a dispute wants, as far as it is there: `PaymentDisputed`.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn open(db: &mut Db, dispute: &Dispute, now: Timestamp) -> Result<Opened, ChangeError> {
    let mut payment = get_locked(db, dispute.payment).await?;
    if dispute.currency != payment.currency {
        return Ok(Opened::OtherCurrency);
    }
    let by = said(dispute);
    let withheld = match ground_of(payment.status) {
        Ground::NotYet => return Ok(Opened::NotYet),
        Ground::Over => {
            tracing::warn!(payment.id = %payment.id, "a payment that is over is disputed");
            let more = json!({ "break": "dispute", "found_amount": dispute.amount });
            let by = By::new(Cause::Provider, ACTOR).saying(more);
            tell(db, &payment, "ReconciliationBreakFound", &by, now).await?;
            Withheld { covered: 0, sides: Vec::new(), missing: 0 }
        }
        Ground::Taken => {
            let withheld = match withhold(db, &payment, dispute.id, dispute.amount, now).await? {
                Some(withheld) => withheld,
                None => of_escrow(db, &payment, dispute.amount).await?,
            };
            if payment.status == PaymentStatus::Disputed {
                tell(db, &payment, "PaymentDisputed", &by, now).await?;
            } else {
                transition(db, &mut payment, PaymentStatus::Disputed, &by, now).await?;
            }
            withheld
        }
    };
    let mut dispute = lock_dispute(db, dispute.provider, &dispute.provider_key).await?;
    (dispute.covered, dispute.missing) = (withheld.covered, withheld.missing);
    dispute.opened_at = Some(now);
    let amounts: Vec<Amount> = withheld.sides.iter().map(|side| side.amount).collect();
    if !amounts.is_empty() {
        dispute.held = vec![amounts];
    }
    update(db, &dispute, now).await?;
    if !withheld.sides.is_empty() {
        book(db, &payment.place().dispute_hold(dispute.id, 0, &withheld.sides), now).await?;
    }
    Ok(Opened::Yes)
}

/// Frees what was held for a dispute that was won or given up: `PaymentDisputeWon`. What is free again is held for others
/// that are short.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn free(db: &mut Db, dispute: &Dispute, now: Timestamp) -> Result<(), ChangeError> {
    let (mut payment, dispute) = close(db, dispute, now).await?;
    give_again(db, &payment, dispute.id, now).await?;
    if payment.status == PaymentStatus::Disputed && !has_open_dispute(db, payment.id).await? {
        for to in after_winning(payment.sums) {
            transition(db, &mut payment, to, &said(&dispute), now).await?;
        }
    }
    if let Some(entry) = payment.place().dispute_won(dispute.id, &dispute.held) {
        match payment.payee {
            Some(payee) => book_arrival(db, payee, &entry, now).await?,
            None => book(db, &entry, now).await.map(|_| ())?,
        }
    }
    Ok(())
}

/// Whether a refund that nobody knows the end of may have taken what a dispute did not find.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn waits_for_refund(db: &mut Db, dispute: &Dispute) -> Result<bool, StoreError> {
    let payment = get_locked(db, dispute.payment).await?;
    Ok(dispute.covered < dispute.amount.minor() && payment.sums.reserved > 0)
}

/// Books what a bank has taken: `PaymentChargedBack`. What is held goes; the payee owes what they did not have, and we
/// bear what the payment has not come to.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn give(db: &mut Db, dispute: &Dispute, now: Timestamp) -> Result<(), ChangeError> {
    let (mut payment, mut dispute) = close(db, dispute, now).await?;
    payment.sums.refunded = payment.sums.refunded.saturating_add(dispute.covered);
    let late = what_is_there_now(db, &mut payment, &mut dispute, now).await?;
    match payment.status {
        PaymentStatus::Disputed => {
            transition(db, &mut payment, PaymentStatus::ChargedBack, &said(&dispute), now).await?;
        }
        _ => update_sums(db, &mut payment, now).await?,
    }
    let others: Vec<Side> = late.into_iter().chain(bearers(&dispute)).collect();
    let entry = payment.place().dispute_lost(dispute.id, &dispute.held, &others);
    book(db, &entry, now).await?;
    Ok(())
}

/// Locks everything that has to do with a dispute that is over, and notes that it is.
async fn close(
    db: &mut Db,
    dispute: &Dispute,
    now: Timestamp,
) -> Result<(Payment, Dispute), StoreError> {
    let payment = get_locked(db, dispute.payment).await?;
    if let Some(payee) = payment.payee {
        lock_wallet(db, payee, payment.currency, now).await?;
    }
    // Only now: what is held may have changed until the wallet was locked.
    let mut dispute = lock_dispute(db, dispute.provider, &dispute.provider_key).await?;
    dispute.closed_at = Some(now);
    update(db, &dispute, now).await?;
    Ok((payment, dispute))
}

fn said(dispute: &Dispute) -> By<'static> {
    By::new(Cause::Provider, ACTOR).saying(json!({
        "dispute_id": dispute.id,
        "dispute_amount": dispute.amount,
        "dispute_due_at": dispute.due_at,
    }))
}

/// Nobody has earned it yet: it is held where it is, as far as nobody else wants it back.
async fn of_escrow(db: &mut Db, payment: &Payment, amount: Amount) -> Result<Withheld, StoreError> {
    let (wanted,) = fetch_one!(
        db,
        (i64,),
        "SELECT CAST(COALESCE(SUM(covered), 0) AS BIGINT) FROM disputes
         WHERE payment_id = $1 AND opened_at IS NOT NULL AND closed_at IS NULL",
        payment.id.uuid(),
    )?;
    let left = payment.sums.refundable().saturating_sub(wanted).max(0);
    let covered = Amount::new(amount.minor().min(left)).ok();
    let debit = payment.place().escrow();
    let sides = covered.map(|amount| Side { debit, amount }).into_iter().collect();
    Ok(Withheld { covered: covered.map_or(0, Amount::minor), sides, missing: 0 })
}

/// What somebody else wanted, such as a refund that was not made, is there by now: in escrow, or with its payee.
async fn what_is_there_now(
    db: &mut Db,
    payment: &mut Payment,
    dispute: &mut Dispute,
    now: Timestamp,
) -> Result<Vec<Side>, StoreError> {
    let rest = Amount::new(dispute.amount.minor().saturating_sub(dispute.covered));
    let Ok(rest) = rest else { return Ok(Vec::new()) };
    let more = match take_late(db, payment, dispute.id, rest, now).await? {
        Some(more) => more,
        None => of_escrow(db, payment, rest).await?,
    };
    payment.sums.refunded = payment.sums.refunded.saturating_add(more.covered);
    dispute.covered = dispute.covered.saturating_add(more.covered);
    update(db, dispute, now).await?;
    Ok(more.sides)
}

/// Who bears what is not held: the payee what was theirs, and we the rest.
fn bearers(dispute: &Dispute) -> Vec<Side> {
    let owed = dispute.payee.map(|payee| (AccountName::UserDebt(payee), dispute.missing));
    let rest = dispute.amount.minor().saturating_sub(dispute.covered);
    let side = |(debit, minor): (AccountName, i64)| {
        Amount::new(minor).ok().map(|amount| Side { debit, amount })
    };
    owed.into_iter().chain([(AccountName::Chargeback, rest)]).filter_map(side).collect()
}
