//! A control: the flow of disputes with its work in a transaction of its own, apart from the step's. Whoever dies
//! between the two does it again.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

use super::super::desk::Desk;
use super::super::dispute::{self, find};
use crate::actors::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, Step, StepError,
};
use crate::domain::payments::disputes::Demand;
use crate::domain::workflows::EffectKey;
use crate::store::Db;
use crate::store::disputes::holds::{free, give, open};
use crate::store::payments::ChangeError;

pub(super) fn flow(desk: &Desk) -> Flow {
    let step = |name, is_opening| Step {
        name,
        forward: Half::Effect(Arc::new(Apart { desk: desk.clone(), is_opening })),
        backward: Half::Nothing,
    };
    Flow { steps: vec![step("open", true), step("close", false)], ..dispute::flow() }
}

struct Apart {
    desk: Desk,
    is_opening: bool,
}

#[async_trait]
impl EffectHalf for Apart {
    fn repeating(&self, _: &Context) -> Repeating {
        Repeating { is_idempotent: true, has_look_up: false, absent_after: Duration::ZERO }
    }

    async fn look_up(&self, _: &Context, _: &EffectKey) -> Found {
        Found::Absent
    }

    async fn call(&self, context: &Context, _: &EffectKey) -> Outcome {
        let (is_opening, context) = (self.is_opening, context.clone());
        let done: Result<(), ChangeError> = self
            .desk
            .store
            .write(move |db| {
                Box::pin(async move {
                    let dispute = find(db, &context).await.unwrap();
                    match dispute.status.demand() {
                        _ if is_opening => open(db, &dispute, context.now).await.map(|_| ()),
                        Demand::Give => give(db, &dispute, context.now).await,
                        _ => free(db, &dispute, context.now).await,
                    }
                })
            })
            .await;
        match done {
            Ok(()) => Outcome::Done(json!({})),
            Err(error) => Outcome::Unknown(error.to_string()),
        }
    }

    async fn commit(&self, _: &mut Db, _: &mut Context, _: &Value) -> Result<Next, StepError> {
        Ok(Next::On)
    }
}
