//! Nodes, and what this one has counted.

use std::collections::BTreeSet;

use actix_web::get;
use actix_web::web::{self, ServiceConfig};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use utoipa::ToSchema;

use crate::actors::nodes::Nodes;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::NodeId;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::caller::Admin;
use crate::http::views::{ReadRefusals, RoleRefusals};
use crate::store::Store;
use crate::store::nodes::{NodeState, SeenNode};
use crate::telemetry::figures::Figures;

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_nodes).service(read_figures);
}

/// The nodes that there are.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodesView {
    /// Those that have started last come first.
    items: Vec<NodeView>,
}

/// A process that serves this database.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NodeView {
    id: NodeId,
    /// `node.name`.
    name: String,
    /// Null where it does not say.
    version: Option<String>,
    /// `serving`, `leaving`, `silent` (its lease is over, and nobody has noticed) or `dead`.
    #[schema(example = "serving")]
    state: &'static str,
    /// Whether it is the one that answers.
    is_this: bool,
    started_at: Timestamp,
    /// Until when it counts as alive without another word; null where it needs none.
    lease_until: Option<Timestamp>,
}

/// What this node has counted since it started, and how things stand.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct FiguresView {
    node: String,
    at: Timestamp,
    /// Sockets and event streams that are open.
    connections: u64,
    /// Channels that they follow.
    subscriptions: u64,
    /// Events that live subscriptions were given.
    deliveries_total: u64,
    /// Messages that were stored.
    messages_total: u64,
    /// Everything that has happened in rooms, messages included.
    room_events_total: u64,
    http_requests_total: u64,
    actors: Vec<ActorFiguresView>,
    /// Of the subscribers that this node serves.
    outbox: Vec<OutboxFiguresView>,
    /// In the cluster, as of some seconds ago.
    queues: Vec<QueueFiguresView>,
}

/// The actors of one kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ActorFiguresView {
    #[schema(example = "room")]
    kind: String,
    live: u64,
    /// Calls that are accepted and not yet handled.
    mailbox_depth: u64,
    restarts_total: u64,
}

/// How far a subscriber of domain events is behind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct OutboxFiguresView {
    #[schema(example = "notify")]
    subscriber: String,
    lag_seconds: f64,
}

/// The queue of one medium.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueueFiguresView {
    #[schema(example = "mail")]
    medium: String,
    /// Letters that wait, counted up to 100,000.
    queued: u64,
    dead: u64,
    overdue_seconds: f64,
}

/// Every node, the dead ones that nobody has cleared away included.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = NodesView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/nodes")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn list_nodes(
    admin: Admin,
    store: web::Data<Store>,
    nodes: web::Data<Nodes>,
) -> ApiResult<web::Json<NodesView>> {
    let me = nodes.me();
    let found = store.list_nodes().await?;
    let items = found.into_iter().map(|node| NodeView::new(node, me)).collect();

    Ok(web::Json(NodesView { items }))
}

