//! Where a piece of work came from: the request id and trace context that logs, events and outward calls carry.

use std::sync::Arc;

tokio::task_local! {
    static ORIGIN: Origin;
}

/// Taken in at the edge, carried to whatever is done because of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// `X-Request-Id`, taken in or made.
    pub request_id: Option<Arc<str>>,
    /// W3C `traceparent`, as it came in.
    pub traceparent: Option<Arc<str>>,
}

/// The origin of the work that is running; empty outside any request.
#[must_use]
pub fn current() -> Origin {
    ORIGIN.try_with(Clone::clone).unwrap_or_default()
}

/// Runs `work` as coming from `origin`.
pub async fn scope<F: Future>(origin: Origin, work: F) -> F::Output {
    ORIGIN.scope(origin, work).await
}
