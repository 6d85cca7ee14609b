//! A payment and all that is known of it, on one page.
//!
//! Invariant: each list is bounded, and nothing names the payment at its provider in full.

use serde::Serialize;
use utoipa::ToSchema;

use super::payments::OperatedPaymentView;
use super::workflow_views::WorkflowDetailsView;
use super::workflows::details;
use crate::actors::payments::journal::JournalEntryView;
use crate::clock;
use crate::domain::audit::Target;
use crate::domain::ids::{AttemptId, ProposalId, RefundId, UserId};
use crate::domain::masking::masked;
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::http::admin::audit::DeedView;
use crate::store::Store;
use crate::store::audit::DeedFilter;
use crate::store::journal::JournalFilter;
use crate::store::payments::Payment;
use crate::store::payments::conflicts::Proposal;
use crate::store::payments::operations::{LedgerLine, SeenAttempt, SeenWebhook};
use crate::store::payments::refunds::Refund;
use crate::store::payments::transitions::TransitionRow;

const WORKFLOWS_MAX: i64 = 50;
const DEEDS_MAX: i64 = 100;
const JOURNAL_MAX: i64 = 100;
const SHOWN_MAX: usize = 200;

/// A payment and all that is known of it. No list has more than 200 lines, and of the workflows there are 50: the last.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TimelineView {
    payment: OperatedPaymentView,
    /// Every status that it had, in order.
    transitions: Vec<TransitionView>,
    attempts: Vec<PaymentAttemptView>,
    refunds: Vec<RefundLineView>,
    workflows: Vec<WorkflowDetailsView>,
    /// That came in about it; they are kept for a while.
    webhooks: Vec<WebhookView>,
    ledger: Vec<LedgerLineView>,
    /// What people have seen at the provider where it is conflicted, the latest first.
    proposals: Vec<ProposalView>,
    /// What two people were to move by hand about it, the latest first.
    journal: Vec<JournalEntryView>,
    /// What people did to it by hand, the latest first.
    audit: Vec<DeedView>,
}

/// A change of status.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TransitionView {
    seq: i64,
    from: Option<String>,
    to: String,
    #[schema(example = "provider")]
    cause: String,
    actor: String,
    at: Timestamp,
}

/// A payment as its provider sees it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PaymentAttemptView {
    id: AttemptId,
    provider: String,
    /// Our order, as the provider knows it.
    provider_order: String,
    /// Its last four characters.
    #[schema(example = "****a1b2")]
    provider_key: Option<String>,
    status: &'static str,
    error_code: Option<String>,
    created_at: Timestamp,
    resolved_at: Option<Timestamp>,
}

/// Money that goes back.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct RefundLineView {
    id: RefundId,
    amount: Amount,
    status: &'static str,
    reason: String,
    failure_code: Option<String>,
    /// Who asked for it.
    actor: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// A webhook that came in, without what it says.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookView {
    provider: String,
    /// `signed` or `unsigned`.
    trust: String,
    /// `received`, `done`, `ignored` or `failed`.
    status: String,
    attempts: i64,
    last_error: Option<String>,
    received_at: Timestamp,
    done_at: Option<Timestamp>,
}

/// A transfer of the ledger.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LedgerLineView {
    #[schema(example = "capture")]
    kind: String,
    phase: String,
    debit: String,
    credit: String,
    amount: i64,
    currency: String,
    actor: String,
    at: Timestamp,
}

/// What somebody has seen at the provider of a payment that is conflicted.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProposalView {
    id: ProposalId,
    amount: Amount,
    reason: String,
    proposed_by: UserId,
    confirmed_by: Option<UserId>,
    created_at: Timestamp,
    confirmed_at: Option<Timestamp>,
}

