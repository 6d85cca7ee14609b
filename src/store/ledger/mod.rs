//! The ledger's books: entries are written here, once each, and their accounts counted on.
//!
//! Invariant: an entry is in the books whole or not at all, together with whatever its transaction did besides; the
//! counters of an account are what its transfers come to; and accounts are locked in the order of their ids, last of all,
//! so that nobody waits crosswise, and nobody long.

pub mod balances;
pub mod check;
pub mod statement;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::slice;

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Db, StoreError, execute, fetch_all, fetch_one};
use crate::domain::ids::{AccountId, EntryId, TransferId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Hold, Reference, Transfer, deltas, resolve};
use crate::domain::ledger::{Counters, LedgerError};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;

/// Why nothing was booked.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for BookError {
    /// What the schema refuses is a rule of the ledger.
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Constraint(name) => match name.as_str() {
                "ledger_accounts_guard_check" => LedgerError::Overdraft.into(),
                "ledger_accounts_range_check" => LedgerError::TooLarge.into(),
                "ledger_transfers_hold_id_key" => LedgerError::HoldResolved.into(),
                _ => Self::Store(StoreError::Constraint(name)),
            },
            error => Self::Store(error),
        }
    }
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Booked {
    Now,
    /// It was in the books already; nothing was done.
    Before,
}

/// Books an entry: once, however often it is asked for.
///
/// # Errors
/// [`LedgerError`] where the books refuse it; the transaction must not be committed then.
pub async fn book(db: &mut Db, entry: &Entry, now: Timestamp) -> Result<Booked, BookError> {
    let booked = book_all(db, slice::from_ref(entry), now).await?;
    Ok(booked.first().copied().unwrap_or(Booked::Before))
}

