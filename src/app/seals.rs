//! Seals: the keys under which secrets and bank accounts lie in the database, and whether a node has the right ones.
//!
//! Invariant: where something lies sealed, no other key is made up, and no node starts with another.

use anyhow::Context as _;
use secrecy::SecretString;

use crate::config::Config;
use crate::providers::seal::{BANK_SEAL, Seal, WEBHOOK_SEAL};
use crate::secrets::{self, SecretError};
use crate::store::Store;

/// Something that is sealed.
pub(super) struct Sealed {
    /// The name of its key.
    name: &'static str,
    what: &'static str,
    /// What to run when the key is lost.
    when_lost: &'static str,
}

pub(super) const SIGNING_SECRETS: Sealed = Sealed {
    name: WEBHOOK_SEAL,
    what: "the signing secrets of webhooks are",
    when_lost: "madang webhooks renew-secrets",
};
pub(super) const BANK_ACCOUNTS: Sealed = Sealed {
    name: BANK_SEAL,
    what: "bank accounts are",
    when_lost: "madang bank-accounts forget-lost",
};

/// The key that seals the signing secrets of webhooks; none where production has not got it and nothing was sealed.
///
/// # Errors
/// When there are secrets that this node could not open.
pub(super) async fn open_webhook_seal(
    config: &Config,
    store: &Store,
) -> anyhow::Result<Option<Seal>> {
    SIGNING_SECRETS.open(config, &marks_of_secrets(store).await?)
}

/// The key that seals bank accounts; none where production has not got it and nobody has one.
///
/// # Errors
/// When there are bank accounts that this node could not open.
pub(super) async fn open_bank_seal(config: &Config, store: &Store) -> anyhow::Result<Option<Seal>> {
    BANK_ACCOUNTS.open(config, &store.list_bank_account_seals().await?)
}

/// Whether a node could open all that lies sealed. Makes nothing.
///
/// # Errors
/// The sentence with which it would not start.
pub(crate) async fn check_seals(config: &Config, store: &Store) -> anyhow::Result<()> {
    for (sealed, marks) in [
        (SIGNING_SECRETS, marks_of_secrets(store).await?),
        (BANK_ACCOUNTS, store.list_bank_account_seals().await?),
    ] {
        if !marks.is_empty() {
            sealed.open(config, &marks)?;
        }
    }
    Ok(())
}

async fn marks_of_secrets(store: &Store) -> anyhow::Result<Vec<String>> {
    Ok(store.find_webhook_seal().await?.into_iter().collect())
}

impl Sealed {
    /// The key to seal with from now on, whatever lies sealed under another.
    ///
    /// # Errors
    /// When there is none, or it cannot be used.
    pub(super) fn open_anew(&self, config: &Config) -> anyhow::Result<Seal> {
        self.seal(&secrets::load_or_generate(config, self.name)?)
    }

    fn open(&self, config: &Config, marks: &[String]) -> anyhow::Result<Option<Seal>> {
        let Self { name, what, when_lost } = self;
        let secret = if marks.is_empty() {
            secrets::load_or_generate(config, name)
        } else {
            secrets::load(config, name)
        };
        let seal = match secret {
            Ok(secret) => Some(self.seal(&secret)?),
            Err(SecretError::Missing { .. }) if marks.is_empty() => None,
            Err(error @ SecretError::NotGiven { .. }) => {
                return Err(error)
                    .context(format!("{what} sealed: is the key lost, run `{when_lost}`"));
            }
            Err(error) => return Err(error.into()),
        };
        let mark = seal.as_ref().map(Seal::mark);
        anyhow::ensure!(
            marks.iter().all(|known| Some(known.as_str()) == mark),
            "the secret `{name}` is not the one that {what} sealed with: give every node the same or, if it is lost, \
             run `{when_lost}`"
        );
        Ok(seal)
    }

    fn seal(&self, secret: &SecretString) -> anyhow::Result<Seal> {
        Seal::new(secret).with_context(|| format!("the secret `{}` cannot be used", self.name))
    }
}
