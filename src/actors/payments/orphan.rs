//! Orphans: a provider has taken something for a payment that is over. The flow `orphan_refund`, of one step, gives it
//! back.
//!
//! Invariant: a payment that is over stays over. What came too late is nobody's until it is given back, and the books
//! say so. What is only waited for, or set aside, is let go before it comes.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError,
};
use super::desk::{self, Desk, GivesBack, stuck};
use crate::clock;
use crate::domain::ids::PaymentId;
use crate::domain::ledger::chart::Shard;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::postings::Place;
use crate::domain::payments::{Cause, ProviderName};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{Cancel, Canceled, Charge, ChargeStatus};
use crate::store::Db;
use crate::store::ledger::book;
use crate::store::payments::transitions::{By, tell};
use crate::store::payments::{ChangeError, Payment, get_locked};
use crate::store::workflows::{NewWorkflow, find_workflow, insert_workflow};

pub(super) const ORPHAN: &str = "orphan_refund";
const VERSION: i64 = 1;
const REASON: &str = "taken for a payment that is over";

/// What is to be given back.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OrphanState {
    payment: PaymentId,
    provider: ProviderName,
    provider_key: String,
    /// Our order, as the provider knows it.
    order: String,
    amount: Amount,
    currency: Currency,
    shard: u8,
    /// Whether money has moved; otherwise it was only set aside, or is waited for.
    is_captured: bool,
}

impl GivesBack for OrphanState {
    fn provider(&self) -> ProviderName {
        self.provider
    }

    fn request(&self) -> Cancel {
        Cancel {
            provider_key: self.provider_key.clone(),
            order: self.order.clone(),
            amount: self.is_captured.then_some(self.amount),
            currency: self.currency,
            reason: REASON.to_owned(),
            refund_account: None,
        }
    }
}

impl OrphanState {
    const fn place(&self) -> Place {
        Place {
            payment: self.payment,
            provider: self.provider,
            shard: Shard::numbered(self.shard),
            currency: self.currency,
        }
    }
}

pub(super) fn flow(desk: &Desk) -> Flow {
    let forward = Half::Effect(Arc::new(GiveBack { desk: desk.clone() }));
    let steps = vec![Step { name: "give_back", forward, backward: Half::Nothing }];
    Flow { kind: ORPHAN, version: VERSION, steps }
}

/// Begins to give back what is left of a charge, once: `ReconciliationBreakFound`. Says whether it does.
///
/// # Errors
/// [`ChangeError`]; the transaction must not be committed then.
pub(super) async fn begin(
    db: &mut Db,
    payment: &Payment,
    charge: &Charge,
    cause: Cause,
    now: Timestamp,
) -> Result<bool, ChangeError> {
    let canceled: i64 = charge.cancels.iter().map(|it| it.amount.minor()).sum();
    let Ok(amount) = Amount::new(charge.amount.minor().saturating_sub(canceled)) else {
        return Ok(false);
    };
    let state = OrphanState {
        payment: payment.id,
        provider: payment.provider,
        provider_key: charge.provider_key.clone(),
        order: charge.order.clone(),
        amount,
        currency: charge.currency,
        shard: payment.shard.number(),
        is_captured: charge.status == ChargeStatus::Captured,
    };
    let new = NewWorkflow {
        id: clock::new_uuid().into(),
        kind: ORPHAN,
        version: VERSION,
        dedupe_key: dedupe_key(state.is_captured, payment.provider, &charge.provider_key),
        state: json!(state),
        wake_at: now,
    };
    if insert_workflow(db, &new, now).await? != new.id {
        return Ok(false);
    }
    tracing::warn!(payment.id = %payment.id, "something was {REASON}");
    let said = json!({ "break": "late_success", "found_amount": amount });
    let by = By::new(cause, "payments").saying(said);
    tell(db, payment, "ReconciliationBreakFound", &by, now).await?;
    if state.is_captured {
        book(db, &state.place().orphan(&state.provider_key, amount), now).await?;
    }
    Ok(true)
}

/// What was only waited for may be taken after all, and is then given back by a workflow of its own.
fn dedupe_key(is_captured: bool, provider: ProviderName, provider_key: &str) -> String {
    let what = if is_captured { "orphan" } else { "let_go" };
    format!("{what}:{}:{provider_key}", provider.as_str())
}

struct GiveBack {
    desk: Desk,
}

#[async_trait]
impl EffectHalf for GiveBack {
    fn repeating(&self, context: &Context) -> Repeating {
        self.desk.repeating_whole::<OrphanState>(context)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        self.desk.look_up_whole::<OrphanState>(context, key).await
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        self.desk.give_back::<OrphanState>(context, key).await
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        let state = context.state::<OrphanState>()?;
        let canceled: Canceled = desk::read(answer)?;
        if !state.is_captured {
            return Ok(Next::End);
        }
        if canceled.amount != state.amount {
            return Ok(Next::Park("another amount was given back than was taken".to_owned()));
        }
        let entry = state.place().orphan_refund(&state.provider_key, state.amount);
        book(db, &entry, context.now).await.map_err(stuck)?;
        Ok(Next::End)
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let state = context.state::<OrphanState>()?;
        let taken = dedupe_key(true, state.provider, &state.provider_key);
        if !state.is_captured && find_workflow(db, &taken).await?.is_some() {
            // It was taken meanwhile, and another workflow gives it back.
            return Ok(Next::End);
        }
        let payment = get_locked(db, state.payment).await?;
        Ok(desk::kept(payment.is_by_deposit, code))
    }
}
