//! Entries: what happened, as transfers that are written together or not at all.
//!
//! Pure: [`resolve`] makes transfers of the lines of an entry and the holds they name, [`deltas`] what they do to the
//! counters. The memory oracle of the tests and both databases go by these two.

use std::collections::{BTreeMap, HashMap};

use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::chart::{Account, AccountName};
use super::{Counters, LINES_MAX, LedgerError};
use crate::domain::ids::{AccountId, EntryId, TransferId};
use crate::domain::money::{Amount, Currency};
use crate::domain::stored_as;
use crate::domain::time::Timestamp;

/// Something that happened to money.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The same for the same happening, for ever, such as `capture:{payment}`: it is booked once.
    pub key: String,
    /// What happened, such as `capture`.
    pub kind: &'static str,
    /// What it happened to.
    pub reference: Reference,
    /// Who did it: a workflow, an administrator.
    pub actor: String,
    pub currency: Currency,
    pub lines: Vec<Line>,
}

/// What an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    pub kind: &'static str,
    pub id: Uuid,
}

/// One line of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Line {
    /// Moves an amount.
    Move { debit: AccountName, credit: AccountName, amount: Amount, code: &'static str },
    /// Sets an amount aside, to be posted or voided later; at its end at the latest, where it has one.
    Hold {
        debit: AccountName,
        credit: AccountName,
        amount: Amount,
        code: &'static str,
        expires_at: Option<Timestamp>,
    },
    /// Moves what was held, or less: then the rest is free again.
    Post { hold: TransferId, amount: Amount },
    /// Frees what was held.
    Void { hold: TransferId },
}

/// How a transfer counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Phase {
    Single,
    Pending,
    Post,
    Void,
}

stored_as!(Phase { Single = "single", Pending = "pending", Post = "post", Void = "void" });

/// A hold as it stands in the ledger.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hold {
    pub id: TransferId,
    pub debit: AccountId,
    pub credit: AccountId,
    pub currency: Currency,
    pub amount: Amount,
    pub expires_at: Option<Timestamp>,
}

/// A row of the ledger to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transfer {
    pub id: TransferId,
    pub phase: Phase,
    /// The hold that it resolves, with what that held.
    pub hold: Option<(TransferId, Amount)>,
    pub debit: AccountId,
    pub credit: AccountId,
    pub amount: Amount,
    pub code: &'static str,
    pub expires_at: Option<Timestamp>,
}

impl Entry {
    /// Its id, which follows from its key.
    #[must_use]
    pub fn id(&self) -> EntryId {
        Self::id_of(&self.key)
    }

    /// The id of the entry with a key.
    #[must_use]
    pub fn id_of(key: &str) -> EntryId {
        hashed_id(&[b"entry", key.as_bytes()]).into()
    }

    /// The id of one of the transfers of the entry with a key, counted from 0: whoever holds knows what to post later.
    #[must_use]
    pub fn transfer_id(key: &str, line: usize) -> TransferId {
        let line = u64::try_from(line).unwrap_or(u64::MAX).to_be_bytes();
        hashed_id(&[b"transfer", key.as_bytes(), &line]).into()
    }

    /// The accounts that its lines name; those of holds are found with them.
    #[must_use]
    pub fn accounts(&self) -> Vec<Account> {
        let mut names: Vec<AccountName> = self
            .lines
            .iter()
            .flat_map(|line| match line {
                Line::Move { debit, credit, .. } | Line::Hold { debit, credit, .. } => {
                    vec![*debit, *credit]
                }
                Line::Post { .. } | Line::Void { .. } => Vec::new(),
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(|name| name.account(self.currency)).collect()
    }

    /// The holds that its lines resolve.
    #[must_use]
    pub fn holds(&self) -> Vec<TransferId> {
        self.lines
            .iter()
            .filter_map(|line| match line {
                Line::Post { hold, .. } | Line::Void { hold } => Some(*hold),
                Line::Move { .. } | Line::Hold { .. } => None,
            })
            .collect()
    }

    /// What tells it from another entry under the same key. When a hold ends is left out: whoever repeats an entry may have
    /// counted from another moment.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        let mut said = format!(
            "{}\n{} {}\n{}",
            self.kind, self.reference.kind, self.reference.id, self.currency
        );
        for line in &self.lines {
            let line = match line {
                Line::Move { debit, credit, amount, code } => {
                    let (debit, credit) = (debit.id(self.currency), credit.id(self.currency));
                    format!("\nsingle {debit} {credit} {amount} {code}")
                }
                Line::Hold { debit, credit, amount, code, .. } => {
                    let (debit, credit) = (debit.id(self.currency), credit.id(self.currency));
                    format!("\npending {debit} {credit} {amount} {code}")
                }
                Line::Post { hold, amount } => format!("\npost {hold} {amount}"),
                Line::Void { hold } => format!("\nvoid {hold}"),
            };
            said.push_str(&line);
        }
        Sha256::digest(said).into()
    }
}

