//! What the relay queues for webhooks, and what is made of it, on a database of its own.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::runtime::Handle;

use super::Subscriber as _;
use super::webhooks::WebhookSubscriber;
use crate::actors::post::{Composed, Composer as _, Ended};
use crate::actors::webhooks::{EndpointDraft, Webhooks};
use crate::clock;
use crate::config::Config;
use crate::domain::deliveries::{Delivery, DeliveryEnd, DeliveryStatus};
use crate::domain::events::{DomainEvent, INBOX_SIGNALS, MESSAGE_EVENTS};
use crate::domain::ids::EndpointId;
use crate::domain::letters::{Content, Letter};
use crate::domain::media::Medium;
use crate::domain::webhooks::{BODY_BYTES_MAX, Description, DisableReason, EventFilter};
use crate::providers::seal::Seal;
use crate::store::deliveries::queue::{self, Claimed, Fate, Settlement, Wanted};
use crate::store::relay::{OutboxEvent, OutboxPosition};
use crate::store::testing::database_urls;
use crate::store::webhooks::{EndpointChange, LoggedDelivery};
use crate::store::{Store, StoreError, outbox};

const URL: &str = "https://hooks.example.com/madang";
const QUEUED_MAX: i64 = 300;

struct Fixture {
    store: Store,
    subscriber: WebhookSubscriber,
    webhooks: Webhooks,
    data: std::path::PathBuf,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

fn seal(key: &str) -> Option<Seal> {
    Some(Seal::new(&key.repeat(43).into()).unwrap())
}

impl Fixture {
    async fn new() -> Self {
        Self::on("").await
    }

