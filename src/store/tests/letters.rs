//! Letters that already wait: what came between them and their reader counts.

use serde_json::json;

use super::super::notifications::Shelf;
use super::super::notifications::letters::Reader;
use super::super::notifications::pages::Told;
use super::super::{StoreError, blocks, execute};
use super::notifications::{LONG, claim, said, users};
use super::{Fixture, fixtures, send};
use crate::clock;
use crate::domain::deliveries::Delivery;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::media::Medium;
use crate::domain::messages::MessageRef;
use crate::domain::notifications::Occasion;
use crate::domain::notifications::plan::{PlannedLetter, Sending};
use crate::domain::preferences::{RoomLevel, RoomNotifications};
use crate::domain::rooms::{Action, Command, Seq};
use crate::domain::time::Timestamp;

/// Behind what says that the reader is in the room.
const NOTIFIED: Seq = 2;

/// A message that somebody was told of, and their letters that wait.
struct Scene {
    room: RoomId,
    sender: UserId,
    reader: UserId,
    seq: Seq,
    content: String,
    digest: Delivery,
}

impl Scene {
    async fn set(fixture: &Fixture) -> Self {
        let store = &fixture.store;
        let users = users(fixture, 2).await;
        let (sender, reader) = (users[0], users[1]);
        let room = fixture.group(sender, &users[1..], clock::now()).await;
        let seq = fixture.done(room, send(room, sender, "k", "a secret")).await.seq.unwrap();
        store.insert_fanouts(vec![said(room, sender, seq)], clock::now()).await.unwrap();
        let fanout = claim(store, LONG).await.unwrap();
        let content = json!({
            "title": "a secret", "body": "a secret",
            "data": { "actor": { "id": sender }, "room": { "id": room },
                      "message": { "seq": seq, "preview": "a secret" } },
        })
        .to_string();
        let id = clock::new_uuid().into();
        let letter = PlannedLetter {
            id,
            medium: Medium::Mail,
            target: None,
            due_at: clock::now().plus(LONG),
            digest_key: Some("messages".to_owned()),
            suppressed: None,
        };
        let sending = Sending {
            user: reader,
            id: fanout.occasion.notification_id(reader),
            inbox: Some(content.clone()),
            content: content.clone(),
            letters: vec![letter],
        };
        let told = Told { sendings: vec![sending], last: None, event: clock::new_uuid().into() };
        store.tell_page(fanout, told, LONG, clock::now()).await.unwrap();
        let now = Timestamp::from_millis(0);
        let digest = Delivery {
            id,
            medium: Medium::Mail,
            kind: "message_received".to_owned(),
            user: Some(reader),
            seq: Some(NOTIFIED),
            target: None,
            digest_key: Some("messages".to_owned()),
            data: None,
            attempts: 1,
            created_at: now,
            first_due_at: now,
            due_at: now,
        };
        Self { room, sender, reader, seq, content, digest }
    }

    async fn read(&self, fixture: &Fixture, letter: &Delivery) -> Reader {
        let read = fixture.store.read_reader(self.reader, letter, clock::now()).await;
        read.unwrap().unwrap()
    }

    /// Why a letter about the notification, an item of a digest and a letter of its own are not wanted; a digest leaves
    /// out what was deleted at once.
    async fn unwanted(&self, fixture: &Fixture) -> [Option<&'static str>; 3] {
        let one = Delivery { digest_key: None, ..self.digest.clone() };
        let own = Delivery { seq: None, data: Some(self.content.clone()), ..one.clone() };
        let one = self.read(fixture, &one).await.notice.unwrap().unwanted;
        let items = self.read(fixture, &self.digest).await.items;
        let item = items.first().map_or(Some("left out"), |item| item.unwanted);
        [one, item, self.read(fixture, &own).await.unwanted]
    }
}

#[tokio::test]
async fn a_letter_that_waits_is_wanted_until_something_comes_between() {
    for fixture in fixtures().await {
        let scene = Scene::set(&fixture).await;
        assert_eq!(scene.unwanted(&fixture).await, [None; 3]);
    }
}

#[tokio::test]
async fn a_block_stands_between_a_letter_and_its_reader_whoever_set_it() {
    for fixture in fixtures().await {
        for is_by_reader in [true, false] {
            let scene = Scene::set(&fixture).await;
            let (by, other) = if is_by_reader {
                (scene.reader, scene.sender)
            } else {
                (scene.sender, scene.reader)
            };
            let blocked: Result<(), StoreError> = fixture
                .store
                .write(move |db| {
                    Box::pin(async move {
                        execute!(
                            db,
                            "INSERT INTO blocks (user_id, blocked_id, at) VALUES ($1, $2, 0)",
                            by.uuid(),
                            other.uuid(),
                        )?;
                        assert!(!blocks::list_blocked_between(db, by, &[other]).await?.is_empty());
                        Ok(())
                    })
                })
                .await;
            blocked.unwrap();
            assert_eq!(scene.unwanted(&fixture).await, [Some("blocked"); 3]);
        }
    }
}

