//! Operating payments over HTTP, for administrators: what happened, what stands still, and what people do about it.
//!
//! Invariant: whoever does something here says why, and it is in the audit; no answer has a key of a provider or a number of
//! a bank account in full.

mod audit;
mod conflicts;
mod ledger;
mod payments;
mod providers;
mod settlements;
mod timeline;
mod workflow_views;
mod workflows;

use actix_web::web::ServiceConfig;
use utoipa::OpenApi;

/// Routes below the version. After all others below `/admin/payments`: the last of these takes whatever follows for an id.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.configure(audit::routes)
        .configure(workflows::routes)
        .configure(providers::routes)
        .configure(ledger::routes)
        .configure(settlements::routes)
        .configure(conflicts::routes)
        .configure(payments::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    audit::list_audit,
    workflows::list_workflows,
    workflows::read_workflow,
    workflows::resume_workflow,
    workflows::look_up_workflow,
    workflows::compensate_workflow,
    providers::list_providers,
    providers::stop_provider,
    providers::start_provider,
    ledger::read_trial_balance,
    ledger::read_account,
    ledger::read_statement,
    settlements::list_settlements,
    settlements::close_settlements,
    settlements::read_settlement,
    settlements::release_settlement,
    conflicts::propose_keeping,
    conflicts::confirm_keeping,
    payments::list_payments,
    payments::read_payment,
))]
pub struct Doc;
