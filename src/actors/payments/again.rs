//! Looking again: something was heard of a payment, by a webhook, a sweep or the provider's list, and is never
//! believed: the provider is asked. What it said of a payment that has changed since is asked again.
//!
//! Invariant: where a workflow takes care of a payment, it is told, and nobody else does anything. Otherwise the
//! payment becomes what the provider says, as far as its status allows.

use serde_json::Value;

use super::{Payments, PaymentsError, desk, orphan};
use crate::domain::payments::charges::{Agreed, Reaction, compare, react};
use crate::domain::payments::{Cause, PaymentStatus, ProviderName, UnderWay};
use crate::domain::time::Timestamp;
use crate::providers::payments::{Charge, LookUp};
use crate::store::payments::attempts::{
    Attempt, AttemptStatus, find_attempt, update_attempt, update_provider_key,
};
use crate::store::payments::captures::capture;
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, get_locked};
use crate::store::workflows::admin::LOOK_NOW;
use crate::store::workflows::find_open_workflow;
use crate::store::workflows::signals::{Signal, insert_signal};
use crate::store::{Db, StoreError};

const ACTOR: &str = "payments";

/// What something was heard of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LookAgain {
    /// Our order, as the provider knows it.
    pub order: Option<String>,
    pub provider_key: Option<String>,
    /// How it was heard.
    pub cause: Cause,
}

/// What came of looking again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// No payment of ours.
    Unknown,
    /// A workflow takes care of it, and looks now.
    Told,
    Changed,
    /// It is as it should be.
    Nothing,
}

impl Payments {
    /// Looks at a payment of which something was heard.
    ///
    /// # Errors
    /// [`PaymentsError::Unavailable`] when the provider does not say how it stands: to be tried again.
    pub async fn look_again(
        &self,
        provider: ProviderName,
        hint: LookAgain,
    ) -> Result<Looked, PaymentsError> {
        let LookAgain { order, provider_key, cause } = hint;
        let (by_order, by_key) = (order, provider_key.clone());
        let attempt: Option<Attempt> = self
            .0
            .desk
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    find_attempt(db, provider, by_order.as_deref(), by_key.as_deref()).await
                })
            })
            .await?;
        let Some(attempt) = attempt else { return Ok(Looked::Unknown) };
        self.look_at(attempt, provider_key, cause).await
    }

    /// Looks at the payment of an attempt.
    pub(super) async fn look_at(
        &self,
        attempt: Attempt,
        heard_key: Option<String>,
        cause: Cause,
    ) -> Result<Looked, PaymentsError> {
        let found = self.0.desk.store.find_payment(attempt.payment).await?;
        let payment = found.ok_or(StoreError::NotFound)?;
        let open = self.0.desk.store.list_workflows_of_payment(payment.id).await?;
        let is_told = self.tell(open).await?;
        match payment.under_way {
            // It may be refused: what was heard counts then.
            Some(UnderWay::Void) => return Err(changing()),
            Some(UnderWay::Confirm | UnderWay::Capture) => {
                return Ok(if is_told { Looked::Told } else { Looked::Nothing });
            }
            None => {}
        }
        // The key that was heard may be anybody's; one that we know is asked for instead.
        let key = attempt.provider_key.clone().or(heard_key);
        let order = &attempt.provider_order_id;
        let by_order = self.0.desk.find_charge(attempt.provider, order, key.as_deref()).await;
        let charge = match by_order {
            LookUp::Found(charge) if charge.order == *order => charge,
            LookUp::Found(_) | LookUp::Absent => {
                return Ok(if is_told { Looked::Told } else { Looked::Nothing });
            }
            LookUp::Unknown(why) => return Err(PaymentsError::Unavailable(why)),
        };
        self.0.engine.at("looked").await;
        let is_news = self.look_at_disputes(&payment, &attempt, &charge.disputes).await?;
        let (now, seen) = (self.now(), payment.version);
        let is_changed = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move { apply(db, &attempt, &charge, seen, cause, now).await })
            })
            .await?;
        Ok(match (is_changed || is_news, is_told) {
            (true, _) => Looked::Changed,
            (false, true) => Looked::Told,
            (false, false) => Looked::Nothing,
        })
    }

    /// Has workflows look now, by what they are for; says whether there were any. In a transaction of its own: whoever
    /// drives one locks it before its payment.
    pub(super) async fn tell(&self, workflows: Vec<String>) -> Result<bool, StoreError> {
        let now = self.now();
        let mut is_told = false;
        for dedupe_key in workflows {
            is_told |= self
                .0
                .desk
                .store
                .write::<_, StoreError, _>(move |db| {
                    Box::pin(async move { tell(db, &dedupe_key, now).await })
                })
                .await?;
        }
        Ok(is_told)
    }
}

