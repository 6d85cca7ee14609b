//! The timer wheel of a worker: whom to look at in which second. One timer for all connections, and an idle one costs
//! nothing between two looks.

use std::time::Duration;

/// Seconds in one turn; what is further away is looked at once a turn.
const SLOTS: usize = 64;

/// Who is due when.
#[derive(Debug)]
pub(super) struct Wheel<T> {
    slots: Vec<Vec<T>>,
    now: usize,
}

impl<T> Default for Wheel<T> {
    fn default() -> Self {
        Self { slots: (0..SLOTS).map(|_| Vec::new()).collect(), now: 0 }
    }
}

impl<T> Wheel<T> {
    /// Notes that `who` is to be looked at no earlier than in `wait`, and at most a turn from now.
    pub(super) fn schedule(&mut self, who: T, wait: Duration) {
        let seconds = usize::try_from(wait.as_secs()).unwrap_or(SLOTS);
        // A part of a second is a whole tick, and the tick at hand is over.
        let ticks = seconds.saturating_add(1).min(SLOTS.saturating_sub(1));
        let at = self.now.saturating_add(ticks).checked_rem(SLOTS).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(at) {
            slot.push(who);
        }
    }

    /// Turns by a second; gives who is due.
    pub(super) fn turn(&mut self) -> Vec<T> {
        self.now = self.now.saturating_add(1).checked_rem(SLOTS).unwrap_or(0);
        self.slots.get_mut(self.now).map(std::mem::take).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many turns each is due.
    fn due(waits: &[u64]) -> Vec<(u64, usize)> {
        let mut wheel = Wheel::default();
        // Somewhere, so that it has to go round.
        for _ in 0..SLOTS - 2 {
            wheel.turn();
        }
        for wait in waits {
            wheel.schedule(*wait, Duration::from_secs(*wait));
        }
        (1..=2 * SLOTS).flat_map(|n| wheel.turn().into_iter().map(move |who| (who, n))).collect()
    }

    #[test]
    fn nobody_is_looked_at_too_early_or_twice() {
        assert_eq!(due(&[0, 1, 5, 61]), [(0, 1), (1, 2), (5, 6), (61, 62)]);
    }

    #[test]
    fn what_is_far_away_is_looked_at_within_a_turn() {
        assert_eq!(due(&[62, 900]), [(62, 63), (900, 63)]);
    }
}
