//! Compensating: a person gives a workflow up, and what it has done is undone.
//!
//! Invariant: only a flow that says how each step up to there is undone goes back; no other ends in nothing.

use super::engine::Engine;
use crate::domain::ids::{UserId, WorkflowId};
use crate::domain::workflows::Reason;
use crate::store::StoreError;
use crate::store::workflows::admin::{AnotherTurn, Standing};

impl Engine {
    /// Turns a workflow back. Whoever works on it stops at its next transaction, and it is undone when their lease is over.
    ///
    /// # Errors
    /// [`StoreError::NotFound`] when there is none, any other when the database does not answer.
    pub async fn compensate(
        &self,
        id: WorkflowId,
        by: UserId,
        reason: Reason,
    ) -> Result<AnotherTurn, StoreError> {
        let engine = self.clone();
        let has_way_back = move |at: &Standing| {
            engine
                .flows
                .values()
                .find(|flow| flow.kind == at.kind && flow.version == at.version)
                .is_some_and(|flow| flow.has_way_back_from(at.cursor))
        };
        let now = (self.clock)();
        self.store.compensate_workflow(id, by, reason, has_way_back, now).await
    }
}
