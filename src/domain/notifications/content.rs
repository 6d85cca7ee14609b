//! What a notification is about, as templates read it from the `data` that clients are given too.

use serde_json::{Map, Value, json};

use super::MessagePlace;
use crate::domain::ids::{RoomId, UserId};
use crate::domain::templates::context::{
    ActorContext, AppContext, Context, MessageContext, MoneyContext, RoomContext,
};

/// The JSON of a notification whose message was deleted since: who, where and when stay, what was said goes.
#[must_use]
pub fn without_words(content: &str) -> String {
    let gone = || json!({ "deleted": true }).to_string();
    let Ok(mut content) = serde_json::from_str::<Map<String, Value>>(content) else {
        return gone();
    };
    if content.contains_key("deleted") {
        return gone();
    }
    for words in ["title", "body"] {
        content.insert(words.to_owned(), Value::from(""));
    }
    let message = content.get_mut("data").and_then(|data| data.get_mut("message"));
    if let Some(message) = message.and_then(Value::as_object_mut) {
        message.insert("preview".to_owned(), Value::Null);
        message.insert("deleted".to_owned(), Value::from(true));
    }
    Value::Object(content).to_string()
}

/// The parts of `data` that this program knows; whatever has another shape is the sender's own.
pub struct Told<'d>(&'d Map<String, Value>);

impl<'d> Told<'d> {
    #[must_use]
    pub const fn read(data: &'d Map<String, Value>) -> Self {
        Self(data)
    }

    /// The id of whoever caused it, whatever else is known of them.
    #[must_use]
    pub fn actor_id(&self) -> Option<UserId> {
        self.0.get("actor")?.get("id")?.as_str()?.parse().ok()
    }

    /// Where the message is that it tells of.
    #[must_use]
    pub fn message(&self) -> Option<MessagePlace> {
        let (room, _) = self.room()?;
        let seq = self.0.get("message")?.get("seq")?.as_i64()?;
        Some(MessagePlace { room, seq })
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

    /// Which money has moved.
    #[must_use]
    pub fn money(&self) -> Option<MoneyContext> {
        let money = self.0.get("money")?;
        let text = |field: &str| money.get(field).and_then(Value::as_str).map(str::to_owned);
        Some(MoneyContext { text: text("text")?, currency: text("currency")?, name: text("name") })
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
        context.money = self.money();
        context.count = self.count();
        context.rooms = i64::from(context.room.is_some());
        context.data = self.0.clone();
        context
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_was_deleted_is_quoted_nowhere() {
        let content = json!({
            "id": "n", "title": "a secret", "body": "a secret",
            "data": { "actor": { "id": "u" }, "message": { "seq": 3, "preview": "a secret" } },
        });

        let left: Value = serde_json::from_str(&without_words(&content.to_string())).unwrap();

        assert!(!left.to_string().contains("secret"));
        assert_eq!(left["data"]["actor"], json!({ "id": "u" }));
        assert_eq!(left["data"]["message"], json!({ "seq": 3, "preview": null, "deleted": true }));
        let gone = json!({ "deleted": true }).to_string();
        assert_eq!(without_words(&gone), gone);
        assert_eq!(without_words("{"), gone);
    }

    #[test]
    fn what_a_sender_calls_an_actor_may_be_anything() {
        let data = |actor: Value| Map::from_iter([("actor".to_owned(), actor)]);
        let id = UserId::from(uuid::Uuid::from_u128(7));

        assert_eq!(Told::read(&data(json!({ "id": id }))).actor_id(), Some(id));
        for actor in [json!("me"), json!({ "id": 7 }), json!({ "id": "me" })] {
            assert_eq!(Told::read(&data(actor)).actor_id(), None);
        }
    }
}
