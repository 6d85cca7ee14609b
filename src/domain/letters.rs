//! Letters: what goes out to one address, composed and ready for a courier.
//!
//! Invariant: nothing here prints an address, a text or a secret; logs know a letter by its id, kind and medium.

use std::fmt;
use std::time::Duration;

use secrecy::SecretString;
use serde_json::Value;

use super::accounts::EmailAddress;
use super::ids::DeliveryId;
use super::media::Medium;
use super::time::Timestamp;

/// One message to one address. Every attempt to deliver it carries the same id.
#[derive(Clone)]
pub struct Letter {
    pub id: DeliveryId,
    /// What it is about, such as `friend_request_received`.
    pub kind: String,
    pub content: Content,
}

/// What it says, in the form of its medium.
#[derive(Clone)]
pub enum Content {
    Mail(MailContent),
    Sms(SmsContent),
    Push(PushContent),
    Webhook(WebhookContent),
}

/// An e-mail. The sender is the courier's to know.
#[derive(Clone)]
pub struct MailContent {
    pub to: EmailAddress,
    pub subject: String,
    pub text: String,
    /// The same, as HTML; every value in it is escaped already.
    pub html: Option<String>,
    /// Where one POST ends mails of this kind (RFC 8058); `None` for those that cannot be ended.
    pub unsubscribe_url: Option<String>,
}

/// A text message.
#[derive(Clone)]
pub struct SmsContent {
    pub to: PhoneNumber,
    pub text: String,
}

/// A message for one device.
#[derive(Clone)]
pub struct PushContent {
    pub target: PushTarget,
    pub title: String,
    pub body: String,
    /// A JSON object for the app.
    pub data: Value,
    /// A later message with the same key takes the place of an earlier one that was not shown yet.
    pub collapse_key: Option<String>,
    /// How long it is of use.
    pub ttl: Duration,
    pub is_urgent: bool,
}

/// How to reach a device.
#[derive(Clone)]
pub enum PushTarget {
    /// A browser's subscription (RFC 8030, RFC 8291). `p256dh` and `auth` are base64url without padding.
    WebPush { endpoint: String, p256dh: String, auth: SecretString },
    /// An app's registration with Firebase Cloud Messaging.
    Fcm { token: SecretString },
}

/// A domain event for another system, signed as Standard Webhooks 1.0 says.
#[derive(Clone)]
pub struct WebhookContent {
    pub url: String,
    /// Keys as their holders have them (`whsec_` and base64), the newest first: the message is signed with each, so that
    /// one can be replaced without a gap.
    pub keys: Vec<SecretString>,
    /// When this attempt is made: what receivers compare with their clock.
    pub at: Timestamp,
    /// The body, byte for byte as it is signed.
    pub body: String,
}

/// A telephone number in international form (E.164), such as `+821012345678`.
#[derive(Clone, PartialEq, Eq)]
pub struct PhoneNumber(String);

impl PhoneNumber {
    /// Takes `+` and 8 to 15 digits, the first not 0; spaces, dots and hyphens between them are dropped.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let number: String =
            text.trim().chars().filter(|c| !matches!(c, ' ' | '-' | '.' | '(' | ')')).collect();
        let digits = number.strip_prefix('+')?;
        let fits = (8..=15).contains(&digits.len()) && !digits.starts_with('0');
        (fits && digits.bytes().all(|digit| digit.is_ascii_digit())).then_some(Self(number))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PhoneNumber")
    }
}

impl Letter {
    #[must_use]
    pub const fn medium(&self) -> Medium {
        match self.content {
            Content::Mail(_) => Medium::Mail,
            Content::Sms(_) => Medium::Sms,
            Content::Push(_) => Medium::Push,
            Content::Webhook(_) => Medium::Webhook,
        }
    }
}

impl fmt::Debug for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Letter")
            .field("id", &self.id)
            .field("kind", &self.kind)
            .field("medium", &self.medium())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_number_is_international_or_none() {
        let parsed = |text| PhoneNumber::parse(text).map(|number| number.as_str().to_owned());

        assert_eq!(parsed(" +82 10-1234-5678 ").as_deref(), Some("+821012345678"));
        for text in ["010-1234-5678", "+0101234567", "+82", "+8210123456789012", "+8210x2345678"] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_letter_in_a_log_names_nobody() {
        let content = SmsContent {
            to: PhoneNumber::parse("+821012345678").unwrap(),
            text: "code 123456".to_owned(),
        };
        let letter = Letter {
            id: Uuid::from_u128(1).into(),
            kind: "verify_phone".to_owned(),
            content: Content::Sms(content),
        };
        let debug = format!("{letter:?}");

        assert!(debug.contains("verify_phone") && debug.contains("Sms"), "{debug}");
        assert!(!debug.contains("8210") && !debug.contains("123456"), "{debug}");
    }
}
