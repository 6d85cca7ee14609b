//! Orders as rows: what is paid for, as the app's own server has registered it.
//!
//! Invariant: the row is locked before a payment of it begins and before it is changed, so that nobody pays a price
//! that was changed meanwhile.

use serde_json::{Value, json};
use uuid::Uuid;

use super::audit::{Deed, record};
use super::{Db, Store, StoreError, execute, fetch_one, fetch_optional};
use crate::domain::audit::{Action, Target};
use crate::domain::ids::UserId;
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey};
use crate::domain::time::Timestamp;

/// An order as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub key: OrderKey,
    /// `None`: whoever pays.
    pub payer: Option<UserId>,
    /// `None`: the platform keeps it.
    pub payee: Option<UserId>,
    pub amount: Amount,
    pub currency: Currency,
    pub name: String,
    pub fee: FeeBps,
    /// When the payee had earned it.
    pub released_at: Option<Timestamp>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
}

/// What became of registering an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PutOrder {
    Created(Order),
    /// Changed, or as it was.
    Changed(Order),
    /// It is being paid for, or was: it stays as it is.
    HasPayment,
}

#[derive(sqlx::FromRow)]
struct OrderRow {
    order_type: String,
    order_id: String,
    payer_id: Option<Uuid>,
    payee_id: Option<Uuid>,
    amount: i64,
    currency: String,
    name: String,
    fee_bps: i64,
    released_at: Option<i64>,
    created_at: i64,
    updated_at: i64,
}

impl OrderRow {
    fn into_order(self) -> Result<Order, StoreError> {
        let key = OrderKey::parse(&self.order_type, &self.order_id);
        Ok(Order {
            key: key.map_err(|_| StoreError::NotFound)?,
            payer: self.payer_id.map(UserId::from),
            payee: self.payee_id.map(UserId::from),
            amount: Amount::new(self.amount).map_err(|_| StoreError::NotFound)?,
            currency: self.currency.parse().map_err(|_| StoreError::NotFound)?,
            name: self.name,
            fee: FeeBps::new(self.fee_bps).map_err(|_| StoreError::NotFound)?,
            released_at: self.released_at.map(Timestamp::from_millis),
            created_at: Timestamp::from_millis(self.created_at),
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

/// An order, if it is registered.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_order(db: &mut Db, key: &OrderKey) -> Result<Option<Order>, StoreError> {
    let row = fetch_optional!(
        db,
        OrderRow,
        "SELECT order_type, order_id, payer_id, payee_id, amount, currency, name, fee_bps,
                released_at, created_at, updated_at
         FROM orders
         WHERE order_type = $1 AND order_id = $2",
        key.order_type(),
        key.order_id(),
    )?;
    row.map(OrderRow::into_order).transpose()
}

/// An order, locked until the transaction ends.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn lock_order(db: &mut Db, key: &OrderKey) -> Result<Option<Order>, StoreError> {
    let select = db.dialect(
        "SELECT order_type, order_id, payer_id, payee_id, amount, currency, name, fee_bps,
                released_at, created_at, updated_at
         FROM orders
         WHERE order_type = $1 AND order_id = $2",
        "SELECT order_type, order_id, payer_id, payee_id, amount, currency, name, fee_bps,
                released_at, created_at, updated_at
         FROM orders
         WHERE order_type = $1 AND order_id = $2
         FOR NO KEY UPDATE",
    );
    let row = fetch_optional!(db, OrderRow, select, key.order_type(), key.order_id())?;
    row.map(OrderRow::into_order).transpose()
}

impl Store {
    /// An order, if it is registered.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_order(&self, key: OrderKey) -> Result<Option<Order>, StoreError> {
        self.read(move |db| Box::pin(async move { find_order(db, &key).await })).await
    }

    /// Registers an order, or changes it while nobody pays or has paid for it.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn put_order(&self, order: NewOrder, now: Timestamp) -> Result<PutOrder, StoreError> {
        self.write(move |db| {
            Box::pin(async move { put(db, &order, now).await.map(|(put, _)| put) })
        })
        .await
    }

