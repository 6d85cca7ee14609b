//! When something is sent and which node is killed when, drawn from the seed before anything starts.

use std::time::Duration;

use crate::chance::Chance;

/// A kill comes so long after something was sent, in milliseconds: while there is work.
const INTO_WORK_MS: (i64, i64) = (0, 2_500);
/// How long a node stays down beside the time that it takes to start.
const DOWN_MS: (i64, i64) = (0, 3_000);

#[derive(Debug, PartialEq, Eq)]
pub struct Schedule {
    /// When something is sent to everybody, since the start.
    pub sendings: Vec<Duration>,
    /// In the order of time.
    pub kills: Vec<Stroke>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stroke {
    pub at: Duration,
    /// The place of the node.
    pub node: usize,
    pub lasts: Duration,
}

impl Schedule {
    /// Spreads the sendings over `duration`, and the kills of `nodes` nodes over the sendings.
    pub fn draw(
        chance: &mut Chance,
        duration: Duration,
        sendings: u32,
        kills: u32,
        nodes: usize,
    ) -> Self {
        let part = duration / sendings.max(1);
        let half_ms = i64::try_from(part.as_millis() / 2).unwrap_or(i64::MAX);
        let sendings: Vec<Duration> =
            (0..sendings).map(|number| part * number + chance.wait_ms(0, half_ms)).collect();
        let mut turns = sendings.clone();
        chance.shuffle(&mut turns);
        let turns = turns.iter().cycle().take(usize::try_from(kills).unwrap_or(usize::MAX));
        let mut kills: Vec<Stroke> = turns
            .map(|sent| Stroke {
                at: *sent + chance.wait_ms(INTO_WORK_MS.0, INTO_WORK_MS.1),
                node: chance.below(nodes),
                lasts: chance.wait_ms(DOWN_MS.0, DOWN_MS.1),
            })
            .collect();
        kills.sort_by_key(|stroke| stroke.at);
        Self { sendings, kills }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn every_kill_strikes_into_the_work_of_a_sending() {
        let schedule = Schedule::draw(&mut Chance::new(1, 0), MINUTE, 10, 25, 2);

        assert_eq!((schedule.sendings.len(), schedule.kills.len()), (10, 25));
        assert!(schedule.sendings.is_sorted() && schedule.sendings.iter().all(|at| *at < MINUTE));
        let longest = Duration::from_millis(INTO_WORK_MS.1.unsigned_abs());
        for kill in &schedule.kills {
            let is_of = |sent: &Duration| kill.at >= *sent && kill.at <= *sent + longest;
            assert!(schedule.sendings.iter().any(is_of), "{kill:?}");
        }
        assert!(schedule.kills.is_sorted_by_key(|kill| kill.at));
        for node in [0, 1] {
            assert!(schedule.kills.iter().any(|kill| kill.node == node));
        }
    }

    #[test]
    fn a_seed_has_one_schedule() {
        let draw = |seed| Schedule::draw(&mut Chance::new(seed, 0), MINUTE, 5, 3, 1);

        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert!(Schedule::draw(&mut Chance::new(1, 0), MINUTE, 1, 0, 1).kills.is_empty());
    }
}
