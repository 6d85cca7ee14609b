//! Accounts: who a person is to everybody else (handle, display name), to us (e-mail), and what they may do (roles).
//!
//! Invariant: these types are made only by parsing, so a value that exists is a value that is allowed. Names that
//! are looked up have a `key`: NFKC, lower case, the form in which two spellings of one name are equal.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use unicode_normalization::UnicodeNormalization;
use utoipa::ToSchema;

use super::passwords::PasswordError;

pub const HANDLE_CHARS_MIN: usize = 2;
pub const HANDLE_CHARS_MAX: usize = 32;
pub const EMAIL_BYTES_MAX: usize = 254;
pub const DISPLAY_NAME_CHARS_MAX: usize = 50;
pub const BIO_CHARS_MAX: usize = 500;
pub const AVATAR_BYTES_MAX: usize = 512;

const EMAIL_LOCAL_BYTES_MAX: usize = 64;
const DOMAIN_LABEL_BYTES_MAX: usize = 63;

/// Handles nobody can register for themselves: they would speak for the house or read as a command.
const RESERVED_HANDLES: [&str; 20] = [
    "abuse",
    "admin",
    "administrator",
    "all",
    "anonymous",
    "everyone",
    "here",
    "madang",
    "me",
    "moderator",
    "null",
    "postmaster",
    "root",
    "security",
    "self",
    "staff",
    "support",
    "system",
    "undefined",
    "webmaster",
];

/// Everything an account operation can refuse, without a word about HTTP.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccountError {
    #[error(
        "A handle has {HANDLE_CHARS_MIN} to {HANDLE_CHARS_MAX} Latin letters, Hangul syllables, digits, `_`, `.` or `-`, \
         and begins and ends with a letter or digit."
    )]
    HandleInvalid,
    #[error("This handle is reserved.")]
    HandleReserved,
    #[error("This is not an e-mail address.")]
    EmailInvalid,
    #[error("A display name has 1 to {DISPLAY_NAME_CHARS_MAX} visible characters on one line.")]
    DisplayNameInvalid,
    #[error("A biography has at most {BIO_CHARS_MAX} characters.")]
    BioInvalid,
    #[error(
        "An avatar is an https address or an absolute path of at most {AVATAR_BYTES_MAX} bytes."
    )]
    AvatarInvalid,
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// Of whoever would leave it behind.
    #[error("There is money of yours here, on its way, or owed.")]
    WalletNotEmpty,
    /// Of an administrator.
    #[error("Nobody decides about their own account.")]
    OwnDecision,
    /// Any more, whatever their token says.
    #[error("You may not do this.")]
    NotAdministrator,
    /// Deliberately does not say which of the two is taken.
    #[error("An account with this handle or e-mail address exists.")]
    AccountExists,
    /// The same for an unknown account, a wrong password and a deleted account.
    #[error("The identifier or the password is wrong.")]
    InvalidCredentials,
    /// Told only to somebody who is logged in and repeats their password.
    #[error("The password is wrong.")]
    WrongPassword,
    /// Told only after the right password.
    #[error("This account is disabled.")]
    AccountDisabled,
    #[error("Too many failed attempts.")]
    LoginBackOff { retry_after: Duration },
    /// No access token, or one that is malformed, expired, revoked, or signed for somebody else.
    #[error("A valid access token is needed.")]
    Unauthenticated,
    #[error("The refresh token is unknown, used, expired or revoked.")]
    InvalidRefreshToken,
    #[error("The token is unknown, used or expired.")]
    InvalidOneTimeToken,
    #[error("There is no such session.")]
    SessionNotFound,
    #[error("There is no such user.")]
    UserNotFound,
    /// Too many passwords are being checked; nothing was done.
    #[error("The server is too busy.")]
    HasherBusy,
    /// Hashing or signing failed for a reason that is ours.
    #[error("The server could not finish this.")]
    Crypto,
}

/// What others call a person: unique, ASCII letters or Hangul.
///
/// Two scripts without letters that look alike keep one name from posing as another (UTS 39).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Handle {
    text: String,
    key: String,
}

