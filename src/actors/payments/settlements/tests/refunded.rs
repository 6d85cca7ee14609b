//! What is refunded after it was earned: from what is pending, from the wallet, or as a debt.

use std::time::Duration;

use jiff::civil::date;

use super::{HOUR, NET, RULES, TODAY, Town, somebody, towns};
use crate::domain::ids::UserId;
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::settlements::SettlementStatus;

const TEN_PAST: Duration = Duration::from_mins(10);

async fn close(town: &Town) {
    town.go_to(TODAY.tomorrow().unwrap(), TEN_PAST);
    assert_eq!(town.settlements.close_due().await.unwrap(), 1);
}

async fn pay(town: &Town, payee: UserId) {
    let last = town.store.list_settlements(payee, None, 1).await.unwrap().remove(0);
    town.go_to(last.pay_on, HOUR * 9);
    assert_eq!(town.settlements.pay_due().await.unwrap(), 1);
}

async fn assert_nothing_is_kept(town: &Town) {
    let zero = Shard::numbered(0);
    for name in [
        AccountName::FeeIncome(zero),
        AccountName::VatPayable,
        AccountName::WithholdingPayable,
        AccountName::Escrow(zero),
        AccountName::ProviderReceivable("fake", zero),
    ] {
        assert_eq!(town.counters(name).await.credit_balance(), 0, "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn before_the_close_it_is_taken_from_the_same_batch() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        town.refund(payment, 3_000).await;
        town.refund(payment, 7_000).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert_nothing_is_kept(&town).await;
        close(&town).await;
        let settlement = town.only_settlement(payee).await;
        assert_eq!((settlement.gross, settlement.refunds, settlement.net), (10_000, 10_000, 0));
        assert_eq!(settlement.status, SettlementStatus::Carried);
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_close_the_batch_stays_and_what_is_owed_is_subtracted_on_its_day() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        close(&town).await;
        town.refund(payment, 10_000).await;
        assert_eq!(town.figures(payee).await, (NET, 0, NET), "promised, and owed");
        assert_eq!(town.only_settlement(payee).await.net, NET, "never an edit");

        pay(&town, payee).await;
        assert_eq!(town.only_settlement(payee).await.debt_repaid, NET);
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert_nothing_is_kept(&town).await;

        town.go_to(date(2026, 11, 24), TEN_PAST);
        town.settlements.close_due().await.unwrap();
        let next = town.store.list_settlements(payee, None, 1).await.unwrap().remove(0);
        assert_eq!(
            (next.refunds, next.elsewhere, next.net),
            (10_000, NET, 0),
            "an item of its own"
        );
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_payment_it_is_taken_from_the_wallet_and_the_rest_is_owed() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        close(&town).await;
        pay(&town, payee).await;
        assert!(town.take_out(payee, NET - 1_000).await);
        town.refund(payment, 10_000).await;
        assert_eq!(town.figures(payee).await, (0, 0, NET - 1_000));
        town.assert_books_are_right(&[payee]).await;

        // What is earned next pays the debt.
        town.earned(payee, 20_000).await;
        town.go_to(date(2026, 11, 21), TEN_PAST);
        town.settlements.close_due().await.unwrap();
        pay(&town, payee).await;
        assert_eq!(town.figures(payee).await, (0, NET * 2 - (NET - 1_000), 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refund_that_comes_to_nothing_gives_everything_back() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        let refund = town.request(payment, 5_000).await.unwrap();
        assert!(town.figures(payee).await.0 < NET);
        town.assert_books_are_right(&[payee]).await;
        close(&town).await;
        town.end(refund, false).await;
        assert_eq!(town.figures(payee).await, (NET, 0, 0));
        town.assert_books_are_right(&[payee]).await;

        town.refund(payment, 10_000).await;
        town.assert_books_are_right(&[payee]).await;
        assert_nothing_is_kept(&town).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn refunds_closes_and_payments_at_once_leave_the_books_right() {
    for town in towns(RULES).await {
        let payee = somebody();
        let mut payments = Vec::new();
        for _ in 0..6 {
            payments.push(town.earned(payee, 10_000).await);
        }
        town.go_to(TODAY.tomorrow().unwrap(), TEN_PAST);
        let refunds = payments.iter().map(|payment| town.refund(*payment, 6_000));
        let (one, other, _) = tokio::join!(
            town.settlements.close_due(),
            town.settlements.close_due(),
            futures_util::future::join_all(refunds),
        );
        assert_eq!(one.unwrap() + other.unwrap(), 1);
        town.assert_books_are_right(&[payee]).await;

        let settlement = town.only_settlement(payee).await;
        town.go_to(settlement.pay_on, HOUR * 9);
        let rest = payments.iter().map(|payment| town.refund(*payment, 4_000));
        let (paid, _) =
            tokio::join!(town.settlements.pay_due(), futures_util::future::join_all(rest));
        assert_eq!(paid.unwrap(), usize::from(settlement.status == SettlementStatus::Closed));
        town.assert_books_are_right(&[payee]).await;
        assert_nothing_is_kept(&town).await;
        let (pending, available, debt) = town.figures(payee).await;
        assert_eq!(pending + available - debt, 0);
    }
}
