//! Confirming: takes a payment that its payer has made, or what was authorised, and finds out what became of it.
//!
//! Two flows, `payment_confirm` and `payment_capture`, of the same two steps: the provider is called, and what it has
//! taken that was not agreed is given back. Invariant: a payment is charged under one key, and becomes what the
//! provider has done.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError,
};
use super::desk::{self, Desk, GivesBack, stuck};
use crate::domain::ids::{AttemptId, PaymentId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::charges::{Agreed, NOT_CONFIRMED, NOT_OURS, Verdict, compare};
use crate::domain::payments::postings::Place;
use crate::domain::payments::{Cause, PaymentStatus, ProviderName, UnderWay};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{EffectKey, TRIED_MAX};
use crate::providers::payments::{
    Cancel, Canceled, Charge, ChargeStatus, Confirm as ConfirmRequest, LookUp,
};
use crate::store::Db;
use crate::store::ledger::book;
use crate::store::payments::attempts::{AttemptStatus, delete_provider_key, update_attempt};
use crate::store::payments::captures::capture;
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{Payment, get_locked, update_under_way};

pub(super) const CONFIRM: &str = "payment_confirm";
pub(super) const CAPTURE: &str = "payment_capture";
pub(super) const VERSION: i64 = 1;
/// The step that gives back what was taken otherwise than agreed.
pub(super) const GIVE_BACK: &str = "give_back";
const ACTOR: &str = "workflow";
/// From the end of a term until somebody has looked for certain.
const LAST_LOOK: Duration = Duration::from_hours(1);
const MISTAKEN: &str = "taken otherwise than agreed";

/// How far it has come.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ConfirmState {
    pub(super) payment: PaymentId,
    pub(super) attempt: AttemptId,
    pub(super) provider: ProviderName,
    pub(super) provider_key: String,
    pub(super) agreed: Agreed,
    /// From then on nobody calls again, and what has left no trace has failed.
    pub(super) give_up_at: Timestamp,
    /// What was taken that was not agreed.
    pub(super) taken: Option<Taken>,
}

/// What a provider has taken.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Taken {
    pub(super) amount: Amount,
    pub(super) currency: Currency,
    /// Whether money has moved.
    pub(super) is_captured: bool,
}

/// The flow that confirms, and the one that captures what was authorised.
pub(super) fn flows(desk: &Desk) -> [Flow; 2] {
    [(CONFIRM, UnderWay::Confirm), (CAPTURE, UnderWay::Capture)].map(|(kind, call)| {
        let take = Half::Effect(Arc::new(Take { desk: desk.clone(), call }));
        let give_back = Half::Effect(Arc::new(GiveBack { desk: desk.clone() }));
        let step = |name, forward| Step { name, forward, backward: Half::Nothing };
        let steps = vec![step(call.as_str(), take), step(GIVE_BACK, give_back)];
        Flow { kind, version: VERSION, steps }
    })
}

/// Asks the provider to take it.
struct Take {
    desk: Desk,
    call: UnderWay,
}

impl Take {
    fn wanted(state: &ConfirmState) -> ConfirmRequest {
        ConfirmRequest {
            provider_key: state.provider_key.clone(),
            order: state.agreed.order.clone(),
            amount: state.agreed.amount,
            currency: state.agreed.currency,
        }
    }

    /// There is no trace of it: it is called again, until nobody does so any more.
    async fn absent(&self, state: &ConfirmState, context: &Context, key: &EffectKey) -> Found {
        if context.now < state.give_up_at {
            return Found::Absent;
        }
        Found::Outcome(if self.desk.is_absent_for_good(state.provider, context, key).await {
            Outcome::Declined(NOT_CONFIRMED.to_owned())
        } else {
            Outcome::Unknown("there is no trace of it, and nobody calls any more".to_owned())
        })
    }

    /// Whether a charge says that nothing has come of the call so far.
    const fn is_before(&self, status: ChargeStatus) -> bool {
        match self.call {
            UnderWay::Capture => matches!(status, ChargeStatus::Open | ChargeStatus::Authorized),
            UnderWay::Confirm | UnderWay::Void => matches!(status, ChargeStatus::Open),
        }
    }
}

