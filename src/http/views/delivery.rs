//! Letters as administrators see them: what became of each, and never what it says.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::actors::post::routes::RouteView;
use crate::domain::breaker::BreakerState;
use crate::domain::deliveries::DeliveryStatus;
use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::media::Medium;
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::http::page::{Cursor, Limit};
use crate::store::deliveries::log::{DeliveryCursor, LoggedAttempt, LoggedDelivery};

/// Which letters; what is left out may be anything.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct DeliveriesQuery {
    pub status: Option<DeliveryStatus>,
    pub medium: Option<Medium>,
    /// To whom.
    pub user_id: Option<UserId>,
    /// The device or the webhook endpoint.
    pub target_id: Option<Uuid>,
    /// The kind of notification, or the name of the domain event.
    pub kind: Option<String>,
    /// The `next_cursor` of the page before; the first page without.
    pub cursor: Option<String>,
    /// How many items at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub limit: Limit,
}

/// Which letters of the development outbox.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct OutboxQuery {
    /// Every medium without.
    pub medium: Option<Medium>,
    /// How many at most.
    #[serde(default)]
    #[param(value_type = i64, required = false, minimum = 1, maximum = 200, default = 50)]
    pub limit: Limit,
}

/// Which dead letters to replay; what is left out may be anything.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplayBody {
    pub medium: Option<Medium>,
    pub kind: Option<String>,
    /// Only those that were wanted before then.
    pub before: Option<Timestamp>,
}

/// What came of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReplayedView {
    /// How many letters are in their queues again; at most 1,000 at once.
    pub replayed: u64,
    /// Whether there may be more.
    pub has_more: bool,
}

/// A letter, without what it says.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryView {
    pub id: DeliveryId,
    pub medium: Medium,
    /// The kind of notification, or the name of the domain event.
    pub kind: String,
    /// To whom; null for another system.
    pub user_id: Option<UserId>,
    /// The notification in the user's inbox that it tells of.
    #[schema(value_type = Option<i64>)]
    pub seq: Option<Seq>,
    /// The device or the webhook endpoint.
    pub target_id: Option<Uuid>,
    pub status: DeliveryStatus,
    /// Why it is not delivered, or waits.
    #[schema(example = "attempts_used_up")]
    pub reason: Option<String>,
    /// Who was asked last.
    pub provider: Option<String>,
    /// What the provider calls it.
    pub provider_id: Option<String>,
    /// Attempts that count.
    pub attempts: i64,
    pub created_at: Timestamp,
    /// When it is attempted, or was last due.
    pub due_at: Timestamp,
    pub finished_at: Option<Timestamp>,
}

/// A letter with every attempt at it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetailsView {
    #[serde(flatten)]
    pub delivery: DeliveryView,
    /// In order; the latest 200.
    pub log: Vec<AttemptView>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct AttemptView {
    pub began_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// `taken`, `unavailable`, `deferred`, `refused`, `gone`, `misconfigured`, `poison`, `failed` or `lost`; null while it
    /// lasts.
    #[schema(example = "unavailable")]
    pub outcome: Option<String>,
    /// What the provider said, or what was wrong.
    pub detail: Option<String>,
}

/// Every medium that leads out.
#[derive(Debug, Serialize, ToSchema)]
pub struct MediaView {
    pub items: Vec<MediumView>,
}

/// A medium: its queue, and how this node delivers.
#[derive(Debug, Serialize, ToSchema)]
pub struct MediumView {
    pub medium: Medium,
    /// Who delivers; null where there is no provider, and nothing is sent.
    pub provider: Option<String>,
    /// Letters in the queue, counted up to 100,000.
    pub queued: i64,
    /// When the letter that waits longest was, or is, due.
    pub oldest_due_at: Option<Timestamp>,
    /// Dead letters, counted up to 100,000.
    pub dead: i64,
    /// Letters that this node has on their way.
    pub busy: usize,
    /// The ways out that this node leaves alone for now.
    pub routes_down: Vec<RouteDownView>,
}

/// A way out that is not open.
#[derive(Debug, Serialize, ToSchema)]
pub struct RouteDownView {
    #[schema(example = "smtp")]
    pub route: String,
    /// Until when nothing is tried; null while one letter finds out whether it is open again.
    pub until: Option<Timestamp>,
}

impl From<LoggedDelivery> for DeliveryView {
    fn from(delivery: LoggedDelivery) -> Self {
        Self {
            id: delivery.id,
            medium: delivery.medium,
            kind: delivery.kind,
            user_id: delivery.user,
            seq: delivery.seq,
            target_id: delivery.target,
            status: delivery.status,
            reason: delivery.reason,
            provider: delivery.provider,
            provider_id: delivery.provider_id,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            due_at: delivery.due_at,
            finished_at: delivery.finished_at,
        }
    }
}

impl From<LoggedAttempt> for AttemptView {
    fn from(attempt: LoggedAttempt) -> Self {
        let LoggedAttempt { began_at, ended_at, outcome, detail } = attempt;
        Self { began_at, ended_at, outcome, detail }
    }
}

impl From<RouteView> for RouteDownView {
    fn from(view: RouteView) -> Self {
        let until = match view.state {
            BreakerState::Open { until } => Some(until),
            BreakerState::Closed | BreakerState::HalfOpen => None,
        };
        Self { route: view.route, until }
    }
}

impl Cursor for DeliveryCursor {
    fn to_text(&self) -> String {
        format!("{}.{}", self.created_at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (created_at, id) = text.split_once('.')?;
        let created_at = Timestamp::from_millis(created_at.parse().ok()?);
        Some(Self { created_at, id: id.parse().ok()? })
    }
}
