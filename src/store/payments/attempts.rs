//! Attempts: payments as their providers see them, each under an order of its own.
//!
//! Invariant: a provider's key belongs to one attempt, for ever; unless the provider says that it is of another order.

use uuid::Uuid;

use crate::domain::ids::{AttemptId, PaymentId};
use crate::domain::payments::ProviderName;
use crate::domain::stored_as;
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, execute, fetch_optional};

/// Where an attempt is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AttemptStatus {
    /// Its payer may pay.
    Open,
    /// The provider was asked to take it.
    Sent,
    Unknown,
    Succeeded,
    Failed,
    /// Nobody will ask the provider to take it.
    Abandoned,
}

stored_as!(AttemptStatus {
    Open = "open",
    Sent = "sent",
    Unknown = "unknown",
    Succeeded = "succeeded",
    Failed = "failed",
    Abandoned = "abandoned"
});

impl AttemptStatus {
    const fn is_resolved(self) -> bool {
        matches!(self, Self::Succeeded | Self::Failed | Self::Abandoned)
    }
}

/// An attempt as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    pub id: AttemptId,
    pub payment: PaymentId,
    pub provider: ProviderName,
    /// Our order, as the provider knows it.
    pub provider_order_id: String,
    pub provider_key: Option<String>,
    pub status: AttemptStatus,
}

type AttemptRow = (Uuid, Uuid, String, String, Option<String>, String);

fn read(row: AttemptRow) -> Result<Attempt, StoreError> {
    let (id, payment, provider, provider_order_id, provider_key, status) = row;
    Ok(Attempt {
        id: id.into(),
        payment: payment.into(),
        provider: ProviderName::parse(&provider).ok_or(StoreError::NotFound)?,
        provider_order_id,
        provider_key,
        status: AttemptStatus::parse(&status).ok_or(StoreError::NotFound)?,
    })
}

/// The order under which a provider knows an attempt: new for each.
#[must_use]
pub fn provider_order_id(id: AttemptId) -> String {
    format!("md_{}", id.uuid().simple())
}

/// Begins the first attempt of a payment.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_attempt(
    db: &mut Db,
    id: AttemptId,
    payment: PaymentId,
    provider: ProviderName,
    now: Timestamp,
) -> Result<Attempt, StoreError> {
    let provider_order_id = provider_order_id(id);
    execute!(
        db,
        "INSERT INTO payment_attempts
             (id, payment_id, attempt_no, provider, provider_order_id, status, created_at)
         SELECT $1, $2, coalesce(MAX(a.attempt_no), 0) + 1, $3, $4, 'open', $5
         FROM payment_attempts a
         WHERE a.payment_id = $2",
        id.uuid(),
        payment.uuid(),
        provider.as_str(),
        provider_order_id.as_str(),
        now.millis(),
    )?;
    let status = AttemptStatus::Open;
    Ok(Attempt { id, payment, provider, provider_order_id, provider_key: None, status })
}

/// The latest attempt of a payment.
///
/// # Errors
/// [`StoreError::NotFound`] where there is none.
pub async fn get_attempt(db: &mut Db, payment: PaymentId) -> Result<Attempt, StoreError> {
    let row = fetch_optional!(
        db,
        AttemptRow,
        "SELECT id, payment_id, provider, provider_order_id, provider_key, status
         FROM payment_attempts
         WHERE payment_id = $1
         ORDER BY attempt_no DESC
         LIMIT 1",
        payment.uuid(),
    )?;
    row.map_or(Err(StoreError::NotFound), read)
}

/// The attempt that a provider knows under an order, or under its own key.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_attempt(
    db: &mut Db,
    provider: ProviderName,
    order: Option<&str>,
    provider_key: Option<&str>,
) -> Result<Option<Attempt>, StoreError> {
    if let Some(order) = order {
        let row = fetch_optional!(
            db,
            AttemptRow,
            "SELECT id, payment_id, provider, provider_order_id, provider_key, status
             FROM payment_attempts
             WHERE provider = $1 AND provider_order_id = $2",
            provider.as_str(),
            order,
        )?;
        if let Some(row) = row {
            return read(row).map(Some);
        }
    }
    let Some(provider_key) = provider_key else { return Ok(None) };
    let row = fetch_optional!(
        db,
        AttemptRow,
        "SELECT id, payment_id, provider, provider_order_id, provider_key, status
         FROM payment_attempts
         WHERE provider = $1 AND provider_key = $2",
        provider.as_str(),
        provider_key,
    )?;
    row.map(read).transpose()
}

/// Binds an attempt to the provider's key, or to the same one again.
///
/// # Errors
/// [`StoreError::Constraint`] `payment_attempts_provider_provider_key_key` where another attempt has the key.
pub async fn update_provider_key(
    db: &mut Db,
    attempt: AttemptId,
    provider_key: &str,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE payment_attempts SET provider_key = $2 WHERE id = $1",
        attempt.uuid(),
        provider_key,
    )
    .map(|_| ())
}

/// Lets go of a key that turned out to be somebody else's.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_provider_key(db: &mut Db, attempt: AttemptId) -> Result<(), StoreError> {
    execute!(db, "UPDATE payment_attempts SET provider_key = NULL WHERE id = $1", attempt.uuid(),)
        .map(|_| ())
}

/// Writes where an attempt is.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_attempt(
    db: &mut Db,
    attempt: AttemptId,
    status: AttemptStatus,
    error_code: Option<&str>,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE payment_attempts
         SET status = $2, error_code = coalesce($3, error_code), resolved_at = $4
         WHERE id = $1",
        attempt.uuid(),
        status.as_str(),
        error_code,
        status.is_resolved().then_some(now.millis()),
    )
    .map(|_| ())
}
