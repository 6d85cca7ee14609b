//! Operating payments over HTTP, for administrators: what happened, what stands still, and what people do about it.
//!
//! Invariant: whoever does something here says why, and it is in the audit; no answer has a key of a provider or a number of
//! a bank account in full, but the file that a bank is given.

mod audit;
mod conflicts;
mod idempotency_keys;
mod journal;
mod ledger;
mod payments;
mod payout_files;
mod providers;
mod refunds;
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
        .configure(journal::routes)
        .configure(idempotency_keys::routes)
        .configure(payout_files::routes)
        .configure(conflicts::routes)
        .configure(refunds::routes)
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
    settlements::list_all_settlements,
    settlements::close_settlements,
    settlements::read_settlement,
    settlements::release_settlement,
    journal::propose_journal_entry,
    journal::list_journal_entries,
    journal::read_journal_entry,
    journal::approve_journal_entry,
    journal::reject_journal_entry,
    idempotency_keys::list_idempotency_keys,
    payout_files::make_payout_file,
    payout_files::list_payout_files,
    payout_files::read_payout_file,
    payout_files::download_payout_file,
    payout_files::settle_payouts,
    conflicts::propose_keeping,
    conflicts::confirm_keeping,
    refunds::settle_refund,
    payments::list_all_payments,
    payments::examine_payment,
))]
pub struct Doc;
