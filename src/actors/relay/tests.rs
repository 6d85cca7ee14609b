//! Once in a cluster, or once a node: two relays on one database.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use serde_json::json;
use tokio::runtime::Handle;

use super::{Relay, Scope, Subscriber};
use crate::actors::kit::permanent::OnEscalate;
use crate::actors::nodes::Nodes;
use crate::clock;
use crate::config::Config;
use crate::domain::events::{CHAT_EVENTS, DomainEvent};
use crate::store::relay::OutboxEvent;
use crate::store::{Store, StoreError, outbox};

const EVENTS: usize = 8;
const PATIENCE: Duration = Duration::from_secs(60);

/// Notes by whom each event was taken.
struct Witness {
    scope: Scope,
    node: &'static str,
    taken: Arc<Mutex<Vec<(&'static str, String)>>>,
}

#[async_trait]
impl Subscriber for Witness {
    fn name(&self) -> &'static str {
        match self.scope {
            Scope::Cluster => "witness",
            Scope::Node => "search",
        }
    }

    fn scope(&self) -> Scope {
        self.scope
    }

    async fn take(&self, events: &[OutboxEvent]) -> Result<(), String> {
        let taken = events.iter().map(|event| (self.node, event.id.to_string()));
        self.taken.lock().unwrap().extend(taken);
        Ok(())
    }
}

async fn store() -> (Store, std::path::PathBuf) {
    let data = std::env::temp_dir().join(format!("madang-relay-{}", clock::new_uuid()));
    std::fs::create_dir_all(&data).unwrap();
    let config = Config::read(None, [("MADANG__DATA__DIR", data.to_str().unwrap())]).unwrap();
    let store = Store::connect(&config, Handle::current()).await.unwrap();
    store.migrate("test".to_owned()).await.unwrap();
    (store, data)
}

async fn publish(store: &Store) {
    let event = DomainEvent {
        id: clock::new_uuid().into(),
        topic: CHAT_EVENTS,
        name: "ChatRoomCreated",
        subject: "room".to_owned(),
        at: clock::now(),
        data: json!({}),
    };
    let appended: Result<(), StoreError> =
        store.write(move |db| Box::pin(async move { outbox::append(db, &event).await })).await;
    appended.unwrap();
}

/// Plays two nodes with such a subscriber each; gives who took what, each event being taken so many `times` at least.
async fn two_nodes(scope: Scope, times: usize) -> Vec<(&'static str, String)> {
    let (store, data) = store().await;
    let taken = Arc::new(Mutex::new(Vec::new()));
    let on_escalate: OnEscalate = Arc::new(|cause: &str| panic!("{cause}"));
    let mut relays = Vec::new();
    for node in ["a", "b"] {
        let nodes = Nodes::join(&store, node, "key").await.unwrap();
        let witness = Arc::new(Witness { scope, node, taken: Arc::clone(&taken) });
        let io = Handle::current();
        let relay =
            Relay::start(&io, &store, &nodes, node, vec![witness], Arc::clone(&on_escalate)).await;
        relays.push(relay.unwrap());
    }
    // One after the other: both nodes look for something to carry in between.
    for round in 1..=EVENTS {
        publish(&store).await;
        let all = async {
            while taken.lock().unwrap().len() < round * times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, all).await.expect("the event is taken");
    }
    // What is under way ends, cursors are saved, and nobody takes anything any more.
    for relay in relays {
        relay.stop().await;
    }
    store.close().await;
    let _ = std::fs::remove_dir_all(&data);
    taken.lock().unwrap().clone()
}

#[tokio::test]
async fn an_event_is_carried_once_in_a_cluster() {
    let taken = two_nodes(Scope::Cluster, 1).await;
    let events: std::collections::BTreeSet<&String> = taken.iter().map(|(_, id)| id).collect();
    assert_eq!((taken.len(), events.len()), (EVENTS, EVENTS), "{taken:?}");
}

#[tokio::test]
async fn an_event_is_carried_to_each_node_that_has_a_cursor_of_its_own() {
    let taken = two_nodes(Scope::Node, 2).await;
    for node in ["a", "b"] {
        assert_eq!(taken.iter().filter(|(by, _)| *by == node).count(), EVENTS, "{taken:?}");
    }
}
