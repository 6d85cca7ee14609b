//! Transport: how an HTTP request becomes a socket. The only file that knows actix-http's upgrade.
//!
//! actix-http hands over the bare `TcpStream`, so that a connection keeps neither a dispatcher nor its buffers. The
//! handshake (RFC 6455) and the frame codec are actix-http's.

use std::cell::RefCell;
use std::net::IpAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use actix_codec::{Decoder, Framed};
use actix_http::body::BodySize;
use actix_http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER, SEC_WEBSOCKET_PROTOCOL};
use actix_http::ws::{self, Codec, Frame as WsFrame, Item, ProtocolError};
use actix_http::{ConnectionType, HttpMessage, Method, Request, Response, StatusCode, h1};
use bytes::{Bytes, BytesMut};
use futures_util::SinkExt;
use rand::Rng;
use secrecy::SecretString;
use tokio::io::{AsyncRead, ReadBuf};
use tokio::net::TcpStream;

use super::SocketDeps;
use super::connection;
use super::protocol::{SUBPROTOCOL, TOKEN_SUBPROTOCOL_PREFIX};
use crate::actors::hub::Hub;
use crate::actors::hub::close::CloseCode;
use crate::error::ApiError;
use crate::http::client_ip::{self, ClientIp};
use crate::http::cookie::Cookie;
use crate::http::gateway;
use crate::http::server::load::Carried;
use crate::http::server::seats::{Full, Seat};
use crate::origin::Origin;

/// Where sockets are opened.
pub const SOCKET_PATH: &str = "/v1/chat/socket";
const READ_BYTES: usize = 64 * 1024;
const RETRY_AFTER_S_MAX: u64 = 5;
/// Opcode, an eight-byte length and the mask (RFC 6455, section 5.2).
const FRAME_HEAD_BYTES_MAX: usize = 14;
/// Reads in one turn, so that one flooding client leaves its worker to the others.
const READS_A_TURN_MAX: usize = 8;

thread_local! {
    /// One read buffer a worker: an idle connection owns none.
    static READ_BUFFER: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Answers a request to upgrade: a socket on [`SOCKET_PATH`], a problem anywhere else.
///
/// # Errors
/// When the peer is gone before it is answered.
pub async fn upgrade(
    hub: Hub,
    deps: Rc<SocketDeps>,
    request: Request,
    mut framed: Framed<TcpStream, h1::Codec>,
) -> Result<(), actix_web::Error> {
    let token = header_token(&request);
    let origin = gateway::origin_of(request.headers());
    let accepted = seat(&deps, &request).await.and_then(|seat| {
        let response = ws::handshake(request.head()).map_err(|_| BAD_HANDSHAKE)?;
        Ok((seat, response))
    });
    let (seat, mut response) = match accepted {
        Ok((seat, mut response)) => (seat, response.finish().map_body(|_, _| ())),
        Err(refusal) => return refuse(framed, refusal, &origin).await,
    };
    let spoken = HeaderValue::from_static(SUBPROTOCOL);
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, spoken);
    framed.send(h1::Message::Item((response, BodySize::None))).await?;

    let parts = framed.into_parts();
    let codec = Codec::new().max_size(deps.config.socket.frame_bytes_max);
    let reader = Reader::new(codec, parts.read_buf, deps.config.socket.frame_bytes_max);
    drop(request);
    let carried = deps.load.enter();
    connection::start(hub, deps, parts.io, reader, Opening { seat, carried, token, origin });
    Ok(())
}

/// The token of clients that bring it with the handshake: in a header, a second subprotocol, or a page's cookie.
fn header_token(request: &Request) -> Option<SecretString> {
    let bearer =
        request.headers().get("authorization").and_then(|value| value.to_str().ok()).and_then(
            |value| value.strip_prefix("Bearer ").or_else(|| value.strip_prefix("bearer ")),
        );
    let subprotocol =
        || subprotocols(request).find_map(|name| name.strip_prefix(TOKEN_SUBPROTOCOL_PREFIX));
    // A handshake may lead to anything, so it is believed no more easily than a write.
    let cookie = || Cookie::Access.token(&Method::POST, request.headers());
    bearer.or_else(subprotocol).or_else(cookie).map(SecretString::from)
}

