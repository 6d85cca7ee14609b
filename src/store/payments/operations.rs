//! What operators look for among payments, and all that is known of one.
//!
//! Invariant: what is listed is bounded, and whatever names a payment at its provider is for the server alone: whoever shows
//! it masks it.

use uuid::Uuid;

use super::attempts::AttemptStatus;
use super::{Payment, PaymentRow};
use crate::domain::ids::{AttemptId, PaymentId};
use crate::domain::payments::{PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, fetch_all};

/// Lines of one kind that are shown of one payment.
const SHOWN_MAX: i64 = 200;
/// Versions of a payment in which somebody may have begun to void it: the latest.
const VOIDS_MAX: i64 = 100;

/// Which payments are looked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorFilter {
    /// None: all.
    pub statuses: Vec<PaymentStatus>,
    pub provider: Option<ProviderName>,
    /// That have not changed since before then.
    pub older_than: Option<Timestamp>,
}

/// An attempt as somebody looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeenAttempt {
    pub id: AttemptId,
    pub provider: String,
    pub provider_order: String,
    /// Never shown in full.
    pub provider_key: Option<String>,
    pub status: AttemptStatus,
    pub error_code: Option<String>,
    pub created_at: Timestamp,
    pub resolved_at: Option<Timestamp>,
}

/// A webhook that came in, without what it says.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SeenWebhook {
    pub provider: String,
    pub trust: String,
    pub status: String,
    pub attempts: i64,
    pub last_error: Option<String>,
    pub received_at: i64,
    pub done_at: Option<i64>,
}

/// A transfer of the ledger about something.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct LedgerLine {
    /// What happened, such as `capture`.
    pub kind: String,
    pub phase: String,
    pub debit: String,
    pub credit: String,
    pub amount: i64,
    pub currency: String,
    pub actor: String,
    pub at: i64,
}

#[derive(sqlx::FromRow)]
struct AttemptRow {
    id: Uuid,
    provider: String,
    provider_order_id: String,
    provider_key: Option<String>,
    status: String,
    error_code: Option<String>,
    created_at: i64,
    resolved_at: Option<i64>,
}

impl AttemptRow {
    fn into_seen(self) -> Option<SeenAttempt> {
        Some(SeenAttempt {
            id: self.id.into(),
            provider: self.provider,
            provider_order: self.provider_order_id,
            provider_key: self.provider_key,
            status: AttemptStatus::parse(&self.status)?,
            error_code: self.error_code,
            created_at: Timestamp::from_millis(self.created_at),
            resolved_at: self.resolved_at.map(Timestamp::from_millis),
        })
    }
}

