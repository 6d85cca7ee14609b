//! Opaque tokens: 32 random bytes that mean nothing by themselves. The store keeps only their SHA-256.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRngCore;
use rand::rngs::OsRng;
use secrecy::SecretString;
use sha2::{Digest, Sha256};

use crate::domain::accounts::AccountError;

const TOKEN_BYTES: usize = 32;
/// 32 bytes in base64url without padding.
pub const TOKEN_CHARS: usize = 43;

/// The SHA-256 of a token, by which the store knows it. A plain hash will do: nobody guesses 256 random bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash([u8; 32]);

impl TokenHash {
    /// Hashes a token as it came in; `None` for a text that was never one.
    #[must_use]
    pub fn of(token: &str) -> Option<Self> {
        let is_token = token.len() == TOKEN_CHARS
            && token.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        is_token.then(|| Self(Sha256::digest(token).into()))
    }

    /// The bytes to bind.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Whether it is the hash that was stored, in a time that tells nothing about where they differ.
    #[must_use]
    pub fn matches(&self, stored: &[u8]) -> bool {
        let pairs = self.0.iter().zip(stored);
        stored.len() == self.0.len() && pairs.fold(0, |unlike, (a, b)| unlike | (a ^ b)) == 0
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(…)")
    }
}

/// A token that was just made: the only moment at which it is known in full.
#[derive(Debug)]
pub struct OpaqueToken {
    /// What its holder gets, in base64url.
    pub secret: SecretString,
    /// What the store keeps.
    pub hash: TokenHash,
}

impl OpaqueToken {
    /// Draws a token from the operating system.
    ///
    /// # Errors
    /// [`AccountError::Crypto`] when the system has no randomness to give.
    pub fn generate() -> Result<Self, AccountError> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        OsRng.try_fill_bytes(&mut bytes).map_err(|_| AccountError::Crypto)?;
        let secret = URL_SAFE_NO_PAD.encode(bytes);
        let hash = TokenHash(Sha256::digest(&secret).into());
        Ok(Self { secret: secret.into(), hash })
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_is_found_again_by_its_hash() {
        let token = OpaqueToken::generate().unwrap();

        assert_eq!(token.secret.expose_secret().len(), TOKEN_CHARS);
        assert_eq!(TokenHash::of(token.secret.expose_secret()), Some(token.hash));
        assert_ne!(OpaqueToken::generate().unwrap().hash, token.hash);
    }

    #[test]
    fn a_hash_matches_itself_and_nothing_else() {
        let (hash, mut other) = (OpaqueToken::generate().unwrap().hash, [0; 32]);
        assert!(hash.matches(hash.as_bytes()));
        other.copy_from_slice(hash.as_bytes());
        other[31] ^= 1;
        for stored in [&other[..], &hash.as_bytes()[..31], &[]] {
            assert!(!hash.matches(stored));
        }
    }

    #[test]
    fn a_text_that_is_no_token_has_no_hash() {
        for text in ["", "short", &"é".repeat(22), &"a".repeat(44), &" ".repeat(43)] {
            assert_eq!(TokenHash::of(text), None, "{text:?}");
        }
    }
}
