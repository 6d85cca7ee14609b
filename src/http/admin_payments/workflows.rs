//! Workflows: which there are, why they stand still, and another turn for them.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};
use serde::Deserialize;

use super::workflow_views::{
    SignalView, StepView, WorkflowDetailsView, WorkflowView, masked_state,
};
use crate::actors::payments::Payments;
use crate::domain::ids::WorkflowId;
use crate::domain::time::Timestamp;
use crate::domain::workflows::{WorkflowError, WorkflowStatus};
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::ReasonBody;
use crate::store::workflows::admin::{SeenWorkflow, WorkflowCursor, WorkflowFilter};
use crate::store::{Store, StoreError};

const SIGNALS_MAX: i64 = 100;
const KIND_BYTES_MAX: usize = 64;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_workflows)
        .service(read_workflow)
        .service(resume_workflow)
        .service(look_up_workflow)
        .service(compensate_workflow);
}

/// Which workflows, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct WorkflowsQuery {
    /// Such as `parked`.
    status: Option<String>,
    /// Such as `payment_confirm`.
    #[param(max_length = 64)]
    kind: Option<String>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many workflows at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

impl WorkflowsQuery {
    fn filter(&self) -> ApiResult<WorkflowFilter> {
        let parse = |text: &str| {
            WorkflowStatus::parse(text).ok_or_else(|| {
                ApiError::invalid("?status", "invalid_status", "A workflow has no such status.")
            })
        };
        let kind = self.kind.clone();
        let is_kind = |it: &str| {
            (1..=KIND_BYTES_MAX).contains(&it.len()) && it.bytes().all(|it| it.is_ascii_graphic())
        };
        if kind.as_deref().is_some_and(|it| !is_kind(it)) {
            return Err(ApiError::invalid("?kind", "invalid_kind", "This is no kind."));
        }
        Ok(WorkflowFilter { status: self.status.as_deref().map(parse).transpose()?, kind })
    }
}

/// Workflows, those that came on last first.
#[utoipa::path(
    tag = "admin",
    params(WorkflowsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<WorkflowView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/workflows")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_workflows(
    admin: Admin,
    query: web::Query<WorkflowsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<WorkflowView>>> {
    let (filter, limit) = (query.filter()?, query.limit);
    let after = query.cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_workflows(filter, after, limit.with_probe()).await?;
    let cursor = |seen: &SeenWorkflow| WorkflowCursor { updated_at: seen.updated_at, id: seen.id };

    Ok(web::Json(Page::new(rows, limit, cursor)))
}

/// A workflow, and everything that happened in it.
#[utoipa::path(
    tag = "admin",
    params(("id" = WorkflowId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = WorkflowDetailsView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/workflows/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, workflow.id = %id))]
pub(super) async fn read_workflow(
    admin: Admin,
    id: web::Path<WorkflowId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<WorkflowDetailsView>> {
    Ok(web::Json(details(&store, *id).await?))
}

/// Lets a workflow that is parked go on where it stopped.
#[utoipa::path(
    tag = "admin",
    params(("id" = WorkflowId, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "It goes on", body = WorkflowDetailsView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/workflows/{id}/resume")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, workflow.id = %id))]
pub(super) async fn resume_workflow(
    admin: Admin,
    id: web::Path<WorkflowId>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<WorkflowDetailsView>> {
    payments.resume(*id, admin.0.user_id, body.parse()?).await?;

    Ok(web::Json(details(&store, *id).await?))
}

/// Has a workflow that waits look at once whether what it waits for has come.
#[utoipa::path(
    tag = "admin",
    params(("id" = WorkflowId, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "It looks now", body = WorkflowDetailsView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/workflows/{id}/look-up")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, workflow.id = %id))]
pub(super) async fn look_up_workflow(
    admin: Admin,
    id: web::Path<WorkflowId>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<WorkflowDetailsView>> {
    payments.look_now(*id, admin.0.user_id).await?;

    Ok(web::Json(details(&store, *id).await?))
}

/// Has what a workflow has done undone, the last first.
///
/// Only where its flow says how each step up to there is undone (`not_undoable`), and once (`workflow_goes_back`). A payment
/// is given back by a refund; its workflows have no way back.
#[utoipa::path(
    tag = "admin",
    params(("id" = WorkflowId, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "It goes back", body = WorkflowDetailsView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/workflows/{id}/compensate")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, workflow.id = %id))]
pub(super) async fn compensate_workflow(
    admin: Admin,
    id: web::Path<WorkflowId>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<WorkflowDetailsView>> {
    payments.compensate(*id, admin.0.user_id, body.parse()?).await?;

    Ok(web::Json(details(&store, *id).await?))
}

pub(super) async fn details(store: &Store, id: WorkflowId) -> ApiResult<WorkflowDetailsView> {
    let found = store.get_workflow(id).await;
    let (seen, steps) = found.map_err(|error| match error {
        StoreError::NotFound => ApiError::from(WorkflowError::NotFound),
        error => error.into(),
    })?;
    let signals = store.list_workflow_signals(id, SIGNALS_MAX).await?;
    let state = store.get_workflow_state(id).await?;
    Ok(WorkflowDetailsView {
        workflow: seen.into(),
        state: masked_state(&state),
        steps: steps.into_iter().map(StepView::from).collect(),
        signals: signals.into_iter().map(SignalView::from).collect(),
    })
}

impl Cursor for WorkflowCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.updated_at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (updated_at, id) = text.split_once(':')?;
        let updated_at = Timestamp::from_millis(updated_at.parse().ok()?);
        Some(Self { updated_at, id: id.parse().ok()? })
    }
}
