//! What a command prints: answers on standard output, complaints on standard error.

use std::fmt::Display;
use std::io::{self, Write as _};

/// Writes one line to standard output.
///
/// # Errors
/// When nobody reads it any more.
pub(super) fn say(line: impl Display) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

/// Writes one line to standard error; if that fails, there is nobody left to tell.
pub(super) fn complain(line: impl Display) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}

/// Writes a question to standard error, so that the answer to the command stays alone on standard output.
///
/// # Errors
/// When nobody reads it.
pub(super) fn ask(question: impl Display) -> io::Result<()> {
    let mut output = io::stderr().lock();
    write!(output, "{question}")?;
    output.flush()
}
