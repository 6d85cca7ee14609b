//! Rooms: how they come to be, who is in them, and the lists that people see.

use uuid::Uuid;

use super::messages::{ReadError, require_member};
use super::room_log::{RoomLog, room_created};
use super::{Db, Store, StoreError, blocks, execute, fetch_all, fetch_optional, privacy};
use crate::domain::ids::{EventId, MessageId, RoomId, UserId};
use crate::domain::inbox::InboxEvent;
use crate::domain::preferences::{RoomLevel, RoomNotifications};
use crate::domain::privacy::{DirectRequirement, may_bring_into_room};
use crate::domain::rooms::{
    MemberRole, RoomError, RoomKind, RoomName, RoomRules, Seq, Visibility, direct_key,
};
use crate::domain::time::Timestamp;

/// A room as one of its members sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomSummary {
    pub id: RoomId,
    pub kind: RoomKind,
    pub visibility: Visibility,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub avatar: Option<String>,
    pub read_receipts: bool,
    pub created_at: Timestamp,
    pub head: Seq,
    pub member_count: i64,
    pub last_active_at: Timestamp,
    pub role: MemberRole,
    pub read_seq: Seq,
    /// Messages of others after the marker, counted up to `UNREAD_COUNT_MAX`.
    pub unread_count: i64,
    pub last_message: Option<LastMessage>,
    /// In a direct room: who the other one is.
    pub peer: Option<UserId>,
    /// What the member wants to be told of.
    pub notifications: RoomNotifications,
}

/// The newest message of a room.
#[derive(Debug, Clone, PartialEq)]
pub struct LastMessage {
    pub id: MessageId,
    pub seq: Seq,
    pub from: UserId,
    pub body: String,
    pub at: Timestamp,
    pub deleted: bool,
}

/// A member of a room, with the name to show.
#[derive(Debug, Clone, PartialEq)]
pub struct RoomMember {
    pub user: UserId,
    pub handle: String,
    pub display_name: String,
    pub role: MemberRole,
    pub joined_at: Timestamp,
    /// `None` where it is not shown to the reader.
    pub read_seq: Option<Seq>,
    pub muted_until: Option<Timestamp>,
}

/// A public channel as anybody may find it.
#[derive(Debug, Clone, PartialEq)]
pub struct PublicRoom {
    pub id: RoomId,
    pub name: Option<String>,
    pub topic: Option<String>,
    pub avatar: Option<String>,
    pub member_count: i64,
    pub last_active_at: Timestamp,
}

/// Where the next page of rooms begins: below this activity and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RoomCursor {
    pub last_active_at: Timestamp,
    pub id: RoomId,
}

/// A group about to be opened.
#[derive(Debug, Clone)]
pub struct NewGroup {
    pub id: RoomId,
    pub event: EventId,
    pub owner: UserId,
    pub name: RoomName,
    pub visibility: Visibility,
    /// Everybody else, without repeats.
    pub members: Vec<UserId>,
}

#[derive(sqlx::FromRow)]
struct SummaryRow {
    id: Uuid,
    kind: String,
    visibility: String,
    name: Option<String>,
    topic: Option<String>,
    avatar: Option<String>,
    read_receipts: bool,
    created_at: i64,
    last_seq: i64,
    member_count: i64,
    last_active_at: i64,
    role: String,
    read_seq: i64,
    unread_count: i64,
    direct_key: Option<String>,
    message_id: Option<Uuid>,
    message_seq: Option<i64>,
    message_sender_id: Option<Uuid>,
    message_body: Option<String>,
    message_sent_at: Option<i64>,
    message_deleted_at: Option<i64>,
    notify_level: String,
    quiet_until: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct MemberRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    role: String,
    joined_at: i64,
    read_seq: Option<i64>,
    muted_until: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct PublicRow {
    id: Uuid,
    name: Option<String>,
    topic: Option<String>,
    avatar: Option<String>,
    member_count: i64,
    last_active_at: i64,
}

impl Store {
    /// Opens the one direct room of two users, or finds it; what its members' inboxes are told when this call made it.
    ///
    /// A room that is there stays, whatever the two have become to each other.
    ///
    /// # Errors
    /// [`RoomError::UserNotFound`] when the other has no account, [`RoomError::Oneself`], and what
    /// [`may_bring_into_room`] refuses.
    pub async fn insert_direct_room(
        &self,
        (id, event): (RoomId, EventId),
        caller: UserId,
        other: UserId,
        requirement: DirectRequirement,
        now: Timestamp,
    ) -> Result<(RoomId, Option<Vec<InboxEvent>>), ReadError> {
        if caller == other {
            return Err(RoomError::Oneself.into());
        }
        self.write(move |db| {
            Box::pin(async move {
                require_user(db, other).await?;
                let key = direct_key(caller, other);
                if let Some(found) = find_by_direct_key(db, &key).await? {
                    return Ok((found, None));
                }
                require_welcome(db, requirement, caller, &[other]).await?;
                let room = NewRow {
                    id,
                    kind: RoomKind::Direct,
                    visibility: Visibility::Private,
                    name: None,
                    direct_key: Some(&key),
                    created_by: caller,
                };
                // Of many that ask at once, the constraint lets one insert; the others find its row.
                if room.insert(db, now).await? {
                    let members = [(caller, MemberRole::Member), (other, MemberRole::Member)];
                    let told =
                        open_log(db, id, event, RoomKind::Direct, caller, &members, now).await?;
                    return Ok((id, Some(told)));
                }
                let found = find_by_direct_key(db, &key).await?;
                Ok((found.ok_or(StoreError::NotFound)?, None))
            })
        })
        .await
    }

