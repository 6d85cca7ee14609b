//! Reconciliation with the fake provider: what is planted is found, told once and closed when it agrees; what agrees is not
//! found.

use std::collections::HashMap;

use jiff::civil::Date;

use super::super::reconciliation::{Reconciliation, ReconciliationRules, RunError};
use super::*;
use crate::actors::ledger_check::check_ledger;
use crate::domain::calendar::{day_of, instant_of};
use crate::domain::ids::{EntryId, NodeId};
use crate::domain::ledger::entry::Entry;
use crate::domain::reconciliation::{BreakStatus, Bucket, ReconciliationError, RunKind, RunStatus};
use crate::domain::workflows::{EffectKey, Reason};
use crate::providers::payments::fake::faults::{Fault, Loss, Moment, Operation};
use crate::providers::payments::{Answer, Cancel, Confirm, Prepare};
use crate::store::StoreError;
use crate::store::reconciliation::Run;
use crate::store::reconciliation::breaks::{BreakFilter, BreakRow, CloseError, Closing};
use crate::store::testing::tamper;

const HOUR: Duration = Duration::from_hours(1);
const LEASE_NAME: &str = "reconciliation:fake";

pub(super) fn rules() -> ReconciliationRules {
    let fees = HashMap::from([(ProviderName::Fake, 300)]);
    ReconciliationRules { lag: HOUR, settled_within_days: 3, fees }
}

impl Ground {
    pub(super) fn reconciliation(&self, rules: ReconciliationRules) -> Reconciliation {
        let shared: Arc<dyn PaymentProvider> = self.provider.clone();
        let (store, payments) = (self.store.clone(), self.payments.clone());
        let ahead = Arc::clone(&self.ahead);
        let clock: Clock = Arc::new(move || {
            Timestamp::from_millis(clock::now().millis() + ahead.load(Ordering::SeqCst))
        });
        let node = clock::new_uuid().into();
        Reconciliation::new(store, Providers::of(shared), payments, rules, clock, node)
    }

    /// Lets it be so many hours into a day in Seoul.
    pub(super) async fn at(&self, day: Date, hours: u64) {
        let then = instant_of(day, HOUR * u32::try_from(hours).unwrap()).unwrap();
        self.pass(then.since(self.now())).await;
    }

    /// The next day at noon: nothing is done around midnight.
    pub(super) async fn begin_day(&self) -> Date {
        let day = day_of(self.now()).unwrap().tomorrow().unwrap();
        self.at(day, 12).await;
        day
    }

    pub(super) async fn breaks(&self) -> Vec<BreakRow> {
        let mut all = self.store.list_breaks(BreakFilter::default(), None, 500).await.unwrap();
        all.sort_by_key(|it| it.found.bucket);
        all
    }

    pub(super) async fn open(&self) -> Vec<Bucket> {
        let all = self.breaks().await;
        all.iter().filter(|it| it.status == BreakStatus::Open).map(|it| it.found.bucket).collect()
    }

    pub(super) async fn run_of(&self, day: Date, kind: RunKind) -> Run {
        self.store.find_run("fake", day, kind).await.unwrap().unwrap()
    }

    /// Somebody pays at the provider for something of which we know nothing.
    pub(super) async fn stranger(&self, order: &str, minor: i64) {
        let (order, currency, amount) = (order.to_owned(), Currency::KRW, won(minor));
        let prepare = Prepare {
            order: order.clone(),
            amount,
            currency,
            name: "…".to_owned(),
            is_captured_later: false,
        };
        assert!(matches!(self.provider.prepare(&prepare).await, Answer::Done(_)));
        let provider_key = self.provider.pay(&order, Method::Card).unwrap();
        self.take(&order, &provider_key, minor).await;
    }

    async fn take(&self, order: &str, provider_key: &str, minor: i64) {
        let (order, provider_key) = (order.to_owned(), provider_key.to_owned());
        let key = EffectKey::of(&order);
        let confirm = Confirm { provider_key, order, amount: won(minor), currency: Currency::KRW };
        assert!(matches!(self.provider.confirm(&confirm, &key).await, Answer::Done(_)));
    }

    /// Somebody gives money back at the provider's own desk.
    async fn refunded_by_hand(&self, made: &Made, minor: i64) {
        let cancel = Cancel {
            provider_key: format!("fake-{}", made.order),
            order: made.order.clone(),
            amount: Some(won(minor)),
            currency: Currency::KRW,
            reason: "by hand".to_owned(),
            refund_account: None,
        };
        let key = EffectKey::of(&format!("by-hand-{}", made.order));
        assert!(matches!(self.provider.cancel(&cancel, &key).await, Answer::Done(_)));
    }

