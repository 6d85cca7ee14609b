//! Payments as rows: [`attempts`] are what their providers see, [`transitions`] how they change, [`refunds`] what goes
//! back, [`views`] what is looked for, [`operations`] all that is known of one, [`stops`] which providers take nothing new,
//! and [`conflicts`] what two people say of one that is conflicted.
//!
//! Invariant: whoever changes a payment has its row locked, before anything else that is locked but its order and its
//! workflow; the accounts of the ledger come last.

pub mod attempts;
pub mod captures;
pub mod conflicts;
pub mod operations;
pub mod refunds;
pub mod reviews;
pub mod stops;
pub mod transitions;
pub mod views;

use uuid::Uuid;

use self::transitions::TransitionError;
use super::ledger::BookError;
use super::{Db, StoreError, execute, fetch_optional};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::ledger::LedgerError;
use crate::domain::ledger::chart::Shard;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::OrderKey;
use crate::domain::payments::postings::Place;
use crate::domain::payments::refunds::{RefundStatus, Sums};
use crate::domain::payments::{IllegalTransition, PaymentStatus, ProviderName, UnderWay};
use crate::domain::time::Timestamp;

/// Why a payment, or a refund of it, does not change.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    #[error(transparent)]
    Transition(#[from] IllegalTransition),
    #[error("a refund that is {} does not become {}", from.as_str(), to.as_str())]
    Refund { from: RefundStatus, to: RefundStatus },
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<BookError> for ChangeError {
    fn from(error: BookError) -> Self {
        match error {
            BookError::Ledger(error) => Self::Ledger(error),
            BookError::Store(error) => Self::Store(error),
        }
    }
}

impl From<TransitionError> for ChangeError {
    fn from(error: TransitionError) -> Self {
        match error {
            TransitionError::Illegal(error) => Self::Transition(error),
            TransitionError::Store(error) => Self::Store(error),
        }
    }
}

/// A payment as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    pub id: PaymentId,
    pub order: OrderKey,
    pub payer: UserId,
    /// `None`: the platform keeps it.
    pub payee: Option<UserId>,
    pub provider: ProviderName,
    /// Which parts of the ledger's accounts it goes to.
    pub shard: Shard,
    pub currency: Currency,
    pub amount: Amount,
    pub sums: Sums,
    pub status: PaymentStatus,
    /// The call to the provider of which a workflow takes care.
    pub under_way: Option<UnderWay>,
    pub is_captured_later: bool,
    pub is_by_deposit: bool,
    pub failure_code: Option<String>,
    /// Grows with every change.
    pub version: i64,
    pub expires_at: Timestamp,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

impl Payment {
    /// Where it is in the books.
    #[must_use]
    pub const fn place(&self) -> Place {
        Place {
            payment: self.id,
            provider: self.provider,
            shard: self.shard,
            currency: self.currency,
        }
    }

    /// Whether somebody pays it or is paid by it: nobody decides about what is their own.
    #[must_use]
    pub fn is_of(&self, user: UserId) -> bool {
        self.payer == user || self.payee == Some(user)
    }

    /// What the workflow is for that takes care of it now.
    #[must_use]
    pub fn workflow_key(&self) -> Option<String> {
        self.under_way.map(|call| workflow_key(call, self.id, self.version))
    }
}

/// What the workflow of a call is for. A payment is confirmed and captured once; what its provider does not void may be tried
/// again.
#[must_use]
pub fn workflow_key(call: UnderWay, id: PaymentId, version: i64) -> String {
    match call {
        UnderWay::Confirm | UnderWay::Capture => format!("{}:{id}", call.as_str()),
        UnderWay::Void => format!("void:{id}:{version}"),
    }
}

#[derive(sqlx::FromRow)]
struct PaymentRow {
    id: Uuid,
    order_type: String,
    order_id: String,
    payer_id: Uuid,
    payee_id: Option<Uuid>,
    provider: String,
    ledger_shard: i64,
    currency: String,
    amount: i64,
    captured: i64,
    refund_reserved: i64,
    refunded: i64,
    status: String,
    under_way: Option<String>,
    is_captured_later: bool,
    is_by_deposit: bool,
    failure_code: Option<String>,
    version: i64,
    expires_at: i64,
    created_at: i64,
    updated_at: i64,
}

impl PaymentRow {
    fn into_payment(self) -> Result<Payment, StoreError> {
        let key = OrderKey::parse(&self.order_type, &self.order_id);
        let unreadable = StoreError::NotFound;
        let under_way = match self.under_way.as_deref() {
            Some(text) => Some(UnderWay::parse(text).ok_or(StoreError::NotFound)?),
            None => None,
        };
        Ok(Payment {
            id: self.id.into(),
            order: key.map_err(|_| StoreError::NotFound)?,
            payer: self.payer_id.into(),
            payee: self.payee_id.map(UserId::from),
            provider: ProviderName::parse(&self.provider).ok_or(StoreError::NotFound)?,
            shard: Shard::numbered(u8::try_from(self.ledger_shard).unwrap_or_default()),
            currency: self.currency.parse().map_err(|_| StoreError::NotFound)?,
            amount: Amount::new(self.amount).map_err(|_| StoreError::NotFound)?,
            sums: Sums {
                captured: self.captured,
                reserved: self.refund_reserved,
                refunded: self.refunded,
            },
            status: PaymentStatus::parse(&self.status).ok_or(unreadable)?,
            under_way,
            is_captured_later: self.is_captured_later,
            is_by_deposit: self.is_by_deposit,
            failure_code: self.failure_code,
            version: self.version,
            expires_at: Timestamp::from_millis(self.expires_at),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// A payment, locked until the transaction ends; `None` where there is none.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_payment(db: &mut Db, id: PaymentId) -> Result<Option<Payment>, StoreError> {
    let select = db.dialect(
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way, is_captured_later,
                is_by_deposit, failure_code, version, expires_at, created_at, updated_at
         FROM payments
         WHERE id = $1",
        "SELECT id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
                amount, captured, refund_reserved, refunded, status, under_way, is_captured_later,
                is_by_deposit, failure_code, version, expires_at, created_at, updated_at
         FROM payments
         WHERE id = $1
         FOR NO KEY UPDATE",
    );
    let row = fetch_optional!(db, PaymentRow, select, id.uuid())?;
    row.map(PaymentRow::into_payment).transpose()
}

/// A payment that has to be there, locked until the transaction ends.
///
/// # Errors
/// [`StoreError::NotFound`] where there is none.
pub async fn get_locked(db: &mut Db, id: PaymentId) -> Result<Payment, StoreError> {
    lock_payment(db, id).await?.ok_or(StoreError::NotFound)
}

/// Inserts a payment as it was created; [`transitions::created`] writes down that it was.
async fn insert(db: &mut Db, payment: &Payment) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO payments
             (id, order_type, order_id, payer_id, payee_id, provider, ledger_shard, currency,
              amount, status, is_captured_later, is_by_deposit, version, expires_at, created_at,
              updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $15)",
        payment.id.uuid(),
        payment.order.order_type(),
        payment.order.order_id(),
        payment.payer.uuid(),
        payment.payee.map(UserId::uuid),
        payment.provider.as_str(),
        i64::from(payment.shard.number()),
        payment.currency.as_str(),
        payment.amount.minor(),
        payment.status.as_str(),
        payment.is_captured_later,
        payment.is_by_deposit,
        payment.version,
        payment.expires_at.millis(),
        payment.created_at.millis(),
    )
    .map(|_| ())
}

/// Writes what may change of a payment that is locked; its version grows. The status changes in [`transitions`] only.
async fn update(db: &mut Db, payment: &mut Payment, now: Timestamp) -> Result<(), StoreError> {
    let updated = execute!(
        db,
        "UPDATE payments
         SET status = $3, captured = $4, refund_reserved = $5, refunded = $6, under_way = $7,
             failure_code = $8, expires_at = $9, updated_at = $10, version = version + 1
         WHERE id = $1 AND version = $2",
        payment.id.uuid(),
        payment.version,
        payment.status.as_str(),
        payment.sums.captured,
        payment.sums.reserved,
        payment.sums.refunded,
        payment.under_way.map(UnderWay::as_str),
        payment.failure_code.as_deref(),
        payment.expires_at.millis(),
        now.millis(),
    )?;
    if updated == 0 {
        return Err(StoreError::NotFound);
    }
    payment.version = payment.version.saturating_add(1);
    payment.updated_at = now;
    Ok(())
}

/// Notes which call is under way, or that none is any more. No change of status.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_under_way(
    db: &mut Db,
    payment: &mut Payment,
    under_way: Option<UnderWay>,
    now: Timestamp,
) -> Result<(), StoreError> {
    payment.under_way = under_way;
    update(db, payment, now).await
}

/// Writes what a payment has come to, where its status stays.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_sums(
    db: &mut Db,
    payment: &mut Payment,
    now: Timestamp,
) -> Result<(), StoreError> {
    update(db, payment, now).await
}
