//! Composing: a queued letter becomes what its reader is sent, as things are when it goes out.
//!
//! Invariant: what was seen in the app meanwhile is not sent, nor what its reader has switched off, muted or blocked since,
//! nor what was deleted; and no code is in a letter before it goes out.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rand::TryRngCore as _;
use rand::rngs::OsRng;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::words::{Words, WordsError};
use crate::actors::post::{ComposeError, Composed, Composer, Ended};
use crate::clock;
use crate::domain::accounts::EmailAddress;
use crate::domain::deliveries::{Delivery, DeliveryEnd};
use crate::domain::devices::DeviceAddress;
use crate::domain::digests::{self, Digest, Entry};
use crate::domain::ids::UserId;
use crate::domain::letters::{
    Content, Letter, MailContent, PhoneNumber, PushContent, PushTarget, SmsContent,
};
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::notifications::content::Told;
use crate::domain::notifications::plan::{OPTED_OUT, peace_until};
use crate::domain::preferences::{KindFacts, Offer, Scope, facts_of};
use crate::domain::templates::compiled::CompiledTemplate;
use crate::domain::templates::context::{Context, RecipientContext};
use crate::domain::templates::resolve::TemplateId;
use crate::domain::templates::{NotificationKind, trial};
use crate::domain::unsubscribe::{KEY_BYTES, UnsubscribeToken, unsubscribe_url};
use crate::providers::codes::Codes;
use crate::store::notifications::letters::{Notice, Reader};
use crate::store::{Db, Store, StoreError, dead_addresses, devices, preferences};

/// How long a push message is of use to a device that is not reached.
const PUSH_TTL: Duration = Duration::from_hours(24);

/// Composes the letters of users: mail, SMS and push.
pub struct LetterComposer {
    store: Store,
    words: Arc<Words>,
    codes: Arc<Codes>,
    /// Where clients reach this server: where the link to end mails leads.
    public_url: String,
}

/// Why there is nothing to send.
enum Stop {
    Suppressed(&'static str),
    Later(crate::domain::time::Timestamp),
    Error(ComposeError),
}

impl<E: Into<ComposeError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Error(error.into())
    }
}

impl From<WordsError> for ComposeError {
    fn from(error: WordsError) -> Self {
        match error {
            WordsError::Store(error) => Self::Store(error),
            WordsError::Poison(cause) => Self::Poison(cause),
        }
    }
}

impl LetterComposer {
    #[must_use]
    pub const fn new(
        store: Store,
        words: Arc<Words>,
        codes: Arc<Codes>,
        public_url: String,
    ) -> Self {
        Self { store, words, codes, public_url }
    }

    async fn letter(&self, delivery: &Delivery) -> Result<Letter, Stop> {
        let now = clock::now();
        let user = delivery.user.ok_or_else(|| poison("it is for nobody"))?;
        let reader = self.store.read_reader(user, delivery, now).await?;
        let mut reader = reader.ok_or(Stop::Suppressed("account_gone"))?;
        let facts = facts_of(&delivery.kind);
        // What an administrator sends to themselves to look at, they want, and now.
        if Trial::of(delivery).is_none() {
            check_wanted(delivery, &mut reader, facts)?;
            if let Some(until) = peace_until(facts, reader.quiet, &reader.time_zone, now) {
                return Err(Stop::Later(until));
            }
        }
        let content = match delivery.medium {
            Medium::Mail => Content::Mail(self.mail(user, delivery, &reader, facts).await?),
            Medium::Sms => Content::Sms(self.sms(delivery, &reader, facts).await?),
            Medium::Push => Content::Push(self.push(delivery, &reader, facts).await?),
            Medium::Inbox | Medium::Webhook => {
                return Err(poison("its medium is not a user's").into());
            }
        };
        Ok(Letter { id: delivery.id, kind: delivery.kind.clone(), content })
    }

