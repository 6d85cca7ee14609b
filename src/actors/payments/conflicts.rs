//! Conflicts: what a provider has taken otherwise than agreed, and does not give back, is kept when two people say so.
//!
//! Invariant: the provider is asked right before, and its workflow is parked and ends with the decision: nobody gives back
//! what is kept.

use serde_json::json;

use super::confirm::ConfirmState;
use super::{Payments, PaymentsError};
use crate::clock;
use crate::domain::ids::{PaymentId, ProposalId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::money_audit::{Action, Target};
use crate::domain::payments::conflicts::{Confirming, ConflictError};
use crate::domain::payments::{Cause, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::{ChargeStatus, LookUp};
use crate::store::ledger::book;
use crate::store::money_audit::{Deed, record};
use crate::store::payments::attempts::{AttemptStatus, get_attempt, update_attempt};
use crate::store::payments::conflicts::{insert_proposal, list_proposals, update_confirmed};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{ChangeError, Payment, get_locked, lock_payment};
use crate::store::workflows::admin::{end_parked, lock_workflow};
use crate::store::{Db, StoreError};

/// The name of the line in the workflow's history.
const KEPT: &str = "kept";

/// Why a conflict stays one.
#[derive(Debug, thiserror::Error)]
pub enum ResolvingError {
    #[error(transparent)]
    Conflict(#[from] ConflictError),
    #[error(transparent)]
    Payments(#[from] PaymentsError),
}

impl From<StoreError> for ResolvingError {
    fn from(error: StoreError) -> Self {
        Self::Payments(error.into())
    }
}

impl From<ChangeError> for ResolvingError {
    fn from(error: ChangeError) -> Self {
        Self::Payments(error.into())
    }
}

/// Somebody who confirms a proposal.
#[derive(Debug, Clone)]
struct Confirmer {
    payment: PaymentId,
    proposal: ProposalId,
    by: UserId,
    reason: Reason,
}

type Money = (Amount, Currency);

impl Payments {
    /// Notes what somebody has seen at the provider of a payment that is conflicted; moves nothing. It takes the place of an
    /// earlier one that nobody has confirmed.
    ///
    /// # Errors
    /// [`ConflictError::NotConflicted`], [`ResolvingError::Payments`].
    pub async fn propose_keeping(
        &self,
        payment: PaymentId,
        by: UserId,
        amount: Amount,
        reason: Reason,
    ) -> Result<ProposalId, ResolvingError> {
        let (id, now) = (ProposalId::from(clock::new_uuid()), self.now());
        self.0
            .desk
            .store
            .write::<_, ResolvingError, _>(move |db| {
                Box::pin(async move {
                    let found = lock_payment(db, payment).await?;
                    let found = found.ok_or(PaymentsError::NotFound)?;
                    if found.status != PaymentStatus::Conflicted {
                        return Err(ConflictError::NotConflicted.into());
                    }
                    insert_proposal(db, id, payment, (amount, &reason), by, now).await?;
                    let deed = Deed {
                        by,
                        action: Action::ConflictProposed,
                        target: Target::Payment(payment),
                        reason: Some(&reason),
                        before: json!({ "status": found.status.as_str() }),
                        after: json!({ "proposal_id": id, "amount": amount }),
                    };
                    record(db, &deed, now).await?;
                    Ok(id)
                })
            })
            .await
    }

    /// Keeps what somebody else has proposed, if the provider says the same now: the payment is captured, of as much as the
    /// provider has.
    ///
    /// # Errors
    /// [`ConflictError`], with nothing done; [`ResolvingError::Payments`].
    pub async fn confirm_keeping(
        &self,
        payment: PaymentId,
        proposal: ProposalId,
        by: UserId,
        reason: Reason,
    ) -> Result<(), ResolvingError> {
        let at_provider = self.at_provider(payment).await?;
        let (confirmer, now) = (Confirmer { payment, proposal, by, reason }, self.now());
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { keep(db, &confirmer, at_provider, now).await }))
            .await
    }

    /// What the provider says that it has taken for a payment, and given nothing back of.
    async fn at_provider(&self, id: PaymentId) -> Result<Option<Money>, ResolvingError> {
        let found = self.0.desk.store.find_payment(id).await?;
        let payment = found.ok_or(PaymentsError::NotFound)?;
        let attempt = self
            .0
            .desk
            .store
            .read::<_, StoreError, _>(move |db| Box::pin(async move { get_attempt(db, id).await }))
            .await?;
        let (order, key) = (&attempt.provider_order_id, attempt.provider_key.as_deref());
        match self.0.desk.find_charge(payment.provider, order, key).await {
            LookUp::Found(charge)
                if charge.order == *order
                    && charge.status == ChargeStatus::Captured
                    && charge.cancels.is_empty() =>
            {
                Ok(Some((charge.amount, charge.currency)))
            }
            LookUp::Found(_) | LookUp::Absent => Ok(None),
            LookUp::Unknown(why) => {
                tracing::warn!(payment.id = %id, why, "nobody says what a conflict came to");
                Err(ConflictError::Unknown.into())
            }
        }
    }
}

/// Decides with everything locked: the workflow before the payment, as by whoever drives it.
async fn keep(
    db: &mut Db,
    confirmer: &Confirmer,
    at_provider: Option<Money>,
    now: Timestamp,
) -> Result<(), ResolvingError> {
    let Confirmer { payment: id, proposal, by, reason } = confirmer;
    let mut workflow = None;
    // What was authorised was confirmed before it is captured.
    for key in [format!("capture:{id}"), format!("confirm:{id}")] {
        if workflow.is_none() {
            workflow = lock_workflow(db, &key).await?;
        }
    }
    let mut payment = get_locked(db, *id).await?;
    let proposals = list_proposals(db, *id).await?;
    let found = proposals.iter().find(|it| it.id == *proposal).ok_or(ConflictError::NotFound)?;
    let (workflow, status, state) = workflow.ok_or(ConflictError::NotConflicted)?;
    let state: Option<ConfirmState> = serde_json::from_value(state).ok();
    let in_suspense = state.and_then(|state| state.taken).filter(|taken| taken.is_captured);
    let confirming = Confirming {
        status: payment.status,
        proposed: found.amount,
        proposed_by: found.proposed_by,
        confirmed_by: *by,
        is_open: found.confirmed_by.is_none() && proposals.first() == Some(found),
        is_given_back: status != WorkflowStatus::Parked,
        agreed: (payment.amount, payment.currency),
        in_suspense: in_suspense.map(|taken| (taken.amount, taken.currency)),
        at_provider,
    };
    let amount = confirming.decide()?;
    end_parked(db, workflow, *by, KEPT, now).await?;
    update_confirmed(db, found.id, *by, now).await?;
    captured(db, &mut payment, amount, *by, now).await?;
    let deed = Deed {
        by: *by,
        action: Action::ConflictConfirmed,
        target: Target::Payment(*id),
        reason: Some(reason),
        before: json!({ "status": PaymentStatus::Conflicted.as_str() }),
        after: json!({
            "status": payment.status.as_str(),
            "proposal_id": found.id,
            "proposed_by": found.proposed_by,
            "captured": amount,
        }),
    };
    record(db, &deed, now).await?;
    let kept = payment.place().conflict_kept(amount);
    book(db, &kept, now).await.map_err(ChangeError::from)?;
    Ok(())
}

async fn captured(
    db: &mut Db,
    payment: &mut Payment,
    amount: Amount,
    by: UserId,
    now: Timestamp,
) -> Result<(), ResolvingError> {
    let attempt = get_attempt(db, payment.id).await?;
    update_attempt(db, attempt.id, AttemptStatus::Succeeded, None, now).await?;
    payment.under_way = None;
    payment.failure_code = None;
    payment.sums.captured = amount.minor();
    let actor = format!("user:{by}");
    let by = By::new(Cause::Admin, &actor);
    let changed = transition(db, payment, PaymentStatus::Captured, &by, now).await;
    Ok(changed.map_err(ChangeError::from)?)
}
