//! Withdrawals go on from what an earlier release has written.

use super::{DAY, RULES, towns};
use crate::actors::payments::tests::states::written;
use crate::actors::payments::withdraw::KIND;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::testing::rewrite_workflow_state;

#[tokio::test(flavor = "multi_thread")]
async fn a_withdrawal_goes_on_from_what_was_written() {
    for town in towns(RULES).await {
        let person = town.person(1_000).await;
        let withdrawal = town.withdraw(person, 1_000).await.unwrap();
        town.drive().await;
        let rewritten =
            rewrite_workflow_state(&town.store, KIND, |live| written(KIND, &live)).await;
        assert_eq!(rewritten, 1);

        town.pass(DAY);
        town.drive().await;

        assert_eq!(town.status(withdrawal.id).await, WithdrawalStatus::Paid);
        assert_eq!(town.sent(withdrawal.id), [1_000]);
        town.assert_books_are_right().await;
    }
}
