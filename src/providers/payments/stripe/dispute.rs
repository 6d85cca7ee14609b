//! Disputes of Stripe, and what of them we read.
//!
//! What Stripe calls a warning is a bank that asks, and has taken nothing. Invariant: a dispute that lacks what identifies
//! it, or has a status that is not known, is none.

use serde::Deserialize;
use serde_json::Value;

use super::intent::{List, currency, instant};
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::providers::payments::{Dispute, DisputePage, ListedDispute};

#[derive(Deserialize)]
struct DisputeObject {
    id: String,
    payment_intent: String,
    amount: i64,
    currency: String,
    status: Status,
    #[serde(default)]
    evidence_details: Option<Evidence>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    WarningNeedsResponse,
    WarningUnderReview,
    WarningClosed,
    NeedsResponse,
    UnderReview,
    Won,
    Lost,
}

#[derive(Deserialize)]
struct Evidence {
    due_by: Option<i64>,
}

/// Of a list of disputes: what each is called, and what it is about.
#[derive(Deserialize)]
pub(super) struct Named {
    pub(super) id: String,
    #[serde(default)]
    payment_intent: Option<String>,
}

impl Named {
    pub(super) fn id(&self) -> &str {
        &self.id
    }
}

/// A page of disputes. Those of charges without an intent are of somebody else who uses the same account.
pub(super) fn page(list: List<Named>) -> DisputePage {
    let next = list.has_more.then(|| list.data.last().map(|it| it.id.clone())).flatten();
    let listed =
        |it: Named| Some(ListedDispute { provider_key: it.id, charge: it.payment_intent? });
    DisputePage { items: list.data.into_iter().filter_map(listed).collect(), next }
}

/// The dispute in an answer.
pub(super) fn read(body: Value) -> Option<Dispute> {
    let dispute: DisputeObject = serde_json::from_value(body).ok()?;
    let status = match dispute.status {
        Status::WarningNeedsResponse | Status::WarningUnderReview => DisputeStatus::Inquiry,
        Status::WarningClosed => DisputeStatus::Withdrawn,
        Status::NeedsResponse => DisputeStatus::NeedsResponse,
        Status::UnderReview => DisputeStatus::UnderReview,
        Status::Won => DisputeStatus::Won,
        Status::Lost => DisputeStatus::Lost,
    };
    Some(Dispute {
        provider_key: dispute.id,
        charge: dispute.payment_intent,
        amount: Amount::new(dispute.amount).ok()?,
        currency: currency(&dispute.currency)?,
        status,
        due_at: dispute.evidence_details.and_then(|it| it.due_by).map(instant),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn object(status: &str) -> Value {
        json!({
            "id": "dp_1", "object": "dispute", "amount": 1000, "currency": "krw",
            "payment_intent": "pi_1", "charge": "ch_1", "status": status,
            "evidence_details": { "due_by": 1_795_309_201 },
        })
    }

    #[test]
    fn a_warning_is_a_question() {
        for (status, expected) in [
            ("warning_needs_response", DisputeStatus::Inquiry),
            ("warning_under_review", DisputeStatus::Inquiry),
            ("warning_closed", DisputeStatus::Withdrawn),
            ("needs_response", DisputeStatus::NeedsResponse),
            ("under_review", DisputeStatus::UnderReview),
            ("won", DisputeStatus::Won),
            ("lost", DisputeStatus::Lost),
        ] {
            let dispute = read(object(status)).unwrap();
            assert_eq!(dispute.status, expected, "{status}");
            assert_eq!((dispute.charge.as_str(), dispute.amount.minor()), ("pi_1", 1_000));
            assert_eq!(dispute.due_at.unwrap().millis(), 1_795_309_201_000);
        }
    }

    #[test]
    fn a_dispute_that_is_not_whole_is_none() {
        for (key, value) in [
            ("payment_intent", json!(null)),
            ("status", json!("a_status_of_tomorrow")),
            ("amount", json!(0)),
            ("currency", json!("won!")),
        ] {
            let mut body = object("lost");
            body[key] = value;
            assert!(read(body).is_none(), "{key}");
        }
    }
}
