//! Refunds that somebody has to look at: two people say how one ends.

use actix_web::post;
use actix_web::web::{self, ServiceConfig};
use serde::Deserialize;
use utoipa::ToSchema;

use super::timeline::RefundLineView;
use crate::actors::payments::Payments;
use crate::actors::payments::settling::Settle;
use crate::domain::ids::{PaymentId, RefundId};
use crate::domain::payments::refunds::Settling;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::views::{ChangeRefusals, WriteRefusals};
use crate::http::wallet::views::parse_reason;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(settle_refund);
}

/// How a refund is to end.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SettleBody {
    /// `succeeded`: its payer has all of it, from the provider or otherwise. `failed`: its payer has nothing of it.
    #[schema(example = "succeeded")]
    outcome: String,
    /// 1 to 500 characters.
    #[schema(
        max_length = 500,
        example = "The provider has given 399 of 400; the shop paid the rest."
    )]
    reason: String,
}

/// Says how a refund ends that stands still: the provider has given back another amount than was asked for
/// (`needs_review`), or nobody knows any more what became of it (`unknown`). The first request proposes; the same from another
/// administrator ends it so. A proposal takes the place of the one before.
///
/// 409 `wrong_state` where its workflow is not parked, or the provider was asked so lately that its silence means nothing yet.
#[utoipa::path(
    tag = "admin",
    params(("id" = PaymentId, Path), ("refund_id" = RefundId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "As it stands now", body = RefundLineView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/admin/payments/{id}/refunds/{refund_id}/settle")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn settle_refund(
    admin: Admin,
    path: web::Path<(PaymentId, RefundId)>,
    body: web::Json<SettleBody>,
    payments: web::Data<Payments>,
) -> ApiResult<web::Json<RefundLineView>> {
    let (payment, refund) = path.into_inner();
    let settling = Settling::parse(&body.outcome).ok_or_else(|| {
        ApiError::invalid("/outcome", "invalid_outcome", "A refund has succeeded or failed.")
    })?;
    let reason = parse_reason(&body.reason)?;
    let asked = Settle { payment, refund, settling, by: admin.0.user_id, reason };

    Ok(web::Json(payments.settle_refund(asked).await?.into()))
}
