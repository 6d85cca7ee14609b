//! Notifications: everybody is told once, whoever sleeps, dies or repeats itself.

use std::collections::HashSet;
use std::time::Duration;

use serde_json::Map;
use uuid::Uuid;

use super::super::notifications::Shelf;
use super::super::notifications::changes::{Change, Which};
use super::super::notifications::fanouts::{Fanout, Taking};
use super::super::notifications::pages::Told;
use super::super::notifications::requests::{RequestOutcome, Requested};
use super::super::{Store, StoreError, execute, fetch_one};
use super::{Fixture, fixtures};
use crate::clock;
use crate::domain::ids::{NodeId, RoomId, UserId};
use crate::domain::inbox::InboxEvent;
use crate::domain::media::Medium;
use crate::domain::notifications::plan::{PlannedLetter, Sending};
use crate::domain::notifications::{Audience, MessagePlace, Occasion};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;

pub(super) const LONG: Duration = Duration::from_secs(600);
const LIMIT: i64 = 3;

pub(super) fn node() -> NodeId {
    clock::new_uuid().into()
}

pub(super) const fn taking(owner: NodeId, at_most: usize, lasts: Duration) -> Taking {
    Taking { owner, at_most, lasts }
}

pub(super) fn occasion(audience: Audience) -> Occasion {
    Occasion {
        id: clock::new_uuid(),
        kind: "welcome".to_owned(),
        audience,
        actor: None,
        params: Map::new(),
        media: None,
        group_key: None,
        message: None,
        first_seq: None,
        messages: 0,
        at: clock::now(),
    }
}

pub(super) fn said(room: RoomId, by: UserId, seq: Seq) -> Occasion {
    Occasion {
        kind: "message_received".to_owned(),
        actor: Some(by),
        message: Some(MessagePlace { room, seq }),
        messages: 1,
        ..occasion(Audience::Away { room, except: Vec::new() })
    }
}

pub(super) async fn claim(store: &Store, lasts: Duration) -> Option<Fanout> {
    let claimed = store.claim_fanouts(taking(node(), 1, lasts), clock::now()).await.unwrap();
    claimed.into_iter().next()
}

/// Tells the next page, in the app alone; gives the fan-out as it goes on, or `None` once it is done.
pub(super) async fn tell(
    store: &Store,
    fanout: Fanout,
) -> Result<(Option<Fanout>, Vec<InboxEvent>), StoreError> {
    let page = store.read_fanout_page(&fanout, None, LIMIT).await?;
    let sendings = page.recipients.iter().map(|recipient| Sending {
        user: recipient.user,
        id: fanout.occasion.notification_id(recipient.user),
        inbox: Some("{}".to_owned()),
        content: "{}".to_owned(),
        letters: Vec::new(),
    });
    let is_last = page.last.is_none();
    let told =
        Told { sendings: sendings.collect(), last: page.last, event: clock::new_uuid().into() };
    let (next, events) = store.tell_page(fanout, told, LONG, clock::now()).await?;
    Ok(((!is_last).then_some(next), events))
}

pub(super) async fn tell_all(store: &Store, mut fanout: Fanout) -> Vec<UserId> {
    let mut told = Vec::new();
    loop {
        let (next, events) = tell(store, fanout).await.unwrap();
        told.extend(events.iter().map(|event| event.user));
        match next {
            Some(next) => fanout = next,
            None => return told,
        }
    }
}

pub(super) async fn users(fixture: &Fixture, count: usize) -> Vec<UserId> {
    let mut users = Vec::new();
    for _ in 0..count {
        users.push(fixture.user().await);
    }
    users
}

#[tokio::test]
async fn every_audience_is_told_page_after_page_and_everybody_in_it_once() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 10).await;
        let (owner, members) = users.split_first().unwrap();
        let room = fixture.group(*owner, members, clock::now()).await;
        let named = [users[3], users[5], users[3], clock::new_uuid().into()].to_vec();
        for (audience, expected) in [
            (Audience::Everyone, users.clone()),
            (Audience::Role { role: crate::domain::accounts::Role::User }, users.clone()),
            (Audience::Role { role: crate::domain::accounts::Role::Admin }, Vec::new()),
            (Audience::Users { users: named }, vec![users[3], users[5]]),
            (Audience::Away { room, except: vec![users[1]] }, [&users[..1], &users[2..]].concat()),
            (Audience::Mentioned { room, users: vec![users[2]] }, vec![users[2]]),
        ] {
            let asked = match &audience {
                Audience::Away { room, .. } => {
                    let place = MessagePlace { room: *room, seq: 1 };
                    Occasion { message: Some(place), ..occasion(audience.clone()) }
                }
                _ => occasion(audience.clone()),
            };
            store.insert_fanouts(vec![asked], clock::now()).await.unwrap();
            let fanout = claim(store, LONG).await.unwrap();
            let mut told = tell_all(store, fanout).await;
            let mut expected = expected;
            told.sort_unstable();
            expected.sort_unstable();
            assert_eq!(told, expected, "{audience:?}");
            assert!(claim(store, LONG).await.is_none(), "it is done");
        }
    }
}

