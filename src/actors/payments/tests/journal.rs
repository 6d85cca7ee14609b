//! The manual journal: two people move money out of suspense and into it, once, and never more than there is.

use std::collections::HashMap;

use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::reconciling::{next, rules};
use super::*;
use crate::actors::payments::journal::{JournalEntryView, JournalFailure};
use crate::domain::idempotency::IdempotencyError;
use crate::domain::ids::{JournalEntryId, ReconBreakId};
use crate::domain::journal::{DECIDED_WITHIN, JournalAccounts, JournalError, JournalStatus};
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::payments::PaymentError;
use crate::domain::reconciliation::{BreakStatus, Bucket, ReconciliationError};
use crate::domain::workflows::Reason;
use crate::store::StoreError;
use crate::store::audit::DeedFilter;
use crate::store::journal::{Decision, JournalFilter, NewJournalEntry, update_decided};
use crate::store::ledger::balances::{find_counters, update_frozen};
use crate::store::ledger::{BookError, book};
use crate::store::reconciliation::breaks::Closing;

const CROWD: usize = 8;

fn somebody() -> UserId {
    UserId::from(clock::new_uuid())
}

fn reason() -> Reason {
    Reason::parse("seen in the bank's statement").unwrap()
}

fn new(debit: &str, credit: &str, minor: i64, by: UserId) -> NewJournalEntry {
    NewJournalEntry {
        id: clock::new_uuid().into(),
        accounts: JournalAccounts::parse(debit, credit).unwrap(),
        amount: won(minor),
        currency: Currency::KRW,
        reason: reason(),
        payment: None,
        recon_break: None,
        by,
    }
}

impl Ground {
    async fn propose(&self, new: NewJournalEntry) -> Result<JournalEntryId, JournalFailure> {
        let call = self.call("journal", new.by, None);
        let answered = self.payments.propose_journal_entry(new, call).await?;
        let body = body(&answered, 201);
        Ok(body["journal_entry_id"].as_str().unwrap().parse().unwrap())
    }

    /// Has one proposed that nobody objects to.
    async fn proposed(&self, debit: &str, credit: &str, minor: i64) -> JournalEntryId {
        self.propose(new(debit, credit, minor, somebody())).await.unwrap()
    }

    async fn approve(
        &self,
        id: JournalEntryId,
        by: UserId,
    ) -> Result<JournalEntryView, JournalFailure> {
        self.payments.approve_journal_entry(id, by, reason()).await
    }

    /// Brings money into suspense.
    async fn placed(&self, minor: i64) {
        let id = self.proposed("bank:operating", "suspense", minor).await;
        self.approve(id, somebody()).await.unwrap();
    }

    async fn suspense(&self) -> i64 {
        let counters: Result<_, StoreError> = self
            .store
            .read(|db| {
                Box::pin(
                    async move { find_counters(db, AccountName::Suspense, Currency::KRW).await },
                )
            })
            .await;
        counters.unwrap().credit_balance()
    }

    /// What each family comes to, debits over credits, and whether all of it is balanced.
    async fn families(&self) -> HashMap<String, i64> {
        let balances = self.store.list_family_balances().await.unwrap();
        let families: HashMap<String, i64> =
            balances.into_iter().map(|it| (it.family, it.counters.debit_balance())).collect();
        assert_eq!(families.values().sum::<i64>(), 0, "{families:?}");
        families
    }

    async fn said(&self) -> Vec<String> {
        let deeds = self.store.list_audit(DeedFilter::default(), None, 99).await.unwrap();
        deeds.into_iter().rev().map(|it| it.action).collect()
    }

    async fn status(&self, id: JournalEntryId) -> JournalStatus {
        let found = self.store.find_journal_entry(id).await.unwrap().unwrap();
        found.status.at(self.now(), found.expires_at)
    }

    async fn book(&self, entry: Entry) -> Result<(), BookError> {
        let now = self.now();
        let booked: Result<_, BookError> =
            self.store.write(move |db| Box::pin(async move { book(db, &entry, now).await })).await;
        booked.map(|_| ())
    }
}

