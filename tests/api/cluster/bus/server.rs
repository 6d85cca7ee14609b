//! The bus of a test, whichever it is, and what is found on it.

use std::collections::HashMap;

use redis::aio::MultiplexedConnection;
use serde_json::Value;

use crate::cluster::nats::NatsServer;
use crate::cluster::redis::RedisServer;

/// Which bus a test runs on.
#[derive(Debug, Clone, Copy)]
pub(super) enum BusKind {
    Redis,
    Nats,
}

pub(super) enum BusServer {
    Redis(RedisServer),
    Nats(NatsServer),
}

/// An event as it stands on the bus.
#[derive(Debug, Clone)]
pub(super) struct Published {
    pub(super) topic: String,
    /// By which the bus knows repeats.
    pub(super) id: String,
    pub(super) name: String,
    pub(super) event: Value,
}

impl BusServer {
    pub(super) async fn start(kind: BusKind) -> Self {
        match kind {
            BusKind::Redis => Self::Redis(RedisServer::start().await),
            BusKind::Nats => Self::Nats(NatsServer::start().await),
        }
    }

    /// The settings with which a server publishes here.
    pub(super) fn settings(&self) -> Vec<(String, String)> {
        let (kind, url) = match self {
            Self::Redis(server) => ("redis", server.url()),
            Self::Nats(server) => ("nats", server.url()),
        };
        let settings = [("MADANG__BUS__KIND", kind.to_owned()), ("MADANG__BUS__URL", url)];
        settings.map(|(key, value)| (key.to_owned(), value)).to_vec()
    }

    pub(super) fn port(&self) -> u16 {
        match self {
            Self::Redis(server) => server.port(),
            Self::Nats(server) => server.port(),
        }
    }

    /// The address of the same server at the other end of a line.
    pub(super) fn url_at(&self, port: u16) -> String {
        match self {
            Self::Redis(_) => format!("redis://127.0.0.1:{port}"),
            Self::Nats(_) => format!("nats://127.0.0.1:{port}"),
        }
    }

    pub(super) fn kill(&mut self) {
        match self {
            Self::Redis(server) => server.kill(),
            Self::Nats(server) => server.kill(),
        }
    }

    pub(super) async fn restart(&mut self) {
        match self {
            Self::Redis(server) => server.restart().await,
            Self::Nats(server) => server.restart().await,
        }
    }

    /// How many events there are.
    pub(super) async fn count(&self) -> usize {
        match self {
            Self::Redis(server) => {
                let mut connection = redis_connection(server).await;
                let mut count = 0;
                for stream in redis_streams(&mut connection).await {
                    let length: usize =
                        redis::cmd("XLEN").arg(stream).query_async(&mut connection).await.unwrap();
                    count += length;
                }
                count
            }
            Self::Nats(server) => match server.connect().await.get_stream("MADANG").await {
                Ok(stream) => usize::try_from(stream.cached_info().state.messages).unwrap(),
                Err(_) => 0,
            },
        }
    }

    /// All events, those of one topic in the order in which a reader finds them.
    pub(super) async fn published(&self) -> Vec<Published> {
        match self {
            Self::Redis(server) => read_redis(server).await,
            Self::Nats(server) => read_nats(server).await,
        }
    }
}

async fn redis_connection(server: &RedisServer) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.expect("Redis answers")
}

/// The marks of what was seen begin with a brace.
async fn redis_streams(connection: &mut MultiplexedConnection) -> Vec<String> {
    redis::cmd("KEYS").arg("madang:*").query_async(connection).await.unwrap()
}

async fn read_redis(server: &RedisServer) -> Vec<Published> {
    let mut connection = redis_connection(server).await;
    let mut all = Vec::new();
    for stream in redis_streams(&mut connection).await {
        let range = redis::cmd("XRANGE").arg(&stream).arg("-").arg("+").to_owned();
        let entries: Vec<(String, HashMap<String, String>)> =
            range.query_async(&mut connection).await.unwrap();
        all.extend(entries.into_iter().map(|(_, fields)| Published {
            topic: stream.strip_prefix("madang:").unwrap().to_owned(),
            id: fields["id"].clone(),
            name: fields["type"].clone(),
            event: serde_json::from_str(&fields["event"]).unwrap(),
        }));
    }
    all
}

async fn read_nats(server: &NatsServer) -> Vec<Published> {
    let stream = server.connect().await.get_stream("MADANG").await.expect("there is a stream");
    let mut all = Vec::new();
    for place in 1..=stream.cached_info().state.last_sequence {
        let message = stream.get_raw_message(place).await.unwrap();
        let subject = message.subject.strip_prefix("madang.").unwrap();
        let (topic, name) = subject.rsplit_once('.').unwrap();
        all.push(Published {
            topic: topic.to_owned(),
            id: message.headers.get("Nats-Msg-Id").unwrap().to_string(),
            name: name.to_owned(),
            event: serde_json::from_slice(&message.payload).unwrap(),
        });
    }
    all
}
