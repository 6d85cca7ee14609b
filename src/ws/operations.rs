//! Operations: what a client may ask for, each a thin way to a room or the store.

use std::rc::Rc;

use secrecy::ExposeSecret;
use serde_json::{Map, Value, json};

use super::connection::Connection;
use super::protocol::{
    self, CHANNELS_A_REQUEST_MAX, Greeting, Hello, Limits, Operation, Positions, Request,
    RequestId, Subscribe, Subscription,
};
use crate::accounts::Caller;
use crate::actors::hub::channel::Channel;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::cursor::Given;
use crate::actors::hub::subscriber::{SubscribeError, Subscriber};
use crate::clock;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::messages::{Emoji, MessageBody, MessageRef, NewMessage};
use crate::domain::rooms::{Action, Appended, Command, RoomError};
use crate::error::{ApiError, ApiResult};
use crate::http::presence::USERS_MAX;
use crate::http::views::MessageView;
use crate::store::messages::Page;

const HISTORY_LIMIT: i64 = 50;
const HISTORY_LIMIT_MAX: i64 = 200;

/// Does one request and writes its reply.
pub(super) async fn perform(connection: &Rc<Connection>, request: Request) {
    if !connection.is_open() {
        return;
    }
    let id = request.id;
    let operation = match request.op {
        Ok(operation) => operation,
        Err(bad) => return connection.say(&protocol::not_understood(id, bad)),
    };
    let operation = match operation {
        Operation::Hello(hello) => return greet(connection, id, hello).await,
        Operation::Ping(_) => return reply(connection, id, Ok(json!({}))),
        Operation::Pong(_) => return,
        Operation::Bye(_) => return connection.say_bye(),
        operation => operation,
    };
    let Some(caller) = connection.caller() else {
        let text = "say hello first";
        return connection.say(&protocol::refusal(id, "hello_required", text, None));
    };
    match operation {
        Operation::Unsubscribe(unsubscribe)
            if unsubscribe.channels.len() > CHANNELS_A_REQUEST_MAX =>
        {
            connection.say(&protocol::too_many_channels(id));
        }
        Operation::Subscribe(subscribe) => {
            let Subscribe { channels, cursor, .. } = subscribe;
            let given = cursor.as_deref().map(Given::read);
            subscribe_to(connection, id, &caller, channels, given, None).await;
        }
        Operation::Auth(auth) => {
            let renewed = renew(connection, &caller, &auth.token);
            reply(connection, id, renewed);
        }
        operation => {
            let answer = act(connection, &caller, operation).await;
            reply(connection, id, answer);
        }
    }
}

fn reply(connection: &Connection, id: Option<RequestId>, answer: ApiResult<Value>) {
    match answer {
        // A request without a number does not want to hear that it was done.
        Ok(_) if id.is_none() => {}
        Ok(answer) => connection.say(&protocol::ok(id, &answer)),
        Err(error) => {
            if error.status_and_code().0.is_server_error() {
                tracing::error!(error = ?error, "an operation failed");
            }
            connection.say(&protocol::error(id, &error));
        }
    }
}

