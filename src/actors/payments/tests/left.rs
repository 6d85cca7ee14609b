//! Reconciliation of what is out of the ordinary: kept conflicts, lost disputes, the last hour of a day, days that nobody
//! has compared, and who has one compared.

use jiff::civil::Date;

use super::disputed::{decide, disputed};
use super::operated::{audit, conflicted, reason, somebody};
use super::reconciling::{next, rules};
use super::*;
use crate::actors::payments::reconciliation::ReconciliationRules;
use crate::domain::ids::{EntryId, NodeId};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::reconciliation::{BreakStatus, Bucket, ReconciliationError, RunKind, RunStatus};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::store::ledger::{BookError, book};
use crate::store::reconciliation::breaks::{CloseError, Closing};
use crate::store::testing::tamper;

const SILENT: Option<Fault> = Some(Fault::Lost(Loss::Timeout, Moment::Before));

fn after(day: Date, days: i64) -> Date {
    day.saturating_add(jiff::Span::new().days(days))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_two_people_have_kept_agrees() {
    for ground in grounds().await {
        let reconciliation =
            ground.reconciliation(ReconciliationRules { fees: [].into(), ..rules() });
        let day = ground.begin_day().await;
        let made = conflicted(&ground, "1").await;
        let proposal =
            ground.payments.propose_keeping(made.id, somebody(), won(999), reason()).await.unwrap();
        ground.payments.confirm_keeping(made.id, proposal, somebody(), reason()).await.unwrap();
        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();

        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!((run.status, run.remote, run.matched), (RunStatus::Clean, 1, 1), "{run:?}");
        assert_eq!(ground.breaks().await, []);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_dispute_agrees_whether_the_provider_lists_it_or_not() {
    let quiet = Capabilities { lists_chargebacks: false, ..SOUND };
    for (capabilities, listed) in [(SOUND, 2), (quiet, 1)] {
        for ground in grounds_with(capabilities).await {
            let reconciliation = ground.reconciliation(rules());
            let day = ground.begin_day().await;
            let (made, key) = disputed(&ground, "a", None).await;
            decide(&ground, &made, &key, DisputeStatus::Lost).await;
            ground.until(&made, PaymentStatus::ChargedBack).await;
            ground.at(next(day), 7).await;
            reconciliation.run("fake", day).await.unwrap();

            let run = ground.run_of(day, RunKind::Transactions).await;
            assert_eq!((run.status, run.remote), (RunStatus::Clean, listed), "{run:?}");
            assert_eq!(ground.breaks().await, []);
            ground.workflows.stop().await;
        }
    }
}

#[tokio::test]
async fn what_is_missing_in_the_last_hour_of_a_day_is_missing() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.at(day, 23).await;
        ground.pass(Duration::from_mins(30)).await;
        ground.captured("late", 10_000).await;
        // The provider knows it as something else.
        let statement = "UPDATE payment_attempts SET provider_order_id = 'md_another'";
        tamper(&ground.store, statement, statement).await;
        ground.at(next(day), 7).await;
        reconciliation.run("fake", day).await.unwrap();

        let mut open = ground.open().await;
        open.sort_unstable();
        assert_eq!(open, [Bucket::MissingLocal, Bucket::MissingRemote]);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_was_paid_for_before_it_was_listed_is_booked_later() {
    for ground in grounds().await {
        let reconciliation =
            ground.reconciliation(ReconciliationRules { lag: Duration::ZERO, ..rules() });
        let day = ground.begin_day().await;
        ground.captured("a1", 10_000).await;
        ground.at(after(day, 2), 7).await;
        reconciliation.run("fake", next(day)).await.unwrap();
        assert_eq!(ground.open().await, [Bucket::MissingLocal], "nobody has listed the day");

        reconciliation.run("fake", day).await.unwrap();
        reconciliation.run("fake", after(day, 2)).await.unwrap();

        assert_eq!(ground.open().await, []);
        assert_eq!(ground.run_of(next(day), RunKind::Settlements).await.status, RunStatus::Clean);
        let balances = ground.store.list_family_balances().await.unwrap();
        let bank = balances.iter().find(|it| it.family == "bank:operating").unwrap();
        assert_eq!(bank.counters.debit_balance(), 9_700);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn a_day_that_nobody_has_compared_on_its_mornings_is_compared_later() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.captured("a1", 10_000).await;
        ground.at(next(day), 7).await;
        ground.provider.plan(Operation::List, [SILENT]);
        reconciliation.run_due().await.unwrap();
        assert_eq!(ground.run_of(day, RunKind::Transactions).await.status, RunStatus::Failed);
        // Somebody else had begun one of long ago, and died.
        let long_ago = day.saturating_sub(jiff::Span::new().days(60));
        let node: NodeId = clock::new_uuid().into();
        let lease = ground.store.claim_lease("reconciliation:fake", node, Duration::from_hours(1));
        let lease = lease.await.unwrap().unwrap();
        let what = (long_ago, RunKind::Transactions);
        ground.store.begin_run(&lease, "fake", what, None, ground.now()).await.unwrap();
        ground.store.release_lease(&lease).await.unwrap();

        // And the whole node is away for a week.
        ground.at(after(day, 8), 7).await;
        reconciliation.run_due().await.unwrap();

        for ago in [day, next(day), after(day, 3)] {
            let run = ground.run_of(ago, RunKind::Transactions).await;
            assert_eq!((run.status, run.breaks), (RunStatus::Clean, 0), "{ago}");
        }
        assert_eq!(ground.run_of(long_ago, RunKind::Transactions).await.status, RunStatus::Clean);
        assert_eq!(ground.open().await, []);
        let passes = ground.run_of(day, RunKind::Transactions).await.passes;
        reconciliation.run_due().await.unwrap();
        assert_eq!(ground.run_of(day, RunKind::Transactions).await.passes, passes, "once");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_day_that_somebody_has_compared_goes_on_without_them_and_is_written_down() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.captured("a1", 10_000).await;
        let by = somebody();
        let begun = reconciliation.run_for(by, "fake", day, Duration::ZERO).await.unwrap();
        assert!(begun.iter().all(|run| run.status == RunStatus::Running), "{begun:?}");
        eventually("it ends", async || {
            let run = ground.run_of(day, RunKind::Settlements).await;
            (run.status == RunStatus::Clean).then_some(())
        })
        .await;
        let waited = eventually("its turn ends", async || {
            reconciliation.run_for(by, "fake", day, PATIENCE).await.ok()
        })
        .await;
        assert!(waited.iter().all(|run| run.status == RunStatus::Clean), "{waited:?}");
        let deeds = audit(&ground).await;
        assert_eq!(deeds.len(), 4);
        assert!(deeds.iter().all(|it| it.by == by && it.action == "day_compared"), "{deeds:?}");
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn a_break_is_put_right_by_an_entry_that_is_about_it() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        let made = ground.captured("late", 10_000).await;
        let statement = "UPDATE payment_attempts SET provider_order_id = 'md_another'";
        tamper(&ground.store, statement, statement).await;
        ground.at(next(day), 7).await;
        reconciliation.run("fake", day).await.unwrap();
        let elsewhere = Entry {
            key: "elsewhere".to_owned(),
            kind: "test",
            reference: Reference { kind: "payment", id: made.id.uuid() },
            actor: "test".to_owned(),
            currency: Currency::KRW,
            lines: vec![Line::Move {
                debit: AccountName::ProviderFee,
                credit: AccountName::BankOperating,
                amount: won(1),
                code: "test",
            }],
        };
        let (entry, now) = (elsewhere.clone(), ground.now());
        let booked: Result<_, BookError> = ground
            .store
            .write(move |db| Box::pin(async move { book(db, &entry, now).await }))
            .await;
        booked.unwrap();
        let id = ground.breaks().await[0].id;
        let fix = async |entry: EntryId| {
            let (by, closing) = (somebody(), Closing::Fixed(entry));
            ground.store.close_break(id, by, closing, reason(), ground.now()).await
        };

        let refused = fix(elsewhere.id()).await.unwrap_err();

        let is_refused =
            matches!(refused, CloseError::Refused(ReconciliationError::EntryElsewhere));
        assert!(is_refused, "{refused}");
        let fixed = fix(Entry::id_of(&format!("capture:{}", made.id))).await.unwrap();
        assert_eq!(fixed.status, BreakStatus::Fixed);
        ground.workflows.stop().await;
    }
}
