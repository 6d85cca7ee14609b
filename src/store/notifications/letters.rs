//! What a letter to a user is composed from, read when it is attempted: what is true then is what it says.

use std::collections::BTreeSet;

use serde_json::Value;
use uuid::Uuid;

use crate::domain::deliveries::Delivery;
use crate::domain::devices::Device;
use crate::domain::ids::{DeviceId, NotificationId, UserId};
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::notifications::content::Told;
use crate::domain::preferences::{Choice, Preferences, RoomLevel, RoomNotifications};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::domain::unsubscribe::KEY_BYTES;
use crate::store::{
    Db, Store, StoreError, blocks, devices, fetch_all, fetch_one, fetch_optional, phones,
    preferences,
};

/// Notifications that one digest looks at.
const ITEMS_MAX: i64 = 500;

/// A letter's reader, and what there is to tell them.
#[derive(Debug, Clone)]
pub struct Reader {
    pub handle: String,
    pub display_name: String,
    pub email: String,
    pub is_verified: bool,
    /// Whether the account is closed to them.
    pub is_disabled: bool,
    pub locale: String,
    pub time_zone: String,
    pub quiet: Option<(i64, i64)>,
    pub preferences: Preferences,
    /// What signs their links out of mails, once there was one.
    pub unsubscribe_key: Option<[u8; KEY_BYTES]>,
    /// Why they are to be told nothing any more of what the letter itself holds.
    pub unwanted: Option<&'static str>,
    /// The notification it tells of.
    pub notice: Option<Notice>,
    /// The notifications of a digest that were not seen, the oldest first.
    pub items: Vec<Notice>,
    /// How many there are besides, that came earlier.
    pub more_items: i64,
    pub device: Option<Device>,
    pub phone: Option<PhoneNumber>,
}

/// A notification, and whether there is still anything to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    pub id: NotificationId,
    pub kind: String,
    pub group_key: Option<String>,
    pub is_message: bool,
    pub at: Timestamp,
    /// Why its reader is to be told nothing of it any more.
    pub unwanted: Option<&'static str>,
    /// The JSON of its `notification_created`.
    pub content: String,
}

/// Read, archived, deleted, or its message was read in the room.
const SEEN: &str = "seen";
/// Its message was deleted.
const MESSAGE_DELETED: &str = "message_deleted";
/// Its reader wants to hear nothing of its room.
const MUTED: &str = "muted";
/// Its reader and whoever caused it have nothing to do with each other any more.
const BLOCKED: &str = "blocked";

#[derive(sqlx::FromRow)]
struct ReaderRow {
    handle: String,
    display_name: String,
    email: String,
    is_verified: bool,
    is_disabled: bool,
    locale: Option<String>,
    time_zone: Option<String>,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
    unsubscribe_key: Option<Vec<u8>>,
}

#[derive(sqlx::FromRow)]
struct NoticeRow {
    id: Uuid,
    kind: String,
    group_key: Option<String>,
    is_message: bool,
    created_at: i64,
    is_seen: bool,
    is_deleted: bool,
    level: Option<String>,
    muted_until: Option<i64>,
    content: String,
}

/// How a reader stands to a message that a letter without a notification tells of.
#[derive(sqlx::FromRow)]
struct PlaceRow {
    is_seen: bool,
    is_deleted: bool,
    level: Option<String>,
    muted_until: Option<i64>,
}

impl Store {
    /// Everything that a letter to `user` is composed from; `None` when the account is gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn read_reader(
        &self,
        user: UserId,
        delivery: &Delivery,
        now: Timestamp,
    ) -> Result<Option<Reader>, StoreError> {
        let delivery = delivery.clone();
        self.read(move |db| {
            Box::pin(async move {
                let Some(row) = find_reader(db, user).await? else { return Ok(None) };
                let mut reader = row.into_reader();
                add_notices(db, &mut reader, user, &delivery, now).await?;
                if let (Medium::Push, Some(device)) = (delivery.medium, delivery.target) {
                    let device = devices::find_device(db, DeviceId::from(device)).await?;
                    // A browser whose user is somebody else by now is told nothing of this one.
                    reader.device = device.filter(|device| device.user == user);
                }
                if delivery.medium == Medium::Sms {
                    reader.phone = phones::find_phone(db, user).await?;
                }
                Ok(Some(reader))
            })
        })
        .await
    }
}

