//! Disputes: a payer's bank wants money back. Whoever hears of one asks the provider and writes down what it says; the
//! flow `dispute`, of two steps, does what follows from that.
//!
//! Invariant: what follows is done once, in order: what is disputed is held before it is freed or goes back. A dispute
//! that was over before anybody heard of it, and not lost, is left alone.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::workflow::flow::{Context, Flow, Half, Next, Step, StepError, WaitHalf, Waited};
use super::again::{LookAgain, Looked};
use super::desk::stuck;
use super::{Payments, PaymentsError};
use crate::clock;
use crate::domain::payments::disputes::Demand;
use crate::domain::payments::{Cause, ProviderName};
use crate::domain::time::Timestamp;
use crate::providers::payments::{Dispute as Reported, ListedDispute, LookUp, PaymentProvider};
use crate::store::disputes::holds::{Opened, free, give, open, waits_for_refund};
use crate::store::disputes::{Dispute, Told, close_unopened, find_dispute, record_dispute};
use crate::store::payments::Payment;
use crate::store::payments::attempts::Attempt;
use crate::store::workflows::signals::{Signal, insert_signal};
use crate::store::workflows::{NewWorkflow, insert_workflow};
use crate::store::{Db, StoreError};

const DISPUTE: &str = "dispute";
const VERSION: i64 = 1;
/// What the flow is told when a provider has said something new.
const TOLD: &str = "told";
/// How often it looks by itself; whoever writes something down wakes it.
const POLL: Duration = Duration::from_hours(1);
/// A payment that is disputed was taken: that will be known soon.
const TAKEN_POLL: Duration = Duration::from_mins(1);
/// What a refund has taken that is still on its way is with the payer, or there to be given: that will be known.
const REFUND_POLL: Duration = Duration::from_mins(1);
/// How often a provider is asked about a dispute of which nothing is heard.
pub(super) const ASKED_EVERY: Duration = Duration::from_hours(1);
/// How old a dispute may be that we have not heard of.
const LISTED_FOR: Duration = Duration::from_hours(7 * 24);
/// Pages of disputes that are asked for in one go.
const LISTED_PAGES_MAX: usize = 1_000;

/// Which dispute it is about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct DisputeState {
    provider: ProviderName,
    provider_key: String,
}

pub(super) fn flow() -> Flow {
    let step = |name, forward| Step { name, forward, backward: Half::Nothing };
    let steps =
        vec![step("open", Half::Wait(Arc::new(Open))), step("close", Half::Wait(Arc::new(Close)))];
    Flow { kind: DISPUTE, version: VERSION, steps }
}

/// As it was written down last. Whoever writes has the workflow locked, as this does.
pub(super) async fn find(db: &mut Db, context: &Context) -> Result<Dispute, StepError> {
    let state = context.state::<DisputeState>()?;
    Ok(find_dispute(db, state.provider, &state.provider_key).await?)
}

/// Waits until a bank wants something, and holds it.
struct Open;

#[async_trait]
impl WaitHalf for Open {
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &[Signal],
    ) -> Result<Waited, StepError> {
        let (dispute, now) = (find(db, context).await?, context.now);
        match dispute.status.demand() {
            Demand::None => return Ok(Waited::Until(now.plus(POLL))),
            Demand::Free => {
                close_unopened(db, &dispute, now).await?;
                return Ok(Waited::Over(Next::End));
            }
            Demand::Hold | Demand::Give => {}
        }
        Ok(match open(db, &dispute, now).await.map_err(stuck)? {
            Opened::NotYet => Waited::Until(now.plus(TAKEN_POLL)),
            Opened::Yes => Waited::Over(Next::On),
            Opened::OtherCurrency => {
                let why = "the dispute is of another currency than its payment";
                Waited::Over(Next::Park(why.to_owned()))
            }
        })
    }
}

/// Waits until the bank has decided, and does what follows.
struct Close;

#[async_trait]
impl WaitHalf for Close {
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &[Signal],
    ) -> Result<Waited, StepError> {
        let (dispute, now) = (find(db, context).await?, context.now);
        match dispute.status.demand() {
            Demand::None | Demand::Hold => return Ok(Waited::Until(now.plus(POLL))),
            Demand::Free => free(db, &dispute, now).await.map_err(stuck)?,
            Demand::Give if waits_for_refund(db, &dispute).await? => {
                return Ok(Waited::Until(now.plus(REFUND_POLL)));
            }
            Demand::Give => give(db, &dispute, now).await.map_err(stuck)?,
        }
        Ok(Waited::Over(Next::End))
    }
}

impl Payments {
    /// Asks about the disputes of a charge, and writes down what the provider says of them. Says whether that is news.
    ///
    /// # Errors
    /// [`PaymentsError::Unavailable`] when the provider does not say how one stands: to be tried again.
    pub(super) async fn look_at_disputes(
        &self,
        payment: &Payment,
        attempt: &Attempt,
        keys: &[String],
    ) -> Result<bool, PaymentsError> {
        let mut is_news = false;
        for key in keys {
            is_news |= self.look_at_dispute(payment, attempt.provider_key.as_deref(), key).await?;
        }
        Ok(is_news)
    }

