//! The oracle finds nothing in a sound world, and everything that is broken in it.

use std::rc::Rc;

use serde_json::json;
use uuid::Uuid;

use super::journal::{Entry, Heard, Method, Request};
use super::oracle::{Kind, Oracle, Shown};
use super::provider::{Movement, MovementKind};
use super::truth::{
    Account, Change, Counters, Event, Item, Payment, Refund, Transfer, Truth, Withdrawal,
};

const PAYMENT: Uuid = Uuid::from_u128(1);
const REFUND: Uuid = Uuid::from_u128(2);
const WITHDRAWAL: Uuid = Uuid::from_u128(3);
const PAYEE: Uuid = Uuid::from_u128(4);
const RECEIVABLE: Uuid = Uuid::from_u128(10);
const ESCROW: Uuid = Uuid::from_u128(11);
const AVAILABLE: Uuid = Uuid::from_u128(12);
const TRANSIT: Uuid = Uuid::from_u128(13);
const BANK: Uuid = Uuid::from_u128(14);
const PENDING: Uuid = Uuid::from_u128(15);
const OPENING: i64 = 5_000;

/// A payment of 900 of which 300 went back and 600 were earned; and 1,000 that were taken out.
#[derive(Clone)]
struct World {
    truth: Truth,
    movements: Vec<Movement>,
    entries: Vec<Entry>,
    wallet: Shown,
}

impl World {
    fn sound() -> Self {
        let mut truth = Truth::default();
        let payment = Payment {
            provider_order: "md_1".to_owned(),
            status: "partially_refunded".to_owned(),
            amount: 900,
            captured: 900,
            reserved: 0,
            refunded: 300,
            is_under_way: false,
        };
        truth.payments.insert(PAYMENT, payment);
        let refund = Refund { payment: PAYMENT, amount: 300, status: "succeeded".to_owned() };
        truth.refunds.insert(REFUND, refund);
        let withdrawal = Withdrawal { user: PAYEE, amount: 1_000, status: "paid".to_owned() };
        truth.withdrawals.insert(WITHDRAWAL, withdrawal);
        truth.items = vec![Item {
            payment: PAYMENT,
            payee: Some(PAYEE),
            is_earning: true,
            gross: 600,
            net: 600,
        }];
        let moves = [
            (20, "single", None, BANK, AVAILABLE, OPENING, PAYEE),
            (21, "single", None, RECEIVABLE, ESCROW, 900, PAYMENT),
            (22, "pending", None, ESCROW, RECEIVABLE, 300, PAYMENT),
            (23, "post", Some(22), ESCROW, RECEIVABLE, 300, PAYMENT),
            (24, "single", None, ESCROW, PENDING, 600, PAYMENT),
            (25, "pending", None, AVAILABLE, TRANSIT, 1_000, WITHDRAWAL),
            (26, "post", Some(25), AVAILABLE, TRANSIT, 1_000, WITHDRAWAL),
            (27, "single", None, TRANSIT, RECEIVABLE, 1_000, WITHDRAWAL),
        ];
        for (id, phase, hold, debit, credit, amount, reference) in moves {
            let (id, hold) = (Uuid::from_u128(id), hold.map(Uuid::from_u128));
            let phase = phase.to_owned();
            truth.transfers.push(Transfer { id, phase, hold, debit, credit, amount, reference });
        }
        let available = format!("user:{PAYEE}:available");
        let pending = format!("user:{PAYEE}:pending");
        let folded = truth.folded();
        for (id, code) in [
            (RECEIVABLE, "psp:fake:receivable#00"),
            (ESCROW, "escrow#00"),
            (AVAILABLE, available.as_str()),
            (TRANSIT, "payout:in_transit"),
            (BANK, "bank:operating"),
            (PENDING, pending.as_str()),
        ] {
            let counters = folded.get(&id).copied().unwrap_or_default();
            truth.accounts.insert(id, Account { code: code.to_owned(), counters });
        }
        let history = [
            (PAYMENT, vec!["created", "confirming", "captured", "partially_refunded"]),
            (WITHDRAWAL, vec!["requested", "approved", "sending", "paid"]),
        ];
        for (id, statuses) in history {
            let mut from = None;
            for (seq, to) in (0..).zip(statuses) {
                let change = Change { seq, from: from.replace(to.to_owned()), to: to.to_owned() };
                truth.changes.entry(id).or_default().push(change);
            }
        }
        for (name, subject, seq) in [
            ("PaymentCreated", PAYMENT, 0),
            ("PaymentCompleted", PAYMENT, 2),
            ("WithdrawalRequested", WITHDRAWAL, 0),
            ("PaymentRefunded", PAYMENT, 3),
            ("WithdrawalApproved", WITHDRAWAL, 1),
            ("WithdrawalPaid", WITHDRAWAL, 3),
        ] {
            truth.events.push(Event { name: name.to_owned(), subject, seq: Some(seq) });
        }
        let movement =
            |order: &str, amount, kind| Movement { order: order.to_owned(), amount, kind };
        let movements = vec![
            movement("md_1", 900, MovementKind::Charge),
            movement("md_1", 300, MovementKind::Cancel),
            movement(&WITHDRAWAL.to_string(), 1_000, MovementKind::PayOut),
        ];
        let id = PAYMENT.to_string();
        let refund = json!({ "id": REFUND.to_string(), "amount": 300, "status": "succeeded" });
        let entries = vec![
            entry("payments/create", 201, &json!({ "payment_id": id, "amount": 900 })),
            entry("payments/confirm", 200, &json!({ "id": id, "captured": 900 })),
            entry("payments/cancel", 200, &json!({ "id": id, "refund": refund })),
            entry("orders/job/1/release", 200, &json!({ "payment_id": id, "gross": 600 })),
            entry(
                "payments/withdraw",
                202,
                &json!({ "withdrawal_id": WITHDRAWAL.to_string(), "amount": 1_000 }),
            ),
        ];
        let wallet = Shown {
            user: PAYEE,
            available: OPENING - 1_000,
            pending: 600,
            held: 0,
            debt: 0,
            opening: OPENING,
        };
        Self { truth, movements, entries, wallet }
    }

