//! Settings of notifications: who speaks, and how much at most.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use super::list;
use super::problems::Problems;
use crate::domain::media::Medium;
use crate::domain::notifications::plan::Policy;
use crate::domain::preferences::{DIGEST_MINUTES_MAX, DIGEST_MINUTES_MIN};
use crate::domain::throttles::Throttles;

const APP_NAME_CHARS_MAX: usize = 50;

/// What people are told, and how often.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationsConfig {
    pub app_name: String,
    pub digest_minutes: i64,
    pub every_message_members: i64,
    pub push_unless_seen_s: u64,
    pub mail_unless_seen_s: u64,
    pub fanouts: usize,
    #[serde(deserialize_with = "list::deserialize")]
    pub disabled_types: Vec<String>,
    pub mail_per_hour: i64,
    pub sms_per_hour: i64,
    pub push_per_hour: i64,
    pub keep_days: u64,
}

impl NotificationsConfig {
    /// How long what was told is known.
    #[must_use]
    pub const fn keep(&self) -> Duration {
        Duration::from_hours(self.keep_days.saturating_mul(24))
    }

    /// What the policy needs to know.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            every_message_members: self.every_message_members,
            throttles: self.throttles(),
            unless_seen: HashMap::from([
                (Medium::Push, Duration::from_secs(self.push_unless_seen_s)),
                (Medium::Mail, Duration::from_secs(self.mail_unless_seen_s)),
            ]),
            digest_minutes: self.digest_minutes,
        }
    }

    /// The `…_per_hour` together.
    #[must_use]
    pub const fn throttles(&self) -> Throttles {
        Throttles {
            mail_per_hour: self.mail_per_hour,
            sms_per_hour: self.sms_per_hour,
            push_per_hour: self.push_per_hour,
        }
    }

    pub(super) fn validate(&self, problems: &mut Problems) {
        let name = &self.app_name;
        let is_sound = (1..=APP_NAME_CHARS_MAX).contains(&name.chars().count())
            && name.trim() == name
            && !name.contains(char::is_control);
        if !is_sound {
            problems.add(format!(
                "`notifications.app_name` is {name:?}, but must be 1 to {APP_NAME_CHARS_MAX} characters on one line"
            ));
        }
        problems.within(
            "notifications.digest_minutes",
            self.digest_minutes,
            DIGEST_MINUTES_MIN..=DIGEST_MINUTES_MAX,
        );
        problems.within(
            "notifications.every_message_members",
            self.every_message_members,
            0..=1_000_000,
        );
        problems.within("notifications.push_unless_seen_s", self.push_unless_seen_s, 0..=86_400);
        problems.within("notifications.mail_unless_seen_s", self.mail_unless_seen_s, 0..=86_400);
        problems.within("notifications.fanouts", self.fanouts, 1..=64);
        problems.within("notifications.mail_per_hour", self.mail_per_hour, 0..=10_000);
        problems.within("notifications.sms_per_hour", self.sms_per_hour, 0..=10_000);
        problems.within("notifications.push_per_hour", self.push_per_hour, 0..=10_000);
        problems.within("notifications.keep_days", self.keep_days, 1..=3_650);
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn an_app_has_a_name_of_one_line() {
        let read = |name: &str| Config::read(None, [("MADANG__NOTIFICATIONS__APP_NAME", name)]);

        assert_eq!(read("우리 마당").unwrap().notifications.app_name, "우리 마당");
        for name in ["", " a", "a\nb", &"a".repeat(51)] {
            assert!(read(name).is_err(), "{name:?}");
        }
    }
}
