//! Pages of a fan-out: read who is next, then tell them all in one transaction.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::fanouts::Fanout;
use super::recipients;
use crate::domain::deliveries::NewDelivery;
use crate::domain::events::{DomainEvent, NOTIFICATION_EVENTS};
use crate::domain::ids::{DeliveryId, EventId, MessageId, NotificationId, UserId};
use crate::domain::inbox::{InboxEvent, InboxEventName};
use crate::domain::notifications::plan::{Recipient, Sending};
use crate::domain::notifications::{MessagePlace, Occasion};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{
    Db, Store, StoreError, accounts, deliveries, execute, fetch_all, fetch_optional, inboxes,
    outbox,
};

/// The next people of a fan-out.
#[derive(Debug)]
pub struct Page {
    pub recipients: Vec<Recipient>,
    /// Everybody up to here was looked at; `None` where nobody is left behind them.
    pub last: Option<UserId>,
}

/// What a page comes to, ready to be stored.
#[derive(Debug)]
pub struct Told {
    pub sendings: Vec<Sending>,
    /// Everybody up to here is done; `None` ends the fan-out.
    pub last: Option<UserId>,
    /// The page's own event for the rest of the system.
    pub event: EventId,
}

/// What templates and clients are told about an occasion besides what it carries itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scene {
    /// The display name and handle of whoever caused it.
    pub actor: Option<(String, String)>,
    /// The room's name; `None` for a direct room, and where there is none.
    pub room_name: Option<String>,
    pub room_members: i64,
    /// The message; `None` once everything that it stands for is deleted.
    pub message: Option<SceneMessage>,
}

/// The newest message of those an occasion stands for that was not deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SceneMessage {
    pub id: MessageId,
    pub seq: Seq,
    pub body: String,
    /// How many messages of its sender are left there.
    pub count: i64,
}

#[derive(Serialize)]
struct NumberedRow<'s> {
    user: UserId,
    seq: Seq,
    id: NotificationId,
    data: &'s str,
}

#[derive(sqlx::FromRow)]
struct SceneRow {
    display_name: Option<String>,
    handle: Option<String>,
    room_name: Option<String>,
    member_count: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct MessageRow {
    id: Uuid,
    seq: i64,
    body: String,
    count: i64,
}

impl MessageRow {
    fn into_message(self) -> SceneMessage {
        let Self { id, seq, body, count } = self;
        SceneMessage { id: id.into(), seq, body, count }
    }
}

impl Store {
    /// The next people of a fan-out, at most `limit` looked at; what they were sent is counted from `sent_since` on.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn read_fanout_page(
        &self,
        fanout: &Fanout,
        sent_since: Option<Timestamp>,
        limit: i64,
    ) -> Result<Page, StoreError> {
        let (occasion, after) = (fanout.occasion.clone(), fanout.after);
        self.read(move |db| {
            Box::pin(async move {
                let (mut recipients, last) = recipients::list(db, &occasion, after, limit).await?;
                if let Some(since) = sent_since {
                    recipients::add_sent(db, &mut recipients, since).await?;
                }
                Ok(Page { recipients, last })
            })
        })
        .await
    }

    /// What an occasion is about, in words that people know.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn read_scene(&self, occasion: &Occasion) -> Result<Scene, StoreError> {
        let actor = occasion.actor.map(UserId::uuid);
        let (place, first_seq) = (occasion.message, occasion.first_seq);
        let (row, message): (Option<SceneRow>, Option<MessageRow>) = self
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let select = db.dialect(
                        "SELECT u.display_name, u.handle, r.name AS room_name, r.member_count
                         FROM (SELECT 1) one
                         LEFT JOIN users u ON u.id = $1
                         LEFT JOIN rooms r ON r.id = $2",
                        "SELECT u.display_name, u.handle, r.name AS room_name, r.member_count
                         FROM (SELECT 1) one
                         LEFT JOIN users u ON u.id = $1::uuid
                         LEFT JOIN rooms r ON r.id = $2::uuid",
                    );
                    let room = place.map(|place| place.room.uuid());
                    let row = fetch_optional!(db, SceneRow, select, actor, room)?;
                    let message = match place {
                        Some(place) => find_message(db, place, first_seq, actor).await?,
                        None => None,
                    };
                    Ok((row, message))
                })
            })
            .await?;
        let row = row.ok_or(StoreError::NotFound)?;
        Ok(Scene {
            actor: row.display_name.zip(row.handle),
            room_name: row.room_name,
            room_members: row.member_count.unwrap_or(0),
            message: message.map(MessageRow::into_message),
        })
    }

    /// Tells a page of people, once: inbox, letters, what the rest of the system hears, and how far the fan-out has come.
    /// Gives the fan-out as it goes on, and what devices are told.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] when the fan-out is somebody else's by now; nobody was told then.
    pub async fn tell_page(
        &self,
        fanout: Fanout,
        told: Told,
        lasts: Duration,
        now: Timestamp,
    ) -> Result<(Fanout, Vec<InboxEvent>), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let mut fanout = fanout;
                fanout.confirm(db).await?;
                let Told { mut sendings, last, event } = told;
                sendings.sort_by_key(|sending| sending.user);
                keep_those_here(db, &mut sendings).await?;
                let seqs = number(db, &sendings).await?;
                store_notifications(db, &fanout.occasion, &sendings, &seqs, now).await?;
                store_letters(db, &fanout.occasion, &sendings, &seqs, now).await?;
                publish(db, &fanout.occasion, &sendings, event, now).await?;
                match last {
                    Some(last) => fanout.advance(db, last, sendings.len(), lasts).await?,
                    None => fanout.finish(db, None, sendings.len(), now).await?,
                }
                let events = sendings.into_iter().filter_map(|sending| {
                    let seq = *seqs.get(&sending.user)?;
                    let name = InboxEventName::NotificationCreated;
                    let data = sending.inbox?;
                    Some(InboxEvent { user: sending.user, seq, name, at: now, data })
                });
                let events = events.collect();
                Ok((fanout, events))
            })
        })
        .await
    }
}

