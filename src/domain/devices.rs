//! Devices: browsers and apps that take push messages for a user, each under an address that its push service gave it.
//!
//! Invariant: nothing here prints an address or a key; whoever has them can reach the device.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use p256::PublicKey;
use serde::Serialize;
use utoipa::ToSchema;

use super::ids::{DeviceId, UserId};
use super::stored_as;
use super::time::Timestamp;

/// Devices of one user; the one that was not used for the longest time makes room.
pub const DEVICES_MAX: usize = 20;
const ENDPOINT_BYTES_MAX: usize = 2_048;
/// Both have to fit into one entry of an index, 2,704 bytes on PostgreSQL; tokens have about 200.
const TOKEN_BYTES_MAX: usize = 2_048;
const AUTH_BYTES: usize = 16;
const NAME_CHARS_MAX: usize = 100;

/// Through which service a device is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceKind {
    WebPush,
    Fcm,
}
stored_as!(DeviceKind { WebPush = "web_push", Fcm = "fcm" });

/// How a device is reached.
#[derive(Clone, PartialEq, Eq)]
pub enum DeviceAddress {
    /// A browser's subscription (RFC 8030); the keys are base64url without padding (RFC 8291).
    WebPush { endpoint: String, p256dh: String, auth: String },
    /// An app's registration with Firebase Cloud Messaging.
    Fcm { token: String },
}

/// A registered device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    pub id: DeviceId,
    pub user: UserId,
    pub address: DeviceAddress,
    /// What its user calls it.
    pub name: String,
    pub created_at: Timestamp,
    /// When it was last registered, or last took a message.
    pub last_used_at: Timestamp,
}

/// Why a device is not registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    #[error("an endpoint is an https address of at most {ENDPOINT_BYTES_MAX} bytes")]
    InvalidEndpoint,
    #[error("no push service that is known here has this endpoint")]
    UnknownService,
    #[error("the keys of a subscription are a point of P-256 and {AUTH_BYTES} bytes, in base64url")]
    InvalidKeys,
    #[error("a registration token is 1 to {TOKEN_BYTES_MAX} visible ASCII characters")]
    InvalidToken,
    #[error(
        "a device's name is 1 to {NAME_CHARS_MAX} characters, none of them a control character"
    )]
    InvalidName,
    #[error("there is no such device")]
    NotFound,
    #[error("this server sends no web push messages")]
    NoPushKey,
}

impl DeviceAddress {
    /// Reads what `PushSubscription.toJSON()` gives in a browser. Whether the endpoint may be called is for others to say.
    ///
    /// # Errors
    /// [`DeviceError::InvalidEndpoint`], [`DeviceError::InvalidKeys`].
    pub fn web_push(endpoint: &str, p256dh: &str, auth: &str) -> Result<Self, DeviceError> {
        if !is_https(endpoint) {
            return Err(DeviceError::InvalidEndpoint);
        }
        let point = decoded(p256dh).filter(|point| PublicKey::from_sec1_bytes(point).is_ok());
        let secret = decoded(auth).filter(|secret| secret.len() == AUTH_BYTES);
        let (Some(point), Some(secret)) = (point, secret) else {
            return Err(DeviceError::InvalidKeys);
        };
        Ok(Self::WebPush {
            endpoint: endpoint.to_owned(),
            p256dh: URL_SAFE_NO_PAD.encode(point),
            auth: URL_SAFE_NO_PAD.encode(secret),
        })
    }

    /// Takes a registration token.
    ///
    /// # Errors
    /// [`DeviceError::InvalidToken`].
    pub fn fcm(token: &str) -> Result<Self, DeviceError> {
        let fits = (1..=TOKEN_BYTES_MAX).contains(&token.len());
        if !fits || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(DeviceError::InvalidToken);
        }
        Ok(Self::Fcm { token: token.to_owned() })
    }

    #[must_use]
    pub const fn kind(&self) -> DeviceKind {
        match self {
            Self::WebPush { .. } => DeviceKind::WebPush,
            Self::Fcm { .. } => DeviceKind::Fcm,
        }
    }

    /// What no two devices have in common: the endpoint or the token.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::WebPush { endpoint, .. } => endpoint,
            Self::Fcm { token } => token,
        }
    }
}

