//! What is disputed after it was earned: it is not paid out, and what is not there is held as soon as it comes.

use std::time::Duration;

use futures_util::future::join_all;

use super::{HOUR, NET, RULES, TODAY, Town, somebody, towns, won};
use crate::clock;
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::ledger::chart::{AccountName, Shard};
use crate::domain::money::Currency;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::{PaymentStatus, ProviderName};
use crate::store::StoreError;
use crate::store::disputes::holds::{Opened, free, give, open};
use crate::store::disputes::{Dispute, Told, is_payee_disputed, lock_dispute, record_dispute};
use crate::store::payments::{ChangeError, get_locked};

const TEN_PAST: Duration = Duration::from_mins(10);

impl Town {
    /// A payer's bank wants so much back.
    pub(super) async fn dispute(&self, payment: PaymentId, amount: i64) -> Dispute {
        let (now, key) = (self.now(), clock::new_uuid().to_string());
        let done: Result<Dispute, ChangeError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let found = get_locked(db, payment).await?;
                    let told = Told {
                        id: clock::new_uuid().into(),
                        payment,
                        payee: found.payee,
                        provider: found.provider,
                        provider_key: key.clone(),
                        currency: found.currency,
                        amount: won(amount),
                        status: DisputeStatus::NeedsResponse,
                        due_at: None,
                    };
                    record_dispute(db, &told, now).await?;
                    let dispute = lock_dispute(db, ProviderName::Fake, &key).await?;
                    assert_eq!(open(db, &dispute, now).await?, Opened::Yes);
                    Ok(lock_dispute(db, ProviderName::Fake, &key).await?)
                })
            })
            .await;
        done.unwrap()
    }

    /// The bank decides.
    pub(super) async fn decide(&self, dispute: &Dispute, is_lost: bool) {
        let (now, dispute) = (self.now(), dispute.clone());
        let done: Result<(), ChangeError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    if is_lost {
                        give(db, &dispute, now).await
                    } else {
                        free(db, &dispute, now).await
                    }
                })
            })
            .await;
        done.unwrap();
    }

    async fn close(&self) {
        self.go_to(TODAY.tomorrow().unwrap(), TEN_PAST);
        assert_eq!(self.settlements.close_due().await.unwrap(), 1);
    }

    async fn pay(&self, payee: UserId) {
        let last = self.store.list_settlements(payee, None, 1).await.unwrap().remove(0);
        self.go_to(last.pay_on, HOUR * 9);
        assert_eq!(self.settlements.pay_due().await.unwrap(), 1);
    }

    /// What payers' banks have taken that nobody else bears.
    async fn chargebacks(&self) -> i64 {
        self.counters(AccountName::Chargeback).await.debit_balance()
    }

    async fn is_disputed(&self, payee: UserId) -> bool {
        let is: Result<bool, StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move { is_payee_disputed(db, payee, Currency::KRW).await })
            })
            .await;
        is.unwrap()
    }

    async fn status(&self, payment: PaymentId) -> PaymentStatus {
        self.store.find_payment(payment).await.unwrap().unwrap().status
    }
}

