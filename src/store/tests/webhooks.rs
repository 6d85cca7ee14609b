//! When an endpoint is disabled, on both databases.

use std::time::Duration;

use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::deliveries::{DeliveryStatus, NewDelivery};
use crate::domain::ids::EndpointId;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{
    Description, DisableReason, EventFilter, FAILING_MAX, FULL_MAX, QUEUE_FULL, REPLAYED_MAX,
};
use crate::store::relay::OutboxPosition;
use crate::store::webhooks::{Endpoint, EndpointChange, Kept, NewEndpoint, SealedSecret};
use crate::store::{StoreError, deliveries, execute, fetch_all};

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
        let delivery = event(endpoint, at);
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

    /// An event for which there was no place, `ago`.
    async fn dropped(&self, endpoint: EndpointId, ago: Duration) {
        let at = NOW.minus(ago);
        let delivery = NewDelivery {
            data: None,
            suppressed: Some(QUEUE_FULL.to_owned()),
            ..event(endpoint, at)
        };
        self.store.insert_webhook_deliveries(vec![delivery], at).await.unwrap();
    }

    async fn changed(
        &self,
        endpoint: EndpointId,
        change: EndpointChange,
        ago: Duration,
    ) -> Endpoint {
        let by = "user:1".to_owned();
        let changed = self.store.update_webhook(endpoint, change, by, NOW.minus(ago)).await;
        changed.unwrap().unwrap()
    }

    /// The events that were published, `WebhookDisabled` among them.
    async fn event_names(&self) -> Vec<String> {
        // Nobody reads what a transaction that is still open elsewhere might slip in before.
        loop {
            let outbox = self.store.list_outbox(OutboxPosition::START, 500).await.unwrap();
            if outbox.iter().any(|event| event.name == "WebhookDisabled") {
                return outbox.into_iter().map(|event| event.name).collect();
            }
            tokio::task::yield_now().await;
        }
    }

    async fn failing(&self) -> Vec<EndpointId> {
        self.store.disable_failing_webhooks(FAILING_MAX, NOW).await.unwrap()
    }
}

fn event(endpoint: EndpointId, at: Timestamp) -> NewDelivery {
    NewDelivery {
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

        let receivers = fixture.store.list_webhook_receivers(10).await.unwrap();
        assert_eq!(receivers.iter().map(|receiver| receiver.id).collect::<Vec<_>>(), [other]);
        let told = fixture.event_names().await;
        assert_eq!(told.iter().filter(|name| *name == "WebhookDisabled").count(), 1);

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

        // Given another address since: what failed before was at the one before.
        let moved = fixture.endpoint(NOW.minus(LONG_AGO * 2)).await;
        fixture.delivery(moved, LONG_AGO, Dead).await;
        fixture.delivery(moved, HOUR, Dead).await;
        let elsewhere = Some("https://hooks.example.com/elsewhere".to_owned());
        let change = EndpointChange { url: elsewhere, ..EndpointChange::default() };
        fixture.changed(moved, change, HOUR * 2).await;

        let ids: Vec<EndpointId> = expected.iter().map(|(_, id)| *id).collect();
        assert_eq!(fixture.failing().await, ids, "{expected:?}");
        assert!(fixture.failing().await.is_empty(), "each once");
        for id in ids {
            let endpoint = fixture.store.find_webhook(id).await.unwrap().unwrap();
            assert_eq!(endpoint.disabled_reason, Some(DisableReason::Failing));
        }
    }
}

