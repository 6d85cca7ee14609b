//! Password hashing: argon2id (RFC 9106) on the blocking pool of the shared runtime, never on a worker.
//!
//! Invariant: at most `concurrency` hashes run and at most `queue_max` wait, however many people log in; the rest hear
//! [`AccountError::HasherBusy`] before anything was done. A [`HashPermit`] holds the place, so that what must be
//! decided beside a hash (the login back-off) is decided by as few at once.

use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::AuthConfig;
use crate::domain::accounts::AccountError;
use crate::domain::passwords::{NewPassword, PasswordAttempt};

/// The longest a caller waits in the queue.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// The cost of one hash and how many may be about.
#[derive(Debug, Clone, Copy)]
pub struct HasherSettings {
    pub memory_kib: u32,
    pub iterations: u32,
    pub parallelism: u32,
    pub concurrency: usize,
    pub queue_max: usize,
}

impl From<&AuthConfig> for HasherSettings {
    fn from(config: &AuthConfig) -> Self {
        Self {
            memory_kib: config.hash_memory_kib,
            iterations: config.hash_iterations,
            parallelism: config.hash_parallelism,
            concurrency: config.hash_permits(),
            queue_max: config.hash_queue_max,
        }
    }
}

/// Hashes and verifies passwords. Cheap to clone.
#[derive(Clone)]
pub struct Hasher(Arc<Inner>);

struct Inner {
    argon2: Argon2<'static>,
    io: Handle,
    /// Places to run or to wait.
    places: Arc<Semaphore>,
    /// Places to run.
    running: Arc<Semaphore>,
    /// Verified when there is no account, so that the answer takes as long.
    dummy: String,
}

impl Hasher {
    /// Builds the hasher; computes one hash, so call it at start-up only.
    ///
    /// # Errors
    /// When the settings are outside what argon2 allows.
    pub fn new(settings: HasherSettings, io: Handle) -> Result<Self, argon2::password_hash::Error> {
        let params =
            Params::new(settings.memory_kib, settings.iterations, settings.parallelism, None)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let dummy = argon2.hash_password(b"nobody has this password")?.to_string();
        let concurrency = settings.concurrency.max(1);
        Ok(Self(Arc::new(Inner {
            argon2,
            io,
            places: Arc::new(Semaphore::new(concurrency.saturating_add(settings.queue_max))),
            running: Arc::new(Semaphore::new(concurrency)),
            dummy,
        })))
    }

    /// Waits for a place to run one hash.
    ///
    /// # Errors
    /// [`AccountError::HasherBusy`] when the queue is full, or no place came free in ten seconds.
    pub async fn permit(&self) -> Result<HashPermit, AccountError> {
        let inner = &self.0;
        let place =
            Arc::clone(&inner.places).try_acquire_owned().map_err(|_| AccountError::HasherBusy)?;
        let turn = tokio::time::timeout(WAIT_MAX, Arc::clone(&inner.running).acquire_owned()).await;
        let Ok(Ok(running)) = turn else {
            return Err(AccountError::HasherBusy);
        };
        Ok(HashPermit { inner: Arc::clone(inner), _places: (place, running) })
    }

    /// Hashes a password with a fresh salt, into a PHC string.
    ///
    /// # Errors
    /// As [`Hasher::permit`] and [`HashPermit::hash`].
    pub async fn hash(&self, password: NewPassword) -> Result<String, AccountError> {
        let (_, hash) = self.permit().await?.hash(password).await?;
        Ok(hash)
    }
}

/// A place to run hashes, one after another. It is given back when dropped and no hash of it runs.
pub struct HashPermit {
    inner: Arc<Inner>,
    _places: (OwnedSemaphorePermit, OwnedSemaphorePermit),
}

impl HashPermit {
    /// Hashes a password with a fresh salt, into a PHC string.
    ///
    /// # Errors
    /// [`AccountError::Crypto`] when argon2 or the runtime fails.
    pub async fn hash(self, password: NewPassword) -> Result<(Self, String), AccountError> {
        self.run(move |inner| Ok(inner.argon2.hash_password(password.as_bytes())?.to_string()))
            .await
    }

    /// Hashes a password that has just proved right, when its stored hash is [outdated](Self::is_outdated).
    ///
    /// # Errors
    /// As [`HashPermit::hash`].
    pub async fn hash_again(
        self,
        password: PasswordAttempt,
    ) -> Result<(Self, String), AccountError> {
        self.run(move |inner| Ok(inner.argon2.hash_password(password.as_bytes())?.to_string()))
            .await
    }

