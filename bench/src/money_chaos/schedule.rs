//! What is killed when, drawn from the seed before anything starts.

use std::time::Duration;

use crate::chance::Chance;

/// Nobody is killed before there is something to lose.
const FIRST_MS: i64 = 500;
/// How long whoever was killed stays down beside the time that it takes to start.
const DOWN_MS: (i64, i64) = (0, 1_500);
/// Kills of nodes for one of the payment provider.
const PER_PROVIDER: u32 = 4;

#[derive(Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Of nodes and of PostgreSQL, in the order of time.
    pub strokes: Vec<Stroke>,
    /// Of the payment provider, in the order of time.
    pub of_provider: Vec<Stroke>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stroke {
    pub at: Duration,
    pub target: Target,
    pub lasts: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// By its place.
    Node(usize),
    Provider,
    /// Stopped without a clean end, and started again.
    Postgres,
}

impl Schedule {
    /// Spreads so many kills of `nodes` nodes, some of the provider, and so many restarts of PostgreSQL over `duration`.
    pub fn draw(
        chance: &mut Chance,
        duration: Duration,
        kills: u32,
        restarts: u32,
        nodes: usize,
    ) -> Self {
        let last_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX).max(FIRST_MS);
        let mut draw = |target: Target| Stroke {
            at: chance.wait_ms(FIRST_MS, last_ms),
            target: match target {
                Target::Node(_) => Target::Node(chance.below(nodes)),
                other => other,
            },
            lasts: chance.wait_ms(DOWN_MS.0, DOWN_MS.1),
        };
        let mut strokes: Vec<Stroke> = (0..kills).map(|_| draw(Target::Node(0))).collect();
        strokes.extend((0..restarts).map(|_| draw(Target::Postgres)));
        let of_provider = kills.saturating_add(restarts).div_ceil(PER_PROVIDER);
        let mut of_provider: Vec<Stroke> =
            (0..of_provider).map(|_| draw(Target::Provider)).collect();
        strokes.sort_by_key(|stroke| stroke.at);
        of_provider.sort_by_key(|stroke| stroke.at);
        Self { strokes, of_provider }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn every_kind_of_stroke_falls_into_the_run_in_order() {
        let Schedule { strokes, of_provider } =
            Schedule::draw(&mut Chance::new(1, 0), MINUTE, 20, 3, 2);

        for target in [Target::Node(0), Target::Node(1), Target::Postgres] {
            assert!(strokes.iter().any(|stroke| stroke.target == target), "{target:?}");
        }
        assert_eq!((strokes.len(), of_provider.len()), (23, 6));
        assert!(of_provider.iter().all(|stroke| stroke.target == Target::Provider));
        for strokes in [&strokes, &of_provider] {
            assert!(strokes.is_sorted_by_key(|stroke| stroke.at));
            assert!(strokes.iter().all(|stroke| stroke.at <= MINUTE));
        }
    }

    #[test]
    fn a_seed_has_one_schedule_and_without_kills_nothing_is_killed() {
        let draw = |seed, kills| Schedule::draw(&mut Chance::new(seed, 0), MINUTE, kills, 0, 2);

        assert_eq!(draw(1, 5), draw(1, 5));
        assert_ne!(draw(1, 5), draw(2, 5));
        assert_eq!(draw(1, 0), Schedule { strokes: Vec::new(), of_provider: Vec::new() });
    }
}
