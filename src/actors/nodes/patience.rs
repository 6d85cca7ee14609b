//! Patience: when a node may take the silence of others for their death, pure.
//!
//! After the database was away, everybody's lease is over, and the first to come back must not bury the others. The same
//! is true of a process that was stopped for a while.

use std::time::{Duration, Instant};

/// What a node knows of its own renewals.
#[derive(Debug)]
pub(super) struct Patience {
    lease: Duration,
    /// Renewals have gone well since then.
    since: Option<Instant>,
    last: Instant,
}

impl Patience {
    pub(super) const fn new(lease: Duration, now: Instant) -> Self {
        Self { lease, since: Some(now), last: now }
    }

    /// A renewal has failed: others could not renew theirs either, for all that is known.
    pub(super) const fn missed(&mut self) {
        self.since = None;
    }

    /// A renewal went well. Gives whether others that have not renewed theirs must be dead.
    pub(super) fn renewed(&mut self, now: Instant) -> bool {
        let slept = now.saturating_duration_since(self.last) >= self.lease;
        self.last = now;
        if slept {
            self.since = None;
        }
        let since = *self.since.get_or_insert(now);
        now.saturating_duration_since(since) >= self.lease
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(10);

    /// What each renewal came to: so many seconds after the start, whether it went well.
    fn play(renewals: &[(u64, bool)]) -> Vec<bool> {
        let start = Instant::now();
        let mut patience = Patience::new(LEASE, start);
        let mut answers = Vec::new();
        for (at, went_well) in renewals {
            if *went_well {
                answers.push(patience.renewed(start + Duration::from_secs(*at)));
            } else {
                patience.missed();
            }
        }
        answers
    }

    #[test]
    fn others_are_given_the_time_in_which_they_could_renew() {
        let went_well = [(3, true), (6, true), (9, true), (12, true), (15, true)];
        assert_eq!(play(&went_well), [false, false, false, true, true]);
    }

    #[test]
    fn after_the_database_was_away_they_are_given_it_again() {
        let away = [(9, true), (12, false), (25, false), (28, true), (37, true), (38, true)];
        assert_eq!(play(&away), [false, false, false, true]);
    }

    #[test]
    fn whoever_slept_gives_it_to_the_others_too() {
        assert_eq!(
            play(&[(9, true), (40, true), (45, true), (50, true)]),
            [false, false, false, true]
        );
    }
}
