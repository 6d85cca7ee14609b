//! Carrier: one subscriber's way through the outbox, on one node.
//!
//! Invariant: it carries only while it holds the subscriber's lease, and reads the cursor anew whenever it has taken it:
//! another node may have carried on meanwhile. Where there is nothing to carry, nothing is written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::Rng;
use tokio::sync::watch;

use super::{Pace, Scope, Subscriber};
use crate::actors::nodes::Nodes;
use crate::clock;
use crate::store::leases::Lease;
use crate::store::relay::OutboxPosition;
use crate::store::{Store, StoreError};

const PAGE: u16 = 500;
/// How long it rests after a page that was not full: what comes meanwhile is carried together.
const GATHER_MS: u64 = 100;
const PROMPT_GATHER_MS: u64 = 5;
/// How long it rests when there was nothing to carry.
const POLL_INTERVAL_MS: u64 = 500;
/// The same where other nodes commit what somebody waits for.
const PROMPT_POLL_INTERVAL_MS: u64 = 50;
/// How long it leaves the work to another node before it looks again.
const STAND_BY_MS: u64 = 3_000;
/// How far a stored cursor may lie behind: after a crash, so much is offered again.
const SAVE_INTERVAL: Duration = Duration::from_secs(1);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long another node waits for one that has died while it carried.
const LEASE: Duration = Duration::from_secs(10);
/// A lease is renewed when less than that is left of it.
const RENEW_BELOW: Duration = Duration::from_secs(5);
/// How often a node says that its own cursor is still of use.
const TOUCH_INTERVAL: Duration = Duration::from_secs(60 * 60);

pub(super) struct Carrier {
    store: Store,
    nodes: Nodes,
    subscriber: Arc<dyn Subscriber>,
    /// The name of the cursor.
    name: String,
    /// Taken up to here.
    position: OutboxPosition,
    /// What the stored cursor says; it may lie behind, never ahead.
    saved: OutboxPosition,
    saved_at: Instant,
    touched_at: Instant,
    /// The right to carry, and how long it is certain.
    held: Option<(Lease, Instant)>,
}

/// What came of looking for something to carry.
enum Look {
    Carried(usize),
    /// Another node carries.
    NotMine,
}

impl Carrier {
    pub(super) async fn new(
        store: &Store,
        nodes: &Nodes,
        node_name: &str,
        subscriber: Arc<dyn Subscriber>,
    ) -> Result<Self, StoreError> {
        let name = match subscriber.scope() {
            Scope::Cluster => subscriber.name().to_owned(),
            Scope::Node => format!("{}@{node_name}", subscriber.name()),
        };
        store.insert_outbox_cursor(&name, subscriber.beginning(), clock::now()).await?;
        let position = store.find_outbox_cursor(&name).await?;
        let (store, nodes) = (store.clone(), nodes.clone());
        let now = Instant::now();
        Ok(Self {
            store,
            nodes,
            subscriber,
            name,
            position,
            saved: position,
            saved_at: now,
            touched_at: now,
            held: None,
        })
    }

