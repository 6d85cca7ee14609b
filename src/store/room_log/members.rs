//! The room log's word on membership: who joins, who goes, who may do what.

use serde_json::json;

use super::{Recorded, RoomLog};
use crate::domain::ids::UserId;
use crate::domain::inbox::InboxNote;
use crate::domain::rooms::{EventName, MemberFacts, MemberRole};
use crate::domain::time::Timestamp;
use crate::store::{Db, StoreError, execute};

impl RoomLog {
    pub(in crate::store) async fn add_member(
        &mut self,
        db: &mut Db,
        by: UserId,
        user: UserId,
        role: MemberRole,
    ) -> Result<Recorded, StoreError> {
        let joined_seq = self.facts.head.saturating_add(1);
        execute!(
            db,
            "INSERT INTO room_members
                 (room_id, user_id, role, joined_seq, joined_at, read_seq, muted_until, notify)
             VALUES ($1, $2, $3, $4, $5, $6, NULL, $7)",
            self.room.uuid(),
            user.uuid(),
            role.as_str(),
            joined_seq,
            self.now.millis(),
            joined_seq,
            true,
        )?;
        self.facts.member_count = self.facts.member_count.saturating_add(1);
        self.members.insert(user, Some(MemberFacts { role, muted_until: None }));
        self.notes.push(InboxNote::room_added(user, self.room, by));
        let data = json!({ "user_id": user, "role": role });
        self.record(db, by, EventName::UserJoined, data).await
    }

    pub(super) async fn remove_member(
        &mut self,
        db: &mut Db,
        by: UserId,
        user: UserId,
    ) -> Result<Recorded, StoreError> {
        execute!(
            db,
            "DELETE FROM room_members WHERE room_id = $1 AND user_id = $2",
            self.room.uuid(),
            user.uuid(),
        )?;
        self.facts.member_count = self.facts.member_count.saturating_sub(1);
        self.members.insert(user, None);
        self.notes.push(InboxNote::room_removed(user, self.room, by));
        let data = json!({ "user_id": user });
        let mut recorded = self.record(db, by, EventName::UserLeft, data).await?;
        if let Some(event) = &mut recorded.event {
            event.removed = Some(user);
        }
        Ok(recorded)
    }

    /// Changes a role. Making somebody the owner hands the room over: the old owner becomes a moderator.
    pub(super) async fn set_role(
        &mut self,
        db: &mut Db,
        actor: UserId,
        user: UserId,
        role: MemberRole,
    ) -> Result<Recorded, StoreError> {
        let mut changes = vec![(user, role)];
        if role == MemberRole::Owner {
            changes.push((actor, MemberRole::Moderator));
        }
        for (user, role) in &changes {
            execute!(
                db,
                "UPDATE room_members SET role = $1 WHERE room_id = $2 AND user_id = $3",
                role.as_str(),
                self.room.uuid(),
                user.uuid(),
            )?;
            self.members.remove(user);
        }
        let members: Vec<_> =
            changes.iter().map(|(user, role)| json!({ "user_id": user, "role": role })).collect();
        let data = json!({ "members": members });
        self.record(db, actor, EventName::MemberUpdated, data).await
    }

    pub(super) async fn mute(
        &mut self,
        db: &mut Db,
        actor: UserId,
        user: UserId,
        until: Option<Timestamp>,
    ) -> Result<Recorded, StoreError> {
        execute!(
            db,
            "UPDATE room_members SET muted_until = $1 WHERE room_id = $2 AND user_id = $3",
            until.map(Timestamp::millis),
            self.room.uuid(),
            user.uuid(),
        )?;
        self.members.remove(&user);
        let data = json!({ "members": [{ "user_id": user, "muted_until": until }] });
        self.record(db, actor, EventName::MemberUpdated, data).await
    }
}
