//! Images: which pictures there are, and where each stands between upload and oblivion. The files are kept elsewhere.
//!
//! Invariant: a file has a row from before its first byte until after its last, whatever crashes in between. The row is
//! inserted before a file is written (`arriving`), is `shown` from the transaction that puts it into a profile, and once
//! `dropped` never comes back; a dropped row goes after its files. No id is used twice, so what is dropped belongs to
//! nobody.

use std::time::Duration;

use serde_json::json;
use uuid::Uuid;

use super::{Db, Store, StoreError, execute, fetch_all};
use crate::domain::ids::{ImageId, UserId};
use crate::domain::images::{ImageFormat, ImageName};
use crate::domain::time::Timestamp;

/// What a profile breaks that shows a picture which is not its owner's, or has been dropped.
pub const IMAGE_NOT_THEIRS: &str = "users_avatar_images_fkey";
/// An upload takes seconds; one that has not arrived by then never will.
const ARRIVES_WITHIN: Duration = Duration::from_hours(1);
/// Pictures that are cleared away at a time.
const CLEARED_MAX: i64 = 100;

/// Makes the picture that a profile shows from now on, if it is one of ours, the only one that its owner has: it is shown,
/// and any other is dropped. The caller has locked the user's row, so that of two uploads at once one is left.
pub(super) async fn show_only(
    db: &mut Db,
    user: UserId,
    shown: Option<ImageName>,
    now: Timestamp,
) -> Result<(), StoreError> {
    if let Some(name) = shown {
        let rows = execute!(
            db,
            "UPDATE images
             SET state = 'shown', changed_at = $4
             WHERE id = $1 AND user_id = $2 AND format = $3 AND state <> 'dropped'",
            name.id.uuid(),
            user.uuid(),
            name.format.as_str(),
            now.millis(),
        )?;
        if rows == 0 {
            return Err(StoreError::Constraint(IMAGE_NOT_THEIRS.to_owned()));
        }
    }
    execute!(
        db,
        "UPDATE images
         SET state = 'dropped', changed_at = $3
         WHERE user_id = $1 AND state = 'shown' AND id <> $2",
        user.uuid(),
        shown.map_or(Uuid::nil(), |name| name.id.uuid()),
        now.millis(),
    )
    .map(|_| ())
}

/// Drops the picture that somebody shows who leaves. One that is still arriving is given up like any that does not arrive:
/// its row stays until its last file can have been written.
pub(super) async fn drop_shown(
    db: &mut Db,
    user: UserId,
    now: Timestamp,
) -> Result<(), StoreError> {
    execute!(
        db,
        "UPDATE images
         SET state = 'dropped', changed_at = $2
         WHERE user_id = $1 AND state = 'shown'",
        user.uuid(),
        now.millis(),
    )
    .map(|_| ())
}

impl Store {
    /// Notes that a picture is about to arrive.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn insert_image(
        &self,
        user: UserId,
        name: ImageName,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "INSERT INTO images (id, user_id, format, state, changed_at)
                     VALUES ($1, $2, $3, 'arriving', $4)",
                    name.id.uuid(),
                    user.uuid(),
                    name.format.as_str(),
                    now.millis(),
                )
                .map(|_| ())
            })
        })
        .await
    }

    /// Drops the pictures that have not arrived in an hour. Gives how many there were.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn drop_lost_images(&self, now: Timestamp) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                execute!(
                    db,
                    "UPDATE images
                     SET state = 'dropped', changed_at = $2
                     WHERE state <> 'shown' AND state = 'arriving' AND changed_at <= $1",
                    now.minus(ARRIVES_WITHIN).millis(),
                    now.millis(),
                )
            })
        })
        .await
    }

    /// Pictures whose files have to go: those of a user, or of anybody; some hundred, the first dropped first, after
    /// `after`.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn list_dropped_images(
        &self,
        user: Option<UserId>,
        after: Option<(Timestamp, ImageId)>,
    ) -> Result<Vec<(Timestamp, ImageName)>, StoreError> {
        let (since, id) =
            after.map_or((i64::MIN, Uuid::nil()), |(at, id)| (at.millis(), id.uuid()));
        let rows: Vec<(Uuid, String, i64)> = self
            .read(move |db| {
                Box::pin(async move {
                    match user {
                        Some(user) => fetch_all!(
                            db,
                            (Uuid, String, i64),
                            "SELECT id, format, changed_at
                             FROM images
                             WHERE user_id = $1 AND state = 'dropped'
                               AND (changed_at, id) > ($2, $3)
                             ORDER BY changed_at, id
                             LIMIT $4",
                            user.uuid(),
                            since,
                            id,
                            CLEARED_MAX,
                        ),
                        None => fetch_all!(
                            db,
                            (Uuid, String, i64),
                            "SELECT id, format, changed_at
                             FROM images
                             WHERE state <> 'shown' AND state = 'dropped'
                               AND (changed_at, id) > ($1, $2)
                             ORDER BY changed_at, id
                             LIMIT $3",
                            since,
                            id,
                            CLEARED_MAX,
                        ),
                    }
                })
            })
            .await?;
        let name = |(id, format, at): (Uuid, String, i64)| {
            let format = ImageFormat::parse(&format)?;
            Some((Timestamp::from_millis(at), ImageName::new(id.into(), format)))
        };
        Ok(rows.into_iter().filter_map(name).collect())
    }

    /// Forgets pictures whose files are gone.
    ///
    /// # Errors
    /// [`StoreError`] when the database does not answer.
    pub async fn delete_dropped_images(&self, ids: Vec<ImageId>) -> Result<u64, StoreError> {
        self.write(move |db| {
            Box::pin(async move {
                let delete = db.dialect(
                    "DELETE FROM images
                     WHERE state = 'dropped'
                       AND id IN (SELECT unhex(replace(value, '-', '')) FROM json_each($1))",
                    "DELETE FROM images
                     WHERE state = 'dropped'
                       AND id IN (SELECT value::uuid FROM jsonb_array_elements_text($1::jsonb))",
                );
                execute!(db, delete, json!(ids).to_string())
            })
        })
        .await
    }
}
