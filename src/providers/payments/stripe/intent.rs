//! Objects of Stripe, and what of them we read.
//!
//! Every intent is made to be captured by us, so that nothing is taken before we say so: one whose payer has finished is
//! [`ChargeStatus::Open`] until then, unless it was to be set aside. Invariant: an intent that lacks what identifies it, or
//! that was not made by us, is none.

use serde::Deserialize;
use serde_json::Value;

use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::providers::payments::{
    Canceled, Charge, ChargeStatus, Decline, DeclineCode, RemoteKind, RemotePage, RemoteTransaction,
};

/// An intent, as far as it matters.
#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    pub(super) id: String,
    amount: i64,
    #[serde(default)]
    amount_received: i64,
    currency: String,
    pub(super) status: Status,
    metadata: IntentMetadata,
    latest_charge: Option<ChargeObject>,
    pub(super) last_payment_error: Option<PaymentError>,
    pub(super) client_secret: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Status {
    RequiresPaymentMethod,
    RequiresConfirmation,
    RequiresAction,
    Processing,
    RequiresCapture,
    Canceled,
    Succeeded,
}

#[derive(Debug, Deserialize)]
struct IntentMetadata {
    order: String,
    /// `yes` where it is to be captured later.
    later: String,
}

#[derive(Debug, Deserialize)]
struct ChargeObject {
    created: i64,
    #[serde(default)]
    amount_refunded: i64,
    /// Whether it ever was.
    #[serde(default)]
    disputed: bool,
}

/// Why a card was not charged, or a call was refused.
#[derive(Debug, Deserialize)]
pub(super) struct PaymentError {
    code: Option<String>,
    decline_code: Option<String>,
}

/// A refund.
#[derive(Debug, Deserialize)]
pub(super) struct Refund {
    id: String,
    amount: i64,
    pub(super) status: Option<String>,
    created: i64,
    #[serde(default)]
    metadata: RefundMetadata,
}

#[derive(Debug, Default, Deserialize)]
struct RefundMetadata {
    effect_key: Option<String>,
}

/// A list, as Stripe pages it.
#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Balance {
    id: String,
    r#type: String,
    fee: i64,
    /// Of the fee: that in which we are paid.
    currency: Option<String>,
    created: i64,
    source: Option<Source>,
}

#[derive(Debug, Deserialize)]
struct Source {
    id: String,
    amount: i64,
    currency: Option<String>,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: SourceMetadata,
}

#[derive(Debug, Default, Deserialize)]
struct SourceMetadata {
    order: Option<String>,
}

impl Intent {
    pub(super) fn read(body: Value) -> Option<Self> {
        serde_json::from_value(body).ok()
    }

    /// Our order.
    pub(super) fn order(&self) -> &str {
        &self.metadata.order
    }

    pub(super) fn is_captured_later(&self) -> bool {
        self.metadata.later == "yes"
    }

    /// Whether there are refunds to ask for.
    pub(super) fn has_refunds(&self) -> bool {
        self.latest_charge.as_ref().is_some_and(|charge| charge.amount_refunded > 0)
    }

    /// Whether there are disputes to ask for.
    pub(super) fn has_disputes(&self) -> bool {
        self.latest_charge.as_ref().is_some_and(|charge| charge.disputed)
    }

    /// What we make of it, together with its refunds and the keys of its disputes.
    pub(super) fn charge(self, refunds: Vec<Refund>, disputes: Vec<String>) -> Option<Charge> {
        let has_open_cancels = refunds.iter().any(Refund::is_open);
        let cancels = refunds.into_iter().filter(Refund::is_made).map(Refund::read);
        let cancels = cancels.collect::<Option<Vec<Canceled>>>()?;
        let canceled: i128 = cancels.iter().map(|it| it.amount).sum();
        let is_taken = self.status == Status::Succeeded;
        let amount = Amount::new(if is_taken { self.amount_received } else { self.amount }).ok()?;
        let status = match self.status {
            Status::Succeeded if canceled >= i128::from(amount.minor()) => ChargeStatus::Canceled,
            Status::Succeeded => ChargeStatus::Captured,
            Status::RequiresCapture if self.is_captured_later() => ChargeStatus::Authorized,
            Status::Canceled => ChargeStatus::Canceled,
            Status::RequiresPaymentMethod
            | Status::RequiresConfirmation
            | Status::RequiresAction
            | Status::Processing
            | Status::RequiresCapture => ChargeStatus::Open,
        };
        Some(Charge {
            provider_key: self.id,
            order: self.metadata.order,
            amount,
            currency: currency(&self.currency)?,
            status,
            method: is_taken.then(|| "card".to_owned()),
            decline: None,
            approved_at: self.latest_charge.map(|charge| instant(charge.created)),
            cancels,
            has_open_cancels,
            disputes,
        })
    }

