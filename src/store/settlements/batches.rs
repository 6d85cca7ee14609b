//! Batches: what a payee has earned until a day, summed up once.
//!
//! Locks are taken in the order wallet, settlement: nobody but who closes has that of a batch that was carried.

use jiff::civil::Date;
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Settlement, lock_settlement};
use crate::clock;
use crate::domain::audit::{Action, Target};
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::ids::{SettlementId, UserId};
use crate::domain::money::Currency;
use crate::domain::settlements::SettlementStatus;
use crate::domain::time::Timestamp;
use crate::domain::workflows::Reason;
use crate::store::audit::{Deed, record};
use crate::store::wallets::lock_wallet;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, outbox};

/// The end of a day, and when what was earned until then is paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Close {
    /// The last day of the batch.
    pub period_end: Date,
    /// When the day after begins.
    pub until: Timestamp,
    pub pay_on: Date,
    pub release_at: Timestamp,
    /// Less than that is carried into the next batch.
    pub minimum: i64,
}

#[derive(sqlx::FromRow)]
struct SumRow {
    first_at: Option<i64>,
    gross: i64,
    refunds: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
    elsewhere: i64,
}

impl Store {
    /// Payees after `after` who had earned something until then that is in no batch; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payees_to_settle(
        &self,
        currency: Currency,
        until: Timestamp,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<UserId>, StoreError> {
        let after = after.map_or(Uuid::nil(), UserId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // By itself, SQLite goes through the platform's own items, which never get a batch.
                    let select = db.dialect(
                        "SELECT DISTINCT payee_id
                         FROM settlement_items INDEXED BY settlement_items_open_idx
                         WHERE settlement_id IS NULL AND payee_id IS NOT NULL AND currency = $1
                           AND created_at < $2 AND payee_id > $3
                         ORDER BY payee_id
                         LIMIT $4",
                        "SELECT DISTINCT payee_id FROM settlement_items
                         WHERE settlement_id IS NULL AND payee_id IS NOT NULL AND currency = $1
                           AND created_at < $2 AND payee_id > $3
                         ORDER BY payee_id
                         LIMIT $4",
                    );
                    fetch_all!(
                        db,
                        (Uuid,),
                        select,
                        currency.as_str(),
                        until.millis(),
                        after,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }

    /// Payees other than `not` who had earned something until then that is in no batch, and who have none of that day; at most
    /// `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_payees_to_close(
        &self,
        currency: Currency,
        close: Close,
        not: UserId,
        limit: i64,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    // By itself, SQLite goes through the platform's own items, which never get a batch.
                    let select = db.dialect(
                        "SELECT DISTINCT i.payee_id
                         FROM settlement_items i INDEXED BY settlement_items_open_idx
                         WHERE i.settlement_id IS NULL AND i.payee_id IS NOT NULL
                           AND i.currency = $1 AND i.created_at < $2 AND i.payee_id <> $3
                           AND NOT EXISTS (SELECT 1 FROM settlements s
                                           WHERE s.payee_id = i.payee_id AND s.currency = $1
                                             AND s.period_end = $4)
                         ORDER BY i.payee_id
                         LIMIT $5",
                        "SELECT DISTINCT i.payee_id FROM settlement_items i
                         WHERE i.settlement_id IS NULL AND i.payee_id IS NOT NULL
                           AND i.currency = $1 AND i.created_at < $2 AND i.payee_id <> $3
                           AND NOT EXISTS (SELECT 1 FROM settlements s
                                           WHERE s.payee_id = i.payee_id AND s.currency = $1
                                             AND s.period_end = $4)
                         ORDER BY i.payee_id
                         LIMIT $5",
                    );
                    fetch_all!(
                        db,
                        (Uuid,),
                        select,
                        currency.as_str(),
                        close.until.millis(),
                        not.uuid(),
                        close.period_end.to_string(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(id,)| id.into()).collect())
    }

    /// Whether there is something for a payee's batch: what they had earned until then, or what was carried.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn has_something_to_close(
        &self,
        payee: UserId,
        currency: Currency,
        until: Timestamp,
    ) -> Result<bool, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                Ok(is_open(db, payee, currency, until).await?
                    || has_carried(db, payee, currency).await?)
            })
        })
        .await
    }

    /// Closes a payee's batch: `SettlementCreated`, or `SettlementCarried` where it is not worth a payment. `None`
    /// where there is one of that day already, and what came late is in the next; or where another batch has taken
    /// everything meanwhile.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn close_settlement(
        &self,
        payee: UserId,
        currency: Currency,
        close: Close,
        now: Timestamp,
    ) -> Result<Option<Settlement>, StoreError> {
        self.write(move |db| {
            Box::pin(async move { close_batch(db, payee, currency, (&close, false), now).await })
        })
        .await
    }

    /// Closes a payee's batch because somebody says so: as [`Self::close_settlement`], and in the audit.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn close_settlement_by_hand(
        &self,
        payee: UserId,
        currency: Currency,
        close: Close,
        (by, reason): (UserId, Reason),
        now: Timestamp,
    ) -> Result<Option<Settlement>, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let closed = close_batch(db, payee, currency, (&close, true), now).await?;
                let Some(closed) = closed else { return Ok(None) };
                let deed = Deed {
                    by,
                    action: Action::SettlementClosed,
                    target: Target::Settlement(closed.id),
                    reason: Some(&reason),
                    before: Value::Null,
                    after: json!({
                        "status": closed.status.as_str(),
                        "payee_id": payee,
                        "net": closed.net,
                        "pay_on": closed.pay_on.to_string(),
                    }),
                };
                record(db, &deed, now).await?;
                Ok(Some(closed))
            })
        })
        .await
    }
}