/// What the letter tells of, and what its reader has chosen about that.
async fn add_notices(
    db: &mut Db,
    reader: &mut Reader,
    user: UserId,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(), StoreError> {
    if delivery.digest_key.is_some() {
        reader.preferences = preferences::list_preferences(db, user).await?;
        (reader.items, reader.more_items) = list_items(db, user, delivery, now).await?;
        return mark_blocked(db, user, &mut reader.items).await;
    }
    reader.preferences = find_preferences(db, user, &delivery.kind).await?;
    if let Some(seq) = delivery.seq {
        let mut notices: Vec<Notice> = find_notice(db, user, seq, now).await?.into_iter().collect();
        mark_blocked(db, user, &mut notices).await?;
        reader.notice = notices.pop();
    } else if let Some(data) = &delivery.data {
        reader.unwanted = find_unwanted(db, user, &delivery.kind, data, now).await?;
    }
    Ok(())
}

async fn find_reader(db: &mut Db, user: UserId) -> Result<Option<ReaderRow>, StoreError> {
    fetch_optional!(
        db,
        ReaderRow,
        "SELECT u.handle, u.display_name, u.email, u.verified_at IS NOT NULL AS is_verified,
                u.disabled_at IS NOT NULL AS is_disabled, s.locale, s.time_zone, s.quiet_from,
                s.quiet_until, s.unsubscribe_key
         FROM users u
         LEFT JOIN user_settings s ON s.user_id = u.id
         WHERE u.id = $1 AND u.deleted_at IS NULL",
        user.uuid(),
    )
}

async fn find_preferences(
    db: &mut Db,
    user: UserId,
    kind: &str,
) -> Result<Preferences, StoreError> {
    let rows = fetch_all!(
        db,
        (String, String, String),
        "SELECT kind, medium, choice
         FROM notification_preferences
         WHERE user_id = $1 AND kind IN ($2, '*')",
        user.uuid(),
        kind,
    )?;
    Ok(rows
        .into_iter()
        .filter_map(|(kind, medium, choice)| {
            Some((kind, Medium::parse(&medium)?, Choice::parse(&choice)?))
        })
        .collect())
}

/// What is read of a notification, and where from.
macro_rules! notices {
    ($source:literal) => {
        concat!(
            "SELECT n.seq, n.id, n.kind, n.group_key, n.room_id IS NOT NULL AS is_message,
                    n.created_at,
                    n.read_at IS NOT NULL OR n.archived_at IS NOT NULL OR n.deleted_at IS NOT NULL
                        OR (n.room_id IS NOT NULL
                            AND COALESCE(m.read_seq >= n.room_seq, TRUE)) AS is_seen,
                    c.deleted_at IS NOT NULL AS is_deleted, m.notify_level AS level,
                    m.quiet_until AS muted_until, e.data AS content ",
            $source,
            " JOIN inbox_events e ON e.user_id = n.user_id AND e.seq = n.seq
              LEFT JOIN room_members m ON m.room_id = n.room_id AND m.user_id = n.user_id
              LEFT JOIN messages c ON c.room_id = n.room_id AND c.seq = n.room_seq "
        )
    };
}

/// What is left of a digest; `$1` is its reader, `$2` the letter.
macro_rules! items {
    ($what:literal, $order:literal) => {
        concat!(
            "SELECT ",
            $what,
            " FROM (",
            notices!(
                "FROM delivery_items i
                 JOIN notifications n ON n.user_id = $1 AND n.seq = i.seq"
            ),
            "WHERE i.delivery_id = $2) AS item WHERE NOT is_seen AND NOT is_deleted ",
            $order
        )
    };
}

async fn find_notice(
    db: &mut Db,
    user: UserId,
    seq: Seq,
    now: Timestamp,
) -> Result<Option<Notice>, StoreError> {
    let row = fetch_optional!(
        db,
        NoticeRow,
        concat!(notices!("FROM notifications n"), "WHERE n.user_id = $1 AND n.seq = $2"),
        user.uuid(),
        seq,
    )?;
    Ok(row.map(|row| row.into_notice(now)))
}

/// The newest that are still to be told, the oldest of them first, and how many more there are.
async fn list_items(
    db: &mut Db,
    user: UserId,
    delivery: &Delivery,
    now: Timestamp,
) -> Result<(Vec<Notice>, i64), StoreError> {
    let id = delivery.id.uuid();
    let rows = fetch_all!(
        db,
        NoticeRow,
        items!(
            "id, kind, group_key, is_message, created_at, is_seen, is_deleted, level, muted_until,
             content",
            "ORDER BY seq DESC LIMIT $3"
        ),
        user.uuid(),
        id,
        ITEMS_MAX,
    )?;
    let listed = i64::try_from(rows.len()).unwrap_or(i64::MAX);
    let mut items: Vec<Notice> = rows.into_iter().map(|row| row.into_notice(now)).collect();
    items.reverse();
    if listed < ITEMS_MAX {
        return Ok((items, 0));
    }
    let (all,) = fetch_one!(db, (i64,), items!("COUNT(*)", ""), user.uuid(), id)?;
    Ok((items, all.saturating_sub(listed).max(0)))
}

/// Those whom a block has come between their reader and whoever caused them, whichever of the two has set it.
async fn mark_blocked(db: &mut Db, user: UserId, notices: &mut [Notice]) -> Result<(), StoreError> {
    let actors: Vec<Option<UserId>> =
        notices.iter().map(|notice| actor_of(&notice.content)).collect();
    let others: BTreeSet<UserId> = actors.iter().copied().flatten().collect();
    let others: Vec<UserId> = others.into_iter().collect();
    let blocked = blocks::list_blocked_between(db, user, &others).await?;
    for (notice, actor) in notices.iter_mut().zip(actors) {
        if actor.is_some_and(|actor| blocked.contains(&actor)) {
            notice.unwanted = Some(BLOCKED);
        }
    }
    Ok(())
}

/// Why a letter that holds everything itself is not wanted any more.
async fn find_unwanted(
    db: &mut Db,
    user: UserId,
    kind: &str,
    content: &str,
    now: Timestamp,
) -> Result<Option<&'static str>, StoreError> {
    if let Some(actor) = actor_of(content)
        && !blocks::list_blocked_between(db, user, &[actor]).await?.is_empty()
    {
        return Ok(Some(BLOCKED));
    }
    // Only of this program's own kinds does `data` say a place that can be believed.
    let is_own = matches!(kind, "message_received" | "mention_received");
    let Some(place) = told(content, |told| told.message()).filter(|_| is_own) else {
        return Ok(None);
    };
    let row = fetch_optional!(
        db,
        PlaceRow,
        "SELECT COALESCE(m.read_seq >= c.seq, TRUE) AS is_seen,
                c.deleted_at IS NOT NULL AS is_deleted, m.notify_level AS level,
                m.quiet_until AS muted_until
         FROM messages c
         LEFT JOIN room_members m ON m.room_id = c.room_id AND m.user_id = $1
         WHERE c.room_id = $2 AND c.seq = $3",
        user.uuid(),
        place.room.uuid(),
        place.seq,
    )?;
    Ok(row.and_then(|row| {
        let chosen = chosen(row.level.as_deref(), row.muted_until);
        unwanted(row.is_seen, row.is_deleted, !chosen.allows(is_mention(kind), now))
    }))
}

