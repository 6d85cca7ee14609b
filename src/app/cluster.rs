//! Cluster: what ties a node to the others besides their database: the link, the keys, and the logins that end elsewhere.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::runtime::Runtime;
use tokio::sync::broadcast::error::RecvError;

use crate::accounts::Accounts;
use crate::accounts::revocations::{Announcement, Revocations, Revoked};
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::directory::{Directory, Whose};
use crate::actors::link::packet::Packet;
use crate::actors::link::{Ended, Link, LinkStatus, OnEnded};
use crate::actors::nodes::living::LivingNodes;
use crate::clock;
use crate::config::{Config, RedisMode};
use crate::http::server::seats::Seats;
use crate::providers::redis::Redis;
use crate::providers::redis::topology::{Arrangement, Topology};
use crate::providers::tokens::AccessTokens;
use crate::store::nodes::Node;

/// What ended on another node and was not heard of is known so much later.
const REVOCATIONS_INTERVAL: Duration = Duration::from_secs(1);
const LEARN_MAX: Duration = Duration::from_secs(2);
/// How far the clocks of two nodes may be apart for that.
const CLOCKS_APART_MAX: Duration = Duration::from_secs(15);

/// Ends the connections of whoever may no longer be here, as soon as that is known, on every node.
pub(super) async fn cut_revoked(revocations: Revocations, directory: Directory, link: Link) {
    let mut announced = revocations.subscribe();
    loop {
        let (whose, code) = match announced.recv().await {
            Ok(Announcement { revoked, is_news }) => {
                if is_news {
                    link.publish(&match revoked {
                        Revoked::Session(session) => Packet::SessionEnded(session),
                        Revoked::User(user) => Packet::UserEnded(user),
                    });
                }
                match revoked {
                    Revoked::Session(ended) => {
                        (Whose::new(move |session, _| session == ended), CloseCode::Revoked)
                    }
                    Revoked::User(ended) => {
                        (Whose::new(move |_, user| user == ended), CloseCode::AccountDisabled)
                    }
                }
            }
            Err(RecvError::Lagged(_)) => {
                let known = revocations.clone();
                (Whose::new(move |session, _| known.is_revoked(session)), CloseCode::Revoked)
            }
            Err(RecvError::Closed) => return,
        };
        directory.end(whose, code).await;
    }
}

/// Learns from the store what has ended on other nodes: whoever has ended it may have died before it could tell.
pub(super) async fn learn_revocations(accounts: Accounts) {
    let mut learned_at = clock::now();
    loop {
        tokio::time::sleep(REVOCATIONS_INTERVAL).await;
        let now = clock::now();
        let learning = accounts.learn_revocations(learned_at.minus(CLOCKS_APART_MAX));
        match tokio::time::timeout(LEARN_MAX, learning).await {
            Ok(Ok(())) => learned_at = now,
            Err(_) => tracing::warn!("the database does not say which logins have ended"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "logins that ended elsewhere may still be believed");
            }
        }
    }
}

/// Links this node with the others, if it has any.
pub(super) fn open_link(
    config: &Config,
    io: &Runtime,
    directory: &Directory,
    revocations: &Revocations,
    redis: &Redis,
    database: &Arc<str>,
) -> anyhow::Result<Link> {
    let cluster = &config.cluster;
    let urls = cluster.redis_urls();
    if urls.is_empty() {
        return Ok(Link::alone());
    }
    let arrangement = match cluster.redis_mode {
        RedisMode::Single => Arrangement::Single,
        RedisMode::Cluster => Arrangement::Cluster,
        RedisMode::Sentinel => Arrangement::Sentinel { master: cluster.sentinel_master.clone() },
    };
    let topology = Topology::new(arrangement, &urls).context("cluster.redis_url cannot be used")?;
    let known = revocations.clone();
    let on_ended: OnEnded = Arc::new(move |ended| {
        let revoked = match ended {
            Ended::Session(session) => Revoked::Session(session),
            Ended::User(user) => Revoked::User(user),
        };
        known.learn(revoked, clock::now());
    });
    let node = (clock::new_uuid().into(), Arc::clone(database));
    Ok(Link::start(io.handle(), node, topology, redis.clone(), directory.clone(), on_ended))
}

/// Looks who serves the database already. Refuses to serve beside nodes whose tokens would not be believed here.
pub(super) fn check_others(
    others: &[Node],
    config: &Config,
    tokens: &AccessTokens,
) -> anyhow::Result<()> {
    if let Some(stranger) = others.iter().find(|node| !tokens.knows(&node.key_id)) {
        anyhow::bail!(
            "node {:?} signs tokens with a key that is not known here: give every node the same \
             MADANG_SECRET_JWT_KEY",
            stranger.name,
        );
    }
    if !others.is_empty() && config.cluster.redis_urls().is_empty() {
        tracing::warn!(
            "other nodes serve this database, and `cluster.redis_url` is not set: what they do is seen a little later"
        );
    }
    if others.iter().any(|node| node.name == config.node.name) {
        tracing::warn!(
            node.name = config.node.name,
            "another process has this name: one that goes, or `node.name` is not set"
        );
    }
    Ok(())
}

/// Tells the other nodes again who sits here, whenever Redis is back, which may have lost that, and whenever this node
/// has come back as another.
pub(super) async fn report_seats(link: Link, nodes: LivingNodes, seats: Seats) {
    let Some(mut status) = link.follow() else { return };
    let mut me = nodes.follow();
    loop {
        let changed = tokio::select! {
            changed = status.changed() => changed,
            changed = me.changed() => changed,
        };
        if changed.is_err() {
            return;
        }
        if *status.borrow_and_update() == LinkStatus::Up {
            seats.report_again();
        }
    }
}
