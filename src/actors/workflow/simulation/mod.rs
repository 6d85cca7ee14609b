//! The simulation: the real engine on a real database, under nodes that die and sleep at every point and an outside that
//! fails in every way; all of it decided by a seed.
//!
//! Read [`world`] (the outside, which survives every crash), [`flows`] (what is played), [`scheduler`] (who is given a
//! turn, and who dies), then [`tests`]. A control takes one [`Safeguard`] away, and has to be caught.

mod flows;
pub(in crate::actors) mod scheduler;
pub(in crate::actors) mod seeds;
mod tests;
mod world;

use async_trait::async_trait;
use serde_json::Value;

use super::engine::{Engine, LEASE, Work};
use super::flow::Outcome;
use super::turn::{Turn, Turned};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{EffectKey, StepKind};
use crate::store::workflows::{Running, confirm, find_fence};
use crate::store::{Db, StoreError};

/// Told where a node is; it goes on when this returns.
#[async_trait]
pub(super) trait Points: Send + Sync {
    async fn at(&self, point: &'static str);
}

/// What keeps money safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::actors) enum Safeguard {
    /// Whoever lost a workflow changes nothing.
    Fence,
    /// The outside is asked before it is called again.
    LookUp,
    /// The same effect has the same key.
    StableKeys,
    /// What a step did and how far the workflow has come are one transaction.
    OneTransaction,
    /// Nobody knowing is not the same as a refusal.
    UnknownIsUnknown,
    /// What has to be undone is tried until it is.
    Persistence,
    /// An event is written with what it tells of.
    EventInside,
}

impl Engine {
    pub(super) fn lacks(&self, safeguard: Safeguard) -> bool {
        self.without == Some(safeguard)
    }

    pub(in crate::actors) async fn at(&self, point: &'static str) {
        if let Some(points) = &self.points {
            points.at(point).await;
        }
    }

    pub(super) async fn fence(
        &self,
        db: &mut Db,
        running: &mut Running,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        if self.lacks(Safeguard::Fence) {
            // Goes on in whoever's name.
            running.claim.fence = find_fence(db, running.claim.id).await?;
            return Ok(());
        }
        confirm(db, &running.claim, LEASE, now).await
    }

    /// Not left to chance: a seed plays the same way every time.
    pub(super) fn chance(&self) -> f64 {
        let millis = (self.clock)().millis().rem_euclid(1_000);
        f64::from(u32::try_from(millis).unwrap()) / 1_000.0
    }

    pub(super) fn sent_key(&self, turn: &Turn, key: &EffectKey) -> EffectKey {
        if self.lacks(Safeguard::StableKeys) {
            let running = &turn.running;
            return EffectKey::of(&format!("{key}:{}:{}", running.claim.fence, running.attempt));
        }
        key.clone()
    }

    pub(super) fn believed(&self, outcome: Outcome) -> Outcome {
        match outcome {
            Outcome::Unknown(why) if self.lacks(Safeguard::UnknownIsUnknown) => {
                Outcome::Declined(why)
            }
            outcome => outcome,
        }
    }

    /// A step whose work and whose progress are two transactions.
    pub(super) async fn step_in_two(
        &self,
        turn: Turn,
        kind: StepKind,
        effect: Option<(EffectKey, Value)>,
        work: Work,
    ) -> Result<Turned, StoreError> {
        let (engine, kept, now) = (self.clone(), turn.clone(), (self.clock)());
        let worked = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    let mut context = turn.context_at(now);
                    let next = work(db, &mut context).await?;
                    turn.running.state = context.state;
                    Ok((turn, next))
                })
            })
            .await;
        let (turn, next) = match worked {
            Ok(worked) => worked,
            Err(error) => return self.turned(kept, Err(error)).await,
        };
        self.at("split").await;
        let engine = self.clone();
        let finished = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    turn.finish(db, kind, effect, next, now).await
                })
            })
            .await;
        self.turned(kept, finished).await
    }
}
