//! Friends: whatever happens between two users at the same time, they end as one thing, and each change is told once.

use std::time::Duration;

use futures_util::future::join_all;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};
use serde_json::{Value, json};

use super::super::follows::{self, FollowCounts, FollowsError};
use super::super::friends::{FriendOutcome, FriendsError, delete_all};
use super::super::{StoreError, accounts, execute, fetch_all, fetch_one};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::follows::FollowError;
use crate::domain::friends::{FriendAction, FriendChange, FriendError, FriendLimits, FriendState};
use crate::domain::ids::UserId;
use crate::domain::inbox::InboxEventName;
use crate::domain::rooms::direct_key;
use crate::domain::time::Timestamp;

pub(super) const LIMITS: FriendLimits = FriendLimits {
    friends_max: 100,
    requests_open_max: 100,
    requests_received_max: 1_000,
    requests_per_day: 10_000,
    new_account: Duration::ZERO,
    new_account_requests_per_day: 0,
    reject_cooldown: Duration::ZERO,
    blocks_max: 100,
};
const ROUNDS: usize = 40;

const ALL: [FriendAction; 7] = [
    FriendAction::Request,
    FriendAction::Accept,
    FriendAction::Reject,
    FriendAction::Cancel,
    FriendAction::Delete,
    FriendAction::Block,
    FriendAction::Unblock,
];

impl Fixture {
    async fn wish(
        &self,
        actor: UserId,
        action: FriendAction,
        other: UserId,
    ) -> Result<FriendOutcome, FriendsError> {
        self.store.change_friendship(actor, other, action, LIMITS, clock::now()).await
    }

    pub(super) async fn change(
        &self,
        actor: UserId,
        action: FriendAction,
        other: UserId,
    ) -> FriendChange {
        self.wish(actor, action, other).await.unwrap().change
    }

    pub(super) async fn befriend(&self, one: UserId, other: UserId) {
        self.change(one, FriendAction::Request, other).await;
        self.change(other, FriendAction::Accept, one).await;
    }

    /// Rows between two users: friendships, open requests, blocks.
    async fn rows_between(&self, one: UserId, other: UserId) -> [i64; 3] {
        let counted: Result<_, StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move {
                    let (one, other) = (one.uuid(), other.uuid());
                    let (friends,) = fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM friendships
                         WHERE user_id IN ($1, $2) AND friend_id IN ($1, $2)",
                        one,
                        other,
                    )?;
                    let (requests,) = fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM friend_requests
                         WHERE from_id IN ($1, $2) AND to_id IN ($1, $2)
                           AND rejected_at IS NULL",
                        one,
                        other,
                    )?;
                    let (blocks,) = fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM blocks
                         WHERE user_id IN ($1, $2) AND blocked_id IN ($1, $2)",
                        one,
                        other,
                    )?;
                    Ok([friends, requests, blocks])
                })
            })
            .await;
        counted.unwrap()
    }

    /// The names of the domain events about two users, in order.
    async fn told_of(&self, one: UserId, other: UserId) -> Vec<String> {
        let names: Result<_, StoreError> = self
            .store
            .read(move |db| {
                Box::pin(
                    async move { accounts::list_event_names(db, &direct_key(one, other)).await },
                )
            })
            .await;
        names.unwrap()
    }

    /// What a user was told about others.
    async fn states_told(&self, user: UserId) -> Vec<Value> {
        let events = self.store.list_inbox(user, 0, 1_000).await.unwrap();
        let events = events.iter().filter(|event| event.name == InboxEventName::FriendUpdated);
        events.map(|event| serde_json::from_str(&event.data).unwrap()).collect()
    }

    async fn follow_counts(&self, user: UserId) -> FollowCounts {
        let counts: Result<_, StoreError> =
            self.store.read(move |db| Box::pin(follows::count(db, user))).await;
        counts.unwrap()
    }

    /// How many rows of `follows` lead to a user.
    async fn follower_rows(&self, user: UserId) -> i64 {
        let counted: Result<(i64,), StoreError> = self
            .store
            .read(move |db| {
                Box::pin(async move {
                    fetch_one!(
                        db,
                        (i64,),
                        "SELECT COUNT(*) FROM follows WHERE followed_id = $1",
                        user.uuid()
                    )
                })
            })
            .await;
        counted.unwrap().0
    }

    async fn follow(&self, actor: UserId, other: UserId) -> Result<bool, FollowsError> {
        self.store.insert_follow(actor, other, 100, clock::now()).await
    }
}