async fn is_open(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
    until: Timestamp,
) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM settlement_items
         WHERE settlement_id IS NULL AND payee_id = $1 AND currency = $2 AND created_at < $3",
        payee.uuid(),
        currency.as_str(),
        until.millis(),
    )?;
    Ok(count > 0)
}

/// Whether more was carried than is owed of it, and is in no batch since.
async fn has_carried(db: &mut Db, payee: UserId, currency: Currency) -> Result<bool, StoreError> {
    let (carried,) = fetch_one!(
        db,
        (i64,),
        "SELECT CAST(COALESCE(SUM(net), 0) AS BIGINT) FROM settlements
         WHERE payee_id = $1 AND currency = $2 AND status = 'carried' AND carried_to IS NULL",
        payee.uuid(),
        currency.as_str(),
    )?;
    Ok(carried > 0)
}

async fn close_batch(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
    (close, is_by_hand): (&Close, bool),
    now: Timestamp,
) -> Result<Option<Settlement>, StoreError> {
    // First: two that close at once, of different days, wait for one another here, and the second finds nothing.
    lock_wallet(db, payee, currency, now).await?;
    // By itself, what was carried waits for the next thing that is earned.
    let is_worth_it = is_open(db, payee, currency, close.until).await?
        || (is_by_hand && has_carried(db, payee, currency).await?);
    if !is_worth_it {
        return Ok(None);
    }
    let id = SettlementId::from(clock::new_uuid());
    if !insert(db, id, payee, currency, close, now).await? {
        return Ok(None);
    }
    let items = take_items(db, id, payee, currency, close.until).await?;
    let carry_in = take_carried(db, id, payee, currency).await?;
    sum_up(db, id, &items, carry_in, close.minimum, close.period_end).await?;
    let closed = lock_settlement(db, id).await?;
    let name = match closed.status {
        SettlementStatus::Carried => "SettlementCarried",
        SettlementStatus::Closed | SettlementStatus::Released => "SettlementCreated",
    };
    publish(db, name, &closed, &json!({}), now).await?;
    Ok(Some(closed))
}

async fn insert(
    db: &mut Db,
    id: SettlementId,
    payee: UserId,
    currency: Currency,
    close: &Close,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO settlements
             (id, payee_id, currency, period_start, period_end, pay_on, release_at, status,
              created_at)
         VALUES ($1, $2, $3, $4, $4, $5, $6, 'closed', $7)
         ON CONFLICT (payee_id, currency, period_end) DO NOTHING",
        id.uuid(),
        payee.uuid(),
        currency.as_str(),
        close.period_end.to_string(),
        close.pay_on.to_string(),
        close.release_at.millis(),
        now.millis(),
    )?;
    Ok(inserted > 0)
}

