//! Notifications over HTTP: the caller's own list, and reading, archiving and deleting, on every device at once.

mod dead;
pub mod send;
mod view;

use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpResponse, delete, get, post, put};
use serde::{Deserialize, Serialize};
use utoipa::{OpenApi, ToSchema};

use self::view::{ListQuery, NotificationView};
use super::caller::Caller;
use super::page::{Cursor, decode, encode};
use super::views::{ChangeRefusals, ReadRefusals, WriteRefusals};
use crate::actors::inbox::Inboxes;
use crate::clock;
use crate::domain::ids::{NotificationId, UserId};
use crate::domain::notifications::{CHANGED_MAX, NotificationError};
use crate::domain::rooms::Seq;
use crate::domain::templates::NotificationKind;
use crate::error::{ApiError, ApiResult};
use crate::store::notifications::changes::{Change, Changed, Which};
use crate::store::{Store, StoreError};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    // What is literal comes before what takes an id.
    cfg.service(list_notifications)
        .service(count_unread)
        .service(read_notifications)
        .service(archive_notifications)
        .configure(send::routes)
        .configure(dead::routes)
        .service(read_notification)
        .service(archive_notification)
        .service(restore_notification)
        .service(delete_notification);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    list_notifications,
    count_unread,
    read_notifications,
    archive_notifications,
    read_notification,
    archive_notification,
    restore_notification,
    delete_notification,
    send::send_notification,
    send::read_sending,
    dead::list_dead,
    dead::replay_dead,
))]
pub struct Doc;

/// A page of notifications.
#[derive(Serialize, ToSchema)]
struct NotificationsView {
    items: Vec<NotificationView>,
    /// In the whole inbox, counted up to 1,000.
    unread_count: i64,
    next_cursor: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct UnreadView {
    /// In the whole inbox, counted up to 1,000.
    unread_count: i64,
}

/// What a change came to.
#[derive(Serialize, ToSchema)]
struct ChangedView {
    /// Those that are different now, of those that were named.
    ids: Vec<NotificationId>,
    /// Up to where everything in the inbox is as wanted, where a place was given.
    #[serde(skip_serializing_if = "Option::is_none")]
    up_to_seq: Option<Seq>,
    /// In the whole inbox, counted up to 1,000.
    unread_count: i64,
}

/// Which notifications are meant: some of them, or all up to one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WhichBody {
    /// At most 200.
    ids: Option<Vec<NotificationId>>,
    /// The `seq` of the newest one that is meant: what comes meanwhile is not.
    up_to_seq: Option<Seq>,
}

/// The caller's notifications, the newest first.
#[utoipa::path(
    tag = "notifications",
    params(ListQuery),
    security(("bearer" = [])),
    responses((status = 200, body = NotificationsView), ReadRefusals),
)]
#[get("/notifications")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_notifications(
    caller: Caller,
    query: web::Query<ListQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<NotificationsView>> {
    let ListQuery { cursor, limit, status, kind } = query.into_inner();
    let before: Option<SeqCursor> = cursor.as_deref().map(decode).transpose()?;
    let before = before.map(|cursor| cursor.0);
    let kind = kind.as_deref().map(NotificationKind::parse).transpose();
    let kind = kind.map_err(|_| NotificationError::UnknownType)?;
    let kind = kind.map(|kind| kind.as_str().to_owned());
    let (user, shelf) = (caller.user_id, status.into());
    let mut found = store.list_notifications(user, shelf, kind, before, limit.with_probe()).await?;
    let has_more = found.len() > limit.items();
    found.truncate(limit.items());
    let next_cursor = found.last().filter(|_| has_more).map(|last| encode(&SeqCursor(last.seq)));
    let unread_count = store.count_unread_notifications(user).await?;
    let items = found.into_iter().map(NotificationView::from).collect();

    Ok(web::Json(NotificationsView { items, unread_count, next_cursor }))
}

/// How many of the caller's notifications are unread.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = UnreadView), ReadRefusals),
)]
#[get("/notifications/unread-count")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn count_unread(caller: Caller, store: web::Data<Store>) -> ApiResult<web::Json<UnreadView>> {
    let unread_count = store.count_unread_notifications(caller.user_id).await?;

    Ok(web::Json(UnreadView { unread_count }))
}

/// Marks notifications as read: some, or everything up to one.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = ChangedView), ChangeRefusals, WriteRefusals),
)]
#[post("/notifications/read")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_notifications(
    caller: Caller,
    body: web::Json<WhichBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<web::Json<ChangedView>> {
    let which = Which::try_from(body.into_inner())?;
    let changed = change(&store, &inboxes, caller.user_id, which, Change::Read).await?;

    Ok(web::Json(changed.into()))
}

