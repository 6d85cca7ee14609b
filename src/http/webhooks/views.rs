//! What clients write and read of webhook endpoints.

use secrecy::SecretString;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::domain::ids::{DeliveryId, EndpointId};
use crate::domain::time::Timestamp;
use crate::domain::webhooks::{DisableReason, EventFilter};
use crate::http::service_keys::shown;
use crate::store::webhooks::{Endpoint, LoggedDelivery};

/// An endpoint to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointBody {
    /// Where events are posted to: `https`, at a public address.
    #[schema(max_length = 2_048, example = "https://hooks.example.com/madang")]
    pub(super) url: String,
    /// Names of events, topics, or `*` for all.
    #[schema(min_items = 1, max_items = 50, example = json!(["MessageSent", "friend.events"]))]
    pub(super) events: Vec<String>,
    #[serde(default)]
    #[schema(max_length = 500)]
    pub(super) description: String,
}

/// New settings of an endpoint; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EndpointChangeBody {
    #[schema(max_length = 2048)]
    pub(super) url: Option<String>,
    #[schema(min_items = 1, max_items = 50)]
    pub(super) events: Option<Vec<String>>,
    #[schema(max_length = 500)]
    pub(super) description: Option<String>,
    /// False: it is posted nothing. True: it is posted what happens from then on.
    pub(super) enabled: Option<bool>,
}

/// How a secret is replaced.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RotateSecretBody {
    /// Seconds for which the secret before signs as well: a day unless it says otherwise, at most seven.
    #[schema(minimum = 0, maximum = 604_800, default = 86_400)]
    pub(super) overlap_s: Option<u64>,
}

/// What is sent again: one of the two.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookReplayBody {
    /// Everything from then on that did not arrive, at most 1,000 in one call.
    pub(super) since: Option<Timestamp>,
    /// This delivery, whatever became of it.
    pub(super) delivery_id: Option<DeliveryId>,
}

/// An endpoint, as far as it is ever shown again.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EndpointView {
    id: EndpointId,
    url: String,
    events: EventFilter,
    description: String,
    enabled: bool,
    /// Null while it is enabled.
    disabled_reason: Option<DisableReason>,
    /// Until when the secret before signs as well.
    old_secret_until: Option<Timestamp>,
    /// `user:` or `service:` and an id.
    created_by: String,
    created_at: Timestamp,
    updated_at: Timestamp,
}

/// An endpoint that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct NewEndpointView {
    #[serde(flatten)]
    endpoint: EndpointView,
    /// What events are signed with (Standard Webhooks 1.0). Shown now and never again.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, example = "whsec_…")]
    secret: SecretString,
}

/// A secret that was just made.
#[derive(Serialize, ToSchema)]
pub(super) struct SecretView {
    /// Shown now and never again.
    #[serde(serialize_with = "shown")]
    #[schema(value_type = String, example = "whsec_…")]
    pub(super) secret: SecretString,
    /// Until when the one before signs as well.
    pub(super) old_secret_until: Option<Timestamp>,
}

/// A delivery that is in the queue now.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct QueuedView {
    pub(super) delivery_id: DeliveryId,
}

/// What a replay has queued.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookReplayedView {
    #[schema(minimum = 0)]
    pub(super) queued: u64,
    /// Whether there is more that the same call would find.
    pub(super) has_more: bool,
}

/// One delivery to an endpoint.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookDeliveryView {
    /// What receivers find in `webhook-id`.
    id: DeliveryId,
    /// The name of the event.
    #[schema(example = "MessageSent")]
    event: String,
    /// The id of the event; null on a line that was never to be sent.
    event_id: Option<String>,
    /// `queued`, `delivered`, `bounced`, `dead` or `suppressed`.
    #[schema(example = "delivered")]
    status: &'static str,
    /// Why it ended as it did.
    reason: Option<String>,
    attempts: i64,
    created_at: Timestamp,
    /// While it is queued: when it is attempted next.
    next_attempt_at: Option<Timestamp>,
    finished_at: Option<Timestamp>,
    last_attempt_at: Option<Timestamp>,
    /// What the last attempt came to, in a word.
    last_outcome: Option<String>,
    /// The same in the words of the receiver, or of what failed before it.
    last_error: Option<String>,
}

impl From<Endpoint> for EndpointView {
    fn from(endpoint: Endpoint) -> Self {
        Self {
            id: endpoint.id,
            url: endpoint.url,
            events: endpoint.events,
            description: endpoint.description,
            enabled: endpoint.enabled_at.is_some(),
            disabled_reason: endpoint.disabled_reason,
            old_secret_until: endpoint.old_secret_until,
            created_by: endpoint.created_by,
            created_at: endpoint.created_at,
            updated_at: endpoint.updated_at,
        }
    }
}

impl NewEndpointView {
    pub(super) fn new(endpoint: Endpoint, secret: SecretString) -> Self {
        Self { endpoint: endpoint.into(), secret }
    }
}

impl From<LoggedDelivery> for WebhookDeliveryView {
    fn from(delivery: LoggedDelivery) -> Self {
        let is_finished = delivery.finished_at.is_some();
        Self {
            id: delivery.id,
            event: delivery.event,
            event_id: delivery.event_id,
            status: delivery.status.as_str(),
            reason: delivery.reason,
            attempts: delivery.attempts,
            created_at: delivery.created_at,
            next_attempt_at: (!is_finished).then_some(delivery.due_at),
            finished_at: delivery.finished_at,
            last_attempt_at: delivery.last_attempt_at,
            last_outcome: delivery.last_outcome,
            last_error: delivery.last_detail,
        }
    }
}
