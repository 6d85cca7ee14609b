//! Service keys: making them, ending them, and believing those who bring one.
//!
//! Invariant: what is believed was read from the store at most [`BELIEVED_MAX`] ago, so that a key that was revoked opens
//! nothing after that, on any node.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use secrecy::{ExposeSecret as _, SecretString};
use tokio::runtime::Handle;

use crate::clock;
use crate::domain::accounts::AccountError;
use crate::domain::ids::{ServiceKeyId, UserId};
use crate::domain::service_keys::{KeyText, Scopes, ServiceKeyError, ServiceName, lifetime};
use crate::domain::time::Timestamp;
use crate::providers::opaque::{OpaqueToken, TokenHash};
use crate::store::service_keys::{KnownKey, NewServiceKey, ServiceKey, USE_INTERVAL};
use crate::store::{Store, StoreError};

/// How long a key is believed without asking the store.
pub const BELIEVED_MAX: Duration = Duration::from_secs(5);

/// Another server that calls, once proven. Authority comes from its scopes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    pub id: ServiceKeyId,
    pub name: String,
    pub scopes: Scopes,
}

/// What an operation with keys can come to besides success.
#[derive(Debug, thiserror::Error)]
pub enum ServiceKeysError {
    #[error(transparent)]
    Key(#[from] ServiceKeyError),
    #[error(transparent)]
    Account(#[from] AccountError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The keys of this installation. Cheap to clone.
#[derive(Clone)]
pub struct ServiceKeys(Arc<Inner>);

struct Inner {
    store: Store,
    io: Handle,
    believed: Mutex<Believed>,
}

/// Keys as they were in the store. Only those that there are, so that nobody can fill the memory.
#[derive(Default)]
struct Believed {
    read: HashMap<ServiceKeyId, Read>,
    /// How many were revoked here: what was read before a revocation is not believed after it.
    revoked: u64,
}

/// A key as it was in the store.
#[derive(Clone)]
struct Read {
    known: KnownKey,
    at: Instant,
}

/// A question to the store, from before it was asked: what it answers was true then, and perhaps no longer.
#[derive(Debug, Clone, Copy)]
struct Asked {
    at: Instant,
    revoked: u64,
}

impl Believed {
    fn find(&self, id: ServiceKeyId) -> Option<KnownKey> {
        let read = self.read.get(&id).filter(|read| read.at.elapsed() < BELIEVED_MAX);
        read.map(|read| read.known.clone())
    }

    fn ask(&self) -> Asked {
        Asked { at: Instant::now(), revoked: self.revoked }
    }

    /// Believes what the store has answered, unless a key was revoked meanwhile.
    fn learn(&mut self, id: ServiceKeyId, found: Option<&KnownKey>, asked: Asked) {
        match found {
            Some(known) if asked.revoked == self.revoked => {
                self.read.insert(id, Read { known: known.clone(), at: asked.at });
            }
            Some(_) => {}
            None => {
                self.read.remove(&id);
            }
        }
    }

    /// After a key was revoked in the store.
    fn forget(&mut self, id: ServiceKeyId) {
        self.read.remove(&id);
        self.revoked = self.revoked.wrapping_add(1);
    }
}

impl ServiceKeys {
    /// `io` is where the store's work is done.
    #[must_use]
    pub fn new(store: Store, io: Handle) -> Self {
        Self(Arc::new(Inner { store, io, believed: Mutex::default() }))
    }

    /// Makes a key, and gives what its holder needs: nobody is told it again.
    ///
    /// # Errors
    /// [`ServiceKeyError::InvalidLifetime`], [`ServiceKeyError::TooMany`]; otherwise the system or the store has failed.
    pub async fn create(
        &self,
        name: ServiceName,
        scopes: Scopes,
        days: u32,
        created_by: Option<UserId>,
    ) -> Result<(ServiceKey, SecretString), ServiceKeysError> {
        let now = clock::now();
        let expires_at = now.plus(lifetime(days)?);
        let token = OpaqueToken::generate()?;
        let id = ServiceKeyId::from(clock::new_uuid());
        let key = ServiceKey {
            id,
            name: name.as_str().to_owned(),
            scopes: scopes.clone(),
            created_by,
            created_at: now,
            expires_at,
            last_used_at: None,
            revoked_at: None,
        };
        let hash = *token.hash.as_bytes();
        let new = NewServiceKey { id, name, scopes, hash, created_by, expires_at };
        if !self.0.store.insert_service_key(new, now).await? {
            return Err(ServiceKeyError::TooMany.into());
        }
        Ok((key, KeyText { id, secret: token.secret }.reveal()))
    }

    /// Ends a key: on this node at once, on the others within [`BELIEVED_MAX`]. One that has ended stays so.
    ///
    /// # Errors
    /// [`ServiceKeyError::NotFound`]; otherwise the store has failed.
    pub async fn revoke(&self, id: ServiceKeyId, by: UserId) -> Result<(), ServiceKeysError> {
        let is_known = self.0.store.revoke_service_key(id, by, clock::now()).await?;
        self.0.believed().forget(id);
        if is_known { Ok(()) } else { Err(ServiceKeyError::NotFound.into()) }
    }

    /// Believes the holder of a key that is alive and was made for the service called `name`; notes its use, beside the
    /// call.
    ///
    /// # Errors
    /// [`ServiceKeyError::Invalid`] for anybody else; otherwise the store has failed.
    pub async fn verify(&self, key: &KeyText, name: &str) -> Result<Service, ServiceKeysError> {
        let known = self.known(key.id).await?.ok_or(ServiceKeyError::Invalid)?;
        let hash = TokenHash::of(key.secret.expose_secret());
        let now = clock::now();
        let is_proven = hash.is_some_and(|hash| hash.matches(&known.hash));
        if !is_proven || known.key.name != name || !known.key.is_alive(now) {
            return Err(ServiceKeyError::Invalid.into());
        }
        self.note_use(key.id, now);
        let KnownKey { key: ServiceKey { id, name, scopes, .. }, .. } = known;
        Ok(Service { id, name, scopes })
    }

    async fn known(&self, id: ServiceKeyId) -> Result<Option<KnownKey>, StoreError> {
        let asked = {
            let believed = self.0.believed();
            if let Some(known) = believed.find(id) {
                return Ok(Some(known));
            }
            believed.ask()
        };
        let found = self.0.store.find_service_key(id).await?;
        self.0.believed().learn(id, found.as_ref(), asked);
        Ok(found)
    }

    fn note_use(&self, id: ServiceKeyId, now: Timestamp) {
        let mut believed = self.0.believed();
        let Some(Read { known, .. }) = believed.read.get_mut(&id) else { return };
        if known.key.last_used_at.is_some_and(|last| now.since(last) < USE_INTERVAL) {
            return;
        }
        known.key.last_used_at = Some(now);
        drop(believed);
        let store = self.0.store.clone();
        self.0.io.spawn(async move {
            if let Err(error) = store.touch_service_key(id, now).await {
                tracing::warn!(key.id = %id, %error, "the use of a service key was not noted");
            }
        });
    }
}

impl Inner {
    fn believed(&self) -> MutexGuard<'_, Believed> {
        self.believed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: ServiceKeyId) -> KnownKey {
        let at = Timestamp::from_millis(1);
        let key = ServiceKey {
            id,
            name: "billing".to_owned(),
            scopes: Scopes::from_text(""),
            created_by: None,
            created_at: at,
            expires_at: at,
            last_used_at: None,
            revoked_at: None,
        };
        KnownKey { key, hash: Default::default() }
    }

    #[test]
    fn what_was_read_before_a_key_was_revoked_is_not_believed_after_it() {
        let id = ServiceKeyId::from(clock::new_uuid());
        let mut believed = Believed::default();
        let asked = believed.ask();
        believed.forget(id);

        believed.learn(id, Some(&key(id)), asked);
        assert!(believed.find(id).is_none());

        let asked = believed.ask();
        believed.learn(id, Some(&key(id)), asked);
        assert!(believed.find(id).is_some());
        believed.learn(id, None, asked);
        assert!(believed.find(id).is_none());
    }
}
