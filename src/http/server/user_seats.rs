//! Seats of a user: how many live connections one user may hold, on this node and on all nodes together.
//!
//! Each node tells Redis how many a user holds on it: a whole count, never a change, so that what is told again heals
//! what was lost. Invariant: a seat is counted here before Redis is asked, and given back wherever its way ends; and
//! where Redis does not answer, the count of this node decides, and is told later.

use std::collections::HashSet;
use std::sync::{Arc, LazyLock, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::future::join_all;
use rand::Rng;
use redis::Script;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::seat_counts::{SeatCount, SeatCounts};
use crate::actors::nodes::living::LivingNodes;
use crate::clock;
use crate::domain::ids::UserId;
use crate::http::alone::Alone;
use crate::providers::redis::partition::Partition;
use crate::providers::redis::{Invocation, Redis, RedisError};

static SEATS: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!("seats.lua")));

/// After which nothing is known of a user whom no node told anything of.
const FORGET_AFTER: Duration = Duration::from_hours(24);
/// Everything is told again several times before it is forgotten.
const REPORT_INTERVAL: Duration = Duration::from_hours(6);
/// How long a count of nobody holds off what was told before it, and comes in later.
const FORGET_NOBODY_AFTER: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
/// Counts on their way to Redis at once.
const TOLD_AT_ONCE_MAX: usize = 64;
/// Users whose count Redis does not know. Of more, those who have left are believed to be here until they come back.
const UNTOLD_MAX: usize = 262_144;

/// The connections of users. Cheap to clone; clones are the same.
#[derive(Clone)]
pub(super) struct UserSeats(Arc<Inner>);

struct Inner {
    max: usize,
    counts: Mutex<SeatCounts>,
    shared: Option<Arc<Shared>>,
}

/// What this node and the others tell each other.
struct Shared {
    redis: Redis,
    nodes: LivingNodes,
    alone: Alone,
    untold: Mutex<HashSet<UserId>>,
    wake: Notify,
}

/// One of the connections a user may hold; dropping it gives it back.
pub struct UserSeat {
    seats: UserSeats,
    user: UserId,
}

impl UserSeats {
    /// Counts on this node alone.
    pub(super) fn of_one_node(max: usize) -> Self {
        Self(Arc::new(Inner { max, counts: Mutex::default(), shared: None }))
    }

    /// Counts on all nodes. What is given back is told in a task on `io`.
    pub(super) fn of_all_nodes(max: usize, redis: Redis, nodes: LivingNodes, io: &Handle) -> Self {
        let shared = Arc::new(Shared {
            redis,
            nodes,
            alone: Alone::new("seats"),
            untold: Mutex::default(),
            wake: Notify::new(),
        });
        let counts = Mutex::default();
        let inner = Arc::new(Inner { max, counts, shared: Some(Arc::clone(&shared)) });
        io.spawn(keep_told(Arc::downgrade(&inner), shared));
        Self(inner)
    }

    /// Counts a connection as the user's; `None` when the user holds as many as it may.
    pub(super) async fn take(&self, user: UserId) -> Option<UserSeat> {
        let mine = {
            let mut counts = lock(&self.0.counts);
            if !counts.enter(user, self.0.max) {
                return None;
            }
            counts.count(user, clock::now())
        };
        // From here on it is given back also where nobody waits any more for Redis to answer.
        let seat = UserSeat { seats: self.clone(), user };
        let Some(shared) = &self.0.shared else { return Some(seat) };
        match shared.tell(user, mine, Some(self.0.max)).await {
            Ok(is_allowed) => is_allowed.then_some(seat),
            Err(error) => {
                shared.alone.note(&error);
                shared.tell_later([user]);
                Some(seat)
            }
        }
    }

    /// Tells all counts again, soon: Redis may have lost them.
    pub(super) fn report_again(&self) {
        if let Some(shared) = &self.0.shared {
            let users: Vec<UserId> = lock(&self.0.counts).users().collect();
            shared.tell_later(users);
        }
    }
}

impl Drop for UserSeat {
    fn drop(&mut self) {
        let inner = &self.seats.0;
        lock(&inner.counts).leave(self.user);
        if let Some(shared) = &inner.shared {
            shared.tell_later([self.user]);
        }
    }
}

impl Shared {
    /// Tells how many a user holds here; false if that is more than `max` with those elsewhere, and nothing was counted.
    async fn tell(
        &self,
        user: UserId,
        mine: SeatCount,
        max: Option<usize>,
    ) -> Result<bool, RedisError> {
        let partition = partition_of(user);
        let mut arguments = vec![
            self.nodes.me().to_string(),
            mine.version.to_string(),
            mine.held.to_string(),
            max.unwrap_or_default().to_string(),
            FORGET_AFTER.as_secs().to_string(),
            FORGET_NOBODY_AFTER.as_secs().to_string(),
        ];
        arguments.extend(self.nodes.ids().iter().map(ToString::to_string));
        let invocation = Invocation {
            script: &SEATS,
            keys: vec![partition.key(&format!("seats:{user}"))],
            arguments: arguments.into_iter().map(String::into_bytes).collect(),
        };
        self.redis.run(partition, invocation).await
    }

