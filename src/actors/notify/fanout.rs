//! One fan-out: page after page, everybody it concerns is told once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Value, json};

use tokio::sync::watch;

use super::words::{Words, WordsError};
use crate::actors::inbox::Inboxes;
use crate::clock;
use crate::domain::ids::UserId;
use crate::domain::locales::Locale;
use crate::domain::notifications::Occasion;
use crate::domain::notifications::plan::{Plan, Policy, Recipient, Sending, Terms, plan};
use crate::domain::preferences::facts_of;
use crate::domain::templates::compiled::{CompiledTemplate, Notice};
use crate::domain::templates::context::RecipientContext;
use crate::domain::time::Timestamp;
use crate::store::notifications::fanouts::Fanout;
use crate::store::notifications::pages::{Page, Scene, Told};
use crate::store::{Store, StoreError};

/// People that are looked at in one transaction: the writer of an embedded database is everybody's.
const PAGE: i64 = 48;
/// Pages of one fan-out before others have their turn: a large audience holds up nobody for long.
const PAGES_A_TURN: usize = 30;
/// How long a node may take for a page before another one tries.
pub(super) const LEASE: Duration = Duration::from_secs(30);
const THROTTLE_WINDOW: Duration = Duration::from_hours(1);
const PREVIEW_CHARS_MAX: usize = 160;

/// What fan-outs are done with.
pub(super) struct FanoutDeps {
    pub(super) store: Store,
    pub(super) inboxes: Inboxes,
    pub(super) words: Arc<Words>,
    pub(super) policy: Policy,
    /// Turns true when the node stops.
    pub(super) stopped: watch::Receiver<bool>,
}

/// How far a fan-out came.
pub(super) enum Ran {
    /// Everybody has been told.
    Done,
    /// Others have their turn now: it goes on behind whoever was told.
    Paused(Box<Fanout>),
}

/// Why a fan-out stopped.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Another attempt may succeed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No attempt will.
    #[error("{0}")]
    Poison(String),
}

impl From<WordsError> for Failure {
    fn from(error: WordsError) -> Self {
        match error {
            WordsError::Store(error) => Self::Store(error),
            WordsError::Poison(cause) => Self::Poison(cause),
        }
    }
}

impl FanoutDeps {
    /// Tells the next people who have not been told yet, as many as one turn allows.
    ///
    /// # Errors
    /// [`Failure`]; whoever was told stays told, and the next attempt goes on behind them.
    pub(super) async fn run(&self, mut fanout: Fanout) -> Result<Ran, Failure> {
        let scene = self.store.read_scene(&fanout.occasion).await?;
        let is_unsaid = fanout.occasion.message.is_some() && scene.message.is_none();
        if let Some(left) = &scene.message {
            fanout.occasion.stand_on(left.id, left.seq, left.count);
        }
        let mut notices = Notices::new(&self.words, &fanout.occasion, &scene);
        for _ in 0..PAGES_A_TURN {
            let now = clock::now();
            let page = if is_unsaid {
                // Deleted before anybody was told.
                Page { recipients: Vec::new(), last: None }
            } else {
                let is_critical = facts_of(&fanout.occasion.kind).is_critical;
                let since = (!is_critical).then(|| now.minus(THROTTLE_WINDOW));
                self.store.read_fanout_page(&fanout, since, PAGE).await?
            };
            let is_last = page.last.is_none();
            let told = self.planned(&fanout, &scene, &mut notices, page, now).await?;
            let (next, events) = self.store.tell_page(fanout, told, LEASE, now).await?;
            self.inboxes.deliver(&events).await;
            fanout = next;
            self.read_meanwhile(&fanout, events.iter().map(|event| event.user).collect()).await;
            if is_last {
                return Ok(Ran::Done);
            }
            if *self.stopped.borrow() {
                break;
            }
        }
        Ok(Ran::Paused(Box::new(fanout)))
    }

    async fn planned(
        &self,
        fanout: &Fanout,
        scene: &Scene,
        notices: &mut Notices<'_>,
        page: Page,
        now: Timestamp,
    ) -> Result<Told, Failure> {
        let terms = Terms {
            occasion: &fanout.occasion,
            facts: facts_of(&fanout.occasion.kind),
            room_members: scene.room_members,
            policy: &self.policy,
            now,
        };
        let mut sendings = Vec::new();
        for recipient in &page.recipients {
            if let Some(plan) = plan(&terms, recipient) {
                sendings.push(notices.worded(plan, recipient).await?);
            }
        }
        Ok(Told { sendings, last: page.last, event: clock::new_uuid().into() })
    }