/// Without the lock of the pair, PostgreSQL lets both see that nobody has asked: two open requests, and no friends.
#[tokio::test(flavor = "multi_thread")]
async fn two_requests_that_cross_are_one_friendship_told_once() {
    for fixture in fixtures().await {
        for _ in 0..ROUNDS {
            let (one, other) = (fixture.user().await, fixture.user().await);

            let (asked, answered) = tokio::join!(
                fixture.change(one, FriendAction::Request, other),
                fixture.change(other, FriendAction::Request, one),
            );

            let mut changes = [asked, answered];
            changes.sort_by_key(|change| *change == FriendChange::Befriended);
            assert_eq!(changes, [FriendChange::Requested, FriendChange::Befriended]);
            assert_eq!(fixture.rows_between(one, other).await, [2, 0, 0]);
            let told = fixture.told_of(one, other).await;
            assert_eq!(told, ["FriendRequestSent", "FriendRequestAccepted"]);
            for (user, peer) in [(one, other), (other, one)] {
                let told = fixture.states_told(user).await;
                assert_eq!(told.len(), 2, "{told:?}");
                assert_eq!(told[1], json!({ "user_id": peer, "state": "friends" }));
            }
        }
    }
}

/// Without the lock, the one who accepts inserts a friendship for a request that is being taken back.
#[tokio::test(flavor = "multi_thread")]
async fn who_accepts_while_the_request_is_taken_back_is_a_friend_or_is_not() {
    for fixture in fixtures().await {
        for _ in 0..ROUNDS {
            let (one, other) = (fixture.user().await, fixture.user().await);
            fixture.change(one, FriendAction::Request, other).await;

            let (taken_back, accepted) = tokio::join!(
                fixture.wish(one, FriendAction::Cancel, other),
                fixture.wish(other, FriendAction::Accept, one),
            );

            let rows = fixture.rows_between(one, other).await;
            match (taken_back, accepted) {
                (Ok(taken_back), Err(FriendsError::Friend(FriendError::RequestNotFound))) => {
                    assert_eq!(taken_back.change, FriendChange::Cancelled);
                    assert_eq!(rows, [0, 0, 0]);
                }
                (Err(FriendsError::Friend(FriendError::AlreadyFriends)), Ok(accepted)) => {
                    assert_eq!(accepted.change, FriendChange::Befriended);
                    assert_eq!(rows, [2, 0, 0]);
                }
                others => panic!("{others:?}"),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_two_people_do_at_once_they_agree_in_the_end() {
    let mut random = SmallRng::seed_from_u64(5);
    for fixture in fixtures().await {
        for _ in 0..ROUNDS / 4 {
            let (one, other) = (fixture.user().await, fixture.user().await);
            let wishes: Vec<_> = (0..24)
                .map(|_| {
                    let action = ALL[random.random_range(0..ALL.len())];
                    match random.random() {
                        true => (one, action, other),
                        false => (other, action, one),
                    }
                })
                .collect();

            let done =
                wishes.iter().map(|(actor, action, other)| fixture.wish(*actor, *action, *other));
            for outcome in join_all(done).await {
                assert!(!matches!(outcome, Err(FriendsError::Store(_))), "{outcome:?}");
            }

            let [friends, requests, blocks] = fixture.rows_between(one, other).await;
            assert!(friends == 0 || friends == 2, "{friends}");
            assert!(requests <= 1 && (friends == 0 || requests == 0), "{friends} {requests}");
            assert!(blocks == 0 || (friends == 0 && requests == 0), "{blocks}");
            // What each was told last is how it is.
            for (user, peer) in [(one, other), (other, one)] {
                let told = fixture.states_told(user).await;
                let told = told.last().map_or(json!("none"), |told| told["state"].clone());
                let now = match fixture.wish(user, FriendAction::Delete, peer).await {
                    Ok(now) => now,
                    // Blocked by the other, who is not there.
                    Err(error) => {
                        assert_eq!((error.to_string(), told), (no_such_user(), json!("none")));
                        continue;
                    }
                };
                if now.change == FriendChange::Nothing {
                    assert_eq!(json!(now.state), told);
                } else {
                    assert_eq!(told, "friends");
                    fixture.befriend(user, peer).await;
                }
            }
        }
    }
}

fn no_such_user() -> String {
    FriendError::UserNotFound.to_string()
}

/// Without the lock of both users, each of those who accept sees one friend too few.
#[tokio::test(flavor = "multi_thread")]
async fn friends_who_come_at_once_are_no_more_than_may_be() {
    let limits = FriendLimits { friends_max: 3, ..LIMITS };
    for fixture in fixtures().await {
        let popular = fixture.user().await;
        let mut others = Vec::new();
        for _ in 0..10 {
            let other = fixture.user().await;
            fixture.change(other, FriendAction::Request, popular).await;
            others.push(other);
        }

        let accepted = others.iter().map(|other| {
            let action = FriendAction::Accept;
            fixture.store.change_friendship(popular, *other, action, limits, clock::now())
        });
        let accepted = join_all(accepted).await;

        assert_eq!(accepted.iter().filter(|accepted| accepted.is_ok()).count(), 3);
        for refused in accepted.into_iter().filter_map(Result::err) {
            assert!(matches!(refused, FriendsError::Friend(FriendError::TooManyFriends)));
        }
        assert_eq!(fixture.store.list_friends(popular, None, 100).await.unwrap().len(), 3);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_sent_at_once_are_no_more_than_a_day_has() {
    let limits = FriendLimits {
        new_account: Duration::from_secs(3_600),
        new_account_requests_per_day: 4,
        ..LIMITS
    };
    for fixture in fixtures().await {
        let eager = fixture.user().await;
        let mut others = Vec::new();
        for _ in 0..10 {
            others.push(fixture.user().await);
        }
        let ask = |other: UserId, now| {
            fixture.store.change_friendship(eager, other, FriendAction::Request, limits, now)
        };

        let asked = join_all(others.iter().map(|other| ask(*other, clock::now()))).await;

        assert_eq!(asked.iter().filter(|asked| asked.is_ok()).count(), 4);
        // Taking one back does not make room for another.
        for other in &others {
            fixture.change(eager, FriendAction::Cancel, *other).await;
        }
        let refused = ask(others[0], clock::now()).await.unwrap_err();
        assert!(
            matches!(refused, FriendsError::Friend(FriendError::TooManyRequests { .. })),
            "{refused:?}"
        );
        let tomorrow = clock::now().plus(Duration::from_secs(24 * 3_600));
        assert_eq!(ask(others[0], tomorrow).await.unwrap().state, FriendState::Outgoing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_was_declined_is_not_repeated_by_way_of_a_block() {
    let limits = FriendLimits { reject_cooldown: Duration::from_secs(3_600), ..LIMITS };
    for fixture in fixtures().await {
        let (one, other) = (fixture.user().await, fixture.user().await);
        let ask =
            |now| fixture.store.change_friendship(one, other, FriendAction::Request, limits, now);
        ask(clock::now()).await.unwrap();
        fixture.change(other, FriendAction::Reject, one).await;
        fixture.change(one, FriendAction::Block, other).await;
        fixture.change(one, FriendAction::Unblock, other).await;

        let refused = ask(clock::now()).await.unwrap_err();
        assert!(matches!(refused, FriendsError::Friend(FriendError::CannotBefriend)));
        let later = clock::now().plus(Duration::from_secs(3_600));
        assert_eq!(ask(later).await.unwrap().change, FriendChange::Requested);
    }
}

/// Without the lock, a follow slips past the block that ends it, and counts part from rows.
#[tokio::test(flavor = "multi_thread")]
async fn follows_and_blocks_at_once_leave_the_count_that_there_is() {
    for fixture in fixtures().await {
        let followed = fixture.user().await;
        for _ in 0..ROUNDS / 2 {
            let follower = fixture.user().await;
            let (_, _, blocked) = tokio::join!(
                fixture.follow(follower, followed),
                fixture.follow(follower, followed),
                fixture.wish(followed, FriendAction::Block, follower),
            );
            blocked.unwrap();
            let refused = fixture.follow(follower, followed).await.unwrap_err();
            assert!(matches!(refused, FollowsError::Follow(FollowError::UserNotFound)));
        }
        assert_eq!(fixture.follower_rows(followed).await, 0);
        assert_eq!(fixture.follow_counts(followed).await, FollowCounts::default());

        let mut fans = Vec::new();
        for _ in 0..8 {
            fans.push(fixture.user().await);
        }
        let followings = fans.iter().chain(&fans).map(|fan| fixture.follow(*fan, followed));
        let new = join_all(followings).await.into_iter().filter(|new| matches!(new, Ok(true)));
        assert_eq!(new.count(), fans.len());
        assert_eq!(fixture.follow_counts(followed).await.followers, 8);
        let ended = fans
            .iter()
            .take(3)
            .map(|fan| fixture.store.delete_follow(*fan, followed, clock::now()));
        assert!(join_all(ended).await.into_iter().all(|ended| matches!(ended, Ok(true))));
        assert_eq!(fixture.follow_counts(followed).await.followers, 5);
        assert_eq!(fixture.follower_rows(followed).await, 5);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_leaves_for_good_leaves_nothing_with_others() {
    for fixture in fixtures().await {
        let leaver = fixture.user().await;
        let (friend, asked, asker, blocked, follower) = (
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
            fixture.user().await,
        );
        fixture.befriend(leaver, friend).await;
        fixture.change(leaver, FriendAction::Request, asked).await;
        fixture.change(asker, FriendAction::Request, leaver).await;
        fixture.change(leaver, FriendAction::Block, blocked).await;
        fixture.change(blocked, FriendAction::Block, leaver).await;
        fixture.follow(follower, leaver).await.unwrap();
        fixture.follow(leaver, friend).await.unwrap();

        let told: Result<_, StoreError> = fixture
            .store
            .write(move |db| {
                Box::pin(async move {
                    accounts::delete_user(db, leaver, clock::now()).await?;
                    delete_all(db, leaver, clock::now()).await
                })
            })
            .await;

        let told: Vec<UserId> = told.unwrap().iter().map(|event| event.user).collect();
        assert_eq!(told, [friend], "requests go silently");
        for other in [friend, asked, asker, blocked] {
            assert_eq!(fixture.rows_between(leaver, other).await, [0, 0, 0]);
        }
        assert_eq!(fixture.follow_counts(friend).await.followers, 0);
        assert_eq!(fixture.follow_counts(follower).await.following, 0);
        let gone = fixture.wish(friend, FriendAction::Request, leaver).await.unwrap_err();
        assert!(matches!(gone, FriendsError::Friend(FriendError::UserNotFound)));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_were_declined_long_ago_are_forgotten() {
    for fixture in fixtures().await {
        let (one, other, third) =
            (fixture.user().await, fixture.user().await, fixture.user().await);
        fixture.change(one, FriendAction::Request, other).await;
        fixture.change(other, FriendAction::Reject, one).await;
        let now = Timestamp::from_millis(clock::now().millis() + 1);
        let asked =
            fixture.store.change_friendship(one, third, FriendAction::Request, LIMITS, now).await;
        asked.unwrap();

        let rows: Result<Vec<(i64,)>, StoreError> = fixture
            .store
            .read(move |db| {
                Box::pin(async move {
                    fetch_all!(
                        db,
                        (i64,),
                        "SELECT sent_at FROM friend_requests WHERE from_id = $1",
                        one.uuid()
                    )
                })
            })
            .await;
        assert_eq!(rows.unwrap().len(), 1);
    }
}

impl Fixture {
    /// Sets what a person has chosen.
    pub(super) async fn let_near(
        &self,
        user: UserId,
        message: &str,
        befriend: &str,
        presence: &str,
    ) {
        let (message, befriend, presence) =
            (message.to_owned(), befriend.to_owned(), presence.to_owned());
        let chosen: Result<_, StoreError> = self
            .store
            .write(move |db| {
                Box::pin(async move {
                    execute!(
                        db,
                        "INSERT INTO user_settings
                             (user_id, who_may_message, who_may_befriend, who_sees_presence,
                              updated_at)
                         VALUES ($1, $2, $3, $4, 0)
                         ON CONFLICT (user_id) DO UPDATE
                         SET who_may_message = excluded.who_may_message,
                             who_may_befriend = excluded.who_may_befriend,
                             who_sees_presence = excluded.who_sees_presence",
                        user.uuid(),
                        message,
                        befriend,
                        presence,
                    )
                })
            })
            .await;
        chosen.unwrap();
    }
}