/// Books entries together, all or none, each as [`book`] does: an account that many of them touch is locked and counted
/// on once. What one of them holds, none of the others can resolve.
///
/// # Errors
/// As [`book`].
pub async fn book_all(
    db: &mut Db,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Vec<Booked>, BookError> {
    let booked = try_book(db, entries, now).await;
    match &booked {
        Ok(booked) => {
            for (entry, _) in entries.iter().zip(booked).filter(|(_, it)| **it == Booked::Now) {
                metrics::counter!("madang_ledger_txn_total", "kind" => entry.kind).increment(1);
            }
        }
        Err(BookError::Ledger(error)) => {
            let reason = error.word();
            metrics::counter!("madang_ledger_refused_total", "reason" => reason).increment(1);
        }
        Err(BookError::Store(_)) => {}
    }
    booked
}

async fn try_book(
    db: &mut Db,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Vec<Booked>, BookError> {
    let booked = insert_entries(db, entries, now).await?;
    let new: Vec<&Entry> =
        entries.iter().zip(&booked).filter(|(_, it)| **it == Booked::Now).map(|it| it.0).collect();
    let wanted: Vec<TransferId> = new.iter().flat_map(|entry| entry.holds()).collect();
    let holds = list_holds(db, &wanted).await?;
    let mut written = Vec::with_capacity(new.len());
    for entry in &new {
        written.push((*entry, resolve(entry, &holds, now)?));
    }
    let transfers: Vec<Transfer> = written.iter().flat_map(|(_, it)| it).copied().collect();
    let deltas = deltas(&transfers)?;
    insert_accounts(db, &new, now).await?;
    insert_transfers(db, &written, now).await?;
    require_open(db, &touched(&transfers)).await?;
    count(db, &deltas).await?;
    Ok(booked)
}

/// Locks whatever an entry touches together with `others`, which are open, in the order of their ids: for whoever books
/// more in the same transaction.
///
/// # Errors
/// [`BookError`]; the transaction must not be committed then.
pub async fn lock_accounts(
    db: &mut Db,
    entry: &Entry,
    others: &[AccountName],
    now: Timestamp,
) -> Result<(), BookError> {
    let holds = list_holds(db, &entry.holds()).await?;
    insert_accounts(db, &[entry], now).await?;
    let held = holds.values().flat_map(|hold| [hold.debit, hold.credit]);
    let named = entry.accounts().into_iter().map(|account| account.id);
    let others = others.iter().map(|name| name.id(entry.currency));
    let all = held.chain(named).chain(others).map(|id| (id, false)).collect();
    require_open(db, &all).await
}

/// Whether the entry with a key is in the books.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn is_booked(db: &mut Db, key: &str) -> Result<bool, StoreError> {
    let (count,) = fetch_one!(
        db,
        (i64,),
        "SELECT COUNT(*) FROM ledger_entries WHERE id = $1",
        Entry::id_of(key).uuid(),
    )?;
    Ok(count > 0)
}

/// Writes the heads of entries, but of those that have one.
///
/// # Errors
/// [`LedgerError::KeyReused`] where another entry has the key of one.
async fn insert_entries(
    db: &mut Db,
    entries: &[Entry],
    now: Timestamp,
) -> Result<Vec<Booked>, BookError> {
    let said: Vec<(EntryId, [u8; 32])> =
        entries.iter().map(|entry| (entry.id(), entry.fingerprint())).collect();
    let rows: Vec<Value> = entries
        .iter()
        .zip(&said)
        .map(|(entry, (id, fingerprint))| {
            let Reference { kind, id: reference } = &entry.reference;
            let digits: String = fingerprint.iter().map(|byte| format!("{byte:02x}")).collect();
            json!([id, entry.key, digits, entry.kind, kind, reference, entry.actor])
        })
        .collect();
    let insert = db.dialect(
        "INSERT INTO ledger_entries
             (id, key, fingerprint, kind, reference_kind, reference_id, actor, at)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1, unhex(j.value ->> 2),
                j.value ->> 3, j.value ->> 4, unhex(replace(j.value ->> 5, '-', '')),
                j.value ->> 6, $2
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (id) DO NOTHING
         RETURNING id",
        "INSERT INTO ledger_entries
             (id, key, fingerprint, kind, reference_kind, reference_id, actor, at)
         SELECT (j.value ->> 0)::uuid, j.value ->> 1, decode(j.value ->> 2, 'hex'),
                j.value ->> 3, j.value ->> 4, (j.value ->> 5)::uuid, j.value ->> 6, $2
         FROM jsonb_array_elements($1::jsonb) j
         ORDER BY j.value ->> 0
         ON CONFLICT (id) DO NOTHING
         RETURNING id",
    );
    let inserted = fetch_all!(db, (Uuid,), insert, json!(rows).to_string(), now.millis())?;
    let mut inserted: HashSet<EntryId> = inserted.into_iter().map(|(id,)| id.into()).collect();
    let mut booked = Vec::with_capacity(entries.len());
    for (id, fingerprint) in said {
        if inserted.remove(&id) {
            booked.push(Booked::Now);
            continue;
        }
        let (known,): (Vec<u8>,) = fetch_one!(
            db,
            (Vec<u8>,),
            "SELECT fingerprint FROM ledger_entries WHERE id = $1",
            id.uuid(),
        )?;
        if known != fingerprint {
            return Err(LedgerError::KeyReused.into());
        }
        booked.push(Booked::Before);
    }
    Ok(booked)
}

async fn list_holds(
    db: &mut Db,
    ids: &[TransferId],
) -> Result<HashMap<TransferId, Hold>, StoreError> {
    if ids.is_empty() {
        return Ok(HashMap::new());
    }
    let select = db.dialect(
        "SELECT t.id, t.debit_id, t.credit_id, t.currency, t.amount, t.expires_at
         FROM json_each($1) j
         JOIN ledger_transfers t ON t.id = unhex(replace(j.value, '-', ''))
         WHERE t.phase = 'pending'",
        "SELECT t.id, t.debit_id, t.credit_id, t.currency, t.amount, t.expires_at
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN ledger_transfers t ON t.id = j.value::uuid
         WHERE t.phase = 'pending'",
    );
    type HoldRow = (Uuid, Uuid, Uuid, String, i64, Option<i64>);
    let rows = fetch_all!(db, HoldRow, select, json!(ids).to_string())?;
    let hold = |(id, debit, credit, currency, amount, expires_at): HoldRow| {
        let (currency, amount) = (currency.parse::<Currency>().ok()?, Amount::new(amount).ok()?);
        let (id, debit, credit) = (TransferId::from(id), debit.into(), credit.into());
        let expires_at = expires_at.map(Timestamp::from_millis);
        Some((id, Hold { id, debit, credit, currency, amount, expires_at }))
    };
    Ok(rows.into_iter().filter_map(hold).collect())
}

/// Opens the accounts that entries name and that nobody has used before.
async fn insert_accounts(
    db: &mut Db,
    entries: &[&Entry],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut rows = BTreeMap::new();
    for entry in entries {
        for account in entry.accounts() {
            let row = json!([
                account.id,
                account.code,
                account.family,
                account.kind.as_str(),
                account.owner,
                account.guard.as_str(),
                entry.currency.as_str(),
            ]);
            rows.insert(account.id, row);
        }
    }
    if rows.is_empty() {
        return Ok(());
    }
    // Whichever key it is by: of two that open an account at once, PostgreSQL refuses one by the key that it tries first.
    let insert = db.dialect(
        "INSERT INTO ledger_accounts
             (id, code, family, kind, owner_id, guard, currency, created_at)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1, j.value ->> 2, j.value ->> 3,
                unhex(replace(j.value ->> 4, '-', '')), j.value ->> 5, j.value ->> 6, $2
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT DO NOTHING",
        "INSERT INTO ledger_accounts
             (id, code, family, kind, owner_id, guard, currency, created_at)
         SELECT (j.value ->> 0)::uuid, j.value ->> 1, j.value ->> 2, j.value ->> 3,
                (j.value ->> 4)::uuid, j.value ->> 5, j.value ->> 6, $2
         FROM jsonb_array_elements($1::jsonb) j
         ORDER BY j.value ->> 0
         ON CONFLICT DO NOTHING",
    );
    let rows: Vec<Value> = rows.into_values().collect();
    execute!(db, insert, json!(rows).to_string(), now.millis()).map(|_| ())
}

async fn insert_transfers(
    db: &mut Db,
    written: &[(&Entry, Vec<Transfer>)],
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut rows = Vec::new();
    for (entry, transfers) in written {
        let (id, currency) = (entry.id(), entry.currency.as_str());
        rows.extend(transfers.iter().enumerate().map(|(line, transfer)| {
            json!([
                transfer.id,
                id,
                line,
                transfer.phase.as_str(),
                transfer.hold.map(|(id, _)| id),
                transfer.debit,
                transfer.credit,
                currency,
                transfer.amount,
                transfer.code,
                transfer.expires_at.map(Timestamp::millis),
            ])
        }));
    }
    if rows.is_empty() {
        return Ok(());
    }
    let insert = db.dialect(
        "INSERT INTO ledger_transfers
             (id, entry_id, line, phase, hold_id, debit_id, credit_id, currency, amount, code,
              expires_at, at)
         SELECT unhex(replace(j.value ->> 0, '-', '')), unhex(replace(j.value ->> 1, '-', '')),
                j.value ->> 2, j.value ->> 3, unhex(replace(j.value ->> 4, '-', '')),
                unhex(replace(j.value ->> 5, '-', '')), unhex(replace(j.value ->> 6, '-', '')),
                j.value ->> 7, j.value ->> 8, j.value ->> 9, j.value ->> 10, $2
         FROM json_each($1) j",
        "INSERT INTO ledger_transfers
             (id, entry_id, line, phase, hold_id, debit_id, credit_id, currency, amount, code,
              expires_at, at)
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::uuid, (j.value ->> 2)::bigint,
                j.value ->> 3, (j.value ->> 4)::uuid, (j.value ->> 5)::uuid,
                (j.value ->> 6)::uuid, j.value ->> 7, (j.value ->> 8)::bigint, j.value ->> 9,
                (j.value ->> 10)::bigint, $2
         FROM jsonb_array_elements($1::jsonb) j",
    );
    execute!(db, insert, json!(rows).to_string(), now.millis()).map(|_| ())
}

/// Every account that transfers touch, in order, and whether something new begins there.
fn touched(transfers: &[Transfer]) -> BTreeMap<AccountId, bool> {
    let mut touched = BTreeMap::new();
    for transfer in transfers {
        let is_new = transfer.hold.is_none();
        for account in [transfer.debit, transfer.credit] {
            *touched.entry(account).or_insert(false) |= is_new;
        }
    }
    touched
}

/// Locks the accounts, and refuses what is new where one of them is frozen. What is held there can still be resolved.
///
/// # Errors
/// [`LedgerError::Frozen`].
pub(super) async fn require_open(
    db: &mut Db,
    touched: &BTreeMap<AccountId, bool>,
) -> Result<(), BookError> {
    // Which of them are frozen is looked at here and not asked for there: PostgreSQL moves a condition in front of the
    // lock, and what does not meet it is not locked.
    let select = db.dialect(
        "SELECT a.id, a.frozen_at
         FROM json_each($1) j
         JOIN ledger_accounts a ON a.id = unhex(replace(j.value, '-', ''))",
        "SELECT a.id, a.frozen_at
         FROM ledger_accounts a
         WHERE a.id IN (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)
         ORDER BY a.id
         FOR NO KEY UPDATE OF a",
    );
    let ids: Vec<AccountId> = touched.keys().copied().collect();
    let accounts = fetch_all!(db, (Uuid, Option<i64>), select, json!(ids).to_string())?;
    let is_refused = accounts.into_iter().any(|(id, frozen_at)| {
        frozen_at.is_some() && touched.get(&id.into()).copied().unwrap_or_default()
    });
    if is_refused { Err(LedgerError::Frozen.into()) } else { Ok(()) }
}

/// Counts an entry on. The guards of the accounts have the last word.
async fn count(db: &mut Db, deltas: &BTreeMap<AccountId, Counters>) -> Result<(), StoreError> {
    if deltas.is_empty() {
        return Ok(());
    }
    let rows: Vec<Value> = deltas
        .iter()
        .map(|(account, delta)| {
            json!([
                account,
                delta.debits_pending,
                delta.debits_posted,
                delta.credits_pending,
                delta.credits_posted,
            ])
        })
        .collect();
    let update = db.dialect(
        "UPDATE ledger_accounts
         SET debits_pending = debits_pending + (j.value ->> 1),
             debits_posted = debits_posted + (j.value ->> 2),
             credits_pending = credits_pending + (j.value ->> 3),
             credits_posted = credits_posted + (j.value ->> 4)
         FROM json_each($1) j
         WHERE ledger_accounts.id = unhex(replace(j.value ->> 0, '-', ''))",
        "UPDATE ledger_accounts
         SET debits_pending = debits_pending + (j.value ->> 1)::bigint,
             debits_posted = debits_posted + (j.value ->> 2)::bigint,
             credits_pending = credits_pending + (j.value ->> 3)::bigint,
             credits_posted = credits_posted + (j.value ->> 4)::bigint
         FROM jsonb_array_elements($1::jsonb) j
         WHERE ledger_accounts.id = (j.value ->> 0)::uuid",
    );
    let counted = execute!(db, update, json!(rows).to_string())?;
    if counted == u64::try_from(deltas.len()).unwrap_or(u64::MAX) {
        Ok(())
    } else {
        Err(StoreError::NotFound)
    }
}