#[tokio::test]
async fn what_has_no_place_for_a_day_and_takes_nothing_is_disabled() {
    for fixture in fixtures().await {
        let minute = Duration::from_secs(60);
        let day = FULL_MAX + HOUR;
        let endpoint = async |dropped: &[Duration]| {
            let id = fixture.endpoint(NOW.minus(LONG_AGO)).await;
            for ago in dropped {
                fixture.dropped(id, *ago).await;
            }
            id
        };
        let full = endpoint(&[day, minute]).await;
        let slow = endpoint(&[day, minute]).await;
        fixture.delivery(slow, HOUR * 5, DeliveryStatus::Delivered).await;
        endpoint(&[HOUR * 5, minute]).await;
        endpoint(&[day, HOUR * 5]).await;
        let changed = endpoint(&[day, minute]).await;
        let events = Some(EventFilter::parse(&["MessageSent"]).unwrap());
        let change = EndpointChange { events, ..EndpointChange::default() };
        fixture.changed(changed, change, HOUR).await;

        let disabled = fixture.store.disable_full_webhooks(FULL_MAX, NOW).await.unwrap();

        assert_eq!(disabled, [full]);
        let endpoint = fixture.store.find_webhook(full).await.unwrap().unwrap();
        assert_eq!(endpoint.disabled_reason, Some(DisableReason::QueueFull));
    }
}

#[tokio::test]
async fn an_endpoint_that_is_disabled_by_request_tells_of_it_as_any_other() {
    for fixture in fixtures().await {
        let id = fixture.endpoint(NOW.minus(HOUR)).await;
        let off = || EndpointChange { is_enabled: Some(false), ..EndpointChange::default() };

        let endpoint = fixture.changed(id, off(), Duration::ZERO).await;
        fixture.changed(id, off(), Duration::ZERO).await;

        assert_eq!(endpoint.disabled_reason, Some(DisableReason::ByRequest));
        let log = fixture.store.list_webhook_deliveries(id, None, 10).await.unwrap();
        let lines: Vec<_> =
            log.iter().map(|line| (line.event.as_str(), line.reason.as_deref())).collect();
        assert_eq!(lines, [("WebhookDisabled", Some("by_request"))]);
        let told = fixture.event_names().await;
        let told = told.iter().filter(|name| *name == "WebhookDisabled");
        assert_eq!(told.count(), 1);
    }
}

#[tokio::test]
async fn a_replay_goes_on_where_the_one_before_it_stopped() {
    for fixture in fixtures().await {
        let id = fixture.endpoint(NOW.minus(LONG_AGO)).await;
        let at = NOW.minus(HOUR);
        let all = usize::from(REPLAYED_MAX) + 7;
        let lost: Vec<NewDelivery> = (0..all).map(|_| event(id, at)).collect();
        fixture.store.insert_webhook_deliveries(lost, at).await.unwrap();
        let given_up: Result<u64, StoreError> = fixture
            .store
            .write(|db| {
                Box::pin(async move {
                    let update = "UPDATE deliveries SET status = 'dead', finished_at = created_at";
                    execute!(db, update)
                })
            })
            .await;
        given_up.unwrap();

        let replay = || fixture.store.replay_webhook_since(id, at, NOW);
        let (first, second, third) =
            (replay().await.unwrap(), replay().await.unwrap(), replay().await.unwrap());

        assert_eq!((first.count, first.has_more), (u64::from(REPLAYED_MAX), true));
        assert_eq!((second.count, second.has_more), (7, false));
        assert_eq!((third.count, third.has_more), (0, false));
    }
}

#[tokio::test]
async fn what_waits_and_what_is_replayed_are_found_by_their_indexes() {
    let fixture = &fixtures().await[0];
    let plans: Vec<(&str, &str)> = vec![
        (
            "EXPLAIN QUERY PLAN SELECT 1 FROM deliveries d
             WHERE d.target_id = x'01' AND d.medium = 'webhook' AND d.status = 'queued'",
            "deliveries_webhook_queue_idx",
        ),
        (
            "EXPLAIN QUERY PLAN SELECT id FROM deliveries
             WHERE target_id = x'01' AND medium = 'webhook' AND created_at >= 1
               AND status IN ('bounced', 'dead', 'suppressed') AND data IS NOT NULL
             ORDER BY created_at, id",
            "deliveries_webhook_replay_idx",
        ),
    ];
    for (select, index) in plans {
        let steps: Vec<(i64, i64, i64, String)> = fixture
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move { fetch_all!(db, (i64, i64, i64, String), select) })
            })
            .await
            .unwrap();
        assert!(steps.len() == 1 && steps[0].3.contains(index), "{steps:?}");
    }
}
