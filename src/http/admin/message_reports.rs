//! Reports of messages, and what administrators decide about them.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::accounts::Images;
use crate::actors::room::Rooms;
use crate::clock;
use crate::domain::ids::{MessageId, ReportId, RoomId, UserId};
use crate::domain::message_reports::{
    Removal, ReportError, ReportOutcome, ReportStatus, may_resolve,
};
use crate::domain::messages::{Attachment, MessageRef};
use crate::domain::rooms::{Action, Command, RoomKind, Seq};
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::parse_reason;
use crate::store::Store;
use crate::store::message_reports::{Named, Report};

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_message_reports).service(resolve_message_report);
}

/// Which reports, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MessageReportsQuery {
    /// Left out: all of them.
    status: Option<ReportStatus>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// What is decided, and why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ResolveReportBody {
    outcome: ReportOutcome,
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "Advertising.")]
    reason: String,
}

/// What a member has told of a message.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MessageReportView {
    id: ReportId,
    status: ReportStatus,
    room: ReportedRoomView,
    message: ReportedMessageView,
    reporter: NamedView,
    reason: String,
    created_at: Timestamp,
    /// Null while it is open, as what follows.
    resolved_at: Option<Timestamp>,
    resolved_by: Option<UserId>,
    resolution: Option<String>,
}

/// Where it was said.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportedRoomView {
    id: RoomId,
    kind: RoomKind,
    name: Option<String>,
}

/// A message that somebody told of.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportedMessageView {
    id: MessageId,
    #[schema(value_type = i64)]
    seq: Seq,
    from: NamedView,
    /// What it said when it was reported; null once that is decided.
    body: Option<String>,
    /// What was attached to it then; a picture stays until it is decided, whatever its sender does.
    attachments: Vec<Attachment>,
    is_deleted: bool,
}

/// Somebody, by name.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NamedView {
    id: UserId,
    handle: String,
    display_name: String,
}

/// What members have told of messages, the newest first.
#[utoipa::path(
    tag = "admin",
    params(MessageReportsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<MessageReportView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/reports")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_message_reports(
    admin: Admin,
    query: web::Query<MessageReportsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<MessageReportView>>> {
    let MessageReportsQuery { status, cursor, limit } = query.into_inner();
    let before = cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_message_reports(status, before, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |report: &Report| report.id)))
}

/// Decides about a report, once. With `message_deleted` the message goes, in the same transaction, and every other open report of
/// it is decided with it. Nobody decides about a message of their own (`own_decision`).
#[utoipa::path(
    tag = "admin",
    params(("id" = ReportId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = MessageReportView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/reports/{id}/resolve")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn resolve_message_report(
    admin: Admin,
    id: web::Path<ReportId>,
    body: web::Json<ResolveReportBody>,
    store: web::Data<Store>,
    rooms: web::Data<Rooms>,
    images: web::Data<Images>,
) -> ApiResult<web::Json<MessageReportView>> {
    let ResolveReportBody { outcome, reason } = body.into_inner();
    let (by, reason) = (admin.0.user_id, parse_reason(&reason)?);
    let report = store.find_message_report(*id).await?.ok_or(ReportError::NotFound)?;
    may_resolve(report.status, report.sender.id, by)?;
    match outcome {
        ReportOutcome::MessageDeleted => {
            rooms.append(report.room.id, removal(&report, by, reason)).await?;
            images.clear_of_deleted_messages().await;
        }
        ReportOutcome::Dismissed | ReportOutcome::Handled => {
            store.resolve_message_report(*id, outcome, (by, reason), clock::now()).await?;
        }
    }
    let report = store.find_message_report(*id).await?.ok_or(ReportError::NotFound)?;
    // Somebody else may have decided before the room came to it: then nothing was done.
    let is_theirs = report.resolved.as_ref().is_some_and(|resolved| resolved.by == by);
    if report.status != outcome.status() || !is_theirs {
        return Err(ReportError::Resolved.into());
    }

    Ok(web::Json(report.into()))
}

fn removal(report: &Report, by: UserId, reason: Reason) -> Command {
    let message = MessageRef::Seq(report.seq);
    let removal = Removal { message, report: report.id, reason };
    Command { actor: by, action: Action::Remove(removal) }
}

impl From<Named> for NamedView {
    fn from(named: Named) -> Self {
        let Named { id, handle, display_name } = named;
        Self { id, handle, display_name }
    }
}

impl From<Report> for MessageReportView {
    fn from(report: Report) -> Self {
        let (resolved_at, resolved_by, resolution) = match report.resolved {
            Some(resolved) => (Some(resolved.at), Some(resolved.by), Some(resolved.reason)),
            None => (None, None, None),
        };
        Self {
            id: report.id,
            status: report.status,
            room: ReportedRoomView {
                id: report.room.id,
                kind: report.room.kind,
                name: report.room.name,
            },
            message: ReportedMessageView {
                id: report.message,
                seq: report.seq,
                from: report.sender.into(),
                body: report.body,
                attachments: report.attachments,
                is_deleted: report.is_deleted,
            },
            reporter: report.reporter.into(),
            reason: report.reason,
            created_at: report.created_at,
            resolved_at,
            resolved_by,
            resolution,
        }
    }
}

impl Cursor for ReportId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