    /// Has the counts of these users told by the task that does so.
    fn tell_later(&self, users: impl IntoIterator<Item = UserId>) {
        remember(&mut lock(&self.untold), users, UNTOLD_MAX);
        self.wake.notify_one();
    }

    /// Tells what is not told yet. False when something remains.
    async fn tell_untold(&self, counts: &Mutex<SeatCounts>) -> bool {
        let untold = std::mem::take(&mut *lock(&self.untold));
        let (later, now): (Vec<UserId>, Vec<UserId>) =
            untold.into_iter().partition(|user| self.redis.is_away(partition_of(*user)));
        let mut remaining = later;
        for users in now.chunks(TOLD_AT_ONCE_MAX) {
            let told = join_all(users.iter().map(|user| {
                // Counted at the last moment: what changes from here on is told once more.
                let mine = lock(counts).count(*user, clock::now());
                self.tell(*user, mine, None)
            }));
            let failed = told.await.into_iter().zip(users).filter(|(told, _)| told.is_err());
            remaining.extend(failed.map(|(_, user)| *user));
        }
        let is_whole = remaining.is_empty();
        remember(&mut lock(&self.untold), remaining, UNTOLD_MAX);
        is_whole
    }
}

/// Tells Redis whatever it does not know, as long as somebody sits or may come.
async fn keep_told(seats: Weak<Inner>, shared: Arc<Shared>) {
    let mut report_at = next_report();
    loop {
        // Late is as good as woken.
        let _ = tokio::time::timeout_at(report_at, shared.wake.notified()).await;
        let Some(inner) = seats.upgrade() else { return };
        if Instant::now() >= report_at {
            report_at = next_report();
            UserSeats(Arc::clone(&inner)).report_again();
        }
        let is_whole = shared.tell_untold(&inner.counts).await;
        drop(inner);
        if !is_whole {
            tokio::time::sleep(jittered(RETRY_INTERVAL)).await;
            shared.wake.notify_one();
        }
    }
}

/// Adds users to a set of at most `max`.
fn remember(untold: &mut HashSet<UserId>, users: impl IntoIterator<Item = UserId>, max: usize) {
    for user in users {
        if untold.len() >= max {
            return;
        }
        untold.insert(user);
    }
}

fn partition_of(user: UserId) -> Partition {
    Partition::of(user.uuid().as_bytes())
}

fn next_report() -> Instant {
    Instant::now() + jittered(REPORT_INTERVAL)
}

fn jittered(interval: Duration) -> Duration {
    interval.mul_f64(rand::rng().random_range(0.8..1.2))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing panics while holding it; if something did, the counts are still whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::ids::NodeId;

    fn user(n: u128) -> UserId {
        UserId::from(Uuid::from_u128(n))
    }

    /// Seats of several nodes whose Redis is away.
    fn without_redis(max: usize) -> UserSeats {
        let nodes = LivingNodes::alone(NodeId::from(Uuid::from_u128(9)));
        UserSeats::of_all_nodes(max, Redis::default(), nodes, &Handle::current())
    }

    fn untold(seats: &UserSeats) -> HashSet<UserId> {
        lock(&seats.0.shared.as_ref().unwrap().untold).clone()
    }

    #[tokio::test]
    async fn without_redis_the_count_of_the_node_decides() {
        let seats = without_redis(1);
        let first = seats.take(user(1)).await;
        assert!(first.is_some());
        assert!(seats.take(user(1)).await.is_none());
        assert!(seats.take(user(2)).await.is_some());

        drop(first);
        assert!(seats.take(user(1)).await.is_some());
    }

    #[tokio::test]
    async fn what_redis_does_not_know_is_kept_until_it_can_be_told() {
        let seats = without_redis(2);
        let _held = seats.take(user(1)).await.unwrap();
        drop(seats.take(user(2)).await);
        let both = HashSet::from([user(1), user(2)]);
        assert_eq!(untold(&seats), both);

        let shared = seats.0.shared.as_ref().unwrap();
        assert!(!shared.tell_untold(&seats.0.counts).await);

        assert_eq!(untold(&seats), both, "who has left is told too");
    }

    #[tokio::test]
    async fn everybody_who_sits_is_told_again() {
        let seats = without_redis(2);
        let _held = seats.take(user(1)).await.unwrap();
        drop(seats.take(user(2)).await);
        lock(&seats.0.shared.as_ref().unwrap().untold).clear();

        seats.report_again();

        assert_eq!(untold(&seats), HashSet::from([user(1)]));
    }

    #[test]
    fn no_more_is_remembered_than_there_is_place_for() {
        let mut untold = HashSet::new();

        remember(&mut untold, (0..5).map(user), 3);

        assert_eq!(untold.len(), 3);
    }
}
