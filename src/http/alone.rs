//! Alone: what a node says when it has to limit for itself, because Redis does not answer.
//!
//! Invariant: every time is counted, and few are logged: who is limited may ask thousands of times a second.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use metrics::counter;

use crate::providers::redis::RedisError;

const WARNING_INTERVAL: Duration = Duration::from_secs(10);

/// Of one kind of limit.
pub(super) struct Alone {
    limit: &'static str,
    warned_at: Mutex<Option<Instant>>,
}

impl Alone {
    pub(super) const fn new(limit: &'static str) -> Self {
        Self { limit, warned_at: Mutex::new(None) }
    }

    /// Notes that this node decided without the others.
    pub(super) fn note(&self, error: &RedisError) {
        counter!("madang_limits_local_total", "limit" => self.limit).increment(1);
        if self.is_due(Instant::now()) {
            tracing::warn!(limit = self.limit, %error, "this node limits for itself");
        }
    }

    fn is_due(&self, now: Instant) -> bool {
        // Whoever finds it locked finds somebody who is saying it.
        let Ok(mut warned_at) = self.warned_at.try_lock() else { return false };
        let is_due = warned_at.is_none_or(|at| now.duration_since(at) >= WARNING_INTERVAL);
        if is_due {
            *warned_at = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_said_once_in_ten_seconds() {
        let (alone, start) = (Alone::new("test"), Instant::now());
        let due = |seconds| alone.is_due(start + Duration::from_secs(seconds));

        assert_eq!([0, 1, 9, 10, 11].map(due), [true, false, false, true, false]);
    }
}
