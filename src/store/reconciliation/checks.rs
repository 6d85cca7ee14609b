//! The ledger with itself and with our rows: the trial balance, what is held, and what is in escrow.
//!
//! Invariant: what is compared is of one snapshot, so that whatever does not agree has never agreed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use uuid::Uuid;

use crate::domain::ids::{DisputeId, RefundId, WithdrawalId};
use crate::domain::ledger::entry::Entry;
use crate::domain::reconciliation::{Break, Bucket};
use crate::store::{Db, Store, StoreError, fetch_all, fetch_one};

/// Holds of what is open that one question is about.
const HELD_AT_ONCE: usize = 1_000;
/// Holds that are looked at where not all is accounted for; more of them are open at a time nowhere, or something is very wrong.
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
/// for one. What is open is few; all that was ever held is read only where more is held than that.
async fn check_holds(db: &mut Db) -> Result<Vec<Break>, StoreError> {
    let open = list_open(db).await?;
    let mut sums: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let mut entries: Vec<(String, Uuid)> = Vec::new();
    for it in open {
        entries.extend(it.entries.iter().map(|key| (it.key.clone(), Entry::id_of(key).uuid())));
        sums.entry(it.key).or_default().0 = it.amount;
    }
    for page in entries.chunks(HELD_AT_ONCE) {
        let held: BTreeMap<Uuid, i64> = list_held(db, page).await?.into_iter().collect();
        for (key, id) in page {
            let sum = held.get(id).copied().unwrap_or_default();
            let held = &mut sums.entry(key.clone()).or_default().1;
            *held = held.saturating_add(sum);
        }
    }
    let known = sums.values().fold(0_i64, |sum, (_, held)| sum.saturating_add(*held));
    let (pending,) = fetch_one!(
        db,
        (i64,),
        "SELECT CAST(coalesce(SUM(debits_pending), 0) AS BIGINT) FROM ledger_accounts",
    )?;
    if pending != known {
        for (_, held) in sums.values_mut() {
            *held = 0;
        }
        for (key, sum) in list_all_held(db).await? {
            let held = &mut sums.entry(of_dispute(key)).or_default().1;
            *held = held.saturating_add(sum);
        }
    }
    let differ = sums.into_iter().filter(|(_, (row, held))| row != held);
    let says = "what is held is not what is open";
    Ok(differ.map(|(key, (row, held))| finding(key, row, held, says)).collect())
}

/// Something that holds money as long as it is open.
struct Open {
    key: String,
    amount: i64,
    /// The keys of the entries by which it does.
    entries: Vec<String>,
}

impl Open {
    fn new(key: String, amount: i64) -> Self {
        Self { entries: vec![key.clone()], key, amount }
    }
}

async fn list_open(db: &mut Db) -> Result<Vec<Open>, StoreError> {
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
        (Uuid, i64, String),
        "SELECT id, covered - missing, held FROM disputes
         WHERE opened_at IS NOT NULL AND closed_at IS NULL",
    )?;
    let refund = |(id, amount): (Uuid, i64)| {
        Open::new(format!("refund_hold:{}", RefundId::from(id)), amount)
    };
    let withdrawal = |(id, amount): (Uuid, i64)| {
        Open::new(format!("withdraw:{}", WithdrawalId::from(id)), amount)
    };
    let mut open: Vec<Open> = refunds.into_iter().map(refund).collect();
    open.extend(withdrawals.into_iter().map(withdrawal));
    for (id, amount, held) in disputes {
        let key = format!("dispute_hold:{}", DisputeId::from(id));
        // What comes later is held by entries of their own.
        let held: Vec<Value> = serde_json::from_str(&held).map_err(unreadable)?;
        let entries = (0..held.len()).map(|nth| format!("{key}:{nth}")).collect();
        open.push(Open { key, amount, entries });
    }
    Ok(open)
}

fn unreadable(error: serde_json::Error) -> StoreError {
    sqlx::Error::Decode(error.into()).into()
}

/// What each of these entries holds.
async fn list_held(
    db: &mut Db,
    entries: &[(String, Uuid)],
) -> Result<Vec<(Uuid, i64)>, StoreError> {
    let select = db.dialect(
        "SELECT t.entry_id, CAST(SUM(t.amount) AS BIGINT)
         FROM ledger_transfers t
         WHERE t.phase = 'pending'
           AND t.entry_id IN (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)
           AND NOT EXISTS (SELECT 1 FROM ledger_transfers r WHERE r.hold_id = t.id)
         GROUP BY t.entry_id",
        "SELECT t.entry_id, CAST(SUM(t.amount) AS BIGINT)
         FROM ledger_transfers t
         WHERE t.phase = 'pending'
           AND t.entry_id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
           AND NOT EXISTS (SELECT 1 FROM ledger_transfers r WHERE r.hold_id = t.id)
         GROUP BY t.entry_id",
    );
    let ids: Vec<&Uuid> = entries.iter().map(|(_, id)| id).collect();
    fetch_all!(db, (Uuid, i64), select, json!(ids).to_string())
}

/// Everything that is held for refunds, withdrawals and disputes, of all there ever was.
async fn list_all_held(db: &mut Db) -> Result<Vec<(String, i64)>, StoreError> {
    fetch_all!(
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
    )
}

/// A dispute holds by several entries.
fn of_dispute(key: String) -> String {
    match key.strip_prefix("dispute_hold:").and_then(|it| it.rsplit_once(':')) {
        Some((dispute, _)) => format!("dispute_hold:{dispute}"),
        None => key,
    }
}

/// What is in escrow was paid, not refunded, and released to nobody.
async fn check_escrow(db: &mut Db) -> Result<Vec<Break>, StoreError> {
    // By itself, SQLite goes through all payments there ever were.
    let select = db.dialect(
        "SELECT p.currency, CAST(SUM(p.captured - p.refunded) AS BIGINT)
         FROM payments p INDEXED BY payments_unreleased_idx
         WHERE p.released_at IS NULL
           AND p.status IN ('captured', 'partially_refunded', 'disputed', 'charged_back')
           AND p.captured > p.refunded
           AND NOT EXISTS (SELECT 1 FROM settlement_items i
                           WHERE i.source_type = 'payment' AND i.source_id = p.id)
         GROUP BY p.currency",
        "SELECT p.currency, CAST(SUM(p.captured - p.refunded) AS BIGINT)
         FROM payments p
         WHERE p.released_at IS NULL
           AND p.status IN ('captured', 'partially_refunded', 'disputed', 'charged_back')
           AND p.captured > p.refunded
           AND NOT EXISTS (SELECT 1 FROM settlement_items i
                           WHERE i.source_type = 'payment' AND i.source_id = p.id)
         GROUP BY p.currency",
    );
    let rows = fetch_all!(db, (String, i64), select)?;
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
