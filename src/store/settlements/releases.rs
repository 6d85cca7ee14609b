//! Releases: what was paid for an order is its payee's now, without what is kept of it. One entry, once a payment.
//!
//! Locks are taken in the order order, payment, wallet, ledger.

use serde_json::json;
use uuid::Uuid;

use super::items::{NewItem, find_item, insert_item};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line};
use crate::domain::money::Amount;
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::orders::OrderKey;
use crate::domain::settlements::{ItemSource, Share, ShareError, Terms};
use crate::domain::time::Timestamp;
use crate::store::audit::{Deed, record};
use crate::store::disputes::has_open_dispute;
use crate::store::ledger::{BookError, book};
use crate::store::orders::{Order, lock_order};
use crate::store::payments::{Payment, get_locked};
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_optional};

/// What a payee has earned by an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Released {
    pub payment: PaymentId,
    pub share: Share,
    /// Whether it was done by now.
    pub was_before: bool,
}

/// An order that nobody has released, and when it was paid for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreleased {
    pub paid_at: Timestamp,
    pub order: OrderKey,
}

/// Why nothing is released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    #[error("There is no such order.")]
    NotFound,
    /// Neither captured nor refunded in part, nor is anything left of it.
    #[error("The order is not paid for, or its payment is disputed.")]
    NotPaid,
    #[error("A refund of it is on its way.")]
    RefundUnderWay,
    #[error("Nobody decides about what is their own.")]
    OwnDecision,
    #[error(transparent)]
    Share(#[from] ShareError),
    #[error(transparent)]
    Book(#[from] BookError),
}

impl From<StoreError> for ReleaseError {
    fn from(error: StoreError) -> Self {
        Self::Book(BookError::Store(error))
    }
}

/// Whether what was paid is somebody's by now.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_released(db: &mut Db, payment: PaymentId) -> Result<bool, StoreError> {
    Ok(find_item(db, ItemSource::Payment, payment.uuid()).await?.is_some())
}

impl Store {
    /// Releases what was paid for an order and not refunded. A second time it says what the first has done.
    ///
    /// # Errors
    /// [`ReleaseError`], with nothing done.
    pub async fn release_order(
        &self,
        key: OrderKey,
        withholding_bps: u16,
        actor: String,
        now: Timestamp,
    ) -> Result<Released, ReleaseError> {
        self.write(move |db| {
            Box::pin(async move { release(db, &key, withholding_bps, (&actor, None), now).await })
        })
        .await
    }

    /// As [`Self::release_order`], because an administrator says so: it is in the audit.
    ///
    /// # Errors
    /// [`ReleaseError::OwnDecision`] where they pay for it or earn by it; as [`Self::release_order`].
    pub async fn release_order_by_hand(
        &self,
        key: OrderKey,
        withholding_bps: u16,
        by: UserId,
        now: Timestamp,
    ) -> Result<Released, ReleaseError> {
        self.write(move |db| {
            Box::pin(async move {
                let actor = format!("user:{by}");
                release(db, &key, withholding_bps, (&actor, Some(by)), now).await
            })
        })
        .await
    }

    /// Orders after `after` that were paid for before `paid_before` and that nobody has released, disputed or refunded as
    /// a whole; at most `limit`, those that wait longest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_unreleased_orders(
        &self,
        paid_before: Timestamp,
        after: Option<Unreleased>,
        limit: i64,
    ) -> Result<Vec<Unreleased>, StoreError> {
        let after = after.map(|it| {
            let (kind, id) = (it.order.order_type().to_owned(), it.order.order_id().to_owned());
            (it.paid_at.millis(), kind, id)
        });
        let (after_at, after_type, after_id) = after.unwrap_or_default();
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // By itself, SQLite goes through all payments there ever were.
                    let select = db.dialect(
                        "SELECT MAX(t.at), p.order_type, p.order_id
                         FROM payments p INDEXED BY payments_unreleased_idx
                         JOIN payment_transitions t
                              ON t.payment_id = p.id AND t.to_status = 'captured'
                         WHERE p.released_at IS NULL
                           AND p.status IN ('captured', 'partially_refunded', 'disputed', 'charged_back')
                           AND p.status <> 'disputed' AND p.captured > p.refunded
                           AND NOT EXISTS (SELECT 1 FROM disputes d
                                           WHERE d.payment_id = p.id
                                             AND d.opened_at IS NOT NULL
                                             AND d.closed_at IS NULL)
                           AND p.refund_reserved = 0
                         GROUP BY p.order_type, p.order_id
                         HAVING MAX(t.at) <= $1
                            AND (MAX(t.at), p.order_type, p.order_id) > ($2, $3, $4)
                         ORDER BY MAX(t.at), p.order_type, p.order_id
                         LIMIT $5",
                        "SELECT MAX(t.at), p.order_type, p.order_id
                         FROM payments p
                         JOIN payment_transitions t
                              ON t.payment_id = p.id AND t.to_status = 'captured'
                         WHERE p.released_at IS NULL
                           AND p.status IN ('captured', 'partially_refunded', 'disputed', 'charged_back')
                           AND p.status <> 'disputed' AND p.captured > p.refunded
                           AND NOT EXISTS (SELECT 1 FROM disputes d
                                           WHERE d.payment_id = p.id
                                             AND d.opened_at IS NOT NULL
                                             AND d.closed_at IS NULL)
                           AND p.refund_reserved = 0
                         GROUP BY p.order_type, p.order_id
                         HAVING MAX(t.at) <= $1
                            AND (MAX(t.at), p.order_type, p.order_id) > ($2, $3, $4)
                         ORDER BY MAX(t.at), p.order_type, p.order_id
                         LIMIT $5",
                    );
                    fetch_all!(
                        db,
                        (i64, String, String),
                        select,
                        paid_before.millis(),
                        after_at,
                        after_type,
                        after_id,
                        limit,
                    )
                })
            })
            .await?;
        let unreleased = |(at, kind, id): &(i64, String, String)| {
            let order = OrderKey::parse(kind, id).ok()?;
            Some(Unreleased { paid_at: Timestamp::from_millis(*at), order })
        };
        Ok(rows.iter().filter_map(unreleased).collect())
    }
}

