//! Webhooks of payment providers: kept as they come in, answered at once, and looked into by whoever is free.
//!
//! Invariant: what a webhook says changes nothing. It makes somebody ask the provider about the charge that it names, if that
//! is one of ours, and nobody where it is not.

#[cfg(test)]
mod tests;

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt as _;
use rand::Rng as _;
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::kit::permanent::OnEscalate;
use super::kit::vital::spawn_vital;
use super::payments::Payments;
use super::payments::again::{self, LookAgain as Heard};
use crate::clock;
use crate::domain::payments::webhooks::{ChargeName, Trust, WebhookStatus, dedupe_key};
use crate::domain::payments::{Cause, ProviderName};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{TRIED_MAX, wait_after};
use crate::providers::payments::{Providers, RawWebhook, WebhookError, WebhookTrust};
use crate::store::payment_webhooks::{Kept, NewPaymentWebhook, TakenWebhook};
use crate::store::{Store, StoreError};

const COUNTER: &str = "madang_payment_webhooks_total";
/// Charges that one node asks about at once because of webhooks.
const LOOKS: usize = 4;
/// Looks for what is due at least so often where other nodes commit, too.
const NETWORKED_POLL: Duration = Duration::from_secs(1);
/// The same where at most a successor does.
const LONE_POLL: Duration = Duration::from_secs(10);
/// Most commits are about something else.
const COMMIT_REST: Duration = Duration::from_millis(50);
const RETRY_AFTER: Duration = Duration::from_secs(2);
/// How long looking may take while the node stops; what takes longer is due again by itself.
const STOP_GRACE: Duration = Duration::from_secs(2);
/// What is kept of a webhook that anybody may have sent; it is there for people to read.
const UNSIGNED_BYTES_MAX: usize = 4_096;
/// Settled webhooks that one transaction forgets.
const SWEEP_MAX: i64 = 1_000;

/// What asking the provider about a charge came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Whatever had become of it is known here now, or is being found out.
    Seen,
    /// It is none of ours; nobody was asked.
    NotOurs,
}

/// Whoever finds out what became of a charge.
#[async_trait]
pub trait LookAgain: Send + Sync {
    /// Asks the provider about a charge that is ours, and does what follows.
    ///
    /// # Errors
    /// A sentence for the log: it has to be tried again.
    async fn look_again(&self, provider: &str, charge: &ChargeName) -> Result<Looked, String>;
}

#[async_trait]
impl LookAgain for Payments {
    async fn look_again(&self, provider: &str, charge: &ChargeName) -> Result<Looked, String> {
        let Some(provider) = ProviderName::parse(provider) else { return Ok(Looked::NotOurs) };
        let ChargeName { order, provider_key } = charge.clone();
        let heard = Heard { order, provider_key, cause: Cause::Webhook };
        match self.look_again(provider, heard).await {
            Ok(again::Looked::Unknown) => Ok(Looked::NotOurs),
            Ok(again::Looked::Told | again::Looked::Changed | again::Looked::Nothing) => {
                Ok(Looked::Seen)
            }
            Err(error) => Err(error.to_string()),
        }
    }
}

/// Why a webhook is not taken.
#[derive(Debug, thiserror::Error)]
pub enum NotTaken {
    #[error("there is no payment provider of this name")]
    UnknownProvider,
    #[error("the signature is missing or wrong")]
    Unsigned,
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Takes webhooks in. Cheap to clone.
#[derive(Clone)]
pub struct PaymentWebhooks {
    store: Store,
    providers: Providers,
}

impl PaymentWebhooks {
    #[must_use]
    pub const fn new(store: Store, providers: Providers) -> Self {
        Self { store, providers }
    }

    /// Keeps a webhook. One that is about nothing of ours is kept as well, for whoever wonders; nobody looks.
    ///
    /// # Errors
    /// [`NotTaken`]; then it was not kept.
    pub async fn receive(&self, provider: &str, raw: RawWebhook) -> Result<(), NotTaken> {
        // Whoever only pays out has none.
        let charging = ProviderName::parse(provider).map(ProviderName::as_str);
        let provider = charging.and_then(|name| self.providers.get(name));
        let provider = provider.ok_or(NotTaken::UnknownProvider)?;
        let (name, now) = (provider.name(), raw.received_at);
        let trust = match provider.capabilities().webhooks {
            WebhookTrust::Signed => Trust::Signed,
            WebhookTrust::Unsigned => Trust::Unsigned,
        };
        let (dedupe_key, charge) = match provider.read_webhook(&raw) {
            Ok(hint) => {
                let charge = ChargeName::parse(hint.order.as_deref(), hint.provider_key.as_deref());
                (dedupe_key(hint.dedupe_key.as_bytes()), charge)
            }
            Err(WebhookError::Unreadable) => (dedupe_key(&raw.body), None),
            Err(WebhookError::Unsigned) => {
                count(name, trust, "refused");
                return Err(NotTaken::Unsigned);
            }
        };
        let is_ours = charge.is_some();
        let kept = match trust {
            Trust::Signed => raw.body.len(),
            Trust::Unsigned => raw.body.len().min(UNSIGNED_BYTES_MAX),
        };
        let body = raw.body.get(..kept).unwrap_or_default().to_vec();
        let new = NewPaymentWebhook { provider: name, dedupe_key, trust, charge, body };
        let kept = self.store.insert_payment_webhook(new, now).await?;
        let result = match kept {
            Kept::New if is_ours => "received",
            Kept::New => "ignored",
            Kept::Again | Kept::Known => "repeated",
        };
        count(name, trust, result);
        Ok(())
    }

