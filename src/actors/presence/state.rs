//! One user's presence on one node, pure: the devices that hubs report, what of them the store knows, and when that
//! changes.
//!
//! Invariant: a report says all there is to say of one hub, and a newer one replaces it, so that reports may be lost,
//! doubled or overtaken.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::domain::presence::{Choice, merge};
use crate::domain::time::Timestamp;

/// Changes that are recorded at once, within the grace; after that the last one waits.
const CHANGES_MAX: usize = 4;

/// The devices of one user on one hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report<H> {
    pub hub: H,
    /// Higher for a newer one.
    pub version: u64,
    pub devices: Vec<Choice>,
    /// Whether the last one said goodbye: nobody has to wait for it to come back.
    pub said_bye: bool,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Nothing,
    Wait(Duration),
    /// Record what the devices come to; tell that it is done with [`PresenceState::recorded`].
    Record(Option<Choice>),
}

/// What is known of one user.
#[derive(Debug)]
pub struct PresenceState<H> {
    hubs: HashMap<H, (u64, Vec<Choice>)>,
    recorded: Option<Choice>,
    /// When the user came or went.
    seen_at: Option<Timestamp>,
    /// From when on nobody has to be waited for.
    gone_at: Timestamp,
    changes: VecDeque<Timestamp>,
    /// How long after the last device went that is not recorded: networks flap.
    grace: Duration,
}

impl<H: Copy + Eq + std::hash::Hash> PresenceState<H> {
    /// A user of whom that is `recorded`, and no device has been reported yet.
    #[must_use]
    pub fn new(recorded: Option<Choice>, grace: Duration, now: Timestamp) -> Self {
        Self {
            hubs: HashMap::new(),
            recorded,
            seen_at: None,
            gone_at: now.plus(grace),
            changes: VecDeque::new(),
            grace,
        }
    }

    /// Takes in what a hub reports, unless something newer came from it.
    pub fn report(&mut self, report: Report<H>, now: Timestamp) {
        let Report { hub, version, devices, said_bye } = report;
        if self.hubs.get(&hub).is_some_and(|(known, _)| *known >= version) {
            return;
        }
        let was_here = self.is_here();
        self.hubs.insert(hub, (version, devices));
        match (was_here, self.is_here()) {
            (false, true) => self.seen_at = Some(now),
            (true, false) => {
                self.seen_at = Some(now);
                self.gone_at = if said_bye { now } else { now.plus(self.grace) };
            }
            _ => {}
        }
    }

    /// What the devices come to; `None` without one.
    #[must_use]
    pub fn choice(&self) -> Option<Choice> {
        merge(self.hubs.values().flat_map(|(_, devices)| devices.iter().copied()))
    }

    /// When the user was last seen to come or to go.
    #[must_use]
    pub const fn seen_at(&self) -> Option<Timestamp> {
        self.seen_at
    }

    /// What is recorded.
    #[must_use]
    pub const fn is_recorded_as(&self) -> Option<Choice> {
        self.recorded
    }

    #[must_use]
    pub fn next(&self, now: Timestamp) -> Next {
        let choice = self.choice();
        if choice == self.recorded {
            return Next::Nothing;
        }
        let mut at = now;
        if choice.is_none() {
            at = at.max(self.gone_at);
        }
        if self.changes.len() >= CHANGES_MAX
            && let Some(oldest) = self.changes.front()
        {
            at = at.max(oldest.plus(self.grace));
        }
        if at > now { Next::Wait(at.since(now)) } else { Next::Record(choice) }
    }

    /// What was recorded is gone: the node counts as another.
    pub fn forget(&mut self) {
        self.recorded = None;
        self.changes.clear();
    }

    /// That is recorded from now on.
    pub fn recorded(&mut self, choice: Option<Choice>, now: Timestamp) {
        self.recorded = choice;
        self.changes.push_back(now);
        if self.changes.len() > CHANGES_MAX {
            self.changes.pop_front();
        }
    }

