//! Times as TUF writes them (specification 4.2.3): UTC, whole seconds, nothing else.

use std::{fmt, str::FromStr};

/// A moment in UTC with a precision of one second; written exactly as `YYYY-MM-DDTHH:MM:SSZ`, years 0000 to 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct UtcTime(i64);

/// First and last second that the form can write.
const RANGE: std::ops::RangeInclusive<i64> = -62_167_219_200..=253_402_300_799;

impl UtcTime {
    /// The moment `seconds` after 1970-01-01T00:00:00Z, moved into the years 0000 to 9999 if it lies outside.
    pub fn from_unix(seconds: i64) -> Self {
        Self(seconds.clamp(*RANGE.start(), *RANGE.end()))
    }

    /// Seconds since 1970-01-01T00:00:00Z.
    pub const fn unix(self) -> i64 {
        self.0
    }

    /// This moment and `seconds` more; stays inside the years that can be written.
    pub fn plus_seconds(self, seconds: i64) -> Self {
        Self::from_unix(self.0.saturating_add(seconds))
    }
}

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, seconds) = (self.0.div_euclid(DAY), self.0.rem_euclid(DAY));
        let (year, month, day) = civil_from_days(days);
        let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

impl FromStr for UtcTime {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or_else(|| TimeError { text: text.chars().take(40).collect() })
    }
}

/// The text is not a time in the one form that TUF has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a time of the form YYYY-MM-DDTHH:MM:SSZ")]
pub struct TimeError {
    text: String,
}

fn parse(text: &str) -> Option<UtcTime> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00Z";
    let fits =
        |(byte, wanted): (&u8, &u8)| if *wanted == b'0' { byte.is_ascii_digit() } else { byte == wanted };
    if bytes.len() != shape.len() || !bytes.iter().zip(shape).all(fits) {
        return None;
    }
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let days = days_from_civil(year, month, day);
    // A day that the month does not have becomes another day, and a month that no year has another month.
    if civil_from_days(days) != (year, month, day) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(UtcTime(days * DAY + hour * 3600 + minute * 60 + second))
}

/// Seconds of a day; UTC has no leap seconds here.
const DAY: i64 = 86_400;

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years begin in March, so that a leap day is the last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + day_of_year - 719_468
}

/// The date that lies `days` after 1970-01-01.
fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let (era, of_era) = (days.div_euclid(146_097), days.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let (year, month) = (year + era * 400, (month + 2) % 12 + 1);
    (if month <= 2 { year + 1 } else { year }, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_reads_back_what_it_writes() {
        for (text, unix) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-11-20T10:59:25Z", 1_795_172_365),
            ("2028-02-29T23:59:59Z", 1_835_481_599),
            ("0000-01-01T00:00:00Z", *RANGE.start()),
            ("9999-12-31T23:59:59Z", *RANGE.end()),
        ] {
            assert_eq!(text.parse(), Ok(UtcTime::from_unix(unix)), "{text}");
            assert_eq!(UtcTime::from_unix(unix).to_string(), text);
        }
    }

    #[test]
    fn every_day_of_four_hundred_years_reads_back() {
        let mut last = (0, 0, 0);
        for day in 0..146_097 {
            let date = civil_from_days(day);
            assert!(date > last && days_from_civil(date.0, date.1, date.2) == day);
            let at = UtcTime::from_unix(day * DAY + 86_399);
            assert_eq!(at.to_string().parse(), Ok(at));
            last = date;
        }
        assert_eq!(last, (2369, 12, 31));
    }

    #[test]
    fn only_the_one_form_of_the_specification_is_a_time() {
        for text in [
            "2026-11-20T10:59:25+00:00",
            "2026-11-20T10:59:25.0Z",
            "2026-11-20 10:59:25Z",
            "2026-11-20T10:59:25z",
            "2026-11-20T10:59Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:00:60Z",
            "+026-01-01T00:00:00Z",
            "2026-11-20T10:59:25Z ",
            "٢٠٢٦-11-20T10:59Z",
            "",
        ] {
            assert!(text.parse::<UtcTime>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_moment_outside_the_years_that_can_be_written_is_moved_inside() {
        assert_eq!(UtcTime::from_unix(i64::MAX).to_string(), "9999-12-31T23:59:59Z");
        assert_eq!(UtcTime::from_unix(i64::MIN).plus_seconds(i64::MIN).to_string(), "0000-01-01T00:00:00Z");
    }
}
