//! What becomes of a withdrawal in the books: held, posted on its way to a bank, freed, or come back.

use super::Withdrawal;
use crate::domain::ids::{TransferId, WithdrawalId};
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::payouts::BANK_FILE;

const ACTOR: &str = "withdrawals";
/// Withdrawals are few: one account for each provider does.
const SHARDS: u8 = 1;

/// Asked for: taken out of the wallet, and not yet gone.
#[must_use]
pub fn requested(withdrawal: &Withdrawal) -> Entry {
    let line = Line::Hold {
        debit: AccountName::UserAvailable(withdrawal.user),
        credit: AccountName::PayoutInTransit,
        amount: withdrawal.amount,
        code: "withdrawal",
        expires_at: None,
    };
    entry(withdrawal, hold_key(withdrawal.id), "withdraw", vec![line])
}

/// Neither to be sent nor sent: free again.
#[must_use]
pub fn voided(withdrawal: &Withdrawal) -> Entry {
    let key = format!("withdraw_void:{}", withdrawal.id);
    entry(withdrawal, key, "withdraw_void", vec![Line::Void { hold: hold(withdrawal.id) }])
}

/// Sent by a provider, out of what it owes us, or by ourselves out of our bank account.
#[must_use]
pub fn paid_out(withdrawal: &Withdrawal, provider: &'static str) -> Entry {
    let amount = withdrawal.amount;
    let lines = vec![
        Line::Post { hold: hold(withdrawal.id), amount },
        Line::Move {
            debit: AccountName::PayoutInTransit,
            credit: purse(withdrawal, provider),
            amount,
            code: "payout",
        },
    ];
    entry(withdrawal, format!("withdrawn:{}", withdrawal.id), "withdrawn", lines)
}

/// Sent back by the bank: the provider owes it to us again, or our bank has it, and we owe it to the user.
#[must_use]
pub fn returned(withdrawal: &Withdrawal, provider: &'static str) -> Entry {
    let line = Line::Move {
        debit: purse(withdrawal, provider),
        credit: AccountName::UserAvailable(withdrawal.user),
        amount: withdrawal.amount,
        code: "payout_returned",
    };
    let key = format!("withdraw_returned:{}", withdrawal.id);
    entry(withdrawal, key, "withdraw_returned", vec![line])
}

/// Out of what it is paid.
fn purse(withdrawal: &Withdrawal, provider: &'static str) -> AccountName {
    if provider == BANK_FILE {
        return AccountName::BankOperating;
    }
    AccountName::ProviderReceivable(provider, Shard::of(withdrawal.id.uuid(), SHARDS))
}

fn hold_key(id: WithdrawalId) -> String {
    format!("withdraw:{id}")
}

fn hold(id: WithdrawalId) -> TransferId {
    Entry::transfer_id(&hold_key(id), 0)
}

/// All of them name the withdrawal: whoever reads one finds the others.
fn entry(withdrawal: &Withdrawal, key: String, kind: &'static str, lines: Vec<Line>) -> Entry {
    let reference = Reference { kind: "withdrawal", id: withdrawal.id.uuid() };
    let (actor, currency) = (ACTOR.to_owned(), withdrawal.currency);
    Entry { key, kind, reference, actor, currency, lines }
}
