//! Seats: how many live connections this node, one address and one user may hold.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::limits::LimitsConfig;
use crate::domain::ids::UserId;

const EMPTY_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// The live connections of this node, sockets and event streams. Cheap to clone.
#[derive(Clone)]
pub struct Seats(Arc<Hall>);

struct Hall {
    taken: AtomicUsize,
    node_max: usize,
    address_max: usize,
    user_max: usize,
    addresses: Mutex<HashMap<IpAddr, usize>>,
    users: Mutex<HashMap<UserId, usize>>,
}

/// Whose seats are all taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    Node,
    Address,
}

impl Seats {
    #[must_use]
    pub fn new(limits: &LimitsConfig) -> Self {
        let address_max = if limits.enabled { limits.connections_per_ip } else { usize::MAX };
        Self(Arc::new(Hall {
            taken: AtomicUsize::new(0),
            node_max: limits.connections_max,
            address_max,
            user_max: limits.connections_per_user,
            addresses: Mutex::default(),
            users: Mutex::default(),
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
    #[must_use]
    pub fn take_for(&self, user: UserId) -> Option<UserSeat> {
        enter(&mut lock(&self.0.users), user, self.0.user_max)
            .then(|| UserSeat { seats: self.clone(), user })
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

/// One of the connections a user may hold; dropping it gives it back.
pub struct UserSeat {
    seats: Seats,
    user: UserId,
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        leave(&mut lock(&self.seats.0.users), self.user);
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

    #[test]
    fn a_user_may_hold_so_many_connections_and_another_when_one_has_gone() {
        let seats = seats(&[("MADANG__LIMITS__CONNECTIONS_PER_USER", "1")]);
        let user = UserId::from(Uuid::from_u128(1));
        let first = seats.take_for(user);
        assert!(first.is_some());
        assert!(seats.take_for(user).is_none());
        drop(first);
        assert!(seats.take_for(user).is_some());
    }
}
