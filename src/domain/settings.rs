//! Settings: what people choose for themselves: language and clock, who may come near them, and when they are left in
//! peace.
//!
//! Invariant: nobody has to choose; [`Settings::default`] is what the store's columns default to.

use std::fmt;
use std::sync::LazyLock;

use jiff::tz::TimeZoneDatabase;
use serde::{Deserialize, Serialize, Serializer, de};
use utoipa::ToSchema;

use super::locales::Locale;
use super::stored_as;

const MINUTES_OF_DAY: u16 = 24 * 60;

/// The copy that is compiled in: every node knows the same zones, whatever its system does.
static TIME_ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);

/// Which setting is not one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    #[error("A locale is a language tag (BCP 47), such as `en` or `ko-KR`.")]
    LocaleInvalid,
    #[error("A time zone is a name of the IANA database, such as `Asia/Seoul`.")]
    TimeZoneUnknown,
    #[error("Quiet hours begin and end at different minutes, written as `22:00`.")]
    QuietHoursInvalid,
}

/// Who may do something: write to somebody, or see whether they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    Everyone,
    Friends,
    Nobody,
}
stored_as!(Audience { Everyone = "everyone", Friends = "friends", Nobody = "nobody" });

/// Who may ask somebody to be friends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Suitors {
    Everyone,
    /// Whoever shares a room or a friend with them.
    Common,
    Nobody,
}
stored_as!(Suitors { Everyone = "everyone", Common = "common", Nobody = "nobody" });

/// Whether everybody may read a profile, or friends only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ProfileVisibility {
    Public,
    Private,
}
stored_as!(ProfileVisibility { Public = "public", Private = "private" });

