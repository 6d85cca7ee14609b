//! A pair of users: the lock under which anything between them changes, and what a decision rests on.

use uuid::Uuid;

use super::super::{Db, StoreError, fetch_all, fetch_one, privacy};
use crate::domain::friends::{FriendFacts, FriendLimits, Numbers, RequestDay, Tie};
use crate::domain::ids::UserId;
use crate::domain::time::Timestamp;

/// Locks the accounts of two users until the transaction ends, in the order of their ids, so that two transactions never
/// wait for each other. Gives since when the actor's is there; `None` unless both are.
///
/// Not so strong a lock that it would keep others from referring to the accounts.
pub(in crate::store) async fn lock_pair(
    db: &mut Db,
    actor: UserId,
    other: UserId,
) -> Result<Option<Timestamp>, StoreError> {
    let select = db.dialect(
        "SELECT id, created_at FROM users WHERE id IN ($1, $2) AND deleted_at IS NULL",
        "SELECT id, created_at FROM users
         WHERE id IN ($1, $2) AND deleted_at IS NULL
         ORDER BY id
         FOR NO KEY UPDATE",
    );
    let rows = fetch_all!(db, (Uuid, i64), select, actor.uuid(), other.uuid())?;
    let since = |user: UserId| rows.iter().find(|(id, _)| *id == user.uuid());
    Ok(since(other).and(since(actor)).map(|(_, created_at)| Timestamp::from_millis(*created_at)))
}

#[derive(sqlx::FromRow)]
struct FactsRow {
    has_asked: bool,
    was_asked: bool,
    rejected_at: Option<i64>,
    has_rejected: bool,
    friends: i64,
    other_friends: i64,
    requests_open: i64,
    other_requests_received: i64,
    day_began_at: Option<i64>,
    day_requests: Option<i64>,
    blocks: i64,
}

/// What is to be read, and what is known already.
pub(super) struct Facts {
    pub(super) actor: UserId,
    pub(super) other: UserId,
    pub(super) account_since: Timestamp,
    pub(super) limits: FriendLimits,
}

impl Facts {
    /// Reads what a decision rests on. A statement of its own after the lock: it must see what the holder before has
    /// committed.
    pub(super) async fn read(self, db: &mut Db) -> Result<FriendFacts, StoreError> {
        let Self { actor, other, account_since, limits } = self;
        let row = fetch_one!(
            db,
            FactsRow,
            "SELECT EXISTS (SELECT 1 FROM friend_requests
                            WHERE from_id = $1 AND to_id = $2 AND rejected_at IS NULL) AS has_asked,
                    EXISTS (SELECT 1 FROM friend_requests
                            WHERE from_id = $2 AND to_id = $1 AND rejected_at IS NULL) AS was_asked,
                    (SELECT rejected_at FROM friend_requests
                     WHERE from_id = $1 AND to_id = $2) AS rejected_at,
                    EXISTS (SELECT 1 FROM friend_requests
                            WHERE from_id = $2 AND to_id = $1 AND rejected_at IS NOT NULL)
                        AS has_rejected,
                    (SELECT COUNT(*) FROM friendships WHERE user_id = $1) AS friends,
                    (SELECT COUNT(*) FROM friendships WHERE user_id = $2) AS other_friends,
                    (SELECT COUNT(*) FROM friend_requests
                     WHERE from_id = $1 AND rejected_at IS NULL) AS requests_open,
                    (SELECT COUNT(*) FROM friend_requests
                     WHERE to_id = $2 AND rejected_at IS NULL) AS other_requests_received,
                    (SELECT began_at FROM friend_request_days WHERE user_id = $1) AS day_began_at,
                    (SELECT requests FROM friend_request_days WHERE user_id = $1) AS day_requests,
                    (SELECT COUNT(*) FROM blocks WHERE user_id = $1) AS blocks",
            actor.uuid(),
            other.uuid(),
        )?;
        let privacy = privacy::find(db, other).await?;
        let relation = privacy::find_relation(db, actor, other).await?;
        let tie = match (relation.are_friends, row.has_asked, row.was_asked) {
            (true, ..) => Tie::Friends,
            (false, true, _) => Tie::Outgoing,
            (false, false, true) => Tie::Incoming,
            (false, false, false) => Tie::Nothing,
        };
        let day = row.day_began_at.zip(row.day_requests).map(|(began_at, requests)| RequestDay {
            began_at: Timestamp::from_millis(began_at),
            requests,
        });
        Ok(FriendFacts {
            actor,
            other,
            tie,
            rejected_at: row.rejected_at.map(Timestamp::from_millis),
            has_rejected: row.has_rejected,
            numbers: Numbers {
                friends: row.friends,
                other_friends: row.other_friends,
                requests_open: row.requests_open,
                other_requests_received: row.other_requests_received,
                day,
                account_since,
                blocks: row.blocks,
            },
            privacy,
            relation,
            limits,
        })
    }
}
