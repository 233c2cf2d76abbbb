//! Which module a token trusts: the digest in the configuration, or the one recorded at first use.

use std::fmt;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use tuf::digest::Sha256Digest;

use super::keep::keep;
use crate::BackendError;

/// What the module's file must hash to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ModuleDigest {
    /// The digest in the configuration.
    Pinned(Sha256Digest),
    /// The digest in this file, which is written at first use: 64 hexadecimal digits and a newline.
    Recorded(PathBuf),
    /// `sha256 = "any"`: not compared.
    Any,
}

impl ModuleDigest {
    /// Compares what was found; records it when nothing is recorded yet.
    pub(crate) fn check(&self, module: &str, found: Sha256Digest) -> Result<(), BackendError> {
        let (trusted, remedy) = match self {
            Self::Any => return Ok(()),
            Self::Pinned(pinned) => {
                (*pinned, "install the module that was pinned, or change sha256 in the configuration")
            }
            Self::Recorded(file) => match read_record(file)? {
                None => return write_record(file, found),
                Some(recorded) => {
                    (recorded, "if you changed it (an upgrade, for example): tufctl token trust NAME")
                }
            },
        };
        if trusted == found {
            return Ok(());
        }
        Err(BackendError::Untrusted {
            why: format!("{module} has sha256 {found}, but {trusted} is trusted"),
            remedy: remedy.to_owned(),
        })
    }

    /// What is trusted now.
    pub(crate) fn trusted(&self) -> Result<Trusted, BackendError> {
        match self {
            Self::Any => Ok(Trusted::Any),
            Self::Pinned(pinned) => Ok(Trusted::One(*pinned)),
            Self::Recorded(file) => match read_record(file) {
                Ok(recorded) => Ok(recorded.map_or(Trusted::Nothing, Trusted::One)),
                Err(BackendError::Corrupt { .. }) => Ok(Trusted::Unreadable),
                Err(error) => Err(error),
            },
        }
    }

    /// Whether a person may trust that: not in place of what the configuration pins.
    pub(crate) fn may_trust(&self, found: Sha256Digest) -> Result<(), BackendError> {
        match self {
            Self::Pinned(pinned) if *pinned != found => Err(BackendError::Untrusted {
                why: format!("the configuration pins {pinned}, and the module has {found}"),
                remedy: "change sha256 in the configuration".to_owned(),
            }),
            Self::Any | Self::Pinned(_) | Self::Recorded(_) => Ok(()),
        }
    }

    /// Trusts that from now on.
    pub(crate) fn trust(&self, found: Sha256Digest) -> Result<(), BackendError> {
        self.may_trust(found)?;
        match self {
            Self::Recorded(file) => write_record(file, found),
            Self::Any | Self::Pinned(_) => Ok(()),
        }
    }
}

/// What is trusted of a token's module before a person trusts another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Trusted {
    /// No module was used yet.
    Nothing,
    /// The file of this digest.
    One(Sha256Digest),
    /// Whatever lies there, by the configuration.
    Any,
    /// The record cannot be read.
    Unreadable,
}

impl fmt::Display for Trusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => f.write_str("none"),
            Self::One(digest) => digest.fmt(f),
            Self::Any => f.write_str("any"),
            Self::Unreadable => f.write_str("unreadable"),
        }
    }
}

fn read_record(file: &Path) -> Result<Option<Sha256Digest>, BackendError> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(BackendError::io(file, "read", e)),
    };
    text.trim_end().parse().map(Some).map_err(|_| BackendError::Corrupt {
        path: file.to_owned(),
        why: "it is not a SHA-256 digest in hexadecimal".to_owned(),
        remedy: "make sure of the module, then: tufctl token trust NAME".to_owned(),
    })
}

fn write_record(file: &Path, digest: Sha256Digest) -> Result<(), BackendError> {
    keep(file, format!("{digest}\n").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_digest_is_recorded_and_a_change_is_refused_until_it_is_trusted() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("modules/hsm.sha256");
        let digest = ModuleDigest::Recorded(file.clone());
        let (one, two) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"two"));
        digest.check("m.so", one).unwrap();
        digest.check("m.so", one).unwrap();
        let error = digest.check("m.so", two).unwrap_err();
        assert_eq!(error.reason(), "TOKEN_UNTRUSTED");
        assert!(error.to_string().contains(&two.to_string()), "{error}");
        assert_eq!(digest.trusted().unwrap(), Trusted::One(one));
        digest.trust(two).unwrap();
        digest.check("m.so", two).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), format!("{two}\n"));
    }

    #[test]
    fn a_damaged_record_is_refused_and_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("hsm.sha256");
        fs::write(&file, "").unwrap();
        let error = ModuleDigest::Recorded(file.clone()).check("m.so", Sha256Digest::of(b"x")).unwrap_err();
        assert_eq!(error.reason(), "STATE_CORRUPT");
        assert_eq!(fs::read(&file).unwrap(), b"");
        assert_eq!(ModuleDigest::Recorded(file).trusted().unwrap(), Trusted::Unreadable);
    }

    #[test]
    fn a_pinned_digest_is_changed_in_the_configuration_alone() {
        let (one, two) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"two"));
        let pinned = ModuleDigest::Pinned(one);
        assert!(pinned.check("m.so", one).is_ok() && pinned.trust(one).is_ok());
        assert!(pinned.check("m.so", two).is_err() && pinned.trust(two).is_err());
        assert!(ModuleDigest::Any.check("m.so", two).is_ok());
    }
}
