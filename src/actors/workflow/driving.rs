//! Driving: takes a workflow from step to step, until it rests, has ended, or does not go on here.
//!
//! Invariant: whoever stops driving gives the workflow back, or leaves it to its lease, and does nothing more in its name.

use std::time::Duration;

use super::engine::{Engine, LEASE, TAKES_MAX};
use super::flow::{Context, Half, StepError};
use super::turn::Turned;
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, EffectKey, StepKind};
use crate::store::workflows::claims::{Begun, insert_leased};
use crate::store::workflows::history::{NewStep, insert_step};
use crate::store::workflows::{Claim, NewWorkflow, Progress, Running, save};
use crate::store::{Db, StoreError};

/// How long a workflow is left alone that the store had no time for.
const STORE_WAIT: Duration = Duration::from_secs(2);
/// How long a workflow is left alone whose step has panicked.
const PANIC_WAIT: Duration = Duration::from_secs(2);
/// Panics without a step between them that park a workflow.
const PANICS_MAX: i64 = 5;
/// What a panic counts for, besides the take that led to it.
const PANIC_TAKES: i64 = TAKES_MAX / PANICS_MAX - 1;

impl Engine {
    /// Begins a workflow in the caller's transaction, as this node's own: its first effect is announced with it, and it is
    /// driven right after the commit. When it was to begin is not asked.
    ///
    /// # Errors
    /// [`StepError`]; the transaction must not be committed then.
    pub async fn begin(
        &self,
        db: &mut Db,
        new: &NewWorkflow,
        now: Timestamp,
    ) -> Result<Begun, StepError> {
        let first = self.flows.get(&(new.kind, new.version)).and_then(|flow| flow.steps.first());
        let Some(step) = first else {
            return Err(StepError::Poison("this release does not know its first step".to_owned()));
        };
        let mut running = match insert_leased(db, new, self.node, LEASE, now).await? {
            Begun::Now(running) => running,
            before @ Begun::Before(_) => return Ok(before),
        };
        if let Half::Effect(half) = &step.forward {
            let mut context = Context { workflow: new.id, state: new.state.clone(), now };
            half.prepare(db, &mut context).await?;
            running.state = context.state;
            running.attempt = 1;
            let key = EffectKey::new(new.id, step.name, Direction::Forward);
            let (name, kind, effect_key) = (step.name, StepKind::Intent, Some(&key));
            let line = NewStep { name, kind, effect_key, output: None };
            insert_step(db, &running.claim, &line, now).await?;
            save(db, &running, &Progress::On, now).await?;
            running.takes = 0;
            running.announced_at = Some(now);
        }
        Ok(Begun::Now(running))
    }

    /// Moves a workflow on until it rests or has ended. Quiet where another node has it by now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer; the workflow goes on later, here or elsewhere.
    pub async fn drive(&self, running: Running) -> Result<(), StoreError> {
        self.drive_while(running, &|| true).await
    }

    /// As [`Self::drive`], for as long as `goes_on` says so between two steps; then others may go on at once.
    ///
    /// # Errors
    /// As [`Self::drive`]. After [`StoreError::Stopped`], which is what a panic in a transaction looks like, the workflow
    /// has not been given back.
    pub async fn drive_while(
        &self,
        mut running: Running,
        goes_on: &(dyn Fn() -> bool + Send + Sync),
    ) -> Result<(), StoreError> {
        self.at("claimed").await;
        loop {
            let claim = running.claim;
            if !goes_on() {
                return self.store.release_workflow(claim, (self.clock)(), 0, None).await;
            }
            if is_retry(&running) {
                metrics::counter!("madang_wf_step_retries_total", "kind" => running.kind.clone())
                    .increment(1);
            }
            match self.turn(running).await {
                Ok(Turned::On(next)) => running = next,
                Ok(Turned::Over) => return Ok(()),
                Err(StoreError::LeaseLost) => {
                    metrics::counter!("madang_wf_fenced_total").increment(1);
                    return Ok(());
                }
                Err(StoreError::Stopped) => return Err(StoreError::Stopped),
                Err(error) => {
                    // A store that has no time for anybody says nothing about this workflow.
                    let takes = if is_crowded(&error) { -1 } else { 0 };
                    self.give_back(claim, STORE_WAIT, takes, Some(error.to_string())).await;
                    return Err(error);
                }
            }
        }
    }

    /// Gives back a workflow whose step has panicked. After a few of them it is parked by whoever takes it.
    pub(super) async fn give_back_panicked(&self, claim: Claim) {
        self.give_back(claim, PANIC_WAIT, PANIC_TAKES, Some("a step has panicked".to_owned()))
            .await;
    }

    async fn give_back(&self, claim: Claim, wait: Duration, takes: i64, reason: Option<String>) {
        let wake_at = (self.clock)().plus(wait);
        if let Err(error) = self.store.release_workflow(claim, wake_at, takes, reason).await {
            tracing::debug!(workflow.id = %claim.id, %error, "a lease ends by itself");
        }
    }
}

/// Whether its next step was begun before.
const fn is_retry(running: &Running) -> bool {
    running.takes > 1 || (running.attempt > 0 && running.announced_at.is_none())
}

const fn is_crowded(error: &StoreError) -> bool {
    matches!(error, StoreError::Busy | StoreError::TimedOut)
}
