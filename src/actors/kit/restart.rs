//! How often is too often: pure rules for restarts.
//!
//! A crash is forgiven up to a number within a window. Beyond it the actor is quarantined, each time twice as long
//! as before, until it has been calm. Time and chance come in as arguments.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

/// At most `events_max` within `window`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit {
    pub events_max: usize,
    pub window: Duration,
}

/// When a crash leads to a restart and when to quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestartPolicy {
    /// Crashes that are followed by a restart without delay.
    pub restarts: Limit,
    /// The first quarantine, before jitter.
    pub cooling_min: Duration,
    /// The longest quarantine, before jitter.
    pub cooling_max: Duration,
}

/// What follows a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Start again.
    Restart,
    /// Refuse for this long.
    Cool(Duration),
}

/// Events of the recent past, counted against a [`Limit`].
#[derive(Debug, Default)]
pub struct Tally {
    events: VecDeque<Instant>,
}

impl Tally {
    /// Adds an event at `now` and says whether there are now more than the limit allows.
    pub fn exceeds(&mut self, limit: &Limit, now: Instant) -> bool {
        while self
            .events
            .front()
            .is_some_and(|event| now.saturating_duration_since(*event) >= limit.window)
        {
            self.events.pop_front();
        }
        self.events.push_back(now);
        // One more than the limit is all that has to be remembered.
        if self.events.len() > limit.events_max.saturating_add(1) {
            self.events.pop_front();
        }
        self.events.len() > limit.events_max
    }

    fn clear(&mut self) {
        self.events.clear();
    }
}

/// The crashes of one actor.
#[derive(Debug, Default)]
pub struct RestartWindow {
    crashes: Tally,
    quarantines: u32,
    calm_at: Option<Instant>,
}

impl RestartWindow {
    /// Judges a crash at `now`. `jitter` is a random number in `0.0..1.0`.
    ///
    /// After a quarantine a single crash leads to the next, twice as long, until the actor has been calm for a window
    /// and for as long as it last cooled.
    pub fn crashed(&mut self, policy: &RestartPolicy, now: Instant, jitter: f64) -> Verdict {
        if self.is_calm(now) {
            *self = Self::default();
        }

        let too_often = self.crashes.exceeds(&policy.restarts, now);
        let verdict = if too_often || self.quarantines > 0 {
            self.crashes.clear();
            let wait = cooling(policy, self.quarantines, jitter);
            self.quarantines = self.quarantines.saturating_add(1);
            Verdict::Cool(wait)
        } else {
            Verdict::Restart
        };

        let quiet = match verdict {
            Verdict::Restart => policy.restarts.window,
            Verdict::Cool(wait) => policy.restarts.window.saturating_add(wait.saturating_mul(2)),
        };
        self.calm_at = now.checked_add(quiet);
        verdict
    }

    /// Whether what happened no longer matters at `now`.
    #[must_use]
    pub fn is_calm(&self, now: Instant) -> bool {
        self.calm_at.is_some_and(|calm_at| calm_at <= now)
    }
}

// Between half of the doubled wait and all of it, so that actors that fell together do not rise together.
fn cooling(policy: &RestartPolicy, quarantines: u32, jitter: f64) -> Duration {
    let doubled = 2_u32.checked_pow(quarantines).unwrap_or(u32::MAX);
    let wait = policy.cooling_min.saturating_mul(doubled).min(policy.cooling_max);
    wait.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const POLICY: RestartPolicy = RestartPolicy {
        restarts: Limit { events_max: 3, window: Duration::from_secs(10) },
        cooling_min: Duration::from_secs(1),
        cooling_max: Duration::from_secs(60),
    };

    #[test]
    fn the_fourth_crash_within_the_window_is_quarantined() {
        let (mut window, now) = (RestartWindow::default(), Instant::now());

        for _ in 0..3 {
            assert_eq!(window.crashed(&POLICY, now, 0.0), Verdict::Restart);
        }
        assert_eq!(window.crashed(&POLICY, now, 0.0), Verdict::Cool(Duration::from_millis(500)));
    }

    #[test]
    fn quarantine_doubles_up_to_its_limit() {
        let (mut window, mut now) = (RestartWindow::default(), Instant::now());
        for _ in 0..3 {
            window.crashed(&POLICY, now, 1.0);
        }

        for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
            let wait = Duration::from_secs(seconds);
            assert_eq!(window.crashed(&POLICY, now, 1.0), Verdict::Cool(wait));
            now += wait;
        }
    }

    #[test]
    fn a_calm_while_is_a_clean_slate() {
        let (mut window, now) = (RestartWindow::default(), Instant::now());
        for _ in 0..4 {
            window.crashed(&POLICY, now, 1.0);
        }

        assert!(!window.is_calm(now + Duration::from_secs(11)));
        assert!(window.is_calm(now + Duration::from_secs(12)));
        assert_eq!(window.crashed(&POLICY, now + Duration::from_secs(12), 1.0), Verdict::Restart);
    }

    proptest! {
        #[test]
        fn restarts_without_delay_never_exceed_the_limit_in_any_window(
            gaps in prop::collection::vec(0_u64..8_000, 1..200),
            jitter in 0.0..1.0_f64,
        ) {
            let (mut window, mut now) = (RestartWindow::default(), Instant::now());
            let mut restarts: Vec<Instant> = Vec::new();
            for gap in gaps {
                now += Duration::from_millis(gap);
                match window.crashed(&POLICY, now, jitter) {
                    Verdict::Restart => restarts.push(now),
                    Verdict::Cool(wait) => {
                        prop_assert!(wait >= POLICY.cooling_min / 2 && wait <= POLICY.cooling_max);
                        now += wait;
                    }
                }
                let recent = restarts.iter().filter(|at| now - **at < POLICY.restarts.window).count();
                prop_assert!(recent <= POLICY.restarts.events_max);
            }
        }

        #[test]
        fn a_tally_counts_what_a_naive_count_counts(gaps in prop::collection::vec(0_u64..6_000, 1..100)) {
            let limit = POLICY.restarts;
            let (mut tally, mut now, mut events) = (Tally::default(), Instant::now(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                events.push(now);
                let recent = events.iter().filter(|at| now - **at < limit.window).count();
                prop_assert_eq!(tally.exceeds(&limit, now), recent > limit.events_max);
            }
        }
    }
}
