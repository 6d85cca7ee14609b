//! Templates that were compiled already. A version never changes, so what is kept stays right.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use super::TemplateError;
use super::compiled::CompiledTemplate;
use super::parts::Parts;
use super::resolve::TemplateId;

/// At most so many compiled templates; the one that came first goes first. Cheap to ask from any thread.
pub struct TemplateCache {
    kept: Mutex<Kept>,
    templates_max: usize,
}

#[derive(Default)]
struct Kept {
    templates: HashMap<TemplateId, Arc<CompiledTemplate>>,
    // Invariant: the keys of `templates`, the oldest first.
    order: VecDeque<TemplateId>,
}

impl TemplateCache {
    #[must_use]
    pub fn new(templates_max: usize) -> Self {
        Self { kept: Mutex::default(), templates_max }
    }

    /// The template with this id, compiled from `parts` unless it is here.
    ///
    /// # Errors
    /// As [`CompiledTemplate::compile`]; nothing is kept then.
    pub fn get_or_compile(
        &self,
        id: &TemplateId,
        parts: impl FnOnce() -> Parts,
    ) -> Result<Arc<CompiledTemplate>, TemplateError> {
        if let Some(found) = self.kept().templates.get(id) {
            return Ok(Arc::clone(found));
        }
        // Outside of the lock: whoever compiles the same meanwhile makes the same.
        let template = Arc::new(CompiledTemplate::compile(&parts(), id.locale.clone())?);
        let mut kept = self.kept();
        if kept.templates.insert(id.clone(), Arc::clone(&template)).is_none() {
            kept.order.push_back(id.clone());
        }
        while kept.order.len() > self.templates_max {
            let Some(oldest) = kept.order.pop_front() else { break };
            kept.templates.remove(&oldest);
        }
        Ok(template)
    }

    /// The template with this id, if it is here.
    #[must_use]
    pub fn find(&self, id: &TemplateId) -> Option<Arc<CompiledTemplate>> {
        self.kept().templates.get(id).map(Arc::clone)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.kept().order.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        // Whoever panicked with it has left it whole, or with an id too many in `order`.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::super::resolve::BUILTIN_VERSION;
    use super::super::{NotificationKind, builtin};
    use super::*;
    use crate::domain::locales::Locale;

    #[test]
    fn a_cache_compiles_once_and_stays_within_its_bound() {
        let cache = TemplateCache::new(2);
        let id = |version| TemplateId {
            kind: NotificationKind::parse("welcome").unwrap(),
            locale: Locale::default(),
            version,
        };
        let parts = || builtin::find("welcome", "en").unwrap();

        let first = cache.get_or_compile(&id(BUILTIN_VERSION), parts).unwrap();
        let again = cache.get_or_compile(&id(BUILTIN_VERSION), || panic!("it is here")).unwrap();
        assert!(Arc::ptr_eq(&first, &again));
        for version in 1..=9 {
            cache.get_or_compile(&id(version), parts).unwrap();
        }
        assert_eq!(cache.len(), 2);
        assert!(cache.get_or_compile(&id(9), || panic!("it is here")).is_ok());
        let broken = || Parts { title: "{{".to_owned(), ..parts() };
        assert!(cache.get_or_compile(&id(10), broken).is_err());
        assert_eq!(cache.len(), 2);
    }
}
