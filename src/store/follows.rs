//! Follows: who wants to hear of whom, each change with its event.
//!
//! Invariant: `follower_counts` is the number of rows; both change under the lock of the two users.

use serde_json::json;

use super::friends::lists::{ListCursor, Listed, ListedRow, cursor_binds, select_listed};
use super::friends::lock_pair;
use super::{Db, Store, StoreError, blocks, execute, fetch_all, fetch_one, outbox, privacy};
use crate::clock;
use crate::domain::events::{DomainEvent, USER_EVENTS};
use crate::domain::follows::{FollowError, FollowFacts, decide};
use crate::domain::ids::UserId;
use crate::domain::privacy::may_see_follows;
use crate::domain::time::Timestamp;

/// How many follow a user, and how many the user follows.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, sqlx::FromRow)]
pub struct FollowCounts {
    pub followers: i64,
    pub following: i64,
}

/// Why nothing became of a follow, or a list of them is not shown.
#[derive(Debug, thiserror::Error)]
pub enum FollowsError {
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    is_following: bool,
    following: i64,
}

impl Store {
    /// Makes `actor` follow `other`; false where they do already. `UserFollowed`.
    ///
    /// # Errors
    /// [`FollowError`], as the rules say.
    pub async fn insert_follow(
        &self,
        actor: UserId,
        other: UserId,
        following_max: i64,
        now: Timestamp,
    ) -> Result<bool, FollowsError> {
        self.write(move |db| {
            Box::pin(async move {
                lock_pair(db, actor, other).await?.ok_or(FollowError::UserNotFound)?;
                let facts = read_facts(db, actor, other, following_max).await?;
                if !decide(&facts)? {
                    return Ok(false);
                }
                execute!(
                    db,
                    "INSERT INTO follows (user_id, followed_id, at) VALUES ($1, $2, $3)",
                    actor.uuid(),
                    other.uuid(),
                    now.millis(),
                )?;
                execute!(
                    db,
                    "INSERT INTO follower_counts (user_id, followers)
                     VALUES ($1, 1)
                     ON CONFLICT (user_id) DO UPDATE SET followers = follower_counts.followers + 1",
                    other.uuid(),
                )?;
                outbox::append(db, &event("UserFollowed", actor, other, now)).await?;
                Ok(true)
            })
        })
        .await
    }

    /// Makes `actor` follow `other` no more; false where they did not. `UserUnfollowed`.
    ///
    /// # Errors
    /// [`FollowError::UserNotFound`] where there is no such account.
    pub async fn delete_follow(
        &self,
        actor: UserId,
        other: UserId,
        now: Timestamp,
    ) -> Result<bool, FollowsError> {
        self.write(move |db| {
            Box::pin(async move {
                lock_pair(db, actor, other).await?.ok_or(FollowError::UserNotFound)?;
                let ended = delete(db, actor, other).await?;
                if ended {
                    outbox::append(db, &event("UserUnfollowed", actor, other, now)).await?;
                }
                Ok(ended)
            })
        })
        .await
    }

