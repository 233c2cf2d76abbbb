//! Who gets a share, and how many of them make the key.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use crate::slip39::COUNT_MAX;

/// The name of a custodian or a group: `[A-Za-z0-9._-]`, 1 to 64 bytes, not beginning with `.` or `-`, since files are named so.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustodianName(String);

impl CustodianName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for CustodianName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for CustodianName {
    type Err = TermsError;

    fn from_str(text: &str) -> Result<Self, TermsError> {
        let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=64).contains(&text.len()) && text.bytes().all(fine) && !text.starts_with(['.', '-']) {
            return Ok(Self(text.to_owned()));
        }
        Err(TermsError::Name { text: text.chars().take(80).collect() })
    }
}

/// One group of custodians.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupTerms {
    /// What people call it.
    pub name: CustodianName,
    /// How many of its shares complete it.
    pub threshold: u8,
    /// Who has a share, in the order of the shares.
    pub custodians: Vec<CustodianName>,
}

/// The terms of a set: groups, and how many of them make the key. They can be met; whether they are wise say
/// [`Terms::weaknesses`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    group_threshold: u8,
    groups: Vec<GroupTerms>,
}

impl Terms {
    /// Any `threshold` of the custodians: one group. With a threshold of 1 each is a group of their own, since SLIP-0039
    /// gives no two members of one group the same value.
    ///
    /// # Errors
    /// [`TermsError`] when there are too many custodians, or fewer than the threshold.
    pub fn simple(threshold: usize, custodians: Vec<CustodianName>) -> Result<Self, TermsError> {
        let too_many = TermsError::Counts { what: "shares", count: custodians.len() };
        let count = u8::try_from(threshold).map_err(|_| too_many.clone())?;
        if custodians.len() > COUNT_MAX {
            return Err(too_many);
        }
        if count != 1 || custodians.len() == 1 {
            let group = GroupTerms { name: CustodianName("shares".to_owned()), threshold: count, custodians };
            return Self::groups(1, vec![group]);
        }
        let groups = custodians.into_iter().enumerate().map(|(at, custodian)| GroupTerms {
            name: CustodianName(format!("share-{}", at + 1)),
            threshold: 1,
            custodians: vec![custodian],
        });
        Self::groups(1, groups.collect())
    }

    /// Any `group_threshold` of the groups.
    ///
    /// # Errors
    /// [`TermsError`] when there are too many, or fewer than a threshold wants, or a threshold of 1 in a group of more, or two
    /// of one name.
    pub fn groups(group_threshold: usize, groups: Vec<GroupTerms>) -> Result<Self, TermsError> {
        let threshold = threshold_of("groups", group_threshold, groups.len())?;
        for group in &groups {
            threshold_of("shares", group.threshold.into(), group.custodians.len())?;
            let named = |other: &&GroupTerms| other.name.0.eq_ignore_ascii_case(&group.name.0);
            if groups.iter().filter(named).count() > 1 {
                return Err(TermsError::GroupTwice { group: group.name.to_string() });
            }
            if group.threshold == 1 && group.custodians.len() > 1 {
                return Err(TermsError::OneOfMany { group: group.name.to_string() });
            }
        }
        Ok(Self { group_threshold: threshold, groups })
    }

    /// How many groups make the key.
    pub fn group_threshold(&self) -> usize {
        self.group_threshold.into()
    }

    /// The groups, in the order of the shares.
    pub fn group_terms(&self) -> &[GroupTerms] {
        &self.groups
    }

    /// The fewest shares that make the key.
    pub fn need(&self) -> usize {
        let mut thresholds: Vec<usize> = self.groups.iter().map(|group| group.threshold.into()).collect();
        thresholds.sort_unstable();
        thresholds.iter().take(self.group_threshold()).sum()
    }

    /// How many shares there are.
    pub fn count(&self) -> usize {
        self.groups.iter().map(|group| group.custodians.len()).sum()
    }

    /// Whether any so many shares make the key, whoever has them: there is one group, or each is one person.
    pub fn is_plain(&self) -> bool {
        self.groups.len() == 1 || self.groups.iter().all(|group| group.custodians.len() == 1)
    }

    /// What is unwise about them; empty when nothing is.
    pub fn weaknesses(&self) -> Vec<Weakness> {
        let mut found = Vec::new();
        if self.need() == 1 {
            found.push(Weakness::OneIsEnough);
        }
        let full = |group: &GroupTerms| usize::from(group.threshold) == group.custodians.len();
        if self.group_threshold() == self.groups.len() && self.groups.iter().any(full) {
            found.push(Weakness::NoneMayBeLost);
        }
        found.extend(self.twice().into_iter().map(|name| Weakness::CustodianTwice { name }));
        if self.has_disjoint_quorums() {
            found.push(Weakness::DisjointQuorums);
        }
        found
    }

    /// The only terms that a set is made by: those without weaknesses, or whose weaknesses somebody wants.
    ///
    /// # Errors
    /// [`WeakTerms`] when there are weaknesses and they were not allowed.
    pub fn agreed(self, weak: Weak) -> Result<AgreedTerms, WeakTerms> {
        let weaknesses = self.weaknesses();
        if weaknesses.is_empty() || weak == Weak::Allowed {
            return Ok(AgreedTerms(self));
        }
        Err(WeakTerms { weaknesses })
    }

