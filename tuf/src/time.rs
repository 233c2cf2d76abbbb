//! Times as TUF writes them (specification 4.2.3): UTC, whole seconds, nothing else.

use jiff::{Timestamp, civil, tz::TimeZone};
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
        let at = Timestamp::from_second(self.0).unwrap_or_default().to_zoned(TimeZone::UTC).datetime();
        let (year, month, day) = (at.year(), at.month(), at.day());
        write!(f, "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", at.hour(), at.minute(), at.second())
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
    let small = |from: usize| text.get(from..from + 2)?.parse::<i8>().ok();
    let year = text.get(..4)?.parse::<i16>().ok()?;
    let at = civil::DateTime::new(year, small(5)?, small(8)?, small(11)?, small(14)?, small(17)?, 0).ok()?;
    Some(UtcTime(at.to_zoned(TimeZone::UTC).ok()?.timestamp().as_second()))
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
