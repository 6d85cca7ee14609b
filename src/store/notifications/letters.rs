//! What a letter to a user is composed from, read when it is attempted: what is true then is what it says.

use crate::domain::deliveries::Delivery;
use crate::domain::devices::Device;
use crate::domain::ids::{DeviceId, NotificationId, UserId};
use crate::domain::letters::PhoneNumber;
use crate::domain::media::Medium;
use crate::domain::preferences::{Choice, Preferences};
use crate::domain::rooms::Seq;
use crate::domain::time::Timestamp;
use crate::store::{Db, Store, StoreError, devices, fetch_all, fetch_optional, phones};
use uuid::Uuid;

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
    /// The notification it tells of.
    pub notice: Option<Notice>,
    /// Every notification of a digest that is still to be told, the oldest first.
    pub items: Vec<Notice>,
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
    /// Read, archived, deleted, or its message was read in the room.
    pub is_seen: bool,
    /// The JSON of its `notification_created`.
    pub content: String,
}

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
}

#[derive(sqlx::FromRow)]
struct NoticeRow {
    id: Uuid,
    kind: String,
    group_key: Option<String>,
    is_message: bool,
    created_at: i64,
    is_seen: bool,
    content: String,
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
    ) -> Result<Option<Reader>, StoreError> {
        let delivery = delivery.clone();
        self.read(move |db| {
            Box::pin(async move {
                let Some(row) = find_reader(db, user).await? else { return Ok(None) };
                let mut reader = row.into_reader();
                reader.preferences = find_preferences(db, user, &delivery.kind).await?;
                if let Some(seq) = delivery.seq {
                    reader.notice = find_notice(db, user, seq).await?;
                }
                if delivery.digest_key.is_some() {
                    reader.items = list_items(db, user, &delivery).await?;
                }
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

async fn find_reader(db: &mut Db, user: UserId) -> Result<Option<ReaderRow>, StoreError> {
    fetch_optional!(
        db,
        ReaderRow,
        "SELECT u.handle, u.display_name, u.email, u.verified_at IS NOT NULL AS is_verified,
                u.disabled_at IS NOT NULL AS is_disabled, s.locale, s.time_zone, s.quiet_from,
                s.quiet_until
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
            "SELECT n.id, n.kind, n.group_key, n.room_id IS NOT NULL AS is_message, n.created_at,
                    n.read_at IS NOT NULL OR n.archived_at IS NOT NULL OR n.deleted_at IS NOT NULL
                        OR (n.room_id IS NOT NULL
                            AND COALESCE(m.read_seq >= n.room_seq, TRUE)) AS is_seen,
                    e.data AS content ",
            $source,
            " JOIN inbox_events e ON e.user_id = n.user_id AND e.seq = n.seq
              LEFT JOIN room_members m ON m.room_id = n.room_id AND m.user_id = n.user_id "
        )
    };
}

async fn find_notice(db: &mut Db, user: UserId, seq: Seq) -> Result<Option<Notice>, StoreError> {
    let row = fetch_optional!(
        db,
        NoticeRow,
        concat!(notices!("FROM notifications n"), "WHERE n.user_id = $1 AND n.seq = $2"),
        user.uuid(),
        seq,
    )?;
    Ok(row.map(NoticeRow::into_notice))
}

async fn list_items(
    db: &mut Db,
    user: UserId,
    delivery: &Delivery,
) -> Result<Vec<Notice>, StoreError> {
    let rows = fetch_all!(
        db,
        NoticeRow,
        concat!(
            notices!(
                "FROM delivery_items i
                 JOIN notifications n ON n.user_id = $1 AND n.seq = i.seq"
            ),
            "WHERE i.delivery_id = $2
             ORDER BY i.seq DESC
             LIMIT $3"
        ),
        user.uuid(),
        delivery.id.uuid(),
        ITEMS_MAX,
    )?;
    let mut items: Vec<Notice> = rows.into_iter().map(NoticeRow::into_notice).collect();
    items.retain(|item| !item.is_seen);
    items.reverse();
    Ok(items)
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
            notice: None,
            items: Vec::new(),
            device: None,
            phone: None,
        }
    }
}

impl NoticeRow {
    fn into_notice(self) -> Notice {
        Notice {
            id: self.id.into(),
            kind: self.kind,
            group_key: self.group_key,
            is_message: self.is_message,
            at: Timestamp::from_millis(self.created_at),
            is_seen: self.is_seen,
            content: self.content,
        }
    }
}
