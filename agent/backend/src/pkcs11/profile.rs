//! What was measured of a module, kept under the digest of its file: the agent signs by it.
//!
//! One file a module, `SHA256.profile`: a first line with the format's version and the SHA-256 of the rest, then JSON.
//! Invariants: what is damaged is refused and never passed over; a profile of
//! another digest is another module's.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tuf::digest::Sha256Digest;

use super::Pkcs11Token;
use super::keep::keep;
use super::link::Shared;
use super::seen::Measured;
use super::trouble::Trouble;
use crate::BackendError;
use crate::doctor::{Diagnosis, Facts, Hints};

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The module's digest, in hexadecimal.
    pub sha256: String,
    /// Where it lay when it was measured.
    pub module: String,
    /// What was measured.
    pub facts: Facts,
}

impl Profile {
    /// The profile of the module with this digest; none when it was not measured.
    ///
    /// # Errors
    /// [`BackendError::Corrupt`] for a file that is damaged or another module's, [`BackendError::NewerFormat`],
    /// [`BackendError::Io`].
    pub fn read(folder: &Path, sha256: Sha256Digest) -> Result<Option<Self>, BackendError> {
        let path = path(folder, sha256);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::InvalidData => return Err(damaged(&path, "it is not text")),
            Err(e) => return Err(BackendError::io(&path, "read", e)),
        };
        let (head, body) = text.split_once('\n').ok_or_else(|| damaged(&path, "it was cut off"))?;
        let (version, digest) = head
            .strip_prefix(MAGIC)
            .and_then(|head| head.trim_start().split_once(' '))
            .ok_or_else(|| damaged(&path, "its first line is not that of a profile"))?;
        match version.parse::<u64>() {
            Ok(VERSION) => {}
            Ok(found) if found > VERSION => {
                return Err(BackendError::NewerFormat { path, found, supported: VERSION });
            }
            _ => return Err(damaged(&path, "its version cannot be read")),
        }
        if digest != Sha256Digest::of(body.as_bytes()).to_string() {
            return Err(damaged(&path, "its checksum does not fit"));
        }
        let profile: Self = serde_json::from_str(body).map_err(|e| damaged(&path, &e.to_string()))?;
        if profile.sha256 != sha256.to_string() {
            return Err(damaged(&path, "it is that of another module"));
        }
        Ok(Some(profile))
    }

    fn write(&self, folder: &Path, sha256: Sha256Digest) -> Result<(), BackendError> {
        let path = path(folder, sha256);
        let body = serde_json::to_string(self)
            .map_err(|e| BackendError::io(&path, "written", std::io::Error::from(e)))?
            + "\n";
        keep(&path, format!("{MAGIC} {VERSION} {}\n{body}", Sha256Digest::of(body.as_bytes())).as_bytes())
    }
}

impl Shared {
    /// What was measured of the module with this digest, which lies at `path`. What was kept and cannot be read is not
    /// passed over: nothing is signed until it is mended.
    pub(super) fn measured(&self, path: &str, sha256: Sha256Digest) -> Measured {
        let Some(folder) = self.config.module().ok().and_then(|module| module.profiles.as_ref()) else {
            return Measured::Never;
        };
        match Profile::read(folder, sha256) {
            Ok(Some(profile)) => Measured::Now(Arc::new(Hints::of(profile.facts))),
            Ok(None) if lay_there(folder, path) => Measured::Before,
            Ok(None) => Measured::Never,
            // Told with its way out, wherever it is told.
            Err(error) => {
                let remedy = error.remedy().replace("NAME", self.config.name.as_str());
                Measured::Damaged(Trouble::Failed { why: format!("{error}; {remedy}"), remedy })
            }
        }
    }
}

/// Whether a module was measured that lay at `path`, whatever its digest was.
fn lay_there(folder: &Path, path: &str) -> bool {
    let digests = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| {
        let name = entry.ok()?.file_name().into_string().ok()?;
        name.strip_suffix(SUFFIX)?.parse::<Sha256Digest>().ok()
    });
    digests
        .into_iter()
        .any(|sha256| Profile::read(folder, sha256).ok().flatten().is_some_and(|it| it.module == path))
}

