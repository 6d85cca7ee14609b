//! What came by a transfer goes back by one: to an account that its payer names, and that nobody keeps.

use std::time::Duration;

use super::{CancelPayment, CreatePayment, Ground, Made, PaymentMethod, body, code, grounds};
use crate::domain::bank_accounts::{AccountDetails, BankCode, RefundAccount};
use crate::domain::payments::refunds::RefundStatus;
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::fake::payer::Method;
use crate::store::testing::dump_text;

const NUMBER: &str = "110123456789";
const HOLDER: &str = "김지수";

async fn deposited(ground: &Ground) -> Made {
    let with = |request| CreatePayment { method: PaymentMethod::VirtualAccount, ..request };
    let made = ground.created_as("a", 10_000, with).await;
    let key = ground.provider.pay(&made.order, Method::VirtualAccount).unwrap();
    ground.confirm(&made, &key).await;
    ground.provider.deposit(&made.order).unwrap();
    ground.look_again(&made).await.unwrap();
    ground.until(&made, super::PaymentStatus::Captured).await;
    made
}

fn to(made: &Made, amount: Option<i64>) -> CancelPayment {
    let details = AccountDetails::parse(NUMBER, HOLDER).unwrap();
    let account = RefundAccount { bank: BankCode::parse("088").unwrap(), details };
    CancelPayment { refund_account: Some(account), ..made.cancel(amount) }
}

async fn is_kept(ground: &Ground, made: &Made) -> bool {
    let refund = ground.store.list_refunds(made.id).await.unwrap().remove(0);
    ground.store.find_sealed_refund_account(refund.id).await.unwrap().is_some()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deposit_goes_back_to_an_account_and_not_without_one() {
    for ground in grounds().await {
        let made = deposited(&ground).await;
        let refused = ground.cancel(&made, None).await;
        assert_eq!(code(&refused, 422), "refund_account_required");
        let call = ground.call("cancel", made.payer, None);
        let given = ground.payments.cancel(to(&made, None), call).await.unwrap();
        assert_eq!(body(&given, 200)["status"], "refunded");
        assert!(!given.answer.body.contains(NUMBER) && !given.answer.body.contains(HOLDER));
        assert!(!is_kept(&ground, &made).await, "nobody needs it any more");
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_it_goes_is_sealed_until_it_is_there_whoever_asks_again() {
    for ground in grounds().await {
        let made = deposited(&ground).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::Cancel, [lost, lost]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(to(&made, Some(4_000)), call).await.unwrap();
        ground.rest().await;
        assert!(is_kept(&ground, &made).await, "it has to be asked for again");
        let seals = ground.store.list_bank_account_seals().await.unwrap();
        assert_eq!(seals.len(), 1, "a node with another key is told");
        let rows = dump_text(&ground.store).await;
        assert!(!rows.contains(NUMBER) && !rows.contains(HOLDER));
        super::eventually("it was given back", async || {
            if let Some(wake_at) = ground.next_wake().await {
                ground.pass(wake_at.since(ground.now()).max(Duration::from_secs(1))).await;
            }
            let refund = ground.store.list_refunds(made.id).await.unwrap().remove(0);
            (refund.status == RefundStatus::Succeeded).then_some(())
        })
        .await;
        assert!(!is_kept(&ground, &made).await);
        assert!(ground.store.list_bank_account_seals().await.unwrap().is_empty());
        ground.must_agree(&made).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_by_card_goes_back_to_it_and_no_account_is_kept() {
    for ground in grounds().await {
        let made = ground.captured("a", 10_000).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::Cancel, [lost]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(to(&made, None), call).await.unwrap();
        assert!(!is_kept(&ground, &made).await);
    }
}
