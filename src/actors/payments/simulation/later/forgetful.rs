//! A control: voiding as if whatever the provider refuses were let go. A deposit that came meanwhile is forgotten.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;

use crate::actors::payments::desk::Desk;
use crate::actors::payments::void;
use crate::actors::workflow::flow::{
    Context, EffectHalf, Flow, Found, Half, Next, Outcome, Repeating, StepError,
};
use crate::domain::workflows::EffectKey;
use crate::store::Db;

pub(super) fn flow(desk: &Desk) -> Flow {
    let mut flow = void::flow(desk);
    for step in &mut flow.steps {
        if let Half::Effect(half) = &step.forward {
            step.forward = Half::Effect(Arc::new(Forgetful(Arc::clone(half))));
        }
    }
    flow
}

struct Forgetful(Arc<dyn EffectHalf>);

#[async_trait]
impl EffectHalf for Forgetful {
    fn repeating(&self, context: &Context) -> Repeating {
        self.0.repeating(context)
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        self.0.look_up(context, key).await
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        self.0.call(context, key).await
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        self.0.commit(db, context, answer).await
    }

    async fn reject(&self, db: &mut Db, context: &mut Context, _: &str) -> Result<Next, StepError> {
        self.0.commit(db, context, &Value::Null).await
    }

    fn wait_after(&self, attempt: u32) -> Option<Duration> {
        self.0.wait_after(attempt)
    }
}
