//! Payments of everybody: those that wait for an end, and one with all that is known of it.

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::timeline::{TimelineView, timeline};
use crate::actors::payments::answers::PaymentView;
use crate::domain::ids::PaymentId;
use crate::domain::payments::{PaymentError, PaymentStatus, ProviderName, UnderWay};
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::page::{Cursor, Limit, Page, decode};
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::payments::Payment;
use crate::store::payments::operations::OperatorFilter;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_all_payments).service(examine_payment);
}

/// Which payments, and which page of them.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PaymentsQuery {
    /// One or several, with commas between them: `unknown,confirming,conflicted` is what somebody has to look after.
    #[param(example = "unknown,confirming,conflicted")]
    status: Option<String>,
    /// Such as `toss`.
    provider: Option<String>,
    /// That have not changed since before then.
    older_than: Option<Timestamp>,
    /// The `next_cursor` of the page before; the first page without.
    cursor: Option<String>,
    /// How many payments at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    limit: Limit,
}

impl PaymentsQuery {
    fn filter(&self) -> ApiResult<OperatorFilter> {
        let status = |text: &str| {
            PaymentStatus::parse(text).ok_or_else(|| {
                ApiError::invalid("?status", "invalid_status", "A payment has no such status.")
            })
        };
        let provider = |text: &str| {
            ProviderName::parse(text).ok_or_else(|| {
                ApiError::invalid("?provider", "invalid_provider", "There is no such provider.")
            })
        };
        // As many as there are, at most.
        let words = self.status.iter().flat_map(|text| text.split(','));
        let words = words.take(PaymentStatus::ALL.len().saturating_add(1));
        let statuses = words.map(status).collect::<ApiResult<Vec<_>>>()?;
        if statuses.len() > PaymentStatus::ALL.len() {
            return Err(ApiError::invalid("?status", "invalid_status", "Too many of them."));
        }
        let provider = self.provider.as_deref().map(provider).transpose()?;
        Ok(OperatorFilter { statuses, provider, older_than: self.older_than })
    }
}

/// A payment as operators see it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OperatedPaymentView {
    #[serde(flatten)]
    payment: PaymentView,
    /// Of which call to the provider a workflow takes care: `confirm`, `capture`, `void`, or none.
    #[schema(example = "confirm")]
    under_way: Option<&'static str>,
}

/// Payments of everybody, the oldest first.
#[utoipa::path(
    tag = "admin",
    params(PaymentsQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<OperatedPaymentView>), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_all_payments(
    admin: Admin,
    query: web::Query<PaymentsQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<OperatedPaymentView>>> {
    let (filter, limit) = (query.filter()?, query.limit);
    let after = query.cursor.as_deref().map(decode).transpose()?;
    let rows = store.list_payments_to_operate(filter, after, limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, limit, |payment: &Payment| payment.id)))
}

/// A payment and all that is known of it: what it was, what its provider was asked and said, what was heard, what was booked,
/// and what people did. Keys of the provider are masked.
#[utoipa::path(
    tag = "admin",
    params(("id" = PaymentId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = TimelineView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/payments/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, payment.id = %id))]
pub(super) async fn examine_payment(
    admin: Admin,
    id: web::Path<PaymentId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<TimelineView>> {
    let payment = store.find_payment(*id).await?.ok_or(PaymentError::NotFound)?;

    Ok(web::Json(timeline(&store, payment).await?))
}

impl From<Payment> for OperatedPaymentView {
    fn from(payment: Payment) -> Self {
        let under_way = payment.under_way.map(UnderWay::as_str);
        Self { payment: PaymentView::from(&payment), under_way }
    }
}

impl Cursor for PaymentId {
    fn to_text(&self) -> String {
        self.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
