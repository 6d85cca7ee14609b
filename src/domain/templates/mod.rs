//! Templates: the words of notifications, by kind and language, and how they become the text of a medium.
//!
//! [`parts`] is what one template holds, [`compiled`] makes text of it, [`builtin`] has what this program brings along,
//! [`resolve`] chooses among those and what is stored. Invariant: a value from outside reaches HTML only escaped, and no
//! template reads anything but its [`context::Context`].

pub mod builtin;
pub mod cache;
pub mod compiled;
pub mod context;
mod engine;
mod grammar;
mod kind;
mod layout;
pub mod parts;
pub mod resolve;
#[cfg(test)]
mod tests;
pub mod trial;

pub use kind::NotificationKind;

use parts::Part;

/// Everything that can be wrong with a template, without a word about HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    #[error("a kind has 1 to 64 of `a` to `z`, `0` to `9`, `_` and `.`")]
    InvalidKind,
    #[error("a locale is a language tag such as `ko` or `ko-KR`")]
    InvalidLocale,
    #[error("there is no such template, or no such version of it")]
    NotFound,
    #[error("there are as many templates as there may be")]
    TooMany,
    #[error("example data is a JSON object of at most {SAMPLE_BYTES_MAX} bytes")]
    SampleTooLarge,
    #[error("{}: has more than {} bytes", .part.as_str(), .part.source_bytes_max())]
    SourceTooLong { part: Part },
    /// It cannot be read.
    #[error("{}, line {line}: {message}", .part.as_str())]
    Broken { part: Part, line: usize, message: String },
    /// It can be read, and fails with what it was given, such as when a variable is missing.
    #[error("{}, line {line}: {message}", .part.as_str())]
    Unrendered { part: Part, line: usize, message: String },
    #[error("{}: comes to more than {} bytes", .part.as_str(), .part.output_bytes_max())]
    OutputTooLong { part: Part },
    #[error("{}: comes to nothing", .part.as_str())]
    Empty { part: Part },
    #[error("a test goes out by mail, sms or push")]
    MediumNotTested,
    #[error("you have no device that takes push messages")]
    NoDevice,
}

impl TemplateError {
    /// The part that is wrong, if it is one.
    #[must_use]
    pub const fn part(&self) -> Option<Part> {
        match self {
            Self::SourceTooLong { part }
            | Self::Broken { part, .. }
            | Self::Unrendered { part, .. }
            | Self::OutputTooLong { part }
            | Self::Empty { part } => Some(*part),
            Self::InvalidKind
            | Self::InvalidLocale
            | Self::NotFound
            | Self::TooMany
            | Self::SampleTooLarge
            | Self::MediumNotTested
            | Self::NoDevice => None,
        }
    }
}

/// Example data that is kept with a template, as JSON.
pub const SAMPLE_BYTES_MAX: usize = 16_384;