#[tokio::test]
async fn whoever_slept_through_its_lease_tells_nobody() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 7).await;
        store.insert_fanouts(vec![occasion(Audience::Everyone)], clock::now()).await.unwrap();

        let sleeper = claim(store, Duration::ZERO).await.unwrap();
        let heir = claim(store, LONG).await.unwrap();
        assert!(matches!(tell(store, sleeper.clone()).await, Err(StoreError::LeaseLost)));
        // Not even once the other has begun, nor when it is done.
        let (heir, first) = tell(store, heir).await.unwrap();
        assert!(matches!(tell(store, sleeper.clone()).await, Err(StoreError::LeaseLost)));
        let rest = tell_all(store, heir.unwrap()).await;
        assert!(matches!(tell(store, sleeper.clone()).await, Err(StoreError::LeaseLost)));
        let buried = store.bury_fanout(sleeper, "broken".to_owned(), clock::now()).await;
        assert!(matches!(buried, Err(StoreError::LeaseLost)));

        let told: HashSet<UserId> = first.iter().map(|event| event.user).chain(rest).collect();
        assert_eq!(told.len(), users.len());
        for user in users {
            assert_eq!(store.find_inbox_head(user).await.unwrap(), 1, "told once");
        }
    }
}

#[tokio::test]
async fn many_who_claim_share_and_nobody_gets_what_another_has() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        let occasions = (0..20).map(|_| occasion(Audience::Users { users: vec![user] }));
        let occasions: Vec<Occasion> = occasions.collect();
        store.insert_fanouts(occasions.clone(), clock::now()).await.unwrap();
        // Carried again.
        store.insert_fanouts(occasions.clone(), clock::now()).await.unwrap();

        let claiming = (0..8).map(|_| store.claim_fanouts(taking(node(), 5, LONG), clock::now()));
        let claimed = futures_util::future::join_all(claiming).await;
        let claimed: Vec<Uuid> =
            claimed.into_iter().flat_map(Result::unwrap).map(|fanout| fanout.occasion.id).collect();
        let distinct: HashSet<Uuid> = claimed.iter().copied().collect();
        assert_eq!((claimed.len(), distinct.len()), (20, 20));
    }
}

#[tokio::test]
async fn what_is_said_while_a_fan_out_waits_joins_it_once() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 3).await;
        let room = fixture.group(users[0], &users[1..], clock::now()).await;
        let note = async |occasions: Vec<Occasion>| {
            store.insert_fanouts(occasions, clock::now()).await.unwrap();
        };
        let (first, second) = (said(room, users[0], 4), said(room, users[0], 5));
        note(vec![first.clone()]).await;
        note(vec![second.clone(), said(room, users[1], 6)]).await;
        // The relay offers again what it cannot say was taken.
        note(vec![first, second, said(room, users[0], 7)]).await;

        let mut waiting = store.claim_fanouts(taking(node(), 9, LONG), clock::now()).await.unwrap();
        waiting.sort_by_key(|fanout| fanout.occasion.actor != Some(users[0]));
        let [one, other] = waiting.as_slice() else { panic!("{waiting:?}") };
        let place = |fanout: &Fanout| fanout.occasion.message.map(|place| place.seq);
        assert_eq!((one.occasion.messages, place(one)), (3, Some(7)));
        assert_eq!((other.occasion.messages, place(other)), (1, Some(6)));
        // What is being told takes nothing in any more.
        note(vec![said(room, users[0], 8)]).await;
        assert_eq!(claim(store, LONG).await.unwrap().occasion.messages, 1);
    }
}

#[tokio::test]
async fn a_request_is_known_by_its_key() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let asked = occasion(Audience::Everyone);
        let request = |hash: u8| Requested {
            occasion: asked.clone(),
            by: "service:x".to_owned(),
            hash: [hash; 32],
            due_at: clock::now(),
        };
        let asking =
            async |hash| store.insert_requested_fanout(request(hash), clock::now()).await.unwrap();

        assert_eq!(asking(1).await, RequestOutcome::Accepted);
        assert_eq!(asking(1).await, RequestOutcome::Repeated);
        assert_eq!(asking(2).await, RequestOutcome::Conflict);
        let row = store.find_fanout(asked.id).await.unwrap().unwrap();
        assert_eq!(
            (row.status.as_str(), row.requested_by.as_deref()),
            ("queued", Some("service:x"))
        );
    }
}