    /// Opens a group with its first members, of whom the owner is the first; gives what their inboxes are told.
    ///
    /// # Errors
    /// [`RoomError::UserNotFound`] when one of them has no account, and what [`may_bring_into_room`] refuses of any.
    pub async fn insert_group(
        &self,
        group: NewGroup,
        requirement: DirectRequirement,
        now: Timestamp,
    ) -> Result<Vec<InboxEvent>, ReadError> {
        self.write(move |db| {
            Box::pin(async move {
                require_welcome(db, requirement, group.owner, &group.members).await?;
                let room = NewRow {
                    id: group.id,
                    kind: RoomKind::Group,
                    visibility: group.visibility,
                    name: Some(group.name.as_str()),
                    direct_key: None,
                    created_by: group.owner,
                };
                room.insert(db, now).await?;
                let mut members = vec![(group.owner, MemberRole::Owner)];
                members.extend(group.members.iter().map(|user| (*user, MemberRole::Member)));
                let (id, owner) = (group.id, group.owner);
                Ok(open_log(db, id, group.event, RoomKind::Group, owner, &members, now).await?)
            })
        })
        .await
    }

    /// The direct room of two users, if they ever opened it.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn find_direct_room(
        &self,
        one: UserId,
        other: UserId,
    ) -> Result<Option<RoomId>, StoreError> {
        self.read(move |db| {
            Box::pin(async move { find_by_direct_key(db, &direct_key(one, other)).await })
        })
        .await
    }

