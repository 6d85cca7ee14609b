//! Web Push, given to a push service that decrypts, and read by libraries of others.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use madang::clock;
use madang::domain::letters::{Content, Letter, PushTarget};
use madang::domain::media::Medium;
use madang::providers::couriers::DeliveryError;
use serde_json::{Value, json};

use crate::fake::{Act, Fake, Request, answer};
use crate::house::{House, fate, push};
use crate::tools::{PushService, check};

const AUTH: &str = "BTBZMqHH6r4Tts7J_aSIgg";
/// What a push service takes (RFC 8030, 7.2; RFC 8291, 4).
const BODY_BYTES_MAX: usize = 4_096;

fn house() -> House {
    House::new()
        .with(&[("PUSH__WEB_PUSH", "true"), ("PUSH__CONTACT", "mailto:push@chat.example.com")])
}

/// A browser, as far as encryption is concerned.
struct Browser(Value);

impl Browser {
    fn new() -> Self {
        Self(check("push", &json!({})))
    }

    fn at(&self, endpoint: &str) -> PushTarget {
        PushTarget::WebPush {
            endpoint: endpoint.to_owned(),
            p256dh: self.0["p256dh"].as_str().unwrap().to_owned(),
            auth: AUTH.into(),
        }
    }

    /// Decrypts what came in and verifies who sent it.
    fn read(&self, request: &Request) -> Value {
        check(
            "push",
            &json!({
                "private": self.0["private"],
                "auth": AUTH,
                "body": STANDARD.encode(&request.body),
                "authorization": request.header("authorization"),
            }),
        )
    }
}

fn with_body(letter: Letter, body: &str) -> Letter {
    let Content::Push(mut content) = letter.content.clone() else {
        panic!("it is no push message")
    };
    content.body = body.to_owned();
    content.data = json!({ "blob": "x".repeat(5_000) });
    Letter { content: Content::Push(content), ..letter }
}

#[tokio::test]
async fn a_push_service_decrypts_what_it_is_given_until_the_subscription_ends() {
    let house = house();
    let couriers = house.couriers();
    let courier = couriers.get(Medium::Push).unwrap();
    let http = reqwest::Client::new();
    let service = PushService::start(&http).await;
    let wanted =
        json!({ "userVisibleOnly": "true", "applicationServerKey": couriers.web_push_key() });
    let subscription = service.ask(&http, "/subscribe", &wanted).await["data"].clone();
    let (endpoint, client) = (&subscription["endpoint"], &subscription["clientHash"]);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let target = PushTarget::WebPush {
        endpoint: text(endpoint),
        p256dh: text(&subscription["keys"]["p256dh"]),
        auth: text(&subscription["keys"]["auth"]).into(),
    };
    let letter = push(target);

    courier.deliver(&letter).await.unwrap();

    let got = service.ask(&http, "/get-notifications", &json!({ "clientHash": client })).await;
    let messages = got["data"]["messages"].as_array().unwrap();
    let shown: Value = serde_json::from_str(messages[0].as_str().unwrap()).unwrap();
    let expected = json!({
        "id": letter.id,
        "kind": "friend_request_received",
        "title": "지수",
        "body": "안녕 🙂",
        "data": { "room_id": "0193", "seq": 7 },
    });
    assert_eq!((messages.len(), shown), (1, expected));

    let path = format!("/expire-subscription/{}", text(client));
    service.ask(&http, &path, &json!({})).await;
    let delivered = courier.deliver(&letter).await;
    assert_eq!(fate(&delivered), "gone", "{delivered:?}");
}

