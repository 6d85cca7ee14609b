//! The audit of a run: what the provider has moved, what the rows and the ledger say, and what was told, held against one
//! another when everything is over.

use std::collections::BTreeMap;

use crate::domain::events::is_outward;
use crate::domain::ids::PaymentId;
use crate::domain::ledger::Counters;
use crate::domain::payments::PaymentStatus;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::payments::refunds::{RefundStatus, Sums};
use crate::domain::workflows::WorkflowStatus;
use crate::providers::payments::RemoteKind;
use crate::providers::payments::fake::FakeProvider;
use crate::store::Store;
use crate::store::payments::Payment;
use crate::store::relay::OutboxPosition;

/// What was told when a provider had taken something for a payment that is over.
const BREAK_FOUND: &str = "ReconciliationBreakFound";

/// How often each event was told, by payment and name.
type Told = BTreeMap<(String, String), usize>;

/// Looks through a database, again after every run.
pub(super) struct Audit {
    store: Store,
    seen: OutboxPosition,
}

impl Audit {
    pub(super) const fn new(store: Store) -> Self {
        Self { store, seen: OutboxPosition::START }
    }

    /// Everything that is wrong with payments, each with our order, as the provider knows it.
    pub(super) async fn wrongs(
        &mut self,
        provider: &FakeProvider,
        payments: &[(PaymentId, String)],
    ) -> Vec<String> {
        let mut wrongs = Vec::new();
        let told = self.told().await;
        for (id, order) in payments {
            let payment = self.store.find_payment(*id).await.unwrap().unwrap();
            let movements = provider.movements(order);
            let sum = |kind| -> i64 {
                movements.iter().filter(|it| it.kind == kind).map(|it| it.amount.minor()).sum()
            };
            let charges = movements.iter().filter(|it| it.kind == RemoteKind::Charge).count();
            if charges > 1 {
                wrongs.push(format!("{id} was charged {charges} times"));
            }
            let gone = sum(RemoteKind::Cancel) + sum(RemoteKind::Chargeback);
            let moved = sum(RemoteKind::Charge) - gone;
            let booked = self.store.sum_receivable_of(id.uuid()).await.unwrap();
            let Sums { captured, reserved, refunded } = payment.sums;
            let borne = self.borne(*id, &mut wrongs).await;
            if moved != booked || booked != captured - refunded - borne {
                wrongs.push(format!(
                    "{id}: moved {moved}, booked {booked}, {captured} less {refunded}"
                ));
            }
            if reserved != 0 || payment.under_way.is_some() {
                wrongs.push(format!("{id} is not over: {payment:?}"));
            }
            wrongs.extend(self.wrong_events(&payment, provider, order, &told).await);
        }
        let parked = WorkflowStatus::Parked;
        for workflow in self.store.list_workflows(parked, None, 99).await.unwrap() {
            let why = workflow.last_error.unwrap_or_default();
            wrongs.push(format!("{} is parked: {why}", workflow.dedupe_key));
        }
        wrongs.extend(self.wrong_books().await);
        wrongs
    }

    /// What of the disputes of a payment we bear ourselves.
    async fn borne(&self, id: PaymentId, wrongs: &mut Vec<String>) -> i64 {
        let disputes = self.store.list_disputes(id).await.unwrap();
        if disputes.iter().any(|it| it.closed_at.is_none()) {
            wrongs.push(format!("{id}: a dispute is not over"));
        }
        let lost = disputes.iter().filter(|it| it.status == DisputeStatus::Lost);
        lost.map(|it| it.amount.minor() - it.covered).sum()
    }

    async fn told(&mut self) -> Told {
        let mut told = Told::new();
        loop {
            let events = self.store.list_outbox(self.seen, 500).await.unwrap();
            let Some(last) = events.last() else { return told };
            self.seen = last.position;
            for event in events.into_iter().filter(|event| is_outward(&event.topic)) {
                *told.entry((event.subject, event.name)).or_default() += 1;
            }
        }
    }

    /// Changes of a payment that were told not once.
    async fn wrong_events(
        &self,
        payment: &Payment,
        provider: &FakeProvider,
        order: &str,
        told: &Told,
    ) -> Vec<String> {
        let mut expected = BTreeMap::<&str, usize>::new();
        let refunds = self.store.list_refunds(payment.id).await.unwrap();
        let made = refunds.iter().filter(|it| it.status == RefundStatus::Succeeded).count();
        for row in self.store.list_payment_transitions(payment.id).await.unwrap() {
            let from = row.from_status.as_deref().and_then(PaymentStatus::parse);
            let to = PaymentStatus::parse(&row.to_status).unwrap();
            if from.is_some_and(|from| from.next(to).is_err()) {
                return vec![format!("{}: {row:?} is not legal", payment.id)];
            }
            match PaymentStatus::event(from, to) {
                // Told for each refund, and for the end of a dispute of what was refunded meanwhile.
                Some("PaymentRefunded") if row.actor != "disputes" => {}
                Some(name) => *expected.entry(name).or_default() += 1,
                None => {}
            }
        }
        if made > 0 {
            *expected.entry("PaymentRefunded").or_default() += made;
        }
        let late = self.given_back_late(provider, order).await;
        if late > 0 {
            expected.insert(BREAK_FOUND, late);
        }
        let subject = payment.id.to_string();
        let of_it = told.iter().filter(|((about, _), _)| *about == subject);
        let counted: BTreeMap<&str, usize> =
            of_it.map(|((_, name), count)| (name.as_str(), *count)).collect();
        if counted == expected {
            return Vec::new();
        }
        vec![format!("{subject}: told {counted:?}, and not {expected:?}")]
    }

    /// How many workflows give back, or let go, what was taken for a payment that is over.
    async fn given_back_late(&self, provider: &FakeProvider, order: &str) -> usize {
        let Some(charge) = provider.find_order(order) else { return 0 };
        let key = |what| format!("{what}:fake:{}", charge.provider_key);
        let keys = ["orphan", "let_go"].map(key).to_vec();
        self.store.list_workflows_for(keys, 10).await.unwrap().len()
    }

    async fn wrong_books(&self) -> Vec<String> {
        let page = self.store.check_ledger(None, 500).await.unwrap();
        let mut wrongs: Vec<String> =
            page.drifts.iter().map(|drift| format!("{} has drifted", drift.code)).collect();
        let families = self.store.list_family_balances().await.unwrap();
        let sum = |of: fn(&Counters) -> i64| -> i64 {
            families.iter().map(|family| of(&family.counters)).sum()
        };
        if sum(|it| it.debits_posted) != sum(|it| it.credits_posted) {
            wrongs.push("the books do not balance".to_owned());
        }
        for family in &families {
            if family.counters.debits_pending != 0 {
                wrongs.push(format!("something of {} is still held", family.family));
            }
            if family.family == "suspense" && family.counters.credit_balance() != 0 {
                wrongs.push("something is nobody's".to_owned());
            }
        }
        wrongs
    }
}
