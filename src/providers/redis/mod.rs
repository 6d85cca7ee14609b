//! Redis: who serves which partition at this moment, and scripts that run there.
//!
//! Everything that nodes share in Redis lies in one of [`partition::PARTITIONS`] partitions, each on one server.
//! [`Redis`] knows the connections that the link has opened and gives them up with it. Invariant: while a server is
//! known to be away, nobody waits for it.

pub mod partition;
pub mod topology;
pub mod wire;

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{ErrorKind, FromRedisValue, Script, ServerErrorKind};
use tokio::sync::Notify;

use self::partition::{PARTITIONS, Partition};

/// How long anybody waits for a script: whoever asks has an answer of their own for the case that there is none.
const RUN_MAX: Duration = Duration::from_millis(250);

/// Why Redis did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// The server is known to be gone; nothing was sent.
    #[error("Redis is away")]
    Away,
    /// It did not answer in time; what was sent may have been done.
    #[error("Redis does not answer in time")]
    TimedOut,
    /// It answered with an error, or cannot be reached.
    #[error("Redis: {0}")]
    Refused(String),
}

impl From<redis::RedisError> for RedisError {
    fn from(error: redis::RedisError) -> Self {
        if error.is_timeout() { Self::TimedOut } else { Self::Refused(error.to_string()) }
    }
}

/// A script with what it is about. All `keys` must carry the tag of the partition it is run on.
#[derive(Debug)]
pub struct Invocation {
    pub script: &'static Script,
    pub keys: Vec<String>,
    pub arguments: Vec<Vec<u8>>,
}

/// The way to the server of each partition. Cheap to clone; clones are the same.
#[derive(Clone, Default)]
pub struct Redis(Arc<Inner>);

#[derive(Default)]
struct Inner {
    servers: RwLock<Servers>,
    /// A partition is no longer where it was.
    moved: Notify,
}

/// The connection for commands of each partition, as far as there is one.
type Servers = Vec<Option<MultiplexedConnection>>;

impl Redis {
    /// Runs a script on the server of `partition`; from any thread.
    ///
    /// # Errors
    /// [`RedisError`], after 250 ms at the latest.
    pub async fn run<T: FromRedisValue + Send + 'static>(
        &self,
        partition: Partition,
        invocation: Invocation,
    ) -> Result<T, RedisError> {
        let mut connection = self.connection(partition).ok_or(RedisError::Away)?;
        let mut prepared = invocation.script.prepare_invoke();
        for key in &invocation.keys {
            prepared.key(key);
        }
        for argument in &invocation.arguments {
            prepared.arg(argument.as_slice());
        }
        let answer = tokio::time::timeout(RUN_MAX, prepared.invoke_async(&mut connection)).await;
        let answer = answer.map_err(|_| RedisError::TimedOut)?;
        answer.map_err(|error| {
            if matches!(error.kind(), ErrorKind::Server(ServerErrorKind::Moved)) {
                self.0.moved.notify_one();
            }
            error.into()
        })
    }

    /// Waits until a server has said that a partition is elsewhere.
    pub async fn has_moved(&self) {
        self.0.moved.notified().await;
    }

    /// Whether the server of `partition` is known to be gone.
    #[must_use]
    pub fn is_away(&self, partition: Partition) -> bool {
        self.connection(partition).is_none()
    }

    /// From now on `partitions` are reached over `connection`; over none, when it is `None`.
    pub fn set(&self, partitions: &[Partition], connection: Option<&MultiplexedConnection>) {
        let mut servers = self.0.servers.write().unwrap_or_else(PoisonError::into_inner);
        servers.resize(usize::from(PARTITIONS), None);
        for partition in partitions {
            if let Some(server) = servers.get_mut(partition.index()) {
                *server = connection.cloned();
            }
        }
    }

    fn connection(&self, partition: Partition) -> Option<MultiplexedConnection> {
        let servers = self.0.servers.read().unwrap_or_else(PoisonError::into_inner);
        servers.get(partition.index()).cloned().flatten()
    }
}
