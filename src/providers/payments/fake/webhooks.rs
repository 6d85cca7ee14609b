//! Webhooks of the fake provider: that something became of a charge. Signed or not, as it is told to.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hmac::{Hmac, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::domain::time::Timestamp;
use crate::providers::payments::{
    Charge, ChargeStatus, Dispute, Hint, RawWebhook, WebhookError, WebhookTrust,
};

const AT_HEADER: &str = "fake-at";
const SIGNATURE_HEADER: &str = "fake-signature";
/// Known to everybody: it shows that signatures are looked at, and protects nothing.
const KEY: &[u8] = b"the key of the fake provider";
/// How old or early a signed webhook may be.
const AGE_MAX: Duration = Duration::from_mins(5);
const KIND: &str = "payment_changed";

#[derive(Serialize, Deserialize)]
struct Body {
    kind: String,
    id: String,
    order: String,
    provider_key: String,
    status: ChargeStatus,
}

/// What the provider sends when something became of a charge, or of a dispute of it.
pub(super) fn write(
    charge: &Charge,
    dispute: Option<&Dispute>,
    trust: WebhookTrust,
    now: Timestamp,
) -> RawWebhook {
    let body = Body {
        kind: KIND.to_owned(),
        id: happening(charge, dispute),
        order: charge.order.clone(),
        provider_key: charge.provider_key.clone(),
        status: charge.status,
    };
    // Texts and a status: there is nothing that could not be written.
    let body = Bytes::from(serde_json::to_vec(&body).unwrap_or_default());
    let mut webhook = RawWebhook { headers: Vec::new(), body, received_at: now };
    sign(&mut webhook, trust, now);
    webhook
}

/// Signs it as of now, in place of an earlier signature.
pub(super) fn sign(webhook: &mut RawWebhook, trust: WebhookTrust, now: Timestamp) {
    webhook.headers = match trust {
        WebhookTrust::Signed => signature(now, &webhook.body).into_iter().flatten().collect(),
        WebhookTrust::Unsigned => Vec::new(),
    };
}

/// Which charge a webhook is about.
pub(super) fn read(webhook: &RawWebhook, trust: WebhookTrust) -> Result<Hint, WebhookError> {
    if trust == WebhookTrust::Signed && !is_signed(webhook) {
        return Err(WebhookError::Unsigned);
    }
    let body: Body = serde_json::from_slice(&webhook.body).map_err(|_| WebhookError::Unreadable)?;
    if body.kind != KIND {
        return Err(WebhookError::Unreadable);
    }
    Ok(Hint { dedupe_key: body.id, provider_key: Some(body.provider_key), order: Some(body.order) })
}

/// The same for the same happening: a charge has each status once, and a number of refunds and disputes once.
fn happening(charge: &Charge, dispute: Option<&Dispute>) -> String {
    let Charge { provider_key, status, cancels, disputes, .. } = charge;
    let (cancels, disputes) = (cancels.len(), disputes.len());
    match dispute {
        Some(dispute) => format!("{}-{}", dispute.provider_key, dispute.status.as_str()),
        None if disputes > 0 => format!("{provider_key}-{status:?}-{cancels}-{disputes}"),
        None => format!("{provider_key}-{status:?}-{cancels}"),
    }
}

fn mac(at: &str, body: &[u8]) -> Option<Hmac<Sha256>> {
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY).ok()?;
    mac.update(at.as_bytes());
    mac.update(b".");
    mac.update(body);
    Some(mac)
}

fn signature(now: Timestamp, body: &[u8]) -> Option<[(String, String); 2]> {
    let at = now.millis().to_string();
    let signature = STANDARD.encode(mac(&at, body)?.finalize().into_bytes());
    Some([(AT_HEADER.to_owned(), at), (SIGNATURE_HEADER.to_owned(), signature)])
}

fn is_signed(webhook: &RawWebhook) -> bool {
    let header = |name: &str| {
        let found = webhook.headers.iter().find(|(it, _)| it.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    };
    let Some((at, signature)) = header(AT_HEADER).zip(header(SIGNATURE_HEADER)) else {
        return false;
    };
    let is_fresh = at.parse().map(Timestamp::from_millis).is_ok_and(|at| {
        let now = webhook.received_at;
        now.since(at).max(at.since(now)) <= AGE_MAX
    });
    let Ok(signature) = STANDARD.decode(signature) else { return false };
    is_fresh && mac(at, &webhook.body).is_some_and(|mac| mac.verify_slice(&signature).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::money::{Amount, Currency};

    const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

    fn charge(status: ChargeStatus) -> Charge {
        Charge {
            provider_key: "key".to_owned(),
            order: "order".to_owned(),
            amount: Amount::new(1_000).unwrap(),
            currency: Currency::KRW,
            status,
            method: None,
            decline: None,
            approved_at: None,
            cancels: Vec::new(),
            has_open_cancels: false,
            disputes: Vec::new(),
        }
    }

    #[test]
    fn a_webhook_says_which_charge_and_the_same_for_the_same_happening() {
        for trust in [WebhookTrust::Signed, WebhookTrust::Unsigned] {
            let sent = |status| read(&write(&charge(status), None, trust, NOW), trust).unwrap();
            let captured = sent(ChargeStatus::Captured);
            assert_eq!(captured.provider_key.as_deref(), Some("key"));
            assert_eq!(captured.order.as_deref(), Some("order"));
            assert_eq!(captured, sent(ChargeStatus::Captured));
            assert_ne!(captured.dedupe_key, sent(ChargeStatus::Canceled).dedupe_key);
        }
    }

    #[test]
    fn a_signed_one_that_was_changed_stripped_or_kept_is_not_taken() {
        let good = write(&charge(ChargeStatus::Captured), None, WebhookTrust::Signed, NOW);
        let mut changed = good.clone();
        changed.body =
            Bytes::from(String::from_utf8_lossy(&good.body).replace("order", "other").into_bytes());
        let stripped = RawWebhook { headers: Vec::new(), ..good.clone() };
        let late = NOW.plus(AGE_MAX).plus(Duration::from_millis(1));
        let kept = RawWebhook { received_at: late, ..good.clone() };

        assert!(read(&good, WebhookTrust::Signed).is_ok());
        for forged in [changed, stripped, kept] {
            assert_eq!(read(&forged, WebhookTrust::Signed), Err(WebhookError::Unsigned));
        }
    }

    #[test]
    fn what_is_no_webhook_of_the_provider_is_unreadable() {
        for body in ["", "{}", "[1]", r#"{"kind":"other","id":"1"}"#] {
            let webhook = RawWebhook {
                headers: Vec::new(),
                body: Bytes::from_static(body.as_bytes()),
                received_at: NOW,
            };
            let read = read(&webhook, WebhookTrust::Unsigned);
            assert_eq!(read, Err(WebhookError::Unreadable), "{body}");
        }
    }
}
