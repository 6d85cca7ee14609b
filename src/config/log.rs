//! Settings of the log.

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

use super::problems::Problems;

/// How much is logged and how it looks.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    pub format: LogFormat,
    /// Tracing directives; `RUST_LOG` overrides them.
    pub level: String,
}

/// Who reads the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// A person if it goes to a terminal, a machine otherwise.
    Auto,
    /// A machine.
    Json,
    /// A person.
    Pretty,
}

impl LogConfig {
    pub(super) fn validate(&self, problems: &mut Problems) {
        if let Err(error) = EnvFilter::try_new(&self.level) {
            problems
                .add(format!("`log.level` is {:?}, but that is not a level: {error}", self.level));
        }
    }
}
