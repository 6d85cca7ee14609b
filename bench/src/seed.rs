//! Fills a room's log with old messages, straight into the database of a server that is not running.
//!
//! Sending a million messages would take longer than all measurements. What is written is what sending would
//! have written: numbered rows without a hole, and the room's head.

use std::path::Path;

use anyhow::{Context as _, ensure};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{Connection as _, SqliteConnection};
use uuid::Uuid;

/// The database file in the data folder.
pub const DATABASE: &str = "madang.db";
const BATCH: i64 = 50_000;

// Ids are UUIDv7 in order, as the server makes them.
const INSERT: &str = "
WITH RECURSIVE numbers (seq) AS (
    SELECT $3
    UNION ALL
    SELECT seq + 1 FROM numbers WHERE seq < $4
)
INSERT INTO messages (room_id, seq, id, sender_id, sender_key, body, sent_at)
SELECT $1,
       seq,
       unhex(printf('%012x', $5 + seq) || '7000' || substr(hex($1), 17, 4) || printf('%012x', seq)),
       $2,
       'bench-' || seq,
       printf('Message %d of the old days, long enough to be like what people write to one another in a room.', seq),
       $5 + seq
FROM numbers";

/// Appends `count` messages of `sender` to `room`; gives the room's new head.
pub async fn fill(data: &Path, room: &str, sender: &str, count: i64) -> anyhow::Result<i64> {
    let (room, sender) =
        (Uuid::parse_str(room)?.into_bytes(), Uuid::parse_str(sender)?.into_bytes());
    let options = SqliteConnectOptions::new()
        .filename(data.join(DATABASE))
        .create_if_missing(false)
        // Only this scene is at stake.
        .synchronous(SqliteSynchronous::Off);
    let mut db = SqliteConnection::connect_with(&options).await.context("open the database")?;
    let (head, since): (i64, i64) =
        sqlx::query_as("SELECT last_seq, last_active_at FROM rooms WHERE id = $1")
            .bind(room.as_slice())
            .fetch_one(&mut db)
            .await?;

    let last = head + count;
    let mut next = head + 1;
    while next <= last {
        let end = last.min(next + BATCH - 1);
        let inserted = sqlx::query(INSERT)
            .bind(room.as_slice())
            .bind(sender.as_slice())
            .bind(next)
            .bind(end)
            .bind(since)
            .execute(&mut db)
            .await
            .context("insert messages")?
            .rows_affected();
        ensure!(
            i64::try_from(inserted)? == end - next + 1,
            "{inserted} of {} rows",
            end - next + 1
        );
        next = end + 1;
    }
    sqlx::query(
        "UPDATE rooms SET last_seq = $2, last_message_seq = $2, last_active_at = $3 WHERE id = $1",
    )
    .bind(room.as_slice())
    .bind(last)
    .bind(since + last)
    .execute(&mut db)
    .await?;
    sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(&mut db).await?;
    sqlx::query("PRAGMA optimize").execute(&mut db).await?;
    db.close().await?;
    Ok(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Folder;

    const SCHEMA: [&str; 2] = [
        include_str!("../../migrations/sqlite/0001_accounts.sql"),
        include_str!("../../migrations/sqlite/0002_rooms.sql"),
    ];

    #[test]
    fn a_filled_room_has_every_number_once_and_knows_its_head() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new(&std::env::temp_dir()).unwrap();
            let (room, user) = (Uuid::new_v4(), Uuid::new_v4());
            let options = SqliteConnectOptions::new().filename(folder.path().join(DATABASE)).create_if_missing(true);
            let mut db = SqliteConnection::connect_with(&options).await.unwrap();
            for schema in SCHEMA {
                sqlx::raw_sql(schema).execute(&mut db).await.unwrap();
            }
            sqlx::query(
                "INSERT INTO rooms (id, kind, visibility, read_receipts, created_by, created_at, updated_at,
                                    last_seq, last_active_at, member_count)
                 VALUES ($1, 'group', 'private', FALSE, $2, 0, 0, 3, 1000, 1)",
            )
            .bind(room.as_bytes().as_slice())
            .bind(user.as_bytes().as_slice())
            .execute(&mut db)
            .await
            .unwrap();

            let last = fill(folder.path(), &room.to_string(), &user.to_string(), 60_000).await.unwrap();

            let seen: (i64, i64, i64, i64) = sqlx::query_as(
                "SELECT MIN(seq), MAX(seq), COUNT(DISTINCT id), (SELECT last_seq FROM rooms) FROM messages",
            )
            .fetch_one(&mut db)
            .await
            .unwrap();
            assert_eq!(last, 60_003);
            assert_eq!(seen, (4, 60_003, 60_000, 60_003));
        });
    }
}
