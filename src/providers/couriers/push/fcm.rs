//! Firebase Cloud Messaging, HTTP v1: `POST /v1/projects/{id}/messages:send` with a token of a service account.
//!
//! A token is fetched with an assertion that the account's key signs (RFC 7523), and used until shortly before it ends.
//! Invariant: it is fetched by one at a time; whoever waits for it gets what the one got, a failure too.

use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::super::answers::{
    by_status, gone, json as body_of, misconfigured, provider_id, refused, retry_after, send,
    unavailable, word,
};
use super::super::{DeliveryError, OpenError, Receipt};
use crate::clock;
use crate::domain::letters::{Letter, PushContent};
use crate::domain::pushes::{Shown, topic};
use crate::domain::time::Timestamp;

/// The secret that holds the service account.
pub(super) const SECRET: &str = "fcm_service_account";
pub(super) const ROUTE: &str = "fcm";
const WHO: &str = "FCM";
const SCOPE: &str = "https://www.googleapis.com/auth/firebase.messaging";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const ASSERTION_TTL: Duration = Duration::from_mins(60);
/// A token is not used in its last minutes: clocks differ, and a call takes its time.
const TOKEN_REST: Duration = Duration::from_mins(5);
/// Google refuses messages above 4,096 bytes, by its own way of counting.
const BYTES_MAX: usize = 4_000;
/// FCM keeps nothing for longer.
const TTL_MAX: Duration = Duration::from_hours(28 * 24);
/// FCM may not send to devices of Apple for this project.
const NO_APPLE_KEY: &str = "THIRD_PARTY_AUTH_ERROR";
/// Keys of data that FCM keeps for itself go under this name, and so do ours.
const PREFIX: &str = "madang_";

/// The fields of a service account's JSON file that matter here.
#[derive(Deserialize)]
struct ServiceAccount {
    project_id: String,
    client_email: String,
    private_key: SecretString,
    private_key_id: Option<String>,
    token_uri: String,
}

/// Sends to apps.
pub(super) struct Fcm {
    client: Client,
    url: String,
    account: ServiceAccount,
    key: EncodingKey,
    issued: Mutex<Issued>,
}

/// What the issuer of tokens has given.
#[derive(Default)]
struct Issued {
    token: Option<Token>,
    /// The last failure, and when it was known.
    failure: Option<(Instant, DeliveryError)>,
}

#[derive(Clone)]
struct Token {
    text: SecretString,
    ends_at: Timestamp,
}

