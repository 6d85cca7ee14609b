//! Audiences: who sees whom, and where.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, fetch_all, fetch_one, privacy};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::presence::{People, Presence, Status, Viewers};
use crate::domain::privacy::{Block, Circle, Privacy, Relation, may_see_presence};
use crate::domain::time::Timestamp;

/// Blocks of one user, set or met, that are told to every hub. Whoever has more is shown to friends only.
const BLOCKS_TOLD_MAX: i64 = 1_000;

/// Where a user is seen, and by whom of those who are there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Audience {
    /// Rooms with their number of members.
    pub rooms: Vec<(RoomId, i64)>,
    pub viewers: Viewers,
}

impl Default for Audience {
    fn default() -> Self {
        Self { rooms: Vec::new(), viewers: Viewers::EVERYBODY }
    }
}

#[derive(sqlx::FromRow)]
struct SeenRow {
    user_id: Uuid,
    status: Option<String>,
    last_seen_at: Option<i64>,
    who_sees_presence: Option<String>,
    are_friends: bool,
    share_room: bool,
    by_viewer: bool,
    by_user: bool,
}

#[derive(sqlx::FromRow)]
struct ViewersRow {
    user_id: Uuid,
    who_sees_presence: Option<String>,
    set_by_user: i64,
    set_by_others: i64,
}

impl Store {
    /// How `users` are shown, as far as `viewer` may see them: oneself, friends, and whoever shares a room, as they have
    /// chosen and no block forbids. Any room: each shows its members to each other.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_presences(
        &self,
        viewer: UserId,
        users: &[UserId],
    ) -> Result<Vec<Presence>, StoreError> {
        let wanted = json!(users).to_string();
        let rows: Vec<SeenRow> = self
            .read(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT u.id AS user_id, p.status, p.last_seen_at, s.who_sees_presence,
                                EXISTS (SELECT 1 FROM friendships
                                        WHERE user_id = $1 AND friend_id = u.id) AS are_friends,
                                EXISTS (SELECT 1 FROM room_members mine
                                        JOIN room_members theirs
                                          ON theirs.room_id = mine.room_id
                                        WHERE mine.user_id = $1 AND theirs.user_id = u.id)
                                    AS share_room,
                                EXISTS (SELECT 1 FROM blocks
                                        WHERE user_id = $1 AND blocked_id = u.id) AS by_viewer,
                                EXISTS (SELECT 1 FROM blocks
                                        WHERE user_id = u.id AND blocked_id = $1) AS by_user
                         FROM json_each($2) j
                         JOIN users u ON u.id = unhex(replace(j.value, '-', ''))
                                     AND u.deleted_at IS NULL
                         LEFT JOIN presences p ON p.user_id = u.id
                         LEFT JOIN user_settings s ON s.user_id = u.id",
                        "SELECT u.id AS user_id, p.status, p.last_seen_at, s.who_sees_presence,
                                EXISTS (SELECT 1 FROM friendships
                                        WHERE user_id = $1 AND friend_id = u.id) AS are_friends,
                                EXISTS (SELECT 1 FROM room_members mine
                                        JOIN room_members theirs
                                          ON theirs.room_id = mine.room_id
                                        WHERE mine.user_id = $1 AND theirs.user_id = u.id)
                                    AS share_room,
                                EXISTS (SELECT 1 FROM blocks
                                        WHERE user_id = $1 AND blocked_id = u.id) AS by_viewer,
                                EXISTS (SELECT 1 FROM blocks
                                        WHERE user_id = u.id AND blocked_id = $1) AS by_user
                         FROM jsonb_array_elements_text($2::jsonb) j
                         JOIN users u ON u.id = j.value::uuid AND u.deleted_at IS NULL
                         LEFT JOIN presences p ON p.user_id = u.id
                         LEFT JOIN user_settings s ON s.user_id = u.id",
                    );
                    fetch_all!(db, SeenRow, select, viewer.uuid(), wanted)
                })
            })
            .await?;
        Ok(rows.into_iter().filter_map(|row| row.into_presence(viewer)).collect())
    }

    /// The audience of each of `users` who has any.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_audiences(
        &self,
        users: &[UserId],
    ) -> Result<HashMap<UserId, Audience>, StoreError> {
        let wanted = json!(users).to_string();
        self.read(move |db| {
            Box::pin(async move {
                let mut audiences: HashMap<UserId, Audience> = HashMap::new();
                for (user, room, members) in list_room_sizes(db, &wanted).await? {
                    audiences.entry(user).or_default().rooms.push((room, members));
                }
                for (user, viewers) in list_viewers(db, &wanted).await? {
                    audiences.entry(user).or_default().viewers = viewers;
                }
                Ok(audiences)
            })
        })
        .await
    }

    /// How many members of a room are not offline.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn count_present(&self, room: RoomId) -> Result<i64, StoreError> {
        let (count,): (i64,) = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*)
                         FROM room_members m
                         JOIN presences p ON p.user_id = m.user_id
                         WHERE m.room_id = $1 AND p.status <> 'offline'",
                        room.uuid(),
                    )
                })
            })
            .await?;
        Ok(count)
    }

    /// The friends of a user and whom they talk with in direct rooms, the last active first, at most `limit`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_companions(
        &self,
        user: UserId,
        limit: i64,
    ) -> Result<Vec<UserId>, StoreError> {
        let rows: Vec<(Uuid,)> = self
            .read(move |db: &mut Db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (Uuid,),
                        "SELECT c.user_id
                         FROM (SELECT theirs.user_id AS user_id, r.last_active_at AS at
                               FROM room_members mine
                               JOIN rooms r ON r.id = mine.room_id AND r.kind = 'direct'
                               JOIN room_members theirs ON theirs.room_id = r.id
                                                       AND theirs.user_id <> mine.user_id
                               WHERE mine.user_id = $1
                               UNION ALL
                               SELECT friend_id AS user_id, since AS at
                               FROM friendships
                               WHERE user_id = $1) AS c
                         GROUP BY c.user_id
                         ORDER BY MAX(c.at) DESC
                         LIMIT $2",
                        user.uuid(),
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(|(user,)| user.into()).collect())
    }
}

