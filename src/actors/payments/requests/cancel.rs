//! Canceling: what was not taken is given up, what was set aside is voided, and what was taken goes back, whole or in
//! part.

use std::ops::ControlFlow;

use serde_json::json;

use super::super::answers::{
    Answered, DISPUTED, EXCEEDS_REFUNDABLE, PARTIAL_NOT_SUPPORTED, REFUND_ACCOUNT_REQUIRED,
    RELEASED, Refusal, TOO_MANY_REFUNDS, UNDER_WAY, WRONG_STATE, seen,
};
use super::super::refund::{REFUND, RefundState, VERSION};
use super::super::void::{self, VOID, VoidState};
use super::super::{Payments, PaymentsError};
use super::{About, Step, answered, claimed, not_now};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::bank_accounts::RefundAccount;
use crate::domain::idempotency::{IdempotentCall, StoredAnswer};
use crate::domain::ids::{PaymentId, RefundId, UserId};
use crate::domain::money::Amount;
use crate::domain::payments::refunds::{RefundError, RefundReason, refund_of};
use crate::domain::payments::{Cause, PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::Db;
use crate::store::audit::{Deed, record};
use crate::store::payments::attempts::{Attempt, AttemptStatus, get_attempt, update_attempt};
use crate::store::payments::refunds::{
    NewRefund, Refund, SealedRefundAccount, count_refunds, request as request_refund,
};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, lock_payment, update_under_way, workflow_key};
use crate::store::settlements::releases::is_released;
use crate::store::workflows::NewWorkflow;

/// A payment that is to be given up or given back.
#[derive(Debug, Clone)]
pub struct CancelPayment {
    pub payment: PaymentId,
    /// Whose it has to be; `None` where the caller may do so for everybody.
    pub payer: Option<UserId>,
    /// Who asks, such as `user:<id>`.
    pub actor: String,
    /// The administrator who asks for somebody else: that is in the audit.
    pub admin: Option<UserId>,
    /// `None` for all that is left.
    pub amount: Option<Amount>,
    pub reason: RefundReason,
    /// Where it goes; what came by a transfer does not go back the way it came.
    pub refund_account: Option<RefundAccount>,
}

impl Payments {
    /// Cancels or refunds: 200 when it is done, 202 while nobody knows, 422 where the provider refuses or too much is
    /// asked for.
    ///
    /// # Errors
    /// [`PaymentsError::NotFound`] for one that is somebody else's.
    pub async fn cancel(
        &self,
        request: CancelPayment,
        call: IdempotentCall,
    ) -> Result<Answered, PaymentsError> {
        let (this, now, kept) = (self.clone(), self.now(), call.clone());
        let id = request.payment;
        let step = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move { this.begin_canceling(db, request, &call, now).await })
            })
            .await;
        self.follow(step, id, kept, About::Canceling).await
    }

    async fn begin_canceling(
        &self,
        db: &mut Db,
        request: CancelPayment,
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
        let by_hand = request.admin.map(|by| ByHand {
            by,
            reason: request.reason.clone(),
            amount: request.amount,
            status: payment.status,
        });
        let refused = async |db: &mut Db, answer| answered(db, call, answer, Some(id)).await;
        if payment.under_way.is_some() {
            return not_now(UNDER_WAY, &payment);
        }
        if request.payer.is_some() && is_released(db, id).await? {
            return Ok(refused(db, RELEASED.of(&payment)).await?);
        }
        let attempt = get_attempt(db, id).await?;
        let new = match payment.status {
            PaymentStatus::Created if is_whole(&request, &payment) => {
                give_up(db, &mut payment, &attempt, &request.actor, now).await?;
                write_down(db, id, by_hand.as_ref(), now).await?;
                return Ok(refused(db, seen(200, &payment, &json!({}))).await?);
            }
            PaymentStatus::AwaitingDeposit | PaymentStatus::Authorized
                if is_whole(&request, &payment) =>
            {
                let Some(key) = attempt.provider_key.clone() else {
                    return Ok(refused(db, WRONG_STATE.of(&payment)).await?);
                };
                update_under_way(db, &mut payment, Some(UnderWay::Void), now).await?;
                void_of(&payment, &attempt, key, &request, now)
            }
            _ => match self.refund(db, &mut payment, &attempt, request, now).await? {
                Ok(new) => new,
                Err(answer) => return Ok(refused(db, answer).await?),
            },
        };
        write_down(db, id, by_hand.as_ref(), now).await?;
        self.begin(db, call, &new, now).await
    }

    /// Reserves a refund, and gives the workflow that makes it; or why there is none.
    async fn refund(
        &self,
        db: &mut Db,
        payment: &mut Payment,
        attempt: &Attempt,
        request: CancelPayment,
        now: Timestamp,
    ) -> Result<Result<NewWorkflow, StoredAnswer>, PaymentsError> {
        let made = count_refunds(db, payment.id).await?;
        let amount = match refund_of(payment.status, payment.sums, made, request.amount) {
            Ok(amount) => amount,
            Err(error) => return Ok(Err(refusal_of(error, payment))),
        };
        let is_partial = amount.minor() != payment.sums.captured;
        let provider = self.0.desk.provider(payment.provider);
        let has_partial = provider.is_some_and(|it| it.capabilities().has_partial_refund);
        if is_partial && !has_partial {
            return Ok(Err(PARTIAL_NOT_SUPPORTED.of(payment)));
        }
        let Some(key) = attempt.provider_key.clone() else {
            return Ok(Err(WRONG_STATE.of(payment)));
        };
        let id = RefundId::from(clock::new_uuid());
        let sealed_account = match &request.refund_account {
            Some(account) if payment.is_by_deposit => Some(self.sealed(id, account)?),
            None if payment.is_by_deposit => {
                return Ok(Err(REFUND_ACCOUNT_REQUIRED.of(payment)));
            }
            Some(_) | None => None,
        };
        let new = NewRefund {
            id,
            amount,
            reason: request.reason.as_str().to_owned(),
            actor: request.actor,
            sealed_account,
        };
        let refund = request_refund(db, payment, new, now).await?;
        Ok(Ok(refund_workflow(payment, attempt, key, &refund, now)))
    }
}

