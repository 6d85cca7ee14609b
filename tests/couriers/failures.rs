//! Servers that fail, and what every courier over HTTP makes of it: in time, and without a word of what was sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use madang::domain::letters::{Letter, PushTarget};
use madang::domain::media::Medium;
use madang::providers::couriers::Courier;

use crate::fake::{Act, Fake, answer};
use crate::house::{House, fate, push, sms, webhook};

/// Far above the couriers' own limit of 1.5 s, for a busy machine; far below a server's patience, which has no end.
const GIVEN_UP_IN: Duration = Duration::from_secs(30);
const P256DH: &str =
    "BCVxsr7N_eNgVRqvHtD0zTZsEc6-VV-JvLexhqUzORcxaOzi6-AYWXvTBHm4bjyPjs7Vd8pZGH6SRpkNtoIAiw4";

struct Route {
    name: &'static str,
    fake: Fake,
    courier: Arc<dyn Courier>,
    letter: Letter,
    // Its folder has the secrets.
    _house: House,
}

async fn text_messages(provider: &'static str) -> Route {
    let fake = Fake::start().await;
    let house = House::new()
        .with(&[
            ("SMS__PROVIDER", provider),
            ("SMS__BASE_URL", &fake.url("")),
            ("SMS__SENDER", "0212345678"),
        ])
        .with_secret("sms_key", "key")
        .with_secret("sms_secret", "hunter2");
    let (courier, letter) = (house.courier(Medium::Sms), sms("안녕"));
    Route { name: provider, fake, courier, letter, _house: house }
}

async fn routes() -> Vec<Route> {
    let mut routes = Vec::new();
    for provider in ["http", "solapi", "twilio"] {
        routes.push(text_messages(provider).await);
    }

    let (fake, house) = (Fake::start().await, House::new());
    let letter = webhook(&fake.url("/hook?token=hunter2"));
    routes.push(Route {
        name: "webhook",
        courier: house.courier(Medium::Webhook),
        letter,
        fake,
        _house: house,
    });

    let fake = Fake::start().await;
    let house = House::new()
        .with(&[("PUSH__WEB_PUSH", "true"), ("PUSH__CONTACT", "mailto:push@example.com")]);
    let letter = push(PushTarget::WebPush {
        endpoint: fake.url("/push/hunter2"),
        p256dh: P256DH.to_owned(),
        auth: "BTBZMqHH6r4Tts7J_aSIgg".into(),
    });
    let courier = house.courier(Medium::Push);
    routes.push(Route { name: "web push", fake, courier, letter, _house: house });
    routes
}

#[tokio::test]
async fn a_server_that_fails_is_unavailable_and_known_to_be_so_in_time() {
    for route in routes().await {
        for (act, was_taken) in [
            (Act::Ignore, false),
            (Act::TakeAndHang, true),
            (Act::ResetAtOnce, false),
            (Act::TakeAndReset, true),
            (Act::EndInHead, true),
            (Act::DripHead, true),
            (Act::Nonsense, true),
        ] {
            let (before, began) = (route.fake.requests().len(), Instant::now());
            route.fake.will([act.clone()]);

            let delivered = route.courier.deliver(&route.letter).await;

            let name = route.name;
            assert_eq!(fate(&delivered), "unavailable", "{name} {act:?}: {delivered:?}");
            assert!(began.elapsed() < GIVEN_UP_IN, "{name} {act:?}");
            let cause = format!("{delivered:?}");
            let port = route.fake.port().to_string();
            assert!(!cause.contains("hunter2") && !cause.contains(&port), "{cause}");
            // The next attempt knows no better: what was taken may come a second time.
            let taken = route.fake.requests().len() - before;
            assert!(!was_taken || taken >= 1, "{name} {act:?}");
        }
        // And nothing of it is left.
        route.fake.will([answer(200, r#"{"groupInfo":{"groupId":"G"}}"#)]);
        let delivered = route.courier.deliver(&route.letter).await;
        assert_eq!(fate(&delivered), "delivered", "{}: {delivered:?}", route.name);
    }
}

#[tokio::test]
async fn an_answer_without_end_is_not_read_to_its_end() {
    for route in routes().await {
        for act in [Act::HugeBody, Act::DripBody] {
            let began = Instant::now();
            route.fake.will([act.clone()]);

            let delivered = route.courier.deliver(&route.letter).await;

            // Only SOLAPI says in its body what became of the message.
            let expected = if route.name == "solapi" { "unavailable" } else { "delivered" };
            assert_eq!(fate(&delivered), expected, "{} {act:?}: {delivered:?}", route.name);
            assert!(began.elapsed() < GIVEN_UP_IN, "{} {act:?}", route.name);
        }
    }
}

#[tokio::test]
async fn nobody_there_is_unavailable() {
    for route in routes().await {
        drop(route.fake);
        let delivered = route.courier.deliver(&route.letter).await;
        assert_eq!(fate(&delivered), "unavailable", "{}: {delivered:?}", route.name);
    }
}

#[tokio::test]
async fn a_name_that_is_none_is_unavailable() {
    let courier = House::new().courier(Medium::Webhook);

    let delivered = courier.deliver(&webhook("https://nobody.invalid/hook")).await;

    assert_eq!(fate(&delivered), "unavailable", "{delivered:?}");
}

#[tokio::test]
async fn a_letter_for_another_medium_is_refused() {
    let courier = House::new().courier(Medium::Webhook);

    assert_eq!(fate(&courier.deliver(&sms("안녕")).await), "refused");
}
