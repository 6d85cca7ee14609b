//! Webhooks, verified by the library of their standard.

use std::time::Duration;

use madang::domain::letters::{Content, Letter};
use madang::domain::media::Medium;
use madang::providers::couriers::DeliveryError;
use serde_json::json;

use crate::fake::{Act, Fake, Request, answer};
use crate::house::{House, WEBHOOK_KEY, fate, webhook};
use crate::tools::check;

const OLDER_KEY: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";

fn is_believed(request: &Request, key: &str) -> bool {
    let names = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers: serde_json::Map<_, _> =
        names.map(|name| (name.to_owned(), json!(request.header(name)))).into_iter().collect();
    let given = json!({ "key": key, "body": request.text(), "headers": headers });
    check("webhook", &given)["believed"] == true
}

fn with_keys(letter: Letter, keys: &[&str]) -> Letter {
    let Content::Webhook(mut content) = letter.content.clone() else { panic!("it is no webhook") };
    content.keys = keys.iter().map(|key| (*key).into()).collect();
    Letter { content: Content::Webhook(content), ..letter }
}

#[tokio::test]
async fn a_webhook_is_believed_by_whoever_has_one_of_its_keys() {
    let fake = Fake::start().await;
    let courier = House::new().courier(Medium::Webhook);
    let letter = with_keys(webhook(&fake.url("/hook?a=b")), &[WEBHOOK_KEY, OLDER_KEY]);

    courier.deliver(&letter).await.unwrap();

    let request = fake.last_request();
    assert_eq!((request.method.as_str(), request.path.as_str()), ("POST", "/hook?a=b"));
    assert_eq!(request.header("content-type"), "application/json");
    assert_eq!(request.header("webhook-id"), letter.id.to_string());
    assert!(request.header("user-agent").starts_with("madang/"));
    let Content::Webhook(content) = &letter.content else { panic!("it is no webhook") };
    assert_eq!(request.text(), content.body);
    assert!(is_believed(&request, WEBHOOK_KEY) && is_believed(&request, OLDER_KEY));
    assert!(!is_believed(&request, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"));
    let mut changed = request.clone();
    changed.body.push(b' ');
    assert!(!is_believed(&changed, WEBHOOK_KEY));
}

#[tokio::test]
async fn the_status_decides_and_the_body_does_not() {
    let fake = Fake::start().await;
    let courier = House::new().courier(Medium::Webhook);

    for (status, expected) in [
        (200, "delivered"),
        (201, "delivered"),
        (204, "delivered"),
        (301, "deferred"),
        (307, "deferred"),
        (400, "deferred"),
        (401, "deferred"),
        (404, "deferred"),
        (410, "gone"),
        (413, "deferred"),
        (429, "deferred"),
        (500, "unavailable"),
        (502, "unavailable"),
        (503, "unavailable"),
    ] {
        fake.will([answer(status, "a secret of the receiver")]);

        let delivered = courier.deliver(&webhook(&fake.url("/hook"))).await;

        assert_eq!(fate(&delivered), expected, "{status}: {delivered:?}");
        assert!(!format!("{delivered:?}").contains("secret"), "{delivered:?}");
    }
}

#[tokio::test]
async fn a_receiver_that_asks_for_time_is_given_it() {
    let fake = Fake::start().await;
    let courier = House::new().courier(Medium::Webhook);

    for status in [429, 503] {
        fake.will([Act::Answer(status, vec![("Retry-After", "120".to_owned())], String::new())]);
        let delivered = courier.deliver(&webhook(&fake.url("/hook"))).await;
        let Err(DeliveryError::Deferred { retry_after, .. }) = delivered else {
            panic!("{delivered:?}");
        };
        assert_eq!(retry_after, Some(Duration::from_secs(120)));
    }
}

#[tokio::test]
async fn nobody_is_followed_elsewhere() {
    let (fake, elsewhere) = (Fake::start().await, Fake::start().await);
    let courier = House::new().courier(Medium::Webhook);

    for status in [301, 302, 303, 307, 308] {
        let location = elsewhere.url("/metadata");
        fake.will([Act::Answer(status, vec![("Location", location)], String::new())]);
        let delivered = courier.deliver(&webhook(&fake.url("/hook"))).await;
        assert_eq!(fate(&delivered), "deferred", "{delivered:?}");
    }

    assert_eq!(fake.requests().len(), 5);
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_webhook_without_a_key_that_signs_is_not_sent() {
    let fake = Fake::start().await;
    let courier = House::new().courier(Medium::Webhook);

    for keys in [&[][..], &["whsec_c2hvcnQ="], &[WEBHOOK_KEY, "nonsense"]] {
        let delivered = courier.deliver(&with_keys(webhook(&fake.url("/hook")), keys)).await;
        assert_eq!(fate(&delivered), "misconfigured", "{delivered:?}");
    }

    assert_eq!(fake.connections(), 0);
}

#[tokio::test]
async fn the_route_is_the_host() {
    let courier = House::new().courier(Medium::Webhook);

    for (url, route) in [
        ("https://Hooks.Example.com/a?token=hunter2", "hooks.example.com"),
        ("https://hooks.example.com:8443/b", "hooks.example.com:8443"),
        ("nonsense", "webhook"),
    ] {
        assert_eq!(courier.route(&webhook(url)), route);
    }
}