/// Makes the transfers of an entry. `holds` are those that it names and that stand in the ledger.
///
/// # Errors
/// [`LedgerError`], which says what is wrong with the entry.
pub fn resolve(
    entry: &Entry,
    holds: &HashMap<TransferId, Hold>,
    now: Timestamp,
) -> Result<Vec<Transfer>, LedgerError> {
    if entry.lines.is_empty() || entry.lines.len() > LINES_MAX {
        return Err(LedgerError::InvalidEntry);
    }
    let mut named = entry.holds();
    named.sort_unstable();
    if named.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(LedgerError::HoldResolved);
    }
    let transfer = |(number, line): (usize, &Line)| {
        transfer(entry, Entry::transfer_id(&entry.key, number), line, holds, now)
    };
    entry.lines.iter().enumerate().map(transfer).collect()
}

fn transfer(
    entry: &Entry,
    id: TransferId,
    line: &Line,
    holds: &HashMap<TransferId, Hold>,
    now: Timestamp,
) -> Result<Transfer, LedgerError> {
    let between = |debit: AccountName, credit: AccountName| {
        let (debit, credit) = (debit.id(entry.currency), credit.id(entry.currency));
        if debit == credit { Err(LedgerError::InvalidEntry) } else { Ok((debit, credit)) }
    };
    let held = |id: &TransferId| match holds.get(id) {
        None => Err(LedgerError::HoldNotFound),
        Some(hold) if hold.currency == entry.currency => Ok(*hold),
        Some(_) => Err(LedgerError::InvalidEntry),
    };
    match line {
        Line::Move { debit, credit, amount, code } => {
            let (debit, credit) = between(*debit, *credit)?;
            let (phase, hold, expires_at) = (Phase::Single, None, None);
            Ok(Transfer { id, phase, hold, debit, credit, amount: *amount, code, expires_at })
        }
        Line::Hold { debit, credit, amount, code, expires_at } => {
            let (debit, credit) = between(*debit, *credit)?;
            let (phase, hold, expires_at) = (Phase::Pending, None, *expires_at);
            Ok(Transfer { id, phase, hold, debit, credit, amount: *amount, code, expires_at })
        }
        Line::Post { hold, amount } => {
            let hold = held(hold)?;
            if hold.expires_at.is_some_and(|end| end <= now) {
                return Err(LedgerError::HoldExpired);
            }
            if *amount > hold.amount {
                return Err(LedgerError::MoreThanHeld);
            }
            Ok(hold.resolved(id, Phase::Post, *amount, "post"))
        }
        Line::Void { hold } => {
            let hold = held(hold)?;
            Ok(hold.resolved(id, Phase::Void, hold.amount, "void"))
        }
    }
}

impl Hold {
    fn resolved(
        self,
        id: TransferId,
        phase: Phase,
        amount: Amount,
        code: &'static str,
    ) -> Transfer {
        let Self { id: hold, debit, credit, amount: held, .. } = self;
        Transfer {
            id,
            phase,
            hold: Some((hold, held)),
            debit,
            credit,
            amount,
            code,
            expires_at: None,
        }
    }
}

/// What transfers do to the counters of each account, in the order of the accounts: whoever locks them in that order
/// waits for nobody crosswise. Accounts that nothing changes are left out.
///
/// # Errors
/// [`LedgerError::TooLarge`] when a sum does not fit.
pub fn deltas(transfers: &[Transfer]) -> Result<BTreeMap<AccountId, Counters>, LedgerError> {
    let mut deltas: BTreeMap<AccountId, Counters> = BTreeMap::new();
    for transfer in transfers {
        let amount = transfer.amount.minor();
        let held = transfer.hold.map_or(0, |(_, held)| held.minor());
        let (pending, posted) = match transfer.phase {
            Phase::Single => (0, amount),
            Phase::Pending => (amount, 0),
            Phase::Post => (held.saturating_neg(), amount),
            Phase::Void => (held.saturating_neg(), 0),
        };
        let debit = deltas.entry(transfer.debit).or_default();
        debit.debits_pending = sum(debit.debits_pending, pending)?;
        debit.debits_posted = sum(debit.debits_posted, posted)?;
        let credit = deltas.entry(transfer.credit).or_default();
        credit.credits_pending = sum(credit.credits_pending, pending)?;
        credit.credits_posted = sum(credit.credits_posted, posted)?;
    }
    deltas.retain(|_, delta| *delta != Counters::default());
    Ok(deltas)
}

fn sum(one: i64, other: i64) -> Result<i64, LedgerError> {
    one.checked_add(other).ok_or(LedgerError::TooLarge)
}

/// An id that follows from `parts`, in the form of a `UUIDv8`.
fn hashed_id(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        // The length first: no two lists of parts run into each other.
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0_u8; 16];
    for (byte, hashed) in bytes.iter_mut().zip(hash.finalize()) {
        *byte = hashed;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}
