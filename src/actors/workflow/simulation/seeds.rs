//! How much is played of a suite: what fits into every test run, or more, for which `MADANG_SIM_SEEDS` says how many swarms.
//!
//! One seed of which every single death is played is as long as a hundred swarms, and one of which every pair is as long as
//! a thousand.

const SEEDS: &str = "MADANG_SIM_SEEDS";
const SWARMS_PER_SINGLE_DEATHS: u64 = 100;
const SWARMS_PER_PAIRS: u64 = 1_000;

/// Seeds of swarms.
pub(in crate::actors) fn swarms(usual: u64) -> u64 {
    asked_for().unwrap_or(usual)
}

/// Seeds of which every single death is played.
pub(in crate::actors) fn single_deaths(usual: u64) -> u64 {
    asked_for().map_or(usual, |swarms| usual.max(swarms / SWARMS_PER_SINGLE_DEATHS))
}

/// Seeds of which every pair of deaths is played.
pub(in crate::actors) fn pairs(usual: u64) -> u64 {
    asked_for().map_or(usual, |swarms| usual.max(swarms / SWARMS_PER_PAIRS))
}

fn asked_for() -> Option<u64> {
    std::env::var(SEEDS).ok().map(|seeds| seeds.parse().unwrap())
}
