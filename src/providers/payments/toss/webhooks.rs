//! Webhooks of Toss. They are signed by nobody: all that is read of them is what to ask for.

use serde::Deserialize;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::providers::payments::{Hint, WebhookError};

/// What Toss or we call something is no longer than this.
const NAME_CHARS_MAX: usize = 200;

/// With `eventType` and `data`, or as it is where somebody has paid into a virtual account.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    event_type: String,
    data: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Subject {
    payment_key: Option<String>,
    order_id: Option<String>,
    status: String,
    /// Of the last movement, in one form and in the other.
    #[serde(alias = "lastTransactionKey")]
    transaction_key: Option<String>,
}

pub(super) fn read(body: &[u8]) -> Result<Hint, WebhookError> {
    let body: Value = serde_json::from_slice(body).map_err(|_| WebhookError::Unreadable)?;
    let subject = match serde_json::from_value::<Event>(body.clone()) {
        Ok(event) if is_known(&event.event_type) => event.data,
        Ok(_) => return Err(WebhookError::Unreadable),
        Err(_) => body,
    };
    let subject: Subject = serde_json::from_value(subject).map_err(|_| WebhookError::Unreadable)?;
    subject.hint().ok_or(WebhookError::Unreadable)
}

fn is_known(event_type: &str) -> bool {
    matches!(event_type, "PAYMENT_STATUS_CHANGED" | "DEPOSIT_CALLBACK")
}

impl Subject {
    fn hint(self) -> Option<Hint> {
        let named = [&self.payment_key, &self.order_id];
        let is_short = |name: &String| (1..=NAME_CHARS_MAX).contains(&name.len());
        if !named.into_iter().flatten().all(is_short) || named.iter().all(|name| name.is_none()) {
            return None;
        }
        // The same payment has the same status twice where it was refunded twice in part.
        let happening = [
            self.payment_key.as_deref(),
            self.order_id.as_deref(),
            Some(&self.status),
            self.transaction_key.as_deref(),
        ];
        let happening = serde_json::to_vec(&happening).ok()?;
        let dedupe_key = format!("{:x}", Sha256::digest(happening));
        Some(Hint { dedupe_key, provider_key: self.payment_key, order: self.order_id })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn changed(status: &str, transaction: &str) -> Value {
        json!({
            "eventType": "PAYMENT_STATUS_CHANGED",
            "createdAt": "2026-11-22T10:00:00.000000",
            "data": {
                "paymentKey": "key-1", "orderId": "order-1", "status": status,
                "lastTransactionKey": transaction, "totalAmount": 1000,
            },
        })
    }

    fn hint(body: &Value) -> Hint {
        read(body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn a_changed_payment_is_named_and_told_apart_from_its_next_change() {
        let first = hint(&changed("PARTIAL_CANCELED", "tx-1"));
        assert_eq!(first.provider_key.as_deref(), Some("key-1"));
        assert_eq!(first.order.as_deref(), Some("order-1"));
        let mut again = changed("PARTIAL_CANCELED", "tx-1");
        again["createdAt"] = json!("2026-11-22T10:01:00.000000");
        assert_eq!(hint(&again), first, "it is sent again");
        for other in [changed("PARTIAL_CANCELED", "tx-2"), changed("CANCELED", "tx-1")] {
            assert_ne!(hint(&other).dedupe_key, first.dedupe_key);
        }
    }

    #[test]
    fn a_deposit_comes_without_an_envelope_and_names_the_order() {
        let deposit = json!({
            "createdAt": "2026-11-22T10:00:00.000000", "secret": "ps_1", "orderId": "order-1",
            "status": "DONE", "transactionKey": "tx-1",
        });
        let read = hint(&deposit);
        assert_eq!((read.order.as_deref(), read.provider_key), (Some("order-1"), None));
        let enveloped = json!({ "eventType": "DEPOSIT_CALLBACK", "data": deposit });
        assert_eq!(hint(&enveloped).dedupe_key, read.dedupe_key);
    }

    #[test]
    fn what_names_nothing_or_is_about_something_else_is_unreadable() {
        for body in [
            json!({ "status": "DONE" }),
            json!({ "orderId": "", "status": "DONE" }),
            json!({ "orderId": "x".repeat(201), "status": "DONE" }),
            json!({ "orderId": "order-1" }),
            json!({ "eventType": "METHOD_UPDATED", "data": { "orderId": "a", "status": "b" } }),
        ] {
            let read = read(body.to_string().as_bytes());
            assert_eq!(read, Err(WebhookError::Unreadable), "{body}");
        }
    }
}
