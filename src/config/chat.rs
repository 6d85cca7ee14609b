//! Settings of rooms and messages.

use serde::Deserialize;

use super::problems::Problems;
use crate::domain::privacy::DirectRequirement;

/// How much fits into a room and a message, and who may open one.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChatConfig {
    pub body_chars_max: usize,
    pub group_members_max: usize,
    pub pins_max: usize,
    pub direct_requires_friendship: DirectRequirement,
}

impl ChatConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("chat.body_chars_max", self.body_chars_max, 1..=16_000);
        problems.within("chat.group_members_max", self.group_members_max, 2..=1_000_000);
        problems.within("chat.pins_max", self.pins_max, 0..=1_000);
    }
}
