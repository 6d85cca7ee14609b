//! Flows: what a kind of workflow consists of. A flow names its steps; the engine sees to it that each happens once.
//!
//! A step is a half forward and, where it can be undone, a half backward. Halves get what they need through themselves and
//! their workflow's state as JSON: they keep nothing. Invariant: whatever a half does in the database, it does in the
//! transaction that it is given.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::domain::workflows::{EffectKey, TRIED_MAX};
use crate::store::workflows::signals::Signal;
use crate::store::{Db, StoreError};

/// A kind of workflow in one of its versions. A version that was released never changes: others may be in the middle of it.
pub struct Flow {
    pub kind: &'static str,
    pub version: i64,
    pub steps: Vec<Step>,
}

impl Flow {
    /// Whether everything up to this step, and the step itself, has a half backward. A step without one may have done
    /// something all the same, so that there is no way back from behind it.
    #[must_use]
    pub fn has_way_back_from(&self, cursor: i64) -> bool {
        let Ok(cursor) = usize::try_from(cursor) else { return false };
        let steps = self.steps.get(..=cursor);
        steps.is_some_and(|done| done.iter().all(|step| !matches!(step.backward, Half::Nothing)))
    }
}

/// One step of a flow.
pub struct Step {
    /// Unique in its flow; part of the key of its effect.
    pub name: &'static str,
    pub forward: Half,
    pub backward: Half,
}

/// What is done in a step, one way.
#[derive(Clone)]
pub enum Half {
    Nothing,
    /// One transaction.
    Local(Arc<dyn LocalHalf>),
    /// A call to the outside, between two transactions.
    Effect(Arc<dyn EffectHalf>),
    /// Waits for a time or a signal.
    Wait(Arc<dyn WaitHalf>),
}

/// What a half is told, and what it may change: the state is stored with whatever else it writes.
#[derive(Debug, Clone)]
pub struct Context {
    pub workflow: WorkflowId,
    pub state: Value,
    pub now: Timestamp,
}

impl Context {
    /// The state in the flow's own shape.
    ///
    /// # Errors
    /// [`StepError::Poison`] when it has another.
    pub fn state<S: DeserializeOwned>(&self) -> Result<S, StepError> {
        serde_json::from_value(self.state.clone())
            .map_err(|error| StepError::Poison(format!("the state cannot be read: {error}")))
    }

    /// Replaces the state.
    ///
    /// # Errors
    /// [`StepError::Poison`] when it cannot be written as JSON.
    pub fn set_state<S: Serialize>(&mut self, state: &S) -> Result<(), StepError> {
        self.state = serde_json::to_value(state)
            .map_err(|error| StepError::Poison(format!("the state cannot be written: {error}")))?;
        Ok(())
    }
}

/// Where a workflow goes after a step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To the next step.
    On,
    /// To its end: what is left of it is not needed.
    End,
    /// Back: what was done in the steps before is undone. A word for whoever looks.
    Back(String),
    /// Back, and this step is undone too.
    Undo(String),
    /// Nowhere, until somebody has looked. A sentence without personal data.
    Park(String),
}

/// What came of waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waited {
    /// It has come.
    Over(Next),
    /// It is waited for until then at the latest.
    Until(Timestamp),
}

/// Why a half was not done; nothing of it is left.
#[derive(Debug, thiserror::Error)]
pub enum StepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A rule says no: the workflow goes back. A word for whoever looks, such as `overdraft`.
    #[error("refused: {0}")]
    Refused(String),
    /// It never will be done: the workflow is parked. A sentence without personal data.
    #[error("{0}")]
    Poison(String),
}

/// What a call to the outside came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// It was done, and this is the answer.
    Done(Value),
    /// It was certainly not done, and never will be. A word for whoever looks.
    Declined(String),
    /// Nobody knows. A sentence without personal data.
    Unknown(String),
}

/// What the outside says of a call that was announced before.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// It was done, or it was refused for good.
    Outcome(Outcome),
    /// There is no trace of it.
    Absent,
}

/// How sure one can be before a call is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Repeating {
    /// The outside does the same key once: a repeat does no harm.
    pub is_idempotent: bool,
    /// The outside can be asked.
    pub has_look_up: bool,
    /// How long after the last call no trace means that there never will be one.
    pub absent_after: Duration,
}

/// One transaction.
#[async_trait]
pub trait LocalHalf: Send + Sync {
    /// Does it, in the transaction that moves the workflow on.
    ///
    /// # Errors
    /// [`StepError`].
    async fn run(&self, db: &mut Db, context: &mut Context) -> Result<Next, StepError>;
}

/// A call to the outside: announced, asked for if it was announced before, made, and recorded.
#[async_trait]
pub trait EffectHalf: Send + Sync {
    fn repeating(&self, context: &Context) -> Repeating;

    /// Done with the announcement, before the first call.
    ///
    /// # Errors
    /// [`StepError`]; nothing was announced then.
    async fn prepare(&self, db: &mut Db, context: &mut Context) -> Result<(), StepError> {
        let _ = (db, context);
        Ok(())
    }

    /// Asks what became of it.
    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found;

    /// Calls. Whoever cannot be certain says [`Outcome::Unknown`].
    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome;

    /// Records what was done.
    ///
    /// # Errors
    /// [`StepError`]; refused by a rule, the workflow is parked: what was done outside is not undone by going back.
    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError>;

    /// Records that it never will be. On the way back there is no such thing: it is tried again.
    ///
    /// # Errors
    /// [`StepError`].
    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        let _ = (db, context);
        Ok(Next::Back(code.to_owned()))
    }

    /// Records that nobody knows.
    ///
    /// # Errors
    /// [`StepError`].
    async fn unknown(
        &self,
        db: &mut Db,
        context: &mut Context,
        why: &str,
    ) -> Result<(), StepError> {
        let _ = (db, context, why);
        Ok(())
    }

    /// How long it is asked again before somebody has to look at it, counted from the first call, or from when somebody who
    /// has looked let it go on.
    fn tried_max(&self, context: &Context) -> Duration {
        let _ = context;
        TRIED_MAX
    }

    /// How long until it is asked again after attempt number `attempt`, where the usual back-off does not fit.
    fn wait_after(&self, attempt: u32) -> Option<Duration> {
        let _ = attempt;
        None
    }
}

/// Waits for a time or a signal.
#[async_trait]
pub trait WaitHalf: Send + Sync {
    /// Looks whether it has come. Signals that are given to the step are taken in when it is over.
    ///
    /// # Errors
    /// [`StepError`].
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        signals: &[Signal],
    ) -> Result<Waited, StepError>;
}