    /// On the database at this URL; "" is a file of its own.
    async fn on(database: &str) -> Self {
        let data = std::env::temp_dir().join(format!("madang-webhooks-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let settings =
            [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", database)];
        let config = Config::read(None, settings).unwrap();
        let store = Store::connect(&config, Handle::current()).await.unwrap();
        store.migrate("test".to_owned()).await.unwrap();
        let subscriber = WebhookSubscriber::new(store.clone(), "node-a".to_owned(), QUEUED_MAX);
        let webhooks = Webhooks::new(store.clone(), seal("a"));
        Self { store, subscriber, webhooks, data }
    }

    async fn endpoint(&self, events: &[&str]) -> (EndpointId, SecretString) {
        let draft = EndpointDraft {
            url: URL.to_owned(),
            events: EventFilter::parse(events).unwrap(),
            description: Description::default(),
        };
        let (endpoint, secret) = self.webhooks.create(draft, "user:1".to_owned()).await.unwrap();
        (endpoint.id, secret)
    }

    /// Events of this topic, as the relay reads them.
    async fn publish(&self, names: &[&'static str], data: &Value) -> Vec<OutboxEvent> {
        self.publish_in(MESSAGE_EVENTS, names, data).await
    }

    async fn publish_in(
        &self,
        topic: &'static str,
        names: &[&'static str],
        data: &Value,
    ) -> Vec<OutboxEvent> {
        let events: Vec<DomainEvent> = names
            .iter()
            .map(|name| DomainEvent {
                id: clock::new_uuid().into(),
                topic,
                name,
                subject: "room".to_owned(),
                at: clock::now(),
                data: data.clone(),
            })
            .collect();
        let last = events.last().unwrap().id;
        let appended: Result<(), StoreError> = self
            .store
            .write(move |db| Box::pin(async move { outbox::append_all(db, &events).await }))
            .await;
        appended.unwrap();
        // Nobody reads what a transaction that is still open elsewhere might slip in before.
        loop {
            let all = self.store.list_outbox(OutboxPosition::START, 500).await.unwrap();
            if all.iter().any(|event| event.id == last) {
                return all.into_iter().filter(|event| event.topic == topic).collect();
            }
            tokio::task::yield_now().await;
        }
    }

    /// What is queued for an endpoint, the oldest first.
    async fn log(&self, endpoint: EndpointId) -> Vec<LoggedDelivery> {
        let mut log = self.store.list_webhook_deliveries(endpoint, None, 1_000).await.unwrap();
        log.reverse();
        log
    }

    /// Takes everything that is queued, the oldest first.
    async fn claimed(&self) -> Vec<Claimed> {
        let wanted =
            Wanted { medium: Medium::Webhook, limit: 1_000, party_max: 1_000, held: Vec::new() };
        let (owner, lease) = (clock::new_uuid().into(), Duration::from_secs(60));
        self.store.claim_deliveries(owner, &wanted, lease, clock::now()).await.unwrap()
    }

    /// The receiver has answered 410 to this letter.
    async fn settle_as_gone(&self, claimed: Claimed, letter: Letter) {
        let Claimed { claim, delivery } = claimed;
        let (webhooks, at) = (self.webhooks.clone(), clock::now());
        let (end, reason) = (DeliveryEnd::Gone, Some("gone".to_owned()));
        let fate = Fate::Ended { status: end.status(), reason: reason.clone(), provider_id: None };
        let settlement = Settlement { fate, attempt: None, provider: None };
        let ended = Ended { delivery, letter: Some(Box::new(letter)), end, reason, at };
        let settled: Result<(), StoreError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    queue::settle(db, claim, &settlement, at).await?;
                    webhooks.ended(db, &ended).await
                })
            })
            .await;
        settled.unwrap();
    }

    /// The one letter that is queued, as it goes out.
    async fn letter(&self) -> (Claimed, Letter) {
        let claimed = self.claimed().await.remove(0);
        let composed = self.webhooks.compose(&claimed.delivery).await.unwrap();
        let Composed::Letter(letter) = composed else { panic!("there is no letter") };
        (claimed, *letter)
    }

    async fn compose(&self, webhooks: &Webhooks, endpoint: EndpointId) -> Composed {
        let now = clock::now();
        let delivery = Delivery {
            id: clock::new_uuid().into(),
            medium: Medium::Webhook,
            kind: "MessageSent".to_owned(),
            user: None,
            seq: None,
            target: Some(endpoint.uuid()),
            digest_key: None,
            data: Some("{}".to_owned()),
            attempts: 1,
            created_at: now,
            first_due_at: now,
            due_at: now,
        };
        webhooks.compose(&delivery).await.unwrap()
    }
}

/// The keys that a letter is signed with, as their holder has them.
fn keys(composed: &Composed) -> Vec<String> {
    let Composed::Letter(letter) = composed else { panic!("there is no letter: {composed:?}") };
    let Content::Webhook(content) = &letter.content else { panic!("it is another letter") };
    assert_eq!((content.url.as_str(), content.body.as_str()), (URL, "{}"));
    content.keys.iter().map(|key| key.expose_secret().to_owned()).collect()
}

#[tokio::test]
async fn an_event_that_is_offered_again_is_queued_once_for_each_endpoint() {
    let fixture = Fixture::new().await;
    let (all, _) = fixture.endpoint(&["*"]).await;
    let (some, _) = fixture.endpoint(&["MessageSent"]).await;
    let events = fixture.publish(&["MessageSent", "MessagesRead"], &json!({ "seq": 7 })).await;

    fixture.subscriber.take(&events[..1]).await.unwrap();
    let first = fixture.log(all).await;
    fixture.subscriber.take(&events).await.unwrap();
    fixture.subscriber.take(&events).await.unwrap();

    let log = fixture.log(all).await;
    assert_eq!(log.len(), 2);
    assert_eq!(log[0], first[0], "what is queued stays as it is");
    assert_eq!(fixture.log(some).await.len(), 1);
    assert_eq!(log[0].event_id.as_deref(), Some(events[0].id.to_string().as_str()));
    let queued = fixture.claimed().await;
    let body: Value = serde_json::from_str(queued[0].delivery.data.as_deref().unwrap()).unwrap();
    assert_eq!(body["id"], events[0].id.to_string());
    assert_eq!((&body["type"], &body["source"]), (&json!("MessageSent"), &json!("node-a")));
    assert_eq!(body["data"], json!({ "seq": 7 }));
}

#[tokio::test]
async fn a_signal_within_the_house_is_sent_to_nobody() {
    let fixture = Fixture::new().await;
    let (everything, _) = fixture.endpoint(&["*"]).await;
    let (by_name, _) = fixture.endpoint(&["InboxChanged"]).await;
    let events = fixture.publish_in(INBOX_SIGNALS, &["InboxChanged"], &json!({})).await;
    assert_eq!(events.len(), 1);

    fixture.subscriber.take(&events).await.unwrap();

    for endpoint in [everything, by_name] {
        assert!(fixture.log(endpoint).await.is_empty());
    }
}

#[tokio::test]
async fn a_page_for_many_endpoints_is_queued_in_parts() {
    let fixture = Fixture::new().await;
    let mut endpoints = Vec::new();
    for _ in 0..7 {
        endpoints.push(fixture.endpoint(&["*"]).await.0);
    }
    let events = fixture.publish(&["MessageSent"; 200], &json!({})).await;

    fixture.subscriber.take(&events).await.unwrap();

    for endpoint in endpoints {
        assert_eq!(fixture.log(endpoint).await.len(), 200);
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_told_of_and_not_sent() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.endpoint(&["*"]).await;
    let events = fixture.publish(&["MessageSent"], &json!("a".repeat(BODY_BYTES_MAX))).await;

    fixture.subscriber.take(&events).await.unwrap();

    let log = fixture.log(id).await;
    assert_eq!((log[0].reason.as_deref(), log[0].event_id.as_deref()), (Some("too_large"), None));
}

#[tokio::test]
async fn so_many_deliveries_wait_for_an_endpoint_and_the_log_tells_of_the_others() {
    for url in database_urls().await {
        let fixture = Fixture::on(&url).await;
        let (slow, _) = fixture.endpoint(&["*"]).await;
        let (other, _) = fixture.endpoint(&["MessagesRead"]).await;
        let beyond = 20;
        let names = vec!["MessageSent"; usize::try_from(QUEUED_MAX).unwrap() + beyond];
        let events = fixture.publish(&names, &json!({})).await;

        // In pages, of which the second finds what the first has queued.
        for page in events.chunks(200) {
            fixture.subscriber.take(page).await.unwrap();
        }
        fixture.subscriber.take(&events[events.len() - 1..]).await.unwrap();
        let read = fixture.publish(&["MessagesRead"], &json!({})).await;
        fixture.subscriber.take(&read[events.len()..]).await.unwrap();

        let log = fixture.log(slow).await;
        let dropped = log.iter().filter(|line| line.reason.as_deref() == Some("queue_full"));
        assert_eq!((log.len(), dropped.count()), (names.len() + 1, beyond + 1));
        assert_eq!(fixture.log(other).await[0].reason, None, "another one has its own queue");
        // What was taken makes room.
        for Claimed { claim, .. } in fixture.claimed().await {
            let (status, at) = (DeliveryStatus::Delivered, clock::now());
            let fate = Fate::Ended { status, reason: None, provider_id: None };
            let settlement = Settlement { fate, attempt: None, provider: None };
            let settled: Result<(), StoreError> = fixture
                .store
                .write(move |db| {
                    Box::pin(async move { queue::settle(db, claim, &settlement, at).await })
                })
                .await;
            settled.unwrap();
        }
        let next = fixture.publish(&["MessageSent"], &json!({})).await;
        fixture.subscriber.take(&next[next.len() - 1..]).await.unwrap();
        assert_eq!(fixture.claimed().await.len(), 1);
    }
}

#[tokio::test]
async fn an_endpoint_whose_receiver_is_gone_is_disabled() {
    for url in database_urls().await {
        let fixture = Fixture::on(&url).await;
        let (id, _) = fixture.endpoint(&["*"]).await;
        fixture.webhooks.test(id, "node-a").await.unwrap();
        let (claimed, letter) = fixture.letter().await;

        fixture.settle_as_gone(claimed, letter).await;

        let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
        assert_eq!(endpoint.disabled_reason, Some(DisableReason::Gone));
        let log = fixture.log(id).await;
        let lines: Vec<_> =
            log.iter().map(|line| (line.event.as_str(), line.reason.as_deref())).collect();
        assert_eq!(lines, [("WebhookTest", Some("gone")), ("WebhookDisabled", Some("gone"))]);
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_says_nothing_of_the_address_after_it() {
    for url in database_urls().await {
        let fixture = Fixture::on(&url).await;
        let (id, _) = fixture.endpoint(&["*"]).await;
        fixture.webhooks.test(id, "node-a").await.unwrap();
        let (claimed, letter) = fixture.letter().await;
        let elsewhere = Some("https://hooks.example.com/elsewhere".to_owned());
        let change = EndpointChange { url: elsewhere, ..EndpointChange::default() };
        let by = "user:1".to_owned();
        fixture.store.update_webhook(id, change, by, clock::now()).await.unwrap();

        fixture.settle_as_gone(claimed, letter).await;

        let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
        assert!(endpoint.enabled_at.is_some() && endpoint.disabled_reason.is_none());
    }
}

#[tokio::test]
async fn a_letter_is_signed_with_every_secret_that_is_valid_the_newest_first() {
    let fixture = Fixture::new().await;
    let (id, first) = fixture.endpoint(&["*"]).await;
    let day = Duration::from_secs(86_400);
    let rotate = async |overlap| {
        let rotated = fixture.webhooks.rotate_secret(id, overlap, "user:1".to_owned()).await;
        rotated.unwrap().0
    };
    let text = |secret: &SecretString| secret.expose_secret().to_owned();
    let signed_with = async || keys(&fixture.compose(&fixture.webhooks, id).await);

    assert_eq!(signed_with().await, [text(&first)]);
    let second = rotate(day).await;
    assert_eq!(signed_with().await, [text(&second), text(&first)]);
    let third = rotate(day).await;
    assert_eq!(signed_with().await, [text(&third), text(&second)]);
    let later = clock::now().plus(day);
    let addressee = fixture.store.find_webhook_addressee(id, later).await.unwrap().unwrap();
    assert_eq!(addressee.secrets.len(), 1, "the one before has ended");
    let fourth = rotate(Duration::ZERO).await;
    assert_eq!(signed_with().await, [text(&fourth)]);
}

#[tokio::test]
async fn there_is_no_letter_for_who_is_not_there_or_not_readable() {
    let fixture = Fixture::new().await;
    let (id, _) = fixture.endpoint(&["*"]).await;
    for webhooks in [
        Webhooks::new(fixture.store.clone(), seal("b")),
        Webhooks::new(fixture.store.clone(), None),
    ] {
        let composed = fixture.compose(&webhooks, id).await;
        assert!(matches!(composed, Composed::Unable(_)), "{composed:?}");
        let rotated = webhooks.rotate_secret(id, Duration::ZERO, String::new()).await;
        assert!(rotated.is_err(), "one key seals everything");
    }

    let now = clock::now();
    assert!(fixture.store.disable_webhook(id, DisableReason::Gone, now).await.unwrap());
    let composed = fixture.compose(&fixture.webhooks, id).await;
    assert!(
        matches!(&composed, Composed::Suppressed(reason) if reason == "endpoint_disabled"),
        "{composed:?}"
    );
    let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
    assert_eq!(endpoint.disabled_reason, Some(DisableReason::Gone));

    fixture.store.delete_webhook(id, String::new(), clock::now()).await.unwrap();
    let composed = fixture.compose(&fixture.webhooks, id).await;
    assert!(
        matches!(&composed, Composed::Suppressed(reason) if reason == "endpoint_deleted"),
        "{composed:?}"
    );
}

#[tokio::test]
async fn a_new_key_brings_a_new_secret_to_every_endpoint() {
    let fixture = Fixture::new().await;
    let (id, before) = fixture.endpoint(&["*"]).await;
    let renewed = Webhooks::new(fixture.store.clone(), seal("b"));

    let shown = renewed.renew_secrets("command_line").await.unwrap();

    let fresh = shown[0].1.expose_secret().to_owned();
    assert_ne!(fresh, before.expose_secret());
    assert_eq!(keys(&fixture.compose(&renewed, id).await), [fresh]);
    let composed = fixture.compose(&fixture.webhooks, id).await;
    assert!(matches!(composed, Composed::Unable(_)), "{composed:?}");
}
