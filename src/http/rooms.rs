//! Rooms over HTTP: opening them, the lists that people see, settings, and whether two people already talk.

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{get, patch, post};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use super::caller::Caller;
use super::page::{Cursor, Limit, Page, PageQuery};
use super::views::{
    ChangeRefusals, DirectRoomView, PublicRoomView, ReadRefusals, RoomDetailsView, RoomView,
    WriteRefusals,
};
use super::{room_members, room_notifications};
use crate::actors::inbox::Inboxes;
use crate::actors::room::Rooms;
use crate::clock;
use crate::config::Config;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::{
    Action, AvatarRef, Command, RoomChange, RoomError, RoomName, RoomTopic, Visibility,
};
use crate::domain::time::Timestamp;
use crate::error::ApiResult;
use crate::store::Store;
use crate::store::rooms::{NewGroup, RoomCursor};

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    // What is literal comes before what takes an id.
    cfg.service(create_room)
        .service(list_rooms)
        .service(list_public_rooms)
        .service(read_room)
        .service(update_room)
        .service(check_direct_room)
        .configure(room_members::routes)
        .configure(room_notifications::routes);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    create_room,
    list_rooms,
    list_public_rooms,
    read_room,
    update_room,
    check_direct_room,
    room_members::list_members,
    room_members::invite_member,
    room_members::remove_member,
    room_members::update_member,
    room_members::join_room,
    room_members::leave_room,
    room_notifications::update_room_notifications,
))]
pub struct Doc;

/// A room to open.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
enum NewRoomBody {
    /// The one room of the caller and somebody else.
    Direct {
        /// The other.
        user_id: UserId,
    },
    /// A room of any number of people; the caller becomes its owner.
    Group {
        #[schema(min_length = 1, max_length = 100)]
        name: String,
        /// The other first members; as many as `chat.group_members_max` allows, 5,000 unless configured.
        #[serde(default)]
        member_ids: Vec<UserId>,
        /// `private` unless said otherwise.
        #[serde(default = "private")]
        #[schema(default = "private")]
        visibility: Visibility,
    },
}

/// New settings of a room; what is left out stays as it is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RoomChangeBody {
    #[schema(min_length = 1, max_length = 100)]
    name: Option<String>,
    #[schema(max_length = 500)]
    topic: Option<String>,
    /// A reference to a picture that the app keeps.
    #[schema(max_length = 300)]
    avatar: Option<String>,
    /// Whether read markers become events that everybody in the room sees.
    read_receipts: Option<bool>,
}

/// Opens a room: the direct room with a user, or a group.
///
/// A pair has one direct room for ever: whoever asks again, or at the same time, is given that one.
#[utoipa::path(
    tag = "rooms",
    security(("bearer" = [])),
    responses(
        (status = 201, description = "The room is new", body = RoomDetailsView),
        (status = 200, description = "The direct room that exists", body = RoomDetailsView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/chat/rooms")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn create_room(
    caller: Caller,
    body: web::Json<NewRoomBody>,
    store: web::Data<Store>,
    inboxes: web::Data<Inboxes>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<RoomDetailsView>, StatusCode)> {
    let (now, requirement) = (clock::now(), config.chat.direct_requires_friendship);
    let (room, told) = match body.into_inner() {
        NewRoomBody::Direct { user_id } => {
            let ids = (clock::new_uuid().into(), clock::new_uuid().into());
            store.insert_direct_room(ids, caller.user_id, user_id, requirement, now).await?
        }
        NewRoomBody::Group { name, member_ids, visibility } => {
            let name = RoomName::parse(&name)?;
            let members = others(caller.user_id, member_ids, config.chat.group_members_max)?;
            let group = new_group(caller.user_id, name, visibility, members);
            let room = group.id;
            (room, Some(store.insert_group(group, requirement, now).await?))
        }
    };
    let status = if told.is_some() { StatusCode::CREATED } else { StatusCode::OK };
    inboxes.deliver(&told.unwrap_or_default()).await;

    Ok((web::Json(details(&store, room, caller.user_id).await?), status))
}

/// The caller's rooms, the most recently active first.
#[utoipa::path(
    tag = "rooms",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<RoomView>), ReadRefusals),
)]
#[get("/chat/rooms")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_rooms(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<RoomView>>> {
    let rows = store.list_rooms(caller.user_id, query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |room| RoomCursor {
        last_active_at: room.last_active_at,
        id: room.id,
    })))
}

/// The public channels that anybody may join, the most recently active first.
#[utoipa::path(
    tag = "rooms",
    params(PageQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<PublicRoomView>), ReadRefusals),
)]
#[get("/chat/rooms/public")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_public_rooms(
    caller: Caller,
    query: web::Query<PageQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<PublicRoomView>>> {
    let rows = store.list_public_rooms(query.after()?, query.limit.with_probe()).await?;

    Ok(web::Json(Page::new(rows, query.limit, |room| RoomCursor {
        last_active_at: room.last_active_at,
        id: room.id,
    })))
}

/// One of the caller's rooms, with the first page of its members.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = RoomDetailsView), ReadRefusals),
)]
#[get("/chat/rooms/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn read_room(
    caller: Caller,
    id: web::Path<RoomId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<RoomDetailsView>> {
    Ok(web::Json(details(&store, *id, caller.user_id).await?))
}

