//! Messages over HTTP: pages of history, sending, editing and deleting.

mod history;
mod images;
mod markers;
mod pins;
mod reactions;
mod reports;

use actix_web::http::StatusCode;
use actix_web::web::{self, ServiceConfig};
use actix_web::{delete, get, patch, post};
use serde::Deserialize;
use utoipa::{OpenApi, ToSchema};

use self::history::HistoryQuery;
use super::caller::Caller;
use super::page::{Page, Position};
use super::views::{
    ChangeRefusals, ChangeView, MessageView, ReadRefusals, SentView, WriteRefusals,
};
use crate::accounts::Images;
use crate::actors::room::{RoomFailure, Rooms};
use crate::config::Config;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::messages::{Attachment, MessageBody, MessageDraft, MessageRef, NewMessage};
use crate::domain::rooms::{Action, Command, RoomError};
use crate::error::ApiResult;
use crate::store::Store;

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(list_messages)
        .service(send_message)
        .service(edit_message)
        .service(delete_message)
        .service(reactions::add_reaction)
        .service(reactions::remove_reaction)
        .service(pins::list_pins)
        .service(pins::pin_message)
        .service(pins::unpin_message)
        .service(markers::mark_read)
        .service(images::upload_message_image)
        .service(reports::report_message);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(
    list_messages,
    send_message,
    edit_message,
    delete_message,
    reactions::add_reaction,
    reactions::remove_reaction,
    pins::list_pins,
    pins::pin_message,
    pins::unpin_message,
    markers::mark_read,
    images::upload_message_image,
    reports::report_message,
))]
pub struct Doc;

/// A message to send.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewMessageBody {
    /// The client's idempotency key; best a `UUIDv7`. The same key is the same message.
    #[schema(min_length = 1, max_length = 64, pattern = "^[!-~]+$")]
    key: String,
    /// The text, up to `chat.body_chars_max` characters (4,000 unless configured); may be empty where there are attachments.
    #[serde(default)]
    body: String,
    /// The `seq` of the message that this one answers.
    #[schema(value_type = Option<i64>, minimum = 0, maximum = 9223372036854775807i64)]
    reply_to: Option<Position>,
    /// Users to be told of it.
    #[serde(default)]
    #[schema(max_items = 50)]
    mentions: Vec<UserId>,
    /// References to files.
    #[serde(default)]
    #[schema(max_items = 10)]
    attachments: Vec<Attachment>,
}

/// A message's new wording.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct EditBody {
    #[schema(min_length = 1)]
    body: String,
}

/// A page of a room's messages, ascending by `seq`: the newest, or those before or after one.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), HistoryQuery),
    security(("bearer" = [])),
    responses((status = 200, body = Page<MessageView>), ReadRefusals),
)]
#[get("/chat/rooms/{id}/messages")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn list_messages(
    caller: Caller,
    id: web::Path<RoomId>,
    query: web::Query<HistoryQuery>,
    store: web::Data<Store>,
) -> ApiResult<web::Json<Page<MessageView>>> {
    let (start, limit) = (query.start()?, query.limit);
    let rows = store.list_messages(*id, caller.user_id, start, limit.with_probe()).await?;

    Ok(web::Json(history::page(rows, start, limit)))
}

/// Sends a message. It is stored when the answer comes; the same key again gives the same answer.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path)),
    security(("bearer" = [])),
    responses(
        (status = 201, body = SentView),
        (status = 200, description = "The key was accepted before", body = SentView),
        ChangeRefusals,
        WriteRefusals,
    ),
)]
#[post("/chat/rooms/{id}/messages")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn send_message(
    caller: Caller,
    id: web::Path<RoomId>,
    body: web::Json<NewMessageBody>,
    rooms: web::Data<Rooms>,
    config: web::Data<Config>,
) -> ApiResult<(web::Json<SentView>, StatusCode)> {
    let (key, draft) = body.into_inner().into_draft();
    let message = NewMessage::parse(*id, caller.user_id, &key, draft, config.chat.body_chars_max)?;
    let command = Command { actor: caller.user_id, action: Action::Send(message) };
    let sent = rooms.append(*id, command).await?;
    let status = if sent.duplicate { StatusCode::OK } else { StatusCode::CREATED };
    let view = SentView::new(sent).ok_or(RoomFailure::Unknown)?;

    Ok((web::Json(view), status))
}

/// Gives a message a new wording; only its sender may.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ("message" = String, Path, description = "Its id or its `seq`")),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals, WriteRefusals),
)]
#[patch("/chat/rooms/{id}/messages/{message}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn edit_message(
    caller: Caller,
    path: web::Path<(RoomId, String)>,
    body: web::Json<EditBody>,
    rooms: web::Data<Rooms>,
    config: web::Data<Config>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message) = path.into_inner();
    let message = named(&message)?;
    let body = MessageBody::parse(&body.body, config.chat.body_chars_max)?;
    let action = Action::Edit { message, body };
    let edited = rooms.append(room, Command { actor: caller.user_id, action }).await?;

    Ok(web::Json(edited.into()))
}

/// Deletes a message, and the pictures that were brought for it; its sender may, and in a group its moderators. Its place in
/// the log stays.
#[utoipa::path(
    tag = "messages",
    params(("id" = RoomId, Path), ("message" = String, Path, description = "Its id or its `seq`")),
    security(("bearer" = [])),
    responses((status = 200, body = ChangeView), ChangeRefusals),
)]
#[delete("/chat/rooms/{id}/messages/{message}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn delete_message(
    caller: Caller,
    path: web::Path<(RoomId, String)>,
    rooms: web::Data<Rooms>,
    images: web::Data<Images>,
) -> ApiResult<web::Json<ChangeView>> {
    let (room, message) = path.into_inner();
    let action = Action::Delete { message: named(&message)? };
    let deleted = rooms.append(room, Command { actor: caller.user_id, action }).await?;
    images.clear_of_deleted_messages().await;

    Ok(web::Json(deleted.into()))
}

/// The message that a path names; what is neither an id nor a number names none.
fn named(message: &str) -> Result<MessageRef, RoomError> {
    MessageRef::parse(message).ok_or(RoomError::MessageNotFound)
}

impl NewMessageBody {
    fn into_draft(self) -> (String, MessageDraft) {
        let Self { key, body, reply_to, mentions, attachments } = self;
        let reply_to = reply_to.map(Position::seq);
        (key, MessageDraft { body, reply_to, mentions, attachments })
    }
}
