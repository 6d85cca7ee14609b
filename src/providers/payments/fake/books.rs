//! The books of the fake provider: charges and their refunds, and what of them is shown.
//!
//! Pure but for its own memory: what time it is comes in as an argument. Where it knows no keys, whatever is asked for
//! twice is done twice; the list of movements has both.

use std::collections::VecDeque;

use super::disputes::Disputes;
use super::faults::Fault;
use super::journal::Journal;
use super::kept::Kept;
use super::payouts::Payouts;
use super::sale::Sale;
use super::webhooks;
use super::wire::{
    Code, Fact, MISMATCH, NOT_FOUND, NOT_READY, Reply, Request, cannot_be_asked, code_of,
    unanswered,
};
use crate::domain::money::Amount;
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::{
    Cancel, Canceled, Capabilities, Charge, ChargeStatus, Confirm, DeclineCode, Dispute, LookUp,
    Prepare, RawWebhook, RemoteKind,
};

/// Charges that are kept; the oldest go.
const CHARGES_MAX: usize = 20_000;
/// Webhooks that wait to be taken; the oldest go, as a webhook may.
const WEBHOOKS_MAX: usize = 10_000;

pub(super) struct Books {
    capabilities: Capabilities,
    /// By the provider's key.
    sales: Kept<String, Sale>,
    /// The first charge of an order.
    orders: Kept<String, String>,
    pub(super) payouts: Payouts,
    pub(super) disputes: Disputes,
    pub(super) journal: Journal,
    webhooks: VecDeque<RawWebhook>,
}

impl Books {
    pub(super) fn new(capabilities: Capabilities) -> Self {
        Self {
            capabilities,
            sales: Kept::new(CHARGES_MAX),
            orders: Kept::new(CHARGES_MAX),
            payouts: Payouts::new(capabilities.idempotent_for.is_some()),
            disputes: Disputes::default(),
            journal: Journal::default(),
            webhooks: VecDeque::new(),
        }
    }