impl Pkcs11Token {
    /// Keeps what was measured as the module's profile, in place of an older or damaged one. False: there was no login, so
    /// nothing is known that the agent could sign by, and nothing is kept.
    ///
    /// # Errors
    /// [`BackendError::Io`]; [`BackendError::NewerFormat`] for one that a newer version of this program has kept.
    pub fn save_profile(&self, diagnosis: &Diagnosis) -> Result<bool, BackendError> {
        let Some(folder) = &self.shared.config.module()?.profiles else { return Ok(false) };
        if !diagnosis.facts.logged_in {
            return Ok(false);
        }
        match Profile::read(folder, diagnosis.sha256) {
            // This is how it is repaired.
            Ok(_) | Err(BackendError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let profile = Profile {
            sha256: diagnosis.sha256.to_string(),
            module: diagnosis.module.clone(),
            facts: diagnosis.facts.clone(),
        };
        profile.write(folder, diagnosis.sha256)?;
        // By the helper that runs, too, if it has this module: whatever it has is asked for again at its next start.
        let measured = self.shared.measured(&diagnosis.module, diagnosis.sha256);
        self.shared.note(|seen| seen.measured = measured);
        Ok(true)
    }
}

fn path(folder: &Path, sha256: Sha256Digest) -> PathBuf {
    folder.join(format!("{sha256}{SUFFIX}"))
}

fn damaged(path: &Path, why: &str) -> BackendError {
    BackendError::Corrupt {
        path: path.to_owned(),
        why: why.to_owned(),
        remedy: "measure the module again: tufctl token doctor NAME --pin-file FILE (or remove the file)"
            .to_owned(),
    }
}

const SUFFIX: &str = ".profile";
const MAGIC: &str = "tuf-agent-module-profile";
const VERSION: u64 = 1;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Place;

    fn profile(sha256: Sha256Digest) -> Profile {
        let facts = Facts { place: Some(Place::Session), ..Facts::default() };
        Profile { sha256: sha256.to_string(), module: "/m.so".to_owned(), facts }
    }

    #[test]
    fn a_profile_comes_back_as_it_was_kept_and_for_its_own_module_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("profiles");
        let (one, two) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"two"));
        assert_eq!(Profile::read(&folder, one).unwrap(), None);
        profile(one).write(&folder, one).unwrap();
        assert_eq!(Profile::read(&folder, one).unwrap(), Some(profile(one)));
        assert_eq!(Profile::read(&folder, two).unwrap(), None);
        fs::copy(path(&folder, one), path(&folder, two)).unwrap();
        let error = Profile::read(&folder, two).unwrap_err();
        assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_damaged_profile_is_refused_with_the_way_to_repair_it() {
        let dir = tempfile::tempdir().unwrap();
        let sha256 = Sha256Digest::of(b"m");
        profile(sha256).write(dir.path(), sha256).unwrap();
        let path = path(dir.path(), sha256);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Profile::read(dir.path(), sha256).is_err(), "a flipped bit at {at} was not seen");
        }
        for bad in [&good[..0], &good[..good.len() / 2], &[0; 400][..]] {
            fs::write(&path, bad).unwrap();
            let error = Profile::read(dir.path(), sha256).unwrap_err();
            assert_eq!(error.reason(), "STATE_CORRUPT");
            assert!(error.remedy().contains("tufctl token doctor"), "{}", error.remedy());
        }
        let newer = String::from_utf8(good).unwrap().replacen(" 1 ", " 2 ", 1);
        fs::write(&path, newer).unwrap();
        let error = Profile::read(dir.path(), sha256).unwrap_err();
        assert!(matches!(error, BackendError::NewerFormat { found: 2, .. }), "{error}");
    }
}
