//! `keys` and `secrets`: what production needs before its first start.

use std::process::ExitCode;

use clap::Subcommand;

use super::{create_data_dir, out};
use crate::config::Config;
use crate::secrets;

/// What can be done with signing keys.
#[derive(Debug, Subcommand)]
pub(super) enum KeysCommand {
    /// Adds a key that signs from the next start on; older ones go on verifying.
    Rotate,
}

/// What can be done with secrets.
#[derive(Debug, Subcommand)]
pub(super) enum SecretsCommand {
    /// Makes what is missing: the first signing key, and the named secrets.
    Generate {
        /// Names, as in the sentence that said one is missing.
        names: Vec<String>,
    },
}

impl KeysCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self::Rotate = self;
        create_data_dir(config)?;
        let kid = secrets::rotate_signing_keys(config)?;
        out::say(format_args!(
            "key {kid} signs from the next start on; delete an older one when no token of it lives"
        ))?;

        Ok(ExitCode::SUCCESS)
    }
}

impl SecretsCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self::Generate { names } = self;
        create_data_dir(config)?;
        match secrets::generate_missing_signing_key(config)? {
            Some(kid) => out::say(format_args!("key {kid} was made"))?,
            None => out::say("there is a signing key already")?,
        }
        for name in names {
            secrets::generate(config, &name)?;
            out::say(format_args!("secret {name} is there"))?;
        }

        Ok(ExitCode::SUCCESS)
    }
}
