//! Workflows on nodes that come, go and panic, on both databases, with a clock that can be put forward.

mod begun;
mod compensated;
mod nodes;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::engine::{Clock, Engine};
use super::flow::{
    Context, EffectHalf, Flow, Found, Half, LocalHalf, Next, Outcome, Repeating, Step, StepError,
    WaitHalf, Waited,
};
use super::supervisor::{WorkflowSettings, Workflows};
use crate::actors::kit::permanent::OnEscalate;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{NodeId, WorkflowId};
use crate::domain::time::Timestamp;
use crate::domain::workflows::{EffectKey, WorkflowStatus};
use crate::store::testing::database_urls;
use crate::store::workflows::history::StepRow;
use crate::store::workflows::signals::Signal;
use crate::store::workflows::{NewWorkflow, end_lease, insert_workflow};
use crate::store::{Db, Store, StoreError};

const PATIENCE: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(10);
const WORKERS: u16 = 4;

/// What the outside was asked to do.
#[derive(Default)]
struct World {
    calls: Mutex<BTreeMap<String, usize>>,
    /// Calls that wait are answered when there are permits.
    gate: Option<Semaphore>,
    answered: AtomicUsize,
}

/// A database with everything that several nodes have in common.
struct Ground {
    url: String,
    store: Store,
    data: PathBuf,
    world: Arc<World>,
    /// Milliseconds that its clock is ahead.
    ahead: Arc<AtomicI64>,
}

impl Drop for Ground {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.data);
    }
}

/// One ground for each database.
async fn grounds(world: fn() -> World) -> Vec<Ground> {
    let mut grounds = Vec::new();
    for url in database_urls().await {
        let data = std::env::temp_dir().join(format!("madang-workflows-{}", clock::new_uuid()));
        std::fs::create_dir_all(&data).unwrap();
        let store = connect(&url, &data).await;
        store.migrate("test".to_owned()).await.unwrap();
        grounds.push(Ground { url, store, data, world: Arc::new(world()), ahead: Arc::default() });
    }
    grounds
}

async fn connect(url: &str, data: &Path) -> Store {
    let variables = [("MADANG__DATA__DIR", data.to_str().unwrap()), ("MADANG__DATABASE__URL", url)];
    let config = Config::read(None, variables).unwrap();
    Store::connect(&config, Handle::current()).await.unwrap()
}

/// One node: what it works with, and what runs there.
struct Node {
    id: NodeId,
    engine: Engine,
    workflows: Workflows,
}

impl Ground {
    /// The engine of one more node. With PostgreSQL it has a store of its own, and hears of no other's commits.
    async fn engine(&self, id: NodeId) -> Engine {
        let store = match self.url.as_str() {
            "" => self.store.clone(),
            url => connect(url, &self.data).await,
        };
        let ahead = Arc::clone(&self.ahead);
        let clock: Clock = Arc::new(move || {
            Timestamp::from_millis(clock::now().millis() + ahead.load(Ordering::SeqCst))
        });
        Engine::new(store, id, flows(&self.world), clock)
    }

    async fn node(&self, workers: u16) -> Node {
        let id = NodeId::from(clock::new_uuid());
        let engine = self.engine(id).await;
        let on_escalate: OnEscalate = Arc::new(|cause: &str| panic!("{cause}"));
        let settings = WorkflowSettings { workers };
        let io = Handle::current();
        let started = Workflows::start(&io, engine.clone(), settings, &on_escalate).await;
        Node { id, engine, workflows: started.unwrap() }
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(clock::now().millis() + self.ahead.load(Ordering::SeqCst))
    }

    /// Lets the time pass; whoever waits for a commit looks at the clock again.
    async fn pass(&self, time: Duration) {
        self.ahead.fetch_add(i64::try_from(time.as_millis()).unwrap(), Ordering::SeqCst);
        self.store.probe().await.unwrap();
    }

    async fn insert(&self, kind: &'static str, state: Value) -> WorkflowId {
        let (new, now) = (self.new_workflow(kind, state), self.now());
        let inserted: Result<WorkflowId, StoreError> = self
            .store
            .write(move |db| Box::pin(async move { insert_workflow(db, &new, now).await }))
            .await;
        inserted.unwrap()
    }

    fn new_workflow(&self, kind: &'static str, state: Value) -> NewWorkflow {
        let id = WorkflowId::from(clock::new_uuid());
        let dedupe_key = format!("{kind}:{id}");
        NewWorkflow { id, kind, version: 1, dedupe_key, state, wake_at: self.now() }
    }

    /// Ends the lease of whoever has a workflow, as no code does.
    async fn end_lease(&self, id: WorkflowId) {
        let ended: Result<(), StoreError> =
            self.store.write(move |db| Box::pin(async move { end_lease(db, id).await })).await;
        ended.unwrap();
    }

