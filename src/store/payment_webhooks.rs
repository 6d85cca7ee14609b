//! Webhooks of payment providers as rows: kept before they are answered, and taken from there by whoever looks.
//!
//! Invariant: one that was kept is looked into, whoever dies meanwhile: whoever takes it has it for a while, and then it is due
//! again. What looks once settles everything that had come about the same charge before.

use super::leases::millis;
use super::{Db, Store, StoreError, execute, fetch_one, fetch_optional};
use crate::domain::payments::webhooks::{ChargeName, KEPT, LEASED, Trust, WebhookStatus};
use crate::domain::time::Timestamp;

/// A webhook to be kept.
#[derive(Debug, Clone)]
pub struct NewPaymentWebhook {
    pub provider: &'static str,
    pub dedupe_key: String,
    pub trust: Trust,
    /// `None` for one that is about nothing of ours: it is kept, and nobody looks.
    pub charge: Option<ChargeName>,
    pub body: Vec<u8>,
}

/// What became of a webhook that came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kept {
    New,
    /// It had come before, and somebody looks all the same: anybody may have sent the first one.
    Again,
    /// It had come before.
    Known,
}

/// A webhook that somebody looks into.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TakenWebhook {
    pub provider: String,
    pub dedupe_key: String,
    pub trust: Trust,
    pub charge: ChargeName,
    /// How often somebody has looked before.
    pub attempts: u32,
    pub received_at: Timestamp,
    /// When it was taken; what comes after that is looked into again.
    pub taken_at: Timestamp,
}

#[derive(sqlx::FromRow)]
struct TakenRow {
    provider: String,
    dedupe_key: String,
    trust: String,
    provider_order: Option<String>,
    provider_key: Option<String>,
    attempts: i64,
    received_at: i64,
}

/// Keeps a webhook.
async fn keep(db: &mut Db, new: &NewPaymentWebhook, now: Timestamp) -> Result<Kept, StoreError> {
    let status = match new.charge {
        Some(_) => WebhookStatus::Received,
        None => WebhookStatus::Ignored,
    };
    let done_at = new.charge.is_none().then_some(now.millis());
    let inserted = execute!(
        db,
        "INSERT INTO payment_webhooks
             (provider, dedupe_key, trust, provider_order, provider_key, body, status, attempts,
              due_at, received_at, done_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8, $8, $9)
         ON CONFLICT (provider, dedupe_key) DO NOTHING",
        new.provider,
        new.dedupe_key.as_str(),
        new.trust.as_str(),
        new.charge.as_ref().and_then(|charge| charge.order.as_deref()),
        new.charge.as_ref().and_then(|charge| charge.provider_key.as_deref()),
        new.body.as_slice(),
        status.as_str(),
        now.millis(),
        done_at,
    )?;
    if inserted == 1 {
        return Ok(Kept::New);
    }
    // The charge is that of this one: the first may have been made up by somebody who guessed what it is known by.
    let again = execute!(
        db,
        "UPDATE payment_webhooks
         SET status = 'received', attempts = 0, due_at = $3, received_at = $3, done_at = NULL,
             provider_order = $4, provider_key = $5, body = $7, last_error = NULL
         WHERE provider = $1 AND dedupe_key = $2 AND trust = 'unsigned' AND $6 = 'received'",
        new.provider,
        new.dedupe_key.as_str(),
        now.millis(),
        new.charge.as_ref().and_then(|charge| charge.order.as_deref()),
        new.charge.as_ref().and_then(|charge| charge.provider_key.as_deref()),
        status.as_str(),
        new.body.as_slice(),
    )?;
    Ok(if again == 1 { Kept::Again } else { Kept::Known })
}

impl Store {
    /// Keeps a webhook, to be looked into; a repeat of one that proves its sender changes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was kept.
    pub async fn insert_payment_webhook(
        &self,
        new: NewPaymentWebhook,
        now: Timestamp,
    ) -> Result<Kept, StoreError> {
        self.write(move |db| Box::pin(async move { keep(db, &new, now).await })).await
    }

