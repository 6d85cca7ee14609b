//! How many workflows are open, by kind and status.

use crate::domain::workflows::WorkflowStatus;
use crate::store::{Store, StoreError, fetch_all};

/// Open workflows of a kind that have a status.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowFigures {
    pub kind: String,
    pub status: WorkflowStatus,
    pub count: i64,
}

impl Store {
    /// Counts up to `count_max` workflows that have not come to their end, those that are parked included.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_workflow_figures(
        &self,
        count_max: i64,
    ) -> Result<Vec<WorkflowFigures>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (String, String, i64),
                        "SELECT counted.kind, counted.status, COUNT(*)
                         FROM (SELECT kind, status FROM workflows
                               WHERE status IN ('ready', 'running', 'waiting', 'parked')
                               LIMIT $1) counted
                         GROUP BY counted.kind, counted.status
                         ORDER BY counted.kind, counted.status",
                        count_max,
                    )
                })
            })
            .await?;
        let figures = |(kind, status, count): (String, String, i64)| {
            let status = WorkflowStatus::parse(&status).ok_or(StoreError::NotFound)?;
            Ok(WorkflowFigures { kind, status, count })
        };
        rows.into_iter().map(figures).collect()
    }
}