    /// Whether nothing is lost by forgetting it.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        !self.is_here() && self.recorded.is_none()
    }

    fn is_here(&self) -> bool {
        self.hubs.values().any(|(_, devices)| !devices.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRACE: Duration = Duration::from_secs(10);
    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn after(seconds: u64) -> Timestamp {
        NOW.plus(Duration::from_secs(seconds))
    }

    fn report(hub: u8, version: u64, devices: &[Choice]) -> Report<u8> {
        Report { hub, version, devices: devices.to_vec(), said_bye: false }
    }

    /// Shows whatever is due; gives it.
    fn settle(state: &mut PresenceState<u8>, now: Timestamp) -> Next {
        let next = state.next(now);
        if let Next::Record(choice) = next {
            state.recorded(choice, now);
        }
        next
    }

    fn online() -> PresenceState<u8> {
        let mut state = PresenceState::new(None, GRACE, NOW);
        state.report(report(1, 1, &[Choice::Online]), NOW);
        assert_eq!(settle(&mut state, NOW), Next::Record(Some(Choice::Online)));
        state
    }

    #[test]
    fn the_first_device_is_shown_at_once_and_the_last_is_waited_for() {
        let mut state = online();
        state.report(report(1, 2, &[]), after(5));
        assert_eq!(settle(&mut state, after(5)), Next::Wait(GRACE));
        assert_eq!(settle(&mut state, after(15)), Next::Record(None));
        assert_eq!(state.seen_at(), Some(after(5)));
        assert!(state.is_idle());
    }

    #[test]
    fn whoever_comes_back_in_time_was_never_away() {
        let mut state = online();
        state.report(report(1, 2, &[]), after(5));
        state.report(report(2, 1, &[Choice::Online]), after(14));
        assert_eq!(settle(&mut state, after(15)), Next::Nothing);
    }

    #[test]
    fn a_goodbye_is_shown_at_once() {
        let mut state = online();
        state.report(Report { said_bye: true, ..report(1, 2, &[]) }, after(5));
        assert_eq!(settle(&mut state, after(5)), Next::Record(None));
    }

    #[test]
    fn an_overtaken_report_changes_nothing() {
        let mut state = online();
        state.report(report(1, 3, &[Choice::Away]), after(1));
        state.report(report(1, 2, &[]), after(1));
        assert_eq!(state.choice(), Some(Choice::Away));
    }

    #[test]
    fn devices_are_merged_over_hubs() {
        let mut state = online();
        state.report(report(2, 1, &[Choice::Away]), after(1));
        assert_eq!(settle(&mut state, after(1)), Next::Nothing);
        state.report(report(1, 2, &[]), after(2));
        assert_eq!(settle(&mut state, after(2)), Next::Record(Some(Choice::Away)));
    }

    #[test]
    fn whoever_flaps_is_shown_the_last_state_a_little_later() {
        let mut state = online();
        for version in 2..=u64::try_from(CHANGES_MAX).unwrap() {
            let devices = if version % 2 == 0 { vec![Choice::Busy] } else { vec![Choice::Online] };
            state.report(report(1, version, &devices), after(1));
            assert!(matches!(settle(&mut state, after(1)), Next::Record(_)));
        }
        state.report(report(1, 99, &[Choice::Away]), after(2));
        assert_eq!(settle(&mut state, after(2)), Next::Wait(Duration::from_secs(8)));
        assert_eq!(settle(&mut state, after(10)), Next::Record(Some(Choice::Away)));
    }

    #[test]
    fn whoever_is_here_is_recorded_again_by_a_node_that_counts_as_another() {
        let mut state = online();
        state.forget();
        assert_eq!(settle(&mut state, after(1)), Next::Record(Some(Choice::Online)));
    }

    #[test]
    fn after_a_crash_whoever_does_not_come_back_has_gone() {
        let mut state: PresenceState<u8> = PresenceState::new(Some(Choice::Busy), GRACE, NOW);
        assert_eq!(settle(&mut state, NOW), Next::Wait(GRACE));
        assert_eq!(settle(&mut state, after(10)), Next::Record(None));
    }
}
