//! A Redis of one's own that survives its master: sentinels promote the replica.

use super::redis::{RedisServer, urls};
use crate::app::eventually;

const SENTINELS: usize = 3;
const MASTER_NAME: &str = "mymaster";

/// A master, its replica, and three sentinels of whom two must agree that the master is gone.
#[derive(Debug)]
pub(crate) struct RedisSentinel {
    servers: [RedisServer; 2],
    sentinels: Vec<RedisServer>,
}

impl RedisSentinel {
    /// Starts all of them, and waits until every sentinel could promote the replica.
    pub(crate) async fn start() -> Self {
        let servers = [RedisServer::start().await, RedisServer::start().await];
        let [master, replica] = &servers;
        replica.command(&["REPLICAOF", "127.0.0.1", &master.port().to_string()]);
        replica.command(&["CONFIG", "REWRITE"]);
        // A sentinel that comes later would see the replica only when it looks again, after 10 s.
        eventually("the replica follows", async || {
            replica.ask(&["INFO", "replication"])?.contains("master_link_status:up").then_some(())
        })
        .await;

        let settings = format!(
            "sentinel monitor {MASTER_NAME} 127.0.0.1 {} 2\n\
             sentinel down-after-milliseconds {MASTER_NAME} 1000\n\
             sentinel failover-timeout {MASTER_NAME} 3000\n",
            master.port()
        );
        let mut sentinels = Vec::new();
        for _ in 0..SENTINELS {
            sentinels.push(RedisServer::start_as(&["--sentinel"], || settings.clone()).await);
        }
        eventually("the sentinels know one another and the replica", async || {
            sentinels.iter().all(could_promote).then_some(())
        })
        .await;
        Self { servers, sentinels }
    }

    /// What `cluster.redis_url` has to be: where the sentinels are.
    pub(crate) fn urls(&self) -> String {
        urls(&self.sentinels)
    }

    /// What `cluster.sentinel_master` has to be.
    pub(crate) fn master_name(&self) -> &'static str {
        MASTER_NAME
    }

    /// Where the master is, as the sentinels tell.
    pub(crate) fn master_port(&self) -> u16 {
        let words = ["SENTINEL", "GET-MASTER-ADDR-BY-NAME", MASTER_NAME];
        let address = self.sentinels[0].command(&words);
        address.lines().nth(1).expect("an address has two lines").parse().unwrap()
    }

    /// Ends the master at once. The sentinels promote the replica after a second or two.
    pub(crate) fn kill_master(&mut self) {
        let port = self.master_port();
        let master = self.servers.iter_mut().find(|server| server.port() == port);
        master.expect("the master is one of the two").kill();
    }
}

fn could_promote(sentinel: &RedisServer) -> bool {
    let answers = |what: &str, expected: &str| {
        let answer = sentinel.ask(&["SENTINEL", what, MASTER_NAME]);
        answer.is_some_and(|answer| answer.contains(expected))
    };
    answers("CKQUORUM", "OK 3 usable") && answers("REPLICAS", "master-link-status\nok")
}

#[tokio::test]
async fn sentinels_replace_a_master_that_was_killed() {
    let mut sentinel = RedisSentinel::start().await;
    assert_eq!(sentinel.urls().split(',').count(), SENTINELS);
    assert_eq!(sentinel.master_name(), MASTER_NAME);
    let before = sentinel.master_port();

    sentinel.kill_master();

    eventually("another is the master", async || (sentinel.master_port() != before).then_some(()))
        .await;
}
