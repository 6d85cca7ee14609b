//! Items: what a payment gave its payee, and what each of its refunds took back. Written once.

use uuid::Uuid;

use crate::domain::ids::{PaymentId, SettlementId, UserId};
use crate::domain::money::Currency;
use crate::domain::settlements::{ItemSource, Share};
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, execute, fetch_all, fetch_one, fetch_optional};

/// An item about to exist, with the signs that its parts have.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewItem {
    pub(super) source: ItemSource,
    pub(super) id: Uuid,
    pub(super) payment: PaymentId,
    /// `None`: the platform's own.
    pub(super) payee: Option<UserId>,
    pub(super) currency: Currency,
    pub(super) share: Share,
    pub(super) elsewhere: i64,
}

#[derive(sqlx::FromRow)]
struct ShareRow {
    items: i64,
    gross: i64,
    fee: i64,
    fee_vat: i64,
    withholding: i64,
}

/// An item of a batch as somebody looks at it, with the signs that its parts have.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct SeenItem {
    /// `payment`, `refund`, `failed_refund`, `dispute` or `dispute_won`.
    pub source_type: String,
    pub source_id: Uuid,
    pub payment_id: Uuid,
    pub gross: i64,
    pub fee: i64,
    pub fee_vat: i64,
    pub withholding: i64,
    pub elsewhere: i64,
    pub created_at: i64,
}

/// Where the next page of items begins: behind this source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ItemCursor {
    pub id: Uuid,
    pub source: String,
}

impl Store {
    /// Items of a batch, by their sources; at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_settlement_items(
        &self,
        settlement: SettlementId,
        after: Option<ItemCursor>,
        limit: i64,
    ) -> Result<Vec<SeenItem>, StoreError> {
        let ItemCursor { id, source } =
            after.unwrap_or(ItemCursor { id: Uuid::nil(), source: String::new() });
        self.read(move |db| {
            Box::pin(async move {
                fetch_all!(
                    db,
                    SeenItem,
                    "SELECT source_type, source_id, payment_id, gross, fee, fee_vat, withholding,
                            elsewhere, created_at
                     FROM settlement_items
                     WHERE settlement_id = $1
                       AND (source_id > $2 OR (source_id = $2 AND source_type > $3))
                     ORDER BY source_id, source_type
                     LIMIT $4",
                    settlement.uuid(),
                    id,
                    source,
                    limit,
                )
            })
        })
        .await
    }
}

/// Writes an item; `false` where there is one for the same.
pub(super) async fn insert_item(
    db: &mut Db,
    item: &NewItem,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO settlement_items
             (source_type, source_id, payment_id, payee_id, currency, gross, fee, fee_vat,
              withholding, elsewhere, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
         ON CONFLICT (source_type, source_id) DO NOTHING",
        item.source.as_str(),
        item.id,
        item.payment.uuid(),
        item.payee.map(UserId::uuid),
        item.currency.as_str(),
        item.share.gross,
        item.share.fee,
        item.share.fee_vat,
        item.share.withholding,
        item.elsewhere,
        now.millis(),
    )?;
    Ok(inserted > 0)
}

/// What is left of a payment's release after its refunds; `None` where it was not released.
pub(super) async fn find_left(
    db: &mut Db,
    payment: PaymentId,
) -> Result<Option<Share>, StoreError> {
    let row = fetch_one!(
        db,
        ShareRow,
        "SELECT COUNT(*) AS items,
                CAST(COALESCE(SUM(gross), 0) AS BIGINT) AS gross,
                CAST(COALESCE(SUM(fee), 0) AS BIGINT) AS fee,
                CAST(COALESCE(SUM(fee_vat), 0) AS BIGINT) AS fee_vat,
                CAST(COALESCE(SUM(withholding), 0) AS BIGINT) AS withholding
         FROM settlement_items
         WHERE payment_id = $1",
        payment.uuid(),
    )?;
    let ShareRow { items, gross, fee, fee_vat, withholding } = row;
    Ok((items > 0).then_some(Share { gross, fee, fee_vat, withholding }))
}

/// What an item took back, and from where: its parts, and what was not taken from what is pending.
pub(super) async fn find_item(
    db: &mut Db,
    source: ItemSource,
    id: Uuid,
) -> Result<Option<(Share, i64)>, StoreError> {
    let row = fetch_optional!(
        db,
        (i64, i64, i64, i64, i64),
        "SELECT gross, fee, fee_vat, withholding, elsewhere
         FROM settlement_items
         WHERE source_type = $1 AND source_id = $2",
        source.as_str(),
        id,
    )?;
    Ok(row.map(|(gross, fee, fee_vat, withholding, elsewhere)| {
        (Share { gross, fee, fee_vat, withholding }, elsewhere)
    }))
}

/// What is pending for a payee and promised to no day: items without a batch, and batches that wait to be carried on.
pub(super) async fn find_free(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
) -> Result<i64, StoreError> {
    let (items,) = fetch_one!(
        db,
        (i64,),
        "SELECT CAST(COALESCE(SUM(gross - fee - fee_vat - withholding + elsewhere), 0) AS BIGINT)
         FROM settlement_items
         WHERE payee_id = $1 AND currency = $2 AND settlement_id IS NULL",
        payee.uuid(),
        currency.as_str(),
    )?;
    let (carried,) = fetch_one!(
        db,
        (i64,),
        "SELECT CAST(COALESCE(SUM(net), 0) AS BIGINT)
         FROM settlements
         WHERE payee_id = $1 AND currency = $2 AND status = 'carried' AND carried_to IS NULL",
        payee.uuid(),
        currency.as_str(),
    )?;
    Ok(items.saturating_add(carried))
}
