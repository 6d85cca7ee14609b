//! Firebase Cloud Messaging, played by a fake that can fail.

use std::time::Duration;

use madang::domain::letters::PushTarget;
use madang::domain::media::Medium;
use madang::providers::couriers::DeliveryError;
use serde_json::{Value, json};

use crate::fake::{Act, Fake, answer};
use crate::house::{House, fate, push};
use crate::tools::check;

const DEVICE: &str = "device-token-7";

/// FCM, and beside it the issuer of its tokens.
struct Google {
    fcm: Fake,
    issuer: Fake,
    house: House,
    public_key: Value,
}

impl Google {
    async fn start() -> Self {
        let (fcm, issuer) = (Fake::start().await, Fake::start().await);
        let keys = check("rsa-key", &json!({}));
        let account = json!({
            "type": "service_account",
            "project_id": "madang-test",
            "private_key_id": "key-7",
            "private_key": keys["private"],
            "client_email": "push@madang-test.iam.gserviceaccount.example",
            "token_uri": issuer.url("/token"),
        });
        let house = House::new()
            .with(&[("PUSH__FCM", "true"), ("PUSH__FCM_URL", &fcm.url("/"))])
            .with_secret("fcm_service_account", &account.to_string());
        Self { fcm, issuer, house, public_key: keys["public"].clone() }
    }

    fn will_issue(&self, token: &str, seconds: u64) {
        let issued =
            json!({ "access_token": token, "expires_in": seconds, "token_type": "Bearer" });
        self.issuer.will([answer(200, &issued.to_string())]);
    }
}

fn letter() -> madang::domain::letters::Letter {
    push(PushTarget::Fcm { token: DEVICE.into() })
}

fn error(status: u16, of_google: &str, of_fcm: Option<&str>) -> Act {
    let details: Vec<Value> = of_fcm.iter().map(|code| json!({ "errorCode": code })).collect();
    let error = json!({ "code": status, "status": of_google, "details": details });
    answer(status, &json!({ "error": error }).to_string())
}

#[tokio::test]
async fn a_message_goes_out_with_a_token_that_the_account_has_asked_for() {
    let google = Google::start().await;
    google.will_issue("ya29.first", 3_599);
    let name = "projects/madang-test/messages/0:1500415314455276";
    google.fcm.will([answer(200, &json!({ "name": name }).to_string())]);

    let receipt = google.house.courier(Medium::Push).deliver(&letter()).await.unwrap();

    assert_eq!(receipt.provider_id.as_deref(), Some(name));
    let asked = google.issuer.last_request();
    let grant = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion=";
    let token = asked.text().strip_prefix(grant).expect("it is a grant by assertion");
    let given = json!({ "token": token, "public": google.public_key });
    let assertion = check("assertion", &given);
    assert_eq!(assertion["header"], json!({ "typ": "JWT", "alg": "RS256", "kid": "key-7" }));
    let claims = &assertion["claims"];
    assert_eq!(claims["iss"], "push@madang-test.iam.gserviceaccount.example");
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/firebase.messaging");
    assert_eq!(claims["aud"], google.issuer.url("/token"));
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 3_600);

    let sent = google.fcm.last_request();
    assert_eq!(sent.path, "/v1/projects/madang-test/messages:send");
    assert_eq!(sent.header("authorization"), "Bearer ya29.first");
    let message = &sent.json()["message"];
    assert_eq!(message["token"], DEVICE);
    assert_eq!(message["notification"], json!({ "title": "지수", "body": "안녕 🙂" }));
    assert_eq!(
        (&message["data"]["room_id"], &message["data"]["seq"]),
        (&json!("0193"), &json!("7"))
    );
    assert_eq!(message["android"]["priority"], "HIGH");
}

#[tokio::test]
async fn many_at_once_ask_for_one_token() {
    let google = Google::start().await;
    google.will_issue("ya29.first", 3_599);
    let courier = google.house.courier(Medium::Push);

    let letters: Vec<_> = (0..8).map(|_| letter()).collect();
    let delivered =
        futures_util::future::join_all(letters.iter().map(|letter| courier.deliver(letter)));

    assert!(delivered.await.iter().all(Result::is_ok));
    assert_eq!(google.issuer.requests().len(), 1);
    assert_eq!(google.fcm.requests().len(), 8);
}

#[tokio::test]
async fn a_token_that_is_about_to_end_is_replaced() {
    let google = Google::start().await;
    google.will_issue("ya29.short", 60);
    google.will_issue("ya29.long", 3_599);
    let courier = google.house.courier(Medium::Push);

    for _ in 0..3 {
        courier.deliver(&letter()).await.unwrap();
    }

    let used: Vec<String> = google
        .fcm
        .requests()
        .iter()
        .map(|request| request.header("authorization").to_owned())
        .collect();
    assert_eq!(used, ["Bearer ya29.short", "Bearer ya29.long", "Bearer ya29.long"]);
}

