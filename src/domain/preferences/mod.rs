//! Preferences: what a user has chosen to be told, and how.
//!
//! A choice is made for one kind and medium, or for every kind without a choice of its own. Invariant: what is mandatory
//! goes out whatever is stored, so nothing that is stored has to be looked at with suspicion.

pub mod kinds;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

pub use self::kinds::{KindFacts, Offer, facts_of};
use super::media::Medium;
use super::stored_as;
use super::templates::NotificationKind;
use super::time::Timestamp;

/// The longest and the shortest time that a digest may gather.
pub const DIGEST_MINUTES_MIN: i64 = 5;
pub const DIGEST_MINUTES_MAX: i64 = 7 * 24 * 60;
/// Choices in one request.
pub const CHANGES_MAX: usize = 400;
/// How every kind is called that has no choice of its own.
pub const EVERY_KIND: &str = "*";

/// What is to become of a notification on one medium.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Choice {
    /// It goes out.
    On,
    /// It does not.
    Off,
    /// It goes out together with others, after a while.
    Digest,
}
stored_as!(Choice { On = "on", Off = "off", Digest = "digest" });

/// Which kinds a choice is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Every kind that has no choice of its own.
    Every,
    Kind(NotificationKind),
}

impl Scope {
    /// Reads `*` or the name of a kind.
    ///
    /// # Errors
    /// [`PreferenceError::UnknownKind`].
    pub fn parse(text: &str) -> Result<Self, PreferenceError> {
        if text == EVERY_KIND {
            return Ok(Self::Every);
        }
        NotificationKind::parse(text).map(Self::Kind).map_err(|_| PreferenceError::UnknownKind)
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Every => EVERY_KIND,
            Self::Kind(kind) => kind.as_str(),
        }
    }
}

/// Why a choice is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PreferenceError {
    #[error("there is no such kind of notification")]
    UnknownKind,
    #[error("a notification of this kind always goes out this way")]
    Mandatory,
    #[error("a notification of this kind never goes out this way")]
    NotOffered,
    #[error("the inbox shows notifications one by one")]
    NoDigestInInbox,
    #[error("a digest gathers for {DIGEST_MINUTES_MIN} to {DIGEST_MINUTES_MAX} minutes")]
    InvalidDigestMinutes,
    #[error("at most {CHANGES_MAX} choices at once, each kind and medium once")]
    TooManyChanges,
}

/// One choice; `None` goes back to the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    pub scope: Scope,
    pub medium: Medium,
    pub choice: Option<Choice>,
}

impl Change {
    /// Whether a user may choose this.
    ///
    /// # Errors
    /// The [`PreferenceError`] that the user is told.
    pub fn check(&self) -> Result<(), PreferenceError> {
        if self.medium == Medium::Webhook {
            return Err(PreferenceError::NotOffered);
        }
        if self.medium == Medium::Inbox && self.choice == Some(Choice::Digest) {
            return Err(PreferenceError::NoDigestInInbox);
        }
        let Scope::Kind(kind) = &self.scope else { return Ok(()) };
        match facts_of(kind.as_str()).offer(self.medium) {
            Offer::Choosable(_) => Ok(()),
            Offer::Always if matches!(self.choice, None | Some(Choice::On)) => Ok(()),
            Offer::Always => Err(PreferenceError::Mandatory),
            Offer::Never if matches!(self.choice, None | Some(Choice::Off)) => Ok(()),
            Offer::Never => Err(PreferenceError::NotOffered),
        }
    }
}

/// Checks the changes of one request, and that none contradicts another.
///
/// # Errors
/// The place of the first that is refused, and why.
pub fn check_changes(changes: &[Change]) -> Result<(), (usize, PreferenceError)> {
    let mut seen = BTreeMap::new();
    for (place, change) in changes.iter().enumerate() {
        change.check().map_err(|error| (place, error))?;
        let is_repeated = seen.insert((&change.scope, change.medium), ()).is_some();
        if is_repeated || place >= CHANGES_MAX {
            return Err((place, PreferenceError::TooManyChanges));
        }
    }
    Ok(())
}