/// Archives notifications: some, or everything up to one.
#[utoipa::path(
    tag = "notifications",
    security(("bearer" = [])),
    responses((status = 200, body = ChangedView), ChangeRefusals, WriteRefusals),
)]
#[post("/notifications/archive")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn archive_notifications(
    caller: Caller,
    body: web::Json<WhichBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<web::Json<ChangedView>> {
    let which = Which::try_from(body.into_inner())?;
    let changed = change(&store, &inboxes, caller.user_id, which, Change::Archive).await?;

    Ok(web::Json(changed.into()))
}

/// Marks one notification as read.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangedView), ChangeRefusals),
)]
#[put("/notifications/{id}/read")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_notification(
    caller: Caller,
    id: web::Path<NotificationId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<web::Json<ChangedView>> {
    let which = Which::These(vec![*id]);
    let changed = change(&store, &inboxes, caller.user_id, which, Change::Read).await?;

    Ok(web::Json(changed.into()))
}

/// Puts one notification away; it is kept.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangedView), ChangeRefusals),
)]
#[put("/notifications/{id}/archive")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn archive_notification(
    caller: Caller,
    id: web::Path<NotificationId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<web::Json<ChangedView>> {
    let which = Which::These(vec![*id]);
    let changed = change(&store, &inboxes, caller.user_id, which, Change::Archive).await?;

    Ok(web::Json(changed.into()))
}

/// Brings an archived notification back into the inbox.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = ChangedView), ChangeRefusals),
)]
#[delete("/notifications/{id}/archive")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn restore_notification(
    caller: Caller,
    id: web::Path<NotificationId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<web::Json<ChangedView>> {
    let which = Which::These(vec![*id]);
    let changed = change(&store, &inboxes, caller.user_id, which, Change::Restore).await?;

    Ok(web::Json(changed.into()))
}

/// Deletes one notification for good, with what it said.
#[utoipa::path(
    tag = "notifications",
    params(("id" = NotificationId, Path)),
    security(("bearer" = [])),
    responses((status = 204, description = "Done"), ChangeRefusals),
)]
#[delete("/notifications/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_notification(
    caller: Caller,
    id: web::Path<NotificationId>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
) -> ApiResult<HttpResponse> {
    let which = Which::These(vec![*id]);
    change(&store, &inboxes, caller.user_id, which, Change::Delete).await?;

    Ok(HttpResponse::NoContent().finish())
}

/// Does it, and tells the caller's devices.
async fn change(
    store: &Store,
    inboxes: &Inboxes,
    user: UserId,
    which: Which,
    change: Change,
) -> ApiResult<Changed> {
    let changed = store.change_notifications(user, which, change, clock::now()).await;
    let changed = changed.map_err(|error| match error {
        StoreError::NotFound => ApiError::Notification(NotificationError::NotFound),
        other => ApiError::Store(other),
    })?;
    inboxes.deliver(&changed.events).await;
    Ok(changed)
}

impl TryFrom<WhichBody> for Which {
    type Error = NotificationError;

    fn try_from(body: WhichBody) -> Result<Self, NotificationError> {
        match (body.ids, body.up_to_seq) {
            (Some(ids), None) if (1..=CHANGED_MAX).contains(&ids.len()) => Ok(Self::These(ids)),
            (None, Some(seq)) if seq >= 0 => Ok(Self::UpTo(seq)),
            _ => Err(NotificationError::InvalidChange),
        }
    }
}

impl From<Changed> for ChangedView {
    fn from(changed: Changed) -> Self {
        let Changed { ids, up_to, unread_count, .. } = changed;
        Self { ids, up_to_seq: up_to, unread_count }
    }
}

/// Where the next page begins: below this place in the inbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeqCursor(Seq);

impl Cursor for SeqCursor {
    fn to_text(&self) -> String {
        self.0.to_string()
    }

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok().filter(|seq| *seq > 0).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn which(body: serde_json::Value) -> Result<Which, NotificationError> {
        serde_json::from_value::<WhichBody>(body).unwrap().try_into()
    }

    #[test]
    fn some_are_meant_or_all_up_to_one() {
        let id = NotificationId::from(uuid::Uuid::from_u128(7));

        assert_eq!(which(json!({ "ids": [id] })), Ok(Which::These(vec![id])));
        assert_eq!(which(json!({ "up_to_seq": 9 })), Ok(Which::UpTo(9)));
        for neither in [
            json!({}),
            json!({ "ids": [] }),
            json!({ "ids": vec![id; 201] }),
            json!({ "ids": [id], "up_to_seq": 9 }),
            json!({ "up_to_seq": -1 }),
        ] {
            assert_eq!(which(neither), Err(NotificationError::InvalidChange));
        }
    }
}