#[tokio::test]
async fn a_message_says_who_sends_it_for_how_long_and_instead_of_what() {
    let (fake, browser) = (Fake::start().await, Browser::new());
    let house = house();
    let couriers = house.couriers();
    let courier = couriers.get(Medium::Push).unwrap();
    fake.will([answer(201, "")]);

    courier.deliver(&push(browser.at(&fake.url("/push/abc?d=e")))).await.unwrap();

    let request = fake.last_request();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/push/abc?d=e"));
    assert_eq!(request.header("content-encoding"), "aes128gcm");
    assert_eq!(request.header("ttl"), "3600");
    assert_eq!(request.header("urgency"), "high");
    let topic = request.header("topic");
    assert!(topic.len() <= 32 && URL_SAFE_NO_PAD.decode(topic).is_ok(), "{topic}");

    let read = browser.read(&request);
    assert_eq!(read["scheme"], "vapid");
    assert_eq!(read["key"].as_str(), couriers.web_push_key());
    assert_eq!(read["header"], json!({ "typ": "JWT", "alg": "ES256" }));
    assert_eq!(read["claims"]["aud"], fake.url(""), "the origin, with the port that it has");
    assert_eq!(read["claims"]["sub"], "mailto:push@chat.example.com");
    let lives = read["claims"]["exp"].as_i64().unwrap() - clock::now().millis() / 1_000;
    assert!((3_600..=24 * 3_600).contains(&lives), "{lives}");
    let plaintext = read["plaintext"].as_str().unwrap();
    assert!(plaintext.contains("안녕 🙂"), "{plaintext}");
    // RFC 8291, 4: more than the plaintext, its end and the tag.
    let record = read["record_bytes"].as_u64().unwrap();
    assert!(record > u64::try_from(plaintext.len()).unwrap() + 17, "{record}");
}

#[tokio::test]
async fn a_message_that_is_too_large_is_made_to_fit() {
    let (fake, browser) = (Fake::start().await, Browser::new());
    let courier = house().courier(Medium::Push);
    let letter = with_body(push(browser.at(&fake.url("/push"))), &"가".repeat(4_000));

    courier.deliver(&letter).await.unwrap();

    let request = fake.last_request();
    assert!(request.body.len() <= BODY_BYTES_MAX, "{}", request.body.len());
    assert!(request.body.len() > BODY_BYTES_MAX - 4, "{}", request.body.len());
    let shown: Value =
        serde_json::from_str(browser.read(&request)["plaintext"].as_str().unwrap()).unwrap();
    assert_eq!(shown["data"], json!({}));
    assert!(shown["body"].as_str().unwrap().ends_with("가…"));
}

#[tokio::test]
async fn the_status_says_whether_the_subscription_the_message_or_we_are_wrong() {
    let (fake, browser) = (Fake::start().await, Browser::new());
    let courier = house().courier(Medium::Push);

    for (status, expected) in [
        (200, "delivered"),
        (201, "delivered"),
        (202, "delivered"),
        (302, "unavailable"),
        (400, "refused"),
        (401, "denied"),
        (403, "denied"),
        (404, "gone"),
        (410, "gone"),
        (413, "refused"),
        (500, "unavailable"),
        (503, "unavailable"),
    ] {
        fake.will([answer(status, "nobody's business")]);
        let delivered = courier.deliver(&push(browser.at(&fake.url("/push")))).await;
        assert_eq!(fate(&delivered), expected, "{status}: {delivered:?}");
    }

    fake.will([Act::Answer(429, vec![("Retry-After", "60".to_owned())], String::new())]);
    let delivered = courier.deliver(&push(browser.at(&fake.url("/push")))).await;
    let Err(DeliveryError::Deferred { retry_after, .. }) = delivered else {
        panic!("{delivered:?}")
    };
    assert_eq!(retry_after, Some(Duration::from_secs(60)));
}

#[tokio::test]
async fn a_subscription_whose_keys_are_none_is_refused_before_anybody_is_called() {
    let fake = Fake::start().await;
    let courier = house().courier(Medium::Push);
    let endpoint = fake.url("/push");
    let target = PushTarget::WebPush { endpoint, p256dh: "BAAA".to_owned(), auth: AUTH.into() };

    let delivered = courier.deliver(&push(target)).await;

    assert_eq!(fate(&delivered), "refused", "{delivered:?}");
    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn nodes_with_the_same_secret_have_the_same_key() {
    let secret = "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw";
    let (one, other) = (house().with_secret("vapid", secret), house().with_secret("vapid", secret));
    let stranger = house();

    let key = |house: &House| house.couriers().web_push_key().unwrap().to_owned();

    assert_eq!(key(&one), key(&other));
    assert_ne!(key(&one), key(&stranger));
    assert_eq!(key(&stranger), key(&stranger), "it is kept");
}

#[tokio::test]
async fn a_route_is_a_push_service() {
    let courier = house().courier(Medium::Push);
    let target = PushTarget::WebPush {
        endpoint: "https://fcm.googleapis.com/fcm/send/secret".to_owned(),
        p256dh: String::new(),
        auth: AUTH.into(),
    };

    assert_eq!(courier.route(&push(target)), "fcm.googleapis.com");
    assert_eq!(courier.route(&push(PushTarget::Fcm { token: "t".into() })), "fcm");
}
