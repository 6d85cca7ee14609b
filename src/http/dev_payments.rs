//! Trying payments in development mode: a caller registers an order of their own, pays for it like for any other, and releases
//! it to its payee, who vouches for their own bank account. Everywhere else that is for the app's own server, by its key.
//!
//! Invariant: in production, and wherever a provider takes real money, there is nothing here; nobody registers or releases
//! what somebody else is to pay for, and nobody vouches for an account of somebody else's.

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{FromRequest, HttpRequest, post, put};
use futures_util::future::LocalBoxFuture;
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use super::caller::Caller;
use super::payments::views::OrderView;
use super::views::{ChangeRefusals, WriteRefusals};
use super::wallet::views::{BankAccountView, ReleasedView, SettlementView};
use crate::accounts::Accounts;
use crate::actors::payments::settlements::Settlements;
use crate::actors::payments::wallets::Wallets;
use crate::clock;
use crate::config::Config;
use crate::domain::bank_accounts::BankAccountError;
use crate::domain::ids::{BankAccountId, UserId};
use crate::domain::money::Amount;
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::payments::{PaymentError, ProviderName};
use crate::error::{ApiError, ApiResult};
use crate::store::Store;
use crate::store::bank_accounts::Voucher;
use crate::store::orders::{Order, PutOrder};

/// The type of all orders that are made here.
const ORDER_TYPE: &str = "dev";
/// Who vouches for a bank account here.
const VOUCHER: &str = "development";

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(create_dev_order).service(release_dev_order).service(verify_own_bank_account);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(create_dev_order, release_dev_order, verify_own_bank_account))]
pub struct Doc;

/// A caller in development mode, where nobody's money is moved. To everybody else, whoever they are, there is nothing here.
struct Trying(Caller);

impl FromRequest for Trying {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let config = request.app_data::<web::Data<Config>>();
        if !config.is_some_and(|config| is_play(config)) {
            return Box::pin(async { Err(ApiError::NotFound) });
        }
        let caller = Caller::from_request(request, payload);
        Box::pin(async move { caller.await.map(Self) })
    }
}

/// Whether all money is the fake provider's.
fn is_play(config: &Config) -> bool {
    let is_fake = |name: &ProviderName| *name == ProviderName::Fake;
    !config.is_production() && config.payments.used(false).iter().all(is_fake)
}

/// Something to pay for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DevOrderBody {
    /// Who is to get it.
    payee_id: UserId,
    /// In minor units of the installation's currency.
    amount: Amount,
    /// What the payer is shown: 1 to 100 characters.
    #[schema(max_length = 100, example = "A cup of tea")]
    name: String,
}

/// What became of an order that was tried.
#[derive(Debug, Serialize, ToSchema)]
struct DevReleasedView {
    #[serde(flatten)]
    released: ReleasedView,
    /// The batch that brought it to the payee's wallet at once; null where they have one of today already: then it is
    /// pending, and in that of the next day.
    settlement: Option<SettlementView>,
}

/// Registers an order that the caller pays for, to try payments without an app's server. In development mode only.
///
/// Its type is `dev`, its id is made here, and nothing is kept of it. It is paid for like any other: `create`, the provider's
/// page, `confirm`.
#[utoipa::path(
    tag = "dev",
    security(("bearer" = [])),
    responses((status = 201, body = OrderView), ChangeRefusals, WriteRefusals),
)]
#[post("/dev/orders")]
#[tracing::instrument(skip_all, fields(user.id = %trying.0.user_id))]
async fn create_dev_order(
    trying: Trying,
    body: web::Json<DevOrderBody>,
    accounts: web::Data<Accounts>,
    config: web::Data<Config>,
    store: web::Data<Store>,
) -> ApiResult<(web::Json<OrderView>, StatusCode)> {
    let DevOrderBody { payee_id, amount, name } = body.into_inner();
    let order = NewOrder {
        key: OrderKey::parse(ORDER_TYPE, &clock::new_uuid().to_string())?,
        payer: Some(trying.0.user_id),
        payee: Some(payee_id),
        amount,
        currency: config.payments.currency,
        name: OrderName::parse(&name)?,
        fee: FeeBps::default(),
    };
    order.check()?;
    accounts.user(payee_id).await?;

    match store.put_order(order, clock::now()).await? {
        PutOrder::Created(order) => Ok((web::Json(order.into()), StatusCode::CREATED)),
        // Nobody else has an id that was made a moment ago.
        PutOrder::Changed(_) | PutOrder::HasPayment => Err(PaymentError::OrderHasPayment.into()),
    }
}

/// Releases an order of the caller's to its payee, and brings what they have earned to their wallet at once. In development
/// mode only.
///
/// A second time it says what the first has released.
#[utoipa::path(
    tag = "dev",
    params(("order_id" = String, Path, description = "As `POST /v1/dev/orders` gave it")),
    security(("bearer" = [])),
    responses((status = 200, body = DevReleasedView), ChangeRefusals),
)]
#[post("/dev/orders/{order_id}/release")]
#[tracing::instrument(skip_all, fields(user.id = %trying.0.user_id))]
async fn release_dev_order(
    trying: Trying,
    order_id: web::Path<String>,
    settlements: web::Data<Settlements>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<DevReleasedView>> {
    let user = trying.0.user_id;
    let found = store.find_order(OrderKey::parse(ORDER_TYPE, &order_id)?).await?;
    let order = found.filter(|order| order.payer == Some(user));
    let Order { key, payee, .. } = order.ok_or(PaymentError::OrderNotFound)?;
    let released = settlements.release(key, format!("user:{user}")).await?;
    let settlement = match payee {
        Some(payee) => settlements.settle_at_once(payee).await?,
        None => None,
    };

    Ok(web::Json(DevReleasedView {
        released: released.into(),
        settlement: settlement.map(SettlementView::from),
    }))
}

/// Says that a bank account of the caller's is their own, so that money can be taken out. In development mode only.
#[utoipa::path(
    tag = "dev",
    params(("id" = BankAccountId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = BankAccountView), ChangeRefusals),
)]
#[put("/dev/bank-accounts/{id}/verification")]
#[tracing::instrument(skip_all, fields(user.id = %trying.0.user_id, bank_account.id = %id))]
async fn verify_own_bank_account(
    trying: Trying,
    id: web::Path<BankAccountId>,
    wallets: web::Data<Wallets>,
) -> ApiResult<web::Json<BankAccountView>> {
    let own = wallets.accounts(trying.0.user_id).await?;
    if !own.iter().any(|account| account.id == *id) {
        return Err(BankAccountError::NotFound.into());
    }
    let verified = wallets.verify_account(*id, Voucher::Service(VOUCHER.to_owned())).await?;

    Ok(web::Json(verified.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_a_provider_takes_real_money_there_is_nothing_to_try() {
        let is_play = |settings: &[(&str, &str)]| {
            is_play(&Config::read(None, settings.iter().copied()).unwrap())
        };
        let toss = [
            ("MADANG__PAYMENTS__OTHERS", "toss"),
            ("MADANG__PAYMENTS__TOSS__CLIENT_KEY", "test_ck_1"),
        ];
        assert!(is_play(&[]));
        assert!(!is_play(&toss));
        assert!(!is_play(&[("MADANG__MODE", "production")]));
    }
}
