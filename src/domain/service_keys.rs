//! Service keys: with what another server calls, and what it may do then.
//!
//! Invariant: nothing here prints a key; whoever holds one is known by its id and name.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

use super::ids::ServiceKeyId;
use super::stored_as;

const PREFIX: &str = "md_";
const ID_CHARS: usize = 32;
const NAME_CHARS_MAX: usize = 64;
const DAY: Duration = Duration::from_hours(24);

/// How long a key lives unless its maker says otherwise.
pub const DAYS_DEFAULT: u32 = 365;
/// How long a key may live: by then somebody has to have looked at it again.
pub const DAYS_MAX: u32 = 730;
/// Keys that are alive at the same time.
pub const KEYS_MAX: i64 = 1_000;

/// What a key may be refused for, or its holder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServiceKeyError {
    #[error(
        "A service's name has 1 to {NAME_CHARS_MAX} small letters, digits, `.`, `_` or `-`, and begins with a letter or digit."
    )]
    InvalidName,
    #[error("A key needs at least one scope.")]
    NoScope,
    #[error("There is no such scope.")]
    UnknownScope,
    #[error("A key lives 1 to {DAYS_MAX} days.")]
    InvalidLifetime,
    #[error("There are {KEYS_MAX} keys; revoke one that is not used.")]
    TooMany,
    #[error("There is no such key.")]
    NotFound,
    /// Unknown, expired, revoked, of another name: which of these is not told.
    #[error("The service key is not valid, or is not the named service's.")]
    Invalid,
    #[error("The service key has no scope for this.")]
    ScopeMissing,
}

/// Something a key may be good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
pub enum Scope {
    /// Sending notifications to users.
    #[serde(rename = "notifications:send")]
    NotificationsSend,
    /// Registering what is to be paid for.
    #[serde(rename = "payments:orders")]
    PaymentsOrders,
    /// Everything about webhook endpoints.
    #[serde(rename = "webhooks:manage")]
    WebhooksManage,
}
stored_as!(Scope {
    NotificationsSend = "notifications:send",
    PaymentsOrders = "payments:orders",
    WebhooksManage = "webhooks:manage"
});

/// What a key is good for; never nothing, unless it was stored by another release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = Vec<Scope>)]
pub struct Scopes(BTreeSet<Scope>);

impl Scopes {
    /// Takes at least one; repeats are dropped.
    ///
    /// # Errors
    /// [`ServiceKeyError::NoScope`].
    pub fn new(scopes: impl IntoIterator<Item = Scope>) -> Result<Self, ServiceKeyError> {
        let scopes: BTreeSet<Scope> = scopes.into_iter().collect();
        if scopes.is_empty() { Err(ServiceKeyError::NoScope) } else { Ok(Self(scopes)) }
    }

    /// Takes them as words.
    ///
    /// # Errors
    /// [`ServiceKeyError::UnknownScope`], [`ServiceKeyError::NoScope`].
    pub fn parse<T: AsRef<str>>(words: &[T]) -> Result<Self, ServiceKeyError> {
        let scopes = words
            .iter()
            .map(|word| Scope::parse(word.as_ref()).ok_or(ServiceKeyError::UnknownScope));
        Self::new(scopes.collect::<Result<Vec<_>, _>>()?)
    }

    /// Reads the stored form. A word that this release does not know grants nothing.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(text.split(' ').filter_map(Scope::parse).collect())
    }

    /// The stored form: words with a space between them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let words: Vec<&str> = self.0.iter().map(|scope| scope.as_str()).collect();
        words.join(" ")
    }

    #[must_use]
    pub fn contains(&self, scope: Scope) -> bool {
        self.0.contains(&scope)
    }
}

/// What a service is called: in `X-Service-Name` and in logs. Several keys may be of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceName(String);