fn actor_of(content: &str) -> Option<UserId> {
    told(content, |told| told.actor_id())
}

fn told<T>(content: &str, find: impl FnOnce(Told<'_>) -> Option<T>) -> Option<T> {
    let content: Value = serde_json::from_str(content).ok()?;
    find(Told::read(content.get("data")?.as_object()?))
}

fn chosen(level: Option<&str>, muted_until: Option<i64>) -> RoomNotifications {
    RoomNotifications {
        level: level.and_then(RoomLevel::parse).unwrap_or_default(),
        muted_until: muted_until.map(Timestamp::from_millis),
    }
}

fn is_mention(kind: &str) -> bool {
    kind == "mention_received"
}

const fn unwanted(is_seen: bool, is_deleted: bool, is_muted: bool) -> Option<&'static str> {
    match (is_seen, is_deleted, is_muted) {
        (true, _, _) => Some(SEEN),
        (_, true, _) => Some(MESSAGE_DELETED),
        (_, _, true) => Some(MUTED),
        _ => None,
    }
}

impl ReaderRow {
    fn into_reader(self) -> Reader {
        Reader {
            handle: self.handle,
            display_name: self.display_name,
            email: self.email,
            is_verified: self.is_verified,
            is_disabled: self.is_disabled,
            locale: self.locale.unwrap_or_else(|| "en".to_owned()),
            time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            quiet: self.quiet_from.zip(self.quiet_until),
            preferences: Preferences::default(),
            unsubscribe_key: self.unsubscribe_key.and_then(|key| key.try_into().ok()),
            unwanted: None,
            notice: None,
            items: Vec::new(),
            more_items: 0,
            device: None,
            phone: None,
        }
    }
}

impl NoticeRow {
    fn into_notice(self, now: Timestamp) -> Notice {
        let chosen = chosen(self.level.as_deref(), self.muted_until);
        let is_muted = self.is_message && !chosen.allows(is_mention(&self.kind), now);
        Notice {
            id: self.id.into(),
            unwanted: unwanted(self.is_seen, self.is_deleted, is_muted),
            kind: self.kind,
            group_key: self.group_key,
            is_message: self.is_message,
            at: Timestamp::from_millis(self.created_at),
            content: self.content,
        }
    }
}