    /// Does what it is asked.
    pub(super) fn perform(
        &mut self,
        request: &Request,
        key: &EffectKey,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Reply {
        let done = match request {
            Request::Prepare(it) => self.open(it, now).map(Fact::Charge),
            Request::Confirm(it) => self.confirm(it, fault, now).map(Fact::Charge),
            Request::Capture(it) => self.capture(it, fault, now).map(Fact::Charge),
            Request::Cancel(it) => self.cancel(it, key, fault, now).map(Fact::Canceled),
            Request::PayOut(it) => {
                self.payouts.send(it, fault, now, &mut self.journal).map(Fact::PaidOut)
            }
        };
        done.map_or_else(Reply::Refused, Reply::Fact)
    }

    /// Refuses it for good.
    pub(super) fn refuse(&mut self, request: &Request, code: DeclineCode, now: Timestamp) -> Reply {
        match request {
            Request::Confirm(it) | Request::Capture(it) => {
                let _ = self.change(&it.provider_key, now, |sale| sale.fail(code));
            }
            Request::PayOut(it) => self.payouts.refuse(it, code),
            Request::Prepare(_) | Request::Cancel(_) => {}
        }
        Reply::Refused(code_of(code))
    }

    /// How much a call is about.
    pub(super) fn amount_of(&self, request: &Request) -> Option<Amount> {
        match request {
            Request::Prepare(_) => None,
            Request::Confirm(it) | Request::Capture(it) => Some(it.amount),
            Request::Cancel(it) => it.amount.or_else(|| self.sales.get(&it.provider_key)?.left()),
            Request::PayOut(it) => Some(it.amount),
        }
    }

    /// What look-ups show before `request` changes it.
    pub(super) fn before(&self, request: &Request) -> LookUp<Charge> {
        let sale = request.charge().and_then(|key| self.sales.get(key));
        sale.filter(|sale| !sale.is_open())
            .map_or(LookUp::Absent, |sale| LookUp::Found(sale.charge.clone()))
    }

    /// Lets look-ups go on to show what was there before.
    pub(super) fn hide(&mut self, request: &Request, before: LookUp<Charge>, until: Timestamp) {
        match request {
            Request::PayOut(it) => self.payouts.show(&it.reference, LookUp::Absent, until),
            _ => self.show(request, before, until),
        }
    }

    /// Lets look-ups go unanswered.
    pub(super) fn mute(&mut self, request: &Request, until: Timestamp) {
        match request {
            Request::PayOut(it) => self.payouts.show(&it.reference, unanswered(), until),
            _ => self.show(request, unanswered(), until),
        }
    }

    fn show(&mut self, request: &Request, shown: LookUp<Charge>, until: Timestamp) {
        if let Some(sale) = request.charge().and_then(|key| self.sales.get_mut(key)) {
            sale.shown = Some((until, shown));
        }
    }

    pub(super) fn find_charge(
        &self,
        order: &str,
        provider_key: Option<&str>,
        now: Timestamp,
    ) -> LookUp<Charge> {
        let key = match provider_key {
            Some(key) => Some(key),
            None if self.capabilities.has_look_up_by_order => {
                self.orders.get(order).map(String::as_str)
            }
            None => return cannot_be_asked(),
        };
        key.and_then(|key| self.sales.get(key)).map_or(LookUp::Absent, |sale| sale.at(now))
    }

    pub(super) fn find_cancel(
        &self,
        order: &str,
        provider_key: &str,
        key: &EffectKey,
        now: Timestamp,
    ) -> LookUp<Canceled> {
        if !self.capabilities.has_look_up_by_key {
            return cannot_be_asked();
        }
        match self.find_charge(order, Some(provider_key), now) {
            LookUp::Found(charge) => {
                let is_it = |it: &Canceled| it.effect_key.as_deref() == Some(key.as_str());
                charge.cancels.into_iter().find(is_it).map_or(LookUp::Absent, LookUp::Found)
            }
            LookUp::Absent => LookUp::Absent,
            LookUp::Unknown(why) => LookUp::Unknown(why),
        }
    }

    pub(super) fn sale_of(&self, order: &str) -> Option<&Sale> {
        self.sales.get(self.orders.get(order)?)
    }

    pub(super) fn key_of(&self, order: &str) -> Option<String> {
        self.orders.get(order).cloned()
    }

    /// Its payer has paid, as far as that is for the payer to do.
    pub(super) fn pay(
        &mut self,
        order: &str,
        is_by_deposit: bool,
        now: Timestamp,
    ) -> Result<String, Code> {
        let key = self.key_of(order).ok_or(NOT_FOUND)?;
        self.change(&key, now, |sale| {
            if !sale.is_open() {
                return Err(NOT_READY);
            }
            (sale.has_payer_finished, sale.is_by_deposit) = (true, is_by_deposit);
            Ok(())
        })?;
        Ok(key)
    }

    /// Its payer gives up, or cannot pay.
    pub(super) fn refuse_payer(
        &mut self,
        order: &str,
        code: DeclineCode,
        now: Timestamp,
    ) -> Result<String, Code> {
        let key = self.key_of(order).ok_or(NOT_FOUND)?;
        self.change(&key, now, |sale| {
            if !sale.is_open() {
                return Err(NOT_READY);
            }
            sale.fail(code)
        })?;
        Ok(key)
    }

    /// Its payer's transfer arrives.
    pub(super) fn deposit(&mut self, order: &str, now: Timestamp) -> Result<(), Code> {
        let key = self.key_of(order).ok_or(NOT_FOUND)?;
        self.change(&key, now, |sale| {
            if sale.charge.status != ChargeStatus::AwaitingDeposit {
                return Err(NOT_READY);
            }
            sale.approve(false, now);
            Ok(())
        })
    }

    pub(super) fn take_webhooks(&mut self) -> Vec<RawWebhook> {
        self.webhooks.drain(..).collect()
    }

    /// The webhooks that wait, the oldest first.
    pub(super) fn waiting_webhooks(&self, max: usize) -> Vec<RawWebhook> {
        self.webhooks.iter().take(max).cloned().collect()
    }

    pub(super) fn forget_webhooks(&mut self, count: usize) {
        self.webhooks.drain(..count.min(self.webhooks.len()));
    }

    /// Changes a charge; writes down the money that it moved, and tells of it.
    pub(super) fn change<T>(
        &mut self,
        key: &str,
        now: Timestamp,
        change: impl FnOnce(&mut Sale) -> Result<T, Code>,
    ) -> Result<T, Code> {
        let sale = self.sales.get_mut(key).ok_or(NOT_FOUND)?;
        let before = sale.charge.clone();
        let changed = change(sale)?;
        let after = sale.charge.clone();
        if after.status == ChargeStatus::Captured && before.status != ChargeStatus::Captured {
            self.journal.write(RemoteKind::Charge, key, &after.order, after.amount, now);
        }
        if after != before {
            self.tell(&after, None, now);
        }
        Ok(changed)
    }

    pub(super) fn tell(&mut self, charge: &Charge, dispute: Option<&Dispute>, now: Timestamp) {
        if self.webhooks.len() >= WEBHOOKS_MAX {
            self.webhooks.pop_front();
        }
        self.webhooks.push_back(webhooks::write(charge, dispute, self.capabilities.webhooks, now));
    }

    const fn is_idempotent(&self) -> bool {
        self.capabilities.idempotent_for.is_some()
    }

    /// Takes up an order that a payer is about to pay for.
    fn open(&mut self, request: &Prepare, now: Timestamp) -> Result<Charge, Code> {
        if let Some(sale) = self.sale_of(&request.order) {
            let is_same = sale.agreed == *request;
            return if is_same { Ok(sale.charge.clone()) } else { Err(MISMATCH) };
        }
        // Follows from the order: a provider that forgot everything never gives a key twice.
        let key = format!("fake-{}", request.order);
        let sale = Sale::new(key.clone(), request.clone());
        let charge = sale.charge.clone();
        self.orders.insert(request.order.clone(), key.clone());
        self.sales.insert(key, sale);
        self.tell(&charge, None, now);
        Ok(charge)
    }

    fn confirm(
        &mut self,
        request: &Confirm,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Charge, Code> {
        let key = &request.provider_key;
        let sale = self.sales.get(key).ok_or(NOT_FOUND)?;
        sale.check(&request.order, request.currency, Some(request.amount))?;
        if sale.is_taken() && !self.is_idempotent() {
            return self.take_again(key, now);
        }
        self.change(key, now, |sale| sale.confirm(fault, now))?;
        if fault == Some(Fault::Doubled) {
            self.take_again(key, now)?;
        }
        if let Some(Fault::Disputed(then)) = fault {
            self.dispute_soon(&request.order, then, now)?;
        }
        self.sales.get(key).map(|sale| sale.charge.clone()).ok_or(NOT_FOUND)
    }

    fn capture(
        &mut self,
        request: &Confirm,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Charge, Code> {
        self.change(&request.provider_key, now, |sale| {
            sale.check(&request.order, request.currency, Some(request.amount))?;
            sale.capture(fault, now)?;
            Ok(sale.charge.clone())
        })
    }

    /// Charges the payer once more: a charge of its own.
    fn take_again(&mut self, key: &str, now: Timestamp) -> Result<Charge, Code> {
        let first = self.sales.get(key).ok_or(NOT_FOUND)?;
        let mut again = (2_u32..).map(|n| format!("{key}+{n}"));
        let again = again.find(|it| self.sales.get(it).is_none()).ok_or(NOT_FOUND)?;
        let mut sale = Sale::new(again.clone(), first.agreed.clone());
        (sale.has_payer_finished, sale.is_by_deposit) = (true, first.is_by_deposit);
        self.sales.insert(again.clone(), sale);
        self.change(&again, now, |sale| {
            sale.confirm(None, now)?;
            Ok(sale.charge.clone())
        })
    }

    fn cancel(
        &mut self,
        request: &Cancel,
        key: &EffectKey,
        fault: Option<Fault>,
        now: Timestamp,
    ) -> Result<Canceled, Code> {
        let Capabilities { has_partial_refund, has_look_up_by_key, .. } = self.capabilities;
        let effect_key = has_look_up_by_key.then(|| key.as_str().to_owned());
        let provider_key = &request.provider_key;
        let times = if fault == Some(Fault::Doubled) { 2 } else { 1 };
        let mut first = None;
        for _ in 0..times {
            let canceled = self.change(provider_key, now, |sale| {
                sale.check(&request.order, request.currency, None)?;
                if sale.came_by_transfer() && request.refund_account.is_none() {
                    return Err(code_of(DeclineCode::InvalidBankAccount));
                }
                let was_captured = sale.charge.status == ChargeStatus::Captured;
                let amount = sale.refundable(request.amount, has_partial_refund)?;
                let canceled = sale.cancel(Fault::given(amount, fault), effect_key.clone(), now);
                Ok((was_captured, canceled))
            });
            match canceled {
                Ok((was_captured, canceled)) => {
                    if was_captured {
                        let Canceled { provider_key, amount, .. } = &canceled;
                        let (kind, order) = (RemoteKind::Cancel, &request.order);
                        self.journal.write(kind, provider_key, order, *amount, now);
                    }
                    first.get_or_insert(canceled);
                }
                // The second of two: there was not enough left.
                Err(code) if first.is_none() => return Err(code),
                Err(_) => break,
            }
        }
        first.ok_or(NOT_FOUND)
    }
}
