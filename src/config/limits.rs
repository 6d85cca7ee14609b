//! Settings of what one address, one user and the whole node may ask for.

use std::num::NonZeroU32;

use serde::Deserialize;

use super::problems::Problems;

/// How much is too much.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub enabled: bool,
    pub requests_per_second_ip: NonZeroU32,
    pub burst_ip: NonZeroU32,
    pub requests_per_second_user: NonZeroU32,
    pub burst_user: NonZeroU32,
    pub requests_per_second_service_key: NonZeroU32,
    pub burst_service_key: NonZeroU32,
    pub payments_per_minute_user: NonZeroU32,
    pub connections_per_user: usize,
    pub connections_per_ip: usize,
    pub connections_max: usize,
    pub accepts_per_second: NonZeroU32,
    pub accept_burst: NonZeroU32,
    pub accept_backlog: u32,
}

impl LimitsConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("limits.connections_per_user", self.connections_per_user, 1..=100_000);
        problems.within("limits.connections_per_ip", self.connections_per_ip, 1..=10_000_000);
        problems.within("limits.connections_max", self.connections_max, 1..=10_000_000);
        problems.within("limits.accept_backlog", self.accept_backlog, 1..=65_535);
    }
}
