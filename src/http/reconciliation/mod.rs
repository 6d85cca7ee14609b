//! Reconciliation over HTTP, for administrators: how days were compared, what did not agree, and what was done about it.
//!
//! Invariant: nobody changes a finding; it is explained, or an entry of the ledger is named that has put it right.

mod breaks;
mod runs;
pub mod views;

use actix_web::web::ServiceConfig;
use utoipa::OpenApi;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(runs::routes).configure(breaks::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    runs::list_recon_runs,
    runs::run_reconciliation,
    runs::list_recon_reports,
    breaks::list_recon_breaks,
    breaks::read_recon_break,
    breaks::explain_recon_break,
    breaks::fix_recon_break,
))]
pub struct Doc;
