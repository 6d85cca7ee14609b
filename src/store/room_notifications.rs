//! What a member wants to be told of in a room. It is theirs alone: no event of the room tells of it.

use super::messages::ReadError;
use super::{Store, StoreError, execute};
use crate::domain::ids::{RoomId, UserId};
use crate::domain::preferences::RoomNotifications;
use crate::domain::rooms::RoomError;
use crate::domain::time::Timestamp;

impl Store {
    /// Keeps a member's choice.
    ///
    /// # Errors
    /// [`RoomError::NotFound`] for everybody who is not a member.
    pub async fn update_room_notifications(
        &self,
        room: RoomId,
        member: UserId,
        chosen: RoomNotifications,
    ) -> Result<(), ReadError> {
        let rows = self
            .write::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    execute!(
                        db,
                        "UPDATE room_members
                         SET notify_level = $1, quiet_until = $2
                         WHERE room_id = $3 AND user_id = $4",
                        chosen.level.as_str(),
                        chosen.muted_until.map(Timestamp::millis),
                        room.uuid(),
                        member.uuid(),
                    )
                })
            })
            .await?;
        if rows == 1 { Ok(()) } else { Err(RoomError::NotFound.into()) }
    }
}
