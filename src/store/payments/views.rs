//! What is looked for among payments: a payer's own, page by page, and what has been waiting for too long.

use serde_json::json;
use uuid::Uuid;

use super::{Payment, PaymentRow, workflow_key};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::payments::orders::OrderKey;
use crate::domain::payments::{PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, fetch_all, fetch_one, fetch_optional};

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

    /// Payments that nobody has made in time, those that have waited for longest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_expired_payments(
        &self,
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
                         WHERE status IN ('created', 'awaiting_deposit') AND status = 'created'
                           AND expires_at <= $1 AND under_way IS NULL
                         ORDER BY expires_at, id
                         LIMIT $2",
                        now.millis(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }

    /// Payments that wait for the outside and of which nobody has asked since before `since`, or, where their time is over,
    /// since before `late_since`. Notes that somebody does so now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn take_watched_payments(
        &self,
        since: Timestamp,
        late_since: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<PaymentId>, StoreError> {
        let rows = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "UPDATE payments SET looked_at = $3
                         WHERE id IN
                             (SELECT id FROM payments
                              WHERE status IN ('awaiting_deposit', 'authorized')
                                AND under_way IS NULL AND looked_at <= $2
                                AND (looked_at <= $1
                                     OR (status = 'awaiting_deposit' AND expires_at <= $3))
                              ORDER BY looked_at, id
                              LIMIT $4)
                         RETURNING id",
                        since.millis(),
                        late_since.millis(),
                        now.millis(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }

    /// Of how many payments nobody knows what became of them, and since when of the first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_unknown_payments(&self) -> Result<(i64, Option<Timestamp>), StoreError> {
        let (count, oldest) = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64, Option<i64>),
                        "SELECT COUNT(*), MIN(updated_at) FROM payments
                         WHERE under_way IS NOT NULL AND status = 'unknown'",
                    )
                })
            })
            .await?;
        Ok((count, oldest.map(Timestamp::from_millis)))
    }

    /// The providers, by name, that have something of ours to answer for: a payment or a refund that is not over.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_owing_providers(&self) -> Result<Vec<String>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String,),
                        "SELECT provider FROM payments WHERE under_way IS NOT NULL
                         UNION
                         SELECT provider FROM payments
                         WHERE status IN ('awaiting_deposit', 'authorized')
                         UNION
                         SELECT p.provider FROM refunds r
                         JOIN payments p ON p.id = r.payment_id
                         WHERE r.status IN ('requested', 'sent', 'unknown')
                         ORDER BY 1",
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(name,)| name).collect())
    }

    /// Of these workflows, by what they are for, those that rest until after `until`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_resting(
        &self,
        workflows: Vec<String>,
        until: Timestamp,
    ) -> Result<Vec<String>, StoreError> {
        if workflows.is_empty() {
            return Ok(Vec::new());
        }
        let workflows = json!(workflows).to_string();
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT dedupe_key FROM workflows
                         WHERE dedupe_key IN (SELECT j.value FROM json_each($1) j)
                           AND status IN ('ready', 'waiting') AND wake_at > $2
                         ORDER BY dedupe_key",
                        "SELECT dedupe_key FROM workflows
                         WHERE dedupe_key IN
                             (SELECT j.value FROM jsonb_array_elements_text($1::jsonb) j)
                           AND status IN ('ready', 'waiting') AND wake_at > $2
                         ORDER BY dedupe_key",
                    );
                    fetch_all!(db, (String,), select, workflows, until.millis())
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(key,)| key).collect())
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
