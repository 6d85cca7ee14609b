//! Freezes that come while a withdrawal is on its way: whoever was answered before it is `sending` has stopped it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use futures_util::future::join_all;

use super::{DAY, MINUTE, Person, RULES, Town, reason, somebody, towns};
use crate::actors::payments::withdraw::WithdrawState;
use crate::actors::workflow::engine::{Clock, Engine};
use crate::actors::workflow::flow::{
    Context, Flow, Half, LocalHalf, Next, Step, StepError, WaitHalf, Waited,
};
use crate::clock;
use crate::domain::payments::Cause;
use crate::domain::time::Timestamp;
use crate::domain::withdrawals::WithdrawalStatus;
use crate::store::Db;
use crate::store::testing::is_frozen;
use crate::store::withdrawals::{Change, Withdrawal, lock_withdrawal, transition};
use crate::store::workflows::signals::Signal;

/// Turns of a withdrawal that is sent at once, and some more.
const TURNS: usize = 5;

/// Looks without a lock, and leaves it to another step to say that it is being sent.
struct LooksOnce;

struct Sends;

async fn step(db: &mut Db, context: &Context, to: WithdrawalStatus) -> Result<(), StepError> {
    let state: WithdrawState = context.state()?;
    let withdrawal = lock_withdrawal(db, state.withdrawal).await?;
    let change = Change::new(to, Cause::Timer, "control".to_owned());
    transition(db, &withdrawal, change, context.now).await.unwrap();
    Ok(())
}

#[async_trait]
impl WaitHalf for LooksOnce {
    async fn look(
        &self,
        db: &mut Db,
        context: &mut Context,
        _: &[Signal],
    ) -> Result<Waited, StepError> {
        let state: WithdrawState = context.state()?;
        let user = lock_withdrawal(db, state.withdrawal).await?.user;
        if is_frozen(db, user, state.currency).await? {
            return Ok(Waited::Until(context.now.plus(MINUTE)));
        }
        step(db, context, WithdrawalStatus::Approved).await?;
        Ok(Waited::Over(Next::On))
    }
}

#[async_trait]
impl LocalHalf for Sends {
    async fn run(&self, db: &mut Db, context: &mut Context) -> Result<Next, StepError> {
        step(db, context, WithdrawalStatus::Sending).await?;
        Ok(Next::On)
    }
}

impl Town {
    /// As the flow was before it looked under the lock.
    fn control(&self) -> Engine {
        let forward = |name, forward| Step { name, forward, backward: Half::Nothing };
        let sound = self.wallets.flow();
        let mut steps = vec![
            forward("approve", Half::Wait(Arc::new(LooksOnce))),
            forward("begin", Half::Local(Arc::new(Sends))),
        ];
        steps.extend(sound.steps.into_iter().skip(1));
        let flow = Flow { kind: sound.kind, version: sound.version, steps };
        let ahead = Arc::clone(&self.ahead);
        let clock: Clock = Arc::new(move || {
            Timestamp::from_millis(clock::now().millis() + ahead.load(Ordering::SeqCst))
        });
        Engine::new(self.store.clone(), clock::new_uuid().into(), vec![flow], clock)
    }

    /// Freezes a wallet, and gives how the withdrawal stands once that was answered.
    async fn freeze(&self, withdrawal: &Withdrawal) -> WithdrawalStatus {
        self.wallets.freeze(withdrawal.user, somebody(), reason()).await.unwrap();
        self.status(withdrawal.id).await
    }

    /// Whether a withdrawal was sent though it had not begun to be when its wallet was frozen.
    fn is_sent_in_spite_of(&self, withdrawal: &Withdrawal, then: WithdrawalStatus) -> bool {
        let is_early = matches!(then, WithdrawalStatus::Requested | WithdrawalStatus::Approved);
        is_early && !self.sent(withdrawal.id).is_empty()
    }
}

/// Has an engine die after so many turns, freezes the wallet, and goes on.
async fn frozen_after(town: &Town, engine: &Engine, turns: usize) -> (WithdrawalStatus, bool) {
    let person = town.regular(10_000).await;
    let withdrawal = town.withdraw(person, 5_000).await.unwrap();
    let left = AtomicUsize::new(turns);
    let goes_on = || {
        left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
    };
    let running = engine.claim().await.unwrap().unwrap();
    engine.drive_while(running, &goes_on).await.unwrap();
    let then = town.freeze(&withdrawal).await;
    for _ in 0..3 {
        town.pass(MINUTE);
        while let Some(running) = engine.claim().await.unwrap() {
            engine.drive(running).await.unwrap();
        }
    }
    (then, town.is_sent_in_spite_of(&withdrawal, then))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_between_two_turns_stops_what_is_not_being_sent() {
    for town in towns(RULES).await {
        let mut stopped = 0;
        for turns in 0..TURNS {
            let (then, is_sent) = frozen_after(&town, &town.engine, turns).await;
            assert!(!is_sent, "after {turns} turns it was {then:?}");
            stopped += usize::from(then == WithdrawalStatus::Requested);
        }
        assert!((1..TURNS).contains(&stopped), "some were stopped, and some were late");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flow_that_looks_in_one_turn_and_sends_in_another_is_caught() {
    for town in towns(RULES).await {
        let control = town.control();
        let mut caught = 0;
        for turns in 0..TURNS {
            caught += usize::from(frozen_after(&town, &control, turns).await.1);
        }
        assert!(caught > 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_freeze_at_the_same_moment_stops_it_or_finds_it_being_sent() {
    for town in towns(RULES).await {
        let mut people = Vec::new();
        for _ in 0..12 {
            let person: Person = town.person(10_000).await;
            town.withdraw(person, 100).await.unwrap();
            people.push(person);
        }
        town.pass(DAY + MINUTE);
        town.drive().await;
        let mut asked = Vec::new();
        for person in people {
            asked.push(town.withdraw(person, 5_000).await.unwrap());
        }
        let ((), then) =
            tokio::join!(town.drive(), join_all(asked.iter().map(|it| town.freeze(it))));
        town.pass(MINUTE * 2);
        town.drive().await;
        for (withdrawal, then) in asked.iter().zip(then) {
            assert!(!town.is_sent_in_spite_of(withdrawal, then), "it was {then:?}");
        }
    }
}