fn subprotocols(request: &Request) -> impl Iterator<Item = &str> {
    request
        .headers()
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// What a connection is opened with.
pub(super) struct Opening {
    pub(super) seat: Seat,
    pub(super) carried: Carried,
    pub(super) token: Option<SecretString>,
    pub(super) origin: Origin,
}

/// Why a handshake is not answered with a socket.
struct Refusal {
    status: StatusCode,
    code: &'static str,
    detail: &'static str,
    retry_after: Option<Duration>,
}

const BAD_HANDSHAKE: Refusal = Refusal {
    status: StatusCode::BAD_REQUEST,
    code: "bad_handshake",
    detail: "this is not a WebSocket handshake of RFC 6455, version 13",
    retry_after: None,
};

/// Takes a seat for the client, unless there is a reason to send it away; nothing was done then.
async fn seat(deps: &SocketDeps, request: &Request) -> Result<Seat, Refusal> {
    let trusted = &deps.config.http.trusted_proxies;
    let ClientIp(ip) = client_ip::resolve(request.peer_addr(), request.headers(), trusted);
    if let Some(refusal) = refusal(deps, request, ip).await {
        return Err(refusal);
    }
    let wait = Duration::from_secs(rand::rng().random_range(1..=RETRY_AFTER_S_MAX));
    deps.seats.take(ip).map_err(|full| match full {
        Full::Node => Refusal {
            status: StatusCode::SERVICE_UNAVAILABLE,
            code: "overloaded",
            detail: "this node holds as many connections as it may",
            retry_after: Some(wait),
        },
        Full::Address => Refusal {
            status: StatusCode::TOO_MANY_REQUESTS,
            code: "too_many_connections",
            detail: "this address holds as many connections as it may",
            retry_after: Some(wait),
        },
    })
}

async fn refusal(deps: &SocketDeps, request: &Request, ip: IpAddr) -> Option<Refusal> {
    let refuse = |status, code, detail| Some(Refusal { status, code, detail, retry_after: None });
    if let Err(ApiError::RateLimited { retry_after }) = deps.limiters.check_handshake(ip).await {
        let detail = "too many requests; nothing was done";
        let status = StatusCode::TOO_MANY_REQUESTS;
        let retry_after = Some(retry_after);
        return Some(Refusal { status, code: "rate_limited", detail, retry_after });
    }
    if request.path() != SOCKET_PATH {
        return refuse(StatusCode::NOT_FOUND, "not_found", "there is no socket at this path");
    }
    if !deps.accepting.load(Ordering::Relaxed) {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let detail = "the server is going away";
        let retry_after = Some(Duration::from_secs(1));
        return Some(Refusal { status, code: "draining", detail, retry_after });
    }
    if !subprotocols(request).any(|name| name == SUBPROTOCOL) {
        let detail = "offer the subprotocol madang.v1.json";
        return refuse(StatusCode::BAD_REQUEST, "subprotocol_required", detail);
    }
    None
}

/// Answers with a problem (RFC 9457) and closes.
async fn refuse(
    mut framed: Framed<TcpStream, h1::Codec>,
    refusal: Refusal,
    origin: &Origin,
) -> Result<(), actix_web::Error> {
    let Refusal { status, code, detail, retry_after } = refusal;
    tracing::debug!(http.status = status.as_u16(), code, "an upgrade was refused");
    let body = serde_json::json!({
        "type": "about:blank",
        "title": status.canonical_reason(),
        "status": status.as_u16(),
        "code": code,
        "detail": detail,
        "request_id": origin.request_id.as_deref(),
        "errors": [],
    })
    .to_string();
    let mut response = Response::with_body(status, ());
    let json = HeaderValue::from_static("application/problem+json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    gateway::write_request_id(origin, response.headers_mut());
    if let Some(wait) = retry_after {
        let seconds = wait.as_secs().saturating_add(u64::from(wait.subsec_nanos() > 0)).max(1);
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response.head_mut().set_connection_type(ConnectionType::Close);
    let size = BodySize::Sized(u64::try_from(body.len()).unwrap_or(0));
    framed.send(h1::Message::Item((response, size))).await?;
    framed.send(h1::Message::Chunk(Some(body.into()))).await?;
    framed.send(h1::Message::Chunk(None)).await?;
    Ok(())
}

/// What the peer said.
#[derive(Debug)]
pub(super) enum Incoming {
    /// Valid UTF-8.
    Text(Bytes),
    Ping(Bytes),
    Pong,
    Close,
}

/// Turns bytes into messages: unmasked, put together from fragments, bounded. Owns memory only while something is
/// incomplete.
pub(super) struct Reader {
    codec: Codec,
    partial: BytesMut,
    fragments: Vec<u8>,
    in_text: bool,
    message_bytes_max: usize,
}

impl Reader {
    fn new(codec: Codec, partial: BytesMut, message_bytes_max: usize) -> Self {
        Self { codec, partial, fragments: Vec::new(), in_text: false, message_bytes_max }
    }

    /// Reads what the socket has and hands over each whole message; `Err` ends the connection.
    pub(super) fn poll_read(
        &mut self,
        cx: &mut Context<'_>,
        io: &RefCell<TcpStream>,
        mut on: impl FnMut(Incoming),
    ) -> Result<(), Option<CloseCode>> {
        if !self.partial.is_empty() {
            self.decode(&mut on)?;
        }
        for _ in 0..READS_A_TURN_MAX {
            let read = READ_BUFFER.with_borrow_mut(|buffer| {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut *io.borrow_mut()).poll_read(cx, &mut read) {
                    Poll::Pending => Ok(false),
                    Poll::Ready(Err(_)) => Err(None),
                    Poll::Ready(Ok(())) if read.filled().is_empty() => Err(None),
                    Poll::Ready(Ok(())) => {
                        self.partial.extend_from_slice(read.filled());
                        Ok(true)
                    }
                }
            })?;
            if !read {
                return Ok(());
            }
            self.decode(&mut on)?;
        }
        // More may be there: come back after the others had their turn.
        cx.waker().wake_by_ref();
        Ok(())
    }

    /// Reads and drops what a connection that is being closed still sends; true at its end. Closing a socket with
    /// unread input would take back what was written last.
    pub(super) fn poll_discard(cx: &mut Context<'_>, io: &RefCell<TcpStream>) -> bool {
        READ_BUFFER.with_borrow_mut(|buffer| {
            for _ in 0..READS_A_TURN_MAX {
                let mut read = ReadBuf::new(buffer);
                match Pin::new(&mut *io.borrow_mut()).poll_read(cx, &mut read) {
                    Poll::Pending => return false,
                    Poll::Ready(Ok(())) if !read.filled().is_empty() => {}
                    Poll::Ready(_) => return true,
                }
            }
            cx.waker().wake_by_ref();
            false
        })
    }

    fn decode(&mut self, on: &mut impl FnMut(Incoming)) -> Result<(), Option<CloseCode>> {
        loop {
            match self.codec.decode(&mut self.partial) {
                Ok(Some(frame)) => {
                    if let Some(message) = self.message(frame)? {
                        on(message);
                    }
                }
                Ok(None) => break,
                Err(ProtocolError::Overflow) => return Err(Some(CloseCode::FrameTooBig)),
                Err(_) => return Err(Some(CloseCode::BadFrame)),
            }
        }
        if self.partial.is_empty() {
            self.partial = BytesMut::new();
        }
        // The codec looks at a frame's length once all of it is there: what is only announced is bounded here.
        if self.partial.len() > self.message_bytes_max.saturating_add(FRAME_HEAD_BYTES_MAX) {
            return Err(Some(CloseCode::FrameTooBig));
        }
        Ok(())
    }

    fn message(&mut self, frame: WsFrame) -> Result<Option<Incoming>, Option<CloseCode>> {
        Ok(Some(match frame {
            WsFrame::Text(bytes) => Incoming::Text(text(bytes)?),
            WsFrame::Ping(bytes) => Incoming::Ping(bytes),
            WsFrame::Pong(_) => Incoming::Pong,
            WsFrame::Close(_) => Incoming::Close,
            WsFrame::Continuation(Item::FirstText(bytes)) => {
                self.in_text = true;
                self.append(&bytes)?;
                return Ok(None);
            }
            WsFrame::Continuation(Item::Continue(bytes)) if self.in_text => {
                self.append(&bytes)?;
                return Ok(None);
            }
            WsFrame::Continuation(Item::Last(bytes)) if self.in_text => {
                self.append(&bytes)?;
                self.in_text = false;
                Incoming::Text(text(std::mem::take(&mut self.fragments).into())?)
            }
            // Binary messages have no meaning here.
            WsFrame::Binary(_) | WsFrame::Continuation(_) => return Err(Some(CloseCode::BadFrame)),
        }))
    }

    /// A limit on frames is not a limit on messages: fragments are counted together.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Option<CloseCode>> {
        if self.fragments.len().saturating_add(bytes.len()) > self.message_bytes_max {
            return Err(Some(CloseCode::FrameTooBig));
        }
        self.fragments.extend_from_slice(bytes);
        Ok(())
    }
}

fn text(bytes: Bytes) -> Result<Bytes, Option<CloseCode>> {
    match std::str::from_utf8(&bytes) {
        Ok(_) => Ok(bytes),
        Err(_) => Err(Some(CloseCode::BadFrame)),
    }
}
