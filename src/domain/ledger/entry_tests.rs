//! The rules of entries, without a database.

use std::collections::HashMap;

use proptest::prelude::*;
use uuid::Uuid;

use super::chart::AccountName;
use super::entry::{Entry, Hold, Line, Phase, Reference, deltas, resolve};
use super::{Counters, Guard, LedgerError};
use crate::domain::ids::TransferId;
use crate::domain::money::{AMOUNT_MAX, Amount, Currency};
use crate::domain::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_795_262_400_000);

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn user(n: u128) -> crate::domain::ids::UserId {
    Uuid::from_u128(n).into()
}

fn entry(key: &str, lines: Vec<Line>) -> Entry {
    Entry {
        key: key.to_owned(),
        kind: "test",
        reference: Reference { kind: "test", id: Uuid::nil() },
        actor: "test".to_owned(),
        currency: Currency::KRW,
        lines,
    }
}

fn pay_in(amount: i64) -> Line {
    Line::Move {
        debit: AccountName::BankTrust,
        credit: AccountName::UserAvailable(user(1)),
        amount: won(amount),
        code: "pay_in",
    }
}

fn held(amount: i64, expires_at: Option<Timestamp>) -> Hold {
    Hold {
        id: Entry::transfer_id("hold", 0),
        debit: AccountName::UserAvailable(user(1)).id(Currency::KRW),
        credit: AccountName::PayoutInTransit.id(Currency::KRW),
        currency: Currency::KRW,
        amount: won(amount),
        expires_at,
    }
}

fn resolved(line: Line, hold: Hold) -> Result<Vec<super::entry::Transfer>, LedgerError> {
    resolve(&entry("resolution", vec![line]), &HashMap::from([(hold.id, hold)]), NOW)
}

#[test]
fn ids_follow_from_the_key_and_the_line() {
    assert_eq!(entry("a", vec![pay_in(1)]).id(), Entry::id_of("a"));
    assert_ne!(Entry::id_of("a"), Entry::id_of("b"));
    assert_ne!(Entry::transfer_id("a", 0), Entry::transfer_id("a", 1));
    assert_ne!(Entry::transfer_id("a", 0).uuid(), Entry::id_of("a").uuid());
}

#[test]
fn another_amount_account_or_currency_is_another_entry() {
    let fingerprint = |lines: Vec<Line>| entry("a", lines).fingerprint();
    let swapped = Line::Move {
        debit: AccountName::UserAvailable(user(1)),
        credit: AccountName::BankTrust,
        amount: won(5),
        code: "pay_in",
    };
    let one = fingerprint(vec![pay_in(5)]);
    assert_eq!(one, fingerprint(vec![pay_in(5)]));
    assert_ne!(one, fingerprint(vec![pay_in(6)]));
    assert_ne!(one, fingerprint(vec![swapped]));
    assert_ne!(one, fingerprint(vec![pay_in(5), pay_in(5)]));
    let dollars = Entry { currency: "USD".parse().unwrap(), ..entry("a", vec![pay_in(5)]) };
    assert_ne!(one, dollars.fingerprint());
}

#[test]
fn an_entry_without_lines_or_between_one_account_and_itself_is_none() {
    let itself = Line::Move {
        debit: AccountName::Suspense,
        credit: AccountName::Suspense,
        amount: won(1),
        code: "x",
    };
    for lines in [Vec::new(), vec![itself], vec![pay_in(1); super::LINES_MAX + 1]] {
        let refused = resolve(&entry("a", lines), &HashMap::new(), NOW);
        assert_eq!(refused, Err(LedgerError::InvalidEntry));
    }
}

#[test]
fn a_hold_is_posted_in_part_and_the_rest_is_free() {
    let hold = held(100, None);
    let transfers = resolved(Line::Post { hold: hold.id, amount: won(60) }, hold).unwrap();
    assert_eq!((transfers[0].phase, transfers[0].amount), (Phase::Post, won(60)));

    let deltas = deltas(&transfers).unwrap();
    let debit = Counters { debits_pending: -100, debits_posted: 60, ..Counters::default() };
    let credit = Counters { credits_pending: -100, credits_posted: 60, ..Counters::default() };
    assert_eq!((deltas[&hold.debit], deltas[&hold.credit]), (debit, credit));
}

#[test]
fn a_hold_is_resolved_once_in_time_and_with_no_more_than_it_holds() {
    let hold = held(100, Some(NOW));
    let (id, late) = (hold.id, held(100, Some(NOW.plus(std::time::Duration::from_secs(1)))));
    let post = |amount| Line::Post { hold: id, amount: won(amount) };

    assert_eq!(resolved(post(100), hold), Err(LedgerError::HoldExpired));
    assert!(resolved(Line::Void { hold: id }, hold).is_ok(), "what has ended can be freed");
    assert!(resolved(post(100), late).is_ok());
    assert_eq!(resolved(post(101), late), Err(LedgerError::MoreThanHeld));
    let twice = entry("a", vec![post(1), Line::Void { hold: id }]);
    let holds = HashMap::from([(id, late)]);
    assert_eq!(resolve(&twice, &holds, NOW), Err(LedgerError::HoldResolved));
    let unknown = Line::Void { hold: TransferId::from(Uuid::nil()) };
    assert_eq!(resolved(unknown, hold), Err(LedgerError::HoldNotFound));
}

#[test]
fn a_guard_counts_what_is_pending() {
    let wallet =
        Counters { credits_posted: 10, debits_posted: 4, debits_pending: 6, ..Counters::default() };
    assert!(wallet.keeps(Guard::DebitsWithinCredits));
    assert_eq!((wallet.credit_available(), wallet.credit_balance()), (0, 6));
    let more = Counters { debits_pending: 7, ..wallet };
    assert!(!more.keeps(Guard::DebitsWithinCredits));
    assert!(more.keeps(Guard::None));
    let debt =
        Counters { debits_posted: 5, credits_posted: 3, credits_pending: 2, ..Counters::default() };
    assert!(debt.keeps(Guard::CreditsWithinDebits));
    assert!(!Counters { credits_posted: 4, ..debt }.keeps(Guard::CreditsWithinDebits));
}

proptest! {
    #[test]
    fn whatever_moves_debits_and_credits_stay_the_same(
        lines in prop::collection::vec((0_u128..4, 0_u128..4, 1..=AMOUNT_MAX, any::<bool>()), 1..20),
    ) {
        let lines: Vec<Line> = lines
            .into_iter()
            .filter(|(debit, credit, _, _)| debit != credit)
            .map(|(debit, credit, amount, is_hold)| {
                let debit = AccountName::UserAvailable(user(debit));
                let credit = AccountName::UserAvailable(user(credit));
                let (amount, code) = (won(amount), "x");
                if is_hold {
                    Line::Hold { debit, credit, amount, code, expires_at: None }
                } else {
                    Line::Move { debit, credit, amount, code }
                }
            })
            .collect();
        prop_assume!(!lines.is_empty());
        let transfers = resolve(&entry("a", lines), &HashMap::new(), NOW).unwrap();

        let deltas = deltas(&transfers).unwrap();

        let total = |of: fn(&Counters) -> i64| deltas.values().map(of).sum::<i64>();
        prop_assert_eq!(total(|it| it.debits_posted), total(|it| it.credits_posted));
        prop_assert_eq!(total(|it| it.debits_pending), total(|it| it.credits_pending));
    }
}
