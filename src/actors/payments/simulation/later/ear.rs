//! The ear: looks into what was heard of payments, and sweeps, as a node does beside those that drive workflows. It dies and
//! sleeps as they do, also between what a provider has said and what is made of it.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::outside::Outside;
use crate::actors::payments::{Payments, PaymentsError};
use crate::actors::workflow::engine::Engine;
use crate::actors::workflow::simulation::scheduler::Beside;
use crate::domain::payments::ProviderName;
use crate::store::StoreError;

const SWEPT_EVERY: Duration = Duration::from_mins(5);

/// Somebody who listens; `make` gives what an engine looks with.
pub(super) fn listening(
    outside: &Arc<Outside>,
    make: impl Fn(Engine) -> Payments + Send + Sync + 'static,
) -> Beside {
    let (living, asked) = (Arc::clone(outside), Arc::clone(outside));
    Beside {
        live: Arc::new(move |engine| {
            let payments = make(engine.clone());
            live(Arc::clone(&living), payments, engine).boxed()
        }),
        is_done: Arc::new(move || {
            let outside = Arc::clone(&asked);
            async move { outside.is_done().await }.boxed()
        }),
    }
}

async fn live(outside: Arc<Outside>, payments: Payments, engine: Engine) -> StoreError {
    loop {
        engine.at("idle").await;
        outside.hear();
        if let Some(heard) = outside.due() {
            let looked = payments.look_again(ProviderName::Fake, heard.clone()).await;
            engine.at("looked into").await;
            let is_done = !matches!(looked, Err(PaymentsError::Unavailable(_)));
            if let Err(error) = looked.as_ref().map_err(ToString::to_string)
                && is_done
            {
                outside.note(error.clone());
            }
            outside.looked(&heard, is_done);
            continue;
        }
        let now = outside.now();
        let swept_at = outside.facts.lock().unwrap().swept_at;
        if swept_at.is_some_and(|at| now.since(at) < SWEPT_EVERY) {
            continue;
        }
        match payments.sweep().await {
            Ok(swept) if swept.broken > 0 => outside.note(format!("{swept:?}")),
            Ok(_) => {}
            Err(error) => outside.note(error.to_string()),
        }
        outside.facts.lock().unwrap().swept_at = Some(now);
    }
}

impl Outside {
    fn note(&self, wrong: String) {
        self.facts.lock().unwrap().wrongs.push(wrong);
    }
}