    /// The rooms of a user, most recently active first, with unread count and last message: one query.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_rooms(
        &self,
        user: UserId,
        after: Option<RoomCursor>,
        limit: i64,
    ) -> Result<Vec<RoomSummary>, StoreError> {
        let (active, id) = cursor_binds(after);
        let rows: Vec<SummaryRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        SummaryRow,
                        "SELECT r.id, r.kind, r.visibility, r.name, r.topic, r.avatar,
                                r.read_receipts, r.created_at, r.last_seq, r.member_count,
                                r.last_active_at, r.direct_key, rm.role, rm.read_seq,
                                rm.notify_level, rm.quiet_until,
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM messages u
                                     WHERE u.room_id = r.id AND u.seq > rm.read_seq
                                       AND u.sender_id <> rm.user_id AND u.deleted_at IS NULL
                                     LIMIT 1000) AS unread) AS unread_count,
                                m.id AS message_id, m.seq AS message_seq,
                                m.sender_id AS message_sender_id, m.body AS message_body,
                                m.sent_at AS message_sent_at, m.deleted_at AS message_deleted_at
                         FROM room_members rm
                         JOIN rooms r ON r.id = rm.room_id
                         LEFT JOIN messages m ON m.room_id = r.id AND m.seq = r.last_message_seq
                         WHERE rm.user_id = $1
                           AND (r.last_active_at < $2 OR (r.last_active_at = $2 AND r.id < $3))
                         ORDER BY r.last_active_at DESC, r.id DESC
                         LIMIT $4",
                        user.uuid(),
                        active,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|row| row.into_summary(user)).collect())
    }

    /// One room as `user` sees it.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for everybody who is not a member.
    pub async fn get_room(&self, room: RoomId, user: UserId) -> Result<RoomSummary, ReadError> {
        let row: Option<SummaryRow> = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    fetch_optional!(
                        db,
                        SummaryRow,
                        "SELECT r.id, r.kind, r.visibility, r.name, r.topic, r.avatar,
                                r.read_receipts, r.created_at, r.last_seq, r.member_count,
                                r.last_active_at, r.direct_key, rm.role, rm.read_seq,
                                rm.notify_level, rm.quiet_until,
                                (SELECT COUNT(*) FROM
                                    (SELECT 1 FROM messages u
                                     WHERE u.room_id = r.id AND u.seq > rm.read_seq
                                       AND u.sender_id <> rm.user_id AND u.deleted_at IS NULL
                                     LIMIT 1000) AS unread) AS unread_count,
                                m.id AS message_id, m.seq AS message_seq,
                                m.sender_id AS message_sender_id, m.body AS message_body,
                                m.sent_at AS message_sent_at, m.deleted_at AS message_deleted_at
                         FROM room_members rm
                         JOIN rooms r ON r.id = rm.room_id
                         LEFT JOIN messages m ON m.room_id = r.id AND m.seq = r.last_message_seq
                         WHERE rm.room_id = $1 AND rm.user_id = $2",
                        room.uuid(),
                        user.uuid(),
                    )
                })
            })
            .await?;
        row.map(|row| row.into_summary(user)).ok_or(ReadError::Room(RoomError::NotFound))
    }

    /// Which of `rooms` the user is a member of: whose channels they may follow.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_joined(
        &self,
        user: UserId,
        rooms: &[RoomId],
    ) -> Result<Vec<RoomId>, StoreError> {
        let wanted = serde_json::json!(rooms).to_string();
        let rows: Vec<(Uuid,)> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT m.room_id
                         FROM json_each($2) j
                         JOIN room_members m
                           ON m.user_id = $1 AND m.room_id = unhex(replace(j.value, '-', ''))",
                        "SELECT m.room_id
                         FROM jsonb_array_elements_text($2::jsonb) j
                         JOIN room_members m ON m.user_id = $1 AND m.room_id = j.value::uuid",
                    );
                    fetch_all!(db, (Uuid,), select, user.uuid(), wanted)
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(room,)| room.into()).collect())
    }

    /// The members of a room for one of them, in the order of their ids, from above `after`. How far the others have read
    /// is shown as its events are: where the room has read receipts, and in a direct room not past a block.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for everybody who is not a member.
    pub async fn list_room_members(
        &self,
        room: RoomId,
        reader: UserId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<RoomMember>, ReadError> {
        self.read(move |db| {
            Box::pin(async move {
                require_member(db, room, reader).await?;
                let rows = fetch_all!(
                    db,
                    MemberRow,
                    concat!(
                        "SELECT rm.user_id, u.handle, u.display_name, rm.role, rm.joined_at,
                                rm.muted_until,
                                CASE WHEN rm.user_id = $4 THEN rm.read_seq
                                     WHEN r.read_receipts AND (r.kind <> 'direct' OR (",
                        blocks::no_block_between!("rm.user_id", "$4"),
                        ")) THEN rm.read_seq END AS read_seq
                         FROM room_members rm
                         JOIN rooms r ON r.id = rm.room_id
                         JOIN users u ON u.id = rm.user_id
                         WHERE rm.room_id = $1 AND rm.user_id > $2
                         ORDER BY rm.user_id
                         LIMIT $3"
                    ),
                    room.uuid(),
                    after.map_or(Uuid::nil(), UserId::uuid),
                    limit,
                    reader.uuid(),
                )?;
                Ok(rows.into_iter().map(MemberRow::into_member).collect())
            })
        })
        .await
    }

    /// Public channels, most recently active first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_public_rooms(
        &self,
        after: Option<RoomCursor>,
        limit: i64,
    ) -> Result<Vec<PublicRoom>, StoreError> {
        let (active, id) = cursor_binds(after);
        let rows: Vec<PublicRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        PublicRow,
                        "SELECT id, name, topic, avatar, member_count, last_active_at
                         FROM rooms
                         WHERE visibility = 'public'
                           AND (last_active_at < $1 OR (last_active_at = $1 AND id < $2))
                         ORDER BY last_active_at DESC, id DESC
                         LIMIT $3",
                        active,
                        id,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(PublicRow::into_room).collect())
    }
}

/// Without a cursor: above every room there can be.
fn cursor_binds(after: Option<RoomCursor>) -> (i64, Uuid) {
    after.map_or((i64::MAX, Uuid::max()), |cursor| {
        (cursor.last_active_at.millis(), cursor.id.uuid())
    })
}

/// The row of a room that does not have a log yet.
struct NewRow<'r> {
    id: RoomId,
    kind: RoomKind,
    visibility: Visibility,
    name: Option<&'r str>,
    direct_key: Option<&'r str>,
    created_by: UserId,
}