#[tokio::test]
async fn a_dead_fan_out_goes_on_where_it_stopped() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let users = users(&fixture, 5).await;
        store.insert_fanouts(vec![occasion(Audience::Everyone)], clock::now()).await.unwrap();
        let fanout = claim(store, LONG).await.unwrap();
        let id = fanout.occasion.id;
        let (rest, told) = tell(store, fanout).await.unwrap();
        store.bury_fanout(rest.unwrap(), "broken".to_owned(), clock::now()).await.unwrap();

        assert!(claim(store, LONG).await.is_none());
        assert_eq!(store.list_dead_fanouts(None, 10).await.unwrap().len(), 1);
        assert!(store.replay_fanout(id, clock::now()).await.unwrap());
        assert!(!store.replay_fanout(id, clock::now()).await.unwrap(), "once is enough");
        let rest = tell_all(store, claim(store, LONG).await.unwrap()).await;
        assert_eq!(told.len() + rest.len(), users.len());
    }
}

#[tokio::test]
async fn what_is_changed_is_told_once_and_numbered() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        for _ in 0..4 {
            let audience = Audience::Users { users: vec![user] };
            store.insert_fanouts(vec![occasion(audience)], clock::now()).await.unwrap();
            tell_all(store, claim(store, LONG).await.unwrap()).await;
        }
        let listed =
            async |shelf| store.list_notifications(user, shelf, None, None, 100).await.unwrap();
        let change = async |which, change| {
            store.change_notifications(user, which, change, clock::now()).await
        };
        let all = listed(Shelf::Inbox).await;
        assert_eq!(all.iter().map(|it| it.seq).collect::<Vec<_>>(), [4, 3, 2, 1]);

        let these = Which::These(vec![all[0].id, all[0].id, all[1].id]);
        let read = change(these.clone(), Change::Read).await.unwrap();
        assert_eq!((read.ids.len(), read.unread_count), (2, 2));
        assert_eq!(read.events.iter().map(|event| event.seq).collect::<Vec<_>>(), [5]);
        assert!(change(these, Change::Read).await.unwrap().events.is_empty());
        let strangers = Which::These(vec![all[2].id, Uuid::from_u128(1).into()]);
        assert!(matches!(change(strangers, Change::Read).await, Err(StoreError::NotFound)));
        assert_eq!(store.count_unread_notifications(user).await.unwrap(), 2);

        change(Which::UpTo(3), Change::Archive).await.unwrap();
        assert_eq!(listed(Shelf::Inbox).await.len(), 1);
        assert_eq!(listed(Shelf::Archived).await.len(), 3);
        change(Which::These(vec![all[0].id]), Change::Delete).await.unwrap();
        let events = store.list_inbox(user, 3, 1).await.unwrap();
        assert_eq!(events[0].data, r#"{"deleted":true}"#);
    }
}

#[tokio::test]
async fn what_is_told_while_a_digest_is_open_goes_into_it() {
    for fixture in fixtures().await {
        let store = &fixture.store;
        let user = fixture.user().await;
        let later = clock::now().plus(LONG);
        let first = tell_by_mail(store, user, later).await;
        let second = tell_by_mail(store, user, later).await;
        assert_eq!(letters(store, first).await, (1, 2));
        assert_eq!(letters(store, second).await, (0, 0));

        // One that is due takes nothing in: it may be on its way.
        let moved: Result<u64, StoreError> = store
            .write(|db| Box::pin(async move { execute!(db, "UPDATE deliveries SET due_at = 0") }))
            .await;
        moved.unwrap();
        let third = tell_by_mail(store, user, later).await;
        assert_eq!(letters(store, third).await, (1, 1));
    }
}

/// Tells a user something that goes into a digest; gives the id of the letter that it would be.
async fn tell_by_mail(store: &Store, user: UserId, due_at: Timestamp) -> Uuid {
    let audience = Audience::Users { users: vec![user] };
    store.insert_fanouts(vec![occasion(audience)], clock::now()).await.unwrap();
    let fanout = claim(store, LONG).await.unwrap();
    let id = clock::new_uuid();
    let letter = PlannedLetter {
        id: id.into(),
        medium: Medium::Mail,
        target: None,
        due_at,
        digest_key: Some("messages".to_owned()),
        suppressed: None,
    };
    let sending = Sending {
        user,
        id: fanout.occasion.notification_id(user),
        inbox: Some("{}".to_owned()),
        content: "{}".to_owned(),
        letters: vec![letter],
    };
    let told = Told { sendings: vec![sending], last: None, event: clock::new_uuid().into() };
    store.tell_page(fanout, told, LONG, clock::now()).await.unwrap();
    id
}

/// How many letters there are with this id, and how many notifications are in it.
async fn letters(store: &Store, id: Uuid) -> (i64, i64) {
    let counted: Result<(i64, i64), StoreError> = store
        .read(move |db| {
            Box::pin(async move {
                fetch_one!(
                    db,
                    (i64, i64),
                    "SELECT (SELECT COUNT(*) FROM deliveries WHERE id = $1),
                            (SELECT COUNT(*) FROM delivery_items WHERE delivery_id = $1)",
                    id,
                )
            })
        })
        .await;
    counted.unwrap()
}
