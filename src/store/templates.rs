//! Templates that administrators have written: versions that are only added to, and which of them is in use.
//!
//! Invariant: a version that was given once always says the same. Version 0 is the built-in one, which is not kept here.

use serde_json::{Map, Value};
use uuid::Uuid;

use super::{Db, StoreError, execute, fetch_all, fetch_one, fetch_optional};
use crate::domain::ids::{DeviceId, UserId};
use crate::domain::locales::Locale;
use crate::domain::templates::parts::Parts;
use crate::domain::templates::resolve::BUILTIN_VERSION;
use crate::domain::templates::{NotificationKind, TemplateError};
use crate::domain::time::Timestamp;

/// Pairs of kind and locale.
const TEMPLATES_MAX: i64 = 2_000;
/// Versions that are listed, the newest first; the others are there by their number.
const VERSIONS_LISTED_MAX: i64 = 200;
const DEVICES_MAX: i64 = 20;

/// One version.
#[derive(Debug, Clone, PartialEq)]
pub struct StoredTemplate {
    pub kind: NotificationKind,
    pub locale: Locale,
    pub version: i64,
    pub parts: Parts,
    /// Example data for trials.
    pub sample: Map<String, Value>,
    /// `None` when the account is gone.
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub is_active: bool,
}

/// A version about to exist.
#[derive(Debug, Clone)]
pub struct NewTemplate {
    pub kind: NotificationKind,
    pub locale: Locale,
    pub parts: Parts,
    pub sample: Map<String, Value>,
    pub by: UserId,
}

/// One version, without its words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateVersion {
    pub locale: Locale,
    pub version: i64,
    /// `None` when the account is gone.
    pub created_by: Option<UserId>,
    pub created_at: Timestamp,
    pub is_active: bool,
}

/// What is stored of one kind in one language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateHead {
    pub kind: NotificationKind,
    pub locale: Locale,
    pub last_version: i64,
    /// `None` where none of them is in use.
    pub active_version: Option<i64>,
    pub updated_at: Timestamp,
}

/// Why a template was not changed.
#[derive(Debug, thiserror::Error)]
pub enum TemplateFailure {
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(sqlx::FromRow)]
struct Row {
    kind: String,
    locale: String,
    version: i64,
    parts: String,
    sample: String,
    created_by: Option<Uuid>,
    created_at: i64,
    active_version: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct VersionRow {
    locale: String,
    version: i64,
    created_by: Option<Uuid>,
    created_at: i64,
    active_version: Option<i64>,
}

#[derive(sqlx::FromRow)]
struct HeadRow {
    kind: String,
    locale: String,
    last_version: i64,
    active_version: Option<i64>,
    updated_at: i64,
}

/// Versions with what says whether they are in use.
macro_rules! select_versions {
    ($rest:literal) => {
        concat!(
            "SELECT v.kind, v.locale, v.version, v.parts, v.sample, v.created_by, v.created_at,
                    t.active_version
             FROM notification_templates t
             JOIN notification_template_versions v ON v.kind = t.kind AND v.locale = t.locale ",
            $rest
        )
    };
}

/// The version in use of a kind in exactly this language.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn find_template(
    db: &mut Db,
    kind: &NotificationKind,
    locale: &Locale,
) -> Result<Option<StoredTemplate>, StoreError> {
    let row = fetch_optional!(
        db,
        Row,
        select_versions!(
            "AND v.version = t.active_version
             WHERE t.kind = $1 AND t.locale = $2"
        ),
        kind.as_str(),
        locale.as_str(),
    )?;
    row.map(Row::into_template).transpose()
}

/// One version, in use or not.
///
/// # Errors
/// [`StoreError::NotFound`].
pub async fn get_template(
    db: &mut Db,
    kind: &NotificationKind,
    locale: &Locale,
    version: i64,
) -> Result<StoredTemplate, StoreError> {
    let row = fetch_one!(
        db,
        Row,
        select_versions!("WHERE t.kind = $1 AND t.locale = $2 AND v.version = $3"),
        kind.as_str(),
        locale.as_str(),
        version,
    )?;
    row.into_template()
}