impl Fcm {
    pub(super) fn new(
        base_url: &str,
        account: &SecretString,
        client: Client,
    ) -> Result<Self, OpenError> {
        let unusable = |reason: &str| OpenError::Key { name: SECRET, reason: reason.to_owned() };
        // What serde says could repeat the key.
        let account: ServiceAccount = serde_json::from_str(account.expose_secret())
            .map_err(|_| unusable("it is no service account in JSON"))?;
        let key = EncodingKey::from_rsa_pem(account.private_key.expose_secret().as_bytes())
            .map_err(|_| unusable("its private_key is no RSA key in PEM"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | ':' | '.');
        if account.project_id.is_empty() || !account.project_id.chars().all(plain) {
            return Err(unusable("its project_id is none"));
        }
        let base_url = base_url.trim_end_matches('/');
        let url = format!("{base_url}/v1/projects/{}/messages:send", account.project_id);
        Ok(Self { client, url, account, key, issued: Mutex::default() })
    }

    pub(super) async fn deliver(
        &self,
        letter: &Letter,
        push: &PushContent,
        device: &SecretString,
    ) -> Result<Receipt, DeliveryError> {
        let message = message(letter, push, device, clock::now())
            .ok_or_else(|| refused("the message is too large"))?;
        let token = self.token().await?;
        match self.attempt(&message, &token).await? {
            // It was called back before its time: once more, with a new one.
            Outcome::TokenRefused => {
                self.forget(&token).await;
                let token = self.token().await?;
                match self.attempt(&message, &token).await? {
                    Outcome::TokenRefused => {
                        Err(misconfigured(format!("{WHO} answered 401 to a new token")))
                    }
                    Outcome::Taken(receipt) => Ok(receipt),
                }
            }
            Outcome::Taken(receipt) => Ok(receipt),
        }
    }

    async fn attempt(&self, message: &Value, token: &Token) -> Result<Outcome, DeliveryError> {
        let request =
            self.client.post(&self.url).bearer_auth(token.text.expose_secret()).json(message);
        let response = send(WHO, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = body_of(response).await;
        if status.is_success() {
            let provider_id = provider_id(said.get("name").unwrap_or(&Value::Null));
            return Ok(Outcome::Taken(Receipt { provider_id }));
        }
        let code = error_code(&said);
        if status == StatusCode::UNAUTHORIZED && code.as_deref() != Some(NO_APPLE_KEY) {
            return Ok(Outcome::TokenRefused);
        }
        let cause = format!("{WHO} answered {} {}", status.as_u16(), code.as_deref().unwrap_or(""));
        let cause = cause.trim_end().to_owned();
        let retry_after = retry_after(&headers, clock::now());
        Err(match code.as_deref() {
            // Nothing else ends a device: a bare 404 is said by whatever else may answer at a wrong `push.fcm_url`.
            Some("UNREGISTERED") => gone(cause),
            // A token of another project may be right again when the account is.
            Some("INVALID_ARGUMENT" | "SENDER_ID_MISMATCH") => refused(cause),
            // The way to all other devices is open.
            Some(NO_APPLE_KEY) => {
                tracing::error!(
                    "the project of FCM has no valid APNs key: devices of Apple get no push messages"
                );
                refused(cause)
            }
            Some("QUOTA_EXCEEDED" | "RESOURCE_EXHAUSTED") => {
                DeliveryError::Throttled { cause, retry_after }
            }
            Some("UNAVAILABLE" | "INTERNAL") => DeliveryError::Unavailable { cause, retry_after },
            code => by_status(WHO, status, &headers, code, clock::now()),
        })
    }

    async fn token(&self) -> Result<Token, DeliveryError> {
        let asked_at = Instant::now();
        let mut issued = self.issued.lock().await;
        let now = clock::now();
        let usable = issued.token.as_ref().filter(|token| now.plus(TOKEN_REST) < token.ends_at);
        if let Some(token) = usable {
            return Ok(token.clone());
        }
        // Whoever waited while it failed does not wait once more.
        if let Some((_, error)) = issued.failure.as_ref().filter(|(at, _)| *at >= asked_at) {
            return Err(error.clone());
        }
        let fetched = self.fetch_token(now).await;
        let failure = fetched.as_ref().err().map(|error| (Instant::now(), error.clone()));
        *issued = Issued { token: fetched.as_ref().ok().cloned(), failure };
        fetched
    }

    /// Forgets a token that was refused, unless somebody has fetched another one since.
    async fn forget(&self, refused: &Token) {
        let mut issued = self.issued.lock().await;
        let is_same = |token: &Token| token.text.expose_secret() == refused.text.expose_secret();
        if issued.token.as_ref().is_some_and(is_same) {
            issued.token = None;
        }
    }

    async fn fetch_token(&self, now: Timestamp) -> Result<Token, DeliveryError> {
        const ISSUER: &str = "the issuer of tokens for FCM";
        let form = [("grant_type", GRANT.to_owned()), ("assertion", self.assertion(now)?)];
        let request = self.client.post(&self.account.token_uri).form(&form);
        let response = send(ISSUER, request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let said = body_of(response).await;
        if status.is_success() {
            let token = said.get("access_token").and_then(Value::as_str);
            let ttl = said.get("expires_in").and_then(Value::as_u64);
            let (Some(text), Some(ttl)) = (token, ttl) else {
                return Err(unavailable(format!("{ISSUER} gave none")));
            };
            let ends_at = now.plus(Duration::from_secs(ttl));
            return Ok(Token { text: text.into(), ends_at });
        }
        let code = said.get("error").and_then(word);
        let cause =
            format!("{ISSUER} answered {} {}", status.as_u16(), code.as_deref().unwrap_or(""));
        let cause = cause.trim_end().to_owned();
        // Nothing here is about the letter.
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            let retry_after = retry_after(&headers, now);
            return Err(DeliveryError::Unavailable { cause, retry_after });
        }
        Err(misconfigured(cause))
    }

    fn assertion(&self, now: Timestamp) -> Result<String, DeliveryError> {
        let seconds = |at: Timestamp| at.millis().div_euclid(1_000);
        let mut header = Header::new(Algorithm::RS256);
        header.kid.clone_from(&self.account.private_key_id);
        let claims = json!({
            "iss": self.account.client_email,
            "scope": SCOPE,
            "aud": self.account.token_uri,
            "iat": seconds(now),
            "exp": seconds(now.plus(ASSERTION_TTL)),
        });
        encode(&header, &claims, &self.key)
            .map_err(|_| misconfigured("nothing can be signed with the service account's key"))
    }
}

enum Outcome {
    Taken(Receipt),
    TokenRefused,
}

/// The code of FCM's own, or else the status in Google's words.
fn error_code(said: &Value) -> Option<String> {
    let error = said.get("error")?;
    let details = error.get("details").and_then(Value::as_array);
    let of_fcm = details.and_then(|list| list.iter().find_map(|detail| detail.get("errorCode")));
    of_fcm.or_else(|| error.get("status")).and_then(word)
}

fn message(
    letter: &Letter,
    push: &PushContent,
    device: &SecretString,
    now: Timestamp,
) -> Option<Value> {
    let weigh =
        |shown: &Shown| json!([shown.title, shown.body, data(letter, shown)]).to_string().len();
    let shown = Shown::new(&push.title, &push.body, &push.data).fit(BYTES_MAX, weigh)?;
    let ttl = push.ttl.min(TTL_MAX);
    let mut android = json!({
        "priority": if push.is_urgent { "HIGH" } else { "NORMAL" },
        "ttl": format!("{}s", ttl.as_secs()),
    });
    let mut apns = json!({
        "apns-priority": if push.is_urgent { "10" } else { "5" },
        "apns-expiration": now.plus(ttl).millis().div_euclid(1_000).to_string(),
    });
    if let Some(key) = &push.collapse_key {
        let name = topic(key);
        if let (Some(android), Some(apns)) = (android.as_object_mut(), apns.as_object_mut()) {
            android.insert("collapse_key".to_owned(), json!(name));
            apns.insert("apns-collapse-id".to_owned(), json!(name));
        }
    }
    Some(json!({
        "message": {
            "token": device.expose_secret(),
            "notification": { "title": shown.title, "body": shown.body },
            "data": data(letter, &shown),
            "android": android,
            "apns": { "headers": apns },
        }
    }))
}

/// FCM carries words only: everything else as JSON.
fn data(letter: &Letter, shown: &Shown) -> Map<String, Value> {
    let mut data: Map<String, Value> = shown
        .data
        .iter()
        .map(|(key, value)| {
            let key = if is_reserved(key) { format!("{PREFIX}{key}") } else { key.clone() };
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (key, Value::String(text))
        })
        .collect();
    data.insert(format!("{PREFIX}id"), json!(letter.id));
    data.insert(format!("{PREFIX}kind"), json!(letter.kind));
    data
}

fn is_reserved(key: &str) -> bool {
    matches!(key, "from" | "message_type" | "notification")
        || key.starts_with("google")
        || key.starts_with("gcm")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::letters::{Content, PushTarget};

    fn letter(data: Value, body: &str) -> (Letter, PushContent) {
        let push = PushContent {
            target: PushTarget::Fcm { token: "device-token".into() },
            title: "지수".to_owned(),
            body: body.to_owned(),
            data,
            collapse_key: Some("room:7".to_owned()),
            ttl: Duration::from_mins(60),
            is_urgent: true,
        };
        let content = Content::Push(push.clone());
        (Letter { id: Uuid::from_u128(7).into(), kind: "message_sent".to_owned(), content }, push)
    }

    #[test]
    fn data_is_words_and_keeps_away_from_names_that_are_taken() {
        let (letter, push) =
            letter(json!({ "room": "a", "seq": 7, "from": "b", "gcm.x": null }), "안녕");

        let message = message(&letter, &push, &"t".into(), Timestamp::from_millis(0)).unwrap();

        let expected = json!({
            "room": "a",
            "seq": "7",
            "madang_from": "b",
            "madang_gcm.x": "null",
            "madang_id": "00000000-0000-0000-0000-000000000007",
            "madang_kind": "message_sent",
        });
        assert_eq!(message["message"]["data"], expected);
        assert_eq!(message["message"]["android"]["priority"], "HIGH");
        assert_eq!(message["message"]["android"]["ttl"], "3600s");
        assert_eq!(message["message"]["apns"]["headers"]["apns-expiration"], "3600");
        assert_eq!(message["message"]["android"]["collapse_key"], json!(topic("room:7")));
    }

    #[test]
    fn a_message_that_is_too_large_loses_its_data_and_the_end_of_its_body() {
        let (letter, push) = letter(json!({ "blob": "x".repeat(5_000) }), &"가".repeat(3_000));

        let message = message(&letter, &push, &"t".into(), Timestamp::from_millis(0)).unwrap();

        assert!(message["message"]["data"].get("blob").is_none());
        assert!(message["message"]["notification"]["body"].as_str().unwrap().ends_with("가…"));
        assert!(message["message"]["notification"].to_string().len() <= BYTES_MAX);
    }

    #[test]
    fn the_code_of_fcm_wins_over_that_of_google() {
        let said = json!({ "error": { "code": 404, "status": "NOT_FOUND", "details": [
            { "@type": "type.googleapis.com/google.firebase.fcm.v1.FcmError", "errorCode": "UNREGISTERED" },
        ] } });

        assert_eq!(error_code(&said).as_deref(), Some("UNREGISTERED"));
        assert_eq!(
            error_code(&json!({ "error": { "status": "INTERNAL" } })).as_deref(),
            Some("INTERNAL")
        );
        assert_eq!(error_code(&Value::Null), None);
    }

    #[test]
    fn what_is_no_service_account_is_refused_without_being_shown() {
        super::super::super::outward::install_tls();
        for text in ["hunter2", "{\"private_key\":\"hunter2\"}"] {
            let refusal = Fcm::new("https://fcm.example", &text.into(), Client::new());
            let refusal = refusal.err().unwrap().to_string();
            assert!(refusal.contains("`fcm_service_account`"), "{refusal}");
            assert!(!refusal.contains("hunter2"), "{refusal}");
        }
    }
}
