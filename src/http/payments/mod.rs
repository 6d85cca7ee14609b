//! Payments over HTTP: orders are registered by the app's own server, paid for by users, and their providers tell of it.
//!
//! Invariant: what moves money has a key, and is done once under it; and a provider's word is a hint.

mod cancel;
mod confirm;
mod create;
mod history;
pub mod history_query;
pub mod key;
mod orders;
pub mod payer;
mod reader;
pub mod views;
mod webhooks;

use actix_web::web::ServiceConfig;
use utoipa::OpenApi;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(create::routes)
        .configure(confirm::routes)
        .configure(cancel::routes)
        .configure(orders::routes)
        .configure(webhooks::routes)
        .configure(history::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    create::create_payment,
    confirm::confirm_payment,
    confirm::capture_payment,
    cancel::cancel_payment,
    cancel::refund_payment,
    orders::put_order,
    orders::read_order,
    webhooks::take_webhook,
    history::list_payments,
    history::read_payment,
))]
pub struct Doc;
