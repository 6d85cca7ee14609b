//! The answer to a change of a room: where in the numbered log it stands.

use serde::Serialize;
use utoipa::ToSchema;

use crate::domain::rooms::{Appended, Seq};
use crate::domain::time::Timestamp;

/// What became of a change.
#[derive(Debug, Serialize, ToSchema)]
pub struct ChangeView {
    /// The number of the event in the room's log; null when everything already was as asked.
    #[schema(value_type = Option<i64>)]
    pub seq: Option<Seq>,
    pub at: Timestamp,
}

impl From<Appended> for ChangeView {
    fn from(appended: Appended) -> Self {
        Self { seq: appended.seq, at: appended.at }
    }
}
