//! What the database says of money: payments, withdrawals, the ledger, and everything that was told of them; and what is
//! left to be done.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use serde_json::Value;
use uuid::Uuid;

use crate::database::{Database, rows};

/// The whole of it, when everything is over.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    pub payments: BTreeMap<Uuid, Payment>,
    pub refunds: BTreeMap<Uuid, Refund>,
    pub withdrawals: BTreeMap<Uuid, Withdrawal>,
    /// What was earned by a payment, and what its refunds took back.
    pub items: Vec<Item>,
    /// Workflows that are not at their end, in words.
    pub unfinished: Vec<String>,
    pub accounts: BTreeMap<Uuid, Account>,
    pub transfers: Vec<Transfer>,
    /// By the id of a payment or a withdrawal, in order.
    pub changes: BTreeMap<Uuid, Vec<Change>>,
    /// In the order in which everybody reads them.
    pub events: Vec<Event>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// As the provider knows it.
    pub provider_order: String,
    pub status: String,
    pub amount: i64,
    pub captured: i64,
    pub reserved: i64,
    pub refunded: i64,
    pub is_under_way: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    pub payment: Uuid,
    pub amount: i64,
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Withdrawal {
    pub user: Uuid,
    pub amount: i64,
    pub status: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    pub payment: Uuid,
    pub payee: Option<Uuid>,
    /// Whether it is of the payment itself, and not of a refund.
    pub is_earning: bool,
    pub gross: i64,
    /// Without what goes to others.
    pub net: i64,
}

/// What was debited and credited, as the account counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    pub debits_pending: i64,
    pub debits_posted: i64,
    pub credits_pending: i64,
    pub credits_posted: i64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub code: String,
    pub counters: Counters,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    pub id: Uuid,
    pub phase: String,
    pub hold: Option<Uuid>,
    pub debit: Uuid,
    pub credit: Uuid,
    pub amount: i64,
    /// What it was booked for.
    pub reference: Uuid,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub seq: i64,
    pub from: Option<String>,
    pub to: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub subject: Uuid,
    pub seq: Option<i64>,
}

/// What is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    workflows: i64,
    payments: i64,
    refunds: i64,
    withdrawals: i64,
}

impl Left {
    pub fn is_nothing(self) -> bool {
        self == Self { workflows: 0, payments: 0, refunds: 0, withdrawals: 0 }
    }
}

impl fmt::Display for Left {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { workflows, payments, refunds, withdrawals } = self;
        write!(
            f,
            "{workflows} workflows, {payments} payments, {refunds} refunds, {withdrawals} withdrawals"
        )
    }
}

/// What is on its way. What is parked is not: it stays.
pub async fn left(database: &Database) -> anyhow::Result<Left> {
    let mut db = database.open().await?;
    let counted = rows!(
        &mut db,
        (i64, i64, i64, i64),
        "SELECT (SELECT COUNT(*) FROM workflows WHERE status IN ('ready', 'running', 'waiting')),
                (SELECT COUNT(*) FROM payments
                 WHERE under_way IS NOT NULL OR status IN ('confirming', 'unknown', 'conflicted')),
                (SELECT COUNT(*) FROM refunds WHERE status IN ('requested', 'sent', 'unknown')),
                (SELECT COUNT(*) FROM withdrawals
                 WHERE status IN ('requested', 'approved', 'sending', 'unknown'))",
    );
    db.close().await?;
    let (workflows, payments, refunds, withdrawals) = counted.first().copied().unwrap_or_default();
    Ok(Left { workflows, payments, refunds, withdrawals })
}

type PaymentRow = (Uuid, String, String, i64, i64, i64, i64, Option<String>);
type TransferRow = (Uuid, String, Option<Uuid>, Uuid, Uuid, i64, Uuid);

