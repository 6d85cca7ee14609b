//! Conflicts: two people say that what a provider has taken otherwise than agreed is kept.

use actix_web::http::StatusCode;
use actix_web::post;
use actix_web::web::{self, ServiceConfig};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::actors::payments::Payments;
use crate::actors::payments::answers::PaymentView;
use crate::domain::ids::{PaymentId, ProposalId};
use crate::domain::money::Amount;
use crate::domain::payments::PaymentError;
use crate::error::ApiResult;
use crate::http::caller::Admin;
use crate::http::payments::views::undisturbed;
use crate::http::views::{ChangeRefusals, WriteRefusals};
use crate::http::wallet::views::{ReasonBody, parse_reason};
use crate::store::Store;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(propose_keeping).service(confirm_keeping);
}

/// What somebody has seen at the provider.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProposalBody {
    /// What the provider has taken, in minor units of the payment's currency.
    amount: Amount,
    /// 1 to 500 characters.
    #[schema(max_length = 500, example = "The provider cannot give back 999; the payer agrees.")]
    reason: String,
}

/// A proposal, for whoever is to confirm it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProposedView {
    proposal_id: ProposalId,
    payment_id: PaymentId,
    amount: Amount,
}

/// Says what the provider has taken for a payment that is conflicted and that it does not give back. Moves nothing; takes
/// the place of an earlier proposal that nobody has confirmed.
#[utoipa::path(
    tag = "admin",
    params(("id" = PaymentId, Path)),
    security(("bearer" = [])),
    responses((status = 201, body = ProposedView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/{id}/proposals")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id, payment.id = %id))]
pub(super) async fn propose_keeping(
    admin: Admin,
    id: web::Path<PaymentId>,
    body: web::Json<ProposalBody>,
    payments: web::Data<Payments>,
) -> ApiResult<(web::Json<ProposedView>, StatusCode)> {
    let (amount, reason) = (body.amount, parse_reason(&body.reason)?);
    let proposal = payments.propose_keeping(*id, admin.0.user_id, amount, reason).await?;
    let view = ProposedView { proposal_id: proposal, payment_id: *id, amount };

    Ok((web::Json(view), StatusCode::CREATED))
}

/// Confirms somebody else's proposal: the provider is asked once more, and if it says the same, the payment is captured, of as
/// much as it has taken.
///
/// 409: `give_back_under_way` while its workflow is not parked, `provider_says_otherwise`, `more_than_agreed`,
/// `proposal_superseded`, `disputed`, `wrong_state`.
#[utoipa::path(
    tag = "admin",
    params(("id" = PaymentId, Path), ("proposal_id" = ProposalId, Path)),
    security(("bearer" = [])),
    responses((status = 200, description = "It is captured", body = PaymentView), ChangeRefusals, WriteRefusals),
)]
#[post("/admin/payments/{id}/proposals/{proposal_id}/confirm")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn confirm_keeping(
    admin: Admin,
    path: web::Path<(PaymentId, ProposalId)>,
    body: web::Json<ReasonBody>,
    payments: web::Data<Payments>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<PaymentView>> {
    let ((id, proposal), by, reason) = (path.into_inner(), admin.0.user_id, body.parse()?);
    let payments = payments.get_ref().clone();
    let kept = async move { payments.confirm_keeping(id, proposal, by, reason).await };
    undisturbed(kept).await??;
    let payment = store.find_payment(id).await?.ok_or(PaymentError::NotFound)?;

    Ok(web::Json(PaymentView::from(&payment)))
}