/// The versions in use of a kind, one a language, in the order of the languages.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_active_templates(
    db: &mut Db,
    kind: &NotificationKind,
) -> Result<Vec<StoredTemplate>, StoreError> {
    let rows = fetch_all!(
        db,
        Row,
        select_versions!(
            "AND v.version = t.active_version
             WHERE t.kind = $1
             ORDER BY t.locale"
        ),
        kind.as_str(),
    )?;
    rows.into_iter().map(Row::into_template).collect()
}

/// The versions of a kind in all languages, the newest first, without their words.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_template_versions(
    db: &mut Db,
    kind: &NotificationKind,
) -> Result<Vec<TemplateVersion>, StoreError> {
    let rows = fetch_all!(
        db,
        VersionRow,
        "SELECT v.locale, v.version, v.created_by, v.created_at, t.active_version
         FROM notification_templates t
         JOIN notification_template_versions v ON v.kind = t.kind AND v.locale = t.locale
         WHERE t.kind = $1
         ORDER BY v.created_at DESC, v.locale, v.version DESC
         LIMIT $2",
        kind.as_str(),
        VERSIONS_LISTED_MAX,
    )?;
    rows.into_iter().map(VersionRow::into_version).collect()
}

/// What is stored, in the order of kinds and languages: of at most `kinds` kinds, those after `after`.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_template_heads(
    db: &mut Db,
    after: Option<&NotificationKind>,
    kinds: i64,
) -> Result<Vec<TemplateHead>, StoreError> {
    let rows = fetch_all!(
        db,
        HeadRow,
        "SELECT kind, locale, last_version, active_version, updated_at
         FROM notification_templates
         WHERE kind IN (SELECT DISTINCT kind
                        FROM notification_templates
                        WHERE kind > $1
                        ORDER BY kind
                        LIMIT $2)
         ORDER BY kind, locale",
        after.map_or("", NotificationKind::as_str),
        kinds,
    )?;
    rows.into_iter().map(HeadRow::into_head).collect()
}

/// What is stored of one kind, in the order of the languages.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_template_heads_of(
    db: &mut Db,
    kind: &NotificationKind,
) -> Result<Vec<TemplateHead>, StoreError> {
    let rows = fetch_all!(
        db,
        HeadRow,
        "SELECT kind, locale, last_version, active_version, updated_at
         FROM notification_templates
         WHERE kind = $1
         ORDER BY locale",
        kind.as_str(),
    )?;
    rows.into_iter().map(HeadRow::into_head).collect()
}

/// The kinds that administrators have written and that are in use, in their order.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_stored_kinds(db: &mut Db) -> Result<Vec<NotificationKind>, StoreError> {
    let rows = fetch_all!(
        db,
        (String,),
        "SELECT DISTINCT kind
         FROM notification_templates
         WHERE active_version IS NOT NULL
         ORDER BY kind",
    )?;
    rows.iter().map(|(kind,)| kind_of(kind)).collect()
}