    pub(super) async fn check(&self) -> Vec<String> {
        let node: NodeId = clock::new_uuid().into();
        let found = check_ledger(&self.store, node, self.now()).await.unwrap();
        found.into_iter().map(|it| it.subject).collect()
    }
}

pub(super) fn next(day: Date) -> Date {
    day.tomorrow().unwrap()
}

#[tokio::test]
async fn a_day_on_which_everything_agrees_is_clean_and_reported_once() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        let made = ground.captured("a1", 10_000).await;
        assert_eq!(ground.cancel(&made, Some(4_000)).await.answer.status, 200);
        // Before six nobody looks at yesterday.
        ground.at(next(day), 5).await;
        reconciliation.run_due().await.unwrap();
        assert_eq!(ground.store.find_run("fake", day, RunKind::Transactions).await.unwrap(), None);

        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();
        reconciliation.run_due().await.unwrap();

        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!((run.status, run.passes, run.breaks), (RunStatus::Clean, 1, 0), "{run:?}");
        assert_eq!((run.remote, run.matched), (2, 2));
        assert_eq!((run.remote_sum, run.matched_sum), (6_000, 6_000));
        assert_eq!(ground.breaks().await, []);
        let reports = ground.store.list_reports(None, 9).await.unwrap();
        // And the day before, which was due at five.
        assert_eq!(reports.len(), 2);
        let report = &reports[0];
        assert_eq!(report.day, day);
        assert_eq!(report.body["receivable"][0]["ledger"], 6_000);
        assert_eq!(report.body["receivable"][0]["listed"], 6_000);
        assert_eq!(report.body["open_breaks"].as_array().unwrap().len(), 8);
        let told = ground.store.list_event_names(day.to_string()).await;
        assert_eq!(told, ["ReconciliationReported"]);
        // Once more on the third morning after it, and not on the second.
        for (days, passes) in [(2, 1), (3, 2), (4, 2)] {
            ground.at(day.saturating_add(jiff::Span::new().days(days)), 7).await;
            reconciliation.run_due().await.unwrap();
            assert_eq!(ground.run_of(day, RunKind::Transactions).await.passes, passes);
        }
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_does_not_agree_is_found_told_once_and_closed_by_whoever_says_why() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.captured("right", 10_000).await;
        ground.stranger("stranger", 7_000).await;
        let by_hand = ground.captured("by-hand", 10_000).await;
        ground.refunded_by_hand(&by_hand, 3_000).await;
        let wrong = ground.captured("wrong", 10_000).await;
        ground.provider.plan(Operation::Cancel, [Some(Fault::WrongAmount)]);
        let call = ground.call("cancel", wrong.payer, None);
        ground.hasty.cancel(wrong.cancel(Some(2_000)), call).await.unwrap();
        eventually("it is parked", async || {
            let parked =
                ground.store.list_workflows(WorkflowStatus::Parked, None, 9).await.unwrap();
            (parked.len() == 1).then_some(())
        })
        .await;

        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();

        let expected = [Bucket::MissingLocal, Bucket::MissingLocal, Bucket::Amount];
        assert_eq!(ground.open().await, expected);
        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!((run.status, run.breaks), (RunStatus::Breaks, 3));
        assert_eq!((run.remote, run.matched), (6, 3), "{run:?}");
        let found = ground.breaks().await;
        let amount = &found[2].found;
        assert_eq!((amount.local_amount, amount.remote_amount), (Some(2_000), Some(1_999)));
        for it in &found {
            let told = ground.store.list_event_names(it.id.to_string()).await;
            assert_eq!(told, ["ReconciliationBreakFound"]);
        }

        let note = Reason::parse("a test charge of ours").unwrap();
        let explain = async |closing| {
            let (id, note) = (found[0].id, note.clone());
            let now = ground.now();
            ground.store.close_break(id, wrong.payer, closing, note, now).await
        };
        let nothing: EntryId = Entry::id_of("nothing");
        let refused = explain(Closing::Fixed(nothing)).await.unwrap_err();
        let is_refused = matches!(refused, CloseError::Refused(ReconciliationError::EntryNotFound));
        assert!(is_refused, "{refused}");
        assert_eq!(explain(Closing::Explained).await.unwrap().status, BreakStatus::Explained);
        let again = explain(Closing::Explained).await.unwrap_err();
        assert!(matches!(again, CloseError::Refused(ReconciliationError::Closed)), "{again}");

        // What somebody has explained stays so; what is open is looked at on the next morning, too, and not doubled.
        ground.at(day.saturating_add(jiff::Span::new().days(2)), 7).await;
        reconciliation.run_due().await.unwrap();
        assert_eq!(ground.run_of(day, RunKind::Transactions).await.passes, 2);
        // And that the stranger's charge was paid for, which nobody could know before.
        assert_eq!(ground.breaks().await.len(), 4);
        assert_eq!(ground.open().await.len(), 3);
        for it in &found {
            assert_eq!(ground.store.list_event_names(it.id.to_string()).await.len(), 1);
        }
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_was_taken_for_a_payment_that_is_over_goes_back_by_itself() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        let (made, key) = ground.paid("late", 10_000).await;
        assert_eq!(ground.cancel(&made, None).await.answer.status, 200);
        ground.take(&made.order, &key, 10_000).await;
        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();

        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!((run.status, run.auto_fixed, run.matched), (RunStatus::Clean, 1, 1), "{run:?}");
        eventually("it goes back", async || (ground.moved(&made).0 == 0).then_some(())).await;
        assert_eq!(ground.breaks().await, []);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_asked_again_later() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.captured("a1", 10_000).await;
        ground.at(next(day), 7).await;
        let silent = Some(Fault::Lost(Loss::Timeout, Moment::Before));
        ground.provider.plan(Operation::List, [silent]);
        reconciliation.run_due().await.unwrap();

        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!(run.status, RunStatus::Failed);
        assert!(run.why.unwrap().contains("did not answer"));
        assert!(!ground.store.has_report(day).await.unwrap(), "it may answer yet");
        reconciliation.run_due().await.unwrap();
        assert_eq!(ground.run_of(day, RunKind::Transactions).await.passes, 1);
        ground.pass(Duration::from_mins(15)).await;
        reconciliation.run_due().await.unwrap();
        let run = ground.run_of(day, RunKind::Transactions).await;
        assert_eq!((run.status, run.passes, run.why), (RunStatus::Clean, 2, None));
        assert!(ground.store.has_report(day).await.unwrap());
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn one_node_reconciles_at_a_time_and_whoever_lost_its_lease_writes_nothing() {
    for ground in grounds().await {
        let (reconciliation, store) = (ground.reconciliation(rules()), &ground.store);
        let day = ground.begin_day().await;
        let (other, third): (NodeId, NodeId) = (clock::new_uuid().into(), clock::new_uuid().into());
        let lease = store.claim_lease(LEASE_NAME, other, HOUR).await.unwrap().unwrap();
        let refused = reconciliation.run("fake", day).await.unwrap_err();
        assert!(matches!(refused, RunError::Refused(ReconciliationError::Running)), "{refused}");
        let run = store
            .begin_run(&lease, "fake", (day, RunKind::Transactions), None, ground.now())
            .await
            .unwrap();
        store.release_lease(&lease).await.unwrap();
        // The control: nobody holds it.
        assert_eq!(reconciliation.run("fake", day).await.unwrap().len(), 2);

        let taken = store.claim_lease(LEASE_NAME, third, HOUR).await.unwrap();
        assert!(taken.is_some());
        let counted = store.count_auto_fixed(&lease, &run, 1).await;
        assert!(matches!(counted, Err(StoreError::LeaseLost)), "{counted:?}");
        let what = (day, RunKind::Transactions);
        let again = store.begin_run(&lease, "fake", what, None, ground.now()).await;
        assert!(matches!(again, Err(StoreError::LeaseLost)));
        for (provider, day, refusal) in [
            ("nobody", day, ReconciliationError::UnknownProvider),
            ("fake", next(next(day)), ReconciliationError::InvalidDay),
        ] {
            let refused = reconciliation.run(provider, day).await.unwrap_err();
            assert!(matches!(refused, RunError::Refused(it) if it == refusal), "{refused}");
        }
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn what_a_provider_pays_is_booked_once_and_another_fee_is_found() {
    for ground in grounds().await {
        let day = ground.begin_day().await;
        let made = ground.captured("a1", 10_000).await;
        assert_eq!(ground.cancel(&made, Some(4_000)).await.answer.status, 200);
        ground.stranger("stranger", 7_000).await;
        let reconciliation = ground.reconciliation(rules());
        ground.at(next(next(day)), 7).await;
        reconciliation.run("fake", day).await.unwrap();
        for _ in 0..2 {
            reconciliation.run("fake", next(day)).await.unwrap();
        }

        let run = ground.run_of(next(day), RunKind::Settlements).await;
        assert_eq!((run.remote, run.matched), (3, 2), "{run:?}");
        let balances = ground.store.list_family_balances().await.unwrap();
        let of = |family: &str| {
            let found = balances.iter().find(|it| it.family == family);
            found.map(|it| it.counters.debit_balance()).unwrap_or_default()
        };
        assert_eq!(of("bank:operating"), 5_700);
        assert_eq!((of("expense:psp_fee"), of("psp:fake:receivable")), (300, 0));
        // The stranger's charge, and that it was paid for.
        assert_eq!(ground.open().await, [Bucket::MissingLocal, Bucket::MissingLocal]);
        assert_eq!(ground.check().await, Vec::<String>::new());

        let fees = HashMap::from([(ProviderName::Fake, 250)]);
        let strict = ground.reconciliation(ReconciliationRules { fees, ..rules() });
        strict.run("fake", day).await.unwrap();
        strict.run("fake", next(day)).await.unwrap();
        let fees = ground.open().await.iter().filter(|it| **it == Bucket::Fee).count();
        assert_eq!(fees, 3, "as it was listed, and as it was paid, the stranger's, too");
        // Charges of the third day before, of which nobody has heard that they were paid.
        tamper(&ground.store, "DELETE FROM recon_settlements", "DELETE FROM recon_settlements")
            .await;
        let third = day.saturating_add(jiff::Span::new().days(3));
        ground.at(next(third), 7).await;
        reconciliation.run("fake", third).await.unwrap();
        let unpaid = ground.open().await.iter().filter(|it| **it == Bucket::MissingRemote).count();
        assert_eq!(unpaid, 2);
        ground.workflows.stop().await;
    }
}

#[tokio::test]
async fn the_ledger_is_held_against_our_rows_and_its_seals() {
    for ground in grounds().await {
        let made = ground.captured("a1", 10_000).await;
        assert_eq!(ground.cancel(&made, Some(4_000)).await.answer.status, 200);
        assert_eq!(ground.check().await, Vec::<String>::new());
        let wrong = async |statement: &'static str| {
            tamper(&ground.store, statement, statement).await;
            ground.check().await
        };

        let found = wrong("UPDATE payments SET refunded = refunded - 1").await;
        assert_eq!(found, ["escrow:KRW"]);
        assert_eq!(ground.open().await, [Bucket::Ledger]);
        assert_eq!(
            wrong("UPDATE payments SET refunded = refunded + 1").await,
            Vec::<String>::new()
        );
        assert_eq!(ground.open().await, []);
        let found = wrong("UPDATE refunds SET status = 'sent'").await;
        assert!(found.iter().all(|it| it.starts_with("refund_hold:")) && found.len() == 1);
        assert_eq!(wrong("UPDATE refunds SET status = 'succeeded'").await.len(), 0);
        let more = "UPDATE ledger_accounts SET credits_posted = credits_posted + 1
                    WHERE family = 'escrow'";
        let less = "UPDATE ledger_accounts SET credits_posted = credits_posted - 1
                    WHERE family = 'escrow'";
        let mut found = wrong(more).await;
        found.sort_unstable();
        assert!(
            found[0].starts_with("escrow#") && found[1..] == ["escrow:KRW", "trial_balance:KRW"]
        );
        assert_eq!(wrong(less).await, Vec::<String>::new());

        // Sealed, and folded for good.
        ground.pass(HOUR * 3).await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        ground.captured("a2", 5_000).await;
        assert_eq!(ground.check().await, Vec::<String>::new());
        let found = wrong(more).await;
        for what in ["escrow#", "escrow:KRW", "trial_balance:KRW"] {
            assert!(found.iter().any(|it| it.starts_with(what)), "{what}: {found:?}");
        }
        assert_eq!(wrong(less).await, Vec::<String>::new());
        tamper(
            &ground.store,
            "DROP TRIGGER ledger_entries_no_update;
             UPDATE ledger_entries SET actor = 'nobody' WHERE kind = 'capture'",
            "ALTER TABLE ledger_entries DISABLE TRIGGER USER;
             UPDATE ledger_entries SET actor = 'nobody' WHERE kind = 'capture'",
        )
        .await;
        let found = ground.check().await;
        assert!(found.len() == 1 && found[0].starts_with("seal:"), "{found:?}");
        ground.workflows.stop().await;
    }
}
