//! A charge at the fake provider, from its payer's first look to its last refund.

use super::faults::Fault;
use super::wire::{
    ALREADY_CANCELED, ALREADY_PROCESSED, Code, MISMATCH, NOT_READY, code_of, decline,
};
use crate::domain::money::{Amount, Currency};
use crate::domain::time::Timestamp;
use crate::providers::payments::{Canceled, Charge, ChargeStatus, DeclineCode, LookUp, Prepare};

/// A charge, and what is not told of it.
pub(super) struct Sale {
    pub(super) charge: Charge,
    pub(super) agreed: Prepare,
    pub(super) has_payer_finished: bool,
    pub(super) is_by_deposit: bool,
    /// Disputes that nobody has decided.
    pub(super) open_disputes: usize,
    /// What disputes have taken.
    pub(super) charged_back: i64,
    /// What look-ups show, and until when.
    pub(super) shown: Option<(Timestamp, LookUp<Charge>)>,
}

impl Sale {
    pub(super) fn new(provider_key: String, agreed: Prepare) -> Self {
        let charge = Charge {
            provider_key,
            order: agreed.order.clone(),
            amount: agreed.amount,
            currency: agreed.currency,
            status: ChargeStatus::Open,
            method: None,
            decline: None,
            approved_at: None,
            cancels: Vec::new(),
            has_open_cancels: false,
            disputes: Vec::new(),
        };
        Self {
            charge,
            agreed,
            has_payer_finished: false,
            is_by_deposit: false,
            open_disputes: 0,
            charged_back: 0,
            shown: None,
        }
    }

    pub(super) fn is_open(&self) -> bool {
        self.charge.status == ChargeStatus::Open
    }

    /// Whether there is no card that it could go back to.
    pub(super) fn came_by_transfer(&self) -> bool {
        self.is_by_deposit && self.charge.status == ChargeStatus::Captured
    }

    pub(super) fn is_taken(&self) -> bool {
        matches!(self.charge.status, ChargeStatus::Authorized | ChargeStatus::Captured)
    }

    /// As look-ups show it.
    pub(super) fn at(&self, now: Timestamp) -> LookUp<Charge> {
        match &self.shown {
            Some((until, shown)) if now < *until => shown.clone(),
            Some(_) | None => LookUp::Found(self.charge.clone()),
        }
    }

    /// Whether a call is about what was agreed.
    pub(super) fn check(
        &self,
        order: &str,
        currency: Currency,
        amount: Option<Amount>,
    ) -> Result<(), Code> {
        let agreed = &self.agreed;
        let is_agreed = agreed.order == order
            && agreed.currency == currency
            && amount.is_none_or(|amount| agreed.amount == amount);
        if is_agreed { Ok(()) } else { Err(MISMATCH) }
    }

    pub(super) fn confirm(&mut self, fault: Option<Fault>, now: Timestamp) -> Result<(), Code> {
        match self.charge.status {
            ChargeStatus::Open if !self.has_payer_finished => return Err(NOT_READY),
            ChargeStatus::Open => {}
            ChargeStatus::Failed => return Err(self.refusal()),
            ChargeStatus::Canceled => return Err(ALREADY_CANCELED),
            ChargeStatus::AwaitingDeposit | ChargeStatus::Authorized | ChargeStatus::Captured => {
                return Err(ALREADY_PROCESSED);
            }
        }
        self.charge.amount = Fault::given(self.agreed.amount, fault);
        let method = if self.is_by_deposit { "virtual_account" } else { "card" };
        self.charge.method = Some(method.to_owned());
        if self.is_by_deposit {
            self.charge.status = ChargeStatus::AwaitingDeposit;
        } else {
            self.approve(self.agreed.is_captured_later, now);
        }
        Ok(())
    }

    pub(super) fn capture(&mut self, fault: Option<Fault>, now: Timestamp) -> Result<(), Code> {
        match self.charge.status {
            ChargeStatus::Authorized => {
                self.charge.amount = Fault::given(self.charge.amount, fault);
                self.approve(false, now);
                Ok(())
            }
            ChargeStatus::Open | ChargeStatus::AwaitingDeposit => Err(NOT_READY),
            ChargeStatus::Failed => Err(self.refusal()),
            ChargeStatus::Canceled => Err(ALREADY_CANCELED),
            ChargeStatus::Captured => Err(ALREADY_PROCESSED),
        }
    }

    pub(super) fn approve(&mut self, is_captured_later: bool, now: Timestamp) {
        self.charge.approved_at = Some(now);
        self.charge.status =
            if is_captured_later { ChargeStatus::Authorized } else { ChargeStatus::Captured };
    }

    /// Refuses it, unless it is too late for that.
    pub(super) fn fail(&mut self, code: DeclineCode) -> Result<(), Code> {
        match self.charge.status {
            ChargeStatus::Open | ChargeStatus::Authorized => {
                self.charge.status = ChargeStatus::Failed;
                self.charge.decline = Some(decline(code));
                Ok(())
            }
            ChargeStatus::Failed => Err(self.refusal()),
            ChargeStatus::Canceled => Err(ALREADY_CANCELED),
            ChargeStatus::AwaitingDeposit | ChargeStatus::Captured => Err(ALREADY_PROCESSED),
        }
    }

    fn refusal(&self) -> Code {
        self.charge.decline.as_ref().map_or(NOT_READY, |it| code_of(it.code))
    }

    /// What is left of it.
    pub(super) fn left(&self) -> Option<Amount> {
        let canceled: i64 = self.charge.cancels.iter().map(|it| it.amount.minor()).sum();
        let gone = canceled.saturating_add(self.charged_back);
        Amount::new(self.charge.amount.minor().saturating_sub(gone)).ok()
    }

    /// How much is voided or refunded when that is asked for, or all that is left.
    pub(super) fn refundable(
        &self,
        asked: Option<Amount>,
        has_partial: bool,
    ) -> Result<Amount, Code> {
        let has_partial = match self.charge.status {
            ChargeStatus::Failed => return Err(code_of(DeclineCode::NotRefundable)),
            ChargeStatus::Canceled => return Err(ALREADY_CANCELED),
            ChargeStatus::Captured => has_partial,
            ChargeStatus::Open | ChargeStatus::AwaitingDeposit | ChargeStatus::Authorized => false,
        };
        if self.open_disputes > 0 {
            return Err(code_of(DeclineCode::NotRefundable));
        }
        let gone = if self.charged_back > 0 {
            code_of(DeclineCode::NotRefundable)
        } else {
            ALREADY_CANCELED
        };
        let left = self.left().ok_or(gone)?;
        let amount = asked.unwrap_or(left);
        if amount > left {
            return Err(code_of(DeclineCode::RefundTooLarge));
        }
        if amount < self.charge.amount && !has_partial {
            return Err(code_of(DeclineCode::NotRefundable));
        }
        Ok(amount)
    }

    pub(super) fn cancel(
        &mut self,
        amount: Amount,
        effect_key: Option<String>,
        now: Timestamp,
    ) -> Canceled {
        let n = self.charge.cancels.len().saturating_add(1);
        let provider_key = format!("{}+c{n}", self.charge.provider_key);
        let canceled = Canceled { provider_key, effect_key, amount, at: Some(now) };
        self.charge.cancels.push(canceled.clone());
        if self.left().is_none() {
            self.charge.status = ChargeStatus::Canceled;
        }
        canceled
    }
}