    /// Whoever has read the room between being looked up and being told has seen it: their marker found nothing to read.
    async fn read_meanwhile(&self, fanout: &Fanout, told: Vec<UserId>) {
        let Some(place) = fanout.occasion.message.filter(|_| !told.is_empty()) else { return };
        let read = async {
            let markers = self.store.list_readers(place, told).await?;
            self.store.read_rooms(markers, clock::now()).await
        };
        match read.await {
            Ok(events) => self.inboxes.deliver(&events).await,
            // They were told; their next marker reads it.
            Err(error) => tracing::debug!(%error, "what was read meanwhile stays unread"),
        }
    }
}

/// The words of one occasion: rendered once for everybody who reads a language, unless they name the reader.
struct Notices<'f> {
    words: &'f Words,
    kind: String,
    group_key: Option<String>,
    data: Map<String, Value>,
    of_locale: HashMap<String, Ready>,
}

/// What is ready in one language.
struct Ready {
    template: Arc<CompiledTemplate>,
    shared: Option<Notice>,
}

impl<'f> Notices<'f> {
    fn new(words: &'f Words, occasion: &Occasion, scene: &Scene) -> Self {
        Self {
            words,
            kind: occasion.kind.clone(),
            group_key: occasion.group_key.clone(),
            data: told_data(occasion, scene),
            of_locale: HashMap::new(),
        }
    }

    async fn worded(&mut self, plan: Plan, recipient: &Recipient) -> Result<Sending, Failure> {
        let notice = self.notice(recipient).await?;
        let content = json!({
            "id": plan.id,
            "type": self.kind,
            "title": notice.title,
            "body": notice.body,
            "group": self.group_key,
            "data": self.data,
        })
        .to_string();
        Ok(Sending {
            user: plan.user,
            id: plan.id,
            inbox: plan.inbox.then(|| content.clone()),
            content,
            letters: plan.letters,
        })
    }

    async fn notice(&mut self, recipient: &Recipient) -> Result<Notice, Failure> {
        if !self.of_locale.contains_key(&recipient.locale) {
            let template = self.words.template(&self.kind, &recipient.locale).await?;
            let ready = Ready { template, shared: None };
            self.of_locale.insert(recipient.locale.clone(), ready);
        }
        let Some(ready) = self.of_locale.get_mut(&recipient.locale) else {
            return Err(Failure::Poison("there is no template".to_owned()));
        };
        if let Some(shared) = &ready.shared {
            return Ok(shared.clone());
        }
        let is_personal = ready.template.is_personal();
        let mut context = self.words.context(&self.data);
        if is_personal {
            context.recipient = Some(RecipientContext {
                display_name: recipient.display_name.clone(),
                handle: recipient.handle.clone(),
                locale: Locale::parse(&recipient.locale).unwrap_or_default(),
            });
        }
        let notice =
            ready.template.notice(&context).map_err(|error| Failure::Poison(error.to_string()))?;
        if !is_personal {
            ready.shared = Some(notice.clone());
        }
        Ok(notice)
    }
}

/// What clients are told beside the words, and what templates speak of.
fn told_data(occasion: &Occasion, scene: &Scene) -> Map<String, Value> {
    let mut data = occasion.params.clone();
    let mut add = |key: &str, fields: Value| {
        let entry = data.entry(key.to_owned()).or_insert_with(|| json!({}));
        if let (Some(known), Value::Object(fields)) = (entry.as_object_mut(), fields) {
            known.extend(fields);
        }
    };
    if let Some((display_name, handle)) = &scene.actor {
        add("actor", json!({ "display_name": display_name, "handle": handle }));
    }
    if occasion.message.is_some() {
        add("room", json!({ "name": scene.room_name }));
        add(
            "message",
            json!({ "preview": scene.message.as_ref().map(|left| preview(&left.body)) }),
        );
        data.insert("count".to_owned(), json!(occasion.messages));
    }
    data
}

/// The first words of a message, on one line.
fn preview(body: &str) -> String {
    let words = body.split_whitespace().collect::<Vec<_>>().join(" ");
    if words.chars().count() <= PREVIEW_CHARS_MAX {
        return words;
    }
    let kept: String = words.chars().take(PREVIEW_CHARS_MAX.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preview_is_short_and_on_one_line() {
        assert_eq!(preview("안녕\n 하세요"), "안녕 하세요");
        let long = preview(&"가".repeat(500));
        assert_eq!(long.chars().count(), PREVIEW_CHARS_MAX);
        assert!(long.ends_with('…'));
    }
}
