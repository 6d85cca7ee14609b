//! Settings of the pictures that people upload.

use std::thread::available_parallelism;
use std::time::Duration;

use serde::Deserialize;

use super::problems::Problems;

/// How much a picture may ask for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImagesConfig {
    pub bytes_max: usize,
    pub pixels_max: u32,
    /// As set; [`ImagesConfig::permits`] resolves 0.
    pub concurrency: usize,
    pub uploads_max: usize,
    pub read_timeout_ms: u64,
}

impl ImagesConfig {
    /// Pictures that may be worked on at once: half as many as cores unless set.
    #[must_use]
    pub fn permits(&self) -> usize {
        match self.concurrency {
            0 => available_parallelism().map_or(1, |cores| usize::from(cores).div_ceil(2)),
            permits => permits,
        }
    }

    /// `read_timeout_ms` as a duration.
    #[must_use]
    pub const fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("images.bytes_max", self.bytes_max, 1_024..=100 * 1_024 * 1_024);
        problems.within("images.pixels_max", self.pixels_max, 4_096..=200_000_000);
        problems.within("images.concurrency", self.concurrency, 0..=1_024);
        problems.within("images.uploads_max", self.uploads_max, 1..=10_000);
        problems.within("images.read_timeout_ms", self.read_timeout_ms, 100..=600_000);
    }
}