/// # Errors
/// [`PreferenceError::InvalidDigestMinutes`].
pub fn check_digest_minutes(minutes: i64) -> Result<(), PreferenceError> {
    if (DIGEST_MINUTES_MIN..=DIGEST_MINUTES_MAX).contains(&minutes) {
        Ok(())
    } else {
        Err(PreferenceError::InvalidDigestMinutes)
    }
}

/// The choices of one user, as far as somebody has asked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preferences(BTreeMap<(String, Medium), Choice>);

impl Preferences {
    /// What was chosen for a kind, or for [`EVERY_KIND`], itself.
    #[must_use]
    pub fn find(&self, kind: &str, medium: Medium) -> Option<Choice> {
        self.0.get(&(kind.to_owned(), medium)).copied()
    }

    /// Whether the user has switched it off, as far as that is theirs to choose.
    #[must_use]
    pub fn is_off(&self, kind: &str, medium: Medium) -> bool {
        let chosen = self.find(kind, medium).or_else(|| self.find(EVERY_KIND, medium));
        matches!(facts_of(kind).offer(medium), Offer::Choosable(_)) && chosen == Some(Choice::Off)
    }

    /// What becomes of a notification of `kind` on `medium`: what is mandatory first, then the choice for the kind, the
    /// choice for every kind, the default.
    #[must_use]
    pub fn resolve(&self, kind: &str, medium: Medium) -> Choice {
        match facts_of(kind).offer(medium) {
            Offer::Always => Choice::On,
            Offer::Never => Choice::Off,
            Offer::Choosable(default) => {
                self.find(kind, medium).or_else(|| self.find(EVERY_KIND, medium)).unwrap_or(default)
            }
        }
    }
}

impl FromIterator<(String, Medium, Choice)> for Preferences {
    fn from_iter<I: IntoIterator<Item = (String, Medium, Choice)>>(choices: I) -> Self {
        let choices = choices.into_iter();
        Self(choices.map(|(kind, medium, choice)| ((kind, medium), choice)).collect())
    }
}

/// What a member wants to be told of in a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RoomLevel {
    /// Every message.
    #[default]
    All,
    /// Only messages that mention them.
    Mentions,
    /// Nothing.
    None,
}
stored_as!(RoomLevel { All = "all", Mentions = "mentions", None = "none" });

/// What a member has chosen for one room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RoomNotifications {
    pub level: RoomLevel,
    /// Until then the member is told nothing at all.
    pub muted_until: Option<Timestamp>,
}

