//! GCRA: a leaky bucket, kept as the one instant at which it is full again.
//!
//! The rule that `http/gateway/rate.lua` plays on Redis, and what its answers mean. Invariant: in no span of time are
//! more calls let through than the burst, and what the span fills up.

use std::num::NonZeroU32;
use std::time::Duration;

const MICROS_A_SECOND: u64 = 1_000_000;
const MICROS_A_MINUTE: u64 = 60 * MICROS_A_SECOND;

/// One call in each interval, and so many at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// Microseconds in which one call comes back, rounded down.
    interval_us: u64,
    burst: NonZeroU32,
}

/// What became of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub is_allowed: bool,
    /// Microseconds until the bucket is full again, with this call if it was allowed.
    pub ahead_us: u64,
}

impl Rate {
    /// So many calls a second, and so many at once.
    #[must_use]
    pub fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let interval_us = (MICROS_A_SECOND / u64::from(per_second.get())).max(1);
        Self { interval_us, burst }
    }

    /// So many calls a minute, all of which may come at once.
    #[must_use]
    pub fn per_minute(calls: NonZeroU32) -> Self {
        let interval_us = (MICROS_A_MINUTE / u64::from(calls.get())).max(1);
        Self { interval_us, burst: calls }
    }

    #[must_use]
    pub const fn burst(self) -> u32 {
        self.burst.get()
    }

    /// Microseconds in which one call comes back, rounded down.
    #[must_use]
    pub const fn interval_us(self) -> u64 {
        self.interval_us
    }

    /// Microseconds in which an empty bucket fills up.
    #[must_use]
    pub fn tolerance_us(self) -> u64 {
        self.interval_us().saturating_mul(u64::from(self.burst.get()))
    }

    /// Takes a call at `now_us` from a bucket that is full at `full_at_us`; from a full one, when nothing is known of it.
    #[must_use]
    pub fn take(self, full_at_us: Option<u64>, now_us: u64) -> Taken {
        // A clock that was set back would leave the bucket emptier than empty.
        let latest = now_us.saturating_add(self.tolerance_us());
        let before = full_at_us.unwrap_or(now_us).clamp(now_us, latest).saturating_sub(now_us);
        let after = before.saturating_add(self.interval_us());
        let is_allowed = after <= self.tolerance_us();
        Taken { is_allowed, ahead_us: if is_allowed { after } else { before } }
    }

    /// How many calls are left in a bucket that is full in `ahead_us`.
    #[must_use]
    pub fn remaining(self, ahead_us: u64) -> u32 {
        let left = self.tolerance_us().saturating_sub(ahead_us) / self.interval_us();
        u32::try_from(left).unwrap_or(u32::MAX)
    }

    /// How long it is until a bucket that is full in `ahead_us` has a call again.
    #[must_use]
    pub fn retry_after(self, ahead_us: u64) -> Duration {
        let needed = ahead_us.saturating_add(self.interval_us());
        Duration::from_micros(needed.saturating_sub(self.tolerance_us()))
    }

    /// Seconds in which `calls` come back.
    #[must_use]
    pub fn refill_s(self, calls: u32) -> u32 {
        let refill_us = self.interval_us.saturating_mul(u64::from(calls));
        u32::try_from(refill_us.div_ceil(MICROS_A_SECOND)).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: u64 = 1_795_244_400_000_000;

    fn rate(per_second: u32, burst: u32) -> Rate {
        Rate::new(NonZeroU32::new(per_second).unwrap(), NonZeroU32::new(burst).unwrap())
    }

    #[test]
    fn a_burst_is_allowed_then_one_for_each_interval() {
        let rate = rate(2, 3);
        let mut full_at = None;
        for left in [2, 1, 0] {
            let taken = rate.take(full_at, START);
            assert!(taken.is_allowed);
            assert_eq!(rate.remaining(taken.ahead_us), left);
            full_at = Some(START + taken.ahead_us);
        }

        let refused = rate.take(full_at, START);
        assert!(!refused.is_allowed);
        assert_eq!(refused.ahead_us, 1_500_000);
        assert_eq!(rate.retry_after(refused.ahead_us), Duration::from_millis(500));
        assert!(!rate.take(full_at, START + 499_999).is_allowed);
        assert!(rate.take(full_at, START + 500_000).is_allowed);
    }

    #[test]
    fn ten_a_minute_are_ten_at_once_and_one_every_six_seconds() {
        let rate = Rate::per_minute(NonZeroU32::new(10).unwrap());
        let mut full_at = None;
        for _ in 0..10 {
            full_at = Some(START + rate.take(full_at, START).ahead_us);
        }
        let refused = rate.take(full_at, START);
        assert!(!refused.is_allowed);
        assert_eq!(rate.retry_after(refused.ahead_us), Duration::from_secs(6));
        assert_eq!((rate.refill_s(10), rate.refill_s(1)), (60, 6));
    }

    #[test]
    fn seconds_are_whole_whatever_the_interval_is() {
        for (per_second, calls, seconds) in [(3, 3, 1), (3, 4, 2), (7, 700, 100), (50, 200, 4)] {
            assert_eq!(rate(per_second, 1).refill_s(calls), seconds);
        }
    }

    #[test]
    fn a_clock_that_is_set_back_costs_no_more_than_an_empty_bucket() {
        let rate = rate(1, 3);

        let refused = rate.take(Some(START), START - 3_600_000_000);

        assert_eq!(rate.retry_after(refused.ahead_us), Duration::from_secs(1));
    }

    #[test]
    fn more_a_second_than_there_are_microseconds_is_still_a_rate() {
        assert!(rate(u32::MAX, 1).take(None, START).is_allowed);
    }

    proptest! {
        #[test]
        fn no_span_lets_more_through_than_the_burst_and_what_it_fills_up(
            per_second in 1_u32..50,
            burst in 1_u32..20,
            waits in prop::collection::vec(0_u64..400_000, 1..200),
        ) {
            let rate = rate(per_second, burst);
            let (mut now, mut full_at, mut allowed) = (START, None, 0_u64);
            for wait in waits {
                now += wait;
                let taken = rate.take(full_at, now);
                if taken.is_allowed {
                    allowed += 1;
                    full_at = Some(now + taken.ahead_us);
                } else {
                    prop_assert!(rate.retry_after(taken.ahead_us) > Duration::ZERO);
                }
                let filled = (now - START) / rate.interval_us();
                prop_assert!(allowed <= u64::from(burst) + filled);
            }
        }
    }
}
