//! The outside of a run, which survives every death: the provider, people who ask for something, what was heard of them
//! and not looked into yet, and what is known to have come in time.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::scenes::{Deed, Scene};
use crate::actors::payments::Payments;
use crate::actors::payments::again::LookAgain;
use crate::actors::payments::answers::Answered;
use crate::actors::payments::requests::{CancelPayment, CapturePayment, ConfirmPayment};
use crate::actors::workflow::engine::Clock;
use crate::domain::bank_accounts::AccountDetails;
use crate::domain::idempotency::{IdempotencyKey, IdempotentCall};
use crate::domain::ids::{PaymentId, UserId};
use crate::domain::money::{Amount, Currency};
use crate::domain::payments::refunds::RefundReason;
use crate::domain::payments::{Cause, PaymentStatus};
use crate::domain::time::Timestamp;
use crate::domain::workflows::EffectKey;
use crate::providers::payments::fake::FakeProvider;
use crate::providers::payments::fake::faults::Operation;
use crate::providers::payments::{Cancel, ChargeStatus, Confirm, PaymentProvider, RefundTo};
use crate::store::Store;
use crate::store::payments::Payment;

/// How long what could not be looked into is left alone.
const PUT_OFF: Duration = Duration::from_secs(20);
/// Turns after which nobody tries to pay any more.
const TRIES_MAX: usize = 2_000;

/// A payment that was begun.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) id: PaymentId,
    /// As the provider knows it.
    pub(super) order: String,
    pub(super) provider_key: String,
    pub(super) amount: Amount,
    pub(super) scene: Scene,
}

/// Something that is asked for under a key.
#[derive(Debug, Clone)]
pub(super) enum Request {
    Confirm(ConfirmPayment),
    Capture(CapturePayment),
    Cancel(CancelPayment),
}

pub(super) struct Outside {
    pub(super) store: Store,
    pub(super) provider: Arc<FakeProvider>,
    pub(super) clock: Clock,
    /// Where people ask.
    pub(super) payments: Payments,
    pub(super) payer: UserId,
    pub(super) made: Vec<Made>,
    /// Names the run.
    pub(super) run: u64,
    pub(super) facts: Mutex<Facts>,
}

#[derive(Default)]
pub(super) struct Facts {
    /// What was heard, and when somebody looks into it.
    heard: Vec<(Timestamp, LookAgain)>,
    deeds: BTreeMap<usize, Vec<(usize, Deed)>>,
    /// What was asked for and is not refused.
    asked: Vec<(Request, IdempotentCall)>,
    /// Whose transfer has come in time.
    pub(super) in_time: Vec<PaymentId>,
    pub(super) keys: u64,
    pub(super) swept_at: Option<Timestamp>,
    /// What went wrong on the way.
    pub(super) wrongs: Vec<String>,
}

impl Outside {
    pub(super) fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Lets things be done in the turns that come.
    pub(super) fn plan(&self, deeds: impl Iterator<Item = (usize, (usize, Deed))>) {
        let mut facts = self.facts.lock().unwrap();
        facts.swept_at = None;
        for (turn, deed) in deeds {
            facts.deeds.entry(turn).or_default().push(deed);
        }
    }

    /// Takes in what the provider tells; nothing of it is believed.
    pub(super) fn hear(&self) {
        let now = self.now();
        for webhook in self.provider.take_webhooks() {
            let hint = self.provider.read_webhook(&webhook).unwrap();
            let (order, provider_key) = (hint.order, hint.provider_key);
            let heard = LookAgain { order, provider_key, cause: Cause::Webhook };
            self.facts.lock().unwrap().heard.push((now, heard));
        }
    }

    /// The first thing that was heard and is due.
    pub(super) fn due(&self) -> Option<LookAgain> {
        let (now, facts) = (self.now(), self.facts.lock().unwrap());
        facts.heard.iter().find(|(due, _)| *due <= now).map(|(_, heard)| heard.clone())
    }