impl ServiceName {
    /// Takes 1 to 64 small letters, digits, `.`, `_` and `-`.
    ///
    /// # Errors
    /// [`ServiceKeyError::InvalidName`].
    pub fn parse(text: &str) -> Result<Self, ServiceKeyError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let begins_well = text.bytes().next().is_some_and(plain);
        let is_sound = text.bytes().all(|byte| plain(byte) || matches!(byte, b'.' | b'_' | b'-'));
        if begins_well && is_sound && text.len() <= NAME_CHARS_MAX {
            Ok(Self(text.to_owned()))
        } else {
            Err(ServiceKeyError::InvalidName)
        }
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// How long a key of so many days lives.
///
/// # Errors
/// [`ServiceKeyError::InvalidLifetime`] for none, or more than [`DAYS_MAX`].
pub fn lifetime(days: u32) -> Result<Duration, ServiceKeyError> {
    if (1..=DAYS_MAX).contains(&days) {
        Ok(DAY.saturating_mul(days))
    } else {
        Err(ServiceKeyError::InvalidLifetime)
    }
}

/// A key as its holder has it: `md_`, the id as 32 hexadecimal digits, `_`, the secret.
#[derive(Debug, Clone)]
pub struct KeyText {
    pub id: ServiceKeyId,
    pub secret: SecretString,
}

impl KeyText {
    /// Reads what came in; `None` for what was never a key. Whether the secret is one is for its hash to say.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (id, secret) = text.strip_prefix(PREFIX)?.split_once('_')?;
        let is_hex = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'a'..=b'f');
        let is_id = id.len() == ID_CHARS && id.bytes().all(is_hex);
        let id = Uuid::try_parse(id).ok().filter(|_| is_id)?;
        Some(Self { id: id.into(), secret: secret.into() })
    }

    /// The text that its holder is given.
    #[must_use]
    pub fn reveal(&self) -> SecretString {
        let id = self.id.uuid().simple();
        format!("{PREFIX}{id}_{}", self.secret.expose_secret()).into()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0193a7c27c3b70008000000000000001";

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(id: u128, secret in "[A-Za-z0-9_-]{43}") {
            let key = KeyText { id: Uuid::from_u128(id).into(), secret: secret.clone().into() };
            let text = key.reveal();

            let read = KeyText::parse(text.expose_secret()).unwrap();

            prop_assert_eq!((read.id, read.secret.expose_secret()), (key.id, secret.as_str()));
        }

        #[test]
        fn whatever_is_read_is_written_back_the_same(text in "(md_)?[0-9a-gA-F_-]{0,40}.{0,60}") {
            if let Some(key) = KeyText::parse(&text) {
                let written = key.reveal();
                prop_assert_eq!(written.expose_secret(), text.as_str());
            }
        }
    }

    #[test]
    fn a_text_that_was_never_a_key_is_none() {
        let upper = format!("md_{}_a", ID.to_uppercase());
        let dashed = "md_0193a7c2-7c3b-7000-8000-000000000001_a";
        for text in ["", "md_", "md__", &format!("md_{ID}"), &format!("{ID}_a"), &upper, dashed] {
            assert!(KeyText::parse(text).is_none(), "{text}");
        }
        assert!(KeyText::parse(&format!("md_{ID}_a_b")).is_some());
    }

    #[test]
    fn a_printed_key_shows_nothing_of_its_secret() {
        let key = KeyText::parse(&format!("md_{ID}_hunter2")).unwrap();
        assert!(!format!("{key:?}").contains("hunter2"));
    }

    #[test]
    fn scopes_are_a_set_of_words_that_are_known() {
        let both = Scopes::parse(&["webhooks:manage", "notifications:send", "webhooks:manage"]);
        let both = both.unwrap();
        assert_eq!(both.to_text(), "notifications:send webhooks:manage");
        assert_eq!(Scopes::from_text(&both.to_text()), both);
        assert!(!Scopes::from_text("users:everything ").contains(Scope::WebhooksManage));
        assert_eq!(Scopes::parse::<&str>(&[]), Err(ServiceKeyError::NoScope));
        assert_eq!(Scopes::parse(&["webhooks"]), Err(ServiceKeyError::UnknownScope));
    }

    #[test]
    fn a_scope_has_one_word_in_the_store_and_in_json() {
        for scope in [Scope::NotificationsSend, Scope::WebhooksManage] {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
    }

    #[test]
    fn a_name_is_plain_and_a_life_has_an_end() {
        assert!(ServiceName::parse("billing-2.eu_west").is_ok());
        for name in ["", "Billing", "-billing", "a b", "청구", &"a".repeat(65)] {
            assert_eq!(ServiceName::parse(name), Err(ServiceKeyError::InvalidName), "{name}");
        }
        assert_eq!(lifetime(2), Ok(Duration::from_hours(48)));
        assert!(lifetime(0).is_err() && lifetime(DAYS_MAX + 1).is_err());
    }
}
