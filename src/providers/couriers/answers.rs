//! Answers: what a provider said over HTTP, or did not say, and what that means for a letter.

use std::time::Duration;

use jiff::fmt::rfc2822;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response, StatusCode};
use serde_json::Value;

use super::DeliveryError;
use super::outward::{Silence, guard::UrlError, read};
use crate::domain::time::Timestamp;

/// Nobody is believed who wants to be left alone for longer.
const RETRY_AFTER_MAX: Duration = Duration::from_hours(24);
/// What a provider calls its error is no longer than this.
const CODE_CHARS_MAX: usize = 48;

pub(super) fn refused(cause: impl Into<String>) -> DeliveryError {
    DeliveryError::Refused { cause: cause.into() }
}

pub(super) fn gone(cause: impl Into<String>) -> DeliveryError {
    DeliveryError::Gone { cause: cause.into() }
}

pub(super) fn misconfigured(cause: impl Into<String>) -> DeliveryError {
    DeliveryError::Misconfigured { cause: cause.into() }
}

pub(super) fn unavailable(cause: impl Into<String>) -> DeliveryError {
    DeliveryError::Unavailable { cause: cause.into(), retry_after: None }
}

/// A letter in a form that this courier does not carry: a mistake of the program.
pub(super) fn not_ours() -> DeliveryError {
    refused("the letter is for another medium")
}

/// Sends a request; `who` begins the sentence about nobody answering.
pub(super) async fn send(who: &str, request: RequestBuilder) -> Result<Response, DeliveryError> {
    request.send().await.map_err(|error| match Silence::of(&error) {
        // Only a name gets as far as this, and it may lead elsewhere again: a resolver that lies for a moment is no
        // reason to give up.
        Silence::Closed => unavailable(format!("{who} leads into a private network")),
        Silence::Certificate => {
            unavailable(format!("{who} has a certificate that is not believed"))
        }
        Silence::Nobody => unavailable(format!("{who} cannot be reached")),
        Silence::Late => unavailable(format!("{who} did not answer in time")),
        Silence::Broken => unavailable(format!("{who} broke off the connection")),
    })
}

/// Why an address that a user gave is not called at all.
pub(super) fn unusable(who: &str, error: UrlError) -> DeliveryError {
    refused(format!("{who} cannot be called. {error}"))
}

/// What an API without an address in its URL means by its status.
pub(super) fn by_status(
    who: &str,
    status: StatusCode,
    headers: &HeaderMap,
    code: Option<&str>,
    now: Timestamp,
) -> DeliveryError {
    let code = code.map(|code| format!(" {code}")).unwrap_or_default();
    let cause = format!("{who} answered {}{code}", status.as_u16());
    match status.as_u16() {
        410 => gone(cause),
        408 | 409 | 425 => {
            DeliveryError::Deferred { cause, retry_after: retry_after(headers, now) }
        }
        429 => DeliveryError::Throttled { cause, retry_after: retry_after(headers, now) },
        300..=399 | 401 | 402 | 403 | 404 | 405 => misconfigured(cause),
        500.. => DeliveryError::Unavailable { cause, retry_after: retry_after(headers, now) },
        _ => refused(cause),
    }
}

/// How long the provider wants to be left alone: seconds or a date (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: Timestamp) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = rfc2822::parse(text).ok()?.timestamp();
            Timestamp::from_millis(at.as_millisecond()).since(now)
        }
    };
    Some(wait.min(RETRY_AFTER_MAX))
}

/// The body as JSON; `Null` for one that is none, is too long, or does not come.
pub(super) async fn json(response: Response) -> Value {
    let body = read(response).await.unwrap_or_default();
    serde_json::from_slice(&body).unwrap_or_default()
}

/// What a provider calls its error, if that is a plain word: a sentence could name somebody.
pub(super) fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    let fits = (1..=CODE_CHARS_MAX).contains(&text.len()) && text.chars().all(plain);
    fits.then_some(text)
}

/// The provider's own id for a message, if it looks like one.
pub(super) fn provider_id(value: &Value) -> Option<String> {
    const CHARS_MAX: usize = 200;
    let id = value.as_str()?;
    let plain = |c: char| c.is_ascii_graphic();
    ((1..=CHARS_MAX).contains(&id.len()) && id.chars().all(plain)).then(|| id.to_owned())
}

#[cfg(test)]
mod tests {
    use reqwest::header::HeaderValue;
    use serde_json::json;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(784_111_777_000);

    fn after(text: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, HeaderValue::from_str(text).unwrap());
        retry_after(&headers, NOW).map(|wait| wait.as_secs())
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_and_never_more_than_a_day() {
        assert_eq!(after("120"), Some(120));
        assert_eq!(after("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(after("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0));
        assert_eq!(after("999999999"), Some(86_400));
        assert_eq!(after("soon"), None);
        assert_eq!(after("-1"), None);
    }

    #[test]
    fn a_status_says_whom_it_is_about() {
        let kind = |status: u16| match by_status(
            "the provider",
            StatusCode::from_u16(status).unwrap(),
            &HeaderMap::new(),
            None,
            NOW,
        ) {
            DeliveryError::Unavailable { .. } => "unavailable",
            DeliveryError::Deferred { .. } => "deferred",
            DeliveryError::Throttled { .. } => "throttled",
            DeliveryError::Refused { .. } => "refused",
            DeliveryError::Gone { .. } => "gone",
            DeliveryError::Denied { .. } => "denied",
            DeliveryError::Misconfigured { .. } => "misconfigured",
        };

        for (status, expected) in [
            (302, "misconfigured"),
            (400, "refused"),
            (401, "misconfigured"),
            (402, "misconfigured"),
            (403, "misconfigured"),
            (404, "misconfigured"),
            (408, "deferred"),
            (410, "gone"),
            (413, "refused"),
            (422, "refused"),
            (429, "throttled"),
            (500, "unavailable"),
            (503, "unavailable"),
            (599, "unavailable"),
        ] {
            assert_eq!(kind(status), expected, "{status}");
        }
    }

    #[test]
    fn only_a_plain_word_is_kept_of_what_a_provider_says() {
        assert_eq!(word(&json!("InvalidNumber")).as_deref(), Some("InvalidNumber"));
        assert_eq!(word(&json!(21_211)).as_deref(), Some("21211"));
        for value in [json!("to +821012345678"), json!(""), json!(null), json!(["a"])] {
            assert_eq!(word(&value), None, "{value}");
        }
    }
}
