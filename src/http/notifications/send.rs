//! Sending: an administrator or another server has users notified of something of its own.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::actors::notify::words::{Words, WordsError};
use crate::clock;
use crate::domain::accounts::Role;
use crate::domain::ids::UserId;
use crate::domain::media::Medium;
use crate::domain::notifications::{
    Audience, DATA_BYTES_MAX, NAMED_MAX, NotificationError, Occasion, derived_id, parse_key,
};
use crate::domain::preferences::facts_of;
use crate::domain::templates::NotificationKind;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::service::NotificationSender;
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::store::Store;
use crate::store::notifications::fanouts::{FanoutRow, RequestOutcome, Requested};

const IDEMPOTENCY_KEY: &str = "idempotency-key";
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(super) fn routes(cfg: &mut ServiceConfig) {
    cfg.service(send_notification).service(read_sending);
}

/// What is sent, and to whom.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SendBody {
    /// A type that has a template.
    #[serde(rename = "type")]
    #[schema(example = "order.shipped")]
    kind: String,
    to: ToBody,
    /// For the template and for clients; at most 8 KiB.
    #[serde(default)]
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    /// Only through these; left out: what the type and the recipient's preferences say.
    media: Option<Vec<Medium>>,
    /// What belongs together: later notifications with the same group are about the same thing.
    #[schema(max_length = 200)]
    group: Option<String>,
    /// Not before then.
    send_at: Option<Timestamp>,
}

/// Exactly one of these.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ToBody {
    /// 1 to 1,000; who has no account is left out.
    user_ids: Option<Vec<UserId>>,
    role: Option<Role>,
    /// `true`: every user.
    everyone: Option<bool>,
}

/// A sending as it stands.
#[derive(Serialize, ToSchema)]
struct SendingView {
    id: Uuid,
    #[serde(rename = "type")]
    kind: String,
    /// `queued`, `done`, or `dead` with a reason.
    #[schema(example = "queued")]
    status: String,
    reason: Option<String>,
    /// How many users have been told so far.
    notified: i64,
    send_at: Timestamp,
    created_at: Timestamp,
    finished_at: Option<Timestamp>,
}

