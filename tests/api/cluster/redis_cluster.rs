//! A Redis Cluster of one's own, whose masters can be killed and whose slots can be moved.

use super::redis::{RedisServer, STORES, lasting_port, redis_cli, urls};
use crate::app::eventually;

const MASTERS: usize = 3;

/// Three masters that share the slots. While one is dead the others serve theirs.
#[derive(Debug)]
pub(crate) struct RedisCluster {
    masters: Vec<RedisServer>,
}

impl RedisCluster {
    /// Starts the masters, gives each a third of the slots, and waits until all of them agree.
    pub(crate) async fn start() -> Self {
        let settings = || {
            format!(
                "{STORES}cluster-enabled yes\ncluster-port {}\ncluster-node-timeout 1000\n\
                 cluster-require-full-coverage no\n",
                lasting_port()
            )
        };
        let mut masters = Vec::new();
        for _ in 0..MASTERS {
            masters.push(RedisServer::start_as(&[], settings).await);
        }
        let cluster = Self { masters };

        let addresses: Vec<String> = cluster.masters.iter().map(RedisServer::address).collect();
        manage(format!("create {} --cluster-replicas 0", addresses.join(" "))).await;
        cluster.becomes_whole().await;
        cluster
    }

    /// What `cluster.redis_url` has to be.
    pub(crate) fn urls(&self) -> String {
        urls(&self.masters)
    }

    pub(crate) fn master(&self, number: usize) -> &RedisServer {
        &self.masters[number]
    }

    /// Ends one master at once.
    pub(crate) fn kill(&mut self, number: usize) {
        self.masters[number].kill();
    }

    /// Starts a master again, and waits until it belongs to the others.
    pub(crate) async fn restart(&mut self, number: usize) {
        self.masters[number].restart().await;
        self.becomes_whole().await;
    }

    /// Moves the lowest slots of one master, and what is in them, to another while both serve.
    pub(crate) async fn move_slots(&self, from: usize, to: usize, slots: usize) {
        let at = self.master(from).address();
        let [from, to] = [from, to].map(|number| self.master(number).command(&["CLUSTER", "MYID"]));
        manage(format!(
            "reshard {at} --cluster-from {from} --cluster-to {to} --cluster-slots {slots}"
        ))
        .await;
        self.becomes_whole().await;
    }

    async fn becomes_whole(&self) {
        let address = self.master(0).address();
        eventually("the masters agree on who serves which slot", async || {
            let serves = |master: &RedisServer| {
                let info = master.ask(&["CLUSTER", "INFO"]).unwrap_or_default();
                info.contains("cluster_state:ok") && info.contains("cluster_slots_ok:16384")
            };
            let whole = self.masters.iter().all(serves)
                && redis_cli(&["--cluster", "check", &address]).is_ok();
            whole.then_some(())
        })
        .await;
    }
}

/// Founding a cluster and moving slots take seconds, in which the test goes on.
async fn manage(what: String) {
    let managed = tokio::task::spawn_blocking(move || {
        let words: Vec<&str> = what.split(' ').collect();
        redis_cli(&[&["--cluster"], words.as_slice(), &["--cluster-yes"]].concat())
    });
    managed.await.unwrap().unwrap_or_else(|said| panic!("{said}"));
}

#[tokio::test]
async fn a_cluster_moves_slots_and_takes_a_killed_master_back() {
    let mut cluster = RedisCluster::start().await;
    assert_eq!(cluster.urls().split(',').count(), MASTERS);
    // Its slot is 174, among those that the first master gives away.
    let key = "well";
    cluster.master(0).command(&["SET", key, "wisteria"]);

    cluster.move_slots(0, 1, 200).await;
    cluster.kill(0);
    assert_eq!(cluster.master(1).command(&["GET", key]), "wisteria");

    cluster.restart(0).await;
    assert!(cluster.master(0).ask(&["GET", key]).is_none());
}
