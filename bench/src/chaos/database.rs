//! The servers' database from the side: read, to know what is true; and SQLite's file held, to make the store slow.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, PgConnection, SqliteConnection};
use tokio::time::sleep;
use uuid::Uuid;

use super::journal::Entry;
use super::oracle::Log;
use super::scene::Room;
use crate::seed::DATABASE;

/// How long somebody else's lock is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Where it is.
#[derive(Debug)]
pub enum Database {
    /// The data folder of the one server.
    Sqlite(PathBuf),
    /// The URL, by a way that nobody cuts.
    Postgres(String),
}

#[derive(Debug)]
enum Reader {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

/// Keeps everybody else from writing for so long, and writes nothing. Each time with a connection of its own: one that
/// stayed would spare the server the recovery after a kill.
pub async fn hold(data: &Path, lasts: Duration) -> anyhow::Result<()> {
    let mut db = open(data).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut db).await?;
    sleep(lasts).await;
    sqlx::query("ROLLBACK").execute(&mut db).await?;
    db.close().await?;
    Ok(())
}

impl Database {
    /// Where the log of each room ends.
    pub async fn heads(&self, rooms: &[Room]) -> anyhow::Result<Vec<i64>> {
        let mut reader = self.open().await?;
        let mut heads = Vec::with_capacity(rooms.len());
        for room in rooms {
            heads.push(reader.head(room).await?);
        }
        reader.close().await?;
        Ok(heads)
    }

    /// The whole log of each room.
    pub async fn logs(&self, rooms: &[Room]) -> anyhow::Result<Vec<Log>> {
        let mut reader = self.open().await?;
        let mut logs = Vec::with_capacity(rooms.len());
        for room in rooms {
            logs.push(reader.log(room).await?);
        }
        reader.close().await?;
        Ok(logs)
    }

    async fn open(&self) -> anyhow::Result<Reader> {
        match self {
            Self::Sqlite(data) => open(data).await.map(Reader::Sqlite),
            Self::Postgres(url) => {
                let db = PgConnection::connect(url).await.context("reach the database")?;
                Ok(Reader::Postgres(db))
            }
        }
    }
}

/// All rows of the same text on either connection, for one room.
macro_rules! rows {
    ($reader:expr, $row:ty, $sql:literal, $room:expr) => {{
        let rows: Vec<$row> = match $reader {
            Reader::Sqlite(db) => sqlx::query_as($sql).bind($room.id).fetch_all(db).await?,
            Reader::Postgres(db) => sqlx::query_as($sql).bind($room.id).fetch_all(db).await?,
        };
        rows
    }};
}

impl Reader {
    async fn head(&mut self, room: &Room) -> anyhow::Result<i64> {
        let heads = rows!(self, (i64,), "SELECT last_seq FROM rooms WHERE id = $1", room);
        let (head,) = heads.first().context("find the room")?;
        Ok(*head)
    }

    async fn log(&mut self, room: &Room) -> anyhow::Result<Log> {
        let head = self.head(room).await?;
        let messages = rows!(
            self,
            (i64, Uuid, String),
            "SELECT seq, id, sender_key FROM messages WHERE room_id = $1",
            room
        );
        let others = rows!(self, (i64,), "SELECT seq FROM room_events WHERE room_id = $1", room);
        let mut entries = HashMap::with_capacity(messages.len() + others.len());
        for (seq, id, key) in messages {
            entries.insert(seq, Entry::Message { id, key: key.into() });
        }
        entries.extend(others.into_iter().map(|(seq,)| (seq, Entry::Other)));
        Ok(Log { head, entries })
    }

    async fn close(self) -> anyhow::Result<()> {
        match self {
            Self::Sqlite(db) => db.close().await?,
            Self::Postgres(db) => db.close().await?,
        }
        Ok(())
    }
}

async fn open(data: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(data.join(DATABASE))
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    SqliteConnection::connect_with(&options).await.context("open the database")
}
