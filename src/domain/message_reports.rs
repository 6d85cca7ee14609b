//! Reports: what members tell administrators of messages, and what becomes of that.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::ids::{ReportId, UserId};
use super::messages::MessageRef;
use super::stored_as;
use super::workflows::Reason;

/// Reports of one member that nobody has looked at: nobody reads more.
pub const REPORTS_OPEN_MAX: i64 = 200;

/// Where a report stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportStatus {
    /// Nobody has decided yet.
    Open,
    /// There is nothing wrong with the message.
    Dismissed,
    /// The message is gone.
    MessageDeleted,
    /// Something else was done, such as suspending whoever wrote it.
    Handled,
}

stored_as!(ReportStatus {
    Open = "open",
    Dismissed = "dismissed",
    MessageDeleted = "message_deleted",
    Handled = "handled"
});

/// What an administrator decides about a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReportOutcome {
    /// There is nothing wrong with the message.
    Dismissed,
    /// The message goes, and with it every other report of it.
    MessageDeleted,
    /// Something else was done, such as suspending whoever wrote it.
    Handled,
}

impl ReportOutcome {
    /// Where that leaves the report.
    #[must_use]
    pub const fn status(self) -> ReportStatus {
        match self {
            Self::Dismissed => ReportStatus::Dismissed,
            Self::MessageDeleted => ReportStatus::MessageDeleted,
            Self::Handled => ReportStatus::Handled,
        }
    }
}

/// An administrator's word that a message goes because of a report; who says so is one, and has not written it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removal {
    pub message: MessageRef,
    pub report: ReportId,
    pub reason: Reason,
}

/// Why something about a report is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    #[error("there is no such report")]
    NotFound,
    #[error("somebody has decided about it by now")]
    Resolved,
    #[error("at most {REPORTS_OPEN_MAX} reports of one member wait for a decision")]
    TooMany,
    #[error("nobody decides about what is their own")]
    OwnDecision,
}

/// Says whether somebody may decide about a report of a message that `sender` wrote.
///
/// # Errors
/// [`ReportError::Resolved`], [`ReportError::OwnDecision`].
pub fn may_resolve(status: ReportStatus, sender: UserId, by: UserId) -> Result<(), ReportError> {
    if sender == by {
        return Err(ReportError::OwnDecision);
    }
    if status == ReportStatus::Open { Ok(()) } else { Err(ReportError::Resolved) }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_report_is_decided_once_and_not_by_who_wrote_the_message() {
        let (sender, by) = (Uuid::from_u128(1).into(), Uuid::from_u128(2).into());
        assert_eq!(may_resolve(ReportStatus::Open, sender, by), Ok(()));
        assert_eq!(may_resolve(ReportStatus::Open, by, by), Err(ReportError::OwnDecision));
        for outcome in
            [ReportOutcome::Dismissed, ReportOutcome::MessageDeleted, ReportOutcome::Handled]
        {
            assert_eq!(may_resolve(outcome.status(), sender, by), Err(ReportError::Resolved));
        }
    }
}
