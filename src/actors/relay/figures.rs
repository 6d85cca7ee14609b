//! Business figures: how many domain events of each kind happened, as Prometheus counters.

use async_trait::async_trait;

use super::Subscriber;
use crate::store::relay::OutboxEvent;

/// Counts events by topic and name. Counters are of this process, so a repeat after a crash counts again.
pub struct Figures;

#[async_trait]
impl Subscriber for Figures {
    fn name(&self) -> &'static str {
        "figures"
    }

    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String> {
        for event in events {
            let labels = [("topic", event.topic.clone()), ("name", event.name.clone())];
            metrics::counter!("madang_domain_events_total", &labels).increment(1);
        }
        Ok(())
    }
}
