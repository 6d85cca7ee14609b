//! Refunds as rows: money that goes back, reserved and held before anybody is asked for it.
//!
//! Invariant: what a refund takes is reserved in its payment and held in the ledger from when it is requested until it
//! has succeeded or failed, and counted once. The payment is locked first.

use serde_json::{from_str, json};
use uuid::Uuid;

use super::transitions::{By, tell, transition};
use super::{ChangeError, Payment, update};
use crate::domain::ids::{PaymentId, RefundId};
use crate::domain::ledger::entry::Entry;
use crate::domain::money::Amount;
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::postings::Side;
use crate::domain::payments::refunds::RefundStatus;
use crate::domain::time::Timestamp;
use crate::store::disputes::arrivals::book_arrival;
use crate::store::ledger::{BookError, book};
use crate::store::settlements::refunds::{give_again, is_taken_back, take_back};
use crate::store::wallets::lock_wallet;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

/// A refund as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub id: RefundId,
    pub payment: PaymentId,
    pub amount: Amount,
    pub reason: String,
    pub status: RefundStatus,
    /// What the ledger holds for it, side by side.
    pub held: Vec<Amount>,
    pub failure_code: Option<String>,
    /// Who asked for it.
    pub actor: String,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// A refund to be made.
#[derive(Debug, Clone)]
pub struct NewRefund {
    pub id: RefundId,
    pub amount: Amount,
    pub reason: String,
    pub actor: String,
    /// Where it goes, where it came by a transfer.
    pub sealed_account: Option<SealedRefundAccount>,
}

/// The account of a payer, sealed for one refund, and the mark of the key.
#[derive(Debug, Clone)]
pub struct SealedRefundAccount {
    pub details: Vec<u8>,
    pub seal: String,
}

#[derive(sqlx::FromRow)]
struct RefundRow {
    id: Uuid,
    payment_id: Uuid,
    amount: i64,
    reason: String,
    status: String,
    held: String,
    failure_code: Option<String>,
    actor: String,
    created_at: i64,
    updated_at: i64,
}

impl RefundRow {
    fn into_refund(self) -> Result<Refund, StoreError> {
        Ok(Refund {
            id: self.id.into(),
            payment: self.payment_id.into(),
            amount: Amount::new(self.amount).map_err(|_| StoreError::NotFound)?,
            reason: self.reason,
            status: RefundStatus::parse(&self.status).ok_or(StoreError::NotFound)?,
            held: from_str(&self.held).map_err(|_| StoreError::NotFound)?,
            failure_code: self.failure_code,
            actor: self.actor,
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// Whose money a refund takes, in which parts: as long as nobody has earned it, that is what is held for the payment.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn postings(
    db: &mut Db,
    payment: &Payment,
    refund: RefundId,
    amount: Amount,
    now: Timestamp,
) -> Result<Vec<Side>, StoreError> {
    let taken_back = take_back(db, payment, refund, amount, now).await?;
    Ok(taken_back.unwrap_or_else(|| vec![Side { debit: payment.place().escrow(), amount }]))
}

/// Reserves a refund of a payment that is locked, and holds what it takes. How much that may be is for
/// [`crate::domain::payments::refunds::refund_of`] to say, and for a check of the table.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn request(
    db: &mut Db,
    payment: &mut Payment,
    new: NewRefund,
    now: Timestamp,
) -> Result<Refund, ChangeError> {
    let sides = postings(db, payment, new.id, new.amount, now).await?;
    payment.sums.reserved = payment.sums.reserved.saturating_add(new.amount.minor());
    update(db, payment, now).await?;
    let refund = Refund {
        id: new.id,
        payment: payment.id,
        amount: new.amount,
        reason: new.reason,
        status: RefundStatus::Requested,
        held: sides.iter().map(|side| side.amount).collect(),
        failure_code: None,
        actor: new.actor,
        created_at: now,
        updated_at: now,
    };
    insert(db, &refund, new.sealed_account.as_ref()).await?;
    book(db, &payment.place().refund_hold(refund.id, &sides), now).await?;
    Ok(refund)
}

/// A refund; the payment's lock is the refund's.
///
/// # Errors
/// [`StoreError::NotFound`] where there is none.
pub async fn get_refund(db: &mut Db, id: RefundId) -> Result<Refund, StoreError> {
    let row = fetch_optional!(
        db,
        RefundRow,
        "SELECT id, payment_id, amount, reason, status, held, failure_code, actor, created_at,
                updated_at
         FROM refunds
         WHERE id = $1",
        id.uuid(),
    )?;
    row.ok_or(StoreError::NotFound)?.into_refund()
}

/// How many refunds a payment has that have not failed.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn count_refunds(db: &mut Db, payment: PaymentId) -> Result<i64, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM refunds WHERE payment_id = $1 AND status <> 'failed'",
        payment.uuid(),
    )?;
    Ok(count)
}

