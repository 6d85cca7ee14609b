//! Friends: requests, friendships and blocks, each change with its events and what both are told.
//!
//! Invariant: whoever changes anything between two users has locked both of their rows, in the order of their ids. So
//! two requests that cross are a friendship, whatever else happens at the same time; and what is counted of each of
//! them, friends and open requests, cannot grow meanwhile.

pub mod lists;
mod pair;

use serde_json::json;

use self::pair::Facts;
pub(super) use self::pair::lock_pair;
use super::{Db, Store, StoreError, blocks, execute, fetch_all, follows, inboxes, outbox};
use crate::clock;
use crate::domain::events::{DomainEvent, FRIEND_EVENTS};
use crate::domain::friends::{
    FriendAction, FriendChange, FriendError, FriendFacts, FriendLimits, FriendState, RequestDay,
    decide,
};
use crate::domain::ids::UserId;
use crate::domain::inbox::{InboxEvent, InboxNote};
use crate::domain::rooms::direct_key;
use crate::domain::time::Timestamp;

/// What became of an action.
#[derive(Debug)]
pub struct FriendOutcome {
    /// What the other is to the actor now.
    pub state: FriendState,
    pub change: FriendChange,
    /// What both were told.
    pub inbox: Vec<InboxEvent>,
}

/// Why nothing became of it.
#[derive(Debug, thiserror::Error)]
pub enum FriendsError {
    #[error(transparent)]
    Friend(#[from] FriendError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Does what `actor` wants of `other`. Doing it again changes nothing.
    ///
    /// # Errors
    /// [`FriendError::UserNotFound`] where there is no such account, and what the rules refuse.
    pub async fn change_friendship(
        &self,
        actor: UserId,
        other: UserId,
        action: FriendAction,
        limits: FriendLimits,
        now: Timestamp,
    ) -> Result<FriendOutcome, FriendsError> {
        self.write(move |db| {
            Box::pin(async move {
                let account_since =
                    lock_pair(db, actor, other).await?.ok_or(FriendError::UserNotFound)?;
                let facts = Facts { actor, other, account_since, limits }.read(db).await?;
                let change = decide(action, &facts, now)?;
                let mut events = perform(db, &facts, change, now).await?;
                events.extend(change.event_names().iter().map(|name| event(name, &facts, now)));
                if !events.is_empty() {
                    outbox::append_all(db, &events).await?;
                }
                let to_actor = change.told_to_actor();
                let to_other = change.told_to_other();
                let notes =
                    [(actor, other, to_actor), (other, actor, to_other)].into_iter().filter_map(
                        |(user, of, state)| Some(InboxNote::friend_updated(user, of, state?)),
                    );
                let inbox = inboxes::append(db, notes.collect(), now).await?;
                Ok(FriendOutcome {
                    state: to_actor.unwrap_or_else(|| facts.state()),
                    change,
                    inbox,
                })
            })
        })
        .await
    }
}

/// What `from` has done to `to`. Events of one pair keep their order.
fn event(name: &'static str, facts: &FriendFacts, now: Timestamp) -> DomainEvent {
    DomainEvent {
        id: clock::new_uuid().into(),
        topic: FRIEND_EVENTS,
        name,
        subject: direct_key(facts.actor, facts.other),
        at: now,
        data: json!({ "from": facts.actor, "to": facts.other }),
    }
}

/// Writes what changes; gives the events of follows that end with it.
async fn perform(
    db: &mut Db,
    facts: &FriendFacts,
    change: FriendChange,
    now: Timestamp,
) -> Result<Vec<DomainEvent>, StoreError> {
    let (actor, other) = (facts.actor, facts.other);
    match change {
        FriendChange::Nothing => {}
        FriendChange::Requested => insert_request(db, facts, now).await?,
        FriendChange::Befriended => {
            delete_requests(db, actor, other).await?;
            insert_friendship(db, actor, other, now).await?;
        }
        FriendChange::Rejected => {
            execute!(
                db,
                "UPDATE friend_requests SET rejected_at = $3 WHERE from_id = $1 AND to_id = $2",
                other.uuid(),
                actor.uuid(),
                now.millis(),
            )?;
        }
        FriendChange::Cancelled => delete_open_requests(db, actor, other).await?,
        FriendChange::Parted => delete_friendship(db, actor, other).await?,
        FriendChange::Blocked(_) => {
            delete_friendship(db, actor, other).await?;
            // A request that was declined stays so: blocking is no way to repeat it.
            delete_open_requests(db, actor, other).await?;
            blocks::insert(db, actor, other, now).await?;
            return follows::delete_between(db, actor, other, now).await;
        }
        FriendChange::Unblocked => blocks::delete(db, actor, other).await?,
    }
    Ok(Vec::new())
}

async fn insert_request(
    db: &mut Db,
    facts: &FriendFacts,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO friend_requests (from_id, to_id, sent_at, rejected_at)
         VALUES ($1, $2, $3, NULL)
         ON CONFLICT (from_id, to_id) DO UPDATE SET sent_at = excluded.sent_at, rejected_at = NULL",
        facts.actor.uuid(),
        facts.other.uuid(),
        now.millis(),
    )?;
    let day = RequestDay::at(facts.numbers.day, now).with_one_more();
    execute!(
        db,
        "INSERT INTO friend_request_days (user_id, began_at, requests)
         VALUES ($1, $2, $3)
         ON CONFLICT (user_id) DO UPDATE
         SET began_at = excluded.began_at, requests = excluded.requests",
        facts.actor.uuid(),
        day.began_at.millis(),
        day.requests,
    )?;
    // Declined so long ago that they may be repeated: nobody needs to know of them.
    execute!(
        db,
        "DELETE FROM friend_requests WHERE from_id = $1 AND rejected_at <= $2",
        facts.actor.uuid(),
        now.minus(facts.limits.reject_cooldown).millis(),
    )
    .map(|_| ())
}

