//! What is played: an order that holds, charges and is signed, or goes back over all of it; and a payout.

use std::sync::Arc;

use async_trait::async_trait;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

use super::super::flow::{
    Context, EffectHalf, Flow, Found, Half, LocalHalf, Next, Outcome, Repeating, Step, StepError,
};
use super::scheduler::Unsent;
use super::world::World;
use crate::clock;
use crate::domain::events::{DomainEvent, PAYMENT_EVENTS};
use crate::domain::ids::UserId;
use crate::domain::ledger::chart::AccountName;
use crate::domain::ledger::chart::Shard;
use crate::domain::ledger::entry::{Entry, Line, Reference};
use crate::domain::money::{Amount, Currency};
use crate::domain::workflows::EffectKey;
use crate::store::ledger::{BookError, book};
use crate::store::{Db, outbox};

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct OrderState {
    pub(super) order: Uuid,
    pub(super) user: UserId,
    pub(super) amount: i64,
    pub(super) deposit: i64,
}

struct Played {
    world: Arc<World>,
    /// Where events go that are not written with what they tell of.
    unsent: Option<Unsent>,
}

pub(super) fn flows(world: &Arc<World>, unsent: Option<Unsent>) -> Vec<Flow> {
    let played = Arc::new(Played { world: Arc::clone(world), unsent });
    let step = |name, forward, backward| Step { name, forward, backward };
    vec![
        Flow {
            kind: "order",
            version: 1,
            steps: vec![
                step("deposit", local(&played, deposit), local(&played, give_back)),
                step("charge", effect(&played, Call::Charge), effect(&played, Call::Refund)),
                step("sign", effect(&played, Call::Sign), Half::Nothing),
                step("finish", local(&played, finish), Half::Nothing),
            ],
        },
        Flow {
            kind: "payout",
            version: 1,
            steps: vec![step("pay_out", effect(&played, Call::PayOut), Half::Nothing)],
        },
    ]
}

type Lines = fn(&OrderState) -> (&'static str, Line);

struct Booking {
    lines: Lines,
}

fn local(_: &Arc<Played>, lines: Lines) -> Half {
    Half::Local(Arc::new(Booking { lines }))
}

#[async_trait]
impl LocalHalf for Booking {
    async fn run(&self, db: &mut Db, context: &mut Context) -> Result<Next, StepError> {
        let state: OrderState = context.state()?;
        let (what, line) = (self.lines)(&state);
        write(db, context, &state, what, line).await?;
        if what == "finish" {
            outbox::append(db, &event(context, &state, "OrderFinished")).await?;
        }
        Ok(Next::On)
    }
}

fn won(minor: i64) -> Amount {
    Amount::new(minor).unwrap()
}

fn hold_of(state: &OrderState) -> crate::domain::ids::TransferId {
    Entry::transfer_id(&format!("deposit:{}", state.order), 0)
}

fn deposit(state: &OrderState) -> (&'static str, Line) {
    let line = Line::Hold {
        debit: AccountName::UserAvailable(state.user),
        credit: AccountName::PayoutInTransit,
        amount: won(state.deposit),
        code: "deposit",
        expires_at: None,
    };
    ("deposit", line)
}

fn give_back(state: &OrderState) -> (&'static str, Line) {
    ("give_back", Line::Void { hold: hold_of(state) })
}

fn finish(state: &OrderState) -> (&'static str, Line) {
    ("finish", Line::Post { hold: hold_of(state), amount: won(state.deposit) })
}

fn shard(state: &OrderState) -> Shard {
    Shard::of(state.order, 1)
}

fn captured(state: &OrderState) -> (&'static str, Line) {
    let line = Line::Move {
        debit: AccountName::ProviderReceivable("world", shard(state)),
        credit: AccountName::Escrow(shard(state)),
        amount: won(state.amount),
        code: "capture",
    };
    ("capture", line)
}

fn refunded(state: &OrderState) -> (&'static str, Line) {
    let line = Line::Move {
        debit: AccountName::Escrow(shard(state)),
        credit: AccountName::ProviderReceivable("world", shard(state)),
        amount: won(state.amount),
        code: "refund",
    };
    ("refund", line)
}

/// Books under a key that says what it is for.
async fn write(
    db: &mut Db,
    context: &Context,
    state: &OrderState,
    what: &'static str,
    line: Line,
) -> Result<(), StepError> {
    let entry = Entry {
        key: format!("{what}:{}", state.order),
        kind: what,
        reference: Reference { kind: "order", id: state.order },
        actor: "workflow".to_owned(),
        currency: Currency::KRW,
        lines: vec![line],
    };
    match book(db, &entry, context.now).await {
        Ok(_) => Ok(()),
        Err(BookError::Ledger(error)) => Err(StepError::Refused(error.to_string())),
        Err(BookError::Store(error)) => Err(error.into()),
    }
}

fn event(context: &Context, state: &OrderState, name: &'static str) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: PAYMENT_EVENTS,
        name,
        subject: state.order.to_string(),
        at: context.now,
        data: json!({ "order_id": state.order }),
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Charge,
    Refund,
    Sign,
    PayOut,
}

struct Outside {
    played: Arc<Played>,
    call: Call,
}

fn effect(played: &Arc<Played>, call: Call) -> Half {
    Half::Effect(Arc::new(Outside { played: Arc::clone(played), call }))
}

#[async_trait]
impl EffectHalf for Outside {
    fn repeating(&self, _: &Context) -> Repeating {
        self.played.world.repeating()
    }

    async fn look_up(&self, context: &Context, key: &EffectKey) -> Found {
        let (world, state) = (&self.played.world, context.state::<OrderState>().unwrap());
        match self.call {
            Call::Charge => world.find_charge(state.order),
            Call::Refund => world.find_refund(state.order, key),
            Call::Sign => world.find_contract(state.order),
            Call::PayOut => world.find_payout(state.order),
        }
    }

    async fn call(&self, context: &Context, key: &EffectKey) -> Outcome {
        let (world, state) = (&self.played.world, context.state::<OrderState>().unwrap());
        match self.call {
            Call::Charge => world.charge(state.order, state.amount, key),
            Call::Refund => world.refund(state.order, state.amount, key),
            Call::Sign => world.sign(state.order, key),
            Call::PayOut => world.pay_out(state.order, state.amount, key),
        }
    }

    async fn commit(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &Value,
    ) -> Result<Next, StepError> {
        let state: OrderState = context.state()?;
        let (told, booked) = match self.call {
            Call::Charge => ("OrderCharged", Some(captured(&state))),
            Call::Refund => ("OrderRefunded", Some(refunded(&state))),
            Call::Sign => ("OrderSigned", None),
            Call::PayOut => ("PaidOut", Some(finish(&state))),
        };
        if let Some((what, line)) = booked {
            write(db, context, &state, what, line).await?;
        }
        let event = event(context, &state, told);
        match &self.played.unsent {
            Some(unsent) => {
                unsent.lock().unwrap().insert(context.workflow.uuid(), event);
            }
            None => outbox::append(db, &event).await?,
        }
        Ok(Next::On)
    }

    async fn reject(
        &self,
        db: &mut Db,
        context: &mut Context,
        code: &str,
    ) -> Result<Next, StepError> {
        if self.call == Call::PayOut {
            let state: OrderState = context.state()?;
            let (what, line) = give_back(&state);
            write(db, context, &state, what, line).await?;
        }
        Ok(Next::Back(code.to_owned()))
    }
}