    /// Who has more than one share, whatever the case of the letters.
    fn twice(&self) -> Vec<CustodianName> {
        let mut seen = BTreeSet::new();
        let mut twice = BTreeSet::new();
        for name in self.groups.iter().flat_map(|group| &group.custodians) {
            let folded = name.0.to_ascii_lowercase();
            if !seen.insert(folded.clone()) {
                twice.insert(CustodianName(folded));
            }
        }
        let first = |folded: &CustodianName| {
            let mut names = self.groups.iter().flat_map(|group| &group.custodians);
            names.find(|name| name.0.eq_ignore_ascii_case(&folded.0)).unwrap_or(folded).clone()
        };
        twice.iter().map(first).collect()
    }

    /// Whether two parties that have no share in common can each make the key. A group of at least twice its threshold
    /// serves both; any other serves one of them.
    fn has_disjoint_quorums(&self) -> bool {
        let serves_both = |group: &&GroupTerms| 2 * usize::from(group.threshold) <= group.custodians.len();
        let both = self.groups.iter().filter(serves_both).count();
        let one = self.groups.len() - both;
        2 * self.group_threshold().saturating_sub(both) <= one
    }
}

/// Terms that a set may be made by; see [`Terms::agreed`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreedTerms(Terms);

impl AgreedTerms {
    /// The terms.
    pub const fn terms(&self) -> &Terms {
        &self.0
    }
}

/// Whether weak terms are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weak {
    /// They are refused.
    Refused,
    /// Somebody said that they want them all the same.
    Allowed,
}

/// Something unwise about terms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Weakness {
    /// One share makes the key.
    #[error("one share is enough: whoever holds or finds one has the key alone")]
    OneIsEnough,
    /// Without any one share there is no key.
    #[error("no share may be lost: without a single one of them the key is gone for ever")]
    NoneMayBeLost,
    /// A person with more than one share.
    #[error("{name} has more than one share: fewer people than it seems can make the key")]
    CustodianTwice {
        /// Who.
        name: CustodianName,
    },
    /// One secret opens two custodians' shares. What opens them is no part of terms: whoever hands them out finds it.
    #[error(
        "the shares of {one} and {other} are opened by the same recipient or passphrase: one person can have both"
    )]
    OpenedAlike {
        /// Whose share it opens.
        one: CustodianName,
        /// Whose as well.
        other: CustodianName,
    },
    /// Two parties without a share in common can each make the key.
    #[error("two parties with no share in common can each make the key, and neither learns of the other")]
    DisjointQuorums,
}

impl Weakness {
    /// Its name in JSON.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::OneIsEnough => "one-is-enough",
            Self::NoneMayBeLost => "none-may-be-lost",
            Self::CustodianTwice { .. } => "custodian-twice",
            Self::OpenedAlike { .. } => "opened-alike",
            Self::DisjointQuorums => "disjoint-quorums",
        }
    }
}

/// Terms were refused for their weaknesses.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", sentences(weaknesses))]
pub struct WeakTerms {
    /// What is unwise about them; not empty.
    pub weaknesses: Vec<Weakness>,
}

/// Why terms cannot be met, or names not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TermsError {
    /// Not a name.
    #[error(
        "{text:?} is no name of a custodian: 1 to 64 letters, digits, '.', '_' and '-', the first a letter, a digit or '_'"
    )]
    Name {
        /// The text, shortened.
        text: String,
    },
    /// None, or more than a set can have.
    #[error("{count} {what}: a set has 1 to 16 groups of 1 to 16 shares each")]
    Counts {
        /// Shares or groups.
        what: &'static str,
        /// How many there are.
        count: usize,
    },
    /// A threshold that is 0 or more than there are.
    #[error(
        "a threshold of {threshold} of {count} {what} cannot be met: it is at least 1 and at most {count}"
    )]
    Threshold {
        /// Shares or groups.
        what: &'static str,
        /// The threshold.
        threshold: usize,
        /// How many there are.
        count: usize,
    },
    /// Two groups of one name.
    #[error("two groups are named {group}: nobody could tell whose shares complete which")]
    GroupTwice {
        /// The name.
        group: String,
    },
    /// Several members of which one is enough.
    #[error(
        "in group {group} one share of several is enough; SLIP-0039 has no such groups: make each a group of its own"
    )]
    OneOfMany {
        /// The group.
        group: String,
    },
}

fn threshold_of(what: &'static str, threshold: usize, count: usize) -> Result<u8, TermsError> {
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(TermsError::Counts { what, count });
    }
    let small = u8::try_from(threshold).ok().filter(|_| (1..=count).contains(&threshold));
    small.ok_or(TermsError::Threshold { what, threshold, count })
}

fn sentences(weaknesses: &[Weakness]) -> String {
    let sentences: Vec<_> = weaknesses.iter().map(ToString::to_string).collect();
    sentences.join("; ")
}

#[cfg(test)]
mod tests;
