//! The program.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    madang::cli::Arguments::parse().run()
}
