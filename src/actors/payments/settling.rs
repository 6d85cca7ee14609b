//! Settling: a refund ends as two people say of which the provider has given back another amount than was asked for, or of
//! which nobody knows any more.
//!
//! Invariant: its workflow is parked and ends with the decision, and what the provider was asked last is over by then. What
//! is settled as made counts as what was asked for: what the provider moved otherwise is a break of the reconciliation, for
//! somebody to put right.

use serde_json::json;

use super::desk::Desk;
use super::refund::STEP;
use super::silence::is_over;
use super::{Payments, PaymentsError};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::{PaymentId, RefundId, UserId, WorkflowId};
use crate::domain::payments::Cause;
use crate::domain::payments::refunds::{RefundStatus, Settling};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, EffectKey, Reason, WorkflowStatus};
use crate::store::audit::{Deed, record};
use crate::store::payments::refunds::{Refund, fail, get_refund, succeed};
use crate::store::payments::reviews::{find_review, update_review, update_settled};
use crate::store::payments::transitions::By;
use crate::store::payments::{Payment, lock_payment};
use crate::store::workflows::history::find_last_answer;
use crate::store::workflows::standing::{end_parked, lock_workflow};
use crate::store::{Db, StoreError};

/// The name of the line in the workflow's history.
const SETTLED: &str = "settled";
/// Why a refund has failed that two people settle so.
const CODE: &str = "settled_by_hand";

/// How somebody says that a refund is to end.
#[derive(Debug, Clone)]
pub struct Settle {
    pub payment: PaymentId,
    pub refund: RefundId,
    pub settling: Settling,
    pub by: UserId,
    pub reason: Reason,
}

impl Payments {
    /// Notes how a refund is to end that stands still; ends it so where somebody else has said the same before. Gives the
    /// refund as it stands then.
    ///
    /// # Errors
    /// [`PaymentsError::NotFound`], [`PaymentsError::OwnDecision`], [`PaymentsError::NotInReview`], with nothing done.
    pub async fn settle_refund(&self, asked: Settle) -> Result<Refund, PaymentsError> {
        let (desk, now) = (self.0.desk.clone(), self.now());
        self.0
            .desk
            .store
            .write(move |db| Box::pin(async move { settle(db, &desk, &asked, now).await }))
            .await
    }
}

async fn settle(
    db: &mut Db,
    desk: &Desk,
    asked: &Settle,
    now: Timestamp,
) -> Result<Refund, PaymentsError> {
    let Settle { payment, refund, settling, by, reason } = asked;
    let workflow = lock_workflow(db, &format!("refund:{refund}")).await?;
    let workflow = workflow.ok_or(PaymentsError::NotFound)?;
    let mut payment = lock_payment(db, *payment).await?.ok_or(PaymentsError::NotFound)?;
    let mut refund = get_refund(db, *refund).await.map_err(known)?;
    if refund.payment != payment.id {
        return Err(PaymentsError::NotFound);
    }
    if payment.is_of(*by) {
        return Err(PaymentsError::OwnDecision);
    }
    let is_open = match refund.status {
        RefundStatus::NeedsReview => true,
        RefundStatus::Sent | RefundStatus::Unknown => {
            let key = EffectKey::new(workflow.id, STEP, Direction::Forward);
            let absent_after = desk.repeating_cancel(payment.provider).absent_after;
            is_over(db, workflow.id, &key, absent_after, now).await?
        }
        RefundStatus::Requested | RefundStatus::Succeeded | RefundStatus::Failed => false,
    };
    if !is_open || workflow.status != WorkflowStatus::Parked {
        return Err(PaymentsError::NotInReview);
    }
    let before = json!({ "refund_id": refund.id, "status": refund.status.as_str() });
    let said = find_review(db, refund.id).await?;
    let is_second = said.is_some_and(|(before, first)| before == *settling && first != *by);
    let action = if is_second {
        end_parked(db, workflow.id, *by, SETTLED, now).await?;
        end(db, (&mut payment, &mut refund), asked, workflow.id, now).await?;
        update_settled(db, refund.id, *by).await?;
        Action::RefundSettled
    } else {
        update_review(db, refund.id, *settling, *by).await?;
        Action::RefundSettlingProposed
    };
    let deed = Deed {
        by: *by,
        action,
        target: Target::Payment(payment.id),
        reason: Some(reason),
        before,
        after: json!({
            "refund_id": refund.id,
            "status": refund.status.as_str(),
            "settle_as": settling.as_str(),
        }),
    };
    record(db, &deed, now).await?;
    Ok(refund)
}

/// Ends it as it would have ended by itself.
async fn end(
    db: &mut Db,
    (payment, refund): (&mut Payment, &mut Refund),
    asked: &Settle,
    workflow: WorkflowId,
    now: Timestamp,
) -> Result<(), PaymentsError> {
    match asked.settling {
        Settling::Succeeded => {
            let key = EffectKey::new(workflow, STEP, Direction::Forward);
            let answer = find_last_answer(db, workflow, &key).await?;
            let given = answer.as_ref().and_then(|(said, _)| said.get("provider_key")?.as_str());
            let given = given.unwrap_or(SETTLED);
            let actor = format!("user:{}", asked.by);
            let by = By::new(Cause::Admin, &actor);
            Ok(succeed(db, payment, refund, given, &by, now).await?)
        }
        Settling::Failed => Ok(fail(db, payment, refund, CODE, now).await?),
    }
}

fn known(error: StoreError) -> PaymentsError {
    match error {
        StoreError::NotFound => PaymentsError::NotFound,
        error => error.into(),
    }
}
