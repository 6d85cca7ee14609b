//! Recipients: the next people of an audience, with everything that decides how they are told.
//!
//! Read page after page in the order of their ids, so that the largest audience takes no more memory than a page.

use std::collections::HashMap;

use serde_json::json;
use uuid::Uuid;

use crate::domain::ids::{DeviceId, UserId};
use crate::domain::media::Medium;
use crate::domain::notifications::plan::{Recipient, RoomSide};
use crate::domain::notifications::{Audience, Occasion, Segment};
use crate::domain::preferences::{Choice, Preferences, RoomLevel, RoomNotifications};
use crate::domain::presence::Status;
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, fetch_all};

#[derive(sqlx::FromRow)]
struct RecipientRow {
    user_id: Uuid,
    handle: String,
    display_name: String,
    is_verified: bool,
    locale: Option<String>,
    time_zone: Option<String>,
    quiet_from: Option<i64>,
    quiet_until: Option<i64>,
    digest_minutes: Option<i64>,
    status: Option<String>,
    level: Option<String>,
    muted_until: Option<i64>,
    read_seq: Option<i64>,
    has_unread: bool,
    has_phone: bool,
}

/// What is read of each of the `chosen`. `$2` is who caused the occasion, `$3` the room: those who have blocked each other
/// are told nothing of one another.
macro_rules! told {
    ($chosen:literal) => {
        concat!(
            "WITH chosen AS (",
            $chosen,
            ")
             SELECT u.id AS user_id, u.handle, u.display_name,
                    u.verified_at IS NOT NULL AS is_verified, s.locale, s.time_zone, s.quiet_from,
                    s.quiet_until, s.digest_minutes, p.status, m.notify_level AS level,
                    m.quiet_until AS muted_until, m.read_seq,
                    EXISTS (SELECT 1 FROM notifications n
                            WHERE n.user_id = u.id AND n.room_id = $3 AND n.read_at IS NULL
                              AND n.archived_at IS NULL AND n.deleted_at IS NULL) AS has_unread,
                    EXISTS (SELECT 1 FROM phones t
                            WHERE t.user_id = u.id AND t.verified_at IS NOT NULL) AS has_phone
             FROM chosen c
             JOIN users u ON u.id = c.user_id AND u.deleted_at IS NULL AND u.disabled_at IS NULL
             LEFT JOIN user_settings s ON s.user_id = u.id
             LEFT JOIN presences p ON p.user_id = u.id
             LEFT JOIN room_members m ON m.room_id = $3 AND m.user_id = u.id
             WHERE NOT EXISTS (SELECT 1 FROM blocks b
                               WHERE (b.user_id = u.id AND b.blocked_id = $2)
                                  OR (b.user_id = $2 AND b.blocked_id = u.id))
             ORDER BY u.id"
        )
    };
}

