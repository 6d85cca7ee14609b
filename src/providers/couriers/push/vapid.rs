//! VAPID: tells push services who sends (RFC 8292).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint as _;
use p256::pkcs8::{DecodePrivateKey as _, EncodePrivateKey as _, LineEnding};
use reqwest::Url;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::super::OpenError;
use crate::domain::time::Timestamp;

/// The secret that holds the key.
pub(super) const SECRET: &str = "vapid";
/// Half of what is allowed, for clocks that are wrong.
const TOKEN_TTL: Duration = Duration::from_hours(12);

/// A key pair, and whom to write to about what is sent with it.
pub(super) struct Vapid {
    key: EncodingKey,
    /// Uncompressed, base64url.
    public: String,
    contact: String,
}

impl Vapid {
    /// `secret` is the private key as the tools for Web Push write it, 32 bytes in base64url, or as PKCS#8 PEM.
    pub(super) fn new(secret: &SecretString, contact: &str) -> Result<Self, OpenError> {
        let unusable = |reason: &str| OpenError::Key { name: SECRET, reason: reason.to_owned() };
        let text = secret.expose_secret();
        let key = if text.contains("-----BEGIN") {
            SecretKey::from_pkcs8_pem(text).ok()
        } else {
            let bytes = URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).unwrap_or_default();
            SecretKey::from_slice(&bytes).ok()
        };
        let key = key.ok_or_else(|| unusable("it is no P-256 key"))?;
        let public = URL_SAFE_NO_PAD.encode(key.public_key().to_encoded_point(false).as_bytes());
        let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|_| unusable("it cannot be written"))?;
        let key = EncodingKey::from_ec_pem(pem.as_bytes());
        let key = key.map_err(|_| unusable("nothing can be signed with it"))?;
        Ok(Self { key, public, contact: contact.to_owned() })
    }

    pub(super) fn public_key(&self) -> &str {
        &self.public
    }

    /// The header `Authorization` for one push service.
    pub(super) fn authorization(&self, endpoint: &Url, now: Timestamp) -> Option<String> {
        let claims = json!({
            // With the port, if it is unusual: the service compares it with its own.
            "aud": endpoint.origin().ascii_serialization(),
            "exp": now.plus(TOKEN_TTL).millis().div_euclid(1_000),
            "sub": self.contact,
        });
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.key).ok()?;
        Some(format!("vapid t={token}, k={}", self.public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_key_is_that_of_the_private_one() {
        // RFC 8291, appendix A: the sender's keys.
        let vapid = Vapid::new(&"yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw".into(), "").unwrap();

        let public = "BP4z9KsN6nGRTbVYI_c7VJSPQTBtkgcy27mlmlMoZIIgDll6e3vCYLocInmYWAmS6TlzAC8wEqKK6PBru3jl7A8";
        assert_eq!(vapid.public_key(), public);
    }

    #[test]
    fn what_is_no_key_is_refused_without_being_shown() {
        for text in ["hunter2", "AAAA", "-----BEGIN hunter2"] {
            let refusal = Vapid::new(&text.into(), "").err().unwrap().to_string();
            assert!(refusal.contains("`vapid`") && !refusal.contains("hunter2"), "{refusal}");
        }
    }
}
