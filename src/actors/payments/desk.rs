//! The desk: what every flow of payments works with, and what is made of a provider's answers.
//!
//! Invariant: a provider that is not there, or that does not accept our keys, refuses nothing: nobody knows.

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::super::workflow::engine::Clock;
use super::super::workflow::flow::{Context, Found, Next, Outcome, Repeating, StepError};
use crate::domain::payments::ProviderName;
use crate::domain::payments::charges::{Reported, Standing};
use crate::domain::workflows::{EffectKey, TRIED_MAX};
use crate::providers::payments::{
    Answer, Cancel, Canceled, Charge, ChargeStatus, DeclineCode, Dispute, LookUp, PaymentProvider,
    Providers,
};
use crate::providers::seal::Seal;
use crate::store::Store;
use crate::store::payments::ChangeError;
use crate::store::workflows::history::find_intent;

/// Nobody knows what became of a payment: it is asked for after so many seconds, and then every five minutes.
const LOOK_UP_SECONDS: [u64; 5] = [1, 3, 10, 30, 60];
pub(super) const LATER: Duration = Duration::from_mins(5);
const NOT_THERE: &str = "the provider is not in the settings";

/// The state of a workflow that has a provider give something back.
pub(super) trait GivesBack: DeserializeOwned {
    fn provider(&self) -> ProviderName;
    fn request(&self) -> Cancel;
}

/// What flows work with. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    pub(super) store: Store,
    pub(super) providers: Providers,
    pub(super) clock: Clock,
    /// With what payers' accounts are sealed; `None` where production was given no key.
    pub(super) seal: Option<Arc<Seal>>,
}

impl Desk {
    #[must_use]
    pub const fn new(store: Store, providers: Providers, clock: Clock) -> Self {
        Self { store, providers, clock, seal: None }
    }

    /// The same with a key for payers' accounts.
    #[must_use]
    pub fn with_seal(self, seal: Option<Arc<Seal>>) -> Self {
        Self { seal, ..self }
    }

    pub(super) fn provider(&self, name: ProviderName) -> Option<&dyn PaymentProvider> {
        self.providers.get(name.as_str()).map(AsRef::as_ref)
    }

    /// How sure one can be of a provider before a charge is asked for again, which can always be looked up by its key.
    pub(super) fn repeating_charge(&self, name: ProviderName) -> Repeating {
        self.repeating(name, |_| true)
    }

    /// The same for giving back.
    pub(super) fn repeating_cancel(&self, name: ProviderName) -> Repeating {
        self.repeating(name, |provider| provider.capabilities().has_look_up_by_key)
    }

    fn repeating(
        &self,
        name: ProviderName,
        has_look_up: impl FnOnce(&dyn PaymentProvider) -> bool,
    ) -> Repeating {
        let Some(provider) = self.provider(name) else {
            let absent_after = TRIED_MAX;
            return Repeating { is_idempotent: false, has_look_up: true, absent_after };
        };
        let capabilities = provider.capabilities();
        Repeating {
            // For as long as anybody tries.
            is_idempotent: capabilities.idempotent_for.is_some_and(|term| term >= TRIED_MAX),
            has_look_up: has_look_up(provider),
            absent_after: capabilities.absent_after,
        }
    }

    /// Calls a provider, and says what came of it.
    pub(super) async fn call<'d, T, F>(
        &'d self,
        name: ProviderName,
        call: impl FnOnce(&'d dyn PaymentProvider) -> F,
    ) -> Outcome
    where
        T: Serialize,
        F: Future<Output = Answer<T>>,
    {
        match self.provider(name) {
            Some(provider) => outcome(call(provider).await),
            None => Outcome::Unknown(NOT_THERE.to_owned()),
        }
    }

