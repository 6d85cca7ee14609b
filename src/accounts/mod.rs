//! The use cases of accounts: register, log in, refresh, change, leave. Each is one decision over hasher, tokens, store
//! and letters, with no word about HTTP.
//!
//! Invariants: whether an account exists is told by no answer except that a new one could not be opened, and by no
//! delay; what ends a session also ends its access tokens on this node, through [`Revocations`].

mod administration;
mod caller;
mod error;
mod images;
mod login;
mod mails;
mod password;
mod phones;
mod profile;
mod register;
pub mod revocations;
pub mod service_keys;
mod session;
#[cfg(test)]
mod tests;
mod verification;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use secrecy::SecretString;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

pub use self::administration::ByHand;
pub use self::caller::Caller;
pub use self::error::AccountsError;
pub use self::images::{Images, Upload};
pub use self::phones::PhoneState;
pub use self::profile::Seen;
pub use self::register::{NewAccount, Registration};
use self::revocations::Revocations;
pub use self::session::TICKET_TTL;
use crate::clock;
use crate::config::AuthConfig;
use crate::domain::accounts::AccountError;
use crate::domain::ids::{SessionId, UserId};
use crate::domain::time::Timestamp;
use crate::providers::codes::Codes;
use crate::providers::hasher::Hasher;
use crate::providers::opaque::OpaqueToken;
use crate::providers::tokens::AccessTokens;
use crate::store::Store;
use crate::store::accounts::User;
use crate::store::sessions::NewSession;

/// Work done after the answer (letters to those who asked for a new password); more is dropped, as they can ask again.
const BACKGROUND_MAX: usize = 64;
const USER_AGENT_CHARS_MAX: usize = 256;

/// How long logins last.
#[derive(Debug, Clone, Copy)]
pub struct AccountsSettings {
    pub refresh_ttl: Duration,
    pub refresh_grace: Duration,
}

impl From<&AuthConfig> for AccountsSettings {
    fn from(config: &AuthConfig) -> Self {
        Self { refresh_ttl: config.refresh_token_ttl(), refresh_grace: config.refresh_grace() }
    }
}

/// Everything that account operations work with. Cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    hasher: Hasher,
    tokens: Arc<AccessTokens>,
    codes: Arc<Codes>,
    revocations: Revocations,
    settings: AccountsSettings,
    io: Handle,
    background: Arc<Semaphore>,
}

/// Where a request comes from, as a session remembers it.
#[derive(Debug, Clone)]
pub struct Client {
    pub ip: IpAddr,
    user_agent: String,
}

impl Client {
    /// Takes the address and what the client calls itself, cut to 256 characters.
    #[must_use]
    pub fn new(ip: IpAddr, user_agent: &str) -> Self {
        let is_plain = |c: &char| !c.is_control();
        Self {
            ip,
            user_agent: user_agent.chars().filter(is_plain).take(USER_AGENT_CHARS_MAX).collect(),
        }
    }
}

/// What a login, a registration or a refresh gives.
#[derive(Debug)]
pub struct Grant {
    pub user: User,
    pub session_id: SessionId,
    pub access_token: String,
    pub refresh_token: SecretString,
    /// How long the session lasts unless it is used again.
    pub refresh_expires_in: Duration,
    /// How long the access token is good for.
    pub expires_in: Duration,
}

impl Accounts {
    /// Puts the parts together. `io` is the shared runtime, on which what outlasts a request runs.
    #[must_use]
    pub fn new(
        store: Store,
        hasher: Hasher,
        tokens: Arc<AccessTokens>,
        codes: Arc<Codes>,
        revocations: Revocations,
        settings: AccountsSettings,
        io: Handle,
    ) -> Self {
        let background = Arc::new(Semaphore::new(BACKGROUND_MAX));
        Self { store, hasher, tokens, codes, revocations, settings, io, background }
    }

    /// A session about to be opened, with the token that refreshes it.
    fn new_session(
        &self,
        user: UserId,
        client: &Client,
        now: Timestamp,
    ) -> Result<(NewSession, SecretString), AccountError> {
        let refresh = OpaqueToken::generate()?;
        let session = NewSession {
            id: clock::new_uuid().into(),
            user_id: user,
            user_agent: client.user_agent.clone(),
            ip: client.ip.to_string(),
            refresh_hash: *refresh.hash.as_bytes(),
            expires_at: now.plus(self.settings.refresh_ttl),
        };
        Ok((session, refresh.secret))
    }

    /// The tokens of a session that was opened or used just now.
    fn grant(
        &self,
        user: User,
        session_id: SessionId,
        access_token: String,
        refresh_token: SecretString,
    ) -> Grant {
        Grant {
            user,
            session_id,
            access_token,
            refresh_token,
            refresh_expires_in: self.settings.refresh_ttl,
            expires_in: self.tokens.ttl(),
        }
    }

    /// Refuses the access tokens of sessions that have just ended in the store.
    fn forget_sessions(&self, ended: &[SessionId], now: Timestamp) {
        for session in ended {
            self.revocations.revoke_session(*session, now);
        }
    }
}
