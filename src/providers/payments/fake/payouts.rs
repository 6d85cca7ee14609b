//! Payouts as the fake provider has them.
//!
//! Where it knows no keys, a repeat under the same reference is a second payout: the list of movements has both.

use super::faults::Fault;
use super::journal::Journal;
use super::kept::Kept;
use super::wire::{ALREADY_PROCESSED, Code, code_of, decline};
use crate::domain::time::Timestamp;
use crate::providers::payments::{DeclineCode, LookUp, PaidOut, Payout, PayoutStatus, RemoteKind};

/// Payouts that are kept; the oldest go.
const PAYOUTS_MAX: usize = 20_000;

pub(super) struct Payouts {
    is_idempotent: bool,
    /// By reference.
    sent: Kept<String, Sent>,
}

struct Sent {
    paid_out: PaidOut,
    times: usize,
    /// What becomes of it, and when.
    becomes: Option<(Timestamp, PayoutStatus)>,
    /// What look-ups show, and until when.
    shown: Option<(Timestamp, LookUp<PaidOut>)>,
}

impl Payouts {
    pub(super) fn new(is_idempotent: bool) -> Self {
        Self { is_idempotent, sent: Kept::new(PAYOUTS_MAX) }
    }

    pub(super) fn send(
        &mut self,
        request: &Payout,
        fault: Option<Fault>,
        now: Timestamp,
        journal: &mut Journal,
    ) -> Result<PaidOut, Code> {
        let amount = Fault::given(request.amount, fault);
        let times = if fault == Some(Fault::Doubled) { 2 } else { 1 };
        if let Some(sent) = self.sent.get_mut(&request.reference) {
            if let Some(decline) = &sent.paid_out.decline {
                return Err(code_of(decline.code));
            }
            if self.is_idempotent {
                return Err(ALREADY_PROCESSED);
            }
            sent.move_money(times, now, journal);
            return Ok(sent.at(now));
        }
        let becomes = match fault {
            Some(Fault::PaidLater(wait)) => Some((now.plus(wait), PayoutStatus::Paid)),
            Some(Fault::Returned(wait)) => Some((now.plus(wait), PayoutStatus::Failed)),
            _ => None,
        };
        let status = match becomes {
            Some((_, PayoutStatus::Paid)) => PayoutStatus::Pending,
            _ => PayoutStatus::Paid,
        };
        let paid_out = PaidOut { amount, ..named(request, status) };
        let mut sent = Sent { becomes, ..Sent::new(paid_out) };
        sent.move_money(times, now, journal);
        let paid_out = sent.at(now);
        self.sent.insert(request.reference.clone(), sent);
        Ok(paid_out)
    }

    /// Refuses it for good.
    pub(super) fn refuse(&mut self, request: &Payout, code: DeclineCode) {
        if self.sent.get(&request.reference).is_none() {
            let refused = named(request, PayoutStatus::Failed);
            let refused = PaidOut { decline: Some(decline(code)), ..refused };
            self.sent.insert(request.reference.clone(), Sent::new(refused));
        }
    }

    pub(super) fn find(&self, reference: &str, now: Timestamp) -> LookUp<PaidOut> {
        let Some(sent) = self.sent.get(reference) else { return LookUp::Absent };
        match &sent.shown {
            Some((until, shown)) if now < *until => shown.clone(),
            Some(_) | None => LookUp::Found(sent.at(now)),
        }
    }

    /// Lets look-ups show something else for a while.
    pub(super) fn show(&mut self, reference: &str, shown: LookUp<PaidOut>, until: Timestamp) {
        if let Some(sent) = self.sent.get_mut(reference) {
            sent.shown = Some((until, shown));
        }
    }
}

impl Sent {
    const fn new(paid_out: PaidOut) -> Self {
        Self { paid_out, times: 0, becomes: None, shown: None }
    }

    fn move_money(&mut self, times: usize, now: Timestamp, journal: &mut Journal) {
        for _ in 0..times {
            self.times = self.times.saturating_add(1);
            let PaidOut { provider_key, reference, amount, .. } = &self.paid_out;
            let key = match self.times {
                1 => provider_key.clone(),
                n => format!("{provider_key}+{n}"),
            };
            journal.write(RemoteKind::PayOut, &key, reference, *amount, now);
        }
    }

    /// How it stands by now.
    fn at(&self, now: Timestamp) -> PaidOut {
        let mut paid_out = self.paid_out.clone();
        if let Some((when, status)) = self.becomes
            && when <= now
        {
            paid_out.status = status;
            if status == PayoutStatus::Failed {
                paid_out.decline = Some(decline(DeclineCode::InvalidBankAccount));
            }
        }
        paid_out
    }
}

fn named(request: &Payout, status: PayoutStatus) -> PaidOut {
    PaidOut {
        provider_key: format!("fake-payout-{}", request.reference),
        reference: request.reference.clone(),
        amount: request.amount,
        currency: request.currency,
        status,
        decline: None,
    }
}
