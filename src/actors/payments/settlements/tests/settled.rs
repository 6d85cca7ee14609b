//! From paid to earned to the wallet, on the right day.

use std::time::Duration;

use futures_util::future::join_all;
use jiff::civil::date;
use serde_json::json;

use super::{HOUR, NET, RULES, SettlementRules, TODAY, Town, somebody, towns, won};
use crate::actors::payments::settlements::SettlementsError;
use crate::domain::calendar::{CalendarError, instant_of};
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::money::Currency;
use crate::domain::payments::orders::{FeeBps, NewOrder, OrderKey, OrderName};
use crate::domain::settlements::{SettlementStatus, Share};
use crate::store::audit::DeedFilter;
use crate::store::settlements::batches::Close;
use crate::store::settlements::releases::ReleaseError;
use crate::store::testing::{spoil_settlements, tamper};

const MINUTE: Duration = Duration::from_mins(1);

/// Closes the day, at ten past midnight of the next.
async fn close(town: &Town) -> usize {
    town.go_to(TODAY.tomorrow().unwrap(), MINUTE * 10);
    town.settlements.close_due().await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_paid_is_shared_out_in_one_entry() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (order, _) = town.paid(Some(payee), 10_000).await;
        let released = town.release(order.clone()).await.unwrap();
        let share = Share { gross: 10_000, fee: 1_000, fee_vat: 100, withholding: 330 };
        assert_eq!((released.share, released.was_before), (share, false));
        assert_eq!(town.figures(payee).await, (NET, 0, 0));
        let zero = Shard::numbered(0);
        for (name, balance) in [
            (AccountName::Escrow(zero), 0),
            (AccountName::FeeIncome(zero), 1_000),
            (AccountName::VatPayable, 100),
            (AccountName::WithholdingPayable, 330),
        ] {
            assert_eq!(town.counters(name).await.credit_balance(), balance, "{name:?}");
        }
        let order = town.store.find_order(order).await.unwrap().unwrap();
        assert_eq!(order.released_at, Some(town.now()));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_releases_at_once_one_is_booked() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (order, _) = town.paid(Some(payee), 10_000).await;
        // The control: another order is released beside it.
        let (other, _) = town.paid(Some(payee), 10_000).await;
        let orders = (0..16).map(|n| if n == 7 { other.clone() } else { order.clone() });
        let released = join_all(orders.map(|order| town.release(order))).await;
        let now = released.iter().filter(|it| !it.as_ref().unwrap().was_before).count();
        assert_eq!(now, 2);
        assert_eq!(town.figures(payee).await, (NET * 2, 0, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_says_the_same_again_whatever_was_refunded_since() {
    for town in towns(RULES).await {
        let (order, payment) = town.paid(Some(somebody()), 10_000).await;
        let first = town.release(order.clone()).await.unwrap();
        for refund in [4_000, 6_000] {
            town.refund(payment, refund).await;
            let again = town.release(order.clone()).await.unwrap();
            assert_eq!((again.share, again.was_before), (first.share, true));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_paid_or_about_to_go_back_is_not_released() {
    for town in towns(RULES).await {
        let (order, payment) = town.paid(Some(somebody()), 10_000).await;
        let unknown = OrderKey::parse("job", "none").unwrap();
        assert!(matches!(town.release(unknown).await, Err(ReleaseError::NotFound)));
        let refund = town.request(payment, 10_000).await.unwrap();
        let refused = town.release(order.clone()).await;
        assert!(matches!(refused, Err(ReleaseError::RefundUnderWay)), "{refused:?}");
        town.end(refund, true).await;
        let refused = town.release(order).await;
        assert!(matches!(refused, Err(ReleaseError::NotPaid)), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_is_to_get_is_the_platform_s_and_goes_back_whole() {
    for town in towns(RULES).await {
        let (order, payment) = town.paid(None, 10_000).await;
        town.release(order).await.unwrap();
        let income = AccountName::FeeIncome(Shard::numbered(0));
        assert_eq!(town.counters(income).await.credit_balance(), 10_000);
        town.refund(payment, 4_000).await;
        assert_eq!(town.counters(income).await.credit_balance(), 6_000);
        assert_eq!(close(&town).await, 0);
        town.assert_books_are_right(&[]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_is_closed_once_and_paid_once_two_business_days_later_at_nine() {
    for town in towns(RULES).await {
        let (payee, other) = (somebody(), somebody());
        town.earned(payee, 10_000).await;
        town.earned(payee, 10_000).await;
        town.earned(other, 10_000).await;
        assert_eq!(town.settlements.close_due().await.unwrap(), 0, "the day is not over");
        town.go_to(TODAY.tomorrow().unwrap(), MINUTE * 9);
        assert_eq!(town.settlements.close_due().await.unwrap(), 0, "not yet");

        town.go_to(TODAY.tomorrow().unwrap(), MINUTE * 10);
        let (one, two) = tokio::join!(town.settlements.close_due(), town.settlements.close_due());
        assert_eq!(one.unwrap() + two.unwrap(), 2, "one for each payee");
        let settlement = town.only_settlement(payee).await;
        assert_eq!(settlement.period_end, TODAY);
        assert_eq!((settlement.gross, settlement.net), (20_000, NET * 2));
        assert_eq!(settlement.pay_on, date(2026, 11, 20));
        assert_eq!(settlement.status, SettlementStatus::Closed);

        town.go_to(settlement.pay_on, HOUR * 9 - MINUTE);
        assert_eq!(town.settlements.pay_due().await.unwrap(), 0);
        town.go_to(settlement.pay_on, HOUR * 9);
        let (one, two) = tokio::join!(town.settlements.pay_due(), town.settlements.pay_due());
        assert_eq!(one.unwrap() + two.unwrap(), 2);
        assert_eq!(town.figures(payee).await, (0, NET * 2, 0));
        assert_eq!(town.figures(other).await, (0, NET, 0));
        let events = town.store.list_event_names(settlement.id.to_string()).await;
        assert_eq!(events, ["SettlementCreated", "SettlementReleased"]);
        town.assert_books_are_right(&[payee, other]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_a_holiday_nobody_is_paid_and_over_an_unknown_year_nothing_is_closed() {
    for town in towns(RULES).await {
        let payee = somebody();
        town.go_to(date(2026, 9, 22), HOUR);
        town.earned(payee, 10_000).await;
        town.go_to(date(2026, 9, 23), MINUTE * 10);
        town.settlements.close_due().await.unwrap();
        assert_eq!(town.only_settlement(payee).await.pay_on, date(2026, 9, 28), "Chuseok");

        let late = somebody();
        town.go_to(date(2027, 12, 30), HOUR);
        town.earned(late, 10_000).await;
        town.go_to(date(2027, 12, 31), MINUTE * 10);
        let refused = town.settlements.close_due().await;
        let unknown = CalendarError::UnknownYear(2028);
        assert!(matches!(refused, Err(SettlementsError::Calendar(error)) if error == unknown));
        assert_eq!(town.store.list_settlements(late, None, 9).await.unwrap(), []);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_worth_a_payment_is_carried_into_the_next_batch() {
    let rules = SettlementRules { minimum: 10_000, ..RULES };
    for town in towns(rules).await {
        let payee = somebody();
        town.earned(payee, 10_000).await;
        close(&town).await;
        let first = town.only_settlement(payee).await;
        assert_eq!((first.status, first.net), (SettlementStatus::Carried, NET));
        let events = town.store.list_event_names(first.id.to_string()).await;
        assert_eq!(events, ["SettlementCarried"]);
        town.assert_books_are_right(&[payee]).await;

        town.earned(payee, 10_000).await;
        town.go_to(date(2026, 11, 20), MINUTE * 10);
        town.settlements.close_due().await.unwrap();
        let next = town.store.list_settlements(payee, None, 1).await.unwrap().remove(0);
        assert_eq!(
            (next.status, next.carry_in, next.net),
            (SettlementStatus::Closed, NET, NET * 2)
        );
        town.go_to(next.pay_on, HOUR * 9);
        assert_eq!(town.settlements.pay_due().await.unwrap(), 1);
        assert_eq!(town.figures(payee).await, (0, NET * 2, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_cannot_be_settled_holds_up_no_other() {
    for town in towns(RULES).await {
        let (spoiled, unpaid, other) = (somebody(), somebody(), somebody());
        for payee in [spoiled, unpaid, other] {
            town.earned(payee, 10_000).await;
        }
        spoil_settlements(&town.store, spoiled).await;
        town.go_to(TODAY.tomorrow().unwrap(), MINUTE * 10);
        assert!(town.settlements.close_due().await.is_err(), "somebody is told");
        assert_eq!(town.store.list_settlements(spoiled, None, 9).await.unwrap(), []);
        let settlement = town.only_settlement(other).await;

        spoil_settlements(&town.store, unpaid).await;
        town.go_to(settlement.pay_on, HOUR * 9);
        assert!(town.settlements.pay_due().await.is_err(), "somebody is told");
        assert_eq!(town.figures(other).await, (0, NET, 0));
        assert_eq!(town.figures(unpaid).await, (NET, 0, 0));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_for_which_nothing_is_left_gets_no_batch_and_takes_none_back() {
    let rules = SettlementRules { minimum: 10_000, ..RULES };
    for town in towns(rules).await {
        let payee = somebody();
        town.earned(payee, 10_000).await;
        close(&town).await;
        let carried = town.only_settlement(payee).await;
        assert_eq!(carried.status, SettlementStatus::Carried);

        // Somebody has seen an item for the day before, and was late.
        let (yesterday, until) = (TODAY.yesterday().unwrap(), instant_of(TODAY, Duration::ZERO));
        let close = Close {
            period_end: yesterday,
            until: until.unwrap(),
            pay_on: TODAY,
            release_at: town.now(),
            minimum: 1,
        };
        let made = town.store.close_settlement(payee, RULES.currency, close, town.now()).await;
        assert_eq!(made.unwrap(), None);
        assert_eq!(town.only_settlement(payee).await, carried);
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_released_holds_up_no_other() {
    let rules = SettlementRules { auto_release_days: 1, ..RULES };
    for town in towns(rules).await {
        let payee = somebody();
        for _ in 0..3 {
            // More than there is, with its VAT.
            town.paid_with_fee(Some(payee), 10_000, 9_500).await;
        }
        town.go_to(TODAY, HOUR * 13);
        town.paid(Some(payee), 10_000).await;
        town.go_to(TODAY.tomorrow().unwrap(), HOUR * 13);
        assert_eq!(town.settlements.release_old().await.unwrap(), 1);
        assert_eq!(town.figures(payee).await, (NET, 0, 0));
        assert_eq!(town.settlements.release_old().await.unwrap(), 0, "once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_nobody_speaks_of_is_released_after_its_days() {
    let rules = SettlementRules { auto_release_days: 7, ..RULES };
    for (rules, released) in [(rules, 1), (RULES, 0)] {
        for town in towns(rules).await {
            let payee = somebody();
            town.paid(Some(payee), 10_000).await;
            town.go_to(TODAY.saturating_add(jiff::Span::new().days(7)), HOUR * 11);
            assert_eq!(town.settlements.release_old().await.unwrap(), 0, "too soon");
            town.go_to(TODAY.saturating_add(jiff::Span::new().days(7)), HOUR * 12);
            assert_eq!(town.settlements.release_old().await.unwrap(), released);
            assert_eq!(town.settlements.release_old().await.unwrap(), 0, "once");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_has_left_is_released_too_where_the_order_was_paid_for_again() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (order, first) = town.paid(Some(payee), 10_000).await;
        let dispute = town.dispute(first, 4_000).await;
        town.decide(&dispute, true).await;
        let second = town.paid_for(order.clone(), Some(payee), 10_000).await;
        for (payment, gross, was_before) in
            [(second, 10_000, false), (first, 6_000, false), (second, 10_000, true)]
        {
            let released = town.release(order.clone()).await.unwrap();
            assert_eq!((released.payment, released.share.gross), (payment, gross));
            assert_eq!(released.was_before, was_before);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_releases_is_named_and_releases_nothing_of_their_own() {
    for town in towns(RULES).await {
        let (payee, admin) = (somebody(), somebody());
        let (order, payment) = town.paid(Some(payee), 10_000).await;
        for own in [payee, town.payer] {
            let refused = town.settlements.release_by_hand(order.clone(), own).await;
            assert!(matches!(refused, Err(ReleaseError::OwnDecision)), "{refused:?}");
        }
        for was_before in [false, true] {
            let released = town.settlements.release_by_hand(order.clone(), admin).await.unwrap();
            assert_eq!(released.was_before, was_before);
        }
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        assert_eq!(deeds.len(), 1, "{deeds:?}");
        let said = (deeds[0].action.as_str(), deeds[0].by, deeds[0].target.clone());
        assert_eq!(said, ("order_released", admin, format!("payment:{payment}")));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_older_release_has_released_is_noted_and_not_listed_again() {
    let rules = SettlementRules { auto_release_days: 1, ..RULES };
    for town in towns(rules).await {
        let payee = somebody();
        let (order, _) = town.paid(Some(payee), 10_000).await;
        town.release(order).await.unwrap();
        let forget = "UPDATE payments SET released_at = NULL";
        tamper(&town.store, forget, forget).await;
        town.go_to(TODAY.tomorrow().unwrap().tomorrow().unwrap(), HOUR);
        let list = || town.store.list_unreleased_orders(town.now(), None, 9);
        assert_eq!(list().await.unwrap().len(), 1);
        assert_eq!(town.settlements.release_old().await.unwrap(), 0, "it was released");
        assert!(list().await.unwrap().is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_administrator_who_says_what_something_costs_is_named_where_that_changes_something() {
    for town in towns(RULES).await {
        let admin = somebody();
        let order = |amount| NewOrder {
            key: OrderKey::parse("job", "2026-117").unwrap(),
            payer: None,
            payee: None,
            amount: won(amount),
            currency: Currency::KRW,
            name: OrderName::parse("화단 정리").unwrap(),
            fee: FeeBps::default(),
        };
        for amount in [1_000, 1_000, 2_000] {
            town.store.put_order_by_hand(order(amount), admin, town.now()).await.unwrap();
        }
        let deeds = town.store.list_audit(DeedFilter::default(), None, 9).await.unwrap();
        let said: Vec<_> = deeds.iter().rev().map(|it| (it.action.as_str(), it.by)).collect();
        assert_eq!(said, [("order_registered", admin), ("order_changed", admin)]);
        assert_eq!(
            (&deeds[0].before["amount"], &deeds[0].after["amount"]),
            (&json!(1_000), &json!(2_000))
        );
        assert_eq!(deeds[0].target, "order:job/2026-117");
    }
}