    async fn mail(
        &self,
        user: UserId,
        delivery: &Delivery,
        reader: &Reader,
        facts: &KindFacts,
    ) -> Result<MailContent, Stop> {
        let to = EmailAddress::parse(&reader.email).map_err(|_| Stop::Suppressed("no_address"))?;
        if !reader.is_verified && !facts.goes_to_unverified && Trial::of(delivery).is_none() {
            return Err(Stop::Suppressed("unverified"));
        }
        // What somebody has just asked for is how a dead address comes back to life.
        if !facts.goes_to_unverified && self.is_dead(Medium::Mail, to.key()).await? {
            return Err(Stop::Suppressed("dead_address"));
        }
        let unsubscribe_url = match facts.offer(Medium::Mail) {
            Offer::Choosable(_) => Some(self.unsubscribe_url(user, delivery, reader).await?),
            Offer::Always | Offer::Never => None,
        };
        let (template, mut context) = self.worded(delivery, reader).await?;
        context.unsubscribe_url.clone_from(&unsubscribe_url);
        let words = template.mail(&context).map_err(poison)?;
        Ok(MailContent {
            to,
            subject: words.subject,
            text: words.text,
            html: Some(words.html),
            unsubscribe_url,
        })
    }

    async fn is_dead(&self, medium: Medium, address: &str) -> Result<bool, StoreError> {
        let (address, now) = (address.to_owned(), clock::now());
        self.store
            .read(move |db| {
                Box::pin(
                    async move { dead_addresses::is_dead_address(db, medium, &address, now).await },
                )
            })
            .await
    }

    async fn sms(
        &self,
        delivery: &Delivery,
        reader: &Reader,
        facts: &KindFacts,
    ) -> Result<SmsContent, Stop> {
        // A code goes to the number it is to prove.
        let named = delivery.data.as_deref().and_then(named_number);
        let to = named.or_else(|| reader.phone.clone()).ok_or(Stop::Suppressed("no_address"))?;
        if !facts.is_critical && self.is_dead(Medium::Sms, to.as_str()).await? {
            return Err(Stop::Suppressed("dead_address"));
        }
        let (template, context) = self.worded(delivery, reader).await?;
        Ok(SmsContent { to, text: template.sms(&context).map_err(poison)? })
    }

    async fn push(
        &self,
        delivery: &Delivery,
        reader: &Reader,
        facts: &KindFacts,
    ) -> Result<PushContent, Stop> {
        let device = reader.device.as_ref().ok_or(Stop::Suppressed("no_address"))?;
        let (template, context) = self.worded(delivery, reader).await?;
        let words = template.notice(&context).map_err(poison)?;
        let mut data = context.data;
        data.insert("type".to_owned(), Value::from(delivery.kind.as_str()));
        if let Some(notice) = &reader.notice {
            data.insert("notification_id".to_owned(), Value::from(notice.id.to_string()));
        }
        Ok(PushContent {
            target: match &device.address {
                DeviceAddress::WebPush { endpoint, p256dh, auth } => PushTarget::WebPush {
                    endpoint: endpoint.clone(),
                    p256dh: p256dh.clone(),
                    auth: SecretString::from(auth.as_str()),
                },
                DeviceAddress::Fcm { token } => {
                    PushTarget::Fcm { token: SecretString::from(token.as_str()) }
                }
            },
            title: words.title,
            body: words.body,
            data: Value::Object(data),
            collapse_key: reader.notice.as_ref().and_then(|notice| notice.group_key.clone()),
            ttl: PUSH_TTL,
            is_urgent: facts.is_critical || delivery.kind == "mention_received",
        })
    }

    /// The template and what it speaks of.
    async fn worded(
        &self,
        delivery: &Delivery,
        reader: &Reader,
    ) -> Result<(Arc<CompiledTemplate>, Context), Stop> {
        if let Some(trial) = Trial::of(delivery) {
            return Ok(self.tried(&trial).await?);
        }
        let (kind, mut context) = if delivery.digest_key.is_some() {
            self.of_digest(reader)?
        } else {
            (delivery.kind.as_str(), self.of_one(delivery, reader)?)
        };
        context.recipient = Some(RecipientContext {
            display_name: reader.display_name.clone(),
            handle: reader.handle.clone(),
            locale: Locale::parse(&reader.locale).unwrap_or_default(),
        });
        let template =
            self.words.template(kind, &reader.locale).await.map_err(ComposeError::from)?;
        Ok((template, context))
    }

