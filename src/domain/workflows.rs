//! Workflows: work of many steps that goes on where it stopped, whatever dies meanwhile.
//!
//! Pure: what a workflow's row says, the key of an effect, and how long to wait before anybody asks again. Invariant: a key
//! follows from the workflow, the step and the direction, and from nothing that changes when a step is tried again.

use std::fmt;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::ids::WorkflowId;
use super::stored_as;

/// The longest that a call to the outside may take; less than a lease, so that nobody else calls meanwhile.
pub const CALL_MAX: Duration = Duration::from_secs(20);
/// How long a step is tried again and again before somebody has to look at it.
pub const TRIED_MAX: Duration = Duration::from_hours(24);
const REASON_CHARS_MAX: usize = 500;
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_mins(1);
/// After so long, nobody waits any more.
const LATE_AFTER: Duration = Duration::from_mins(15);
const LATE_WAIT: Duration = Duration::from_mins(5);

/// Where a workflow is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum WorkflowStatus {
    /// Something is to be done.
    Ready,
    /// A node works on it.
    Running,
    /// For a time, a signal or another attempt.
    Waiting,
    Done,
    /// What it had done was undone.
    Compensated,
    /// Somebody has to look at it.
    Parked,
}

stored_as!(WorkflowStatus {
    Ready = "ready",
    Running = "running",
    Waiting = "waiting",
    Done = "done",
    Compensated = "compensated",
    Parked = "parked"
});

impl WorkflowStatus {
    /// Whether it goes on by itself; one that is parked does not.
    #[must_use]
    pub const fn is_going_on(self) -> bool {
        match self {
            Self::Ready | Self::Running | Self::Waiting => true,
            Self::Done | Self::Compensated | Self::Parked => false,
        }
    }
}

/// Why a workflow is not given another turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WorkflowError {
    #[error("there is no such workflow")]
    NotFound,
    #[error("a workflow that is {} does not take another turn like this", .0.as_str())]
    WrongStatus(WorkflowStatus),
    #[error("the workflow goes back already")]
    GoesBack,
    #[error("there is no way back from where the workflow is")]
    NotUndoable,
}

/// Which way a workflow goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Forward,
    /// It undoes what it has done, the last first.
    Backward,
}

stored_as!(Direction { Forward = "forward", Backward = "backward" });

/// What a line of a workflow's history says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepKind {
    /// The outside is about to be called.
    Intent,
    Do,
    Undo,
    /// A signal or a time came.
    Signal,
    /// Somebody, or a rule, gave it another turn: parked, resumed.
    Note,
}

stored_as!(StepKind {
    Intent = "intent",
    Do = "do",
    Undo = "undo",
    Signal = "signal",
    Note = "note"
});

/// Why somebody gave a workflow another turn: a sentence that stays in its history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Takes a text without the space around it; `None` where nothing is left, more than 500 characters, or one that
    /// controls something, other than the end of a line.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_plain = text.chars().all(|it| it == '\n' || !it.is_control());
        let is_fit = is_plain && !text.is_empty() && text.chars().count() <= REASON_CHARS_MAX;
        is_fit.then(|| Self(text.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

const KEY_CHARS: usize = 64;

/// What an effect outside is known by, for ever: 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct EffectKey(String);

impl EffectKey {
    /// The key of a step of a workflow in one direction.
    #[must_use]
    pub fn new(workflow: WorkflowId, step: &str, direction: Direction) -> Self {
        Self::of(&format!("{workflow}:{step}:{}", direction.as_str()))
    }

    /// A key as it was written down; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let is_key = text.len() == KEY_CHARS
            && text.bytes().all(|it| it.is_ascii_digit() || (b'a'..=b'f').contains(&it));
        is_key.then(|| Self(text.to_owned()))
    }

    /// The key of an effect that is named otherwise.
    #[must_use]
    pub fn of(name: &str) -> Self {
        Self(format!("{:x}", Sha256::digest(name)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EffectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How long to wait after attempt number `attempt`, the first of which was `tried` ago: doubling from half a second to a
/// minute with full jitter, after a quarter of an hour every five minutes. `None` after `tried_max`, such as [`TRIED_MAX`].
/// `chance` is from 0 to 1.
#[must_use]
pub fn wait_after(
    attempt: u32,
    tried: Duration,
    tried_max: Duration,
    chance: f64,
) -> Option<Duration> {
    if tried >= tried_max {
        return None;
    }
    if tried >= LATE_AFTER {
        return Some(LATE_WAIT);
    }
    let factor = 1_u32.checked_shl(attempt.min(16)).unwrap_or(u32::MAX);
    Some(WAIT_MIN.saturating_mul(factor).min(WAIT_MAX).mul_f64(chance.clamp(0.0, 1.0)))
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_key_is_the_same_for_the_same_effect_and_for_no_other() {
        let key = |n, step, direction| EffectKey::new(Uuid::from_u128(n).into(), step, direction);
        let charge = key(1, "charge", Direction::Forward);
        assert_eq!(charge, key(1, "charge", Direction::Forward));
        assert_ne!(charge, key(1, "charge", Direction::Backward));
        assert_ne!(charge, key(2, "charge", Direction::Forward));
        assert_eq!(EffectKey::parse(charge.as_str()), Some(charge.clone()));
        for text in ["", "key", &charge.as_str().to_uppercase(), &format!("{charge}0")] {
            assert_eq!(EffectKey::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_reason_says_something_and_is_no_essay() {
        assert_eq!(
            Reason::parse(" the provider is back ").unwrap().as_str(),
            "the provider is back"
        );
        assert_eq!(Reason::parse(&"이".repeat(500)).unwrap().as_str().chars().count(), 500);
        for text in ["", " \n ", "a\0b", &"이".repeat(501)] {
            assert_eq!(Reason::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn waits_double_are_spread_and_end_after_a_day() {
        let waits: Vec<u128> = (0..9)
            .map(|attempt| wait_after(attempt, Duration::ZERO, TRIED_MAX, 1.0).unwrap().as_millis())
            .collect();
        assert_eq!(waits, [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000]);
        assert_eq!(wait_after(3, Duration::ZERO, TRIED_MAX, 0.0), Some(Duration::ZERO));
        assert_eq!(wait_after(99, Duration::from_mins(20), TRIED_MAX, 0.0), Some(LATE_WAIT));
        assert_eq!(wait_after(99, TRIED_MAX, TRIED_MAX, 1.0), None);
    }
}
