//! The server with a service that holds its connections: who carries what, and what a stop waits for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use actix_service::fn_service;
use futures_util::FutureExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::workers::Workers;
use super::*;
use crate::config::Config;

const STALL_TIMEOUT: Duration = Duration::from_secs(60);

type Holders = Arc<Mutex<HashMap<ThreadId, usize>>>;

/// A server on a free port whose service greets and then holds each connection until the client ends it.
struct Fixture {
    server: Server,
    address: SocketAddr,
    holders: Holders,
    _workers: Workers,
}

impl Fixture {
    fn start(settings: &[(&str, &str)]) -> Self {
        let config = Config::read(None, settings.iter().copied()).unwrap();
        let listener = StdTcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let workers = Workers::start(2).unwrap();
        let holders = Holders::default();
        let seen = Arc::clone(&holders);
        let make = move |_: WorkerSeat| {
            let seen = Arc::clone(&seen);
            fn_service(move |stream: TcpStream| hold(stream, Arc::clone(&seen)))
        };
        let server =
            Server::start(listener, &workers.handles(), &config.limits, STALL_TIMEOUT, make)
                .unwrap();
        Self { server, address, holders, _workers: workers }
    }

    async fn client(&self) -> TcpStream {
        let mut client = TcpStream::connect(self.address).await.unwrap();
        assert_eq!(client.read_u8().await.unwrap(), b'!');
        client
    }
}

async fn hold(mut stream: TcpStream, seen: Holders) -> io::Result<()> {
    *seen.lock().unwrap().entry(thread::current().id()).or_default() += 1;
    stream.write_all(b"!").await?;
    stream.read_u8().await.map(|_| ())
}

#[actix_rt::test]
async fn connections_are_spread_evenly_over_the_workers() {
    let fixture = Fixture::start(&[]);
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(fixture.client().await);
    }
    let held: Vec<usize> = fixture.holders.lock().unwrap().values().copied().collect();
    assert_eq!(held, [5, 5]);
}

#[actix_rt::test]
async fn a_stop_waits_for_the_connections_and_closes_the_listener() {
    let fixture = Fixture::start(&[]);
    let client = fixture.client().await;
    let mut stop = Box::pin(fixture.server.stop());
    while TcpStream::connect(fixture.address).await.is_ok() {
        assert!((&mut stop).now_or_never().is_none(), "a connection is still held");
    }
    assert!((&mut stop).now_or_never().is_none(), "a connection is still held");
    drop(client);
    stop.await;
}

#[actix_rt::test]
async fn who_comes_too_fast_is_told_when_to_come_back_once_it_has_asked() {
    let settings =
        [("MADANG__LIMITS__ACCEPTS_PER_SECOND", "1"), ("MADANG__LIMITS__ACCEPT_BURST", "1")];
    let fixture = Fixture::start(&settings);
    let _inside = fixture.client().await;
    let mut refused = None;
    // The bucket may gain a place in between, not a hundred.
    for _ in 0..100 {
        let mut client = TcpStream::connect(fixture.address).await.unwrap();
        client.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
        let mut first = [0];
        client.read_exact(&mut first).await.unwrap();
        if first == *b"H" {
            client.shutdown().await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            refused = Some(answer);
            break;
        }
    }
    let answer = refused.expect("a refusal");
    assert!(answer.starts_with("TTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\r\nretry-after: "), "{answer}");
    assert!(answer.contains(r#""code":"overloaded""#), "{answer}");
}

#[test]
fn more_connections_than_there_may_be_are_not_admitted() {
    let config = Config::read(None, [("MADANG__LIMITS__CONNECTIONS_MAX", "10")]).unwrap();
    let limits = Limits::new(&config.limits);
    assert!(limits.admit(10 + BESIDE_SOCKETS - 1));
    assert!(!limits.admit(10 + BESIDE_SOCKETS));
}
