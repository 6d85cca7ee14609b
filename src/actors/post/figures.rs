//! Figures of the post: how full the queues are, and how many ways out are down.
//!
//! Every node tells the same of the queues, which are in the database: take the maximum over nodes, not the sum. Nothing
//! is written for it.

use std::time::Duration;

use tokio::sync::watch;

use super::Clock;
use super::routes::Routes;
use crate::domain::media::Medium;
use crate::domain::time::Timestamp;
use crate::store::Store;

const INTERVAL: Duration = Duration::from_secs(10);
/// Letters that are counted in each queue; more are told as so many.
const COUNT_MAX: i64 = 100_000;

pub(super) async fn count(
    store: Store,
    routes: Vec<(Medium, Routes)>,
    clock: Clock,
    mut stopped: watch::Receiver<bool>,
) {
    loop {
        match store.list_queue_figures(COUNT_MAX).await {
            Ok(figures) => {
                for figures in figures {
                    let medium = figures.medium.as_str();
                    let age = age(figures.oldest_due_at, clock());
                    metrics::gauge!("madang_deliveries_queued", "medium" => medium)
                        .set(gauge(figures.queued));
                    metrics::gauge!("madang_deliveries_dead", "medium" => medium)
                        .set(gauge(figures.dead));
                    metrics::gauge!("madang_deliveries_overdue_seconds", "medium" => medium)
                        .set(age);
                }
            }
            Err(error) => tracing::warn!(%error, "nobody knows how full the queues are"),
        }
        for (medium, routes) in &routes {
            let down = u32::try_from(routes.closed().len()).unwrap_or(u32::MAX);
            metrics::gauge!("madang_delivery_routes_down", "medium" => medium.as_str())
                .set(f64::from(down));
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            _ = stopped.changed() => return,
        }
    }
}

/// Seconds for which the letter that waits longest has been due.
fn age(oldest_due_at: Option<Timestamp>, now: Timestamp) -> f64 {
    oldest_due_at.map_or(0.0, |due_at| now.since(due_at).as_secs_f64())
}

fn gauge(count: i64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}
