//! Requests: what callers ask for. Each is claimed under its key, does its own part, and begins its workflow in one
//! transaction; then its caller waits for the end, if it comes soon.
//!
//! Invariant: an answer is kept when it is final. What is still going on, and what is refused because something else is,
//! is answered anew each time.

mod cancel;
mod capture;
mod confirm;
mod create;

#[cfg(test)]
pub(super) use self::cancel::refund_workflow;
#[cfg(test)]
pub(super) use self::confirm::send;
use std::ops::ControlFlow;

use serde_json::json;
use uuid::Uuid;

pub use self::cancel::CancelPayment;
pub use self::capture::CapturePayment;
pub use self::confirm::{ConfirmPayment, PaymentKey};
pub use self::create::{CreatePayment, PaymentMethod};
use super::answers::{self, ACCEPTED, Answered, Refusal};
use super::{Payments, PaymentsError};
use crate::domain::idempotency::{IdempotentCall, StoredAnswer};
use crate::domain::ids::{PaymentId, RefundId, WorkflowId};
use crate::domain::payments::ProviderName;
use crate::domain::payments::refunds::RefundStatus;
use crate::domain::time::Timestamp;
use crate::store::idempotency::{Claimed, attach, claim, finish};
use crate::store::payments::Payment;
use crate::store::payments::refunds::Refund;
use crate::store::payments::stops::is_stopped;
use crate::store::workflows::claims::Begun;
use crate::store::workflows::{NewWorkflow, Running};
use crate::store::{Db, StoreError};

/// What a transaction came to.
enum Step {
    Answered(Answered),
    /// A workflow does it, begun just now or before.
    Follow(WorkflowId, Option<Box<Running>>),
}

/// What is answered when a workflow has come to its end.
#[derive(Debug, Clone, Copy)]
enum About {
    Confirming,
    Canceling,
}

/// Claims a request: the first statement of its transaction. Goes on where it is the caller's, with what was made for
/// it before.
async fn claimed(
    db: &mut Db,
    call: &IdempotentCall,
    now: Timestamp,
) -> Result<ControlFlow<Step, Option<Uuid>>, PaymentsError> {
    Ok(match claim(db, call, now).await? {
        Claimed::New => ControlFlow::Continue(None),
        Claimed::Resumed(resource) => ControlFlow::Continue(Some(resource)),
        Claimed::Finished(answer) => ControlFlow::Break(Step::Answered(Answered {
            answer,
            is_replayed: true,
            payment: None,
        })),
        Claimed::Workflow(id) => ControlFlow::Break(Step::Follow(id, None)),
        Claimed::InFlight => return Err(PaymentsError::KeyInUse),
        Claimed::Reused => return Err(PaymentsError::KeyReused),
    })
}

/// Refuses what would take something new from a provider that somebody has stopped. The transaction leaves nothing then,
/// not even the claim.
async fn not_stopped(db: &mut Db, provider: ProviderName) -> Result<(), PaymentsError> {
    if is_stopped(db, provider).await? {
        return Err(PaymentsError::ProviderStopped);
    }
    Ok(())
}

/// Keeps an answer that is final.
async fn answered(
    db: &mut Db,
    call: &IdempotentCall,
    answer: StoredAnswer,
    payment: Option<PaymentId>,
) -> Result<Step, StoreError> {
    let answer = finish(db, call, &answer).await?;
    Ok(Step::Answered(Answered { answer, is_replayed: false, payment }))
}

/// What is refused at this moment only: nothing of the request is left, and a repeat is asked anew.
fn not_now<T>(refusal: Refusal, payment: &Payment) -> Result<T, PaymentsError> {
    Err(PaymentsError::NotNow(Box::new(refusal.of(payment))))
}

impl Payments {
    /// Begins what a request is for, and ties its key to that.
    async fn begin(
        &self,
        db: &mut Db,
        call: &IdempotentCall,
        new: &NewWorkflow,
        now: Timestamp,
    ) -> Result<Step, PaymentsError> {
        match self.0.engine.begin(db, new, now).await? {
            Begun::Now(running) => {
                attach(db, call, new.id).await?;
                Ok(Step::Follow(new.id, Some(running)))
            }
            Begun::Before(_) => Err(PaymentsError::Broken("it was begun before".to_owned())),
        }
    }

    /// Sees to it that a request is answered: at once, or by what became of its workflow.
    async fn follow(
        &self,
        step: Result<Step, PaymentsError>,
        payment: PaymentId,
        call: IdempotentCall,
        about: About,
    ) -> Result<Answered, PaymentsError> {
        let (workflow, running) = match step {
            Ok(Step::Answered(answered)) => return Ok(answered),
            Ok(Step::Follow(workflow, running)) => (workflow, running),
            Err(PaymentsError::NotNow(answer)) => {
                let (answer, payment) = (*answer, Some(payment));
                return Ok(Answered { answer, is_replayed: false, payment });
            }
            Err(error) => return Err(error),
        };
        let is_replayed = running.is_none();
        if let Some(running) = running {
            self.0.workflows.begin(*running);
        }
        self.0.workflows.wait_for_end(workflow, self.0.settings.answered_within).await?;
        let answer = self.outcome(workflow, payment, about).await?;
        let payment = Some(payment);
        if answer.status == ACCEPTED {
            return Ok(Answered { answer, is_replayed, payment });
        }
        let answer = self
            .0
            .desk
            .store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move { finish(db, &call, &answer).await })
            })
            .await?;
        Ok(Answered { answer, is_replayed, payment })
    }

    async fn outcome(
        &self,
        workflow: WorkflowId,
        id: PaymentId,
        about: About,
    ) -> Result<StoredAnswer, PaymentsError> {
        let store = &self.0.desk.store;
        let found = store.find_payment(id).await?;
        let payment = found.ok_or(PaymentsError::NotFound)?;
        if matches!(about, About::Confirming) {
            return Ok(answers::of_confirming(&payment));
        }
        let (seen, _) = store.get_workflow(workflow).await?;
        let refund = seen.dedupe_key.strip_prefix("refund:").and_then(|id| id.parse().ok());
        let Some(refund): Option<RefundId> = refund else {
            return Ok(answers::of_voiding(&payment));
        };
        let refund = store.list_refunds(id).await?.into_iter().find(|it| it.id == refund);
        Ok(of_refunding(&payment, &refund.ok_or(PaymentsError::NotFound)?))
    }
}

/// What came of a refund.
fn of_refunding(payment: &Payment, refund: &Refund) -> StoredAnswer {
    let more = json!({ "refund": {
        "id": refund.id,
        "amount": refund.amount,
        "status": refund.status.as_str(),
        "failure_code": refund.failure_code,
    }});
    match refund.status {
        RefundStatus::Succeeded => answers::seen(200, payment, &more),
        RefundStatus::Failed => answers::CANCEL_DECLINED.answer(Some(payment), &more),
        RefundStatus::Requested
        | RefundStatus::Sent
        | RefundStatus::Unknown
        | RefundStatus::NeedsReview => answers::seen(ACCEPTED, payment, &more),
    }
}
