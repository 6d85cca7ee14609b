//! Signatures of webhooks, as Standard Webhooks 1.0 says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use secrecy::{ExposeSecret as _, SecretString};
use sha2::Sha256;

use super::time::Timestamp;

/// How keys begin when they are shown to people; the rest is base64.
pub const KEY_PREFIX: &str = "whsec_";
/// Fewer could be guessed (Standard Webhooks asks for 24 to 64).
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;

/// The bytes of a key: `whsec_` and base64, or the base64 alone. `None` when it is none, too short or too long.
#[must_use]
pub fn key_bytes(key: &SecretString) -> Option<Vec<u8>> {
    let key = key.expose_secret();
    let bytes = STANDARD.decode(key.strip_prefix(KEY_PREFIX).unwrap_or(key)).ok()?;
    (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len()).then_some(bytes)
}

/// The time as receivers compare it with their clock: `webhook-timestamp`, in seconds.
#[must_use]
pub fn timestamp(at: Timestamp) -> i64 {
    at.millis().div_euclid(1_000)
}

/// The header `webhook-signature`: one signature for each key, in their order. `None` when there is no key, or one that
/// cannot be used.
#[must_use]
pub fn sign(id: &str, at: Timestamp, body: &str, keys: &[SecretString]) -> Option<String> {
    let content = format!("{id}.{}.{body}", timestamp(at));
    let signatures: Option<Vec<String>> = keys
        .iter()
        .map(|key| {
            let mut mac = Hmac::<Sha256>::new_from_slice(&key_bytes(key)?).ok()?;
            mac.update(content.as_bytes());
            Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
        })
        .collect();
    signatures.filter(|list| !list.is_empty()).map(|list| list.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const AT: Timestamp = Timestamp::from_millis(1_614_265_330_000);
    const BODY: &str = r#"{"test": 2432232314}"#;

    fn keys(keys: &[&str]) -> Vec<SecretString> {
        keys.iter().map(|key| SecretString::from(*key)).collect()
    }

    #[test]
    fn the_test_vector_of_the_specification_is_signed_as_there() {
        let signature = sign(ID, AT, BODY, &keys(&["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]));

        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signature.as_deref(), Some(expected));
        let bare = sign(ID, AT, BODY, &keys(&["MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]));
        assert_eq!(bare.as_deref(), Some(expected));
    }

    #[test]
    fn each_key_signs_in_its_order() {
        let (newer, older) =
            ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD");
        let one = |key| sign(ID, AT, BODY, &keys(&[key])).unwrap();

        let both = sign(ID, AT, BODY, &keys(&[newer, older])).unwrap();

        assert_eq!(both, format!("{} {}", one(newer), one(older)));
    }

    #[test]
    fn nothing_is_sent_with_a_key_that_is_none() {
        for key in ["", "whsec_", "whsec_not base64", "whsec_c2hvcnQ="] {
            assert_eq!(sign(ID, AT, BODY, &keys(&[key])), None, "{key}");
        }
        assert_eq!(sign(ID, AT, BODY, &[]), None);
    }
}
