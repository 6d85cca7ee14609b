//! Business days in Seoul: when banks move money, and which day comes so many of them later.
//!
//! The days on which banks are closed stand in `holidays.txt`, year by year. Invariant: nobody guesses: a day of a year
//! that is not in the file is refused, and so is every count that runs into it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::civil::{Date, Weekday};
use jiff::tz::{Offset, TimeZone};

use super::time::Timestamp;

const HOLIDAYS: &str = include_str!("holidays.txt");
/// Korea has had no summer time since 1988.
const SEOUL: Offset = Offset::constant(9);
/// The longest that anybody waits for their money, in business days.
pub const BUSINESS_DAYS_MAX: u8 = 60;

/// When fewer days than that are known, somebody is told: a year is published long before it begins.
pub const DAYS_LEFT_MIN: i32 = 60;

/// Why a business day cannot be told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    #[error("the holidays of {0} are not known: add them to the calendar")]
    UnknownYear(i16),
    #[error("line {0} of the calendar is neither `year YYYY` nor `YYYY-MM-DD name` of such a year")]
    Unreadable(usize),
    #[error("a day is out of range")]
    OutOfRange,
}

/// The days on which banks are closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusinessCalendar {
    years: BTreeSet<i16>,
    closed: BTreeMap<Date, String>,
}

impl BusinessCalendar {
    /// The calendar that comes with this release.
    ///
    /// # Errors
    /// [`CalendarError::Unreadable`]; a test keeps that from happening.
    pub fn built_in() -> Result<Self, CalendarError> {
        Self::parse(HOLIDAYS)
    }

    /// Reads `year YYYY` and `YYYY-MM-DD name`, a line each; `#` begins a remark.
    ///
    /// # Errors
    /// [`CalendarError::Unreadable`] with the number of the line.
    pub fn parse(text: &str) -> Result<Self, CalendarError> {
        let mut calendar = Self { years: BTreeSet::new(), closed: BTreeMap::new() };
        for (number, line) in (1..).zip(text.lines()) {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                calendar.take(line).ok_or(CalendarError::Unreadable(number))?;
            }
        }
        Ok(calendar)
    }

    fn take(&mut self, line: &str) -> Option<()> {
        let (first, rest) = line.split_once(' ')?;
        if first == "year" {
            self.years.insert(rest.parse().ok()?);
            return Some(());
        }
        let day: Date = first.parse().ok()?;
        // A day before its year is a slip of the hand.
        self.years.contains(&day.year()).then(|| self.closed.insert(day, rest.to_owned()))?;
        Some(())
    }

    /// Whether banks are open.
    ///
    /// # Errors
    /// [`CalendarError::UnknownYear`].
    pub fn is_business_day(&self, day: Date) -> Result<bool, CalendarError> {
        if !self.years.contains(&day.year()) {
            return Err(CalendarError::UnknownYear(day.year()));
        }
        let is_weekend = matches!(day.weekday(), Weekday::Saturday | Weekday::Sunday);
        Ok(!is_weekend && !self.closed.contains_key(&day))
    }

    /// How many days after `today` are known without a gap; below 0 where not even `today` is.
    #[must_use]
    pub fn days_left(&self, today: Date) -> i32 {
        let mut year = today.year();
        while self.years.contains(&year) {
            year = year.saturating_add(1);
        }
        let Ok(unknown) = Date::new(year, 1, 1) else { return i32::MAX };
        let days = today.duration_until(unknown).as_hours() / 24;
        i32::try_from(days).unwrap_or(i32::MAX).saturating_sub(1)
    }

    /// The business day that is so many of them after `day`; with 0 `day` itself, or the next one that is.
    ///
    /// # Errors
    /// [`CalendarError::UnknownYear`] where it would have to be guessed.
    pub fn business_day_after(&self, day: Date, days: u8) -> Result<Date, CalendarError> {
        let (mut day, mut left) = (day, days.min(BUSINESS_DAYS_MAX));
        if left == 0 && self.is_business_day(day)? {
            return Ok(day);
        }
        loop {
            day = day.tomorrow().map_err(|_| CalendarError::OutOfRange)?;
            if self.is_business_day(day)? {
                left = left.saturating_sub(1);
                if left == 0 {
                    return Ok(day);
                }
            }
        }
    }
}

/// The day that it is in Seoul.
///
/// # Errors
/// [`CalendarError::OutOfRange`] beyond the years that there are.
pub fn day_of(now: Timestamp) -> Result<Date, CalendarError> {
    let time = jiff::Timestamp::from_millisecond(now.millis());
    let time = time.map_err(|_| CalendarError::OutOfRange)?;
    Ok(SEOUL.to_datetime(time).date())
}

