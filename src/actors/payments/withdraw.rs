//! The flow of a withdrawal: it waits for its time and for whoever has to say yes, is sent, and is watched until it
//! arrives.
//!
//! Its money is held since it was asked for. Invariant: only what the provider certainly did not send is freed, what
//! nobody knows stays held, and a freeze that was answered before it is `sending` keeps it from being sent.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::actors::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError, WaitHalf,
    Waited,
};
use crate::domain::bank_accounts::AccountDetails;
use crate::domain::ids::{BankAccountId, WithdrawalId, WorkflowId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::{Cause, ProviderName};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::domain::workflows::{Direction, EffectKey, TRIED_MAX};
use crate::providers::payments::{
    Answer, Decline, LookUp, PaidOut, PaymentProvider, Payout, PayoutStatus, Providers,
};
use crate::providers::seal::Seal;
use crate::store::disputes::arrivals::book_arrival;
use crate::store::disputes::is_payee_disputed;
use crate::store::ledger::{BookError, book};
use crate::store::payments::stops::is_stopped;
use crate::store::wallets::lock_wallet;
use crate::store::withdrawals::{
    Change, TransitionError, Withdrawal, find_last_actor, lock_withdrawal, paid_out, transition,
    update_provider_key, voided,
};
use crate::store::workflows::signals::Signal;
use crate::store::{Db, Store};

/// The flow's kind; never changes.
pub const KIND: &str = "withdraw";
pub const VERSION: i64 = 1;
/// What it is told when somebody has decided, or its money has moved.
pub const DECIDED: &str = "decided";
/// What it is told when the provider says that it has sent something else.
pub const DIFFERS: &str = "differs";
const SEND: &str = "send";
/// How often it looks by itself whether somebody has decided; whoever does wakes it.
const DECISION_POLL: Duration = Duration::from_hours(1);
/// How often it looks whether its provider is still stopped.
const STOPPED_POLL: Duration = Duration::from_mins(10);
/// How often it looks whether a wallet is still frozen.
const FROZEN_POLL: Duration = Duration::from_mins(10);
/// How often it looks whether what its user was paid is still disputed.
const DISPUTED_POLL: Duration = Duration::from_mins(10);
/// Between one question and the next, while nobody knows.
const ASK_AFTER: [Duration; 5] = [
    Duration::from_secs(1),
    Duration::from_secs(3),
    Duration::from_secs(10),
    Duration::from_secs(30),
    Duration::from_mins(1),
];
const ASK_LATER: Duration = Duration::from_mins(5);
/// Where a provider refuses without saying why.
const REFUSED: &str = "payout_refused";

/// What a withdrawal's workflow keeps.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WithdrawState {
    pub withdrawal: WithdrawalId,
    pub bank_account: BankAccountId,
    pub provider: String,
    pub amount: Amount,
    pub currency: Currency,
}

/// With what withdrawals are sent.
#[derive(Clone)]
pub struct Sender {
    pub store: Store,
    pub providers: Providers,
    /// `None` where production was given no key.
    pub seal: Option<Arc<Seal>>,
}

/// What withdrawals consist of.
#[must_use]
pub fn flow(sender: &Sender) -> Flow {
    let step = |name, forward| Step { name, forward, backward: Half::Nothing };
    Flow {
        kind: KIND,
        version: VERSION,
        steps: vec![
            step("approve", Half::Wait(Arc::new(Approve))),
            step(SEND, Half::Effect(Arc::new(Send(sender.clone())))),
            step("arrive", Half::Wait(Arc::new(Arrive))),
        ],
    }
}

/// The key of the one call that sends a withdrawal.
#[must_use]
pub fn send_key(workflow: WorkflowId) -> EffectKey {
    EffectKey::new(workflow, SEND, Direction::Forward)
}

/// Waits until it may be sent.
struct Approve;

