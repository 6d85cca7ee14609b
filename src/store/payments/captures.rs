//! Captures: a payment was taken, whole. Its status, its sum and the ledger change together.

use super::transitions::{By, transition};
use super::{ChangeError, Payment};
use crate::domain::payments::PaymentStatus;
use crate::domain::time::Timestamp;
use crate::store::Db;
use crate::store::ledger::book;

/// Books that a payment that is locked was taken: `PaymentCompleted`.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub async fn capture(
    db: &mut Db,
    payment: &mut Payment,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), ChangeError> {
    payment.sums.captured = payment.amount.minor();
    transition(db, payment, PaymentStatus::Captured, by, now).await?;
    book(db, &payment.place().capture(payment.amount), now).await?;
    Ok(())
}
