//! What commands do to a database without serving it; another process may serve it meanwhile.

use std::time::Duration;

use secrecy::SecretString;

use super::parts::{io_runtime, open_store};
use super::seals::{BANK_ACCOUNTS, SIGNING_SECRETS};
use crate::accounts::service_keys::ServiceKeys;
use crate::actors::webhooks::Webhooks;
use crate::clock;
use crate::config::Config;
use crate::domain::service_keys::{Scopes, ServiceName};
use crate::store::Store;

const STOP_MAX: Duration = Duration::from_secs(5);
/// By whom a change was made.
const BY: &str = "command_line";

/// A key for another server.
pub struct NewServiceKey {
    pub name: String,
    pub scopes: Vec<String>,
    pub days: u32,
}

/// Makes a service key, and gives what its holder needs.
///
/// # Errors
/// When the key is refused, in the words of the rule, or the database cannot be used.
pub fn create_service_key(config: &Config, key: NewServiceKey) -> anyhow::Result<SecretString> {
    let io = io_runtime()?;
    let created = io.block_on(async {
        let (name, scopes) = (ServiceName::parse(&key.name)?, Scopes::parse(&key.scopes)?);
        let store = open(config, &io).await?;
        let keys = ServiceKeys::new(store.clone(), io.handle().clone());
        let (_, text) = keys.create(name, scopes, key.days, None).await?;
        store.close().await;
        anyhow::Ok(text)
    });
    io.shutdown_timeout(STOP_MAX);
    created
}

/// Gives every webhook endpoint a new signing secret, and the addresses with them: for when the key that sealed the ones
/// before is lost.
///
/// # Errors
/// When there is no key to seal them with, or the database cannot be used.
pub fn renew_webhook_secrets(config: &Config) -> anyhow::Result<Vec<(String, SecretString)>> {
    let io = io_runtime()?;
    let renewed = io.block_on(async {
        let seal = SIGNING_SECRETS.open_anew(config)?;
        let store = open(config, &io).await?;
        let renewed = Webhooks::new(store.clone(), Some(seal)).renew_secrets(BY).await?;
        store.close().await;
        anyhow::Ok(renewed.into_iter().map(|(endpoint, secret)| (endpoint.url, secret)).collect())
    });
    io.shutdown_timeout(STOP_MAX);
    renewed
}

/// Removes every bank account that the key of these settings does not open, and gives how many: for when the one that
/// sealed them is lost.
///
/// # Errors
/// When there is no key to seal others with, or the database cannot be used.
pub fn forget_lost_bank_accounts(config: &Config) -> anyhow::Result<u64> {
    let io = io_runtime()?;
    let forgotten = io.block_on(async {
        let seal = BANK_ACCOUNTS.open_anew(config)?;
        let store = open(config, &io).await?;
        let mark = seal.mark().to_owned();
        let forgotten = store.forget_lost_bank_accounts(mark, clock::now()).await?;
        store.close().await;
        anyhow::Ok(forgotten)
    });
    io.shutdown_timeout(STOP_MAX);
    forgotten
}

async fn open(config: &Config, io: &tokio::runtime::Runtime) -> anyhow::Result<Store> {
    config.data.create()?;
    open_store(config, io).await
}
