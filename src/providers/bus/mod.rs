//! The external event bus: where other programs read what happened here.
//!
//! Invariant: an event that is published twice, with the same id and within `bus.duplicate_window_s`, is on the bus
//! once; and events of one topic stand there in the order in which they were first published, also when a part of a
//! page got through and the page is published again.

mod nats;
mod redis_streams;

use std::sync::Arc;

use async_trait::async_trait;

use crate::config::{BusConfig, BusKind};

/// An event on its way out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusEvent {
    /// The stream it belongs to, such as `user.events`.
    pub topic: String,
    /// Its CloudEvents type, such as `UserRegistered`.
    pub name: String,
    /// The bus drops repeats by it.
    pub id: String,
    /// The aggregate it is about: the key for a bus that keeps order only by key.
    pub subject: String,
    /// The whole event as CloudEvents JSON.
    pub json: String,
}

/// Why a page of events is not, or perhaps not, on the bus.
#[derive(Debug, thiserror::Error)]
pub enum BusError {
    /// The address makes no sense.
    #[error("`bus.url` cannot be used: {0}")]
    Url(String),
    /// Nobody is there, or no answer came in time.
    #[error("the bus does not answer: {0}")]
    Away(String),
    /// The bus is there and does not want it.
    #[error("the bus refuses: {0}")]
    Refused(String),
}

/// Publishes events. `Ok` means that the bus has all of them, and keeps them as well as it keeps anything.
#[async_trait]
pub trait Bus: Send + Sync + 'static {
    /// Publishes a page, in order.
    ///
    /// # Errors
    /// [`BusError`] when a part of the page may be missing; the same page is to be published again, from its beginning.
    async fn publish(&self, events: &[BusEvent]) -> Result<(), BusError>;
}

/// The bus that the settings choose, if they choose one. Nothing is connected yet: a bus that is away holds up
/// nothing but its own events.
///
/// # Errors
/// [`BusError::Url`].
pub fn open(config: &BusConfig, node: &str) -> Result<Option<Arc<dyn Bus>>, BusError> {
    Ok(match config.kind {
        BusKind::None => None,
        BusKind::Redis => Some(Arc::new(redis_streams::RedisStreams::new(config)?)),
        BusKind::Nats => Some(Arc::new(nats::Nats::new(config, node)?)),
    })
}
