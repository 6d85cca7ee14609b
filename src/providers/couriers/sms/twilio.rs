//! Twilio, and providers whose API is shaped like it: `POST /2010-04-01/Accounts/{account}/Messages.json`, as a form.
//!
//! There is no idempotency key: where an answer got lost, the next attempt may be a second message.

use async_trait::async_trait;
use reqwest::Client;
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::super::answers::{
    by_status, gone, json, misconfigured, not_ours, provider_id, refused, send, word,
};
use super::super::{Courier, DeliveryError, Receipt};
use super::{Credentials, Length};
use crate::clock;
use crate::config::SmsConfig;
use crate::domain::letters::{Content, Letter};

const NAME: &str = "twilio";
const WHO: &str = "Twilio";
/// A sender that begins so is a messaging service, which picks the number.
const MESSAGING_SERVICE: &str = "MG";

pub(super) struct Twilio {
    client: Client,
    url: String,
    sender: String,
    credentials: Credentials,
    length: Length,
}

impl Twilio {
    pub(super) fn new(config: &SmsConfig, credentials: Credentials, client: Client) -> Self {
        let account = match config.account.as_str() {
            "" => &credentials.key,
            account => account,
        };
        Self {
            client,
            url: format!("{}/2010-04-01/Accounts/{account}/Messages.json", config.url()),
            sender: config.sender.clone(),
            length: Length::of(config),
            credentials,
        }
    }
}

#[async_trait]
impl Courier for Twilio {
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
        let from =
            if self.sender.starts_with(MESSAGING_SERVICE) { "MessagingServiceSid" } else { "From" };
        let form = [("To", content.to.as_str()), (from, &self.sender), ("Body", &text)];
        let Credentials { key, secret } = &self.credentials;
        let request =
            self.client.post(&self.url).basic_auth(key, Some(secret.expose_secret())).form(&form);

        let response = send(WHO, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = json(response).await;
        if status.is_success() {
            return Ok(Receipt {
                provider_id: provider_id(said.get("sid").unwrap_or(&Value::Null)),
            });
        }
        let code = said.get("code").and_then(word);
        let cause = format!("{WHO} answered {}", code.as_deref().unwrap_or("without a code"));
        Err(match code.as_deref() {
            // Whoever was there has said STOP, or the number cannot take messages at all.
            Some("21610" | "21614") => gone(cause),
            // No number; not reachable from here; not allowed there; an empty or too long text.
            Some("21211" | "21408" | "21602" | "21612" | "21617" | "21265" | "60033") => {
                refused(cause)
            }
            // The sender is not ours, or cannot send.
            Some("21212" | "21603" | "21606" | "21659" | "21660" | "21703") => misconfigured(cause),
            // Its queue for our sender is full, or the day's messages are used up.
            Some("14107" | "20429" | "21611" | "30022" | "63038") => {
                let retry_after = super::super::answers::retry_after(&headers, clock::now());
                DeliveryError::Throttled { cause, retry_after }
            }
            code => by_status(WHO, status, &headers, code, clock::now()),
        })
    }
}
