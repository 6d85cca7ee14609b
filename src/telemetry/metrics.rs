//! The metrics recorder of this process, and what each metric means.

use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use metrics::{describe_counter, describe_gauge, describe_histogram, gauge};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

/// How often samples are folded into their histograms: between scrapes they would pile up.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// From an in-memory answer to a request that times out.
const SECONDS: [f64; 14] =
    [0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// Counts of things done together, such as the writes of one commit.
const SIZES: [f64; 12] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1_024.0, 4_096.0];

static RECORDER: Mutex<Option<PrometheusHandle>> = Mutex::new(None);

/// Installs the recorder and gives the handle that renders it; later calls give the same one.
///
/// # Errors
/// When another recorder was installed by somebody else, or its thread cannot be started.
pub fn install() -> anyhow::Result<PrometheusHandle> {
    let mut recorder = RECORDER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = recorder.as_ref() {
        return Ok(handle.clone());
    }

    let handle = PrometheusBuilder::new()
        .set_buckets(&SIZES)?
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), &SECONDS)?
        .install_recorder()
        .context("the metrics recorder cannot be installed")?;
    keep_up(handle.clone())?;
    describe();
    gauge!("madang_build_info", "version" => env!("CARGO_PKG_VERSION")).set(1.0);

    Ok(recorder.insert(handle).clone())
}

/// The exporter leaves upkeep to us when built without its own listener.
fn keep_up(handle: PrometheusHandle) -> anyhow::Result<()> {
    let upkeep = move || {
        loop {
            thread::park_timeout(UPKEEP_INTERVAL);
            handle.run_upkeep();
        }
    };
    thread::Builder::new()
        .name("metrics".to_owned())
        .spawn(upkeep)
        .context("the metrics thread cannot be started")?;

    Ok(())
}

fn describe() {
    describe_counter!("madang_http_requests_total", "requests, by method, route and status");
    describe_histogram!("madang_http_request_duration_seconds", "time from request to answer");
    describe_gauge!("madang_connections", "open sockets");
    describe_gauge!("madang_subscriptions", "channels that open sockets and event streams follow");
    describe_counter!(
        "madang_hub_deliveries_total",
        "events that live subscriptions were given as they came"
    );
    describe_counter!("madang_messages_total", "messages that were stored");
    describe_counter!(
        "madang_connections_closed_total",
        "sockets that the server ended, by reason"
    );
    describe_counter!(
        "madang_limits_local_total",
        "times that a node limited for itself because Redis did not answer, by limit"
    );
    describe_counter!("madang_room_events_total", "events appended to room logs");
    describe_cluster();
    describe_post();
    describe_workflows();
    describe_payments();
    describe_settlements();
    describe_counter!("madang_hub_holes_total", "holes that a hub had to read from the store");
    describe_counter!(
        "madang_hub_fallen_behind_total",
        "live subscriptions that fell behind and are read to from the store"
    );
    describe_counter!("madang_tcp_accepted_total", "connections that were accepted");
    describe_counter!("madang_tcp_refused_total", "connections that were refused");
    describe_counter!("madang_domain_events_total", "domain events, by topic and name");
    describe_counter!("madang_bus_published_total", "events that the external bus has taken");
    describe_counter!("madang_bus_failures_total", "pages that the external bus did not take");
    describe_gauge!("madang_build_info", "1; the label `version` says which build runs");
    describe_counter!(
        "madang_actor_calls_total",
        "calls to actors, by kind and by what became of them"
    );
    describe_counter!(
        "madang_actor_restarts_total",
        "actors that panicked and were started again, by kind"
    );
    describe_gauge!(
        "madang_actor_mailbox_depth",
        "calls that are accepted and not yet handled, by kind"
    );
    describe_gauge!("madang_actor_live", "actors that are running, by kind");
    describe_histogram!("madang_store_group_size", "SQLite writes that shared one commit");
}

fn describe_cluster() {
    describe_gauge!("madang_link_up", "1 while the other nodes are heard, 0 while they are not");
    describe_counter!("madang_link_published_total", "packets that were published to other nodes");
    describe_counter!("madang_link_heard_total", "packets of other nodes that were heard");
    describe_counter!(
        "madang_link_dropped_total",
        "packets that were not published: the link was down, or too much waited"
    );
    describe_counter!("madang_link_not_understood_total", "packets in no format of this release");
    describe_counter!(
        "madang_hub_messages_dropped_total",
        "messages that a full hub did without, and finds out later"
    );
    describe_gauge!("madang_nodes_living", "nodes that live, as this one knows it");
    describe_counter!(
        "madang_node_lease_failures_total",
        "times that this node could not renew its lease"
    );
}

fn describe_post() {
    describe_counter!(
        "madang_deliveries_total",
        "letters that were settled, by medium and outcome: an end, `retried` or `put_off`"
    );
    describe_histogram!(
        "madang_delivery_duration_seconds",
        "how long a provider took to answer, by medium"
    );
    describe_gauge!("madang_deliveries_queued", "letters in the queue of a medium, in the cluster");
    describe_gauge!("madang_deliveries_dead", "dead letters of a medium, in the cluster");
    describe_gauge!(
        "madang_deliveries_overdue_seconds",
        "seconds for which the letter that waits longest has been due, in the cluster"
    );
    describe_counter!(
        "madang_webhook_deliveries_total",
        "events for webhook endpoints, one for each that wants it"
    );
    describe_counter!(
        "madang_webhook_events_dropped_total",
        "events that an endpoint wanted and is not sent, by reason"
    );
    describe_gauge!("madang_delivery_routes_down", "ways out that this node leaves alone");
}

fn describe_payments() {
    describe_counter!(
        "madang_payment_webhooks_total",
        "webhooks of payment providers, by provider, trust and what became of them"
    );
    describe_counter!(
        "madang_idempotency_total",
        "requests under a key: new, replay, conflict (in flight) and mismatch (another body)"
    );
    describe_counter!(
        "madang_ledger_txn_total",
        "entries of the ledger, by kind; one that was undone counts as well"
    );
    describe_counter!("madang_ledger_refused_total", "entries that the books refused, by reason");
    describe_histogram!(
        "madang_provider_call_seconds",
        "how long payment providers took, by provider, operation and what came of it"
    );
    describe_gauge!(
        "madang_ledger_selfcheck_ok",
        "1 while every account agrees with its transfers, 0 where one does not, as of the last check by this node"
    );
}

fn describe_settlements() {
    describe_gauge!(
        "madang_calendar_days_left",
        "days that the calendar of business days still knows; payees are not paid over others"
    );
}

fn describe_workflows() {
    describe_gauge!(
        "madang_wf_open",
        "workflows that have not ended, by kind and status, in the cluster"
    );
    describe_gauge!("madang_wf_parked", "workflows that somebody has to look at, in the cluster");
    describe_gauge!(
        "madang_wf_oldest_ready_seconds",
        "seconds for which the workflow that waits longest has been due, in the cluster"
    );
    describe_counter!("madang_wf_step_retries_total", "steps that were begun before, by kind");
    describe_counter!(
        "madang_wf_fenced_total",
        "times that a node went on with a workflow that was another's by then, and changed nothing"
    );
    describe_counter!(
        "madang_payments_total",
        "changes of payments, by provider, statuses and cause; one that was undone counts as well"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_installation_renders_the_same_metrics() {
        let (first, second) = (install().unwrap(), install().unwrap());
        metrics::histogram!("madang_test_seconds").record(0.003);

        assert!(first.render().contains("madang_build_info{version=\""));
        assert!(second.render().contains("madang_test_seconds_bucket{le=\"0.005\"} 1"));
    }
}