    /// Who follows a user, as far as `viewer` sees it, the newest first.
    ///
    /// # Errors
    /// [`FollowError::UserNotFound`] and [`FollowError::Private`].
    pub async fn list_followers(
        &self,
        viewer: UserId,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, FollowsError> {
        let select = select_listed!(
            "follows",
            "user_id",
            "at",
            concat!("t.followed_id = $1 AND ", blocks::no_block_between!("t.user_id", "$5"))
        );
        self.list_follows(select, viewer, user, after, limit).await
    }

    /// Whom a user follows, as far as `viewer` sees it, the newest first.
    ///
    /// # Errors
    /// [`FollowError::UserNotFound`] and [`FollowError::Private`].
    pub async fn list_following(
        &self,
        viewer: UserId,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, FollowsError> {
        let select = select_listed!(
            "follows",
            "followed_id",
            "at",
            concat!("t.user_id = $1 AND ", blocks::no_block_between!("t.followed_id", "$5"))
        );
        self.list_follows(select, viewer, user, after, limit).await
    }

    async fn list_follows(
        &self,
        select: &'static str,
        viewer: UserId,
        user: UserId,
        after: Option<ListCursor>,
        limit: i64,
    ) -> Result<Vec<Listed>, FollowsError> {
        let (at, person) = cursor_binds(after);
        self.read(move |db| {
            Box::pin(async move {
                if !blocks::is_visible(db, viewer, user).await? {
                    return Err(FollowError::UserNotFound.into());
                }
                let chosen = privacy::find(db, user).await?;
                let relation = privacy::find_relation(db, viewer, user).await?;
                if viewer != user && !may_see_follows(&chosen, &relation) {
                    return Err(FollowError::Private.into());
                }
                let (id, viewer) = (user.uuid(), viewer.uuid());
                let rows = fetch_all!(db, ListedRow, select, id, at, person, limit, viewer)?;
                Ok(rows.into_iter().map(ListedRow::into_listed).collect())
            })
        })
        .await
    }
}

/// How many follow a user, and how many the user follows.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn count(db: &mut Db, user: UserId) -> Result<FollowCounts, StoreError> {
    fetch_one!(
        db,
        FollowCounts,
        "SELECT coalesce((SELECT followers FROM follower_counts WHERE user_id = $1), 0)
                    AS followers,
                (SELECT COUNT(*) FROM follows WHERE user_id = $1) AS following",
        user.uuid(),
    )
}

/// Ends whatever follows there are between two users, who are locked; gives the events that say so.
pub(super) async fn delete_between(
    db: &mut Db,
    one: UserId,
    other: UserId,
    now: Timestamp,
) -> Result<Vec<DomainEvent>, StoreError> {
    let mut events = Vec::new();
    // In the order of who is followed, whose count changes.
    let (low, high) = (one.min(other), one.max(other));
    for (follower, followed) in [(high, low), (low, high)] {
        if delete(db, follower, followed).await? {
            events.push(event("UserUnfollowed", follower, followed, now));
        }
    }
    Ok(events)
}

/// Forgets every follow of a user, in both directions.
pub(super) async fn delete_all(db: &mut Db, user: UserId) -> Result<(), StoreError> {
    let lock = db.dialect(
        "SELECT 1 WHERE $1 IS NULL",
        "SELECT 1 FROM follower_counts
         WHERE user_id IN (SELECT followed_id FROM follows WHERE user_id = $1)
         ORDER BY user_id
         FOR UPDATE",
    );
    execute!(db, lock, user.uuid())?;
    execute!(
        db,
        "UPDATE follower_counts
         SET followers = followers - 1
         WHERE user_id IN (SELECT followed_id FROM follows WHERE user_id = $1)",
        user.uuid(),
    )?;
    execute!(db, "DELETE FROM follows WHERE user_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM follows WHERE followed_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM follower_counts WHERE user_id = $1", user.uuid()).map(|_| ())
}

async fn read_facts(
    db: &mut Db,
    actor: UserId,
    other: UserId,
    following_max: i64,
) -> Result<FollowFacts, StoreError> {
    let row = fetch_one!(
        db,
        FactsRow,
        "SELECT EXISTS (SELECT 1 FROM follows WHERE user_id = $1 AND followed_id = $2)
                    AS is_following,
                (SELECT COUNT(*) FROM follows WHERE user_id = $1) AS following",
        actor.uuid(),
        other.uuid(),
    )?;
    let block = blocks::find_between(db, actor, other).await?;
    let FactsRow { is_following, following } = row;
    Ok(FollowFacts { actor, other, block, is_following, following, following_max })
}

async fn delete(db: &mut Db, follower: UserId, followed: UserId) -> Result<bool, StoreError> {
    let rows = execute!(
        db,
        "DELETE FROM follows WHERE user_id = $1 AND followed_id = $2",
        follower.uuid(),
        followed.uuid(),
    )?;
    if rows == 0 {
        return Ok(false);
    }
    execute!(
        db,
        "UPDATE follower_counts SET followers = followers - 1 WHERE user_id = $1",
        followed.uuid(),
    )?;
    Ok(true)
}

/// What `follower` has done. Events of one follower keep their order.
fn event(name: &'static str, follower: UserId, followed: UserId, now: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: USER_EVENTS,
        name,
        subject: follower.to_string(),
        at: now,
        data: json!({ "from": follower, "to": followed }),
    }
}
