//! The server's SQLite file from the side: held, to make the store slow, and read, to know what is true.

use std::collections::HashMap;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Connection as _, SqliteConnection};
use tokio::time::sleep;
use uuid::Uuid;

use super::journal::Entry;
use super::oracle::Log;
use super::scene::Room;
use crate::seed::DATABASE;

/// How long somebody else's lock is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

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

/// Where the log of each room ends.
pub async fn heads(data: &Path, rooms: &[Room]) -> anyhow::Result<Vec<i64>> {
    let mut db = open(data).await?;
    let mut heads = Vec::with_capacity(rooms.len());
    for room in rooms {
        heads.push(head(&mut db, room).await?);
    }
    db.close().await?;
    Ok(heads)
}

/// The whole log of each room.
pub async fn logs(data: &Path, rooms: &[Room]) -> anyhow::Result<Vec<Log>> {
    let mut db = open(data).await?;
    let mut logs = Vec::with_capacity(rooms.len());
    for room in rooms {
        let head = head(&mut db, room).await?;
        let messages: Vec<(i64, Vec<u8>, String)> =
            sqlx::query_as("SELECT seq, id, sender_key FROM messages WHERE room_id = $1")
                .bind(room.id.as_bytes().as_slice())
                .fetch_all(&mut db)
                .await?;
        let others: Vec<(i64,)> = sqlx::query_as("SELECT seq FROM room_events WHERE room_id = $1")
            .bind(room.id.as_bytes().as_slice())
            .fetch_all(&mut db)
            .await?;
        let mut entries = HashMap::with_capacity(messages.len() + others.len());
        for (seq, id, key) in messages {
            entries.insert(seq, Entry::Message { id: Uuid::from_slice(&id)?, key: key.into() });
        }
        entries.extend(others.into_iter().map(|(seq,)| (seq, Entry::Other)));
        logs.push(Log { head, entries });
    }
    db.close().await?;
    Ok(logs)
}

async fn open(data: &Path) -> anyhow::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(data.join(DATABASE))
        .create_if_missing(false)
        .busy_timeout(BUSY_TIMEOUT);
    SqliteConnection::connect_with(&options).await.context("open the database")
}

async fn head(db: &mut SqliteConnection, room: &Room) -> anyhow::Result<i64> {
    let (head,): (i64,) = sqlx::query_as("SELECT last_seq FROM rooms WHERE id = $1")
        .bind(room.id.as_bytes().as_slice())
        .fetch_one(db)
        .await
        .context("find the room")?;
    Ok(head)
}
