//! Links that end mails of one kind without a login (RFC 8058): who and what, signed with a key that opens nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::Key;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use uuid::Uuid;

use super::ids::UserId;
use super::preferences::Scope;

pub const KEY_BYTES: usize = 32;
const USER_BYTES: usize = 16;
const MAC_BYTES: usize = 32;
/// A user, a kind of 64 characters and a signature, in base64.
const TOKEN_CHARS_MAX: usize = 150;

/// What a link asks for. It is not believed until [`UnsubscribeToken::is_signed_with`] says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubscribeToken {
    pub user: UserId,
    pub scope: Scope,
    signature: [u8; MAC_BYTES],
}

impl UnsubscribeToken {
    /// Signs a wish of `user` to get no more mails of `scope`.
    #[must_use]
    pub fn new(user: UserId, scope: Scope, key: &[u8; KEY_BYTES]) -> Self {
        let signature = mac(user, &scope, key).finalize().into_bytes().into();
        Self { user, scope, signature }
    }

    /// Reads a token; `None` for what was never one.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TOKEN_CHARS_MAX {
            return None;
        }
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (user, rest) = bytes.split_first_chunk::<USER_BYTES>()?;
        let (scope, signature) = rest.split_last_chunk::<MAC_BYTES>()?;
        let scope = Scope::parse(std::str::from_utf8(scope).ok()?).ok()?;
        Some(Self { user: Uuid::from_bytes(*user).into(), scope, signature: *signature })
    }

    /// The text that goes into the link.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = self.user.uuid().as_bytes().to_vec();
        bytes.extend_from_slice(self.scope.as_str().as_bytes());
        bytes.extend_from_slice(&self.signature);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether the user's own key has signed it; takes as long for a wrong signature as for the right one.
    #[must_use]
    pub fn is_signed_with(&self, key: &[u8; KEY_BYTES]) -> bool {
        mac(self.user, &self.scope, key).verify_slice(&self.signature).is_ok()
    }
}

/// Where one POST does it, and where a GET asks. `base_url` has no slash at the end.
#[must_use]
pub fn unsubscribe_url(base_url: &str, token: &UnsubscribeToken) -> String {
    format!("{base_url}/v1/notifications/unsubscribe?token={}", token.to_text())
}

fn mac(user: UserId, scope: &Scope, key: &[u8; KEY_BYTES]) -> Hmac<Sha256> {
    // HMAC fills a key that is shorter than its block with zeros (RFC 2104).
    let mut block = Key::<Hmac<Sha256>>::default();
    for (to, from) in block.iter_mut().zip(key) {
        *to = *from;
    }
    // The user is of fixed length, so that no two pairs are signed alike.
    Hmac::<Sha256>::new(&block).chain_update(user.uuid().as_bytes()).chain_update(scope.as_str())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: [u8; KEY_BYTES] = [7; KEY_BYTES];

    fn user() -> UserId {
        Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_0000_0001).into()
    }

    #[test]
    fn a_token_is_read_back_and_believed() {
        for kind in ["message_received", "*", &"k".repeat(64)] {
            let made = UnsubscribeToken::new(user(), Scope::parse(kind).unwrap(), &KEY);
            let read = UnsubscribeToken::parse(&made.to_text()).unwrap();

            assert_eq!(read, made);
            assert!(read.is_signed_with(&KEY));
            assert!(!read.is_signed_with(&[8; KEY_BYTES]));
        }
    }

    #[test]
    fn a_token_for_another_user_or_kind_is_not_believed() {
        let made = UnsubscribeToken::new(user(), Scope::parse("welcome").unwrap(), &KEY);
        let other_user = UnsubscribeToken { user: Uuid::nil().into(), ..made.clone() };
        let other_kind = UnsubscribeToken { scope: Scope::Every, ..made };

        assert!(!other_user.is_signed_with(&KEY) && !other_kind.is_signed_with(&KEY));
    }

    #[test]
    fn what_was_never_a_token_is_none() {
        for text in ["", "abc", "!", &"A".repeat(64), &"A".repeat(151), &"A".repeat(100_000)] {
            assert_eq!(UnsubscribeToken::parse(text), None, "{}", text.len());
        }
    }

    #[test]
    fn a_link_leads_to_the_endpoint() {
        let made = UnsubscribeToken::new(user(), Scope::Every, &KEY);
        let url = unsubscribe_url("https://chat.example", &made);
        assert!(url.starts_with("https://chat.example/v1/notifications/unsubscribe?token="));
    }

    proptest! {
        #[test]
        fn a_token_that_was_changed_anywhere_is_not_believed(place in 0_usize..86, letter in "[A-Za-z0-9_-]") {
            let text = UnsubscribeToken::new(user(), Scope::parse("message_received").unwrap(), &KEY).to_text();
            let mut forged = text.clone();
            forged.replace_range(place..=place, &letter);
            if let Some(read) = UnsubscribeToken::parse(&forged) {
                prop_assert_eq!(read.is_signed_with(&KEY), forged == text);
            }
        }
    }
}