    /// Carries until it is told to stop.
    pub(super) async fn carry(mut self, mut stopped: watch::Receiver<bool>) {
        let is_prompt = self.subscriber.pace() == Pace::Prompt;
        let mut commits = self.store.commits();
        while !*stopped.borrow() {
            let mut is_idle = false;
            commits.mark_unchanged();
            let rest = match self.look().await {
                Ok(Look::Carried(count)) if count >= usize::from(PAGE) => continue,
                Ok(Look::Carried(0)) => {
                    is_idle = true;
                    self.poll_interval()
                }
                Ok(Look::Carried(_)) if is_prompt => Duration::from_millis(PROMPT_GATHER_MS),
                Ok(Look::Carried(_)) => Duration::from_millis(GATHER_MS),
                Ok(Look::NotMine) => a_while(STAND_BY_MS),
                Err(cause) => {
                    tracing::warn!(subscriber = self.name, cause, "the relay will try again");
                    RETRY_AFTER
                }
            };
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                _ = stopped.changed() => {}
                // The store outlives its relay.
                _ = commits.changed(), if is_prompt && is_idle => {}
            }
        }
        if let Err(cause) = self.save().await {
            // What was taken since the last time will be offered again.
            tracing::warn!(subscriber = self.name, cause, "a cursor was not saved");
        }
        if let Some((lease, _)) = &self.held
            && let Err(error) = self.store.release_lease(lease).await
        {
            tracing::warn!(subscriber = self.name, %error, "another node has to wait for a lease");
        }
    }

    fn poll_interval(&self) -> Duration {
        let others_wait = self.subscriber.pace() == Pace::Prompt && self.store.is_networked();
        // A node that has not carried leaves the looking to the one that has.
        if others_wait && self.held.is_some() {
            return a_while(PROMPT_POLL_INTERVAL_MS);
        }
        a_while(POLL_INTERVAL_MS)
    }

    /// Carries one page, if there is one and it is this node's to carry.
    async fn look(&mut self) -> Result<Look, String> {
        let events = self.store.list_outbox(self.position, PAGE).await.map_err(told)?;
        if events.is_empty() {
            self.note_lag(Duration::ZERO);
            self.save_in_time().await?;
            return Ok(Look::Carried(0));
        }
        if !self.holds().await? {
            // Another node goes on from where it is, and so does this one if it has to.
            self.position = self.store.find_outbox_cursor(&self.name).await.map_err(told)?;
            self.saved = self.position;
            self.note_lag(Duration::ZERO);
            return Ok(Look::NotMine);
        }
        // Read again: it may have been taken before the lease was.
        let events = self.store.list_outbox(self.position, PAGE).await.map_err(told)?;
        if let Some(first) = events.first() {
            self.note_lag(clock::now().since(first.at));
        }
        if let Some(last) = events.last() {
            self.touch_in_time().await?;
            self.subscriber.take(&events).await?;
            self.position = last.position;
        }
        self.save_in_time().await?;
        Ok(Look::Carried(events.len()))
    }

    /// How late the subscriber is, as the node that carries for it knows.
    fn note_lag(&self, lag: Duration) {
        metrics::gauge!("madang_outbox_lag_seconds", "subscriber" => self.subscriber.name())
            .set(lag.as_secs_f64());
    }

    /// Whether this node may carry, for a page at least.
    async fn holds(&mut self) -> Result<bool, String> {
        if self.subscriber.scope() == Scope::Node {
            return Ok(true);
        }
        let now = Instant::now();
        if let Some((lease, until)) = self.held.take() {
            if until.saturating_duration_since(now) > RENEW_BELOW {
                self.held = Some((lease, until));
                return Ok(true);
            }
            match self.store.renew_lease(&lease, LEASE).await {
                Ok(()) => {
                    self.held = Some((lease, now + LEASE));
                    return Ok(true);
                }
                Err(StoreError::LeaseLost) => {}
                Err(error) => return Err(told(error)),
            }
        }
        let name = format!("relay:{}", self.name);
        let claimed = self.store.claim_lease(&name, self.nodes.me(), LEASE).await.map_err(told)?;
        let Some(lease) = claimed else { return Ok(false) };
        self.position = self.store.find_outbox_cursor(&self.name).await.map_err(told)?;
        self.saved = self.position;
        self.held = Some((lease, now + LEASE));
        Ok(true)
    }

    async fn save_in_time(&mut self) -> Result<(), String> {
        self.touch_in_time().await?;
        if self.saved_at.elapsed() < SAVE_INTERVAL {
            return Ok(());
        }
        self.save().await
    }

    /// Keeps the cursor of this node's own, which stands still where there is nothing, or nothing is taken.
    async fn touch_in_time(&mut self) -> Result<(), String> {
        let is_own = self.subscriber.scope() == Scope::Node;
        if is_own && self.touched_at.elapsed() >= TOUCH_INTERVAL {
            self.store.touch_outbox_cursor(&self.name, clock::now()).await.map_err(told)?;
            self.touched_at = Instant::now();
        }
        Ok(())
    }

    async fn save(&mut self) -> Result<(), String> {
        if self.saved == self.position {
            return Ok(());
        }
        let lease = match (&self.held, self.subscriber.scope()) {
            (Some((lease, _)), Scope::Cluster) => Some(lease),
            (None, Scope::Cluster) => return Ok(()),
            (_, Scope::Node) => None,
        };
        let saving =
            self.store.update_outbox_cursor(&self.name, self.position, lease, clock::now()).await;
        if let Err(error) = saving {
            // Whoever carries now begins where the cursor is, and so does this node the next time.
            self.held = None;
            return Err(told(error));
        }
        self.saved = self.position;
        self.saved_at = Instant::now();
        Ok(())
    }
}

fn a_while(interval_ms: u64) -> Duration {
    Duration::from_millis(
        rand::rng().random_range(interval_ms..interval_ms.saturating_mul(2).max(1)),
    )
}

fn told(error: StoreError) -> String {
    error.to_string()
}
