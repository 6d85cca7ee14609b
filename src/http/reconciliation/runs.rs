//! Runs and reports: how days were compared, and comparing one now.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, get, post};
use jiff::civil::Date;

use super::views::{ReportCursor, ReportView, RunBody, RunView, RunsView};
use crate::actors::payments::ANSWERED_WITHIN;
use crate::actors::payments::reconciliation::Reconciliation;
use crate::domain::reconciliation::{ReconciliationError, RunStatus};
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::page::{Page, PageQuery};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::store::Store;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_recon_runs).service(run_reconciliation).service(list_recon_reports);
}

/// How days were compared, those first that were begun last.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<RunView>),
        ReadRefusals,
        RoleRefusals,
    ),
)]
#[get("/admin/payments/reconciliation/runs")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_recon_runs(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<RunView>>> {
    let (before, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_runs(before, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, |run| run.id)))
}

/// Compares a day of a provider now: what it moved, and what it paid. What was found before and is not found again is closed.
/// A day that takes longer than a caller waits goes on: its runs say in the list how they ended.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It was compared; a run that failed says why", body = RunsView),
        (status = 202, description = "It is being compared", body = RunsView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/reconciliation/run")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn run_reconciliation(
    admin: Admin,
    body: web::Json<RunBody>,
    reconciliation: web::Data<Reconciliation>,
) -> ApiResult<HttpResponse> {
    let day: Date = body.day.parse().map_err(|_| ReconciliationError::InvalidDay)?;
    let by = admin.0.user_id;
    let runs = reconciliation.run_for(by, &body.provider, day, ANSWERED_WITHIN).await?;
    let have_ended = runs.iter().all(|run| run.status != RunStatus::Running);
    let status = if have_ended { StatusCode::OK } else { StatusCode::ACCEPTED };

    let runs = runs.into_iter().map(RunView::from).collect();
    Ok(HttpResponse::build(status).json(RunsView { runs }))
}

/// What was told of each day, the latest first.
#[utoipa::path(
    tag = "admin",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<ReportView>),
        ReadRefusals,
        RoleRefusals,
    ),
)]
#[get("/admin/payments/reconciliation/reports")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_recon_reports(
    admin: Admin,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<ReportView>>> {
    let before = query.after::<ReportCursor>()?.map(|cursor| cursor.0);
    let rows = store.list_reports(before, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |report| ReportCursor(report.day))))
}