/// A time zone by its name in the IANA database, in that database's own spelling.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// Takes a name in any case.
    ///
    /// # Errors
    /// [`SettingsError::TimeZoneUnknown`].
    pub fn parse(raw: &str) -> Result<Self, SettingsError> {
        let zone = TIME_ZONES.get(raw.trim()).map_err(|_| SettingsError::TimeZoneUnknown)?;
        let name = zone.iana_name().ok_or(SettingsError::TimeZoneUnknown)?;
        Ok(Self(name.to_owned()))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A minute of a day, whichever day: in JSON `"22:00"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ToSchema)]
#[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "22:00")]
pub struct MinuteOfDay(u16);

impl MinuteOfDay {
    /// Takes the minutes since midnight; `None` for a day's 1,440 and more.
    #[must_use]
    pub fn new(minutes: u16) -> Option<Self> {
        (minutes < MINUTES_OF_DAY).then_some(Self(minutes))
    }

    /// Takes `HH:MM`, both digits of each.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (hours, minutes) = text.split_once(':')?;
        let number = |digits: &str| {
            let is_two = digits.len() == 2 && digits.bytes().all(|b| b.is_ascii_digit());
            is_two.then(|| digits.parse::<u16>().ok()).flatten()
        };
        let (hours, minutes) = (number(hours)?, number(minutes)?);
        (hours < 24 && minutes < 60).then(|| Self(hours * 60 + minutes))
    }

    /// The minutes since midnight.
    #[must_use]
    pub const fn minutes(self) -> u16 {
        self.0
    }
}

impl fmt::Display for MinuteOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl Serialize for MinuteOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for MinuteOfDay {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| de::Error::custom("a time of day is HH:MM"))
    }
}

/// The part of each day, in the user's own time zone, in which nothing but what is urgent reaches them. It may go over
/// midnight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct QuietHours {
    /// The first quiet minute.
    from: MinuteOfDay,
    /// The first one that is not quiet any more.
    until: MinuteOfDay,
}

impl QuietHours {
    /// # Errors
    /// [`SettingsError::QuietHoursInvalid`] where both are one minute: that could mean all day or never.
    pub fn new(from: MinuteOfDay, until: MinuteOfDay) -> Result<Self, SettingsError> {
        if from == until {
            return Err(SettingsError::QuietHoursInvalid);
        }
        Ok(Self { from, until })
    }

    #[must_use]
    pub const fn from(self) -> MinuteOfDay {
        self.from
    }

    #[must_use]
    pub const fn until(self) -> MinuteOfDay {
        self.until
    }
}

/// Everything that somebody has chosen, or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    pub locale: Locale,
    pub time_zone: TimeZoneName,
    pub profile: ProfileVisibility,
    /// Whether others find them by their names.
    pub findable: bool,
    pub who_may_message: Audience,
    pub who_may_befriend: Suitors,
    pub who_sees_presence: Audience,
    pub quiet_hours: Option<QuietHours>,
}

impl Settings {
    /// The settings that the stored words mean. One that another release wrote and this one does not know counts as the
    /// strictest there is.
    #[must_use]
    pub fn from_stored(stored: &StoredSettings) -> Self {
        let default = Self::default();
        let minute = |minutes: Option<i64>| MinuteOfDay::new(u16::try_from(minutes?).ok()?);
        let quiet_hours = minute(stored.quiet_from).zip(minute(stored.quiet_until));
        Self {
            locale: Locale::parse(&stored.locale).unwrap_or(default.locale),
            time_zone: TimeZoneName::parse(&stored.time_zone).unwrap_or(default.time_zone),
            profile: ProfileVisibility::parse(&stored.profile)
                .unwrap_or(ProfileVisibility::Private),
            findable: stored.findable,
            who_may_message: Audience::parse(&stored.who_may_message).unwrap_or(Audience::Nobody),
            who_may_befriend: Suitors::parse(&stored.who_may_befriend).unwrap_or(Suitors::Nobody),
            who_sees_presence: Audience::parse(&stored.who_sees_presence)
                .unwrap_or(Audience::Nobody),
            quiet_hours: quiet_hours.and_then(|(from, until)| QuietHours::new(from, until).ok()),
        }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            locale: Locale::default(),
            time_zone: TimeZoneName("UTC".to_owned()),
            profile: ProfileVisibility::Public,
            findable: true,
            who_may_message: Audience::Everyone,
            who_may_befriend: Suitors::Everyone,
            who_sees_presence: Audience::Everyone,
            quiet_hours: None,
        }
    }
}

/// Settings as the store keeps them: words, and minutes of the day.
#[derive(Debug, Clone)]
pub struct StoredSettings {
    pub locale: String,
    pub time_zone: String,
    pub profile: String,
    pub findable: bool,
    pub who_may_message: String,
    pub who_may_befriend: String,
    pub who_sees_presence: String,
    pub quiet_from: Option<i64>,
    pub quiet_until: Option<i64>,
}

/// What changes; `None` stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingsChange {
    pub locale: Option<Locale>,
    pub time_zone: Option<TimeZoneName>,
    pub profile: Option<ProfileVisibility>,
    pub findable: Option<bool>,
    pub who_may_message: Option<Audience>,
    pub who_may_befriend: Option<Suitors>,
    pub who_sees_presence: Option<Audience>,
    /// `Some(None)` ends the quiet.
    pub quiet_hours: Option<Option<QuietHours>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored() -> StoredSettings {
        StoredSettings {
            locale: "ko".to_owned(),
            time_zone: "Asia/Seoul".to_owned(),
            profile: "public".to_owned(),
            findable: true,
            who_may_message: "friends".to_owned(),
            who_may_befriend: "common".to_owned(),
            who_sees_presence: "everyone".to_owned(),
            quiet_from: Some(1_320),
            quiet_until: Some(420),
        }
    }

    #[test]
    fn a_time_zone_gets_the_spelling_of_the_database() {
        let parsed = |name| TimeZoneName::parse(name).map(|zone| zone.as_str().to_owned());

        assert_eq!(parsed("asia/seoul").as_deref(), Ok("Asia/Seoul"));
        assert_eq!(parsed("UTC").as_deref(), Ok("UTC"));
        assert_eq!(Settings::default().time_zone, TimeZoneName::parse("utc").unwrap());
        for name in ["", "Seoul", "Asia/Atlantis", "+09:00", "../etc/passwd", "Etc/Unknown"] {
            assert_eq!(parsed(name), Err(SettingsError::TimeZoneUnknown), "{name}");
        }
    }

    #[test]
    fn a_minute_is_written_as_it_is_read() {
        for text in ["00:00", "07:05", "22:00", "23:59"] {
            assert_eq!(MinuteOfDay::parse(text).unwrap().to_string(), text);
        }
        for text in ["24:00", "7:00", "07:60", "0700", "07:00:00", "+7:00", "", "aa:bb"] {
            assert_eq!(MinuteOfDay::parse(text), None, "{text}");
        }
        assert_eq!(MinuteOfDay::new(1_439).unwrap().to_string(), "23:59");
        assert_eq!(MinuteOfDay::new(1_440), None);
    }

    #[test]
    fn quiet_hours_may_go_over_midnight_and_are_never_a_whole_day() {
        let minute = |text| MinuteOfDay::parse(text).unwrap();

        assert!(QuietHours::new(minute("22:00"), minute("07:00")).is_ok());
        let all_day = QuietHours::new(minute("22:00"), minute("22:00"));
        assert_eq!(all_day, Err(SettingsError::QuietHoursInvalid));
    }

    #[test]
    fn stored_words_become_settings() {
        let settings = Settings::from_stored(&stored());

        assert_eq!(settings.locale.as_str(), "ko");
        assert_eq!(settings.who_may_befriend, Suitors::Common);
        let quiet = settings.quiet_hours.unwrap();
        assert_eq!((quiet.from().minutes(), quiet.until().minutes()), (1_320, 420));
    }

    #[test]
    fn a_word_that_nobody_knows_opens_nothing() {
        let stored = StoredSettings {
            profile: "friends_of_friends".to_owned(),
            who_may_message: "contacts".to_owned(),
            quiet_until: None,
            ..stored()
        };

        let settings = Settings::from_stored(&stored);

        assert_eq!(settings.profile, ProfileVisibility::Private);
        assert_eq!(settings.who_may_message, Audience::Nobody);
        assert_eq!(settings.quiet_hours, None);
    }
}