async fn tell(db: &mut Db, dedupe_key: &str, now: Timestamp) -> Result<bool, StoreError> {
    let open = find_open_workflow(db, dedupe_key).await?;
    let Some(workflow) = open else { return Ok(false) };
    let signal = Signal {
        name: LOOK_NOW.to_owned(),
        // Within one second it is told once.
        dedupe_key: now.millis().div_euclid(1_000).to_string(),
        payload: Value::Null,
    };
    insert_signal(db, workflow, &signal, now).await?;
    Ok(true)
}

fn changing() -> PaymentsError {
    PaymentsError::Unavailable("the payment is changing".to_owned())
}

/// Lets a payment of which version `seen` was there become what its provider says; says whether it did anything.
pub(super) async fn apply(
    db: &mut Db,
    attempt: &Attempt,
    charge: &Charge,
    seen: i64,
    cause: Cause,
    now: Timestamp,
) -> Result<bool, PaymentsError> {
    let mut payment = get_locked(db, attempt.payment).await?;
    let agreed = Agreed {
        order: attempt.provider_order_id.clone(),
        amount: payment.amount,
        currency: payment.currency,
        is_captured_later: payment.is_captured_later,
        is_by_deposit: payment.is_by_deposit,
    };
    let reported = desk::reported(charge);
    let by = By::new(cause, ACTOR);
    let reaction = react(payment.status, compare(&agreed, &reported), reported.standing);
    if reaction == Reaction::Nothing {
        return Ok(false);
    }
    if payment.under_way.is_some() || payment.version != seen {
        // Somebody was quicker, and what the provider said may be of before.
        return Err(changing());
    }
    match reaction {
        Reaction::Nothing => return Ok(false),
        Reaction::Become(status) => {
            update_provider_key(db, attempt.id, &charge.provider_key).await?;
            become_(db, &mut payment, attempt, status, &by, now).await?;
        }
        Reaction::Close(code) => close(db, &mut payment, attempt, &by.failing(code), now).await?,
        Reaction::GiveBack => {
            update_provider_key(db, attempt.id, &charge.provider_key).await?;
            if !payment.status.is_final() {
                close(db, &mut payment, attempt, &by.failing("conflicted"), now).await?;
            }
            return Ok(orphan::begin(db, &payment, charge, cause, now).await?);
        }
    }
    Ok(true)
}

async fn become_(
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    status: PaymentStatus,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), PaymentsError> {
    if status == PaymentStatus::Captured {
        update_attempt(db, attempt.id, AttemptStatus::Succeeded, None, now).await?;
        return Ok(capture(db, payment, by, now).await?);
    }
    update_attempt(db, attempt.id, AttemptStatus::Sent, None, now).await?;
    if status == PaymentStatus::AwaitingDeposit {
        payment.expires_at = now.plus(super::DEPOSIT_AWAITED);
    }
    Ok(transition(db, payment, status, by, now).await?)
}

async fn close(
    db: &mut Db,
    payment: &mut Payment,
    attempt: &Attempt,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), PaymentsError> {
    update_attempt(db, attempt.id, AttemptStatus::Failed, by.failure_code, now).await?;
    Ok(transition(db, payment, PaymentStatus::Canceled, by, now).await?)
}
