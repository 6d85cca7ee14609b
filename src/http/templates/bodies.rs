//! Templates as administrators send and see them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::domain::ids::{DeliveryId, UserId};
use crate::domain::locales::Locale;
use crate::domain::media::Medium;
use crate::domain::templates::compiled::Rendered;
use crate::domain::templates::parts::Parts;
use crate::domain::templates::resolve::BUILTIN_VERSION;
use crate::domain::templates::{NotificationKind, builtin};
use crate::domain::time::Timestamp;
use crate::store::templates::{StoredTemplate, TemplateHead, TemplateVersion};

/// A kind with the languages it is written in.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct KindView {
    #[schema(value_type = String, example = "friend_request_received")]
    pub(super) kind: NotificationKind,
    /// Whether this program brings words for it.
    pub(super) is_builtin: bool,
    pub(super) locales: Vec<LocaleView>,
}

/// One language of a kind.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct LocaleView {
    #[schema(value_type = String, example = "ko")]
    pub(super) locale: Locale,
    /// The version in use; 0 is the built-in one, null where there is none.
    pub(super) active_version: Option<i64>,
    /// The newest version; 0 where there is only the built-in one.
    pub(super) last_version: i64,
    pub(super) updated_at: Option<Timestamp>,
}

/// Everything that there is of a kind.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct KindDetailsView {
    #[serde(flatten)]
    pub(super) kind: KindView,
    pub(super) builtin: Vec<BuiltinView>,
    /// At most 200, the newest first, without their words; each of them is there by its number.
    pub(super) versions: Vec<VersionView>,
}

/// That there is a version.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct VersionView {
    #[schema(value_type = String)]
    locale: Locale,
    version: i64,
    is_active: bool,
    created_by: Option<UserId>,
    created_at: Timestamp,
}

/// What this program says by itself.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BuiltinView {
    #[schema(example = "ko")]
    pub(super) locale: &'static str,
    pub(super) parts: Parts,
}

/// One version of a template.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TemplateView {
    #[schema(value_type = String)]
    kind: NotificationKind,
    #[schema(value_type = String)]
    locale: Locale,
    version: i64,
    is_active: bool,
    parts: Parts,
    /// Example data for trials.
    #[schema(value_type = Object)]
    data: Map<String, Value>,
    created_by: Option<UserId>,
    created_at: Timestamp,
}

/// A new version.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TemplateBody {
    pub(super) parts: Parts,
    /// An example of what notifications of this kind bring along as `data`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub(super) data: Map<String, Value>,
}

/// What to show. Parts that are left out: those in use.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PreviewBody {
    #[serde(default)]
    pub(super) parts: Option<Parts>,
    /// Instead of the example data that was stored with the template.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) data: Option<Map<String, Value>>,
}

/// Through what to send a test to oneself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestBody {
    /// `mail`, `sms` or `push`.
    pub(super) medium: Medium,
    /// Instead of the example data that was stored with the template.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub(super) data: Option<Map<String, Value>>,
}

/// Which version is to be used.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ActivateBody {
    /// One that was given, or 0 for the built-in one.
    #[schema(minimum = 0)]
    pub(super) version: i64,
}

/// What people would be told.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PreviewView {
    title: String,
    body: String,
    sms: String,
    mail_subject: String,
    mail_text: String,
    mail_html: String,
}

/// What was queued: a letter for the address, or one for each device.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TestView {
    pub(super) delivery_ids: Vec<DeliveryId>,
}

impl KindView {
    /// A kind of which nothing is stored.
    pub(super) fn new(kind: NotificationKind) -> Self {
        let is_builtin = builtin::is_builtin(kind.as_str());
        let tags = builtin::LOCALES.into_iter().filter(|_| is_builtin);
        let locales = tags.filter_map(Locale::parse);
        let locales = locales.map(|locale| LocaleView {
            locale,
            active_version: Some(BUILTIN_VERSION),
            last_version: BUILTIN_VERSION,
            updated_at: None,
        });
        Self { kind, is_builtin, locales: locales.collect() }
    }

    /// Adds what is stored of it in one language.
    pub(super) fn add(&mut self, head: TemplateHead) {
        let place = self.locales.iter().position(|it| it.locale >= head.locale);
        let place = place.unwrap_or(self.locales.len());
        let known = self.locales.get(place).filter(|it| it.locale == head.locale);
        let unless_stored = known.and_then(|builtin| builtin.active_version);
        let is_known = known.is_some();
        let locale = LocaleView {
            locale: head.locale,
            active_version: head.active_version.or(unless_stored),
            last_version: head.last_version,
            updated_at: Some(head.updated_at),
        };
        self.locales.splice(place..place.saturating_add(usize::from(is_known)), [locale]);
    }
}

impl From<TemplateVersion> for VersionView {
    fn from(version: TemplateVersion) -> Self {
        Self {
            locale: version.locale,
            version: version.version,
            is_active: version.is_active,
            created_by: version.created_by,
            created_at: version.created_at,
        }
    }
}

impl From<StoredTemplate> for TemplateView {
    fn from(template: StoredTemplate) -> Self {
        Self {
            kind: template.kind,
            locale: template.locale,
            version: template.version,
            is_active: template.is_active,
            parts: template.parts,
            data: template.sample,
            created_by: template.created_by,
            created_at: template.created_at,
        }
    }
}

impl From<Rendered> for PreviewView {
    fn from(rendered: Rendered) -> Self {
        Self {
            title: rendered.notice.title,
            body: rendered.notice.body,
            sms: rendered.sms,
            mail_subject: rendered.mail.subject,
            mail_text: rendered.mail.text,
            mail_html: rendered.mail.html,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_languages_take_their_places_among_the_built_in_ones() {
        let kind = NotificationKind::parse("welcome").unwrap();
        let head = |tag, active_version| TemplateHead {
            kind: kind.clone(),
            locale: Locale::parse(tag).unwrap(),
            last_version: 4,
            active_version,
            updated_at: Timestamp::from_millis(1),
        };
        let mut view = KindView::new(kind.clone());
        for head in [head("fr", Some(3)), head("ko", Some(4)), head("en", None), head("zh", None)] {
            view.add(head);
        }

        let seen = view.locales.iter().map(|it| (it.locale.as_str(), it.active_version));
        let expected = [("en", Some(0)), ("fr", Some(3)), ("ko", Some(4)), ("zh", None)];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}
