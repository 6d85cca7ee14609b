//! Seat counts: how many connections each user holds on this node, and the version of each count.
//!
//! Invariant: of two counts of one user, the one with the higher version was taken later, also when the node was
//! started in between.

use std::collections::HashMap;

use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

const MICROS_A_MILLI: i64 = 1_000;

/// The counts of all users of the node.
#[derive(Debug, Default)]
pub(super) struct SeatCounts {
    // Nobody is in here with none.
    held: HashMap<UserId, usize>,
    version: i64,
}

/// A count at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SeatCount {
    pub(super) held: usize,
    /// Microseconds of the clock, made unique.
    pub(super) version: i64,
}

impl SeatCounts {
    /// Counts one more, unless the user holds `max` already.
    pub(super) fn enter(&mut self, user: UserId, max: usize) -> bool {
        let held = self.held.get(&user).copied().unwrap_or_default();
        let enters = held < max;
        if enters {
            self.held.insert(user, held.saturating_add(1));
        }
        enters
    }

    /// Counts one less.
    pub(super) fn leave(&mut self, user: UserId) {
        if let Some(held) = self.held.get_mut(&user) {
            *held = held.saturating_sub(1);
            if *held == 0 {
                self.held.remove(&user);
            }
        }
    }

    /// What the user holds at this moment.
    pub(super) fn count(&mut self, user: UserId, now: Timestamp) -> SeatCount {
        let clock = now.millis().saturating_mul(MICROS_A_MILLI);
        self.version = clock.max(self.version.saturating_add(1));
        let held = self.held.get(&user).copied().unwrap_or_default();
        SeatCount { held, version: self.version }
    }

    /// Everybody who holds a connection.
    pub(super) fn users(&self) -> impl Iterator<Item = UserId> + '_ {
        self.held.keys().copied()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    fn user() -> UserId {
        UserId::from(Uuid::from_u128(1))
    }

    #[test]
    fn who_leaves_makes_room_and_is_forgotten_at_the_end() {
        let mut counts = SeatCounts::default();
        assert!(counts.enter(user(), 1));
        assert!(!counts.enter(user(), 1));
        assert_eq!(counts.users().count(), 1);

        counts.leave(user());
        counts.leave(user());

        assert_eq!(counts.users().count(), 0);
        assert!(counts.enter(user(), 1));
    }

    #[test]
    fn a_later_count_has_a_higher_version_even_when_the_clock_is_set_back() {
        let mut counts = SeatCounts::default();
        let versions = [NOW, NOW, NOW.minus(std::time::Duration::from_secs(60))]
            .map(|now| counts.count(user(), now).version);

        assert_eq!(versions[0], 1_795_244_400_000_000);
        assert!(versions.is_sorted_by(|one, next| one < next), "{versions:?}");
    }
}
