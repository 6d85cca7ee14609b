//! A turn: one step of one workflow that this node is about to do, and where the workflow is after it.

use serde_json::{Value, json};

use super::flow::{Context, Next, StepError};
use crate::clock;
use crate::domain::events::{DomainEvent, WORKFLOW_EVENTS};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{Direction, EffectKey, StepKind, WorkflowStatus};
use crate::store::workflows::history::{NewStep, insert_step};
use crate::store::workflows::{Progress, Running, save};
use crate::store::{Db, StoreError, outbox};

/// A step about to be done.
#[derive(Clone)]
pub(super) struct Turn {
    pub(super) step: &'static str,
    /// Steps of its flow.
    pub(super) steps: i64,
    pub(super) running: Running,
    /// When it began.
    pub(super) began: Timestamp,
}

/// Where a workflow is after a turn.
pub(super) enum Turned {
    On(Running),
    /// It rests, or has ended.
    Over,
}

impl Turn {
    pub(super) fn context(&self) -> Context {
        self.context_at(self.began)
    }

    pub(super) fn context_at(&self, now: Timestamp) -> Context {
        Context { workflow: self.running.claim.id, state: self.running.state.clone(), now }
    }

    /// Writes the line of a step and moves the workflow on; gives it back where it goes on at once.
    pub(super) async fn finish(
        mut self,
        db: &mut Db,
        kind: StepKind,
        effect: Option<(EffectKey, Value)>,
        next: Next,
        now: Timestamp,
    ) -> Result<Option<Running>, StepError> {
        let (key, output) = effect.unzip();
        let (name, effect_key, output) = (self.step, key.as_ref(), output.as_ref());
        insert_step(db, &self.running.claim, &NewStep { name, kind, effect_key, output }, now)
            .await?;
        let progress = self.advance(next);
        if let Progress::Parked { reason } = progress {
            park(db, &self.running, reason, now).await?;
            return Ok(None);
        }
        save(db, &self.running, &progress, now).await?;
        Ok(matches!(progress, Progress::On).then_some(self.running))
    }

    fn advance(&mut self, next: Next) -> Progress {
        // It stands where it stood: an effect that was announced is asked for when it is resumed.
        if let Next::Park(reason) = next {
            return Progress::Parked { reason };
        }
        let running = &mut self.running;
        running.attempt = 0;
        running.takes = 0;
        let is_forward = running.direction == Direction::Forward;
        match next {
            Next::On if is_forward => running.cursor = running.cursor.saturating_add(1),
            Next::End if is_forward => running.cursor = self.steps,
            Next::Undo(_) if is_forward => running.direction = Direction::Backward,
            Next::On | Next::Back(_) | Next::Undo(_) | Next::Park(_) => {
                running.direction = Direction::Backward;
                running.cursor = running.cursor.saturating_sub(1);
            }
            Next::End => running.cursor = -1,
        }
        match running.direction {
            Direction::Forward if running.cursor >= self.steps => {
                Progress::Ended(WorkflowStatus::Done)
            }
            Direction::Backward if running.cursor < 0 => {
                Progress::Ended(WorkflowStatus::Compensated)
            }
            Direction::Forward | Direction::Backward => Progress::On,
        }
    }
}

/// Parks a workflow and tells the rest of the system.
pub(super) async fn park(
    db: &mut Db,
    running: &Running,
    reason: String,
    now: Timestamp,
) -> Result<(), StoreError> {
    let output = json!({ "parked": reason });
    let (kind, effect_key, output) = (StepKind::Note, None, Some(&output));
    let line = NewStep { name: "parked", kind, effect_key, output };
    insert_step(db, &running.claim, &line, now).await?;
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: WORKFLOW_EVENTS,
        name: "WorkflowParked",
        subject: running.claim.id.to_string(),
        at: now,
        data: json!({ "workflow_id": running.claim.id, "type": running.kind, "reason": reason }),
    };
    outbox::append(db, &event).await?;
    save(db, running, &Progress::Parked { reason }, now).await
}
