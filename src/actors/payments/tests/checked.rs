//! The ledger's check of itself: what it has found stays until somebody has closed it or it agrees, and what somebody has
//! closed is closed while it is what they have seen.

use super::operated::{audit, reason, somebody};
use super::*;
use crate::domain::ids::ReconBreakId;
use crate::domain::reconciliation::{BreakStatus, Bucket};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::reconciliation::breaks::{BreakRow, Closing};
use crate::store::testing::tamper;

const HOUR: Duration = Duration::from_hours(1);
const BOOKS: &str = "books";

impl Ground {
    async fn only_break(&self) -> BreakRow {
        let mut all = self.breaks().await;
        assert_eq!(all.len(), 1, "{all:?}");
        all.remove(0)
    }

    async fn explain(&self, id: ReconBreakId) {
        let (by, now) = (somebody(), self.now());
        self.store.close_break(id, by, Closing::Explained, reason(), now).await.unwrap();
    }

    async fn told_of(&self, id: ReconBreakId) -> usize {
        self.store.list_event_names(id.to_string()).await.len()
    }

    async fn sql(&self, statement: &'static str) {
        tamper(&self.store, statement, statement).await;
    }

    /// Half past an hour.
    async fn half_past(&self) {
        let hour = i64::try_from(HOUR.as_millis()).unwrap();
        let into = self.now().millis().rem_euclid(hour);
        self.pass(HOUR + HOUR / 2 - Duration::from_millis(into.unsigned_abs())).await;
    }

    /// Whoever may do anything can do this, too.
    async fn take_triggers_away(&self) {
        tamper(
            &self.store,
            "DROP TRIGGER ledger_entries_no_update; DROP TRIGGER ledger_transfers_no_update",
            "ALTER TABLE ledger_entries DISABLE TRIGGER USER;
             ALTER TABLE ledger_transfers DISABLE TRIGGER USER",
        )
        .await;
    }
}

