//! Sending: an administrator or another server has users notified of something of its own.

use actix_web::http::header::{HeaderName, HeaderValue};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use utoipa::ToSchema;
use uuid::Uuid;

use crate::actors::notify::words::{Words, WordsError};
use crate::clock;
use crate::domain::accounts::Role;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::notifications::{
    Audience, DATA_BYTES_MAX, GROUP_CHARS_MAX, NAMED_MAX, NotificationError, Occasion, Segment,
    derived_id, parse_key,
};
use crate::domain::preferences::{Offer, facts_of};
use crate::domain::templates::NotificationKind;
use crate::domain::time::Timestamp;
use crate::error::{ApiError, ApiResult};
use crate::http::service::NotificationSender;
use crate::http::views::{ChangeRefusals, ReadRefusals, RoleRefusals, WriteRefusals};
use crate::store::Store;
use crate::store::notifications::requests::{FanoutRow, RequestOutcome, Requested};

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
    /// Who causes it: they are not told, nor whoever has blocked them or whom they have blocked. `data.actor` is theirs then.
    #[serde(skip_serializing_if = "Option::is_none")]
    actor: Option<UserId>,
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
    /// Everybody of whom all of this is true.
    #[serde(skip_serializing_if = "Option::is_none")]
    segment: Option<SegmentBody>,
    /// `true`: every user.
    everyone: Option<bool>,
}

/// At least one of these.
#[derive(Debug, Deserialize, Serialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SegmentBody {
    /// The language they have chosen; `en` where they have not.
    #[schema(example = "ko")]
    locale: Option<String>,
    /// They registered then or later.
    registered_after: Option<Timestamp>,
    /// They registered earlier.
    registered_before: Option<Timestamp>,
    /// They were online then or later.
    seen_since: Option<Timestamp>,
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
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
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
    security(("bearer" = []), ("service_key" = [], "service_name" = [])),
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
    check_media(&body)?;
    if body.group.as_deref().is_some_and(|group| !is_group(group)) {
        return Err(NotificationError::InvalidGroup);
    }
    let mut params = body.data;
    if params.iter().any(|(name, value)| name.contains('\0') || has_nul(value)) {
        return Err(NotificationError::InvalidData);
    }
    if let Some(actor) = body.actor {
        params.insert("actor".to_owned(), json!({ "id": actor }));
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
        actor: body.actor,
        params,
        media: body.media,
        group_key: body.group,
        message: None,
        first_seq: None,
        messages: 0,
        at: now,
    };
    let hash = Sha256::digest(text).into();
    Ok(Requested { occasion, by, hash, due_at: body.send_at.unwrap_or(now).max(now) })
}

/// Whether it goes out by something, and by nothing that this type never goes by.
fn check_media(body: &SendBody) -> Result<(), NotificationError> {
    let Some(media) = &body.media else { return Ok(()) };
    let facts = facts_of(&body.kind);
    if media.is_empty() || media.iter().any(|medium| facts.offer(*medium) == Offer::Never) {
        return Err(NotificationError::InvalidMedia);
    }
    Ok(())
}

fn is_group(group: &str) -> bool {
    (1..=GROUP_CHARS_MAX).contains(&group.chars().count()) && !group.contains('\0')
}

/// Whether there is a text with NUL in it, which nobody means, and PostgreSQL does not keep.
fn has_nul(value: &Value) -> bool {
    match value {
        Value::String(text) => text.contains('\0'),
        Value::Array(items) => items.iter().any(has_nul),
        Value::Object(fields) => {
            fields.iter().any(|(name, value)| name.contains('\0') || has_nul(value))
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

impl ToBody {
    fn audience(self) -> Result<Audience, NotificationError> {
        match (self.user_ids, self.role, self.segment, self.everyone) {
            (Some(users), None, None, None) if (1..=NAMED_MAX).contains(&users.len()) => {
                Ok(Audience::Users { users })
            }
            (None, Some(role), None, None) => Ok(Audience::Role { role }),
            (None, None, Some(segment), None) => {
                Ok(Audience::Segment { segment: segment.try_into()? })
            }
            (None, None, None, Some(true)) => Ok(Audience::Everyone),
            _ => Err(NotificationError::InvalidAudience),
        }
    }
}

impl TryFrom<SegmentBody> for Segment {
    type Error = NotificationError;

    fn try_from(body: SegmentBody) -> Result<Self, NotificationError> {
        let SegmentBody { locale, registered_after, registered_before, seen_since } = body;
        let tag = |text: String| {
            let locale = Locale::parse(&text).ok_or(NotificationError::InvalidAudience)?;
            Ok(locale.as_str().to_owned())
        };
        let locale = locale.map(tag).transpose()?;
        let segment = Self { locale, registered_after, registered_before, seen_since };
        segment.is_sound().then_some(segment).ok_or(NotificationError::InvalidAudience)
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
            json!({ "segment": {} }),
            json!({ "segment": { "locale": "no locale" } }),
            json!({ "segment": { "locale": "ko" }, "everyone": true }),
            json!({ "segment": { "registered_after": "2026-01-02T00:00:00Z",
                                 "registered_before": "2026-01-01T00:00:00Z" } }),
        ] {
            let body = json!({ "type": "a", "to": to });
            assert_eq!(refused(body), NotificationError::InvalidAudience);
        }
        let large = to_everyone(json!({ "text": "a".repeat(9_000) }));
        assert_eq!(refused(large), NotificationError::DataTooLarge);
        for (kind, medium) in
            [("a", json!(["webhook"])), ("a", json!([])), ("welcome", json!(["push"]))]
        {
            let media = json!({ "type": kind, "to": { "everyone": true }, "media": medium });
            assert_eq!(refused(media), NotificationError::InvalidMedia);
        }
    }

    #[test]
    fn what_cannot_be_kept_is_refused_and_nothing_is_cut() {
        let refused = |body| request(body, None).unwrap_err();
        let grouped =
            |group: &str| json!({ "type": "a", "to": { "everyone": true }, "group": group });

        for group in ["", "a\0b", &"가".repeat(201)] {
            assert_eq!(refused(grouped(group)), NotificationError::InvalidGroup);
        }
        let long = "가".repeat(200);
        let kept = request(grouped(&long), None).unwrap();
        assert_eq!(kept.occasion.group_key, Some(long));
        for data in [json!({ "a\0": 1 }), json!({ "a": [{ "b": "\0" }] })] {
            assert_eq!(refused(to_everyone(data)), NotificationError::InvalidData);
        }
    }

    #[test]
    fn whoever_causes_it_is_named_by_the_server() {
        let id = UserId::from(Uuid::from_u128(7));
        let body = json!({ "type": "a", "to": { "everyone": true }, "actor": id,
                           "data": { "actor": "somebody else" } });
        let asked = request(body, None).unwrap().occasion;

        assert_eq!(asked.actor, Some(id));
        assert_eq!(asked.params["actor"], json!({ "id": id }));
    }
}
