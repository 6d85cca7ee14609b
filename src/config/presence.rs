//! Settings of presence.

use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;

/// How who is here is shown.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresenceConfig {
    pub grace_ms: u64,
    pub large_room_members: i64,
}

impl PresenceConfig {
    /// `grace_ms` as a duration.
    #[must_use]
    pub const fn grace(&self) -> Duration {
        Duration::from_millis(self.grace_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("presence.grace_ms", self.grace_ms, 100..=600_000);
        problems.within("presence.large_room_members", self.large_room_members, 1..=1_000_000);
    }
}
