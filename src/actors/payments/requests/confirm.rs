//! Confirming: a payer has paid at the provider, and says with which key.

use std::fmt;
use std::ops::ControlFlow;
use std::time::Instant;

use serde_json::json;

use super::super::answers::{
    AMOUNT_MISMATCH, Answered, EXPIRED, PAYMENT_KEY_IN_USE, Refusal, UNDER_WAY, WRONG_STATE,
};
use super::super::confirm::{CONFIRM, ConfirmState, VERSION};
use super::super::{Payments, PaymentsError, expiry};
use super::{About, Step, answered, claimed, not_now, not_stopped};
use crate::clock;
use crate::domain::idempotency::IdempotentCall;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::Amount;
use crate::domain::payments::charges::Agreed;
use crate::domain::payments::{Cause, PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::store::payments::attempts::{
    Attempt, AttemptStatus, find_attempt, get_attempt, update_attempt, update_provider_key,
};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, lock_payment, update_under_way, workflow_key};
use crate::store::workflows::NewWorkflow;
use crate::store::{Db, StoreError};

const PAYMENT_KEY_BYTES_MAX: usize = 200;
/// What the table says where two payments are confirmed with one key at once.
const KEY_TAKEN: &str = "payment_attempts_provider_provider_key_key";

/// What a provider calls a payment that its payer has made: up to 200 printable characters of ASCII.
#[derive(Clone, PartialEq, Eq)]
pub struct PaymentKey(String);

impl PaymentKey {
    /// `None` for anything that is no key.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_fit = (1..=PAYMENT_KEY_BYTES_MAX).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_graphic());
        is_fit.then(|| Self(text.to_owned()))
    }
}

impl fmt::Debug for PaymentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PaymentKey")
    }
}

/// A payment that its payer has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfirmPayment {
    pub payer: UserId,
    pub payment: PaymentId,
    pub payment_key: PaymentKey,
    /// What the payer has paid.
    pub amount: Amount,
}

impl Payments {
    /// Has a payment taken that its payer has made: 200 when it is, 202 while nobody knows, 402 when it was declined.
    ///
    /// # Errors
    /// [`PaymentsError::NotFound`] for one that is somebody else's.
    pub async fn confirm(
        &self,
        request: ConfirmPayment,
        call: IdempotentCall,
    ) -> Result<Answered, PaymentsError> {
        let (this, now, kept) = (self.clone(), self.now(), call.clone());
        let (id, began) = (request.payment, Instant::now());
        let begun = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move { this.begin_confirming(db, &request, &call, now).await })
            })
            .await;
        match begun {
            // Nothing was done, and nothing is kept: another payment has the key by now.
            Err(PaymentsError::Store(StoreError::Constraint(name))) if name == KEY_TAKEN => {
                let (answer, payment) = (PAYMENT_KEY_IN_USE.plain(), Some(id));
                Ok(Answered { answer, is_replayed: false, payment })
            }
            begun => {
                let answered = self.follow(begun, id, kept, About::Confirming).await?;
                if !answered.is_replayed {
                    metrics::histogram!(
                        "madang_payment_confirm_seconds",
                        "result" => result_of(answered.answer.status),
                    )
                    .record(began.elapsed());
                }
                Ok(answered)
            }
        }
    }

    async fn begin_confirming(
        &self,
        db: &mut Db,
        request: &ConfirmPayment,
        call: &IdempotentCall,
        now: Timestamp,
    ) -> Result<Step, PaymentsError> {
        if let ControlFlow::Break(step) = claimed(db, call, now).await? {
            return Ok(step);
        }
        let found = lock_payment(db, request.payment).await?;
        let found = found.filter(|it| it.payer == request.payer);
        let mut payment = found.ok_or(PaymentsError::NotFound)?;
        let attempt = get_attempt(db, payment.id).await?;
        let key = request.payment_key.0.as_str();
        if payment.under_way.is_some() {
            return not_now(UNDER_WAY, &payment);
        }
        if let Some(refusal) = refusal(db, &mut payment, request, now).await? {
            return Ok(answered(db, call, refusal.of(&payment), Some(payment.id)).await?);
        }
        if is_of_another(db, &payment, &attempt, request).await? {
            // That may be about to lose it: nobody confirms with somebody else's key in the end.
            return not_now(PAYMENT_KEY_IN_USE, &payment);
        }
        not_stopped(db, payment.provider).await?;
        update_provider_key(db, attempt.id, key).await?;
        let new = send(db, &mut payment, &attempt, key, now).await?;
        self.begin(db, call, &new, now).await
    }
}

/// What a confirmation came to, in a word.
const fn result_of(status: u16) -> &'static str {
    match status {
        200 => "done",
        202 => "unknown",
        402 => "declined",
        _ => "refused",
    }
}

/// Whether another payment is confirmed with the same key, or was.
async fn is_of_another(
    db: &mut Db,
    payment: &Payment,
    attempt: &Attempt,
    request: &ConfirmPayment,
) -> Result<bool, StoreError> {
    let key = Some(request.payment_key.0.as_str());
    let known = find_attempt(db, payment.provider, None, key).await?;
    Ok(known.is_some_and(|it| it.id != attempt.id))
}

/// Why a payment is not confirmed.
async fn refusal(
    db: &mut Db,
    payment: &mut Payment,
    request: &ConfirmPayment,
    now: Timestamp,
) -> Result<Option<Refusal>, PaymentsError> {
    if expiry::expire(db, payment, now).await? || payment.status == PaymentStatus::Expired {
        return Ok(Some(EXPIRED));
    }
    if payment.status != PaymentStatus::Created {
        return Ok(Some(WRONG_STATE));
    }
    Ok((request.amount != payment.amount).then_some(AMOUNT_MISMATCH))
}

/// Notes that the provider is about to be asked to take a payment, and gives the workflow that does so.
pub(in crate::actors::payments) async fn send(
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    key: &str,
    now: Timestamp,
) -> Result<NewWorkflow, PaymentsError> {
    update_attempt(db, attempt.id, AttemptStatus::Sent, None, now).await?;
    if payment.is_by_deposit {
        // Its payer has not paid: an account is opened for it.
        update_under_way(db, payment, Some(UnderWay::Confirm), now).await?;
    } else {
        payment.under_way = Some(UnderWay::Confirm);
        let actor = format!("user:{}", payment.payer);
        let by = By::new(Cause::Api, &actor);
        transition(db, payment, PaymentStatus::Confirming, &by, now).await?;
    }
    Ok(NewWorkflow {
        id: clock::new_uuid().into(),
        kind: CONFIRM,
        version: VERSION,
        dedupe_key: workflow_key(UnderWay::Confirm, payment.id, payment.version),
        state: json!(state_of(payment, attempt, key)),
        wake_at: now,
    })
}

/// What a flow has to know of a payment.
pub(super) fn state_of(payment: &Payment, attempt: &Attempt, key: &str) -> ConfirmState {
    ConfirmState {
        payment: payment.id,
        attempt: attempt.id,
        provider: payment.provider,
        provider_key: key.to_owned(),
        agreed: Agreed {
            order: attempt.provider_order_id.clone(),
            amount: payment.amount,
            currency: payment.currency,
            is_captured_later: payment.is_captured_later,
            is_by_deposit: payment.is_by_deposit,
        },
        give_up_at: payment.expires_at,
        taken: None,
    }
}