/// The next people of an occasion's audience, and the last id that was looked at: people who are told nothing are looked
/// at too. `None` where nobody is left behind them.
pub(super) async fn list(
    db: &mut Db,
    occasion: &Occasion,
    after: Option<UserId>,
    limit: i64,
) -> Result<(Vec<Recipient>, Option<UserId>), StoreError> {
    let (last, is_full) = last_of_page(db, &occasion.audience, after, limit).await?;
    let Some(last) = last else { return Ok((Vec::new(), None)) };
    let after = after.map_or(Uuid::nil(), UserId::uuid);
    let actor = occasion.actor.map(UserId::uuid);
    let room = occasion.audience.room().map(crate::domain::ids::RoomId::uuid);
    let rows = match &occasion.audience {
        Audience::Users { users } => {
            let select = db.dialect(
                told!(
                    "SELECT DISTINCT unhex(replace(j.value, '-', '')) AS user_id FROM json_each($1) j
                     WHERE unhex(replace(j.value, '-', '')) > $4
                       AND unhex(replace(j.value, '-', '')) <= $5"
                ),
                told!(
                    "SELECT DISTINCT j.value::uuid AS user_id FROM jsonb_array_elements_text($1::jsonb) j
                     WHERE j.value::uuid > $4 AND j.value::uuid <= $5"
                ),
            );
            let users = json!(users).to_string();
            fetch_all!(db, RecipientRow, select, users, actor, room, after, last.uuid())?
        }
        Audience::Mentioned { users, .. } => {
            let select = db.dialect(
                told!(
                    "SELECT DISTINCT o.user_id FROM json_each($1) j
                     JOIN room_members o
                       ON o.room_id = $3 AND o.user_id = unhex(replace(j.value, '-', ''))
                     WHERE o.user_id > $4 AND o.user_id <= $5"
                ),
                told!(
                    "SELECT DISTINCT o.user_id FROM jsonb_array_elements_text($1::jsonb) j
                     JOIN room_members o ON o.room_id = $3 AND o.user_id = j.value::uuid
                     WHERE o.user_id > $4 AND o.user_id <= $5"
                ),
            );
            let users = json!(users).to_string();
            fetch_all!(db, RecipientRow, select, users, actor, room, after, last.uuid())?
        }
        Audience::Away { except, .. } => {
            let select = db.dialect(
                told!(
                    "SELECT o.user_id FROM room_members o
                     WHERE o.room_id = $3 AND o.user_id > $4 AND o.user_id <= $5
                       AND o.user_id NOT IN
                           (SELECT unhex(replace(j.value, '-', '')) FROM json_each($1) j)"
                ),
                told!(
                    "SELECT o.user_id FROM room_members o
                     WHERE o.room_id = $3 AND o.user_id > $4 AND o.user_id <= $5
                       AND o.user_id NOT IN
                           (SELECT j.value::uuid FROM jsonb_array_elements_text($1::jsonb) j)"
                ),
            );
            let except = json!(except).to_string();
            fetch_all!(db, RecipientRow, select, except, actor, room, after, last.uuid())?
        }
        Audience::Segment { segment } => {
            let select = db.dialect(
                told!(
                    "SELECT o.id AS user_id FROM users o
                     LEFT JOIN user_settings os ON os.user_id = o.id
                     LEFT JOIN presences op ON op.user_id = o.id
                     WHERE o.id > $4 AND o.id <= $5
                       AND ($1 ->> 'locale' IS NULL
                            OR COALESCE(os.locale, 'en') = $1 ->> 'locale')
                       AND o.created_at >= $1 ->> 'after' AND o.created_at < $1 ->> 'before'
                       AND COALESCE(op.last_seen_at, 0) >= $1 ->> 'seen'"
                ),
                told!(
                    "SELECT o.id AS user_id FROM users o
                     LEFT JOIN user_settings os ON os.user_id = o.id
                     LEFT JOIN presences op ON op.user_id = o.id
                     WHERE o.id > $4 AND o.id <= $5
                       AND ($1::jsonb ->> 'locale' IS NULL
                            OR COALESCE(os.locale, 'en') = $1::jsonb ->> 'locale')
                       AND o.created_at >= ($1::jsonb ->> 'after')::bigint
                       AND o.created_at < ($1::jsonb ->> 'before')::bigint
                       AND COALESCE(op.last_seen_at, 0) >= ($1::jsonb ->> 'seen')::bigint"
                ),
            );
            let segment = segment_json(segment);
            fetch_all!(db, RecipientRow, select, segment, actor, room, after, last.uuid())?
        }
        Audience::Role { .. } | Audience::Everyone => {
            let select = told!(
                "SELECT o.id AS user_id FROM users o
                 WHERE o.id > $4 AND o.id <= $5 AND ' ' || o.roles || ' ' LIKE $1"
            );
            let pattern = roles_pattern(&occasion.audience);
            fetch_all!(db, RecipientRow, select, pattern, actor, room, after, last.uuid())?
        }
    };
    let mut recipients: Vec<Recipient> = rows
        .into_iter()
        .map(RecipientRow::into_recipient)
        .filter(|recipient| occasion.actor != Some(recipient.user))
        .collect();
    add_choices(db, &occasion.kind, &mut recipients).await?;
    add_devices(db, &mut recipients).await?;
    Ok((recipients, is_full.then_some(last)))
}

/// Where the page ends, at the `limit`th id or the last there is, and whether there may be more behind it.
async fn last_of_page(
    db: &mut Db,
    audience: &Audience,
    after: Option<UserId>,
    limit: i64,
) -> Result<(Option<UserId>, bool), StoreError> {
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let after = after.map_or(Uuid::nil(), UserId::uuid);
    let rows = match audience {
        Audience::Users { users } | Audience::Mentioned { users, .. } => {
            let mut users: Vec<Uuid> =
                users.iter().map(|user| user.uuid()).filter(|user| *user > after).collect();
            users.sort_unstable();
            users.dedup();
            users.truncate(most);
            return Ok((users.last().map(|user| (*user).into()), users.len() >= most));
        }
        Audience::Away { room, .. } => fetch_all!(
            db,
            (Uuid,),
            "SELECT user_id FROM room_members
             WHERE room_id = $1 AND user_id > $2
             ORDER BY user_id
             LIMIT $3",
            room.uuid(),
            after,
            limit,
        )?,
        Audience::Role { .. } | Audience::Segment { .. } | Audience::Everyone => fetch_all!(
            db,
            (Uuid,),
            "SELECT id FROM users
             WHERE id > $2 AND ' ' || roles || ' ' LIKE $1
             ORDER BY id
             LIMIT $3",
            roles_pattern(audience),
            after,
            limit,
        )?,
    };
    Ok((rows.last().map(|(user,)| (*user).into()), rows.len() >= most))
}

/// What is not said is no limit.
fn segment_json(segment: &Segment) -> String {
    let millis = |at: Option<Timestamp>| at.map(Timestamp::millis);
    json!({
        "locale": segment.locale,
        "after": millis(segment.registered_after).unwrap_or(0),
        "before": millis(segment.registered_before).unwrap_or(i64::MAX),
        "seen": millis(segment.seen_since).unwrap_or(0),
    })
    .to_string()
}

fn roles_pattern(audience: &Audience) -> String {
    match audience {
        Audience::Role { role } => format!("% {} %", role.name()),
        _ => "%".to_owned(),
    }
}

