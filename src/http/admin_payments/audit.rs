//! The audit: who did what about money by hand, and why.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::ids::{DeedId, UserId};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::money_audit::{DeedFilter, SeenDeed};

const TARGET_BYTES_MAX: usize = 200;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_audit);
}

/// Which lines, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
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

/// Something that somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeedView {
    id: DeedId,
    by: UserId,
    #[schema(example = "withdrawal_approved")]
    action: String,
    /// A kind and an id.
    #[schema(example = "provider:toss")]
    target: String,
    /// `null` where nobody is asked for one.
    reason: Option<String>,
    #[schema(value_type = Object, nullable)]
    before: Value,
    #[schema(value_type = Object, nullable)]
    after: Value,
    at: Timestamp,
}

/// What administrators did about money, the latest first.
#[utoipa::path(
    tag = "admin",
    params(AuditQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<DeedView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/audit")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_audit(
    admin: Admin,
    query: web::Query<AuditQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<DeedView>>> {
    let AuditQuery { by, target, cursor, limit } = query.into_inner();
    let is_target = |it: &str| {
        (1..=TARGET_BYTES_MAX).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if target.as_deref().is_some_and(|it| !is_target(it)) {
        return Err(ApiError::invalid("?target", "invalid_target", "This is no target."));
    }
    let before = cursor.as_deref().map(decode).transpose()?;
    let filter = DeedFilter { by, target };
    let rows = store.list_money_audit(filter, before, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |deed: &SeenDeed| deed.id)))
}

impl From<SeenDeed> for DeedView {
    fn from(deed: SeenDeed) -> Self {
        let SeenDeed { id, by, action, target, reason, before, after, at } = deed;
        Self { id, by, action, target, reason, before, after, at }
    }
}

impl Cursor for DeedId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
