//! Panics as log lines, so that they reach whoever watches the log and not only the terminal.

use std::backtrace::Backtrace;
use std::panic::{self, PanicHookInfo};

/// Replaces the default hook; what catches the panic is not affected.
pub(super) fn log_panics() {
    panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        // Empty unless RUST_BACKTRACE asks for it.
        let backtrace = Backtrace::capture();

        tracing::error!(
            panic.message = message(panic),
            panic.location = location,
            panic.thread = thread.name().unwrap_or("unnamed"),
            panic.backtrace = %backtrace,
            "panicked",
        );
    }));
}

fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("not a text")
}