    /// Forgets what was settled long ago.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn sweep(&self, now: Timestamp) -> Result<(), StoreError> {
        while self.store.delete_old_payment_webhooks(now, SWEEP_MAX).await? > 0 {}
        Ok(())
    }
}

/// What looks into webhooks on this node.
pub struct Inspection {
    stop: watch::Sender<bool>,
    inspector: Arc<Inspector>,
    task: Mutex<Option<JoinHandle<()>>>,
}

struct Inspector {
    io: Handle,
    store: Store,
    looker: Arc<dyn LookAgain>,
    places: Arc<Semaphore>,
}

impl Inspection {
    /// Starts on the shared I/O runtime.
    #[must_use]
    pub fn start(
        io: &Handle,
        store: &Store,
        looker: Arc<dyn LookAgain>,
        on_escalate: OnEscalate,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let places = Arc::new(Semaphore::new(LOOKS));
        let inspector =
            Arc::new(Inspector { io: io.clone(), store: store.clone(), looker, places });
        let working = inspect(Arc::clone(&inspector), stopped);
        let task = spawn_vital(io, "payment webhooks", on_escalate, working);
        Self { stop, inspector, task: Mutex::new(Some(task)) }
    }

    /// Takes nothing more, and lets what was begun come to its end, for a while.
    pub async fn stop(&self) {
        self.stop.send_replace(true);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            // A panic was escalated.
            let _ = task.await;
        }
        let all = u32::try_from(LOOKS).unwrap_or(u32::MAX);
        if timeout(STOP_GRACE, self.inspector.places.acquire_many(all)).await.is_err() {
            tracing::warn!("a look outlasts this node; its webhook is due again by itself");
        }
    }
}

async fn inspect(inspector: Arc<Inspector>, mut stopped: watch::Receiver<bool>) {
    let mut commits = inspector.store.commits();
    while !*stopped.borrow() {
        commits.mark_unchanged();
        let rest = match inspector.take(&mut stopped).await {
            Ok(None) => continue,
            Ok(Some(rest)) => rest,
            Err(error) => {
                tracing::warn!(%error, "webhooks of payment providers have to wait");
                RETRY_AFTER
            }
        };
        let committed = async {
            tokio::time::sleep(COMMIT_REST).await;
            if commits.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = tokio::time::sleep(rest) => {}
            () = committed => {}
            _ = stopped.changed() => {}
        }
    }
}

impl Inspector {
    /// Takes the next webhook, if one is due and there is a place for it; gives how long there is nothing to look for.
    async fn take(
        self: &Arc<Self>,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<Option<Duration>, StoreError> {
        let now = clock::now();
        match self.store.find_next_payment_webhook().await? {
            None => return Ok(Some(self.poll())),
            Some(due_at) if due_at > now => return Ok(Some(self.poll().min(due_at.since(now)))),
            Some(_) => {}
        }
        let place = tokio::select! {
            place = Arc::clone(&self.places).acquire_owned() => place,
            _ = stopped.changed() => return Ok(None),
        };
        // Nobody closes it.
        let Ok(place) = place else { return Ok(Some(self.poll())) };
        let Some(taken) = self.store.claim_payment_webhook(clock::now()).await? else {
            // Another node was quicker.
            return Ok(Some(COMMIT_REST));
        };
        let inspector = Arc::clone(self);
        self.io.spawn(async move {
            inspector.look(taken).await;
            drop(place);
        });
        Ok(None)
    }

    fn poll(&self) -> Duration {
        let poll = if self.store.is_networked() { NETWORKED_POLL } else { LONE_POLL };
        poll.mul_f64(rand::rng().random_range(0.5..1.0))
    }

    async fn look(&self, taken: TakenWebhook) {
        let looking = self.looker.look_again(&taken.provider, &taken.charge);
        let noted = match AssertUnwindSafe(looking).catch_unwind().await {
            Ok(Ok(Looked::Seen)) => self.settle(taken, WebhookStatus::Done).await,
            Ok(Ok(Looked::NotOurs)) => self.settle(taken, WebhookStatus::Ignored).await,
            Ok(Err(reason)) => self.put_off(taken, reason).await,
            Err(_) => self.put_off(taken, "looking into it has panicked".to_owned()).await,
        };
        if let Err(error) = noted {
            tracing::warn!(%error, "a webhook of a payment provider will be looked into again");
        }
    }

    async fn settle(&self, taken: TakenWebhook, status: WebhookStatus) -> Result<(), StoreError> {
        let (provider, trust) = (taken.provider.clone(), taken.trust);
        let settled = self.store.settle_payment_webhook(taken, status, clock::now()).await?;
        metrics::counter!(
            COUNTER,
            "provider" => provider,
            "trust" => trust.as_str(),
            "result" => status.as_str(),
        )
        .increment(settled);
        Ok(())
    }

    async fn put_off(&self, taken: TakenWebhook, reason: String) -> Result<(), StoreError> {
        let now = clock::now();
        let (tried, chance) = (now.since(taken.received_at), rand::rng().random());
        let Some(wait) = wait_after(taken.attempts, tried, TRIED_MAX, chance) else {
            tracing::error!(
                payment.provider = taken.provider,
                reason,
                "nobody could look into a webhook for a day"
            );
            return self.settle(taken, WebhookStatus::Failed).await;
        };
        tracing::warn!(
            payment.provider = taken.provider,
            reason,
            "a webhook has to be looked into again"
        );
        self.store.put_off_payment_webhook(taken, now.plus(wait), reason).await
    }
}

fn count(provider: &'static str, trust: Trust, result: &'static str) {
    metrics::counter!(
        COUNTER,
        "provider" => provider,
        "trust" => trust.as_str(),
        "result" => result,
    )
    .increment(1);
}
