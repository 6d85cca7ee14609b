//! The program.

use std::process::ExitCode;

use clap::Parser as _;

/// Smaller and faster than the system's for what this program does: many small objects, made and dropped on
/// different threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    madang::cli::Arguments::parse().run()
}