    /// The very version that an administrator wants to see, with example data.
    async fn tried(&self, trial: &Trial) -> Result<(Arc<CompiledTemplate>, Context), ComposeError> {
        let TrialOf { kind, locale, version } = &trial.template;
        let kind = NotificationKind::parse(kind).map_err(poison)?;
        let locale =
            Locale::parse(locale).ok_or_else(|| poison("its template is in no language"))?;
        let context = trial::example(&kind, &locale, self.words.app(), &trial.data);
        let id = TemplateId { kind, locale, version: *version };
        Ok((self.words.version(&id).await?, context))
    }

    fn of_one(&self, delivery: &Delivery, reader: &Reader) -> Result<Context, Stop> {
        let own = delivery.data.as_deref();
        let told = reader.notice.as_ref().map(|notice| notice.content.as_str()).or(own);
        let told: Map<String, Value> = match told {
            Some(text) => serde_json::from_str(text).map_err(poison)?,
            None => Map::new(),
        };
        let data = told.get("data").and_then(Value::as_object).cloned().unwrap_or_default();
        let mut context = self.words.context(&data);
        context.code = self.code(delivery, &told)?.map(|code| code.expose_secret().to_owned());
        Ok(context)
    }

    /// One thing that is left is told as what it is.
    fn of_digest<'r>(&self, reader: &'r Reader) -> Result<(&'r str, Context), Stop> {
        if let ([only], 0) = (reader.items.as_slice(), reader.more_items) {
            return Ok((&only.kind, self.words.context(&data_of(only))));
        }
        let entries = reader.items.iter().map(entry).collect();
        let digest = Digest::of(entries, reader.more_items).ok_or(Stop::Suppressed("seen"))?;
        let mut context = Context::new(self.words.app().clone());
        digest.tell(&mut context);
        Ok(("digest", context))
    }

    fn code(
        &self,
        delivery: &Delivery,
        told: &Map<String, Value>,
    ) -> Result<Option<SecretString>, Stop> {
        let Some(key) = told.get("code_key").and_then(Value::as_str) else { return Ok(None) };
        let expires_at = told.get("expires_at").and_then(Value::as_i64);
        if expires_at.is_some_and(|at| clock::now().millis() >= at) {
            return Err(Stop::Suppressed("expired"));
        }
        let code = match delivery.medium {
            Medium::Sms => self.codes.digits(key, delivery.id),
            _ => self.codes.again(key, delivery.id),
        };
        // After a rotation that threw the key away: whoever waits asks again.
        Ok(Some(code.ok_or_else(|| poison("the key of its code is gone"))?))
    }

    /// Where one request ends mails of this kind; of a digest, of all kinds in it.
    async fn unsubscribe_url(
        &self,
        user: UserId,
        delivery: &Delivery,
        reader: &Reader,
    ) -> Result<String, Stop> {
        let key = match reader.unsubscribe_key {
            Some(key) => key,
            None => self.new_unsubscribe_key(user).await?,
        };
        let kinds = reader.items.iter().map(|item| item.kind.as_str()).collect();
        let scope = digests::scope(&kinds).unwrap_or(&delivery.kind);
        let scope = Scope::parse(scope).map_err(poison)?;
        let token = UnsubscribeToken::new(user, scope, &key);
        Ok(unsubscribe_url(&self.public_url, &token))
    }

    async fn new_unsubscribe_key(&self, user: UserId) -> Result<[u8; KEY_BYTES], Stop> {
        let mut new_key = [0_u8; KEY_BYTES];
        OsRng.try_fill_bytes(&mut new_key).map_err(poison)?;
        let now = clock::now();
        let key = self.store.write::<_, StoreError, _>(move |db| {
            Box::pin(preferences::get_or_insert_unsubscribe_key(db, user, new_key, now))
        });
        Ok(key.await?)
    }
}

/// Refuses what was seen, muted, blocked, deleted, switched off, or has no reader any more; of a digest, what is left of
/// it stays.
fn check_wanted(delivery: &Delivery, reader: &mut Reader, facts: &KindFacts) -> Result<(), Stop> {
    if reader.is_disabled && !facts.is_critical {
        return Err(Stop::Suppressed("account_disabled"));
    }
    if delivery.digest_key.is_some() {
        return keep_wanted(delivery.medium, reader);
    }
    let unwanted = match (delivery.seq, &reader.notice) {
        (None, _) => reader.unwanted,
        // Of a notification that is gone there is nothing to tell.
        (Some(_), None) => Some("seen"),
        (Some(_), Some(notice)) => notice.unwanted,
    };
    // Whoever has taken an account over could see to it that a warning was seen.
    if let Some(reason) = unwanted.filter(|_| !facts.is_critical) {
        return Err(Stop::Suppressed(reason));
    }
    if reader.preferences.is_off(&delivery.kind, delivery.medium) {
        return Err(Stop::Suppressed(OPTED_OUT));
    }
    Ok(())
}

