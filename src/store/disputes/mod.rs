//! Disputes as rows: what providers say of them, in [`holds`] what is done about that, and in [`arrivals`] what becomes of
//! money that comes to somebody whom a dispute left short.
//!
//! Invariant: what a provider said only moves on ([`DisputeStatus::leads_to`]). What is held for a dispute changes under
//! the lock of its payee's wallet, and of its payment where nobody has earned it.

pub mod arrivals;
pub mod holds;

use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{DisputeId, PaymentId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::ProviderName;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::time::Timestamp;

/// A dispute as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    pub id: DisputeId,
    pub payment: PaymentId,
    pub payee: Option<UserId>,
    pub provider: ProviderName,
    pub provider_key: String,
    pub currency: Currency,
    pub amount: Amount,
    /// What the provider says last.
    pub status: DisputeStatus,
    /// How much of it the payment has.
    pub covered: i64,
    /// What of that is not held, because its payee does not have it.
    pub missing: i64,
    /// What the ledger holds, entry by entry.
    pub held: Vec<Vec<Amount>>,
    /// Until when the bank hears what speaks against it.
    pub due_at: Option<Timestamp>,
    pub opened_at: Option<Timestamp>,
    pub closed_at: Option<Timestamp>,
}

impl Dispute {
    /// Whether something is held for it, or would be.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        self.opened_at.is_some() && self.closed_at.is_none()
    }
}

/// What a provider says of a dispute.
#[derive(Debug, Clone)]
pub struct Told {
    /// The id of the row, where there is none yet.
    pub id: DisputeId,
    pub payment: PaymentId,
    pub payee: Option<UserId>,
    pub provider: ProviderName,
    pub provider_key: String,
    pub currency: Currency,
    pub amount: Amount,
    pub status: DisputeStatus,
    pub due_at: Option<Timestamp>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    payment_id: Uuid,
    payee_id: Option<Uuid>,
    provider: String,
    provider_key: String,
    currency: String,
    amount: i64,
    status: String,
    covered: i64,
    missing: i64,
    held: String,
    due_at: Option<i64>,
    opened_at: Option<i64>,
    closed_at: Option<i64>,
}

impl Row {
    fn into_dispute(self) -> Result<Dispute, StoreError> {
        let unreadable = || StoreError::NotFound;
        Ok(Dispute {
            id: self.id.into(),
            payment: self.payment_id.into(),
            payee: self.payee_id.map(UserId::from),
            provider: ProviderName::parse(&self.provider).ok_or_else(unreadable)?,
            provider_key: self.provider_key,
            currency: self.currency.parse().map_err(|_| unreadable())?,
            amount: Amount::new(self.amount).map_err(|_| unreadable())?,
            status: DisputeStatus::parse(&self.status).ok_or_else(unreadable)?,
            covered: self.covered,
            missing: self.missing,
            held: serde_json::from_str(&self.held).map_err(|_| unreadable())?,
            due_at: self.due_at.map(Timestamp::from_millis),
            opened_at: self.opened_at.map(Timestamp::from_millis),
            closed_at: self.closed_at.map(Timestamp::from_millis),
        })
    }
}

/// Writes down what a provider says of a dispute, as far as that is news. Says whether it is.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn record_dispute(db: &mut Db, told: &Told, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO disputes
             (id, payment_id, payee_id, provider, provider_key, currency, amount, status, due_at,
              looked_at, created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10, $10)
         ON CONFLICT (provider, provider_key) DO NOTHING",
        told.id.uuid(),
        told.payment.uuid(),
        told.payee.map(UserId::uuid),
        told.provider.as_str(),
        told.provider_key.as_str(),
        told.currency.as_str(),
        told.amount.minor(),
        told.status.as_str(),
        told.due_at.map(Timestamp::millis),
        now.millis(),
    )?;
    if inserted > 0 {
        return Ok(true);
    }
    let known = lock_dispute(db, told.provider, &told.provider_key).await?;
    let is_news = known.status.leads_to(told.status);
    let status = if is_news { told.status } else { known.status };
    execute!(
        db,
        "UPDATE disputes
         SET status = $2, due_at = coalesce($3, due_at), looked_at = $4,
             updated_at = CASE WHEN $5 = 1 THEN $4 ELSE updated_at END
         WHERE id = $1",
        known.id.uuid(),
        status.as_str(),
        told.due_at.map(Timestamp::millis),
        now.millis(),
        i64::from(is_news),
    )?;
    Ok(is_news)
}

/// A dispute, locked until the transaction ends.
///
/// # Errors
/// [`StoreError::NotFound`], any other when the database does not answer.
pub async fn lock_dispute(
    db: &mut Db,
    provider: ProviderName,
    provider_key: &str,
) -> Result<Dispute, StoreError> {
    let select = db.dialect(
        "SELECT id, payment_id, payee_id, provider, provider_key, currency, amount, status,
                covered, missing, held, due_at, opened_at, closed_at
         FROM disputes
         WHERE provider = $1 AND provider_key = $2",
        "SELECT id, payment_id, payee_id, provider, provider_key, currency, amount, status,
                covered, missing, held, due_at, opened_at, closed_at
         FROM disputes
         WHERE provider = $1 AND provider_key = $2
         FOR UPDATE",
    );
    let row = fetch_optional!(db, Row, select, provider.as_str(), provider_key)?;
    row.ok_or(StoreError::NotFound)?.into_dispute()
}

