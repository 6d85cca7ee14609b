//! Names as people look for them: from the beginning of any word, without case, width, spaces or marks between, and in
//! Hangul letter by letter, as it is typed.
//!
//! Invariant: a name is found by what is typed of it at any moment. Half of 길동 is typed as 기, which no form of whole
//! syllables begins with; so words are kept and looked for as the keys that are pressed: ㄱㅣㄹㄷㅗㅇ.

use std::collections::BTreeSet;

use unicode_normalization::char::is_combining_mark;

use super::accounts::{HANDLE_CHARS_MAX, Handle, key_of};

/// Letters of a word that count; more is looked for as if it ended there.
pub const WORD_CHARS_MAX: usize = 100;
/// Places in one name where a word begins; those behind are not looked for.
const BEGINNINGS_MAX: usize = 8;
/// The longest text that is looked for, before it is normalised.
const SEARCH_BYTES_MAX: usize = 400;

const SYLLABLES: std::ops::RangeInclusive<char> = '\u{AC00}'..='\u{D7A3}';
const LEADS: [&str; 19] = [
    "ㄱ", "ㄲ", "ㄴ", "ㄷ", "ㄸ", "ㄹ", "ㅁ", "ㅂ", "ㅃ", "ㅅ", "ㅆ", "ㅇ", "ㅈ", "ㅉ", "ㅊ", "ㅋ",
    "ㅌ", "ㅍ", "ㅎ",
];
const VOWELS: [&str; 21] = [
    "ㅏ", "ㅐ", "ㅑ", "ㅒ", "ㅓ", "ㅔ", "ㅕ", "ㅖ", "ㅗ", "ㅗㅏ", "ㅗㅐ", "ㅗㅣ", "ㅛ", "ㅜ",
    "ㅜㅓ", "ㅜㅔ", "ㅜㅣ", "ㅠ", "ㅡ", "ㅡㅣ", "ㅣ",
];
/// The first is no tail at all.
const TAILS: [&str; 28] = [
    "", "ㄱ", "ㄲ", "ㄱㅅ", "ㄴ", "ㄴㅈ", "ㄴㅎ", "ㄷ", "ㄹ", "ㄹㄱ", "ㄹㅁ", "ㄹㅂ", "ㄹㅅ",
    "ㄹㅌ", "ㄹㅍ", "ㄹㅎ", "ㅁ", "ㅂ", "ㅂㅅ", "ㅅ", "ㅆ", "ㅇ", "ㅈ", "ㅊ", "ㅋ", "ㅌ", "ㅍ",
    "ㅎ",
];
/// A family name and the shortest given name that is looked for by itself, and the longest that there usually is.
const FULL_NAME_SYLLABLES: std::ops::RangeInclusive<usize> = 3..=4;

/// What has no letter and no digit cannot be looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("A search has a letter or digit, and at most {SEARCH_BYTES_MAX} bytes.")]
pub struct SearchInvalid;

/// The words by which an account is found: of its handle and of its display name, from each place where a word begins to
/// the end; of Hangul also the first consonants alone (ㅎㄱㄷ), and a given name without the family name before it.
#[must_use]
pub fn words_of(handle: &str, display_name: &str) -> BTreeSet<String> {
    let mut words = BTreeSet::new();
    for name in [handle, display_name] {
        let letters = letters_of(name);
        for place in beginnings(&letters) {
            let rest = letters.get(place..).unwrap_or_default();
            words.insert(spelled(rest));
            words.extend(first_consonants(rest));
        }
    }
    words.remove("");
    words
}

/// What somebody typed to find people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SearchTerm {
    word: String,
    handle_key: Option<String>,
}

impl SearchTerm {
    /// # Errors
    /// [`SearchInvalid`] when nothing is left to look for, or there is too much.
    pub fn parse(raw: &str) -> Result<Self, SearchInvalid> {
        if raw.len() > SEARCH_BYTES_MAX {
            return Err(SearchInvalid);
        }
        let word = spelled(&letters_of(raw));
        if word.is_empty() {
            return Err(SearchInvalid);
        }
        let handle_key = (raw.chars().count() <= HANDLE_CHARS_MAX * 2)
            .then(|| Handle::parse(raw).ok())
            .flatten()
            .map(|handle| handle.key().to_owned());
        Ok(Self { word, handle_key })
    }

    /// What the words that are found begin with: the least of them.
    #[must_use]
    pub fn word(&self) -> &str {
        &self.word
    }

    /// What is greater than every word that is found, and not greater than any other that follows.
    #[must_use]
    pub fn end(&self) -> String {
        format!("{}{}", self.word, char::MAX)
    }

    /// The handle that this may be, in compared form.
    #[must_use]
    pub fn handle_key(&self) -> Option<&str> {
        self.handle_key.as_deref()
    }
}