impl RoomNotifications {
    /// Whether the member is told of a message in the room.
    #[must_use]
    pub fn allows(&self, is_mention: bool, now: Timestamp) -> bool {
        if self.muted_until.is_some_and(|until| until > now) {
            return false;
        }
        match self.level {
            RoomLevel::All => true,
            RoomLevel::Mentions => is_mention,
            RoomLevel::None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn change(kind: &str, medium: Medium, choice: Option<Choice>) -> Change {
        Change { scope: Scope::parse(kind).unwrap(), medium, choice }
    }

    fn of<const N: usize>(choices: [(&str, Medium, Choice); N]) -> Preferences {
        choices
            .into_iter()
            .map(|(kind, medium, choice)| (kind.to_owned(), medium, choice))
            .collect()
    }

    #[test]
    fn the_nearest_choice_wins() {
        let kind = "message_received";
        assert_eq!(of([]).resolve(kind, Medium::Mail), Choice::Digest);
        let every = of([(EVERY_KIND, Medium::Mail, Choice::Off)]);
        assert_eq!(every.resolve(kind, Medium::Mail), Choice::Off);
        assert_eq!(every.resolve(kind, Medium::Push), Choice::On);
        let both = of([(EVERY_KIND, Medium::Mail, Choice::Off), (kind, Medium::Mail, Choice::On)]);
        assert_eq!(both.resolve(kind, Medium::Mail), Choice::On);
        assert_eq!(both.resolve("welcome", Medium::Mail), Choice::Off);
    }

    #[test]
    fn what_is_mandatory_goes_out_whatever_is_stored() {
        let preferences = of([
            (EVERY_KIND, Medium::Mail, Choice::Off),
            ("reset_password", Medium::Mail, Choice::Off),
            ("reset_password", Medium::Push, Choice::On),
        ]);

        assert_eq!(preferences.resolve("reset_password", Medium::Mail), Choice::On);
        assert_eq!(preferences.resolve("reset_password", Medium::Push), Choice::Off);
    }

    #[test]
    fn a_choice_that_would_do_nothing_is_refused() {
        let check = |kind, medium, choice| change(kind, medium, choice).check();

        assert_eq!(
            check("password_changed", Medium::Mail, Some(Choice::Off)),
            Err(PreferenceError::Mandatory)
        );
        assert_eq!(
            check("verify_phone", Medium::Mail, Some(Choice::On)),
            Err(PreferenceError::NotOffered)
        );
        assert_eq!(
            check("message_received", Medium::Inbox, Some(Choice::Digest)),
            Err(PreferenceError::NoDigestInInbox)
        );
        assert_eq!(
            check("*", Medium::Inbox, Some(Choice::Digest)),
            Err(PreferenceError::NoDigestInInbox)
        );
        assert_eq!(check("*", Medium::Webhook, Some(Choice::On)), Err(PreferenceError::NotOffered));
        for choice in [None, Some(Choice::On)] {
            assert_eq!(check("password_changed", Medium::Mail, choice), Ok(()));
        }
        assert_eq!(check("*", Medium::Mail, Some(Choice::Off)), Ok(()));
        assert_eq!(Scope::parse("No Kind"), Err(PreferenceError::UnknownKind));
    }

    #[test]
    fn one_request_says_one_thing_of_each() {
        let off = change("welcome", Medium::Mail, Some(Choice::Off));
        let twice = [off.clone(), change("welcome", Medium::Inbox, None), off];

        assert_eq!(check_changes(&twice[..2]), Ok(()));
        assert_eq!(check_changes(&twice), Err((2, PreferenceError::TooManyChanges)));
    }

    #[test]
    fn a_muted_room_is_silent_and_a_quiet_one_lets_mentions_through() {
        let now = Timestamp::from_millis(1_000);
        let room = |level, muted_until: Option<i64>| RoomNotifications {
            level,
            muted_until: muted_until.map(Timestamp::from_millis),
        };

        assert!(room(RoomLevel::All, None).allows(false, now));
        assert!(room(RoomLevel::Mentions, None).allows(true, now));
        assert!(!room(RoomLevel::Mentions, None).allows(false, now));
        assert!(!room(RoomLevel::None, None).allows(true, now));
        assert!(!room(RoomLevel::All, Some(1_001)).allows(true, now));
        assert!(room(RoomLevel::All, Some(1_000)).allows(false, now));
    }

    proptest! {
        /// Whatever a user may store, resolving gives what they chose; whatever else is stored changes nothing mandatory.
        #[test]
        fn what_may_be_chosen_is_what_happens(
            kind in prop::sample::select(kinds::KINDS.map(|(kind, _)| kind).to_vec()),
            medium in prop::sample::select(Medium::OF_USERS.to_vec()),
            choice in prop::sample::select(vec![Choice::On, Choice::Off, Choice::Digest]),
        ) {
            let preferences = of([(kind, medium, choice)]);
            let resolved = preferences.resolve(kind, medium);
            if change(kind, medium, Some(choice)).check().is_ok() {
                prop_assert_eq!(resolved, choice);
            } else if facts_of(kind).offer(medium) == Offer::Always {
                prop_assert_eq!(resolved, Choice::On);
            }
        }
    }
}
