//! Settlements: the batches of all payees, what is in one, and closing or paying one before its time.

use actix_web::web::{self, ServiceConfig};
use actix_web::{get, post};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::actors::payments::settlements::Settlements;
use crate::domain::ids::{PaymentId, SettlementId, UserId};
use crate::domain::settlements::{SettlementError, SettlementStatus};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, PageQuery, decode};
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::http::wallet::views::{ReasonBody, SettlementView, parse_reason};
use crate::store::Store;
use crate::store::settlements::{ItemCursor, SeenItem, Settlement, SettlementFilter};

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_all_settlements)
        .service(close_settlements)
        .service(read_settlement)
        .service(release_settlement);
}

/// Which batches, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct SettlementsQuery {
    payee_id: Option<UserId>,
    /// `closed`, `carried` or `released`.
    status: Option<String>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many batches at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

/// What is to be closed before its night.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CloseBody {
    /// Everybody who has earned something, where it is left out.
    #[serde(default)]
    payee_id: Option<UserId>,
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "They leave the country tonight.")]
    reason: String,
}

/// A batch of somebody's.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PayeeSettlementView {
    payee_id: UserId,
    #[serde(flatten)]
    settlement: SettlementView,
}

/// What was closed.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClosedView {
    settlements: Vec<PayeeSettlementView>,
    /// The payee who was named, where they have a batch of today already: what they have earned since is in that of tomorrow.
    closed_before: Vec<UserId>,
    /// Whether there are more payees without a batch of today; the same request closes the next 200.
    has_more: bool,
}

/// What a batch is made of: what a payment has given, or a refund has taken back, with the sign that this has.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ItemView {
    /// `payment`, `refund`, `failed_refund`, `dispute` or `dispute_won`.
    #[schema(example = "payment")]
    source_type: String,
    source_id: Uuid,
    payment_id: PaymentId,
    gross: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
    elsewhere: i64,
    created_at: Timestamp,
}

/// A batch, and a page of what it is made of.
#[derive(Serialize, ToSchema)]
pub(super) struct SettlementDetailsView {
    #[serde(flatten)]
    settlement: PayeeSettlementView,
    items: Page<ItemView>,
}

/// The batches of all payees, the newest first.
#[utoipa::path(
    tag = "admin",
    params(SettlementsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<PayeeSettlementView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/settlements")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_all_settlements(
    admin: Admin,
    query: web::Query<SettlementsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<PayeeSettlementView>>> {
    let SettlementsQuery { payee_id, status, cursor, limit } = query.into_inner();
    let parse = |text: &str| {
        SettlementStatus::parse(text).ok_or_else(|| {
            ApiError::invalid("?status", "invalid_status", "A settlement has no such status.")
        })
    };
    let status = status.as_deref().map(parse).transpose()?;
    let before = cursor.as_deref().map(decode).transpose()?;
    let filter = SettlementFilter { payee: payee_id, status };
    let rows = store.list_all_settlements(filter, before, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |settlement: &Settlement| settlement.id)))
}

/// Closes what was earned until now, without waiting for the night, and however little it is.
///
/// A payee has one batch a day: what they earn later today is in that of tomorrow. Where a payee is named, what was carried is
/// closed too, even if they have earned nothing since. Nobody closes what is their own (`own_decision`); where everybody's is
/// closed, the caller's waits for the night. Before ten past midnight the day before is closed first.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = ClosedView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/settlements/close")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn close_settlements(
    admin: Admin,
    body: web::Json<CloseBody>,
    settlements: web::Data<Settlements>,
) -> ApiResult<web::Json<ClosedView>> {
    let reason = parse_reason(&body.reason)?;
    let closed = settlements.close_now(body.payee_id, admin.0.user_id, reason).await?;

    Ok(web::Json(ClosedView {
        settlements: closed.settlements.into_iter().map(PayeeSettlementView::from).collect(),
        closed_before: closed.closed_before,
        has_more: closed.has_more,
    }))
}

/// A batch, and what it is made of.
#[utoipa::path(
    tag = "admin",
    params(("id" = SettlementId, Path), PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = SettlementDetailsView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/settlements/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, settlement.id = %id))]
pub(super) async fn read_settlement(
    admin: Admin,
    id: web::Path<SettlementId>,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<SettlementDetailsView>> {
    let (after, limit) = (query.after()?, query.limit);
    let found = store.find_settlement(*id).await?.ok_or(SettlementError::NotFound)?;
    let items = store.list_settlement_items(*id, after, limit.with_probe()).await?;
    let cursor =
        |item: &SeenItem| ItemCursor { id: item.source_id, source: item.source_type.clone() };
    let items = Page::new(items, limit, cursor);

    Ok(web::Json(SettlementDetailsView { settlement: found.into(), items }))
}

/// Brings a closed batch to its payee's wallet before its day. Nobody does so with their own.
#[utoipa::path(
    tag = "admin",
    params(("id" = SettlementId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = PayeeSettlementView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/settlements/{id}/release")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, settlement.id = %id))]
pub(super) async fn release_settlement(
    admin: Admin,
    id: web::Path<SettlementId>,
    body: web::Json<ReasonBody>,
    settlements: web::Data<Settlements>,
) -> ApiResult<web::Json<PayeeSettlementView>> {
    let paid = settlements.pay_now(*id, admin.0.user_id, body.parse()?).await?;

    Ok(web::Json(paid.into()))
}

impl From<Settlement> for PayeeSettlementView {
    fn from(settlement: Settlement) -> Self {
        Self { payee_id: settlement.payee, settlement: settlement.into() }
    }
}

impl From<SeenItem> for ItemView {
    fn from(item: SeenItem) -> Self {
        Self {
            source_type: item.source_type,
            source_id: item.source_id,
            payment_id: item.payment_id.into(),
            gross: item.gross,
            fee: item.fee,
            fee_vat: item.fee_vat,
            withholding: item.withholding,
            elsewhere: item.elsewhere,
            created_at: Timestamp::from_millis(item.created_at),
        }
    }
}

impl Cursor for ItemCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.id, self.source)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (id, source) = text.split_once(':')?;
        Some(Self { id: id.parse().ok()?, source: source.to_owned() })
    }
}
