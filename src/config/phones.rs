//! Settings of telephone numbers.

use serde::Deserialize;

use super::problems::Problems;

/// How often a number may be proven.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PhonesConfig {
    pub codes_per_day: u32,
}

impl PhonesConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        problems.within("phones.codes_per_day", self.codes_per_day, 0..=1_000);
    }
}
