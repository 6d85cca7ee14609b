//! Orders that were fulfilled, and what payees have earned by them.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};

use super::views::{ReleasedView, SettlementView};
use crate::actors::payments::settlements::Settlements;
use crate::domain::payments::orders::OrderKey;
use crate::error::{ApiResult, Problem};
use crate::http::auth::refusals::{CallerRefusals, PublicRefusals};
use crate::http::caller::Caller;
use crate::http::page::{Page, PageQuery};
use crate::http::service::{AuthorityRefusals, OrderKeeper};
use crate::store::Store;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(release_order).service(list_settlements);
}

/// Says that an order was fulfilled: what was paid for it is its payee's, without fee and tax. A second time it says
/// the same.
#[utoipa::path(
    tag = "payments",
    params(
        ("order_type" = String, Path, description = "1 to 32 of a-z, 0-9 and _, a letter first", example = "job"),
        ("order_id" = String, Path, description = "1 to 64 of A-Z, a-z, 0-9 and _.:-", example = "2026-117"),
    ),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "It is earned, now or before", body = ReleasedView),
        (
            status = 404,
            description = "`order_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 409,
            description = "`order_not_paid`, `refund_under_way`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 422,
            description = "`fee_too_high`, `invalid_order_type`, `invalid_order_id`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[post("/payments/orders/{order_type}/{order_id}/release")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label()))]
pub(super) async fn release_order(
    keeper: OrderKeeper,
    path: web::Path<(String, String)>,
    settlements: web::Data<Settlements>,
) -> ApiResult<web::Json<ReleasedView>> {
    let (order_type, order_id) = path.into_inner();
    let order = OrderKey::parse(&order_type, &order_id)?;
    let released = match keeper.0.admin() {
        Some(by) => settlements.release_by_hand(order, by).await?,
        None => settlements.release(order, keeper.0.label()).await?,
    };

    Ok(web::Json(released.into()))
}

/// What the caller has earned, batch by batch, the newest first.
#[utoipa::path(
    tag = "payments",
    params(PageQuery),
    security(("bearer" = [])),
    responses(
        (status = 200, body = Page<SettlementView>),
        (
            status = 422,
            description = "The query is not allowed",
            body = Problem,
            content_type = "application/problem+json",
        ),
        CallerRefusals,
        PublicRefusals,
    ),
)]
#[get("/payments/settlements")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
pub(super) async fn list_settlements(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<SettlementView>>> {
    let (after, limit) = (query.after()?, query.limit.with_probe());
    let rows = store.list_settlements(caller.user_id, after, limit).await?;

    Ok(web::Json(Page::new(rows, query.limit, |settlement| settlement.id)))
}
