//! Numbers by chance, the same for the same seed (xorshift64).

use std::time::Duration;

#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// The numbers of one `stream` of a seed; each stream has its own.
    pub fn new(seed: u64, stream: u64) -> Self {
        // The end of SplitMix64: neighbours have nothing in common afterwards.
        let mut mixed =
            seed.wrapping_add(stream.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        // Zero would stay zero for ever.
        Self((mixed ^ (mixed >> 31)).max(1))
    }

    /// A number from `low` to `high`, both included; `low` must not be above `high`.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        low + i64::try_from(self.draw() % (high - low + 1).unsigned_abs()).unwrap_or_default()
    }

    /// A time from `low` to `high` milliseconds.
    pub fn wait_ms(&mut self, low: i64, high: i64) -> Duration {
        Duration::from_millis(self.between(low, high).unsigned_abs())
    }

    pub fn is_one_in(&mut self, count: i64) -> bool {
        self.between(1, count) == 1
    }

    /// A number below `count`; zero of none.
    pub fn below(&mut self, count: usize) -> usize {
        let count = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.draw() % count).unwrap_or_default()
    }

    /// One of `items`, if there is one.
    pub fn pick<'i, T>(&mut self, items: &'i [T]) -> Option<&'i T> {
        items.get(self.below(items.len()))
    }

    /// A number below `count` that is not `place`, if there is one.
    pub fn other_than(&mut self, place: usize, count: usize) -> usize {
        (place + 1 + self.below(count.saturating_sub(1))) % count.max(1)
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    fn draw(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_stays_between_its_ends_and_reaches_both() {
        let mut chance = Chance::new(1, 1);

        let drawn: Vec<_> = (0..1_000).map(|_| chance.between(5, 9)).collect();

        assert!(drawn.iter().all(|number| (5..=9).contains(number)));
        assert!(drawn.contains(&5) && drawn.contains(&9));
    }

    #[test]
    fn another_place_is_any_but_the_same_unless_there_is_only_one() {
        let mut chance = Chance::new(1, 1);

        let others: Vec<_> = (0..100).map(|_| chance.other_than(1, 3)).collect();

        assert!(others.iter().all(|place| [0, 2].contains(place)));
        assert!(others.contains(&0) && others.contains(&2));
        assert_eq!((chance.other_than(0, 1), chance.other_than(0, 0)), (0, 0));
    }

    #[test]
    fn a_seed_gives_the_same_numbers_again_and_each_of_its_streams_others() {
        let draw = |seed, stream| Chance::new(seed, stream).draw();

        assert_eq!(draw(7, 3), draw(7, 3));
        assert_ne!(draw(7, 3), draw(7, 4));
        assert_ne!(draw(7, 3), draw(8, 3));
    }

    #[test]
    fn a_shuffle_loses_nothing_and_nothing_is_picked_of_nothing() {
        let (mut chance, mut items) = (Chance::new(0, 0), [1, 2, 3, 4, 5]);

        chance.shuffle(&mut items);

        assert_eq!(items.iter().sum::<i32>(), 15);
        assert!(items.contains(chance.pick(&items).unwrap()));
        assert_eq!(chance.pick::<i32>(&[]), None);
    }
}