/// What the node that answers has counted since it started, and how things stand there now.
#[utoipa::path(
    tag = "admin",
    security(("bearer" = [])),
    responses((status = 200, body = FiguresView), ReadRefusals, RoleRefusals),
)]
#[get("/admin/node/figures")]
#[tracing::instrument(skip_all, fields(user.id = %admin.0.user_id))]
pub(super) async fn read_figures(
    admin: Admin,
    recorder: web::Data<PrometheusHandle>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<FiguresView>> {
    let (node, at) = (config.node.name.clone(), clock::now());
    // Some thousand lines are no work for a worker.
    let reading = web::block(move || FiguresView::read(node, at, &recorder.render()));

    Ok(web::Json(reading.await.map_err(|_| ApiError::Internal)?))
}

impl NodeView {
    fn new(node: SeenNode, me: NodeId) -> Self {
        let SeenNode { id, name, version, state, started_at, lease_until } = node;
        let state = match state {
            NodeState::Serving => "serving",
            NodeState::Leaving => "leaving",
            NodeState::Silent => "silent",
            NodeState::Dead => "dead",
        };
        Self { is_this: id == me, id, name, version, state, started_at, lease_until }
    }
}

impl FiguresView {
    fn read(node: String, at: Timestamp, text: &str) -> Self {
        let figures = Figures::read(text);
        let sum = |name: &str| whole(figures.sum(name));
        Self {
            node,
            at,
            connections: sum("madang_connections"),
            subscriptions: sum("madang_subscriptions"),
            deliveries_total: sum("madang_hub_deliveries_total"),
            messages_total: sum("madang_messages_total"),
            room_events_total: sum("madang_room_events_total"),
            http_requests_total: sum("madang_http_requests_total"),
            actors: actors(&figures),
            outbox: outbox(&figures),
            queues: queues(&figures),
        }
    }
}

fn actors(figures: &Figures<'_>) -> Vec<ActorFiguresView> {
    let [live, depth, restarts] =
        ["madang_actor_live", "madang_actor_mailbox_depth", "madang_actor_restarts_total"]
            .map(|name| figures.by(name, "kind"));
    let kinds: BTreeSet<&str> =
        [&live, &depth, &restarts].into_iter().flatten().map(|(kind, _)| *kind).collect();
    let of = |kind: &str| ActorFiguresView {
        kind: kind.to_owned(),
        live: whole(live.get(kind).copied().unwrap_or_default()),
        mailbox_depth: whole(depth.get(kind).copied().unwrap_or_default()),
        restarts_total: whole(restarts.get(kind).copied().unwrap_or_default()),
    };
    kinds.into_iter().map(of).collect()
}

fn outbox(figures: &Figures<'_>) -> Vec<OutboxFiguresView> {
    let lags = figures.by("madang_outbox_lag_seconds", "subscriber");
    let view = |(subscriber, lag_seconds): (&str, f64)| OutboxFiguresView {
        subscriber: subscriber.to_owned(),
        lag_seconds,
    };
    lags.into_iter().map(view).collect()
}

fn queues(figures: &Figures<'_>) -> Vec<QueueFiguresView> {
    let [queued, dead, overdue] =
        ["madang_deliveries_queued", "madang_deliveries_dead", "madang_deliveries_overdue_seconds"]
            .map(|name| figures.by(name, "medium"));
    let view = |(medium, queued): (&str, f64)| QueueFiguresView {
        medium: medium.to_owned(),
        queued: whole(queued),
        dead: whole(dead.get(medium).copied().unwrap_or_default()),
        overdue_seconds: overdue.get(medium).copied().unwrap_or_default(),
    };
    queued.into_iter().map(view).collect()
}

/// What is counted is whole; a gauge that has gone below nothing for a moment shows nothing.
fn whole(figure: f64) -> u64 {
    #[expect(
        clippy::as_conversions,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "saturates, which is what is wanted"
    )]
    let whole = figure.round() as u64;
    whole
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_counted_is_told_by_kind_subscriber_and_medium() {
        let text = "\
            madang_connections 3\n\
            madang_hub_deliveries_total 40\n\
            madang_http_requests_total{method=\"GET\",route=\"/a\",status=\"200\"} 2\n\
            madang_http_requests_total{method=\"PUT\",route=\"/a\",status=\"200\"} 5\n\
            madang_actor_live{kind=\"room\"} 2\n\
            madang_actor_restarts_total{kind=\"link\"} 1\n\
            madang_actor_mailbox_depth{kind=\"room\"} -1\n\
            madang_outbox_lag_seconds{subscriber=\"notify\"} 0.25\n\
            madang_deliveries_queued{medium=\"mail\"} 7\n\
            madang_deliveries_overdue_seconds{medium=\"mail\"} 1.5\n";

        let view = FiguresView::read("a".to_owned(), Timestamp::from_millis(0), text);

        let view = serde_json::to_value(view).unwrap();
        assert_eq!((&view["connections"], &view["subscriptions"]), (&json!(3), &json!(0)));
        assert_eq!(view["deliveries_total"], 40);
        assert_eq!(view["http_requests_total"], 7);
        assert_eq!(
            view["actors"],
            json!([
                { "kind": "link", "live": 0, "mailbox_depth": 0, "restarts_total": 1 },
                { "kind": "room", "live": 2, "mailbox_depth": 0, "restarts_total": 0 },
            ])
        );
        assert_eq!(view["outbox"], json!([{ "subscriber": "notify", "lag_seconds": 0.25 }]));
        let queue = json!({ "medium": "mail", "queued": 7, "dead": 0, "overdue_seconds": 1.5 });
        assert_eq!(view["queues"], json!([queue]));
    }
}
