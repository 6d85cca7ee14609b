//! Leaving for good: while others write about whoever leaves, or leave as well, nobody waits for each other in a circle.
//!
//! Each test has one transaction stop where the circle would begin until the other has come as far as it can.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Map;
use tokio::sync::{Barrier, Notify};

use super::super::friends::delete_all;
use super::super::notifications::fanouts::Fanout;
use super::super::notifications::pages::Told;
use super::super::phones::{NewCode, find_challenge, insert_phone, replace_code};
use super::super::{StoreError, accounts};
use super::notifications::taking;
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::deliveries::NewDelivery;
use crate::domain::ids::UserId;
use crate::domain::inbox::InboxEvent;
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::notifications::plan::Sending;
use crate::domain::notifications::{Audience, Occasion};

/// How long one waits for another who may be waiting for the first.
const MEET: Duration = Duration::from_millis(300);
const LEASE: Duration = Duration::from_secs(600);

/// Where a transaction stops that has done its first half.
struct Stop {
    /// Told when it is there.
    is_there: Notify,
    barrier: Barrier,
}

impl Stop {
    fn new() -> Arc<Self> {
        Arc::new(Self { is_there: Notify::new(), barrier: Barrier::new(2) })
    }

    /// Goes on once another has stopped here too, or waits for what this one has.
    async fn wait(&self) {
        self.is_there.notify_one();
        let _ = tokio::time::timeout(MEET, self.barrier.wait()).await;
    }
}

impl Fixture {
    /// Deletes an account; stops between its row and what it has with others.
    async fn leave(&self, user: UserId, stop: Arc<Stop>) -> Result<Vec<InboxEvent>, StoreError> {
        self.store
            .write(move |db| {
                Box::pin(async move {
                    accounts::lock_deletions(db).await?;
                    accounts::delete_user(db, user, clock::now()).await?;
                    stop.wait().await;
                    delete_all(db, user, clock::now()).await
                })
            })
            .await
    }

    /// Asks for a code that proves `number`.
    async fn ask_for_code(&self, user: UserId, number: &PhoneNumber) {
        let now = clock::now();
        let letter = NewDelivery {
            id: clock::new_uuid().into(),
            medium: Medium::Sms,
            kind: "verify_phone".to_owned(),
            user: Some(user),
            seq: None,
            target: None,
            digest_key: None,
            data: Some("{}".to_owned()),
            due_at: now,
            suppressed: None,
        };
        let expires_at = now.plus(LEASE);
        let code = NewCode { user, number: number.clone(), code_hash: [7; 32], expires_at, letter };
        let asked: Result<(), StoreError> = self
            .store
            .write(move |db| Box::pin(async move { replace_code(db, &code, now).await }))
            .await;
        asked.unwrap();
    }

    /// A page that tells these users something, about to be stored.
    async fn page(&self, users: &[UserId]) -> (Fanout, Told) {
        let occasion = Occasion {
            id: clock::new_uuid(),
            kind: "welcome".to_owned(),
            audience: Audience::Users { users: users.to_vec() },
            actor: None,
            params: Map::new(),
            media: None,
            group_key: None,
            message: None,
            first_seq: None,
            messages: 0,
            at: clock::now(),
        };
        self.store.insert_fanouts(vec![occasion], clock::now()).await.unwrap();
        let node = clock::new_uuid().into();
        let mut claimed =
            self.store.claim_fanouts(taking(node, 1, LEASE), clock::now()).await.unwrap();
        let fanout = claimed.pop().unwrap();
        let sendings = users.iter().map(|user| Sending {
            user: *user,
            id: fanout.occasion.notification_id(*user),
            inbox: Some("{}".to_owned()),
            content: "{}".to_owned(),
            letters: Vec::new(),
        });
        let event = clock::new_uuid().into();
        let told = Told { sendings: sendings.collect(), last: None, event };
        (fanout, told)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_friends_who_leave_at_once_both_leave() {
    for fixture in fixtures().await {
        let (one, other, third) =
            (fixture.user().await, fixture.user().await, fixture.user().await);
        fixture.befriend(one, other).await;
        fixture.befriend(one, third).await;
        fixture.befriend(other, third).await;
        let stop = Stop::new();

        let (first, second) = tokio::join!(
            fixture.leave(one, Arc::clone(&stop)),
            fixture.leave(other, Arc::clone(&stop)),
        );

        let told = first.unwrap().len() + second.unwrap().len();
        assert_eq!(told, 3, "the third hears of both, and the last to leave of the first");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_while_a_page_is_told_is_not_told_and_the_others_are() {
    for fixture in fixtures().await {
        let (leaver, friend) = (fixture.user().await, fixture.user().await);
        fixture.befriend(leaver, friend).await;
        let heads = [leaver, friend].map(|user| fixture.store.find_inbox_head(user));
        let heads = futures_util::future::try_join_all(heads).await.unwrap();
        let (fanout, told) = fixture.page(&[leaver, friend]).await;
        let stop = Stop::new();
        let telling = async {
            stop.is_there.notified().await;
            fixture.store.tell_page(fanout, told, LEASE, clock::now()).await
        };

        let (left, told) = tokio::join!(fixture.leave(leaver, Arc::clone(&stop)), telling);

        assert_eq!(left.unwrap().len(), 1);
        let (_, events) = told.unwrap();
        assert_eq!(events.iter().map(|event| event.user).collect::<Vec<_>>(), [friend]);
        assert_eq!(fixture.store.find_inbox_head(leaver).await.unwrap(), heads[0]);
        assert_eq!(fixture.store.find_inbox_head(friend).await.unwrap(), heads[1] + 2);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_while_they_prove_a_number_leaves() {
    for fixture in fixtures().await {
        let user = fixture.user().await;
        let number = PhoneNumber::parse("+821012345678").unwrap();
        fixture.ask_for_code(user, &number).await;
        let stop = Stop::new();
        let stopped = Arc::clone(&stop);
        let proving = fixture.store.write::<_, StoreError, _>(move |db| {
            Box::pin(async move {
                let (number, _) = find_challenge(db, user).await?.ok_or(StoreError::NotFound)?;
                stopped.wait().await;
                insert_phone(db, user, &number, clock::now()).await
            })
        });
        let leaving = async {
            stop.is_there.notified().await;
            let left = fixture.store.write::<_, StoreError, _>(move |db| {
                Box::pin(async move { accounts::delete_user(db, user, clock::now()).await })
            });
            left.await
        };

        let (proven, left) = tokio::join!(proving, leaving);

        proven.unwrap();
        left.unwrap();
    }
}
