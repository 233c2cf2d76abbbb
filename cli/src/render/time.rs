//! Times for people: how far away, in the largest unit that says something.

use std::time::{SystemTime, UNIX_EPOCH};

/// Now, in seconds since 1970; the one place where tufctl reads the clock.
pub(crate) fn now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .ok()
        .and_then(|d| i64::try_from(d.as_secs()).ok())
        .unwrap_or(0)
}

/// How far away an expiry is, to the nearest unit: `in 89 days`, `in 5 hours`, `expired 3 days ago`.
pub(crate) fn expiry(expires: i64, now: i64) -> String {
    // Specification 5.1: expired as soon as the expiry is not later than the reference time.
    if expires > now {
        format!("in {}", nearest(expires.saturating_sub(now)))
    } else if expires == now {
        "expired now".into()
    } else {
        format!("expired {} ago", span(now.saturating_sub(expires)))
    }
}

/// The same as the end of a sentence: `expires in 89 days`, `expired 3 days ago`.
pub(crate) fn expires(at: i64, now: i64) -> String {
    let away = expiry(at, now);
    if at > now { format!("expires {away}") } else { away }
}

/// As [`span`], rounded to the nearest: what was made for 365 days a second ago is not shown as 364.
fn nearest(seconds: i64) -> String {
    let half = match seconds {
        s if s >= 172_800 => 43_200,
        s if s >= 7_200 => 1_800,
        s if s >= 120 => 30,
        _ => 0,
    };
    span(seconds.saturating_add(half))
}

/// A span of seconds in its largest unit, rounded down: `2 days`, `1 hour`, `59 minutes`, `3 seconds`.
pub(crate) fn span(seconds: i64) -> String {
    let (number, unit) = match seconds {
        s if s >= 172_800 => (s / 86_400, "day"),
        s if s >= 7_200 => (s / 3_600, "hour"),
        s if s >= 120 => (s / 60, "minute"),
        s => (s, "second"),
    };
    super::count(number.unsigned_abs(), unit)
}

#[cfg(test)]
mod tests {
    use super::{expires, expiry, span};

    #[test]
    fn expiry_is_told_by_how_far_away_it_is() {
        assert_eq!(expiry(90 * 86_400, 0), "in 90 days");
        assert_eq!(expiry(47 * 3_600, 0), "in 47 hours");
        assert_eq!(expiry(365 * 86_400 - 1, 0), "in 365 days");
        assert_eq!(expiry(0, 0), "expired now");
        assert_eq!(expiry(0, 3 * 86_400), "expired 3 days ago");
        assert_eq!(
            (expires(90 * 86_400, 0), expires(0, 3 * 86_400)),
            ("expires in 90 days".into(), "expired 3 days ago".into())
        );
        assert_eq!(span(119), "119 seconds");
        assert_eq!(span(1), "1 second");
    }
}