#[tokio::test]
async fn a_broken_seal_is_a_break_until_somebody_has_closed_it() {
    for ground in grounds().await {
        // So many hours that not every check looks at each.
        for order in ["a1", "a2", "a3", "a4"] {
            ground.captured(order, 1_000).await;
            ground.pass(HOUR * 2).await;
        }
        assert_eq!(ground.check().await, Vec::<String>::new());
        ground.take_triggers_away().await;
        ground
            .sql(
                "UPDATE ledger_entries SET actor = 'nobody'
                 WHERE at = (SELECT MIN(at) FROM ledger_entries)",
            )
            .await;
        ground.pass(HOUR * 30).await;
        let mut found = Vec::new();
        for _ in 0..5 {
            found.extend(ground.check().await);
        }
        let broken = ground.only_break().await;
        assert!(broken.found.subject.starts_with("seal:") && !found.is_empty(), "{found:?}");
        assert_eq!(broken.status, BreakStatus::Open, "whichever hours were looked at last");
        assert_eq!(ground.store.count_open_findings(BOOKS).await.unwrap(), 1);

        ground.explain(broken.id).await;
        for _ in 0..5 {
            ground.pass(HOUR).await;
            ground.check().await;
        }
        assert_eq!(ground.only_break().await.status, BreakStatus::Explained);
        assert_eq!(ground.store.count_open_findings(BOOKS).await.unwrap(), 0);
        assert_eq!(ground.told_of(broken.id).await, 1);
        // What somebody changes after that is something else, in the same hour, too.
        ground.sql("UPDATE ledger_entries SET actor = 'another' WHERE actor = 'nobody'").await;
        ground.check().await;
        assert_eq!(ground.only_break().await.status, BreakStatus::Open);
        assert_eq!(ground.told_of(broken.id).await, 2);
        ground.sql("UPDATE ledger_entries SET actor = 'payments' WHERE actor = 'another'").await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        assert_eq!(ground.only_break().await.status, BreakStatus::Fixed);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_somebody_has_closed_is_open_again_when_it_is_another() {
    for ground in grounds().await {
        ground.captured("a1", 10_000).await;
        let off = "UPDATE payments SET refunded = refunded + 1 WHERE captured = 10000";
        let right = "UPDATE payments SET refunded = 0";
        ground.sql(off).await;
        assert_eq!(ground.check().await, ["escrow:KRW"]);
        let escrow = ground.only_break().await;
        ground.explain(escrow.id).await;
        let deed = audit(&ground).await.remove(0);
        assert_eq!(
            (&deed.after["local_amount"], &deed.after["remote_amount"]),
            (&json!(9_999), &json!(10_000))
        );
        // The sums move on, and are as far apart as before.
        ground.captured("a2", 5_000).await;
        assert_eq!(ground.check().await, ["escrow:KRW"]);
        let seen = ground.only_break().await;
        assert_eq!((seen.status, seen.found.local_amount), (BreakStatus::Explained, Some(9_999)));

        ground.sql(off).await;
        ground.check().await;
        let opened = ground.only_break().await;
        assert_eq!((opened.status, opened.found.local_amount), (BreakStatus::Open, Some(14_998)));
        assert_eq!((opened.note, opened.closed_by), (None, None));
        assert_eq!(ground.told_of(escrow.id).await, 2);
        assert_eq!(ground.store.count_open_findings(BOOKS).await.unwrap(), 1);

        // What has agreed since, and then the same again.
        ground.explain(escrow.id).await;
        ground.sql(right).await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        assert_eq!(ground.only_break().await.status, BreakStatus::Explained);
        ground.sql(off).await;
        ground.sql(off).await;
        ground.check().await;
        assert_eq!(ground.only_break().await.status, BreakStatus::Open);
        assert_eq!(ground.told_of(escrow.id).await, 3);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_is_not_sealed_is_not_folded_for_good() {
    for ground in grounds().await {
        ground.half_past().await;
        ground.captured("a1", 1_000).await;
        // Its hour ended less than an hour ago.
        ground.pass(Duration::from_mins(85)).await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        ground.take_triggers_away().await;
        ground.sql("UPDATE ledger_transfers SET amount = amount + 1").await;
        let found = ground.check().await;
        assert!(found.iter().any(|it| it.ends_with(":credits_posted")), "{found:?}");
        ground.sql("UPDATE ledger_transfers SET amount = amount - 1").await;
        // The control: it is sealed, and only the seal tells.
        ground.pass(HOUR).await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        ground.sql("UPDATE ledger_transfers SET amount = amount + 1").await;
        let found = ground.check().await;
        assert!(found.len() == 1 && found[0].starts_with("seal:"), "{found:?}");
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_is_held_for_nothing_is_found() {
    for ground in grounds().await {
        let made = ground.captured("a1", 10_000).await;
        let lost = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::Cancel, [lost; 8]);
        ground.provider.plan(Operation::LookUp, [lost; 8]);
        let call = ground.call("cancel", made.payer, None);
        ground.hasty.cancel(made.cancel(Some(4_000)), call).await.unwrap();
        eventually("it is held", async || {
            let entries = ground.entries(&made).await;
            entries.contains(&"refund_hold".to_owned()).then_some(())
        })
        .await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        let amount = "UPDATE refunds SET amount = amount - 1";
        ground.sql(amount).await;
        let found = ground.check().await;
        assert!(found.len() == 1 && found[0].starts_with("refund_hold:"), "{found:?}");
        ground.sql("UPDATE refunds SET amount = amount + 1").await;
        ground.workflows.stop().await;
        // No open row says anything of it.
        ground.sql("UPDATE refunds SET status = 'failed'").await;
        let found = ground.check().await;
        assert!(found.len() == 1 && found[0].starts_with("refund_hold:"), "{found:?}");
        assert_eq!(ground.open().await, [Bucket::Ledger]);
    }
}