impl Handle {
    /// Takes a handle as typed; an `@` in front is dropped.
    ///
    /// # Errors
    /// [`AccountError::HandleInvalid`] for a wrong length or a character outside the alphabet.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let text = normalised(raw, HANDLE_CHARS_MAX * 8).ok_or(AccountError::HandleInvalid)?;
        let text = text.strip_prefix('@').map_or(text.clone(), str::to_owned);
        let chars = text.chars().count();
        let is_sound = (HANDLE_CHARS_MIN..=HANDLE_CHARS_MAX).contains(&chars)
            && text.chars().all(|c| is_handle_letter(c) || matches!(c, '_' | '.' | '-'))
            && text.chars().next().is_some_and(is_handle_letter)
            && text.chars().next_back().is_some_and(is_handle_letter);
        if !is_sound {
            return Err(AccountError::HandleInvalid);
        }

        Ok(Self { key: key_of(&text), text })
    }

    /// As the person writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As it is compared and looked up.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Whether nobody may register it for themselves.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        RESERVED_HANDLES.binary_search(&self.key.as_str()).is_ok()
    }
}

fn is_handle_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || ('\u{AC00}'..='\u{D7A3}').contains(&c)
}

/// An address that mail can be sent to; whether anybody reads it is proven by a token.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct EmailAddress {
    text: String,
    key: String,
}

impl EmailAddress {
    /// Takes an address without quotes or comments; letters of any script may stand on both sides (RFC 6531).
    ///
    /// # Errors
    /// [`AccountError::EmailInvalid`] for anything else.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let text = normalised(raw, EMAIL_BYTES_MAX).ok_or(AccountError::EmailInvalid)?;
        let (local, domain) = text.rsplit_once('@').ok_or(AccountError::EmailInvalid)?;
        if text.len() > EMAIL_BYTES_MAX || !is_local_part(local) || !is_domain(domain) {
            return Err(AccountError::EmailInvalid);
        }

        Ok(Self { key: key_of(&text), text })
    }

    /// As the person writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// As it is compared and looked up.
    #[must_use]
    pub fn key(&self) -> &str {
        &self.key
    }

    /// What stands before the `@`, in its compared form.
    #[must_use]
    pub fn local_key(&self) -> &str {
        self.key.rsplit_once('@').map_or("", |(local, _)| local)
    }
}

// Addresses stay out of logs.
impl fmt::Debug for EmailAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("EmailAddress(…)")
    }
}

fn is_local_part(local: &str) -> bool {
    let is_letter = |c: char| c.is_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    local.len() <= EMAIL_LOCAL_BYTES_MAX
        && local.chars().all(is_letter)
        && local.split('.').all(|atom| !atom.is_empty())
}

fn is_domain(domain: &str) -> bool {
    let is_label = |label: &str| {
        (1..=DOMAIN_LABEL_BYTES_MAX).contains(&label.len())
            && label.chars().all(|c| c.is_alphanumeric() || c == '-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    domain.contains('.') && domain.split('.').all(is_label)
}

/// What a person typed to say who they are: a handle, or an e-mail address if it has an `@` inside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identifier {
    Handle(Handle),
    Email(EmailAddress),
}

impl Identifier {
    /// # Errors
    /// [`AccountError::InvalidCredentials`]: what cannot be an identifier is answered like an unknown one.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let parsed = if raw.trim().trim_start_matches('@').contains(['@', '\u{FF20}', '\u{FE6B}']) {
            EmailAddress::parse(raw).map(Self::Email)
        } else {
            Handle::parse(raw).map(Self::Handle)
        };
        parsed.map_err(|_| AccountError::InvalidCredentials)
    }

    /// As it is looked up.
    #[must_use]
    pub fn key(&self) -> &str {
        match self {
            Self::Handle(handle) => handle.key(),
            Self::Email(email) => email.key(),
        }
    }
}

/// The name shown beside messages: free text on one line, without characters that hide or turn text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DisplayName(String);

