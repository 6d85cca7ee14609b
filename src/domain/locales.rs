//! Locales: the language in which somebody is written to, and templates are, as a well-formed tag (BCP 47, RFC 5646
//! section 2.1).
//!
//! Whether there are words in a language is not asked here: whoever writes falls back from `ko-KR` to `ko` to `en`.

use std::fmt;

use serde::Serialize;
use utoipa::ToSchema;

/// A language with its region and one more subtag or two; nobody needs longer ones.
pub const LOCALE_BYTES_MAX: usize = 35;

/// A well-formed language tag in the case that RFC 5646 recommends, such as `en`, `ko-KR` or `zh-Hant-TW`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = String, example = "ko-KR")]
pub struct Locale(String);

impl Locale {
    /// Takes a tag in any case. `None` for one that is not well formed, and for the tags of before 1989 that have no
    /// language of their own (`i-klingon`, `x-private`).
    #[must_use]
    pub fn parse(raw: &str) -> Option<Self> {
        let text = raw.trim();
        if text.len() > LOCALE_BYTES_MAX {
            return None;
        }
        let subtags: Vec<&str> = text.split('-').collect();
        is_well_formed(&subtags).then(|| Self(in_recommended_case(&subtags)))
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

    /// The tag, and what is left of it as it is cut shorter: `zh-Hant-TW`, `zh-Hant`, `zh`. A subtag of one character
    /// goes with what it introduced (RFC 4647, section 3.4).
    pub fn fallbacks(&self) -> impl Iterator<Item = &str> {
        std::iter::successors(Some(self.0.as_str()), |tag| {
            let (mut shorter, _) = tag.rsplit_once('-')?;
            while let Some((before, last)) = shorter.rsplit_once('-')
                && last.len() == 1
            {
                shorter = before;
            }
            Some(shorter)
        })
    }
}

/// English.
impl Default for Locale {
    fn default() -> Self {
        Self("en".to_owned())
    }
}

impl fmt::Display for Locale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `language ["-" script] ["-" region] *("-" variant) *("-" extension) ["-" privateuse]`.
fn is_well_formed(subtags: &[&str]) -> bool {
    let Some((language, mut rest)) = subtags.split_first() else {
        return false;
    };
    // Longer ones are reserved, and there is none: whoever writes `english` means something else.
    if !is_letters(language, 2..=3) {
        return false;
    }
    // Extended languages, such as `zh-yue`.
    let mut extended = 0;
    while extended < 3
        && let Some(after) = taken(rest, |subtag| is_letters(subtag, 3..=3))
    {
        (rest, extended) = (after, extended + 1);
    }
    rest = taken(rest, |subtag| is_letters(subtag, 4..=4)).unwrap_or(rest);
    rest = taken(rest, is_region).unwrap_or(rest);
    let mut variants = Vec::new();
    while let Some((variant, after)) = rest.split_first()
        && is_variant(variant)
    {
        let variant = variant.to_ascii_lowercase();
        if variants.contains(&variant) {
            return false;
        }
        variants.push(variant);
        rest = after;
    }
    has_sound_extensions(rest)
}

/// What follows one that fits; `None` where the first does not.
fn taken<'s, 't>(subtags: &'s [&'t str], fits: impl Fn(&str) -> bool) -> Option<&'s [&'t str]> {
    subtags.split_first().filter(|(first, _)| fits(first)).map(|(_, rest)| rest)
}

/// Each a letter or digit of its own followed by at least one subtag; behind `x` anything goes.
fn has_sound_extensions(mut subtags: &[&str]) -> bool {
    let mut singletons = Vec::new();
    while let Some((singleton, rest)) = subtags.split_first() {
        if !is_word(singleton, 1..=1) {
            return false;
        }
        let singleton = singleton.to_ascii_lowercase();
        let shortest = if singleton == "x" { 1 } else { 2 };
        let end = if singleton == "x" {
            rest.len()
        } else {
            rest.iter().position(|subtag| subtag.len() == 1).unwrap_or(rest.len())
        };
        let (values, after) = rest.split_at(end);
        let is_sound = !values.is_empty() && values.iter().all(|it| is_word(it, shortest..=8));
        if !is_sound || singletons.contains(&singleton) {
            return false;
        }
        singletons.push(singleton);
        subtags = after;
    }
    true
}

