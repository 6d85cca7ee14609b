//! The payer's side of the fake provider: what a checkout page does, and the payer's bank.

use super::desk::Desk;
use super::diary::Entry;
use super::wire::Code;
use super::{FakeProvider, webhooks};
use crate::domain::time::Timestamp;
use crate::providers::payments::{Charge, DeclineCode, Prepare, RawWebhook};

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
    #[error("there is no such order or dispute")]
    UnknownOrder,
    #[error("the order does not wait for that")]
    NotAwaited,
    #[error("nothing was done: it cannot be written down")]
    Unwritten,
}

impl FakeProvider {
    /// What a checkout page shows: the order, its amount, and how it stands.
    #[must_use]
    pub fn find_order(&self, order: &str) -> Option<Charge> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.sale_of(order).map(|sale| sale.charge.clone())
    }

    /// What was agreed for an order, what became of it, and whether its payer has done their part.
    #[must_use]
    pub fn find_agreed(&self, order: &str) -> Option<(Prepare, Charge, bool)> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let sale = desk.books.sale_of(order)?;
        Some((sale.agreed.clone(), sale.charge.clone(), sale.has_payer_finished))
    }

    /// The payer has paid, as far as that is for the payer to do. Gives the provider's key, with which the payment is
    /// confirmed; the same one when the payer does it again.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn pay(&self, order: &str, method: Method) -> Result<String, PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let amount = desk.books.sale_of(order).ok_or(PayerError::UnknownOrder)?.charge.amount;
        let is_by_deposit = method == Method::VirtualAccount || desk.faults.has_deposit(amount);
        desk.note(Entry::Paid { order: order.to_owned(), is_by_deposit }, now)?;
        desk.books.pay(order, is_by_deposit, now).map_err(refused)
    }

    /// The payer gives up. Gives the provider's key.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn decline(&self, order: &str) -> Result<String, PayerError> {
        self.refuse(order, DeclineCode::CanceledByPayer)
    }

    /// The payer's card is refused. Gives the provider's key.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn refuse(&self, order: &str, code: DeclineCode) -> Result<String, PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.sale_of(order).ok_or(PayerError::UnknownOrder)?;
        desk.note(Entry::Refused { order: order.to_owned(), code }, now)?;
        desk.books.refuse_payer(order, code, now).map_err(refused)
    }

    /// The payer's transfer arrives in the virtual account. Nobody is asking then: a webhook tells of it.
    ///
    /// # Errors
    /// [`PayerError`].
    pub fn deposit(&self, order: &str) -> Result<(), PayerError> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.sale_of(order).ok_or(PayerError::UnknownOrder)?;
        desk.note(Entry::Deposited { order: order.to_owned() }, now)?;
        desk.books.deposit(order, now).map_err(refused)
    }

    /// The webhooks that were sent since this was asked last, as they arrive.
    #[must_use]
    pub fn take_webhooks(&self) -> Vec<RawWebhook> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let sent = desk.books.take_webhooks();
        desk.faults.deliver(sent)
    }

    /// At most so many webhooks that wait, signed as of now and as they arrive; and how many of them there are before some
    /// come twice. They wait until [`Self::forget_webhooks`].
    #[must_use]
    pub fn waiting_webhooks(&self, max: usize) -> (usize, Vec<RawWebhook>) {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        let mut waiting = desk.books.waiting_webhooks(max);
        for webhook in &mut waiting {
            webhooks::sign(webhook, self.capabilities.webhooks, now);
        }
        (waiting.len(), desk.faults.deliver(waiting))
    }

    /// So many of the oldest webhooks have arrived, or are given up.
    pub fn forget_webhooks(&self, count: usize) {
        let (now, mut desk) = (self.now(), self.desk());
        // If that cannot be written down, they come again some day, as webhooks do.
        desk.write(Entry::Told { count }, now);
        desk.books.forget_webhooks(count);
    }
}

impl Desk {
    pub(super) fn note(&mut self, entry: Entry, now: Timestamp) -> Result<(), PayerError> {
        if self.write(entry, now) { Ok(()) } else { Err(PayerError::Unwritten) }
    }
}

/// The order is there: it was looked at.
pub(super) const fn refused(_: Code) -> PayerError {
    PayerError::NotAwaited
}