#[async_trait]
impl EffectHalf for Take {
    fn repeating(&self, context: &Context) -> Repeating {
        let state = context.state::<ConfirmState>();
        // A state that cannot be read is found out by the next transaction.
        let provider = state.map_or(ProviderName::Fake, |state| state.provider);
        self.desk.repeating_charge(provider)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        let state = match context.state::<ConfirmState>() {
            Ok(state) => state,
            Err(error) => return Found::Outcome(Outcome::Unknown(error.to_string())),
        };
        let order = &state.agreed.order;
        let charge = self.desk.find_charge(state.provider, order, Some(&state.provider_key)).await;
        match charge {
            LookUp::Found(it) if it.order == *order && self.is_before(it.status) => {
                self.absent(&state, context, key).await
            }
            LookUp::Found(charge) => Found::Outcome(desk::found(&charge, order)),
            LookUp::Absent => self.absent(&state, context, key).await,
            LookUp::Unknown(why) => Found::Outcome(Outcome::Unknown(why)),
        }
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        let state = match context.state::<ConfirmState>() {
            Ok(state) => state,
            Err(error) => return Outcome::Unknown(error.to_string()),
        };
        let request = Self::wanted(&state);
        let (request, call) = (&request, self.call);
        self.desk
            .call(state.provider, async |provider| match call {
                UnderWay::Capture => provider.capture(request, key).await,
                UnderWay::Confirm | UnderWay::Void => provider.confirm(request, key).await,
            })
            .await
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        let (mut state, now) = (context.state::<ConfirmState>()?, context.now);
        let charge: Charge = desk::read(answer)?;
        let mut payment = get_locked(db, state.payment).await?;
        let by = By::new(Cause::Provider, ACTOR);
        match compare(&state.agreed, &desk::reported(&charge)) {
            Verdict::Became(status) => {
                became(db, &mut payment, &state, status, &by, now).await?;
                Ok(Next::End)
            }
            Verdict::Over(code) => {
                came_to_nothing(db, &mut payment, &state, code, now).await?;
                Ok(Next::End)
            }
            Verdict::Open => {
                Ok(Next::Park("the provider says that it is done and that it is not".to_owned()))
            }
            Verdict::Conflicted => {
                conflicted(db, &mut payment, &mut state, &charge, now).await?;
                context.set_state(&state)?;
                Ok(Next::On)
            }
        }
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let state = context.state::<ConfirmState>()?;
        let mut payment = get_locked(db, state.payment).await?;
        came_to_nothing(db, &mut payment, &state, code, context.now).await?;
        Ok(Next::End)
    }

    async fn unknown(&self, db: &mut Db, context: &mut Context, _: &str) -> Result<(), StepError> {
        let (state, now) = (context.state::<ConfirmState>()?, context.now);
        let mut payment = get_locked(db, state.payment).await?;
        // One that waits for a deposit is still to be paid, whatever became of the call.
        if matches!(payment.status, PaymentStatus::Confirming | PaymentStatus::Authorized) {
            let by = By::new(Cause::Provider, ACTOR);
            transition(db, &mut payment, PaymentStatus::Unknown, &by, now).await.map_err(stuck)?;
        }
        update_attempt(db, state.attempt, AttemptStatus::Unknown, None, now).await?;
        Ok(())
    }

    /// No trace of it means something when the provider's term is over after the last call.
    fn tried_max(&self, context: &Context) -> Duration {
        let state = context.state::<ConfirmState>();
        let provider = state.map_or(ProviderName::Fake, |state| state.provider);
        let term = self.desk.repeating_charge(provider).absent_after;
        // Its calls end within a day.
        TRIED_MAX.saturating_add(term).saturating_add(LAST_LOOK)
    }

    fn wait_after(&self, attempt: u32) -> Option<Duration> {
        Some(desk::wait_after(attempt))
    }
}

/// The provider has done what was agreed.
async fn became(
    db: &mut Db,
    payment: &mut Payment,
    state: &ConfirmState,
    status: PaymentStatus,
    by: &By<'_>,
    now: Timestamp,
) -> Result<(), StepError> {
    payment.under_way = None;
    let (attempt, none) = (state.attempt, None);
    if status == PaymentStatus::Captured {
        update_attempt(db, attempt, AttemptStatus::Succeeded, none, now).await?;
        return capture(db, payment, by, now).await.map_err(stuck);
    }
    update_attempt(db, attempt, AttemptStatus::Sent, none, now).await?;
    if payment.status == status {
        // Found as it was.
        return Ok(update_under_way(db, payment, None, now).await?);
    }
    if status == PaymentStatus::AwaitingDeposit {
        payment.expires_at = now.plus(super::DEPOSIT_AWAITED);
    }
    transition(db, payment, status, by, now).await.map_err(stuck)
}

