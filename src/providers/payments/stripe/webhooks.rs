//! Webhooks of Stripe: signed with a secret of the endpoint, over time, dot and body.

use std::time::Duration;

use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use sha2::Sha256;

use crate::domain::time::Timestamp;
use crate::providers::payments::{Hint, RawWebhook, WebhookError};

const SIGNATURE_HEADER: &str = "stripe-signature";
/// How old or early a webhook may be.
const AGE_MAX: Duration = Duration::from_mins(5);
/// Stripe signs with two secrets while one is replaced.
const SIGNATURES_MAX: usize = 8;
const NAME_CHARS_MAX: usize = 255;

#[derive(Deserialize)]
struct Event {
    id: String,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

/// An intent, or what belongs to one: a charge, a refund, a dispute.
#[derive(Deserialize)]
struct Object {
    object: String,
    id: String,
    payment_intent: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Default, Deserialize)]
struct Metadata {
    order: Option<String>,
}

pub(super) fn read(webhook: &RawWebhook, secret: &SecretString) -> Result<Hint, WebhookError> {
    if !is_signed(webhook, secret) {
        return Err(WebhookError::Unsigned);
    }
    let event: Event =
        serde_json::from_slice(&webhook.body).map_err(|_| WebhookError::Unreadable)?;
    let object = event.data.object;
    let intent = match object.object.as_str() {
        "payment_intent" => Some(object.id),
        _ => object.payment_intent,
    };
    let provider_key = intent.ok_or(WebhookError::Unreadable)?;
    let names = [Some(&event.id), Some(&provider_key), object.metadata.order.as_ref()];
    let is_short = |name: &String| (1..=NAME_CHARS_MAX).contains(&name.len());
    if !names.into_iter().flatten().all(is_short) {
        return Err(WebhookError::Unreadable);
    }
    let (dedupe_key, order) = (event.id, object.metadata.order);
    Ok(Hint { dedupe_key, provider_key: Some(provider_key), order })
}

fn is_signed(webhook: &RawWebhook, secret: &SecretString) -> bool {
    let header = webhook.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(SIGNATURE_HEADER));
    let Some((_, header)) = header else { return false };
    let parts = || header.split(',').filter_map(|part| part.trim().split_once('='));
    let Some((_, at)) = parts().find(|(name, _)| *name == "t") else { return false };
    let Ok(seconds) = at.parse::<i64>() else { return false };
    let (at_instant, now) =
        (Timestamp::from_millis(seconds.saturating_mul(1_000)), webhook.received_at);
    if now.since(at_instant).max(at_instant.since(now)) > AGE_MAX {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.expose_secret().as_bytes()) else {
        return false;
    };
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(&webhook.body);
    // `verify_slice` takes as long for a wrong one as for the right one.
    parts()
        .filter(|(name, _)| *name == "v1")
        .take(SIGNATURES_MAX)
        .filter_map(|(_, signature)| bytes_of(signature))
        .any(|signature| mac.clone().verify_slice(&signature).is_ok())
}

/// The bytes that hexadecimal digits stand for.
fn bytes_of(digits: &str) -> Option<Vec<u8>> {
    if !digits.len().is_multiple_of(2) || !digits.bytes().all(|it| it.is_ascii_hexdigit()) {
        return None;
    }
    let pairs = digits.as_bytes().chunks_exact(2);
    pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::{Value, json};

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

    pub(in crate::providers::payments::stripe) fn sign(
        body: &str,
        secret: &str,
        at: Timestamp,
    ) -> String {
        let at = at.millis() / 1_000;
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.{body}").as_bytes());
        format!("t={at},v1={:x}", mac.finalize().into_bytes())
    }

    fn signed(body: &Value, header: impl Fn(&str) -> String) -> Result<Hint, WebhookError> {
        let text = body.to_string();
        let headers = vec![("Stripe-Signature".to_owned(), header(&text))];
        let webhook = RawWebhook { headers, body: text.into_bytes().into(), received_at: NOW };
        read(&webhook, &"whsec_1".into())
    }

    fn event() -> Value {
        json!({ "id": "evt_1", "type": "charge.refunded", "data": { "object": {
            "object": "charge", "id": "ch_1", "payment_intent": "pi_1", "metadata": { "order": "order-1" },
        } } })
    }

    #[test]
    fn a_signed_event_names_its_intent() {
        let hint = signed(&event(), |body| sign(body, "whsec_1", NOW)).unwrap();
        assert_eq!((hint.dedupe_key.as_str(), hint.order.as_deref()), ("evt_1", Some("order-1")));
        assert_eq!(hint.provider_key.as_deref(), Some("pi_1"));
        let itself = json!({ "id": "evt_2", "data": { "object": {
            "object": "payment_intent", "id": "pi_2",
        } } });
        let hint = signed(&itself, |body| sign(body, "whsec_1", NOW)).unwrap();
        assert_eq!((hint.provider_key.as_deref(), hint.order), (Some("pi_2"), None));
    }

    #[test]
    fn while_a_secret_is_replaced_either_signature_will_do() {
        let read = signed(&event(), |body| {
            let old = sign(body, "whsec_0", NOW);
            let new = sign(body, "whsec_1", NOW);
            format!("{old},{},v0=00", new.split_once(',').unwrap().1)
        });
        assert!(read.is_ok());
    }

    #[test]
    fn a_forged_or_old_one_is_not_taken() {
        let late = NOW.minus(AGE_MAX).minus(Duration::from_secs(1));
        let early = NOW.plus(AGE_MAX).plus(Duration::from_secs(1));
        let forgeries: [&dyn Fn(&str) -> String; 9] = [
            &|body| sign(body, "whsec_2", NOW),
            &|body| sign(body, "whsec_1", late),
            &|body| sign(body, "whsec_1", early),
            &|body| sign(body, "whsec_1", NOW).replace("v1=", "v0="),
            &|body| sign(body, "whsec_1", NOW).replace("t=", "t=1"),
            &|body| sign(&format!("{body} "), "whsec_1", NOW),
            &|body| sign(body, "whsec_1", NOW)[..40].to_owned(),
            &|_| "t=,v1=".to_owned(),
            &|_| String::new(),
        ];
        for (n, forged) in forgeries.iter().enumerate() {
            assert_eq!(signed(&event(), forged), Err(WebhookError::Unsigned), "{n}");
        }
        let at_the_edge = NOW.minus(AGE_MAX);
        assert!(signed(&event(), |body| sign(body, "whsec_1", at_the_edge)).is_ok());
    }

    #[test]
    fn an_event_about_something_else_is_unreadable() {
        let other =
            json!({ "id": "evt_1", "data": { "object": { "object": "payout", "id": "po_1" } } });
        for body in [json!({}), other] {
            let read = signed(&body, |body| sign(body, "whsec_1", NOW));
            assert_eq!(read, Err(WebhookError::Unreadable), "{body}");
        }
    }
}