impl NewRow<'_> {
    /// Inserts the row; `false` when the pair already has its direct room.
    async fn insert(&self, db: &mut Db, now: Timestamp) -> Result<bool, StoreError> {
        let rows = execute!(
            db,
            "INSERT INTO rooms
                 (id, kind, visibility, name, direct_key, read_receipts, created_by, created_at,
                  updated_at, last_seq, last_active_at, member_count)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8, 0, $8, 0)
             ON CONFLICT (direct_key) DO NOTHING",
            self.id.uuid(),
            self.kind.as_str(),
            self.visibility.as_str(),
            self.name,
            self.direct_key,
            self.kind == RoomKind::Direct,
            self.created_by.uuid(),
            now.millis(),
        )?;
        Ok(rows == 1)
    }
}

/// Writes the first events of a new room: each member's `user_joined`.
async fn open_log(
    db: &mut Db,
    room: RoomId,
    event: EventId,
    kind: RoomKind,
    creator: UserId,
    members: &[(UserId, MemberRole)],
    now: Timestamp,
) -> Result<Vec<InboxEvent>, StoreError> {
    // Who the first members are has been decided.
    let rules = RoomRules { member_count_max: i64::MAX, requirement: DirectRequirement::No };
    let mut log = RoomLog::lock(db, room, None, rules, now).await?.ok_or(StoreError::NotFound)?;
    for (user, role) in members {
        log.add_member(db, creator, *user, *role).await?;
    }
    let told = log.close(db, [event, event]).await?;
    let users: Vec<UserId> = members.iter().map(|(user, _)| *user).collect();
    super::outbox::append(db, &room_created(event, room, kind, &users, now)).await?;
    Ok(told)
}

async fn find_by_direct_key(db: &mut Db, key: &str) -> Result<Option<RoomId>, StoreError> {
    let found = fetch_optional!(db, (Uuid,), "SELECT id FROM rooms WHERE direct_key = $1", key)?;
    Ok(found.map(|(id,)| id.into()))
}

/// Refuses to bring people into a room who have no account, or do not let `actor` so near.
async fn require_welcome(
    db: &mut Db,
    requirement: DirectRequirement,
    actor: UserId,
    users: &[UserId],
) -> Result<(), ReadError> {
    let guests = privacy::list_guests(db, requirement, actor, users).await?;
    if guests.len() < users.len() {
        return Err(RoomError::UserNotFound.into());
    }
    for guest in guests {
        may_bring_into_room(guest.requirement, &guest.privacy, &guest.relation)?;
    }
    Ok(())
}

async fn require_user(db: &mut Db, user: UserId) -> Result<(), ReadError> {
    let known = fetch_optional!(
        db,
        (i64,),
        "SELECT created_at FROM users WHERE id = $1 AND deleted_at IS NULL",
        user.uuid(),
    )?;
    known.map(|_| ()).ok_or_else(|| RoomError::UserNotFound.into())
}

impl SummaryRow {
    fn into_summary(self, reader: UserId) -> RoomSummary {
        let last_message = self.last_message();
        let peer = self.direct_key.as_deref().and_then(|key| {
            let pair = key.split(':').filter_map(|id| id.parse::<UserId>().ok());
            pair.into_iter().find(|id| *id != reader)
        });
        RoomSummary {
            id: self.id.into(),
            kind: RoomKind::parse(&self.kind).unwrap_or(RoomKind::Group),
            visibility: Visibility::parse(&self.visibility).unwrap_or(Visibility::Private),
            name: self.name,
            topic: self.topic,
            avatar: self.avatar,
            read_receipts: self.read_receipts,
            created_at: Timestamp::from_millis(self.created_at),
            head: self.last_seq,
            member_count: self.member_count,
            last_active_at: Timestamp::from_millis(self.last_active_at),
            role: MemberRole::parse(&self.role).unwrap_or(MemberRole::Member),
            read_seq: self.read_seq,
            unread_count: self.unread_count,
            last_message,
            peer,
            notifications: RoomNotifications {
                level: RoomLevel::parse(&self.notify_level).unwrap_or_default(),
                muted_until: self.quiet_until.map(Timestamp::from_millis),
            },
        }
    }

    fn last_message(&self) -> Option<LastMessage> {
        Some(LastMessage {
            id: self.message_id?.into(),
            seq: self.message_seq?,
            from: self.message_sender_id?.into(),
            body: self.message_body.clone()?,
            at: Timestamp::from_millis(self.message_sent_at?),
            deleted: self.message_deleted_at.is_some(),
        })
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
            read_seq: self.read_seq,
            muted_until: self.muted_until.map(Timestamp::from_millis),
        }
    }
}

impl PublicRow {
    fn into_room(self) -> PublicRoom {
        PublicRoom {
            id: self.id.into(),
            name: self.name,
            topic: self.topic,
            avatar: self.avatar,
            member_count: self.member_count,
            last_active_at: Timestamp::from_millis(self.last_active_at),
        }
    }
}
