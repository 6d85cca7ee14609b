//! What is compared about orders: the provider's movements as they were listed, our rows, and the ledger's entries.
//!
//! Invariant: the three are of one snapshot, and have everything about an order, of whatever day.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::listed::{RemoteRow, remote};
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::refunds::RefundStatus;
use crate::domain::reconciliation::matching::{Booked, Kind, Local, Remote, Standing, Subject};
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::{Db, Store, StoreError, fetch_all};

/// The three lists.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    pub remote: Vec<Remote>,
    pub local: Vec<Local>,
    pub booked: Vec<Booked>,
}

/// Where we look for what we say has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Own {
    Charges,
    Refunds,
    Payouts,
    Booked,
}

impl Own {
    pub const ALL: [Self; 4] = [Self::Charges, Self::Refunds, Self::Payouts, Self::Booked];
}

/// Where a list of ours goes on: behind this row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnCursor {
    at: i64,
    id: Uuid,
}

impl Store {
    /// Everything about these orders of a provider's.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_sides(
        &self,
        provider: &str,
        orders: Vec<String>,
    ) -> Result<Sides, StoreError> {
        let provider = provider.to_owned();
        self.read_snapshot(move |db| {
            Box::pin(async move {
                let listed = json!(orders).to_string();
                let (mut local, payments) = list_charges(db, &provider, &listed).await?;
                local.extend(list_refunds(db, &payments).await?);
                let withdrawals = list_payouts(db, &provider, &orders).await?;
                let mut named = payments;
                named.extend(
                    withdrawals
                        .iter()
                        .filter_map(|it| Some((Uuid::try_parse(&it.id).ok()?, it.order.clone()))),
                );
                local.extend(withdrawals);
                let booked = list_booked(db, &provider, &named).await?;
                Ok(Sides { remote: list_remote(db, &provider, &listed).await?, local, booked })
            })
        })
        .await
    }

    /// Orders about which we say that something has happened in a time, page by page; an order may come several times.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_own_orders(
        &self,
        provider: &str,
        own: Own,
        (from, until): (Timestamp, Timestamp),
        after: Option<OwnCursor>,
        limit: i64,
    ) -> Result<(Vec<String>, Option<OwnCursor>), StoreError> {
        let provider = provider.to_owned();
        let after = after.unwrap_or(OwnCursor { at: from.millis(), id: Uuid::nil() });
        let rows: Vec<(i64, Uuid, Uuid, Option<String>)> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = own_orders(own);
                    fetch_all!(
                        db,
                        (i64, Uuid, Uuid, Option<String>),
                        select,
                        provider,
                        until.millis(),
                        after.at,
                        after.id,
                        limit,
                    )
                })
            })
            .await?;
        let is_full = i64::try_from(rows.len()).unwrap_or(i64::MAX) >= limit;
        let next =
            rows.last().filter(|_| is_full).map(|(at, id, ..)| OwnCursor { at: *at, id: *id });
        // A payout's order is its reference.
        let order = |(_, _, reference, order): (i64, Uuid, Uuid, Option<String>)| {
            order.unwrap_or_else(|| reference.to_string())
        };
        Ok((rows.into_iter().map(order).collect(), next))
    }
}

const fn own_orders(own: Own) -> &'static str {
    match own {
        Own::Charges => {
            "SELECT resolved_at, id, payment_id, provider_order_id FROM payment_attempts
             WHERE provider = $1 AND status = 'succeeded' AND resolved_at < $2
               AND (resolved_at, id) > ($3, $4)
             ORDER BY resolved_at, id
             LIMIT $5"
        }
        Own::Refunds => {
            "SELECT r.updated_at, r.id, r.payment_id,
                    (SELECT a.provider_order_id FROM payment_attempts a
                     WHERE a.payment_id = r.payment_id
                     ORDER BY CASE WHEN a.status = 'succeeded' THEN 0 ELSE 1 END, a.attempt_no DESC
                     LIMIT 1)
             FROM refunds r
             JOIN payments p ON p.id = r.payment_id AND p.provider = $1
             WHERE r.status = 'succeeded' AND r.updated_at < $2 AND (r.updated_at, r.id) > ($3, $4)
             ORDER BY r.updated_at, r.id
             LIMIT $5"
        }
        Own::Payouts => {
            "SELECT updated_at, id, id, NULL FROM withdrawals
             WHERE provider = $1 AND status IN ('paid', 'returned') AND updated_at < $2
               AND (updated_at, id) > ($3, $4)
             ORDER BY updated_at, id
             LIMIT $5"
        }
        Own::Booked => {
            "SELECT e.at, e.id, e.reference_id,
                    (SELECT a.provider_order_id FROM payment_attempts a
                     WHERE a.payment_id = e.reference_id
                     ORDER BY CASE WHEN a.status = 'succeeded' THEN 0 ELSE 1 END, a.attempt_no DESC
                     LIMIT 1)
             FROM ledger_entries e
             WHERE e.at < $2 AND (e.at, e.id) > ($3, $4)
               AND e.kind IN ('capture', 'refund', 'conflict', 'conflict_back', 'orphan',
                              'orphan_refund', 'dispute_lost', 'withdrawn')
               AND EXISTS (SELECT 1 FROM ledger_transfers t
                           JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
                           WHERE t.entry_id = e.id
                             AND a.family = 'psp:' || $1 || ':receivable')
             ORDER BY e.at, e.id
             LIMIT $5"
        }
    }
}

