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

/// What a notification is about, and so what its words may speak of besides its reader and the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Somebody has done something: `actor`.
    Person,
    /// Somebody has written something: `actor`, `room` and `message`.
    Message,
    /// Somebody proves that they read an address: `code`.
    Address,
    /// Money has moved, or has not: `money`.
    Money,
    /// Several things: `names`, `more` and `items`.
    Many,
    /// Nothing that has a name here; of a kind that is not built in, what its sender says in `data`.
    Nothing,
}

/// Every kind that can be told of without anybody having written a template, and what it is about.
pub const KINDS: [(&str, Subject); 23] = [
    (DIGEST, Subject::Many),
    ("friend_request_accepted", Subject::Person),
    ("friend_request_received", Subject::Person),
    ("mention_received", Subject::Message),
    ("message_received", Subject::Message),
    ("password_changed", Subject::Nothing),
    ("payment_charged_back", Subject::Money),
    ("payment_completed", Subject::Money),
    ("payment_dispute_won", Subject::Money),
    ("payment_disputed", Subject::Money),
    ("payment_failed", Subject::Money),
    ("payment_received", Subject::Money),
    ("payment_refunded", Subject::Money),
    ("payment_taken_back", Subject::Money),
    ("reset_password", Subject::Address),
    ("settlement_released", Subject::Money),
    (TEST, Subject::Nothing),
    ("verify_email", Subject::Address),
    ("verify_phone", Subject::Address),
    ("welcome", Subject::Nothing),
    ("withdrawal_failed", Subject::Money),
    ("withdrawal_paid", Subject::Money),
    ("withdrawal_rejected", Subject::Money),
];
/// The languages that every one of them is there in.
pub const LOCALES: [&str; 2] = ["en", "ko"];

static EN: LazyLock<Book> = LazyLock::new(|| read(include_str!("en.txt")));
static KO: LazyLock<Book> = LazyLock::new(|| read(include_str!("ko.txt")));

type Book = BTreeMap<String, Parts>;

/// Whether this program has words for `kind`.
#[must_use]
pub fn is_builtin(kind: &str) -> bool {
    KINDS.iter().any(|(name, _)| *name == kind)
}

/// What a notification of this kind is about.
#[must_use]
pub fn subject_of(kind: &str) -> Subject {
    let found = KINDS.iter().find(|(name, _)| *name == kind);
    found.map_or(Subject::Nothing, |(_, subject)| *subject)
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
        assert!(KINDS.is_sorted_by_key(|(kind, _)| *kind));
        for locale in LOCALES {
            for (kind, _) in KINDS {
                assert!(find(kind, locale).is_some(), "{kind} in {locale}");
            }
        }
        assert_eq!((EN.len(), KO.len()), (KINDS.len(), KINDS.len()));
        assert_eq!(find("welcome", "fr"), None);
    }

    #[test]
    fn every_language_has_the_same_parts() {
        for (kind, _) in KINDS {
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
