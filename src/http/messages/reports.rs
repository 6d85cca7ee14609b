//! Reports over HTTP: what a member tells the administrators of a message.

use actix_web::http::StatusCode;
use actix_web::{post, web};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::named;
use crate::clock;
use crate::domain::ids::RoomId;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Caller;
use crate::http::views::{ChangeRefusals, WriteRefusals};
use crate::http::wallet::views::parse_reason;
use crate::store::Store;
use crate::store::message_reports::NewReport;

/// What is wrong with a message.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ReportBody {
    /// 1 to 500 characters, for administrators only.
    #[schema(max_length = 500, example = "Spam in every room.")]
    reason: String,
}

/// What was told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReportedView {
    /// When the caller told of it first.
    reported_at: Timestamp,
}

/// Tells the administrators of a message that somebody else has sent to a room of the caller's. Once for each message: told
/// again, it stays as it was told first.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ("message" = String, Path, description = "Its id or its `seq`")),
    security(("bearer" = [])),
    responses(
        (status = 201, body = ReportedView),
        (status = 200, description = "They were told of it before", body = ReportedView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/chat/rooms/{id}/messages/{message}/report")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn report_message(
    caller: Caller,
    path: web::Path<(RoomId, String)>,
    body: web::Json<ReportBody>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<ReportedView>, StatusCode)> {
    let (room, message) = path.into_inner();
    let (message, reason) = (named(&message)?, parse_reason(&body.reason)?);
    let report = NewReport { room, message, reporter: caller.user_id, reason };
    let (reported_at, is_new) = store.insert_message_report(report, clock::now()).await?;
    let status = if is_new { StatusCode::CREATED } else { StatusCode::OK };

    Ok((web::Json(ReportedView { reported_at }), status))
}
