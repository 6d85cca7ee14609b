//! What a notification is about, as templates read it from the `data` that clients are given too.

use serde_json::{Map, Value};

use crate::domain::ids::{RoomId, UserId};
use crate::domain::templates::context::{
    ActorContext, AppContext, Context, MessageContext, RoomContext,
};

/// The parts of `data` that this program knows; whatever has another shape is the sender's own.
pub struct Told<'d>(&'d Map<String, Value>);

impl<'d> Told<'d> {
    #[must_use]
    pub const fn read(data: &'d Map<String, Value>) -> Self {
        Self(data)
    }

    /// Who caused it.
    #[must_use]
    pub fn actor(&self) -> Option<(UserId, &'d str)> {
        let actor = self.0.get("actor")?;
        let id = actor.get("id")?.as_str()?.parse().ok()?;
        Some((id, actor.get("display_name")?.as_str()?))
    }

    /// Where it happened; a direct room has no name.
    #[must_use]
    pub fn room(&self) -> Option<(RoomId, Option<&'d str>)> {
        let room = self.0.get("room")?;
        let id = room.get("id")?.as_str()?.parse().ok()?;
        Some((id, room.get("name").and_then(Value::as_str)))
    }

    /// How many messages it stands for.
    #[must_use]
    pub fn count(&self) -> i64 {
        self.0.get("count").and_then(Value::as_i64).unwrap_or(1).max(1)
    }

    /// Everything a template may speak of.
    #[must_use]
    pub fn into_context(self, app: AppContext) -> Context {
        let mut context = Context::new(app);
        let actor = self.actor();
        context.actor = actor.map(|(id, name)| ActorContext { id, display_name: name.to_owned() });
        let room = self.room();
        context.room = room.map(|(id, name)| RoomContext { id, name: name.map(str::to_owned) });
        context.message = self.0.get("message").map(|message| MessageContext {
            preview: message.get("preview").and_then(Value::as_str).map(str::to_owned),
        });
        context.count = self.count();
        context.rooms = i64::from(context.room.is_some());
        context.data = self.0.clone();
        context
    }
}