async fn assert_nothing_is_kept(town: &Town) {
    let zero = Shard::numbered(0);
    for name in [
        AccountName::FeeIncome(zero),
        AccountName::VatPayable,
        AccountName::WithholdingPayable,
        AccountName::Escrow(zero),
        AccountName::ProviderReceivable("fake", zero),
        AccountName::Chargeback,
    ] {
        let counters = town.counters(name).await;
        assert_eq!((counters.credit_balance(), counters.debits_pending), (0, 0), "{name:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_disputed_is_not_paid_out_and_what_is_won_is() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (one, _) = (town.earned(payee, 10_000).await, town.earned(payee, 10_000).await);
        let dispute = town.dispute(one, 10_000).await;
        assert_eq!((dispute.covered, dispute.missing), (10_000, 0));
        assert_eq!(town.figures(payee).await, (NET, 0, 0));
        assert!(town.is_disputed(payee).await);
        town.assert_books_are_right(&[payee]).await;
        town.close().await;
        town.pay(payee).await;
        assert_eq!(town.figures(payee).await, (0, NET, 0), "the other one");

        town.decide(&dispute, false).await;
        assert_eq!(town.figures(payee).await, (NET, NET, 0));
        assert_eq!(town.status(one).await, PaymentStatus::Captured);
        assert!(!town.is_disputed(payee).await);
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_promised_to_a_day_is_held_when_it_comes() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        town.close().await;
        let dispute = town.dispute(payment, 10_000).await;
        assert_eq!(dispute.missing, NET, "nothing is there that could be held");
        assert_eq!(town.figures(payee).await, (NET, 0, 0), "and nothing is overdrawn");
        town.pay(payee).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0), "it came, and is held");
        town.assert_books_are_right(&[payee]).await;

        town.decide(&dispute, true).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert_eq!(town.status(payment).await, PaymentStatus::ChargedBack);
        assert_nothing_is_kept(&town).await;
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_taken_out_is_owed_once_the_bank_has_won() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        town.close().await;
        town.pay(payee).await;
        assert!(town.take_out(payee, NET - 1_000).await);
        let dispute = town.dispute(payment, 10_000).await;
        assert_eq!(dispute.missing, NET - 1_000);
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert!(!town.take_out(payee, 1).await, "what is left is held");
        town.decide(&dispute, true).await;
        assert_eq!(town.figures(payee).await, (0, 0, NET - 1_000));
        assert_nothing_is_kept(&town).await;
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wanted_beyond_the_payment_is_ours_to_bear() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        town.refund(payment, 4_000).await;
        let dispute = town.dispute(payment, 10_000).await;
        assert_eq!(dispute.covered, 6_000);
        town.decide(&dispute, true).await;
        let ours = town.counters(AccountName::Chargeback).await;
        assert_eq!(ours.debit_balance(), 4_000);
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_disputes_of_a_payment_are_decided_one_by_one() {
    for town in towns(RULES).await {
        let payee = somebody();
        let payment = town.earned(payee, 10_000).await;
        let one = town.dispute(payment, 6_000).await;
        let other = town.dispute(payment, 6_000).await;
        assert_eq!((one.covered, other.covered), (6_000, 4_000));
        town.decide(&one, false).await;
        assert_eq!(town.status(payment).await, PaymentStatus::Disputed, "there is another");
        town.decide(&other, true).await;
        assert_eq!(town.status(payment).await, PaymentStatus::ChargedBack);
        let payment = town.store.find_payment(payment).await.unwrap().unwrap();
        assert_eq!(payment.sums.refunded, 6_000);
        assert_eq!(town.chargebacks().await, 0, "what the first had held was there again");
        town.assert_books_are_right(&[payee]).await;
    }
}

/// The refund was on its way when the bank wanted all of it, and the provider refuses it.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_refund_leaves_of_something_earned_is_taken_from_its_payee() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (kept, spent) = (town.earned(payee, 10_000).await, town.earned(payee, 10_000).await);
        for (payment, owed) in [(kept, 0), (spent, NET)] {
            let refund = town.request(payment, 10_000).await.unwrap();
            let dispute = town.dispute(payment, 10_000).await;
            assert_eq!((dispute.covered, dispute.missing), (0, 0), "the refund has it");
            town.end(refund, false).await;
            if owed > 0 {
                town.close().await;
                town.pay(payee).await;
                assert!(town.take_out(payee, NET).await);
            }
            town.decide(&dispute, true).await;
            let pending = if owed > 0 { 0 } else { NET };
            assert_eq!(town.figures(payee).await, (pending, 0, owed));
            assert_eq!(town.chargebacks().await, 0, "it was there");
            town.assert_books_are_right(&[payee]).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_bank_has_left_and_another_dispute_takes_is_its_payees_to_bear() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (order, payment) = town.paid(Some(payee), 10_000).await;
        let first = town.dispute(payment, 4_000).await;
        town.decide(&first, true).await;
        assert_eq!(town.release(order).await.unwrap().share.gross, 6_000);
        let second = town.dispute(payment, 6_000).await;
        assert_eq!(second.covered, 0, "it is over");
        town.decide(&second, true).await;
        let payment = town.store.find_payment(payment).await.unwrap().unwrap();
        assert_eq!(payment.sums.refunded, 10_000);
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert_nothing_is_kept(&town).await;
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_free_again_is_held_for_a_dispute_that_is_short() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (one, other) = (town.earned(payee, 10_000).await, town.earned(payee, 10_000).await);
        town.close().await;
        town.pay(payee).await;
        let refund = town.request(other, 10_000).await.unwrap();
        assert!(town.take_out(payee, NET).await);
        let dispute = town.dispute(one, 10_000).await;
        assert_eq!(dispute.missing, NET);
        town.end(refund, false).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        assert!(!town.take_out(payee, 1).await, "what came is held");
        let next = town.dispute(other, 10_000).await;
        assert_eq!(next.missing, NET);
        town.decide(&dispute, false).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0), "and then held for the other one");
        town.decide(&next, true).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0), "nothing is owed");
        assert_eq!(town.chargebacks().await, 0);
        assert!(town.store.list_ledger_findings().await.unwrap().is_empty());
        town.assert_books_are_right(&[payee]).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_debt_is_paid_of_what_is_free_again() {
    for town in towns(RULES).await {
        let payee = somebody();
        let (one, other) = (town.earned(payee, 10_000).await, town.earned(payee, 10_000).await);
        town.close().await;
        town.pay(payee).await;
        let refund = town.request(other, 10_000).await.unwrap();
        assert!(town.take_out(payee, NET).await);
        town.refund(one, 10_000).await;
        assert_eq!(town.figures(payee).await, (0, 0, NET));
        town.end(refund, false).await;
        assert_eq!(town.figures(payee).await, (0, 0, 0));
        town.assert_books_are_right(&[payee]).await;
    }
}

/// What is paid and then held touches two entries' accounts; a refund locks some of them the other way round.
#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_held_and_a_refund_do_not_wait_for_one_another() {
    for town in towns(RULES).await {
        let mut all = Vec::new();
        for _ in 0..12 {
            let payee = somebody();
            let (one, other) = (town.earned(payee, 10_000).await, town.earned(payee, 10_000).await);
            all.push((payee, one, other));
        }
        town.go_to(TODAY.tomorrow().unwrap(), TEN_PAST);
        assert_eq!(town.settlements.close_due().await.unwrap(), all.len());
        let mut at_once = Vec::new();
        for (payee, one, other) in &all {
            town.give(*payee, NET).await;
            let refund = town.request(*one, 10_000).await.unwrap();
            assert_eq!(town.dispute(*other, 10_000).await.missing, NET);
            at_once.push((town.only_settlement(*payee).await, refund));
        }
        town.go_to(at_once[0].0.pay_on, HOUR * 9);
        let paid = at_once.iter().map(|(settlement, refund)| async {
            let paying = town.store.pay_settlement(settlement.id, town.now());
            let (paid, ()) = tokio::join!(paying, town.end(*refund, true));
            assert!(paid.unwrap().is_some());
        });
        join_all(paid).await;
        for (payee, ..) in &all {
            assert_eq!(town.figures(*payee).await, (0, NET, 0));
        }
        assert!(town.store.list_ledger_findings().await.unwrap().is_empty());
    }
}
