//! Which template speaks to somebody: the nearest language first, and in it what is stored before what is built in.

use super::{NotificationKind, builtin};
use crate::domain::locales::Locale;

/// The version of what this program brings along; stored ones begin with 1.
pub const BUILTIN_VERSION: i64 = 0;

/// One wording, for ever the same (of a built-in one: for as long as this program runs).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct TemplateId {
    pub kind: NotificationKind,
    pub locale: Locale,
    pub version: i64,
}

/// The template of `kind` for somebody who reads `wanted`, given the stored ones of this kind that are in use.
///
/// `ko-KR` is looked for as `ko-KR`, then `ko`, then `en`, then any. `None` when nobody has written this kind.
#[must_use]
pub fn resolve(
    kind: &NotificationKind,
    wanted: &Locale,
    stored: &[(Locale, i64)],
) -> Option<TemplateId> {
    let found = wanted
        .fallbacks()
        .chain(["en"])
        .find_map(|tag| in_language(kind, tag, stored))
        // A built-in kind has English, so this is about stored ones only.
        .or_else(|| stored.iter().min().cloned());
    found.map(|(locale, version)| TemplateId { kind: kind.clone(), locale, version })
}

fn in_language(
    kind: &NotificationKind,
    tag: &str,
    stored: &[(Locale, i64)],
) -> Option<(Locale, i64)> {
    let own = stored.iter().find(|(locale, _)| locale.as_str() == tag);
    own.cloned().or_else(|| {
        builtin::find(kind.as_str(), tag)?;
        Some((Locale::parse(tag)?, BUILTIN_VERSION))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(kind: &str, wanted: &str, stored: &[(&str, i64)]) -> Option<(String, i64)> {
        let kind = NotificationKind::parse(kind).unwrap();
        let stored: Vec<_> =
            stored.iter().map(|(tag, version)| (Locale::parse(tag).unwrap(), *version)).collect();
        let id = resolve(&kind, &Locale::parse(wanted).unwrap(), &stored)?;
        Some((id.locale.as_str().to_owned(), id.version))
    }

    #[test]
    fn the_nearest_language_wins_and_in_it_what_is_stored() {
        let of = |tag: &str, version| Some((tag.to_owned(), version));

        assert_eq!(chosen("welcome", "ko-KR", &[]), of("ko", 0));
        assert_eq!(chosen("welcome", "ko-KR", &[("ko", 3), ("en", 5)]), of("ko", 3));
        assert_eq!(chosen("welcome", "ko-KR", &[("ko-KR", 2), ("ko", 3)]), of("ko-KR", 2));
        // A built-in Korean is nearer than a stored English.
        assert_eq!(chosen("welcome", "ko", &[("en", 5)]), of("ko", 0));
        assert_eq!(chosen("welcome", "fr", &[]), of("en", 0));
        assert_eq!(chosen("shop.sent", "fr", &[("ko", 1), ("ja", 4)]), of("ja", 4));
        assert_eq!(chosen("shop.sent", "ko", &[]), None);
        // What says how times are written does not hide the language.
        assert_eq!(chosen("welcome", "ko-KR-u-hc-h23", &[]), of("ko", 0));
    }
}
