//! Quiet hours: when a person is left in peace, by the clock on their wall.
//!
//! Clocks are put forward and back, so quiet hours are intervals of real time: from the instant at which the wall clock
//! shows the beginning to the one at which it shows the end. Where it shows a time twice, the second is meant; where it
//! leaves a time out, the instant at which it does.

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::time::Timestamp;

pub const MINUTES_OF_DAY: u16 = 24 * 60;
/// Quiet hours that run into each other are one: a day that was left out joins two.
const JOINED_MAX: usize = 4;

/// Every day from one minute to another, in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuietHours {
    from: Time,
    until: Time,
    zone: TimeZone,
}

/// Why quiet hours are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum QuietHoursError {
    #[error("quiet hours begin and end at two minutes of the day, 0 to 1439")]
    InvalidMinutes,
    #[error("there is no such time zone")]
    UnknownZone,
}

impl QuietHours {
    /// Takes minutes of the day, of which the second may be the earlier one, and the IANA name of a zone.
    ///
    /// # Errors
    /// [`QuietHoursError`]; also for hours that begin where they end.
    pub fn new(from: u16, until: u16, zone: &str) -> Result<Self, QuietHoursError> {
        if from == until {
            return Err(QuietHoursError::InvalidMinutes);
        }
        let zone = TimeZone::get(zone).map_err(|_| QuietHoursError::UnknownZone)?;
        let (from, until) = (time_of(from)?, time_of(until)?);
        Ok(Self { from, until, zone })
    }

    /// When the quiet hours end that `now` lies in; `None` outside of them.
    #[must_use]
    pub fn ends_at(&self, now: Timestamp) -> Option<Timestamp> {
        let mut end = self.end_of_those_around(jiff_of(now)?)?;
        for _ in 1..JOINED_MAX {
            let Some(later) = self.end_of_those_around(end) else { break };
            end = later;
        }
        Some(Timestamp::from_millis(end.as_millisecond()))
    }

    fn end_of_those_around(&self, now: jiff::Timestamp) -> Option<jiff::Timestamp> {
        let today = now.to_zoned(self.zone.clone()).date();
        // Two days back: a day may have been left out.
        let days = [-2, -1, 0, 1].map(|days| jiff::Span::new().days(days));
        let days = days.into_iter().filter_map(|span| today.checked_add(span).ok());
        days.filter_map(|day| self.interval(day))
            .filter(|(start, end)| (start..end).contains(&&now))
            .map(|(_, end)| end)
            .max()
    }

    /// The quiet hours that begin on `day`.
    fn interval(&self, day: Date) -> Option<(jiff::Timestamp, jiff::Timestamp)> {
        let last_day = if self.from < self.until { day } else { day.tomorrow().ok()? };
        let end = self.instant(last_day, self.until)?;
        let start = self.instant(day, self.from)?;
        Some((start, end))
    }

    /// When the wall clock shows `time` on `day`.
    fn instant(&self, day: Date, time: Time) -> Option<jiff::Timestamp> {
        let shown = self.zone.to_ambiguous_timestamp(day.to_datetime(time));
        match shown.offset() {
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => {
                shown.later().ok()
            }
            // The clock was put forward somewhere between the two readings of a time that it does not show.
            AmbiguousOffset::Gap { .. } => {
                let before = shown.earlier().ok()?;
                self.zone.following(before).next().map(|transition| transition.timestamp())
            }
        }
    }
}

fn time_of(minutes: u16) -> Result<Time, QuietHoursError> {
    if minutes >= MINUTES_OF_DAY {
        return Err(QuietHoursError::InvalidMinutes);
    }
    let part = |value: u16| i8::try_from(value).map_err(|_| QuietHoursError::InvalidMinutes);
    Time::new(part(minutes / 60)?, part(minutes % 60)?, 0, 0)
        .map_err(|_| QuietHoursError::InvalidMinutes)
}