/// What an administrator types to find somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PersonTerm {
    /// The beginning of an e-mail address, in compared form.
    Address(String),
    /// As everybody looks for people.
    Name(SearchTerm),
}

impl PersonTerm {
    /// Takes what has an `@` behind something else for the beginning of an address.
    ///
    /// # Errors
    /// [`SearchInvalid`] when nothing is left to look for, or there is too much.
    pub fn parse(raw: &str) -> Result<Self, SearchInvalid> {
        let raw = raw.trim();
        if raw.len() > SEARCH_BYTES_MAX {
            return Err(SearchInvalid);
        }
        let is_address = raw.find('@').is_some_and(|place| place > 0) && !raw.contains('\0');
        if is_address {
            return Ok(Self::Address(key_of(raw)));
        }
        SearchTerm::parse(raw).map(Self::Name)
    }
}

/// A letter, and whether a word begins with it.
type Letter = (char, bool);

fn letters_of(text: &str) -> Vec<Letter> {
    let mut letters = Vec::new();
    let mut is_inside = false;
    for c in key_of(text).chars() {
        let is_letter = c.is_alphanumeric();
        if is_letter || (is_inside && is_combining_mark(c)) {
            letters.push((c, is_letter && !is_inside));
            is_inside = true;
        } else {
            is_inside = false;
        }
    }
    letters
}

/// Where words begin, and where the given name of a Korean full name does, which is written without a space.
fn beginnings(letters: &[Letter]) -> Vec<usize> {
    let starts = letters.iter().enumerate().filter(|(_, (_, begins))| *begins);
    let mut places = Vec::new();
    for (place, _) in starts.take(BEGINNINGS_MAX) {
        places.push(place);
        let word = letters.get(place..).unwrap_or_default();
        let word_chars = 1 + word.iter().skip(1).take_while(|(_, begins)| !begins).count();
        let is_full_name = FULL_NAME_SYLLABLES.contains(&word_chars)
            && word.iter().take(word_chars).all(|(c, _)| SYLLABLES.contains(c));
        if is_full_name {
            places.push(place + 1);
        }
    }
    places
}

/// The word as its keys are pressed.
fn spelled(letters: &[Letter]) -> String {
    let mut keys = String::new();
    for (c, _) in letters.iter().take(WORD_CHARS_MAX) {
        press(*c, &mut keys);
    }
    keys.chars().take(WORD_CHARS_MAX).collect()
}

/// The first consonants of the syllables that a word begins with, if there are several.
fn first_consonants(letters: &[Letter]) -> Option<String> {
    let syllables = letters.iter().map(|(c, _)| *c).take_while(|c| SYLLABLES.contains(c));
    let leads: Vec<&str> = syllables
        .take(WORD_CHARS_MAX)
        .filter_map(|c| key(&LEADS, place_in(c, '\u{AC00}')? / 588))
        .collect();
    (leads.len() > 1).then(|| leads.concat())
}

/// Adds the keys with which a character is typed. Hangul comes as syllables or, where NFKC made no syllable of them, as the
/// letters of a syllable; anything else is its own key.
fn press(c: char, keys: &mut String) {
    let jamo = match c {
        '\u{AC00}'..='\u{D7A3}' => place_in(c, '\u{AC00}').map(|place| {
            [key(&LEADS, place / 588), key(&VOWELS, place / 28 % 21), key(&TAILS, place % 28)]
        }),
        '\u{1100}'..='\u{1112}' => {
            place_in(c, '\u{1100}').map(|place| [key(&LEADS, place), None, None])
        }
        '\u{1161}'..='\u{1175}' => {
            place_in(c, '\u{1161}').map(|place| [key(&VOWELS, place), None, None])
        }
        '\u{11A8}'..='\u{11C2}' => {
            place_in(c, '\u{11A7}').map(|place| [key(&TAILS, place), None, None])
        }
        _ => None,
    };
    match jamo {
        Some(jamo) => keys.extend(jamo.into_iter().flatten()),
        None => keys.push(c),
    }
}

fn place_in(c: char, first: char) -> Option<u32> {
    u32::from(c).checked_sub(u32::from(first))
}

