//! What is asked again of providers: everything in its turn, and nothing holds up the rest.

use std::time::Duration;

use super::{MINUTE, RULES, Town, reason, somebody, towns};
use crate::domain::ids::WithdrawalId;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::domain::workflows::WorkflowStatus;
use crate::store::testing::{forget_provider, misstate_amount, tamper};
use crate::store::withdrawals::{Watched, Withdrawal};
use crate::store::workflows::admin::AnotherTurn;

/// What a bank takes three minutes for.
const SLOW: i64 = 10_951;
const HOUR: Duration = Duration::from_hours(1);
const FORTNIGHT: Duration = Duration::from_hours(14 * 24);

async fn sent(town: &Town, amount: i64) -> Withdrawal {
    let person = town.regular(amount).await;
    let withdrawal = town.withdraw(person, amount).await.unwrap();
    town.drive().await;
    withdrawal
}

async fn take(town: &Town, watched: Watched) -> Vec<WithdrawalId> {
    town.store.take_watched_withdrawals(watched, 9, town.now()).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_cannot_be_asked_for_holds_up_no_other() {
    for town in towns(RULES).await {
        let (gone, other) = (sent(&town, SLOW).await, sent(&town, SLOW).await);
        forget_provider(&town.store, gone.id).await;
        town.pass(MINUTE * 5);
        town.wallets.watch().await.unwrap();
        assert_eq!(town.status(other.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.status(gone.id).await, WithdrawalStatus::Sending);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_accepted_and_what_was_paid_are_looked_at_each_in_its_time() {
    for town in towns(RULES).await {
        let paid = sent(&town, 10_000).await;
        let accepted = sent(&town, SLOW).await;
        town.pass(MINUTE * 90);
        let now = town.now();
        let slow = || Watched::Accepted { before: town.now().minus(MINUTE) };
        let done = || {
            let now = town.now();
            Watched::Paid { before: now.minus(HOUR), after: now.minus(FORTNIGHT) }
        };
        assert_eq!(take(&town, slow()).await, [accepted.id]);
        assert!(take(&town, done()).await.contains(&paid.id));
        // Each once, until its time has come again.
        assert_eq!((take(&town, slow()).await, take(&town, done()).await), (vec![], vec![]));
        town.pass(MINUTE);
        assert_eq!(take(&town, slow()).await, [accepted.id]);
        assert_eq!(take(&town, done()).await, []);
        town.pass(FORTNIGHT);
        assert!(town.now() > now.plus(FORTNIGHT));
        assert_eq!(take(&town, done()).await, [], "a bank sends nothing back after that");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_which_the_provider_says_something_else_is_stopped_for_somebody_to_look() {
    for town in towns(RULES).await {
        let withdrawal = sent(&town, SLOW).await;
        misstate_amount(&town.store, withdrawal.id).await;
        for _ in 0..2 {
            town.pass(MINUTE * 5);
            town.wallets.watch().await.unwrap();
            town.drive().await;
            let status = town.store.get_workflow_status(withdrawal.workflow).await.unwrap();
            assert_eq!(status, WorkflowStatus::Parked);
            assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Sending, "held");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_was_stopped_and_put_right_meanwhile_ends_when_it_goes_on() {
    for town in towns(RULES).await {
        let person = town.regular(SLOW).await;
        let withdrawal = town.withdraw(person, SLOW).await.unwrap();
        let status = || town.store.get_workflow_status(withdrawal.workflow);
        misstate_amount(&town.store, withdrawal.id).await;
        town.drive().await;
        assert_eq!(status().await.unwrap(), WorkflowStatus::Parked);
        let right = "UPDATE withdrawals SET amount = amount - 1 WHERE status = 'sending'";
        tamper(&town.store, right, right).await;
        town.pass(MINUTE * 5);
        town.wallets.watch().await.unwrap();
        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        let by = somebody();
        town.store.resume_workflow(withdrawal.workflow, by, reason(), town.now()).await.unwrap();
        town.drive().await;
        assert_eq!(status().await.unwrap(), WorkflowStatus::Done);
        town.assert_books_are_right().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_is_let_go_on_stops_again_while_the_provider_says_something_else() {
    for town in towns(RULES).await {
        let withdrawal = sent(&town, SLOW).await;
        misstate_amount(&town.store, withdrawal.id).await;
        for _ in 0..2 {
            town.pass(MINUTE * 5);
            town.wallets.watch().await.unwrap();
            town.drive().await;
            let status = || town.store.get_workflow_status(withdrawal.workflow);
            assert_eq!(status().await.unwrap(), WorkflowStatus::Parked);
            let (workflow, by) = (withdrawal.workflow, somebody());
            let turn = town.store.resume_workflow(workflow, by, reason(), town.now()).await;
            assert_eq!(turn.unwrap(), AnotherTurn::Given);
            town.drive().await;
            assert_eq!(
                status().await.unwrap(),
                WorkflowStatus::Waiting,
                "nobody has said so again"
            );
        }
    }
}