async fn release(
    db: &mut Db,
    key: &OrderKey,
    withholding_bps: u16,
    (actor, admin): (&str, Option<UserId>),
    now: Timestamp,
) -> Result<Released, ReleaseError> {
    let order = lock_order(db, key).await?.ok_or(ReleaseError::NotFound)?;
    let id = find_paid(db, key).await?.ok_or(ReleaseError::NotPaid)?;
    let payment = get_locked(db, id).await?;
    if admin.is_some_and(|by| payment.is_of(by)) {
        return Err(ReleaseError::OwnDecision);
    }
    if let Some((share, _)) = find_item(db, ItemSource::Payment, id.uuid()).await? {
        // An older release, in the middle of a change, does not note it.
        let note = "UPDATE payments SET released_at = $2 WHERE id = $1 AND released_at IS NULL";
        execute!(db, note, id.uuid(), now.millis())?;
        return Ok(Released { payment: id, share, was_before: true });
    }
    // Of what was charged back, what the bank has left.
    let is_taken = matches!(
        payment.status,
        PaymentStatus::Captured | PaymentStatus::PartiallyRefunded | PaymentStatus::ChargedBack
    );
    if !is_taken || has_open_dispute(db, id).await? {
        return Err(ReleaseError::NotPaid);
    }
    if payment.sums.reserved > 0 {
        return Err(ReleaseError::RefundUnderWay);
    }
    let gross = payment.sums.captured.saturating_sub(payment.sums.refunded);
    let gross = Amount::new(gross).map_err(|_| ReleaseError::NotPaid)?;
    let share = share_of(&order, &payment, gross, withholding_bps)?;
    let item = NewItem {
        source: ItemSource::Payment,
        id: id.uuid(),
        payment: id,
        payee: payment.payee,
        currency: payment.currency,
        share,
        elsewhere: 0,
    };
    insert_item(db, &item, now).await?;
    execute!(db, "UPDATE payments SET released_at = $2 WHERE id = $1", id.uuid(), now.millis(),)?;
    execute!(
        db,
        "UPDATE orders SET released_at = $3 WHERE order_type = $1 AND order_id = $2",
        key.order_type(),
        key.order_id(),
        now.millis(),
    )?;
    if let Some(by) = admin {
        record(db, &deed(&payment, share, by), now).await?;
    }
    book(db, &entry(&payment, share, actor), now).await?;
    Ok(Released { payment: id, share, was_before: false })
}

fn deed(payment: &Payment, share: Share, by: UserId) -> Deed<'static> {
    Deed {
        by,
        action: Action::OrderReleased,
        target: Target::Payment(payment.id),
        reason: None,
        before: json!({ "is_released": false }),
        after: json!({ "is_released": true, "gross": share.gross, "net": share.net() }),
    }
}

/// What nobody is to get is the platform's as a whole.
fn share_of(
    order: &Order,
    payment: &Payment,
    gross: Amount,
    withholding_bps: u16,
) -> Result<Share, ShareError> {
    if payment.payee.is_none() {
        let minor = gross.minor();
        return Ok(Share { gross: minor, fee: minor, fee_vat: 0, withholding: 0 });
    }
    Ok(Terms::of(order.fee, withholding_bps)?.share(gross))
}

/// The payment that an order was paid with, whatever became of it since. One of which there is something to release comes first:
/// an order may have been paid for again after a bank has taken a part of the first payment.
async fn find_paid(db: &mut Db, key: &OrderKey) -> Result<Option<PaymentId>, StoreError> {
    let found = fetch_optional!(
        db,
        (Uuid,),
        "SELECT id FROM payments
         WHERE order_type = $1 AND order_id = $2 AND captured > 0
         ORDER BY CASE WHEN released_at IS NULL AND captured > refunded AND refund_reserved = 0
                            AND status IN ('captured', 'partially_refunded', 'charged_back')
                            AND NOT EXISTS (SELECT 1 FROM disputes d
                                            WHERE d.payment_id = payments.id
                                              AND d.opened_at IS NOT NULL
                                              AND d.closed_at IS NULL)
                       THEN 0 ELSE 1 END,
                  CASE WHEN status IN ('refunded', 'charged_back', 'canceled') THEN 1 ELSE 0 END,
                  created_at DESC, id DESC
         LIMIT 1",
        key.order_type(),
        key.order_id(),
    )?;
    Ok(found.map(|(id,)| id.into()))
}

fn entry(payment: &Payment, share: Share, actor: &str) -> Entry {
    let place = payment.place();
    let payee = payment.payee.map(|payee| (AccountName::UserPending(payee), share.net()));
    let parts = [
        (AccountName::FeeIncome(payment.shard), share.fee),
        (AccountName::VatPayable, share.fee_vat),
        (AccountName::WithholdingPayable, share.withholding),
    ];
    let line = |(credit, minor): (AccountName, i64)| {
        let amount = Amount::new(minor).ok()?;
        Some(Line::Move { debit: place.escrow(), credit, amount, code: "release" })
    };
    place.release(payee.into_iter().chain(parts).filter_map(line).collect(), actor)
}
