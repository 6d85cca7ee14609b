//! Lists of people: friends, requests, blocks, and friends in common, in pages.

use uuid::Uuid;

use super::super::{Db, Store, StoreError, blocks, fetch_all, privacy};
use super::FriendsError;
use crate::domain::friends::FriendError;
use crate::domain::ids::UserId;
use crate::domain::presence::{Presence, Status};
use crate::domain::privacy::{Privacy, Relation, may_see_presence};
use crate::domain::time::Timestamp;

/// A person as lists show them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    pub id: UserId,
    pub handle: String,
    pub display_name: String,
    pub avatar: Option<String>,
}

/// A person, and since when they are in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub person: Person,
    pub at: Timestamp,
}

/// A friend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Friend {
    pub person: Person,
    pub since: Timestamp,
    /// `None` where they let nobody see it.
    pub presence: Option<Presence>,
}

/// Which requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Incoming,
    Outgoing,
}

/// Where the next page of a list begins, the newest first: before this time and user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ListCursor {
    pub at: Timestamp,
    pub user: UserId,
}

#[derive(sqlx::FromRow)]
pub(in crate::store) struct ListedRow {
    id: Uuid,
    handle: String,
    display_name: String,
    avatar: Option<String>,
    at: i64,
}

#[derive(sqlx::FromRow)]
struct FriendRow {
    id: Uuid,
    handle: String,
    display_name: String,
    avatar: Option<String>,
    since: i64,
    status: Option<String>,
    last_seen_at: Option<i64>,
    who_sees_presence: Option<String>,
}

#[derive(sqlx::FromRow)]
struct PersonRow {
    id: Uuid,
    handle: String,
    display_name: String,
    avatar: Option<String>,
}

/// Selects people who are in a table (`t`) for `$1`, the newest first, from below `$2` and `$3`, at most `$4`.
macro_rules! select_listed {
    ($table:literal, $person:literal, $at:literal, $condition:expr) => {
        concat!(
            "SELECT u.id, u.handle, u.display_name, u.avatar, t.",
            $at,
            " AS at
             FROM ",
            $table,
            " t
             JOIN users u ON u.id = t.",
            $person,
            "
             WHERE ",
            $condition,
            " AND (t.",
            $at,
            ", t.",
            $person,
            ") < ($2, $3)
             ORDER BY t.",
            $at,
            " DESC, t.",
            $person,
            " DESC
             LIMIT $4"
        )
    };
}
pub(in crate::store) use select_listed;

/// Without a cursor: above everybody there can be.
pub(in crate::store) fn cursor_binds(after: Option<ListCursor>) -> (i64, Uuid) {
    after.map_or((i64::MAX, Uuid::max()), |cursor| (cursor.at.millis(), cursor.user.uuid()))
}

impl Store {
    /// The friends of a user, the newest first, with how they are shown to their friends.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_friends(
        &self,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Friend>, StoreError> {
        let (since, friend) = cursor_binds(after);
        let rows: Vec<FriendRow> = self
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        FriendRow,
                        "SELECT u.id, u.handle, u.display_name, u.avatar, f.since, p.status,
                                p.last_seen_at, s.who_sees_presence
                         FROM friendships f
                         JOIN users u ON u.id = f.friend_id
                         LEFT JOIN presences p ON p.user_id = u.id
                         LEFT JOIN user_settings s ON s.user_id = u.id
                         WHERE f.user_id = $1 AND (f.since, f.friend_id) < ($2, $3)
                         ORDER BY f.since DESC, f.friend_id DESC
                         LIMIT $4",
                        user.uuid(),
                        since,
                        friend,
                        limit,
                    )
                })
            })
            .await?;
        Ok(rows.into_iter().map(FriendRow::into_friend).collect())
    }

    /// The open requests that a user has sent or been sent, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_friend_requests(
        &self,
        user: UserId,
        direction: Direction,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, StoreError> {
        let select = match direction {
            Direction::Incoming => select_listed!(
                "friend_requests",
                "from_id",
                "sent_at",
                "t.to_id = $1 AND t.rejected_at IS NULL"
            ),
            Direction::Outgoing => select_listed!(
                "friend_requests",
                "to_id",
                "sent_at",
                "t.from_id = $1 AND t.rejected_at IS NULL"
            ),
        };
        self.list_people(select, user, after, limit).await
    }

    /// Whom a user has blocked, the newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_blocked(
        &self,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, StoreError> {
        let select = select_listed!("blocks", "blocked_id", "at", "t.user_id = $1");
        self.list_people(select, user, after, limit).await
    }

    /// The friends that a user and `other` have in common, in the order of their ids, from above `after`.
    ///
    /// # Errors
    /// [`FriendError::UserNotFound`] where the other is not there, or has blocked the user.
    pub async fn list_mutual_friends(
        &self,
        user: UserId,
        other: UserId,
        after: Option<UserId>,
        limit: i64,
    ) -> Result<Vec<Person>, FriendsError> {
        self.read(move |db| {
            Box::pin(async move {
                if !blocks::is_visible(db, user, other).await? {
                    return Err(FriendError::UserNotFound.into());
                }
                let rows = fetch_all!(
                    db,
                    PersonRow,
                    "SELECT u.id, u.handle, u.display_name, u.avatar
                     FROM friendships mine
                     JOIN friendships theirs ON theirs.user_id = $2
                                            AND theirs.friend_id = mine.friend_id
                     JOIN users u ON u.id = mine.friend_id
                     WHERE mine.user_id = $1 AND mine.friend_id > $3
                     ORDER BY mine.friend_id
                     LIMIT $4",
                    user.uuid(),
                    other.uuid(),
                    after.map_or(Uuid::nil(), UserId::uuid),
                    limit,
                )?;
                Ok(rows.into_iter().map(PersonRow::into_person).collect())
            })
        })
        .await
    }

    async fn list_people(
        &self,
        select: &'static str,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, StoreError> {
        let (at, person) = cursor_binds(after);
        let rows: Vec<ListedRow> = self
            .read(move |db: &mut Db| {
                Box::pin(async move {
                    fetch_all!(db, ListedRow, select, user.uuid(), at, person, limit)
                })
            })
            .await?;
        Ok(rows.into_iter().map(ListedRow::into_listed).collect())
    }
}

impl Listed {
    /// Where the page after this one begins.
    #[must_use]
    pub const fn cursor(&self) -> ListCursor {
        ListCursor { at: self.at, user: self.person.id }
    }
}

impl ListedRow {
    pub(in crate::store) fn into_listed(self) -> Listed {
        let Self { id, handle, display_name, avatar, at } = self;
        let person = Person { id: id.into(), handle, display_name, avatar };
        Listed { person, at: Timestamp::from_millis(at) }
    }
}

impl PersonRow {
    fn into_person(self) -> Person {
        let Self { id, handle, display_name, avatar } = self;
        Person { id: id.into(), handle, display_name, avatar }
    }
}

impl FriendRow {
    fn into_friend(self) -> Friend {
        let id = self.id.into();
        let presence = self.who_sees_presence.as_deref().map(privacy::circle).unwrap_or_default();
        let privacy = Privacy { presence, ..Privacy::default() };
        let relation = Relation { are_friends: true, ..Relation::default() };
        let presence = may_see_presence(&privacy, &relation).then(|| Presence {
            user_id: id,
            status: self.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline),
            last_seen_at: self.last_seen_at.map(Timestamp::from_millis),
        });
        let Self { handle, display_name, avatar, .. } = self;
        let person = Person { id, handle, display_name, avatar };
        Friend { person, since: Timestamp::from_millis(self.since), presence }
    }
}