impl fmt::Debug for DeviceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeviceAddress").field(&self.kind()).finish()
    }
}

/// Takes a device's name; surrounding white space goes.
///
/// # Errors
/// [`DeviceError::InvalidName`].
pub fn device_name(raw: &str) -> Result<String, DeviceError> {
    let name = raw.trim();
    let fits = (1..=NAME_CHARS_MAX).contains(&name.chars().count());
    if !fits || name.chars().any(char::is_control) {
        return Err(DeviceError::InvalidName);
    }
    Ok(name.to_owned())
}

/// A plain `https` address with a host, and without a user, white space or anything that is not ASCII.
fn is_https(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("https://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let is_plain =
        url.bytes().all(|byte| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte));
    url.len() <= ENDPOINT_BYTES_MAX
        && is_plain
        && !url.contains('#')
        && !authority.is_empty()
        && !authority.starts_with(':')
        && !authority.contains('@')
}

/// Base64url; some browsers pad it.
fn decoded(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text.trim_end_matches('=')).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    // The example of RFC 8291, section 5.
    const POINT: &str =
        "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";
    const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";

    #[test]
    fn a_subscription_is_taken_as_a_browser_gives_it() {
        let endpoint = "https://push.example.net/push/JzLQ3raZJfFBR0aqvOMsLrt54w4rJUsV";
        let padded = format!("{AUTH}==");
        let address = DeviceAddress::web_push(endpoint, POINT, &padded).unwrap();

        assert_eq!((address.kind(), address.key()), (DeviceKind::WebPush, endpoint));
        let DeviceAddress::WebPush { p256dh, auth, .. } = &address else { panic!("{address:?}") };
        assert_eq!((p256dh.as_str(), auth.as_str()), (POINT, AUTH));
        let debug = format!("{address:?}");
        assert!(!debug.contains("push.example") && !debug.contains(AUTH), "{debug}");
    }

    #[test]
    fn what_cannot_be_a_subscription_is_refused() {
        let long = format!("https://a/{}", "x".repeat(ENDPOINT_BYTES_MAX));
        for endpoint in [
            "",
            "http://a/b",
            "https://",
            "https:///b",
            "https://:443/b",
            "https://u@a/b",
            "https://a/b c",
            "https://a/푸시",
            "https://a/#b",
            "ftp://a",
            &long,
        ] {
            let refused = DeviceAddress::web_push(endpoint, POINT, AUTH);
            assert_eq!(refused, Err(DeviceError::InvalidEndpoint), "{endpoint}");
        }
        let not_a_point = POINT.replace("BCV", "BCW");
        for (p256dh, auth) in
            [("", AUTH), (AUTH, AUTH), (&*not_a_point, AUTH), (POINT, "AAAA"), (POINT, "!")]
        {
            let refused = DeviceAddress::web_push("https://a/b", p256dh, auth);
            assert_eq!(refused, Err(DeviceError::InvalidKeys), "{p256dh} {auth}");
        }
        for token in ["", "a b", "토큰", "a\n", &"x".repeat(TOKEN_BYTES_MAX + 1)] {
            assert_eq!(DeviceAddress::fcm(token), Err(DeviceError::InvalidToken), "{token}");
        }
    }

    #[test]
    fn a_name_says_something_and_is_short() {
        assert_eq!(device_name(" 지수의 전화 ").as_deref(), Ok("지수의 전화"));
        for name in ["", "  ", "a\u{7}b", &"x".repeat(NAME_CHARS_MAX + 1)] {
            assert_eq!(device_name(name), Err(DeviceError::InvalidName), "{name}");
        }
    }
}