/// Drops whoever has left for good since the page was read; nobody else of it leaves before it is told.
async fn keep_those_here(db: &mut Db, sendings: &mut Vec<Sending>) -> Result<(), StoreError> {
    let users: Vec<UserId> = sendings.iter().map(|sending| sending.user).collect();
    let here = accounts::hold_users(db, &users).await?;
    sendings.retain(|sending| here.contains(&sending.user));
    Ok(())
}

/// What is left of the messages from `first_seq` to `place`.
async fn find_message(
    db: &mut Db,
    place: MessagePlace,
    first_seq: Option<Seq>,
    sender: Option<Uuid>,
) -> Result<Option<MessageRow>, StoreError> {
    fetch_optional!(
        db,
        MessageRow,
        "SELECT m.id, m.seq, m.body,
                (SELECT COUNT(*) FROM messages c
                 WHERE c.room_id = $1 AND c.seq BETWEEN $2 AND $3 AND c.sender_id = $4
                   AND c.deleted_at IS NULL) AS count
         FROM messages m
         WHERE m.room_id = $1 AND m.seq BETWEEN $2 AND $3 AND m.sender_id = $4
           AND m.deleted_at IS NULL
         ORDER BY m.seq DESC
         LIMIT 1",
        place.room.uuid(),
        first_seq.unwrap_or(place.seq),
        place.seq,
        sender,
    )
}

/// Gives each inbox its next number, in the order of the users: two pages never wait for each other crosswise.
async fn number(db: &mut Db, sendings: &[Sending]) -> Result<HashMap<UserId, Seq>, StoreError> {
    let users = sendings.iter().filter(|sending| sending.inbox.is_some());
    let users: Vec<(UserId, i64)> = users.map(|sending| (sending.user, 1)).collect();
    inboxes::number(db, &users).await
}