/// Each notification of a digest goes by the choice for its own kind.
fn keep_wanted(medium: Medium, reader: &mut Reader) -> Result<(), Stop> {
    let Reader { items, preferences, .. } = reader;
    let mut why = "seen";
    items.retain(|item| {
        let is_off = preferences.is_off(&item.kind, medium).then_some(OPTED_OUT);
        let unwanted = item.unwanted.or(is_off);
        why = unwanted.unwrap_or(why);
        unwanted.is_none()
    });
    if items.is_empty() { Err(Stop::Suppressed(why)) } else { Ok(()) }
}

/// A template that an administrator has sent to themselves.
#[derive(Deserialize)]
struct Trial {
    template: TrialOf,
    data: Map<String, Value>,
}

#[derive(Deserialize)]
struct TrialOf {
    kind: String,
    locale: String,
    version: i64,
}

impl Trial {
    fn of(delivery: &Delivery) -> Option<Self> {
        if delivery.seq.is_some() {
            return None;
        }
        serde_json::from_str(delivery.data.as_deref()?).ok()
    }
}

fn named_number(data: &str) -> Option<PhoneNumber> {
    let data: Value = serde_json::from_str(data).ok()?;
    PhoneNumber::parse(data.get("to")?.as_str()?)
}

fn data_of(notice: &Notice) -> Map<String, Value> {
    let content: Value = serde_json::from_str(&notice.content).unwrap_or_default();
    content.get("data").and_then(Value::as_object).cloned().unwrap_or_default()
}

fn entry(notice: &Notice) -> Entry {
    let content: Value = serde_json::from_str(&notice.content).unwrap_or_default();
    let text =
        |field: &str| content.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let data = data_of(notice);
    let told = Told::read(&data);
    Entry {
        at: notice.at,
        title: text("title"),
        body: text("body"),
        group_key: notice.group_key.clone(),
        actor: told.actor().map(|(id, name)| (id, name.to_owned())),
        room: told.room().map(|(id, name)| (id, name.map(str::to_owned))),
        is_message: notice.is_message,
        count: told.count(),
    }
}

fn poison(cause: impl std::fmt::Display) -> ComposeError {
    ComposeError::Poison(cause.to_string())
}

#[async_trait]
impl Composer for LetterComposer {
    async fn compose(&self, delivery: &Delivery) -> Result<Composed, ComposeError> {
        match self.letter(delivery).await {
            Ok(letter) => Ok(Composed::Letter(Box::new(letter))),
            Err(Stop::Suppressed(reason)) => Ok(Composed::Suppressed(reason.to_owned())),
            Err(Stop::Later(until)) => Ok(Composed::Later(until)),
            Err(Stop::Error(error)) => Err(error),
        }
    }

    async fn ended(&self, db: &mut Db, ended: &Ended) -> Result<(), StoreError> {
        let device = ended.delivery.target.filter(|_| ended.delivery.medium == Medium::Push);
        match (ended.end, device) {
            (DeliveryEnd::Gone, Some(device)) => devices::delete_device(db, device.into()).await,
            (DeliveryEnd::Delivered, Some(device)) => {
                devices::update_device_used(db, device.into(), ended.at).await
            }
            (DeliveryEnd::Gone, None) => {
                let (medium, address) = match ended.letter.as_ref().map(|letter| &letter.content) {
                    Some(Content::Mail(mail)) => (Medium::Mail, mail.to.key()),
                    Some(Content::Sms(sms)) => (Medium::Sms, sms.to.as_str()),
                    _ => return Ok(()),
                };
                let reason = ended.reason.as_deref().unwrap_or("gone");
                dead_addresses::insert_dead_address(db, medium, address, reason, ended.at).await
            }
            _ => Ok(()),
        }
    }

    fn must_arrive(&self, delivery: &Delivery) -> bool {
        facts_of(&delivery.kind).is_critical
    }
}

#[cfg(test)]
#[path = "compose_tests.rs"]
mod tests;