#[tokio::test]
async fn a_room_that_was_muted_since_sends_no_letter() {
    for fixture in fixtures().await {
        let scene = Scene::set(&fixture).await;
        let muted = async |level, muted_until| {
            let chosen = RoomNotifications { level, muted_until };
            let store = &fixture.store;
            store.update_room_notifications(scene.room, scene.reader, chosen).await.unwrap();
            scene.unwanted(&fixture).await
        };

        let (soon, past) = (clock::now().plus(LONG), clock::now());
        assert_eq!(muted(RoomLevel::None, None).await, [Some("muted"); 3]);
        assert_eq!(muted(RoomLevel::Mentions, None).await, [Some("muted"); 3]);
        assert_eq!(muted(RoomLevel::All, Some(soon)).await, [Some("muted"); 3]);
        assert_eq!(muted(RoomLevel::All, Some(past)).await, [None; 3]);
    }
}

#[tokio::test]
async fn a_message_that_was_deleted_is_in_no_letter_and_quoted_nowhere() {
    for fixture in fixtures().await {
        let scene = Scene::set(&fixture).await;
        let (store, user) = (&fixture.store, scene.reader);
        let action = Action::Delete { message: MessageRef::Seq(scene.seq) };
        fixture.done(scene.room, Command { actor: scene.sender, action }).await;

        let gone = Some("message_deleted");
        assert_eq!(scene.unwanted(&fixture).await, [gone, Some("left out"), gone]);
        let listed = store.list_notifications(user, Shelf::Unread, None, None, 9).await.unwrap();
        let events = store.list_inbox(user, 0, 9).await.unwrap();
        let created: Vec<_> =
            events.iter().filter(|it| it.name.as_str() == "notification_created").collect();
        assert_eq!((listed.len(), created.len()), (1, 1), "it is there, and unread");
        assert_eq!(store.count_unread_notifications(user).await.unwrap(), 1);
        for content in [&listed[0].content, &created[0].data] {
            assert!(!content.contains("secret") && content.contains("deleted"), "{content}");
        }
    }
}

#[tokio::test]
async fn a_digest_counts_what_it_does_not_list() {
    for fixture in fixtures().await {
        let scene = Scene::set(&fixture).await;
        let store = &fixture.store;
        let (reader, id) = (scene.reader, scene.digest.id);
        let numbers: Vec<i64> = (1_001..=1_600).collect();
        let filled: Result<(), StoreError> = store
            .write(move |db| {
                Box::pin(async move {
                    let numbers = json!(numbers).to_string();
                    for fill in [
                        db.dialect(
                            "INSERT INTO inbox_events (user_id, seq, name, at, data)
                             SELECT $1, j.value, 'notification_created', 7, '{}'
                             FROM json_each($2) j WHERE $3 IS NOT NULL",
                            "INSERT INTO inbox_events (user_id, seq, name, at, data)
                             SELECT $1, j.value::bigint, 'notification_created', 7, '{}'
                             FROM jsonb_array_elements_text($2::jsonb) j
                             WHERE $3::uuid IS NOT NULL",
                        ),
                        db.dialect(
                            "INSERT INTO notifications (user_id, seq, id, kind, created_at)
                             SELECT $1, j.value, randomblob(16), 'welcome', 7
                             FROM json_each($2) j WHERE $3 IS NOT NULL",
                            "INSERT INTO notifications (user_id, seq, id, kind, created_at)
                             SELECT $1, j.value::bigint, gen_random_uuid(), 'welcome', 7
                             FROM jsonb_array_elements_text($2::jsonb) j
                             WHERE $3::uuid IS NOT NULL",
                        ),
                        db.dialect(
                            "INSERT INTO delivery_items (delivery_id, seq)
                             SELECT $3, j.value FROM json_each($2) j WHERE $1 IS NOT NULL",
                            "INSERT INTO delivery_items (delivery_id, seq)
                             SELECT $3::uuid, j.value::bigint
                             FROM jsonb_array_elements_text($2::jsonb) j
                             WHERE $1::uuid IS NOT NULL",
                        ),
                    ] {
                        execute!(db, fill, reader.uuid(), numbers.as_str(), id.uuid())?;
                    }
                    // The newest one was seen: it is neither listed nor counted.
                    execute!(db, "UPDATE notifications SET read_at = 1 WHERE seq = 1600")
                        .map(|_| ())
                })
            })
            .await;
        filled.unwrap();

        let read = scene.read(&fixture, &scene.digest).await;
        assert_eq!((read.items.len(), read.more_items), (500, 100));
    }
}

#[tokio::test]
async fn what_was_gathered_is_read_from_the_place_of_the_last() {
    for fixture in fixtures().await {
        let scene = Scene::set(&fixture).await;
        let occasion = Occasion {
            first_seq: Some(scene.seq),
            ..said(scene.room, scene.sender, scene.seq + 5)
        };
        let found = fixture.store.read_scene(&occasion).await.unwrap().message.unwrap();
        assert_eq!((found.seq, found.count), (scene.seq, 1));
    }
}
