//! Orders over HTTP: what is to be paid for, as the app's own server says it.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{get, put};

use super::views::{OrderBody, OrderView};
use crate::accounts::Accounts;
use crate::clock;
use crate::config::Config;
use crate::domain::payments::PaymentError;
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::settlements::Terms;
use crate::domain::wallets::WalletError;
use crate::error::{ApiResult, Problem};
use crate::http::auth::refusals::{BodyRefusals, PublicRefusals};
use crate::http::service::{AuthorityRefusals, OrderKeeper};
use crate::store::Store;
use crate::store::orders::PutOrder;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(put_order).service(read_order);
}

/// Registers an order, or changes it while nobody pays or has paid for it.
#[utoipa::path(
    tag = "payments",
    params(
        ("order_type" = String, Path, description = "1 to 32 of a-z, 0-9 and _, a letter first", example = "job"),
        ("order_id" = String, Path, description = "1 to 64 of A-Z, a-z, 0-9 and _.:-", example = "2026-117"),
    ),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, description = "It is changed, or was like this", body = OrderView),
        (status = 201, description = "It is registered", body = OrderView),
        (
            status = 409,
            description = "`order_has_payment`: it is being paid for, or is paid for",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        BodyRefusals,
        PublicRefusals,
    ),
)]
#[put("/payments/orders/{order_type}/{order_id}")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label()))]
pub(super) async fn put_order(
    keeper: OrderKeeper,
    path: web::Path<(String, String)>,
    body: web::Json<OrderBody>,
    config: web::Data<Config>,
    accounts: web::Data<Accounts>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<OrderView>, StatusCode)> {
    let (order_type, order_id) = path.into_inner();
    let OrderBody { payer_id, payee_id, amount, currency, name, fee_bps } = body.into_inner();
    let order = NewOrder {
        key: OrderKey::parse(&order_type, &order_id)?,
        payer: payer_id,
        payee: payee_id,
        amount,
        currency: currency.unwrap_or(config.payments.currency),
        name: OrderName::parse(&name)?,
        fee: FeeBps::new(fee_bps)?,
    };
    order.check()?;
    if order.payee.is_some() {
        Terms::of(order.fee, config.payments.settlements.withholding_bps)
            .map_err(|_| WalletError::FeeTooHigh)?;
    }
    if order.currency != config.payments.currency {
        return Err(PaymentError::CurrencyNotSupported.into());
    }
    if let Some(payee) = order.payee {
        accounts.user(payee).await?;
    }

    let put = match keeper.0.admin() {
        Some(by) => store.put_order_by_hand(order, by, clock::now()).await?,
        None => store.put_order(order, clock::now()).await?,
    };
    match put {
        PutOrder::Created(order) => Ok((web::Json(order.into()), StatusCode::CREATED)),
        PutOrder::Changed(order) => Ok((web::Json(order.into()), StatusCode::OK)),
        PutOrder::HasPayment => Err(PaymentError::OrderHasPayment.into()),
    }
}

/// An order as it stands.
#[utoipa::path(
    tag = "payments",
    params(
        ("order_type" = String, Path, description = "1 to 32 of a-z, 0-9 and _, a letter first", example = "job"),
        ("order_id" = String, Path, description = "1 to 64 of A-Z, a-z, 0-9 and _.:-", example = "2026-117"),
    ),
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
    responses(
        (status = 200, body = OrderView),
        (
            status = 404,
            description = "`order_not_found`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        (
            status = 422,
            description = "`invalid_order_type`, `invalid_order_id`",
            body = Problem,
            content_type = "application/problem+json",
        ),
        AuthorityRefusals,
        PublicRefusals,
    ),
)]
#[get("/payments/orders/{order_type}/{order_id}")]
#[tracing::instrument(skip_all, fields(principal = keeper.0.label()))]
pub(super) async fn read_order(
    keeper: OrderKeeper,
    path: web::Path<(String, String)>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<OrderView>> {
    let (order_type, order_id) = path.into_inner();
    let order = store.find_order(OrderKey::parse(&order_type, &order_id)?).await?;

    Ok(web::Json(order.ok_or(PaymentError::OrderNotFound)?.into()))
}