impl DisplayName {
    /// # Errors
    /// [`AccountError::DisplayNameInvalid`] when nothing visible is left, or too much.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let text: String = bounded(raw, DISPLAY_NAME_CHARS_MAX * 16)
            .ok_or(AccountError::DisplayNameInvalid)?
            .nfc()
            .collect();
        let is_sound = text.chars().count() <= DISPLAY_NAME_CHARS_MAX
            && text.chars().any(char::is_alphanumeric)
            && !text.chars().any(|c| c.is_control() || is_deceptive(c));
        if !is_sound {
            return Err(AccountError::DisplayNameInvalid);
        }

        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a person says about themselves; may have several lines, may be empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bio(String);

impl Bio {
    /// # Errors
    /// [`AccountError::BioInvalid`] when it is too long or has control characters other than line breaks and tabs.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let text: String =
            bounded(raw, BIO_CHARS_MAX * 16).ok_or(AccountError::BioInvalid)?.nfc().collect();
        let is_sound = text.chars().count() <= BIO_CHARS_MAX
            && !text
                .chars()
                .any(|c| (c.is_control() && !matches!(c, '\n' | '\t')) || is_deceptive(c));
        if !is_sound {
            return Err(AccountError::BioInvalid);
        }

        Ok(Self(text))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Where a picture lies. Only `https` and own paths, so that a page that shows it runs nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Avatar(String);

impl Avatar {
    /// # Errors
    /// [`AccountError::AvatarInvalid`] for another scheme, white space, or too long a text.
    pub fn parse(raw: &str) -> Result<Self, AccountError> {
        let has_target = raw.strip_prefix("https://").is_some_and(|rest| !rest.is_empty())
            || (raw.starts_with('/') && !raw.starts_with("//"));
        let is_plain =
            !raw.chars().any(|c| c.is_control() || c.is_whitespace() || "\"'<>\\`".contains(c));
        if raw.len() > AVATAR_BYTES_MAX || !has_target || !is_plain {
            return Err(AccountError::AvatarInvalid);
        }

        Ok(Self(raw.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What an account may do beyond its own affairs.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Role {
    User,
    Worker,
    Employer,
    Moderator,
    Admin,
}

impl Role {
    const ALL: [Self; 5] = [Self::User, Self::Worker, Self::Employer, Self::Moderator, Self::Admin];

    /// The stable name that tokens and the store carry.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::User => "USER",
            Self::Worker => "WORKER",
            Self::Employer => "EMPLOYER",
            Self::Moderator => "MODERATOR",
            Self::Admin => "ADMIN",
        }
    }
}

/// The roles of one account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Roles(BTreeSet<Role>);

impl Roles {
    /// Reads the stored form. A name this release does not know grants nothing.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Role::ALL
            .into_iter()
            .filter(|role| text.split(' ').any(|name| name == role.name()))
            .collect()
    }

    /// The stored form: names with a space between them.
    #[must_use]
    pub fn to_text(&self) -> String {
        let names: Vec<&str> = self.0.iter().map(|role| role.name()).collect();
        names.join(" ")
    }

    #[must_use]
    pub fn contains(&self, role: Role) -> bool {
        self.0.contains(&role)
    }

    pub fn iter(&self) -> impl Iterator<Item = Role> {
        self.0.iter().copied()
    }
}

impl FromIterator<Role> for Roles {
    fn from_iter<T: IntoIterator<Item = Role>>(roles: T) -> Self {
        Self(roles.into_iter().collect())
    }
}

/// Trims; `None` when there is more than normalising should be asked to work on.
fn bounded(raw: &str, bytes_max: usize) -> Option<&str> {
    let raw = raw.trim();
    (raw.len() <= bytes_max).then_some(raw)
}

fn normalised(raw: &str, bytes_max: usize) -> Option<String> {
    Some(bounded(raw, bytes_max)?.nfkc().collect())
}

/// NFKC and lower case. Lowering can leave NFKC, hence twice.
pub(super) fn key_of(text: &str) -> String {
    text.nfkc().collect::<String>().to_lowercase().nfkc().collect()
}

/// Line and paragraph separators, and the marks that turn or isolate the direction of the text around them.
fn is_deceptive(c: char) -> bool {
    matches!(c, '\u{2028}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn spellings_of_one_handle_share_a_key() {
        let plain = Handle::parse("Jisoo.K").unwrap();
        let wide = Handle::parse("  ＪＩＳＯＯ．ｋ ").unwrap();

        assert_eq!(plain.key(), "jisoo.k");
        assert_eq!(wide.key(), plain.key());
        assert_eq!(plain.as_str(), "Jisoo.K");
    }

    #[test]
    fn hangul_handles_are_welcome_in_either_composition() {
        let composed = Handle::parse("지수_7").unwrap();
        let decomposed = Handle::parse(&"지수_7".nfd().collect::<String>()).unwrap();

        assert_eq!(composed.key(), decomposed.key());
    }

    #[test]
    fn handles_that_could_pose_as_others_are_refused() {
        for raw in [
            "",
            "a",
            "jisоo",
            "ji soo",
            ".jisoo",
            "jisoo-",
            "@",
            "a@b",
            "ji\u{200D}soo",
            &"a".repeat(33),
        ] {
            assert_eq!(Handle::parse(raw), Err(AccountError::HandleInvalid), "{raw:?}");
        }
    }

    #[test]
    fn the_reserved_handles_are_sorted_and_found_in_any_case() {
        assert!(RESERVED_HANDLES.is_sorted());
        assert!(Handle::parse("Admin").unwrap().is_reserved());
        assert!(!Handle::parse("admiral").unwrap().is_reserved());
    }

    #[test]
    fn addresses_are_compared_without_case() {
        let email = EmailAddress::parse("Ji.Soo+chat@Example.COM").unwrap();

        assert_eq!(email.key(), "ji.soo+chat@example.com");
        assert_eq!(email.local_key(), "ji.soo+chat");
        assert_eq!(format!("{email:?}"), "EmailAddress(…)");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for raw in [
            "",
            "jisoo",
            "@example.com",
            "jisoo@",
            "jisoo@localhost",
            "ji soo@example.com",
            "a@b@example.com",
            ".a@example.com",
            "a..b@example.com",
            "a@-example.com",
            "a@example..com",
            "a\n@example.com",
            "a@exa\0mple.com",
            &format!("{}@example.com", "a".repeat(65)),
            &format!("a@{}.com", "b".repeat(64)),
        ] {
            assert_eq!(EmailAddress::parse(raw), Err(AccountError::EmailInvalid), "{raw:?}");
        }
    }

    #[test]
    fn an_identifier_with_an_at_inside_is_an_address() {
        assert!(matches!(Identifier::parse("@jisoo"), Ok(Identifier::Handle(_))));
        assert!(matches!(Identifier::parse("jisoo@example.com"), Ok(Identifier::Email(_))));
        assert_eq!(Identifier::parse("???"), Err(AccountError::InvalidCredentials));
    }

    #[test]
    fn display_names_are_visible_and_on_one_line() {
        assert_eq!(DisplayName::parse(" 지수 🎉 ").unwrap().as_str(), "지수 🎉");
        for raw in ["", "  ", "a\nb", "a\u{202E}b", "\u{200B}", "a\0", &"가".repeat(51)] {
            assert_eq!(DisplayName::parse(raw), Err(AccountError::DisplayNameInvalid), "{raw:?}");
        }
    }

    #[test]
    fn an_avatar_runs_nothing() {
        assert!(Avatar::parse("https://cdn.example.com/a.png").is_ok());
        assert!(Avatar::parse("/v1/files/7").is_ok());
        for raw in [
            "",
            "javascript:alert(1)",
            "http://x",
            "//evil.example",
            "https://",
            "/a b",
            "data:image/png,x",
        ] {
            assert_eq!(Avatar::parse(raw), Err(AccountError::AvatarInvalid), "{raw:?}");
        }
    }

    #[test]
    fn an_unknown_role_grants_nothing() {
        let roles = Roles::from_text("ADMIN FUTURE USER");

        assert_eq!(roles.to_text(), "USER ADMIN");
        assert!(roles.contains(Role::Admin) && !roles.contains(Role::Moderator));
        assert_eq!(serde_json::to_string(&roles).unwrap(), r#"["USER","ADMIN"]"#);
    }

    proptest! {
        #[test]
        fn any_text_parses_or_is_refused(raw in "\\PC{0,80}") {
            let _ = (Handle::parse(&raw), EmailAddress::parse(&raw), DisplayName::parse(&raw), Identifier::parse(&raw));
        }

        #[test]
        fn a_key_is_its_own_key(raw in "[a-zA-Z가-힣]{2,30}") {
            let handle = Handle::parse(&raw).unwrap();
            let again = Handle::parse(handle.key()).unwrap();
            prop_assert_eq!(handle.key(), again.key());
        }
    }
}
