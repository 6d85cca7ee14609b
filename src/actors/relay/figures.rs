//! Business figures: how many domain events of each kind happened, as Prometheus counters.

use std::collections::HashMap;

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
        let mut counts: HashMap<(&str, &str), u64> = HashMap::new();
        for event in events {
            let count = counts.entry((&event.topic, &event.name)).or_default();
            *count = count.saturating_add(1);
        }
        for ((topic, name), count) in counts {
            let labels = [("topic", topic.to_owned()), ("name", name.to_owned())];
            metrics::counter!("madang_domain_events_total", &labels).increment(count);
        }
        Ok(())
    }
}
