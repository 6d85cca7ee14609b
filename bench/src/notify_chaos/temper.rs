//! How a provider behaves towards a letter, drawn from the seed: in most cases well, otherwise in one of the ways in which
//! providers fail.
//!
//! Invariant: a letter is failed so often at most, so that no letter is given up.

use std::time::Duration;

use crate::chance::Chance;

/// Attempts at one letter that may fail.
const TROUBLES_MAX: u32 = 3;
/// What taking a letter takes, in milliseconds.
const WELL_MS: (i64, i64) = (0, 40);
const SLOW_MS: (i64, i64) = (300, 1_500);

/// What a provider does with one attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// Takes the letter, and says so a little later.
    Take(Duration),
    /// Is broken: 503, or 421.
    Fail,
    /// Wants it later: 429, or 451.
    PutOff,
    /// Ends the connection, and has taken nothing.
    CloseBefore,
    /// Takes the letter and ends the connection without an answer.
    CloseAfter,
    /// Takes the letter and says nothing until the other side gives up.
    Hang,
}

impl Deed {
    /// As reports call it; letters that were taken well have no name.
    pub fn name(self) -> Option<&'static str> {
        match self {
            Self::Take(_) => None,
            Self::Fail => Some("failed"),
            Self::PutOff => Some("put_off"),
            Self::CloseBefore => Some("closed_before"),
            Self::CloseAfter => Some("closed_after"),
            Self::Hang => Some("hung"),
        }
    }

    /// The names of all that is no good.
    pub const TROUBLES: [&str; 5] = ["failed", "put_off", "closed_before", "closed_after", "hung"];
}

/// Draws the deed for attempt `attempt` (from 0) at the letter that `about` names.
pub fn draw(seed: u32, about: &str, attempt: u32) -> Deed {
    let stream = hash(about).wrapping_add(attempt.into());
    let mut chance = Chance::new(seed.into(), stream);
    let percent = chance.between(1, 100);
    if attempt >= TROUBLES_MAX {
        return Deed::Take(chance.wait_ms(WELL_MS.0, WELL_MS.1));
    }
    match percent {
        1..=4 => Deed::Fail,
        5..=8 => Deed::PutOff,
        9..=12 => Deed::CloseBefore,
        13..=16 => Deed::CloseAfter,
        17 => Deed::Hang,
        18..=20 => Deed::Take(chance.wait_ms(SLOW_MS.0, SLOW_MS.1)),
        _ => Deed::Take(chance.wait_ms(WELL_MS.0, WELL_MS.1)),
    }
}

/// FNV-1a: the same in every run.
fn hash(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_comes_and_most_is_well() {
        let deeds: Vec<_> = (0..2_000).map(|n| draw(1, &format!("letter {n}"), 0)).collect();

        for trouble in Deed::TROUBLES {
            assert!(deeds.iter().any(|deed| deed.name() == Some(trouble)), "{trouble}");
        }
        let well = deeds.iter().filter(|deed| deed.name().is_none()).count();
        assert!((1_500..1_800).contains(&well), "{well}");
    }

    #[test]
    fn a_seed_treats_a_letter_the_same_way_each_time_and_never_for_long() {
        let deeds = |seed| (0..8).map(|attempt| draw(seed, "x", attempt)).collect::<Vec<_>>();

        assert_eq!(deeds(1), deeds(1));
        assert!((0..100).any(|seed| deeds(seed) != deeds(seed + 1)));
        for seed in 0..500 {
            assert!(deeds(seed).iter().skip(3).all(|deed| deed.name().is_none()));
        }
    }
}
