//! The fake provider: takes nobody's money, and fails in every way that real ones do.
//!
//! For development, where a newcomer pays at a page of ours, and for tests, where the [`faults`] are planned. What it can do
//! is chosen too: a provider that does not know our keys, or cannot be asked, is handled in another way. Read [`faults`],
//! then `sale` and `books` (what it knows), `desk` (how it serves a call), `wire` (what we make of its answers) and
//! [`payer`] (the other side). Invariant: everything is decided by the calls, the clock and a seed. All it knows is in
//! memory: bounded, and gone with the process unless there is a [`diary`].

mod books;
mod client;
mod desk;
pub mod diary;
pub mod disputes;
pub mod faults;
pub mod host;
mod journal;
mod kept;
pub mod payer;
mod payouts;
mod sale;
#[cfg(test)]
mod tests;
mod webhooks;
mod wire;

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};

pub use self::client::FakeClient;
use self::desk::Desk;
use self::diary::DiaryError;
use self::faults::{Fault, Faults, Operation};
use self::wire::{Fact, Reply, Request, cannot_be_asked};
use super::{
    Answer, Cancel, Canceled, Capabilities, Charge, ClientParameters, Confirm, Dispute,
    DisputePage, Hint, LookUp, PaidOut, PaymentProvider, Payout, Prepare, RawWebhook, RemoteKind,
    RemotePage, RemoteTransaction, SettlementPage, WebhookError, WebhookTrust,
};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;

const NAME: &str = "fake";

/// It can do everything, knows our keys, and can be asked.
pub const SOUND: Capabilities = Capabilities {
    idempotent_for: Some(Duration::from_hours(15 * 24)),
    has_look_up_by_order: true,
    has_look_up_by_key: true,
    absent_after: Duration::from_mins(5),
    has_manual_capture: true,
    has_partial_refund: true,
    has_deposits: true,
    has_payouts: true,
    has_settlements: true,
    utc_offset_hours: 9,
    has_disputes: true,
    lists_chargebacks: true,
    webhooks: WebhookTrust::Signed,
};
/// Our keys mean nothing to it: what is asked for twice is done twice. Its webhooks are unsigned.
pub const FORGETFUL: Capabilities =
    Capabilities { idempotent_for: None, webhooks: WebhookTrust::Unsigned, ..SOUND };
/// It knows our keys, and cannot be asked by anything but its own.
pub const SILENT: Capabilities =
    Capabilities { has_look_up_by_order: false, has_look_up_by_key: false, ..SOUND };

/// What time it is; a simulation has its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The provider, and its payers.
pub struct FakeProvider {
    capabilities: Capabilities,
    clock: Clock,
    desk: Mutex<Desk>,
}

impl FakeProvider {
    /// One that can do so much, such as [`SOUND`].
    #[must_use]
    pub fn new(capabilities: Capabilities, faults: Faults, clock: Clock) -> Self {
        let desk = Mutex::new(Desk::new(capabilities, faults));
        Self { capabilities, clock, desk }
    }

    /// Does again what the diary in that file says, and goes on writing there. See [`diary`].
    ///
    /// # Errors
    /// [`DiaryError`].
    pub fn kept(self, diary: &Path) -> Result<Self, DiaryError> {
        self.desk().keep(diary)?;
        Ok(self)
    }

    /// Lets it keep so much of a charge, in hundredths of a percent.
    #[must_use]
    pub fn with_fee(self, fee_bps: u16) -> Self {
        self.desk().books.journal.set_fee(fee_bps);
        self
    }

    /// What becomes of the next calls of an operation, after what was planned before; `None` goes well.
    pub fn plan(&self, operation: Operation, next: impl IntoIterator<Item = Option<Fault>>) {
        self.desk().faults.plan(operation, next);
    }

    /// From now on so many calls of a hundred go wrong.
    pub fn set_chance(&self, percent: u32, seed: u64) {
        self.desk().faults.set_chance(percent, seed);
    }

    /// Every movement of money for an order or a payout's reference, those included that nobody asked for: what our own
    /// books are held against.
    #[must_use]
    pub fn movements(&self, order: &str) -> Vec<RemoteTransaction> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.journal.of(order)
    }

    /// Every movement of money there was, from a cursor on.
    ///
    /// # Errors
    /// A sentence, for a cursor that is none.
    pub fn all_movements(&self, cursor: Option<&str>) -> Result<RemotePage, String> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        desk.books.journal.page(None, cursor)
    }

    fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Never held while anything is awaited.
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn call(&self, request: Request, key: &EffectKey) -> Reply {
        let now = self.now();
        self.desk().serve(&request, key, None, now)
    }
}

