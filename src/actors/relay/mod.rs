//! Relay: carries the outbox to its subscribers inside the program.
//!
//! Each subscriber has its own cursor, so that a slow one holds up nobody. Invariant: a stored cursor never lies ahead
//! of what its subscriber took, hence every event is taken at least once and, by a subscriber, in order.

pub mod figures;

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use rand::Rng;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::clock;
use crate::store::relay::{OutboxEvent, OutboxPosition};
use crate::store::{Store, StoreError};

const PAGE: u16 = 500;
/// How long the relay rests after a page that was not full: what comes meanwhile is carried together.
const GATHER_MS: u64 = 100;
/// How long it rests when there was nothing to carry.
const POLL_INTERVAL_MS: u64 = 500;
/// How far a stored cursor may lie behind: after a crash, so much is offered again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// Events that everybody has read are kept this long, for those who look into a mishap.
const KEEP: Duration = Duration::from_secs(24 * 60 * 60);
const SWEEP_MAX: u64 = 1_000;

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
        if store.rebase_outbox().await? {
            tracing::warn!("the outbox comes from another server; its order was written anew");
        }
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::with_capacity(subscribers.len().saturating_add(1));
        for subscriber in subscribers {
            let carrier = Carrier::new(store, subscriber).await?;
            tasks.push(io.spawn(carry(carrier, stopped.clone())));
        }
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

/// One subscriber's way through the outbox.
struct Carrier {
    store: Store,
    subscriber: Arc<dyn Subscriber>,
    /// Taken up to here.
    position: OutboxPosition,
    /// What the stored cursor says; it may lie behind, never ahead.
    saved: OutboxPosition,
    saved_at: Instant,
}

async fn carry(mut carrier: Carrier, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        let rest = match carrier.carry_page().await {
            Ok(0) => Duration::from_millis(
                rand::rng().random_range(POLL_INTERVAL_MS..POLL_INTERVAL_MS.saturating_mul(2)),
            ),
            Ok(count) if count >= usize::from(PAGE) => continue,
            Ok(_) => Duration::from_millis(GATHER_MS),
            Err(cause) => {
                let subscriber = carrier.subscriber.name();
                tracing::warn!(subscriber, cause, "the relay will try again");
                RETRY_AFTER
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            _ = stopped.changed() => {}
        }
    }
    if let Err(cause) = carrier.save().await {
        // What was taken since the last time will be offered again.
        tracing::warn!(subscriber = carrier.subscriber.name(), cause, "a cursor was not saved");
    }
}

impl Carrier {
    async fn new(store: &Store, subscriber: Arc<dyn Subscriber>) -> Result<Self, StoreError> {
        store.insert_outbox_cursor(subscriber.name(), clock::now()).await?;
        let position = store.find_outbox_cursor(subscriber.name()).await?;
        let store = store.clone();
        Ok(Self { store, subscriber, position, saved: position, saved_at: Instant::now() })
    }

    /// Carries one page; gives how many events it held.
    async fn carry_page(&mut self) -> Result<usize, String> {
        let events = self.store.list_outbox(self.position, PAGE).await.map_err(told)?;
        if let Some(last) = events.last() {
            self.subscriber.take(&events).await?;
            self.position = last.position;
        }
        if self.saved_at.elapsed() >= SAVE_INTERVAL {
            self.save().await?;
        }
        Ok(events.len())
    }

    async fn save(&mut self) -> Result<(), String> {
        if self.saved == self.position {
            return Ok(());
        }
        let (name, position) = (self.subscriber.name(), self.position);
        self.store.update_outbox_cursor(name, position, clock::now()).await.map_err(told)?;
        self.saved = position;
        self.saved_at = Instant::now();
        Ok(())
    }
}

fn told(error: StoreError) -> String {
    error.to_string()
}

async fn clear(store: Store, mut stopped: watch::Receiver<bool>) {
    while !*stopped.borrow() {
        match store.delete_read_outbox(clock::now().minus(KEEP), SWEEP_MAX).await {
            // There may be more.
            Ok(deleted) if deleted >= SWEEP_MAX => continue,
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
