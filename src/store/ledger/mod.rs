//! The ledger's books: entries are written here, once each, and their accounts counted on.
//!
//! Invariant: an entry is in the books whole or not at all, together with whatever its transaction did besides; the
//! counters of an account are what its transfers come to; and accounts are locked in the order of their ids, last of all,
//! so that nobody waits crosswise, and nobody long.

pub mod balances;
pub mod check;
pub mod statement;

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};
use uuid::Uuid;

use super::{Db, StoreError, execute, fetch_all, fetch_one};
use crate::domain::ids::{AccountId, EntryId, TransferId};
use crate::domain::ledger::entry::{Entry, Hold, Transfer, deltas, resolve};
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
    let booked = try_book(db, entry, now).await;
    match &booked {
        Ok(Booked::Now) => {
            metrics::counter!("madang_ledger_txn_total", "kind" => entry.kind).increment(1);
        }
        Err(BookError::Ledger(error)) => {
            let reason = error.word();
            metrics::counter!("madang_ledger_refused_total", "reason" => reason).increment(1);
        }
        Ok(Booked::Before) | Err(BookError::Store(_)) => {}
    }
    booked
}

async fn try_book(db: &mut Db, entry: &Entry, now: Timestamp) -> Result<Booked, BookError> {
    if !insert_entry(db, entry, now).await? {
        return Ok(Booked::Before);
    }
    let holds = list_holds(db, &entry.holds()).await?;
    let transfers = resolve(entry, &holds, now)?;
    let deltas = deltas(&transfers)?;
    insert_accounts(db, entry, now).await?;
    insert_transfers(db, entry, &transfers, now).await?;
    require_open(db, &touched(&transfers)).await?;
    count(db, &deltas).await?;
    Ok(Booked::Now)
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

/// Writes the entry's head; `false` where the same entry has one.
async fn insert_entry(db: &mut Db, entry: &Entry, now: Timestamp) -> Result<bool, BookError> {
    let (id, fingerprint) = (entry.id().uuid(), entry.fingerprint().to_vec());
    let inserted = execute!(
        db,
        "INSERT INTO ledger_entries
             (id, key, fingerprint, kind, reference_kind, reference_id, actor, at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
         ON CONFLICT (id) DO NOTHING",
        id,
        entry.key.as_str(),
        fingerprint.as_slice(),
        entry.kind,
        entry.reference.kind,
        entry.reference.id,
        entry.actor.as_str(),
        now.millis(),
    )?;
    if inserted > 0 {
        return Ok(true);
    }
    let (known,): (Vec<u8>,) =
        fetch_one!(db, (Vec<u8>,), "SELECT fingerprint FROM ledger_entries WHERE id = $1", id)?;
    if known == fingerprint { Ok(false) } else { Err(LedgerError::KeyReused.into()) }
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

/// Opens the accounts that the entry names and that nobody has used before.
async fn insert_accounts(db: &mut Db, entry: &Entry, now: Timestamp) -> Result<(), StoreError> {
    let accounts: Vec<Value> = entry
        .accounts()
        .iter()
        .map(|account| {
            json!([
                account.id,
                account.code,
                account.family,
                account.kind.as_str(),
                account.owner,
                account.guard.as_str(),
            ])
        })
        .collect();
    if accounts.is_empty() {
        return Ok(());
    }
    let insert = db.dialect(
        "INSERT INTO ledger_accounts
             (id, code, family, kind, owner_id, guard, currency, created_at)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1, j.value ->> 2, j.value ->> 3,
                unhex(replace(j.value ->> 4, '-', '')), j.value ->> 5, $2, $3
         FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (id) DO NOTHING",
        "INSERT INTO ledger_accounts
             (id, code, family, kind, owner_id, guard, currency, created_at)
         SELECT (j.value ->> 0)::uuid, j.value ->> 1, j.value ->> 2, j.value ->> 3,
                (j.value ->> 4)::uuid, j.value ->> 5, $2, $3
         FROM jsonb_array_elements($1::jsonb) j
         ORDER BY j.value ->> 0
         ON CONFLICT (id) DO NOTHING",
    );
    let accounts = json!(accounts).to_string();
    execute!(db, insert, accounts, entry.currency.as_str(), now.millis()).map(|_| ())
}

async fn insert_transfers(
    db: &mut Db,
    entry: &Entry,
    transfers: &[Transfer],
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<Value> = transfers
        .iter()
        .map(|transfer| {
            json!([
                transfer.id,
                transfer.phase.as_str(),
                transfer.hold.map(|(id, _)| id),
                transfer.debit,
                transfer.credit,
                transfer.amount,
                transfer.code,
                transfer.expires_at.map(Timestamp::millis),
            ])
        })
        .collect();
    let insert = db.dialect(
        "INSERT INTO ledger_transfers
             (id, entry_id, line, phase, hold_id, debit_id, credit_id, currency, amount, code,
              expires_at, at)
         SELECT unhex(replace(j.value ->> 0, '-', '')), $2, j.key, j.value ->> 1,
                unhex(replace(j.value ->> 2, '-', '')), unhex(replace(j.value ->> 3, '-', '')),
                unhex(replace(j.value ->> 4, '-', '')), $3, j.value ->> 5, j.value ->> 6,
                j.value ->> 7, $4
         FROM json_each($1) j",
        "INSERT INTO ledger_transfers
             (id, entry_id, line, phase, hold_id, debit_id, credit_id, currency, amount, code,
              expires_at, at)
         SELECT (j.value ->> 0)::uuid, $2, j.place - 1, j.value ->> 1, (j.value ->> 2)::uuid,
                (j.value ->> 3)::uuid, (j.value ->> 4)::uuid, $3, (j.value ->> 5)::bigint,
                j.value ->> 6, (j.value ->> 7)::bigint, $4
         FROM jsonb_array_elements($1::jsonb) WITH ORDINALITY AS j (value, place)",
    );
    let (id, currency) = (EntryId::uuid(entry.id()), entry.currency.as_str());
    execute!(db, insert, json!(rows).to_string(), id, currency, now.millis()).map(|_| ())
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
