//! People by the thousand, written straight into the database: nobody needs their passwords, and hashing one is slow.
//!
//! What is written is what registering and joining would have written, but for the events of that. Their ids are one
//! block, so that what concerns them is one range of any table.

use std::ops::Range;

use anyhow::{Context as _, ensure};
use uuid::Uuid;

use crate::database::{Connection, execute, rows};

/// The first id of the block: a UUIDv7 of a moment in 2024.
const FIRST: u128 = 0x0190_0000_0000_7000_8000_0000_0000_0000;
const REGISTERED_AT: i64 = 0x0190_0000_0000;

/// Residents with numbers from 0 on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Residents {
    count: usize,
}

/// How a resident is registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mail {
    Verified,
    /// No mail goes there.
    Unverified,
}

impl Residents {
    pub fn len(&self) -> usize {
        self.count
    }

    pub fn ids(&self) -> impl Iterator<Item = Uuid> + use<> {
        (0..self.count).map(id)
    }

    /// The number of a resident; `None` for somebody else.
    pub fn number(&self, user: Uuid) -> Option<usize> {
        let number = user.as_u128().checked_sub(FIRST)?;
        usize::try_from(number).ok().filter(|number| *number < self.count)
    }

    /// Writes so many residents into a database that has none.
    pub async fn settle(db: &mut Connection, count: usize, mail: Mail) -> anyhow::Result<Self> {
        let verified_at = (mail == Mail::Verified).then_some(REGISTERED_AT);
        execute!(db, "BEGIN");
        for number in 0..count {
            let handle = format!("resident{number:05}");
            execute!(
                db,
                "INSERT INTO users (id, handle, handle_key, email, email_key, display_name, roles,
                                    password_hash, created_at, updated_at, verified_at)
                 VALUES ($1, $2, $2, $3, $3, $4, 'USER', '', $5, $5, $6)",
                id(number),
                handle.as_str(),
                address(number),
                format!("Resident {number}"),
                REGISTERED_AT,
                verified_at,
            );
        }
        execute!(db, "COMMIT");
        Ok(Self { count })
    }

    /// Makes those with numbers in `who` members of `room`, who have read all of it.
    pub async fn join(
        &self,
        db: &mut Connection,
        room: Uuid,
        who: Range<usize>,
    ) -> anyhow::Result<()> {
        ensure!(who.end <= self.count, "{} residents cannot be {} members", self.count, who.end);
        let heads =
            rows!(db, (i64, i64), "SELECT last_seq, last_active_at FROM rooms WHERE id = $1", room);
        let (head, since) = *heads.first().context("find the room")?;
        let count = i64::try_from(who.len())?;
        execute!(db, "BEGIN");
        for number in who {
            execute!(
                db,
                "INSERT INTO room_members (room_id, user_id, role, joined_seq, joined_at, read_seq, notify)
                 VALUES ($1, $2, 'member', $3, $4, $3, TRUE)",
                room,
                id(number),
                head,
                since,
            );
        }
        let grow = execute!(
            db,
            "UPDATE rooms SET member_count = member_count + $2 WHERE id = $1",
            room,
            count,
        );
        ensure!(grow == 1, "the room is gone");
        execute!(db, "COMMIT");
        Ok(())
    }

    /// Events in the inboxes of all of them.
    pub async fn inbox_events(&self, db: &mut Connection) -> anyhow::Result<i64> {
        let (first, last) = (id(0), id(self.count.saturating_sub(1)));
        let heads = rows!(
            db,
            (i64,),
            "SELECT CAST(COALESCE(SUM(last_seq), 0) AS BIGINT) FROM inboxes
             WHERE user_id BETWEEN $1 AND $2",
            first,
            last,
        );
        Ok(heads.first().map_or(0, |(events,)| *events))
    }
}

/// Where mail reaches a resident.
pub fn address(number: usize) -> String {
    format!("resident{number:05}@example.com")
}

pub fn id(number: usize) -> Uuid {
    Uuid::from_u128(FIRST + number as u128)
}

#[cfg(test)]
mod tests {
    use sqlx::Connection as _;
    use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};

    use super::*;
    use crate::database::Database;
    use crate::folder::Folder;
    use crate::seed::DATABASE;

    const SCHEMA: [&str; 3] = [
        include_str!("../../migrations/sqlite/0001_accounts.sql"),
        include_str!("../../migrations/sqlite/0002_rooms.sql"),
        include_str!("../../migrations/sqlite/0004_inboxes.sql"),
    ];

    #[test]
    fn residents_are_one_block_of_ids_and_members_of_what_they_join() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = Folder::new(&std::env::temp_dir()).unwrap();
            let file = folder.path().join(DATABASE);
            let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
            let mut made = SqliteConnection::connect_with(&options).await.unwrap();
            for schema in SCHEMA {
                sqlx::raw_sql(schema).execute(&mut made).await.unwrap();
            }
            let room = Uuid::new_v4();
            sqlx::query(
                "INSERT INTO rooms (id, kind, visibility, read_receipts, created_by, created_at, updated_at,
                                    last_seq, last_active_at, member_count)
                 VALUES ($1, 'group', 'private', FALSE, $1, 0, 0, 3, 1000, 1)",
            )
            .bind(room)
            .execute(&mut made)
            .await
            .unwrap();
            let mut db = Database::Sqlite(folder.path().to_owned()).open().await.unwrap();

            let residents = Residents::settle(&mut db, 300, Mail::Unverified).await.unwrap();
            residents.join(&mut db, room, 0..200).await.unwrap();

            let count = "SELECT (SELECT COUNT(*) FROM room_members WHERE read_seq = 3), member_count FROM rooms";
            let members: (i64, i64) = sqlx::query_as(count).fetch_one(&mut made).await.unwrap();
            assert_eq!(members, (200, 201));
            assert_eq!(residents.inbox_events(&mut db).await.unwrap(), 0);
            let told = "INSERT INTO inboxes SELECT id, 2 FROM users";
            sqlx::query(told).execute(&mut made).await.unwrap();
            assert_eq!(residents.inbox_events(&mut db).await.unwrap(), 600);
            assert_eq!(residents.ids().last().and_then(|user| residents.number(user)), Some(299));
            assert_eq!(residents.number(id(300)).or(residents.number(room)), None);
            assert!(residents.join(&mut db, room, 200..301).await.is_err());
        });
    }
}
