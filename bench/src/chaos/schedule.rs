//! When the server is killed and when its store is slow, drawn from the seed before anything starts.

use std::time::Duration;

use crate::chance::Chance;

/// How long the server stays down, in milliseconds, beside the time that it takes to start.
const DOWN_MS: (i64, i64) = (0, 800);
const LOCKED_MS: (i64, i64) = (100, 1_500);
/// Of so many seconds, one has a moment in which the store is slow.
const LOCK_EVERY_S: u64 = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct Schedule {
    pub kills: Vec<Stroke>,
    pub locks: Vec<Stroke>,
}

/// Something bad: when, since the start, and how long it lasts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stroke {
    pub at: Duration,
    pub lasts: Duration,
}

impl Schedule {
    /// Spreads `kills` over `duration`, and as many locks as fit.
    pub fn draw(chance: &mut Chance, duration: Duration, kills: u32) -> Self {
        let locks = u32::try_from(duration.as_secs() / LOCK_EVERY_S).unwrap_or(u32::MAX);
        Self {
            kills: spread(chance, duration, kills, DOWN_MS),
            locks: spread(chance, duration, locks, LOCKED_MS),
        }
    }
}

/// One stroke somewhere in each of `count` equal parts of `duration`, but not at its edges.
fn spread(
    chance: &mut Chance,
    duration: Duration,
    count: u32,
    (shortest_ms, longest_ms): (i64, i64),
) -> Vec<Stroke> {
    let part = duration / count.max(1);
    let tenth_ms = i64::try_from(part.as_millis() / 10).unwrap_or_default();
    let strokes = (0..count).map(|number| Stroke {
        at: part * number + chance.wait_ms(tenth_ms, 8 * tenth_ms),
        lasts: chance.wait_ms(shortest_ms, longest_ms),
    });
    strokes.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn every_kill_has_a_part_of_the_time_for_itself() {
        let schedule = Schedule::draw(&mut Chance::new(1, 0), MINUTE, 10);

        assert_eq!((schedule.kills.len(), schedule.locks.len()), (10, 15));
        for (number, kill) in (0_u32..).zip(&schedule.kills) {
            let part = Duration::from_secs(6);
            assert!(kill.at > part * number && kill.at < part * (number + 1));
        }
    }

    #[test]
    fn a_seed_has_one_schedule() {
        let draw = |seed| Schedule::draw(&mut Chance::new(seed, 0), MINUTE, 3);

        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(Schedule::draw(&mut Chance::new(1, 0), MINUTE, 0).kills.is_empty());
    }
}