impl Truth {
    pub async fn read(database: &Database) -> anyhow::Result<Self> {
        let mut db = database.open().await?;
        let payments = rows!(
            &mut db,
            PaymentRow,
            "SELECT p.id, a.provider_order_id, p.status, p.amount, p.captured, p.refund_reserved,
                    p.refunded, p.under_way
             FROM payments p
             JOIN payment_attempts a ON a.payment_id = p.id",
        );
        let refunds = rows!(
            &mut db,
            (Uuid, Uuid, i64, String),
            "SELECT id, payment_id, amount, status FROM refunds"
        );
        let withdrawals = rows!(
            &mut db,
            (Uuid, Uuid, i64, String),
            "SELECT id, user_id, amount, status FROM withdrawals"
        );
        let items = rows!(
            &mut db,
            (Uuid, Option<Uuid>, String, i64, i64),
            "SELECT payment_id, payee_id, source_type, gross, gross - fee - fee_vat - withholding
             FROM settlement_items",
        );
        let unfinished = rows!(
            &mut db,
            (Uuid, String, String, Option<String>),
            "SELECT id, kind, status, last_error FROM workflows
             WHERE status NOT IN ('done', 'compensated')",
        );
        let accounts = rows!(
            &mut db,
            (Uuid, String, i64, i64, i64, i64),
            "SELECT id, code, debits_pending, debits_posted, credits_pending, credits_posted
             FROM ledger_accounts",
        );
        let transfers = rows!(
            &mut db,
            TransferRow,
            "SELECT t.id, t.phase, t.hold_id, t.debit_id, t.credit_id, t.amount, e.reference_id
             FROM ledger_transfers t
             JOIN ledger_entries e ON e.id = t.entry_id",
        );
        let changes = rows!(
            &mut db,
            (Uuid, i64, Option<String>, String),
            "SELECT payment_id AS id, seq, from_status, to_status FROM payment_transitions
             UNION ALL
             SELECT withdrawal_id AS id, seq, from_status, to_status FROM withdrawal_transitions
             ORDER BY 1, 2",
        );
        let events = rows!(
            &mut db,
            (String, String, String),
            "SELECT name, subject, data FROM outbox WHERE topic = 'payment.events' ORDER BY xid, id",
        );
        db.close().await?;

        let mut truth = Self {
            payments: payments.into_iter().map(payment).collect(),
            transfers: transfers.into_iter().map(transfer).collect(),
            events: events.iter().filter_map(event).collect(),
            ..Self::default()
        };
        for (id, payment, amount, status) in refunds {
            truth.refunds.insert(id, Refund { payment, amount, status });
        }
        for (id, user, amount, status) in withdrawals {
            truth.withdrawals.insert(id, Withdrawal { user, amount, status });
        }
        for (payment, payee, source, gross, net) in items {
            let is_earning = source == "payment";
            truth.items.push(Item { payment, payee, is_earning, gross, net });
        }
        for (id, kind, status, error) in unfinished {
            let error = error.unwrap_or_default();
            truth.unfinished.push(format!("{kind} {id} is {status}: {error}"));
        }
        for (id, code, debits_pending, debits_posted, credits_pending, credits_posted) in accounts {
            let counters =
                Counters { debits_pending, debits_posted, credits_pending, credits_posted };
            truth.accounts.insert(id, Account { code, counters });
        }
        for (id, seq, from, to) in changes {
            truth.changes.entry(id).or_default().push(Change { seq, from, to });
        }
        Ok(truth)
    }

    /// What the transfers come to, account by account.
    pub fn folded(&self) -> HashMap<Uuid, Counters> {
        let mut folded: HashMap<Uuid, Counters> = HashMap::new();
        let resolved: std::collections::HashSet<Uuid> =
            self.transfers.iter().filter_map(|transfer| transfer.hold).collect();
        for transfer in &self.transfers {
            let Transfer { debit, credit, amount, .. } = transfer;
            match transfer.phase.as_str() {
                "single" | "post" => {
                    folded.entry(*debit).or_default().debits_posted += amount;
                    folded.entry(*credit).or_default().credits_posted += amount;
                }
                "pending" if !resolved.contains(&transfer.id) => {
                    folded.entry(*debit).or_default().debits_pending += amount;
                    folded.entry(*credit).or_default().credits_pending += amount;
                }
                _ => {}
            }
        }
        folded
    }

    /// What the provider owes us for one thing, as booked.
    pub fn receivable_of(&self, reference: Uuid) -> i64 {
        let is_receivable = |account: &Uuid| {
            self.accounts.get(account).is_some_and(|it| it.code.starts_with("psp:"))
        };
        let booked = self.transfers.iter().filter(|transfer| {
            transfer.reference == reference && ["single", "post"].contains(&transfer.phase.as_str())
        });
        booked
            .map(|transfer| {
                let debit = if is_receivable(&transfer.debit) { transfer.amount } else { 0 };
                let credit = if is_receivable(&transfer.credit) { transfer.amount } else { 0 };
                debit - credit
            })
            .sum()
    }

    /// The account of this name, as it counts.
    pub fn counters(&self, code: &str) -> Counters {
        let found = self.accounts.values().find(|account| account.code == code);
        found.map(|account| account.counters).unwrap_or_default()
    }
}

fn payment(row: PaymentRow) -> (Uuid, Payment) {
    let (id, provider_order, status, amount, captured, reserved, refunded, under_way) = row;
    let is_under_way = under_way.is_some();
    (id, Payment { provider_order, status, amount, captured, reserved, refunded, is_under_way })
}

fn transfer(row: TransferRow) -> Transfer {
    let (id, phase, hold, debit, credit, amount, reference) = row;
    Transfer { id, phase, hold, debit, credit, amount, reference }
}

fn event((name, subject, data): &(String, String, String)) -> Option<Event> {
    let data: Value = serde_json::from_str(data).ok()?;
    Some(Event { name: name.clone(), subject: subject.parse().ok()?, seq: data["seq"].as_i64() })
}