async fn list_room_sizes(
    db: &mut Db,
    users: &str,
) -> Result<impl Iterator<Item = (UserId, RoomId, i64)> + use<>, StoreError> {
    let select = db.dialect(
        "SELECT m.user_id, r.id, r.member_count
         FROM json_each($1) j
         JOIN room_members m ON m.user_id = unhex(replace(j.value, '-', ''))
         JOIN rooms r ON r.id = m.room_id",
        "SELECT m.user_id, r.id, r.member_count
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN room_members m ON m.user_id = j.value::uuid
         JOIN rooms r ON r.id = m.room_id",
    );
    let rows = fetch_all!(db, (Uuid, Uuid, i64), select, users)?;
    Ok(rows.into_iter().map(|(user, room, members)| (user.into(), room.into(), members)))
}

/// Who sees each of those users whom not everybody sees.
async fn list_viewers(db: &mut Db, users: &str) -> Result<HashMap<UserId, Viewers>, StoreError> {
    let select = db.dialect(
        "SELECT u.id AS user_id, s.who_sees_presence,
                (SELECT COUNT(*) FROM
                    (SELECT 1 FROM blocks WHERE user_id = u.id LIMIT $2) AS b) AS set_by_user,
                (SELECT COUNT(*) FROM
                    (SELECT 1 FROM blocks WHERE blocked_id = u.id LIMIT $2) AS b) AS set_by_others
         FROM json_each($1) j
         JOIN users u ON u.id = unhex(replace(j.value, '-', ''))
         LEFT JOIN user_settings s ON s.user_id = u.id",
        "SELECT u.id AS user_id, s.who_sees_presence,
                (SELECT COUNT(*) FROM
                    (SELECT 1 FROM blocks WHERE user_id = u.id LIMIT $2) AS b) AS set_by_user,
                (SELECT COUNT(*) FROM
                    (SELECT 1 FROM blocks WHERE blocked_id = u.id LIMIT $2) AS b) AS set_by_others
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN users u ON u.id = j.value::uuid
         LEFT JOIN user_settings s ON s.user_id = u.id",
    );
    let (mut viewers, mut to_friends, mut past_blocks) = (HashMap::new(), Vec::new(), Vec::new());
    for row in fetch_all!(db, ViewersRow, select, users, BLOCKS_TOLD_MAX)? {
        let blocks = row.set_by_user.saturating_add(row.set_by_others);
        let circle = row.who_sees_presence.as_deref().map(privacy::circle).unwrap_or_default();
        let user = UserId::from(row.user_id);
        match circle {
            Circle::Nobody => {
                viewers.insert(user, Viewers::Only(People::default()));
            }
            Circle::Friends => to_friends.push(user),
            Circle::Everyone | Circle::Common if blocks >= BLOCKS_TOLD_MAX => to_friends.push(user),
            Circle::Everyone | Circle::Common if blocks > 0 => past_blocks.push(user),
            Circle::Everyone | Circle::Common => {}
        }
    }
    if !to_friends.is_empty() {
        let mut friends = list_friend_ids(db, &to_friends).await?;
        let only = to_friends.into_iter();
        viewers.extend(
            only.map(|user| {
                (user, Viewers::Only(friends.remove(&user).unwrap_or_default().into()))
            }),
        );
    }
    if !past_blocks.is_empty() {
        let blocked = list_block_ids(db, &past_blocks).await?;
        viewers.extend(
            blocked.into_iter().map(|(user, others)| (user, Viewers::AllBut(others.into()))),
        );
    }
    Ok(viewers)
}

