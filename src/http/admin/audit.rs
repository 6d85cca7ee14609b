//! The audit of everything that people do by hand, about money or not, in one list.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::domain::audit::Area;
use crate::domain::ids::{DeedId, UserId};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::audit::{DeedFilter, SeenDeed};

const TARGET_BYTES_MAX: usize = 200;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_whole_audit);
}

/// Which lines, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// Who did it.
    by: Option<UserId>,
    /// What it was done to, such as `user:<id>` or `provider:toss`.
    #[param(max_length = 200)]
    target: Option<String>,
    /// `money`, `people` or `rooms`.
    area: Option<String>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many lines at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// Something that somebody did.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeedView {
    id: DeedId,
    by: UserId,
    /// `money`, `people` or `rooms`.
    #[schema(example = "money")]
    area: String,
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

/// What people did by hand, the latest first: about money, people's accounts, and rooms.
#[utoipa::path(
    tag = "admin",
    params(AuditQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<DeedView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/audit")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_whole_audit(
    admin: Admin,
    query: web::Query<AuditQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<DeedView>>> {
    let AuditQuery { by, target, area, cursor, limit } = query.into_inner();
    let parse = |text: &str| {
        Area::parse(text).ok_or_else(|| {
            ApiError::invalid("?area", "invalid_area", "Nothing is done by hand there.")
        })
    };
    let area = area.as_deref().map(parse).transpose()?;
    let filter = DeedFilter { by, target: checked_target(target)?, area };

    page(&store, filter, cursor, limit).await
}

/// A page of the lines that are looked for.
///
/// # Errors
/// 422 for a cursor that this list did not give.
pub async fn page(
    store: &Store,
    filter: DeedFilter,
    cursor: Option<String>,
    limit: Limit,
) -> ApiResult<web::Json<Page<DeedView>>> {
    let before = cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_audit(filter, before, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |deed: &SeenDeed| deed.id)))
}

/// A target, if it can be one.
///
/// # Errors
/// [`ApiError::Invalid`].
pub fn checked_target(target: Option<String>) -> ApiResult<Option<String>> {
    let is_target = |it: &str| {
        (1..=TARGET_BYTES_MAX).contains(&it.len()) && it.bytes().all(|byte| byte.is_ascii_graphic())
    };
    if target.as_deref().is_some_and(|it| !is_target(it)) {
        return Err(ApiError::invalid("?target", "invalid_target", "This is no target."));
    }
    Ok(target)
}

impl From<SeenDeed> for DeedView {
    fn from(deed: SeenDeed) -> Self {
        let SeenDeed { id, by, area, action, target, reason, before, after, at } = deed;
        Self { id, by, area, action, target, reason, before, after, at }
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
