//! Text messages, given to fakes of each provider's API.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use madang::domain::letters::{Content, Letter, PhoneNumber};
use madang::domain::media::Medium;
use madang::providers::couriers::DeliveryError;
use serde_json::json;
use sha2::Sha256;

use crate::fake::{Act, Fake, answer};
use crate::house::{House, fate, sms};

const KEY: &str = "AC0123456789";
const SECRET: &str = "hunter2";

fn house(provider: &str, fake: &Fake) -> House {
    let url = fake.url("/api/");
    House::new()
        .with(&[
            ("SMS__PROVIDER", provider),
            ("SMS__BASE_URL", &url),
            ("SMS__SENDER", "+15005550006"),
        ])
        .with_secret("sms_key", KEY)
        .with_secret("sms_secret", SECRET)
}

fn hmac(content: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(content.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn to(letter: Letter, number: &str) -> Letter {
    let Content::Sms(mut content) = letter.content.clone() else { panic!("it is no text message") };
    content.to = PhoneNumber::parse(number).unwrap();
    Letter { content: Content::Sms(content), ..letter }
}

#[tokio::test]
async fn a_gateway_of_ones_own_is_given_signed_json() {
    let fake = Fake::start().await;
    let house = house("http", &fake).with(&[("SMS__SIGNATURE_HEADER", "X-Gateway-Signature")]);
    let courier = house.courier(Medium::Sms);
    let letter = sms("인증번호 123456 🙂");
    fake.will([answer(202, r#"{"id":"gateway-7"}"#), answer(500, ""), answer(200, "")]);

    let receipt = courier.deliver(&letter).await.unwrap();

    assert_eq!(receipt.provider_id.as_deref(), Some("gateway-7"));
    let request = fake.last_request();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/api"));
    assert_eq!(
        request.json(),
        json!({
            "id": letter.id,
            "to": "+821012345678",
            "from": "+15005550006",
            "text": "인증번호 123456 🙂",
        })
    );
    assert_eq!(request.header("x-api-key"), KEY);
    let signed = format!("{}.{}", request.header("x-timestamp"), request.text());
    assert_eq!(request.header("x-gateway-signature"), hmac(&signed));

    // Every attempt is known as one.
    assert_eq!(fate(&courier.deliver(&letter).await), "unavailable");
    assert_eq!(fate(&courier.deliver(&letter).await), "delivered");
    for request in fake.requests() {
        assert_eq!(request.header("idempotency-key"), letter.id.to_string());
    }
}

#[tokio::test]
async fn solapi_is_given_what_it_asks_for() {
    let fake = Fake::start().await;
    let courier = house("solapi", &fake).courier(Medium::Sms);
    let taken = r#"{"groupInfo":{"groupId":"G4V2"},"failedMessageList":[],"messageList":[{}]}"#;
    fake.will([answer(200, taken), answer(200, taken)]);
    let letter = sms("인증번호 123456 🙂");

    let receipt = courier.deliver(&letter).await.unwrap();
    courier.deliver(&sms(&"가".repeat(46))).await.unwrap();

    assert_eq!(receipt.provider_id.as_deref(), Some("G4V2"));
    let [short, long] = &fake.requests()[..] else { panic!("there were two requests") };
    assert_eq!(short.path, "/api/messages/v4/send-many/detail");
    assert_eq!(
        short.json(),
        json!({ "messages": [{
            "to": "01012345678",
            "from": "15005550006",
            "text": "인증번호 123456 ?",
            "type": "SMS",
            "customFields": { "id": letter.id },
        }] })
    );
    assert_eq!(long.json()["messages"][0]["type"], "LMS");

    let authorization = short.header("authorization").strip_prefix("HMAC-SHA256 ").unwrap();
    let fields: std::collections::HashMap<&str, &str> =
        authorization.split(", ").map(|field| field.split_once('=').unwrap()).collect();
    assert_eq!(fields["apiKey"], KEY);
    assert_eq!(fields["signature"], hmac(&format!("{}{}", fields["date"], fields["salt"])));
    assert!(fields["date"].ends_with('Z') && (12..=64).contains(&fields["salt"].len()));
    assert_ne!(short.header("authorization"), long.header("authorization"));
}

#[tokio::test]
async fn solapi_says_no_in_its_own_ways() {
    let fake = Fake::start().await;
    let courier = house("solapi", &fake).courier(Medium::Sms);
    let failed = |code: &str| {
        json!({ "groupInfo": { "groupId": "G" }, "failedMessageList": [{ "statusCode": code }] })
            .to_string()
    };

    for (status, body, expected) in [
        (200, failed("1020"), "refused"),
        (200, failed("1030"), "misconfigured"),
        (200, failed("1062"), "misconfigured"),
        // An answer that says nothing about the message.
        (200, "nonsense".to_owned(), "unavailable"),
        (200, "{}".to_owned(), "unavailable"),
        (400, json!({ "errorCode": "ValidationError" }).to_string(), "refused"),
        (400, json!({ "errorCode": "NotEnoughBalance" }).to_string(), "misconfigured"),
        (401, json!({ "errorCode": "SignatureDoesNotMatch" }).to_string(), "misconfigured"),
        (403, String::new(), "misconfigured"),
        (429, String::new(), "throttled"),
        (500, String::new(), "unavailable"),
    ] {
        fake.will([answer(status, &body)]);
        let delivered = courier.deliver(&sms("안녕")).await;
        assert_eq!(fate(&delivered), expected, "{status} {body}: {delivered:?}");
    }

    let before = fake.connections();
    let abroad = courier.deliver(&to(sms("hello"), "+15005550009")).await;
    assert_eq!(fate(&abroad), "refused", "{abroad:?}");
    assert_eq!(fake.connections(), before);
}

#[tokio::test]
async fn twilio_is_given_a_form() {
    let fake = Fake::start().await;
    fake.will([answer(201, r#"{"sid":"SM0123","status":"queued"}"#), answer(201, "nonsense")]);

    let receipt =
        house("twilio", &fake).courier(Medium::Sms).deliver(&sms("안녕 & bye")).await.unwrap();

    assert_eq!(receipt.provider_id.as_deref(), Some("SM0123"));
    let request = fake.last_request();
    assert_eq!(request.path, format!("/api/2010-04-01/Accounts/{KEY}/Messages.json"));
    assert_eq!(request.header("content-type"), "application/x-www-form-urlencoded");
    let basic = STANDARD.encode(format!("{KEY}:{SECRET}"));
    assert_eq!(request.header("authorization"), format!("Basic {basic}"));
    assert_eq!(
        request.text(),
        "To=%2B821012345678&From=%2B15005550006&Body=%EC%95%88%EB%85%95+%26+bye"
    );

    // A messaging service, and an API key for another account.
    let house = house("twilio", &fake).with(&[("SMS__SENDER", "MG77"), ("SMS__ACCOUNT", "AC77")]);
    let receipt = house.courier(Medium::Sms).deliver(&sms("hi")).await.unwrap();
    assert_eq!(receipt.provider_id, None);
    let request = fake.last_request();
    assert_eq!(request.path, "/api/2010-04-01/Accounts/AC77/Messages.json");
    assert!(request.text().contains("MessagingServiceSid=MG77"), "{}", request.text());
}

#[tokio::test]
async fn twilio_says_no_by_code_and_by_status() {
    let fake = Fake::start().await;
    let courier = house("twilio", &fake).courier(Medium::Sms);

    for (status, code, expected) in [
        (400, 21_211, "refused"),
        (400, 21_610, "gone"),
        (400, 21_614, "gone"),
        (400, 21_606, "misconfigured"),
        (400, 21_611, "throttled"),
        (400, 99_999, "refused"),
        (401, 20_003, "misconfigured"),
        (402, 20_005, "misconfigured"),
        (404, 20_404, "misconfigured"),
        (429, 20_429, "throttled"),
        (500, 20_500, "unavailable"),
        (503, 0, "unavailable"),
    ] {
        let said =
            json!({ "code": code, "message": "The number +821012345678 …", "status": status });
        fake.will([answer(status, &said.to_string())]);
        let delivered = courier.deliver(&sms("안녕")).await;
        assert_eq!(fate(&delivered), expected, "{status} {code}: {delivered:?}");
        assert!(!format!("{delivered:?}").contains("8210"), "{delivered:?}");
    }
}

#[tokio::test]
async fn a_gateway_says_no_by_code_and_by_status() {
    let fake = Fake::start().await;
    let courier = house("http", &fake).courier(Medium::Sms);

    for (status, body, expected) in [
        (422, r#"{"code":"invalid_number"}"#, "refused"),
        (422, r#"{"code":"number_gone"}"#, "gone"),
        (400, "nonsense", "refused"),
        (401, "", "misconfigured"),
        (403, "", "misconfigured"),
        (404, "", "misconfigured"),
        (302, "", "misconfigured"),
        (409, "", "deferred"),
        (410, "", "gone"),
        (500, "", "unavailable"),
    ] {
        fake.will([answer(status, body)]);
        let delivered = courier.deliver(&sms("안녕")).await;
        assert_eq!(fate(&delivered), expected, "{status} {body}: {delivered:?}");
    }

    let wait = vec![("Retry-After", "7".to_owned())];
    fake.will([Act::Answer(429, wait, String::new())]);
    let Err(DeliveryError::Throttled { retry_after, .. }) = courier.deliver(&sms("안녕")).await
    else {
        panic!("429 is for later");
    };
    assert_eq!(retry_after, Some(Duration::from_secs(7)));
}

#[tokio::test]
async fn a_long_text_is_cut_to_what_it_may_cost_or_refused() {
    let fake = Fake::start().await;
    let one = [("SMS__SEGMENTS_MAX", "1")];
    let long = sms(&"가".repeat(200));

    house("http", &fake).with(&one).courier(Medium::Sms).deliver(&long).await.unwrap();
    assert_eq!(fake.last_request().json()["text"], format!("{}…", "가".repeat(69)));

    let before = fake.connections();
    let refusing = house("http", &fake).with(&one).with(&[("SMS__TOO_LONG", "refuse")]);
    let delivered = refusing.courier(Medium::Sms).deliver(&long).await;
    assert_eq!(fate(&delivered), "refused", "{delivered:?}");
    assert_eq!(fake.connections(), before);
}
