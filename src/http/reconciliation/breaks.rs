//! Breaks: what did not agree. Who closes one says why; both are kept.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};

use super::views::{BreakView, BreaksQuery, ExplainBody, FixBody};
use crate::clock;
use crate::domain::ids::ReconBreakId;
use crate::domain::reconciliation::ReconciliationError;
use crate::domain::workflows::Reason;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Page, decode};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::store::Store;
use crate::store::reconciliation::breaks::Closing;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_recon_breaks)
        .service(read_recon_break)
        .service(explain_recon_break)
        .service(fix_recon_break);
}

/// What did not agree, those first that were found last.
#[utoipa::path(
    tag = "admin",
    params(BreaksQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<BreakView>),
        ReadRefusals,
        RoleRefusals,
    ),
)]
#[get("/admin/payments/reconciliation/breaks")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_recon_breaks(
    admin: Admin,
    query: web::Query<BreaksQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<BreakView>>> {
    let before = query.cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_breaks(query.filter()?, before, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |row| row.id)))
}

/// Something that did not agree.
#[utoipa::path(
    tag = "admin",
    params(("id" = ReconBreakId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = BreakView),
        ReadRefusals,
        RoleRefusals,
    ),
)]
#[get("/admin/payments/reconciliation/breaks/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, recon_break.id = %id))]
pub(super) async fn read_recon_break(
    admin: Admin,
    id: web::Path<ReconBreakId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<BreakView>> {
    let row = store.find_break(*id).await?.ok_or(ReconciliationError::NotFound)?;

    Ok(web::Json(row.into()))
}

/// Says why a break is right as it is. It stays so, however often it is found as it was seen; what differs otherwise is open again.
#[utoipa::path(
    tag = "admin",
    params(("id" = ReconBreakId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = BreakView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/reconciliation/breaks/{id}/explain")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, recon_break.id = %id))]
pub(super) async fn explain_recon_break(
    admin: Admin,
    id: web::Path<ReconBreakId>,
    body: web::Json<ExplainBody>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<BreakView>> {
    close(&store, &admin, *id, Closing::Explained, &body.note).await
}

/// Names the entry of the ledger that has put a break right.
#[utoipa::path(
    tag = "admin",
    params(("id" = ReconBreakId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, body = BreakView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/reconciliation/breaks/{id}/fix")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, recon_break.id = %id))]
pub(super) async fn fix_recon_break(
    admin: Admin,
    id: web::Path<ReconBreakId>,
    body: web::Json<FixBody>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<BreakView>> {
    close(&store, &admin, *id, Closing::Fixed(body.entry_id), &body.note).await
}

async fn close(
    store: &Store,
    admin: &Admin,
    id: ReconBreakId,
    closing: Closing,
    note: &str,
) -> ApiResult<web::Json<BreakView>> {
    let note = Reason::parse(note).ok_or_else(|| {
        ApiError::invalid("/note", "invalid_note", "A note has 1 to 500 characters.")
    })?;
    let row = store.close_break(id, admin.0.user_id, closing, note, clock::now()).await?;

    Ok(web::Json(row.into()))
}
