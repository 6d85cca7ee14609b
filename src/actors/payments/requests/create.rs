//! Creating: an order is to be paid for. The server says what it costs, and the provider gets ready for its payer.
//!
//! Invariant: the provider is asked between two transactions. Whoever dies between them leaves a payment that a repeat
//! under the same key goes on with, or that expires.

use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::timeout;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::answers::{
    AMOUNT_MISMATCH, Answered, CURRENCY_NOT_SUPPORTED, METHOD_NOT_SUPPORTED, PAYEE_GONE,
    PAYER_IS_PAYEE, PAYMENT_EXISTS, Refusal, WRONG_STATE, of_preparing,
};
use super::super::{Payments, PaymentsError, expiry};
use super::{Step, answered, claimed, not_stopped};
use crate::clock;
use crate::domain::idempotency::{IdempotentCall, StoredAnswer};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::ledger::chart::Shard;
use crate::domain::money::Amount;
use crate::domain::payments::orders::OrderKey;
use crate::domain::payments::refunds::Sums;
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::time::Timestamp;
use crate::providers::payments::{Answer, Capabilities, ClientParameters, Prepare};
use crate::store::Db;
use crate::store::accounts::keep_account;
use crate::store::idempotency::attach_resource;
use crate::store::orders::{Order, find_order, lock_order};
use crate::store::payments::attempts::{
    Attempt, AttemptStatus, get_attempt, insert_attempt, update_attempt,
};
use crate::store::payments::transitions::{By, created, transition};
use crate::store::payments::views::find_live;
use crate::store::payments::{Payment, get_locked, lock_payment};

/// How long a provider may take to get ready.
const PREPARED_WITHIN: Duration = Duration::from_secs(10);
/// Parts of the accounts that every payment touches, where several transactions can touch them at once.
const SHARDS: u8 = 16;

/// How a payer pays.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaymentMethod {
    /// At once, by a card or whatever else the provider offers.
    #[default]
    Card,
    /// By a transfer into an account that the provider opens for it.
    VirtualAccount,
}

/// An order that somebody wants to pay for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreatePayment {
    pub payer: UserId,
    pub order: OrderKey,
    pub method: PaymentMethod,
    /// Whether it is only set aside, to be captured later.
    pub is_captured_later: bool,
    /// What the payer believes that it costs.
    pub amount: Option<Amount>,
}

/// A payment that the provider is to get ready for.
struct Ready {
    payment: Payment,
    attempt: Attempt,
    name: String,
}

enum Begun {
    Answered(Answered),
    Prepare(Box<Ready>),
}

impl From<Step> for Begun {
    fn from(step: Step) -> Self {
        match step {
            Step::Answered(answered) => Self::Answered(answered),
            // Nobody begins a workflow under this route.
            Step::Follow(..) => Self::Answered(Answered {
                answer: WRONG_STATE.plain(),
                is_replayed: true,
                payment: None,
            }),
        }
    }
}

impl Payments {
    /// Begins a payment: 201 with what the payer's client needs, or why not.
    ///
    /// # Errors
    /// [`PaymentsError::NotFound`] for an order that is not registered, or somebody else's to pay.
    pub async fn create(
        &self,
        request: CreatePayment,
        call: IdempotentCall,
    ) -> Result<Answered, PaymentsError> {
        let Some(provider) = self.0.desk.providers.preferred() else {
            return Err(PaymentsError::Unavailable("nobody takes payments here".to_owned()));
        };
        let name = ProviderName::parse(provider.name())
            .ok_or_else(|| PaymentsError::Broken("a provider without a name".to_owned()))?;
        let capabilities = provider.capabilities();
        let (this, now, kept) = (self.clone(), self.now(), call.clone());
        let begun = self
            .0
            .desk
            .store
            .write(move |db| {
                Box::pin(async move {
                    this.begin_payment(db, &request, &call, (name, capabilities), now).await
                })
            })
            .await?;
        match begun {
            Begun::Answered(answered) => Ok(answered),
            Begun::Prepare(ready) => self.prepare(*ready, kept).await,
        }
    }

