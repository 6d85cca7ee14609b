//! Locales: the languages that templates are written in and people read (RFC 5646, without its rarer parts).

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

use super::TemplateError;

const LOCALE_BYTES_MAX: usize = 35;

/// A language tag in its usual spelling: `ko`, `ko-KR`, `zh-Hant-TW`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "ko-KR")]
pub struct Locale(String);

impl Locale {
    /// Takes a language of two or three letters and what narrows it down, in any case; `_` counts as `-`.
    ///
    /// # Errors
    /// [`TemplateError::InvalidLocale`] for any other text.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        if text.len() > LOCALE_BYTES_MAX {
            return Err(TemplateError::InvalidLocale);
        }
        let mut subtags = text.split(['-', '_']);
        let language = subtags.next().unwrap_or_default();
        let is_language = (2..=3).contains(&language.len())
            && language.bytes().all(|byte| byte.is_ascii_alphabetic());
        if !is_language {
            return Err(TemplateError::InvalidLocale);
        }
        let mut tag = language.to_ascii_lowercase();
        for subtag in subtags {
            tag.push('-');
            tag.push_str(&usual(subtag).ok_or(TemplateError::InvalidLocale)?);
        }
        Ok(Self(tag))
    }

    /// English.
    #[must_use]
    pub fn en() -> Self {
        Self("en".to_owned())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Only the language.
    #[must_use]
    pub fn language(&self) -> &str {
        self.0.split('-').next().unwrap_or_default()
    }

    /// The tag, and what is left of it as it is cut shorter: `zh-Hant-TW`, `zh-Hant`, `zh` (RFC 4647, lookup).
    pub fn fallbacks(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.0.as_str()), |tag| {
            tag.rsplit_once('-').map(|(shorter, _)| shorter)
        })
    }
}

impl Default for Locale {
    fn default() -> Self {
        Self::en()
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A subtag as it is usually written: `KR`, `Hant`, everything else in lower case.
fn usual(subtag: &str) -> Option<String> {
    let is_sound =
        (2..=8).contains(&subtag.len()) && subtag.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if !is_sound {
        return None;
    }
    let mut usual = subtag.to_ascii_lowercase();
    match usual.len() {
        2 => usual.make_ascii_uppercase(),
        4 => {
            if let Some(first) = usual.get_mut(..1) {
                first.make_ascii_uppercase();
            }
        }
        _ => {}
    }
    Some(usual)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_has_one_spelling() {
        for (text, tag) in
            [("KO", "ko"), ("ko_kr", "ko-KR"), ("zh-hant-tw", "zh-Hant-TW"), ("es-419", "es-419")]
        {
            assert_eq!(Locale::parse(text).unwrap().as_str(), tag);
        }
        for text in ["", "k", "korean", "ko-", "ko--KR", "한국어", "ko-KR-x", "../en", "k0"] {
            assert_eq!(Locale::parse(text), Err(TemplateError::InvalidLocale), "{text}");
        }
    }

    #[test]
    fn a_locale_falls_back_to_shorter_ones() {
        let locale = Locale::parse("zh-Hant-TW").unwrap();
        assert_eq!(locale.fallbacks().collect::<Vec<_>>(), ["zh-Hant-TW", "zh-Hant", "zh"]);
        assert_eq!(locale.language(), "zh");
    }
}
