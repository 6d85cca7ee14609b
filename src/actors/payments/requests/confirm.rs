//! Confirming: a payer has paid at the provider, and says with which key.

use std::fmt;
use std::ops::ControlFlow;

use serde_json::json;

use super::super::answers::{
    AMOUNT_MISMATCH, Answered, EXPIRED, PAYMENT_KEY_IN_USE, Refusal, UNDER_WAY, WRONG_STATE,
};
use super::super::confirm::{CONFIRM, ConfirmState, VERSION};
use super::super::{Payments, PaymentsError, expiry};
use super::{About, Step, answered, claimed};
use crate::clock;
use crate::domain::idempotency::IdempotentCall;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::Amount;
use crate::domain::payments::charges::Agreed;
use crate::domain::payments::{Cause, PaymentStatus, UnderWay};
use crate::domain::time::Timestamp;
use crate::store::idempotency::attach;
use crate::store::payments::attempts::{
    Attempt, AttemptStatus, find_attempt, get_attempt, update_attempt, update_provider_key,
};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, lock_payment, update_under_way};
use crate::store::workflows::NewWorkflow;
use crate::store::workflows::claims::Begun;
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
        let id = request.payment;
        let begun = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move { this.begin_confirming(db, &request, &call, now).await })
            })
            .await;
        match begun {
            Ok(step) => self.follow(step, id, kept, About::Confirming).await,
            // Nothing was done, and nothing is kept: another payment has the key by now.
            Err(PaymentsError::Store(StoreError::Constraint(name))) if name == KEY_TAKEN => {
                let (answer, payment) = (PAYMENT_KEY_IN_USE.plain(), Some(id));
                Ok(Answered { answer, is_replayed: false, payment })
            }
            Err(error) => Err(error),
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
        if let Some(refusal) = refusal(db, &mut payment, &attempt, request, now).await? {
            return Ok(answered(db, call, refusal.of(&payment), Some(payment.id)).await?);
        }
        let running = begin(self, db, &mut payment, &attempt, key, now).await?;
        let workflow = match &running {
            Begun::Now(running) => running.claim.id,
            Begun::Before(id) => *id,
        };
        attach(db, call, workflow).await?;
        Ok(match running {
            Begun::Now(running) => Step::Follow(workflow, Some(running)),
            Begun::Before(_) => Step::Follow(workflow, None),
        })
    }
}

/// Why a payment is not confirmed.
async fn refusal(
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    request: &ConfirmPayment,
    now: Timestamp,
) -> Result<Option<Refusal>, PaymentsError> {
    if payment.under_way.is_some() {
        return Ok(Some(UNDER_WAY));
    }
    if expiry::expire(db, payment, now).await? || payment.status == PaymentStatus::Expired {
        return Ok(Some(EXPIRED));
    }
    if payment.status != PaymentStatus::Created {
        return Ok(Some(WRONG_STATE));
    }
    if request.amount != payment.amount {
        return Ok(Some(AMOUNT_MISMATCH));
    }
    let key = Some(request.payment_key.0.as_str());
    let known = find_attempt(db, payment.provider, None, key).await?;
    Ok(known.filter(|it| it.id != attempt.id).map(|_| PAYMENT_KEY_IN_USE))
}

/// Binds the key, and begins the workflow that calls the provider.
async fn begin(
    this: &Payments,
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    key: &str,
    now: Timestamp,
) -> Result<Begun, PaymentsError> {
    update_provider_key(db, attempt.id, key).await?;
    let new = send(db, payment, attempt, key, now).await?;
    Ok(this.0.engine.begin(db, &new, now).await?)
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
        dedupe_key: format!("confirm:{}", payment.id),
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
