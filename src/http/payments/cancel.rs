//! Canceling: a payment is given up, or given back, whole or in part.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, post};

use super::key::Key;
use super::views::{
    CancelBody, CanceledView, MoneyRefusals, RefundAccountBody, response, undisturbed,
};
use crate::actors::payments::Payments;
use crate::actors::payments::requests::CancelPayment;
use crate::domain::ids::UserId;
use crate::domain::payments::PaymentError;
use crate::domain::payments::refunds::RefundReason;
use crate::error::{ApiResult, Problem};
use crate::http::caller::Caller;
use crate::http::service::OrderKeeper;

const CANCEL: &str = "POST /v1/payments/cancel";
const REFUND: &str = "POST /v1/payments/refund";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(cancel_payment).service(refund_payment);
}

/// Gives up a payment of the caller's that was not taken, or gives back what was, whole or in part.
///
/// 202 says that nobody knows yet, as it does of confirming. More than is left is 422 `exceeds_refundable`, with what is left in
/// `refundable`. Once the order was released it is 409 `released`: whoever sold it gives the money back. What came by a transfer
/// goes back to `refund_account`; without one it is 422 `refund_account_required`.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each refund")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is given up or given back", body = CanceledView),
        (status = 202, description = "Nobody knows yet; `Location` says where to ask", body = CanceledView),
        MoneyRefusals,
    ),
)]
#[post("/payments/cancel")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id, payment.id = %body.payment_id))]
pub(super) async fn cancel_payment(
    caller: Caller,
    key: Key,
    body: web::Json<CancelBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let actor = format!("user:{}", caller.user_id);
    let said = body.told_apart(|text| payments.disguise(text))?;
    let call = key.call(actor.clone(), CANCEL, &said)?;
    let request = asked(body.into_inner(), Some(caller.user_id), (actor, None))?;

    let payments = payments.get_ref().clone();
    response(undisturbed(async move { payments.cancel(request, call).await }).await??)
}

/// Gives up anybody's payment, or gives it back, whole or in part, also after its order was released: for the app that sells, and
/// for administrators.
///
/// What was released is taken from what its payee has, and where that is not there, it is owed. Answers as `cancel` does.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each refund")),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "It is given up or given back", body = CanceledView),
        (status = 202, description = "Nobody knows yet; `Location` says where to ask", body = CanceledView),
        (
            status = 403,
            description = "Nobody decides about what is their own (`own_decision`); the caller is no administrator, or the key has no scope for this (`scope_missing`)",
            body = Problem,
            content_type = "application/problem+json",
        ),
        MoneyRefusals,
    ),
)]
#[post("/payments/refund")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label(), payment.id = %body.payment_id))]
pub(super) async fn refund_payment(
    keeper: OrderKeeper,
    key: Key,
    body: web::Json<CancelBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let actor = keeper.0.label();
    let said = body.told_apart(|text| payments.disguise(text))?;
    let call = key.call(actor.clone(), REFUND, &said)?;
    let request = asked(body.into_inner(), None, (actor, keeper.0.admin()))?;

    let payments = payments.get_ref().clone();
    response(undisturbed(async move { payments.cancel(request, call).await }).await??)
}

/// `payer`: whose it has to be.
fn asked(
    body: CancelBody,
    payer: Option<UserId>,
    (actor, admin): (String, Option<UserId>),
) -> ApiResult<CancelPayment> {
    let CancelBody { payment_id: payment, amount, reason, refund_account } = body;
    let reason = RefundReason::parse(&reason).ok_or(PaymentError::InvalidReason)?;
    let refund_account = refund_account.map(RefundAccountBody::parse).transpose()?;
    Ok(CancelPayment { payment, payer, actor, admin, amount, reason, refund_account })
}