    /// What came of looking into it: forgotten, or put off.
    pub(super) fn looked(&self, heard: &LookAgain, is_done: bool) {
        let (now, mut facts) = (self.now(), self.facts.lock().unwrap());
        // Somebody else may have been quicker.
        let Some(at) = facts.heard.iter().position(|(_, it)| it == heard) else { return };
        facts.heard.remove(at);
        if !is_done {
            facts.heard.push((now.plus(PUT_OFF), heard.clone()));
        }
    }

    /// Whether nothing is left to be done or to be looked into, but for what people see to.
    pub(super) async fn is_done(&self) -> bool {
        self.hear();
        {
            let facts = self.facts.lock().unwrap();
            if !facts.heard.is_empty() || !facts.deeds.is_empty() || facts.swept_at.is_none() {
                return false;
            }
        }
        for made in &self.made {
            let payment = self.payment(made).await;
            let waits = matches!(
                payment.status,
                PaymentStatus::Created | PaymentStatus::AwaitingDeposit | PaymentStatus::Authorized
            );
            if waits && payment.under_way.is_none() && !self.stands(made, &payment) {
                return false;
            }
        }
        true
    }

    pub(super) async fn payment(&self, made: &Made) -> Payment {
        self.store.find_payment(made.id).await.unwrap().unwrap()
    }

    pub(super) fn charge(&self, made: &Made) -> ChargeStatus {
        self.provider.find_order(&made.order).unwrap().status
    }

    /// Whether a payment is what the provider says.
    pub(super) fn stands(&self, made: &Made, payment: &Payment) -> bool {
        use PaymentStatus::{
            Authorized, AwaitingDeposit, Canceled, Captured, Created, Expired, Failed,
            PartiallyRefunded, Refunded,
        };
        match self.charge(made) {
            ChargeStatus::Open => matches!(payment.status, Created | Canceled | Expired | Failed),
            // An account that nobody has closed in time holds nothing. Days that pass for one pass for all.
            ChargeStatus::AwaitingDeposit => {
                let has_waited = || self.made.iter().any(|it| it.scene.passes() > Duration::ZERO);
                payment.status == AwaitingDeposit || (payment.status == Expired && has_waited())
            }
            ChargeStatus::Authorized => payment.status == Authorized,
            ChargeStatus::Captured => matches!(payment.status, Captured | PartiallyRefunded),
            ChargeStatus::Failed => matches!(payment.status, Canceled | Expired | Failed),
            ChargeStatus::Canceled => {
                matches!(payment.status, Canceled | Expired | Failed | Refunded)
            }
        }
    }

    /// Does what is to be done before a turn.
    pub(super) async fn act(&self, turn: usize) {
        let deeds = self.facts.lock().unwrap().deeds.remove(&turn).unwrap_or_default();
        for (n, deed) in deeds {
            let made = &self.made[n];
            match deed {
                Deed::Deposit => self.deposit(made).await,
                Deed::DepositAtOnce => {
                    self.deposit(made).await;
                    if self.charge(made) == ChargeStatus::Open && turn < TRIES_MAX {
                        let next = (turn + 1, (n, deed));
                        self.facts.lock().unwrap().deeds.entry(next.0).or_default().push(next.1);
                    }
                }
                Deed::Capture => {
                    let payer = Some(self.payer);
                    let request = CapturePayment { payment: made.id, payer, admin: None };
                    self.ask(Request::Capture(request)).await;
                }
                Deed::Cancel => self.ask(Request::Cancel(self.cancel(made))).await,
                Deed::LetGoThere => self.let_go_there(made).await,
                Deed::TakeAnyway => self.take_anyway(made).await,
            }
        }
    }

    /// Giving up a payment, or giving back all that is left of it.
    pub(super) fn cancel(&self, made: &Made) -> CancelPayment {
        CancelPayment {
            payment: made.id,
            payer: Some(self.payer),
            actor: format!("user:{}", self.payer),
            admin: None,
            amount: None,
            reason: RefundReason::parse("늦음").unwrap(),
            refund_account: None,
        }
    }