    async fn begin_payment(
        &self,
        db: &mut Db,
        request: &CreatePayment,
        call: &IdempotentCall,
        provider: (ProviderName, Capabilities),
        now: Timestamp,
    ) -> Result<Begun, PaymentsError> {
        match claimed(db, call, now).await? {
            ControlFlow::Break(step) => return Ok(step.into()),
            ControlFlow::Continue(Some(resource)) => {
                return resume(db, request, call, resource).await;
            }
            ControlFlow::Continue(None) => {}
        }
        let order = lock_order(db, &request.order).await?;
        let order = order.filter(|it| it.payer.is_none_or(|payer| payer == request.payer));
        let order = order.ok_or(PaymentsError::NotFound)?;
        if let Some(refusal) = self.refusal(request, &order, provider.1) {
            return Ok(answered(db, call, refusal.plain(), None).await?.into());
        }
        // Held until this is stored, so that whoever leaves meanwhile finds the payment.
        if let Some(payee) = order.payee
            && !keep_account(db, payee).await?
        {
            return Ok(answered(db, call, PAYEE_GONE.plain(), None).await?.into());
        }
        if let Some(answer) = live(db, request, now).await? {
            return Ok(answered(db, call, answer, None).await?.into());
        }
        not_stopped(db, provider.0).await?;
        let payment = self.new_payment(db, request, &order, provider.0, now);
        let by = format!("user:{}", request.payer);
        created(db, &payment, &By::new(Cause::Api, &by)).await?;
        let attempt = clock::new_uuid().into();
        let attempt = insert_attempt(db, attempt, payment.id, payment.provider, now).await?;
        attach_resource(db, call, payment.id.uuid()).await?;
        Ok(Begun::Prepare(Box::new(Ready { payment, attempt, name: order.name })))
    }

    fn refusal(
        &self,
        request: &CreatePayment,
        order: &Order,
        capabilities: Capabilities,
    ) -> Option<Refusal> {
        if order.currency != self.0.settings.currency {
            return Some(CURRENCY_NOT_SUPPORTED);
        }
        if order.payee == Some(request.payer) {
            return Some(PAYER_IS_PAYEE);
        }
        if request.amount.is_some_and(|amount| amount != order.amount) {
            return Some(AMOUNT_MISMATCH);
        }
        let is_by_deposit = request.method == PaymentMethod::VirtualAccount;
        let is_later = request.is_captured_later;
        let is_impossible = (is_by_deposit && (is_later || !capabilities.has_deposits))
            || (is_later && !capabilities.has_manual_capture);
        is_impossible.then_some(METHOD_NOT_SUPPORTED)
    }

    fn new_payment(
        &self,
        db: &Db,
        request: &CreatePayment,
        order: &Order,
        provider: ProviderName,
        now: Timestamp,
    ) -> Payment {
        let id = PaymentId::from(clock::new_uuid());
        let shards = if db.is_networked() { SHARDS } else { 1 };
        Payment {
            id,
            order: order.key.clone(),
            payer: request.payer,
            payee: order.payee,
            provider,
            shard: Shard::of(id.uuid(), shards),
            currency: order.currency,
            amount: order.amount,
            sums: Sums::default(),
            status: PaymentStatus::Created,
            under_way: None,
            is_captured_later: request.is_captured_later,
            is_by_deposit: request.method == PaymentMethod::VirtualAccount,
            failure_code: None,
            version: 0,
            expires_at: now.plus(self.0.settings.expires_after),
            created_at: now,
            updated_at: now,
        }
    }