/// The provider will not take it, and has not.
async fn came_to_nothing(
    db: &mut Db,
    payment: &mut Payment,
    state: &ConfirmState,
    code: &str,
    now: Timestamp,
) -> Result<(), StepError> {
    payment.under_way = None;
    update_attempt(db, state.attempt, AttemptStatus::Failed, Some(code), now).await?;
    if code == NOT_OURS {
        // Whoever it belongs to is about to come with it.
        delete_provider_key(db, state.attempt).await?;
    }
    // What was authorised has lapsed.
    let to = match payment.status {
        PaymentStatus::Authorized => PaymentStatus::Canceled,
        _ => PaymentStatus::Failed,
    };
    let by = By::new(Cause::Provider, ACTOR).failing(code);
    transition(db, payment, to, &by, now).await.map_err(stuck)
}

/// The provider has taken something else: that is nobody's until it is given back.
async fn conflicted(
    db: &mut Db,
    payment: &mut Payment,
    state: &mut ConfirmState,
    charge: &Charge,
    now: Timestamp,
) -> Result<(), StepError> {
    tracing::error!(payment.id = %payment.id, "a provider has {MISTAKEN}");
    let is_captured = charge.status == ChargeStatus::Captured;
    let Charge { amount, currency, .. } = *charge;
    state.taken = Some(Taken { amount, currency, is_captured });
    let by = By::new(Cause::Provider, ACTOR).failing("conflicted");
    if payment.status == PaymentStatus::Authorized {
        transition(db, payment, PaymentStatus::Unknown, &by, now).await.map_err(stuck)?;
    }
    transition(db, payment, PaymentStatus::Conflicted, &by, now).await.map_err(stuck)?;
    if is_captured {
        let place = Place { currency, ..payment.place() };
        book(db, &place.conflict(amount), now).await.map_err(stuck)?;
    }
    Ok(())
}

/// Gives back what was taken otherwise than agreed.
struct GiveBack {
    desk: Desk,
}

impl GivesBack for ConfirmState {
    fn provider(&self) -> ProviderName {
        self.provider
    }

    fn request(&self) -> Cancel {
        Cancel {
            provider_key: self.provider_key.clone(),
            order: self.agreed.order.clone(),
            amount: None,
            currency: self.taken.as_ref().map_or(self.agreed.currency, |taken| taken.currency),
            reason: MISTAKEN.to_owned(),
            refund_account: None,
        }
    }
}

#[async_trait]
impl EffectHalf for GiveBack {
    fn repeating(&self, context: &Context) -> Repeating {
        self.desk.repeating_whole::<ConfirmState>(context)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        self.desk.look_up_whole::<ConfirmState>(context, key).await
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        self.desk.give_back::<ConfirmState>(context, key).await
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        let (state, now) = (context.state::<ConfirmState>()?, context.now);
        let canceled: Canceled = desk::read(answer)?;
        let taken = state.taken.as_ref();
        if taken.is_some_and(|taken| taken.amount != canceled.amount) {
            return Ok(Next::Park("another amount was given back than was taken".to_owned()));
        }
        let mut payment = get_locked(db, state.payment).await?;
        payment.under_way = None;
        let code = Some("conflicted");
        update_attempt(db, state.attempt, AttemptStatus::Failed, code, now).await?;
        let by = By::new(Cause::Provider, ACTOR).failing("conflicted");
        transition(db, &mut payment, PaymentStatus::Canceled, &by, now).await.map_err(stuck)?;
        if let Some(taken) = taken.filter(|taken| taken.is_captured) {
            let currency = taken.currency;
            let place = Place { currency, ..payment.place() };
            book(db, &place.conflict_back(taken.amount), now).await.map_err(stuck)?;
        }
        Ok(Next::End)
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let state = context.state::<ConfirmState>()?;
        let payment = get_locked(db, state.payment).await?;
        Ok(desk::kept(payment.is_by_deposit, code))
    }
}
