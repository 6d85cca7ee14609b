//! Codes: secrets that letters carry, such as the one that confirms an address.
//!
//! A code follows from the id of its letter, under a key that is not in the database. Invariant: no code is stored, not
//! even while its letter waits; whoever attempts the letter makes the code again, the same one each time.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use super::opaque::TokenHash;
use crate::domain::accounts::AccountError;
use crate::domain::ids::DeliveryId;
use crate::secrets::SigningKeys;

const CONTEXT: &[u8] = b"madang letter codes";
const DIGITS: u64 = 1_000_000;

/// Makes codes; the same on every node, because all of them have the same signing keys.
pub struct Codes {
    /// Name and key, the newest last.
    keys: Vec<(String, SecretString)>,
}

/// A code that was made for a letter.
pub struct Code {
    /// The name of its key, which the letter remembers.
    pub key_id: String,
    pub secret: SecretString,
    /// What the store keeps.
    pub hash: TokenHash,
}

impl Codes {
    /// Takes the signing keys, the newest last.
    #[must_use]
    pub fn new(keys: &SigningKeys) -> Self {
        Self { keys: keys.clone() }
    }

    /// Makes the code of a letter that is about to be queued.
    ///
    /// # Errors
    /// [`AccountError::Crypto`] without a key.
    pub fn make(&self, letter: DeliveryId) -> Result<Code, AccountError> {
        let (key_id, key) = self.keys.last().ok_or(AccountError::Crypto)?;
        let secret = token(key, letter)?;
        let hash = TokenHash::of(secret.expose_secret()).ok_or(AccountError::Crypto)?;
        Ok(Code { key_id: key_id.clone(), secret, hash })
    }

    /// The code of a letter that was queued under this key; `None` once the key is gone.
    #[must_use]
    pub fn again(&self, key_id: &str, letter: DeliveryId) -> Option<SecretString> {
        token(self.key(key_id)?, letter).ok()
    }

    /// Six digits for a letter that is typed off a telephone.
    #[must_use]
    pub fn digits(&self, key_id: &str, letter: DeliveryId) -> Option<SecretString> {
        let bytes = mac(self.key(key_id)?, letter).ok()?;
        let number = bytes
            .iter()
            .take(8)
            .fold(0_u64, |number, byte| number.wrapping_shl(8).wrapping_add(u64::from(*byte)));
        Some(SecretString::from(format!("{:06}", number.checked_rem(DIGITS).unwrap_or(0))))
    }

    /// The name of the key that new codes are made with.
    #[must_use]
    pub fn key_id(&self) -> Option<&str> {
        self.keys.last().map(|(id, _)| id.as_str())
    }

    fn key(&self, key_id: &str) -> Option<&SecretString> {
        self.keys.iter().find(|(id, _)| id == key_id).map(|(_, key)| key)
    }
}

/// What the store keeps of a code: good only with what it was made for. A million guesses would find it, and whoever
/// could make them there can read the database, in which a code is worth nothing after ten minutes.
#[must_use]
pub fn hash_of(code: &str, made_for: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in made_for.iter().chain([&code.as_bytes()]) {
        hash.update(part.len().to_be_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

fn token(key: &SecretString, letter: DeliveryId) -> Result<SecretString, AccountError> {
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(mac(key, letter)?)))
}

/// Keyed with a hash of the signing key, so that nothing made here says anything about tokens.
fn mac(key: &SecretString, letter: DeliveryId) -> Result<[u8; 32], AccountError> {
    let own =
        Sha256::new().chain_update(CONTEXT).chain_update(key.expose_secret().trim()).finalize();
    let mac = Hmac::<Sha256>::new_from_slice(&own).map_err(|_| AccountError::Crypto)?;
    Ok(mac.chain_update(letter.uuid().as_bytes()).finalize().into_bytes().into())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn codes(names: &[&str]) -> Codes {
        let keys = names.iter().map(|name| ((*name).to_owned(), SecretString::from(*name)));
        Codes::new(&keys.collect())
    }

    #[test]
    fn a_letter_has_one_code_however_often_it_is_attempted() {
        let letter = Uuid::from_u128(7).into();
        let made = codes(&["old", "new"]).make(letter).unwrap();

        assert_eq!(made.key_id, "new");
        assert_eq!(made.secret.expose_secret().len(), 43);
        // After a rotation, too.
        let later = codes(&["new", "newer"]).again("new", letter).unwrap();
        assert_eq!(later.expose_secret(), made.secret.expose_secret());
        assert!(codes(&["newer"]).again("new", letter).is_none());
    }

    #[test]
    fn two_letters_never_have_the_same_code() {
        let codes = codes(&["key"]);
        let code = |n: u128| {
            codes.make(Uuid::from_u128(n).into()).unwrap().secret.expose_secret().to_owned()
        };

        assert_ne!(code(1), code(2));
    }

    #[test]
    fn digits_are_six() {
        let codes = codes(&["key"]);

        for n in 0..200 {
            let digits = codes.digits("key", Uuid::from_u128(n).into()).unwrap();
            let digits = digits.expose_secret();
            assert!(digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_digit()));
        }
    }

    #[test]
    fn a_hash_is_good_for_one_code_and_one_purpose() {
        let hash = hash_of("123456", &[b"jisoo", b"+821012345678"]);

        assert_eq!(hash, hash_of("123456", &[b"jisoo", b"+821012345678"]));
        assert_ne!(hash, hash_of("123457", &[b"jisoo", b"+821012345678"]));
        assert_ne!(hash, hash_of("123456", &[b"jisoo+", b"821012345678"]));
    }
}
