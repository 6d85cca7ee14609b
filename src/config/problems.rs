//! What is wrong with a set of values, gathered so that all of it is told at once.

use std::fmt::Display;
use std::ops::RangeInclusive;

/// Sentences about values that cannot be used, each naming its key.
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<String>);

impl Problems {
    /// Adds one sentence.
    pub(super) fn add(&mut self, sentence: impl Into<String>) {
        self.0.push(sentence.into());
    }

    /// Adds a sentence if `value` lies outside of `range`.
    pub(super) fn within<T: PartialOrd + Display>(
        &mut self,
        key: &str,
        value: T,
        range: RangeInclusive<T>,
    ) {
        if !range.contains(&value) {
            self.add(format!(
                "`{key}` is {value}, but must be between {} and {}",
                range.start(),
                range.end()
            ));
        }
    }

    /// The sentences as an error, if there are any.
    pub(super) fn into_result(self) -> Result<(), Vec<String>> {
        if self.0.is_empty() { Ok(()) } else { Err(self.0) }
    }
}