#[async_trait]
impl WaitHalf for Approve {
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &[Signal],
    ) -> Result<Waited, StepError> {
        let (state, now) = (context.state::<WithdrawState>()?, context.now);
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        match withdrawal.status {
            WithdrawalStatus::Requested if withdrawal.needs_approval => {
                return Ok(Waited::Until(now.plus(DECISION_POLL)));
            }
            WithdrawalStatus::Requested | WithdrawalStatus::Approved => {}
            WithdrawalStatus::Rejected | WithdrawalStatus::Canceled => {
                return Ok(Waited::Over(Next::End));
            }
            other => return Err(unexpected(other)),
        }
        if now < withdrawal.not_before {
            return Ok(Waited::Until(withdrawal.not_before));
        }
        // What is `sending` goes on.
        if let Some(provider) = ProviderName::parse(&state.provider)
            && is_stopped(db, provider).await?
        {
            return Ok(Waited::Until(now.plus(STOPPED_POLL)));
        }
        // Locked until it is `sending`: whoever freezes the wallet meanwhile is answered afterwards.
        let wallet = lock_wallet(db, withdrawal.user, withdrawal.currency, now).await?;
        if wallet.frozen_at.is_some() {
            return Ok(Waited::Until(now.plus(FROZEN_POLL)));
        }
        let mut withdrawal = withdrawal;
        if withdrawal.status == WithdrawalStatus::Requested {
            // Since it was asked for: somebody else has to say yes, or the dispute to end.
            if is_payee_disputed(db, withdrawal.user, withdrawal.currency).await? {
                return Ok(Waited::Until(now.plus(DISPUTED_POLL)));
            }
            let change = Change::new(WithdrawalStatus::Approved, Cause::Timer, actor(context));
            withdrawal = transition(db, &withdrawal, change, now).await.map_err(refused)?;
        }
        let change = Change::new(WithdrawalStatus::Sending, Cause::Timer, actor(context));
        transition(db, &withdrawal, change, now).await.map_err(refused)?;
        Ok(Waited::Over(Next::On))
    }
}

/// Has the provider send it.
struct Send(Sender);

impl Send {
    fn provider(&self, state: &WithdrawState) -> Result<&Arc<dyn PaymentProvider>, String> {
        let provider = self.0.providers.get(&state.provider);
        provider.ok_or_else(|| format!("the provider {} is not set up", state.provider))
    }

    async fn request(&self, state: &WithdrawState) -> Result<Payout, String> {
        let sealed = self.0.store.get_sealed_account(state.bank_account).await;
        let sealed = sealed.map_err(|_| "the bank account cannot be read")?;
        let seal = self.0.seal.as_ref().ok_or("there is no key for bank accounts")?;
        let text = seal.open(&sealed.details, state.bank_account.uuid().as_bytes());
        let details = text.ok().and_then(|text| AccountDetails::from_text(&text));
        let details =
            details.ok_or("the bank account cannot be opened with the key of this node")?;
        Ok(Payout {
            reference: state.withdrawal.to_string(),
            amount: state.amount,
            currency: state.currency,
            bank_code: sealed.bank_code,
            account_number: details.number().clone(),
            holder: details.holder().to_owned(),
        })
    }
}

#[async_trait]
impl EffectHalf for Send {
    fn repeating(&self, context: &Context) -> Repeating {
        let provider = context.state().ok().and_then(|state| self.provider(&state).ok());
        match provider.map(|provider| provider.capabilities()) {
            Some(can) => Repeating {
                is_idempotent: can.idempotent_for.is_some_and(|term| term >= TRIED_MAX),
                has_look_up: can.has_look_up_by_key,
                absent_after: can.absent_after,
            },
            // Whoever cannot be asked says so.
            None => {
                Repeating { is_idempotent: false, has_look_up: true, absent_after: Duration::MAX }
            }
        }
    }

