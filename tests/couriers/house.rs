//! A house of one's own: settings, secrets in a folder that goes away with its test, and letters to send.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use madang::clock;
use madang::config::Config;
use madang::domain::accounts::EmailAddress;
use madang::domain::letters::{
    Content, Letter, MailContent, PhoneNumber, PushContent, PushTarget, SmsContent, WebhookContent,
};
use madang::domain::media::Medium;
use madang::providers::couriers::{self, Courier, Couriers, DeliveryError, Receipt};
use serde_json::json;

/// Time enough for a server that answers, and not too much for one that does not.
const TIMEOUT_MS: &str = "1500";
pub(crate) const WEBHOOK_KEY: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

pub(crate) struct House {
    folder: PathBuf,
    settings: Vec<(String, String)>,
}

impl House {
    /// One that may call this machine.
    pub(crate) fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("madang-couriers-{}", clock::new_uuid()));
        fs::create_dir_all(folder.join("secrets")).unwrap();
        let dir = folder.to_str().unwrap().to_owned();
        let settings = [
            ("DATA__DIR", dir.as_str()),
            ("OUTWARD__ALLOWED_NETWORKS", "127.0.0.0/8,::1/128"),
            ("OUTWARD__TIMEOUT_MS", TIMEOUT_MS),
            ("OUTWARD__CONNECT_TIMEOUT_MS", TIMEOUT_MS),
        ];
        Self { settings: Vec::new(), folder }.with(&settings)
    }

    pub(crate) fn with(mut self, settings: &[(&str, &str)]) -> Self {
        let named =
            settings.iter().map(|(key, value)| (format!("MADANG__{key}"), (*value).to_owned()));
        self.settings.extend(named);
        self
    }

    pub(crate) fn with_secret(self, name: &str, secret: &str) -> Self {
        fs::write(self.folder.join("secrets").join(name), secret).unwrap();
        self
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    pub(crate) fn config(&self) -> Config {
        Config::read(None, self.settings.clone()).unwrap()
    }

    pub(crate) fn couriers(&self) -> Couriers {
        couriers::open(&self.config(), |_| Arc::new(Nobody)).unwrap()
    }

    pub(crate) fn courier(&self, medium: Medium) -> Arc<dyn Courier> {
        Arc::clone(self.couriers().get(medium).expect("the medium has a courier"))
    }
}

impl Drop for House {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Stands in where a test is not about a medium.
struct Nobody;

#[async_trait]
impl Courier for Nobody {
    fn name(&self) -> &'static str {
        "nobody"
    }

    fn route(&self, _: &Letter) -> String {
        "nobody".to_owned()
    }

    async fn deliver(&self, _: &Letter) -> Result<Receipt, DeliveryError> {
        Ok(Receipt::default())
    }
}

/// What became of a letter, in a word.
pub(crate) fn fate(delivered: &Result<Receipt, DeliveryError>) -> &'static str {
    match delivered {
        Ok(_) => "delivered",
        Err(DeliveryError::Unavailable { .. }) => "unavailable",
        Err(DeliveryError::Deferred { .. }) => "deferred",
        Err(DeliveryError::Throttled { .. }) => "throttled",
        Err(DeliveryError::Refused { .. }) => "refused",
        Err(DeliveryError::Gone { .. }) => "gone",
        Err(DeliveryError::Denied { .. }) => "denied",
        Err(DeliveryError::Misconfigured { .. }) => "misconfigured",
    }
}

fn letter(content: Content) -> Letter {
    Letter { id: clock::new_uuid().into(), kind: "friend_request_received".to_owned(), content }
}

pub(crate) fn mail(to: &str) -> Letter {
    letter(Content::Mail(MailContent {
        to: EmailAddress::parse(to).unwrap(),
        subject: "지수 님이 친구 요청을 보냈습니다".to_owned(),
        text: "안녕하세요\n지수 님이 친구가 되고 싶어 합니다.\n.\n끝".to_owned(),
        html: Some("<p>안녕하세요</p>".to_owned()),
        unsubscribe_url: Some("https://chat.example.com/unsubscribe?token=abc".to_owned()),
    }))
}

pub(crate) fn sms(text: &str) -> Letter {
    let to = PhoneNumber::parse("+82 10-1234-5678").unwrap();
    letter(Content::Sms(SmsContent { to, text: text.to_owned() }))
}

pub(crate) fn push(target: PushTarget) -> Letter {
    letter(Content::Push(PushContent {
        target,
        title: "지수".to_owned(),
        body: "안녕 🙂".to_owned(),
        data: json!({ "room_id": "0193", "seq": 7 }),
        collapse_key: Some("room:0193".to_owned()),
        ttl: Duration::from_mins(60),
        is_urgent: true,
    }))
}

pub(crate) fn webhook(url: &str) -> Letter {
    letter(Content::Webhook(WebhookContent {
        url: url.to_owned(),
        keys: vec![WEBHOOK_KEY.into()],
        at: clock::now(),
        body: r#"{"type":"MessageSent","data":{"body":"안녕"}}"#.to_owned(),
    }))
}
