//! Rooms as administrators see them: all there are, by name, and who is in one. What is said there is not shown.

use uuid::Uuid;

use super::rooms::RoomMember;
use super::{Db, Store, StoreError, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::rooms::{MemberRole, RoomKind, Seq, Visibility};
use crate::domain::time::Timestamp;

/// Messages of one room that are counted.
const MESSAGES_COUNTED_MAX: i64 = 10_000;

/// A room, from outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoom {
    pub id: RoomId,
    pub kind: RoomKind,
    pub visibility: Visibility,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub avatar: Option<String>,
    pub head: Seq,
    pub member_count: i64,
    pub created_by: UserId,
    pub created_at: Timestamp,
    pub last_active_at: Timestamp,
}

/// What there is in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomCounts {
    /// Those that stand, up to 10,000.
    pub messages: i64,
    pub open_reports: i64,
}

/// The place of a room in a list: behind the name by which it was found, if it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedRoomCursor {
    pub found_by: String,
    pub id: RoomId,
}

impl ListedRoomCursor {
    /// The place of a room in the list of those that are found by a name, or of all.
    #[must_use]
    pub fn of(room: &ListedRoom, is_found: bool) -> Self {
        let name = room.name.as_deref().filter(|_| is_found);
        Self { found_by: name.unwrap_or_default().to_ascii_lowercase(), id: room.id }
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    kind: String,
    visibility: String,
    name: Option<String>,
    topic: Option<String>,
    avatar: Option<String>,
    last_seq: i64,
    member_count: i64,
    created_by: Uuid,
    created_at: i64,
    last_active_at: i64,
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    role: String,
    joined_at: i64,
    muted_until: Option<i64>,
}

impl Store {
    /// Every room, the newest first; or those whose name begins with `name`, which is without capitals of ASCII, in the order of
    /// their names. At most `limit` after `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_all_rooms(
        &self,
        name: Option<String>,
        after: Option<ListedRoomCursor>,
        limit: i64,
    ) -> Result<Vec<ListedRoom>, StoreError> {
        let rows = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    match name {
                        None => list_newest(db, after, limit).await,
                        Some(name) => list_by_name(db, &name, after, limit).await,
                    }
                })
            })
            .await?;
        Ok(rows.into_iter().map(Row::into_room).collect())
    }

    /// One room, and what there is in it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_room(
        &self,
        id: RoomId,
    ) -> Result<Option<(ListedRoom, RoomCounts)>, StoreError> {
        self.read(move |db| {
            Box::pin(async move {
                let row = fetch_optional!(
                    db,
                    Row,
                    "SELECT id, kind, visibility, name, topic, avatar, last_seq, member_count,
                            created_by, created_at, last_active_at
                     FROM rooms
                     WHERE id = $1",
                    id.uuid(),
                )?;
                let Some(row) = row else { return Ok(None) };
                let counts = count(db, id).await?;
                Ok(Some((row.into_room(), counts)))
            })
        })
        .await
    }

    /// The members of a room, in the order of their ids, from above `after`; at most `limit`. How far they have read is theirs.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_members_of_room(
        &self,
        room: RoomId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<RoomMember>, StoreError> {
        let rows: Vec<MemberRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        MemberRow,
                        "SELECT m.user_id, u.handle, u.display_name, m.role, m.joined_at,
                                m.muted_until
                         FROM room_members m
                         JOIN users u ON u.id = m.user_id
                         WHERE m.room_id = $1 AND m.user_id > $2
                         ORDER BY m.user_id
                         LIMIT $3",
                        room.uuid(),
                        after.map_or(Uuid::nil(), UserId::uuid),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(MemberRow::into_member).collect())
    }
}

async fn list_newest(
    db: &mut Db,
    after: Option<ListedRoomCursor>,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    fetch_all!(
        db,
        Row,
        "SELECT id, kind, visibility, name, topic, avatar, last_seq, member_count, created_by,
                created_at, last_active_at
         FROM rooms
         WHERE id < $1
         ORDER BY id DESC
         LIMIT $2",
        after.map_or(Uuid::max(), |after| after.id.uuid()),
        limit,
    )
}

async fn list_by_name(
    db: &mut Db,
    name: &str,
    after: Option<ListedRoomCursor>,
    limit: i64,
) -> Result<Vec<Row>, StoreError> {
    let (found_by, id) = after
        .map_or_else(|| (name.to_owned(), Uuid::nil()), |after| (after.found_by, after.id.uuid()));
    fetch_all!(
        db,
        Row,
        "SELECT id, kind, visibility, name, topic, avatar, last_seq, member_count, created_by,
                created_at, last_active_at
         FROM rooms
         WHERE name IS NOT NULL AND lower(name) >= $1 AND (lower(name), id) > ($1, $2)
           AND lower(name) < $3
         ORDER BY lower(name), id
         LIMIT $4",
        found_by,
        id,
        format!("{name}{}", char::MAX),
        limit,
    )
}

async fn count(db: &mut Db, room: RoomId) -> Result<RoomCounts, StoreError> {
    let (messages, open_reports) = fetch_one!(
        db,
        (i64, i64),
        "SELECT (SELECT COUNT(*) FROM
                     (SELECT 1 FROM messages
                      WHERE room_id = $1 AND deleted_at IS NULL
                      LIMIT $2) AS counted),
                (SELECT COUNT(*) FROM message_reports WHERE room_id = $1 AND status = 'open')",
        room.uuid(),
        MESSAGES_COUNTED_MAX,
    )?;
    Ok(RoomCounts { messages, open_reports })
}

impl Row {
    fn into_room(self) -> ListedRoom {
        ListedRoom {
            id: self.id.into(),
            kind: RoomKind::parse(&self.kind).unwrap_or(RoomKind::Group),
            visibility: Visibility::parse(&self.visibility).unwrap_or(Visibility::Private),
            name: self.name,
            topic: self.topic,
            avatar: self.avatar,
            head: self.last_seq,
            member_count: self.member_count,
            created_by: self.created_by.into(),
            created_at: Timestamp::from_millis(self.created_at),
            last_active_at: Timestamp::from_millis(self.last_active_at),
        }
    }
}

impl MemberRow {
    fn into_member(self) -> RoomMember {
        RoomMember {
            user: self.user_id.into(),
            handle: self.handle,
            display_name: self.display_name,
            role: MemberRole::parse(&self.role).unwrap_or(MemberRole::Member),
            joined_at: Timestamp::from_millis(self.joined_at),
            read_seq: None,
            muted_until: self.muted_until.map(Timestamp::from_millis),
        }
    }
}