    async fn prepare(&self, db: &mut Db, context: &mut Context) -> Result<(), StepError> {
        let state: WithdrawState = context.state()?;
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        match withdrawal.status {
            WithdrawalStatus::Sending => Ok(()),
            other => Err(unexpected(other)),
        }
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        let unknown = |why: String| Found::Outcome(Outcome::Unknown(why));
        let Ok(state) = context.state::<WithdrawState>() else {
            return unknown("the state cannot be read".to_owned());
        };
        match self.provider(&state) {
            Err(why) => unknown(why),
            Ok(provider) => match provider.find_payout(&state.withdrawal.to_string(), key).await {
                LookUp::Found(found) => Found::Outcome(outcome_of(&found)),
                LookUp::Absent => Found::Absent,
                LookUp::Unknown(why) => unknown(why),
            },
        }
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        let Ok(state) = context.state::<WithdrawState>() else {
            return Outcome::Unknown("the state cannot be read".to_owned());
        };
        let request = match self.request(&state).await {
            Ok(request) => request,
            Err(why) => return Outcome::Unknown(why),
        };
        match self.provider(&state) {
            Err(why) => Outcome::Unknown(why),
            Ok(provider) => match provider.pay_out(&request, key).await {
                Answer::Done(paid) | Answer::Pending(paid) => outcome_of(&paid),
                Answer::Declined(decline) => Outcome::Declined(word_of(&decline)),
                Answer::Unknown(why) | Answer::Misconfigured(why) => Outcome::Unknown(why),
            },
        }
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        let paid: PaidOut = serde_json::from_value(answer.clone())
            .map_err(|error| StepError::Poison(format!("the answer cannot be read: {error}")))?;
        let state: WithdrawState = context.state()?;
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        if !is_what_was_asked_for(&withdrawal, &paid) {
            // What is another's is not noted as this one's.
            if paid.reference == withdrawal.id.to_string() {
                update_provider_key(db, &withdrawal, &paid.provider_key, context.now).await?;
            }
            return Ok(differs());
        }
        if is_ended_by_another(db, &withdrawal, context).await? {
            return Ok(Next::End);
        }
        if paid.status == PayoutStatus::Pending {
            update_provider_key(db, &withdrawal, &paid.provider_key, context.now).await?;
            return Ok(Next::On);
        }
        let provider = self.provider(&state).map_err(StepError::Poison)?.name();
        let way = Way { cause: Cause::Provider, actor: actor(context) };
        record_paid(db, &withdrawal, provider, &paid, way, context.now).await?;
        Ok(Next::End)
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let state: WithdrawState = context.state()?;
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        if is_ended_by_another(db, &withdrawal, context).await? {
            return Ok(Next::End);
        }
        let way = Way { cause: Cause::Provider, actor: actor(context) };
        record_failed(db, &withdrawal, code, way, context.now).await?;
        Ok(Next::End)
    }

    async fn unknown(&self, db: &mut Db, context: &mut Context, _: &str) -> Result<(), StepError> {
        let state: WithdrawState = context.state()?;
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        if withdrawal.status == WithdrawalStatus::Sending {
            let change = Change::new(WithdrawalStatus::Unknown, Cause::Provider, actor(context));
            transition(db, &withdrawal, change, context.now).await.map_err(refused)?;
        }
        Ok(())
    }

    fn wait_after(&self, attempt: u32) -> Option<Duration> {
        let nth = usize::try_from(attempt.saturating_sub(1)).unwrap_or(usize::MAX);
        Some(ASK_AFTER.get(nth).copied().unwrap_or(ASK_LATER))
    }
}

/// Waits until the bank has moved what the provider has accepted.
struct Arrive;

#[async_trait]
impl WaitHalf for Arrive {
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        signals: &[Signal],
    ) -> Result<Waited, StepError> {
        let state: WithdrawState = context.state()?;
        let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
        Ok(match withdrawal.status {
            WithdrawalStatus::Sending | WithdrawalStatus::Unknown
                if signals.iter().any(|signal| signal.name == DIFFERS) =>
            {
                Waited::Over(differs())
            }
            WithdrawalStatus::Sending | WithdrawalStatus::Unknown => {
                Waited::Until(context.now.plus(DECISION_POLL))
            }
            _ => Waited::Over(Next::End),
        })
    }
}

