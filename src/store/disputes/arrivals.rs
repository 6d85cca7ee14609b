//! Arrivals: money that comes to a payee's wallet, or is free again there. What they owe is paid of it at once, and what
//! open disputes are short of is held.
//!
//! Locks are taken in the order wallet, dispute, ledger. Invariant: nobody has something to take out beside a debt, or
//! beside a dispute that is short.

use super::{Dispute, Row, update};
use crate::domain::ids::UserId;
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::postings::{Place, Side};
use crate::domain::time::Timestamp;
use crate::store::ledger::balances::find_counters;
use crate::store::ledger::{BookError, Booked, book, book_all, lock_accounts};
use crate::store::wallets::lock_wallet;
use crate::store::{Db, StoreError, fetch_all};

const ACTOR: &str = "wallets";

#[derive(sqlx::FromRow)]
struct ShortRow {
    #[sqlx(flatten)]
    dispute: Row,
    ledger_shard: i64,
}

/// Books an entry that brings money to a payee's wallet or frees some there, and what follows from that.
///
/// # Errors
/// [`BookError`]; the transaction must not be committed then.
pub async fn book_arrival(
    db: &mut Db,
    payee: UserId,
    entry: &Entry,
    now: Timestamp,
) -> Result<(), BookError> {
    let currency = entry.currency;
    lock_wallet(db, payee, currency, now).await?;
    let short = list_short(db, payee, currency).await?;
    let receivables = short.iter().map(|(_, place)| place.receivable());
    let wallet = [AccountName::UserAvailable(payee), AccountName::UserDebt(payee)];
    let others: Vec<AccountName> = wallet.into_iter().chain(receivables).collect();
    // Several entries of one transaction: whoever books one of these accounts meanwhile must not wait for another.
    lock_accounts(db, entry, &others, now).await?;
    if book(db, entry, now).await? == Booked::Before {
        return Ok(());
    }
    repay(db, payee, entry, now).await?;
    hold(db, payee, currency, short, now).await
}

/// Pays what a payee owes, as far as it is in their wallet.
async fn repay(
    db: &mut Db,
    payee: UserId,
    because: &Entry,
    now: Timestamp,
) -> Result<(), BookError> {
    let (wallet, debt) = (AccountName::UserAvailable(payee), AccountName::UserDebt(payee));
    let owed = find_counters(db, debt, because.currency).await?;
    let owed = owed.debit_balance().saturating_sub(owed.credits_pending);
    let there = find_counters(db, wallet, because.currency).await?.credit_available();
    let Ok(amount) = Amount::new(owed.min(there)) else { return Ok(()) };
    let entry = Entry {
        key: format!("debt_repaid:{}", because.key),
        kind: "debt_repaid",
        reference: Reference { kind: "user", id: payee.uuid() },
        actor: ACTOR.to_owned(),
        currency: because.currency,
        lines: vec![Line::Move { debit: wallet, credit: debt, amount, code: "debt" }],
    };
    book(db, &entry, now).await.map(|_| ())
}

/// Holds what is in a payee's wallet for open disputes that are short of it.
async fn hold(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
    short: Vec<(Dispute, Place)>,
    now: Timestamp,
) -> Result<(), BookError> {
    let wallet = AccountName::UserAvailable(payee);
    let mut there = find_counters(db, wallet, currency).await?.credit_available();
    let mut holds = Vec::with_capacity(short.len());
    for (mut dispute, place) in short {
        let Ok(amount) = Amount::new(dispute.missing.min(there)) else { continue };
        there = there.saturating_sub(amount.minor());
        dispute.missing = dispute.missing.saturating_sub(amount.minor());
        let nth = dispute.held.len();
        dispute.held.push(vec![amount]);
        update(db, &dispute, now).await?;
        let side = Side { debit: wallet, amount };
        holds.push(place.dispute_hold(dispute.id, nth, &[side]));
    }
    if holds.is_empty() {
        return Ok(());
    }
    book_all(db, &holds, now).await.map(|_| ())
}

/// Open disputes that are short of something, locked, and where their payments are in the books.
async fn list_short(
    db: &mut Db,
    payee: UserId,
    currency: Currency,
) -> Result<Vec<(Dispute, Place)>, StoreError> {
    let select = db.dialect(
        "SELECT d.id, d.payment_id, d.payee_id, d.provider, d.provider_key, d.currency, d.amount,
                d.status, d.covered, d.missing, d.held, d.due_at, d.opened_at, d.closed_at,
                p.ledger_shard
         FROM disputes d
         JOIN payments p ON p.id = d.payment_id
         WHERE d.payee_id = $1 AND d.currency = $2 AND d.opened_at IS NOT NULL
           AND d.closed_at IS NULL AND d.missing > 0
         ORDER BY d.id",
        "SELECT d.id, d.payment_id, d.payee_id, d.provider, d.provider_key, d.currency, d.amount,
                d.status, d.covered, d.missing, d.held, d.due_at, d.opened_at, d.closed_at,
                p.ledger_shard
         FROM disputes d
         JOIN payments p ON p.id = d.payment_id
         WHERE d.payee_id = $1 AND d.currency = $2 AND d.opened_at IS NOT NULL
           AND d.closed_at IS NULL AND d.missing > 0
         ORDER BY d.id
         FOR UPDATE OF d",
    );
    let rows = fetch_all!(db, ShortRow, select, payee.uuid(), currency.as_str())?;
    let short = |row: ShortRow| {
        let dispute = row.dispute.into_dispute()?;
        let shard = Shard::numbered(u8::try_from(row.ledger_shard).unwrap_or_default());
        let (payment, provider) = (dispute.payment, dispute.provider);
        Ok((dispute, Place { payment, provider, shard, currency }))
    };
    rows.into_iter().map(short).collect()
}
