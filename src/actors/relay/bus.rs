//! The relay's way out: every domain event, as a `CloudEvent`, to the external bus.

use std::sync::Arc;

use async_trait::async_trait;

use super::Subscriber;
use crate::domain::cloud_events::{CloudEvent, Fact};
use crate::domain::events::is_outward;
use crate::providers::bus::{Bus, BusEvent};
use crate::store::relay::OutboxEvent;

/// The name of the cursor; never changes.
pub const NAME: &str = "bus";

/// Publishes what the outbox holds. A bus that is away holds up its own cursor and nobody else.
pub struct BusSubscriber {
    bus: Arc<dyn Bus>,
    /// Which node passes the events on.
    source: String,
}

impl BusSubscriber {
    /// Takes the bus, and the name of this node.
    #[must_use]
    pub fn new(bus: Arc<dyn Bus>, source: String) -> Self {
        Self { bus, source }
    }

    fn outward(&self, event: &OutboxEvent) -> BusEvent {
        let fact = Fact {
            id: event.id,
            name: &event.name,
            subject: &event.subject,
            at: event.at,
            request_id: event.request_id.as_deref(),
            traceparent: event.traceparent.as_deref(),
            data: &event.data,
        };
        BusEvent {
            topic: event.topic.clone(),
            name: event.name.clone(),
            id: event.id.to_string(),
            subject: event.subject.clone(),
            json: CloudEvent::new(&fact, &self.source).to_json(),
        }
    }
}

#[async_trait]
impl Subscriber for BusSubscriber {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String> {
        let outward = events.iter().filter(|event| is_outward(&event.topic));
        let page: Vec<BusEvent> = outward.map(|event| self.outward(event)).collect();
        if page.is_empty() {
            return Ok(());
        }
        if let Err(error) = self.bus.publish(&page).await {
            metrics::counter!("madang_bus_failures_total").increment(1);
            return Err(error.to_string());
        }
        let count = u64::try_from(page.len()).unwrap_or(u64::MAX);
        metrics::counter!("madang_bus_published_total").increment(count);
        Ok(())
    }
}
