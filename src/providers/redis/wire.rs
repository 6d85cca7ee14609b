//! Wire: two connections to one Redis server, one that listens and one that speaks.
//!
//! Redis cuts a listener that is slow, so what comes in is handed on where it is read, without a queue between.

use std::time::Duration;

use bytes::Bytes;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, PushInfo, PushKind, Value, pipe};

use super::RedisError;
use super::topology::Server;

pub(super) const CONNECT_MAX: Duration = Duration::from_secs(2);
pub(super) const ANSWER_MAX: Duration = Duration::from_secs(3);

/// What a listener hears.
#[derive(Debug)]
pub enum Heard {
    /// Somebody has published this.
    Message(Bytes),
    /// The server has ended a subscription, perhaps because it was asked to.
    Unsubscribed(String),
    /// Nothing more is heard on this wire.
    Closed,
}

/// The connections to one server.
pub struct Wire {
    listening: MultiplexedConnection,
    commands: MultiplexedConnection,
    is_sharded: bool,
}

impl Wire {
    /// Connects. `on_heard` is called by the reader and must not wait.
    ///
    /// # Errors
    /// [`RedisError`] when the server cannot be reached.
    pub async fn open(
        server: &Server,
        on_heard: impl Fn(Heard) + Send + Sync + 'static,
    ) -> Result<Self, RedisError> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_MAX))
            .set_response_timeout(Some(ANSWER_MAX));
        let client = &server.client;
        let commands = client.get_multiplexed_async_connection_with_config(&config).await?;
        let config = config.set_push_sender(move |push: PushInfo| {
            if let Some(heard) = heard(push) {
                on_heard(heard);
            }
            Ok::<_, std::convert::Infallible>(())
        });
        let listening = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok(Self { listening, commands, is_sharded: server.is_sharded })
    }

    /// The connection for commands.
    #[must_use]
    pub const fn commands(&self) -> &MultiplexedConnection {
        &self.commands
    }

    /// Hears what is published in `channels` from now on.
    ///
    /// # Errors
    /// [`RedisError`]: some of them may be heard all the same.
    pub async fn subscribe(&self, channels: &[String]) -> Result<(), RedisError> {
        self.listen(if self.is_sharded { "SSUBSCRIBE" } else { "SUBSCRIBE" }, channels).await
    }

    /// Hears no more what is published in `channels`.
    ///
    /// # Errors
    /// [`RedisError`]: some of them may be heard all the same.
    pub async fn unsubscribe(&self, channels: &[String]) -> Result<(), RedisError> {
        self.listen(if self.is_sharded { "SUNSUBSCRIBE" } else { "UNSUBSCRIBE" }, channels).await
    }

    /// One command a channel, because each has one answer; all of them in one write.
    async fn listen(&self, command: &str, channels: &[String]) -> Result<(), RedisError> {
        if channels.is_empty() {
            return Ok(());
        }
        let mut commands = pipe();
        for channel in channels {
            commands.cmd(command).arg(channel).ignore();
        }
        Ok(commands.exec_async(&mut self.listening.clone()).await?)
    }

    /// Publishes messages, each in its channel, in order.
    ///
    /// # Errors
    /// [`RedisError`]: some may have been heard.
    pub async fn publish(&self, messages: &[(String, Bytes)]) -> Result<(), RedisError> {
        let command = if self.is_sharded { "SPUBLISH" } else { "PUBLISH" };
        let mut commands = pipe();
        for (channel, payload) in messages {
            commands.cmd(command).arg(channel).arg(payload.as_ref()).ignore();
        }
        Ok(commands.exec_async(&mut self.commands.clone()).await?)
    }
}

fn heard(push: PushInfo) -> Option<Heard> {
    match push.kind {
        PushKind::Message | PushKind::SMessage => match push.data.into_iter().nth(1) {
            Some(Value::BulkString(payload)) => Some(Heard::Message(payload.into())),
            _ => None,
        },
        PushKind::SUnsubscribe => match push.data.into_iter().next() {
            Some(Value::BulkString(channel)) => {
                Some(Heard::Unsubscribed(String::from_utf8_lossy(&channel).into_owned()))
            }
            _ => None,
        },
        PushKind::Disconnection => Some(Heard::Closed),
        _ => None,
    }
}
