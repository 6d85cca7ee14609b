//! Wallets over HTTP: what callers have earned, where it is paid out to, and who decides about it.
//!
//! Invariant: a caller sees and moves what is their own; who decides about a withdrawal is somebody else.

mod accounts;
mod decisions;
mod releases;
pub mod views;
mod withdrawals;

use actix_web::web::ServiceConfig;
use utoipa::OpenApi;

/// Routes below the version. Before those of payments, which take whatever follows them for an id.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(withdrawals::routes)
        .configure(accounts::routes)
        .configure(releases::routes)
        .configure(decisions::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    withdrawals::read_wallet,
    withdrawals::ask_withdrawal,
    withdrawals::list_withdrawals,
    withdrawals::read_withdrawal,
    withdrawals::cancel_withdrawal,
    accounts::add_bank_account,
    accounts::list_bank_accounts,
    accounts::remove_bank_account,
    accounts::verify_bank_account,
    releases::release_order,
    releases::list_settlements,
    decisions::list_waiting_withdrawals,
    decisions::approve_withdrawal,
    decisions::reject_withdrawal,
    decisions::freeze_wallet,
    decisions::unfreeze_wallet,
))]
pub struct Doc;
