//! What people do by hand when everything else is over: they give back at the provider's desk what is not given back
//! otherwise, or keep it, two of them, and let go on what was parked.

use uuid::Uuid;

use super::outside::{Made, Outside};
use crate::actors::workflow::engine::WORN;
use crate::domain::ids::UserId;
use crate::domain::money::Amount;
use crate::domain::payments::PaymentStatus;
use crate::domain::workflows::{Reason, WorkflowStatus};
use crate::providers::payments::ChargeStatus;

const TRIES_MAX: usize = 200;
/// For what anything may be parked: that the provider keeps it, that nobody has said where it goes back to, that too many
/// who took it have died or slept, and that it was not known yet when scenes let days pass at once.
const REASONS: [&str; 4] = [
    "the provider does not give back what it has taken",
    "it came by a transfer, and nobody has named an account that it goes back to",
    WORN,
    "nobody knows any more",
];

fn somebody(number: u128) -> UserId {
    UserId::from(Uuid::from_u128(number))
}

fn reason() -> Reason {
    Reason::parse("looked at").unwrap()
}

impl Outside {
    /// Sees to whatever is parked; `keeps` says whether a conflict is kept.
    pub(super) async fn see_to(&self, keeps: bool) {
        for made in &self.made {
            let payment = self.payment(made).await;
            let is_left = self.charge(made) == ChargeStatus::Captured
                || self.charge(made) == ChargeStatus::AwaitingDeposit;
            match payment.status {
                PaymentStatus::Conflicted if keeps && self.is_kept(made).await => {}
                PaymentStatus::Conflicted
                | PaymentStatus::Canceled
                | PaymentStatus::Failed
                | PaymentStatus::Expired
                    if is_left =>
                {
                    self.let_go_there(made).await;
                }
                _ => {}
            }
        }
        let parked = WorkflowStatus::Parked;
        let parked = self.store.list_workflows(parked, None, 99).await.unwrap();
        for workflow in &parked {
            let why = workflow.last_error.clone().unwrap_or_default();
            if !REASONS.iter().any(|reason| why.starts_with(reason)) {
                let wrong = format!("{} is parked: {why}", workflow.dedupe_key);
                self.facts.lock().unwrap().wrongs.push(wrong);
            }
            let now = self.now();
            let by = somebody(1);
            self.store.resume_workflow(workflow.id, by, reason(), now).await.unwrap();
        }
    }

    /// Two people keep what was taken otherwise than agreed, if the provider says so within some tries.
    async fn is_kept(&self, made: &Made) -> bool {
        let Some(charge) = self.provider.find_order(&made.order) else { return false };
        let amount: Amount = charge.amount;
        for _ in 0..TRIES_MAX {
            let proposed = self.payments.propose_keeping(made.id, somebody(1), amount, reason());
            let Ok(proposal) = proposed.await else { return false };
            let kept = self.payments.confirm_keeping(made.id, proposal, somebody(2), reason());
            if kept.await.is_ok() {
                return true;
            }
        }
        false
    }
}
