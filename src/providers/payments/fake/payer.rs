//! The payer's side of the fake provider: what a checkout page does, and the payer's bank.

use super::FakeProvider;
use super::wire::NOT_READY;
use crate::providers::payments::{Charge, ChargeStatus, DeclineCode, RawWebhook};

/// How a payer pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Card,
    /// By a transfer into an account of the provider, later.
    VirtualAccount,
}

/// Why a payer cannot do that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PayerError {
    #[error("there is no such order")]
    UnknownOrder,
    #[error("the order does not wait for that")]
    NotAwaited,
}

impl FakeProvider {
    /// What a checkout page shows: the order, its amount, and how it stands.
    #[must_use]
    pub fn find_order(&self, order: &str) -> Option<Charge> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.sale_of(order).map(|sale| sale.charge.clone())
    }

    /// The payer has paid, as far as that is for the payer to do. Gives the provider's key, with which the payment is
    /// confirmed; the same one when the payer does it again.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn pay(&self, order: &str, method: Method) -> Result<String, PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let charge = desk.books.sale_of(order).ok_or(PayerError::UnknownOrder)?.charge.clone();
        let is_by_deposit =
            method == Method::VirtualAccount || desk.faults.has_deposit(charge.amount);
        let paid = desk.books.change(&charge.provider_key, now, |sale| {
            if !sale.is_open() {
                return Err(NOT_READY);
            }
            (sale.has_payer_finished, sale.is_by_deposit) = (true, is_by_deposit);
            Ok(())
        });
        paid.map_err(|_| PayerError::NotAwaited)?;
        Ok(charge.provider_key)
    }

    /// The payer gives up. Gives the provider's key.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn decline(&self, order: &str) -> Result<String, PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let key = desk.books.key_of(order).ok_or(PayerError::UnknownOrder)?;
        let declined = desk.books.change(&key, now, |sale| {
            if !sale.is_open() {
                return Err(NOT_READY);
            }
            sale.fail(DeclineCode::CanceledByPayer)
        });
        declined.map_err(|_| PayerError::NotAwaited)?;
        Ok(key)
    }

    /// The payer's transfer arrives in the virtual account. Nobody is asking then: a webhook tells of it.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn deposit(&self, order: &str) -> Result<(), PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let key = desk.books.key_of(order).ok_or(PayerError::UnknownOrder)?;
        let arrived = desk.books.change(&key, now, |sale| {
            if sale.charge.status != ChargeStatus::AwaitingDeposit {
                return Err(NOT_READY);
            }
            sale.approve(false, now);
            Ok(())
        });
        arrived.map_err(|_| PayerError::NotAwaited)
    }

    /// The webhooks that were sent since this was asked last, as they arrive.
    #[must_use]
    pub fn take_webhooks(&self) -> Vec<RawWebhook> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let sent = desk.books.take_webhooks();
        desk.faults.deliver(sent)
    }
}