    /// Asks about a dispute of which nothing was heard for a while. Says whether there is something new of it.
    ///
    /// # Errors
    /// [`PaymentsError::Unavailable`] when the provider does not say how it stands: to be tried again.
    pub(super) async fn look_at_old_dispute(
        &self,
        dispute: &Dispute,
    ) -> Result<bool, PaymentsError> {
        let found = self.0.desk.store.find_payment(dispute.payment).await?;
        let payment = found.ok_or(StoreError::NotFound)?;
        self.look_at_dispute(&payment, None, &dispute.provider_key).await
    }

    /// Asks every provider that tells of disputes for those of the last days, and looks at the payments of such as nobody
    /// has told us of: a webhook may have been lost. Gives how many there was something new of.
    ///
    /// # Errors
    /// [`PaymentsError`] when the database does not answer. Whoever does not answer is named in the log and asked again the
    /// next time.
    pub async fn look_for_disputes(&self) -> Result<usize, PaymentsError> {
        let since = self.now().minus(LISTED_FOR);
        let mut news = 0_usize;
        for provider in self.0.desk.providers.all() {
            let name = ProviderName::parse(provider.name());
            let Some(name) = name.filter(|_| provider.capabilities().has_disputes) else {
                continue;
            };
            for listed in list_disputes(provider.as_ref(), since).await {
                news = news.saturating_add(usize::from(self.hear_of(name, listed).await?));
            }
        }
        Ok(news)
    }

    /// Looks at the payment of a dispute that is listed, unless it is known. Says whether that is news.
    async fn hear_of(
        &self,
        provider: ProviderName,
        listed: ListedDispute,
    ) -> Result<bool, PaymentsError> {
        let ListedDispute { provider_key, charge } = listed;
        if self.0.desk.store.is_dispute_known(provider, provider_key).await? {
            return Ok(false);
        }
        let again = LookAgain { order: None, provider_key: Some(charge), cause: Cause::Sync };
        match self.look_again(provider, again).await {
            Ok(looked) => Ok(looked == Looked::Changed),
            Err(PaymentsError::Store(error)) => Err(error.into()),
            Err(error) => {
                let name = provider.as_str();
                tracing::warn!(payment.provider = name, %error, "a dispute cannot be looked at");
                Ok(false)
            }
        }
    }

    async fn look_at_dispute(
        &self,
        payment: &Payment,
        charge: Option<&str>,
        key: &str,
    ) -> Result<bool, PaymentsError> {
        let dispute = match self.0.desk.find_dispute(payment.provider, key).await {
            LookUp::Found(dispute) => dispute,
            // With the charge it was said that there is one.
            LookUp::Absent => {
                return Err(PaymentsError::Unavailable("a dispute is not found".to_owned()));
            }
            LookUp::Unknown(why) => return Err(PaymentsError::Unavailable(why)),
        };
        if dispute.provider_key != key || charge.is_some_and(|charge| charge != dispute.charge) {
            tracing::error!(payment.id = %payment.id, "the provider shows another dispute");
            return Err(PaymentsError::Unavailable("another dispute is shown".to_owned()));
        }
        Ok(self.write_down_dispute(told(payment, &dispute)).await?)
    }

    /// Writes down what a provider says of a dispute. Says whether it is news.
    pub(super) async fn write_down_dispute(&self, told: Told) -> Result<bool, StoreError> {
        let now = self.now();
        let store = &self.0.desk.store;
        store.write(move |db| Box::pin(async move { write_down(db, &told, now).await })).await
    }
}

/// What a provider lists, as far as it answers.
async fn list_disputes(provider: &dyn PaymentProvider, since: Timestamp) -> Vec<ListedDispute> {
    let (mut listed, mut cursor) = (Vec::new(), None);
    for _ in 0..LISTED_PAGES_MAX {
        let page = match provider.list_disputes(since, cursor.as_deref()).await {
            Ok(page) => page,
            Err(why) => {
                let name = provider.name();
                tracing::warn!(
                    payment.provider = name,
                    why,
                    "nobody says which disputes there are"
                );
                return listed;
            }
        };
        listed.extend(page.items);
        let Some(next) = page.next else { return listed };
        cursor = Some(next);
    }
    tracing::error!(payment.provider = provider.name(), "there are more disputes than are read");
    listed
}

pub(super) fn told(payment: &Payment, dispute: &Reported) -> Told {
    Told {
        id: clock::new_uuid().into(),
        payment: payment.id,
        payee: payment.payee,
        provider: payment.provider,
        provider_key: dispute.provider_key.clone(),
        currency: dispute.currency,
        amount: dispute.amount,
        status: dispute.status,
        due_at: dispute.due_at,
    }
}

/// Writes down what a provider says, and has the workflow look at it, which is locked first, as by whoever drives it.
pub(super) async fn write_down(
    db: &mut Db,
    told: &Told,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Told { provider, provider_key, .. } = told;
    let state = DisputeState { provider: *provider, provider_key: provider_key.clone() };
    let new = NewWorkflow {
        id: clock::new_uuid().into(),
        kind: DISPUTE,
        version: VERSION,
        dedupe_key: format!("{DISPUTE}:{}:{provider_key}", provider.as_str()),
        state: json!(state),
        wake_at: now,
    };
    let workflow = insert_workflow(db, &new, now).await?;
    let (name, dedupe_key) = (TOLD.to_owned(), told.status.as_str().to_owned());
    let signal = Signal { name, dedupe_key, payload: Value::Null };
    insert_signal(db, workflow, &signal, now).await?;
    record_dispute(db, told, now).await
}
