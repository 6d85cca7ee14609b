//! One limit of this node: so many calls a second for each key, with a burst; and how it is told to the client.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

use crate::domain::gcra::Rate;
use crate::error::ApiError;

type Buckets<K> =
    RateLimiter<K, DefaultKeyedStateStore<K>, DefaultClock, StateInformationMiddleware>;

/// A leaky bucket (GCRA) for each key.
pub(super) struct Limiter<K: Hash + Eq + Clone> {
    name: &'static str,
    rate: Rate,
    clock: DefaultClock,
    buckets: Buckets<K>,
}

/// What is left for a key, in the terms of the `RateLimit` headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) name: &'static str,
    pub(super) rate: Rate,
    pub(super) remaining: u32,
}

/// No more for now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Refused {
    pub(super) allowance: Allowance,
    pub(super) retry_after: Duration,
}

impl<K: Hash + Eq + Clone> Limiter<K> {
    pub(super) fn new(name: &'static str, per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let quota = Quota::per_second(per_second).allow_burst(burst);
        Self::of(name, Rate::new(per_second, burst), quota)
    }

    /// So many a minute, all of which may come at once.
    pub(super) fn per_minute(name: &'static str, calls: NonZeroU32) -> Self {
        Self::of(name, Rate::per_minute(calls), Quota::per_minute(calls))
    }

    fn of(name: &'static str, rate: Rate, quota: Quota) -> Self {
        let buckets = RateLimiter::keyed(quota).with_middleware::<StateInformationMiddleware>();
        Self { name, rate, clock: DefaultClock::default(), buckets }
    }

    /// Takes one call from the bucket of `key`.
    pub(super) fn check(&self, key: &K) -> Result<Allowance, Refused> {
        match self.buckets.check_key(key) {
            Ok(state) => Ok(self.allowance(state.remaining_burst_capacity())),
            Err(until) => Err(Refused {
                allowance: self.allowance(0),
                retry_after: until.wait_time_from(self.clock.now()),
            }),
        }
    }

    /// Forgets full buckets: an address that came once would stay for ever.
    pub(super) fn sweep(&self) {
        self.buckets.retain_recent();
        self.buckets.shrink_to_fit();
    }

    const fn allowance(&self, remaining: u32) -> Allowance {
        Allowance { name: self.name, rate: self.rate, remaining }
    }
}

impl Allowance {
    pub(super) const fn quota(&self) -> u32 {
        self.rate.burst()
    }

    /// Seconds in which an empty bucket fills up.
    pub(super) fn window_s(&self) -> u32 {
        self.rate.refill_s(self.quota())
    }

    /// Seconds until it is full again.
    pub(super) fn reset_s(&self) -> u32 {
        self.rate.refill_s(self.quota().saturating_sub(self.remaining))
    }
}

impl Refused {
    pub(super) fn error(&self) -> ApiError {
        ApiError::RateLimited { retry_after: self.retry_after }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limiter() -> Limiter<u8> {
        Limiter::new("test", NonZeroU32::new(1).unwrap(), NonZeroU32::new(3).unwrap())
    }

    #[test]
    fn a_burst_is_allowed_and_then_no_more() {
        let limiter = limiter();

        let left: Vec<u32> = (0..3).map(|_| limiter.check(&1).unwrap().remaining).collect();

        assert_eq!(left, [2, 1, 0]);
        let refused = limiter.check(&1).unwrap_err();
        assert!(refused.retry_after <= Duration::from_secs(1));
        assert_eq!((refused.allowance.window_s(), refused.allowance.reset_s()), (3, 3));
    }

    #[test]
    fn keys_do_not_share() {
        let limiter = limiter();
        while limiter.check(&1).is_ok() {}

        assert!(limiter.check(&2).is_ok());
    }

    #[test]
    fn a_sweep_keeps_who_is_limited() {
        let limiter = limiter();
        while limiter.check(&1).is_ok() {}

        limiter.sweep();

        assert!(limiter.check(&1).is_err());
    }
}