/// Changes a group's settings; its moderators and owner may.
#[utoipa::path(
    tag = "rooms",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses((status = 200, body = RoomView), ChangeRefusals, WriteRefusals),
)]
#[patch("/chat/rooms/{id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn update_room(
    caller: Caller,
    id: web::Path<RoomId>,
    body: web::Json<RoomChangeBody>,
    rooms: web::Data<Rooms>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<RoomView>> {
    let change = RoomChange::try_from(body.into_inner())?;
    // Nothing to change is nothing to announce.
    if change != RoomChange::default() {
        let command = Command { actor: caller.user_id, action: Action::Update(change) };
        rooms.append(*id, command).await?;
    }
    let room = store.get_room(*id, caller.user_id).await?;

    Ok(web::Json(room.into()))
}

/// Whether the caller and another user already have a direct room.
#[utoipa::path(
    tag = "rooms",
    params(("participant_id" = UserId, Path, description = "The other user")),
    security(("bearer" = [])),
    responses((status = 200, body = DirectRoomView), ReadRefusals),
)]
#[get("/chat-rooms/check/{participant_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn check_direct_room(
    caller: Caller,
    participant: web::Path<UserId>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<DirectRoomView>> {
    let room = store.find_direct_room(caller.user_id, *participant).await?;

    Ok(web::Json(room.into()))
}

async fn details(store: &Store, room: RoomId, caller: UserId) -> ApiResult<RoomDetailsView> {
    let summary = store.get_room(room, caller).await?;
    let members = room_members::page(store, room, caller, None, Limit::default()).await?;

    Ok(RoomDetailsView::new(summary, members))
}

fn new_group(
    owner: UserId,
    name: RoomName,
    visibility: Visibility,
    members: Vec<UserId>,
) -> NewGroup {
    let (id, event) = (clock::new_uuid().into(), clock::new_uuid().into());
    NewGroup { id, event, owner, name, visibility, members }
}

/// The first members besides the owner, each once.
fn others(
    owner: UserId,
    mut members: Vec<UserId>,
    members_max: usize,
) -> Result<Vec<UserId>, RoomError> {
    members.retain(|user| *user != owner);
    members.sort_unstable();
    members.dedup();
    // The owner takes a place too.
    if members.len() < members_max { Ok(members) } else { Err(RoomError::RoomFull) }
}

const fn private() -> Visibility {
    Visibility::Private
}

impl TryFrom<RoomChangeBody> for RoomChange {
    type Error = RoomError;

    fn try_from(body: RoomChangeBody) -> Result<Self, RoomError> {
        Ok(Self {
            name: body.name.as_deref().map(RoomName::parse).transpose()?,
            topic: body.topic.as_deref().map(RoomTopic::parse).transpose()?,
            avatar: body.avatar.as_deref().map(AvatarRef::parse).transpose()?,
            read_receipts: body.read_receipts,
        })
    }
}

impl Cursor for RoomCursor {
    fn to_text(&self) -> String {
        format!("{}:{}", self.last_active_at.millis(), self.id)
    }

    fn from_text(text: &str) -> Option<Self> {
        let (millis, id) = text.split_once(':')?;
        let last_active_at = Timestamp::from_millis(millis.parse().ok()?);
        Some(Self { last_active_at, id: id.parse().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::http::page::{decode, encode};

    fn user(n: u128) -> UserId {
        Uuid::from_u128(n).into()
    }

    #[test]
    fn a_cursor_leads_back_to_its_room() {
        let cursor = RoomCursor {
            last_active_at: Timestamp::from_millis(1_795_244_400_123),
            id: Uuid::from_u128(7).into(),
        };
        assert_eq!(decode(&encode(&cursor)), Ok(cursor));
        assert_eq!(RoomCursor::from_text("1795244400123"), None);
        assert_eq!(RoomCursor::from_text("soon:00000000-0000-0000-0000-000000000007"), None);
        assert_eq!(RoomCursor::from_text("1:7"), None);
    }

    #[test]
    fn first_members_are_counted_once_and_the_owner_with_them() {
        let (owner, one, other) = (user(1), user(2), user(3));
        assert_eq!(others(owner, vec![other, one, owner, one], 3), Ok(vec![one, other]));
        assert_eq!(others(owner, vec![one, other], 2), Err(RoomError::RoomFull));
    }

    #[test]
    fn a_room_is_asked_for_by_kind_and_unknown_fields_are_refused() {
        let read = |json: serde_json::Value| serde_json::from_value::<NewRoomBody>(json);
        let id = user(2);
        assert!(read(serde_json::json!({ "kind": "direct", "user_id": id })).is_ok());
        assert!(read(serde_json::json!({ "kind": "direct", "user_id": id, "name": "a" })).is_err());
        assert!(read(serde_json::json!({ "user_id": id })).is_err());
        assert!(read(serde_json::json!({ "kind": "group", "name": "a", "topic": "b" })).is_err());
        let group = read(serde_json::json!({ "kind": "group", "name": "a" })).unwrap();
        let NewRoomBody::Group { visibility, member_ids, .. } = group else {
            panic!("a group was asked for");
        };
        assert_eq!((visibility, member_ids.len()), (Visibility::Private, 0));
    }
}