    async fn status(&self, id: WorkflowId) -> WorkflowStatus {
        self.store.get_workflow_status(id).await.unwrap()
    }

    /// The kinds and names of the lines of a workflow's history, and who wrote them.
    async fn history(&self, id: WorkflowId) -> Vec<(String, Option<NodeId>)> {
        let steps = self.store.list_workflow_steps(id).await.unwrap();
        let line =
            |step: StepRow| (format!("{} {}", step.kind, step.name), step.node.map(NodeId::from));
        steps.into_iter().map(line).collect()
    }

    async fn lines(&self, id: WorkflowId) -> Vec<String> {
        self.history(id).await.into_iter().map(|(line, _)| line).collect()
    }

    fn calls(&self, id: WorkflowId) -> usize {
        self.world.calls.lock().unwrap().get(&id.to_string()).copied().unwrap_or_default()
    }

    async fn until(&self, id: WorkflowId, status: WorkflowStatus) {
        eventually(status.as_str(), async || (self.status(id).await == status).then_some(())).await;
    }
}

/// A walk is marked, calls the outside and is finished; a bell waits to be rung. A tour and a trip can be undone.
fn flows(world: &Arc<World>) -> Vec<Flow> {
    let step = |name, forward| Step { name, forward, backward: Half::Nothing };
    let call = || Half::Effect(Arc::new(Call(Arc::clone(world))));
    let local = || Half::Local(Arc::new(Local));
    vec![
        Flow {
            kind: "walk",
            version: 1,
            steps: vec![step("mark", local()), step("call", call()), step("finish", local())],
        },
        Flow {
            kind: "errand",
            version: 1,
            steps: vec![step("call", call()), step("finish", local())],
        },
        Flow { kind: "bell", version: 1, steps: vec![step("wait", Half::Wait(Arc::new(Bell)))] },
        Flow {
            kind: "tour",
            version: 1,
            steps: vec![
                Step { name: "mark", forward: local(), backward: local() },
                Step { name: "wait", forward: Half::Wait(Arc::new(Bell)), backward: local() },
            ],
        },
        Flow {
            kind: "trip",
            version: 1,
            steps: vec![Step { name: "call", forward: call(), backward: local() }],
        },
    ]
}

/// The lines of a walk that went well.
const WALKED: [&str; 4] = ["do mark", "intent call", "do call", "do finish"];

struct Local;

#[async_trait]
impl LocalHalf for Local {
    async fn run(&self, _: &mut Db, context: &mut Context) -> Result<Next, StepError> {
        assert_ne!(context.state["panics"], "in a transaction", "on purpose");
        Ok(Next::On)
    }
}

struct Call(Arc<World>);

#[async_trait]
impl EffectHalf for Call {
    fn repeating(&self, _: &Context) -> Repeating {
        Repeating { is_idempotent: true, has_look_up: true, absent_after: Duration::ZERO }
    }

    async fn prepare(&self, _: &mut Db, context: &mut Context) -> Result<(), StepError> {
        context.state["prepared"] = json!(true);
        Ok(())
    }

    async fn look_up(&self, context: &Context, _: &EffectKey) -> Found {
        match self.0.calls.lock().unwrap().get(&context.workflow.to_string()) {
            None => Found::Absent,
            Some(_) => Found::Outcome(Outcome::Done(json!("found"))),
        }
    }

    async fn call(&self, context: &Context, _: &EffectKey) -> Outcome {
        assert_eq!(context.state["prepared"], true);
        assert_ne!(context.state["panics"], "in a call", "on purpose");
        *self.0.calls.lock().unwrap().entry(context.workflow.to_string()).or_default() += 1;
        if let Some(gate) = &self.0.gate {
            gate.acquire().await.unwrap().forget();
        }
        // The outside takes its time.
        tokio::time::sleep(POLL_INTERVAL).await;
        self.0.answered.fetch_add(1, Ordering::SeqCst);
        Outcome::Done(json!("done"))
    }

    async fn commit(
        &self,
        _: &mut Db,
        context: &mut Context,
        answer: &Value,
    ) -> Result<Next, StepError> {
        if context.state["doubts"] == *answer {
            return Ok(Next::Park("on purpose".to_owned()));
        }
        if context.state["refuses"] == *answer {
            return Err(StepError::Refused("on purpose".to_owned()));
        }
        Ok(Next::On)
    }
}

struct Bell;

#[async_trait]
impl WaitHalf for Bell {
    async fn look(
        &self,
        _: &mut Db,
        context: &mut Context,
        signals: &[Signal],
    ) -> Result<Waited, StepError> {
        let is_rung = signals.iter().any(|signal| signal.name == "ring");
        let until = context.now.plus(Duration::from_hours(1));
        Ok(if is_rung { Waited::Over(Next::On) } else { Waited::Until(until) })
    }
}

async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.unwrap_or_else(|_| panic!("never: {what}"))
}
