//! Sendings and triggers that were given up, for administrators: looked at, mended, begun again where they stopped.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::clock;
use crate::domain::notifications::NotificationError;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Page, PageQuery};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::notifications::requests::FanoutRow;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_dead).service(replay_dead);
}

/// A fan-out that was given up.
#[derive(Serialize, ToSchema)]
struct DeadView {
    id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    /// Who asked for it; null where an event did.
    requested_by: Option<String>,
    reason: Option<String>,
    /// How many users had been told.
    notified: i64,
    created_at: Timestamp,
}

/// Fan-outs that were given up, the newest first.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<DeadView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/notifications/dead")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_dead(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<DeadView>>> {
    let before: Option<DeadCursor> = query.after()?;
    let before = before.map(|cursor| (cursor.at, cursor.id));
    let rows = store.list_dead_fanouts(before, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |row| DeadCursor {
        at: Timestamp::from_millis(row.created_at),
        id: row.id,
    })))
}

/// Begins one again where it stopped: nobody who was told is told again.
#[utoipa::path(
    tag = "admin",
    params(("id" = Uuid, Path)),
    security(("bearer" = [])),
    responses((status = 204, description = "It is queued again"), ChangeRefusals),
)]
#[post("/admin/notifications/dead/{id}/replay")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn replay_dead(
    admin: Admin,
    id: web::Path<Uuid>,
    store: web::Data<Store>,
) -> ApiResult<HttpResponse> {
    if !store.replay_fanout(*id, clock::now()).await? {
        return Err(NotificationError::NotFound.into());
    }
    tracing::info!(fanout.id = %id, user.id = %admin.0.user_id, "a fan-out is begun again");

    Ok(HttpResponse::NoContent().finish())
}

#[derive(Debug, Clone, Copy)]
struct DeadCursor {
    at: Timestamp,
    id: Uuid,
}

impl Cursor for DeadCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (millis, id) = text.split_once(':')?;
        Some(Self { at: Timestamp::from_millis(millis.parse().ok()?), id: id.parse().ok()? })
    }
}

impl From<FanoutRow> for DeadView {
    fn from(row: FanoutRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            requested_by: row.requested_by,
            reason: row.reason,
            notified: row.notified,
            created_at: Timestamp::from_millis(row.created_at),
        }
    }
}