/// Writes where a refund is. At its end nobody needs to know any more where it went.
///
/// # Errors
/// [`ChangeError::Refund`] where that does not follow.
pub async fn update_status(
    db: &mut Db,
    refund: &mut Refund,
    to: RefundStatus,
    now: Timestamp,
) -> Result<(), ChangeError> {
    if refund.status == to {
        return Ok(());
    }
    if !refund.status.leads_to(to) {
        return Err(ChangeError::Refund { from: refund.status, to });
    }
    refund.status = to;
    execute!(
        db,
        "UPDATE refunds
         SET status = $2, failure_code = $3, updated_at = $4,
             sealed_account = CASE WHEN $5 = 1 THEN NULL ELSE sealed_account END,
             account_seal = CASE WHEN $5 = 1 THEN NULL ELSE account_seal END
         WHERE id = $1",
        refund.id.uuid(),
        to.as_str(),
        refund.failure_code.as_deref(),
        now.millis(),
        i64::from(matches!(to, RefundStatus::Succeeded | RefundStatus::Failed)),
    )?;
    Ok(())
}

/// Counts a refund that was made: `PaymentRefunded`. A payment that is disputed meanwhile, or charged back, stays so.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn succeed(
    db: &mut Db,
    payment: &mut Payment,
    refund: &mut Refund,
    provider_key: &str,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), ChangeError> {
    if let Some(payee) = payment.payee
        && is_taken_back(db, refund.id).await?
    {
        // Before anybody's inbox, as whoever books a dispute does.
        lock_wallet(db, payee, payment.currency, now).await?;
    }
    update_status(db, refund, RefundStatus::Succeeded, now).await?;
    execute!(
        db,
        "UPDATE refunds SET provider_key = $2 WHERE id = $1",
        refund.id.uuid(),
        provider_key,
    )?;
    let amount = refund.amount.minor();
    payment.sums.reserved = payment.sums.reserved.saturating_sub(amount);
    payment.sums.refunded = payment.sums.refunded.saturating_add(amount);
    let said = json!({ "refund_id": refund.id, "refund_amount": refund.amount });
    let by = by.clone().saying(said);
    if matches!(payment.status, PaymentStatus::Disputed | PaymentStatus::ChargedBack) {
        update(db, payment, now).await?;
        tell(db, payment, "PaymentRefunded", &by, now).await?;
    } else {
        let to = payment.sums.after_refund();
        transition(db, payment, to, &by, now).await?;
    }
    resolve(db, payment, refund, &payment.place().refund(refund.id, &refund.held), now).await?;
    Ok(())
}

/// Frees what a refund had reserved that never will be made.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn fail(
    db: &mut Db,
    payment: &mut Payment,
    refund: &mut Refund,
    code: &str,
    now: Timestamp,
) -> Result<(), ChangeError> {
    refund.failure_code = Some(code.to_owned());
    update_status(db, refund, RefundStatus::Failed, now).await?;
    payment.sums.reserved = payment.sums.reserved.saturating_sub(refund.amount.minor());
    update(db, payment, now).await?;
    give_again(db, payment, refund.id, now).await?;
    let entry = payment.place().refund_void(refund.id, &refund.held);
    resolve(db, payment, refund, &entry, now).await?;
    Ok(())
}

/// Books what became of a refund. A payee who had earned what it takes may have some of it again, or owe it now.
async fn resolve(
    db: &mut Db,
    payment: &Payment,
    refund: &Refund,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), BookError> {
    match payment.payee {
        Some(payee) if is_taken_back(db, refund.id).await? => {
            book_arrival(db, payee, entry, now).await
        }
        _ => book(db, entry, now).await.map(|_| ()),
    }
}

async fn insert(
    db: &mut Db,
    refund: &Refund,
    account: Option<&SealedRefundAccount>,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO refunds
             (id, payment_id, amount, reason, status, held, actor, sealed_account, account_seal,
              created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)",
        refund.id.uuid(),
        refund.payment.uuid(),
        refund.amount.minor(),
        refund.reason.as_str(),
        refund.status.as_str(),
        json!(refund.held).to_string(),
        refund.actor.as_str(),
        account.map(|it| it.details.as_slice()),
        account.map(|it| it.seal.as_str()),
        refund.created_at.millis(),
    )
    .map(|_| ())
}

impl Store {
    /// Where a refund goes that is not at its end, sealed for it; `None` where that is not ours to say.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_sealed_refund_account(
        &self,
        id: RefundId,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let (sealed,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (Option<Vec<u8>>,),
                        "SELECT sealed_account FROM refunds WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(sealed)
    }

    /// The refunds of a payment, the first first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_refunds(&self, payment: PaymentId) -> Result<Vec<Refund>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        RefundRow,
                        "SELECT id, payment_id, amount, reason, status, held, failure_code, actor,
                                created_at, updated_at
                         FROM refunds
                         WHERE payment_id = $1
                         ORDER BY created_at, id",
                        payment.uuid(),
                    )
                })
            })
            .await?;
        rows.into_iter().map(RefundRow::into_refund).collect()
    }
}
