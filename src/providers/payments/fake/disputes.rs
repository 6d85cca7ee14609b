//! Disputes at the fake provider: what payers' banks want back, and how they decide.
//!
//! A bank takes its money when it has won. Until then nothing of the charge is refunded, as at Stripe.

use std::collections::VecDeque;

use super::FakeProvider;
use super::books::Books;
use super::diary::Entry;
use super::faults::WRONG_FOR;
use super::kept::Kept;
use super::payer::{PayerError, refused};
use super::wire::{Code, MISMATCH, NOT_FOUND, NOT_READY};
use crate::domain::money::Amount;
use crate::domain::payments::disputes::DisputeStatus;
use crate::domain::time::Timestamp;
use crate::providers::payments::{
    ChargeStatus, Dispute, DisputePage, ListedDispute, LookUp, RemoteKind,
};

/// Disputes that are kept; the oldest go.
const DISPUTES_MAX: usize = 20_000;
const PAGE_MAX: usize = 100;

pub(super) struct Disputes {
    by_key: Kept<String, Dispute>,
    /// When each was opened, the oldest first.
    opened: VecDeque<(Timestamp, String)>,
    /// Those that end by themselves, and how.
    due: Vec<(Timestamp, String, DisputeStatus)>,
}

impl Default for Disputes {
    fn default() -> Self {
        Self { by_key: Kept::new(DISPUTES_MAX), opened: VecDeque::new(), due: Vec::new() }
    }
}

impl Disputes {
    pub(super) fn find(&self, key: &str) -> LookUp<Dispute> {
        self.by_key.get(key).map_or(LookUp::Absent, |it| LookUp::Found(it.clone()))
    }

    /// Those that were opened since, from behind a dispute on.
    pub(super) fn list(&self, since: Timestamp, after: Option<&str>) -> DisputePage {
        let keys = self.opened.iter().filter(|(at, _)| *at >= since).map(|(_, key)| key);
        let mut keys = keys
            .skip_while(|key| after.is_some_and(|after| after != key.as_str()))
            .skip(usize::from(after.is_some()));
        let page: Vec<&Dispute> =
            keys.by_ref().take(PAGE_MAX).filter_map(|key| self.by_key.get(key)).collect();
        let last = page.last().map(|it| it.provider_key.clone());
        let listed = |it: &Dispute| ListedDispute {
            provider_key: it.provider_key.clone(),
            charge: it.charge.clone(),
        };
        DisputePage { items: page.into_iter().map(listed).collect(), next: keys.next().and(last) }
    }

    fn insert(&mut self, dispute: Dispute, now: Timestamp) {
        self.opened.push_back((now, dispute.provider_key.clone()));
        if self.opened.len() > DISPUTES_MAX {
            self.opened.pop_front();
        }
        self.by_key.insert(dispute.provider_key.clone(), dispute);
    }
}

impl Books {
    /// A bank wants so much back, or all that is left. Gives the dispute's key.
    pub(super) fn dispute(
        &mut self,
        order: &str,
        amount: Option<Amount>,
        then: Option<(Timestamp, DisputeStatus)>,
        now: Timestamp,
    ) -> Result<String, Code> {
        let charge = self.key_of(order).ok_or(NOT_FOUND)?;
        let dispute = self.change(&charge, now, |sale| {
            if sale.charge.status != ChargeStatus::Captured || sale.open_disputes > 0 {
                return Err(NOT_READY);
            }
            let left = sale.left().ok_or(NOT_READY)?;
            let amount = amount.unwrap_or(left);
            if amount > left {
                return Err(MISMATCH);
            }
            let n = sale.charge.disputes.len().saturating_add(1);
            let provider_key = format!("{charge}-d{n}");
            sale.charge.disputes.push(provider_key.clone());
            sale.open_disputes = sale.open_disputes.saturating_add(1);
            Ok(Dispute {
                provider_key,
                charge: charge.clone(),
                amount,
                currency: sale.charge.currency,
                status: DisputeStatus::NeedsResponse,
                due_at: None,
            })
        })?;
        let key = dispute.provider_key.clone();
        self.disputes.insert(dispute, now);
        self.disputes.due.extend(then.map(|(at, status)| (at, key.clone(), status)));
        Ok(key)
    }

    /// One that ends by itself, or never.
    pub(super) fn dispute_soon(
        &mut self,
        order: &str,
        then: Option<DisputeStatus>,
        now: Timestamp,
    ) -> Result<(), Code> {
        let then = then.map(|status| (now.plus(WRONG_FOR), status));
        match self.dispute(order, None, then, now) {
            // It was only set aside.
            Ok(_) | Err(NOT_READY) => Ok(()),
            Err(code) => Err(code),
        }
    }

    /// A bank decides.
    pub(super) fn decide(
        &mut self,
        key: &str,
        status: DisputeStatus,
        now: Timestamp,
    ) -> Result<(), Code> {
        let dispute = self.disputes.by_key.get_mut(key).ok_or(NOT_FOUND)?;
        if !dispute.status.leads_to(status) {
            return Err(NOT_READY);
        }
        dispute.status = status;
        let dispute = dispute.clone();
        let charge = self.change(&dispute.charge, now, |sale| {
            if status.is_final() {
                sale.open_disputes = sale.open_disputes.saturating_sub(1);
            }
            if status == DisputeStatus::Lost {
                sale.charged_back = sale.charged_back.saturating_add(dispute.amount.minor());
            }
            Ok(sale.charge.clone())
        })?;
        if status == DisputeStatus::Lost {
            let (kind, order) = (RemoteKind::Chargeback, &charge.order);
            self.journal.write(kind, key, order, dispute.amount, now);
        }
        self.tell(&charge, Some(&dispute), now);
        Ok(())
    }

    /// Ends those whose time has come.
    pub(super) fn decide_due(&mut self, now: Timestamp) {
        let due: Vec<_> = self.disputes.due.extract_if(.., |(at, ..)| *at <= now).collect();
        for (at, key, status) in due {
            // Somebody may have decided before.
            let _ = self.decide(&key, status, at);
        }
    }
}

impl FakeProvider {
    /// The payer's bank wants so much of an order back, or all that is left. Gives the dispute's key.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn dispute(&self, order: &str, amount: Option<Amount>) -> Result<String, PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.sale_of(order).ok_or(PayerError::UnknownOrder)?;
        desk.note(Entry::Disputed { order: order.to_owned(), amount }, now)?;
        desk.books.dispute(order, amount, None, now).map_err(refused)
    }

    /// The payer's bank goes on with a dispute, or decides it.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn decide(&self, dispute: &str, status: DisputeStatus) -> Result<(), PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        if desk.books.disputes.find(dispute) == LookUp::Absent {
            return Err(PayerError::UnknownOrder);
        }
        desk.note(Entry::Decided { dispute: dispute.to_owned(), status }, now)?;
        desk.books.decide(dispute, status, now).map_err(refused)
    }
}
