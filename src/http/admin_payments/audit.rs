//! The audit of money: who did what about it by hand, and why.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;

use crate::domain::audit::Area;
use crate::domain::ids::UserId;
use crate::error::ApiResult;
use crate::http::admin::audit::{DeedView, checked_target, page};
use crate::http::caller::Admin;
use crate::http::page::{Limit, Page};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::audit::DeedFilter;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_audit);
}

/// Which lines, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct MoneyAuditQuery {
    /// Who did it.
    by: Option<UserId>,
    /// What it was done to, such as `withdrawal:<id>` or `provider:toss`.
    #[param(max_length = 200)]
    target: Option<String>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many lines at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// What people did about money, the latest first.
#[utoipa::path(
    tag = "admin",
    params(MoneyAuditQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<DeedView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/audit")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_audit(
    admin: Admin,
    query: web::Query<MoneyAuditQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<DeedView>>> {
    let MoneyAuditQuery { by, target, cursor, limit } = query.into_inner();
    let filter = DeedFilter { by, target: checked_target(target)?, area: Some(Area::Money) };

    page(&store, filter, cursor, limit).await
}
