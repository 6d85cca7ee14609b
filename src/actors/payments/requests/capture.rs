//! Capturing: what was set aside on the payer's side is taken.

use std::ops::ControlFlow;

use serde_json::json;

use super::super::answers::{Answered, UNDER_WAY, WRONG_STATE};
use super::super::confirm::{CAPTURE, ConfirmState, VERSION};
use super::super::{Payments, PaymentsError};
use super::confirm::state_of;
use super::{About, Step, answered, claimed, not_now, not_stopped};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::idempotency::IdempotentCall;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::payments::{PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::domain::workflows::TRIED_MAX;
use crate::store::Db;
use crate::store::audit::{Deed, record};
use crate::store::payments::attempts::get_attempt;
use crate::store::payments::{Payment, lock_payment, update_under_way, workflow_key};
use crate::store::workflows::NewWorkflow;

/// What was authorised and is to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CapturePayment {
    pub payment: PaymentId,
    /// Whose it has to be; `None` where the caller may do so for everybody.
    pub payer: Option<UserId>,
    /// The administrator who asks for somebody else: that is in the audit.
    pub admin: Option<UserId>,
}

impl Payments {
    /// Takes what was authorised, whole: 200 when it is taken, 202 while nobody knows, 402 where it has lapsed.
    ///
    /// # Errors
    /// [`PaymentsError::NotFound`] for one that is somebody else's.
    pub async fn capture(
        &self,
        request: CapturePayment,
        call: IdempotentCall,
    ) -> Result<Answered, PaymentsError> {
        let (this, now, kept) = (self.clone(), self.now(), call.clone());
        let id = request.payment;
        let step = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move { this.begin_capturing(db, &request, &call, now).await })
            })
            .await;
        self.follow(step, id, kept, About::Confirming).await
    }

    async fn begin_capturing(
        &self,
        db: &mut Db,
        request: &CapturePayment,
        call: &IdempotentCall,
        now: Timestamp,
    ) -> Result<Step, PaymentsError> {
        if let ControlFlow::Break(step) = claimed(db, call, now).await? {
            return Ok(step);
        }
        let found = lock_payment(db, request.payment).await?;
        let found = found.filter(|it| request.payer.is_none_or(|payer| payer == it.payer));
        let mut payment = found.ok_or(PaymentsError::NotFound)?;
        let id = payment.id;
        if request.admin.is_some_and(|by| payment.is_of(by)) {
            return Err(PaymentsError::OwnDecision);
        }
        if payment.under_way.is_some() {
            return not_now(UNDER_WAY, &payment);
        }
        let attempt = get_attempt(db, id).await?;
        let Some(key) = attempt.provider_key.as_deref().filter(|_| is_capturable(&payment)) else {
            return Ok(answered(db, call, WRONG_STATE.of(&payment), Some(id)).await?);
        };
        not_stopped(db, payment.provider).await?;
        update_under_way(db, &mut payment, Some(UnderWay::Capture), now).await?;
        if let Some(by) = request.admin {
            let said = json!({ "status": payment.status.as_str() });
            let deed = Deed {
                by,
                action: Action::PaymentCaptured,
                target: Target::Payment(id),
                reason: None,
                before: said.clone(),
                after: said,
            };
            record(db, &deed, now).await?;
        }
        // The payer has done their part: it is tried for as long as anything is.
        let give_up_at = now.plus(TRIED_MAX);
        let state = ConfirmState { give_up_at, ..state_of(&payment, &attempt, key) };
        let new = NewWorkflow {
            id: clock::new_uuid().into(),
            kind: CAPTURE,
            version: VERSION,
            dedupe_key: workflow_key(UnderWay::Capture, id, payment.version),
            state: json!(state),
            wake_at: now,
        };
        self.begin(db, call, &new, now).await
    }
}

fn is_capturable(payment: &Payment) -> bool {
    payment.status == PaymentStatus::Authorized
}
