//! The scheduler: a seed decides what happens, and names what went wrong.
//!
//! Invariant: a seed plays the same way on every machine, whatever other threads do.

use std::env;
use std::num::NonZeroUsize;
use std::ops::Range;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Names the one seed that is to be played.
const SEED: &str = "MADANG_SIM_SEED";
/// Seeds within which a control has to be caught.
const CONTROL_SEEDS: u64 = 2_000;

/// What is left to chance, decided by a seed: `SplitMix64`.
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut drawn = self.0;
        drawn = (drawn ^ (drawn >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        drawn = (drawn ^ (drawn >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        drawn ^ (drawn >> 31)
    }

    /// A number below `bound`, which is not 0.
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("a usize has at most 64 bits");
        usize::try_from(self.draw() % bound).expect("below a usize")
    }

    /// A number from `low` to `high`, both included.
    pub(crate) fn between(&mut self, low: i64, high: i64) -> i64 {
        let choices = usize::try_from(high - low + 1).expect("low is not above high");
        low + i64::try_from(self.below(choices)).expect("a choice is small")
    }

    pub(crate) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// The place of one of the weights; the heavier, the more often.
    pub(crate) fn weighted(&mut self, weights: &[usize]) -> usize {
        let mut left = self.below(weights.iter().sum::<usize>());
        for (at, weight) in weights.iter().enumerate() {
            if left < *weight {
                return at;
            }
            left -= *weight;
        }
        unreachable!("what is drawn is below the sum of the weights")
    }
}

/// What happened, line by line; written only where one seed is replayed.
pub(crate) struct Diary(Option<String>);

impl Diary {
    pub(crate) fn open() -> Self {
        Self(replayed().map(|_| String::new()))
    }

    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(text) = &mut self.0 {
            text.push_str("\n  ");
            text.push_str(&what());
        }
    }

    pub(crate) fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

/// Plays so many seeds, or the one that the environment names, and fails with the first that is red.
///
/// `play` gives what went wrong; `test` is the name of the test that calls, for whoever replays it.
pub(crate) fn sweep(test: &str, seeds: u64, play: impl Fn(u64) -> Result<(), String> + Sync) {
    let seeds = replayed().map_or(0..seeds, |seed| seed..seed + 1);
    if let Some((seed, what)) = first_red(seeds, &play) {
        panic!("seed {seed} is red: {what}\nreplay: {SEED}={seed} cargo test --test sim {test}");
    }
}

/// Whether at least one of a control's seeds is red.
pub(crate) fn is_caught(play: impl Fn(u64) -> Result<(), String> + Sync) -> bool {
    first_red(0..CONTROL_SEEDS, &play).is_some()
}

fn first_red(
    seeds: Range<u64>,
    play: &(impl Fn(u64) -> Result<(), String> + Sync),
) -> Option<(u64, String)> {
    let next = AtomicU64::new(seeds.start);
    let first: Mutex<Option<(u64, String)>> = Mutex::new(None);
    let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let Err(what) = outcome(seed, play) else { continue };
                    // Those before it were begun before it, and each says for itself if it is red.
                    next.store(seeds.end, Ordering::Relaxed);
                    let mut first = first.lock().expect("nobody panics while holding it");
                    if first.as_ref().is_none_or(|(known, _)| seed < *known) {
                        *first = Some((seed, what));
                    }
                }
            });
        }
    });
    first.into_inner().expect("nobody panics while holding it")
}

fn outcome(seed: u64, play: &impl Fn(u64) -> Result<(), String>) -> Result<(), String> {
    panic::catch_unwind(AssertUnwindSafe(|| play(seed)))
        .unwrap_or_else(|_| Err("it panicked, as is said above".to_owned()))
}

fn replayed() -> Option<u64> {
    let seed = env::var(SEED).ok()?;
    Some(seed.parse().expect("the seed to replay is a number"))
}

#[test]
fn the_first_red_seed_is_named_and_a_panic_is_red() {
    let from_seven = |seed: u64| if seed < 7 { Ok(()) } else { Err(format!("no {seed}")) };
    assert_eq!(first_red(0..1_000, &from_seven), Some((7, "no 7".to_owned())));
    assert_eq!(first_red(0..7, &from_seven), None);

    let (seed, _) = first_red(0..10, &|seed: u64| {
        assert_ne!(seed, 3, "on purpose");
        Ok(())
    })
    .expect("a red seed");
    assert_eq!(seed, 3);
}
