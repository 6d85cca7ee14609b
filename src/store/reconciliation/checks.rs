//! The ledger with itself and with our rows: the trial balance, what is held, and what is in escrow.
//!
//! Invariant: what is compared is of one snapshot, so that whatever does not agree has never agreed.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::domain::ids::{DisputeId, RefundId, WithdrawalId};
use crate::domain::reconciliation::{Break, Bucket};
use crate::store::{Db, Store, StoreError, fetch_all};

/// Holds that are looked at; more of them are open at a time nowhere, or something is very wrong.
const HOLDS_MAX: i64 = 100_000;

impl Store {
    /// Everything about the ledger as a whole that does not agree.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_ledger_findings(&self) -> Result<Vec<Break>, StoreError> {
        self.read_snapshot(|db| {
            Box::pin(async move {
                let mut found = check_trial_balance(db).await?;
                found.extend(check_holds(db).await?);
                found.extend(check_escrow(db).await?);
                Ok(found)
            })
        })
        .await
    }
}

/// A finding, with what the rows and the ledger say.
#[must_use]
pub fn finding(subject: String, rows: i64, ledger: i64, says: &str) -> Break {
    Break {
        bucket: Bucket::Ledger,
        local_ref: Some(subject.clone()),
        subject,
        order: String::new(),
        remote_ref: None,
        local_amount: Some(rows),
        remote_amount: Some(ledger),
        says: says.to_owned(),
    }
}

async fn check_trial_balance(db: &mut Db) -> Result<Vec<Break>, StoreError> {
    let rows = fetch_all!(
        db,
        (String, i64, i64, i64, i64),
        "SELECT currency, CAST(SUM(debits_posted) AS BIGINT), CAST(SUM(credits_posted) AS BIGINT),
                CAST(SUM(debits_pending) AS BIGINT), CAST(SUM(credits_pending) AS BIGINT)
         FROM ledger_accounts
         GROUP BY currency
         ORDER BY currency",
    )?;
    let mut found = Vec::new();
    for (currency, debits, credits, held_debits, held_credits) in rows {
        let says = "debits and credits are not the same";
        if debits != credits {
            found.push(finding(format!("trial_balance:{currency}"), debits, credits, says));
        }
        if held_debits != held_credits {
            let subject = format!("trial_balance_held:{currency}");
            found.push(finding(subject, held_debits, held_credits, says));
        }
    }
    Ok(found)
}

/// Every open refund and withdrawal holds what it is about, every open dispute what there is of it, and nothing else is held
/// for one.
async fn check_holds(db: &mut Db) -> Result<Vec<Break>, StoreError> {
    let held = fetch_all!(
        db,
        (String, i64),
        "SELECT e.key, CAST(SUM(t.amount) AS BIGINT)
         FROM ledger_transfers t
         JOIN ledger_entries e ON e.id = t.entry_id
         WHERE t.phase = 'pending' AND e.kind IN ('refund_hold', 'withdraw', 'dispute_hold')
           AND NOT EXISTS (SELECT 1 FROM ledger_transfers r WHERE r.hold_id = t.id)
         GROUP BY e.key
         ORDER BY e.key
         LIMIT $1",
        HOLDS_MAX,
    )?;
    let refunds = fetch_all!(
        db,
        (Uuid, i64),
        "SELECT id, amount FROM refunds WHERE status IN ('requested', 'sent', 'unknown')
         UNION ALL
         SELECT id, amount FROM refunds WHERE status = 'needs_review'",
    )?;
    let withdrawals = fetch_all!(
        db,
        (Uuid, i64),
        "SELECT id, amount FROM withdrawals
         WHERE status IN ('requested', 'approved', 'sending', 'unknown')",
    )?;
    let disputes = fetch_all!(
        db,
        (Uuid, i64),
        "SELECT id, covered - missing FROM disputes
         WHERE opened_at IS NOT NULL AND closed_at IS NULL",
    )?;
    let dispute =
        |(id, amount): (Uuid, i64)| (format!("dispute_hold:{}", DisputeId::from(id)), amount);
    let refund =
        |(id, amount): (Uuid, i64)| (format!("refund_hold:{}", RefundId::from(id)), amount);
    let withdrawal =
        |(id, amount): (Uuid, i64)| (format!("withdraw:{}", WithdrawalId::from(id)), amount);
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (key, amount) in refunds
        .into_iter()
        .map(refund)
        .chain(withdrawals.into_iter().map(withdrawal))
        .chain(disputes.into_iter().map(dispute))
    {
        sums.entry(key).or_default().0 = amount;
    }
    for (key, amount) in held {
        // A dispute holds what comes later by entries of their own.
        let key = match key.strip_prefix("dispute_hold:").and_then(|it| it.rsplit_once(':')) {
            Some((dispute, _)) => format!("dispute_hold:{dispute}"),
            None => key,
        };
        sums.entry(key).or_default().1 += amount;
    }
    let differ = sums.into_iter().filter(|(_, (row, held))| row != held);
    let says = "what is held is not what is open";
    Ok(differ.map(|(key, (row, held))| finding(key, row, held, says)).collect())
}

/// What is in escrow was paid, not refunded, and released to nobody.
async fn check_escrow(db: &mut Db) -> Result<Vec<Break>, StoreError> {
    let rows = fetch_all!(
        db,
        (String, i64),
        "SELECT p.currency, CAST(SUM(p.captured - p.refunded) AS BIGINT)
         FROM payments p
         WHERE p.captured > p.refunded
           AND NOT EXISTS (SELECT 1 FROM settlement_items i
                           WHERE i.source_type = 'payment' AND i.source_id = p.id)
         GROUP BY p.currency",
    )?;
    let booked = fetch_all!(
        db,
        (String, i64),
        "SELECT currency, CAST(SUM(credits_posted - debits_posted) AS BIGINT)
         FROM ledger_accounts
         WHERE family = 'escrow'
         GROUP BY currency",
    )?;
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for (currency, sum) in rows {
        sums.entry(currency).or_default().0 = sum;
    }
    for (currency, sum) in booked {
        sums.entry(currency).or_default().1 = sum;
    }
    let differ = sums.into_iter().filter(|(_, (rows, booked))| rows != booked);
    let says = "escrow is not what was paid and neither refunded nor released";
    let found = |(currency, (rows, booked)): (String, (i64, i64))| {
        finding(format!("escrow:{currency}"), rows, booked, says)
    };
    Ok(differ.map(found).collect())
}
