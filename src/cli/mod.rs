//! The command line: what an operator can ask the program to do.
//!
//! A command that fails says why in one sentence on standard error and exits with 1; a wrong command line exits with 2.

mod admin;
mod doctor;
mod fake_provider;
mod out;
mod resources;
mod secrets;
mod services;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use tokio::runtime::{Builder, Runtime};

use crate::config::Config;
use crate::store::Store;
use crate::{app, clock, http, telemetry};

/// People, chat rooms, presence, notifications and payments for an app, live, in one program.
#[derive(Debug, Parser)]
#[command(name = "madang", version)]
pub struct Arguments {
    /// The settings file; ./config.toml if there is one.
    #[arg(long, global = true, value_name = "PATH")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves until it is told to stop.
    Serve {
        /// Starts beside the process that serves the same data folder on the same port, and takes over from it.
        #[arg(long)]
        take_over: bool,
    },
    /// Brings the database schema up to date.
    Migrate,
    /// Manages administrators.
    Admin {
        #[command(subcommand)]
        command: admin::AdminCommand,
    },
    /// Manages the keys with which other servers call.
    ServiceKey {
        #[command(subcommand)]
        command: services::ServiceKeyCommand,
    },
    /// Manages webhooks.
    Webhooks {
        #[command(subcommand)]
        command: services::WebhooksCommand,
    },
    /// Manages bank accounts.
    BankAccounts {
        #[command(subcommand)]
        command: services::BankAccountsCommand,
    },
    /// Serves the fake payment provider alone: for tests, and for several nodes in development.
    FakeProvider(fake_provider::FakeProviderArguments),
    /// Checks whether this machine and these settings can serve.
    Doctor,
    /// Prints the description of the API (`OpenAPI` 3.1) as JSON.
    Openapi,
    /// Manages the keys that sign access tokens.
    Keys {
        #[command(subcommand)]
        command: secrets::KeysCommand,
    },
    /// Manages the secrets in the data folder.
    Secrets {
        #[command(subcommand)]
        command: secrets::SecretsCommand,
    },
}

impl Arguments {
    /// Does what was asked and gives the code to exit with.
    #[must_use]
    pub fn run(self) -> ExitCode {
        self.execute().unwrap_or_else(|error| {
            out::complain(format_args!("madang: {error:#}"));
            ExitCode::FAILURE
        })
    }

    fn execute(self) -> anyhow::Result<ExitCode> {
        // Needs no settings: a document is the same everywhere.
        if matches!(self.command, Command::Openapi) {
            return openapi();
        }
        let config = Config::load(self.config.as_deref());
        if matches!(self.command, Command::Doctor) {
            return doctor::examine(config);
        }

        let config = config?;
        telemetry::init_logs(&config.log);
        match self.command {
            Command::Serve { take_over } => serve(config, take_over),
            Command::Migrate => migrate(&config),
            Command::Admin { command } => command.run(config),
            Command::ServiceKey { command } => command.run(&config),
            Command::Webhooks { command } => command.run(&config),
            Command::BankAccounts { command } => command.run(&config),
            Command::FakeProvider(arguments) => arguments.run(&config),
            Command::Keys { command } => command.run(&config),
            Command::Secrets { command } => command.run(&config),
            Command::Openapi | Command::Doctor => Ok(ExitCode::SUCCESS),
        }
    }
}

fn serve(config: Config, take_over: bool) -> anyhow::Result<ExitCode> {
    create_data_dir(&config)?;
    match resources::raise_open_files_limit() {
        Ok(files) => tracing::debug!(files, "the limit of open files was raised"),
        Err(error) => tracing::warn!(%error, "the limit of open files could not be raised"),
    }
    app::serve(config, take_over)?;

    Ok(ExitCode::SUCCESS)
}

fn migrate(config: &Config) -> anyhow::Result<ExitCode> {
    create_data_dir(config)?;
    let io = io_runtime()?;
    let (pending, backend) = io.block_on(async {
        let store = Store::connect(config, io.handle().clone()).await?;
        let pending = store.pending_migrations().await?;
        store.migrate(clock::new_uuid().to_string()).await?;
        store.close().await;
        anyhow::Ok((pending, config.backend()))
    })?;
    out::say(format_args!("{backend} is up to date; {pending} migrations were applied"))?;

    Ok(ExitCode::SUCCESS)
}

fn openapi() -> anyhow::Result<ExitCode> {
    let document = http::openapi::document()
        .to_pretty_json()
        .context("the document cannot be written as JSON")?;
    out::say(document)?;

    Ok(ExitCode::SUCCESS)
}

/// What the data folder holds is for its owner's eyes.
fn create_data_dir(config: &Config) -> anyhow::Result<()> {
    let dir = &config.data.dir;
    config
        .data
        .create()
        .with_context(|| format!("the data folder {} cannot be made", dir.display()))
}

fn io_runtime() -> anyhow::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .context("the I/O runtime cannot be started")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_settings_file_may_be_named_anywhere() {
        for line in
            [["madang", "--config", "a.toml", "serve"], ["madang", "serve", "--config", "a.toml"]]
        {
            let arguments = Arguments::try_parse_from(line).unwrap();
            assert_eq!(arguments.config, Some(PathBuf::from("a.toml")));
            assert!(matches!(arguments.command, Command::Serve { take_over: false }));
        }
    }

    #[test]
    fn a_password_is_no_argument() {
        let line =
            ["madang", "admin", "create", "--handle", "a", "--email", "a@b.c", "--password", "x"];
        assert!(Arguments::try_parse_from(line).is_err());
    }
}
