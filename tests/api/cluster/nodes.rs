//! A cluster of one's own: several servers on one PostgreSQL database, linked by Redis.

use madang::providers::tokens::generate_pem;
use secrecy::ExposeSecret as _;
use uuid::Uuid;

use super::redis::RedisServer;
use crate::app::{TestApp, eventually};
use crate::both::Settings;
use crate::database::{Database, Kind};
use crate::user::User;

pub(crate) struct Cluster {
    nodes: Vec<TestApp>,
    pub(crate) redis: RedisServer,
    database: Database,
    settings: Vec<(String, String)>,
}

impl Cluster {
    /// Starts so many nodes and waits until they hear one another.
    pub(crate) async fn start(count: usize, settings: Settings) -> Self {
        let redis = RedisServer::start().await;
        let link = vec![("MADANG__CLUSTER__REDIS_URL".to_owned(), redis.url())];
        Self::start_over(redis, count, settings, link).await
    }

    /// As [`Self::start`], where `link` says how Redis is reached.
    pub(crate) async fn start_over(
        redis: RedisServer,
        count: usize,
        settings: Settings,
        link: Vec<(String, String)>,
    ) -> Self {
        let database = Database::create(Kind::Postgres).await;
        let (_, key) = generate_pem().unwrap();
        let mut all = link;
        all.push(("MADANG_SECRET_JWT_KEY".to_owned(), key.expose_secret().to_owned()));
        all.push(("MADANG_SECRET_WEBHOOK_SEAL".to_owned(), Uuid::new_v4().simple().to_string()));
        all.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
        let mut cluster = Self { nodes: Vec::new(), redis, database, settings: all };
        for _ in 0..count {
            cluster.add().await;
        }
        cluster.is_linked().await;
        cluster
    }

    /// Starts one more node.
    pub(crate) async fn add(&mut self) -> &TestApp {
        let mut settings = self.settings.clone();
        settings.push(("MADANG__NODE__NAME".to_owned(), format!("node-{}", self.nodes.len())));
        let node = Box::pin(TestApp::start_on(self.database.clone(), settings)).await;
        self.nodes.push(node);
        self.node(self.nodes.len() - 1)
    }

    /// Starts a node with a signing key of its own, which must not come up; gives what it said.
    pub(crate) async fn start_stranger(&self) -> String {
        let (_, key) = generate_pem().unwrap();
        let key = key.expose_secret().to_owned();
        self.node(0).start_another_with("MADANG_SECRET_JWT_KEY", &key).await
    }

    pub(crate) fn node(&self, at: usize) -> &TestApp {
        &self.nodes[at]
    }

    pub(crate) fn node_mut(&mut self, at: usize) -> &mut TestApp {
        &mut self.nodes[at]
    }

    /// Comes back when every node says that it hears the others.
    pub(crate) async fn is_linked(&self) {
        for node in &self.nodes {
            is_linked(node, "ok").await;
        }
    }

    /// Two people with a direct room, each at the node of the same number.
    pub(crate) async fn pair(&self) -> (User, User, String) {
        let (jisoo, minho) =
            (self.node(0).register("jisoo").await, self.node(1).register("minho").await);
        let room = jisoo.direct_room(&minho).await;
        (jisoo, minho, room)
    }

    /// Ends the nodes and removes the database.
    pub(crate) async fn finish(mut self) {
        for node in &mut self.nodes {
            node.kill();
        }
        self.database.remove().await;
    }
}

/// Comes back when the node says so of its link.
pub(crate) async fn is_linked(node: &TestApp, status: &str) {
    eventually("the link is so", async || {
        let health = node.get("/health").await;
        let health: serde_json::Value = serde_json::from_str(&health.text).unwrap();
        (health["checks"]["link"]["status"] == status).then_some(())
    })
    .await;
}