fn jiff_of(time: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(time.millis()).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR_MS: i64 = 3_600_000;
    const ZONES: [&str; 9] = [
        "UTC",
        "Asia/Seoul",
        "Asia/Kathmandu",
        "America/New_York",
        "Europe/London",
        "Australia/Lord_Howe",
        "America/Santiago",
        "Africa/Casablanca",
        "Pacific/Apia",
    ];

    fn at(text: &str) -> Timestamp {
        Timestamp::from_millis(text.parse::<jiff::Timestamp>().unwrap().as_millisecond())
    }

    fn end(from: u16, until: u16, zone: &str, now: &str) -> Option<String> {
        let hours = QuietHours::new(from, until, zone).unwrap();
        hours.ends_at(at(now)).map(|end| end.to_string())
    }

    #[test]
    fn a_night_goes_over_midnight() {
        // 22:00 to 07:00 in Seoul, which is nine hours ahead.
        let end = |now| end(22 * 60, 7 * 60, "Asia/Seoul", now);

        assert_eq!(end("2026-11-21T12:59:59.999Z"), None);
        assert_eq!(end("2026-11-21T13:00:00Z").as_deref(), Some("2026-11-21T22:00:00.000Z"));
        assert_eq!(end("2026-11-21T21:59:59.999Z").as_deref(), Some("2026-11-21T22:00:00.000Z"));
        assert_eq!(end("2026-11-21T22:00:00Z"), None);
    }

    #[test]
    fn a_noon_does_not() {
        let end = |now| end(12 * 60, 13 * 60 + 30, "UTC", now);

        assert_eq!(end("2026-11-21T11:59:59Z"), None);
        assert_eq!(end("2026-11-21T12:00:00Z").as_deref(), Some("2026-11-21T13:30:00.000Z"));
        assert_eq!(end("2026-11-21T13:30:00Z"), None);
    }

    #[test]
    fn an_end_that_the_clock_leaves_out_is_when_it_does() {
        // On 8 March 2026 New York goes from 02:00 to 03:00, at 07:00 UTC.
        let end = |now| end(23 * 60, 2 * 60 + 30, "America/New_York", now);

        assert_eq!(end("2026-03-08T06:59:00Z").as_deref(), Some("2026-03-08T07:00:00.000Z"));
        assert_eq!(end("2026-03-08T07:00:00Z"), None);
    }

    #[test]
    fn an_end_that_the_clock_shows_twice_is_the_second() {
        // On 1 November 2026 New York goes from 02:00 back to 01:00, at 06:00 UTC.
        let end = |now| end(23 * 60, 90, "America/New_York", now);

        for now in ["2026-11-01T05:20:00Z", "2026-11-01T05:45:00Z", "2026-11-01T06:10:00Z"] {
            assert_eq!(end(now).as_deref(), Some("2026-11-01T06:30:00.000Z"), "{now}");
        }
        assert_eq!(end("2026-11-01T06:30:00Z"), None);
    }

    #[test]
    fn a_day_that_was_left_out_joins_two_nights() {
        // Samoa had no 30 December 2011: the 29th ended at 10:00 UTC on the 30th.
        let end = |now| end(22 * 60, 7 * 60, "Pacific/Apia", now);

        assert_eq!(end("2011-12-30T09:00:00Z").as_deref(), Some("2011-12-30T17:00:00.000Z"));
        assert_eq!(end("2011-12-30T10:00:00Z").as_deref(), Some("2011-12-30T17:00:00.000Z"));
    }

    #[test]
    fn what_is_no_time_and_no_place_is_refused() {
        assert_eq!(QuietHours::new(0, 1_440, "UTC"), Err(QuietHoursError::InvalidMinutes));
        assert_eq!(QuietHours::new(60, 60, "UTC"), Err(QuietHoursError::InvalidMinutes));
        assert_eq!(QuietHours::new(0, 60, "Mars/Olympus"), Err(QuietHoursError::UnknownZone));
        assert!(QuietHours::new(0, 60, "asia/seoul").is_ok());
    }

    #[test]
    fn at_the_ends_of_time_nobody_is_disturbed_by_a_panic() {
        let hours = QuietHours::new(0, 60, "Asia/Seoul").unwrap();
        for millis in [i64::MIN, i64::MAX, -377_705_023_201_000, 253_402_207_200_999] {
            let _ = hours.ends_at(Timestamp::from_millis(millis));
        }
    }

    proptest! {
        #[test]
        fn an_end_comes_soon_and_is_an_end(
            // An hour aside at least: two minutes that the clock leaves out together have nothing between them.
            from in 0_u16..1_440,
            length in 60_u16..=1_380,
            zone in prop::sample::select(ZONES.to_vec()),
            now in 1_577_836_800_000_i64..2_051_222_400_000,
        ) {
            let hours = QuietHours::new(from, (from + length) % 1_440, zone).unwrap();
            let now = Timestamp::from_millis(now);
            if let Some(end) = hours.ends_at(now) {
                prop_assert!(end > now);
                prop_assert!(end.millis() - now.millis() < 25 * HOUR_MS);
                prop_assert_eq!(hours.ends_at(end), None);
                // Everybody within one and the same night is told the same end.
                let between = Timestamp::from_millis(now.millis().midpoint(end.millis()));
                prop_assert_eq!(hours.ends_at(between), Some(end));
            }
        }

        /// On an ordinary day the wall clock says it all.
        #[test]
        fn where_clocks_are_left_alone_the_wall_clock_decides(
            from in 0_u16..1_440,
            length in 1_u16..1_440,
            minute in 0_i64..1_000_000,
        ) {
            let until = (from + length) % 1_440;
            let hours = QuietHours::new(from, until, "UTC").unwrap();
            let of_day = u16::try_from(minute % 1_440).unwrap();
            let since = (of_day + 1_440 - from) % 1_440;
            let expected = (since < length).then(|| minute + i64::from(length - since));
            let end = hours.ends_at(Timestamp::from_millis(minute * 60_000));
            prop_assert_eq!(end.map(|end| end.millis() / 60_000), expected);
        }
    }
}
