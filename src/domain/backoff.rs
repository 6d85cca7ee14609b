//! Login back-off: how long an account or an address waits after failed attempts.
//!
//! The first failures are free; then the wait doubles from one second to five minutes. Together with the block list
//! it keeps guessing far below the hundred tries of NIST SP 800-63B-4, section 3.2.2, without locking anybody out.

use std::net::IpAddr;
use std::time::Duration;

use super::time::Timestamp;

/// Failures of one account before it has to wait.
pub const ACCOUNT_FREE_FAILURES: u32 = 5;
/// Failures from one address before it has to wait. More, because many people share an address.
pub const ADDRESS_FREE_FAILURES: u32 = 20;
pub const WAIT_MIN: Duration = Duration::from_secs(1);
pub const WAIT_MAX: Duration = Duration::from_mins(5);
/// A subject without a failure for this long starts anew.
pub const FORGET_AFTER: Duration = Duration::from_hours(24);

/// The failures of one subject, as the store keeps them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failures {
    pub count: u32,
    pub last_at: Timestamp,
}

/// The wait that follows failure number `failures`, of which the first `free - 1` cost nothing.
#[must_use]
pub fn wait_after(failures: u32, free: u32) -> Duration {
    failures.checked_sub(free).map_or(Duration::ZERO, |doublings| {
        let factor = 1_u32.checked_shl(doublings.min(30)).unwrap_or(u32::MAX);
        WAIT_MIN.saturating_mul(factor).min(WAIT_MAX)
    })
}

/// What is left of the wait at `now`, or `None` when an attempt is allowed.
#[must_use]
pub fn retry_after(failures: Failures, free: u32, now: Timestamp) -> Option<Duration> {
    let passed = now.since(failures.last_at);
    if passed >= FORGET_AFTER {
        return None;
    }
    let left = wait_after(failures.count, free).saturating_sub(passed);
    (!left.is_zero()).then_some(left)
}

/// The network an address is counted under: itself, or the /64 of an IPv6 address (one customer holds at least that).
#[must_use]
pub fn network_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V4(v4) => IpAddr::V4(v4),
        IpAddr::V6(v6) => IpAddr::V6((v6.to_bits() & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const START: Timestamp = Timestamp::from_millis(1_795_244_400_000);

    #[test]
    fn the_wait_doubles_from_one_second_to_five_minutes() {
        let waits: Vec<u64> = (3..16).map(|failures| wait_after(failures, 5).as_secs()).collect();

        assert_eq!(waits, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
    }

    #[test]
    fn an_attempt_is_allowed_once_the_wait_is_over() {
        let failures = Failures { count: 7, last_at: START };

        assert_eq!(retry_after(failures, 5, START), Some(Duration::from_secs(4)));
        assert_eq!(
            retry_after(failures, 5, START.plus(Duration::from_secs(3))),
            Some(Duration::from_secs(1))
        );
        assert_eq!(retry_after(failures, 5, START.plus(Duration::from_secs(4))), None);
    }

    #[test]
    fn neighbours_in_a_64_share_a_network() {
        let network = |text: &str| network_of(text.parse().unwrap());

        assert_eq!(network("2001:db8:1:2:3::4"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.7"), network("192.0.2.7"));
    }

    proptest! {
        #[test]
        fn more_failures_never_wait_less(failures in 0_u32..u32::MAX, free in 1_u32..100) {
            prop_assert!(wait_after(failures, free) <= wait_after(failures + 1, free));
            prop_assert!(wait_after(failures, free) <= WAIT_MAX);
        }
    }
}
