//! What the program says about itself: logs on standard error, metrics for Prometheus.
//!
//! Invariant: neither ever carries a secret, an address or the body of a message.

pub mod figures;
mod metrics;
mod panics;

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::{LogConfig, LogFormat};

pub use metrics::install as install_metrics;

/// Sends logs of this process to standard error as `config` says, and panics with them.
///
/// `RUST_LOG`, if set, replaces the level. The first call counts; later ones change nothing.
pub fn init_logs(config: &LogConfig) {
    let filter = std::env::var(EnvFilter::DEFAULT_ENV).unwrap_or_else(|_| config.level.clone());
    let terminal = io::stderr().is_terminal();
    let builder = fmt().with_env_filter(EnvFilter::new(filter)).with_writer(io::stderr);

    let first = if is_json(config.format, terminal) {
        builder.json().flatten_event(true).with_span_list(false).finish().try_init()
    } else {
        builder.with_ansi(terminal).finish().try_init()
    };
    if first.is_ok() {
        panics::log_panics();
    }
}

fn is_json(format: LogFormat, terminal: bool) -> bool {
    match format {
        LogFormat::Auto => !terminal,
        LogFormat::Json => true,
        LogFormat::Pretty => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn auto_is_for_whoever_reads() {
        assert!(is_json(LogFormat::Auto, false));
        assert!(!is_json(LogFormat::Auto, true));
        assert!(is_json(LogFormat::Json, true));
        assert!(!is_json(LogFormat::Pretty, false));
    }
}