/// What was taken back counts at once: its money is not pending any more.
async fn take_items(
    db: &mut Db,
    id: SettlementId,
    payee: UserId,
    currency: Currency,
    until: Timestamp,
) -> Result<SumRow, StoreError> {
    execute!(
        db,
        "UPDATE settlement_items SET settlement_id = $1
         WHERE payee_id = $2 AND currency = $3 AND settlement_id IS NULL
           AND (created_at < $4 OR source_type IN ('refund', 'dispute'))",
        id.uuid(),
        payee.uuid(),
        currency.as_str(),
        until.millis(),
    )?;
    fetch_one!(
        db,
        SumRow,
        "SELECT MIN(created_at) AS first_at,
                CAST(COALESCE(SUM(CASE WHEN source_type = 'payment' THEN gross END), 0) AS BIGINT)
                    AS gross,
                CAST(COALESCE(SUM(CASE WHEN source_type <> 'payment' THEN -gross END), 0) AS BIGINT)
                    AS refunds,
                CAST(COALESCE(SUM(fee), 0) AS BIGINT) AS fee,
                CAST(COALESCE(SUM(fee_vat), 0) AS BIGINT) AS fee_vat,
                CAST(COALESCE(SUM(withholding), 0) AS BIGINT) AS withholding,
                CAST(COALESCE(SUM(elsewhere), 0) AS BIGINT) AS elsewhere
         FROM settlement_items
         WHERE settlement_id = $1",
        id.uuid(),
    )
}

async fn take_carried(
    db: &mut Db,
    id: SettlementId,
    payee: UserId,
    currency: Currency,
) -> Result<i64, StoreError> {
    execute!(
        db,
        "UPDATE settlements SET carried_to = $1
         WHERE payee_id = $2 AND currency = $3 AND status = 'carried' AND carried_to IS NULL",
        id.uuid(),
        payee.uuid(),
        currency.as_str(),
    )?;
    let (carried,) = fetch_one!(
        db,
        (i64,),
        // Of this payee's only: there is no index on `carried_to`.
        "SELECT CAST(COALESCE(SUM(net), 0) AS BIGINT) FROM settlements
         WHERE payee_id = $2 AND currency = $3 AND carried_to = $1",
        id.uuid(),
        payee.uuid(),
        currency.as_str(),
    )?;
    Ok(carried)
}

async fn sum_up(
    db: &mut Db,
    id: SettlementId,
    sums: &SumRow,
    carry_in: i64,
    minimum: i64,
    period_end: Date,
) -> Result<(), StoreError> {
    let net = [sums.refunds, sums.fee, sums.fee_vat, sums.withholding]
        .into_iter()
        .fold(sums.gross, i64::saturating_sub)
        .saturating_add(sums.elsewhere)
        .saturating_add(carry_in);
    let is_worth_it = net > 0 && net >= minimum;
    let status = if is_worth_it { SettlementStatus::Closed } else { SettlementStatus::Carried };
    let first = sums.first_at.map(Timestamp::from_millis);
    let first = first.and_then(|at| crate::domain::calendar::day_of(at).ok());
    execute!(
        db,
        "UPDATE settlements
         SET gross = $2, refunds = $3, fee = $4, fee_vat = $5, withholding = $6, elsewhere = $7,
             carry_in = $8, net = $9, status = $10, period_start = $11
         WHERE id = $1",
        id.uuid(),
        sums.gross,
        sums.refunds,
        sums.fee,
        sums.fee_vat,
        sums.withholding,
        sums.elsewhere,
        carry_in,
        net,
        status.as_str(),
        first.map_or(period_end, |first| first.min(period_end)).to_string(),
    )
    .map(|_| ())
}

/// Tells the rest of the system of a batch; `more` is said besides.
pub(super) async fn publish(
    db: &mut Db,
    name: &'static str,
    settlement: &Settlement,
    more: &Value,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut data = json!({
        "settlement_id": settlement.id,
        "payee_id": settlement.payee,
        "amount": settlement.net,
        "currency": settlement.currency,
        "pay_on": settlement.pay_on.to_string(),
        "seq": settlement.version,
    });
    if let (Some(data), Some(more)) = (data.as_object_mut(), more.as_object()) {
        data.extend(more.clone());
    }
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name,
        subject: settlement.id.to_string(),
        at: now,
        data,
    };
    outbox::append(db, &event).await
}