fn is_region(subtag: &str) -> bool {
    is_letters(subtag, 2..=2) || (subtag.len() == 3 && subtag.bytes().all(|b| b.is_ascii_digit()))
}

fn is_variant(subtag: &str) -> bool {
    is_word(subtag, 5..=8)
        || (is_word(subtag, 4..=4) && subtag.starts_with(|c: char| c.is_ascii_digit()))
}

fn is_letters(subtag: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphabetic())
}

fn is_word(subtag: &str, length: std::ops::RangeInclusive<usize>) -> bool {
    length.contains(&subtag.len()) && subtag.bytes().all(|b| b.is_ascii_alphanumeric())
}

/// Regions upper case, scripts with a capital, the rest lower case; behind a singleton all of it (RFC 5646, 2.1.1).
fn in_recommended_case(subtags: &[&str]) -> String {
    let mut is_extension = false;
    let mut written = Vec::with_capacity(subtags.len());
    for (place, subtag) in subtags.iter().enumerate() {
        let lower = subtag.to_ascii_lowercase();
        let written_so = match lower.len() {
            2 if place > 0 && !is_extension => lower.to_ascii_uppercase(),
            4 if place > 0 && !is_extension => capitalised(&lower),
            _ => lower,
        };
        is_extension |= subtag.len() == 1;
        written.push(written_so);
    }
    written.join("-")
}

fn capitalised(lower: &str) -> String {
    let mut chars = lower.chars();
    chars.next().map(|first| first.to_ascii_uppercase()).into_iter().chain(chars).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parsed(text: &str) -> Option<String> {
        Locale::parse(text).map(|locale| locale.as_str().to_owned())
    }

    #[test]
    fn a_tag_is_written_in_the_recommended_case() {
        for (typed, kept) in [
            ("en", "en"),
            ("KO-kr", "ko-KR"),
            ("zh-hant-tw", "zh-Hant-TW"),
            ("es-419", "es-419"),
            ("zh-yue-HK", "zh-yue-HK"),
            ("sl-rozaj-biske-1994", "sl-rozaj-biske-1994"),
            ("de-CH-1901", "de-CH-1901"),
            ("en-US-u-ca-buddhist", "en-US-u-ca-buddhist"),
            ("en-u-NU-LATN-x-AB", "en-u-nu-latn-x-ab"),
        ] {
            assert_eq!(parsed(typed).as_deref(), Some(kept), "{typed}");
        }
    }

    #[test]
    fn what_is_not_well_formed_is_refused() {
        for text in [
            "",
            "e",
            "en_US",
            "english",
            "en-",
            "-en",
            "한국어",
            "i-klingon",
            "x-private",
            "en-US-US",
            "en-u",
            "en-u-",
            "en-a-bb-a-cc",
            "de-1901-1901",
            "english-or-something-very-long-indeed",
            "en-x-123456789",
        ] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }

    #[test]
    fn a_locale_falls_back_to_shorter_ones_and_never_ends_in_a_single_letter() {
        for (tag, expected) in [
            ("zh-Hant-TW", &["zh-Hant-TW", "zh-Hant", "zh"][..]),
            ("ko-KR-u-hc-h23", &["ko-KR-u-hc-h23", "ko-KR-u-hc", "ko-KR", "ko"]),
            ("en-a-bbb-x-a-b", &["en-a-bbb-x-a-b", "en-a-bbb", "en"]),
        ] {
            let locale = Locale::parse(tag).unwrap();
            assert_eq!(locale.fallbacks().collect::<Vec<_>>(), expected);
            assert_eq!(locale.language(), *expected.last().unwrap());
        }
    }

    proptest! {
        #[test]
        fn what_was_parsed_parses_to_itself(raw in "[a-zA-Z]{2,3}(-[a-zA-Z0-9]{1,8}){0,4}") {
            if let Some(locale) = Locale::parse(&raw) {
                prop_assert_eq!(Locale::parse(locale.as_str()), Some(locale.clone()));
                prop_assert!(locale.as_str().eq_ignore_ascii_case(&raw));
            }
        }
    }
}