impl Payments {
    /// Where a refund goes, for its row.
    fn sealed(
        &self,
        refund: RefundId,
        account: &RefundAccount,
    ) -> Result<SealedRefundAccount, PaymentsError> {
        let unavailable = |why: &str| PaymentsError::Unavailable(why.to_owned());
        let seal = self.0.desk.seal.as_ref();
        let seal = seal.ok_or_else(|| unavailable("there is no key for bank accounts"))?;
        let details = seal
            .seal(&account.to_text(), refund.uuid().as_bytes())
            .map_err(|_| unavailable("the account cannot be sealed"))?;
        Ok(SealedRefundAccount { details, seal: seal.mark().to_owned() })
    }

    /// What tells a text that is not kept from another, and can be kept: nobody finds out the text by trying, without the
    /// key. The same for all without a key: then nothing is refunded to an account.
    #[must_use]
    pub fn disguise(&self, text: &str) -> String {
        self.0.desk.seal.as_ref().map(|seal| seal.digest(text)).unwrap_or_default()
    }
}

/// What an administrator has asked for, and what the payment was then.
struct ByHand {
    by: UserId,
    reason: RefundReason,
    amount: Option<Amount>,
    status: PaymentStatus,
}

/// Writes down that an administrator has asked for it; what came of it is in the history of the payment.
async fn write_down(
    db: &mut Db,
    payment: PaymentId,
    asked: Option<&ByHand>,
    now: Timestamp,
) -> Result<(), PaymentsError> {
    let Some(ByHand { by, reason, amount, status }) = asked else { return Ok(()) };
    let reason = Reason::parse(reason.as_str());
    let deed = Deed {
        by: *by,
        action: Action::PaymentRefunded,
        target: Target::Payment(payment),
        reason: reason.as_ref(),
        before: json!({ "status": status.as_str() }),
        // `null` for all that is left.
        after: json!({ "asked_for": amount }),
    };
    Ok(record(db, &deed, now).await?)
}

/// Before anything was taken there is nothing to take a part of.
fn is_whole(request: &CancelPayment, payment: &Payment) -> bool {
    request.amount.is_none_or(|amount| amount == payment.amount)
}

fn refusal_of(error: RefundError, payment: &Payment) -> StoredAnswer {
    let refusal: Refusal = match error {
        RefundError::Disputed => DISPUTED,
        RefundError::WrongStatus(_) => WRONG_STATE,
        RefundError::TooMany => TOO_MANY_REFUNDS,
        RefundError::ExceedsRefundable { refundable } => {
            let more = json!({ "refundable": refundable });
            return EXCEEDS_REFUNDABLE.answer(Some(payment), &more);
        }
    };
    refusal.of(payment)
}

/// Nobody has asked the provider to take it, and nobody will.
async fn give_up(
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    actor: &str,
    now: Timestamp,
) -> Result<(), PaymentsError> {
    update_attempt(db, attempt.id, AttemptStatus::Abandoned, None, now).await?;
    let by = By::new(Cause::Api, actor);
    Ok(transition(db, payment, PaymentStatus::Canceled, &by, now).await?)
}

fn void_of(
    payment: &Payment,
    attempt: &Attempt,
    provider_key: String,
    request: &CancelPayment,
    now: Timestamp,
) -> NewWorkflow {
    let state = VoidState {
        payment: payment.id,
        attempt: attempt.id,
        provider: payment.provider,
        provider_key,
        order: attempt.provider_order_id.clone(),
        currency: payment.currency,
        reason: request.reason.as_str().to_owned(),
    };
    NewWorkflow {
        dedupe_key: workflow_key(UnderWay::Void, payment.id, payment.version),
        id: clock::new_uuid().into(),
        kind: VOID,
        version: void::VERSION,
        state: json!(state),
        wake_at: now,
    }
}

/// The workflow that makes a refund.
pub(in crate::actors::payments) fn refund_workflow(
    payment: &Payment,
    attempt: &Attempt,
    provider_key: String,
    refund: &Refund,
    now: Timestamp,
) -> NewWorkflow {
    let state = RefundState {
        payment: payment.id,
        refund: refund.id,
        provider: payment.provider,
        provider_key,
        order: attempt.provider_order_id.clone(),
        amount: refund.amount,
        currency: payment.currency,
        reason: refund.reason.clone(),
    };
    NewWorkflow {
        id: clock::new_uuid().into(),
        kind: REFUND,
        version: VERSION,
        dedupe_key: format!("refund:{}", refund.id),
        state: json!(state),
        wake_at: now,
    }
}