fn refused_as<T: std::fmt::Debug>(refused: &Result<T, JournalFailure>, why: JournalError) {
    assert!(matches!(refused, Err(JournalFailure::Journal(it)) if *it == why), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_proposes_another_has_booked_and_nobody_else_or_again() {
    for ground in grounds().await {
        let (first, second) = (somebody(), somebody());
        ground.placed(1_000).await;
        let id = ground.propose(new("suspense", "income:fee", 400, first)).await.unwrap();
        assert_eq!(ground.suspense().await, 1_000, "nothing moves before it is approved");

        refused_as(&ground.approve(id, first).await, JournalError::OwnEntry);
        refused_as(&ground.approve(clock::new_uuid().into(), second).await, JournalError::NotFound);
        let booked = ground.approve(id, second).await.unwrap();

        assert_eq!((booked.status, booked.decided_by), ("approved", Some(second)));
        let key = format!("journal:{id}");
        assert_eq!(booked.entry_id, Some(Entry::id_of(&key)));
        let families = ground.families().await;
        assert_eq!(families["suspense"], -600);
        assert_eq!(families["income:fee"], -400);
        assert_eq!(families["bank:operating"], 1_000);
        let decided = JournalError::Decided(JournalStatus::Approved);
        refused_as(&ground.approve(id, somebody()).await, decided);
        refused_as(&ground.payments.reject_journal_entry(id, second, reason()).await, decided);
        assert_eq!(ground.suspense().await, 600);
        assert_eq!(ground.check().await, [""; 0]);
        let pair = ["journal_proposed", "journal_approved"];
        assert_eq!(ground.said().await, [pair, pair].concat());
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_rejected_or_too_old_is_not_booked() {
    for ground in grounds().await {
        ground.placed(1_000).await;
        let by = somebody();
        let own = ground.propose(new("suspense", "income:fee", 400, by)).await.unwrap();
        let taken_back = ground.payments.reject_journal_entry(own, by, reason()).await.unwrap();
        assert_eq!((taken_back.status, taken_back.entry_id), ("rejected", None));
        let decided = JournalError::Decided(JournalStatus::Rejected);
        refused_as(&ground.approve(own, somebody()).await, decided);
        let old = ground.proposed("suspense", "income:fee", 400).await;
        let list = async |status| {
            let filter = JournalFilter { status: Some(status), payment: None };
            let now = ground.now();
            let listed = ground.store.list_journal_entries(filter, None, 9, now).await.unwrap();
            listed.into_iter().map(|it| it.id).collect::<Vec<_>>()
        };
        assert_eq!(list(JournalStatus::Proposed).await, [old]);

        ground.pass(DECIDED_WITHIN).await;

        assert_eq!(ground.status(old).await, JournalStatus::Expired);
        assert_eq!(list(JournalStatus::Expired).await, [old]);
        assert_eq!(list(JournalStatus::Rejected).await, [own]);
        assert!(list(JournalStatus::Proposed).await.is_empty());
        refused_as(&ground.approve(old, somebody()).await, JournalError::Expired);
        let rejected = ground.payments.reject_journal_entry(old, somebody(), reason()).await;
        refused_as(&rejected, JournalError::Expired);
        assert_eq!(ground.suspense().await, 1_000);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_who_approve_at_once_one_has_it_booked() {
    for ground in grounds().await {
        ground.placed(10_000).await;
        let id = ground.proposed("suspense", "income:fee", 400).await;

        let approved = join_all((0..CROWD).map(|_| ground.approve(id, somebody()))).await;

        assert_eq!(approved.iter().filter(|it| it.is_ok()).count(), 1, "{approved:?}");
        let decided = JournalError::Decided(JournalStatus::Approved);
        for refused in approved.iter().filter(|it| it.is_err()) {
            refused_as(refused, decided);
        }
        assert_eq!(ground.suspense().await, 9_600);
        assert_eq!(ground.said().await.len(), 4);
        ground.workflows.stop().await;
    }
}

/// Approves as code would that looks first and locks nothing.
async fn approve_carelessly(ground: &Ground, id: JournalEntryId, all: &Barrier) {
    let found = ground.store.find_journal_entry(id).await.unwrap().unwrap();
    all.wait().await;
    if found.status == JournalStatus::Proposed {
        let (another, by) = (clock::new_uuid().into(), somebody());
        let entry = found.accounts.entry(another, None, (found.amount, found.currency), by);
        ground.book(entry).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn control_whoever_looks_without_a_lock_books_it_as_often_as_they_are() {
    for ground in grounds().await {
        ground.placed(10_000).await;
        let id = ground.proposed("suspense", "income:fee", 400).await;
        let all = Barrier::new(CROWD);
        join_all((0..CROWD).map(|_| approve_carelessly(&ground, id, &all))).await;
        assert_eq!(ground.suspense().await, 10_000 - 8 * 400);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_takes_more_from_suspense_than_there_is() {
    for ground in grounds().await {
        ground.placed(1_000).await;
        let much = ground.proposed("suspense", "bank:operating", 1_001).await;
        let families = ground.families().await;
        refused_as(&ground.approve(much, somebody()).await, JournalError::Overdraft);
        assert_eq!(ground.families().await, families);
        assert_eq!(ground.status(much).await, JournalStatus::Proposed);
        assert_eq!(ground.said().await.len(), 3, "what was refused is no deed");

        // Each of them alone would fit.
        let mut each = Vec::new();
        for _ in 0..CROWD {
            each.push(ground.proposed("suspense", "income:fee", 300).await);
        }
        let approved = join_all(each.iter().map(|id| ground.approve(*id, somebody()))).await;

        assert_eq!(approved.iter().filter(|it| it.is_ok()).count(), 3, "{approved:?}");
        for refused in approved.iter().filter(|it| it.is_err()) {
            refused_as(refused, JournalError::Overdraft);
        }
        assert_eq!(ground.suspense().await, 100);
        // What a flow has to book is booked all the same: the provider has given it back.
        let accounts = JournalAccounts::parse("suspense", "psp:fake:receivable").unwrap();
        let money = (won(500), Currency::KRW);
        let back = accounts.entry(clock::new_uuid().into(), None, money, somebody());
        ground.book(back).await.unwrap();
        assert_eq!(ground.suspense().await, -400);
        let into = ground.proposed("expense:chargeback", "suspense", 300).await;
        ground.approve(into, somebody()).await.unwrap();
        assert_eq!(ground.suspense().await, -100, "what brings money there is not refused for it");
        assert_eq!(ground.check().await, [""; 0]);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ledger_refuses_is_not_approved() {
    for ground in grounds().await {
        ground.placed(1_000).await;
        let id = ground.proposed("suspense", "income:fee", 400).await;
        let freeze = async |at| {
            let frozen: Result<(), StoreError> = ground
                .store
                .write(move |db| {
                    let account = AccountName::Suspense.id(Currency::KRW);
                    Box::pin(async move { update_frozen(db, account, at).await })
                })
                .await;
            frozen.unwrap();
        };
        freeze(Some(1)).await;
        refused_as(&ground.approve(id, somebody()).await, JournalError::AccountFrozen);
        assert_eq!(ground.status(id).await, JournalStatus::Proposed);
        assert_eq!(ground.suspense().await, 1_000);
        freeze(None).await;
        ground.approve(id, somebody()).await.unwrap();

        // The table itself knows that there are two people, whatever the code before it has overlooked.
        let by = somebody();
        let own = ground.propose(new("suspense", "income:fee", 100, by)).await.unwrap();
        let now = ground.now();
        let forced: Result<(), StoreError> = ground
            .store
            .write(move |db| {
                Box::pin(async move {
                    let entry = Some(Entry::id_of(&format!("journal:{id}")));
                    let decision = Decision { entry, by, reason: &reason() };
                    update_decided(db, own, &decision, now).await
                })
            })
            .await;
        let name = "journal_entries_approver_check";
        assert!(matches!(&forced, Err(StoreError::Constraint(it)) if it == name), "{forced:?}");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_key_proposes_once_and_is_answered_alike() {
    for ground in grounds().await {
        let by = somebody();
        let call = || ground.call("journal", by, Some("one-and-the-same"));
        let propose = || {
            let entry = new("bank:operating", "suspense", 100, by);
            ground.payments.propose_journal_entry(entry, call())
        };
        let all = join_all((0..CROWD).map(|_| propose())).await;

        let first = all.iter().flatten().find(|it| !it.is_replayed).unwrap();
        for other in &all {
            match other {
                Ok(other) => assert_eq!(other.answer, first.answer),
                Err(JournalFailure::Key(IdempotencyError::InUse)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(propose().await.unwrap().answer, first.answer);
        assert_eq!(ground.said().await, ["journal_proposed"]);
        let mut another = call();
        another.fingerprint = fingerprint(&json!({ "amount": 101 }));
        let entry = new("bank:operating", "suspense", 101, by);
        let reused = ground.payments.propose_journal_entry(entry, another).await;
        assert!(matches!(reused, Err(JournalFailure::Key(IdempotencyError::Reused))), "{reused:?}");
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_not_proposed_about() {
    for ground in grounds().await {
        let base = || new("bank:operating", "suspense", 100, somebody());
        let payment = Some(PaymentId::from(clock::new_uuid()));
        let refused = ground.propose(NewJournalEntry { payment, ..base() }).await;
        assert!(
            matches!(refused, Err(JournalFailure::Payment(PaymentError::NotFound))),
            "{refused:?}"
        );
        let recon_break = Some(ReconBreakId::from(clock::new_uuid()));
        let refused = ground.propose(NewJournalEntry { recon_break, ..base() }).await;
        let is_refused =
            matches!(refused, Err(JournalFailure::Break(ReconciliationError::NotFound)));
        assert!(is_refused, "{refused:?}");
        let currency: Currency = "USD".parse().unwrap();
        let refused = ground.propose(NewJournalEntry { currency, ..base() }).await;
        let is_refused =
            matches!(refused, Err(JournalFailure::Payment(PaymentError::CurrencyNotSupported)));
        assert!(is_refused, "{refused:?}");
        assert_eq!(ground.said().await, [""; 0]);

        // A provider has taken dollars where won were agreed: those are moved on as any other.
        let taken = Entry {
            key: "conflict:dollars".to_owned(),
            kind: "conflict",
            reference: Reference { kind: "test", id: clock::new_uuid() },
            actor: "test".to_owned(),
            currency,
            lines: vec![Line::Move {
                debit: AccountName::BankOperating,
                credit: AccountName::Suspense,
                amount: won(100),
                code: "conflict",
            }],
        };
        ground.book(taken).await.unwrap();
        let entry = NewJournalEntry { currency, ..new("suspense", "income:fee", 100, somebody()) };
        let id = ground.propose(entry).await.unwrap();
        assert_eq!(ground.approve(id, somebody()).await.unwrap().currency, currency);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_break_is_put_right_by_its_entry_and_names_it() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        let made = ground.captured("right", 10_000).await;
        ground.stranger("stranger", 7_000).await;
        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();
        let found = ground.breaks().await;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].found.bucket, Bucket::MissingLocal);
        let recon_break = Some(found[0].id);
        let entry = |minor| NewJournalEntry {
            recon_break,
            payment: Some(made.id),
            ..new("psp:fake:receivable", "suspense", minor, somebody())
        };
        let right = ground.propose(entry(7_000)).await.unwrap();
        let twice = ground.propose(entry(7_001)).await.unwrap();
        let by = somebody();

        let booked = ground.approve(right, by).await.unwrap();

        let closed = ground.store.find_break(found[0].id).await.unwrap().unwrap();
        assert_eq!((closed.status, closed.fixed_entry), (BreakStatus::Fixed, booked.entry_id));
        assert_eq!(closed.journal_entry, Some(right));
        assert_eq!(closed.closed_by, Some(format!("user:{by}")));
        let listed = ground.breaks().await;
        assert_eq!(listed[0], closed);
        let said = ["journal_proposed", "journal_proposed", "break_fixed", "journal_approved"];
        assert_eq!(ground.said().await, said);
        // What the payment's page shows.
        assert!(ground.entries(&made).await.contains(&"journal".to_owned()));
        let filter = JournalFilter { status: None, payment: Some(made.id) };
        let about = ground.store.list_journal_entries(filter, None, 9, ground.now()).await.unwrap();
        assert_eq!(about.iter().map(|it| it.id).collect::<Vec<_>>(), [twice, right]);

        let late = ground.approve(twice, somebody()).await;
        let is_closed = |it: &Result<_, JournalFailure>| {
            matches!(it, Err(JournalFailure::Break(ReconciliationError::Closed)))
        };
        assert!(is_closed(&late), "{late:?}");
        let closed_before = ground.propose(entry(1)).await;
        assert!(
            matches!(closed_before, Err(JournalFailure::Break(ReconciliationError::Closed))),
            "{closed_before:?}"
        );
        assert_eq!(ground.suspense().await, 7_000);
        assert_eq!(ground.said().await.len(), 4);

        // It is no movement that a provider would have to know of, and what was put right stays so.
        ground.at(day.saturating_add(jiff::Span::new().days(3)), 7).await;
        reconciliation.run_due().await.unwrap();
        let buckets: Vec<_> =
            ground.breaks().await.iter().map(|it| (it.found.bucket, it.status)).collect();
        assert!(buckets.contains(&(Bucket::MissingLocal, BreakStatus::Fixed)), "{buckets:?}");
        assert!(buckets.iter().all(|(bucket, _)| *bucket == Bucket::MissingLocal), "{buckets:?}");
        assert_eq!(ground.check().await, [""; 0]);
        ground.workflows.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_entry_and_somebody_who_explains_one_closes_the_break() {
    for ground in grounds().await {
        let reconciliation = ground.reconciliation(rules());
        let day = ground.begin_day().await;
        ground.stranger("stranger", 7_000).await;
        ground.at(next(day), 7).await;
        reconciliation.run_due().await.unwrap();
        let id = ground.breaks().await[0].id;
        let entry = NewJournalEntry {
            recon_break: Some(id),
            ..new("psp:fake:receivable", "suspense", 7_000, somebody())
        };
        let proposed = ground.propose(entry).await.unwrap();

        let explain =
            ground.store.close_break(id, somebody(), Closing::Explained, reason(), ground.now());
        let (approved, explained) = tokio::join!(ground.approve(proposed, somebody()), explain);

        assert!(approved.is_ok() != explained.is_ok(), "{approved:?} {explained:?}");
        let (balance, status) = if approved.is_ok() {
            (7_000, BreakStatus::Fixed)
        } else {
            (0, BreakStatus::Explained)
        };
        assert_eq!(ground.suspense().await, balance);
        assert_eq!(ground.store.find_break(id).await.unwrap().unwrap().status, status);
        ground.workflows.stop().await;
    }
}