    /// Asks for what a workflow has to give back.
    pub(super) async fn give_back<S: GivesBack>(
        &self,
        context: &Context,
        key: &EffectKey,
    ) -> Outcome {
        match context.state::<S>() {
            Ok(state) => self.cancel(state.provider(), &state.request(), key).await,
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    /// Has a provider give something back. What it gives back later is not known to be given.
    pub(super) async fn cancel(
        &self,
        name: ProviderName,
        request: &Cancel,
        key: &EffectKey,
    ) -> Outcome {
        match self.provider(name) {
            None => Outcome::Unknown(NOT_THERE.to_owned()),
            Some(provider) => match provider.cancel(request, key).await {
                Answer::Pending(_) => Outcome::Unknown("it is about to be given back".to_owned()),
                answer => outcome(answer),
            },
        }
    }

    /// What became of a part that a workflow has to give back.
    pub(super) async fn look_up_part<S: GivesBack>(
        &self,
        context: &Context,
        key: &EffectKey,
    ) -> Found {
        match context.state::<S>() {
            Ok(state) => self.find_cancel(state.provider(), &state.request(), key).await,
            Err(error) => Found::Outcome(Outcome::Unknown(error.to_string())),
        }
    }

    /// What became of a whole charge that a workflow has to give back.
    pub(super) async fn look_up_whole<S: GivesBack>(
        &self,
        context: &Context,
        key: &EffectKey,
    ) -> Found {
        match context.state::<S>() {
            Ok(state) => self.find_whole_cancel(state.provider(), &state.request(), key).await,
            Err(error) => Found::Outcome(Outcome::Unknown(error.to_string())),
        }
    }

    /// How sure one can be before a part is asked for again.
    pub(super) fn repeating_part<S: GivesBack>(&self, context: &Context) -> Repeating {
        self.repeating_cancel(provider_of::<S>(context))
    }

    /// The same for a whole charge: whether all of it was given back can be asked of the charge itself.
    pub(super) fn repeating_whole<S: GivesBack>(&self, context: &Context) -> Repeating {
        self.repeating_charge(provider_of::<S>(context))
    }

    /// Finds a charge by its key, or by our order where there is none.
    pub(super) async fn find_charge(
        &self,
        name: ProviderName,
        order: &str,
        provider_key: Option<&str>,
    ) -> LookUp<Charge> {
        match self.provider(name) {
            Some(provider) => provider.find_charge(order, provider_key).await,
            None => LookUp::Unknown(NOT_THERE.to_owned()),
        }
    }

    /// Finds a dispute by the provider's key.
    pub(super) async fn find_dispute(&self, name: ProviderName, key: &str) -> LookUp<Dispute> {
        match self.provider(name) {
            Some(provider) => provider.find_dispute(key).await,
            None => LookUp::Unknown(NOT_THERE.to_owned()),
        }
    }

    /// What became of giving a whole charge back: found by the charge's being canceled, whoever did so and in how many
    /// parts, or by our key.
    async fn find_whole_cancel(
        &self,
        name: ProviderName,
        request: &Cancel,
        key: &EffectKey,
    ) -> Found {
        let charge = self.find_charge(name, &request.order, Some(&request.provider_key)).await;
        let is_ours = |charge: &Charge| charge.order == request.order;
        if let LookUp::Found(charge) = &charge
            && is_ours(charge)
            && is_let_go(charge.status, request)
        {
            let canceled = Canceled {
                provider_key: charge.provider_key.clone(),
                effect_key: None,
                amount: request.amount.unwrap_or(charge.amount),
                at: None,
            };
            return Found::Outcome(done(&canceled));
        }
        let by_key = self.find_cancel(name, request, key).await;
        let has_keys = self.repeating_cancel(name).has_look_up;
        match charge {
            // Where it cannot be asked for by our key, the charge says that it was not given back.
            LookUp::Found(charge) if is_ours(&charge) && !has_keys && !charge.has_open_cancels => {
                Found::Absent
            }
            // Somebody else may have given it back, under no key of ours.
            LookUp::Unknown(why) if by_key == Found::Absent => {
                Found::Outcome(Outcome::Unknown(why))
            }
            LookUp::Found(_) | LookUp::Absent | LookUp::Unknown(_) => by_key,
        }
    }

    /// What became of giving back, by our key.
    async fn find_cancel(&self, name: ProviderName, request: &Cancel, key: &EffectKey) -> Found {
        let Some(provider) = self.provider(name) else {
            return Found::Outcome(Outcome::Unknown(NOT_THERE.to_owned()));
        };
        match provider.find_cancel(request, key).await {
            LookUp::Found(canceled) => Found::Outcome(done(&canceled)),
            LookUp::Absent => Found::Absent,
            LookUp::Unknown(why) => Found::Outcome(Outcome::Unknown(why)),
        }
    }

    /// Whether the last call was made so long ago that no trace of it means that there never will be one.
    pub(super) async fn is_absent_for_good(
        &self,
        name: ProviderName,
        context: &Context,
        key: &EffectKey,
    ) -> bool {
        let absent_after = self.repeating_charge(name).absent_after;
        let (id, key) = (context.workflow, key.clone());
        let intent = self
            .store
            .read(move |db| Box::pin(async move { find_intent(db, id, &key).await }))
            .await;
        // A store that does not answer now is asked again.
        matches!(intent, Ok(Some(intent)) if context.now.since(intent.at) >= absent_after)
    }
}

/// A state that cannot be read is found out by the next transaction.
fn provider_of<S: GivesBack>(context: &Context) -> ProviderName {
    context.state::<S>().map_or(ProviderName::Fake, |state| state.provider())
}

/// Whether nothing is held of a charge any more. An account that nobody has paid into in time is closed by itself.
const fn is_let_go(status: ChargeStatus, request: &Cancel) -> bool {
    match status {
        ChargeStatus::Canceled => true,
        ChargeStatus::Failed => request.amount.is_none(),
        ChargeStatus::Open
        | ChargeStatus::AwaitingDeposit
        | ChargeStatus::Authorized
        | ChargeStatus::Captured => false,
    }
}

/// Our words for how a charge stands.
pub(super) fn reported(charge: &Charge) -> Reported<'_> {
    let standing = match charge.status {
        ChargeStatus::Open => Standing::Open,
        ChargeStatus::AwaitingDeposit => Standing::AwaitingDeposit,
        ChargeStatus::Authorized => Standing::Authorized,
        ChargeStatus::Captured => Standing::Captured,
        ChargeStatus::Failed => Standing::Failed,
        ChargeStatus::Canceled => Standing::Canceled,
    };
    Reported { order: &charge.order, amount: charge.amount, currency: charge.currency, standing }
}

/// What a charge that was found means for whoever had asked for it.
pub(super) fn found(charge: &Charge, order: &str) -> Outcome {
    match &charge.decline {
        Some(decline) if charge.status == ChargeStatus::Failed && charge.order == order => {
            Outcome::Declined(word(decline.code))
        }
        Some(_) | None => done(charge),
    }
}

pub(super) fn done<T: Serialize>(answer: &T) -> Outcome {
    match serde_json::to_value(answer) {
        Ok(answer) => Outcome::Done(answer),
        Err(_) => Outcome::Unknown("the answer cannot be written down".to_owned()),
    }
}

fn outcome<T: Serialize>(answer: Answer<T>) -> Outcome {
    match answer {
        Answer::Done(it) | Answer::Pending(it) => done(&it),
        Answer::Declined(decline) => Outcome::Declined(word(decline.code)),
        Answer::Unknown(why) => Outcome::Unknown(why),
        Answer::Misconfigured(why) => {
            tracing::error!(why, "a provider does not work with our settings");
            Outcome::Unknown(why)
        }
    }
}

/// Such as `card_declined`.
pub(super) fn word(code: DeclineCode) -> String {
    match serde_json::to_value(code) {
        Ok(Value::String(word)) => word,
        Ok(_) | Err(_) => "declined".to_owned(),
    }
}

/// What was answered, as it was written down.
///
/// # Errors
/// [`StepError::Poison`] when it is something else.
pub(super) fn read<T: DeserializeOwned>(answer: &Value) -> Result<T, StepError> {
    serde_json::from_value(answer.clone())
        .map_err(|error| StepError::Poison(format!("the answer cannot be read: {error}")))
}

/// How long until attempt number `attempt` is asked for.
pub(super) fn wait_after(attempt: u32) -> Duration {
    let attempt = usize::try_from(attempt).unwrap_or(usize::MAX).saturating_sub(1);
    LOOK_UP_SECONDS.get(attempt).map_or(LATER, |seconds| Duration::from_secs(*seconds))
}

/// A provider keeps what is to be given back, for good: somebody has to look.
pub(super) fn kept(is_by_deposit: bool, code: &str) -> Next {
    let why = if is_by_deposit {
        format!(
            "it came by a transfer, and nobody has named an account that it goes back to: {code}"
        )
    } else {
        format!("the provider does not give back what it has taken: {code}")
    };
    Next::Park(why)
}

/// What the rules refuse in the middle of a flow is for somebody to look at: money has moved.
pub(super) fn stuck(error: impl Into<ChangeError>) -> StepError {
    match error.into() {
        ChangeError::Store(error) => StepError::Store(error),
        other => StepError::Poison(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_asked_for_soon_and_then_every_five_minutes() {
        let waits: Vec<u64> = (1..=7).map(|attempt| wait_after(attempt).as_secs()).collect();
        assert_eq!(waits, [1, 3, 10, 30, 60, 300, 300]);
    }
}