/// Everything that needs a caller and has one answer.
async fn act(
    connection: &Rc<Connection>,
    caller: &Caller,
    operation: Operation,
) -> ApiResult<Value> {
    let user = caller.user_id;
    let config = &connection.deps.config;
    match operation {
        Operation::Unsubscribe(unsubscribe) => {
            for name in &unsubscribe.channels {
                if let Some(channel) = Channel::parse(name, user) {
                    connection.hub.unsubscribe(connection.id, channel);
                    connection.remove_channel(channel);
                }
            }
            Ok(json!({}))
        }
        Operation::Send(send) => {
            let room = room_of(&send.channel, user)?;
            let limit = config.chat.body_chars_max;
            let message = NewMessage::parse(room, user, &send.key, send.data, limit)?;
            let appended = append(connection, room, user, Action::Send(message)).await?;
            Ok(json!({
                "id": appended.message, "seq": appended.seq, "at": appended.at,
                "duplicate": appended.duplicate,
            }))
        }
        Operation::Edit(edit) => {
            let body = MessageBody::parse(&edit.data.body, config.chat.body_chars_max)?;
            let message = MessageRef::Seq(edit.seq);
            change(connection, &edit.channel, user, Action::Edit { message, body }).await
        }
        Operation::Delete(delete) => {
            let message = MessageRef::Seq(delete.seq);
            change(connection, &delete.channel, user, Action::Delete { message }).await
        }
        Operation::React(react) => {
            let (message, emoji) = (MessageRef::Seq(react.seq), Emoji::parse(&react.emoji)?);
            change(connection, &react.channel, user, Action::React { message, emoji }).await
        }
        Operation::Unreact(react) => {
            let (message, emoji) = (MessageRef::Seq(react.seq), Emoji::parse(&react.emoji)?);
            change(connection, &react.channel, user, Action::Unreact { message, emoji }).await
        }
        Operation::Typing(typing) => {
            let room = room_of(&typing.channel, user)?;
            // A live subscription is the proof of membership; without one, nobody is bothered.
            if !connection.hub.is_subscribed(connection.id, Channel::Room(room)) {
                return Err(RoomError::NotFound.into());
            }
            connection.deps.rooms.typing(room, user).await?;
            Ok(json!({}))
        }
        Operation::Read(read) => {
            let room = room_of(&read.channel, user)?;
            let appended = append(connection, room, user, Action::Read { seq: read.seq }).await?;
            let marker = appended.read;
            Ok(json!({
                "seq": marker.map_or(read.seq, |marker| marker.seq),
                "unread_count": marker.map_or(0, |marker| marker.unread_count),
            }))
        }
        Operation::History(history) => {
            let room = room_of(&history.channel, user)?;
            let page = match (history.before, history.after) {
                (Some(_), Some(_)) => return Err(before_and_after()),
                (_, Some(after)) => Page::After(after),
                (before, None) => Page::Before(before),
            };
            let limit = history.limit.unwrap_or(HISTORY_LIMIT).clamp(1, HISTORY_LIMIT_MAX);
            let messages = connection.deps.store.list_messages(room, user, page, limit).await?;
            let items: Vec<MessageView> = messages.into_iter().map(MessageView::from).collect();
            Ok(json!({ "items": items }))
        }
        Operation::SetPresence(set) => {
            connection.hub.show(user, connection.id, set.status);
            Ok(json!({ "status": set.status }))
        }
        Operation::GetPresence(get) => {
            if get.users.len() > USERS_MAX {
                return Err(ApiError::invalid("/users", "too_many", "at most 100 users"));
            }
            let items = connection.deps.store.list_presences(user, &get.users).await?;
            if get.watch {
                let seen: Vec<UserId> = items.iter().map(|item| item.user_id).collect();
                connection.hub.watch_presence(connection.id, &seen);
            }
            Ok(json!({ "items": items }))
        }
        Operation::Cursor(_) => Ok(json!({ "cursor": connection.cursor().encode() })),
        Operation::Hello(_)
        | Operation::Subscribe(_)
        | Operation::Auth(_)
        | Operation::Ping(_)
        | Operation::Pong(_)
        | Operation::Bye(_) => Ok(json!({})),
    }
}

fn before_and_after() -> ApiError {
    ApiError::invalid("/before", "conflicting_parameters", "only one of before and after")
}

fn room_of(channel: &str, user: UserId) -> Result<RoomId, RoomError> {
    match Channel::parse(channel, user) {
        Some(Channel::Room(room)) => Ok(room),
        Some(Channel::Me(_)) | None => Err(RoomError::NotFound),
    }
}

async fn append(
    connection: &Connection,
    room: RoomId,
    actor: UserId,
    action: Action,
) -> ApiResult<Appended> {
    Ok(connection.deps.rooms.append(room, Command { actor, action }).await?)
}

/// A change whose answer is its place in the log.
async fn change(
    connection: &Connection,
    channel: &str,
    user: UserId,
    action: Action,
) -> ApiResult<Value> {
    let appended = append(connection, room_of(channel, user)?, user, action).await?;
    Ok(json!({ "seq": appended.seq, "at": appended.at }))
}

/// A fresh token for the same login, without reconnecting.
fn renew(connection: &Connection, caller: &Caller, token: &str) -> ApiResult<Value> {
    let deps = &connection.deps;
    let renewed = Caller::from_access_token(token, &deps.tokens, &deps.revocations, clock::now())?;
    if renewed.user_id != caller.user_id {
        return Err(ApiError::Forbidden);
    }
    let expires_at = renewed.expires_at;
    connection.set_caller(renewed);
    Ok(json!({ "expires_at": expires_at }))
}