#[async_trait]
impl PaymentProvider for FakeProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn prepare(&self, request: &Prepare) -> Answer<ClientParameters> {
        if request.is_captured_later && !self.capabilities.has_manual_capture {
            return cannot("capture later");
        }
        let reply = self.call(Request::Prepare(request.clone()), &prepare_key(request)).await;
        match reply.read(Fact::charge) {
            Answer::Done(charge) | Answer::Pending(charge) => {
                Answer::Done(ClientParameters(client_parameters(&charge, request)))
            }
            Answer::Declined(decline) => Answer::Declined(decline),
            Answer::Unknown(why) => Answer::Unknown(why),
            Answer::Misconfigured(why) => Answer::Misconfigured(why),
        }
    }

    async fn confirm(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        self.call(Request::Confirm(request.clone()), key).await.read(Fact::charge)
    }

    async fn capture(&self, request: &Confirm, key: &EffectKey) -> Answer<Charge> {
        if !self.capabilities.has_manual_capture {
            return cannot("capture later");
        }
        self.call(Request::Capture(request.clone()), key).await.read(Fact::charge)
    }

    async fn cancel(&self, request: &Cancel, key: &EffectKey) -> Answer<Canceled> {
        self.call(Request::Cancel(request.clone()), key).await.read(Fact::canceled)
    }

    async fn pay_out(&self, request: &Payout, key: &EffectKey) -> Answer<PaidOut> {
        if !self.capabilities.has_payouts {
            return cannot("pay out");
        }
        self.call(Request::PayOut(request.clone()), key).await.read(Fact::paid_out)
    }

    async fn find_charge(&self, order: &str, provider_key: Option<&str>) -> LookUp<Charge> {
        let now = self.now();
        let mut desk = self.desk();
        match desk.look_up(now, |books| books.find_charge(order, provider_key, now)) {
            LookUp::Found(charge) => {
                let has_open_cancels = desk.is_giving_back(&charge.provider_key);
                LookUp::Found(Charge { has_open_cancels, ..charge })
            }
            other => other,
        }
    }

    async fn find_cancel(&self, request: &Cancel, key: &EffectKey) -> LookUp<Canceled> {
        let now = self.now();
        let Cancel { order, provider_key, .. } = request;
        let mut desk = self.desk();
        match desk.look_up(now, |books| books.find_cancel(order, provider_key, key, now)) {
            LookUp::Absent if desk.is_giving_back(provider_key) => {
                LookUp::Unknown("the refund is under way".to_owned())
            }
            found => found,
        }
    }

    async fn find_payout(&self, reference: &str, _: &EffectKey) -> LookUp<PaidOut> {
        if !self.capabilities.has_look_up_by_key {
            return cannot_be_asked();
        }
        let now = self.now();
        self.desk().look_up(now, |books| books.payouts.find(reference, now))
    }

    async fn find_dispute(&self, provider_key: &str) -> LookUp<Dispute> {
        if !self.capabilities.has_disputes {
            return cannot_be_asked();
        }
        let now = self.now();
        self.desk().look_up(now, |books| books.disputes.find(provider_key))
    }

    async fn list_disputes(
        &self,
        since: Timestamp,
        cursor: Option<&str>,
    ) -> Result<DisputePage, String> {
        if !self.capabilities.has_disputes {
            return Err("the fake provider is told that it knows of no disputes".to_owned());
        }
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        if desk.faults.next(Operation::List, None).is_some() {
            return Err("the provider did not answer in time".to_owned());
        }
        Ok(desk.books.disputes.list(since, cursor))
    }

    fn read_webhook(&self, webhook: &RawWebhook) -> Result<Hint, WebhookError> {
        webhooks::read(webhook, self.capabilities.webhooks)
    }

    async fn list_transactions(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<RemotePage, String> {
        let (now, mut desk) = (self.now(), self.desk());
        desk.catch_up(now);
        if desk.faults.next(Operation::List, None).is_some() {
            return Err("the provider did not answer in time".to_owned());
        }
        let mut page = desk.books.journal.page(Some(day), cursor)?;
        if !self.capabilities.lists_chargebacks {
            page.items.retain(|line| line.kind != RemoteKind::Chargeback);
        }
        Ok(page)
    }

    async fn list_settlements(
        &self,
        day: &str,
        cursor: Option<&str>,
    ) -> Result<SettlementPage, String> {
        if !self.capabilities.has_settlements {
            return Err("the fake provider is told that it does not list what it pays".to_owned());
        }
        let (now, mut desk) = (self.now(), self.desk());
        desk.settle(day, cursor, now)
    }
}

/// An order is prepared once; another amount under its name is another call.
fn prepare_key(Prepare { order, amount, currency, .. }: &Prepare) -> EffectKey {
    EffectKey::of(&format!("prepare:{order}:{amount}:{currency}"))
}

fn client_parameters(charge: &Charge, request: &Prepare) -> Value {
    json!({
        "provider": NAME,
        "order": charge.order,
        "amount": charge.amount,
        "currency": charge.currency,
        "name": request.name,
    })
}

fn cannot<T>(what: &str) -> Answer<T> {
    Answer::Misconfigured(format!("the fake provider is told that it cannot {what}"))
}
