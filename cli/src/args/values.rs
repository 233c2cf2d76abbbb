//! Values on the command line that have a form of their own: days, spans of time, roles of the root.

use std::str::FromStr;

/// A number of days, written `90d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Days(pub(crate) u32);

impl FromStr for Days {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('d').ok_or("write days with a d, such as 90d")?;
        match number.parse() {
            Ok(days @ 1..=MOST_DAYS) => Ok(Self(days)),
            _ => Err(format!("a number of days from 1d to {MOST_DAYS}d")),
        }
    }
}

/// `ROLE=DAYSd`: for how long a role's metadata is valid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RoleDays {
    pub(crate) role: String,
    pub(crate) days: Days,
}

impl FromStr for RoleDays {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // A delegated role's name may hold an equals sign; the days never do.
        let (role, days) = text.rsplit_once('=').ok_or("write ROLE=DAYSd, such as root=365d")?;
        if role.is_empty() {
            return Err("write ROLE=DAYSd, such as root=365d".into());
        }
        Ok(Self { role: role.into(), days: days.parse()? })
    }
}

/// A span of time, written `3d`, `12h`, `30m` or `90s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Seconds; at most ten thousand years.
    pub(crate) seconds: i64,
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || "a span such as 3d, 12h, 30m or 90s".to_owned();
        let unit = text.chars().last().ok_or_else(form)?;
        let seconds = match unit {
            'd' => 86_400,
            'h' => 3_600,
            'm' => 60,
            's' => 1,
            _ => return Err(form()),
        };
        let number: u32 = text.strip_suffix(unit).and_then(|n| n.parse().ok()).ok_or_else(form)?;
        let seconds = i64::from(number).checked_mul(seconds).ok_or_else(form)?;
        if seconds > MOST_SECONDS { Err(form()) } else { Ok(Self { seconds }) }
    }
}

/// A role that root itself gives keys to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum TopRole {
    /// The root role.
    Root,
    /// The top targets role.
    Targets,
    /// The snapshot role.
    Snapshot,
    /// The timestamp role.
    Timestamp,
}

const MOST_DAYS: u32 = 36_500;
const MOST_SECONDS: i64 = 86_400 * 3_652_500;

#[cfg(test)]
mod tests {
    use super::{Days, RoleDays, Span};

    #[test]
    fn days_need_their_letter_and_a_sane_number() {
        assert_eq!("90d".parse(), Ok(Days(90)));
        for bad in ["90", "d", "0d", "-1d", "36501d", "1.5d", "9 0d", "+é"] {
            assert!(bad.parse::<Days>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_role_name_may_hold_an_equals_sign() {
        assert_eq!("a=b=7d".parse(), Ok(RoleDays { role: "a=b".into(), days: Days(7) }));
        assert!("=7d".parse::<RoleDays>().is_err());
        assert!("root".parse::<RoleDays>().is_err());
    }

    #[test]
    fn spans_have_four_units() {
        for (text, seconds) in [("3d", 259_200), ("12h", 43_200), ("30m", 1_800), ("90s", 90)] {
            assert_eq!(text.parse(), Ok(Span { seconds }));
        }
        for bad in ["", "3", "d", "3w", "9999999d", "é"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
    }
}
