//! When an endpoint is disabled, on both databases.

use std::time::Duration;

use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::deliveries::{DeliveryStatus, NewDelivery};
use crate::domain::ids::EndpointId;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{Description, DisableReason, EventFilter, FAILING_MAX};
use crate::store::relay::OutboxPosition;
use crate::store::webhooks::{EndpointChange, Kept, NewEndpoint, SealedSecret};
use crate::store::{StoreError, deliveries, execute};

const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);
const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);
/// Longer than anything may fail.
const LONG_AGO: Duration = FAILING_MAX.saturating_add(HOUR);

/// What is the matter with an endpoint, what became of what it was sent, and whether it is disabled for that.
type Case = (&'static str, &'static [(Duration, DeliveryStatus)], bool);

impl Fixture {
    async fn endpoint(&self, now: Timestamp) -> EndpointId {
        let endpoint = NewEndpoint {
            id: clock::new_uuid().into(),
            url: "https://hooks.example.com".to_owned(),
            events: EventFilter::parse(&["*"]).unwrap(),
            description: Description::default(),
            secret: SealedSecret { bytes: vec![1, 2, 3], mark: "mark".to_owned() },
            by: "user:1".to_owned(),
        };
        let id = endpoint.id;
        assert_eq!(self.store.insert_webhook(endpoint, now).await.unwrap(), Kept::Done);
        id
    }

    /// A delivery that was wanted `ago` and has come to this, by attempts.
    async fn delivery(&self, endpoint: EndpointId, ago: Duration, status: DeliveryStatus) {
        let at = NOW.minus(ago);
        let delivery = NewDelivery {
            id: clock::new_uuid().into(),
            medium: Medium::Webhook,
            kind: "MessageSent".to_owned(),
            user: None,
            seq: None,
            target: Some(endpoint.uuid()),
            digest_key: None,
            data: Some("{}".to_owned()),
            due_at: at,
            suppressed: None,
        };
        let done: Result<(), StoreError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let id = delivery.id.uuid();
                    deliveries::insert_all(db, &[delivery], at).await?;
                    let finished = (status != DeliveryStatus::Queued).then_some(at.millis());
                    execute!(
                        db,
                        "UPDATE deliveries SET status = $2, attempts = 1, finished_at = $3
                         WHERE id = $1",
                        id,
                        status.as_str(),
                        finished,
                    )
                    .map(|_| ())
                })
            })
            .await;
        done.unwrap();
    }

    async fn failing(&self) -> Vec<EndpointId> {
        self.store.disable_failing_webhooks(FAILING_MAX, NOW).await.unwrap()
    }
}

#[tokio::test]
async fn an_endpoint_is_disabled_once_with_a_line_in_its_log_and_an_event() {
    for fixture in fixtures().await {
        let (id, other) = (fixture.endpoint(NOW).await, fixture.endpoint(NOW).await);

        let disable = || fixture.store.disable_webhook(id, DisableReason::Gone, NOW);
        assert!(disable().await.unwrap());
        assert!(!disable().await.unwrap(), "it is disabled already");

        let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
        assert_eq!(endpoint.disabled_reason, Some(DisableReason::Gone));
        assert_eq!(endpoint.enabled_at, None);
        let log = fixture.store.list_webhook_deliveries(id, None, 10).await.unwrap();
        assert_eq!(log.len(), 1);
        assert_eq!(
            (log[0].event.as_str(), log[0].reason.as_deref()),
            ("WebhookDisabled", Some("gone"))
        );
        assert_eq!(log[0].status, DeliveryStatus::Suppressed);
        let replayed = fixture.store.replay_webhook_since(id, NOW, NOW).await.unwrap();
        assert_eq!((replayed.count, replayed.has_more), (0, false), "a line is nothing to send");
        assert!(!fixture.store.replay_webhook_delivery(id, log[0].id, NOW).await.unwrap());

        let receivers = fixture.store.list_webhook_receivers().await.unwrap();
        assert_eq!(receivers.iter().map(|receiver| receiver.id).collect::<Vec<_>>(), [other]);
        // Nobody reads what a transaction that is still open elsewhere might slip in before.
        let outbox = loop {
            let outbox = fixture.store.list_outbox(OutboxPosition::START, 500).await.unwrap();
            if outbox.iter().any(|event| event.name == "WebhookDisabled") {
                break outbox;
            }
            tokio::task::yield_now().await;
        };
        let disabled = outbox.iter().filter(|event| event.name == "WebhookDisabled");
        assert_eq!(disabled.count(), 1);

        // Whoever disables it by hand keeps the reason; whoever enables it clears it.
        let change =
            |is_enabled| EndpointChange { is_enabled: Some(is_enabled), ..Default::default() };
        let update = async |is_enabled| {
            let update = fixture.store.update_webhook(id, change(is_enabled), String::new(), NOW);
            update.await.unwrap().unwrap()
        };
        assert_eq!(update(false).await.disabled_reason, Some(DisableReason::Gone));
        let enabled = update(true).await;
        assert_eq!((enabled.disabled_reason, enabled.enabled_at), (None, Some(NOW)));
        assert_eq!(update(false).await.disabled_reason, Some(DisableReason::ByRequest));
    }
}

#[tokio::test]
async fn what_fails_for_five_days_is_disabled_and_nothing_else() {
    use DeliveryStatus::{Bounced, Dead, Delivered, Queued};
    for fixture in fixtures().await {
        let cases: [Case; 6] = [
            ("it fails as it did", &[(LONG_AGO, Dead), (HOUR, Queued)], true),
            ("it refuses", &[(LONG_AGO, Bounced), (HOUR, Bounced)], true),
            ("it took something", &[(LONG_AGO, Dead), (DAY, Delivered), (HOUR, Dead)], false),
            ("it began today", &[(HOUR, Dead), (HOUR, Queued)], false),
            ("it is sent nothing", &[(LONG_AGO, Dead)], false),
            ("nothing was ever sent", &[], false),
        ];
        let mut expected = Vec::new();
        for (what, history, is_failing) in cases {
            let id = fixture.endpoint(NOW.minus(LONG_AGO * 2)).await;
            for (ago, status) in history {
                fixture.delivery(id, *ago, *status).await;
            }
            if is_failing {
                expected.push((what, id));
            }
        }
        // Enabled since: what failed before says nothing.
        let enabled = fixture.endpoint(NOW.minus(HOUR * 2)).await;
        fixture.delivery(enabled, LONG_AGO, Dead).await;
        fixture.delivery(enabled, HOUR, Dead).await;

        let ids: Vec<EndpointId> = expected.iter().map(|(_, id)| *id).collect();
        assert_eq!(fixture.failing().await, ids, "{expected:?}");
        assert!(fixture.failing().await.is_empty(), "each once");
        for id in ids {
            let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
            assert_eq!(endpoint.disabled_reason, Some(DisableReason::Failing));
        }
    }
}
