//! Refunding: the flow `payment_refund`, of one step. What it takes was reserved and held when it was requested.
//!
//! Invariant: a refund is asked for under one key, and counted when the provider has made it. Where it goes is known to
//! nobody but the provider: it is opened for the call, and forgotten at the end.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError,
};
use super::desk::{self, Desk, GivesBack, stuck};
use crate::domain::bank_accounts::RefundAccount;
use crate::domain::ids::{PaymentId, RefundId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::refunds::RefundStatus;
use crate::domain::payments::{Cause, ProviderName};
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{Cancel, Canceled, RefundTo};
use crate::store::Db;
use crate::store::payments::get_locked;
use crate::store::payments::refunds::{fail, get_refund, succeed, update_status};
use crate::store::payments::transitions::By;

pub(super) const REFUND: &str = "payment_refund";
pub(super) const VERSION: i64 = 1;
/// Its only step.
pub(super) const STEP: &str = "refund";
const ACTOR: &str = "workflow";

/// What is to be given back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct RefundState {
    pub(super) payment: PaymentId,
    pub(super) refund: RefundId,
    pub(super) provider: ProviderName,
    pub(super) provider_key: String,
    /// Our order, as the provider knows it.
    pub(super) order: String,
    pub(super) amount: Amount,
    pub(super) currency: Currency,
    pub(super) reason: String,
}

impl GivesBack for RefundState {
    fn provider(&self) -> ProviderName {
        self.provider
    }

    fn request(&self) -> Cancel {
        Cancel {
            provider_key: self.provider_key.clone(),
            order: self.order.clone(),
            amount: Some(self.amount),
            currency: self.currency,
            reason: self.reason.clone(),
            refund_account: None,
        }
    }
}

pub(super) fn flow(desk: &Desk) -> Flow {
    let forward = Half::Effect(Arc::new(GiveBack { desk: desk.clone() }));
    let steps = vec![Step { name: STEP, forward, backward: Half::Nothing }];
    Flow { kind: REFUND, version: VERSION, steps }
}

struct GiveBack {
    desk: Desk,
}

impl GiveBack {
    /// Where it goes; `None` where it goes back the way it came.
    async fn refund_to(&self, refund: RefundId) -> Result<Option<RefundTo>, String> {
        let sealed = self.desk.store.find_sealed_refund_account(refund).await;
        let sealed = sealed.map_err(|_| "the payer's account cannot be read")?;
        let Some(sealed) = sealed else { return Ok(None) };
        let seal = self.desk.seal.as_ref().ok_or("there is no key for bank accounts")?;
        let text = seal.open(&sealed, refund.uuid().as_bytes()).ok();
        let account = text.and_then(|text| RefundAccount::from_text(&text));
        let RefundAccount { bank, details } =
            account.ok_or("the payer's account cannot be opened with the key of this node")?;
        Ok(Some(RefundTo {
            bank_code: bank.as_str().to_owned(),
            account_number: details.number().clone(),
            holder: details.holder().to_owned(),
        }))
    }

    async fn ask(&self, state: RefundState, key: &EffectKey) -> Outcome {
        let refund_account = match self.refund_to(state.refund).await {
            Ok(account) => account,
            Err(why) => return Outcome::Unknown(why),
        };
        let request = &Cancel { refund_account, ..state.request() };
        self.desk.cancel(state.provider, request, key).await
    }
}

#[async_trait]
impl EffectHalf for GiveBack {
    fn repeating(&self, context: &Context) -> Repeating {
        self.desk.repeating_part::<RefundState>(context)
    }

    async fn prepare(&self, db: &mut Db, context: &mut Context) -> Result<(), StepError> {
        let state = context.state::<RefundState>()?;
        get_locked(db, state.payment).await?;
        let mut refund = get_refund(db, state.refund).await?;
        let (to, now) = (RefundStatus::Sent, context.now);
        update_status(db, &mut refund, to, now).await.map_err(stuck)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        self.desk.look_up_part::<RefundState>(context, key).await
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        match context.state::<RefundState>() {
            Ok(state) => self.ask(state, key).await,
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        let (state, now) = (context.state::<RefundState>()?, context.now);
        let canceled: Canceled = desk::read(answer)?;
        let mut payment = get_locked(db, state.payment).await?;
        let mut refund = get_refund(db, state.refund).await?;
        if canceled.amount != state.amount {
            if refund.status != RefundStatus::NeedsReview {
                let to = RefundStatus::NeedsReview;
                update_status(db, &mut refund, to, now).await.map_err(stuck)?;
            }
            return Ok(Next::Park("another amount was given back than was asked for".to_owned()));
        }
        let by = By::new(Cause::Provider, ACTOR);
        let key = &canceled.provider_key;
        succeed(db, &mut payment, &mut refund, key, &by, now).await.map_err(stuck)?;
        Ok(Next::End)
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let state = context.state::<RefundState>()?;
        let mut payment = get_locked(db, state.payment).await?;
        let mut refund = get_refund(db, state.refund).await?;
        fail(db, &mut payment, &mut refund, code, context.now).await.map_err(stuck)?;
        Ok(Next::End)
    }

    async fn unknown(&self, db: &mut Db, context: &mut Context, _: &str) -> Result<(), StepError> {
        let state = context.state::<RefundState>()?;
        get_locked(db, state.payment).await?;
        let mut refund = get_refund(db, state.refund).await?;
        if refund.status == RefundStatus::NeedsReview {
            // Somebody has looked, and lets it be asked for again.
            return Ok(());
        }
        let (to, now) = (RefundStatus::Unknown, context.now);
        update_status(db, &mut refund, to, now).await.map_err(stuck)
    }
}
