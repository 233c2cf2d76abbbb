//! Values on the command line that have a form of their own: days, spans of time, roles of the root.

use std::convert::Infallible;
use std::str::FromStr;

use tuf::word::split_list;

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

/// Values between commas; `\,` is a comma of a value (see [`tuf::word::split_list`]).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct List(Vec<String>);

impl List {
    /// One value, whatever is in it.
    pub(crate) fn of(value: String) -> Self {
        Self(vec![value])
    }

    /// All values of an option that was given several times.
    pub(crate) fn all(lists: &[Self]) -> Vec<String> {
        lists.iter().flatten().cloned().collect()
    }
}

impl FromStr for List {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(Self(split_list(text)))
    }
}

impl<'a> IntoIterator for &'a List {
    type Item = &'a String;
    type IntoIter = std::slice::Iter<'a, String>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
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
    use super::{Days, List, RoleDays, Span};

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
    fn a_comma_of_a_name_is_written_with_a_backslash() {
        let lists = [r"a,b\,c".parse::<List>().unwrap(), List::of("d,e".into())];
        assert_eq!(List::all(&lists), ["a", "b,c", "d,e"]);
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
