//! Settings of live sockets.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;

/// What one connection may do and how long it may stay silent.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SocketConfig {
    pub frame_bytes_max: usize,
    pub channels_max: usize,
    pub ops_per_second: NonZeroU32,
    pub ops_burst: NonZeroU32,
    pub outbox_bytes_max: usize,
    pub ping_interval_ms: u64,
    pub pong_timeout_ms: u64,
    pub hello_timeout_ms: u64,
    pub stall_timeout_ms: u64,
}

impl SocketConfig {
    /// `ping_interval_ms` as a duration.
    #[must_use]
    pub const fn ping_interval(&self) -> Duration {
        Duration::from_millis(self.ping_interval_ms)
    }

    /// `pong_timeout_ms` as a duration.
    #[must_use]
    pub const fn pong_timeout(&self) -> Duration {
        Duration::from_millis(self.pong_timeout_ms)
    }

    /// `hello_timeout_ms` as a duration.
    #[must_use]
    pub const fn hello_timeout(&self) -> Duration {
        Duration::from_millis(self.hello_timeout_ms)
    }

    /// `stall_timeout_ms` as a duration.
    #[must_use]
    pub const fn stall_timeout(&self) -> Duration {
        Duration::from_millis(self.stall_timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("socket.frame_bytes_max", self.frame_bytes_max, 1_024..=16 * 1_024 * 1_024);
        problems.within("socket.channels_max", self.channels_max, 1..=10_000);
        problems.within(
            "socket.outbox_bytes_max",
            self.outbox_bytes_max,
            4_096..=16 * 1_024 * 1_024,
        );
        problems.within("socket.ping_interval_ms", self.ping_interval_ms, 100..=600_000);
        problems.within("socket.pong_timeout_ms", self.pong_timeout_ms, 100..=600_000);
        problems.within("socket.hello_timeout_ms", self.hello_timeout_ms, 100..=600_000);
        problems.within("socket.stall_timeout_ms", self.stall_timeout_ms, 100..=600_000);
    }
}