/// A dispute.
///
/// # Errors
/// [`StoreError::NotFound`], any other when the database does not answer.
pub async fn find_dispute(
    db: &mut Db,
    provider: ProviderName,
    provider_key: &str,
) -> Result<Dispute, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        "SELECT id, payment_id, payee_id, provider, provider_key, currency, amount, status,
                covered, missing, held, due_at, opened_at, closed_at
         FROM disputes
         WHERE provider = $1 AND provider_key = $2",
        provider.as_str(),
        provider_key,
    )?;
    row.ok_or(StoreError::NotFound)?.into_dispute()
}

/// Notes that nothing has to be done about a dispute.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn close_unopened(
    db: &mut Db,
    dispute: &Dispute,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut dispute = lock_dispute(db, dispute.provider, &dispute.provider_key).await?;
    dispute.closed_at = Some(now);
    update(db, &dispute, now).await
}

/// Writes what was done about a dispute.
async fn update(db: &mut Db, dispute: &Dispute, now: Timestamp) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE disputes
         SET covered = $2, missing = $3, held = $4, opened_at = $5, closed_at = $6,
             updated_at = $7
         WHERE id = $1",
        dispute.id.uuid(),
        dispute.covered,
        dispute.missing,
        serde_json::json!(dispute.held).to_string(),
        dispute.opened_at.map(Timestamp::millis),
        dispute.closed_at.map(Timestamp::millis),
        now.millis(),
    )
    .map(|_| ())
}

/// Whether a dispute of a payment is open.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn has_open_dispute(db: &mut Db, payment: PaymentId) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM disputes
         WHERE payment_id = $1 AND opened_at IS NOT NULL AND closed_at IS NULL",
        payment.uuid(),
    )?;
    Ok(count > 0)
}

/// Whether a payer's bank wants a payment back, or has taken it.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_wanted_back(db: &mut Db, payment: PaymentId) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM disputes
         WHERE payment_id = $1 AND status NOT IN ('inquiry', 'won', 'withdrawn')",
        payment.uuid(),
    )?;
    Ok(count > 0)
}

/// Whether a dispute of any payment to a payee is open.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_payee_disputed(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM disputes
         WHERE payee_id = $1 AND currency = $2 AND opened_at IS NOT NULL AND closed_at IS NULL",
        payee.uuid(),
        currency.as_str(),
    )?;
    Ok(count > 0)
}

impl Store {
    /// The disputes of a payment, the first first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_disputes(&self, payment: PaymentId) -> Result<Vec<Dispute>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, payment_id, payee_id, provider, provider_key, currency, amount,
                                status, covered, missing, held, due_at, opened_at, closed_at
                         FROM disputes
                         WHERE payment_id = $1
                         ORDER BY id",
                        payment.uuid(),
                    )
                })
            })
            .await?;
        rows.into_iter().map(Row::into_dispute).collect()
    }

    /// Takes disputes of which their provider has not said the end, and nobody has asked since `before`, those first that
    /// have waited for longest. Notes that somebody does so now.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn take_disputes_to_look_at(
        &self,
        before: Timestamp,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<Dispute>, StoreError> {
        let rows = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let update = db.dialect(
                        "UPDATE disputes SET looked_at = $2
                         WHERE id IN
                             (SELECT id FROM disputes
                              WHERE closed_at IS NULL AND looked_at <= $1
                                AND status NOT IN ('won', 'lost', 'withdrawn')
                              ORDER BY looked_at, id
                              LIMIT $3)
                         RETURNING id, payment_id, payee_id, provider, provider_key, currency,
                                   amount, status, covered, missing, held, due_at, opened_at,
                                   closed_at",
                        // Whoever holds one is at work on it, and may wait for another of these.
                        "UPDATE disputes SET looked_at = $2
                         WHERE id IN
                             (SELECT id FROM disputes
                              WHERE closed_at IS NULL AND looked_at <= $1
                                AND status NOT IN ('won', 'lost', 'withdrawn')
                              ORDER BY looked_at, id
                              LIMIT $3
                              FOR UPDATE SKIP LOCKED)
                         RETURNING id, payment_id, payee_id, provider, provider_key, currency,
                                   amount, status, covered, missing, held, due_at, opened_at,
                                   closed_at",
                    );
                    fetch_all!(db, Row, update, before.millis(), now.millis(), limit)
                })
            })
            .await?;
        let read = |row: Row| {
            let id = row.id;
            let read = row.into_dispute();
            if read.is_err() {
                tracing::error!(dispute.id = %id, "a dispute cannot be read by this release");
            }
            read.ok()
        };
        Ok(rows.into_iter().filter_map(read).collect())
    }

    /// Whether a dispute was heard of.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn is_dispute_known(
        &self,
        provider: ProviderName,
        provider_key: String,
    ) -> Result<bool, StoreError> {
        let (count,) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM disputes
                         WHERE provider = $1 AND provider_key = $2",
                        provider.as_str(),
                        provider_key,
                    )
                })
            })
            .await?;
        Ok(count > 0)
    }
}
