//! Settings of friends, blocks and follows.

use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;

/// How many people one person may be tied to, and how fast.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FriendsConfig {
    pub friends_max: i64,
    pub requests_open_max: i64,
    pub requests_received_max: i64,
    pub requests_per_day: i64,
    pub new_account_hours: u32,
    pub new_account_requests_per_day: i64,
    pub reject_cooldown_hours: u32,
    pub blocks_max: i64,
    pub following_max: i64,
}

const HOUR: Duration = Duration::from_secs(60 * 60);

impl FriendsConfig {
    /// `new_account_hours` as a duration.
    #[must_use]
    pub const fn new_account(&self) -> Duration {
        HOUR.saturating_mul(self.new_account_hours)
    }

    /// `reject_cooldown_hours` as a duration.
    #[must_use]
    pub const fn reject_cooldown(&self) -> Duration {
        HOUR.saturating_mul(self.reject_cooldown_hours)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("friends.friends_max", self.friends_max, 1..=20_000);
        problems.within("friends.requests_open_max", self.requests_open_max, 1..=10_000);
        problems.within("friends.requests_received_max", self.requests_received_max, 1..=100_000);
        problems.within("friends.requests_per_day", self.requests_per_day, 1..=10_000);
        problems.within("friends.new_account_hours", self.new_account_hours, 0..=8_760);
        problems.within(
            "friends.new_account_requests_per_day",
            self.new_account_requests_per_day,
            0..=10_000,
        );
        problems.within("friends.reject_cooldown_hours", self.reject_cooldown_hours, 0..=87_600);
        problems.within("friends.blocks_max", self.blocks_max, 1..=100_000);
        problems.within("friends.following_max", self.following_max, 1..=100_000);
    }
}
