//! Trials: whether a template will work, found out with examples before anybody is written to.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::builtin::Subject;
use super::compiled::{CompiledTemplate, Rendered};
use super::context::{
    ActorContext, AppContext, Context, ItemContext, MessageContext, MoneyContext, RecipientContext,
    RoomContext,
};
use super::{NotificationKind, SAMPLE_BYTES_MAX, TemplateError, builtin};
use crate::domain::locales::Locale;

/// Example data of a kind.
///
/// # Errors
/// [`TemplateError::SampleTooLarge`].
pub fn check_sample(sample: &Map<String, Value>) -> Result<(), TemplateError> {
    let bytes = serde_json::to_vec(sample).map_or(usize::MAX, |json| json.len());
    if bytes <= SAMPLE_BYTES_MAX { Ok(()) } else { Err(TemplateError::SampleTooLarge) }
}

/// Renders every part with everything that its kind may be given, and again with as little.
///
/// # Errors
/// The [`TemplateError`] that somebody would have met later.
pub fn check(
    template: &CompiledTemplate,
    kind: &NotificationKind,
    app: &AppContext,
    sample: &Map<String, Value>,
) -> Result<Rendered, TemplateError> {
    let full = example(kind, template.locale(), app, sample);
    let rendered = template.render(&full)?;
    template.render(&as_little_as_may_be(full))?;
    Ok(rendered)
}

/// An example of what a notification of `kind` is about. `data` is what the kind brings along.
#[must_use]
pub fn example(
    kind: &NotificationKind,
    locale: &Locale,
    app: &AppContext,
    data: &Map<String, Value>,
) -> Context {
    let names = if locale.language() == "ko" { &KOREAN } else { &ENGLISH };
    let mut context = Context::new(app.clone());
    context.recipient = Some(RecipientContext {
        display_name: names.recipient.to_owned(),
        handle: names.handle.to_owned(),
        locale: locale.clone(),
    });
    context.unsubscribe_url =
        Some(format!("{}/v1/notifications/unsubscribe?token=example", app.url));
    context.data = data.clone();
    let subject = builtin::subject_of(kind.as_str());
    let is_of_message = subject == Subject::Message;
    if is_of_message || subject == Subject::Person {
        context.actor =
            Some(ActorContext { id: Uuid::nil().into(), display_name: names.actor.to_owned() });
    }
    if is_of_message {
        let name = Some(names.room.to_owned());
        context.room = Some(RoomContext { id: Uuid::nil().into(), name });
        context.message = Some(MessageContext { preview: Some(names.preview.to_owned()) });
        context.rooms = 1;
    }
    if subject == Subject::Address {
        context.code = Some("123456".to_owned());
    }
    if subject == Subject::Money {
        context.money = Some(MoneyContext {
            text: "12,000".to_owned(),
            currency: "KRW".to_owned(),
            name: Some(names.order.to_owned()),
        });
    }
    if subject == Subject::Many {
        context.count = 12;
        context.rooms = 3;
        context.names = vec![names.actor.to_owned(), names.other.to_owned()];
        context.more = 1;
        context.items = names.items();
    }
    context
}

/// The same where everything is missing that is not always there.
fn as_little_as_may_be(mut context: Context) -> Context {
    context.unsubscribe_url = None;
    context.rooms = 0;
    context.more = 0;
    context.names.clear();
    if let Some(room) = &mut context.room {
        room.name = None;
    }
    if let Some(message) = &mut context.message {
        message.preview = None;
    }
    if let Some(money) = &mut context.money {
        money.name = None;
    }
    for item in &mut context.items {
        (item.actor, item.room) = (None, None);
        item.is_messages = false;
    }
    context
}

/// People and things that do not exist.
struct Names {
    recipient: &'static str,
    handle: &'static str,
    actor: &'static str,
    other: &'static str,
    room: &'static str,
    preview: &'static str,
    order: &'static str,
    request: &'static str,
}

const ENGLISH: Names = Names {
    recipient: "Jisoo",
    handle: "jisoo",
    actor: "Minho",
    other: "Yuna",
    room: "Courtyard",
    preview: "See you at seven?",
    order: "A day in the garden",
    request: "Haru wants to be your friend",
};
const KOREAN: Names = Names {
    recipient: "지수",
    handle: "지수",
    actor: "민호",
    other: "유나",
    room: "앞마당",
    preview: "일곱 시에 볼까요?",
    order: "화단 정리",
    request: "하루님이 친구 요청을 보냈어요",
};

impl Names {
    fn items(&self) -> Vec<ItemContext> {
        let messages = ItemContext {
            title: self.actor.to_owned(),
            body: self.preview.to_owned(),
            count: 11,
            is_messages: true,
            actor: Some(self.actor.to_owned()),
            others: 1,
            room: Some(self.room.to_owned()),
        };
        let request = ItemContext {
            title: self.request.to_owned(),
            body: self.request.to_owned(),
            count: 1,
            is_messages: false,
            actor: None,
            others: 0,
            room: None,
        };
        vec![messages, request]
    }
}
