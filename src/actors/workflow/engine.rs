//! The engine: moves one workflow on, step after step, until it rests or has come to its end.
//!
//! Every step is a transaction that begins with the fence and holds whatever the step did. Invariant: nothing is called
//! outside without a committed intent; nothing is called a second time without asking first, where that can be asked; and
//! what nobody knows stays unknown until the outside, or a person, says what it is.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
#[cfg(not(test))]
use rand::Rng as _;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::flow::{
    Context, EffectHalf, Flow, Found, Half, LocalHalf, Next, Outcome, StepError, WaitHalf, Waited,
};
#[cfg(test)]
use super::simulation::{Points, Safeguard};
use super::turn::{Turn, Turned, park};
use crate::domain::ids::NodeId;
use crate::domain::time::Timestamp;
use crate::domain::workflows::{CALL_MAX, Direction, EffectKey, StepKind, wait_after};
#[cfg(not(test))]
use crate::store::workflows::confirm;
use crate::store::workflows::history::{
    Intent, NewStep, find_intent, find_tried_since, insert_step, update_intent,
};
use crate::store::workflows::signals::{list_signals, update_signal_taken};
use crate::store::workflows::{Progress, Running, known_kinds, save};
use crate::store::{Db, Store, StoreError};

/// How long a workflow stays with a node that died with it. Longer than any call.
pub const LEASE: Duration = Duration::from_secs(30);
/// A workflow that so many nodes have taken and none has moved breaks whoever takes it.
pub(super) const TAKES_MAX: i64 = 20;
/// Why it is parked then.
pub(in crate::actors) const WORN: &str = "whoever takes it ends before it has moved";

/// What time it is; a simulation has its own.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Moves workflows on. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    pub(super) store: Store,
    pub(super) node: NodeId,
    pub(super) flows: Arc<HashMap<(&'static str, i64), Flow>>,
    /// Its flows, as the store takes them.
    known: Arc<str>,
    pub(super) clock: Clock,
    #[cfg(test)]
    pub(super) points: Option<Arc<dyn Points>>,
    /// The safeguard that a control takes away.
    #[cfg(test)]
    pub(super) without: Option<Safeguard>,
}

/// What came of announcing an effect.
enum Announced {
    Yes(Box<Turn>),
    No(Turned),
}

/// What is done in the transaction of a step.
pub(super) type Work = Box<
    dyn for<'c> FnOnce(&'c mut Db, &'c mut Context) -> BoxFuture<'c, Result<Next, StepError>>
        + Send,
>;

impl Engine {
    #[must_use]
    pub fn new(store: Store, node: NodeId, flows: Vec<Flow>, clock: Clock) -> Self {
        let flows: HashMap<_, _> =
            flows.into_iter().map(|flow| ((flow.kind, flow.version), flow)).collect();
        let known = known_kinds(flows.keys().copied()).into();
        Self {
            store,
            node,
            flows: Arc::new(flows),
            known,
            clock,
            #[cfg(test)]
            points: None,
            #[cfg(test)]
            without: None,
        }
    }