/// Who says what became of a withdrawal.
#[derive(Debug, Clone)]
pub(super) struct Way {
    pub(super) cause: Cause,
    pub(super) actor: String,
}

/// Whether a provider has sent what it was asked to.
pub(super) fn is_what_was_asked_for(withdrawal: &Withdrawal, paid: &PaidOut) -> bool {
    paid.reference == withdrawal.id.to_string()
        && paid.amount == withdrawal.amount
        && paid.currency == withdrawal.currency
}

/// Whether its end is recorded, and not by this workflow: where that was stopped, whoever watches it may have done so.
async fn is_ended_by_another(
    db: &mut Db,
    withdrawal: &Withdrawal,
    context: &Context,
) -> Result<bool, StepError> {
    if matches!(withdrawal.status, WithdrawalStatus::Sending | WithdrawalStatus::Unknown) {
        return Ok(false);
    }
    Ok(find_last_actor(db, withdrawal).await? != actor(context))
}

/// Books a withdrawal as sent.
pub(super) async fn record_paid(
    db: &mut Db,
    withdrawal: &Withdrawal,
    provider: &'static str,
    paid: &PaidOut,
    way: Way,
    now: Timestamp,
) -> Result<(), StepError> {
    let mut change = Change::new(WithdrawalStatus::Paid, way.cause, way.actor);
    change.provider_key = Some(paid.provider_key.clone());
    transition(db, withdrawal, change, now).await.map_err(refused)?;
    book(db, &paid_out(withdrawal, provider), now).await.map_err(not_booked)?;
    Ok(())
}

/// Frees what was held for a withdrawal that certainly was not sent.
pub(super) async fn record_failed(
    db: &mut Db,
    withdrawal: &Withdrawal,
    code: &str,
    way: Way,
    now: Timestamp,
) -> Result<(), StepError> {
    let mut change = Change::new(WithdrawalStatus::Failed, way.cause, way.actor);
    change.failure_code = Some(code.to_owned());
    transition(db, withdrawal, change, now).await.map_err(refused)?;
    book_arrival(db, withdrawal.user, &voided(withdrawal), now).await.map_err(not_booked)?;
    Ok(())
}

/// The word for a refusal.
pub(super) fn refusal_of(paid: &PaidOut) -> String {
    paid.decline.as_ref().map_or_else(|| REFUSED.to_owned(), word_of)
}

fn word_of(decline: &Decline) -> String {
    let code = serde_json::to_value(decline.code).ok();
    code.as_ref().and_then(Value::as_str).unwrap_or(REFUSED).to_owned()
}

fn outcome_of(paid: &PaidOut) -> Outcome {
    if paid.status == PayoutStatus::Failed {
        return Outcome::Declined(refusal_of(paid));
    }
    match serde_json::to_value(paid) {
        Ok(answer) => Outcome::Done(answer),
        Err(error) => Outcome::Unknown(format!("the answer cannot be written: {error}")),
    }
}

fn differs() -> Next {
    Next::Park("the provider has sent something else".to_owned())
}

fn actor(context: &Context) -> String {
    format!("workflow:{}", context.workflow)
}

fn unexpected(status: WithdrawalStatus) -> StepError {
    StepError::Poison(format!("a withdrawal that is {} was not expected here", status.as_str()))
}

pub(super) fn refused(error: TransitionError) -> StepError {
    match error {
        TransitionError::Store(error) => StepError::Store(error),
        other => StepError::Poison(other.to_string()),
    }
}

pub(super) fn not_booked(error: BookError) -> StepError {
    match error {
        BookError::Store(error) => StepError::Store(error),
        BookError::Ledger(error) => StepError::Poison(error.to_string()),
    }
}
