//! The reference limit: a bare tokio WebSocket broadcast server that does nothing but deliver.
//!
//! One single-threaded runtime per worker. A client joins a room with `?room=`; a text frame is encoded once and
//! each worker calls send(2) on each of its sockets of that room. Nothing is checked, numbered or stored, and a
//! socket that would block loses its connection: this is the cost below which no server of this kind goes.

use std::cell::RefCell;
use std::collections::HashMap;
use std::net::TcpListener;
use std::os::fd::{AsRawFd as _, RawFd};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::sync::mpsc::{Receiver, Sender, channel};
use tokio::task::{LocalSet, spawn_local};

use crate::frame;

/// Commands that may wait for one worker.
const QUEUE_MAX: usize = 1_024;
const HEAD_BYTES_MAX: usize = 16 * 1024;
const READ_BYTES: usize = 16 * 1024;
const BACKLOG: i32 = 4_096;

/// The bare broadcast server that counts as the limit.
#[derive(Debug, Args)]
pub struct Options {
    /// Port on 127.0.0.1.
    #[arg(long)]
    pub port: u16,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub workers: u16,
    /// Ends by itself after so long.
    #[arg(long, default_value_t = 3_600)]
    pub seconds: u64,
}

enum Command {
    Serve(std::net::TcpStream),
    Broadcast(Arc<str>, Bytes),
}

struct Member {
    socket: RawFd,
    overflowed: Notify,
}

type Rooms = Rc<RefCell<HashMap<Arc<str>, Vec<Rc<Member>>>>>;
type Workers = Arc<Vec<Sender<Command>>>;

/// Listens on `127.0.0.1` until the time is up.
pub fn serve(options: &Options) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", options.port)).context("bind")?;
    // SAFETY: the descriptor is a bound socket that `listener` owns; listen(2) again only lengthens its queue.
    unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) };

    let (senders, receivers): (Vec<_>, Vec<_>) =
        (0..options.workers).map(|_| channel(QUEUE_MAX)).unzip();
    let workers = Workers::new(senders);
    for commands in receivers {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let workers = workers.clone();
        std::thread::spawn(move || LocalSet::new().block_on(&runtime, work(commands, workers)));
    }
    let seconds = options.seconds;
    std::thread::spawn(move || end_after(Duration::from_secs(seconds)));

    for (stream, worker) in listener.incoming().zip(workers.iter().cycle()) {
        let Ok(stream) = stream else { continue };
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        worker.blocking_send(Command::Serve(stream))?;
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a thread of its own, with no other work")]
fn end_after(time: Duration) {
    std::thread::sleep(time);
    std::process::exit(0);
}

async fn work(mut commands: Receiver<Command>, workers: Workers) {
    let rooms = Rooms::default();
    while let Some(command) = commands.recv().await {
        match command {
            Command::Serve(stream) => {
                if let Ok(stream) = TcpStream::from_std(stream) {
                    spawn_local(connection(stream, rooms.clone(), workers.clone()));
                }
            }
            Command::Broadcast(room, frame) => {
                for member in rooms.borrow().get(&room).into_iter().flatten() {
                    if !send(member.socket, &frame) {
                        member.overflowed.notify_one();
                    }
                }
            }
        }
    }
}

/// Writes the whole frame at once, or says that it did not.
fn send(socket: RawFd, frame: &[u8]) -> bool {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the pointer and length are one live slice, and the descriptor is open: a member leaves its room
    // before its stream is dropped, on the same thread.
    let sent = unsafe { libc::send(socket, frame.as_ptr().cast(), frame.len(), flags) };
    usize::try_from(sent) == Ok(frame.len())
}

async fn connection(mut stream: TcpStream, rooms: Rooms, workers: Workers) {
    let Some(room) = upgrade(&mut stream).await else {
        return;
    };
    let member = Rc::new(Member { socket: stream.as_raw_fd(), overflowed: Notify::new() });
    rooms.borrow_mut().entry(room.clone()).or_default().push(member.clone());

    tokio::select! {
        () = converse(&stream, &room, &member, &workers) => {}
        () = member.overflowed.notified() => {}
    }

    let mut rooms = rooms.borrow_mut();
    if let Some(members) = rooms.get_mut(&room) {
        members.retain(|other| !Rc::ptr_eq(other, &member));
        if members.is_empty() {
            rooms.remove(&room);
        }
    }
}

/// Reads the request and answers it; gives the room that was asked for.
async fn upgrade(stream: &mut TcpStream) -> Option<Arc<str>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() > HEAD_BYTES_MAX || stream.read_buf(&mut head).await.ok()? == 0 {
            return None;
        }
    }
    let head = std::str::from_utf8(&head).ok()?;
    let (_, query) = head.split_whitespace().nth(1)?.split_once('?')?;
    let room = query.split('&').find_map(|pair| pair.strip_prefix("room="))?;
    let key = head.lines().find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))?;
    let answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {}\r\n\r\n",
        frame::accept(key),
    );
    stream.write_all(answer.as_bytes()).await.ok()?;

    Some(room.into())
}

/// Passes on every text frame until the client leaves or breaks the protocol.
async fn converse(stream: &TcpStream, room: &Arc<str>, member: &Member, workers: &Workers) {
    let mut buffer = Vec::new();
    loop {
        if stream.readable().await.is_err() || !read(stream, &mut buffer) {
            return;
        }
        let Some(broadcasts) = take_frames(member, &mut buffer) else {
            return;
        };
        for broadcast in broadcasts {
            for worker in workers.iter() {
                if worker.send(Command::Broadcast(room.clone(), broadcast.clone())).await.is_err() {
                    return;
                }
            }
        }
    }
}

/// Takes the complete frames out of `buffer`: texts to broadcast, encoded. `None` ends the connection.
fn take_frames(member: &Member, buffer: &mut Vec<u8>) -> Option<Vec<Bytes>> {
    let mut broadcasts = Vec::new();
    while let Some(found) = frame::decode(buffer).ok()? {
        let payload = buffer.get(found.payload.clone())?;
        match found.opcode {
            frame::TEXT => broadcasts.push(Bytes::from(frame::from_server(frame::TEXT, payload))),
            frame::PING => _ = send(member.socket, &frame::from_server(frame::PONG, payload)),
            frame::CLOSE => return None,
            _ => {}
        }
        buffer.drain(..found.payload.end);
    }
    if buffer.is_empty() {
        // An idle connection keeps no buffer.
        *buffer = Vec::new();
    }
    Some(broadcasts)
}

/// Takes what has arrived; false when the stream has ended.
fn read(stream: &TcpStream, buffer: &mut Vec<u8>) -> bool {
    let mut chunk = [0; READ_BYTES];
    match stream.try_read(&mut chunk) {
        Ok(0) => false,
        Ok(count) => {
            buffer.extend(chunk.iter().take(count));
            true
        }
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
