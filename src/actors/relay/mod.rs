//! Relay: carries the outbox to its subscribers inside the program.
//!
//! Each subscriber has its own cursor, so that a slow one holds up nobody. Invariant: a cursor moves only after the
//! subscriber took the events, hence every event is taken at least once and, by a subscriber, in order.

pub mod figures;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock;
use crate::store::relay::OutboxEvent;
use crate::store::{Store, StoreError};

const PAGE: i64 = 500;
/// How long the relay rests when there was nothing to carry.
const POLL_INTERVAL_MS: u64 = 500;
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Events that everybody has read are kept this long, for those who look into a mishap.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
const SWEEP_MAX: i64 = 1_000;

/// Takes domain events. Must bear repeats: drop those whose `id` it has seen.
#[async_trait]
pub trait Subscriber: Send + Sync + 'static {
    /// The name of its cursor; never changes.
    fn name(&self) -> &'static str;

    /// Takes a page of events, in order.
    ///
    /// # Errors
    /// A sentence for the log; the page is offered again.
    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String>;
}

/// The running relay; dropping it stops nothing, [`Relay::stop`] does.
pub struct Relay {
    stop: watch::Sender<bool>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Relay {
    /// Starts one task a subscriber on the shared I/O runtime, and one that clears what everybody has read.
    ///
    /// # Errors
    /// [`StoreError`] when a new subscriber cannot be given its cursor.
    pub async fn start(
        io: &Handle,
        store: &Store,
        subscribers: Vec<Arc<dyn Subscriber>>,
    ) -> Result<Self, StoreError> {
        for subscriber in &subscribers {
            store.insert_outbox_cursor(subscriber.name(), clock::now()).await?;
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks: Vec<_> = subscribers
            .into_iter()
            .map(|subscriber| io.spawn(carry(store.clone(), subscriber, stopped.clone())))
            .collect();
        tasks.push(io.spawn(clear(store.clone(), stopped)));
        Ok(Self { stop, tasks })
    }

    /// Stops between two pages.
    pub async fn stop(self) {
        // Nobody listening means every task has ended already.
        let _ = self.stop.send(true);
        for task in self.tasks {
            let _ = task.await;
        }
    }
}

async fn carry(store: Store, subscriber: Arc<dyn Subscriber>, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let rest = match carry_page(&store, subscriber.as_ref()).await {
            Ok(0) => Duration::from_millis(
                rand::rng().random_range(POLL_INTERVAL_MS..POLL_INTERVAL_MS.saturating_mul(2)),
            ),
            Ok(_) => continue,
            Err(cause) => {
                tracing::warn!(subscriber = subscriber.name(), cause, "the relay will try again");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stopped.changed() => {}
        }
    }
}

/// Carries one page; gives how many events it held.
async fn carry_page(store: &Store, subscriber: &dyn Subscriber) -> Result<usize, String> {
    let name = subscriber.name();
    let told = |error: StoreError| error.to_string();
    let events = store.list_outbox(name, PAGE).await.map_err(told)?;
    let Some(last) = events.last() else { return Ok(0) };
    subscriber.take(&events).await?;
    store.update_outbox_cursor(name, last.position, clock::now()).await.map_err(told)?;
    Ok(events.len())
}

async fn clear(store: Store, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match store.delete_read_outbox(clock::now().minus(KEEP), SWEEP_MAX).await {
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the outbox could not be cleared"),
        }
        let minutes = Duration::from_secs(rand::rng().random_range(240..360));
        tokio::select! {
            () = tokio::time::sleep(minutes) => {}
            _ = stopped.changed() => {}
        }
    }
}
