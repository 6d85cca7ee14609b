//! NATS `JetStream` as the bus: one stream, `PREFIX`, with the subjects `{prefix}.{topic}.{type}`.
//!
//! The server drops repeats by `Nats-Msg-Id`. A page is sent without waiting in between, so each event also names the
//! one before it: where that one got lost on the way, the server refuses the next instead of letting it overtake.

use std::time::Duration;

use async_nats::connection::State;
use async_nats::jetstream::context::{PublishAckFuture, PublishError, PublishErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::{self, Context, stream};
use async_nats::{Client, ConnectOptions, ServerAddr};
use async_trait::async_trait;
use secrecy::ExposeSecret;
use tokio::sync::Mutex;

use super::{Bus, BusError, BusEvent};
use crate::config::BusConfig;

const CONNECT_MAX: Duration = Duration::from_secs(5);
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// A NATS server, or a cluster of them, that is given events.
pub(super) struct Nats {
    servers: Vec<ServerAddr>,
    /// What the server's own tools call this connection.
    name: String,
    prefix: String,
    stream: stream::Config,
    line: Mutex<Line>,
}

/// The way to the server, of which there is one.
#[derive(Default)]
struct Line {
    /// `None` until there is something to publish, and after a failure.
    connection: Option<Connection>,
    /// After a page that failed, each event waits until the one before it was acknowledged. Somebody else may write
    /// into the stream: then no event finds the one before it at the end, and only this way leads on.
    one_by_one: bool,
}

struct Connection {
    client: Client,
    context: Context,
}

impl Nats {
    pub(super) fn new(config: &BusConfig, node: &str) -> Result<Self, BusError> {
        let urls = config.url.expose_secret().split(',').map(str::trim);
        let servers: Result<Vec<ServerAddr>, _> = urls.map(str::parse).collect();
        let prefix = config.prefix.clone();
        let stream = stream::Config {
            name: prefix.to_uppercase(),
            subjects: vec![format!("{prefix}.>")],
            max_messages: i64::try_from(config.max_len).unwrap_or(i64::MAX),
            duplicate_window: config.duplicate_window(),
            ..stream::Config::default()
        };
        Ok(Self {
            servers: servers.map_err(|error| BusError::Url(error.to_string()))?,
            name: format!("madang {node}"),
            prefix,
            stream,
            line: Mutex::default(),
        })
    }

    /// Connects, and makes the stream where there is none; one that is there stays as its operator made it.
    async fn connect(&self) -> Result<Connection, BusError> {
        let options = ConnectOptions::new()
            .name(&self.name)
            .connection_timeout(CONNECT_MAX)
            .request_timeout(Some(ANSWER_MAX))
            // One round; after that the next page connects anew, and finds out whether the stream is still there.
            .max_reconnects(self.servers.len());
        let client = options
            .connect(self.servers.as_slice())
            .await
            .map_err(|error| BusError::Away(error.to_string()))?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(ANSWER_MAX);
        let stream = context
            .get_or_create_stream(self.stream.clone())
            .await
            .map_err(|error| BusError::Refused(error.to_string()))?;
        let window_s = stream.cached_info().config.duplicate_window.as_secs();
        if window_s < self.stream.duplicate_window.as_secs() {
            tracing::warn!(
                window_s,
                "the stream on the bus knows repeats for a shorter time than is set"
            );
        }
        Ok(Connection { client, context })
    }

    /// Sends an event; it is on the bus when the future that is given says so.
    async fn send(
        &self,
        context: &Context,
        event: &BusEvent,
        before: Option<&BusEvent>,
    ) -> Result<PublishAckFuture, BusError> {
        let subject = format!("{}.{}.{}", self.prefix, event.topic, event.name);
        let mut message =
            PublishMessage::build().payload(event.json.clone().into()).message_id(&event.id);
        if let Some(before) = before {
            message = message.expected_last_message_id(&before.id);
        }
        context.send_publish(subject, message).await.map_err(|error| failure(&error))
    }

    async fn publish_at_once(
        &self,
        context: &Context,
        events: &[BusEvent],
    ) -> Result<(), BusError> {
        let mut sent = Vec::with_capacity(events.len());
        let mut before = None;
        for event in events {
            sent.push(self.send(context, event, before).await?);
            before = Some(event);
        }
        for acknowledgement in sent {
            acknowledgement.await.map_err(|error| failure(&error))?;
        }
        Ok(())
    }

    async fn publish_one_by_one(
        &self,
        context: &Context,
        events: &[BusEvent],
    ) -> Result<(), BusError> {
        for event in events {
            self.send(context, event, None).await?.await.map_err(|error| failure(&error))?;
        }
        Ok(())
    }
}

#[async_trait]
impl Bus for Nats {
    async fn publish(&self, events: &[BusEvent]) -> Result<(), BusError> {
        let mut line = self.line.lock().await;
        // Taken out, so that a connection that fails is not used again.
        let connection = match line.connection.take().filter(Connection::is_open) {
            Some(connection) => connection,
            None => self.connect().await?,
        };
        let carefully = std::mem::replace(&mut line.one_by_one, true);
        if carefully {
            self.publish_one_by_one(&connection.context, events).await?;
        } else {
            self.publish_at_once(&connection.context, events).await?;
        }
        *line = Line { connection: Some(connection), one_by_one: false };
        Ok(())
    }
}

impl Connection {
    fn is_open(&self) -> bool {
        self.client.connection_state() == State::Connected
    }
}

fn failure(error: &PublishError) -> BusError {
    match error.kind() {
        PublishErrorKind::TimedOut
        | PublishErrorKind::BrokenPipe
        | PublishErrorKind::MaxAckPending => BusError::Away(error.to_string()),
        PublishErrorKind::StreamNotFound
        | PublishErrorKind::WrongLastMessageId
        | PublishErrorKind::WrongLastSequence
        | PublishErrorKind::MaxPayloadExceeded
        | PublishErrorKind::Other => BusError::Refused(error.to_string()),
    }
}
