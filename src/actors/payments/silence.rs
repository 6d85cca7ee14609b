//! Silence: whether what a provider was asked last may still take effect, for people who decide about what it does not tell.

use std::time::Duration;

use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::store::workflows::history::{find_intent, find_last_answer};
use crate::store::{Db, StoreError};

/// Whether the last call of an effect is over: the provider has refused, or said nothing for so long that it never will.
pub(super) async fn is_over(
    db: &mut Db,
    workflow: WorkflowId,
    key: &EffectKey,
    absent_after: Duration,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let Some(intent) = find_intent(db, workflow, key).await? else { return Ok(true) };
    let answer = find_last_answer(db, workflow, key).await?;
    let is_refused =
        answer.is_some_and(|(said, at)| said.get("declined").is_some() && at >= intent.at);
    Ok(is_refused || now.since(intent.at) >= absent_after)
}