/// What each has chosen for this kind, and for every kind.
async fn add_choices(
    db: &mut Db,
    kind: &str,
    recipients: &mut [Recipient],
) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT c.user_id, c.kind, c.medium, c.choice
         FROM json_each($1) j
         JOIN notification_preferences c
           ON c.user_id = unhex(replace(j.value, '-', '')) AND c.kind IN ($2, '*')",
        "SELECT c.user_id, c.kind, c.medium, c.choice
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN notification_preferences c
           ON c.user_id = j.value::uuid AND c.kind IN ($2, '*')",
    );
    let rows = fetch_all!(db, (Uuid, String, String, String), select, users_of(recipients), kind)?;
    let mut chosen: HashMap<UserId, Vec<(String, Medium, Choice)>> = HashMap::new();
    for (user, kind, medium, choice) in rows {
        // A word of a later release is no choice in this one.
        if let (Some(medium), Some(choice)) = (Medium::parse(&medium), Choice::parse(&choice)) {
            chosen.entry(user.into()).or_default().push((kind, medium, choice));
        }
    }
    for recipient in recipients {
        recipient.preferences = chosen.remove(&recipient.user).into_iter().flatten().collect();
    }
    Ok(())
}

async fn add_devices(db: &mut Db, recipients: &mut [Recipient]) -> Result<(), StoreError> {
    let select = db.dialect(
        "SELECT d.user_id, d.id
         FROM json_each($1) j
         JOIN devices d ON d.user_id = unhex(replace(j.value, '-', ''))",
        "SELECT d.user_id, d.id
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN devices d ON d.user_id = j.value::uuid",
    );
    let rows = fetch_all!(db, (Uuid, Uuid), select, users_of(recipients))?;
    let mut by_user = places(recipients);
    for (user, device) in rows {
        if let Some(recipient) = by_user.get_mut(&user.into()) {
            recipient.devices.push(DeviceId::from(device));
        }
    }
    Ok(())
}

/// How many notifications went to each of them by each medium since `since`: one that goes to several devices is one.
pub(super) async fn add_sent(
    db: &mut Db,
    recipients: &mut [Recipient],
    since: Timestamp,
) -> Result<(), StoreError> {
    // What is in no inbox has no number; its letters have their instant in common.
    let select = db.dialect(
        "SELECT d.user_id, d.medium,
                COUNT(DISTINCT d.seq)
                    + COUNT(DISTINCT CASE WHEN d.seq IS NULL THEN d.created_at END)
         FROM json_each($1) j
         JOIN deliveries d ON d.user_id = unhex(replace(j.value, '-', ''))
         WHERE d.created_at > $2 AND d.status <> 'suppressed'
         GROUP BY d.user_id, d.medium",
        "SELECT d.user_id, d.medium,
                COUNT(DISTINCT d.seq)
                    + COUNT(DISTINCT CASE WHEN d.seq IS NULL THEN d.created_at END)
         FROM jsonb_array_elements_text($1::jsonb) j
         JOIN deliveries d ON d.user_id = j.value::uuid
         WHERE d.created_at > $2 AND d.status <> 'suppressed'
         GROUP BY d.user_id, d.medium",
    );
    let users = users_of(recipients);
    let rows = fetch_all!(db, (Uuid, String, i64), select, users, since.millis())?;
    let mut by_user = places(recipients);
    for (user, medium, count) in rows {
        if let (Some(recipient), Some(medium)) =
            (by_user.get_mut(&user.into()), Medium::parse(&medium))
        {
            recipient.sent.insert(medium, count);
        }
    }
    Ok(())
}

fn users_of(recipients: &[Recipient]) -> String {
    let users: Vec<UserId> = recipients.iter().map(|recipient| recipient.user).collect();
    json!(users).to_string()
}

fn places(recipients: &mut [Recipient]) -> HashMap<UserId, &mut Recipient> {
    recipients.iter_mut().map(|recipient| (recipient.user, recipient)).collect()
}

impl RecipientRow {
    fn into_recipient(self) -> Recipient {
        let notifications = RoomNotifications {
            level: self.level.as_deref().and_then(RoomLevel::parse).unwrap_or_default(),
            muted_until: self.muted_until.map(Timestamp::from_millis),
        };
        let room = self.read_seq.map(|read_seq| RoomSide {
            notifications,
            read_seq,
            has_unread: self.has_unread,
        });
        Recipient {
            user: self.user_id.into(),
            handle: self.handle,
            display_name: self.display_name,
            is_verified: self.is_verified,
            locale: self.locale.unwrap_or_else(|| "en".to_owned()),
            time_zone: self.time_zone.unwrap_or_else(|| "UTC".to_owned()),
            digest_minutes: self.digest_minutes,
            quiet: self.quiet_from.zip(self.quiet_until),
            status: self.status.as_deref().and_then(Status::parse).unwrap_or(Status::Offline),
            room,
            has_phone: self.has_phone,
            devices: Vec::new(),
            preferences: Preferences::default(),
            sent: HashMap::new(),
        }
    }
}
