//! Operating: what people do about workflows that do not come on by themselves.

use super::Payments;
use crate::domain::ids::{UserId, WorkflowId};
use crate::domain::workflows::{Reason, WorkflowError};
use crate::store::StoreError;
use crate::store::workflows::admin::AnotherTurn;

/// Why a workflow is not given another turn.
#[derive(Debug, thiserror::Error)]
pub enum OperatingError {
    #[error(transparent)]
    Workflow(#[from] WorkflowError),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for OperatingError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound => WorkflowError::NotFound.into(),
            error => Self::Store(error),
        }
    }
}

impl Payments {
    /// Lets a workflow that is parked go on where it stopped.
    ///
    /// # Errors
    /// [`WorkflowError::NotFound`], [`WorkflowError::WrongStatus`], [`OperatingError::Store`].
    pub async fn resume(
        &self,
        id: WorkflowId,
        by: UserId,
        reason: Reason,
    ) -> Result<(), OperatingError> {
        let now = self.now();
        given(self.0.desk.store.resume_workflow(id, by, reason, now).await?)
    }

    /// Has a workflow that waits look at once.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub async fn look_now(&self, id: WorkflowId, by: UserId) -> Result<(), OperatingError> {
        let now = self.now();
        given(self.0.desk.store.look_now_at_workflow(id, by, now).await?)
    }

    /// Has what a workflow has done undone.
    ///
    /// # Errors
    /// As [`Self::resume`]; [`WorkflowError::GoesBack`], [`WorkflowError::NotUndoable`].
    pub async fn compensate(
        &self,
        id: WorkflowId,
        by: UserId,
        reason: Reason,
    ) -> Result<(), OperatingError> {
        given(self.0.engine.compensate(id, by, reason).await?)
    }
}

fn given(turn: AnotherTurn) -> Result<(), OperatingError> {
    Err(match turn {
        AnotherTurn::Given => return Ok(()),
        AnotherTurn::Refused(status) => WorkflowError::WrongStatus(status),
        AnotherTurn::GoesBack => WorkflowError::GoesBack,
        AnotherTurn::NotUndoable => WorkflowError::NotUndoable,
    }
    .into())
}
