//! Words: the template of a kind for a reader, as stored or built in, compiled once.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use crate::domain::locales::Locale;
use crate::domain::notifications::content::Told;
use crate::domain::templates::cache::TemplateCache;
use crate::domain::templates::compiled::CompiledTemplate;
use crate::domain::templates::context::{AppContext, Context};
use crate::domain::templates::parts::Parts;
use crate::domain::templates::resolve::{BUILTIN_VERSION, TemplateId, resolve};
use crate::domain::templates::{NotificationKind, builtin};
use crate::store::templates::{self, StoredTemplate};
use crate::store::{Store, StoreError};

/// How long this node may go on with a template after another one was made the active one.
const BELIEVED: Duration = Duration::from_secs(5);
const TEMPLATES_MAX: usize = 512;
const KINDS_MAX: usize = 1_000;

/// The stored templates of a kind that are in use, and since when that is believed.
type Active = (Instant, Arc<[StoredTemplate]>);

/// Everything that is known of words. Shared by whoever renders.
pub struct Words {
    store: Store,
    app: AppContext,
    cache: TemplateCache,
    active: Mutex<HashMap<NotificationKind, Active>>,
}

/// Why there are no words.
#[derive(Debug, thiserror::Error)]
pub enum WordsError {
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Nobody has written them, or they cannot be read.
    #[error("{0}")]
    Poison(String),
}

impl Words {
    #[must_use]
    pub fn new(store: Store, app: AppContext) -> Self {
        let cache = TemplateCache::new(TEMPLATES_MAX);
        Self { store, app, cache, active: Mutex::default() }
    }

    /// The template of `kind` for somebody who reads `locale`.
    ///
    /// # Errors
    /// [`WordsError::Poison`] when there is none, or it cannot be compiled.
    pub async fn template(
        &self,
        kind: &str,
        locale: &str,
    ) -> Result<Arc<CompiledTemplate>, WordsError> {
        let kind = NotificationKind::parse(kind).map_err(poison)?;
        let locale = Locale::parse(locale).unwrap_or_default();
        let active = self.active(&kind).await?;
        let versions: Vec<(Locale, i64)> =
            active.iter().map(|stored| (stored.locale.clone(), stored.version)).collect();
        let Some(id) = resolve(&kind, &locale, &versions) else {
            return Err(WordsError::Poison(format!("there is no template of `{}`", kind.as_str())));
        };
        if let Some(template) = self.cache.find(&id) {
            return Ok(template);
        }
        let stored = active.iter().find(|stored| stored.locale == id.locale);
        let parts = match stored {
            Some(stored) => Some(stored.parts.clone()),
            None => builtin::find(id.kind.as_str(), id.locale.as_str()),
        };
        self.compiled(&id, parts)
    }

    /// One version, in use or not; 0 is the built-in one.
    ///
    /// # Errors
    /// As [`Self::template`].
    pub async fn version(&self, id: &TemplateId) -> Result<Arc<CompiledTemplate>, WordsError> {
        if id.version == BUILTIN_VERSION {
            return self.compiled(id, builtin::find(id.kind.as_str(), id.locale.as_str()));
        }
        let wanted = id.clone();
        let stored = self
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move {
                    let TemplateId { kind, locale, version } = wanted;
                    templates::get_template(db, &kind, &locale, version).await
                })
            })
            .await;
        match stored {
            Ok(stored) => self.compiled(id, Some(stored.parts)),
            Err(StoreError::NotFound) => self.compiled(id, None),
            Err(error) => Err(error.into()),
        }
    }

    fn compiled(
        &self,
        id: &TemplateId,
        parts: Option<Parts>,
    ) -> Result<Arc<CompiledTemplate>, WordsError> {
        let parts = parts.ok_or_else(|| WordsError::Poison("the template is gone".to_owned()))?;
        self.cache.get_or_compile(id, || parts).map_err(poison)
    }

    /// What a template may speak of, for a notification that says `data`.
    #[must_use]
    pub fn context(&self, data: &Map<String, Value>) -> Context {
        Told::read(data).into_context(self.app.clone())
    }

    /// The app that speaks.
    #[must_use]
    pub const fn app(&self) -> &AppContext {
        &self.app
    }

    async fn active(&self, kind: &NotificationKind) -> Result<Arc<[StoredTemplate]>, StoreError> {
        if let Some((since, active)) = self.believed().get(kind)
            && since.elapsed() < BELIEVED
        {
            return Ok(Arc::clone(active));
        }
        let wanted = kind.clone();
        let active: Vec<StoredTemplate> = self
            .store
            .read::<_, StoreError, _>(move |db| {
                Box::pin(async move { templates::list_active_templates(db, &wanted).await })
            })
            .await?;
        let active: Arc<[StoredTemplate]> = active.into();
        let mut believed = self.believed();
        if believed.len() >= KINDS_MAX {
            believed.clear();
        }
        believed.insert(kind.clone(), (Instant::now(), Arc::clone(&active)));
        Ok(active)
    }

    fn believed(&self) -> std::sync::MutexGuard<'_, HashMap<NotificationKind, Active>> {
        // Whoever panicked with it has inserted, or not.
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn poison(error: impl std::fmt::Display) -> WordsError {
    WordsError::Poison(error.to_string())
}
