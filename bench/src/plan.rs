//! What every scenario is told on the command line: which madang, where, how long, how often.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Clone, Args)]
pub struct Plan {
    /// The madang program to measure; a release build, or the figures mean nothing.
    #[arg(long, default_value = "target/release/madang", global = true)]
    pub madang: PathBuf,
    /// Small numbers: shows that everything runs. Its figures are no measurement.
    #[arg(long, global = true)]
    pub quick: bool,
    /// Seconds of load in one round, after one second of warm-up.
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    seconds: Option<u64>,
    /// Rounds of each comparison, its sides in turn; the medians are told.
    #[arg(long, global = true, value_parser = clap::value_parser!(u8).range(1..=15))]
    rounds: Option<u8>,
    /// Where the temporary data folders go; on a real disk, or a commit costs nothing.
    #[arg(long, global = true)]
    folder: Option<PathBuf>,
}

impl Plan {
    pub fn duration(&self) -> Duration {
        self.duration_or(10, 2)
    }

    /// What the command line says; else `full` seconds, or `quick` in a quick run.
    pub fn duration_or(&self, full: u64, quick: u64) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or(self.pick(full, quick)))
    }

    /// What the command line says, or nothing.
    pub fn asked(&self) -> Duration {
        Duration::from_secs(self.seconds.unwrap_or_default())
    }

    pub fn rounds(&self) -> u8 {
        self.rounds.unwrap_or(if self.quick { 1 } else { 3 })
    }

    pub fn folder(&self) -> PathBuf {
        self.folder.clone().unwrap_or_else(std::env::temp_dir)
    }

    /// `full`, or `quick` in a quick run.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}