async fn store_notifications(
    db: &mut Db,
    occasion: &Occasion,
    sendings: &[Sending],
    seqs: &HashMap<UserId, Seq>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let rows: Vec<NumberedRow<'_>> = sendings
        .iter()
        .filter_map(|sending| {
            let (user, id) = (sending.user, sending.id);
            let (seq, data) = (*seqs.get(&user)?, sending.inbox.as_deref()?);
            Some(NumberedRow { user, seq, id, data })
        })
        .collect();
    if rows.is_empty() {
        return Ok(());
    }
    let rows = serde_json::to_string(&rows).map_err(|error| sqlx::Error::Encode(error.into()))?;
    let events = db.dialect(
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT unhex(replace(j.value ->> 'user', '-', '')), j.value ->> 'seq', $2, $3,
                j.value ->> 'data'
         FROM json_each($1) j",
        "INSERT INTO inbox_events (user_id, seq, name, at, data)
         SELECT \"user\", seq, $2, $3, data
         FROM jsonb_to_recordset($1::jsonb) AS j (\"user\" uuid, seq bigint, data text)",
    );
    let name = InboxEventName::NotificationCreated.as_str();
    execute!(db, events, rows.as_str(), name, now.millis())?;
    let insert = db.dialect(
        "INSERT INTO notifications
             (user_id, seq, id, kind, group_key, room_id, room_seq, created_at)
         SELECT unhex(replace(j.value ->> 'user', '-', '')), j.value ->> 'seq',
                unhex(replace(j.value ->> 'id', '-', '')), $2, $3, $4, $5, $6
         FROM json_each($1) j",
        "INSERT INTO notifications
             (user_id, seq, id, kind, group_key, room_id, room_seq, created_at)
         SELECT \"user\", seq, id, $2, $3, $4, $5, $6
         FROM jsonb_to_recordset($1::jsonb) AS j (\"user\" uuid, seq bigint, id uuid)",
    );
    execute!(
        db,
        insert,
        rows.as_str(),
        occasion.kind.as_str(),
        occasion.group_key.as_deref(),
        occasion.message.map(|place| place.room.uuid()),
        occasion.message.map(|place| place.seq),
        now.millis(),
    )
    .map(|_| ())
}

async fn store_letters(
    db: &mut Db,
    occasion: &Occasion,
    sendings: &[Sending],
    seqs: &HashMap<UserId, Seq>,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut letters = Vec::new();
    for sending in sendings {
        let seq = seqs.get(&sending.user).copied();
        for planned in &sending.letters {
            letters.push(NewDelivery {
                id: planned.id,
                medium: planned.medium,
                kind: occasion.kind.clone(),
                user: Some(sending.user),
                seq,
                target: planned.target,
                digest_key: planned.digest_key.clone(),
                // Without a notification, the letter has to hold everything itself.
                data: seq.is_none().then(|| sending.content.clone()),
                due_at: planned.due_at,
                suppressed: planned.suppressed.map(str::to_owned),
            });
        }
    }
    let open = open_digests(db, &letters, now).await?;
    let mut items: Vec<(DeliveryId, Seq)> = Vec::new();
    letters.retain(|letter| {
        let digest = letter.digest_key.as_ref().zip(letter.user).and_then(|(key, user)| {
            open.get(&(user, letter.medium.as_str().to_owned(), key.clone())).copied()
        });
        match (digest, letter.seq) {
            (Some(digest), Some(seq)) => {
                items.push((digest, seq));
                false
            }
            _ => true,
        }
    });
    // The first one of a digest is an item like the others.
    items.extend(letters.iter().filter_map(|letter| {
        letter.digest_key.as_ref()?;
        Some((letter.id, letter.seq?))
    }));
    deliveries::insert_all(db, &letters, now).await?;
    if items.is_empty() {
        return Ok(());
    }
    let insert = db.dialect(
        "INSERT INTO delivery_items (delivery_id, seq)
         SELECT unhex(replace(j.value ->> 0, '-', '')), j.value ->> 1 FROM json_each($1) j
         WHERE TRUE
         ON CONFLICT (delivery_id, seq) DO NOTHING",
        "INSERT INTO delivery_items (delivery_id, seq)
         SELECT (j.value ->> 0)::uuid, (j.value ->> 1)::bigint
         FROM jsonb_array_elements($1::jsonb) j
         ON CONFLICT (delivery_id, seq) DO NOTHING",
    );
    execute!(db, insert, json!(items).to_string()).map(|_| ())
}

/// The digests of these users that still take in more: not yet due, and never attempted. They are locked in the order of
/// their ids.
async fn open_digests(
    db: &mut Db,
    letters: &[NewDelivery],
    now: Timestamp,
) -> Result<HashMap<(UserId, String, String), DeliveryId>, StoreError> {
    let wanted: Vec<Value> = letters
        .iter()
        .filter_map(|letter| {
            let key = letter.digest_key.as_ref()?;
            Some(json!([letter.user?, letter.medium.as_str(), key]))
        })
        .collect();
    if wanted.is_empty() {
        return Ok(HashMap::new());
    }
    let select = db.dialect(
        "SELECT d.user_id, d.medium, d.digest_key, d.id
         FROM json_each($1) j
         JOIN deliveries d ON d.user_id = unhex(replace(j.value ->> 0, '-', ''))
                          AND d.medium = j.value ->> 1 AND d.digest_key = j.value ->> 2
         WHERE d.status = 'queued' AND d.digest_key IS NOT NULL AND d.attempts = 0
           AND d.due_at > $2
         ORDER BY d.id",
        "SELECT d.user_id, d.medium, d.digest_key, d.id
         FROM jsonb_array_elements($1::jsonb) j
         JOIN deliveries d ON d.user_id = (j.value ->> 0)::uuid
                          AND d.medium = j.value ->> 1 AND d.digest_key = j.value ->> 2
         WHERE d.status = 'queued' AND d.digest_key IS NOT NULL AND d.attempts = 0
           AND d.due_at > $2
         ORDER BY d.id
         FOR UPDATE OF d",
    );
    let wanted = json!(wanted).to_string();
    let rows = fetch_all!(db, (Uuid, String, String, Uuid), select, wanted, now.millis())?;
    Ok(rows
        .into_iter()
        .map(|(user, medium, key, id)| ((user.into(), medium, key), id.into()))
        .collect())
}

/// Tells the rest of the system who was notified.
async fn publish(
    db: &mut Db,
    occasion: &Occasion,
    sendings: &[Sending],
    event: EventId,
    now: Timestamp,
) -> Result<(), StoreError> {
    if sendings.is_empty() {
        return Ok(());
    }
    let told: Vec<Value> = sendings
        .iter()
        .map(|sending| json!({ "id": sending.id, "user_id": sending.user }))
        .collect();
    let event = DomainEvent {
        id: event,
        topic: NOTIFICATION_EVENTS,
        name: "NotificationSent",
        subject: occasion.id.to_string(),
        at: now,
        data: json!({ "type": occasion.kind, "notifications": told }),
    };
    outbox::append(db, &event).await
}
