//! The rooms' logs as the database has them; and SQLite's file held, to make the store slow.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::Connection as _;
use tokio::time::sleep;
use uuid::Uuid;

use super::journal::Entry;
use super::oracle::Log;
use super::scene::Room;
use crate::database::{Connection, Database, open_sqlite, rows};

/// Keeps everybody else from writing for so long, and writes nothing. Each time with a connection of its own: one that
/// stayed would spare the server the recovery after a kill.
pub async fn hold(data: &Path, lasts: Duration) -> anyhow::Result<()> {
    let mut db = open_sqlite(data).await?;
    sqlx::query("BEGIN IMMEDIATE").execute(&mut db).await?;
    sleep(lasts).await;
    sqlx::query("ROLLBACK").execute(&mut db).await?;
    db.close().await?;
    Ok(())
}

impl Database {
    /// Where the log of each room ends.
    pub async fn heads(&self, rooms: &[Room]) -> anyhow::Result<Vec<i64>> {
        let mut db = self.open().await?;
        let mut heads = Vec::with_capacity(rooms.len());
        for room in rooms {
            heads.push(db.head(room).await?);
        }
        db.close().await?;
        Ok(heads)
    }

    /// The whole log of each room.
    pub async fn logs(&self, rooms: &[Room]) -> anyhow::Result<Vec<Log>> {
        let mut db = self.open().await?;
        let mut logs = Vec::with_capacity(rooms.len());
        for room in rooms {
            logs.push(db.log(room).await?);
        }
        db.close().await?;
        Ok(logs)
    }
}

impl Connection {
    async fn head(&mut self, room: &Room) -> anyhow::Result<i64> {
        let heads = rows!(self, (i64,), "SELECT last_seq FROM rooms WHERE id = $1", room.id);
        let (head,) = heads.first().context("find the room")?;
        Ok(*head)
    }

    async fn log(&mut self, room: &Room) -> anyhow::Result<Log> {
        let head = self.head(room).await?;
        let messages = rows!(
            self,
            (i64, Uuid, String),
            "SELECT seq, id, sender_key FROM messages WHERE room_id = $1",
            room.id
        );
        let others = rows!(self, (i64,), "SELECT seq FROM room_events WHERE room_id = $1", room.id);
        let mut entries = HashMap::with_capacity(messages.len() + others.len());
        for (seq, id, key) in messages {
            entries.insert(seq, Entry::Message { id, key: key.into() });
        }
        entries.extend(others.into_iter().map(|(seq,)| (seq, Entry::Other)));
        Ok(Log { head, entries })
    }
}