/// Puts together what is known of a payment.
pub(super) async fn timeline(store: &Store, payment: Payment) -> ApiResult<TimelineView> {
    let id = payment.id;
    let attempts = store.list_attempts(id).await?;
    let keys = store.list_workflow_keys_of(&payment, &attempts).await?;
    let mut workflows = Vec::new();
    for seen in store.list_workflows_for(keys, WORKFLOWS_MAX).await? {
        workflows.push(details(store, seen.id).await?);
    }
    let mut webhooks = Vec::new();
    for attempt in &attempts {
        webhooks.extend(store.list_webhooks_of(attempt).await?);
    }
    let refunds = store.list_refunds(id).await?;
    let target = Some(Target::Payment(id).to_string());
    let filter = DeedFilter { target, ..DeedFilter::default() };
    let audit = store.list_audit(filter, None, DEEDS_MAX).await?;
    let (filter, now) = (JournalFilter { status: None, payment: Some(id) }, clock::now());
    let journal = store.list_journal_entries(filter, None, JOURNAL_MAX, now).await?;
    Ok(TimelineView {
        transitions: shown(store.list_payment_transitions(id).await?),
        attempts: shown(attempts),
        refunds: shown(refunds),
        workflows,
        webhooks: shown(webhooks),
        ledger: shown(store.list_ledger_lines(id.uuid()).await?),
        proposals: shown(store.list_conflict_proposals(id).await?),
        journal: journal.into_iter().map(|it| JournalEntryView::of(it, now)).collect(),
        audit: shown(audit),
        payment: payment.into(),
    })
}

/// The last of them: what somebody looks for has happened of late.
fn shown<R, V: From<R>>(rows: Vec<R>) -> Vec<V> {
    let skipped = rows.len().saturating_sub(SHOWN_MAX);
    rows.into_iter().skip(skipped).map(V::from).collect()
}

impl From<TransitionRow> for TransitionView {
    fn from(row: TransitionRow) -> Self {
        Self {
            seq: row.seq,
            from: row.from_status,
            to: row.to_status,
            cause: row.cause,
            actor: row.actor,
            at: Timestamp::from_millis(row.at),
        }
    }
}

impl From<SeenAttempt> for PaymentAttemptView {
    fn from(seen: SeenAttempt) -> Self {
        Self {
            id: seen.id,
            provider: seen.provider,
            provider_order: seen.provider_order,
            provider_key: seen.provider_key.as_deref().map(masked),
            status: seen.status.as_str(),
            error_code: seen.error_code,
            created_at: seen.created_at,
            resolved_at: seen.resolved_at,
        }
    }
}

impl From<Refund> for RefundLineView {
    fn from(refund: Refund) -> Self {
        Self {
            id: refund.id,
            amount: refund.amount,
            status: refund.status.as_str(),
            reason: refund.reason,
            failure_code: refund.failure_code,
            actor: refund.actor,
            created_at: refund.created_at,
            updated_at: refund.updated_at,
        }
    }
}

impl From<SeenWebhook> for WebhookView {
    fn from(seen: SeenWebhook) -> Self {
        Self {
            provider: seen.provider,
            trust: seen.trust,
            status: seen.status,
            attempts: seen.attempts,
            last_error: seen.last_error,
            received_at: Timestamp::from_millis(seen.received_at),
            done_at: seen.done_at.map(Timestamp::from_millis),
        }
    }
}

impl From<LedgerLine> for LedgerLineView {
    fn from(line: LedgerLine) -> Self {
        Self {
            kind: line.kind,
            phase: line.phase,
            debit: line.debit,
            credit: line.credit,
            amount: line.amount,
            currency: line.currency,
            actor: line.actor,
            at: Timestamp::from_millis(line.at),
        }
    }
}

impl From<Proposal> for ProposalView {
    fn from(proposal: Proposal) -> Self {
        Self {
            id: proposal.id,
            amount: proposal.amount,
            reason: proposal.reason,
            proposed_by: proposal.proposed_by,
            confirmed_by: proposal.confirmed_by,
            created_at: proposal.created_at,
            confirmed_at: proposal.confirmed_at,
        }
    }
}