    /// Whether `password` is the one behind `hash`; without a hash it works as long and says no.
    ///
    /// # Errors
    /// [`AccountError::Crypto`] when the stored hash is not one, or argon2 or the runtime fails.
    pub async fn verify(
        self,
        password: PasswordAttempt,
        hash: Option<String>,
    ) -> Result<(Self, bool), AccountError> {
        self.run(move |inner| {
            let known = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&inner.dummy);
            match inner.argon2.verify_password(password.as_bytes(), &PasswordHash::new(hash)?) {
                Ok(()) => Ok(known),
                Err(argon2::password_hash::Error::PasswordInvalid) => Ok(false),
                Err(error) => Err(error),
            }
        })
        .await
    }

    /// Whether `hash` was made with other costs than those now in force, and should be made anew.
    #[must_use]
    pub fn is_outdated(&self, hash: &str) -> bool {
        let wanted = self.inner.argon2.params();
        let found = PasswordHash::new(hash).ok().and_then(|hash| Params::try_from(&hash).ok());
        found.is_none_or(|found| {
            (found.m_cost(), found.t_cost(), found.p_cost())
                != (wanted.m_cost(), wanted.t_cost(), wanted.p_cost())
        })
    }

    /// Runs `work` on the blocking pool. The places travel with it: a caller that goes away frees nothing early.
    async fn run<T: Send + 'static>(
        self,
        work: impl FnOnce(&Inner) -> Result<T, argon2::password_hash::Error> + Send + 'static,
    ) -> Result<(Self, T), AccountError> {
        let io = self.inner.io.clone();
        let task = io.spawn_blocking(move || {
            let outcome = work(&self.inner);
            (self, outcome)
        });
        let (permit, outcome) = task.await.map_err(|_| AccountError::Crypto)?;
        match outcome {
            Ok(value) => Ok((permit, value)),
            Err(error) => {
                tracing::error!(%error, "argon2 failed");
                Err(AccountError::Crypto)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: HasherSettings = HasherSettings {
        memory_kib: 64,
        iterations: 1,
        parallelism: 1,
        concurrency: 1,
        queue_max: 1,
    };

    fn hasher(settings: HasherSettings) -> Hasher {
        Hasher::new(settings, Handle::current()).unwrap()
    }

    fn password() -> NewPassword {
        NewPassword::parse(&"a courtyard at noon".into(), &[]).unwrap()
    }

    fn attempt(raw: &str) -> PasswordAttempt {
        PasswordAttempt::new(&raw.into())
    }

    #[tokio::test]
    async fn only_the_password_itself_verifies() {
        let hasher = hasher(CHEAP);
        let hash = hasher.hash(password()).await.unwrap();

        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let permit = hasher.permit().await.unwrap();
        let (permit, right) =
            permit.verify(attempt("a courtyard at noon"), Some(hash.clone())).await.unwrap();
        let (_, wrong) = permit.verify(attempt("a courtyard at dusk"), Some(hash)).await.unwrap();
        assert!(right && !wrong);
    }

    #[tokio::test]
    async fn without_an_account_nothing_verifies() {
        let permit = hasher(CHEAP).permit().await.unwrap();

        let (_, known) = permit.verify(attempt("nobody has this password"), None).await.unwrap();

        assert!(!known);
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_recovers() {
        let hasher = hasher(CHEAP);
        let running = hasher.permit().await.unwrap();
        let waiting = tokio::spawn({
            let hasher = hasher.clone();
            async move { hasher.permit().await.is_ok() }
        });
        tokio::task::yield_now().await;

        assert!(matches!(hasher.permit().await, Err(AccountError::HasherBusy)));

        drop(running);
        assert!(waiting.await.unwrap());
        assert!(hasher.permit().await.is_ok());
    }

    #[tokio::test]
    async fn a_hash_of_other_costs_is_outdated() {
        let hash = hasher(CHEAP).hash(password()).await.unwrap();
        let dearer = hasher(HasherSettings { iterations: 2, ..CHEAP }).permit().await.unwrap();
        let same = hasher(CHEAP).permit().await.unwrap();

        assert!(dearer.is_outdated(&hash) && dearer.is_outdated("nonsense"));
        assert!(!same.is_outdated(&hash));
    }
}
