//! Confirming a payment that its payer has made, and capturing one that was set aside.

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, post};

use super::key::Key;
use super::payer::Confirming;
use super::views::{CaptureBody, ConfirmBody, MoneyRefusals, response, undisturbed};
use crate::actors::payments::Payments;
use crate::actors::payments::answers::PaymentView;
use crate::actors::payments::requests::{CapturePayment, ConfirmPayment, PaymentKey};
use crate::domain::payments::PaymentError;
use crate::error::{ApiResult, Problem};
use crate::http::service::OrderKeeper;

const CONFIRM: &str = "POST /v1/payments/confirm";
const CAPTURE: &str = "POST /v1/payments/capture";

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(confirm_payment).service(capture_payment);
}

/// Has a payment taken that its payer has made at the provider.
///
/// Waits for at most 8 s. 202 says that nobody knows yet: it is found out, whatever happens to the client or the server, and
/// `payment_updated` tells of it; the same request with the same key asks again.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each confirmation")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "It is taken, set aside, or waits for a deposit", body = PaymentView),
        (status = 202, description = "Nobody knows yet; `Location` says where to ask", body = PaymentView),
        (
            status = 402,
            description = "`payment_declined`; `failure_code` says why",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 410,
            description = "`payment_expired`: it was not made in time",
            body = Problem,
            content_type = "application/problem+json",
        ),
        MoneyRefusals,
    ),
)]
#[post("/payments/confirm")]
#[tracing::instrument(skip_all, fields(user.id = %payer.0.user_id, payment.id = %body.payment_id))]
pub(super) async fn confirm_payment(
    payer: Confirming,
    key: Key,
    body: web::Json<ConfirmBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let payer = payer.0.user_id;
    let call = key.call(format!("user:{payer}"), CONFIRM, &*body)?;
    let ConfirmBody { payment_id: payment, payment_key, amount } = body.into_inner();
    let payment_key = PaymentKey::parse(&payment_key).ok_or(PaymentError::InvalidKey)?;
    let request = ConfirmPayment { payer, payment, payment_key, amount };

    let payments = payments.get_ref().clone();
    response(undisturbed(async move { payments.confirm(request, call).await }).await??)
}

/// Takes what was set aside, whole.
///
/// 202 says that nobody knows yet, as it does of confirming.
#[utoipa::path(
    tag = "payments",
    params(("Idempotency-Key" = String, Header, description = "8 to 255 visible characters, one for each capture")),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "It is taken", body = PaymentView),
        (status = 202, description = "Nobody knows yet; `Location` says where to ask", body = PaymentView),
        (
            status = 402,
            description = "`payment_declined`: it has lapsed, or the provider refuses",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 403,
            description = "Nobody decides about what is their own (`own_decision`); the caller is no administrator, or the key has no scope for this (`scope_missing`)",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 410,
            description = "`payment_expired`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        MoneyRefusals,
    ),
)]
#[post("/payments/capture")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label(), payment.id = %body.payment_id))]
pub(super) async fn capture_payment(
    keeper: OrderKeeper,
    key: Key,
    body: web::Json<CaptureBody>,
    payments: web::Data<Payments>,
) -> ApiResult<HttpResponse> {
    let call = key.call(keeper.0.label(), CAPTURE, &*body)?;
    let request = CapturePayment { payment: body.payment_id, payer: None, admin: keeper.0.admin() };

    let payments = payments.get_ref().clone();
    response(undisturbed(async move { payments.capture(request, call).await }).await??)
}