async fn insert_friendship(
    db: &mut Db,
    one: UserId,
    other: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "INSERT INTO friendships (user_id, friend_id, since) VALUES ($1, $2, $3), ($2, $1, $3)",
        one.uuid(),
        other.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

async fn delete_friendship(db: &mut Db, one: UserId, other: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM friendships
         WHERE (user_id = $1 AND friend_id = $2) OR (user_id = $2 AND friend_id = $1)",
        one.uuid(),
        other.uuid(),
    )
    .map(|_| ())
}

async fn delete_requests(db: &mut Db, one: UserId, other: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM friend_requests
         WHERE (from_id = $1 AND to_id = $2) OR (from_id = $2 AND to_id = $1)",
        one.uuid(),
        other.uuid(),
    )
    .map(|_| ())
}

async fn delete_open_requests(db: &mut Db, one: UserId, other: UserId) -> Result<(), StoreError> {
    execute!(
        db,
        "DELETE FROM friend_requests
         WHERE rejected_at IS NULL
           AND ((from_id = $1 AND to_id = $2) OR (from_id = $2 AND to_id = $1))",
        one.uuid(),
        other.uuid(),
    )
    .map(|_| ())
}

/// Forgets everything between a user who leaves for good and everybody else; gives what friends are told. Requests go
/// silently: whoever sent one, or was sent one, does not find it any more. The user's row must be locked already, and
/// nothing else may be waited for after this.
///
/// # Errors
/// [`StoreError`] when the database refuses.
pub async fn delete_all(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<Vec<InboxEvent>, StoreError> {
    let rows = fetch_all!(
        db,
        (uuid::Uuid,),
        "SELECT friend_id FROM friendships WHERE user_id = $1",
        user.uuid(),
    )?;
    // The other half of a friendship has no index of its own: it is found through this half.
    execute!(
        db,
        "DELETE FROM friendships
         WHERE friend_id = $1
           AND user_id IN (SELECT friend_id FROM friendships WHERE user_id = $1)",
        user.uuid(),
    )?;
    execute!(db, "DELETE FROM friendships WHERE user_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM friend_requests WHERE from_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM friend_requests WHERE to_id = $1", user.uuid())?;
    execute!(db, "DELETE FROM friend_request_days WHERE user_id = $1", user.uuid())?;
    blocks::delete_all(db, user).await?;
    follows::delete_all(db, user).await?;
    let told = rows.into_iter();
    let notes =
        told.map(|(other,)| InboxNote::friend_updated(other.into(), user, FriendState::None));
    inboxes::append(db, notes.collect(), now).await
}
