//! The socket: `GET /v1/chat/socket`, subprotocol `madang.v1.json`.
//!
//! Read [`protocol`] (what is said), [`close`] (why it ends), [`outbox`] (what waits to be written), [`transport`]
//! (how a TCP stream becomes a socket), [`connection`] (one client's life) and [`operations`] (what it may ask for).

pub mod close;
pub mod connection;
pub mod operations;
pub mod outbox;
pub mod protocol;
pub mod transport;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::accounts::Accounts;
use crate::accounts::revocations::Revocations;
use crate::actors::room::Rooms;
use crate::config::Config;
use crate::domain::ids::UserId;
use crate::http::gateway::Limiters;
use crate::http::server::load::Load;
use crate::providers::tokens::AccessTokens;
use crate::store::Store;

const EMPTY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What every connection of the node needs; shared by all of them.
pub struct SocketDeps {
    pub config: Arc<Config>,
    pub accounts: Arc<Accounts>,
    pub tokens: Arc<AccessTokens>,
    pub revocations: Revocations,
    pub rooms: Rooms,
    pub store: Store,
    pub counts: ConnectionCounts,
    /// False once the node is on its way out: new sockets are refused.
    pub accepting: Arc<AtomicBool>,
    pub seats: Seats,
    /// What this worker carries: a socket goes on counting where its request ends.
    pub load: Load,
    /// Those of the gateway: a handshake is a request like any other.
    pub limiters: Limiters,
}

/// How many sockets this node holds, said hello or not. Cheap to clone.
#[derive(Clone)]
pub struct Seats(Arc<Hall>);

struct Hall {
    taken: AtomicUsize,
    max: usize,
}

impl Seats {
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self(Arc::new(Hall { taken: AtomicUsize::new(0), max }))
    }

    /// Takes a seat; `None` when there is none left.
    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        let seat = Seat(self.clone());
        let before = self.0.taken.fetch_add(1, Ordering::Relaxed);
        (before < self.0.max).then_some(seat)
    }

    /// Ends when nobody sits any more.
    pub async fn empty(&self) {
        while self.0.taken.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(EMPTY_LOOK_INTERVAL).await;
        }
    }
}

/// One taken seat; dropping it gives it back.
pub struct Seat(Seats);

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How many connections each user holds on this node. Cheap to clone.
#[derive(Clone, Default)]
pub struct ConnectionCounts(Arc<Mutex<HashMap<UserId, usize>>>);

impl ConnectionCounts {
    /// Counts one in; `None` when the user holds `max` already.
    #[must_use]
    pub fn enter(&self, user: UserId, max: usize) -> Option<CountedIn> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry(user).or_default();
        if *count >= max {
            return None;
        }
        *count = count.saturating_add(1);
        Some(CountedIn { counts: self.clone(), user })
    }
}

/// One counted connection; dropping it counts it out.
pub struct CountedIn {
    counts: ConnectionCounts,
    user: UserId,
}

impl Drop for CountedIn {
    fn drop(&mut self) {
        let mut counts = self.counts.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.user) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                counts.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn no_more_sit_than_there_are_seats_and_who_leaves_makes_room() {
        let seats = Seats::new(2);
        let first = seats.take();
        let second = seats.take();
        assert!(first.is_some() && second.is_some());
        assert!(seats.take().is_none());
        assert!(seats.take().is_none(), "who was refused does not sit");
        drop(first);
        assert!(seats.take().is_some());
    }

    #[test]
    fn a_user_may_hold_so_many_connections_and_another_when_one_has_gone() {
        let counts = ConnectionCounts::default();
        let user = UserId::from(Uuid::from_u128(1));
        let first = counts.enter(user, 1);
        assert!(first.is_some());
        assert!(counts.enter(user, 1).is_none());
        drop(first);
        assert!(counts.enter(user, 1).is_some());
    }
}
