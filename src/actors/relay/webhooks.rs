//! The relay's way to webhooks: every domain event becomes one delivery for each endpoint that wants it.
//!
//! Invariant: an event for an endpoint always has the same delivery id, so that what the relay repeats is queued once.

use async_trait::async_trait;

use super::Subscriber;
use crate::clock;
use crate::domain::cloud_events::{CloudEvent, Fact};
use crate::domain::deliveries::NewDelivery;
use crate::domain::events::is_outward;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{BODY_BYTES_MAX, QUEUE_FULL, Receiver, TOO_LARGE, delivery_id};
use crate::store::Store;
use crate::store::relay::{OutboxBeginning, OutboxEvent};

/// The name of the cursor; never changes.
const NAME: &str = "webhooks";
/// Deliveries that are queued in one transaction; a page of events for many endpoints needs several.
const QUEUED_TOGETHER_MAX: usize = 500;

/// Queues what endpoints want to hear of. The endpoints are read for each page of events.
pub struct WebhookSubscriber {
    store: Store,
    /// Which node passes the events on.
    source: String,
    /// Deliveries that may wait for one endpoint.
    queued_max: i64,
}

impl WebhookSubscriber {
    /// `source` is the name of this node; more than about `queued_max` deliveries do not wait for one endpoint.
    #[must_use]
    pub fn new(store: Store, source: String, queued_max: i64) -> Self {
        Self { store, source, queued_max }
    }

    fn body(&self, event: &OutboxEvent) -> String {
        let fact = Fact {
            id: event.id,
            name: &event.name,
            subject: &event.subject,
            at: event.at,
            request_id: event.request_id.as_deref(),
            traceparent: event.traceparent.as_deref(),
            data: &event.data,
        };
        CloudEvent::new(&fact, &self.source).to_json()
    }

    /// What an endpoint is sent of an event, or why it is not. What the relay repeats is counted twice, and known in the store.
    fn delivery(
        &self,
        event: &OutboxEvent,
        body: &str,
        receiver: &mut Receiver,
        now: Timestamp,
    ) -> NewDelivery {
        let suppressed = if body.len() > BODY_BYTES_MAX {
            Some(TOO_LARGE)
        } else if receiver.queued >= self.queued_max {
            Some(QUEUE_FULL)
        } else {
            receiver.queued = receiver.queued.saturating_add(1);
            None
        };
        if let Some(reason) = suppressed {
            let (endpoint, event) = (receiver.id, event.id);
            tracing::debug!(endpoint.id = %endpoint, event.id = %event, reason, "an event is not sent");
            metrics::counter!("madang_webhook_events_dropped_total", "reason" => reason)
                .increment(1);
        }
        NewDelivery {
            id: delivery_id(event.id, event.at, receiver.id),
            medium: Medium::Webhook,
            kind: event.name.clone(),
            user: None,
            seq: None,
            target: Some(receiver.id.uuid()),
            digest_key: None,
            data: suppressed.is_none().then(|| body.to_owned()),
            due_at: now,
            suppressed: suppressed.map(str::to_owned),
        }
    }

    async fn queue(&self, wanted: &mut Vec<NewDelivery>, now: Timestamp) -> Result<(), String> {
        if wanted.is_empty() {
            return Ok(());
        }
        let count = u64::try_from(wanted.len()).unwrap_or(u64::MAX);
        let queued = self.store.insert_webhook_deliveries(std::mem::take(wanted), now).await;
        queued.map_err(|error| error.to_string())?;
        metrics::counter!("madang_webhook_deliveries_total").increment(count);
        Ok(())
    }
}

#[async_trait]
impl Subscriber for WebhookSubscriber {
    fn name(&self) -> &'static str {
        NAME
    }

    fn beginning(&self) -> OutboxBeginning {
        OutboxBeginning::Now
    }

    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String> {
        let receivers = self.store.list_webhook_receivers(self.queued_max).await;
        let mut receivers = receivers.map_err(|error| error.to_string())?;
        let now = clock::now();
        let mut wanted = Vec::new();
        for event in events.iter().filter(|event| is_outward(&event.topic)) {
            let takes =
                |receiver: &&mut Receiver| receiver.takes(&event.topic, &event.name, event.at);
            let mut taking = receivers.iter_mut().filter(takes).peekable();
            if taking.peek().is_none() {
                continue;
            }
            let body = self.body(event);
            wanted.extend(taking.map(|receiver| self.delivery(event, &body, receiver, now)));
            if wanted.len() >= QUEUED_TOGETHER_MAX {
                self.queue(&mut wanted, now).await?;
            }
        }
        self.queue(&mut wanted, now).await
    }
}