    /// As [`Self::put_order`], because an administrator says so: what that changes is in the audit.
    ///
    /// # Errors
    /// [`StoreError`] when the database refuses.
    pub async fn put_order_by_hand(
        &self,
        order: NewOrder,
        by: UserId,
        now: Timestamp,
    ) -> Result<PutOrder, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let (put, before) = put(db, &order, now).await?;
                let (action, after) = match &put {
                    PutOrder::Created(order) => (Action::OrderRegistered, order),
                    PutOrder::Changed(order) => (Action::OrderChanged, order),
                    PutOrder::HasPayment => return Ok(put),
                };
                if before.as_ref() != Some(after) {
                    let deed = Deed {
                        by,
                        action,
                        target: Target::Order(after.key.clone()),
                        reason: None,
                        before: before.as_ref().map_or(Value::Null, said),
                        after: said(after),
                    };
                    record(db, &deed, now).await?;
                }
                Ok(put)
            })
        })
        .await
    }
}

/// Gives what the order was before, too.
async fn put(
    db: &mut Db,
    order: &NewOrder,
    now: Timestamp,
) -> Result<(PutOrder, Option<Order>), StoreError> {
    if insert(db, order, now).await? {
        let created = find_order(db, &order.key).await?.ok_or(StoreError::NotFound)?;
        return Ok((PutOrder::Created(created), None));
    }
    let known = lock_order(db, &order.key).await?.ok_or(StoreError::NotFound)?;
    if is_same(&known, order) {
        return Ok((PutOrder::Changed(known.clone()), Some(known)));
    }
    if has_payment(db, &order.key).await? {
        return Ok((PutOrder::HasPayment, Some(known)));
    }
    update(db, order, now).await?;
    let changed = find_order(db, &order.key).await?.ok_or(StoreError::NotFound)?;
    Ok((PutOrder::Changed(changed), Some(known)))
}

/// What the audit says of an order.
fn said(order: &Order) -> Value {
    json!({
        "payer_id": order.payer,
        "payee_id": order.payee,
        "amount": order.amount,
        "currency": order.currency,
        "fee_bps": order.fee.get(),
    })
}

async fn insert(db: &mut Db, order: &NewOrder, now: Timestamp) -> Result<bool, StoreError> {
    let inserted = execute!(
        db,
        "INSERT INTO orders
             (order_type, order_id, payer_id, payee_id, amount, currency, name, fee_bps,
              created_at, updated_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
         ON CONFLICT (order_type, order_id) DO NOTHING",
        order.key.order_type(),
        order.key.order_id(),
        order.payer.map(UserId::uuid),
        order.payee.map(UserId::uuid),
        order.amount.minor(),
        order.currency.as_str(),
        order.name.as_str(),
        order.fee.get(),
        now.millis(),
    )?;
    Ok(inserted > 0)
}

async fn update(db: &mut Db, order: &NewOrder, now: Timestamp) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE orders
         SET payer_id = $3, payee_id = $4, amount = $5, currency = $6, name = $7, fee_bps = $8,
             updated_at = $9
         WHERE order_type = $1 AND order_id = $2",
        order.key.order_type(),
        order.key.order_id(),
        order.payer.map(UserId::uuid),
        order.payee.map(UserId::uuid),
        order.amount.minor(),
        order.currency.as_str(),
        order.name.as_str(),
        order.fee.get(),
        now.millis(),
    )
    .map(|_| ())
}

fn is_same(known: &Order, order: &NewOrder) -> bool {
    known.payer == order.payer
        && known.payee == order.payee
        && known.amount == order.amount
        && known.currency == order.currency
        && known.name == order.name.as_str()
        && known.fee == order.fee
}

/// Whether an order is being paid for, or was.
async fn has_payment(db: &mut Db, key: &OrderKey) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM payments
         WHERE order_type = $1 AND order_id = $2
           AND status NOT IN ('canceled', 'failed', 'expired')",
        key.order_type(),
        key.order_id(),
    )?;
    Ok(count > 0)
}
