//! Event streams: the same events and the same numbers as on a socket, for whoever only listens (SSE, in the HTML
//! standard).

mod stream;

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use actix_web::http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName};
use actix_web::web::{self, ServiceConfig};
use actix_web::{HttpRequest, HttpResponse, get};
use utoipa::OpenApi;

use self::stream::{EventStream, Opening, StreamBody};
use super::caller::Caller;
use super::client_ip::ClientIp;
use super::presence::user_ids;
use super::server::seats::{Full, Seats};
use super::views::ReadRefusals;
use crate::actors::hub::Hub;
use crate::actors::hub::channel::Channel;
use crate::actors::hub::close::CloseCode;
use crate::actors::hub::cursor::Given;
use crate::actors::hub::subscriber::{SubscribeError, Subscriber};
use crate::actors::hub::subscription::Start;
use crate::config::Config;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::RoomError;
use crate::error::{ApiError, ApiResult};
use crate::store::Store;

/// Channels of one stream: each adds to the cursor that every event carries.
const CHANNELS_MAX: usize = 32;
/// Friends and others whom a stream shows without being told whom: as many as one event has room for.
const COMPANIONS_MAX: i64 = 500;
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// nginx would hold events back.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// What streams need of the worker they are on.
pub struct StreamDeps {
    pub hub: Hub,
    pub seats: Seats,
    /// False once the node is on its way out: new streams are sent elsewhere.
    pub accepting: Arc<AtomicBool>,
}

/// Routes below the version.
pub fn routes(cfg: &mut ServiceConfig) {
    cfg.service(stream_channels)
        .service(stream_room)
        .service(stream_notifications)
        .service(stream_presences);
}

/// What [`routes`] serves, for the description of the API.
#[derive(OpenApi)]
#[openapi(paths(stream_channels, stream_room, stream_notifications, stream_presences))]
pub struct Doc;

/// The events of several channels.
///
/// One cursor over all of them in `id:`; `Last-Event-ID` (or `?last_event_id=`) goes on after it.
#[utoipa::path(
    tag = "streams",
    params(
        ("channel" = Vec<String>, Query, description = "`me`, or `room:` and an id; up to 32", example = json!(["me"])),
        ("last_event_id" = Option<String>, Query, description = "A cursor, where no header can be set"),
    ),
    security(("bearer" = [])),
    responses((status = 200, description = "Events", body = String, content_type = "text/event-stream"), ReadRefusals),
)]
#[get("/stream")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn stream_channels(
    caller: Caller,
    ip: ClientIp,
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
) -> ApiResult<HttpResponse> {
    let named = query.iter().filter(|(name, _)| name == "channel").map(|(_, value)| value);
    let mut channels: Vec<Channel> = Vec::new();
    for name in named {
        let channel = Channel::parse(name, caller.user_id).ok_or(RoomError::NotFound)?;
        if !channels.contains(&channel) {
            channels.push(channel);
        }
    }
    stream(caller, ip, &request, &query, channels).await
}

/// The events of one room.
#[utoipa::path(
    tag = "streams",
    params(("room_id" = RoomId, Path, description = "The room"), ("last_event_id" = Option<String>, Query, description = "A cursor, where no header can be set")),
    security(("bearer" = [])),
    responses((status = 200, description = "Events", body = String, content_type = "text/event-stream"), ReadRefusals),
)]
#[get("/messages/stream/{room_id}")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn stream_room(
    caller: Caller,
    ip: ClientIp,
    request: HttpRequest,
    room_id: web::Path<RoomId>,
    query: web::Query<Vec<(String, String)>>,
) -> ApiResult<HttpResponse> {
    let channels = vec![Channel::Room(*room_id)];
    stream(caller, ip, &request, &query, channels).await
}

/// The events of the caller's own inbox, the channel `me`.
#[utoipa::path(
    tag = "streams",
    params(("last_event_id" = Option<String>, Query, description = "A cursor, where no header can be set")),
    security(("bearer" = [])),
    responses((status = 200, description = "Events", body = String, content_type = "text/event-stream"), ReadRefusals),
)]
#[get("/notifications/stream")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn stream_notifications(
    caller: Caller,
    ip: ClientIp,
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
) -> ApiResult<HttpResponse> {
    let channels = vec![Channel::Me(caller.user_id)];
    stream(caller, ip, &request, &query, channels).await
}

/// How those the caller talks with are shown, and how that changes.
///
/// Those named in `user_ids`, as far as the caller may know of them; without any, its friends and whomever it shares a
/// direct room with.
#[utoipa::path(
    tag = "streams",
    params(("user_ids" = Option<Vec<UserId>>, Query, description = "Repeated, or separated by commas; up to 100", explode = false)),
    security(("bearer" = [])),
    responses((status = 200, description = "Events", body = String, content_type = "text/event-stream"), ReadRefusals),
)]
#[get("/online-status/stream")]
#[tracing::instrument(skip_all, fields(user.id = %caller.user_id))]
async fn stream_presences(
    caller: Caller,
    ip: ClientIp,
    request: HttpRequest,
    query: web::Query<Vec<(String, String)>>,
    store: web::Data<Store>,
) -> ApiResult<HttpResponse> {
    let user = caller.user_id;
    let mut users = user_ids(&query)?;
    if users.is_empty() {
        users = store.list_companions(user, COMPANIONS_MAX).await?;
    }
    let deps = deps(&request)?;
    let (stream, body) = match open(caller, ip, &request, deps).await? {
        Ok(opened) => opened,
        Err(code) => return Ok(come_back_later(code)),
    };
    // First the watch, then the state: a change between them is told twice, never missed.
    let known = store.list_presences(user, &users).await?;
    let seen: Vec<UserId> = known.iter().map(|presence| presence.user_id).collect();
    deps.hub.watch_presence(stream.id(), &seen);
    stream.show();
    stream.show_all(&store.list_presences(user, &seen).await?);
    Ok(answer(deps, &stream, body))
}

