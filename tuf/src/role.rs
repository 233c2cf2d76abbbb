//! Roles: names, versions, thresholds, the keys of a role.

use crate::key::KeyId;
use std::{
    collections::BTreeSet,
    fmt,
    num::NonZeroU32,
    str::FromStr,
    sync::{Arc, LazyLock},
};

/// The four kinds of metadata. Delegated roles have the form of `targets`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoleKind {
    /// root
    Root,
    /// timestamp
    Timestamp,
    /// snapshot
    Snapshot,
    /// targets and all delegated roles
    Targets,
}

impl RoleKind {
    /// All four.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// `_type` in metadata, and the name of the top-level role.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    /// The top-level role of this kind.
    pub fn role(self) -> RoleName {
        static NAMES: LazyLock<[RoleName; 4]> =
            LazyLock::new(|| RoleKind::ALL.map(|kind| RoleName(kind.name().into())));
        let [root, timestamp, snapshot, targets] = &*NAMES;
        match self {
            Self::Root => root.clone(),
            Self::Timestamp => timestamp.clone(),
            Self::Snapshot => snapshot.clone(),
            Self::Targets => targets.clone(),
        }
    }

    /// The kind that `_type` names.
    pub fn from_type(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

impl fmt::Display for RoleKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name of a role: one of the four top-level roles, or a delegated one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RoleName(Arc<str>);

impl RoleName {
    /// Longest name in bytes: with `.json` it is a file name.
    pub const MAX: usize = 250;

    /// Takes any name that metadata may hold: 1 to [`RoleName::MAX`] bytes. Slashes, dots and control characters are fine,
    /// because a name becomes a file only through [`RoleName::file_stem`] and a line on a screen only escaped; NUL is in
    /// no file name, encoded or not, that web servers find.
    ///
    /// # Errors
    /// [`RoleError::Name`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, RoleError> {
        let why = match text {
            "" => "is empty",
            _ if text.len() > Self::MAX => "is longer than 250 bytes",
            _ if text.contains('\0') => "has a NUL",
            _ => return Ok(Self(text.into())),
        };
        Err(RoleError::name(text, why))
    }

    /// Takes a name for a new delegated role: only `A-Z a-z 0-9 . _ -`, not beginning with a dot or a digit followed by
    /// a dot (as the version prefix of file names), and none of the four top-level names. Every client reads such a name.
    ///
    /// # Errors
    /// [`RoleError::Name`] says what is wrong.
    pub fn new_for_writing(text: &str) -> Result<Self, RoleError> {
        let name = Self::parse(text)?;
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let version_prefix =
            text.split_once('.').is_some_and(|(head, _)| head.bytes().all(|b| b.is_ascii_digit()));
        let why = match text {
            _ if name.is_top_level() => "is the name of a top-level role",
            _ if !text.chars().all(allowed) => "has other characters than letters, digits, '.', '_' and '-'",
            _ if version_prefix => "begins like a dotfile or a version prefix",
            _ if text.len() > 100 => "is longer than 100 bytes",
            _ => return Ok(name),
        };
        Err(RoleError::name(text, why))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The kind of metadata that the role has; delegated roles have [`RoleKind::Targets`].
    pub fn kind(&self) -> RoleKind {
        RoleKind::from_type(&self.0).unwrap_or(RoleKind::Targets)
    }

    /// Whether this is root, timestamp, snapshot or targets.
    pub fn is_top_level(&self) -> bool {
        RoleKind::from_type(&self.0).is_some()
    }

    /// The name as one segment of a path: everything but `A-Z a-z 0-9 . _ ~ -` percent-encoded, as all clients do.
    /// Never empty and never holds a slash; callers add `.json` and, before it, the version.
    pub fn file_stem(&self) -> String {
        let mut out = String::with_capacity(self.0.len());
        for byte in self.0.bytes() {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'~' | b'-') {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    }
}

impl fmt::Display for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RoleName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl FromStr for RoleName {
    type Err = RoleError;

    fn from_str(text: &str) -> Result<Self, RoleError> {
        Self::parse(text)
    }
}

/// A version of metadata: 1 to 2^53 - 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// Version 1.
    pub const FIRST: Self = Self(1);

    /// `None` outside 1 to 2^53 - 1.
    pub fn new(number: u64) -> Option<Self> {
        (1..=crate::MAX_INTEGER).contains(&number).then_some(Self(number))
    }

    /// The number.
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The next version; `None` after the last.
    pub fn next(self) -> Option<Self> {
        Self::new(self.0.checked_add(1)?)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// How many keys must have signed: 1 or more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Threshold(NonZeroU32);

impl Threshold {
    /// One key.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// `None` for 0.
    pub fn new(number: u32) -> Option<Self> {
        NonZeroU32::new(number).map(Self)
    }

    /// The number.
    pub const fn get(self) -> u32 {
        self.0.get()
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The keyids of a role and how many of them must have signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RoleKeys {
    /// In the order of the metadata; none twice.
    pub keyids: Vec<KeyId>,
    /// How many must have signed. May be more than there are keys: then nothing is ever accepted.
    pub threshold: Threshold,
}

impl RoleKeys {
    /// The most keys of one role, and the most signatures of one file: checking them costs time. Nobody has so many
    /// people.
    pub const MAX: usize = 1024;

    /// The keys of a role.
    ///
    /// # Errors
    /// [`RoleError::KeyTwice`] when a keyid is there twice: some clients count it twice. [`RoleError::TooManyKeys`].
    pub fn new(keyids: Vec<KeyId>, threshold: Threshold) -> Result<Self, RoleError> {
        if keyids.len() > Self::MAX {
            return Err(RoleError::TooManyKeys { keys: keyids.len() });
        }
        let mut seen = BTreeSet::new();
        if let Some(again) = keyids.iter().find(|keyid| !seen.insert(*keyid)) {
            return Err(RoleError::KeyTwice { keyid: again.clone() });
        }
        Ok(Self { keyids, threshold })
    }

    /// Whether `keyid` is one of them.
    pub fn contains(&self, keyid: &KeyId) -> bool {
        self.keyids.contains(keyid)
    }
}

/// What is wrong with a role's name or keys.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RoleError {
    /// Not a name for a role.
    #[error("role name {name:?} {why}")]
    Name {
        /// The name, shortened.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A role lists a keyid twice.
    #[error("keyid {keyid} is listed twice")]
    KeyTwice {
        /// The keyid.
        keyid: KeyId,
    },
    /// A role lists more keys than [`RoleKeys::MAX`].
    #[error("{keys} keys are listed, and a role has {max} at most", max = RoleKeys::MAX)]
    TooManyKeys {
        /// How many.
        keys: usize,
    },
}

impl RoleError {
    fn name(name: &str, why: &'static str) -> Self {
        Self::Name { name: name.chars().take(80).collect(), why }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_name_becomes_one_path_segment() {
        for (name, stem) in [
            ("targets", "targets"),
            ("../delegated", "..%2Fdelegated"),
            ("a/b c", "a%2Fb%20c"),
            ("ü?#%", "%C3%BC%3F%23%25"),
            ("bin-0f.x_~", "bin-0f.x_~"),
        ] {
            assert_eq!(RoleName::parse(name).unwrap().file_stem(), stem);
        }
    }

    #[test]
    fn a_name_that_cannot_be_a_role_is_refused() {
        for name in ["", "a\0b", &"x".repeat(251)] {
            assert!(RoleName::parse(name).is_err(), "{name:?}");
        }
        for name in
            ["root", "timestamp", "a\nb", "a\u{85}b", "a/b", ".hidden", "1.role", "ü", "a b", "?", ".."]
        {
            assert!(RoleName::new_for_writing(name).is_err(), "{name:?}");
        }
        for name in ["app", "bin-00", "v1.role", "a.b"] {
            assert!(RoleName::new_for_writing(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn versions_stay_within_what_every_client_reads() {
        assert_eq!(Version::new(0), None);
        assert_eq!(Version::new(crate::MAX_INTEGER + 1), None);
        assert_eq!(Version::new(crate::MAX_INTEGER).and_then(Version::next), None);
        assert_eq!(Version::FIRST.next().map(Version::get), Some(2));
    }

    #[test]
    fn a_keyid_listed_twice_is_refused() {
        let keyid = KeyId::parse("aa").unwrap();
        assert!(RoleKeys::new(vec![keyid.clone(), keyid], Threshold::ONE).is_err());
    }
}
