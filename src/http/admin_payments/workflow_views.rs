//! Workflows as operators see them.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::ids::{NodeId, WorkflowId};
use crate::domain::masking::{mask, masked_purpose};
use crate::domain::time::Timestamp;
use crate::store::workflows::admin::{SeenWorkflow, SignalRow};
use crate::store::workflows::history::StepRow;

/// A workflow, and where it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkflowView {
    id: WorkflowId,
    /// Such as `payment_confirm`.
    kind: String,
    version: i64,
    /// What it is for, such as `confirm:<payment>`.
    purpose: String,
    /// `ready`, `running`, `waiting`, `done`, `compensated` or `parked`.
    #[schema(example = "parked")]
    status: &'static str,
    /// `forward` or `backward`.
    #[schema(example = "forward")]
    direction: &'static str,
    /// The step that is next, from 0.
    cursor: i64,
    /// How often that step was tried.
    attempt: i64,
    /// When it is due, or was last.
    wake_at: Timestamp,
    /// The node that took it last.
    owner: Option<NodeId>,
    /// Grows with every node that takes it.
    fence: i64,
    last_error: Option<String>,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A line of a workflow's history.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StepView {
    seq: i64,
    name: String,
    /// `intent`, `do`, `undo`, `signal` or `note`.
    #[schema(example = "do")]
    kind: String,
    /// Under which key the outside was called.
    effect_key: Option<String>,
    /// What came of it; keys of providers are masked.
    #[schema(value_type = Object, nullable)]
    output: Value,
    fence: i64,
    node: Option<NodeId>,
    began_at: Timestamp,
    at: Timestamp,
}

/// Something that a workflow was told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SignalView {
    name: String,
    #[schema(value_type = Object, nullable)]
    payload: Value,
    created_at: Timestamp,
    /// When it was taken in.
    taken_at: Option<Timestamp>,
}

/// A workflow with everything that happened in it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WorkflowDetailsView {
    #[serde(flatten)]
    pub(super) workflow: WorkflowView,
    /// What it has noted, such as which payment it is about; keys of providers are masked.
    #[schema(value_type = Object, nullable)]
    pub(super) state: Value,
    /// In order; the last 500 of them.
    pub(super) steps: Vec<StepView>,
    /// The latest first; 100 of them.
    pub(super) signals: Vec<SignalView>,
}

/// What a workflow has noted, as anybody may see it.
pub(super) fn masked_state(text: &str) -> Value {
    read(text)
}

fn read(text: &str) -> Value {
    let mut value = serde_json::from_str(text).unwrap_or(Value::Null);
    mask(&mut value);
    value
}

impl From<SeenWorkflow> for WorkflowView {
    fn from(seen: SeenWorkflow) -> Self {
        Self {
            id: seen.id,
            kind: seen.kind,
            version: seen.version,
            purpose: masked_purpose(&seen.dedupe_key),
            status: seen.status.as_str(),
            direction: seen.direction.as_str(),
            cursor: seen.cursor,
            attempt: seen.attempt,
            wake_at: seen.wake_at,
            owner: seen.owner,
            fence: seen.fence,
            last_error: seen.last_error,
            created_at: seen.created_at,
            updated_at: seen.updated_at,
        }
    }
}

impl From<StepRow> for StepView {
    fn from(step: StepRow) -> Self {
        Self {
            seq: step.seq,
            name: step.name,
            kind: step.kind,
            effect_key: step.effect_key,
            output: step.output.as_deref().map_or(Value::Null, read),
            fence: step.fence,
            node: step.node.map(Into::into),
            began_at: Timestamp::from_millis(step.began_at),
            at: Timestamp::from_millis(step.at),
        }
    }
}

impl From<SignalRow> for SignalView {
    fn from(signal: SignalRow) -> Self {
        Self {
            name: signal.name,
            payload: read(&signal.payload),
            created_at: Timestamp::from_millis(signal.created_at),
            taken_at: signal.taken_at.map(Timestamp::from_millis),
        }
    }
}
