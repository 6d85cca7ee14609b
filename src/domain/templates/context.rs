//! What a template may speak of.

use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::domain::ids::{RoomId, UserId};
use crate::domain::locales::Locale;

/// Everything that a template can name. What is `None` may be asked about (`{% if room %}`), and not be written.
#[derive(Clone, PartialEq, Serialize)]
pub struct Context {
    pub app: AppContext,
    /// `None` where one text serves many: a template that names it is personal.
    pub recipient: Option<RecipientContext>,
    /// Who caused it.
    pub actor: Option<ActorContext>,
    pub room: Option<RoomContext>,
    pub message: Option<MessageContext>,
    /// What has moved.
    pub money: Option<MoneyContext>,
    /// What proves that somebody reads an address.
    pub code: Option<String>,
    pub unsubscribe_url: Option<String>,
    /// How many things it is about; 1 unless several are told as one.
    pub count: i64,
    /// In how many rooms they happened; 0 where it is not about rooms.
    pub rooms: i64,
    /// In a digest: what happened, the newest first.
    pub items: Vec<ItemContext>,
    /// In a digest: the first of those who caused it.
    pub names: Vec<String>,
    /// In a digest: how many more they are.
    pub more: i64,
    /// What the kind brings along.
    pub data: Map<String, Value>,
}

/// The app that speaks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AppContext {
    pub name: String,
    pub url: String,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct RecipientContext {
    pub display_name: String,
    pub handle: String,
    pub locale: Locale,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ActorContext {
    pub id: UserId,
    pub display_name: String,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct RoomContext {
    pub id: RoomId,
    /// `None` in a direct room.
    pub name: Option<String>,
}

#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct MessageContext {
    /// Its first words; `None` where they are not shown.
    pub preview: Option<String>,
}

/// Things of one sort in a digest, such as the messages of one room.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct ItemContext {
    /// The heading and the words of the newest of them.
    pub title: String,
    pub body: String,
    pub count: i64,
    /// Whether they are messages.
    pub is_messages: bool,
    /// Who caused the newest of them.
    pub actor: Option<String>,
    /// How many more people did.
    pub others: i64,
    /// The name of the room.
    pub room: Option<String>,
}

/// Money that has moved.
#[derive(Clone, PartialEq, Eq, Serialize)]
pub struct MoneyContext {
    /// Without the currency, such as `12,000`.
    pub text: String,
    /// ISO 4217.
    pub currency: String,
    /// What it was for; `None` where that has no name.
    pub name: Option<String>,
}

impl Context {
    /// A context in which nothing has happened yet.
    #[must_use]
    pub fn new(app: AppContext) -> Self {
        Self {
            app,
            recipient: None,
            actor: None,
            room: None,
            message: None,
            money: None,
            code: None,
            unsubscribe_url: None,
            count: 1,
            rooms: 0,
            items: Vec::new(),
            names: Vec::new(),
            more: 0,
            data: Map::new(),
        }
    }
}

// Names, codes and links stay out of logs.
impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("app", &self.app).finish_non_exhaustive()
    }
}