async fn list_remote(db: &mut Db, provider: &str, orders: &str) -> Result<Vec<Remote>, StoreError> {
    let select = db.dialect(
        "SELECT kind, order_ref, provider_key, amount, fee, at FROM recon_movements
         WHERE provider = $2 AND order_ref IN (SELECT j.value FROM json_each($1) j)",
        "SELECT kind, order_ref, provider_key, amount, fee, at FROM recon_movements
         WHERE provider = $2
           AND order_ref IN (SELECT j.value FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    let rows = fetch_all!(db, RemoteRow, select, orders, provider)?;
    Ok(rows.into_iter().filter_map(remote).collect())
}

/// Charges, and the orders of their payments.
async fn list_charges(
    db: &mut Db,
    provider: &str,
    orders: &str,
) -> Result<(Vec<Local>, HashMap<Uuid, String>), StoreError> {
    type ChargeRow = (String, Option<String>, String, i64, Uuid, i64, i64, String);
    let select = db.dialect(
        "SELECT a.provider_order_id, a.provider_key, a.status,
                coalesce(a.resolved_at, a.created_at), p.id, p.amount, p.captured, p.status
         FROM payment_attempts a
         JOIN payments p ON p.id = a.payment_id
         WHERE a.provider = $2 AND a.provider_order_id IN (SELECT j.value FROM json_each($1) j)
         ORDER BY a.attempt_no",
        "SELECT a.provider_order_id, a.provider_key, a.status,
                coalesce(a.resolved_at, a.created_at), p.id, p.amount, p.captured, p.status
         FROM payment_attempts a
         JOIN payments p ON p.id = a.payment_id
         WHERE a.provider = $2
           AND a.provider_order_id IN
               (SELECT j.value FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY a.attempt_no",
    );
    let rows = fetch_all!(db, ChargeRow, select, orders, provider)?;
    let (mut local, mut payments) = (Vec::new(), HashMap::new());
    for (order, key, attempt, at, id, amount, captured, status) in rows {
        let is_over = PaymentStatus::parse(&status).is_none_or(PaymentStatus::is_final);
        let is_taken = captured > 0;
        let standing = match (is_taken, is_over) {
            (true, _) => Standing::Done,
            (false, true) => Standing::Over,
            (false, false) => Standing::UnderWay,
        };
        // The books name the payment: they are of the attempt that has succeeded, or else of the last.
        if attempt == "succeeded" || !payments.contains_key(&id) || !is_taken {
            payments.insert(id, order.clone());
        }
        local.push(Local {
            kind: Kind::Charge,
            order,
            id: id.to_string(),
            key,
            amount: if is_taken { captured } else { amount },
            standing,
            at: Timestamp::from_millis(at),
        });
    }
    Ok((local, payments))
}

async fn list_refunds(
    db: &mut Db,
    payments: &HashMap<Uuid, String>,
) -> Result<Vec<Local>, StoreError> {
    type RefundRow = (Uuid, Uuid, i64, String, Option<String>, i64);
    let select = db.dialect(
        "SELECT id, payment_id, amount, status, provider_key, updated_at FROM refunds
         WHERE payment_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "SELECT id, payment_id, amount, status, provider_key, updated_at FROM refunds
         WHERE payment_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    let ids: Vec<&Uuid> = payments.keys().collect();
    let rows = fetch_all!(db, RefundRow, select, json!(ids).to_string())?;
    let local = |(id, payment, amount, status, key, at): RefundRow| {
        let standing = match RefundStatus::parse(&status)? {
            RefundStatus::Succeeded => Standing::Done,
            RefundStatus::Failed => Standing::Over,
            RefundStatus::Requested
            | RefundStatus::Sent
            | RefundStatus::Unknown
            | RefundStatus::NeedsReview => Standing::UnderWay,
        };
        let (order, at) = (payments.get(&payment)?.clone(), Timestamp::from_millis(at));
        let (kind, id) = (Kind::Refund, id.to_string());
        Some(Local { kind, order, id, key, amount, standing, at })
    };
    Ok(rows.into_iter().filter_map(local).collect())
}

async fn list_payouts(
    db: &mut Db,
    provider: &str,
    orders: &[String],
) -> Result<Vec<Local>, StoreError> {
    let ids: Vec<Uuid> = orders.iter().filter_map(|it| Uuid::try_parse(it).ok()).collect();
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    type PayoutRow = (Uuid, i64, String, Option<String>, i64);
    let select = db.dialect(
        "SELECT id, amount, status, provider_key, updated_at FROM withdrawals
         WHERE provider = $2
           AND id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)",
        "SELECT id, amount, status, provider_key, updated_at FROM withdrawals
         WHERE provider = $2
           AND id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)",
    );
    let rows = fetch_all!(db, PayoutRow, select, json!(ids).to_string(), provider)?;
    let local = |(id, amount, status, key, at): PayoutRow| {
        let standing = match WithdrawalStatus::parse(&status)? {
            WithdrawalStatus::Paid | WithdrawalStatus::Returned => Standing::Done,
            WithdrawalStatus::Rejected | WithdrawalStatus::Canceled | WithdrawalStatus::Failed => {
                Standing::Over
            }
            WithdrawalStatus::Requested
            | WithdrawalStatus::Approved
            | WithdrawalStatus::Sending
            | WithdrawalStatus::Unknown => Standing::UnderWay,
        };
        let (id, at) = (id.to_string(), Timestamp::from_millis(at));
        Some(Local { kind: Kind::Payout, order: id.clone(), id, key, amount, standing, at })
    };
    Ok(rows.into_iter().filter_map(local).collect())
}

async fn list_booked(
    db: &mut Db,
    provider: &str,
    named: &HashMap<Uuid, String>,
) -> Result<Vec<Booked>, StoreError> {
    type BookedRow = (String, String, Uuid, i64, bool, i64);
    let select = db.dialect(
        "SELECT e.key, e.kind, e.reference_id, e.at,
                EXISTS (SELECT 1 FROM ledger_entries k
                        WHERE k.reference_id = e.reference_id AND k.kind = 'conflict_kept'),
                CAST(SUM(CASE WHEN t.debit_id = a.id THEN t.amount ELSE -t.amount END) AS BIGINT)
         FROM ledger_entries e
         JOIN ledger_transfers t ON t.entry_id = e.id AND t.phase IN ('single', 'post')
         JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
         WHERE e.reference_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)
           AND a.family = 'psp:' || $2 || ':receivable'
         GROUP BY e.id, e.key, e.kind, e.reference_id, e.at",
        "SELECT e.key, e.kind, e.reference_id, e.at,
                EXISTS (SELECT 1 FROM ledger_entries k
                        WHERE k.reference_id = e.reference_id AND k.kind = 'conflict_kept'),
                CAST(SUM(CASE WHEN t.debit_id = a.id THEN t.amount ELSE -t.amount END) AS BIGINT)
         FROM ledger_entries e
         JOIN ledger_transfers t ON t.entry_id = e.id AND t.phase IN ('single', 'post')
         JOIN ledger_accounts a ON a.id IN (t.debit_id, t.credit_id)
         WHERE e.reference_id IN
               (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
           AND a.family = 'psp:' || $2 || ':receivable'
         GROUP BY e.id, e.key, e.kind, e.reference_id, e.at",
    );
    let ids: Vec<&Uuid> = named.keys().collect();
    let rows = fetch_all!(db, BookedRow, select, json!(ids).to_string(), provider)?;
    let booked = |(key, kind, reference, at, is_kept, sum): BookedRow| {
        let tail = |prefix: &str| key.strip_prefix(prefix).map(str::to_owned);
        let (kind, subject) = match kind.as_str() {
            "capture" => (Kind::Charge, Subject::Row(reference.to_string())),
            "refund" => (Kind::Refund, Subject::Row(tail("refund:")?)),
            // Two people have said that it is what was paid.
            "conflict" if is_kept => (Kind::Charge, Subject::Row(reference.to_string())),
            "conflict" => (Kind::Charge, Subject::Aside(None)),
            "orphan" => (Kind::Charge, Subject::Aside(Some(tail(&format!("orphan:{provider}:"))?))),
            "conflict_back" | "orphan_refund" => (Kind::Refund, Subject::GivenBack(key)),
            "dispute_lost" => (Kind::Refund, Subject::TakenBack(key)),
            "withdrawn" => (Kind::Payout, Subject::Row(reference.to_string())),
            _ => return None,
        };
        let (order, at) = (named.get(&reference)?.clone(), Timestamp::from_millis(at));
        Some(Booked { kind, order, subject, amount: sum.saturating_abs(), at })
    };
    Ok(rows.into_iter().filter_map(booked).collect())
}
