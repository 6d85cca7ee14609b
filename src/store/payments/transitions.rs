//! Transitions: how a payment changes its status, and the only way in which it does.
//!
//! Invariant: a change is in the row, in the history, in the outbox and in its payer's inbox, or in none of them; and
//! only one that [`PaymentStatus::next`] allows.

use serde_json::{Value, json};

use super::{Payment, insert, update};
use crate::clock;
use crate::domain::events::{DomainEvent, INBOX_SIGNALS, PAYMENT_EVENTS};
use crate::domain::ids::PaymentId;
use crate::domain::inbox::InboxNote;
use crate::domain::payments::{Cause, IllegalTransition, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, inboxes, outbox};

/// Lines that are shown of one payment, the last.
const SHOWN_MAX: i64 = 200;

/// Who changes a payment, and why.
#[derive(Debug, Clone)]
pub struct By<'b> {
    pub cause: Cause,
    /// Such as `user:<id>` or `workflow`.
    pub actor: &'b str,
    /// Why it came to nothing, for a payment that did.
    pub failure_code: Option<&'b str>,
    /// What the event says besides; an object, or nothing.
    pub said: Value,
}

impl<'b> By<'b> {
    #[must_use]
    pub const fn new(cause: Cause, actor: &'b str) -> Self {
        Self { cause, actor, failure_code: None, said: Value::Null }
    }

    #[must_use]
    pub fn failing(self, code: &'b str) -> Self {
        Self { failure_code: Some(code), ..self }
    }

    #[must_use]
    pub fn saying(self, said: Value) -> Self {
        Self { said, ..self }
    }
}

/// Why a payment does not change.
#[derive(Debug, thiserror::Error)]
pub enum TransitionError {
    #[error(transparent)]
    Illegal(#[from] IllegalTransition),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A line of a payment's history.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct TransitionRow {
    pub seq: i64,
    pub from_status: Option<String>,
    pub to_status: String,
    pub cause: String,
    pub actor: String,
    pub at: i64,
}

/// Begins a payment: `PaymentCreated`.
///
/// # Errors
/// [`StoreError::Constraint`] `payments_order_type_order_id_key` where its order has one that is live.
pub async fn created(db: &mut Db, payment: &Payment, by: &By<'_>) -> Result<(), StoreError> {
    insert(db, payment).await?;
    write_down(db, payment, None, by, payment.created_at).await
}

/// Changes the status of a payment that is locked, with whatever else was changed of it.
///
/// # Errors
/// [`TransitionError::Illegal`] where the status does not follow; the transaction must not be committed then.
pub async fn transition(
    db: &mut Db,
    payment: &mut Payment,
    to: PaymentStatus,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), TransitionError> {
    for to in payment.status.way(to)? {
        let from = payment.status;
        payment.status = from.next(to)?;
        if let Some(code) = by.failure_code {
            payment.failure_code = Some(code.to_owned());
        }
        update(db, payment, now).await?;
        write_down(db, payment, Some(from), by, now).await?;
    }
    Ok(())
}

async fn write_down(
    db: &mut Db,
    payment: &Payment,
    from: Option<PaymentStatus>,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO payment_transitions
             (payment_id, seq, from_status, to_status, cause, actor, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        payment.id.uuid(),
        payment.version,
        from.map(PaymentStatus::as_str),
        payment.status.as_str(),
        by.cause.as_str(),
        by.actor,
        now.millis(),
    )?;
    metrics::counter!(
        "madang_payments_total",
        "provider" => payment.provider.as_str(),
        "from" => from.map_or("", PaymentStatus::as_str),
        "to" => payment.status.as_str(),
        "cause" => by.cause.as_str(),
    )
    .increment(1);
    match PaymentStatus::event(from, payment.status) {
        Some(name) => tell(db, payment, name, by, now).await?,
        // Nobody outside is told; whoever watches the inbox below is.
        None => outbox::append(db, &signal(payment, now)).await?,
    }
    let note =
        InboxNote::payment_updated(payment.payer, payment.id, payment.status, payment.version);
    inboxes::append(db, vec![note], now).await.map(|_| ())
}

/// Tells the rest of the system of a payment. Never the provider's key.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn tell(
    db: &mut Db,
    payment: &Payment,
    name: &'static str,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let (order_name,): (String,) = fetch_one!(
        db,
        (String,),
        "SELECT name FROM orders WHERE order_type = $1 AND order_id = $2",
        payment.order.order_type(),
        payment.order.order_id(),
    )?;
    outbox::append(db, &event(payment, &order_name, name, by, now)).await
}

fn event(
    payment: &Payment,
    order_name: &str,
    name: &'static str,
    by: &By<'_>,
    now: Timestamp,
) -> DomainEvent {
    let mut data = json!({
        "payment_id": payment.id,
        "order_type": payment.order.order_type(),
        "order_id": payment.order.order_id(),
        "order_name": order_name,
        "payer_id": payment.payer,
        "payee_id": payment.payee,
        "amount": payment.amount,
        "currency": payment.currency,
        "status": payment.status.as_str(),
        "captured": payment.sums.captured,
        "refunded": payment.sums.refunded,
        "failure_code": payment.failure_code,
        "seq": payment.version,
    });
    if let (Some(data), Value::Object(said)) = (data.as_object_mut(), &by.said) {
        data.extend(said.clone());
    }
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name,
        subject: payment.id.to_string(),
        at: now,
        data,
    }
}

/// That there is something in the payer's inbox.
fn signal(payment: &Payment, now: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: INBOX_SIGNALS,
        name: "InboxChanged",
        subject: payment.id.to_string(),
        at: now,
        data: json!({ "payer_id": payment.payer }),
    }
}

impl Store {
    /// Every status that a payment has had, in order.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payment_transitions(
        &self,
        id: PaymentId,
    ) -> Result<Vec<TransitionRow>, StoreError> {
        let mut rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        TransitionRow,
                        "SELECT seq, from_status, to_status, cause, actor, at
                         FROM payment_transitions
                         WHERE payment_id = $1
                         ORDER BY seq DESC
                         LIMIT $2",
                        id.uuid(),
                        SHOWN_MAX,
                    )
                })
            })
            .await?;
        rows.reverse();
        Ok(rows)
    }
}
