//! The templates that this program brings along, in English and Korean: a file for each language.
//!
//! Invariant: every kind here has every language here, and renders with as little as its kind may be given.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::parts::{Part, Parts};

/// The kind that tells of several notifications at once.
pub const DIGEST: &str = "digest";
/// The kind that only shows that a medium works.
pub const TEST: &str = "test";

/// Every kind that can be told of without anybody having written a template.
pub const KINDS: [&str; 11] = [
    DIGEST,
    "friend_request_accepted",
    "friend_request_received",
    "mention_received",
    "message_received",
    "password_changed",
    "reset_password",
    TEST,
    "verify_email",
    "verify_phone",
    "welcome",
];
/// The languages that every one of them is there in.
pub const LOCALES: [&str; 2] = ["en", "ko"];

static EN: LazyLock<Book> = LazyLock::new(|| read(include_str!("en.txt")));
static KO: LazyLock<Book> = LazyLock::new(|| read(include_str!("ko.txt")));

type Book = BTreeMap<String, Parts>;

/// Whether this program has words for `kind`.
#[must_use]
pub fn is_builtin(kind: &str) -> bool {
    KINDS.binary_search(&kind).is_ok()
}

/// The built-in words for `kind` in exactly this language.
#[must_use]
pub fn find(kind: &str, locale: &str) -> Option<Parts> {
    let book = match locale {
        "en" => &EN,
        "ko" => &KO,
        _ => return None,
    };
    book.get(kind).cloned()
}

/// Reads a language's file: `=== kind` begins a kind, `--- part` a part of it. What lacks title or body is left out.
fn read(text: &str) -> Book {
    let kinds = text.split("\n=== ").skip(1);
    let kinds = kinds.filter_map(|kind| kind.split_once('\n'));
    kinds.filter_map(|(kind, parts)| Some((kind.to_owned(), read_parts(parts)?))).collect()
}

fn read_parts(text: &str) -> Option<Parts> {
    // The parts of a kind begin on a line of their own, the first one at the very beginning.
    let text = format!("\n{text}");
    let sections = text.split("\n--- ").filter_map(|section| section.split_once('\n'));
    let mut words: BTreeMap<Part, String> = sections
        .filter_map(|(name, words)| Some((Part::parse(name)?, words.trim_end().to_owned())))
        .collect();
    Some(Parts {
        title: words.remove(&Part::Title)?,
        body: words.remove(&Part::Body)?,
        sms: words.remove(&Part::Sms),
        mail_subject: words.remove(&Part::MailSubject),
        mail_text: words.remove(&Part::MailText),
        mail_html: words.remove(&Part::MailHtml),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_there_in_every_language_and_nothing_else_is() {
        assert!(KINDS.is_sorted());
        for locale in LOCALES {
            for kind in KINDS {
                assert!(find(kind, locale).is_some(), "{kind} in {locale}");
            }
        }
        assert_eq!((EN.len(), KO.len()), (KINDS.len(), KINDS.len()));
        assert_eq!(find("welcome", "fr"), None);
    }

    #[test]
    fn every_language_has_the_same_parts() {
        for kind in KINDS {
            let parts = |locale| {
                let parts = find(kind, locale).unwrap();
                parts.iter().map(|(part, _)| part).collect::<Vec<_>>()
            };
            assert_eq!(parts("en"), parts("ko"), "{kind}");
        }
    }

    #[test]
    fn a_file_is_read_as_it_is_written() {
        let book = read(
            "# Words.\n=== a\n--- title\nA --- b\n--- body\nOne.\n\nTwo.\n\n=== b\n--- title\nB",
        );
        assert_eq!(book.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            (book["a"].title.as_str(), book["a"].body.as_str()),
            ("A --- b", "One.\n\nTwo.")
        );
        assert_eq!(book["a"].sms, None);
    }
}