    /// Workflows in the store that are not at their end and of which this engine has no flow, as `kind:version`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn unknown_kinds(&self) -> Result<Vec<String>, StoreError> {
        let mut open = self.store.list_open_workflow_kinds().await?;
        open.retain(|kind| {
            !self.flows.keys().any(|(known, version)| *kind == format!("{known}:{version}"))
        });
        Ok(open)
    }

    /// When there is something to take.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn next_due(&self) -> Result<Option<Timestamp>, StoreError> {
        self.store.find_next_workflow(&self.known, (self.clock)()).await
    }

    /// Takes the workflow that has been due for the longest time.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn claim(&self) -> Result<Option<Running>, StoreError> {
        let now = (self.clock)();
        self.store.claim_workflow(self.node, &self.known, LEASE, now).await
    }

    /// Takes a workflow one step further, or lets it rest.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when another node has it, any other when the database does not answer.
    pub(super) async fn turn(&self, running: Running) -> Result<Turned, StoreError> {
        if running.takes > TAKES_MAX {
            let (seen, _) = self.store.get_workflow(running.claim.id).await?;
            let last = seen.last_error.unwrap_or_else(|| "nobody says why".to_owned());
            let reason = format!("{WORN}: {last}");
            return self.park(running, reason).await;
        }
        let known = self
            .flows
            .values()
            .find(|flow| flow.kind == running.kind && flow.version == running.version);
        let step = known.and_then(|flow| {
            let step = flow.steps.get(usize::try_from(running.cursor).ok()?)?;
            Some((step, i64::try_from(flow.steps.len()).ok()?))
        });
        let Some((step, steps)) = step else {
            return self.park(running, "this release does not know its step".to_owned()).await;
        };
        let half = match running.direction {
            Direction::Forward => step.forward.clone(),
            Direction::Backward => step.backward.clone(),
        };
        let turn = Turn { step: step.name, steps, running, began: (self.clock)() };
        self.at("begun").await;
        match half {
            Half::Nothing => {
                self.step(turn, None, Box::new(|_, _| Box::pin(async { Ok(Next::On) }))).await
            }
            Half::Local(half) => self.local(turn, half).await,
            Half::Effect(half) => self.effect(turn, half).await,
            Half::Wait(half) => self.wait(turn, half).await,
        }
    }

    async fn local(&self, turn: Turn, half: Arc<dyn LocalHalf>) -> Result<Turned, StoreError> {
        let work: Work =
            Box::new(move |db, context| Box::pin(async move { half.run(db, context).await }));
        self.step(turn, None, work).await
    }

    async fn effect(
        &self,
        mut turn: Turn,
        half: Arc<dyn EffectHalf>,
    ) -> Result<Turned, StoreError> {
        let running = &turn.running;
        let key = EffectKey::new(running.claim.id, turn.step, running.direction);
        let mut outcome = None;
        let mut proven = running.announced_at.unwrap_or(turn.began);
        if running.attempt == 0 {
            proven = (self.clock)();
            match self.announce(turn, &half, &key).await? {
                Announced::Yes(announced) => turn = *announced,
                Announced::No(turned) => return Ok(turned),
            }
        } else if running.announced_at.is_none() {
            outcome = self.ask(&turn, half.as_ref(), &key).await?;
            if outcome.is_none() {
                proven = (self.clock)();
                self.announce_again(&turn, &key).await?;
            }
        }
        turn.running.announced_at = None;
        let outcome = match outcome {
            Some(outcome) => outcome,
            None => {
                if (self.clock)().since(proven) > LEASE.saturating_sub(CALL_MAX) {
                    // It slept since it proved that the workflow is its own: by now another node may be calling.
                    return Err(StoreError::LeaseLost);
                }
                let context = turn.context();
                #[cfg(test)]
                let key = self.sent_key(&turn, &key);
                let called = timeout(CALL_MAX, half.call(&context, &key)).await;
                self.at("called").await;
                called.unwrap_or_else(|_| Outcome::Unknown("it took too long".to_owned()))
            }
        };
        #[cfg(test)]
        let outcome = self.believed(outcome);
        self.record(turn, half, key, outcome).await
    }

    /// Commits the intent of an effect, before it is called for the first time.
    async fn announce(
        &self,
        turn: Turn,
        half: &Arc<dyn EffectHalf>,
        key: &EffectKey,
    ) -> Result<Announced, StoreError> {
        let (engine, half, key) = (self.clone(), Arc::clone(half), key.clone());
        let (kept, now) = (turn.clone(), (self.clock)());
        let announced = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    let mut context = turn.context_at(now);
                    half.prepare(db, &mut context).await?;
                    turn.running.state = context.state;
                    turn.running.attempt = 1;
                    let (name, kind) = (turn.step, StepKind::Intent);
                    let line = NewStep { name, kind, effect_key: Some(&key), output: None };
                    insert_step(db, &turn.running.claim, &line, now).await?;
                    save(db, &turn.running, &Progress::On, now).await?;
                    Ok::<_, StepError>(turn)
                })
            })
            .await;
        self.at("announced").await;
        match announced {
            Ok(turn) => Ok(Announced::Yes(Box::new(turn))),
            Err(error) => self.failed(kept, error).await.map(Announced::No),
        }
    }

    /// Asks what became of an effect that was announced before; `None` where it may be called again.
    async fn ask(
        &self,
        turn: &Turn,
        half: &dyn EffectHalf,
        key: &EffectKey,
    ) -> Result<Option<Outcome>, StoreError> {
        let context = turn.context();
        let repeating = half.repeating(&context);
        #[cfg(test)]
        if self.lacks(Safeguard::LookUp) {
            return Ok(None);
        }
        if !repeating.has_look_up {
            let why = || Outcome::Unknown("it can be neither asked for nor repeated".to_owned());
            return Ok((!repeating.is_idempotent).then(why));
        }
        let found = timeout(CALL_MAX, half.look_up(&context, key)).await;
        self.at("asked").await;
        match found {
            Err(_) => Ok(Some(Outcome::Unknown("asking took too long".to_owned()))),
            Ok(Found::Outcome(outcome)) => Ok(Some(outcome)),
            Ok(Found::Absent) if repeating.is_idempotent => Ok(None),
            Ok(Found::Absent) => {
                let last = self.intent(turn, key).await?.map_or(turn.began, |intent| intent.at);
                let is_too_soon = turn.began.since(last) < repeating.absent_after;
                Ok(is_too_soon.then(|| Outcome::Unknown("there is no trace of it yet".to_owned())))
            }
        }
    }

    async fn intent(&self, turn: &Turn, key: &EffectKey) -> Result<Option<Intent>, StoreError> {
        let (id, key) = (turn.running.claim.id, key.clone());
        self.store.read(move |db| Box::pin(async move { find_intent(db, id, &key).await })).await
    }

    /// Proves the ownership once more and notes the call, right before it is made again.
    async fn announce_again(&self, turn: &Turn, key: &EffectKey) -> Result<(), StoreError> {
        let (engine, mut running) = (self.clone(), turn.running.clone());
        let (key, now) = (key.clone(), (self.clock)());
        self.store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    engine.fence(db, &mut running, now).await?;
                    update_intent(db, &running.claim, &key, now).await
                })
            })
            .await?;
        self.at("announced again").await;
        Ok(())
    }

    async fn record(
        &self,
        turn: Turn,
        half: Arc<dyn EffectHalf>,
        key: EffectKey,
        outcome: Outcome,
    ) -> Result<Turned, StoreError> {
        let is_forward = turn.running.direction == Direction::Forward;
        match outcome {
            Outcome::Done(answer) => {
                let output = answer.clone();
                let work: Work = Box::new(move |db, context| {
                    Box::pin(
                        async move { half.commit(db, context, &answer).await.map_err(unrecorded) },
                    )
                });
                self.step(turn, Some((key, output)), work).await
            }
            Outcome::Declined(code) if is_forward => {
                let output = json!({ "declined": code });
                let work: Work = Box::new(move |db, context| {
                    Box::pin(async move { half.reject(db, context, &code).await })
                });
                self.step(turn, Some((key, output)), work).await
            }
            // What was done has to be undone: nobody gives up because it was refused once.
            Outcome::Declined(code) => self.rest(turn, half, key, format!("refused: {code}")).await,
            Outcome::Unknown(why) => self.rest(turn, half, key, why).await,
        }
    }

    /// Lets a workflow rest until its effect is asked for again.
    async fn rest(
        &self,
        turn: Turn,
        half: Arc<dyn EffectHalf>,
        key: EffectKey,
        why: String,
    ) -> Result<Turned, StoreError> {
        #[cfg(test)]
        if self.lacks(Safeguard::Persistence) && turn.running.direction == Direction::Backward {
            return self.step(turn, None, Box::new(|_, _| Box::pin(async { Ok(Next::On) }))).await;
        }
        let (engine, kept, now) = (self.clone(), turn.clone(), (self.clock)());
        let chance = self.chance();
        let rested = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    let mut context = turn.context_at(now);
                    half.unknown(db, &mut context, &why).await.map_err(unrecorded)?;
                    turn.running.state = context.state;
                    let since = find_tried_since(db, turn.running.claim.id, &key).await?;
                    let tried = since.map_or(Duration::ZERO, |since| now.since(since));
                    let attempt = turn.running.attempt;
                    turn.running.attempt = attempt.saturating_add(1);
                    let tried_max = half.tried_max(&turn.context_at(now));
                    let Some(wait) = wait_after(attempt, tried, tried_max, chance) else {
                        return Err(StepError::Poison(format!("nobody knows any more: {why}")));
                    };
                    let until = now.plus(half.wait_after(attempt).unwrap_or(wait));
                    let progress = Progress::Rest { until, began: turn.began, reason: Some(why) };
                    save(db, &turn.running, &progress, now).await?;
                    Ok(())
                })
            })
            .await;
        self.at("rested").await;
        match rested {
            Ok(()) => Ok(Turned::Over),
            Err(error) => self.failed(kept, error).await,
        }
    }

    async fn wait(&self, turn: Turn, half: Arc<dyn WaitHalf>) -> Result<Turned, StoreError> {
        let (engine, kept, now) = (self.clone(), turn.clone(), (self.clock)());
        let waited = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    let workflow = turn.running.claim.id;
                    let signals = list_signals(db, workflow).await?;
                    let mut context = turn.context_at(now);
                    let waited = half.look(db, &mut context, &signals).await?;
                    turn.running.state = context.state;
                    match waited {
                        Waited::Over(next) => {
                            for signal in &signals {
                                update_signal_taken(db, workflow, signal, now).await?;
                            }
                            turn.finish(db, StepKind::Signal, None, next, now).await
                        }
                        Waited::Until(until) => {
                            let (began, reason) = (turn.began, None);
                            let progress = Progress::Rest { until, began, reason };
                            save(db, &turn.running, &progress, now).await?;
                            Ok(None)
                        }
                    }
                })
            })
            .await;
        self.turned(kept, waited).await
    }

    /// The transaction of a step: the fence, the work, its line in the history, and how far the workflow has come.
    async fn step(
        &self,
        turn: Turn,
        effect: Option<(EffectKey, Value)>,
        work: Work,
    ) -> Result<Turned, StoreError> {
        let kind = match turn.running.direction {
            Direction::Forward => StepKind::Do,
            Direction::Backward => StepKind::Undo,
        };
        let (engine, kept, now) = (self.clone(), turn.clone(), (self.clock)());
        #[cfg(test)]
        if self.lacks(Safeguard::OneTransaction) {
            return self.step_in_two(turn, kind, effect, work).await;
        }
        let stepped = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    let mut turn = turn;
                    engine.fence(db, &mut turn.running, now).await?;
                    let mut context = turn.context_at(now);
                    let next = work(db, &mut context).await?;
                    turn.running.state = context.state;
                    turn.finish(db, kind, effect, next, now).await
                })
            })
            .await;
        self.turned(kept, stepped).await
    }

    pub(super) async fn turned(
        &self,
        turn: Turn,
        stepped: Result<Option<Running>, StepError>,
    ) -> Result<Turned, StoreError> {
        self.at("committed").await;
        match stepped {
            Ok(Some(running)) => Ok(Turned::On(running)),
            Ok(None) => Ok(Turned::Over),
            Err(error) => self.failed(turn, error).await,
        }
    }

    /// A step that was not done, of which nothing is left: the workflow goes back, or is parked.
    async fn failed(&self, turn: Turn, error: StepError) -> Result<Turned, StoreError> {
        match error {
            StepError::Store(error) => Err(error),
            StepError::Refused(reason) if turn.running.direction == Direction::Forward => {
                let output = json!({ "refused": reason });
                let key = EffectKey::of("");
                let work: Work =
                    Box::new(move |_, _| Box::pin(async move { Ok(Next::Back(reason)) }));
                Box::pin(self.step(turn, Some((key, output)), work)).await
            }
            StepError::Refused(reason) => {
                self.park(turn.running, format!("it cannot be undone: {reason}")).await
            }
            StepError::Poison(reason) => self.park(turn.running, reason).await,
        }
    }

    /// Stops a workflow until somebody has looked.
    async fn park(&self, running: Running, reason: String) -> Result<Turned, StoreError> {
        tracing::error!(
            workflow.id = %running.claim.id,
            workflow.kind = running.kind,
            reason,
            "a workflow is parked"
        );
        let (engine, now) = (self.clone(), (self.clock)());
        self.store
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let mut running = running;
                    engine.fence(db, &mut running, now).await?;
                    park(db, &running, reason, now).await
                })
            })
            .await?;
        Ok(Turned::Over)
    }
}

/// A rule that refuses to record what was done, or may have been, does not undo it: somebody has to look.
fn unrecorded(error: StepError) -> StepError {
    match error {
        StepError::Refused(reason) => StepError::Poison(format!(
            "it was done, or may have been, and cannot be recorded: {reason}"
        )),
        error => error,
    }
}

/// Where a simulation looks in.
#[cfg(not(test))]
#[expect(clippy::unused_self, clippy::unused_async, reason = "what a simulation does here")]
impl Engine {
    pub(in crate::actors) async fn at(&self, _point: &'static str) {}

    fn chance(&self) -> f64 {
        rand::rng().random_range(0.0..=1.0)
    }

    async fn fence(
        &self,
        db: &mut Db,
        running: &mut Running,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        confirm(db, &running.claim, LEASE, now).await
    }
}
