//! Passwords: what may become one, after NIST SP 800-63B-4, section 3.1.1.2.
//!
//! Length, a block list and the person's own names are the only rules; there is none about kinds of characters, and none
//! about age. The standard asks for 15 characters where a password is the only factor and 8 beside a second one: madang
//! takes 8, with the block list and the login back-off, so that a second factor can join without new rules.
//! Invariant: a password reaches the hasher only as one of these types, in NFKC.

use std::sync::LazyLock;

use secrecy::{ExposeSecret, SecretString};
use unicode_normalization::UnicodeNormalization;

/// Code points.
pub const PASSWORD_CHARS_MIN: usize = 8;
/// Code points.
pub const PASSWORD_CHARS_MAX: usize = 128;
/// A shorter handle or local part is in too many good passwords to be refused there.
const IDENTITY_CHARS_MIN: usize = 4;
/// The longest unit whose repetition is a pattern (`abcdabcd`).
const REPEATED_UNIT_CHARS_MAX: usize = 4;

static BLOCKED: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    include_str!("blocked_passwords.txt").lines().filter(|line| !line.starts_with('#')).collect()
});

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    #[error("A password has at least {PASSWORD_CHARS_MIN} characters.")]
    TooShort,
    #[error("A password has at most {PASSWORD_CHARS_MAX} characters.")]
    TooLong,
    #[error("This password is among the first that are guessed; choose another.")]
    Common,
    #[error("A password does not contain the handle or the e-mail address.")]
    ContainsIdentity,
}

/// A password that may be set for one account.
#[derive(Debug, Clone)]
pub struct NewPassword(SecretString);

impl NewPassword {
    /// Checks `raw` against the rules; `identities` are the compared forms of the handle and the e-mail's local part.
    ///
    /// # Errors
    /// The first rule it breaks.
    pub fn parse(raw: &SecretString, identities: &[&str]) -> Result<Self, PasswordError> {
        // The raw text is bounded first: NFKC can make one character eighteen.
        if raw.expose_secret().chars().count() > PASSWORD_CHARS_MAX {
            return Err(PasswordError::TooLong);
        }
        let text = normalised(raw.expose_secret());
        if text.chars().count() < PASSWORD_CHARS_MIN {
            return Err(PasswordError::TooShort);
        }
        let lower = text.to_lowercase();
        let is_identity =
            |name: &&str| name.chars().count() >= IDENTITY_CHARS_MIN && lower.contains(*name);
        if identities.iter().any(is_identity) {
            return Err(PasswordError::ContainsIdentity);
        }
        if is_blocked(&lower) || is_repetition(&lower) || is_run(&lower) {
            return Err(PasswordError::Common);
        }

        Ok(Self(text.into()))
    }

    /// The bytes to hash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

/// A password somebody offers as proof. No rule applies to it: it may have been set under older ones.
#[derive(Debug, Clone)]
pub struct PasswordAttempt(SecretString);

impl PasswordAttempt {
    /// Takes `raw`; what is longer than any password could be becomes one that matches none.
    #[must_use]
    pub fn new(raw: &SecretString) -> Self {
        let is_possible = raw.expose_secret().chars().count() <= PASSWORD_CHARS_MAX;
        Self(if is_possible { normalised(raw.expose_secret()) } else { String::new() }.into())
    }

    /// The bytes to compare.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.expose_secret().as_bytes()
    }
}

fn normalised(raw: &str) -> String {
    raw.nfkc().collect()
}

fn is_blocked(lower: &str) -> bool {
    BLOCKED.binary_search(&lower).is_ok()
}

/// One short unit over and over: `aaaaaaaa`, `abcabcabc`.
fn is_repetition(text: &str) -> bool {
    let chars: Vec<char> = text.chars().collect();
    (1..=REPEATED_UNIT_CHARS_MAX).any(|unit| {
        chars.len() > unit && chars.iter().zip(chars.iter().skip(unit)).all(|(a, b)| a == b)
    })
}

/// Characters that follow one another, up or down: `23456789`, `hgfedcba`.
fn is_run(text: &str) -> bool {
    let steps = |from: char, to: char| i64::from(u32::from(to)) - i64::from(u32::from(from));
    [1, -1].into_iter().any(|step| {
        text.chars()
            .zip(text.chars().skip(1))
            .all(|(a, b)| steps(a, b) == step || (step == 1 && (a, b) == ('9', '0')))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(raw: &str) -> Result<NewPassword, PasswordError> {
        NewPassword::parse(&raw.into(), &["jisoo.k", "jisoo", "ji"])
    }

    #[test]
    fn a_long_phrase_in_any_script_is_a_password() {
        for raw in ["correct horse battery staple", "마당에서 만나요 여덟시", "x7!Kq2_w"]
        {
            assert!(parse(raw).is_ok(), "{raw}");
        }
    }

    #[test]
    fn length_counts_code_points() {
        assert_eq!(parse("마당에서만나").unwrap_err(), PasswordError::TooShort);
        assert!(parse("마당에서만나요오").is_ok());
        assert_eq!(parse(&"ab c1".repeat(26)).unwrap_err(), PasswordError::TooLong);
    }

    #[test]
    fn what_is_guessed_first_is_refused() {
        for raw in [
            "password",
            "PASSWORD",
            "Password1",
            "P@ssw0rd",
            "12345678",
            "qwertyuiop",
            "1q2w3e4r",
            "iloveyou",
            "aaaaaaaa",
            "abcabcabc",
            "98765432",
            "abcdefgh",
            "1234567890",
            "letmein123",
            "madang123",
            "summer2024",
            "dkssudgktpdy",
        ] {
            assert_eq!(parse(raw).unwrap_err(), PasswordError::Common, "{raw}");
        }
    }

    #[test]
    fn the_own_name_is_refused_but_a_short_one_is_everywhere() {
        assert_eq!(parse("hello-JISOO.k-2").unwrap_err(), PasswordError::ContainsIdentity);
        assert!(parse("a jittery start").is_ok());
    }

    #[test]
    fn two_spellings_of_one_password_are_the_same_bytes() {
        let composed = "한글비밀번호야";
        let decomposed: String = composed.nfd().collect();
        let set = NewPassword::parse(&format!("{composed}!").into(), &[]).unwrap();

        assert_eq!(
            set.as_bytes(),
            PasswordAttempt::new(&format!("{decomposed}!").into()).as_bytes()
        );
    }

    #[test]
    fn the_block_list_is_sorted_unique_and_reachable() {
        assert!(BLOCKED.len() > 2_000, "{}", BLOCKED.len());
        assert!(BLOCKED.is_sorted_by(|a, b| a < b));
        for entry in BLOCKED.iter() {
            assert!(entry.chars().count() >= PASSWORD_CHARS_MIN, "{entry}: too short to matter");
            assert_eq!(*entry, normalised(entry).to_lowercase(), "not in its compared form");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_password_or_refused(raw in "\\PC{0,140}") {
            let _ = (parse(&raw), PasswordAttempt::new(&raw.into()));
        }

        #[test]
        fn an_accepted_password_can_be_offered_again(raw in "[a-z가-힣 0-9]{12,40}") {
            if let Ok(set) = parse(&raw) {
                let attempt = PasswordAttempt::new(&raw.into());
                prop_assert_eq!(set.as_bytes(), attempt.as_bytes());
            }
        }
    }
}