#[tokio::test]
async fn a_token_that_was_called_back_is_replaced_once() {
    let google = Google::start().await;
    google.will_issue("ya29.first", 3_599);
    google.will_issue("ya29.second", 3_599);
    google.fcm.will([error(401, "UNAUTHENTICATED", None)]);
    let courier = google.house.courier(Medium::Push);
    courier.deliver(&letter()).await.unwrap();
    assert_eq!(google.fcm.last_request().header("authorization"), "Bearer ya29.second");

    // Whoever refuses every token refuses us.
    google.will_issue("ya29.third", 3_599);
    google.fcm.will([error(401, "UNAUTHENTICATED", None), error(401, "UNAUTHENTICATED", None)]);
    let delivered = courier.deliver(&letter()).await;
    assert_eq!(fate(&delivered), "misconfigured", "{delivered:?}");
    assert_eq!(google.issuer.requests().len(), 3);
}

#[tokio::test]
async fn many_that_wait_for_an_issuer_that_hangs_wait_once() {
    let google = Google::start().await;
    google.issuer.will([Act::TakeAndHang]);
    let courier = google.house.courier(Medium::Push);

    let letters: Vec<_> = (0..8).map(|_| letter()).collect();
    let delivered =
        futures_util::future::join_all(letters.iter().map(|letter| courier.deliver(letter))).await;

    assert!(delivered.iter().all(|delivered| fate(delivered) == "unavailable"), "{delivered:?}");
    assert_eq!((google.issuer.requests().len(), google.fcm.connections()), (1, 0));
    google.will_issue("ya29.first", 3_599);
    courier.deliver(&letter()).await.unwrap();
}

#[tokio::test]
async fn each_error_says_what_is_wrong() {
    let google = Google::start().await;
    google.will_issue("ya29.first", 3_599);
    let courier = google.house.courier(Medium::Push);

    for (act, expected) in [
        (error(404, "NOT_FOUND", Some("UNREGISTERED")), "gone"),
        // Whoever answers so is not FCM: no device goes for it.
        (answer(404, "nonsense"), "misconfigured"),
        (error(404, "NOT_FOUND", None), "misconfigured"),
        (error(403, "PERMISSION_DENIED", Some("SENDER_ID_MISMATCH")), "refused"),
        (error(403, "PERMISSION_DENIED", None), "misconfigured"),
        (error(401, "UNAUTHENTICATED", Some("THIRD_PARTY_AUTH_ERROR")), "refused"),
        (error(400, "INVALID_ARGUMENT", Some("INVALID_ARGUMENT")), "refused"),
        (error(429, "RESOURCE_EXHAUSTED", Some("QUOTA_EXCEEDED")), "throttled"),
        (answer(429, ""), "throttled"),
        (error(503, "UNAVAILABLE", Some("UNAVAILABLE")), "unavailable"),
        (error(500, "INTERNAL", Some("INTERNAL")), "unavailable"),
        (answer(500, ""), "unavailable"),
        (answer(200, "nonsense"), "delivered"),
    ] {
        google.fcm.will([act.clone()]);
        let delivered = courier.deliver(&letter()).await;
        assert_eq!(fate(&delivered), expected, "{act:?}: {delivered:?}");
        assert!(!format!("{delivered:?}").contains(DEVICE), "{delivered:?}");
    }

    let wait = vec![("Retry-After", "30".to_owned())];
    google.fcm.will([Act::Answer(503, wait, String::new())]);
    let Err(DeliveryError::Unavailable { retry_after, .. }) = courier.deliver(&letter()).await
    else {
        panic!("503 is about all of it");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(30)));
    assert_eq!(google.issuer.requests().len(), 1);
}

#[tokio::test]
async fn without_a_token_nothing_is_sent() {
    let google = Google::start().await;
    let courier = google.house.courier(Medium::Push);

    for (act, expected) in [
        (answer(400, r#"{"error":"invalid_grant"}"#), "misconfigured"),
        (answer(401, ""), "misconfigured"),
        (answer(429, ""), "unavailable"),
        (answer(500, ""), "unavailable"),
        (answer(200, "nonsense"), "unavailable"),
        (Act::TakeAndReset, "unavailable"),
    ] {
        google.issuer.will([act.clone()]);
        let delivered = courier.deliver(&letter()).await;
        assert_eq!(fate(&delivered), expected, "{act:?}: {delivered:?}");
    }

    assert_eq!(google.fcm.connections(), 0);
    google.will_issue("ya29.first", 3_599);
    courier.deliver(&letter()).await.unwrap();
}

#[tokio::test]
async fn where_fcm_is_not_used_its_devices_are_refused_in_production() {
    let settings = [
        ("MODE", "production"),
        ("PUSH__WEB_PUSH", "true"),
        ("PUSH__CONTACT", "mailto:push@example.com"),
    ];
    let house = House::new().with(&settings);
    let file = house.folder().join("secrets/vapid");
    let house = house.with_secret("vapid", "yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(file, mode).unwrap();

    let delivered = house.courier(Medium::Push).deliver(&letter()).await;

    assert_eq!(fate(&delivered), "refused", "{delivered:?}");
}