/// Has users notified.
///
/// Accepted is kept: everybody is told once, whatever happens to the server meanwhile. With an `Idempotency-Key`, the same
/// request again is the same sending.
#[utoipa::path(
    tag = "notifications",
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible characters, one for each sending")),
    security(("bearer" = []), ("service_key" = [])),
    responses(
        (status = 202, description = "Accepted, now or (`Idempotent-Replayed: true`) before", body = SendingView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/notifications/send")]
#[tracing::instrument(skip_all, fields(sender = %sender.0.label()))]
pub(super) async fn send_notification(
    sender: NotificationSender,
    request: HttpRequest,
    body: web::Json<SendBody>,
    words: web::Data<Words>,
    store: web::Data<Store>,
) -> ApiResult<HttpResponse> {
    let (now, by) = (clock::now(), sender.0.label());
    let key = request.headers().get(IDEMPOTENCY_KEY).map(key_of).transpose()?;
    let requested = requested(body.into_inner(), key.as_deref(), by, now)?;
    require_template(&words, &requested.occasion.kind).await?;
    let id = requested.occasion.id;
    let outcome = store.insert_requested_fanout(requested, now).await?;
    let sending = store.find_fanout(id).await?.ok_or(ApiError::Internal)?;
    let mut response = HttpResponse::Accepted();
    match outcome {
        RequestOutcome::Accepted => {}
        RequestOutcome::Repeated => {
            response.insert_header((REPLAYED, HeaderValue::from_static("true")));
        }
        RequestOutcome::Conflict => return Err(NotificationError::KeyReused.into()),
    }

    Ok(response.json(SendingView::from(sending)))
}

/// How far a sending of the caller's has come.
#[utoipa::path(
    tag = "notifications",
    params(("id" = Uuid, Path)),
    security(("bearer" = []), ("service_key" = [])),
    responses((status = 200, body = SendingView), ReadRefusals, RoleRefusals),
)]
#[get("/notifications/send/{id}")]
#[tracing::instrument(skip_all, fields(sender = %sender.0.label()))]
pub(super) async fn read_sending(
    sender: NotificationSender,
    id: web::Path<Uuid>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<SendingView>> {
    let by = sender.0.label();
    let sending = store.find_fanout(*id).await?;
    let own = sending.filter(|sending| sending.requested_by.as_deref() == Some(by.as_str()));

    Ok(web::Json(own.ok_or(NotificationError::NotFound)?.into()))
}

async fn require_template(words: &Words, kind: &str) -> ApiResult<()> {
    match words.template(kind, "en").await {
        Ok(_) => Ok(()),
        Err(WordsError::Store(error)) => Err(error.into()),
        Err(WordsError::Poison(_)) => Err(NotificationError::UnknownType.into()),
    }
}

fn key_of(value: &HeaderValue) -> Result<String, NotificationError> {
    let text = value.to_str().map_err(|_| NotificationError::InvalidKey)?;
    parse_key(text).map(str::to_owned)
}

fn requested(
    body: SendBody,
    key: Option<&str>,
    by: String,
    now: Timestamp,
) -> Result<Requested, NotificationError> {
    let kind = NotificationKind::parse(&body.kind).map_err(|_| NotificationError::UnknownType)?;
    if facts_of(kind.as_str()).is_critical || kind.as_str() == "digest" {
        return Err(NotificationError::ReservedType);
    }
    let text = serde_json::to_string(&body).unwrap_or_default();
    let data = serde_json::to_string(&body.data).unwrap_or_default();
    if data.len() > DATA_BYTES_MAX {
        return Err(NotificationError::DataTooLarge);
    }
    let media = body.media.as_deref().unwrap_or(&Medium::OF_USERS);
    if media.is_empty() || media.contains(&Medium::Webhook) {
        return Err(NotificationError::InvalidMedia);
    }
    let audience = body.to.audience()?;
    // Without the time: the same key is the same sending whenever it is repeated.
    let start = Timestamp::from_millis(0);
    let id = key.map_or_else(clock::new_uuid, |key| {
        derived_id(start, &[b"send", by.as_bytes(), key.as_bytes()])
    });
    let occasion = Occasion {
        id,
        kind: kind.as_str().to_owned(),
        audience,
        actor: None,
        params: body.data,
        media: body.media,
        group_key: body.group.map(|group| group.chars().take(200).collect()),
        message: None,
        messages: 0,
        at: now,
    };
    let hash = Sha256::digest(text).into();
    Ok(Requested { occasion, by, hash, due_at: body.send_at.unwrap_or(now).max(now) })
}

impl ToBody {
    fn audience(self) -> Result<Audience, NotificationError> {
        match (self.user_ids, self.role, self.everyone) {
            (Some(users), None, None) if (1..=NAMED_MAX).contains(&users.len()) => {
                Ok(Audience::Users { users })
            }
            (None, Some(role), None) => Ok(Audience::Role { role }),
            (None, None, Some(true)) => Ok(Audience::Everyone),
            _ => Err(NotificationError::InvalidAudience),
        }
    }
}

impl From<FanoutRow> for SendingView {
    fn from(row: FanoutRow) -> Self {
        Self {
            id: row.id,
            kind: row.kind,
            status: row.status,
            reason: row.reason,
            notified: row.notified,
            send_at: Timestamp::from_millis(row.due_at),
            created_at: Timestamp::from_millis(row.created_at),
            finished_at: row.finished_at.map(Timestamp::from_millis),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(body: Value, key: Option<&str>) -> Result<Requested, NotificationError> {
        let body = serde_json::from_value(body).unwrap();
        requested(body, key, "service:x".to_owned(), Timestamp::from_millis(1_000))
    }

    fn to_everyone(data: Value) -> Value {
        json!({ "type": "order.shipped", "to": { "everyone": true }, "data": data })
    }

    #[test]
    fn a_key_is_one_sending_and_another_body_is_another_request() {
        let first = request(to_everyone(json!({ "n": 1 })), Some("k")).unwrap();
        let again = request(to_everyone(json!({ "n": 1 })), Some("k")).unwrap();
        let other = request(to_everyone(json!({ "n": 2 })), Some("k")).unwrap();

        assert_eq!((first.occasion.id, first.hash), (again.occasion.id, again.hash));
        assert_eq!(first.occasion.id, other.occasion.id);
        assert_ne!(first.hash, other.hash);
        let without = request(to_everyone(json!({ "n": 1 })), None).unwrap();
        assert_ne!(without.occasion.id, first.occasion.id);
    }

    #[test]
    fn what_cannot_be_sent_is_refused_with_its_reason() {
        let refused = |body| request(body, None).unwrap_err();
        let id = Uuid::from_u128(1);

        let kind = |kind: &str| json!({ "type": kind, "to": { "everyone": true } });
        assert_eq!(refused(kind("No Kind")), NotificationError::UnknownType);
        assert_eq!(refused(kind("reset_password")), NotificationError::ReservedType);
        for to in [
            json!({}),
            json!({ "user_ids": [] }),
            json!({ "user_ids": vec![id; 1_001] }),
            json!({ "everyone": false }),
            json!({ "everyone": true, "role": "ADMIN" }),
        ] {
            let body = json!({ "type": "a", "to": to });
            assert_eq!(refused(body), NotificationError::InvalidAudience);
        }
        let large = to_everyone(json!({ "text": "a".repeat(9_000) }));
        assert_eq!(refused(large), NotificationError::DataTooLarge);
        let media = json!({ "type": "a", "to": { "everyone": true }, "media": ["webhook"] });
        assert_eq!(refused(media), NotificationError::InvalidMedia);
    }
}