async fn stream(
    caller: Caller,
    ip: ClientIp,
    request: &HttpRequest,
    query: &[(String, String)],
    channels: Vec<Channel>,
) -> ApiResult<HttpResponse> {
    if channels.is_empty() || channels.len() > CHANNELS_MAX {
        return Err(ApiError::invalid("?channel", "out_of_range", "1 to 32 channels"));
    }
    let deps = deps(request)?;
    let user = caller.user_id;
    let (stream, body) = match open(caller, ip, request, deps).await? {
        Ok(opened) => opened,
        Err(code) => return Ok(come_back_later(code)),
    };
    stream.follow(&channels);
    let subscriber: Rc<dyn Subscriber> = stream.clone();
    for answer in deps.hub.subscribe(&subscriber, user, &channels).await {
        match answer {
            Ok(()) => {}
            Err(SubscribeError::Busy) => return Ok(come_back_later(CloseCode::Overloaded)),
            Err(SubscribeError::NotFound | SubscribeError::AlreadySubscribed) => {
                return Err(RoomError::NotFound.into());
            }
        }
    }
    let last_event_id = last_event_id(request, query);
    let given = last_event_id.map(Given::read);
    let starts: Vec<(Channel, Start)> = channels
        .iter()
        .map(|channel| {
            let start = given.as_ref().map(|given| given.start(*channel, deps.hub.epoch()));
            (*channel, start.unwrap_or(Start::Head))
        })
        .collect();
    // The cursor of the first event already names every channel.
    stream.begin_at(starts.iter().map(|(channel, start)| {
        let head = deps.hub.head(subscriber.id(), *channel).unwrap_or(0);
        (*channel, if let Start::After(seq) = start { *seq } else { head })
    }));
    stream.show();
    deps.hub.begin(&subscriber, starts).await;
    Ok(answer(deps, &stream, body))
}

fn answer(deps: &StreamDeps, stream: &EventStream, body: StreamBody) -> HttpResponse {
    if !deps.accepting.load(Ordering::Relaxed) {
        // It came in while the others were being told.
        stream.end(CloseCode::Draining);
    }
    headed(HttpResponse::Ok()).body(body)
}

fn deps(request: &HttpRequest) -> ApiResult<&StreamDeps> {
    let deps = request.app_data::<Rc<StreamDeps>>();
    deps.map(|deps| &**deps).ok_or_else(|| {
        tracing::error!("the application was built without streams");
        ApiError::Internal
    })
}

/// Takes a seat and opens a stream that follows nothing yet; the inner error is for a client that should come back.
async fn open(
    caller: Caller,
    ClientIp(ip): ClientIp,
    request: &HttpRequest,
    deps: &StreamDeps,
) -> ApiResult<Result<(Rc<EventStream>, StreamBody), CloseCode>> {
    let Some(config) = request.app_data::<web::Data<Config>>() else {
        return Err(ApiError::Internal);
    };
    if !deps.accepting.load(Ordering::Relaxed) {
        return Ok(Err(CloseCode::Draining));
    }
    let seat = match deps.seats.take(ip) {
        Ok(seat) => seat,
        Err(Full::Node) => return Ok(Err(CloseCode::Overloaded)),
        Err(Full::Address) => return Err(ApiError::TooManyConnections),
    };
    let user_seat = deps.seats.take_for(caller.user_id).await;
    let user_seat = user_seat.ok_or(ApiError::TooManyConnections)?;
    Ok(Ok(EventStream::open(Opening {
        hub: deps.hub.clone(),
        caller,
        queue_bytes_max: config.socket.outbox_bytes_max,
        stall_timeout: config.socket.stall_timeout(),
        held: (seat, user_seat),
    })))
}

fn last_event_id<'r>(request: &'r HttpRequest, query: &'r [(String, String)]) -> Option<&'r str> {
    let header = request.headers().get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let parameter = || query.iter().find(|(name, _)| name == "last_event_id");
    // A browser sends the header from its first event on: it is newer than the address.
    header.or_else(|| parameter().map(|(_, value)| value.as_str())).filter(|id| !id.is_empty())
}

fn come_back_later(code: CloseCode) -> HttpResponse {
    headed(HttpResponse::Ok()).body(stream::come_back_later(code))
}

fn headed(mut builder: actix_web::HttpResponseBuilder) -> actix_web::HttpResponseBuilder {
    builder
        .insert_header((CONTENT_TYPE, "text/event-stream"))
        .insert_header((CACHE_CONTROL, "no-store"))
        .insert_header((ACCEL_BUFFERING, "no"));
    builder
}
