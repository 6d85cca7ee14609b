//! Web Push: encrypts a message for one browser and gives it to that browser's push service (RFC 8030, RFC 8291).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::PublicKey;
use reqwest::StatusCode;
use reqwest::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use secrecy::{ExposeSecret as _, SecretString};
use web_push_native::{Auth, encrypt};

use super::super::answers::{
    gone, misconfigured, refused, retry_after, send, unavailable, unusable,
};
use super::super::outward::{finish, guard::Guard};
use super::super::{DeliveryError, Receipt};
use super::{payload, vapid::Vapid};
use crate::clock;
use crate::domain::letters::{Letter, PushContent};
use crate::domain::pushes::{Shown, topic};

const WHO: &str = "the push service";
/// The one record that a message is (RFC 8291, 4).
const RECORD_BYTES: u32 = 4_096;
/// What is left of a record of 4,096 bytes after its header (86), the authentication tag (16) and the end of padding (1).
const PLAINTEXT_BYTES_MAX: usize = 3_993;
/// Where the header of the encrypted message says how large records are (RFC 8188, 2.1).
const RECORD_SIZE_AT: std::ops::Range<usize> = 16..20;
const AUTH_BYTES: usize = 16;
/// Push services keep nothing for longer.
const TTL_MAX: Duration = Duration::from_hours(28 * 24);

/// Sends to browsers.
pub(super) struct WebPush {
    vapid: Vapid,
    guard: Guard,
}

/// Whether `p256dh` and `auth` of a browser's subscription are keys that a message can be encrypted with.
#[must_use]
pub fn is_subscription_key(p256dh: &str, auth: &str) -> bool {
    Keys::parse(p256dh, auth).is_some()
}

/// What a browser gave to be written to.
struct Keys {
    public: PublicKey,
    auth: Auth,
}

impl Keys {
    fn parse(p256dh: &str, auth: &str) -> Option<Self> {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok();
        let auth: [u8; AUTH_BYTES] = decode(auth)?.try_into().ok()?;
        let public = PublicKey::from_sec1_bytes(&decode(p256dh)?).ok()?;
        Some(Self { public, auth: auth.into() })
    }

    fn encrypt(&self, plaintext: String) -> Option<Vec<u8>> {
        let mut message = encrypt(plaintext.into_bytes(), &self.public, &self.auth).ok()?;
        // The library says that records are exactly as large as this one; RFC 8291 asks for more than that.
        message.get_mut(RECORD_SIZE_AT)?.copy_from_slice(&RECORD_BYTES.to_be_bytes());
        Some(message)
    }
}

impl WebPush {
    pub(super) const fn new(vapid: Vapid, guard: Guard) -> Self {
        Self { vapid, guard }
    }

    pub(super) fn public_key(&self) -> &str {
        self.vapid.public_key()
    }

    pub(super) async fn deliver(
        &self,
        letter: &Letter,
        push: &PushContent,
        (endpoint, p256dh, auth): (&str, &str, &SecretString),
    ) -> Result<Receipt, DeliveryError> {
        let url = self.guard.check(endpoint).map_err(|error| unusable(WHO, error))?;
        let keys = Keys::parse(p256dh, auth.expose_secret())
            .ok_or_else(|| refused("the subscription's keys are none"))?;
        let shown = Shown::new(&push.title, &push.body, &push.data)
            .fit(PLAINTEXT_BYTES_MAX, |shown| payload(letter, shown).to_string().len())
            .ok_or_else(|| refused("the message is too large"))?;
        let body = keys
            .encrypt(payload(letter, &shown).to_string())
            .ok_or_else(|| refused("the message cannot be encrypted"))?;
        let now = clock::now();
        let authorization = self
            .vapid
            .authorization(&url, now)
            .ok_or_else(|| misconfigured("nothing can be signed with the secret `vapid`"))?;

        let request = self.guard.post(endpoint).map_err(|error| unusable(WHO, error))?;
        let mut request = request
            .header(AUTHORIZATION, authorization)
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_ENCODING, "aes128gcm")
            .header("TTL", push.ttl.min(TTL_MAX).as_secs().to_string())
            .header("Urgency", if push.is_urgent { "high" } else { "normal" })
            .body(body);
        if let Some(key) = &push.collapse_key {
            request = request.header("Topic", topic(key));
        }

        let response = send(WHO, request).await?;
        let status = response.status();
        let retry_after = retry_after(response.headers(), now);
        finish(response).await;
        let cause = format!("{WHO} answered {}", status.as_u16());
        match status {
            status if status.is_success() => Ok(Receipt::default()),
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(gone(cause)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                // Users choose what their subscriptions are bound to: one of them says nothing about our key.
                Err(DeliveryError::Denied { cause })
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                Err(DeliveryError::Deferred { cause, retry_after })
            }
            status if status.is_client_error() => Err(refused(cause)),
            status if status.is_server_error() => {
                Err(DeliveryError::Unavailable { cause, retry_after })
            }
            _ => Err(unavailable(cause)),
        }
    }
}

#[cfg(test)]
mod tests {
    use p256::SecretKey;
    use web_push_native::decrypt;

    use super::*;

    // RFC 8291, appendix A: the browser's keys.
    const PRIVATE: &str = "q1dXpw3UpT5VOmu_cf_v6ih07Aems3njxI-JWgLcM94";
    const PUBLIC: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    #[test]
    fn a_message_of_the_largest_size_is_one_record_that_only_the_browser_reads() {
        let plaintext = "a".repeat(PLAINTEXT_BYTES_MAX);
        let message = Keys::parse(PUBLIC, AUTH).unwrap().encrypt(plaintext.clone()).unwrap();

        assert_eq!(message.len(), 4_096);
        assert_eq!(message[RECORD_SIZE_AT], RECORD_BYTES.to_be_bytes());
        let secret = SecretKey::from_slice(&URL_SAFE_NO_PAD.decode(PRIVATE).unwrap()).unwrap();
        let auth: [u8; AUTH_BYTES] = URL_SAFE_NO_PAD.decode(AUTH).unwrap().try_into().unwrap();
        assert_eq!(decrypt(message, &secret, &auth.into()).unwrap(), plaintext.into_bytes());
    }

    #[test]
    fn keys_are_a_point_on_the_curve_and_sixteen_bytes() {
        assert!(is_subscription_key(PUBLIC, AUTH));
        assert!(is_subscription_key(PUBLIC, &format!("{AUTH}==")));
        for (p256dh, auth) in [
            ("", AUTH),
            (PUBLIC, ""),
            (PUBLIC, "BTBZMqHH6r4Tts7J"),
            (&PUBLIC[..40], AUTH),
            (
                "BAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
                AUTH,
            ),
            ("not base64!", AUTH),
        ] {
            assert!(!is_subscription_key(p256dh, auth), "{p256dh} {auth}");
        }
    }
}
