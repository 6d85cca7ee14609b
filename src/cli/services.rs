//! `service-key`, `webhooks` and `bank-accounts`: what other servers call with, what they are signed to with, and what is
//! left when a seal is lost.
//!
//! Invariant: a secret is alone on its line of standard output, and shown this once.

use std::process::ExitCode;

use clap::Subcommand;
use secrecy::ExposeSecret as _;

use super::{create_data_dir, out};
use crate::app::offline::{
    NewServiceKey, create_service_key, forget_lost_bank_accounts, renew_webhook_secrets,
};
use crate::config::Config;
use crate::domain::service_keys::DAYS_DEFAULT;

/// What can be done with service keys.
#[derive(Debug, Subcommand)]
pub(super) enum ServiceKeyCommand {
    /// Makes a key and prints it: for the header X-API-Key, together with X-Service-Name.
    Create {
        /// The service that will call with it.
        #[arg(long)]
        name: String,
        /// What it may do, such as `notifications:send`, `payments:orders` or `webhooks:manage`; may be given several times.
        #[arg(long = "scope", required = true)]
        scopes: Vec<String>,
        /// How long it lives.
        #[arg(long, default_value_t = DAYS_DEFAULT)]
        days: u32,
    },
}

/// What can be done with webhooks.
#[derive(Debug, Subcommand)]
pub(super) enum WebhooksCommand {
    /// Gives every endpoint a new signing secret and prints them: for when the secret `webhook_seal` is lost.
    RenewSecrets,
}

/// What can be done with bank accounts.
#[derive(Debug, Subcommand)]
pub(super) enum BankAccountsCommand {
    /// Removes every bank account that the secret `bank_seal` does not open: for when the one that sealed them is lost.
    ForgetLost,
}

impl ServiceKeyCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self::Create { name, scopes, days } = self;
        create_data_dir(config)?;
        let told =
            format!("a key for {name} was made; it lives {days} days and is not shown again");
        let key = create_service_key(config, NewServiceKey { name, scopes, days })?;
        out::complain(told);
        out::say(key.expose_secret())?;

        Ok(ExitCode::SUCCESS)
    }
}

impl WebhooksCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self::RenewSecrets = self;
        create_data_dir(config)?;
        let renewed = renew_webhook_secrets(config)?;
        out::complain(format_args!(
            "{} endpoints have a new secret; give it to each",
            renewed.len()
        ));
        for (url, secret) in renewed {
            out::complain(url);
            out::say(secret.expose_secret())?;
        }

        Ok(ExitCode::SUCCESS)
    }
}

impl BankAccountsCommand {
    pub(super) fn run(self, config: &Config) -> anyhow::Result<ExitCode> {
        let Self::ForgetLost = self;
        create_data_dir(config)?;
        let forgotten = forget_lost_bank_accounts(config)?;
        out::say(format_args!(
            "{forgotten} bank accounts are forgotten; their users have to give them again"
        ))?;

        Ok(ExitCode::SUCCESS)
    }
}
