//! Voiding: the flow `payment_void`, of one step. What was set aside, or is still waited for, is let go.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::super::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError,
};
use super::desk::{Desk, GivesBack, stuck};
use crate::domain::ids::{AttemptId, PaymentId};
use crate::domain::money::Currency;
use crate::domain::payments::{Cause, PaymentStatus, ProviderName};
use crate::domain::workflows::EffectKey;
use crate::providers::payments::Cancel;
use crate::store::Db;
use crate::store::payments::attempts::{AttemptStatus, update_attempt};
use crate::store::payments::transitions::{By, transition};
use crate::store::payments::{get_locked, update_under_way};

pub(super) const VOID: &str = "payment_void";
pub(super) const VERSION: i64 = 1;

/// What is to be let go.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct VoidState {
    pub(super) payment: PaymentId,
    pub(super) attempt: AttemptId,
    pub(super) provider: ProviderName,
    pub(super) provider_key: String,
    /// Our order, as the provider knows it.
    pub(super) order: String,
    pub(super) currency: Currency,
    pub(super) reason: String,
}

impl GivesBack for VoidState {
    fn provider(&self) -> ProviderName {
        self.provider
    }

    fn request(&self) -> Cancel {
        Cancel {
            provider_key: self.provider_key.clone(),
            order: self.order.clone(),
            amount: None,
            currency: self.currency,
            reason: self.reason.clone(),
            refund_account: None,
        }
    }
}

pub(super) fn flow(desk: &Desk) -> Flow {
    let forward = Half::Effect(Arc::new(LetGo { desk: desk.clone() }));
    let steps = vec![Step { name: "void", forward, backward: Half::Nothing }];
    Flow { kind: VOID, version: VERSION, steps }
}

struct LetGo {
    desk: Desk,
}

#[async_trait]
impl EffectHalf for LetGo {
    fn repeating(&self, context: &Context) -> Repeating {
        self.desk.repeating_whole::<VoidState>(context)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        self.desk.look_up_whole::<VoidState>(context, key).await
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        self.desk.give_back::<VoidState>(context, key).await
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &Value,
    ) -> Result<Next, StepError> {
        let (state, now) = (context.state::<VoidState>()?, context.now);
        let mut payment = get_locked(db, state.payment).await?;
        payment.under_way = None;
        update_attempt(db, state.attempt, AttemptStatus::Abandoned, None, now).await?;
        let by = By::new(Cause::Provider, "workflow");
        transition(db, &mut payment, PaymentStatus::Canceled, &by, now).await.map_err(stuck)?;
        Ok(Next::End)
    }

    /// It stays as it is: whoever asked is told so.
    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let (state, now) = (context.state::<VoidState>()?, context.now);
        tracing::warn!(payment.id = %state.payment, code, "a provider does not void");
        let mut payment = get_locked(db, state.payment).await?;
        update_under_way(db, &mut payment, None, now).await?;
        Ok(Next::End)
    }
}
