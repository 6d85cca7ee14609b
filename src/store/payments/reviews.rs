//! Reviews: how a refund is to end of which the provider has given back another amount, as one person has said, and another
//! after them.

use uuid::Uuid;

use crate::domain::ids::{RefundId, UserId};
use crate::domain::payments::refunds::Settling;
use crate::store::{Db, StoreError, execute, fetch_optional};

/// How somebody has said that a refund is to end, and who; the payment's lock is the refund's.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_review(
    db: &mut Db,
    refund: RefundId,
) -> Result<Option<(Settling, UserId)>, StoreError> {
    let found = fetch_optional!(
        db,
        (Option<String>, Option<Uuid>),
        "SELECT settle_as, settle_asked_by FROM refunds WHERE id = $1",
        refund.uuid(),
    )?;
    Ok(found.and_then(|(settling, by)| Some((Settling::parse(&settling?)?, by?.into()))))
}

/// Notes how somebody says that a refund is to end; in the place of what somebody has said before.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn update_review(
    db: &mut Db,
    refund: RefundId,
    settling: Settling,
    by: UserId,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE refunds SET settle_as = $2, settle_asked_by = $3 WHERE id = $1",
        refund.uuid(),
        settling.as_str(),
        by.uuid(),
    )
    .map(|_| ())
}

/// Notes who else has said so.
///
/// # Errors
/// [`StoreError::Constraint`] `refunds_settler_check` where it is the same person.
pub async fn update_settled(db: &mut Db, refund: RefundId, by: UserId) -> Result<(), StoreError> {
    execute!(db, "UPDATE refunds SET settled_by = $2 WHERE id = $1", refund.uuid(), by.uuid(),)
        .map(|_| ())
}
