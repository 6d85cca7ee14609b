//! What is looked for among payments: a payer's own, page by page, and what has been waiting for too long.

use uuid::Uuid;

use super::{Payment, PaymentRow, workflow_key};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::payments::orders::OrderKey;
use crate::domain::payments::{PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, fetch_all, fetch_optional};

/// Where the next page begins: below this time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PaymentCursor {
    pub created_at: Timestamp,
    pub id: PaymentId,
}

/// Which of a payer's payments are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PaymentFilter {
    pub status: Option<PaymentStatus>,
    /// Created then or later.
    pub from: Option<Timestamp>,
    /// Created before then.
    pub to: Option<Timestamp>,
}

/// The payment of an order that is not at its end.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_live(db: &mut Db, order: &OrderKey) -> Result<Option<Payment>, StoreError> {
    let row = fetch_optional!(
        db,
        PaymentRow,
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way, is_captured_later,
                is_by_deposit, failure_code, version, expires_at, created_at, updated_at
         FROM payments
         WHERE order_type = $1 AND order_id = $2
           AND status NOT IN ('refunded', 'canceled', 'failed', 'expired', 'charged_back')",
        order.order_type(),
        order.order_id(),
    )?;
    row.map(PaymentRow::into_payment).transpose()
}

/// A payment, if there is one.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_payment(db: &mut Db, id: PaymentId) -> Result<Option<Payment>, StoreError> {
    let row = fetch_optional!(
        db,
        PaymentRow,
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way, is_captured_later,
                is_by_deposit, failure_code, version, expires_at, created_at, updated_at
         FROM payments
         WHERE id = $1",
        id.uuid(),
    )?;
    row.map(PaymentRow::into_payment).transpose()
}

impl Store {
    /// A payment, if there is one.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_payment(&self, id: PaymentId) -> Result<Option<Payment>, StoreError> {
        self.read(move |db| Box::pin(async move { find_payment(db, id).await })).await
    }

    /// A payer's payments, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payments(
        &self,
        payer: UserId,
        filter: PaymentFilter,
        after: Option<PaymentCursor>,
        limit: i64,
    ) -> Result<Vec<Payment>, StoreError> {
        let (created_at, id) =
            after.map_or((i64::MAX, Uuid::max()), |it| (it.created_at.millis(), it.id.uuid()));
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        PaymentRow,
                        "SELECT id, order_type, order_id, payer_id, payee_id, provider,
                                ledger_shard, currency, amount, captured, refund_reserved,
                                refunded, status, under_way, is_captured_later, is_by_deposit,
                                failure_code, version, expires_at, created_at, updated_at
                         FROM payments
                         WHERE payer_id = $1
                           AND (created_at < $2 OR (created_at = $2 AND id < $3))
                           AND created_at >= $4 AND created_at < $5
                           AND ($6 = '' OR status = $6)
                         ORDER BY created_at DESC, id DESC
                         LIMIT $7",
                        payer.uuid(),
                        created_at,
                        id,
                        filter.from.map_or(i64::MIN, Timestamp::millis),
                        filter.to.map_or(i64::MAX, Timestamp::millis),
                        filter.status.map_or("", PaymentStatus::as_str),
                        limit,
                    )
                })
            })
            .await?;
        rows.into_iter().map(PaymentRow::into_payment).collect()
    }

    /// Payments whose time is over and that nobody has asked the provider to take, those that have waited for longest
    /// first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_expired_payments(
        &self,
        status: PaymentStatus,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<PaymentId>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT id FROM payments
                         WHERE status IN ('created', 'awaiting_deposit') AND status = $1
                           AND expires_at <= $2 AND under_way IS NULL
                         ORDER BY expires_at, id
                         LIMIT $3",
                        status.as_str(),
                        now.millis(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }

    /// Workflows, by what they are for, of calls that have been under way since before `since`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_under_way(
        &self,
        since: Timestamp,
        limit: i64,
    ) -> Result<Vec<String>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                let payments = fetch_all!(
                    db,
                    (Uuid, String, i64),
                    "SELECT id, under_way, version FROM payments
                     WHERE under_way IS NOT NULL AND updated_at <= $1
                     ORDER BY updated_at, id
                     LIMIT $2",
                    since.millis(),
                    limit,
                )?;
                let refunds = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT id FROM refunds
                     WHERE status IN ('requested', 'sent', 'unknown') AND updated_at <= $1
                     ORDER BY updated_at, id
                     LIMIT $2",
                    since.millis(),
                    limit,
                )?;
                let key = |(id, call, version): (Uuid, String, i64)| {
                    Some(workflow_key(UnderWay::parse(&call)?, id.into(), version))
                };
                let payments = payments.into_iter().filter_map(key);
                Ok(payments.chain(refunds.into_iter().map(refund_key)).collect())
            })
        })
        .await
    }

    /// Workflows, by what they are for, that may be taking care of a payment or its refunds.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflows_of_payment(
        &self,
        id: PaymentId,
    ) -> Result<Vec<String>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                let payment = find_payment(db, id).await?;
                let refunds = fetch_all!(
                    db,
                    (Uuid,),
                    "SELECT id FROM refunds
                     WHERE payment_id = $1 AND status IN ('requested', 'sent', 'unknown')
                     ORDER BY id",
                    id.uuid(),
                )?;
                let own = payment.and_then(|payment| payment.workflow_key());
                Ok(own.into_iter().chain(refunds.into_iter().map(refund_key)).collect())
            })
        })
        .await
    }
}

fn refund_key((id,): (Uuid,)) -> String {
    format!("refund:{}", RefundId::from(id))
}