    /// When the next webhook is due; writes nothing.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_next_payment_webhook(&self) -> Result<Option<Timestamp>, StoreError> {
        let (due_at,) = self
            .read::<_, StoreError, _>(|db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (Option<i64>,),
                        "SELECT MIN(due_at) FROM payment_webhooks WHERE status = 'received'",
                    )
                })
            })
            .await?;
        Ok(due_at.map(Timestamp::from_millis))
    }

    /// Takes the webhook that has been due for the longest; no other node takes it for a while.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn claim_payment_webhook(
        &self,
        now: Timestamp,
    ) -> Result<Option<TakenWebhook>, StoreError> {
        let row = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let claim = db.dialect(
                        "UPDATE payment_webhooks SET attempts = attempts + 1, due_at = $1 + $2
                         WHERE (provider, dedupe_key) =
                             (SELECT provider, dedupe_key FROM payment_webhooks
                              WHERE status = 'received' AND due_at <= $1
                              ORDER BY due_at, provider, dedupe_key
                              LIMIT 1)
                         RETURNING provider, dedupe_key, trust, provider_order, provider_key,
                                   attempts, received_at",
                        "UPDATE payment_webhooks SET attempts = attempts + 1, due_at = $1 + $2
                         WHERE (provider, dedupe_key) =
                             (SELECT provider, dedupe_key FROM payment_webhooks
                              WHERE status = 'received' AND due_at <= $1
                              ORDER BY due_at, provider, dedupe_key
                              LIMIT 1
                              FOR UPDATE SKIP LOCKED)
                         RETURNING provider, dedupe_key, trust, provider_order, provider_key,
                                   attempts, received_at",
                    );
                    fetch_optional!(db, TakenRow, claim, now.millis(), millis(LEASED))
                })
            })
            .await?;
        Ok(row.map(|row| row.into_taken(now)))
    }

    /// Settles a webhook, and with it whatever had come about the same charge before it was taken; gives how many. One that
    /// has failed says nothing about the others.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn settle_payment_webhook(
        &self,
        taken: TakenWebhook,
        status: WebhookStatus,
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE payment_webhooks SET status = $1, done_at = $2
                     WHERE provider = $3 AND status = 'received' AND received_at <= $4
                       AND provider_order IS NOT DISTINCT FROM $5
                       AND provider_key IS NOT DISTINCT FROM $6
                       AND ($1 <> 'failed' OR dedupe_key = $7)",
                    status.as_str(),
                    now.millis(),
                    taken.provider.as_str(),
                    taken.taken_at.millis(),
                    taken.charge.order.as_deref(),
                    taken.charge.provider_key.as_deref(),
                    taken.dedupe_key.as_str(),
                )
            })
        })
        .await
    }

    /// Puts a webhook off, with the reason for whoever asks.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses; then it is due again when its time is over.
    pub async fn put_off_payment_webhook(
        &self,
        taken: TakenWebhook,
        due_at: Timestamp,
        reason: String,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE payment_webhooks SET due_at = $3, last_error = $4
                     WHERE provider = $1 AND dedupe_key = $2 AND status = 'received'
                       AND received_at <= $5",
                    taken.provider.as_str(),
                    taken.dedupe_key.as_str(),
                    due_at.millis(),
                    reason.as_str(),
                    taken.taken_at.millis(),
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Forgets webhooks that were settled long ago, at most `limit`; gives how many.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_old_payment_webhooks(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "DELETE FROM payment_webhooks
                     WHERE (provider, dedupe_key) IN
                         (SELECT provider, dedupe_key FROM payment_webhooks
                          WHERE done_at <= $1
                          ORDER BY done_at
                          LIMIT $2)
                       AND done_at <= $1",
                    now.minus(KEPT).millis(),
                    limit,
                )
            })
        })
        .await
    }
}

impl TakenRow {
    fn into_taken(self, taken_at: Timestamp) -> TakenWebhook {
        TakenWebhook {
            provider: self.provider,
            dedupe_key: self.dedupe_key,
            trust: Trust::parse(&self.trust).unwrap_or(Trust::Unsigned),
            charge: ChargeName { order: self.provider_order, provider_key: self.provider_key },
            attempts: u32::try_from(self.attempts).unwrap_or(u32::MAX).saturating_sub(1),
            received_at: Timestamp::from_millis(self.received_at),
            taken_at,
        }
    }
}