/// The first request: who it is and what it follows.
async fn greet(connection: &Rc<Connection>, id: Option<RequestId>, hello: Hello) {
    if connection.caller().is_some() {
        let text = "hello was said already";
        return connection.say(&protocol::refusal(id, "hello_repeated", text, None));
    }
    if hello.subscribe.len() > CHANNELS_A_REQUEST_MAX {
        return connection.say(&protocol::too_many_channels(id));
    }
    let caller = match authenticate(connection, &hello).await {
        Ok(caller) => caller,
        Err(error) => {
            reply(connection, id, Err(error));
            return connection.hello_failed();
        }
    };
    let deps = &connection.deps;
    let Some(counted) = deps.seats.take_for(caller.user_id).await else {
        return connection.close(CloseCode::TooManyConnections);
    };
    if !connection.is_open() {
        return;
    }
    connection.count_in(counted);
    connection.set_caller(caller.clone());
    // What was revoked before the hub could know whose connection this is.
    if deps.revocations.is_revoked(caller.session_id) {
        return connection.close(CloseCode::Revoked);
    }
    connection.hub.show(caller.user_id, connection.id, hello.presence);
    let socket = &deps.config.socket;
    let greeting = Greeting {
        connection: connection.id.to_string(),
        user: caller.user_id,
        ping_ms: socket.ping_interval_ms,
        limits: Limits {
            frame_bytes_max: socket.frame_bytes_max,
            body_chars_max: deps.config.chat.body_chars_max,
            channels_max: socket.channels_max,
            ops_per_second: socket.ops_per_second.get(),
            ops_burst: socket.ops_burst.get(),
        },
        epoch: connection.hub.epoch(),
    };
    let given = hello.cursor.as_deref().map(Given::read);
    subscribe_to(connection, id, &caller, hello.subscribe, given, Some(greeting)).await;
}

async fn authenticate(connection: &Connection, hello: &Hello) -> ApiResult<Caller> {
    let deps = &connection.deps;
    if let Some(ticket) = &hello.ticket {
        return Ok(deps.accounts.take_ticket(ticket).await?);
    }
    let brought = connection.take_token();
    let token =
        hello.token.as_deref().or_else(|| brought.as_ref().map(ExposeSecret::expose_secret));
    let token = token.ok_or(ApiError::Unauthenticated)?;
    Ok(Caller::from_access_token(token, &deps.tokens, &deps.revocations, clock::now())?)
}

/// Subscribes to every channel, replies with where each stands, then sets each on its way from where the client left
/// off: so that the reply comes first.
async fn subscribe_to(
    connection: &Rc<Connection>,
    id: Option<RequestId>,
    caller: &Caller,
    wanted: Vec<Subscription>,
    given: Option<Given>,
    greeting: Option<Greeting<'_>>,
) {
    if wanted.len() > CHANNELS_A_REQUEST_MAX {
        return connection.say(&protocol::too_many_channels(id));
    }
    let mut channels = Map::new();
    let mut opening = Vec::with_capacity(wanted.len());
    for subscription in wanted {
        let Some(channel) = Channel::parse(&subscription.channel, caller.user_id) else {
            channels.insert(subscription.channel, refused(SubscribeError::NotFound));
            continue;
        };
        // In the list before it is in the hub: whatever happens meanwhile, the guard will take it out.
        match connection.add_channel(channel) {
            Ok(()) => opening.push((channel, subscription)),
            // A channel named twice keeps the answer of the first.
            Err(answer) => {
                channels.entry(subscription.channel).or_insert(answer);
            }
        }
    }
    let subscriber: Rc<dyn Subscriber> = connection.clone();
    let named: Vec<Channel> = opening.iter().map(|(channel, _)| *channel).collect();
    let answers = connection.hub.subscribe(&subscriber, caller.user_id, &named).await;
    let mut opened = Vec::with_capacity(opening.len());
    for ((channel, subscription), answer) in opening.into_iter().zip(answers) {
        let head = connection.hub.head(connection.id, channel);
        let answer = match (answer, head) {
            (Ok(()), Some(head)) if connection.is_open() => {
                let start = subscription.start(channel, given.as_ref(), connection.hub.epoch());
                opened.push((channel, start));
                json!({ "seq": head, "epoch": connection.hub.epoch() })
            }
            (Ok(()), _) => {
                connection.hub.unsubscribe(connection.id, channel);
                connection.remove_channel(channel);
                refused(SubscribeError::NotFound)
            }
            (Err(error), _) => {
                connection.remove_channel(channel);
                refused(error)
            }
        };
        channels.insert(subscription.channel, answer);
    }
    let positions = Positions { channels, greeting };
    connection.say(&protocol::ok(id, &positions));
    connection.hub.begin(&subscriber, opened).await;
}

fn refused(error: SubscribeError) -> Value {
    let code = match error {
        SubscribeError::NotFound => "channel_not_found",
        SubscribeError::AlreadySubscribed => "already_subscribed",
        SubscribeError::Busy => "room_busy",
    };
    protocol::failed(code, &error.to_string())
}