    /// Its whole amount, voided. Stripe keeps nothing of that but that it is so.
    pub(super) fn voided(&self) -> Option<Canceled> {
        let amount = Amount::new(self.amount).ok()?;
        let provider_key = format!("{}-void", self.id);
        Some(Canceled { provider_key, effect_key: None, amount, at: None })
    }
}

impl Refund {
    /// One that is under way may still fail, and then Stripe keeps the money for us.
    fn is_made(&self) -> bool {
        self.status.as_deref() == Some("succeeded")
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Whatever has not come to its end may still be made.
    fn is_open(&self) -> bool {
        !matches!(self.status.as_deref(), Some("succeeded" | "failed" | "canceled"))
    }

    pub(super) fn effect_key(&self) -> Option<&str> {
        self.metadata.effect_key.as_deref()
    }

    pub(super) fn read(self) -> Option<Canceled> {
        Some(Canceled {
            provider_key: self.id,
            effect_key: self.metadata.effect_key,
            amount: Amount::new(self.amount).ok()?,
            at: Some(instant(self.created)),
        })
    }
}

impl PaymentError {
    /// In our words. It is certain by then that nothing was taken.
    pub(super) fn decline(&self) -> Decline {
        let code = self.decline_code.as_deref().or(self.code.as_deref()).unwrap_or_default();
        let ours = match code {
            "insufficient_funds" => DeclineCode::InsufficientFunds,
            "card_velocity_exceeded" | "withdrawal_count_limit_exceeded" => {
                DeclineCode::LimitExceeded
            }
            "authentication_required"
            | "payment_intent_authentication_failure"
            | "incorrect_pin"
            | "pin_try_exceeded" => DeclineCode::AuthenticationFailed,
            "expired_card"
            | "incorrect_number"
            | "invalid_number"
            | "incorrect_cvc"
            | "invalid_cvc"
            | "invalid_expiry_month"
            | "invalid_expiry_year"
            | "card_not_supported"
            | "currency_not_supported" => DeclineCode::InvalidPaymentMethod,
            _ => DeclineCode::CardDeclined,
        };
        Decline { code: ours, provider_code: plain(code) }
    }
}

/// A page of what moved, the newest first, as one that begins with the oldest.
pub(super) fn page(list: List<Balance>) -> Option<RemotePage> {
    let next = list.has_more.then(|| list.data.last().map(|it| it.id.clone())).flatten();
    let items = list.data.into_iter().rev().filter_map(Balance::read);
    Some(RemotePage { items: items.collect::<Option<_>>()?, next })
}

impl Balance {
    /// `None` for what is not between us and payers, and within for what cannot be read.
    fn read(self) -> Option<Option<RemoteTransaction>> {
        let kind = match self.r#type.as_str() {
            "charge" | "payment" => RemoteKind::Charge,
            "refund" | "payment_refund" => RemoteKind::Cancel,
            _ => return None,
        };
        let source = self.source?;
        // Of somebody else who uses the same account.
        let order = source.metadata.order?;
        let provider_key = match kind {
            RemoteKind::Charge => source.payment_intent?,
            RemoteKind::Cancel | RemoteKind::Chargeback | RemoteKind::PayOut => source.id,
        };
        // In another currency than the charge it cannot be compared: it is not told.
        let fee = if self.currency == source.currency { self.fee } else { 0 };
        let at = instant(self.created);
        let line = |amount| RemoteTransaction { provider_key, order, amount, kind, fee, at };
        Some(Amount::new(source.amount).ok().map(line))
    }
}

pub(super) fn currency(text: &str) -> Option<Currency> {
    text.to_ascii_uppercase().parse().ok()
}

pub(super) const fn instant(seconds: i64) -> Timestamp {
    Timestamp::from_millis(seconds.saturating_mul(1_000))
}