    /// Asks for something, until it is answered; what is refused is not asked for again.
    pub(super) async fn ask(&self, request: Request) {
        let call = self.call();
        let answered = self.answer(&request, &call).await;
        if answered.answer.status < 300 {
            self.facts.lock().unwrap().asked.push((request, call));
        }
    }

    async fn answer(&self, request: &Request, call: &IdempotentCall) -> Answered {
        let (payments, call) = (&self.payments, call.clone());
        let answered = match request.clone() {
            Request::Confirm(request) => payments.confirm(request, call).await,
            Request::Capture(request) => payments.capture(request, call).await,
            Request::Cancel(request) => Box::pin(payments.cancel(request, call)).await,
        };
        answered.unwrap()
    }

    /// A request under a key that nobody has used.
    pub(super) fn call(&self) -> IdempotentCall {
        let mut facts = self.facts.lock().unwrap();
        facts.keys += 1;
        IdempotentCall {
            principal: format!("user:{}", self.payer),
            route: "POST /v1/payments",
            key: IdempotencyKey::parse(&format!("later-{}-{}", self.run, facts.keys)).unwrap(),
            fingerprint: [0; 32],
        }
    }

    /// Whoever asks once more when everything is over is told how it ended.
    pub(super) async fn unanswered(&self) -> Vec<String> {
        let asked = std::mem::take(&mut self.facts.lock().unwrap().asked);
        let mut wrongs = Vec::new();
        for (request, call) in asked {
            let answered = self.answer(&request, &call).await;
            if answered.answer.status == 202 {
                wrongs.push(format!("{request:?} is answered by {}", answered.answer.body));
            }
        }
        wrongs
    }

    /// A transfer arrives, and what the provider tells of it is lost.
    pub(super) async fn deposit_unheard(&self, made: &Made) {
        self.deposit(made).await;
        drop(self.provider.take_webhooks());
    }

    async fn deposit(&self, made: &Made) {
        let payment = self.payment(made).await;
        let waits =
            matches!(payment.status, PaymentStatus::Created | PaymentStatus::AwaitingDeposit);
        let is_in_time = waits && payment.expires_at > self.now();
        if self.provider.deposit(&made.order).is_ok() && is_in_time {
            self.facts.lock().unwrap().in_time.push(made.id);
        }
    }

    /// Somebody has the provider give it back at its own desk, where it can be told an account.
    pub(super) async fn let_go_there(&self, made: &Made) {
        let number = AccountDetails::parse("110-123-456789", "김지수").unwrap().number().clone();
        let request = Cancel {
            provider_key: made.provider_key.clone(),
            order: made.order.clone(),
            amount: None,
            currency: Currency::KRW,
            reason: "seen to".to_owned(),
            refund_account: Some(RefundTo {
                bank_code: "088".to_owned(),
                account_number: number,
                holder: "김지수".to_owned(),
            }),
        };
        for n in 0..TRIES_MAX {
            let held =
                [ChargeStatus::AwaitingDeposit, ChargeStatus::Authorized, ChargeStatus::Captured];
            if !held.contains(&self.charge(made)) {
                return;
            }
            self.provider.plan(Operation::Cancel, [None]);
            let key = EffectKey::of(&format!("at the desk, {} {n}", made.order));
            let _ = self.provider.cancel(&request, &key).await;
        }
        self.facts.lock().unwrap().wrongs.push(format!("{made:?} is not given back by anybody"));
    }

    async fn take_anyway(&self, made: &Made) {
        let Made { provider_key, order, amount, .. } = made.clone();
        let key = EffectKey::of(&format!("behind our back, {order}"));
        let request = Confirm { provider_key, order, amount, currency: Currency::KRW };
        self.provider.plan(Operation::Confirm, [None]);
        let _ = self.provider.confirm(&request, &key).await;
    }
}
