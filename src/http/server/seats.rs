//! Seats: how many live connections this node, one address and one user may hold.
//!
//! Those of the node and of an address are counted here; those of a user, on all nodes, in `user_seats`.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;

pub use super::user_seats::UserSeat;
use super::user_seats::UserSeats;
use crate::actors::nodes::living::LivingNodes;
use crate::config::limits::LimitsConfig;
use crate::domain::ids::UserId;
use crate::providers::redis::Redis;

const EMPTY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The live connections of this node, sockets and event streams. Cheap to clone.
#[derive(Clone)]
pub struct Seats(Arc<Hall>);

struct Hall {
    taken: AtomicUsize,
    node_max: usize,
    address_max: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    users: UserSeats,
}

/// Whose seats are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Node,
    Address,
}

impl Seats {
    /// The seats of a node that is alone.
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Self {
        Self::with(limits, UserSeats::of_one_node(limits.connections_per_user))
    }

    /// The seats of a node among others: what a user holds is counted on all of them.
    #[must_use]
    pub fn of_cluster(
        limits: &LimitsConfig,
        redis: Redis,
        nodes: LivingNodes,
        io: &Handle,
    ) -> Self {
        let max = limits.connections_per_user;
        Self::with(limits, UserSeats::of_all_nodes(max, redis, nodes, io))
    }

    fn with(limits: &LimitsConfig, users: UserSeats) -> Self {
        let address_max = if limits.enabled { limits.connections_per_ip } else { usize::MAX };
        Self(Arc::new(Hall {
            taken: AtomicUsize::new(0),
            node_max: limits.connections_max,
            address_max,
            addresses: Mutex::default(),
            users,
        }))
    }

    /// Takes a seat for a client at this address.
    ///
    /// # Errors
    /// [`Full`] when there is none left; nothing was taken then.
    pub fn take(&self, ip: IpAddr) -> Result<Seat, Full> {
        let before = self.0.taken.fetch_add(1, Ordering::Relaxed);
        if before >= self.0.node_max {
            self.0.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Node);
        }
        if !enter(&mut lock(&self.0.addresses), ip, self.0.address_max) {
            self.0.taken.fetch_sub(1, Ordering::Relaxed);
            return Err(Full::Address);
        }
        Ok(Seat { seats: self.clone(), ip })
    }

    /// Counts a connection as the user's; `None` when the user holds as many as it may.
    pub async fn take_for(&self, user: UserId) -> Option<UserSeat> {
        self.0.users.take(user).await
    }

    /// Tells the other nodes again what every user holds here; for when Redis is back, and may have lost it.
    pub fn report_again(&self) {
        self.0.users.report_again();
    }

    /// How many are taken.
    #[must_use]
    pub fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Relaxed)
    }

    /// Ends when nobody sits any more.
    pub async fn empty(&self) {
        while self.taken() > 0 {
            tokio::time::sleep(EMPTY_LOOK_INTERVAL).await;
        }
    }
}

/// One taken seat; dropping it gives it back.
pub struct Seat {
    seats: Seats,
    ip: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        leave(&mut lock(&self.seats.0.addresses), self.ip);
        self.seats.0.taken.fetch_sub(1, Ordering::Relaxed);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding it; if something did, the counts are still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn enter<K: Eq + Hash>(counts: &mut HashMap<K, usize>, who: K, max: usize) -> bool {
    let count = counts.entry(who).or_default();
    let enters = *count < max;
    if enters {
        *count = count.saturating_add(1);
    }
    enters
}

fn leave<K: Eq + Hash>(counts: &mut HashMap<K, usize>, who: K) {
    if let Some(count) = counts.get_mut(&who) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&who);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use uuid::Uuid;

    use super::*;
    use crate::config::Config;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

    fn seats(settings: &[(&str, &str)]) -> Seats {
        Seats::new(&Config::read(None, settings.iter().copied()).unwrap().limits)
    }

    #[test]
    fn no_more_sit_than_there_are_seats_and_who_leaves_makes_room() {
        let seats = seats(&[("MADANG__LIMITS__CONNECTIONS_MAX", "2")]);
        let first = seats.take(HERE).unwrap();
        let _second = seats.take(THERE).unwrap();
        assert_eq!(seats.take(HERE).err(), Some(Full::Node));
        assert_eq!(seats.take(HERE).err(), Some(Full::Node), "who was refused does not sit");
        drop(first);
        assert!(seats.take(HERE).is_ok());
    }

    #[test]
    fn one_address_does_not_take_the_seats_of_another() {
        let seats = seats(&[("MADANG__LIMITS__CONNECTIONS_PER_IP", "1")]);
        let first = seats.take(HERE).unwrap();
        assert_eq!(seats.take(HERE).err(), Some(Full::Address));
        assert!(seats.take(THERE).is_ok());
        drop(first);
        assert!(seats.take(HERE).is_ok());
    }

    #[tokio::test]
    async fn a_user_may_hold_so_many_connections_and_another_when_one_has_gone() {
        let seats = seats(&[("MADANG__LIMITS__CONNECTIONS_PER_USER", "1")]);
        let user = UserId::from(Uuid::from_u128(1));
        let first = seats.take_for(user).await;
        assert!(first.is_some());
        assert!(seats.take_for(user).await.is_none());
        drop(first);
        assert!(seats.take_for(user).await.is_some());
    }
}