    /// The kinds of everything that is wrong.
    fn wrongs(&self) -> Vec<Kind> {
        let mut oracle = Oracle::new(&self.truth, &self.movements);
        oracle.judge(&self.entries, &[self.wallet]);
        Kind::ALL.into_iter().filter(|kind| oracle.count(*kind) > 0).collect()
    }

    fn payment(&mut self) -> &mut Payment {
        self.truth.payments.get_mut(&PAYMENT).unwrap()
    }
}

fn entry(path: &str, status: u16, body: &serde_json::Value) -> Entry {
    let is_keyed = !path.ends_with("release");
    let request = Request {
        account: 1,
        method: Method::Post,
        path: format!("/v1/{path}"),
        key: is_keyed.then(|| "key-00000001".to_owned()),
        body: json!({ "payment_id": PAYMENT.to_string() }),
    };
    let heard = Heard { status, text: body.to_string(), is_replayed: false };
    let repeat = Heard { is_replayed: true, ..heard.clone() };
    Entry { request: Rc::new(request), answers: vec![heard, repeat] }
}

/// Breaks one thing of a sound world; the oracle has to name at least this kind.
fn assert_found(kind: Kind, harm: impl FnOnce(&mut World)) {
    let mut world = World::sound();
    harm(&mut world);
    let wrongs = world.wrongs();
    assert!(wrongs.contains(&kind), "{wrongs:?}, and not {kind:?}");
}

#[test]
fn nothing_is_wrong_with_a_sound_world() {
    assert_eq!(World::sound().wrongs(), []);
}

