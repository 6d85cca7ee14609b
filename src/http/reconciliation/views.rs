//! Reconciliation as requests and answers have it.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::domain::ids::{EntryId, JournalEntryId, ReconBreakId, ReconRunId};
use crate::domain::masking::masked;
use crate::domain::reconciliation::{BreakStatus, Bucket, RunKind, RunStatus};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::page::{Cursor, Limit};
use crate::store::reconciliation::Run;
use crate::store::reconciliation::breaks::{BreakFilter, BreakRow};
use crate::store::reconciliation::reports::Report;

/// How a day of a provider was compared. Sums are charges less refunds and payouts, in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunView {
    run_id: ReconRunId,
    /// Such as `toss`; `books` for the ledger with itself.
    provider: String,
    /// In Seoul.
    #[schema(example = "2026-11-22")]
    day: String,
    kind: RunKind,
    status: RunStatus,
    /// How often it was looked at.
    passes: i64,
    /// What the provider has listed.
    remote: i64,
    remote_sum: i64,
    /// What of it has no break.
    matched: i64,
    matched_sum: i64,
    /// What has put itself right.
    auto_fixed: i64,
    /// Those that are open.
    breaks: i64,
    /// Why it failed.
    why: Option<String>,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl From<Run> for RunView {
    fn from(run: Run) -> Self {
        Self {
            run_id: run.id,
            provider: run.provider,
            day: run.day.to_string(),
            kind: run.kind,
            status: run.status,
            passes: run.passes,
            remote: run.remote,
            remote_sum: run.remote_sum,
            matched: run.matched,
            matched_sum: run.matched_sum,
            auto_fixed: run.auto_fixed,
            breaks: run.breaks,
            why: run.why,
            started_at: run.started_at,
            ended_at: run.ended_at,
        }
    }
}

/// The runs of a day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RunsView {
    pub(super) runs: Vec<RunView>,
}

/// A day to be compared.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RunBody {
    /// Such as `toss`.
    #[schema(max_length = 32)]
    pub(super) provider: String,
    /// In Seoul; today at the latest.
    #[schema(example = "2026-11-22")]
    pub(super) day: String,
}

/// Something that does not agree. Amounts are in minor units.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BreakView {
    break_id: ReconBreakId,
    run_id: ReconRunId,
    provider: String,
    kind: RunKind,
    day: String,
    bucket: Bucket,
    /// The order, as the provider knows it; of a payout the withdrawal.
    order: String,
    /// A payment, a refund, a withdrawal or an account of ours.
    local_ref: Option<String>,
    /// The end of the provider's key.
    #[schema(example = "****k7Qw")]
    remote_ref: Option<String>,
    local_amount: Option<i64>,
    remote_amount: Option<i64>,
    /// What is wrong, in a sentence.
    says: String,
    status: BreakStatus,
    note: Option<String>,
    /// The entry of the ledger that has put it right.
    fixed_entry: Option<EntryId>,
    /// The journal entry that it was, where two people have booked it by hand.
    journal_entry_id: Option<JournalEntryId>,
    /// `user:<id>`, or `reconciliation` for what was not found again.
    closed_by: Option<String>,
    found_at: Timestamp,
    updated_at: Timestamp,
}

impl From<BreakRow> for BreakView {
    fn from(row: BreakRow) -> Self {
        Self {
            break_id: row.id,
            run_id: row.run,
            provider: row.provider,
            kind: row.kind,
            day: row.day,
            bucket: row.found.bucket,
            order: row.found.order,
            local_ref: row.found.local_ref,
            remote_ref: row.found.remote_ref.as_deref().map(masked),
            local_amount: row.found.local_amount,
            remote_amount: row.found.remote_amount,
            says: row.found.says,
            status: row.status,
            note: row.note,
            fixed_entry: row.fixed_entry,
            journal_entry_id: row.journal_entry,
            closed_by: row.closed_by,
            found_at: row.found_at,
            updated_at: row.updated_at,
        }
    }
}

/// Which breaks, and which page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct BreaksQuery {
    /// The `next_cursor` of the page before; the first page without.
    pub(super) cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub(super) limit: Limit,
    /// `open`, `explained` or `fixed`.
    status: Option<String>,
    /// Such as `missing_local`.
    bucket: Option<String>,
}

impl BreaksQuery {
    /// # Errors
    /// [`ApiError::Invalid`] for a status or a bucket that there is not.
    pub(super) fn filter(&self) -> ApiResult<BreakFilter> {
        let status = |text: &str| {
            BreakStatus::parse(text).ok_or_else(|| {
                let says = "A status is open, explained or fixed.";
                ApiError::invalid("?status", "invalid_status", says)
            })
        };
        let bucket = |text: &str| {
            Bucket::parse(text).ok_or_else(|| {
                ApiError::invalid("?bucket", "invalid_bucket", "There is no such bucket.")
            })
        };
        Ok(BreakFilter {
            status: self.status.as_deref().map(status).transpose()?,
            bucket: self.bucket.as_deref().map(bucket).transpose()?,
        })
    }
}

/// Why a break is right as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExplainBody {
    /// 1 to 500 characters; kept for ever.
    #[schema(max_length = 500, example = "A test charge of ours.")]
    pub(super) note: String,
}

/// What has put a break right.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FixBody {
    /// An entry of the ledger.
    pub(super) entry_id: EntryId,
    /// 1 to 500 characters; kept for ever.
    #[schema(max_length = 500)]
    pub(super) note: String,
}

/// What was told of a day.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportView {
    /// In Seoul.
    #[schema(example = "2026-11-22")]
    day: String,
    made_at: Timestamp,
    /// `runs`, `open_breaks` by bucket, `receivable` by provider in the ledger and by its lists, `suspense`,
    /// `unknown_payments`, `parked_workflows`.
    #[schema(value_type = Object)]
    report: Value,
}

impl From<Report> for ReportView {
    fn from(report: Report) -> Self {
        Self { day: report.day.to_string(), made_at: report.made_at, report: report.body }
    }
}

/// The day of a report, in a list of them.
pub(super) struct ReportCursor(pub(super) Date);

impl Cursor for ReportCursor {
    fn to_text(&self) -> String {
        self.0.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }
}

impl Cursor for ReconRunId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl Cursor for ReconBreakId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
