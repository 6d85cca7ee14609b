//! Conflicts as rows: what somebody has seen at the provider of a payment that is conflicted, and who has confirmed it.

use uuid::Uuid;

use crate::domain::ids::{PaymentId, ProposalId, UserId};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::{Db, Store, StoreError, execute, fetch_all};

/// A proposal as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    pub id: ProposalId,
    pub payment: PaymentId,
    pub amount: Amount,
    pub reason: String,
    pub proposed_by: UserId,
    pub confirmed_by: Option<UserId>,
    pub created_at: Timestamp,
    pub confirmed_at: Option<Timestamp>,
}

type ProposalRow = (Uuid, i64, String, Uuid, Option<Uuid>, i64, Option<i64>);

/// Proposals that are shown of one payment, the latest.
const SHOWN_MAX: i64 = 50;

/// Writes a proposal down.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn insert_proposal(
    db: &mut Db,
    id: ProposalId,
    payment: PaymentId,
    (amount, reason): (Amount, &Reason),
    by: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO conflict_proposals (id, payment_id, amount, reason, proposed_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6)",
        id.uuid(),
        payment.uuid(),
        amount.minor(),
        reason.as_str(),
        by.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// Notes who else has seen the same.
///
/// # Errors
/// [`StoreError::Constraint`] `conflict_proposals_confirmer_check` where it is the same person.
pub async fn update_confirmed(
    db: &mut Db,
    id: ProposalId,
    by: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE conflict_proposals SET confirmed_by = $2, confirmed_at = $3
         WHERE id = $1 AND confirmed_by IS NULL",
        id.uuid(),
        by.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

/// The proposals about a payment, the latest first.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_proposals(db: &mut Db, payment: PaymentId) -> Result<Vec<Proposal>, StoreError> {
    let rows = fetch_all!(
        db,
        ProposalRow,
        "SELECT id, amount, reason, proposed_by, confirmed_by, created_at, confirmed_at
         FROM conflict_proposals
         WHERE payment_id = $1
         ORDER BY id DESC
         LIMIT $2",
        payment.uuid(),
        SHOWN_MAX,
    )?;
    let read = |row: ProposalRow| {
        let (id, amount, reason, proposed_by, confirmed_by, created_at, confirmed_at) = row;
        Some(Proposal {
            id: id.into(),
            payment,
            amount: Amount::new(amount).ok()?,
            reason,
            proposed_by: proposed_by.into(),
            confirmed_by: confirmed_by.map(Into::into),
            created_at: Timestamp::from_millis(created_at),
            confirmed_at: confirmed_at.map(Timestamp::from_millis),
        })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

impl Store {
    /// The proposals about a payment, the latest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_conflict_proposals(
        &self,
        payment: PaymentId,
    ) -> Result<Vec<Proposal>, StoreError> {
        self.read(move |db| Box::pin(async move { list_proposals(db, payment).await })).await
    }
}