/// What Stripe calls it, as far as it is a word.
fn plain(code: &str) -> String {
    const CODE_CHARS_MAX: usize = 64;
    code.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').take(CODE_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn intent(status: &str, later: &str) -> Value {
        json!({
            "id": "pi_1", "object": "payment_intent", "amount": 1000, "amount_received": 1000,
            "currency": "krw", "status": status, "client_secret": "pi_1_secret_2",
            "metadata": { "order": "order-1", "later": later }, "last_payment_error": null,
            "latest_charge": { "id": "ch_1", "created": 1_795_309_201, "amount_refunded": 0 },
        })
    }

    fn status(status: &str, later: &str) -> ChargeStatus {
        Intent::read(intent(status, later)).unwrap().charge(Vec::new(), Vec::new()).unwrap().status
    }

    #[test]
    fn what_a_payer_has_made_is_open_until_we_take_it_unless_it_is_set_aside() {
        for open in ["requires_payment_method", "requires_action", "processing", "requires_capture"]
        {
            assert_eq!(status(open, "no"), ChargeStatus::Open, "{open}");
        }
        assert_eq!(status("requires_capture", "yes"), ChargeStatus::Authorized);
        assert_eq!(status("succeeded", "no"), ChargeStatus::Captured);
        assert_eq!(status("canceled", "no"), ChargeStatus::Canceled);
    }

    #[test]
    fn an_intent_that_is_not_ours_or_not_whole_is_none() {
        for (key, value) in [
            ("metadata", json!({})),
            ("status", json!("a_status_of_tomorrow")),
            ("id", json!(null)),
            ("amount", json!("1000")),
        ] {
            let mut body = intent("succeeded", "no");
            body[key] = value;
            assert!(Intent::read(body).is_none(), "{key}");
        }
        let mut odd = intent("succeeded", "no");
        odd["currency"] = json!("won!");
        assert!(Intent::read(odd).unwrap().charge(Vec::new(), Vec::new()).is_none());
    }

    #[test]
    fn what_was_received_is_what_was_taken() {
        let mut body = intent("succeeded", "no");
        body["amount_received"] = json!(999);
        let charge = Intent::read(body).unwrap().charge(Vec::new(), Vec::new()).unwrap();
        assert_eq!(charge.amount.minor(), 999);
    }

    #[test]
    fn a_refund_is_under_way_until_it_is_made_or_has_failed() {
        let shown = |status: Value| {
            let refund = json!({ "id": "re_1", "amount": 999, "status": status, "created": 1 });
            let refunds = vec![serde_json::from_value(refund).unwrap()];
            let body = intent("succeeded", "no");
            let charge = Intent::read(body).unwrap().charge(refunds, Vec::new()).unwrap();
            (charge.has_open_cancels, charge.cancels.len())
        };
        for open in [json!("pending"), json!("requires_action"), json!(null), json!("tomorrow")] {
            assert_eq!(shown(open.clone()), (true, 0), "{open}");
        }
        assert_eq!(shown(json!("succeeded")), (false, 1));
        assert_eq!(shown(json!("failed")), (false, 0));
        assert_eq!(shown(json!("canceled")), (false, 0));
    }

    #[test]
    fn a_decline_says_why_in_our_words() {
        let decline = |body: Value| serde_json::from_value::<PaymentError>(body).unwrap().decline();
        let funds =
            decline(json!({ "code": "card_declined", "decline_code": "insufficient_funds" }));
        assert_eq!(funds.code, DeclineCode::InsufficientFunds);
        assert_eq!(
            decline(json!({ "code": "expired_card" })).code,
            DeclineCode::InvalidPaymentMethod
        );
        let odd = decline(json!({ "code": "of 김하나" }));
        assert_eq!((odd.code, odd.provider_code.as_str()), (DeclineCode::CardDeclined, "of"));
    }

    #[test]
    fn a_page_has_what_is_ours_the_oldest_first() {
        let line = |id: &str, kind: &str, order: Value, source: &str| {
            json!({
                "id": id, "type": kind, "fee": 30, "created": 1_795_309_201,
                "source": { "id": source, "amount": 1000, "payment_intent": "pi_1", "metadata": order },
            })
        };
        let ours = json!({ "order": "order-1" });
        let list = json!({ "has_more": true, "data": [
            line("txn_4", "refund", ours.clone(), "re_1"),
            { "id": "txn_3", "type": "payout", "fee": 0, "created": 1_795_309_201, "source": null },
            line("txn_2", "charge", json!({}), "ch_2"),
            line("txn_1", "charge", ours, "ch_1"),
        ] });
        let page = page(serde_json::from_value(list).unwrap()).unwrap();
        let lines: Vec<_> =
            page.items.iter().map(|it| (it.kind, it.provider_key.as_str(), it.fee)).collect();
        assert_eq!(lines, [(RemoteKind::Charge, "pi_1", 30), (RemoteKind::Cancel, "re_1", 30)]);
        assert_eq!(page.next.as_deref(), Some("txn_1"));
    }
}
