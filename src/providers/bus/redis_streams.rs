//! Redis Streams as the bus: one stream a topic, `{prefix}:{topic}`, with the fields `id`, `type` and `event`.
//!
//! All events of one topic travel in one call of a script, which stops at the first that fails: nothing overtakes it.
//! The keys that mark what is there carry the stream's name as their hash tag, so that a script's keys share a slot.

use std::time::Duration;

use async_trait::async_trait;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, Pipeline, RedisError};
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::{Bus, BusError, BusEvent};
use crate::config::BusConfig;

const APPEND: &str = include_str!("append.lua");
const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A Redis server that is given events.
pub(super) struct RedisStreams {
    client: Client,
    prefix: String,
    stream_length: u64,
    window_s: u64,
    /// `None` until there is something to publish, and after a failure.
    connection: Mutex<Option<MultiplexedConnection>>,
}

impl RedisStreams {
    pub(super) fn new(config: &BusConfig) -> Result<Self, BusError> {
        let client = Client::open(config.url.expose_secret())
            .map_err(|error| BusError::Url(error.to_string()))?;
        Ok(Self {
            client,
            prefix: config.prefix.clone(),
            stream_length: config.max_len,
            window_s: config.duplicate_window_s,
            connection: Mutex::new(None),
        })
    }

    async fn connect(&self) -> Result<MultiplexedConnection, BusError> {
        let settings = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        let opened = self.client.get_multiplexed_async_connection_with_config(&settings).await;
        opened.map_err(|error| BusError::Away(error.to_string()))
    }

    /// One call a topic. The script travels in full: it is small, and a server that was restarted needs no teaching.
    fn calls(&self, events: &[BusEvent]) -> Pipeline {
        let mut calls = redis::pipe();
        for (topic, events) in by_topic(events) {
            let stream = format!("{}:{topic}", self.prefix);
            let call = calls.cmd("EVAL").arg(APPEND).arg(events.len().saturating_add(1));
            call.arg(&stream);
            for event in &events {
                call.arg(format!("{{{stream}}}:seen:{}", event.id));
            }
            call.arg(self.window_s).arg(self.stream_length);
            for event in events {
                call.arg(&event.id).arg(&event.name).arg(&event.json);
            }
            call.ignore();
        }
        calls
    }
}

#[async_trait]
impl Bus for RedisStreams {
    async fn publish(&self, events: &[BusEvent]) -> Result<(), BusError> {
        let mut place = self.connection.lock().await;
        // Taken out, so that a connection that fails is not used again.
        let mut connection = match place.take() {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        self.calls(events).exec_async(&mut connection).await.map_err(failure)?;
        *place = Some(connection);
        Ok(())
    }
}

/// The events of each topic, topics in the order of their first event.
fn by_topic(events: &[BusEvent]) -> Vec<(&str, Vec<&BusEvent>)> {
    let mut topics: Vec<(&str, Vec<&BusEvent>)> = Vec::new();
    for event in events {
        match topics.iter_mut().find(|(topic, _)| *topic == event.topic) {
            Some((_, list)) => list.push(event),
            None => topics.push((&event.topic, vec![event])),
        }
    }
    topics
}

fn failure(error: RedisError) -> BusError {
    if error.is_io_error() || error.is_timeout() || error.is_connection_dropped() {
        return BusError::Away(error.to_string());
    }
    BusError::Refused(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(topic: &str, id: &str) -> BusEvent {
        BusEvent {
            topic: topic.to_owned(),
            name: "MessageSent".to_owned(),
            id: id.to_owned(),
            subject: "room".to_owned(),
            json: "{}".to_owned(),
        }
    }

    #[test]
    fn events_of_one_topic_travel_together_and_in_order() {
        let page = [event("a", "1"), event("b", "2"), event("a", "3")];

        let ids: Vec<(&str, Vec<&str>)> = by_topic(&page)
            .into_iter()
            .map(|(topic, list)| (topic, list.into_iter().map(|event| event.id.as_str()).collect()))
            .collect();

        assert_eq!(ids, [("a", vec!["1", "3"]), ("b", vec!["2"])]);
    }
}