async fn list_block_ids(
    db: &mut Db,
    users: &[UserId],
) -> Result<HashMap<UserId, Vec<UserId>>, StoreError> {
    let select = db.dialect(
        "SELECT b.user_id, b.blocked_id
         FROM json_each($1) j
         JOIN blocks b ON b.user_id = unhex(replace(j.value, '-', ''))
         UNION
         SELECT b.blocked_id, b.user_id
         FROM json_each($1) j
         JOIN blocks b ON b.blocked_id = unhex(replace(j.value, '-', ''))",
        "SELECT b.user_id, b.blocked_id
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN blocks b ON b.user_id = j.value::uuid
         UNION
         SELECT b.blocked_id, b.user_id
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN blocks b ON b.blocked_id = j.value::uuid",
    );
    Ok(group(fetch_all!(db, (Uuid, Uuid), select, json!(users).to_string())?))
}

async fn list_friend_ids(
    db: &mut Db,
    users: &[UserId],
) -> Result<HashMap<UserId, Vec<UserId>>, StoreError> {
    let select = db.dialect(
        "SELECT f.user_id, f.friend_id
         FROM json_each($1) j
         JOIN friendships f ON f.user_id = unhex(replace(j.value, '-', ''))",
        "SELECT f.user_id, f.friend_id
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN friendships f ON f.user_id = j.value::uuid",
    );
    Ok(group(fetch_all!(db, (Uuid, Uuid), select, json!(users).to_string())?))
}

fn group(pairs: Vec<(Uuid, Uuid)>) -> HashMap<UserId, Vec<UserId>> {
    let mut groups: HashMap<UserId, Vec<UserId>> = HashMap::new();
    for (user, other) in pairs {
        groups.entry(user.into()).or_default().push(other.into());
    }
    groups
}

impl SeenRow {
    /// The presence, unless it is not for the viewer.
    fn into_presence(self, viewer: UserId) -> Option<Presence> {
        let user_id = self.user_id.into();
        let privacy = Privacy {
            presence: self.who_sees_presence.as_deref().map(privacy::circle).unwrap_or_default(),
            ..Privacy::default()
        };
        let relation = Relation {
            block: Block::of(self.by_viewer, self.by_user),
            are_friends: self.are_friends,
            share_room: self.share_room,
            share_friend: false,
        };
        (user_id == viewer || may_see_presence(&privacy, &relation)).then(|| Presence {
            user_id,
            status: self.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline),
            last_seen_at: self.last_seen_at.map(Timestamp::from_millis),
        })
    }
}
