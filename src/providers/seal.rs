//! Seal: keeps what has to be used again, such as a signing secret, unreadable where it is stored (AES-256-GCM).
//!
//! Invariant: what was sealed for one thing opens for nothing else, and under no other key.

use std::fmt;

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretSlice, SecretString};
use sha2::{Digest as _, Sha256};

/// The name of the secret that all nodes share.
pub const WEBHOOK_SEAL: &str = "webhook_seal";
/// The same for bank accounts.
pub const BANK_SEAL: &str = "bank_seal";

const NONCE_BYTES: usize = 12;
const KEY_BYTES: usize = 32;
/// As many as `madang secrets generate` writes are enough; what somebody made up is not.
const SECRET_CHARS_MIN: usize = 32;
const MARK_BYTES: usize = 8;

/// Why something cannot be sealed or opened; without a word about what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the key must have at least {SECRET_CHARS_MIN} random characters")]
    WeakKey,
    #[error("the system has no randomness to give")]
    Random,
    /// Another key, another owner, or not whole.
    #[error("what was sealed cannot be opened")]
    Unreadable,
}

/// One key. Cheap enough to keep for ever; it is wiped when it goes.
pub struct Seal {
    cipher: Aes256Gcm,
    digest_key: SecretSlice<u8>,
    mark: String,
}

impl Seal {
    /// Takes the secret as it lies in its file.
    ///
    /// # Errors
    /// [`SealError::WeakKey`].
    pub fn new(secret: &SecretString) -> Result<Self, SealError> {
        let secret = secret.expose_secret();
        if secret.len() < SECRET_CHARS_MIN {
            return Err(SealError::WeakKey);
        }
        let of = |use_of: &str| Sha256::new().chain_update(use_of).chain_update(secret).finalize();
        let mark: String =
            of("madang seal, mark\0").iter().take(MARK_BYTES).map(|b| format!("{b:02x}")).collect();
        let digest_key = SecretSlice::from(of("madang seal, digest\0").to_vec());
        Ok(Self { cipher: Aes256Gcm::new(&of("madang seal, key\0")), digest_key, mark })
    }

    /// What tells a text from another: the same for the same text under the same key, and nobody without the key finds out
    /// the text by trying.
    #[must_use]
    pub fn digest(&self, text: &str) -> String {
        let mac = <Hmac<Sha256> as Mac>::new_from_slice(self.digest_key.expose_secret());
        // Every length of key is one.
        let Ok(mac) = mac.map(|mac| mac.chain_update(text)) else { return String::new() };
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// By which a key is known without being told.
    #[must_use]
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Seals `text` for the one thing that `owner` names.
    ///
    /// # Errors
    /// [`SealError::Random`].
    pub fn seal(&self, text: &SecretString, owner: &[u8]) -> Result<Vec<u8>, SealError> {
        let mut nonce = [0_u8; NONCE_BYTES];
        OsRng.try_fill_bytes(&mut nonce).map_err(|_| SealError::Random)?;
        let payload = Payload { msg: text.expose_secret().as_bytes(), aad: owner };
        let closed = self.cipher.encrypt(&Nonce::from(nonce), payload);
        Ok([nonce.to_vec(), closed.map_err(|_| SealError::Random)?].concat())
    }

    /// Opens what was sealed for `owner`.
    ///
    /// # Errors
    /// [`SealError::Unreadable`].
    pub fn open(&self, sealed: &[u8], owner: &[u8]) -> Result<SecretString, SealError> {
        let (nonce, closed) =
            sealed.split_first_chunk::<NONCE_BYTES>().ok_or(SealError::Unreadable)?;
        let payload = Payload { msg: closed, aad: owner };
        let text = self.cipher.decrypt(&Nonce::from(*nonce), payload);
        let text = text.map_err(|_| SealError::Unreadable)?;
        String::from_utf8(text).map(SecretString::from).map_err(|_| SealError::Unreadable)
    }
}

/// 256 random bits in base64, for somebody to sign with.
///
/// # Errors
/// [`SealError::Random`].
pub fn random_key() -> Result<SecretString, SealError> {
    let mut key = [0_u8; KEY_BYTES];
    OsRng.try_fill_bytes(&mut key).map_err(|_| SealError::Random)?;
    Ok(STANDARD.encode(key).into())
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seal").field("mark", &self.mark).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seal(key: &str) -> Seal {
        Seal::new(&key.repeat(43).into()).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_for_its_owner_under_its_key() {
        let text = SecretString::from("hunter2");
        let sealed = seal("a").seal(&text, b"one").unwrap();

        assert_eq!(seal("a").open(&sealed, b"one").unwrap().expose_secret(), "hunter2");
        assert!(seal("a").open(&sealed, b"other").is_err());
        assert!(seal("b").open(&sealed, b"one").is_err());
        assert_ne!(seal("a").seal(&text, b"one").unwrap(), sealed, "never the same twice");
    }

    #[test]
    fn what_is_not_whole_does_not_open() {
        let sealed = seal("a").seal(&"hunter2".into(), b"").unwrap();
        for length in 0..sealed.len() {
            assert!(seal("a").open(&sealed[..length], b"").is_err(), "{length}");
        }
    }

    #[test]
    fn a_random_key_is_never_the_same() {
        let (one, other) = (random_key().unwrap(), random_key().unwrap());
        assert_ne!(one.expose_secret(), other.expose_secret());
        assert_eq!(STANDARD.decode(one.expose_secret()).unwrap().len(), KEY_BYTES);
    }

    #[test]
    fn a_key_is_known_by_a_mark_that_tells_nothing() {
        let (one, other) = (seal("a"), seal("b"));
        assert_eq!((one.mark(), one.mark().len()), (seal("a").mark(), 16));
        assert_ne!(one.mark(), other.mark());
        assert!(!format!("{one:?}").contains("aaaa"));
        assert_eq!(Seal::new(&"hunter2".into()).unwrap_err(), SealError::WeakKey);
    }

    #[test]
    fn a_digest_is_of_a_text_under_a_key() {
        let one = seal("a").digest("110123456789");
        assert_eq!(one, seal("a").digest("110123456789"));
        assert_eq!(one.len(), 64);
        assert_ne!(one, seal("a").digest("110123456780"));
        assert_ne!(one, seal("b").digest("110123456789"));
    }
}
