//! `admin`: the first administrator, who can name the others.
//!
//! Invariant: a password never comes from the command line, where every process could read it.

use std::io::{self, BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::Context as _;
use clap::Subcommand;
use nix::sys::termios::{self, LocalFlags, SetArg, Termios};
use secrecy::SecretString;

use super::{create_data_dir, out};
use crate::app::{self, NewAdmin};
use crate::config::Config;

const PASSWORD_VARIABLE: &str = "MADANG_ADMIN_PASSWORD";

/// What can be done with administrators.
#[derive(Debug, Subcommand)]
pub(super) enum AdminCommand {
    /// Creates an administrator; the password is `MADANG_ADMIN_PASSWORD` or the first line of standard input.
    Create {
        /// The unique name others see.
        #[arg(long)]
        handle: String,
        /// Where mail reaches the administrator.
        #[arg(long)]
        email: String,
        /// The name others read; the handle if it is left out.
        #[arg(long)]
        display_name: Option<String>,
    },
}

impl AdminCommand {
    pub(super) fn run(self, config: Config) -> anyhow::Result<ExitCode> {
        let Self::Create { handle, email, display_name } = self;
        let password = read_password()?;
        create_data_dir(&config)?;

        let display_name = display_name.unwrap_or_else(|| handle.clone());
        let told = format!("administrator {handle} was created");
        app::create_admin(config, NewAdmin { handle, email, display_name, password })?;
        out::say(told)?;

        Ok(ExitCode::SUCCESS)
    }
}

fn read_password() -> anyhow::Result<SecretString> {
    if let Ok(password) = std::env::var(PASSWORD_VARIABLE) {
        return Ok(password.into());
    }

    let input = io::stdin();
    let _silence = if input.is_terminal() {
        out::ask("Password: ")?;
        Some(Silence::begin()?)
    } else {
        None
    };
    let mut line = String::new();
    input.lock().read_line(&mut line).context("the password cannot be read")?;
    let password = line.trim_end_matches(['\r', '\n']);
    anyhow::ensure!(
        !password.is_empty(),
        "no password: set {PASSWORD_VARIABLE} or write it to standard input"
    );

    Ok(password.into())
}

/// A terminal that shows nothing of what is typed. Dropping it shows again.
struct Silence(Termios);

impl Silence {
    fn begin() -> anyhow::Result<Self> {
        let before = termios::tcgetattr(io::stdin()).context("the terminal cannot be asked")?;
        let mut silent = before.clone();
        silent.local_flags.remove(LocalFlags::ECHO);
        termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &silent)
            .context("the terminal cannot be silenced")?;

        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
        // The line end that was typed was not shown either.
        out::complain("");
    }
}