/// The instant that is so long after a day has begun in Seoul.
///
/// # Errors
/// [`CalendarError::OutOfRange`] beyond the years that there are.
pub fn instant_of(day: Date, into_it: Duration) -> Result<Timestamp, CalendarError> {
    let begins = day.to_zoned(TimeZone::fixed(SEOUL)).map_err(|_| CalendarError::OutOfRange)?;
    Ok(Timestamp::from_millis(begins.timestamp().as_millisecond()).plus(into_it))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;

    use super::*;

    fn calendar() -> BusinessCalendar {
        BusinessCalendar::built_in().unwrap()
    }

    fn after(day: Date, days: u8) -> Date {
        calendar().business_day_after(day, days).unwrap()
    }

    #[test]
    fn two_business_days_after_a_monday_is_a_wednesday() {
        assert_eq!(after(date(2026, 11, 23), 2), date(2026, 11, 25));
        assert_eq!(after(date(2026, 11, 23), 0), date(2026, 11, 23));
    }

    #[test]
    fn weekends_are_not_counted() {
        assert_eq!(after(date(2026, 11, 20), 2), date(2026, 11, 24), "Friday");
        assert_eq!(after(date(2026, 11, 21), 2), date(2026, 11, 24), "Saturday");
        assert_eq!(after(date(2026, 11, 22), 0), date(2026, 11, 23), "Sunday");
    }

    #[test]
    fn nobody_is_paid_over_seollal_and_chuseok() {
        // Friday before the lunar new year of the 17th of February.
        assert_eq!(after(date(2026, 2, 13), 1), date(2026, 2, 19));
        assert_eq!(after(date(2026, 9, 22), 2), date(2026, 9, 28));
        assert_eq!(after(date(2027, 9, 13), 1), date(2027, 9, 17));
        // The longest there was: the 3rd to the 9th, with two weekends.
        assert_eq!(after(date(2025, 10, 2), 2), date(2025, 10, 13));
    }

    #[test]
    fn a_substitute_holiday_is_one() {
        for (day, next) in [
            (date(2025, 5, 2), date(2025, 5, 7)),
            (date(2026, 2, 27), date(2026, 3, 3)),
            (date(2026, 5, 22), date(2026, 5, 26)),
            (date(2026, 8, 14), date(2026, 8, 18)),
            (date(2026, 10, 2), date(2026, 10, 6)),
            // The lunar new year is a Sunday.
            (date(2027, 2, 5), date(2027, 2, 10)),
            (date(2027, 4, 30), date(2027, 5, 4)),
            (date(2027, 7, 16), date(2027, 7, 20)),
            (date(2027, 8, 13), date(2027, 8, 17)),
            (date(2027, 10, 1), date(2027, 10, 5)),
            (date(2027, 10, 8), date(2027, 10, 12)),
            (date(2027, 12, 24), date(2027, 12, 28)),
        ] {
            assert_eq!(after(day, 1), next, "{day}");
        }
    }

    #[test]
    fn a_year_that_nobody_has_told_is_refused_and_never_guessed() {
        let unknown = Err(CalendarError::UnknownYear(2028));
        assert_eq!(after(date(2027, 12, 28), 2), date(2027, 12, 30));
        assert_eq!(calendar().business_day_after(date(2027, 12, 30), 2), unknown);
        assert_eq!(calendar().business_day_after(date(2028, 3, 2), 0), unknown);
        assert_eq!(
            calendar().is_business_day(date(2024, 6, 3)),
            Err(CalendarError::UnknownYear(2024))
        );
    }

    #[test]
    fn a_calendar_says_how_long_it_goes() {
        let left = |text, today| BusinessCalendar::parse(text).unwrap().days_left(today);
        let two = "year 2025\nyear 2026";
        assert_eq!(left(two, date(2026, 12, 31)), 0);
        assert_eq!(left(two, date(2026, 11, 22)), 39);
        assert_eq!(left(two, date(2025, 12, 31)), 365);
        assert!(left(two, date(2027, 1, 1)) < 0, "over");
        assert_eq!(left("year 2026\nyear 2028", date(2026, 12, 1)), 30, "a gap");
    }

    #[test]
    fn a_calendar_with_a_slip_says_in_which_line() {
        for (text, line) in [
            ("2026-01-01 New Year", 1),
            ("# a remark\n\nyear 2026\n2026-13-01 Never", 4),
            ("year 2026\n2025-01-01 Of another year", 2),
            ("year next", 1),
            ("year 2026\n2026-01-01", 2),
        ] {
            assert_eq!(BusinessCalendar::parse(text), Err(CalendarError::Unreadable(line)));
        }
    }

    #[test]
    fn a_day_begins_at_midnight_in_seoul() {
        let day = date(2026, 11, 23);
        let midnight = instant_of(day, Duration::ZERO).unwrap();
        assert_eq!(midnight.to_string(), "2026-11-22T15:00:00.000Z");
        assert_eq!(day_of(midnight), Ok(day));
        assert_eq!(day_of(midnight.minus(Duration::from_millis(1))), Ok(date(2026, 11, 22)));
    }
}