#[test]
fn money_that_is_elsewhere_than_promised_is_found() {
    assert_found(Kind::Lost, |world| world.payment().captured = 800);
    assert_found(Kind::Lost, |world| {
        world.truth.payments.clear();
    });
    assert_found(Kind::Lost, |world| {
        world.truth.refunds.get_mut(&REFUND).unwrap().status = "failed".to_owned();
    });
    assert_found(Kind::Lost, |world| world.truth.items.clear());
    assert_found(Kind::Lost, |world| {
        world.truth.withdrawals.clear();
    });
    assert_found(Kind::Lost, |world| {
        world.truth.changes.get_mut(&PAYMENT).unwrap().remove(1);
    });
    let declined = json!({});
    assert_found(Kind::Lost, |world| {
        world.entries = vec![entry("payments/confirm", 402, &declined)];
    });
}

#[test]
fn what_happened_twice_is_found() {
    assert_found(Kind::Doubled, |world| world.movements.push(world.movements[0].clone()));
    assert_found(Kind::Doubled, |world| world.movements.push(world.movements[2].clone()));
    // Two effects of one key.
    assert_found(Kind::Doubled, |world| {
        let other = json!({ "withdrawal_id": REFUND.to_string(), "amount": 1_000 });
        let answer = Heard { status: 202, text: other.to_string(), is_replayed: true };
        world.entries[4].answers.push(answer);
    });
    // Nobody asked for it.
    assert_found(Kind::Doubled, |world| {
        world.entries.remove(0);
    });
}

#[test]
fn books_that_differ_are_found() {
    for place in 0..3 {
        assert_found(Kind::Unbalanced, |world| {
            world.movements.remove(place);
        });
    }
    assert_found(Kind::Unbalanced, |world| world.payment().refunded = 200);
    assert_found(Kind::Unbalanced, |world| {
        world.truth.accounts.get_mut(&ESCROW).unwrap().counters.debits_posted += 1;
    });
    assert_found(Kind::Unbalanced, |world| {
        let counters = Counters { credits_posted: 1, ..Counters::default() };
        let account = Account { code: "suspense".to_owned(), counters };
        world.truth.accounts.insert(Uuid::from_u128(99), account);
    });
    assert_found(Kind::Unbalanced, |world| world.wallet.available += 1);
    assert_found(Kind::Unbalanced, |world| world.truth.items[0].net += 1);
    assert_found(Kind::Unbalanced, |world| world.movements[0].order = "md_2".to_owned());
}

#[test]
fn what_is_not_over_is_found() {
    assert_found(Kind::Stuck, |world| world.truth.unfinished.push("parked".to_owned()));
    assert_found(Kind::Stuck, |world| world.payment().is_under_way = true);
    assert_found(Kind::Stuck, |world| world.payment().reserved = 1);
    assert_found(Kind::Stuck, |world| {
        world.truth.refunds.get_mut(&REFUND).unwrap().status = "unknown".to_owned();
    });
    assert_found(Kind::Stuck, |world| {
        world.truth.withdrawals.get_mut(&WITHDRAWAL).unwrap().status = "sending".to_owned();
    });
    // A hold of which nothing has come.
    assert_found(Kind::Stuck, |world| {
        world.truth.transfers.remove(3);
    });
    // A request that was accepted, and of which nobody said what became of it.
    assert_found(Kind::Stuck, |world| {
        world.entries.push(entry("payments/confirm", 202, &json!({})));
    });
}

#[test]
fn what_was_told_twice_or_not_or_too_early_is_found() {
    assert_found(Kind::Untold, |world| {
        world.truth.events.remove(1);
    });
    assert_found(Kind::Untold, |world| world.truth.events.push(world.truth.events[5].clone()));
    assert_found(Kind::Untold, |world| world.truth.events.swap(0, 3));
}

#[test]
fn a_repeat_that_is_answered_otherwise_is_found() {
    assert_found(Kind::Unlike, |world| world.entries[1].answers[1].text.push(' '));
    assert_found(Kind::Unlike, |world| world.entries[2].answers[1].status = 422);
}