/// A provider, or none; not changed since before then; after which payment, and how many.
type Rest = (&'static str, i64, Uuid, i64);

async fn list_any(db: &mut Db, rest: Rest) -> Result<Vec<PaymentRow>, StoreError> {
    let (provider, older_than, after, limit) = rest;
    fetch_all!(
        db,
        PaymentRow,
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way,
                is_captured_later, is_by_deposit, failure_code, version, expires_at, created_at,
                updated_at
         FROM payments
         WHERE ($1 = '' OR provider = $1) AND updated_at < $2 AND id > $3
         ORDER BY id
         LIMIT $4",
        provider,
        older_than,
        after,
        limit,
    )
}

async fn list_of_status(
    db: &mut Db,
    status: &'static str,
    rest: Rest,
) -> Result<Vec<PaymentRow>, StoreError> {
    let (provider, older_than, after, limit) = rest;
    // By itself, SQLite may go through all payments in the order of their ids.
    let select = db.dialect(
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way,
                is_captured_later, is_by_deposit, failure_code, version, expires_at, created_at,
                updated_at
         FROM payments INDEXED BY payments_status_idx
         WHERE status = $1 AND ($2 = '' OR provider = $2) AND updated_at < $3 AND id > $4
         ORDER BY id
         LIMIT $5",
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way,
                is_captured_later, is_by_deposit, failure_code, version, expires_at, created_at,
                updated_at
         FROM payments
         WHERE status = $1 AND ($2 = '' OR provider = $2) AND updated_at < $3 AND id > $4
         ORDER BY id
         LIMIT $5",
    );
    fetch_all!(db, PaymentRow, select, status, provider, older_than, after, limit)
}

impl Store {
    /// Payments after `after`, the oldest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payments_to_operate(
        &self,
        filter: OperatorFilter,
        after: Option<PaymentId>,
        limit: i64,
    ) -> Result<Vec<Payment>, StoreError> {
        let after = after.map_or(Uuid::nil(), PaymentId::uuid);
        let mut words: Vec<&str> = filter.statuses.iter().map(|status| status.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        let provider = filter.provider.map_or("", ProviderName::as_str);
        let older_than = filter.older_than.map_or(i64::MAX, Timestamp::millis);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let rest = (provider, older_than, after, limit);
                    if words.is_empty() {
                        return list_any(db, rest).await;
                    }
                    // Of each status as many as are asked for: each walks along an index, however many payments there are.
                    let mut rows: Vec<PaymentRow> = Vec::new();
                    for status in words {
                        rows.extend(list_of_status(db, status, rest).await?);
                    }
                    rows.sort_unstable_by_key(|row| row.id);
                    rows.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
                    Ok(rows)
                })
            })
            .await?;
        rows.into_iter().map(PaymentRow::into_payment).collect()
    }

    /// The attempts of a payment, in order; the last 200.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_attempts(&self, id: PaymentId) -> Result<Vec<SeenAttempt>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        AttemptRow,
                        "SELECT id, provider, provider_order_id, provider_key, status, error_code,
                                created_at, resolved_at
                         FROM payment_attempts
                         WHERE payment_id = $1
                         ORDER BY attempt_no DESC
                         LIMIT $2",
                        id.uuid(),
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().rev().filter_map(AttemptRow::into_seen).collect())
    }

    /// Webhooks that came about an attempt, in order; the last 200.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_webhooks_of(
        &self,
        attempt: &SeenAttempt,
    ) -> Result<Vec<SeenWebhook>, StoreError> {
        let (provider, order) = (attempt.provider.clone(), attempt.provider_order.clone());
        let key = attempt.provider_key.clone();
        let mut rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        SeenWebhook,
                        "SELECT provider, trust, status, attempts, last_error, received_at, done_at
                     FROM payment_webhooks
                     WHERE (provider = $1 AND provider_order = $2)
                        OR (provider = $1 AND provider_key = $3)
                     ORDER BY received_at DESC, dedupe_key DESC
                     LIMIT $4",
                        provider,
                        order,
                        key,
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        rows.reverse();
        Ok(rows)
    }

    /// What was booked about something, in order; the last 200 lines.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_ledger_lines(&self, reference: Uuid) -> Result<Vec<LedgerLine>, StoreError> {
        let mut rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        LedgerLine,
                        "SELECT e.kind, t.phase, d.code AS debit, c.code AS credit, t.amount,
                            t.currency, e.actor, t.at
                     FROM ledger_entries e
                     JOIN ledger_transfers t ON t.entry_id = e.id
                     JOIN ledger_accounts d ON d.id = t.debit_id
                     JOIN ledger_accounts c ON c.id = t.credit_id
                     WHERE e.reference_id = $1
                     ORDER BY e.at DESC, e.id DESC, t.line DESC
                     LIMIT $2",
                        reference,
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        rows.reverse();
        Ok(rows)
    }

    /// What workflows of a payment are for: those that confirm, capture or void it, refund it, or give back what came too
    /// late.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflow_keys_of(
        &self,
        payment: &Payment,
        attempts: &[SeenAttempt],
    ) -> Result<Vec<String>, StoreError> {
        let id = payment.id;
        let refunds = self.list_refunds(id).await?;
        let first = payment.version.saturating_sub(VOIDS_MAX).max(0);
        let voids = (first..=payment.version).map(|version| format!("void:{id}:{version}"));
        let orphans = attempts.iter().flat_map(|it| {
            let key = it.provider_key.as_deref();
            ["orphan", "let_go"]
                .into_iter()
                .filter_map(move |what| Some(format!("{what}:{}:{}", it.provider, key?)))
        });
        let disputes = self.list_disputes(id).await?;
        let mut keys = vec![format!("confirm:{id}"), format!("capture:{id}")];
        keys.extend(voids);
        keys.extend(refunds.iter().map(|refund| format!("refund:{}", refund.id)));
        keys.extend(orphans);
        keys.extend(
            disputes
                .iter()
                .map(|it| format!("dispute:{}:{}", it.provider.as_str(), it.provider_key)),
        );
        Ok(keys)
    }
}
