//! SOLAPI, and providers in Korea whose API is shaped like it.
//!
//! `POST /messages/v4/send-many/detail` with one message, signed with HMAC-SHA256 over the date and a salt. An answer of
//! 200 takes nothing over by itself: it lists the messages that were refused.

use std::fmt::Write as _;

use async_trait::async_trait;
use hmac::{Hmac, Mac as _};
use reqwest::Client;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use sha2::Sha256;

use super::super::answers::{
    by_status, json as body_of, misconfigured, not_ours, provider_id, refused, send, unavailable,
    word,
};
use super::super::{Courier, DeliveryError, Receipt};
use super::{Credentials, Length};
use crate::clock;
use crate::config::SmsConfig;
use crate::domain::letters::{Content, Letter, PhoneNumber};
use crate::domain::sms::{KoreanKind, korean_kind};
use crate::domain::time::Timestamp;

const NAME: &str = "solapi";
const WHO: &str = "SOLAPI";
const PATH: &str = "/messages/v4/send-many/detail";
const KOREA: &str = "+82";
/// Errors of the account, not of the message, by name and by number: no credit, a sender that is not registered.
const ACCOUNT_CODES: [&str; 8] = [
    "NotEnoughBalance",
    "InvalidApiKey",
    "InvalidAPIKey",
    "SignatureDoesNotMatch",
    "UnregisteredSenderId",
    "Unauthorized",
    "1030",
    "1062",
];

pub(super) struct Solapi {
    client: Client,
    url: String,
    sender: String,
    credentials: Credentials,
    length: Length,
}

impl Solapi {
    pub(super) fn new(config: &SmsConfig, credentials: Credentials, client: Client) -> Self {
        Self {
            client,
            url: format!("{}{PATH}", config.url()),
            sender: digits(&config.sender),
            credentials,
            length: Length::of(config),
        }
    }

    fn authorization(&self, now: Timestamp) -> Option<HeaderValue> {
        let salt = clock::new_uuid().simple().to_string();
        let Credentials { key, secret } = &self.credentials;
        let text = authorization(key, secret.expose_secret(), &now.to_string(), &salt)?;
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

#[async_trait]
impl Courier for Solapi {
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
        let to = domestic(&content.to)
            .ok_or_else(|| refused("this provider reaches numbers in Korea (+82) only"))?;
        let text = self.length.fit_korean(&content.text)?;
        let kind = match korean_kind(&text) {
            Some(KoreanKind::Sms) => "SMS",
            Some(KoreanKind::Lms) => "LMS",
            None => return Err(refused("the text cannot be sent in Korea")),
        };
        let now = clock::now();
        let authorization = self.authorization(now).ok_or_else(|| {
            misconfigured("nothing can be signed with `sms_key` and `sms_secret`")
        })?;
        let message = json!({
            "to": to,
            "from": self.sender,
            "text": text,
            "type": kind,
            // By this its support finds the letter.
            "customFields": { "id": letter.id },
        });
        let request = self
            .client
            .post(&self.url)
            .header(AUTHORIZATION, authorization)
            .json(&json!({ "messages": [message] }));

        let response = send(WHO, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = body_of(response).await;
        if status.is_success() {
            return receipt(&said);
        }
        let code = said.get("errorCode").and_then(word);
        Err(match code {
            Some(code) if ACCOUNT_CODES.contains(&code.as_str()) => account_refused(&code),
            code => by_status(WHO, status, &headers, code.as_deref(), now),
        })
    }
}

fn receipt(said: &Value) -> Result<Receipt, DeliveryError> {
    let group = said.pointer("/groupInfo/groupId");
    let Some(group) = group.and_then(provider_id) else {
        return Err(unavailable(format!("{WHO} did not say what became of the message")));
    };
    let failed = said.get("failedMessageList").and_then(Value::as_array);
    let Some(failed) = failed.and_then(|list| list.first()) else {
        return Ok(Receipt { provider_id: Some(group) });
    };
    let code = failed.get("statusCode").and_then(word).unwrap_or_else(|| "no code".to_owned());
    if ACCOUNT_CODES.contains(&code.as_str()) {
        return Err(account_refused(&code));
    }
    Err(refused(format!("{WHO} refuses the message: {code}")))
}

fn account_refused(code: &str) -> DeliveryError {
    misconfigured(format!("{WHO} refuses the account or the sender: {code}"))
}

fn authorization(key: &str, secret: &str, date: &str, salt: &str) -> Option<String> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).ok()?;
    mac.update(format!("{date}{salt}").as_bytes());
    let mut text = format!("HMAC-SHA256 apiKey={key}, date={date}, salt={salt}, signature=");
    for byte in mac.finalize().into_bytes() {
        write!(text, "{byte:02x}").ok()?;
    }
    Some(text)
}

/// The number as it is dialled in Korea; `None` for one abroad.
fn domestic(number: &PhoneNumber) -> Option<String> {
    let rest = number.as_str().strip_prefix(KOREA)?;
    Some(format!("0{}", rest.trim_start_matches('0')))
}

fn digits(text: &str) -> String {
    text.chars().filter(char::is_ascii_digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_covers_date_and_salt() {
        // printf '2026-11-21T07:00:00.000Z0123456789abcdef' | openssl dgst -sha256 -hmac hunter2
        let expected = "HMAC-SHA256 apiKey=K, date=2026-11-21T07:00:00.000Z, salt=0123456789abcdef, \
                        signature=ef5db48cba5ddc0528ca2d28cf9f8f8dfb198e55026fc96a9322849f69d6bf7b";

        let text = authorization("K", "hunter2", "2026-11-21T07:00:00.000Z", "0123456789abcdef");

        assert_eq!(text.as_deref(), Some(expected));
    }

    #[test]
    fn a_number_in_korea_is_dialled_as_there() {
        let dialled = |number| domestic(&PhoneNumber::parse(number).unwrap());

        assert_eq!(dialled("+82 10-1234-5678").as_deref(), Some("01012345678"));
        assert_eq!(dialled("+82 010-1234-5678").as_deref(), Some("01012345678"));
        assert_eq!(dialled("+15005550006"), None);
    }

    #[test]
    fn a_list_of_refused_messages_is_a_refusal_although_it_came_with_200() {
        let failed = |code: &str| {
            receipt(&json!({
                "groupInfo": { "groupId": "G1" },
                "failedMessageList": [{ "to": "01012345678", "statusCode": code }],
            }))
        };

        assert!(matches!(failed("1020"), Err(DeliveryError::Refused { .. })));
        assert!(matches!(failed("1062"), Err(DeliveryError::Misconfigured { .. })));
        let taken = receipt(&json!({ "groupInfo": { "groupId": "G1" }, "failedMessageList": [] }));
        assert_eq!(taken.unwrap().provider_id.as_deref(), Some("G1"));
        let lost = receipt(&Value::Null);
        assert!(matches!(lost, Err(DeliveryError::Unavailable { .. })), "{lost:?}");
    }
}
