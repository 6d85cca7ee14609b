//! Signed JSON: text messages for an operator's own gateway.
//!
//! `POST base_url` with `{"id", "to", "from", "text"}`, the time in seconds, and the HMAC-SHA256 over time, dot and body in
//! hexadecimal digits. `Idempotency-Key` is the letter's id, the same at each attempt.

use async_trait::async_trait;
use hmac::{Hmac, Mac as _};
use reqwest::Client;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;

use super::super::answers::{
    by_status, gone, json as body_of, misconfigured, not_ours, provider_id, refused, send, word,
};
use super::super::{Courier, DeliveryError, OpenError, Receipt};
use super::{Credentials, Length};
use crate::clock;
use crate::config::SmsConfig;
use crate::domain::letters::{Content, Letter};

const NAME: &str = "sms_http";
const WHO: &str = "the SMS gateway";
/// Codes in an error's body that say more than its status.
const INVALID_NUMBER: &str = "invalid_number";
const NUMBER_GONE: &str = "number_gone";

pub(super) struct SignedJson {
    client: Client,
    url: String,
    sender: String,
    credentials: Credentials,
    length: Length,
    key_header: HeaderName,
    timestamp_header: HeaderName,
    signature_header: HeaderName,
}

impl SignedJson {
    pub(super) fn new(
        config: &SmsConfig,
        credentials: Credentials,
        client: Client,
    ) -> Result<Self, OpenError> {
        let header = |key: &'static str, name: &str| {
            let reason = || "it is no name of a header".to_owned();
            name.parse().map_err(|_| OpenError::Setting { key, reason: reason() })
        };
        Ok(Self {
            client,
            url: config.url().to_owned(),
            sender: config.sender.clone(),
            credentials,
            length: Length::of(config),
            key_header: header("sms.key_header", &config.key_header)?,
            timestamp_header: header("sms.timestamp_header", &config.timestamp_header)?,
            signature_header: header("sms.signature_header", &config.signature_header)?,
        })
    }
}

#[async_trait]
impl Courier for SignedJson {
    fn name(&self) -> &'static str {
        NAME
    }

    fn route(&self, _: &Letter) -> String {
        NAME.to_owned()
    }

    async fn deliver(&self, letter: &Letter) -> Result<Receipt, DeliveryError> {
        let Content::Sms(content) = &letter.content else {
            return Err(not_ours());
        };
        let text = self.length.fit(&content.text)?;
        let body = json!({
            "id": letter.id,
            "to": content.to.as_str(),
            "from": self.sender,
            "text": text,
        })
        .to_string();
        let now = clock::now();
        let timestamp = now.millis().div_euclid(1_000).to_string();
        let secret = self.credentials.secret.expose_secret();
        let signature = signature(secret, &timestamp, &body)
            .ok_or_else(|| misconfigured("nothing can be signed with `sms_secret`"))?;
        let mut key = HeaderValue::from_str(&self.credentials.key)
            .map_err(|_| misconfigured("`sms_key` cannot stand in a header"))?;
        key.set_sensitive(true);
        let request = self
            .client
            .post(&self.url)
            .header(CONTENT_TYPE, "application/json")
            .header("Idempotency-Key", letter.id.to_string())
            .header(&self.key_header, key)
            .header(&self.timestamp_header, timestamp)
            .header(&self.signature_header, signature)
            .body(body);

        let response = send(WHO, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = body_of(response).await;
        if status.is_success() {
            return Ok(Receipt {
                provider_id: provider_id(said.get("id").unwrap_or(&Value::Null)),
            });
        }
        let code = said.get("code").and_then(word);
        Err(match code.as_deref() {
            Some(INVALID_NUMBER) => refused(format!("{WHO} says that this is no number")),
            Some(NUMBER_GONE) => gone(format!("{WHO} says that the number is no more")),
            code => by_status(WHO, status, &headers, code, now),
        })
    }
}

fn signature(secret: &str, timestamp: &str, body: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{timestamp}.{body}").as_bytes());
    Some(mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_covers_time_and_body() {
        // printf '1795244400.{"a":1}' | openssl dgst -sha256 -hmac hunter2
        let expected = "e96ddc5b07b7b2dfbd4bc2d61eeefe4417e2e7f08ca5dc679b2b9b23bb465d92";

        assert_eq!(signature("hunter2", "1795244400", r#"{"a":1}"#).as_deref(), Some(expected));
        assert_ne!(signature("hunter2", "1795244401", r#"{"a":1}"#).as_deref(), Some(expected));
        assert_ne!(signature("hunter2", "1795244400", r#"{"a":2}"#).as_deref(), Some(expected));
    }
}