fn key(keys: &[&'static str], place: u32) -> Option<&'static str> {
    keys.get(usize::try_from(place).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Whether what was typed finds the name.
    fn finds(typed: &str, handle: &str, display_name: &str) -> bool {
        let term = SearchTerm::parse(typed).unwrap();
        let words = words_of(handle, display_name);
        words.iter().any(|word| word.as_str() >= term.word() && *word < term.end())
    }

    #[test]
    fn a_name_is_found_from_the_beginning_of_any_word_of_it() {
        for typed in ["min", "Min K", "kim", "KIM", "k", "minkim", "ｋｉｍ", " @min_kim ", "seoul"]
        {
            assert!(finds(typed, "min_kim", "Min Kim (Seoul)"), "{typed}");
        }
        for typed in ["in", "im", "min kimm", "kim min", "eoul"] {
            assert!(!finds(typed, "min_kim", "Min Kim (Seoul)"), "{typed}");
        }
    }

    #[test]
    fn a_korean_name_is_found_at_every_key_that_is_pressed() {
        for typed in
            ["ㅎ", "호", "홍", "홍ㄱ", "홍기", "홍길", "홍길ㄷ", "홍길도", "홍길동", "홍 길동"]
        {
            assert!(finds(typed, "jisoo", "홍길동"), "{typed}");
        }
        // The tail of 갃 and of 닭 becomes the first consonant of what follows; 과 begins as 고.
        assert!(
            finds("갃", "jisoo", "각시")
                && finds("닭", "jisoo", "달기")
                && finds("고", "jisoo", "과일")
        );
        for typed in ["홍김", "홍길동이", "동", "흥"] {
            assert!(!finds(typed, "jisoo", "홍길동"), "{typed}");
        }
    }

    #[test]
    fn a_korean_name_is_found_by_its_first_consonants() {
        for typed in ["ㅎㄱㄷ", "ㅎㄱ", "ㄱㄷ", "\u{1112}\u{1100}"] {
            assert!(finds(typed, "jisoo", "홍길동"), "{typed}");
            assert!(finds(typed, "jisoo", "홍 길동"), "{typed}");
        }
        assert!(!finds("ㅎㄷ", "jisoo", "홍길동"));
    }

    #[test]
    fn a_given_name_is_found_without_the_family_name() {
        assert!(finds("길동", "jisoo", "홍길동") && finds("ㄱㄷ", "jisoo", "홍길동"));
        assert!(!finds("산", "jisoo", "이산"), "too short to be looked for by itself");
        assert!(!finds("사랑해요", "jisoo", "마당사랑해요"), "no name is that long");
    }

    #[test]
    fn an_accent_is_part_of_a_letter_and_a_mark_of_its_own_stays_with_its_word() {
        assert!(finds("jose\u{301}", "jisoo", "José") && finds("नमस्ते", "jisoo", "नमस्ते"));
        assert!(!finds("स्ते", "jisoo", "नमस्ते"));
    }

    #[test]
    fn what_has_no_letter_cannot_be_looked_for() {
        for typed in ["", "  ", "@", "🎉", "_-.", &"가".repeat(134)] {
            assert_eq!(SearchTerm::parse(typed), Err(SearchInvalid), "{typed}");
        }
    }

    #[test]
    fn an_at_behind_something_makes_an_address() {
        let address = |text: &str| Ok(PersonTerm::Address(text.to_owned()));
        assert_eq!(PersonTerm::parse(" Jisoo@Example "), address("jisoo@example"));
        assert_eq!(PersonTerm::parse("j@"), address("j@"));
        for typed in ["jisoo", "@jisoo", "지수"] {
            let name = SearchTerm::parse(typed).unwrap();
            assert_eq!(PersonTerm::parse(typed), Ok(PersonTerm::Name(name)), "{typed}");
        }
        for typed in ["", "@", "a@\0", &"a@".repeat(201)] {
            assert!(!matches!(PersonTerm::parse(typed), Ok(PersonTerm::Address(_))), "{typed}");
        }
    }

    #[test]
    fn only_what_may_be_a_handle_is_looked_up_as_one() {
        let handle = |typed| SearchTerm::parse(typed).unwrap().handle_key().map(str::to_owned);

        assert_eq!(handle("@Ji_Soo").as_deref(), Some("ji_soo"));
        assert_eq!(handle("Min Kim"), None);
        assert_eq!(handle("ㅎㄱㄷ"), None);
    }

    #[test]
    fn a_name_has_a_bounded_number_of_bounded_words() {
        let words = words_of(&"김".repeat(32), &"가나다 ".repeat(13));

        assert!(words.len() <= 2 * 2 * 2 * BEGINNINGS_MAX, "{}", words.len());
        assert!(words.iter().all(|word| word.chars().count() <= WORD_CHARS_MAX));
    }

    proptest! {
        #[test]
        fn every_beginning_of_a_name_finds_it(name in "[가-힣a-zA-Z0-9]{1,12}", chars in 1_usize..12) {
            let typed: String = name.chars().take(chars).collect();
            prop_assert!(finds(&typed, "jisoo", &name));
        }

        #[test]
        fn any_text_is_looked_for_or_refused(raw in "\\PC{0,80}") {
            if let Ok(term) = SearchTerm::parse(&raw) {
                prop_assert!(term.word().chars().count() <= WORD_CHARS_MAX);
                prop_assert!(term.word() < term.end().as_str());
            }
            prop_assert!(words_of(&raw, &raw).iter().all(|word| !word.is_empty()));
        }
    }
}