/// Adds a version and puts it into use; `false` beside the version in use when that says the same already.
///
/// # Errors
/// [`TemplateError::TooMany`].
pub async fn insert_template(
    db: &mut Db,
    new: &NewTemplate,
    now: Timestamp,
) -> Result<(StoredTemplate, bool), TemplateFailure> {
    let active = find_template(db, &new.kind, &new.locale).await?;
    if let Some(same) = active.filter(|it| it.parts == new.parts && it.sample == new.sample) {
        return Ok((same, false));
    }
    require_space(db, new).await?;
    let (version,) = fetch_one!(
        db,
        (i64,),
        "INSERT INTO notification_templates (kind, locale, last_version, active_version, updated_at)
         VALUES ($1, $2, 1, 1, $3)
         ON CONFLICT (kind, locale) DO UPDATE
         SET last_version = notification_templates.last_version + 1,
             active_version = notification_templates.last_version + 1,
             updated_at = excluded.updated_at
         RETURNING last_version",
        new.kind.as_str(),
        new.locale.as_str(),
        now.millis(),
    )?;
    execute!(
        db,
        "INSERT INTO notification_template_versions
             (kind, locale, version, parts, sample, created_by, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        new.kind.as_str(),
        new.locale.as_str(),
        version,
        json_of(&new.parts)?,
        json_of(&new.sample)?,
        new.by.uuid(),
        now.millis(),
    )?;
    Ok((get_template(db, &new.kind, &new.locale, version).await?, true))
}

/// Puts a version into use, or with version 0 none, so that the built-in one speaks again.
///
/// # Errors
/// [`TemplateError::NotFound`] for a version that was never given.
pub async fn activate_template(
    db: &mut Db,
    kind: &NotificationKind,
    locale: &Locale,
    version: i64,
    now: Timestamp,
) -> Result<TemplateHead, TemplateFailure> {
    if version < BUILTIN_VERSION {
        return Err(TemplateError::NotFound.into());
    }
    let row = fetch_optional!(
        db,
        HeadRow,
        "UPDATE notification_templates
         SET active_version = $3, updated_at = $4
         WHERE kind = $1 AND locale = $2 AND last_version >= $5
         RETURNING kind, locale, last_version, active_version, updated_at",
        kind.as_str(),
        locale.as_str(),
        (version != BUILTIN_VERSION).then_some(version),
        now.millis(),
        version,
    )?;
    Ok(row.ok_or(TemplateError::NotFound)?.into_head()?)
}

/// The devices of a user that take push messages.
///
/// # Errors
/// [`StoreError`] when the database does not answer.
pub async fn list_devices_to_test(db: &mut Db, user: UserId) -> Result<Vec<DeviceId>, StoreError> {
    let rows = fetch_all!(
        db,
        (Uuid,),
        "SELECT id FROM devices WHERE user_id = $1 ORDER BY last_used_at DESC, id LIMIT $2",
        user.uuid(),
        DEVICES_MAX,
    )?;
    Ok(rows.into_iter().map(|(id,)| id.into()).collect())
}

/// Another language of any kind needs a place; another version of one does not.
async fn require_space(db: &mut Db, new: &NewTemplate) -> Result<(), TemplateFailure> {
    let (count, known) = fetch_one!(
        db,
        (i64, i64),
        "SELECT COUNT(*),
                COUNT(CASE WHEN kind = $1 AND locale = $2 THEN 1 END)
         FROM notification_templates",
        new.kind.as_str(),
        new.locale.as_str(),
    )?;
    if known == 0 && count >= TEMPLATES_MAX { Err(TemplateError::TooMany.into()) } else { Ok(()) }
}

impl Row {
    fn into_template(self) -> Result<StoredTemplate, StoreError> {
        Ok(StoredTemplate {
            kind: kind_of(&self.kind)?,
            locale: locale_of(&self.locale)?,
            version: self.version,
            parts: serde_json::from_str(&self.parts).map_err(unreadable)?,
            sample: serde_json::from_str(&self.sample).map_err(unreadable)?,
            created_by: self.created_by.map(UserId::from),
            created_at: Timestamp::from_millis(self.created_at),
            is_active: self.active_version == Some(self.version),
        })
    }
}

impl VersionRow {
    fn into_version(self) -> Result<TemplateVersion, StoreError> {
        Ok(TemplateVersion {
            locale: locale_of(&self.locale)?,
            version: self.version,
            created_by: self.created_by.map(UserId::from),
            created_at: Timestamp::from_millis(self.created_at),
            is_active: self.active_version == Some(self.version),
        })
    }
}

impl HeadRow {
    fn into_head(self) -> Result<TemplateHead, StoreError> {
        Ok(TemplateHead {
            kind: kind_of(&self.kind)?,
            locale: locale_of(&self.locale)?,
            last_version: self.last_version,
            active_version: self.active_version,
            updated_at: Timestamp::from_millis(self.updated_at),
        })
    }
}

fn kind_of(text: &str) -> Result<NotificationKind, StoreError> {
    NotificationKind::parse(text).map_err(unreadable)
}

fn locale_of(text: &str) -> Result<Locale, StoreError> {
    Locale::parse(text).ok_or(TemplateError::InvalidLocale).map_err(unreadable)
}

/// What was written here can be read here, unless somebody else has changed it.
fn unreadable(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Database(sqlx::Error::Decode(error.into()))
}

fn json_of(value: &impl serde::Serialize) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| sqlx::Error::Encode(error.into()).into())
}