    /// Has the provider get ready, and answers.
    async fn prepare(&self, ready: Ready, call: IdempotentCall) -> Result<Answered, PaymentsError> {
        let Ready { payment, attempt, name } = ready;
        let request = Prepare {
            order: attempt.provider_order_id.clone(),
            amount: payment.amount,
            currency: payment.currency,
            name,
            is_captured_later: payment.is_captured_later,
        };
        let Some(provider) = self.0.desk.provider(payment.provider) else {
            return Err(PaymentsError::Unavailable("the provider is gone".to_owned()));
        };
        let client = match timeout(PREPARED_WITHIN, provider.prepare(&request)).await {
            Ok(Answer::Done(client) | Answer::Pending(client)) => Some(client),
            Ok(Answer::Declined(_)) => None,
            Ok(Answer::Unknown(why) | Answer::Misconfigured(why)) => {
                return Err(PaymentsError::Unavailable(why));
            }
            Err(_) => return Err(PaymentsError::Unavailable("it took too long".to_owned())),
        };
        let (id, now) = (payment.id, self.now());
        let step = self
            .0
            .desk
            .store
            .write::<_, PaymentsError, _>(move |db| {
                Box::pin(async move {
                    let answer = match client {
                        Some(client) => is_ready(&payment, &client),
                        None => give_up(db, payment.id, now).await?,
                    };
                    Ok(answered(db, &call, answer, Some(id)).await?)
                })
            })
            .await?;
        match Begun::from(step) {
            Begun::Answered(answered) => Ok(answered),
            Begun::Prepare(_) => Err(PaymentsError::Broken("prepared twice".to_owned())),
        }
    }
}

/// Goes on with a payment that somebody has begun under the same key, and did not come back.
async fn resume(
    db: &mut Db,
    request: &CreatePayment,
    call: &IdempotentCall,
    resource: Uuid,
) -> Result<Begun, PaymentsError> {
    let found = lock_payment(db, resource.into()).await?;
    let payment = found.filter(|it| it.payer == request.payer).ok_or(PaymentsError::NotFound)?;
    if payment.status != PaymentStatus::Created {
        let answer = WRONG_STATE.of(&payment);
        return Ok(answered(db, call, answer, Some(payment.id)).await?.into());
    }
    // The one that it was begun with, whatever new payments go to by now.
    not_stopped(db, payment.provider).await?;
    let order = find_order(db, &payment.order).await?.ok_or(PaymentsError::NotFound)?;
    let attempt = get_attempt(db, payment.id).await?;
    Ok(Begun::Prepare(Box::new(Ready { payment, attempt, name: order.name })))
}

/// Why an order is not to be paid for once more. One whose time is over is not in the way.
async fn live(
    db: &mut Db,
    request: &CreatePayment,
    now: Timestamp,
) -> Result<Option<StoredAnswer>, PaymentsError> {
    let Some(live) = find_live(db, &request.order).await? else { return Ok(None) };
    let mut live = get_locked(db, live.id).await?;
    if expiry::expire(db, &mut live, now).await? || live.status.is_final() {
        return Ok(None);
    }
    let is_own = live.payer == request.payer;
    Ok(Some(if is_own { PAYMENT_EXISTS.of(&live) } else { PAYMENT_EXISTS.plain() }))
}

fn is_ready(payment: &Payment, client: &ClientParameters) -> StoredAnswer {
    let ClientParameters(client): &ClientParameters = client;
    let client: &Value = client;
    let body = json!({
        "payment_id": payment.id,
        "provider": payment.provider.as_str(),
        "amount": payment.amount,
        "currency": payment.currency,
        "status": payment.status.as_str(),
        "client": client,
        "expires_at": payment.expires_at,
    });
    StoredAnswer { status: 201, body: body.to_string() }
}

/// The provider will not have it.
async fn give_up(
    db: &mut Db,
    id: PaymentId,
    now: Timestamp,
) -> Result<StoredAnswer, PaymentsError> {
    let mut payment = get_locked(db, id).await?;
    if payment.status == PaymentStatus::Created && payment.under_way.is_none() {
        let attempt = get_attempt(db, id).await?;
        update_attempt(db, attempt.id, AttemptStatus::Abandoned, None, now).await?;
        let by = By::new(Cause::Provider, "provider").failing("not_prepared");
        transition(db, &mut payment, PaymentStatus::Canceled, &by, now).await?;
    }
    Ok(of_preparing(&payment))
}
