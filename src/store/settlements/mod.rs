//! Settlements as rows: [`releases`] is what payees earn, [`refunds`] and [`disputes`] what is taken back from them,
//! [`batches`] how it is summed up day by day, and [`payouts`] how it gets to their wallets.
//!
//! Invariant: what is pending for a payee in the ledger is what the items without a batch come to, with the batches
//! that were carried and those whose day has not come. Whoever takes from it has the payee's wallet locked.

pub mod batches;
pub mod disputes;
mod items;
pub mod payouts;
pub mod refunds;
pub mod releases;

use jiff::civil::Date;
use uuid::Uuid;

pub use self::items::{ItemCursor, SeenItem};
use super::{Db, Store, StoreError, fetch_all, fetch_optional};
use crate::domain::ids::{SettlementId, UserId};
use crate::domain::money::Currency;
use crate::domain::settlements::SettlementStatus;
use crate::domain::time::Timestamp;

/// A batch as it stands, in minor units.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settlement {
    pub id: SettlementId,
    pub payee: UserId,
    pub currency: Currency,
    pub period_start: Date,
    pub period_end: Date,
    /// The business day on which its money comes.
    pub pay_on: Date,
    pub release_at: Timestamp,
    pub gross: i64,
    pub refunds: i64,
    pub fee: i64,
    pub fee_vat: i64,
    pub withholding: i64,
    /// What refunds took from the wallet at once, or left as a debt.
    pub elsewhere: i64,
    pub carry_in: i64,
    pub net: i64,
    pub debt_repaid: i64,
    pub status: SettlementStatus,
    pub version: i64,
}

/// Which batches are looked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettlementFilter {
    pub payee: Option<UserId>,
    pub status: Option<SettlementStatus>,
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    payee_id: Uuid,
    currency: String,
    period_start: String,
    period_end: String,
    pay_on: String,
    release_at: i64,
    gross: i64,
    refunds: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
    elsewhere: i64,
    carry_in: i64,
    net: i64,
    debt_repaid: i64,
    status: String,
    version: i64,
}

impl Row {
    /// `None` where a later release has written something that this one does not know.
    fn into_settlement(self) -> Option<Settlement> {
        Some(Settlement {
            id: self.id.into(),
            payee: self.payee_id.into(),
            currency: self.currency.parse().ok()?,
            period_start: self.period_start.parse().ok()?,
            period_end: self.period_end.parse().ok()?,
            pay_on: self.pay_on.parse().ok()?,
            release_at: Timestamp::from_millis(self.release_at),
            gross: self.gross,
            refunds: self.refunds,
            fee: self.fee,
            fee_vat: self.fee_vat,
            withholding: self.withholding,
            elsewhere: self.elsewhere,
            carry_in: self.carry_in,
            net: self.net,
            debt_repaid: self.debt_repaid,
            status: SettlementStatus::parse(&self.status)?,
            version: self.version,
        })
    }
}

/// A batch, locked until the transaction ends.
async fn lock_settlement(db: &mut Db, id: SettlementId) -> Result<Settlement, StoreError> {
    let select = db.dialect(
        "SELECT id, payee_id, currency, period_start, period_end, pay_on, release_at, gross,
                refunds, fee, fee_vat, withholding, elsewhere, carry_in, net, debt_repaid, status,
                version
         FROM settlements
         WHERE id = $1",
        "SELECT id, payee_id, currency, period_start, period_end, pay_on, release_at, gross,
                refunds, fee, fee_vat, withholding, elsewhere, carry_in, net, debt_repaid, status,
                version
         FROM settlements
         WHERE id = $1
         FOR UPDATE",
    );
    let row = fetch_optional!(db, Row, select, id.uuid())?;
    row.and_then(Row::into_settlement).ok_or(StoreError::NotFound)
}

impl Store {
    /// A payee's batches from before `before`, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_settlements(
        &self,
        payee: UserId,
        before: Option<SettlementId>,
        limit: i64,
    ) -> Result<Vec<Settlement>, StoreError> {
        let before = before.map_or(Uuid::max(), SettlementId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, payee_id, currency, period_start, period_end, pay_on,
                                release_at, gross, refunds, fee, fee_vat, withholding, elsewhere,
                                carry_in, net, debt_repaid, status, version
                         FROM settlements
                         WHERE payee_id = $1 AND id < $2
                         ORDER BY id DESC
                         LIMIT $3",
                        payee.uuid(),
                        before,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(Row::into_settlement).collect())
    }

    /// Batches from before `before`, whoever's, the newest first; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_all_settlements(
        &self,
        filter: SettlementFilter,
        before: Option<SettlementId>,
        limit: i64,
    ) -> Result<Vec<Settlement>, StoreError> {
        let before = before.map_or(Uuid::max(), SettlementId::uuid);
        let payee = filter.payee.map_or(Uuid::nil(), UserId::uuid);
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        Row,
                        "SELECT id, payee_id, currency, period_start, period_end, pay_on,
                                release_at, gross, refunds, fee, fee_vat, withholding, elsewhere,
                                carry_in, net, debt_repaid, status, version
                         FROM settlements
                         WHERE id < $1 AND ($2 = $3 OR payee_id = $2)
                           AND ($4 = '' OR status = $4)
                         ORDER BY id DESC
                         LIMIT $5",
                        before,
                        payee,
                        Uuid::nil(),
                        filter.status.map_or("", SettlementStatus::as_str),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(Row::into_settlement).collect())
    }

    /// A batch.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_settlement(
        &self,
        id: SettlementId,
    ) -> Result<Option<Settlement>, StoreError> {
        let row = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        Row,
                        "SELECT id, payee_id, currency, period_start, period_end, pay_on,
                                release_at, gross, refunds, fee, fee_vat, withholding, elsewhere,
                                carry_in, net, debt_repaid, status, version
                         FROM settlements
                         WHERE id = $1",
                        id.uuid(),
                    )
                })
            })
            .await?;
        Ok(row.and_then(Row::into_settlement))
    }
}
