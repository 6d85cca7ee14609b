//! Conflicts: what a provider has taken otherwise than agreed, and does not give back, is kept when two people say so.
//!
//! Invariant: the provider is asked right before, and its workflow is parked, from before that question until it ends with
//! the decision: nobody gives back what is kept. What was asked for last is over by then: it was refused, or so long ago that
//! its silence means something.

use std::time::Duration;

use serde_json::json;

use super::confirm::{ConfirmState, GIVE_BACK};
use super::silence::is_over;
use super::{Payments, PaymentsError};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{PaymentId, ProposalId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::conflicts::{Confirming, ConflictError};
use crate::domain::payments::{Cause, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, EffectKey, Reason, WorkflowStatus};
use crate::providers::payments::{Charge, ChargeStatus, LookUp};
use crate::store::audit::{Deed, record};
use crate::store::disputes::is_wanted_back;
use crate::store::ledger::book;
use crate::store::payments::attempts::{AttemptStatus, get_attempt, update_attempt};
use crate::store::payments::conflicts::{insert_proposal, list_proposals, update_confirmed};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{ChangeError, Payment, get_locked, lock_payment};
use crate::store::workflows::standing::{StoodStill, end_parked, find_standing, lock_workflow};
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
pub(super) struct Confirmer {
    pub(super) payment: PaymentId,
    pub(super) proposal: ProposalId,
    pub(super) by: UserId,
    pub(super) reason: Reason,
}

type Money = (Amount, Currency);

/// What was known before everything was locked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    /// Of the workflow that was parked by then.
    fence: i64,
    /// What the provider has, as it says; `None` for anything but a charge of which nothing was given back.
    at_provider: Option<Money>,
    /// Whether it is giving some of it back.
    is_given_back: bool,
    /// How long after a call its silence means something.
    absent_after: Duration,
}

impl Payments {
    /// Notes what somebody has seen at the provider of a payment that is conflicted; moves nothing. It takes the place of an
    /// earlier one that nobody has confirmed.
    ///
    /// # Errors
    /// [`ConflictError::NotConflicted`], [`ConflictError::OwnDecision`], [`ResolvingError::Payments`].
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
                    if found.is_of(by) {
                        return Err(ConflictError::OwnDecision.into());
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
        let asked = self.ask(payment).await?;
        self.decide(Confirmer { payment, proposal, by, reason }, asked).await
    }

    /// Keeps it, unless something else has become of it since the provider was asked.
    pub(super) async fn decide(
        &self,
        confirmer: Confirmer,
        asked: Asked,
    ) -> Result<(), ResolvingError> {
        let now = self.now();
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { keep(db, &confirmer, asked, now).await }))
            .await
    }

    /// Asks the provider what it has taken for a payment whose workflow stands still.
    pub(super) async fn ask(&self, id: PaymentId) -> Result<Asked, ResolvingError> {
        let found = self.0.desk.store.find_payment(id).await?;
        let payment = found.ok_or(PaymentsError::NotFound)?;
        if payment.status != PaymentStatus::Conflicted {
            return Err(ConflictError::NotConflicted.into());
        }
        let read = self.0.desk.store.read::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let attempt = get_attempt(db, id).await?;
                for key in workflow_keys(id) {
                    if let Some(found) = find_standing(db, &key).await? {
                        return Ok((attempt, Some(found)));
                    }
                }
                Ok((attempt, None))
            })
        });
        let (attempt, workflow) = read.await?;
        let workflow = workflow.filter(|it| it.status == WorkflowStatus::Parked);
        let fence = workflow.ok_or(ConflictError::GivenBack)?.fence;
        let absent_after = self.0.desk.repeating_charge(payment.provider).absent_after;
        let (order, key) = (&attempt.provider_order_id, attempt.provider_key.as_deref());
        match self.0.desk.find_charge(payment.provider, order, key).await {
            LookUp::Found(charge) => Ok(Asked {
                fence,
                at_provider: is_whole(&charge, order).then_some((charge.amount, charge.currency)),
                is_given_back: charge.has_open_cancels,
                absent_after,
            }),
            LookUp::Absent => {
                Ok(Asked { fence, at_provider: None, is_given_back: false, absent_after })
            }
            LookUp::Unknown(why) => {
                tracing::warn!(payment.id = %id, why, "nobody says what a conflict came to");
                Err(ConflictError::Unknown.into())
            }
        }
    }
}

fn is_whole(charge: &Charge, order: &str) -> bool {
    charge.order == order && charge.status == ChargeStatus::Captured && charge.cancels.is_empty()
}

/// What may have conflicted: what was authorised was confirmed before it is captured.
fn workflow_keys(id: PaymentId) -> [String; 2] {
    [format!("capture:{id}"), format!("confirm:{id}")]
}

/// Decides with everything locked: the workflow before the payment, as by whoever drives it.
async fn keep(
    db: &mut Db,
    confirmer: &Confirmer,
    asked: Asked,
    now: Timestamp,
) -> Result<(), ResolvingError> {
    let Confirmer { payment: id, proposal, by, reason } = confirmer;
    let mut workflow = None;
    for key in workflow_keys(*id) {
        if workflow.is_none() {
            workflow = lock_workflow(db, &key).await?;
        }
    }
    let mut payment = get_locked(db, *id).await?;
    let proposals = list_proposals(db, *id).await?;
    let found = proposals.iter().find(|it| it.id == *proposal).ok_or(ConflictError::NotFound)?;
    let StoodStill { id: workflow, status, fence, state } =
        workflow.ok_or(ConflictError::NotConflicted)?;
    // Somebody else may have given it another turn while the provider was asked.
    let is_still = status == WorkflowStatus::Parked && fence == asked.fence;
    let key = EffectKey::new(workflow, GIVE_BACK, Direction::Forward);
    let is_over = is_over(db, workflow, &key, asked.absent_after, now).await?;
    let state: Option<ConfirmState> = serde_json::from_value(state).ok();
    let in_suspense = state.and_then(|state| state.taken).filter(|taken| taken.is_captured);
    let confirming = Confirming {
        status: payment.status,
        proposed: found.amount,
        proposed_by: found.proposed_by,
        confirmed_by: *by,
        is_open: found.confirmed_by.is_none() && proposals.first() == Some(found),
        is_own: payment.is_of(*by),
        is_given_back: !is_still || !is_over || asked.is_given_back,
        is_disputed: is_wanted_back(db, *id).await?,
        agreed: (payment.amount, payment.currency),
        in_suspense: in_suspense.map(|taken| (taken.amount, taken.currency)),
        at_provider: asked.at_provider,
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
